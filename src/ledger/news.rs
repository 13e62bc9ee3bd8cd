//! News are the records that were written behind a given one: for whoever shows them as they come.

use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use crate::ledger::LedgerError;
use crate::ledger::form::RecordForm;
use crate::ledger::reader::{Reader, bounded, read_record};

/// Records looked back on at most: a place of long ago must not make the store read itself whole.
pub const MAX_LOOK: i64 = 10_000;

/// What was written behind a record.
#[derive(Clone, Debug, PartialEq)]
pub struct News {
    /// How many of those that were looked at.
    pub n: u64,
    /// How many more there may be, of any policy: they are too long ago, or could not be read.
    pub passed_over: u64,
    /// The last of them, of any policy; 0 where there is none.
    pub last_seq: i64,
    /// The newest, newest first, and whether an image of it is kept.
    pub records: Vec<(RecordForm, bool)>,
}

impl News {
    /// What is told of a stretch that nobody looked at.
    #[must_use]
    pub fn unread(after: i64, last_seq: i64) -> Self {
        Self { n: 0, passed_over: between(after, last_seq), last_seq, records: Vec::new() }
    }
}

fn between(after: i64, until: i64) -> u64 {
    u64::try_from(until.saturating_sub(after)).unwrap_or_default()
}

impl Reader {
    /// The latest `seq`; 0 where there is no record.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn last_seq(&self) -> Result<i64, LedgerError> {
        let query = sqlx::query_scalar("SELECT coalesce(max(seq), 0) FROM record");
        bounded(query.fetch_one(&self.pool)).await
    }

    /// What was written behind `after` up to `last_seq`, of `policy` or of all; at most `most`
    /// records of it. No more than the newest [`MAX_LOOK`] records are looked at.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn news(
        &self,
        (after, last_seq): (i64, i64),
        policy: Option<&str>,
        most: u32,
    ) -> Result<News, LedgerError> {
        let from = after.max(last_seq.saturating_sub(MAX_LOOK));
        let passed_over = between(after, from);
        let after = from;
        let count = sqlx::query_scalar::<_, i64>(
            "SELECT count(*) FROM record WHERE seq > ?1 AND seq <= ?2 \
             AND (?3 IS NULL OR policy = ?3)",
        );
        let count = count.bind(after).bind(last_seq).bind(policy);
        let n = bounded(count.fetch_one(&self.pool)).await?.unsigned_abs();
        let query = sqlx::query(
            "SELECT record.seq, record.form, late.form, \
             EXISTS (SELECT 1 FROM image WHERE image.seq = record.seq) FROM record \
             LEFT JOIN late ON late.seq = record.seq WHERE record.seq > ?1 AND record.seq <= ?2 \
             AND (?3 IS NULL OR record.policy = ?3) ORDER BY record.seq DESC LIMIT ?4",
        );
        let query = query.bind(after).bind(last_seq).bind(policy).bind(most);
        let rows = bounded(query.fetch_all(&self.pool)).await?;
        let read = |row: &SqliteRow| Ok((read_record(row)?, row.try_get(3)?));
        let read = move || rows.iter().map(read).collect::<Result<_, LedgerError>>();
        let records = self.apart(read).await??;
        Ok(News { n, passed_over, last_seq, records })
    }
}
