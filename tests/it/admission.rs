//! The line before the gate, deadlines of callers, and what is owed to those who hang up.

use std::fs;
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use loadtest::{Behaviour, Fault, Latency};
use reqwest::Response;
use serde_json::{Value, json};
use sqlx::Connection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use vlmgate::clock::Deadline;

use crate::world::{JUDGES, Plan, World, healthy, mug, start_providers, write_files};

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(20);
/// Between two looks at something that tells nobody when it changes.
const LOOK: Duration = Duration::from_millis(5);

/// What became of one request: status, `Retry-After`, and the JSON.
type Answer = (u16, Option<String>, Value);

/// A gate that works on one check at a time, with these further lines of `server`.
async fn narrow(server: &str, deadline_ms: u64) -> World {
    let config = format!("server: {{ max_in_flight: 1, {server} }}\n");
    World::of(Plan { config, deadline_ms, ..Plan::default() }).await
}

fn break_all(world: &World, fault: Fault) {
    for provider in &world.providers {
        provider.set_behaviour(Behaviour::failing(fault));
    }
}

fn slow_all(world: &World, latency_ms: u32) {
    for provider in &world.providers {
        let latency = Latency::ConstantMs(latency_ms.into());
        provider.set_behaviour(Behaviour { latency, ..healthy() });
    }
}

/// Sends an image on a task of its own.
fn send(world: &World, headers: &[(&str, &str)]) -> JoinSet<Answer> {
    let url = world.url("/v1/verdicts?vars.background=white");
    let mut request = world.client.post(url).header("content-type", "image/jpeg").body(mug());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut sent = JoinSet::new();
    sent.spawn(async move { read(request.send().await.unwrap()).await });
    sent
}

async fn read(answer: Response) -> Answer {
    let status = answer.status().as_u16();
    let retry_after = answer.headers().get("retry-after");
    let retry_after = retry_after.map(|value| value.to_str().unwrap().to_owned());
    (status, retry_after, serde_json::from_str(&answer.text().await.unwrap()).unwrap())
}

async fn answer(mut sent: JoinSet<Answer>) -> Answer {
    let answered = Deadline::after(LONG).bound(sent.join_next()).await;
    answered.expect("no answer").expect("sent once").expect("no panic")
}

/// Waits until so many checks are in flight, and so many requests in line.
async fn until(world: &World, in_flight: u64, queued: u64) {
    let looking = async {
        loop {
            let (_, parts) = world.get("/readyz?verbose").await;
            if parts["in_flight"] == in_flight && parts["queued"] == queued {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    let seen = Deadline::after(LONG).bound(looking).await;
    seen.unwrap_or_else(|_| panic!("never {in_flight} in flight and {queued} in line"));
}

fn questions(world: &World) -> usize {
    JUDGES.iter().map(|(judge, _)| world.questions(judge)).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn those_in_line_are_answered_the_newest_first() {
    let world = narrow("max_queued: 8", 15_000).await;
    slow_all(&world, 300);
    let first = send(&world, &[]);
    until(&world, 1, 0).await;
    let older = send(&world, &[]);
    until(&world, 1, 1).await;
    let newer = send(&world, &[]);
    until(&world, 1, 2).await;
    let mut seqs = Vec::new();
    for sent in [first, newer, older] {
        let (status, _, verdict) = answer(sent).await;
        assert_eq!(status, 200, "{verdict}");
        seqs.push(verdict["seq"].as_i64().unwrap());
    }
    assert!(seqs.is_sorted(), "{seqs:?}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_line_sheds_its_oldest_and_says_when_to_come_again() {
    let world = narrow("max_queued: 1", 15_000).await;
    slow_all(&world, 600);
    let first = send(&world, &[]);
    until(&world, 1, 0).await;
    let older = send(&world, &[]);
    until(&world, 1, 1).await;
    let newer = send(&world, &[]);
    let (status, retry_after, problem) = answer(older).await;
    assert_eq!((status, problem["code"].as_str()), (503, Some("overloaded")), "{problem}");
    let detail = problem["detail"].as_str().unwrap();
    assert_eq!(detail, "the gate is full (queue_full, after a wait for in_flight)");
    assert!(retry_after.is_some_and(|seconds| seconds.parse::<u32>().unwrap() >= 1));
    assert_eq!((answer(first).await.0, answer(newer).await.0), (200, 200));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_can_no_longer_be_judged_in_time_is_told_so_before_its_deadline() {
    let world = narrow("max_queued: 8", 2_500).await;
    break_all(&world, Fault::Blackhole);
    let first = send(&world, &[]);
    until(&world, 1, 0).await;
    let sent = send(&world, &[("vlmgate-deadline-ms", "1000")]);
    let (status, retry_after, problem) = answer(sent).await;
    assert_eq!((status, problem["code"].as_str()), (503, Some("overloaded")), "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("too_late"), "{problem}");
    assert!(retry_after.is_some());
    until(&world, 1, 0).await;
    assert_eq!(answer(first).await.2["basis"], "deadline");
    let (_, page) = world.get("/v1/verdicts").await;
    assert_eq!(page["verdicts"].as_array().unwrap().len(), 1, "the shed one left no record");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_hangs_up_in_line_leaves_no_trace() {
    let mut world = narrow("max_queued: 8", 19_000).await;
    let slow = upload_slowly(&world).await;
    until(&world, 1, 0).await;
    let second = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    for client in [world.client.clone(), second] {
        world.client = client;
        let mut gone = send(&world, &[("idempotency-key", "gone-in-line")]);
        until(&world, 1, 1).await;
        gone.shutdown().await;
        // its place is free long before anybody could have been served
        until(&world, 1, 0).await;
    }
    drop(slow);
    until(&world, 0, 0).await;
    let (_, page) = world.get("/v1/verdicts").await;
    assert_eq!(page["verdicts"], json!([]));
    assert_eq!(questions(&world), 0);
    world.stop().await;
}

/// A request whose body does not come: in flight until it is dropped.
async fn upload_slowly(world: &World) -> TcpStream {
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let head = format!(
        "POST /v1/verdicts HTTP/1.1\r\nHost: {}\r\nContent-Type: image/jpeg\r\n\
         Content-Length: 100000\r\n\r\n",
        world.address
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_head_rules_out_does_not_stand_in_line() {
    let world = narrow("max_queued: 8", 3_000).await;
    break_all(&world, Fault::Blackhole);
    let first = send(&world, &[]);
    until(&world, 1, 0).await;
    let (status, problem) = world.post(vec![0; 13 << 20]).await;
    assert_eq!((status, problem["code"].as_str()), (413, Some("too_large")));
    let request = world.client.post(world.url("/v1/verdicts?polcy=x"));
    assert_eq!(request.body(mug()).send().await.unwrap().status(), 400);
    until(&world, 1, 0).await;
    assert_eq!(answer(first).await.0, 200);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn judges_that_asked_for_a_moment_are_waited_for() {
    let route = vec!["openai-mini", "claude-haiku"];
    let world = World::of(Plan { route, ..Plan::default() }).await;
    break_all(&world, Fault::Status { code: 429, after_ms: 0, retry_after_s: Some(1) });
    let (status, _, verdict) = answer(send(&world, &[])).await;
    assert_eq!((status, &verdict["basis"]), (200, &json!("no_judge")), "{verdict}");
    let asked = questions(&world);
    slow_all(&world, 5);
    let second = send(&world, &[]);
    until(&world, 0, 1).await;
    assert_eq!(questions(&world), asked, "nobody is asked before that");
    let (status, _, verdict) = answer(second).await;
    assert_eq!((status, &verdict["basis"]), (200, &json!("judge")), "{verdict}");
    world.stop().await;
}

/// A gate with a second policy, called `hurried`, whose images `claude-haiku` judges in three
/// seconds; those of the first have twelve, and `openai-mini`.
async fn two_policies() -> World {
    let (folder, providers) = (tempfile::tempdir().unwrap(), start_providers());
    let plan = Plan { route: vec!["openai-mini"], deadline_ms: 12_000, ..Plan::default() };
    let config = write_files(folder.path(), &providers, &plan);
    let policies = folder.path().join("policies");
    let patient = fs::read_to_string(policies.join("product-photo.yaml")).unwrap();
    let hurried = patient
        .replacen("name: product-photo", "name: hurried", 1)
        .replacen("judges: [openai-mini]", "judges: [claude-haiku]", 1)
        .replacen("deadline: 12000ms", "deadline: 3000ms", 1);
    fs::write(policies.join("hurried.yaml"), hurried).unwrap();
    World::serve(folder, providers, &config, Vec::new()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_named_in_the_body_does_not_wait_for_the_judges_of_another() {
    let world = two_policies().await;
    let away = Fault::Status { code: 429, after_ms: 0, retry_after_s: Some(10) };
    world.provider("openai-mini").set_behaviour(Behaviour::failing(away));
    let ask = async |policy: &str, deadline_ms: u64| {
        let form = json!({
            "image": { "base64": STANDARD.encode(mug()) },
            "policy": policy,
            "vars": { "background": "white" },
        });
        let request = world.client.post(world.url("/v1/verdicts"));
        let request = request.header("vlmgate-deadline-ms", deadline_ms);
        let request = request.header("content-type", "application/json").body(form.to_string());
        read(request.send().await.unwrap()).await
    };
    let (status, _, verdict) = ask("product-photo", 1_000).await;
    assert_eq!((status, &verdict["verdict"]), (200, &json!("review")), "{verdict}");
    let (status, _, verdict) = ask("hurried", 12_000).await;
    assert_eq!((status, &verdict["basis"]), (200, &json!("judge")), "{verdict}");
    assert_eq!(verdict["judge"]["name"], "claude-haiku");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn judges_that_stay_away_for_long_leave_the_answer_to_the_policy() {
    let route = vec!["openai-mini", "claude-haiku"];
    let world = World::of(Plan { route, ..Plan::default() }).await;
    break_all(&world, Fault::Status { code: 429, after_ms: 0, retry_after_s: Some(30) });
    for _ in 0..2 {
        let (status, _, verdict) = answer(send(&world, &[])).await;
        assert_eq!((status, &verdict["verdict"]), (200, &json!("review")), "{verdict}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callers_deadline_is_held_under_a_blackhole_by_whatever_header_it_comes() {
    let world = World::new().await;
    break_all(&world, Fault::Blackhole);
    let said = [
        ("vlmgate-deadline-ms", "800"),
        ("x-envoy-expected-rq-timeout-ms", "800"),
        ("grpc-timeout", "800m"),
    ];
    for (name, value) in said {
        let (status, verdict) = world.post_with(mug(), &[(name, value)]).await;
        assert_eq!((status, &verdict["basis"]), (200, &json!("deadline")), "{name}: {verdict}");
        assert_eq!(verdict["deadline_ms"], 800, "{name}");
        let total_ms = verdict["timing_ms"]["total"].as_f64().unwrap();
        // how close is for the load test to say: here it is the caller's, not the policy's 5 s
        assert!(total_ms < 2_500.0, "{name}: {total_ms} ms");
    }
    world.stop().await;
}

/// Somebody else's write lock on the store: until it is dropped no record is written.
async fn stall(folder: &Path) -> SqliteConnection {
    let file = folder.join("data/vlmgate.db");
    let options = SqliteConnectOptions::new().filename(file);
    let mut stalled = SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut stalled).await.unwrap();
    stalled
}

const KEY: [(&str, &str); 1] = [("idempotency-key", "late-1")];

#[tokio::test(flavor = "multi_thread")]
async fn a_key_stays_taken_until_its_late_record_is_written() {
    let world = World::of(Plan { deadline_ms: 1_500, ..Plan::default() }).await;
    let stalled = stall(world.folder.path()).await;
    let (status, first) = world.post_with(mug(), &KEY).await;
    assert_eq!((status, &first["recorded"]), (200, &json!(false)), "{first}");
    let asked = questions(&world);
    let (status, problem) = world.post_with(mug(), &KEY).await;
    assert_eq!((status, problem["code"].as_str()), (409, Some("idempotency_running")));
    stalled.close().await.unwrap();
    let replayed = async {
        loop {
            let (status, again) = world.post_with(mug(), &KEY).await;
            if status != 409 {
                return again;
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    let again = Deadline::after(LONG).bound(replayed).await.expect("the key is never free");
    assert_eq!(again["id"], first["id"]);
    assert_eq!(questions(&world), asked, "paid for once");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_kept_for_a_late_record_does_not_keep_the_process_from_its_end() {
    let config = "server: { drain: { accept_for: 50ms, at_most: 60s } }\n".to_owned();
    let world = World::of(Plan { deadline_ms: 1_500, config, ..Plan::default() }).await;
    let stalled = stall(world.folder.path()).await;
    let (_, first) = world.post_with(mug(), &KEY).await;
    assert_eq!(first["recorded"], false, "{first}");
    // closing the store waits a few seconds for the lock; the drain itself might take 60
    let stopped = Deadline::after(LONG).bound(world.stop()).await;
    assert!(stopped.is_ok(), "the claim holds the drain");
    drop(stalled);
}
