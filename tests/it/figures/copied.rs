//! A copy of a store, made of its export, adds up and watches as the store itself did.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use futures_util::TryStreamExt;
use serde_json::Value;
use uuid::Uuid;
use vlmgate::clock::Timestamp;
use vlmgate::ledger::export::Whole;
use vlmgate::ledger::follow::Settings as Follow;
use vlmgate::ledger::reader::{Filter, Reader};
use vlmgate::ledger::{Entry, Ledger, Settings};

use crate::figures::counting::{dump, follow, forget, judged, shadow, soon};
use crate::ledger::settings;

const RECORDS: u32 = 3_300;

/// Where the program keeps the records of `folder` without any configuration.
pub(super) fn store(folder: &Path) -> Settings {
    let data = folder.join("data");
    Settings { path: data.join("vlmgate.db"), images_dir: data.join("images"), ..settings(&data) }
}

pub(super) fn state(folder: &Path) -> std::path::PathBuf {
    folder.join("data/drift.json")
}

/// A baseline of no days: as soon as two thousand were served.
pub(super) fn usual(folder: &Path) -> Follow {
    Follow { baseline_days: 0, ..Follow::usual(state(folder)) }
}

/// Record `n` of a day on which checks end in another order than they began in, and of some the rest
/// never comes.
fn entry(n: u32) -> Entry {
    let mut entry = judged(n);
    entry.record.at_us -= i64::from(n % 4) * 1_300_000;
    entry.record.complete = n % 50 != 7;
    entry
}

/// Records `from..to`, and what was said behind some, one after the other, then an end.
async fn grow(folder: &Path, (from, to): (u32, u32)) {
    let ledger = Ledger::open(store(folder)).await.unwrap();
    let follower = ledger.follow(usual(folder)).unwrap();
    for n in from..to {
        let written = ledger.append(ledger.reserve().unwrap(), entry(n), soon());
        if n % 50 != 49 && n + 1 != to {
            continue;
        }
        assert!(written.await.recorded);
        for verdict in (n - 9..=n).step_by(3) {
            assert!(ledger.shadow(shadow(verdict)).await.unwrap());
        }
    }
    follower.finish(soon()).await.unwrap();
    ledger.close(soon()).await.unwrap();
}

pub(super) async fn exported(folder: &Path) -> Vec<Whole> {
    let reader = Reader::open(&store(folder)).await.unwrap();
    reader.export(Filter::default()).try_collect().await.unwrap()
}

pub(super) fn vlmgate(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vlmgate"));
    command.current_dir(folder).args(arguments).env_clear();
    command.output().unwrap()
}

fn import(folder: &Path, lines: &str) -> Value {
    fs::write(folder.join("records.ndjson"), lines).unwrap();
    let output = vlmgate(folder, &["import", "records.ndjson", "--json"]);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{complained}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What the report of the whole day says.
fn report(folder: &Path) -> Value {
    let moment = |n: u32| Timestamp(judged(n).record.at_us).to_string();
    let (since, until) = (moment(100), moment(RECORDS));
    let arguments = ["report", "--json", "--data", "data", "--since", &since, "--until", &until];
    let output = vlmgate(folder, &arguments);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn shadows_were_left_out_of_an_export_and_a_copy_watched_otherwise_than_its_store() {
    let folder = tempfile::tempdir().unwrap();
    let copy = tempfile::tempdir().unwrap();
    let (one, other) = (folder.path(), copy.path());
    // what never got its rest counts at the next beginning
    for (from, to) in [(0, 700), (700, 2_702), (2_702, RECORDS), (RECORDS, RECORDS)] {
        grow(one, (from, to)).await;
    }
    let whole = exported(one).await;
    let shadows = whole.iter().map(|one| one.shadows.len()).sum::<usize>();
    assert!(whole.iter().all(|one| one.counted.is_some()) && 250 < shadows, "{shadows}");
    let line = |one: &Whole| serde_json::to_string(one).unwrap() + "\n";
    let lines: String = whole.iter().map(line).collect();
    let told = import(other, &lines);
    assert_eq!((&told["stored"], &told["shadows"]), (&RECORDS.into(), &shadows.into()));
    // the same file twice brings nothing
    let again = import(other, &lines);
    assert_eq!((&again["present"], &again["shadows"]), (&RECORDS.into(), &0.into()));
    forget(&store(other).path, &state(other)).await;
    follow(store(other), usual(other)).await;

    assert_eq!(in_order(&exported(other).await), in_order(&whole), "all count in the same order");
    let sums = |told: Vec<String>| -> Vec<String> {
        // the last line says how far it was counted, by the store's own numbers of its records
        told.into_iter().filter(|line| !line.starts_with('[')).map(unnumbered).collect()
    };
    let (theirs, ours) = (sums(dump(&store(one).path).await), sums(dump(&store(other).path).await));
    assert!(ours.iter().any(|line| line.starts_with("mark [\"drift\"")), "there was drift");
    assert_eq!(ours, theirs);
    assert_eq!(without_places(report(other)), without_places(report(one)));
}

/// Records, and what was said behind them by its judge, in the order in which they counted.
pub(super) fn in_order(all: &[Whole]) -> Vec<(Uuid, Option<&str>)> {
    let mut places: Vec<_> = all
        .iter()
        .flat_map(|one| {
            let id = one.record.id;
            let behind = one.shadows.iter();
            let behind =
                behind.map(move |said| (said.counted, id, Some(said.attempt.judge.as_str())));
            [(one.counted, id, None)].into_iter().chain(behind)
        })
        .collect();
    places.sort_unstable();
    places.into_iter().map(|(_, id, judge)| (id, judge)).collect()
}

/// A mark without the number that its store gave the record at which it was told.
pub(super) fn unnumbered(line: String) -> String {
    let Some((head, rest)) = line.split_once("\\\"seq\\\":") else { return line };
    let rest = rest.trim_start_matches(|one: char| one.is_ascii_digit());
    format!("{head}{rest}")
}

/// A report without the numbers that each store gives its own records.
fn without_places(mut report: Value) -> Value {
    strip(&mut report);
    report
}

fn strip(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for name in ["seq", "id", "event"] {
                fields.remove(name);
            }
            fields.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
