//! Recovery is how long after the mending the callers notice nothing any more.

use crate::evidence::Evidence;
use crate::figures::Measured;
use crate::quantile::number;
use crate::quantile::quantile;
use crate::quantile::share;
use crate::sample::Sample;
use crate::sample::VerdictBody;

/// The window that must be good.
const WINDOW_S: f64 = 3.0;
/// How finely its start is moved.
const STEP_S: f64 = 0.25;
/// What p95 may be of the healthy p95.
const TIMES_HEALTHY: f64 = 1.35;
/// How many verdicts must be the primary's.
const PRIMARY_SHARE: f64 = 0.85;
/// What p95 may be of the healthy p95 while a fault is found out.
const TIMES_AT_ONSET: f64 = 2.0;
/// How many requests must be judged by a gate that is up again.
const VERDICT_SHARE: f64 = 0.99;
/// Windows with fewer answers say nothing.
const MIN_ANSWERS: usize = 10;

/// Seconds from the end of what went wrong to the start of the first good window after which all is
/// well: a breaker that opens once more right after it has not come back. What was done to the gate
/// alone is mended when it is up again.
pub(super) fn recovery(evidence: &Evidence) -> Measured {
    let mended_at_s = evidence.well_again_s();
    let up_again_s = evidence.up_again_s.filter(|_| evidence.scenario.faults.is_empty());
    let primary = Some(evidence.primary()).filter(|_| evidence.subject.tells_calls());
    first_good(evidence, up_again_s.unwrap_or(mended_at_s), |window, healthy_ms| {
        is_good(window, healthy_ms, primary)
    })
}

/// Seconds from a moment to the start of the first window that is good beside the healthy p95, and
/// with it all that follows.
fn first_good(
    evidence: &Evidence,
    from_s: f64,
    is_good: impl Fn(&[&Sample], f64) -> bool,
) -> Measured {
    let end_s = evidence.scenario.seconds.end_s();
    let Some(healthy_ms) = evidence.healthy_p95_ms() else { return (None, 0) };
    if end_s - from_s < WINDOW_S {
        return (None, 0);
    }
    let mut n = 0_usize;
    loop {
        let after_s = number(n) * STEP_S;
        let start_s = from_s + after_s;
        if end_s < start_s + WINDOW_S {
            return (None, n);
        }
        let window: Vec<&Sample> = evidence.due_in((start_s, start_s + WINDOW_S)).collect();
        let rest: Vec<&Sample> = evidence.due_in((start_s, end_s)).collect();
        if is_good(&window, healthy_ms) && is_good(&rest, healthy_ms) {
            return (Some(after_s), window.len());
        }
        n += 1;
    }
}

/// Quick, and mostly the primary's: of a gateway that does not say who judged, quick.
fn is_good(window: &[&Sample], healthy_ms: f64, primary: Option<&str>) -> bool {
    let judged: Vec<&str> =
        window.iter().filter_map(|one| one.judged()).map(VerdictBody::judge_name).collect();
    let is_primary = primary.is_none_or(|primary| {
        let of_primary = judged.iter().filter(|judge| **judge == primary).count();
        share(of_primary, judged.len()).is_some_and(|share| PRIMARY_SHARE <= share)
    });
    MIN_ANSWERS <= judged.len() && is_primary && is_quick(window, TIMES_HEALTHY * healthy_ms)
}

/// Whether the window's p95 is at most this.
fn is_quick(window: &[&Sample], most_ms: f64) -> bool {
    let latencies: Vec<f64> = window.iter().map(|one| one.latency_ms()).collect();
    quantile(&latencies, 0.95).is_some_and(|p95_ms| p95_ms <= most_ms)
}

/// Seconds from when a killed gate is up again to the start of the first window of verdicts that are
/// as quick as at the onset of a fault, whoever gives them.
pub(super) fn back(evidence: &Evidence) -> Measured {
    let Some(up_again_s) = evidence.up_again_s else { return (None, 0) };
    first_good(evidence, up_again_s, |window, healthy_ms| {
        let judged = window.iter().filter(|one| one.judged().is_some()).count();
        let is_judged = share(judged, window.len()).is_some_and(|share| VERDICT_SHARE <= share);
        MIN_ANSWERS <= judged && is_judged && is_quick(window, TIMES_AT_ONSET * healthy_ms)
    })
}
