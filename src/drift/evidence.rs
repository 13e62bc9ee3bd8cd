//! Evidence is what the monitor remembers of single verdicts: those since any onset that it may
//! still have to explain, and which images two judges have seen.
//!
//! It is bounded by age and by number; the detectors do not need it.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::drift::judged::Route;
use crate::drift::listed;

/// Oldest verdict kept, in milliseconds: no onset is traced further back.
const KEEP_MS: i64 = 2 * 86_400_000;

/// Most verdicts, and most pairs, kept.
const MAX_ROWS: usize = 1 << 18;

/// Most images remembered while a second judge may still be asked.
const MAX_IMAGES: usize = 1 << 16;

/// One verdict. A state holds a quarter of a million of them, so they are written as bare lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "RowForm", into = "RowForm")]
pub struct Row {
    /// When.
    pub at_ms: i64,
    /// Bin of the pre-check.
    pub bin: u8,
    /// Number of the judge's stratum.
    pub judge: u16,
    /// Number of the configuration.
    pub config: u16,
    /// Why the judge was asked.
    pub route: Route,
    /// Whether it rejects.
    pub reject: bool,
}

type RowForm = (i64, u8, u16, u16, Route, bool);

impl From<RowForm> for Row {
    fn from((at_ms, bin, judge, config, route, reject): RowForm) -> Self {
        Self { at_ms, bin, judge, config, route, reject }
    }
}

impl From<Row> for RowForm {
    fn from(row: Row) -> Self {
        (row.at_ms, row.bin, row.judge, row.config, row.route, row.reject)
    }
}

/// One image that two judges have seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "PairForm", into = "PairForm")]
pub struct PairRow {
    /// When the earlier of them judged it.
    pub since_ms: i64,
    /// The judges.
    pub judges: [u16; 2],
    /// Whether each rejects.
    pub rejects: [bool; 2],
}

type PairForm = (i64, [u16; 2], [bool; 2]);

impl From<PairForm> for PairRow {
    fn from((since_ms, judges, rejects): PairForm) -> Self {
        Self { since_ms, judges, rejects }
    }
}

impl From<PairRow> for PairForm {
    fn from(row: PairRow) -> Self {
        (row.since_ms, row.judges, row.rejects)
    }
}

/// What one judge said of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "SaidForm", into = "SaidForm")]
struct Said {
    at_ms: i64,
    judge: u16,
    config: u16,
    reject: bool,
}

type SaidForm = (i64, u16, u16, bool);

impl From<SaidForm> for Said {
    fn from((at_ms, judge, config, reject): SaidForm) -> Self {
        Self { at_ms, judge, config, reject }
    }
}

impl From<Said> for SaidForm {
    fn from(said: Said) -> Self {
        (said.at_ms, said.judge, said.config, said.reject)
    }
}

/// The verdicts remembered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Recent {
    rows: VecDeque<Row>,
    pairs: VecDeque<PairRow>,
    #[serde(with = "listed")]
    images: BTreeMap<u64, Vec<Said>>,
    order: VecDeque<u64>,
}

impl Recent {
    /// Remembers one verdict, and forgets what is too old.
    pub fn remember(&mut self, row: Row) {
        let oldest = row.at_ms.saturating_sub(KEEP_MS);
        self.rows.push_back(row);
        while self.rows.front().is_some_and(|row| row.at_ms < oldest) || MAX_ROWS < self.rows.len()
        {
            self.rows.pop_front();
        }
        while self.pairs.front().is_some_and(|pair| pair.since_ms < oldest) {
            self.pairs.pop_front();
        }
    }

    /// Joins a verdict with the other judges' of the same image under the same configuration, and
    /// returns the pairs it makes. A judge that has seen the image already makes none; neither does
    /// a route that `may_pair` leaves out.
    pub fn join(&mut self, image: u64, row: &Row, may_pair: fn(Route) -> bool) -> Vec<PairRow> {
        if !may_pair(row.route) {
            return Vec::new();
        }
        let Row { at_ms, judge, config, reject, .. } = *row;
        let said = self.images.entry(image).or_insert_with(|| {
            self.order.push_back(image);
            Vec::new()
        });
        if said.iter().any(|one| one.judge == judge) {
            return Vec::new();
        }
        let others = said.iter().filter(|one| one.config == config);
        let pair = |one: &Said| PairRow {
            since_ms: one.at_ms.min(at_ms),
            judges: [judge, one.judge],
            rejects: [reject, one.reject],
        };
        let made: Vec<PairRow> = others.map(pair).collect();
        said.push(Said { at_ms, judge, config, reject });
        if MAX_IMAGES < self.order.len()
            && let Some(oldest) = self.order.pop_front()
        {
            self.images.remove(&oldest);
        }
        self.pairs.extend(&made);
        while MAX_ROWS < self.pairs.len() {
            self.pairs.pop_front();
        }
        made
    }

    /// The verdicts since a moment.
    pub fn rows_since(&self, at_ms: i64) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| at_ms <= row.at_ms)
    }

    /// The latest verdict first.
    pub fn latest_rows(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().rev()
    }

    /// The pairs of which both were judged since a moment.
    pub fn pairs_since(&self, at_ms: i64) -> impl Iterator<Item = &PairRow> {
        self.pairs.iter().filter(move |pair| at_ms <= pair.since_ms)
    }
}
