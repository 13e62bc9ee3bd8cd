//! A reply is an answer or an error in a dialect's own form: body, headers and ids.
//!
//! What is said ([`Said`]) is kept apart from how it is written, so that a streamed form can be
//! written of the same thing. Header values are plausible, not recorded.

mod anthropic;
mod gemini;
mod google_auth;
mod mistral;
mod openai;
pub(crate) mod stream;

use serde_json::Value;

use crate::chance::Chance;
use crate::dialect::Dialect;
use crate::dialect::Host;
use crate::failure::Failure;
use crate::tokens::Usage;
use crate::wire::Response;

pub(crate) use crate::reply::google_auth::access_token;
pub(crate) use crate::reply::google_auth::metadata;

/// The access token that the simulated OAuth endpoint and metadata server hand out.
pub const SIMULATED_TOKEN: &str = "ya29.simulated";

/// What a model said, before any dialect writes it down.
#[derive(Debug)]
pub(crate) struct Said<'a> {
    pub(crate) model: &'a str,
    pub(crate) host: Host,
    pub(crate) text: &'a str,
    pub(crate) finish: Finish,
    pub(crate) usage: Usage,
    pub(crate) ids: &'a Chance,
}

/// Why a model stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finish {
    /// It had said everything.
    Complete,
    /// It reached the output limit.
    Truncated,
    /// It would not.
    Refused,
}

/// What models say when they refuse in words.
const REFUSAL: &str = "I'm sorry, I can't assist with that request.";

/// The status of an error that comes inside of an answer which began well.
pub(crate) const OVERLOADED: u16 = 503;

/// A fixed instant for `created` fields: the same call gives the same bytes.
const CREATED_S: u64 = 1_795_250_000;

/// The whole answer.
pub(crate) fn answer(dialect: Dialect, said: &Said<'_>) -> Response {
    let body = match dialect {
        Dialect::OpenAi => openai::answer(said),
        Dialect::Anthropic => anthropic::answer(said),
        Dialect::Gemini => gemini::answer(said),
        Dialect::Mistral => mistral::answer(said),
    };
    json_response(200, headers(dialect, said.host, said.ids), &body)
}

/// An error.
pub(crate) fn failure(dialect: Dialect, host: Host, failure: &Failure, ids: &Chance) -> Response {
    let mut headers = headers(dialect, host, ids);
    let is_google_quota = host == Host::Vertex && failure.status == 429;
    let body = match dialect {
        Dialect::OpenAi => openai::error(host, failure, &mut headers),
        // Vertex AI answers for its own quota, whoever's model it serves.
        Dialect::Anthropic | Dialect::Mistral if is_google_quota => gemini::error(host, failure),
        Dialect::Anthropic => anthropic::error(failure, ids, &mut headers),
        Dialect::Gemini => gemini::error(host, failure),
        Dialect::Mistral => mistral::error(failure, &mut headers),
    };
    match body {
        ErrorBody::Json(body) => json_response(failure.status, headers, &body),
        ErrorBody::Text { content_type, text } => {
            let headers = vec![("content-type", content_type.to_owned())];
            Response { status: failure.status, headers, body: text.as_bytes().to_vec() }
        }
    }
}

/// What the reply to this call calls itself, where a caller finds it; none where the dialect has no
/// such id.
pub(crate) fn request_id(dialect: Dialect, host: Host, ids: &Chance) -> Option<String> {
    if dialect == Dialect::Gemini {
        // There is no header: the body of an answer has it, an error has none.
        return Some(ids.hex("answer id"));
    }
    headers(dialect, host, ids).into_iter().find_map(|(name, id)| {
        ["x-request-id", "request-id", "mistral-correlation-id"].contains(&name).then_some(id)
    })
}

/// The body of an error: front ends of providers do not always answer JSON.
enum ErrorBody {
    Json(Value),
    Text { content_type: &'static str, text: &'static str },
}

/// What a proxy in front of the model servers says when they are too slow.
const UPSTREAM_TIMEOUT: ErrorBody =
    ErrorBody::Text { content_type: "text/plain", text: "upstream request timeout" };

type Headers = Vec<(&'static str, String)>;

fn headers(dialect: Dialect, host: Host, ids: &Chance) -> Headers {
    match dialect {
        Dialect::OpenAi => openai::headers(host, ids),
        Dialect::Anthropic => anthropic::headers(ids),
        Dialect::Gemini => gemini::headers(),
        Dialect::Mistral => mistral::headers(ids),
    }
}

fn json_response(status: u16, mut headers: Headers, body: &Value) -> Response {
    headers.insert(0, ("content-type", "application/json; charset=utf-8".to_owned()));
    Response { status, headers, body: body.to_string().into_bytes() }
}

#[cfg(test)]
mod tests;
