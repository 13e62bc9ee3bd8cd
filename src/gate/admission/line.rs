//! The line is the door's book: what those inside hold, who waits in front, and whose turn it is.
//! Pure: it is told the time and what the judges say, and waits for nothing.
//!
//! Who waits for other judges waits for something else: those who want the same judges stand in one
//! lane, and a lane whose judges have no room is passed over. There are no more lanes than policies,
//! and in each only a few are looked at, so that a turn does not cost the length of the line.
//!
//! The newest is served first. Under overload a first-come line makes everybody too late: whoever
//! reaches its head has used up the time that a judge needs. The newest has all of it. The price is
//! that whoever has been overtaken once is overtaken for as long as more come than are served, so
//! that one is told at once instead of at the end of its time. A burst that is over is another matter:
//! the line shrinks, and everybody in it is served.
//!
//! Where that has come to pass, of those who come then only as many join as leave, and a few more so
//! that nobody inside waits for work. The others are told as they come, instead of 0.4 s later.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::gate::admission::Limits;
use crate::gate::admission::rhythm::Rhythm;
use crate::telemetry::door::Shed;

/// How many of a lane's newest are looked at for one whose bytes fit (a large body must not keep the
/// small ones behind it out), and how many of its oldest for one who waits for its judges in vain.
const REACH: usize = 8;

/// While the judges are what is short, no more are on their way to them than they have room for; so
/// few always may be. A judge's room looks free until the body is read and the image prepared.
const FEW_APPROACHING: usize = 8;

/// From here on a lane is forgotten when nobody is in it: each reload may bring other judges.
const MANY_LANES: usize = 256;

/// The gate is crowded above this share of its checks, in hundredths.
const CROWDED_PERCENT: usize = 80;

/// How much the latest gap between two who leave counts.
const GAP_WEIGHT: f64 = 0.1;

/// The same where those who come are compared with those who leave: half forgotten after 35 gaps.
const QUICK_WEIGHT: f64 = 0.02;

/// A longer gap than this says that nothing happened, not how fast.
const LONGEST_GAP: Duration = Duration::from_millis(250);

/// Whoever came so long before one who has been let in was overtaken.
const OVERTAKEN_AFTER: Duration = Duration::from_millis(400);

/// For so long after somebody was, a lane is overrun.
const OVERRUN_FOR: Duration = Duration::from_secs(1);

/// So many may join an overrun lane for each that leaves: a few too many, so that what is free is
/// always taken, and that some are overtaken for as long as too many come.
const JOINING_FOR_ONE: f64 = 1.05;

/// Most that is remembered of those who went straight in.
const DEEPEST_CREDIT: f64 = -16.0;

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
    /// Whom it is to be judged by; none where nobody is to be asked.
    pub(super) judges: Arc<[String]>,
    /// Let in later than this it could not be answered in time.
    pub(super) useful_until: Instant,
    /// Where it is told.
    pub(super) place: Arc<Place>,
}

/// What the panel says of the judges of one lane.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outlook {
    /// How many more calls they take now.
    pub(super) room: usize,
    /// Where they take none: when one of them may be asked again, if that is known of any.
    pub(super) back_at: Option<Instant>,
}

/// On what terms somebody may come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Terms {
    /// Its judges have room for it.
    Asking,
    /// They have none and will have none in time: the policy says what it gets without them.
    Unasking,
}

/// Those who want to be judged by the same judges.
#[derive(Debug)]
struct Lane {
    waiting: BTreeSet<Ticket>,
    /// In flight, and not with the judges yet.
    approaching: usize,
    /// Whether the judges had no room since somebody waits here.
    is_short: bool,
    /// When the youngest of those let in since somebody waits here had come.
    youngest_in: Option<Instant>,
    /// How fast they come of late …
    arrivals: Rhythm,
    /// … and how fast those inside leave while others wait.
    departures: Rhythm,
    /// Until when it is taken to be overrun.
    overrun_until: Option<Instant>,
    /// How many more of those who come may stay, while it is overrun.
    credit: f64,
}

impl Default for Lane {
    fn default() -> Self {
        Self {
            waiting: BTreeSet::new(),
            approaching: 0,
            is_short: false,
            youngest_in: None,
            arrivals: Rhythm::new(QUICK_WEIGHT, LONGEST_GAP),
            departures: Rhythm::new(QUICK_WEIGHT, LONGEST_GAP),
            overrun_until: None,
            credit: 0.0,
        }
    }
}

impl Lane {
    /// Whether more come than are served, and of late somebody was overtaken.
    fn is_overrun(&self, now: Instant) -> bool {
        self.overrun_until.is_some_and(|until| now < until)
            && self.arrivals.is_faster_than(&self.departures)
    }
}

/// The door's book.
#[derive(Debug)]
pub(super) struct Line {
    limits: Limits,
    in_flight: usize,
    held_bytes: usize,
    waiting: BTreeMap<Ticket, Waiter>,
    /// The same by what they need: the last one needs most.
    by_size: BTreeSet<(usize, Ticket)>,
    /// By their judges.
    lanes: BTreeMap<Arc<[String]>, Lane>,
    next: u64,
    is_closed: bool,
    /// How fast those inside leave while others wait, from longer ago: what a newcomer is told of
    /// its wait.
    pace: Rhythm,
}

impl Line {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            in_flight: 0,
            held_bytes: 0,
            waiting: BTreeMap::new(),
            by_size: BTreeSet::new(),
            lanes: BTreeMap::new(),
            next: 0,
            is_closed: false,
            pace: Rhythm::new(GAP_WEIGHT, Duration::MAX),
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

    /// On what terms one may come in now, as far as its `judges` are concerned, who is of no use
    /// after `useful_until`; `None`: it is to wait for them. A gate that is not full owes an answer,
    /// whatever the providers do, so nobody waits for judges that will not be back in time.
    pub(super) fn terms(
        &mut self,
        (judges, useful_until): (&[String], Instant),
        outlook: Outlook,
    ) -> Option<Terms> {
        if self.may_approach(judges, outlook.room) {
            return Some(Terms::Asking);
        }
        let has_hope = outlook.back_at.is_some_and(|back_at| back_at < useful_until);
        (outlook.room == 0 && !has_hope).then_some(Terms::Unasking)
    }

    /// Takes in how many calls `judges` have room for; whether one more may set out for them.
    ///
    /// By the room, not by a fixed number: those on their way may be slow to send, and a line that
    /// has once grown would otherwise never be served fast enough to be empty again.
    fn may_approach(&mut self, judges: &[String], room: usize) -> bool {
        let waited_for = self.lanes.get_mut(judges).filter(|lane| !lane.waiting.is_empty());
        let is_short = waited_for.is_some_and(|lane| {
            lane.is_short |= room == 0;
            lane.is_short
        });
        let most_approaching = room.max(FEW_APPROACHING);
        0 < room && (!is_short || self.approaching(judges) < most_approaching)
    }

    /// How many are on their way to one of `judges`, whomever else they may ask.
    fn approaching(&self, judges: &[String]) -> usize {
        let shares = |lane: &[String]| lane.iter().any(|judge| judges.contains(judge));
        let sharing = self.lanes.iter().filter(|(lane, _)| shares(lane));
        sharing.map(|(_, lane)| lane.approaching).sum()
    }

    /// Whether `judges` are what those who wait for them lack.
    pub(super) fn is_short_of(&self, judges: &[String]) -> bool {
        self.lanes.get(judges).is_some_and(|lane| lane.is_short)
    }

    /// One came for `judges`.
    pub(super) fn came(&mut self, now: Instant, judges: &[String]) {
        let (_, lane) = self.lane(judges);
        lane.arrivals.one(now);
        let leaving = lane.departures.per(&lane.arrivals).unwrap_or(1.0);
        lane.credit = (lane.credit + leaving * JOINING_FOR_ONE).min(2.0);
    }

    /// One who has just come for `judges` went straight in.
    pub(super) fn went_in(&mut self, judges: &[String]) {
        let (_, lane) = self.lane(judges);
        lane.credit = (lane.credit - 1.0).max(DEEPEST_CREDIT);
    }

    /// Whether one who has just come for `judges` and cannot go in may wait for them: where somebody
    /// waits and the lane is overrun only as many as leave. Asked once of each.
    pub(super) fn may_join(&mut self, now: Instant, judges: &[String]) -> bool {
        let is_closed = self.is_closed;
        let (_, lane) = self.lane(judges);
        if is_closed || lane.waiting.is_empty() || !lane.is_overrun(now) {
            return true;
        }
        let may_join = 1.0 <= lane.credit;
        lane.credit -= if may_join { 1.0 } else { 0.0 };
        may_join
    }

    /// One who waited for `judges` left because it was overtaken.
    pub(super) fn was_overtaken(&mut self, now: Instant, judges: &[String]) {
        if let Some(lane) = self.lanes.get_mut(judges) {
            lane.overrun_until = Some(now + OVERRUN_FOR);
        }
    }

    /// The judges whose room somebody waits for.
    pub(super) fn waited_for(&self) -> BTreeSet<&str> {
        let short = self.lanes.iter().filter(|(_, lane)| lane.is_short && !lane.waiting.is_empty());
        short.flat_map(|(judges, _)| judges.iter().map(String::as_str)).collect()
    }

    /// The lane of `judges`, and the name that it has here.
    fn lane(&mut self, judges: &[String]) -> (Arc<[String]>, &mut Lane) {
        let known = self.lanes.get_key_value(judges).map(|(known, _)| Arc::clone(known));
        let judges = known.unwrap_or_else(|| Arc::from(judges));
        (Arc::clone(&judges), self.lanes.entry(judges).or_default())
    }

    /// Lets one in for which there is room, that came at `joined` for `judges`; returns its lane.
    pub(super) fn take(
        &mut self,
        size_bytes: usize,
        joined: Instant,
        judges: &[String],
    ) -> Arc<[String]> {
        debug_assert!(self.lacks(size_bytes).is_none(), "taken without room");
        let (judges, lane) = self.lane(judges);
        if !lane.waiting.is_empty() {
            lane.youngest_in = lane.youngest_in.max(Some(joined));
        }
        lane.approaching += 1;
        self.in_flight += 1;
        self.held_bytes += size_bytes;
        judges
    }

    /// One that was let in for `judges` is with them, or past the need of them.
    pub(super) fn arrive(&mut self, judges: &[String]) {
        if let Some(lane) = self.lanes.get_mut(judges) {
            lane.approaching = lane.approaching.saturating_sub(1);
        }
        self.tidy(judges);
    }

    /// Forgets what no longer matters of the lane of `judges`.
    fn tidy(&mut self, judges: &[String]) {
        let Some(lane) = self.lanes.get_mut(judges) else { return };
        if lane.waiting.is_empty() {
            // whoever waits from now on came later, and sees for itself how the judges are
            (lane.is_short, lane.youngest_in) = (false, None);
            if lane.approaching == 0 && MANY_LANES < self.lanes.len() {
                self.lanes.remove(judges);
            }
        }
    }

    /// One that was let in for `judges` gives everything back.
    pub(super) fn give_back(&mut self, size_bytes: usize, now: Instant, judges: &[String]) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.held_bytes = self.held_bytes.saturating_sub(size_bytes);
        // gaps count only while somebody waits: otherwise they are those of the arrivals
        if self.waiting.is_empty() {
            self.pace.pause();
        } else {
            self.pace.one(now);
        }
        if let Some(lane) = self.lanes.get_mut(judges) {
            let departures = &mut lane.departures;
            if lane.waiting.is_empty() {
                departures.pause();
            } else {
                departures.one(now);
            }
        }
    }

    /// Whether one that came at `joined` for `judges` waits in vain: others came for the same ones long
    /// after it and are in already, and more come for them than are served. Once the door is closed
    /// fewer do.
    pub(super) fn has_no_hope(&self, joined: Instant, judges: &[String]) -> bool {
        let Some(lane) = self.lanes.get(judges) else { return false };
        let youngest = lane.youngest_in;
        let is_overtaken = youngest.is_some_and(|youngest| joined + OVERTAKEN_AFTER <= youngest);
        !self.is_closed && is_overtaken && lane.arrivals.is_faster_than(&lane.departures)
    }

    /// Puts `waiter` into the line. When it is full the oldest makes room: of all in the line it
    /// has the least chance. It is returned, to be told.
    ///
    /// # Errors
    /// The line is full, and `waiter` has less time than the oldest.
    pub(super) fn join(&mut self, waiter: Waiter) -> Result<(Ticket, Option<Waiter>), Shed> {
        let mut ousted = None;
        if self.limits.max_queued <= self.waiting.len() {
            let (oldest, one) = self.waiting.first_key_value().ok_or(Shed::QueueFull)?;
            if waiter.useful_until < one.useful_until {
                return Err(Shed::QueueFull);
            }
            ousted = self.leave(*oldest);
        }
        let ticket = Ticket(self.next);
        self.next += 1;
        let lane = self.lanes.entry(Arc::clone(&waiter.judges)).or_default();
        lane.waiting.insert(ticket);
        self.by_size.insert((waiter.size_bytes, ticket));
        self.waiting.insert(ticket, waiter);
        Ok((ticket, ousted))
    }

    /// Says until when a waiter is of use by now: the time that its judges need changes.
    pub(super) fn expect(&mut self, ticket: Ticket, useful_until: Instant) {
        if let Some(waiter) = self.waiting.get_mut(&ticket) {
            waiter.useful_until = useful_until;
        }
    }

    /// Takes a waiter out of the line, where it still stands in it.
    pub(super) fn leave(&mut self, ticket: Ticket) -> Option<Waiter> {
        let waiter = self.waiting.remove(&ticket)?;
        self.by_size.remove(&(waiter.size_bytes, ticket));
        if let Some(lane) = self.lanes.get_mut(&waiter.judges) {
            lane.waiting.remove(&ticket);
        }
        self.tidy(&waiter.judges);
        Some(waiter)
    }

    /// Whose turn it is, and on what terms: the newest of those who could go. In each lane that is
    /// the newest for whom there is room; where its judges have none, one for whom they will have
    /// none in time.
    pub(super) fn turn(
        &mut self,
        outlook_of: impl Fn(&[String]) -> Outlook,
    ) -> Option<(Ticket, Terms)> {
        // the judges are not looked at where nobody could go to them
        let fitting = |(judges, lane): (&Arc<[String]>, &Lane)| {
            self.fitting(lane).next().map(|_| Arc::clone(judges))
        };
        let lanes: Vec<_> = self.lanes.iter().filter_map(fitting).collect();
        let firsts = lanes.iter().filter_map(|judges| self.first_of(judges, outlook_of(judges)));
        firsts.max_by_key(|(ticket, _)| *ticket)
    }

    /// Who is first of the lane of `judges`.
    fn first_of(&mut self, judges: &[String], outlook: Outlook) -> Option<(Ticket, Terms)> {
        let few: Vec<_> = self.fitting(self.lanes.get(judges)?).collect();
        few.into_iter().find_map(|(ticket, useful_until)| {
            let terms = self.terms((judges, useful_until), outlook)?;
            Some((ticket, terms))
        })
    }

    /// Those few of `lane` for whom there is room, the newest first, and until when each is of use.
    /// Of its oldest, too: they have the least time to wait for judges.
    fn fitting<'a>(&'a self, lane: &'a Lane) -> impl Iterator<Item = (Ticket, Instant)> + 'a {
        let newest = lane.waiting.iter().rev().take(REACH);
        let beyond = lane.waiting.len().saturating_sub(REACH);
        let oldest = lane.waiting.iter().take(beyond.min(REACH));
        newest.chain(oldest).filter_map(|ticket| {
            let waiter = self.waiting.get(ticket)?;
            let fits = self.lacks(waiter.size_bytes).is_none();
            fits.then_some((*ticket, waiter.useful_until))
        })
    }

    /// Of each lane the one whose turn it is as soon as the judges have room.
    pub(super) fn heads(&self) -> impl Iterator<Item = (Ticket, &Waiter)> {
        let heads = self.lanes.values().filter_map(|lane| self.fitting(lane).next());
        heads.filter_map(|(ticket, _)| Some((ticket, self.waiting.get(&ticket)?)))
    }

    /// Tells a waiter to look.
    pub(super) fn call(&self, ticket: Ticket) {
        if let Some(waiter) = self.waiting.get(&ticket) {
            waiter.place.called.notify_one();
        }
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
    /// somebody waits for what those inside hold, or it is about to end. Who waits for judges alone
    /// is no crowd: whom else the others ask does not keep it waiting.
    pub(super) fn is_crowded(&self) -> bool {
        let is_full = self.limits.max_in_flight.saturating_mul(CROWDED_PERCENT)
            < self.in_flight.saturating_mul(100);
        let largest = self.by_size.last();
        let lacks_bytes = largest.is_some_and(|(most, _)| self.lacks(*most).is_some());
        is_full || lacks_bytes || self.is_closed
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

#[cfg(test)]
mod tests;
