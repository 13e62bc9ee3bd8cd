//! A kept baseline is what was known of a policy's drift when its baseline was frozen, in the store
//! with its hash.
//!
//! The state of the monitors is a fold over records, and records grow old: without this row a state
//! that is lost would be learnt anew from whatever is left, be it the very drift that is going on.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;

use crate::clock::Timestamp;
use crate::domain::Digest;
use crate::drift::standing::Standing;
use crate::ledger::LedgerError;
use crate::ledger::follow::Settings;
use crate::ledger::follow::checkpoint::Folded;
use crate::ledger::reader::{Reader, bounded};

const INSERT: &str = "INSERT INTO baseline (policy, n, at_us, hash, form) \
    VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (policy, n) DO UPDATE SET \
    at_us = excluded.at_us, hash = excluded.hash, form = excluded.form";

const LATEST: &str = "SELECT policy, n, at_us, hash, form FROM baseline AS one WHERE n = \
    (SELECT max(n) FROM baseline WHERE policy = one.policy AND n <= ?1)";

/// A baseline as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeptBaseline {
    pub(super) policy: String,
    /// The place of the record at which it was frozen, in the order in which records count.
    pub(super) n: i64,
    at: Timestamp,
    pub(super) hash: String,
    form: String,
}

#[derive(Deserialize)]
struct Form {
    folded: Folded,
    standing: Standing,
}

/// The same, borrowed.
#[derive(Serialize)]
struct Writing<'a> {
    folded: Folded,
    standing: &'a Standing,
}

impl KeptBaseline {
    /// What is to be kept of `standing`, whose baseline was frozen at the `n`th record.
    pub(super) fn of(
        (policy, n, at): (&str, i64, Timestamp),
        settings: &Settings,
        standing: &Standing,
    ) -> serde_json::Result<Self> {
        let form = serde_json::to_string(&Writing { folded: Folded::by(settings), standing })?;
        let hash = Digest::of(form.as_bytes()).to_string();
        Ok(Self { policy: policy.to_owned(), n, at, hash, form })
    }

    pub(crate) async fn insert(&self, conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        let insert = sqlx::query(INSERT).bind(&self.policy).bind(self.n).bind(self.at.0);
        insert.bind(&self.hash).bind(&self.form).execute(conn).await.map(drop)
    }

    /// What it says; `None` of one that was learnt under other settings or is not what was written.
    fn read(&self, settings: &Settings) -> Option<Standing> {
        let is_whole = Digest::of(self.form.as_bytes()).to_string() == self.hash;
        let form = serde_json::from_str::<Form>(&self.form).ok().filter(|_| is_whole);
        let Some(form) = form else {
            let Self { policy, n, .. } = self;
            tracing::error!(policy, n, "a kept baseline is damaged and left out");
            return None;
        };
        (form.folded == Folded::by(settings)).then_some(form.standing)
    }
}

/// The latest kept baselines of some place in the order, by policy.
#[derive(Debug, Default)]
pub(super) struct Kept(BTreeMap<String, (KeptBaseline, Standing)>);

impl Kept {
    /// By policy, the hash of each.
    pub(super) fn hashes(&self) -> BTreeMap<String, String> {
        self.0.iter().map(|(policy, (kept, _))| (policy.clone(), kept.hash.clone())).collect()
    }

    /// The place of a policy's.
    pub(super) fn n(&self, policy: &str) -> Option<i64> {
        self.0.get(policy).map(|(kept, _)| kept.n)
    }

    /// What is known by them alone.
    pub(super) fn standings(&self) -> BTreeMap<String, Standing> {
        self.0.iter().map(|(policy, (_, one))| (policy.clone(), one.clone())).collect()
    }
}

impl Reader {
    /// The latest baseline of each policy that was frozen at the `n`th record or before.
    pub(super) async fn kept_baselines(
        &self,
        n: i64,
        settings: &Settings,
    ) -> Result<Kept, LedgerError> {
        let mut kept = Kept::default();
        for row in bounded(sqlx::query(LATEST).bind(n).fetch_all(&self.pool)).await? {
            let one = KeptBaseline {
                policy: row.try_get(0)?,
                n: row.try_get(1)?,
                at: Timestamp(row.try_get(2)?),
                hash: row.try_get(3)?,
                form: row.try_get(4)?,
            };
            if let Some(standing) = one.read(settings) {
                kept.0.insert(one.policy.clone(), (one, standing));
            }
        }
        Ok(kept)
    }
}
