//! The hard gates, and the shares of requests that got what they came for.

use std::collections::HashSet;

use crate::evidence::Evidence;
use crate::evidence::Subject;
use crate::evidence::Tick;
use crate::figures::Measured;
use crate::quantile::number;
use crate::quantile::quantile;
use crate::quantile::share;
use crate::sample::Sample;
use crate::sample::SampleEnd;
use crate::sample::VerdictBody;

/// What an answer may come after its deadline.
const GRACE_MS: f64 = 50.0;

pub(super) fn late(evidence: &Evidence) -> Measured {
    let limit_ms = deadline_ms(evidence) + GRACE_MS;
    let answered: Vec<&Sample> = evidence.samples.iter().filter(|one| one.is_answered()).collect();
    // from the sending: what the rig itself was late is told apart, and is not the target's
    let late = answered.iter().filter(|one| limit_ms < one.service_ms()).count();
    (Some(number(late)), answered.len())
}

fn deadline_ms(evidence: &Evidence) -> f64 {
    number(usize::try_from(evidence.deadline_ms).unwrap_or(usize::MAX))
}

pub(super) fn lost(evidence: &Evidence) -> Measured {
    let missing = evidence.samples.iter().filter(|one| one.end == SampleEnd::Missing).count();
    let broken = evidence.samples.iter().filter(|one| is_broken(one)).count();
    let mut seen = HashSet::new();
    let ids = evidence.samples.iter().filter_map(|one| one.verdict.as_ref());
    let ids = ids.map(|verdict| verdict.id.as_str()).filter(|id| !id.is_empty());
    let doubles = ids.filter(|id| !seen.insert(*id)).count();
    let ended_badly = usize::from(!evidence.ended_well);
    let all = missing + broken + doubles + panics(evidence) + ended_badly;
    (Some(number(all)), evidence.samples.len())
}

/// Panics of the gate; one that was killed and started again counts from nothing.
fn panics(evidence: &Evidence) -> usize {
    rises(evidence, |tick| tick.panics)
}

/// By how much a count rose in all: where it is lower than before, it began anew. A gate that the rig
/// did not start had counted before.
fn rises(evidence: &Evidence, count: impl Fn(&Tick) -> Option<u64>) -> usize {
    let seen: Vec<u64> = evidence.ticks.iter().filter_map(count).collect();
    let is_new = evidence.subject == Subject::OwnGate;
    let mut before = seen.first().copied().filter(|_| !is_new).unwrap_or_default();
    let mut all = 0;
    for now in seen {
        all += if now < before { now } else { now - before };
        before = now;
    }
    usize::try_from(all).unwrap_or(usize::MAX)
}

/// Answered with neither a verdict nor a proper refusal.
fn is_broken(sample: &Sample) -> bool {
    let SampleEnd::Answered { status, retry_after } = sample.end else { return false };
    match status {
        200 => sample.verdict.is_none(),
        503 | 429 => !retry_after,
        _ => true,
    }
}

pub(super) fn memory(evidence: &Evidence) -> Measured {
    let seen: Vec<f64> = evidence.ticks.iter().filter_map(|tick| tick.rss_mb).collect();
    (quantile(&seen, 1.0), seen.len())
}

/// Looks of the last five seconds.
const LAST_LOOKS: usize = 10;

pub(super) fn memory_back(evidence: &Evidence) -> Measured {
    let (start_s, end_s) = evidence.healthy();
    let is_healthy = |at_s: f64| start_s <= at_s && at_s < end_s;
    let seen = evidence.ticks.iter().filter_map(|tick| Some((tick.at_s, tick.rss_mb?)));
    let before: Vec<f64> = seen.filter(|(at_s, _)| is_healthy(*at_s)).map(|(_, mb)| mb).collect();
    // one look may meet a burst: the middle of the last ones
    let after: Vec<f64> =
        evidence.ticks.iter().rev().filter_map(|tick| tick.rss_mb).take(LAST_LOOKS).collect();
    let middles = quantile(&after, 0.5).zip(quantile(&before, 0.5));
    (middles.map(|(after, before)| (after - before).max(0.0)), before.len())
}

pub(super) fn leaked(evidence: &Evidence) -> Measured {
    let leaked = evidence.leaked.map(|leaked| usize::try_from(leaked).unwrap_or(usize::MAX));
    (leaked.map(number), evidence.calls.len())
}

pub(super) fn attributed(evidence: &Evidence) -> Measured {
    let verdicts: Vec<&VerdictBody> =
        evidence.samples.iter().filter_map(|one| one.verdict.as_ref()).collect();
    let attributed = verdicts.iter().filter(|verdict| is_attributed(verdict)).count();
    (share(attributed, verdicts.len()), verdicts.len())
}

/// It says who judged and by which call, or why nobody did.
fn is_attributed(verdict: &VerdictBody) -> bool {
    let calls_are_told = verdict
        .attempts
        .iter()
        .all(|one| !one.judge.is_empty() && !one.outcome.is_empty() && !one.route.is_empty());
    let is_told = if verdict.is_judged() {
        !verdict.judge_name().is_empty() && verdict.winner().is_some()
    } else {
        !verdict.basis.is_empty()
    };
    !verdict.id.is_empty() && calls_are_told && is_told
}

/// Judged answers that name a call of their judge which that judge's own log has, each its own, of
/// all judged answers: what the target says of itself is not believed here.
pub(super) fn joined(evidence: &Evidence) -> Measured {
    let logged = evidence.calls.iter();
    let logged =
        logged.filter_map(|call| Some((call.provider.as_str(), call.request_id.as_deref()?)));
    let mut unclaimed: HashSet<(&str, &str)> = logged.collect();
    let verdicts: Vec<&VerdictBody> = evidence.samples.iter().filter_map(Sample::judged).collect();
    let mut joined = 0;
    for verdict in &verdicts {
        let call = verdict.winner().and_then(|winner| winner.request_id.as_deref());
        let is_there = call.is_some_and(|call| unclaimed.remove(&(verdict.judge_name(), call)));
        joined += usize::from(is_there);
    }
    (share(joined, verdicts.len()), verdicts.len())
}

/// Judged answers of which the call that they name carried another picture than their caller sent.
/// Told by the digest in the provider's log: a gate may mix its callers up and agree with itself.
pub(super) fn crossed(evidence: &Evidence) -> Measured {
    let logged = evidence.images_by_call();
    let is_crossed = |one: &Sample| {
        let verdict = one.judged()?;
        let id = verdict.winner()?.request_id.as_deref()?;
        let picture = evidence.pictures.get(*logged.get(&(verdict.judge_name(), id))?)?;
        Some(*picture != one.image)
    };
    let known: Vec<bool> = evidence.samples.iter().filter_map(is_crossed).collect();
    let crossed = known.iter().filter(|is_crossed| **is_crossed).count();
    ((!known.is_empty()).then(|| number(crossed)), known.len())
}

/// Verdicts answered with the word that they are not in the store yet.
pub(super) fn unrecorded(evidence: &Evidence) -> Measured {
    let verdicts = || evidence.samples.iter().filter_map(|one| one.verdict.as_ref());
    let unrecorded = verdicts().filter(|verdict| !verdict.recorded).count();
    (Some(number(unrecorded)), verdicts().count())
}

pub(super) fn down_s(evidence: &Evidence) -> Measured {
    let killed = evidence.switches.iter().find(|switch| switch.says.starts_with("SIGKILL"));
    let down_s = killed.zip(evidence.up_again_s).map(|(killed, up_s)| up_s - killed.at_s);
    (down_s, usize::from(down_s.is_some()))
}

pub(super) fn rig_late(evidence: &Evidence) -> Measured {
    let late: Vec<f64> =
        evidence.samples.iter().map(|one| (one.sent_s - one.due_s) * 1_000.0).collect();
    (quantile(&late, 0.99), late.len())
}

/// Beyond what an answer may be late, a machine that stood still for the rig stood still for the target.
pub(super) fn rig_latest(evidence: &Evidence) -> Measured {
    let late: Vec<f64> =
        evidence.samples.iter().map(|one| (one.sent_s - one.due_s) * 1_000.0).collect();
    (quantile(&late, 1.0), late.len())
}

/// The longest that the queue was seen, and one where somebody waited between two looks.
pub(super) fn queue(evidence: &Evidence) -> Measured {
    let seen: Vec<f64> = evidence.ticks.iter().filter_map(|tick| tick.queued).map(count).collect();
    let unseen = if rises(evidence, |tick| tick.waited) == 0 { 0.0 } else { 1.0 };
    (quantile(&seen, 1.0).map(|longest| longest.max(unseen)), seen.len())
}

fn count(value: u64) -> f64 {
    number(usize::try_from(value).unwrap_or(usize::MAX))
}

/// Requests of this span that were judged in time, of all that came to an end.
fn judged_share(evidence: &Evidence, span: (f64, f64)) -> Measured {
    let is_counted = |one: &&Sample| !matches!(one.end, SampleEnd::HungUp | SampleEnd::TurnedAway);
    let limit_ms = deadline_ms(evidence) + GRACE_MS;
    let all: Vec<&Sample> = evidence.due_in(span).filter(is_counted).collect();
    let is_in_time = |one: &&&Sample| one.judged().is_some() && one.service_ms() <= limit_ms;
    let judged = all.iter().filter(is_in_time).count();
    (share(judged, all.len()), all.len())
}

pub(super) fn healthy_verdict_share(evidence: &Evidence) -> Measured {
    judged_share(evidence, evidence.healthy())
}

pub(super) fn verdict_share(evidence: &Evidence) -> Measured {
    judged_share(evidence, evidence.fault())
}

pub(super) fn still_judged(evidence: &Evidence) -> Measured {
    let is_control = !evidence.scenario.expected_to_fail.is_empty();
    if is_control { verdict_share(evidence) } else { (None, 0) }
}

pub(super) fn after5_verdict_share(evidence: &Evidence) -> Measured {
    let (start_s, end_s) = evidence.fault();
    judged_share(evidence, (start_s + 5.0, end_s))
}

pub(super) fn shed_share(evidence: &Evidence) -> Measured {
    let all = evidence.due_in(evidence.fault()).count();
    let shed = evidence.due_in(evidence.fault()).filter(|one| one.is_shed()).count();
    (share(shed, all), all)
}

pub(super) fn shed_p99(evidence: &Evidence) -> Measured {
    let shed: Vec<f64> =
        evidence.samples.iter().filter(|one| one.is_shed()).map(Sample::service_ms).collect();
    (quantile(&shed, 0.99), shed.len())
}

pub(super) fn shed_p50(evidence: &Evidence) -> Measured {
    let shed: Vec<f64> =
        evidence.samples.iter().filter(|one| one.is_shed()).map(Sample::service_ms).collect();
    (quantile(&shed, 0.50), shed.len())
}

pub(super) fn turned_away(evidence: &Evidence) -> Measured {
    let is_told = evidence.stop.is_some();
    let turned_away =
        evidence.samples.iter().filter(|one| one.end == SampleEnd::TurnedAway).count();
    (is_told.then(|| number(turned_away)), evidence.samples.len())
}

pub(super) fn in_flight(evidence: &Evidence) -> Measured {
    let seen = || evidence.ticks.iter().filter_map(|tick| tick.in_flight);
    (seen().max().map(count), seen().count())
}

/// Seconds before a first surge in which memory is looked at.
const BEFORE_S: f64 = 3.0;

/// Memory after recovery, of that before the first surge of its life.
pub(super) fn memory_from_fresh(evidence: &Evidence) -> Measured {
    let Some((surge_s, _)) = evidence.scenario.first_surge else { return (None, 0) };
    let is_fresh = |tick: &&Tick| surge_s - BEFORE_S <= tick.at_s && tick.at_s < surge_s;
    let before: Vec<f64> =
        evidence.ticks.iter().filter(is_fresh).filter_map(|tick| tick.rss_mb).collect();
    let last = evidence.ticks.iter().rev().filter_map(|tick| tick.rss_mb);
    let after: Vec<f64> = last.take(LAST_LOOKS).collect();
    let middles = quantile(&after, 0.5).zip(quantile(&before, 0.5));
    (middles.map(|(after, before)| after / before), before.len())
}

pub(super) fn refused_p99(evidence: &Evidence) -> Measured {
    let refused = evidence.samples.iter().filter(|one| one.is_refused_outright());
    let refused: Vec<f64> = refused.map(Sample::service_ms).collect();
    (quantile(&refused, 0.99), refused.len())
}

pub(super) fn exit_s(evidence: &Evidence) -> Measured {
    // one that had to be killed, or ended badly, has no time to show
    let clean = evidence.stop.filter(|stop| stop.is_clean).and_then(|stop| stop.took_s);
    (clean, usize::from(evidence.stop.is_some()))
}

pub(super) fn after_client_deadline(evidence: &Evidence) -> Measured {
    let Some(asked_ms) = evidence.scenario.callers.deadline_ms else { return (None, 0) };
    let limit_ms = count(asked_ms) + GRACE_MS;
    let answered: Vec<&Sample> =
        evidence.due_in(evidence.fault()).filter(|one| one.is_answered()).collect();
    let late = answered.iter().filter(|one| limit_ms < one.service_ms()).count();
    (Some(number(late)), answered.len())
}

pub(super) fn looked_up_missing(evidence: &Evidence) -> Measured {
    looked_up(evidence, "missing_records")
}

pub(super) fn looked_up(evidence: &Evidence, id: &str) -> Measured {
    let found = evidence.lookups.get(id).copied();
    found.map_or((None, 0), |(value, n)| (Some(value), usize::try_from(n).unwrap_or(usize::MAX)))
}
