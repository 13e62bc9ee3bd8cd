//! `vlmgate calibrate`: what to add to each judge's margins so that it rejects the primary's share,
//! from images that both judged, and whether that may be put to use.
//!
//! It only reads, also beside a running gate, and changes no file: what it prints is to be looked at
//! and pasted. An offset is a new way of judging; nobody should find one that they did not set.

mod evidence;
mod labels;
mod report;

use std::time::Duration;

use clap::Args;

use crate::app::{self, AppError};
use crate::cli::calibrate::evidence::{Evidence, Judges};
use crate::cli::calibrate::labels::Labels;
use crate::cli::calibrate::report::Report;
use crate::cli::{Exit, Source, put, stored};
use crate::clock::Timestamp;
use crate::config::{Config, LOCAL_JUDGE};
use crate::domain::Policy;
use crate::drift::labelled::MIN_LABELS;
use crate::drift::threshold::MIN_PAIRS;
use crate::ledger::pairs::Place;
use crate::prompt::LoadedPolicy;

/// Arguments of `vlmgate calibrate`.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct CalibrateArgs {
    /// Policy whose judges are calibrated; may be left out where there is only one
    #[arg(long, value_name = "NAME")]
    policy: Option<String>,
    /// Judge to calibrate; may be repeated [default: all that the policy asks, but for the one
    /// calibrated to]
    #[arg(long = "judge", value_name = "NAME")]
    judges: Vec<String>,
    /// Judge to calibrate to [default: the first of the route]
    #[arg(long, value_name = "NAME")]
    against: Option<String>,
    /// How far back to look
    #[arg(long, default_value = "30d", value_name = "TIME", value_parser = span)]
    since: Duration,
    /// Fewest images that both judged; never fewer than 1000
    #[arg(long, default_value_t = MIN_PAIRS, value_name = "N", value_parser = pairs)]
    min_pairs: u64,
    /// Calibrate to what people said of images instead of to a judge; the first judge too
    #[arg(long, conflicts_with_all = ["against", "min_pairs", "second_opinions"])]
    labels: bool,
    /// With --labels: fewest images that people looked at; never fewer than 300
    #[arg(long, default_value_t = MIN_LABELS, value_name = "N", value_parser = labelled,
        requires = "labels")]
    min_labels: u64,
    /// Count second opinions too: right only where the policy draws all of them by `sample`
    #[arg(long)]
    second_opinions: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    source: Source,
}

const AFTER_HELP: &str = "\
Examples:
  vlmgate calibrate --since 14d
  vlmgate calibrate --policy product-photo --judge claude-haiku --json
  vlmgate calibrate --labels --since 30d

Paste what is printed into the policy, lint and test it, and look again a day later:

  route:
    offset_by_judge:
      claude-haiku: { add: 0.08, at_line: 0.37, fitted: 2026-11-23, ... }

`add` is added to each margin of the judge, its score less its line. Judges score in coarse steps,
so many images then lie exactly on the line: the share `at_line` of those does not pass, and which
ones is settled by the image, the same way every time.

Images count that both judges judged, whatever either of them said: from shadow judging, probes and
failovers. Second opinions and hedges are asked for because of what the first judge said or how long
it took, and are left out. No key is needed, and a gate may be running on the store.

With --labels each judge, the first too, is made to reject the share that people call defective.
People look at what was in doubt, so images count by kind: reviews, disagreements, scores near a
line, plain passes, plain fails. *Review* offers all five, a few plain ones at a time; more are
labelled on *Verdicts*. In each those that were looked at stand for all that came, and a kind that is
a hundredth of the images or more needs 30 labels. At most the newest 10,000 labels are read.
Calibrate the others to the first judge again once its line has moved, or all of them to labels.

Exit codes: 0 done, whether or not an offset may be used, 1 the store cannot be read, 2 a name that
does not exist, 3 the configuration or a policy is invalid.";

/// Labelled images that are read at most, the newest: bounds memory.
const MOST_LABELLED: u32 = 10_000;

/// `30d`, `12h`.
fn span(text: &str) -> Result<Duration, String> {
    let hours = |text: &str, unit: char, hours: u64| {
        let amount = text.strip_suffix(unit)?.parse::<u64>().ok()?;
        amount.checked_mul(hours * 3_600).filter(|seconds| 0 < *seconds)
    };
    let seconds = hours(text, 'd', 24).or_else(|| hours(text, 'h', 1));
    seconds
        .map(Duration::from_secs)
        .ok_or_else(|| format!("{text:?} is not a time such as 30d or 12h"))
}

/// A number of pairs that an offset may rest on.
fn pairs(text: &str) -> Result<u64, String> {
    at_least(text, (MIN_PAIRS, "images"), 8_000)
}

/// A number of labels that an offset may rest on.
fn labelled(text: &str) -> Result<u64, String> {
    at_least(text, (MIN_LABELS, "labels"), 1_000)
}

fn at_least(text: &str, (least, of): (u64, &str), usual: u64) -> Result<u64, String> {
    match text.parse() {
        Ok(number) if least <= number => Ok(number),
        Ok(_) => Err(format!(
            "an offset that rests on fewer than {least} {of} does more harm than good; ask for \
             {least} or more"
        )),
        Err(_) => Err(format!("not a whole number such as {least} or {usual}")),
    }
}

/// Fits, and prints what to paste.
///
/// # Errors
/// The configuration is invalid, a name does not exist, the store cannot be read, or stdout is
/// closed.
pub fn run(args: &CalibrateArgs) -> Result<Exit, AppError> {
    let config = args.source.read_keyless()?;
    let policies = config.policy_loader().load()?.policies;
    let policy = &chosen(&policies, args.policy.as_deref())?.policy;
    let judges = Judges::of(&config, policy)?;
    if args.labels {
        return run_labels(args, (&config, policy), &judges);
    }
    let primary = match &args.against {
        Some(name) => known(&judges, name)?,
        None => policy.route.judges.first().map(String::as_str).unwrap_or_default(),
    };
    let mut evidence = Evidence::new(policy, primary, &judges, args.second_opinions);
    for judge in wanted(args, policy, primary) {
        if judge == primary {
            return Err(AppError::Usage(format!("{judge} is whom others are calibrated to")));
        }
        evidence.want(known(&judges, judge)?);
    }
    let now = Timestamp::now();
    let since = now.before(args.since);
    app::block_on(gather(&config, &mut evidence, (since, now)))??;
    let report = Report::of(policy, primary, (since, now), args.min_pairs, evidence.by_judge);
    put(&if args.json { report.json().to_string() } else { report.text() })?;
    Ok(Exit::Done)
}

/// The same with what people said.
fn run_labels(
    args: &CalibrateArgs,
    (config, policy): (&Config, &Policy),
    judges: &Judges,
) -> Result<Exit, AppError> {
    let mut labels = Labels::new(policy, judges);
    for judge in wanted(args, policy, "") {
        labels.want(known(judges, judge)?);
    }
    let now = Timestamp::now();
    let window = (now.before(args.since), now);
    app::block_on(gather_labels(config, &mut labels, (&policy.name, window)))??;
    let report = labels.report(window, args.min_labels);
    put(&if args.json { report.json().to_string() } else { report.text() })?;
    Ok(Exit::Done)
}

fn chosen<'a>(
    policies: &'a [LoadedPolicy],
    name: Option<&str>,
) -> Result<&'a LoadedPolicy, AppError> {
    let names = || {
        let names: Vec<_> = policies.iter().map(|one| one.policy.name.as_str()).collect();
        names.join(", ")
    };
    match (name, policies) {
        (None, [only]) => Ok(only),
        (None, _) => Err(AppError::Usage(format!("--policy is missing: one of {}", names()))),
        (Some(name), _) => policies.iter().find(|one| one.policy.name == name).ok_or_else(|| {
            AppError::Usage(format!("no policy is called \"{name}\": there is {}", names()))
        }),
    }
}

/// Those who are named, else everybody whom the policy may ask and who looks at the image.
fn wanted<'a>(args: &'a CalibrateArgs, policy: &'a Policy, primary: &str) -> Vec<&'a str> {
    let named: Vec<_> = args.judges.iter().map(String::as_str).collect();
    if !named.is_empty() {
        return named;
    }
    let second = policy.second_opinion.iter().flat_map(|second| &second.ask);
    let all = policy.route.judges.iter().chain(second).map(String::as_str);
    all.filter(|judge| *judge != primary && *judge != LOCAL_JUDGE).collect()
}

fn known<'a>(judges: &Judges, name: &'a str) -> Result<&'a str, AppError> {
    if judges.names().any(|one| one == name) {
        return Ok(name);
    }
    let names: Vec<_> = judges.names().collect();
    let names = names.join(", ");
    Err(AppError::Usage(format!("no judge is called \"{name}\": there is {names}")))
}

/// Reads the store stretch by stretch, the newest first.
async fn gather(
    config: &Config,
    evidence: &mut Evidence<'_>,
    (since, until): (Timestamp, Timestamp),
) -> Result<(), AppError> {
    let reader = stored(&config.ledger_settings()).await?;
    let policy = evidence.policy().name.clone();
    let mut place = Some(Place::before(until));
    while let Some(before) = place.filter(|_| !evidence.is_full()) {
        let (judgements, next) = reader.judgements(&policy, since, before).await?;
        judgements.iter().for_each(|all| evidence.take(all));
        place = next;
    }
    Ok(())
}

/// What people said, and how many images came, stretch by stretch.
async fn gather_labels(
    config: &Config,
    labels: &mut Labels<'_>,
    (policy, (since, until)): (&str, (Timestamp, Timestamp)),
) -> Result<(), AppError> {
    let reader = stored(&config.ledger_settings()).await?;
    labels.take(&reader.labelled(policy, (since, until), MOST_LABELLED).await?);
    let mut place = Some(Place::before(until));
    while let Some(before) = place {
        let (came, next) = reader.came(policy, since, before).await?;
        came.iter().for_each(|one| labels.count(one));
        place = next;
    }
    Ok(())
}
