//! How long callers waited, and how that compares.

use std::collections::HashMap;

use crate::evidence::Call;
use crate::evidence::Evidence;
use crate::evidence::Tick;
use crate::figures::Measured;
use crate::quantile::quantile;
use crate::sample::Sample;

/// Latencies of everything in this span that ended with an answer.
fn latencies(evidence: &Evidence, span: (f64, f64)) -> Vec<f64> {
    evidence.due_in(span).filter(|one| one.is_answered()).map(Sample::latency_ms).collect()
}

/// The `share` quantile of a span.
fn of_span(evidence: &Evidence, span: (f64, f64), share: f64) -> Measured {
    let latencies = latencies(evidence, span);
    (quantile(&latencies, share), latencies.len())
}

/// A quantile as a multiple of another.
fn times((value, n): Measured, of: Option<f64>) -> Measured {
    (value.zip(of).map(|(value, of)| value / of), n)
}

pub(super) fn healthy_p50(evidence: &Evidence) -> Measured {
    of_span(evidence, evidence.healthy(), 0.5)
}

pub(super) fn healthy_p95(evidence: &Evidence) -> Measured {
    of_span(evidence, evidence.healthy(), 0.95)
}

pub(super) fn healthy_p99(evidence: &Evidence) -> Measured {
    of_span(evidence, evidence.healthy(), 0.99)
}

pub(super) fn healthy_of_plain(evidence: &Evidence) -> Measured {
    times(healthy_p95(evidence), evidence.plain_p95_ms())
}

/// The p99 with hedges, of what the primary would have given without them.
///
/// Like with like: where an answer is read as it comes, a call alone would have lasted until its
/// scores were said, and not until its end. The primary's is that of its law: of the calls of one run
/// it hangs on a few dozen, and differs by a half from seed to seed.
pub(super) fn tail_ratio(evidence: &Evidence) -> Measured {
    let span = (evidence.scenario.seconds.warm_up, evidence.scenario.seconds.end_s());
    times(of_span(evidence, span, 0.99), evidence.alone_p99_ms)
}

pub(super) fn p95(evidence: &Evidence) -> Measured {
    times(of_span(evidence, evidence.fault(), 0.95), evidence.healthy_p95_ms())
}

pub(super) fn p95_of_plain(evidence: &Evidence) -> Measured {
    times(of_span(evidence, evidence.fault(), 0.95), evidence.plain_p95_ms())
}

pub(super) fn p99(evidence: &Evidence) -> Measured {
    times(of_span(evidence, evidence.fault(), 0.99), evidence.healthy_p95_ms())
}

/// The first ten seconds of the fault.
fn first_10_s(evidence: &Evidence) -> (f64, f64) {
    let (start_s, end_s) = evidence.fault();
    (start_s, end_s.min(start_s + 10.0))
}

pub(super) fn onset(evidence: &Evidence) -> Measured {
    times(of_span(evidence, first_10_s(evidence), 0.95), evidence.healthy_p95_ms())
}

pub(super) fn onset_of_plain(evidence: &Evidence) -> Measured {
    times(of_span(evidence, first_10_s(evidence), 0.95), evidence.plain_p95_ms())
}

pub(super) fn after5_ms(evidence: &Evidence) -> Measured {
    let (start_s, end_s) = evidence.fault();
    of_span(evidence, (start_s + 5.0, end_s), 0.95)
}

pub(super) fn after5(evidence: &Evidence) -> Measured {
    times(after5_ms(evidence), evidence.healthy_p95_ms())
}

pub(super) fn verdicts_p95(evidence: &Evidence) -> Measured {
    let judged = evidence.due_in(evidence.fault()).filter(|one| one.judged().is_some());
    let judged: Vec<f64> = judged.map(Sample::latency_ms).collect();
    times((quantile(&judged, 0.95), judged.len()), evidence.healthy_p95_ms())
}

/// How much of the wait a clock that starts at the sending shows; an open loop hides nothing.
pub(super) fn hidden_wait(evidence: &Evidence) -> Measured {
    shown_wait(evidence, evidence.fault())
}

pub(super) fn healthy_hidden_wait(evidence: &Evidence) -> Measured {
    shown_wait(evidence, evidence.healthy())
}

fn shown_wait(evidence: &Evidence, span: (f64, f64)) -> Measured {
    let answered: Vec<&Sample> = evidence.due_in(span).filter(|one| one.is_answered()).collect();
    let service: Vec<f64> = answered.iter().map(|one| one.service_ms()).collect();
    let whole: Vec<f64> = answered.iter().map(|one| one.latency_ms()).collect();
    times((quantile(&service, 0.99), service.len()), quantile(&whole, 0.99))
}

/// Of each healthy image with one call: what its caller waited beyond that call, by two clocks that
/// are not the gate's. The ways to the gate and from it, and the hand-over of the picture to the
/// provider, are in it.
fn seen_overheads(evidence: &Evidence) -> Vec<f64> {
    let logged = evidence.calls.iter();
    let logged: HashMap<(&str, &str), &Call> = logged
        .filter_map(|call| Some(((call.provider.as_str(), call.request_id.as_deref()?), call)))
        .collect();
    let beyond = |one: &Sample| {
        let verdict = one.judged().filter(|verdict| verdict.attempts.len() == 1)?;
        let id = verdict.winner()?.request_id.as_deref()?;
        let call = logged.get(&(verdict.judge_name(), id))?;
        Some(one.service_ms() - (call.scored_s? - call.began_s) * 1_000.0)
    };
    evidence.due_in(evidence.healthy()).filter_map(beyond).collect()
}

pub(super) fn seen_overhead_p50(evidence: &Evidence) -> Measured {
    let overheads = seen_overheads(evidence);
    (quantile(&overheads, 0.5), overheads.len())
}

pub(super) fn seen_overhead_p99(evidence: &Evidence) -> Measured {
    let overheads = seen_overheads(evidence);
    (quantile(&overheads, 0.99), overheads.len())
}

/// How late the event loop was while all was well: the upper end of the bucket that the p99 is in.
pub(super) fn loop_lag_p99(evidence: &Evidence) -> Measured {
    let (start_s, end_s) = evidence.healthy();
    let seen = evidence.ticks.iter().filter(|tick| start_s <= tick.at_s && tick.at_s < end_s);
    let seen: Vec<&Tick> = seen.filter(|tick| !tick.loop_lags.is_empty()).collect();
    let Some((first, last)) = seen.first().zip(seen.last()) else { return (None, 0) };
    let before = first.loop_lags.iter().map(|(_, count)| count);
    let since = last.loop_lags.iter().zip(before);
    let since: Vec<(f64, f64)> = since.map(|((le, after), before)| (*le, after - before)).collect();
    let all = since.last().map_or(0.0, |(_, count)| *count);
    let within = since.iter().find(|(_, count)| 0.0 < all && 0.99 * all <= *count);
    (within.map(|(most_s, _)| most_s * 1_000.0), seen.len())
}

/// What the gate itself took of each healthy image, by its own account.
fn overheads(evidence: &Evidence) -> Vec<f64> {
    let judged = evidence.due_in(evidence.healthy()).filter_map(Sample::judged);
    judged.map(|verdict| verdict.timing_ms.overhead()).collect()
}

pub(super) fn overhead_p50(evidence: &Evidence) -> Measured {
    let overheads = overheads(evidence);
    (quantile(&overheads, 0.5), overheads.len())
}

pub(super) fn overhead_p99(evidence: &Evidence) -> Measured {
    let overheads = overheads(evidence);
    (quantile(&overheads, 0.99), overheads.len())
}
