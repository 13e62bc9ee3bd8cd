//! A label is what a person said of a verdict: appended, never changed. What somebody says later
//! stands; what they take back stands for nothing.

use std::collections::BTreeMap;

use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{QueryBuilder, Row as _};
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::ledger::form::RecordForm;
use crate::ledger::reader::{Reader, bounded};
use crate::ledger::writing::Writing;
use crate::ledger::{Ledger, LedgerError};

/// Labels of one verdict that are read at most.
const MAX_LABELS: u32 = 500;

const INSERT: &str = "INSERT INTO label (seq, at_us, label, criterion, note, by_whom) \
    SELECT seq, ?2, ?3, ?4, ?5, ?6 FROM record WHERE id = ?1 RETURNING id";

/// What is told of a verdict that is not there; no label ever has it.
const NO_LABEL: i64 = 0;

/// What a person said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// The image is as it should be.
    Ok,
    /// It is not.
    Defect,
    /// What they said before does not hold any more.
    Withdrawn,
}

impl Said {
    /// Everything that can be said.
    pub const ALL: [Self; 3] = [Self::Ok, Self::Defect, Self::Withdrawn];

    /// The word used in answers.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Defect => "defect",
            Self::Withdrawn => "withdrawn",
        }
    }

    fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.label() == word)
    }
}

/// A label to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewLabel {
    /// The verdict's id.
    pub verdict: Uuid,
    /// When it was said.
    pub at: Timestamp,
    /// What.
    pub said: Said,
    /// Of which criterion; `None`: of the image as a whole.
    pub criterion: Option<String>,
    /// In their words.
    pub note: Option<String>,
    /// The name of the API key that said so.
    pub by: String,
}

/// A stored label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// The order in which they were written.
    pub id: i64,
    /// What was said.
    pub new: NewLabel,
}

/// What people found of one judge's first judgement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The judge.
    pub judge: String,
    /// Whether its judgement alone would not pass.
    pub rejects: bool,
    /// Whether the latest word of anybody is that there is a defect.
    pub is_defect: bool,
    /// Verdicts.
    pub n: u64,
}

impl Ledger {
    /// Appends a label; its id, or `None` where there is no such verdict.
    ///
    /// # Errors
    /// The store could not be written in time, or the ledger is closing.
    pub async fn label(&self, label: NewLabel) -> Result<Option<i64>, LedgerError> {
        let id = self.write(Writing::Label(Box::new(label))).await?;
        Ok((id != NO_LABEL).then_some(id))
    }
}

impl Reader {
    /// The labels of one verdict, oldest first; `None` where there is no such verdict.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn labels(&self, verdict: Uuid) -> Result<Option<Vec<Label>>, LedgerError> {
        let seq = sqlx::query_scalar::<_, i64>("SELECT seq FROM record WHERE id = ?1");
        let seq = bounded(seq.bind(verdict.to_string()).fetch_optional(&self.pool)).await?;
        let Some(seq) = seq else { return Ok(None) };
        let query = sqlx::query(
            "SELECT id, at_us, label, criterion, note, by_whom FROM label WHERE seq = ?1 \
             ORDER BY id LIMIT ?2",
        );
        let rows = bounded(query.bind(seq).bind(MAX_LABELS).fetch_all(&self.pool)).await?;
        rows.iter().map(|row| read_row(row, verdict)).collect::<Result<_, _>>().map(Some)
    }

    /// What holds of each of `records` that people have answered: a defect is what anybody's
    /// latest word calls one; what was taken back is left out.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn answered(
        &self,
        records: &[RecordForm],
    ) -> Result<BTreeMap<Uuid, Said>, LedgerError> {
        let by_seq: BTreeMap<i64, Uuid> =
            records.iter().filter_map(|one| Some((one.seq?, one.id))).collect();
        if by_seq.is_empty() {
            return Ok(BTreeMap::new());
        }
        let mut sql = QueryBuilder::new(
            "SELECT seq, max(label = 'defect') FROM (\
             SELECT seq, label, max(id) FROM label WHERE seq IN (",
        );
        let mut list = sql.separated(", ");
        for seq in by_seq.keys() {
            list.push_bind(*seq);
        }
        sql.push(") GROUP BY seq, by_whom) WHERE label <> 'withdrawn' GROUP BY seq");
        let rows = bounded(sql.build().fetch_all(&self.pool)).await?;
        let mut answered = BTreeMap::new();
        for row in rows {
            let (seq, is_defect): (i64, bool) = (row.try_get(0)?, row.try_get(1)?);
            if let Some(id) = by_seq.get(&seq) {
                answered.insert(*id, if is_defect { Said::Defect } else { Said::Ok });
            }
        }
        Ok(answered)
    }

    /// What people said between two moments about the first judgements of `policy` (`None`: of
    /// all): the latest word of each person counts, and a defect is what anybody calls one.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn found(
        &self,
        policy: Option<&str>,
        (since, until): (Timestamp, Timestamp),
    ) -> Result<Vec<Found>, LedgerError> {
        let query = sqlx::query(
            "SELECT judge, rejects, is_defect, count(*) FROM (\
             SELECT record.judge AS judge, record.first_verdict <> 'pass' AS rejects, \
             max(latest.label = 'defect') AS is_defect FROM (\
             SELECT seq, label, max(id) FROM label WHERE at_us >= ?2 AND at_us < ?3 \
             GROUP BY seq, by_whom) AS latest JOIN record ON record.seq = latest.seq \
             WHERE latest.label <> 'withdrawn' AND record.judge IS NOT NULL \
             AND record.first_verdict IS NOT NULL AND (?1 IS NULL OR record.policy = ?1) \
             GROUP BY record.seq) GROUP BY judge, rejects, is_defect",
        );
        let query = query.bind(policy).bind(since.0).bind(until.0);
        let rows = bounded(query.fetch_all(&self.pool)).await?;
        let read = |row: &SqliteRow| {
            let n: i64 = row.try_get(3)?;
            Ok(Found {
                judge: row.try_get(0)?,
                rejects: row.try_get(1)?,
                is_defect: row.try_get(2)?,
                n: n.unsigned_abs(),
            })
        };
        rows.iter().map(read).collect()
    }
}

/// Appends one label; its id, or [`NO_LABEL`].
pub(crate) async fn insert(
    conn: &mut SqliteConnection,
    label: &NewLabel,
) -> Result<i64, sqlx::Error> {
    let insert = sqlx::query_scalar(INSERT)
        .bind(label.verdict.to_string())
        .bind(label.at.0)
        .bind(label.said.label())
        .bind(label.criterion.as_ref())
        .bind(label.note.as_ref())
        .bind(&label.by);
    Ok(insert.fetch_optional(conn).await?.unwrap_or(NO_LABEL))
}

fn read_row(row: &SqliteRow, verdict: Uuid) -> Result<Label, LedgerError> {
    let word: String = row.try_get(2)?;
    let said = Said::of(&word).ok_or_else(|| LedgerError::Store(format!("label {word:?}")))?;
    let new = NewLabel {
        verdict,
        at: Timestamp(row.try_get(1)?),
        said,
        criterion: row.try_get(3)?,
        note: row.try_get(4)?,
        by: row.try_get(5)?,
    };
    Ok(Label { id: row.try_get(0)?, new })
}
