//! The journal is the queue between checks and the one writer: everything that waits is committed
//! in one transaction, and everyone who waited is answered at once.
//!
//! The writer lives on a thread of its own: file work never blocks a serving thread, and records
//! handed over are written even while the runtime that handed them over goes away. No error stops
//! it. When there is no room, pictures go first, then the [`Spare`], and rows last; what was lost is
//! counted, and the next batch is tried as if nothing had happened.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::{mem, thread};

use sqlx::error::DatabaseError;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};

use crate::domain::Digest;
use crate::ledger::pictures::Pictures;
use crate::ledger::spare::Spare;
use crate::ledger::sqlite::{self, Aged, Deleted, KeptPicture, Row};
use crate::ledger::{KeptImage, Stats};

/// Records in one transaction at most: bounds both a commit's time and a lost commit's size.
const MAX_BATCH: usize = 256;

/// Records after which the log is folded into the file, when nobody waits.
const FOLD_AFTER: usize = 256;

/// Records after which the log is folded in although somebody waits.
const FOLD_ANYWAY: usize = 4096;

/// Records after which the log is folded in when the disk is full: the less it grows, the more
/// records the room that is left can hold.
const FOLD_FULL: usize = 32;

/// Rows deleted in one step of retention.
pub(crate) const STEP_ROWS: u32 = 200;

/// What the ledger counts about itself.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    written: AtomicU64,
    commits: AtomicU64,
    dropped_rows: AtomicU64,
    dropped_images: AtomicU64,
    late: AtomicU64,
    pending: AtomicU64,
    last_error: Mutex<Option<String>>,
}

impl Counters {
    pub(crate) fn read(&self) -> Stats {
        let last_error = self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Stats {
            written: self.written.load(Ordering::Relaxed),
            commits: self.commits.load(Ordering::Relaxed),
            dropped_rows: self.dropped_rows.load(Ordering::Relaxed),
            dropped_images: self.dropped_images.load(Ordering::Relaxed),
            late: self.late.load(Ordering::Relaxed),
            pending: self.pending.load(Ordering::Relaxed),
            last_error,
        }
    }

    /// A record whose caller did not wait for it any longer.
    pub(crate) fn late(&self) {
        self.late.fetch_add(1, Ordering::Relaxed);
    }

    /// A record that is lost before it was handed over, and why.
    pub(crate) fn lost(&self, why: &dyn ToString) {
        self.dropped_rows.fetch_add(1, Ordering::Relaxed);
        self.trouble(why);
    }

    fn lost_images(&self, images: usize, why: &dyn ToString) {
        self.dropped_images.fetch_add(images as u64, Ordering::Relaxed);
        self.trouble(why);
    }

    /// Something went wrong; what it cost is counted elsewhere.
    pub(crate) fn trouble(&self, why: &dyn ToString) {
        let mut last = self.last_error.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some(why.to_string());
    }
}

/// Counts a record as pending for as long as it lives, and then as lost unless it was written:
/// whatever becomes of the writer, no record goes uncounted.
#[derive(Debug)]
struct Ticket {
    counters: Arc<Counters>,
    written: bool,
}

impl Ticket {
    fn new(counters: &Arc<Counters>) -> Self {
        counters.pending.fetch_add(1, Ordering::Relaxed);
        Self { counters: Arc::clone(counters), written: false }
    }

    fn written(mut self) {
        self.written = true;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let ended = if self.written { &self.counters.written } else { &self.counters.dropped_rows };
        ended.fetch_add(1, Ordering::Relaxed);
        self.counters.pending.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Who is told when a row is written. Dropped instead, it tells "not recorded".
#[derive(Debug)]
struct Waiter {
    ticket: Ticket, // first: the count must stand before anyone is told
    answer: oneshot::Sender<i64>,
}

/// A record handed over and not yet written.
#[derive(Debug)]
pub(crate) struct Pending {
    row: Row,
    keep: Vec<KeptImage>,
    waiter: Waiter,
}

impl Pending {
    /// A record on its way, and where its `seq` will be told.
    pub(crate) fn new(
        row: Row,
        keep: Vec<KeptImage>,
        counters: &Arc<Counters>,
    ) -> (Self, oneshot::Receiver<i64>) {
        let (answer, committed) = oneshot::channel();
        let waiter = Waiter { ticket: Ticket::new(counters), answer };
        (Self { row, keep, waiter }, committed)
    }
}

/// Work that is done when no record waits.
#[derive(Debug)]
pub(crate) enum Chore {
    /// Deletes one step of what is aged.
    Sweep(Aged, oneshot::Sender<Result<Deleted, String>>),
    /// Says when everything handed over before is settled.
    Flush(oneshot::Sender<()>),
    /// Takes no more slots, settles what is there, closes the file, says so.
    Close(oneshot::Sender<()>),
}

/// Both queues into the writer.
#[derive(Debug)]
pub(crate) struct Inbox {
    pub(crate) journal: mpsc::Receiver<Pending>,
    pub(crate) chores: mpsc::Receiver<Chore>,
}

/// The one writer.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) options: SqliteConnectOptions,
    /// `None` after an error: the next batch opens a new one, whose state is known.
    pub(crate) conn: Option<SqliteConnection>,
    pub(crate) pictures: Pictures,
    pub(crate) spare: Spare,
    pub(crate) counters: Arc<Counters>,
    /// Records since the log was folded in.
    pub(crate) unfolded: usize,
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
        let mut batch = Vec::with_capacity(MAX_BATCH);
        let mut closed = Vec::new();
        loop {
            tokio::select! {
                biased; // whoever waits for an answer comes before any chore
                count = inbox.journal.recv_many(&mut batch, MAX_BATCH) => match count {
                    0 => break,
                    _ => self.commit(mem::take(&mut batch)).await,
                },
                Some(chore) = inbox.chores.recv() => match chore {
                    Chore::Sweep(aged, reply) => told(reply.send(self.sweep(&aged).await)),
                    Chore::Flush(reply) => told(reply.send(())),
                    Chore::Close(reply) => {
                        inbox.journal.close();
                        closed.push(reply);
                    }
                },
            }
            // answers have left: a slow disk now delays nobody but the next batch
            if self.fold_after(inbox.journal.is_empty()) <= self.unfolded {
                self.tidy().await;
            }
        }
        drop(inbox);
        self.finish().await;
        for reply in closed {
            told(reply.send(()));
        }
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
            Err(Trouble::Store(_)) => self.settle_again(rows, waiters).await,
        }
    }

    /// The second and last time: what fails now is lost.
    async fn settle_again(&mut self, rows: Vec<Row>, waiters: Vec<Waiter>) {
        match self.append(&rows).await {
            Ok(seqs) => answer(waiters, &seqs),
            Err(Trouble::OneRow(_)) => self.settle_each(rows, waiters).await,
            Err(Trouble::NoRoom(why) | Trouble::Store(why)) => {
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
                Err(Trouble::OneRow(why) | Trouble::NoRoom(why) | Trouble::Store(why)) => {
                    self.counters.trouble(&why);
                }
            }
        }
        self.remove_made(&rows, &written);
    }

    async fn append(&mut self, rows: &[Row]) -> Result<Vec<i64>, Trouble> {
        let conn = self.conn().await.map_err(|why| Trouble::of(&why))?;
        match sqlite::append(conn, rows).await {
            Ok(seqs) => {
                self.unfolded += rows.len();
                self.counters.commits.fetch_add(1, Ordering::Relaxed);
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
                    self.unfolded += FOLD_AFTER;
                }
                Ok(deleted)
            }
            Err(Trouble::OneRow(why) | Trouble::NoRoom(why) | Trouble::Store(why)) => {
                self.counters.trouble(&why);
                Err(why)
            }
        }
    }

    async fn delete(&mut self, aged: &Aged) -> Result<Deleted, Trouble> {
        let conn = self.conn().await.map_err(|why| Trouble::of(&why))?;
        match sqlite::delete(conn, aged, STEP_ROWS).await {
            Ok(deleted) => Ok(deleted),
            Err(why) => {
                self.drop_conn().await;
                Err(Trouble::of(&why))
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

    fn fold_after(&self, idle: bool) -> usize {
        match (self.spare.is_held(), idle) {
            (false, _) => FOLD_FULL,
            (true, true) => FOLD_AFTER,
            (true, false) => FOLD_ANYWAY,
        }
    }

    /// Folds the log in, and takes the spare back if there is room again.
    async fn tidy(&mut self) {
        self.fold().await;
        if let Err(why) = self.spare.hold() {
            self.counters.trouble(&format!("no spare room for records: {why}"));
        }
    }

    async fn fold(&mut self) {
        self.unfolded = 0;
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
            Some(10 | 13) => Self::NoRoom(text), // a write that failed, for whatever reason; full
            Some(18..=20) => Self::OneRow(text), // too big, a constraint, a type
            Some(_) | None => Self::Store(text),
        }
    }
}

fn answer(waiters: Vec<Waiter>, seqs: &[i64]) {
    for (waiter, seq) in waiters.into_iter().zip(seqs) {
        waiter.ticket.written();
        told(waiter.answer.send(*seq));
    }
}

/// An answer nobody waits for any more is no error: the caller counted itself as late.
fn told<T>(_sent: Result<(), T>) {}
