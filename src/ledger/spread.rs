//! A spread counts values by bucket, so that percentiles of any stretch of time can be told from
//! the counts of its parts.
//!
//! Buckets of time are eight to a doubling: 9 % wide, so that a percentile is at most 4.5 % off.
//! As text it is `BUCKET:COUNT;` again and again, and the text of two spreads one behind the other
//! is the spread of both: the store can add them up by itself.

use std::collections::BTreeMap;
use std::fmt;

/// Buckets to a doubling.
const BY_DOUBLING: f64 = 8.0;

/// The last bucket: everything above twenty minutes.
const MAX_BUCKET: u8 = 164;

/// Buckets of scores: twentieths.
pub(crate) const SCORE_BUCKETS: usize = 20;

/// Values counted by bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spread(BTreeMap<u8, u64>);

impl Spread {
    /// Counts a time in milliseconds.
    pub(crate) fn count_ms(&mut self, ms: f64) {
        *self.0.entry(bucket_of_ms(ms)).or_default() += 1;
    }

    /// Counts a score between 0 and 1.
    pub(crate) fn count_score(&mut self, score: f64) {
        *self.0.entry(bucket_of_score(score)).or_default() += 1;
    }

    /// Adds what `text` counts; a part of it that is no count is left out.
    pub(crate) fn add(&mut self, text: &str) {
        let counts = text.split(';').filter_map(|part| {
            let (bucket, count) = part.split_once(':')?;
            Some((bucket.parse::<u8>().ok()?, count.parse::<u64>().ok()?))
        });
        for (bucket, count) in counts {
            *self.0.entry(bucket).or_default() += count;
        }
    }

    /// Values counted.
    #[must_use]
    pub fn n(&self) -> u64 {
        self.0.values().sum()
    }

    /// The time below which a share of the values lies, to the middle of its bucket; `None` of
    /// nothing.
    #[must_use]
    pub fn percentile_ms(&self, share: f64) -> Option<f64> {
        let n = self.n();
        #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
        let rank = (share * n as f64).ceil();
        let mut below = 0_u64;
        self.0.iter().find_map(|(bucket, count)| {
            below += count;
            #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
            let reached = rank <= below as f64;
            reached.then(|| middle_ms(*bucket))
        })
    }

    /// The counts of twentieths, of a spread of scores.
    #[must_use]
    pub fn by_score(&self) -> Vec<u64> {
        let mut bins = vec![0; SCORE_BUCKETS];
        for (bucket, count) in &self.0 {
            if let Some(bin) = bins.get_mut(usize::from(*bucket)) {
                *bin += count;
            }
        }
        bins
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(bucket, count)| write!(f, "{bucket}:{count};"))
    }
}

/// 0 below a millisecond, then eight to a doubling.
fn bucket_of_ms(ms: f64) -> u8 {
    if ms < 1.0 {
        return 0;
    }
    let above = (BY_DOUBLING * ms.log2()).floor().min(f64::from(MAX_BUCKET - 1));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "held above")]
    let above = above as u8;
    above + 1
}

fn middle_ms(bucket: u8) -> f64 {
    if bucket == 0 { 0.5 } else { ((f64::from(bucket) - 0.5) / BY_DOUBLING).exp2() }
}

fn bucket_of_score(score: f64) -> u8 {
    // 0.15 must not fall below its own twentieth for the way it is stored
    let bin = (score.clamp(0.0, 1.0) * 20.0 + 1e-9).floor().min(19.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "held above")]
    let bin = bin as u8;
    bin
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_within_half_a_bucket() {
        let mut spread = Spread::default();
        for ms in 1..=10_000_u32 {
            spread.count_ms(f64::from(ms));
        }
        for (share, true_ms) in [(0.5, 5_000.0), (0.95, 9_500.0), (0.99, 9_900.0)] {
            let told = spread.percentile_ms(share).unwrap();
            assert!((told / true_ms - 1.0_f64).abs() < 0.045, "{share}: {told}");
        }
        assert_eq!(Spread::default().percentile_ms(0.5), None);
    }

    #[test]
    fn the_text_of_two_spreads_is_the_spread_of_both() {
        let (mut one, mut other, mut both) =
            (Spread::default(), Spread::default(), Spread::default());
        for ms in [0.2, 3.0, 640.0, 1e9] {
            one.count_ms(ms);
            both.count_ms(ms);
        }
        for ms in [3.0, 900.0] {
            other.count_ms(ms);
            both.count_ms(ms);
        }
        let mut read = Spread::default();
        read.add(&format!("{one}{other}"));
        assert_eq!(read, both);
        assert_eq!(read.n(), 6);
    }

    #[test]
    fn scores_fall_into_twentieths() {
        let mut spread = Spread::default();
        for score in [0.0, 0.049, 0.05, 0.15, 0.7, 0.95, 1.0] {
            spread.count_score(score);
        }
        let bins = spread.by_score();
        assert_eq!((bins[0], bins[1], bins[3], bins[14], bins[19]), (2, 1, 1, 1, 2));
        assert_eq!(bins.iter().sum::<u64>(), 7);
    }
}
