//! What is kept beside a record, and for how long.

use std::fs;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use vlmgate::clock::Timestamp;
use vlmgate::domain::{Digest, Record};
use vlmgate::ledger::marks::{BREAKER, DRIFT, Mark, MarkFilter, REVISION};
use vlmgate::ledger::reader::Filter;
use vlmgate::ledger::retention::{Keeping, Swept};
use vlmgate::ledger::{KeptImage, Ledger, Settings};

use crate::ledger::records::{START_US, mixed, record};
use crate::ledger::{
    all, append, append_entry, files_in, keeping, open, raw, settings, soon, stored, with_image,
    with_mark,
};

const HOUR: Duration = Duration::from_hours(1);

#[tokio::test]
async fn pictures_are_found_by_view_and_the_same_one_is_one_file() {
    let (dir, ledger) = open().await;
    let mut entry = with_image(record(1), b"whole picture");
    entry.keep.push(KeptImage { view: "edge".to_owned(), bytes: Bytes::from_static(b"edge") });
    assert!(append_entry(&ledger, entry).await.recorded);
    assert!(append_entry(&ledger, with_image(record(2), b"whole picture")).await.recorded);
    assert_eq!(files_in(&dir.path().join("images")), 2);

    let (one, two) = (record(1).id, record(2).id);
    let image = async |id, view| ledger.reader().image(id, view).await.unwrap();
    let whole = Some(("image/jpeg", Bytes::from_static(b"whole picture")));
    assert_eq!(image(one, None).await, whole);
    assert_eq!(image(one, Some("edge")).await, Some(("image/jpeg", Bytes::from_static(b"edge"))));
    assert_eq!(image(two, Some("whole")).await, whole);
    assert_eq!(image(two, Some("edge")).await, None);
    assert_eq!(image(record(3).id, None).await, None);
}

#[tokio::test]
async fn retention_takes_pictures_first_then_records_and_leaves_other_policies() {
    let (dir, ledger) = open().await;
    let hours = |n: u32| Record { at_us: START_US + i64::from(n) * 3_600_000_000, ..record(n) };
    let mut other = hours(0);
    other.id = record(99).id;
    other.policy.name = "banner".to_owned();
    append_entry(&ledger, with_image(other, b"shared")).await;
    append_entry(&ledger, with_image(hours(0), b"shared")).await;
    append_entry(&ledger, with_image(hours(1), b"own")).await;
    append_entry(&ledger, with_mark(hours(2), "key", "once")).await;

    let now = Timestamp(hours(3).at_us);
    let swept = ledger.sweep(&keeping(100 * HOUR, HOUR), now).await.unwrap();
    assert_eq!(swept, Swept { records: 0, images: 2, files: 1, marks: 0, keys: 0 });
    assert_eq!(files_in(&dir.path().join("images")), 1, "one picture is still another record's");
    assert_eq!(ledger.reader().image(hours(1).id, None).await.unwrap(), None);
    assert!(ledger.reader().image(record(99).id, None).await.unwrap().is_some());

    let swept = ledger.sweep(&keeping(HOUR + HOUR / 2, HOUR), now).await.unwrap();
    assert_eq!(swept, Swept { records: 2, images: 0, files: 0, marks: 0, keys: 0 });
    let left = all(ledger.reader(), &Filter::default(), 9).await;
    let left: Vec<_> = left.iter().map(|one| one.id).collect();
    assert_eq!(left, [hours(2).id, record(99).id]);

    let now = Timestamp(hours(3 + 24).at_us);
    let swept = ledger.sweep(&[], now).await.unwrap();
    assert_eq!(swept, Swept { records: 0, images: 0, files: 0, marks: 0, keys: 1 });
}

#[tokio::test]
async fn marks_go_as_their_policy_s_records_do_and_revisions_and_what_lasts_stay() {
    let (_dir, ledger) = open().await;
    let at = |hours: i64| Timestamp(START_US + hours * 3_600_000_000);
    let marked = async |kind: &str, policy: Option<&str>, from: i64, until: Option<i64>| {
        let mark = Mark {
            id: 0,
            kind: kind.to_owned(),
            at: at(from),
            until: until.map(at),
            policy: policy.map(str::to_owned),
            judge: None,
            form: "{}".to_owned(),
        };
        ledger.mark(mark).await.unwrap()
    };
    let shop = Some("product-photo");
    let old_drift = marked(DRIFT, shop, 0, None).await;
    let new_drift = marked(DRIFT, shop, 9, None).await;
    let others = marked(DRIFT, Some("banner"), 0, None).await;
    let revision = marked(REVISION, shop, 0, None).await;
    let over = marked(BREAKER, None, 0, Some(1)).await;
    let just_over = marked(BREAKER, None, 0, Some(9)).await;
    let lasting = marked(BREAKER, None, 0, None).await;
    let left = async || {
        let all = ledger.reader().marks(&MarkFilter::default()).await.unwrap();
        let mut ids: Vec<_> = all.iter().map(|one| one.id).collect();
        ids.sort_unstable();
        ids
    };
    let everything = [old_drift, new_drift, others, revision, over, just_over, lasting];
    assert_eq!(ledger.sweep(&[], at(10)).await.unwrap().marks, 0);
    assert_eq!(left().await, everything);
    assert_eq!(ledger.sweep(&keeping(2 * HOUR, HOUR), at(10)).await.unwrap().marks, 2);
    assert_eq!(left().await, [new_drift, others, revision, just_over, lasting]);
}

#[tokio::test]
async fn retention_of_many_records_goes_in_steps_and_leaves_nothing_behind() {
    let (dir, ledger) = open().await;
    join_all((0..450).map(|n| append(&ledger, mixed(n)))).await;
    let now = Timestamp(START_US + 24 * 3_600_000_000);
    let both = ["product-photo", "banner"].map(|policy| Keeping {
        policy: policy.to_owned(),
        verdicts_for: HOUR,
        images_for: HOUR,
    });
    let swept = ledger.sweep(&both, now).await.unwrap();
    assert_eq!(swept.records, 450);
    assert_eq!(ledger.reader().check().await.unwrap().records, 0);
    let flagged = Filter { flag: Some("halo".to_owned()), ..Filter::default() };
    assert!(all(ledger.reader(), &flagged, 9).await.is_empty());
    let places = "SELECT (SELECT count(*) FROM routed) + (SELECT count(*) FROM failed)";
    let places: i64 = sqlx::query_scalar(places).fetch_one(&mut raw(&dir).await).await.unwrap();
    assert_eq!(places, 0, "their places in lists went with them");
    assert_eq!(append(&ledger, record(1_000)).await.seq, Some(451), "no seq is used twice");
}

#[tokio::test]
async fn a_repeated_key_finds_its_record_for_a_day_also_after_a_restart() {
    let (dir, ledger) = open().await;
    append_entry(&ledger, with_mark(record(1), "ci", "once")).await;
    append_entry(&ledger, with_mark(record(2), "ci", "once")).await;
    ledger.close(soon()).await.unwrap();
    let ledger = Ledger::open(settings(dir.path())).await.unwrap();

    let at = |hours: i64| Timestamp(record(1).at_us + hours * 3_600_000_000);
    let reader = ledger.reader();
    let lookup = async |scope, key, now| reader.lookup(scope, key, now, soon()).await.unwrap();
    let replay = lookup("ci", "once", at(23)).await.unwrap();
    assert_eq!(replay.record, stored(&record(1), Some(1)), "the first one answers");
    assert_eq!(replay.request, Digest::of(b"r-1"), "of its own request alone");
    assert_eq!(lookup("ci", "once", at(25)).await, None);
    assert_eq!(lookup("other key", "once", at(1)).await, None);
    assert_eq!(lookup("ci", "twice", at(1)).await, None);

    let day_later = Record { at_us: at(25).0, ..record(3) };
    append_entry(&ledger, with_mark(day_later, "ci", "once")).await;
    let replay = lookup("ci", "once", at(26)).await.unwrap();
    assert_eq!(replay.record.id, record(3).id, "a key that ran out is free again");
}

#[tokio::test]
async fn without_its_spare_room_the_ledger_keeps_records_alone() {
    let dir = tempfile::tempdir().unwrap();
    // a folder where the spare should be: it can never be held, as on a full disk
    fs::create_dir_all(dir.path().join("ledger.db.spare")).unwrap();
    let settings = Settings { spare_bytes: 1_000, ..settings(dir.path()) };
    let ledger = Ledger::open(settings).await.unwrap();
    assert!(append_entry(&ledger, with_image(record(1), b"picture")).await.recorded);
    assert_eq!(ledger.reader().image(record(1).id, None).await.unwrap(), None);
    let stats = ledger.stats();
    assert_eq!((stats.written, stats.dropped_images, stats.dropped_rows), (1, 1, 0));

    fs::remove_dir(dir.path().join("ledger.db.spare")).unwrap();
    join_all((2..40).map(|n| append(&ledger, record(n)))).await;
    assert!(append_entry(&ledger, with_image(record(40), b"picture")).await.recorded);
    let image = ledger.reader().image(record(40).id, None).await.unwrap();
    assert!(image.is_some(), "with room again pictures are kept again");
}
