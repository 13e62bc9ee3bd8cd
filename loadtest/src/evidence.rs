//! Evidence is everything that figures are made of: samples, the providers' own calls, and what was
//! seen of the processes from outside.
//!
//! The target's own counters are shown and believed only where nobody else can know.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;

use crate::judging::Judging;
use crate::outcome::ProcessUse;
use crate::outcome::Switch;
use crate::sample::Sample;
use crate::scenario::FaultEntry;
use crate::scenario::Scenario;

/// One run of one scenario, as it was seen.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// What was run, with the numbers it was run with.
    pub scenario: Scenario,
    /// What was driven.
    pub subject: Subject,
    /// Arrivals per second.
    pub rate_per_s: f64,
    /// The deadline that answers are held to.
    pub deadline_ms: u64,
    /// The short form.
    pub is_short: bool,
    /// Every request, by its scheduled time.
    pub samples: Vec<Sample>,
    /// The number of each picture that was sent, by the digest of its file.
    pub pictures: Arc<HashMap<String, usize>>,
    /// Every call that a provider received, by its beginning.
    pub calls: Vec<Call>,
    /// What was seen of the processes, in order.
    pub ticks: Vec<Tick>,
    /// What was switched.
    pub switches: Vec<Switch>,
    /// Calls still open at the providers some seconds after the last answer.
    pub leaked: Option<u64>,
    /// What each judge says of an image.
    pub judges: BTreeMap<String, Judging>,
    /// The lines of each judge: criterion and score.
    pub lines: BTreeMap<String, BTreeMap<String, f64>>,
    /// How the target stopped, where it was told to under load.
    pub stop: Option<Stop>,
    /// Whether a target that the rig started ended with exit code 0 when all was over.
    pub ended_well: bool,
    /// When the target was up again, where it was killed.
    pub up_again_s: Option<f64>,
    /// What was looked up after the run, by figure.
    pub lookups: BTreeMap<String, (f64, u64)>,
    /// What the processes used.
    pub processes: BTreeMap<String, ProcessUse>,
    /// Cores' worth of CPU time that the machine gave to anything else, where that is known.
    pub other_cores: Option<f64>,
    /// What 99 of 100 calls to the primary alone take at most, to where answers leave.
    pub alone_p99_ms: Option<f64>,
    /// Latencies of healthy requests of this run so far, where answers are read as they come.
    pub healthy_streamed_ms: Vec<f64>,
    /// The same where they are not.
    pub healthy_plain_ms: Vec<f64>,
}

/// What was driven, by what it tells of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A gate that the rig started: answers, metrics, records, and the process itself.
    OwnGate,
    /// A gate that ran already: its answers, metrics and records.
    GateElsewhere,
    /// Any gateway: scores, and nothing else.
    Gateway,
    /// A client of the rig's own: who judged by which calls, and who waits for a worker.
    Client,
}

impl Subject {
    /// Whether it is a gate, with a gate's answers and metrics.
    #[must_use]
    pub const fn is_gate(self) -> bool {
        match self {
            Self::OwnGate | Self::GateElsewhere => true,
            Self::Gateway | Self::Client => false,
        }
    }

    /// Whether its answers say who judged, and by which calls.
    #[must_use]
    pub const fn tells_calls(self) -> bool {
        match self {
            Self::OwnGate | Self::GateElsewhere | Self::Client => true,
            Self::Gateway => false,
        }
    }
}

/// One call, as a provider logged it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Call {
    /// `a`, `b` or `c`.
    pub provider: String,
    /// Since the run began.
    pub began_s: f64,
    /// Since the run began; none: open at the end.
    pub ended_s: Option<f64>,
    /// What it is called in the answer.
    pub request_id: Option<String>,
    /// The digest of the image that was shown.
    pub image: Option<String>,
    /// The fault that hit it.
    pub fault: Option<String>,
    /// The status it was answered with.
    pub status: Option<u16>,
    /// `answered`, `hung`, `cancelled_by_client`, …
    pub outcome: String,
    /// The caller was told to stay away for so long.
    pub retry_after_s: Option<f64>,
    /// How long it would have taken undisturbed.
    pub drawn_ms: Option<f64>,
    /// How long of that until its scores were said; all of it where nothing is streamed.
    pub drawn_scores_ms: Option<f64>,
    /// When the last of its scores was sent, since the run began; none: it was not.
    pub scored_s: Option<f64>,
    /// The caller left, and the model worked on for nobody.
    pub answered_after_cancel: bool,
    /// Tokens that a real provider would charge.
    pub billed_tokens: u64,
}

/// What was seen of the processes at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tick {
    /// Since the run began.
    pub at_s: f64,
    /// What waits before the gate; none: it could not be asked.
    pub queued: Option<u64>,
    /// Checks in the gate.
    pub in_flight: Option<u64>,
    /// How often anybody had to wait before the gate, since it began.
    pub waited: Option<u64>,
    /// Panics of the gate, since it began.
    pub panics: Option<u64>,
    /// State of each judge's breaker.
    pub breakers: BTreeMap<String, String>,
    /// Evidence against each judge, as the gate counts it.
    pub breaker_scores: BTreeMap<String, f64>,
    /// How late the event loop was, since the gate began: at most so many seconds, so often.
    pub loop_lags: Vec<(f64, f64)>,
    /// Memory of the gate.
    pub rss_mb: Option<f64>,
    /// Cores' worth of CPU time since the last tick.
    pub cpu_cores: BTreeMap<String, f64>,
    /// Calls open at each provider.
    pub open_calls: BTreeMap<String, u64>,
}

/// How a target stopped.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stop {
    /// When it was told to, since the run began.
    pub told_at_s: f64,
    /// From then to its end; none: it had to be killed.
    pub took_s: Option<f64>,
    /// It ended with exit code 0.
    pub is_clean: bool,
}

/// Requests that were due so shortly before a fault may still be under way when it comes.
const UNDER_WAY_S: f64 = 3.0;

impl Evidence {
    /// The digest of what was shown in each call that its provider's log names, by provider and id.
    #[must_use]
    pub fn images_by_call(&self) -> HashMap<(&str, &str), &str> {
        let logged = self.calls.iter().filter_map(|call| {
            Some(((call.provider.as_str(), call.request_id.as_deref()?), call.image.as_deref()?))
        });
        logged.collect()
    }

    /// The first of the route.
    #[must_use]
    pub fn primary(&self) -> &str {
        self.scenario.judges.first().map_or("", String::as_str)
    }

    /// When each fault of the scenario begins and is mended.
    #[must_use]
    pub fn faults(&self) -> Vec<(f64, f64)> {
        let (start_s, end_s) = self.fault();
        let span = |fault: &FaultEntry| {
            let from_s = start_s + fault.at_s;
            (from_s, fault.for_s.map_or(end_s, |for_s| end_s.min(from_s + for_s)))
        };
        self.scenario.faults.iter().map(span).filter(|(from_s, _)| *from_s < end_s).collect()
    }

    /// When the last of the faults was over: one that comes and goes may be so before it is mended.
    #[must_use]
    pub fn well_again_s(&self) -> f64 {
        let ends = self.scenario.faults.iter().zip(self.faults());
        let ends = ends.map(|(fault, span)| fault.last_ill_s(span));
        ends.reduce(f64::max).unwrap_or_else(|| self.scenario.seconds.mended_at_s())
    }

    /// Start and end of the fault phase.
    #[must_use]
    pub fn fault(&self) -> (f64, f64) {
        (self.scenario.seconds.fault_at_s(), self.scenario.seconds.mended_at_s())
    }

    /// Start and end of what counts as healthy.
    ///
    /// A fault also meets the requests that it finds under way, which belong to neither phase: the
    /// last seconds before it are left out.
    #[must_use]
    pub fn healthy(&self) -> (f64, f64) {
        let is_disturbed = !self.scenario.faults.is_empty() || self.scenario.blow.is_some();
        let margin_s = if is_disturbed { UNDER_WAY_S } else { 0.0 };
        (self.scenario.seconds.warm_up, self.scenario.seconds.fault_at_s() - margin_s)
    }

    /// Requests that were due in this span.
    pub fn due_in(&self, (start_s, end_s): (f64, f64)) -> impl Iterator<Item = &Sample> {
        self.samples.iter().filter(move |one| start_s <= one.due_s && one.due_s < end_s)
    }

    /// Calls that began in this span.
    pub fn called_in(&self, (start_s, end_s): (f64, f64)) -> impl Iterator<Item = &Call> {
        self.calls.iter().filter(move |one| start_s <= one.began_s && one.began_s < end_s)
    }

    /// The healthy p95 that multiples are taken of.
    #[must_use]
    pub fn healthy_p95_ms(&self) -> Option<f64> {
        let own =
            if self.scenario.streamed { &self.healthy_streamed_ms } else { &self.healthy_plain_ms };
        crate::quantile::quantile(own, 0.95)
    }

    /// The healthy p95 without streaming.
    #[must_use]
    pub fn plain_p95_ms(&self) -> Option<f64> {
        crate::quantile::quantile(&self.healthy_plain_ms, 0.95)
    }
}
