//! A stretch is some records, and what was said behind their verdicts, in the order in which they
//! count.
//!
//! What older programs stored counts in the order in which it was stored; behind that the store
//! says what counts when. A shadow is read beside its record as it was answered, without the rest
//! of an early answer: whether that has come by then is chance, and a fold must not depend on it.

use std::collections::BTreeSet;

use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use crate::clock::Timestamp;
use crate::ledger::LedgerError;
use crate::ledger::form::{AttemptForm, RecordForm};
use crate::ledger::reader::{Reader, bounded, read_record};
use crate::ledger::shadows::Purpose;
use crate::ledger::writing::Followed;

const COUNTED: &str = "SELECT record.seq, record.form, late.form, counted.n, record.at_us, \
    counted.shadow, shadow.form, shadow.judged_by, shadow.at_us, \
    unwatched.seq IS NOT NULL OR coalesce(brought.unwatched, 0), shadow.purpose \
    FROM counted CROSS JOIN record ON record.seq = counted.seq \
    LEFT JOIN late ON late.seq = record.seq AND counted.without_rest = 0 AND counted.shadow = 0 \
    LEFT JOIN shadow ON shadow.id = counted.shadow \
    LEFT JOIN unwatched ON unwatched.seq = counted.seq \
    LEFT JOIN brought ON brought.shadow = counted.shadow \
    WHERE counted.n > ?1 AND counted.n <= ?2 ORDER BY counted.n LIMIT ?3";

const OLD: &str = "SELECT record.seq, record.form, late.form, record.seq, record.at_us, 0, \
    NULL, NULL, NULL, 0, NULL \
    FROM record LEFT JOIN late ON late.seq = record.seq \
    WHERE record.seq > ?1 AND record.seq <= ?2 ORDER BY record.seq LIMIT ?3";

/// Something that counts.
#[derive(Debug)]
pub(super) enum Counted {
    /// A record.
    Record(Box<RecordForm>),
    /// A record that was brought in when newer ones were there: it is added up, and not watched.
    Older(Box<RecordForm>),
    /// What was said behind a record's verdict.
    Shadow(Box<Aside>),
}

impl Counted {
    /// The record, itself or the one that it belongs to.
    pub(super) fn record(&self) -> &RecordForm {
        match self {
            Self::Record(form) | Self::Older(form) => form,
            Self::Shadow(aside) => &aside.record,
        }
    }
}

/// What was said behind a record's verdict.
#[derive(Debug)]
pub(super) struct Aside {
    /// The record, as it was answered.
    pub(super) record: RecordForm,
    /// The call.
    pub(super) attempt: AttemptForm,
    /// Digest of what decided the judging.
    pub(super) judged_by: String,
    /// When the call began.
    pub(super) at: Timestamp,
    /// Why it was made.
    pub(super) purpose: Purpose,
    /// Whether monitors see it: its record is seen, it was not brought in behind newer ones, and it
    /// says how its judge judges.
    pub(super) is_watched: bool,
}

/// Some of what counts, in its order.
#[derive(Debug)]
pub(super) struct Stretch {
    /// What can be read, each with its place in the order.
    pub(super) all: Vec<(i64, Counted)>,
    /// Up to where it goes, with what cannot; `None` where there is nothing. Of a stretch without a
    /// record `seq` and `at_us` are 0.
    pub(super) to: Option<Followed>,
    /// Whether there was room for more.
    pub(super) is_last: bool,
}

impl Reader {
    /// At most `most` behind the `after`th, not past the `until`th; up to `old_n` they were stored
    /// by older programs. What cannot be read is left out and logged: it must not stop the others
    /// from counting.
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
    let mut all = Vec::with_capacity(rows.len());
    let mut to: Option<Followed> = None;
    for row in rows {
        let n = row.try_get(3)?;
        to = Some(match row.try_get::<i64, _>(5)? {
            0 => to.unwrap_or_default().on_to(n, row.try_get(0)?, row.try_get(4)?),
            _ => Followed { n, ..to.unwrap_or_default() },
        });
        match read_one(row) {
            Ok(one) => all.push((n, one)),
            Err(why) => {
                tracing::error!(%why, "a record, or what was said behind it, does not count");
            }
        }
    }
    Ok(Stretch { all, to, is_last })
}

fn read_one(row: &SqliteRow) -> Result<Counted, LedgerError> {
    let record = read_record(row)?;
    let is_watched = !row.try_get::<bool, _>(9)?;
    if row.try_get::<i64, _>(5)? == 0 {
        let counted = if is_watched { Counted::Record } else { Counted::Older };
        return Ok(counted(Box::new(record)));
    }
    let attempt: &str = row.try_get(6)?;
    let attempt = serde_json::from_str(attempt);
    let attempt = attempt.map_err(|why| LedgerError::row(record.seq, &why))?;
    let (judged_by, at) = (row.try_get(7)?, Timestamp(row.try_get(8)?));
    let unknown = || LedgerError::row(record.seq, &"a shadow of no known purpose");
    let purpose = Purpose::of(row.try_get(10)?).ok_or_else(unknown)?;
    let is_watched = is_watched && purpose.is_evidence();
    let aside = Aside { record, attempt, judged_by, at, purpose, is_watched };
    Ok(Counted::Shadow(Box::new(aside)))
}
