//! Drills over HTTP: begin one, look, end one. Role `admin`.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::clock::Deadline;
use crate::domain::drill::{Bounds, Fault, Plan};
use crate::drill::Refusal;
use crate::drill::form::DrillForm;
use crate::http::Face;
use crate::http::auth::Caller;
use crate::http::problem::{Problem, ProblemKind};
use crate::ledger::LedgerError;

/// Largest plan.
const MAX_PLAN_BYTES: usize = 16 * 1024;

/// Longest that a plan may take to come in.
const READ_WITHIN: Duration = Duration::from_secs(5);

/// A plan as it is asked for; what is left out has its default.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlanForm {
    judge: String,
    fault: Option<String>,
    share: Option<f64>,
    for_ms: Option<u64>,
    baseline_ms: Option<u64>,
    #[serde(default)]
    bounds: BoundsForm,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct BoundsForm {
    judged_at_least: Option<f64>,
    p95_ratio_at_most: Option<f64>,
    recovered_within_ms: Option<u64>,
}

/// `POST /admin/drills`: begins one.
pub(super) async fn start(
    State(face): State<Arc<Face>>,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Result<Response, Problem> {
    let form = face.drills.start(plan(body).await?, &caller.name).await.map_err(refused)?;
    let mut response = (StatusCode::ACCEPTED, Json(&form)).into_response();
    if let Ok(location) = HeaderValue::try_from(format!("/admin/drills/{}", form.id)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// `GET /admin/drills`: the one that runs and those there were, newest first.
pub(super) async fn list(State(face): State<Arc<Face>>) -> Result<Json<Value>, Problem> {
    let drills = face.drills.list().await.map_err(unreadable)?;
    Ok(Json(json!({ "drills": drills })))
}

/// `GET /admin/drills/{id}`.
pub(super) async fn one(
    State(face): State<Arc<Face>>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<DrillForm>, Problem> {
    let id = id_of(id)?;
    face.drills.get(id).await.map_err(unreadable)?.map(Json).ok_or_else(|| no_drill(&id))
}

/// `DELETE /admin/drills/{id}`: ends it and restores the judge; one that has ended stays as it is.
pub(super) async fn stop(
    State(face): State<Arc<Face>>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<DrillForm>, Problem> {
    let id = id_of(id)?;
    face.drills.stop(id).await.map_err(unreadable)?.map(Json).ok_or_else(|| no_drill(&id))
}

async fn plan(body: Body) -> Result<Plan, Problem> {
    let unreadable = |why: String| Problem::new(ProblemKind::BadRequest, why);
    let read = Deadline::after(READ_WITHIN).bound(to_bytes(body, MAX_PLAN_BYTES)).await;
    let read = read.map_err(|_| unreadable("the plan did not come in within 5 s".to_owned()))?;
    let bytes = read.map_err(|why| unreadable(format!("the plan cannot be read: {why}")))?;
    let form: PlanForm = serde_json::from_slice(&bytes)
        .map_err(|why| unreadable(format!("the body is not a drill's plan: {why}")))?;
    let usual = Plan::of(form.judge);
    let fault = match form.fault.as_deref() {
        None => usual.fault,
        Some(word) => Fault::of(word).ok_or_else(|| {
            let known = Fault::ALL.map(Fault::label).join(", ");
            let why = format!("{word:?} is not one of {known}");
            Problem::field(ProblemKind::BadDrill, "/fault", why)
        })?,
    };
    let span = |ms: Option<u64>, usual: Duration| ms.map_or(usual, Duration::from_millis);
    let bounds = Bounds {
        judged_at_least: form.bounds.judged_at_least.unwrap_or(usual.bounds.judged_at_least),
        p95_ratio_at_most: form.bounds.p95_ratio_at_most.unwrap_or(usual.bounds.p95_ratio_at_most),
        recovered_within: span(form.bounds.recovered_within_ms, usual.bounds.recovered_within),
    };
    Ok(Plan {
        fault,
        share: form.share.unwrap_or(usual.share),
        lasts: span(form.for_ms, usual.lasts),
        baseline: span(form.baseline_ms, usual.baseline),
        bounds,
        ..usual
    })
}

fn refused(refusal: Refusal) -> Problem {
    match refusal {
        Refusal::Plan { key, why } => {
            Problem::field(ProblemKind::BadDrill, &format!("/{key}"), why)
        }
        Refusal::NotNow(why) => Problem::new(ProblemKind::DrillRefused, why),
        Refusal::Store(why) => unreadable(why),
    }
}

fn id_of(id: Result<Path<String>, PathRejection>) -> Result<Uuid, Problem> {
    let text = id.map(|Path(id)| id).unwrap_or_default();
    text.parse().map_err(|_| no_drill(&text))
}

fn no_drill(id: &impl std::fmt::Display) -> Problem {
    Problem::new(ProblemKind::NotFound, format!("there is no drill {id}"))
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that `map_err` wants")]
fn unreadable(why: LedgerError) -> Problem {
    tracing::error!(%why, "drills cannot be read or written");
    Problem::internal()
}
