//! Listing is putting what an older program stored into the tables by which lists by route and by
//! criterion are read.
//!
//! It goes on after the start, newest first and a few records at a time: what is to be written is
//! read beside the writer, who only appends it when no record waits, together with how far it is. A
//! process that is killed goes on where it was. Until all is done such lists read the records
//! themselves: slower, and right.

use std::sync::atomic::Ordering;

use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;

use crate::clock::{Deadline, Stopwatch};
use crate::ledger::reader::{Reader, bounded};
use crate::ledger::writing::Writing;
use crate::ledger::{Ledger, LedgerError};

/// Records in one step: bounds how long a record may wait for the chore.
const STEP_RECORDS: u32 = 200;

const FROM: &str = "SELECT from_seq FROM listed WHERE id = 1";

/// The records of a step as JSON, and the oldest of them; a form that is no JSON fails on nothing.
const STEP: &str = "SELECT coalesce(min(seq), 0), \
    json_group_array(json_array(seq, route, json(coalesce(failed, '[]')))) FROM (\
    SELECT seq, route, CASE WHEN json_valid(form) THEN form ->> '$.failed' END AS failed \
    FROM record WHERE seq < ?1 ORDER BY seq DESC LIMIT ?2)";

/// A record that retention took meanwhile has no place.
const INSERT_ROUTED: &str = "INSERT OR IGNORE INTO routed (route, at_us, seq) \
    SELECT step.value ->> 1, record.at_us, record.seq FROM json_each(?1) AS step \
    JOIN record ON record.seq = step.value ->> 0 WHERE step.value ->> 1 IS NOT NULL";

const INSERT_FAILED: &str = "INSERT OR IGNORE INTO failed (criterion, at_us, seq) \
    SELECT failed.value, record.at_us, record.seq FROM json_each(?1) AS step \
    JOIN record ON record.seq = step.value ->> 0 \
    JOIN json_each(step.value, '$[2]') AS failed WHERE failed.type = 'text'";

const ADVANCE: &str = "UPDATE listed SET from_seq = ?1 WHERE id = 1 AND ?1 < from_seq";

/// Some records that are to be listed.
#[derive(Debug)]
pub(crate) struct Listing {
    /// From here on everything is listed, with these; 0: everything is.
    from_seq: i64,
    /// JSON: of each its `seq`, its route and what it failed on.
    records: String,
}

impl Listing {
    /// Writes it, within the caller's transaction.
    pub(crate) async fn write(&self, conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        for insert in [INSERT_ROUTED, INSERT_FAILED] {
            sqlx::query(insert).bind(&self.records).execute(&mut *conn).await?;
        }
        sqlx::query(ADVANCE).bind(self.from_seq).execute(conn).await.map(drop)
    }
}

impl Ledger {
    /// Lists what an older program stored, step by step; between two of them others have the machine
    /// for as long as the step took. How many steps there were. Dropped between two of them, or
    /// killed, the next goes on there.
    ///
    /// # Errors
    /// The store could not be read or written, or the ledger is closing; what is done stays done.
    pub async fn list_older(&self) -> Result<u64, LedgerError> {
        let reader = self.reader.alone();
        let mut steps = 0;
        loop {
            let watch = Stopwatch::start();
            let from_seq = reader.listed_from().await?;
            if from_seq == 0 {
                break;
            }
            if steps == 0 {
                tracing::info!(
                    records = from_seq - 1,
                    "an older program's records are being listed by route and criterion: such lists \
                     are slower meanwhile"
                );
            }
            let listing = reader.next_listing(from_seq).await?;
            self.write(Writing::List(Box::new(listing))).await?;
            steps += 1;
            Deadline::after(watch.elapsed()).passed().await;
        }
        if steps != 0 {
            tracing::info!(steps, "all records are listed by route and criterion");
        }
        Ok(steps)
    }
}

impl Reader {
    /// Whether every record is in the tables by route and criterion.
    pub(crate) async fn is_listed(&self) -> Result<bool, LedgerError> {
        if !self.listed.load(Ordering::Relaxed) {
            // once all are, all stay
            self.listed.store(self.listed_from().await? == 0, Ordering::Relaxed);
        }
        Ok(self.listed.load(Ordering::Relaxed))
    }

    async fn listed_from(&self) -> Result<i64, LedgerError> {
        bounded(sqlx::query_scalar(FROM).fetch_one(&self.pool)).await
    }

    /// The newest records before `from_seq`; where there is none, nothing is left to list.
    async fn next_listing(&self, from_seq: i64) -> Result<Listing, LedgerError> {
        let step = sqlx::query(STEP).bind(from_seq).bind(STEP_RECORDS);
        let row = bounded(step.fetch_one(&self.pool)).await?;
        Ok(Listing { from_seq: row.try_get(0)?, records: row.try_get(1)? })
    }
}
