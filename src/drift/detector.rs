//! A detector watches a stream of symbols for a change and alarms when the evidence reaches a
//! budget stated in days.
//!
//! It is a mixture Shiryaev-Roberts e-detector weighted by time (after Shin, Ramdas and Rinaldo,
//! arXiv 2203.03532): while nothing has changed, evidence less elapsed days is a supermartingale,
//! so the mean time to a false alarm is at least the threshold, at any volume, looked at after
//! every verdict. No simulation sets the threshold: it *is* the budget.
//!
//! State is a few numbers per table. Additions are in the order written here, without fused
//! operations, so that a replay is bit for bit the same.

use serde::{Deserialize, Serialize};

/// Longest gap between two verdicts that counts, in seconds: a night without traffic is no evidence.
const MAX_GAP_S: f64 = 3600.0;

/// Seconds of a day.
const DAY_S: f64 = 86_400.0;

/// Where evidence stops growing after an alarm, so that it stays a number.
const MAX_EVIDENCE: f64 = 1e300;

/// Likelihood ratios of one alternative, by symbol.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// Ratio of a symbol, and its logarithm.
    ratios: Vec<(f64, f64)>,
}

impl Table {
    /// From the ratios of symbols 0, 1, ….
    #[must_use]
    pub fn of(ratios: &[f64]) -> Self {
        Self { ratios: ratios.iter().map(|ratio| (*ratio, ratio.ln())).collect() }
    }

    /// The ratio of a symbol; 1, which says nothing, of one that the table does not know.
    #[must_use]
    pub fn ratio(&self, symbol: usize) -> f64 {
        self.entry(symbol).0
    }

    fn entry(&self, symbol: usize) -> (f64, f64) {
        self.ratios.get(symbol).copied().unwrap_or((1.0, 0.0))
    }
}

/// The evidence for one alternative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Component {
    /// Shiryaev-Roberts statistic, in days.
    pub evidence: f64,
    /// Log likelihood ratio since the supposed onset, never below zero.
    pub excess: f64,
    /// The supposed onset.
    pub onset_ms: Option<i64>,
}

/// The moment at which the evidence reached the budget.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alarm {
    /// When.
    pub at_ms: i64,
    /// After how many verdicts.
    pub n: u64,
    /// Which table was strongest.
    pub component: usize,
    /// When it supposes that the change began.
    pub onset_ms: i64,
    /// The evidence.
    pub evidence: f64,
}

/// A two-sided or one-sided watch over one stream of symbols.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Detector {
    tables: Vec<Table>,
    threshold_days: f64,
    components: Vec<Component>,
    last_ms: Option<i64>,
    n: u64,
    evidence: f64,
    alarm: Option<Alarm>,
}

impl Detector {
    /// A detector that false-alarms once in `threshold_days` at most, on average.
    #[must_use]
    pub fn new(tables: Vec<Table>, threshold_days: f64) -> Self {
        let components = vec![Component::default(); tables.len()];
        Self { tables, threshold_days, components, last_ms: None, n: 0, evidence: 0.0, alarm: None }
    }

    /// Folds one symbol and returns the evidence, in days.
    pub fn observe(&mut self, at_ms: i64, symbol: usize) -> f64 {
        let days = self.last_ms.map_or(0.0, |last| days_between(last, at_ms));
        self.last_ms = Some(self.last_ms.map_or(at_ms, |last| last.max(at_ms)));
        self.n += 1;
        let weight = self.weight();
        let mut evidence = 0.0;
        for (component, table) in self.components.iter_mut().zip(&self.tables) {
            let (ratio, log_ratio) = table.entry(symbol);
            component.evidence = ((component.evidence + days) * ratio).min(MAX_EVIDENCE);
            evidence += weight * component.evidence;
            let excess = if component.excess <= 0.0 {
                component.onset_ms = Some(at_ms);
                log_ratio
            } else {
                component.excess + log_ratio
            };
            component.excess = if excess > 0.0 { excess } else { 0.0 };
        }
        self.evidence = evidence;
        if self.alarm.is_none() && self.threshold_days <= evidence {
            self.alarm = self.sound(at_ms, evidence);
        }
        evidence
    }

    /// The alarm; once sounded it stays.
    #[must_use]
    pub fn alarm(&self) -> Option<Alarm> {
        self.alarm
    }

    /// Evidence as a share of the budget: an alarm at 1.
    #[must_use]
    pub fn evidence_ratio(&self) -> f64 {
        self.evidence / self.threshold_days
    }

    /// The evidence by alternative.
    #[must_use]
    pub fn components(&self) -> &[Component] {
        &self.components
    }

    /// The likelihood ratios by alternative.
    #[must_use]
    pub fn tables(&self) -> &[Table] {
        &self.tables
    }

    /// Symbols folded, and the time of the latest.
    #[must_use]
    pub fn seen(&self) -> (u64, Option<i64>) {
        (self.n, self.last_ms)
    }

    fn weight(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a handful of tables")]
        let tables = self.tables.len() as f64;
        1.0 / tables
    }

    fn sound(&self, at_ms: i64, evidence: f64) -> Option<Alarm> {
        let mut strongest: Option<(usize, &Component)> = None;
        for (index, component) in self.components.iter().enumerate() {
            if strongest.is_none_or(|(_, best)| best.evidence < component.evidence) {
                strongest = Some((index, component));
            }
        }
        let (component, best) = strongest?;
        let onset_ms = best.onset_ms.unwrap_or(at_ms);
        Some(Alarm { at_ms, n: self.n, component, onset_ms, evidence })
    }
}

/// Days from `last_ms` to `at_ms`, never negative, at most [`MAX_GAP_S`].
fn days_between(last_ms: i64, at_ms: i64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a gap is far below 2^53 ms")]
    let gap_ms = at_ms.saturating_sub(last_ms).max(0) as f64;
    (gap_ms / 1000.0).min(MAX_GAP_S) / DAY_S
}
