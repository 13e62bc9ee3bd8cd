//! Parity is whether a change of judge changes what is rejected: on the same images, judge by judge.
//!
//! A simulated judge's scores hang on the image that it is shown and on nothing else. Its provider's log
//! has that image's digest, so what it must have said is known, and what each other would have said.
//! What the target tells of a score is held against that, and never the other way round.

use std::collections::BTreeMap;

use crate::evidence::Evidence;
use crate::figures::Measured;
use crate::judging::expected_scores_by_digest;
use crate::outcome::Attribution;
use crate::quantile::number;
use crate::sample::Sample;
use crate::sample::VerdictBody;

/// Two writings of one score differ by less.
const ROUNDING: f64 = 0.002;

/// What a judge says of an image: criterion and score.
type Scores = BTreeMap<String, f64>;

/// A verdict that one judge gave alone.
struct Judged<'a> {
    verdict: &'a VerdictBody,
    /// The digest of what the judge was shown; none: no call of it is in its provider's log.
    image: Option<&'a str>,
}

/// The verdicts of a span that one judge gave alone, each with the image that it was given for.
fn judged(evidence: &Evidence, span: (f64, f64)) -> Vec<Judged<'_>> {
    let shown = evidence.images_by_call();
    let alone = evidence.due_in(span).filter_map(Sample::judged);
    let alone = alone.filter(|verdict| verdict.basis == "judge");
    let with_image = |verdict: &'_ VerdictBody| {
        let call = verdict.winner()?.request_id.as_deref()?;
        shown.get(&(verdict.judge_name(), call)).copied()
    };
    alone.map(|verdict| Judged { verdict, image: with_image(verdict) }).collect()
}

/// What `judge` says of an image; none of a judge that is not known.
fn said(evidence: &Evidence, judge: &str, image: &str) -> Option<Scores> {
    let lines = evidence.lines.get(judge)?;
    let criteria: Vec<&str> = lines.keys().map(String::as_str).collect();
    expected_scores_by_digest(image, &criteria, evidence.judges.get(judge)?)
}

/// Whether `judge` rejects an image.
fn rejects(evidence: &Evidence, judge: &str, image: &str) -> Option<bool> {
    let lines = evidence.lines.get(judge)?;
    let is_under =
        |(criterion, score): (&String, &f64)| lines.get(criterion).is_some_and(|line| score < line);
    Some(said(evidence, judge, image)?.iter().any(is_under))
}

/// How many more of the fault's images were rejected, by some account, than the primary rejects of
/// the same; in points of all of them.
fn against_primary(
    evidence: &Evidence,
    is_rejected: impl Fn(&Judged<'_>, &str) -> Option<bool>,
) -> Measured {
    let (mut pairs, mut rejected, mut expected) = (0_usize, 0_usize, 0_usize);
    for one in judged(evidence, evidence.fault()) {
        let pair = one.image.and_then(|image| {
            Some((is_rejected(&one, image)?, rejects(evidence, evidence.primary(), image)?))
        });
        let Some((by_account, by_primary)) = pair else { continue };
        pairs += 1;
        rejected += usize::from(by_account);
        expected += usize::from(by_primary);
    }
    let points = (number(rejected) - number(expected)) / number(pairs) * 100.0;
    ((pairs != 0).then_some(points.abs()), pairs)
}

/// The reject rate of the fault against what the primary would have rejected of the same images.
pub(super) fn shift(evidence: &Evidence) -> Measured {
    against_primary(evidence, |one, _| Some(one.verdict.verdict == "fail"))
}

/// What of that comes from who was asked: each image by the judge that it went to, against the primary.
pub(super) fn shift_by_routing(evidence: &Evidence) -> Measured {
    against_primary(evidence, |one, image| rejects(evidence, one.verdict.judge_name(), image))
}

/// Verdicts whose scores are not what their judge says of the image that it was shown, or that these
/// scores do not bear out. What no logged call stands behind, no judge said.
pub(super) fn invalid(evidence: &Evidence) -> Measured {
    if evidence.lines.is_empty() {
        return (None, 0);
    }
    let all = judged(evidence, (0.0, f64::INFINITY));
    let invalid = all.iter().filter(|one| !is_valid(evidence, one)).count();
    (Some(number(invalid)), all.len())
}

fn is_valid(evidence: &Evidence, one: &Judged<'_>) -> bool {
    let (judge, Some(image)) = (one.verdict.judge_name(), one.image) else { return false };
    let told = one.verdict.scores.iter().map(|(name, score)| (name.clone(), score.score));
    let told: Scores = told.collect();
    said(evidence, judge, image).is_some_and(|said| are_alike(&said, &told))
        && rejects(evidence, judge, image) == Some(one.verdict.verdict == "fail")
}

/// Alike up to the rounding.
fn are_alike(one: &Scores, other: &Scores) -> bool {
    one.len() == other.len()
        && one.iter().zip(other).all(|((a, x), (b, y))| a == b && (x - y).abs() < ROUNDING)
}

/// Who judged what in each phase, and what every judge would have said of the same images.
#[must_use]
pub fn attribution(evidence: &Evidence) -> Vec<Attribution> {
    let mut rows = Vec::new();
    if evidence.lines.is_empty() {
        return rows; // whose lines are not known, of them nobody can say what they would reject
    }
    for (phase, start_s, end_s) in evidence.scenario.seconds.parts() {
        let mut of_phase: BTreeMap<&str, Attribution> = BTreeMap::new();
        for Judged { verdict, image } in judged(evidence, (start_s, end_s)) {
            let row = of_phase.entry(verdict.judge_name()).or_insert_with(|| Attribution {
                phase: phase.to_owned(),
                judge: verdict.judge_name().to_owned(),
                ..Attribution::default()
            });
            row.verdicts += 1;
            row.rejected += u64::from(verdict.verdict == "fail");
            for judge in &evidence.scenario.judges {
                let would = image.and_then(|image| rejects(evidence, judge, image));
                if let Some(would) = would {
                    *row.would_reject.entry(judge.clone()).or_default() += u64::from(would);
                }
            }
        }
        rows.extend(of_phase.into_values());
    }
    rows
}
