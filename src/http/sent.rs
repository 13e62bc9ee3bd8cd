//! A small JSON body as it is sent: bounded in bytes and in time.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use serde::de::DeserializeOwned;

use crate::clock::Deadline;
use crate::http::problem::{Problem, ProblemKind};

/// Largest body.
const MAX_BYTES: usize = 16 * 1024;
/// Longest that a body may take to come in.
const READ_WITHIN: Duration = Duration::from_secs(5);

/// Reads `body`, which is to be a `what`.
pub(super) async fn sent<T: DeserializeOwned>(body: Body, what: &str) -> Result<T, Problem> {
    let refuse = |why: String| Problem::new(ProblemKind::BadRequest, why);
    let read = Deadline::after(READ_WITHIN).bound(to_bytes(body, MAX_BYTES)).await;
    let read = read.map_err(|_| refuse(format!("the {what} did not come in within 5 s")))?;
    let bytes = read.map_err(|why| refuse(format!("the {what} cannot be read: {why}")))?;
    serde_json::from_slice(&bytes).map_err(|why| refuse(format!("the body is no {what}: {why}")))
}

/// A text that may be left out, but not be empty or too long.
pub(super) fn text(
    text: Option<String>,
    pointer: &str,
    most_chars: usize,
) -> Result<Option<String>, Problem> {
    let chars = text.as_ref().map_or(1, |text| text.chars().count());
    if (1..=most_chars).contains(&chars) {
        return Ok(text);
    }
    let detail = format!("has {chars} characters, expected 1 to {most_chars}");
    Err(Problem::bad_field(pointer, detail))
}
