//! A calibrated threshold is where another judge must draw its line to reject the primary's share.
//!
//! It is read off shadow pairs by matching quantiles. Models answer in coarse steps (0.9, 0.95), so
//! a share of the ties is rejected too, and which ones is settled by the image's digest: the same
//! image gets the same answer. Cutting an isotonic fit at one half is biased by nearly two points;
//! [`isotonic`] is for probabilities.

use serde::{Deserialize, Serialize};

use crate::drift::interval::{Estimate, real};

/// Fewest pairs a threshold may rest on.
pub const MIN_PAIRS: u64 = 1000;

/// A line, and the share rejected of what lies on it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Scores of rejection above it reject.
    pub at: f64,
    /// Share of those exactly on it that reject.
    pub share_at: f64,
}

impl Line {
    /// Whether a score of rejection rejects. `lot` is the image's own number in [0, 1).
    #[must_use]
    pub fn rejects(self, score: f64, lot: f64) -> bool {
        match score.total_cmp(&self.at) {
            std::cmp::Ordering::Greater => true,
            std::cmp::Ordering::Equal => lot < self.share_at,
            std::cmp::Ordering::Less => false,
        }
    }
}

/// The line at which `rejects` of `scores` reject; ties shared out. None of no scores.
#[must_use]
pub fn match_rejects(scores: &[f64], rejects: u64) -> Option<Line> {
    let mut sorted = scores.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let (highest, lowest) = (*sorted.first()?, *sorted.last()?);
    if rejects == 0 {
        return Some(Line { at: highest, share_at: 0.0 });
    }
    if sorted.len() as u64 <= rejects {
        return Some(Line { at: lowest, share_at: 1.0 });
    }
    let at = *sorted.get(usize::try_from(rejects - 1).ok()?)?;
    let above = sorted.iter().take_while(|score| score.total_cmp(&at).is_gt()).count() as u64;
    let ties = sorted.iter().filter(|score| score.total_cmp(&at).is_eq()).count() as u64;
    Some(Line { at, share_at: real(rejects - above) / real(ties) })
}

/// What is added to a judge's margins so that it rejects the primary's share.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Offset {
    /// Added to the margin, the smallest of score less `pass_at` over the criteria.
    pub add: f64,
    /// Share rejected of the images whose margin is then exactly zero.
    pub at_line: f64,
}

/// One image judged by the primary and by the judge to calibrate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CalibrationPair {
    /// Whether the primary rejects.
    pub primary_rejects: bool,
    /// Smallest of score less `pass_at` over the criteria, of the judge to calibrate.
    pub margin: f64,
}

/// A calibration, and how good it is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// The offset to paste.
    pub offset: Offset,
    /// Pairs it rests on.
    pub n: u64,
    /// Difference in reject rate before: the judge's less the primary's, paired.
    pub present: Estimate,
    /// Difference left afterwards: zero in the pairs, with the error that other images bring.
    pub residual: Estimate,
    /// Whether it may be put to use: pairs enough, and its error at most half of what it mends.
    pub usable: bool,
}

/// Fits the offset of one judge. None of no pairs.
#[must_use]
pub fn calibrate(pairs: &[CalibrationPair]) -> Option<Calibration> {
    let count = pairs.len() as u64;
    let n = real(count);
    let rejects = pairs.iter().filter(|pair| pair.primary_rejects).count() as u64;
    let scores: Vec<f64> = pairs.iter().map(|pair| -pair.margin).collect();
    let line = match_rejects(&scores, rejects)?;
    let outcome = |reject: bool| if reject { 1.0 } else { 0.0 };
    let differences = |theirs: &dyn Fn(&CalibrationPair) -> f64| {
        let apart: Vec<f64> =
            pairs.iter().map(|pair| theirs(pair) - outcome(pair.primary_rejects)).collect();
        let mean = apart.iter().sum::<f64>() / n;
        let variance = apart.iter().map(|one| (one - mean).powi(2)).sum::<f64>() / n / n;
        Estimate { effect: mean, se: variance.sqrt() }
    };
    let present = differences(&|pair| outcome(pair.margin < 0.0));
    let residual = differences(&|pair| match (-pair.margin).total_cmp(&line.at) {
        std::cmp::Ordering::Greater => 1.0,
        std::cmp::Ordering::Equal => line.share_at,
        std::cmp::Ordering::Less => 0.0,
    });
    let mends = residual.se <= 0.5 * present.effect.abs();
    Some(Calibration {
        offset: Offset { add: line.at, at_line: line.share_at },
        n: count,
        present,
        residual,
        usable: MIN_PAIRS <= count && mends,
    })
}

/// A stretch of scores that share one probability.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Lowest score of the stretch.
    pub low: f64,
    /// Highest score of the stretch.
    pub high: f64,
    /// Share of rejects in it.
    pub value: f64,
    /// Images in it.
    pub weight: u64,
}

/// Isotonic regression by pooling adjacent violators: the rising steps nearest to the labels.
#[must_use]
pub fn isotonic(labelled: &[(f64, bool)]) -> Vec<Step> {
    let mut sorted = labelled.to_vec();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    // low, high, rejects, images
    let mut blocks: Vec<(f64, f64, u64, u64)> = Vec::new();
    for ties in sorted.chunk_by(|a, b| a.0.total_cmp(&b.0).is_eq()) {
        let Some((score, _)) = ties.first() else { continue };
        let rejects = ties.iter().filter(|(_, reject)| *reject).count() as u64;
        let mut block = (*score, *score, rejects, ties.len() as u64);
        while let Some(last) = blocks.last() {
            // compared as whole numbers: exact
            if u128::from(last.2) * u128::from(block.3) < u128::from(block.2) * u128::from(last.3) {
                break;
            }
            block = (last.0, block.1, last.2 + block.2, last.3 + block.3);
            blocks.pop();
        }
        blocks.push(block);
    }
    let step = |(low, high, rejects, images): (f64, f64, u64, u64)| Step {
        low,
        high,
        value: real(rejects) / real(images),
        weight: images,
    };
    blocks.into_iter().map(step).collect()
}

/// The probability that an isotonic fit gives a score: that of the last step which begins at or
/// below it. None of no steps.
#[must_use]
pub fn probability(steps: &[Step], score: f64) -> Option<f64> {
    let reached = steps.iter().rev().find(|step| step.low <= score);
    reached.or_else(|| steps.first()).map(|step| step.value)
}
