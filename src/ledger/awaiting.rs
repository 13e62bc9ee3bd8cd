//! A record that is awaited is stored and does not count yet: the rest of its early answer is to come,
//! or it was brought from a store in which something else counts before it.
//!
//! Only the process that stored it knows when it may count. One that finds it left by another lets it
//! count as it is, but for an import, which goes on where the one before it was killed.

use sqlx::Connection as _;
use sqlx::sqlite::SqliteConnection;
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::ledger::sqlite::NO_RECORD;

/// Nothing can change how it counts any more.
const INSERT_COUNTED: &str = "INSERT INTO counted (seq) VALUES (?1)";

/// It counts as it is now: a rest that comes all the same must not change how.
const INSERT_GIVEN_UP: &str = "INSERT INTO counted (seq, without_rest) VALUES (?1, 1)";

const INSERT_ALL_GIVEN_UP: &str = "INSERT INTO counted (seq, without_rest) \
    SELECT seq, 1 FROM awaited WHERE brought <= ?1 ORDER BY seq";

const DELETE_ALL_GIVEN_UP: &str = "DELETE FROM awaited WHERE brought <= ?1";

const INSERT_AWAITED: &str = "INSERT INTO awaited (seq, at_us, brought) VALUES (?1, ?2, ?3)";

const DELETE_AWAITED: &str = "DELETE FROM awaited WHERE seq = ?1";

const DELETE_BROUGHT: &str = "DELETE FROM awaited WHERE brought = 1 \
    AND seq = (SELECT seq FROM record WHERE id = ?1) RETURNING seq";

/// Whose rest has not come, and will not.
const DELETE_GIVEN_UP: &str = "DELETE FROM awaited WHERE seq IN (SELECT seq FROM awaited \
    WHERE at_us < ?1 ORDER BY seq LIMIT ?2) RETURNING seq";

/// What a record waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum For {
    /// The rest of its early answer.
    Rest,
    /// Its place among what is brought.
    Place,
}

/// Who opens a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opener {
    /// A gate, or whoever else lets everything count that was left.
    Gate,
    /// An import: it goes on with what one before it left.
    Import,
}

/// The record counts from now on.
pub(crate) async fn count(conn: &mut SqliteConnection, seq: i64) -> Result<(), sqlx::Error> {
    sqlx::query(INSERT_COUNTED).bind(seq).execute(conn).await.map(drop)
}

/// The record, whose check began `at`, does not count yet.
pub(crate) async fn wait(
    conn: &mut SqliteConnection,
    (seq, at): (i64, Timestamp),
    what: For,
) -> Result<(), sqlx::Error> {
    let insert = sqlx::query(INSERT_AWAITED).bind(seq).bind(at.0);
    insert.bind(i64::from(what == For::Place)).execute(conn).await.map(drop)
}

/// The rest of an early answer came: its record counts, unless it was given up and counts already.
pub(crate) async fn come(conn: &mut SqliteConnection, seq: i64) -> Result<(), sqlx::Error> {
    let awaited = sqlx::query(DELETE_AWAITED).bind(seq).execute(&mut *conn).await?;
    if awaited.rows_affected() != 0 { count(conn, seq).await } else { Ok(()) }
}

/// The place of a brought record has come; its `seq`, or [`NO_RECORD`] where it counts already.
pub(crate) async fn count_brought(
    conn: &mut SqliteConnection,
    id: Uuid,
) -> Result<i64, sqlx::Error> {
    let seq = sqlx::query_scalar(DELETE_BROUGHT).bind(id.to_string());
    let Some(seq) = seq.fetch_optional(&mut *conn).await? else { return Ok(NO_RECORD) };
    count(conn, seq).await?;
    Ok(seq)
}

/// Lets at most `most` of those count that wait since before a moment; how many there were.
pub(crate) async fn give_up(
    conn: &mut SqliteConnection,
    before: Timestamp,
    most: u32,
) -> Result<u64, sqlx::Error> {
    let given_up = sqlx::query_scalar::<_, i64>(DELETE_GIVEN_UP).bind(before.0).bind(most);
    let given_up = given_up.fetch_all(&mut *conn).await?;
    for seq in &given_up {
        sqlx::query(INSERT_GIVEN_UP).bind(seq).execute(&mut *conn).await?;
    }
    Ok(given_up.len() as u64)
}

/// Lets everything count that another process left: only that one could have brought its rest, and
/// until a record counts, no sum speaks of it.
pub(crate) async fn give_up_all(
    conn: &mut SqliteConnection,
    opener: Opener,
) -> Result<(), sqlx::Error> {
    let most = i64::from(opener == Opener::Gate);
    let mut tx = conn.begin_with("BEGIN IMMEDIATE").await?;
    for statement in [INSERT_ALL_GIVEN_UP, DELETE_ALL_GIVEN_UP] {
        sqlx::query(statement).bind(most).execute(&mut *tx).await?;
    }
    tx.commit().await
}
