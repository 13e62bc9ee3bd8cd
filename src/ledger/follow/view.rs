//! A view is a standing as it is shown: taken after each step of the follower, and read by anybody
//! without waiting for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::drift::baseline::Baseline;
use crate::drift::event::Watched;
use crate::drift::interval::{Estimate, Tally, real};
use crate::drift::judged::is_hedge_stratum;
use crate::drift::mix::MIN_VERDICTS;
use crate::drift::monitor::Detecting;
use crate::drift::standing::Standing;
use crate::ledger::follow::Settings;
use crate::ledger::rollup::detector_name;
pub use crate::ledger::writing::Followed;
use crate::telemetry::drift::{Gauges, Usual};

/// What is known, and after which record.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Up to where records were counted.
    pub followed: Followed,
    /// False alarms allowed in thirty days.
    pub false_alarms_per_30_days: f64,
    /// By policy.
    pub policies: BTreeMap<String, Arc<View>>,
}

impl Known {
    /// Nothing yet.
    pub(super) fn new(followed: Followed, settings: &Settings) -> Self {
        let false_alarms_per_30_days = settings.false_alarms_per_30_days;
        Self { followed, false_alarms_per_30_days, policies: BTreeMap::new() }
    }
}

/// One policy's standing.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// From when the baseline was, or is being, learnt.
    pub learnt_since_ms: i64,
    /// Until when it was; `None` while it is being learnt.
    pub learnt_until_ms: Option<i64>,
    /// The frozen baseline.
    pub baseline: Option<Baseline>,
    /// While it is learnt: verdicts served, how many are needed, until when at least.
    pub learning: Option<(u64, u64, i64)>,
    /// Every detector.
    pub detecting: Vec<Detecting>,
    /// Days of evidence at which one alarms.
    pub threshold_days: Option<f64>,
    /// What the present mix of judges alone is worth.
    pub mix_now: Option<Estimate>,
    /// The alarm that is being looked into, and when it sounded.
    pub looking_into: Option<(Watched, i64)>,
    /// What was told and stands.
    pub told: Vec<Watched>,
}

impl View {
    pub(super) fn of(standing: &Standing) -> Self {
        let monitor = &standing.monitor;
        Self {
            learnt_since_ms: standing.learnt_since_ms,
            learnt_until_ms: standing.learnt_until_ms,
            baseline: monitor.baseline().cloned(),
            learning: monitor.learning(),
            detecting: monitor.detecting(),
            threshold_days: monitor.threshold_days(),
            mix_now: monitor.mix_now(),
            looking_into: monitor.looking_into().map(|(watched, at)| (watched.clone(), at)),
            told: monitor.told(),
        }
    }

    pub(super) fn gauges(&self) -> Gauges {
        let evidence = self.detecting.iter();
        let evidence = evidence.map(|one| (detector_name(&one.watched), one.ratio)).collect();
        let mix = self.mix_now.unwrap_or_default();
        let mut gauges = Gauges {
            evidence,
            active: self.told.iter().map(detector_name).collect(),
            mix_shift: mix.effect,
            mix_shift_se: mix.se,
            ..Gauges::default()
        };
        if let Some(baseline) = &self.baseline {
            gauges.usual = usual(baseline);
            gauges.usual_se = Some(standard_error(baseline));
            gauges.learnt_until_ms = self.learnt_until_ms;
        }
        gauges
    }
}

/// What was usual of every judge that the baseline has seen.
fn usual(baseline: &Baseline) -> BTreeMap<String, Usual> {
    let served = baseline.served_by_judge();
    let n = served.values().map(|tally| tally.n).sum();
    let seen = baseline.rates.iter().filter(|(judge, _)| !is_hedge_stratum(judge));
    let mut judges: BTreeMap<&String, Tally> = seen.map(|(judge, tally)| (judge, *tally)).collect();
    // what was served is what is served now; a judge that only looks on has nothing else
    let enough = served.iter().filter(|(_, tally)| MIN_VERDICTS <= tally.n);
    judges.extend(enough.map(|(judge, tally)| (judge, *tally)));
    let usual = |(judge, tally): (&String, Tally)| {
        let own = served.get(judge).copied().unwrap_or_default();
        let share = Some(Tally { n, rejects: own.n }.rate());
        let reject = (MIN_VERDICTS <= tally.n).then(|| tally.rate());
        (judge.clone(), Usual { share, reject })
    };
    judges.into_iter().map(usual).collect()
}

/// Of the share of first verdicts that would not pass, over all judges: verdicts that come in lots
/// are worth fewer.
fn standard_error(baseline: &Baseline) -> f64 {
    let mut whole = Tally::default();
    baseline.served.values().for_each(|tally| whole += *tally);
    let (rate, n) = (whole.smoothed(), real(whole.n.max(1)));
    (baseline.over_dispersion * rate * (1.0 - rate) / n).sqrt()
}
