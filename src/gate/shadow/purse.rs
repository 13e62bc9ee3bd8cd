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
use std::sync::atomic::{AtomicBool, Ordering};
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
pub(super) struct Money {
    purses: Arc<Mutex<BTreeMap<Which, Purse>>>,
    is_restored: Arc<AtomicBool>,
}

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
    /// Lets the call begin: its money is drawn.
    ///
    /// # Errors
    /// Why it may not. What is not drawn will be wanted; the day's money does not suffice where it
    /// was more when this was set aside.
    pub(super) fn may_begin(&mut self, per_day: MicroUsd, now: Timestamp) -> Result<(), Short> {
        if self.stage != Stage::Aside {
            return Ok(());
        }
        let mut purses = self.money.purses();
        let purse = today(&mut purses, &self.which, now);
        if per_day < purse.needed() + self.estimate {
            return Err(Short::Spent);
        }
        purse.reserve((self.estimate, per_day))?;
        purse.aside = MicroUsd(purse.aside.0.saturating_sub(self.estimate.0));
        self.stage = Stage::Reserved;
        Ok(())
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
        self.is_restored.store(true, Ordering::Release);
    }

    /// Whether what earlier processes spent is taken up.
    pub(super) fn is_restored(&self) -> bool {
        self.is_restored.load(Ordering::Acquire)
    }

    /// What is spent today; bursts of all policies are told as one of no policy.
    pub(super) fn spent(&self, now: Timestamp) -> Vec<Spent> {
        let (purses, day) = (self.purses(), day(now));
        let todays = purses.iter().filter(|(_, purse)| purse.day == day);
        todays.map(|(which, purse)| which.spent(purse.spent)).collect()
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

    /// Keeps `estimate` for a call that will begin once it [may](Kept::may_begin); `None`: the
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
        self.purses.lock().unwrap_or_else(PoisonError::into_inner)
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
mod tests;
