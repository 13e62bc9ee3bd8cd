//! `POST /v1/verdicts`: one image in, one verdict out.
//!
//! Room is taken before the body is read; the check itself runs on the tracker, so a caller that
//! hangs up ends only the waiting for it.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::clock::{Deadline, Stopwatch, Timestamp};
use crate::domain::{Decision, Digest};
use crate::gate::admission::Admission;
use crate::gate::{Checked, Gate, Refusal, Submission};
use crate::http::auth::Caller;
use crate::http::body::{self, Received};
use crate::http::headers::{self, IdempotencyKey, RequestId, TraceContext};
use crate::http::idempotency::{Claim, same_image};
use crate::http::problem::{Problem, ProblemKind};
use crate::http::upload::Upload;
use crate::http::{Face, RETRY_AFTER};
use crate::ledger::IdempotencyMark;
use crate::ledger::form::RecordForm;
use crate::telemetry;

const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// What the caller said beside the body.
struct Caption {
    caller: Caller,
    request_id: RequestId,
    trace_id: String,
    asked_deadline: Option<Duration>,
    idempotency: Option<IdempotencyKey>,
}

/// Judges one image.
pub(super) async fn post(State(face): State<Arc<Face>>, request: Request) -> Response {
    let arrived = request.extensions().get::<Stopwatch>().copied();
    let arrived = arrived.unwrap_or_else(Stopwatch::start);
    match take(&face, arrived, request).await {
        Ok(answer) => answer,
        Err(problem) => problem.into_response(),
    }
}

async fn take(face: &Face, arrived: Stopwatch, request: Request) -> Result<Response, Problem> {
    let caption = Caption::of(&request)?;
    let policies = face.gate.policies.load_full();
    let limit_bytes = policies.max_bytes().min(face.settings.max_image_bytes);
    let read_time = policies.read_time(caption.asked_deadline);
    let Some(read_time) = read_time else {
        return Err(below_floor(caption.asked_deadline.unwrap_or_default()));
    };
    let announced = announced_bytes(request.headers()).unwrap_or(limit_bytes);
    let admission = face.gate.door.admit(usize_of(announced.min(limit_bytes)), &face.gate.ledger);
    let admission = admission.map_err(shed)?;
    let read_by = Deadline::at(arrived.started(), read_time);
    let received = body::receive(request, limit_bytes, read_by).await?;
    let upload = unpack(face, received, read_by).await?;
    answer(face, (arrived, admission), caption, upload).await
}

/// Unpacks on the CPU pool what would hold the reactor.
async fn unpack(face: &Face, received: Received, read_by: Deadline) -> Result<Upload, Problem> {
    if !received.is_heavy() {
        return received.unpack();
    }
    let done = face.gate.imaging.run(move || received.unpack(), read_by).await;
    done.map_err(|_| shed(telemetry::Shed::Workers))?
}

async fn answer(
    face: &Face,
    (arrived, admission): (Stopwatch, Admission),
    caption: Caption,
    upload: Upload,
) -> Result<Response, Problem> {
    let (claim, mark) = match &caption.idempotency {
        None => (None, None),
        Some(key) => match claim(face, &caption.caller, key, &upload).await? {
            Claimed::Fresh(claim, mark) => (Some(claim), Some(mark)),
            Claimed::Answered(stored) => return replay(&stored, upload.strict),
        },
    };
    let strict = upload.strict;
    let caller_gone = CancellationToken::new();
    let submission = Submission {
        bytes: upload.bytes,
        policy: upload.policy,
        vars: upload.vars,
        external_id: upload.external_id,
        request_id: caption.request_id.to_string(),
        arrived,
        read_ms: upload.read_ms,
        asked_deadline: caption.asked_deadline,
        idempotency: mark,
        caller_gone: caller_gone.clone(),
        admission,
    };
    let gate = Arc::clone(&face.gate);
    let hang_up = caller_gone.drop_guard();
    let span = tracing::info_span!(
        "check",
        request_id = %caption.request_id,
        trace_id = caption.trace_id,
        key = %caption.caller.name
    );
    let check = face.tracker.spawn(run(gate, submission, claim).instrument(span));
    let checked = check.await;
    drop(hang_up.disarm());
    let checked = checked.map_err(|why| {
        tracing::error!(%why, "a check broke");
        telemetry::count_panic();
        Problem::internal()
    })?;
    let checked = checked.map_err(refused)?;
    if u128::from(checked.record.deadline_ms) < arrived.elapsed().as_millis() {
        telemetry::count_late_answer();
    }
    let form = RecordForm { seq: checked.seq, ..RecordForm::from(&checked.record) };
    let timing = headers::server_timing(&checked.record.timing);
    let mut response = verdict(&form, strict)?;
    response.headers_mut().insert(SERVER_TIMING, timing);
    Ok(response)
}

/// Holds the idempotency claim until the check has ended, whoever still listens.
async fn run(
    gate: Arc<Gate>,
    submission: Submission,
    claim: Option<Claim>,
) -> Result<Checked, Refusal> {
    let checked = gate.check(submission).await;
    gate.door.report();
    drop(claim);
    checked
}

enum Claimed {
    Fresh(Claim, IdempotencyMark),
    Answered(Box<RecordForm>),
}

async fn claim(
    face: &Face,
    caller: &Caller,
    key: &IdempotencyKey,
    upload: &Upload,
) -> Result<Claimed, Problem> {
    let digest = Digest::of(&upload.bytes);
    let claim = face.running.claim(caller, key.clone(), digest)?;
    let scope = caller.name.to_string();
    let reader = face.gate.ledger.reader();
    let known = reader.lookup(&scope, key.as_str(), Timestamp::now()).await;
    // a store that cannot be read must not stop the gate: the image is judged (again) and paid
    let known = known.unwrap_or_else(|why| {
        tracing::error!(%why, "the ledger cannot look up an idempotency key");
        None
    });
    match known {
        Some(known) => {
            same_image(known.image_digest, digest)?;
            Ok(Claimed::Answered(Box::new(known.record)))
        }
        None => Ok(Claimed::Fresh(claim, IdempotencyMark { scope, key: key.as_str().to_owned() })),
    }
}

fn replay(stored: &RecordForm, strict: bool) -> Result<Response, Problem> {
    let mut response = verdict(stored, strict)?;
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    Ok(response)
}

/// 200 with the verdict, whatever it is; with `on=strict` a `fail` is a problem that carries it.
fn verdict(form: &RecordForm, strict: bool) -> Result<Response, Problem> {
    let json = serde_json::to_string(form).map_err(|why| {
        tracing::error!(%why, "a verdict cannot be written as JSON");
        Problem::internal()
    })?;
    if strict && form.verdict == Decision::Fail {
        let detail = format!("the image fails: {}", form.failed.join(", "));
        let verdict = RawValue::from_string(json).map_err(|_| Problem::internal())?;
        return Err(Problem::verdict_failed(detail, verdict));
    }
    let mut response = Response::new(Body::from(json));
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

impl Caption {
    fn of(request: &Request) -> Result<Self, Problem> {
        let extensions = request.extensions();
        let caller = extensions.get::<Caller>().cloned().ok_or_else(Problem::internal)?;
        let request_id = extensions.get::<RequestId>().cloned().ok_or_else(Problem::internal)?;
        let trace = extensions.get::<TraceContext>();
        Ok(Self {
            caller,
            request_id,
            trace_id: trace.map(TraceContext::trace_id_hex).unwrap_or_default(),
            asked_deadline: headers::deadline(request.headers())?,
            idempotency: IdempotencyKey::of(request.headers())?,
        })
    }
}

fn refused(refusal: Refusal) -> Problem {
    let detail = refusal.to_string();
    match refusal {
        Refusal::UnknownPolicy { .. } => {
            Problem::field(ProblemKind::UnknownPolicy, "/policy", detail)
        }
        Refusal::Variables(problems) => {
            let base = Problem::new(ProblemKind::BadVariable, detail);
            problems.into_iter().fold(base, |problem, (name, what)| {
                problem.at(crate::http::problem::pointer(&["vars", &name]), what)
            })
        }
        Refusal::BelowFloor { .. } => Problem::new(ProblemKind::DeadlineBelowFloor, detail),
        Refusal::Inadmissible(why) => Problem::from(why),
        Refusal::Shed(reason) => shed(reason),
    }
}

fn below_floor(left: Duration) -> Problem {
    let detail = format!("{} ms are less than any policy's floor", left.as_millis());
    Problem::new(ProblemKind::DeadlineBelowFloor, detail)
}

fn shed(reason: telemetry::Shed) -> Problem {
    match reason {
        telemetry::Shed::Draining => Problem::draining(RETRY_AFTER),
        telemetry::Shed::InFlight
        | telemetry::Shed::Bytes
        | telemetry::Shed::Workers
        | telemetry::Shed::Journal => {
            Problem::overloaded(format!("the gate is full ({})", reason.label()), RETRY_AFTER)
        }
    }
}

fn announced_bytes(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn usize_of(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
