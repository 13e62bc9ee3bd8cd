//! A view is a standing as it is shown: taken after each step of the follower, and read by anybody
//! without waiting for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::drift::baseline::Baseline;
use crate::drift::event::Watched;
use crate::drift::interval::Estimate;
use crate::drift::monitor::Detecting;
use crate::drift::standing::Standing;
use crate::ledger::follow::Settings;
use crate::ledger::rollup::detector_name;
pub use crate::ledger::writing::Followed;
use crate::telemetry::drift::Gauges;

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
    /// Judges that should be shown the images that are served now, to tell what moved; empty where
    /// nothing is to be told.
    pub burst_judges: Vec<String>,
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
            burst_judges: monitor.burst_judges().into_iter().map(str::to_owned).collect(),
        }
    }

    pub(super) fn gauges(&self) -> Gauges {
        let evidence = self.detecting.iter();
        let evidence = evidence.map(|one| (detector_name(&one.watched), one.ratio)).collect();
        let mix = self.mix_now.unwrap_or_default();
        Gauges { evidence, mix_shift: mix.effect, mix_shift_se: mix.se }
    }
}
