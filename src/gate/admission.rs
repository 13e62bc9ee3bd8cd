//! Admission: refuse before paying. A check takes its in-flight permit, a permit for all its bytes
//! and a journal slot before the body is read, or is shed at once.
//!
//! The byte permit is taken whole (the announced length, else the most that any policy takes),
//! never in pieces: two half-read bodies waiting for each other's bytes would wait for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::ledger::{Ledger, Slot};
use crate::telemetry::{self, Shed};

/// What may be in flight at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Checks.
    pub max_in_flight: usize,
    /// Bytes of their bodies.
    pub max_in_flight_bytes: usize,
}

/// Counts what is in flight and says who may come in.
#[derive(Debug)]
pub struct Door {
    limits: Limits,
    checks: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    draining: AtomicBool,
    closed: AtomicBool,
}

/// Bytes are counted in KiB, so that one permit's count fits the semaphore's 32 bits.
const UNIT_BYTES: usize = 1_024;

impl Door {
    /// An open door.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            checks: Arc::new(Semaphore::new(limits.max_in_flight)),
            bytes: Arc::new(Semaphore::new(limits.max_in_flight_bytes / UNIT_BYTES)),
            draining: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        }
    }

    /// Lets one check of `size_bytes` in.
    ///
    /// # Errors
    /// Why there is no room; answered at once, nobody waits here.
    pub fn admit(&self, size_bytes: usize, ledger: &Ledger) -> Result<Admission, Shed> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(Shed::Draining);
        }
        let check = Arc::clone(&self.checks).try_acquire_owned().map_err(|_| Shed::InFlight)?;
        let units = u32::try_from(size_bytes.div_ceil(UNIT_BYTES)).map_err(|_| Shed::Bytes)?;
        let bytes = Arc::clone(&self.bytes).try_acquire_many_owned(units);
        let bytes = bytes.map_err(|_| Shed::Bytes)?;
        let slot = ledger.reserve().map_err(|_| Shed::Journal)?;
        self.report();
        Ok(Admission { slot, permits: Permits { _check: check, _bytes: bytes } })
    }

    /// Says that the process is stopping: not ready any more, but still open for those whom the
    /// load balancer sends before it notices.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Refuses everybody from now on.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// Whether the process is stopping.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Checks in flight.
    pub fn in_flight(&self) -> usize {
        self.limits.max_in_flight.saturating_sub(self.checks.available_permits())
    }

    /// Writes the gauges.
    pub fn report(&self) {
        let free_bytes = self.bytes.available_permits().saturating_mul(UNIT_BYTES);
        let held_bytes = self.limits.max_in_flight_bytes.saturating_sub(free_bytes);
        telemetry::set_in_flight(self.in_flight(), held_bytes);
    }
}

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
    _check: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}
