//! `vlmgate policy lint|show|test` and `vlmgate config check`: files read without a network.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;

use crate::app::{App, AppError};
use crate::cli::{Exit, Source, doubts, put, rehearse, say};
use crate::clock::Timestamp;
use crate::clock::dates::day_of;
use crate::config::environment::Environment;
use crate::config::files::PolicyFiles;
use crate::config::problem::Problems;
use crate::config::rehearsal::untested;
use crate::config::revision::whole;
use crate::config::{Config, Overrides};
use crate::prompt::LoadedPolicy;

/// `vlmgate policy …`
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Say everything that is wrong with policy files
    Lint(LintArgs),
    /// Print the resolved policy, its digests and its prompts
    Show(ShowArgs),
    /// Play the tests of policies: scripted judges, a virtual clock, no network, no key
    Test(rehearse::TestArgs),
}

/// `vlmgate config …`
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Read the configuration and every policy, say what is wrong
    Check(CheckArgs),
}

/// Arguments of `vlmgate policy lint`.
#[derive(Args, Debug)]
#[command(after_help = LINT_HELP)]
pub struct LintArgs {
    /// Policy files or folders
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Configuration whose judges the policies may name
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A warning is a problem too
    #[arg(long)]
    strict: bool,
    /// One JSON object a problem
    #[arg(long)]
    json: bool,
}

const LINT_HELP: &str = "\
Examples:
  vlmgate policy lint policies
  vlmgate policy lint policies --config vlmgate.yaml --strict

A warning is a judge of the route without a line of its own in some criterion, a fit that is old or
was made for other judges or questions, and a shadow that can tell nothing. No key is needed.

Exit codes: 0 valid, 2 a path that does not exist, 3 a file is invalid (with --strict, or is warned
of).";

/// Arguments of `vlmgate policy show`.
#[derive(Args, Debug)]
#[command(after_help = SHOW_HELP)]
pub struct ShowArgs {
    /// A policy file
    #[arg(value_name = "FILE")]
    path: PathBuf,
    /// JSON instead of text
    #[arg(long)]
    json: bool,
}

const SHOW_HELP: &str = "\
Example:
  vlmgate policy show policies/product-photo.yaml --json

Exit codes: 0 done, 2 a path that does not exist, 3 the file is invalid.";

/// Arguments of `vlmgate config check`.
#[derive(Args, Debug)]
#[command(after_help = CHECK_HELP)]
pub struct CheckArgs {
    /// One JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    source: Source,
}

const CHECK_HELP: &str = "\
Example:
  vlmgate config check --config vlmgate.yaml

An unset ${NAME} is a problem here as it is at the start of the gate.

Exit codes: 0 valid, 2 usage, 3 a file is invalid.";

/// Runs `vlmgate policy …`.
///
/// # Errors
/// Problems of the files, or stdout is closed.
pub fn run_policy(command: &PolicyCommand) -> Result<Exit, AppError> {
    match command {
        PolicyCommand::Lint(args) => lint(args),
        PolicyCommand::Show(args) => show(args),
        PolicyCommand::Test(args) => rehearse::run(args),
    }
}

/// Runs `vlmgate config …`.
///
/// # Errors
/// Problems of the files, or stdout is closed.
pub fn run_config(command: &ConfigCommand) -> Result<Exit, AppError> {
    let ConfigCommand::Check(args) = command;
    let config = args.source.read(Overrides::default())?;
    let policies = config.policy_loader().load()?.policies;
    App::try_judges(&config)?;
    let names: Vec<_> = policies.iter().map(|one| one.policy.name.clone()).collect();
    let judges = config.judge_names();
    if args.json {
        put(&json!({ "valid": true, "judges": judges, "policies": names }).to_string())?;
    } else {
        put(&format!("valid: judges {}; policies {}", judges.join(", "), names.join(", ")))?;
    }
    Ok(Exit::Done)
}

fn lint(args: &LintArgs) -> Result<Exit, AppError> {
    let judges = match &args.config {
        None => None,
        Some(file) => {
            // nobody is called: no key is needed
            let (environment, nothing) = (Environment::process(), Overrides::default());
            Some(Config::find_keyless(Some(file), &environment, &nothing)?.judge_names())
        }
    };
    let mut valid = true;
    for path in &args.paths {
        if !path.exists() {
            return Err(AppError::Usage(format!("{} does not exist", path.display())));
        }
        match read_all(path, judges.as_deref()) {
            Ok((files, policies)) => {
                for (path, loaded) in policies {
                    let policy = &loaded.policy;
                    let line = format!("{}: valid, revision {}", policy.name, policy.revision);
                    let json = json!({ "policy": policy.name, "valid": true,
                        "revision": policy.revision.to_string() });
                    put(&if args.json { json.to_string() } else { line })?;
                    let today = day_of(Timestamp::now());
                    for warning in doubts::warnings((&files, &path), policy, today) {
                        valid &= !args.strict;
                        put(&if args.json { warning.json().to_string() } else { warning.text() })?;
                    }
                }
                for file in untested(path) {
                    let file = file.display();
                    say(&format!("{file} has no tests: see `vlmgate policy test --help`"));
                }
            }
            Err(problems) => {
                valid = false;
                for problem in problems.list() {
                    let json = json!({ "valid": false, "problem": problem.to_string() });
                    put(&if args.json { json.to_string() } else { problem.to_string() })?;
                }
            }
        }
    }
    Ok(if valid { Exit::Done } else { Exit::Invalid })
}

/// The policies of a file or a folder, each with its path under the folder.
type Read = (PolicyFiles, Vec<(String, LoadedPolicy)>);

fn read_all(path: &Path, judges: Option<&[String]>) -> Result<Read, Problems> {
    if path.is_dir() {
        let files = PolicyFiles::read(path)?;
        let loaded = files.load_by_path(judges)?;
        return Ok((files, loaded));
    }
    let (files, name) = PolicyFiles::around(path)?;
    let loaded = files.load_one(&name, judges)?;
    Ok((files, vec![(name, loaded)]))
}

fn show(args: &ShowArgs) -> Result<Exit, AppError> {
    if !args.path.exists() {
        return Err(AppError::Usage(format!("{} does not exist", args.path.display())));
    }
    let loaded = PolicyFiles::read_policy(&args.path, None)?;
    let policy = &loaded.policy;
    let resolved = whole(policy);
    if args.json {
        put(&resolved.to_string())?;
        return Ok(Exit::Done);
    }
    put(&format!(
        "{}: {}\nrevision {}\njudging  {}\nasked    {}\n",
        policy.name, policy.description, policy.revision, policy.judging, policy.asked
    ))?;
    let pretty = serde_json::to_string_pretty(&resolved).map_err(AppError::json)?;
    put(&pretty)?;
    Ok(Exit::Done)
}
