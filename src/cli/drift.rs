//! `vlmgate drift replay`: verdicts from a file through the drift monitor, and what it would have
//! told. It runs open loop: after an alarm nobody asks the other judges.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufRead, BufReader};

use clap::{Args, Subcommand};
use jiff::tz::TimeZone;
use serde::Deserialize;

use crate::app::AppError;
use crate::cli::import::line::parse;
use crate::cli::import::unpacked;
use crate::cli::{Exit, counted, put, say};
use crate::drift::event::{Event, Grounds, Label};
use crate::drift::judged::{Judged, Route, image_key};
use crate::drift::monitor::{Monitor, Settings};

/// Milliseconds of a day.
const DAY_MS: f64 = 86_400_000.0;

/// Commands about drift.
#[derive(Debug, Subcommand)]
pub enum DriftCommand {
    /// Read verdicts from a file, and say what made the reject rate move, and when it was known
    Replay(ReplayArgs),
}

/// Arguments of `vlmgate drift replay`.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct ReplayArgs {
    /// Verdicts, one JSON object a line, in the order in which they were stored, plain or gzip; `-`
    /// for stdin
    #[arg(value_name = "FILE")]
    file: String,
    /// What was normal: so many days from the first verdict's midnight (UTC)
    #[arg(long, default_value = "7d", value_name = "DAYS", value_parser = days)]
    baseline: f64,
    /// False alarms allowed in thirty days, over all detectors together
    #[arg(long, default_value = "0.5", value_name = "NUMBER", value_parser = above_zero)]
    false_alarms: f64,
    /// One JSON object an event
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
Example:
  vlmgate drift replay verdicts.jsonl.gz --baseline 2d

A line is one verdict of one judge:

  {\"image\":\"im1\",\"at\":1767225612883,\"provider\":\"openai\",\"model\":\"gpt-4o-mini\",
   \"policy\":\"product-photo\",\"policy_version\":1,\"route\":\"primary\",\"verdict\":\"pass\",\"pre\":0.42}

at      milliseconds since 1970
route   primary, hedge, failover, second_opinion or shadow
verdict pass, fail, review or reject; anything else is counted and left out
pre     risk by a local measurement, 0 to 1

Exit codes: 0 done, 1 stdout is closed, 2 the file cannot be read or is no file of verdicts.";

/// `2d`, or 2.
fn days(text: &str) -> Result<f64, String> {
    let read = above_zero(text.strip_suffix('d').unwrap_or(text));
    read.map_err(|_| "not a number of days such as 2d or 7d".to_owned())
}

/// A positive number.
fn above_zero(text: &str) -> Result<f64, String> {
    let read = text.parse().ok().filter(|days: &f64| days.is_finite() && *days > 0.0);
    read.ok_or_else(|| format!("{text:?} is not a number above zero"))
}

/// A version, as a number or as text.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Version {
    Number(u64),
    Text(String),
}

/// One line of the file.
#[derive(Debug, Deserialize)]
struct Line {
    image: String,
    at: i64,
    provider: String,
    model: String,
    policy: String,
    policy_version: Version,
    route: Route,
    verdict: String,
    pre: f64,
}

impl Line {
    /// The verdict, if it is one.
    fn judged(self) -> Option<Judged> {
        let reject = match self.verdict.as_str() {
            "pass" => false,
            "fail" | "review" | "reject" => true,
            _ => return None,
        };
        let version = match self.policy_version {
            Version::Number(number) => number.to_string(),
            Version::Text(text) => text,
        };
        Some(Judged {
            image: image_key(&self.image),
            at_ms: self.at,
            judge: format!("{}/{}", self.provider, self.model),
            config: format!("{}@{version}", self.policy),
            route: self.route,
            reject,
            risk: self.pre,
        })
    }
}

/// Runs a command about drift.
///
/// # Errors
/// The file cannot be read or is no file of verdicts, or stdout is closed.
pub fn run(command: &DriftCommand) -> Result<Exit, AppError> {
    match command {
        DriftCommand::Replay(args) => {
            let unreadable = |why: io::Error| AppError::Usage(format!("{}: {why}", args.file));
            if args.file == "-" {
                return replay(args, unpacked(io::stdin().lock()).map_err(unreadable)?);
            }
            let file = File::open(&args.file).map_err(unreadable)?;
            replay(args, unpacked(BufReader::new(file)).map_err(unreadable)?)
        }
    }
}

fn replay(args: &ReplayArgs, lines: impl BufRead) -> Result<Exit, AppError> {
    let mut monitor: Option<Monitor> = None;
    let (mut read, mut left_out) = (0_u64, 0_u64);
    for (number, line) in (1_u64..).zip(lines.lines()) {
        let wrong = |why: &dyn Display| AppError::Usage(format!("{}:{number}: {why}", args.file));
        let line = line.map_err(|why| wrong(&why))?;
        if line.trim().is_empty() {
            continue;
        }
        let line: Line = parse(line.as_bytes()).map_err(|why| wrong(&why))?;
        let Some(judged) = line.judged() else {
            left_out += 1;
            continue;
        };
        read += 1;
        let monitor = monitor.get_or_insert_with(|| begin(args, judged.at_ms));
        for event in monitor.observe(&judged) {
            tell(&event, args.json)?;
        }
    }
    let Some(monitor) = monitor else {
        return Err(AppError::Usage(format!("{}: no verdict in it", args.file)));
    };
    close(&monitor, read, left_out);
    Ok(Exit::Done)
}

/// A monitor whose baseline begins at the midnight before the first verdict.
fn begin(args: &ReplayArgs, first_ms: i64) -> Monitor {
    let settings = Settings { false_alarms_per_30_days: args.false_alarms, burst_images: 0 };
    #[expect(clippy::cast_possible_truncation, reason = "`as` saturates")]
    let (day_ms, lasts_ms) = (DAY_MS as i64, (args.baseline * DAY_MS) as i64);
    let midnight_ms = first_ms.div_euclid(day_ms).saturating_mul(day_ms);
    Monitor::new(settings, midnight_ms.saturating_add(lasts_ms))
}

fn tell(event: &Event, json: bool) -> Result<(), AppError> {
    let text =
        if json { serde_json::to_string(event).map_err(AppError::json)? } else { sentence(event) };
    Ok(put(&text)?)
}

/// One event as a line: when it was known, how much it matters, what moved and by how much.
fn sentence(event: &Event) -> String {
    let Event { label, severity, effect, .. } = event;
    let head = format!("{}  {:<6}  {label}", moment(event.at_ms), severity.label());
    if *label == Label::PolicyAnnotation {
        return format!("{head}: a policy that was not seen before");
    }
    let interval = effect.interval();
    let points = |share: f64| format!("{:+.1}", share * 100.0);
    let (low, high) = (points(interval.low), points(interval.high));
    let mut text = format!(
        "{head}: {} points ({low} to {high}) since {}, alarm of {} at {}",
        points(effect.effect),
        moment(event.onset_ms),
        event.watched,
        moment(event.alarm_at_ms),
    );
    if let Some(grounds) = &event.grounds {
        text.push_str(&evidence(grounds));
    }
    text
}

/// What a label rests on, as the end of a sentence.
fn evidence(grounds: &Grounds) -> String {
    let mut text = String::new();
    if let Some(pairs) = &grounds.pairs {
        let ratio = pairs.log_ratio.abs().min(700.0).exp();
        let shown = if ratio < 1e6 { format!("{ratio:.0}") } else { "over a million".to_owned() };
        let count = pairs.discordant;
        text.push_str(&format!(", odds {shown} to 1 on {count} images where judges differ"));
    }
    if grounds.low_confidence {
        text.push_str(" (low confidence)");
    }
    if !grounds.input_separated {
        text.push_str("; too few verdicts to separate the input effect");
    }
    if grounds.decomposition.unseen_share > 0.2 {
        text.push_str("; the baseline has not seen this judge or policy");
    }
    text
}

fn close(monitor: &Monitor, read: u64, left_out: u64) {
    let rest = if left_out == 0 { String::new() } else { format!(", {left_out} left out") };
    say(&format!("{}{rest}", counted(read, "verdict")));
    if monitor.baseline().is_none() {
        say("the baseline was not complete: nothing was watched at the end");
    }
    for (watched, ratio) in monitor.evidence() {
        say(&format!("evidence of {watched}: {ratio:.4} of an alarm"));
    }
    if let Some(mix) = monitor.mix_now() {
        say(&format!("the mix of judges at the end is worth {:+.2} points", mix.effect * 100.0));
    }
}

/// A moment in UTC; a number that is none is shown as it is.
fn moment(at_ms: i64) -> String {
    match jiff::Timestamp::from_millisecond(at_ms) {
        Ok(at) => at.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
        Err(_) => at_ms.to_string(),
    }
}
