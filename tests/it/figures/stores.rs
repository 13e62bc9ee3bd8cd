//! Stores that are not as this program wrote them, and places in them that are not theirs.

use std::path::Path;

use sqlx::AssertSqlSafe;
use tempfile::TempDir;
use vlmgate::clock::Timestamp;
use vlmgate::domain::Decision;
use vlmgate::ledger::follow::Settings as Follow;
use vlmgate::ledger::marks::{Mark, REVISION};
use vlmgate::ledger::reader::{Filter, Reader};
use vlmgate::ledger::{Ledger, LedgerError, Settings};

use crate::figures::counting::{connect, dump, follow, forget, judged, records, soon, sums};
use crate::figures::read_events;
use crate::ledger::settings;
use crate::world::World;

/// The tables of figures and of what failed, which older programs did not have.
const NEW: [&str; 20] = [
    "purse",
    "failed",
    "routed",
    "listed",
    "unwatched",
    "label",
    "brought",
    "shadow",
    "counted",
    "awaited",
    "baseline",
    "followed",
    "mark",
    "verdict_rollup",
    "attempt_rollup",
    "judged_rollup",
    "flag_rollup",
    "pair_rollup",
    "score_rollup",
    "evidence_rollup",
];

/// Writes the records `from..to`.
async fn write(settings: &Settings, from: u32, to: u32) {
    let ledger = Ledger::open(settings.clone()).await.unwrap();
    for n in from..to {
        let mut entry = judged(n);
        if n % 2 == 0 {
            entry.record.verdict.decision = Decision::Fail;
            entry.record.verdict.failed = vec!["cutout".to_owned()];
        }
        let written = ledger.append(ledger.reserve().unwrap(), entry, soon());
        if n % 50 == 49 || n + 1 == to {
            assert!(written.await.recorded);
        }
    }
    ledger.close(soon()).await.unwrap();
}

async fn run(file: &Path, sql: String) {
    sqlx::query(AssertSqlSafe(sql)).execute(&mut connect(file).await).await.unwrap();
}

fn folder() -> (TempDir, Settings, Follow) {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path());
    let usual = Follow::usual(folder.path().join("drift.json"));
    (folder, settings, usual)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_an_older_program_counts_each_of_its_records_once() {
    let (_folder, store, usual) = folder();
    write(&store, 0, 450).await;
    for table in NEW {
        run(&store.path, format!("DROP TABLE {table}")).await;
    }
    run(&store.path, "DELETE FROM _sqlx_migrations WHERE version >= 4".to_owned()).await;
    write(&store, 450, 500).await;
    follow(store.clone(), usual.clone()).await;
    assert_eq!(records(&store.path).await, 500);
    assert_eq!(sums(&store.path).await, [(60, 500), (3_600, 500)]);
    let reader = Reader::open(&store).await.unwrap();
    let listed = Filter { failed: Some("cutout".to_owned()), ..Filter::default() };
    assert_eq!(reader.list(&listed, None, 500).await.unwrap().records.len(), 250);
    let counted = dump(&store.path).await;
    assert!(counted.last().unwrap().starts_with("[500,500,"), "{:?}", counted.last());
    forget(&store.path, &usual.checkpoint).await;
    follow(store.clone(), usual).await;
    assert_eq!(dump(&store.path).await, counted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_records_that_cannot_be_read_does_not_stop_the_others_from_counting() {
    let (_folder, store, usual) = folder();
    write(&store, 0, 500).await;
    let broken = "UPDATE record SET form = '{}' WHERE seq BETWEEN 51 AND 450";
    run(&store.path, broken.to_owned()).await;
    follow(store.clone(), usual.clone()).await;
    assert_eq!(sums(&store.path).await, [(60, 100), (3_600, 100)]);
    let state = std::fs::read(&usual.checkpoint).unwrap();
    std::fs::remove_file(&usual.checkpoint).unwrap();
    follow(store.clone(), usual.clone()).await;
    assert!(std::fs::read(&usual.checkpoint).unwrap() == state, "folded anew, past the page too");
    write(&store, 500, 501).await;
    follow(store.clone(), usual).await;
    assert_eq!(sums(&store.path).await, [(60, 101), (3_600, 101)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_of_long_ago_looks_back_on_ten_thousand_records_at_most() {
    let (_folder, store, _usual) = folder();
    write(&store, 0, 3).await;
    let ledger = Ledger::open(store).await.unwrap();
    let news = ledger.reader().news((-20_000, 3), None, 50).await.unwrap();
    assert_eq!((news.n, news.passed_over, news.last_seq), (3, 10_003, 3));
    assert_eq!(news.records.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_of_another_store_begins_at_the_newest_and_says_so() {
    let world = World::new().await;
    let told = read_events(&world, Some("999-0"), |text| text.contains("event: judges")).await;
    assert!(told.contains(": this store gave no such id"), "{told}");
    assert!(told.contains("id: 0-"), "{told}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sums_and_marks_leave_the_last_room_to_records() {
    let (_folder, store, _usual) = folder();
    // a folder where the spare should be: it can never be held, as on a full disk
    std::fs::create_dir_all(store.path.with_extension("db.spare")).unwrap();
    let ledger = Ledger::open(Settings { spare_bytes: 1_000, ..store }).await.unwrap();
    let mark = Mark {
        id: 0,
        kind: REVISION.to_owned(),
        at: Timestamp(1),
        until: None,
        policy: None,
        judge: None,
        form: "{}".to_owned(),
    };
    let refused = ledger.mark(mark).await.unwrap_err();
    assert!(matches!(refused, LedgerError::Store(_)), "{refused}");
    let written = ledger.append(ledger.reserve().unwrap(), judged(1), soon()).await;
    assert!(written.recorded);
}
