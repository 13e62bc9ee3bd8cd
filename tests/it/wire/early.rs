//! Judgements that leave at their scores: when they may, and what becomes of the rest.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Notify;
use vlmgate::clock::Deadline;
use vlmgate::domain::{AttemptOutcome, MicroUsd};
use vlmgate::panel::rest::{LateKind, LatePart};
use vlmgate::panel::{Answered, AttemptError, Judge, Question};
use vlmgate::provider::ProviderJudge;
use vlmgate::provider::dialect::Dialect;
use vlmgate::provider::settings::Kind;

use crate::wire::calls::question;
use crate::wire::sse::{HEAD, said, stream};
use crate::wire::streaming;
use crate::wire::stub::{Answer, Stub, http};

/// Enough for every model's picture, and too few for any.
const SEEN: u64 = 2_000;
const BLIND: u64 = 2;

const IDS: [&str; 2] = ["sharp", "cutout"];

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(10))
}

fn kind(dialect: Dialect) -> (Kind, &'static str) {
    match dialect {
        Dialect::OpenAi => (Kind::OpenAi, "gpt-6-luna"),
        Dialect::Anthropic => {
            (Kind::Anthropic { version: "2026-10-21".to_owned() }, "claude-haiku-5-5")
        }
        Dialect::Gemini => (Kind::Gemini { version: "v1beta".to_owned() }, "gemini-3.5-flash-lite"),
        Dialect::Mistral => (Kind::Mistral, "mistral-small-latest"),
    }
}

fn judge(dialect: Dialect, stub: &Stub) -> ProviderJudge {
    let (kind, model) = kind(dialect);
    streaming(kind, Some(stub.base.clone()), model)
}

/// The parts of a good answer.
fn good(dialect: Dialect, input: u64) -> [Vec<u8>; 2] {
    let (first, second) = said(&IDS);
    stream(dialect, (&first, &second), input)
}

fn answer(body: &[&[u8]]) -> Vec<u8> {
    [&[HEAD.as_bytes()], body].concat().concat()
}

/// A provider that stops behind the scores until it is told to go on.
async fn halting([first, second]: [Vec<u8>; 2]) -> (Stub, Arc<Notify>) {
    let go_on = Arc::new(Notify::new());
    let (first, told) = (answer(&[&first]), Arc::clone(&go_on));
    let stub =
        Stub::start(move |_| Answer::Parts(first.clone(), Arc::clone(&told), second.clone())).await;
    (stub, go_on)
}

async fn ask(judge: &ProviderJudge) -> Result<Answered, AttemptError> {
    judge.judge(&question(), soon()).await
}

/// Asks a judge that has everything to say at once.
async fn ask_whole(judge: &ProviderJudge) -> Answered {
    ask(judge).await.expect("a judgement")
}

/// The early answer of a provider that then goes on to `second`.
async fn late_part(dialect: Dialect, first: Vec<u8>, second: Vec<u8>) -> LatePart {
    let (stub, go_on) = halting([first, second]).await;
    let answered = ask(&judge(dialect, &stub)).await.expect("scores");
    go_on.notify_one();
    answered.rest.expect("it left early").read(soon()).await
}

#[tokio::test]
async fn where_the_count_comes_first_the_scores_leave_and_the_rest_follows() {
    for dialect in [Dialect::Anthropic, Dialect::Gemini] {
        let (stub, go_on) = halting(good(dialect, SEEN)).await;
        let judge = judge(dialect, &stub);
        let answered = ask(&judge).await.expect("scores");
        let scores: Vec<_> = answered.judgement.scores.iter().map(|one| one.score).collect();
        assert_eq!(scores, [Some(0.9), Some(0.9)], "{dialect:?}");
        assert!(answered.judgement.scores.iter().all(|one| one.reason.is_none()));
        assert_eq!((answered.tokens, answered.cost), (None, judge.estimate(&question())));

        let mut rest = answered.rest.expect("it left early");
        assert_eq!(rest.take_if_sound(), None, "nothing more has come");
        go_on.notify_one();
        let part = rest.read(soon()).await;
        let reasons = part.reasons.expect("reasons");
        assert_eq!(reasons.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), IDS);
        assert_eq!(reasons[0].1, "clean — all of it");
        let tokens = part.tokens.expect("a count");
        assert_eq!((tokens.input, tokens.output), (SEEN, 30), "{dialect:?}");
        assert_eq!(part.cost, MicroUsd(SEEN), "a nano-dollar per thousand tokens of input");
        assert_eq!(part.request_id.as_deref(), Some("req_9"));
        assert!(!part.blind && part.took.is_some());
    }
}

#[tokio::test]
async fn requests_are_streamed_as_each_provider_wants_it() {
    for dialect in Dialect::ALL {
        let [first, second] = good(dialect, SEEN);
        let stub = Stub::always(answer(&[&first, &second])).await;
        ask_whole(&judge(dialect, &stub)).await;
        let seen = stub.seen().remove(0);
        let body: Value = serde_json::from_slice(&seen.body).expect("JSON");
        match dialect {
            Dialect::Gemini => {
                assert!(seen.head.contains(":streamGenerateContent?alt=sse "), "{}", seen.head);
                assert_eq!(body.get("stream"), None);
            }
            Dialect::OpenAi => assert_eq!(body["stream_options"]["include_usage"], true),
            Dialect::Anthropic | Dialect::Mistral => {
                assert_eq!(body["stream"], true);
                assert_eq!(body.get("stream_options"), None);
            }
        }
    }
}

#[tokio::test]
async fn where_the_count_comes_last_twenty_seen_answers_come_first() {
    for dialect in [Dialect::OpenAi, Dialect::Mistral] {
        let [first, second] = good(dialect, SEEN);
        let stub = Stub::always(answer(&[&first, &second])).await;
        let judge = judge(dialect, &stub);
        for _ in 0..20 {
            let answered = ask_whole(&judge).await;
            assert!(answered.rest.is_none() && answered.tokens.is_some(), "{dialect:?}");
            assert!(answered.judgement.scores.iter().all(|one| one.reason.is_some()));
        }
        let answered = ask_whole(&judge).await;
        let part = answered.rest.expect("now it may").read(soon()).await;
        assert!(part.is_sound());
        assert_eq!(part.tokens.map(|tokens| tokens.input), Some(SEEN));
    }
}

#[tokio::test]
async fn a_blind_answer_that_left_early_turns_early_answers_off_for_twenty() {
    let seen = good(Dialect::OpenAi, SEEN).concat();
    let blind = good(Dialect::OpenAi, BLIND).concat();
    let calls = std::sync::atomic::AtomicUsize::new(0);
    let stub = Stub::start(move |_| {
        let call = calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Answer::Bytes(answer(&[if call == 20 { &blind } else { &seen }]))
    })
    .await;
    let judge = judge(Dialect::OpenAi, &stub);
    for _ in 0..20 {
        ask_whole(&judge).await;
    }
    let part = ask_whole(&judge).await.rest.expect("trusted").read(soon()).await;
    assert!(part.blind && !part.is_sound());
    for _ in 0..20 {
        assert!(ask_whole(&judge).await.rest.is_none(), "it must show its sight again");
    }
    assert!(ask_whole(&judge).await.rest.is_some());
}

#[tokio::test]
async fn a_judge_whose_ends_never_come_is_soon_waited_for() {
    for dialect in [Dialect::OpenAi, Dialect::Mistral] {
        let [first, second] = good(dialect, SEEN);
        let whole = answer(&[&first, &second]);
        let (calls, never) = (std::sync::atomic::AtomicUsize::new(0), Arc::new(Notify::new()));
        let stub =
            Stub::start(move |_| match calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
                20 | 21 => Answer::Parts(answer(&[&first]), Arc::clone(&never), second.clone()),
                _ => Answer::Bytes(whole.clone()),
            })
            .await;
        let (judge, question) = (judge(dialect, &stub), question());
        assert!(judge.waits_for_end(&question), "{dialect:?} has shown nothing yet");
        for _ in 0..20 {
            ask_whole(&judge).await;
        }
        for _ in 0..2 {
            assert!(!judge.waits_for_end(&question), "{dialect:?}");
            let part = ask_whole(&judge).await.rest.expect("trusted").cut();
            assert_eq!(part.reasons.unwrap_err().kind, LateKind::Truncated);
        }
        assert!(judge.waits_for_end(&question), "{dialect:?}: two of twenty stayed unproven");
        for _ in 0..20 {
            assert!(ask_whole(&judge).await.rest.is_none(), "{dialect:?}");
        }
        assert!(ask_whole(&judge).await.rest.is_some(), "{dialect:?}");
    }
}

#[tokio::test]
async fn a_judge_whose_count_is_too_low_at_the_start_is_waited_for_and_found_blind() {
    for dialect in [Dialect::Anthropic, Dialect::Gemini] {
        let [first, second] = good(dialect, BLIND);
        let stub = Stub::always(answer(&[&first, &second])).await;
        let error = ask(&judge(dialect, &stub)).await.expect_err("blind");
        assert_eq!(error.outcome, AttemptOutcome::Blind, "{dialect:?}");
    }
}

#[tokio::test]
async fn a_stream_that_ends_cleanly_without_its_marker_is_truncated() {
    for dialect in Dialect::ALL {
        let [first, _] = good(dialect, SEEN);
        for cut in [first.len() / 2, first.len()] {
            let question = Question { early: false, ..question() };
            let stub = Stub::always(answer(&[&first[..cut]])).await;
            let error = judge(dialect, &stub).judge(&question, soon()).await.expect_err("cut");
            assert_eq!(error.outcome, AttemptOutcome::Truncated, "{dialect:?}");
        }
    }
}

#[tokio::test]
async fn after_the_scores_a_cut_leaves_the_verdict_and_marks_the_rest() {
    let [first, second] = good(Dialect::Anthropic, SEEN);
    for cut in [0, second.len() / 2, second.len() - 2] {
        let part = late_part(Dialect::Anthropic, first.clone(), second[..cut].to_vec()).await;
        let fault = part.reasons.expect_err("cut");
        assert_eq!(fault.kind, LateKind::Truncated, "{}", fault.detail);
        assert_eq!(part.tokens, None);
        assert!(MicroUsd(0) < part.cost, "the estimate");
    }
}

#[tokio::test]
async fn a_stall_after_the_scores_is_cut_at_the_deadline() {
    let (stub, _go_on) = halting(good(Dialect::Gemini, SEEN)).await;
    let answered = ask(&judge(Dialect::Gemini, &stub)).await.expect("scores");
    let deadline = Deadline::after(Duration::from_millis(50));
    let part = answered.rest.expect("it left early").read(deadline).await;
    assert_eq!(part.reasons.expect_err("a stall").kind, LateKind::Truncated);
    assert_eq!(part.took, None);
}

#[tokio::test]
async fn a_whole_answer_that_denies_its_beginning_is_a_mismatch() {
    let (scores, reasons) = said(&IDS);
    let twice = format!(",\"scores\":{{\"sharp\":0.1,\"cutout\":0.1}}{reasons}");
    let [first, second] = stream(Dialect::Anthropic, (&scores, &twice), SEEN);
    let part = late_part(Dialect::Anthropic, first, second).await;
    assert_eq!(part.reasons.expect_err("said twice").kind, LateKind::Mismatched);

    let [first, second] = good(Dialect::Anthropic, SEEN);
    let text = String::from_utf8(second).expect("text");
    let refused = text.replace("end_turn", "refusal").into_bytes();
    let part = late_part(Dialect::Anthropic, first, refused).await;
    assert_eq!(part.reasons.expect_err("refused").kind, LateKind::Mismatched);
}

#[tokio::test]
async fn an_error_after_the_scores_does_not_unsay_them() {
    let [first, _] = good(Dialect::Anthropic, SEEN);
    let overloaded = r#"{"type":"error","error":{"type":"overloaded_error","message":"no"}}"#;
    let event = format!("event: error\ndata: {overloaded}\n\n").into_bytes();
    // in one piece with the scores: what is known at which event must not hang on the network
    let stub = Stub::always(answer(&[&first, &event])).await;
    let answered = ask_whole(&judge(Dialect::Anthropic, &stub)).await;
    let part = answered.rest.expect("it left early").read(soon()).await;
    assert_eq!(part.reasons.expect_err("an error").kind, LateKind::Truncated);
}

#[tokio::test]
async fn a_policy_that_wants_whole_answers_and_an_odd_answer_are_waited_for() {
    let (scores, reasons) = said(&IDS);
    let fenced = stream(
        Dialect::Anthropic,
        (&format!("```json\n{scores}"), &format!("{reasons}\n```")),
        SEEN,
    );
    let prefaced = stream(
        Dialect::Anthropic,
        (&format!("{{\"note\":1,{}", scores.trim_start_matches('{')), &reasons),
        SEEN,
    );
    let cases = [(good(Dialect::Anthropic, SEEN), false), (fenced, true), (prefaced, true)];
    for (parts, early) in cases {
        let stub = Stub::always(answer(&[&parts.concat()])).await;
        let question = Question { early, ..question() };
        let answered = judge(Dialect::Anthropic, &stub).judge(&question, soon()).await;
        let answered = answered.expect("a judgement");
        assert!(answered.rest.is_none() && answered.tokens.is_some());
        assert!(answered.judgement.scores.iter().all(|one| one.reason.is_some()));
    }
}

#[tokio::test]
async fn a_provider_that_does_not_stream_although_asked_to_is_read_whole() {
    let body = String::from_utf8(crate::wire::calls::gemini_body()).expect("text");
    let json = "content-type: application/json\r\n";
    let stub = Stub::always(http(200, json, body.as_bytes())).await;
    let answered = ask_whole(&judge(Dialect::Gemini, &stub)).await;
    assert!(answered.rest.is_none() && answered.tokens.is_some());
}

#[tokio::test]
async fn the_attempts_deadline_holds_until_the_scores() {
    let [first, _] = good(Dialect::Gemini, SEEN);
    let half = answer(&[&first[..first.len() / 2]]);
    let stub = Stub::start(move |_| Answer::Hang(half.clone())).await;
    let deadline = Deadline::after(Duration::from_millis(100));
    let error = judge(Dialect::Gemini, &stub).judge(&question(), deadline).await;
    assert_eq!(error.expect_err("late").outcome, AttemptOutcome::Timeout);
}
