//! Admission: refuse before paying, and wait before holding anything.
//!
//! A request takes its in-flight permit, a permit for all its bytes and a journal slot before its
//! body is read; where one of them or the judges' room is lacking it waits in a bounded line in
//! front of the door.
//!
//! All permits of a request are taken together under one lock, or none is: nobody holds one while
//! waiting for another, so no two can wait for each other. The byte permit is taken whole (the
//! announced length, else the most that any policy takes).
//!
//! The line serves the newest first of those who could go: who waits for judges that have no room
//! holds nobody up who asks others. Who can no longer be answered in time leaves it at once, and
//! when it is full the oldest does. When the process stops, newcomers are refused as soon as the
//! door closes, but those in the line keep their places: nobody joins them any more, so they are
//! served ever faster, and each ends within its own deadline. Turning them away would make a rolling
//! restart under load cost answers that this replica could still give.
//!
//! The workers' time is a permit too, but not one to stand in line for. How long a judge will take
//! nobody knows, so who waits for one may be lucky; what the workers have to do is known to them
//! ([`crate::imaging::Imaging::wait`]), and who would wait for them for more than half of the time that
//! its judges leave is told so at once, before a byte of its body is read. The other half is for its
//! body, its own pixels and slow judges: first come first served is right within that margin, and
//! nobody who was let in waits for nothing. A burst that came in before it showed as work is looked at
//! again, image by image, when its bodies are in: then each picture's size is known, and only those are
//! refused whose judges would have no time at all. Both refusals are `workers`.

mod line;
mod permits;
mod rhythm;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{self, Instant};
use tokio_util::sync::CancellationToken;

use crate::clock::{Deadline, Stopwatch};
use crate::gate::admission::line::{Line, Outlook, Place, Terms, Ticket, Waiter};
pub use crate::gate::admission::permits::{Admission, Permits};
use crate::ledger::Ledger;
use crate::panel::{BreakerState, Panel};
use crate::telemetry;
use crate::telemetry::door::{LineEnd, Shed};

/// Between two looks of those whose turn it is as soon as there is room: the judges and the journal
/// make it without telling the door.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Between two looks of everybody else: whether the time that a judge needs has grown.
const LOOK_ABOUT: Duration = Duration::from_millis(250);

/// When who was shed is told to come again, at the soonest and at the latest.
const RETRY_SOONEST: Duration = Duration::from_secs(1);
const RETRY_LATEST: Duration = Duration::from_secs(30);

/// What may be in flight at once, and how many may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Checks.
    pub max_in_flight: usize,
    /// Bytes of their bodies.
    pub max_in_flight_bytes: usize,
    /// Requests that wait in front of the door; 0: nobody waits.
    pub max_queued: usize,
}

/// A request at the door.
#[derive(Clone, Copy, Debug)]
pub struct Newcomer<'a> {
    /// All that it will hold at once.
    pub size_bytes: usize,
    /// The judges of its route; none where nobody is to be asked, or it is not known yet who.
    pub judges: &'a [String],
    /// When its body must be in.
    pub read_by: Deadline,
    /// When its judgement must be there.
    pub judged_by: Deadline,
    /// What a judge of unknown speed needs.
    pub floor: Duration,
    /// Whether its pixels are surely to be worked on, whatever its image is like.
    pub wants_worker: bool,
}

/// A request that was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TurnedAway {
    /// Why.
    pub reason: Shed,
    /// What it waited for; `None`: it did not wait.
    pub lacked: Option<Shed>,
    /// When to come again.
    pub retry_after: Duration,
}

/// Counts what is in flight and says who may come in.
#[derive(Debug)]
pub struct Door {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    line: Mutex<Line>,
    panel: Arc<Panel>,
    workers: Workers,
    draining: AtomicBool,
    closed: CancellationToken,
}

/// Says how long one who came now would wait for a worker.
struct Workers(Box<dyn Fn() -> Duration + Send + Sync>);

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Workers").field(&(self.0)()).finish()
    }
}

impl Door {
    /// An open door in front of `panel`, and of workers that tell how long one who came now `would_wait`
    /// for one of them.
    #[must_use]
    pub fn new(
        limits: Limits,
        panel: Arc<Panel>,
        would_wait: impl Fn() -> Duration + Send + Sync + 'static,
    ) -> Self {
        let (line, workers) = (Mutex::new(Line::new(limits)), Workers(Box::new(would_wait)));
        let (draining, closed) = (AtomicBool::new(false), CancellationToken::new());
        Self { shared: Arc::new(Shared { line, panel, workers, draining, closed }) }
    }

    /// Lets one check of `size_bytes` in that waits for nothing, the judges' room included.
    ///
    /// # Errors
    /// Why there is no room; answered at once.
    pub fn admit(&self, size_bytes: usize, ledger: &Ledger) -> Result<Admission, Shed> {
        let mut line = self.shared.lock();
        match line.lacks(size_bytes) {
            None => self.shared.let_in(&mut line, (size_bytes, now(), &[]), ledger),
            Some(lacking) => Err(lacking),
        }
    }

    /// Lets `newcomer` in as soon as there is room for it. Dropping the future takes it out of the
    /// line without a trace.
    ///
    /// # Errors
    /// It was shed: at once where it cannot wait, else as soon as it is too late for it.
    pub async fn enter(
        &self,
        newcomer: Newcomer<'_>,
        ledger: &Ledger,
    ) -> Result<Admission, TurnedAway> {
        let mut waiting = match self.shared.receive(newcomer, ledger) {
            Ok(Received::In(admission)) => return Ok(admission),
            Ok(Received::Queued(waiting)) => waiting,
            Err(reason) => return Err(self.shared.turn_away(reason, None)),
        };
        loop {
            let look_at = match waiting.look(ledger) {
                Look::In(admission) => return Ok(admission),
                Look::Away(reason) => {
                    return Err(self.shared.turn_away(reason, Some(waiting.lacked)));
                }
                Look::Later(at) => at,
            };
            tokio::select! {
                () = waiting.place.called.notified() => {}
                () = time::sleep_until(look_at) => {}
            }
        }
    }

    /// Says that the process is stopping: not ready any more, but still open for those whom the
    /// load balancer sends before it notices.
    pub fn drain(&self) {
        self.shared.draining.store(true, Ordering::Relaxed);
    }

    /// Refuses newcomers from now on; those in the line keep their places.
    pub fn close(&self) {
        let mut line = self.shared.lock();
        line.close();
        self.shared.settle(&line);
        drop(line);
        self.shared.closed.cancel();
    }

    /// Returns once the door is closed.
    pub async fn until_closed(&self) {
        self.shared.closed.cancelled().await;
    }

    /// Whether the process is stopping.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.shared.draining.load(Ordering::Relaxed)
    }

    /// Checks in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.shared.lock().in_flight()
    }

    /// Requests in the line.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.shared.lock().queued()
    }

    /// Whether there is no room for anything that need not be done, such as asking two judges.
    #[must_use]
    pub fn is_crowded(&self) -> bool {
        self.shared.lock().is_crowded()
    }

    /// Writes the gauges.
    pub fn report(&self) {
        let line = self.shared.lock();
        telemetry::door::set_in_flight(line.in_flight(), line.held_bytes());
        telemetry::door::set_queued(line.queued());
    }
}

/// What became of a newcomer that was not refused.
enum Received<'a> {
    In(Admission),
    Queued(Waiting<'a>),
}

impl Shared {
    /// Takes everything for one check, for whom the line has room, or nothing.
    fn let_in(
        self: &Arc<Self>,
        line: &mut Line,
        (size_bytes, joined, judges): (usize, Instant, &[String]),
        ledger: &Ledger,
    ) -> Result<Admission, Shed> {
        let slot = ledger.reserve().map_err(|_| Shed::Journal)?;
        let lane = line.take(size_bytes, joined, judges);
        let permits = Permits { shared: Arc::clone(self), size_bytes, lane, is_approaching: true };
        Ok(Admission { slot, permits })
    }

    /// The same for `newcomer`, who may go on `terms`.
    fn let_in_on(
        self: &Arc<Self>,
        line: &mut Line,
        (newcomer, terms): (&Newcomer<'_>, Terms),
        joined: Instant,
        ledger: &Ledger,
    ) -> Result<Admission, Shed> {
        let judges = match terms {
            Terms::Asking => newcomer.judges,
            Terms::Unasking => &[],
        };
        self.let_in(line, (newcomer.size_bytes, joined, judges), ledger)
    }

    /// The same for one who has just come, and is the newest of all: it need not ask whose turn
    /// it is.
    fn let_newest_in(
        self: &Arc<Self>,
        line: &mut Line,
        newcomer: &Newcomer<'_>,
        (joined, useful_until): (Instant, Instant),
        ledger: &Ledger,
    ) -> Result<Admission, Shed> {
        if let Some(lacking) = line.lacks(newcomer.size_bytes) {
            return Err(lacking);
        }
        let outlook = self.outlook(newcomer.judges);
        let terms = line.terms((newcomer.judges, useful_until), outlook).ok_or(Shed::Judges)?;
        self.let_in_on(line, (newcomer, terms), joined, ledger)
    }

    /// Lets a newcomer in or puts it into the line.
    fn receive<'a>(
        self: &'a Arc<Self>,
        newcomer: Newcomer<'a>,
        ledger: &Ledger,
    ) -> Result<Received<'a>, Shed> {
        let (useful_until, joined) = (self.useful_until(&newcomer), now());
        let comes_too_late = self.comes_too_late(&newcomer, (joined, useful_until));
        let mut line = self.lock();
        if line.is_closed() {
            return Err(Shed::Draining);
        }
        if comes_too_late {
            return Err(Shed::Workers);
        }
        line.came(joined, newcomer.judges);
        let times = (joined, useful_until);
        let lacked = match self.let_newest_in(&mut line, &newcomer, times, ledger) {
            Ok(admission) => {
                line.went_in(newcomer.judges);
                self.settle(&line);
                return Ok(Received::In(admission));
            }
            Err(lacked) => lacked,
        };
        if !line.may_join(joined, newcomer.judges) {
            return Err(Shed::Overrun);
        }
        if line.has_no_places() || !line.could_fit(newcomer.size_bytes) {
            return Err(lacked);
        }
        if useful_until <= joined {
            return Err(Shed::TooLate);
        }
        let place = Arc::new(Place::default());
        let waiter = Waiter {
            size_bytes: newcomer.size_bytes,
            judges: Arc::from(newcomer.judges),
            useful_until,
            place: Arc::clone(&place),
        };
        let (ticket, ousted) = line.join(waiter)?;
        if let Some(ousted) = ousted {
            ousted.place.send_away(Shed::QueueFull);
        }
        self.settle(&line);
        drop(line);
        let (since, ended) = (Stopwatch::start(), LineEnd::Gone);
        let shared = self;
        Ok(Received::Queued(Waiting { shared, newcomer, ticket, place, since, lacked, ended }))
    }

    /// After every change: the panel learns of crowds, and those look whose turn it may be.
    fn settle(&self, line: &Line) {
        self.panel.mind_crowd(line.is_crowded());
        self.panel.mind_waited_for(&line.waited_for());
        line.heads().for_each(|(_, waiter)| waiter.place.called.notify_one());
    }

    /// What the panel says of `judges`.
    fn outlook(&self, judges: &[String]) -> Outlook {
        let room = if judges.is_empty() { usize::MAX } else { self.panel.room_among(judges) };
        if 0 < room {
            return Outlook { room, back_at: None };
        }
        let back_in = self.back_in(|name| judges.iter().any(|one| one == name));
        Outlook { room, back_at: back_in.map(|back_in| now() + back_in) }
    }

    /// The latest moment at which `newcomer` can be let in and still be answered in time.
    fn useful_until(&self, newcomer: &Newcomer<'_>) -> Instant {
        let needs = self.panel.fastest_p50(newcomer.judges).unwrap_or(newcomer.floor);
        newcomer.judged_by.less(needs).min(newcomer.read_by).instant()
    }

    /// Whether `newcomer`, who came at `joined`, would wait for a worker for more than half of the
    /// time until it is of no use. The other half is for its body, its own pixels and slow judges.
    fn comes_too_late(
        &self,
        newcomer: &Newcomer<'_>,
        (joined, useful_until): (Instant, Instant),
    ) -> bool {
        let spare = useful_until.saturating_duration_since(joined) / 2;
        newcomer.wants_worker && spare < (self.workers.0)()
    }

    fn turn_away(&self, reason: Shed, lacked: Option<Shed>) -> TurnedAway {
        let drains_in = self.lock().drains_in();
        let retry_after = match lacked.unwrap_or(reason) {
            Shed::Judges => drains_in.max(self.back_in(|_| true).unwrap_or_default()),
            Shed::Workers => (self.workers.0)(),
            Shed::InFlight
            | Shed::Bytes
            | Shed::Journal
            | Shed::QueueFull
            | Shed::TooLate
            | Shed::Overrun
            | Shed::Overtaken => drains_in,
            // another replica answers
            Shed::Draining => RETRY_SOONEST,
        };
        TurnedAway { reason, lacked, retry_after: retry_after.clamp(RETRY_SOONEST, RETRY_LATEST) }
    }

    /// When the first judge that looks, and is `meant`, may be asked again; `None`: that is not
    /// known of any.
    fn back_in(&self, meant: impl Fn(&str) -> bool) -> Option<Duration> {
        let looks = |name: &str| self.panel.judge(name).is_some_and(|one| !one.stands_in());
        let all = self.panel.statuses().into_iter();
        let closed = all.filter(|one| one.breaker == BreakerState::Closed);
        let known = closed.filter(|one| meant(&one.id.name) && looks(&one.id.name));
        known.map(|one| Duration::from_millis(one.blocked_for_ms.unwrap_or_default())).min()
    }

    /// A holder that panicked left a book that is whole: each change to it is one call.
    fn lock(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request in the line; dropping it takes it out.
struct Waiting<'a> {
    shared: &'a Arc<Shared>,
    newcomer: Newcomer<'a>,
    ticket: Ticket,
    place: Arc<Place>,
    since: Stopwatch,
    /// What was lacking when it was last looked at.
    lacked: Shed,
    ended: LineEnd,
}

/// What a waiter saw.
enum Look {
    In(Admission),
    Away(Shed),
    /// Nothing yet: look again then, or when called.
    Later(Instant),
}

impl Waiting<'_> {
    fn look(&mut self, ledger: &Ledger) -> Look {
        if let Some(reason) = self.place.told.get() {
            return self.end(LineEnd::Shed, Look::Away(*reason));
        }
        let (now, useful_until) = (now(), self.shared.useful_until(&self.newcomer));
        if useful_until <= now {
            return self.end(LineEnd::Shed, Look::Away(Shed::TooLate));
        }
        let mut line = self.shared.lock();
        line.expect(self.ticket, useful_until);
        let turn = line.turn(|judges| self.shared.outlook(judges));
        let Some((_, terms)) = turn.filter(|(ticket, _)| *ticket == self.ticket) else {
            // who waits in vain for its judges need not be the next of its lane, and is not called
            turn.into_iter().for_each(|(ticket, _)| line.call(ticket));
            self.lacked = self.lacking(&line).unwrap_or(self.lacked);
            // a large body is passed by small ones as long as they fit: that says nothing of its hope
            let is_large = self.lacked == Shed::Bytes;
            if !is_large && line.has_no_hope(self.since.started(), self.newcomer.judges) {
                line.was_overtaken(now, self.newcomer.judges);
                drop(line);
                return self.end(LineEnd::Shed, Look::Away(Shed::Overtaken));
            }
            let is_next = line.heads().any(|(ticket, _)| ticket == self.ticket);
            let look_after = if is_next { LOOK_AGAIN } else { LOOK_ABOUT };
            return Look::Later(useful_until.min(now + look_after));
        };
        let (joined, wanted) = (self.since.started(), (&self.newcomer, terms));
        match self.shared.let_in_on(&mut line, wanted, joined, ledger) {
            Ok(admission) => {
                line.leave(self.ticket);
                self.shared.settle(&line);
                drop(line);
                self.end(LineEnd::Served, Look::In(admission))
            }
            Err(lacked) => {
                self.lacked = lacked;
                Look::Later(useful_until.min(now + LOOK_AGAIN))
            }
        }
    }

    /// What it lacks beside its turn.
    fn lacking(&self, line: &Line) -> Option<Shed> {
        let lacks = line.lacks(self.newcomer.size_bytes);
        lacks.or_else(|| line.is_short_of(self.newcomer.judges).then_some(Shed::Judges))
    }

    fn end(&mut self, ended: LineEnd, look: Look) -> Look {
        self.ended = ended;
        look
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut line = self.shared.lock();
        line.leave(self.ticket);
        self.shared.settle(&line);
        drop(line);
        telemetry::door::record_queue(self.ended, self.since.elapsed());
    }
}

fn now() -> Instant {
    Stopwatch::start().started()
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
