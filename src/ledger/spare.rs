//! The spare is room on the disk that is held for records alone: a file of zeros beside the store.
//!
//! A full disk is noticed first by pictures, the largest things written. Then the spare is given
//! up, and while it is gone no picture is kept: what it held is left to records, and to the log,
//! which needs room to be folded in before a sweep can free any. It is taken again as soon as the
//! disk has it.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::PathBuf;

/// The file of zeros.
#[derive(Debug)]
pub(crate) struct Spare {
    path: PathBuf,
    size_bytes: u64,
    held: bool,
}

impl Spare {
    /// The spare at `path`, as an earlier process left it.
    pub(crate) fn new(path: PathBuf, size_bytes: u64) -> Self {
        let found = fs::metadata(&path).map_or(0, |file| file.len());
        Self { path, size_bytes, held: size_bytes != 0 && found == size_bytes }
    }

    /// Whether there is room for more than records. A spare of no size is always held.
    pub(crate) fn is_held(&self) -> bool {
        self.held || self.size_bytes == 0
    }

    /// Takes the room if it is not held.
    pub(crate) fn hold(&mut self) -> io::Result<()> {
        if self.is_held() {
            return Ok(());
        }
        let zeros = || {
            let mut file = File::create(&self.path)?;
            io::copy(&mut io::repeat(0).take(self.size_bytes), &mut file)
        };
        if let Err(why) = zeros() {
            // half a spare is nobody's room; what stays is overwritten by the next attempt
            fs::remove_file(&self.path).ok();
            return Err(why);
        }
        self.held = true;
        Ok(())
    }

    /// Gives the room back to the disk; whether there was any.
    pub(crate) fn give_up(&mut self) -> io::Result<bool> {
        if !self.held {
            return Ok(false);
        }
        self.held = false;
        fs::remove_file(&self.path).map(|()| true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spare_is_held_given_up_once_and_held_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("spare");
        let mut spare = Spare::new(path.clone(), 100_000);
        assert!(!spare.is_held());
        spare.hold().unwrap();
        assert!(spare.is_held());
        assert!(Spare::new(path.clone(), 100_000).is_held(), "it outlives its process");
        assert!(spare.give_up().unwrap());
        assert!(!spare.give_up().unwrap());
        assert!(!path.exists() && !spare.is_held());
        spare.hold().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), 100_000);
    }

    #[test]
    fn a_spare_that_the_disk_has_no_room_for_is_not_held() {
        let mut spare = Spare::new("/dev/full/spare".into(), 1);
        assert!(spare.hold().is_err());
        assert!(!spare.is_held());
    }
}
