//! A watch is everything that hangs on one baseline: the detectors, the case that an alarm opened,
//! and how a case is told.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use crate::drift::baseline::Baseline;
use crate::drift::decompose::{Cell, Counts};
use crate::drift::detector::{Alarm, Detector};
use crate::drift::event::{Event, Grounds, Label, Severity, Watched};
use crate::drift::evidence::{Recent, Row};
use crate::drift::interval::{Estimate, Tally, real};
use crate::drift::judged::{Names, is_hedge_stratum};
use crate::drift::label::{Reading, Window, pooled, read, separable};
use crate::drift::mix::{MIN_VERDICTS, Shares, expected_routing};
use crate::drift::monitor::Settings;
use crate::drift::pairs::{PairedEvidence, Pairs, SHRINK, attribute_pairs};
use crate::drift::shift::Seen;
use crate::drift::tables::{input_tables, judge_symbol, judge_tables, share_tables};

/// Verdicts a judge needs in the baseline to be watched.
const WATCHED_FROM: u64 = 200;

/// Served verdicts since the onset that a decomposition needs.
const MIN_CURRENT: u64 = 300;

/// Longest time a case stays open, in milliseconds.
const MAX_OPEN_MS: i64 = 12 * 3_600_000;

/// How near to its baseline the share must be for that.
const SHARE_BACK: f64 = 0.05;

/// Served verdicts over which a share must be back before a routing event is closed.
pub(crate) const SHARE_WINDOW: usize = 200;

/// Everything that hangs on one baseline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Watch {
    pub(crate) baseline: Baseline,
    pub(crate) threshold_days: f64,
    pub(crate) judges: BTreeMap<String, Detector>,
    pub(crate) input: Detector,
    pub(crate) share: Detector,
    /// Told, and not acknowledged: what is known is not told again.
    pub(crate) muted: BTreeSet<Watched>,
    /// Of these the judges that nothing was told of: other images mute them all.
    #[serde(default)]
    by_images: BTreeSet<Watched>,
    pub(crate) case: Option<Case>,
    rerouted: Option<Rerouted>,
    pub(crate) policy: Option<NewPolicy>,
}

/// An alarm that is being looked into.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Case {
    pub(crate) watched: Watched,
    pub(crate) alarm: Alarm,
    pub(crate) burst_left: u64,
}

/// Served verdicts since a routing alarm's onset.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Rerouted {
    served: BTreeMap<u16, u64>,
    latest: VecDeque<u16>,
    n: u64,
    told: bool,
}

impl Rerouted {
    fn count(&mut self, judge: u16) {
        *self.served.entry(judge).or_default() += 1;
        self.n += 1;
        self.latest.push_back(judge);
        if SHARE_WINDOW < self.latest.len() {
            self.latest.pop_front();
        }
    }
}

/// A policy that the baseline has not seen.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct NewPolicy {
    since_ms: i64,
    pub(crate) served: u64,
}

/// What the monitor remembers, as the watch looks at it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    pub(crate) recent: &'a Recent,
    pub(crate) judges: &'a Names,
    pub(crate) configs: &'a Names,
}

impl Watch {
    pub(crate) fn new(baseline: Baseline, settings: Settings) -> Self {
        let threshold_days = threshold_days(&baseline, settings);
        let mut watch = Self {
            threshold_days,
            judges: BTreeMap::new(),
            input: Detector::new(Vec::new(), threshold_days),
            share: Detector::new(Vec::new(), threshold_days),
            muted: BTreeSet::new(),
            by_images: BTreeSet::new(),
            case: None,
            rerouted: None,
            policy: None,
            baseline,
        };
        watch.rearm();
        watch.rearm_share();
        watch
    }

    /// Goes on over the same baseline under another budget: the evidence begins at zero, and an
    /// alarm that is not told yet is none. What was told stands.
    pub(crate) fn rebudget(&mut self, settings: Settings) {
        self.threshold_days = threshold_days(&self.baseline, settings);
        self.case = None;
        self.rearm();
        if !self.rerouted.as_ref().is_some_and(|rerouted| rerouted.told) {
            self.rearm_share();
        }
    }

    /// New detectors of judges and input.
    pub(crate) fn rearm(&mut self) {
        let all = self.baseline.served_by_bin();
        let bins: Vec<u64> = all.iter().map(|tally| tally.n).collect();
        self.input = Detector::new(input_tables(&bins), self.threshold_days);
        self.judges = BTreeMap::new();
        for (judge, tally) in &self.baseline.rates {
            if WATCHED_FROM <= tally.n && !is_hedge_stratum(judge) {
                let tables = judge_tables(&self.baseline.evidence_by_bin(judge), &all);
                self.judges.insert(judge.clone(), Detector::new(tables, self.threshold_days));
            }
        }
    }

    fn rearm_share(&mut self) {
        let (served, elsewhere) = self.baseline.served_elsewhere();
        self.share = Detector::new(share_tables(served, elsewhere), self.threshold_days);
        self.rerouted = None;
    }

    pub(crate) fn meet_policy(&mut self, at_ms: i64) -> Event {
        self.policy = Some(NewPolicy { since_ms: at_ms, served: 0 });
        Event {
            at_ms,
            alarm_at_ms: at_ms,
            onset_ms: at_ms,
            watched: Watched::Config,
            label: Label::PolicyAnnotation,
            all: Vec::new(),
            severity: Severity::Info,
            effect: Estimate::default(),
            grounds: None,
        }
    }

    /// Folds one verdict into every detector that it concerns.
    pub(crate) fn fold(&mut self, row: &Row, view: &View<'_>, events: &mut Vec<Event>) {
        let judge = view.judges.name(row.judge);
        if row.route.served() {
            if let Some(policy) = &mut self.policy {
                policy.served += 1;
            }
            if let Some(case) = &mut self.case {
                case.burst_left = case.burst_left.saturating_sub(1);
            }
            events.extend(self.route(row, judge != self.baseline.primary, view));
            self.input.observe(row.at_ms, usize::from(row.bin));
        }
        // while a new policy is measured, its verdicts say nothing about the judges
        if row.route.evidence()
            && self.policy.is_none()
            && let Some(detector) = self.judges.get_mut(judge)
        {
            detector.observe(row.at_ms, judge_symbol(row.bin, row.reject));
        }
    }

    /// Folds one served verdict into the share detector; tells the alarm once thirty verdicts say
    /// what the new mix is worth, and re-arms when the share is back.
    fn route(&mut self, row: &Row, elsewhere: bool, view: &View<'_>) -> Option<Event> {
        self.share.observe(row.at_ms, usize::from(elsewhere));
        let alarm = self.share.alarm()?;
        let rerouted = if let Some(rerouted) = &mut self.rerouted {
            rerouted.count(row.judge);
            rerouted
        } else {
            let mut since = Rerouted::default();
            let rows = view.recent.rows_since(alarm.onset_ms);
            rows.filter(|row| row.route.served()).for_each(|row| since.count(row.judge));
            self.rerouted.insert(since)
        };
        let due = !rerouted.told && MIN_VERDICTS <= rerouted.n;
        let mut told = None;
        if due {
            rerouted.told = true;
            let name = |(judge, n): (&u16, &u64)| (view.judges.name(*judge).to_owned(), *n);
            let current: Shares = rerouted.served.iter().map(name).collect();
            let effect = expected_routing(&self.baseline.rates, &self.baseline.shares, &current)?;
            told = Some(Event {
                at_ms: row.at_ms,
                alarm_at_ms: alarm.at_ms,
                onset_ms: alarm.onset_ms,
                watched: Watched::Share,
                label: Label::Routing,
                all: vec![Label::Routing],
                severity: Severity::of(effect),
                effect,
                grounds: None,
            });
        }
        if SHARE_WINDOW <= rerouted.latest.len() && real(SHARE_WINDOW as u64) < real(rerouted.n) {
            let away = |judge: &&u16| view.judges.name(**judge) != self.baseline.primary;
            let away = rerouted.latest.iter().filter(away).count() as u64;
            let (served, elsewhere) = self.baseline.served_elsewhere();
            let normal = real(elsewhere) / real(served);
            if real(away) / real(SHARE_WINDOW as u64) <= normal + SHARE_BACK {
                self.rearm_share();
            }
        }
        told
    }

    /// What was told and stands.
    pub(crate) fn told(&self) -> Vec<Watched> {
        let share = self.rerouted.as_ref().filter(|rerouted| rerouted.told);
        let told = self.muted.difference(&self.by_images).cloned();
        share.map(|_| Watched::Share).into_iter().chain(told).collect()
    }

    /// Watches again, from here, what was told of judges and images; who that is. Routing stands until
    /// the share is back, and an alarm that is being looked into is not told yet: both go on.
    pub(crate) fn acknowledge(&mut self) -> Vec<Watched> {
        let mut seen = self.told();
        seen.retain(|who| *who != Watched::Share);
        if !seen.is_empty() {
            self.muted.clear();
            self.by_images.clear();
            self.rearm();
        }
        seen
    }

    /// Opens a case at an alarm; looks into an open one, when it is time to.
    pub(crate) fn look(
        &mut self,
        at_ms: i64,
        time_to: bool,
        settings: Settings,
        view: &View<'_>,
    ) -> Option<Event> {
        let Some(case) = self.case.take() else {
            self.case = self.alarmed().map(|(watched, alarm)| Case {
                watched,
                alarm: Alarm { at_ms, ..alarm },
                burst_left: settings.burst_images,
            });
            return None;
        };
        let event = if time_to { self.solve(&case, at_ms, settings, view) } else { None };
        match &event {
            None => self.case = Some(case),
            Some(event) => {
                if event.label == Label::InputDrift {
                    let judges = self.judges.keys().cloned().map(Watched::Judge);
                    let untold = judges.filter(|judge| !self.muted.contains(judge)).collect();
                    self.by_images = &self.by_images | &untold;
                    self.muted.extend(untold);
                    self.muted.insert(Watched::Input);
                } else {
                    self.muted.insert(case.watched);
                }
                self.rearm();
            }
        }
        event
    }

    /// The first alarm that is not known already.
    fn alarmed(&self) -> Option<(Watched, Alarm)> {
        let judges = self.judges.iter().map(|(judge, one)| (Watched::Judge(judge.clone()), one));
        let all = std::iter::once((Watched::Input, &self.input)).chain(judges);
        let mut sounded = all.filter_map(|(who, detector)| Some((who, detector.alarm()?)));
        sounded.find(|(who, _)| !self.muted.contains(who))
    }

    /// Tells a case if it can be told.
    fn solve(&self, case: &Case, at_ms: i64, settings: Settings, view: &View<'_>) -> Option<Event> {
        let onset_ms = case.alarm.onset_ms;
        let served = view.recent.rows_since(onset_ms).filter(|row| row.route.served()).count();
        if (served as u64) < MIN_CURRENT {
            return None;
        }
        let (reading, input_separated) = self.reading(onset_ms, view)?;
        let bursting = settings.burst_images > 0;
        let waited = MAX_OPEN_MS < at_ms.saturating_sub(case.alarm.at_ms);
        let must_tell = waited || (bursting && case.burst_left == 0);
        let by_bins = reading.label() == Label::InputDrift && input_separated;
        let (label, pairs) = match &case.watched {
            Watched::Judge(judge) => {
                let since_ms = if bursting { case.alarm.at_ms } else { onset_ms };
                let pairs = self.weigh(judge, since_ms, &reading, view);
                if !must_tell && !pairs.decided() {
                    return None;
                }
                let story = match (pairs.discordant, pairs.log_ratio > 0.0) {
                    (0, _) => Label::Unattributed,
                    (_, true) => Label::ProviderDrift(judge.clone()),
                    (_, false) => Label::InputDrift,
                };
                (if by_bins { Label::InputDrift } else { story }, Some(pairs))
            }
            Watched::Input | Watched::Share | Watched::Config => (Label::InputDrift, None),
        };
        let effect = if label == Label::InputDrift {
            reading.decomposition.total
        } else {
            reading.decomposition.within.whole
        };
        Some(Event {
            at_ms,
            alarm_at_ms: case.alarm.at_ms,
            onset_ms,
            watched: case.watched.clone(),
            label,
            all: reading.all,
            severity: Severity::of(effect),
            effect,
            grounds: Some(Grounds {
                decomposition: reading.decomposition,
                input_separated,
                low_confidence: pairs.as_ref().is_some_and(|pairs| !pairs.decided()),
                pairs,
                burst_images: settings.burst_images - case.burst_left,
            }),
        })
    }

    pub(crate) fn tell_policy(&self, at_ms: i64, view: &View<'_>) -> Option<Event> {
        let since_ms = self.policy?.since_ms;
        let (reading, input_separated) = self.reading(since_ms, view)?;
        let label = reading.label();
        let effect = reading.decomposition.policy.whole;
        Some(Event {
            at_ms,
            alarm_at_ms: at_ms,
            onset_ms: since_ms,
            watched: Watched::Config,
            label,
            all: reading.all,
            severity: Severity::of(effect),
            effect,
            grounds: Some(Grounds {
                decomposition: reading.decomposition,
                input_separated,
                pairs: None,
                low_confidence: false,
                burst_images: 0,
            }),
        })
    }

    /// The change from the baseline to what was seen since a moment, and whether bins were told
    /// apart in it.
    fn reading(&self, since_ms: i64, view: &View<'_>) -> Option<(Reading, bool)> {
        let mut served = Counts::new();
        let mut evidence = Seen::new();
        for row in view.recent.rows_since(since_ms) {
            let judge = view.judges.name(row.judge).to_owned();
            if row.route.evidence() {
                evidence.entry((row.bin, judge.clone())).or_default().count(row.reject);
            }
            if row.route.served() {
                let config = view.configs.name(row.config).to_owned();
                let cell = Cell { bin: row.bin, judge, config };
                served.entry(cell).or_default().count(row.reject);
            }
        }
        let before = &self.baseline;
        let separated = separable(&before.served, &served);
        let (then, now) = if separated {
            (before.served.clone(), served)
        } else {
            (pooled(&before.served), pooled(&served))
        };
        let then = Window { served: &then, evidence: &before.evidence };
        let now = Window { served: &now, evidence: &evidence };
        Some((read(then, now, before.over_dispersion)?, separated))
    }

    /// The paired test of one judge against the others.
    fn weigh(
        &self,
        judge: &str,
        since_ms: i64,
        reading: &Reading,
        view: &View<'_>,
    ) -> PairedEvidence {
        let nothing = BTreeMap::new();
        let before = self.baseline.pairs.get(judge).unwrap_or(&nothing);
        let Some(shift) = reading.shifts.get(judge) else { return PairedEvidence::default() };
        let mut after: BTreeMap<String, Pairs> = BTreeMap::new();
        for pair in view.recent.pairs_since(since_ms) {
            let ([a, b], [a_rejects, b_rejects]) = (pair.judges, pair.rejects);
            let (a, b) = (view.judges.name(a), view.judges.name(b));
            if a == judge {
                after.entry(b.to_owned()).or_default().count(a_rejects, b_rejects);
            } else if b == judge {
                after.entry(a.to_owned()).or_default().count(b_rejects, a_rejects);
            }
        }
        let moved = shift.after.rate() - shift.before.rate();
        attribute_pairs(before, &after, SHRINK * moved)
    }
}

/// Days of evidence at which a detector alarms: the budget, shared out among all of them.
fn threshold_days(baseline: &Baseline, settings: Settings) -> f64 {
    let watched =
        |(judge, tally): &(&String, &Tally)| WATCHED_FROM <= tally.n && !is_hedge_stratum(judge);
    let detectors = baseline.rates.iter().filter(watched).count() as u64 + 2;
    30.0 * real(detectors) / settings.false_alarms_per_30_days
}
