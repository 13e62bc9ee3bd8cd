//! Every metric of the gate, as a typed function; [`log`] sets up logs.
//!
//! Names, labels and buckets are declared here only. A label is a word of ours (an enum's label, a
//! policy's or a judge's name from a checked file): never a key, a request id, a URL or a model's
//! text. Every series that can occur for the loaded policies is registered at start, because a
//! series that disappears is not zero. Series are never taken away either: those of a policy that is
//! not loaded any more stand still, and each reload that changes a policy leaves one more
//! `vlmgate_policy_info` at 0 (people make revisions, so they stay few).

pub mod log;

use std::time::Duration;

use metrics::{
    Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_appender::non_blocking::ErrorCounter;

use crate::domain::record::{Attempt, JudgeId, Record, Route};
use crate::domain::{AttemptOutcome, Basis, Decision, Inadmissible, MicroUsd, Policy};

/// Seconds; chosen for deadlines of 3 to 12 s and answers of about one.
const SECONDS: &[f64] =
    &[0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 5.0, 10.0];
/// Seconds; for the gate's own stages.
const STAGE_SECONDS: &[f64] =
    &[0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];
/// Scores, 0..=1.
const SCORES: &[f64] = &[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0];

/// Where a check's time goes, in order.
const STAGES: [&str; 6] = ["read", "decode", "checks", "prepare", "judge", "record"];

/// The reason of a failover from a judge that was not even asked (it is blocked for now).
const SKIPPED: &str = "skipped";

/// The name and help of every metric, in the order of the README's table.
pub const METRICS: &[(&str, &str)] = &[
    ("vlmgate_verdicts_total", "Verdicts by policy, verdict, basis, judge and route"),
    ("vlmgate_verdict_seconds", "Time from the first byte to the answer"),
    ("vlmgate_answers_late_total", "Answers that left after their deadline; must stay 0"),
    ("vlmgate_stage_seconds", "Where a check's time went; all but `judge` is the gate's own"),
    ("vlmgate_attempts_total", "Calls to judges by how they ended"),
    ("vlmgate_attempt_seconds", "Time of calls to judges"),
    ("vlmgate_failovers_total", "Attempts started because another failed"),
    (
        "vlmgate_hedges_total",
        "Attempts started beside a slow one, by whether they gave the verdict",
    ),
    ("vlmgate_second_opinions_total", "Second opinions, by whether both judges agreed"),
    ("vlmgate_score", "Scores by criterion and judge"),
    ("vlmgate_cost_usd_total", "Cost of calls to judges, cancelled ones estimated"),
    ("vlmgate_tokens_total", "Tokens by judge and kind"),
    ("vlmgate_connections", "Open connections of callers"),
    ("vlmgate_in_flight", "Checks admitted and unfinished"),
    ("vlmgate_in_flight_bytes", "Bytes of the checks in flight"),
    ("vlmgate_queued", "Images that wait for a worker"),
    ("vlmgate_shed_total", "Requests refused early, by reason"),
    ("vlmgate_inadmissible_total", "Uploads that were not judged, by reason"),
    ("vlmgate_unrecorded_total", "Verdicts answered before their record was written"),
    ("vlmgate_records_pending", "Records that wait to be written"),
    ("vlmgate_records_dropped_total", "Records or images that could not be written"),
    ("vlmgate_client_gone_total", "Checks whose caller hung up"),
    ("vlmgate_reloads_total", "Policy reloads by result"),
    ("vlmgate_log_lines_dropped_total", "Log lines that stderr was too slow for"),
    ("vlmgate_panics_total", "Handlers that broke; the process goes on"),
    ("vlmgate_policy_info", "1 for the loaded revision of each policy"),
];

/// Renders what was counted.
#[derive(Clone, Debug)]
pub struct Exporter {
    recorder: PrometheusHandle,
    lines_dropped: ErrorCounter,
}

impl Exporter {
    /// Everything, as Prometheus reads it.
    #[must_use]
    pub fn render(&self) -> String {
        let lines = u64::try_from(self.lines_dropped.dropped_lines()).unwrap_or(u64::MAX);
        counter!("vlmgate_log_lines_dropped_total").absolute(lines);
        self.recorder.render()
    }

    /// Folds the samples of the histograms into their buckets. Rendering does it too, but where
    /// nobody scrapes they would be kept one by one: call it every few seconds.
    pub fn fold(&self) {
        self.recorder.run_upkeep();
    }
}

/// Installs the process's recorder and describes every metric. `lines_dropped` counts for the logs.
///
/// # Errors
/// A recorder is already installed.
pub fn install_metrics(lines_dropped: ErrorCounter) -> Result<Exporter, BuildError> {
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Full("vlmgate_stage_seconds".to_owned()), STAGE_SECONDS)?
        .set_buckets_for_metric(Matcher::Full("vlmgate_score".to_owned()), SCORES)?
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)?
        .install_recorder()?;
    for (name, help) in METRICS {
        if name.ends_with("_total") {
            describe_counter!(*name, *help);
        } else if name.ends_with("_seconds") {
            describe_histogram!(*name, Unit::Seconds, *help);
        } else if *name == "vlmgate_score" {
            describe_histogram!(*name, *help);
        } else {
            describe_gauge!(*name, *help);
        }
    }
    Ok(Exporter { recorder, lines_dropped })
}

/// Registers every series that can occur for `policy` with `judges` in its route.
pub fn register_policy(policy: &Policy, judges: &[JudgeId]) {
    let name = || policy.name.clone();
    for decision in Decision::ALL {
        // made once, so that the series exists
        drop(histogram_of_verdicts(&policy.name, decision));
        for basis in Basis::ALL {
            if !basis.is_judged() {
                verdicts(&policy.name, decision, basis, "", "").increment(0);
                continue;
            }
            for (judge, route) in judges.iter().flat_map(|j| Route::ALL.map(|route| (j, route))) {
                verdicts(&policy.name, decision, basis, &judge.name, route.label()).increment(0);
            }
        }
    }
    for judge in judges {
        for (route, outcome) in
            Route::ALL.iter().flat_map(|route| AttemptOutcome::ALL.map(|end| (route, end)))
        {
            attempts(&judge.name, *route, outcome).increment(0);
        }
        for outcome in AttemptOutcome::ALL {
            drop(histogram_of_attempts(&judge.name, outcome));
        }
        for criterion in &policy.criteria {
            drop(histogram_of_scores(&policy.name, &criterion.id, &judge.name));
        }
        for result in ["won", "lost"] {
            counter!("vlmgate_hedges_total", "judge" => judge.name.clone(), "result" => result)
                .increment(0);
        }
        for kind in ["input", "cached", "output"] {
            tokens(&judge.name, kind).increment(0);
        }
        add_cost(&judge.name, MicroUsd::default());
    }
    register_failovers(&policy.name, judges);
    for agreed in ["true", "false"] {
        counter!("vlmgate_second_opinions_total", "policy" => name(), "agreed" => agreed)
            .increment(0);
    }
    gauge!("vlmgate_policy_info", "policy" => name(), "revision" => policy.revision.to_string())
        .set(1.0);
}

/// One series for each pair of judges and each way in which the first can fail.
fn register_failovers(policy: &str, judges: &[JudgeId]) {
    let pairs = judges.iter().flat_map(|from| judges.iter().map(move |to| (from, to)));
    // a judge that is alone on its route follows itself
    for (from, to) in pairs {
        for reason in AttemptOutcome::ALL.into_iter().filter(|end| end.is_failure()) {
            failovers(policy, &from.name, &to.name, reason.label()).increment(0);
        }
    }
    for to in judges {
        failovers(policy, "", &to.name, SKIPPED).increment(0);
    }
}

/// Registers the series that do not depend on a policy.
pub fn register_process() {
    counter!("vlmgate_answers_late_total").increment(0);
    counter!("vlmgate_unrecorded_total").increment(0);
    counter!("vlmgate_client_gone_total").increment(0);
    counter!("vlmgate_panics_total").increment(0);
    counter!("vlmgate_log_lines_dropped_total").increment(0);
    gauge!("vlmgate_connections").set(0.0);
    for stage in STAGES {
        drop(histogram_of_stages(stage));
    }
    for reason in Inadmissible::LABELS {
        counter!("vlmgate_inadmissible_total", "reason" => reason).increment(0);
    }
    for what in ["row", "image"] {
        counter!("vlmgate_records_dropped_total", "what" => what).increment(0);
    }
    for result in ["ok", "refused"] {
        counter!("vlmgate_reloads_total", "result" => result).increment(0);
    }
    for reason in Shed::ALL {
        counter!("vlmgate_shed_total", "reason" => reason.label()).increment(0);
    }
    set_in_flight(0, 0);
    set_queued(0);
    set_records_pending(0);
}

/// Says that a policy revision is no longer loaded: its series stays, at 0.
pub fn retire_policy(policy: &Policy) {
    let revision = policy.revision.to_string();
    gauge!("vlmgate_policy_info", "policy" => policy.name.clone(), "revision" => revision).set(0.0);
}

/// Why a request was refused early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shed {
    /// `server.max_in_flight` checks are under way.
    InFlight,
    /// `server.max_in_flight_bytes` are held.
    Bytes,
    /// Too many images wait for a worker.
    Workers,
    /// Too many records wait to be written.
    Journal,
    /// The process is stopping.
    Draining,
}

impl Shed {
    /// Every reason.
    pub const ALL: [Self; 5] =
        [Self::InFlight, Self::Bytes, Self::Workers, Self::Journal, Self::Draining];

    /// The word used in metrics and problems.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::InFlight => "in_flight",
            Self::Bytes => "bytes",
            Self::Workers => "workers",
            Self::Journal => "journal",
            Self::Draining => "draining",
        }
    }
}

/// Counts everything that one finished check says.
pub fn count_check(record: &Record) {
    let policy = record.policy.name.as_str();
    let decision = record.verdict.decided();
    let judge = record.judge.as_ref().map_or("", |judge| judge.name.as_str());
    let route = record.route.map_or("", Route::label);
    verdicts(policy, decision, record.verdict.basis, judge, route).increment(1);
    histogram_of_verdicts(policy, decision).record(record.timing.total / 1_000.0);
    let timing = &record.timing;
    let record_ms = timing.record.unwrap_or(0.0);
    let took_ms =
        [timing.read, timing.decode, timing.checks, timing.prepare, timing.judge, record_ms];
    for (stage, ms) in STAGES.into_iter().zip(took_ms) {
        histogram_of_stages(stage).record(ms / 1_000.0);
    }
    for scored in &record.verdict.scores {
        if let Some(score) = scored.score {
            histogram_of_scores(policy, &scored.criterion, judge).record(score);
        }
    }
    if record.client_gone {
        counter!("vlmgate_client_gone_total").increment(1);
    }
    count_attempts(policy, &record.attempts, record.judge.as_ref());
    if record.verdict.basis == Basis::SecondOpinion {
        let said: Vec<_> = record.attempts.iter().filter_map(|one| one.said).collect();
        let agreed =
            if said.windows(2).all(|two| two.first() == two.last()) { "true" } else { "false" };
        counter!("vlmgate_second_opinions_total", "policy" => policy.to_owned(), "agreed" => agreed)
            .increment(1);
    }
}

fn count_attempts(policy: &str, all: &[Attempt], winner: Option<&JudgeId>) {
    let mut failed: Option<&Attempt> = None;
    for attempt in all {
        let judge = attempt.judge.name.as_str();
        attempts(judge, attempt.route, attempt.outcome).increment(1);
        let took = Duration::from_millis(attempt.took_ms).as_secs_f64();
        histogram_of_attempts(judge, attempt.outcome).record(took);
        add_cost(judge, attempt.cost);
        if let Some(count) = attempt.tokens {
            tokens(judge, "input").increment(count.input.saturating_sub(count.cached));
            tokens(judge, "cached").increment(count.cached);
            tokens(judge, "output").increment(count.output);
        }
        match attempt.route {
            Route::Hedge => {
                let won = winner == Some(&attempt.judge);
                let result = if won { "won" } else { "lost" };
                counter!("vlmgate_hedges_total", "judge" => judge.to_owned(), "result" => result)
                    .increment(1);
            }
            Route::Failover => {
                let from = failed.map_or("", |one| one.judge.name.as_str());
                let reason = failed.map_or(SKIPPED, |one| one.outcome.label());
                failovers(policy, from, judge, reason).increment(1);
            }
            Route::Primary | Route::SecondOpinion => {}
        }
        if attempt.outcome.is_failure() {
            failed = Some(attempt);
        }
    }
}

fn verdicts(
    policy: &str,
    decision: Decision,
    basis: Basis,
    judge: &str,
    route: &'static str,
) -> metrics::Counter {
    counter!("vlmgate_verdicts_total", "policy" => policy.to_owned(),
        "verdict" => decision.label(), "basis" => basis.label(), "judge" => judge.to_owned(),
        "route" => route)
}

fn histogram_of_verdicts(policy: &str, decision: Decision) -> metrics::Histogram {
    histogram!("vlmgate_verdict_seconds", "policy" => policy.to_owned(),
        "verdict" => decision.label())
}

fn histogram_of_stages(stage: &'static str) -> metrics::Histogram {
    histogram!("vlmgate_stage_seconds", "stage" => stage)
}

fn histogram_of_scores(policy: &str, criterion: &str, judge: &str) -> metrics::Histogram {
    histogram!("vlmgate_score", "policy" => policy.to_owned(), "criterion" => criterion.to_owned(),
        "judge" => judge.to_owned())
}

fn histogram_of_attempts(judge: &str, outcome: AttemptOutcome) -> metrics::Histogram {
    histogram!("vlmgate_attempt_seconds", "judge" => judge.to_owned(),
        "outcome" => outcome.label(), "until" => "end")
}

fn attempts(judge: &str, route: Route, outcome: AttemptOutcome) -> metrics::Counter {
    counter!("vlmgate_attempts_total", "judge" => judge.to_owned(), "route" => route.label(),
        "outcome" => outcome.label())
}

fn failovers(policy: &str, from: &str, to: &str, reason: &'static str) -> metrics::Counter {
    counter!("vlmgate_failovers_total", "policy" => policy.to_owned(),
        "from" => from.to_owned(), "to" => to.to_owned(), "reason" => reason)
}

fn tokens(judge: &str, kind: &'static str) -> metrics::Counter {
    counter!("vlmgate_tokens_total", "judge" => judge.to_owned(), "kind" => kind)
}

/// Adds to a judge's bill. A gauge that only rises: the recorder's counters are whole numbers, and
/// a check costs a fraction of a cent.
fn add_cost(judge: &str, cost: MicroUsd) {
    let usd = u32::try_from(cost.0).map_or(f64::from(u32::MAX), f64::from) / 1e6;
    gauge!("vlmgate_cost_usd_total", "judge" => judge.to_owned()).increment(usd);
}

/// Sets how many checks are in flight and how many bytes they hold.
pub fn set_in_flight(checks: usize, bytes: usize) {
    gauge!("vlmgate_in_flight").set(whole(checks));
    gauge!("vlmgate_in_flight_bytes").set(whole(bytes));
}

/// Counts a connection that a caller opened.
pub fn count_connection_opened() {
    gauge!("vlmgate_connections").increment(1.0);
}

/// Counts one that ended.
pub fn count_connection_closed() {
    gauge!("vlmgate_connections").decrement(1.0);
}

/// Sets how many images wait for a worker.
pub fn set_queued(images: usize) {
    gauge!("vlmgate_queued").set(whole(images));
}

/// Sets how many records wait to be written.
pub fn set_records_pending(records: u64) {
    let records = usize::try_from(records).unwrap_or(usize::MAX);
    gauge!("vlmgate_records_pending").set(whole(records));
}

/// Counts a request refused early.
pub fn count_shed(reason: Shed) {
    counter!("vlmgate_shed_total", "reason" => reason.label()).increment(1);
}

/// Counts an upload that was not judged.
pub fn count_inadmissible(reason: &'static str) {
    counter!("vlmgate_inadmissible_total", "reason" => reason).increment(1);
}

/// Counts an answer that left after its deadline.
pub fn count_late_answer() {
    counter!("vlmgate_answers_late_total").increment(1);
}

/// Counts a verdict answered before its record was written.
pub fn count_unrecorded() {
    counter!("vlmgate_unrecorded_total").increment(1);
}

/// Sets how many records and images could not be written since the start.
pub fn set_dropped(rows: u64, images: u64) {
    counter!("vlmgate_records_dropped_total", "what" => "row").absolute(rows);
    counter!("vlmgate_records_dropped_total", "what" => "image").absolute(images);
}

/// Counts a policy reload.
pub fn count_reload(accepted: bool) {
    let result = if accepted { "ok" } else { "refused" };
    counter!("vlmgate_reloads_total", "result" => result).increment(1);
}

/// Counts a handler that broke.
pub fn count_panic() {
    counter!("vlmgate_panics_total").increment(1);
}

/// A count as a gauge takes it; counts past 2^32 do not occur in one process.
fn whole(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::from(u32::MAX), f64::from)
}
