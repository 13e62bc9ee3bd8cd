//! Drills on real sockets: a judge broken at its transport, others that take over, figures that
//! hold or do not, and a judge that is whole again whatever ended the drill.

mod illness;
mod rig;

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Output};
use std::time::Duration;

use loadtest::{Behaviour, Fault, Latency};
use serde_json::{Value, json};
use sqlx::Connection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use vlmgate::clock::Deadline;
use vlmgate::drill::schedule::Scheduled;
use vlmgate::ledger::drills::DrillRow;
use vlmgate::ledger::reader::Reader;
use vlmgate::ledger::{Settings, Sync};

use crate::crash::Gate;
use crate::drills::rig::{Admin, LONG, LOOK};
use crate::world::{Plan, World, healthy, root, start_providers, write_files};

/// The shipped policy with one small view and no measurements: many images a second.
fn quick() -> Plan {
    let shipped = fs::read_to_string(root().join("policies/product-photo.yaml")).unwrap();
    let (_, checks) = shipped.split_once("\nchecks:").unwrap();
    let (checks, _) = checks.split_once("# What a judge is asked.").unwrap();
    let checks = format!("checks:{checks}");
    let view = "    - { id: contact, crop: { bottom: 35% }, max_side: 768 }\n";
    let gone = [view, &checks].map(|part| (part.to_owned(), String::new()));
    Plan { edits: gone.to_vec(), ..Plan::default() }
}

/// A short drill of `openai-mini`; how slow this machine is at the moment is not its matter.
fn plan(fault: &str, share: f64) -> Value {
    json!({
        "judge": "openai-mini", "fault": fault, "share": share, "for_ms": 5_000,
        "baseline_ms": 2_000, "bounds": { "p95_ratio_at_most": 1_000 },
    })
}

/// `plan`, long enough for a machine of this pace to conclude something.
fn paced(mut plan: Value, pace_ms: u64) -> Value {
    let share = plan["share"].as_f64().unwrap();
    let calls = if share < 0.5 { 5 } else { 2 };
    plan["baseline_ms"] = json!((2 * pace_ms).max(1_000));
    plan["for_ms"] = json!((2 * calls * pace_ms).max(1_000));
    plan
}

fn id(drill: &Value) -> String {
    drill["id"].as_str().unwrap_or_else(|| panic!("{drill}")).to_owned()
}

fn was_struck(verdict: &Value) -> bool {
    verdict["flags"].as_array().unwrap().contains(&json!("drill"))
}

/// Who was asked about an image, and what came of it.
fn outcomes(verdict: &Value) -> Vec<(&str, &str)> {
    let attempts = verdict["attempts"].as_array().unwrap().iter();
    attempts.map(|one| (one["judge"].as_str().unwrap(), one["outcome"].as_str().unwrap())).collect()
}

/// The address of `world`.
fn admin(world: &World) -> Admin {
    Admin::of(&world.url(""))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_passes_with_real_traffic_and_restores_the_judge() {
    let world = World::of(Plan { deadline_ms: 4_000, ..quick() }).await;
    let admin = admin(&world);
    for (fault, share, outcome) in
        [("refuse", 0.5, "connect"), ("blackhole", 0.5, ""), ("overload", 0.5, "overloaded")]
    {
        let load = admin.load();
        let pace_ms = load.pace_ms().await;
        let (status, begun) = admin.start(&paced(plan(fault, share), pace_ms)).await;
        assert_eq!((status, &begun["phase"]), (202, &json!("baseline")), "{begun}");
        let drill = admin.ended(&id(&begun)).await;
        let verdicts = load.finish().await;
        assert_eq!(drill["result"], "passed", "{fault}: {drill}");
        assert_eq!(drill["reason"], Value::Null);
        let (figures, struck) = (&drill["figures"], &drill["figures"]["struck"]);
        assert_eq!((&struck["late"], &struck["judged_ratio"]), (&json!(0), &json!(1.0)), "{drill}");
        assert_eq!(struck["judged_by"]["openai-mini"], Value::Null, "others answered: {drill}");
        let [asked, judged] = ["/images", "/judged_by/openai-mini"]
            .map(|at| figures["baseline"].pointer(at).unwrap().as_f64().unwrap());
        assert!(0.9 * asked < judged, "a busy machine may hedge: {drill}");
        let marked: Vec<_> = verdicts.iter().filter(|one| was_struck(one)).collect();
        assert_eq!(struck["images"], marked.len(), "every struck image is marked, and no other");
        for verdict in marked {
            // asked first, or beside another once its breaker has opened
            let outcomes: BTreeSet<_> = outcomes(verdict).into_iter().collect();
            let mut ends = outcomes.into_iter().filter(|(judge, _)| *judge == "openai-mini");
            let (_, ended) = ends.next().unwrap();
            assert_ne!(ended, "judged", "{verdict}");
            assert!(outcome.is_empty() || ended == outcome || ended == "cancelled", "{verdict}");
            assert_eq!(ends.next(), None, "{verdict}");
        }
        // a breaker that has just closed lets only some in at first; and on a busy machine hedges win
        let mut judged_by = BTreeSet::new();
        for _ in 0..100 {
            let after = admin.post().await;
            assert!(!was_struck(&after), "{after}");
            judged_by.insert(after["judge"]["name"].to_string());
            if judged_by.contains("\"openai-mini\"") {
                break;
            }
        }
        assert!(judged_by.contains("\"openai-mini\""), "restored: {judged_by:?}");
    }
    let (_, listed) = admin.get("/admin/drills").await;
    let faults: Vec<_> =
        listed["drills"].as_array().unwrap().iter().map(|one| &one["fault"]).collect();
    assert_eq!(faults, ["overload", "blackhole", "refuse"], "newest first");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_no_gate_would_run_is_refused_with_the_field_that_is_wrong() {
    let world = World::new().await;
    let admin = admin(&world);
    for (change, pointer) in [
        (json!({ "judge": "openai-mega" }), "/judge"),
        (json!({ "judge": "local" }), "/judge"),
        (json!({ "share": 0.51 }), "/share"),
        (json!({ "share": 0 }), "/share"),
        (json!({ "fault": "nuke" }), "/fault"),
        (json!({ "for_ms": 601_000 }), "/for_ms"),
        (json!({ "baseline_ms": 10 }), "/baseline_ms"),
        (json!({ "bounds": { "judged_at_least": 1.5 } }), "/bounds/judged_at_least"),
        (json!({ "bounds": { "p95_ratio_at_most": 0.5 } }), "/bounds/p95_ratio_at_most"),
        (json!({ "bounds": { "recovered_within_ms": 1 } }), "/bounds/recovered_within_ms"),
    ] {
        let mut plan = plan("refuse", 0.2);
        for (key, value) in change.as_object().unwrap() {
            plan[key] = value.clone();
        }
        let (status, problem) = admin.start(&plan).await;
        assert_eq!((status, &problem["code"]), (422, &json!("bad_drill")), "{change}: {problem}");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
    }
    for wrong in [json!({}), json!({ "judge": "openai-mini", "shares": 0.2 }), json!("x")] {
        let (status, problem) = admin.start(&wrong).await;
        assert_eq!((status, &problem["code"]), (400, &json!("bad_request")), "{problem}");
    }
    let (status, _) = admin.get("/admin/drills/0192f3c1-7a3c-7d20-8f40-8f6f3c1a2b3c").await;
    assert_eq!(status, 404);
    assert_eq!(admin.stop("what").await.0, 404);
    assert_eq!(admin.get("/admin/drills").await.1["drills"], json!([]), "nothing ran");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_with_nobody_else_to_ask_runs_no_drill() {
    for (route, attempts, judge, says) in [
        (vec!["openai-mini"], 3, "openai-mini", "no second judge that looks"),
        (vec!["openai-mini", "local"], 3, "openai-mini", "no second judge that looks"),
        (vec!["openai-mini", "claude-haiku"], 3, "mistral-vision", "no policy asks mistral-vision"),
        // the other one is a last chance beside a call that hangs: a refused one leaves no verdict
        (vec!["openai-mini", "claude-haiku"], 1, "openai-mini", "makes one attempt alone"),
    ] {
        let edits = vec![("max_attempts: 3".to_owned(), format!("max_attempts: {attempts}"))];
        let world = World::of(Plan { route, edits, ..Plan::default() }).await;
        let mut plan = plan("refuse", 0.2);
        plan["judge"] = json!(judge);
        let (status, problem) = admin(&world).start(&plan).await;
        assert_eq!((status, &problem["code"]), (409, &json!("drill_refused")), "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(says), "{problem}");
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_whose_judges_are_not_all_well_runs_no_drill() {
    let world = World::new().await;
    let admin = admin(&world);
    let away = Fault::Status { code: 429, after_ms: 0, retry_after_s: Some(20) };
    world.provider("openai-mini").set_behaviour(Behaviour::failing(Fault::Refuse));
    world.provider("claude-haiku").set_behaviour(Behaviour::failing(away));
    assert_eq!(admin.post().await["judge"]["name"], "gemini-flash");
    let (status, problem) = admin.start(&plan("refuse", 0.2)).await;
    assert_eq!((status, &problem["code"]), (409, &json!("drill_refused")), "{problem}");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("claude-haiku") || detail.contains("openai-mini"), "{detail}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_drill_runs_at_a_time_and_somebody_can_end_it() {
    let world = World::new().await;
    let admin = admin(&world);
    let (_, begun) = admin.start(&plan("refuse", 0.5)).await;
    let first = id(&begun);
    let (status, problem) = admin.start(&plan("blackhole", 0.5)).await;
    assert_eq!((status, &problem["code"]), (409, &json!("drill_refused")), "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains(&first), "{problem}");
    admin.until(&first, |drill| drill["phase"] == "fault").await;
    let (status, stopped) = admin.stop(&first).await;
    assert_eq!((status, &stopped["result"]), (200, &json!("stopped")), "{stopped}");
    for _ in 0..4 {
        let verdict = admin.post().await;
        assert_eq!(verdict["judge"]["name"], "openai-mini", "restored: {verdict}");
        assert!(!was_struck(&verdict), "{verdict}");
    }
    assert_eq!(admin.stop(&first).await, (200, stopped), "it stays as it ended");
    let (status, second) = admin.start(&plan("refuse", 0.5)).await;
    assert_eq!(status, 202, "the place is free again: {second}");
    admin.stop(&id(&second)).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_traffic_a_drill_concludes_nothing() {
    let world = World::new().await;
    let admin = admin(&world);
    let mut plan = plan("refuse", 0.5);
    plan["baseline_ms"] = json!(1_000);
    plan["for_ms"] = json!(1_000);
    plan["bounds"]["recovered_within_ms"] = json!(1_000);
    let (_, begun) = admin.start(&plan).await;
    let drill = admin.ended(&id(&begun)).await;
    assert_eq!(drill["result"], "inconclusive", "{drill}");
    assert!(drill["reason"].as_str().unwrap().contains("too little traffic"), "{drill}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_ends_itself_when_images_get_no_verdict() {
    let route = vec!["openai-mini", "claude-haiku"];
    let world = World::of(Plan { route, ..quick() }).await;
    world.provider("claude-haiku").set_behaviour(Behaviour::failing(Fault::status(500)));
    let admin = admin(&world);
    let mut plan = plan("refuse", 0.5);
    plan["baseline_ms"] = json!(1_000);
    plan["for_ms"] = json!(600_000);
    let load = admin.load();
    let (_, begun) = admin.start(&plan).await;
    let drill = admin.ended(&id(&begun)).await;
    load.finish().await;
    assert_eq!(drill["result"], "aborted", "{drill}");
    assert!(drill["reason"].as_str().unwrap().contains("got no verdict"), "{drill}");
    for _ in 0..4 {
        let verdict = admin.post().await;
        assert_eq!((&verdict["basis"], was_struck(&verdict)), (&json!("judge"), false));
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_whose_images_are_judged_far_later_than_before_fails() {
    let route = vec!["openai-mini", "claude-haiku"];
    let world = World::of(Plan { route, deadline_ms: 15_000, ..quick() }).await;
    // far longer than the first judge, whatever this machine is at
    let slow = Behaviour { latency: Latency::ConstantMs(1_000), ..healthy() };
    world.provider("claude-haiku").set_behaviour(slow);
    let admin = admin(&world);
    let load = admin.load();
    let mut plan = paced(plan("refuse", 0.5), load.pace_ms().await);
    // twenty struck images are needed, and the callers wait a second for each
    plan["for_ms"] = json!(8_000);
    plan["bounds"] = json!({ "p95_ratio_at_most": 1.35 });
    let (_, begun) = admin.start(&plan).await;
    let drill = admin.ended(&id(&begun)).await;
    load.finish().await;
    assert_eq!(drill["result"], "failed", "{drill}");
    let reason = drill["reason"].as_str().unwrap();
    assert!(reason.starts_with("p95_ratio is "), "{drill}");
    let struck = &drill["figures"]["struck"];
    assert_eq!((&struck["late"], &struck["judged_ratio"]), (&json!(0), &json!(1.0)), "{drill}");
    let assertions = drill["assertions"].as_array().unwrap();
    let p95 = assertions.iter().find(|one| one["figure"] == "p95_ratio").unwrap();
    assert_eq!((&p95["bound"], &p95["held"]), (&json!(1.35), &json!(false)), "{drill}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_drill_that_cannot_be_read_does_not_hide_the_others() {
    let world = World::new().await;
    let admin = admin(&world);
    let (_, begun) = admin.start(&plan("refuse", 0.5)).await;
    let (_, stopped) = admin.stop(&id(&begun)).await;
    let options = SqliteConnectOptions::new().filename(world.folder.path().join("data/vlmgate.db"));
    let mut store = SqliteConnection::connect_with(&options).await.unwrap();
    let unreadable = "0192f3c1-7a3c-7d20-8f40-8f6f3c1a2b3c";
    for row in ["what", unreadable] {
        let insert = "INSERT INTO drill (id, judge, began_us, result, form) \
            VALUES (?1, 'openai-mini', 1, 'passed', '{}')";
        sqlx::query(insert).bind(row).execute(&mut store).await.unwrap();
    }
    let (status, listed) = admin.get("/admin/drills").await;
    assert_eq!((status, &listed["drills"]), (200, &json!([stopped])), "{listed}");
    assert_eq!(admin.get(&format!("/admin/drills/{unreadable}")).await.0, 500);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_that_stops_ends_its_drill_and_says_so_in_the_store() {
    let world = World::new().await;
    let admin = admin(&world);
    let (_, begun) = admin.start(&plan("refuse", 0.5)).await;
    admin.until(&id(&begun), |drill| drill["phase"] == "fault").await;
    let folder = world.stop().await;
    let rows = stored(folder.path()).await;
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].result.as_deref(), Some("stopped"), "{rows:?}");
}

/// The drills in a gate's store.
async fn stored(folder: &std::path::Path) -> Vec<DrillRow> {
    let data = folder.join("data");
    let settings = Settings {
        path: data.join("vlmgate.db"),
        images_dir: data.join("images"),
        sync: Sync::Normal,
        max_pending: 1,
        append_wait: LONG,
        readers: 1,
        max_file_bytes: None,
        spare_bytes: 0,
    };
    Reader::open(&settings).await.unwrap().drills(10).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_restores_the_judge_and_the_next_start_says_that_the_drill_was_interrupted() {
    let folder = tempfile::tempdir().unwrap();
    let providers = start_providers();
    let config = write_files(folder.path(), &providers, &Plan::default());
    let gate = Gate::start(&config);
    let admin = Admin::of(&gate.url);
    let mut plan = plan("refuse", 0.5);
    plan["baseline_ms"] = json!(1_000);
    plan["for_ms"] = json!(600_000);
    let (_, begun) = admin.start(&plan).await;
    let broken = id(&begun);
    admin.until(&broken, |drill| drill["phase"] == "fault").await;
    let struck =
        [admin.post().await, admin.post().await].iter().filter(|one| was_struck(one)).count();
    assert_eq!(struck, 1, "half of the calls are broken");
    drop(gate); // SIGKILL
    let gate = Gate::start(&config);
    let admin = Admin::of(&gate.url);
    let (_, drill) = admin.get(&format!("/admin/drills/{broken}")).await;
    assert_eq!((&drill["result"], &drill["phase"]), (&json!("interrupted"), &json!("ended")));
    for _ in 0..4 {
        let verdict = admin.post().await;
        assert_eq!(
            (&verdict["judge"]["name"], was_struck(&verdict)),
            (&json!("openai-mini"), false)
        );
    }
    let success = "vlmgate_drill_last_success_timestamp_seconds";
    assert_eq!(admin.metric(success).await, None, "none has passed");
    let (status, next) = admin.start(&plan).await;
    assert_eq!(status, 202, "{next}");
    admin.stop(&id(&next)).await;
}

/// Runs `vlmgate drill` against `admin`.
async fn drill(admin: &Admin, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vlmgate"));
    command.args(["drill", "--judge", "openai-mini", "--server", &admin.url]).args(arguments);
    command.env_remove("VLMGATE_KEY");
    #[expect(clippy::disallowed_methods, reason = "a test waits for a command it started")]
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_tells_the_result_by_its_exit_code_and_a_success_outlives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let providers = start_providers();
    let route = vec!["openai-mini", "claude-haiku"];
    let config = write_files(folder.path(), &providers, &Plan { route, ..quick() });
    let gate = Gate::start(&config);
    let admin = Admin::of(&gate.url);

    let refused = drill(&admin, &["--share", "60%"]).await;
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    assert!(text(&refused.stderr).contains("at most 50.0 %"), "{refused:?}");

    let load = admin.load();
    let paced = paced(plan("refuse", 0.5), load.pace_ms().await);
    let [baseline, lasts] = ["baseline_ms", "for_ms"].map(|key| format!("{}ms", paced[key]));
    let short = ["--baseline", &baseline, "--for", &lasts, "--share", "50%", "--p95", "1000"];
    let passed = drill(&admin, &short).await;
    assert_eq!(passed.status.code(), Some(0), "{passed:?}");
    let table = text(&passed.stdout);
    assert!(table.starts_with("PASSED") && table.contains("struck: "), "{table}");
    assert!(text(&passed.stderr).contains(", before "), "a line now and then: {passed:?}");

    providers[1].set_behaviour(Behaviour::failing(Fault::status(500)));
    let failed = drill(&admin, &[&short[..], &["--json"]].concat()).await;
    load.finish().await;
    assert_eq!(failed.status.code(), Some(100), "{failed:?}");
    let ended: Value = serde_json::from_slice(&failed.stdout).unwrap();
    assert_eq!(ended["result"], "aborted", "{ended}");

    let success = "vlmgate_drill_last_success_timestamp_seconds{judge=\"openai-mini\"}";
    let at = admin.metric(success).await;
    assert!(at.is_some_and(|at| 1.7e9 < at), "{at:?}");
    let results =
        |result| format!("vlmgate_drills_total{{judge=\"openai-mini\",result=\"{result}\"}}");
    for result in ["passed", "aborted", "refused"] {
        assert_eq!(admin.metric(&results(result)).await, Some(1.0), "{result}");
    }
    assert_eq!(admin.metric("vlmgate_drill_running{judge=\"openai-mini\"}").await, Some(0.0));
    drop(gate);
    let gate = Gate::start(&config);
    assert_eq!(Admin::of(&gate.url).metric(success).await, at, "restored at the start");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_command_ends_its_drill() {
    let world = World::new().await;
    let admin = admin(&world);
    let child = Command::new(env!("CARGO_BIN_EXE_vlmgate"))
        .args(["drill", "--judge", "openai-mini", "--baseline", "1s", "--for", "10m", "--server"])
        .arg(&admin.url)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let begun = async {
        loop {
            let (_, listed) = admin.get("/admin/drills").await;
            if listed["drills"][0]["phase"] == "fault" {
                return id(&listed["drills"][0]);
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    let begun = Deadline::after(LONG).bound(begun).await.expect("it never begins");
    let kill = format!("kill -INT {}", child.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    let drill = admin.ended(&begun).await;
    assert_eq!(drill["result"], "stopped", "{drill}");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text(&output.stdout).starts_with("STOPPED"), "{output:?}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_admin_may_drill() {
    let digest = |key: &str| {
        let output = Command::new("sh")
            .args(["-c", &format!("printf %s {key} | sha256sum")])
            .output()
            .unwrap();
        text(&output.stdout).split_whitespace().next().unwrap().to_owned()
    };
    let config = format!(
        "keys:\n  - {{ name: shop, sha256: \"{}\", roles: [check, read] }}\n  \
         - {{ name: root, sha256: \"{}\", roles: [admin] }}\n",
        digest("shop-key"),
        digest("root-key"),
    );
    let world = World::of(Plan { config, ..Plan::default() }).await;
    for (key, expected) in [("nobody", 401), ("shop-key", 403)] {
        let admin = Admin { key, ..admin(&world) };
        assert_eq!(admin.start(&plan("refuse", 0.2)).await.0, expected);
        assert_eq!(admin.get("/admin/drills").await.0, expected);
        assert_eq!(admin.stop("0192f3c1-7a3c-7d20-8f40-8f6f3c1a2b3c").await.0, expected);
    }
    let admin = Admin { key: "root-key", ..admin(&world) };
    let (status, begun) = admin.start(&plan("refuse", 0.2)).await;
    assert_eq!((status, &begun["by"]), (202, &json!("root")), "{begun}");
    assert_eq!(admin.stop(&id(&begun)).await.1["result"], "stopped");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduled_drill_begins_by_itself() {
    let plan = vlmgate::domain::drill::Plan::of("openai-mini".to_owned());
    let scheduled = vec![Scheduled { plan, every: Duration::from_secs(1) }];
    let world = World::of(Plan { scheduled, ..Plan::default() }).await;
    let admin = admin(&world);
    let begun = async {
        loop {
            let (_, listed) = admin.get("/admin/drills").await;
            if let Some(drill) = listed["drills"].get(0) {
                return drill.clone();
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    let begun = Deadline::after(LONG).bound(begun).await.expect("none begins");
    assert_eq!((&begun["judge"], &begun["by"]), (&json!("openai-mini"), &json!("schedule")));
    admin.stop(&id(&begun)).await;
    world.stop().await;
}
