//! Folding the log into the file, beside the writer.
//!
//! A fold waits for the disk twice, milliseconds each time. On the writer's own connection whoever
//! handed over a record meanwhile waited too: with an early answer's remainder an image is two rows,
//! so one image in a hundred did, and the slowest hundredth of all answers was the fold's. Beside a
//! write-ahead log another connection may fold while the writer appends; the writer begins the log
//! anew by itself at its first append after all of it was in. Under a load that never pauses that
//! moment does not come, so now and then the writer folds in what little is left.

use std::path::Path;
use std::sync::Arc;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::ledger::counters::Counters;
use crate::ledger::inbox::told;
use crate::ledger::sqlite;

/// Who folds beside the writer.
#[derive(Debug)]
pub(crate) struct Folding {
    ask: mpsc::Sender<()>,
    task: JoinSet<()>,
}

/// A connection that is there for folding only.
#[derive(Debug)]
struct Folder {
    options: SqliteConnectOptions,
    /// `None` before the first fold, and after an error.
    conn: Option<SqliteConnection>,
    counters: Arc<Counters>,
}

/// How the file is opened for folding. Not as the writer opens it: to say again how the file is
/// vacuumed is a write, with a wait for the disk in it, and the writer would find the file locked.
fn options(path: &Path) -> SqliteConnectOptions {
    sqlite::lookup_options(path).read_only(false)
}

impl Folding {
    /// Waits to be asked, on the runtime that this is called on.
    pub(crate) fn start(path: &Path, counters: Arc<Counters>) -> Self {
        let (ask, asked) = mpsc::channel(1);
        let folder = Folder { options: options(path), conn: None, counters };
        let mut task = JoinSet::new();
        task.spawn(folder.run(asked));
        Self { ask, task }
    }

    /// Asks for one fold; one that is asked for already, and has not begun, will do.
    pub(crate) fn ask(&self) {
        told(self.ask.try_send(()).map_err(drop));
    }

    /// Waits for the fold under way, if any, and closes its connection.
    pub(crate) async fn end(mut self, counters: &Counters) {
        drop(self.ask);
        if let Some(Err(why)) = self.task.join_next().await {
            counters.trouble(&format!("whoever folded the log panicked: {why}"));
        }
    }
}

impl Folder {
    async fn run(mut self, mut asked: mpsc::Receiver<()>) {
        while asked.recv().await.is_some() {
            if let Err(why) = self.fold().await {
                self.counters.trouble(&format!("the log was not folded in: {why}"));
                self.close().await;
            }
        }
        self.close().await;
    }

    async fn fold(&mut self) -> Result<(), sqlx::Error> {
        let conn = match self.conn.take() {
            Some(conn) => conn,
            None => self.options.connect().await?,
        };
        sqlite::fold(self.conn.insert(conn)).await
    }

    async fn close(&mut self) {
        if let Some(conn) = self.conn.take()
            && let Err(why) = conn.close_hard().await
        {
            self.counters.trouble(&why);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::reader::tests::settings;

    #[tokio::test]
    async fn the_first_fold_wrote_and_whoever_wrote_meanwhile_found_the_file_locked() {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings(dir.path());
        let path = &settings.path;
        let mut writer = sqlite::open(&sqlite::writer_options(&settings)).await.unwrap();
        let held = writer.begin_with("BEGIN IMMEDIATE").await.unwrap();
        let counters = Arc::default();
        let mut folder = Folder { options: options(path), conn: None, counters };
        folder.fold().await.unwrap();
        held.rollback().await.unwrap();
    }
}
