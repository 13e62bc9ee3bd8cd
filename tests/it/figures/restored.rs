//! A backup that is restored watches as its store did, to the last bit, however often its import was
//! killed.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use sqlx::Connection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use uuid::Uuid;
use vlmgate::clock::{Deadline, Timestamp};
use vlmgate::domain::{Basis, Decision, Digest, Record, Remainder, Route};
use vlmgate::ledger::export::Whole;
use vlmgate::ledger::reader::Reader;
use vlmgate::ledger::retention::Keeping;
use vlmgate::ledger::shadows::{NewShadow, Spent};
use vlmgate::ledger::{Entry, Ledger};

use crate::figures::copied::{exported, in_order, state, store, unnumbered, usual, vlmgate};
use crate::figures::counting::{connect, dump, follow, forget, judged, shadow, soon};
use crate::ledger::late::{append_late, remainder};

/// A day before everything else, under ids of its own.
const PAST: u32 = 1 << 20;
const DAY_US: i64 = 86_400_000_000;

/// Record `n` of a day on which everything happens that may change how something counts.
fn record(n: u32) -> Record {
    let mut record = judged(n).record;
    record.at_us -= i64::from(n % 4) * 1_300_000;
    record.complete = n % 50 != 7 && !is_early(n);
    if n.is_multiple_of(11) {
        record.policy.name = "banner".to_owned();
    }
    record.policy.revision = Digest::of(&(n / 900).to_be_bytes());
    if let Some(judge) = &record.judge {
        // asked otherwise in the end; what is asked behind verdicts has a configuration of its own
        let since = u32::from(3_100 <= n || judge.name == "claude-haiku");
        record.judged_by = Digest::of(format!("{}{since}", judge.name).as_bytes());
    }
    match n % 40 {
        9 => record.verdict.basis = Basis::Deadline,
        // one that stood in, and one that only looked on
        13 => {
            record.route = Some(Route::Probe);
            record.attempts.iter_mut().for_each(|one| one.route = Route::Probe);
        }
        23 => {
            let mut probe = record.attempts[0].clone();
            (probe.judge.name, probe.route) = ("mistral-vision".to_owned(), Route::Probe);
            probe.said = Some(Decision::Fail);
            record.attempts.push(probe);
        }
        _ => {}
    }
    if is_early(n) {
        for attempt in &mut record.attempts {
            (attempt.ended_ms, attempt.tokens) = (None, None);
        }
    }
    record
}

/// Whether the answer to `n` left early, and something was said behind it before its rest came.
fn is_early(n: u32) -> bool {
    n % 10 == 3
}

fn behind(n: u32) -> NewShadow {
    NewShadow { verdict: record(n).id, ..shadow(n) }
}

/// Records `from..to` with what comes behind them, then an end.
async fn grow(folder: &Path, (from, to): (u32, u32), place: impl Fn(Record) -> Record) {
    let ledger = Ledger::open(store(folder)).await.unwrap();
    let follower = ledger.follow(usual(folder)).unwrap();
    for n in from..to {
        let record = place(record(n));
        let entry = Entry { record: record.clone(), keep: Vec::new(), mark: None };
        let written = ledger.append(ledger.reserve().unwrap(), entry, soon());
        if !is_early(n) && n % 6 != 0 && n + 1 != to {
            continue;
        }
        assert!(written.await.recorded);
        let said = NewShadow { verdict: record.id, ..behind(n) };
        assert!(ledger.shadow(said).await.unwrap());
        if is_early(n) {
            let late = remainder(&record);
            let flags = if n % 20 == 3 { late.flags } else { Vec::new() };
            append_late(&ledger, &Remainder { flags, ..late });
        }
    }
    follower.finish(soon()).await.unwrap();
    ledger.close(soon()).await.unwrap();
}

fn lines(whole: &[Whole]) -> String {
    whole.iter().map(|one| serde_json::to_string(one).unwrap() + "\n").collect()
}

/// What importing `lines` comes to: exit code, what was told, what was complained.
fn import(folder: &Path, lines: &str, flags: &[&str]) -> (i32, Value, String) {
    fs::write(folder.join("records.ndjson"), lines).unwrap();
    let output = vlmgate(folder, &[&["import", "records.ndjson", "--json"], flags].concat());
    let told = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code().unwrap(), told, String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Some records of the day before, as another store has them.
async fn past() -> String {
    let folder = tempfile::tempdir().unwrap();
    let earlier = |record: Record| Record {
        id: Uuid::from_u128(record.id.as_u128() + u128::from(PAST)),
        at_us: record.at_us - DAY_US,
        ..record
    };
    grow(folder.path(), (0, 120), earlier).await;
    lines(&exported(folder.path()).await)
}

/// The lines of `folder`, with what nobody was asked about its first records.
async fn asked_afterwards(folder: &Path) -> String {
    let other = tempfile::tempdir().unwrap();
    let whole = exported(folder).await;
    assert_eq!(import(other.path(), &lines(&whole), &[]).0, 0);
    let ledger = Ledger::open(store(other.path())).await.unwrap();
    for n in [1, 2, 5, 8] {
        assert!(ledger.shadow(behind(n)).await.unwrap());
    }
    ledger.close(soon()).await.unwrap();
    let asked: Vec<Uuid> = [1, 2, 5, 8].map(|n| record(n).id).to_vec();
    let mut whole = exported(other.path()).await;
    whole.retain(|one| asked.contains(&one.record.id));
    lines(&whole)
}

/// A store of `records` of its own, and of what was brought into it.
async fn original(folder: &Path, records: u32) {
    let own = |record| record;
    grow(folder, (0, 700), own).await;
    let (code, told, why) = import(folder, &past().await, &["--into-newer"]);
    assert_eq!((code, &told["stored"], &told["refused"]), (0, &json!(120), &json!(0)), "{why}");
    let unwatched = told["stored"].as_u64().unwrap() + told["shadows"].as_u64().unwrap();
    assert_eq!(told["unwatched"], unwatched);

    let afterwards = asked_afterwards(folder).await;
    let (code, told, complained) = import(folder, &afterwards, &[]);
    assert_eq!((code, &told["shadows"], &told["refused"]), (1, &json!(0), &json!(4)));
    assert!(complained.contains(" is older than what is here of product-photo"), "{complained}");
    let (code, told, why) = import(folder, &afterwards, &["--into-newer"]);
    let done = (&told["shadows"], &told["unwatched"], &told["present"]);
    assert_eq!((code, done), (0, (&json!(4), &json!(4), &json!(4))), "{why}");
    grow(folder, (700, records), own).await;
    // what never got its rest counts at the next beginning
    grow(folder, (records, records), own).await;
}

/// Everything that was added up, told and learnt from all records, in their order.
async fn folded_anew(folder: &Path) -> (Vec<String>, Vec<u8>) {
    forget(&store(folder).path, &state(folder)).await;
    follow(store(folder), usual(folder)).await;
    let dump = dump(&store(folder).path).await;
    // the last line says how far it was counted, by the store's own numbers of its records
    let dump = dump.into_iter().filter(|line| !line.starts_with('[')).map(unnumbered).collect();
    (dump, fs::read(state(folder)).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_did_not_say_what_was_not_watched_and_a_restored_backup_watched_it() {
    let (folder, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (one, other) = (folder.path(), copy.path());
    original(one, 3_300).await;
    let whole = exported(one).await;
    let unwatched = |one: &&Whole| one.unwatched;
    assert_eq!(whole.iter().filter(unwatched).count(), 120);
    let said = || whole.iter().filter(|one| !one.unwatched).flat_map(|one| &one.shadows);
    assert_eq!(said().filter(|one| one.unwatched).count(), 4);
    let is_before = |one: &&Whole| one.shadows.iter().any(|said| said.counted < one.counted);
    assert!(200 < whole.iter().filter(is_before).count(), "some was said before the rest came");

    let (code, told, why) = import(other, &lines(&whole), &[]);
    assert_eq!((code, &told["stored"]), (0, &json!(3_420)), "{why}");
    let copied = exported(other).await;
    assert_eq!(in_order(&copied), in_order(&whole), "all count in the same order");
    let said = |all: &[Whole]| all.iter().map(|one| (one.record.id, one.unwatched)).collect();
    let (ours, theirs): (Vec<_>, Vec<_>) = (said(&copied), said(&whole));
    assert_eq!(ours, theirs);

    // what was paid for elsewhere is no part of what may be spent here today
    let [paid, ours] = [one, other].map(|folder| async move {
        let reader = Reader::open(&store(folder)).await.unwrap();
        reader.shadows_spent(Timestamp(0)).await.unwrap()
    });
    let of = |spent: Vec<Spent>| spent.iter().map(|one| one.cost.0).sum::<u64>();
    assert_eq!((of(paid.await) != 0, of(ours.await)), (true, 0));

    let ((sums, state), (our_sums, our_state)) = (folded_anew(one).await, folded_anew(other).await);
    assert!(sums.iter().any(|line| line.starts_with("mark [\"drift\"")), "there was drift");
    assert!(sums.iter().any(|line| line.starts_with("baseline ")), "and a baseline");
    assert_eq!(our_sums, sums);
    assert!(our_state == state, "what the monitors know is the same to the last bit");
    check_swept(other).await;
}

/// Whether nothing stays of calls that were brought, once their records are too old.
async fn check_swept(folder: &Path) {
    let ledger = Ledger::open(store(folder)).await.unwrap();
    let mut conn = connect(&store(folder).path).await;
    let mut count = async || {
        let brought = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM brought");
        brought.fetch_one(&mut conn).await.unwrap()
    };
    assert!(0 < count().await);
    let kept = ["product-photo", "banner"].map(|policy| Keeping {
        policy: policy.to_owned(),
        verdicts_for: Duration::ZERO,
        images_for: Duration::ZERO,
    });
    assert!(0 < ledger.sweep(&kept, Timestamp::now()).await.unwrap().records);
    assert_eq!(count().await, 0);
    ledger.close(soon()).await.unwrap();
}

/// Records in the store of `folder`; 0 while there is none.
async fn stored(folder: &Path) -> u64 {
    let file = SqliteConnectOptions::new().filename(store(folder).path).read_only(true);
    let Ok(mut conn) = SqliteConnection::connect_with(&file).await else { return 0 };
    let count = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM record");
    count.fetch_one(&mut conn).await.map_or(0, i64::unsigned_abs)
}

/// Imports what lies in `folder`, and kills that once `most` records are there; how many are.
async fn killed(folder: &Path, most: u64) -> u64 {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vlmgate"));
    command.current_dir(folder).args(["import", "records.ndjson"]).env_clear();
    let mut running = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let until = Deadline::after(Duration::from_secs(120));
    while stored(folder).await < most && running.try_wait().unwrap().is_none() {
        assert!(!until.is_past(), "it does not come to {most} records");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    running.kill().unwrap();
    running.wait().unwrap();
    stored(folder).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_was_killed_half_way_was_refused_when_it_ran_again() {
    let [one, copy, broken] = [(); 3].map(|()| tempfile::tempdir().unwrap());
    original(one.path(), 1_500).await;
    let lines = lines(&exported(one.path()).await);
    assert_eq!(import(copy.path(), &lines, &[]).0, 0);

    let broken = broken.path();
    fs::write(broken.join("records.ndjson"), &lines).unwrap();
    let mut came_to = 0;
    for most in [1, 400, 800, 1_200] {
        let there = killed(broken, most).await;
        assert!(came_to <= there, "nothing is lost");
        came_to = there;
        if most == 1 {
            assert!(0 < there && there < 1_620, "it was killed half way: {there}");
        }
    }
    let (code, told, complained) = import(broken, &lines, &[]);
    assert_eq!(code, 0, "{complained}");
    assert_eq!(told["present"], came_to);
    assert_eq!(told["stored"], 1_620 - came_to);
    assert_eq!(in_order(&exported(broken).await), in_order(&exported(copy.path()).await));
    assert_eq!(dump(&store(broken).path).await, dump(&store(copy.path()).path).await);
    assert!(fs::read(state(broken)).unwrap() == fs::read(state(copy.path())).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_record_under_an_id_that_is_here_passed_for_the_one_that_is() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    grow(folder, (0, 20), |record| record).await;
    let whole = exported(folder).await;
    let same = lines(&whole);
    let (code, told, why) = import(folder, &same, &[]);
    assert_eq!((code, &told["present"], &told["shadows"]), (0, &json!(20), &json!(0)), "{why}");

    let mut other: Vec<Value> =
        whole.iter().map(|one| serde_json::to_value(one).unwrap()).collect();
    other[4]["pre"] = json!(0.5);
    let said = other.iter().position(|one| one["shadows"][0]["said"] == "pass").unwrap();
    other[said]["shadows"][0]["said"] = json!("fail");
    let text: String = other.iter().map(|one| format!("{one}\n")).collect();
    let (code, told, complained) = import(folder, &text, &["--into-newer"]);
    assert_eq!((code, &told["stored"], &told["refused"]), (1, &json!(0), &json!(2)));
    let judge = &other[said]["shadows"][0]["judge"];
    let judge = judge.as_str().unwrap();
    for told in [
        "records.ndjson:5: pre: is 0.5, and the record of this id that is here says ",
        &format!("records.ndjson:{}: shadows.{judge}.said: is \"fail\", and ", said + 1),
    ] {
        assert!(complained.contains(told), "{told}\n{complained}");
    }

    // twice in one file, and no store to look at
    let empty = tempfile::tempdir().unwrap();
    let (code, _, complained) = import(empty.path(), &(same + &text), &[]);
    assert_eq!(code, 1);
    let told = "records.ndjson:25: pre: is 0.5, and records.ndjson:5 of the same id says ";
    assert!(complained.contains(told), "{complained}");
    assert!(!empty.path().join("data").exists(), "no store is made for it");
}
