//! Agreement is how far two judges say the same of the same images.
//!
//! At 2 to 10 % rejects Cohen's kappa falls for prevalence alone, so the page shows Gwet's AC1 and
//! the difference in reject rate first; kappa stands beside them for who expects it.

use serde::{Deserialize, Serialize};

use crate::drift::interval::{Estimate, Interval, Tally, Z95, newcombe, real};

/// Power of 80 %, as a normal quantile.
const POWER_80: f64 = 0.841_621_233_572_914_3;

/// Images judged by two judges, by what they said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Square {
    /// Both reject.
    pub both: u64,
    /// The first alone rejects.
    pub first_only: u64,
    /// The second alone rejects.
    pub second_only: u64,
    /// Neither rejects.
    pub neither: u64,
}

/// Images on which two judges differ from which the difference of their rates is as good as normal.
const ENOUGH_APART: u64 = 10;

/// How far two judges agree.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// Pairs.
    pub n: u64,
    /// The pairs by what was said.
    pub square: Square,
    /// Share of pairs on which they agree.
    pub observed: f64,
    /// Cohen's kappa, with the variance of Fleiss, Cohen and Everitt (1969). None when chance
    /// explains everything.
    pub kappa: Option<Estimate>,
    /// Gwet's AC1 (2008), with the delta method's variance.
    pub ac1: Estimate,
    /// Reject rate of the first judge.
    pub first_rate: f64,
    /// Reject rate of the second judge.
    pub second_rate: f64,
    /// First rate less second rate, paired.
    pub difference: Estimate,
    /// Whether the rates differ: the exact paired test of `McNemar` (1947).
    pub mcnemar_exact: f64,
    /// The same test, mid-p.
    pub mcnemar_mid_p: f64,
}

/// Measures the agreement of two judges. None of no pairs.
#[must_use]
pub fn agreement(square: Square) -> Option<Agreement> {
    let Square { both, first_only, second_only, neither } = square;
    let count = both + first_only + second_only + neither;
    if count == 0 {
        return None;
    }
    let n = real(count);
    let [a, b, c, d] = [both, first_only, second_only, neither].map(|cell| real(cell) / n);
    let observed = a + d;
    let (first_rate, second_rate) = (a + b, a + c);
    let gap = (real(first_only) - real(second_only)) / n;
    let spread = real(first_only + second_only) / n - gap * gap;
    let (mcnemar_exact, mcnemar_mid_p) = mcnemar(first_only, second_only);
    Some(Agreement {
        n: count,
        square,
        observed,
        kappa: kappa([a, b, c, d], n),
        ac1: ac1([a, b, c, d], n),
        first_rate,
        second_rate,
        difference: Estimate { effect: gap, se: (spread.max(0.0) / n).sqrt() },
        mcnemar_exact,
        mcnemar_mid_p,
    })
}

impl Agreement {
    /// The 95 % interval of the difference of rates. Where the judges differ on a few images, or on
    /// none, the normal one has next to no width: then Newcombe's, over the shares that each alone
    /// rejects.
    #[must_use]
    pub fn difference_interval(&self) -> Interval {
        let Square { first_only, second_only, .. } = self.square;
        if ENOUGH_APART <= first_only + second_only {
            return self.difference.interval();
        }
        let alone = |rejects| Tally { n: self.n, rejects };
        newcombe(alone(second_only), alone(first_only))
    }
}

fn kappa([a, b, c, d]: [f64; 4], n: f64) -> Option<Estimate> {
    let (first, second) = (a + b, a + c);
    let observed = a + d;
    let chance = first * second + (1.0 - first) * (1.0 - second);
    if 1.0 <= chance {
        return None;
    }
    let kappa = (observed - chance) / (1.0 - chance);
    let (row, column) = ([first, 1.0 - first], [second, 1.0 - second]);
    let agree = |share: f64, marginals: f64| share * (1.0 - marginals * (1.0 - kappa)).powi(2);
    let differ = |share: f64, marginals: f64| share * marginals * marginals;
    let on = agree(a, row[0] + column[0]) + agree(d, row[1] + column[1]);
    let off = differ(b, column[0] + row[1]) + differ(c, column[1] + row[0]);
    let bias = kappa - chance * (1.0 - kappa);
    let variance = (on + (1.0 - kappa).powi(2) * off - bias * bias) / ((1.0 - chance).powi(2) * n);
    Some(Estimate { effect: kappa, se: variance.max(0.0).sqrt() })
}

fn ac1([a, b, c, d]: [f64; 4], n: f64) -> Estimate {
    let observed = a + d;
    let rejects = f64::midpoint(a + b, a + c);
    let chance = 2.0 * rejects * (1.0 - rejects);
    let rest = 1.0 - chance;
    // slope of AC1 with respect to each cell: agreeing cells raise the observed share, and each
    // reject of either judge moves the marginal by a half
    let slope = |agrees: f64, marginal: f64| {
        agrees / rest + (observed - 1.0) / (rest * rest) * 2.0 * (1.0 - 2.0 * rejects) * marginal
    };
    let cells =
        [(a, slope(1.0, 1.0)), (b, slope(0.0, 0.5)), (c, slope(0.0, 0.5)), (d, slope(1.0, 0.0))];
    let mean: f64 = cells.iter().map(|(share, slope)| share * slope).sum();
    let variance: f64 = cells.iter().map(|(share, slope)| share * (slope - mean).powi(2)).sum();
    Estimate { effect: (observed - chance) / rest, se: (variance / n).sqrt() }
}

/// Both tails of the fair binomial over the pairs on which the judges differ: exact, and mid-p.
fn mcnemar(first_only: u64, second_only: u64) -> (f64, f64) {
    let m = first_only + second_only;
    if m == 0 {
        return (1.0, 1.0);
    }
    let fewer = first_only.min(second_only);
    let mut log_share = -real(m) * std::f64::consts::LN_2;
    let mut tail = log_share.exp();
    for step in 1..=fewer {
        log_share += real(m - step + 1).ln() - real(step).ln();
        tail += log_share.exp();
    }
    ((2.0 * tail).min(1.0), (2.0 * tail - log_share.exp()).min(1.0))
}

/// Pairs needed to see a difference of `difference` in reject rate at 5 % with 80 % power, when the
/// judges differ on a share of `discordance` (Connor 1987). None when it cannot be seen so.
#[must_use]
pub fn pairs_needed(discordance: f64, difference: f64) -> Option<u64> {
    let spread = discordance - difference * difference;
    if difference == 0.0 || spread < 0.0 {
        return None;
    }
    let z = Z95 * discordance.sqrt() + POWER_80 * spread.sqrt();
    let pairs = (z * z / (difference * difference)).ceil();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates")]
    Some(pairs as u64)
}
