//! What callers say beside the body: who the request is, how long they wait, whether it is a
//! repetition; and what we say beside the answer: where the time went.

use std::fmt;
use std::fmt::Write as _;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::Response;
use uuid::Uuid;

use crate::domain::record::Timing;
use crate::http::problem::{Problem, ProblemKind};

/// Names one request across services.
pub const REQUEST_ID: &str = "x-request-id";
/// Makes a repetition of a request safe.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// `true` on an answer that was given before.
pub const IDEMPOTENCY_REPLAYED: &str = "idempotency-replayed";
/// Where the time went.
pub const SERVER_TIMING: &str = "server-timing";
/// The W3C trace context.
pub const TRACEPARENT: &str = "traceparent";

const DEADLINE_MS: &str = "vlmgate-deadline-ms";
const ENVOY_DEADLINE_MS: &str = "x-envoy-expected-rq-timeout-ms";
const GRPC_TIMEOUT: &str = "grpc-timeout";

const REQUEST_ID_BYTES: usize = 128;
const IDEMPOTENCY_KEY_BYTES: usize = 255;

/// The id of one request: the caller's, or ours where the caller sent none that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(String);

impl RequestId {
    /// The caller's `X-Request-Id` where it is 1 to 128 visible ASCII characters, else a new one.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let theirs = headers.get(REQUEST_ID).and_then(|value| visible(value, REQUEST_ID_BYTES));
        Self(theirs.map_or_else(|| Uuid::now_v7().to_string(), str::to_owned))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Our place in the caller's trace (W3C Trace Context), or the start of a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// Shared by everything the caller's request set off.
    pub trace_id: u128,
    /// The caller's span; `None` where the trace begins here.
    pub parent_id: Option<u64>,
    /// Our own span.
    pub span_id: u64,
    /// Whether the caller records this trace.
    pub sampled: bool,
}

impl TraceContext {
    /// Continues the caller's `traceparent`; one that cannot be read starts a new trace, as the
    /// standard asks.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let span_id = rand::random::<u64>().max(1);
        let theirs = headers.get(TRACEPARENT).and_then(|value| value.to_str().ok());
        match theirs.and_then(read_traceparent) {
            Some((trace_id, parent_id, flags)) => {
                let sampled = flags & 1 == 1;
                Self { trace_id, parent_id: Some(parent_id), span_id, sampled }
            }
            None => {
                let trace_id = rand::random::<u128>().max(1);
                Self { trace_id, parent_id: None, span_id, sampled: false }
            }
        }
    }

    /// The trace's id, 32 hex digits.
    #[must_use]
    pub fn trace_id_hex(&self) -> String {
        format!("{:032x}", self.trace_id)
    }
}

/// Trace id, parent id and flags of `00-<32 hex>-<16 hex>-<2 hex>`. A later version may say more
/// behind a further dash; version `ff` is no version.
fn read_traceparent(text: &str) -> Option<(u128, u64, u8)> {
    let mut parts = text.trim().splitn(5, '-');
    let version = hex(parts.next()?, 2)?;
    let trace_id = hex(parts.next()?, 32)?;
    let parent_id = u64::try_from(hex(parts.next()?, 16)?).ok()?;
    let flags = u8::try_from(hex(parts.next()?, 2)?).ok()?;
    let says_more = parts.next().is_some();
    let is_valid = version != 0xff && trace_id != 0 && parent_id != 0;
    (is_valid && (version != 0 || !says_more)).then_some((trace_id, parent_id, flags))
}

fn hex(text: &str, digits: usize) -> Option<u128> {
    let is_lower_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let is_hex = text.len() == digits && text.bytes().all(is_lower_hex);
    is_hex.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

/// How long the caller waits: the shortest of every deadline header, `None` where there is none.
/// It can only shorten the policy's deadline.
///
/// # Errors
/// `bad_request` that names the header which cannot be read: a deadline that was misread is worse
/// than a refusal.
pub fn deadline(headers: &HeaderMap) -> Result<Option<Duration>, Problem> {
    type Read = fn(&str) -> Option<Duration>;
    let readers: [(&str, Read, &str); 3] = [
        (DEADLINE_MS, read_ms, "whole milliseconds"),
        (ENVOY_DEADLINE_MS, read_ms, "whole milliseconds"),
        (GRPC_TIMEOUT, read_grpc_timeout, "1 to 8 digits and a unit of H M S m u n"),
    ];
    let mut shortest: Option<Duration> = None;
    for (name, read, expected) in readers {
        for value in headers.get_all(name) {
            let text = value.to_str().unwrap_or_default().trim();
            let wait = read(text).ok_or_else(|| {
                let detail = format!("the header {name} is {text:?}, expected {expected}");
                Problem::new(ProblemKind::BadRequest, detail)
            })?;
            shortest = Some(shortest.map_or(wait, |so_far| so_far.min(wait)));
        }
    }
    Ok(shortest)
}

fn read_ms(text: &str) -> Option<Duration> {
    digits(text, 12).map(Duration::from_millis)
}

fn read_grpc_timeout(text: &str) -> Option<Duration> {
    let unit = text.chars().next_back()?;
    let amount = digits(text.strip_suffix(unit)?, 8)?;
    match unit {
        'H' => Some(Duration::from_secs(amount.saturating_mul(3_600))),
        'M' => Some(Duration::from_secs(amount.saturating_mul(60))),
        'S' => Some(Duration::from_secs(amount)),
        'm' => Some(Duration::from_millis(amount)),
        'u' => Some(Duration::from_micros(amount)),
        'n' => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

fn digits(text: &str, most: usize) -> Option<u64> {
    let is_number = text.len() <= most && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

/// The caller's name for one piece of work: the same key and image get the same answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// The `Idempotency-Key`, `None` where there is none.
    ///
    /// # Errors
    /// `bad_request` when it is not 1 to 255 visible ASCII characters, or is given twice.
    pub fn of(headers: &HeaderMap) -> Result<Option<Self>, Problem> {
        let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
        let Some(value) = values.next() else {
            return Ok(None);
        };
        if values.next().is_some() {
            let detail = format!("the header {IDEMPOTENCY_KEY} is given twice");
            return Err(Problem::new(ProblemKind::BadRequest, detail));
        }
        let key = visible(value, IDEMPOTENCY_KEY_BYTES).ok_or_else(|| {
            let detail = format!(
                "the header {IDEMPOTENCY_KEY} has {} bytes, expected 1 to {IDEMPOTENCY_KEY_BYTES} \
                 visible ASCII characters",
                value.len()
            );
            Problem::new(ProblemKind::BadRequest, detail)
        })?;
        Ok(Some(Self(key.to_owned())))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text of `value` where it is 1 to `most_bytes` visible ASCII characters.
fn visible(value: &HeaderValue, most_bytes: usize) -> Option<&str> {
    let text = value.to_str().ok()?;
    let is_visible = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    (is_visible && text.len() <= most_bytes).then_some(text)
}

/// The `Server-Timing` of a verdict: `read;dur=1.2, …, total;dur=655`. Browsers and load tools
/// show it without knowing us.
#[must_use]
pub fn server_timing(timing: &Timing) -> HeaderValue {
    let stages = [
        ("read", Some(timing.read)),
        ("decode", Some(timing.decode)),
        ("checks", Some(timing.checks)),
        ("prepare", Some(timing.prepare)),
        ("judge", Some(timing.judge)),
        ("record", timing.record),
        ("total", Some(timing.total)),
    ];
    let mut text = String::new();
    for (stage, took_ms) in stages {
        let Some(took_ms) = took_ms else { continue };
        let comma = if text.is_empty() { "" } else { ", " };
        let took_ms = (took_ms * 1e3).round() / 1e3;
        // writing to a string does not fail
        let _ = write!(text, "{comma}{stage};dur={took_ms}");
    }
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// Middleware: gives the request its [`RequestId`] and [`TraceContext`] as extensions, returns the
/// id on the answer, and writes it into the answer's problem, if it is one.
pub async fn identify(mut request: Request, next: Next) -> Response {
    let id = RequestId::of(request.headers());
    let trace = TraceContext::of(request.headers());
    let is_head = request.method() == Method::HEAD;
    request.extensions_mut().insert(id.clone());
    request.extensions_mut().insert(trace);
    let mut response = next.run(request).await;
    let problem = response.extensions().get::<Problem>();
    if let Some(document) = problem.map(|problem| problem.to_json(Some(id.as_str()))) {
        response.headers_mut().remove(header::CONTENT_LENGTH);
        *response.body_mut() = if is_head { Body::empty() } else { Body::from(document) };
    }
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

#[cfg(test)]
mod tests;
