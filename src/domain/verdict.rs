//! A verdict is what the gate says of an image, and what it rests on.
//!
//! [`decide`] is the whole rule, pure and total: thresholds are applied here, by us, to the scores
//! a judge gave; a judge never says pass or fail.

use crate::domain::finding::Finding;
use crate::domain::judgement::Judgement;
use crate::domain::policy::offset::{STEP, stepped};
use crate::domain::policy::{Combine, Criterion, CriterionOnFail, Fallback, Mode, OnFail, Policy};

/// What the gate says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Decision {
    /// Serve it.
    Pass,
    /// Ask a person.
    Review,
    /// Do not serve it.
    Fail,
}

impl Decision {
    /// Every decision.
    pub const ALL: [Self; 3] = [Self::Pass, Self::Review, Self::Fail];

    /// The word used in answers and metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Review => "review",
            Self::Fail => "fail",
        }
    }
}

/// What a verdict rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Basis {
    /// A local check answered; no judge was asked.
    Check,
    /// One judge.
    Judge,
    /// Two judges.
    SecondOpinion,
    /// The policy, because the deadline came first.
    Deadline,
    /// The policy, because no judge could be asked or none gave a judgement.
    NoJudge,
}

impl Basis {
    /// Every basis that this program gives.
    pub const ALL: [Self; 5] =
        [Self::Check, Self::Judge, Self::SecondOpinion, Self::Deadline, Self::NoJudge];

    /// The word used in answers and metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Judge => "judge",
            Self::SecondOpinion => "second_opinion",
            Self::Deadline => "deadline",
            Self::NoJudge => "no_judge",
        }
    }

    /// Whether the verdict counts in the reject rate: an image that no judge saw does not.
    #[must_use]
    pub fn is_judged(self) -> bool {
        match self {
            Self::Judge | Self::SecondOpinion => true,
            Self::Check | Self::Deadline | Self::NoJudge => false,
        }
    }
}

/// One criterion's score against its line.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    /// The criterion.
    pub criterion: String,
    /// The first judge's score; `None` where the `local` judge cannot tell.
    pub score: Option<f64>,
    /// The line that this judge is held to, its offset taken off.
    pub pass_at: f64,
    /// Whether the criterion passed: by the combined margin where two judges spoke, and by the
    /// image's lot where a score lies exactly on a line that an offset moved.
    pub passed: Option<bool>,
    /// The judge's words.
    pub reason: Option<String>,
}

/// What the gate says of one image.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// What the caller is told: in `observe` and `off` always pass.
    pub decision: Decision,
    /// What the policy decided, where the caller is told otherwise (`observe`).
    pub would_be: Option<Decision>,
    /// What it rests on.
    pub basis: Basis,
    /// Scores against lines, in the policy's order.
    pub scores: Vec<Scored>,
    /// Criteria (or blocking checks) that were not passed.
    pub failed: Vec<String>,
    /// Broken flagging checks, and `unmeasured:ID` for criteria the `local` judge could not tell.
    pub flags: Vec<String>,
    /// Whether scores inside the borderline band decide the verdict.
    pub borderline: bool,
    /// What the first judgement alone said.
    pub first_verdict: Option<Decision>,
}

impl Verdict {
    /// What the policy decided, whatever the caller was told.
    #[must_use]
    pub fn decided(&self) -> Decision {
        self.would_be.unwrap_or(self.decision)
    }
}

/// One judge's judgement.
#[derive(Clone, Copy, Debug)]
pub struct Opinion<'a> {
    /// The judge's name: thresholds may differ by judge.
    pub judge: &'a str,
    /// What it said.
    pub judgement: &'a Judgement,
    /// The image's own number, 0..1: [`Digest::lot`].
    ///
    /// [`Digest::lot`]: crate::domain::Digest::lot
    pub lot: f64,
}

/// What the verdict is to rest on.
#[derive(Clone, Copy, Debug)]
pub enum Evidence<'a> {
    /// The policy is off.
    Off,
    /// A local check blocks.
    Checked,
    /// At least one judge gave a valid judgement.
    Judged {
        /// The one that won the race.
        first: Opinion<'a>,
        /// The one asked because of doubt.
        second: Option<Opinion<'a>>,
    },
    /// The deadline came first.
    Late,
    /// Nobody could judge.
    NoJudge,
}

/// Decides. `asked` are the criteria that applied to this image, in the policy's order.
#[must_use]
pub fn decide(
    policy: &Policy,
    asked: &[&Criterion],
    findings: &[Finding],
    evidence: Evidence<'_>,
) -> Verdict {
    let verdict = match evidence {
        Evidence::Off => plain(Decision::Pass, Basis::NoJudge, findings),
        Evidence::Checked => blocked(findings),
        Evidence::Late => by_fallback(policy.route.on_deadline, Basis::Deadline, findings),
        Evidence::NoJudge => by_fallback(policy.route.on_no_judge, Basis::NoJudge, findings),
        Evidence::Judged { first, second } => judged(policy, asked, findings, (first, second)),
    };
    match policy.mode {
        Mode::Enforce | Mode::Off => verdict,
        Mode::Observe => {
            let would_be = Some(verdict.decision);
            Verdict { decision: Decision::Pass, would_be, ..verdict }
        }
    }
}

/// What `opinion` alone makes the verdict, and whether it is borderline.
#[must_use]
pub fn say(policy: &Policy, asked: &[&Criterion], opinion: Opinion<'_>) -> (Decision, bool) {
    let margins: Vec<_> = asked.iter().map(|one| (*one, margin(policy, one, opinion))).collect();
    (weigh(&margins), is_borderline(&margins, policy.borderline))
}

/// `score - pass_at` of one criterion, moved by the judge's offset; `None` where the judge could not
/// tell.
fn margin(policy: &Policy, criterion: &Criterion, opinion: Opinion<'_>) -> Option<f64> {
    let score = opinion.judgement.score(&criterion.id)?.score?;
    let margin = stepped(score - criterion.threshold(opinion.judge));
    let offset = policy.route.offset_by_judge.get(opinion.judge);
    Some(offset.map_or(margin, |one| one.moved(margin, opinion.lot)))
}

type Margins<'a> = [(&'a Criterion, Option<f64>)];

fn is_pass(margin: f64) -> bool {
    -STEP / 2.0 <= margin
}

/// The decision that margins make: any failed criterion fails the image or sends it to a person.
fn weigh(margins: &Margins<'_>) -> Decision {
    let failed = margins.iter().filter(|(_, margin)| margin.is_some_and(|one| !is_pass(one)));
    let decisions = failed.map(|(criterion, _)| match criterion.on_fail {
        CriterionOnFail::Fail => Decision::Fail,
        CriterionOnFail::Review => Decision::Review,
    });
    decisions.max().unwrap_or(Decision::Pass)
}

/// Whether the criteria inside the band decide: with all of them passed the verdict is another one
/// than with all of them failed. A doubtful criterion beside a certain defect changes nothing.
fn is_borderline(margins: &Margins<'_>, band: f64) -> bool {
    let with = |doubtful: f64| {
        let settle = |one: f64| if one.abs() <= band + STEP { doubtful } else { one };
        let settled: Vec<_> = margins.iter().map(|(c, m)| (*c, m.map(settle))).collect();
        weigh(&settled)
    };
    with(1.0) != with(-1.0)
}

fn judged(
    policy: &Policy,
    asked: &[&Criterion],
    findings: &[Finding],
    (first, second): (Opinion<'_>, Option<Opinion<'_>>),
) -> Verdict {
    let margins: Vec<_> = asked
        .iter()
        .map(|criterion| {
            let one = margin(policy, criterion, first);
            let other = second.and_then(|second| margin(policy, criterion, second));
            (*criterion, combine(policy, one, other))
        })
        .collect();
    let borderline = is_borderline(&margins, policy.borderline);
    let split = second.is_some() && borderline;
    let decision = match &policy.second_opinion {
        Some(opinion) if split => fall_back(opinion.split, findings),
        Some(_) | None => weigh(&margins),
    };
    let mut flags = broken_flags(findings);
    let unmeasured = margins.iter().filter(|(_, margin)| margin.is_none());
    flags.extend(unmeasured.map(|(criterion, _)| format!("unmeasured:{}", criterion.id)));
    let scores: Vec<_> = margins
        .iter()
        .map(|(criterion, margin)| {
            let said = first.judgement.score(&criterion.id);
            Scored {
                criterion: criterion.id.clone(),
                score: said.and_then(|said| said.score),
                pass_at: policy.line(criterion, first.judge),
                passed: margin.map(is_pass),
                reason: said.and_then(|said| said.reason.clone()),
            }
        })
        .collect();
    let failed = scores.iter().filter(|one| one.passed == Some(false));
    Verdict {
        decision,
        would_be: None,
        basis: if second.is_some() { Basis::SecondOpinion } else { Basis::Judge },
        failed: failed.map(|one| one.criterion.clone()).collect(),
        scores,
        flags,
        borderline,
        first_verdict: Some(say(policy, asked, first).0),
    }
}

fn combine(policy: &Policy, first: Option<f64>, second: Option<f64>) -> Option<f64> {
    let (Some(first), Some(second)) = (first, second) else {
        return first.or(second);
    };
    let rule = policy.second_opinion.as_ref().map_or(Combine::Mean, |opinion| opinion.combine);
    Some(match rule {
        Combine::Mean => f64::midpoint(first, second),
        Combine::Strictest => first.min(second),
        Combine::Kindest => first.max(second),
    })
}

fn blocked(findings: &[Finding]) -> Verdict {
    let broken = || findings.iter().filter(|one| one.blocks());
    let fails = broken().any(|one| one.on_fail == OnFail::Fail);
    let decision = if fails { Decision::Fail } else { Decision::Review };
    let failed = broken().map(|one| one.check.clone()).collect();
    Verdict { failed, ..plain(decision, Basis::Check, findings) }
}

fn by_fallback(fallback: Fallback, basis: Basis, findings: &[Finding]) -> Verdict {
    plain(fall_back(fallback, findings), basis, findings)
}

fn fall_back(fallback: Fallback, findings: &[Finding]) -> Decision {
    match fallback {
        Fallback::Pass => Decision::Pass,
        Fallback::Fail => Decision::Fail,
        Fallback::Review => Decision::Review,
        Fallback::Local if is_measured_clean(findings) => Decision::Pass,
        Fallback::Local => Decision::Review,
    }
}

/// Whether checks measured this image and none is broken. No finding is no evidence: an image that
/// could not even be decoded in time is not clean.
fn is_measured_clean(findings: &[Finding]) -> bool {
    findings.iter().any(|one| one.value.is_some()) && findings.iter().all(|one| one.passed)
}

fn plain(decision: Decision, basis: Basis, findings: &[Finding]) -> Verdict {
    Verdict {
        decision,
        would_be: None,
        basis,
        scores: Vec::new(),
        failed: Vec::new(),
        flags: broken_flags(findings),
        borderline: false,
        first_verdict: None,
    }
}

fn broken_flags(findings: &[Finding]) -> Vec<String> {
    let broken = findings.iter().filter(|one| !one.passed && one.on_fail == OnFail::Flag);
    broken.map(|one| one.check.clone()).collect()
}

#[cfg(test)]
mod tests;
