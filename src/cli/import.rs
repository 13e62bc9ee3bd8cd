//! `vlmgate import`: exported records into the store, in the order of time.
//!
//! An export is newest first, and records count in the order in which they are stored, so what comes
//! is first looked through, line by line, and put aside on the disk; of each record only its moment
//! and its place stay in memory. Only then is anything stored.

mod spool;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::time::Duration;

use clap::Args;
use flate2::bufread::MultiGzDecoder;
use serde_json::json;

use crate::app::{self, AppError};
use crate::cli::import::spool::Spool;
use crate::cli::{Exit, Source, put, say};
use crate::clock::Deadline;
use crate::config::{Config, Overrides};
use crate::domain::record::SIMULATED;
use crate::ledger::follow::Follower;
use crate::ledger::form::RecordForm;
use crate::ledger::import::{BATCH_RECORDS, Imported, Older};
use crate::ledger::{Ledger, LedgerError};

/// Longest line that can be a record.
const MAX_LINE_BYTES: u64 = 4 << 20;
/// Bad lines that are told one by one; the rest is counted.
const MAX_TOLD: u64 = 50;
/// Longest that some hundred records may take.
const BATCH_WITHIN: Duration = Duration::from_secs(60);
/// Between two looks at how far the sums are.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Looks without progress after which the rest is left to the gate's next start.
const PATIENCE: u32 = 100;
/// Longest that closing may take.
const CLOSE_WITHIN: Duration = Duration::from_secs(10);
/// What every gzip file begins with.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Arguments of `vlmgate import`.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct ImportArgs {
    /// Records as `/v1/verdicts:export?format=ndjson` writes them, plain or gzip; `-` for stdin
    #[arg(required = true, value_name = "FILE")]
    files: Vec<String>,
    /// Store nothing unless every line is a record
    #[arg(long)]
    strict: bool,
    /// Give every record the flag `simulated`
    #[arg(long)]
    simulated: bool,
    /// Also records older than the newest that the store has of their policy: they are listed and
    /// added up, and drift does not look at them
    #[arg(long)]
    into_newer: bool,
    /// What was done as one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    source: Source,
}

const AFTER_HELP: &str = "\
The gate must not run on this store meanwhile. A record whose id is in the store already is left as
it is, so the same file may come twice. Pictures, people's labels and what shadows said are not part
of an export.

  curl -s 'http://127.0.0.1:8080/v1/verdicts:export?format=ndjson' | gzip > records.ndjson.gz
  vlmgate import records.ndjson.gz --data elsewhere/data

Exit codes: 0 every line is in the store, 1 some line is no record or the store failed, 2 a file
cannot be read, 3 the configuration is invalid.";

/// Brings records into the store.
///
/// # Errors
/// The configuration is invalid, a file cannot be read, the store is in use or fails.
pub fn run(args: &ImportArgs) -> Result<Exit, AppError> {
    let config = args.source.read(Overrides::default())?;
    app::block_on(bring(args, &config))?
}

async fn bring(args: &ImportArgs, config: &Config) -> Result<Exit, AppError> {
    let settings = config.ledger_settings();
    let folder = settings.path.parent().unwrap_or(Path::new(".")).to_owned();
    // first: a gate that runs holds it, and nothing else need be tried then
    let ledger = Ledger::open(settings).await?;
    let read = look_through(args, &folder);
    let mut imported = Imported::default();
    let stored = match &read {
        Ok(spool) if args.strict && spool.bad() != 0 => {
            say("vlmgate: nothing is stored, because of --strict");
            Ok(())
        }
        Ok(spool) => store(&ledger, config, spool, args, &mut imported).await,
        Err(_) => Ok(()),
    };
    if ledger.close(Deadline::after(CLOSE_WITHIN)).await.is_err() {
        say("vlmgate: the store did not close in time; it opens clean all the same");
    }
    // what is stored is told, whatever came after it
    let spool = read?;
    tell(args, &spool, imported)?;
    stored?;
    Ok(if spool.bad() == 0 { Exit::Done } else { Exit::Failed })
}

/// Reads every line of every file.
fn look_through(args: &ImportArgs, folder: &Path) -> Result<Spool, AppError> {
    let mut spool = Spool::beside(folder)?;
    for name in &args.files {
        let unreadable = |why: io::Error| AppError::Usage(format!("{name}: {why}"));
        if name == "-" {
            look_at(name, unpacked(io::stdin().lock()).map_err(unreadable)?, &mut spool)?;
        } else {
            let file = File::open(name).map_err(unreadable)?;
            look_at(name, unpacked(BufReader::new(file)).map_err(unreadable)?, &mut spool)?;
        }
    }
    spool.settle()?;
    Ok(spool)
}

/// The lines of a file, whether it is packed or not.
fn unpacked<'a>(mut packed: impl BufRead + 'a) -> io::Result<Box<dyn BufRead + 'a>> {
    let is_packed = packed.fill_buf()?.starts_with(&GZIP);
    Ok(if is_packed {
        Box::new(BufReader::new(MultiGzDecoder::new(packed)))
    } else {
        Box::new(packed)
    })
}

fn look_at(
    name: &str,
    mut lines: Box<dyn BufRead + '_>,
    spool: &mut Spool,
) -> Result<(), AppError> {
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        let read = lines.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line);
        let read = read.map_err(|why| AppError::Usage(format!("{name}, line {number}: {why}")))?;
        if read == 0 {
            break;
        }
        if read as u64 == MAX_LINE_BYTES && !line.ends_with(b"\n") {
            let why = format!("{name}, line {number}: longer than {MAX_LINE_BYTES} bytes");
            return Err(AppError::Usage(why));
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        match serde_json::from_slice::<RecordForm>(&line) {
            Ok(record) => spool.keep(&record, &line)?,
            Err(why) => {
                let told = spool.count_bad();
                if told <= MAX_TOLD {
                    say(&format!("vlmgate: {name}, line {number} is no record: {why}"));
                }
            }
        }
    }
    Ok(())
}

/// Stores what was put aside, and counts it.
async fn store(
    ledger: &Ledger,
    config: &Config,
    spool: &Spool,
    args: &ImportArgs,
    imported: &mut Imported,
) -> Result<(), AppError> {
    let older = if args.into_newer { Older::Counted } else { Older::Refused };
    let follower = ledger.follow(config.follow_settings())?;
    for batch in spool.batches(BATCH_RECORDS) {
        let mut records = batch?;
        for record in records.iter_mut().filter(|_| args.simulated) {
            if !record.flags.iter().any(|flag| flag == SIMULATED) {
                record.flags.push(SIMULATED.to_owned());
            }
        }
        let told = ledger.import(records, older, Deadline::after(BATCH_WITHIN)).await;
        let told = told.map_err(|why| match matches!(why, LedgerError::Older { .. }) {
            true => AppError::Usage(format!("{why}; with --into-newer they are only added up")),
            false => AppError::Store(why),
        })?;
        imported.stored += told.stored;
        imported.present += told.present;
        imported.unwatched += told.unwatched;
    }
    count(ledger, follower).await;
    Ok(())
}

/// Waits until the sums hold what was stored.
async fn count(ledger: &Ledger, follower: Follower) {
    let (mut left, mut looks) = (ledger.stats().uncounted, 0);
    while left != 0 && looks < PATIENCE {
        Deadline::after(LOOK_EVERY).passed().await;
        let now = ledger.stats().uncounted;
        looks = if now == left { looks + 1 } else { 0 };
        left = now;
    }
    let is_counted = follower.finish(Deadline::after(CLOSE_WITHIN)).await.is_ok();
    if left != 0 || !is_counted {
        say(&format!("vlmgate: {left} records are counted when the gate starts"));
    }
}

fn tell(args: &ImportArgs, spool: &Spool, imported: Imported) -> Result<(), AppError> {
    let Imported { stored, present, unwatched } = imported;
    if unwatched != 0 {
        say(&format!(
            "vlmgate: {unwatched} of them are added up and not watched: newer ones are here"
        ));
    }
    let (records, bad) = (spool.records(), spool.bad());
    if args.json {
        let told = json!({ "records": records, "stored": stored, "present": present, "bad": bad });
        put(&told.to_string())?;
        return Ok(());
    }
    put(&format!("{stored} records stored, {present} were here already"))?;
    if bad != 0 {
        say(&format!("vlmgate: {bad} lines are no records"));
    }
    Ok(())
}
