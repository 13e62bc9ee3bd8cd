//! What people say of a verdict: appended, read back. Role `read`: whoever may look may judge.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::clock::{Deadline, Timestamp};
use crate::http::Face;
use crate::http::auth::Caller;
use crate::http::problem::{Problem, ProblemKind};
use crate::http::range::unreadable;
use crate::http::records::{id_of, no_record, readable};
use crate::ledger::labels::{Label, NewLabel, Said};

/// Largest body.
const MAX_BYTES: usize = 16 * 1024;
/// Longest that a body may take to come in.
const READ_WITHIN: Duration = Duration::from_secs(5);
/// Longest criterion, in characters.
const MAX_CRITERION: usize = 200;
/// Longest note, in characters.
const MAX_NOTE: usize = 1_000;

/// A label as it is sent.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sent {
    label: String,
    criterion: Option<String>,
    note: Option<String>,
}

/// A label as it is answered.
#[derive(Debug, Serialize)]
struct LabelForm {
    id: i64,
    verdict: String,
    label: &'static str,
    criterion: Option<String>,
    note: Option<String>,
    by: String,
    at: String,
}

impl LabelForm {
    fn of(label: Label) -> Self {
        let Label { id, new } = label;
        Self {
            id,
            verdict: new.verdict.to_string(),
            label: new.said.label(),
            criterion: new.criterion,
            note: new.note,
            by: new.by,
            at: new.at.to_string(),
        }
    }
}

/// `POST /v1/verdicts/{id}/label`.
pub(super) async fn post(
    State(face): State<Arc<Face>>,
    Extension(caller): Extension<Caller>,
    id: Result<Path<String>, PathRejection>,
    body: Body,
) -> Result<Response, Problem> {
    let id = readable(id)?;
    let verdict = id_of(&id)?;
    let sent = sent(body).await?;
    let said = Said::ALL.into_iter().find(|one| one.label() == sent.label).ok_or_else(|| {
        let known = Said::ALL.map(Said::label).join(", ");
        Problem::bad_field("/label", format!("is {:?}, expected one of {known}", sent.label))
    })?;
    let new = NewLabel {
        verdict,
        at: Timestamp::now(),
        said,
        criterion: text(sent.criterion, "/criterion", MAX_CRITERION)?,
        note: text(sent.note, "/note", MAX_NOTE)?,
        by: caller.name.to_string(),
    };
    let written = face.gate.ledger.label(new.clone()).await.map_err(unreadable)?;
    let id = written.ok_or_else(|| no_record(&id))?;
    Ok((StatusCode::CREATED, Json(LabelForm::of(Label { id, new }))).into_response())
}

/// `GET /v1/verdicts/{id}/labels`: oldest first.
pub(super) async fn list(
    State(face): State<Arc<Face>>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, Problem> {
    let id = readable(id)?;
    let found = face.gate.ledger.reader().labels(id_of(&id)?).await.map_err(unreadable)?;
    let labels = found.ok_or_else(|| no_record(&id))?;
    let labels: Vec<_> = labels.into_iter().map(LabelForm::of).collect();
    Ok(Json(json!({ "labels": labels })))
}

async fn sent(body: Body) -> Result<Sent, Problem> {
    let refuse = |why: String| Problem::new(ProblemKind::BadRequest, why);
    let read = Deadline::after(READ_WITHIN).bound(to_bytes(body, MAX_BYTES)).await;
    let read = read.map_err(|_| refuse("the label did not come in within 5 s".to_owned()))?;
    let bytes = read.map_err(|why| refuse(format!("the label cannot be read: {why}")))?;
    serde_json::from_slice(&bytes).map_err(|why| refuse(format!("the body is no label: {why}")))
}

/// A text that may be left out, but not be empty or too long.
fn text(text: Option<String>, pointer: &str, most_chars: usize) -> Result<Option<String>, Problem> {
    let chars = text.as_ref().map_or(1, |text| text.chars().count());
    if (1..=most_chars).contains(&chars) {
        return Ok(text);
    }
    let detail = format!("has {chars} characters, expected 1 to {most_chars}");
    Err(Problem::bad_field(pointer, detail))
}
