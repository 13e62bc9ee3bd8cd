//! A finding is what one local check measured: a number, the line it was held to, and whether it
//! kept it.

use crate::domain::policy::OnFail;

/// The line a measurement is held to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// The value must be at least this.
    AtLeast(f64),
    /// The value must be at most this.
    AtMost(f64),
    /// The value must lie in this closed range.
    Between(f64, f64),
}

impl Limit {
    /// Whether `value` keeps the line. A value that is not a number keeps none.
    #[must_use]
    pub fn holds(self, value: f64) -> bool {
        match self {
            Self::AtLeast(low) => low <= value,
            Self::AtMost(high) => value <= high,
            Self::Between(low, high) => low <= value && value <= high,
        }
    }

    /// The end of the line that `value` is nearest to: the one number shown beside it.
    #[must_use]
    pub fn nearest(self, value: f64) -> f64 {
        match self {
            Self::AtLeast(line) | Self::AtMost(line) => line,
            Self::Between(low, high) => {
                if (value - low).abs() <= (high - value).abs() {
                    low
                } else {
                    high
                }
            }
        }
    }

    /// How far `value` has come towards its line, from 0 (far on the good side) to 1 (at or past
    /// the line): what the record keeps as local risk.
    #[must_use]
    pub fn risk(self, value: f64) -> f64 {
        if !self.holds(value) {
            return 1.0;
        }
        let risk = match self {
            Self::AtLeast(low) if value <= 0.0 || low <= 0.0 => 0.0,
            Self::AtLeast(low) => low / value,
            Self::AtMost(high) if high <= 0.0 => 0.0,
            Self::AtMost(high) => value / high,
            Self::Between(low, high) => {
                let half = (high - low) / 2.0;
                let from_middle = (value - f64::midpoint(low, high)).abs();
                if half <= 0.0 { 0.0 } else { from_middle / half }
            }
        };
        risk.clamp(0.0, 1.0)
    }
}

/// What one local check measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The check's id in the policy.
    pub check: String,
    /// The measured number; `None` where this image gives the check nothing to measure.
    pub value: Option<f64>,
    /// The line it was held to.
    pub limit: Limit,
    /// The unit of `value` (`px`, `ratio`, `variance`, …).
    pub unit: &'static str,
    /// Whether the line was kept; true where nothing could be measured.
    pub passed: bool,
    /// What the policy does when it was not.
    pub on_fail: OnFail,
}

impl Finding {
    /// Holds `value` to `limit`.
    #[must_use]
    pub fn new(
        check: &str,
        value: Option<f64>,
        limit: Limit,
        unit: &'static str,
        on_fail: OnFail,
    ) -> Self {
        let passed = value.is_none_or(|value| limit.holds(value));
        Self { check: check.to_owned(), value, limit, unit, passed, on_fail }
    }

    /// How near the value came to its line: see [`Limit::risk`]. A ratio can reach 1 and no more, so
    /// a line below it is measured from there: 0.985 against at least 0.97 is half way.
    #[must_use]
    pub fn risk(&self) -> f64 {
        let Some(value) = self.value else { return 0.0 };
        match self.limit {
            Limit::AtLeast(low) if self.unit == "ratio" && low < 1.0 && low <= value => {
                ((1.0 - value) / (1.0 - low)).clamp(0.0, 1.0)
            }
            limit @ (Limit::AtLeast(_) | Limit::AtMost(_) | Limit::Between(..)) => {
                limit.risk(value)
            }
        }
    }

    /// Whether this finding answers the check without asking a judge.
    #[must_use]
    pub fn blocks(&self) -> bool {
        match self.on_fail {
            OnFail::Fail | OnFail::Review => !self.passed,
            OnFail::Flag => false,
        }
    }
}

/// The largest risk of all findings, in 0..=1: the record's `pre`.
#[must_use]
pub fn local_risk(findings: &[Finding]) -> f64 {
    findings.iter().map(Finding::risk).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_on_the_line_keeps_it() {
        assert!(Limit::AtLeast(4.0).holds(4.0));
        assert!(Limit::AtMost(0.06).holds(0.06));
        assert!(Limit::Between(0.06, 0.97).holds(0.97));
        assert!(!Limit::Between(0.06, 0.97).holds(0.98));
        assert!(!Limit::AtMost(1.0).holds(f64::NAN));
    }

    #[test]
    fn risk_rises_to_one_at_the_line_and_stays_there() {
        let line = Limit::AtLeast(35.0);
        assert!(line.risk(700.0) < 0.1);
        assert!((line.risk(35.0) - 1.0).abs() < 1e-12);
        assert!((line.risk(1.0) - 1.0).abs() < 1e-12);
        assert!(Limit::Between(0.0, 1.0).risk(0.5) < 1e-12);
    }

    #[test]
    fn a_ratio_is_measured_from_one() {
        let white = |value| {
            let finding =
                Finding::new("a", Some(value), Limit::AtLeast(0.97), "ratio", OnFail::Flag);
            finding.risk()
        };
        assert!(white(1.0) < 1e-12);
        assert!((white(0.985) - 0.5).abs() < 1e-9);
        assert!((white(0.5) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn only_a_broken_fail_or_review_blocks() {
        let broken = |on_fail| Finding::new("a", Some(2.0), Limit::AtMost(1.0), "ratio", on_fail);
        assert!(broken(OnFail::Fail).blocks());
        assert!(broken(OnFail::Review).blocks());
        assert!(!broken(OnFail::Flag).blocks());
        let kept = Finding::new("a", None, Limit::AtMost(1.0), "ratio", OnFail::Fail);
        assert!(kept.passed && !kept.blocks());
    }
}
