//! Records that were kept elsewhere come in through the one writer, as those of checks do: a
//! backup that is restored, another store that is joined, a history that is made up.
//!
//! Each keeps its id and its moment, and what is here already stays as it is, so the same file may
//! come twice. Records count in the order in which they are stored, so who brings them puts them in
//! order of time.
//!
//! What is older than what the store has of its policy would be watched as if it were served now: a
//! past outage would be an alarm of today. It is refused, unless who brings it wants it counted: then
//! the sums of its own minutes hold it, and no monitor sees it.

use std::collections::{BTreeMap, HashSet};

use tokio::sync::oneshot;
use uuid::Uuid;

use crate::clock::{Deadline, Timestamp};
use crate::ledger::form::RecordForm;
use crate::ledger::inbox::Pending;
use crate::ledger::reader::{Reader, bounded};
use crate::ledger::sqlite::{Content, Row};
use crate::ledger::{Ledger, LedgerError};

/// Records that are brought at a time: as many as the writer takes into one transaction.
pub const BATCH_RECORDS: usize = crate::ledger::inbox::MAX_BATCH;

/// What becomes of records that are older than the newest that the store has of their policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Older {
    /// Nothing of what comes with them is stored.
    Refused,
    /// They are in lists and sums, and no monitor sees them.
    Counted,
}

/// What became of some records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Written now.
    pub stored: u64,
    /// Here already, under the same id.
    pub present: u64,
    /// Of those written, how many are counted and not watched.
    pub unwatched: u64,
}

impl Ledger {
    /// Brings in `records`, at most [`BATCH_RECORDS`], in their order.
    ///
    /// # Errors
    /// [`LedgerError::Older`] where some are older than what is here and that is refused: none of them
    /// is stored. The store cannot be read or written, or not by the deadline: what was written by
    /// then stays, and the same records may be brought again.
    pub async fn import(
        &self,
        records: Vec<RecordForm>,
        older: Older,
        deadline: Deadline,
    ) -> Result<Imported, LedgerError> {
        let ids: Vec<Uuid> = records.iter().map(|record| record.id).collect();
        let mut known = self.reader().known(&ids, deadline).await?;
        let count = records.len() as u64;
        let new: Vec<_> = records.into_iter().filter(|one| known.insert(one.id)).collect();
        let present = count - new.len() as u64;
        let mut imported = Imported { present, ..Imported::default() };
        let newest = self.reader().newest(&new).await?;
        let is_older = |record: &RecordForm| {
            newest.get(&record.policy.name).is_some_and(|newest| record.at.0 < newest.0)
        };
        if older == Older::Refused
            && let Some(record) = new.iter().find(|one| is_older(one))
        {
            let policy = record.policy.name.clone();
            let newest = newest.get(&policy).copied().unwrap_or(record.at);
            return Err(LedgerError::Older { policy, at: record.at, newest });
        }
        let mut waiting = Vec::with_capacity(new.len());
        for record in new {
            let is_older = is_older(&record);
            imported.unwatched += u64::from(is_older);
            waiting.push(self.bring(record, is_older, deadline).await?);
        }
        for committed in waiting {
            if deadline.bound(committed).await?.is_err() {
                let why = self.stats().last_error;
                let why = why.unwrap_or_else(|| "a record was not written".to_owned());
                return Err(LedgerError::Store(why));
            }
            imported.stored += 1;
        }
        // nobody is left who could bring the rest of an early answer
        self.give_up_awaited().await?;
        Ok(imported)
    }

    /// Hands one record over, as soon as there is room for it.
    async fn bring(
        &self,
        record: RecordForm,
        is_older: bool,
        deadline: Deadline,
    ) -> Result<oneshot::Receiver<i64>, LedgerError> {
        // its place in the order of commits is this store's to give
        let form = RecordForm { recorded: true, seq: None, ..record };
        let json = serde_json::to_string(&form);
        let json = json.map_err(|why| LedgerError::Store(why.to_string()))?;
        let permit = deadline.bound(self.journal.clone().reserve_owned()).await?;
        let permit = permit.map_err(|_| LedgerError::Closed)?;
        let form = Box::new(form);
        let content = if is_older { Content::Older(form) } else { Content::Record(form) };
        let row = Row { content, json, mark: None, pictures: Vec::new() };
        let (pending, committed) = Pending::new(row, Vec::new(), &self.counters);
        drop(permit.send(pending));
        Ok(committed)
    }
}

impl Reader {
    /// When the newest check of each of their policies began, of those that are in the store.
    async fn newest(
        &self,
        records: &[RecordForm],
    ) -> Result<BTreeMap<String, Timestamp>, LedgerError> {
        let mut newest = BTreeMap::new();
        for record in records {
            let policy = &record.policy.name;
            if newest.contains_key(policy) {
                continue;
            }
            let query = "SELECT max(at_us) FROM record WHERE policy = ?1";
            let query = sqlx::query_scalar::<_, Option<i64>>(query).bind(policy);
            let at_us = bounded(query.fetch_one(&self.pool)).await?;
            newest.insert(policy.clone(), Timestamp(at_us.unwrap_or(i64::MIN)));
        }
        Ok(newest)
    }

    /// Those of `ids` that are records of the store.
    async fn known(&self, ids: &[Uuid], deadline: Deadline) -> Result<HashSet<Uuid>, LedgerError> {
        let texts: Vec<String> = ids.iter().map(Uuid::to_string).collect();
        let list = serde_json::to_string(&texts);
        let list = list.map_err(|why| LedgerError::Store(why.to_string()))?;
        let query = "SELECT id FROM record WHERE id IN (SELECT value FROM json_each(?1))";
        let query = sqlx::query_scalar::<_, String>(query).bind(list);
        let found = deadline.bound(query.fetch_all(&self.pool)).await??;
        Ok(found.iter().filter_map(|id| id.parse().ok()).collect())
    }
}
