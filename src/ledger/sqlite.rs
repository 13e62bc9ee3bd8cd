//! The SQLite side of the writer: one connection, and the statements that append and delete.
//!
//! Write-ahead log, so that readers never wait for the writer and a commit is one append to a file:
//! with `synchronous=NORMAL` it survives the death of the process, with `FULL` a power loss. The
//! log is folded into the file by us, never inside a commit.

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{
    SqliteAutoVacuum, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row as _};
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::domain::{Decision, Digest, MicroUsd, Route};
use crate::ledger::awaiting::{self, For, Opener};
use crate::ledger::form::RecordForm;
use crate::ledger::import::BroughtRecord;
use crate::ledger::marks;
use crate::ledger::migrations;
use crate::ledger::rollup;
use crate::ledger::shadows::{self, Behind};
use crate::ledger::{IDEMPOTENCY_KEPT, IdempotencyMark, Settings, Sync};

/// How long opening and reading wait for somebody else's lock: only a person's own SQLite shell
/// holds one.
const BUSY: Duration = Duration::from_secs(5);

/// How long the writer's tries and lookups of keys wait for such a lock: the writer tries again,
/// and a lookup has a deadline.
const BUSY_BRIEF: Duration = Duration::from_millis(250);

/// The log is cut back to this after it was folded in.
const LOG_KEPT_BYTES: u32 = 64 << 20;

const PAGE_BYTES: u64 = 4096;

/// What is told of a remainder whose record is not there; no record ever has it.
pub(crate) const NO_RECORD: i64 = 0;

const INSERT_RECORD: &str = "INSERT INTO record (id, at_us, policy, revision, verdict, would_be, \
    first_verdict, basis, judge, provider, model, route, team, external_id, image_digest, pre, \
    propensity, judged_by, client_gone, total_ms, cost_micro_usd, form) VALUES (?1, ?2, ?3, ?4, \
    ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22)";

/// Taken from the stored form itself, so that the two cannot disagree.
const INSERT_ATTEMPTS: &str = "INSERT INTO attempt SELECT ?1, key, value ->> 'judge', \
    value ->> 'provider', value ->> 'model', value ->> 'route', value ->> 'outcome', \
    value ->> 'said', CAST(value ->> 'started_ms' AS INTEGER), \
    CAST(value ->> 'took_ms' AS INTEGER), CAST(value ->> 'input_tokens' AS INTEGER), \
    CAST(value ->> 'output_tokens' AS INTEGER), \
    COALESCE(CAST(value ->> 'cost_micro_usd' AS INTEGER), 0) \
    FROM json_each(?2, '$.attempts')";

const INSERT_FLAGS: &str =
    "INSERT OR IGNORE INTO flag SELECT value, ?2, ?1 FROM json_each(?3, '$.flags')";

const INSERT_FAILED: &str =
    "INSERT OR IGNORE INTO failed SELECT value, ?2, ?1 FROM json_each(?3, '$.failed')";

/// A record that was lost, or is too old, has no remainder either. The first one stands.
const INSERT_LATE: &str = "INSERT INTO late (seq, cost_micro_usd, form) \
    SELECT seq, ?2, ?3 FROM record WHERE id = ?1 ON CONFLICT (seq) DO NOTHING RETURNING seq";

const INSERT_LATE_FLAGS: &str = "INSERT OR IGNORE INTO flag \
    SELECT value, record.at_us, record.seq FROM json_each(?2, '$.flags') \
    JOIN record ON record.seq = ?1";

const INSERT_ROUTED: &str = "INSERT INTO routed (route, at_us, seq) VALUES (?1, ?2, ?3)";

const INSERT_IMAGE: &str = "INSERT INTO image (seq, idx, view, digest, size_bytes, policy, at_us) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";

/// The first record under a key answers for it until the key runs out.
const INSERT_MARK: &str = "INSERT INTO idempotency (scope, key, request_digest, seq, at_us) \
    VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (scope, key) DO UPDATE SET \
    request_digest = excluded.request_digest, seq = excluded.seq, at_us = excluded.at_us \
    WHERE idempotency.at_us < ?6";

const DELETE_OLD_IMAGES: &str = "DELETE FROM image WHERE (seq, idx) IN (SELECT seq, idx FROM image \
    WHERE policy = ?1 AND at_us < ?2 ORDER BY at_us LIMIT ?3) RETURNING digest";

const DELETE_IMAGES_OF_OLD_RECORDS: &str = "DELETE FROM image WHERE seq IN (SELECT seq FROM record \
    WHERE policy = ?1 AND at_us < ?2 ORDER BY at_us, seq LIMIT ?3) RETURNING digest";

/// Before the records: nothing else says where they are.
const DELETE_ROUTED_OF_OLD_RECORDS: &str = "DELETE FROM routed WHERE (route, at_us, seq) IN \
    (SELECT route, at_us, seq FROM record WHERE policy = ?1 AND at_us < ?2 \
    ORDER BY at_us, seq LIMIT ?3)";

const DELETE_OLD_RECORDS: &str = "DELETE FROM record WHERE seq IN (SELECT seq FROM record \
    WHERE policy = ?1 AND at_us < ?2 ORDER BY at_us, seq LIMIT ?3)";

const DELETE_OLD_MARKS: &str = "DELETE FROM idempotency WHERE (scope, key) IN (SELECT scope, key \
    FROM idempotency WHERE at_us < ?1 LIMIT ?2)";

const UNREFERENCED: &str = "SELECT DISTINCT value FROM json_each(?1) \
    WHERE NOT EXISTS (SELECT 1 FROM image WHERE image.digest = value)";

/// Pages given back to the file system at a time: more than one step of retention frees.
const GIVE_BACK: &str = "PRAGMA incremental_vacuum(1024)";

/// A picture whose file is in its place.
#[derive(Clone, Debug)]
pub(crate) struct KeptPicture {
    pub(crate) view: String,
    pub(crate) digest: Digest,
    pub(crate) size_bytes: usize,
    /// Whether the file was made for this row, or was there.
    pub(crate) made: bool,
}

/// One record, or what came after or was said behind one, as it goes into the file.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) content: Content,
    /// The form; empty of what was said behind a verdict.
    pub(crate) json: String,
    pub(crate) mark: Option<IdempotencyMark>,
    pub(crate) pictures: Vec<KeptPicture>,
}

/// What a row holds.
#[derive(Debug)]
pub(crate) enum Content {
    /// A record.
    Record(Box<RecordForm>),
    /// A record that comes from another store.
    Brought(Box<BroughtRecord>),
    /// The place has come of a record that was brought before.
    Counts { id: Uuid },
    /// The remainder of the record with this id, and what it adds to the bill.
    Late { id: Uuid, cost: MicroUsd },
    /// What was said behind a verdict, and was kept elsewhere.
    Behind(Box<Behind>),
}

/// What one step of retention is after.
#[derive(Clone, Debug)]
pub(crate) enum Aged {
    Images {
        policy: String,
        before: Timestamp,
    },
    Records {
        policy: String,
        before: Timestamp,
    },
    Marks {
        before: Timestamp,
    },
    /// The rest of early answers, which is not waited for any longer: nothing is lost by it.
    Awaited {
        before: Timestamp,
    },
    /// Marks that ended.
    Happened {
        policy: Option<String>,
        before: Timestamp,
    },
    /// Sums by so many seconds.
    Rollups {
        policy: String,
        step_s: i64,
        before: Timestamp,
    },
}

/// What one step of retention deleted.
#[derive(Debug, Default)]
pub(crate) struct Deleted {
    /// Rows of the kind that was asked for.
    pub(crate) rows: u64,
    /// Image rows among or below them.
    pub(crate) images: u64,
    /// Pictures that no row speaks of any more, 64 hex digits each.
    pub(crate) files: Vec<String>,
}

/// How the writer opens the file.
pub(crate) fn writer_options(settings: &Settings) -> SqliteConnectOptions {
    let synchronous = match settings.sync {
        Sync::Normal => SqliteSynchronous::Normal,
        Sync::Full => SqliteSynchronous::Full,
    };
    let options = options(&settings.path)
        .busy_timeout(BUSY_BRIEF)
        .create_if_missing(true)
        .auto_vacuum(SqliteAutoVacuum::Incremental)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(synchronous)
        .pragma("journal_size_limit", LOG_KEPT_BYTES.to_string())
        .pragma("wal_autocheckpoint", "0");
    match settings.max_file_bytes {
        Some(bytes) => options.pragma("max_page_count", (bytes / PAGE_BYTES).max(1).to_string()),
        None => options,
    }
}

/// How readers open the file.
pub(crate) fn reader_options(path: &Path) -> SqliteConnectOptions {
    options(path).read_only(true)
}

/// How lookups of keys open the file.
pub(crate) fn lookup_options(path: &Path) -> SqliteConnectOptions {
    reader_options(path).busy_timeout(BUSY_BRIEF)
}

fn options(path: &Path) -> SqliteConnectOptions {
    let options = SqliteConnectOptions::new().filename(path).busy_timeout(BUSY);
    options.disable_statement_logging()
}

/// Opens the file and brings its tables to this program's.
pub(crate) async fn open(options: &SqliteConnectOptions) -> Result<SqliteConnection, sqlx::Error> {
    let mut conn = options.clone().busy_timeout(BUSY).connect().await?;
    migrations::run(&mut conn).await?;
    let busy = format!("PRAGMA busy_timeout = {}", BUSY_BRIEF.as_millis());
    sqlx::query(AssertSqlSafe(busy)).execute(&mut conn).await?;
    Ok(conn)
}

/// The newest record of the store, and the one up to which records were counted. What an earlier
/// process left open is closed: see [`awaiting::give_up_all`].
pub(crate) async fn take_over(
    conn: &mut SqliteConnection,
    opener: Opener,
) -> Result<(i64, i64), sqlx::Error> {
    if let Err(why) = awaiting::give_up_all(conn, opener).await {
        // a full disk must not keep the gate from starting: retention gives them up later
        tracing::warn!(%why, "early answers of an earlier run do not count yet");
    }
    let ends = "SELECT coalesce((SELECT max(seq) FROM record), 0), seq FROM followed WHERE id = 1";
    sqlx::query_as(ends).fetch_one(conn).await
}

/// Appends `rows` in one transaction; their `seq`, in the same order.
pub(crate) async fn append(
    conn: &mut SqliteConnection,
    rows: &[Row],
) -> Result<Vec<i64>, sqlx::Error> {
    let mut tx = conn.begin_with("BEGIN IMMEDIATE").await?;
    let mut seqs = Vec::with_capacity(rows.len());
    for row in rows {
        seqs.push(append_row(&mut tx, row).await?);
    }
    tx.commit().await?;
    Ok(seqs)
}

async fn append_row(conn: &mut SqliteConnection, row: &Row) -> Result<i64, sqlx::Error> {
    match &row.content {
        Content::Record(form) => {
            let seq = append_whole(&mut *conn, row, form).await?;
            if form.complete {
                awaiting::count(conn, seq).await?;
            } else {
                awaiting::wait(conn, (seq, form.at), For::Rest).await?;
            }
            Ok(seq)
        }
        Content::Brought(brought) => {
            let seq = append_whole(&mut *conn, row, &brought.form).await?;
            brought.place(conn, seq).await?;
            Ok(seq)
        }
        Content::Counts { id } => awaiting::count_brought(conn, *id).await,
        Content::Late { id, cost } => append_late(conn, row, (*id, *cost)).await,
        Content::Behind(behind) => shadows::insert_behind(conn, behind).await,
    }
}

/// The `seq` of the record that it belongs to; without one nothing is written.
async fn append_late(
    conn: &mut SqliteConnection,
    row: &Row,
    (id, cost): (Uuid, MicroUsd),
) -> Result<i64, sqlx::Error> {
    let insert = sqlx::query_scalar(INSERT_LATE)
        .bind(id.to_string())
        .bind(i64::try_from(cost.0).unwrap_or(i64::MAX))
        .bind(&row.json);
    let Some(seq) = insert.fetch_optional(&mut *conn).await? else { return Ok(NO_RECORD) };
    sqlx::query(INSERT_LATE_FLAGS).bind(seq).bind(&row.json).execute(&mut *conn).await?;
    awaiting::come(conn, seq).await?;
    Ok(seq)
}

async fn append_whole(
    conn: &mut SqliteConnection,
    row: &Row,
    form: &RecordForm,
) -> Result<i64, sqlx::Error> {
    let seq = append_record(conn, row, form).await?;
    if let Some(route) = form.route {
        let insert = sqlx::query(INSERT_ROUTED).bind(route.label()).bind(form.at.0).bind(seq);
        insert.execute(&mut *conn).await?;
    }
    if !form.attempts.is_empty() {
        sqlx::query(INSERT_ATTEMPTS).bind(seq).bind(&row.json).execute(&mut *conn).await?;
    }
    if !form.flags.is_empty() {
        let insert = sqlx::query(INSERT_FLAGS).bind(seq).bind(form.at.0).bind(&row.json);
        insert.execute(&mut *conn).await?;
    }
    if !form.failed.is_empty() {
        let insert = sqlx::query(INSERT_FAILED).bind(seq).bind(form.at.0).bind(&row.json);
        insert.execute(&mut *conn).await?;
    }
    for (idx, picture) in (0_i64..).zip(&row.pictures) {
        let insert = sqlx::query(INSERT_IMAGE)
            .bind(seq)
            .bind(idx)
            .bind(&picture.view)
            .bind(picture.digest.to_hex())
            .bind(i64::try_from(picture.size_bytes).unwrap_or(i64::MAX))
            .bind(&form.policy.name)
            .bind(form.at.0);
        insert.execute(&mut *conn).await?;
    }
    if let Some(mark) = &row.mark {
        let insert = sqlx::query(INSERT_MARK)
            .bind(&mark.scope)
            .bind(&mark.key)
            .bind(mark.request.to_string())
            .bind(seq)
            .bind(form.at.0)
            .bind(form.at.before(IDEMPOTENCY_KEPT).0);
        insert.execute(conn).await?;
    }
    Ok(seq)
}

async fn append_record(
    conn: &mut SqliteConnection,
    row: &Row,
    form: &RecordForm,
) -> Result<i64, sqlx::Error> {
    let judge = form.judge.as_ref();
    let insert = sqlx::query(INSERT_RECORD)
        .bind(form.id.to_string())
        .bind(form.at.0)
        .bind(&form.policy.name)
        .bind(form.policy.revision.to_string())
        .bind(form.verdict.label())
        .bind(form.would_be.map(Decision::label))
        .bind(form.first_verdict.map(Decision::label))
        .bind(form.basis.label())
        .bind(judge.map(|judge| &judge.name))
        .bind(judge.map(|judge| &judge.provider))
        .bind(judge.map(|judge| &judge.model))
        .bind(form.route.map(Route::label))
        .bind(form.team.as_ref())
        .bind(form.external_id.as_ref())
        .bind(form.image.digest.to_string())
        .bind(form.pre)
        .bind(form.propensity)
        .bind(form.judged_by.to_string())
        .bind(form.client_gone)
        .bind(form.timing_ms.total)
        .bind(i64::try_from(known_cost(form)).unwrap_or(i64::MAX))
        .bind(&row.json);
    Ok(insert.execute(conn).await?.last_insert_rowid())
}

/// What is known of the bill when a record is written; the remainder's row adds the rest.
fn known_cost(form: &RecordForm) -> u64 {
    let known = || form.attempts.iter().filter_map(|one| one.cost_micro_usd.map(MicroUsd)).sum();
    form.cost_micro_usd.map_or_else(known, MicroUsd).0
}

/// Deletes at most `most` rows of what is `aged`.
pub(crate) async fn delete(
    conn: &mut SqliteConnection,
    aged: &Aged,
    most: u32,
) -> Result<Deleted, sqlx::Error> {
    let mut tx = conn.begin_with("BEGIN IMMEDIATE").await?;
    let mut deleted = Deleted::default();
    let mut digests = Vec::new();
    match aged {
        Aged::Images { policy, before } => {
            let delete = sqlx::query_scalar(DELETE_OLD_IMAGES).bind(policy).bind(before.0);
            digests = delete.bind(most).fetch_all(&mut *tx).await?;
            deleted.rows = digests.len() as u64;
        }
        Aged::Records { policy, before } => {
            let images =
                sqlx::query_scalar(DELETE_IMAGES_OF_OLD_RECORDS).bind(policy).bind(before.0);
            digests = images.bind(most).fetch_all(&mut *tx).await?;
            let routed = sqlx::query(DELETE_ROUTED_OF_OLD_RECORDS).bind(policy).bind(before.0);
            routed.bind(most).execute(&mut *tx).await?;
            let records = sqlx::query(DELETE_OLD_RECORDS).bind(policy).bind(before.0).bind(most);
            deleted.rows = records.execute(&mut *tx).await?.rows_affected();
        }
        Aged::Marks { before } => {
            let delete = sqlx::query(DELETE_OLD_MARKS).bind(before.0).bind(most);
            deleted.rows = delete.execute(&mut *tx).await?.rows_affected();
        }
        Aged::Awaited { before } => {
            deleted.rows = awaiting::give_up(&mut tx, *before, most).await?;
        }
        Aged::Happened { policy, before } => {
            deleted.rows = marks::delete(&mut tx, policy.as_deref(), *before, most).await?;
        }
        Aged::Rollups { policy, step_s, before } => {
            deleted.rows = rollup::delete(&mut tx, (policy, *step_s), *before, most).await?;
        }
    }
    deleted.images = digests.len() as u64;
    if !digests.is_empty() {
        deleted.files = unreferenced(&mut tx, &digests).await?;
    }
    tx.commit().await?;
    Ok(deleted)
}

async fn unreferenced(
    conn: &mut SqliteConnection,
    digests: &[String],
) -> Result<Vec<String>, sqlx::Error> {
    // hex digits need no escaping
    let list = format!("[\"{}\"]", digests.join("\",\""));
    sqlx::query_scalar(UNREFERENCED).bind(list).fetch_all(conn).await
}

/// Folds the log into the file as far as readers allow, without waiting for them or for a writer. The
/// log keeps its room on the disk and is written from its beginning again once all of it is in.
pub(crate) async fn fold(conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    sqlx::query("PRAGMA wal_checkpoint(PASSIVE)").execute(conn).await.map(drop)
}

/// Gives pages that deletes left back to the file system.
pub(crate) async fn give_back(conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    sqlx::query(GIVE_BACK).execute(conn).await.map(drop)
}

/// Folds the whole log in and empties it.
pub(crate) async fn fold_all(conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let row = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut *conn).await?;
    // a reader that is still open keeps the log: it is folded in at the next opening instead
    let _busy: i64 = row.try_get(0)?;
    sqlx::query("PRAGMA optimize").execute(conn).await.map(drop)
}
