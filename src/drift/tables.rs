//! The likelihood ratios that detectors fold, made from a frozen baseline.
//!
//! Each table pits one alternative against the edge of an indifference band around the baseline:
//! half a point or 2.33 standard errors, whichever is wider, so that a baseline which is itself an
//! estimate does not raise false alarms.

use crate::drift::detector::Table;
use crate::drift::interval::{Tally, expit, logit, real};

/// Odds ratios a judge's detector looks for, up and down.
const JUDGE_ODDS: [f64; 5] = [1.15, 1.35, 1.7, 2.5, 5.0];

/// Odds ratios the routing detector looks for.
const SHARE_ODDS: [f64; 5] = [1.7, 2.5, 5.0, 10.0, 20.0];

/// Tilts, in standard deviations of the bins, that the input detector looks for.
const TILTS: [f64; 4] = [0.1, 0.2, 0.4, 0.8];

/// One-sided 99 % normal quantile: how far a baseline's error is taken into account.
const BAND_SE: f64 = 2.326_347_874_040_840_8;

/// Verdicts that the other judges' profile over the bins is worth against a judge's own.
const PRIOR_VERDICTS: f64 = 50.0;

/// Half-width of a judge's indifference band, as a share.
pub const JUDGE_TOLERANCE: f64 = 0.005;

/// Half-width of the routing detector's band, as a share; and of the input's, as a tilt.
pub const SHARE_TOLERANCE: f64 = 0.05;

/// A baseline rate and its indifference band, in log odds up and down.
fn band(tally: Tally, tolerance: f64) -> (f64, f64, f64) {
    let rate = tally.smoothed();
    let se = 1.0 / ((real(tally.n) + 1.0) * rate * (1.0 - rate)).sqrt();
    let up = logit((rate + tolerance).min(0.995)) - logit(rate);
    let down = logit(rate) - logit((rate - tolerance).max(rate / 2.0));
    (rate, up.max(BAND_SE * se), down.max(BAND_SE * se))
}

/// Ratios of a pass and a reject when the reject rate's log odds go from `from` to `to`.
fn pass_and_reject(from: f64, to: f64) -> [f64; 2] {
    let (q0, q1) = (expit(from), expit(to));
    [(1.0 - q1) / (1.0 - q0), q1 / q0]
}

/// Symbol of a verdict in a judge's tables.
#[must_use]
pub fn judge_symbol(bin: u8, reject: bool) -> usize {
    usize::from(bin) * 2 + usize::from(reject)
}

/// Tables of a judge's detector: risk-adjusted by bin (Steiner et al. 2000), two-sided. `own` are
/// the judge's verdicts by bin, `all` those of every judge.
#[must_use]
pub fn judge_tables(own: &[Tally], all: &[Tally]) -> Vec<Table> {
    let sum = |tallies: &[Tally]| {
        let mut whole = Tally::default();
        tallies.iter().for_each(|tally| whole += *tally);
        whole
    };
    let (rate, up, down) = band(sum(own), JUDGE_TOLERANCE);
    let rate_of_all = sum(all).smoothed();
    let of_bin = |(bin, marginal): (usize, &Tally)| {
        let seen = own.get(bin).copied().unwrap_or_default();
        let prior = (rate * marginal.smoothed() / rate_of_all).clamp(1e-4, 0.98);
        let padded = real(seen.rejects) + PRIOR_VERDICTS * prior;
        logit(padded / (real(seen.n) + PRIOR_VERDICTS))
    };
    let log_odds: Vec<f64> = all.iter().enumerate().map(of_bin).collect();
    let table = |shift: f64, step: f64| {
        let ratios = log_odds.iter().flat_map(|at| {
            let edge = at + shift;
            pass_and_reject(edge, edge + step)
        });
        Table::of(&ratios.collect::<Vec<_>>())
    };
    let more = JUDGE_ODDS.iter().map(|odds| table(up, odds.ln()));
    let fewer = JUDGE_ODDS.iter().map(|odds| table(-down, -odds.ln()));
    more.chain(fewer).collect()
}

/// Tables of the routing detector: symbol 1 is a verdict by a judge other than the primary.
/// One-sided: traffic coming home is no event.
#[must_use]
pub fn share_tables(served: u64, elsewhere: u64) -> Vec<Table> {
    let (rate, up, _) = band(Tally { n: served, rejects: elsewhere }, SHARE_TOLERANCE);
    let edge = expit(logit(rate) + up);
    SHARE_ODDS
        .iter()
        .map(|odds| Table::of(&pass_and_reject(logit(edge), logit(edge) + odds.ln())))
        .collect()
}

/// Tables of the input detector: symbols are bins, alternatives tilt their shares up and down.
#[must_use]
pub fn input_tables(served: &[u64]) -> Vec<Table> {
    let bins = real(served.len() as u64);
    let n = real(served.iter().sum());
    let shares: Vec<f64> = served.iter().map(|seen| (real(*seen) + 1.0) / (n + bins)).collect();
    let indexed = |f: &dyn Fn(f64, f64) -> f64| -> f64 {
        shares.iter().zip(0_u64..).map(|(share, index)| f(*share, real(index))).sum()
    };
    let mean = indexed(&|share, index| share * index);
    let deviation = indexed(&|share, index| share * (index - mean).powi(2)).sqrt();
    let tilted = |by: f64| -> Vec<f64> {
        let weight =
            |(share, index): (&f64, u64)| share * (by * (real(index) - mean) / deviation).exp();
        let weights: Vec<f64> = shares.iter().zip(0_u64..).map(weight).collect();
        let sum: f64 = weights.iter().sum();
        weights.into_iter().map(|weight| weight / sum).collect()
    };
    let edge = SHARE_TOLERANCE + BAND_SE / n.sqrt();
    let mut tables = Vec::new();
    for sign in [1.0, -1.0] {
        let null = tilted(sign * edge);
        for tilt in TILTS {
            let alternative = tilted(sign * (edge + tilt));
            let ratios: Vec<f64> = alternative.iter().zip(&null).map(|(a, b)| a / b).collect();
            tables.push(Table::of(&ratios));
        }
    }
    tables
}
