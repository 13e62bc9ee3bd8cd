//! Retention deletes what a policy no longer keeps: pictures first, then records and their sums,
//! then what is marked beside them, and the keys of repeated requests.
//!
//! It works in steps of at most 200 rows, and the writer takes a step when no record waits or after
//! some batches in a row, so a year's worth of deletes delays nobody for long. Records of a policy
//! that is not named stay, and so do their sums by the hour: a policy taken out of the folder by
//! mistake must not take its history with it. Marks of revisions stay too: they say which were seen,
//! and people make them, so they are few.

use std::time::Duration;

use tokio::sync::oneshot;

use crate::clock::Timestamp;
use crate::ledger::inbox::Chore;
use crate::ledger::journal::STEP_ROWS;
use crate::ledger::rollup::{HOUR_S, MINUTE_S};
use crate::ledger::sqlite::{Aged, Deleted};
use crate::ledger::{IDEMPOTENCY_KEPT, Ledger, LedgerError};

/// How long the rest of an early answer is waited for before the record counts without it: far
/// longer than anybody reads on.
const AWAITED_FOR: Duration = Duration::from_secs(60);

/// How long sums by the minute are kept, where records are kept as long; by the hour they are kept
/// like records.
pub(crate) const MINUTES_FOR: Duration = Duration::from_hours(32 * 24);

/// How long one policy keeps what it recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keeping {
    /// The policy's name.
    pub policy: String,
    /// How long records are kept.
    pub verdicts_for: Duration,
    /// How long pictures are kept.
    pub images_for: Duration,
}

/// What a sweep deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Records.
    pub records: u64,
    /// Pictures of records, those that stay and those that went.
    pub images: u64,
    /// Picture files that no record speaks of any more.
    pub files: u64,
    /// Marks of breakers, of drift and of who acknowledged it.
    pub marks: u64,
    /// Keys of repeated requests.
    pub keys: u64,
}

impl Ledger {
    /// Deletes everything that is older than `kept` allows at `now`.
    ///
    /// It may be dropped between any two steps, as when the process stops: a step is one
    /// transaction, which the writer finishes whether anybody waits for it or not, and what was not
    /// reached is for the next sweep.
    ///
    /// # Errors
    /// The store could not be written, or the ledger is closing; what was deleted stays deleted.
    pub async fn sweep(&self, kept: &[Keeping], now: Timestamp) -> Result<Swept, LedgerError> {
        let mut swept = Swept::default();
        for one in kept {
            let (policy, before) = (one.policy.clone(), now.before(one.images_for));
            self.delete_all(Aged::Images { policy, before }, &mut swept).await?;
            let (policy, before) = (one.policy.clone(), now.before(one.verdicts_for));
            swept.records += self.delete_all(Aged::Records { policy, before }, &mut swept).await?;
        }
        for one in kept {
            let hours = (HOUR_S, one.verdicts_for);
            for (step_s, kept_for) in [(MINUTE_S, one.verdicts_for.min(MINUTES_FOR)), hours] {
                let (policy, before) = (one.policy.clone(), now.before(kept_for));
                self.delete_all(Aged::Rollups { policy, step_s, before }, &mut swept).await?;
            }
        }
        for (policy, kept_for) in kept_marks(kept) {
            let before = now.before(kept_for);
            swept.marks += self.delete_all(Aged::Happened { policy, before }, &mut swept).await?;
        }
        let before = now.before(AWAITED_FOR);
        self.delete_all(Aged::Awaited { before }, &mut swept).await?;
        let before = now.before(IDEMPOTENCY_KEPT);
        swept.keys += self.delete_all(Aged::Marks { before }, &mut swept).await?;
        // hours stay as records do; minutes nobody can ask for any more go with everybody's
        let named = |policy: &String| kept.iter().any(|one| one.policy == *policy);
        let unnamed = self.reader.counted_policies().await?.into_iter();
        for policy in unnamed.filter(|policy| !named(policy)) {
            let (step_s, before) = (MINUTE_S, now.before(MINUTES_FOR));
            self.delete_all(Aged::Rollups { policy, step_s, before }, &mut swept).await?;
        }
        Ok(swept)
    }

    /// Lets every early answer count without its rest.
    pub(crate) async fn give_up_awaited(&self) -> Result<(), LedgerError> {
        let before = Timestamp(i64::MAX);
        self.delete_all(Aged::Awaited { before }, &mut Swept::default()).await.map(drop)
    }

    /// Step by step; the rows of the kind asked for.
    async fn delete_all(&self, aged: Aged, swept: &mut Swept) -> Result<u64, LedgerError> {
        let mut rows = 0;
        loop {
            let step = self.delete_step(aged.clone()).await?;
            rows += step.rows;
            swept.images += step.images;
            swept.files += step.files.len() as u64;
            if step.rows < u64::from(STEP_ROWS) {
                return Ok(rows);
            }
        }
    }

    async fn delete_step(&self, aged: Aged) -> Result<Deleted, LedgerError> {
        let (reply, told) = oneshot::channel();
        self.chores.send(Chore::Sweep(aged, reply)).await.map_err(|_| LedgerError::Closed)?;
        told.await.map_err(|_| LedgerError::Closed)?.map_err(LedgerError::Store)
    }
}

/// How long marks are kept, by policy: those of no policy, a breaker's, as long as any policy's
/// records.
fn kept_marks(kept: &[Keeping]) -> impl Iterator<Item = (Option<String>, Duration)> {
    let longest = kept.iter().map(|one| one.verdicts_for).max();
    let own = kept.iter().map(|one| (Some(one.policy.clone()), one.verdicts_for));
    own.chain(longest.map(|kept_for| (None, kept_for)))
}
