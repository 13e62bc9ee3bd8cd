//! Work apart is what would hold a runtime's thread up: hundreds of records that are read from their
//! JSON, a week's figures that are put together and written as such.
//!
//! A check that waits for that thread would be late for a list that nobody waits for. It runs on the
//! runtime's blocking threads, as many at a time as there are connections for reading: who could read
//! more than that could not work it off either.

use std::sync::Arc;

use crate::clock::Deadline;
use crate::ledger::LedgerError;
use crate::ledger::reader::{QUERY, Reader};

impl Reader {
    /// What `work` comes to, done apart.
    ///
    /// # Errors
    /// [`LedgerError::Late`] when it had no turn, or did not end, in the time of a query: what has
    /// begun goes on and keeps its place. [`LedgerError::Store`] when it broke.
    pub async fn apart<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, LedgerError> {
        let deadline = Deadline::after(QUERY);
        let place = deadline.bound(Arc::clone(&self.places_apart).acquire_owned()).await?;
        let place = place.map_err(|_| LedgerError::Closed)?;
        #[expect(clippy::disallowed_methods, reason = "bounded by the places")]
        let working = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(place);
            done
        });
        let done = deadline.bound(working).await?;
        done.map_err(|why| {
            LedgerError::Store(format!("what was read could not be worked off: {why}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use tokio::sync::oneshot;

    use super::*;
    use crate::ledger::reader::tests::settings;

    #[tokio::test]
    async fn work_apart_leaves_the_runtimes_thread_alone_and_has_as_many_places_as_readers() {
        let dir = tempfile::tempdir().unwrap();
        let reader = Reader::lazy(&settings(dir.path()));
        let here = thread::current().id();
        let there = reader.apart(move || thread::current().id()).await.unwrap();
        assert_ne!(there, here);
        // the one place is taken, and this thread goes on all the same
        let (end, ended) = oneshot::channel::<()>();
        let other = reader.clone();
        let first = async move { other.apart(move || ended.blocking_recv().is_ok()).await };
        let second = async {
            while reader.places_apart.available_permits() != 0 {
                tokio::task::yield_now().await;
            }
            let waits = reader.apart(|| ());
            let mut waits = std::pin::pin!(waits);
            assert!(futures_util::poll!(waits.as_mut()).is_pending(), "there is one place");
            end.send(()).unwrap();
            waits.await
        };
        let (first, second) = tokio::join!(first, second);
        assert!(first.unwrap());
        second.unwrap();
    }

    #[tokio::test]
    async fn work_that_breaks_is_an_error_and_gives_its_place_back() {
        let dir = tempfile::tempdir().unwrap();
        let reader = Reader::lazy(&settings(dir.path()));
        let broken = reader.apart(|| panic!("over a figure")).await;
        assert!(matches!(broken, Err(LedgerError::Store(_))), "{broken:?}");
        assert_eq!(reader.apart(|| 7).await.unwrap(), 7);
    }
}
