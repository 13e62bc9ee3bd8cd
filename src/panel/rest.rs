//! The rest is what still comes of an answer whose scores have left: reasons, usage, the bill.
//!
//! It owns what it reads from, so whoever holds it may read on wherever it likes, and dropping it
//! cancels the reading. While it is read its judge is watched: an end that stays away for longer than
//! ends do while the judge is well is evidence against it, as a call without an answer is; so is one
//! that breaks off, or contradicts its beginning.

use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::{self, Instant, Sleep};
use tokio_util::sync::CancellationToken;

use crate::clock::Deadline;
use crate::domain::{MicroUsd, Tokens};
use crate::panel::board::{Evidence, Place};
use crate::panel::breaker::Turn;
use crate::panel::now;
use crate::panel::pace::Upto;
use crate::panel::seat::{InFlight, Told};

/// What came after the scores.
#[derive(Clone, Debug, PartialEq)]
pub struct LatePart {
    /// Reasons by criterion in the asked order, or why there are none.
    pub reasons: Result<Vec<(String, String)>, LateFault>,
    /// The provider's count; `None` where it never came.
    pub tokens: Option<Tokens>,
    /// The bill; the estimate where the count never came.
    pub cost: MicroUsd,
    /// The provider's id of the call.
    pub request_id: Option<String>,
    /// Whether the provider's own count says that its model never saw the image.
    pub blind: bool,
    /// From the call to its last byte; `None` where that never came.
    pub took: Option<Duration>,
}

impl LatePart {
    /// Whether it is what had been hoped for when the scores left.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.reasons.is_ok() && !self.blind
    }
}

/// What is wrong with what came after the scores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LateFault {
    /// The kind.
    pub kind: LateKind,
    /// For operators; bounded, never a metric label.
    pub detail: String,
}

/// The ways in which what follows the scores can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LateKind {
    /// It broke off, or did not come in time.
    Truncated,
    /// The whole answer is not the one that its beginning promised.
    Mismatched,
}

/// What still comes of an answer that left early.
pub struct Rest {
    /// `None` once it has come to its end.
    reading: Option<BoxFuture<'static, LatePart>>,
    /// What came, until it is taken.
    part: Option<Box<LatePart>>,
    estimate: MicroUsd,
    /// Until the end; `None` too where nobody wants to know.
    vigil: Option<Vigil>,
}

/// What a judge's breaker is to be told along with a strike.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    /// The places of the route's judges that look at images.
    pub(crate) peers: Arc<[Place]>,
    /// When the call started.
    pub(crate) started: Instant,
    /// What ends take at most while the judge is well.
    pub(crate) usual_age: Duration,
    /// Whether the call has struck.
    pub(crate) struck: bool,
    /// Whether the judge was asked in its turn.
    pub(crate) turn: Turn,
    /// Cancelled when the caller hung up: then nothing is learnt.
    pub(crate) caller_gone: CancellationToken,
    /// 0..1, to spread what follows.
    pub(crate) jitter: f64,
    /// What the policy gives a race.
    pub(crate) budget: Duration,
}

/// An eye on a judge that still has to end an answer.
pub(crate) struct Vigil {
    /// What the judge's limit counts.
    in_flight: InFlight,
    held: Held,
    /// `None`: it does not strike, or not once more.
    strikes: Option<Pin<Box<Sleep>>>,
    /// Whether the end came.
    is_over: bool,
}

impl Vigil {
    /// A watch that strikes at `strikes_at`; `None`: never.
    pub(crate) fn new(in_flight: InFlight, held: Held, strikes_at: Option<Instant>) -> Self {
        let strikes = strikes_at.map(|at| Box::pin(time::sleep_until(at)));
        Self { in_flight, held, strikes, is_over: false }
    }

    fn watch(&mut self, context: &mut Context<'_>) {
        let is_due = |sleep: &mut Pin<Box<Sleep>>| sleep.as_mut().poll(context).is_ready();
        if self.strikes.as_mut().is_some_and(is_due) {
            self.strikes = None;
            self.held.struck = true;
            if !self.held.caller_gone.is_cancelled() {
                self.in_flight.seat().strike(self.evidence(), (self.held.budget, now()));
            }
        }
    }

    fn ended(mut self, part: &LatePart) {
        self.is_over = true;
        if self.held.caller_gone.is_cancelled() {
            return;
        }
        let seat = self.in_flight.seat();
        if part.reasons.is_err() {
            let told = Told {
                started: self.held.started,
                took: self.age(),
                usual_age: self.held.usual_age,
                struck: self.held.struck,
                upto: Upto::End,
                evidence: self.evidence(),
            };
            seat.fail(told, now());
        } else if let Some(took) = part.took.filter(|_| part.is_sound()) {
            seat.record_end(took);
        }
    }

    fn age(&self) -> Duration {
        now().saturating_duration_since(self.held.started)
    }

    fn evidence(&self) -> Evidence<'_> {
        let Held { peers, turn, jitter, .. } = &self.held;
        Evidence { route: peers, turn: *turn, jitter: *jitter }
    }
}

impl Drop for Vigil {
    /// Nobody waits for the end any longer: it is known to come later than now, if at all.
    fn drop(&mut self) {
        if !self.is_over && !self.held.caller_gone.is_cancelled() {
            self.in_flight.seat().end_cut(self.age(), self.held.struck);
        }
    }
}

impl fmt::Debug for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { part, estimate, .. } = self;
        let mut shown = f.debug_struct("Rest");
        shown.field("part", part).field("estimate", estimate).finish_non_exhaustive()
    }
}

impl Rest {
    /// What `reading` will come to; the bill is `estimate` where it comes to nothing.
    #[must_use]
    pub fn new(estimate: MicroUsd, reading: BoxFuture<'static, LatePart>) -> Self {
        Self { reading: Some(reading), part: None, estimate, vigil: None }
    }

    /// The same, with its judge being watched until its end.
    pub(crate) fn watched_by(self, vigil: Option<Vigil>) -> Self {
        Self { vigil, ..self }
    }

    /// Reads what is there; ready at the end.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(reading) = &mut self.reading else { return Poll::Ready(()) };
        let Poll::Ready(part) = reading.as_mut().poll(context) else {
            if let Some(vigil) = &mut self.vigil {
                vigil.watch(context);
            }
            return Poll::Pending;
        };
        if let Some(vigil) = self.vigil.take() {
            vigil.ended(&part);
        }
        self.part = Some(Box::new(part));
        self.reading = None;
        Poll::Ready(())
    }

    /// What came, if all of it has come already and is sound. Does not wait.
    pub fn take_if_sound(&mut self) -> Option<LatePart> {
        poll_fn(|context| self.poll(context)).now_or_never();
        self.part.take_if(|part| part.is_sound()).map(|part| *part)
    }

    /// Reads to the end, but not past `deadline`.
    pub async fn read(mut self, deadline: Deadline) -> LatePart {
        // a late end leaves no part, which is all there is to know of it
        deadline.bound(poll_fn(|context| self.poll(context))).await.ok();
        self.cut()
    }

    /// What came by now; the call is cancelled if that is not all.
    #[must_use]
    pub fn cut(self) -> LatePart {
        self.part.map(|part| *part).unwrap_or_else(|| {
            let detail = "the rest of the answer did not come in time".to_owned();
            LatePart {
                reasons: Err(LateFault { kind: LateKind::Truncated, detail }),
                tokens: None,
                cost: self.estimate,
                request_id: None,
                blind: false,
                took: None,
            }
        })
    }
}

/// Runs `work`, and reads `rests` beside it.
pub async fn reading_beside<T>(
    rests: impl Iterator<Item = &mut Rest>,
    work: impl Future<Output = T>,
) -> T {
    let mut rests: Vec<&mut Rest> = rests.collect();
    let mut work = pin!(work);
    poll_fn(|context| {
        rests.retain_mut(|rest| rest.poll(context).is_pending());
        work.as_mut().poll(context)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(blind: bool) -> LatePart {
        LatePart {
            reasons: Ok(vec![("cutout".to_owned(), "clean".to_owned())]),
            tokens: None,
            cost: MicroUsd(7),
            request_id: None,
            blind,
            took: Some(Duration::from_millis(900)),
        }
    }

    fn rest(after_ms: u64, blind: bool) -> Rest {
        let reading = async move {
            time::sleep(Duration::from_millis(after_ms)).await;
            part(blind)
        };
        Rest::new(MicroUsd(9), reading.boxed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_rest_is_read_to_its_end_and_not_past_the_deadline() {
        let deadline = || Deadline::after(Duration::from_millis(100));
        assert_eq!(rest(99, false).read(deadline()).await, part(false));
        let late = rest(101, false).read(deadline()).await;
        assert_eq!(late.reasons.unwrap_err().kind, LateKind::Truncated);
        assert_eq!((late.cost, late.tokens), (MicroUsd(9), None), "the estimate");
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_beside_other_work_is_there_at_its_end() {
        let mut rests = [rest(50, false), rest(150, false)];
        let work = time::sleep(Duration::from_millis(100));
        reading_beside(rests.iter_mut(), work).await;
        let [done, open] = &mut rests;
        assert_eq!(done.take_if_sound(), Some(part(false)));
        assert_eq!(done.take_if_sound(), None, "it is taken once");
        assert_eq!(open.take_if_sound(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_blind_rest_is_not_taken_for_a_sound_one_and_is_not_lost() {
        let mut rest = rest(0, true);
        reading_beside(std::iter::once(&mut rest), time::sleep(Duration::from_millis(1))).await;
        assert_eq!(rest.take_if_sound(), None);
        let deadline = Deadline::after(Duration::from_millis(1));
        assert_eq!(rest.read(deadline).await, part(true));
    }
}
