//! The race for one image: the first valid judgement before the deadline, and every attempt at it.
//!
//! A failure never wins: it starts the next judge. Slowness does too, within the hedge budget, and
//! so does the approaching end: a judge that hangs must not take the time of the one behind it. The
//! race owns its calls; returning, or dropping it, cancels those still under way.
//!
//! A judge that only stands in ([`crate::panel::Judge::stands_in`]) answers at once, so beside one
//! that looks it would always win. It is asked in its turn when nobody is under way, and as a
//! failover [`STAND_IN_LEAD`] before the deadline when nobody has answered: never for slowness.

use std::future::poll_fn;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{self, Instant};
use tokio_util::sync::CancellationToken;

use crate::clock::{Deadline, Stopwatch};
use crate::domain::policy::{HedgeSpec, RouteSpec};
use crate::domain::{Attempt, AttemptOutcome, JudgeId, Judgement, MicroUsd, Route};
use crate::panel::call::{Asking, Call, Ended, Reply, is_timeout};
use crate::panel::choice::{Choice, is_worth_repeating};
use crate::panel::seat::Seat;
use crate::panel::{Panel, Question, now};

/// No last chance beside an attempt younger than this: that one is the last chance.
const STILL_YOUNG: Duration = Duration::from_millis(600);
/// What the last chance is given beyond what its judge nearly always takes.
const LAST_CHANCE_MARGIN: Duration = Duration::from_millis(50);
/// How long before the deadline a judge that stands in is asked beside those that did not answer.
const STAND_IN_LEAD: Duration = Duration::from_millis(30);
/// The least wait before the only judge is asked again; jitter adds up to as much.
const REPEAT_AFTER: Duration = Duration::from_millis(40);
/// The most of what is left that an attempt may take from those behind it for its own p95's sake.
const LARGEST_SHARE: f64 = 0.75;
/// What is said of an attempt that was still under way at the deadline.
const TOO_LATE: &str = "the deadline came first";

/// One image's entry.
#[derive(Clone, Copy, Debug)]
pub struct Race<'a> {
    /// What the judges are asked.
    pub question: &'a Question,
    /// Who is asked, and when.
    pub route: &'a RouteSpec,
    /// No attempt beside a running one past this; `None`: no limit.
    pub cost_cap: Option<MicroUsd>,
    /// When the judgement must be there: the check's deadline less what deciding takes.
    pub deadline: Deadline,
    /// Since when the check runs.
    pub began: Stopwatch,
    /// Cancelled when the caller hung up: attempts under way run on, none starts. For a caller who
    /// was gone before the race began nobody is asked at all, and it ends [`Outcome::Exhausted`]
    /// without an attempt: what tells it from a race without judges is the record's `client_gone`.
    pub caller_gone: &'a CancellationToken,
}

/// How a race ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The first valid judgement.
    Judged {
        /// Whose it is.
        judge: JudgeId,
        /// Why that judge was called.
        route: Route,
        /// What it said.
        judgement: Judgement,
    },
    /// Nobody is left to ask, or may be: the caller has gone.
    Exhausted,
    /// The deadline came first.
    Late,
}

/// A race that is over.
#[derive(Clone, Debug, PartialEq)]
pub struct Raced {
    /// How it ended.
    pub outcome: Outcome,
    /// Every attempt in starting order, cancelled ones too; `said` is for the caller to fill.
    pub attempts: Vec<Attempt>,
}

impl Panel {
    /// Runs the race. Returns by the deadline, whatever the judges do.
    pub async fn race(&self, entry: Race<'_>) -> Raced {
        let mut course = Course::new(self, entry);
        course.start();
        loop {
            if course.is_over() {
                let late = entry.deadline.is_past();
                return course.close(if late { Outcome::Late } else { Outcome::Exhausted });
            }
            match course.next().await {
                Event::Replied(at, reply) => {
                    if let Some(judged) = course.take(at, reply) {
                        return course.close(judged);
                    }
                }
                Event::Due => course.on_timer(),
                Event::Late => return course.close(Outcome::Late),
            }
        }
    }
}

/// What the race waits for.
enum Event {
    /// The call at this place among the running ones.
    Replied(usize, Reply),
    /// A timer.
    Due,
    /// The deadline.
    Late,
}

/// A call in the race.
struct Runner<'a> {
    call: Call<'a>,
    /// Its place in the starting order.
    place: u32,
    /// When its own time is up, if that is before the race's deadline.
    cap_at: Option<Instant>,
    /// When it must make way for the next judge, if one may follow.
    gives_way_at: Option<Instant>,
}

/// The state of a race.
struct Course<'a> {
    panel: &'a Panel,
    entry: Race<'a>,
    /// What the race had when it began.
    budget: Duration,
    /// `None`: one judge at a time.
    hedging: Option<HedgeSpec>,
    /// Judges not asked yet, in the policy's order.
    unasked: Vec<&'a Seat>,
    /// The judge of a route of one.
    only: Option<&'a Seat>,
    choice: Choice,
    running: Vec<Runner<'a>>,
    /// Attempts that ended, with their place in the starting order.
    ended: Vec<(u32, Attempt)>,
    started: u32,
    hedge_at: Option<Instant>,
    repeat_at: Option<Instant>,
    has_last_chance: bool,
    /// Whether a judge that stands in may still be asked beside those that look.
    may_stand_in: bool,
}

impl<'a> Course<'a> {
    fn new(panel: &'a Panel, entry: Race<'a>) -> Self {
        let mut unasked: Vec<&Seat> = Vec::with_capacity(entry.route.judges.len());
        for seat in entry.route.judges.iter().filter_map(|name| panel.seat(name)) {
            if !unasked.iter().any(|known| known.name() == seat.name()) {
                unasked.push(seat);
            }
        }
        let only = if let [only] = unasked.as_slice() { Some(*only) } else { None };
        let hedging = entry.route.hedge.filter(|spec| 0.0 < spec.budget_ratio);
        Self {
            panel,
            entry,
            budget: entry.deadline.left(),
            hedging,
            unasked,
            only,
            choice: Choice::default(),
            running: Vec::new(),
            ended: Vec::new(),
            started: 0,
            hedge_at: None,
            repeat_at: None,
            has_last_chance: hedging.is_some(),
            may_stand_in: true,
        }
    }

    /// The first attempt starts whatever it costs.
    fn start(&mut self) {
        if !self.may_start() {
            return;
        }
        if let Some(spec) = self.hedging {
            self.panel.hedge_budget().admit(spec.budget_ratio, now());
        }
        if let Some(seat) = self.choice.pick(self.unasked(), now(), true) {
            let preferred = self.entry.route.judges.first().is_some_and(|name| name == seat.name());
            self.launch(seat, if preferred { Route::Primary } else { Route::Failover });
        }
    }

    fn is_over(&self) -> bool {
        self.running.is_empty() && self.repeat_at.is_none()
    }

    async fn next(&mut self) -> Event {
        let due_at = self.due_at();
        let deadline = self.entry.deadline;
        tokio::select! {
            biased; // an answer that is ready beats a timer that is due
            (at, reply) = first_reply(&mut self.running) => Event::Replied(at, reply),
            () = deadline.passed() => Event::Late,
            () = time::sleep_until(due_at) => Event::Due,
        }
    }

    /// The earliest timer; the deadline when none is set.
    fn due_at(&self) -> Instant {
        let runners = self.running.iter().flat_map(|one| [one.cap_at, one.gives_way_at]);
        let chances = [self.last_chance_at(), self.stand_in_at()];
        let timers = [self.hedge_at, self.repeat_at].into_iter().chain(chances);
        let deadline = self.entry.deadline.instant();
        runners.chain(timers).flatten().fold(deadline, Instant::min)
    }

    fn take(&mut self, at: usize, reply: Reply) -> Option<Outcome> {
        let Runner { call, place, cap_at, .. } = self.running.remove(at);
        let seat = call.seat();
        if cap_at.is_none() && self.entry.deadline.is_past() && is_timeout(&reply) {
            self.ended.push((place, call.give_up(AttemptOutcome::Cancelled, TOO_LATE)));
            return None;
        }
        match call.end(reply) {
            Ended::Judged(attempt, judgement) => {
                let (judge, route) = (attempt.judge.clone(), attempt.route);
                self.ended.push((place, attempt));
                Some(Outcome::Judged { judge, route, judgement })
            }
            Ended::Failed(attempt, retry_after) => {
                let outcome = attempt.outcome;
                self.ended.push((place, attempt));
                self.fail_over(seat, outcome, retry_after);
                None
            }
        }
    }

    fn on_timer(&mut self) {
        let now = now();
        self.stop_those_out_of_time(now);
        if self.repeat_at.is_some_and(|at| at <= now) {
            self.repeat();
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

    /// Stops attempts past their cap, and those that must make way where somebody free may follow.
    fn stop_those_out_of_time(&mut self, now: Instant) {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        while let Some(at) = self.running.iter().position(|one| is_due(one.cap_at)) {
            self.stop(at, "its own time was up");
        }
        while let Some(at) = self.running.iter().position(|one| is_due(one.gives_way_at)) {
            if self.next_in_line(false).is_some_and(|next| !next.stands_in()) {
                self.stop(at, "it had to make way for the next judge");
            } else if let Some(runner) = self.running.get_mut(at) {
                runner.gives_way_at = None;
            }
        }
    }

    fn stop(&mut self, at: usize, why: &str) {
        let Runner { call, place, .. } = self.running.remove(at);
        let seat = call.seat();
        self.ended.push((place, call.give_up(AttemptOutcome::Timeout, why)));
        self.fail_over(seat, AttemptOutcome::Timeout, None);
    }

    /// A failed attempt starts the next at once. That costs nothing extra: the failed one is over.
    fn fail_over(&mut self, seat: &'a Seat, outcome: AttemptOutcome, wait: Option<Duration>) {
        // one that stands in did not look: what it says is no news of the image, nor ever changes
        let looked = !seat.stands_in();
        if looked {
            self.choice.note(outcome, seat.judge().id(), seat.judge().dialect());
        }
        if looked && self.only.is_some() {
            return self.plan_repeat(outcome, wait);
        }
        let next = match (self.running.is_empty(), looked) {
            (true, _) => self.next_in_line(true),
            (false, true) => self.next_to_look(),
            (false, false) => None,
        };
        if let Some(next) = next {
            self.launch(next, Route::Failover);
        }
    }

    /// With nobody else to ask the same judge is asked again, after a moment.
    fn plan_repeat(&mut self, outcome: AttemptOutcome, retry_after: Option<Duration>) {
        if !is_worth_repeating(outcome) || !self.may_follow() {
            return;
        }
        let jittered = REPEAT_AFTER.mul_f64(1.0 + (self.panel.jitter)().clamp(0.0, 1.0));
        let wait = jittered.max(retry_after.unwrap_or_default());
        if wait < self.entry.deadline.left() {
            self.repeat_at = Some(now() + wait);
        }
    }

    fn repeat(&mut self) {
        self.repeat_at = None;
        if let Some(only) = self.only.filter(|_| self.may_start()) {
            self.launch(only, Route::Failover);
        }
    }

    /// A judge beside a slow one, if time, money and the budget of all images allow.
    fn hedge(&mut self) {
        self.hedge_at = None;
        let Some(next) = self.next_to_look() else { return };
        let has_room = !self.panel.crowded.load(Ordering::Relaxed);
        if has_room && self.affords(next) && self.panel.hedge_budget().take_hedge() {
            self.launch(next, Route::Hedge);
        }
    }

    /// When the next judge must start to answer before the deadline.
    fn last_chance_at(&self) -> Option<Instant> {
        if !self.has_last_chance || self.running.is_empty() {
            return None;
        }
        let next = self.choice.pick(self.unasked_to_look(), now(), false)?;
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
        let Some(next) = self.choice.pick(self.unasked_to_look(), now, false) else { return };
        if self.affords(next) && self.panel.hedge_budget().take_last_chance() {
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
        let has_one_left = self.started <= self.entry.route.max_attempts;
        let stand_in = self.stand_in().filter(|_| has_one_left && self.may_start());
        if let Some(stand_in) = stand_in {
            self.launch(stand_in, Route::Failover);
        }
    }

    fn stand_in(&self) -> Option<&'a Seat> {
        self.choice.pick(self.unasked().filter(|seat| seat.stands_in()), now(), false)
    }

    fn launch(&mut self, seat: &'a Seat, route: Route) {
        self.unasked.retain(|one| one.name() != seat.name());
        let Race { question, deadline, began, caller_gone, .. } = self.entry;
        let cap = self.entry.route.attempt_cap;
        let own_deadline = cap.map_or(deadline, |cap| deadline.capped(cap));
        let call = Call::start(seat, route, Asking { question, began, caller_gone }, own_deadline);
        let started = call.started();
        let place = self.started;
        self.started = place.saturating_add(1);
        self.hedge_at = self.hedging.map(|spec| started + seat.hedge_delay(spec, self.budget));
        let cap_at = Some(own_deadline.instant()).filter(|_| own_deadline < deadline);
        let gives_way_at = self.gives_way_at(seat, started);
        self.running.push(Runner { call, place, cap_at, gives_way_at });
    }

    /// When an attempt that starts now must make way: what is left less what the next judge takes,
    /// but not before its own p95, within reason.
    fn gives_way_at(&self, seat: &Seat, started: Instant) -> Option<Instant> {
        let next = self.next_in_line(true).filter(|next| !next.stands_in())?;
        let left = self.entry.deadline.left();
        let fair = left.saturating_sub(next.reserve(left));
        let own = seat.p95().unwrap_or_default().min(left.mul_f64(LARGEST_SHARE));
        Some(started + fair.max(own))
    }

    /// Who would be asked next, if anybody may be; with `even_blocked` one that asked us to stay
    /// away is better than none.
    fn next_in_line(&self, even_blocked: bool) -> Option<&'a Seat> {
        if !self.may_follow() {
            return None;
        }
        self.choice.pick(self.unasked(), now(), even_blocked)
    }

    /// Who would be asked next beside one under way: of those that look at the image.
    fn next_to_look(&self) -> Option<&'a Seat> {
        if !self.may_follow() {
            return None;
        }
        self.choice.pick(self.unasked_to_look(), now(), false)
    }

    fn unasked(&self) -> impl Iterator<Item = &'a Seat> {
        self.unasked.iter().copied()
    }

    fn unasked_to_look(&self) -> impl Iterator<Item = &'a Seat> {
        self.unasked().filter(|seat| !seat.stands_in())
    }

    fn may_start(&self) -> bool {
        !self.entry.caller_gone.is_cancelled() && !self.entry.deadline.is_past()
    }

    fn may_follow(&self) -> bool {
        self.may_start() && self.started < self.entry.route.max_attempts
    }

    /// Whether `next` fits under the image's cost cap beside all that was and is being spent.
    fn affords(&self, next: &Seat) -> bool {
        let Some(cap) = self.entry.cost_cap else { return true };
        let spent: MicroUsd = self.ended.iter().map(|(_, attempt)| attempt.cost).sum();
        let reserved: MicroUsd = self.running.iter().map(|one| one.call.estimate()).sum();
        spent + reserved + next.judge().estimate(self.entry.question) <= cap
    }

    /// Cancels what still runs.
    fn close(mut self, outcome: Outcome) -> Raced {
        let why = match outcome {
            Outcome::Judged { .. } => "another judge was faster",
            Outcome::Exhausted | Outcome::Late => TOO_LATE,
        };
        for Runner { call, place, .. } in self.running.drain(..) {
            self.ended.push((place, call.give_up(AttemptOutcome::Cancelled, why)));
        }
        self.ended.sort_by_key(|&(place, _)| place);
        Raced { outcome, attempts: self.ended.into_iter().map(|(_, attempt)| attempt).collect() }
    }
}

/// The first call to reply, the oldest of several; waits for ever when nothing runs.
async fn first_reply(running: &mut [Runner<'_>]) -> (usize, Reply) {
    poll_fn(|context| {
        for (at, runner) in running.iter_mut().enumerate() {
            if let Poll::Ready(reply) = runner.call.poll(context) {
                return Poll::Ready((at, reply));
            }
        }
        Poll::Pending
    })
    .await
}

#[cfg(test)]
mod bounds;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod scene;
#[cfg(test)]
mod stand_ins;
#[cfg(test)]
mod tests;
