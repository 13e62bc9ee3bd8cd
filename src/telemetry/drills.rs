//! Drills as they are counted.

use std::time::Duration;

use metrics::{counter, gauge};

use crate::clock::Timestamp;
use crate::domain::drill::DrillResult;

/// The result of a drill that did not begin.
const REFUSED: &str = "refused";

/// Registers the series of drills for `judges`.
pub fn register_drills<'a>(judges: impl Iterator<Item = &'a str>) {
    for judge in judges {
        for result in DrillResult::ALL.map(DrillResult::label).into_iter().chain([REFUSED]) {
            drills(judge, result).increment(0);
        }
        set_drill_running(judge, false);
    }
}

/// Counts a drill that ended.
pub fn count_drill(judge: &str, result: DrillResult) {
    drills(judge, result.label()).increment(1);
}

/// Counts a drill that was refused.
pub fn count_drill_refused(judge: &str) {
    drills(judge, REFUSED).increment(1);
}

/// Says whether a drill of `judge` runs.
pub fn set_drill_running(judge: &str, is_running: bool) {
    let running = if is_running { 1.0 } else { 0.0 };
    gauge!("vlmgate_drill_running", "judge" => judge.to_owned()).set(running);
}

/// Says that a drill of `judge` passed.
pub fn set_drill_passed(judge: &str, at: Timestamp) {
    let seconds = Duration::from_micros(at.0.unsigned_abs()).as_secs_f64();
    gauge!("vlmgate_drill_last_success_timestamp_seconds", "judge" => judge.to_owned())
        .set(seconds);
}

fn drills(judge: &str, result: &'static str) -> metrics::Counter {
    counter!("vlmgate_drills_total", "judge" => judge.to_owned(), "result" => result)
}
