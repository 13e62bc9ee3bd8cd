//! A probe is a real request to a judge whose breaker is open, beside the judge that is asked.
//!
//! It risks nobody's time, and where its answer comes first it is the verdict. It runs on a task of
//! the panel's, up to its strike age: when another judge is faster the race ends without it, and
//! what becomes of it is evidence. It counts against no policy's attempts; while probes fail the
//! probe budget pays for them, and so it does where an image could not afford one.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::clock::{Deadline, Stopwatch};
use crate::domain::{Attempt, AttemptOutcome, MicroUsd, Route};
use crate::panel::board::Place;
use crate::panel::call::{Asking, Call, Ended, cut_short};
use crate::panel::choice::InLine;
use crate::panel::hedge::Purse;
use crate::panel::race::{Course, Outcome};
use crate::panel::seat::{InFlight, Seat};
use crate::panel::{Question, now};

/// Longest that the rest of a probe's answer is read that nobody waits for.
const READ_FOR: Duration = Duration::from_secs(2);

/// A probe as its race sees it.
pub(super) struct Probing<'a> {
    seat: &'a Arc<Seat>,
    /// Its place in the starting order.
    place: u32,
    watch: Stopwatch,
    began: Stopwatch,
    estimate: MicroUsd,
    ended: oneshot::Receiver<Ended>,
}

impl Probing<'_> {
    /// Polls for its end; `None`: it broke.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Ended>> {
        self.ended.poll_unpin(context).map(Result::ok)
    }

    /// Its place in the starting order.
    pub(super) fn place(&self) -> u32 {
        self.place
    }

    /// What it is expected to cost.
    pub(super) fn estimate(&self) -> MicroUsd {
        self.estimate
    }

    /// What is recorded of it when the race does not wait for it.
    pub(super) fn leave(self) -> Attempt {
        self.cut_short("it ran on as a probe")
    }

    fn cut_short(&self, why: &str) -> Attempt {
        let Self { seat, watch, began, estimate, .. } = self;
        let attempt = cut_short(seat, Route::Probe, (*began, *watch), AttemptOutcome::Cancelled);
        Attempt { cost: *estimate, detail: Some(why.to_owned()), ..attempt }
    }
}

impl<'a> Course<'a> {
    /// Shows the image to one judge of the route that is to be probed, if there is one.
    pub(super) fn probe_beside(&mut self) {
        let sick = |one: &&InLine<'a>| !one.seat.stands_in() && !one.seat.is_closed();
        let sick: Vec<&'a Arc<Seat>> =
            self.unasked.iter().filter(sick).map(|one| one.seat).collect();
        if let Some(seat) = sick.into_iter().find(|seat| self.is_to_probe(seat)) {
            self.launch_probe(seat);
        }
    }

    /// Whether `seat` is to be probed with this image, and that is paid for.
    fn is_to_probe(&self, seat: &Seat) -> bool {
        let mut is_paid = false;
        let is_due = seat.probe(now(), || {
            is_paid = self.panel.pays(Purse::Probe);
            is_paid
        });
        // a cost cap that leaves no room for two calls must not keep a judge open for ever
        let goes = is_due && (is_paid || self.affords(seat) || self.panel.pays(Purse::Probe));
        if is_due && !goes {
            seat.probe_ended();
        }
        goes
    }

    fn launch_probe(&mut self, seat: &'a Arc<Seat>) {
        let Some(in_flight) = seat.enter() else {
            return seat.probe_ended(); // somebody else had the last place
        };
        self.unasked.retain(|one| one.seat.name() != seat.name());
        let Asking { question, began, caller_gone, budget, jitter, .. } = self.asking();
        let (tell, ended) = oneshot::channel();
        let probe = Probe {
            seat: Arc::clone(seat),
            in_flight,
            question: question.clone(),
            began,
            caller_gone: caller_gone.clone(),
            peers: Arc::clone(&self.peers),
            jitter,
            until: Deadline::after(seat.probe_age(seat.upto(question), budget)),
            budget,
        };
        let place = self.started;
        self.started = place.saturating_add(1);
        let watch = Stopwatch::start();
        let estimate = seat.judge().estimate(question);
        self.panel.run_probe(probe.run(tell));
        self.probing.push(Probing { seat, place, watch, began, estimate, ended });
    }

    /// Takes the end of the probe `at`; a valid judgement ends the race. A failure is nobody's turn.
    pub(super) fn take_probe(&mut self, at: usize, ended: Option<Ended>) -> Option<Outcome> {
        let probe = self.probing.remove(at);
        let (place, seat) = (probe.place, probe.seat);
        match ended {
            Some(Ended::Judged(attempt, judgement, rest)) => {
                self.rest = rest;
                let (judge, route) = (attempt.judge.clone(), attempt.route);
                self.ended.push((place, attempt));
                Some(Outcome::Judged { judge, route, judgement })
            }
            Some(Ended::Failed(attempt, _)) => {
                self.choice.note(attempt.outcome, seat.judge().id(), seat.judge().dialect());
                self.ended.push((place, attempt));
                None
            }
            None => {
                self.ended.push((place, probe.cut_short("its task was stopped")));
                None
            }
        }
    }
}

/// A probe as its task runs it: it owns all it needs, because it may outlive its race.
struct Probe {
    seat: Arc<Seat>,
    in_flight: InFlight,
    question: Question,
    began: Stopwatch,
    caller_gone: CancellationToken,
    peers: Arc<[Place]>,
    jitter: f64,
    /// Its strike age.
    until: Deadline,
    budget: Duration,
}

impl Probe {
    async fn run(self, tell: oneshot::Sender<Ended>) {
        let Self { seat, in_flight, question, began, caller_gone, peers, jitter, until, budget } =
            self;
        let ends = Ends(&seat);
        let (question, caller_gone) = (&question, &caller_gone);
        let asking = Asking { question, began, caller_gone, peers, budget, jitter };
        let mut call = Call::start((&seat, in_flight), Route::Probe, asking, until);
        let ended = match until.bound(call.reply()).await {
            Ok(reply) => call.end(reply),
            Err(_late) => {
                // it may have begun a moment after its time did, on a busy machine
                call.strike();
                let why = "it outlived its strike age";
                Ended::Failed(call.give_up(AttemptOutcome::Timeout, why), None)
            }
        };
        drop(ends);
        // the race may be over: then it was evidence only, and so is how it goes on after its scores
        if let Err(Ended::Judged(_, _, Some(rest))) = tell.send(ended) {
            rest.read(Deadline::after(READ_FOR)).await;
        }
    }
}

/// Frees the probe's place when it is over, also when its task is dropped.
struct Ends<'a>(&'a Arc<Seat>);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.probe_ended();
    }
}
