//! What the gate answers is what `/openapi.json` says: every answer is held to its schema, and no
//! answer carries a key that the document does not describe.

use serde_json::{Value, json};

use crate::world::{World, healthy, mug};

/// Holds `answer` to the schema called `name`.
pub(crate) fn check(spec: &Value, name: &str, answer: &Value) {
    let schema = json!({
        "$ref": format!("#/components/schemas/{name}"),
        "components": spec["components"],
    });
    let validator = jsonschema::validator_for(&schema).expect("the document holds schemas");
    let faults: Vec<_> = validator
        .iter_errors(answer)
        .map(|fault| format!("{}: {fault}", fault.instance_path()))
        .collect();
    assert_eq!(faults, Vec::<String>::new(), "{name}: {answer}");
    undescribed(spec, &spec["components"]["schemas"][name], answer, name);
}

/// Fails for a key of `answer` that `schema` does not describe.
fn undescribed(spec: &Value, schema: &Value, answer: &Value, at: &str) {
    let schemas = resolved(spec, schema);
    match answer {
        Value::Object(fields) => {
            let is_open = schemas.iter().any(|one| one["additionalProperties"].is_object());
            for (key, value) in fields {
                let described = schemas.iter().map(|one| &one["properties"][key]);
                let found = described.clone().find(|one| !one.is_null());
                assert!(is_open || found.is_some(), "{at}.{key} is not described");
                if let Some(found) = found {
                    undescribed(spec, found, value, &format!("{at}.{key}"));
                }
            }
        }
        Value::Array(items) => {
            let of_items = schemas.iter().map(|one| &one["items"]).find(|one| !one.is_null());
            for item in items {
                undescribed(spec, of_items.unwrap_or(&Value::Null), item, &format!("{at}[]"));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// `schema` with references, `allOf` and `anyOf` opened.
fn resolved<'a>(spec: &'a Value, schema: &'a Value) -> Vec<&'a Value> {
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.trim_start_matches("#/components/schemas/");
        return resolved(spec, &spec["components"]["schemas"][name]);
    }
    let parts = ["allOf", "anyOf"].iter().filter_map(|key| schema[key].as_array()).flatten();
    let mut all: Vec<_> = parts.flat_map(|part| resolved(spec, part)).collect();
    all.push(schema);
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_what_the_document_says() {
    let world = World::new().await;
    let (_, spec) = world.get("/openapi.json").await;
    let (_, verdict) = world.post(mug()).await;
    check(&spec, "Record", &verdict);
    let failing = loadtest::Behaviour { judging: loadtest::Judging::Always(0.1), ..healthy() };
    world.provider("openai-mini").set_behaviour(failing);
    let (_, failed) = world.post(mug()).await;
    check(&spec, "Record", &failed);
    let id = verdict["id"].as_str().expect("an id");
    check(&spec, "WholeRecord", &world.get(&format!("/v1/verdicts/{id}")).await.1);
    check(&spec, "RecordPage", &world.get("/v1/verdicts").await.1);
    check(&spec, "ViewList", &world.get(&format!("/v1/verdicts/{id}/views")).await.1);
    check(&spec, "JudgeList", &world.get("/v1/judges").await.1);
    check(&spec, "PolicyList", &world.get("/v1/policies").await.1);
    check(&spec, "Budgets", &world.get("/v1/budgets").await.1);
    check_figures(&spec, &world, id).await;
    let reloaded = world.client.post(world.url("/admin/reload")).send().await.expect("an answer");
    let reloaded = serde_json::from_str(&reloaded.text().await.expect("text")).expect("JSON");
    check(&spec, "Reloaded", &reloaded);
    check_drills(&spec, &world).await;
    check(&spec, "Problem", &world.post(b"no image".to_vec()).await.1);
    check(&spec, "Problem", &world.get("/v1/verdicts?colour=red").await.1);
    world.stop().await;
}

/// Figures once they are counted, and a label.
async fn check_figures(spec: &Value, world: &World, id: &str) {
    let stats = world.counted(2).await;
    check(spec, "Stats", &stats);
    check(spec, "Stats", &world.get("/v1/stats?since=40d&bucket=auto").await.1);
    let label = json!({ "label": "defect", "criterion": "cutout" }).to_string();
    let path = world.url(&format!("/v1/verdicts/{id}/label"));
    let kept = world.client.post(path).body(label).send().await.expect("an answer");
    assert_eq!(kept.status().as_u16(), 201);
    let kept = serde_json::from_str(&kept.text().await.expect("text")).expect("JSON");
    check(spec, "Label", &kept);
    check(spec, "LabelList", &world.get(&format!("/v1/verdicts/{id}/labels")).await.1);
    check(spec, "Drift", &world.get("/v1/drift").await.1);
    check(spec, "Problem", &world.get("/v1/drift?policy=nobody").await.1);
    check(spec, "Problem", &world.get("/v1/stats?since=90d&bucket=1h").await.1);
}

/// A drill that begins, is looked at, is in the way of another, and ends.
async fn check_drills(spec: &Value, world: &World) {
    let start = async |plan: Value| {
        let sent = world.client.post(world.url("/admin/drills")).body(plan.to_string());
        let text = sent.send().await.expect("an answer").text().await.expect("text");
        serde_json::from_str::<Value>(&text).expect("JSON")
    };
    let begun = start(json!({ "judge": "openai-mini" })).await;
    check(spec, "Drill", &begun);
    check(spec, "DrillList", &world.get("/admin/drills").await.1);
    check(spec, "Problem", &start(json!({ "judge": "openai-mini" })).await);
    check(spec, "Problem", &start(json!({ "judge": "openai-mini", "share": 1 })).await);
    let path = format!("/admin/drills/{}", begun["id"].as_str().expect("an id"));
    let stopped = world.client.delete(world.url(&path)).send().await.expect("an answer");
    let stopped = serde_json::from_str(&stopped.text().await.expect("text")).expect("JSON");
    check(spec, "Drill", &stopped);
    check(spec, "Drill", &world.get(&path).await.1);
}
