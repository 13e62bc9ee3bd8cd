//! When a record counts, and how long its sums are kept.

use std::time::Duration;

use vlmgate::clock::Timestamp;
use vlmgate::ledger::Ledger;
use vlmgate::ledger::figures::{Scope, VerdictSum};
use vlmgate::ledger::follow::Settings as Follow;
use vlmgate::ledger::form::RecordForm;
use vlmgate::ledger::import::{Brought, BroughtRecord, Counts, Older};

use crate::ledger::late::{append_late, early, remainder};
use crate::ledger::records::{START_US, record};
use crate::ledger::{append, keeping, open, settings, settled, soon};

const DAY: Duration = Duration::from_hours(24);

/// Counts everything that counts by now.
async fn count(ledger: &Ledger, folder: &tempfile::TempDir) {
    let follow = Follow::usual(folder.path().join("drift.json"));
    ledger.follow(follow).unwrap().finish(soon()).await.unwrap();
}

/// The sums of the first hours, read by the minute or by the hour.
async fn sums(ledger: &Ledger, bucket_s: i64) -> Vec<VerdictSum> {
    let since_s = START_US / 1_000_000 / 3_600 * 3_600;
    let scope = Scope { policy: None, since_s, until_s: since_s + 2 * 3_600, bucket_s };
    ledger.reader().verdict_sums(&scope).await.unwrap()
}

fn n(sums: &[VerdictSum]) -> (u64, u64) {
    (sums.iter().map(|one| one.n).sum(), sums.iter().map(|one| one.rated).sum())
}

/// The moment `ago` after the first record.
fn later(ago: Duration) -> Timestamp {
    Timestamp(START_US + i64::try_from(ago.as_micros()).unwrap())
}

#[tokio::test]
async fn an_early_answer_counts_once_its_rest_came_and_not_in_rates_if_nobody_saw_the_image() {
    let (folder, ledger) = open().await;
    let first = early(1);
    append(&ledger, first.clone()).await;
    count(&ledger, &folder).await;
    assert_eq!(n(&sums(&ledger, 60).await), (0, 0), "its rest may still say that it was blind");
    append(&ledger, record(2)).await;
    append_late(&ledger, &remainder(&first));
    settled(&ledger).await;
    count(&ledger, &folder).await;
    assert_eq!(n(&sums(&ledger, 60).await), (2, 1), "the rest says `blind_late`");
    assert_eq!(n(&sums(&ledger, 3_600).await), (2, 1));
}

#[tokio::test]
async fn an_early_answer_whose_rest_never_comes_counts_without_it_and_only_once() {
    let (folder, ledger) = open().await;
    let first = early(1);
    append(&ledger, first.clone()).await;
    let kept = keeping(90 * DAY, DAY);
    ledger.sweep(&kept, later(Duration::from_secs(30))).await.unwrap();
    count(&ledger, &folder).await;
    assert_eq!(n(&sums(&ledger, 60).await), (0, 0));
    ledger.sweep(&kept, later(Duration::from_secs(90))).await.unwrap();
    count(&ledger, &folder).await;
    assert_eq!(n(&sums(&ledger, 60).await), (1, 1));
    append_late(&ledger, &remainder(&first));
    settled(&ledger).await;
    count(&ledger, &folder).await;
    assert_eq!(n(&sums(&ledger, 60).await), (1, 1), "what came too late counts nothing twice");
}

#[tokio::test]
async fn an_early_answer_whose_gate_was_killed_counts_at_the_next_start() {
    let (folder, ledger) = open().await;
    append(&ledger, early(1)).await;
    count(&ledger, &folder).await;
    assert_eq!(n(&sums(&ledger, 60).await), (0, 0));
    ledger.close(soon()).await.unwrap();
    let ledger = Ledger::open(settings(folder.path())).await.unwrap();
    count(&ledger, &folder).await;
    assert_eq!(n(&sums(&ledger, 60).await), (1, 1), "nobody is left who could bring its rest");
}

#[tokio::test]
async fn minutes_go_after_a_month_and_hours_with_the_records() {
    let (folder, ledger) = open().await;
    for one in (0..400).map(record) {
        append(&ledger, one).await;
    }
    count(&ledger, &folder).await;
    let kept = keeping(90 * DAY, DAY);
    let swept = async |at: Duration| {
        ledger.sweep(&kept, later(at)).await.unwrap();
        (n(&sums(&ledger, 60).await).0, n(&sums(&ledger, 3_600).await).0)
    };
    assert_eq!(swept(31 * DAY).await, (400, 400));
    assert_eq!(swept(33 * DAY).await, (0, 400));
    assert_eq!(swept(91 * DAY).await, (0, 0));
}

/// A record that is brought and counts behind what comes next.
fn waiting(n: u32) -> Brought {
    let form = RecordForm::from(&record(n));
    Brought::Record(Box::new(BroughtRecord { form, is_watched: true, counts: Counts::Later }))
}

#[tokio::test]
async fn an_import_that_was_killed_before_the_place_of_a_record_had_come_goes_on_there() {
    let (folder, ledger) = open().await;
    let mut import = ledger.import(Older::Refused);
    import.bring(vec![waiting(1), waiting(2)], soon()).await.unwrap();
    ledger.close(soon()).await.unwrap();
    // the next import leaves them where they were
    let ledger = Ledger::open_to_import(settings(folder.path())).await.unwrap();
    count(&ledger, &folder).await;
    assert_eq!(n(&sums(&ledger, 60).await), (0, 0));
    let mut import = ledger.import(Older::Refused);
    let place = Brought::Counts(record(1).id);
    import.bring(vec![waiting(1), place.clone(), place], soon()).await.unwrap();
    assert_eq!((import.done().stored, import.done().present), (0, 1));
    count(&ledger, &folder).await;
    assert_eq!(n(&sums(&ledger, 60).await), (1, 1), "once");
    ledger.close(soon()).await.unwrap();
    // nobody goes on with it: a gate lets it count
    let ledger = Ledger::open(settings(folder.path())).await.unwrap();
    count(&ledger, &folder).await;
    assert_eq!(n(&sums(&ledger, 60).await), (2, 2));
}
