//! What follows alarms has an end of its own: so many images for each judge, and so long.
//!
//! Whoever follows the records says when an alarm has been looked into. While that one stands
//! still, for whatever reason, the alarm stands too, and money alone would be a poor bound.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::clock::Stopwatch;
use crate::drift::event::Watched;

/// Longest that one alarm is looked into: after it a case is told with what there is.
const LONGEST: Duration = Duration::from_hours(12);

/// An alarm, as it is told from others of its policy.
pub(super) type Alarm = (Watched, i64);

/// Every alarm that is being looked into, by policy.
#[derive(Debug, Default)]
pub(super) struct Bursts(BTreeMap<String, Burst>);

/// One alarm that is being looked into.
#[derive(Debug)]
struct Burst {
    alarm: Alarm,
    since: Stopwatch,
    /// Images that each judge was shown for it.
    shown: BTreeMap<String, u64>,
}

impl Burst {
    fn may(&self, judge: &str, most: u64) -> bool {
        self.since.elapsed() < LONGEST && self.shown.get(judge).copied().unwrap_or_default() < most
    }
}

impl Bursts {
    /// The judges among `wanted` that may still be shown images for this alarm of the policy, each
    /// at most `most`. An alarm that was not there before begins now.
    pub(super) fn asked(
        &mut self,
        policy: &str,
        alarm: &Alarm,
        wanted: Vec<String>,
        most: u64,
    ) -> Vec<String> {
        let began =
            || Burst { alarm: alarm.clone(), since: Stopwatch::start(), shown: BTreeMap::new() };
        let burst = self.0.entry(policy.to_owned()).or_insert_with(began);
        if burst.alarm != *alarm {
            *burst = began();
        }
        wanted.into_iter().filter(|judge| burst.may(judge, most)).collect()
    }

    /// Forgets the alarms of policies that have none any more.
    pub(super) fn retain(&mut self, alarmed: &BTreeSet<&String>) {
        self.0.retain(|policy, _| alarmed.contains(policy));
    }

    /// Whether this judge may be shown one more image for the alarm of the policy.
    pub(super) fn may(&self, policy: &str, judge: &str, most: u64) -> bool {
        self.0.get(policy).is_some_and(|burst| burst.may(judge, most))
    }

    /// It is shown one.
    pub(super) fn count(&mut self, policy: &str, judge: &str) {
        if let Some(burst) = self.0.get_mut(policy) {
            *burst.shown.entry(judge.to_owned()).or_default() += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use tokio::time;

    fn judges(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_ends_by_itself_while_the_follower_stands_still() {
        let mut bursts = Bursts::default();
        let alarm = (Watched::Judge("a".to_owned()), 1_000);
        let wanted = || judges(&["b", "c"]);
        assert_eq!(bursts.asked("p", &alarm, wanted(), 3), wanted());
        for _ in 0..3 {
            assert!(bursts.may("p", "b", 3));
            bursts.count("p", "b");
        }
        assert!(!bursts.may("p", "b", 3) && bursts.may("p", "c", 3));
        assert_eq!(bursts.asked("p", &alarm, wanted(), 3), judges(&["c"]), "the same alarm");
        time::advance(LONGEST).await;
        assert_eq!(bursts.asked("p", &alarm, wanted(), 3), judges(&[]), "for too long");
        assert!(!bursts.may("p", "c", 3));
        let next = (Watched::Judge("a".to_owned()), 9_000);
        assert_eq!(bursts.asked("p", &next, wanted(), 3), wanted(), "another alarm is another");
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_for_an_alarm_that_is_told_is_not_shown_any_more() {
        let mut bursts = Bursts::default();
        let alarm = (Watched::Input, 1_000);
        assert_eq!(bursts.asked("p", &alarm, judges(&["b"]), 3), judges(&["b"]));
        bursts.retain(&BTreeSet::new());
        assert!(!bursts.may("p", "b", 3));
    }
}
