//! How attempts start and end in a race, and what follows a failure.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::{AttemptOutcome, Route};
use crate::panel::call::{Asking, Call, Ended, Reply, is_timeout};
use crate::panel::choice::{Reach, is_free_when_fast, is_worth_repeating};
use crate::panel::hedge::Purse;
use crate::panel::now;
use crate::panel::race::{Course, Outcome, Race, Raced, Runner};
use crate::panel::seat::Seat;

/// The least wait before the only judge is asked again; it doubles with each fast failure …
const REPEAT_AFTER: Duration = Duration::from_millis(40);
/// … up to this, and is spread by half to either side.
const LONGEST_REPEAT: Duration = Duration::from_millis(320);
/// Calls of the only judge for one image at most, those that failed at once included.
const MOST_REPEATS: u32 = 6;
/// How long an image waits, more or less, for room at a judge that is back.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Looks for somebody to ask until nobody is taken to be there.
const MOST_LOOKS: u32 = 8;
/// The most of what is left that an attempt may take from those behind it for its own p95's sake.
const LARGEST_SHARE: f64 = 0.75;
/// What is said of an attempt that was still under way at the deadline.
const TOO_LATE: &str = "the deadline came first";

impl<'a> Course<'a> {
    /// The first attempt starts whatever it costs, but waits where every judge asked for that.
    pub(super) fn start(&mut self) {
        if !self.may_start() {
            return;
        }
        let hedges = self.entry.route.hedge.map(|spec| spec.budget_ratio);
        self.panel.budgets().admit(hedges, now());
        let first = self.pick(&self.unasked, Reach::OutOfTurn);
        if !first.is_some_and(|seat| self.launch(seat, self.first_route(seat))) {
            self.ask_or_wait();
        }
        if !self.running.is_empty() {
            self.probe_beside();
        }
    }

    /// Why `seat` is asked if nobody was asked before.
    fn first_route(&self, seat: &Seat) -> Route {
        let preferred = self.entry.route.judges.first().is_some_and(|name| name == seat.name());
        if preferred { Route::Primary } else { Route::Failover }
    }

    /// Asks the first of those left who may be asked and can still answer in time. Where everybody
    /// asked us to stay away, or has all the calls it may have, the first who will be back is waited
    /// for, or the first place: a call before that is refused again, and lengthens the time for all;
    /// and places that were configured are not for us to exceed.
    ///
    /// Others take places and give them back between two looks: then it looks again. Nobody has such
    /// luck many times running.
    fn ask_or_wait(&mut self) {
        for _ in 0..MOST_LOOKS {
            if let Some(next) = self.pick(&self.timely(), Reach::OutOfTurn) {
                let route =
                    if self.started == 0 { self.first_route(next) } else { Route::Failover };
                if self.launch(next, route) {
                    return;
                }
                continue;
            }
            self.waits.back_at = self.back_in().map(|wait| now() + wait);
            self.waits.for_room = self.is_waiting_for_room();
            if self.waits.back_at.is_some() || self.waits.for_room {
                return;
            }
        }
    }

    /// A place is free for which this image, and perhaps others, wait.
    pub(super) fn find_room(&mut self) {
        self.waits.for_room = false;
        if self.waits.repeat_at.is_some() { self.repeat() } else { self.return_to_line() }
    }

    /// Somebody who had asked us to stay away is back; so are, at this very moment, all the images
    /// that wait for the same judge. Those for whom it has no room look again in a while.
    pub(super) fn return_to_line(&mut self) {
        (self.waits.back_at, self.waits.for_room) = (None, false);
        if !self.may_follow() {
            return;
        }
        // who is slow is no reason to give up the others
        let line = self.timely();
        if self.pick(&line, Reach::InTurn).is_none()
            && let Some(next) = self.pick(&line, Reach::OutOfTurn).filter(|next| next.is_closed())
            && LOOK_AGAIN + next.lead(self.budget) < self.entry.deadline.left()
        {
            self.waits.back_at = Some(now() + LOOK_AGAIN.mul_f64(0.5 + self.panel.draw()));
            return;
        }
        self.ask_or_wait();
    }

    /// Takes the `reply` of the runner `at`; a valid judgement ends the race.
    pub(super) fn take(&mut self, at: usize, reply: Reply) -> Option<Outcome> {
        let Runner { call, place, cap_at, .. } = self.running.remove(at);
        let (seat, took) = (call.seat(), call.age());
        if cap_at.is_none() && self.entry.deadline.is_past() && is_timeout(&reply) {
            self.ended.push((place, call.give_up(AttemptOutcome::Cancelled, TOO_LATE)));
            return None;
        }
        match call.end(reply) {
            Ended::Judged(attempt, judgement, rest) => {
                self.rest = rest;
                let (judge, route) = (attempt.judge.clone(), attempt.route);
                self.ended.push((place, attempt));
                Some(Outcome::Judged { judge, route, judgement })
            }
            Ended::Failed(attempt, retry_after) => {
                let outcome = attempt.outcome;
                self.ended.push((place, attempt));
                self.fail_over(seat, outcome, (took, retry_after));
                None
            }
        }
    }

    /// Stops attempts past their cap, and those that must make way where somebody free may follow.
    pub(super) fn stop_those_out_of_time(&mut self, now: Instant) {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        while let Some(at) = self.running.iter().position(|one| is_due(one.cap_at)) {
            self.stop(at, "its own time was up");
        }
        while let Some(at) = self.running.iter().position(|one| is_due(one.gives_way_at)) {
            if self.next_in_line(Reach::InTurn).is_some_and(|next| !next.stands_in()) {
                self.stop(at, "it had to make way for the next judge");
            } else if let Some(runner) = self.running.get_mut(at) {
                runner.gives_way_at = None;
            }
        }
    }

    fn stop(&mut self, at: usize, why: &str) {
        let Runner { call, place, .. } = self.running.remove(at);
        let (seat, took) = (call.seat(), call.age());
        self.ended.push((place, call.give_up(AttemptOutcome::Timeout, why)));
        self.fail_over(seat, AttemptOutcome::Timeout, (took, None));
    }

    /// Drops the runner `at`, whose judge answered later calls before it, and asks that judge again
    /// at once: the lost call is over, so that nothing is added to its load. Where it may not be
    /// asked again and no other call is under way, a call that is all but lost is better than none.
    pub(super) fn drop_overtaken(&mut self, at: usize) {
        let is_alone = self.running.len() == 1;
        if is_alone && (self.is_hopeless || !self.may_repeat()) {
            self.running.iter_mut().for_each(|runner| runner.overtaken_at = None);
            return;
        }
        let Runner { call, place, .. } = self.running.remove(at);
        let seat = call.seat();
        let why = "its judge answered calls that came later";
        self.ended.push((place, call.give_up(AttemptOutcome::Timeout, why)));
        if is_alone {
            if !self.launch(seat, Route::Failover) {
                self.wait_for_only(seat);
            }
            return;
        }
        let youngest = self.running.iter().map(|one| one.call.started()).max();
        let delay = self.hedging.map(|spec| seat.hedge_delay(spec, self.budget));
        self.hedge_at = youngest.zip(delay).map(|(started, delay)| started + delay);
    }

    /// A failed attempt starts the next at once. That costs nothing extra: the failed one is over.
    fn fail_over(
        &mut self,
        seat: &'a Arc<Seat>,
        outcome: AttemptOutcome,
        (took, wait): (Duration, Option<Duration>),
    ) {
        // one that stands in did not look: what it says is no news of the image, nor ever changes
        let looked = !seat.stands_in();
        if looked {
            self.choice.note(outcome, seat.judge().id(), seat.judge().dialect());
        }
        if looked && self.only.is_some() {
            return self.plan_repeat(outcome, (took, wait));
        }
        let next = match (self.running.is_empty(), looked) {
            _ if self.is_hopeless => self.next_in_line(Reach::InTurn),
            (true, _) => self.next_in_line(Reach::OutOfTurn),
            (false, true) => self.next_to_look(Reach::OutOfTurn),
            (false, false) => None,
        };
        let is_asked = next.is_some_and(|next| self.launch(next, Route::Failover));
        if !is_asked && self.running.is_empty() && !self.is_hopeless && self.may_follow() {
            self.ask_or_wait();
        }
    }

    /// With nobody else to ask the same judge is asked again, after a moment. A failure that came at
    /// once cost nothing, and does not count as one of the policy's attempts.
    fn plan_repeat(
        &mut self,
        outcome: AttemptOutcome,
        (took, retry_after): (Duration, Option<Duration>),
    ) {
        if is_free_when_fast(outcome) && self.only.is_some_and(|only| only.is_fast(took)) {
            self.counted = self.counted.saturating_sub(1);
        }
        let is_wanted = is_worth_repeating(outcome) && self.running.is_empty();
        if !is_wanted || self.is_hopeless || !self.may_repeat() {
            return;
        }
        let fast = self.started.saturating_sub(self.counted);
        let doubled = REPEAT_AFTER * 2_u32.pow(fast.saturating_sub(1).min(MOST_REPEATS));
        let jittered = doubled.min(LONGEST_REPEAT).mul_f64(0.5 + self.panel.draw());
        // what it told others counts too
        let blocked_for = self.only.and_then(|only| only.standing(0.0, now()).blocked_for);
        let wait =
            jittered.max(retry_after.unwrap_or_default()).max(blocked_for.unwrap_or_default());
        if wait < self.entry.deadline.left() && self.panel.pays(Purse::Repeat) {
            self.waits.repeat_at = Some(now() + wait);
        }
    }

    /// Whether the only judge may be asked again, with nothing under way: its last chance is taken
    /// for it when its attempts are used up.
    fn may_repeat(&mut self) -> bool {
        if self.may_follow() {
            return self.started < MOST_REPEATS;
        }
        let has_one = std::mem::take(&mut self.has_last_chance) && self.may_start();
        has_one && self.panel.pays(Purse::LastChance)
    }

    pub(super) fn repeat(&mut self) {
        (self.waits.repeat_at, self.waits.for_room) = (None, false);
        let Some(only) = self.only.filter(|_| self.may_start()) else { return };
        // all images that it refused together come back together
        let standing = only.standing(0.0, now());
        let has_time = LOOK_AGAIN + only.lead(self.budget) < self.entry.deadline.left();
        if has_time && (standing.blocked_for.is_some() || !standing.has_room) {
            self.waits.for_room = standing.is_full;
            return self.look_again();
        }
        if !self.launch(only, Route::Failover) {
            self.wait_for_only(only);
        }
    }

    /// The last place of the only judge went to somebody else just now.
    fn wait_for_only(&mut self, only: &Seat) {
        if self.has_time_for(only) {
            self.waits.for_room = true;
            self.look_again();
        }
    }

    /// The only judge is asked again a little later.
    fn look_again(&mut self) {
        self.waits.repeat_at = Some(now() + LOOK_AGAIN.mul_f64(0.5 + self.panel.draw()));
    }

    /// Calls the judge of `seat`; whether it could: its last place may have gone to somebody else
    /// just now.
    pub(super) fn launch(&mut self, seat: &'a Arc<Seat>, route: Route) -> bool {
        let is_probe = self.nobody_is_well() && seat.probe(now(), || self.panel.pays(Purse::Probe));
        let Some(in_flight) = seat.enter() else {
            if is_probe {
                seat.probe_ended();
            }
            return false;
        };
        self.unasked.retain(|one| one.seat.name() != seat.name());
        (self.waits.back_at, self.waits.for_room) = (None, false);
        let Race { deadline, route: policy, .. } = self.entry;
        let own_deadline = policy.attempt_cap.map_or(deadline, |cap| deadline.capped(cap));
        let mut call = Call::start((seat, in_flight), route, self.asking(), own_deadline);
        if is_probe {
            call.count_as_probe();
        }
        let started = call.started();
        let place = self.started;
        self.started = place.saturating_add(1);
        self.counted = self.counted.saturating_add(1);
        self.hedge_at = self.hedging.map(|spec| started + seat.hedge_delay(spec, self.budget));
        let cap_at = Some(own_deadline.instant()).filter(|_| own_deadline < deadline);
        let gives_way_at = self.gives_way_at(seat, started);
        let overtaken_age = self.only.map(|only| only.overtaken_age(self.entry.route.deadline));
        let overtaken_at = overtaken_age.map(|age| started + age);
        self.running.push(Runner { call, place, cap_at, gives_way_at, overtaken_at });
        true
    }

    /// What every call of this race shares.
    pub(super) fn asking(&self) -> Asking<'a> {
        let Race { question, began, caller_gone, route, .. } = self.entry;
        Asking {
            question,
            began,
            caller_gone,
            peers: Arc::clone(&self.peers),
            budget: route.deadline,
            jitter: self.panel.draw(),
        }
    }

    /// When an attempt that starts now must make way: what is left less what the next judge takes,
    /// but not before its own p95, within reason.
    fn gives_way_at(&self, seat: &Seat, started: Instant) -> Option<Instant> {
        let next = self.next_in_line(Reach::Anybody).filter(|next| !next.stands_in())?;
        let left = self.entry.deadline.left();
        let fair = left.saturating_sub(next.reserve(left));
        let own = seat.p95().unwrap_or_default().min(left.mul_f64(LARGEST_SHARE));
        Some(started + fair.max(own))
    }

    /// Cancels what still runs; probes run on.
    pub(super) fn close(mut self, outcome: Outcome) -> Raced {
        let why = match outcome {
            Outcome::Judged { .. } => "another judge was faster",
            Outcome::Exhausted | Outcome::Late => TOO_LATE,
        };
        for Runner { call, place, .. } in self.running.drain(..) {
            self.ended.push((place, call.give_up(AttemptOutcome::Cancelled, why)));
        }
        let left = self.probing.drain(..).map(|probe| (probe.place(), probe.leave()));
        self.ended.extend(left);
        self.ended.sort_by_key(|&(place, _)| place);
        let attempts = self.ended.into_iter().map(|(_, attempt)| attempt).collect();
        Raced { outcome, rest: self.rest, attempts }
    }
}
