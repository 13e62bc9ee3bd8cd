//! A breaker says whether a judge is asked in its turn, by a sum of evidence for and against it.
//!
//! The sum is a CUSUM of log-likelihood ratios: a healthy judge outlives its strike age in one call
//! of twenty, a sick one in four of ten. Evidence is taken when a call *outlives* its strike age,
//! not when it ends: where hedging works, the calls into a dead judge are cancelled and never end.
//! An error weighs what it cost in time, so that a judge that fails at once but answers six of ten
//! stays. Flow control (429) weighs nothing, and nothing counts as a strike for a while after it,
//! as long as the judge answers somebody: a dead one can say 429 too, once hung calls fill its slots.
//!
//! An open breaker is probed by real requests beside the judge that is asked. Probes that fail come
//! one at a time and ever further apart; once they succeed they follow each other until the sum is
//! down, the more at once the more of them succeeded: a judge that fails four calls of ten would
//! else be shown one image in ten for nothing. One that fails takes nearly five good ones back:
//! such a judge has a lucky run of probes sooner or later, and one that is well has not to fear it.
//! Whoever was lucky is found out soon: for a while after closing, judgements in time take off only
//! half. A breaker that opens again soon after it closed stays open for a while and asks for more
//! good probes each time: evidence tells a judge that is back from one that pauses between two
//! spells, a mere wait does not.

use std::time::Duration;

use tokio::time::Instant;

use crate::panel::BreakerState;

/// What a judgement in time takes off the sum.
const GOOD: f64 = 0.51;
/// The share of that in the first time after closing …
const GOOD_AT_FIRST: f64 = 0.5;
/// … which is this long.
const AT_FIRST: Duration = Duration::from_secs(30);
/// What a call that outlived its strike age adds.
const STRIKE: f64 = 2.15;
/// What a probe's judgement takes off.
const PROBE_GOOD: f64 = 0.9;
/// The least weight of an error: one that came back at once.
const LEAST_WEIGHT: f64 = 0.10;
/// Time lost up to this share of the normal p95 weighs no more than the least.
const FREE_SHARE: f64 = 0.25;
/// A judge that just said 429 is alive and congested: no strikes for this long.
const NO_STRIKES_AFTER_LIMIT: Duration = Duration::from_secs(5);
/// A sum this far below the threshold says that probes succeed.
const PROBES_SUCCEED_BELOW: f64 = 0.5;
/// The breaker closes at this sum.
const CLOSES_AT: f64 = 1.0;
/// The share of the threshold that a breaker closes with.
const CLOSED_SHARE: f64 = 0.4;
/// Probes under way at once, at most …
const MOST_PROBES: u32 = 4;
/// … one more for every good one running, which takes this off the sum.
const EVIDENCE_A_PROBE: f64 = PROBE_GOOD;
const HOLD_GROWTH: f64 = 1.5;
/// A probe that fails takes nearly five good ones back, and where fewer came before it all of them. A
/// judge that is well fails one in thirty, and then seldom starts anew; one that fails three in ten
/// closes in one of 26 attempts (one of 35, if each failure took everything back).
const LAPSE: f64 = 2.0 * STRIKE;
/// A probe that fails after so much evidence for its judge, four good ones running, is as likely one
/// of the slow calls that every judge has: the next follows soon.
const ALL_BUT_BACK: f64 = 4.0 * PROBE_GOOD;
/// How far a hold is spread to either side, so that replicas do not probe in step.
const HOLD_SPREAD: f64 = 0.2;
/// The share of images a breaker lets through right after it closed.
const RAMP_FROM: f64 = 0.25;
/// Each flap asks for this many times the good probes that the one before it asked for …
const FLAP_DEMANDS: f64 = 1.4;
/// … up to so many.
const FLAPS_COUNTED: i32 = 3;
/// A breaker that opens within this of its last closing flaps.
const FLAP_MEMORY: Duration = Duration::from_secs(60);
/// The least time open of a judge that flaps.
const FLAPPING_OPEN: Duration = Duration::from_secs(10);
/// Probes may start this long before a flapping breaker may close.
const PROBES_BEFORE_CLOSING: Duration = Duration::from_secs(2);
/// How long a judge that will not work as it is configured is left alone.
const CONFIG_FAULT_FOR: Duration = Duration::from_secs(60);
/// As many images running refused as bad requests are our mistake, not the images'.
const BAD_REQUESTS_RUNNING: u32 = 3;

/// What may be set of a breaker.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rules {
    /// A call strikes once it is this many times as old as the judge's normal p95.
    pub strike_multiple: f64,
    /// The sum at which the breaker opens while all others are closed.
    pub threshold: f64,
    /// Between two failing probes at first.
    pub hold: Duration,
    /// … and at last.
    pub longest_hold: Duration,
    /// From a quarter to all of the images after closing.
    pub ramp: Duration,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            strike_multiple: 1.25,
            threshold: 9.2,
            hold: Duration::from_secs(1),
            longest_hold: Duration::from_millis(2_500),
            ramp: Duration::from_secs(2),
        }
    }
}

/// The other judges of the route that look at images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Others {
    /// Those asked in their turn.
    pub closed: u32,
    /// Those that are not.
    pub open: u32,
}

/// Whether a call was one of those in their turn, or a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// In its turn, or for want of a better one.
    InTurn,
    /// As a probe.
    Probe,
}

/// Why a judge did not judge, as far as the breaker is concerned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// The call outlived its strike age.
    Strike {
        /// Whether the judge answered another call of late.
        answers: bool,
    },
    /// It failed after a time that is this share of the judge's normal p95.
    Error {
        /// 0 or more.
        time_lost: f64,
    },
    /// Key, permission, billing or unknown model: nothing but a person helps.
    Auth,
    /// The request was refused as it is.
    BadRequest,
}

impl Fault {
    /// The word used in logs.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Strike { .. } => "strike",
            Self::Error { .. } => "error",
            Self::Auth => "auth",
            Self::BadRequest => "bad_request",
        }
    }
}

/// One judge's breaker.
#[derive(Clone, Debug)]
pub struct Breaker {
    rules: Rules,
    score: f64,
    place: Place,
    /// When it closed last.
    closed_at: Option<Instant>,
    /// How often it opened soon after closing.
    flaps: i32,
    no_strikes_until: Option<Instant>,
    bad_requests: u32,
    probes: u32,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Closed,
    Open {
        /// No probe before this.
        probe_at: Instant,
        hold: Duration,
        /// It does not close before this.
        until: Instant,
    },
}

impl Breaker {
    /// A closed breaker.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            score: 0.0,
            place: Place::Closed,
            closed_at: None,
            flaps: 0,
            no_strikes_until: None,
            bad_requests: 0,
            probes: 0,
        }
    }

    /// The sum of evidence: 0 is well.
    #[must_use]
    pub fn score(&self) -> f64 {
        self.score
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> BreakerState {
        match self.place {
            Place::Closed => BreakerState::Closed,
            Place::Open { .. } if self.probes_succeed() => BreakerState::HalfOpen,
            Place::Open { .. } => BreakerState::Open,
        }
    }

    /// Whether the judge is asked in its turn.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self.place, Place::Closed)
    }

    /// Whether the evidence alone would keep the judge from being asked.
    #[must_use]
    pub fn is_at_threshold(&self) -> bool {
        !self.is_closed() || self.rules.threshold <= self.score
    }

    /// Whether an image that drew `chance` (0..1) may go to the judge: all may, but for a while
    /// after closing.
    #[must_use]
    pub fn admits(&self, chance: f64, now: Instant) -> bool {
        if !self.is_closed() {
            return false;
        }
        let Some(closed_at) = self.closed_at else { return true };
        let since = now.saturating_duration_since(closed_at).as_secs_f64();
        let ramp = self.rules.ramp.as_secs_f64();
        ramp <= since || chance < RAMP_FROM + (1.0 - RAMP_FROM) * since / ramp
    }

    /// A judgement came before its strike age.
    pub fn good(&mut self, turn: Turn, now: Instant) {
        self.bad_requests = 0;
        let credit = PROBE_GOOD / FLAP_DEMANDS.powi(self.flaps.min(FLAPS_COUNTED));
        let is_at_first = self.closed_at.is_some_and(|at| now < at + AT_FIRST);
        let good = if is_at_first { GOOD_AT_FIRST * GOOD } else { GOOD };
        match (&mut self.place, turn) {
            (Place::Closed, _) => self.score = (self.score - good).max(0.0),
            // it was asked for want of a better one, perhaps long ago: only probes open the way back
            (Place::Open { .. }, Turn::InTurn) => {}
            (Place::Open { probe_at, until, .. }, Turn::Probe) => {
                self.score = (self.score - credit).max(0.0);
                *probe_at = now;
                if self.score <= CLOSES_AT && *until <= now {
                    self.close(now);
                }
            }
        }
    }

    /// The judge read the request and said something that weighs nothing: a refusal, say.
    pub fn heard(&mut self) {
        self.bad_requests = 0;
    }

    /// The judge did not judge. `jitter` is 0..1.
    pub fn bad(&mut self, fault: Fault, turn: Turn, others: Others, (now, jitter): (Instant, f64)) {
        let weight = match fault {
            Fault::Strike { answers } if answers && self.is_congested(now) => return,
            Fault::Strike { .. } => 1.0,
            Fault::Error { time_lost } => weight(time_lost),
            Fault::Auth => return self.leave_alone(others, now),
            Fault::BadRequest => {
                self.bad_requests = self.bad_requests.saturating_add(1);
                if BAD_REQUESTS_RUNNING <= self.bad_requests {
                    self.leave_alone(others, now);
                }
                return;
            }
        };
        match (self.place, turn) {
            (Place::Closed, _) => {
                self.score += STRIKE * weight;
                // the fewer are left, the more evidence it takes
                if self.rules.threshold * (1.0 + f64::from(others.open)) <= self.score {
                    self.open(others, now);
                }
            }
            (Place::Open { .. }, Turn::InTurn) => {}
            (Place::Open { .. }, Turn::Probe) => self.probe_failed((now, jitter)),
        }
    }

    /// The judge said 429.
    pub fn limited(&mut self, now: Instant) {
        self.no_strikes_until = Some(now + NO_STRIKES_AFTER_LIMIT);
    }

    /// Whether an image may be shown to the judge beside the one that is asked. A probe of a judge
    /// whose probes fail is paid for by `pay`. Each probe must be ended by [`Breaker::probe_ended`].
    pub fn probe(&mut self, now: Instant, pay: impl FnOnce() -> bool) -> bool {
        let (succeed, has_room) = (self.probes_succeed(), self.probes < self.most_probes());
        let Place::Open { probe_at, hold, .. } = &mut self.place else { return false };
        if now < *probe_at || !has_room || !(succeed || pay()) {
            return false;
        }
        if !succeed {
            *probe_at = now + *hold;
        }
        self.probes += 1;
        true
    }

    /// How many probes may be under way at once.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to a few")]
    fn most_probes(&self) -> u32 {
        let evidence = (self.rules.threshold - self.score).max(0.0);
        (1 + (evidence / EVIDENCE_A_PROBE) as u32).min(MOST_PROBES)
    }

    /// A probe is over, however it ended.
    pub fn probe_ended(&mut self) {
        self.probes = self.probes.saturating_sub(1);
    }

    /// Probes under way.
    #[must_use]
    pub fn probes(&self) -> u32 {
        self.probes
    }

    /// Whether the last probes succeeded.
    #[must_use]
    pub fn probes_succeed(&self) -> bool {
        !self.is_closed() && self.score < self.rules.threshold - PROBES_SUCCEED_BELOW
    }

    fn open(&mut self, others: Others, now: Instant) {
        self.score = self.rules.threshold;
        if others.closed == 0 {
            return; // somebody must be asked
        }
        let flaps = self.closed_at.is_some_and(|at| now < at + FLAP_MEMORY);
        self.flaps = if flaps { self.flaps.saturating_add(1) } else { 0 };
        let until = if flaps { now + FLAPPING_OPEN } else { now };
        let hold = self.rules.hold;
        let probe_at = (now + hold).max(until.checked_sub(PROBES_BEFORE_CLOSING).unwrap_or(now));
        self.place = Place::Open { probe_at, hold, until };
    }

    /// Nothing but a person helps: there is no point in probing soon.
    fn leave_alone(&mut self, others: Others, now: Instant) {
        self.bad_requests = 0;
        if self.is_closed() {
            self.open(others, now);
        }
        if let Place::Open { probe_at, until, .. } = &mut self.place {
            self.score = self.rules.threshold;
            *probe_at = now + CONFIG_FAULT_FOR;
            *until = (*until).max(*probe_at);
        }
    }

    fn probe_failed(&mut self, (now, jitter): (Instant, f64)) {
        let Rules { threshold, longest_hold, hold: shortest_hold, .. } = self.rules;
        let Place::Open { probe_at, hold, .. } = &mut self.place else { return };
        let is_lapse = ALL_BUT_BACK <= threshold - self.score;
        self.score = (self.score + LAPSE).min(threshold);
        if self.score < threshold - PROBES_SUCCEED_BELOW {
            return;
        }
        self.score = threshold;
        *hold = if is_lapse { shortest_hold } else { hold.mul_f64(HOLD_GROWTH).min(longest_hold) };
        let spread = 1.0 + HOLD_SPREAD * (2.0 * jitter.clamp(0.0, 1.0) - 1.0);
        *probe_at = (*probe_at).max(now + hold.mul_f64(spread));
    }

    fn is_congested(&self, now: Instant) -> bool {
        self.no_strikes_until.is_some_and(|until| now < until)
    }

    fn close(&mut self, now: Instant) {
        self.place = Place::Closed;
        self.score = self.rules.threshold * CLOSED_SHARE;
        self.closed_at = Some(now);
    }
}

/// What an error weighs beside a strike.
fn weight(time_lost: f64) -> f64 {
    ((time_lost - FREE_SHARE) / (1.0 - FREE_SHARE)).clamp(LEAST_WEIGHT, 1.0)
}

#[cfg(test)]
mod tests;
