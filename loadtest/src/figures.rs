//! Figures are the numbers of the scorecard, each a pure function of the evidence.
//!
//! Every figure is computed in every scenario; a scenario's targets only draw the lines. The hard
//! gates have their lines everywhere.

mod calls;
mod gates;
mod images;
mod kinds;
mod parity;
mod recovery;
mod soak;
mod speed;

use crate::evidence::Evidence;
use crate::evidence::Subject;
use crate::figures::kinds::KINDS;
use crate::figures::kinds::Kind;
use crate::outcome::Figure;
use crate::outcome::FigureVerdict;
use crate::outcome::Limit;
use crate::outcome::Op;
use crate::outcome::WELL_BEFORE;
use crate::scenario::PolicyKind;
use crate::scenario::Scenario;

pub use crate::figures::parity::attribution;

/// A number and how many observations it rests on.
type Measured = (Option<f64>, usize);

/// The ids of all figures.
pub const IDS: [&str; KINDS.len()] = {
    let mut ids = [""; KINDS.len()];
    let mut n = 0;
    while n < ids.len() {
        #[expect(clippy::indexing_slicing, reason = "both have the same length, at compile time")]
        {
            ids[n] = KINDS[n].id;
        }
        n += 1;
    }
    ids
};

/// The figure of a search: the highest rate that a gate holds.
pub const SUSTAINED: &str = "sustained_per_s";

/// On which side of any line the good of a figure is, also where it is held to none.
#[must_use]
pub fn good_side(id: &str) -> Op {
    match KINDS.iter().find(|kind| kind.id == id) {
        Some(kind) => kind.good,
        None if id == SUSTAINED => Op::AtLeast,
        None => Op::AtMost,
    }
}

/// How late the rig itself was: more than its line, and its other latencies mean nothing.
const RIG_LATE: &str = "rig_late_p99_ms";

/// The line of [`RIG_LATE`], milliseconds.
pub(crate) const RIG_LATE_AT_MOST_MS: f64 = 25.0;

/// The deadline that the lines of scenarios without one of their own are drawn for.
const DRAWN_FOR_MS: u64 = 5_000;

/// The lines that hold in every scenario.
const GATES: [(&str, Limit); 11] = [
    ("F1", Limit::at_most(0.0)),
    ("F2", Limit::at_most(0.0)),
    ("F3", Limit::at_most(600.0)),
    // In MB and not as a share: what an allocator keeps after a rush, pages that hold little, does not
    // shrink with what the gate needs at rest. A leak of every image's bytes would be beyond it within seconds.
    ("F3_back", Limit::at_most(40.0)),
    ("F4", Limit::at_most(0.0)),
    ("F5", Limit::at_least(1.0)),
    ("joined", Limit::at_least(1.0)),
    ("crossed", Limit::at_most(0.0)),
    (RIG_LATE, Limit::at_most(RIG_LATE_AT_MOST_MS)),
    ("invalid_verdicts", Limit::at_most(0.0)),
    (WELL_BEFORE, Limit::at_least(0.9)),
];

/// Every figure of this evidence, held to the lines of its scenario and to the hard gates.
///
/// A figure that is neither measured nor held to a line is left out.
#[must_use]
pub fn figures(evidence: &Evidence) -> Vec<Figure> {
    KINDS.iter().filter_map(|kind| figure(kind, evidence)).collect()
}

fn figure(kind: &Kind, evidence: &Evidence) -> Option<Figure> {
    let line = evidence.scenario.targets.iter().find(|line| line.figure == kind.id);
    let gate = GATES.iter().find(|(id, _)| *id == kind.id).map(|(_, limit)| *limit);
    let limit = line.and_then(|line| line.limit(evidence.is_short)).or(gate);
    let limit = limit.filter(|_| is_held(kind.id, evidence));
    let is_knowable = is_knowable(kind.id, evidence.subject);
    let (value, n) = if is_knowable { (kind.measure)(evidence) } else { (None, 0) };
    if value.is_none() && limit.is_none() {
        return None;
    }
    let verdict = match limit {
        _ if !is_knowable || !applies(kind.id, evidence) => FigureVerdict::NotApplicable,
        None => FigureVerdict::Stated,
        Some(limit) => limit.judge(value),
    };
    Some(Figure {
        id: kind.id.to_owned(),
        says: kind.says.to_owned(),
        value,
        unit: kind.unit,
        limit,
        verdict,
        oracle: line.and_then(|line| line.oracle),
        sim: line.and_then(|line| line.sim),
        published: line.and_then(|line| line.published.clone()),
        n: u64::try_from(n).unwrap_or(u64::MAX),
    })
}

/// A line of this scenario whose figure there is not: it would hold nobody to anything.
#[must_use]
pub fn unknown_line(scenario: &Scenario) -> Option<&str> {
    let lines = scenario.targets.iter().map(|line| &line.figure);
    let named = lines.chain(&scenario.expected_to_fail).chain(&scenario.may_fail);
    let is_known = |id: &&String| KINDS.iter().any(|kind| kind.id == id.as_str());
    named.filter(|id| !is_known(id)).map(String::as_str).next()
}

/// Whether a figure is held to its line, or only stated.
///
/// Where answers are read as they come, waits are held to the healthy p95 *without* that, by figures
/// of their own: in times of a healthy p95 that streaming itself made 40 % shorter, a gate would be
/// asked more the better it is. The short form also runs where builds do, and there the rig may be late.
/// The lines are drawn for the deadline of [`DRAWN_FOR_MS`]: under another one the gates hold and no
/// others.
fn is_held(id: &str, evidence: &Evidence) -> bool {
    let is_own = evidence.scenario.deadline_ms.is_some();
    let is_gate = GATES.iter().any(|(gate, _)| *gate == id);
    if evidence.deadline_ms != DRAWN_FOR_MS && !is_own && !is_gate {
        return false;
    }
    match id {
        "p95" | "onset_p95" => !evidence.scenario.streamed,
        RIG_LATE => !evidence.is_short,
        "F3_back" => !evidence.is_short && 0.0 < evidence.scenario.seconds.recovery,
        _ => true,
    }
}

/// Whether anybody can know a figure of what was driven: some are known from the target's own answers,
/// metrics, records or process alone. What the rig or the providers' logs know is known of everyone.
fn is_knowable(id: &str, subject: Subject) -> bool {
    match id {
        "F3" | "F3_back" | "memory_from_fresh" | "exit_s" | "turned_away" | "missing_records"
        | "unrecorded" | "crossed" | "down_s" => subject == Subject::OwnGate,
        "joined" | "invalid_verdicts" => subject.is_gate(),
        "reject_shift" | "reject_shift_by_routing" => subject.is_gate(),
        "opens" | "false_opens" | "overhead_p50_ms" | "overhead_p99_ms" => subject.is_gate(),
        // only gates are told, and only they keep a record
        "after_client_deadline" | "started_after_hang_up" => subject.is_gate(),
        "breaker_score_rise" | "loop_lag_p99_ms" | "kept_of_stalled" => subject.is_gate(),
        "back_s" | "reopened_s" => subject == Subject::OwnGate,
        "F5" | "F6" | "in_flight" | "primary_share" | "primary_share_healthy" => {
            subject.tells_calls()
        }
        // a provider that refuses connections logs nothing
        "calls_to_a_after_3s" => subject.tells_calls(),
        _ => true,
    }
}

/// Whether a figure's line makes sense for how the scenario was driven.
fn applies(id: &str, evidence: &Evidence) -> bool {
    match id {
        RIG_LATE => evidence.scenario.closed_loop.is_none(),
        // a view that is made anew is no file that was sent
        "crossed" => evidence.scenario.policy == PolicyKind::PixelFree,
        "p95_of_plain" | "onset_of_plain" | "healthy_of_plain" | "kept_of_stalled" => {
            evidence.scenario.streamed
        }
        // a gate that ran already was given each judge's own line
        "reject_shift" | "reject_shift_by_routing" => {
            evidence.scenario.calibrated || evidence.subject == Subject::OwnGate
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests;
