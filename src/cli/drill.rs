//! `vlmgate drill`: breaks one judge of a running gate for a while, and says whether anybody was
//! worse off. The gate runs the drill; this command begins it, watches it, and ends it on ctrl-C.

use std::fmt::Write;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use clap::builder::PossibleValuesParser;
use http::{HeaderName, HeaderValue, Method};
use serde_json::{Value, json};

use crate::app::{self, AppError};
use crate::cli::{Exit, put, say};
use crate::clock::Deadline;
use crate::domain::drill::{DrillResult, Fault};
use crate::drill::form::{DrillForm, GroupForm};
use crate::provider::transport::Transport;
use crate::provider::wire::{WireRequest, WireResponse};

/// Between two lines about a running drill.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Longest that one answer of the gate may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// Looks in a row that may fail before the command gives up: the gate may be busy.
const MOST_FAILED_LOOKS: u32 = 5;

/// Arguments of `vlmgate drill`.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct DrillArgs {
    /// Judge whose calls are broken
    #[arg(long, value_name = "NAME")]
    judge: String,
    /// How: no connection, no answer ever, or HTTP 529
    #[arg(long, default_value = "refuse",
        value_parser = PossibleValuesParser::new(Fault::ALL.map(Fault::label)))]
    fault: String,
    /// Share of its calls
    #[arg(long, default_value = "20%", value_name = "SHARE", value_parser = share)]
    share: f64,
    /// For how long, at most 10m
    #[arg(long = "for", default_value = "60s", value_name = "TIME", value_parser = span)]
    lasts: Duration,
    /// How long traffic is watched before
    #[arg(long, default_value = "30s", value_name = "TIME", value_parser = span)]
    baseline: Duration,
    /// Most that the p95 may be, in times the p95 of before
    #[arg(long, default_value = "1.35", value_name = "TIMES")]
    p95: f64,
    /// Least share of images that must get a judge's verdict
    #[arg(long, default_value = "99%", value_name = "SHARE", value_parser = share)]
    judged: f64,
    /// Longest until the judge has its share of the traffic again
    #[arg(long, default_value = "25s", value_name = "TIME", value_parser = span)]
    recovery: Duration,
    /// The running gate
    #[arg(long, default_value = "http://127.0.0.1:8080", value_name = "URL")]
    server: String,
    /// A key with the role admin
    #[arg(long, env = "VLMGATE_KEY", hide_env_values = true, value_name = "KEY")]
    key: Option<String>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
Example:
  vlmgate drill --judge openai-mini --fault blackhole --share 20% --for 60s

ctrl-C ends it and restores the judge; so does the death of the gate.

Exit codes: 0 every figure was held, 1 the gate cannot be reached or refuses it for now, or the drill
was stopped or says nothing, 2 usage, or a drill that no gate runs, 100 a figure was missed.";

/// `20%`, or 0.2.
fn share(text: &str) -> Result<f64, String> {
    let read = match text.strip_suffix('%') {
        Some(percent) => percent.parse::<f64>().map(|percent| percent / 100.0),
        None => text.parse(),
    };
    let share = read.ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| format!("{text:?} is not a share such as 20% or 0.2"))
}

/// `90s`, `2m`, `500ms`.
fn span(text: &str) -> Result<Duration, String> {
    let end = text.find(|one: char| one.is_ascii_alphabetic()).unwrap_or(text.len());
    let (amount, unit) = text.split_at(end);
    let factor_ms = match unit {
        "ms" => Some(1),
        "s" => Some(1_000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        _ => None,
    };
    let ms = amount.parse::<u64>().ok().zip(factor_ms);
    let ms = ms.and_then(|(amount, factor)| amount.checked_mul(factor));
    ms.map(Duration::from_millis)
        .ok_or_else(|| format!("{text:?} is not a time such as 500ms, 60s or 2m"))
}

/// Runs the drill.
///
/// # Errors
/// The gate cannot be reached, refuses the drill, or stdout is closed.
pub fn run(args: &DrillArgs) -> Result<Exit, AppError> {
    let gate = RunningGate::new(&args.server, args.key.as_deref())?;
    let ended = app::block_on(async {
        let drill = gate.start(args).await?;
        say(&format!("drill {}: begun; ctrl-C ends it and restores {}", drill.id, drill.judge));
        tokio::select! {
            biased; // whoever wants it to end is heard first
            interrupted = tokio::signal::ctrl_c() => {
                interrupted.map_err(AppError::Signals)?;
                say(&format!("drill {}: ending", drill.id));
                gate.stop(&drill).await
            }
            ended = gate.follow(&drill) => ended,
        }
    })??;
    put(&if args.json {
        serde_json::to_string(&ended).map_err(AppError::json)?
    } else {
        table(&ended)
    })?;
    Ok(match ended.result {
        Some(DrillResult::Passed) => Exit::Done,
        Some(DrillResult::Failed | DrillResult::Aborted) => Exit::TestFailed,
        Some(DrillResult::Inconclusive | DrillResult::Stopped | DrillResult::Interrupted)
        | None => Exit::Failed,
    })
}

/// The gate that is drilled, over HTTP.
struct RunningGate {
    transport: Transport,
    key: Option<HeaderValue>,
}

impl RunningGate {
    fn new(server: &str, key: Option<&str>) -> Result<Self, AppError> {
        let transport = Transport::new(server, ANSWER_WITHIN)
            .map_err(|why| AppError::Usage(format!("--server {why}")))?;
        let bearer = |key: &str| {
            let mut value = HeaderValue::try_from(format!("Bearer {key}"))
                .map_err(|_| AppError::Usage("--key fits no header".to_owned()))?;
            value.set_sensitive(true);
            Ok::<_, AppError>(value)
        };
        Ok(Self { transport, key: key.map(bearer).transpose()? })
    }

    async fn start(&self, args: &DrillArgs) -> Result<DrillForm, AppError> {
        let plan = json!({
            "judge": args.judge,
            "fault": args.fault,
            "share": args.share,
            "for_ms": whole_ms(args.lasts),
            "baseline_ms": whole_ms(args.baseline),
            "bounds": {
                "judged_at_least": args.judged,
                "p95_ratio_at_most": args.p95,
                "recovered_within_ms": whole_ms(args.recovery),
            },
        });
        let plan = Bytes::from(plan.to_string());
        self.call(WireRequest::post("/admin/drills".to_owned(), plan)).await
    }

    /// Looks every few seconds until the drill has ended, with a line each time.
    async fn follow(&self, drill: &DrillForm) -> Result<DrillForm, AppError> {
        let mut failed = 0;
        loop {
            Deadline::after(LOOK_EVERY).passed().await;
            let seen = self.call(WireRequest::get(format!("/admin/drills/{}", drill.id))).await;
            match seen {
                Ok(form) if form.result.is_some() => return Ok(form),
                Ok(form) => {
                    failed = 0;
                    say(&live_line(&form));
                }
                Err(why) if failed < MOST_FAILED_LOOKS => {
                    failed += 1;
                    say(&format!("drill {}: {why}", drill.id));
                }
                Err(why) => return Err(why),
            }
        }
    }

    async fn stop(&self, drill: &DrillForm) -> Result<DrillForm, AppError> {
        let path = format!("/admin/drills/{}", drill.id);
        self.call(WireRequest { method: Method::DELETE, ..WireRequest::get(path) }).await
    }

    async fn call(&self, mut request: WireRequest) -> Result<DrillForm, AppError> {
        if let Some(key) = &self.key {
            request = request.with(HeaderName::from_static("authorization"), key.clone());
        }
        let base = self.transport.base_url();
        let answered = self.transport.send(request, Deadline::after(ANSWER_WITHIN)).await;
        let response =
            answered.map_err(|why| AppError::Internal(format!("{base}: {}", why.detail)))?;
        if (200..300).contains(&response.status) {
            let form = serde_json::from_slice(&response.body);
            return form
                .map_err(|why| AppError::Internal(format!("{base} answers no drill: {why}")));
        }
        Err(refused(base, &response))
    }
}

/// A plan that no gate would run is a usage error; everything else says what the gate says.
fn refused(base: &str, response: &WireResponse) -> AppError {
    let problem: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    let detail = problem.get("detail").and_then(Value::as_str).unwrap_or("it says no more");
    let status = response.status;
    if status == 422 {
        return AppError::Usage(detail.to_owned());
    }
    AppError::Internal(format!("{base} answered {status}: {detail}"))
}

fn live_line(form: &DrillForm) -> String {
    let (fault, struck) = (&form.figures.fault, &form.figures.struck);
    let baseline = &form.figures.baseline;
    let ms = |group: &GroupForm| group.p95_ms.map_or_else(|| "-".to_owned(), |ms| ms.to_string());
    format!(
        "drill {}: {}, before {} images p95 {} ms; during {} images p95 {} ms, {} struck, {} spared, {} late",
        form.id,
        form.phase.label(),
        baseline.images,
        ms(baseline),
        fault.images,
        ms(fault),
        struck.images,
        form.figures.spared,
        fault.late,
    )
}

/// The result as a person reads it: the word first, then every figure, then who answered instead.
fn table(form: &DrillForm) -> String {
    let mut text = String::new();
    // writing to a String cannot fail
    let _ = headline(&mut text, form);
    for one in &form.assertions {
        let mark = match one.held {
            Some(true) => "ok  ",
            Some(false) => "FAIL",
            None => "-   ",
        };
        let value = one.value.map_or_else(|| "-".to_owned(), |value| value.to_string());
        let _ = writeln!(text, "  {mark} {:<14} {value:>10}  bound {}", one.figure, one.bound);
    }
    let figures = &form.figures;
    let groups =
        [("before", &figures.baseline), ("during", &figures.fault), ("struck", &figures.struck)];
    for (name, group) in groups {
        let _ = group_line(&mut text, name, group);
    }
    text
}

fn headline(text: &mut String, form: &DrillForm) -> std::fmt::Result {
    let word = form.result.map_or("RUNNING", DrillResult::label).to_uppercase();
    let (fault, share) = (form.fault.label(), form.share * 100.0);
    write!(text, "{word:<12} {} {fault} {share:.0} % for {} ms", form.judge, form.for_ms)?;
    match &form.reason {
        Some(reason) => writeln!(text, ": {reason}"),
        None => writeln!(text),
    }
}

fn group_line(text: &mut String, name: &str, group: &GroupForm) -> std::fmt::Result {
    let p95 = group.p95_ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms"));
    let calls = group.calls_per_image.map_or_else(|| "-".to_owned(), |calls| format!("{calls:.3}"));
    let by: Vec<_> =
        group.judged_by.iter().map(|(judge, images)| format!("{judge} {images}")).collect();
    let by = by.join(", ");
    let images = group.images;
    writeln!(text, "  {name}: {images} images, p95 {p95}, {calls} calls an image; judged by {by}")
}

fn whole_ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_times_are_read_as_people_write_them() {
        assert_eq!(share("20%"), Ok(0.2));
        assert_eq!(share("0.05"), Ok(0.05));
        assert!(share("120%").is_err());
        assert!(share("-1").is_err());
        assert_eq!(span("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(span("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(span("250ms"), Ok(Duration::from_millis(250)));
        for wrong in ["", "60", "1.5s", "s", "-1s", "1d"] {
            assert!(span(wrong).is_err(), "{wrong}");
        }
    }
}
