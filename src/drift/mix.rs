//! The expected routing effect: how many points the mix of judges alone is worth now.
//!
//! It weighs long-run rates by the shares of a window, so it needs no verdict of the window to be
//! right, only who gave it: thirty verdicts are enough, and its spread over a six-minute outage is
//! a third of the observed difference's.

use std::collections::{BTreeMap, BTreeSet};

use crate::drift::interval::{Estimate, Tally, real};

/// Fewest verdicts of a window that are worth weighing.
pub const MIN_VERDICTS: u64 = 30;

/// Verdicts served, by judge.
pub type Shares = BTreeMap<String, u64>;

/// Reject rates of the baseline, by judge.
pub type Rates = BTreeMap<String, Tally>;

/// What the mix of `current` is worth against that of `reference`. None when either is empty. A
/// judge that the baseline has not seen counts as an even chance, with the spread of one.
#[must_use]
pub fn expected_routing(rates: &Rates, reference: &Shares, current: &Shares) -> Option<Estimate> {
    let totals = [reference, current].map(|shares| real(shares.values().sum()));
    if totals.iter().any(|total| *total < 1.0) {
        return None;
    }
    let judges: BTreeSet<&String> = reference.keys().chain(current.keys()).collect();
    let weighed: Vec<([f64; 2], f64, f64)> = judges
        .into_iter()
        .map(|judge| {
            let tally = rates.get(judge).copied().unwrap_or_default();
            let share =
                |shares: &Shares, total| shares.get(judge).map_or(0.0, |seen| real(*seen)) / total;
            let shares = [share(reference, totals[0]), share(current, totals[1])];
            (shares, tally.smoothed(), real(tally.n) + 1.0)
        })
        .collect();
    let (mut effect, mut variance) = (0.0, 0.0);
    for ([before, after], rate, n) in &weighed {
        let moved = after - before;
        effect += moved * rate;
        variance += moved * moved * rate * (1.0 - rate) / n;
    }
    for (window, total) in totals.iter().enumerate() {
        let share = |shares: &[f64; 2]| shares.get(window).copied().unwrap_or_default();
        let mean: f64 = weighed.iter().map(|(shares, rate, _)| share(shares) * rate).sum();
        let spread = |(shares, rate, _): &([f64; 2], f64, f64)| {
            share(shares) * (rate - mean) * (rate - mean)
        };
        variance += weighed.iter().map(spread).sum::<f64>() / total;
    }
    Some(Estimate { effect, se: variance.sqrt() })
}
