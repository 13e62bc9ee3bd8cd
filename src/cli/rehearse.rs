//! `vlmgate policy test`: policies rehearsed with scripted judges on a virtual clock.

use std::fmt::Write;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use crate::app::AppError;
use crate::cli::{Exit, put, say};
use crate::clock::Stopwatch;
use crate::config::casting::Casting;
use crate::config::problem::gather;
use crate::config::rehearsal::{ENDING, read_suite, test_files, untested};
use crate::domain::{Attempt, Decision};
use crate::gate::hearing::Heard;
use crate::rehearse::coverage::{CheckSeen, Coverage, LineSeen, Way};
use crate::rehearse::verify::{Mismatch, cost, millis, reason};
use crate::rehearse::{Performance, Played, Stage, Suite};

/// Where tests are looked for when no place is named.
const DEFAULT_PATH: &str = "policies";

/// Arguments of `vlmgate policy test`.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct TestArgs {
    /// Files of tests, or folders with *.test.yaml [default: policies]
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Play only the tests whose name holds this
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    filter: String,
    /// Configuration whose judges play; else those the program knows
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
Examples:
  vlmgate policy test
  vlmgate policy test policies/product-photo.test.yaml --filter 529

A test shows an image, scripts the judges and says what must come of it:

  policy: product-photo.yaml
  defaults: { image: fixtures/mug-clean.jpg, vars: { background: white } }
  tests:
    - name: 529 from the first judge, answered by the second
      judges:
        openai-mini:  { fault: overloaded, after: 80ms }
        claude-haiku: { scores: { \"*\": 0.9 }, after: 900ms }
      expect: { verdict: pass, judge: claude-haiku, attempts: 2, within: 1100ms }

No network and no key are needed, and no time passes: the clock is virtual. A judge that a test does
not name must not be called. Every key is in policies/schemas/policy-test.v1.schema.json.

Exit codes: 0 all passed, 2 there is nothing to play, 3 a file is invalid, 100 a test failed.";

/// Plays every test.
///
/// # Errors
/// The files are invalid, there is nothing to play, or stdout is closed.
pub fn run(args: &TestArgs) -> Result<Exit, AppError> {
    let watch = Stopwatch::start();
    let casting = match &args.config {
        Some(file) => Casting::read(file)?,
        None => Casting::usual(),
    };
    let mut stage = Stage::new().map_err(|why| AppError::Internal(why.to_string()))?;
    let mut performances = Vec::new();
    for suite in suites(args, &casting)? {
        let played = stage.play(&suite, &args.filter);
        performances.push(played.map_err(|why| AppError::Internal(why.to_string()))?);
    }
    if performances.iter().all(|one| one.played.is_empty()) {
        return Err(AppError::Usage(format!("no test's name holds {:?}", args.filter)));
    }
    let took_ms = watch.elapsed_ms();
    let all = || performances.iter().flat_map(|one| &one.played);
    let failed = all().filter(|one| !one.passed()).count();
    let passed = all().count() - failed;
    if args.json {
        let files: Vec<_> = performances.iter().map(to_json).collect();
        let whole =
            json!({ "passed": passed, "failed": failed, "took_ms": took_ms, "files": files });
        put(&whole.to_string())?;
    } else {
        for performance in &performances {
            put(&render(performance, args.filter.is_empty()))?;
        }
        put(&format!("{passed} passed, {failed} failed, {took_ms:.0} ms"))?;
    }
    Ok(if failed == 0 { Exit::Done } else { Exit::TestFailed })
}

/// Reads every file of tests, or tells everything that is wrong with any of them.
fn suites(args: &TestArgs, casting: &Casting) -> Result<Vec<Suite>, AppError> {
    let default = [PathBuf::from(DEFAULT_PATH)];
    let paths = if args.paths.is_empty() { default.as_slice() } else { args.paths.as_slice() };
    let mut suites = Vec::new();
    let mut problems = Vec::new();
    for path in paths {
        if !path.exists() {
            return Err(AppError::Usage(format!("{} does not exist", path.display())));
        }
        for policy in untested(path) {
            say(&format!("{} has no tests", policy.display()));
        }
        for file in test_files(path)? {
            match read_suite(&file, casting) {
                Ok(suite) => suites.push(suite),
                Err(found) => problems.extend(found.list().iter().cloned()),
            }
        }
    }
    if let Some(problems) = gather(problems) {
        return Err(AppError::Files(problems));
    }
    if suites.is_empty() {
        let shown: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
        return Err(AppError::Usage(format!("no tests (*{ENDING}) in {}", shown.join(", "))));
    }
    Ok(suites)
}

/// One line for each test that passed, the whole story of each that failed, then what no test
/// touched.
fn render(performance: &Performance, shows_coverage: bool) -> String {
    let mut text = String::new();
    // writing to a String cannot fail
    let _ = heading(&mut text, performance);
    for played in &performance.played {
        let _ = if played.passed() {
            writeln!(text, "  ok   {}", played.name)
        } else {
            failure(&mut text, played)
        };
    }
    if shows_coverage {
        let _ = coverage_lines(&mut text, &performance.coverage);
    }
    text
}

fn heading(text: &mut String, performance: &Performance) -> std::fmt::Result {
    let revision: String = performance.revision.to_hex().chars().take(12).collect();
    writeln!(text, "{}  ({} b3:{revision})", performance.file, performance.policy)
}

fn failure(text: &mut String, played: &Played) -> std::fmt::Result {
    writeln!(text, "  FAIL {}", played.name)?;
    for one in &played.mismatches {
        writeln!(text, "         {}: expected {}, got {}", one.key, one.expected, one.got)?;
    }
    let Ok(heard) = &played.outcome else { return Ok(()) };
    for attempt in &heard.attempts {
        attempt_line(text, attempt)?;
    }
    let by = heard.judge.as_ref().map(|(judge, _)| format!(" by {}", judge.name));
    writeln!(
        text,
        "         {:>8}  {} ({}{}), {}",
        millis(heard.took),
        heard.verdict.decision.label(),
        heard.verdict.basis.label(),
        by.unwrap_or_default(),
        cost(&heard.attempts)
    )
}

fn attempt_line(text: &mut String, attempt: &Attempt) -> std::fmt::Result {
    write!(
        text,
        "         {:>5} ms  {} {} {} after {} ms",
        attempt.started_ms,
        attempt.route.label(),
        attempt.judge.name,
        attempt.outcome.label(),
        attempt.took_ms
    )?;
    for said in &attempt.scores {
        let score = said.score.map_or_else(|| "-".to_owned(), |score| format!("{score}"));
        write!(text, ", {} {score}", said.criterion)?;
    }
    match &attempt.detail {
        Some(detail) => writeln!(text, ": {detail}"),
        None => writeln!(text),
    }
}

fn coverage_lines(text: &mut String, coverage: &Coverage) -> std::fmt::Result {
    let Coverage { lines, ways, checks, judges } = coverage;
    let sides = lines.iter().filter(|one| one.passing && one.failing).count();
    let seen = |seen: usize, all: usize, what: &str| format!("{seen} of {all} {what}");
    let parts = [
        seen(sides, lines.len(), "lines from both sides"),
        seen(ways.iter().filter(|(_, seen)| *seen).count(), ways.len(), "routes"),
        seen(checks.iter().filter(|one| one.broken).count(), checks.len(), "checks"),
        seen(judges.iter().filter(|(_, seen)| *seen).count(), judges.len(), "judges"),
    ];
    writeln!(text, "  touched: {}", parts.join(", "))?;
    for line in coverage.untouched() {
        writeln!(text, "  untouched: {line}")?;
    }
    Ok(())
}

fn to_json(performance: &Performance) -> Value {
    let Performance { file, policy, revision, played, coverage } = performance;
    let tests: Vec<_> = played.iter().map(test_json).collect();
    let Coverage { lines, ways, checks, judges } = coverage;
    let line = |one: &LineSeen| {
        json!({ "criterion": one.criterion, "judge": one.judge, "pass_at": one.pass_at,
            "passing": one.passing, "failing": one.failing })
    };
    let lines: Vec<_> = lines.iter().map(line).collect();
    let way = |(way, seen): &(Way, bool)| json!({ "route": way.label(), "seen": seen });
    let routes: Vec<_> = ways.iter().map(way).collect();
    let check = |one: &CheckSeen| json!({ "check": one.check, "on_fail": one.on_fail.label(), "seen": one.broken });
    let checks: Vec<_> = checks.iter().map(check).collect();
    let judge = |(judge, seen): &(String, bool)| json!({ "judge": judge, "seen": seen });
    let judges: Vec<_> = judges.iter().map(judge).collect();
    json!({
        "file": file,
        "policy": policy,
        "revision": revision.to_string(),
        "tests": tests,
        "coverage": { "criteria": lines, "routes": routes, "checks": checks, "judges": judges,
            "untouched": coverage.untouched() },
    })
}

fn test_json(played: &Played) -> Value {
    let mismatch =
        |one: &Mismatch| json!({ "key": one.key, "expected": one.expected, "got": one.got });
    let mismatches: Vec<_> = played.mismatches.iter().map(mismatch).collect();
    let head = json!({ "name": played.name, "passed": played.passed(), "mismatches": mismatches });
    let outcome = match &played.outcome {
        Ok(heard) => heard_json(heard),
        Err(why) => json!({ "refused": reason(why), "detail": why.to_string() }),
    };
    match (head, outcome) {
        (Value::Object(mut head), Value::Object(outcome)) => {
            head.extend(outcome);
            Value::Object(head)
        }
        (head, _) => head,
    }
}

fn heard_json(heard: &Heard) -> Value {
    let Heard { verdict, judge, attempts, took, findings: _ } = heard;
    let attempt = |one: &Attempt| {
        let scores: serde_json::Map<_, _> = one
            .scores
            .iter()
            .map(|said| (said.criterion.clone(), Value::from(said.score)))
            .collect();
        json!({ "judge": one.judge.name, "route": one.route.label(),
            "outcome": one.outcome.label(), "started_ms": one.started_ms, "took_ms": one.took_ms,
            "said": one.said.map(Decision::label), "scores": scores,
            "cost_micro_usd": one.cost.0, "detail": one.detail })
    };
    let attempts_json: Vec<_> = attempts.iter().map(attempt).collect();
    json!({
        "verdict": verdict.decision.label(),
        "would_be": verdict.would_be.map(Decision::label),
        "basis": verdict.basis.label(),
        "judge": judge.as_ref().map(|(judge, _)| judge.name.as_str()),
        "route": judge.as_ref().map(|(_, route)| route.label()),
        "failed": verdict.failed,
        "flags": verdict.flags,
        "borderline": verdict.borderline,
        "took_ms": (took.as_secs_f64() * 1e6).round() / 1e3,
        "cost_micro_usd": cost(attempts).0,
        "attempts": attempts_json,
        "refused": null,
    })
}
