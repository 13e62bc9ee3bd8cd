//! Coverage is what the tests of a policy touched of it: each line through the scores from both
//! sides, each way to a verdict, each check, each judge.
//!
//! What no test touched can be changed by a slip of the pen without any test noticing.

use crate::domain::{AttemptOutcome, Basis, CheckSpec, Criterion, Mode, OnFail, Policy, Route};
use crate::gate::hearing::Heard;

/// What was touched.
#[derive(Clone, Debug, PartialEq)]
pub struct Coverage {
    /// Each line that some judge of the policy is held to.
    pub lines: Vec<LineSeen>,
    /// Each way to a verdict that the policy has.
    pub ways: Vec<(Way, bool)>,
    /// Each check: whether it was seen broken.
    pub checks: Vec<CheckSeen>,
    /// Each judge of the policy: whether it was asked.
    pub judges: Vec<(String, bool)>,
}

/// A criterion's line: the common one, or one judge's own.
#[derive(Clone, Debug, PartialEq)]
pub struct LineSeen {
    /// The criterion.
    pub criterion: String,
    /// Whose line; `None`: that of every judge without one of its own.
    pub judge: Option<String>,
    /// Where pass begins.
    pub pass_at: f64,
    /// Whether a score at or over it was seen.
    pub passing: bool,
    /// Whether a score under it was seen.
    pub failing: bool,
}

/// A check and whether it was seen broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckSeen {
    /// The check.
    pub check: String,
    /// What it does when broken.
    pub on_fail: OnFail,
    /// Whether it was seen broken.
    pub broken: bool,
}

/// A way to a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// A judge was asked like this.
    Asked(Route),
    /// The verdict rests on this, and not on a judge.
    Unjudged(Basis),
}

impl Way {
    /// The word used in answers.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Asked(route) => route.label(),
            Self::Unjudged(basis) => basis.label(),
        }
    }
}

impl Coverage {
    /// Nothing of `policy` was touched yet.
    #[must_use]
    pub fn of(policy: &Policy) -> Self {
        let judges = judges(policy);
        let ways = ways(policy).into_iter().map(|way| (way, false)).collect();
        let check = |one: &CheckSpec| CheckSeen {
            check: one.id.clone(),
            on_fail: one.on_fail,
            broken: false,
        };
        Self {
            lines: lines(policy, &judges),
            ways,
            checks: policy.checks.iter().map(check).collect(),
            judges: judges.into_iter().map(|judge| (judge, false)).collect(),
        }
    }

    /// Takes in what came of one test.
    pub fn add(&mut self, policy: &Policy, heard: &Heard) {
        self.touch(Way::Unjudged(heard.verdict.basis));
        for finding in heard.findings.iter().filter(|one| !one.passed) {
            let checks = self.checks.iter_mut().filter(|one| one.check == finding.check);
            checks.for_each(|one| one.broken = true);
        }
        for attempt in &heard.attempts {
            self.touch(Way::Asked(attempt.route));
            let judge = &attempt.judge.name;
            self.judges.iter_mut().filter(|(name, _)| name == judge).for_each(|one| one.1 = true);
            if attempt.outcome != AttemptOutcome::Judged {
                continue;
            }
            for said in &attempt.scores {
                let Some((criterion, score)) = policy.criterion(&said.criterion).zip(said.score)
                else {
                    continue;
                };
                let own = has_own_line(policy, criterion, judge).then_some(judge);
                let is_it = |line: &&mut LineSeen| {
                    line.criterion == criterion.id && line.judge.as_ref() == own
                };
                for line in self.lines.iter_mut().filter(is_it) {
                    let passes = line.pass_at <= score;
                    line.passing |= passes;
                    line.failing |= !passes;
                }
            }
        }
    }

    /// What no test touched, a sentence each.
    #[must_use]
    pub fn untouched(&self) -> Vec<String> {
        let lines = self.lines.iter().filter_map(|line| {
            let sides = match (line.passing, line.failing) {
                (true, true) => return None,
                (true, false) => "failing",
                (false, true) => "passing",
                (false, false) => "passing or failing",
            };
            let whose = line.judge.as_ref().map(|judge| format!(" of {judge}"));
            let whose = whose.unwrap_or_default();
            Some(format!("{} is never seen {sides} at {}{whose}", line.criterion, line.pass_at))
        });
        let ways = self.ways.iter().filter(|(_, seen)| !seen);
        let ways = ways.map(|(way, _)| format!("nothing goes by {}", way.label()));
        let checks = self.checks.iter().filter(|one| !one.broken);
        let checks = checks.map(|one| format!("{} is never seen broken", one.check));
        let judges = self.judges.iter().filter(|(_, seen)| !seen);
        let judges = judges.map(|(judge, _)| format!("{judge} is never asked"));
        lines.chain(ways).chain(checks).chain(judges).collect()
    }

    fn touch(&mut self, way: Way) {
        self.ways.iter_mut().filter(|(one, _)| *one == way).for_each(|one| one.1 = true);
    }
}

/// Everybody whom the policy may ask, in its order.
#[must_use]
pub fn judges(policy: &Policy) -> Vec<String> {
    let second = policy.second_opinion.iter().flat_map(|second| &second.ask);
    let mut judges: Vec<String> = Vec::new();
    for judge in policy.route.judges.iter().chain(second) {
        if !judges.contains(judge) {
            judges.push(judge.clone());
        }
    }
    judges
}

/// Whether `judge` is held to another line than all others, or to the same one by its own name.
fn has_own_line(policy: &Policy, criterion: &Criterion, judge: &str) -> bool {
    criterion.pass_at_by_judge.contains_key(judge)
        || policy.route.offset_by_judge.contains_key(judge)
}

fn lines(policy: &Policy, judges: &[String]) -> Vec<LineSeen> {
    let mut lines: Vec<LineSeen> = Vec::new();
    for criterion in &policy.criteria {
        for judge in judges {
            let is_own = has_own_line(policy, criterion, judge);
            let line = LineSeen {
                criterion: criterion.id.clone(),
                judge: is_own.then(|| judge.clone()),
                pass_at: policy.line(criterion, judge),
                passing: false,
                failing: false,
            };
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
    }
    lines
}

/// The ways that lead anywhere under this policy.
fn ways(policy: &Policy) -> Vec<Way> {
    let route = &policy.route;
    if policy.mode == Mode::Off {
        return vec![Way::Unjudged(Basis::NoJudge)];
    }
    let has_others = 1 < route.judges.len();
    let hedges = route.hedge.is_some_and(|hedge| 0.0 < hedge.budget_ratio);
    let blocks = policy.checks.iter().any(|one| match one.on_fail {
        OnFail::Fail | OnFail::Review => true,
        OnFail::Flag => false,
    });
    [
        (Way::Unjudged(Basis::Check), blocks),
        (Way::Asked(Route::Primary), true),
        (Way::Asked(Route::Hedge), has_others && hedges),
        (Way::Asked(Route::Failover), has_others),
        (Way::Asked(Route::SecondOpinion), policy.second_opinion.is_some()),
        (Way::Unjudged(Basis::Deadline), true),
        (Way::Unjudged(Basis::NoJudge), true),
    ]
    .into_iter()
    .filter_map(|(way, leads)| leads.then_some(way))
    .collect()
}
