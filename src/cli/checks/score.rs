//! A score is what the checks of a policy made of the pictures of a manifest: how many good ones
//! they flag, which defects they catch, and what they miss.
//!
//! A check counts where the policy makes it: one with a condition only for pictures that meet it.
//! But a picture that a manifest expects a check to catch is always held to that check.

use std::collections::{BTreeMap, BTreeSet};

use crate::cli::checks::manifest::{Entry, Expected};
use crate::domain::policy::{CheckKind, CheckSpec};
use crate::domain::{Limit, OnFail};
use crate::imaging::Line;

/// One picture and what was measured on it.
#[derive(Clone, Debug)]
pub(crate) struct Scored {
    /// The manifest's row.
    pub(crate) entry: Entry,
    /// What came of it; `None`: it was refused, because.
    pub(crate) outcome: Result<Vec<Reading>, String>,
}

/// What one check measured on one picture.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    /// The check's place in the policy.
    pub(crate) check: usize,
    /// Whether the policy makes it for this picture.
    pub(crate) applies: bool,
    /// What was measured, a line for each limit.
    pub(crate) lines: Vec<Line>,
}

/// What another tool found in the files that it looked at.
pub(crate) type Beside = BTreeMap<String, BTreeSet<String>>;

/// Limits other than the policy's, by the check's place and the line's.
pub(crate) type Limits = BTreeMap<(usize, usize), Limit>;

impl Reading {
    /// Whether a line is broken, the policy's or the one given instead.
    #[must_use]
    pub(crate) fn is_broken(&self, limits: &Limits) -> bool {
        self.lines.iter().enumerate().any(|(number, line)| {
            let limit = limits.get(&(self.check, number)).unwrap_or(&line.limit);
            line.value.is_some_and(|value| !limit.holds(value))
        })
    }
}

impl Scored {
    /// The checks that are broken, by their place.
    #[must_use]
    pub(crate) fn broken(&self, checks: &[CheckSpec], limits: &Limits) -> BTreeSet<usize> {
        let Ok(readings) = &self.outcome else { return BTreeSet::new() };
        let counts = |reading: &&Reading| reading.applies || self.expects(checks, reading.check);
        let broken = readings.iter().filter(counts).filter(|one| one.is_broken(limits));
        broken.map(|reading| reading.check).collect()
    }

    fn expects(&self, checks: &[CheckSpec], check: usize) -> bool {
        checks.get(check).is_some_and(|check| self.entry.names(&check.kind))
    }

    /// Whether what the manifest states came true; `None` where it states nothing.
    #[must_use]
    pub(crate) fn is_caught(&self, checks: &[CheckSpec], limits: &Limits) -> Option<bool> {
        match self.entry.expected {
            Expected::Refused => Some(self.outcome.is_err()),
            Expected::Caught(_) => {
                let broken = self.broken(checks, limits);
                Some(broken.iter().any(|check| self.expects(checks, *check)))
            }
            Expected::Duplicate | Expected::Open => None,
        }
    }
}

/// The good pictures of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Good {
    /// How many there are.
    pub(crate) count: usize,
    /// Files that were refused or that a failing or reviewing check stopped.
    pub(crate) stopped: BTreeSet<String>,
    /// Files that any check flagged.
    pub(crate) flagged: BTreeSet<String>,
    /// The same by the check's place.
    pub(crate) by_check: BTreeMap<usize, Vec<String>>,
}

impl Good {
    /// Of the good pictures among `scored`.
    #[must_use]
    pub(crate) fn of(scored: &[Scored], checks: &[CheckSpec], limits: &Limits) -> Self {
        let mut good = Self::default();
        for one in scored.iter().filter(|one| one.entry.is_good()) {
            good.count += 1;
            let file = &one.entry.file;
            if one.outcome.is_err() {
                good.stopped.insert(file.clone());
            }
            for check in one.broken(checks, limits) {
                good.by_check.entry(check).or_default().push(file.clone());
                let stops = |check: &CheckSpec| check.on_fail != OnFail::Flag;
                let into = match checks.get(check).is_some_and(stops) {
                    true => &mut good.stopped,
                    false => &mut good.flagged,
                };
                into.insert(file.clone());
            }
        }
        good
    }
}

/// The pictures of one defect at one level.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Defect {
    /// How many there are.
    pub(crate) count: usize,
    /// Of how many something is stated.
    pub(crate) stated: usize,
    /// Of those, how many came true.
    pub(crate) caught: usize,
    /// How many any check stopped or flagged, or the decoder refused.
    pub(crate) noticed: usize,
    /// How many the other tool found something in, of those it looked at.
    pub(crate) beside: (usize, usize),
    /// What it found, with how often.
    pub(crate) beside_by: BTreeMap<String, usize>,
    /// The checks that were broken, by their place, with how often.
    pub(crate) by_check: BTreeMap<usize, usize>,
    /// Files of which what is stated did not come true.
    pub(crate) missed: Vec<String>,
}

/// The defects by name and level.
#[must_use]
pub(crate) fn defects(
    scored: &[Scored],
    checks: &[CheckSpec],
    limits: &Limits,
    beside: &Beside,
) -> BTreeMap<String, Defect> {
    let mut defects: BTreeMap<String, Defect> = BTreeMap::new();
    for one in scored.iter().filter(|one| !one.entry.is_good()) {
        let defect = defects.entry(one.entry.defect()).or_default();
        defect.count += 1;
        let broken = one.broken(checks, limits);
        defect.noticed += usize::from(!broken.is_empty() || one.outcome.is_err());
        for check in broken {
            *defect.by_check.entry(check).or_default() += 1;
        }
        if let Some(found) = beside.get(&one.entry.file) {
            defect.beside.0 += usize::from(!found.is_empty());
            defect.beside.1 += 1;
            for issue in found {
                *defect.beside_by.entry(issue.clone()).or_default() += 1;
            }
        }
        match one.is_caught(checks, limits) {
            None => {}
            Some(true) => {
                defect.stated += 1;
                defect.caught += 1;
            }
            Some(false) => {
                defect.stated += 1;
                defect.missed.push(one.entry.file.clone());
            }
        }
    }
    defects
}

/// Whether pictures can say where a check's line should lie: not of a list, and not of a size, which
/// whoever shows the pictures decides.
pub(crate) fn is_fitted(check: &CheckSpec) -> bool {
    !matches!(check.kind, CheckKind::Phash { .. } | CheckKind::Size { .. })
}
