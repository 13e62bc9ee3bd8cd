//! Pairs of requests: the same image at the same moment, once without shadows and once with.

use serde::Serialize;

use crate::chance::Chance;
use crate::quantile::number;
use crate::quantile::quantile;

/// How often the pairs are drawn anew for an interval.
const DRAWS: u32 = 500;
/// The shares of the draws below and above which the interval ends.
const INTERVAL: [f64; 2] = [0.025, 0.975];

/// A difference and where it may lie, with 95 of 100.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Between {
    pub(super) middle: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

impl Between {
    /// Whether noise and the interval to each side stay within `most`: what is larger would be seen.
    pub(super) fn is_within(self, noise: f64, most: f64) -> bool {
        noise <= most && (self.high - self.low) / 2.0 <= most
    }
}

/// What `figure` differs by between the second and the first of these pairs, by drawing whole pairs
/// anew: what both have in common is in neither. None of none.
pub(super) fn difference(
    pairs: &[(f64, f64)],
    figure: impl Fn(&[f64]) -> Option<f64>,
) -> Option<Between> {
    let of = |pairs: &[(f64, f64)]| {
        let (first, second): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
        Some(figure(&second)? - figure(&first)?)
    };
    let middle = of(pairs)?;
    let mut draws = Vec::new();
    for n in 0..DRAWS {
        let mut word = u64::from(Chance::of(&[b"pairs", &n.to_le_bytes()]).word("draw")) | 1;
        let drawn = pairs.iter().filter_map(|_| pairs.get(next(&mut word, pairs.len()))).copied();
        draws.extend(of(&drawn.collect::<Vec<_>>()));
    }
    let [low, high] = INTERVAL.map(|share| quantile(&draws, share).unwrap_or(middle));
    Some(Between { middle, low, high })
}

/// The mean of some numbers; none of none.
pub(super) fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / number(values.len()))
}

/// A place below `count`, and the state for the next (xorshift: a thousand draws of thousands of
/// pairs are too many for hashes).
fn next(state: &mut u64, count: usize) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    let count = u64::try_from(count.max(1)).unwrap_or(u64::MAX);
    usize::try_from((*state >> 16) % count).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pairs whose common part is wide, with this much on top of the second and little of their
    /// own.
    fn pairs(count: u32, on_top: f64) -> Vec<(f64, f64)> {
        let pair = |n: u32| {
            let chance = Chance::of(&[b"pair", &n.to_le_bytes()]);
            let common = 180.0 * (0.3 * chance.normal("common")).exp();
            (common + chance.unit("first"), common + chance.unit("second") + on_top)
        };
        (0..count).map(pair).collect()
    }

    fn p99(values: &[f64]) -> Option<f64> {
        quantile(values, 0.99)
    }

    #[test]
    fn what_both_have_in_common_is_in_no_difference() {
        let between = difference(&pairs(2_000, 0.0), p99).unwrap();
        assert!(between.low < 0.3 && -0.3 < between.high, "{between:?}");
        assert!(between.high - between.low < 6.0, "{between:?}");
    }

    #[test]
    fn an_answer_that_takes_longer_is_seen() {
        let between = difference(&pairs(2_000, 20.0), p99).unwrap();
        assert!(15.0 < between.low && between.high < 25.0, "{between:?}");
        assert!((between.middle - 20.0).abs() < 2.0, "{between:?}");
    }

    #[test]
    fn of_no_pairs_there_is_no_difference() {
        assert_eq!(difference(&[], p99), None);
        assert_eq!(difference(&[], mean), None);
    }
}
