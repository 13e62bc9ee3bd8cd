use std::collections::BTreeSet;

use sqlx::sqlite::SqliteConnection;

use super::*;
use crate::clock::Stopwatch;
use crate::ledger::form::tests::sample;
use crate::ledger::{Entry, Ledger, Sync};

const SETTERS: [fn(&mut Filter); 12] = [
    |one| one.policy = Some("product-photo".to_owned()),
    |one| one.verdict = Some(Decision::Fail),
    |one| one.basis = Some(Basis::Judge),
    |one| one.judge = Some("openai-mini".to_owned()),
    |one| one.team = Some("shoes".to_owned()),
    |one| one.since = Some(Timestamp(1)),
    |one| one.until = Some(Timestamp(2)),
    |one| one.flag = Some("halo".to_owned()),
    |one| one.route = Some(Route::Failover),
    |one| one.failed = Some("cutout".to_owned()),
    |one| one.external_id = Some("sku-1".to_owned()),
    |one| one.image = Some(Digest::of(b"image")),
];

pub(crate) fn settings(dir: &Path) -> Settings {
    Settings {
        path: dir.join("ledger.db"),
        images_dir: dir.join("images"),
        sync: Sync::Normal,
        max_pending: 1,
        append_wait: Duration::from_secs(30),
        readers: 1,
        max_file_bytes: None,
        spare_bytes: 0,
    }
}

async fn plan(
    conn: &mut SqliteConnection,
    filter: (&Filter, Lists),
    cursor: Option<Cursor>,
) -> Vec<String> {
    let mut query = select("EXPLAIN QUERY PLAN ", filter, cursor, 100);
    let rows = query.build().fetch_all(conn).await.unwrap();
    rows.iter().map(|row| row.get::<String, _>("detail")).collect()
}

#[tokio::test]
async fn no_filter_nor_any_mix_of_them_sorts_or_reads_the_whole_table() {
    let dir = tempfile::tempdir().unwrap();
    let options = sqlite::writer_options(&settings(dir.path()));
    let mut conn = sqlite::open(&options).await.unwrap();

    let cursor = Cursor { at: Timestamp(5), seq: 5 };
    let mut seen = BTreeSet::new();
    for mix in 0..1_u32 << SETTERS.len() {
        let mut filter = Filter::default();
        let chosen = SETTERS.iter().enumerate().filter(|(bit, _)| mix >> bit & 1 == 1);
        chosen.for_each(|(_, set)| set(&mut filter));
        for cursor in [None, Some(cursor)] {
            let steps = plan(&mut conn, (&filter, Lists::All), cursor).await;
            assert!(!steps.is_empty());
            for step in steps {
                assert!(!step.contains("TEMP B-TREE"), "{filter:?}: {step}");
                // without any filter, newest first is a walk along the index of moments
                let walk = step == "SCAN record USING INDEX record_at";
                let free = filter == Filter::default() && cursor.is_none();
                assert!(step.starts_with("SEARCH") || (walk && free), "{filter:?}: {step}");
                seen.insert(step);
            }
        }
    }
    let indexes = ["at", "policy", "verdict", "basis", "judge", "team", "external_id", "image"];
    for index in indexes {
        let used = seen.iter().any(|step| step.contains(&format!("INDEX record_{index} ")));
        assert!(used, "no list uses record_{index}: {seen:#?}");
    }
    for table in ["flag", "failed", "routed"] {
        let used = seen.iter().any(|step| step.contains(&format!("SEARCH {table} USING PRIMARY")));
        assert!(used, "no list is read in the order of {table}: {seen:#?}");
    }
}

#[tokio::test]
async fn while_older_records_are_being_listed_nothing_is_sorted_either() {
    let dir = tempfile::tempdir().unwrap();
    let options = sqlite::writer_options(&settings(dir.path()));
    let mut conn = sqlite::open(&options).await.unwrap();
    for (route, failed) in [(true, false), (false, true), (true, true)] {
        let filter = Filter {
            route: route.then_some(Route::Failover),
            failed: failed.then(|| "cutout".to_owned()),
            ..Filter::default()
        };
        for cursor in [None, Some(Cursor { at: Timestamp(5), seq: 5 })] {
            let steps = plan(&mut conn, (&filter, Lists::Some), cursor).await;
            let in_order = steps.iter().any(|step| step.contains("record USING INDEX record_at"));
            let sorts = steps.iter().any(|step| step.contains("TEMP B-TREE"));
            assert!(in_order && !sorts, "{filter:?}: {steps:?}");
        }
    }
}

#[test]
fn a_cursor_prints_and_parses() {
    let cursor = Cursor { at: Timestamp(-5), seq: i64::MAX };
    assert_eq!(cursor.to_string().parse(), Ok(cursor));
}

#[test]
fn a_text_that_is_no_cursor_is_refused() {
    for text in ["", "AAAA", "not base64!", &"A".repeat(24)] {
        assert_eq!(text.parse::<Cursor>(), Err(BadCursor(text.to_owned())), "{text}");
    }
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(30))
}

#[tokio::test]
async fn a_stuck_reader_does_not_eat_the_time_of_a_record_still_to_be_written() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(settings(dir.path())).await.unwrap();
    let stuck = ledger.reader().pool.acquire().await.unwrap();
    let slot = ledger.reserve().unwrap();
    let late = async {
        Deadline::after(Duration::from_millis(20)).passed().await;
        let entry = Entry { record: sample(), keep: Vec::new(), mark: None };
        ledger.append(slot, entry, soon()).await
    };
    let (closed, said) = tokio::join!(ledger.close(soon()), late);
    assert!(said.recorded);
    closed.unwrap();
    drop(stuck);
    let again = Ledger::open(settings(dir.path())).await.unwrap();
    assert!(again.reader().get(sample().id).await.unwrap().is_some());
}

#[tokio::test]
async fn lists_that_hold_every_connection_do_not_delay_a_lookup() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(settings(dir.path())).await.unwrap();
    let _listing = ledger.reader().pool.acquire().await.unwrap();
    let found = ledger.reader().lookup("ci", "once", Timestamp(0), soon()).await;
    assert_eq!(found.unwrap(), None);
}

#[tokio::test]
async fn a_lookup_that_cannot_be_answered_ends_at_its_deadline() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(settings(dir.path())).await.unwrap();
    let lookups = &ledger.reader().lookups;
    let _held = [lookups.acquire().await.unwrap(), lookups.acquire().await.unwrap()];
    let watch = Stopwatch::start();
    let deadline = Deadline::after(Duration::from_millis(30));
    let late = ledger.reader().lookup("ci", "once", Timestamp(0), deadline).await;
    assert!(matches!(late, Err(LedgerError::Late)), "{late:?}");
    assert!(watch.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn reading_that_finds_no_free_connection_ends_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(settings(dir.path())).await.unwrap();
    let _held = ledger.reader().pool.acquire().await.unwrap();
    tokio::time::pause(); // nothing but timers is waited for from here
    let reader = ledger.reader();
    let list = reader.list(&Filter::default(), None, 1).await.unwrap_err();
    let get = reader.get(sample().id).await.unwrap_err();
    let image = reader.image(sample().id, None).await.unwrap_err();
    for late in [list, get, image] {
        assert!(matches!(late, LedgerError::Late), "{late}");
    }
}
