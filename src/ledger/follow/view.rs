//! A view is a standing as it is shown: taken after each step of the follower, and read by anybody
//! without waiting for it.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::drift::baseline::Baseline;
use crate::drift::event::Watched;
use crate::drift::interval::{Estimate, Tally, real};
use crate::drift::judged::is_hedge_stratum;
use crate::drift::mix::MIN_VERDICTS;
use crate::drift::monitor::Detecting;
use crate::drift::standing::Standing;
use crate::ledger::follow::Settings;
use crate::ledger::follow::checkpoint::Checkpoint;
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
    /// Whole days that a baseline is learnt from.
    pub baseline_days: u32,
    /// By policy.
    pub policies: BTreeMap<String, Arc<View>>,
}

impl Known {
    /// Nothing yet.
    pub(super) fn new(followed: Followed, settings: &Settings) -> Self {
        let false_alarms_per_30_days = settings.false_alarms_per_30_days;
        let baseline_days = settings.baseline_days;
        Self { followed, false_alarms_per_30_days, baseline_days, policies: BTreeMap::new() }
    }

    /// What a gate knew when it last kept its state in `file`, and up to where its store counts:
    /// for who reads beside it. Nothing where there is no such file.
    ///
    /// # Errors
    /// The file cannot be read, or is none of a gate.
    pub fn kept(file: &Path, followed: Followed) -> io::Result<Self> {
        let Some(kept) = Checkpoint::load(file)? else {
            return Ok(Self { followed, ..Self::default() });
        };
        let policies = kept.standings.iter();
        let policies = policies.map(|(name, own)| (name.clone(), Arc::new(View::of(own))));
        Ok(Self {
            followed,
            false_alarms_per_30_days: kept.folded.false_alarms_per_30_days,
            baseline_days: kept.folded.baseline_days,
            policies: policies.collect(),
        })
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
    /// When other lines or instructions, or a judge's other model, began to hold; milliseconds since
    /// 1970.
    pub changes_ms: Vec<i64>,
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
            told: monitor.told(),
            changes_ms: standing.configs.changes(),
            burst_judges: monitor.burst_judges().into_iter().map(str::to_owned).collect(),
        }
    }

    /// Since when what held at a moment had held: `None` where nothing is known to have changed.
    #[must_use]
    pub fn unchanged_since_ms(&self, at_ms: i64) -> Option<i64> {
        self.changes_ms.iter().copied().filter(|change| *change <= at_ms).max()
    }

    pub(super) fn gauges(&self) -> Gauges {
        let evidence = self.detecting.iter();
        let evidence = evidence.map(|one| (detector_name(&one.watched), one.ratio)).collect();
        let mut gauges = Gauges {
            evidence,
            active: self.told.iter().map(detector_name).collect(),
            mix_shift: self.mix_now.map(|mix| (mix.effect, mix.se)),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drift::judged::{Route, image_key};
    use crate::drift::monitor;
    use crate::drift::standing::Told;

    /// A standing after a baseline of 2,000 verdicts: of the primary's 1,800 every tenth rejects, of
    /// the 180 failovers every fifth, of the twenty hedges half; a third judge looks on, a fourth just came.
    fn watching() -> Standing {
        let settings = monitor::Settings { burst_images: 0, ..monitor::Settings::default() };
        let mut standing = Standing::new(settings, 0, 0);
        let mut tell = |n: i64, judge, route, reject| {
            let image = image_key(&format!("{n} {judge}"));
            let told =
                Told { image, at_ms: n * 1_000, judge, config: "one", route, reject, risk: 0.1 };
            standing.observe(&told);
        };
        for n in 0..2_000 {
            match n % 100 {
                0 => tell(n, "standby", Route::Hedge, n % 200 == 0),
                1..10 => tell(n, "standby", Route::Failover, n % 5 == 1),
                _ => tell(n, "main", Route::Primary, n % 10 == 0),
            }
            if n % 20 == 0 {
                tell(n, "onlooker", Route::Shadow, n % 80 == 0);
            }
            if n % 100 == 50 {
                tell(n, "newcomer", Route::Shadow, true);
            }
        }
        tell(2_000, "main", Route::Primary, false);
        standing
    }

    #[test]
    fn what_was_usual_of_a_judge_is_what_it_served_and_of_an_onlooker_what_it_said() {
        let gauges = View::of(&watching()).gauges();
        let close = |found: Option<f64>, expected: f64| {
            assert!(found.is_some_and(|found| (found - expected).abs() < 1e-12), "{found:?}");
        };
        let usual = |judge: &str| gauges.usual.get(judge).copied().unwrap_or_default();
        close(usual("main").share, 0.9);
        close(usual("main").reject, 180.0 / 1_800.0);
        close(usual("standby").share, 0.1);
        close(usual("standby").reject, (40.0 + 10.0) / 200.0);
        close(usual("onlooker").share, 0.0);
        close(usual("onlooker").reject, 0.25);
        assert_eq!(usual("newcomer").reject, None, "twenty verdicts are no rate");
        assert_eq!(gauges.usual.keys().len(), 4, "hedges are their judge's: {:?}", gauges.usual);
        assert_eq!(gauges.learnt_until_ms, Some(2_000_000));
        let rate: f64 = (230.0 + 0.5) / 2_001.0;
        let least = (rate * (1.0 - rate) / 2_000.0).sqrt();
        let se = gauges.usual_se.unwrap_or_default();
        assert!((least - 1e-12..2.0 * least).contains(&se), "{se} of at least {least}");
    }

    #[test]
    fn while_a_baseline_is_learnt_nothing_is_usual() {
        let mut standing = Standing::new(monitor::Settings::default(), 0, 7);
        let image = image_key("one");
        let (judge, config, route) = ("main", "one", Route::Primary);
        standing.observe(&Told { image, at_ms: 0, judge, config, route, reject: true, risk: 0.1 });
        assert_eq!(View::of(&standing).gauges(), Gauges::default());
    }

    #[test]
    fn routing_stands_until_the_share_is_back() {
        let mut standing = watching();
        let mut now = 2_000;
        let mut serve = |judge, verdicts: i64| {
            for _ in 0..verdicts {
                now += 1;
                let route = if judge == "main" { Route::Primary } else { Route::Failover };
                let image = image_key(&now.to_string());
                let (at_ms, reject) = (now * 1_000, now % 10 == 0);
                let told = Told { image, at_ms, judge, config: "one", route, reject, risk: 0.1 };
                standing.observe(&told);
            }
            View::of(&standing).gauges().active
        };
        assert_eq!(serve("main", 100), Vec::<String>::new());
        assert_eq!(serve("standby", 150), ["share"]);
        assert_eq!(serve("main", 300), Vec::<String>::new());
    }
}
