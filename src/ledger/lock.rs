//! The lock is what keeps a second process from the file.

use std::fmt::Display;
use std::fs::{self, File, TryLockError};
use std::path::Path;

use crate::ledger::{LedgerError, beside};

/// Locks the file for this process. The lock goes with the process, however it ends.
pub(crate) fn lock(path: &Path) -> Result<File, LedgerError> {
    let open = |why: &dyn Display| LedgerError::open(path, why);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|why| open(&why))?;
    }
    let file = File::create(beside(path, ".lock")).map_err(|why| open(&why))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(LedgerError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(why)) => Err(open(&why)),
    }
}
