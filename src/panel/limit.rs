//! How many calls a judge takes at once, learnt from its "too many".
//!
//! Additive increase, multiplicative decrease: one cut by a quarter per burst of 429s, and a slow
//! rise while the limit is being used. A cut starts from the most that was under way since the last,
//! as TCP's does from its flight size (RFC 5681, 3.1): where 110 calls are too many, a limit of 256
//! says nothing. A limit that nobody reaches does not grow, so it stays near what was last seen to
//! work.

use std::time::Duration;

use tokio::time::Instant;

/// The limit before anything is known.
const START: u32 = 256;
/// … and what it may grow to, unless it is configured.
const MOST: u32 = 512;
/// A limit below this would starve the judge of the calls that could raise it.
const LEAST: u32 = 4;
const CUT: f64 = 0.75;
/// A judge that refuses although it has fewer calls than this counts them by the minute, not at once.
const FEW: u32 = 32;
/// 429s come in bursts: the calls sent together are refused together.
const CUT_EVERY: Duration = Duration::from_millis(300);
/// What a limit's worth of successes adds.
const RISE: f64 = 2.0;
/// Above this share of the limit nobody is asked beside a slow judge.
const HEDGED_UP_TO: f64 = 0.8;

/// How many calls one judge takes at once.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    limit: f64,
    least: f64,
    most: f64,
    /// The most calls under way since the last cut.
    peak: u32,
    cut_at: Option<Instant>,
}

impl Limit {
    /// The limit before anything is known; `cap` is what was configured.
    #[must_use]
    pub fn new(cap: Option<u32>) -> Self {
        let most = cap.unwrap_or(MOST).max(1);
        Self {
            limit: f64::from(cap.unwrap_or(START).max(1)),
            least: f64::from(LEAST.min(most)),
            most: f64::from(most),
            peak: 0,
            cut_at: None,
        }
    }

    /// Whether one more call fits beside `in_flight`.
    #[must_use]
    pub fn has_room(&self, in_flight: u32) -> bool {
        in_flight < self.whole()
    }

    /// Whether one more fits that only speeds things up.
    #[must_use]
    pub fn has_room_for_hedges(&self, in_flight: u32) -> bool {
        f64::from(in_flight) < HEDGED_UP_TO * self.limit
    }

    /// The share of the limit that `in_flight` calls use.
    #[must_use]
    pub fn load(&self, in_flight: u32) -> f64 {
        f64::from(in_flight) / self.limit
    }

    /// In whole calls.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1..=u32::MAX")]
    pub fn whole(&self) -> u32 {
        self.limit as u32
    }

    /// A call started; with it `in_flight` are under way.
    pub fn entered(&mut self, in_flight: u32) {
        self.peak = self.peak.max(in_flight);
    }

    /// Whether so few calls were under way since the last cut that a refusal is about how many come
    /// in a time, and not about how many there are at once.
    #[must_use]
    pub fn had_few(&self) -> bool {
        self.peak < FEW
    }

    /// A judgement came while `in_flight` calls were under way.
    pub fn succeeded(&mut self, in_flight: u32) {
        if self.limit <= 2.0 * f64::from(in_flight) {
            self.limit = (self.limit + RISE / self.limit).min(self.most);
        }
    }

    /// The judge said "too many"; `in_flight` calls are still under way.
    pub fn refused(&mut self, in_flight: u32, now: Instant) {
        if self.cut_at.is_none_or(|at| at + CUT_EVERY < now) {
            self.cut_at = Some(now);
            let was = self.limit.min(f64::from(self.peak.max(FEW)));
            self.limit = (was * CUT).max(self.least);
            self.peak = in_flight;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn it_starts_at_256_or_at_what_is_configured() {
        assert_eq!(Limit::new(None).whole(), 256);
        assert_eq!(Limit::new(Some(60)).whole(), 60);
        assert_eq!(Limit::new(Some(1)).whole(), 1);
    }

    #[test]
    fn the_last_call_of_the_limit_fits_and_the_next_does_not() {
        let limit = Limit::new(Some(10));
        assert!(limit.has_room(9) && !limit.has_room(10));
        assert!(limit.has_room_for_hedges(7) && !limit.has_room_for_hedges(8));
    }

    #[test]
    fn a_burst_of_refusals_cuts_once() {
        let (mut limit, now) = (Limit::new(Some(100)), Instant::now());
        limit.entered(100);
        (0..40).for_each(|at| limit.refused(90, now + ms(at)));
        assert_eq!(limit.whole(), 75);
        // a call of before the cut that is refused after it, while nobody may start
        limit.refused(80, now + ms(301));
        assert_eq!(limit.whole(), 56);
    }

    #[test]
    fn a_cut_starts_from_the_most_that_was_under_way() {
        let (mut limit, now) = (Limit::new(None), Instant::now());
        [90, 120, 100].into_iter().for_each(|in_flight| limit.entered(in_flight));
        limit.refused(0, now);
        assert_eq!(limit.whole(), 90);
        limit.entered(80);
        limit.refused(0, now + ms(301));
        assert_eq!(limit.whole(), 60);
    }

    #[test]
    fn a_few_calls_that_are_refused_say_little_of_how_many_fit() {
        let (mut limit, now) = (Limit::new(None), Instant::now());
        limit.entered(31);
        assert!(limit.had_few());
        limit.refused(0, now);
        assert_eq!(limit.whole(), 24);
        limit.entered(32);
        assert!(!limit.had_few());
    }

    #[test]
    fn a_limits_worth_of_successes_adds_two_while_half_of_it_is_used() {
        let (mut limit, now) = (Limit::new(Some(100)), Instant::now());
        limit.entered(100);
        limit.refused(0, now);
        let before = limit.limit;
        (0..75).for_each(|_| limit.succeeded(30));
        assert!((limit.limit - before).abs() < 1e-9, "nobody uses it");
        (0..75).for_each(|_| limit.succeeded(40));
        assert!((1.9..2.0).contains(&(limit.limit - before)), "{}", limit.limit);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn a_limit_stays_between_4_and_its_cap(
            cap in prop::option::of(1_u32..2_000),
            events in prop::collection::vec((any::<bool>(), 0_u64..1_000, 0_u32..600), 0..400),
        ) {
            let (mut limit, mut now) = (Limit::new(cap), Instant::now());
            let most = cap.unwrap_or(512);
            for (refused, wait_ms, in_flight) in events {
                now += ms(wait_ms);
                limit.entered(in_flight);
                if refused { limit.refused(in_flight, now) } else { limit.succeeded(in_flight) }
                prop_assert!((most.min(4)..=most).contains(&limit.whole()), "{limit:?}");
            }
        }

        #[test]
        fn there_is_room_for_fewer_hedges_than_calls(cap in 1_u32..500, in_flight in 0_u32..600) {
            let limit = Limit::new(Some(cap));
            prop_assert!(limit.has_room(in_flight) || !limit.has_room_for_hedges(in_flight));
        }
    }
}
