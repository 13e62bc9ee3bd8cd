//! A measure is one pure function from pixels to one number; a check holds it to its line.
//!
//! What lies in whole shapes is measured on a [`Sample`](crate::imaging::sample::Sample), so a number
//! means the same at every resolution, and on the [`Subject`](crate::imaging::subject::Subject), so
//! that the ground does not speak for the product; what lies in the finest pixels is measured on
//! native tiles.

use crate::clock::Stopwatch;
use crate::domain::policy::{CheckKind, CheckSpec, Fingerprint};
use crate::domain::{Finding, Limit};
use crate::imaging::landmark::Landmarks;
use crate::imaging::marks::{Area, Marks};
use crate::imaging::picture::{Picture, WrongSize};
use crate::imaging::scene::{Line, Scene, size};
use crate::imaging::{Measurements, Plan};

/// What was measured on one picture.
#[derive(Debug)]
pub(crate) struct Measured {
    /// One for every check, in order.
    pub(crate) findings: Vec<Finding>,
    /// What the `local` judge scores by.
    pub(crate) measurements: Measurements,
    /// Where its subject lies, where a view is cut around something and there is one.
    pub(crate) landmarks: Option<Landmarks>,
}

/// Measures `picture` for the checks of `plan` and, where somebody goes by it, for the `local` judge
/// and for views that are cut around what is found.
pub(crate) fn measure(picture: &Picture, plan: &Plan) -> Result<Measured, WrongSize> {
    let scene = Scene::of(picture);
    let none = &mut Marks::default();
    let found = |check: &CheckSpec| Ok(finding(check, scene.lines(&check.kind, none)?));
    let findings = plan.checks.iter().map(found).collect::<Result<_, _>>()?;
    let measurements = if plan.measures { scene.measurements()? } else { Measurements::default() };
    let landmarks = if plan.wants_landmarks() { scene.landmarks()? } else { None };
    Ok(Measured { findings, measurements, landmarks })
}

/// What the checks find in a picture of which only the size is known; `None` where one of them
/// looks at pixels.
pub(crate) fn by_size(shown: (u32, u32), checks: &[CheckSpec]) -> Option<Vec<Finding>> {
    let find = |check: &CheckSpec| {
        let CheckKind::Size { min_width_px, min_height_px, aspect } = &check.kind else {
            return None;
        };
        Some(finding(check, size(shown, (*min_width_px, *min_height_px), *aspect)))
    };
    checks.iter().map(find).collect()
}

/// What one check found: of its lines the worst.
fn finding(check: &CheckSpec, lines: Vec<Line>) -> Finding {
    let (value, limit, unit) = match Line::worst(lines) {
        Some(line) => (line.value, line.limit, line.unit),
        None => (None, Limit::AtLeast(0.0), "ratio"),
    };
    Finding::new(&check.id, value, limit, unit, check.on_fail)
}

/// One picture, check by check.
#[derive(Clone, Debug)]
pub(crate) struct Looked {
    /// One for every check, in order.
    pub(crate) checks: Vec<Inspected>,
    /// Its fingerprint.
    pub(crate) fingerprint: Fingerprint,
    /// Time spent on what all checks share.
    pub(crate) shared_ms: f64,
}

/// What one check made of one picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Inspected {
    /// What it found.
    pub finding: Finding,
    /// Every number it measured.
    pub lines: Vec<Line>,
    /// The places that made its numbers.
    pub areas: Vec<Area>,
    /// Time spent on it alone.
    pub took_ms: f64,
}

/// Measures `picture` for `checks` one by one, with the places where `marks` says so.
pub(crate) fn look(
    picture: &Picture,
    checks: &[CheckSpec],
    marks: fn() -> Marks,
) -> Result<Looked, WrongSize> {
    let watch = Stopwatch::start();
    let scene = Scene::of(picture);
    scene.subject()?;
    let shared_ms = watch.elapsed_ms();
    let look = |check: &CheckSpec| {
        let (watch, mut marks) = (Stopwatch::start(), marks());
        let lines = scene.lines(&check.kind, &mut marks)?;
        let took_ms = watch.elapsed_ms();
        let finding = finding(check, lines.clone());
        Ok(Inspected { finding, lines, areas: marks.take(), took_ms })
    };
    let checks = checks.iter().map(look).collect::<Result<_, _>>()?;
    Ok(Looked { checks, fingerprint: scene.print()?, shared_ms })
}

#[cfg(test)]
mod tests;
