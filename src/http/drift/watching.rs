//! What is watched, how strong the evidence is, and what was told.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::clock::Timestamp;
use crate::drift::baseline::Baseline;
use crate::drift::event::Watched;
use crate::drift::interval::Tally;
use crate::drift::judged::is_hedge_stratum;
use crate::drift::monitor::MIN_BASELINE;
use crate::http::drift::parts;
use crate::http::range::{EffectForm, RangeQuery, ShareForm};
use crate::http::sentence::event_sentence;
use crate::ledger::LedgerError;
use crate::ledger::figures::Scope;
use crate::ledger::follow::StoredEvent;
use crate::ledger::follow::view::{Known, View};
use crate::ledger::marks::{DRIFT, Mark, MarkFilter};
use crate::ledger::reader::Reader;

/// How far back events are told.
const EVENTS_US: i64 = 30 * 86_400 * 1_000_000;
/// Events told at most.
const MAX_EVENTS: usize = 100;

pub(super) fn watch(view: Option<&View>, known: &Known) -> Value {
    let false_alarms = known.false_alarms_per_30_days;
    let learns = json!({ "days": known.baseline_days, "verdicts": MIN_BASELINE });
    let Some(view) = view else {
        return json!({ "phase": "none", "since": null, "baseline": null, "learning": null,
            "detectors": [], "threshold_days": null, "false_alarms_per_30_days": false_alarms,
            "mix_now": null, "looking_into": null, "told": [], "learns": learns });
    };
    let since_ms = view.learnt_until_ms.unwrap_or(view.learnt_since_ms);
    let detectors = view.detecting.iter().map(|one| {
        let (detector, judge) = named(&one.watched);
        json!({ "detector": detector, "judge": judge, "ratio": one.ratio, "n": one.n,
            "alarm_at": one.alarm_at_ms.map(moment) })
    });
    json!({
        "phase": if view.baseline.is_some() { "watching" } else { "learning" },
        "since": moment(since_ms),
        "baseline": view.baseline.as_ref().map(|baseline| baseline_json(view, baseline)),
        "learning": view.learning.map(learning_json),
        "detectors": detectors.collect::<Vec<_>>(),
        "threshold_days": view.threshold_days,
        "false_alarms_per_30_days": false_alarms,
        "mix_now": view.mix_now.map(EffectForm::from),
        "looking_into": view.looking_into.as_ref().map(|(watched, at_ms)| {
            let (detector, judge) = named(watched);
            json!({ "detector": detector, "judge": judge, "since": moment(*at_ms) })
        }),
        "told": view.told.iter().map(watched_json).collect::<Vec<_>>(),
        "learns": learns,
    })
}

/// How far learning has come: verdicts served, how many are needed, until when at least.
pub(in crate::http) fn learning_json((n, needs, until_ms): (u64, u64, i64)) -> Value {
    json!({ "n": n, "needs": needs, "until": moment(until_ms) })
}

/// Who is watched, as it is answered.
pub(in crate::http) fn watched_json(watched: &Watched) -> Value {
    let (detector, judge) = named(watched);
    json!({ "detector": detector, "judge": judge })
}

fn baseline_json(view: &View, baseline: &Baseline) -> Value {
    let n: u64 = baseline.shares.values().sum();
    let mut whole = Tally::default();
    baseline.served.values().for_each(|tally| whole += *tally);
    let judges = baseline.rates.iter().filter(|(judge, _)| !is_hedge_stratum(judge));
    let judges = judges.map(|(judge, tally)| {
        let served = baseline.shares.get(judge).copied().unwrap_or_default();
        json!({ "judge": judge, "share": Tally { n, rejects: served }.rate(),
            "first_reject": ShareForm::of(*tally) })
    });
    // a baseline that cannot be written has no digest: a defect, which the log tells
    let digest = baseline.digest();
    let digest = digest.inspect_err(|why| tracing::error!(%why, "the baseline has no digest"));
    json!({
        "since": moment(view.learnt_since_ms),
        "until": view.learnt_until_ms.map(moment),
        "n": n,
        "first_reject": whole.rate(),
        "primary": baseline.primary,
        "provisional": baseline.provisional,
        "over_dispersion": baseline.over_dispersion,
        "digest": digest.ok().map(|hex| format!("b3:{hex}")),
        "judges": judges.collect::<Vec<_>>(),
    })
}

pub(super) async fn evidence(reader: &Reader, scope: &Scope) -> Result<Value, LedgerError> {
    let buckets = RangeQuery::buckets(scope);
    let mut detectors: BTreeMap<String, (Vec<i64>, Vec<f64>)> = BTreeMap::new();
    for peak in reader.evidence_peaks(&buckets).await? {
        let at = i64::try_from(peak.bucket).unwrap_or_default();
        let (start_ms, ratio) = detectors.entry(peak.detector).or_default();
        start_ms.push((buckets.since_s + at * buckets.bucket_s) * 1_000);
        ratio.push(peak.ratio);
    }
    let shown = |(name, (start_ms, ratio)): (&String, &(Vec<i64>, Vec<f64>))| {
        let (detector, judge) = match name.split_once(':') {
            Some((detector, judge)) => (detector, Some(judge)),
            None => (name.as_str(), None),
        };
        json!({ "detector": detector, "judge": judge, "start_ms": start_ms, "ratio": ratio })
    };
    Ok(detectors.iter().map(shown).collect())
}

pub(super) async fn events(
    reader: &Reader,
    policy: &str,
    until: Timestamp,
) -> Result<Value, LedgerError> {
    let filter = MarkFilter {
        kind: Some(DRIFT),
        policy: Some(policy.to_owned()),
        since: Some(Timestamp(until.0.saturating_sub(EVENTS_US))),
        until: Some(until),
        after: 0,
    };
    let marks = reader.marks(&filter).await?;
    Ok(marks.iter().take(MAX_EVENTS).filter_map(event_json).collect())
}

fn event_json(mark: &Mark) -> Option<Value> {
    let stored: StoredEvent = serde_json::from_str(&mark.form)
        .inspect_err(|why| tracing::error!(%why, "a stored drift event is left out"))
        .ok()?;
    let event = &stored.event;
    let (detector, judge) = named(&event.watched);
    let grounds = event.grounds.as_ref();
    let pairs = grounds.and_then(|grounds| grounds.pairs.as_ref());
    Some(json!({
        "id": mark.id,
        "seq": stored.seq,
        "at": moment(event.at_ms),
        "alarm_at": moment(event.alarm_at_ms),
        "onset": moment(event.onset_ms),
        "detector": detector,
        "judge": judge,
        "label": event.label.to_string(),
        "labels": event.all.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "severity": event.severity.label(),
        "effect": EffectForm::from(event.effect),
        "sentence": event_sentence(event),
        "parts": grounds.map(|grounds| parts(&grounds.decomposition, None)),
        "pairs": pairs.map(|pairs| json!({ "log_ratio": pairs.log_ratio,
            "discordant": pairs.discordant })),
        "low_confidence": grounds.is_some_and(|grounds| grounds.low_confidence),
    }))
}

/// The kind of a detector, and whose it is.
fn named(watched: &Watched) -> (&'static str, Option<&str>) {
    match watched {
        Watched::Input => ("input", None),
        Watched::Share => ("share", None),
        Watched::Config => ("config", None),
        Watched::Judge(judge) => ("judge", Some(judge)),
    }
}

fn moment(ms: i64) -> String {
    Timestamp(ms.saturating_mul(1_000)).to_string()
}
