//! Kept pictures are files named by the digest of their bytes: `ab/cd/<digest>.jpg`.
//!
//! A file appears whole or not at all (written aside, then renamed), and before the row that
//! speaks of it is committed. The same picture kept twice is one file. All of it is blocking and
//! runs on the writer's own thread, so that no keep ever races a removal.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::domain::Digest;

/// The folder of kept pictures.
#[derive(Clone, Debug)]
pub(crate) struct Pictures {
    dir: PathBuf,
    synced: bool,
}

impl Pictures {
    /// Opens `dir`, making it if it is not there, and clears what an earlier process left half
    /// written. `synced`: whether a file must outlive a power loss.
    pub(crate) fn open(dir: PathBuf, synced: bool) -> io::Result<Self> {
        let pictures = Self { dir, synced };
        let aside = pictures.aside();
        fs::create_dir_all(&aside)?;
        for entry in fs::read_dir(&aside)? {
            fs::remove_file(entry?.path())?;
        }
        Ok(pictures)
    }

    /// Where the picture with this digest (64 hex digits) is.
    pub(crate) fn path(dir: &Path, hex: &str) -> Option<PathBuf> {
        let (first, second) = (hex.get(0..2)?, hex.get(2..4)?);
        Some(dir.join(first).join(second).join(format!("{hex}.jpg")))
    }

    /// Keeps `bytes`; whether a new file was made of them.
    pub(crate) fn keep(&self, digest: Digest, bytes: &[u8]) -> io::Result<bool> {
        let hex = digest.to_hex();
        let path = Self::path(&self.dir, &hex).ok_or(io::ErrorKind::InvalidInput)?;
        if path.try_exists()? {
            return Ok(false);
        }
        let aside = self.aside().join(&hex);
        let kept = self.write(&aside, bytes).and_then(|()| rename(&aside, &path));
        if let Err(why) = kept {
            // half a file holds room that rows need; what stays is cleared at the next opening
            remove(&aside).ok();
            return Err(why);
        }
        Ok(true)
    }

    /// Removes the picture with this digest (64 hex digits), if it is there.
    pub(crate) fn remove(&self, hex: &str) -> io::Result<()> {
        Self::path(&self.dir, hex).map_or(Ok(()), |path| remove(&path))
    }

    fn aside(&self) -> PathBuf {
        self.dir.join("tmp")
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        if self.synced { file.sync_all() } else { Ok(()) }
    }
}

/// Renames, making the target's folder when it is the first of its kind.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => {
            if let Some(folder) = to.parent() {
                fs::create_dir_all(folder)?;
            }
            fs::rename(from, to)
        }
        done => done,
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_kept_twice_is_one_file_and_goes_when_removed() {
        let dir = tempfile::tempdir().unwrap();
        let pictures = Pictures::open(dir.path().to_owned(), false).unwrap();
        let digest = Digest::of(b"picture");
        assert!(pictures.keep(digest, b"picture").unwrap());
        assert!(!pictures.keep(digest, b"picture").unwrap());
        let path = Pictures::path(dir.path(), &digest.to_hex()).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"picture");
        pictures.remove(&digest.to_hex()).unwrap();
        pictures.remove(&digest.to_hex()).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn what_was_left_half_written_is_cleared_at_opening() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("tmp")).unwrap();
        let torn = dir.path().join("tmp").join("torn");
        fs::write(&torn, b"half").unwrap();
        Pictures::open(dir.path().to_owned(), true).unwrap();
        assert!(!torn.exists());
    }
}
