//! Posing is putting a policy's question about one image, and reading what one answer alone would
//! make of it: for the judge that a verdict waits for, and for those asked behind it.

use std::collections::BTreeMap;

use crate::domain::record::Attempt;
use crate::domain::verdict::{Opinion, say};
use crate::domain::{Criterion, Decision, Finding, Judgement};
use crate::gate::policies::ActivePolicy;
use crate::imaging::{Measurements, View};
use crate::panel::struck::Struck;
use crate::panel::{Asked, Question};
use crate::prompt::{RenderError, RenderInput};

/// What a judge is to be shown and told of one image.
#[derive(Clone, Copy)]
pub(super) struct Shown<'a> {
    pub(super) vars: &'a BTreeMap<String, String>,
    pub(super) views: &'a [View],
    /// Ids of the broken checks.
    pub(super) flags: &'a [String],
    pub(super) measurements: Measurements,
    /// Whether a judgement may leave at its scores.
    pub(super) early: bool,
}

/// Puts the policy's question for one prepared image.
pub(super) fn pose(
    policy: &ActivePolicy,
    asked: &[&Criterion],
    shown: &Shown<'_>,
) -> Result<Question, RenderError> {
    let views = shown.views.iter().map(|view| (view.id.as_str(), view.width_px, view.height_px));
    let views: Vec<_> = views.collect();
    let input = RenderInput { vars: shown.vars, views: &views, flags: shown.flags, asked };
    let prompt = policy.loaded.render(&input)?;
    let criteria = asked.iter().map(|one| Asked {
        id: one.id.clone(),
        ask: one.ask.clone(),
        measured_by: one.measured_by.clone(),
    });
    Ok(Question {
        criteria: criteria.collect(),
        system: prompt.system,
        user: prompt.user,
        views: shown.views.to_vec(),
        measurements: shown.measurements,
        reason_chars: policy.reason_chars,
        max_output_tokens: policy.max_output_tokens,
        struck: Struck::default(),
        early: shown.early,
    })
}

/// Ids of the checks that are broken.
pub(super) fn flags(findings: &[Finding]) -> Vec<String> {
    findings.iter().filter(|one| !one.passed).map(|one| one.check.clone()).collect()
}

/// What one judged attempt alone would have made the verdict of the image with this `lot`.
pub(super) fn said(
    policy: &ActivePolicy,
    asked: &[&Criterion],
    (attempt, lot): (&Attempt, f64),
) -> Option<Decision> {
    if attempt.scores.is_empty() {
        return None;
    }
    let judgement = Judgement { scores: attempt.scores.clone() };
    let opinion = Opinion { judge: &attempt.judge.name, judgement: &judgement, lot };
    Some(say(policy, asked, opinion).0)
}
