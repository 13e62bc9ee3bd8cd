//! The schedule runs drills by themselves: each every so often, counted from when it last ran, also
//! before a restart.
//!
//! A drill that is refused (another judge is open, say) is logged, counted, and tried again within
//! the hour. Each run comes a little later than it is due, by a chance of its own: replicas that were
//! started together would else break the same judge at the same time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Deadline, Timestamp};
use crate::domain::drill::Plan;
use crate::drill::Drills;
use crate::drill::form::DrillForm;

/// Who asked for a drill that nobody asked for.
pub const BY: &str = "schedule";

/// How soon a drill runs that never ran, and how soon a refused one is tried again.
const SOON: Duration = Duration::from_secs(3_600);

/// The largest share of the time between two runs that the next is put off by.
const SPREAD: f64 = 0.1;

/// Longest between two looks at the clock.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// A drill that runs by itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Scheduled {
    /// What is drilled.
    pub plan: Plan,
    /// From one beginning to the next.
    pub every: Duration,
}

impl Scheduled {
    /// Whether `form` is a run of it.
    fn is_run(&self, form: &DrillForm) -> bool {
        form.by == BY && form.judge == self.plan.judge && form.fault == self.plan.fault
    }
}

impl Drills {
    /// Runs what is scheduled. Never returns; drop it to stop.
    pub async fn mind_schedule(self: Arc<Self>) {
        let scheduled = &self.settings.scheduled;
        let mut last = BTreeMap::new();
        match self.stored(crate::ledger::drills::MAX_KEPT).await {
            Ok(forms) => {
                for (index, one) in scheduled.iter().enumerate() {
                    if let Some(form) = forms.iter().find(|form| one.is_run(form)) {
                        last.insert(index, form.began);
                    }
                }
            }
            Err(why) => tracing::warn!(%why, "when drills last ran cannot be read"),
        }
        let now = Timestamp::now();
        let first = |(index, one): (usize, &Scheduled)| {
            after(due(one.every, last.get(&index).copied(), now), spread(one.every, rand::random()))
        };
        let mut next: Vec<_> = scheduled.iter().enumerate().map(first).collect();
        let shortest = scheduled.iter().map(|one| one.every).min().unwrap_or(LOOK_EVERY);
        loop {
            Deadline::after(LOOK_EVERY.min(shortest)).passed().await;
            for (one, due) in scheduled.iter().zip(&mut next) {
                let now = Timestamp::now();
                if now < *due {
                    continue;
                }
                let started = self.start(one.plan.clone(), BY).await;
                let wait = if started.is_ok() { one.every } else { one.every.min(SOON) };
                *due = after(now, wait + spread(wait, rand::random()));
            }
        }
    }
}

/// When a drill runs that is to run every so often and last ran then.
fn due(every: Duration, last: Option<Timestamp>, now: Timestamp) -> Timestamp {
    match last {
        Some(last) => after(last, every),
        None => after(now, every.min(SOON)),
    }
}

/// By how much a run is put off that drew `chance` (0..1).
fn spread(every: Duration, chance: f64) -> Duration {
    every.mul_f64(SPREAD * chance.clamp(0.0, 1.0))
}

fn after(at: Timestamp, span: Duration) -> Timestamp {
    Timestamp(at.0.saturating_add(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);
    const HOUR_US: i64 = 3_600_000_000;

    #[test]
    fn a_drill_is_due_from_when_it_last_ran_and_soon_where_it_never_did() {
        let now = Timestamp(100 * HOUR_US);
        assert_eq!(due(DAY, Some(Timestamp(90 * HOUR_US)), now), Timestamp(114 * HOUR_US));
        assert_eq!(
            due(DAY, Some(Timestamp(10 * HOUR_US)), now),
            Timestamp(34 * HOUR_US),
            "overdue"
        );
        assert_eq!(due(DAY, None, now), Timestamp(101 * HOUR_US));
        assert_eq!(spread(DAY, 0.0), Duration::ZERO);
        assert_eq!(spread(DAY, 0.5), Duration::from_secs(4_320));
        assert!(spread(DAY, 1.0) <= DAY / 10);
        let minute = Duration::from_secs(60);
        assert_eq!(due(minute, None, now), Timestamp(100 * HOUR_US + 60_000_000));
    }
}
