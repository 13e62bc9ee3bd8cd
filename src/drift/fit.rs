//! A fit is a judge's calibration, and what one must know before it is put to use.
//!
//! That is how far the judges agree now, what the offset leaves on images it was not fitted on, and
//! whether it mends more than it blurs.
//!
//! In the pairs it was fitted on an offset leaves nothing over, whatever it is worth: the quantile is
//! drawn there. So it is fitted once more on the earlier half, and measured on the later one, which
//! is also how it will be used. Cross-fitting over folds would not do: what one fold's line is off by
//! is what the others' are off by in the other direction, and their mean is next to nothing again.

use serde::{Deserialize, Serialize};

use crate::drift::agreement::{Agreement, Square, agreement};
use crate::drift::interval::{Estimate, Tally, Z95, real};
use crate::drift::threshold::{CalibrationPair, Line, MIN_PAIRS, Offset, calibrate};

/// One image that both judges judged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// Whether the primary rejects it.
    pub primary_rejects: bool,
    /// Whether the judge rejects it, as it is held to its line today.
    pub rejects: bool,
    /// The judge's smallest margin, no offset added.
    pub margin: f64,
    /// The image's lot, 0..1.
    pub lot: f64,
}

/// Whether an offset may be put to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Enough pairs, and it mends more than it is uncertain by.
    Usable,
    /// So many pairs are missing.
    TooFew(u64),
    /// The judges reject alike as far as the pairs can tell: nothing to mend.
    NoDifference,
    /// The standard error of what it leaves is more than half of what it mends.
    TooUnsure,
}

/// One judge, calibrated to the primary.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// What the primary says of the images.
    pub primary: Tally,
    /// What the judge says of them today.
    pub judge: Tally,
    /// How far they agree today: the judge first.
    pub agreement: Agreement,
    /// Reject rate of the judge less the primary's, today, paired.
    pub present: Estimate,
    /// The offset, from no offset at all.
    pub offset: Offset,
    /// What it leaves in these pairs: nothing, with the error that other images bring.
    pub residual: Estimate,
    /// What an offset fitted on the earlier half leaves on the later one; the error of both is in it.
    /// None where a half is empty.
    pub held_out: Option<Estimate>,
    /// Whether the offset may be put to use.
    pub verdict: Verdict,
}

/// Fits one judge to `pairs`, the earliest first; fewer than `least` of them are too few, and never
/// fewer than [`MIN_PAIRS`] suffice. None of no pairs.
#[must_use]
pub fn fit(pairs: &[Pair], least: u64) -> Option<Fit> {
    let (mut primary, mut judge, mut square) =
        (Tally::default(), Tally::default(), Square::default());
    for pair in pairs {
        primary.count(pair.primary_rejects);
        judge.count(pair.rejects);
        *match (pair.rejects, pair.primary_rejects) {
            (true, true) => &mut square.both,
            (true, false) => &mut square.first_only,
            (false, true) => &mut square.second_only,
            (false, false) => &mut square.neither,
        } += 1;
    }
    let agreement = agreement(square)?;
    let calibration = calibrate(&of(pairs))?;
    let (present, residual) = (agreement.difference, calibration.residual);
    let least = least.max(MIN_PAIRS);
    let verdict = if primary.n < least {
        Verdict::TooFew(least - primary.n)
    } else if present.effect.abs() <= Z95 * present.se {
        Verdict::NoDifference
    } else if residual.se <= 0.5 * present.effect.abs() {
        Verdict::Usable
    } else {
        Verdict::TooUnsure
    };
    Some(Fit {
        primary,
        judge,
        agreement,
        present,
        offset: calibration.offset,
        residual,
        held_out: held_out(pairs),
        verdict,
    })
}

/// What an offset fitted on the earlier half of `pairs` leaves on the later one: the judge's reject
/// rate less the primary's, ties settled by each image's lot as in service.
#[must_use]
pub fn held_out(pairs: &[Pair]) -> Option<Estimate> {
    let (earlier, later) = pairs.split_at_checked(pairs.len() / 2)?;
    let fitted = calibrate(&of(earlier))?;
    let line = Line { at: fitted.offset.add, share_at: fitted.offset.at_line };
    let outcome = |reject: bool| if reject { 1.0 } else { 0.0 };
    let left: Vec<f64> = later
        .iter()
        .map(|one| outcome(line.rejects(-one.margin, one.lot)) - outcome(one.primary_rejects))
        .collect();
    let n = real(left.len() as u64);
    let effect = left.iter().sum::<f64>() / n;
    let variance = left.iter().map(|one| (one - effect).powi(2)).sum::<f64>() / n / n;
    // the line is off by what the earlier half's images were off by
    Some(Estimate { effect, se: variance.sqrt().hypot(fitted.residual.se) })
}

fn of(pairs: &[Pair]) -> Vec<CalibrationPair> {
    let pair =
        |one: &Pair| CalibrationPair { primary_rejects: one.primary_rejects, margin: one.margin };
    pairs.iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::collection::vec;
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};
    use rand::rngs::SmallRng;
    use rand::{RngExt, SeedableRng};

    /// How many points of reject rate the judge is stricter than the primary in [`drawn`].
    const STRICTER: f64 = 0.05;

    /// Images by a known law: each has a quality, both judges see it with an error of their own and
    /// score it in steps of 0.05, the primary fails about a tenth below its line of 0.7, and the
    /// judge scores [`STRICTER`] lower.
    fn drawn(n: usize, seed: u64) -> Vec<Pair> {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut bell = {
            let mut draw = SmallRng::seed_from_u64(seed ^ 0xbe11);
            move || (0..12).map(|_| draw.random::<f64>()).sum::<f64>() - 6.0
        };
        let coarse = |score: f64| (score.clamp(0.0, 1.0) * 20.0).round() / 20.0;
        let pair = |_| {
            let quality = 0.88 + 0.12 * bell();
            let primary = coarse(quality + 0.02 * bell());
            let judge = coarse(quality - STRICTER + 0.02 * bell());
            let margin = ((judge - 0.7) * 1e9).round() / 1e9 + 0.0;
            let primary_rejects = primary < 0.7 - 1e-9;
            Pair { primary_rejects, rejects: margin < 0.0, margin, lot: random.random() }
        };
        (0..n).map(pair).collect()
    }

    /// Shift of the reject rate that is left on `others`, images of the same law.
    fn left_on(others: &[Pair], offset: Offset) -> f64 {
        let line = Line { at: offset.add, share_at: offset.at_line };
        let shift = |one: &Pair| {
            i64::from(line.rejects(-one.margin, one.lot)) - i64::from(one.primary_rejects)
        };
        let shift: i64 = others.iter().map(shift).sum();
        f64::from(i32::try_from(shift).unwrap()) / real(others.len() as u64)
    }

    #[test]
    fn a_shift_of_points_is_gone_on_other_images_after_eight_thousand_pairs() {
        let others = drawn(200_000, 0x0123_4567);
        let mut worst: f64 = 0.0;
        for seed in 0..20 {
            let fit = fit(&drawn(8_000, seed), 0).unwrap();
            assert!(0.03 < fit.present.effect, "{:?}", fit.present);
            assert_eq!(fit.verdict, Verdict::Usable);
            worst = worst.max(left_on(&others, fit.offset).abs());
        }
        // two standard errors of sqrt(discordance / n) are a little under half a point
        assert!(worst <= 0.006, "{worst}");
        let left = left_on(&others, fit(&drawn(8_000, 7), 0).unwrap().offset);
        assert!(left.abs() <= 0.005, "{left}");
    }

    #[test]
    fn what_is_held_out_covers_nothing_as_often_as_it_says() {
        let covers = (0..400).filter(|seed| {
            let left = held_out(&drawn(2_000, 1_000 + seed)).unwrap().interval();
            left.low <= 0.0 && 0.0 <= left.high
        });
        let covers = covers.count();
        assert!((368..=392).contains(&covers), "{covers} of 400 at 95 %");
    }

    #[test]
    fn the_same_pairs_leave_nothing_over_whatever_the_fit_is_worth() {
        let fit = fit(&drawn(300, 3), 0).unwrap();
        assert!(fit.residual.effect.abs() < 1e-12);
        assert!(fit.residual.se > 0.005);
        assert_eq!(fit.verdict, Verdict::TooFew(700));
    }

    #[test]
    fn judges_that_reject_alike_need_no_offset() {
        let alike: Vec<_> = drawn(4_000, 5)
            .into_iter()
            .map(|one| Pair { primary_rejects: one.rejects, ..one })
            .collect();
        let fit = fit(&alike, 0).unwrap();
        assert_eq!(fit.verdict, Verdict::NoDifference);
        assert_eq!(super::fit(&[], 0), None);
    }

    #[test]
    fn nobody_lowers_the_least_number_of_pairs() {
        let pairs = drawn(1_500, 11);
        let of = |least| fit(&pairs, least).unwrap().verdict;
        assert_eq!((of(0), of(2_000)), (Verdict::Usable, Verdict::TooFew(500)));
    }

    proptest! {
        #[test]
        fn a_larger_share_of_rejects_never_has_a_larger_offset(
            margins in vec(-20_i32..=20, 2..200),
            rejects in any::<[u8; 2]>(),
        ) {
            let with = |rejects: usize| {
                let pair = |(place, margin): (usize, &i32)| Pair {
                    primary_rejects: place < rejects,
                    rejects: *margin < 0,
                    margin: f64::from(*margin) / 20.0,
                    lot: 0.5,
                };
                let pairs: Vec<_> = margins.iter().enumerate().map(pair).collect();
                fit(&pairs, 0).unwrap().offset
            };
            let [few, many] = {
                let mut counts = rejects.map(|one| usize::from(one) % margins.len());
                counts.sort_unstable();
                counts
            };
            let (few, many) = (with(few), with(many));
            // less is added, or more of what then lies on the line rejects
            let order = many.add.total_cmp(&few.add).then(few.at_line.total_cmp(&many.at_line));
            prop_assert!(order.is_le(), "{few:?} {many:?}");
        }

        #[test]
        fn a_fit_is_total(pairs in vec((any::<bool>(), any::<bool>(), -1.0..=1.0_f64, 0.0..1.0_f64), 0..50)) {
            let pair = |&(primary_rejects, rejects, margin, lot): &(bool, bool, f64, f64)| {
                Pair { primary_rejects, rejects, margin, lot }
            };
            let pairs: Vec<_> = pairs.iter().map(pair).collect();
            let fitted = fit(&pairs, 0);
            prop_assert_eq!(fitted.is_some(), !pairs.is_empty());
            if let Some(fitted) = fitted {
                prop_assert_eq!(fitted.primary.n, pairs.len() as u64);
                prop_assert!((0.0..=1.0).contains(&fitted.offset.at_line));
            }
        }
    }
}
