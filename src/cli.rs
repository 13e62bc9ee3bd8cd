//! The command line: one command, one exit code. stdout is data, stderr is for people.

pub mod calibrate;
pub mod check;
pub mod checks;
pub mod doctor;
mod doubts;
pub mod drift;
pub mod drill;
pub mod files;
pub mod import;
pub mod rehearse;
pub mod report;
pub mod serve;
pub mod table;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::app::AppError;
use crate::config::environment::Environment;
use crate::config::{Config, LeftOut, Overrides};
use crate::ledger::Settings;
use crate::ledger::reader::Reader;

/// How a command ended, as the shell sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done; a `review` too.
    Done,
    /// The tool failed.
    Failed,
    /// Arguments that name nothing.
    Usage,
    /// A configuration or policy file is invalid.
    Invalid,
    /// At least one image failed or was refused.
    Rejected,
    /// A policy test or a drill failed.
    TestFailed,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Invalid => 3,
            Exit::Rejected => 10,
            Exit::TestFailed => 100,
        })
    }
}

const AFTER_HELP: &str = "\
stdout is data, stderr is for people. A flag comes before VLMGATE_*, and that before the file.

Exit codes: 0 done, 1 the tool failed, 2 usage, 3 a configuration or policy file is invalid, 10 an
image failed or was refused, 100 a policy test or a drill failed.";

/// A quality gate for generated images: a verdict before the deadline, and a record of who judged.
#[derive(Debug, Parser)]
#[command(name = "vlmgate", version, about, after_help = AFTER_HELP)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gate
    Serve(serve::ServeArgs),
    /// Check image files: the whole pipeline, no server
    Check(check::CheckArgs),
    /// Measure how well local checks tell good pictures from broken ones
    #[command(subcommand)]
    Checks(checks::ChecksCommand),
    /// Read policy files, and play their tests
    #[command(subcommand)]
    Policy(files::PolicyCommand),
    /// Read the configuration
    #[command(subcommand)]
    Config(files::ConfigCommand),
    /// Say what to add to each judge's scores so that it rejects the share that the first one does
    Calibrate(calibrate::CalibrateArgs),
    /// Say what would keep the gate from working, one line each, with the fix
    Doctor(doctor::DoctorArgs),
    /// Break one judge of a running gate for a while, and see whether anybody is worse off
    Drill(drill::DrillArgs),
    /// Say what made the reject rate move: the images, the routing, the policy or a judge
    #[command(subcommand)]
    Drift(drift::DriftCommand),
    /// Tell a stretch of time as one HTML file: what moved, who judged, how fast, for how much
    Report(report::ReportArgs),
    /// Bring exported records into the store: a backup, another store's, a made-up history
    Import(import::ImportArgs),
}

/// Where the configuration comes from.
#[derive(Args, Clone, Debug, Default)]
pub struct Source {
    /// Configuration file (or `VLMGATE_CONFIG`); else ./vlmgate.yaml; else loopback, ./data and
    /// the shipped policy
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Folder of policies, instead of the configuration's (or `VLMGATE_POLICIES`)
    #[arg(long, value_name = "DIR")]
    pub policies: Option<PathBuf>,
    /// Folder of records and images, instead of the configuration's (or `VLMGATE_DATA`)
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

impl Source {
    /// Reads the configuration.
    ///
    /// # Errors
    /// The problems of every file, a line each.
    pub fn read(&self, overrides: Overrides) -> Result<Config, AppError> {
        let overrides =
            Overrides { policies: self.policies.clone(), data: self.data.clone(), ..overrides };
        let environment = Environment::process();
        let config = Config::find(self.config.as_deref(), &environment, &overrides)?;
        for LeftOut { judge, variable } in &config.left_out {
            say(&format!("vlmgate: {judge} is left out: {variable} is not set"));
        }
        if config.judges.is_empty() {
            say("vlmgate: no judge has a key: `local` answers, which measures and does not see");
        }
        Ok(config)
    }

    /// Reads the configuration for a command that calls nobody: no key is missed, none is asked for.
    ///
    /// # Errors
    /// The problems of every file, a line each.
    pub fn read_keyless(&self) -> Result<Config, AppError> {
        let overrides = Overrides {
            policies: self.policies.clone(),
            data: self.data.clone(),
            ..Overrides::default()
        };
        let environment = Environment::process();
        Ok(Config::find_keyless(self.config.as_deref(), &environment, &overrides)?)
    }
}

/// Runs the command that the arguments name.
#[must_use]
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let ended = match cli.command {
        Command::Serve(args) => serve::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Checks(command) => checks::run(&command),
        Command::Policy(command) => files::run_policy(&command),
        Command::Config(command) => files::run_config(&command),
        Command::Calibrate(args) => calibrate::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Drill(args) => drill::run(&args),
        Command::Drift(command) => drift::run(&command),
        Command::Report(args) => report::run(&args),
        Command::Import(args) => import::run(&args),
    };
    match ended {
        Ok(exit) => exit.into(),
        Err(AppError::Files(problems)) => {
            say(&problems.to_string());
            Exit::Invalid.into()
        }
        Err(why) => {
            say(&format!("vlmgate: {why}"));
            exit_of(&why).into()
        }
    }
}

fn exit_of(why: &AppError) -> Exit {
    match why {
        AppError::Usage(_) => Exit::Usage,
        AppError::Files(_) | AppError::Judge { .. } => Exit::Invalid,
        AppError::Store(_)
        | AppError::NoStore(_)
        | AppError::Bind(..)
        | AppError::Metrics(_)
        | AppError::Pool(_)
        | AppError::Signals(_)
        | AppError::Shed(_)
        | AppError::Output(_)
        | AppError::Internal(_) => Exit::Failed,
    }
}

/// Writes a line for people. A closed stderr is no reason to fail.
pub fn say(line: &str) {
    drop(writeln!(io::stderr(), "{}", line.trim_end()));
}

/// Writes data.
///
/// # Errors
/// stdout is closed or full.
pub fn put(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    if !text.ends_with('\n') {
        out.write_all(b"\n")?;
    }
    out.flush()
}

/// The store of a command that only reads it, also beside a running gate.
///
/// # Errors
/// There is none yet, or it cannot be read.
pub async fn stored(settings: &Settings) -> Result<Reader, AppError> {
    // SQLite would only say that it cannot open a file
    if !settings.path.exists() {
        return Err(AppError::NoStore(settings.path.clone()));
    }
    Ok(Reader::open(settings).await?)
}

/// `1 record`, `12 records`.
#[must_use]
pub fn counted(n: u64, one: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{n} {one}{plural}")
}

/// An argument of the form `K=V`.
///
/// # Errors
/// There is no `=`, or nothing before it.
pub fn key_value(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(key, _)| !key.is_empty());
    let pair = pair.ok_or_else(|| format!("{text:?} is not K=V"))?;
    Ok((pair.0.to_owned(), pair.1.to_owned()))
}
