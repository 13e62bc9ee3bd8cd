//! The ledger is the durable memory of checks: one record each, appended, never changed.
//!
//! What follows an answer that left early is appended too, as a row of its own, read as one with it.
//! A check reserves a [`Slot`] before anything is paid for, so that at its end there is room for
//! its record. [`Ledger::append`] hands the record to the one writer and waits, not past the
//! deadline, until it is in SQLite's write-ahead log: what was answered as recorded survives
//! kill -9. The deadline wins over the disk: an answer that could not wait says "not recorded",
//! and the record is written all the same as soon as the disk allows. So a stored row always says
//! `recorded: true`, and an answer says what was known when it left.
//! The ledger counts its troubles ([`Ledger::stats`]) and never fails a check: on a full disk
//! pictures are dropped first, some room is held back for rows, and rows are dropped last.

use std::fmt::Display;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;
use tokio::sync::mpsc::{self, OwnedPermit, error::TrySendError};
use tokio::sync::{oneshot, watch};

use crate::clock::Deadline;
use crate::domain::{Digest, Record, Remainder};
use crate::ledger::awaiting::Opener;
use crate::ledger::counters::Counters;
pub use crate::ledger::error::LedgerError;
use crate::ledger::form::{LateForm, RecordForm};
use crate::ledger::inbox::{Chore, CloseSteps, Closing, Inbox, Pending};
use crate::ledger::journal::Writer;
use crate::ledger::lock::lock;
use crate::ledger::pictures::Pictures;
use crate::ledger::reader::Reader;
use crate::ledger::spare::Spare;
use crate::ledger::sqlite::{Content, Row};

mod apart;
mod awaiting;
mod counters;
pub mod drills;
mod error;
pub mod export;
pub mod figures;
mod fold;
pub mod follow;
pub mod form;
pub mod import;
mod inbox;
mod journal;
mod kept;
pub mod labelled;
pub mod labels;
mod listing;
mod lock;
pub mod marks;
mod migrations;
pub mod news;
pub mod pairs;
mod pictures;
pub mod purses;
pub mod reader;
pub mod retention;
mod rollup;
pub mod shadows;
mod spare;
pub mod spread;
mod sqlite;
pub mod table;
pub mod wire;
mod writing;

/// How long a repeated request gets the first one's answer.
pub const IDEMPOTENCY_KEPT: Duration = Duration::from_hours(24);

/// Chores that wait for the writer; whoever asks for one more waits.
const MAX_CHORES: usize = 8;

/// Longest that a close waits for readers, once everything is written.
const READERS_CLOSE: Duration = Duration::from_secs(1);

/// Whether a commit is also forced to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// Survives the death of the process; a power loss may take the last moments.
    Normal,
    /// Survives a power loss, for one disk flush a commit.
    Full,
}

/// Where the ledger is and what it may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The SQLite file; its log, its lock and it must be alone under this name.
    pub path: PathBuf,
    /// The folder of kept pictures.
    pub images_dir: PathBuf,
    /// Whether a commit is also forced to the disk.
    pub sync: Sync,
    /// Most slots: checks under way and records not yet taken by the writer.
    pub max_pending: usize,
    /// Longest wait for a commit, however far the deadline.
    pub append_wait: Duration,
    /// Most connections for reading.
    pub readers: u32,
    /// Most bytes of the file, log and pictures not counted; `None`: what the disk has.
    pub max_file_bytes: Option<u64>,
    /// Bytes of the disk held for records alone, given up when it is full; 0: none.
    pub spare_bytes: u64,
}

/// There is no slot: the check must be refused before anything is paid for.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum NoSlot {
    /// Every slot is taken; soon one is free.
    #[error("no journal slot is free: all {limit} are taken")]
    Full {
        /// `max_pending`.
        limit: usize,
    },
    /// The ledger is closing, or its writer is gone: there will be none.
    #[error("the journal is closed")]
    Closed,
}

/// Not everything was written before the deadline.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{pending} records were not written in time")]
pub struct Unwritten {
    /// Records handed over and not in the log.
    pub pending: u64,
}

/// Room for one record. Dropped unused, it is free again.
#[derive(Debug)]
pub struct Slot(OwnedPermit<Pending>);

/// Room for what follows an early answer. Dropped unused, it is free again.
#[derive(Debug)]
pub struct LateSlot(Slot);

/// One picture to keep beside a record, as the judge saw it (JPEG).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptImage {
    /// The view's name.
    pub view: String,
    /// The encoded picture.
    pub bytes: Bytes,
}

/// The key under which a caller may repeat a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyMark {
    /// The API key's name.
    pub scope: String,
    /// The caller's key.
    pub key: String,
    /// Of everything that the answer depends on: a replay answers for this alone.
    pub request: Digest,
}

/// A record and what is kept beside it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The record.
    pub record: Record,
    /// Pictures to keep, in the policy's order.
    pub keep: Vec<KeptImage>,
    /// The key under which the request may be repeated.
    pub mark: Option<IdempotencyMark>,
}

/// What is known of a record's write when its answer leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Whether it is in the log.
    pub recorded: bool,
    /// Its place in the order of commits, once in the log.
    pub seq: Option<i64>,
}

/// The ledger's own figures since it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Records written.
    pub written: u64,
    /// Transactions they were written in.
    pub commits: u64,
    /// Records lost: the disk was full or broken.
    pub dropped_rows: u64,
    /// Pictures lost, their records kept.
    pub dropped_images: u64,
    /// What came after early answers and was lost, their records kept.
    pub dropped_late: u64,
    /// Records whose answer left before they were written.
    pub late: u64,
    /// Batches that waited for another process's lock on the file.
    pub held: u64,
    /// Records handed over and not yet written.
    pub pending: u64,
    /// Records behind the newest one that sums hold: what figures and drift do not know yet.
    pub uncounted: u64,
    /// The last trouble, for operators.
    pub last_error: Option<String>,
}

/// The durable memory of checks. Dropped without [`Ledger::close`] it still writes what it was
/// handed, on its own thread, if the process lives that long.
#[derive(Debug)]
pub struct Ledger {
    journal: mpsc::Sender<Pending>,
    chores: mpsc::Sender<Chore>,
    closing: Arc<AtomicBool>,
    counters: Arc<Counters>,
    grown: watch::Receiver<i64>,
    reader: Reader,
    append_wait: Duration,
}

impl Ledger {
    /// Opens the ledger for this process alone, making the file and bringing its tables up to date.
    /// What a killed process had in its log is there.
    ///
    /// # Errors
    /// [`LedgerError::InUse`] when another process has it, [`LedgerError::Open`] when a folder, the
    /// file or its tables cannot be made ready.
    pub async fn open(settings: Settings) -> Result<Self, LedgerError> {
        Self::open_as(settings, Opener::Gate).await
    }

    /// Opens the ledger to bring records in: what an import that was killed had not got to its place
    /// stays open, for this one to go on with.
    ///
    /// # Errors
    /// As for [`Ledger::open`].
    pub async fn open_to_import(settings: Settings) -> Result<Self, LedgerError> {
        Self::open_as(settings, Opener::Import).await
    }

    async fn open_as(settings: Settings, opener: Opener) -> Result<Self, LedgerError> {
        let lock = lock(&settings.path)?;
        let open = |why: &dyn Display| LedgerError::open(&settings.path, why);
        let pictures = Pictures::open(settings.images_dir.clone(), settings.sync == Sync::Full);
        let pictures = pictures.map_err(|why| LedgerError::open(&settings.images_dir, &why))?;
        let options = sqlite::writer_options(&settings);
        let mut spare = Spare::new(beside(&settings.path, ".spare"), settings.spare_bytes);
        let conn = match sqlite::open(&options).await {
            // the disk may be full: what an earlier process held is for this
            Err(_) if spare.give_up().map_err(|why| open(&why))? => sqlite::open(&options).await,
            opened => opened,
        };
        let mut conn = conn.map_err(|why| open(&why))?;
        let ends = sqlite::take_over(&mut conn, opener).await.map_err(|why| open(&why))?;
        let counters = Arc::new(Counters::of(ends));
        if let Err(why) = spare.hold() {
            counters.trouble(&format!("no spare room for records: {why}"));
        }
        counters.set_room(spare.is_held());
        let (journal, to_journal) = mpsc::channel(settings.max_pending.max(1));
        let (chores, to_chores) = mpsc::channel(MAX_CHORES);
        let inbox = Inbox::new(to_journal, to_chores);
        let closing = Arc::new(AtomicBool::new(false));
        let (grows, grown) = watch::channel(0);
        let writer = Writer {
            options,
            conn: Some(conn),
            pictures,
            spare,
            counters: Arc::clone(&counters),
            grown: grows,
            unfolded: 0,
            unasked: 0,
            closing: Arc::clone(&closing),
            held_until: None,
            lock,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|why| open(&why))?;
        journal::start(writer, inbox, runtime).map_err(|why| open(&why))?;
        let reader = Reader::lazy(&settings);
        let append_wait = settings.append_wait;
        Ok(Self { journal, chores, closing, counters, grown, reader, append_wait })
    }

    /// Takes room for one record, before anything is paid for.
    ///
    /// # Errors
    /// [`NoSlot`] when every slot is taken or the ledger is closing.
    pub fn reserve(&self) -> Result<Slot, NoSlot> {
        if self.closing.load(Ordering::Acquire) {
            return Err(NoSlot::Closed);
        }
        self.journal.clone().try_reserve_owned().map(Slot).map_err(|why| match why {
            TrySendError::Full(journal) => NoSlot::Full { limit: journal.max_capacity() },
            TrySendError::Closed(_) => NoSlot::Closed,
        })
    }

    /// Takes room for what will follow an early answer. Records come first: half of the slots are
    /// theirs alone. `None`: there is no room, and what follows will be lost, which is counted.
    #[must_use]
    pub fn reserve_late(&self) -> Option<LateSlot> {
        let is_roomy = self.journal.max_capacity() / 2 < self.journal.capacity();
        let slot = if is_roomy { self.reserve().ok() } else { None };
        if slot.is_none() {
            self.counters.lost_late(&"no room for what follows an early answer");
        }
        slot.map(LateSlot)
    }

    /// Hands over what followed an early answer, after its record. Nobody waits for it.
    pub fn append_late(&self, slot: LateSlot, late: &Remainder) {
        let json = match serde_json::to_string(&LateForm::from(late)) {
            Ok(json) => json,
            Err(why) => return self.counters.lost_late(&why),
        };
        let cost = late.attempts.iter().map(|one| one.cost).sum();
        let content = Content::Late { id: late.id, cost };
        let row = Row { content, json, mark: None, pictures: Vec::new() };
        let (pending, _committed) = Pending::new(row, Vec::new(), &self.counters);
        let LateSlot(Slot(permit)) = slot;
        drop(permit.send(pending));
    }

    /// Hands `entry` over and waits until it is in the log, but not past `deadline`.
    ///
    /// The record is handed over by the call itself: dropping the returned future loses the answer,
    /// not the record.
    pub fn append(
        &self,
        slot: Slot,
        entry: Entry,
        deadline: Deadline,
    ) -> impl Future<Output = Appended> + Send + use<> {
        let deadline = deadline.capped(self.append_wait);
        let counters = Arc::clone(&self.counters);
        let committed = self.hand_over(slot, entry);
        async move {
            let lost = Appended { recorded: false, seq: None };
            let Some(committed) = committed else { return lost };
            match deadline.bound(committed).await {
                Ok(Ok(seq)) => Appended { recorded: true, seq: Some(seq) },
                Ok(Err(_dropped)) => lost, // counted by the writer
                Err(_late) => {
                    counters.late();
                    lost
                }
            }
        }
    }

    fn hand_over(&self, slot: Slot, entry: Entry) -> Option<oneshot::Receiver<i64>> {
        // what is stored is recorded, whatever the caller could be told in time
        let form = RecordForm { recorded: true, ..RecordForm::from(&entry.record) };
        let json = match serde_json::to_string(&form) {
            Ok(json) => json,
            Err(why) => {
                self.counters.lost(&why);
                return None;
            }
        };
        let content = Content::Record(Box::new(form));
        let row = Row { content, json, mark: entry.mark, pictures: Vec::new() };
        let (pending, committed) = Pending::new(row, entry.keep, &self.counters);
        drop(slot.0.send(pending));
        Some(committed)
    }

    /// The reading side.
    #[must_use]
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Tells the latest `seq` written, whenever it changes; 0 until the first.
    #[must_use]
    pub fn grown(&self) -> watch::Receiver<i64> {
        self.grown.clone()
    }

    /// The ledger's own figures.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.counters.read()
    }

    /// Records handed over and not yet written.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.counters.read().pending
    }

    /// Takes no new slot, writes what was handed over and what holders of slots still hand over,
    /// then closes the readers, folds the log into the file and lets go of it. A reader that is
    /// stuck costs no record: the log is then folded in at the next opening.
    ///
    /// # Errors
    /// [`Unwritten`] when the deadline came first; the writer goes on while the process lives, but
    /// waits for another process's lock only a few seconds more.
    pub async fn close(&self, deadline: Deadline) -> Result<(), Unwritten> {
        self.closing.store(true, Ordering::Release);
        let (closing, steps) = Closing::new();
        let closed = async {
            // a writer that is gone has settled everything: what it did not write is counted
            self.chores.send(Chore::Close(closing)).await.ok();
            let CloseSteps { settled, readers_gone, closed } = steps;
            settled.await.ok();
            // a reader's open connection would keep the log from being emptied
            deadline.capped(READERS_CLOSE).bound(self.reader.close()).await.ok();
            drop(readers_gone);
            closed.await.ok();
        };
        deadline.bound(closed).await.map_err(|_late| Unwritten { pending: self.pending() })
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::Release);
    }
}

/// The file of the same name and `ending`.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}
