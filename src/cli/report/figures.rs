//! Figures: the answers of `/v1/stats` and `/v1/drift` as far as a report tells them in words.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::app::AppError;

/// A share with its n and its 95 % interval.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
pub(super) struct Share {
    pub(super) n: u64,
    pub(super) count: u64,
    pub(super) share: Option<f64>,
    pub(super) low: f64,
    pub(super) high: f64,
}

/// A difference of rates with its 95 % interval.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
pub(super) struct Effect {
    pub(super) effect: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

/// Percentiles of milliseconds.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub(super) struct Spread {
    pub(super) n: u64,
    pub(super) p50: Option<u64>,
    pub(super) p95: Option<u64>,
    pub(super) p99: Option<u64>,
}

/// `/v1/stats`.
#[derive(Debug, Deserialize)]
pub(super) struct Stats {
    pub(super) as_of: AsOf,
    pub(super) total: Total,
    pub(super) judges: Vec<Judge>,
    pub(super) flags: Vec<Flag>,
    pub(super) criteria: Vec<Criterion>,
    pub(super) series: Series,
}

#[derive(Debug, Deserialize)]
pub(super) struct AsOf {
    pub(super) at: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Total {
    pub(super) n: u64,
    pub(super) pass: u64,
    pub(super) fail: u64,
    pub(super) review: u64,
    pub(super) reject: Share,
    pub(super) by_basis: BTreeMap<String, u64>,
    pub(super) borderline: u64,
    pub(super) total_ms: Spread,
    pub(super) cost_micro_usd: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Judge {
    pub(super) judge: String,
    pub(super) served: Share,
    pub(super) usual_share: Option<f64>,
    pub(super) reject: Share,
    pub(super) first_reject: Share,
    pub(super) attempts: Attempts,
    pub(super) answer_ms: Spread,
    pub(super) cost_micro_usd: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Attempts {
    pub(super) failed: Share,
}

#[derive(Debug, Deserialize)]
pub(super) struct Flag {
    pub(super) flag: String,
    pub(super) n: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Criterion {
    pub(super) judge: String,
    pub(super) criterion: String,
    pub(super) n: u64,
    pub(super) failed: u64,
}

/// A column of figures for each bucket.
#[derive(Debug, Deserialize)]
pub(super) struct Series {
    pub(super) start_ms: Vec<i64>,
    pub(super) n: Vec<u64>,
    pub(super) rated: Vec<u64>,
    pub(super) rejected: Vec<u64>,
    pub(super) p95_ms: Vec<Option<u64>>,
    pub(super) cost_micro_usd: Vec<u64>,
}

/// `/v1/drift`.
#[derive(Debug, Deserialize)]
pub(super) struct Drift {
    pub(super) sentence: String,
    pub(super) label: String,
    pub(super) before: Window,
    pub(super) after: Window,
    pub(super) change: Option<Change>,
    pub(super) expected: Option<Effect>,
    pub(super) left_over: Option<Effect>,
    pub(super) adjusted: Option<Adjusted>,
    pub(super) judges: Vec<Compared>,
    pub(super) evidence: Vec<Evidence>,
    pub(super) events: Vec<Event>,
    pub(super) people: People,
    pub(super) hedges: Vec<Hedge>,
}

/// What two judges say of the images that one of them won by a hedge.
#[derive(Debug, Deserialize)]
pub(super) struct Hedge {
    pub(super) sentence: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Window {
    pub(super) since: String,
    pub(super) until: String,
    pub(super) baseline: bool,
    pub(super) frozen: Option<u64>,
    pub(super) first_reject: Share,
}

#[derive(Debug, Deserialize)]
pub(super) struct Change {
    pub(super) total: Effect,
    pub(super) parts: Vec<Part>,
    pub(super) unseen_share: f64,
    pub(super) input_separated: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct Part {
    pub(super) cause: String,
    #[serde(flatten)]
    pub(super) effect: Effect,
}

/// What the rate had been, had the primary judged everything.
#[derive(Debug, Deserialize)]
pub(super) struct Adjusted {
    pub(super) primary: String,
    pub(super) basis: String,
    pub(super) pairs: u64,
    pub(super) rate: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

/// Which share of the images a judge served, before and in this time.
#[derive(Debug, Deserialize)]
pub(super) struct Compared {
    pub(super) judge: String,
    pub(super) share_before: Share,
    pub(super) share_after: Share,
}

#[derive(Debug, Deserialize)]
pub(super) struct Evidence {
    pub(super) detector: String,
    pub(super) judge: Option<String>,
    pub(super) ratio: Vec<Option<f64>>,
}

/// One drift event.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Event {
    pub(super) at: String,
    pub(super) onset: String,
    pub(super) label: String,
    pub(super) severity: String,
    pub(super) effect: Effect,
    pub(super) sentence: String,
}

/// What people found.
#[derive(Debug, Deserialize)]
pub(super) struct People {
    pub(super) verdicts: u64,
    pub(super) judges: Vec<Looked>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Looked {
    pub(super) judge: String,
    pub(super) precision: Share,
    pub(super) recall: Share,
}

/// What moved alone.
#[derive(Debug, Deserialize)]
pub(super) struct Moved {
    pub(super) sentence: String,
    pub(super) label: String,
}

/// An answer as a report reads it.
pub(super) fn read<'a, T: Deserialize<'a>>(answer: &'a Value) -> Result<T, AppError> {
    T::deserialize(answer).map_err(|why| AppError::Internal(format!("reading figures: {why}")))
}
