//! What follows an early answer: a row of its own, read as one with its record.

use std::time::Duration;

use sqlx::Row;
use vlmgate::clock::Timestamp;
use vlmgate::domain::verdict::Scored;
use vlmgate::domain::{LateAttempt, MicroUsd, Record, Remainder, Tokens};
use vlmgate::ledger::Ledger;
use vlmgate::ledger::form::RecordForm;
use vlmgate::ledger::reader::Filter;

use crate::ledger::records::record;
use crate::ledger::{all, append, append_entry, keeping, open, settings, settled, soon, with_mark};

/// Record `n` as it is written when its answer left at its scores.
pub(crate) fn early(n: u32) -> Record {
    let mut record = record(n);
    record.complete = false;
    record.verdict.scores = ["cutout", "shadow"].map(scored).into();
    for attempt in &mut record.attempts {
        attempt.ended_ms = None;
        attempt.tokens = None;
    }
    record
}

fn scored(criterion: &str) -> Scored {
    let criterion = criterion.to_owned();
    Scored { criterion, score: Some(0.9), pass_at: 0.7, passed: Some(true), reason: None }
}

/// What came after it.
pub(crate) fn remainder(record: &Record) -> Remainder {
    let tokens = Tokens { input: 1_605, cached: 5, output: 58, image: None };
    let attempt = |at| LateAttempt {
        at,
        ended_ms: Some(1_200),
        tokens: Some(tokens),
        cost: MicroUsd(77),
        request_id: Some("req_9".to_owned()),
        detail: None,
    };
    let scores = record.verdict.scores.iter();
    Remainder {
        id: record.id,
        attempts: (0..record.attempts.len()).map(attempt).collect(),
        reasons: scores.map(|one| (one.criterion.clone(), "clean".to_owned())).collect(),
        flags: vec!["blind_late".to_owned()],
        complete: true,
    }
}

pub(crate) fn append_late(ledger: &Ledger, late: &Remainder) {
    ledger.append_late(ledger.reserve_late().expect("room"), late);
}

async fn one(ledger: &Ledger, record: &Record) -> RecordForm {
    ledger.reader().get(record.id).await.unwrap().expect("the record")
}

#[tokio::test]
async fn a_record_and_its_remainder_are_read_as_one_everywhere() {
    let (dir, ledger) = open().await;
    let record = early(1);
    assert!(!record.attempts.is_empty() && !record.verdict.scores.is_empty());
    append_entry(&ledger, with_mark(record.clone(), "key", "once")).await;
    let before = one(&ledger, &record).await;
    assert!(!before.complete && before.cost_micro_usd.is_none());
    append_late(&ledger, &remainder(&record));
    settled(&ledger).await;

    let whole = one(&ledger, &record).await;
    assert!(whole.complete);
    let bill = 77 * record.attempts.len() as u64;
    assert_eq!(whole.cost_micro_usd, Some(bill));
    assert_eq!(whole.attempts[0].input_tokens, Some(1_605));
    assert_eq!(whole.attempts[0].request_id.as_deref(), Some("req_9"));
    assert!(whole.scores.0.iter().all(|(_, one)| one.reason.as_deref() == Some("clean")));
    assert_eq!(
        (whole.verdict, whole.seq, &whole.failed),
        (before.verdict, before.seq, &before.failed)
    );
    let scores =
        |form: &RecordForm| form.scores.0.iter().map(|one| one.1.score).collect::<Vec<_>>();
    assert_eq!(scores(&whole), scores(&before));

    assert!(before.is_rated() && !whole.is_rated(), "a judge that was blind is in no rate");
    let flagged = Filter { flag: Some("blind_late".to_owned()), ..Filter::default() };
    assert_eq!(all(ledger.reader(), &flagged, 9).await, vec![whole.clone()]);
    assert_eq!(all(ledger.reader(), &Filter::default(), 9).await, vec![whole.clone()]);
    let now = Timestamp(record.at_us);
    let replay = ledger.reader().lookup("key", "once", now, soon()).await.unwrap().unwrap();
    assert_eq!(replay.record, whole);

    // sums over both tables' columns are the whole bill
    let mut conn = crate::ledger::raw(&dir).await;
    let sql =
        "SELECT (SELECT sum(cost_micro_usd) FROM record) + (SELECT sum(cost_micro_usd) FROM late)";
    let sum: i64 = sqlx::query(sql).fetch_one(&mut conn).await.unwrap().get(0);
    assert_eq!(u64::try_from(sum), Ok(bill));
}

#[tokio::test]
async fn a_remainder_survives_and_goes_with_its_record() {
    let (dir, ledger) = open().await;
    let record = early(1);
    append(&ledger, record.clone()).await;
    append_late(&ledger, &remainder(&record));
    append_late(&ledger, &Remainder { complete: false, ..remainder(&record) });
    ledger.close(soon()).await.unwrap();
    let ledger = Ledger::open(settings(dir.path())).await.unwrap();
    assert!(one(&ledger, &record).await.complete, "the first one stands");
    let later = Timestamp(record.at_us + 3_600_000_000);
    let kept = keeping(Duration::from_secs(1), Duration::from_secs(1));
    assert_eq!(ledger.sweep(&kept, later).await.unwrap().records, 1);
    let mut conn = crate::ledger::raw(&dir).await;
    let left: i64 =
        sqlx::query("SELECT count(*) FROM late").fetch_one(&mut conn).await.unwrap().get(0);
    assert_eq!(left, 0);
}

#[tokio::test]
async fn a_remainder_without_its_record_is_nothing_and_harms_nobody() {
    let (_dir, ledger) = open().await;
    append_late(&ledger, &remainder(&early(1)));
    assert!(append(&ledger, record(2)).await.recorded);
    settled(&ledger).await;
    assert_eq!(all(ledger.reader(), &Filter::default(), 9).await.len(), 1);
    let stats = ledger.stats();
    assert_eq!((stats.dropped_rows, stats.dropped_late, stats.written), (0, 1, 1));
}

#[tokio::test]
async fn records_come_first_when_room_is_short() {
    let dir = tempfile::tempdir().unwrap();
    let settings = vlmgate::ledger::Settings { max_pending: 4, ..settings(dir.path()) };
    let ledger = Ledger::open(settings).await.unwrap();
    let late = ledger.reserve_late();
    let held: Vec<_> = (0..2).map(|_| ledger.reserve().unwrap()).collect();
    assert!(late.is_some() && ledger.reserve_late().is_none());
    assert!(ledger.reserve().is_ok(), "the rest is for records");
    assert_eq!(ledger.stats().dropped_late, 1);
    drop((late, held));
    assert!(ledger.reserve_late().is_some(), "unused room is free again");
}
