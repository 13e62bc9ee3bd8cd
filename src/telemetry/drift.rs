//! Drift as it is counted: evidence of each detector, what the mix of judges is worth, events.

use metrics::{counter, gauge};

/// What one policy's gauges are set to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gauges {
    /// Evidence as a share of an alarm, by detector.
    pub evidence: Vec<(String, f64)>,
    /// What the present mix of judges alone adds to the reject rate, as a share.
    pub mix_shift: f64,
    /// Its standard error.
    pub mix_shift_se: f64,
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

/// Registers the series of one policy with `judges` in its route.
pub fn register<'a>(policy: &str, judges: impl Iterator<Item = &'a str>) {
    for label in LABELS {
        events(policy, label).increment(0);
    }
    let mut evidence = vec![("input".to_owned(), 0.0), ("share".to_owned(), 0.0)];
    for judge in judges {
        events(policy, &format!("provider_drift:{judge}")).increment(0);
        evidence.push((format!("judge:{judge}"), 0.0));
    }
    set(policy, &Gauges { evidence, ..Gauges::default() });
}

/// Counts an event.
pub fn count_event(policy: &str, label: &str) {
    events(policy, label).increment(1);
}

/// Sets the gauges of one policy.
pub fn set(policy: &str, gauges: &Gauges) {
    for (detector, ratio) in &gauges.evidence {
        set_evidence(policy, detector, *ratio);
    }
    gauge!("vlmgate_drift_mix_shift_ratio", "policy" => policy.to_owned()).set(gauges.mix_shift);
    gauge!("vlmgate_drift_mix_shift_se_ratio", "policy" => policy.to_owned())
        .set(gauges.mix_shift_se);
}

/// Sets how many records the figures do not know yet.
pub fn set_uncounted(records: u64) {
    #[expect(clippy::cast_precision_loss, reason = "records that wait")]
    gauge!("vlmgate_records_uncounted").set(records as f64);
}

/// Sets the evidence of one detector, as a share of an alarm.
pub fn set_evidence(policy: &str, detector: &str, ratio: f64) {
    let labels = [("policy", policy.to_owned()), ("detector", detector.to_owned())];
    gauge!("vlmgate_drift_evidence_ratio", &labels).set(ratio);
}

fn events(policy: &str, label: &str) -> metrics::Counter {
    let labels = [("policy", policy.to_owned()), ("label", label.to_owned())];
    counter!("vlmgate_drift_events_total", &labels)
}
