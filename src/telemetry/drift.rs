//! Drift as it is counted: what is watched, what was usual, what is now, and what was told.
//!
//! A gauge of which nothing is known is NaN, not 0: neither a sum nor a person may take it for a
//! rate, a mix that is worth nothing, or a detector that finds nothing. What stands is always known:
//! 0 where nothing was told.

use std::collections::BTreeMap;

use metrics::{counter, gauge};

use crate::domain::Decision;

/// What one policy's gauges are set to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gauges {
    /// Evidence as a share of an alarm, by detector.
    pub evidence: Vec<(String, f64)>,
    /// Detectors of which something was told that stands.
    pub active: Vec<String>,
    /// What the present mix of judges alone adds to the reject rate, as a share, and its standard
    /// error; `None` while that is not known.
    pub mix_shift: Option<(f64, f64)>,
    /// What was usual of each judge.
    pub usual: BTreeMap<String, Usual>,
    /// The standard error of the baseline's reject rate; `None` while there is no baseline.
    pub usual_se: Option<f64>,
    /// Until when the baseline was learnt, in milliseconds since 1970; `None` likewise.
    pub learnt_until_ms: Option<i64>,
}

/// What was usual of one judge.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usual {
    /// Its share of the verdicts served.
    pub share: Option<f64>,
    /// The share of its first verdicts that would not pass.
    pub reject: Option<f64>,
}

/// Labels of events that name no judge.
const LABELS: [&str; 7] = [
    "routing",
    "input_drift",
    "policy_change",
    "mixed_drift",
    "unattributed",
    "policy_annotation",
    "none",
];

/// Registers the series of one policy with `judges` in its route. Those that the follower sets are
/// set again within seconds.
pub fn register<'a>(policy: &str, judges: impl Iterator<Item = &'a str>) {
    for label in LABELS {
        events(policy, label).increment(0);
    }
    let mut gauges = Gauges::default();
    let mut watched = vec!["input".to_owned(), "share".to_owned()];
    for judge in judges {
        events(policy, &format!("provider_drift:{judge}")).increment(0);
        for verdict in [PASS, REJECT] {
            first_verdicts(policy, judge, verdict).increment(0);
        }
        set_reject(policy, judge, None);
        watched.push(format!("judge:{judge}"));
        gauges.usual.insert(judge.to_owned(), Usual::default());
    }
    watched.iter().for_each(|detector| set_unwatched(policy, detector));
    set(policy, &gauges);
}

/// Counts an event.
pub fn count_event(policy: &str, label: &str) {
    events(policy, label).increment(1);
}

/// Counts what the first judge of an image alone said.
pub(super) fn count_first_verdict(policy: &str, judge: &str, first: Decision) {
    let verdict = if first == Decision::Pass { PASS } else { REJECT };
    first_verdicts(policy, judge, verdict).increment(1);
}

/// Sets the gauges of one policy: of every detector and judge that `gauges` names.
pub fn set(policy: &str, gauges: &Gauges) {
    for (detector, ratio) in &gauges.evidence {
        set_evidence(policy, detector, *ratio);
        set_active(policy, detector, gauges.active.contains(detector));
    }
    let (mix_shift, mix_shift_se) = gauges.mix_shift.unzip();
    gauge!("vlmgate_drift_mix_shift_ratio", "policy" => policy.to_owned()).set(known(mix_shift));
    gauge!("vlmgate_drift_mix_shift_se_ratio", "policy" => policy.to_owned())
        .set(known(mix_shift_se));
    for (judge, usual) in &gauges.usual {
        set_usual(policy, judge, *usual);
    }
    gauge!("vlmgate_drift_baseline_se_ratio", "policy" => policy.to_owned())
        .set(known(gauges.usual_se));
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of this age")]
    let learnt_until = gauges.learnt_until_ms.map(|ms| ms as f64 / 1_000.0);
    gauge!("vlmgate_drift_baseline_timestamp_seconds", "policy" => policy.to_owned())
        .set(known(learnt_until));
}

/// Says that no detector watches there: while a baseline is learnt.
pub fn set_unwatched(policy: &str, detector: &str) {
    set_evidence(policy, detector, f64::NAN);
    set_active(policy, detector, false);
}

/// Sets what was usual of one judge.
pub fn set_usual(policy: &str, judge: &str, usual: Usual) {
    let labels = [("policy", policy.to_owned()), ("judge", judge.to_owned())];
    gauge!("vlmgate_drift_baseline_share_ratio", &labels).set(known(usual.share));
    gauge!("vlmgate_drift_baseline_reject_ratio", &labels).set(known(usual.reject));
}

/// Sets the reject rate of one judge lately; `None` where its verdicts are too few for one.
pub fn set_reject(policy: &str, judge: &str, ratio: Option<f64>) {
    let labels = [("policy", policy.to_owned()), ("judge", judge.to_owned())];
    gauge!("vlmgate_reject_ratio", &labels).set(known(ratio));
}

const PASS: &str = "pass";
const REJECT: &str = "reject";

fn known(ratio: Option<f64>) -> f64 {
    ratio.unwrap_or(f64::NAN)
}

fn set_evidence(policy: &str, detector: &str, ratio: f64) {
    let labels = [("policy", policy.to_owned()), ("detector", detector.to_owned())];
    gauge!("vlmgate_drift_evidence_ratio", &labels).set(ratio);
}

fn set_active(policy: &str, detector: &str, is_active: bool) {
    let labels = [("policy", policy.to_owned()), ("detector", detector.to_owned())];
    gauge!("vlmgate_drift_event_active", &labels).set(if is_active { 1.0 } else { 0.0 });
}

fn events(policy: &str, label: &str) -> metrics::Counter {
    let labels = [("policy", policy.to_owned()), ("label", label.to_owned())];
    counter!("vlmgate_drift_events_total", &labels)
}

fn first_verdicts(policy: &str, judge: &str, verdict: &'static str) -> metrics::Counter {
    counter!("vlmgate_first_verdicts_total", "policy" => policy.to_owned(),
        "judge" => judge.to_owned(), "verdict" => verdict)
}
