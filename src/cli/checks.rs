//! `vlmgate checks score`: what a policy's local checks make of a folder of pictures.

mod fit;
mod manifest;
mod recipe;
mod report;
mod score;
mod twins;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use crate::app::AppError;
use crate::cli::checks::manifest::{Entry, Expected, Listed};
use crate::cli::checks::recipe::Recipe;
use crate::cli::checks::report::{Costs, Fitted, Report, read_beside};
use crate::cli::checks::score::{Beside, Good, Limits, Reading, Scored};
use crate::cli::checks::twins::Separation;
use crate::cli::{Exit, key_value, put, say};
use crate::config::files::PolicyFiles;
use crate::domain::policy::Fingerprint;
use crate::domain::{Candidate, CheckSpec, Finding, OnFail};
use crate::imaging::{Inspected, Inspection, inspect};
use crate::ledger::form::FindingForm;
use crate::prompt::LoadedPolicy;

/// `vlmgate checks …`
#[derive(Debug, Subcommand)]
pub enum ChecksCommand {
    /// Hold every picture of a folder to a policy's local checks, and count
    Score(ScoreArgs),
}

/// Arguments of `vlmgate checks score`.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct ScoreArgs {
    /// Folder of pictures
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// CSV file that says which pictures are good and which have a defect: `file` (under DIR),
    /// `label`, and where known level, scene, source, `source_path`, group, `expected_precheck`;
    /// else every picture of the folder counts as good
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    /// Policy file whose checks are made; else the shipped product-photo policy's
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// A variable of the policy for every picture; may be repeated. A manifest's scene sets
    /// `background` where this does not
    #[arg(long = "var", value_name = "K=V", value_parser = key_value)]
    vars: Vec<(String, String)>,
    /// CSV file of another tool's findings (`file` and columns `is_…_issue`), to stand beside
    #[arg(long, value_name = "FILE")]
    beside: Option<PathBuf>,
    /// Propose each line between the good pictures and the defects, and say what leaving out one
    /// source does
    #[arg(long)]
    fit: bool,
    /// With --fit: CSV file `rule,check,of` that says which defects a check `shows`, how many good
    /// pictures to `spare` it, and which lines to `keep`
    #[arg(long, value_name = "FILE", requires = "fit")]
    recipe: Option<PathBuf>,
    /// One JSON object a picture, on stdout; the table goes to stderr
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
Examples:
  vlmgate checks score pictures
  vlmgate checks score pictures --manifest pictures/manifest.csv --fit

Without --manifest every picture counts as good, and what is stopped or flagged is a false alarm.

Exit codes: 0 done, 1 a picture cannot be read, 2 a folder or file that holds nothing to score, 3 the
policy is invalid.";

/// Runs `vlmgate checks …`.
///
/// # Errors
/// Files that cannot be read, problems of the policy, or stdout is closed.
pub fn run(command: &ChecksCommand) -> Result<Exit, AppError> {
    let ChecksCommand::Score(args) = command;
    score(args)
}

fn score(args: &ScoreArgs) -> Result<Exit, AppError> {
    let loaded = match &args.policy {
        Some(file) => PolicyFiles::read_policy(file, None)?,
        None => PolicyFiles::shipped().load_one("product-photo.yaml", None)?,
    };
    let Listed { entries, left_out } = match &args.manifest {
        Some(file) => manifest::read(file, &args.dir)?,
        None => unlabelled(&args.dir)?,
    };
    if entries.is_empty() {
        let dir = args.dir.display();
        return Err(AppError::Usage(format!(
            "{dir}: no picture to score, {left_out} rows left out"
        )));
    }
    let beside = args.beside.as_deref().map(|file| {
        read_beside(file).map_err(|why| AppError::Usage(format!("{}: {why}", file.display())))
    });
    let beside = beside.transpose()?;
    let checks = &loaded.policy.checks;
    let recipe = args.recipe.as_deref().map(|file| Recipe::read(file, checks)).transpose()?;
    let mut run = Run { left_out, ..Run::default() };
    for entry in entries {
        run.measure(args, &loaded, entry)?;
    }
    let text = run.report(checks, beside.as_ref()).render();
    let recipe = recipe.unwrap_or_default();
    let fitted = if args.fit { run.fitted(checks, &recipe).render(checks) } else { String::new() };
    if args.json {
        say(&format!("{text}{fitted}"));
    } else {
        put(&format!("{text}{fitted}"))?;
    }
    Ok(Exit::Done)
}

/// Everything measured so far.
#[derive(Default)]
struct Run {
    scored: Vec<Scored>,
    prints: Vec<(Entry, Fingerprint)>,
    costs: Costs,
    /// Rows of the manifest that are no pictures to score.
    left_out: usize,
}

impl Run {
    fn measure(
        &mut self,
        args: &ScoreArgs,
        loaded: &LoadedPolicy,
        entry: Entry,
    ) -> Result<(), AppError> {
        let policy = &loaded.policy;
        let vars = vars(loaded, args, &entry)?;
        let applied = loaded.checks(&vars);
        let applies = |check: &CheckSpec| applied.iter().any(|one| one.id == check.id);
        let path = args.dir.join(&entry.file);
        let bytes = read(&path, policy.input.max_bytes)
            .map_err(|why| AppError::Usage(format!("{}: {why}", path.display())))?;
        let seen = Candidate::admit(bytes, &policy.input.accept, policy.input.max_bytes)
            .map_err(|why| why.to_string())
            .and_then(|candidate| {
                inspect(&candidate, policy.input.max_pixels, &policy.checks)
                    .map_err(|why| why.to_string())
            });
        if args.json {
            put(&json_line(&entry, &policy.checks, &seen, &applies)?)?;
        }
        let outcome = seen.map(|seen| {
            self.costs.add(&seen);
            self.prints.push((entry.clone(), seen.fingerprint));
            let readings = seen.checks.into_iter().zip(&policy.checks).enumerate();
            let reading = |(check, (one, spec)): (usize, (Inspected, &CheckSpec))| Reading {
                check,
                applies: applies(spec),
                lines: one.lines,
            };
            readings.map(reading).collect()
        });
        self.scored.push(Scored { entry, outcome });
        Ok(())
    }

    fn report<'a>(&self, checks: &'a [CheckSpec], beside: Option<&Beside>) -> Report<'a> {
        let nothing = BTreeMap::new();
        let other = beside.unwrap_or(&nothing);
        let good = self.scored.iter().filter(|one| one.entry.is_good());
        let found: Vec<_> = good.filter_map(|one| other.get(&one.entry.file)).collect();
        let mut good_beside_by = BTreeMap::new();
        for issue in found.iter().copied().flatten() {
            *good_beside_by.entry(issue.clone()).or_default() += 1;
        }
        let prints: Vec<_> = self.prints.iter().map(|(entry, print)| (entry, *print)).collect();
        Report {
            checks,
            good: Good::of(&self.scored, checks, &Limits::new()),
            defects: score::defects(&self.scored, checks, &Limits::new(), other),
            costs: self.costs.clone(),
            scored: self.scored.len(),
            left_out: self.left_out,
            twins: Separation::of(&prints),
            is_beside: beside.is_some(),
            good_beside: (found.iter().filter(|found| !found.is_empty()).count(), found.len()),
            good_beside_by,
        }
    }

    fn fitted(&self, checks: &[CheckSpec], recipe: &Recipe) -> Fitted {
        let all: Vec<&Scored> = self.scored.iter().collect();
        let proposals = fit::fit(&all, checks, recipe);
        let limits = fit::limits(&proposals);
        Fitted {
            proposals,
            good: Good::of(&self.scored, checks, &limits),
            caught: fit::caught(&self.scored, checks, &limits),
            left_out: fit::leave_one_out(&self.scored, checks, recipe),
        }
    }
}

impl Costs {
    fn add(&mut self, seen: &Inspection) {
        self.count += 1;
        self.megapixels += f64::from(seen.width_px) * f64::from(seen.height_px) / 1e6;
        self.shared += seen.shared_ms;
        self.decode += seen.decode_ms;
        for (number, check) in seen.checks.iter().enumerate() {
            *self.by_check.entry(number).or_default() += check.took_ms;
        }
    }
}

/// The policy's variables for a picture: as given, else as its scene tells, else the defaults.
fn vars(
    loaded: &LoadedPolicy,
    args: &ScoreArgs,
    entry: &Entry,
) -> Result<BTreeMap<String, String>, AppError> {
    let declared = &loaded.policy.input.vars;
    let takes = |(name, value): &(String, String)| {
        declared.get(name).is_some_and(|variable| variable.one_of.contains(value))
    };
    let mut sent: BTreeMap<String, String> = entry.vars().into_iter().filter(takes).collect();
    sent.extend(args.vars.iter().cloned());
    loaded.vars(&sent).map_err(|problems| {
        let lines = problems.iter().map(|one| format!("--var {}: {}", one.name, one.message));
        AppError::Usage(lines.collect::<Vec<_>>().join("; "))
    })
}

/// Every picture of a folder, by the ends of the names.
fn unlabelled(dir: &Path) -> Result<Listed, AppError> {
    let wrong = |why: std::io::Error| AppError::Usage(format!("{}: {why}", dir.display()));
    let mut files = Vec::new();
    for found in std::fs::read_dir(dir).map_err(wrong)? {
        let name = found.map_err(wrong)?.file_name();
        let Some(name) = name.to_str() else { continue };
        let ending = Path::new(name).extension().and_then(|ending| ending.to_str());
        let ending = ending.unwrap_or_default().to_ascii_lowercase();
        if ["jpg", "jpeg", "png", "webp"].contains(&ending.as_str()) {
            files.push(name.to_owned());
        }
    }
    files.sort();
    let entry = |file: String| Entry {
        base: file.clone(),
        file,
        label: "good".to_owned(),
        level: String::new(),
        scene: String::new(),
        source: String::new(),
        group: None,
        expected: Expected::Open,
    };
    Ok(Listed { entries: files.into_iter().map(entry).collect(), left_out: 0 })
}

/// Reads a file, but never more than one byte past the limit: the candidate says what is too large.
fn read(file: &Path, limit_bytes: u64) -> std::io::Result<Bytes> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(file)?;
    file.take(limit_bytes.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(Bytes::from(bytes))
}

fn json_line(
    entry: &Entry,
    checks: &[CheckSpec],
    seen: &Result<Inspection, String>,
    applies: &dyn Fn(&CheckSpec) -> bool,
) -> Result<String, AppError> {
    let seen = match seen {
        Ok(seen) => seen,
        Err(why) => {
            let line = json!({ "file": entry.file, "verdict": "refused", "detail": why });
            return Ok(line.to_string());
        }
    };
    let made = seen.checks.iter().zip(checks).filter(|(_, check)| applies(check));
    let (findings, lines): (Vec<&Finding>, Vec<Value>) =
        made.map(|(one, check)| (&one.finding, lines(check, one))).unzip();
    let broken = |on_fail| findings.iter().any(|one| !one.passed && one.on_fail == on_fail);
    let verdict = if broken(OnFail::Fail) {
        "fail"
    } else if broken(OnFail::Review) {
        "review"
    } else {
        "pass"
    };
    let forms: Vec<FindingForm> = findings.into_iter().map(FindingForm::from).collect();
    let forms = serde_json::to_value(&forms).map_err(AppError::json)?;
    let line =
        json!({ "file": entry.file, "verdict": verdict, "findings": forms, "numbers": lines });
    Ok(line.to_string())
}

/// Every number of a check: a finding tells the worst alone.
fn lines(check: &CheckSpec, seen: &Inspected) -> Value {
    let numbers = seen.lines.iter().map(|line| (line.key.to_owned(), json!(line.value)));
    json!({ "check": check.id, "numbers": numbers.collect::<Map<String, Value>>() })
}
