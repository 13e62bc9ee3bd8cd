//! What a long run shows beside its faults: whether anything wears off between them.

use crate::evidence::Evidence;
use crate::figures::Measured;
use crate::quantile::quantile;
use crate::quantile::share;
use crate::sample::Sample;
use crate::sample::VerdictBody;

/// What a fault leaves behind for so long is its own: recovery has a figure of its own.
const AFTERMATH_S: f64 = 10.0;

/// Requests that a fault finds under way are neither its own nor healthy.
const UNDER_WAY_S: f64 = 3.0;

/// The longest stretch that is compared with another.
const MOST_S: f64 = 3_600.0;

/// Healthy requests of a span: those that no fault was near.
fn outside(evidence: &Evidence, span: (f64, f64)) -> impl Iterator<Item = &Sample> {
    let faults = evidence.faults();
    evidence.due_in(span).filter(move |one| {
        let is_near = |(from_s, until_s): &(f64, f64)| {
            from_s - UNDER_WAY_S <= one.due_s && one.due_s < until_s + AFTERMATH_S
        };
        !faults.iter().any(is_near)
    })
}

fn p95_outside(evidence: &Evidence, span: (f64, f64)) -> Option<f64> {
    let answered = outside(evidence, span).filter(|one| one.is_answered());
    let latencies: Vec<f64> = answered.map(Sample::latency_ms).collect();
    quantile(&latencies, 0.95)
}

/// By how much the healthy p95 of the last quarter, or hour, is over that of the first.
pub(super) fn p95_drift(evidence: &Evidence) -> Measured {
    let (start_s, end_s) = (evidence.scenario.seconds.warm_up, evidence.scenario.seconds.end_s());
    let part_s = ((end_s - start_s) / 4.0).min(MOST_S);
    let last = (end_s - part_s, end_s);
    let before = p95_outside(evidence, (start_s, start_s + part_s));
    let after = p95_outside(evidence, last);
    let drift = after.zip(before).map(|(after, before)| after / before - 1.0);
    (drift, outside(evidence, last).count())
}

/// Verdicts by others than the primary where no fault was near, of all such verdicts.
pub(super) fn secondary_share(evidence: &Evidence) -> Measured {
    let span = (evidence.scenario.seconds.warm_up, evidence.scenario.seconds.end_s());
    let judged = outside(evidence, span).filter_map(Sample::judged);
    let judges: Vec<&str> = judged.map(VerdictBody::judge_name).collect();
    let others = judges.iter().filter(|judge| **judge != evidence.primary()).count();
    (share(others, judges.len()), judges.len())
}
