//! `vlmgate import`: exported records into the store, in the order of time.
//!
//! An export is newest first, and records count in the order in which they are stored, so what comes
//! is first looked through, line by line, and put aside on the disk; of each record only its moment
//! and its place stay in memory. Only then is anything stored, and nothing is where a line is bad: it
//! is easier to mend a file than a store that sums and drift were learnt from.

pub(super) mod line;
mod spool;

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::time::Duration;

use clap::Args;
use flate2::bufread::MultiGzDecoder;
use serde_json::json;

use crate::app::{self, AppError};
use crate::cli::import::line::Line;
use crate::cli::import::spool::Spool;
use crate::cli::{Exit, Source, counted, put, say};
use crate::clock::{Deadline, Timestamp};
use crate::config::Config;
use crate::domain::record::SIMULATED;
use crate::ledger::follow::Follower;
use crate::ledger::import::{BATCH_RECORDS, Brought, Imported, Older};
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
#[expect(clippy::struct_excessive_bools, reason = "independent flags of a command line")]
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct ImportArgs {
    /// Records as `/v1/verdicts:export?format=ndjson` writes them, plain or gzip; `-` for stdin
    #[arg(required = true, value_name = "FILE")]
    files: Vec<String>,
    /// Leave out lines that are no records, and count them; without it one of them stops everything
    #[arg(long)]
    skip_bad: bool,
    /// What is done anyway: nothing is stored unless every line is a record
    #[arg(long, hide = true, conflicts_with = "skip_bad")]
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
Examples:
  curl -s 'http://127.0.0.1:8080/v1/verdicts:export?format=ndjson' | gzip > records.ndjson.gz
  vlmgate import records.ndjson.gz --data elsewhere/data

The gate must not run on this store meanwhile. What shadows said comes with its record; pictures
and people's labels are not part of an export. A record whose id is in the store already is left as
it is, so the same file may come twice. No key is needed.

A line that no gate could have written is told as FILE:LINE with what is wrong, and then nothing is
stored, unless --skip-bad leaves such lines out.

Exit codes: 0 done, 1 a line is no record (without --skip-bad) or the store failed, 2 a file cannot
be read, 3 the configuration is invalid.";

/// Brings records into the store.
///
/// # Errors
/// The configuration is invalid, a file cannot be read, the store is in use or fails.
pub fn run(args: &ImportArgs) -> Result<Exit, AppError> {
    let config = args.source.read_keyless()?;
    // a slip in a name must not leave an empty store behind
    args.files.iter().try_for_each(|name| try_file(name))?;
    app::block_on(bring(args, &config))?
}

fn unreadable(name: &str) -> impl Fn(io::Error) -> AppError {
    move |why| AppError::Usage(format!("{name}: {why}"))
}

/// Whether there is such a file, and it may be read.
fn try_file(name: &str) -> Result<(), AppError> {
    if name == "-" {
        return Ok(());
    }
    let about = fs::metadata(name).map_err(unreadable(name))?;
    if about.is_dir() {
        return Err(AppError::Usage(format!("{name}: is a folder, expected a file of records")));
    }
    if about.is_file() {
        // a pipe may be opened once
        File::open(name).map_err(unreadable(name))?;
    }
    Ok(())
}

async fn bring(args: &ImportArgs, config: &Config) -> Result<Exit, AppError> {
    let settings = config.ledger_settings();
    let folder = settings.path.parent().unwrap_or(Path::new(".")).to_owned();
    // first: a gate that runs holds it, and nothing else need be tried then
    let ledger = Ledger::open(settings).await?;
    let read = look_through(args, &folder);
    let mut imported = Imported::default();
    let is_strict = args.strict || !args.skip_bad;
    let stored = match &read {
        Ok(spool) if is_strict && spool.bad() != 0 => Ok(()),
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
    Ok(if is_strict && spool.bad() != 0 { Exit::Failed } else { Exit::Done })
}

/// Reads every line of every file.
fn look_through(args: &ImportArgs, folder: &Path) -> Result<Spool, AppError> {
    let mut spool = Spool::beside(folder)?;
    let now = Timestamp::now();
    for (file, name) in (0_u32..).zip(&args.files) {
        if name == "-" {
            let lines = unpacked(io::stdin().lock()).map_err(unreadable("stdin"))?;
            look_at(("stdin", file, now), lines, &mut spool)?;
        } else {
            let opened = File::open(name).map_err(unreadable(name))?;
            let lines = unpacked(BufReader::new(opened)).map_err(unreadable(name))?;
            look_at((name, file, now), lines, &mut spool)?;
        }
    }
    spool.settle()?;
    Ok(spool)
}

/// The lines of a file, whether it is packed or not.
pub(super) fn unpacked<'a>(mut packed: impl BufRead + 'a) -> io::Result<Box<dyn BufRead + 'a>> {
    let is_packed = packed.fill_buf()?.starts_with(&GZIP);
    Ok(if is_packed {
        Box::new(BufReader::new(MultiGzDecoder::new(packed)))
    } else {
        Box::new(packed)
    })
}

fn look_at(
    (name, file, now): (&str, u32, Timestamp),
    mut lines: Box<dyn BufRead + '_>,
    spool: &mut Spool,
) -> Result<(), AppError> {
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        let read = lines.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line);
        let read = read.map_err(|why| AppError::Usage(format!("{name}:{number}: {why}")))?;
        if read == 0 {
            break;
        }
        if read as u64 == MAX_LINE_BYTES && !line.ends_with(b"\n") {
            let why = format!("{name}:{number}: longer than {MAX_LINE_BYTES} bytes");
            return Err(AppError::Usage(why));
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        match Line::read(&line, now) {
            Ok(read) => spool.keep(file, read, &line)?,
            Err(why) => {
                let told = spool.count_bad();
                if told <= MAX_TOLD {
                    say(&format!("{name}:{number}: {why}"));
                } else if told == MAX_TOLD + 1 {
                    say("… and more: the rest is only counted");
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
    let mut import = ledger.import(older);
    for batch in spool.batches(BATCH_RECORDS).take_while(|_| older == Older::Refused) {
        import.look_at(&batch?, Deadline::after(BATCH_WITHIN)).await.map_err(told_older)?;
    }
    let follower = ledger.follow(config.follow_settings())?;
    for batch in spool.batches(BATCH_RECORDS) {
        let mut all = batch?;
        all.iter_mut().filter(|_| args.simulated).for_each(flag_simulated);
        let brought = import.bring(all, Deadline::after(BATCH_WITHIN)).await;
        *imported = import.done();
        brought.map_err(told_older)?;
    }
    count(ledger, follower).await;
    Ok(())
}

fn told_older(why: LedgerError) -> AppError {
    if matches!(why, LedgerError::Older { .. }) {
        return AppError::Usage(format!("{why}; with --into-newer they are only added up"));
    }
    AppError::Store(why)
}

fn flag_simulated(brought: &mut Brought) {
    if let Brought::Record(record) = brought
        && !record.flags.iter().any(|flag| flag == SIMULATED)
    {
        record.flags.push(SIMULATED.to_owned());
    }
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
        let left = counted(left, "record");
        say(&format!("vlmgate: {left} will be counted when the gate starts"));
    }
}

fn tell(args: &ImportArgs, spool: &Spool, imported: Imported) -> Result<(), AppError> {
    let Imported { stored, present, shadows, unwatched } = imported;
    let are = if unwatched == 1 { "of them is" } else { "of them are" };
    if unwatched != 0 {
        say(&format!("vlmgate: {unwatched} {are} added up and not watched: newer ones are here"));
    }
    let (records, bad) = (spool.records(), spool.bad());
    if args.json {
        let told = json!({ "records": records, "stored": stored, "present": present,
            "shadows": shadows, "bad": bad });
        put(&told.to_string())?;
    } else {
        let behind = match shadows {
            0 => String::new(),
            _ => format!(" and {}", counted(shadows, "shadow")),
        };
        let were = if present == 1 { "was" } else { "were" };
        let stored = counted(stored, "record");
        put(&format!("{stored}{behind} stored, {present} {were} here already"))?;
    }
    let no_records =
        if bad == 1 { "1 line is no record" } else { &format!("{bad} lines are no records") };
    match (bad, args.skip_bad) {
        (0, _) => {}
        (_, true) => say(&format!("vlmgate: {no_records}, and left out")),
        (_, false) => say(&format!(
            "vlmgate: {no_records}: nothing is stored; mend the file, or leave such lines out with \
             --skip-bad"
        )),
    }
    Ok(())
}
