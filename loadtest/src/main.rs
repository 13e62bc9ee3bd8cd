//! `loadtest`: simulated providers, load with faults against a gate, and the report, on the command line.

mod providers;

use std::error::Error;
use std::fs;
use std::io;
use std::io::Write as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use clap::Parser;
use clap::Subcommand;
use loadtest::report::Report;
use loadtest::report::Whole;
use loadtest::rig::RigError;
use loadtest::rig::command::RunArgs;
use loadtest::rig::images::ImagesArgs;
use loadtest::rig::sustain::SustainArgs;
use loadtest::scenario::Scenario;
use loadtest::story::demo::DemoArgs;
use loadtest::story::drift::DriftArgs;
use loadtest::story::shadow::Seen;
use loadtest::story::shadow::ShadowArgs;
use tokio::runtime::Runtime;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;

const AFTER_HELP: &str = "\
Examples:
  loadtest demo
  loadtest run --short --out target/loadtest
  loadtest drift --pairs shadow --only routing

Exit codes: 0 done, every figure is met, 1 the rig failed, a scenario was not carried through or the
machine was too restless to measure, 2 the command line or a scenario file asks for what cannot be, 100 a figure was missed.";

/// Simulated providers on real sockets, and load with faults that holds a gate to its figures.
#[derive(Debug, Parser)]
#[command(version, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve simulated providers until ctrl-c or SIGTERM
    Providers(providers::Options),
    /// Drive a gate through scenarios and hold it to their figures
    Run(RunArgs),
    /// Search the highest rate that a gate holds
    Sustain(SustainArgs),
    /// Have a gate judge many images of one kind by itself, as fast as it can: images a second, memory,
    /// how late its event loop is; one that is lost is a miss
    Images(ImagesArgs),
    /// Start a gate with a made-up past and live traffic, all of it simulated, and say where its page is;
    /// until ctrl-c or SIGTERM
    Demo(DemoArgs),
    /// Make four things happen that move the reject rate, and hold what the gate says of each against
    /// what was so: an outage, the same calibrated, a stricter judge, blurred pictures
    Drift(DriftArgs),
    /// Send the same images to a gate that shows a tenth of them to another judge behind their
    /// verdicts and to one that does not, by turns, and hold the answers' times and verdicts against
    /// each other; where anybody pays for it is a miss
    Shadow(ShadowArgs),
    /// Merge the runs of some folders into one report
    Report(ReportArgs),
}

#[derive(Debug, Args)]
struct ReportArgs {
    /// Folders that `loadtest run` left something in
    #[arg(required = true, value_name = "DIR")]
    folders: Vec<PathBuf>,
    /// Write the page here as well
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Hold the parts together to every scenario of these files and folders
    #[arg(long, value_name = "PATH")]
    whole: Vec<PathBuf>,
    /// … each under at least so many seeds
    #[arg(long, value_name = "N", default_value_t = 1, requires = "whole")]
    seeds: usize,
}

impl ReportArgs {
    fn report(&self) -> Result<Report, Box<dyn Error>> {
        let report = Report::read(&self.folders)?;
        if self.whole.is_empty() {
            return Ok(report);
        }
        let scenarios = Scenario::read_all(&self.whole)?;
        let scenarios = scenarios.into_iter().map(|scenario| scenario.id).collect();
        Ok(report.held_to(&Whole { scenarios, seeds: self.seeds }))
    }
}

/// The exit code of a run that missed a figure.
const MISSED: u8 = 100;

/// The exit code of a command line that asks for what cannot be.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let options = Cli::parse();
    // the rig must be on time with few hands: the gate beside it needs the cores
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let ended = runtime.map_err(Into::into).and_then(|runtime| perform(&options.command, &runtime));
    ended.unwrap_or_else(|problem| {
        tell(&format!("loadtest: {problem}"));
        match problem.downcast_ref::<RigError>() {
            Some(problem) if problem.is_usage() => ExitCode::from(USAGE),
            Some(problem) if problem.is_miss() => ExitCode::from(MISSED),
            Some(_) | None => ExitCode::FAILURE,
        }
    })
}

fn perform(command: &Command, runtime: &Runtime) -> Result<ExitCode, Box<dyn Error>> {
    match command {
        Command::Providers(options) => {
            runtime.block_on(providers::run(options))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Run(options) => {
            let run = runtime.block_on(unless_stopped(options.run(tell)))?;
            let report = Report::merge(vec![run])?;
            conclude(&report, Some(&options.out().join("report.html")))
        }
        Command::Sustain(options) => {
            let run = runtime.block_on(unless_stopped(options.run(tell)))?;
            let report = Report::merge(vec![run])?;
            conclude(&report, Some(&options.out().join("report.html")))
        }
        Command::Images(options) => {
            let told = runtime.block_on(unless_stopped(options.run(tell)))?;
            writeln!(io::stdout(), "{told}")?;
            Ok(if told.lost == 0 { ExitCode::SUCCESS } else { ExitCode::from(MISSED) })
        }
        Command::Demo(options) => {
            runtime.block_on(until_stopped(options.run(tell)))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Drift(options) => {
            let held = runtime.block_on(unless_stopped(options.run(tell)))?;
            write!(io::stdout(), "{}", held.text())?;
            Ok(match (held.is_whole(), held.passed()) {
                (false, _) => ExitCode::FAILURE,
                (true, true) => ExitCode::SUCCESS,
                (true, false) => ExitCode::from(MISSED),
            })
        }
        Command::Shadow(options) => {
            let told = runtime.block_on(unless_stopped(options.run(tell)))?;
            write!(io::stdout(), "{}", told.text())?;
            Ok(match told.seen() {
                Seen::Held => ExitCode::SUCCESS,
                Seen::Missed => ExitCode::from(MISSED),
                Seen::Unsure => {
                    tell("loadtest: not measured: this machine was too restless to show a cost");
                    ExitCode::FAILURE
                }
            })
        }
        Command::Report(options) => conclude(&options.report()?, options.html.as_deref()),
    }
}

/// What `work` comes to, unless this process is told to stop: then it is dropped, and with it the gate
/// and the providers that it started.
async fn unless_stopped<T>(
    work: impl Future<Output = Result<T, RigError>>,
) -> Result<T, Box<dyn Error>> {
    let mut stop = signal(SignalKind::terminate())?;
    tokio::select! {
        done = work => Ok(done?),
        _ = stop.recv() => Err("told to stop".into()),
        asked = tokio::signal::ctrl_c() => {
            asked?;
            Err("stopped".into())
        }
    }
}

/// Lets `work` go on until this process is told to stop, which is how it is meant to end.
async fn until_stopped(
    work: impl Future<Output = Result<(), RigError>>,
) -> Result<(), Box<dyn Error>> {
    let mut stop = signal(SignalKind::terminate())?;
    tokio::select! {
        ended = work => Ok(ended?),
        _ = stop.recv() => Ok(()),
        asked = tokio::signal::ctrl_c() => Ok(asked?),
    }
}

/// Prints the summary, writes the page, and says how it went.
fn conclude(report: &Report, page: Option<&Path>) -> Result<ExitCode, Box<dyn Error>> {
    writeln!(io::stdout(), "{}", report.text())?;
    if let Some(path) = page {
        fs::write(path, report.html()).map_err(|why| format!("{}: {why}", path.display()))?;
        tell(&format!("the page: {}", path.display()));
    }
    Ok(match (report.is_whole(), report.passed()) {
        (false, _) => ExitCode::FAILURE,
        (true, true) => ExitCode::SUCCESS,
        (true, false) => ExitCode::from(MISSED),
    })
}

/// Tells people; a closed stderr leaves nobody to tell.
fn tell(text: &str) {
    let _told = writeln!(io::stderr(), "{text}");
}
