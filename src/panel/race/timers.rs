//! What time does in a race: hedges, strikes, the last chance, a judge that stands in; and what an
//! opening breaker does to those that wait.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::Route;
use crate::panel::choice::Reach;
use crate::panel::hedge::Purse;
use crate::panel::now;
use crate::panel::race::{Course, Runner};
use crate::panel::seat::Seat;

/// No last chance beside an attempt younger than this: that one is the last chance.
const STILL_YOUNG: Duration = Duration::from_millis(600);
/// What the last chance is given beyond what its judge nearly always takes.
const LAST_CHANCE_MARGIN: Duration = Duration::from_millis(50);
/// How long before the deadline a judge that stands in is asked beside those that did not answer.
const STAND_IN_LEAD: Duration = Duration::from_millis(30);
/// How often it is looked whether the only judge has answered later calls.
const OVERTAKEN_EVERY: Duration = Duration::from_millis(200);
/// After so long a hedge that found no place is tried again.
const HEDGE_AGAIN: Duration = Duration::from_millis(100);

impl<'a> Course<'a> {
    /// The earliest timer; the deadline when none is set.
    pub(super) fn due_at(&self) -> Instant {
        let of_one = |one: &Runner<'_>| {
            [one.cap_at, one.gives_way_at, one.overtaken_at, one.call.strikes_at()]
        };
        let runners = self.running.iter().flat_map(of_one);
        let chances = [self.last_chance_at(), self.stand_in_at()];
        let timers =
            [self.hedge_at, self.waits.repeat_at, self.waits.back_at].into_iter().chain(chances);
        let deadline = self.entry.deadline.instant();
        runners.chain(timers).flatten().fold(deadline, Instant::min)
    }

    pub(super) fn on_timer(&mut self) {
        let now = now();
        self.strike(now);
        self.stop_those_out_of_time(now);
        self.drop_those_overtaken(now);
        if self.waits.repeat_at.is_some_and(|at| at <= now) {
            self.repeat();
        }
        if self.waits.back_at.is_some_and(|at| at <= now) {
            self.return_to_line();
        }
        if self.hedge_at.is_some_and(|at| at <= now) {
            self.hedge();
        }
        if self.last_chance_at().is_some_and(|at| at <= now) {
            self.take_last_chance(now);
        }
        if self.stand_in_at().is_some_and(|at| at <= now) {
            self.let_stand_in();
        }
    }

    /// A call that outlives its strike age is evidence at once: whether it ever ends is not known.
    fn strike(&mut self, now: Instant) {
        for runner in &mut self.running {
            if runner.call.strikes_at().is_some_and(|at| at <= now) {
                runner.call.strike();
            }
        }
    }

    /// A breaker opened: who waits for that judge alone gets the next one at once, however long it
    /// has waited. That needs no budget: it happens once an opening.
    pub(super) fn evacuate(&mut self) {
        let is_closed = |one: &Runner<'_>| one.call.seat().is_closed();
        if self.running.is_empty() || self.running.iter().any(is_closed) {
            return;
        }
        let next = self.next_to_look(Reach::InTurn).filter(|next| self.affords(next));
        if let Some(next) = next {
            self.launch(next, Route::Hedge);
        }
    }

    /// A judge beside a slow one, if time, money and the budget of all images allow, and neither
    /// the gate nor that judge is all but full: hedging into a crowd makes it larger.
    fn hedge(&mut self) {
        self.hedge_at = None;
        let Some(next) = self.next_to_hedge() else { return };
        let is_wanted = self.panel.is_crowded() || self.panel.is_waited_for(next.name());
        let has_room = !is_wanted && next.has_room_for_hedges();
        if has_room && self.affords(next) && self.panel.pays(Purse::Hedge) {
            let is_called = self.launch(next, Route::Hedge);
            // its place went to somebody else just now
            self.hedge_at = self.hedge_at.or((!is_called).then(|| now() + HEDGE_AGAIN));
        }
    }

    /// Where there is one judge only, a call that later calls overtook is lost.
    fn drop_those_overtaken(&mut self, now: Instant) {
        let is_due = |one: &Runner<'_>| one.overtaken_at.is_some_and(|at| at <= now);
        while let Some(at) = self.running.iter().position(is_due) {
            let Some(runner) = self.running.get_mut(at) else { return };
            let is_lost = runner.call.seat().has_overtaken(runner.call.started());
            if is_lost && !self.entry.caller_gone.is_cancelled() {
                self.drop_overtaken(at);
            } else {
                runner.overtaken_at = Some(now + OVERTAKEN_EVERY);
            }
        }
    }

    /// When the next judge must start to answer before the deadline.
    fn last_chance_at(&self) -> Option<Instant> {
        if !self.has_last_chance || self.running.is_empty() {
            return None;
        }
        let next = self.next_as_last_chance()?;
        let lead = next.lead(self.budget) + LAST_CHANCE_MARGIN;
        Some(self.entry.deadline.less(lead).instant())
    }

    /// Without it the verdict is lost: it may be one attempt more than the policy says.
    fn take_last_chance(&mut self, now: Instant) {
        self.has_last_chance = false;
        let ages = self.running.iter().map(|one| now.duration_since(one.call.started()));
        let one_is_young = ages.min().is_some_and(|youngest| youngest < STILL_YOUNG);
        if one_is_young || !self.may_start() {
            return;
        }
        let Some(next) = self.next_as_last_chance() else { return };
        if self.affords(next) && self.panel.pays(Purse::LastChance) {
            self.launch(next, Route::Hedge);
        }
    }

    /// When one that stands in must be asked, so that its answer and not silence ends the race.
    fn stand_in_at(&self) -> Option<Instant> {
        if !self.may_stand_in || self.running.is_empty() {
            return None;
        }
        self.stand_in()?;
        Some(self.entry.deadline.less(STAND_IN_LEAD).instant())
    }

    /// Those that look run on: one of them may still be first. Like the last chance it may be one
    /// attempt more than the policy says.
    fn let_stand_in(&mut self) {
        self.may_stand_in = false;
        let has_one_left = self.counted <= self.entry.route.max_attempts;
        let stand_in: Option<&'a Arc<Seat>> =
            self.stand_in().filter(|_| has_one_left && self.may_start());
        if let Some(stand_in) = stand_in {
            self.launch(stand_in, Route::Failover);
        }
    }
}
