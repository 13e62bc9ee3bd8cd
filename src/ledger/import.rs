//! Records that were kept elsewhere come in through the one writer, as those of checks do: a
//! backup that is restored, another store that is joined, a history that is made up.
//!
//! Each keeps its id and its moment, and what is here already stays as it is, so the same file may
//! come twice. Records count in the order in which they are stored, so who brings them puts them in
//! order of time.
//!
//! What is older than what the store has of its policy would be watched as if it were served now: a
//! past outage would be an alarm of today. It is refused, unless who brings it wants it counted: then
//! the sums of its own minutes hold it, and no monitor sees it, nor what was said behind its verdict.

use std::collections::{BTreeMap, HashSet};

use tokio::sync::oneshot;
use uuid::Uuid;

use crate::clock::{Deadline, Timestamp};
use crate::ledger::form::RecordForm;
use crate::ledger::inbox::Pending;
use crate::ledger::reader::Reader;
use crate::ledger::shadows::Behind;
use crate::ledger::sqlite::{Content, NO_RECORD, Row};
use crate::ledger::{Ledger, LedgerError};

/// Records that are brought at a time: as many as the writer takes into one transaction.
pub const BATCH_RECORDS: usize = crate::ledger::inbox::MAX_BATCH;

/// A check that began so long before another may have been stored after it, in microseconds.
const BESIDE_US: i64 = 60_000_000;

/// What is brought.
#[derive(Clone, Debug, PartialEq)]
pub enum Brought {
    /// A record.
    Record(Box<RecordForm>),
    /// What was said behind the verdict of a record that is here, or comes before it.
    Behind(Box<Behind>),
}

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
    /// What was said behind verdicts, written now; what was here already is not counted.
    pub shadows: u64,
    /// Of those written, how many are counted and not watched.
    pub unwatched: u64,
}

/// An import under way.
#[derive(Debug)]
pub struct Import<'a> {
    ledger: &'a Ledger,
    older: Older,
    /// When the newest check of each policy began, of those that were here before this import: what it
    /// brings itself is not held against its rest. `None`: there was none.
    newest: BTreeMap<String, Option<Timestamp>>,
    done: Imported,
}

impl Ledger {
    /// Begins an import.
    #[must_use]
    pub fn import(&self, older: Older) -> Import<'_> {
        Import { ledger: self, older, newest: BTreeMap::new(), done: Imported::default() }
    }
}

impl Import<'_> {
    /// Looks at what is to be brought, and stores nothing.
    ///
    /// # Errors
    /// [`LedgerError::Older`] where some are older than what is here and that is refused. The store
    /// cannot be read, or not by the deadline.
    pub async fn look_at(
        &mut self,
        all: &[Brought],
        deadline: Deadline,
    ) -> Result<(), LedgerError> {
        self.known(all, deadline).await.map(drop)
    }

    /// What became of all that was brought so far, also where some of it failed.
    #[must_use]
    pub fn done(&self) -> Imported {
        self.done
    }

    /// Those of `all` that are here already; an error where others are too old.
    async fn known(
        &mut self,
        all: &[Brought],
        deadline: Deadline,
    ) -> Result<HashSet<Uuid>, LedgerError> {
        let ids: Vec<Uuid> = all.iter().filter_map(Brought::id).collect();
        let known = self.ledger.reader().known(&ids, deadline).await?;
        if self.older == Older::Counted {
            return Ok(known);
        }
        for record in all.iter().filter_map(Brought::record) {
            if !known.contains(&record.id)
                && let Some(newest) = self.newer_than(record, deadline).await?
            {
                let policy = record.policy.name.clone();
                return Err(LedgerError::Older { policy, at: record.at, newest });
            }
        }
        Ok(known)
    }

    /// Brings in `all`, at most [`BATCH_RECORDS`], in their order. An early answer whose rest is
    /// missing counts behind all of them: where its place matters, it comes last.
    ///
    /// # Errors
    /// As for [`Import::look_at`], with none of them stored; or the store cannot be written, or not by
    /// the deadline: what was written by then stays, and the same records may be brought again.
    /// [`Import::done`] tells what is known to be written.
    pub async fn bring(
        &mut self,
        all: Vec<Brought>,
        deadline: Deadline,
    ) -> Result<(), LedgerError> {
        let mut known = self.known(&all, deadline).await?;
        let is_awaited = all.iter().filter_map(Brought::record).any(|record| !record.complete);
        let mut waiting = Vec::with_capacity(all.len());
        for brought in all {
            let id = brought.id();
            if id.is_some_and(|id| !known.insert(id)) {
                self.done.present += 1;
                continue;
            }
            let is_older = match brought.record() {
                Some(record) => self.newer_than(record, deadline).await?.is_some(),
                None => false,
            };
            let committed = self.ledger.bring(brought, is_older, deadline).await?;
            waiting.push((id, is_older, committed));
        }
        for (record, is_older, committed) in waiting {
            let Ok(seq) = deadline.bound(committed).await? else {
                let why = self.ledger.stats().last_error;
                let why = why.unwrap_or_else(|| "a record was not written".to_owned());
                return Err(LedgerError::Store(why));
            };
            match record {
                Some(_) => self.done.stored += 1,
                None => self.done.shadows += u64::from(seq != NO_RECORD),
            }
            self.done.unwatched += u64::from(is_older);
        }
        if is_awaited {
            // nobody is left who could bring the rest of an early answer
            self.ledger.give_up_awaited().await?;
        }
        Ok(())
    }

    /// When the newest check of its policy began that was here before, if `record` is older than that.
    async fn newer_than(
        &mut self,
        record: &RecordForm,
        deadline: Deadline,
    ) -> Result<Option<Timestamp>, LedgerError> {
        let policy = &record.policy.name;
        let newest = match self.newest.get(policy) {
            Some(newest) => *newest,
            None => {
                let newest = self.ledger.reader().newest(policy, deadline).await?;
                self.newest.insert(policy.clone(), newest);
                newest
            }
        };
        Ok(newest.filter(|newest| record.at.0 < newest.0.saturating_sub(BESIDE_US)))
    }
}

impl Ledger {
    /// Hands one over, as soon as there is room for it.
    async fn bring(
        &self,
        brought: Brought,
        is_older: bool,
        deadline: Deadline,
    ) -> Result<oneshot::Receiver<i64>, LedgerError> {
        let (content, json) = match brought {
            Brought::Record(record) => {
                // its place in the order of commits is this store's to give
                let form = Box::new(RecordForm { recorded: true, seq: None, ..*record });
                let json = serde_json::to_string(&form);
                let json = json.map_err(|why| LedgerError::Store(why.to_string()))?;
                let content = if is_older { Content::Older(form) } else { Content::Record(form) };
                (content, json)
            }
            Brought::Behind(behind) => (Content::Behind(behind), String::new()),
        };
        let permit = deadline.bound(self.journal.clone().reserve_owned()).await?;
        let permit = permit.map_err(|_| LedgerError::Closed)?;
        let row = Row { content, json, mark: None, pictures: Vec::new() };
        let (pending, committed) = Pending::new(row, Vec::new(), &self.counters);
        drop(permit.send(pending));
        Ok(committed)
    }
}

impl Brought {
    /// The id of a record.
    fn id(&self) -> Option<Uuid> {
        self.record().map(|record| record.id)
    }

    fn record(&self) -> Option<&RecordForm> {
        match self {
            Self::Record(record) => Some(record),
            Self::Behind(_) => None,
        }
    }
}

impl Reader {
    /// When the newest check of `policy` began, of those that are in the store.
    async fn newest(
        &self,
        policy: &str,
        deadline: Deadline,
    ) -> Result<Option<Timestamp>, LedgerError> {
        let query = "SELECT max(at_us) FROM record WHERE policy = ?1";
        let query = sqlx::query_scalar::<_, Option<i64>>(query).bind(policy);
        Ok(deadline.bound(query.fetch_one(&self.pool)).await??.map(Timestamp))
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
