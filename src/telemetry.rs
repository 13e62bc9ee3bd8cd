//! Every metric of the gate, as a typed function; [`log`] sets up logs.
//!
//! Names, labels and buckets are declared here only. A label is a word of ours (an enum's label, a
//! policy's or a judge's name from a checked file): never a key, a request id, a URL or a model's
//! text. Every series that can occur for the loaded policies is registered at start, because a
//! series that disappears is not zero. Series are never taken away either: those of a policy that is
//! not loaded any more stand still, and each reload that changes a policy leaves one more
//! `vlmgate_policy_info` at 0 (people make revisions, so they stay few).

pub mod door;
pub mod drift;
pub mod drills;
pub mod early;
pub mod health;
pub mod log;
pub mod records;
pub mod shadow;

use std::time::Duration;

use metrics::{
    Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_appender::non_blocking::ErrorCounter;

use crate::domain::record::{Attempt, JudgeId, Record, Route};
use crate::domain::{AttemptOutcome, Basis, Decision, Inadmissible, MicroUsd, Policy, Tokens};

/// Seconds; chosen for deadlines of 3 to 12 s and answers of about one.
const SECONDS: &[f64] =
    &[0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 5.0, 10.0];
/// Seconds; for the gate's own stages.
const STAGE_SECONDS: &[f64] =
    &[0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];
/// Seconds; for how late a timer is.
const LAG_SECONDS: &[f64] =
    &[0.000_5, 0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0];
/// Scores, 0..=1.
const SCORES: &[f64] = &[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0];

/// Where a check's time goes, in order.
const STAGES: [&str; 6] = ["read", "decode", "checks", "prepare", "judge", "record"];

/// What the time of an attempt is taken to: the moment when a verdict could leave, the last byte.
const UNTIL: [&str; 2] = [UNTIL_SCORES, UNTIL_END];
const UNTIL_SCORES: &str = "scores";
const UNTIL_END: &str = "end";

/// The reason of a failover from a judge that was not even asked (it is blocked for now).
const SKIPPED: &str = "skipped";

/// The name and help of every metric, in the order of the README's table.
pub const METRICS: &[(&str, &str)] = &[
    ("vlmgate_verdicts_total", "Verdicts by policy, verdict, basis, judge and route"),
    (
        "vlmgate_first_verdicts_total",
        "What the first judge alone said, pass or reject, of verdicts that a judge gave",
    ),
    ("vlmgate_verdict_seconds", "Time from the first byte to the answer"),
    ("vlmgate_answers_late_total", "Answers that left after their deadline; must stay 0"),
    ("vlmgate_stage_seconds", "Where a check's time went; all but `judge` is the gate's own"),
    ("vlmgate_attempts_total", "Calls to judges by how they ended"),
    ("vlmgate_attempt_seconds", "Time of calls to judges, until the scores and until the end"),
    ("vlmgate_early_answers_total", "Judgements that left before their end, and how that ended"),
    ("vlmgate_failovers_total", "Attempts started because another failed"),
    (
        "vlmgate_hedges_total",
        "Attempts started beside a slow one, by whether they gave the verdict",
    ),
    ("vlmgate_breaker_state", "1 for the state of each judge's breaker: closed, half_open or open"),
    ("vlmgate_breaker_score", "Evidence against each judge; 0 is well, its breaker opens at 9.2"),
    ("vlmgate_breaker_transitions_total", "Changes of each judge's breaker, by where to"),
    ("vlmgate_strikes_total", "Calls that took far longer than their judge takes when it is well"),
    ("vlmgate_judge_limit", "Calls that each judge takes at once, as learnt from its refusals"),
    ("vlmgate_judge_in_flight", "Calls to each judge under way, probes included"),
    ("vlmgate_budget_tokens", "Extra attempts that each budget could pay for now"),
    ("vlmgate_budget_denied_total", "Extra attempts not made because their budget was empty"),
    ("vlmgate_second_opinions_total", "Second opinions, by whether both judges agreed"),
    ("vlmgate_score", "Scores by criterion and judge"),
    ("vlmgate_cost_usd_total", "Cost of calls to judges, cancelled ones estimated"),
    ("vlmgate_tokens_total", "Tokens by judge and kind"),
    ("vlmgate_connections", "Open connections of callers"),
    ("vlmgate_in_flight", "Checks admitted and unfinished"),
    ("vlmgate_in_flight_bytes", "Bytes of the checks in flight"),
    ("vlmgate_queued", "Requests that wait in line before the gate"),
    ("vlmgate_queue_seconds", "Time in that line, by how it ended: served, shed, or gone"),
    ("vlmgate_workers_queued", "Images that wait for a worker"),
    (
        "vlmgate_workers_wait_seconds",
        "How long an image that came now would wait for a worker, by how long others took",
    ),
    ("vlmgate_imaging_held_bytes", "Memory promised to the images being worked on"),
    ("vlmgate_imaging_stuck_threads", "Threads whose image does not come back; must stay 0"),
    (
        "vlmgate_event_loop_lag_seconds",
        "How late a tick of 100 ms came: what every request waits beside its own work",
    ),
    ("vlmgate_shed_total", "Requests refused early, by reason"),
    ("vlmgate_inadmissible_total", "Uploads that were not judged, by reason"),
    ("vlmgate_unrecorded_total", "Verdicts answered before their record was written"),
    ("vlmgate_records_pending", "Records that wait to be written"),
    ("vlmgate_records_uncounted", "Records that figures and drift do not know yet"),
    (
        "vlmgate_records_dropped_total",
        "Records, images or ends of early answers that could not be written",
    ),
    ("vlmgate_client_gone_total", "Checks whose caller hung up"),
    ("vlmgate_reloads_total", "Policy reloads by result"),
    ("vlmgate_last_reload_ok", "0 while the policy files are refused and older ones run"),
    ("vlmgate_log_lines_dropped_total", "Log lines that stderr was too slow for"),
    ("vlmgate_drills_total", "Drills by judge and how they ended; `refused` never began"),
    ("vlmgate_drill_running", "1 while a drill breaks, or is about to break, the judge"),
    (
        "vlmgate_drill_last_success_timestamp_seconds",
        "When a drill of the judge last passed; absent until one did",
    ),
    (
        "vlmgate_reject_ratio",
        "Share of `fail` among the verdicts of each judge in the last hour; NaN of fewer than 30",
    ),
    (
        "vlmgate_drift_evidence_ratio",
        "Evidence of each drift detector; 1 is an alarm; NaN while nothing watches",
    ),
    (
        "vlmgate_drift_mix_shift_ratio",
        "What the mix of judges alone adds to the reject rate now; NaN without a baseline",
    ),
    ("vlmgate_drift_mix_shift_se_ratio", "The standard error of that; NaN without a baseline"),
    ("vlmgate_drift_events_total", "Drift events by label"),
    (
        "vlmgate_drift_event_active",
        "1 while what a detector told of stands: until it is acknowledged, routing until the share is back",
    ),
    (
        "vlmgate_drift_baseline_reject_ratio",
        "Share of first verdicts of each judge that would not pass, in the baseline; NaN without one",
    ),
    (
        "vlmgate_drift_baseline_share_ratio",
        "Share of each judge among the verdicts of the baseline; NaN without one",
    ),
    (
        "vlmgate_drift_baseline_se_ratio",
        "The standard error of the baseline's reject rate; NaN without one",
    ),
    (
        "vlmgate_drift_baseline_timestamp_seconds",
        "Until when the baseline was learnt; NaN without one",
    ),
    ("vlmgate_shadow_pairs_total", "Images that two judges judged, by who would not pass them"),
    ("vlmgate_shadow_dropped_total", "Shadows that were not asked or kept, by reason"),
    ("vlmgate_shadow_queued", "Images that wait to be shown behind their verdicts"),
    ("vlmgate_shadow_bytes", "Memory of the pictures that wait for shadows"),
    ("vlmgate_shadow_in_flight", "Calls behind verdicts under way"),
    ("vlmgate_panics_total", "Handlers that broke; the process goes on"),
    ("vlmgate_policy_info", "1 for the loaded revision of each policy"),
    ("vlmgate_policy_deadline_seconds", "The deadline of each policy"),
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
        // summed up in a gauge, whose fractions a counter cannot hold; it only rises all the same
        let cost = "# TYPE vlmgate_cost_usd_total";
        self.recorder.render().replacen(&format!("{cost} gauge"), &format!("{cost} counter"), 1)
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
        .set_buckets_for_metric(
            Matcher::Full("vlmgate_event_loop_lag_seconds".to_owned()),
            LAG_SECONDS,
        )?
        .set_buckets_for_metric(Matcher::Full("vlmgate_score".to_owned()), SCORES)?
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)?
        .install_recorder()?;
    for (name, help) in METRICS {
        if name.ends_with("_total") {
            describe_counter!(*name, *help);
        } else if name.ends_with("_timestamp_seconds") {
            describe_gauge!(*name, Unit::Seconds, *help);
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
            // no verdict rests on a shadow
            let routes = Route::ALL.into_iter().filter(|route| *route != Route::Shadow);
            for (judge, route) in judges.iter().flat_map(|j| routes.clone().map(move |r| (j, r))) {
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
            drop(UNTIL.map(|until| histogram_of_attempts(&judge.name, outcome, until)));
        }
        early::register(&judge.name);
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
    drift::register(&policy.name, judges.iter().map(|judge| judge.name.as_str()));
    for agreed in ["true", "false"] {
        counter!("vlmgate_second_opinions_total", "policy" => name(), "agreed" => agreed)
            .increment(0);
    }
    gauge!("vlmgate_policy_info", "policy" => name(), "revision" => policy.revision.to_string())
        .set(1.0);
    gauge!("vlmgate_policy_deadline_seconds", "policy" => name())
        .set(policy.route.deadline.as_secs_f64());
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
    counter!("vlmgate_client_gone_total").increment(0);
    counter!("vlmgate_panics_total").increment(0);
    counter!("vlmgate_log_lines_dropped_total").increment(0);
    gauge!("vlmgate_connections").set(0.0);
    drop(histogram_of_lag());
    for stage in STAGES {
        drop(histogram_of_stages(stage));
    }
    for reason in Inadmissible::LABELS {
        counter!("vlmgate_inadmissible_total", "reason" => reason).increment(0);
    }
    for result in ["ok", "refused"] {
        counter!("vlmgate_reloads_total", "result" => result).increment(0);
    }
    gauge!("vlmgate_last_reload_ok").set(1.0);
    door::register();
    records::register();
    shadow::register();
}

/// Says that a policy revision is no longer loaded: its series stays, at 0.
pub fn retire_policy(policy: &Policy) {
    let revision = policy.revision.to_string();
    gauge!("vlmgate_policy_info", "policy" => policy.name.clone(), "revision" => revision).set(0.0);
}

/// Counts everything that one finished check says, but of a check that is not complete neither
/// verdict nor scores nor whether its judges agreed: those wait for [`count_verdict`].
pub fn count_check(record: &Record) {
    let policy = record.policy.name.as_str();
    histogram_of_verdicts(policy, record.verdict.decided()).record(record.timing.total / 1_000.0);
    let timing = &record.timing;
    let record_ms = timing.record.unwrap_or(0.0);
    let took_ms =
        [timing.read, timing.decode, timing.checks, timing.prepare, timing.judge, record_ms];
    for (stage, ms) in STAGES.into_iter().zip(took_ms) {
        histogram_of_stages(stage).record(ms / 1_000.0);
    }
    if record.client_gone {
        counter!("vlmgate_client_gone_total").increment(1);
    }
    count_attempts(policy, &record.attempts, record.judge.as_ref());
    if record.complete {
        count_verdict(record);
    }
}

/// Counts the verdict and the scores of a check, and whether its judges agreed. Every rate is taken
/// over these, so an early answer is counted when its end is known, and one that was found blind
/// never.
pub fn count_verdict(record: &Record) {
    let policy = record.policy.name.as_str();
    let decision = record.verdict.decided();
    let judge = record.judge.as_ref().map_or("", |judge| judge.name.as_str());
    let route = record.route.map_or("", Route::label);
    verdicts(policy, decision, record.verdict.basis, judge, route).increment(1);
    if let (true, Some(first)) = (record.verdict.basis.is_judged(), record.verdict.first_verdict) {
        drift::count_first_verdict(policy, judge, first);
    }
    for scored in &record.verdict.scores {
        if let Some(score) = scored.score {
            histogram_of_scores(policy, &scored.criterion, judge).record(score);
        }
    }
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
        histogram_of_attempts(judge, attempt.outcome, UNTIL_SCORES).record(took);
        if let Some(ended_ms) = attempt.ended_ms {
            let took = Duration::from_millis(ended_ms).as_secs_f64();
            histogram_of_attempts(judge, attempt.outcome, UNTIL_END).record(took);
            add_cost(judge, attempt.cost);
            add_tokens(judge, attempt.tokens);
        }
        match attempt.route {
            Route::Hedge => {
                // the only judge is hedged with itself
                let is_answer = attempt.outcome == AttemptOutcome::Judged;
                let won = is_answer && winner == Some(&attempt.judge);
                let result = if won { "won" } else { "lost" };
                counter!("vlmgate_hedges_total", "judge" => judge.to_owned(), "result" => result)
                    .increment(1);
            }
            Route::Failover => {
                let from = failed.map_or("", |one| one.judge.name.as_str());
                let reason = failed.map_or(SKIPPED, |one| one.outcome.label());
                failovers(policy, from, judge, reason).increment(1);
            }
            Route::Primary | Route::SecondOpinion | Route::Probe | Route::Shadow => {}
        }
        // a probe or a shadow that fails is nobody's turn
        if attempt.outcome.is_failure() && !matches!(attempt.route, Route::Probe | Route::Shadow) {
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

fn histogram_of_lag() -> metrics::Histogram {
    histogram!("vlmgate_event_loop_lag_seconds")
}

fn histogram_of_scores(policy: &str, criterion: &str, judge: &str) -> metrics::Histogram {
    histogram!("vlmgate_score", "policy" => policy.to_owned(), "criterion" => criterion.to_owned(),
        "judge" => judge.to_owned())
}

fn histogram_of_attempts(
    judge: &str,
    outcome: AttemptOutcome,
    until: &'static str,
) -> metrics::Histogram {
    histogram!("vlmgate_attempt_seconds", "judge" => judge.to_owned(),
        "outcome" => outcome.label(), "until" => until)
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

fn add_tokens(judge: &str, count: Option<Tokens>) {
    if let Some(count) = count {
        tokens(judge, "input").increment(count.input.saturating_sub(count.cached));
        tokens(judge, "cached").increment(count.cached);
        tokens(judge, "output").increment(count.output);
    }
}

/// Adds to a judge's bill. A gauge that only rises: the recorder's counters are whole numbers, and
/// a check costs a fraction of a cent.
fn add_cost(judge: &str, cost: MicroUsd) {
    let usd = u32::try_from(cost.0).map_or(f64::from(u32::MAX), f64::from) / 1e6;
    gauge!("vlmgate_cost_usd_total", "judge" => judge.to_owned()).increment(usd);
}

/// Records how late a tick of the runtime came.
pub fn record_lag(late: Duration) {
    histogram_of_lag().record(late.as_secs_f64());
}

/// Counts an upload that was not judged.
pub fn count_inadmissible(reason: &'static str) {
    counter!("vlmgate_inadmissible_total", "reason" => reason).increment(1);
}

/// Counts an answer that left after its deadline.
pub fn count_late_answer() {
    counter!("vlmgate_answers_late_total").increment(1);
}

/// Counts a policy reload.
pub fn count_reload(accepted: bool) {
    let result = if accepted { "ok" } else { "refused" };
    counter!("vlmgate_reloads_total", "result" => result).increment(1);
    gauge!("vlmgate_last_reload_ok").set(if accepted { 1.0 } else { 0.0 });
}

/// Counts a handler that broke.
pub fn count_panic() {
    counter!("vlmgate_panics_total").increment(1);
}

/// A count as a gauge takes it; counts past 2^32 do not occur in one process.
fn whole(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::from(u32::MAX), f64::from)
}
