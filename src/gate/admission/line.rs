//! The line is the door's book: what those inside hold, who waits in front, and whose turn it is.
//! Pure: it is told the time and what the judges say, and waits for nothing.
//!
//! The newest is served first. Under overload a first-come line makes everybody too late: whoever
//! reaches its head has used up the time that a judge needs. The newest has all of it. The price is
//! that whoever has been overtaken once is overtaken for as long as more come than are served, so
//! that one is told at once instead of at the end of its time. A burst that is over is another matter:
//! the line shrinks, and everybody in it is served.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::gate::admission::Limits;
use crate::telemetry::door::Shed;

/// How many of the newest are looked at for one whose bytes fit: a large body must not keep the
/// small ones behind it out, and a turn must not cost the length of the line.
const REACH: usize = 8;

/// While the judges are what is short, no more are on their way to them than they have room for; so
/// few always may be. A judge's room is taken only after the body is read and the image prepared:
/// until then it looks free to everybody.
const FEW_APPROACHING: usize = 8;

/// The gate is crowded above this share of its checks, in hundredths.
const CROWDED_PERCENT: usize = 80;

/// How much the latest gap between two who leave counts.
const GAP_WEIGHT: f64 = 0.1;

/// The same where those who come are compared with those who leave: at 200 a second a gap is half
/// forgotten after 0.2 s, and two equal rates are within a tenth of each other.
const QUICK_WEIGHT: f64 = 0.02;

/// A longer gap than this says that nothing happened, not how fast something does.
const LONGEST_GAP: Duration = Duration::from_millis(250);

/// More come than are served if the gap between them is less than this share of the other.
const CLEARLY: f64 = 0.9;

/// Whoever came so long before one who has been let in was overtaken.
const OVERTAKEN_AFTER: Duration = Duration::from_millis(400);

/// A place in the line; later ones are larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(u64);

/// Where a waiter is told that its turn may have come, or that it must go.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// Something changed.
    pub(super) called: Notify,
    /// Why it must go.
    pub(super) told: OnceLock<Shed>,
}

impl Place {
    /// Tells the waiter that it must go.
    pub(super) fn send_away(&self, why: Shed) {
        // the first to say so is believed
        self.told.set(why).ok();
        self.called.notify_one();
    }
}

/// Somebody in the line. Holds nothing.
#[derive(Debug)]
pub(super) struct Waiter {
    /// What it will need, whole.
    pub(super) size_bytes: usize,
    /// Let in later than this it could not be answered in time.
    pub(super) useful_until: Instant,
    /// Where it is told.
    pub(super) place: Arc<Place>,
}

/// The door's book.
#[derive(Debug)]
pub(super) struct Line {
    limits: Limits,
    in_flight: usize,
    held_bytes: usize,
    /// In flight, and not with the judges yet.
    approaching: usize,
    /// Whether the judges had no room since the line was last empty.
    judges_are_short: bool,
    waiting: BTreeMap<Ticket, Waiter>,
    next: u64,
    is_closed: bool,
    /// When the youngest of those let in had come, by whom they want to be judged.
    youngest_in: BTreeMap<Vec<String>, Instant>,
    /// How fast they come of late …
    arrivals: Pace,
    /// … and how fast those inside leave while others wait.
    departures: Pace,
    /// The same, from longer ago: what a newcomer is told of its wait.
    pace: Pace,
}

impl Line {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            in_flight: 0,
            held_bytes: 0,
            approaching: 0,
            judges_are_short: false,
            waiting: BTreeMap::new(),
            next: 0,
            is_closed: false,
            youngest_in: BTreeMap::new(),
            arrivals: Pace::new(QUICK_WEIGHT, LONGEST_GAP),
            departures: Pace::new(QUICK_WEIGHT, LONGEST_GAP),
            pace: Pace::new(GAP_WEIGHT, Duration::MAX),
        }
    }

    /// What one of `size_bytes` lacks here; `None`: there is room.
    pub(super) fn lacks(&self, size_bytes: usize) -> Option<Shed> {
        if self.limits.max_in_flight <= self.in_flight {
            return Some(Shed::InFlight);
        }
        let free_bytes = self.limits.max_in_flight_bytes.saturating_sub(self.held_bytes);
        (free_bytes < size_bytes).then_some(Shed::Bytes)
    }

    /// Whether there is no line at all.
    pub(super) fn has_no_places(&self) -> bool {
        self.limits.max_queued == 0
    }

    /// Whether one of `size_bytes` could ever come in.
    pub(super) fn could_fit(&self, size_bytes: usize) -> bool {
        size_bytes <= self.limits.max_in_flight_bytes
    }

    /// Takes in how many calls the judges have room for; whether one more may set out for them.
    ///
    /// By the room, not by a fixed number: those on their way may be slow to send, and a line that
    /// has once grown would otherwise never be served fast enough to be empty again.
    pub(super) fn may_approach(&mut self, judges_room: usize) -> bool {
        let judges_have_room = 0 < judges_room;
        if !judges_have_room {
            self.judges_are_short = true;
        } else if self.waiting.is_empty() {
            self.judges_are_short = false;
        }
        let most_approaching = judges_room.max(FEW_APPROACHING);
        judges_have_room && (!self.judges_are_short || self.approaching < most_approaching)
    }

    /// One came.
    pub(super) fn came(&mut self, now: Instant) {
        self.arrivals.one(now);
    }

    /// Lets one in for which there is room, that came at `joined` for `judges`.
    pub(super) fn take(&mut self, size_bytes: usize, joined: Instant, judges: &[String]) {
        debug_assert!(self.lacks(size_bytes).is_none(), "taken without room");
        if self.waiting.is_empty() {
            self.youngest_in.clear(); // whoever waits from now on came later
        } else if let Some(youngest) = self.youngest_in.get_mut(judges) {
            *youngest = joined.max(*youngest);
        } else {
            self.youngest_in.insert(judges.to_vec(), joined);
        }
        self.in_flight += 1;
        self.approaching += 1;
        self.held_bytes += size_bytes;
    }

    /// One that was let in is with the judges, or past the need of them.
    pub(super) fn arrive(&mut self) {
        self.approaching = self.approaching.saturating_sub(1);
    }

    /// One that was let in gives everything back.
    pub(super) fn give_back(&mut self, size_bytes: usize, now: Instant) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.held_bytes = self.held_bytes.saturating_sub(size_bytes);
        // gaps count only while somebody waits: otherwise they are those of the arrivals
        for pace in [&mut self.departures, &mut self.pace] {
            if self.waiting.is_empty() { pace.pause() } else { pace.one(now) }
        }
    }

    /// Whether one that came at `joined` for `judges` waits in vain: others came for the same ones long
    /// after it and are in already, and more come than are served. Once the door is closed fewer do.
    pub(super) fn has_no_hope(&self, joined: Instant, judges: &[String]) -> bool {
        let youngest = self.youngest_in.get(judges);
        let is_overtaken = youngest.is_some_and(|youngest| joined + OVERTAKEN_AFTER <= *youngest);
        !self.is_closed && is_overtaken && self.arrivals.is_faster_than(&self.departures)
    }

    /// Puts `waiter` into the line. When it is full the oldest makes room: of all in the line it
    /// has the least chance. It is returned, to be told.
    ///
    /// # Errors
    /// The line is full, and `waiter` has less time than the oldest.
    pub(super) fn join(&mut self, waiter: Waiter) -> Result<(Ticket, Option<Waiter>), Shed> {
        let mut ousted = None;
        if self.limits.max_queued <= self.waiting.len() {
            let oldest = self.waiting.first_entry().ok_or(Shed::QueueFull)?;
            if waiter.useful_until < oldest.get().useful_until {
                return Err(Shed::QueueFull);
            }
            ousted = Some(oldest.remove());
        }
        let ticket = Ticket(self.next);
        self.next += 1;
        self.waiting.insert(ticket, waiter);
        Ok((ticket, ousted))
    }

    /// Takes a waiter out of the line, where it still stands in it.
    pub(super) fn leave(&mut self, ticket: Ticket) {
        self.waiting.remove(&ticket);
    }

    /// Whose turn it is: the newest, of the few newest, for whom there is room.
    pub(super) fn turn(&self) -> Option<(Ticket, &Waiter)> {
        let newest = self.waiting.iter().rev().take(REACH);
        let mut fitting = newest.filter(|(_, one)| self.lacks(one.size_bytes).is_none());
        fitting.next().map(|(ticket, waiter)| (*ticket, waiter))
    }

    /// Refuses newcomers from now on. Those in the line keep their places.
    pub(super) fn close(&mut self) {
        self.is_closed = true;
    }

    /// Whether newcomers are refused.
    pub(super) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Whether there is no room for anything that need not be done: the gate is all but full,
    /// somebody waits in front of it, or it is about to end.
    pub(super) fn is_crowded(&self) -> bool {
        let is_full = self.limits.max_in_flight.saturating_mul(CROWDED_PERCENT)
            < self.in_flight.saturating_mul(100);
        is_full || !self.waiting.is_empty() || self.is_closed
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    pub(super) fn queued(&self) -> usize {
        self.waiting.len()
    }

    /// How long the line would take to be served at its present pace.
    pub(super) fn drains_in(&self) -> Duration {
        self.pace.of(self.waiting.len() + 1)
    }
}

/// How fast something happens again and again.
#[derive(Debug)]
struct Pace {
    weight: f64,
    longest: Duration,
    last: Option<Instant>,
    /// Seconds from one to the next, smoothed; `None`: not known yet.
    gap_s: Option<f64>,
}

impl Pace {
    /// Of which the latest gap counts by this weight, and none as more than `longest`.
    fn new(weight: f64, longest: Duration) -> Self {
        Self { weight, longest, last: None, gap_s: None }
    }

    fn one(&mut self, now: Instant) {
        if let Some(last) = self.last {
            let gap = now.saturating_duration_since(last).min(self.longest);
            let gap_s = gap.as_secs_f64();
            let known_s = self.gap_s.unwrap_or(gap_s);
            self.gap_s = Some(known_s + self.weight * (gap_s - known_s));
        }
        self.last = Some(now);
    }

    /// The gap until the next one does not count.
    fn pause(&mut self) {
        self.last = None;
    }

    /// Whether that is known, and clearly so.
    fn is_faster_than(&self, other: &Self) -> bool {
        self.gap_s.zip(other.gap_s).is_some_and(|(own_s, other_s)| own_s < CLEARLY * other_s)
    }

    fn of(&self, waiters: usize) -> Duration {
        let waiters = u32::try_from(waiters).map_or(f64::from(u32::MAX), f64::from);
        let seconds = self.gap_s.unwrap_or_default() * waiters;
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }
}

#[cfg(test)]
mod tests;
