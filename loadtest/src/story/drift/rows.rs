//! The rows of a step: what had to be told, beside what was told and what was so.

use std::time::Duration;

use crate::story::drift::shifted::Shifted;
use crate::story::drift::steps::Expected;
use crate::story::drift::steps::Heard;
use crate::story::table::End;
use crate::story::table::Row;
use crate::story::traffic::Sent;
use crate::story::words::Told;

/// The shift that calibrated lines may leave.
const MOST_SHIFT: f64 = 0.005;
/// Images that all judged, of which lines are learnt in the whole form.
const LEAST_PAIRED: usize = 8_000;
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

/// What others shift with calibrated lines, on images that these were not learnt of; `truth` is what
/// the law itself says. The short form has few images: there its interval may reach what is allowed.
pub(super) fn shift_row(shifted: &Shifted, truth: f64, (paired, is_short): (usize, bool)) -> Row {
    let effect = shifted.effect();
    let is_held = effect.is_some_and(|shift| {
        if is_short {
            shift.low <= MOST_SHIFT && -MOST_SHIFT <= shift.high
        } else {
            LEAST_PAIRED <= paired && shift.effect.abs() <= MOST_SHIFT
        }
    });
    Row {
        step: "calibrated",
        asserted: "the outage shifts 0.5 points at most, paired on images not calibrated on"
            .to_owned(),
        told: format!(
            "{} images of another judge beside the primary's known answers; lines of {paired} others",
            shifted.images()
        ),
        effect,
        truth: Some(truth),
        seconds: None,
        end: End::of(is_held),
    }
}

/// The first event, whatever its size.
fn told_row(expected: &Expected, event: &Told) -> Row {
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
pub(super) fn skipped(end: End) -> Row {
    Row {
        step: "calibrated",
        asserted: "with calibrated lines the outage shifts half a point at most".to_owned(),
        told: "SKIPPED: this gate has no `vlmgate calibrate`".to_owned(),
        effect: None,
        truth: None,
        seconds: None,
        end,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::story::words::Effect;

    fn told(effect: Effect) -> Row {
        let label = "provider_drift:openai-mini".to_owned();
        let event = Told {
            at: "2026-11-21T14:02:00Z".to_owned(),
            onset: "2026-11-21T14:01:00Z".to_owned(),
            label: label.clone(),
            severity: "major".to_owned(),
            effect,
            sentence: String::new(),
            low_confidence: false,
        };
        let began_ms = event.at_ms() - 60_000;
        event_row(&Expected { step: "provider", label, truth: 0.046, began_ms }, &event)
    }

    #[test]
    fn the_right_label_with_the_wrong_size_is_missed() {
        assert_eq!(told(Effect { effect: 0.047, low: 0.032, high: 0.062 }).end, End::Held);
        assert_eq!(told(Effect { effect: 0.010, low: 0.002, high: 0.018 }).end, End::Missed);
    }

    #[test]
    fn lines_of_too_few_images_are_not_calibrated_on_many() {
        let mut shifted = Shifted::default();
        (0..7_000).for_each(|n| shifted.see(n < 570, n < 560));
        let end = |paired, is_short| shift_row(&shifted, 0.0, (paired, is_short)).end;
        assert_eq!(end(12_000, false), End::Held);
        assert_eq!(end(7_999, false), End::Missed);
        assert_eq!(end(3_000, true), End::Held);
        assert_eq!(shift_row(&Shifted::default(), 0.0, (12_000, false)).end, End::Missed);
        (0..1_000).for_each(|_| shifted.see(true, false));
        assert_eq!(shift_row(&shifted, 0.0, (12_000, true)).end, End::Missed);
    }
}
