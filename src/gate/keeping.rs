//! What a check leaves behind: its record, drawn up from all that was learnt, written before the
//! answer leaves, counted, and logged in one wide event.

use std::mem;

use uuid::Uuid;

use crate::clock::{Stopwatch, Timestamp};
use crate::domain::finding::local_risk;
use crate::domain::policy::KeepImage;
use crate::domain::record::{ImageFacts, PolicyRef, SIMULATED, Timing};
use crate::domain::{Candidate, Decision, Digest, Format, JudgeId, Policy, Record, Route};
use crate::gate::policies::ActivePolicy;
use crate::gate::shadow::Seen;
use crate::gate::traffic::DRILL_FLAG;
use crate::gate::{Case, Checked, Gate, Story, Submission};
use crate::imaging::View;
use crate::ledger::{Entry, KeptImage};
use crate::panel::Judge;
use crate::telemetry;

/// What is kept of an image as it came once its views are made: while it is judged its bytes are
/// held by nobody.
#[derive(Clone, Copy)]
pub(super) struct Came {
    digest: Digest,
    format: Format,
    size_bytes: u64,
}

impl Came {
    /// What is kept of `candidate`.
    pub(super) fn of(candidate: &Candidate) -> Self {
        let size_bytes = candidate.bytes().len() as u64;
        Self { digest: candidate.digest(), format: candidate.format(), size_bytes }
    }
}

impl Gate {
    /// Draws up the record, writes it, waiting for the log no longer than the answer can wait, and
    /// counts the check.
    pub(super) async fn keep(
        &self,
        case: &Case<'_>,
        submission: Submission,
        story: Story,
    ) -> Checked {
        let watch = Stopwatch::start();
        let timing = timing(case, submission.read_ms, &story);
        let keep_back = case.policy.route.keep_back;
        let (views, measurements) = (story.prepared.views.clone(), story.prepared.measurements);
        let mut story = story;
        let open = mem::take(&mut story.asking.open);
        let mut record = self.draw_up(case, &submission, story, timing);
        let keep = kept_images(&record, &views, &case.policy.keep.images);
        let entry = Entry { record: record.clone(), keep, mark: submission.idempotency };
        let slot = submission.admission.slot;
        // a part of what was kept back is for the reply itself
        let written_by = case.ends.less(keep_back / 4);
        let appended = self.ledger.append(slot, entry, written_by).await;
        record.recorded = appended.recorded;
        if !appended.recorded {
            telemetry::records::count_unrecorded();
        }
        record.timing.record = Some(watch.elapsed_ms());
        record.timing.total = case.arrived.elapsed_ms();
        telemetry::count_check(&record);
        if record.complete {
            self.traffic.observe(&record);
        }
        log_check(&record);
        let seen = Seen { vars: &case.vars, views: &views, measurements, began: case.arrived };
        // what is not in the store has no place for what is said behind it
        let offer = appended.recorded.then(|| self.shadows.offer(case.policy, &record, &seen));
        let offer = offer.flatten();
        let late = self.follow(&record, (open, offer), case.ends);
        Checked { record, seq: appended.seq, late }
    }

    fn draw_up(
        &self,
        case: &Case<'_>,
        submission: &Submission,
        story: Story,
        timing: Timing,
    ) -> Record {
        let Story { came, prepared, asking, mut verdict } = story;
        if asking.struck {
            verdict.flags.push(DRILL_FLAG.to_owned());
        }
        if asking.attempts.iter().any(|attempt| self.is_simulated(&attempt.judge)) {
            verdict.flags.push(SIMULATED.to_owned());
        }
        let cost = asking.attempts.iter().map(|one| one.cost).sum();
        let complete = asking.attempts.iter().all(|one| one.ended_ms.is_some());
        let (judge, route) = match asking.first {
            Some((judge, route, _)) => (Some(judge), Some(route)),
            None => (None, None),
        };
        let judged_by = self.judged_by(case.policy, judge.as_ref());
        let pre = local_risk(&prepared.findings);
        Record {
            id: Uuid::now_v7(),
            at_us: Timestamp::now().before(case.arrived.elapsed()).0,
            request_id: submission.request_id.clone(),
            policy: PolicyRef {
                name: case.policy.name.clone(),
                revision: case.policy.revision,
                mode: case.policy.mode,
            },
            verdict,
            judge,
            route,
            attempts: asking.attempts,
            findings: prepared.findings,
            timing,
            deadline_ms: case.deadline_ms,
            cost,
            complete,
            recorded: true,
            client_gone: submission.caller_gone.is_cancelled(),
            image: ImageFacts {
                digest: came.digest,
                format: came.format,
                width_px: prepared.width_px,
                height_px: prepared.height_px,
                size_bytes: came.size_bytes,
            },
            vars: case.vars.clone(),
            team: None,
            external_id: submission.external_id.clone(),
            pre,
            propensity: 1.0,
            judged_by,
        }
    }

    fn is_simulated(&self, judge: &JudgeId) -> bool {
        self.panel.judge(&judge.name).is_some_and(Judge::is_simulated)
    }

    /// The digest of what decides the judging: the policy's part joined with the judge's model and
    /// parameters; of the policy's part alone where nobody judged.
    pub(super) fn judged_by(&self, policy: &ActivePolicy, judge: Option<&JudgeId>) -> Digest {
        let parameters =
            judge.and_then(|judge| self.panel.judge(&judge.name)).map(Judge::parameters);
        Policy::judged_by(policy.judging, parameters.unwrap_or_default())
    }
}

/// Where the time went so far: `prepare` is what was not reading, decoding, measuring or waiting
/// for a judge, so that waiting for a worker shows.
fn timing(case: &Case<'_>, read_ms: f64, story: &Story) -> Timing {
    let Story { prepared, asking, .. } = story;
    let total = case.arrived.elapsed_ms();
    let known = read_ms + prepared.decode_ms + prepared.checks_ms + asking.judge_ms;
    Timing {
        total,
        read: read_ms,
        decode: prepared.decode_ms,
        checks: prepared.checks_ms,
        prepare: ((total - known).max(0.0) * 1e3).round() / 1e3,
        judge: asking.judge_ms,
        record: None,
    }
}

/// The views that the policy keeps beside this record.
fn kept_images(record: &Record, views: &[View], keep: &[KeepImage]) -> Vec<KeptImage> {
    let decision = record.verdict.decided();
    let kept = keep.iter().any(|rule| match *rule {
        KeepImage::Pass => decision == Decision::Pass,
        KeepImage::Fail => decision == Decision::Fail,
        KeepImage::Review => decision == Decision::Review,
        KeepImage::Borderline => record.verdict.borderline,
        KeepImage::Sample(share) => rand::random::<f64>() < share,
    });
    if !kept {
        return Vec::new();
    }
    let views = views.iter();
    views.map(|view| KeptImage { view: view.id.clone(), bytes: view.jpeg.decoded() }).collect()
}

/// The one wide event of a check. Never image bytes, prompts, reasons or keys.
fn log_check(record: &Record) {
    let judge = record.judge.as_ref().map_or("", |judge| judge.name.as_str());
    tracing::info!(
        id = %record.id,
        request_id = record.request_id,
        policy = record.policy.name,
        verdict = record.verdict.decided().label(),
        basis = record.verdict.basis.label(),
        judge,
        route = record.route.map_or("", Route::label),
        attempts = record.attempts.len(),
        total_ms = record.timing.total,
        judge_ms = record.timing.judge,
        deadline_ms = record.deadline_ms,
        cost_micro_usd = record.cost.0,
        complete = record.complete,
        recorded = record.recorded,
        client_gone = record.client_gone,
        "check.done"
    );
}
