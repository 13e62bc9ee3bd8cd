//! Images that people looked at, with what judges said of them; and how many images came of each
//! kind that people look at about as often.
//!
//! Who looks takes what the queue of *Review* puts first, so the kinds are that queue's, down to the
//! few plain passes and fails at its end. What counts in no rate counts in no kind either, whether or
//! not somebody looked at it.

use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row as _};

use crate::clock::Timestamp;
use crate::domain::Digest;
use crate::domain::record::BLIND_LATE;
use crate::ledger::LedgerError;
use crate::ledger::pairs::{Judgements, Place, of_record, saying};
use crate::ledger::reader::{Reader, bounded, read_record};

/// Why people would look at an image, in the order in which they do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The verdict left it to them.
    Review,
    /// Judges said different things of it before the verdict.
    Disagreement,
    /// A score near its line decided.
    Borderline,
    /// A plain pass.
    Pass,
    /// A plain fail.
    Fail,
}

impl Kind {
    /// Every kind, in order.
    pub const ALL: [Self; 5] =
        [Self::Review, Self::Disagreement, Self::Borderline, Self::Pass, Self::Fail];

    /// The word used in answers.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Review => "review",
            Self::Disagreement => "disagreement",
            Self::Borderline => "borderline",
            Self::Pass => "pass",
            Self::Fail => "fail",
        }
    }

    fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.label() == word)
    }
}

/// The kind of a record, as SQL.
const KIND: &str = "CASE WHEN record.verdict = 'review' THEN 'review' \
    WHEN (SELECT count(DISTINCT said) FROM attempt WHERE attempt.seq = record.seq \
    AND attempt.outcome = 'judged') > 1 THEN 'disagreement' \
    WHEN record.form ->> 'borderline' THEN 'borderline' \
    ELSE coalesce(record.would_be, record.verdict) END";

/// The latest word of each person counts, and a defect is what anybody calls one.
const LABELLED: &str = "SELECT record.seq, record.form, late.form, KIND, latest.is_defect FROM (\
    SELECT seq, max(label = 'defect') AS is_defect FROM (\
    SELECT seq, label, max(id) FROM label GROUP BY seq, by_whom) \
    WHERE label <> 'withdrawn' GROUP BY seq) AS latest \
    JOIN record ON record.seq = latest.seq LEFT JOIN late ON late.seq = record.seq \
    WHERE record.policy = ?1 AND record.at_us >= ?2 AND record.at_us < ?3 \
    AND record.basis IN ('judge', 'second_opinion') \
    ORDER BY record.at_us DESC, record.seq DESC LIMIT ?4";

/// What counts in rates, with the basis: see [`crate::ledger::form::RecordForm::is_rated`]. What was
/// found behind the verdict has its row here too.
const SEEN: &str = "NOT EXISTS (SELECT 1 FROM flag WHERE flag.flag = 'BLIND' \
    AND flag.at_us = record.at_us AND flag.seq = record.seq)";

/// First judgements of a stretch that no hedge won, and what samples and backfills brought.
const CAME: &str = "SELECT record.judge, record.judged_by, KIND, count(*) FROM record \
    WHERE record.policy = ?1 AND record.at_us BETWEEN ?4 AND ?2 \
    AND (record.at_us, record.seq) < (?2, ?3) AND (record.at_us, record.seq) >= (?4, ?5) \
    AND record.basis IN ('judge', 'second_opinion') AND record.judge IS NOT NULL AND SEEN \
    AND record.route IN ('primary', 'failover', 'probe') GROUP BY 1, 2, 3 \
    UNION ALL SELECT shadow.judge, shadow.judged_by, KIND, count(*) \
    FROM record CROSS JOIN shadow ON shadow.seq = record.seq \
    WHERE record.policy = ?1 AND record.at_us BETWEEN ?4 AND ?2 \
    AND (record.at_us, record.seq) < (?2, ?3) AND (record.at_us, record.seq) >= (?4, ?5) \
    AND record.basis IN ('judge', 'second_opinion') AND SEEN \
    AND shadow.purpose IN ('sample', 'backfill') AND shadow.form ->> 'said' IS NOT NULL \
    GROUP BY 1, 2, 3";

/// One image that people looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct Labelled {
    /// Why they would.
    pub kind: Kind,
    /// Whether anybody's latest word is that there is a defect.
    pub is_defect: bool,
    /// What judges said of it.
    pub judgements: Judgements,
}

/// Images that people looked at, the newest of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Looks {
    /// Newest first, without those whose verdict counts in no rate.
    pub newest: Vec<Labelled>,
    /// How many were read.
    pub read: u64,
    /// Whether there are no older ones.
    pub is_all: bool,
}

/// Images of one kind that a judge judged, chosen neither by what it said nor by how long it took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Came {
    /// The judge.
    pub judge: String,
    /// What decided its judging.
    pub judged_by: Digest,
    /// The kind.
    pub kind: Kind,
    /// How many.
    pub n: u64,
}

impl Reader {
    /// The newest images under `policy` between two moments that people looked at, so many at
    /// `most`.
    ///
    /// # Errors
    /// The store cannot be read, or not in time.
    pub async fn labelled(
        &self,
        policy: &str,
        (since, until): (Timestamp, Timestamp),
        most: u32,
    ) -> Result<Looks, LedgerError> {
        let sql = LABELLED.replace("KIND", KIND);
        let query = sqlx::query(AssertSqlSafe(sql)).bind(policy).bind(since.0).bind(until.0);
        // one more tells whether there are older ones
        let rows = query.bind(i64::from(most) + 1).fetch_all(&self.pool);
        let mut rows = bounded(rows).await?;
        let is_all = rows.len() as u64 <= u64::from(most);
        if !is_all {
            rows.pop();
        }
        let seqs: Vec<i64> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
        let seqs = serde_json::to_string(&seqs);
        let seqs = seqs.map_err(|why| LedgerError::Store(format!("numbers of records: {why}")))?;
        let mut behind = self.behind(&seqs).await?;
        let mut newest = Vec::with_capacity(rows.len());
        for row in &rows {
            let form = read_record(row)?;
            let (kind, is_defect) = (read_kind(row, 3)?, row.try_get(4)?);
            let shadows = form.seq.and_then(|seq| behind.remove(&seq)).unwrap_or_default();
            let said = shadows.into_iter().filter_map(|one| {
                let purpose = one.purpose.label().to_owned();
                saying(one.attempt, Some(purpose), Some(one.judged_by))
            });
            let judgements = of_record(form, said.collect());
            newest.extend(judgements.map(|all| Labelled { kind, is_defect, judgements: all }));
        }
        Ok(Looks { newest, read: rows.len() as u64, is_all })
    }

    /// How many images came, by kind, in one stretch of records under `policy`, newest first, from
    /// `place` back to `since`; and where the next one begins, `None` after the last.
    ///
    /// # Errors
    /// The store cannot be read, or not in time.
    pub async fn came(
        &self,
        policy: &str,
        since: Timestamp,
        place: Place,
    ) -> Result<(Vec<Came>, Option<Place>), LedgerError> {
        let next = self.next_place(policy, since, place).await?;
        let seen = SEEN.replace("BLIND", BLIND_LATE);
        let sql = CAME.replace("KIND", KIND).replace("SEEN", &seen);
        let ((at, seq), (end_at, end_seq)) =
            (place.parts(), next.unwrap_or(Place::before(since)).parts());
        let query = sqlx::query(AssertSqlSafe(sql)).bind(policy).bind(at).bind(seq);
        let rows = bounded(query.bind(end_at).bind(end_seq).fetch_all(&self.pool)).await?;
        let came = rows.iter().map(read_came).collect::<Result<_, _>>()?;
        Ok((came, next))
    }
}

fn read_came(row: &SqliteRow) -> Result<Came, LedgerError> {
    let (judged_by, n): (&str, i64) = (row.try_get(1)?, row.try_get(3)?);
    let judged_by = judged_by.parse().map_err(|why| LedgerError::row(None, &why))?;
    Ok(Came { judge: row.try_get(0)?, judged_by, kind: read_kind(row, 2)?, n: n.unsigned_abs() })
}

fn read_kind(row: &SqliteRow, column: usize) -> Result<Kind, LedgerError> {
    let word: &str = row.try_get(column)?;
    Kind::of(word).ok_or_else(|| LedgerError::Store(format!("a record of kind {word:?}")))
}
