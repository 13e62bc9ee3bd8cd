//! A kept baseline is what was known of a policy's drift when its baseline was frozen, in the store
//! with its hash.
//!
//! The state of the monitors is a fold over records, and records grow old: without this row a state
//! that is lost would be learnt anew from whatever is left, be it the very drift that is going on.

use std::collections::{BTreeMap, BTreeSet};

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

const UPTO: &str = "SELECT policy, folded, n, at_us, hash, form FROM baseline \
    WHERE folded = ?1 AND n <= ?2 ORDER BY policy, n DESC";

const OTHERS: &str = "SELECT count(*) FROM baseline WHERE folded <> ?1";

const HASHES: &str = "SELECT policy, hash FROM baseline WHERE n <= ?1";

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
    /// What is to be kept of `standing`, whose baseline was frozen at the `n`th record.
    pub(super) fn of(
        (policy, n, at): (&str, i64, Timestamp),
        settings: &Settings,
        standing: &Standing,
    ) -> serde_json::Result<Self> {
        let folded = serde_json::to_string(&Folded::by(settings))?;
        let form = serde_json::to_string(standing)?;
        let hash = Digest::of(form.as_bytes()).to_string();
        Ok(Self { policy: policy.to_owned(), folded, n, at, hash, form })
    }

    pub(crate) async fn insert(&self, conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        let insert = sqlx::query(INSERT).bind(&self.policy).bind(&self.folded).bind(self.n);
        insert.bind(self.at.0).bind(&self.hash).bind(&self.form).execute(conn).await.map(drop)
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
    /// The latest baseline of each policy that was frozen at the `n`th record or before, under these
    /// settings: one of other settings, be it later, is not in its way.
    pub(super) async fn kept_baselines(
        &self,
        n: i64,
        settings: &Settings,
    ) -> Result<Kept, LedgerError> {
        let mut kept = Kept::default();
        let folded = serde_json::to_string(&Folded::by(settings));
        let folded = folded.map_err(|why| LedgerError::Store(why.to_string()))?;
        let rows = sqlx::query(UPTO).bind(&folded).bind(n).fetch_all(&self.pool);
        for row in bounded(rows).await? {
            let one = KeptBaseline {
                policy: row.try_get(0)?,
                folded: row.try_get(1)?,
                n: row.try_get(2)?,
                at: Timestamp(row.try_get(3)?),
                hash: row.try_get(4)?,
                form: row.try_get(5)?,
            };
            if kept.0.contains_key(&one.policy) {
                continue;
            }
            if let Some(standing) = one.read() {
                kept.0.insert(one.policy.clone(), (one, standing));
            }
        }
        let others = sqlx::query_scalar::<_, i64>(OTHERS).bind(&folded).fetch_one(&self.pool);
        if kept.0.is_empty() && bounded(others).await? != 0 {
            tracing::warn!(
                "what was usual was learnt under other settings: it is learnt anew from the records"
            );
        }
        Ok(kept)
    }

    /// Whether the store holds each of these baselines, by policy and hash, frozen at the `n`th
    /// record or before.
    pub(super) async fn holds_baselines(
        &self,
        n: i64,
        hashes: &BTreeMap<String, String>,
    ) -> Result<bool, LedgerError> {
        let held = sqlx::query_as::<_, (String, String)>(HASHES).bind(n).fetch_all(&self.pool);
        let held: BTreeSet<(String, String)> = bounded(held).await?.into_iter().collect();
        let is_held =
            |(policy, hash): (&String, &String)| held.contains(&(policy.clone(), hash.clone()));
        Ok(hashes.iter().all(is_held))
    }
}
