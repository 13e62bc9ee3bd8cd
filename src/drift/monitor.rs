//! The monitor folds verdicts one by one, in the order of the store, and tells what moved.
//!
//! It learns a baseline, freezes it, and then watches three things with one kind of detector: each
//! judge's verdicts given the risk of the image, the risk of the images, and the share served
//! elsewhere than by the primary. An alarm opens a case; the case is told once the pairs of judges
//! say whether it is the judge or the images. The whole monitor is its state: serialised after any
//! verdict and read again, it goes on bit for bit.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::drift::baseline::{Baseline, Learning};
use crate::drift::detector::Detector;
use crate::drift::event::{Event, Watched};
use crate::drift::evidence::{Recent, Row};
use crate::drift::interval::Estimate;
use crate::drift::judged::{Judged, Names, Route, hedge_stratum, is_hedge_stratum};
use crate::drift::mix::{MIN_VERDICTS, Shares, expected_routing};
use crate::drift::watch::{SHARE_WINDOW, View, Watch};

/// Served verdicts that a baseline needs.
pub const MIN_BASELINE: u64 = 2000;

/// Served verdicts after which a change of policy is told.
const POLICY_VERDICTS: u64 = 1000;

/// A case is looked at again after so many verdicts.
const LOOK_EVERY: u64 = 25;

/// Shortest time over which the present mix is taken, in milliseconds.
const MIX_MS: i64 = 5 * 60_000;

/// What the operator decides.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// False alarms allowed in thirty days, over all detectors together.
    pub false_alarms_per_30_days: f64,
    /// Images judged by the other judges too after an alarm; 0 where nobody does so.
    pub burst_images: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { false_alarms_per_30_days: 0.5, burst_images: 1200 }
    }
}

impl Settings {
    /// Which verdicts are paired. Second opinions are asked about doubtful images, where judges
    /// differ whatever happened, so they blur the test: a burst does without them. Where nobody
    /// runs one, blurred pairs are told hours sooner than the few that sampling makes.
    fn may_pair(self) -> fn(Route) -> bool {
        if self.burst_images > 0 { Route::evidence } else { |route| route != Route::Hedge }
    }
}

/// A detector, as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Detecting {
    /// What it watches.
    pub watched: Watched,
    /// Its evidence as a share of its budget: an alarm at 1.
    pub ratio: f64,
    /// Verdicts it has folded.
    pub n: u64,
    /// When it alarmed, if it did.
    pub alarm_at_ms: Option<i64>,
}

/// Folds verdicts and tells what moved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Monitor {
    settings: Settings,
    judges: Names,
    configs: Names,
    known_configs: BTreeSet<u16>,
    recent: Recent,
    seen: u64,
    phase: Phase,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Phase {
    Learning(Learning),
    Watching(Box<Watch>),
}

impl Monitor {
    /// A monitor whose baseline ends at a moment, or later if too little was served by then.
    #[must_use]
    pub fn new(settings: Settings, baseline_until_ms: i64) -> Self {
        Self {
            settings,
            judges: Names::default(),
            configs: Names::default(),
            known_configs: BTreeSet::new(),
            recent: Recent::default(),
            seen: 0,
            phase: Phase::Learning(Learning::new(baseline_until_ms, MIN_BASELINE, false)),
        }
    }

    /// Folds one verdict, and returns what is to be told.
    pub fn observe(&mut self, judged: &Judged) -> Vec<Event> {
        let stratum = match judged.route {
            Route::Hedge => self.judges.number(&hedge_stratum(&judged.judge)),
            Route::Primary | Route::Failover | Route::SecondOpinion | Route::Shadow => {
                self.judges.number(&judged.judge)
            }
        };
        let config = self.configs.number(&judged.config);
        let Judged { at_ms, route, reject, .. } = *judged;
        let may_pair = self.settings.may_pair();
        let mut row = Row { at_ms, bin: 0, judge: stratum, config, route, reject };
        if let Phase::Learning(learning) = &mut self.phase {
            if !learning.done(at_ms) {
                self.known_configs.insert(config);
                learning.learn(judged, stratum, config);
                for pair in self.recent.join(judged.image, &row, may_pair) {
                    learning.learn_pair(&pair);
                }
                return Vec::new();
            }
            let baseline = learning.freeze(&self.judges, &self.configs);
            self.phase = Phase::Watching(Box::new(Watch::new(baseline, self.settings)));
            // what was seen so far is in the baseline, and no onset lies before it
            self.recent = Recent::default();
        }
        let Phase::Watching(watch) = &mut self.phase else { return Vec::new() };
        self.seen += 1;
        row.bin = watch.baseline.bin(judged.risk_ticks());
        self.recent.remember(row);
        self.recent.join(judged.image, &row, may_pair);
        let view = View { recent: &self.recent, judges: &self.judges, configs: &self.configs };
        let mut events = Vec::new();
        if route.served() && self.known_configs.insert(config) {
            events.push(watch.meet_policy(at_ms));
        }
        watch.fold(&row, &view, &mut events);
        if watch.policy.is_some_and(|policy| POLICY_VERDICTS <= policy.served) {
            events.extend(watch.tell_policy(at_ms, &view));
            self.phase = Phase::Learning(Learning::new(at_ms, MIN_BASELINE, true));
            // a policy that comes back is one that the new baseline was not learnt from
            self.known_configs.clear();
        } else if watch.policy.is_none() {
            let look = self.seen.is_multiple_of(LOOK_EVERY);
            events.extend(watch.look(at_ms, look, self.settings, &view));
        }
        events
    }

    /// Whether the other judges should be asked about the images that are served now, beside the
    /// serving path, and which ones those are.
    #[must_use]
    pub fn burst_judges(&self) -> Vec<&str> {
        let Phase::Watching(watch) = &self.phase else { return Vec::new() };
        let running = watch.case.as_ref().is_some_and(|case| case.burst_left > 0);
        let judges = watch.baseline.rates.keys().filter(|judge| !is_hedge_stratum(judge));
        judges.filter(|_| running).map(String::as_str).collect()
    }

    /// The frozen baseline, once there is one.
    #[must_use]
    pub fn baseline(&self) -> Option<&Baseline> {
        match &self.phase {
            Phase::Watching(watch) => Some(&watch.baseline),
            Phase::Learning(_) => None,
        }
    }

    /// Evidence of every detector as a share of its budget.
    #[must_use]
    pub fn evidence(&self) -> Vec<(Watched, f64)> {
        let Phase::Watching(watch) = &self.phase else { return Vec::new() };
        let judges = watch.judges.iter();
        let judges = judges.map(|(judge, one)| (Watched::Judge(judge.clone()), one));
        let rest = [(Watched::Input, &watch.input), (Watched::Share, &watch.share)];
        judges.chain(rest).map(|(watched, one)| (watched, one.evidence_ratio())).collect()
    }

    /// Every detector, as it stands.
    #[must_use]
    pub fn detecting(&self) -> Vec<Detecting> {
        let Phase::Watching(watch) = &self.phase else { return Vec::new() };
        let judges = watch.judges.iter();
        let judges = judges.map(|(judge, one)| (Watched::Judge(judge.clone()), one));
        let rest = [(Watched::Input, &watch.input), (Watched::Share, &watch.share)];
        let detecting = |(watched, one): (Watched, &Detector)| Detecting {
            watched,
            ratio: one.evidence_ratio(),
            n: one.seen().0,
            alarm_at_ms: one.alarm().map(|alarm| alarm.at_ms),
        };
        judges.chain(rest).map(detecting).collect()
    }

    /// The alarm that is being looked into, and when it sounded.
    #[must_use]
    pub fn looking_into(&self) -> Option<(&Watched, i64)> {
        let Phase::Watching(watch) = &self.phase else { return None };
        watch.case.as_ref().map(|case| (&case.watched, case.alarm.at_ms))
    }

    /// What was told and stands: routing until the share is back, the rest until somebody
    /// acknowledges it or a baseline is learnt anew. Of other images no judge is told beside.
    #[must_use]
    pub fn told(&self) -> Vec<Watched> {
        match &self.phase {
            Phase::Watching(watch) => watch.told(),
            Phase::Learning(_) => Vec::new(),
        }
    }

    /// While a baseline is learnt: verdicts served so far, how many are needed, and until when at
    /// least it learns.
    #[must_use]
    pub fn learning(&self) -> Option<(u64, u64, i64)> {
        match &self.phase {
            Phase::Learning(learning) => Some(learning.progress()),
            Phase::Watching(_) => None,
        }
    }

    /// Days of evidence at which a detector alarms.
    #[must_use]
    pub fn threshold_days(&self) -> Option<f64> {
        match &self.phase {
            Phase::Watching(watch) => Some(watch.threshold_days),
            Phase::Learning(_) => None,
        }
    }

    /// What the present mix of judges alone is worth, over the last five minutes or two hundred
    /// served verdicts, whichever is more.
    #[must_use]
    pub fn mix_now(&self) -> Option<Estimate> {
        let Phase::Watching(watch) = &self.phase else { return None };
        let now = self.recent.latest_rows().next()?.at_ms;
        let mut shares = Shares::new();
        let served = self.recent.latest_rows().filter(|row| row.route.served());
        for (n, row) in served.enumerate() {
            if SHARE_WINDOW <= n && row.at_ms < now.saturating_sub(MIX_MS) {
                break;
            }
            *shares.entry(self.judges.name(row.judge).to_owned()).or_default() += 1;
        }
        let enough = MIN_VERDICTS <= shares.values().sum();
        let worth = || expected_routing(&watch.baseline.rates, &watch.baseline.shares, &shares);
        enough.then(worth).flatten()
    }

    /// What it was told to go by.
    #[must_use]
    pub fn settings(&self) -> Settings {
        self.settings
    }

    /// Goes on under other settings. What is learnt, or being learnt, does not depend on how many
    /// false alarms are allowed, nor on how many images a burst shows: it stays. Under another budget
    /// the evidence begins at zero.
    pub fn go_on_under(&mut self, settings: Settings) {
        let before = std::mem::replace(&mut self.settings, settings);
        let is_same =
            before.false_alarms_per_30_days.total_cmp(&settings.false_alarms_per_30_days).is_eq();
        if let Phase::Watching(watch) = &mut self.phase
            && !is_same
        {
            watch.rebudget(settings);
        }
    }

    /// An operator has seen what was told of judges and images: it is watched again over the same
    /// baseline, with evidence from here on. What is still so is told again. Returns whom that is
    /// about; where nothing was told, nothing changes.
    pub fn acknowledge(&mut self) -> Vec<Watched> {
        match &mut self.phase {
            Phase::Watching(watch) => watch.acknowledge(),
            Phase::Learning(_) => Vec::new(),
        }
    }

    /// What is judged from here on is the new normal: a baseline is learnt from it, until a moment at
    /// least, and until then nothing is watched. Whatever was told or looked into ends.
    pub fn learn_anew(&mut self, until_ms: i64) {
        // from whole days, as the first one: what is usual has its hours
        self.phase = Phase::Learning(Learning::new(until_ms, MIN_BASELINE, false));
        self.known_configs.clear();
        // an image of before, seen by a second judge only now, says nothing of the new normal
        self.recent = Recent::default();
    }
}
