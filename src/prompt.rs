//! A prompt is what a judge reads: the policy's two templates, rendered for one image.
//!
//! Templates and `when` conditions are compiled and tried once, when a policy is loaded, with every
//! combination of its variables: an undefined name, a runaway loop or a combination that asks
//! nothing is found at the desk and not by the image that hits it. The values a caller may send are
//! closed sets, so no text of a caller ever reaches a prompt.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior, Value};
use thiserror::Error;

use crate::domain::policy::{CheckSpec, Criterion, Policy, Variable};

mod trial;

/// A checked policy whose templates and conditions are compiled: what a check runs on.
#[derive(Clone, Debug)]
pub struct LoadedPolicy {
    /// The policy.
    pub policy: Policy,
    engine: Environment<'static>,
}

/// What a judge reads beside the pictures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// Who the judge is and how it answers.
    pub system: String,
    /// This image's question.
    pub user: String,
}

/// What the templates are rendered with.
#[derive(Clone, Copy, Debug)]
pub struct RenderInput<'a> {
    /// As [`LoadedPolicy::vars`] returned them.
    pub vars: &'a BTreeMap<String, String>,
    /// Id, width and height in pixels of each view, in order.
    pub views: &'a [(&'a str, u32, u32)],
    /// Ids of the broken checks that only flag.
    pub flags: &'a [String],
    /// As [`LoadedPolicy::asked`] returned them.
    pub asked: &'a [&'a Criterion],
}

/// Why a prompt could not be rendered; a loaded policy's templates have been tried, so this is rare.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum RenderError {
    /// The template failed.
    #[error("{template}: {message}")]
    Failed {
        /// `prompt.system` or `prompt.user`.
        template: &'static str,
        /// What the engine said.
        message: String,
    },
    /// The template made more text than a prompt may have.
    #[error("{template}: {size_bytes} bytes of text, the limit is {MAX_PROMPT_BYTES}")]
    TooLong {
        /// `prompt.system` or `prompt.user`.
        template: &'static str,
        /// What it made.
        size_bytes: usize,
    },
}

/// A variable that a caller sent and the policy does not take, or left out and must send.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{name}: {message}")]
pub struct VarProblem {
    /// The variable.
    pub name: String,
    /// What is wrong and what was expected.
    pub message: String,
}

/// A part of a policy that is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// `prompt.system`.
    System,
    /// `prompt.user`.
    User,
    /// `checks[n].when`.
    Check(usize),
    /// `criteria[n].when`.
    Criterion(usize),
    /// The criteria as a whole.
    Criteria,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System => f.write_str(SYSTEM),
            Self::User => f.write_str(USER),
            Self::Check(index) => write!(f, "checks[{index}].when"),
            Self::Criterion(index) => write!(f, "criteria[{index}].when"),
            Self::Criteria => f.write_str("criteria"),
        }
    }
}

/// Why a template or a condition cannot be used.
#[derive(Clone, Debug, Error, PartialEq, Eq, PartialOrd, Ord)]
#[error("{part}, line {line}: {message}")]
pub struct CompileProblem {
    /// The template or condition.
    pub part: Part,
    /// The line in its text, from 1.
    pub line: usize,
    /// The column in its text, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
}

/// Most text that one template may make.
pub const MAX_PROMPT_BYTES: usize = 64 * 1024;

/// Steps one rendering may take.
const FUEL: u64 = 50_000;
const SYSTEM: &str = "prompt.system";
const USER: &str = "prompt.user";
const PROMPT_NAMES: [&str; 4] = ["vars", "views", "flags", "criteria"];
const CONDITION_NAMES: [&str; 1] = ["vars"];
const IF: &str = "{% if ";

impl LoadedPolicy {
    /// Compiles the templates and conditions of `policy` and tries them with every combination of
    /// its variables.
    ///
    /// # Errors
    /// Everything that cannot be compiled or rendered, an undefined name in a template or condition,
    /// a condition that is never true, a combination of variables for which nothing is asked, a prompt
    /// that says nothing of a criterion which is.
    pub fn compile(policy: Policy) -> Result<Self, Vec<CompileProblem>> {
        let mut engine = new_engine();
        let mut problems = add_templates(&mut engine, &policy);
        if problems.is_empty() {
            problems = unknown_names(&engine, &policy);
        }
        let mut loaded = Self { policy, engine };
        if problems.is_empty() {
            problems = loaded.try_out();
        }
        if !problems.is_empty() {
            problems.sort();
            problems.dedup();
            return Err(problems);
        }
        loaded.engine.set_debug(false);
        Ok(loaded)
    }

    /// The variables of one check: those `sent`, and defaults for the rest.
    ///
    /// # Errors
    /// One problem for each variable that is unknown, outside its list, or missing.
    pub fn vars(
        &self,
        sent: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>, Vec<VarProblem>> {
        let declared = &self.policy.input.vars;
        let mut problems = Vec::new();
        let mut vars = BTreeMap::new();
        for name in sent.keys().filter(|name| !declared.contains_key(*name)) {
            let known: Vec<_> = declared.keys().map(String::as_str).collect();
            let message = format!("is not a variable of this policy; it has: {}", known.join(", "));
            problems.push(VarProblem { name: bounded(name), message });
        }
        for (name, variable) in declared {
            match value_of(variable, sent.get(name)) {
                Ok(value) => {
                    vars.insert(name.clone(), value);
                }
                Err(message) => problems.push(VarProblem { name: name.clone(), message }),
            }
        }
        if problems.is_empty() { Ok(vars) } else { Err(problems) }
    }

    /// The criteria that are asked with these variables, in order.
    #[must_use]
    pub fn asked(&self, vars: &BTreeMap<String, String>) -> Vec<&Criterion> {
        let applies = |index: usize, one: &Criterion| {
            one.when.is_none() || self.holds(Part::Criterion(index), vars)
        };
        let numbered = self.policy.criteria.iter().enumerate();
        numbered.filter(|(index, one)| applies(*index, one)).map(|(_, one)| one).collect()
    }

    /// The checks that apply with these variables, in order.
    #[must_use]
    pub fn checks(&self, vars: &BTreeMap<String, String>) -> Vec<CheckSpec> {
        let applies = |index: usize, one: &CheckSpec| {
            one.when.is_none() || self.holds(Part::Check(index), vars)
        };
        let numbered = self.policy.checks.iter().enumerate();
        numbered.filter(|(index, one)| applies(*index, one)).map(|(_, one)| one.clone()).collect()
    }

    /// Renders both templates for one image.
    ///
    /// # Errors
    /// A template that fails on this input or makes more than [`MAX_PROMPT_BYTES`].
    pub fn render(&self, input: &RenderInput<'_>) -> Result<Prompt, RenderError> {
        let context = prompt_context(input);
        let render = |template: &'static str| {
            let rendered = self.text(template, context.clone());
            let text = rendered
                .map_err(|why| RenderError::Failed { template, message: sentence(&why) })?;
            let size_bytes = text.len();
            if MAX_PROMPT_BYTES < size_bytes {
                return Err(RenderError::TooLong { template, size_bytes });
            }
            Ok(text)
        };
        Ok(Prompt { system: render(SYSTEM)?, user: render(USER)? })
    }

    /// Whether a condition holds. One that fails counts as true: measuring or asking too much is
    /// safe, too little is not. (It was tried with every combination, so it does not fail.)
    fn holds(&self, part: Part, vars: &BTreeMap<String, String>) -> bool {
        let context = condition_context(vars);
        self.text(&part.to_string(), context).map_or(true, |text| !text.is_empty())
    }

    fn text(&self, template: &str, context: Value) -> Result<String, minijinja::Error> {
        self.engine.get_template(template)?.render(context)
    }
}

/// The names a condition sees.
fn condition_context(vars: &BTreeMap<String, String>) -> Value {
    Value::from_pairs([("vars", vars_value(vars))])
}

/// The names a template sees.
fn prompt_context(input: &RenderInput<'_>) -> Value {
    let view = |(id, width, height): &(&str, u32, u32)| {
        Value::from_pairs([
            ("id", Value::from(*id)),
            ("width", Value::from(*width)),
            ("height", Value::from(*height)),
        ])
    };
    let criterion =
        |one: &&Criterion| Value::from_pairs([("id", one.id.as_str()), ("ask", one.ask.as_str())]);
    let list = |values: Vec<Value>| Value::from(values);
    Value::from_pairs([
        ("vars", vars_value(input.vars)),
        ("views", list(input.views.iter().map(view).collect())),
        ("flags", list(input.flags.iter().map(Value::from).collect())),
        ("criteria", list(input.asked.iter().map(criterion).collect())),
    ])
}

fn vars_value(vars: &BTreeMap<String, String>) -> Value {
    Value::from_pairs(vars.iter().map(|(name, value)| (name.as_str(), value.as_str())))
}

fn new_engine() -> Environment<'static> {
    let mut engine = Environment::new();
    engine.set_undefined_behavior(UndefinedBehavior::Strict);
    engine.set_fuel(Some(FUEL));
    // a prompt is text; its braces and angle brackets are its author's
    engine.set_auto_escape_callback(|_| AutoEscape::None);
    // places in messages; off again once the policy is loaded
    engine.set_debug(true);
    engine
}

/// Every `when` of the policy.
fn conditions(policy: &Policy) -> impl Iterator<Item = (Part, &str)> {
    let checks = policy.checks.iter().enumerate();
    let checks = checks.filter_map(|(index, one)| Some((Part::Check(index), one.when.as_deref()?)));
    let criteria = policy.criteria.iter().enumerate();
    let criteria =
        criteria.filter_map(|(index, one)| Some((Part::Criterion(index), one.when.as_deref()?)));
    checks.chain(criteria)
}

fn add_templates(engine: &mut Environment<'static>, policy: &Policy) -> Vec<CompileProblem> {
    let mut problems = Vec::new();
    let prompts = [(Part::System, &policy.system_prompt), (Part::User, &policy.user_prompt)];
    for (part, source) in prompts {
        if let Err(why) = engine.add_template_owned(part.to_string(), source.clone()) {
            problems.push(problem(part, &why));
        }
    }
    for (part, source) in conditions(policy) {
        // first alone, so that nothing but one expression stands between the braces
        if let Err(why) = engine.compile_expression_owned(source.to_owned()) {
            problems.push(problem_in_expression(part, &why));
            continue;
        }
        let template = format!("{IF}{source} %}}yes{{% endif %}}");
        if let Err(why) = engine.add_template_owned(part.to_string(), template) {
            problems.push(problem(part, &why));
        }
    }
    problems
}

/// Names that are used and given to no template, found without rendering.
fn unknown_names(engine: &Environment<'static>, policy: &Policy) -> Vec<CompileProblem> {
    let globals: BTreeSet<&str> = engine.globals().map(|(name, _)| name).collect();
    let prompts = [Part::System, Part::User].map(|part| (part, &PROMPT_NAMES[..]));
    let whens = conditions(policy).map(|(part, _)| (part, &CONDITION_NAMES[..]));
    let mut problems = Vec::new();
    for (part, given) in prompts.into_iter().chain(whens) {
        let Ok(template) = engine.get_template(&part.to_string()) else {
            continue;
        };
        for name in template.undeclared_variables(true) {
            let mut steps = name.split('.');
            let root = steps.next().unwrap_or_default();
            let message = match steps.next() {
                _ if globals.contains(root) => continue,
                _ if !given.contains(&root) => {
                    format!("`{root}` is not known here; known: {}", given.join(", "))
                }
                Some(step) if root == "vars" && !policy.input.vars.contains_key(step) => {
                    let known: Vec<_> = policy.input.vars.keys().map(String::as_str).collect();
                    format!("`vars.{step}` is not declared in input.vars: {}", known.join(", "))
                }
                Some(_) | None => continue,
            };
            let offset = find_name(template.source(), &name);
            problems.push(placed(part, template.source(), offset, message));
        }
    }
    problems
}

/// Where `name` stands as a whole name, 0 where it is spelled apart.
fn find_name(source: &str, name: &str) -> usize {
    let is_part = |one: char| one.is_alphanumeric() || one == '_';
    let stands_alone = |&(at, _): &(usize, &str)| {
        let before = source.get(..at).and_then(|text| text.chars().next_back());
        let after = source.get(at + name.len()..).and_then(|text| text.chars().next());
        !before.is_some_and(|one| is_part(one) || one == '.') && !after.is_some_and(is_part)
    };
    source.match_indices(name).find(stands_alone).map_or(0, |(at, _)| at)
}

fn problem(part: Part, why: &minijinja::Error) -> CompileProblem {
    let source = why.template_source().unwrap_or_default();
    match why.range() {
        Some(range) => placed(part, source, name_start(source, range.start), sentence(why)),
        None => {
            let line = why.line().unwrap_or(1);
            CompileProblem { part, line, column: 1, message: sentence(why) }
        }
    }
}

fn problem_in_expression(part: Part, why: &minijinja::Error) -> CompileProblem {
    let column = why.range().map_or(1, |range| range.start + 1);
    CompileProblem { part, line: 1, column, message: sentence(why) }
}

/// A problem at byte `offset` of a template's `source`.
fn placed(part: Part, source: &str, offset: usize, message: String) -> CompileProblem {
    // a condition's template is longer than the condition by what stands before it
    let lead = match part {
        Part::Check(_) | Part::Criterion(_) => IF.len(),
        Part::System | Part::User | Part::Criteria => 0,
    };
    let before = source.get(lead..offset).unwrap_or_default();
    let line = 1 + before.matches('\n').count();
    let column = 1 + before.chars().rev().take_while(|one| *one != '\n').count();
    CompileProblem { part, line, column, message }
}

/// Where the name begins whose lookup failed at `offset`: the engine marks the last step alone.
fn name_start(source: &str, offset: usize) -> usize {
    let is_part = |one: &char| one.is_alphanumeric() || "_.[]".contains(*one);
    let before = source.get(..offset).unwrap_or_default();
    let steps: usize = before.chars().rev().take_while(is_part).map(char::len_utf8).sum();
    offset - steps
}

/// An engine's error as one sentence.
fn sentence(why: &minijinja::Error) -> String {
    let range = why.range().and_then(|range| {
        let source = why.template_source()?;
        source.get(name_start(source, range.start)..range.end)
    });
    if why.kind() == ErrorKind::UndefinedError
        && let Some(text) = range
    {
        return format!("`{text}` is not defined");
    }
    if why.kind() == ErrorKind::OutOfFuel {
        return format!("takes more than {FUEL} steps");
    }
    match why.detail() {
        Some(detail) => format!("{}: {detail}", why.kind()),
        None => why.kind().to_string(),
    }
}

fn value_of(variable: &Variable, sent: Option<&String>) -> Result<String, String> {
    let allowed = || variable.one_of.join(", ");
    match sent.or(variable.default.as_ref()) {
        Some(value) if variable.one_of.contains(value) => Ok(value.clone()),
        Some(value) => Err(format!("{:?} is not one of {}", bounded(value), allowed())),
        None => Err(format!("is missing; one of {}", allowed())),
    }
}

/// A caller's text as a message may repeat it.
fn bounded(text: &str) -> String {
    text.chars().take(60).collect()
}

#[cfg(test)]
pub(crate) mod tests;
