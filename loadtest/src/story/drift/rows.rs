//! The rows of a step: what had to be told, beside what was told and what was so.

use std::time::Duration;

use crate::story::drift::steps::Expected;
use crate::story::drift::steps::Heard;
use crate::story::table::End;
use crate::story::table::Row;
use crate::story::traffic::Sent;
use crate::story::words::Told;

/// Characters of a reason that fit a cell.
const MOST_WHY: usize = 60;

/// The first event, and the size that it states.
pub(super) fn event_row(expected: &Expected, event: &Told) -> Row {
    let row = told_row(expected, event);
    let is_covered = event.effect.covers(expected.truth);
    let is_held = row.end == End::Held && is_covered;
    let asserted = format!("first event {}, its interval covers the truth", expected.label);
    Row { asserted, end: End::of(is_held), ..row }
}

/// The first event.
pub(super) fn told_row(expected: &Expected, event: &Told) -> Row {
    let after_ms = event.at_ms().saturating_sub(expected.began_ms);
    Row {
        step: expected.step,
        asserted: format!("first event {}", expected.label),
        told: event.label.clone(),
        effect: Some(event.effect),
        truth: Some(expected.truth),
        seconds: Some(Duration::from_millis(after_ms).as_secs_f64()),
        end: End::of(event.label == expected.label && expected.began_ms <= event.at_ms()),
    }
}

/// No event at all.
pub(super) fn silent(step: &'static str, label: &str) -> Row {
    Row {
        step,
        asserted: format!("first event {label}"),
        told: "nothing".to_owned(),
        effect: None,
        truth: None,
        seconds: None,
        end: End::Missed,
    }
}

/// No other event anywhere: on `/v1/drift`, on `/v1/events`, in the metrics.
pub(super) fn quiet_row(step: &'static str, label: &str, heard: &Heard) -> Row {
    let listed = heard.events.iter().map(|event| event.label.as_str());
    let counted = heard.counted.iter().map(|(label, _)| label.as_str());
    let streamed = heard.streamed.iter().map(String::as_str);
    let others: Vec<&str> =
        listed.chain(counted).chain(streamed).filter(|one| *one != label).collect();
    let is_everywhere = !heard.streamed.is_empty() && !heard.counted.is_empty();
    let told = match (others.is_empty(), is_everywhere) {
        (true, true) => format!("{label} on all three"),
        (true, false) => "not told on /v1/events or not counted in /metrics".to_owned(),
        (false, _) => others.join(", "),
    };
    Row {
        step,
        asserted: "/v1/drift, /v1/events and /metrics tell it and no other event".to_owned(),
        told,
        effect: None,
        truth: None,
        seconds: None,
        end: End::of(others.is_empty() && is_everywhere),
    }
}

/// Pictures got their verdicts: what the gate had no room for says nothing of drift, as long as it is
/// little.
pub(super) fn lost_row(step: &'static str, sent: &Sent) -> Row {
    let why: String = sent.why.iter().flat_map(|why| why.chars()).take(MOST_WHY).collect();
    let why = if why.is_empty() { why } else { format!(": {why}") };
    Row {
        step,
        asserted: "of a hundred pictures at most one has no verdict".to_owned(),
        told: format!("{} answered, {} lost{why}", sent.answered, sent.lost),
        effect: None,
        truth: None,
        seconds: None,
        end: End::of(sent.lost * 100 <= sent.answered && sent.answered != 0),
    }
}

/// The step that needs a command that this gate lacks.
pub(super) fn skipped() -> Row {
    Row {
        step: "calibrated",
        asserted: "with calibrated lines the outage shifts half a point at most".to_owned(),
        told: "SKIPPED: this gate has no `vlmgate calibrate`".to_owned(),
        effect: None,
        truth: None,
        seconds: None,
        end: End::Skipped,
    }
}
