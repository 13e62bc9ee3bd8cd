//! A stretch is some records in the order in which they count.
//!
//! What older programs stored counts in the order in which it was stored; behind that the store
//! says which record counts when.

use std::collections::BTreeSet;

use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use crate::ledger::LedgerError;
use crate::ledger::form::RecordForm;
use crate::ledger::reader::{Reader, bounded, read_record};
use crate::ledger::writing::Followed;

const COUNTED: &str = "SELECT record.seq, record.form, late.form, counted.n, record.at_us \
    FROM counted CROSS JOIN record ON record.seq = counted.seq \
    LEFT JOIN late ON late.seq = record.seq AND counted.without_rest = 0 \
    WHERE counted.n > ?1 AND counted.n <= ?2 ORDER BY counted.n LIMIT ?3";

const OLD: &str = "SELECT record.seq, record.form, late.form, record.seq, record.at_us FROM record \
    LEFT JOIN late ON late.seq = record.seq \
    WHERE record.seq > ?1 AND record.seq <= ?2 ORDER BY record.seq LIMIT ?3";

/// Some records as they count.
#[derive(Debug)]
pub(super) struct Stretch {
    /// Those that can be read, each with its place in the order.
    pub(super) records: Vec<(i64, RecordForm)>,
    /// Up to where it goes, with those that cannot; `None` where there is nothing.
    pub(super) to: Option<Followed>,
    /// Whether there was room for more.
    pub(super) is_last: bool,
}

impl Reader {
    /// At most `most` records behind the `after`th, not past the `until`th; up to `old_n` they were
    /// stored by older programs. One that cannot be read is left out and logged: it must not stop
    /// the others from counting.
    pub(super) async fn counted(
        &self,
        (after, until): (i64, i64),
        old_n: i64,
        most: u32,
    ) -> Result<Stretch, LedgerError> {
        let mut rows = Vec::new();
        if after < old_n {
            let query = sqlx::query(OLD).bind(after).bind(until.min(old_n)).bind(most);
            rows = bounded(query.fetch_all(&self.pool)).await?;
        }
        if rows.is_empty() && old_n < until {
            let query = sqlx::query(COUNTED).bind(after).bind(until).bind(most);
            rows = bounded(query.fetch_all(&self.pool)).await?;
        } else if !rows.is_empty() {
            // whatever there is behind it is for the next
            return read(&rows, until <= old_n && rows.len() < most as usize);
        }
        read(&rows, rows.len() < most as usize)
    }

    /// Up to where sums and marks go.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn followed(&self) -> Result<Followed, LedgerError> {
        let query = sqlx::query("SELECT n, seq, at_us FROM followed WHERE id = 1");
        let row = bounded(query.fetch_one(&self.pool)).await?;
        Ok(Followed { n: row.try_get(0)?, seq: row.try_get(1)?, at_us: row.try_get(2)? })
    }

    /// The last record of older programs; 0 where there is none.
    pub(super) async fn old_n(&self) -> Result<i64, LedgerError> {
        let query = sqlx::query_scalar("SELECT old_n FROM followed WHERE id = 1");
        bounded(query.fetch_one(&self.pool)).await
    }

    /// Policies and revisions of which there is a mark.
    pub(super) async fn revisions(&self) -> Result<BTreeSet<(String, String)>, LedgerError> {
        let query = sqlx::query_as::<_, (String, String)>(
            "SELECT policy, form ->> 'revision' FROM mark WHERE kind = 'revision'",
        );
        Ok(bounded(query.fetch_all(&self.pool)).await?.into_iter().collect())
    }
}

fn read(rows: &[SqliteRow], is_last: bool) -> Result<Stretch, LedgerError> {
    let mut records = Vec::with_capacity(rows.len());
    let mut to = None;
    for row in rows {
        let n = row.try_get(3)?;
        to = Some(Followed { n, seq: row.try_get(0)?, at_us: row.try_get(4)? });
        match read_record(row) {
            Ok(form) => records.push((n, form)),
            Err(why) => tracing::error!(%why, "a record does not count"),
        }
    }
    Ok(Stretch { records, to, is_last })
}
