//! Sabotage breaks some of a transport's calls on purpose, for a drill: nothing is sent, and what
//! comes of the call is what comes of it when the network does the same.
//!
//! It is a switch in memory that ends by itself: when its holder goes, when its time is over, and
//! with the process. While it is off a call pays one relaxed load for it.

use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;

use crate::clock::Deadline;
use crate::domain::AttemptOutcome;
use crate::domain::drill::Fault;
use crate::panel::AttemptError;

/// How long an overloaded provider takes to say so.
const OVERLOADED_AFTER: Duration = Duration::from_millis(500);

/// The status of an overloaded provider.
const OVERLOADED: u16 = 529;

/// The switch of one transport.
#[derive(Debug, Default)]
pub struct Sabotage {
    is_on: AtomicBool,
    order: Mutex<Option<Order>>,
    suffering: AtomicU32,
}

/// What is broken, and how much of it.
#[derive(Debug)]
struct Order {
    fault: Fault,
    share: f64,
    ends: Deadline,
    /// What is owed to the share: at 1 a call is broken. So a share is kept to within one call,
    /// however few there are.
    owed: f64,
}

impl Sabotage {
    /// Breaks `share` (0..=1) of the calls until `ends`, or until the returned holder is dropped.
    /// `None` where somebody breaks calls already.
    #[must_use]
    pub fn begin(self: &Arc<Self>, fault: Fault, share: f64, ends: Deadline) -> Option<Sabotaged> {
        let mut order = self.order();
        if order.as_ref().is_some_and(|order| !order.ends.is_past()) {
            return None;
        }
        *order = Some(Order { fault, share, ends, owed: 0.0 });
        self.is_on.store(true, Ordering::Relaxed);
        Some(Sabotaged(Arc::clone(self)))
    }

    /// Whether the next call is broken, and how.
    #[must_use]
    pub fn draw(&self) -> Option<Fault> {
        if !self.is_on.load(Ordering::Relaxed) {
            return None;
        }
        let mut order = self.order();
        let now = order.as_mut()?;
        if now.ends.is_past() {
            self.is_on.store(false, Ordering::Relaxed);
            return None;
        }
        now.owed += now.share;
        if now.owed < 1.0 {
            return None;
        }
        now.owed -= 1.0;
        Some(now.fault)
    }

    /// What comes of a broken call. A blackhole never returns: who waits has a deadline.
    ///
    /// # Errors
    /// `Connect` for a refused connection.
    pub async fn suffer(&self, fault: Fault) -> Result<http::Response<Bytes>, AttemptError> {
        let _suffering = Suffering::new(&self.suffering);
        match fault {
            Fault::Refuse => {
                Err(AttemptError::new(AttemptOutcome::Connect, "a drill: connection refused"))
            }
            Fault::Blackhole => pending().await,
            Fault::Overload => {
                Deadline::after(OVERLOADED_AFTER).passed().await;
                let body = Bytes::from_static(b"{\"error\":{\"message\":\"a drill: overloaded\"}}");
                let mut response = http::Response::new(body);
                *response.status_mut() =
                    StatusCode::from_u16(OVERLOADED).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
                Ok(response)
            }
        }
    }

    /// Broken calls that nobody has given up yet.
    #[must_use]
    pub fn suffering(&self) -> u32 {
        self.suffering.load(Ordering::Relaxed)
    }

    fn order(&self) -> MutexGuard<'_, Option<Order>> {
        // nothing in there can be left half done
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Holds a transport broken. Dropped, its calls are whole again.
#[derive(Debug)]
#[must_use = "dropping it restores the transport"]
pub struct Sabotaged(Arc<Sabotage>);

impl Drop for Sabotaged {
    fn drop(&mut self) {
        self.0.is_on.store(false, Ordering::Relaxed);
        *self.0.order() = None;
    }
}

/// Counts a broken call for as long as somebody waits for it.
struct Suffering<'a>(&'a AtomicU32);

impl<'a> Suffering<'a> {
    fn new(count: &'a AtomicU32) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Suffering<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn switch() -> Arc<Sabotage> {
        Arc::default()
    }

    fn minute() -> Deadline {
        Deadline::after(Duration::from_secs(60))
    }

    #[tokio::test(start_paused = true)]
    async fn the_share_is_kept_to_within_one_call() {
        for (share, broken) in [(0.2, 20), (0.5, 50), (1.0, 100), (0.01, 1), (0.0, 0)] {
            let sabotage = switch();
            let _held = sabotage.begin(Fault::Refuse, share, minute()).unwrap();
            let drawn = (0..100).filter(|_| sabotage.draw().is_some()).count();
            assert!(drawn.abs_diff(broken) <= 1, "{share}: {drawn}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_ends_with_its_holder_and_at_its_time() {
        let sabotage = switch();
        assert_eq!(sabotage.draw(), None);
        let held = sabotage.begin(Fault::Refuse, 1.0, minute()).unwrap();
        assert!(sabotage.begin(Fault::Refuse, 1.0, minute()).is_none(), "one at a time");
        assert_eq!(sabotage.draw(), Some(Fault::Refuse));
        drop(held);
        assert_eq!(sabotage.draw(), None);
        let _held = sabotage.begin(Fault::Blackhole, 1.0, minute()).unwrap();
        assert_eq!(sabotage.draw(), Some(Fault::Blackhole));
        minute().passed().await;
        assert_eq!(sabotage.draw(), None, "also where its holder never wakes up again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_blackhole_hangs_until_it_is_given_up() {
        let sabotage = switch();
        let hung = sabotage.suffer(Fault::Blackhole);
        let mut hung = Box::pin(Deadline::after(Duration::from_secs(5)).bound(hung));
        assert!(futures_util::poll!(&mut hung).is_pending());
        assert_eq!(sabotage.suffering(), 1);
        assert!(hung.await.is_err());
        assert_eq!(sabotage.suffering(), 0);
        let refused = sabotage.suffer(Fault::Refuse).await.unwrap_err();
        assert_eq!(refused.outcome, AttemptOutcome::Connect);
        assert_eq!(sabotage.suffer(Fault::Overload).await.unwrap().status().as_u16(), OVERLOADED);
    }
}
