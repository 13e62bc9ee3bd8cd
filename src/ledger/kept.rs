//! Which pictures are kept: the views of records that still have a file to show.
//!
//! Most records have none (a policy keeps some images, and those for a shorter time), and who shows
//! records must not ask for each in vain.

use std::collections::BTreeMap;

use sqlx::{QueryBuilder, Row};
use uuid::Uuid;

use crate::ledger::LedgerError;
use crate::ledger::form::RecordForm;
use crate::ledger::reader::{Reader, bounded};

impl Reader {
    /// The views kept of each of `records`, in the order in which judges were shown them; a record
    /// without any is left out.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn views(
        &self,
        records: &[RecordForm],
    ) -> Result<BTreeMap<Uuid, Vec<String>>, LedgerError> {
        let by_seq: BTreeMap<i64, Uuid> =
            records.iter().filter_map(|one| Some((one.seq?, one.id))).collect();
        let mut kept: BTreeMap<Uuid, Vec<String>> = BTreeMap::new();
        if by_seq.is_empty() {
            return Ok(kept);
        }
        let mut sql = QueryBuilder::new("SELECT seq, view FROM image WHERE seq IN (");
        let mut list = sql.separated(", ");
        for seq in by_seq.keys() {
            list.push_bind(*seq);
        }
        sql.push(") ORDER BY seq, idx");
        for row in bounded(sql.build().fetch_all(&self.pool)).await? {
            let (seq, view): (i64, String) = (row.try_get(0)?, row.try_get(1)?);
            if let Some(id) = by_seq.get(&seq) {
                kept.entry(*id).or_default().push(view);
            }
        }
        Ok(kept)
    }
}
