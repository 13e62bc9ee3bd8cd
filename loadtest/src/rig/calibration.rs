//! A calibration is where pass begins for each judge, so that all of them reject equally many images.
//!
//! Judges see one image with different eyes: some are stricter, and each errs in its own way. What the
//! primary rejects at its line is taken as right in number, and every other judge gets the line at which
//! it rejects as many of the same images. The images are the gallery's, and what a judge says of one
//! follows from the image: nothing that a run measured enters, so a run can tell whether it was of use.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::gallery::Gallery;
use crate::judging::Judging;
use crate::judging::expected_scores;
use crate::quantile::number;
use crate::rig::direct::CRITERIA;

/// Where pass begins for the primary, and for everybody where judges are not calibrated.
pub(crate) const PASS_AT: f64 = 0.70;

/// The lines of each judge: criterion and score.
pub(crate) type Lines = BTreeMap<String, BTreeMap<String, f64>>;

/// Where pass begins for each judge.
#[derive(Clone, Debug)]
pub(crate) struct Calibration {
    pass_at: BTreeMap<String, f64>,
    /// Of each judge, the worst score that it gives to each image.
    worst: BTreeMap<String, Vec<f64>>,
    primary: String,
}

impl Calibration {
    /// Calibrates these judges on a gallery.
    pub(crate) fn of(gallery: &Gallery, judges: &BTreeMap<String, Judging>, primary: &str) -> Self {
        let mut worst: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for n in 0..gallery.count() {
            let file = gallery.image(n).file();
            for (judge, judging) in judges {
                let scores = expected_scores(&file, &CRITERIA, judging);
                let lowest = scores.into_values().fold(1.0, f64::min);
                worst.entry(judge.clone()).or_default().push(lowest);
            }
        }
        Self::of_scores(worst, primary)
    }

    fn of_scores(worst: BTreeMap<String, Vec<f64>>, primary: &str) -> Self {
        let rejected = worst.get(primary).map_or(0, |scores| under(scores, PASS_AT));
        let line = |judge: &String, scores: &Vec<f64>| {
            if judge == primary { PASS_AT } else { first_to_pass(scores, rejected) }
        };
        let pass_at = worst.iter().map(|(judge, scores)| (judge.clone(), line(judge, scores)));
        Self { pass_at: pass_at.collect(), primary: primary.to_owned(), worst }
    }

    /// Where pass begins for each judge, or for all of them alike.
    pub(crate) fn lines(&self, is_calibrated: bool) -> Lines {
        let of_judge = |pass_at: f64| {
            let line = if is_calibrated { pass_at } else { PASS_AT };
            CRITERIA.iter().map(|criterion| ((*criterion).to_owned(), line)).collect()
        };
        self.pass_at.iter().map(|(judge, pass_at)| (judge.clone(), of_judge(*pass_at))).collect()
    }

    /// What the judges are to each other: for the report.
    pub(crate) fn describe(&self) -> String {
        let none = Vec::new();
        let primary = self.worst.get(&self.primary).unwrap_or(&none);
        let points = |part: usize| 100.0 * number(part) / number(primary.len().max(1));
        let mut told = format!(
            "held to {PASS_AT:.2} judge {} rejects {:.1} % of them",
            self.primary,
            points(under(primary, PASS_AT))
        );
        for (judge, scores) in self.worst.iter().filter(|(judge, _)| **judge != self.primary) {
            let own = self.pass_at.get(judge).copied().unwrap_or(PASS_AT);
            let is_apart = |(one, other): &(&f64, &f64)| (**one < PASS_AT) != (**other < own);
            // a String takes any text
            let _written = write!(
                told,
                ", {judge} {:.1} % (calibrated to {own:.3} as many, {:.1} % not the same)",
                points(under(scores, PASS_AT)),
                points(primary.iter().zip(scores).filter(is_apart).count())
            );
        }
        told
    }
}

/// How many of these scores are rejected.
fn under(scores: &[f64], line: f64) -> usize {
    scores.iter().filter(|score| **score < line).count()
}

/// The line under which just so many of these scores are: the score of the first image that passes.
fn first_to_pass(scores: &[f64], rejected: usize) -> f64 {
    let mut sorted = scores.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(rejected).copied().unwrap_or(PASS_AT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rig::providers::judges;

    /// What the rig's judges say of pictures without pixels.
    fn of_law(images: u32) -> Calibration {
        let worst_of = |judging: &Judging| {
            let worst = |n: u32| {
                let scores = expected_scores(&n.to_le_bytes(), &CRITERIA, judging);
                scores.into_values().fold(1.0, f64::min)
            };
            (0..images).map(worst).collect()
        };
        let worst = judges().iter().map(|(judge, law)| (judge.clone(), worst_of(law))).collect();
        Calibration::of_scores(worst, "a")
    }

    #[test]
    fn judges_that_no_line_could_tell_apart_hid_every_shift() {
        let calibration = of_law(20_000);
        let rejects = |judge: &str, line: f64| number(under(&calibration.worst[judge], line));
        let shift = |judge: &str| (rejects(judge, PASS_AT) - rejects("a", PASS_AT)) / 200.0;
        assert!((2.5..4.0).contains(&shift("b")), "{} points", shift("b"));
        assert!((0.5..1.8).contains(&shift("c")), "{} points", shift("c"));
        for (judge, line) in &calibration.pass_at {
            let left = (rejects(judge, *line) - rejects("a", PASS_AT)).abs();
            assert!(left < 20.0, "{judge} rejects {left} of 20000 more or less");
        }
        let (a, b) = (&calibration.worst["a"], &calibration.worst["b"]);
        let apart = |(a, b): &(&f64, &f64)| (**a < PASS_AT) != (**b < calibration.pass_at["b"]);
        let apart = a.iter().zip(b).filter(apart).count();
        assert!((300..700).contains(&apart), "{apart} of 20000 are judged differently");
    }

    #[test]
    fn a_line_is_found_beside_the_laws_own() {
        let calibration = of_law(20_000);
        // the bias undone, as far as the noise of the count lets it be
        for (judge, law) in [("a", 0.70), ("b", 0.61), ("c", 0.64)] {
            let line = calibration.pass_at[judge];
            assert!((line - law).abs() < 0.05, "{judge}: {line}");
        }
        let lines = calibration.lines(false);
        assert!(
            lines.values().flat_map(BTreeMap::values).all(|line| (line - PASS_AT).abs() < 1e-9)
        );
        let own = calibration.lines(true)["b"]["cutout"];
        assert!((own - calibration.pass_at["b"]).abs() < 1e-9);
    }

    #[test]
    fn a_gallery_is_told_with_what_its_judges_make_of_it() {
        let gallery = Gallery::draw(1, 1).unwrap();
        let told = Calibration::of(&gallery, &judges(), "a").describe();
        assert!(
            told.starts_with("held to 0.70 judge a rejects ") && told.contains(", b "),
            "{told}"
        );
    }
}
