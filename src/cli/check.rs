//! `vlmgate check`: the whole pipeline on files, no server.

use std::collections::BTreeMap;
use std::env;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::app::{self, App, AppError};
use crate::cli::{Exit, Source, key_value, put, say, table};
use crate::clock::Stopwatch;
use crate::config::Overrides;
use crate::config::environment::Environment;
use crate::domain::policy::Input;
use crate::domain::{Candidate, Decision, Digest, Record};
use crate::gate::{Refusal, Submission};
use crate::imaging::{self, Explained, Inspected, Plan, View};
use crate::ledger::form::RecordForm;
use crate::telemetry::log::{LogFilter, install_logs};

/// Arguments of `vlmgate check`.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct CheckArgs {
    /// Image files
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    /// Policy to hold them to; needed where several are loaded
    #[arg(long, value_name = "NAME")]
    policy: Option<String>,
    /// A variable of the policy; may be repeated
    #[arg(long = "var", value_name = "K=V", value_parser = key_value)]
    vars: Vec<(String, String)>,
    /// Deadline for each image; it can only shorten the policy's
    #[arg(long, value_name = "MS")]
    deadline: Option<u64>,
    /// Draw the broken checks of one image on it: where the halo is, the specks, the blocks
    #[arg(long, value_name = "PNG")]
    explain: Option<PathBuf>,
    /// Write what judges are shown of each image to this folder, as IMAGE.VIEW.jpg
    #[arg(long, value_name = "DIR")]
    views: Option<PathBuf>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    /// A `review` counts as a failure too
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    source: Source,
}

const AFTER_HELP: &str = "\
Examples:
  vlmgate check mug.jpg --var background=white
  vlmgate check *.png --policy product-photo --json
  vlmgate check mug.jpg --views shown

Nothing is kept, unless --data names a folder.

Exit codes: 0 no image failed, 1 a file cannot be read or the gate failed, 2 usage, 3 the
configuration or a policy is invalid, 10 an image failed or was refused (with --strict, or went to a
person).";

/// What became of one file.
enum Ending {
    Checked(Box<Record>),
    Refused(String),
    /// It cannot be read, or the gate failed on it, and that was said.
    Unjudged,
}

/// Checks every file in turn.
///
/// # Errors
/// The gate could not be built, or stdout is closed.
pub fn run(args: &CheckArgs) -> Result<Exit, AppError> {
    if args.explain.is_some() && args.images.len() != 1 {
        return Err(AppError::Usage("--explain draws one image; name one".to_owned()));
    }
    let ending = args.explain.as_deref().and_then(Path::extension);
    if ending.is_some_and(|ending| !ending.eq_ignore_ascii_case("png")) {
        return Err(AppError::Usage("--explain writes a PNG; name a *.png".to_owned()));
    }
    if args.views.is_some() {
        refuse_equal_names(&args.images)?;
    }
    let _logs = install_logs(&LogFilter::warnings(), true);
    let kept = args.source.data.is_some() || Environment::process().get("VLMGATE_DATA").is_some();
    // without --data the records of this run are of no use to anybody: they go with it
    let scratch = env::temp_dir().join(format!("vlmgate-check-{}", Uuid::now_v7()));
    let data_dir = (!kept).then(|| scratch.clone());
    let source = Source { data: data_dir.or(args.source.data.clone()), ..args.source.clone() };
    let config = source.read(Overrides::default())?;
    let ended = app::block_on(async {
        let app = App::build(config).await?;
        let ended = check_all(&app, args, kept).await;
        app.close().await;
        ended
    });
    if !kept {
        drop(std::fs::remove_dir_all(&scratch));
    }
    ended?
}

/// Views are named by their image's file name: two of one name would be written over each other.
fn refuse_equal_names(images: &[PathBuf]) -> Result<(), AppError> {
    let mut named = BTreeMap::new();
    for image in images {
        if let Some(other) = named.insert(view_prefix(image), image) {
            let (one, two) = (other.display(), image.display());
            return Err(AppError::Usage(format!("--views: {one} and {two} have one file name")));
        }
    }
    Ok(())
}

/// What the views of an image are named after.
fn view_prefix(image: &Path) -> String {
    image.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

async fn check_all(app: &App, args: &CheckArgs, kept: bool) -> Result<Exit, AppError> {
    let mut exit = Exit::Done;
    let mut failed = false;
    for file in &args.images {
        let ending = check_one(app, args, file).await?;
        let name = file.display().to_string();
        let decision = match &ending {
            Ending::Checked(record) => Some(record.verdict.decision),
            Ending::Refused(_) | Ending::Unjudged => None,
        };
        match decision {
            // that is the tool's failure and not the image's, and the others are still judged
            None if matches!(ending, Ending::Unjudged) => failed = true,
            Some(Decision::Pass) => {}
            Some(Decision::Review) if !args.strict => {}
            Some(Decision::Review | Decision::Fail) | None => exit = Exit::Rejected,
        }
        // the verdict first: it is true even where a picture cannot be written
        match (&ending, args.json) {
            (Ending::Checked(record), true) => put(&json_line(&name, record, kept)?)?,
            (Ending::Checked(record), false) => put(&table::render(&name, record))?,
            (Ending::Refused(why), true) => {
                put(&json!({ "file": name, "verdict": "refused", "detail": why }).to_string())?;
            }
            (Ending::Refused(why), false) => put(&format!("REFUSED {name}  {why}"))?,
            (Ending::Unjudged, _) => {}
        }
        match (&args.explain, &ending) {
            (Some(target), Ending::Checked(record)) => explain(app, file, record, target)?,
            (Some(target), Ending::Refused(_)) => {
                say(&format!("vlmgate: {}: a refused image is not drawn", target.display()));
            }
            (Some(_), Ending::Unjudged) | (None, _) => {}
        }
        if let (Some(folder), Ending::Checked(record)) = (&args.views, &ending) {
            show(app, file, record, folder)?;
        }
    }
    Ok(if failed { Exit::Failed } else { exit })
}

async fn check_one(app: &App, args: &CheckArgs, file: &Path) -> Result<Ending, AppError> {
    let arrived = Stopwatch::start();
    let unjudged = |why: &dyn fmt::Display| {
        say(&format!("vlmgate: {}: {why}", file.display()));
        Ok(Ending::Unjudged)
    };
    let bytes = match read(file, app.gate.policies.load().max_bytes()) {
        Ok(bytes) => bytes,
        Err(why) => return unjudged(&why),
    };
    let admission = match app.gate.door.admit(bytes.len(), &app.gate.ledger) {
        Ok(admission) => admission,
        Err(reason) => return unjudged(&AppError::Shed(reason)),
    };
    let digest = Digest::of(&bytes);
    let submission = Submission {
        bytes,
        digest,
        policy: args.policy.clone(),
        vars: args.vars.iter().cloned().collect::<BTreeMap<_, _>>(),
        external_id: Some(file.display().to_string()),
        request_id: Uuid::now_v7().to_string(),
        arrived,
        read_ms: arrived.elapsed_ms(),
        asked_deadline: args.deadline.map(Duration::from_millis),
        idempotency: None,
        caller_gone: CancellationToken::new(),
        admission,
        // a person reads the reasons
        takes_early: false,
    };
    match app.gate.check(submission).await {
        Ok(checked) => Ok(Ending::Checked(Box::new(checked.record))),
        Err(Refusal::Inadmissible(why)) => Ok(Ending::Refused(why.to_string())),
        Err(Refusal::Variables(problems)) => {
            let lines = problems.iter().map(|(name, what)| format!("--var {name}: {what}"));
            Err(AppError::Usage(lines.collect::<Vec<_>>().join("; ")))
        }
        Err(Refusal::BodyLate | Refusal::Broken) => unjudged(&"a worker broke on this image"),
        Err(why @ (Refusal::UnknownPolicy { .. } | Refusal::BelowFloor { .. })) => {
            Err(AppError::Usage(why.to_string()))
        }
        Err(Refusal::Shed(reason)) => unjudged(&AppError::Shed(reason)),
    }
}

/// Draws what the checks of `record`'s policy found on its image, and says in which colour.
fn explain(app: &App, file: &Path, record: &Record, target: &Path) -> Result<(), AppError> {
    let policies = app.gate.policies.load();
    let policy = policies.find(Some(&record.policy.name));
    let policy = policy.map_err(|why| AppError::Internal(why.to_string()))?;
    let candidate = again(file, &policy.input).map_err(|why| not_done("--explain", &why))?;
    let checks = policy.loaded.checks(&record.vars);
    let explained = imaging::explain(&candidate, policy.input.max_pixels, &checks);
    let Explained { png, drawn } = explained.map_err(|why| not_done("--explain", &why))?;
    write(target, &png)?;
    if drawn.is_empty() {
        say(&format!("vlmgate: {}: no check is broken, nothing is drawn", target.display()));
    }
    for (Inspected { finding, areas, .. }, colour) in drawn {
        let places = match areas.len() {
            0 => "which no place shows".to_owned(),
            1 => "1 place".to_owned(),
            count => format!("{count} places"),
        };
        let target = target.display();
        say(&format!("vlmgate: {target}: {} in {colour}, {places}", finding.check));
    }
    Ok(())
}

/// Writes the views of an image to `folder`, and says how large each is.
fn show(app: &App, file: &Path, record: &Record, folder: &Path) -> Result<(), AppError> {
    let policies = app.gate.policies.load();
    let policy = policies.find(Some(&record.policy.name));
    let policy = policy.map_err(|why| AppError::Internal(why.to_string()))?;
    let input = &policy.input;
    let candidate = again(file, input).map_err(|why| not_done("--views", &why))?;
    let plan = Plan {
        max_pixels: input.max_pixels,
        checks: Vec::new(),
        views: input.views.clone(),
        encode: input.encode,
        measures: false,
    };
    let views = imaging::show(&candidate, &plan).map_err(|why| not_done("--views", &why))?;
    std::fs::create_dir_all(folder)
        .map_err(|why| AppError::Usage(format!("{}: {why}", folder.display())))?;
    let name = view_prefix(file);
    for View { id, width_px, height_px, jpeg } in views {
        let target = folder.join(format!("{name}.{id}.jpg"));
        let bytes = jpeg.decoded();
        write(&target, &bytes)?;
        let size = bytes.len();
        say(&format!("vlmgate: {}: {width_px} x {height_px}, {size} bytes", target.display()));
    }
    Ok(())
}

/// The image once more, as the gate took it.
fn again(file: &Path, input: &Input) -> Result<Candidate, String> {
    let bytes = read(file, input.max_bytes).map_err(|why| why.to_string())?;
    Candidate::admit(bytes, &input.accept, input.max_bytes).map_err(|why| why.to_string())
}

fn not_done(option: &str, why: &dyn fmt::Display) -> AppError {
    AppError::Internal(format!("{option}: {why}"))
}

fn write(target: &Path, bytes: &[u8]) -> Result<(), AppError> {
    std::fs::write(target, bytes)
        .map_err(|why| AppError::Usage(format!("{}: {why}", target.display())))
}

/// Reads a file, but never more than one byte past the limit: the gate says what is too large.
fn read(file: &Path, limit_bytes: u64) -> std::io::Result<Bytes> {
    let mut bytes = Vec::new();
    File::open(file)?.take(limit_bytes.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(Bytes::from(bytes))
}

fn json_line(file: &str, record: &Record, kept: bool) -> Result<String, AppError> {
    let form = RecordForm { recorded: kept && record.recorded, ..RecordForm::from(record) };
    let mut value = serde_json::to_value(&form).map_err(AppError::json)?;
    if let Value::Object(fields) = &mut value {
        fields.insert("file".to_owned(), Value::from(file));
    }
    Ok(value.to_string())
}
