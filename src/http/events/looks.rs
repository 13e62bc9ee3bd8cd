//! A look is what was written behind a place, read once for all streams that stand there.
//!
//! Streams look at the same moments, so those that keep up stand at the same place: the first of
//! them reads the records and writes the message, the others take it. Sixty-four pages cost the store
//! and the reactor what one does.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::OnceCell;

use crate::clock::Stopwatch;
use crate::ledger::LedgerError;

/// Looks held at most: those of other policies, and of streams that catch up.
const MOST: usize = 16;

/// What streams looked at lately, and when they look again.
#[derive(Debug)]
pub(super) struct Looks {
    every: Duration,
    began: Stopwatch,
    held: Mutex<VecDeque<Arc<Look>>>,
}

#[derive(Debug)]
struct Look {
    after: i64,
    policy: Option<String>,
    at: Stopwatch,
    told: OnceCell<Arc<Told>>,
}

/// What is told of a look.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// Up to where it went.
    pub(super) last_seq: i64,
    /// JSON; `None` where there is nothing to say.
    pub(super) data: Option<String>,
}

impl Looks {
    pub(super) fn new(every: Duration) -> Self {
        Self { every, began: Stopwatch::start(), held: Mutex::default() }
    }

    /// Until all streams look again.
    pub(super) fn wait(&self) -> Duration {
        let past = self.began.elapsed().as_nanos() % self.every.as_nanos().max(1);
        self.every.saturating_sub(Duration::from_nanos(u64::try_from(past).unwrap_or_default()))
    }

    /// What is behind `after`, as whoever stands there was told a moment ago, or as `read` finds it.
    ///
    /// # Errors
    /// `read` failed; the next to ask reads again.
    pub(super) async fn told(
        &self,
        (after, policy): (i64, Option<&str>),
        read: impl AsyncFnOnce() -> Result<Told, LedgerError>,
    ) -> Result<Arc<Told>, LedgerError> {
        let look = self.look(after, policy);
        let told = look.told.get_or_try_init(async || read().await.map(Arc::new)).await?;
        Ok(Arc::clone(told))
    }

    fn look(&self, after: i64, policy: Option<&str>) -> Arc<Look> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        // at the next moment there may be more behind the same place
        held.retain(|one| one.at.elapsed() < self.every / 2);
        let same = held.iter().find(|one| one.after == after && one.policy.as_deref() == policy);
        if let Some(same) = same {
            return Arc::clone(same);
        }
        let look = Arc::new(Look {
            after,
            policy: policy.map(str::to_owned),
            at: Stopwatch::start(),
            told: OnceCell::new(),
        });
        held.push_back(Arc::clone(&look));
        if MOST < held.len() {
            held.pop_front();
        }
        look
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use futures_util::future::join_all;
    use tokio::time::{advance, sleep};

    use super::*;

    const EVERY: Duration = Duration::from_secs(1);

    /// A reader that counts how often it was asked.
    async fn read(reads: &AtomicI64) -> Result<Told, LedgerError> {
        sleep(Duration::from_millis(5)).await;
        let last_seq = reads.fetch_add(1, Ordering::Relaxed) + 1;
        Ok(Told { last_seq, data: None })
    }

    #[tokio::test(start_paused = true)]
    async fn streams_at_one_place_share_one_look_and_others_have_their_own() {
        let (looks, reads) = (Looks::new(EVERY), AtomicI64::new(0));
        let ask =
            |place: (i64, Option<&'static str>)| looks.told(place, async || read(&reads).await);
        let told = join_all((0..64).map(|_| ask((7, None)))).await;
        assert!(told.iter().all(|one| one.as_ref().unwrap().last_seq == 1));
        assert_eq!(reads.load(Ordering::Relaxed), 1);
        for place in [(8, None), (7, Some("banner")), (8, Some("banner"))] {
            ask(place).await.unwrap();
        }
        assert_eq!(reads.load(Ordering::Relaxed), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_moment_looks_anew_and_a_failure_is_nobodys_answer() {
        let (looks, reads) = (Looks::new(EVERY), AtomicI64::new(0));
        let failed = looks.told((7, None), async || Err(LedgerError::Late)).await;
        assert!(matches!(failed, Err(LedgerError::Late)));
        assert_eq!(looks.told((7, None), async || read(&reads).await).await.unwrap().last_seq, 1);
        advance(EVERY).await;
        assert_eq!(looks.told((7, None), async || read(&reads).await).await.unwrap().last_seq, 2);
        for place in 0..100 {
            looks.told((place, None), async || read(&reads).await).await.unwrap();
        }
        assert!(looks.held.lock().unwrap().len() <= MOST);
    }

    #[tokio::test(start_paused = true)]
    async fn all_streams_wake_at_the_same_moments() {
        let looks = Looks::new(EVERY);
        advance(Duration::from_millis(300)).await;
        assert_eq!(looks.wait(), Duration::from_millis(700));
        advance(Duration::from_millis(2_500)).await;
        assert_eq!(looks.wait(), Duration::from_millis(200));
    }
}
