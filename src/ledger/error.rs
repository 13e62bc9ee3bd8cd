//! What can go wrong with the ledger.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::clock::Late;

/// Why the ledger cannot do what it was asked.
#[derive(Debug, Error)]
pub enum LedgerError {
    /// Another process writes this file.
    #[error("{} is in use by another process: stop it, or give this one another data folder",
        path.display())]
    InUse {
        /// The SQLite file.
        path: PathBuf,
    },
    /// It cannot be opened.
    #[error("cannot open {}: {why}", path.display())]
    Open {
        /// What was opened.
        path: PathBuf,
        /// What went wrong.
        why: String,
    },
    /// A stored row is not a record of this program.
    #[error("record {seq} cannot be read: {why}")]
    Row {
        /// Which.
        seq: i64,
        /// What went wrong.
        why: String,
    },
    /// The store failed this time.
    #[error("the store failed: {0}")]
    Store(String),
    /// The store did not answer in time.
    #[error("the store did not answer in time")]
    Late,
    /// The ledger is closed or closing.
    #[error("the ledger is closed")]
    Closed,
}

impl LedgerError {
    /// The word for metrics.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::InUse { .. } => "in_use",
            Self::Open { .. } => "open",
            Self::Row { .. } => "row",
            Self::Store(_) => "store",
            Self::Late => "late",
            Self::Closed => "closed",
        }
    }

    pub(super) fn open(path: &Path, why: &dyn Display) -> Self {
        Self::Open { path: path.to_owned(), why: why.to_string() }
    }

    pub(super) fn row(seq: Option<i64>, why: &dyn Display) -> Self {
        Self::Row { seq: seq.unwrap_or_default(), why: why.to_string() }
    }
}

impl From<sqlx::Error> for LedgerError {
    fn from(why: sqlx::Error) -> Self {
        if matches!(why, sqlx::Error::PoolClosed) {
            return Self::Closed;
        }
        if matches!(why, sqlx::Error::PoolTimedOut) {
            return Self::Late;
        }
        Self::Store(why.to_string())
    }
}

impl From<Late> for LedgerError {
    fn from(_: Late) -> Self {
        Self::Late
    }
}
