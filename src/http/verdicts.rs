//! `POST /v1/verdicts`: one image in, one verdict out.
//!
//! Room is taken before the body is read, if need be after a wait in line; the check itself runs on
//! the tracker, so a caller that hangs up ends only the waiting for it.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;
use uuid::Uuid;

use crate::clock::{Deadline, Stopwatch, Timestamp};
use crate::domain::record::Timing;
use crate::domain::{Decision, Digest, Inadmissible};
use crate::gate::admission::{Admission, Newcomer, TurnedAway};
use crate::gate::policies::Schedule;
use crate::gate::{Checked, Gate, Refusal, Submission};
use crate::http::auth::Caller;
use crate::http::body::{self, Received};
use crate::http::headers::{self, IdempotencyKey, RequestId, TraceContext};
use crate::http::idempotency::{Claim, same_request};
use crate::http::presence::Presence;
use crate::http::problem::{Problem, ProblemKind, pointer};
use crate::http::query::Parameters;
use crate::http::upload::Upload;
use crate::http::{Face, RETRY_AFTER};
use crate::imaging::PrepareError;
use crate::ledger::IdempotencyMark;
use crate::ledger::form::RecordForm;
use crate::telemetry;
use crate::telemetry::door::Shed;

/// The share of the time that is left before the judges must be asked which looking up an
/// idempotency key may take: a store that hangs must not cost the verdict.
const LOOKUP_SHARE: f64 = 0.5;

/// What it may take all the same, as long as there is twice as much: judges that are slow or away
/// leave nothing over, and a repetition that is not recognised is judged and paid again.
const LEAST_LOOKUP: Duration = Duration::from_millis(250);

/// Longest that a key stays claimed for a record that is not written yet, and how often that is
/// looked at.
const CLAIM_HELD_FOR: Duration = Duration::from_secs(60);
const CLAIM_LOOKED_AT_EVERY: Duration = Duration::from_millis(200);

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
        Err(problem) => {
            count(problem.kind);
            problem.into_response()
        }
    }
}

/// Counts an upload that was not judged, wherever on its way that was found.
fn count(kind: ProblemKind) {
    if let Some(reason) = Inadmissible::LABELS.iter().find(|label| **label == kind.code()) {
        telemetry::count_inadmissible(reason);
    }
}

async fn take(face: &Face, arrived: Stopwatch, request: Request) -> Result<Response, Problem> {
    let caption = Caption::of(&request)?;
    let policies = face.gate.policies.load_full();
    let limit_bytes = policies.max_bytes().min(face.settings.max_image_bytes);
    let named = Parameters::of(request.uri())?.take("policy");
    let presumed = policies.presumed(named.as_deref(), caption.asked_deadline);
    let schedule =
        presumed.and_then(|one| Some((one, one.policy.schedule(arrived, caption.asked_deadline)?)));
    let Some((presumed, schedule)) = schedule else {
        return Err(below_floor(caption.asked_deadline.unwrap_or_default()));
    };
    // who cannot be let in need not stand in line to be told so
    body::check_head(&request, limit_bytes)?;
    let presence = request.extensions().get::<Presence>().cloned();
    let newcomer = Newcomer {
        size_bytes: body::held_bytes(request.headers(), limit_bytes),
        judges: presumed.judges(),
        read_by: schedule.read_by,
        judged_by: schedule.judged_by,
        floor: presumed.policy.route.floor,
        wants_worker: presumed.wants_worker(),
    };
    let admission = match enter(face, newcomer, presence.as_ref()).await {
        Some(Ok(admission)) => admission,
        Some(Err(turned_away)) => return Err(shed(turned_away)),
        None => return Err(Problem::new(ProblemKind::BadRequest, "the caller has hung up")),
    };
    let stood = arrived.elapsed();
    let taken = async {
        let received = body::receive(request, limit_bytes, schedule.read_by).await?;
        let (upload, digest) = unpack(face, received, schedule.read_by).await?;
        answer(face, (arrived, admission), caption, (upload, digest)).await
    };
    taken.await.map_err(|problem| by_whom(problem, arrived, stood))
}

/// The problem by who made it: a body that took less time than its place in line did is late through
/// the gate, and not through its sender.
fn by_whom(problem: Problem, arrived: Stopwatch, stood: Duration) -> Problem {
    let was_read_for = arrived.elapsed().saturating_sub(stood);
    if problem.kind == ProblemKind::BodyLate && was_read_for < stood {
        return shed(busy(Shed::TooLate));
    }
    problem
}

/// Takes everything the request needs, waiting for it in line if need be; `None`: the caller hung up
/// meanwhile.
async fn enter(
    face: &Face,
    newcomer: Newcomer<'_>,
    presence: Option<&Presence>,
) -> Option<Result<Admission, TurnedAway>> {
    tokio::select! {
        biased; // the door first: most are let in at once
        entered = face.gate.door.enter(newcomer, &face.gate.ledger) => Some(entered),
        () = Presence::until_gone(presence) => None,
    }
}

/// The upload and the digest of its image. What would hold the reactor for more than a glance is
/// the CPU pool's work, ahead of the images there.
async fn unpack(
    face: &Face,
    received: Received,
    read_by: Deadline,
) -> Result<(Upload, Digest), Problem> {
    let is_heavy = received.is_heavy();
    let work = move || {
        let upload = received.unpack()?;
        let digest = Digest::of(&upload.bytes);
        Ok((upload, digest))
    };
    if !is_heavy {
        return work();
    }
    match face.gate.imaging.run(work, read_by).await {
        Ok(unpacked) => unpacked,
        Err(PrepareError::Broken) => Err(broken()),
        Err(
            PrepareError::Late
            | PrepareError::Busy { .. }
            | PrepareError::Behind { .. }
            | PrepareError::Stuck
            | PrepareError::Inadmissible(_),
        ) => Err(shed(busy(Shed::Workers))),
    }
}

async fn answer(
    face: &Face,
    (arrived, admission): (Stopwatch, Admission),
    caption: Caption,
    (upload, digest): (Upload, Digest),
) -> Result<Response, Problem> {
    // from the first byte: waiting for a thread to unpack on shows too
    let read_ms = arrived.elapsed_ms();
    let (claim, mark) = match &caption.idempotency {
        None => (None, None),
        Some(key) => {
            let request = request_digest(face, digest, &upload);
            let within = lookup_by(face, &upload, arrived, caption.asked_deadline);
            match claim(face, &caption.caller, (key, request), within).await? {
                Claimed::Fresh(claim, mark) => (Some(claim), Some(mark)),
                Claimed::Answered(stored) => return replay(&stored, upload.strict),
            }
        }
    };
    let strict = upload.strict;
    let caller_gone = CancellationToken::new();
    let submission = Submission {
        bytes: upload.bytes,
        digest,
        policy: upload.policy,
        vars: upload.vars,
        external_id: upload.external_id,
        request_id: caption.request_id.to_string(),
        arrived,
        read_ms,
        asked_deadline: caption.asked_deadline,
        idempotency: mark,
        caller_gone: caller_gone.clone(),
        admission,
        takes_early: true,
    };
    let gate = Arc::clone(&face.gate);
    let hang_up = caller_gone.drop_guard();
    let span = tracing::info_span!(
        "check",
        request_id = %caption.request_id,
        trace_id = caption.trace_id,
        key = %caption.caller.name
    );
    let tracker = face.tracker.clone();
    let check = face.tracker.spawn(run(gate, submission, (claim, tracker)).instrument(span));
    let checked = check.await;
    drop(hang_up.disarm());
    let checked = checked.map_err(|why| {
        tracing::error!(%why, "a check broke");
        broken()
    })?;
    let checked = checked.map_err(refused)?;
    if u128::from(checked.record.deadline_ms) < arrived.elapsed().as_millis() {
        telemetry::count_late_answer();
    }
    let form = RecordForm { seq: checked.seq, ..RecordForm::from(&checked.record) };
    verdict(&form, strict)
}

/// Holds the idempotency claim until the check has ended, whoever still listens; and longer where
/// the answer leaves before its record is written, or a repetition would be judged and paid again.
async fn run(
    gate: Arc<Gate>,
    submission: Submission,
    (claim, tracker): (Option<Claim>, TaskTracker),
) -> Result<Checked, Refusal> {
    let mut checked = gate.check(submission).await;
    if let Some(late) = checked.as_mut().ok().and_then(|checked| checked.late.take()) {
        let gate = Arc::clone(&gate);
        tracker.spawn(async move { gate.finish(late).await }.in_current_span());
    }
    if let (Some(mut claim), Ok(Checked { record, seq: None, .. })) = (claim, &checked)
        && claim.linger()
    {
        tracker.spawn(hold(gate, claim, record.id));
    }
    checked
}

/// Holds `claim` until its record is written, but neither for ever nor past the closing of the
/// door: nobody who could repeat the request comes in any more, and the process waits for this task.
async fn hold(gate: Arc<Gate>, claim: Claim, id: Uuid) {
    let written = async {
        while !matches!(gate.ledger.reader().get(id).await, Ok(Some(_))) {
            tokio::time::sleep(CLAIM_LOOKED_AT_EVERY).await;
        }
    };
    tokio::select! {
        _late_or_written = Deadline::after(CLAIM_HELD_FOR).bound(written) => {}
        () = gate.door.until_closed() => {}
    }
    drop(claim);
}

/// Until when an idempotency key may be looked up. A policy that is not there, or not for this
/// deadline, is refused later.
fn lookup_by(
    face: &Face,
    upload: &Upload,
    arrived: Stopwatch,
    asked: Option<Duration>,
) -> Deadline {
    let policies = face.gate.policies.load();
    let presumed = policies.presumed(upload.policy.as_deref(), asked);
    let schedule =
        presumed.and_then(|one| Some((one.policy, one.policy.schedule(arrived, asked)?)));
    let time = schedule.map(|(policy, schedule)| {
        let judging = face.gate.panel.fastest_p50(policy.judges()).unwrap_or(policy.route.floor);
        lookup_time(schedule, judging)
    });
    Deadline::after(time.unwrap_or_default())
}

/// How long a key may be looked up on this schedule, where the judges need `judging`.
fn lookup_time(schedule: Schedule, judging: Duration) -> Duration {
    let share = |time: Duration| time.mul_f64(LOOKUP_SHARE);
    let spare = schedule.judged_by.less(judging).min(schedule.read_by).left();
    share(spare).max(share(schedule.judged_by.left()).min(LEAST_LOOKUP))
}

enum Claimed {
    Fresh(Claim, IdempotencyMark),
    Answered(Box<RecordForm>),
}

/// What a key stands for: the image, the policy that applies and the variables that hold, however
/// the caller spelt them. A request that no policy takes has none: it is refused without a record.
fn request_digest(face: &Face, image: Digest, upload: &Upload) -> Digest {
    let mut whole = image.as_bytes().to_vec();
    let policies = face.gate.policies.load();
    if let Ok(policy) = policies.find(upload.policy.as_deref()) {
        let vars = policy.loaded.vars(&upload.vars).unwrap_or_default();
        let vars = vars.iter().map(|(name, value)| (name.as_str(), value));
        for (name, value) in [("policy", &policy.name)].into_iter().chain(vars) {
            whole.extend_from_slice(Digest::of(name.as_bytes()).as_bytes());
            whole.extend_from_slice(Digest::of(value.as_bytes()).as_bytes());
        }
    }
    Digest::of(&whole)
}

async fn claim(
    face: &Face,
    caller: &Caller,
    (key, request): (&IdempotencyKey, Digest),
    within: Deadline,
) -> Result<Claimed, Problem> {
    let claim = face.running.claim(caller, key.clone(), request)?;
    let scope = caller.name.to_string();
    let reader = face.gate.ledger.reader();
    let known = reader.lookup(&scope, key.as_str(), Timestamp::now(), within).await;
    // a store that cannot be read must not stop the gate: the image is judged (again) and paid
    let known = known.unwrap_or_else(|why| {
        tracing::error!(%why, "the ledger cannot look up an idempotency key");
        None
    });
    match known {
        Some(known) => {
            same_request(known.request, request)?;
            Ok(Claimed::Answered(Box::new(known.record)))
        }
        None => {
            let mark = IdempotencyMark { scope, key: key.as_str().to_owned(), request };
            Ok(Claimed::Fresh(claim, mark))
        }
    }
}

fn replay(stored: &RecordForm, strict: bool) -> Result<Response, Problem> {
    let mut response = verdict(stored, strict)?;
    response.headers_mut().insert(headers::IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    Ok(response)
}

/// 200 with the verdict, whatever it is; with `on=strict` a `fail` is a problem that carries it.
fn verdict(form: &RecordForm, strict: bool) -> Result<Response, Problem> {
    let json = serde_json::to_string(form).map_err(|why| {
        tracing::error!(%why, "a verdict cannot be written as JSON");
        Problem::internal()
    })?;
    let mut response = if strict && form.verdict == Decision::Fail {
        let detail = format!("the image fails: {}", form.failed.join(", "));
        let verdict = RawValue::from_string(json).map_err(|_| Problem::internal())?;
        Problem::verdict_failed(detail, verdict).into_response()
    } else {
        let mut response = Response::new(Body::from(json));
        let media_type = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, media_type);
        response
    };
    let timing = headers::server_timing(&Timing::from(&form.timing_ms));
    let answered = response.headers_mut();
    answered.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answered.insert(headers::SERVER_TIMING, timing);
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
            problems
                .into_iter()
                .fold(base, |problem, (name, what)| problem.at(pointer(&["vars", &name]), what))
        }
        Refusal::BelowFloor { .. } => Problem::new(ProblemKind::DeadlineBelowFloor, detail),
        Refusal::Inadmissible(why) => Problem::from(why),
        Refusal::BodyLate => Problem::new(ProblemKind::BodyLate, detail),
        Refusal::Broken => {
            tracing::error!("a worker broke on an image");
            broken()
        }
        Refusal::Shed(reason) => shed(busy(reason)),
    }
}

fn below_floor(left: Duration) -> Problem {
    let detail = format!("{} ms are less than any policy's floor", left.as_millis());
    Problem::new(ProblemKind::DeadlineBelowFloor, detail)
}

/// What was lacking behind the door.
fn busy(reason: Shed) -> TurnedAway {
    TurnedAway { reason, lacked: None, retry_after: RETRY_AFTER }
}

/// Refuses for lack of room; counted here, whatever was lacking.
fn shed(turned_away: TurnedAway) -> Problem {
    let TurnedAway { reason, lacked, retry_after } = turned_away;
    telemetry::door::count_shed(reason);
    let detail = match lacked {
        None => format!("the gate is full ({})", reason.label()),
        Some(lacked) => {
            let (reason, lacked) = (reason.label(), lacked.label());
            format!("the gate is full ({reason}, after a wait for {lacked})")
        }
    };
    match reason {
        Shed::Draining => Problem::draining(retry_after),
        Shed::InFlight
        | Shed::Bytes
        | Shed::Journal
        | Shed::Judges
        | Shed::QueueFull
        | Shed::TooLate
        | Shed::Overtaken
        | Shed::Overrun
        | Shed::Workers => Problem::overloaded(detail, retry_after),
    }
}

/// A fault of ours: counted, and the log has the rest.
fn broken() -> Problem {
    telemetry::count_panic();
    Problem::internal()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_body_that_the_line_had_made_late_was_told_to_be_its_callers_fault() {
        let late = || Problem::new(ProblemKind::BodyLate, "late");
        let arrived = Stopwatch::start();
        tokio::time::advance(Duration::from_millis(2_000)).await;
        let stood = |ms| by_whom(late(), arrived, Duration::from_millis(ms)).kind;
        assert_eq!(stood(1_900), ProblemKind::Overloaded);
        assert_eq!(stood(0), ProblemKind::BodyLate);
        assert_eq!(stood(900), ProblemKind::BodyLate);
    }

    /// What may be spent on a key where the judges need `judging_ms`, `arrived_ms` after the first
    /// byte of a request that must be judged within five seconds.
    async fn lookup_ms(judging_ms: u64, arrived_ms: u64) -> u128 {
        let began = Stopwatch::start().started();
        let by = |ms| Deadline::at(began, Duration::from_millis(ms));
        tokio::time::advance(Duration::from_millis(arrived_ms)).await;
        let schedule = Schedule { read_by: by(4_700), judged_by: by(5_000) };
        lookup_time(schedule, Duration::from_millis(judging_ms)).as_millis()
    }

    #[tokio::test(start_paused = true)]
    async fn judges_that_are_slow_or_away_leave_time_to_look_a_key_up() {
        assert_eq!(lookup_ms(1_000, 0).await, 2_000, "half of what the judges leave");
        for judging_ms in [4_900, 5_000, 60_000] {
            assert_eq!(lookup_ms(judging_ms, 0).await, 250, "{judging_ms}");
        }
        assert_eq!(lookup_ms(1_000, 4_700).await, 150, "the body was only just in");
        assert_eq!(lookup_ms(1_000, 5_000).await, 0, "there is no time for anything");
    }
}
