//! Who may be asked next in a race.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::MicroUsd;
use crate::panel::choice::{Draw, InLine, Reach};
use crate::panel::now;
use crate::panel::race::Course;
use crate::panel::race::probing::Probing;
use crate::panel::seat::Seat;

impl<'a> Course<'a> {
    /// Who of `line` is asked now, if anybody may be.
    pub(super) fn pick(&self, line: &[InLine<'a>], reach: Reach) -> Option<&'a Arc<Seat>> {
        self.choice.pick(line.iter().copied(), reach, self.draw())
    }

    /// Who would be asked next, if anybody may be.
    pub(super) fn next_in_line(&self, reach: Reach) -> Option<&'a Arc<Seat>> {
        if !self.may_follow() {
            return None;
        }
        self.pick(&self.unasked, reach)
    }

    /// Who would be asked next beside one under way: of those that look at the image.
    pub(super) fn next_to_look(&self, reach: Reach) -> Option<&'a Arc<Seat>> {
        if !self.may_follow() {
            return None;
        }
        self.pick(&self.unasked_to_look(), reach)
    }

    /// Who is asked beside a slow one: the next judge in its turn; where there is only one, it once
    /// more, on another connection.
    pub(super) fn next_to_hedge(&self) -> Option<&'a Arc<Seat>> {
        if !self.may_follow() {
            return None;
        }
        let next = self.pick(&self.unasked_to_look(), Reach::InTurn);
        next.or_else(|| self.lone_once_more(Reach::InTurn))
    }

    /// Who is asked when it is now or never; it may be one attempt more than the policy says.
    pub(super) fn next_as_last_chance(&self) -> Option<&'a Arc<Seat>> {
        let next = self.pick(&self.unasked_to_look(), Reach::OutOfTurn);
        next.or_else(|| self.lone_once_more(Reach::OutOfTurn))
    }

    /// The judge that stands in, if it may be asked.
    pub(super) fn stand_in(&self) -> Option<&'a Arc<Seat>> {
        let standing_in = self.unasked.iter().copied().filter(|one| one.seat.stands_in());
        self.pick(&standing_in.collect::<Vec<_>>(), Reach::InTurn)
    }

    /// How long until a judge that asked us to stay away may be asked, where nobody else may be.
    pub(super) fn back_in(&self) -> Option<Duration> {
        self.choice.back_in(self.unasked.iter().copied(), self.draw())
    }

    /// Whether a judge would be asked if it might have one call more.
    pub(super) fn is_waiting_for_room(&self) -> bool {
        self.choice.is_waiting_for_room(self.timely(), self.draw())
    }

    /// Those not asked yet whose answer may still come in time.
    pub(super) fn timely(&self) -> Vec<InLine<'a>> {
        self.unasked.iter().copied().filter(|one| self.has_time_for(one.seat)).collect()
    }

    /// Whether an answer of `seat` may still come in time. Who has waited for room leaves it to others
    /// else: it would be taken for a call that is cut before it can answer.
    pub(super) fn has_time_for(&self, seat: &Seat) -> bool {
        seat.p50().unwrap_or_default() < self.entry.deadline.left()
    }

    fn draw(&self) -> Draw {
        Draw { chance: self.chance, now: now(), until: self.entry.deadline.instant() }
    }

    fn unasked_to_look(&self) -> Vec<InLine<'a>> {
        self.unasked.iter().copied().filter(|one| !one.seat.stands_in()).collect()
    }

    /// The judge that is alone, where one call of this image is under way there.
    fn lone_once_more(&self, reach: Reach) -> Option<&'a Arc<Seat>> {
        let lone = self.lone()?;
        let calls = self.running.iter().filter(|one| one.call.seat().name() == lone.name());
        let again = [InLine { rank: 0, seat: lone }];
        if calls.count() == 1 { self.pick(&again, reach) } else { None }
    }

    /// The only judge of the route, or the only one of several that is closed.
    fn lone(&self) -> Option<&'a Arc<Seat>> {
        if self.only.is_some() {
            return self.only.filter(|only| !only.stands_in());
        }
        let mut looking = self.line.iter().filter(|one| !one.seat.stands_in());
        let is_one_of_several = 1 < looking.clone().count();
        let mut closed = looking.by_ref().filter(|one| one.seat.is_closed());
        let (first, second) = (closed.next(), closed.next());
        first.filter(|_| is_one_of_several && second.is_none()).map(|one| one.seat)
    }

    /// Whether every judge of the route that looks is open, for what other routes knew of it. Then
    /// there is nobody to be probed beside, and who is asked is looked at as if it were a probe:
    /// else this route could never close it.
    pub(super) fn nobody_is_well(&self) -> bool {
        let mut looking = self.line.iter().filter(|one| !one.seat.stands_in());
        looking.all(|one| !one.seat.is_closed())
    }

    pub(super) fn may_start(&self) -> bool {
        !self.entry.caller_gone.is_cancelled() && !self.entry.deadline.is_past()
    }

    pub(super) fn may_follow(&self) -> bool {
        self.may_start() && self.counted < self.entry.route.max_attempts
    }

    /// Whether `next` fits under the image's cost cap beside all that was and is being spent.
    pub(super) fn affords(&self, next: &Seat) -> bool {
        let Some(cap) = self.entry.cost_cap else { return true };
        let spent: MicroUsd = self.ended.iter().map(|(_, attempt)| attempt.cost).sum();
        let running = self.running.iter().map(|one| one.call.estimate());
        let probing = self.probing.iter().map(Probing::estimate);
        let reserved: MicroUsd = running.chain(probing).sum();
        spent + reserved + next.judge().estimate(self.entry.question) <= cap
    }
}
