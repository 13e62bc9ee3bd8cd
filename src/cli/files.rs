//! `vlmgate policy lint|show|test` and `vlmgate config check`: files read without a network.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;

use crate::app::{App, AppError};
use crate::cli::{Exit, Source, put, rehearse, say};
use crate::clock::Timestamp;
use crate::clock::dates::day_of;
use crate::config::environment::Environment;
use crate::config::files::PolicyFiles;
use crate::config::problem::Problems;
use crate::config::rehearsal::untested;
use crate::config::revision::whole;
use crate::config::{Config, LOCAL_JUDGE, Overrides};
use crate::domain::Policy;
use crate::domain::policy::offset::Doubt;
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

/// Arguments of `vlmgate policy show`.
#[derive(Args, Debug)]
pub struct ShowArgs {
    /// A policy file
    #[arg(value_name = "FILE")]
    path: PathBuf,
    /// JSON instead of text
    #[arg(long)]
    json: bool,
}

/// Arguments of `vlmgate config check`.
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// One JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    source: Source,
}

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
            let config = Config::read(file, &Environment::process(), &Overrides::default())?;
            Some(config.judge_names())
        }
    };
    let mut valid = true;
    for path in &args.paths {
        if !path.exists() {
            return Err(AppError::Usage(format!("{} does not exist", path.display())));
        }
        match read_all(path, judges.as_deref()) {
            Ok(policies) => {
                for loaded in policies {
                    let policy = &loaded.policy;
                    let line = format!("{}: valid, revision {}", policy.name, policy.revision);
                    let json = json!({ "policy": policy.name, "valid": true,
                        "revision": policy.revision.to_string() });
                    put(&if args.json { json.to_string() } else { line })?;
                    valid &= !(warn(policy, args.json)? && args.strict);
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

/// Says which judges' lines are in doubt; whether there is one.
fn warn(policy: &Policy, json: bool) -> Result<bool, AppError> {
    let doubts = policy.doubts(day_of(Timestamp::now()), LOCAL_JUDGE);
    let primary = policy.route.judges.first().map(String::as_str).unwrap_or_default();
    let all = doubts.iter().flat_map(|(judge, doubts)| doubts.iter().map(move |one| (judge, one)));
    for (judge, doubt) in all {
        let told = sentence(judge, doubt, primary);
        let json_line = || {
            json!({ "policy": policy.name, "valid": true, "judge": judge,
                "doubt": doubt.label(), "warning": told })
        };
        let line = format!("{}: warning: {told}", policy.name);
        put(&if json { json_line().to_string() } else { line })?;
    }
    Ok(!doubts.is_empty())
}

fn sentence(judge: &str, doubt: &Doubt, primary: &str) -> String {
    let again = "run `vlmgate calibrate` again";
    match doubt {
        Doubt::Uncalibrated => format!(
            "{judge} stands in for {primary} and is not calibrated: when it does, the reject rate \
             moves by what the two differ; see `vlmgate calibrate --help`"
        ),
        Doubt::Old { days } => format!("{judge} was calibrated {days} days ago: {again}"),
        Doubt::OtherPrimary { against } => {
            format!("{judge} was calibrated to {against}, and {primary} is asked first: {again}")
        }
        Doubt::AskedOtherwise => format!(
            "{judge} was calibrated when judges were asked or shown something else: {again}"
        ),
    }
}

fn read_all(path: &Path, judges: Option<&[String]>) -> Result<Vec<LoadedPolicy>, Problems> {
    if path.is_dir() {
        return PolicyFiles::read(path)?.load(judges);
    }
    PolicyFiles::read_policy(path, judges).map(|one| vec![one])
}

fn show(args: &ShowArgs) -> Result<Exit, AppError> {
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
