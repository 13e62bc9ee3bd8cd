//! Chance is what looks random about a world and is not: numbers that follow from a seed.

use std::f64::consts::TAU;

/// The odd constant that spreads consecutive seeds (2^64 over the golden ratio).
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// A row of numbers that follows from what it is about.
#[derive(Clone, Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    /// The row about `parts`, in this order.
    pub(crate) fn of(parts: &[u64]) -> Self {
        parts.iter().fold(Self(0), |mut row, part| {
            row.0 ^= part.wrapping_mul(STEP);
            Self(row.word())
        })
    }

    /// The next from [0, 1).
    pub(crate) fn unit(&mut self) -> f64 {
        let high = u32::try_from(self.word() >> 32).unwrap();
        f64::from(high) / (f64::from(u32::MAX) + 1.0)
    }

    /// The next from the standard normal distribution (Box-Muller).
    pub(crate) fn normal(&mut self) -> f64 {
        let radius = (1.0 - self.unit()).ln();
        (-2.0 * radius).sqrt() * (TAU * self.unit()).cos()
    }

    /// The next time until something that happens `per_second` on average, in seconds.
    pub(crate) fn pause(&mut self, per_second: f64) -> f64 {
        -(1.0 - self.unit()).ln() / per_second
    }

    /// splitmix64: the next word.
    fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

#[test]
fn the_same_parts_draw_the_same_and_others_draw_otherwise() {
    let row = |parts: &[u64]| {
        let mut chance = Chance::of(parts);
        [chance.unit(), chance.unit(), chance.normal()]
    };
    assert_eq!(row(&[1, 2, 3]).map(f64::to_bits), row(&[1, 2, 3]).map(f64::to_bits));
    assert_ne!(row(&[1, 2, 3]).map(f64::to_bits), row(&[1, 3, 2]).map(f64::to_bits));
}

#[test]
fn the_draws_have_the_mean_and_spread_of_their_laws() {
    let mut chance = Chance::of(&[7]);
    let mean = |draws: &mut dyn FnMut() -> f64| (0..20_000).map(|_| draws()).sum::<f64>() / 2e4;
    assert!((mean(&mut || chance.unit()) - 0.5).abs() < 0.01);
    assert!((mean(&mut || chance.normal().powi(2)) - 1.0).abs() < 0.05);
    assert!((mean(&mut || chance.pause(40.0)) - 0.025).abs() < 0.001);
}
