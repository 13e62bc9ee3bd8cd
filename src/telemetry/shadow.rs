//! Shadows as they are counted: what was asked behind verdicts, what was not, and how judges agree.

use metrics::{counter, gauge};

use crate::domain::Attempt;
use crate::telemetry::{add_cost, add_tokens, attempts, whole};

/// Why nobody was asked behind a verdict after all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unasked {
    /// The gate was nearly full, had a line, or images waited for the judge.
    Crowded,
    /// As many images waited as may.
    QueueFull,
    /// As much memory was held as may be.
    Bytes,
    /// The judge's breaker was not closed.
    Breaker,
    /// The judge had no room to spare.
    Busy,
    /// The day's money was spent.
    Budget,
    /// Nothing more can be stored, so nothing is paid for.
    NoRoom,
    /// As many images were shown for one alarm as may be, or for so long.
    BurstOver,
    /// A judge that was away came back too late, or was shown too late what it missed.
    TooOld,
    /// The policy asks otherwise by now.
    PolicyChanged,
    /// There is no such judge, or the question could not be put.
    Unasked,
    /// What was said could not be stored.
    Unwritten,
}

impl Unasked {
    /// Every reason.
    pub const ALL: [Self; 12] = [
        Self::Crowded,
        Self::QueueFull,
        Self::Bytes,
        Self::Breaker,
        Self::Busy,
        Self::Budget,
        Self::NoRoom,
        Self::BurstOver,
        Self::TooOld,
        Self::PolicyChanged,
        Self::Unasked,
        Self::Unwritten,
    ];

    /// The word used in metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Crowded => "crowded",
            Self::QueueFull => "queue_full",
            Self::Bytes => "bytes",
            Self::Breaker => "breaker",
            Self::Busy => "busy",
            Self::Budget => "budget",
            Self::NoRoom => "no_room",
            Self::BurstOver => "burst_over",
            Self::TooOld => "too_old",
            Self::PolicyChanged => "policy_changed",
            Self::Unasked => "unasked",
            Self::Unwritten => "unwritten",
        }
    }
}

/// The cells of a pair of judges.
const CELLS: [&str; 4] = ["both", "a_only", "b_only", "neither"];

/// Registers the series that do not depend on a policy.
pub(crate) fn register() {
    for why in Unasked::ALL {
        dropped(why).increment(0);
    }
    set_waiting(0, 0, 0);
}

/// Registers the pairs of `shadow` with each of `judges`.
pub fn register_pairs<'a>(shadow: &str, judges: impl Iterator<Item = &'a str>) {
    for judge in judges.filter(|judge| *judge != shadow) {
        let (a, b) = if judge < shadow { (judge, shadow) } else { (shadow, judge) };
        CELLS.iter().for_each(|cell| pairs(a, b, cell).increment(0));
    }
}

/// Counts somebody who was not asked behind a verdict.
pub fn count_dropped(why: Unasked) {
    dropped(why).increment(1);
}

/// Counts a call behind a verdict and its bill. Its time is in no histogram: nobody waited for it.
pub fn count_shadow(attempt: &Attempt) {
    let judge = attempt.judge.name.as_str();
    attempts(judge, attempt.route, attempt.outcome).increment(1);
    add_cost(judge, attempt.cost);
    add_tokens(judge, attempt.tokens);
}

/// Counts an image that two judges judged, by which of them would not pass it.
pub fn count_pair(first: (&str, bool), second: (&str, bool)) {
    let ((a, a_rejects), (b, b_rejects)) =
        if first.0 < second.0 { (first, second) } else { (second, first) };
    let [both, a_only, b_only, neither] = CELLS;
    let cell = match (a_rejects, b_rejects) {
        (true, true) => both,
        (true, false) => a_only,
        (false, true) => b_only,
        (false, false) => neither,
    };
    pairs(a, b, cell).increment(1);
}

/// Sets how many images wait to be shown behind their verdicts, the memory of all that wait, and the
/// calls under way.
pub fn set_waiting(queued: usize, bytes: u64, in_flight: u32) {
    gauge!("vlmgate_shadow_queued").set(whole(queued));
    #[expect(clippy::cast_precision_loss, reason = "bytes of pictures")]
    gauge!("vlmgate_shadow_bytes").set(bytes as f64);
    gauge!("vlmgate_shadow_in_flight").set(f64::from(in_flight));
}

fn dropped(why: Unasked) -> metrics::Counter {
    counter!("vlmgate_shadow_dropped_total", "reason" => why.label())
}

fn pairs(a: &str, b: &str, cell: &'static str) -> metrics::Counter {
    counter!("vlmgate_shadow_pairs_total", "a" => a.to_owned(), "b" => b.to_owned(),
        "cell" => cell)
}
