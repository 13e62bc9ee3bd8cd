//! A problem is a refusal as the caller reads it (RFC 9457): one table says every kind's status,
//! code and title, so that no handler invents its own.
//!
//! `code` is what programs match on, `detail` what people read. What operators need to know beyond
//! that goes to the log, never into a problem.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::clock::Late;
use crate::domain::Inadmissible;

/// The media type of every problem.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// Longest detail, in characters: a parser's message may quote the caller's whole body.
const DETAIL_CHARS: usize = 400;

/// Most faulty fields that one problem lists.
const MAX_ERRORS: usize = 32;

/// Every kind of refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProblemKind {
    /// A request that cannot be read: bad JSON, bad multipart, a malformed header or parameter.
    BadRequest,
    /// No key, or one that nobody has.
    Unauthenticated,
    /// The key lacks the role.
    Forbidden,
    /// A browser sends it from somebody else's page.
    ForeignOrigin,
    /// Without keys only a loopback host is answered.
    BadHost,
    /// No such route or record.
    NotFound,
    /// No policy of that name.
    UnknownPolicy,
    /// The route exists, the method does not.
    MethodNotAllowed,
    /// The body was not in by the deadline less the floor.
    BodyLate,
    /// The same idempotency key is under way.
    IdempotencyRunning,
    /// The same idempotency key came with another image.
    IdempotencyMismatch,
    /// More bytes than are taken.
    TooLarge,
    /// The body's declared type or encoding is none that is read.
    UnsupportedMediaType,
    /// The bytes are no image the gate reads.
    UnknownFormat,
    /// A format that the policy does not take.
    NotAccepted,
    /// There are no image bytes.
    Empty,
    /// More pixels than the policy takes.
    TooManyPixels,
    /// Decoding would take too much memory.
    TooMuchMemory,
    /// The image cannot be decoded.
    Corrupt,
    /// Decoding took too long.
    TooSlow,
    /// A drill that no gate would run.
    BadDrill,
    /// The gate cannot run this drill now.
    DrillRefused,
    /// A variable that the policy does not know, or a value outside its list.
    BadVariable,
    /// The caller asks for less time than the route's floor.
    DeadlineBelowFloor,
    /// `on=strict`, and the verdict is `fail`.
    VerdictFailed,
    /// The new configuration is invalid; the last good one stays.
    ReloadFailed,
    /// A fault of ours.
    Internal,
    /// The store did not say in time whether it has it.
    NotConfirmed,
    /// No room: try again.
    Overloaded,
    /// The process is about to stop: try another replica.
    Draining,
}

impl ProblemKind {
    /// Every kind, in the order of the table.
    pub const ALL: [Self; 30] = [
        Self::BadRequest,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::ForeignOrigin,
        Self::BadHost,
        Self::NotFound,
        Self::UnknownPolicy,
        Self::MethodNotAllowed,
        Self::BodyLate,
        Self::IdempotencyRunning,
        Self::IdempotencyMismatch,
        Self::TooLarge,
        Self::UnsupportedMediaType,
        Self::UnknownFormat,
        Self::NotAccepted,
        Self::Empty,
        Self::TooManyPixels,
        Self::TooMuchMemory,
        Self::Corrupt,
        Self::TooSlow,
        Self::BadDrill,
        Self::DrillRefused,
        Self::BadVariable,
        Self::DeadlineBelowFloor,
        Self::VerdictFailed,
        Self::ReloadFailed,
        Self::Internal,
        Self::NotConfirmed,
        Self::Overloaded,
        Self::Draining,
    ];

    /// The one table: status, code, title.
    fn row(self) -> (StatusCode, &'static str, &'static str) {
        // short names for the statuses that recur, so that a row is a line
        const UNREADABLE: StatusCode = StatusCode::UNPROCESSABLE_ENTITY;
        const MEDIA: StatusCode = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        const AWAY: StatusCode = StatusCode::SERVICE_UNAVAILABLE;
        match self {
            Self::BadRequest => {
                (StatusCode::BAD_REQUEST, "bad_request", "The request cannot be read")
            }
            Self::Unauthenticated => {
                (StatusCode::UNAUTHORIZED, "unauthenticated", "A key is needed")
            }
            Self::Forbidden => (StatusCode::FORBIDDEN, "forbidden", "The key lacks the role"),
            Self::ForeignOrigin => {
                (StatusCode::FORBIDDEN, "foreign_origin", "The request comes from another site")
            }
            Self::BadHost => (StatusCode::FORBIDDEN, "bad_host", "The host is not this gate"),
            Self::NotFound => (StatusCode::NOT_FOUND, "not_found", "There is nothing here"),
            Self::UnknownPolicy => {
                (StatusCode::NOT_FOUND, "unknown_policy", "There is no such policy")
            }
            Self::MethodNotAllowed => (
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "The route does not take this method",
            ),
            Self::BodyLate => {
                (StatusCode::REQUEST_TIMEOUT, "body_late", "The body came too late to be judged")
            }
            Self::IdempotencyRunning => (
                StatusCode::CONFLICT,
                "idempotency_running",
                "The first request with this key is still running",
            ),
            Self::IdempotencyMismatch => {
                (UNREADABLE, "idempotency_mismatch", "This key was used for another request")
            }
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too_large", "Too many bytes"),
            Self::UnsupportedMediaType => {
                (MEDIA, "unsupported_media_type", "The body's type is not read")
            }
            Self::UnknownFormat => (MEDIA, "unknown_format", "The bytes are not an image"),
            Self::NotAccepted => (MEDIA, "not_accepted", "The policy does not accept the format"),
            Self::Empty => (UNREADABLE, "empty", "The image is empty"),
            Self::TooManyPixels => (UNREADABLE, "too_many_pixels", "Too many pixels"),
            Self::TooMuchMemory => {
                (UNREADABLE, "too_much_memory", "Decoding would take too much memory")
            }
            Self::Corrupt => (UNREADABLE, "corrupt", "The image cannot be decoded"),
            Self::TooSlow => (UNREADABLE, "too_slow", "Decoding took too long"),
            Self::BadDrill => (UNREADABLE, "bad_drill", "No gate runs such a drill"),
            Self::DrillRefused => {
                (StatusCode::CONFLICT, "drill_refused", "The gate runs no such drill now")
            }
            Self::BadVariable => {
                (UNREADABLE, "bad_variable", "The policy does not take this variable")
            }
            Self::DeadlineBelowFloor => {
                (UNREADABLE, "deadline_below_floor", "The deadline is below the policy's floor")
            }
            Self::VerdictFailed => (UNREADABLE, "verdict_failed", "The verdict is fail"),
            Self::ReloadFailed => (UNREADABLE, "reload_failed", "The new configuration is invalid"),
            Self::Internal => {
                (StatusCode::INTERNAL_SERVER_ERROR, "internal", "Something broke on our side")
            }
            Self::NotConfirmed => (AWAY, "not_confirmed", "It is not known whether this was done"),
            Self::Overloaded => (AWAY, "overloaded", "The gate has no room"),
            Self::Draining => (AWAY, "draining", "The gate is about to stop"),
        }
    }

    /// The status it is answered with.
    #[must_use]
    pub fn status(self) -> StatusCode {
        self.row().0
    }

    /// The word programs match on; also the metric label.
    #[must_use]
    pub fn code(self) -> &'static str {
        self.row().1
    }

    /// The same for every problem of the kind.
    #[must_use]
    pub fn title(self) -> &'static str {
        self.row().2
    }

    /// The kind's URI reference: `/problems/verdict-failed`.
    #[must_use]
    pub fn type_uri(self) -> String {
        format!("/problems/{}", self.code().replace('_', "-"))
    }
}

/// One faulty part of the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// JSON Pointer into the request as its JSON form would have it, whichever form came:
    /// `/vars/category` is also the parameter `vars.category`.
    pub pointer: String,
    /// What is wrong with it.
    pub detail: String,
}

/// A refusal. Answer with it: it is an `IntoResponse`, and the request id is filled in by
/// [`crate::http::headers::identify`].
#[derive(Clone, Debug)]
pub struct Problem {
    /// What kind it is.
    pub kind: ProblemKind,
    /// What went wrong this time, for people.
    pub detail: String,
    /// The faulty parts, where they can be named.
    pub errors: Vec<FieldError>,
    /// When to come again: sent as `Retry-After`.
    pub retry_after: Option<Duration>,
    /// The methods that the route takes: sent as `Allow`.
    pub allow: Option<&'static str>,
    /// The verdict, for [`ProblemKind::VerdictFailed`].
    pub verdict: Option<Box<RawValue>>,
}

impl Problem {
    /// A problem of `kind`; `detail` is cut to a bounded length.
    #[must_use]
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        let detail = shorten(detail.into());
        Self { kind, detail, errors: Vec::new(), retry_after: None, allow: None, verdict: None }
    }

    /// This problem, with one faulty part named.
    #[must_use]
    pub fn at(mut self, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        if self.errors.len() < MAX_ERRORS {
            let (pointer, detail) = (shorten(pointer.into()), shorten(detail.into()));
            self.errors.push(FieldError { pointer, detail });
        }
        self
    }

    /// A problem with one faulty part: its detail is the problem's.
    #[must_use]
    pub fn field(kind: ProblemKind, pointer: &str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self::new(kind, format!("{pointer}: {detail}")).at(pointer, detail)
    }

    /// A variable that is unknown, missing or outside its list.
    #[must_use]
    pub fn bad_variable(name: &str, detail: impl Into<String>) -> Self {
        Self::field(ProblemKind::BadVariable, &pointer(&["vars", name]), detail)
    }

    /// A request with one part that cannot be read.
    #[must_use]
    pub fn bad_field(pointer: &str, detail: impl Into<String>) -> Self {
        Self::field(ProblemKind::BadRequest, pointer, detail)
    }

    /// No room: come again after `retry_after`.
    #[must_use]
    pub fn overloaded(detail: impl Into<String>, retry_after: Duration) -> Self {
        let retry_after = Some(retry_after);
        Self { retry_after, ..Self::new(ProblemKind::Overloaded, detail) }
    }

    /// About to stop: another replica, or this one's successor, answers after `retry_after`.
    #[must_use]
    pub fn draining(retry_after: Duration) -> Self {
        let detail = "this replica takes no more requests, send it to another";
        Self { retry_after: Some(retry_after), ..Self::new(ProblemKind::Draining, detail) }
    }

    /// The route takes other methods: `allow` lists them (`GET, POST`).
    #[must_use]
    pub fn method_not_allowed(allow: &'static str) -> Self {
        let detail = format!("the route takes {allow}");
        Self { allow: Some(allow), ..Self::new(ProblemKind::MethodNotAllowed, detail) }
    }

    /// `on=strict` and the image failed: `verdict` is the answer that 200 would have carried.
    #[must_use]
    pub fn verdict_failed(detail: impl Into<String>, verdict: Box<RawValue>) -> Self {
        let verdict = Some(verdict);
        Self { verdict, ..Self::new(ProblemKind::VerdictFailed, detail) }
    }

    /// A fault of ours; the caller learns no more than that, the log has the rest.
    #[must_use]
    pub fn internal() -> Self {
        Self::new(ProblemKind::Internal, "the request id names this event in the gate's log")
    }

    /// The document, with the id of the request it answers.
    #[must_use]
    pub fn to_json(&self, request_id: Option<&str>) -> Vec<u8> {
        let document = Document {
            r#type: self.kind.type_uri(),
            title: self.kind.title(),
            status: self.kind.status().as_u16(),
            detail: &self.detail,
            code: self.kind.code(),
            request_id,
            errors: &self.errors,
            verdict: self.verdict.as_deref(),
        };
        // strings, numbers and checked JSON: there is nothing here that fails to serialize
        serde_json::to_vec(&document).unwrap_or_default()
    }
}

/// The wire form.
#[derive(Serialize)]
struct Document<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: &'a str,
    code: &'static str,
    request_id: Option<&'a str>,
    errors: &'a [FieldError],
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<&'a RawValue>,
}

impl From<Inadmissible> for Problem {
    fn from(why: Inadmissible) -> Self {
        let kind = match why {
            Inadmissible::Empty => ProblemKind::Empty,
            Inadmissible::TooLarge { .. } => ProblemKind::TooLarge,
            Inadmissible::UnknownFormat => ProblemKind::UnknownFormat,
            Inadmissible::NotAccepted { .. } => ProblemKind::NotAccepted,
            Inadmissible::TooManyPixels { .. } => ProblemKind::TooManyPixels,
            Inadmissible::TooMuchMemory { .. } => ProblemKind::TooMuchMemory,
            Inadmissible::Corrupt { .. } => ProblemKind::Corrupt,
            Inadmissible::TooSlow { .. } => ProblemKind::TooSlow,
        };
        let detail = why.to_string();
        Self::new(kind, detail.clone()).at("/image", detail)
    }
}

impl From<Late> for Problem {
    /// Of a wait for the body; a check that is late has a verdict instead.
    fn from(_: Late) -> Self {
        Self::new(ProblemKind::BodyLate, "the body was not in while there was time to judge it")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.to_json(None)));
        *response.status_mut() = self.kind.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(wait) = self.retry_after {
            let seconds = wait.as_millis().div_ceil(1_000).clamp(1, 86_400);
            let seconds = u32::try_from(seconds).unwrap_or(86_400);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(methods) = self.allow {
            headers.insert(header::ALLOW, HeaderValue::from_static(methods));
        }
        if self.kind == ProblemKind::Unauthenticated {
            let scheme = HeaderValue::from_static("Bearer realm=\"vlmgate\"");
            headers.insert(header::WWW_AUTHENTICATE, scheme);
        }
        if matches!(self.kind, ProblemKind::BodyLate | ProblemKind::TooLarge) {
            // the rest of the body is not read: the connection cannot carry another request
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// The JSON Pointer to `path` (RFC 6901).
#[must_use]
pub fn pointer(path: &[&str]) -> String {
    path.iter().map(|step| format!("/{}", step.replace('~', "~0").replace('/', "~1"))).collect()
}

fn shorten(text: String) -> String {
    match text.char_indices().nth(DETAIL_CHARS) {
        None => text,
        Some((cut, _)) => format!("{}…", text.get(..cut).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests;
