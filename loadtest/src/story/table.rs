//! What a story came to: a row for everything that was held against what was so.

use std::fmt::Write as _;

use serde::Serialize;

use crate::rig::RigError;
use crate::story::words::Effect;

/// One thing that was held.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) step: &'static str,
    /// What must be.
    pub(crate) asserted: String,
    /// What the gate said.
    pub(crate) told: String,
    /// The effect that the gate stated.
    pub(crate) effect: Option<Effect>,
    /// The size that it truly has, as a share.
    pub(crate) truth: Option<f64>,
    /// From the change to the event.
    pub(crate) seconds: Option<f64>,
    pub(crate) end: End,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum End {
    Held,
    Missed,
    /// Not tried.
    Skipped,
}

impl End {
    pub(crate) fn of(is_held: bool) -> Self {
        if is_held { Self::Held } else { Self::Missed }
    }

    const fn label(self) -> &'static str {
        match self {
            Self::Held => "pass",
            Self::Missed => "FAIL",
            Self::Skipped => "skip",
        }
    }
}

/// Everything that was held.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Held {
    pub(crate) rows: Vec<Row>,
    /// The step that broke off, and why: those after it were not played.
    pub(crate) broken: Option<String>,
}

impl Held {
    /// Adds what a step came to; whether there may be another. What was held before one that breaks
    /// off stays held.
    pub(crate) fn take(&mut self, step: &str, played: Result<Vec<Row>, RigError>) -> bool {
        match played {
            Ok(rows) => self.rows.extend(rows),
            Err(why) => self.broken = Some(format!("{step} broke off: {why}")),
        }
        self.is_whole()
    }

    /// Whether every step was played to its end.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.broken.is_none()
    }

    /// Whether nothing was missed or broken off, and anything was held at all.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.is_whole()
            && self.rows.iter().all(|row| row.end != End::Missed)
            && self.rows.iter().any(|row| row.end == End::Held)
    }

    /// The rows as a table for people.
    #[must_use]
    pub fn text(&self) -> String {
        let head = ["", "step", "asserted", "told", "effect, points", "truth", "event after"];
        let mut lines = vec![head.map(str::to_owned)];
        lines.extend(self.rows.iter().map(Row::cells));
        let width = |column: usize| {
            let cells = lines.iter().filter_map(|line| line.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..head.len()).map(width).collect();
        let mut text = String::new();
        for line in &lines {
            let cells = line.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}"));
            let cells: Vec<String> = cells.collect();
            // a String takes any text
            let _written = writeln!(text, "{}", cells.join("  ").trim_end());
        }
        if let Some(broken) = &self.broken {
            let _written = writeln!(text, "{broken}; what stands above was held before");
        }
        text
    }
}

impl Row {
    fn cells(&self) -> [String; 7] {
        let points = |share: f64| format!("{:+.2}", share * 100.0);
        let effect = self.effect.map(|one| {
            format!("{} ({} to {})", points(one.effect), points(one.low), points(one.high))
        });
        [
            self.end.label().to_owned(),
            self.step.to_owned(),
            self.asserted.clone(),
            self.told.clone(),
            effect.unwrap_or_default(),
            self.truth.map(points).unwrap_or_default(),
            self.seconds.map(|seconds| format!("{seconds:.0} s")).unwrap_or_default(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(end: End) -> Row {
        Row {
            step: "routing",
            asserted: "routing, and nothing else".to_owned(),
            told: "routing".to_owned(),
            effect: Some(Effect { effect: 0.031, low: 0.022, high: 0.04 }),
            truth: Some(0.0295),
            seconds: Some(3.4),
            end,
        }
    }

    #[test]
    fn a_table_tells_the_effect_beside_the_truth() {
        let text = Held { rows: vec![row(End::Held)], broken: None }.text();
        let line = text.lines().nth(1).unwrap();
        assert!(line.starts_with("pass  routing  routing, and nothing else  routing"), "{text}");
        assert!(line.contains("+3.10 (+2.20 to +4.00)  +2.95  3 s"), "{text}");
    }

    #[test]
    fn what_was_skipped_is_no_pass_by_itself() {
        let held =
            |ends: &[End]| Held { rows: ends.iter().copied().map(row).collect(), broken: None };
        assert!(held(&[End::Held, End::Skipped]).passed());
        assert!(!held(&[End::Held, End::Missed]).passed());
        assert!(!held(&[End::Skipped]).passed());
        assert!(!held(&[]).passed());
    }

    #[test]
    fn a_step_that_breaks_off_takes_nothing_from_those_before_it() {
        let mut held = Held::default();
        assert!(held.take("routing", Ok(vec![row(End::Held)])));
        assert!(held.passed());
        assert!(!held.take("provider", Err(RigError::Story("the gate ended".to_owned()))));
        assert!(!held.passed() && !held.is_whole());
        let text = held.text();
        assert!(text.contains("pass  routing"), "{text}");
        assert!(text.contains("provider broke off: the gate ended"), "{text}");
    }
}
