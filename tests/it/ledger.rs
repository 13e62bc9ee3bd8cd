//! The ledger as the gate and the pages use it, on real files.

mod counted;
mod keeping;
pub(crate) mod late;
mod listing;
mod reading;
pub(crate) mod records;
mod trouble;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use sqlx::Connection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use tempfile::TempDir;
use vlmgate::clock::{Deadline, Timestamp};
use vlmgate::domain::{Digest, Record};
use vlmgate::ledger::form::RecordForm;
use vlmgate::ledger::reader::{Filter, Page, Reader};
use vlmgate::ledger::retention::Keeping;
use vlmgate::ledger::{
    Appended, Entry, IdempotencyMark, KeptImage, Ledger, LedgerError, NoSlot, Settings, Sync,
};

use crate::ledger::records::{START_US, mixed, record};

pub(crate) fn settings(dir: &Path) -> Settings {
    Settings {
        path: dir.join("ledger.db"),
        images_dir: dir.join("images"),
        sync: Sync::Normal,
        max_pending: 4_096,
        append_wait: Duration::from_secs(30),
        readers: 2,
        max_file_bytes: None,
        spare_bytes: 0,
    }
}

async fn open() -> (TempDir, Ledger) {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(settings(dir.path())).await.unwrap();
    (dir, ledger)
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(30))
}

/// Hands the entry over at once; the future is the wait.
fn append_entry(ledger: &Ledger, entry: Entry) -> impl Future<Output = Appended> + use<> {
    ledger.append(ledger.reserve().unwrap(), entry, soon())
}

fn append(ledger: &Ledger, record: Record) -> impl Future<Output = Appended> + use<> {
    append_entry(ledger, Entry { record, keep: Vec::new(), mark: None })
}

fn with_image(record: Record, bytes: &'static [u8]) -> Entry {
    let keep = vec![KeptImage { view: "whole".to_owned(), bytes: Bytes::from_static(bytes) }];
    Entry { record, keep, mark: None }
}

fn with_mark(record: Record, scope: &str, key: &str) -> Entry {
    let request = Digest::of(record.request_id.as_bytes());
    let mark = IdempotencyMark { scope: scope.to_owned(), key: key.to_owned(), request };
    Entry { record, keep: Vec::new(), mark: Some(mark) }
}

/// Record `n` as the store gives it back.
fn stored(record: &Record, seq: Option<i64>) -> RecordForm {
    RecordForm { recorded: true, seq, ..RecordForm::from(record) }
}

/// Waits until everything handed over is settled.
async fn settled(ledger: &Ledger) {
    while ledger.pending() != 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// All records as they were committed.
async fn in_commit_order(reader: &Reader) -> Vec<RecordForm> {
    let mut records = all(reader, &Filter::default(), 500).await;
    records.sort_by_key(|one| one.seq);
    records
}

/// All records that `filter` means, in pages of `limit`.
async fn all(reader: &Reader, filter: &Filter, limit: u32) -> Vec<RecordForm> {
    let mut records = Vec::new();
    let mut cursor = None;
    loop {
        let Page { records: page, next } = reader.list(filter, cursor, limit).await.unwrap();
        assert!(page.len() <= limit as usize);
        records.extend(page);
        cursor = next;
        if cursor.is_none() {
            return records;
        }
    }
}

fn keeping(verdicts_for: Duration, images_for: Duration) -> Vec<Keeping> {
    vec![Keeping { policy: "product-photo".to_owned(), verdicts_for, images_for }]
}

fn files_in(dir: &Path) -> usize {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { files_in(&path) } else { 1 }).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_checks_at_once_get_seqs_without_a_gap() {
    let (_dir, ledger) = open().await;
    let ledger = Arc::new(ledger);
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..200 {
        let ledger = Arc::clone(&ledger);
        tasks.spawn(async move { (n, append(&ledger, record(n)).await.seq.unwrap()) });
    }
    let mut said = tasks.join_all().await;
    said.sort_by_key(|(_, seq)| *seq);
    assert!(said.iter().map(|(_, seq)| *seq).eq(1..=200));
    let stored = in_commit_order(ledger.reader()).await;
    assert!(stored.iter().map(|one| one.id).eq(said.iter().map(|(n, _)| record(*n).id)));
    let stats = ledger.stats();
    assert_eq!((stats.written, stats.pending, stats.last_error), (200, 0, None));
}

#[tokio::test]
async fn everything_that_waits_is_one_commit_in_the_order_it_came() {
    let (dir, ledger) = open().await;
    let stalled = Stalled::stall(dir.path()).await;
    let waiting: Vec<_> = (0..200).map(|n| append(&ledger, record(n))).collect();
    assert_eq!(ledger.pending(), 200);
    stalled.release().await;
    let seqs: Vec<_> = join_all(waiting).await.into_iter().map(|one| one.seq.unwrap()).collect();
    assert_eq!(seqs, (1..=200).collect::<Vec<_>>());
    let commits = ledger.stats().commits;
    assert!(commits <= 2, "one for what the writer had in hand, one for the rest: {commits}");
}

/// A connection of one's own to the file.
async fn raw(dir: &TempDir) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(settings(dir.path()).path);
    SqliteConnection::connect_with(&options).await.unwrap()
}

/// Somebody else's write lock on the file: until `release`, no commit gets through.
struct Stalled(SqliteConnection);

impl Stalled {
    async fn stall(dir: &Path) -> Self {
        let options = SqliteConnectOptions::new().filename(settings(dir).path);
        let mut conn = SqliteConnection::connect_with(&options).await.unwrap();
        sqlx::query("BEGIN IMMEDIATE").execute(&mut conn).await.unwrap();
        Self(conn)
    }

    async fn release(mut self) {
        sqlx::query("ROLLBACK").execute(&mut self.0).await.unwrap();
    }
}

#[tokio::test]
async fn past_the_deadline_the_answer_leaves_and_the_record_is_written_later() {
    let (dir, ledger) = open().await;
    let stalled = Stalled::stall(dir.path()).await;
    let entry = Entry { record: record(1), keep: Vec::new(), mark: None };
    let deadline = Deadline::after(Duration::from_millis(20));
    let said = ledger.append(ledger.reserve().unwrap(), entry, deadline).await;
    assert_eq!(said, Appended { recorded: false, seq: None });
    assert_eq!((ledger.stats().late, ledger.pending()), (1, 1));
    stalled.release().await;
    settled(&ledger).await;
    assert_eq!(ledger.pending(), 0);
    let found = ledger.reader().get(record(1).id).await.unwrap();
    assert_eq!(found, Some(stored(&record(1), Some(1))));
}

#[tokio::test]
async fn a_check_that_stops_waiting_still_leaves_its_record() {
    let (_dir, ledger) = open().await;
    let entry = Entry { record: record(1), keep: Vec::new(), mark: None };
    drop(ledger.append(ledger.reserve().unwrap(), entry, soon()));
    settled(&ledger).await;
    assert!(ledger.reader().get(record(1).id).await.unwrap().is_some());
}

#[tokio::test]
async fn slots_run_out_and_one_dropped_unused_is_free_again() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { max_pending: 2, ..settings(dir.path()) };
    let ledger = Ledger::open(settings).await.unwrap();
    let one = ledger.reserve().unwrap();
    let other = ledger.reserve().unwrap();
    assert_eq!(ledger.reserve().unwrap_err(), NoSlot::Full { limit: 2 });
    drop(other);
    let other = ledger.reserve().unwrap();
    let entry = Entry { record: record(1), keep: Vec::new(), mark: None };
    assert!(ledger.append(one, entry, soon()).await.recorded);
    assert!(ledger.reserve().is_ok(), "a written record's slot is free again");
    drop(other);
}

#[tokio::test]
async fn one_bad_record_does_not_take_its_batch_along() {
    let (dir, ledger) = open().await;
    let stalled = Stalled::stall(dir.path()).await;
    // the first fills the writer, the others gather behind it into one batch
    let [first, again, third] =
        [record(1), record(1), record(3)].map(|record| append(&ledger, record));
    stalled.release().await;
    let (first, again, third) = tokio::join!(first, again, third);
    assert!(first.recorded && !again.recorded && third.recorded, "{first:?} {again:?} {third:?}");
    let stats = ledger.stats();
    assert_eq!((stats.written, stats.dropped_rows), (2, 1));
    assert!(stats.last_error.unwrap().contains("UNIQUE"));
}

#[tokio::test]
async fn a_full_disk_costs_records_that_say_so_and_never_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { max_file_bytes: Some(400_000), ..settings(dir.path()) };
    let ledger = Ledger::open(settings).await.unwrap();
    let large = |n| Record { external_id: Some("x".repeat(20_000)), ..record(n) };
    let mut kept = 0;
    while append_entry(&ledger, with_image(large(kept), b"kept")).await.recorded {
        kept += 1;
        assert!(kept < 100, "the limit holds nothing back");
    }
    let stats = ledger.stats();
    assert_eq!((stats.written, stats.dropped_rows), (u64::from(kept), 1));
    assert_eq!(stats.dropped_images, 1, "the picture was given up first");
    assert!(stats.last_error.unwrap().contains("full"));
    assert!(!append_entry(&ledger, with_image(large(900), b"made for nothing")).await.recorded);
    assert_eq!(files_in(&dir.path().join("images")), 1, "a lost record's picture makes room");
    let found = all(ledger.reader(), &Filter::default(), 500).await;
    assert_eq!(found.len(), kept as usize, "what was answered as recorded is there");

    let now = Timestamp(START_US + i64::from(kept) * 1_000_000);
    ledger.sweep(&keeping(Duration::from_secs(1), Duration::ZERO), now).await.unwrap();
    assert!(append(&ledger, large(901)).await.recorded, "with room again it goes on");
}

#[tokio::test]
async fn an_image_folder_that_breaks_costs_the_image_and_keeps_the_record() {
    let (dir, ledger) = open().await;
    let images = dir.path().join("images");
    fs::remove_dir_all(&images).unwrap();
    fs::write(&images, b"not a folder").unwrap();
    assert!(append_entry(&ledger, with_image(record(1), b"picture")).await.recorded);
    assert_eq!(ledger.reader().image(record(1).id, None).await.unwrap(), None);
    let stats = ledger.stats();
    assert_eq!((stats.written, stats.dropped_images, stats.dropped_rows), (1, 1, 0));
    assert!(stats.last_error.unwrap().starts_with("image not kept"));
}

#[tokio::test]
async fn what_was_answered_as_recorded_survives_a_kill() {
    let (dir, ledger) = open().await;
    let appends = (0..100).map(|n| append(&ledger, mixed(n)));
    assert!(join_all(appends).await.iter().all(|said| said.recorded));
    // what a killed process leaves: the file and its log, as they are while more is being written
    let under_way: Vec<_> = (100..150).map(|n| append(&ledger, mixed(n))).collect();
    let left = tempfile::tempdir().unwrap();
    for name in ["ledger.db", "ledger.db-wal"] {
        fs::copy(dir.path().join(name), left.path().join(name)).unwrap();
    }
    join_all(under_way).await;

    let again = Ledger::open(settings(left.path())).await.unwrap();
    assert_eq!(again.reader().check().await.unwrap().problems, Vec::<String>::new());
    let found = in_commit_order(again.reader()).await;
    let before = in_commit_order(ledger.reader()).await;
    assert_eq!(found.get(..100).unwrap(), before.get(..100).unwrap());
    let next = append(&again, record(1_000)).await.seq.unwrap();
    assert_eq!(usize::try_from(next), Ok(found.len() + 1));
}

#[tokio::test]
async fn a_second_process_is_told_that_the_file_is_in_use() {
    let (dir, ledger) = open().await;
    let second = Ledger::open(settings(dir.path())).await.unwrap_err();
    assert!(matches!(second, LedgerError::InUse { .. }));
    assert!(second.to_string().contains("is in use by another process"), "{second}");
    ledger.close(soon()).await.unwrap();
    assert!(Ledger::open(settings(dir.path())).await.is_ok());
}

#[tokio::test]
async fn a_reader_sees_the_records_beside_a_running_gate_and_after_it() {
    let (dir, ledger) = open().await;
    append(&ledger, record(1)).await;
    let beside = Reader::open(&settings(dir.path())).await.unwrap();
    assert_eq!(beside.check().await.unwrap().records, 1);
    drop(beside);
    ledger.close(soon()).await.unwrap();
    let after = Reader::open(&settings(dir.path())).await.unwrap();
    assert!(after.get(record(1).id).await.unwrap().is_some());
    let nowhere = tempfile::tempdir().unwrap();
    let nothing = Reader::open(&settings(nowhere.path())).await.unwrap_err();
    assert!(matches!(nothing, LedgerError::Open { .. }), "{nothing}");
}

#[tokio::test]
async fn closing_waits_for_holders_of_slots_and_empties_the_log() {
    let (dir, ledger) = open().await;
    let slot = ledger.reserve().unwrap();
    let late = async {
        tokio::task::yield_now().await;
        assert_eq!(ledger.reserve().unwrap_err(), NoSlot::Closed);
        let entry = Entry { record: record(1), keep: Vec::new(), mark: None };
        ledger.append(slot, entry, soon()).await
    };
    let (closed, said) = tokio::join!(ledger.close(soon()), late);
    closed.unwrap();
    assert!(said.recorded);
    assert!(!dir.path().join("ledger.db-wal").exists(), "the log is folded into the file");
    ledger.close(soon()).await.unwrap();
    let gone = ledger.reader().get(record(1).id).await.unwrap_err();
    assert!(matches!(gone, LedgerError::Closed), "{gone}");
}

#[tokio::test]
async fn a_slot_that_is_never_used_does_not_hold_a_close_past_its_deadline() {
    let (_dir, ledger) = open().await;
    let held = ledger.reserve().unwrap();
    let closed = ledger.close(Deadline::after(Duration::from_millis(20))).await;
    assert!(closed.is_err());
    drop(held);
}
