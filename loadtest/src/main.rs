//! `loadtest`: the simulated providers on the command line.

use std::fs;
use std::io;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use clap::Parser;
use clap::Subcommand;
use loadtest::Behaviour;
use loadtest::Dialect;
use loadtest::Fault;
use loadtest::Judging;
use loadtest::Latency;
use loadtest::Settings;
use loadtest::SimulatedProvider;
use loadtest::vlmgate_config;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;

/// Simulated providers on real sockets, with faults as data.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the four providers until ctrl-c or SIGTERM.
    Providers(Providers),
}

#[derive(Debug, Args)]
struct Providers {
    /// Port of the OpenAI provider (0: any free one).
    #[arg(long, value_name = "PORT", default_value_t = 18081)]
    openai: u16,
    /// Port of the Anthropic provider.
    #[arg(long, value_name = "PORT", default_value_t = 18082)]
    anthropic: u16,
    /// Port of the Gemini provider.
    #[arg(long, value_name = "PORT", default_value_t = 18083)]
    gemini: u16,
    /// Port of the Mistral provider.
    #[arg(long, value_name = "PORT", default_value_t = 18084)]
    mistral: u16,
    /// Answer after exactly so long; without it latencies are drawn as real ones are.
    #[arg(long, value_name = "N")]
    latency_ms: Option<u64>,
    /// What goes wrong: a name (`blackhole`), a status (`503`) or JSON as in scenario files
    /// (`{"status":{"code":429,"retry_after_s":2}}`).
    #[arg(long, value_name = "FAULT")]
    fault: Option<Fault>,
    /// Which provider the fault is on; may be repeated; without it on all.
    #[arg(long, value_name = "PROVIDER", requires = "fault")]
    on: Vec<Dialect>,
    /// The share of calls that the fault hits, 0..1.
    #[arg(long, value_name = "SHARE", requires = "fault", default_value_t = 1.0)]
    share: f64,
    /// The share of images that score low on one criterion, 0..1.
    #[arg(long, value_name = "SHARE", default_value_t = 0.08)]
    reject_share: f64,
    /// Write the vlmgate configuration to this file instead of stdout.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

fn main() -> ExitCode {
    let Command::Providers(options) = Cli::parse().command;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime.and_then(|runtime| runtime.block_on(run(&options))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A closed stderr leaves nobody to tell.
            let _told = writeln!(io::stderr(), "loadtest: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Providers) -> io::Result<()> {
    let mut stop = signal(SignalKind::terminate())?;
    let mut providers = Vec::new();
    for dialect in Dialect::ALL {
        providers.push(start(options, dialect)?);
    }
    announce(options, &providers)?;
    tokio::select! {
        asked = tokio::signal::ctrl_c() => asked?,
        _ = stop.recv() => {}
    }
    for provider in providers {
        provider.shutdown().await;
    }
    Ok(())
}

fn start(options: &Providers, dialect: Dialect) -> io::Result<SimulatedProvider> {
    let port = match dialect {
        Dialect::OpenAi => options.openai,
        Dialect::Anthropic => options.anthropic,
        Dialect::Gemini => options.gemini,
        Dialect::Mistral => options.mistral,
    };
    let is_hit = options.on.is_empty() || options.on.contains(&dialect);
    let behaviour = Behaviour {
        latency: options.latency_ms.map_or_else(|| usual_latency(dialect), Latency::ConstantMs),
        fault: options.fault.filter(|_| is_hit).unwrap_or_default(),
        share: options.share,
        judging: Judging::ByImage { reject_share: options.reject_share, bias: 0.0 },
    };
    let listen = (Ipv4Addr::LOCALHOST, port).into();
    SimulatedProvider::start(Settings { listen, behaviour, ..Settings::new(dialect) }).map_err(
        |error| {
            let place = format!("{} cannot listen on 127.0.0.1:{port}: {error}", dialect.label());
            io::Error::new(error.kind(), place)
        },
    )
}

/// Medians and tails of the order that small vision models show.
const fn usual_latency(dialect: Dialect) -> Latency {
    let (median_ms, sigma) = match dialect {
        Dialect::OpenAi => (630, 0.22),
        Dialect::Anthropic => (750, 0.29),
        Dialect::Gemini => (600, 0.35),
        Dialect::Mistral => (900, 0.35),
    };
    Latency::LogNormal { median_ms, sigma }
}

/// Says where the providers are, and how a gate is pointed at them.
fn announce(options: &Providers, providers: &[SimulatedProvider]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    for provider in providers {
        writeln!(stdout, "# {:<9} {}", provider.dialect().label(), provider.base_url())?;
    }
    let yaml = vlmgate_config(providers);
    match &options.config {
        Some(path) => {
            fs::write(path, yaml)?;
            writeln!(stdout, "# wrote {}", path.display())?;
        }
        None => write!(stdout, "{yaml}")?,
    }
    stdout.flush()
}
