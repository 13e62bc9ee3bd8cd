//! Drills in the ledger: a row when one begins, the same row again when it ends.
//!
//! They go through the one writer like everything else, as a chore: a drill may wait, a record may
//! not. The newest [`MAX_KEPT`] are kept.

use sqlx::Row as _;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::clock::{Deadline, Timestamp};
use crate::ledger::inbox::Chore;
use crate::ledger::reader::{Reader, bounded};
use crate::ledger::{Ledger, LedgerError};

/// Drills that are kept.
pub const MAX_KEPT: u32 = 1_000;

const UPSERT: &str = "INSERT INTO drill (id, judge, began_us, result, form) \
    VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (id) DO UPDATE SET \
    result = excluded.result, form = excluded.form";

const DELETE_OLD: &str = "DELETE FROM drill WHERE id IN (SELECT id FROM drill \
    ORDER BY began_us DESC, id DESC LIMIT -1 OFFSET ?1)";

/// One drill as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrillRow {
    /// Ours, version 7.
    pub id: Uuid,
    /// Whose calls were broken.
    pub judge: String,
    /// When it began.
    pub began: Timestamp,
    /// How it ended; `None` while it runs.
    pub result: Option<String>,
    /// The drill as it is answered, JSON.
    pub form: String,
}

impl Ledger {
    /// Writes `row`, over an earlier one of the same id.
    ///
    /// # Errors
    /// The store could not be written before `deadline`, or the ledger is closing.
    pub async fn keep_drill(&self, row: DrillRow, deadline: Deadline) -> Result<(), LedgerError> {
        let (reply, told) = oneshot::channel();
        let kept = async {
            let sent = self.chores.send(Chore::Drill(row, reply)).await;
            sent.map_err(|_| LedgerError::Closed)?;
            told.await.map_err(|_| LedgerError::Closed)?.map_err(LedgerError::Store)
        };
        deadline.bound(kept).await?
    }
}

impl Reader {
    /// The newest `most` drills, newest first; a row that cannot be read is left out and logged.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn drills(&self, most: u32) -> Result<Vec<DrillRow>, LedgerError> {
        let query = sqlx::query(
            "SELECT id, judge, began_us, result, form FROM drill \
             ORDER BY began_us DESC, id DESC LIMIT ?1",
        );
        let rows = bounded(query.bind(most.min(MAX_KEPT)).fetch_all(&self.pool)).await?;
        let read = |row| {
            read_row(row).inspect_err(|why| tracing::error!(%why, "a stored drill is left out"))
        };
        Ok(rows.iter().filter_map(|row| read(row).ok()).collect())
    }

    /// The drill with this id.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn drill(&self, id: Uuid) -> Result<Option<DrillRow>, LedgerError> {
        let query =
            sqlx::query("SELECT id, judge, began_us, result, form FROM drill WHERE id = ?1");
        let row = bounded(query.bind(id.to_string()).fetch_optional(&self.pool)).await?;
        row.as_ref().map(read_row).transpose()
    }
}

/// Writes one row and lets the oldest go.
pub(crate) async fn keep(conn: &mut SqliteConnection, row: &DrillRow) -> Result<(), sqlx::Error> {
    let upsert = sqlx::query(UPSERT)
        .bind(row.id.to_string())
        .bind(&row.judge)
        .bind(row.began.0)
        .bind(row.result.as_ref())
        .bind(&row.form);
    upsert.execute(&mut *conn).await?;
    sqlx::query(DELETE_OLD).bind(MAX_KEPT).execute(conn).await.map(drop)
}

fn read_row(row: &SqliteRow) -> Result<DrillRow, LedgerError> {
    let id: String = row.try_get(0)?;
    let id = id.parse().map_err(|why| LedgerError::Store(format!("drill {id:?}: {why}")))?;
    Ok(DrillRow {
        id,
        judge: row.try_get(1)?,
        began: Timestamp(row.try_get(2)?),
        result: row.try_get(3)?,
        form: row.try_get(4)?,
    })
}
