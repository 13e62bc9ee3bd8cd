//! What judges said behind a verdict: appended to its record, never changed, and no verdict rests
//! on it.
//!
//! Each takes its own place in the order in which things count, so that sums and drift take it up
//! exactly once. Calls that failed are kept too, for their bill; they say nothing of the image.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Row as _, query, query_as};
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::domain::{Attempt, Digest, MicroUsd};
use crate::drift::interval::real;
use crate::ledger::figures::Scope;
use crate::ledger::form::AttemptForm;
use crate::ledger::reader::{Reader, bounded};
use crate::ledger::wire::{digest, moment, word};
use crate::ledger::writing::Writing;
use crate::ledger::{Ledger, LedgerError};

/// The first stands: a judge is asked once for one entry.
const INSERT: &str = "INSERT INTO shadow (seq, at_us, policy, judge, purpose, entry, propensity, \
    judged_by, cost_micro_usd, form) SELECT seq, ?2, policy, ?3, ?4, ?5, ?6, ?7, ?8, ?9 \
    FROM record WHERE id = ?1 ON CONFLICT (seq, judge, entry) DO NOTHING RETURNING id, seq";

const INSERT_COUNTED: &str = "INSERT INTO counted (seq, shadow) VALUES (?1, ?2)";

const INSERT_BROUGHT: &str = "INSERT INTO brought (shadow, unwatched) VALUES (?1, ?2)";

const BEHIND: &str = "SELECT shadow.at_us, purpose, entry, shadow.propensity, shadow.judged_by, \
    shadow.form, counted.n, shadow.seq, \
    unwatched.seq IS NOT NULL OR coalesce(brought.unwatched, 0) \
    FROM json_each(?1) \
    CROSS JOIN shadow ON shadow.seq = value \
    LEFT JOIN counted ON counted.seq = shadow.seq AND counted.shadow = shadow.id \
    LEFT JOIN unwatched ON unwatched.seq = shadow.seq \
    LEFT JOIN brought ON brought.shadow = shadow.id \
    ORDER BY shadow.id";

/// What came from another store was paid for there.
const SPENT: &str = "SELECT policy, purpose, entry, sum(cost_micro_usd) FROM shadow \
    LEFT JOIN brought ON brought.shadow = shadow.id \
    WHERE at_us >= ?1 AND brought.shadow IS NULL GROUP BY 1, 2, 3";

/// A call follows its record, so what is older than the range cannot belong to it.
const BACKFILLED: &str = "SELECT (record.at_us - ?2) / ?5, record.judge, \
    record.first_verdict != 'pass', shadow.form ->> 'said' != 'pass', shadow.propensity, count(*) \
    FROM shadow JOIN record ON record.seq = shadow.seq \
    WHERE shadow.policy = ?1 AND shadow.at_us >= ?2 AND shadow.purpose = 'backfill' \
    AND shadow.judge = ?4 AND record.at_us >= ?2 AND record.at_us < ?3 \
    AND record.judge IS NOT NULL AND record.first_verdict IS NOT NULL GROUP BY 1, 2, 3, 4, 5 \
    ORDER BY 1, 2, 3, 4, 5";

/// What is told of a verdict that is not there, or was judged so already; no row ever has it.
const NO_SHADOW: i64 = 0;

/// Why a judge was asked behind a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// Drawn by an entry of the policy.
    Sample,
    /// Others judged the image while this judge was away.
    Backfill,
    /// An alarm is being looked into.
    Burst,
    /// It lost a hedge: another's verdict on the image was faster.
    Hedge,
}

impl Purpose {
    /// Every purpose.
    pub const ALL: [Self; 4] = [Self::Sample, Self::Backfill, Self::Burst, Self::Hedge];

    /// The word used in the store, answers and metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Sample => "sample",
            Self::Backfill => "backfill",
            Self::Burst => "burst",
            Self::Hedge => "hedge",
        }
    }

    /// Whether what was said says how its judge judges. An image that a hedge won was chosen by how
    /// long its judges took, and rejects are slower to write: what is said of it is compared with
    /// what else was said of it, and with nothing else.
    #[must_use]
    pub fn is_evidence(self) -> bool {
        match self {
            Self::Sample | Self::Backfill | Self::Burst => true,
            Self::Hedge => false,
        }
    }

    pub(crate) fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.label() == word)
    }
}

/// One call behind a verdict, to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct NewShadow {
    /// The verdict's id.
    pub verdict: Uuid,
    /// When the call began.
    pub at: Timestamp,
    /// Why it was made.
    pub purpose: Purpose,
    /// The policy's entry that wanted it; empty where none did.
    pub entry: String,
    /// Probability that it would be made, fixed before it was; over 0 and at most 1.
    pub propensity: f64,
    /// Digest of what decided the judging.
    pub judged_by: Digest,
    /// The call.
    pub attempt: Attempt,
}

/// One call behind a verdict, as it is answered and exported.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shadow {
    /// When the call began.
    #[serde(with = "moment")]
    pub at: Timestamp,
    /// Why it was made: sample, backfill, burst or hedge.
    #[serde(with = "word")]
    pub purpose: Purpose,
    /// The policy's entry that wanted it; null where none did.
    pub entry: Option<String>,
    /// Probability that it would be made, fixed before it was.
    pub propensity: f64,
    /// Digest of what decided the judging.
    #[serde(with = "digest")]
    pub judged_by: Digest,
    /// Its place in the order in which records and shadows count.
    pub counted: Option<i64>,
    /// Whether it is added up and no monitor sees it, by itself or with its record.
    #[serde(default)]
    pub unwatched: bool,
    /// The call.
    #[serde(flatten)]
    pub attempt: AttemptForm,
}

/// One call that was kept elsewhere, to be brought behind its verdict here.
#[derive(Clone, Debug, PartialEq)]
pub struct Behind {
    /// The verdict's id.
    pub verdict: Uuid,
    /// The verdict's policy.
    pub policy: String,
    /// When the verdict's check began.
    pub at: Timestamp,
    /// The call.
    pub shadow: Shadow,
}

/// What was spent behind verdicts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spent {
    /// The policy.
    pub policy: String,
    /// What for.
    pub purpose: Purpose,
    /// The policy's entry; empty where none is meant.
    pub entry: String,
    /// How much.
    pub cost: MicroUsd,
}

/// Images that one judge served, and that another was to judge afterwards.
#[derive(Clone, Debug, PartialEq)]
pub struct Backfilled {
    /// Which bucket, from 0.
    pub bucket: usize,
    /// Who served them.
    pub served_by: String,
    /// Whether that judgement alone would not pass.
    pub served_rejects: bool,
    /// Whether the one asked afterwards would not pass them; `None`: it did not answer, or could not
    /// be asked.
    pub rejects: Option<bool>,
    /// Probability, fixed before the calls, of being asked.
    pub propensity: f64,
    /// Images.
    pub n: u64,
}

type BackfilledRow = (i64, String, bool, Option<bool>, f64, i64);

impl Backfilled {
    /// How many images these stand for, whether they were shown or not.
    #[must_use]
    pub fn stands_for(&self) -> f64 {
        real(self.n) / self.propensity
    }
}

impl Ledger {
    /// Appends what was said behind a verdict; `false` where there is no such verdict, or the judge
    /// has been asked for the same entry already.
    ///
    /// # Errors
    /// The store could not be written in time, or the ledger is closing.
    pub async fn shadow(&self, shadow: NewShadow) -> Result<bool, LedgerError> {
        Ok(self.write(Writing::Shadow(Box::new(shadow))).await? != NO_SHADOW)
    }
}

/// A row of the table, but for what its record says.
struct Inserted<'a> {
    verdict: Uuid,
    at: Timestamp,
    purpose: Purpose,
    entry: &'a str,
    propensity: f64,
    judged_by: Digest,
    judge: &'a str,
    cost: MicroUsd,
    form: String,
    /// Of one that comes from another store: whether no monitor sees it.
    brought_unwatched: Option<bool>,
}

/// Writes the row and its place in the order in which things count, in the caller's transaction; the
/// row's id, or [`NO_SHADOW`].
pub(crate) async fn insert(
    conn: &mut SqliteConnection,
    shadow: &NewShadow,
) -> Result<i64, sqlx::Error> {
    let form = serde_json::to_string(&AttemptForm::from(&shadow.attempt));
    let inserted = Inserted {
        verdict: shadow.verdict,
        at: shadow.at,
        purpose: shadow.purpose,
        entry: &shadow.entry,
        propensity: shadow.propensity,
        judged_by: shadow.judged_by,
        judge: &shadow.attempt.judge.name,
        cost: shadow.attempt.cost,
        form: form.map_err(|why| sqlx::Error::Encode(Box::new(why)))?,
        brought_unwatched: None,
    };
    Ok(insert_row(conn, inserted).await?.map_or(NO_SHADOW, |(id, _)| id))
}

/// The same with one that was kept elsewhere; the `seq` of its record, or [`NO_SHADOW`].
pub(crate) async fn insert_behind(
    conn: &mut SqliteConnection,
    Behind { verdict, shadow, policy: _, at: _ }: &Behind,
) -> Result<i64, sqlx::Error> {
    let form = serde_json::to_string(&shadow.attempt);
    let inserted = Inserted {
        verdict: *verdict,
        at: shadow.at,
        purpose: shadow.purpose,
        entry: shadow.entry.as_deref().unwrap_or_default(),
        propensity: shadow.propensity,
        judged_by: shadow.judged_by,
        judge: &shadow.attempt.judge,
        cost: MicroUsd(shadow.attempt.cost_micro_usd.unwrap_or_default()),
        form: form.map_err(|why| sqlx::Error::Encode(Box::new(why)))?,
        brought_unwatched: Some(shadow.unwatched),
    };
    Ok(insert_row(conn, inserted).await?.map_or(NO_SHADOW, |(_, seq)| seq))
}

/// Its id and its record's `seq`, unless there is no such record or it is there already.
async fn insert_row(
    conn: &mut SqliteConnection,
    row: Inserted<'_>,
) -> Result<Option<(i64, i64)>, sqlx::Error> {
    let insert = query_as::<_, (i64, i64)>(INSERT)
        .bind(row.verdict.to_string())
        .bind(row.at.0)
        .bind(row.judge)
        .bind(row.purpose.label())
        .bind(row.entry)
        .bind(row.propensity)
        .bind(row.judged_by.to_string())
        .bind(i64::try_from(row.cost.0).unwrap_or(i64::MAX))
        .bind(row.form);
    let Some((id, seq)) = insert.fetch_optional(&mut *conn).await? else { return Ok(None) };
    query(INSERT_COUNTED).bind(seq).bind(id).execute(&mut *conn).await?;
    if let Some(is_unwatched) = row.brought_unwatched {
        query(INSERT_BROUGHT).bind(id).bind(is_unwatched).execute(conn).await?;
    }
    Ok(Some((id, seq)))
}

impl Reader {
    /// What was said behind the verdicts of some records, a JSON list of `seq`: by record, in the order
    /// in which it was stored.
    pub(crate) async fn behind(
        &self,
        seqs: &str,
    ) -> Result<HashMap<i64, Vec<Shadow>>, LedgerError> {
        let rows = bounded(query(BEHIND).bind(seqs).fetch_all(&self.pool)).await?;
        let mut behind: HashMap<i64, Vec<Shadow>> = HashMap::new();
        for row in &rows {
            behind.entry(row.try_get(7)?).or_default().push(read(row)?);
        }
        Ok(behind)
    }

    /// What was spent behind verdicts from a moment on: what was brought from another store was not
    /// paid for here.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn shadows_spent(&self, since: Timestamp) -> Result<Vec<Spent>, LedgerError> {
        let rows = query_as::<_, (String, String, String, i64)>(SPENT).bind(since.0);
        let rows = bounded(rows.fetch_all(&self.pool)).await?;
        let spent = |(policy, purpose, entry, cost): (String, String, String, i64)| {
            let cost = MicroUsd(u64::try_from(cost).unwrap_or_default());
            Some(Spent { policy, purpose: Purpose::of(&purpose)?, entry, cost })
        };
        Ok(rows.into_iter().filter_map(spent).collect())
    }

    /// The images of a range that `judge` was to judge afterwards, by who served them and what both
    /// said.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn backfilled(
        &self,
        scope: &Scope,
        judge: &str,
    ) -> Result<Vec<Backfilled>, LedgerError> {
        let us = |s: i64| s.saturating_mul(1_000_000);
        let rows = query_as::<_, BackfilledRow>(BACKFILLED)
            .bind(scope.policy.as_deref())
            .bind(us(scope.since_s))
            .bind(us(scope.until_s))
            .bind(judge)
            .bind(us(scope.bucket_s));
        let rows = bounded(rows.fetch_all(&self.pool)).await?;
        let sum = |(bucket, served_by, served_rejects, rejects, propensity, n): BackfilledRow| {
            Backfilled {
                bucket: usize::try_from(bucket).unwrap_or_default(),
                served_by,
                served_rejects,
                rejects,
                propensity,
                n: u64::try_from(n).unwrap_or_default(),
            }
        };
        Ok(rows.into_iter().map(sum).collect())
    }
}

fn read(row: &SqliteRow) -> Result<Shadow, LedgerError> {
    let seq: i64 = row.try_get(7)?;
    let unreadable = |why: &dyn std::fmt::Display| LedgerError::row(Some(seq), why);
    let (purpose, entry, judged_by, form): (&str, String, &str, &str) =
        (row.try_get(1)?, row.try_get(2)?, row.try_get(4)?, row.try_get(5)?);
    let purpose = Purpose::of(purpose);
    Ok(Shadow {
        at: Timestamp(row.try_get(0)?),
        purpose: purpose.ok_or_else(|| unreadable(&"a shadow of no known purpose"))?,
        entry: Some(entry).filter(|entry| !entry.is_empty()),
        propensity: row.try_get(3)?,
        judged_by: judged_by.parse().map_err(|why| unreadable(&why))?,
        counted: row.try_get(6)?,
        unwatched: row.try_get(8)?,
        attempt: serde_json::from_str(form).map_err(|why| unreadable(&why))?,
    })
}
