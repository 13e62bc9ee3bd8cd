//! The second-opinion rule: when one judge's word is not enough, and who wins when they differ.
//!
//! A verdict is doubtful when its calibrated probability of rejection is near one half. A second
//! judge is asked, a third only if the two differ; the sum of their log odds decides, each less its
//! own bias, so that two biased judges do not out-vote a sure one.

use serde::{Deserialize, Serialize};

use crate::drift::interval::logit;

/// Half-width of the doubtful band. Beyond about 0.35 more opinions make verdicts worse.
pub const BAND: f64 = 0.20;

/// Probabilities nearer to 0 or 1 than this are taken as this: a model that says "certain" is not.
const SUREST: f64 = 0.01;

/// What one judge said.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Opinion {
    /// Whether it rejects.
    pub reject: bool,
    /// Its calibrated probability of rejection, when it gave a score.
    pub probability: Option<f64>,
    /// Mean log-odds bias of the judge, from pairs.
    pub bias: f64,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Next {
    /// Ask one more judge.
    Ask,
    /// Done.
    Decide {
        /// Whether the image is rejected.
        reject: bool,
    },
}

/// Whether a probability of rejection is doubtful.
#[must_use]
pub fn doubtful(probability: f64, band: f64) -> bool {
    (probability - 0.5).abs() < band
}

/// Decides after the opinions so far, in the order in which they were asked; `judges_left` is how
/// many more may be asked. None of no opinions.
#[must_use]
pub fn next(opinions: &[Opinion], judges_left: usize, band: f64) -> Option<Next> {
    let first = opinions.first()?;
    let Some(probability) = first.probability else {
        return Some(Next::Decide { reject: first.reject });
    };
    let unanimous = opinions.iter().all(|opinion| opinion.reject == first.reject);
    let settled = match opinions.len() {
        1 => !doubtful(probability, band),
        2 => unanimous,
        _ => true,
    };
    let unheard = judges_left == 0 && opinions.len() == 1;
    Some(if unheard || (settled && opinions.len() < 3) {
        Next::Decide { reject: first.reject }
    } else if !settled && judges_left > 0 {
        Next::Ask
    } else {
        Next::Decide { reject: combine(opinions) }
    })
}

/// The sum of log odds, or the majority where a judge gave no score; the first judge breaks a tie.
fn combine(opinions: &[Opinion]) -> bool {
    let mut sum = 0.0;
    let mut scored = true;
    for opinion in opinions {
        match opinion.probability {
            Some(share) => sum += logit(share.clamp(SUREST, 1.0 - SUREST)) - opinion.bias,
            None => scored = false,
        }
    }
    if scored {
        return sum > 0.0;
    }
    let rejects = opinions.iter().filter(|opinion| opinion.reject).count();
    match (2 * rejects).cmp(&opinions.len()) {
        std::cmp::Ordering::Greater => true,
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Equal => opinions.first().is_some_and(|first| first.reject),
    }
}
