//! `vlmgate doctor`: what would keep the gate from working, one line each, with the fix.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::json;
use uuid::Uuid;

use crate::app::{self, App, AppError};
use crate::cli::{Exit, Source, put};
use crate::clock::{Deadline, Timestamp};
use crate::config::{Config, Overrides};
use crate::ledger::reader::Reader;

/// Longest that one judge's answer may take.
const PROBE_WITHIN: Duration = Duration::from_secs(5);
/// Longest that the running gate's answer may take.
const READY_WITHIN: Duration = Duration::from_secs(2);
/// Where Linux distributions keep the certificates that rustls' platform verifier reads.
const CERTIFICATES: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
];
/// A clock before this has not been set: 2026-01-01.
const EARLIEST_US: i64 = 1_767_225_600_000_000;

/// Arguments of `vlmgate doctor`.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct DoctorArgs {
    /// Ask only whether the gate at this address is ready (for container health checks)
    #[arg(long, value_name = "URL")]
    probe: Option<String>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    source: Source,
}

const AFTER_HELP: &str = "\
Examples:
  vlmgate doctor --config vlmgate.yaml
  vlmgate doctor --probe http://127.0.0.1:8080

Each judge is called once, with no image; a store is only read.

Exit codes: 0 all is well, 1 a line says FAIL, 2 usage, 3 the configuration is invalid.";

struct Line {
    what: String,
    ok: bool,
    says: String,
}

impl Line {
    fn new(what: impl Into<String>, found: Result<String, String>) -> Self {
        let (ok, says) = match found {
            Ok(says) => (true, says),
            Err(says) => (false, says),
        };
        Self { what: what.into(), ok, says }
    }
}

/// Runs every examination.
///
/// # Errors
/// The configuration is invalid, or stdout is closed.
pub fn run(args: &DoctorArgs) -> Result<Exit, AppError> {
    if let Some(url) = &args.probe {
        let line = Line::new("ready", is_ready(url));
        return report(args, &[line]);
    }
    let config = args.source.read(Overrides::default())?;
    let mut lines = vec![Line::new("config", Ok(config.summary()))];
    let policies = config.policy_loader().load();
    lines.push(match policies {
        Ok(loaded) => {
            let names: Vec<_> = loaded.policies.iter().map(|one| one.policy.name.clone()).collect();
            Line::new("policies", Ok(names.join(", ")))
        }
        Err(problems) => Line::new("policies", Err(problems.to_string())),
    });
    lines.push(Line::new("clock", clock()));
    lines.push(Line::new("certificates", certificates()));
    let judged = app::block_on(async {
        let store = Line::new("store", store(&config).await);
        let mut lines = vec![store];
        for judge in App::probe_all(&config, Deadline::after(PROBE_WITHIN)).await {
            let (name, found) = judge;
            lines.push(Line::new(format!("judge {name}"), found));
        }
        lines
    })?;
    lines.extend(judged);
    report(args, &lines)
}

fn report(args: &DoctorArgs, lines: &[Line]) -> Result<Exit, AppError> {
    for line in lines {
        let word = if line.ok { "ok  " } else { "FAIL" };
        put(&if args.json {
            json!({ "what": line.what, "ok": line.ok, "says": line.says }).to_string()
        } else {
            format!("{word} {}: {}", line.what, line.says)
        })?;
    }
    Ok(if lines.iter().all(|line| line.ok) { Exit::Done } else { Exit::Failed })
}

fn clock() -> Result<String, String> {
    let now = Timestamp::now();
    if now.0 < EARLIEST_US {
        return Err(format!("{now} lies before this program was written: set the clock (NTP)"));
    }
    Ok(now.to_string())
}

fn certificates() -> Result<String, String> {
    let found = CERTIFICATES.iter().find(|path| Path::new(path).is_file());
    found.map(|path| (*path).to_owned()).ok_or_else(|| {
        "none found: no provider can be reached over TLS; install ca-certificates".to_owned()
    })
}

/// Reads the store, and changes nothing: a gate may run on it.
async fn store(config: &Config) -> Result<String, String> {
    let settings = config.ledger_settings();
    if !settings.path.exists() {
        return made_at_start(&settings.path);
    }
    let reader = Reader::open(&settings).await.map_err(|why| why.to_string())?;
    let health = reader.check().await.map_err(|why| why.to_string())?;
    if !health.problems.is_empty() {
        let problems = health.problems.join("; ");
        return Err(format!("{problems}: restore it from a backup, or start with a new folder"));
    }
    Ok(format!("{} records, {} bytes", health.records, health.file_bytes))
}

/// Whether a gate could make `file`: tried with another one, in the nearest folder that exists.
fn made_at_start(file: &Path) -> Result<String, String> {
    let mut folders = file.ancestors().skip(1);
    let here = |folder: &Path| if folder == "" { PathBuf::from(".") } else { folder.to_owned() };
    let folder = folders.find(|folder| here(folder).exists()).map_or_else(PathBuf::new, here);
    let trial = folder.join(format!(".vlmgate-{}", Uuid::now_v7()));
    let tried = File::create_new(&trial).and_then(|_| fs::remove_file(&trial));
    tried.map_err(|why| format!("{} cannot be written in: {why}", folder.display()))?;
    Ok(format!("{}: no records yet, made at the first start", file.display()))
}

/// One GET of `/readyz`, by hand: a health check must not need more than the standard library.
fn is_ready(url: &str) -> Result<String, String> {
    let address = url.trim_start_matches("http://").trim_end_matches('/');
    let unreachable = |why: std::io::Error| format!("{address}: {why}");
    let mut resolved = address.to_socket_addrs().map_err(unreachable)?;
    let target = resolved.next().ok_or_else(|| format!("{address} names no address"))?;
    let mut stream = TcpStream::connect_timeout(&target, READY_WITHIN).map_err(unreachable)?;
    stream.set_read_timeout(Some(READY_WITHIN)).map_err(unreachable)?;
    let request = "GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n";
    stream.write_all(request.as_bytes()).map_err(unreachable)?;
    let mut answer = String::new();
    stream.take(4_096).read_to_string(&mut answer).map_err(unreachable)?;
    let status = answer.split_whitespace().nth(1).unwrap_or("no status");
    if status == "200" { Ok("200".to_owned()) } else { Err(format!("answered {status}")) }
}
