//! A seat is one judge with what the gate knows of its health.
//!
//! Its locks are held for a few hundred instructions and never across a wait. The breaker stands on
//! the [`Board`]; how fast the judge is, how many calls it takes at once and a second, and until when
//! it wants to be left alone are known here. A judge that only stands in has no breaker to trip: it
//! does not look, and so it is not ill.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::policy::HedgeSpec;
use crate::panel::board::{Board, Evidence, Place};
use crate::panel::breaker::{Breaker, Fault, Rules};
use crate::panel::limit::Limit;
use crate::panel::pace::{Pace, Speeds, Upto};
use crate::panel::rate::Rate;
use crate::panel::seat::aside::Asides;
pub(crate) use crate::panel::seat::in_flight::InFlight;
use crate::panel::{BreakerState, Judge, JudgeStatus, Question, now};
use crate::telemetry;

pub(crate) mod aside;
mod in_flight;

/// A provider may ask us to stay away for this long at most.
const LONGEST_BLOCK: Duration = Duration::from_secs(30);
/// The share of what is left that is kept for a judge of unknown speed.
const UNKNOWN_SHARE: f64 = 0.25;
/// A judge that answered within this many of its normal p95s is alive.
const ALIVE_P95S: f64 = 1.5;
/// A failure that took less than this share of a usual answer cost nothing.
const FAST_SHARE: f64 = 0.5;
/// A call this many times as old as nearly all answers, and overtaken by a later one, is lost.
const LOST_AFTER: f64 = 1.25;
/// A judge that is down and has not judged for so long is silent.
const SILENT_AFTER: Duration = Duration::from_secs(2);
/// The share of its threshold at which a judge is suspect.
const SUSPECT_SHARE: f64 = 0.5;

/// One judge and its health.
#[derive(Debug)]
pub(crate) struct Seat {
    judge: Arc<dyn Judge>,
    board: Arc<Board>,
    place: Place,
    rules: Rules,
    health: Mutex<Health>,
    in_flight: AtomicU32,
    /// Most calls at once, whoever wants them; `None`: nobody said.
    cap: Option<u32>,
    aside: Asides,
}

#[derive(Debug)]
struct Health {
    pace: Pace,
    limit: Limit,
    rate: Rate,
    /// Until when the provider asked us to stay away.
    blocked_until: Option<Instant>,
    /// When it judged last.
    judged_at: Option<Instant>,
    /// When the youngest call that was answered had started.
    answered_start: Option<Instant>,
    strikes: u64,
    /// Strikes and failures since it judged last.
    misses: u32,
}

/// How a judge stands when somebody is to be asked.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "answers to questions of their own")]
pub(crate) struct Standing {
    /// Whether it may be asked in its turn.
    pub(crate) in_turn: bool,
    /// Whether it might, but gets as many calls a second already as it admits, as far as we learnt.
    pub(crate) over_pace: bool,
    /// How long the provider still wants us to stay away; `None`: it does not.
    pub(crate) blocked_for: Option<Duration>,
    /// Whether it takes one more call, as far as we learnt.
    pub(crate) has_room: bool,
    /// Whether it may have no more calls, as it is configured.
    pub(crate) is_full: bool,
    /// The sum of evidence against it.
    pub(crate) score: f64,
    /// The share of its limit in use.
    pub(crate) load: f64,
}

/// A judgement or a failure, as a seat hears of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told<'a> {
    /// When the call started.
    pub(crate) started: Instant,
    /// How long it took.
    pub(crate) took: Duration,
    /// What it usually takes at most: what the time that a failure cost is held to.
    pub(crate) usual_age: Duration,
    /// Whether it struck.
    pub(crate) struck: bool,
    /// What it was waited for.
    pub(crate) upto: Upto,
    /// Its bearing on the breaker.
    pub(crate) evidence: Evidence<'a>,
}

impl Seat {
    /// A judge without history at `place` of `board`.
    pub(crate) fn new(
        judge: Arc<dyn Judge>,
        (board, place): (Arc<Board>, Place),
        (rules, cap): (Rules, Option<u32>),
    ) -> Self {
        let health = Health {
            pace: Pace::new(judge.expectation()),
            limit: Limit::new(cap),
            rate: Rate::default(),
            blocked_until: None,
            judged_at: None,
            answered_start: None,
            strikes: 0,
            misses: 0,
        };
        let (health, in_flight) = (Mutex::new(health), AtomicU32::new(0));
        Self { judge, board, place, rules, health, in_flight, cap, aside: Asides::default() }
    }

    /// Who sits here.
    pub(crate) fn judge(&self) -> &dyn Judge {
        self.judge.as_ref()
    }

    /// The name policies use.
    pub(crate) fn name(&self) -> &str {
        &self.judge.id().name
    }

    /// Where its breaker stands on the board.
    pub(crate) fn place(&self) -> Place {
        self.place
    }

    /// Whether who sits here answers only when no judge that looks can.
    pub(crate) fn stands_in(&self) -> bool {
        self.judge.stands_in()
    }

    /// What its answer to `question` is waited for.
    pub(crate) fn upto(&self, question: &Question) -> Upto {
        if self.judge.waits_for_end(question) { Upto::End } else { Upto::Scores }
    }

    /// A call starts; it is over when what is returned is dropped. `None`: it may have no more.
    pub(crate) fn enter(self: &Arc<Self>) -> Option<InFlight> {
        let one_more = |calls| (!self.is_full(calls)).then(|| calls + 1);
        // in one step: two that look at once must not both have the last place
        let entered = self.in_flight.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more);
        let others = entered.ok()?;
        let mut health = self.health();
        health.limit.entered(others.saturating_add(1));
        health.rate.entered(now());
        let takes = health.limit.whole();
        drop(health);
        self.aside.make_way(others.saturating_add(1), takes);
        Some(InFlight(Arc::clone(self)))
    }

    /// A valid judgement came.
    pub(crate) fn record(&self, told: Told<'_>, now: Instant) {
        let is_closed = self.is_closed();
        let in_flight = self.in_flight();
        {
            let mut health = self.health();
            health.pace.judged(told.upto, told.took, is_closed);
            health.limit.succeeded(in_flight);
            health.judged_at = Some(now);
            health.misses = 0;
            health.answered_start = health.answered_start.max(Some(told.started));
        }
        if !told.struck && !self.stands_in() {
            self.board.good(self.place, told.evidence.turn, now);
        }
    }

    /// An answer whose scores had left came to its end `took` after its call.
    pub(crate) fn record_end(&self, took: Duration) {
        self.health().pace.ended(took);
    }

    /// Nobody waited for the end of such an answer past `age`; whether the call had `struck`.
    ///
    /// It comes later than that, if ever. Of a judge that is well a strike has said so already; of
    /// one that is down it is taken in all the same, a probe at a time: what lasts is normal, and a
    /// judge whose ends came to take longer than they are waited for is asked again.
    pub(crate) fn end_cut(&self, age: Duration, struck: bool) {
        if !struck || self.is_down() {
            self.health().pace.end_cut(age);
        }
    }

    /// A call was dropped at `age`.
    pub(crate) fn censor(&self, age: Duration) {
        self.health().pace.dropped(age, now());
    }

    /// A call outlived its strike age under a policy that gives `budget`.
    pub(crate) fn strike(&self, evidence: Evidence<'_>, (budget, now): (Duration, Instant)) {
        if self.stands_in() {
            return;
        }
        let answers = {
            let mut health = self.health();
            health.strikes = health.strikes.saturating_add(1);
            health.misses = health.misses.saturating_add(1);
            let lately = health.pace.normal_p95(budget).mul_f64(ALIVE_P95S);
            health.judged_at.is_some_and(|at| now < at + lately)
        };
        telemetry::health::count_strike(self.name());
        self.board.bad(self.place, Fault::Strike { answers }, evidence, now);
    }

    /// A call failed in a way that costs what it took; where it struck that was told.
    pub(crate) fn fail(&self, told: Told<'_>, now: Instant) {
        if told.struck || self.stands_in() {
            return;
        }
        {
            let mut health = self.health();
            health.misses = health.misses.saturating_add(1);
        }
        let least = Duration::from_millis(1);
        // of the normal p95, at which a hedge would have come to its caller's help
        let time_lost = told.took.as_secs_f64() / told.usual_age.max(least).as_secs_f64();
        self.board.bad(self.place, Fault::Error { time_lost }, told.evidence, now);
    }

    /// A call failed as all others will.
    pub(crate) fn fault(&self, fault: Fault, evidence: Evidence<'_>, now: Instant) {
        if !self.stands_in() {
            self.board.bad(self.place, fault, evidence, now);
        }
    }

    /// The judge read the request, and said what is no judgement.
    pub(crate) fn heard(&self) {
        self.board.heard(self.place);
    }

    /// The provider says "too many".
    pub(crate) fn crowd(&self, now: Instant) {
        let in_flight = self.in_flight();
        self.health().limit.refused(in_flight, now);
    }

    /// The provider says 429: it is well, and congested. Where it asks us to stay away it was blocked
    /// before.
    pub(crate) fn limited(&self, now: Instant) {
        {
            let mut health = self.health();
            let closed_until = health.blocked_until.unwrap_or(now);
            if health.limit.had_few() {
                health.rate.refused(closed_until, now);
            }
        }
        self.crowd(now);
        self.board.limited(self.place, now);
    }

    /// The provider asks us to stay away. The later of two such requests holds.
    pub(crate) fn block(&self, retry_after: Duration, now: Instant) {
        let until = now + retry_after.min(LONGEST_BLOCK);
        let mut health = self.health();
        health.blocked_until = health.blocked_until.max(Some(until));
    }

    /// Whether its breaker is closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.board.read(self.place, Breaker::is_closed).unwrap_or(true)
    }

    /// Whether its breaker is open, or only not because no other is closed.
    pub(crate) fn is_down(&self) -> bool {
        self.board.read(self.place, Breaker::is_at_threshold).unwrap_or(false)
    }

    /// When it judged last, and how often it did not since.
    pub(crate) fn last_judged(&self) -> (Option<Instant>, u32) {
        let health = self.health();
        (health.judged_at, health.misses)
    }

    /// How it stands for an image that drew `chance` (0..1).
    pub(crate) fn standing(&self, chance: f64, now: Instant) -> Standing {
        let read = |breaker: &Breaker| (breaker.admits(chance, now), breaker.score());
        let (admits, score) = self.board.read(self.place, read).unwrap_or((true, 0.0));
        let in_flight = self.in_flight();
        let health = self.health();
        let blocked_for = health.blocked_for(now);
        let has_room = health.limit.has_room(in_flight);
        let is_free = admits && blocked_for.is_none() && has_room;
        let in_turn = is_free && health.rate.has_room(now);
        let over_pace = is_free && !in_turn;
        let (is_full, load) = (self.is_full(in_flight), health.limit.load(in_flight));
        Standing { in_turn, over_pace, blocked_for, has_room, is_full, score, load }
    }

    /// Whether it may be asked in its turn now, whatever an image draws.
    pub(crate) fn has_room(&self, now: Instant) -> bool {
        0 < self.room(now)
    }

    /// How many more calls it takes in its turn now.
    pub(crate) fn room(&self, now: Instant) -> u32 {
        if !self.is_closed() {
            return 0;
        }
        let in_flight = self.in_flight();
        let health = self.health();
        match health.blocked_for(now) {
            Some(_) => 0,
            None => health.limit.whole().saturating_sub(in_flight),
        }
    }

    /// Whether it takes one more call that only speeds things up.
    pub(crate) fn has_room_for_hedges(&self) -> bool {
        self.health().limit.has_room_for_hedges(self.in_flight())
    }

    /// Whether it may be shown an image beside the judge that is asked; paid for by `pay` while it
    /// fails. Then [`Seat::probe_ended`] must follow.
    pub(crate) fn probe(&self, now: Instant, pay: impl FnOnce() -> bool) -> bool {
        let standing = self.standing(0.0, now);
        standing.blocked_for.is_none()
            && standing.has_room
            && self.board.probe(self.place, now, pay)
    }

    /// A probe is over, however it ended.
    pub(crate) fn probe_ended(&self) {
        self.board.probe_ended(self.place);
    }

    /// How long this judge may run alone in a race of `budget`.
    pub(crate) fn hedge_delay(&self, spec: HedgeSpec, budget: Duration) -> Duration {
        self.health().pace.hedge_delay(spec, budget)
    }

    /// How long before the end of `budget` this judge must start to answer in time.
    pub(crate) fn lead(&self, budget: Duration) -> Duration {
        self.health().pace.lead(budget)
    }

    /// The age at which a call that starts now strikes under a policy that gives `budget`.
    pub(crate) fn strike_age(&self, upto: Upto, budget: Duration) -> Duration {
        self.health().pace.strike_age(upto, self.rules.strike_multiple, budget)
    }

    /// The same, as far as it is known only now, because the judge has been silent for too long.
    pub(crate) fn silent_age(&self, upto: Upto, budget: Duration) -> Option<Duration> {
        self.health().pace.silent_age(upto, self.rules.strike_multiple, budget)
    }

    /// The same of a probe.
    pub(crate) fn probe_age(&self, upto: Upto, budget: Duration) -> Duration {
        self.health().pace.probe_age(upto, self.rules.strike_multiple, budget)
    }

    /// The age at which an answer whose scores have left strikes for its end; `None`: it does not.
    pub(crate) fn end_strike_age(&self, budget: Duration) -> Option<Duration> {
        self.health().pace.end_strike_age(self.rules.strike_multiple, budget)
    }

    /// Its p95 while it is well.
    pub(crate) fn normal_p95(&self, budget: Duration) -> Duration {
        self.health().pace.normal_p95(budget)
    }

    /// The same for what is waited for, within `budget`.
    pub(crate) fn usual_age(&self, upto: Upto, budget: Duration) -> Duration {
        self.health().pace.usual_age(upto, budget)
    }

    /// The age past which a call may have been overtaken.
    pub(crate) fn overtaken_age(&self, budget: Duration) -> Duration {
        self.health().pace.overtaken_age(budget).mul_f64(LOST_AFTER)
    }

    /// Whether this judge is suspect, and has answered a call that started later than `started`.
    pub(crate) fn has_overtaken(&self, started: Instant) -> bool {
        let suspect = SUSPECT_SHARE * self.rules.threshold;
        let is_suspect = self.board.read(self.place, |one| suspect <= one.score());
        is_suspect.unwrap_or(false)
            && self.health().answered_start.is_some_and(|start| started < start)
    }

    /// Whether a failure after `took` cost next to nothing.
    pub(crate) fn is_fast(&self, took: Duration) -> bool {
        self.usual().is_some_and(|usual| took < usual.mul_f64(FAST_SHARE))
    }

    /// What to keep for this judge of the time that is `left`: what its answers usually take, and
    /// never more than half, so that its own slowness starves nobody before it.
    pub(crate) fn reserve(&self, left: Duration) -> Duration {
        self.usual().unwrap_or(left.mul_f64(UNKNOWN_SHARE)).min(left / 2)
    }

    /// What who waits for it usually waits; `None`: no idea yet.
    ///
    /// That is what its answers take, whatever else was cancelled: the only judge's calls, hedged
    /// with itself, are half of them losers. But one that is down and silent is waited for in vain.
    pub(crate) fn p50(&self) -> Option<Duration> {
        let is_down = self.is_down();
        let now = now();
        let health = self.health();
        let is_silent = health.judged_at.is_none_or(|at| at + SILENT_AFTER <= now);
        if is_down && is_silent { health.pace.of_calls(0.50) } else { health.pace.of_answers(0.50) }
    }

    /// What its answers usually take; `None`: no idea yet.
    fn usual(&self) -> Option<Duration> {
        self.health().pace.of_answers(0.50)
    }

    /// What its calls nearly always take; `None`: no idea yet.
    ///
    /// Of all calls: at this age a call makes way for the next judge, so that its slow answers are
    /// never seen, and a p95 of the others alone would teach itself to make way ever sooner.
    pub(crate) fn p95(&self) -> Option<Duration> {
        self.health().pace.of_calls(0.95)
    }

    /// What to keep over a restart.
    pub(crate) fn keep(&self) -> Speeds {
        self.health().pace.keep()
    }

    /// Takes up what was kept.
    ///
    /// # Errors
    /// What is wrong with it; nothing is changed then.
    pub(crate) fn restore(&self, kept: &Speeds) -> Result<(), String> {
        self.health().pace.restore(kept)
    }

    /// What an operator sees of it.
    pub(crate) fn status(&self, now: Instant) -> JudgeStatus {
        let read = |breaker: &Breaker| (breaker.state(), breaker.score());
        let (breaker, score) =
            self.board.read(self.place, read).unwrap_or((BreakerState::Closed, 0.0));
        let in_flight = self.in_flight();
        let health = self.health();
        let (p50, p95, samples) = health.pace.told();
        JudgeStatus {
            id: self.judge.id().clone(),
            breaker,
            score,
            strikes: health.strikes,
            limit: health.limit.whole(),
            dialect: self.judge.dialect(),
            p50_ms: p50.map(whole_ms),
            p95_ms: p95.map(whole_ms),
            samples,
            in_flight,
            blocked_for_ms: health.blocked_for(now).map(whole_ms),
            parameters: self.judge.parameters().to_owned(),
        }
    }

    fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::SeqCst)
    }

    fn is_full(&self, in_flight: u32) -> bool {
        in_flight >= self.cap.unwrap_or(u32::MAX)
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        // nothing in here can be left half done: a poisoned lock is as good as new
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Health {
    fn blocked_for(&self, now: Instant) -> Option<Duration> {
        let left = self.blocked_until?.saturating_duration_since(now);
        Some(left).filter(|left| !left.is_zero())
    }
}

/// `span` in whole milliseconds.
pub(crate) fn whole_ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
