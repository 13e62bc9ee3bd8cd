//! Figures that need both accounts: the providers' logs beside the answers, and what was scraped.

use super::*;

/// A call that carried this picture and was answered.
fn call_for(picture: usize, provider: &str, (began_s, ended_s): (f64, f64)) -> Call {
    Call {
        image: Some(format!("b3:{picture}")),
        ended_s: Some(ended_s),
        scored_s: Some(ended_s),
        ..call(provider, began_s)
    }
}

/// Ten pictures by turns, each answer with the call that judged it.
fn joined() -> Evidence {
    let mut evidence = world("");
    for (n, sample) in evidence.samples.iter_mut().enumerate() {
        sample.image = n % 10;
        let id = format!("call {n}");
        let logged = call_for(sample.image, "a", (sample.sent_s + 0.01, sample.ended_s));
        evidence.calls.push(Call { request_id: Some(id.clone()), ..logged });
        sample.verdict.as_mut().unwrap().attempts[0].request_id = Some(id);
    }
    // more than a picture's turn, so that two sendings of it have time at once
    evidence.deadline_ms = 1_500;
    evidence
}

/// The caller of request 250, due at 25 s with picture 0, hangs up after 0.3 s.
fn hung_up() -> Evidence {
    let mut evidence = joined();
    change(&mut evidence, 250..251, |one| {
        (one.end, one.verdict, one.ended_s) = (SampleEnd::HungUp, None, one.sent_s + 0.3);
    });
    evidence
}

#[test]
fn a_call_begun_late_outlives_its_image_although_it_is_short() {
    let mut evidence = joined();
    check(&evidence, "outlived_deadline", Some(0.0));
    let told = |n: usize, started_ms: f64| {
        move |one: &mut Sample| {
            let attempt = AttemptBody {
                judge: "b".to_owned(),
                outcome: "cancelled".to_owned(),
                started_ms,
                ..AttemptBody::default()
            };
            assert_eq!(one.image, n % 10);
            one.verdict.as_mut().unwrap().attempts.push(attempt);
        }
    };
    // begun 1 s after its image, which has 1.5 s: it may take half a second
    change(&mut evidence, 250..251, told(250, 1_000.0));
    evidence.calls.push(call_for(0, "b", (26.01, 26.55)));
    check(&evidence, "outlived_deadline", Some(0.0));
    evidence.calls.last_mut().unwrap().ended_s = Some(26.7);
    check(&evidence, "outlived_deadline", Some(1.0));
}

#[test]
fn the_rest_of_an_answer_whose_scores_left_in_time_may_be_read_a_little_longer() {
    let mut evidence = joined();
    let due_s = evidence.samples[250].due_s;
    let call = &mut evidence.calls[250];
    (call.scored_s, call.ended_s) = (Some(due_s + 1.4), Some(due_s + 2.3));
    check(&evidence, "outlived_deadline", Some(0.0));
    evidence.calls[250].ended_s = Some(due_s + 2.6);
    check(&evidence, "outlived_deadline", Some(1.0));
    (evidence.calls[250].scored_s, evidence.calls[250].ended_s) = (None, Some(due_s + 2.3));
    check(&evidence, "outlived_deadline", Some(1.0));
}

#[test]
fn a_call_without_an_end_has_outlived_its_image() {
    let mut evidence = joined();
    evidence.calls[250].ended_s = None;
    check(&evidence, "outlived_deadline", Some(1.0));
    // also where nobody knows what it was for
    evidence.calls[250].image = None;
    check(&evidence, "outlived_deadline", Some(1.0));
}

#[test]
fn a_call_for_a_picture_that_nobody_waits_for_has_outlived_it() {
    let mut evidence = joined();
    evidence.samples.truncate(300);
    evidence.calls.truncate(300);
    evidence.calls.push(call_for(0, "b", (31.0, 31.1)));
    check(&evidence, "outlived_deadline", Some(1.0));
}

#[test]
fn a_call_after_a_hang_up_is_seen_although_the_gate_tells_of_none() {
    let mut evidence = hung_up();
    evidence.lookups.insert("started_after_hang_up".to_owned(), (0.0, 1));
    check(&evidence, "started_after_hang_up", Some(0.0));
    evidence.calls.push(call_for(0, "b", (25.6, 25.9)));
    check(&evidence, "started_after_hang_up", Some(1.0));
    // at 26 s the picture is sent again, but that answer tells of no call to b
    evidence.calls.last_mut().unwrap().began_s = 26.2;
    check(&evidence, "started_after_hang_up", Some(1.0));
    evidence.lookups.insert("started_after_hang_up".to_owned(), (2.0, 1));
    check(&evidence, "started_after_hang_up", Some(2.0));
}

#[test]
fn a_call_left_under_way_ran_on_if_its_scores_were_said() {
    let mut evidence = hung_up();
    check(&evidence, "ran_on", Some(1.0));
    evidence.calls[250].scored_s = None;
    check(&evidence, "ran_on", Some(0.0));
    // one that had ended before its caller went was not left
    evidence.calls[250].ended_s = Some(25.2);
    check(&evidence, "ran_on", None);
}

#[test]
fn refused_calls_to_one_provider_do_not_hide_untold_calls_to_another() {
    let mut evidence = world("");
    // 200 answers tell of one call to b each, which refuses connections; a logged 100 that no answer has
    change(&mut evidence, 200..400, |one| {
        one.verdict.as_mut().unwrap().attempts[0].judge = "b".to_owned();
    });
    evidence.calls =
        (0..100).map(|n| call("a", 20.0 + crate::quantile::number(n) / 10.0)).collect();
    check(&evidence, "calls_per_image", Some(1.5));
}

#[test]
fn probes_have_an_account_of_their_own() {
    let mut evidence = world("");
    check(&evidence, "after5_probes_per_image", Some(0.0));
    change(&mut evidence, 385..400, |one| {
        let attempts = &mut one.verdict.as_mut().unwrap().attempts;
        attempts.push(AttemptBody { route: "probe".to_owned(), ..attempts[0].clone() });
    });
    check(&evidence, "after5_probes_per_image", Some(0.1));
}

#[test]
fn a_tail_is_held_to_the_primarys_law_and_not_to_the_few_slow_calls_of_one_run() {
    let mut evidence = joined();
    check(&evidence, "tail_ratio", None);
    evidence.alone_p99_ms = Some(1_000.0);
    check(&evidence, "tail_ratio", Some(0.5));
}

#[test]
fn an_answer_is_kept_when_it_stalled_after_its_scores() {
    let mut evidence = joined();
    check(&evidence, "kept_of_stalled", None);
    for logged in &mut evidence.calls[200..210] {
        logged.fault = Some("mid_stream_stall".to_owned());
    }
    evidence.calls[200].scored_s = None;
    check(&evidence, "kept_of_stalled", Some(1.0));
    // three images were sent their scores and waited on for another judge
    let of_b = |one: &mut Sample| {
        let verdict = one.verdict.as_mut().unwrap();
        verdict.attempts.push(AttemptBody {
            judge: "b".to_owned(),
            request_id: Some(format!("of b for {}", one.due_s)),
            ..verdict.attempts[0].clone()
        });
        verdict.attempts[0].outcome = "cancelled".to_owned();
        verdict.judge = Some(JudgeBody { name: "b".to_owned() });
    };
    change(&mut evidence, 201..204, |one| {
        of_b(one);
        one.ended_s += 0.4;
    });
    check(&evidence, "kept_of_stalled", Some(6.0 / 9.0));
    // one had its answer when the scores came to nobody
    change(&mut evidence, 204..205, of_b);
    check(&evidence, "kept_of_stalled", Some(5.0 / 8.0));
}

#[test]
fn a_killed_gate_recovers_from_when_it_is_up_and_not_from_the_end_of_the_phase() {
    let mut evidence = world("");
    evidence.scenario.faults.clear();
    evidence.up_again_s = Some(25.0);
    change(&mut evidence, 250..300, |one| one.ended_s = one.due_s + 2.0);
    check(&evidence, "recovery_s", Some(5.0));
    check(&evidence, "back_s", Some(5.0));
    // with a fault besides, the mending of that is what recovery counts from
    let mut faulty = world("");
    faulty.up_again_s = Some(25.0);
    change(&mut faulty, 250..300, |one| one.ended_s = one.due_s + 2.0);
    check(&faulty, "recovery_s", Some(0.0));
    check(&faulty, "back_s", Some(5.0));
    check(&world(""), "back_s", None);
}

#[test]
fn a_breaker_that_was_never_closed_after_a_kill_did_not_begin_anew() {
    let mut evidence = world("");
    evidence.up_again_s = Some(25.0);
    let tick = |(at_s, state): (f64, &str)| Tick {
        at_s,
        breakers: [("a".to_owned(), state.to_owned())].into(),
        ..Tick::default()
    };
    evidence.ticks = [(24.0, "open"), (25.5, "closed"), (27.0, "open")].map(tick).into();
    check(&evidence, "reopened_s", Some(2.0));
    evidence.ticks.remove(1);
    check(&evidence, "reopened_s", None);
}

#[test]
fn hang_ups_that_count_against_a_judge_raise_its_score() {
    let mut evidence = world("");
    check(&evidence, "breaker_score_rise", None);
    let tick = |(at_s, score): (f64, f64)| Tick {
        at_s,
        breaker_scores: [("a".to_owned(), score)].into(),
        ..Tick::default()
    };
    evidence.ticks = [(12.0, 0.2), (14.0, 0.4), (22.0, 1.0), (24.0, 2.0)].map(tick).into();
    check(&evidence, "breaker_score_rise", Some(1.2));
}

#[test]
fn who_is_refused_outright_is_told_from_who_waited() {
    let mut evidence = world("");
    let refused = |ms: f64, words: &'static str| {
        move |one: &mut Sample| {
            one.end = SampleEnd::Answered { status: 503, retry_after: true };
            one.ended_s = one.sent_s + ms / 1_000.0;
            (one.verdict, one.refusal) = (None, Some(words.to_owned()));
        }
    };
    change(
        &mut evidence,
        200..210,
        refused(700.0, "the gate is full (overtaken, after a wait for judges)"),
    );
    check(&evidence, "refused_p99_ms", None);
    change(&mut evidence, 210..220, refused(4.0, "the gate is full (bytes)"));
    check(&evidence, "refused_p99_ms", Some(4.0));
    check(&evidence, "shed_p99_ms", Some(700.0));
}

#[test]
fn overhead_is_also_seen_from_outside_by_images_with_one_call() {
    let mut evidence = joined();
    check(&evidence, "seen_overhead_p50_ms", Some(10.0));
    // what hedged waited for the better of two
    change(&mut evidence, 100..200, |one| {
        let attempts = &mut one.verdict.as_mut().unwrap().attempts;
        attempts.push(attempts[0].clone());
    });
    check(&evidence, "seen_overhead_p50_ms", None);
}

#[test]
fn the_lag_of_the_event_loop_is_that_of_the_healthy_phase_alone() {
    let mut evidence = world("");
    check(&evidence, "loop_lag_p99_ms", None);
    let tick = |(at_s, counts): (f64, [f64; 3])| Tick {
        at_s,
        loop_lags: [0.001, 0.005, f64::INFINITY].into_iter().zip(counts).collect(),
        ..Tick::default()
    };
    // the start was slow; since then 98 of 100 were within 1 ms and all within 5
    let ticks =
        [(11.0, [0.0, 0.0, 50.0]), (16.0, [98.0, 100.0, 150.0]), (30.0, [98.0, 100.0, 900.0])];
    evidence.ticks = ticks.map(tick).into();
    check(&evidence, "loop_lag_p99_ms", Some(5.0));
}

#[test]
fn a_soak_is_measured_beside_its_faults() {
    let mut evidence = world("");
    // healthy again from 10 s after 40 s; the fault found requests from 17 s on under way
    change(&mut evidence, 170..500, |one| {
        one.ended_s = one.due_s + 3.0;
        one.verdict.as_mut().unwrap().judge = Some(JudgeBody { name: "b".to_owned() });
    });
    check(&evidence, "p95_drift", Some(0.0));
    check(&evidence, "secondary_share_outside", Some(0.0));
    change(&mut evidence, 500..517, |one| {
        one.ended_s = one.due_s + 0.6;
        one.verdict.as_mut().unwrap().judge = Some(JudgeBody { name: "b".to_owned() });
    });
    check(&evidence, "p95_drift", Some(0.2));
    check(&evidence, "secondary_share_outside", Some(0.1));
}

#[test]
fn a_gate_that_mixes_up_its_callers_is_caught_although_it_agrees_with_itself() {
    let mut evidence = world("");
    give(&mut evidence, 0..600, "a");
    check(&evidence, "crossed", Some(0.0));
    for n in (0..600).step_by(2) {
        let (one, other) =
            (evidence.samples[n].verdict.take(), evidence.samples[n + 1].verdict.take());
        (evidence.samples[n].verdict, evidence.samples[n + 1].verdict) = (other, one);
    }
    for (id, agrees) in [("joined", 1.0), ("F2", 0.0), ("F5", 1.0), ("invalid_verdicts", 0.0)] {
        check(&evidence, id, Some(agrees));
    }
    check(&evidence, "crossed", Some(600.0));
    // of a view that was made anew nothing is known
    evidence.pictures = Arc::default();
    check(&evidence, "crossed", None);
}
