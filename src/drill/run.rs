//! One drill from its baseline to its record: watch, break, watch, restore, watch.
//!
//! Whatever ends it (its time, a breach, somebody's wish, the task being dropped), the judge is whole
//! again first: the holder of the break lives in one block.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Deadline, Stopwatch, Timestamp};
use crate::domain::drill::{
    Assessment, DrillResult, Plan, Recovery, Tally, assess, breach, has_recovered,
};
use crate::drill::form::{AssertionForm, FiguresForm, Phase};
use crate::drill::{Drills, Live, Slot};
use crate::gate::late::READ_FOR;
use crate::gate::traffic::Watching;
use crate::provider::ProviderJudge;
use crate::telemetry;

/// Between two looks at the traffic.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Verdicts from which the share of a judge says something, after the restoration.
const RECOVERY_VERDICTS: u64 = 10;

/// Why a drill ends before its time.
#[derive(Debug)]
enum Early {
    /// Nothing is wrong with the traffic.
    Stopped(&'static str),
    /// Images suffer, or will.
    Breach(String),
}

/// What was seen so far.
#[derive(Debug, Default)]
struct Seen {
    before: Tally,
    during: Tally,
}

struct Run<'a> {
    drills: &'a Drills,
    live: &'a Live,
    plan: &'a Plan,
    judge: &'a ProviderJudge,
    watching: Watching<'a>,
    /// Within this every image under way is answered, and its end is known.
    known_within: Duration,
}

/// Runs the drill that holds `slot`, and records how it ended.
pub(crate) async fn conduct(
    slot: Slot,
    (plan, policies): (Plan, BTreeSet<String>),
    judge: Arc<ProviderJudge>,
) {
    let Slot { drills, live } = &slot;
    let mut seen = Seen::default();
    let watching = drills.gate.traffic.watch(policies);
    let known_within = drills.longest_deadline(&plan.judge) + READ_FOR;
    let run = Run { drills, live, plan: &plan, judge: &judge, watching, known_within };
    let ended = run.through(&mut seen).await;
    let assessment = conclude(&plan, &seen, ended);
    let form = {
        let mut form = live.form();
        form.phase = Phase::Ended;
        form.result = Some(assessment.result);
        form.ended = Some(Timestamp::now());
        form.figures = FiguresForm::of(&seen.before, &seen.during);
        form.assertions = assessment.assertions.iter().map(AssertionForm::from).collect();
        form.reason = assessment.reason;
        form.clone()
    };
    tracing::warn!(
        drill = %form.id,
        judge = form.judge,
        result = assessment.result.label(),
        reason = form.reason.as_deref().unwrap_or_default(),
        struck = form.figures.struck.images,
        "a drill ended, its judge is restored"
    );
    if let Err(why) = drills.keep(&form).await {
        tracing::error!(drill = %form.id, %why, "a drill's result could not be recorded");
    }
    telemetry::drills::count_drill(&form.judge, assessment.result);
    if let (DrillResult::Passed, Some(ended)) = (assessment.result, form.ended) {
        telemetry::drills::set_drill_passed(&form.judge, ended);
    }
}

fn conclude(plan: &Plan, seen: &Seen, ended: Result<Recovery, Early>) -> Assessment {
    let recovery = *ended.as_ref().unwrap_or(&Recovery::Unseen);
    let assessed = assess(&plan.bounds, &seen.before, &seen.during, recovery);
    match ended {
        Ok(_) => assessed,
        Err(Early::Stopped(why)) => {
            Assessment { result: DrillResult::Stopped, reason: Some(why.to_owned()), ..assessed }
        }
        Err(Early::Breach(why)) => {
            Assessment { result: DrillResult::Aborted, reason: Some(why), ..assessed }
        }
    }
}

impl Run<'_> {
    async fn through(&self, seen: &mut Seen) -> Result<Recovery, Early> {
        self.watch(Phase::Baseline, self.plan.baseline, seen).await?;
        seen.before = self.watching.turn();
        {
            let ends = Deadline::after(self.plan.lasts);
            let (fault, share) = (self.plan.fault, self.plan.share);
            let Some(_sabotaged) = self.judge.sabotage().begin(fault, share, ends) else {
                return Err(Early::Stopped("the judge's calls are being broken already"));
            };
            self.watch(Phase::Fault, self.plan.lasts, seen).await?;
        }
        seen.during = Tally { spared: seen.during.spared, ..self.watching.turn() };
        self.recover(seen).await
    }

    /// Watches the traffic for `span`, unless something ends the drill.
    async fn watch(&self, phase: Phase, span: Duration, seen: &mut Seen) -> Result<(), Early> {
        let until = Deadline::after(span);
        loop {
            self.show(phase, seen);
            self.pause(until).await?;
            let now = self.watching.look();
            if phase == Phase::Fault {
                let came = now.clear.images.saturating_sub(seen.during.clear.images);
                let spared = if self.drills.is_out(&self.plan.judge) { came } else { 0 };
                seen.during = Tally { spared: seen.during.spared + spared, ..now };
                if let Some(why) = breach(&self.plan.bounds, &seen.during) {
                    return Err(Early::Breach(why));
                }
            } else {
                seen.before = now;
            }
            // while it is whole the judge itself must be well too: nobody breaks one that is ill
            let is_whole = phase == Phase::Baseline;
            if let Some(why) = self.drills.unwell(|judge| is_whole || judge != self.plan.judge) {
                return Err(Early::Breach(why));
            }
            // a reload may have taken the others away
            if let Err(why) = self.drills.asking(&self.plan.judge) {
                return Err(Early::Breach(why));
            }
            if until.is_past() {
                return Ok(());
            }
        }
    }

    /// Waits until the judge has its share of the traffic again, no broken call hangs any more, and
    /// nothing of an image that was struck is still to come.
    async fn recover(&self, seen: &mut Seen) -> Result<Recovery, Early> {
        let restored = Stopwatch::start();
        let until = Deadline::after(self.plan.bounds.recovered_within);
        let mut back_after = None;
        let mut enough_seen = false;
        loop {
            self.show(Phase::Recovery, seen);
            self.pause(until).await?;
            let now = self.watching.look();
            if RECOVERY_VERDICTS <= now.clear.judged() {
                enough_seen = true;
                if back_after.is_none() && has_recovered(&self.plan.judge, &seen.before, &now) {
                    back_after = Some(restored.elapsed());
                }
                seen.during.add_stragglers(&self.watching.turn());
            }
            // the slowest of those struck are the last to be known, and must not be left out
            let all_are_in = self.known_within <= restored.elapsed();
            let is_settled = all_are_in && self.judge.sabotage().suffering() == 0;
            if until.is_past() || (back_after.is_some() && is_settled) {
                seen.during.add_stragglers(&self.watching.turn());
                break;
            }
        }
        Ok(match back_after {
            Some(took) => Recovery::After(took),
            None if enough_seen => Recovery::NotWithin,
            None => Recovery::Unseen,
        })
    }

    /// Waits a moment, not past `until`.
    async fn pause(&self, until: Deadline) -> Result<(), Early> {
        let stop = self.live.stop.run_until_cancelled(until.capped(LOOK_EVERY).passed());
        if stop.await.is_none() {
            return Err(Early::Stopped("somebody ended it"));
        }
        if self.drills.gate.door.is_draining() {
            return Err(Early::Stopped("the gate is about to stop"));
        }
        Ok(())
    }

    fn show(&self, phase: Phase, seen: &Seen) {
        let figures = FiguresForm::of(&seen.before, &seen.during);
        let mut form = self.live.form();
        form.phase = phase;
        form.figures = figures;
    }
}
