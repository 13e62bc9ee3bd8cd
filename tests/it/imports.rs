//! `vlmgate import` as people meet it: an export goes into another store and is the same there.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::future::join_all;
use loadtest::{Behaviour, Fault, Latency};
use serde_json::json;
use vlmgate::clock::{Deadline, Timestamp};
use vlmgate::domain::{Basis, Decision, Route};
use vlmgate::ledger::figures::Scope;
use vlmgate::ledger::follow::view::{Followed, Known, View};
use vlmgate::ledger::form::{JudgeForm, RecordForm};
use vlmgate::ledger::reader::{Filter, Reader};
use vlmgate::ledger::{Ledger, Settings};

use crate::ledger::records::{START_US, judge, mixed};
use crate::ledger::settings;
use crate::world::{JUDGES, World, healthy, mug};

const RECORDS: u32 = 700;

/// Where `import` puts records in `folder` without any configuration.
fn store(folder: &Path) -> Settings {
    let data = folder.join("data");
    Settings { path: data.join("vlmgate.db"), images_dir: data.join("images"), ..settings(&data) }
}

fn import(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vlmgate"));
    command.current_dir(folder).arg("import").args(arguments).env_clear();
    command.output().unwrap()
}

/// Some days of records, newest first, as an export has them.
fn exported() -> Vec<RecordForm> {
    let stored = |n| RecordForm {
        recorded: true,
        complete: true,
        cost_micro_usd: RecordForm::from(&mixed(n)).cost_micro_usd.or(Some(7)),
        seq: Some(i64::from(n) + 40),
        ..RecordForm::from(&mixed(n))
    };
    (0..RECORDS).rev().map(stored).collect()
}

fn lines(records: &[RecordForm]) -> String {
    let line = |record| serde_json::to_string(record).unwrap() + "\n";
    records.iter().map(line).collect()
}

/// Everything in the store, newest first, without the places that each store gives itself.
async fn everything(folder: &Path) -> Vec<RecordForm> {
    let reader = Reader::open(&store(folder)).await.unwrap();
    let mut records = Vec::new();
    let mut cursor = None;
    loop {
        let page = reader.list(&Filter::default(), cursor, 500).await.unwrap();
        records.extend(page.records);
        cursor = page.next;
        if cursor.is_none() {
            return placeless(records);
        }
    }
}

fn placeless(records: Vec<RecordForm>) -> Vec<RecordForm> {
    records.into_iter().map(|record| RecordForm { seq: None, ..record }).collect()
}

fn said(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

#[tokio::test]
async fn an_export_that_was_packed_is_the_same_in_an_empty_store_and_counts_there() {
    let folder = tempfile::tempdir().unwrap();
    let records = exported();
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(lines(&records).as_bytes()).unwrap();
    fs::write(folder.path().join("records.gz"), packed.finish().unwrap()).unwrap();
    let (code, told, complained) = said(&import(folder.path(), &["records.gz"]));
    assert_eq!(code, 0, "{complained}");
    assert_eq!(told, format!("{RECORDS} records stored, 0 were here already\n"));
    assert_eq!(everything(folder.path()).await, placeless(records.clone()));

    let reader = Reader::open(&store(folder.path())).await.unwrap();
    let since_s = START_US / 1_000_000 / 3_600 * 3_600;
    let days = Scope { policy: None, since_s, until_s: since_s + 30 * 86_400, bucket_s: 3_600 };
    let sums = reader.verdict_sums(&days).await.unwrap();
    assert_eq!(sums.iter().map(|one| one.n).sum::<u64>(), u64::from(RECORDS), "all of them count");

    // once more: nothing happens twice
    let (code, told, _) = said(&import(folder.path(), &["records.gz"]));
    assert_eq!((code, told), (0, format!("0 records stored, {RECORDS} were here already\n")));
    assert_eq!(fs::read_dir(folder.path().join("data")).unwrap().filter(is_left).count(), 0);
}

/// What is put aside must not be left behind.
fn is_left(entry: &std::io::Result<fs::DirEntry>) -> bool {
    entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("import-")
}

#[tokio::test]
async fn a_bad_line_stops_everything_unless_it_is_to_be_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let records = exported();
    let text = format!("{}\n{{\"id\":1}}\n{}", lines(&records[..2]), lines(&records[2..5]));
    fs::write(folder.path().join("records.ndjson"), text).unwrap();

    // the old flag says what is so anyway
    for flags in [&["records.ndjson"][..], &["records.ndjson", "--strict"]] {
        let (code, told, complained) = said(&import(folder.path(), flags));
        assert_eq!((code, told.as_str()), (1, "0 records stored, 0 were here already\n"));
        assert_eq!(
            complained,
            "records.ndjson:4: id: is 1, expected a UUID\nvlmgate: 1 line is no record: nothing is \
             stored; mend the file, or leave such lines out with --skip-bad\n"
        );
        assert!(!folder.path().join("data").exists(), "nor is an empty store left behind");
    }

    let flags = ["records.ndjson", "--json", "--skip-bad"];
    let (code, told, complained) = said(&import(folder.path(), &flags));
    assert_eq!(code, 0, "{complained}");
    assert_eq!(told, told_json(1, (5, 5)));
    assert!(complained.ends_with("vlmgate: 1 line is no record, and left out\n"), "{complained}");
    assert_eq!(everything(folder.path()).await, placeless(records[..5].to_vec()));
}

/// What is told of an import that brought all that was new.
fn told_json(bad: u64, (records, stored): (u64, u64)) -> String {
    let present = records - stored;
    let told = json!({ "bad": bad, "present": present, "records": records, "refused": 0,
        "shadows": 0, "stored": stored, "unwatched": 0 });
    format!("{told}\n")
}

#[tokio::test]
async fn a_made_up_history_says_so_and_its_second_judgements_are_pairs() {
    let folder = tempfile::tempdir().unwrap();
    let mut record = exported().remove(0);
    record.flags = vec!["halo".to_owned()];
    (record.basis, record.first_verdict) = (Basis::Judge, Some(Decision::Pass));
    record.judge = Some(JudgeForm::from(&judge("openai-mini")));
    record.route = Some(Route::Primary);
    let mut second = record.attempts[0].clone();
    (second.judge, second.route) = ("gemini-flash".to_owned(), Route::Shadow);
    second.said = Some(Decision::Fail);
    record.attempts.push(second);
    let mut command = Command::new(env!("CARGO_BIN_EXE_vlmgate"));
    command.current_dir(folder.path()).args(["import", "-", "--simulated"]).env_clear();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = command.spawn().unwrap();
    let line = lines(std::slice::from_ref(&record));
    running.stdin.take().unwrap().write_all(line.as_bytes()).unwrap();
    let (code, told, complained) = said(&running.wait_with_output().unwrap());
    assert_eq!(code, 0, "{complained}");
    assert_eq!(told, "1 record stored, 0 were here already\n");
    let stored = everything(folder.path()).await.remove(0);
    assert_eq!(stored.flags, ["halo", "simulated"]);
    assert_eq!(stored.attempts, record.attempts);
    let reader = Reader::open(&store(folder.path())).await.unwrap();
    let at_s = Timestamp(record.at.0).0 / 1_000_000 / 3_600 * 3_600;
    let hour = Scope { policy: None, since_s: at_s, until_s: at_s + 3_600, bucket_s: 3_600 };
    let pairs = reader.pair_sums(&hour).await.unwrap();
    let [pair] = pairs.as_slice() else { panic!("{pairs:?}") };
    assert_eq!((pair.route.as_str(), pair.first_only, pair.neither), ("shadow", 1, 0));
}

/// The record as one that a judge judged.
fn judged(record: RecordForm) -> RecordForm {
    let (judge, route) = (Some(JudgeForm::from(&judge("openai-mini"))), Some(Route::Primary));
    let (basis, first_verdict) = (Basis::Judge, Some(record.verdict));
    RecordForm { judge, route, basis, first_verdict, ..record }
}

/// What drift knows of each policy in `folder`.
fn watched(folder: &Path) -> BTreeMap<String, Arc<View>> {
    let file = folder.join("data").join("drift.json");
    Known::kept(&file, Followed::default()).unwrap().policies
}

#[tokio::test]
async fn an_old_history_came_into_a_newer_store_and_was_watched_as_if_it_were_served_now() {
    let folder = tempfile::tempdir().unwrap();
    let records: Vec<_> = exported().into_iter().map(judged).collect();
    let (newer, older) = records.split_at(300);
    fs::write(folder.path().join("newer.ndjson"), lines(newer)).unwrap();
    // one that is here already is no reason to refuse the file
    fs::write(folder.path().join("older.ndjson"), lines(older) + &lines(&newer[..2])).unwrap();
    assert_eq!(said(&import(folder.path(), &["newer.ndjson"])).0, 0);
    let before = watched(folder.path());
    let reader = Reader::open(&store(folder.path())).await.unwrap();
    let counted = reader.followed().await.unwrap();
    drop(reader);
    let learning = |view: &Arc<View>| view.learning.is_some_and(|(n, ..)| n != 0);
    assert!(before.len() == 2 && before.values().all(learning), "{before:?}");

    let (code, told, complained) = said(&import(folder.path(), &["older.ndjson"]));
    assert_eq!(code, 1);
    assert_eq!(told, "0 records stored, 0 were here already\n", "nothing of it");
    let first = complained.lines().next().unwrap();
    assert!(first.starts_with("older.ndjson:400: at: is ") && first.contains(" is older than "));
    let last = "vlmgate: 400 records or shadows are refused: nothing is stored; with --into-newer \
                what is older is only added up\n";
    assert!(complained.ends_with(last), "{complained}");
    assert_eq!(
        complained.lines().count(),
        3,
        "the first of each policy, and how many: {complained}"
    );

    let (code, told, complained) = said(&import(folder.path(), &["older.ndjson", "--into-newer"]));
    assert_eq!((code, told.as_str()), (0, "400 records stored, 2 were here already\n"));
    assert!(complained.contains("400 of them are added up and not watched"), "{complained}");
    assert_eq!(everything(folder.path()).await, placeless(records.clone()));
    assert_eq!(watched(folder.path()), before, "no monitor saw them");
    let reader = Reader::open(&store(folder.path())).await.unwrap();
    let now_counted = reader.followed().await.unwrap();
    assert!(counted.seq < now_counted.seq, "{now_counted:?}");
    assert_eq!(now_counted.at_us, counted.at_us, "what is counted up to goes back with nobody");
    let since_s = START_US / 1_000_000 / 60 * 60;
    let minutes = Scope { policy: None, since_s, until_s: since_s + 3_600, bucket_s: 60 };
    let buckets = reader.verdict_buckets(&minutes).await.unwrap();
    assert_eq!(buckets.iter().map(|one| one.n).sum::<u64>(), u64::from(RECORDS), "all count");
    let first = |record: &&RecordForm| record.at.0 < (since_s + 60) * 1_000_000;
    let in_first: u64 = buckets.iter().filter(|one| one.bucket == 0).map(|one| one.n).sum();
    assert_eq!(in_first, older.iter().filter(first).count() as u64, "in their own minute");
}

#[tokio::test]
async fn a_store_that_a_gate_holds_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("records.ndjson"), lines(&exported()[..1])).unwrap();
    let held = Ledger::open(store(folder.path())).await.unwrap();
    let (code, _, complained) = said(&import(folder.path(), &["records.ndjson"]));
    assert_eq!(code, 1);
    assert!(complained.contains("is in use by another process: stop it"), "{complained}");
    held.close(Deadline::after(Duration::from_secs(10))).await.unwrap();
}

#[tokio::test]
async fn a_verdict_of_a_judge_that_only_plays_one_says_so_wherever_it_is_shown() {
    let world = World::new().await;
    let (status, verdict) = world.post(mug()).await;
    assert_eq!(status, 200, "{verdict}");
    assert!(verdict["flags"].as_array().unwrap().contains(&json!("simulated")), "{verdict}");
    let (_, page) = world.get("/v1/verdicts?flag=simulated").await;
    assert_eq!(page["verdicts"][0]["id"], verdict["id"]);
    let stats = world.counted(1).await;
    assert!(stats["flags"].as_array().unwrap().contains(&json!({ "flag": "simulated", "n": 1 })));
    world.stop().await;
}

#[tokio::test]
async fn a_score_of_seven_and_a_moment_to_come_were_stored_and_spoiled_the_sums() {
    let folder = tempfile::tempdir().unwrap();
    let spoiled = |pointer: &str, value: serde_json::Value| {
        let mut line = serde_json::to_value(&exported()[0]).unwrap();
        *line.pointer_mut(pointer).unwrap() = value;
        line.to_string()
    };
    let lines = [
        spoiled(
            "/scores",
            json!({ "cutout": { "score": 7, "pass_at": 0.7, "passed": true,
            "reason": null } }),
        ),
        spoiled("/at", json!("2199-01-01T00:00:00Z")),
        spoiled("/attempts/0/route", json!("detour")),
        spoiled("/cost_micro_usd", json!(-7)),
        spoiled("/propensity", json!(0)),
        "[1]".to_owned(),
    ];
    fs::write(folder.path().join("bad.ndjson"), lines.join("\n")).unwrap();
    let (code, told, complained) = said(&import(folder.path(), &["bad.ndjson"]));
    assert_eq!((code, told.as_str()), (1, "0 records stored, 0 were here already\n"));
    let expected = [
        "bad.ndjson:1: scores.cutout.score: is 7, expected 0 to 1",
        "bad.ndjson:2: at: is 2199-01-01T00:00:00.000000Z, and it is only ",
        "bad.ndjson:3: attempts[0].route: is \"detour\", expected one of: primary",
        "bad.ndjson:4: cost_micro_usd: is -7, expected a whole number, 0 or more",
        "bad.ndjson:5: propensity: is 0, expected over 0 and at most 1",
        "bad.ndjson:6: is no JSON object",
        "vlmgate: 6 lines are no records: nothing is stored",
    ];
    assert_eq!(complained.lines().count(), expected.len(), "{complained}");
    for (line, expected) in complained.lines().zip(expected) {
        assert!(line.starts_with(expected), "{line}");
    }
    assert!(!folder.path().join("data").exists(), "no store is made for it");
}

#[test]
fn a_file_that_is_not_there_left_an_empty_store_behind_and_asked_for_keys() {
    let folder = tempfile::tempdir().unwrap();
    for (name, says) in [("nowhere", "No such file"), (".", "is a folder, expected a file")] {
        let (code, told, complained) = said(&import(folder.path(), &[name]));
        assert_eq!((code, told.as_str()), (2, ""));
        assert!(complained.starts_with(&format!("vlmgate: {name}: {says}")), "{complained}");
        assert_eq!(complained.lines().count(), 1, "{complained}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// Posts images, some at once, until a verdict `is_one`, for at most a minute.
async fn post_until(world: &World, what: &str, is_one: impl Fn(&serde_json::Value) -> bool) {
    let until = Deadline::after(Duration::from_secs(60));
    let mut last = serde_json::Value::Null;
    while !until.is_past() {
        for (status, verdict) in join_all((0..4).map(|_| world.post(mug()))).await {
            assert_eq!(status, 200, "{verdict}");
            if is_one(&verdict) {
                return;
            }
            last = verdict;
        }
    }
    panic!("no verdict was {what} within a minute: {last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gates_own_export_was_refused_because_a_probe_had_given_a_verdict() {
    let world = World::new().await;
    world.provider("openai-mini").set_behaviour(Behaviour::failing(Fault::Blackhole));
    post_until(&world, "without it", |one| one["attempts"][0]["judge"] != "openai-mini").await;
    for (judge, _) in &JUDGES[1..] {
        let slow = Behaviour { latency: Latency::ConstantMs(500), ..healthy() };
        world.provider(judge).set_behaviour(slow);
    }
    world.provider("openai-mini").set_behaviour(healthy());
    post_until(&world, "by a probe", |one| one["route"] == "probe").await;
    let export = world.client.get(world.url("/v1/verdicts:export?format=ndjson"));
    let export = export.send().await.unwrap().text().await.unwrap();
    world.stop().await;

    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("own.ndjson"), &export).unwrap();
    let (code, told, complained) = said(&import(folder.path(), &["own.ndjson"]));
    assert_eq!(code, 0, "{complained}");
    let lines = export.lines().count();
    assert_eq!(told, format!("{lines} records stored, 0 were here already\n"));
    let stored = everything(folder.path()).await;
    assert!(stored.iter().any(|one| one.route == Some(Route::Probe)), "the probe's is among them");
}
