//! A request is read as the real provider would read it, so that what it would refuse is refused here.
//!
//! The rules are the documented ones that have bitten callers: parameters that newer models dropped,
//! strict schemas, media types that must match the bytes. Each dialect has its own file.

mod access;
mod chat;
mod generate;
mod messages;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_PAD_INDIFFERENT;

use crate::dialect::Dialect;
use crate::dialect::Target;
use crate::failure::Failure;
use crate::failure::Reason;
use crate::picture::Detail;
use crate::picture::Format;
use crate::picture::Picture;
use crate::picture::read_header;
use crate::schema::Schema;
use crate::wire::Request;

pub(crate) use crate::request::access::authenticate;

/// What a caller asks a model.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) model: String,
    /// System and user text, joined.
    pub(crate) prompt: String,
    pub(crate) pictures: Vec<Picture>,
    pub(crate) schema: Option<Schema>,
    pub(crate) max_output_tokens: Option<u64>,
    /// How the answer is to be streamed; `None` when it is wanted whole.
    pub(crate) stream: Option<StreamForm>,
}

/// What a caller may choose about a streamed answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StreamForm {
    /// OpenAI sends a last chunk with the token counts only when it is asked to.
    pub(crate) has_usage: bool,
    /// OpenAI pads its chunks against readers of packet sizes unless it is told not to.
    pub(crate) is_padded: bool,
}

impl StreamForm {
    /// The form of the dialects that leave no choice.
    pub(crate) const PLAIN: Self = Self { has_usage: true, is_padded: false };
}

/// Reads the question out of a request.
///
/// # Errors
///
/// The answer that the real provider would give to a request that it does not take.
pub(crate) fn read(
    dialect: Dialect,
    target: &Target,
    request: &Request,
) -> Result<Question, Failure> {
    match dialect {
        Dialect::OpenAi => chat::read_openai(target, &request.body),
        Dialect::Anthropic => messages::read(target, request),
        Dialect::Gemini => generate::read(target, request),
        Dialect::Mistral => chat::read_mistral(target, &request.body),
    }
}

/// Parses a JSON body; what does not fit is the caller's mistake.
fn parse<'a, T: serde::Deserialize<'a>>(body: &'a [u8]) -> Result<T, Failure> {
    serde_json::from_slice(body)
        .map_err(|error| Failure::bad_request(Reason::Plain, format!("invalid body: {error}")))
}

/// Decodes an inline image and reads its header.
fn picture(base64_text: &str, detail: Detail) -> Result<(Format, Picture), Failure> {
    let unreadable =
        || Failure { status: 400, reason: Reason::BadImage, message: None, retry_after_s: None };
    let bytes = STANDARD_PAD_INDIFFERENT.decode(base64_text).map_err(|_| unreadable())?;
    let (format, size) = read_header(&bytes).ok_or_else(unreadable)?;
    Ok((format, Picture { digest: blake3::hash(&bytes), size, detail }))
}

/// The base64 text of a `data:` URI.
fn data_uri_payload(url: &str) -> Option<&str> {
    let (media_type, payload) = url.strip_prefix("data:")?.split_once(',')?;
    media_type.ends_with(";base64").then_some(payload)
}

#[cfg(test)]
mod tests;
