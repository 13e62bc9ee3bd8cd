//! The primary dead in every way: an answer before the deadline, from the second judge, with both
//! attempts in the record. All judges dead: the policy's answer, on time.

use std::time::Duration;

use loadtest::{Behaviour, Fault};
use serde_json::Value;
use tokio::time::Instant;

use crate::world::{Plan, World, healthy, mug};

/// Every way in which the primary dies, and the outcome its attempt must carry.
fn deaths() -> Vec<(Fault, &'static [&'static str])> {
    let late = |code| Fault::Status { code, after_ms: 10_000, retry_after_s: None };
    vec![
        (Fault::Refuse, &["connect"]),
        (Fault::Reset, &["connect"]),
        (Fault::Blackhole, &["timeout", "cancelled"]),
        (Fault::status(529), &["overloaded"]),
        (Fault::status(503), &["overloaded"]),
        (Fault::status(500), &["server_error"]),
        (Fault::status(429), &["rate_limited"]),
        (Fault::status(401), &["auth"]),
        (Fault::status(404), &["auth"]),
        (Fault::status(400), &["bad_request"]),
        (Fault::status(413), &["bad_request"]),
        (Fault::status(499), &["server_error"]),
        (late(529), &["timeout", "cancelled"]),
        (Fault::HeaderThenSilence, &["timeout", "cancelled"]),
        (Fault::HalfBody, &["truncated"]),
        (Fault::CleanEofEarly, &["truncated", "unreadable"]),
        (Fault::Garbage, &["unreadable"]),
        (Fault::Prose, &["unreadable"]),
        (Fault::WrongSchema, &["unreadable"]),
        (Fault::OutOfRange, &["unreadable"]),
        (Fault::Refusal, &["refused"]),
        (Fault::Empty200, &["empty"]),
        (Fault::EmptyText, &["empty"]),
        (Fault::TruncatedOutput, &["truncated"]),
        (Fault::HugeBody { size_bytes: 8 << 20 }, &["unreadable"]),
        (Fault::Redirect, &["bad_request", "server_error", "unreadable"]),
        (Fault::Blind, &["blind"]),
    ]
}

fn attempts(verdict: &Value) -> Vec<(String, String, String)> {
    let text = |one: &Value, key: &str| one[key].as_str().unwrap_or_default().to_owned();
    let all = verdict["attempts"].as_array().unwrap();
    let entry = |one: &Value| (text(one, "judge"), text(one, "route"), text(one, "outcome"));
    all.iter().map(entry).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_primary_is_answered_by_the_second_judge_on_time() {
    let world = World::of(Plan { deadline_ms: 4_000, ..Plan::default() }).await;
    for (fault, outcomes) in deaths() {
        world.provider("openai-mini").set_behaviour(Behaviour::failing(fault));
        let began = Instant::now();
        let (status, verdict) = world.post(mug()).await;
        let took = began.elapsed();
        let name = fault.label();
        assert_eq!(status, 200, "{name}: {verdict}");
        assert!(took < Duration::from_millis(4_050), "{name}: {took:?}");
        assert_eq!(verdict["verdict"], "pass", "{name}: {verdict}");
        assert_eq!(verdict["basis"], "judge", "{name}");
        let answered = attempts(&verdict);
        let (judge, route, outcome) = &answered[0];
        if answered.len() == 1 {
            // still held off by its own Retry-After: the second judge is asked first
            assert_ne!(judge, "openai-mini", "{name}: {answered:?}");
            continue;
        }
        assert_eq!((judge.as_str(), route.as_str()), ("openai-mini", "primary"), "{name}");
        assert!(outcomes.contains(&outcome.as_str()), "{name}: {answered:?}");
        assert_eq!(verdict["judge"]["name"], answered[1].0.as_str(), "{name}");
        assert_eq!(answered[1].2, "judged", "{name}: {answered:?}");
        let id = verdict["id"].as_str().unwrap();
        let (_, record) = world.get(&format!("/v1/verdicts/{id}")).await;
        // but for what an answer that left early did not know yet
        let (kept, told) = (shared(&record), shared(&verdict));
        assert_eq!(kept, told, "{name}: the record says the same");
    }
    world.stop().await;
}

/// The attempts without what comes only with their ends: of an early answer the record knows more.
fn shared(verdict: &Value) -> Vec<Value> {
    let mut attempts = verdict["attempts"].as_array().unwrap().clone();
    for attempt in attempts.iter_mut().filter_map(Value::as_object_mut) {
        attempt.retain(|key, _| !key.ends_with("_tokens") && key != "cost_micro_usd");
    }
    attempts
}

#[tokio::test(flavor = "multi_thread")]
async fn all_judges_dead_is_answered_by_the_policy_on_time() {
    // time enough for the quick failures to be quick on a busy machine
    let world = World::of(Plan { deadline_ms: 3_000, ..Plan::default() }).await;
    for (fault, basis) in [
        (Fault::Blackhole, "deadline"),
        (Fault::Refuse, "no_judge"),
        (Fault::status(529), "no_judge"),
        (Fault::HeaderThenSilence, "deadline"),
        (Fault::Refusal, "no_judge"),
    ] {
        for provider in &world.providers {
            provider.set_behaviour(Behaviour::failing(fault));
        }
        let began = Instant::now();
        let (status, verdict) = world.post(mug()).await;
        let took = began.elapsed();
        assert_eq!(status, 200, "{}: {verdict}", fault.label());
        assert!(took < Duration::from_millis(3_050), "{}: {took:?}", fault.label());
        assert_eq!(verdict["verdict"], "review", "{}", fault.label());
        assert_eq!(verdict["basis"], basis, "{}: {verdict}", fault.label());
        assert_eq!(verdict["judge"], Value::Null, "{}", fault.label());
        assert_eq!(verdict["recorded"], true, "{}", fault.label());
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_dialects_that_refuse_the_request_end_the_asking() {
    let world = World::new().await;
    for judge in ["openai-mini", "claude-haiku"] {
        world.provider(judge).set_behaviour(Behaviour::failing(Fault::status(400)));
    }
    let (_, verdict) = world.post(mug()).await;
    assert_eq!(verdict["basis"], "no_judge", "{verdict}");
    assert_eq!(attempts(&verdict).len(), 2);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_hangs_up_leaves_one_record_and_starts_no_further_attempt() {
    let world = World::of(Plan { deadline_ms: 1_500, ..Plan::default() }).await;
    for provider in &world.providers {
        provider.set_behaviour(Behaviour::failing(Fault::Blackhole));
    }
    let sent = world
        .client
        .post(
            world.url("/v1/verdicts?policy=product-photo&vars.category=home&vars.background=white"),
        )
        .header("content-type", "image/jpeg")
        .header("idempotency-key", "gone-1")
        .body(mug());
    #[expect(clippy::disallowed_methods, reason = "a test owns this task and ends it")]
    let caller = tokio::spawn(sent.send());
    world.asked("openai-mini").await;
    caller.abort();
    // the same key waits for the first, then gets its answer: the record is there by then
    let (mut status, mut verdict) = (409, Value::Null);
    for _ in 0..200 {
        (status, verdict) = world.post_with(mug(), &[("idempotency-key", "gone-1")]).await;
        if status != 409 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(status, 200, "{verdict}");
    assert_eq!(verdict["client_gone"], true, "{verdict}");
    assert_eq!(attempts(&verdict).len(), 1, "{verdict}");
    let (_, page) = world.get("/v1/verdicts").await;
    assert_eq!(page["verdicts"].as_array().unwrap().len(), 1, "one record all the same");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fenced_answer_is_read_and_a_slow_one_is_hedged() {
    let world = World::of(Plan { deadline_ms: 4_000, ..Plan::default() }).await;
    world.provider("openai-mini").set_behaviour(Behaviour::failing(Fault::Fenced));
    let (_, verdict) = world.post(mug()).await;
    assert_eq!(verdict["judge"]["name"], "openai-mini", "{verdict}");
    let mut slow = healthy();
    slow.latency = loadtest::Latency::ConstantMs(3_500);
    world.provider("openai-mini").set_behaviour(slow);
    let (_, verdict) = world.post(mug()).await;
    let attempts = attempts(&verdict);
    assert_eq!(attempts[0].2, "cancelled", "{attempts:?}");
    assert_eq!((attempts[1].1.as_str(), attempts[1].2.as_str()), ("hedge", "judged"));
    world.stop().await;
}
