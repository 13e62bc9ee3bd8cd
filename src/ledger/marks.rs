//! A mark is something that happened which a picture of the figures must show: a new revision, a
//! breaker that was not closed for a while, drift, and that somebody acknowledged it.

use std::time::Duration;

use sqlx::Row as _;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use tokio::sync::oneshot;

use crate::clock::{Deadline, Timestamp};
use crate::ledger::inbox::Chore;
use crate::ledger::reader::{Reader, bounded};
use crate::ledger::writing::Writing;
use crate::ledger::{Ledger, LedgerError};

/// The kind of a drift event.
pub const DRIFT: &str = "drift";
/// The kind of an operator's word that what drift told is seen.
pub const ACKNOWLEDGED: &str = "acknowledged";
/// The kind of a stretch during which a breaker was not closed.
pub const BREAKER: &str = "breaker";
/// The kind of the first verdict under a revision.
pub const REVISION: &str = "revision";

/// Marks read at a time.
pub const MAX_MARKS: u32 = 200;

/// Longest that writing one may take.
const WRITE: Duration = Duration::from_secs(10);

const INSERT: &str = "INSERT INTO mark (kind, at_us, until_us, policy, judge, form) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6)";

const INSERT_ONCE: &str = "INSERT INTO mark (kind, at_us, until_us, policy, judge, form) \
    SELECT ?1, ?2, ?3, ?4, ?5, ?6 WHERE NOT EXISTS (SELECT 1 FROM mark \
    WHERE kind = ?1 AND at_us = ?2 AND policy IS ?4 AND form = ?6)";

/// Marks of a policy, or of none, that were over by a moment; a breaker's lasts until it is ended.
const DELETE: &str = "DELETE FROM mark WHERE id IN (SELECT id FROM mark \
    WHERE kind IN ('drift', 'acknowledged', 'breaker') AND at_us < ?2 AND policy IS ?1 \
    AND coalesce(until_us, CASE kind WHEN 'breaker' THEN ?2 ELSE at_us END) < ?2 LIMIT ?3)";

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The order in which they were written; 0 until it is.
    pub id: i64,
    /// [`DRIFT`], [`ACKNOWLEDGED`], [`BREAKER`] or [`REVISION`].
    pub kind: String,
    /// When, or from when.
    pub at: Timestamp,
    /// Until when it lasted; `None` for a moment, and while it lasts.
    pub until: Option<Timestamp>,
    /// The policy it is about.
    pub policy: Option<String>,
    /// The judge it is about.
    pub judge: Option<String>,
    /// What there is to say of it, JSON.
    pub form: String,
}

/// Which marks are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MarkFilter {
    /// Of this kind.
    pub kind: Option<&'static str>,
    /// About this policy, or about none.
    pub policy: Option<String>,
    /// Not ended before this moment.
    pub since: Option<Timestamp>,
    /// Began before this moment.
    pub until: Option<Timestamp>,
    /// Written after the one with this id.
    pub after: i64,
}

impl Ledger {
    /// Writes a mark; its id.
    ///
    /// # Errors
    /// The store could not be written in time, or the ledger is closing.
    pub async fn mark(&self, mark: Mark) -> Result<i64, LedgerError> {
        self.write(Writing::Mark(Box::new(mark))).await
    }

    /// Says when the stretch that a mark is about ended.
    ///
    /// # Errors
    /// The store could not be written in time, or the ledger is closing.
    pub async fn end_mark(&self, id: i64, at: Timestamp) -> Result<(), LedgerError> {
        self.write(Writing::EndMark { id, at }).await.map(drop)
    }

    /// Ends every stretch that an earlier process left open.
    ///
    /// # Errors
    /// The store could not be written in time, or the ledger is closing.
    pub async fn end_marks(&self, kind: &'static str, at: Timestamp) -> Result<(), LedgerError> {
        self.write(Writing::EndMarks { kind, at }).await.map(drop)
    }

    pub(crate) async fn write(&self, writing: Writing) -> Result<i64, LedgerError> {
        let (reply, told) = oneshot::channel();
        let written = async {
            let sent = self.chores.send(Chore::Write(writing, reply)).await;
            sent.map_err(|_| LedgerError::Closed)?;
            told.await.map_err(|_| LedgerError::Closed)?.map_err(LedgerError::Store)
        };
        Deadline::after(WRITE).bound(written).await?
    }
}

impl Reader {
    /// The newest marks that `filter` means, at most [`MAX_MARKS`], newest first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn marks(&self, filter: &MarkFilter) -> Result<Vec<Mark>, LedgerError> {
        let sql = "SELECT id, kind, at_us, until_us, policy, judge, form FROM mark \
             WHERE id > ?1 AND (?2 IS NULL OR kind = ?2) \
             AND (?3 IS NULL OR policy IS NULL OR policy = ?3) \
             AND (?4 IS NULL OR at_us >= ?4 OR until_us >= ?4 \
                  OR (until_us IS NULL AND kind = 'breaker')) \
             AND (?5 IS NULL OR at_us < ?5) ORDER BY at_us DESC, id DESC LIMIT ?6";
        let query = sqlx::query(sql).bind(filter.after).bind(filter.kind);
        let query = query.bind(filter.policy.as_ref()).bind(filter.since.map(|at| at.0));
        let query = query.bind(filter.until.map(|at| at.0)).bind(MAX_MARKS);
        let rows = bounded(query.fetch_all(&self.pool)).await?;
        rows.iter().map(read_row).collect()
    }

    /// The id of the latest mark; 0 where there is none.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn last_mark(&self) -> Result<i64, LedgerError> {
        let query = sqlx::query_scalar("SELECT coalesce(max(id), 0) FROM mark");
        bounded(query.fetch_one(&self.pool)).await
    }
}

/// Writes one mark; its id.
pub(crate) async fn insert(conn: &mut SqliteConnection, mark: &Mark) -> Result<i64, sqlx::Error> {
    run(conn, INSERT, mark).await
}

/// Writes one mark unless the very same is there: what is tried again is one word, not two.
pub(crate) async fn insert_once(
    conn: &mut SqliteConnection,
    mark: &Mark,
) -> Result<i64, sqlx::Error> {
    run(conn, INSERT_ONCE, mark).await
}

async fn run(
    conn: &mut SqliteConnection,
    statement: &'static str,
    mark: &Mark,
) -> Result<i64, sqlx::Error> {
    let insert = sqlx::query(statement)
        .bind(&mark.kind)
        .bind(mark.at.0)
        .bind(mark.until.map(|at| at.0))
        .bind(mark.policy.as_ref())
        .bind(mark.judge.as_ref())
        .bind(&mark.form);
    Ok(insert.execute(conn).await?.last_insert_rowid())
}

/// Deletes at most `most` marks of breakers, of drift and of who acknowledged it that were over
/// `before`; how many.
pub(crate) async fn delete(
    conn: &mut SqliteConnection,
    policy: Option<&str>,
    before: Timestamp,
    most: u32,
) -> Result<u64, sqlx::Error> {
    let delete = sqlx::query(DELETE).bind(policy).bind(before.0).bind(most);
    Ok(delete.execute(conn).await?.rows_affected())
}

fn read_row(row: &SqliteRow) -> Result<Mark, LedgerError> {
    let until: Option<i64> = row.try_get(3)?;
    Ok(Mark {
        id: row.try_get(0)?,
        kind: row.try_get(1)?,
        at: Timestamp(row.try_get(2)?),
        until: until.map(Timestamp),
        policy: row.try_get(4)?,
        judge: row.try_get(5)?,
        form: row.try_get(6)?,
    })
}
