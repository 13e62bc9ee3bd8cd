//! `vlmgate drift replay`: verdicts from a file through the drift monitor, and what it would have
//! told. It runs open loop: after an alarm nobody asks the other judges.

mod fold;
mod form;
mod line;

use std::fs::File;
use std::io::{self, BufRead, BufReader};

use clap::{Args, Subcommand};
use jiff::tz::TimeZone;

use crate::app::AppError;
use crate::cli::drift::fold::{Folding, Known, Terms};
use crate::cli::drift::form::ReplayForm;
use crate::cli::drift::line::Line;
use crate::cli::import::{each_line, unpacked};
use crate::cli::{Exit, counted, put, say};
use crate::clock::Timestamp;
use crate::drift::event::{Event, Grounds, Label};
use crate::drift::monitor::Settings;

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
    /// Records as `/v1/verdicts:export?format=ndjson` writes them, or verdicts in the order in which
    /// they were stored, one JSON object a line, plain or gzip; `-` for stdin
    #[arg(value_name = "FILE")]
    file: String,
    /// What was normal: so many days from the first verdict's midnight (UTC)
    #[arg(long, default_value = "2d", value_name = "DAYS", value_parser = days)]
    baseline: f64,
    /// False alarms allowed in thirty days, over all detectors together
    #[arg(long, default_value = "0.5", value_name = "NUMBER", value_parser = above_zero)]
    false_alarms: f64,
    /// What was told as one JSON object
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
Example:
  vlmgate drift replay records.ndjson.gz --baseline 2d

A line is a record of an export, with what shadows said of it, or one verdict of one judge:

  {\"image\":\"im1\",\"at\":1767225612883,\"provider\":\"openai\",\"model\":\"gpt-4o-mini\",
   \"policy\":\"product-photo\",\"policy_version\":1,\"route\":\"primary\",\"verdict\":\"pass\",\"pre\":0.42}

at      milliseconds since 1970
route   primary, hedge, failover, second_opinion or shadow
verdict pass, fail, review or reject; anything else is counted and left out
pre     risk by a local measurement, 0 to 1

Records count in the order in which they did at their gate, each policy for itself, and judges have
the names that policies use. Of verdicts a judge is provider/model, and all are watched together.

--json: {\"events\":[{\"at\",\"label\",\"labels\",\"onset\",\"severity\",\"effects\",\"llr\",...}],
\"records\":N,...}
with times in milliseconds since 1970, effects by cause (input, routing, policy, within) as shares
of 1, and llr null where no judge was compared with another.

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
    let name = if args.file == "-" { "stdin" } else { &args.file };
    let shown = |number: u64| format!("{name}:{number}");
    let mut folding = Folding::new(terms(args));
    let mut told = Vec::new();
    let mut tell = |known: Known| {
        if args.json {
            told.push(known);
            return Ok(());
        }
        Ok::<_, AppError>(put(&sentence(&known))?)
    };
    let now = Timestamp::now();
    each_line(lines, shown, |number, bytes| {
        let line = Line::read(bytes, now);
        match line.map_err(|why| AppError::Usage(format!("{}: {why}", shown(number))))? {
            Line::Exported(record) => folding.keep(number, *record, bytes)?,
            Line::Short(Some(short)) => {
                folding.short(&short).into_iter().try_for_each(&mut tell)?;
            }
            Line::Short(None) => folding.left_out += 1,
        }
        Ok(())
    })?;
    folding.settle(&mut tell)?;
    if folding.standings().next().is_none() {
        return Err(AppError::Usage(format!("{name}: no verdict in it")));
    }
    if args.json {
        let form = ReplayForm::of(&folding, &told);
        put(&serde_json::to_string(&form).map_err(AppError::json)?)?;
    } else {
        close(&folding);
    }
    Ok(Exit::Done)
}

/// Open loop: after an alarm nobody asks the other judges.
fn terms(args: &ReplayArgs) -> Terms {
    let settings = Settings { false_alarms_per_30_days: args.false_alarms, burst_images: 0 };
    #[expect(clippy::cast_possible_truncation, reason = "`as` saturates")]
    let baseline_ms = (args.baseline * DAY_MS) as i64;
    Terms { settings, baseline_ms }
}

/// One event as a line: when it was known, how much it matters, what moved and by how much.
fn sentence(known: &Known) -> String {
    let event = &known.event;
    let Event { label, severity, effect, .. } = event;
    let of = known.policy.as_ref().map_or(String::new(), |policy| format!(" of {policy}"));
    let head = format!("{}  {:<6}  {label}{of}", moment(event.at_ms), severity.label());
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

fn close(folding: &Folding) {
    let rest = match folding.left_out {
        0 => String::new(),
        left_out => format!(", {left_out} left out"),
    };
    say(&format!("{}{rest}", counted(folding.records, "record")));
    for (policy, standing) in folding.standings() {
        if let Some(policy) = policy {
            say(&format!("policy {policy}:"));
        }
        let monitor = &standing.monitor;
        if monitor.baseline().is_none() {
            say("the baseline was not complete: nothing was watched at the end");
        }
        for (watched, ratio) in monitor.evidence() {
            say(&format!("evidence of {watched}: {}", of_an_alarm(ratio)));
        }
        if let Some(mix) = monitor.mix_now() {
            let points = mix.effect * 100.0;
            say(&format!("the mix of judges at the end is worth {points:+.2} points"));
        }
    }
}

/// Evidence as a share of an alarm. It grows exponentially once something moved, and how far beyond
/// an alarm says nothing more.
fn of_an_alarm(ratio: f64) -> String {
    if ratio < 1.0 {
        format!("{ratio:.4} of an alarm")
    } else if ratio <= 1_000.0 {
        format!("{ratio:.1} times an alarm")
    } else {
        "more than 1,000 times an alarm".to_owned()
    }
}

/// A moment in UTC; a number that is none is shown as it is.
fn moment(at_ms: i64) -> String {
    match jiff::Timestamp::from_millisecond(at_ms) {
        Ok(at) => at.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
        Err(_) => at_ms.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_beyond_a_thousand_alarms_is_not_spelled_out() {
        assert_eq!(of_an_alarm(0.123_45), "0.1235 of an alarm");
        assert_eq!(of_an_alarm(12.34), "12.3 times an alarm");
        assert_eq!(of_an_alarm(7.2e104), "more than 1,000 times an alarm");
        assert_eq!(of_an_alarm(f64::INFINITY), "more than 1,000 times an alarm");
    }
}
