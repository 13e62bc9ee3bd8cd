//! What people say of a verdict: appended, read back. Role `read`: whoever may look may judge.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::clock::Timestamp;
use crate::http::Face;
use crate::http::auth::Caller;
use crate::http::problem::Problem;
use crate::http::range::unreadable;
use crate::http::records::{id_of, no_record, readable};
use crate::http::sent::{sent, text};
use crate::ledger::labels::{Label, NewLabel, Said};

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
    let sent: Sent = sent(body, "label").await?;
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
