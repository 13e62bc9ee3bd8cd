//! The timeline is the evidence second by second, for a person to see the fault and the recovery.

use std::collections::BTreeMap;

use crate::evidence::Call;
use crate::evidence::Evidence;
use crate::evidence::Tick;
use crate::outcome::Second;
use crate::quantile::number;
use crate::quantile::quantile;
use crate::sample::Sample;

/// One entry for each second of the scenario.
#[must_use]
pub fn timeline(evidence: &Evidence) -> Vec<Second> {
    let seconds = split(evidence);
    let mut open = 0_i64;
    let mut timeline = Vec::with_capacity(seconds.len());
    for (n, seen) in seconds.into_iter().enumerate() {
        open += seen.sent - seen.ended;
        timeline.push(second(evidence, number(n), &seen, open));
    }
    timeline
}

/// What belongs to one second.
#[derive(Default)]
struct Seen<'a> {
    due: Vec<&'a Sample>,
    calls: Vec<&'a Call>,
    ticks: Vec<&'a Tick>,
    /// Requests sent in it.
    sent: i64,
    /// Requests that ended in it.
    ended: i64,
}

/// Everything by its second, in one pass: a soak has millions.
fn split(evidence: &Evidence) -> Vec<Seen<'_>> {
    let mut seconds = Vec::new();
    let end_s = evidence.scenario.seconds.end_s();
    while number(seconds.len()) < end_s {
        seconds.push(Seen::default());
    }
    let nth = |at_s: f64| whole(at_s).unwrap_or(usize::MAX);
    for sample in &evidence.samples {
        if let Some(seen) = seconds.get_mut(nth(sample.due_s)) {
            seen.due.push(sample);
        }
        if let Some(seen) = seconds.get_mut(nth(sample.sent_s)) {
            seen.sent += 1;
        }
        if let Some(seen) = seconds.get_mut(nth(sample.ended_s)) {
            seen.ended += 1;
        }
    }
    for call in &evidence.calls {
        if let Some(seen) = seconds.get_mut(nth(call.began_s)) {
            seen.calls.push(call);
        }
    }
    for tick in &evidence.ticks {
        if let Some(seen) = seconds.get_mut(nth(tick.at_s)) {
            seen.ticks.push(tick);
        }
    }
    seconds
}

/// The whole seconds of a time that is not before the first.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "held to the seconds of a year first"
)]
fn whole(at_s: f64) -> Option<usize> {
    (0.0..3.2e7).contains(&at_s).then_some(at_s as usize)
}

fn second(evidence: &Evidence, at_s: f64, seen: &Seen<'_>, open: i64) -> Second {
    let due = &seen.due;
    let answered: Vec<f64> =
        due.iter().filter(|one| one.is_answered()).map(|one| one.latency_ms()).collect();
    let tick = seen.ticks.last();
    let mut by_judge = BTreeMap::new();
    let mut by_basis = BTreeMap::new();
    for verdict in due.iter().filter_map(|one| one.verdict.as_ref()) {
        *by_basis.entry(verdict.basis.clone()).or_default() += 1;
        if verdict.is_judged() {
            *by_judge.entry(verdict.judge_name().to_owned()).or_default() += 1;
        }
    }
    let mut calls: BTreeMap<String, u64> = BTreeMap::new();
    for call in &seen.calls {
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
        in_flight: u64::try_from(open).unwrap_or_default(),
        queued: seen.ticks.iter().filter_map(|tick| tick.queued).max(),
        extra_calls: extra_calls(due),
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

/// Calls that the answers tell of beyond one for each.
fn extra_calls(due: &[&Sample]) -> i64 {
    let told = due.iter().filter_map(|one| one.verdict.as_ref());
    let extra = told.map(|verdict| i64::try_from(verdict.attempts.len()).unwrap_or(i64::MAX) - 1);
    extra.filter(|extra| 0 < *extra).sum()
}
