//! Keeping is writing the state of the monitors to its file: as often as a start would like, and as
//! seldom as its size and cost ask for.

use std::time::Duration;

use crate::clock::Stopwatch;
use crate::ledger::follow::Following;
use crate::ledger::follow::checkpoint::Checkpoint;

/// Bytes a second that keeping the state may write, on average.
const KEEP_BYTES_PER_S: u64 = 100_000;

/// When the state was written last, and at what cost.
#[derive(Debug, Default)]
pub(super) struct Keeping {
    pub(super) n: i64,
    since: Option<Stopwatch>,
    took: Duration,
    bytes: u64,
}

impl Following {
    /// Keeps the state now and then, so that a start after a kill has little to fold: never for
    /// more than a fiftieth of the time.
    pub(super) fn keep_at_times(&mut self) {
        let by_bytes = Duration::from_secs(self.kept.bytes / KEEP_BYTES_PER_S);
        let least = Duration::from_secs(10).max(self.kept.took * 50).max(by_bytes);
        let is_due = self.kept.since.is_none_or(|since| least <= since.elapsed());
        if is_due {
            self.keep();
        }
    }

    pub(super) fn keep(&mut self) {
        if self.kept.n != self.followed.n {
            self.keep_now();
        }
    }

    /// Keeps the state, though the file may be of the same record.
    pub(super) fn keep_now(&mut self) {
        let watch = Stopwatch::start();
        let file = &self.means.settings.checkpoint;
        let upto = (self.followed.n, &self.baselines);
        let kept = Checkpoint::write(file, &self.means.settings, upto, &self.standings);
        let bytes = kept.unwrap_or_else(|why| {
            tracing::warn!(file = %file.display(), %why, "what is known of drift is not kept");
            self.kept.bytes
        });
        self.kept =
            Keeping { n: self.followed.n, since: Some(watch), took: watch.elapsed(), bytes };
    }
}
