//! A label names the largest material cause of a change between two windows.
//!
//! A cause is material when its effect is at least half a point and beyond 2.5 standard errors
//! (5 % over four causes, Bonferroni).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::drift::decompose::{Cause, Cell, Counts, Decomposition, decompose};
use crate::drift::event::{Label, MATERIAL};
use crate::drift::interval::{Tally, real};
use crate::drift::shift::{Attribution, Seen, Shift, Story, attribute, judge_shifts};

/// Normal quantile at 5 % two-sided over four causes.
const Z_FOUR: f64 = 2.497_705_474_412_372_3;

/// Share from which a judge must be well seen before bins are told apart, and how well.
const WELL_SEEN_SHARE: f64 = 0.02;
const WELL_SEEN: u64 = 150;

/// What is said of a change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// Every material cause, the largest first.
    pub all: Vec<Label>,
    /// The change by cause.
    pub decomposition: Decomposition,
    /// How far each judge moved.
    pub shifts: BTreeMap<String, Shift>,
    /// The story the shifts tell.
    pub attribution: Attribution,
}

impl Reading {
    /// The largest material cause.
    #[must_use]
    pub fn label(&self) -> Label {
        self.all.first().cloned().unwrap_or(Label::None)
    }
}

/// One window: what was served, and what says how judges judge (not hedges, but shadows too).
#[derive(Clone, Copy, Debug)]
pub struct Window<'a> {
    /// Verdicts served, by stratum.
    pub served: &'a Counts,
    /// Evidence of the judges, by bin and judge.
    pub evidence: &'a Seen,
}

/// Reads the change from one window to another. None when one is empty.
#[must_use]
pub fn read(before: Window<'_>, after: Window<'_>, over_dispersion: f64) -> Option<Reading> {
    let decomposition = decompose(before.served, after.served, over_dispersion)?;
    let shifts = judge_shifts(before.evidence, after.evidence);
    let attribution = attribute(&shifts);
    let mut material: Vec<(f64, Cause)> = Vec::new();
    for cause in Cause::ALL {
        let effect = decomposition.part(cause).whole;
        let size = effect.effect.abs();
        if MATERIAL <= size && Z_FOUR * effect.se < size {
            material.push((size, cause));
        }
    }
    material.sort_by(|a, b| b.0.total_cmp(&a.0));
    let all = material.into_iter().map(|(_, cause)| name(cause, &attribution.story)).collect();
    Some(Reading { all, decomposition, shifts, attribution })
}

fn name(cause: Cause, story: &Story) -> Label {
    match (cause, story) {
        (Cause::Input, _) | (Cause::Within, Story::Common) => Label::InputDrift,
        (Cause::Routing, _) => Label::Routing,
        (Cause::Policy, _) => Label::PolicyChange,
        (Cause::Within, Story::One(judge)) => Label::ProviderDrift(judge.clone()),
        (Cause::Within, Story::Separate) => Label::MixedDrift,
        (
            Cause::Within,
            Story::None | Story::Unattributed | Story::Ambiguous | Story::Insufficient,
        ) => Label::Unattributed,
    }
}

/// Evidence by bin and judge of what was served, for a window without any other.
#[must_use]
pub fn marginal(served: &Counts) -> Seen {
    let mut seen = Seen::new();
    for (cell, tally) in served {
        *seen.entry((cell.bin, cell.judge.clone())).or_default() += *tally;
    }
    seen
}

/// Whether both windows hold enough of every judge that matters to tell bins apart.
#[must_use]
pub fn separable(before: &Counts, after: &Counts) -> bool {
    let by_judge = |counts: &Counts| {
        let mut seen: BTreeMap<String, u64> = BTreeMap::new();
        for (cell, tally) in counts {
            *seen.entry(cell.judge.clone()).or_default() += tally.n;
        }
        seen
    };
    let windows = [by_judge(before), by_judge(after)];
    windows.iter().all(|window| {
        let all = real(window.values().sum());
        window.iter().filter(|(_, n)| WELL_SEEN_SHARE * all <= real(**n)).all(|(judge, _)| {
            windows.iter().all(|one| one.get(judge).is_some_and(|n| WELL_SEEN <= *n))
        })
    })
}

/// The same verdicts as if all images were of one bin.
#[must_use]
pub fn pooled(counts: &Counts) -> Counts {
    let mut pooled: BTreeMap<Cell, Tally> = BTreeMap::new();
    for (cell, tally) in counts {
        *pooled.entry(Cell { bin: 0, ..cell.clone() }).or_default() += *tally;
    }
    pooled
}
