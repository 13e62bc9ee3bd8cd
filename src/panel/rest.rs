//! The rest is what still comes of an answer whose scores have left: reasons, usage, the bill.
//!
//! It owns what it reads from, so whoever holds it may read on wherever it likes, and dropping it
//! cancels the reading.

use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::clock::Deadline;
use crate::domain::{MicroUsd, Tokens};
use crate::panel::seat::InFlight;

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
    /// What the judge's limit counts, until the end.
    in_flight: Option<InFlight>,
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
        Self { reading: Some(reading), part: None, estimate, in_flight: None }
    }

    /// The same, counting as a call under way until its end.
    pub(crate) fn holding(self, in_flight: Option<InFlight>) -> Self {
        Self { in_flight, ..self }
    }

    /// Reads what is there; ready at the end.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(reading) = &mut self.reading else { return Poll::Ready(()) };
        reading.as_mut().poll(context).map(|part| {
            self.part = Some(Box::new(part));
            self.reading = None;
            self.in_flight = None;
        })
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

    use tokio::time;

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
