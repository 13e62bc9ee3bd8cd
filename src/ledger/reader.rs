//! Reading the ledger: lists newest first, one record, a kept picture, a repeated request's answer.
//!
//! Readers have their own connections and never wait for the writer; a verdict that looks up its
//! key has connections that no list can take. Every query is bound in time. Newest first is by the moment
//! a check began and, where two began together, by `seq`: an order that every filter's index has,
//! so that a page costs what is on it. A [`Cursor`] names the last record of a page; records that
//! arrive meanwhile are newer and move nothing.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use sqlx::sqlite::{Sqlite, SqlitePool, SqlitePoolOptions, SqliteRow};
use sqlx::{Encode, QueryBuilder, Row, Type};
use thiserror::Error;
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::clock::{Deadline, Timestamp};
use crate::domain::{Basis, Decision, Digest, Route};
use crate::imaging::VIEW_MEDIA_TYPE;
use crate::ledger::form::RecordForm;
use crate::ledger::pictures::Pictures;
use crate::ledger::sqlite;
use crate::ledger::{IDEMPOTENCY_KEPT, LedgerError, Settings, beside};

/// Records on one page at most: bounds what a list or an export holds in memory.
pub const MAX_PAGE: u32 = 500;

/// Longest that a page, a record or a picture may take, the wait for a connection included.
pub(crate) const QUERY: Duration = Duration::from_secs(10);

/// Connections for looking up keys.
const LOOKUPS: u32 = 2;

/// Which records are meant; `None` means any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The policy's name.
    pub policy: Option<String>,
    /// What the caller was told.
    pub verdict: Option<Decision>,
    /// What the verdict rests on.
    pub basis: Option<Basis>,
    /// The judge's name.
    pub judge: Option<String>,
    /// The team that paid.
    pub team: Option<String>,
    /// Began at this moment or later.
    pub since: Option<Timestamp>,
    /// Began before this moment.
    pub until: Option<Timestamp>,
    /// Carries this flag.
    pub flag: Option<String>,
    /// Why the judge was asked.
    pub route: Option<Route>,
    /// Failed on this criterion.
    pub failed: Option<String>,
    /// The caller's own name for the image.
    pub external_id: Option<String>,
    /// The digest of the bytes as they came.
    pub image: Option<Digest>,
}

/// Where the next page begins; opaque to callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    at: Timestamp,
    seq: i64,
}

/// A text that is no cursor of ours.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0:?} is not a cursor: pass the one that came with the page before")]
pub struct BadCursor(String);

/// Some records, newest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// At most as many as asked for.
    pub records: Vec<RecordForm>,
    /// Where the next page begins; `None` on the last.
    pub next: Option<Cursor>,
}

/// What answers a repeated request.
#[derive(Clone, Debug, PartialEq)]
pub struct Replay {
    /// What the first request came with, as its [`IdempotencyMark`] said.
    ///
    /// [`IdempotencyMark`]: crate::ledger::IdempotencyMark
    pub request: Digest,
    /// What was recorded of it.
    pub record: RecordForm,
}

/// What can be told of the store without changing it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Records in the store.
    pub records: u64,
    /// Size of the file, its log not counted.
    pub file_bytes: u64,
    /// Size of its log.
    pub log_bytes: u64,
    /// What SQLite's own check found; empty in a sound file.
    pub problems: Vec<String>,
}

/// The reading side of a ledger. Cloning shares its connections.
#[derive(Clone, Debug)]
pub struct Reader {
    pub(crate) pool: SqlitePool,
    lookups: SqlitePool,
    path: PathBuf,
    images_dir: PathBuf,
    /// Whether every record is known to be in the tables by route and criterion.
    pub(crate) listed: Arc<AtomicBool>,
    /// How much of what was read may be worked off apart at a time.
    pub(crate) places_apart: Arc<Semaphore>,
}

impl Reader {
    /// Opens a ledger for reading alone, also beside a running gate.
    ///
    /// # Errors
    /// [`LedgerError::Open`] when there is no such file or it cannot be read.
    pub async fn open(settings: &Settings) -> Result<Self, LedgerError> {
        let reader = Self::lazy(settings);
        let opened = reader.pool.acquire().await;
        opened.map_err(|why| LedgerError::open(&settings.path, &why))?;
        Ok(reader)
    }

    /// A reader that opens its connections when they are needed.
    pub(crate) fn lazy(settings: &Settings) -> Self {
        let pool = SqlitePoolOptions::new().acquire_timeout(QUERY).min_connections(0);
        let lookups = pool.clone().max_connections(LOOKUPS);
        let pool = pool.max_connections(settings.readers.max(1));
        Self {
            pool: pool.connect_lazy_with(sqlite::reader_options(&settings.path)),
            lookups: lookups.connect_lazy_with(sqlite::lookup_options(&settings.path)),
            path: settings.path.clone(),
            images_dir: settings.images_dir.clone(),
            listed: Arc::default(),
            places_apart: Arc::new(Semaphore::new(settings.readers.max(1) as usize)),
        }
    }

    /// A reader of the same ledger with one connection of its own.
    pub(crate) fn alone(&self) -> Self {
        let pool = SqlitePoolOptions::new().acquire_timeout(QUERY).min_connections(0);
        let pool = pool.max_connections(1);
        let pool = pool.connect_lazy_with(sqlite::reader_options(&self.path));
        Self { pool, ..self.clone() }
    }

    /// Up to `limit` records (at most [`MAX_PAGE`]) after `cursor`, newest first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn list(
        &self,
        filter: &Filter,
        cursor: Option<Cursor>,
        limit: u32,
    ) -> Result<Page, LedgerError> {
        let limit = limit.clamp(1, MAX_PAGE);
        // one more than asked tells whether there is a next page
        let by_list = filter.route.is_some() || filter.failed.is_some();
        let lists = if by_list && !self.is_listed().await? { Lists::Some } else { Lists::All };
        let mut query = select("", (filter, lists), cursor, limit + 1);
        let rows = bounded(query.build().fetch_all(&self.pool)).await?;
        let read = self.apart(move || rows.iter().map(read_record).collect::<Result<Vec<_>, _>>());
        let mut records = read.await??;
        let more = (limit as usize) < records.len();
        records.truncate(limit as usize);
        let next = records.last().filter(|_| more).and_then(Cursor::of);
        Ok(Page { records, next })
    }

    /// The record with this id.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn get(&self, id: Uuid) -> Result<Option<RecordForm>, LedgerError> {
        let query = sqlx::query(
            "SELECT record.seq, record.form, late.form FROM record \
             LEFT JOIN late ON late.seq = record.seq WHERE id = ?1",
        );
        let query = query.bind(id.to_string());
        let row = bounded(query.fetch_optional(&self.pool)).await?;
        row.as_ref().map(read_record).transpose()
    }

    /// The picture kept of record `id`: the one called `view`, or the first. Its media type and
    /// bytes; `None` where none was kept, or not any longer.
    ///
    /// # Errors
    /// The store or the picture's file cannot be read.
    pub async fn image(
        &self,
        id: Uuid,
        view: Option<&str>,
    ) -> Result<Option<(&'static str, Bytes)>, LedgerError> {
        let query = sqlx::query_scalar(
            "SELECT image.digest FROM record JOIN image ON image.seq = record.seq \
             WHERE record.id = ?1 AND (?2 IS NULL OR image.view = ?2) ORDER BY image.idx LIMIT 1",
        );
        let query = query.bind(id.to_string()).bind(view);
        let found: Option<String> = bounded(query.fetch_optional(&self.pool)).await?;
        let Some(path) = found.and_then(|hex| Pictures::path(&self.images_dir, &hex)) else {
            return Ok(None);
        };
        match Deadline::after(QUERY).bound(tokio::fs::read(&path)).await? {
            Ok(bytes) => Ok(Some((VIEW_MEDIA_TYPE, bytes.into()))),
            Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(why) => Err(LedgerError::Store(format!("{}: {why}", path.display()))),
        }
    }

    /// What answers a request that `scope` (an API key's name) sent under `key` before, if that was
    /// less than 24 hours before `now`.
    ///
    /// # Errors
    /// The store cannot be read, or not before `deadline`.
    pub async fn lookup(
        &self,
        scope: &str,
        key: &str,
        now: Timestamp,
        deadline: Deadline,
    ) -> Result<Option<Replay>, LedgerError> {
        let query = sqlx::query(
            "SELECT record.seq, record.form, late.form, idempotency.request_digest \
             FROM idempotency JOIN record ON record.seq = idempotency.seq \
             LEFT JOIN late ON late.seq = record.seq \
             WHERE scope = ?1 AND key = ?2 AND idempotency.at_us >= ?3",
        );
        let query = query.bind(scope).bind(key).bind(now.before(IDEMPOTENCY_KEPT).0);
        let found = deadline.bound(query.fetch_optional(&self.lookups)).await??;
        let Some(row) = found else {
            return Ok(None);
        };
        let record = read_record(&row)?;
        let digest: String = row.try_get(3)?;
        let request = digest.parse().map_err(|why| LedgerError::row(record.seq, &why))?;
        Ok(Some(Replay { request, record }))
    }

    /// Checks the whole file: for `doctor`, never on the serving path.
    ///
    /// # Errors
    /// The store cannot be read at all.
    pub async fn check(&self) -> Result<Health, LedgerError> {
        let said = sqlx::query_scalar::<_, String>("PRAGMA integrity_check(10)");
        let said = said.fetch_all(&self.pool).await?;
        let records = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM record");
        let records = records.fetch_one(&self.pool).await?;
        Ok(Health {
            records: records.unsigned_abs(),
            file_bytes: size_of(&self.path).await?,
            log_bytes: size_of(&beside(&self.path, "-wal")).await?,
            problems: said.into_iter().filter(|line| line != "ok").collect(),
        })
    }

    pub(crate) async fn close(&self) {
        tokio::join!(self.pool.close(), self.lookups.close());
    }
}

impl Cursor {
    fn of(record: &RecordForm) -> Option<Self> {
        Some(Self { at: record.at, seq: record.seq? })
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = self.at.0.to_be_bytes().to_vec();
        bytes.extend(self.seq.to_be_bytes());
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for Cursor {
    type Err = BadCursor;

    fn from_str(text: &str) -> Result<Self, BadCursor> {
        let bad = || BadCursor(text.chars().take(64).collect());
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| bad())?;
        let (at, seq) = bytes.split_first_chunk().ok_or_else(bad)?;
        let seq = seq.try_into().map_err(|_| bad())?;
        Ok(Self { at: Timestamp(i64::from_be_bytes(*at)), seq: i64::from_be_bytes(seq) })
    }
}

/// What a query finds, if it does in time.
pub(crate) async fn bounded<T>(
    query: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, LedgerError> {
    Ok(Deadline::after(QUERY).bound(query).await??)
}

/// Which records the tables by route and criterion hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lists {
    /// Every one.
    All,
    /// Not those of an older program yet: records are looked at themselves.
    Some,
}

/// The table whose order a page is read in, by the narrowest filter.
fn lead(filter: &Filter, lists: Lists) -> &'static str {
    let is_common = filter.route == Some(Route::Primary);
    let has_index = filter.external_id.is_some() || filter.image.is_some();
    // most records are the primary's: any other filter is narrower
    let has_narrower = filter.policy.is_some()
        || filter.verdict.is_some()
        || filter.basis.is_some()
        || filter.judge.is_some()
        || filter.team.is_some();
    match (&filter.flag, &filter.failed, filter.route, lists) {
        (Some(_), ..) => "flag",
        (None, .., Lists::Some) | (None, None, None, Lists::All) => "record",
        (None, Some(_), _, Lists::All) => "failed",
        (None, None, Some(_), Lists::All) if has_index || is_common && has_narrower => "record",
        (None, None, Some(_), Lists::All) => "routed",
    }
}

/// The query for one page. `head` is empty, or asks for the query's plan.
fn select(
    head: &str,
    (filter, lists): (&Filter, Lists),
    cursor: Option<Cursor>,
    rows: u32,
) -> QueryBuilder<Sqlite> {
    let mut sql = QueryBuilder::new(head);
    let lead = lead(filter, lists);
    sql.push("SELECT record.seq, record.form, late.form FROM ").push(lead);
    if lead != "record" {
        sql.push(format_args!(" CROSS JOIN record ON record.seq = {lead}.seq"));
    }
    if lead == "flag" && filter.failed.is_some() && lists == Lists::All {
        // its whole key: at most one row for each that carries the flag
        sql.push(" CROSS JOIN failed ON failed.seq = flag.seq AND failed.at_us = flag.at_us");
    }
    sql.push(" LEFT JOIN late ON late.seq = record.seq WHERE true");
    match (&filter.failed, lists) {
        (Some(criterion), Lists::Some) => {
            sql.push(
                " AND EXISTS (SELECT 1 FROM json_each(record.form, '$.failed') WHERE value = ",
            );
            sql.push_bind(criterion.clone()).push(")");
        }
        (criterion, _) => equal(&mut sql, "failed.criterion", criterion.as_deref()),
    }
    let route = if lead == "routed" { "routed.route" } else { "record.route" };
    equal(&mut sql, route, filter.route.map(Route::label));
    equal(&mut sql, "flag.flag", filter.flag.as_deref());
    equal(&mut sql, "record.policy", filter.policy.as_deref());
    equal(&mut sql, "record.verdict", filter.verdict.map(Decision::label));
    equal(&mut sql, "record.basis", filter.basis.map(Basis::label));
    equal(&mut sql, "record.judge", filter.judge.as_deref());
    equal(&mut sql, "record.team", filter.team.as_deref());
    equal(&mut sql, "record.external_id", filter.external_id.as_deref());
    equal(&mut sql, "record.image_digest", filter.image.map(|digest| digest.to_string()));
    if let Some(since) = filter.since {
        sql.push(" AND ").push(lead).push(".at_us >= ").push_bind(since.0);
    }
    if let Some(until) = filter.until {
        sql.push(" AND ").push(lead).push(".at_us < ").push_bind(until.0);
    }
    if let Some(Cursor { at, seq }) = cursor {
        sql.push(format_args!(" AND ({lead}.at_us, {lead}.seq) < ("));
        sql.push_bind(at.0).push(", ").push_bind(seq).push(")");
    }
    sql.push(format_args!(" ORDER BY {lead}.at_us DESC, {lead}.seq DESC LIMIT "));
    sql.push_bind(rows);
    sql
}

fn equal<'a, T>(sql: &mut QueryBuilder<Sqlite>, column: &str, value: Option<T>)
where
    T: Encode<'a, Sqlite> + Type<Sqlite>,
{
    if let Some(value) = value {
        sql.push(" AND ").push(column).push(" = ").push_bind(value);
    }
}

/// A record from a row that begins with `seq`, its form and that of what came after it.
pub(crate) fn read_record(row: &SqliteRow) -> Result<RecordForm, LedgerError> {
    let seq: i64 = row.try_get(0)?;
    let form: &str = row.try_get(1)?;
    let late: Option<&str> = row.try_get(2)?;
    let form = serde_json::from_str(form).and_then(|form: RecordForm| match late {
        Some(late) => Ok(form.joined(serde_json::from_str(late)?)),
        None => Ok(form),
    });
    let form = form.map_err(|why| LedgerError::row(Some(seq), &why))?;
    Ok(RecordForm { seq: Some(seq), ..form })
}

async fn size_of(path: &Path) -> Result<u64, LedgerError> {
    match tokio::fs::metadata(path).await {
        Ok(found) => Ok(found.len()),
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(why) => Err(LedgerError::Store(format!("{}: {why}", path.display()))),
    }
}

#[cfg(test)]
pub(crate) mod tests;
