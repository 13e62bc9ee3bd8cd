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
use crate::world::{World, mug};

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
async fn a_bad_line_is_named_by_its_number_and_the_rest_goes_on_unless_strict() {
    let folder = tempfile::tempdir().unwrap();
    let records = exported();
    let text = format!("{}\n{{\"id\":1}}\n{}", lines(&records[..2]), lines(&records[2..5]));
    fs::write(folder.path().join("records.ndjson"), text).unwrap();

    let (code, told, complained) = said(&import(folder.path(), &["records.ndjson", "--strict"]));
    assert_eq!((code, told.as_str()), (1, "0 records stored, 0 were here already\n"));
    assert!(complained.contains("nothing is stored, because of --strict"), "{complained}");
    assert!(everything(folder.path()).await.is_empty());

    let (code, told, complained) = said(&import(folder.path(), &["records.ndjson", "--json"]));
    assert_eq!(code, 1, "a line that is lost is no success");
    assert_eq!(told, "{\"bad\":1,\"present\":0,\"records\":5,\"stored\":5}\n");
    assert!(complained.contains("records.ndjson, line 4 is no record"), "{complained}");
    assert_eq!(everything(folder.path()).await, placeless(records[..5].to_vec()));
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
    assert_eq!(told, "1 records stored, 0 were here already\n");
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
    let learning = |view: &Arc<View>| view.learning.is_some_and(|(n, ..)| n != 0);
    assert!(before.len() == 2 && before.values().all(learning), "{before:?}");

    let (code, told, complained) = said(&import(folder.path(), &["older.ndjson"]));
    assert_ne!(code, 0);
    assert_eq!(told, "0 records stored, 0 were here already\n", "nothing of it");
    assert!(complained.contains("is older than what is here of it"), "{complained}");
    assert!(complained.contains("--into-newer"), "{complained}");

    let (code, told, complained) = said(&import(folder.path(), &["older.ndjson", "--into-newer"]));
    assert_eq!((code, told.as_str()), (0, "400 records stored, 2 were here already\n"));
    assert!(complained.contains("400 of them are added up and not watched"), "{complained}");
    assert_eq!(everything(folder.path()).await, placeless(records.clone()));
    assert_eq!(watched(folder.path()), before, "no monitor saw them");
    let reader = Reader::open(&store(folder.path())).await.unwrap();
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
