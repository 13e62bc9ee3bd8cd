//! A call is one attempt under way: dropping it cancels the call, and is noticed.
//!
//! Whatever becomes of the race around it, the judge's in-flight count goes down exactly once, and
//! a call that was cut short counts as slower than its age. Its bill is the estimate: providers
//! charge for most of what was cancelled.

use std::any::Any;
use std::fmt;
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock::{Deadline, Stopwatch};
use crate::domain::{Attempt, AttemptOutcome, Judgement, MicroUsd, Route};
use crate::panel::seat::{Seat, whole_ms};
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
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asking<'a> {
    /// What is asked.
    pub(crate) question: &'a Question,
    /// Since when the check runs.
    pub(crate) began: Stopwatch,
    /// Cancelled when the caller hung up.
    pub(crate) caller_gone: &'a CancellationToken,
}

/// How a call ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// With a valid judgement.
    Judged(Attempt, Judgement),
    /// Without; and how long the provider asked us to stay away.
    Failed(Attempt, Option<Duration>),
}

/// One attempt under way.
pub(crate) struct Call<'a> {
    seat: &'a Seat,
    asking: Asking<'a>,
    route: Route,
    watch: Stopwatch,
    started_ms: u64,
    estimate: MicroUsd,
    reply: BoxFuture<'a, Reply>,
    /// Whether its time has been told to the seat.
    told: bool,
}

impl fmt::Debug for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seat, route, started_ms, estimate, .. } = self;
        f.debug_struct("Call")
            .field("judge", &seat.name())
            .field("route", route)
            .field("started_ms", started_ms)
            .field("estimate", estimate)
            .finish_non_exhaustive()
    }
}

impl<'a> Call<'a> {
    /// Calls the judge of `seat`; it hears of `deadline`, but who waits enforces it.
    pub(crate) fn start(
        seat: &'a Seat,
        route: Route,
        asking: Asking<'a>,
        deadline: Deadline,
    ) -> Self {
        let estimate = seat.judge().estimate(asking.question);
        seat.enter();
        let judging = async move { seat.judge().judge(asking.question, deadline).await };
        Self {
            seat,
            asking,
            route,
            watch: Stopwatch::start(),
            started_ms: whole_ms(asking.began.elapsed()),
            estimate,
            // one judge that breaks must not take the race with it
            reply: AssertUnwindSafe(judging).catch_unwind().boxed(),
            told: false,
        }
    }

    /// Who is called.
    pub(crate) fn seat(&self) -> &'a Seat {
        self.seat
    }

    /// When the call started.
    pub(crate) fn started(&self) -> Instant {
        self.watch.started()
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
        self.tell(Some(self.watch.elapsed()));
        let attempt = Attempt {
            scores: answered.judgement.scores.clone(),
            tokens: answered.tokens,
            cost: answered.cost,
            request_id: answered.request_id,
            ..self.attempt(AttemptOutcome::Judged)
        };
        Ended::Judged(attempt, answered.judgement)
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
        match judged_after {
            Some(took) => self.seat.record(took),
            None => self.seat.censor(self.watch.elapsed()),
        }
    }

    fn attempt(&self, outcome: AttemptOutcome) -> Attempt {
        Attempt {
            judge: self.seat.judge().id().clone(),
            route: self.route,
            outcome,
            said: None,
            scores: Vec::new(),
            started_ms: self.started_ms,
            took_ms: whole_ms(self.watch.elapsed()),
            tokens: None,
            cost: MicroUsd::default(),
            request_id: None,
            detail: None,
        }
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.tell(None); // the race itself was dropped
        self.seat.leave();
    }
}

fn broke() -> AttemptError {
    AttemptError::new(AttemptOutcome::ServerError, "the judge broke")
}
