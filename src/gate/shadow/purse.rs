//! A purse is what may be spent behind verdicts in one day (UTC): reserved before a call, settled
//! after it.

use std::collections::BTreeMap;

use crate::clock::Timestamp;
use crate::domain::MicroUsd;
use crate::ledger::shadows::{Purpose, Spent};

/// Micro-seconds of a day.
const DAY_US: i64 = 86_400_000_000;

/// Which purse: bursts of all policies share one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Which {
    purpose: Purpose,
    policy: String,
    entry: String,
}

impl Which {
    /// The purse of an entry of a policy.
    pub(super) fn of(purpose: Purpose, policy: &str, entry: &str) -> Self {
        match purpose {
            Purpose::Sample => Self { purpose, policy: policy.to_owned(), entry: entry.to_owned() },
            Purpose::Backfill => Self { purpose, policy: policy.to_owned(), entry: String::new() },
            Purpose::Burst => Self { purpose, policy: String::new(), entry: String::new() },
        }
    }
}

/// Every purse.
#[derive(Debug, Default)]
pub(super) struct Purses(BTreeMap<Which, Purse>);

#[derive(Clone, Copy, Debug, Default)]
struct Purse {
    day: i64,
    /// On that day.
    spent: MicroUsd,
    /// For calls under way, whatever day they began.
    reserved: MicroUsd,
}

impl Purses {
    /// Takes up what an earlier process spent today.
    pub(super) fn restore(&mut self, spent: &[Spent], now: Timestamp) {
        for one in spent {
            let purse = self.purse(&Which::of(one.purpose, &one.policy, &one.entry), now);
            purse.spent = purse.spent + one.cost;
        }
    }

    /// Keeps `estimate` for a call, where the day's money suffices; `false`: it does not.
    #[must_use]
    pub(super) fn reserve(
        &mut self,
        which: &Which,
        (estimate, per_day): (MicroUsd, MicroUsd),
        now: Timestamp,
    ) -> bool {
        let purse = self.purse(which, now);
        let suffices = purse.spent + purse.reserved + estimate <= per_day;
        if suffices {
            purse.reserved = purse.reserved + estimate;
        }
        suffices
    }

    /// A call for which `estimate` was kept cost that much.
    pub(super) fn settle(
        &mut self,
        which: &Which,
        (estimate, cost): (MicroUsd, MicroUsd),
        now: Timestamp,
    ) {
        let purse = self.purse(which, now);
        purse.reserved = MicroUsd(purse.reserved.0.saturating_sub(estimate.0));
        purse.spent = purse.spent + cost;
    }

    fn purse(&mut self, which: &Which, now: Timestamp) -> &mut Purse {
        let purse = self.0.entry(which.clone()).or_default();
        let today = now.0.div_euclid(DAY_US);
        if purse.day < today {
            (purse.day, purse.spent) = (today, MicroUsd::default());
        }
        purse
    }
}

/// When the day of `now` began.
pub(super) fn midnight(now: Timestamp) -> Timestamp {
    Timestamp(now.0.div_euclid(DAY_US).saturating_mul(DAY_US))
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    const NOON: Timestamp = Timestamp(20_000 * DAY_US + DAY_US / 2);

    fn sample(entry: &str) -> Which {
        Which::of(Purpose::Sample, "p", entry)
    }

    #[test]
    fn a_day_has_its_own_money_and_a_restart_does_not_make_more() {
        let mut purses = Purses::default();
        let spent = |entry: &str, cost| Spent {
            policy: "p".to_owned(),
            purpose: Purpose::Sample,
            entry: entry.to_owned(),
            cost: MicroUsd(cost),
        };
        purses.restore(&[spent("a", 60), spent("b", 100)], NOON);
        let mut reserve =
            |entry, now| purses.reserve(&sample(entry), (MicroUsd(30), MicroUsd(100)), now);
        assert!(reserve("a", NOON));
        assert!(!reserve("a", NOON), "60 and 30 are gone");
        assert!(!reserve("b", NOON));
        assert!(reserve("c", NOON));
        let tomorrow = Timestamp(NOON.0 + DAY_US / 2);
        assert!(reserve("b", tomorrow));
        assert!(reserve("a", tomorrow), "30 are still kept for a call of yesterday's");
        assert_eq!(midnight(tomorrow), tomorrow);
        assert_eq!(midnight(NOON), Timestamp(NOON.0 - DAY_US / 2));
    }

    #[test]
    fn bursts_of_all_policies_share_one_purse() {
        let mut purses = Purses::default();
        let mut reserve = |policy| {
            let which = Which::of(Purpose::Burst, policy, "");
            purses.reserve(&which, (MicroUsd(60), MicroUsd(100)), NOON)
        };
        assert!(reserve("p"));
        assert!(!reserve("q"));
    }

    proptest! {
        #[test]
        fn no_more_is_spent_than_a_day_allows_if_calls_cost_no_more_than_thought(
            calls in prop::collection::vec((1_u64..40, 0_u64..40, any::<bool>()), 0..200),
        ) {
            let (mut purses, mut open, mut spent) = (Purses::default(), Vec::new(), 0);
            for (estimate, cost, is_settled) in calls {
                let estimate = MicroUsd(estimate);
                if purses.reserve(&sample("a"), (estimate, MicroUsd(300)), NOON) {
                    open.push((estimate, MicroUsd(cost.min(estimate.0))));
                }
                if is_settled && let Some((estimate, cost)) = open.pop() {
                    purses.settle(&sample("a"), (estimate, cost), NOON);
                    spent += cost.0;
                }
                let kept: u64 = open.iter().map(|(estimate, _)| estimate.0).sum();
                prop_assert!(spent + kept <= 300);
            }
        }
    }
}
