//! A dialect is a provider's wire form: a pure function from a question to a request, and one from
//! a response to an answer or an error. Everything that waits is elsewhere.

use serde_json::Value;

use crate::domain::AttemptOutcome;
use crate::panel::AttemptError;
use crate::provider::answer::{Said, Shape, Unread};
use crate::provider::model::Model;
use crate::provider::settings::Kind;
use crate::provider::wire::{self, Ask, Reply, WireRequest, WireResponse};
use crate::provider::{anthropic, classify, gemini, mistral, openai, stream};

/// The wire forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// Chat completions.
    OpenAi,
    /// Messages.
    Anthropic,
    /// generateContent.
    Gemini,
    /// Mistral's chat completions.
    Mistral,
}

/// What a provider's word for the end of a reply says about its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The model said what it wanted to say, as far as is known.
    Whole,
    /// The output limit cut it.
    Cut,
    /// The provider decided against the content.
    Refused,
    /// The provider broke.
    Broken,
    /// The model's output made no sense to the provider.
    Unreadable,
    /// Our account is the cause.
    Account,
}

impl Dialect {
    /// Every dialect.
    pub const ALL: [Self; 4] = [Self::OpenAi, Self::Anthropic, Self::Gemini, Self::Mistral];

    /// The dialect of a kind of provider.
    #[must_use]
    pub fn of(kind: &Kind) -> Self {
        match kind {
            Kind::OpenAi
            | Kind::Compatible
            | Kind::OpenRouter
            | Kind::AzureDeployment { .. }
            | Kind::AzureV1 => Self::OpenAi,
            Kind::Anthropic { .. } => Self::Anthropic,
            Kind::Gemini { .. } | Kind::Vertex { .. } | Kind::VertexExpress { .. } => Self::Gemini,
            Kind::Mistral => Self::Mistral,
        }
    }

    /// The word used in records and metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
            Self::Mistral => "mistral",
        }
    }

    /// Whether a stream tells what the pictures cost before it says anything of them.
    #[must_use]
    pub const fn counts_first(self) -> bool {
        match self {
            Self::Anthropic | Self::Gemini => true,
            Self::OpenAi | Self::Mistral => false,
        }
    }

    /// Adds an event of a stream to the reply so far.
    pub(crate) fn add(self, reply: &mut Reply, event: &Value) {
        match self {
            Self::OpenAi | Self::Mistral => openai::add(reply, event),
            Self::Anthropic => anthropic::add(reply, event),
            Self::Gemini => gemini::add(reply, event),
        }
    }

    fn reply(self, body: &Value) -> Reply {
        match self {
            Self::OpenAi | Self::Mistral => openai::reply(body),
            Self::Anthropic => anthropic::reply(body),
            Self::Gemini => gemini::reply(body),
        }
    }

    fn ended(self, finish: &str) -> Ended {
        match self {
            Self::OpenAi => openai::ended(finish),
            Self::Anthropic => anthropic::ended(finish),
            Self::Gemini => gemini::ended(finish),
            Self::Mistral => mistral::ended(finish),
        }
    }
}

/// Writes the request that puts `ask` to `model`.
///
/// # Errors
/// When the body cannot be written, which no question causes.
pub fn encode(model: &Model, ask: &Ask<'_>) -> Result<WireRequest, serde_json::Error> {
    match Dialect::of(&model.kind) {
        Dialect::OpenAi => openai::encode(model, ask),
        Dialect::Anthropic => anthropic::encode(model, ask),
        Dialect::Gemini => gemini::encode(model, ask),
        Dialect::Mistral => mistral::encode(model, ask),
    }
}

/// A request with the headers that every request of this kind of provider has.
#[must_use]
pub fn dress(kind: &Kind, request: WireRequest) -> WireRequest {
    match Dialect::of(kind) {
        Dialect::Anthropic => anthropic::dress(kind, request),
        Dialect::OpenAi | Dialect::Gemini | Dialect::Mistral => request,
    }
}

/// Reads a response as an answer of `shape`, with the reply it stood in.
///
/// # Errors
/// Everything that is not the asked answer, by what it is instead.
pub fn decode(
    dialect: Dialect,
    response: &WireResponse,
    shape: &Shape,
) -> Result<(Said, Reply), AttemptError> {
    if !(200..300).contains(&response.status) {
        return Err(classify::http_error(dialect, response));
    }
    let mut reply = read(dialect, response)?;
    reply.request_id = wire::request_id(response).or(reply.request_id);
    let said = conclude(dialect, &reply, shape)?;
    Ok((said, reply))
}

fn read(dialect: Dialect, response: &WireResponse) -> Result<Reply, AttemptError> {
    if response.is_stream() {
        return stream::assemble(dialect, response);
    }
    let nothing = Reply { request_id: wire::request_id(response), ..Reply::default() };
    if !response.whole {
        let why = format!("the body ended after {} bytes", response.body.len());
        return Err(nothing.fails(AttemptOutcome::Truncated, &why));
    }
    if response.body.trim_ascii().is_empty() {
        return Err(nothing.fails(AttemptOutcome::Empty, "the body is empty"));
    }
    let body: Value = serde_json::from_slice(&response.body).map_err(|why| {
        // a body that is closed by the connection's end can stop anywhere
        let cut = why.is_eof();
        let outcome = if cut { AttemptOutcome::Truncated } else { AttemptOutcome::Unreadable };
        nothing.fails(outcome, &format!("the body is not JSON: {why}"))
    })?;
    if classify::is_complaint(&body) {
        return Err(classify::in_band(dialect, response, &body));
    }
    Ok(dialect.reply(&body))
}

/// From a reply to its answer: a refusal, a cut or a break is never read, however well its text
/// would parse.
///
/// # Errors
/// Everything that is not the asked answer, by what it is instead.
pub(crate) fn conclude(
    dialect: Dialect,
    reply: &Reply,
    shape: &Shape,
) -> Result<Said, AttemptError> {
    if let Some(words) = &reply.refusal {
        return Err(reply.fails(AttemptOutcome::Refused, words));
    }
    let finish = reply.finish.as_deref().unwrap_or_default();
    let outcome = match dialect.ended(finish) {
        Ended::Whole => {
            return shape.read(&reply.text).map_err(|why| {
                let outcome = match why {
                    Unread::Empty => AttemptOutcome::Empty,
                    Unread::Malformed(_) => AttemptOutcome::Unreadable,
                };
                reply.fails(outcome, &format!("{why} (finish reason {finish:?})"))
            });
        }
        Ended::Cut => AttemptOutcome::Truncated,
        Ended::Refused => AttemptOutcome::Refused,
        Ended::Broken => AttemptOutcome::ServerError,
        Ended::Unreadable => AttemptOutcome::Unreadable,
        Ended::Account => AttemptOutcome::Auth,
    };
    Err(reply.fails(outcome, &format!("finish reason {finish:?}")))
}
