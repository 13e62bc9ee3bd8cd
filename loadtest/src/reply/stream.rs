//! A streamed reply is an answer cut into the events that each dialect would send.
//!
//! The pieces of text are as long as the ones seen on the wire, so a reader meets numbers cut in two;
//! one cut is always made where the last score is complete, because a gate may answer there.

use serde_json::Value;
use serde_json::json;

use crate::dialect::Dialect;
use crate::dialect::Host;
use crate::failure::Failure;
use crate::reply;
use crate::reply::ErrorBody;
use crate::reply::Finish;
use crate::reply::REFUSAL;
use crate::reply::Said;
use crate::reply::anthropic;
use crate::reply::gemini;
use crate::reply::mistral;
use crate::reply::openai;
use crate::request::StreamForm;
use crate::wire::Response;

/// The events of one answer, each as the text that is sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Events {
    /// Before any text.
    pub(crate) opening: String,
    /// One for each piece of the text.
    pub(crate) pieces: Vec<String>,
    /// How many of the pieces hold every score; all of them when there is no score.
    pub(crate) scored: usize,
    /// After the text: why it stopped and, in most dialects, what it costs.
    pub(crate) closing: String,
    /// What makes the end an end; a stream without it was cut.
    pub(crate) marker: String,
}

/// Writes an answer as events. `scored_bytes` of its text hold every score.
pub(crate) fn events(
    dialect: Dialect,
    said: &Said<'_>,
    form: StreamForm,
    scored_bytes: Option<usize>,
) -> Events {
    let spoken = spoken(dialect, said);
    let split =
        scored_bytes.filter(|_| spoken == said.text).and_then(|at| spoken.split_at_checked(at));
    let (scores, rest) = split.unwrap_or((spoken, ""));
    let length_chars = piece_chars(dialect);
    let scores = cut(scores, length_chars);
    let scored = scores.len();
    let texts: Vec<&str> = scores.into_iter().chain(cut(rest, length_chars)).collect();
    let events = match dialect {
        Dialect::OpenAi => openai::events(said, form, &texts),
        Dialect::Anthropic => anthropic::events(said, &texts),
        Dialect::Gemini => gemini::events(said, &texts),
        Dialect::Mistral => mistral::events(said, &texts),
    };
    Events { scored, ..events }
}

/// The head of a stream; its body follows in chunks.
pub(crate) fn head(dialect: Dialect, said: &Said<'_>) -> Response {
    let mut headers = reply::headers(dialect, said.host, said.ids);
    headers.insert(0, ("content-type", "text/event-stream; charset=utf-8".to_owned()));
    headers.push(("cache-control", "no-cache".to_owned()));
    Response { status: 200, headers, body: Vec::new() }
}

/// The event of an overload that shows in the middle of an answer.
pub(crate) fn error_event(dialect: Dialect, said: &Said<'_>) -> String {
    // Inside of a stream Mistral speaks of its own errors, Anthropic of its load.
    let status = match dialect {
        Dialect::OpenAi | Dialect::Mistral => 500,
        Dialect::Anthropic => 529,
        Dialect::Gemini => 503,
    };
    let failure = Failure::of_status(status, None);
    let mut headers = Vec::new();
    let body = match dialect {
        Dialect::OpenAi => openai::error(Host::Direct, &failure, &mut headers),
        Dialect::Anthropic => anthropic::error(&failure, said.ids, &mut headers),
        Dialect::Gemini => gemini::error(Host::Direct, &failure),
        Dialect::Mistral => mistral::error(&failure, &mut headers),
    };
    let body = match body {
        ErrorBody::Json(body) => body,
        ErrorBody::Text { text, .. } => json!({"error": {"message": text}}),
    };
    match dialect {
        Dialect::OpenAi | Dialect::Mistral => unnamed(&body),
        Dialect::Anthropic => named("error", &body),
        Dialect::Gemini => windows(&body),
    }
}

/// An event without a name.
pub(super) fn unnamed(body: &Value) -> String {
    format!("data: {body}\n\n")
}

/// An event with a name, as Anthropic sends them.
pub(super) fn named(name: &str, body: &Value) -> String {
    format!("event: {name}\ndata: {body}\n\n")
}

/// An event with the line ends that Google sends.
pub(super) fn windows(body: &Value) -> String {
    format!("data: {body}\r\n\r\n")
}

/// How OpenAI and Mistral end a stream.
pub(super) const DONE: &str = "data: [DONE]\n\n";

/// What is said word by word: a refusal is words in two dialects, half a sentence in one.
fn spoken<'a>(dialect: Dialect, said: &Said<'a>) -> &'a str {
    match (said.finish, dialect) {
        (Finish::Complete | Finish::Truncated, _) => said.text,
        (Finish::Refused, Dialect::OpenAi | Dialect::Mistral) => REFUSAL,
        (Finish::Refused, Dialect::Anthropic) => {
            let end = said.text.char_indices().nth(REFUSED_AFTER_CHARS);
            end.and_then(|(at, _)| said.text.get(..at)).unwrap_or_default()
        }
        (Finish::Refused, Dialect::Gemini) => "",
    }
}

/// How much is written before a classifier stops it; less than any score takes.
const REFUSED_AFTER_CHARS: usize = 9;

/// The usual length of a piece, as in the recorded streams.
const fn piece_chars(dialect: Dialect) -> usize {
    match dialect {
        Dialect::OpenAi | Dialect::Mistral => 17,
        Dialect::Anthropic => 23,
        Dialect::Gemini => 61,
    }
}

/// The text in pieces of this many characters.
fn cut(text: &str, length_chars: usize) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.char_indices().nth(length_chars).map_or(rest.len(), |(at, _)| at);
        let (piece, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
        pieces.push(piece);
        rest = after;
    }
    pieces
}
