//! A purse is what may be spent behind verdicts in one day (UTC): reserved before a call, settled
//! after it, and drawn from the store before either, so that no end of the process makes more of
//! it.
//!
//! A call begins only if all that is spent and reserved, with it, was drawn. A little more is drawn
//! than is wanted, so that not every call waits for the store; a restart counts that as spent. What is
//! due after an outage is set aside whole before it begins, so that it is known how far the money
//! goes; it is drawn as its calls begin: what a restart in its middle ends was not spent.

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
    /// For calls under way, whatever day it was reserved.
    reserved: MicroUsd,
    /// For calls to come, whatever day it was set aside: nothing of it need be drawn yet.
    aside: MicroUsd,
    /// On that day, as the store has it.
    drawn: MicroUsd,
    /// To be drawn; 0: nothing.
    wanted: MicroUsd,
}

impl Purse {
    /// What is, or may be, spent by now.
    fn needed(&self) -> MicroUsd {
        self.spent + self.reserved
    }

    /// What can be spent on nothing else.
    fn taken(&self) -> MicroUsd {
        self.needed() + self.aside
    }

    /// Reserves `estimate`, if it is drawn; if not, it will be wanted.
    fn reserve(&mut self, (estimate, per_day): (MicroUsd, MicroUsd)) -> Result<(), Short> {
        let needed = self.needed() + estimate;
        if self.drawn < needed {
            self.want(needed, per_day);
            return Err(Short::Undrawn);
        }
        self.reserved = self.reserved + estimate;
        Ok(())
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
    stage: Stage,
}

/// How far a call is for which money is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It waits, and its money need not be drawn.
    Aside,
    /// It may begin.
    Reserved,
    Begun,
}

impl Kept {
    /// Whether the call may begin: its money is drawn. If not, it will be wanted.
    pub(super) fn is_drawn(&mut self, per_day: MicroUsd, now: Timestamp) -> bool {
        if self.stage != Stage::Aside {
            return true;
        }
        let mut purses = self.money.purses();
        let purse = today(&mut purses, &self.which, now);
        if purse.reserve((self.estimate, per_day)).is_err() {
            return false;
        }
        purse.aside = MicroUsd(purse.aside.0.saturating_sub(self.estimate.0));
        self.stage = Stage::Reserved;
        true
    }

    /// The call begins.
    pub(super) fn begin(&mut self) {
        debug_assert!(self.stage == Stage::Reserved, "its money is drawn");
        self.stage = Stage::Begun;
    }

    /// The call cost that much.
    pub(super) fn settle(mut self, cost: MicroUsd) {
        self.end(cost);
    }

    fn end(&mut self, cost: MicroUsd) {
        let estimate = mem::take(&mut self.estimate);
        if let Some(purse) = self.money.purses().get_mut(&self.which) {
            let kept = match self.stage {
                Stage::Aside => &mut purse.aside,
                Stage::Reserved | Stage::Begun => &mut purse.reserved,
            };
            *kept = MicroUsd(kept.0.saturating_sub(estimate.0));
            purse.spent = purse.spent + cost;
        }
        self.stage = Stage::Reserved; // it ends once
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let cost = match self.stage {
            Stage::Begun => self.estimate,
            Stage::Aside | Stage::Reserved => MicroUsd::default(),
        };
        self.end(cost);
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
        if per_day < purse.taken() + estimate {
            return Err(Short::Spent);
        }
        purse.reserve((estimate, per_day))?;
        Ok(self.kept(which, (estimate, Stage::Reserved)))
    }

    /// Keeps `estimate` for a call that will begin once it [is drawn](Kept::is_drawn); `None`: the
    /// day's money does not suffice.
    pub(super) fn set_aside(
        &self,
        which: &Which,
        (estimate, per_day): (MicroUsd, MicroUsd),
        now: Timestamp,
    ) -> Option<Kept> {
        let mut purses = self.purses();
        let purse = today(&mut purses, which, now);
        if per_day < purse.taken() + estimate {
            return None;
        }
        purse.aside = purse.aside + estimate;
        Some(self.kept(which, (estimate, Stage::Aside)))
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

    fn kept(&self, which: &Which, (estimate, stage): (MicroUsd, Stage)) -> Kept {
        Kept { money: self.clone(), which: which.clone(), estimate, stage }
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
        let Purse { reserved, aside, .. } = *purse;
        *purse = Purse { day: today, reserved, aside, ..Purse::default() };
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
        let per_day = MicroUsd(1_000);
        let mut ahead = money.set_aside(&which, (MicroUsd(300), per_day), NOON).unwrap();
        assert!(!ahead.is_drawn(per_day, NOON));
        draw(&money, NOON);
        let tomorrow = Timestamp(NOON.0 + DAY_US);
        assert!(!ahead.is_drawn(per_day, tomorrow), "a day draws its own");
        assert!(money.set_aside(&which, (MicroUsd(701), per_day), tomorrow).is_none());
        draw(&money, tomorrow);
        assert!(ahead.is_drawn(per_day, tomorrow) && ahead.is_drawn(per_day, tomorrow));
        assert!(money.set_aside(&which, (MicroUsd(701), per_day), tomorrow).is_none(), "once");
        drop(ahead);
        assert!(money.set_aside(&which, (MicroUsd(1_000), per_day), tomorrow).is_some());
    }

    #[test]
    fn a_restart_in_the_middle_of_a_backfill_had_spent_all_that_was_set_aside_for_it() {
        let (which, per_day) = (Which::of(Purpose::Backfill, "p", ""), MicroUsd(1_000));
        let (killed, mut drawn) = (Money::default(), Vec::new());
        let kept = (0..100).map(|_| killed.set_aside(&which, (MicroUsd(10), per_day), NOON));
        let mut kept: Vec<Kept> = kept.map(Option::unwrap).collect();
        assert!(killed.set_aside(&which, (MicroUsd(1), per_day), NOON).is_none(), "all is taken");
        for mut one in kept.drain(..7) {
            while !one.is_drawn(per_day, NOON) {
                drawn = killed.wanted(NOON);
                drawn.iter().for_each(|(which, draw)| killed.note(which, draw));
            }
            one.begin();
            one.settle(MicroUsd(9));
        }
        let drawn: Vec<Spent> = drawn.into_iter().map(|(_, draw)| draw.of).collect();
        let next = Money::default();
        next.restore(&[which.spent(MicroUsd(63))], &drawn, NOON);
        let left = |money: &Money, estimate| {
            money.set_aside(&which, (MicroUsd(estimate), per_day), NOON).is_some()
        };
        assert!(left(&next, 910), "seven calls, and two that may have been under way: {drawn:?}");
        assert!(!left(&next, 940), "what was drawn may be spent: {drawn:?}");
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
