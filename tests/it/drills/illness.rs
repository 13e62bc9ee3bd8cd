//! Drills on a gate that is not well, or not for long: refused before they begin, ended when it
//! shows later.

use std::fs;
use std::time::Duration;

use loadtest::{Behaviour, Fault};
use serde_json::json;
use tokio::task::JoinSet;
use vlmgate::clock::Deadline;

use crate::drills::rig::{Admin, LONG, LOOK};
use crate::drills::{admin, id, plan, quick, was_struck};
use crate::world::{Plan, World};

/// Fails, but not at once: that costs time, and opens the breaker.
fn ill() -> Behaviour {
    let fault = Fault::Status { code: 500, after_ms: 200, retry_after_s: None };
    Behaviour::failing(fault)
}

/// Waits until the breaker of `judge` is not closed.
async fn opens(admin: &Admin, judge: &str) {
    let opened = async {
        loop {
            let (_, said) = admin.get("/v1/judges").await;
            let mut judges = said["judges"].as_array().unwrap().iter();
            if judges.any(|one| one["name"] == judge && one["breaker"] != "closed") {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    Deadline::after(LONG).bound(opened).await.expect("it stays closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_with_an_open_breaker_runs_no_drill() {
    let world = World::of(quick()).await;
    world.provider("openai-mini").set_behaviour(ill());
    let admin = admin(&world);
    let load = admin.load();
    opens(&admin, "openai-mini").await;
    for judge in ["claude-haiku", "openai-mini"] {
        let mut plan = plan("refuse", 0.2);
        plan["judge"] = json!(judge);
        let (status, problem) = admin.start(&plan).await;
        assert_eq!((status, &problem["code"]), (409, &json!("drill_refused")), "{problem}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.starts_with("the breaker of openai-mini is "), "{detail}");
    }
    load.finish().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_ends_itself_when_another_judge_opens() {
    let world = World::of(quick()).await;
    let admin = admin(&world);
    let mut plan = plan("refuse", 0.5);
    plan["baseline_ms"] = json!(1_000);
    plan["for_ms"] = json!(600_000);
    plan["bounds"]["judged_at_least"] = json!(0.0);
    let load = admin.load();
    let (_, begun) = admin.start(&plan).await;
    admin.until(&id(&begun), |drill| drill["phase"] == "fault").await;
    world.provider("claude-haiku").set_behaviour(ill());
    let drill = admin.ended(&id(&begun)).await;
    load.finish().await;
    assert_eq!(drill["result"], "aborted", "{drill}");
    let reason = drill["reason"].as_str().unwrap();
    assert!(reason.starts_with("the breaker of claude-haiku is "), "{reason}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_breaks_no_judge_that_falls_ill_before_it_is_broken() {
    let world = World::of(quick()).await;
    let admin = admin(&world);
    let mut plan = plan("refuse", 0.5);
    plan["baseline_ms"] = json!(600_000);
    let load = admin.load();
    let (_, begun) = admin.start(&plan).await;
    world.provider("openai-mini").set_behaviour(ill());
    let drill = admin.ended(&id(&begun)).await;
    load.finish().await;
    assert_eq!(drill["result"], "aborted", "{drill}");
    let reason = drill["reason"].as_str().unwrap();
    assert!(reason.starts_with("the breaker of openai-mini is "), "{reason}");
    assert_eq!(drill["figures"]["struck"]["images"], 0, "{drill}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_ends_itself_when_a_reload_leaves_no_second_judge() {
    let world = World::new().await;
    let admin = admin(&world);
    let mut plan = plan("refuse", 0.5);
    plan["baseline_ms"] = json!(1_000);
    plan["for_ms"] = json!(600_000);
    let (_, begun) = admin.start(&plan).await;
    admin.until(&id(&begun), |drill| drill["phase"] == "fault").await;
    let file = world.folder.path().join("policies/product-photo.yaml");
    let policy = fs::read_to_string(&file).unwrap();
    let all = "judges: [openai-mini, claude-haiku, gemini-flash, mistral-vision]";
    assert!(policy.contains(all));
    fs::write(&file, policy.replacen(all, "judges: [openai-mini]", 1)).unwrap();
    let drill = admin.ended(&id(&begun)).await;
    assert_eq!(drill["result"], "aborted", "{drill}");
    assert!(drill["reason"].as_str().unwrap().contains("no second judge that looks"), "{drill}");
    assert!(!was_struck(&admin.post().await), "restored");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_that_is_about_to_stop_runs_no_drill() {
    let config = "server: { drain: { accept_for: 3s, at_most: 20s } }\n".to_owned();
    let world = World::of(Plan { config, ..Plan::default() }).await;
    let admin = admin(&world);
    let mut stopping = JoinSet::new();
    stopping.spawn(world.stop());
    let refused = async {
        loop {
            let (status, problem) = admin.start(&plan("refuse", 0.2)).await;
            if status == 409 && problem["detail"] == "the gate is about to stop" {
                return;
            }
            // one that began before the gate was told
            admin.stop(problem["id"].as_str().unwrap_or("none")).await;
        }
    };
    Deadline::after(Duration::from_secs(3)).bound(refused).await.expect("it is not refused");
    stopping.join_next().await.unwrap().unwrap();
}
