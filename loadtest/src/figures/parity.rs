//! Parity is whether a change of judge changes what is rejected: on the same images, judge by judge.
//!
//! A simulated judge's score hangs on the image and on the judge's own bias alone. The bias is known,
//! so what one judge said of an image tells what each other would have said of it.

use std::collections::BTreeMap;
use std::collections::HashMap;

use crate::evidence::Evidence;
use crate::figures::Measured;
use crate::outcome::Attribution;
use crate::quantile::number;
use crate::sample::Sample;
use crate::sample::VerdictBody;

/// Two writings of one score differ by less.
const ROUNDING: f64 = 0.002;

/// What an image would have scored with an unbiased judge: criterion and score.
type Scores = BTreeMap<String, f64>;

fn unbiased(evidence: &Evidence, verdict: &VerdictBody) -> Scores {
    let bias = bias_of(evidence, verdict.judge_name());
    verdict.scores.iter().map(|(name, score)| (name.clone(), score.score - bias)).collect()
}

fn bias_of(evidence: &Evidence, judge: &str) -> f64 {
    evidence.biases.get(judge).copied().unwrap_or_default()
}

/// Whether `judge` would have rejected an image with these unbiased scores.
fn rejects(evidence: &Evidence, judge: &str, scores: &Scores) -> bool {
    let bias = bias_of(evidence, judge);
    let lines = evidence.lines.get(judge);
    let is_under = |(criterion, score): (&String, &f64)| {
        let line = lines.and_then(|lines| lines.get(criterion));
        line.is_some_and(|line| score + bias < *line)
    };
    scores.iter().any(is_under)
}

/// Samples that one judge decided alone, with what it said.
fn judged(evidence: &Evidence, span: (f64, f64)) -> impl Iterator<Item = &VerdictBody> {
    evidence.due_in(span).filter_map(Sample::judged).filter(|verdict| verdict.basis == "judge")
}

/// The reject rate of the fault against what the primary would have rejected of the same images.
pub(super) fn shift(evidence: &Evidence) -> Measured {
    if evidence.lines.is_empty() {
        return (None, 0);
    }
    let (mut pairs, mut rejected, mut expected) = (0_usize, 0_usize, 0_usize);
    for verdict in judged(evidence, evidence.fault()) {
        let scores = unbiased(evidence, verdict);
        pairs += 1;
        rejected += usize::from(verdict.verdict == "fail");
        expected += usize::from(rejects(evidence, evidence.primary(), &scores));
    }
    let points = (number(rejected) - number(expected)) / number(pairs) * 100.0;
    ((pairs != 0).then_some(points.abs()), pairs)
}

/// Verdicts that their own judge's scores do not bear out, or whose scores are not that judge's.
///
/// One image has one score from an unbiased judge. Where two answers disagree about it the rarer is
/// the invalid one: it left the gate although no judge said so.
pub(super) fn invalid(evidence: &Evidence) -> Measured {
    if evidence.lines.is_empty() {
        return (None, 0);
    }
    let everything = (0.0, f64::INFINITY);
    let mut seen: HashMap<usize, Vec<(Scores, usize)>> = HashMap::new();
    let (mut count, mut invalid) = (0_usize, 0_usize);
    for sample in evidence.due_in(everything) {
        let Some(verdict) = sample.judged().filter(|verdict| verdict.basis == "judge") else {
            continue;
        };
        count += 1;
        let scores = unbiased(evidence, verdict);
        let rejected = rejects(evidence, verdict.judge_name(), &scores);
        invalid += usize::from(scores.is_empty() || rejected != (verdict.verdict == "fail"));
        let versions = seen.entry(sample.image).or_default();
        match versions.iter_mut().find(|(known, _)| are_alike(known, &scores)) {
            Some((_, times)) => *times += 1,
            None => versions.push((scores, 1)),
        }
    }
    for versions in seen.values() {
        let all: usize = versions.iter().map(|(_, times)| times).sum();
        let most = versions.iter().map(|(_, times)| *times).max().unwrap_or_default();
        invalid += all - most;
    }
    (Some(number(invalid)), count)
}

/// Alike up to the rounding; a score at the end of the scale may hide the rest of its bias.
fn are_alike(one: &Scores, other: &Scores) -> bool {
    one.len() == other.len()
        && one.iter().zip(other).all(|((a, x), (b, y))| a == b && (x - y).abs() < 2.0 * ROUNDING)
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
        for verdict in judged(evidence, (start_s, end_s)) {
            let scores = unbiased(evidence, verdict);
            let row = of_phase.entry(verdict.judge_name()).or_insert_with(|| Attribution {
                phase: phase.to_owned(),
                judge: verdict.judge_name().to_owned(),
                ..Attribution::default()
            });
            row.verdicts += 1;
            row.rejected += u64::from(verdict.verdict == "fail");
            for judge in &evidence.scenario.judges {
                let would = u64::from(rejects(evidence, judge, &scores));
                *row.would_reject.entry(judge.clone()).or_default() += would;
            }
        }
        rows.extend(of_phase.into_values());
    }
    rows
}
