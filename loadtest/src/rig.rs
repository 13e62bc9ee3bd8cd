//! The rig runs scenarios: it starts providers and gate, sends on time, watches, and gathers evidence.
//!
//! ```text
//! scenario ─▶ arrivals ─▶ drive ─▶ target ─▶ gate ─▶ providers (a process of their own)
//!                 │ samples           watch │ metrics, /proc    │ their own logs
//!                 └────────────▶ evidence ◀─┴───────────────────┘ ─▶ figures ─▶ outcome
//! ```

pub(crate) mod calibration;
pub mod command;
pub(crate) mod direct;
mod drive;
pub(crate) mod gate;
pub mod images;
mod ledger;
mod policy;
mod providers;
mod run;
pub mod sustain;
mod target;
mod watch;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;

use crate::monotonic;
use crate::scenario::ScenarioError;
use crate::web::WebError;

pub use crate::rig::direct::DirectKind;

/// Why a run could not be carried through.
#[derive(Debug, thiserror::Error)]
pub enum RigError {
    /// A file, a process or a socket failed.
    #[error("{what}: {problem}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        problem: io::Error,
    },
    /// A scenario cannot be read.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// The images could not be drawn.
    #[error("the images could not be drawn: {0}")]
    Gallery(#[from] jpeg_encoder::EncodingError),
    /// An image cannot be written as PNG.
    #[error("the images could not be written: {0}")]
    Png(#[from] png::EncodingError),
    /// The command line asks for what cannot be.
    #[error("{0}")]
    Usage(String),
    /// The gate did not start.
    #[error("{} did not come up: {said}", path.display())]
    Gate {
        /// The program.
        path: PathBuf,
        /// Its last words.
        said: String,
    },
    /// A step of a search broke off.
    #[error("at {rate_per_s} a second: {problem}")]
    Step {
        /// The rate that was tried.
        rate_per_s: f64,
        /// Why the step was not carried through.
        problem: String,
    },
    /// The gate holds no rate at all.
    #[error("no rate from {least_per_s} a second on is held")]
    NothingHeld {
        /// The slowest rate of the search.
        least_per_s: f64,
    },
    /// The simulated providers did not do as told.
    #[error("the simulated providers: {0}")]
    Providers(String),
    /// A story could not be played to its end.
    #[error("{0}")]
    Story(String),
}

impl RigError {
    /// Whether another command line would mend it: a flag, a target, a scenario file.
    #[must_use]
    pub const fn is_usage(&self) -> bool {
        matches!(self, Self::Usage(_) | Self::Scenario(_))
    }

    /// Whether the rig did its work, and it is the gate that did not hold.
    #[must_use]
    pub const fn is_miss(&self) -> bool {
        matches!(self, Self::NothingHeld { .. })
    }

    /// What was tried when an operation of the system failed.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |problem| Self::Io { what, problem }
    }
}

impl From<WebError> for RigError {
    fn from(problem: WebError) -> Self {
        Self::Providers(problem.to_string())
    }
}

/// The clock of one run: seconds since its first moment.
#[derive(Clone, Copy, Debug)]
struct RunClock {
    epoch: Instant,
    /// The same moment, as every process of the machine sees it.
    epoch_ns: u64,
}

impl RunClock {
    fn starting() -> Self {
        // a little ahead, so that the first arrival is not late already
        let ahead = Duration::from_millis(200);
        let epoch_ns = monotonic::now_ns() + u64::try_from(ahead.as_nanos()).unwrap_or_default();
        Self { epoch: Instant::now() + ahead, epoch_ns }
    }

    /// Seconds since the first moment; negative before it.
    fn now_s(self) -> f64 {
        self.at(Instant::now())
    }

    fn at(self, instant: Instant) -> f64 {
        match instant.checked_duration_since(self.epoch) {
            Some(after) => after.as_secs_f64(),
            None => -(self.epoch - instant).as_secs_f64(),
        }
    }

    /// A moment of another process.
    fn at_ns(self, at_ns: u64) -> f64 {
        match at_ns.checked_sub(self.epoch_ns) {
            Some(after_ns) => Duration::from_nanos(after_ns).as_secs_f64(),
            None => -Duration::from_nanos(self.epoch_ns - at_ns).as_secs_f64(),
        }
    }

    fn instant(self, at_s: f64) -> Instant {
        self.epoch + Duration::from_secs_f64(at_s.max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_that_breaks_in_a_search_is_no_wrong_command_line() {
        let broke = RigError::Step { rate_per_s: 20.0, problem: "it did not start".to_owned() };
        assert!(!broke.is_usage() && !broke.is_miss());
        let nothing = RigError::NothingHeld { least_per_s: 10.0 };
        assert!(!nothing.is_usage() && nothing.is_miss());
        assert!(RigError::Usage("--rate 3: from 15".to_owned()).is_usage());
    }
}
