//! The race for one image: the first valid judgement before the deadline, and every attempt at it.
//!
//! A failure never wins: it starts the next judge. Slowness does too, within the hedge budget, and
//! so does the approaching end: a judge that hangs must not take the time of the one behind it. When
//! a judge's breaker opens, images that wait for it get the next judge at once. The race owns its
//! calls; returning, or dropping it, cancels those still under way, but for probes: they run on as
//! evidence, on the panel's own tasks.
//!
//! A judge that only stands in ([`crate::panel::Judge::stands_in`]) answers at once, so beside one
//! that looks it would always win. It is asked in its turn when nobody is under way, and as a
//! failover shortly before the deadline when nobody has answered: never for slowness.

mod attempts;
mod line;
mod probing;
mod timers;

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{self, Instant};
use tokio_util::sync::CancellationToken;

use crate::clock::{Deadline, Stopwatch};
use crate::domain::policy::{HedgeSpec, RouteSpec};
use crate::domain::{Attempt, JudgeId, Judgement, MicroUsd, Route};
use crate::panel::board::Place;
use crate::panel::call::{Call, Ended, Reply};
use crate::panel::choice::{Choice, InLine};
use crate::panel::race::probing::Probing;
use crate::panel::rest::Rest;
use crate::panel::seat::Seat;
use crate::panel::{Panel, Question, now};

/// With nobody left to hope for, an image waits this many times what the slowest judge takes.
const BROWN_OUT_P95S: f64 = 2.0;
/// … once nobody has judged for this long …
const BROWN_OUT_AFTER: Duration = Duration::from_secs(2);
/// … in so many calls.
const BROWN_OUT_MISSES: u32 = 5;

/// One image's entry.
#[derive(Clone, Copy, Debug)]
pub struct Race<'a> {
    /// What the judges are asked.
    pub question: &'a Question,
    /// Who is asked, and when.
    pub route: &'a RouteSpec,
    /// No attempt beside a running one past this; `None`: no limit.
    pub cost_cap: Option<MicroUsd>,
    /// When the judgement must be there: the check's deadline less what deciding takes.
    pub deadline: Deadline,
    /// Since when the check runs.
    pub began: Stopwatch,
    /// Cancelled when the caller hung up: attempts under way run on, none starts. For a caller who
    /// was gone before the race began nobody is asked at all, and it ends [`Outcome::Exhausted`]
    /// without an attempt: what tells it from a race without judges is the record's `client_gone`.
    pub caller_gone: &'a CancellationToken,
}

/// How a race ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The first valid judgement.
    Judged {
        /// Whose it is.
        judge: JudgeId,
        /// Why that judge was called.
        route: Route,
        /// What it said.
        judgement: Judgement,
    },
    /// Nobody is left to ask, or may be: the caller has gone.
    Exhausted,
    /// The deadline came first.
    Late,
}

/// A race that is over.
#[derive(Debug)]
pub struct Raced {
    /// How it ended.
    pub outcome: Outcome,
    /// What still comes of the judgement that won, where it left early.
    pub rest: Option<Rest>,
    /// Every attempt in starting order, cancelled ones too; `said` is for the caller to fill.
    pub attempts: Vec<Attempt>,
}

impl Panel {
    /// Runs the race. Returns by the deadline, whatever the judges do.
    pub async fn race(&self, entry: Race<'_>) -> Raced {
        let mut course = Course::new(self, entry);
        course.start();
        loop {
            if course.is_over() {
                let late = course.entry.deadline.is_past();
                return course.close(if late { Outcome::Late } else { Outcome::Exhausted });
            }
            match course.next().await {
                Event::Replied(at, reply) => {
                    if let Some(judged) = course.take(at, reply) {
                        return course.close(judged);
                    }
                }
                Event::Probed(at, ended) => {
                    if let Some(judged) = course.take_probe(at, ended) {
                        return course.close(judged);
                    }
                }
                Event::Opened => course.evacuate(),
                Event::Room => course.find_room(),
                Event::Due => course.on_timer(),
                Event::Late => return course.close(Outcome::Late),
                Event::Gone => return course.close(Outcome::Exhausted),
            }
        }
    }
}

/// Where nobody has judged for a while and every judge of the route is down: how long an image waits
/// all the same. Waiting longer only keeps callers; whoever comes back has answered by then.
fn brown_out(route: &RouteSpec, seats: &[&Arc<Seat>], now: Instant) -> Option<Duration> {
    let looking = || seats.iter().filter(|seat| !seat.stands_in());
    let mut misses = 0_u32;
    for seat in looking() {
        let (judged_at, missed) = seat.last_judged();
        let judged_of_late = judged_at.is_some_and(|at| now < at + BROWN_OUT_AFTER);
        if judged_of_late || !seat.is_down() {
            return None;
        }
        misses = misses.saturating_add(missed);
    }
    let slowest = looking().map(|seat| seat.normal_p95(route.deadline)).max()?;
    (BROWN_OUT_MISSES <= misses).then(|| slowest.mul_f64(BROWN_OUT_P95S))
}

/// What the race waits for.
enum Event {
    /// The call at this place among the running ones.
    Replied(usize, Reply),
    /// The probe at this place; `None`: it broke.
    Probed(usize, Option<Ended>),
    /// Some judge's breaker opened.
    Opened,
    /// Some judge that had all the calls it may have has fewer.
    Room,
    /// A timer.
    Due,
    /// The deadline.
    Late,
    /// The caller hung up while nobody was being asked.
    Gone,
}

/// A call in the race.
struct Runner<'a> {
    call: Call<'a>,
    /// Its place in the starting order.
    place: u32,
    /// When its own time is up, if that is before the race's deadline.
    cap_at: Option<Instant>,
    /// When it must make way for the next judge, if one may follow.
    gives_way_at: Option<Instant>,
    /// When to look whether a later call overtook it; `None`: it is not the only judge's.
    overtaken_at: Option<Instant>,
}

/// What an image waits for that nobody is being asked about.
#[derive(Clone, Copy, Debug, Default)]
struct Waits {
    /// When the only judge is asked again.
    repeat_at: Option<Instant>,
    /// When a judge that asked us to stay away is back, where nobody else is left.
    back_at: Option<Instant>,
    /// Whether those who might be asked have all the calls they may have.
    for_room: bool,
}

/// The state of a race.
struct Course<'a> {
    panel: &'a Panel,
    entry: Race<'a>,
    /// What the race had when it began.
    budget: Duration,
    /// `None`: one judge at a time.
    hedging: Option<HedgeSpec>,
    /// The route's judges, in the policy's order.
    line: Vec<InLine<'a>>,
    /// Those not asked yet.
    unasked: Vec<InLine<'a>>,
    /// The judge of a route of one.
    only: Option<&'a Arc<Seat>>,
    /// The places of those that look.
    peers: Arc<[Place]>,
    /// The image's draw, 0..1, at judges that just came back.
    chance: f64,
    choice: Choice,
    running: Vec<Runner<'a>>,
    probing: Vec<Probing<'a>>,
    /// Attempts that ended, with their place in the starting order.
    ended: Vec<(u32, Attempt)>,
    /// What still comes of the winner's answer.
    rest: Option<Rest>,
    started: u32,
    /// Of those, what counts against the policy's attempts.
    counted: u32,
    hedge_at: Option<Instant>,
    waits: Waits,
    has_last_chance: bool,
    /// Whether every judge is down: one is asked, and nobody beside or after it but probes.
    is_hopeless: bool,
    /// Whether a judge that stands in may still be asked beside those that look.
    may_stand_in: bool,
    openings: watch::Receiver<u64>,
    rooms: watch::Receiver<u64>,
}

impl<'a> Course<'a> {
    fn new(panel: &'a Panel, entry: Race<'a>) -> Self {
        let mut seats: Vec<&Arc<Seat>> = Vec::with_capacity(entry.route.judges.len());
        for seat in entry.route.judges.iter().filter_map(|name| panel.seat(name)) {
            if !seats.iter().any(|known| known.name() == seat.name()) {
                seats.push(seat);
            }
        }
        let brown_out = brown_out(entry.route, &seats, now());
        let deadline = brown_out.map_or(entry.deadline, |wait| entry.deadline.capped(wait));
        let entry = Race { deadline, ..entry };
        let only = if let [only] = seats.as_slice() { Some(*only) } else { None };
        let hedges = |spec: &HedgeSpec| 0.0 < spec.budget_ratio && brown_out.is_none();
        let hedging = entry.route.hedge.filter(hedges);
        let looking = seats.iter().filter(|seat| !seat.stands_in());
        let peers = looking.map(|seat| seat.place()).collect();
        let line = InLine::up(seats);
        Self {
            panel,
            entry,
            budget: entry.deadline.left(),
            hedging,
            unasked: line.clone(),
            line,
            only,
            peers,
            chance: panel.draw(),
            choice: Choice::default(),
            running: Vec::new(),
            probing: Vec::new(),
            ended: Vec::new(),
            rest: None,
            started: 0,
            counted: 0,
            hedge_at: None,
            waits: Waits::default(),
            has_last_chance: hedging.is_some(),
            is_hopeless: brown_out.is_some(),
            may_stand_in: true,
            openings: panel.board.openings(),
            rooms: panel.board.rooms(),
        }
    }

    fn is_over(&self) -> bool {
        let Waits { repeat_at, back_at, for_room } = self.waits;
        let waits = repeat_at.is_some() || back_at.is_some() || for_room;
        self.running.is_empty() && self.probing.is_empty() && !waits
    }

    async fn next(&mut self) -> Event {
        let due_at = self.due_at();
        let Race { deadline, caller_gone, .. } = self.entry;
        let waits = self.running.is_empty() && self.probing.is_empty();
        tokio::select! {
            biased; // an answer that is ready beats a timer that is due
            event = first_reply(&mut self.running, &mut self.probing) => event,
            () = deadline.passed() => Event::Late,
            () = caller_gone.cancelled(), if waits => Event::Gone,
            Ok(()) = self.openings.changed() => Event::Opened,
            Ok(()) = self.rooms.changed(), if self.waits.for_room => Event::Room,
            () = time::sleep_until(due_at) => Event::Due,
        }
    }
}

/// The first call to reply, the oldest of several; waits for ever when nothing runs.
async fn first_reply(running: &mut [Runner<'_>], probing: &mut [Probing<'_>]) -> Event {
    poll_fn(|context| {
        for (at, runner) in running.iter_mut().enumerate() {
            if let Poll::Ready(reply) = runner.call.poll(context) {
                return Poll::Ready(Event::Replied(at, reply));
            }
        }
        for (at, probe) in probing.iter_mut().enumerate() {
            if let Poll::Ready(ended) = probe.poll(context) {
                return Poll::Ready(Event::Probed(at, ended));
            }
        }
        Poll::Pending
    })
    .await
}

#[cfg(test)]
mod bounds;
#[cfg(test)]
mod breaking;
#[cfg(test)]
mod early;
#[cfg(test)]
mod lone;
#[cfg(test)]
mod promises;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod room;
#[cfg(test)]
mod scene;
#[cfg(test)]
mod stand_ins;
#[cfg(test)]
mod tests;
