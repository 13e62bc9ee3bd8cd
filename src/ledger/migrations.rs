//! What brings a store's tables to this program's: the files of `migrations/sqlite`, in the order
//! in which they were written.
//!
//! They stand here one by one. sqlx has a macro that looks into the folder while the program is
//! compiled, for which SQLite and most of sqlx are built twice.

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::{SqlSafeStr as _, SqliteConnection};

/// Every file's version, what it is called, and what is in it. A store knows a version by its
/// content: what was released stays as it is.
const MIGRATIONS: [(i64, &str, &str); 8] = [
    (1, "records", include_str!("../../migrations/sqlite/0001_records.sql")),
    (2, "late", include_str!("../../migrations/sqlite/0002_late.sql")),
    (3, "drills", include_str!("../../migrations/sqlite/0003_drills.sql")),
    (4, "counted", include_str!("../../migrations/sqlite/0004_counted.sql")),
    (5, "failed", include_str!("../../migrations/sqlite/0005_failed.sql")),
    (6, "listed", include_str!("../../migrations/sqlite/0006_listed.sql")),
    (7, "purses", include_str!("../../migrations/sqlite/0007_purses.sql")),
    (8, "brought", include_str!("../../migrations/sqlite/0008_brought.sql")),
];

/// The migration that was rewritten, and the checksum that it had before.
const REWRITTEN: (i64, &str) = (
    5,
    "c3627f7459631efb1aeb1091d35210360f65b6dbf2e3930711024756de836480\
     17010aa2a52ac58400ecf5828078e440",
);

/// Applies what a store has not had yet.
///
/// # Errors
///
/// What SQLite refuses, and a store that another program's migrations made.
pub(crate) async fn run(conn: &mut SqliteConnection) -> Result<(), MigrateError> {
    let migrator = migrator();
    accept_rewritten(&migrator, conn).await?;
    migrator.run(conn).await
}

fn migrator() -> Migrator {
    let migration = |(version, name, sql): (i64, &'static str, &'static str)| {
        Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
    };
    Migrator::with_migrations(MIGRATIONS.map(migration).into())
}

/// Lets a store in that knows the fifth migration as it was before. It made every record's place in
/// two lists before anything was served; now these are made in steps, by whoever has the store.
async fn accept_rewritten(
    migrator: &Migrator,
    conn: &mut SqliteConnection,
) -> Result<(), sqlx::Error> {
    let there = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = '_sqlx_migrations')";
    let rewritten = migrator.iter().find(|one| one.version == REWRITTEN.0);
    if let Some(rewritten) = rewritten
        && sqlx::query_scalar::<_, bool>(there).fetch_one(&mut *conn).await?
    {
        let accept = "UPDATE _sqlx_migrations SET checksum = ?1 \
            WHERE version = ?2 AND lower(hex(checksum)) = ?3";
        let accept = sqlx::query(accept).bind(rewritten.checksum.as_ref()).bind(REWRITTEN.0);
        accept.bind(REWRITTEN.1).execute(conn).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[tokio::test]
    async fn every_file_of_the_folder_is_a_migration_as_it_stands_there() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations/sqlite");
        let read = Migrator::new(folder).await.unwrap();
        let told = |migrator: &Migrator| -> Vec<_> {
            let all = migrator.iter().cloned();
            all.map(|one| (one.version, one.description, one.checksum, one.no_tx)).collect()
        };
        assert_eq!(told(&migrator()), told(&read));
        assert!(read.iter().all(|one| one.migration_type == MigrationType::Simple));
    }

    /// A column that is added to a strict table is checked against every row that is there.
    #[test]
    fn a_start_did_not_wait_until_every_row_of_a_large_store_was_looked_at() {
        let altered = MIGRATIONS.iter().flat_map(|(_, _, sql)| sql.lines());
        let altered = altered.filter_map(|line| line.strip_prefix("ALTER TABLE "));
        let tables: Vec<_> = altered.filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(tables, ["awaited"], "only a few rows wait at a time");
    }
}
