//! A checkpoint is the state of the monitors as a file: nothing but a shortcut over records that
//! are in the store anyway.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::drift::monitor;
use crate::drift::standing::Standing;
use crate::ledger::follow::Settings;

/// Of the form and of how records are folded: a change of either is a new number.
const FORM: u32 = 4;

/// A file larger than this is none of ours.
const MOST_BYTES: u64 = 1 << 30;

/// How records were folded. Of a state folded otherwise what was learnt can be taken over, where it
/// does not depend on what is other.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Folded {
    form: u32,
    pub(super) baseline_days: u32,
    pub(super) false_alarms_per_30_days: f64,
    burst_images: u64,
}

impl Folded {
    pub(super) fn by(settings: &Settings) -> Self {
        Self::of(settings.baseline_days, settings.monitor())
    }

    /// By a monitor that was told to go by `settings`.
    pub(super) fn of(baseline_days: u32, settings: monitor::Settings) -> Self {
        let monitor::Settings { false_alarms_per_30_days, burst_images } = settings;
        Self { form: FORM, baseline_days, false_alarms_per_30_days, burst_images }
    }

    /// Whether what was learnt is what would be learnt under `settings`: from the same days, and from
    /// the same pairs of judges, which are others where nobody runs a burst. The budget and a
    /// burst's size are no part of it.
    pub(super) fn holds_under(&self, settings: &Settings) -> bool {
        let wanted = Self::by(settings);
        let pairs = |one: &Self| one.burst_images == 0;
        self.form == FORM
            && self.baseline_days == wanted.baseline_days
            && pairs(self) == pairs(&wanted)
    }
}

/// The state of the monitors after some records.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Checkpoint {
    pub(super) folded: Folded,
    /// The last record folded, in the order in which they count.
    pub(super) n: i64,
    /// The hashes of the kept baselines that it rests on, by policy.
    pub(super) baselines: BTreeMap<String, String>,
    /// By policy.
    pub(super) standings: BTreeMap<String, Standing>,
}

/// The same, borrowed.
#[derive(Serialize)]
struct Writing<'a> {
    folded: Folded,
    n: i64,
    baselines: &'a BTreeMap<String, String>,
    standings: &'a BTreeMap<String, Standing>,
}

impl Checkpoint {
    /// The state in `file`; `None` where there is none, or one that cannot be taken over.
    pub(super) fn read(file: &Path, settings: &Settings) -> io::Result<Option<Self>> {
        Ok(Self::load(file)?.filter(|kept| kept.folded.holds_under(settings)))
    }

    /// The state in `file`, under whatever settings; `None` where there is none of this program.
    pub(super) fn load(file: &Path) -> io::Result<Option<Self>> {
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
        Ok((kept.folded.form == FORM).then_some(kept))
    }

    /// Puts the state after the `n`th record in the place of the file's; its bytes.
    pub(super) fn write(
        file: &Path,
        settings: &Settings,
        (n, baselines): (i64, &BTreeMap<String, String>),
        standings: &BTreeMap<String, Standing>,
    ) -> io::Result<u64> {
        let kept = Writing { folded: Folded::by(settings), n, baselines, standings };
        let beside = file.with_extension("new");
        let text = serde_json::to_vec(&kept)?;
        fs::write(&beside, &text)?;
        fs::rename(&beside, file)?;
        Ok(text.len() as u64)
    }
}
