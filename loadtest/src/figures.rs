//! Figures are the numbers of the scorecard, each a pure function of the evidence.
//!
//! Every figure is computed in every scenario; a scenario's targets only draw the lines. The hard
//! gates have their lines everywhere.

mod calls;
mod gates;
mod parity;
mod recovery;
mod speed;

use crate::evidence::Evidence;
use crate::outcome::Figure;
use crate::outcome::FigureVerdict;
use crate::outcome::Limit;
use crate::outcome::Unit;
use crate::outcome::WELL_BEFORE;

pub use crate::figures::parity::attribution;

/// A number and how many observations it rests on.
type Measured = (Option<f64>, usize);

/// A figure's id, unit, meaning and computation.
struct Kind {
    id: &'static str,
    unit: Unit,
    says: &'static str,
    measure: fn(&Evidence) -> Measured,
}

const fn kind(
    id: &'static str,
    unit: Unit,
    says: &'static str,
    measure: fn(&Evidence) -> Measured,
) -> Kind {
    Kind { id, unit, says, measure }
}

/// Every figure, in the order of the report.
const KINDS: [Kind; 56] = [
    kind("F1", Unit::Count, "answers later than the deadline and 50 ms", gates::late),
    kind(
        "F2",
        Unit::Count,
        "requests without an answer, double answers, broken answers",
        gates::lost,
    ),
    kind("F3", Unit::Mb, "memory of the gate at its most", gates::memory),
    kind("F3_back", Unit::Ratio, "memory after recovery, of that when healthy", gates::memory_back),
    kind(
        "F4",
        Unit::Count,
        "calls open at the providers 10 s after the load stopped",
        gates::leaked,
    ),
    kind("F5", Unit::Share, "answers that say who judged, which calls, and why", gates::attributed),
    kind(
        "joined",
        Unit::Share,
        "judged answers whose call stands in their judge's own log",
        gates::joined,
    ),
    kind("F6", Unit::Count, "longest queue before the gate", gates::queue),
    kind(
        RIG_LATE,
        Unit::Ms,
        "what the rig itself was late in sending: 99 of 100 requests or less",
        gates::rig_late,
    ),
    kind("healthy_p50_ms", Unit::Ms, "healthy p50", speed::healthy_p50),
    kind("healthy_p95_ms", Unit::Ms, "healthy p95", speed::healthy_p95),
    kind("healthy_p99_ms", Unit::Ms, "healthy p99", speed::healthy_p99),
    kind(
        "tail_ratio",
        Unit::Ratio,
        "healthy p99, of the primary's own p99 without a hedge",
        speed::tail_ratio,
    ),
    kind(
        "healthy_of_plain",
        Unit::TimesHealthy,
        "healthy p95, of the healthy p95 without streaming",
        speed::healthy_of_plain,
    ),
    kind("p95", Unit::TimesHealthy, "p95 in the fault, of the healthy p95", speed::p95),
    kind(
        "p95_of_plain",
        Unit::TimesHealthy,
        "p95 in the fault, of the healthy p95 without streaming",
        speed::p95_of_plain,
    ),
    kind("p99", Unit::TimesHealthy, "p99 in the fault, of the healthy p95", speed::p99),
    kind(
        "onset_p95",
        Unit::TimesHealthy,
        "p95 of the fault's first 10 s, of the healthy p95",
        speed::onset,
    ),
    kind(
        "onset_of_plain",
        Unit::TimesHealthy,
        "p95 of the fault's first 10 s, of the healthy p95 without streaming",
        speed::onset_of_plain,
    ),
    kind(
        "after5_p95",
        Unit::TimesHealthy,
        "p95 from 5 s into the fault, of the healthy p95",
        speed::after5,
    ),
    kind("after5_p95_ms", Unit::Ms, "p95 from 5 s into the fault", speed::after5_ms),
    kind(
        "verdict_p95",
        Unit::TimesHealthy,
        "p95 of judged answers in the fault, of the healthy p95",
        speed::verdicts_p95,
    ),
    kind(
        "recovery_s",
        Unit::S,
        "until 3 s have p95 <= 1.35 x healthy and 85 % primary verdicts",
        recovery::recovery,
    ),
    kind(
        "verdict_share",
        Unit::Share,
        "requests of the fault with a judge's verdict by the deadline",
        gates::verdict_share,
    ),
    kind(
        "still_judged",
        Unit::Share,
        "the same, of a control that must miss it and yet not fall to nothing",
        gates::still_judged,
    ),
    kind(
        "after5_verdict_share",
        Unit::Share,
        "the same from 5 s into the fault",
        gates::after5_verdict_share,
    ),
    kind(
        WELL_BEFORE,
        Unit::Share,
        "healthy requests with a judge's verdict by the deadline",
        gates::healthy_verdict_share,
    ),
    kind(
        "primary_share_healthy",
        Unit::Share,
        "healthy verdicts from the primary",
        calls::primary_share_healthy,
    ),
    kind(
        "primary_share",
        Unit::Share,
        "verdicts in the fault from the primary",
        calls::primary_share,
    ),
    kind(
        "extra_calls_healthy",
        Unit::Share,
        "calls beyond one an image, healthy",
        calls::extra_healthy,
    ),
    kind("extra_calls", Unit::Share, "calls beyond one an image, in the fault", calls::extra),
    kind("calls_per_image", Unit::PerImage, "calls an image in the fault", calls::per_image),
    kind(
        "after5_calls_per_image",
        Unit::PerImage,
        "calls an image from 5 s into the fault, probes apart",
        calls::after5_per_image,
    ),
    kind(
        "calls_to_a_after_3s",
        Unit::Share,
        "calls to the primary from 3 s into the fault, of the arrivals",
        calls::to_a_after_3s,
    ),
    kind(
        "calls_into_a",
        Unit::Ratio,
        "calls to the primary in the fault, of 1.5 s of arrivals and 2 % of the rest",
        calls::into_a,
    ),
    kind("share_429", Unit::Share, "calls in the fault that were answered 429", calls::share_429),
    kind(
        "calls_before_retry_after",
        Unit::Count,
        "calls begun before the time that a 429 asked for was over",
        calls::before_retry_after,
    ),
    kind(
        "false_opens",
        Unit::Count,
        "breakers that opened while all was healthy",
        calls::false_opens,
    ),
    kind(
        "opens",
        Unit::Count,
        "times that the primary's breaker opened, from the fault on",
        calls::opens,
    ),
    kind("billed_share", Unit::Share, "calls that a real provider would charge", calls::billed),
    kind(
        "answered_after_cancel",
        Unit::Count,
        "calls whose caller had left and that the model finished for nobody",
        calls::cancelled_and_billed,
    ),
    kind(
        "goodput",
        Unit::Share,
        "verdicts in the fault, of what the providers' slots can give",
        calls::goodput,
    ),
    kind(
        "shed_share",
        Unit::Share,
        "requests of the fault that were refused at once",
        gates::shed_share,
    ),
    kind("shed_p99_ms", Unit::Ms, "p99 of the time to be refused", gates::shed_p99),
    kind(
        "invalid_verdicts",
        Unit::Count,
        "verdicts that contradict what the judge said of the image",
        parity::invalid,
    ),
    kind(
        "reject_shift",
        Unit::Points,
        "reject rate in the fault, paired, against the primary's on the same images",
        parity::shift,
    ),
    kind(
        "reject_shift_by_routing",
        Unit::Points,
        "of it, what the judges make of the images that went to them instead of the primary",
        parity::shift_by_routing,
    ),
    kind("exit_s", Unit::S, "from SIGTERM to the end of the process", gates::exit_s),
    kind(
        "outlived_deadline",
        Unit::Count,
        "calls that went on after the deadline of their image",
        calls::outlived_deadline,
    ),
    kind(
        "started_after_hang_up",
        Unit::Count,
        "calls begun after their caller had hung up",
        gates::looked_up_started,
    ),
    kind(
        "after_client_deadline",
        Unit::Count,
        "answers later than the caller's own deadline and 50 ms",
        gates::after_client_deadline,
    ),
    kind(
        "missing_records",
        Unit::Count,
        "verdicts answered as recorded that the store does not have",
        gates::looked_up_missing,
    ),
    kind(
        "hidden_wait",
        Unit::Ratio,
        "p99 from sending, of the p99 from the scheduled time",
        speed::hidden_wait,
    ),
    kind(
        "healthy_hidden_wait",
        Unit::Ratio,
        "the same before anything went wrong",
        speed::healthy_hidden_wait,
    ),
    kind(
        "overhead_p50_ms",
        Unit::Ms,
        "the gate's own time, healthy: half of the images or less",
        speed::overhead_p50,
    ),
    kind(
        "overhead_p99_ms",
        Unit::Ms,
        "the gate's own time, healthy: 99 of 100 images or less",
        speed::overhead_p99,
    ),
];

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

/// How late the rig itself was: more than its line, and its other latencies mean nothing.
const RIG_LATE: &str = "rig_late_p99_ms";

/// The line of [`RIG_LATE`], milliseconds.
pub(crate) const RIG_LATE_AT_MOST_MS: f64 = 25.0;

/// The deadline that the lines of scenarios without one of their own are drawn for.
const DRAWN_FOR_MS: u64 = 5_000;

/// The lines that hold in every scenario.
const GATES: [(&str, Limit); 9] = [
    ("F1", Limit::at_most(0.0)),
    ("F2", Limit::at_most(0.0)),
    ("F3", Limit::at_most(600.0)),
    ("F4", Limit::at_most(0.0)),
    ("F5", Limit::at_least(1.0)),
    ("joined", Limit::at_least(1.0)),
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
    let (value, n) = (kind.measure)(evidence);
    let applies = applies(kind.id, evidence);
    if value.is_none() && (limit.is_none() || !applies) {
        return None;
    }
    let verdict = match limit {
        _ if !applies => FigureVerdict::NotApplicable,
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
        _ => true,
    }
}

/// Whether a figure's line makes sense for what was driven.
fn applies(id: &str, evidence: &Evidence) -> bool {
    match id {
        "F3" | "F3_back" => evidence.ticks.iter().any(|tick| tick.rss_mb.is_some()),
        "invalid_verdicts" | "reject_shift" | "reject_shift_by_routing" | "joined" => {
            !evidence.lines.is_empty()
        }
        RIG_LATE => evidence.scenario.closed_loop.is_none(),
        "p95_of_plain" | "onset_of_plain" | "healthy_of_plain" => evidence.scenario.streamed,
        _ => true,
    }
}

#[cfg(test)]
mod tests;
