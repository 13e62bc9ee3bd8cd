//! What the writer survives: somebody else's lock, its own panic, a close that came too early.

use std::time::Duration;

use bytes::Bytes;
use vlmgate::clock::{Deadline, Timestamp};
use vlmgate::ledger::form::RecordForm;
use vlmgate::ledger::import::{Brought, Older};
use vlmgate::ledger::retention::Swept;
use vlmgate::ledger::{Entry, KeptImage, Ledger};

use crate::ledger::records::record;
use crate::ledger::{Stalled, append, append_entry, open, settings, settled, soon, stored};

/// Waits until a batch met the lock of another process.
async fn held(ledger: &Ledger) {
    while ledger.stats().held == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_lock_held_longer_than_the_busy_timeout_costs_no_record() {
    let (dir, ledger) = open().await;
    let stalled = Stalled::stall(dir.path()).await;
    let waiting = append(&ledger, record(1));
    held(&ledger).await;
    let behind = append(&ledger, record(2));
    let stats = ledger.stats();
    assert_eq!((stats.held, stats.pending, stats.dropped_rows), (1, 2, 0));
    assert!(stats.last_error.unwrap().contains("another process holds the file"));
    stalled.release().await;
    assert!(waiting.await.recorded && behind.await.recorded);
    assert_eq!(ledger.stats().dropped_rows, 0);
}

#[tokio::test]
async fn a_close_that_gave_up_on_a_held_file_does_not_take_the_record_along() {
    let (dir, ledger) = open().await;
    let stalled = Stalled::stall(dir.path()).await;
    drop(append(&ledger, record(1)));
    held(&ledger).await;
    let closed = ledger.close(Deadline::after(Duration::from_millis(20))).await;
    assert_eq!(closed.unwrap_err().pending, 1);
    stalled.release().await;
    settled(&ledger).await;
    ledger.close(soon()).await.unwrap();
    let again = Ledger::open(settings(dir.path())).await.unwrap();
    let found = again.reader().get(record(1).id).await.unwrap();
    assert_eq!(found, Some(stored(&record(1), Some(1))));
}

#[tokio::test]
async fn a_lock_of_a_moment_ended_a_sweep_and_with_it_an_import() {
    let (dir, ledger) = open().await;
    let stalled = Stalled::stall(dir.path()).await;
    let released = async {
        // longer than one try waits by itself
        tokio::time::sleep(Duration::from_millis(700)).await;
        stalled.release().await;
    };
    let (swept, ()) = tokio::join!(ledger.sweep(&[], Timestamp::now()), released);
    assert_eq!(swept.unwrap(), Swept::default());
}

#[tokio::test]
async fn an_import_that_failed_told_nothing_of_what_it_had_stored() {
    let (dir, ledger) = open().await;
    let brought = |n| Brought::from(RecordForm::from(&record(n)));
    let mut import = ledger.import(Older::Refused);
    import.bring(vec![brought(1), brought(2)], soon()).await.unwrap();
    let stalled = Stalled::stall(dir.path()).await;
    let late = Deadline::after(Duration::from_millis(50));
    import.bring(vec![brought(2), brought(3)], late).await.unwrap_err();
    let told = import.done();
    assert_eq!((told.stored, told.present), (2, 1));
    stalled.release().await;
    settled(&ledger).await;
    import.bring(vec![brought(3)], soon()).await.unwrap();
    assert_eq!(import.done().stored + import.done().present, 4, "once each");
}

/// A picture whose memory cannot be given back.
struct Panics;

impl AsRef<[u8]> for Panics {
    fn as_ref(&self) -> &[u8] {
        b"picture"
    }
}

impl Drop for Panics {
    fn drop(&mut self) {
        panic!("the memory broke");
    }
}

#[tokio::test]
async fn a_panic_in_one_batch_costs_that_batch_and_the_writer_goes_on() {
    let (_dir, ledger) = open().await;
    assert!(append(&ledger, record(1)).await.recorded);
    let keep = vec![KeptImage { view: "whole".to_owned(), bytes: Bytes::from_owner(Panics) }];
    let lost = append_entry(&ledger, Entry { record: record(2), keep, mark: None }).await;
    assert!(!lost.recorded);
    assert!(append(&ledger, record(3)).await.recorded);
    let stats = ledger.stats();
    assert_eq!((stats.written, stats.dropped_rows, stats.pending), (2, 1, 0));
    assert_eq!(stats.last_error.unwrap(), "the writer panicked: the memory broke");
    ledger.close(soon()).await.unwrap();
}
