//! What the ledger counts about itself.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::ledger::Stats;

/// The ledger's own figures, written by whoever causes them.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    written: AtomicU64,
    commits: AtomicU64,
    dropped_rows: AtomicU64,
    dropped_images: AtomicU64,
    dropped_late: AtomicU64,
    late: AtomicU64,
    held: AtomicU64,
    pending: AtomicU64,
    /// The newest record.
    stored_seq: AtomicI64,
    /// The newest record that sums hold.
    counted_seq: AtomicI64,
    /// Whether there is no room left but for records.
    is_full: AtomicBool,
    last_error: Mutex<Option<String>>,
}

impl Counters {
    /// Of a store with this newest record and this newest counted one.
    pub(crate) fn of((stored, counted): (i64, i64)) -> Self {
        let (stored_seq, counted_seq) = (AtomicI64::new(stored), AtomicI64::new(counted));
        Self { stored_seq, counted_seq, ..Self::default() }
    }

    pub(crate) fn read(&self) -> Stats {
        let last_error = self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Stats {
            written: self.written.load(Ordering::Relaxed),
            commits: self.commits.load(Ordering::Relaxed),
            dropped_rows: self.dropped_rows.load(Ordering::Relaxed),
            dropped_images: self.dropped_images.load(Ordering::Relaxed),
            dropped_late: self.dropped_late.load(Ordering::Relaxed),
            late: self.late.load(Ordering::Relaxed),
            held: self.held.load(Ordering::Relaxed),
            pending: self.pending.load(Ordering::Relaxed),
            uncounted: self.uncounted(),
            last_error,
        }
    }

    fn uncounted(&self) -> u64 {
        let counted = self.counted_seq.load(Ordering::Relaxed);
        let behind = self.stored_seq.load(Ordering::Relaxed).saturating_sub(counted);
        u64::try_from(behind).unwrap_or_default()
    }

    /// Whether there is room for more than records.
    pub(crate) fn has_room(&self) -> bool {
        !self.is_full.load(Ordering::Relaxed)
    }

    /// Whether there is room for more than records has changed, or not.
    pub(crate) fn set_room(&self, has_room: bool) {
        self.is_full.store(!has_room, Ordering::Relaxed);
    }

    /// A record is in the store.
    pub(crate) fn stored(&self, seq: i64) {
        self.stored_seq.fetch_max(seq, Ordering::Relaxed);
    }

    /// A record is in the sums.
    pub(crate) fn counted(&self, seq: i64) {
        self.counted_seq.fetch_max(seq, Ordering::Relaxed);
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

    /// What came after an early answer and is not kept, and why.
    pub(crate) fn lost_late(&self, why: &dyn ToString) {
        self.dropped_late.fetch_add(1, Ordering::Relaxed);
        self.trouble(why);
    }

    /// A transaction.
    pub(crate) fn committed(&self) {
        self.commits.fetch_add(1, Ordering::Relaxed);
    }

    /// A batch that waits for somebody else's lock on the file.
    pub(crate) fn held(&self) {
        self.held.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn lost_images(&self, images: usize, why: &dyn ToString) {
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
pub(crate) struct Ticket {
    counters: Arc<Counters>,
    what: What,
    written: bool,
}

/// What is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// A record.
    Record,
    /// What came after one.
    Late,
    /// What was brought and is no record; whoever brings it is told when it is not written.
    Behind,
}

impl Ticket {
    pub(crate) fn new(counters: &Arc<Counters>, what: What) -> Self {
        counters.pending.fetch_add(1, Ordering::Relaxed);
        Self { counters: Arc::clone(counters), what, written: false }
    }

    pub(crate) fn written(mut self) {
        self.written = true;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let ended = match (self.what, self.written) {
            (What::Record, true) => Some(&self.counters.written),
            (What::Record, false) => Some(&self.counters.dropped_rows),
            (What::Late, true) | (What::Behind, _) => None,
            (What::Late, false) => Some(&self.counters.dropped_late),
        };
        if let Some(ended) = ended {
            ended.fetch_add(1, Ordering::Relaxed);
        }
        self.counters.pending.fetch_sub(1, Ordering::Relaxed);
    }
}
