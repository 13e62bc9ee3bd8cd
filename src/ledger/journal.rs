//! The journal is the queue between checks and the one writer: everything that waits is committed
//! in one transaction, and everyone who waited is answered at once.
//!
//! The writer lives on a thread of its own: file work never blocks a serving thread, and records
//! handed over are written even while the runtime that handed them over goes away. No error stops
//! it. While somebody else holds the file the batch in hand waits, and the queue behind it fills.
//! When there is no room, pictures go first, then the [`Spare`], and rows last; what was lost is
//! counted, and the next batch is tried as if nothing had happened. Even a panic costs one batch.

use std::any::Any;
use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{mem, thread};

use futures_util::FutureExt;
use sqlx::error::DatabaseError;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::clock::Deadline;
use crate::domain::Digest;
use crate::ledger::counters::Counters;
use crate::ledger::drills::{self, DrillRow};
use crate::ledger::fold::Folding;
use crate::ledger::inbox::{Chore, Inbox, Pending, Waiter, Work, told};
use crate::ledger::pictures::Pictures;
use crate::ledger::spare::Spare;
use crate::ledger::sqlite::{self, Aged, Deleted, KeptPicture, Row};
use crate::ledger::writing::Writing;
use crate::telemetry;

/// Rows after which the log is folded into the file, beside the writer.
const FOLD_AFTER: usize = 256;

/// Rows after which the writer folds in what is left, so that the log begins anew under a load that
/// never pauses.
const FOLD_ANYWAY: usize = 4096;

/// Rows after which the writer folds the log in when the disk is full: the less it grows, the more
/// records the room that is left can hold.
const FOLD_FULL: usize = 32;

/// Between two tries of a batch while somebody else holds the file; each try waits for the lock
/// itself as well.
const HELD_PAUSE: Duration = Duration::from_millis(50);

/// How long the writer of a closing ledger still waits for somebody else's lock.
const HELD_AT_CLOSE: Duration = Duration::from_secs(5);

/// How long a step of retention waits for it: it is asked for again.
const HELD_FOR_SWEEP: Duration = Duration::from_secs(10);

/// Rows deleted in one step of retention.
pub(crate) const STEP_ROWS: u32 = 200;

/// The one writer.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) options: SqliteConnectOptions,
    /// `None` after an error: the next batch opens a new one, whose state is known.
    pub(crate) conn: Option<SqliteConnection>,
    pub(crate) pictures: Pictures,
    pub(crate) spare: Spare,
    pub(crate) counters: Arc<Counters>,
    /// Tells the latest `seq` to whoever reads on.
    pub(crate) grown: watch::Sender<i64>,
    /// Rows since the writer folded the log in.
    pub(crate) unfolded: usize,
    /// Rows since a fold was asked for, or done.
    pub(crate) unasked: usize,
    /// Whether the ledger is closing or gone.
    pub(crate) closing: Arc<AtomicBool>,
    /// Once closing: when to stop waiting for somebody else's lock.
    pub(crate) held_until: Option<Deadline>,
    /// Held for as long as the file may be written.
    pub(crate) lock: File,
}

/// Why a batch was not committed, by what can be done about it.
#[derive(Debug)]
enum Trouble {
    /// One of its rows breaks a rule: the others can be written without it.
    OneRow(String),
    /// There is no room: pictures make some.
    NoRoom(String),
    /// Somebody else holds the file: the same will work once they let go.
    Held(String),
    /// Anything else: try once more from the beginning.
    Store(String),
}

/// Starts the writer's thread; it ends when it was told to close, or when nobody can hand over.
pub(crate) fn start(writer: Writer, inbox: Inbox, runtime: Runtime) -> io::Result<()> {
    let named = thread::Builder::new().name("vlmgate-ledger".to_owned());
    // not joined: `Chore::Close` answers as its last act
    named.spawn(move || runtime.block_on(writer.run(inbox))).map(drop)
}

impl Writer {
    async fn run(mut self, mut inbox: Inbox) {
        let mut closings = Vec::new();
        let folding = Folding::start(self.options.get_filename(), Arc::clone(&self.counters));
        while let Some(work) = inbox.next().await {
            let turn = async {
                match work {
                    Work::Batch(batch) => self.commit(batch).await,
                    Work::Chore(Chore::Sweep(aged, reply)) => {
                        told(reply.send(self.sweep(&aged).await));
                    }
                    Work::Chore(Chore::Drill(row, reply)) => {
                        told(reply.send(self.keep_drill(&row).await));
                    }
                    Work::Chore(Chore::Write(writing, reply)) => {
                        told(reply.send(self.write(&writing).await));
                    }
                    Work::Chore(Chore::Close(closing)) => {
                        inbox.close();
                        closings.push(closing);
                    }
                }
                self.tidy(&folding).await;
            };
            if let Err(panic) = AssertUnwindSafe(turn).catch_unwind().await {
                self.recover(panic.as_ref()).await;
            }
        }
        let mut closed = Vec::new();
        for closing in closings {
            closed.push(closing.settled().await);
        }
        folding.end(&self.counters).await;
        self.finish().await;
        drop(inbox); // whoever asked for one more close is told now
        for closed in closed {
            told(closed.send(()));
        }
    }

    /// A defect costs what was in hand, which counted itself as lost, and nothing after it. A
    /// picture's file that was made for it may stay, as after a kill.
    async fn recover(&mut self, panic: &(dyn Any + Send)) {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        let why = text.unwrap_or("a panic without words");
        tracing::error!(why, "the ledger's writer panicked: the batch in hand is lost");
        telemetry::count_panic();
        self.counters.trouble(&format!("the writer panicked: {why}"));
        self.drop_conn().await;
    }

    /// Writes `batch` and answers everyone in it.
    async fn commit(&mut self, mut batch: Vec<Pending>) {
        for pending in &mut batch {
            self.keep_pictures(pending).await;
        }
        let (rows, waiters): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|pending| (pending.row, pending.waiter)).unzip();
        match self.append(&rows).await {
            Ok(seqs) => answer(waiters, &seqs),
            Err(Trouble::OneRow(_)) => self.settle_each(rows, waiters).await,
            Err(Trouble::NoRoom(why)) => {
                let rows = self.without_pictures(rows, &why);
                self.make_room().await;
                self.settle_again(rows, waiters).await;
            }
            Err(Trouble::Held(_) | Trouble::Store(_)) => self.settle_again(rows, waiters).await,
        }
    }

    /// The second and last time: what fails now is lost.
    async fn settle_again(&mut self, rows: Vec<Row>, waiters: Vec<Waiter>) {
        match self.append(&rows).await {
            Ok(seqs) => answer(waiters, &seqs),
            Err(Trouble::OneRow(_)) => self.settle_each(rows, waiters).await,
            Err(Trouble::NoRoom(why) | Trouble::Held(why) | Trouble::Store(why)) => {
                self.counters.trouble(&why);
                self.remove_made(&rows, &HashSet::new());
            }
        }
    }

    /// One transaction a row, so that a row which breaks a rule is lost alone.
    async fn settle_each(&mut self, rows: Vec<Row>, waiters: Vec<Waiter>) {
        let mut written = HashSet::new();
        for (row, waiter) in rows.iter().zip(waiters) {
            match self.append(std::slice::from_ref(row)).await {
                Ok(seqs) => {
                    answer(vec![waiter], &seqs);
                    written.extend(row.pictures.iter().map(|picture| picture.digest));
                }
                Err(why) => self.counters.trouble(&why.into_text()),
            }
        }
        self.remove_made(&rows, &written);
    }

    /// Appends `rows`, as soon as nobody else holds the file.
    async fn append(&mut self, rows: &[Row]) -> Result<Vec<i64>, Trouble> {
        let mut waited = false;
        loop {
            match self.try_append(rows).await {
                Err(Trouble::Held(why)) if self.may_wait() => {
                    if !mem::replace(&mut waited, true) {
                        tracing::warn!(
                            why,
                            "records wait: another process holds the ledger's file"
                        );
                        self.counters.held();
                        self.counters.trouble(&format!("another process holds the file: {why}"));
                    }
                    Deadline::after(HELD_PAUSE).passed().await;
                }
                done => return done,
            }
        }
    }

    /// Whether a held batch may be tried again: always, but once closing only for a while.
    fn may_wait(&mut self) -> bool {
        if !self.closing.load(Ordering::Acquire) {
            return true;
        }
        !self.held_until.get_or_insert_with(|| Deadline::after(HELD_AT_CLOSE)).is_past()
    }

    async fn try_append(&mut self, rows: &[Row]) -> Result<Vec<i64>, Trouble> {
        let conn = self.conn().await.map_err(|why| Trouble::of(&why))?;
        match sqlite::append(conn, rows).await {
            Ok(seqs) => {
                self.unfolded += rows.len();
                self.unasked += rows.len();
                self.counters.committed();
                if let Some(last) = seqs.iter().max() {
                    // the rest of an early answer has its record's `seq`, which is an older one
                    self.grown.send_modify(|grown| *grown = (*grown).max(*last));
                    self.counters.stored(*last);
                }
                Ok(seqs)
            }
            Err(why) => {
                self.drop_conn().await;
                Err(Trouble::of(&why))
            }
        }
    }

    async fn keep_pictures(&mut self, pending: &mut Pending) {
        let keep = mem::take(&mut pending.keep);
        if !self.spare.is_held() && !keep.is_empty() {
            self.counters.lost_images(keep.len(), &"image not kept: the room left is for records");
            return;
        }
        for image in keep {
            let digest = Digest::of(&image.bytes);
            match self.pictures.keep(digest, &image.bytes) {
                Ok(made) => pending.row.pictures.push(KeptPicture {
                    view: image.view,
                    digest,
                    size_bytes: image.bytes.len(),
                    made,
                }),
                Err(why) => {
                    self.counters.lost_images(1, &format!("image not kept: {why}"));
                    if why.kind() == io::ErrorKind::StorageFull {
                        self.make_room().await;
                    }
                }
            }
        }
    }

    /// The rows without their pictures, whose files make room.
    fn without_pictures(&self, mut rows: Vec<Row>, why: &str) -> Vec<Row> {
        let images = rows.iter().map(|row| row.pictures.len()).sum();
        self.remove_made(&rows, &HashSet::new());
        if images != 0 {
            self.counters.lost_images(images, &why);
        }
        for row in &mut rows {
            row.pictures.clear();
        }
        rows
    }

    /// Removes the files that were made for `rows` and are in no written one.
    fn remove_made(&self, rows: &[Row], written: &HashSet<Digest>) {
        let pictures = rows.iter().flat_map(|row| &row.pictures);
        for picture in pictures.filter(|one| one.made && !written.contains(&one.digest)) {
            self.remove_file(&picture.digest.to_hex());
        }
    }

    fn remove_file(&self, hex: &str) {
        if let Err(why) = self.pictures.remove(hex) {
            self.counters.trouble(&format!("image {hex} not removed: {why}"));
        }
    }

    async fn sweep(&mut self, aged: &Aged) -> Result<Deleted, String> {
        let deleted = match self.delete(aged).await {
            Err(Trouble::NoRoom(_)) => {
                self.make_room().await;
                self.delete(aged).await
            }
            done => done,
        };
        match deleted {
            Ok(deleted) => {
                for hex in &deleted.files {
                    self.remove_file(hex);
                }
                if deleted.rows != 0 {
                    self.give_back().await;
                }
                Ok(deleted)
            }
            Err(why) => {
                let why = why.into_text();
                self.counters.trouble(&why);
                Err(why)
            }
        }
    }

    /// Deletes one step, as soon as nobody else holds the file, be that not too long.
    async fn delete(&mut self, aged: &Aged) -> Result<Deleted, Trouble> {
        let until = Deadline::after(HELD_FOR_SWEEP);
        loop {
            match self.try_delete(aged).await {
                Err(Trouble::Held(_)) if self.may_wait() && !until.is_past() => {
                    Deadline::after(HELD_PAUSE).passed().await;
                }
                done => return done,
            }
        }
    }

    async fn try_delete(&mut self, aged: &Aged) -> Result<Deleted, Trouble> {
        let conn = self.conn().await.map_err(|why| Trouble::of(&why))?;
        match sqlite::delete(conn, aged, STEP_ROWS).await {
            Ok(deleted) => Ok(deleted),
            Err(why) => {
                self.drop_conn().await;
                Err(Trouble::of(&why))
            }
        }
    }

    /// Gives the room that deletes made back to the disk.
    async fn give_back(&mut self) {
        let given = match self.conn().await {
            Ok(conn) => sqlite::give_back(conn).await,
            Err(why) => Err(why),
        };
        self.unasked += FOLD_AFTER;
        if let Err(why) = given {
            self.drop_conn().await;
            self.counters.trouble(&why);
        }
    }

    async fn keep_drill(&mut self, row: &DrillRow) -> Result<(), String> {
        let conn = self.conn().await.map_err(|why| why.to_string())?;
        let Err(why) = drills::keep(conn, row).await else { return Ok(()) };
        self.drop_conn().await;
        self.counters.trouble(&why);
        Err(why.to_string())
    }

    async fn write(&mut self, writing: &Writing) -> Result<i64, String> {
        if !self.spare.is_held() {
            return Err("the room left is for records".to_owned());
        }
        let conn = self.conn().await.map_err(|why| why.to_string())?;
        match writing.write(conn).await {
            Ok(id) => {
                self.unasked += 1;
                match writing {
                    Writing::Count(count) => self.counters.counted(count.to.seq),
                    // it counts: who follows is to look
                    Writing::Shadow(_) => self.grown.send_modify(|_| {}),
                    Writing::Acknowledgement(_)
                    | Writing::Mark(_)
                    | Writing::EndMark { .. }
                    | Writing::EndMarks { .. }
                    | Writing::Label(_)
                    | Writing::Draw(_)
                    | Writing::List(_) => {}
                }
                Ok(id)
            }
            Err(why) => {
                self.drop_conn().await;
                self.counters.trouble(&why);
                Err(why.to_string())
            }
        }
    }

    /// Gives the spare to the log and the file: with the log folded in, its room is free again.
    async fn make_room(&mut self) {
        if let Err(why) = self.spare.give_up() {
            self.counters.trouble(&format!("spare room not given up: {why}"));
        }
        self.fold().await;
    }

    /// Sees that the log does not grow. Where the writer itself folds, answers have left: it delays
    /// nobody but the next batch.
    async fn tidy(&mut self, folding: &Folding) {
        let at_most = if self.spare.is_held() { FOLD_ANYWAY } else { FOLD_FULL };
        if at_most <= self.unfolded {
            self.fold().await;
            if let Err(why) = self.spare.hold() {
                self.counters.trouble(&format!("no spare room for records: {why}"));
            }
        } else if FOLD_AFTER <= self.unasked {
            self.unasked = 0;
            folding.ask();
        }
        self.counters.set_room(self.spare.is_held());
    }

    async fn fold(&mut self) {
        (self.unfolded, self.unasked) = (0, 0);
        let folded = match self.conn().await {
            Ok(conn) => sqlite::fold(conn).await,
            Err(why) => Err(why),
        };
        if let Err(why) = folded {
            self.drop_conn().await;
            self.counters.trouble(&why);
        }
    }

    async fn conn(&mut self) -> Result<&mut SqliteConnection, sqlx::Error> {
        let conn = match self.conn.take() {
            Some(conn) => conn,
            None => self.options.connect().await?,
        };
        Ok(self.conn.insert(conn))
    }

    /// After an error SQLite may have ended the transaction by itself or not: start anew.
    async fn drop_conn(&mut self) {
        if let Some(conn) = self.conn.take()
            && let Err(why) = conn.close_hard().await
        {
            self.counters.trouble(&why);
        }
    }

    async fn finish(mut self) {
        if let Ok(conn) = self.conn().await
            && let Err(why) = sqlite::fold_all(conn).await
        {
            self.counters.trouble(&why);
        }
        if let Some(conn) = self.conn.take()
            && let Err(why) = conn.close().await
        {
            self.counters.trouble(&why);
        }
        drop(self.lock);
    }
}

impl Trouble {
    fn of(why: &sqlx::Error) -> Self {
        let text = why.to_string();
        let code = why.as_database_error().and_then(DatabaseError::code);
        // the low byte of SQLite's extended result code is its class
        let class = code.and_then(|code| code.parse::<i32>().ok()).map(|code| code & 0xFF);
        match class {
            Some(5 | 6) => Self::Held(text),     // busy, locked
            Some(10 | 13) => Self::NoRoom(text), // a write that failed, for whatever reason; full
            Some(18..=20) => Self::OneRow(text), // too big, a constraint, a type
            Some(_) | None => Self::Store(text),
        }
    }

    fn into_text(self) -> String {
        match self {
            Self::OneRow(text) | Self::NoRoom(text) | Self::Held(text) | Self::Store(text) => text,
        }
    }
}

fn answer(waiters: Vec<Waiter>, seqs: &[i64]) {
    for (waiter, seq) in waiters.into_iter().zip(seqs) {
        waiter.tell(*seq);
    }
}
