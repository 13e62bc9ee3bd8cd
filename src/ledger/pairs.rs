//! A pair is one image that two judges judged: read from the attempts of one record and from what was
//! said of it behind its verdict, newest first, a stretch of records at a time.
//!
//! Nothing is chosen here. Why each judge was asked stands beside what it said, and whoever compares
//! judges decides what may be compared.

use std::collections::BTreeMap;

use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::domain::{AttemptOutcome, Digest, Route};
use crate::ledger::LedgerError;
use crate::ledger::form::{AttemptForm, RecordForm};
use crate::ledger::reader::{Reader, bounded, read_record};

/// Records looked through at a time: bounds the time of one query, and what it holds in memory.
const STRETCH: u32 = 5_000;

/// Where the stretch ends: as many records on, at most.
const END: &str = "SELECT at_us, seq FROM record WHERE policy = ?1 AND at_us >= ?2 AND at_us <= ?3 \
    AND (at_us, seq) < (?3, ?4) ORDER BY at_us DESC, seq DESC LIMIT 1 OFFSET ?5";

/// Records of the stretch that a second judge judged as well.
const RECORDS: &str = "SELECT record.seq, record.form, late.form FROM record \
    LEFT JOIN late ON late.seq = record.seq \
    WHERE record.policy = ?1 AND record.at_us BETWEEN ?4 AND ?2 \
    AND (record.at_us, record.seq) < (?2, ?3) AND (record.at_us, record.seq) >= (?4, ?5) \
    AND record.basis IN ('judge', 'second_opinion') \
    AND (EXISTS (SELECT 1 FROM attempt WHERE attempt.seq = record.seq \
    AND attempt.outcome = 'judged' AND attempt.judge <> record.judge) \
    OR EXISTS (SELECT 1 FROM shadow WHERE shadow.seq = record.seq)) \
    ORDER BY record.at_us DESC, record.seq DESC";

/// What was said of the stretch's records behind their verdicts.
const SHADOWS: &str = "SELECT record.seq, shadow.purpose, shadow.judged_by, shadow.form \
    FROM record CROSS JOIN shadow ON shadow.seq = record.seq \
    WHERE record.policy = ?1 AND record.at_us BETWEEN ?4 AND ?2 \
    AND (record.at_us, record.seq) < (?2, ?3) AND (record.at_us, record.seq) >= (?4, ?5) \
    ORDER BY shadow.id";

/// What one judge said of an image.
#[derive(Clone, Debug, PartialEq)]
pub struct Saying {
    /// The judge's name.
    pub judge: String,
    /// Its provider.
    pub provider: String,
    /// Its model.
    pub model: String,
    /// Why it was asked.
    pub route: Route,
    /// What a shadow of a row of its own was asked for: `sample`, `backfill`, `burst`, `hedge`.
    pub purpose: Option<String>,
    /// What decided its judging, where that was written down: of the judge whose verdict it is, and
    /// of shadows of a row of their own.
    pub judged_by: Option<Digest>,
    /// Scores by criterion.
    pub scores: Vec<(String, Option<f64>)>,
}

/// One image, and everything that judges said of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgements {
    /// The record's id.
    pub id: Uuid,
    /// When the check began.
    pub at: Timestamp,
    /// The image.
    pub image: Digest,
    /// What decided the judging of the judge whose verdict it is.
    pub judged_by: Digest,
    /// That judge.
    pub first: String,
    /// In the order in which they were asked; shadows of a row of their own last.
    pub said: Vec<Saying>,
}

/// Where the next stretch begins: before this record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(i64, i64);

impl Place {
    /// Everything that began before `until`.
    #[must_use]
    pub fn before(until: Timestamp) -> Self {
        Self(until.0, i64::MIN)
    }

    /// The moment and the number of the record.
    pub(crate) fn parts(self) -> (i64, i64) {
        let Self(at, seq) = self;
        (at, seq)
    }
}

impl Reader {
    /// Where the stretch from `place` back to `since` ends: `None` where the next would be empty.
    pub(crate) async fn next_place(
        &self,
        policy: &str,
        since: Timestamp,
        Place(at, seq): Place,
    ) -> Result<Option<Place>, LedgerError> {
        let end = sqlx::query_as::<_, (i64, i64)>(END).bind(policy).bind(since.0).bind(at);
        let end = end.bind(seq).bind(STRETCH - 1).fetch_optional(&self.pool);
        Ok(bounded(end).await?.map(|(at, seq)| Place(at, seq)))
    }

    /// One stretch of what several judges said of the same images under `policy`, newest first, from
    /// `place` back to `since`; and where the next one begins, `None` after the last.
    ///
    /// # Errors
    /// The store cannot be read, or not in time.
    pub async fn judgements(
        &self,
        policy: &str,
        since: Timestamp,
        place: Place,
    ) -> Result<(Vec<Judgements>, Option<Place>), LedgerError> {
        let Place(at, seq) = place;
        let end = self.next_place(policy, since, place).await?;
        let Place(end_at, end_seq) = end.unwrap_or(Place::before(since));
        let shadows = sqlx::query(SHADOWS).bind(policy).bind(at).bind(seq);
        let shadows = shadows.bind(end_at).bind(end_seq).fetch_all(&self.pool);
        let mut behind: BTreeMap<i64, Vec<Saying>> = BTreeMap::new();
        for row in bounded(shadows).await? {
            let (seq, saying) = read_shadow(&row)?;
            behind.entry(seq).or_default().extend(saying);
        }
        let records = sqlx::query(RECORDS).bind(policy).bind(at).bind(seq);
        let records = records.bind(end_at).bind(end_seq).fetch_all(&self.pool);
        let mut judgements = Vec::new();
        for row in bounded(records).await? {
            let form = read_record(&row)?;
            let shadows = form.seq.and_then(|seq| behind.remove(&seq)).unwrap_or_default();
            judgements.extend(of_record(form, shadows));
        }
        Ok((judgements, end))
    }
}

/// What was said of one record; `None` where its verdict does not count.
pub(crate) fn of_record(form: RecordForm, shadows: Vec<Saying>) -> Option<Judgements> {
    if !form.is_rated() {
        return None;
    }
    let (first, route) = (form.judge.as_ref()?.name.clone(), form.route?);
    let judged_by = form.judged_by;
    let (id, at, image) = (form.id, form.at, form.image.digest);
    let said = form.attempts.into_iter().filter_map(|attempt| {
        let is_first = attempt.judge == first && attempt.route == route;
        saying(attempt, None, is_first.then_some(judged_by))
    });
    Some(Judgements { id, at, image, judged_by, said: said.chain(shadows).collect(), first })
}

/// What an attempt says of an image; `None` where it is no judgement.
pub(crate) fn saying(
    attempt: AttemptForm,
    purpose: Option<String>,
    judged_by: Option<Digest>,
) -> Option<Saying> {
    let is_judged = attempt.outcome == AttemptOutcome::Judged;
    is_judged.then_some(Saying {
        judge: attempt.judge,
        provider: attempt.provider,
        model: attempt.model,
        route: attempt.route,
        purpose,
        judged_by,
        scores: attempt.scores.0,
    })
}

fn read_shadow(row: &SqliteRow) -> Result<(i64, Option<Saying>), LedgerError> {
    let seq: i64 = row.try_get(0)?;
    let (purpose, judged_by, form): (String, String, String) =
        (row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
    let judged_by = judged_by.parse().map_err(|why| LedgerError::row(Some(seq), &why))?;
    let attempt = serde_json::from_str(&form).map_err(|why| LedgerError::row(Some(seq), &why))?;
    Ok((seq, saying(attempt, Some(purpose), Some(judged_by))))
}
