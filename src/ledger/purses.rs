//! What may be spent behind verdicts in a day, written before it is spent.
//!
//! Rows of what judges said tell what was spent once a call has ended. What a process had under way
//! when it was killed, and what it could not store, they do not tell: that is in what was drawn.
//! Where nothing can be written nothing can be drawn, and so nobody is paid for what cannot be
//! kept.

use sqlx::sqlite::SqliteConnection;
use sqlx::{query, query_as};

use crate::domain::MicroUsd;
use crate::ledger::reader::{Reader, bounded};
use crate::ledger::shadows::{Purpose, Spent};
use crate::ledger::writing::Writing;
use crate::ledger::{Ledger, LedgerError};

/// Never less than it was: a draw that comes late takes nothing back.
const DRAW: &str = "INSERT INTO purse (day, policy, purpose, entry, drawn_micro_usd) \
    VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (day, policy, purpose, entry) \
    DO UPDATE SET drawn_micro_usd = max(drawn_micro_usd, excluded.drawn_micro_usd)";

/// Of days that are over nothing is drawn any more; clocks may differ by one.
const FORGET: &str = "DELETE FROM purse WHERE day < ?1 - 1";

const DRAWN: &str = "SELECT policy, purpose, entry, drawn_micro_usd FROM purse WHERE day = ?1";

/// What may be spent from one purse in a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draw {
    /// Days (UTC) since 1970.
    pub day: i64,
    /// From which purse, and how much in all that day.
    pub of: Spent,
}

impl Ledger {
    /// Whether there is room for more than records: nothing is worth paying for that cannot be
    /// kept.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.counters.has_room()
    }

    /// Notes that so much may be spent in all that day.
    ///
    /// # Errors
    /// The store could not be written in time, or the ledger is closing.
    pub async fn draw(&self, draw: Draw) -> Result<(), LedgerError> {
        self.write(Writing::Draw(Box::new(draw))).await.map(drop)
    }
}

/// Writes it in the caller's transaction.
pub(crate) async fn insert(conn: &mut SqliteConnection, draw: &Draw) -> Result<(), sqlx::Error> {
    query(FORGET).bind(draw.day).execute(&mut *conn).await?;
    let insert = query(DRAW).bind(draw.day).bind(&draw.of.policy).bind(draw.of.purpose.label());
    let cost = i64::try_from(draw.of.cost.0).unwrap_or(i64::MAX);
    insert.bind(&draw.of.entry).bind(cost).execute(conn).await.map(drop)
}

impl Reader {
    /// What was drawn on a day (UTC, since 1970) for what is asked behind verdicts.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn drawn(&self, day: i64) -> Result<Vec<Spent>, LedgerError> {
        let rows = query_as::<_, (String, String, String, i64)>(DRAWN).bind(day);
        let rows = bounded(rows.fetch_all(&self.pool)).await?;
        let drawn = |(policy, purpose, entry, cost): (String, String, String, i64)| {
            let cost = MicroUsd(u64::try_from(cost).unwrap_or_default());
            Some(Spent { policy, purpose: Purpose::of(&purpose)?, entry, cost })
        };
        Ok(rows.into_iter().filter_map(drawn).collect())
    }
}
