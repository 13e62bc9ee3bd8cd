//! What a test expects, held against what came of it: one mismatch for each key that differs.

use std::time::Duration;

use crate::domain::{Attempt, Basis, Decision, MicroUsd, Route};
use crate::gate::Refusal;
use crate::gate::hearing::Heard;

/// What must come of a test; what is `None` may be anything.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expected {
    /// What the caller is told.
    pub verdict: Option<Decision>,
    /// What the policy decided where the caller is told otherwise.
    pub would_be: Option<Decision>,
    /// What the verdict rests on.
    pub basis: Option<Basis>,
    /// Whose judgement it is; with a second opinion the first one's.
    pub judge: Option<String>,
    /// Why that judge was called.
    pub route: Option<Route>,
    /// Whom calls were made to, in starting order.
    pub asked: Option<Vec<String>>,
    /// How many calls were made.
    pub attempts: Option<usize>,
    /// Criteria (or blocking checks) that were not passed, in any order.
    pub failed: Option<Vec<String>>,
    /// Flags, in any order.
    pub flags: Option<Vec<String>>,
    /// The check that settled the image.
    pub check: Option<String>,
    /// Whether scores inside the band decide.
    pub borderline: Option<bool>,
    /// Whether a judge was asked beside a slow one.
    pub hedged: Option<bool>,
    /// The verdict is there no later.
    pub within: Option<Duration>,
    /// All calls together cost less.
    pub cost_under: Option<MicroUsd>,
    /// The gate would not look: why, as [`reason`] says it.
    pub refused: Option<&'static str>,
}

/// Words for why the gate would not look at an image, beside those of
/// [`crate::domain::Inadmissible`].
pub const BELOW_FLOOR: &str = "below_floor";

/// One thing that is not as expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The key of the expectation.
    pub key: &'static str,
    /// What it says.
    pub expected: String,
    /// What came.
    pub got: String,
}

/// Why the gate would not look, in one word.
#[must_use]
pub fn reason(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::BelowFloor { .. } => BELOW_FLOOR,
        Refusal::Inadmissible(why) => why.label(),
        Refusal::UnknownPolicy { .. } => "unknown_policy",
        Refusal::Variables(_) => "variables",
        Refusal::BodyLate => "body_late",
        Refusal::Broken => "broken",
        Refusal::Shed(_) => "shed",
    }
}

/// Everything in which `outcome` is not as `expected`. Who was called and must not have been is
/// always told.
#[must_use]
pub fn mismatches(
    expected: &Expected,
    outcome: &Result<Heard, Refusal>,
    uninvited: &[String],
) -> Vec<Mismatch> {
    let mut found = Found(Vec::new());
    for judge in uninvited {
        found.add("judges", format!("{judge} is not called"), called(outcome, judge));
    }
    match outcome {
        Ok(heard) => found.compare(expected, heard),
        Err(why) => {
            let wanted = expected.refused.map_or_else(|| "a verdict".to_owned(), str::to_owned);
            let got = reason(why);
            if expected.refused != Some(got) {
                found.add("refused", wanted, format!("{got}: {why}"));
            }
        }
    }
    found.0
}

fn called(outcome: &Result<Heard, Refusal>, judge: &str) -> String {
    let attempts = outcome.as_ref().map(|heard| heard.attempts.as_slice()).unwrap_or_default();
    let calls: Vec<_> = attempts
        .iter()
        .filter(|one| one.judge.name == judge)
        .map(|one| format!("called at {} ms ({})", one.started_ms, one.route.label()))
        .collect();
    calls.join(", ")
}

struct Found(Vec<Mismatch>);

impl Found {
    fn compare(&mut self, expected: &Expected, heard: &Heard) {
        let Heard { verdict, judge, attempts, took, .. } = heard;
        if let Some(refused) = expected.refused {
            self.add("refused", refused.to_owned(), format!("a {}", verdict.decision.label()));
        }
        let decision = |one: Decision| one.label().to_owned();
        self.word("verdict", expected.verdict.map(decision), &decision(verdict.decision));
        let would_be = verdict.would_be.map_or_else(|| NONE.to_owned(), decision);
        self.word("would_be", expected.would_be.map(decision), &would_be);
        let basis = expected.basis.map(|one| one.label().to_owned());
        self.word("basis", basis, verdict.basis.label());
        let (name, route) = match judge {
            Some((judge, route)) => (judge.name.as_str(), route.label()),
            None => (NONE, NONE),
        };
        self.word("judge", expected.judge.clone(), name);
        self.word("route", expected.route.map(|one| one.label().to_owned()), route);
        let asked: Vec<_> = attempts.iter().map(|one| one.judge.name.clone()).collect();
        self.word("asked", expected.asked.as_deref().map(list), &list(&asked));
        let count = |count: usize| count.to_string();
        self.word("attempts", expected.attempts.map(count), &count(attempts.len()));
        self.set("failed", expected.failed.as_deref(), &verdict.failed);
        self.set("flags", expected.flags.as_deref(), &verdict.flags);
        if let Some(check) = &expected.check
            && (verdict.basis != Basis::Check || !verdict.failed.contains(check))
        {
            let got = match verdict.basis {
                Basis::Check => list(&verdict.failed),
                Basis::Judge | Basis::SecondOpinion | Basis::Deadline | Basis::NoJudge => {
                    NONE.to_owned()
                }
            };
            self.add("check", check.clone(), got);
        }
        let flag = |flag: bool| flag.to_string();
        self.word("borderline", expected.borderline.map(flag), &flag(verdict.borderline));
        let hedged = attempts.iter().any(|one| one.route == Route::Hedge);
        self.word("hedged", expected.hedged.map(flag), &flag(hedged));
        if let Some(within) = expected.within.filter(|within| *within < *took) {
            self.add("within", millis(within), millis(*took));
        }
        let cost = cost(attempts);
        if let Some(under) = expected.cost_under.filter(|under| *under <= cost) {
            self.add("cost_under", under.to_string(), cost.to_string());
        }
    }

    fn word(&mut self, key: &'static str, expected: Option<String>, got: &str) {
        if let Some(expected) = expected.filter(|expected| expected != got) {
            self.add(key, expected, got.to_owned());
        }
    }

    fn set(&mut self, key: &'static str, expected: Option<&[String]>, got: &[String]) {
        let Some(expected) = expected else { return };
        let sorted = |names: &[String]| {
            let mut names = names.to_vec();
            names.sort();
            names
        };
        if sorted(expected) != sorted(got) {
            self.add(key, list(expected), list(got));
        }
    }

    fn add(&mut self, key: &'static str, expected: String, got: String) {
        self.0.push(Mismatch { key, expected, got });
    }
}

const NONE: &str = "none";

/// All calls together.
#[must_use]
pub fn cost(attempts: &[Attempt]) -> MicroUsd {
    attempts.iter().map(|one| one.cost).sum()
}

fn list(names: &[String]) -> String {
    if names.is_empty() { NONE.to_owned() } else { names.join(", ") }
}

/// A virtual time, exact to the microsecond.
#[must_use]
pub fn millis(span: Duration) -> String {
    let micros = span.as_micros();
    match (micros / 1_000, micros % 1_000) {
        (whole, 0) => format!("{whole} ms"),
        (whole, part) => format!("{whole}.{part:03} ms"),
    }
}
