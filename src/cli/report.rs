//! `vlmgate report`: what a stretch of time came to, as one file worth forwarding: the sentences,
//! tables and pictures of the page, over the same figures.
//!
//! It reads the store beside a running gate and changes nothing. What is usual it knows from the state
//! that the gate keeps beside its records; without one it compares with the time before.

use std::cmp::Reverse;
use std::fs;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use crate::app::{self, AppError};
use crate::cli::report::figures::{Drift, Event, Judge, Moved, Stats, read};
use crate::cli::report::words::{date, lasting, whole};
use crate::cli::{Exit, Source, put, say, stored};
use crate::clock::Timestamp;
use crate::config::StoreConfig;
use crate::domain::Basis;
use crate::http::drift::{self, Asked};
use crate::http::filter::read_moment;
use crate::http::range::{cut, shown};
use crate::http::stats;
use crate::ledger::LedgerError;
use crate::ledger::follow::view::Known;
use crate::ledger::form::RecordForm;
use crate::ledger::reader::{Filter, Reader};

mod figures;
mod html;
mod page;
mod script;
mod tables;
mod words;

const HOUR_S: i64 = 3_600;
const DAY_S: i64 = 24 * HOUR_S;
/// The longest range: a table of its weeks is still read.
const MOST_S: i64 = 732 * DAY_S;
/// Events told at most, the newest.
const MOST_EVENTS: usize = 12;
/// The least that is looked at from an event's onset on.
const LEAST_EVENT_US: i64 = 300_000_000;
/// Verdicts looked at for whether judges are simulated.
const LOOKED_AT: u32 = 5;
/// First judgements from which causes are told apart.
const ENOUGH: u64 = 300;

/// Arguments of `vlmgate report`.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct ReportArgs {
    /// From when: so long ago (24h, 7d, 2w), or a moment (RFC 3339)
    #[arg(long, default_value = "7d", value_name = "WHEN")]
    since: String,
    /// Until when; now, if not given
    #[arg(long, value_name = "WHEN")]
    until: Option<String>,
    /// Which policy, where there are several
    #[arg(long, value_name = "NAME")]
    policy: Option<String>,
    /// Where to write it, instead of stdout
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The figures as one JSON object, and no page
    #[arg(long)]
    json: bool,
    /// Configuration that names the store (or `VLMGATE_CONFIG`)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder of the records, instead of the configuration's; then none is read
    #[arg(long, env = "VLMGATE_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
}

const AFTER_HELP: &str = "\
Examples:
  vlmgate report --since 7d --out week.html
  vlmgate report --since 2026-11-21T14:00:00Z --until 2026-11-21T15:00:00Z --out outage.html

One HTML file that loads nothing: open it, print it, forward it. Its times are UTC. A gate may be
running on the store, and no key is needed.

Exit codes: 0 done, 1 the store cannot be read or the file cannot be written, 2 a range or policy
that is none, 3 the configuration is invalid.";

/// An event, and what moved from its onset on.
struct Told {
    at: Timestamp,
    event: Event,
    moved: Option<Moved>,
}

/// Everything that a report tells.
struct Findings {
    policy: String,
    window: (Timestamp, Timestamp),
    made_at: Timestamp,
    stats: Stats,
    drift: Drift,
    by_day: Stats,
    by_day_s: i64,
    /// Newest first.
    events: Vec<Told>,
    events_left_out: u64,
    deadline_ms: Option<u64>,
    is_simulated: bool,
}

impl Findings {
    /// The judges, the busiest first.
    fn judges(&self) -> Vec<&Judge> {
        let mut judges: Vec<_> = self.stats.judges.iter().collect();
        judges.sort_by_key(|one| Reverse(one.served.count));
        judges
    }

    fn counted_until(&self) -> Option<Timestamp> {
        self.stats.as_of.at.as_deref().and_then(|at| Timestamp::parse(at).ok())
    }

    /// The window before, in words.
    fn compared_with(&self) -> String {
        let before = &self.drift.before;
        let moments = (Timestamp::parse(&before.since), Timestamp::parse(&before.until));
        let (Ok(since), Ok(until)) = moments else { return "the time before".to_owned() };
        let lasted = lasting(until.0 - since.0);
        match before.baseline {
            true => format!("the baseline, {lasted} to {}", date(until)),
            false => format!("the {lasted} to {} UTC", whole(until)),
        }
    }
}

/// Makes a report.
///
/// # Errors
/// A range or a policy that is none, a store that cannot be read, a file that cannot be written.
pub fn run(args: &ReportArgs) -> Result<Exit, AppError> {
    let now = Timestamp::now();
    let window = window(args, now)?;
    let store = match &args.data {
        Some(dir) => StoreConfig::in_folder(dir),
        None => {
            let source = Source { config: args.config.clone(), ..Source::default() };
            source.read_keyless()?.store
        }
    };
    let (found, figures) = app::block_on(collect(args, &store, (window, now)))??;
    let text = match args.json {
        true => format!("{figures}\n"),
        false => page::document(&found, &embedded(&figures))?,
    };
    let Some(file) = &args.out else {
        put(&text)?;
        return Ok(Exit::Done);
    };
    let written = fs::write(file, &text);
    written.map_err(|why| AppError::Internal(format!("{}: {why}", file.display())))?;
    say(&format!("vlmgate: wrote {}, {} bytes", file.display(), text.len()));
    Ok(Exit::Done)
}

fn window(args: &ReportArgs, now: Timestamp) -> Result<(Timestamp, Timestamp), AppError> {
    let read = |flag: &str, text: &str| {
        read_moment(text, now).map_err(|why| AppError::Usage(format!("--{flag} {why}")))
    };
    let since = read("since", &args.since)?;
    let until = args.until.as_deref().map_or(Ok(now), |until| read("until", until))?;
    let until = until.min(now);
    if until <= since {
        return Err(AppError::Usage(format!("--until: is {until}, expected later than {since}")));
    }
    if MOST_S < (until.0 - since.0) / 1_000_000 {
        let days = MOST_S / DAY_S;
        return Err(AppError::Usage(format!("--since: is {since}, at most {days} days are told")));
    }
    Ok((since, until))
}

/// Reads everything; what is told in words, and all of it for the pictures.
async fn collect(
    args: &ReportArgs,
    store: &StoreConfig,
    (window, now): ((Timestamp, Timestamp), Timestamp),
) -> Result<(Findings, Value), AppError> {
    let reader = stored(&store.settings()).await?;
    let followed = reader.followed().await?;
    let state = store.drift_file();
    let known = Known::kept(&state, followed).unwrap_or_else(|why| {
        let state = state.display();
        say(&format!("vlmgate: {state}: {why}; what is usual is not known"));
        Known { followed, ..Known::default() }
    });
    let policy = policy(&reader, args.policy.as_deref()).await?;
    let scope = shown(Some(policy.clone()), window, now);
    let by_day_s = match scope.until_s - scope.since_s {
        ..7_201 => scope.bucket_s,
        7_201..172_801 => HOUR_S,
        172_801..8_035_201 => DAY_S,
        8_035_201.. => 7 * DAY_S,
    };
    let days = cut(Some(policy.clone()), window, by_day_s);
    let stats = stats::told(&reader, &known, &scope).await?;
    let by_day = stats::told(&reader, &known, &days).await?;
    let drift = compared(&reader, &known, &policy, (window, now)).await?;
    let newest = newest(&reader, &policy, window.1).await?;
    let mut found = Findings {
        window,
        made_at: now,
        stats: read(&stats)?,
        drift: read(&drift)?,
        by_day: read(&by_day)?,
        by_day_s,
        events: Vec::new(),
        events_left_out: 0,
        deadline_ms: newest.first().map(|one| one.deadline_ms),
        is_simulated: newest.iter().any(is_simulated),
        policy,
    };
    tell_events(&reader, &known, &mut found).await?;
    let judges: Vec<_> = found.judges().iter().map(|one| one.judge.clone()).collect();
    let figures = json!({ "stats": stats, "drift": drift, "judges": judges,
        "deadline_ms": found.deadline_ms });
    Ok((found, figures))
}

/// The policy that is meant: the only one, where none is named.
async fn policy(reader: &Reader, named: Option<&str>) -> Result<String, AppError> {
    let all = reader.counted_policies().await?;
    let usage = |why: String| Err(AppError::Usage(why));
    match (named, all.as_slice()) {
        (_, []) => usage("the store counts no verdict yet: a gate counts while it runs".to_owned()),
        (Some(name), all) if all.iter().any(|one| one == name) => Ok(name.to_owned()),
        (Some(name), all) => {
            usage(format!("--policy: no verdict of {name:?}; there are {}", all.join(", ")))
        }
        (None, [only]) => Ok(only.clone()),
        (None, several) => usage(format!("--policy: name one of {}", several.join(", "))),
    }
}

/// What moved: against the baseline if it was learnt before, else against as long a time before; a time
/// with too few verdicts gives way to the baseline again, even to one that was learnt meanwhile.
async fn compared(
    reader: &Reader,
    known: &Known,
    policy: &str,
    (window, now): ((Timestamp, Timestamp), Timestamp),
) -> Result<Value, AppError> {
    let (since, until) = window;
    let learnt = known.policies.get(policy).and_then(|view| view.learnt_until_ms);
    let is_before = learnt.is_some_and(|at_ms| at_ms.saturating_mul(1_000) <= since.0);
    let asked = Asked { policy: policy.to_owned(), window, against: None, now };
    if !is_before {
        let earlier = (Timestamp(since.0 - (until.0 - since.0)), since);
        let asked = Asked { against: Some(earlier), ..asked.clone() };
        let told = drift::told(reader, known, (&asked, None)).await?;
        let n = told.pointer("/before/first_reject/n").and_then(Value::as_u64);
        if learnt.is_none() || ENOUGH <= n.unwrap_or_default() {
            return Ok(told);
        }
    }
    Ok(drift::told(reader, known, (&asked, None)).await?)
}

/// The newest verdicts of a judge.
async fn newest(
    reader: &Reader,
    policy: &str,
    until: Timestamp,
) -> Result<Vec<RecordForm>, LedgerError> {
    let filter = Filter {
        policy: Some(policy.to_owned()),
        basis: Some(Basis::Judge),
        until: Some(until),
        ..Filter::default()
    };
    Ok(reader.list(&filter, None, LOOKED_AT).await?.records)
}

/// Whether a record's judge was a simulated one: its reasons begin with the word.
fn is_simulated(record: &RecordForm) -> bool {
    let mut scores = record.scores.0.iter();
    scores.any(|(_, one)| one.reason.as_ref().is_some_and(|why| why.starts_with("simulated")))
}

/// The events of the window, each with what moved from its onset on.
async fn tell_events(reader: &Reader, known: &Known, found: &mut Findings) -> Result<(), AppError> {
    let (since, until) = found.window;
    let moment = |text: &str| {
        Timestamp::parse(text).map_err(|why| AppError::Internal(format!("an event: {why}")))
    };
    let mut inside = Vec::new();
    for event in &found.drift.events {
        let at = moment(&event.at)?;
        if since <= at && at < until {
            inside.push((at, event.clone()));
        }
    }
    inside.sort_by_key(|(at, _)| Reverse(*at));
    found.events_left_out = inside.len().saturating_sub(MOST_EVENTS) as u64;
    inside.truncate(MOST_EVENTS);
    for (at, event) in inside {
        let onset = moment(&event.onset)?;
        let window = (onset, at.max(Timestamp(onset.0.saturating_add(LEAST_EVENT_US))));
        let asked =
            Asked { policy: found.policy.clone(), window, against: None, now: found.made_at };
        let moved: Moved = read(&drift::moved(reader, known, &asked).await?)?;
        // another story than the detector's helps nobody: then the event speaks for itself
        let moved = (moved.label == event.label).then_some(moved);
        found.events.push(Told { at, event, moved });
    }
    Ok(())
}

/// JSON that can stand in a page: no tag can end it.
fn embedded(figures: &Value) -> String {
    figures.to_string().replace('<', "\\u003c").replace('\u{2028}', "\\u2028")
}
