//! A quantile is the value that a share of the observations do not exceed, by the nearest rank.
//!
//! Nothing is interpolated: every figure in a report is a latency that somebody waited.

/// The `share` quantile of these numbers in any order; none of none.
#[must_use]
pub fn quantile(values: &[f64], share: f64) -> Option<f64> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(rank(sorted.len(), share)).copied()
}

/// The place of the `share` quantile among `count` sorted numbers.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a count of observations, which a float holds exactly, times 0..1"
)]
fn rank(count: usize, share: f64) -> usize {
    let rank = (count as f64 * share.clamp(0.0, 1.0)).ceil() as usize;
    rank.saturating_sub(1)
}

/// A count as a number to compute with.
#[expect(clippy::cast_precision_loss, reason = "counts of a load test are far below 2^53")]
pub(crate) const fn number(count: usize) -> f64 {
    count as f64
}

/// `part` of `whole`; none of nothing.
pub(crate) fn share(part: usize, whole: usize) -> Option<f64> {
    (whole != 0).then(|| number(part) / number(whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_rank_is_an_observation() {
        let hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(quantile(&hundred, 0.95), Some(95.0));
        assert_eq!(quantile(&hundred, 0.99), Some(99.0));
        assert_eq!(quantile(&hundred, 0.0), Some(1.0));
        assert_eq!(quantile(&hundred, 1.0), Some(100.0));
        assert_eq!(quantile(&[7.0], 0.5), Some(7.0));
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn a_share_of_nothing_is_no_number() {
        assert_eq!(share(0, 0), None);
        assert_eq!(share(1, 4), Some(0.25));
    }
}
