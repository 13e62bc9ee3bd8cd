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
/// Windows with fewer answers say nothing.
const MIN_ANSWERS: usize = 10;

/// Seconds from the mending to the start of the first good window.
pub(super) fn recovery(evidence: &Evidence) -> Measured {
    let mended_at_s = evidence.scenario.seconds.mended_at_s();
    let end_s = evidence.scenario.seconds.end_s();
    let Some(healthy_ms) = evidence.healthy_p95_ms() else { return (None, 0) };
    if end_s - mended_at_s < WINDOW_S {
        return (None, 0);
    }
    let primary = Some(evidence.primary()).filter(|_| evidence.subject.tells_calls());
    let mut n = 0_usize;
    loop {
        let after_s = number(n) * STEP_S;
        let start_s = mended_at_s + after_s;
        if end_s < start_s + WINDOW_S {
            return (None, n);
        }
        let window: Vec<&Sample> = evidence.due_in((start_s, start_s + WINDOW_S)).collect();
        if is_good(&window, healthy_ms, primary) {
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
    let latencies: Vec<f64> = window.iter().map(|one| one.latency_ms()).collect();
    let is_quick = quantile(&latencies, 0.95).is_some_and(|p95| p95 <= TIMES_HEALTHY * healthy_ms);
    MIN_ANSWERS <= judged.len() && is_quick && is_primary
}
