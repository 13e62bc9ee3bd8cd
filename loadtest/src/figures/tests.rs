mod subjects;

use std::sync::Arc;

use super::*;
use crate::evidence::Call;
use crate::evidence::Stop;
use crate::evidence::Tick;
use crate::judging::Judging;
use crate::judging::expected_scores_by_digest;
use crate::sample::AttemptBody;
use crate::sample::JudgeBody;
use crate::sample::Sample;
use crate::sample::SampleEnd;
use crate::sample::ScoreBody;
use crate::sample::VerdictBody;
use crate::scenario::Scenario;

/// Warm-up to 10 s, healthy to 20 s, the fault to 40 s, recovery to 60 s; one request each 0.1 s.
const SCENARIO: &str = "
id: X
title: made up
seconds: { warm_up: 10, healthy: 10, fault: 20, recovery: 20 }
faults: [{ on: [a], behaviour: { fault: blackhole } }]
";

const OK: SampleEnd = SampleEnd::Answered { status: 200, retry_after: false };

/// An answer of `judge` after so long.
fn sample(n: usize, due_s: f64, latency_s: f64, judge: &str) -> Sample {
    let attempt = |outcome: &str| AttemptBody {
        judge: judge.to_owned(),
        route: "primary".to_owned(),
        outcome: outcome.to_owned(),
        ..AttemptBody::default()
    };
    let judged = VerdictBody {
        id: format!("v{n}"),
        verdict: "pass".to_owned(),
        basis: "judge".to_owned(),
        judge: Some(JudgeBody { name: judge.to_owned() }),
        attempts: vec![attempt("judged")],
        recorded: true,
        ..VerdictBody::default()
    };
    Sample {
        image: n,
        due_s,
        sent_s: due_s,
        ended_s: due_s + latency_s,
        end: OK,
        verdict: Some(judged),
        refusal: None,
    }
}

/// Everything answered by `a` after half a second.
fn world(more: &str) -> Evidence {
    let scenario = Scenario::parse(&format!("{SCENARIO}{more}")).unwrap();
    let samples: Vec<Sample> =
        (0..600).map(|n| sample(n, crate::quantile::number(n) / 10.0, 0.5, "a")).collect();
    Evidence {
        scenario,
        subject: Subject::OwnGate,
        rate_per_s: 10.0,
        deadline_ms: 5_000,
        is_short: false,
        samples,
        pictures: Arc::new((0..6_000).map(|image| (digest(image), image)).collect()),
        calls: Vec::new(),
        ticks: Vec::new(),
        switches: Vec::new(),
        leaked: Some(0),
        ended_well: true,
        judges: [("a", 0.0), ("b", -0.09)]
            .map(|(judge, bias)| (judge.to_owned(), Judging::latent(judge, 0.08, bias)))
            .into(),
        lines: [("a", 0.7), ("b", 0.61)]
            .map(|(judge, line)| (judge.to_owned(), [("cutout".to_owned(), line)].into()))
            .into(),
        stop: None,
        up_again_s: None,
        lookups: [].into(),
        processes: [].into(),
        other_cores: None,
        alone_p99_ms: None,
        healthy_streamed_ms: vec![500.0; 50],
        healthy_plain_ms: vec![800.0; 50],
    }
}

/// The requests of a span, to be changed.
fn change(evidence: &mut Evidence, span: std::ops::Range<usize>, how: impl Fn(&mut Sample)) {
    evidence.samples[span].iter_mut().for_each(how);
}

#[track_caller]
fn check(evidence: &Evidence, id: &str, expected: Option<f64>) {
    let kind = KINDS.iter().find(|kind| kind.id == id).unwrap();
    let (value, _) = (kind.measure)(evidence);
    match (value, expected) {
        (Some(value), Some(expected)) => {
            assert!((value - expected).abs() < 1e-6, "{id}: {value}, not {expected}");
        }
        (None, None) => {}
        (value, expected) => panic!("{id}: {value:?}, not {expected:?}"),
    }
}

fn call(provider: &str, began_s: f64) -> Call {
    Call {
        provider: provider.to_owned(),
        began_s,
        ended_s: Some(began_s + 0.4),
        outcome: "answered".to_owned(),
        ..Call::default()
    }
}

#[test]
fn a_quiet_run_meets_every_gate() {
    let mut evidence = world("");
    give(&mut evidence, 0..600, "a");
    evidence.ticks.push(Tick { at_s: 15.0, rss_mb: Some(100.0), ..Tick::default() });
    let figures = figures(&evidence);
    for (id, _) in GATES {
        let gate = figures.iter().find(|figure| figure.id == id).unwrap();
        assert_eq!(gate.verdict, FigureVerdict::Met, "{gate:?}");
    }
}

#[test]
fn an_answer_is_late_after_the_deadline_and_50_ms_of_its_sending() {
    let mut evidence = world("");
    change(&mut evidence, 5..6, |one| one.ended_s = one.sent_s + 5.049);
    check(&evidence, "F1", Some(0.0));
    change(&mut evidence, 5..7, |one| one.ended_s = one.sent_s + 5.051);
    check(&evidence, "F1", Some(2.0));
}

#[test]
fn missing_doubled_and_broken_answers_are_lost_and_a_hang_up_is_not() {
    let mut evidence = world("");
    change(&mut evidence, 0..1, |one| one.end = SampleEnd::Missing);
    change(&mut evidence, 1..2, |one| {
        one.end = SampleEnd::Answered { status: 500, retry_after: false };
        one.verdict = None;
    });
    change(&mut evidence, 2..3, |one| {
        one.end = SampleEnd::Answered { status: 503, retry_after: true };
        one.verdict = None;
    });
    change(&mut evidence, 3..5, |one| one.verdict.as_mut().unwrap().id = "twice".to_owned());
    change(&mut evidence, 6..7, |one| (one.end, one.verdict) = (SampleEnd::HungUp, None));
    change(&mut evidence, 7..8, |one| (one.end, one.verdict) = (SampleEnd::TurnedAway, None));
    check(&evidence, "F2", Some(3.0));
}

#[test]
fn a_verdict_without_the_call_that_gave_it_is_not_attributed() {
    let mut evidence = world("");
    check(&evidence, "F5", Some(1.0));
    change(&mut evidence, 0..6, |one| one.verdict.as_mut().unwrap().attempts.clear());
    check(&evidence, "F5", Some(0.99));
}

#[test]
fn an_answer_is_joined_only_with_a_call_of_its_own_in_its_own_judges_log() {
    let mut evidence = world("");
    check(&evidence, "joined", Some(0.0));
    for n in 0..600 {
        let verdict = evidence.samples[n].verdict.as_mut().unwrap();
        verdict.attempts[0].request_id = Some(format!("call {n}"));
        let logged = Call { request_id: Some(format!("call {n}")), ..call("a", 0.0) };
        evidence.calls.push(logged);
    }
    check(&evidence, "joined", Some(1.0));
    evidence.calls[0].provider = "b".to_owned();
    evidence.calls.truncate(597);
    let same = Some("call 5".to_owned());
    change(&mut evidence, 6..8, |one| {
        one.verdict.as_mut().unwrap().attempts[0].request_id.clone_from(&same);
    });
    check(&evidence, "joined", Some(0.99));
}

#[test]
fn a_target_that_never_judged_an_image_was_not_well_before_the_fault() {
    let mut evidence = world("");
    check(&evidence, "healthy_verdict_share", Some(1.0));
    change(&mut evidence, 0..200, |one| (one.end, one.verdict) = (SampleEnd::Missing, None));
    check(&evidence, "healthy_verdict_share", Some(0.0));
}

#[test]
fn speed_in_the_fault_is_a_multiple_of_both_healthy_p95s() {
    let mut evidence = world("");
    // nine in ten of the first 10 s and none after
    change(&mut evidence, 200..290, |one| one.ended_s = one.due_s + 1.0);
    check(&evidence, "onset_p95", Some(2.0));
    check(&evidence, "onset_of_plain", Some(1.25));
    check(&evidence, "p95", Some(2.0));
    check(&evidence, "after5_p95_ms", Some(1_000.0));
    check(&evidence, "healthy_of_plain", Some(0.625));
    evidence.healthy_plain_ms.clear();
    check(&evidence, "p95_of_plain", None);
}

#[test]
fn what_a_fault_finds_under_way_is_not_healthy() {
    let mut evidence = world("");
    change(&mut evidence, 170..200, |one| one.ended_s = one.due_s + 4.0);
    check(&evidence, "healthy_p99_ms", Some(500.0));
}

#[test]
fn recovery_is_when_answers_are_quick_and_the_primarys_again() {
    let mut evidence = world("");
    check(&evidence, "recovery_s", Some(0.0));
    let of_b = |one: &mut Sample| {
        one.verdict.as_mut().unwrap().judge = Some(JudgeBody { name: "b".to_owned() });
    };
    // b judges for 5 s after the mending: a window may hold 4 of its 30 verdicts
    change(&mut evidence, 400..450, of_b);
    check(&evidence, "recovery_s", Some(4.75));
    change(&mut evidence, 400..600, of_b);
    check(&evidence, "recovery_s", None);
    let mut slow = world("");
    change(&mut slow, 400..420, |one| one.ended_s = one.due_s + 0.7);
    check(&slow, "recovery_s", Some(2.0));
}

#[test]
fn a_share_of_verdicts_counts_answers_in_time_by_a_judge() {
    let mut evidence = world("");
    change(&mut evidence, 200..210, |one| {
        one.verdict.as_mut().unwrap().basis = "deadline".to_owned();
    });
    check(&evidence, "verdict_share", Some(0.95));
    change(&mut evidence, 210..220, |one| one.ended_s = one.due_s + 6.0);
    check(&evidence, "verdict_share", Some(0.9));
    // who hung up came to no end
    change(&mut evidence, 220..300, |one| (one.end, one.verdict) = (SampleEnd::HungUp, None));
    check(&evidence, "verdict_share", Some(100.0 / 120.0));
}

#[test]
fn calls_are_counted_by_the_larger_account() {
    let mut evidence = world("");
    check(&evidence, "calls_per_image", Some(1.0));
    // the providers saw more than the answers tell of
    evidence.calls =
        (0..220).map(|n| call("a", 20.0 + crate::quantile::number(n) / 20.0)).collect();
    check(&evidence, "calls_per_image", Some(1.1));
    check(&evidence, "extra_calls", Some(0.1));
    // 15 at once and 2 % of 18.5 s: 18.7 calls are allowed
    check(&evidence, "calls_into_a", Some(220.0 / 18.7));
}

#[test]
fn no_call_may_come_before_the_time_that_a_429_asked_for() {
    let mut evidence = world("");
    let limited = Call { status: Some(429), retry_after_s: Some(2.0), ..call("a", 20.0) };
    evidence.calls =
        vec![limited, call("a", 20.2), call("a", 21.0), call("b", 21.0), call("a", 22.4)];
    check(&evidence, "calls_before_retry_after", Some(1.0));
    check(&evidence, "share_429", Some(0.2));
}

#[test]
fn a_breaker_opens_when_its_state_becomes_open() {
    let mut evidence = world("");
    check(&evidence, "opens", None);
    for (at_s, state) in
        [(5.0, "closed"), (6.0, "open"), (7.0, "closed"), (22.0, "open"), (23.0, "open")]
    {
        let breakers = [("a".to_owned(), state.to_owned())].into();
        evidence.ticks.push(Tick { at_s, breakers, ..Tick::default() });
    }
    check(&evidence, "opens", Some(1.0));
    check(&evidence, "false_opens", Some(1.0));
}

#[test]
fn an_opening_was_not_seen_where_the_look_before_it_had_failed() {
    let mut evidence = world("");
    for (at_s, state) in [(5.0, Some("closed")), (22.0, None), (22.5, Some("open"))] {
        let breakers = state.map(|state| ("a".to_owned(), state.to_owned())).into_iter().collect();
        evidence.ticks.push(Tick { at_s, breakers, ..Tick::default() });
    }
    check(&evidence, "opens", Some(1.0));
}

#[test]
fn a_queue_that_came_and_went_between_two_looks_is_a_queue() {
    let mut evidence = world("");
    for (at_s, waited) in [(5.0, 0), (6.0, 0), (6.5, 3)] {
        let (queued, waited) = (Some(0), Some(waited));
        evidence.ticks.push(Tick { at_s, queued, waited, ..Tick::default() });
    }
    check(&evidence, "F6", Some(1.0));
    evidence.ticks.pop();
    check(&evidence, "F6", Some(0.0));
}

#[test]
fn a_gate_that_panics_or_ends_badly_has_not_answered_everything_well() {
    let mut evidence = world("");
    check(&evidence, "F2", Some(0.0));
    for (at_s, panics) in [(5.0, 0), (6.0, 2), (7.0, 1)] {
        evidence.ticks.push(Tick { at_s, panics: Some(panics), ..Tick::default() });
    }
    // the last look met a gate that had been started again
    check(&evidence, "F2", Some(3.0));
    evidence.ticks[0].panics = Some(2);
    check(&evidence, "F2", Some(3.0));
    evidence.subject = Subject::GateElsewhere;
    check(&evidence, "F2", Some(1.0)); // what it had counted before is of another run
    evidence.subject = Subject::OwnGate;
    evidence.ended_well = false;
    check(&evidence, "F2", Some(4.0));
}

/// An image that a judge is shown, by its number.
fn digest(image: usize) -> String {
    format!("b3:{}", blake3::hash(&image.to_le_bytes()).to_hex())
}

/// What a judge says of that image, as an answer tells it.
fn said(evidence: &Evidence, judge: &str, image: usize) -> (String, Vec<(String, ScoreBody)>) {
    let lines = &evidence.lines[judge];
    let criteria: Vec<&str> = lines.keys().map(String::as_str).collect();
    let scores = expected_scores_by_digest(&digest(image), &criteria, &evidence.judges[judge]);
    let scores = scores.unwrap().into_iter().map(|(name, score)| {
        let pass_at = lines[&name];
        (name, ScoreBody { score, pass_at })
    });
    let scores: Vec<(String, ScoreBody)> = scores.collect();
    let is_bad = scores.iter().any(|(_, one)| one.score < one.pass_at);
    (if is_bad { "fail" } else { "pass" }.to_owned(), scores)
}

/// Gives every image of a span to `judge`, which says of it what it must.
fn give(evidence: &mut Evidence, span: std::ops::Range<usize>, judge: &str) {
    for n in span {
        let (verdict, scores) = said(evidence, judge, evidence.samples[n].image);
        let id = format!("call {n}");
        let logged = Call {
            request_id: Some(id.clone()),
            image: Some(digest(evidence.samples[n].image)),
            ..call(judge, evidence.samples[n].due_s)
        };
        evidence.calls.push(logged);
        let body = evidence.samples[n].verdict.as_mut().unwrap();
        body.judge = Some(JudgeBody { name: judge.to_owned() });
        (body.verdict, body.scores) = (verdict, scores.into_iter().collect());
        body.attempts[0].judge = judge.to_owned();
        body.attempts[0].request_id = Some(id);
    }
}

/// 6000 images, a third of them in the fault.
fn crowd() -> Evidence {
    let mut evidence = world("");
    let due_s = |n: usize| crate::quantile::number(n) / 100.0;
    evidence.samples = (0..6_000).map(|n| sample(n, due_s(n), 0.5, "a")).collect();
    evidence
}

#[test]
fn a_reject_shift_could_not_fail_because_no_judge_disagreed() {
    let mut evidence = crowd();
    // one line for both, and b steps in with the fault
    evidence.lines.insert("b".to_owned(), evidence.lines["a"].clone());
    give(&mut evidence, 0..2_000, "a");
    give(&mut evidence, 2_000..4_000, "b");
    give(&mut evidence, 4_000..6_000, "a");
    for id in ["reject_shift", "reject_shift_by_routing"] {
        let kind = KINDS.iter().find(|kind| kind.id == id).unwrap();
        let (points, pairs) = (kind.measure)(&evidence);
        assert!((2.0..4.5).contains(&points.unwrap()), "{id}: {points:?}");
        assert_eq!(pairs, 2_000);
    }
    check(&evidence, "invalid_verdicts", Some(0.0));
    let row = attribution(&evidence).into_iter().find(|row| row.phase == "fault").unwrap();
    assert_eq!((row.judge.as_str(), row.verdicts), ("b", 2_000));
    assert_eq!(row.rejected, row.would_reject["b"]);
    assert!(row.would_reject["a"] + 40 < row.would_reject["b"], "{row:?}");
}

#[test]
fn calibrated_judges_that_disagree_on_images_still_reject_as_many() {
    let mut evidence = crowd();
    give(&mut evidence, 0..2_000, "a");
    give(&mut evidence, 2_000..4_000, "b");
    give(&mut evidence, 4_000..6_000, "a");
    let row = attribution(&evidence).into_iter().find(|row| row.phase == "fault").unwrap();
    let apart = row.would_reject["a"].abs_diff(row.would_reject["b"]);
    let apart = usize::try_from(apart).unwrap();
    check(&evidence, "reject_shift", Some(crate::quantile::number(apart) / 20.0));
    assert!(apart < 20, "{row:?}");
    check(&evidence, "invalid_verdicts", Some(0.0));
}

#[test]
fn a_shift_that_the_gate_made_itself_is_not_put_down_to_routing() {
    let mut evidence = crowd();
    give(&mut evidence, 0..6_000, "a");
    change(&mut evidence, 2_000..2_100, |one| {
        one.verdict.as_mut().unwrap().verdict = "fail".to_owned();
    });
    check(&evidence, "reject_shift_by_routing", Some(0.0));
    let kind = KINDS.iter().find(|kind| kind.id == "reject_shift").unwrap();
    assert!(3.0 < (kind.measure)(&evidence).0.unwrap());
}

#[test]
fn a_verdict_that_its_judge_never_gave_is_invalid() {
    let mut evidence = world("");
    give(&mut evidence, 0..600, "a");
    check(&evidence, "invalid_verdicts", Some(0.0));
    // turned round; with a score that is not this image's; and of a call that nobody received
    change(&mut evidence, 0..1, |one| {
        let verdict = one.verdict.as_mut().unwrap();
        verdict.verdict = if verdict.verdict == "fail" { "pass" } else { "fail" }.to_owned();
    });
    change(&mut evidence, 1..2, |one| {
        let verdict = one.verdict.as_mut().unwrap();
        verdict.scores.get_mut("cutout").unwrap().score -= 0.01;
    });
    change(&mut evidence, 2..3, |one| {
        one.verdict.as_mut().unwrap().attempts[0].request_id = Some("none".to_owned());
    });
    check(&evidence, "invalid_verdicts", Some(3.0));
}

#[test]
fn a_stop_counts_only_when_it_was_clean() {
    let mut evidence = world("");
    evidence.stop = Some(Stop { told_at_s: 22.0, took_s: Some(5.5), is_clean: true });
    check(&evidence, "exit_s", Some(5.5));
    evidence.stop = Some(Stop { told_at_s: 22.0, took_s: Some(5.5), is_clean: false });
    check(&evidence, "exit_s", None);
}

#[test]
fn who_meets_the_closed_door_is_counted_where_the_target_was_told_to_stop() {
    let mut evidence = world("");
    change(&mut evidence, 3..7, |one| (one.end, one.verdict) = (SampleEnd::TurnedAway, None));
    assert!(figures(&evidence).iter().all(|figure| figure.id != "turned_away"));
    evidence.stop = Some(Stop { told_at_s: 22.0, took_s: Some(5.5), is_clean: true });
    check(&evidence, "turned_away", Some(4.0));
}

#[test]
fn a_closed_loop_hides_what_its_callers_waited() {
    let mut evidence = world("");
    check(&evidence, "hidden_wait", Some(1.0));
    change(&mut evidence, 200..400, |one| {
        one.sent_s = one.due_s + 1.5;
        one.ended_s = one.due_s + 2.0;
    });
    check(&evidence, "hidden_wait", Some(0.25));
    check(&evidence, "healthy_hidden_wait", Some(1.0));
}

#[test]
fn a_closed_loop_that_was_overloaded_before_the_fault_blamed_the_fault_for_it() {
    let mut evidence = world("");
    change(&mut evidence, 0..600, |one| {
        one.sent_s = one.due_s + 1.5;
        one.ended_s = one.due_s + 2.0;
    });
    check(&evidence, "hidden_wait", Some(0.25));
    check(&evidence, "healthy_hidden_wait", Some(0.25));
}

#[test]
fn a_control_that_fell_to_nothing_was_taken_for_one_that_failed_as_it_must() {
    let control = "
targets:
  - { figure: verdict_share, at_least: 0.75 }
  - { figure: still_judged, at_least: 0.35 }
expected_to_fail: [verdict_share]
";
    let verdict = |evidence: &Evidence, id: &str| {
        figures(evidence).into_iter().find(|one| one.id == id).map(|one| one.verdict)
    };
    let mut evidence = world(control);
    change(&mut evidence, 200..300, |one| (one.end, one.verdict) = (SampleEnd::Missing, None));
    assert_eq!(verdict(&evidence, "verdict_share"), Some(FigureVerdict::Missed));
    assert_eq!(verdict(&evidence, "still_judged"), Some(FigureVerdict::Met));
    change(&mut evidence, 300..400, |one| (one.end, one.verdict) = (SampleEnd::Missing, None));
    assert_eq!(verdict(&evidence, "still_judged"), Some(FigureVerdict::Missed));
    assert_eq!(verdict(&world(""), "still_judged"), None, "only of a control");
}

mod held;
mod joined;
mod recovery;
