//! Calls beside the serving path take what room is left, and make way.
//!
//! They are counted apart: a check that wants the judge finds the same room as if they were not
//! there. One that then takes more than the judge has makes them give up, at once.
//!
//! A check and such a call may begin in one instant. Each first counts itself and then looks at the
//! other's count, all in one order (`SeqCst`), so at least one of them sees both: the check tells
//! whoever listens, and a call looks once more when it has begun to listen, before anything is sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use thiserror::Error;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::panel::seat::Seat;

/// The share of its limit up to which a judge takes calls that nobody waits for.
const SLACK: f64 = 0.5;

/// Why a judge is not asked behind a verdict now.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum NotAsked {
    /// There is none of that name, or it only stands in.
    #[error("no judge of that name looks at images")]
    Unknown,
    /// Its breaker is not closed.
    #[error("its breaker is not closed")]
    Breaker,
    /// Its provider wants us to stay away or limits its rate, or checks use half of what it takes.
    #[error("it has no room to spare")]
    Busy,
    /// As many such calls are under way as there may be.
    #[error("as many are asked as may be")]
    Enough,
    /// The gate is all but full, or images wait for this judge.
    #[error("the gate is crowded")]
    Crowded,
}

/// The calls of one judge beside the serving path.
#[derive(Debug, Default)]
pub(crate) struct Asides {
    calls: AtomicU32,
    way: Notify,
}

impl Asides {
    /// A check's call started, with which `in_flight` of them are under way.
    pub(crate) fn make_way(&self, in_flight: u32, takes: u32) {
        let aside = self.calls.load(Ordering::SeqCst);
        if aside != 0 && takes < in_flight.saturating_add(aside) {
            self.way.notify_waiters();
        }
    }
}

/// A call beside the serving path, for as long as it is held.
#[derive(Debug)]
#[must_use = "dropping it says that the call is over"]
pub(crate) struct Entered(Arc<Seat>);

impl Entered {
    /// Who is busy.
    pub(crate) fn seat(&self) -> &Seat {
        &self.0
    }

    /// Says when it must make way.
    pub(crate) fn way(&self) -> &Notify {
        &self.0.aside.way
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.aside.calls.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Seat {
    /// A call that nobody waits for starts, where at most `most` such calls may be under way.
    ///
    /// # Errors
    /// Why it may not.
    pub(crate) fn enter_aside(
        self: &Arc<Self>,
        most: u32,
        now: Instant,
    ) -> Result<Entered, NotAsked> {
        if self.stands_in() {
            return Err(NotAsked::Unknown);
        }
        if !self.is_closed() {
            return Err(NotAsked::Breaker);
        }
        let health = self.health();
        let is_limited = health.blocked_for(now).is_some() || health.rate.is_paced(now);
        let takes = health.limit.whole();
        drop(health);
        if is_limited {
            return Err(NotAsked::Busy);
        }
        let in_flight = self.in_flight();
        let spare = (f64::from(takes) * SLACK).max(1.0);
        let mut why = NotAsked::Enough;
        let one_more = |aside: u32| {
            if most <= aside {
                return None;
            }
            why = NotAsked::Busy;
            (f64::from(in_flight.saturating_add(aside)) < spare).then(|| aside.saturating_add(1))
        };
        // in one step: two that look at once must not both have the last place
        let calls = &self.aside.calls;
        match calls.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more) {
            Ok(_) => Ok(Entered(Arc::clone(self))),
            Err(_) => Err(why),
        }
    }

    /// Calls under way beside the serving path.
    pub(crate) fn in_flight_aside(&self) -> u32 {
        self.aside.calls.load(Ordering::SeqCst)
    }

    /// Whether checks, and calls beside them, are together more than the judge takes.
    pub(crate) fn is_overfull(&self) -> bool {
        let takes = self.health().limit.whole();
        takes < self.in_flight().saturating_add(self.in_flight_aside())
    }
}
