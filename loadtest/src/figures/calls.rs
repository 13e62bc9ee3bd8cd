//! Who was called, how often, and what it cost: from the providers' logs wherever they can know.

use crate::evidence::Call;
use crate::evidence::Evidence;
use crate::evidence::Tick;
use crate::figures::Measured;
use crate::provider::congestion;
use crate::quantile::number;
use crate::quantile::quantile;
use crate::quantile::share;
use crate::sample::AttemptBody;
use crate::sample::Sample;
use crate::sample::VerdictBody;
use crate::scenario::PROVIDERS;

fn primary_share_in(evidence: &Evidence, span: (f64, f64)) -> Measured {
    let judged = evidence.due_in(span).filter_map(Sample::judged);
    let judges: Vec<&str> = judged.map(VerdictBody::judge_name).collect();
    let primary = judges.iter().filter(|judge| **judge == evidence.primary()).count();
    (share(primary, judges.len()), judges.len())
}

pub(super) fn primary_share_healthy(evidence: &Evidence) -> Measured {
    primary_share_in(evidence, evidence.healthy())
}

pub(super) fn primary_share(evidence: &Evidence) -> Measured {
    primary_share_in(evidence, evidence.fault())
}

/// Attempts that the answers of this span tell of.
fn attempts(evidence: &Evidence, span: (f64, f64)) -> impl Iterator<Item = &AttemptBody> {
    evidence
        .due_in(span)
        .filter_map(|one| one.verdict.as_ref())
        .flat_map(|verdict| verdict.attempts.iter())
}

/// Calls of a span and the images they were for.
///
/// A provider that refuses connections sees no call and a caller that was not answered tells of
/// none, so the larger of both accounts is taken, of each provider: refused calls to one are not to
/// hide what another logged and nobody told. A log does not say which image a call was for: those
/// begun in the span for images of before it are taken off by what the answers tell, and those begun
/// after it for images of the span are added.
fn calls_and_images(evidence: &Evidence, span: (f64, f64)) -> (usize, usize) {
    let (start_s, end_s) = span;
    let began_in = |judge: &str, due: (f64, f64), began: (f64, f64)| {
        let answered =
            evidence.due_in(due).filter_map(|one| Some((one.sent_s, one.verdict.as_ref()?)));
        let all = answered.flat_map(|(sent_s, verdict)| {
            let of_judge = verdict.attempts.iter().filter(|one| one.judge == judge);
            of_judge.map(move |one| sent_s + one.started_ms / 1_000.0).collect::<Vec<f64>>()
        });
        all.filter(|at_s| began.0 <= *at_s && *at_s < began.1).count()
    };
    let calls_to = |judge: &str| {
        let carried_in = began_in(judge, (f64::MIN, start_s), span);
        let carried_out = began_in(judge, span, (end_s, f64::MAX));
        let logged = evidence.called_in(span).filter(|call| call.provider == judge).count();
        let told = attempts(evidence, span).filter(|one| one.judge == judge).count();
        (logged.saturating_sub(carried_in) + carried_out).max(told)
    };
    let is_served = |one: &&Sample| !one.is_shed();
    let calls = PROVIDERS.into_iter().map(calls_to).sum();
    (calls, evidence.due_in(span).filter(is_served).count())
}

fn extra_in(evidence: &Evidence, span: (f64, f64)) -> Measured {
    let (calls, images) = calls_and_images(evidence, span);
    (share(calls, images).map(|calls| calls - 1.0), images)
}

pub(super) fn extra_healthy(evidence: &Evidence) -> Measured {
    extra_in(evidence, evidence.healthy())
}

pub(super) fn extra(evidence: &Evidence) -> Measured {
    extra_in(evidence, evidence.fault())
}

pub(super) fn per_image(evidence: &Evidence) -> Measured {
    let (calls, images) = calls_and_images(evidence, evidence.fault());
    (share(calls, images), images)
}

/// Calls an image while nobody answers, those apart that only see whether somebody is back. An image of
/// the fault's last seconds may be shown to a judge that is back: that call is none of the fault's.
pub(super) fn after5_per_image(evidence: &Evidence) -> Measured {
    let (start_s, end_s) = evidence.fault();
    let span = (start_s + 5.0, end_s);
    let (calls, images) = calls_and_images(evidence, span);
    let probes = attempts(evidence, span).filter(|one| one.route == "probe").count();
    let began = |one: &Sample| {
        let attempts = one.verdict.iter().flat_map(|verdict| &verdict.attempts);
        let asked = attempts.filter(|attempt| attempt.route != "probe");
        asked.filter(|asked| end_s <= one.sent_s + asked.started_ms / 1_000.0).count()
    };
    let behind: usize = evidence.due_in(span).map(began).sum();
    (share(calls.saturating_sub(probes + behind), images), images)
}

/// Calls an image that only see whether somebody is back.
pub(super) fn after5_probes(evidence: &Evidence) -> Measured {
    let (start_s, end_s) = evidence.fault();
    let span = (start_s + 5.0, end_s);
    let probes = attempts(evidence, span).filter(|one| one.route == "probe").count();
    let images = evidence.due_in(span).filter(|one| !one.is_shed()).count();
    (share(probes, images), images)
}

/// By how much the evidence against any judge is higher in the fault phase than before, on average.
pub(super) fn breaker_score_rise(evidence: &Evidence) -> Measured {
    let mean = |judge: &str, (start_s, end_s): (f64, f64)| {
        let seen = evidence.ticks.iter().filter(|tick| start_s <= tick.at_s && tick.at_s < end_s);
        let scores: Vec<f64> =
            seen.filter_map(|tick| tick.breaker_scores.get(judge).copied()).collect();
        (!scores.is_empty()).then(|| scores.iter().sum::<f64>() / number(scores.len()))
    };
    let judges = evidence.scenario.judges.iter();
    let rises = judges.filter_map(|judge| {
        Some(mean(judge, evidence.fault())? - mean(judge, evidence.healthy())?)
    });
    let rises: Vec<f64> = rises.collect();
    (quantile(&rises, 1.0), rises.len())
}

/// From when a killed gate is up again, with its breakers closed, until the primary's opens.
pub(super) fn reopened_s(evidence: &Evidence) -> Measured {
    let Some(up_s) = evidence.up_again_s else { return (None, 0) };
    let states = evidence.ticks.iter().filter(|tick| up_s < tick.at_s);
    let states = states
        .filter_map(|tick| Some((tick.at_s, tick.breakers.get(evidence.primary())?.as_str())));
    let states: Vec<(f64, &str)> = states.collect();
    // one that is open from the first was brought along from before the kill
    let began_closed = states.first().is_some_and(|(_, state)| *state == "closed");
    let opened = states.iter().find(|(_, state)| *state != "closed").filter(|_| began_closed);
    (opened.map(|(at_s, _)| at_s - up_s), states.len())
}

/// Calls to the primary in a span: those it logged, or those that the answers tell of if more.
fn to_primary(evidence: &Evidence, span: (f64, f64)) -> usize {
    let primary = evidence.primary();
    let logged = evidence.called_in(span).filter(|call| call.provider == primary).count();
    logged.max(attempts(evidence, span).filter(|one| one.judge == primary).count())
}

pub(super) fn to_a_after_3s(evidence: &Evidence) -> Measured {
    let (start_s, end_s) = evidence.fault();
    let span = (start_s + 3.0, end_s);
    let images = evidence.due_in(span).count();
    (share(to_primary(evidence, span), images), images)
}

pub(super) fn into_a(evidence: &Evidence) -> Measured {
    let (start_s, end_s) = evidence.fault();
    let calls = to_primary(evidence, (start_s, end_s));
    let onset = 1.5 * evidence.rate_per_s;
    let rest = 0.02 * evidence.rate_per_s * (end_s - start_s - 1.5);
    let allowed = onset + rest;
    ((0.0 < allowed).then(|| number(calls) / allowed), calls)
}

pub(super) fn share_429(evidence: &Evidence) -> Measured {
    let all = evidence.called_in(evidence.fault()).count();
    let limited = evidence.called_in(evidence.fault()).filter(|call| call.status == Some(429));
    (share(limited.count(), all), all)
}

/// Calls to a provider between its 429 and the end of the time that it asked for.
pub(super) fn before_retry_after(evidence: &Evidence) -> Measured {
    let limited: Vec<(&str, f64, f64)> = evidence.calls.iter().filter_map(stay_away).collect();
    if limited.is_empty() {
        return (None, 0);
    }
    let is_too_early = |call: &&Call| {
        limited.iter().any(|&(provider, from_s, until_s)| {
            provider == call.provider && from_s < call.began_s && call.began_s < until_s
        })
    };
    let early = evidence.calls.iter().filter(is_too_early).count();
    (Some(number(early)), limited.len())
}

/// Who asked to be left alone, from when, until when: less what the answer takes on its way.
fn stay_away(call: &Call) -> Option<(&str, f64, f64)> {
    let ended_s = call.ended_s.filter(|_| call.status == Some(429))?;
    Some((call.provider.as_str(), ended_s + 0.05, ended_s + call.retry_after_s? - 0.05))
}

/// How often a breaker that had been closed was so no more within a span: a probe that fails, and
/// turns half-open to open again, keeps nobody away who was let in before.
fn opens_in(evidence: &Evidence, span: (f64, f64), judge: Option<&str>) -> Measured {
    let (start_s, end_s) = span;
    let is_judge = |name: &str| judge.is_none_or(|judge| judge == name);
    // a look that saw nothing hides no opening: the one before it counts
    let seen: Vec<&Tick> = evidence.ticks.iter().filter(|tick| !tick.breakers.is_empty()).collect();
    let opens = seen.windows(2).filter_map(|two| two.first().zip(two.last()));
    let opens = opens.filter(|(_, now)| start_s <= now.at_s && now.at_s < end_s);
    let opens = opens.flat_map(|(before, now)| {
        now.breakers.iter().filter(move |(name, state)| {
            state.as_str() != "closed"
                && before.breakers.get(*name).is_some_and(|was| was == "closed")
        })
    });
    let count = opens.filter(|(name, _)| is_judge(name)).count();
    ((!seen.is_empty()).then(|| number(count)), seen.len())
}

pub(super) fn false_opens(evidence: &Evidence) -> Measured {
    let end_s = if evidence.scenario.faults.is_empty() {
        evidence.scenario.seconds.end_s()
    } else {
        evidence.scenario.seconds.fault_at_s()
    };
    opens_in(evidence, (0.0, end_s), None)
}

pub(super) fn opens(evidence: &Evidence) -> Measured {
    let span = (evidence.scenario.seconds.fault_at_s(), evidence.scenario.seconds.end_s());
    opens_in(evidence, span, Some(evidence.primary()))
}

pub(super) fn billed(evidence: &Evidence) -> Measured {
    let billed = evidence.calls.iter().filter(|call| call.billed_tokens != 0).count();
    (share(billed, evidence.calls.len()), evidence.calls.len())
}

pub(super) fn cancelled_and_billed(evidence: &Evidence) -> Measured {
    let in_vain = evidence.calls.iter().filter(|call| call.answered_after_cancel).count();
    (Some(number(in_vain)), evidence.calls.len())
}

/// Mean times of the simulated providers' calls, to tell what their slots can give: of the calls
/// of the surge itself, which are many at each of them; a draw knows of no congestion.
fn mean_call_s(evidence: &Evidence, provider: &str) -> Option<f64> {
    let of_provider = evidence.called_in(evidence.fault()).filter(|call| call.provider == provider);
    let drawn: Vec<f64> = of_provider.filter_map(|call| call.drawn_ms).collect();
    (!drawn.is_empty()).then(|| drawn.iter().sum::<f64>() / number(drawn.len()) / 1_000.0)
}

/// What a call takes where none was seen in the surge.
const USUAL_CALL_S: [(&str, f64); 3] = [("a", 0.72), ("b", 0.86), ("c", 1.08)];

pub(super) fn goodput(evidence: &Evidence) -> Measured {
    let (start_s, end_s) = evidence.fault();
    let mut capacity_per_s = 0.0;
    for (provider, usual_s) in USUAL_CALL_S {
        let Some(slots) = evidence.scenario.slots.get(provider) else { return (None, 0) };
        // a provider at its limit is slower than one with room: that is what its slots can give
        let call_s = mean_call_s(evidence, provider).unwrap_or(usual_s) * congestion(1, 1);
        capacity_per_s += (slots * evidence.rate_per_s).floor() / call_s;
    }
    let ended = evidence.samples.iter().filter(|one| start_s <= one.ended_s && one.ended_s < end_s);
    let verdicts = ended.filter(|one| one.judged().is_some()).count();
    (Some(number(verdicts) / (capacity_per_s * (end_s - start_s))), verdicts)
}
