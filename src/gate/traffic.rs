//! Traffic is what becomes of the images of some policies while a drill watches them.
//!
//! Nobody watching, a check pays one relaxed load for it. What is held is a tally, bounded whatever
//! comes in.

use std::collections::BTreeSet;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::domain::drill::{Sight, Tally};
use crate::domain::{Basis, Mode, Record};

/// The flag of a record of which a drill broke a call.
pub const DRILL_FLAG: &str = "drill";

/// What was seen of the traffic since the last turn.
#[derive(Debug, Default)]
pub struct Traffic {
    is_watched: AtomicBool,
    watch: Mutex<Watch>,
}

#[derive(Debug, Default)]
struct Watch {
    policies: BTreeSet<String>,
    tally: Tally,
}

impl Traffic {
    /// Watches the images of `policies`, and nothing else, until the returned holder is dropped.
    pub fn watch(&self, policies: BTreeSet<String>) -> Watching<'_> {
        *self.seen() = Watch { policies, tally: Tally::default() };
        self.is_watched.store(true, Ordering::Relaxed);
        Watching(self)
    }

    /// One check ended, and is in the rates: of an early answer that is known at its end.
    pub(super) fn observe(&self, record: &Record) {
        if !self.is_watched.load(Ordering::Relaxed) || !was_asked_about(record) {
            return;
        }
        let mut seen = self.seen();
        if seen.policies.contains(&record.policy.name) {
            seen.tally.add(sight(record));
        }
    }

    fn seen(&self) -> MutexGuard<'_, Watch> {
        // nothing in there can be left half done
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Holds the traffic watched.
#[derive(Debug)]
pub struct Watching<'a>(&'a Traffic);

impl Watching<'_> {
    /// What was seen since the last turn.
    #[must_use]
    pub fn look(&self) -> Tally {
        self.0.seen().tally.clone()
    }

    /// The same, and begins anew.
    #[must_use]
    pub fn turn(&self) -> Tally {
        mem::take(&mut self.0.seen().tally)
    }
}

impl Drop for Watching<'_> {
    fn drop(&mut self) {
        self.0.is_watched.store(false, Ordering::Relaxed);
        *self.0.seen() = Watch::default();
    }
}

/// Whether a judge was to be asked, and somebody waited for the answer: of other images no drill
/// says anything.
fn was_asked_about(record: &Record) -> bool {
    let is_asked = match record.verdict.basis {
        Basis::Check => false,
        Basis::Judge | Basis::SecondOpinion | Basis::Deadline | Basis::NoJudge => true,
    };
    is_asked && !record.client_gone && record.policy.mode != Mode::Off
}

fn sight(record: &Record) -> Sight<'_> {
    let is_judged = record.verdict.basis.is_judged();
    let judge = record.judge.as_ref().filter(|_| is_judged);
    let took_ms = Duration::from_secs_f64(record.timing.total.max(0.0) / 1e3).as_millis();
    Sight {
        struck: record.verdict.flags.iter().any(|flag| flag == DRILL_FLAG),
        judged_by: judge.map(|judge| judge.name.as_str()),
        late: u128::from(record.deadline_ms) < took_ms,
        calls: record.attempts.len() as u64,
        took_ms: u32::try_from(took_ms).unwrap_or(u32::MAX),
    }
}
