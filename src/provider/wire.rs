//! What goes over the wire and what comes back, before any dialect has read it.
//!
//! A request's body is written once, by the dialect, and holds each picture as a counted reference
//! to the one copy that every attempt shares ([`Pieces`]).

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde::{Serialize, Serializer};

use crate::domain::{AttemptOutcome, Tokens};
use crate::imaging::{VIEW_MEDIA_TYPE, View};
use crate::panel::struck::Struck;
use crate::panel::{AttemptError, Question};
use crate::provider::answer::Shape;
use crate::provider::pieces::{Pieces, Splicer};

/// Longest error text kept, in characters.
const DETAIL_CHARS: usize = 300;

/// Longest id of a call that is kept, in characters.
const REQUEST_ID_CHARS: usize = 128;

/// What is asked of a model, in no dialect yet.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The system prompt.
    pub system: &'a str,
    /// The user prompt.
    pub user: &'a str,
    /// The pictures, in order.
    pub views: &'a [View],
    /// Visible output allowance in tokens.
    pub max_output_tokens: u32,
    /// What the answer must look like.
    pub shape: &'a Shape,
}

impl<'a> Ask<'a> {
    /// Asks `question` for an answer of `shape`.
    #[must_use]
    pub fn new(question: &'a Question, shape: &'a Shape) -> Self {
        Self {
            system: &question.system,
            user: &question.user,
            views: &question.views,
            max_output_tokens: question.max_output_tokens,
            shape,
        }
    }

    /// What a picture is called in front of it, where there is more than one.
    #[must_use]
    pub fn label(&self, view: &View) -> Option<Cow<'a, str>> {
        (1 < self.views.len()).then(|| Cow::Owned(format!("{}:", view.id)))
    }

    /// Writes `body` as JSON around the pictures.
    ///
    /// # Errors
    /// Nothing that a body of ours can cause; kept so that no caller need believe it.
    pub(crate) fn write(&self, body: &impl Serialize) -> Result<Pieces, serde_json::Error> {
        let mut splicer = Splicer::new(self.views);
        serde_json::to_writer(&mut splicer, body)?;
        Ok(splicer.finish())
    }
}

/// A picture as a `data:` URL, written without being assembled first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DataUrl<'a>(pub(crate) &'a View);

impl Serialize for DataUrl<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer
            .collect_str(&format_args!("data:{VIEW_MEDIA_TYPE};base64,{}", self.0.jpeg.as_str()))
    }
}

/// One HTTP request, without its key.
#[derive(Clone, Debug)]
pub struct WireRequest {
    /// The method.
    pub method: Method,
    /// Path and query below the provider's base URL.
    pub path: String,
    /// The dialect's own headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Pieces,
    /// Marked when a drill breaks this call.
    pub struck: Struck,
}

impl WireRequest {
    /// A JSON body for `path`.
    #[must_use]
    pub fn post(path: String, body: impl Into<Pieces>) -> Self {
        let json = HeaderValue::from_static("application/json");
        let mut headers = HeaderMap::new();
        headers.insert(http::header::CONTENT_TYPE, json.clone());
        headers.insert(http::header::ACCEPT, json);
        let body = body.into();
        Self { method: Method::POST, path, headers, body, struck: Struck::default() }
    }

    /// A question without a body.
    #[must_use]
    pub fn get(path: String) -> Self {
        Self {
            method: Method::GET,
            path,
            headers: HeaderMap::new(),
            body: Pieces::default(),
            struck: Struck::default(),
        }
    }

    /// This request with one more header.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }
}

/// One HTTP response, read to its end.
#[derive(Clone, Debug)]
pub struct WireResponse {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, as far as it came.
    pub body: Bytes,
    /// Whether the transport saw the body's end.
    pub whole: bool,
}

impl WireResponse {
    /// A header's text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Whether the body is a stream of events.
    #[must_use]
    pub fn is_stream(&self) -> bool {
        is_stream(&self.headers)
    }
}

/// A model's reply, common to all dialects.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reply {
    /// The visible text, thoughts left out.
    pub text: String,
    /// Why the provider would not look, in its words.
    pub refusal: Option<String>,
    /// Why the model stopped, in the provider's word.
    pub finish: Option<String>,
    /// Whether the terminal marker of a stream was seen.
    pub closed: bool,
    /// The provider's count.
    pub tokens: Option<Tokens>,
    /// The provider's id of the call.
    pub request_id: Option<String>,
}

impl Reply {
    /// An error that keeps what this reply says of the call.
    #[must_use]
    pub fn fails(&self, outcome: AttemptOutcome, why: &str) -> AttemptError {
        AttemptError {
            tokens: self.tokens,
            request_id: self.request_id.clone(),
            ..AttemptError::new(outcome, detail(why))
        }
    }
}

/// Whether the body behind `headers` is a stream of events.
pub(crate) fn is_stream(headers: &HeaderMap) -> bool {
    let kind = headers.get(http::header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("text/event-stream"))
}

/// A provider's words, cut to what a record keeps, on one line.
#[must_use]
pub fn detail(words: &str) -> String {
    let one_line = |c: char| if c.is_control() { ' ' } else { c };
    words.chars().take(DETAIL_CHARS).map(one_line).collect()
}

/// The id that the provider gave the call, from the headers it is known to use.
#[must_use]
pub fn request_id(response: &WireResponse) -> Option<String> {
    const HEADERS: [&str; 6] = [
        "x-request-id",
        "request-id",
        "apim-request-id",
        "x-generation-id",
        "mistral-correlation-id",
        "x-kong-request-id",
    ];
    let found = HEADERS.iter().find_map(|name| response.header(name));
    found.map(|id| id.chars().take(REQUEST_ID_CHARS).collect())
}
