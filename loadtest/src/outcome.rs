//! An outcome is what one run measured: facts of the rig, and per scenario figures and a timeline.
//!
//! It is plain data with its units in the names, written once by the rig and read by every form of
//! the report, so that a merged report of several parts is made of the same numbers as each part.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;

/// The version of this form; a reader refuses another.
pub const FORMAT: u32 = 1;

/// The figure that says whether a target worked before anything went wrong.
pub const WELL_BEFORE: &str = "healthy_verdict_share";

/// The target that the rig builds and starts itself: only of it is it known how it reads answers.
pub const OWN_GATE: &str = "vlmgate";

/// Everything that one `loadtest run` measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// [`FORMAT`].
    pub format: u32,
    /// Where and how it was measured.
    pub rig: RigFacts,
    /// One entry a scenario and seed, in the order in which they ran.
    pub scenarios: Vec<ScenarioRun>,
}

/// Where and how a run was measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RigFacts {
    /// When the run began, seconds since 1970-01-01 UTC.
    pub started_unix_s: u64,
    /// How long all of it took.
    pub took_s: f64,
    /// What was driven: `vlmgate`, `vlmgate=URL`, `openai-chat=URL`, `naive`, …
    pub target: String,
    /// Cores that the machine has.
    pub cores: u32,
    /// Which cores each process was held to (`gate: 0-1`); empty: none was.
    pub pinned: BTreeMap<String, String>,
    /// Seeds that were run.
    pub seeds: Vec<u64>,
    /// Arrivals per second, where a scenario does not say otherwise.
    pub rate_per_s: f64,
    /// The policy's deadline, where a scenario does not say otherwise.
    pub deadline_ms: u64,
    /// The short form: shorter phases, fewer scenarios.
    pub short: bool,
    /// What was to be run, by scenario and seed; empty in files of before it was written.
    #[serde(default)]
    pub planned: Vec<(String, u64)>,
    /// Versions by name: `loadtest`, `vlmgate` (with the digest of its file), `kernel`.
    pub versions: BTreeMap<String, String>,
    /// What the judges were told of the images: sizes, how many, what is distinct.
    pub images: String,
    /// Cores' worth of CPU time that work of others took meanwhile, in the scenario where it took most.
    #[serde(default)]
    pub other_cores: f64,
    /// What a reader must know besides.
    pub notes: Vec<String>,
}

/// One scenario under one seed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ScenarioRun {
    /// `S2`.
    pub id: String,
    /// What happens, in a few words.
    pub title: String,
    /// What was driven: the scenario's own target or the command line's. None stands for the run's
    /// in files of before it was always written.
    pub target: Option<String>,
    /// What arrivals, images and the providers' chances hang on.
    pub seed: u64,
    /// Whether this is the short form.
    #[serde(default)]
    pub short: bool,
    /// Arrivals per second that were offered outside of a surge.
    pub rate_per_s: f64,
    /// The deadline that answers are held to.
    pub deadline_ms: u64,
    /// Whether a gate that the rig started read the judges' answers as they came.
    pub streamed: bool,
    /// The parts of the run, in order; seconds since its first arrival.
    pub phases: Vec<Phase>,
    /// What was switched and when.
    pub switches: Vec<Switch>,
    /// What was measured, and whether it holds.
    pub figures: Vec<Figure>,
    /// One entry a second.
    pub timeline: Vec<Second>,
    /// Who judged what, and what the others would have said.
    pub attribution: Vec<Attribution>,
    /// Ids of figures that must be missed: this is a negative control.
    pub expected_to_fail: Vec<String>,
    /// Ids of figures that a control may miss besides: what follows from the others.
    #[serde(default)]
    pub may_fail: Vec<String>,
    /// What the processes used, by name (`gate`, `providers`, `rig`).
    pub processes: BTreeMap<String, ProcessUse>,
    /// Cores' worth of CPU time that the machine gave to anything else, where that is known.
    #[serde(default)]
    pub other_cores: Option<f64>,
    /// How well the rig kept its own times.
    pub punctuality: Punctuality,
    /// Why the scenario could not be carried through, if so.
    pub broken: Option<String>,
    /// What a reader must know besides.
    pub notes: Vec<String>,
}

/// A part of a scenario.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    /// `warm_up`, `healthy`, `fault` or `recovery`.
    pub name: String,
    /// Seconds since the first arrival.
    pub start_s: f64,
    /// Seconds since the first arrival.
    pub end_s: f64,
}

/// A change of a provider, or a blow to the gate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Switch {
    /// Seconds since the first arrival.
    pub at_s: f64,
    /// `a`, `b`, `c` or `gate`.
    pub on: String,
    /// What it is from now on: `blackhole`, `healthy`, `SIGTERM`.
    pub says: String,
}

/// A number that was measured, and the line it is held to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// `F1` … `F6`, `p95`, `onset_p95`, `recovery`, …
    pub id: String,
    /// What it is, in words.
    pub says: String,
    /// The number; none where it could not be measured.
    pub value: Option<f64>,
    /// What the number counts.
    pub unit: Unit,
    /// The line; none: only stated.
    pub limit: Option<Limit>,
    /// Whether it holds.
    pub verdict: FigureVerdict,
    /// The clairvoyant lower bound of the simulation, in the figure's unit.
    pub oracle: Option<f64>,
    /// What the simulation of this design gave, in the figure's unit.
    pub sim: Option<f64>,
    /// What was published of a generic gateway.
    pub published: Option<String>,
    /// How many observations the number rests on.
    pub n: u64,
}

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// A number of things.
    Count,
    /// 0..1.
    Share,
    /// A number of things for each image.
    PerImage,
    /// Multiples of the healthy p95 of the same run.
    TimesHealthy,
    /// A plain ratio of two like numbers.
    Ratio,
    /// Milliseconds.
    Ms,
    /// Seconds.
    S,
    /// Percentage points.
    Points,
    /// Megabytes (2^20).
    Mb,
    /// A number of things each second.
    PerS,
    /// Cores' worth of CPU time.
    Cores,
}

/// The line that a figure is held to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limit {
    /// Which side of the line is good.
    pub op: Op,
    /// The line, in the figure's unit.
    pub value: f64,
}

/// Which side of a line is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// The value or less.
    AtMost,
    /// The value or more.
    AtLeast,
}

/// Whether a figure holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FigureVerdict {
    /// It is on the good side of its line.
    Met,
    /// It is not, or it could not be measured although it has a line.
    Missed,
    /// Its line makes no sense for this target or length.
    NotApplicable,
    /// It has no line.
    Stated,
}

/// One second of a scenario.
///
/// Latencies and answers stand at the second in which the request was *scheduled*, so that the
/// second in which a fault begins shows what its images met; everything else stands when it was seen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Second {
    /// The second's start, since the first arrival.
    pub at_s: f64,
    /// Requests scheduled in it.
    pub sent: u64,
    /// Of those, answered at all.
    pub answered: u64,
    /// Of those, answered with a judge's verdict.
    pub verdicts: u64,
    /// Of the answered: half were as fast or faster, from the scheduled time.
    pub p50_ms: Option<f64>,
    /// Of the answered.
    pub p95_ms: Option<f64>,
    /// Of the answered.
    pub p99_ms: Option<f64>,
    /// Verdicts by judge.
    pub by_judge: BTreeMap<String, u64>,
    /// Answers by basis.
    pub by_basis: BTreeMap<String, u64>,
    /// Of those, shed.
    pub shed: u64,
    /// Of those, answered after the deadline and 50 ms.
    pub late: u64,
    /// Requests of the rig that were open at the second's end.
    pub in_flight: u64,
    /// What the gate said waits for a place, at its worst scrape in the second.
    pub queued: Option<u64>,
    /// Calls beyond one an image, begun in this second.
    pub extra_calls: i64,
    /// State of each judge's breaker: `closed`, `open`, `half_open`.
    pub breakers: BTreeMap<String, String>,
    /// Calls that each provider received in this second.
    pub calls: BTreeMap<String, u64>,
    /// Calls that were open at each provider at the second's end.
    pub open_calls: BTreeMap<String, u64>,
    /// Memory of the gate.
    pub rss_mb: Option<f64>,
    /// Cores' worth of CPU time that each process used.
    pub cpu_cores: BTreeMap<String, f64>,
}

/// What one judge did to the images it served, and what the others would have said of the same.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Attribution {
    /// `healthy`, `fault` or `recovery`.
    pub phase: String,
    /// The judge.
    pub judge: String,
    /// Verdicts that it gave.
    pub verdicts: u64,
    /// Of those, rejected.
    pub rejected: u64,
    /// Of the same images, how many each judge (itself too) would have rejected.
    pub would_reject: BTreeMap<String, u64>,
}

/// What a process used over a scenario.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProcessUse {
    /// Cores' worth of CPU time, on average.
    pub cpu_cores: f64,
    /// CPU time for each image sent.
    pub cpu_ms_per_image: f64,
    /// The most memory.
    pub rss_max_mb: f64,
}

/// How well the rig kept its own times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Punctuality {
    /// Sent so much after the scheduled time: half of the requests or less.
    pub late_p50_ms: f64,
    /// 99 of 100 requests or less.
    pub late_p99_ms: f64,
    /// The worst.
    pub late_max_ms: f64,
    /// The rig was too late or too busy for its latencies to be the target's.
    pub rig_was_bottleneck: bool,
}

impl ScenarioRun {
    /// Whether everything it was held to holds; for a control, whether it failed as it must.
    #[must_use]
    pub fn passed(&self) -> bool {
        if self.broken.is_some() {
            return false;
        }
        self.wrong().is_empty() && self.expected_to_fail.iter().all(|id| self.has_failed(id))
    }

    /// What was missed and had not to be: of a scenario everything, of a control what does not follow
    /// from its failure, such as a rig that was late, calls that leaked, a target that never was well.
    #[must_use]
    pub fn wrong(&self) -> Vec<&Figure> {
        let may = |figure: &&Figure| {
            self.expected_to_fail.contains(&figure.id)
                || (self.is_control() && self.may_fail.contains(&figure.id))
        };
        let missed = self.figures.iter().filter(|one| one.verdict == FigureVerdict::Missed);
        missed.filter(|figure| !may(figure)).collect()
    }

    /// Whether a figure was missed for all to see: what could not be measured shows nothing of the rig's
    /// eyes.
    fn has_failed(&self, id: &str) -> bool {
        self.figures.iter().any(|one| {
            let is_seen = one.value.is_some() && one.n != 0;
            one.id == id && one.verdict == FigureVerdict::Missed && is_seen
        })
    }

    /// Whether it is there to show that the rig can see a failure.
    #[must_use]
    pub fn is_control(&self) -> bool {
        !self.expected_to_fail.is_empty()
    }
}

impl Run {
    /// Whether every scenario passed.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.scenarios.iter().all(ScenarioRun::passed)
    }
}

impl Limit {
    /// At most this.
    #[must_use]
    pub const fn at_most(value: f64) -> Self {
        Self { op: Op::AtMost, value }
    }

    /// At least this.
    #[must_use]
    pub const fn at_least(value: f64) -> Self {
        Self { op: Op::AtLeast, value }
    }

    /// Whether a value is on the good side; what could not be measured is not.
    #[must_use]
    pub fn judge(self, value: Option<f64>) -> FigureVerdict {
        let holds = value.is_some_and(|value| match self.op {
            Op::AtMost => value <= self.value,
            Op::AtLeast => self.value <= value,
        });
        if holds { FigureVerdict::Met } else { FigureVerdict::Missed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(id: &str, verdict: FigureVerdict) -> Figure {
        Figure {
            id: id.to_owned(),
            says: String::new(),
            value: Some(0.5),
            unit: Unit::Count,
            limit: None,
            verdict,
            oracle: None,
            sim: None,
            published: None,
            n: 1,
        }
    }

    #[test]
    fn what_was_not_measured_is_on_neither_good_side() {
        assert_eq!(Limit::at_most(1.0).judge(None), FigureVerdict::Missed);
        assert_eq!(Limit::at_least(0.0).judge(None), FigureVerdict::Missed);
        assert_eq!(Limit::at_most(1.0).judge(Some(1.0)), FigureVerdict::Met);
        assert_eq!(Limit::at_least(1.0).judge(Some(0.9)), FigureVerdict::Missed);
        assert_eq!(Limit::at_most(1.0).judge(Some(f64::NAN)), FigureVerdict::Missed);
    }

    #[test]
    fn a_control_passes_only_when_all_its_figures_fail() {
        let (met, missed) = (FigureVerdict::Met, FigureVerdict::Missed);
        let mut control = ScenarioRun {
            figures: vec![figure("verdict_share", missed), figure("queue", met)],
            expected_to_fail: vec!["verdict_share".to_owned()],
            ..ScenarioRun::default()
        };
        assert!(control.passed());
        control.expected_to_fail.push("queue".to_owned());
        assert!(!control.passed());
        control.expected_to_fail.clear();
        assert!(!control.passed(), "as a scenario it misses a figure");
        control.figures.remove(0);
        assert!(control.passed());
        control.broken = Some("the gate did not start".to_owned());
        assert!(!control.passed());
    }

    #[test]
    fn a_control_whose_target_never_worked_or_was_not_measured_shows_nothing() {
        let (met, missed) = (FigureVerdict::Met, FigureVerdict::Missed);
        let control = |figures: [Figure; 2]| ScenarioRun {
            figures: figures.into(),
            expected_to_fail: vec!["verdict_share".to_owned()],
            ..ScenarioRun::default()
        };
        let share = || figure("verdict_share", missed);
        assert!(control([share(), figure(WELL_BEFORE, met)]).passed());
        assert!(!control([share(), figure(WELL_BEFORE, missed)]).passed());
        let unmeasured = Figure { value: None, ..share() };
        assert!(!control([unmeasured, figure(WELL_BEFORE, met)]).passed());
        let of_nothing = Figure { n: 0, ..share() };
        assert!(!control([of_nothing, figure(WELL_BEFORE, met)]).passed());
    }

    #[test]
    fn a_control_failed_as_it_must_although_the_rig_was_late_or_calls_leaked() {
        let (met, missed) = (FigureVerdict::Met, FigureVerdict::Missed);
        let mut control = ScenarioRun {
            figures: vec![figure("verdict_share", missed), figure("F1", missed)],
            expected_to_fail: vec!["verdict_share".to_owned()],
            may_fail: vec!["F1".to_owned()],
            ..ScenarioRun::default()
        };
        assert!(control.passed(), "late answers follow");
        for gate in ["F2", "F4", "rig_late_p99_ms", "still_judged"] {
            control.figures.push(figure(gate, met));
            assert!(control.passed());
            control.figures.push(figure(gate, missed));
            assert!(!control.passed(), "{gate}");
            assert_eq!(control.wrong().len(), 1);
            control.figures.truncate(2);
        }
        control.expected_to_fail.clear();
        assert!(!control.passed(), "nothing may fail in what is no control");
    }

    #[test]
    fn a_run_survives_its_file() {
        let mut scenario = ScenarioRun { id: "S2".to_owned(), ..ScenarioRun::default() };
        scenario.figures.push(Figure {
            value: Some(1.28),
            limit: Some(Limit::at_most(1.35)),
            ..figure("p95", FigureVerdict::Met)
        });
        scenario.timeline.push(Second { p95_ms: Some(900.5), ..Second::default() });
        let run = Run { format: FORMAT, rig: RigFacts::default(), scenarios: vec![scenario] };
        let text = serde_json::to_string(&run).unwrap();
        assert_eq!(serde_json::from_str::<Run>(&text).unwrap(), run);
        assert!(text.contains(r#""unit":"count""#) && text.contains(r#""op":"at_most""#));
    }
}
