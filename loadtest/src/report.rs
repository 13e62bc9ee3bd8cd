//! A report is what people read of one run or of several parts of one: a summary for the terminal
//! and one page that stands alone.
//!
//! Parts are merged by scenario: runs of the same scenario under other seeds stand in one row, and
//! each figure of the row is that of its worst seed, because the worst must hold.

mod chart;
mod html;
mod text;
mod words;

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use thiserror::Error;

use crate::outcome::FORMAT;
use crate::outcome::Figure;
use crate::outcome::FigureVerdict;
use crate::outcome::Op;
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
}

/// A scenario under all its seeds.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// At least one; all of the same scenario, way of reading, deadline and target.
    pub runs: Vec<ScenarioRun>,
}

impl Report {
    /// Merges `runs`.
    ///
    /// # Errors
    /// One of them is of another version.
    pub fn merge(runs: Vec<Run>) -> Result<Self, ReportError> {
        let mut report = Self { parts: Vec::new(), rows: Vec::new() };
        for run in runs {
            if run.format != FORMAT {
                return Err(ReportError::OtherFormat { found: run.format });
            }
            report.parts.push(run.rig);
            for scenario in run.scenarios {
                let known = report.rows.iter_mut().find(|row| row.is_of(&scenario));
                match known {
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
        self.rows.iter().all(Row::passed)
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

    /// Each figure by that of its worst seed, in the order of the first run.
    fn figures(&self) -> Vec<&Figure> {
        let Some(head) = self.head() else { return Vec::new() };
        head.figures.iter().map(|figure| self.worst(figure)).collect()
    }

    /// The figure called `id` by that of its worst seed.
    fn figure(&self, id: &str) -> Option<&Figure> {
        let head = self.head()?;
        head.figures.iter().find(|figure| figure.id == id).map(|figure| self.worst(figure))
    }

    fn worst<'a>(&'a self, like: &'a Figure) -> &'a Figure {
        let alike = self.runs.iter().flat_map(|run| &run.figures);
        let alike = alike.filter(|figure| figure.id == like.id);
        alike.reduce(|one, other| if is_worse(other, one) { other } else { one }).unwrap_or(like)
    }

    fn is_of(&self, run: &ScenarioRun) -> bool {
        let key =
            |run: &ScenarioRun| (run.id.clone(), run.streamed, run.deadline_ms, run.target.clone());
        self.head().is_some_and(|head| key(head) == key(run))
    }
}

/// Whether `one` is further on the bad side of its line; what could not be measured is the worst.
fn is_worse(one: &Figure, other: &Figure) -> bool {
    let missed = |figure: &Figure| figure.verdict == FigureVerdict::Missed;
    if missed(one) != missed(other) {
        return missed(one);
    }
    let at_least = one.limit.is_some_and(|limit| limit.op == Op::AtLeast);
    match (one.value, other.value) {
        (Some(one), Some(other)) if at_least => one < other,
        (Some(one), Some(other)) => other < one,
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
