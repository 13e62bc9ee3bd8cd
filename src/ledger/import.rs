//! Records that were kept elsewhere come in through the one writer, as those of checks do: a
//! backup that is restored, another store that is joined, a history that is made up.
//!
//! Each keeps its id and its moment, and what is here already stays as it is, so the same file may
//! come twice. Records count in the order in which they are stored, so who brings them puts them in
//! order of time.

use std::collections::HashSet;

use tokio::sync::oneshot;
use uuid::Uuid;

use crate::clock::Deadline;
use crate::ledger::form::RecordForm;
use crate::ledger::inbox::Pending;
use crate::ledger::reader::Reader;
use crate::ledger::shadows::Behind;
use crate::ledger::sqlite::{Content, NO_RECORD, Row};
use crate::ledger::{Ledger, LedgerError};

/// Records that are brought at a time: as many as the writer takes into one transaction.
pub const BATCH_RECORDS: usize = crate::ledger::inbox::MAX_BATCH;

/// What is brought.
#[derive(Clone, Debug, PartialEq)]
pub enum Brought {
    /// A record.
    Record(Box<RecordForm>),
    /// What was said behind the verdict of a record that is here, or comes before it.
    Behind(Box<Behind>),
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
}

impl Ledger {
    /// Brings in `all`, at most [`BATCH_RECORDS`], in their order. An early answer whose rest is
    /// missing counts behind all of them: where its place matters, it comes last.
    ///
    /// # Errors
    /// The store cannot be read or written, or not by the deadline. What was written by then stays,
    /// and the same records may be brought again.
    pub async fn import(
        &self,
        all: Vec<Brought>,
        deadline: Deadline,
    ) -> Result<Imported, LedgerError> {
        let ids: Vec<Uuid> = all.iter().filter_map(Brought::record).collect();
        let mut known = self.reader().known(&ids, deadline).await?;
        let mut imported = Imported::default();
        let mut waiting = Vec::with_capacity(all.len());
        for brought in all {
            match brought.record() {
                Some(id) if !known.insert(id) => imported.present += 1,
                record => waiting.push((record, self.bring(brought, deadline).await?)),
            }
        }
        for (record, committed) in waiting {
            let Ok(seq) = deadline.bound(committed).await? else {
                let why = self.stats().last_error;
                let why = why.unwrap_or_else(|| "a record was not written".to_owned());
                return Err(LedgerError::Store(why));
            };
            match record {
                Some(_) => imported.stored += 1,
                None => imported.shadows += u64::from(seq != NO_RECORD),
            }
        }
        // nobody is left who could bring the rest of an early answer
        self.give_up_awaited().await?;
        Ok(imported)
    }

    /// Hands one over, as soon as there is room for it.
    async fn bring(
        &self,
        brought: Brought,
        deadline: Deadline,
    ) -> Result<oneshot::Receiver<i64>, LedgerError> {
        let (content, json) = match brought {
            Brought::Record(record) => {
                // its place in the order of commits is this store's to give
                let form = RecordForm { recorded: true, seq: None, ..*record };
                let json = serde_json::to_string(&form);
                let json = json.map_err(|why| LedgerError::Store(why.to_string()))?;
                (Content::Record(Box::new(form)), json)
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
    fn record(&self) -> Option<Uuid> {
        match self {
            Self::Record(record) => Some(record.id),
            Self::Behind(_) => None,
        }
    }
}

impl Reader {
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
