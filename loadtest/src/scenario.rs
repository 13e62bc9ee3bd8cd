//! A scenario is a load, a timeline of faults and the figures that it is held to, read from a file.
//!
//! It is data, so that a user can write one for an outage of their own, and so that the short form,
//! another rate or another deadline change the numbers and not the story.

pub(crate) mod yaml;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::behaviour::Behaviour;
use crate::outcome::Limit;
use crate::outcome::Op;

/// What is done, what goes wrong, and what must hold.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// `S2`.
    pub id: String,
    /// What happens, in a few words.
    pub title: String,
    /// Who is driven, where it is not what the command line says (controls).
    #[serde(default)]
    pub target: Option<String>,
    /// Arrivals per second; without it the command line's.
    #[serde(default)]
    pub rate: Option<f64>,
    /// Arrivals in the fault phase as a multiple of the rate.
    #[serde(default = "one")]
    pub surge: f64,
    /// From when to when in the warm-up the same surge comes for a first time, seconds: the target
    /// has known one when it is healthy.
    #[serde(default)]
    pub first_surge: Option<(f64, f64)>,
    /// How arrivals are spread.
    #[serde(default)]
    pub arrivals: Spread,
    /// Send the next only when one of so many callers is free: what an open loop is not.
    #[serde(default)]
    pub closed_loop: Option<u32>,
    /// The policy's deadline; without it the command line's.
    #[serde(default)]
    pub deadline_ms: Option<u64>,
    /// Whether the gate reads answers as they come.
    #[serde(default = "yes")]
    pub streamed: bool,
    /// Whether each judge has the line at which it rejects as many images as the primary; without it
    /// one line is held against all of them.
    #[serde(default = "yes")]
    pub calibrated: bool,
    /// Who is on the route, in order.
    #[serde(default = "all_judges")]
    pub judges: Vec<String>,
    /// Calls that each provider works on at once, as a multiple of the rate; unnamed: no bound.
    #[serde(default)]
    pub slots: BTreeMap<String, f64>,
    /// How long each part takes.
    #[serde(default)]
    pub seconds: Seconds,
    /// How long each part takes in the short form; without it the scenario is left out there.
    #[serde(default)]
    pub short_seconds: Option<Seconds>,
    /// What goes wrong, and when.
    #[serde(default)]
    pub faults: Vec<FaultEntry>,
    /// What callers do besides waiting.
    #[serde(default)]
    pub callers: Callers,
    /// What is done to the gate itself.
    #[serde(default)]
    pub blow: Option<Blow>,
    /// What the gate does with the pixels.
    #[serde(default)]
    pub policy: PolicyKind,
    /// The lines that figures are held to.
    #[serde(default)]
    pub targets: Vec<TargetLine>,
    /// Figures that must be missed: a negative control.
    #[serde(default)]
    pub expected_to_fail: Vec<String>,
    /// Figures that a control may miss besides, because that follows from what it must miss.
    #[serde(default)]
    pub may_fail: Vec<String>,
}

const fn one() -> f64 {
    1.0
}

const fn yes() -> bool {
    true
}

fn all_judges() -> Vec<String> {
    PROVIDERS.map(str::to_owned).to_vec()
}

/// The simulated providers, and the judges that stand before them.
pub const PROVIDERS: [&str; 3] = ["a", "b", "c"];

/// How arrivals are spread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spread {
    /// Each at its own time: callers that do not know of each other.
    #[default]
    Poisson,
    /// Evenly.
    Constant,
}

/// How long each part takes, seconds.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seconds {
    /// Not measured: the gate learns its judges.
    pub warm_up: f64,
    /// What the fault is compared with.
    pub healthy: f64,
    /// While things go wrong.
    pub fault: f64,
    /// After they were mended.
    pub recovery: f64,
}

impl Default for Seconds {
    fn default() -> Self {
        Self { warm_up: 15.0, healthy: 15.0, fault: 40.0, recovery: 30.0 }
    }
}

impl Seconds {
    /// When the fault begins, since the first arrival.
    #[must_use]
    pub fn fault_at_s(&self) -> f64 {
        self.warm_up + self.healthy
    }

    /// When the fault is mended.
    #[must_use]
    pub fn mended_at_s(&self) -> f64 {
        self.fault_at_s() + self.fault
    }

    /// When the last arrival may come.
    #[must_use]
    pub fn end_s(&self) -> f64 {
        self.mended_at_s() + self.recovery
    }

    /// Name, start and end of each part that takes time.
    #[must_use]
    pub fn parts(&self) -> Vec<(&'static str, f64, f64)> {
        let starts = [
            ("warm_up", 0.0, self.warm_up),
            ("healthy", self.warm_up, self.fault_at_s()),
            ("fault", self.fault_at_s(), self.mended_at_s()),
            ("recovery", self.mended_at_s(), self.end_s()),
        ];
        starts.into_iter().filter(|(_, start, end)| start < end).collect()
    }
}

/// Something that goes wrong.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultEntry {
    /// Seconds after the fault phase began; in the short form less, as its phase is shorter.
    #[serde(default)]
    pub at_s: f64,
    /// Mended after so long, in the short form likewise; without it at the end of the phase.
    #[serde(default)]
    pub for_s: Option<f64>,
    /// Which providers.
    pub on: Vec<String>,
    /// What is different from the healthy behaviour, as a part of a [`Behaviour`].
    pub behaviour: Value,
}

impl FaultEntry {
    /// `healthy` with the entry's differences; a text `0.4 x rate` becomes that number.
    ///
    /// # Errors
    /// What came of it is not a behaviour.
    pub fn over(
        &self,
        healthy: &Behaviour,
        rate_per_s: f64,
    ) -> Result<Behaviour, serde_json::Error> {
        let mut whole = serde_json::to_value(healthy)?;
        if let (Value::Object(whole), Value::Object(changes)) = (&mut whole, &self.behaviour) {
            for (key, value) in changes {
                whole.insert(key.clone(), at_rate(value, rate_per_s));
            }
        }
        serde_json::from_value(whole)
    }

    /// The last moment of its span at which it was there.
    #[must_use]
    pub fn last_ill_s(&self, (start_s, end_s): (f64, f64)) -> f64 {
        let healthy = Behaviour::default();
        let Some(flap) = self.over(&healthy, 1.0).ok().and_then(|behaviour| behaviour.flap) else {
            return end_s;
        };
        let [on_s, off_s] =
            [flap.on_ms, flap.off_ms].map(|ms| Duration::from_millis(ms).as_secs_f64());
        let period_s = (on_s + off_s).max(0.001);
        let into_s = (end_s - start_s).rem_euclid(period_s);
        match into_s {
            0.0 => end_s - off_s,
            into_s => end_s - (into_s - on_s).max(0.0),
        }
    }

    /// The faults in a few words.
    #[must_use]
    pub fn says(&self) -> String {
        let text = self.behaviour.to_string();
        text.replace(['"', '{', '}'], "").replace(',', ", ")
    }
}

/// The value with every `N x rate` made a number.
fn at_rate(value: &Value, rate_per_s: f64) -> Value {
    match value {
        Value::String(text) => {
            let times = text.strip_suffix(" x rate").and_then(|times| times.parse::<f64>().ok());
            times.map_or_else(|| value.clone(), |times| Value::from(times * rate_per_s))
        }
        Value::Array(list) => list.iter().map(|one| at_rate(one, rate_per_s)).collect(),
        Value::Object(map) => {
            let entries = map.iter();
            entries.map(|(key, one)| (key.clone(), at_rate(one, rate_per_s))).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

/// What callers do besides waiting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Callers {
    /// The share that hangs up.
    pub cancel_share: f64,
    /// After so long.
    pub cancel_after_ms: u64,
    /// The deadline that they ask for, in the fault phase.
    pub deadline_ms: Option<u64>,
}

/// What is done to the gate itself.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blow {
    /// What it gets.
    pub signal: BlowKind,
    /// Seconds after the fault phase began.
    pub at_s: f64,
}

/// What the gate gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlowKind {
    /// Asked to stop; arrivals end with it.
    Sigterm,
    /// Killed, and started again at once on the same data.
    Sigkill,
}

/// What the gate does with the pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PolicyKind {
    /// One view that fits and no pixel checks: what is measured then is the race.
    #[default]
    PixelFree,
    /// One view of at most 768 px and the cheap checks.
    Realistic,
    /// The views and checks of the policy that ships with the gate.
    Shipped,
}

/// A line that a figure is held to.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetLine {
    /// The id of the figure.
    pub figure: String,
    /// The value or less.
    #[serde(default)]
    pub at_most: Option<f64>,
    /// The value or more.
    #[serde(default)]
    pub at_least: Option<f64>,
    /// The line in the short form, where the full one needs more time or more images.
    #[serde(default)]
    pub short: Option<f64>,
    /// Only stated in the short form, which is too short to hold anybody to it.
    #[serde(default)]
    pub long_only: bool,
    /// What the simulation of this design gave.
    #[serde(default)]
    pub sim: Option<f64>,
    /// What no design can beat.
    #[serde(default)]
    pub oracle: Option<f64>,
    /// What was published of a generic gateway.
    #[serde(default)]
    pub published: Option<String>,
}

impl TargetLine {
    /// The line; the short form may have its own.
    #[must_use]
    pub fn limit(&self, is_short: bool) -> Option<Limit> {
        if is_short && self.long_only {
            return None;
        }
        let (op, value) = match (self.at_most, self.at_least) {
            (Some(value), None) => (Op::AtMost, value),
            (None, Some(value)) => (Op::AtLeast, value),
            (None, None) | (Some(_), Some(_)) => return None,
        };
        Some(Limit { op, value: self.short.filter(|_| is_short).unwrap_or(value) })
    }
}

/// Why scenarios could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// A file or directory cannot be read.
    #[error("{}: {problem}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        problem: io::Error,
    },
    /// A file is not a scenario.
    #[error("{}: {problem}", path.display())]
    Invalid {
        /// Which.
        path: PathBuf,
        /// Why.
        problem: String,
    },
}

impl Scenario {
    /// Reads one scenario.
    ///
    /// # Errors
    /// The text is not YAML, or not a scenario that can be run.
    pub fn parse(text: &str) -> Result<Self, String> {
        let value = yaml::read(text)?;
        let scenario: Self = serde_json::from_value(value).map_err(|why| why.to_string())?;
        scenario.check()?;
        Ok(scenario)
    }

    /// Every scenario of these files, and of the `*.yaml` in these directories, by file name.
    ///
    /// # Errors
    /// One of them cannot be read or is not a scenario.
    pub fn read_all(paths: &[PathBuf]) -> Result<Vec<Self>, ScenarioError> {
        let mut files = Vec::new();
        for path in paths {
            let io = |problem| ScenarioError::Io { path: path.clone(), problem };
            if !path.is_dir() {
                files.push(path.clone());
                continue;
            }
            let mut inside = Vec::new();
            for entry in fs::read_dir(path).map_err(io)? {
                let entry = entry.map_err(io)?.path();
                if entry.extension().is_some_and(|extension| extension == "yaml") {
                    inside.push(entry);
                }
            }
            inside.sort();
            files.append(&mut inside);
        }
        files.iter().map(|path| Self::read(path)).collect()
    }

    fn read(path: &Path) -> Result<Self, ScenarioError> {
        let io = |problem| ScenarioError::Io { path: path.to_owned(), problem };
        let text = fs::read_to_string(path).map_err(io)?;
        let invalid = |problem| ScenarioError::Invalid { path: path.to_owned(), problem };
        Self::parse(&text).map_err(invalid)
    }

    /// The short form, if the scenario has one. Faults at times of their own keep their places in a
    /// phase that is shorter, so that each of them still comes.
    #[must_use]
    pub fn shortened(mut self) -> Option<Self> {
        let short = self.short_seconds?;
        let of_long = short.fault / self.seconds.fault;
        for fault in self.faults.iter_mut().filter(|_| of_long.is_finite()) {
            fault.at_s *= of_long;
            fault.for_s = fault.for_s.map(|for_s| for_s * of_long);
        }
        self.seconds = short;
        Some(self)
    }

    fn check(&self) -> Result<(), String> {
        let is_known = |name: &String| PROVIDERS.contains(&name.as_str());
        let named = self.judges.iter().chain(self.slots.keys());
        let mut named = named.chain(self.faults.iter().flat_map(|fault| &fault.on));
        if let Some(unknown) = named.find(|name| !is_known(name)) {
            return Err(format!("{unknown:?} is not a provider: a, b or c"));
        }
        if self.judges.is_empty() {
            return Err("judges: at least one".to_owned());
        }
        let warm_ups = [Some(self.seconds), self.short_seconds];
        let fits = |(from, to): (f64, f64)| {
            from < to && warm_ups.iter().flatten().all(|seconds| to <= seconds.warm_up)
        };
        if !self.first_surge.is_none_or(fits) {
            return Err("first_surge: from and to, within the warm-up".to_owned());
        }
        for fault in &self.faults {
            let readable = fault.over(&Behaviour::default(), 1.0);
            readable.map_err(|why| format!("a fault on {}: {why}", fault.on.join(", ")))?;
        }
        let mut seen = BTreeSet::new();
        for line in &self.targets {
            if !seen.insert(&line.figure) {
                return Err(format!("target {:?}: stands there twice", line.figure));
            }
            if line.limit(false).is_none() && (line.sim.is_none() && line.oracle.is_none()) {
                let id = &line.figure;
                return Err(format!("target {id:?}: needs either at_most or at_least"));
            }
        }
        self.check_spans()
    }

    /// One fault's mending would also mend another of the same provider that still lasts.
    fn check_spans(&self) -> Result<(), String> {
        let span = |fault: &FaultEntry| {
            let until_s = fault.for_s.map_or(f64::INFINITY, |for_s| fault.at_s + for_s);
            (fault.at_s, until_s)
        };
        for (n, one) in self.faults.iter().enumerate() {
            for other in self.faults.iter().skip(n + 1) {
                let shared = one.on.iter().find(|name| other.on.contains(name));
                let ((from, until), (other_from, other_until)) = (span(one), span(other));
                if let Some(name) = shared
                    && from < other_until
                    && other_from < until
                {
                    return Err(format!("two faults on {name} at one time: `also` joins them"));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
