//! Acknowledging ends what was told: an operator has seen it, and says how to go on.
//!
//! The state of the monitors is a fold over the store, and an operator's word is no record. So the
//! follower takes it between two steps, and the standing that goes on from there lies in the store
//! at its place, as a frozen baseline does, in one transaction with the mark that says who it was. A
//! state that is lost is folded from it to the same last bit. Who asks is answered only once it is
//! in the store.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use crate::clock::{Deadline, Timestamp};
use crate::drift::event::Watched;
use crate::drift::standing::{Standing, Then};
use crate::ledger::follow::baselines::KeptBaseline;
use crate::ledger::follow::{End, Following};
use crate::ledger::marks::{ACKNOWLEDGED, Mark};
use crate::ledger::rollup::detector_name;
use crate::ledger::writing::Writing;

/// Wishes that may wait for the follower: people make them.
pub(super) const MOST_WAITING: usize = 16;

/// What an operator wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Of which policy.
    pub policy: String,
    /// How to go on.
    pub then: Then,
    /// Who wants it.
    pub by: String,
    /// Why, in the operator's words.
    pub note: Option<String>,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// When.
    pub at: Timestamp,
    /// What had been told and is seen; empty where nothing was, and then nothing changed unless a
    /// baseline was to be learnt.
    pub told: Vec<Watched>,
    /// What was told and goes on standing.
    pub stands: Vec<Watched>,
    /// While a baseline is learnt: verdicts served so far, how many are needed, until when at least.
    pub learning: Option<(u64, u64, i64)>,
}

/// Why nobody can say that it was done.
#[derive(Debug, Error)]
pub enum NotDone {
    /// Nothing is known of the policy: there was no verdict under it.
    #[error("nothing is known of the policy")]
    Unknown,
    /// Too many wait; nothing was done.
    #[error("{MOST_WAITING} wait already")]
    Busy,
    /// The follower has ended; nothing was done.
    #[error("the ledger is closed")]
    Closed,
    /// It may have been done, or may still be.
    #[error("the store did not say in time whether it has it")]
    Unsure,
    /// The standing cannot be written: a defect. Nothing was done.
    #[error("what is known cannot be written: {0}")]
    Broken(#[from] serde_json::Error),
}

/// The handle by which a running follower is told what an operator has seen.
#[derive(Clone, Debug)]
pub struct Acknowledging(pub(super) mpsc::Sender<Ask>);

impl Acknowledging {
    /// Has the follower do it; answered once it is in the store.
    ///
    /// # Errors
    /// See [`NotDone`].
    pub async fn acknowledge(&self, wish: Wish, deadline: Deadline) -> Result<Done, NotDone> {
        let (reply, done) = oneshot::channel();
        self.0.try_send(Ask { wish, reply }).map_err(|why| match why {
            mpsc::error::TrySendError::Full(_) => NotDone::Busy,
            mpsc::error::TrySendError::Closed(_) => NotDone::Closed,
        })?;
        // a follower that ends without a word may have had its word with the store
        deadline.bound(done).await.ok().and_then(Result::ok).unwrap_or(Err(NotDone::Unsure))
    }
}

/// A wish, and where the answer goes.
#[derive(Debug)]
pub(super) struct Ask {
    wish: Wish,
    reply: oneshot::Sender<Result<Done, NotDone>>,
}

/// An acknowledgement as its mark keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredAcknowledgement {
    /// How it went on.
    pub then: Then,
    /// Who it was.
    pub by: String,
    /// Why, in the operator's words.
    pub note: Option<String>,
    /// What had been told.
    pub told: Vec<Watched>,
    /// Until when at least a baseline is learnt, milliseconds since 1970.
    pub until_ms: Option<i64>,
}

/// What goes into the store together.
#[derive(Debug)]
pub(crate) struct Acknowledgement {
    pub(crate) kept: KeptBaseline,
    pub(crate) mark: Mark,
}

impl Following {
    /// Does what `ask` wants and answers it. While the store fails it is tried again, as sums are.
    ///
    /// # Errors
    /// The follower ends, and only the store knows what became of it: the next start takes it up.
    pub(super) async fn acknowledge(&mut self, ask: Ask) -> Result<(), End> {
        let Ask { wish, reply } = ask;
        // who waits no longer was told that nobody knows: then better not
        if reply.is_closed() {
            return Ok(());
        }
        let done = match self.prepare(&wish) {
            Ok((done, None)) => Ok(done),
            Ok((done, Some((standing, acknowledgement)))) => {
                let hash = acknowledgement.kept.hash.clone();
                let acknowledgement = Arc::new(acknowledgement);
                let writing = || Writing::Acknowledgement(Arc::clone(&acknowledgement));
                // its end is told as it is: a state that may not be the store's must not be kept
                self.write(writing).await.map_err(|_| End::Closed)?;
                self.standings.insert(wish.policy.clone(), standing);
                self.baselines.insert(wish.policy.clone(), hash);
                self.publish();
                self.keep_now();
                log(&wish, &done);
                Ok(done)
            }
            Err(why) => Err(why),
        };
        // who has gone does not want to know
        reply.send(done).ok();
        Ok(())
    }

    /// What comes of `wish`, and what is to be written for it: nothing, where nothing changes.
    fn prepare(&self, wish: &Wish) -> Result<(Done, Option<Change>), NotDone> {
        let Wish { policy, then, by, note } = wish;
        let mut standing = self.standings.get(policy).ok_or(NotDone::Unknown)?.clone();
        // records that are ahead of the clock are no reason to learn from the past
        let at = Timestamp::now().max(Timestamp(self.followed.at_us));
        let days = self.means.settings.baseline_days;
        let told = standing.acknowledge(*then, at.0.div_euclid(1_000), days);
        let monitor = &standing.monitor;
        let done = Done { at, told, stands: monitor.told(), learning: monitor.learning() };
        if done.told.is_empty() && *then == Then::Watch {
            return Ok((done, None));
        }
        let form = StoredAcknowledgement {
            then: *then,
            by: by.clone(),
            note: note.clone(),
            told: done.told.clone(),
            until_ms: done.learning.map(|(_, _, until_ms)| until_ms),
        };
        let mark = Mark {
            id: 0,
            kind: ACKNOWLEDGED.to_owned(),
            at,
            until: None,
            policy: Some(policy.clone()),
            judge: None,
            form: serde_json::to_string(&form)?,
        };
        let kept = KeptBaseline::of((policy, self.followed.n, at), days, &standing)?;
        Ok((done, Some((standing, Acknowledgement { kept, mark }))))
    }
}

/// The standing that goes on, and what the store is told of it.
type Change = (Standing, Acknowledgement);

fn log(wish: &Wish, done: &Done) {
    let told: Vec<String> = done.told.iter().map(detector_name).collect();
    tracing::info!(
        policy = wish.policy,
        then = wish.then.label(),
        by = wish.by,
        note = wish.note,
        told = told.join(", "),
        "drift that was told is acknowledged"
    );
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn wish() -> Wish {
        let (policy, by) = ("product-photo".to_owned(), "root".to_owned());
        Wish { policy, then: Then::Watch, by, note: None }
    }

    #[tokio::test(start_paused = true)]
    async fn a_follower_that_is_busy_or_gone_is_waited_for_no_longer_than_it_may_be() {
        let (ask, mut asked) = mpsc::channel(1);
        let acknowledging = Acknowledging(ask);
        let shortly = || Deadline::after(Duration::from_secs(1));
        let late = acknowledging.acknowledge(wish(), shortly()).await;
        assert!(matches!(late, Err(NotDone::Unsure)), "{late:?}");
        let full = acknowledging.acknowledge(wish(), shortly()).await;
        assert!(matches!(full, Err(NotDone::Busy)), "{full:?}");
        assert!(asked.recv().await.is_some_and(|one| one.reply.is_closed()), "nobody waits for it");
        let breaks = async { drop(asked.recv().await) };
        let (broken, ()) = tokio::join!(acknowledging.acknowledge(wish(), shortly()), breaks);
        assert!(matches!(broken, Err(NotDone::Unsure)), "{broken:?}");
        drop(asked);
        let gone = acknowledging.acknowledge(wish(), shortly()).await;
        assert!(matches!(gone, Err(NotDone::Closed)), "{gone:?}");
    }
}
