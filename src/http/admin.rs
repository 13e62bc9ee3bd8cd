//! What operators ask: probes, metrics, who can judge, which policies run, and a reload.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};

use crate::clock::dates::show_date;
use crate::domain::policy::{CriterionOnFail, Offset};
use crate::gate::policies::{ActivePolicy, Reload};
use crate::http::problem::{Problem, ProblemKind};
use crate::http::{Face, OPENAPI};

/// `GET /livez`: the event loop turns.
pub(super) fn livez() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: the configuration is loaded, the process is not stopping, and its workers do not
/// hang. A dead judge or store does not fail it: the gate still answers, by policy.
pub(super) fn readyz(face: &Face, uri: &Uri) -> Response {
    let (draining, stuck) = (face.gate.door.is_draining(), face.gate.imaging.is_stuck());
    let is_ready = !draining && !stuck;
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    if !uri.query().is_some_and(|query| query.split('&').any(|one| one.starts_with("verbose"))) {
        let word = match (draining, stuck) {
            (true, _) => "draining\n",
            (false, true) => "the workers hang\n",
            (false, false) => "ok\n",
        };
        return (status, word).into_response();
    }
    let ledger = face.gate.ledger.stats();
    let reload = face.gate.reload.load();
    let parts = json!({
        "ready": is_ready,
        "draining": draining,
        "in_flight": face.gate.door.in_flight(),
        "queued": face.gate.door.queued(),
        "workers_queued": face.gate.imaging.queued(),
        "workers_stuck": face.gate.imaging.stuck(),
        "policies": face.gate.policies.load().iter().map(|one| one.name.clone()).collect::<Vec<_>>(),
        "last_reload": reload_json(&reload),
        "judges": face.gate.panel.names().collect::<Vec<_>>(),
        "store": {
            "pending": ledger.pending,
            "written": ledger.written,
            "dropped_rows": ledger.dropped_rows,
            "dropped_images": ledger.dropped_images,
        },
    });
    (status, Json(parts)).into_response()
}

/// `GET /metrics`: Prometheus text.
pub(super) fn metrics(face: &Face) -> Response {
    face.gate.report();
    let text = face.metrics.as_ref().map(|render| render()).unwrap_or_default();
    let mut response = text.into_response();
    let media_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, media_type);
    response
}

/// `GET /openapi.json`.
pub(super) fn openapi() -> Response {
    let mut response = OPENAPI.into_response();
    let media_type = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, media_type);
    response
}

#[derive(Serialize)]
struct JudgeForm {
    name: String,
    provider: String,
    model: String,
    dialect: &'static str,
    breaker: &'static str,
    score: f64,
    strikes: u64,
    p50_ms: Option<u64>,
    p95_ms: Option<u64>,
    samples: u64,
    in_flight: u32,
    limit: u32,
    blocked_for_ms: Option<u64>,
    parameters: String,
}

/// `GET /v1/judges`: who can be asked, how well and how fast each is.
pub(super) fn judges(face: &Face) -> Json<Value> {
    let judges: Vec<_> = face
        .gate
        .panel
        .statuses()
        .into_iter()
        .map(|one| JudgeForm {
            name: one.id.name,
            provider: one.id.provider,
            model: one.id.model,
            dialect: one.dialect,
            breaker: one.breaker.label(),
            score: (one.score * 1e3).round() / 1e3,
            strikes: one.strikes,
            p50_ms: one.p50_ms,
            p95_ms: one.p95_ms,
            samples: one.samples,
            in_flight: one.in_flight,
            limit: one.limit,
            blocked_for_ms: one.blocked_for_ms,
            parameters: one.parameters,
        })
        .collect();
    Json(json!({ "judges": judges }))
}

/// `GET /v1/policies`: what decides, by revision.
pub(super) fn policies(face: &Face) -> Json<Value> {
    let loaded = face.gate.policies.load();
    let policies: Vec<_> = loaded.iter().map(policy_json).collect();
    Json(json!({ "policies": policies, "last_reload": reload_json(&face.gate.reload.load()) }))
}

/// `POST /admin/reload`: all or nothing; a bad file keeps the last good policies.
pub(super) async fn reload(State(face): State<Arc<Face>>) -> Result<Json<Value>, Problem> {
    let reload = (face.reload)().await;
    if reload.problems.is_empty() {
        return Ok(Json(reload_json(&reload)));
    }
    let detail = "the policies that were running still run";
    let problem = Problem::new(ProblemKind::ReloadFailed, detail);
    Err(reload.problems.iter().fold(problem, |problem, what| problem.at("", what.clone())))
}

fn reload_json(reload: &Reload) -> Value {
    json!({
        "at": reload.at.to_string(),
        "accepted": reload.problems.is_empty(),
        "problems": reload.problems,
        "policies": reload.policies,
    })
}

fn policy_json(policy: &ActivePolicy) -> Value {
    let criteria: Vec<_> = policy
        .criteria
        .iter()
        .map(|one| {
            let on_fail = match one.on_fail {
                CriterionOnFail::Fail => "fail",
                CriterionOnFail::Review => "review",
            };
            json!({ "id": one.id, "ask": one.ask, "pass_at": one.pass_at,
                "pass_at_by_judge": one.pass_at_by_judge, "when": one.when, "on_fail": on_fail })
        })
        .collect();
    let offset = |(judge, one): (&String, &Offset)| {
        let fitted = one.fitted.map(show_date);
        let json = json!({ "add": one.add, "at_line": one.at_line, "fitted": fitted,
            "pairs": one.pairs, "against": one.against });
        (judge.clone(), json)
    };
    let offsets: serde_json::Map<_, _> = policy.route.offset_by_judge.iter().map(offset).collect();
    json!({
        "name": policy.name,
        "description": policy.description,
        "owner": { "team": policy.owner.team, "on_call": policy.owner.on_call,
            "runbook": policy.owner.runbook },
        "mode": policy.mode.label(),
        "revision": policy.revision.to_string(),
        "judging": policy.judging.to_string(),
        "asked": policy.asked.to_string(),
        "judges": policy.route.judges,
        "offset_by_judge": offsets,
        "deadline_ms": u64::try_from(policy.route.deadline.as_millis()).unwrap_or(u64::MAX),
        "floor_ms": u64::try_from(policy.route.floor.as_millis()).unwrap_or(u64::MAX),
        "accept": policy.input.accept.iter().map(|one| one.label()).collect::<Vec<_>>(),
        "max_bytes": policy.input.max_bytes,
        "max_pixels": policy.input.max_pixels,
        "checks": policy.checks.iter()
            .map(|one| json!({ "id": one.id, "on_fail": one.on_fail.label() }))
            .collect::<Vec<_>>(),
        "criteria": criteria,
        "borderline": policy.borderline,
        "vars": policy.input.vars.iter().map(|(name, var)| (name.clone(),
            json!({ "one_of": var.one_of, "default": var.default })))
            .collect::<serde_json::Map<_, _>>(),
    })
}
