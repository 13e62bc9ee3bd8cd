//! A kept baseline is what was known of a policy's drift when its baseline was frozen, in the store
//! with its hash.
//!
//! The state of the monitors is a fold over records, and records grow old: without this row a state
//! that is lost would be learnt anew from whatever is left, be it the very drift that is going on.

use std::collections::BTreeMap;

use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;

use crate::clock::Timestamp;
use crate::domain::Digest;
use crate::drift::standing::Standing;
use crate::ledger::LedgerError;
use crate::ledger::follow::Settings;
use crate::ledger::follow::checkpoint::Folded;
use crate::ledger::reader::{Reader, bounded};

const INSERT: &str = "INSERT INTO baseline (policy, folded, n, at_us, hash, form) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (policy, folded, n) DO UPDATE SET \
    at_us = excluded.at_us, hash = excluded.hash, form = excluded.form";

/// At one place of one policy there is one that holds for all settings under which it does.
const DELETE_OTHER: &str = "DELETE FROM baseline WHERE policy = ?1 AND n = ?3 AND folded <> ?2 \
    AND folded ->> 'form' = ?2 ->> 'form' \
    AND folded ->> 'baseline_days' = ?2 ->> 'baseline_days' \
    AND (folded ->> 'burst_images' = 0) = (?2 ->> 'burst_images' = 0)";

const UPTO: &str = "SELECT policy, folded, n, at_us, hash FROM baseline WHERE n <= ?1 \
    ORDER BY policy, n DESC";

const FORM: &str = "SELECT form FROM baseline WHERE policy = ?1 AND folded = ?2 AND n = ?3";

/// A baseline as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeptBaseline {
    pub(super) policy: String,
    /// How records were folded, JSON.
    folded: String,
    /// The place of the record at which it was frozen, in the order in which records count.
    pub(super) n: i64,
    at: Timestamp,
    pub(super) hash: String,
    form: String,
}

impl KeptBaseline {
    /// What is to be kept of `standing`, whose baseline was frozen, or began anew under another
    /// budget, at the `n`th record.
    pub(super) fn of(
        (policy, n, at): (&str, i64, Timestamp),
        baseline_days: u32,
        standing: &Standing,
    ) -> serde_json::Result<Self> {
        let folded = Folded::of(baseline_days, standing.monitor.settings());
        let folded = serde_json::to_string(&folded)?;
        let form = serde_json::to_string(standing)?;
        let hash = Digest::of(form.as_bytes()).to_string();
        Ok(Self { policy: policy.to_owned(), folded, n, at, hash, form })
    }

    pub(crate) async fn insert(&self, conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        for statement in [DELETE_OTHER, INSERT] {
            let query = sqlx::query(statement).bind(&self.policy).bind(&self.folded).bind(self.n);
            // the statement that deletes has no use for the rest
            let query = query.bind(self.at.0).bind(&self.hash).bind(&self.form);
            query.execute(&mut *conn).await?;
        }
        Ok(())
    }

    /// What it says; `None` of one that is not what was written.
    fn read(&self) -> Option<Standing> {
        let is_whole = Digest::of(self.form.as_bytes()).to_string() == self.hash;
        let standing = serde_json::from_str(&self.form).ok().filter(|_| is_whole);
        if standing.is_none() {
            let Self { policy, n, .. } = self;
            tracing::error!(policy, n, "a kept baseline is damaged and left out");
        }
        standing
    }
}

/// The latest kept baseline of a policy, and what is known by it alone.
#[derive(Debug)]
pub(super) struct Kept {
    /// The place at which it was kept.
    pub(super) n: i64,
    pub(super) hash: String,
    pub(super) standing: Standing,
}

impl Reader {
    /// The latest baseline of each policy that was kept at the `n`th record or before, and holds under
    /// these settings: one that does not, be it later, is not in its way.
    pub(super) async fn kept_baselines(
        &self,
        n: i64,
        settings: &Settings,
    ) -> Result<BTreeMap<String, Kept>, LedgerError> {
        let (mut kept, mut others) = (BTreeMap::new(), 0_usize);
        let rows = sqlx::query(UPTO).bind(n).fetch_all(&self.pool);
        for row in bounded(rows).await? {
            let mut one = KeptBaseline {
                policy: row.try_get(0)?,
                folded: row.try_get(1)?,
                n: row.try_get(2)?,
                at: Timestamp(row.try_get(3)?),
                hash: row.try_get(4)?,
                form: String::new(),
            };
            let folded = serde_json::from_str::<Folded>(&one.folded);
            if !folded.is_ok_and(|folded| folded.holds_under(settings)) {
                others += 1;
                continue;
            }
            if kept.contains_key(&one.policy) {
                continue;
            }
            let form = sqlx::query_scalar(FORM).bind(&one.policy).bind(&one.folded).bind(one.n);
            one.form = bounded(form.fetch_one(&self.pool)).await?;
            if let Some(standing) = one.read() {
                kept.insert(one.policy, Kept { n: one.n, hash: one.hash, standing });
            }
        }
        if kept.is_empty() && others != 0 {
            tracing::warn!(
                "what was usual was learnt from other days, or from other pairs of judges (with a \
                 burst or without): it is learnt anew from the records"
            );
        }
        Ok(kept)
    }
}
