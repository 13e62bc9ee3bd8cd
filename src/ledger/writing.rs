//! A writing is what goes into the store beside records: sums with how far they go, marks, labels.
//!
//! It is a chore of the one writer: one transaction, when no record waits.

use std::sync::Arc;

use sqlx::Connection;
use sqlx::sqlite::SqliteConnection;

use crate::clock::Timestamp;
use crate::ledger::follow::acknowledge::Acknowledgement;
use crate::ledger::follow::baselines::KeptBaseline;
use crate::ledger::labels::{self, NewLabel};
use crate::ledger::listing::Listing;
use crate::ledger::marks::{self, Mark};
use crate::ledger::purses::{self, Draw};
use crate::ledger::rollup::Cells;
use crate::ledger::shadows::{self, NewShadow};

const ADVANCE: &str = "UPDATE followed SET n = ?1, seq = ?2, at_us = ?3 WHERE id = 1 AND n < ?1";

const END_MARK: &str = "UPDATE mark SET until_us = ?2 WHERE id = ?1";

const END_OPEN_MARKS: &str = "UPDATE mark SET until_us = ?2 WHERE kind = ?1 AND until_us IS NULL";

/// How far the records were followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Followed {
    /// In the order in which records count.
    pub n: i64,
    /// The record there.
    pub seq: i64,
    /// When the newest check so far began: an older one that came later takes nothing back.
    pub at_us: i64,
}

impl Followed {
    /// One record further.
    pub(crate) fn on_to(self, n: i64, seq: i64, at_us: i64) -> Self {
        Self { n, seq, at_us: self.at_us.max(at_us) }
    }
}

/// What some records add up to, and what was learnt from them.
#[derive(Debug, Default)]
pub(crate) struct Count {
    /// Up to where, with these.
    pub(crate) to: Followed,
    pub(crate) cells: Cells,
    pub(crate) marks: Vec<Mark>,
    pub(crate) baselines: Vec<KeptBaseline>,
}

/// What is to be written.
#[derive(Debug)]
pub(crate) enum Writing {
    Count(Arc<Count>),
    Acknowledgement(Arc<Acknowledgement>),
    Mark(Box<Mark>),
    EndMark {
        id: i64,
        at: Timestamp,
    },
    /// Ends every mark of a kind that is still open.
    EndMarks {
        kind: &'static str,
        at: Timestamp,
    },
    Label(Box<NewLabel>),
    Shadow(Box<NewShadow>),
    Draw(Box<Draw>),
    List(Box<Listing>),
}

impl Writing {
    /// Writes it in one transaction; the id of the row, where it makes one.
    pub(crate) async fn write(&self, conn: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
        let mut tx = conn.begin_with("BEGIN IMMEDIATE").await?;
        let id = match self {
            Self::Count(count) => {
                for baseline in &count.baselines {
                    baseline.insert(&mut tx).await?;
                }
                let Followed { n, seq, at_us } = count.to;
                let advance = sqlx::query(ADVANCE).bind(n).bind(seq).bind(at_us);
                // tried again though it was written, it must not count twice
                if advance.execute(&mut *tx).await?.rows_affected() != 0 {
                    count.cells.write(&mut tx).await?;
                    for mark in &count.marks {
                        marks::insert(&mut tx, mark).await?;
                    }
                }
                n
            }
            Self::Acknowledgement(one) => {
                one.kept.insert(&mut tx).await?;
                marks::insert_once(&mut tx, &one.mark).await?
            }
            Self::Mark(mark) => marks::insert(&mut tx, mark).await?,
            Self::EndMark { id, at } => {
                sqlx::query(END_MARK).bind(id).bind(at.0).execute(&mut *tx).await?;
                *id
            }
            Self::EndMarks { kind, at } => {
                sqlx::query(END_OPEN_MARKS).bind(kind).bind(at.0).execute(&mut *tx).await?;
                0
            }
            Self::Label(label) => labels::insert(&mut tx, label).await?,
            Self::Shadow(shadow) => shadows::insert(&mut tx, shadow).await?,
            Self::Draw(draw) => {
                purses::insert(&mut tx, draw).await?;
                0
            }
            Self::List(listing) => {
                listing.write(&mut tx).await?;
                0
            }
        };
        tx.commit().await?;
        Ok(id)
    }
}
