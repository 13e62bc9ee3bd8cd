//! `vlmgate import`: exported records into the store, in the order of time.
//!
//! An export is newest first, and records count in the order in which they are stored, so what comes
//! is first looked through, line by line, and put aside on the disk; of each record only its id, its
//! moment and its place stay in memory. Only then is anything stored, and nothing is where a line is
//! bad or must not come in: it is easier to mend a file than a store that sums and drift were learnt
//! from. Where there is no store yet, none is made before that.

pub(super) mod line;
pub(super) mod spool;

use std::collections::BTreeSet;
use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::time::Duration;

use clap::Args;
use flate2::bufread::MultiGzDecoder;
use serde_json::json;

use crate::app::{self, AppError};
use crate::cli::import::line::Line;
use crate::cli::import::spool::{At, Spool};
use crate::cli::{Exit, Source, counted, put, say};
use crate::clock::{Deadline, Timestamp};
use crate::config::Config;
use crate::domain::record::SIMULATED;
use crate::ledger::Ledger;
use crate::ledger::follow::Follower;
use crate::ledger::import::same::Difference;
use crate::ledger::import::{BATCH_RECORDS, Brought, Imported, Older, Refusal};

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
and people's labels are not part of an export. A record that is in the store already is left as it
is, so the same file may come twice, and one whose import was killed goes on where it was: before a
gate runs on the store; afterwards its rest is older than what is there, so import it into a new
store. No key is needed.

A line that no gate could have written is told as FILE:LINE with what is wrong, and then nothing is
stored, unless --skip-bad leaves such lines out. So is a record of which the store has another of the
same id, and one that is older than the newest of its policy there.

Exit codes: 0 done, 1 a line is no record (without --skip-bad), or is refused, or the store failed,
2 a file cannot be read, 3 the configuration is invalid.";

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
    // a gate that runs holds its store, and nothing else need be tried then
    let held = if settings.path.exists() {
        Some(Ledger::open_to_import(settings.clone()).await?)
    } else {
        None
    };
    let mut told = Told::default();
    let read = look_through(args, beside(&settings.path), &mut told);
    let is_wanted = |spool: &Spool| !told.stops(args, spool) && spool.records() != 0;
    let (ledger, stored) = match &read {
        Ok(spool) if held.is_some() || is_wanted(spool) => {
            let ledger = match held {
                Some(ledger) => ledger,
                None => Ledger::open_to_import(settings).await?,
            };
            let stored = store(&ledger, config, spool, args, &mut told).await;
            (Some(ledger), stored)
        }
        Ok(_) | Err(_) => (held, Ok(())),
    };
    if let Some(ledger) = ledger
        && ledger.close(Deadline::after(CLOSE_WITHIN)).await.is_err()
    {
        say("vlmgate: the store did not close in time; it opens clean all the same");
    }
    // what is stored is told, whatever came after it
    let spool = read?;
    tell(args, &spool, &told)?;
    stored?;
    Ok(if told.stops(args, &spool) { Exit::Failed } else { Exit::Done })
}

/// The folder of the store, or the one in which that would be made.
fn beside(store: &Path) -> &Path {
    let mut folders = store.ancestors().skip(1).filter(|folder| folder.is_dir());
    folders.next().unwrap_or(Path::new("."))
}

/// What was said, and done.
#[derive(Debug, Default)]
struct Told {
    imported: Imported,
    /// Lines that are records and must not come in.
    refused: u64,
    /// Of those, how many are older than what is here, and of which policies.
    older: u64,
    older_of: BTreeSet<String>,
    /// Lines that were told one by one.
    lines: u64,
}

impl Told {
    /// Tells a line, unless many were told already.
    fn line(&mut self, args: &ImportArgs, at: At, why: &dyn Display) {
        self.lines += 1;
        if self.lines <= MAX_TOLD {
            say(&format!("{}: {why}", shown(args, at)));
        } else if self.lines == MAX_TOLD + 1 {
            say("… and more: the rest is only counted");
        }
    }

    /// Whether nothing is to be stored.
    fn stops(&self, args: &ImportArgs, spool: &Spool) -> bool {
        self.refused != 0 || spool.bad() != 0 && (args.strict || !args.skip_bad)
    }
}

fn shown(args: &ImportArgs, at: At) -> String {
    let name = usize::try_from(at.file).ok().and_then(|file| args.files.get(file));
    let name = name.map_or("", String::as_str);
    format!("{}:{}", if name == "-" { "stdin" } else { name }, at.line)
}

/// Reads every line of every file.
fn look_through(args: &ImportArgs, folder: &Path, told: &mut Told) -> Result<Spool, AppError> {
    let mut spool = Spool::beside(folder)?;
    for (file, name) in (0_u32..).zip(&args.files) {
        let lines = if name == "-" {
            unpacked(io::stdin().lock()).map_err(unreadable("stdin"))?
        } else {
            let opened = File::open(name).map_err(unreadable(name))?;
            unpacked(BufReader::new(opened)).map_err(unreadable(name))?
        };
        look_at(args, file, lines, (&mut spool, told))?;
    }
    for (at, Difference { key, is, other }, before) in spool.settle()? {
        told.refused += 1;
        let before = shown(args, before);
        told.line(args, at, &format!("{key}: is {is}, and {before} of the same id says {other}"));
    }
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
    args: &ImportArgs,
    file: u32,
    lines: Box<dyn BufRead + '_>,
    (spool, told): (&mut Spool, &mut Told),
) -> Result<(), AppError> {
    let now = Timestamp::now();
    let shown = |line| shown(args, At { file, line });
    each_line(lines, shown, |line, bytes| {
        let at = At { file, line };
        match Line::read(bytes, now) {
            Ok(read) => spool.keep(at, read, bytes)?,
            Err(why) => {
                spool.count_bad();
                told.line(args, at, &why);
            }
        }
        Ok(())
    })
}

/// Hands every line that is not blank to `take`, with its number from 1; `shown` is what a line is
/// called.
///
/// # Errors
/// What `take` returns; a line that cannot be read, or is longer than a record can be.
pub(super) fn each_line(
    mut lines: impl BufRead,
    shown: impl Fn(u64) -> String,
    mut take: impl FnMut(u64, &[u8]) -> Result<(), AppError>,
) -> Result<(), AppError> {
    let mut bytes = Vec::new();
    for line in 1_u64.. {
        bytes.clear();
        let read = lines.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut bytes);
        let read = read.map_err(|why| AppError::Usage(format!("{}: {why}", shown(line))))?;
        if read == 0 {
            break;
        }
        if read as u64 == MAX_LINE_BYTES && !bytes.ends_with(b"\n") {
            let why = format!("{}: longer than {MAX_LINE_BYTES} bytes", shown(line));
            return Err(AppError::Usage(why));
        }
        if !bytes.trim_ascii().is_empty() {
            take(line, &bytes)?;
        }
    }
    Ok(())
}

/// Stores what was put aside, and counts it, where nothing stands against it.
async fn store(
    ledger: &Ledger,
    config: &Config,
    spool: &Spool,
    args: &ImportArgs,
    told: &mut Told,
) -> Result<(), AppError> {
    let older = if args.into_newer { Older::Counted } else { Older::Refused };
    let mut import = ledger.import(older);
    let mut first = 0;
    for batch in spool.batches(BATCH_RECORDS) {
        let batch = flagged(args, batch?);
        for (place, why) in import.look_at(&batch, Deadline::after(BATCH_WITHIN)).await? {
            told.refused += 1;
            if let Refusal::Older { policy, .. } = &why {
                told.older += 1;
                // where a whole history is too old, the first of it says so
                if !told.older_of.insert(policy.clone()) {
                    continue;
                }
            }
            if let Some(at) = spool.at(first + place) {
                told.line(args, at, &why);
            }
        }
        first += batch.len();
    }
    if told.stops(args, spool) {
        return Ok(());
    }
    let follower = ledger.follow(config.follow_settings())?;
    for batch in spool.batches(BATCH_RECORDS) {
        let batch = flagged(args, batch?);
        let brought = import.bring(batch, Deadline::after(BATCH_WITHIN)).await;
        told.imported = import.done();
        brought?;
    }
    import.end().await?;
    count(ledger, follower).await;
    Ok(())
}

fn flagged(args: &ImportArgs, mut all: Vec<Brought>) -> Vec<Brought> {
    all.iter_mut().filter(|_| args.simulated).for_each(flag_simulated);
    all
}

fn flag_simulated(brought: &mut Brought) {
    if let Brought::Record(record) = brought
        && !record.form.flags.iter().any(|flag| flag == SIMULATED)
    {
        record.form.flags.push(SIMULATED.to_owned());
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

fn tell(args: &ImportArgs, spool: &Spool, told: &Told) -> Result<(), AppError> {
    let Imported { stored, present, shadows, unwatched } = told.imported;
    let (records, bad, refused) = (spool.records(), spool.bad(), told.refused);
    if args.json {
        let told = json!({ "records": records, "stored": stored, "present": present,
            "shadows": shadows, "unwatched": unwatched, "bad": bad, "refused": refused });
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
    if unwatched != 0 {
        let are = if unwatched == 1 { "is" } else { "are" };
        say(&format!(
            "vlmgate: {unwatched} of them {are} added up and not watched: newer ones were here, or \
             where they come from"
        ));
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
    if refused != 0 {
        let are = if refused == 1 { "record is" } else { "records or shadows are" };
        let advice = if refused == told.older {
            "with --into-newer what is older is only added up"
        } else {
            "take those out that say something else than what is known of their ids"
        };
        say(&format!("vlmgate: {refused} {are} refused: nothing is stored; {advice}"));
    }
    Ok(())
}
