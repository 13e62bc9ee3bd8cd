//! A store of an older program answers at once, while its records are still being listed.

use std::pin::pin;
use std::time::Duration;

use futures_util::future::join_all;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Connection};
use tempfile::TempDir;
use vlmgate::domain::Route;
use vlmgate::ledger::Ledger;
use vlmgate::ledger::reader::Filter;

use crate::ledger::reading::means;
use crate::ledger::records::mixed;
use crate::ledger::{all, append, keeping, open, raw, settings, soon};

const RECORDS: u32 = 900;

async fn run(conn: &mut SqliteConnection, sql: &'static str) {
    sqlx::query(sql).execute(conn).await.unwrap();
}

async fn number(conn: &mut SqliteConnection, sql: &str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(conn).await.unwrap()
}

/// Takes back what tells records of another store from one's own.
const WITHOUT_BROUGHT: [&str; 2] =
    ["DROP TABLE brought", "ALTER TABLE awaited DROP COLUMN brought"];

/// Makes a store of this program one of a program without lists by route and criterion.
async fn make_older(dir: &TempDir) {
    let mut conn = raw(dir).await;
    for table in ["DROP TABLE routed", "DROP TABLE failed", "DROP TABLE listed"] {
        run(&mut conn, table).await;
    }
    for undone in WITHOUT_BROUGHT {
        run(&mut conn, undone).await;
    }
    run(&mut conn, "DROP TABLE unwatched").await;
    run(&mut conn, "DROP TABLE purse").await;
    run(&mut conn, "DELETE FROM _sqlx_migrations WHERE version >= 5").await;
    conn.close().await.unwrap();
}

async fn of_an_older_program() -> TempDir {
    let (dir, ledger) = open().await;
    join_all((0..RECORDS).map(|n| append(&ledger, mixed(n)))).await;
    ledger.close(soon()).await.unwrap();
    make_older(&dir).await;
    dir
}

/// Lists that rest on what is listed, against the records themselves.
async fn check_lists(ledger: &Ledger) {
    let reader = ledger.reader();
    let everything = all(reader, &Filter::default(), 500).await;
    let routes = [None, Some(Route::Primary), Some(Route::Failover)];
    for route in routes {
        for failed in [None, Some("edges".to_owned())] {
            for flag in [None, Some("soft".to_owned())] {
                let policy = flag.is_none().then(|| "banner".to_owned());
                let filter =
                    Filter { route, failed: failed.clone(), flag, policy, ..Filter::default() };
                let found = all(reader, &filter, 70).await;
                let wanted: Vec<_> =
                    everything.iter().filter(|one| means(&filter, one)).cloned().collect();
                assert!(!wanted.is_empty(), "nothing to find: {filter:?}");
                assert!(found == wanted, "{filter:?}: {} of {}", found.len(), wanted.len());
            }
        }
    }
}

const NOT_ROUTED: &str = "SELECT count(*) FROM record WHERE route IS NOT NULL AND NOT EXISTS \
    (SELECT 1 FROM routed WHERE routed.seq = record.seq AND routed.route = record.route \
    AND routed.at_us = record.at_us)";
const TOO_MANY: &str = "SELECT (SELECT count(*) FROM routed) \
    - (SELECT count(*) FROM record WHERE route IS NOT NULL)";
const NOT_FAILED: &str = "SELECT count(*) FROM record, json_each(record.form, '$.failed') AS one \
    WHERE NOT EXISTS (SELECT 1 FROM failed WHERE failed.seq = record.seq \
    AND failed.criterion = one.value AND failed.at_us = record.at_us)";

#[tokio::test(flavor = "multi_thread")]
async fn the_first_start_over_an_older_store_waited_until_every_record_was_listed() {
    let dir = of_an_older_program().await;
    let ledger = Ledger::open(settings(dir.path())).await.unwrap();
    let mut conn = raw(&dir).await;
    let from = number(&mut conn, "SELECT from_seq FROM listed").await;
    assert_eq!(from, i64::from(RECORDS) + 1, "the start listed nothing");
    check_lists(&ledger).await;
    // what comes now is listed at once, and found between those that are not yet
    assert!(append(&ledger, mixed(RECORDS)).await.recorded);
    check_lists(&ledger).await;
    // killed again and again in the middle of it
    let mut ledger = ledger;
    let mut left = from;
    while left != 0 {
        {
            let mut listing = pin!(ledger.list_older());
            while number(&mut conn, "SELECT from_seq FROM listed").await == left {
                let step = tokio::time::sleep(Duration::from_millis(1));
                tokio::select! {
                    biased;
                    listed = &mut listing => assert!(listed.unwrap() != 0),
                    () = step => {}
                }
            }
        }
        check_lists(&ledger).await;
        ledger.close(soon()).await.unwrap();
        ledger = Ledger::open(settings(dir.path())).await.unwrap();
        left = number(&mut conn, "SELECT from_seq FROM listed").await;
    }
    check_lists(&ledger).await;
    assert_eq!(ledger.list_older().await.unwrap(), 0, "all of it is done");
    for wrong in [NOT_ROUTED, TOO_MANY, NOT_FAILED] {
        assert_eq!(number(&mut conn, wrong).await, 0, "{wrong}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_go_before_they_are_listed_leave_no_place_behind() {
    let dir = of_an_older_program().await;
    let ledger = Ledger::open(settings(dir.path())).await.unwrap();
    let later = mixed(RECORDS + 100_000).at_us;
    let kept = keeping(Duration::from_secs(1), Duration::from_secs(1));
    let (swept, listed) =
        tokio::join!(ledger.sweep(&kept, vlmgate::clock::Timestamp(later)), ledger.list_older());
    assert!(swept.unwrap().records != 0);
    assert!(listed.unwrap() != 0);
    let mut conn = raw(&dir).await;
    // a step may have read what retention took before it was written, and is told by the store itself
    for wrong in [NOT_ROUTED, TOO_MANY, NOT_FAILED] {
        assert_eq!(number(&mut conn, wrong).await, 0, "{wrong}");
    }
    assert!(number(&mut conn, "SELECT count(*) FROM record").await != 0, "others stay");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_built_the_index_at_a_start_is_taken_over_and_needs_it_no_longer() {
    let dir = of_an_older_program().await;
    Ledger::open(settings(dir.path())).await.unwrap().close(soon()).await.unwrap();
    let mut conn = raw(&dir).await;
    // as the program before this one left it
    for sql in WITHOUT_BROUGHT {
        run(&mut conn, sql).await;
    }
    for sql in [
        "CREATE INDEX record_route ON record (route, at_us) WHERE route IS NOT NULL",
        "INSERT OR IGNORE INTO failed SELECT value, record.at_us, record.seq \
         FROM record, json_each(record.form, '$.failed') WHERE record.verdict <> 'pass'",
        "DROP TABLE routed",
        "DROP TABLE listed",
        "DROP TABLE unwatched",
        "DROP TABLE purse",
        "DELETE FROM _sqlx_migrations WHERE version > 5",
        "UPDATE _sqlx_migrations SET checksum = \
         x'c3627f7459631efb1aeb1091d35210360f65b6dbf2e3930711024756de836480\
17010aa2a52ac58400ecf5828078e440' WHERE version = 5",
    ] {
        run(&mut conn, sql).await;
    }
    let ledger = Ledger::open(settings(dir.path())).await.unwrap();
    let index = "SELECT count(*) FROM sqlite_schema WHERE name = 'record_route'";
    assert_eq!(number(&mut conn, index).await, 0);
    check_lists(&ledger).await;
    assert!(ledger.list_older().await.unwrap() != 0);
    check_lists(&ledger).await;
    for wrong in [NOT_ROUTED, TOO_MANY, NOT_FAILED] {
        assert_eq!(number(&mut conn, wrong).await, 0, "{wrong}");
    }
    // a file that nobody wrote so is still refused
    run(&mut conn, "UPDATE _sqlx_migrations SET checksum = x'00' WHERE version = 5").await;
    ledger.close(soon()).await.unwrap();
    let refused = Ledger::open(settings(dir.path())).await.unwrap_err();
    assert!(refused.to_string().contains("migration 5"), "{refused}");
}
