//! The trial of a loaded policy: everything is rendered with every combination of its variables,
//! so that what can go wrong goes wrong before an image comes.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::policy::{Criterion, Variable};
use crate::prompt::{
    CompileProblem, LoadedPolicy, MAX_PROMPT_BYTES, Part, RenderInput, SYSTEM, USER,
    condition_context, conditions, problem, prompt_context,
};

/// Combinations of variables that are tried; past this each variable is varied on its own.
const MAX_COMBINATIONS: usize = 512;

impl LoadedPolicy {
    /// Renders everything with every combination of variables, with and without flags.
    pub(crate) fn try_out(&self) -> Vec<CompileProblem> {
        let (combinations, are_all) = combinations(&self.policy.input.vars);
        let mut problems = BTreeSet::new();
        let mut held: BTreeSet<Part> = BTreeSet::new();
        let mut askless = Vec::new();
        for vars in &combinations {
            for (part, _) in conditions(&self.policy) {
                let context = condition_context(vars);
                match self.text(&part.to_string(), context) {
                    Ok(text) if text.is_empty() => {}
                    Ok(_) => {
                        held.insert(part);
                    }
                    Err(why) => {
                        held.insert(part);
                        problems.insert(problem(part, &why));
                    }
                }
            }
            let asked = self.asked(vars);
            if asked.is_empty() {
                askless.push(vars);
            } else {
                self.try_prompts(vars, &asked, &mut problems);
            }
        }
        problems.extend(nothing_asked(&askless));
        for (part, _) in conditions(&self.policy) {
            if are_all && !held.contains(&part) {
                let message = "is never true, whatever the variables are".to_owned();
                problems.insert(CompileProblem { part, line: 1, column: 1, message });
            }
        }
        problems.into_iter().collect()
    }

    fn try_prompts(
        &self,
        vars: &BTreeMap<String, String>,
        asked: &[&Criterion],
        problems: &mut BTreeSet<CompileProblem>,
    ) {
        let views: Vec<_> =
            self.policy.input.views.iter().map(|view| (view.id.as_str(), 640, 480)).collect();
        let all: Vec<String> = self.policy.checks.iter().map(|check| check.id.clone()).collect();
        for flags in [&[], all.as_slice()] {
            let input = RenderInput { vars, views: &views, flags, asked };
            let context = prompt_context(&input);
            let mut told = Some(String::new());
            for (part, template) in [(Part::System, SYSTEM), (Part::User, USER)] {
                match self.text(template, context.clone()) {
                    Ok(text) if MAX_PROMPT_BYTES < text.len() => {
                        let made = text.len();
                        let message =
                            format!("makes {made} bytes, the limit is {MAX_PROMPT_BYTES}");
                        problems.insert(CompileProblem { part, line: 1, column: 1, message });
                        told = None;
                    }
                    Ok(text) => told = told.map(|told| told + &text),
                    Err(why) => {
                        problems.insert(problem(part, &why));
                        told = None;
                    }
                }
            }
            problems.extend(told.iter().flat_map(|told| unshown(told, asked)));
        }
    }
}

/// The problems with criteria that are asked for and that a judge is told nothing of: it would score
/// the bare name. A criterion is told of by its question, or by its name in anybody's spelling.
fn unshown(told: &str, asked: &[&Criterion]) -> Vec<CompileProblem> {
    let plain = |text: &str| text.trim().to_lowercase().replace('_', " ");
    let told = plain(told);
    let is_unshown =
        |one: &&&Criterion| !told.contains(&plain(&one.id)) && !told.contains(&plain(&one.ask));
    let problem = |one: &&Criterion| {
        let message = format!("says nothing of the criterion \"{}\"", one.id);
        CompileProblem { part: Part::User, line: 1, column: 1, message }
    };
    asked.iter().filter(is_unshown).map(problem).collect()
}

/// The problem with combinations of variables for which no criterion is left.
fn nothing_asked(askless: &[&BTreeMap<String, String>]) -> Option<CompileProblem> {
    let first = askless.first()?;
    let vars: Vec<_> = first.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut message = format!("nothing is asked when {}", vars.join(", "));
    if 1 < askless.len() {
        message.push_str(&format!(", and in {} combinations in all", askless.len()));
    }
    Some(CompileProblem { part: Part::Criteria, line: 1, column: 1, message })
}

/// Combinations of the variables' values, and whether they are all there are.
pub(crate) fn combinations(
    vars: &BTreeMap<String, Variable>,
) -> (Vec<BTreeMap<String, String>>, bool) {
    let count = vars.values().try_fold(1_usize, |count, one| count.checked_mul(one.one_of.len()));
    if count.is_some_and(|count| count <= MAX_COMBINATIONS) {
        let mut all = vec![BTreeMap::new()];
        for (name, variable) in vars {
            let with = |vars: &BTreeMap<String, String>, value: &String| {
                let mut vars = vars.clone();
                vars.insert(name.clone(), value.clone());
                vars
            };
            all = all
                .iter()
                .flat_map(|vars| variable.one_of.iter().map(move |value| with(vars, value)))
                .collect();
        }
        return (all, true);
    }
    let usual: BTreeMap<String, String> = vars
        .iter()
        .filter_map(|(name, one)| {
            Some((name.clone(), one.default.as_ref().or(one.one_of.first())?.clone()))
        })
        .collect();
    let vary = |(name, variable): (&String, &Variable)| {
        let with = |value: &String| {
            let mut vars = usual.clone();
            vars.insert(name.clone(), value.clone());
            vars
        };
        variable.one_of.iter().map(with).collect::<Vec<_>>()
    };
    (vars.iter().flat_map(vary).collect(), false)
}
