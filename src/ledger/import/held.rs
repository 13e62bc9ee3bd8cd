//! What the store holds of what is brought.

use std::collections::{HashMap, HashSet};

use sqlx::Row as _;
use uuid::Uuid;

use crate::clock::{Deadline, Timestamp};
use crate::ledger::LedgerError;
use crate::ledger::form::RecordForm;
use crate::ledger::reader::{Reader, read_record};

const KNOWN: &str = "SELECT id FROM record WHERE id IN (SELECT value FROM json_each(?1))";

const HELD: &str = "SELECT record.seq, record.form, late.form, unwatched.seq IS NULL FROM record \
    LEFT JOIN late ON late.seq = record.seq LEFT JOIN unwatched ON unwatched.seq = record.seq \
    WHERE record.id IN (SELECT value FROM json_each(?1))";

const NEWEST: &str = "SELECT max(at_us) FROM record WHERE policy = ?1";

const NEWEST_FIRST: &str = "SELECT id, at_us, seq FROM record WHERE policy = ?1 \
    AND (at_us, seq) < (?2, ?3) ORDER BY at_us DESC, seq DESC LIMIT ?4";

/// Records that are looked at in one go for the newest of them.
const STEP_RECORDS: u32 = 1_000;

/// A record that is here.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) seq: i64,
    /// With the rest of an early answer, where that came.
    pub(super) form: RecordForm,
    pub(super) is_watched: bool,
}

impl Reader {
    /// Those of `ids` that are records of the store.
    pub(super) async fn known(
        &self,
        ids: &[Uuid],
        deadline: Deadline,
    ) -> Result<HashSet<Uuid>, LedgerError> {
        let query = sqlx::query_scalar::<_, String>(KNOWN).bind(list(ids)?);
        let found = deadline.bound(query.fetch_all(&self.pool)).await??;
        Ok(found.iter().filter_map(|id| id.parse().ok()).collect())
    }

    /// The same, read.
    pub(super) async fn held(
        &self,
        ids: &[Uuid],
        deadline: Deadline,
    ) -> Result<HashMap<Uuid, Held>, LedgerError> {
        let query = sqlx::query(HELD).bind(list(ids)?);
        let mut held = HashMap::new();
        for row in &deadline.bound(query.fetch_all(&self.pool)).await?? {
            let form = read_record(row)?;
            let (seq, is_watched) = (row.try_get(0)?, row.try_get(3)?);
            held.insert(form.id, Held { seq, form, is_watched });
        }
        Ok(held)
    }

    /// When the newest check of `policy` began, of those that are in the store.
    pub(super) async fn newest(
        &self,
        policy: &str,
        deadline: Deadline,
    ) -> Result<Option<Timestamp>, LedgerError> {
        let query = sqlx::query_scalar::<_, Option<i64>>(NEWEST).bind(policy);
        Ok(deadline.bound(query.fetch_one(&self.pool)).await??.map(Timestamp))
    }

    /// The same of those that are not among `others`; the deadline is for all steps together.
    pub(super) async fn newest_beside(
        &self,
        policy: &str,
        others: &HashSet<Uuid>,
        deadline: Deadline,
    ) -> Result<Option<Timestamp>, LedgerError> {
        let mut before = (i64::MAX, i64::MAX);
        loop {
            let query = sqlx::query_as::<_, (String, i64, i64)>(NEWEST_FIRST).bind(policy);
            let query = query.bind(before.0).bind(before.1).bind(STEP_RECORDS);
            let step = deadline.bound(query.fetch_all(&self.pool)).await??;
            let is_other = |id: &str| id.parse().is_ok_and(|id| others.contains(&id));
            if let Some((_, at_us, _)) = step.iter().find(|(id, ..)| !is_other(id)) {
                return Ok(Some(Timestamp(*at_us)));
            }
            match step.last() {
                Some((_, at_us, seq)) if step.len() == STEP_RECORDS as usize => {
                    before = (*at_us, *seq);
                }
                Some(_) | None => return Ok(None),
            }
        }
    }
}

fn list(ids: &[Uuid]) -> Result<String, LedgerError> {
    let texts: Vec<String> = ids.iter().map(Uuid::to_string).collect();
    serde_json::to_string(&texts).map_err(|why| LedgerError::Store(why.to_string()))
}
