//! When an attempt beside a slow one may start, and what pays for it.
//!
//! Extra attempts are paid for by admitted images, never by failures: in an outage every image
//! wants a second judge, and a budget that failures refill would double the load just then.

use std::time::Duration;

use tokio::time::Instant;

use crate::panel::latency::Latency;

/// Hedges that may be saved up when there is next to no traffic.
const LEAST_CAPACITY: f64 = 20.0;
/// Above that: as many as images come in this time.
const TRAFFIC_SECONDS: f64 = 2.0;
const LAST_CHANCE_RATIO: f64 = 0.20;
const LAST_CHANCE_CAPACITY: f64 = 60.0;
/// A judge without history is hedged after this at the latest.
const COLD_DELAY: Duration = Duration::from_millis(1_500);
const COLD_SHARE: f64 = 0.3;
const LATEST_SHARE: f64 = 0.4;

/// A token bucket: one token pays for one attempt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    tokens: f64,
    capacity: f64,
}

impl Bucket {
    /// A full bucket.
    #[must_use]
    pub fn full(capacity: f64) -> Self {
        Self { tokens: capacity, capacity }
    }

    /// Puts `tokens` in, up to the capacity.
    pub fn refill(&mut self, tokens: f64) {
        self.tokens = (self.tokens + tokens).min(self.capacity);
    }

    /// Takes one token; `false`: there is none.
    #[must_use]
    pub fn take(&mut self) -> bool {
        // refills are sums of fractions: ten times 0.1 must pay for one
        let paid = 1.0 - 1e-9 <= self.tokens;
        if paid {
            self.tokens = (self.tokens - 1.0).max(0.0);
        }
        paid
    }

    /// Holds `capacity` from now on; what is above it is lost.
    pub fn hold(&mut self, capacity: f64) {
        self.capacity = capacity;
        self.tokens = self.tokens.min(capacity);
    }
}

/// What pays for attempts beside a running one, over all images.
#[derive(Clone, Debug)]
pub struct HedgeBudget {
    hedge: Bucket,
    last_chance: Bucket,
    /// Images of the last two seconds, older ones fading out.
    recent: f64,
    admitted_at: Option<Instant>,
}

impl Default for HedgeBudget {
    fn default() -> Self {
        Self {
            hedge: Bucket::full(LEAST_CAPACITY),
            last_chance: Bucket::full(LAST_CHANCE_CAPACITY),
            recent: 0.0,
            admitted_at: None,
        }
    }
}

impl HedgeBudget {
    /// An image was admitted under a policy that allows `ratio` hedges per image.
    pub fn admit(&mut self, ratio: f64, now: Instant) {
        let since = self.admitted_at.map(|at| now.saturating_duration_since(at));
        let fading = since.map_or(0.0, |since| (-since.as_secs_f64() / TRAFFIC_SECONDS).exp());
        self.recent = self.recent * fading + 1.0;
        self.admitted_at = Some(now);
        self.hedge.hold(self.recent.max(LEAST_CAPACITY));
        self.hedge.refill(ratio.max(0.0));
        self.last_chance.refill(LAST_CHANCE_RATIO);
    }

    /// Pays for a hedge; `false`: the budget is spent.
    #[must_use]
    pub fn take_hedge(&mut self) -> bool {
        self.hedge.take()
    }

    /// Pays for the attempt without which the verdict would be lost; `false`: spent.
    #[must_use]
    pub fn take_last_chance(&mut self) -> bool {
        self.last_chance.take()
    }
}

/// How long a judge may run alone when the race has `budget` in all: its own `quantile`, at least
/// its median, and not so long that a second judge comes too late.
#[must_use]
pub fn delay(latency: &Latency, quantile: f64, budget: Duration) -> Duration {
    let Some((p50, p95)) = median_and_p95(latency) else { return cold_delay(budget) };
    // in a fault the quantile runs away: the clamp keeps the second judge in time
    let latest = p95.mul_f64(1.5).min(budget.mul_f64(LATEST_SHARE));
    latency.quantile(quantile).unwrap_or(p95).max(p50).min(latest)
}

/// How long before the end of `budget` a judge must start to answer in time, nearly always.
#[must_use]
pub fn lead(latency: &Latency, budget: Duration) -> Duration {
    median_and_p95(latency)
        .map_or_else(|| cold_delay(budget), |(_, p95)| p95.min(budget.mul_f64(LATEST_SHARE)))
}

fn median_and_p95(latency: &Latency) -> Option<(Duration, Duration)> {
    if latency.is_cold() {
        return None;
    }
    latency.quantile(0.50).zip(latency.quantile(0.95))
}

fn cold_delay(budget: Duration) -> Duration {
    COLD_DELAY.min(budget.mul_f64(COLD_SHARE))
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::panel::Expectation;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn expecting(p50: u64, p95: u64) -> Latency {
        Latency::new(Some(Expectation { p50: ms(p50), p95: ms(p95) }))
    }

    fn drained() -> HedgeBudget {
        let mut budget = HedgeBudget::default();
        (0..20).for_each(|_| assert!(budget.take_hedge()));
        budget
    }

    #[test]
    fn a_new_gate_may_hedge_twenty_times() {
        let mut budget = drained();
        assert!(!budget.take_hedge());
    }

    #[test]
    fn ten_images_pay_for_one_hedge() {
        let mut budget = drained();
        let now = Instant::now();
        for image in 0..100 {
            budget.admit(0.1, now);
            assert_eq!(budget.take_hedge(), image % 10 == 9, "image {image}");
        }
    }

    #[test]
    fn the_budget_holds_two_seconds_of_traffic() {
        let mut budget = HedgeBudget::default();
        let start = Instant::now();
        // 100 a second for 30 s, each paying in full: what is saved up is 2 s worth
        (0..3_000).for_each(|image| budget.admit(1.0, start + ms(10 * image)));
        let saved = std::iter::repeat_with(|| budget.take_hedge()).take_while(|&paid| paid).count();
        assert!((195..=205).contains(&saved), "{saved}");
    }

    #[test]
    fn what_was_saved_in_the_rush_is_gone_in_the_calm() {
        let mut budget = HedgeBudget::default();
        let start = Instant::now();
        (0..3_000).for_each(|image| budget.admit(1.0, start + ms(10 * image)));
        budget.admit(1.0, start + ms(300_000));
        let saved = std::iter::repeat_with(|| budget.take_hedge()).take_while(|&paid| paid).count();
        assert_eq!(saved, 20);
    }

    #[test]
    fn the_last_chance_has_a_purse_of_its_own() {
        let mut budget = drained();
        (0..60).for_each(|_| assert!(budget.take_last_chance()));
        assert!(!budget.take_last_chance());
        (0..5).for_each(|_| budget.admit(0.0, Instant::now()));
        assert!(budget.take_last_chance());
        assert!(!budget.take_hedge());
    }

    #[test]
    fn a_judge_without_history_is_given_1500_ms_or_30_percent() {
        let unknown = Latency::new(None);
        assert_eq!(delay(&unknown, 0.95, ms(20_000)), ms(1_500));
        assert_eq!(delay(&unknown, 0.95, ms(3_000)), ms(900));
        assert_eq!(lead(&unknown, ms(3_000)), ms(900));
    }

    #[test]
    fn the_delay_is_the_quantile_of_the_running_judge() {
        let known = expecting(650, 900);
        assert_eq!(delay(&known, 0.95, ms(5_000)), known.quantile(0.95).unwrap());
    }

    #[test]
    fn the_delay_is_at_least_the_median_and_at_most_40_percent() {
        let known = expecting(650, 900);
        assert_eq!(delay(&known, 0.01, ms(5_000)), known.quantile(0.5).unwrap());
        assert_eq!(delay(&known, 0.95, ms(1_000)), ms(400));
    }

    #[test]
    fn a_runaway_quantile_does_not_postpone_the_hedge() {
        let mut hung = expecting(650, 900);
        (0..500).for_each(|_| hung.censor(ms(4_900)));
        assert_eq!(delay(&hung, 0.95, ms(5_000)), ms(2_000));
        assert_eq!(lead(&hung, ms(5_000)), ms(2_000));
    }

    #[test]
    fn a_wild_tail_is_capped_at_one_and_a_half_p95() {
        let mut tailed = Latency::new(None);
        (0..97).for_each(|_| tailed.record(ms(500)));
        (0..3).for_each(|_| tailed.record(ms(30_000)));
        let p95 = tailed.quantile(0.95).unwrap();
        assert_eq!(delay(&tailed, 0.99, ms(60_000)), p95.mul_f64(1.5));
    }
}
