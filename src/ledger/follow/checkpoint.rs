//! A checkpoint is the state of the monitors as a file: nothing but a shortcut over records that
//! are in the store anyway.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::drift::standing::Standing;
use crate::ledger::follow::Settings;

/// Of the file's form and of how records are folded: a change of either is a new number.
const FORM: u32 = 3;

/// A file larger than this is none of ours.
const MOST_BYTES: u64 = 1 << 30;

/// The state of the monitors after some records.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Checkpoint {
    form: u32,
    baseline_days: u32,
    false_alarms_per_30_days: f64,
    burst_images: u64,
    /// The last record folded, in the order in which they count.
    pub(super) n: i64,
    /// By policy.
    pub(super) standings: BTreeMap<String, Standing>,
}

/// The same, borrowed.
#[derive(Serialize)]
struct Writing<'a> {
    form: u32,
    baseline_days: u32,
    false_alarms_per_30_days: f64,
    burst_images: u64,
    n: i64,
    standings: &'a BTreeMap<String, Standing>,
}

impl Checkpoint {
    /// The state in `file`; `None` where there is none, or one folded under other settings.
    pub(super) fn read(file: &Path, settings: &Settings) -> io::Result<Option<Self>> {
        let size = match fs::metadata(file) {
            Ok(found) => found.len(),
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(why) => return Err(why),
        };
        if MOST_BYTES < size {
            let why = format!("{size} bytes, at most {MOST_BYTES} are expected");
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        let kept: Self = serde_json::from_slice(&fs::read(file)?)?;
        let is_ours = kept.form == FORM
            && kept.baseline_days == settings.baseline_days
            && kept.burst_images == settings.burst_images
            && kept.false_alarms_per_30_days.total_cmp(&settings.false_alarms_per_30_days).is_eq();
        Ok(is_ours.then_some(kept))
    }

    /// Puts the state after the `n`th record in the place of the file's.
    pub(super) fn write(
        file: &Path,
        settings: &Settings,
        (n, standings): (i64, &BTreeMap<String, Standing>),
    ) -> io::Result<()> {
        let kept = Writing {
            form: FORM,
            baseline_days: settings.baseline_days,
            false_alarms_per_30_days: settings.false_alarms_per_30_days,
            burst_images: settings.burst_images,
            n,
            standings,
        };
        let beside = file.with_extension("new");
        fs::write(&beside, serde_json::to_vec(&kept)?)?;
        fs::rename(&beside, file)
    }
}
