//! A call that is under way, as its judge's seat counts it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::panel::seat::Seat;

/// A call that the judge is busy with, for as long as it is held.
#[derive(Debug)]
#[must_use = "dropping it says that the call is over"]
pub(crate) struct InFlight(pub(super) Arc<Seat>);

impl InFlight {
    /// Who is busy.
    pub(crate) fn seat(&self) -> &Seat {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let Self(seat) = self;
        let calls = seat.in_flight.fetch_sub(1, Ordering::AcqRel);
        if seat.is_full(calls) {
            seat.board.freed();
        }
    }
}
