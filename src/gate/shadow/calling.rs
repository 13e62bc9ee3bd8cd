//! One call behind a verdict, from the question to the store.

use std::time::Duration;

use crate::clock::{Deadline, Timestamp};
use crate::domain::{Attempt, AttemptOutcome, Decision, JudgeId};
use crate::gate::Gate;
use crate::gate::policies::PolicySet;
use crate::gate::posing::said;
use crate::gate::shadow::Job;
use crate::gate::shadow::due::Missing;
use crate::gate::shadow::purse::Kept;
use crate::ledger::LedgerError;
use crate::ledger::shadows::NewShadow;
use crate::panel::Question;
use crate::panel::aside::Aside;
use crate::telemetry::shadow::{Unasked, count_dropped, count_pair, count_shadow};

/// Longest that one call runs: a judge that takes longer says nothing of how it judges in time.
const CALL_WITHIN: Duration = Duration::from_secs(30);

/// What became of a call.
pub(super) enum Ended {
    /// What was said is stored, or has no place in the store.
    Kept,
    /// It could not be stored.
    Unkept(LedgerError),
    /// It is to be made again.
    Again(Box<Missing>),
}

/// Asks, for the money that is kept, and counts the call.
pub(super) async fn call(
    gate: &Gate,
    (aside, mut kept): (Aside, Kept),
    question: &Question,
    job: &Job,
) -> Attempt {
    kept.begin();
    let within = (job.shown.began, Deadline::after(CALL_WITHIN));
    let attempt = aside.ask(&gate.panel, question, within).await;
    kept.settle(attempt.cost);
    count_shadow(&attempt);
    attempt
}

/// Stores how one image's calls ended, which began `at` that moment.
pub(super) async fn keep(
    gate: &Gate,
    policies: &PolicySet,
    (job, at): (&Job, Timestamp),
    mut attempt: Attempt,
) -> Ended {
    let Ok(policy) = policies.find(Some(&job.shown.policy)) else { return Ended::Kept };
    let asked = policy.loaded.asked(&job.shown.vars);
    attempt.said = said(policy, &asked, (&attempt, job.shown.lot))
        .filter(|_| attempt.outcome == AttemptOutcome::Judged);
    let (judge, second): (JudgeId, Option<Decision>) = (attempt.judge.clone(), attempt.said);
    let new = NewShadow {
        verdict: job.shown.record,
        at,
        purpose: job.wish.purpose,
        entry: job.wish.entry.clone(),
        propensity: job.wish.propensity,
        judged_by: gate.judged_by(policy, Some(&judge)),
        attempt,
    };
    match gate.ledger.shadow(new).await {
        Ok(true) => {
            if let (Some((first, rejects)), Some(said)) = (&job.shown.first, second) {
                count_pair((first, *rejects), (&judge.name, said != Decision::Pass));
            }
            Ended::Kept
        }
        Ok(false) => {
            count_dropped(Unasked::Unwritten); // its record was lost, or is not there yet
            Ended::Kept
        }
        Err(LedgerError::Closed) => Ended::Kept,
        Err(why) => {
            count_dropped(Unasked::Unwritten);
            tracing::warn!(%why, id = %job.shown.record, "what was said behind a verdict is lost");
            Ended::Unkept(why)
        }
    }
}
