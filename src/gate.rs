//! The story of one candidate, from upload to verdict.
//!
//! [`Gate::check`] reads top to bottom: find the policy, hold the deadline, admit, prepare, ask,
//! decide, record. Everything else is a room off that corridor. It runs on a tracked task of its
//! own, so a caller that hangs up does not cancel it, and it ends in exactly one record for every
//! image it could read.

pub mod admission;
pub mod hearing;
mod keeping;
pub mod late;
pub mod policies;
mod posing;
pub mod shadow;
pub mod traffic;
mod wanted;

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::clock::{Deadline, Stopwatch};
use crate::domain::policy::SecondOpinionWhen;
use crate::domain::record::Attempt;
use crate::domain::verdict::{Evidence, Opinion, decide, say};
use crate::domain::{
    Candidate, Criterion, Decision, Digest, Finding, Inadmissible, JudgeId, Judgement, MicroUsd,
    Mode, Record, Route, Verdict,
};
use crate::gate::admission::{Admission, Door};
use crate::gate::keeping::Came;
use crate::gate::late::{Late, Open};
use crate::gate::policies::{ActivePolicy, PolicySet, Reload};
use crate::gate::posing::{Shown, pose, said};
use crate::gate::shadow::Shadows;
use crate::gate::traffic::Traffic;
pub use crate::gate::wanted::plan;
use crate::imaging::{Imaging, PrepareError, Prepared};
use crate::ledger::{IdempotencyMark, Ledger};
use crate::panel::race::{Outcome, Race};
use crate::panel::rest::reading_beside;
use crate::panel::second_opinion::Doubt;
use crate::panel::{Panel, Question};
use crate::telemetry;
use crate::telemetry::door::Shed;

/// One upload with everything its caller said.
#[derive(Debug)]
pub struct Submission {
    /// The image as it came.
    pub bytes: Bytes,
    /// Of `bytes`; made off the async threads where they are many.
    pub digest: Digest,
    /// The policy's name; `None` where only one is loaded.
    pub policy: Option<String>,
    /// Variables as sent.
    pub vars: BTreeMap<String, String>,
    /// The caller's own name for the image.
    pub external_id: Option<String>,
    /// The caller's or our request id.
    pub request_id: String,
    /// Started at the first byte.
    pub arrived: Stopwatch,
    /// From the first byte until the body was in and unpacked, ms.
    pub read_ms: f64,
    /// The caller's deadline: it can only shorten the policy's.
    pub asked_deadline: Option<Duration>,
    /// The caller's idempotency key, written with the record.
    pub idempotency: Option<IdempotencyMark>,
    /// Cancelled when the caller hangs up.
    pub caller_gone: CancellationToken,
    /// Leave to be here: freed when the check ends.
    pub admission: Admission,
    /// Whether the caller takes an answer whose reasons and bill follow.
    pub takes_early: bool,
}

/// Why a submission made no record.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum Refusal {
    /// No policy of that name, or none named where several are loaded.
    #[error("{message}")]
    UnknownPolicy {
        /// What was asked and what there is.
        message: String,
    },
    /// Variables outside their lists, by name.
    #[error("{} variable(s) are not what the policy takes", .0.len())]
    Variables(Vec<(String, String)>),
    /// The caller leaves less time than the policy's floor.
    #[error("{left_ms} ms are left, the policy needs at least {floor_ms} ms")]
    BelowFloor {
        /// What the caller leaves.
        left_ms: u64,
        /// `route.floor`.
        floor_ms: u64,
    },
    /// The image is not judged.
    #[error(transparent)]
    Inadmissible(#[from] Inadmissible),
    /// The body came in when it was too late to judge it.
    #[error("the body was not in while there was time to judge it")]
    BodyLate,
    /// A fault of ours: a worker broke on this image.
    #[error("a worker broke on this image")]
    Broken,
    /// Refused early for lack of room.
    #[error("the gate is full ({})", .0.label())]
    Shed(Shed),
}

/// The gate: the parts of the corridor, shared by every check.
#[derive(Debug)]
pub struct Gate {
    /// What may be in here at once.
    pub door: Door,
    /// The loaded policies; swapped whole.
    pub policies: ArcSwap<PolicySet>,
    /// Who can be asked; the door knows them too.
    pub panel: Arc<Panel>,
    /// Where pixels are worked on.
    pub imaging: Imaging,
    /// What is kept.
    pub ledger: Ledger,
    /// What is to be asked behind verdicts.
    pub shadows: Shadows,
    /// What a drill sees of the checks.
    pub traffic: Traffic,
    /// How the last reload of the policies went.
    pub reload: ArcSwap<Reload>,
}

/// A check that ended in a record.
#[derive(Debug)]
pub struct Checked {
    /// What the caller is told, and what was kept.
    pub record: Record,
    /// The record's place in the store; `None` where the deadline came before the write.
    pub seq: Option<i64>,
    /// What still comes of an answer that left early: to be finished off the caller's path.
    pub late: Option<Late>,
}

/// What one check knows before it asks anybody.
struct Case<'a> {
    policy: &'a ActivePolicy,
    vars: BTreeMap<String, String>,
    asked: Vec<&'a Criterion>,
    /// When the answer must be out.
    ends: Deadline,
    /// The same less what is kept back for deciding and recording.
    deadline: Deadline,
    deadline_ms: u64,
    arrived: Stopwatch,
    /// The image's own number: settles what lies exactly on a judge's line.
    lot: f64,
    caller_gone: CancellationToken,
    /// Whether the answer may leave at its scores.
    early: bool,
}

/// Everything learnt about one image.
struct Story {
    came: Came,
    /// Empty where the deadline came before the image was prepared.
    prepared: Prepared,
    asking: Asking,
    verdict: Verdict,
}

/// What was learnt by asking.
#[derive(Default)]
struct Asking {
    first: Option<(JudgeId, Route, Judgement)>,
    second: Option<(JudgeId, Judgement)>,
    late: bool,
    /// Whether a drill broke one of the calls.
    struck: bool,
    attempts: Vec<Attempt>,
    /// What still comes of answers that left early.
    open: Vec<Open>,
    judge_ms: f64,
}

impl Gate {
    /// Checks one image: the story of the program.
    ///
    /// # Errors
    /// A [`Refusal`] when the submission is at fault or there is no room: nothing was paid and no
    /// record is made. Everything later ends in a record.
    pub async fn check(&self, mut submission: Submission) -> Result<Checked, Refusal> {
        let policies = self.policies.load_full();
        let policy = policies.find(submission.policy.as_deref())?;
        let case = open_case(policy, &submission)?;
        let candidate = admit(&case, &mut submission)?;
        let came = Came::of(&candidate);
        let prepared = self.prepare(&case, candidate).await?;
        submission.admission.permits.reach_judges();
        let asking = Self::ask(&self.panel, &case, prepared.as_ref()).await;
        let verdict = conclude(&case, prepared.as_ref(), &asking);
        let prepared = prepared.unwrap_or_default();
        let story = Story { came, prepared, asking, verdict };
        Ok(self.keep(&case, submission, story).await)
    }

    /// One decode for everything; `None` where the deadline came first.
    async fn prepare(
        &self,
        case: &Case<'_>,
        candidate: Candidate,
    ) -> Result<Option<Prepared>, Refusal> {
        let plan = Arc::new(plan(&case.policy.loaded, &case.vars));
        let judges = case.policy.judges();
        let needs = match judges {
            [] => Duration::ZERO,
            _ => self.panel.fastest_p50(judges).unwrap_or(case.policy.route.floor),
        };
        let by = useful_by(case.arrived, case.deadline, needs);
        let prepared = self.imaging.prepare(candidate, plan, by);
        match prepared.await {
            Ok(prepared) => Ok(Some(prepared)),
            Err(PrepareError::Late) => Ok(None),
            Err(PrepareError::Inadmissible(why)) => Err(Refusal::Inadmissible(why)),
            Err(PrepareError::Busy { .. } | PrepareError::Behind { .. } | PrepareError::Stuck) => {
                Err(Refusal::Shed(Shed::Workers))
            }
            Err(PrepareError::Broken) => Err(Refusal::Broken),
        }
    }

    /// Asks the panel, and once more where the policy wants a second opinion. Nobody is asked about
    /// an image that a check has settled, or that could not be prepared in time.
    async fn ask(panel: &Panel, case: &Case<'_>, prepared: Option<&Prepared>) -> Asking {
        let watch = Stopwatch::start();
        let policy = case.policy;
        let Some(prepared) = prepared else {
            return Asking { late: true, ..Asking::default() };
        };
        if policy.mode == Mode::Off || is_blocked(prepared) {
            return Asking::default();
        }
        let flags = posing::flags(&prepared.findings);
        let shown = Shown {
            vars: &case.vars,
            views: &prepared.views,
            flags: &flags,
            measurements: prepared.measurements,
            early: case.early,
        };
        let question = match pose(policy, &case.asked, &shown) {
            Ok(question) => question,
            Err(why) => {
                // every combination of variables was rendered at load: what is left is fuel
                tracing::error!(policy = policy.name, %why, "the prompt cannot be rendered");
                return Asking::default();
            }
        };
        let race = Race {
            question: &question,
            route: &policy.route,
            cost_cap: policy.cost_per_image,
            deadline: case.deadline,
            began: case.arrived,
            caller_gone: &case.caller_gone,
        };
        let raced = panel.race(race).await;
        let mut asking = Asking { attempts: raced.attempts, ..Asking::default() };
        asking.await_end_of(0, raced.rest);
        match raced.outcome {
            Outcome::Judged { judge, route, judgement } => {
                if wants_second(case, &judge, &judgement) {
                    let spent = asking.attempts.iter().map(|one| one.cost).sum();
                    let first = (&judge, spent);
                    Self::ask_again(panel, case, &question, first, &mut asking).await;
                }
                asking.first = Some((judge, route, judgement));
            }
            Outcome::Exhausted => {}
            Outcome::Late => asking.late = true,
        }
        asking.struck = question.struck.is_marked();
        asking.settle_ready();
        for attempt in &mut asking.attempts {
            attempt.said = said(policy, &case.asked, (attempt, case.lot));
        }
        asking.judge_ms = watch.elapsed_ms();
        asking
    }

    async fn ask_again(
        panel: &Panel,
        case: &Case<'_>,
        question: &Question,
        (first, spent): (&JudgeId, MicroUsd),
        asking: &mut Asking,
    ) {
        let Some(second) = &case.policy.second_opinion else { return };
        let cap = case.policy.cost_per_image;
        let doubt = Doubt {
            question,
            ask: &second.ask,
            not: &first.name,
            needs: second.needs,
            cost_left: cap.map(|cap| MicroUsd(cap.0.saturating_sub(spent.0))),
            deadline: case.deadline,
            began: case.arrived,
            caller_gone: &case.caller_gone,
        };
        let again = panel.second_opinion(doubt);
        let again = reading_beside(asking.open.iter_mut().map(|one| &mut one.rest), again).await;
        let asked = asking.attempts.len();
        asking.attempts.extend(again.attempts);
        asking.await_end_of(asked, again.rest);
        asking.second = again.opinion.map(|one| (one.judge, one.judgement));
    }

    /// Whether there is no room for anything that nobody waits for: the gate is nearly full, has a
    /// line in front of it, or is stopping.
    fn is_pressed(&self) -> bool {
        self.door.is_draining() || self.door.is_crowded() || 0 < self.door.queued()
    }

    /// Writes the gauges that are read rather than counted.
    pub fn report(&self) {
        self.door.report();
        self.panel.report();
        let imaging = &self.imaging;
        telemetry::door::set_workers_queued(imaging.queued());
        telemetry::door::set_imaging(imaging.wait(), imaging.held_bytes(), imaging.stuck());
        let ledger = self.ledger.stats();
        telemetry::records::set_pending(ledger.pending);
        telemetry::records::set_uncounted(ledger.uncounted);
        self.shadows.report(self.panel.in_flight_aside());
        let [rows, images, late] =
            [ledger.dropped_rows, ledger.dropped_images, ledger.dropped_late];
        telemetry::records::set_dropped(rows, images, late);
    }
}

/// Until when an image must be prepared for a judge who `needs` that long to be of use: where there
/// are more images than the workers can prepare, those that are too late must not take the time of
/// the others. At least half of the time, so that a hurried caller's image is tried too.
fn useful_by(arrived: Stopwatch, deadline: Deadline, needs: Duration) -> Deadline {
    let began = arrived.started();
    let half = Deadline::at(began, deadline.instant().saturating_duration_since(began) / 2);
    deadline.less(needs).max(half)
}

/// Holds the submission to the policy before a pixel is looked at.
fn open_case<'a>(policy: &'a ActivePolicy, submission: &Submission) -> Result<Case<'a>, Refusal> {
    let route = &policy.route;
    let asked = submission.asked_deadline;
    let budget = asked.unwrap_or(route.deadline).min(route.deadline);
    let Some(read_time) = policy.read_time(asked) else {
        return Err(Refusal::BelowFloor { left_ms: millis(budget), floor_ms: millis(route.floor) });
    };
    if read_time < Duration::from_secs_f64(submission.read_ms / 1_000.0) {
        return Err(Refusal::BodyLate);
    }
    let vars = policy.loaded.vars(&submission.vars).map_err(|problems| {
        Refusal::Variables(problems.into_iter().map(|one| (one.name, one.message)).collect())
    })?;
    let caller_gone = submission.caller_gone.clone();
    let early = submission.takes_early && route.stream;
    let came = (submission.arrived, submission.digest);
    Ok(Case { early, ..Case::open(policy, vars, budget, came, caller_gone) })
}

impl<'a> Case<'a> {
    /// A case that must be closed `budget` after its image `arrived`; its answers are waited for to
    /// their ends.
    fn open(
        policy: &'a ActivePolicy,
        vars: BTreeMap<String, String>,
        budget: Duration,
        (arrived, image): (Stopwatch, Digest),
        caller_gone: CancellationToken,
    ) -> Self {
        let ends = Deadline::at(arrived.started(), budget);
        Self {
            policy,
            asked: policy.loaded.asked(&vars),
            vars,
            ends,
            deadline: ends.less(policy.route.keep_back),
            deadline_ms: millis(budget),
            arrived,
            lot: image.lot(),
            caller_gone,
            early: false,
        }
    }
}

/// Takes the bytes out of the submission, for an image that the policy accepts.
fn admit(case: &Case<'_>, submission: &mut Submission) -> Result<Candidate, Inadmissible> {
    let input = &case.policy.input;
    let digested = (mem::take(&mut submission.bytes), submission.digest);
    Candidate::admit_digested(digested, &input.accept, input.max_bytes)
}

/// Whether the policy wants this judgement asked again, and still may.
fn wants_second(case: &Case<'_>, judge: &JudgeId, judgement: &Judgement) -> bool {
    let Some(second) = &case.policy.second_opinion else { return false };
    let (said, borderline) = say(case.policy, &case.asked, opinion(case, judge, judgement));
    let wanted = second.when.iter().any(|when| match *when {
        SecondOpinionWhen::Borderline => borderline,
        SecondOpinionWhen::Fail => said == Decision::Fail,
        SecondOpinionWhen::Sample(share) => rand::random::<f64>() < share,
    });
    case.policy.grant_second(second.max_share, wanted)
}

/// Whether a check settled the image without a judge.
fn is_blocked(prepared: &Prepared) -> bool {
    prepared.findings.iter().any(Finding::blocks)
}

fn conclude(case: &Case<'_>, prepared: Option<&Prepared>, asking: &Asking) -> Verdict {
    let evidence = match &asking.first {
        _ if case.policy.mode == Mode::Off => Evidence::Off,
        _ if prepared.is_some_and(is_blocked) => Evidence::Checked,
        Some((judge, _, judgement)) => Evidence::Judged {
            first: opinion(case, judge, judgement),
            second: asking
                .second
                .as_ref()
                .map(|(judge, judgement)| opinion(case, judge, judgement)),
        },
        None if asking.late => Evidence::Late,
        None => Evidence::NoJudge,
    };
    let findings = prepared.map_or(&[][..], |prepared| &prepared.findings);
    decide(case.policy, &case.asked, findings, evidence)
}

fn opinion<'a>(case: &Case<'_>, judge: &'a JudgeId, judgement: &'a Judgement) -> Opinion<'a> {
    Opinion { judge: &judge.name, judgement, lot: case.lot }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_that_no_judge_could_answer_in_time_is_not_prepared_first() {
        let arrived = Stopwatch::start();
        let of = |within_ms: u64, needs_ms: u64| {
            let deadline = Deadline::at(arrived.started(), Duration::from_millis(within_ms));
            let by = useful_by(arrived, deadline, Duration::from_millis(needs_ms));
            by.instant().duration_since(arrived.started()).as_millis()
        };
        assert_eq!(of(5_000, 700), 4_300);
        assert_eq!(of(5_000, 0), 5_000, "nobody is asked");
        assert_eq!(of(400, 700), 200, "a hurried caller's is tried");
    }
}
