//! Doubts are what `vlmgate policy lint` warns of: lines that nobody fitted, or whose fit does not
//! hold any more, and shadows that can tell nothing.
//!
//! The first judge of a route is what the others are held to: it needs no line of its own. Each of the
//! others is asked about in every criterion, for a line in one of them says nothing of the rest.

use serde_json::{Value, json};

use crate::config::LOCAL_JUDGE;
use crate::config::files::{PolicyFiles, Step};
use crate::config::problem::Problem;
use crate::domain::Policy;
use crate::domain::policy::offset::{Calibration, Day, Doubt};

/// What is added to every doubt of a fit.
const AGAIN: &str = "run `vlmgate calibrate` again";

/// One warning, with its place in the policy's file.
#[derive(Debug)]
pub(super) struct Warning {
    problem: Problem,
    policy: String,
    judge: String,
    /// Those that it is about; empty: all, or none in particular.
    criteria: Vec<String>,
    /// The word for programs.
    doubt: &'static str,
}

impl Warning {
    /// As a line of the file that it is about.
    pub(super) fn text(&self) -> String {
        let Problem { file, mark, key, message } = self.problem.clone();
        let message = format!("warning: {message}");
        Problem { file, mark, key, message }.to_string()
    }

    pub(super) fn json(&self) -> Value {
        let Problem { file, mark, key, message } = &self.problem;
        json!({
            "policy": self.policy, "valid": true, "judge": self.judge, "criteria": self.criteria,
            "doubt": self.doubt, "warning": message, "file": file.as_ref(), "key": key,
            "line": mark.map(|mark| mark.line), "column": mark.map(|mark| mark.column),
        })
    }
}

/// Everything that the policy in the file `path` of `files` is warned of, `today`.
pub(super) fn warnings(
    (files, path): (&PolicyFiles, &str),
    policy: &Policy,
    today: Day,
) -> Vec<Warning> {
    let about = About { files, path, policy };
    let mut warnings = Vec::new();
    let Some(primary) = policy.route.judges.first() else { return warnings };
    for (place, judge) in policy.route.judges.iter().enumerate().skip(1) {
        // it measures, and answers when nobody can be asked
        if judge != LOCAL_JUDGE {
            about.lines(judge, place, &mut warnings);
            about.fit((judge, primary), today, &mut warnings);
        }
    }
    for (place, shadow) in policy.shadows.iter().enumerate() {
        if shadow.judge == *primary {
            let says = format!(
                "{} shows images to {primary}, which judged them first: it tells nothing of {primary} \
                 that its verdicts do not; show them to a judge that stands in for it",
                shadow.id
            );
            let key = [Step::Key("shadow"), Step::Item(place), Step::Key("judge")];
            warnings.push(about.warning(primary, ("shadow_of_first", &[]), &key, says));
        }
    }
    warnings
}

/// A policy and its file.
struct About<'a> {
    files: &'a PolicyFiles,
    path: &'a str,
    policy: &'a Policy,
}

impl About<'_> {
    fn warning(
        &self,
        judge: &str,
        (doubt, criteria): (&'static str, &[&str]),
        key: &[Step<'_>],
        says: String,
    ) -> Warning {
        Warning {
            problem: self.files.problem_at(self.path, key, says),
            policy: self.policy.name.clone(),
            judge: judge.to_owned(),
            criteria: criteria.iter().map(|one| (*one).to_owned()).collect(),
            doubt,
        }
    }

    /// Criteria in which `judge`, the `place`th of the route, has no line of its own.
    fn lines(&self, judge: &str, place: usize, warnings: &mut Vec<Warning>) {
        let common = self.policy.common_lines(judge);
        let doubt = Calibration::None.label();
        let primary = self.policy.route.judges.first().map(String::as_str).unwrap_or_default();
        if common.len() == self.policy.criteria.len() {
            let criteria: Vec<_> = common.iter().map(|(_, id)| *id).collect();
            let says = format!(
                "{judge} stands in for {primary} and is not calibrated, in {}: when it does, the \
                 reject rate moves by what the two differ; see `vlmgate calibrate --help`",
                criteria.join(", ")
            );
            let key = [Step::Key("route"), Step::Key("judges"), Step::Item(place)];
            warnings.push(self.warning(judge, (doubt, &criteria), &key, says));
            return;
        }
        for (criterion, id) in common {
            let says = format!(
                "{judge} stands in for {primary} and has a line of its own in other criteria, and \
                 none in {id}; see `vlmgate calibrate --help`"
            );
            let key = [Step::Key("criteria"), Step::Item(criterion), Step::Key("pass_at_by_judge")];
            warnings.push(self.warning(judge, (doubt, &[id]), &key, says));
        }
    }

    /// What speaks against the fit of `judge`.
    fn fit(&self, (judge, primary): (&str, &str), today: Day, warnings: &mut Vec<Warning>) {
        let Calibration::Stale(doubts) = self.policy.calibration(judge, today) else { return };
        for doubt in doubts {
            let says = match &doubt {
                Doubt::Old { days } => format!("{judge} was calibrated {days} days ago: {AGAIN}"),
                Doubt::OtherPrimary { against } => format!(
                    "{judge} was calibrated to {against}, and {primary} is asked first: {AGAIN}"
                ),
                Doubt::AskedOtherwise => format!(
                    "{judge} was calibrated when judges were asked or shown something else: {AGAIN}"
                ),
            };
            let key = [Step::Key("route"), Step::Key("offset_by_judge"), Step::Key(judge)];
            warnings.push(self.warning(judge, (doubt.label(), &[]), &key, says));
        }
    }
}
