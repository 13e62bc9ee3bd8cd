//! How many calls a second a judge admits, learnt from its "too many".
//!
//! A provider that counts calls by the second or the minute admits so many and answers 429 to the
//! rest, and each 429 closes it to us for as long as it says. Whoever runs into that whenever it is
//! open again gets far less of it than it admits. So after the second such 429 its calls are paced
//! for a while, and those over the pace go to the next judge at once. A pace holds for twice as long
//! as the judge was closed, and then it is over: only asking it for everything shows whether it is
//! still limited. One that is mended is back that soon, and one that is not was sent nearly all that
//! it admits in the meantime.
//!
//! All this is of a judge that refuses although few calls are under way: of many, the limit of how
//! many there are at once says as much. And it is of one that asks to be left alone: without that
//! nothing is lost but the refused call.
//!
//! What it admits lies between what it was sent a second counting the time in which it was closed
//! and not counting it: the first leaves out what a full bucket could not take in, the second counts
//! what the bucket had saved up. The pace starts in the middle. A hold without a 429 makes the next
//! one quicker; where one comes in it the pace is reckoned anew. Neither is ever below what was
//! admitted counting all the time, and after four such holds in a row the judge is not paced for a
//! minute: it says 429 for reasons that have nothing to do with how much it is sent, and would
//! otherwise be cut for each until it got next to nothing. That is a bound and no cure: one that by
//! chance refuses two in a hundred, and asks for five seconds each time, gets two fifths of what it
//! would get unpaced.

use std::time::Duration;

use tokio::time::Instant;

/// A pace holds this many times as long as the judge was closed …
const HOLD: f64 = 2.0;
/// … but at least this long …
const SHORTEST_HOLD: Duration = Duration::from_secs(2);
/// … and at most this.
const LONGEST_HOLD: Duration = Duration::from_secs(30);
/// What a hold without a 429 makes of the pace.
const RISE: f64 = 1.1;
/// What is left at most, whatever is reckoned, of a pace that a 429 came in.
const CUT: f64 = 0.95;
/// Calls a second: a slower pace would teach nothing.
const LEAST_PER_S: f64 = 0.5;
/// Calls sent together are refused together.
const SAME: Duration = Duration::from_millis(300);
/// Calls come unevenly: what the pace allows in this time may be saved up …
const DEPTH_S: f64 = 0.25;
/// … and this many calls at least.
const LEAST_DEPTH: f64 = 2.0;
/// After so many holds in a row that a 429 came in, 429s do not hang on the pace.
const MOST_BROKEN: u32 = 4;
/// No time is shorter, for what is divided by it.
const INSTANT: Duration = Duration::from_millis(1);
/// A 429 that comes so long after the judge was closed last finds nothing known.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);

/// How many calls a second one judge is sent, while that is limited.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rate {
    last: Option<Refusal>,
    pace: Option<Pace>,
    /// Holds in a row in which a 429 came.
    broken: u32,
    /// Until when it is not paced, because that was of no use.
    free_until: Option<Instant>,
}

/// The last 429 that was not one of a burst.
#[derive(Clone, Copy, Debug)]
struct Refusal {
    at: Instant,
    /// Until when the provider asked us to stay away.
    closed_until: Instant,
    /// Calls that started since.
    started: u32,
}

/// A bucket that calls are taken from.
#[derive(Clone, Copy, Debug)]
struct Pace {
    per_s: f64,
    tokens: f64,
    /// When they were counted.
    counted_at: Instant,
}

impl Rate {
    /// Whether one more call is within the pace.
    #[must_use]
    pub(crate) fn has_room(&self, now: Instant) -> bool {
        self.held(now).is_none_or(|pace| 1.0 <= pace.tokens_at(now))
    }

    /// Whether the judge is sent no more than its pace.
    #[must_use]
    pub(crate) fn is_paced(&self, now: Instant) -> bool {
        self.held(now).is_some()
    }

    /// A call starts, within the pace or for want of a better judge.
    pub(crate) fn entered(&mut self, now: Instant) {
        if let Some(last) = &mut self.last {
            last.started = last.started.saturating_add(1);
        }
        if let Some(pace) = &mut self.pace {
            pace.tokens = (pace.tokens_at(now) - 1.0).max(0.0);
            pace.counted_at = now;
        }
    }

    /// The judge said 429, and asked to be left alone until `closed_until`; one that did not ask says
    /// nothing of a rate.
    pub(crate) fn refused(&mut self, closed_until: Instant, now: Instant) {
        if closed_until <= now {
            // nothing is lost by it but the call
            return;
        }
        let known = self.last.filter(|last| now < last.closed_until + FORGOTTEN_AFTER);
        if let Some(last) = known.filter(|last| now < last.closed_until.max(last.at + SAME)) {
            let closed_until = last.closed_until.max(closed_until);
            self.last = Some(Refusal { closed_until, ..last });
            return;
        }
        let pace = known.map(|last| self.next_pace(last, now).max(LEAST_PER_S));
        self.broken = if self.is_paced(now) { self.broken + 1 } else { 0 };
        if self.broken == MOST_BROKEN {
            (self.broken, self.free_until) = (0, Some(now + FORGOTTEN_AFTER));
        }
        let is_free = self.free_until.is_some_and(|until| now < until);
        let pace = pace.filter(|_| !is_free);
        self.pace = pace.map(|per_s| Pace { per_s, tokens: 0.0, counted_at: now });
        self.last = Some(Refusal { at: now, closed_until, started: 0 });
    }

    /// The pace after one more 429.
    fn next_pace(&self, last: Refusal, now: Instant) -> f64 {
        match self.pace {
            Some(pace) if last.held_until() <= now => {
                (pace.per_s * RISE).max(last.least_admitted_per_s(now))
            }
            Some(pace) => {
                let cut = last.admitted_per_s(now).min(pace.per_s * CUT);
                cut.max(last.least_admitted_per_s(now).min(pace.per_s))
            }
            None => last.admitted_per_s(now),
        }
    }

    fn held(&self, now: Instant) -> Option<Pace> {
        let is_held = self.last.is_some_and(|last| now < last.held_until());
        self.pace.filter(|_| is_held)
    }
}

impl Refusal {
    fn held_until(self) -> Instant {
        let closed = self.closed_until.saturating_duration_since(self.at);
        self.closed_until + closed.mul_f64(HOLD).clamp(SHORTEST_HOLD, LONGEST_HOLD)
    }

    /// What was admitted a second since, as it is reckoned at the next 429: the mean of counting the
    /// time in which the judge was closed and not counting it.
    fn admitted_per_s(self, now: Instant) -> f64 {
        let open = now.saturating_duration_since(self.closed_until).max(INSTANT);
        self.admitted() / (self.whole(now).as_secs_f64() * open.as_secs_f64()).sqrt()
    }

    /// … counting the time in which it was closed.
    fn least_admitted_per_s(self, now: Instant) -> f64 {
        self.admitted() / self.whole(now).as_secs_f64()
    }

    fn admitted(self) -> f64 {
        f64::from(self.started.saturating_sub(1))
    }

    fn whole(self, now: Instant) -> Duration {
        now.saturating_duration_since(self.at).max(INSTANT)
    }
}

impl Pace {
    fn tokens_at(self, now: Instant) -> f64 {
        let since = now.saturating_duration_since(self.counted_at).as_secs_f64();
        let depth = (self.per_s * DEPTH_S).max(LEAST_DEPTH);
        (self.tokens + self.per_s * since).min(depth)
    }
}

#[cfg(test)]
mod tests;
