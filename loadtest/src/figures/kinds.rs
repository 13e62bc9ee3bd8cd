//! The kinds of figures: what each is called, how it is computed, and on which side of a line the good is.

use crate::evidence::Evidence;
use crate::figures::Measured;
use crate::figures::RIG_LATE;
use crate::figures::calls;
use crate::figures::gates;
use crate::figures::images;
use crate::figures::parity;
use crate::figures::recovery;
use crate::figures::soak;
use crate::figures::speed;
use crate::outcome::Op;
use crate::outcome::Unit;
use crate::outcome::WELL_BEFORE;

/// A figure's id, unit, meaning and computation.
pub(super) struct Kind {
    pub(super) id: &'static str,
    pub(super) unit: Unit,
    pub(super) says: &'static str,
    pub(super) measure: fn(&Evidence) -> Measured,
    /// On which side of any line the good is, also where no line is drawn.
    pub(super) good: Op,
}

impl Kind {
    /// Of this figure more is better, as it is not of most.
    const fn more_is_better(self) -> Self {
        Self { good: Op::AtLeast, ..self }
    }
}

const fn kind(
    id: &'static str,
    unit: Unit,
    says: &'static str,
    measure: fn(&Evidence) -> Measured,
) -> Kind {
    Kind { id, unit, says, measure, good: Op::AtMost }
}

/// Every figure, in the order of the report.
pub(super) const KINDS: [Kind; 76] = [
    kind("F1", Unit::Count, "answers later than the deadline and 50 ms", gates::late),
    kind(
        "F2",
        Unit::Count,
        "requests without an answer, double answers, broken answers, panics, a bad end",
        gates::lost,
    ),
    kind("F3", Unit::Mb, "memory of the gate at its most", gates::memory),
    kind("F3_back", Unit::Mb, "memory after recovery above that when healthy", gates::memory_back),
    kind(
        "F4",
        Unit::Count,
        "calls open at the providers 10 s after the load stopped",
        gates::leaked,
    ),
    kind("F5", Unit::Share, "answers that say who judged, which calls, and why", gates::attributed)
        .more_is_better(),
    kind(
        "crossed",
        Unit::Count,
        "judged answers that were given for another caller's picture",
        gates::crossed,
    ),
    kind(
        "joined",
        Unit::Share,
        "judged answers whose call stands in their judge's own log",
        gates::joined,
    )
    .more_is_better(),
    kind("F6", Unit::Count, "longest queue before the gate", gates::queue),
    kind(
        RIG_LATE,
        Unit::Ms,
        "what the rig itself was late in sending: 99 of 100 requests or less",
        gates::rig_late,
    ),
    kind(
        "rig_late_max_ms",
        Unit::Ms,
        "the most that the rig itself was late in sending",
        gates::rig_latest,
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
        "until 3 s have p95 <= 1.35 x healthy and 85 % primary verdicts (where answers say whose)",
        recovery::recovery,
    ),
    kind(
        "back_s",
        Unit::S,
        "from when a killed gate is up until 3 s have 99 % verdicts and p95 <= 2 x healthy",
        recovery::back,
    ),
    kind(
        "reopened_s",
        Unit::S,
        "from when a killed gate is up, its breakers closed, until the primary's opens",
        calls::reopened_s,
    ),
    kind(
        "verdict_share",
        Unit::Share,
        "requests of the fault with a judge's verdict by the deadline",
        gates::verdict_share,
    )
    .more_is_better(),
    kind(
        "still_judged",
        Unit::Share,
        "the same, of a control that must miss it and yet not fall to nothing",
        gates::still_judged,
    )
    .more_is_better(),
    kind(
        "after5_verdict_share",
        Unit::Share,
        "the same from 5 s into the fault",
        gates::after5_verdict_share,
    )
    .more_is_better(),
    kind(
        WELL_BEFORE,
        Unit::Share,
        "healthy requests with a judge's verdict by the deadline",
        gates::healthy_verdict_share,
    )
    .more_is_better(),
    kind(
        "primary_share_healthy",
        Unit::Share,
        "healthy verdicts from the primary",
        calls::primary_share_healthy,
    )
    .more_is_better(),
    kind(
        "primary_share",
        Unit::Share,
        "verdicts in the fault from the primary",
        calls::primary_share,
    )
    .more_is_better(),
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
        "after5_probes_per_image",
        Unit::PerImage,
        "probes an image from 5 s into the fault",
        calls::after5_probes,
    ),
    kind(
        "kept_of_stalled",
        Unit::Share,
        "calls that stalled when their waiting image had been sent its scores, and that judged it",
        images::kept_of_stalled,
    )
    .more_is_better(),
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
    )
    .more_is_better(),
    kind(
        "shed_share",
        Unit::Share,
        "requests of the fault that were refused at once",
        gates::shed_share,
    ),
    kind("shed_p99_ms", Unit::Ms, "p99 of the time to be refused", gates::shed_p99),
    kind("shed_p50_ms", Unit::Ms, "median of the time to be refused", gates::shed_p50),
    kind("in_flight", Unit::Count, "most checks in the gate at once", gates::in_flight)
        .more_is_better(),
    kind(
        "memory_from_fresh",
        Unit::Ratio,
        "memory after recovery, of that before the first surge",
        gates::memory_from_fresh,
    ),
    kind(
        "refused_p99_ms",
        Unit::Ms,
        "p99 of the time to be refused, of those who did not wait in line",
        gates::refused_p99,
    ),
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
        "turned_away",
        Unit::Count,
        "requests that came when the target had closed its door",
        gates::turned_away,
    )
    .more_is_better(),
    kind(
        "outlived_deadline",
        Unit::Count,
        "calls that went on after the deadline of their image",
        images::outlived_deadline,
    ),
    kind(
        "started_after_hang_up",
        Unit::Count,
        "calls begun after their caller had hung up",
        images::started_after_hang_up,
    ),
    kind(
        "ran_on",
        Unit::Share,
        "images left with a call under way that had one which said its scores all the same",
        images::ran_on,
    )
    .more_is_better(),
    kind(
        "breaker_score_rise",
        Unit::Count,
        "rise of the mean evidence against any judge from the healthy phase to the fault's",
        calls::breaker_score_rise,
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
        "verdicts that were answered and that the store does not know as they were",
        gates::looked_up_missing,
    ),
    kind(
        "unrecorded",
        Unit::Count,
        "verdicts that were answered before their record was safe",
        gates::unrecorded,
    ),
    kind("down_s", Unit::S, "from SIGKILL until the target was up again", gates::down_s),
    kind(
        "hidden_wait",
        Unit::Ratio,
        "p99 from sending, of the p99 from the scheduled time",
        speed::hidden_wait,
    )
    .more_is_better(),
    kind(
        "healthy_hidden_wait",
        Unit::Ratio,
        "the same before anything went wrong",
        speed::healthy_hidden_wait,
    )
    .more_is_better(),
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
    kind(
        "seen_overhead_p50_ms",
        Unit::Ms,
        "what callers waited beyond the one call of their image: half of the images or less",
        speed::seen_overhead_p50,
    ),
    kind(
        "seen_overhead_p99_ms",
        Unit::Ms,
        "what callers waited beyond the one call of their image: 99 of 100 images or less",
        speed::seen_overhead_p99,
    ),
    kind(
        "loop_lag_p99_ms",
        Unit::Ms,
        "lateness of the gate's event loop, healthy: 99 of 100 looks or less",
        speed::loop_lag_p99,
    ),
    kind(
        "p95_drift",
        Unit::Ratio,
        "rise of the p95 outside faults from the first quarter or hour to the last",
        soak::p95_drift,
    ),
    kind(
        "secondary_share_outside",
        Unit::Share,
        "verdicts of others than the primary, outside faults and the 10 s after them",
        soak::secondary_share,
    ),
];
