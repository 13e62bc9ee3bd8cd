//! Answers that leave at their scores, as callers and readers of records meet them.

use std::fs;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::Notify;
use vlmgate::ledger::reader::{Filter, Reader};
use vlmgate::ledger::{Settings, Sync};
use vlmgate::provider::dialect::Dialect;

use crate::wire::sse::{HEAD, said, stream};
use crate::wire::stub::{Answer, Seen, Stub, http};
use crate::world::{JUDGES, Plan, World, mug, write_files};

/// What a picture costs at least, and what it cannot cost.
const SEEN: u64 = 5_000;
const BLIND: u64 = 2;

/// What follows the scores.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Rest {
    /// The reasons and the count.
    Whole,
    /// The same, and a count under which nobody can have seen the image.
    Blind,
    /// Nothing.
    Nothing,
}

/// A gate whose one judge streams, stops behind the scores, and goes on when told.
struct Scene {
    world: World,
    go_on: Arc<Notify>,
    _stub: Stub,
}

impl Scene {
    async fn of(rest: Rest, route: &str, deadline_ms: u64) -> Self {
        let go_on = Arc::new(Notify::new());
        let told = Arc::clone(&go_on);
        let stub = Stub::start(move |seen| {
            if !seen.head.starts_with("POST") {
                return Answer::Bytes(http(404, "", b"")); // a connection opened ahead
            }
            let [first, second] = parts(seen, rest);
            let first = [HEAD.as_bytes(), &first].concat();
            if rest == Rest::Nothing {
                return Answer::Hang(first);
            }
            Answer::Parts(first, Arc::clone(&told), second)
        })
        .await;
        let folder = tempfile::tempdir().unwrap();
        let edits = vec![("  hedge: {".to_owned(), format!("{route}  hedge: {{"))];
        let plan = Plan { route: vec!["claude-haiku"], deadline_ms, edits, ..Plan::default() };
        let config = write_files(folder.path(), &[], &plan);
        let base = &stub.base;
        let judges = JUDGES
            .map(|(name, _)| format!("  {name}: {{ provider: stub, model: claude-haiku-5-5 }}\n"));
        let (data, policies) = (folder.path().join("data"), folder.path().join("policies"));
        let text = format!(
            "providers:\n  stub: {{ kind: anthropic, base_url: \"{base}\", key: none }}\n\
             judges:\n{}store: {{ url: \"sqlite://{}/vlmgate.db\" }}\npolicies: {{ dir: {} }}\n",
            judges.concat(),
            data.display(),
            policies.display(),
        );
        fs::write(&config, text).unwrap();
        let world = World::serve(folder, Vec::new(), &config, Vec::new()).await;
        Self { world, go_on, _stub: stub }
    }

    /// Stops the gate, which waits for what still comes, and reads the one record.
    async fn record(self) -> Value {
        let folder = self.world.stop().await;
        let data = folder.path().join("data");
        let settings = Settings {
            path: data.join("vlmgate.db"),
            images_dir: data.join("images"),
            sync: Sync::Normal,
            max_pending: 1,
            append_wait: std::time::Duration::from_secs(1),
            readers: 1,
            max_file_bytes: None,
            spare_bytes: 0,
        };
        let reader = Reader::open(&settings).await.unwrap();
        let page = reader.list(&Filter::default(), None, 2).await.unwrap();
        let [record] = page.records.as_slice() else { panic!("one record") };
        for flag in &record.flags {
            let filter = Filter { flag: Some(flag.clone()), ..Filter::default() };
            assert_eq!(reader.list(&filter, None, 2).await.unwrap().records, page.records);
        }
        serde_json::to_value(record).unwrap()
    }
}

/// The two parts of an answer to whatever was asked.
fn parts(seen: &Seen, rest: Rest) -> [Vec<u8>; 2] {
    let body: Value = serde_json::from_slice(&seen.body).unwrap_or_default();
    let asked = &body["output_config"]["format"]["schema"]["properties"]["scores"]["required"];
    let ids: Vec<&str> = asked.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let (scores, reasons) = said(&ids);
    let [first, second] = stream(Dialect::Anthropic, (&scores, &reasons), SEEN);
    if rest != Rest::Blind {
        return [first, second];
    }
    // the count at the end is the one that holds
    let second = String::from_utf8(second).unwrap();
    let count = format!("\"usage\":{{\"input_tokens\":{BLIND},");
    [first, second.replace("\"usage\":{", &count).into_bytes()]
}

fn reasons(record: &Value) -> Vec<&Value> {
    record["scores"].as_object().unwrap().values().map(|one| &one["reason"]).collect()
}

/// `record` without what only the end of an answer tells.
fn verdict(record: &Value) -> Value {
    let mut record = record.clone();
    let mut attempt = record["attempts"][0].take();
    for key in ["input_tokens", "output_tokens", "cost_micro_usd", "cached_tokens", "detail"] {
        attempt[key] = Value::Null;
    }
    for key in ["complete", "cost_micro_usd", "flags", "timing_ms"] {
        record[key] = Value::Null;
    }
    for scored in record["scores"].as_object_mut().unwrap().values_mut() {
        scored["reason"] = Value::Null;
    }
    record["attempts"] = json!([attempt]);
    record
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_leaves_at_its_scores_and_its_record_is_completed_later() {
    let scene = Scene::of(Rest::Whole, "", 5_000).await;
    let (status, answer) = scene.world.post(mug()).await;
    assert_eq!((status, &answer["complete"]), (200, &json!(false)), "{answer}");
    assert_eq!((&answer["verdict"], &answer["basis"]), (&json!("pass"), &json!("judge")));
    assert!(reasons(&answer).iter().all(|reason| reason.is_null()));
    let attempt = &answer["attempts"][0];
    for key in ["input_tokens", "output_tokens", "cost_micro_usd"] {
        assert!(attempt[key].is_null(), "{key}: {attempt}");
    }
    assert!(answer["cost_micro_usd"].is_null() && attempt["outcome"] == "judged");

    let path = format!("/v1/verdicts/{}", answer["id"].as_str().unwrap());
    let (_, meanwhile) = scene.world.get(&path).await;
    assert_eq!((&meanwhile["complete"], &meanwhile["seq"]), (&json!(false), &answer["seq"]));

    scene.go_on.notify_one();
    let record = scene.record().await;
    assert_eq!(record["complete"], true, "{record}");
    assert!(reasons(&record).iter().all(|reason| **reason == "clean — all of it"));
    let attempt = &record["attempts"][0];
    assert_eq!((&attempt["input_tokens"], &attempt["output_tokens"]), (&json!(SEEN), &json!(30)));
    assert!(attempt["cost_micro_usd"].as_u64().is_some_and(|cost| 0 < cost));
    assert_eq!(record["cost_micro_usd"], attempt["cost_micro_usd"]);
    assert_eq!(verdict(&record), verdict(&answer), "neither verdict nor scores have changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blind_answer_found_late_marks_its_record() {
    let scene = Scene::of(Rest::Blind, "", 5_000).await;
    let (_, answer) = scene.world.post(mug()).await;
    assert_eq!(answer["complete"], false);
    scene.go_on.notify_one();
    let record = scene.record().await;
    let flags = record["flags"].as_array().unwrap();
    assert!(flags.contains(&json!("blind_late")), "{record}");
    let detail = record["attempts"][0]["detail"].as_str().unwrap();
    assert!(detail.contains("never saw the image"), "{detail}");
    assert_eq!(verdict(&record), verdict(&answer));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rest_that_never_comes_leaves_the_verdict_and_the_estimate() {
    let scene = Scene::of(Rest::Nothing, "", 5_000).await;
    let (status, answer) = scene.world.post(mug()).await;
    assert_eq!((status, &answer["verdict"]), (200, &json!("pass")), "{answer}");
    let record = scene.record().await;
    assert_eq!(record["complete"], false);
    assert!(record["flags"].as_array().unwrap().contains(&json!("truncated_late")), "{record}");
    assert!(record["cost_micro_usd"].as_u64().is_some_and(|cost| 0 < cost), "{record}");
    assert_eq!(verdict(&record), verdict(&answer));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_may_wait_for_the_end() {
    let scene = Scene::of(Rest::Whole, "  stream: false\n", 5_000).await;
    scene.go_on.notify_one();
    let (_, answer) = scene.world.post(mug()).await;
    assert_eq!(answer["complete"], true, "{answer}");
    assert!(reasons(&answer).iter().all(|reason| **reason == "clean — all of it"));
    assert!(0 < answer["cost_micro_usd"].as_u64().unwrap());
    assert_eq!(scene.record().await["complete"], true);
}
