//! Slots are the places at which a provider works, and the pace at which it lets calls in.
//!
//! A caller that leaves does not stop the work: its slot is taken to the natural end. A call that has
//! no natural end holds its slot until its connection closes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use tokio::time::Instant;

/// The slots in use. Pure: time is told.
#[derive(Debug, Default)]
pub(super) struct Slots {
    ends: BinaryHeap<Reverse<Instant>>,
    held: u32,
}

/// How much slower a provider gets with each share of its slots above the free ones.
const CONGESTION: f64 = 1.2;

/// The share of slots that may be taken before it gets slower.
const FREE_SHARE: f64 = 0.7;

impl Slots {
    /// How many are in use now.
    pub(super) fn in_use(&mut self, now: Instant) -> u32 {
        while self.ends.peek().is_some_and(|Reverse(end)| *end <= now) {
            self.ends.pop();
        }
        u32::try_from(self.ends.len()).unwrap_or(u32::MAX).saturating_add(self.held)
    }

    /// Takes one until a known end, whoever leaves meanwhile.
    pub(super) fn take_until(&mut self, end: Instant) {
        self.ends.push(Reverse(end));
    }

    /// Takes one until it is given back.
    pub(super) fn hold(&mut self) {
        self.held = self.held.saturating_add(1);
    }

    /// Gives one back that was held.
    pub(super) fn give_back(&mut self) {
        self.held = self.held.saturating_sub(1);
    }

    /// The work of before is forgotten; what is held is given back by its holders.
    pub(super) fn forget(&mut self) {
        self.ends.clear();
    }
}

/// How many times slower a call is that finds so many of the slots taken.
pub(crate) fn congestion(in_use: u32, slots: u32) -> f64 {
    let load = f64::from(in_use) / f64::from(slots.max(1));
    1.0 + CONGESTION * (load - FREE_SHARE).max(0.0)
}

/// A token bucket. Pure: time is told.
#[derive(Debug, Default)]
pub(super) struct Bucket {
    /// Tokens and when they were counted; full before the first call.
    level: Option<(f64, Instant)>,
}

impl Bucket {
    /// Whether one more call is let in.
    pub(super) fn take(&mut self, now: Instant, per_s: f64, burst: f64) -> bool {
        let tokens = match self.level {
            None => burst,
            Some((tokens, at)) => {
                let gained = now.saturating_duration_since(at).as_secs_f64() * per_s;
                (tokens + gained).min(burst)
            }
        };
        let is_let_in = 1.0 <= tokens;
        self.level = Some((if is_let_in { tokens - 1.0 } else { tokens }, now));
        is_let_in
    }

    /// Full again.
    pub(super) fn refill(&mut self) {
        self.level = None;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_slot_is_taken_to_its_natural_end_and_a_held_one_until_it_is_given_back() {
        let (mut slots, now) = (Slots::default(), Instant::now());
        slots.take_until(now + 3 * SECOND);
        slots.take_until(now + SECOND);
        slots.hold();
        assert_eq!(slots.in_use(now), 3);
        assert_eq!(slots.in_use(now + SECOND), 2);
        assert_eq!(slots.in_use(now + 3 * SECOND), 1);
        slots.give_back();
        slots.give_back();
        assert_eq!(slots.in_use(now + 3 * SECOND), 0);
    }

    #[test]
    fn a_provider_gets_slower_above_seventy_per_cent() {
        for (in_use, expected) in [(0, 1.0), (70, 1.0), (80, 1.12), (100, 1.36)] {
            let found = congestion(in_use, 100);
            assert!((found - expected).abs() < 1e-9, "{in_use}: {found}");
        }
    }

    #[test]
    fn a_bucket_lets_in_its_burst_and_then_its_rate() {
        let (mut bucket, now) = (Bucket::default(), Instant::now());
        let let_in = |bucket: &mut Bucket, at: Instant, asked: usize| {
            (0..asked).filter(|_| bucket.take(at, 16.0, 16.0)).count()
        };
        assert_eq!(let_in(&mut bucket, now, 40), 16);
        assert_eq!(let_in(&mut bucket, now + SECOND / 2, 40), 8);
        assert_eq!(let_in(&mut bucket, now + 100 * SECOND, 40), 16, "no more than a burst is kept");
        // Forty a second for ten seconds, evenly.
        let begin = now + 200 * SECOND;
        let times = (0..400_u32).map(|call| begin + SECOND / 40 * call);
        let count = times.filter(|at| bucket.take(*at, 16.0, 16.0)).count();
        assert!((174..=176).contains(&count), "{count}");
        bucket.refill();
        assert_eq!(let_in(&mut bucket, begin + 10 * SECOND, 40), 16);
    }
}
