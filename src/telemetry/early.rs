//! Early answers as they are counted: whether a judgement left before its end, and how that ended.

use std::time::Duration;

use metrics::counter;

use crate::domain::{AttemptOutcome, LateAttempt};
use crate::telemetry::{UNTIL_END, add_cost, add_tokens, histogram_of_attempts};

/// What became of a judgement that could leave before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EarlyResult {
    /// It left at its scores.
    Early,
    /// It streamed, and left at its end all the same.
    Waited,
    /// It had left, and its whole answer was not the one that its beginning promised.
    Mismatched,
    /// It had left, and the provider's count said then that its model never saw the image.
    BlindLate,
    /// It had left, and its end never came.
    Truncated,
}

impl EarlyResult {
    /// Every result.
    pub const ALL: [Self; 5] =
        [Self::Early, Self::Waited, Self::Mismatched, Self::BlindLate, Self::Truncated];

    /// The word used in metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Early => "early",
            Self::Waited => "waited",
            Self::Mismatched => "mismatched",
            Self::BlindLate => "blind_late",
            Self::Truncated => "truncated",
        }
    }
}

/// Counts what became of a judgement that could leave before its end.
pub fn count_early(judge: &str, result: EarlyResult) {
    early_answers(judge, result).increment(1);
}

/// Counts what an attempt came to after its judgement had left.
pub fn count_late(judge: &str, late: &LateAttempt) {
    if let Some(ended_ms) = late.ended_ms {
        let took = Duration::from_millis(ended_ms).as_secs_f64();
        histogram_of_attempts(judge, AttemptOutcome::Judged, UNTIL_END).record(took);
    }
    add_cost(judge, late.cost);
    add_tokens(judge, late.tokens);
}

/// Registers every series of `judge`.
pub(crate) fn register(judge: &str) {
    for result in EarlyResult::ALL {
        early_answers(judge, result).increment(0);
    }
}

fn early_answers(judge: &str, result: EarlyResult) -> metrics::Counter {
    counter!("vlmgate_early_answers_total", "judge" => judge.to_owned(),
        "result" => result.label())
}
