//! The page, as a browser shows it: what stands there in words, read by a script of the page's tests.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::process::Command;
use tokio::time::Instant;
use tokio::time::timeout_at;

use crate::rig::RigError;
use crate::story::POLICY;
use crate::story::drift::steps::Expected;
use crate::story::table::End;
use crate::story::table::Row;
use crate::story::words::Effect;
use crate::story::words::moment;

/// The longest that opening a browser and reading two views may take, on a busy machine too.
const READ_WITHIN: Duration = Duration::from_secs(120);
/// What rounding to a tenth of a point may hide of an interval's ends.
const ROUNDED: f64 = 0.000_5;

/// What the page said.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Shown {
    /// The events on *Now*, a line each.
    pub(super) events: Vec<String>,
    /// The answer of *Why*.
    pub(super) why: String,
    /// The waterfall of *Why*: part, points, interval.
    pub(super) parts: Vec<Vec<String>>,
}

/// Has `script` open the gate's page: *Now*, and *Why* for a stretch of time.
pub(super) async fn read(
    (browser, script): (&Path, &Path),
    gate: &str,
    (from_ms, to_ms): (u64, u64),
) -> Result<Shown, RigError> {
    let mut command = Command::new("node");
    command.arg(script).args([gate, POLICY, &moment(from_ms), &moment(to_ms)]);
    command.env("CHROMIUM", browser).stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout_at(Instant::now() + READ_WITHIN, command.output()).await;
    let late = |_late| RigError::Story("the browser took too long".to_owned());
    let output = output.map_err(late)?.map_err(RigError::io("node"))?;
    let told = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(RigError::Story(format!("the page could not be read: {told}{said}")));
    }
    serde_json::from_str(&told)
        .map_err(|why| RigError::Story(format!("what the page says cannot be read: {why}: {told}")))
}

/// What the page calls a cause, in an event and at the head of *Why*. Images are told by which way
/// they moved the rate.
fn words(Expected { label, truth, .. }: &Expected) -> (String, String) {
    match label.strip_prefix("provider_drift:") {
        Some(judge) => (format!("{judge} itself"), format!("{judge} itself changed:")),
        None if label == "routing" => ("routing".to_owned(), "are routing:".to_owned()),
        None if label == "input_drift" => {
            let than_usual = if *truth < 0.0 { "easier" } else { "harder" };
            (format!("{than_usual} images"), format!("The images got {than_usual}:"))
        }
        None => (label.clone(), label.clone()),
    }
}

/// *Now* tells the event, by the right name and with an interval that covers the truth, and no other.
pub(super) fn now_row(expected: &Expected, shown: &Shown) -> Row {
    let (name, _) = words(expected);
    let told: Vec<&String> = shown.events.iter().filter(|line| effect_in(line).is_some()).collect();
    let is_named = !told.is_empty() && told.iter().all(|line| line.contains(&name));
    let effect = told.first().and_then(|line| effect_in(line));
    let lines: Vec<&str> = told.iter().map(|line| line.trim_end_matches(" Why")).collect();
    Row {
        step: expected.step,
        asserted: now_asserted(expected),
        told: if lines.is_empty() { "nothing".to_owned() } else { lines.join("; ") },
        effect,
        truth: Some(expected.truth),
        seconds: None,
        end: End::of(is_named && effect.is_some_and(|effect| covers(effect, expected.truth))),
    }
}

/// What *Now* must say.
pub(super) fn now_asserted(expected: &Expected) -> String {
    format!("the page, Now: an event \"{}\", its interval covers the truth", words(expected).0)
}

/// *Why* answers with the right cause. Of routing, the waterfall's interval covers what it was worth in
/// that stretch.
pub(super) fn why_row(expected: &Expected, shown: &Shown) -> Row {
    let (_, head) = words(expected);
    let is_routing = expected.label == "routing";
    let part = shown.parts.iter().find(|row| row.first().is_some_and(|name| name == "routing"));
    let effect = part.filter(|_| is_routing).and_then(|row| effect_of(row.get(1)?, row.get(2)?));
    let is_covered = !is_routing || effect.is_some_and(|one| covers(one, expected.truth));
    Row {
        step: expected.step,
        asserted: why_asserted(expected),
        told: shown.why.clone(),
        effect,
        truth: is_routing.then_some(expected.truth),
        seconds: None,
        end: End::of(shown.why.contains(&head) && is_covered),
    }
}

/// What *Why* must say.
pub(super) fn why_asserted(expected: &Expected) -> String {
    let covers = if expected.label == "routing" { ", its interval covers the truth" } else { "" };
    format!("the page, Why: \"{}\"{covers}", words(expected).1)
}

fn covers(effect: Effect, truth: f64) -> bool {
    Effect { low: effect.low - ROUNDED, high: effect.high + ROUNDED, ..effect }.covers(truth)
}

/// The effect in `routing, warn: +3.1 points (+2.5 to +3.8)`.
fn effect_in(line: &str) -> Option<Effect> {
    let (before, behind) = line.split_once(" points (")?;
    let (interval, _) = behind.split_once(')')?;
    effect_of(before.rsplit(' ').next()?, interval)
}

/// The effect of `+3.1` and `+2.5 to +3.8`, which are points.
fn effect_of(points: &str, interval: &str) -> Option<Effect> {
    // the page writes a real minus
    let share =
        |text: &str| Some(text.trim().replace('\u{2212}', "-").parse::<f64>().ok()? / 100.0);
    let (low, high) = interval.split_once(" to ")?;
    Some(Effect { effect: share(points)?, low: share(low)?, high: share(high)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected(label: &str) -> Expected {
        Expected { step: "step", label: label.to_owned(), truth: 0.0306, began_ms: 0 }
    }

    fn shown(events: &[&str], why: &str) -> Shown {
        let part = |name: &str, points: &str, interval: &str| {
            vec![name.to_owned(), points.to_owned(), interval.to_owned()]
        };
        Shown {
            events: events.iter().map(|line| (*line).to_owned()).collect(),
            why: why.to_owned(),
            parts: vec![
                part("usual", "8.0 %", "n 24,000"),
                part("routing", "+3.4", "+2.2 to +4.7"),
                part("within", "\u{2212}0.1", "\u{2212}0.5 to +0.3"),
            ],
        }
    }

    #[test]
    fn an_event_on_now_is_held_by_its_name_and_its_interval() {
        let breaker = "08:31 openai-mini was left alone for 6 min";
        let end = |label: &str, events: &[&str]| now_row(&expected(label), &shown(events, "")).end;
        let routing = "08:31 routing, warn: +3.1 points (+2.5 to +3.8) Why";
        assert_eq!(end("routing", &[breaker, routing]), End::Held);
        assert_eq!(end("routing", &[breaker]), End::Missed);
        let narrow = "08:31 routing, warn: +3.5 points (+3.2 to +3.8) Why";
        assert_eq!(end("routing", &[narrow]), End::Missed);
        let other = "08:32 claude-haiku itself, warn: +3.1 points (+2.5 to +3.8) Why";
        assert_eq!(end("routing", &[routing, other]), End::Missed);
        assert_eq!(end("provider_drift:claude-haiku", &[other]), End::Held);
        assert_eq!(end("provider_drift:openai-mini", &[other]), End::Missed);
        let images = "08:32 harder images, notice: +5.5 points (\u{2212}1.5 to +9.5) Why";
        assert_eq!(end("input_drift", &[images]), End::Held);
        let fell = Expected { truth: -0.05, ..expected("input_drift") };
        let easier = "08:32 easier images, notice: \u{2212}5.5 points (\u{2212}9.5 to +1.5) Why";
        assert_eq!(now_row(&fell, &shown(&[easier], "")).end, End::Held);
        assert_eq!(now_row(&fell, &shown(&[images], "")).end, End::Missed);
        let why = |told| why_row(&fell, &shown(&[], told)).end;
        assert_eq!(why("The images got easier: every judge"), End::Held);
        assert_eq!(why("The images got harder: every judge"), End::Missed);
    }

    #[test]
    fn a_tenth_of_a_point_is_as_much_as_the_page_rounds() {
        let end = |line| now_row(&expected("routing"), &shown(&[line], "")).end;
        assert_eq!(end("08:31 routing: +3.5 points (+3.1 to +3.8)"), End::Held);
        assert_eq!(end("08:31 routing: +3.5 points (+3.2 to +3.8)"), End::Missed);
    }

    #[test]
    fn why_names_the_cause_and_of_routing_the_waterfall_is_held_too() {
        let end = |label: &str, why: &str| why_row(&expected(label), &shown(&[], why)).end;
        let routing = "3.4 of 3.6 points are routing: 97 % of images went to claude-haiku";
        assert_eq!(end("routing", routing), End::Held);
        assert_eq!(end("input_drift", routing), End::Missed);
        let row = why_row(&Expected { truth: 0.05, ..expected("routing") }, &shown(&[], routing));
        assert_eq!(row.end, End::Missed);
        let judge = "openai-mini itself changed: it rejects 5.0 points more than it did";
        assert_eq!(end("provider_drift:openai-mini", judge), End::Held);
        assert_eq!(end("provider_drift:claude-haiku", judge), End::Missed);
        assert_eq!(end("input_drift", "The images got harder: every judge"), End::Held);
    }
}
