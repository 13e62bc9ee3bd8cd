//! What a replay told, as one JSON object.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::cli::drift::fold::{Folding, Known};
use crate::drift::decompose::Cause;
use crate::drift::event::{Event, Grounds, Label};
use crate::drift::interval::Estimate;

/// Everything that a replay told.
#[derive(Debug, Serialize)]
pub(super) struct ReplayForm<'a> {
    /// In the order in which they were told.
    pub(super) events: Vec<EventForm<'a>>,
    /// Verdicts and records that were read.
    pub(super) records: u64,
    /// Lines that say nothing, or what another one said.
    pub(super) left_out: u64,
    /// Where the monitors stood at the end.
    pub(super) monitors: Vec<MonitorForm<'a>>,
}

impl<'a> ReplayForm<'a> {
    pub(super) fn of(folding: &'a Folding, told: &'a [Known]) -> Self {
        let mut events: Vec<_> = told.iter().map(EventForm::of).collect();
        events.sort_by_key(|event| event.at);
        let monitors = folding.standings().map(|(policy, standing)| MonitorForm {
            policy,
            baseline_until: standing.learnt_until_ms,
            evidence: standing
                .monitor
                .evidence()
                .into_iter()
                .map(|(watched, ratio)| (watched.to_string(), ratio))
                .collect(),
            mix: standing.monitor.mix_now(),
        });
        let (records, left_out) = (folding.records, folding.left_out);
        Self { events, records, left_out, monitors: monitors.collect() }
    }
}

/// One event; moments in milliseconds since 1970.
#[derive(Debug, Serialize)]
pub(super) struct EventForm<'a> {
    /// When it was told.
    at: i64,
    /// What moved, in one word: `provider_drift:openai/gpt-4o-mini`.
    label: String,
    /// Every material cause, the largest first.
    labels: Vec<String>,
    /// When the change began.
    onset: i64,
    /// info, notice or warn.
    severity: &'static str,
    /// The change since the onset by cause; of a change of routing that alone.
    effects: BTreeMap<&'static str, EffectForm>,
    /// Log likelihood ratio of the paired test, positive where the judge moved alone; null where
    /// there was none.
    llr: Option<f64>,
    /// Whose records; null where the lines are verdicts.
    policy: Option<&'a str>,
    /// Whose detector alarmed.
    watched: String,
    /// When it did.
    alarm_at: i64,
    /// By how much what the label names moved.
    effect: EffectForm,
    /// What the label rests on.
    grounds: Option<&'a Grounds>,
}

impl<'a> EventForm<'a> {
    fn of(known: &'a Known) -> Self {
        let Event { watched, label, all, severity, effect, grounds, .. } = &known.event;
        let Event { at_ms, alarm_at_ms, onset_ms, .. } = known.event;
        let effect = EffectForm::of(*effect);
        let effects = match (grounds, label) {
            (Some(grounds), _) => {
                let part = |cause| EffectForm::of(grounds.decomposition.part(cause).whole);
                Cause::ALL.map(|cause| (cause.label(), part(cause))).into()
            }
            (None, Label::Routing) => BTreeMap::from([(Cause::Routing.label(), effect)]),
            (None, _) => BTreeMap::new(),
        };
        Self {
            at: at_ms,
            label: label.to_string(),
            labels: all.iter().map(Label::to_string).collect(),
            onset: onset_ms,
            severity: severity.label(),
            effects,
            llr: grounds.as_ref().and_then(|one| one.pairs.as_ref()).map(|pairs| pairs.log_ratio),
            policy: known.policy.as_deref(),
            watched: watched.to_string(),
            alarm_at: alarm_at_ms,
            effect,
            grounds: grounds.as_ref(),
        }
    }
}

/// An effect as a share of 1, with its standard error and both ends of its 95 % interval.
#[derive(Clone, Copy, Debug, Serialize)]
struct EffectForm {
    effect: f64,
    se: f64,
    low: f64,
    high: f64,
}

impl EffectForm {
    fn of(estimate: Estimate) -> Self {
        let interval = estimate.interval();
        let Estimate { effect, se } = estimate;
        Self { effect, se, low: interval.low, high: interval.high }
    }
}

/// Where a monitor stood at the end.
#[derive(Debug, Serialize)]
pub(super) struct MonitorForm<'a> {
    policy: Option<&'a str>,
    /// When its baseline was frozen; null while it was learnt.
    baseline_until: Option<i64>,
    /// Evidence of every detector as a share of an alarm.
    evidence: BTreeMap<String, f64>,
    /// What the mix of judges at the end is worth.
    mix: Option<Estimate>,
}
