//! A baseline is what was normal: learnt from whole days, then frozen.
//!
//! It never slides: a slow ramp would teach it. While it is learnt nothing is kept but counts, by
//! risk in steps of 1/10,000, so that a week at any volume takes the same room; the bins are cut
//! when it is frozen.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::drift::decompose::{Cell, Counts};
use crate::drift::evidence::PairRow;
use crate::drift::interval::{Tally, real};
use crate::drift::judged::{Judged, Names, RISK_TICKS, Route, stratum_judge};
use crate::drift::listed;
use crate::drift::mix::{Rates, Shares};
use crate::drift::pairs::Pairs;
use crate::drift::shift::Seen;

/// Bins of the pre-check's risk, of as many images each as ties allow.
pub const BINS: u8 = 5;

/// Length of a block within which verdicts are compared for over-dispersion, in milliseconds.
const BLOCK_MS: i64 = 15 * 60_000;

/// Stretches of risk within which blocks are compared; the bins are not known yet.
const STRETCHES: u16 = 10;

/// What was normal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// Upper edges of all bins but the last, in ticks of risk.
    pub edges: Vec<u16>,
    /// Verdicts served, by stratum.
    #[serde(with = "listed")]
    pub served: Counts,
    /// What says how judges judge, by bin and judge.
    #[serde(with = "listed")]
    pub evidence: Seen,
    /// Reject rates, by stratum of judge.
    pub rates: Rates,
    /// Verdicts served, by stratum of judge.
    pub shares: Shares,
    /// Pairs of judges: the first's view of the second.
    pub pairs: BTreeMap<String, BTreeMap<String, Pairs>>,
    /// Who served most.
    pub primary: String,
    /// By how much verdicts vary more than independent ones would; at least 1.
    pub over_dispersion: f64,
    /// Learnt from fewer than whole days, after a change of policy.
    pub provisional: bool,
}

impl Baseline {
    /// The bin of a risk: how many edges lie below it.
    #[must_use]
    pub fn bin(&self, risk_ticks: u16) -> u8 {
        self.edges.iter().filter(|edge| **edge < risk_ticks).fold(0, |bin, _| bin + 1)
    }

    /// Verdicts of every judge that were served, by bin.
    #[must_use]
    pub fn served_by_bin(&self) -> Vec<Tally> {
        by_bin(self.served.iter().map(|(cell, tally)| (cell.bin, *tally)))
    }

    /// Evidence of one judge, by bin.
    #[must_use]
    pub fn evidence_by_bin(&self, judge: &str) -> Vec<Tally> {
        let own = self.evidence.iter().filter(|((_, name), _)| name == judge);
        by_bin(own.map(|((bin, _), tally)| (*bin, *tally)))
    }

    /// Verdicts served, and those of them by another judge than the primary.
    #[must_use]
    pub fn served_elsewhere(&self) -> (u64, u64) {
        let served = self.shares.values().sum();
        let primary = self.shares.get(&self.primary).copied().unwrap_or_default();
        (served, served - primary)
    }

    /// Verdicts served by each judge, its won hedges among them.
    #[must_use]
    pub fn served_by_judge(&self) -> BTreeMap<String, Tally> {
        let mut judges: BTreeMap<String, Tally> = BTreeMap::new();
        for (cell, tally) in &self.served {
            *judges.entry(stratum_judge(&cell.judge).to_owned()).or_default() += *tally;
        }
        judges
    }

    /// The digest of the baseline: a state that was folded over another is not this one's.
    ///
    /// # Errors
    /// A number in it cannot be written, which is a defect.
    pub fn digest(&self) -> Result<String, serde_json::Error> {
        Ok(blake3::hash(&serde_json::to_vec(self)?).to_hex().to_string())
    }
}

/// Edges of [`BINS`] bins of served risks, counted by risk: order statistics, the one at rank
/// ceil(n i / bins) for each edge.
pub(crate) fn edges<R: Copy>(by_risk: &BTreeMap<R, u64>) -> Vec<R> {
    let all: u64 = by_risk.values().sum();
    let edge = |i: u64| {
        let rank = (all * i).div_ceil(u64::from(BINS));
        let mut below = 0;
        by_risk.iter().find_map(|(risk, n)| {
            below += n;
            (rank <= below).then_some(*risk)
        })
    };
    (1..u64::from(BINS)).filter_map(edge).collect()
}

fn by_bin(tallies: impl Iterator<Item = (u8, Tally)>) -> Vec<Tally> {
    let mut bins = vec![Tally::default(); usize::from(BINS)];
    for (bin, tally) in tallies {
        if let Some(sum) = bins.get_mut(usize::from(bin)) {
            *sum += tally;
        }
    }
    bins
}

/// Where verdicts of one kind are counted while a baseline is learnt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Place {
    risk_ticks: u16,
    judge: u16,
    config: u16,
    served: bool,
    evidence: bool,
}

/// Verdicts of one judge and stretch of risk, by block of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Blocks {
    block: i64,
    now: Tally,
    whole: Tally,
    /// Sum over finished blocks of rejects squared over verdicts.
    squares: f64,
    blocks: u64,
}

impl Blocks {
    fn count(&mut self, at_ms: i64, reject: bool) {
        let block = at_ms.div_euclid(BLOCK_MS);
        if block != self.block {
            self.finish();
            self.block = block;
        }
        self.now.count(reject);
    }

    fn finish(&mut self) {
        if self.now.n > 0 {
            self.whole += self.now;
            self.squares += real(self.now.rejects).powi(2) / real(self.now.n);
            self.blocks += 1;
        }
        self.now = Tally::default();
    }

    /// Pearson's chi-square of the blocks about their common rate, and its degrees of freedom.
    fn pearson(mut self) -> (f64, u64) {
        self.finish();
        let rate = self.whole.rate();
        let spread = rate * (1.0 - rate);
        if self.blocks < 2 || spread <= 0.0 {
            return (0.0, 0);
        }
        let about = self.squares - real(self.whole.rejects) * rate;
        (about / spread, self.blocks - 1)
    }
}

/// A baseline as it is learnt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Learning {
    until_ms: i64,
    min_served: u64,
    provisional: bool,
    served: u64,
    #[serde(with = "listed")]
    counts: BTreeMap<Place, Tally>,
    #[serde(with = "listed")]
    pairs: BTreeMap<(u16, u16), Pairs>,
    #[serde(with = "listed")]
    blocks: BTreeMap<(u16, u16), Blocks>,
}

impl Learning {
    /// Learns until a moment, and until so many verdicts were served.
    #[must_use]
    pub fn new(until_ms: i64, min_served: u64, provisional: bool) -> Self {
        Self {
            until_ms,
            min_served,
            provisional,
            served: 0,
            counts: BTreeMap::new(),
            pairs: BTreeMap::new(),
            blocks: BTreeMap::new(),
        }
    }

    /// Verdicts served so far, how many are needed, and until when at least it learns.
    #[must_use]
    pub fn progress(&self) -> (u64, u64, i64) {
        (self.served, self.min_served, self.until_ms)
    }

    /// Whether a verdict of this moment comes after the baseline.
    #[must_use]
    pub fn done(&self, at_ms: i64) -> bool {
        self.until_ms <= at_ms && self.min_served <= self.served
    }

    /// Folds one verdict of a judge's stratum.
    pub fn learn(&mut self, judged: &Judged, judge: u16, config: u16) {
        let (served, evidence) = (judged.route.served(), judged.route.evidence());
        if !served && !evidence {
            return;
        }
        let risk_ticks = judged.risk_ticks();
        let place = Place { risk_ticks, judge, config, served, evidence };
        self.counts.entry(place).or_default().count(judged.reject);
        if served {
            self.served += 1;
        }
        if judged.route == Route::Primary {
            let stretch = (risk_ticks / (RISK_TICKS / STRETCHES)).min(STRETCHES - 1);
            self.blocks.entry((judge, stretch)).or_default().count(judged.at_ms, judged.reject);
        }
    }

    /// Folds one image that two judges have seen.
    pub fn learn_pair(&mut self, pair: &PairRow) {
        let ([a, b], [a_rejects, b_rejects]) = (pair.judges, pair.rejects);
        self.pairs.entry((a, b)).or_default().count(a_rejects, b_rejects);
        self.pairs.entry((b, a)).or_default().count(b_rejects, a_rejects);
    }

    /// Freezes what was learnt.
    #[must_use]
    pub fn freeze(&self, judges: &Names, configs: &Names) -> Baseline {
        let mut baseline = Baseline {
            edges: self.edges(),
            served: Counts::new(),
            evidence: Seen::new(),
            rates: Rates::new(),
            shares: Shares::new(),
            pairs: BTreeMap::new(),
            primary: String::new(),
            over_dispersion: self.over_dispersion(),
            provisional: self.provisional,
        };
        for (place, tally) in &self.counts {
            let bin = baseline.bin(place.risk_ticks);
            let judge = judges.name(place.judge).to_owned();
            if place.served {
                let config = configs.name(place.config).to_owned();
                let cell = Cell { bin, judge: judge.clone(), config };
                *baseline.served.entry(cell).or_default() += *tally;
                *baseline.shares.entry(judge.clone()).or_default() += tally.n;
            }
            if place.evidence {
                *baseline.evidence.entry((bin, judge.clone())).or_default() += *tally;
            }
            // a served verdict that is no evidence is a hedge's, in a stratum of its own
            *baseline.rates.entry(judge).or_default() += *tally;
        }
        for ((a, b), pairs) in &self.pairs {
            let [a, b] = [a, b].map(|judge| judges.name(*judge).to_owned());
            baseline.pairs.entry(a).or_default().insert(b, *pairs);
        }
        let most = baseline.shares.iter().max_by(|a, b| a.1.cmp(b.1).then_with(|| a.0.cmp(b.0)));
        baseline.primary = most.map(|(judge, _)| judge.clone()).unwrap_or_default();
        baseline
    }

    /// The configurations that were seen.
    #[must_use]
    pub fn configs(&self) -> BTreeSet<u16> {
        self.counts.keys().map(|place| place.config).collect()
    }

    fn edges(&self) -> Vec<u16> {
        let mut by_risk: BTreeMap<u16, u64> = BTreeMap::new();
        for (place, tally) in self.counts.iter().filter(|(place, _)| place.served) {
            *by_risk.entry(place.risk_ticks).or_default() += tally.n;
        }
        edges(&by_risk)
    }

    fn over_dispersion(&self) -> f64 {
        let (mut squares, mut freedom) = (0.0, 0);
        for blocks in self.blocks.values() {
            let (chi_square, degrees) = blocks.pearson();
            squares += chi_square;
            freedom += degrees;
        }
        if freedom == 0 { 1.0 } else { (squares / real(freedom)).max(1.0) }
    }
}
