//! A call is one attempt under way: dropping it cancels the call, and is noticed.
//!
//! Whatever becomes of the race around it, the judge's in-flight count goes down exactly once (with
//! the last byte where an answer left early: until then the judge is busy with it), and a call that
//! was cut short counts as slower than its age. Its bill is the estimate: providers
//! charge for most of what was cancelled. A call that outlives its strike age is evidence against
//! its judge at that moment, whatever becomes of it; one cancelled before says nothing. So does the
//! rest of an answer whose scores have left: a judge that stops in the middle of its answers is ill.

use std::any::Any;
use std::fmt;
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock::{Deadline, Stopwatch};
use crate::domain::{Attempt, AttemptOutcome, Judgement, MicroUsd, Route};
use crate::panel::board::{Evidence, Place};
use crate::panel::breaker::{Fault, Turn};
use crate::panel::pace::Upto;
use crate::panel::rest::{Held, Rest, Vigil};
use crate::panel::seat::{InFlight, Seat, Told, whole_ms};
use crate::panel::{Answered, AttemptError, Question, now};

type Broken = Box<dyn Any + Send>;

/// What a call answered; a panic is an answer too.
pub(crate) type Reply = Result<Result<Answered, AttemptError>, Broken>;

/// Whether the judge says that its time was up. At the very deadline it says so in the same instant
/// in which who waits for it stops waiting: then it was not the judge's own time.
pub(crate) fn is_timeout(reply: &Reply) -> bool {
    matches!(reply, Ok(Err(error)) if error.outcome == AttemptOutcome::Timeout)
}

/// What every call about one image shares.
#[derive(Clone, Debug)]
pub(crate) struct Asking<'a> {
    /// What is asked.
    pub(crate) question: &'a Question,
    /// Since when the check runs.
    pub(crate) began: Stopwatch,
    /// Cancelled when the caller hung up.
    pub(crate) caller_gone: &'a CancellationToken,
    /// The places of the route's judges that look at images.
    pub(crate) peers: Arc<[Place]>,
    /// What the policy gives a race: strike ages are held to it.
    pub(crate) budget: Duration,
    /// 0..1, to spread what follows.
    pub(crate) jitter: f64,
}

/// How a call ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// With a valid judgement.
    Judged(Attempt, Judgement, Option<Rest>),
    /// Without; and how long the provider asked us to stay away.
    Failed(Attempt, Option<Duration>),
}

/// One attempt under way.
pub(crate) struct Call<'a> {
    seat: &'a Arc<Seat>,
    asking: Asking<'a>,
    route: Route,
    watch: Stopwatch,
    estimate: MicroUsd,
    reply: BoxFuture<'a, Reply>,
    strike_age: Duration,
    /// What its judge takes at most while it is well.
    usual_age: Duration,
    /// What it is waited for.
    upto: Upto,
    /// As what it counts with the breaker.
    turn: Turn,
    /// Whether it outlived that, and the seat knows.
    struck: bool,
    /// Whether its time has been told to the seat.
    told: bool,
    /// `None` once the rest of its answer is what the judge is busy with.
    in_flight: Option<InFlight>,
}

impl fmt::Debug for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seat, route, estimate, .. } = self;
        f.debug_struct("Call")
            .field("judge", &seat.name())
            .field("route", route)
            .field("estimate", estimate)
            .finish_non_exhaustive()
    }
}

impl<'a> Call<'a> {
    /// Calls the judge of `seat`, which let it in; it hears of `deadline`, who waits enforces it.
    pub(crate) fn start(
        (seat, in_flight): (&'a Arc<Seat>, InFlight),
        route: Route,
        asking: Asking<'a>,
        deadline: Deadline,
    ) -> Self {
        let estimate = seat.judge().estimate(asking.question);
        let question = asking.question;
        let upto = seat.upto(question);
        let turn = if route == Route::Probe { Turn::Probe } else { Turn::InTurn };
        let strike_age = match turn {
            Turn::InTurn => seat.strike_age(upto, asking.budget),
            Turn::Probe => seat.probe_age(upto, asking.budget),
        };
        let judging = async move { seat.judge().judge(question, deadline).await };
        Self {
            seat,
            strike_age,
            usual_age: seat.usual_age(upto, asking.budget),
            upto,
            asking,
            route,
            watch: Stopwatch::start(),
            estimate,
            // one judge that breaks must not take the race with it
            reply: AssertUnwindSafe(judging).catch_unwind().boxed(),
            turn,
            struck: false,
            told: false,
            in_flight: Some(in_flight),
        }
    }

    /// Has the call count as a probe of its judge, which must have let it: see [`Seat::probe`].
    pub(crate) fn count_as_probe(&mut self) {
        self.turn = Turn::Probe;
        self.strike_age = self.seat.probe_age(self.upto, self.asking.budget);
    }

    /// Who is called.
    pub(crate) fn seat(&self) -> &'a Arc<Seat> {
        self.seat
    }

    /// When the call started.
    pub(crate) fn started(&self) -> Instant {
        self.watch.started()
    }

    /// Its age.
    pub(crate) fn age(&self) -> Duration {
        self.watch.elapsed()
    }

    /// When it strikes; `None`: it did.
    pub(crate) fn strikes_at(&self) -> Option<Instant> {
        (!self.struck).then(|| self.started() + self.strike_age)
    }

    /// Tells the seat that the call outlived its strike age. It runs on: this is evidence only.
    pub(crate) fn strike(&mut self) {
        if !std::mem::replace(&mut self.struck, true) && !self.asking.caller_gone.is_cancelled() {
            self.seat.strike(self.evidence(), (self.asking.budget, now()));
        }
    }

    /// What it is expected to cost.
    pub(crate) fn estimate(&self) -> MicroUsd {
        self.estimate
    }

    /// Polls for the reply; not again after it came.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Reply> {
        self.reply.as_mut().poll(context)
    }

    /// Waits for the reply.
    pub(crate) async fn reply(&mut self) -> Reply {
        poll_fn(|context| self.poll(context)).await
    }

    /// Ends the call with the `reply` that came.
    pub(crate) fn end(self, reply: Reply) -> Ended {
        match reply {
            Ok(Ok(answered)) => match self.asking.question.accepts(&answered.judgement) {
                Ok(()) => self.judged(answered),
                Err(fault) => self.failed(AttemptError {
                    tokens: answered.tokens,
                    cost: answered.cost,
                    request_id: answered.request_id,
                    ..AttemptError::new(AttemptOutcome::Unreadable, fault)
                }),
            },
            Ok(Err(error)) => self.failed(error),
            Err(_panic) => self.failed(broke()),
        }
    }

    /// Drops the call: `outcome` says whether its own time was up or somebody else's answer came.
    pub(crate) fn give_up(mut self, outcome: AttemptOutcome, why: &str) -> Attempt {
        self.tell(None);
        let cost = self.estimate;
        Attempt { cost, detail: Some(why.to_owned()), ..self.attempt(outcome) }
    }

    fn judged(mut self, answered: Answered) -> Ended {
        if answered.rest.is_some() {
            self.upto = Upto::Scores;
        }
        self.tell(Some(self.watch.elapsed()));
        let attempt = Attempt {
            scores: answered.judgement.scores.clone(),
            tokens: answered.tokens,
            cost: answered.cost,
            request_id: answered.request_id,
            ..self.attempt(AttemptOutcome::Judged)
        };
        // of a judgement that left early only the scores are in
        let ended_ms = attempt.ended_ms.filter(|_| answered.rest.is_none());
        let rest = answered.rest.map(|rest| rest.watched_by(self.vigil()));
        Ended::Judged(Attempt { ended_ms, ..attempt }, answered.judgement, rest)
    }

    /// What keeps an eye on the rest of this call's answer.
    fn vigil(&mut self) -> Option<Vigil> {
        let Asking { peers, jitter, budget, caller_gone, .. } = &self.asking;
        // scores that came late leave the end its own time; and a call strikes once
        let own_time = now() + self.seat.normal_p95(*budget);
        let end_age = self.seat.end_strike_age(*budget).filter(|_| !self.struck);
        let strikes_at = end_age.map(|age| (self.started() + age).max(own_time));
        let held = Held {
            peers: Arc::clone(peers),
            started: self.started(),
            usual_age: self.seat.usual_age(Upto::End, *budget),
            struck: self.struck,
            turn: self.turn,
            caller_gone: (*caller_gone).clone(),
            jitter: *jitter,
            budget: *budget,
        };
        Some(Vigil::new(self.in_flight.take()?, held, strikes_at))
    }

    fn failed(mut self, error: AttemptError) -> Ended {
        let mut cost = error.cost;
        let mut outcome = error.outcome;
        match outcome {
            // it was sent and not answered: as good as dropped by us
            AttemptOutcome::Timeout => {
                self.tell(None);
                cost = if cost == MicroUsd::default() { self.estimate } else { cost };
            }
            AttemptOutcome::RateLimited | AttemptOutcome::Overloaded => {
                if let Some(retry_after) = error.retry_after {
                    self.seat.block(retry_after, now());
                }
                match (outcome, error.retry_after) {
                    (AttemptOutcome::RateLimited, _) => self.seat.limited(now()),
                    (_, Some(_)) => self.seat.crowd(now()),
                    (_, None) => {}
                }
            }
            // an error cannot be a judgement; and what we cancel never replies, so that this cancel
            // (an HTTP 499) is the provider's: it failed, and the next judge is asked
            AttemptOutcome::Judged | AttemptOutcome::Cancelled => {
                outcome = AttemptOutcome::ServerError;
            }
            AttemptOutcome::Refused
            | AttemptOutcome::Empty
            | AttemptOutcome::Truncated
            | AttemptOutcome::Unreadable
            | AttemptOutcome::Blind
            | AttemptOutcome::ServerError
            | AttemptOutcome::BadRequest
            | AttemptOutcome::Auth
            | AttemptOutcome::Connect
            | AttemptOutcome::OverBudget => {}
        }
        self.told = true; // how fast it failed says nothing about how fast it judges
        self.weigh(outcome);
        let attempt = Attempt {
            tokens: error.tokens,
            cost,
            request_id: error.request_id,
            detail: Some(error.detail),
            ..self.attempt(outcome)
        };
        Ended::Failed(attempt, error.retry_after)
    }

    /// Tells the seat how long a judgement took, or that none had come by now. Of an image whose
    /// caller has gone nothing is learnt.
    fn tell(&mut self, judged_after: Option<Duration>) {
        if std::mem::replace(&mut self.told, true) || self.asking.caller_gone.is_cancelled() {
            return;
        }
        let age = judged_after.unwrap_or_else(|| self.watch.elapsed());
        if judged_after.is_none() {
            self.seat.censor(age);
        }
        // whoever waits for it may see its answer before it sees that the time for it was up; and
        // a call of which nobody knew when it is late may have been made into a silence
        let silent_age = || self.seat.silent_age(self.upto, self.asking.budget);
        let is_dropped = judged_after.is_none() && self.turn == Turn::InTurn;
        if self.strike_age <= age || (is_dropped && silent_age().is_some_and(|at| at <= age)) {
            self.strike();
        }
        if let Some(took) = judged_after {
            self.seat.record(self.told_after(took), now());
        }
    }

    /// Tells the breaker how the call failed.
    fn weigh(&self, outcome: AttemptOutcome) {
        if self.asking.caller_gone.is_cancelled() {
            return;
        }
        let seat = self.seat;
        match outcome {
            AttemptOutcome::Empty
            | AttemptOutcome::Truncated
            | AttemptOutcome::Unreadable
            | AttemptOutcome::Blind => {
                seat.heard();
                seat.fail(self.told_after(self.watch.elapsed()), now());
            }
            AttemptOutcome::Overloaded
            | AttemptOutcome::ServerError
            | AttemptOutcome::Connect
            | AttemptOutcome::Timeout => {
                seat.fail(self.told_after(self.watch.elapsed()), now());
            }
            AttemptOutcome::Refused => seat.heard(),
            AttemptOutcome::BadRequest => seat.fault(Fault::BadRequest, self.evidence(), now()),
            AttemptOutcome::Auth => seat.fault(Fault::Auth, self.evidence(), now()),
            // flow control, and what was ours
            AttemptOutcome::RateLimited
            | AttemptOutcome::Judged
            | AttemptOutcome::Cancelled
            | AttemptOutcome::OverBudget => {}
        }
    }

    fn told_after(&self, took: Duration) -> Told<'_> {
        Told {
            started: self.started(),
            took,
            usual_age: self.usual_age,
            struck: self.struck,
            upto: self.upto,
            evidence: self.evidence(),
        }
    }

    fn evidence(&self) -> Evidence<'_> {
        Evidence { route: &self.asking.peers, turn: self.turn, jitter: self.asking.jitter }
    }

    fn attempt(&self, outcome: AttemptOutcome) -> Attempt {
        let Self { seat, route, watch, .. } = self;
        cut_short(seat, *route, (self.asking.began, *watch), outcome)
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.tell(None); // the race itself was dropped
        if self.turn == Turn::Probe && self.route != Route::Probe {
            self.seat.probe_ended();
        }
    }
}

/// An attempt of which no more is known than that it was made, and how long it took: `began` is the
/// check's start and `watch` the call's.
pub(crate) fn cut_short(
    seat: &Seat,
    route: Route,
    (began, watch): (Stopwatch, Stopwatch),
    outcome: AttemptOutcome,
) -> Attempt {
    let started = watch.started().saturating_duration_since(began.started());
    let took_ms = whole_ms(watch.elapsed());
    Attempt {
        judge: seat.judge().id().clone(),
        route,
        outcome,
        said: None,
        scores: Vec::new(),
        started_ms: whole_ms(started),
        took_ms,
        ended_ms: Some(took_ms),
        tokens: None,
        cost: MicroUsd::default(),
        request_id: None,
        detail: None,
    }
}

fn broke() -> AttemptError {
    AttemptError::new(AttemptOutcome::ServerError, "the judge broke")
}
