//! A judge's recent latency: a histogram that forgets slowly and does not forget its losers.
//!
//! Buckets grow by 4 % from 20 ms to 112 s, and a sample weighs half as much 400 samples later, so
//! a change of speed is followed within a few hundred calls and nothing is kept per call. A call
//! that was cancelled is known to be *slower* than its age: it lands past the last bucket.
//! Leaving such calls out would make a judge look faster the more often it is hedged away from.
//!
//! A second histogram forgets five times more slowly and is fed only while the judge is well: its
//! *normal* speed, which a fault cannot drag along.

use std::time::Duration;

use crate::panel::Expectation;

/// Fewer samples than this say nothing.
pub const ENOUGH_SAMPLES: u64 = 20;

/// The weight of an [`Expectation`], in samples.
const EXPECTED_WEIGHT: f32 = 20.0;
const BUCKETS: u16 = 220;
const LOWEST_SECONDS: f64 = 0.02;
const GROWTH: f64 = 1.04;
/// 2^(1/400): each sample weighs this much more than the one before it.
const WEIGHT_GROWTH: f32 = 1.001_734_4;
/// 2^(1/2000): the same for the normal speed.
const NORMAL_WEIGHT_GROWTH: f32 = 1.000_346_6;
/// Weights are scaled down past this, well before `f32` loses its small change.
const HEAVIEST: f32 = 1e6;
/// The most that a whole history weighs where the last sample weighs 1: the normal speed's, which
/// forgets slowest, comes to 2886 = `1 / (1 - 1 / 1.000_346_6)`.
const HEAVIEST_KEPT: f64 = 3_000.0;
/// A cancelled call says something once it is older than this share of answers.
const TELLING_QUANTILE: f64 = 0.90;
/// … and of a judge that never answered, once it is older than this.
const TELLING_AGE: Duration = Duration::from_millis(1_500);

/// A histogram as it is kept over a restart; the next sample weighs 1.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kept {
    /// Weight by bucket, where there is any.
    pub buckets: Vec<(u16, f32)>,
    /// Weight of the calls known only to be slower than their age.
    pub overflow: f32,
    /// Samples taken.
    pub samples: u64,
}

/// How fast a judge has answered of late.
#[derive(Clone, Debug)]
pub struct Latency {
    /// Weight by bucket.
    weights: [f32; BUCKETS as usize],
    /// Weight of the calls known only to be slower than their age, and of absurdly slow ones.
    overflow: f32,
    /// The weight of the next sample.
    next_weight: f32,
    weight_growth: f32,
    /// Samples taken, cancelled ones included.
    samples: u64,
    /// Whether an expectation stands in for the first samples.
    expected: bool,
}

impl Latency {
    /// No history; `expectation` stands in for one until samples outweigh it.
    #[must_use]
    pub fn new(expectation: Option<Expectation>) -> Self {
        Self::growing(WEIGHT_GROWTH, expectation)
    }

    /// The same for the normal speed: it forgets five times more slowly.
    #[must_use]
    pub fn normal(expectation: Option<Expectation>) -> Self {
        Self::growing(NORMAL_WEIGHT_GROWTH, expectation)
    }

    fn growing(weight_growth: f32, expectation: Option<Expectation>) -> Self {
        let mut latency = Self {
            weights: [0.0; BUCKETS as usize],
            overflow: 0.0,
            next_weight: 1.0,
            weight_growth,
            samples: 0,
            expected: expectation.is_some(),
        };
        if let Some(expected) = expectation {
            latency.expect(expected);
        }
        latency
    }

    /// A valid judgement came after `took`.
    pub fn record(&mut self, took: Duration) {
        let position = position(took);
        let weight = self.next_weight;
        match self.weights.get_mut(bucket(position)) {
            Some(slot) => *slot += weight,
            None => self.overflow += weight,
        }
        self.sampled();
    }

    /// A call was dropped at `age` without an answer. Young ones are no evidence.
    pub fn censor(&mut self, age: Duration) {
        // measured by the answers alone: else a judge that hangs long enough is no longer counted
        let answers = self.weight_of_answers();
        let telling_age = self.below_which(TELLING_QUANTILE * answers);
        if telling_age.unwrap_or(TELLING_AGE) <= age {
            self.overflow += self.next_weight;
            self.sampled();
        }
    }

    /// The latency that `share` (0..1) of calls stay under, interpolated within its bucket; the top
    /// of the range where even that many did not answer. `None` without history or expectation.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let total = self.weight_of_answers() + f64::from(self.overflow);
        let told = self.below_which(share.clamp(0.0, 1.0) * total);
        let told = told.unwrap_or_else(|| at_position(f64::from(BUCKETS)));
        (0.0 < total).then_some(told)
    }

    /// The latency that `share` (0..1) of the *answers* stay under: how fast it is where it is not
    /// silent. `None` without an answer or expectation.
    #[must_use]
    pub fn quantile_of_answers(&self, share: f64) -> Option<Duration> {
        let answers = self.weight_of_answers();
        let told = self.below_which(share.clamp(0.0, 1.0) * answers);
        told.filter(|_| 0.0 < answers)
    }

    /// What to keep of it over a restart.
    #[must_use]
    pub fn keep(&self) -> Kept {
        let scale = self.next_weight.recip();
        let telling = (0..).zip(self.weights).filter(|&(_, weight)| 0.0 < weight);
        Kept {
            buckets: telling.map(|(bucket, weight)| (bucket, weight * scale)).collect(),
            overflow: self.overflow * scale,
            samples: self.samples,
        }
    }

    /// Takes up what was kept, in place of an expectation.
    ///
    /// # Errors
    /// What is wrong with it; nothing is changed then.
    pub fn restore(&mut self, kept: &Kept) -> Result<(), String> {
        let is_weight = |weight: f32| (0.0..=HEAVIEST).contains(&weight);
        let mut weights = [0.0; BUCKETS as usize];
        for &(bucket, weight) in &kept.buckets {
            match weights.get_mut(usize::from(bucket)) {
                Some(slot) if is_weight(weight) => *slot = weight,
                Some(_) => return Err(format!("bucket {bucket} weighs {weight}")),
                None => return Err(format!("bucket {bucket} is past the last, {BUCKETS}")),
            }
        }
        if !is_weight(kept.overflow) {
            return Err(format!("the calls without an answer weigh {}", kept.overflow));
        }
        let whole: f64 = weights.iter().chain([&kept.overflow]).copied().map(f64::from).sum();
        if HEAVIEST_KEPT < whole {
            return Err(format!("it weighs {whole}, at most {HEAVIEST_KEPT} can be"));
        }
        let Self { weight_growth, expected, .. } = *self;
        let (overflow, samples) = (kept.overflow, kept.samples);
        *self = Self { weights, overflow, next_weight: 1.0, weight_growth, samples, expected };
        Ok(())
    }

    /// Whether there is neither an expectation nor enough history.
    #[must_use]
    pub fn is_cold(&self) -> bool {
        !self.expected && self.samples < ENOUGH_SAMPLES
    }

    /// Whether somebody said how fast it is.
    #[must_use]
    pub fn is_expected(&self) -> bool {
        self.expected
    }

    /// Samples taken, those of cancelled calls included, an expectation's not.
    #[must_use]
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// The latency that calls of this `weight` stay under; `None`: not so many answered.
    fn below_which(&self, weight: f64) -> Option<Duration> {
        let mut below = 0.0;
        let mut edge = 0.0; // the bucket's lower edge as a power of GROWTH
        for bucket in self.weights.iter().copied().map(f64::from) {
            if 0.0 < bucket && weight <= below + bucket {
                return Some(at_position(edge + ((weight - below) / bucket).clamp(0.0, 1.0)));
            }
            below += bucket;
            edge += 1.0;
        }
        None
    }

    fn weight_of_answers(&self) -> f64 {
        self.weights.iter().copied().map(f64::from).sum()
    }

    fn sampled(&mut self) {
        self.samples = self.samples.saturating_add(1);
        self.next_weight *= self.weight_growth;
        if HEAVIEST < self.next_weight {
            let scale = self.next_weight.recip();
            self.weights.iter_mut().for_each(|weight| *weight *= scale);
            self.overflow *= scale;
            self.next_weight = 1.0;
        }
    }

    /// Lays out `expected` so that its two quantiles come out as stated, and mirrors the stretch
    /// between them below the median and above the p95.
    fn expect(&mut self, expected: Expectation) {
        let p50 = position(expected.p50);
        let p95 = position(expected.p95).max(p50);
        let stretch = p95 - p50;
        self.spread(p50 - stretch, p50, 0.50 * EXPECTED_WEIGHT);
        self.spread(p50, p95, 0.45 * EXPECTED_WEIGHT);
        self.spread(p95, p95 + stretch, 0.05 * EXPECTED_WEIGHT);
    }

    /// Spreads `weight` evenly over the positions from `low` to `high`.
    fn spread(&mut self, low: f64, high: f64, weight: f32) {
        const PARTS: u16 = 64;
        for part in 0..PARTS {
            let share = (f64::from(part) + 0.5) / f64::from(PARTS);
            let portion = weight / f32::from(PARTS);
            match self.weights.get_mut(bucket(low + share * (high - low))) {
                Some(slot) => *slot += portion,
                None => self.overflow += portion,
            }
        }
    }
}

/// Where `took` lies, in buckets from the lowest edge.
fn position(took: Duration) -> f64 {
    (took.as_secs_f64().max(LOWEST_SECONDS) / LOWEST_SECONDS).ln() / GROWTH.ln()
}

fn at_position(position: f64) -> Duration {
    Duration::from_secs_f64(LOWEST_SECONDS * GROWTH.powf(position))
}

/// The bucket at `position`; `BUCKETS` means past the last one.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=220")]
fn bucket(position: f64) -> usize {
    position.clamp(0.0, f64::from(BUCKETS)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn quantile_ms(latency: &Latency, share: f64) -> f64 {
        latency.quantile(share).unwrap().as_secs_f64() * 1e3
    }

    fn of(samples: &[u32]) -> Latency {
        let mut latency = Latency::new(None);
        samples.iter().for_each(|&millis| latency.record(ms(u64::from(millis))));
        latency
    }

    /// The weighted quantile by sorting.
    fn exact_ms(samples: &[u32], share: f64) -> f64 {
        let mut weight = 1.0;
        let mut weighted: Vec<(u32, f64)> = Vec::new();
        for &millis in samples {
            weighted.push((millis, weight));
            weight *= f64::from(WEIGHT_GROWTH);
        }
        weighted.sort_by_key(|&(millis, _)| millis);
        let total: f64 = weighted.iter().map(|&(_, weight)| weight).sum();
        let mut below = 0.0;
        let reached = weighted.iter().find(|(_, weight)| {
            below += weight;
            share * total <= below
        });
        f64::from(reached.or(weighted.last()).unwrap().0)
    }

    #[test]
    fn no_history_has_no_quantile_and_is_cold() {
        let latency = Latency::new(None);
        assert_eq!(latency.quantile(0.5), None);
        assert!(latency.is_cold());
    }

    #[test]
    fn twenty_samples_are_enough() {
        assert!(of(&[600; 19]).is_cold());
        assert!(!of(&[600; 20]).is_cold());
    }

    #[test]
    fn an_expectation_comes_out_as_it_was_stated() {
        let latency = Latency::new(Some(Expectation { p50: ms(650), p95: ms(900) }));
        assert!(!latency.is_cold());
        assert_eq!(latency.samples(), 0);
        assert!((quantile_ms(&latency, 0.50) / 650.0 - 1.0).abs() < 0.04);
        assert!((quantile_ms(&latency, 0.95) / 900.0 - 1.0).abs() < 0.04);
    }

    #[test]
    fn samples_outweigh_a_wrong_expectation() {
        let mut latency = Latency::new(Some(Expectation { p50: ms(5_000), p95: ms(9_000) }));
        (0..400).for_each(|_| latency.record(ms(500)));
        assert!((quantile_ms(&latency, 0.50) / 500.0 - 1.0).abs() < 0.04);
        assert!((quantile_ms(&latency, 0.90) / 500.0 - 1.0).abs() < 0.05);
    }

    #[test]
    fn an_expectation_without_spread_is_one_point() {
        let latency = Latency::new(Some(Expectation { p50: ms(700), p95: ms(700) }));
        assert!((quantile_ms(&latency, 0.05) / 700.0 - 1.0).abs() < 0.04);
        assert!((quantile_ms(&latency, 0.95) / 700.0 - 1.0).abs() < 0.04);
    }

    #[test]
    fn a_step_in_speed_is_followed_within_a_few_hundred_samples() {
        let mut latency = of(&[600; 4_000]);
        (0..900).for_each(|_| latency.record(ms(900)));
        assert!(quantile_ms(&latency, 0.50) > 860.0);
    }

    #[test]
    fn weights_are_scaled_without_a_trace() {
        // past several rescalings (one in about 8000 samples)
        let latency = of(&[600; 30_000]);
        assert!((quantile_ms(&latency, 0.50) / 600.0 - 1.0).abs() < 0.04);
        assert!(latency.next_weight <= HEAVIEST);
    }

    #[test]
    fn a_judge_that_never_answers_is_as_slow_as_can_be_told() {
        let mut latency = Latency::new(None);
        (0..30).for_each(|_| latency.censor(ms(4_900)));
        assert!(quantile_ms(&latency, 0.05) > 100_000.0);
    }

    #[test]
    fn a_judge_that_starts_to_hang_is_counted_as_long_as_it_hangs() {
        let mut latency = of(&[600; 100]);
        (0..300).for_each(|_| latency.censor(ms(4_900)));
        assert_eq!(latency.samples(), 400);
        assert!(quantile_ms(&latency, 0.50) > 100_000.0);
    }

    #[test]
    fn a_young_cancelled_call_is_no_evidence() {
        let mut latency = of(&[600; 100]);
        latency.censor(ms(100));
        assert_eq!(latency.samples(), 100);
        let mut unknown = Latency::new(None);
        unknown.censor(ms(1_499));
        assert_eq!(unknown.samples(), 0);
    }

    #[test]
    fn losers_left_out_would_make_the_judge_look_faster() {
        // 1 call in 10 hangs and is cancelled at 1 s: the p95 must say "slower than that"
        let (mut kept, mut dropped) = (Latency::new(None), Latency::new(None));
        for call in 0..600 {
            if call % 10 == 9 {
                kept.censor(ms(1_000));
            } else {
                kept.record(ms(500 + call % 7 * 20));
                dropped.record(ms(500 + call % 7 * 20));
            }
        }
        assert!(quantile_ms(&dropped, 0.95) < 650.0);
        assert!(quantile_ms(&kept, 0.95) > 1_000.0);
    }

    #[test]
    fn the_normal_speed_forgets_five_times_more_slowly() {
        let mut normal = Latency::normal(None);
        (0..10_000).for_each(|_| normal.record(ms(600)));
        (0..900).for_each(|_| normal.record(ms(900)));
        assert!(quantile_ms(&normal, 0.50) < 620.0);
        (0..3_000).for_each(|_| normal.record(ms(900)));
        assert!(quantile_ms(&normal, 0.50) > 860.0);
    }

    #[test]
    fn the_speed_of_answers_knows_nothing_of_silence() {
        let mut latency = of(&[600; 100]);
        (0..100).for_each(|_| latency.censor(ms(4_900)));
        let answers = latency.quantile_of_answers(0.95).unwrap();
        assert!((answers.as_secs_f64() * 1e3 / 600.0 - 1.0).abs() < 0.04);
        assert_eq!(Latency::new(None).quantile_of_answers(0.95), None);
    }

    #[test]
    fn damaged_history_changes_nothing() {
        let mut latency = of(&[600; 40]);
        let damaged = [
            Kept { buckets: vec![(220, 1.0)], ..Kept::default() },
            Kept { buckets: vec![(3, -1.0)], ..Kept::default() },
            Kept { buckets: vec![(3, f32::NAN)], ..Kept::default() },
            Kept { overflow: f32::INFINITY, ..Kept::default() },
            // it would take ten thousand images to outweigh this
            Kept { buckets: vec![(3, 9e5)], samples: 80, ..Kept::default() },
        ];
        for kept in damaged {
            assert!(latency.restore(&kept).is_err(), "{kept:?}");
        }
        assert_eq!(latency.samples(), 40);
        assert!((quantile_ms(&latency, 0.5) / 600.0 - 1.0).abs() < 0.04);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn what_is_kept_is_told_alike_afterwards(
            events in prop::collection::vec((any::<bool>(), 20_u64..200_000), 1..300),
            later in prop::collection::vec(20_u64..5_000, 0..50),
            share in 0.01..0.99_f64,
        ) {
            let mut before = Latency::new(None);
            for (answered, millis) in events {
                if answered { before.record(ms(millis)) } else { before.censor(ms(millis)) }
            }
            let mut after = Latency::new(None);
            prop_assert_eq!(after.restore(&before.keep()), Ok(()));
            for millis in later {
                before.record(ms(millis));
                after.record(ms(millis));
            }
            prop_assert_eq!(before.samples(), after.samples());
            if let (Some(one), Some(other)) = (before.quantile(share), after.quantile(share)) {
                // f32 rounding may move a target over a gap between two samples
                let near = [share - 1e-4, share + 1e-4].map(|share| before.quantile(share).unwrap());
                let alike = one.mul_f64(0.999) <= other && other <= one.mul_f64(1.001);
                let between = near[0].mul_f64(0.999) <= other && other <= near[1].mul_f64(1.001);
                prop_assert!(alike || between, "{one:?} became {other:?}");
            }
        }

        #[test]
        fn a_quantile_is_within_4_percent_of_the_exact_one(
            samples in prop::collection::vec(20_u32..100_000, 1..600),
            share in 0.01..0.99_f64,
        ) {
            let told = quantile_ms(&of(&samples), share);
            // a hair of slack in rank, for a target that falls between two samples
            let low = exact_ms(&samples, share - 1e-4) / 1.0401;
            let high = exact_ms(&samples, share + 1e-4) * 1.0401;
            prop_assert!(low <= told && told <= high, "{low} <= {told} <= {high}");
        }

        #[test]
        fn quantiles_are_finite_ordered_and_in_range(
            events in prop::collection::vec((any::<bool>(), 0_u64..400_000), 0..300),
            shares in prop::collection::vec(-0.5..1.5_f64, 2),
            expectation in prop::option::of((0_u64..200_000, 0_u64..200_000)),
        ) {
            let expectation =
                expectation.map(|(p50, p95)| Expectation { p50: ms(p50), p95: ms(p95) });
            let mut latency = Latency::new(expectation);
            for (answered, millis) in events {
                if answered { latency.record(ms(millis)) } else { latency.censor(ms(millis)) }
            }
            let (low, high) = (shares[0].min(shares[1]), shares[0].max(shares[1]));
            if let (Some(low), Some(high)) = (latency.quantile(low), latency.quantile(high)) {
                prop_assert!(low <= high);
                prop_assert!(ms(19) < low && high < Duration::from_secs(113));
            }
        }

        #[test]
        fn a_loser_never_lowers_a_quantile(
            samples in prop::collection::vec(20_u32..5_000, 1..200),
            age in 0_u64..10_000,
            share in 0.0..1.0_f64,
        ) {
            let mut latency = of(&samples);
            let before = latency.quantile(share).unwrap();
            latency.censor(ms(age));
            // f32 weights, f64 sums: equal up to rounding
            prop_assert!(before.mul_f64(1.0 - 1e-6) <= latency.quantile(share).unwrap());
        }
    }
}
