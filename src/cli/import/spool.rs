//! The spool is what was read and is not stored yet: lines in a file that nobody else sees, and of
//! each its moment and its place, so that they come out in the order of time.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::app::AppError;
use crate::ledger::form::RecordForm;

/// One line that was put aside. Ordered by time; of one moment by the store that they come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    at_us: i64,
    seq: i64,
    offset: u64,
    length: usize,
}

/// Lines that were put aside.
#[derive(Debug)]
pub(super) struct Spool {
    file: BufWriter<File>,
    places: Vec<Place>,
    end: u64,
    bad: u64,
}

impl Spool {
    /// An empty one on the disk of `folder`. Its file has no name any more, so it goes with the
    /// process, however that ends.
    pub(super) fn beside(folder: &Path) -> Result<Self, AppError> {
        let path = folder.join(format!("import-{}.tmp", std::process::id()));
        let options = File::options().read(true).write(true).create_new(true).open(&path);
        let file = options.map_err(|why| failed(&path, &why))?;
        fs::remove_file(&path).map_err(|why| failed(&path, &why))?;
        Ok(Self { file: BufWriter::new(file), places: Vec::new(), end: 0, bad: 0 })
    }

    /// Puts a record's line aside.
    pub(super) fn keep(&mut self, record: &RecordForm, line: &[u8]) -> Result<(), AppError> {
        self.file.write_all(line)?;
        let (at_us, seq) = (record.at.0, record.seq.unwrap_or(i64::MAX));
        self.places.push(Place { at_us, seq, offset: self.end, length: line.len() });
        self.end += line.len() as u64;
        Ok(())
    }

    /// Counts a line that is no record; how many there are now.
    pub(super) fn count_bad(&mut self) -> u64 {
        self.bad += 1;
        self.bad
    }

    /// Puts everything in order, once all is read.
    pub(super) fn settle(&mut self) -> Result<(), AppError> {
        self.file.flush()?;
        self.places.sort_unstable();
        Ok(())
    }

    /// Records that were put aside.
    pub(super) fn records(&self) -> usize {
        self.places.len()
    }

    /// Lines that are no records.
    pub(super) fn bad(&self) -> u64 {
        self.bad
    }

    /// The records in order, so many at a time.
    pub(super) fn batches(
        &self,
        records: usize,
    ) -> impl Iterator<Item = Result<Vec<RecordForm>, AppError>> {
        let read = |places: &[Place]| places.iter().map(|place| self.read(*place)).collect();
        self.places.chunks(records.max(1)).map(read)
    }

    fn read(&self, place: Place) -> Result<RecordForm, AppError> {
        let mut line = vec![0; place.length];
        self.file.get_ref().read_exact_at(&mut line, place.offset)?;
        serde_json::from_slice(&line).map_err(AppError::json)
    }
}

fn failed(path: &Path, why: &io::Error) -> AppError {
    AppError::Internal(format!("{}: {why}", path.display()))
}
