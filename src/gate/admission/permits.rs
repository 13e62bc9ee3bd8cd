//! Permits are what a check was given at the door: leave to be in flight, for its bytes, and for its
//! record. They are given back by being dropped, however the check ends.

use std::sync::Arc;

use crate::gate::admission::{Shared, now};
use crate::ledger::Slot;

/// Leave to be in flight: freed when dropped.
#[derive(Debug)]
pub struct Admission {
    /// Room for the record.
    pub slot: Slot,
    /// Held until the check ends.
    pub permits: Permits,
}

/// The permits of one check.
#[derive(Debug)]
pub struct Permits {
    pub(super) shared: Arc<Shared>,
    pub(super) size_bytes: usize,
    /// The judges it was let in for.
    pub(super) lane: Arc<[String]>,
    pub(super) is_approaching: bool,
}

impl Permits {
    /// Says that the check has reached the judges, or needs none.
    pub fn reach_judges(&mut self) {
        if std::mem::take(&mut self.is_approaching) {
            let mut line = self.shared.lock();
            line.arrive(&self.lane);
            self.shared.settle(&line);
        }
    }
}

impl Drop for Permits {
    fn drop(&mut self) {
        let mut line = self.shared.lock();
        if self.is_approaching {
            line.arrive(&self.lane);
        }
        line.give_back(self.size_bytes, now(), &self.lane);
        self.shared.settle(&line);
    }
}
