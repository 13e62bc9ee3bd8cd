//! An interval says how sure a share is: Wilson and Jeffreys for one rate, Newcombe for the
//! difference of two, and [`Estimate`] for anything with a standard error.
//!
//! Wilson is what is shown: at the edges (no reject yet) the textbook interval has no width.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

/// Normal quantile of a two-sided 95 % interval.
pub const Z95: f64 = 1.959_963_984_540_054;

/// Verdicts counted, and the rejects among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Verdicts.
    pub n: u64,
    /// Rejects among them.
    pub rejects: u64,
}

impl Tally {
    /// Counts one verdict.
    pub fn count(&mut self, reject: bool) {
        self.n += 1;
        self.rejects += u64::from(reject);
    }

    /// Share of rejects; zero of nothing.
    #[must_use]
    pub fn rate(self) -> f64 {
        if self.n == 0 { 0.0 } else { real(self.rejects) / real(self.n) }
    }

    /// Share of rejects with half a reject and half a pass added, so that it is never 0 or 1.
    #[must_use]
    pub fn smoothed(self) -> f64 {
        (real(self.rejects) + 0.5) / (real(self.n) + 1.0)
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.n += other.n;
        self.rejects += other.rejects;
    }
}

/// Both ends of an interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// A number and its standard error, as a share of 1 (0.03 is three points).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The number.
    pub effect: f64,
    /// Its standard error.
    pub se: f64,
}

impl Estimate {
    /// The 95 % interval.
    #[must_use]
    pub fn interval(self) -> Interval {
        Interval { low: self.effect - Z95 * self.se, high: self.effect + Z95 * self.se }
    }
}

/// A count as a number to calculate with.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "counts of verdicts stay far below 2^53")]
pub fn real(count: u64) -> f64 {
    count as f64
}

/// Log odds of a share.
#[must_use]
pub fn logit(share: f64) -> f64 {
    share.ln() - (-share).ln_1p()
}

/// The share whose log odds these are.
#[must_use]
pub fn expit(log_odds: f64) -> f64 {
    if log_odds >= 0.0 {
        1.0 / (1.0 + (-log_odds).exp())
    } else {
        log_odds.exp() / (1.0 + log_odds.exp())
    }
}

/// 95 % score interval of one rate (Wilson 1927). Of nothing it is the whole range.
#[must_use]
pub fn wilson(tally: Tally) -> Interval {
    if tally.n == 0 {
        return Interval { low: 0.0, high: 1.0 };
    }
    let (n, rate) = (real(tally.n), tally.rate());
    let scale = 1.0 + Z95 * Z95 / n;
    let centre = (rate + Z95 * Z95 / (2.0 * n)) / scale;
    let half = Z95 * (rate * (1.0 - rate) / n + Z95 * Z95 / (4.0 * n * n)).sqrt() / scale;
    let low = if tally.rejects > 0 { (centre - half).max(0.0) } else { 0.0 };
    let high = if tally.rejects < tally.n { (centre + half).min(1.0) } else { 1.0 };
    Interval { low, high }
}

/// 95 % hybrid score interval of the difference `after - before` (Newcombe 1998, method 10).
#[must_use]
pub fn newcombe(before: Tally, after: Tally) -> Interval {
    let (b, a) = (wilson(before), wilson(after));
    let (p0, p1) = (before.rate(), after.rate());
    let difference = p1 - p0;
    let down = ((p1 - a.low).powi(2) + (b.high - p0).powi(2)).sqrt();
    let up = ((a.high - p1).powi(2) + (p0 - b.low).powi(2)).sqrt();
    Interval { low: difference - down, high: difference + up }
}

/// 95 % equal-tailed interval of one rate under Jeffreys' prior, Beta(1/2, 1/2).
#[must_use]
pub fn jeffreys(tally: Tally) -> Interval {
    let (a, b) = (real(tally.rejects) + 0.5, real(tally.n - tally.rejects.min(tally.n)) + 0.5);
    let low = if tally.rejects == 0 { 0.0 } else { beta_quantile(a, b, 0.025) };
    let high = if tally.rejects >= tally.n { 1.0 } else { beta_quantile(a, b, 0.975) };
    Interval { low, high }
}

/// Where the distribution Beta(a, b) reaches `share`, by bisection: it is asked for a picture, not
/// for every verdict.
fn beta_quantile(a: f64, b: f64, share: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    // 60 halvings leave less than the spacing of doubles near 1
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if beta_share(a, b, middle) < share {
            low = middle;
        } else {
            high = middle;
        }
    }
    f64::midpoint(low, high)
}

/// Regularised incomplete beta function, by its continued fraction (DLMF 8.17.22), which converges
/// fast on the near side of the mean.
fn beta_share(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 || 1.0 <= x {
        return x.clamp(0.0, 1.0);
    }
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - beta_share(b, a, 1.0 - x);
    }
    let front = a * x.ln() + b * (-x).ln_1p() + ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b);
    front.exp() / a * beta_fraction(a, b, x)
}

/// The continued fraction of [`beta_share`] by Lentz's method.
fn beta_fraction(a: f64, b: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let away = |value: f64| if value.abs() < TINY { TINY } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / away(1.0 - (a + b) * x / (a + 1.0));
    let mut fraction = d;
    for step in 1..=300_u64 {
        let m = real(step);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / away(1.0 + even * d);
        c = away(1.0 + even / c);
        fraction *= d * c;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / away(1.0 + odd * d);
        c = away(1.0 + odd / c);
        let change = d * c;
        fraction *= change;
        if (change - 1.0).abs() < 1e-15 {
            break;
        }
    }
    fraction
}

/// Logarithm of the gamma function for x >= 1/2: Stirling's series after raising x above 15, where
/// its fifth term is below 1e-15 (DLMF 5.11.1).
fn ln_gamma(x: f64) -> f64 {
    let mut below = 0.0;
    let mut x = x;
    while x < 15.0 {
        below += x.ln();
        x += 1.0;
    }
    let inverse = 1.0 / x;
    let square = inverse * inverse;
    let series = inverse
        * (1.0 / 12.0
            - square
                * (1.0 / 360.0
                    - square * (1.0 / 1260.0 - square * (1.0 / 1680.0 - square / 1188.0))));
    (x - 0.5) * x.ln() - x + 0.5 * (2.0 * std::f64::consts::PI).ln() + series - below
}
