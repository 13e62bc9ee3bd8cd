//! What a judge missed, and is shown now that it is back.
//!
//! The chance that each image had is fixed before the first is shown, so none may be left out for
//! what becomes of its call: one that fails is made again, some times and for some time. What is
//! given up in the end is stored as asked and not answered; an adjusted rate then tells how far it
//! may be wrong.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::clock::{Deadline, Stopwatch};
use crate::domain::{Attempt, AttemptOutcome, MicroUsd};
use crate::gate::shadow::Job;
use crate::gate::shadow::purse::Kept;

/// Calls about one image.
const MOST_CALLS: u32 = 4;
/// Between two of them.
const AGAIN_AFTER: Duration = Duration::from_secs(10);
/// From when the judge was back until what it was not shown is given up.
const DUE_FOR: Duration = Duration::from_hours(1);

/// One image that a judge missed.
#[derive(Debug)]
pub(super) struct Missing {
    pub(super) job: Job,
    /// For the next call; `None`: it has to be kept once more.
    pub(super) kept: Option<Kept>,
    /// Of the calls that failed.
    pub(super) cost: MicroUsd,
    /// How the last of them ended.
    pub(super) failed: Option<Attempt>,
    calls: u32,
    since: Stopwatch,
    again_at: Deadline,
}

impl Missing {
    /// An image for which money is kept.
    pub(super) fn new(job: Job, kept: Kept) -> Self {
        Self {
            job,
            kept: Some(kept),
            cost: MicroUsd::default(),
            failed: None,
            calls: 0,
            since: Stopwatch::start(),
            again_at: Deadline::after(Duration::ZERO),
        }
    }

    /// Whether it is too late to show it.
    pub(super) fn is_too_old(&self) -> bool {
        DUE_FOR <= self.since.elapsed()
    }

    /// What is to be stored of the call that ended now, with the bill of all of them; `None`: it is
    /// to be made again.
    pub(super) fn ended(&mut self, attempt: Attempt) -> Option<Attempt> {
        self.calls += 1;
        self.cost = self.cost + attempt.cost;
        if attempt.outcome != AttemptOutcome::Judged && self.calls < MOST_CALLS {
            self.again_at = Deadline::after(AGAIN_AFTER);
            self.failed = Some(attempt);
            return None;
        }
        Some(Attempt { cost: self.cost, ..attempt })
    }
}

/// What judges are still to be shown, by judge.
#[derive(Debug, Default)]
pub(super) struct Due(BTreeMap<String, Queue>);

#[derive(Debug, Default)]
struct Queue {
    fresh: VecDeque<Missing>,
    /// Calls that failed, the longest ago first.
    again: VecDeque<Missing>,
}

impl Due {
    /// One more, behind those that are there.
    pub(super) fn add(&mut self, missing: Missing) {
        let queue = self.0.entry(missing.job.wish.judge.clone()).or_default();
        if missing.failed.is_some() {
            queue.again.push_back(missing);
        } else {
            queue.fresh.push_back(missing);
        }
    }

    /// Puts back what [`Self::next`] gave and cannot begin yet.
    pub(super) fn put_back(&mut self, missing: Missing) {
        let queue = self.0.entry(missing.job.wish.judge.clone()).or_default();
        queue.fresh.push_front(missing);
    }

    /// Who is to be shown something.
    pub(super) fn judges(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    /// The next image for a judge: one of which it was asked before, if it is time.
    pub(super) fn next(&mut self, judge: &str) -> Option<Missing> {
        let queue = self.0.get_mut(judge)?;
        let is_time = |one: &Missing| one.again_at.is_past() || one.is_too_old();
        let again = queue.again.pop_front_if(|one| is_time(one));
        let next = again.or_else(|| queue.fresh.pop_front());
        if next.is_none() && queue.again.is_empty() {
            self.0.remove(judge);
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::sync::Arc;

    use tokio::time;
    use uuid::Uuid;

    use crate::clock::Timestamp;
    use crate::domain::{Digest, Route};
    use crate::gate::shadow::purse::{Money, Which};
    use crate::gate::shadow::wish::Wish;
    use crate::gate::shadow::{Held, Shown};
    use crate::imaging::Measurements;
    use crate::ledger::form::tests::sample;
    use crate::ledger::shadows::Purpose;

    fn missing(judge: &str) -> Missing {
        let shown = Shown {
            record: Uuid::now_v7(),
            lot: 0.5,
            policy: "p".to_owned(),
            judging: Digest::of(b"p"),
            vars: BTreeMap::new(),
            flags: Vec::new(),
            views: Vec::new(),
            measurements: Measurements::default(),
            first: None,
            began: Stopwatch::start(),
        };
        let wish = Wish {
            judge: judge.to_owned(),
            purpose: Purpose::Backfill,
            entry: String::new(),
            propensity: 0.5,
        };
        let job = Job { shown: Arc::new(shown), wish, _held: Held::new(&Arc::default(), 0) };
        let which = Which::of(Purpose::Backfill, "p", "");
        let amounts = (MicroUsd(7), MicroUsd(100));
        Missing::new(job, Money::default().set_aside(&which, amounts, Timestamp(0)).unwrap())
    }

    fn ends(outcome: AttemptOutcome) -> Attempt {
        let attempt = sample().attempts.remove(0);
        Attempt { outcome, route: Route::Shadow, cost: MicroUsd(5), ..attempt }
    }

    #[tokio::test(start_paused = true)]
    async fn a_backfill_call_that_failed_is_made_again_and_stored_once_with_every_bill() {
        let mut due = Due::default();
        due.add(missing("a"));
        due.add(missing("a"));
        let mut first = due.next("a").unwrap();
        let id = first.job.shown.record;
        assert_eq!(first.ended(ends(AttemptOutcome::ServerError)), None);
        due.add(first);
        let other = due.next("a").unwrap();
        assert_ne!(other.job.shown.record, id, "not at once");
        assert!(due.next("a").is_none() && due.judges() == ["a"]);
        time::advance(AGAIN_AFTER).await;
        let mut again = due.next("a").unwrap();
        assert_eq!(again.job.shown.record, id);
        let stored = again.ended(ends(AttemptOutcome::Judged)).unwrap();
        assert_eq!((stored.outcome, stored.cost), (AttemptOutcome::Judged, MicroUsd(10)));
        assert!(due.next("a").is_none() && due.judges().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn calls_that_keep_failing_end_and_are_told() {
        let mut one = missing("a");
        let mut calls = 0;
        let stored = loop {
            calls += 1;
            if let Some(stored) = one.ended(ends(AttemptOutcome::Overloaded)) {
                break stored;
            }
        };
        assert_eq!((calls, stored.outcome), (MOST_CALLS, AttemptOutcome::Overloaded));
        assert_eq!(stored.cost, MicroUsd(20));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_missed_is_not_due_for_ever() {
        let mut due = Due::default();
        due.add(missing("a"));
        let mut failed = missing("a");
        assert_eq!(failed.ended(ends(AttemptOutcome::Timeout)), None);
        due.add(failed);
        assert!(due.next("a").is_some_and(|one| !one.is_too_old()));
        time::advance(DUE_FOR).await;
        assert!(due.next("a").is_some_and(|one| one.is_too_old()));
    }
}
