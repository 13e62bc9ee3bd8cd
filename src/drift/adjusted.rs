//! The routing-adjusted reject rate: what it would be had the primary judged everything.
//!
//! Images served elsewhere are sampled and judged by the primary afterwards (backfill). The share
//! sampled is ours, so the difference estimator is unbiased whatever the model of the primary's
//! verdict is; the model only narrows the interval. Weighing by a local feature instead is not a
//! substitute: which images failed over is not explained by one.

use serde::{Deserialize, Serialize};

use crate::drift::interval::{Estimate, Tally, real};

/// Shadow pairs that the model of the primary's verdict looks back on.
pub const MODEL_PAIRS: usize = 5000;

/// One served image, as far as the primary is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Image {
    /// The primary judged it.
    Primary {
        /// Whether it rejected.
        reject: bool,
    },
    /// Another judge did.
    Elsewhere {
        /// The share of rejects that the primary is expected to give, seeing the other's verdict.
        expected: f64,
        /// Probability, fixed before the call, that the primary judges it afterwards.
        propensity: f64,
        /// What the primary said, if it was sampled.
        backfilled: Option<bool>,
    },
}

/// The primary's expected verdict given another judge's, from pairs of calm times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    /// Primary's verdicts where the other rejected.
    pub other_rejects: Tally,
    /// Primary's verdicts where the other passed.
    pub other_passes: Tally,
}

impl Model {
    /// Learns from the latest [`MODEL_PAIRS`] of `pairs`, oldest first: primary's verdict, other's.
    #[must_use]
    pub fn learn(pairs: &[(bool, bool)]) -> Self {
        let mut model = Self::default();
        for (primary, other) in pairs.iter().rev().take(MODEL_PAIRS) {
            let tally = if *other { &mut model.other_rejects } else { &mut model.other_passes };
            tally.count(*primary);
        }
        model
    }

    /// Share of rejects expected of the primary.
    #[must_use]
    pub fn expects(self, other_rejects: bool) -> f64 {
        if other_rejects { self.other_rejects.smoothed() } else { self.other_passes.smoothed() }
    }
}

/// The reject rate under the primary. None of fewer than two images.
#[must_use]
pub fn adjusted_rate(images: &[Image]) -> Option<Estimate> {
    if images.len() < 2 {
        return None;
    }
    let n = real(images.len() as u64);
    let outcome = |reject: bool| if reject { 1.0 } else { 0.0 };
    let weighed = |image: &Image| match *image {
        Image::Primary { reject } => outcome(reject),
        Image::Elsewhere { expected, propensity, backfilled } => {
            expected + backfilled.map_or(0.0, |reject| (outcome(reject) - expected) / propensity)
        }
    };
    let values: Vec<f64> = images.iter().map(weighed).collect();
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0) / n;
    Some(Estimate { effect: mean, se: variance.sqrt() })
}

/// Share of the images served elsewhere that the primary judges after a failover: `least` (over 0
/// and at most 1, usually a tenth), or as much as two hundred images need.
#[must_use]
pub fn backfill_share(served_elsewhere: u64, least: f64) -> f64 {
    let two_hundred = if served_elsewhere == 0 { 1.0 } else { 200.0 / real(served_elsewhere) };
    two_hundred.max(least).min(1.0)
}
