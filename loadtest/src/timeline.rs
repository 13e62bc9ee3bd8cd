//! The timeline is the evidence second by second, for a person to see the fault and the recovery.

use std::collections::BTreeMap;

use crate::evidence::Evidence;
use crate::evidence::Tick;
use crate::outcome::Second;
use crate::quantile::number;
use crate::quantile::quantile;
use crate::sample::Sample;

/// One entry for each second of the scenario.
#[must_use]
pub fn timeline(evidence: &Evidence) -> Vec<Second> {
    let mut seconds = Vec::new();
    let end_s = evidence.scenario.seconds.end_s();
    let mut at_s = 0.0;
    while at_s < end_s {
        seconds.push(second(evidence, at_s));
        at_s += 1.0;
    }
    seconds
}

fn second(evidence: &Evidence, at_s: f64) -> Second {
    let span = (at_s, at_s + 1.0);
    let due: Vec<&Sample> = evidence.due_in(span).collect();
    let answered: Vec<f64> =
        due.iter().filter(|one| one.is_answered()).map(|one| one.latency_ms()).collect();
    let tick = last_tick(evidence, span);
    let mut by_judge = BTreeMap::new();
    let mut by_basis = BTreeMap::new();
    for verdict in due.iter().filter_map(|one| one.verdict.as_ref()) {
        *by_basis.entry(verdict.basis.clone()).or_default() += 1;
        if verdict.is_judged() {
            *by_judge.entry(verdict.judge_name().to_owned()).or_default() += 1;
        }
    }
    let mut calls: BTreeMap<String, u64> = BTreeMap::new();
    for call in evidence.called_in(span) {
        *calls.entry(call.provider.clone()).or_default() += 1;
    }
    Second {
        at_s,
        sent: count(due.len()),
        answered: count(answered.len()),
        verdicts: count(due.iter().filter(|one| one.judged().is_some()).count()),
        p50_ms: quantile(&answered, 0.5),
        p95_ms: quantile(&answered, 0.95),
        p99_ms: quantile(&answered, 0.99),
        by_judge,
        by_basis,
        shed: count(due.iter().filter(|one| one.is_shed()).count()),
        late: count(due.iter().filter(|one| is_late(evidence, one)).count()),
        in_flight: count(in_flight(evidence, at_s + 1.0)),
        queued: worst_queue(evidence, span),
        extra_calls: extra_calls(&due),
        breakers: tick.map(|tick| tick.breakers.clone()).unwrap_or_default(),
        calls,
        open_calls: tick.map(|tick| tick.open_calls.clone()).unwrap_or_default(),
        rss_mb: tick.and_then(|tick| tick.rss_mb),
        cpu_cores: tick.map(|tick| tick.cpu_cores.clone()).unwrap_or_default(),
    }
}

fn count(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

fn is_late(evidence: &Evidence, sample: &Sample) -> bool {
    let deadline_ms = number(usize::try_from(evidence.deadline_ms).unwrap_or(usize::MAX));
    sample.is_answered() && deadline_ms + 50.0 < sample.service_ms()
}

/// Requests that had been sent and had not ended.
fn in_flight(evidence: &Evidence, at_s: f64) -> usize {
    let is_open = |one: &&Sample| one.sent_s <= at_s && at_s < one.ended_s;
    evidence.samples.iter().filter(is_open).count()
}

/// Calls that the answers tell of beyond one for each.
fn extra_calls(due: &[&Sample]) -> i64 {
    let told = due.iter().filter_map(|one| one.verdict.as_ref());
    let extra = told.map(|verdict| i64::try_from(verdict.attempts.len()).unwrap_or(i64::MAX) - 1);
    extra.filter(|extra| 0 < *extra).sum()
}

fn ticks(evidence: &Evidence, (start_s, end_s): (f64, f64)) -> impl Iterator<Item = &Tick> {
    evidence.ticks.iter().filter(move |tick| start_s <= tick.at_s && tick.at_s < end_s)
}

fn last_tick(evidence: &Evidence, span: (f64, f64)) -> Option<&Tick> {
    ticks(evidence, span).last()
}

fn worst_queue(evidence: &Evidence, span: (f64, f64)) -> Option<u64> {
    ticks(evidence, span).filter_map(|tick| tick.queued).max()
}
