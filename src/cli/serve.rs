//! `vlmgate serve`: runs the gate until told to stop.

use std::io::IsTerminal;

use clap::Args;

use crate::app::{self, App, AppError};
use crate::cli::{Exit, Source, say};
use crate::config::Overrides;
use crate::telemetry::install_metrics;
use crate::telemetry::log::{LogFilter, install_logs};

/// Arguments of `vlmgate serve`.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct ServeArgs {
    /// Address to listen on, instead of the configuration's (or `VLMGATE_LISTEN`)
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Answer on any address without keys: everybody who reaches it may judge, read and administer
    #[arg(long)]
    insecure_no_auth: bool,
    /// What to log, as a tracing directive
    #[arg(long, env = "VLMGATE_LOG", default_value = "info", value_name = "FILTER")]
    log: LogFilter,
    #[command(flatten)]
    source: Source,
}

const AFTER_HELP: &str = "\
Examples:
  vlmgate serve
  vlmgate serve --config vlmgate.yaml --listen 0.0.0.0:8080

It runs until SIGTERM or ctrl-C: then nothing new is taken, and what is under way is answered.

Exit codes: 0 told to stop, 1 the store, the address or a part of it failed, 2 usage, 3 the
configuration or a policy is invalid.";

/// Runs the gate.
///
/// # Errors
/// The files are invalid, the store cannot be opened, or the address cannot be bound.
pub fn run(args: &ServeArgs) -> Result<Exit, AppError> {
    // held to the end: the last lines are written when it goes
    let logs = install_logs(&args.log, std::io::stderr().is_terminal());
    let config = args.source.read(Overrides {
        listen: args.listen.clone(),
        insecure_no_auth: args.insecure_no_auth,
        ..Overrides::default()
    })?;
    let exporter = install_metrics(logs.dropped());
    let exporter = exporter.map_err(|why| AppError::Metrics(why.to_string()))?;
    app::block_on(async {
        let listen = config.server.listen;
        let listener = tokio::net::TcpListener::bind(listen).await;
        let listener = listener.map_err(|why| AppError::Bind(listen, why))?;
        let mut app = App::build(config).await?;
        let stop = app.stop_signals()?;
        let bound = listener.local_addr().unwrap_or(listen);
        say(&format!("vlmgate: listening on http://{bound}"));
        app.serve(listener, Some(exporter), stop).await
    })??;
    Ok(Exit::Done)
}
