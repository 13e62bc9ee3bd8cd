//! An export is every record with what was said behind its verdict, and with the place of each in the
//! order in which they counted: what another store needs to add up, compare and watch as this one did.
//!
//! Pictures and people's labels are not in it.

use std::collections::HashMap;

use futures_util::stream::{self, Stream};
use serde::{Deserialize, Serialize};

use crate::ledger::LedgerError;
use crate::ledger::form::RecordForm;
use crate::ledger::reader::{Cursor, Filter, MAX_PAGE, Reader, bounded};
use crate::ledger::shadows::Shadow;

/// What older programs stored counts in the order in which it was stored.
const COUNTED: &str = "SELECT record.seq, coalesce(counted.n, \
    CASE WHEN record.seq <= followed.old_n THEN record.seq END), unwatched.seq IS NOT NULL \
    FROM json_each(?1) CROSS JOIN record ON record.seq = value \
    JOIN followed ON followed.id = 1 \
    LEFT JOIN counted ON counted.seq = record.seq AND counted.shadow = 0 \
    LEFT JOIN unwatched ON unwatched.seq = record.seq";

/// A record with what was said behind its verdict: what is answered of one verdict, and a line of an
/// export.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Whole {
    /// The record.
    #[serde(flatten)]
    pub record: RecordForm,
    /// Its place, among records and what was said behind their verdicts, in the order in which they
    /// count; null while it does not count yet.
    pub counted: Option<i64>,
    /// Whether it is added up and no monitor sees it, nor what was said behind its verdict: it came
    /// from another store when newer ones of its policy were here.
    pub unwatched: bool,
    /// In the order in which it was stored.
    pub shadows: Vec<Shadow>,
}

/// What a line of an export holds beside the record; lines of older programs hold nothing.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Beside {
    /// As in [`Whole`].
    pub counted: Option<i64>,
    /// As in [`Whole`].
    pub unwatched: bool,
    /// As in [`Whole`].
    pub shadows: Vec<Shadow>,
}

impl Reader {
    /// Every record that `filter` means, newest first, read page by page as it is consumed. No page
    /// holds the store between two polls, so a slow consumer delays nobody.
    pub fn export(
        &self,
        filter: Filter,
    ) -> impl Stream<Item = Result<Whole, LedgerError>> + Send + use<> {
        let pages = Pages { reader: self.clone(), filter, page: Vec::new(), next: Next::First };
        stream::try_unfold(pages, async |mut pages| {
            let record = pages.record().await?;
            Ok(record.map(|record| (record, pages)))
        })
    }

    /// `records` with what was said behind their verdicts, in the same order.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn whole(&self, records: Vec<RecordForm>) -> Result<Vec<Whole>, LedgerError> {
        let seqs: Vec<i64> = records.iter().filter_map(|record| record.seq).collect();
        let list = serde_json::to_string(&seqs);
        let list = list.map_err(|why| LedgerError::Store(why.to_string()))?;
        let counted = sqlx::query_as::<_, (i64, Option<i64>, bool)>(COUNTED).bind(&list);
        let counted = bounded(counted.fetch_all(&self.pool)).await?.into_iter();
        let counted: HashMap<_, _> =
            counted.map(|(seq, counted, unwatched)| (seq, (counted, unwatched))).collect();
        let mut behind = self.behind(&list).await?;
        let whole = |record: RecordForm| {
            let seq = record.seq.unwrap_or_default();
            let (counted, unwatched) = counted.get(&seq).copied().unwrap_or_default();
            Whole { counted, unwatched, shadows: behind.remove(&seq).unwrap_or_default(), record }
        };
        Ok(records.into_iter().map(whole).collect())
    }
}

/// Where an export stands.
struct Pages {
    reader: Reader,
    filter: Filter,
    /// The rest of the page in hand, oldest first.
    page: Vec<Whole>,
    next: Next,
}

enum Next {
    First,
    After(Cursor),
    Done,
}

impl Pages {
    async fn record(&mut self) -> Result<Option<Whole>, LedgerError> {
        if self.page.is_empty() {
            let cursor = match self.next {
                Next::First => None,
                Next::After(cursor) => Some(cursor),
                Next::Done => return Ok(None),
            };
            let page = self.reader.list(&self.filter, cursor, MAX_PAGE).await?;
            self.next = page.next.map_or(Next::Done, Next::After);
            self.page = self.reader.whole(page.records).await?;
            self.page.reverse();
        }
        Ok(self.page.pop())
    }
}
