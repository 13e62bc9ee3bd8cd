//! A purse is what may be spent behind verdicts in one day (UTC): reserved before a call, settled
//! after it, and drawn from the store before either, so that no end of the process makes more of
//! it.
//!
//! A call begins only if all that is spent and reserved, with it, was drawn. A little more is drawn
//! than is wanted, so that not every call waits for the store; a restart counts that as spent. What is
//! due after an outage is drawn whole before it begins: a restart in its middle costs all of that.

use std::collections::BTreeMap;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::Timestamp;
use crate::domain::MicroUsd;
use crate::ledger::purses::Draw;
use crate::ledger::shadows::{Purpose, Spent};

/// Micro-seconds of a day.
const DAY_US: i64 = 86_400_000_000;

/// What is drawn ahead, as a part of the day's money.
const AHEAD: u64 = 100;

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
            Purpose::Backfill | Purpose::Hedge => {
                Self { purpose, policy: policy.to_owned(), entry: String::new() }
            }
            Purpose::Burst => Self { purpose, policy: String::new(), entry: String::new() },
        }
    }

    fn spent(&self, cost: MicroUsd) -> Spent {
        let Self { purpose, policy, entry } = self.clone();
        Spent { policy, purpose, entry, cost }
    }
}

/// Why no money is kept for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Short {
    /// The day's money is spent.
    Spent,
    /// It has not been drawn yet.
    Undrawn,
}

/// Every purse, as calls and whoever begins them share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Money(Arc<Mutex<BTreeMap<Which, Purse>>>);

#[derive(Clone, Copy, Debug, Default)]
struct Purse {
    day: i64,
    /// On that day.
    spent: MicroUsd,
    /// For calls under way or to come, whatever day it was reserved.
    reserved: MicroUsd,
    /// On that day, as the store has it.
    drawn: MicroUsd,
    /// To be drawn; 0: nothing.
    wanted: MicroUsd,
}

impl Purse {
    fn needed(&self) -> MicroUsd {
        self.spent + self.reserved
    }

    /// Wants `needed` drawn, and a little more where the day's money has it.
    fn want(&mut self, needed: MicroUsd, per_day: MicroUsd) {
        let ahead = needed + MicroUsd(per_day.0 / AHEAD);
        self.wanted = self.wanted.max(needed.max(ahead.min(per_day)));
    }
}

/// Money that is kept for one call. Dropped it is free again, or spent if the call has begun: what
/// was sent is billed.
#[derive(Debug)]
#[must_use = "dropped, it is free again"]
pub(super) struct Kept {
    money: Money,
    which: Which,
    estimate: MicroUsd,
    has_begun: bool,
}

impl Kept {
    /// The call begins.
    pub(super) fn begin(&mut self) {
        self.has_begun = true;
    }

    /// The call cost that much.
    pub(super) fn settle(mut self, cost: MicroUsd) {
        let estimate = mem::take(&mut self.estimate);
        self.has_begun = false;
        self.money.settle(&self.which, (estimate, cost));
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let cost = if self.has_begun { self.estimate } else { MicroUsd::default() };
        self.money.settle(&self.which, (self.estimate, cost));
    }
}

impl Money {
    /// Takes up what earlier processes spent today, and what they drew for it: what they had under
    /// way may have been spent.
    pub(super) fn restore(&self, spent: &[Spent], drawn: &[Spent], now: Timestamp) {
        let mut purses = self.purses();
        let which = |one: &Spent| Which::of(one.purpose, &one.policy, &one.entry);
        for one in spent {
            let purse = today(&mut purses, &which(one), now);
            purse.spent = purse.spent + one.cost;
        }
        for one in drawn {
            let purse = today(&mut purses, &which(one), now);
            purse.drawn = purse.drawn.max(one.cost);
            purse.spent = purse.spent.max(one.cost);
        }
    }

    /// Keeps `estimate` for a call that begins now.
    ///
    /// # Errors
    /// Why there is none; what is not drawn will be wanted.
    pub(super) fn reserve(
        &self,
        which: &Which,
        (estimate, per_day): (MicroUsd, MicroUsd),
        now: Timestamp,
    ) -> Result<Kept, Short> {
        let mut purses = self.purses();
        let purse = today(&mut purses, which, now);
        let needed = purse.needed() + estimate;
        if per_day < needed {
            return Err(Short::Spent);
        }
        if purse.drawn < needed {
            purse.want(needed, per_day);
            return Err(Short::Undrawn);
        }
        purse.reserved = purse.reserved + estimate;
        Ok(self.kept(which, estimate))
    }

    /// Keeps `estimate` for a call that will begin once it [is drawn](Self::is_drawn); `None`: the
    /// day's money does not suffice.
    pub(super) fn set_aside(
        &self,
        which: &Which,
        (estimate, per_day): (MicroUsd, MicroUsd),
        now: Timestamp,
    ) -> Option<Kept> {
        let mut purses = self.purses();
        let purse = today(&mut purses, which, now);
        if per_day < purse.needed() + estimate {
            return None;
        }
        purse.reserved = purse.reserved + estimate;
        Some(self.kept(which, estimate))
    }

    /// Whether everything that was kept is drawn; if not, it will be wanted.
    pub(super) fn is_drawn(&self, which: &Which, per_day: MicroUsd, now: Timestamp) -> bool {
        let mut purses = self.purses();
        let purse = today(&mut purses, which, now);
        let is_drawn = purse.needed() <= purse.drawn;
        if !is_drawn {
            purse.want(purse.needed(), per_day);
        }
        is_drawn
    }

    /// What is to be drawn in the store.
    pub(super) fn wanted(&self, now: Timestamp) -> Vec<(Which, Draw)> {
        let mut purses = self.purses();
        let mut wanted = Vec::new();
        let day = day(now);
        for (which, purse) in purses.iter_mut().filter(|(_, purse)| purse.day == day) {
            let amount = mem::take(&mut purse.wanted);
            if purse.drawn < amount {
                wanted.push((which.clone(), Draw { day, of: which.spent(amount) }));
            }
        }
        wanted
    }

    /// It stands in the store that so much was drawn.
    pub(super) fn note(&self, which: &Which, draw: &Draw) {
        if let Some(purse) = self.purses().get_mut(which).filter(|purse| purse.day == draw.day) {
            purse.drawn = purse.drawn.max(draw.of.cost);
        }
    }

    fn kept(&self, which: &Which, estimate: MicroUsd) -> Kept {
        Kept { money: self.clone(), which: which.clone(), estimate, has_begun: false }
    }

    fn settle(&self, which: &Which, (estimate, cost): (MicroUsd, MicroUsd)) {
        if let Some(purse) = self.purses().get_mut(which) {
            purse.reserved = MicroUsd(purse.reserved.0.saturating_sub(estimate.0));
            purse.spent = purse.spent + cost;
        }
    }

    fn purses(&self) -> MutexGuard<'_, BTreeMap<Which, Purse>> {
        // nothing in there can be left half done
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The purse as it is today.
fn today<'a>(
    purses: &'a mut BTreeMap<Which, Purse>,
    which: &Which,
    now: Timestamp,
) -> &'a mut Purse {
    let purse = purses.entry(which.clone()).or_default();
    let today = day(now);
    if purse.day < today {
        *purse = Purse { day: today, reserved: purse.reserved, ..Purse::default() };
    }
    purse
}

/// A draw of nothing: whether it can be written shows whether anything can.
pub(super) fn nothing(now: Timestamp) -> Draw {
    let which = Which::of(Purpose::Burst, "", "");
    Draw { day: day(now), of: which.spent(MicroUsd::default()) }
}

/// Days since 1970.
pub(super) fn day(now: Timestamp) -> i64 {
    now.0.div_euclid(DAY_US)
}

/// When the day of `now` began.
pub(super) fn midnight(now: Timestamp) -> Timestamp {
    Timestamp(day(now).saturating_mul(DAY_US))
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    const NOON: Timestamp = Timestamp(20_000 * DAY_US + DAY_US / 2);

    fn sample(entry: &str) -> Which {
        Which::of(Purpose::Sample, "p", entry)
    }

    /// Draws what is wanted, as the store does that always can.
    fn draw(money: &Money, now: Timestamp) -> u64 {
        let wanted = money.wanted(now);
        wanted.iter().for_each(|(which, draw)| money.note(which, draw));
        wanted.iter().map(|(_, draw)| draw.of.cost.0).sum()
    }

    fn reserve(money: &Money, which: &Which, estimate: u64, now: Timestamp) -> Result<Kept, Short> {
        let amounts = (MicroUsd(estimate), MicroUsd(100));
        match money.reserve(which, amounts, now) {
            Err(Short::Undrawn) => {
                draw(money, now);
                money.reserve(which, amounts, now)
            }
            done => done,
        }
    }

    #[test]
    fn a_day_has_its_own_money_and_a_restart_does_not_make_more() {
        let money = Money::default();
        money.restore(
            &[sample("a").spent(MicroUsd(60)), sample("b").spent(MicroUsd(100))],
            &[],
            NOON,
        );
        let one = reserve(&money, &sample("a"), 30, NOON).unwrap();
        assert_eq!(reserve(&money, &sample("a"), 30, NOON).map(drop), Err(Short::Spent));
        assert_eq!(reserve(&money, &sample("b"), 30, NOON).map(drop), Err(Short::Spent));
        assert!(reserve(&money, &sample("c"), 30, NOON).is_ok());
        let tomorrow = Timestamp(NOON.0 + DAY_US / 2);
        assert!(reserve(&money, &sample("b"), 30, tomorrow).is_ok());
        let all = reserve(&money, &sample("a"), 71, tomorrow).map(drop);
        assert_eq!(all, Err(Short::Spent), "30 are still kept for a call of yesterday's");
        drop(one);
        assert!(reserve(&money, &sample("a"), 71, tomorrow).is_ok());
        assert_eq!(midnight(tomorrow), tomorrow);
        assert_eq!(midnight(NOON), Timestamp(NOON.0 - DAY_US / 2));
    }

    #[test]
    fn what_was_under_way_when_a_process_was_killed_is_not_spent_again() {
        let (killed, which) = (Money::default(), sample("a"));
        let store = || {
            let wanted = killed.wanted(NOON);
            wanted.iter().for_each(|(which, draw)| killed.note(which, draw));
            wanted.into_iter().map(|(_, draw)| draw.of).collect::<Vec<_>>()
        };
        let amounts = (MicroUsd(30), MicroUsd(100));
        assert_eq!(killed.reserve(&which, amounts, NOON).map(drop), Err(Short::Undrawn));
        let drawn = store();
        let mut call = killed.reserve(&which, amounts, NOON).unwrap();
        call.begin();
        // killed: nothing was said, no row tells of it
        let next = Money::default();
        next.restore(&[], &drawn, NOON);
        let kept: Vec<_> = (0..2).map(|_| reserve(&next, &which, 30, NOON).unwrap()).collect();
        assert_eq!(reserve(&next, &which, 30, NOON).map(drop), Err(Short::Spent));
        drop((kept, call));
        let told = which.spent(MicroUsd(80));
        let later = Money::default();
        later.restore(&[told], &drawn, NOON);
        assert_eq!(
            reserve(&later, &which, 30, NOON).map(drop),
            Err(Short::Spent),
            "rows tell more"
        );
    }

    #[test]
    fn nothing_is_paid_for_before_it_is_drawn() {
        let (money, which) = (Money::default(), sample("a"));
        let amounts = (MicroUsd(30), MicroUsd(1_000));
        assert_eq!(money.reserve(&which, amounts, NOON).map(drop), Err(Short::Undrawn));
        assert_eq!(money.reserve(&which, amounts, NOON).map(drop), Err(Short::Undrawn));
        assert_eq!(draw(&money, NOON), 40, "and a hundredth of the day's ahead");
        assert_eq!(draw(&money, NOON), 0, "once");
        let kept = money.reserve(&which, amounts, NOON).unwrap();
        assert_eq!(money.reserve(&which, amounts, NOON).map(drop), Err(Short::Undrawn));
        kept.settle(MicroUsd(5));
        assert!(money.reserve(&which, amounts, NOON).is_ok(), "5 and 30 of 40");
        let ahead = money.set_aside(&which, (MicroUsd(300), MicroUsd(1_000)), NOON);
        assert!(ahead.is_some() && !money.is_drawn(&which, MicroUsd(1_000), NOON));
        draw(&money, NOON);
        assert!(money.is_drawn(&which, MicroUsd(1_000), NOON));
        let tomorrow = Timestamp(NOON.0 + DAY_US);
        assert!(!money.is_drawn(&which, MicroUsd(1_000), tomorrow), "a day draws its own");
        assert!(money.set_aside(&which, (MicroUsd(701), MicroUsd(1_000)), tomorrow).is_none());
    }

    #[test]
    fn a_call_that_has_begun_and_is_dropped_is_paid_for() {
        let (money, which) = (Money::default(), sample("a"));
        let mut begun = reserve(&money, &which, 60, NOON).unwrap();
        begun.begin();
        drop(begun);
        assert_eq!(reserve(&money, &which, 60, NOON).map(drop), Err(Short::Spent));
        drop(reserve(&money, &which, 40, NOON).unwrap());
        assert!(reserve(&money, &which, 40, NOON).is_ok(), "that one never began");
    }

    #[test]
    fn bursts_of_all_policies_share_one_purse() {
        let money = Money::default();
        let which = |policy| Which::of(Purpose::Burst, policy, "");
        let kept = reserve(&money, &which("p"), 60, NOON).unwrap();
        assert_eq!(reserve(&money, &which("q"), 60, NOON).map(drop), Err(Short::Spent));
        drop(kept);
    }

    proptest! {
        #[test]
        fn no_more_is_spent_than_a_day_allows_if_calls_cost_no_more_than_thought(
            calls in prop::collection::vec((1_u64..40, 0_u64..40, any::<bool>()), 0..200),
        ) {
            let (money, mut open, mut spent) = (Money::default(), Vec::new(), 0);
            for (estimate, cost, is_settled) in calls {
                if let Ok(kept) = reserve(&money, &sample("a"), estimate, NOON) {
                    open.push((kept, cost.min(estimate), estimate));
                }
                if is_settled && let Some((kept, cost, _)) = open.pop() {
                    kept.settle(MicroUsd(cost));
                    spent += cost;
                }
                let kept: u64 = open.iter().map(|(_, _, estimate)| estimate).sum();
                prop_assert!(spent + kept <= 100);
            }
        }
    }
}
