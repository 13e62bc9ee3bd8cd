//! The spool is what was read and is not stored yet: lines in a file that nobody else sees, and of
//! each its moment and its place, so that they come out in the order in which they are to count.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::app::AppError;
use crate::cli::import::line::Line;
use crate::clock::Timestamp;
use crate::ledger::form::RecordForm;
use crate::ledger::import::same::{Difference, difference};
use crate::ledger::import::{Brought, BroughtRecord, Counts};
use crate::ledger::shadows::{Behind, Shadow};

/// The place of what does not count yet in the store that it comes from: behind everything else.
const LAST: i64 = i64::MAX;

/// Where something stood: which file, counted from 0, and which line of it, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::cli) struct At {
    pub(in crate::cli) file: u32,
    pub(in crate::cli) line: u64,
}

/// One thing that was put aside. Ordered by time; of one moment by the order of its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    at_us: i64,
    file: u32,
    /// Where it counted in the store that it comes from, if that is known.
    order: Option<i64>,
    seq: i64,
    offset: u64,
    kind: Kind,
    length: u32,
    line: u64,
    is_watched: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Record,
    /// A record that counted behind something that was said of it.
    Waiting,
    Behind,
    /// Where such a record counted; in the file it is the record once more.
    Counts,
}

/// What was said behind a verdict, as it is put aside.
#[derive(Serialize, Deserialize)]
struct Said {
    verdict: Uuid,
    policy: String,
    at_us: i64,
    shadow: Shadow,
}

/// What was put aside.
#[derive(Debug)]
pub(in crate::cli) struct Spool {
    file: BufWriter<File>,
    places: Vec<Place>,
    /// Each record's id, and its place as long as nothing is in order.
    ids: Vec<(Uuid, usize)>,
    end: u64,
    bad: u64,
}

impl Spool {
    /// An empty one on the disk of `folder`. Its file has no name any more, so it goes with the
    /// process, however that ends.
    pub(in crate::cli) fn beside(folder: &Path) -> Result<Self, AppError> {
        let path = folder.join(format!("import-{}.tmp", std::process::id()));
        let options = File::options().read(true).write(true).create_new(true).open(&path);
        let file = options.map_err(|why| failed(&path, &why))?;
        fs::remove_file(&path).map_err(|why| failed(&path, &why))?;
        let file = BufWriter::new(file);
        Ok(Self { file, places: Vec::new(), ids: Vec::new(), end: 0, bad: 0 })
    }

    /// Puts the line that stood `at` there aside: its record, and what was said behind its verdict.
    pub(in crate::cli) fn keep(
        &mut self,
        at: At,
        line: Line,
        bytes: &[u8],
    ) -> Result<(), AppError> {
        let Line { record, beside } = line;
        // what does not count yet counts behind all that does
        let order = beside.counted.or((!record.complete).then_some(LAST));
        let first_said = beside.shadows.iter().filter_map(|shadow| shadow.counted).min();
        let before = first_said.filter(|said| order.is_some_and(|order| *said < order));
        let place = Place {
            at_us: record.at.0,
            file: at.file,
            order: before.or(order),
            seq: record.seq.unwrap_or(i64::MAX),
            offset: self.end,
            kind: if before.is_some() { Kind::Waiting } else { Kind::Record },
            length: 0,
            line: at.line,
            is_watched: !beside.unwatched,
        };
        self.ids.push((record.id, self.places.len()));
        self.put(place, bytes)?;
        for shadow in beside.shadows {
            let order = shadow.counted;
            let at_us = place.at_us.max(shadow.at.0);
            let shadow = Shadow { unwatched: shadow.unwatched || beside.unwatched, ..shadow };
            let policy = record.policy.name.clone();
            let said = Said { verdict: record.id, policy, at_us: record.at.0, shadow };
            let bytes = serde_json::to_vec(&said).map_err(AppError::json)?;
            let offset = self.end;
            self.put(Place { at_us, order, offset, kind: Kind::Behind, ..place }, &bytes)?;
        }
        if before.is_some() {
            let length = u32::try_from(bytes.len()).map_err(too_long)?;
            self.places.push(Place { order, kind: Kind::Counts, length, ..place });
        }
        Ok(())
    }

    fn put(&mut self, place: Place, bytes: &[u8]) -> Result<(), AppError> {
        self.file.write_all(bytes)?;
        let length = u32::try_from(bytes.len()).map_err(too_long)?;
        self.places.push(Place { length, ..place });
        self.end += u64::from(length);
        Ok(())
    }

    /// Counts a line that is no record; how many there are now.
    pub(in crate::cli) fn count_bad(&mut self) -> u64 {
        self.bad += 1;
        self.bad
    }

    /// Puts everything in order, once all is read. Of records that stand in the files more than once
    /// those that say something else than the one before: where, what, and where that one stood.
    pub(in crate::cli) fn settle(&mut self) -> Result<Vec<(At, Difference, At)>, AppError> {
        self.file.flush()?;
        let others = self.others()?;
        self.ids = Vec::new();
        self.places.chunk_by_mut(|a, b| a.file == b.file).for_each(put_in_order);
        self.places.sort_unstable();
        Ok(others)
    }

    fn others(&mut self) -> Result<Vec<(At, Difference, At)>, AppError> {
        self.ids.sort_unstable();
        let mut others = Vec::new();
        for (a, b) in self.ids.iter().zip(self.ids.iter().skip(1)) {
            if a.0 != b.0 {
                continue;
            }
            let (Some(first), Some(second)) = (self.places.get(a.1), self.places.get(b.1)) else {
                continue;
            };
            let (one, other) = (self.record(*second)?, self.record(*first)?);
            if let Some(difference) = difference(&one, &other)? {
                others.push((second.at(), difference, first.at()));
            }
        }
        others.sort_unstable_by_key(|(at, ..)| *at);
        Ok(others)
    }

    /// Records that were put aside.
    pub(in crate::cli) fn records(&self) -> u64 {
        self.places.iter().filter(|one| one.kind.is_record()).count() as u64
    }

    /// Lines that are no records.
    pub(in crate::cli) fn bad(&self) -> u64 {
        self.bad
    }

    /// Where the `place`th in order stood.
    pub(in crate::cli) fn at(&self, place: usize) -> Option<At> {
        self.places.get(place).map(Place::at)
    }

    /// Everything in order, at most so many at a time.
    pub(in crate::cli) fn batches(
        &self,
        most: usize,
    ) -> impl Iterator<Item = Result<Vec<Brought>, AppError>> {
        let batches = self.places.chunks(most.max(1));
        batches.map(|places| places.iter().map(|place| self.read(*place)).collect())
    }

    fn read(&self, place: Place) -> Result<Brought, AppError> {
        let counts = match place.kind {
            Kind::Record => Counts::Here,
            Kind::Waiting => Counts::Later,
            Kind::Behind => {
                let said = serde_json::from_slice(&self.line(place)?).map_err(AppError::json)?;
                let Said { verdict, policy, at_us, shadow } = said;
                let at = Timestamp(at_us);
                return Ok(Brought::Behind(Box::new(Behind { verdict, policy, at, shadow })));
            }
            Kind::Counts => return Ok(Brought::Counts(self.record(place)?.id)),
        };
        let (form, is_watched) = (self.record(place)?, place.is_watched);
        Ok(Brought::Record(Box::new(BroughtRecord { form, is_watched, counts })))
    }

    fn record(&self, place: Place) -> Result<RecordForm, AppError> {
        serde_json::from_slice(&self.line(place)?).map_err(AppError::json)
    }

    fn line(&self, place: Place) -> Result<Vec<u8>, AppError> {
        let mut line = vec![0; place.length as usize];
        self.file.get_ref().read_exact_at(&mut line, place.offset)?;
        Ok(line)
    }
}

impl Kind {
    fn is_record(self) -> bool {
        match self {
            Self::Record | Self::Waiting => true,
            Self::Behind | Self::Counts => false,
        }
    }

    /// Whether it is where a record counts.
    fn is_counted(self) -> bool {
        match self {
            Self::Record | Self::Counts => true,
            Self::Waiting | Self::Behind => false,
        }
    }
}

impl Place {
    fn at(&self) -> At {
        At { file: self.file, line: self.line }
    }
}

/// Orders what one file holds as it counted in the store that it comes from, each no earlier than
/// what counted before it; of several stores, or of one that does not say, by time, each record before
/// what was said of it.
fn put_in_order(places: &mut [Place]) {
    places.sort_unstable_by_key(|one| (one.order, one.at_us, one.seq, one.offset, one.kind));
    let counted = || places.iter().filter(|one| one.kind.is_counted() && one.order != Some(LAST));
    let is_told = places.iter().all(|one| one.order.is_some());
    if is_told && counted().map(|one| one.order).is_sorted_by(|a, b| a < b) {
        let mut latest_us = i64::MIN;
        for place in &mut *places {
            latest_us = latest_us.max(place.at_us);
            place.at_us = latest_us;
        }
    } else {
        places.sort_unstable_by_key(|one| (one.at_us, one.seq, one.offset, one.kind));
    }
    for (order, place) in (0_i64..).zip(places) {
        place.order = Some(order);
    }
}

fn too_long(why: std::num::TryFromIntError) -> AppError {
    AppError::Internal(format!("a line: {why}"))
}

fn failed(path: &Path, why: &io::Error) -> AppError {
    AppError::Internal(format!("{}: {why}", path.display()))
}
