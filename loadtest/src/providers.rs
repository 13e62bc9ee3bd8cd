//! `loadtest providers`: simulated providers that run until they are told to stop.

use std::fs;
use std::io;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use loadtest::Admin;
use loadtest::Behaviour;
use loadtest::Dialect;
use loadtest::Fault;
use loadtest::Judging;
use loadtest::Latency;
use loadtest::Law;
use loadtest::Settings;
use loadtest::SimulatedProvider;
use loadtest::vlmgate_config;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;

/// What the command is called with.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// A provider `NAME=DIALECT:PORT[:LAW]`, as in `a=openai:18081:A`; may be repeated, and then the
    /// usual four are left out. With a law (A, B, C, D) it has the latencies and the slots of the
    /// simulation's provider.
    #[arg(long = "provider", value_name = "PROVIDER")]
    named: Vec<Named>,
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
    /// Open the admin port here on loopback (0: any free one).
    #[arg(long, value_name = "PORT")]
    admin: Option<u16>,
    /// What all chances hang on: the same seed and the same images give the same run.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Phases, seconds, over each of which a provider is as fast on the whole as its law says; without
    /// them its speed drifts as it comes.
    #[arg(long, value_name = "15,15,40", value_delimiter = ',')]
    drift_phases: Vec<u32>,
    /// How many calls each log keeps: the newest.
    #[arg(long, value_name = "N", default_value_t = 250_000)]
    max_calls_logged: usize,
    /// Answer after exactly so long; without it latencies are drawn as real ones are.
    #[arg(long, value_name = "N")]
    latency_ms: Option<u64>,
    /// What goes wrong: a name (`blackhole`), a status (`503`) or JSON as in scenario files
    /// (`{"status":{"code":429,"retry_after_s":2}}`).
    #[arg(long, value_name = "FAULT")]
    fault: Option<Fault>,
    /// Which provider the fault is on, by name; may be repeated; without it on all.
    #[arg(long, value_name = "NAME", requires = "fault")]
    on: Vec<String>,
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

/// One provider of the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Named {
    name: String,
    dialect: Dialect,
    port: u16,
    law: Option<Law>,
}

impl FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || format!("\"{text}\" is not NAME=DIALECT:PORT[:LAW]");
        let (name, rest) =
            text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(form)?;
        let mut parts = rest.split(':');
        let dialect = parts.next().ok_or_else(form)?;
        let dialect = dialect.parse().map_err(|error| format!("{}: {error}", form()))?;
        let port = parts.next().and_then(|port| port.parse().ok()).ok_or_else(form)?;
        let law = match parts.next() {
            None => None,
            Some(law) => Some(law.parse().map_err(|error| format!("{}: {error}", form()))?),
        };
        if parts.next().is_some() {
            return Err(form());
        }
        Ok(Self { name: name.to_owned(), dialect, port, law })
    }
}

/// Serves until ctrl-c or SIGTERM.
///
/// # Errors
///
/// A port that cannot be had, a file that cannot be written, no one to tell.
pub(crate) async fn run(options: &Options) -> io::Result<()> {
    let mut stop = signal(SignalKind::terminate())?;
    let all = all(options);
    check_names(options, &all)?;
    let mut providers = Vec::new();
    for named in &all {
        providers.push(start(options, named)?);
    }
    let admin = match options.admin {
        Some(port) => Some(Admin::start((Ipv4Addr::LOCALHOST, port).into(), &providers).await?),
        None => None,
    };
    announce(options, &providers, admin.as_ref())?;
    tokio::select! {
        asked = tokio::signal::ctrl_c() => asked?,
        _ = stop.recv() => {}
    }
    for provider in providers {
        provider.shutdown().await;
    }
    Ok(())
}

fn all(options: &Options) -> Vec<Named> {
    if !options.named.is_empty() {
        return options.named.clone();
    }
    let usual = |dialect: Dialect| {
        let port = match dialect {
            Dialect::OpenAi => options.openai,
            Dialect::Anthropic => options.anthropic,
            Dialect::Gemini => options.gemini,
            Dialect::Mistral => options.mistral,
        };
        Named { name: dialect.label().to_owned(), dialect, port, law: None }
    };
    Dialect::ALL.into_iter().map(usual).collect()
}

/// Every name is one provider's, and a fault is on providers that are there.
fn check_names(options: &Options, all: &[Named]) -> io::Result<()> {
    let wrong = |problem| Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
    let count = |name: &str| all.iter().filter(|one| one.name == name).count();
    if let Some(twice) = all.iter().find(|one| 1 < count(&one.name)) {
        return wrong(format!("two providers are called \"{}\"", twice.name));
    }
    if let Some(unknown) = options.on.iter().find(|name| count(name) == 0) {
        return wrong(format!("no provider is called \"{unknown}\""));
    }
    Ok(())
}

fn start(options: &Options, named: &Named) -> io::Result<SimulatedProvider> {
    let Named { name, dialect, port, law } = named;
    let is_hit = options.on.is_empty() || options.on.contains(name);
    let latency = law.map_or_else(|| usual_latency(*dialect), Latency::Law);
    let judging = match law {
        None => Judging::ByImage { reject_share: options.reject_share, bias: 0.0 },
        Some(_) => Judging::latent(name, options.reject_share, 0.0),
    };
    let behaviour = Behaviour {
        latency: options.latency_ms.map_or(latency, Latency::ConstantMs),
        fault: options.fault.filter(|_| is_hit).unwrap_or_default(),
        share: options.share,
        slots: law.map(Law::slots),
        judging,
        ..Behaviour::default()
    };
    let settings = Settings {
        name: name.clone(),
        listen: (Ipv4Addr::LOCALHOST, *port).into(),
        behaviour,
        seed: options.seed,
        drift_phases_s: options.drift_phases.clone(),
        max_calls_logged: options.max_calls_logged,
        logs_prompts: false,
        ..Settings::new(*dialect)
    };
    SimulatedProvider::start(settings).map_err(|error| {
        let place = format!("{name} cannot listen on 127.0.0.1:{port}: {error}");
        io::Error::new(error.kind(), place)
    })
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
fn announce(
    options: &Options,
    providers: &[SimulatedProvider],
    admin: Option<&Admin>,
) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    for provider in providers {
        writeln!(stdout, "# {:<9} {}", provider.name(), provider.base_url())?;
    }
    if let Some(admin) = admin {
        writeln!(stdout, "# {:<9} http://{}", "admin", admin.address())?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_is_read_from_its_name_dialect_port_and_law() {
        let read = |text: &str| text.parse::<Named>();
        let (name, dialect) = ("a".to_owned(), Dialect::OpenAi);
        assert_eq!(
            read("a=openai:18081:A"),
            Ok(Named { name: name.clone(), dialect, port: 18081, law: Some(Law::A) })
        );
        assert_eq!(read("a=openai:0"), Ok(Named { name, dialect, port: 0, law: None }));
        for wrong in
            ["openai:1", "=openai:1", "a=cohere:1", "a=openai", "a=openai:1:E", "a=openai:1:A:B"]
        {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
