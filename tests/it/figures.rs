//! Figures, drift and events as the page asks for them, and what a kill does to them: nothing.

mod acknowledged;
mod copied;
pub(crate) mod counting;
mod restored;
mod served;
mod stores;

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use loadtest::{Behaviour, Fault, Judging};
use serde_json::{Value, json};
use vlmgate::clock::Deadline;

use crate::world::{Plan, World, healthy, mug};

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_and_a_reject_are_in_the_figures_of_who_judged() {
    let route = vec!["openai-mini", "claude-haiku"];
    let world = World::of(Plan { route, ..Plan::default() }).await;
    for _ in 0..3 {
        world.post(mug()).await;
    }
    world.provider("openai-mini").set_behaviour(Behaviour::failing(Fault::status(529)));
    let rejecting = Behaviour { judging: Judging::Always(0.1), ..healthy() };
    world.provider("claude-haiku").set_behaviour(rejecting);
    let (_, rejected) = world.post(mug()).await;
    assert_eq!(rejected["verdict"], "fail", "{rejected}");
    let stats = world.counted(4).await;
    let total = &stats["total"];
    assert_eq!(total["reject"]["n"], 4, "{total}");
    assert_eq!(total["reject"]["count"], 1);
    assert_eq!(total["by_route"], json!({ "primary": 3, "hedge": 0, "failover": 1, "probe": 0 }));
    assert_eq!(total["total_ms"]["n"], 4);
    let judge = |name: &str| {
        let judges = stats["judges"].as_array().unwrap();
        judges.iter().find(|one| one["judge"] == name).cloned().unwrap()
    };
    let (openai, haiku) = (judge("openai-mini"), judge("claude-haiku"));
    assert_eq!(openai["served"]["count"], 3);
    assert_eq!(openai["reject"]["count"], 0);
    assert_eq!(openai["attempts"]["by_outcome"]["overloaded"], 1, "{openai}");
    assert_eq!(openai["attempts"]["failed"]["count"], 1);
    assert_eq!(haiku["reject"]["count"], 1);
    assert_eq!(haiku["by_route"]["failover"], 1);
    assert!(haiku["answer_ms"]["p95"].as_u64().unwrap() < 5_000);
    let series = &stats["series"];
    let sum = |column: &Value| -> u64 {
        column.as_array().unwrap().iter().map(|one| one.as_u64().unwrap()).sum()
    };
    assert_eq!(sum(&series["n"]), 4);
    assert_eq!(sum(&series["judges"]["claude-haiku"]["rejected"]), 1);
    let buckets = series["start_ms"].as_array().unwrap().len();
    assert!(series["judges"]["claude-haiku"]["p95_ms"].as_array().unwrap().len() == buckets);
    let kinds: Vec<_> = stats["marks"].as_array().unwrap().iter().map(|one| &one["kind"]).collect();
    assert!(kinds.contains(&&json!("revision")), "{kinds:?}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_breaker_that_opens_is_marked_for_as_long_as_it_lasts() {
    let route = vec!["openai-mini", "claude-haiku"];
    let world = World::of(Plan { route, ..Plan::default() }).await;
    world.provider("openai-mini").set_behaviour(Behaviour::failing(Fault::status(529)));
    let marked = async {
        loop {
            // several at once: evidence against the judge fades while a slow machine checks one
            join_all((0..6).map(|_| world.post(mug()))).await;
            let (_, stats) = world.get("/v1/stats").await;
            let marks = stats["marks"].as_array().unwrap();
            if let Some(mark) = marks.iter().find(|one| one["kind"] == "breaker") {
                return mark.clone();
            }
        }
    };
    let marked = Deadline::after(Duration::from_secs(90)).bound(marked).await.expect("in time");
    assert_eq!((&marked["judge"], &marked["until"]), (&json!("openai-mini"), &Value::Null));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_says_what_it_knows_of_few_verdicts_and_no_more() {
    let world = World::new().await;
    let (status, nothing) = world.get("/v1/drift").await;
    assert_eq!(status, 200, "{nothing}");
    assert_eq!(nothing["watch"]["phase"], "none");
    assert_eq!(nothing["change"], Value::Null);
    assert!(nothing["sentence"].as_str().unwrap().starts_with("No image was judged"));
    for _ in 0..2 {
        world.post(mug()).await;
    }
    world.counted(2).await;
    let (_, few) = world.get("/v1/drift").await;
    assert_eq!(few["watch"]["phase"], "learning", "{few}");
    assert_eq!(few["watch"]["learning"]["n"], 2);
    assert_eq!(few["after"]["first_reject"]["n"], 2);
    assert_eq!(few["label"], "unknown");
    assert!(few["sentence"].as_str().unwrap().starts_with("Only 2 images were judged"));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_are_appended_and_count_for_the_judge() {
    let world = World::new().await;
    let (_, verdict) = world.post(mug()).await;
    let id = verdict["id"].as_str().unwrap();
    let label = async |id: &str, body: Value| {
        let path = world.url(&format!("/v1/verdicts/{id}/label"));
        let sent = world.client.post(path).body(body.to_string()).send().await.unwrap();
        let status = sent.status().as_u16();
        (status, serde_json::from_str::<Value>(&sent.text().await.unwrap()).unwrap())
    };
    assert_eq!(label(id, json!({ "label": "ok" })).await.0, 201);
    let note = json!({ "label": "defect", "criterion": "cutout", "note": "a halo" });
    assert_eq!(label(id, note).await.0, 201);
    let (_, kept) = world.get(&format!("/v1/verdicts/{id}/labels")).await;
    let said: Vec<_> = kept["labels"].as_array().unwrap().iter().map(|one| &one["label"]).collect();
    assert_eq!(said, ["ok", "defect"], "nothing is overwritten");
    let (_, drift) = world.get("/v1/drift").await;
    let found = &drift["people"]["judges"][0];
    assert_eq!((&found["n"], &found["defects"]), (&json!(1), &json!(1)), "the last word counts");
    assert_eq!(found["recall"]["count"], 0, "the judge let it pass");
    assert_eq!(label(id, json!({ "label": "withdrawn" })).await.0, 201);
    let (_, drift) = world.get("/v1/drift").await;
    assert_eq!(drift["people"]["verdicts"], 0);
    let (status, wrong) = label(id, json!({ "label": "good" })).await;
    assert_eq!((status, &wrong["errors"][0]["pointer"]), (400, &json!("/label")));
    let nobody = "0192f3c1-7a10-7c3e-9b5d-2f6a1c0e4d11";
    assert_eq!(label(nobody, json!({ "label": "ok" })).await.0, 404);
    world.stop().await;
}

/// Reads messages of a stream until `enough` says so.
async fn read_events(world: &World, id: Option<&str>, enough: fn(&str) -> bool) -> String {
    let mut request = world.client.get(world.url("/v1/events"));
    if let Some(id) = id {
        request = request.header("last-event-id", id);
    }
    let answer = request.send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let mut body = answer.bytes_stream();
    let mut text = String::new();
    let read = async {
        while !enough(&text) {
            let piece = body.next().await.expect("the stream goes on").unwrap();
            text.push_str(std::str::from_utf8(&piece).unwrap());
        }
    };
    Deadline::after(Duration::from_secs(20)).bound(read).await.expect("in time");
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verdict_is_told_to_who_listens_and_to_who_comes_again() {
    let world = World::new().await;
    let has_verdict = |text: &str| text.contains("event: verdicts");
    let (told, (_, verdict)) = tokio::join!(read_events(&world, None, has_verdict), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        world.post(mug()).await
    });
    assert!(told.starts_with("retry: 1000\n\n"), "{told}");
    assert!(told.contains("event: judges"), "{told}");
    let id = verdict["id"].as_str().unwrap();
    assert!(told.contains(id), "{told}");
    let again = read_events(&world, Some("0-0"), has_verdict).await;
    assert!(again.contains(id) && again.contains("\"left_out\":0"), "{again}");
    let (status, _) = world.get("/v1/events?last_event_id=soon").await;
    assert_eq!(status, 400);
    let open = world.client.get(world.url("/v1/events")).send().await.unwrap();
    let (_, ended) = tokio::join!(world.stop(), open.text());
    assert!(ended.unwrap().contains("event: judges"), "the stream ends with the gate");
}
