//! A report is what people read of one run or of several parts of one: a summary for the terminal
//! and one page that stands alone.
//!
//! Parts are merged by scenario: runs of the same scenario that differ in nothing but the seed stand in
//! one row, and each figure of the row is that of its worst seed, because the worst must hold. The same
//! run twice is one run, and a part that broke off before all was run that it was to run has not passed.

mod chart;
mod html;
mod text;
mod words;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use thiserror::Error;

use crate::figures::good_side;
use crate::outcome::FORMAT;
use crate::outcome::Figure;
use crate::outcome::FigureVerdict;
use crate::outcome::OWN_GATE;
use crate::outcome::Op;
use crate::outcome::Phase;
use crate::outcome::RigFacts;
use crate::outcome::Run;
use crate::outcome::ScenarioRun;

/// What a run's file is called in its directory.
pub const RUN_FILE: &str = "run.json";

/// Why there is nothing to report.
#[derive(Debug, Error)]
pub enum ReportError {
    /// A file that cannot be read.
    #[error("{path}: {why}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why not.
        why: io::Error,
    },
    /// A file that is no run.
    #[error("{path} is not a run: {why}")]
    NoRun {
        /// Which.
        path: PathBuf,
        /// Why not.
        why: serde_json::Error,
    },
    /// A run of another version of this program.
    #[error("a run of format {found}; this program reads {FORMAT}")]
    OtherFormat {
        /// Its version.
        found: u32,
    },
    /// No runs at all.
    #[error("there is no {RUN_FILE} in {0:?}")]
    Nothing(Vec<PathBuf>),
}

/// Runs, merged.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Where and how each part was measured.
    pub parts: Vec<RigFacts>,
    /// One entry a scenario, in the order in which they first ran.
    pub rows: Vec<Row>,
    /// What a part was to run and did not: id and seed.
    pub missing: Vec<(String, u64)>,
    /// What all parts together were to hold and do not: id and how many seeds of it there are.
    pub gaps: Vec<(String, usize)>,
}

/// What all parts together are to hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Whole {
    /// The ids of the scenarios.
    pub scenarios: Vec<String>,
    /// Under how many seeds each.
    pub seeds: usize,
}

/// A scenario under all its seeds.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// At least one; all of the same [`Key`].
    pub runs: Vec<ScenarioRun>,
}

/// What runs of one row have in common: everything but the seed.
#[derive(Clone, Debug, PartialEq)]
struct Key<'a> {
    id: &'a str,
    target: &'a str,
    deadline_ms: u64,
    rate_per_s: f64,
    streamed: bool,
    short: bool,
    phases: &'a [Phase],
}

impl<'a> Key<'a> {
    fn of(run: &'a ScenarioRun) -> Self {
        let ScenarioRun { id, phases, .. } = run;
        let target = run.target.as_deref().unwrap_or_default();
        let (deadline_ms, rate_per_s) = (run.deadline_ms, run.rate_per_s);
        let (streamed, short) = (run.streamed, run.short);
        Self { id, target, deadline_ms, rate_per_s, streamed, short, phases }
    }

    /// How long all of it takes, seconds.
    fn length_s(&self) -> f64 {
        self.phases.last().map_or(0.0, |phase| phase.end_s)
    }
}

impl Report {
    /// Merges `runs`.
    ///
    /// # Errors
    /// One of them is of another version.
    pub fn merge(runs: Vec<Run>) -> Result<Self, ReportError> {
        let (parts, rows) = (Vec::new(), Vec::new());
        let mut report = Self { parts, rows, missing: Vec::new(), gaps: Vec::new() };
        for run in runs {
            if run.format != FORMAT {
                return Err(ReportError::OtherFormat { found: run.format });
            }
            let (target, is_short) = (run.rig.target.clone(), run.rig.short);
            let planned = run.rig.planned.iter();
            let is_run = |(id, seed): &(String, u64)| {
                run.scenarios.iter().any(|one| one.id == *id && one.seed == *seed)
            };
            report.missing.extend(planned.filter(|one| !is_run(one)).cloned());
            report.parts.push(run.rig);
            for mut scenario in run.scenarios {
                scenario.short |= is_short;
                let driven = scenario.target.get_or_insert_with(|| target.clone());
                scenario.streamed &= driven.as_str() == OWN_GATE;
                let known = report.rows.iter_mut().find(|row| row.is_of(&scenario));
                match known {
                    // a copy of a part is no second measurement
                    Some(row) if row.runs.contains(&scenario) => {}
                    Some(row) => row.runs.push(scenario),
                    None => report.rows.push(Row { runs: vec![scenario] }),
                }
            }
        }
        Ok(report)
    }

    /// Reads the runs under `paths`: files, or directories with a [`RUN_FILE`] in them or one below.
    ///
    /// # Errors
    /// Nothing is there, or what is there is no run.
    pub fn read(paths: &[PathBuf]) -> Result<Self, ReportError> {
        let mut files = Vec::new();
        for path in paths {
            find(path, &mut files)?;
        }
        if files.is_empty() {
            return Err(ReportError::Nothing(paths.to_vec()));
        }
        let mut runs = Vec::new();
        for path in files {
            let text = fs::read_to_string(&path)
                .map_err(|why| ReportError::Unreadable { path: path.clone(), why })?;
            let run = serde_json::from_str(&text)
                .map_err(|why| ReportError::NoRun { path: path.clone(), why })?;
            runs.push(run);
        }
        Self::merge(runs)
    }

    /// Whether every scenario passed under every seed.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.is_whole() && self.rows.iter().all(Row::passed)
    }

    /// Whether every scenario that was to be run was carried through, by one program.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let mut runs = self.rows.iter().flat_map(|row| &row.runs);
        let is_all = self.missing.is_empty() && self.gaps.is_empty();
        is_all && self.gates().len() <= 1 && runs.all(|run| run.broken.is_none())
    }

    /// The gates that the rig built and started itself, each by its version and digest: parts of two
    /// are no one measurement.
    fn gates(&self) -> BTreeSet<&str> {
        let own = self.parts.iter().filter(|part| part.target == OWN_GATE);
        own.filter_map(|part| part.versions.get(OWN_GATE)).map(String::as_str).collect()
    }

    /// Notes what `whole` asks for and no row of the usual form holds.
    #[must_use]
    pub fn held_to(mut self, whole: &Whole) -> Self {
        let seeds_of = |id: &String| {
            let alike = self.rows.iter().filter(|row| row.head().is_some_and(|run| run.id == *id));
            alike.filter(|row| self.apart(row).is_empty()).map(|row| row.seeds().len()).max()
        };
        let gaps = whole.scenarios.iter().map(|id| (id.clone(), seeds_of(id).unwrap_or_default()));
        self.gaps = gaps.filter(|(_, seeds)| *seeds < whole.seeds).collect();
        self
    }

    /// What tells a row from others of its scenario: where it is not what the first part usually ran.
    fn apart(&self, row: &Row) -> String {
        let Some((usual, key)) = self.parts.first().zip(row.head().map(Key::of)) else {
            return String::new();
        };
        let mut told = Vec::new();
        if key.target != usual.target {
            told.push(key.target.to_owned());
        }
        if key.deadline_ms != usual.deadline_ms {
            told.push(format!("deadline {} ms", key.deadline_ms));
        }
        if key.rate_per_s.total_cmp(&usual.rate_per_s).is_ne() {
            told.push(format!("{} a second", key.rate_per_s));
        }
        if !key.streamed && key.target == OWN_GATE {
            told.push("not streamed".to_owned());
        }
        if key.short && !usual.short {
            told.push("short form".to_owned());
        }
        let alike = |other: &&Row| other.head().is_some_and(|head| head.id == key.id);
        let mut lengths = self.rows.iter().filter(alike).filter_map(Row::head).map(Key::of);
        if lengths.any(|other| other.short == key.short && other.phases != key.phases) {
            told.push(format!("{:.0} s", key.length_s()));
        }
        told.join(", ")
    }

    /// A row by its scenario's id and what tells it apart: `S2 (deadline 3000 ms)`.
    fn name(&self, row: &Row) -> String {
        let id = row.head().map_or("", |head| head.id.as_str());
        match self.apart(row).as_str() {
            "" => id.to_owned(),
            apart => format!("{id} ({apart})"),
        }
    }

    /// The summary for a terminal.
    #[must_use]
    pub fn text(&self) -> String {
        text::summary(self)
    }

    /// One page that stands alone: no script, nothing fetched.
    #[must_use]
    pub fn html(&self) -> String {
        html::page(self)
    }
}

impl Row {
    /// Whether every seed passed.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.runs.iter().all(ScenarioRun::passed)
    }

    /// The first of the runs: what all of them have in common stands there.
    fn head(&self) -> Option<&ScenarioRun> {
        self.runs.first()
    }

    /// The seeds, each once.
    fn seeds(&self) -> BTreeSet<u64> {
        self.runs.iter().map(|run| run.seed).collect()
    }

    /// The figure of a column: waits of a streamed scenario are held to the healthy p95 without
    /// streaming, and what is shown is what is held.
    fn column(&self, id: &str) -> Option<&Figure> {
        let of_plain = match id {
            "p95" => self.figure("p95_of_plain"),
            "onset_p95" => self.figure("onset_of_plain"),
            _ => None,
        };
        let applies = |figure: &&Figure| {
            figure.verdict != FigureVerdict::NotApplicable && figure.value.is_some()
        };
        of_plain.filter(applies).or_else(|| self.figure(id))
    }

    /// Each figure by that of its worst seed, in the order of the first run that has it.
    fn figures(&self) -> Vec<&Figure> {
        let mut ids: Vec<&str> = Vec::new();
        for figure in self.runs.iter().flat_map(|run| &run.figures) {
            if !ids.contains(&figure.id.as_str()) {
                ids.push(&figure.id);
            }
        }
        ids.into_iter().filter_map(|id| self.figure(id)).collect()
    }

    /// The figure called `id` by that of its worst seed.
    fn figure(&self, id: &str) -> Option<&Figure> {
        let alike = self.runs.iter().flat_map(|run| &run.figures).filter(|figure| figure.id == id);
        alike.reduce(|one, other| if is_worse(other, one) { other } else { one })
    }

    fn is_of(&self, run: &ScenarioRun) -> bool {
        self.head().is_some_and(|head| Key::of(head) == Key::of(run))
    }
}

/// Whether `one` is further on the bad side, which the figure's kind says where there is no line; what
/// could not be measured is the worst.
fn is_worse(one: &Figure, other: &Figure) -> bool {
    let missed = |figure: &Figure| figure.verdict == FigureVerdict::Missed;
    if missed(one) != missed(other) {
        return missed(one);
    }
    let good = one.limit.map_or_else(|| good_side(&one.id), |limit| limit.op);
    match (one.value, other.value) {
        (Some(one), Some(other)) => match good {
            Op::AtLeast => one < other,
            Op::AtMost => other < one,
        },
        (None, Some(_)) => one.limit.is_some(),
        (_, None) => false,
    }
}

/// How deep below a given directory parts are looked for.
const DEPTH: usize = 2;

fn find(path: &Path, files: &mut Vec<PathBuf>) -> Result<(), ReportError> {
    let unreadable = |why| ReportError::Unreadable { path: path.to_owned(), why };
    if fs::metadata(path).map_err(unreadable)?.is_file() {
        files.push(path.to_owned());
        return Ok(());
    }
    let mut level = vec![path.to_owned()];
    for _ in 0..DEPTH {
        let mut below = Vec::new();
        for directory in &level {
            let file = directory.join(RUN_FILE);
            if file.is_file() {
                files.push(file);
            }
            for entry in fs::read_dir(directory).map_err(unreadable)? {
                let entry = entry.map_err(unreadable)?.path();
                if entry.is_dir() {
                    below.push(entry);
                }
            }
        }
        below.sort();
        level = below;
    }
    Ok(())
}

#[cfg(test)]
mod sample;
#[cfg(test)]
mod tests;
