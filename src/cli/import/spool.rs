//! The spool is what was read and is not stored yet: lines in a file that nobody else sees, and of
//! each its moment and its place, so that they come out in the order in which they are to count.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::app::AppError;
use crate::cli::import::line::Line;
use crate::ledger::import::Brought;
use crate::ledger::shadows::Behind;

/// One thing that was put aside. Ordered by time; of one moment by the order of its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    at_us: i64,
    file: u32,
    /// Where it counted in the store that it comes from, if that is known.
    order: Option<i64>,
    seq: i64,
    offset: u64,
    length: u32,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Record,
    /// A record whose rest never came: nothing comes behind it in one batch.
    Incomplete,
    Behind,
}

/// What was put aside.
#[derive(Debug)]
pub(super) struct Spool {
    file: BufWriter<File>,
    places: Vec<Place>,
    end: u64,
    bad: u64,
    records: u64,
}

impl Spool {
    /// An empty one on the disk of `folder`. Its file has no name any more, so it goes with the
    /// process, however that ends.
    pub(super) fn beside(folder: &Path) -> Result<Self, AppError> {
        let path = folder.join(format!("import-{}.tmp", std::process::id()));
        let options = File::options().read(true).write(true).create_new(true).open(&path);
        let file = options.map_err(|why| failed(&path, &why))?;
        fs::remove_file(&path).map_err(|why| failed(&path, &why))?;
        Ok(Self { file: BufWriter::new(file), places: Vec::new(), end: 0, bad: 0, records: 0 })
    }

    /// Puts a line of the `file`th file aside: its record, and what was said behind its verdict.
    pub(super) fn keep(&mut self, file: u32, line: Line, bytes: &[u8]) -> Result<(), AppError> {
        let Line { record, beside } = line;
        let (at_us, seq) = (record.at.0, record.seq.unwrap_or(i64::MAX));
        let kind = if record.complete { Kind::Record } else { Kind::Incomplete };
        let order = beside.counted;
        let place = Place { at_us, file, order, seq, offset: self.end, length: 0, kind };
        self.put(place, bytes)?;
        self.records += 1;
        for shadow in beside.shadows {
            // it may have counted before its record, whose rest was awaited; here it comes behind
            let order = shadow.counted.map(|counted| counted.max(order.unwrap_or(counted)));
            let at_us = at_us.max(shadow.at.0);
            let behind = Behind { verdict: record.id, shadow };
            let bytes = serde_json::to_vec(&behind).map_err(AppError::json)?;
            let place = Place { at_us, order, offset: self.end, kind: Kind::Behind, ..place };
            self.put(place, &bytes)?;
        }
        Ok(())
    }

    fn put(&mut self, place: Place, bytes: &[u8]) -> Result<(), AppError> {
        self.file.write_all(bytes)?;
        let length = u32::try_from(bytes.len());
        let length = length.map_err(|why| AppError::Internal(format!("a line: {why}")))?;
        self.places.push(Place { length, ..place });
        self.end += u64::from(length);
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
        self.places.chunk_by_mut(|a, b| a.file == b.file).for_each(put_in_order);
        self.places.sort_unstable();
        Ok(())
    }

    /// Records that were put aside.
    pub(super) fn records(&self) -> u64 {
        self.records
    }

    /// Lines that are no records.
    pub(super) fn bad(&self) -> u64 {
        self.bad
    }

    /// Everything in order, at most so many at a time.
    pub(super) fn batches(
        &self,
        most: usize,
    ) -> impl Iterator<Item = Result<Vec<Brought>, AppError>> {
        let until_incomplete = self.places.split_inclusive(|one| one.kind == Kind::Incomplete);
        let batches = until_incomplete.flat_map(move |places| places.chunks(most.max(1)));
        batches.map(|places| places.iter().map(|place| self.read(*place)).collect())
    }

    fn read(&self, place: Place) -> Result<Brought, AppError> {
        let mut line = vec![0; place.length as usize];
        self.file.get_ref().read_exact_at(&mut line, place.offset)?;
        match place.kind {
            Kind::Record | Kind::Incomplete => {
                serde_json::from_slice(&line).map(|one| Brought::Record(Box::new(one)))
            }
            Kind::Behind => serde_json::from_slice(&line).map(|one| Brought::Behind(Box::new(one))),
        }
        .map_err(AppError::json)
    }
}

/// Orders what one file holds as it counted in the store that it comes from, each no earlier than
/// what counted before it; of several stores, or of one that does not say, by time.
fn put_in_order(places: &mut [Place]) {
    places.sort_unstable_by_key(|one| (one.order, one.offset));
    let records = || places.iter().filter(|one| one.kind != Kind::Behind).map(|one| one.order);
    let is_told = places.iter().all(|one| one.order.is_some());
    if is_told && records().is_sorted_by(|a, b| a < b) {
        let mut latest_us = i64::MIN;
        for place in &mut *places {
            latest_us = latest_us.max(place.at_us);
            place.at_us = latest_us;
        }
    } else {
        places.sort_unstable_by_key(|one| (one.at_us, one.seq, one.offset));
    }
    for (order, place) in (0_i64..).zip(places) {
        place.order = Some(order);
    }
}

fn failed(path: &Path, why: &io::Error) -> AppError {
    AppError::Internal(format!("{}: {why}", path.display()))
}
