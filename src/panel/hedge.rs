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
const PROBE_RATIO: f64 = 0.05;
const PROBE_CAPACITY: f64 = 5.0;
/// The only judge's fast failures cost next to nothing, and with four failures in ten an image needs
/// 0.66 repetitions. This bounds what an outage adds: one call an image.
const REPEAT_RATIO: f64 = 1.0;
const REPEAT_CAPACITY: f64 = 60.0;
/// A judge without history is hedged after this at the latest.
const COLD_DELAY: Duration = Duration::from_millis(1_500);
const COLD_SHARE: f64 = 0.3;
const LATEST_SHARE: f64 = 0.4;
const LATEST_STRIKE_SHARE: f64 = 0.9;
/// As many samples tell a p95 …
const NORMAL_SAMPLES: u64 = 80;
/// … and fewer than these nothing.
const TELLING_SAMPLES: u64 = 30;

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

/// What an attempt that the image could do without is paid from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purse {
    /// Beside a slow judge.
    Hedge,
    /// Without it the verdict is lost.
    LastChance,
    /// Of a judge whose probes fail.
    Probe,
    /// Of the only judge once more, after it failed.
    Repeat,
}

impl Purse {
    /// Every purse.
    pub const ALL: [Self; 4] = [Self::Hedge, Self::LastChance, Self::Probe, Self::Repeat];

    /// The word used in metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Hedge => "hedge",
            Self::LastChance => "last_chance",
            Self::Probe => "probe",
            Self::Repeat => "repeat",
        }
    }
}

/// What pays for attempts beside a running one, over all images.
#[derive(Clone, Debug)]
pub struct Budgets {
    hedge: Bucket,
    last_chance: Bucket,
    probe: Bucket,
    repeat: Bucket,
    /// Images of the last two seconds, older ones fading out.
    recent: f64,
    admitted_at: Option<Instant>,
}

impl Default for Budgets {
    fn default() -> Self {
        Self {
            hedge: Bucket::full(LEAST_CAPACITY),
            last_chance: Bucket::full(LAST_CHANCE_CAPACITY),
            probe: Bucket::full(PROBE_CAPACITY),
            repeat: Bucket::full(REPEAT_CAPACITY),
            recent: 0.0,
            admitted_at: None,
        }
    }
}

impl Budgets {
    /// An image was admitted under a policy that allows `hedges` per image; `None`: it never hedges.
    pub fn admit(&mut self, hedges: Option<f64>, now: Instant) {
        self.probe.refill(PROBE_RATIO);
        self.repeat.refill(REPEAT_RATIO);
        let Some(ratio) = hedges else { return };
        let since = self.admitted_at.map(|at| now.saturating_duration_since(at));
        let fading = since.map_or(0.0, |since| (-since.as_secs_f64() / TRAFFIC_SECONDS).exp());
        self.recent = self.recent * fading + 1.0;
        self.admitted_at = Some(now);
        self.hedge.hold(self.recent.max(LEAST_CAPACITY));
        self.hedge.refill(ratio.max(0.0));
        self.last_chance.refill(LAST_CHANCE_RATIO);
    }

    /// Pays for one attempt; `false`: the purse is empty.
    #[must_use]
    pub fn take(&mut self, purse: Purse) -> bool {
        match purse {
            Purse::Hedge => self.hedge.take(),
            Purse::LastChance => self.last_chance.take(),
            Purse::Probe => self.probe.take(),
            Purse::Repeat => self.repeat.take(),
        }
    }

    /// What is left in `purse`, in attempts.
    #[must_use]
    pub fn left(&self, purse: Purse) -> f64 {
        let Self { hedge, last_chance, probe, repeat, .. } = self;
        match purse {
            Purse::Hedge => hedge.tokens,
            Purse::LastChance => last_chance.tokens,
            Purse::Probe => probe.tokens,
            Purse::Repeat => repeat.tokens,
        }
    }
}

/// How long a judge may run alone when the race has `budget` in all: its own recent `quantile`, at
/// least its median, and not so long that a second judge comes too late.
#[must_use]
pub fn delay(latency: &Latency, normal: &Latency, quantile: f64, budget: Duration) -> Duration {
    let Some((p50, p95)) = median_and_p95(latency) else { return cold_delay(budget) };
    // in a fault the recent quantile runs away: the normal one keeps the second judge in time
    let latest = normal_p95(normal, budget).mul_f64(1.5).min(budget.mul_f64(LATEST_SHARE));
    latency.quantile(quantile).unwrap_or(p95).max(p50).min(latest)
}

/// How long before the end of `budget` a judge must start to answer in time, nearly always.
#[must_use]
pub fn lead(latency: &Latency, budget: Duration) -> Duration {
    median_and_p95(latency)
        .map_or_else(|| cold_delay(budget), |(_, p95)| p95.min(budget.mul_f64(LATEST_SHARE)))
}

/// The p95 of a judge that is well. Until there are enough samples for one (judges further back see
/// little but hedges) it is not taken to be less than what is assumed of a judge without history.
#[must_use]
pub fn normal_p95(normal: &Latency, budget: Duration) -> Duration {
    let assumed = assumed_p95(budget);
    match normal.quantile(0.95) {
        Some(p95) if NORMAL_SAMPLES <= normal.samples() || normal.is_expected() => p95,
        Some(p95) if is_telling(normal) => p95.max(assumed),
        Some(_) | None => assumed,
    }
}

/// Whether `normal` says anything of how fast its judge is.
#[must_use]
pub fn is_telling(normal: &Latency) -> bool {
    is_learnt(normal) || normal.is_expected()
}

/// Whether that was seen, and not only said.
#[must_use]
pub fn is_learnt(normal: &Latency) -> bool {
    TELLING_SAMPLES <= normal.samples()
}

/// The age at which a call is evidence against its judge, under a policy that gives `budget`.
///
/// A judge that is slow by nature is not ill. So what is known of it is held to the end of the budget
/// only; and while nothing is known nothing but that end is held against it.
#[must_use]
pub fn strike_age(normal: &Latency, multiple: f64, budget: Duration) -> Duration {
    let latest = latest_strike_age(budget);
    if is_telling(normal) {
        normal_p95(normal, budget).mul_f64(multiple).min(latest)
    } else {
        latest
    }
}

/// No call strikes later: the race would be over.
#[must_use]
pub fn latest_strike_age(budget: Duration) -> Duration {
    budget.mul_f64(LATEST_STRIKE_SHARE)
}

/// The age at which a call strikes of which nothing but an assumption is known.
#[must_use]
pub fn assumed_strike_age(multiple: f64, budget: Duration) -> Duration {
    assumed_p95(budget).mul_f64(multiple).min(budget.mul_f64(LATEST_SHARE))
}

fn assumed_p95(budget: Duration) -> Duration {
    COLD_DELAY.min(budget.mul_f64(LATEST_SHARE))
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

    use proptest::prelude::*;

    use crate::panel::Expectation;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn expecting(p50: u64, p95: u64) -> Latency {
        Latency::new(Some(Expectation { p50: ms(p50), p95: ms(p95) }))
    }

    fn drained() -> Budgets {
        let mut budget = Budgets::default();
        (0..20).for_each(|_| assert!(budget.take(Purse::Hedge)));
        budget
    }

    #[test]
    fn a_new_gate_may_hedge_twenty_times() {
        let mut budget = drained();
        assert!(!budget.take(Purse::Hedge));
    }

    #[test]
    fn ten_images_pay_for_one_hedge() {
        let mut budget = drained();
        let now = Instant::now();
        for image in 0..100 {
            budget.admit(Some(0.1), now);
            assert_eq!(budget.take(Purse::Hedge), image % 10 == 9, "image {image}");
        }
    }

    #[test]
    fn the_budget_holds_two_seconds_of_traffic() {
        let mut budget = Budgets::default();
        let start = Instant::now();
        // 100 a second for 30 s, each paying in full: what is saved up is 2 s worth
        (0..3_000).for_each(|image| budget.admit(Some(1.0), start + ms(10 * image)));
        let saved =
            std::iter::repeat_with(|| budget.take(Purse::Hedge)).take_while(|&paid| paid).count();
        assert!((195..=205).contains(&saved), "{saved}");
    }

    #[test]
    fn what_was_saved_in_the_rush_is_gone_in_the_calm() {
        let mut budget = Budgets::default();
        let start = Instant::now();
        (0..3_000).for_each(|image| budget.admit(Some(1.0), start + ms(10 * image)));
        budget.admit(Some(1.0), start + ms(300_000));
        let saved =
            std::iter::repeat_with(|| budget.take(Purse::Hedge)).take_while(|&paid| paid).count();
        assert_eq!(saved, 20);
    }

    #[test]
    fn the_last_chance_has_a_purse_of_its_own() {
        let mut budget = drained();
        (0..60).for_each(|_| assert!(budget.take(Purse::LastChance)));
        assert!(!budget.take(Purse::LastChance));
        (0..5).for_each(|_| budget.admit(Some(0.0), Instant::now()));
        assert!(budget.take(Purse::LastChance));
        assert!(!budget.take(Purse::Hedge));
    }

    #[test]
    fn a_judge_without_history_is_given_1500_ms_or_30_percent() {
        let unknown = Latency::new(None);
        assert_eq!(delay(&unknown, &unknown, 0.95, ms(20_000)), ms(1_500));
        assert_eq!(delay(&unknown, &unknown, 0.95, ms(3_000)), ms(900));
        assert_eq!(lead(&unknown, ms(3_000)), ms(900));
    }

    #[test]
    fn the_delay_is_the_quantile_of_the_running_judge() {
        let (known, normal) = (expecting(650, 900), expecting(650, 900));
        assert_eq!(delay(&known, &normal, 0.95, ms(5_000)), known.quantile(0.95).unwrap());
    }

    #[test]
    fn the_delay_is_at_least_the_median_and_at_most_40_percent() {
        let (known, normal) = (expecting(650, 900), expecting(650, 900));
        assert_eq!(delay(&known, &normal, 0.01, ms(5_000)), known.quantile(0.5).unwrap());
        assert_eq!(delay(&known, &normal, 0.95, ms(1_000)), ms(400));
    }

    #[test]
    fn a_runaway_quantile_does_not_postpone_the_hedge() {
        let (mut hung, normal) = (expecting(650, 900), expecting(650, 900));
        (0..500).for_each(|_| hung.censor(ms(4_900)));
        let latest = normal.quantile(0.95).unwrap().mul_f64(1.5);
        assert_eq!(delay(&hung, &normal, 0.95, ms(5_000)), latest);
        assert_eq!(delay(&hung, &Latency::normal(None), 0.95, ms(5_000)), ms(2_000));
        assert_eq!(lead(&hung, ms(5_000)), ms(2_000));
    }

    #[test]
    fn few_samples_do_not_tell_a_fast_judge() {
        let of = |samples: usize, took_ms: u64| {
            let mut normal = Latency::normal(None);
            (0..samples).for_each(|_| normal.record(ms(took_ms)));
            normal
        };
        let told = |normal: &Latency| normal_p95(normal, ms(5_000)).as_millis();
        assert_eq!((told(&of(29, 200)), told(&of(79, 200))), (1_500, 1_500));
        assert!((190..=210).contains(&told(&of(80, 200))));
        // but they tell a slow one
        assert_eq!(told(&of(29, 3_000)), 1_500);
        assert!((2_900..=3_100).contains(&told(&of(30, 3_000))));
    }

    #[test]
    fn a_call_strikes_at_a_quarter_over_the_normal_p95() {
        let normal = expecting(650, 900);
        let p95 = normal.quantile(0.95).unwrap();
        assert_eq!(strike_age(&normal, 1.25, ms(5_000)), p95.mul_f64(1.25));
        assert_eq!(assumed_strike_age(1.25, ms(5_000)), ms(1_875));
        assert_eq!(assumed_strike_age(1.25, ms(3_000)), ms(1_200));
    }

    #[test]
    fn of_a_judge_of_unknown_speed_only_the_end_of_the_budget_is_late() {
        let of = |samples: usize, took_ms: u64| {
            let mut normal = Latency::normal(None);
            (0..samples).for_each(|_| normal.record(ms(took_ms)));
            strike_age(&normal, 1.25, ms(5_000))
        };
        assert_eq!((of(0, 0), of(29, 300)), (ms(4_500), ms(4_500)));
        assert_eq!(of(30, 300), ms(1_875), "few samples do not tell a fast judge");
        assert!((ms(2_900)..ms(3_150)).contains(&of(30, 2_400)), "but a slow one");
    }

    #[test]
    fn a_judge_that_is_slow_by_nature_does_not_strike_at_its_usual_age() {
        let slow = expecting(2_400, 3_400);
        let p95 = slow.quantile(0.95).unwrap();
        assert!(p95 < strike_age(&slow, 1.25, ms(5_000)));
        assert!(strike_age(&slow, 1.25, ms(2_000)) < ms(2_000), "the race would be over");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn no_purse_pays_for_more_than_images_put_in(
            ratio in 0.0..1.0_f64,
            events in prop::collection::vec((any::<bool>(), 0_usize..4, 0_u64..500), 0..600),
        ) {
            let (mut budgets, mut now) = (Budgets::default(), Instant::now());
            let (mut images, mut paid) = (0.0, [0.0; 4]);
            for (admitted, purse, wait_ms) in events {
                now += ms(wait_ms);
                if admitted {
                    images += 1.0;
                    budgets.admit(Some(ratio), now);
                } else if budgets.take(Purse::ALL[purse]) {
                    paid[purse] += 1.0;
                }
            }
            let most = [(ratio, 20.0), (0.2, 60.0), (0.05, 5.0), (1.0, 60.0)];
            for (purse, (ratio, capacity)) in most.into_iter().enumerate() {
                prop_assert!(paid[purse] <= capacity + ratio * images + 1e-6, "{purse}");
            }
        }

        #[test]
        fn a_hedge_never_comes_before_the_median_nor_too_late_for_an_answer(
            expected in prop::option::of((1_u64..4_000, 1.0..4.0_f64)),
            calls in prop::collection::vec((any::<bool>(), 1_u64..40_000), 0..200),
            quantile in 0.5..0.999_f64,
            budget_ms in 300_u64..20_000,
        ) {
            let expected = expected.map(|(p50_ms, spread)| {
                Expectation { p50: ms(p50_ms), p95: ms(p50_ms).mul_f64(spread) }
            });
            let (mut recent, mut normal) = (Latency::new(expected), Latency::normal(expected));
            for (is_answer, took_ms) in calls {
                if is_answer {
                    recent.record(ms(took_ms));
                    normal.record(ms(took_ms));
                } else {
                    recent.censor(ms(took_ms));
                }
            }
            let budget = ms(budget_ms);
            let (delay, lead) = (delay(&recent, &normal, quantile, budget), lead(&recent, budget));
            let latest = budget.mul_f64(LATEST_SHARE);
            prop_assert!(delay <= latest && lead <= latest, "{delay:?}, {lead:?} of {budget:?}");
            let earliest = median_and_p95(&recent)
                .map_or(cold_delay(budget), |(p50, _)| p50)
                .min(latest)
                .min(normal_p95(&normal, budget).mul_f64(1.5));
            prop_assert!(earliest <= delay, "{delay:?} is before {earliest:?}");
        }
    }

    #[test]
    fn a_wild_tail_is_capped_at_one_and_a_half_normal_p95() {
        let (mut tailed, mut normal) = (Latency::new(None), Latency::normal(None));
        (0..194).for_each(|_| tailed.record(ms(500)));
        (0..6).for_each(|_| tailed.record(ms(30_000)));
        (0..200).for_each(|_| normal.record(ms(500)));
        let p95 = normal.quantile(0.95).unwrap();
        assert_eq!(delay(&tailed, &normal, 0.99, ms(60_000)), p95.mul_f64(1.5));
    }
}
