//! One run of one scenario: everything is started, everything is stopped, and what was seen is kept.

mod aftermath;
mod conduct;

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::fs::File;
use std::io::BufWriter;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tempfile::TempDir;
use tokio::sync::watch;

use crate::arrivals::arrivals;
use crate::evidence::Evidence;
use crate::evidence::Subject;
use crate::figures::RIG_LATE_AT_MOST_MS;
use crate::figures::attribution;
use crate::figures::figures;
use crate::gallery::Gallery;
use crate::outcome::OWN_GATE;
use crate::outcome::Phase;
use crate::outcome::Punctuality;
use crate::outcome::ScenarioRun;
use crate::quantile::quantile;
use crate::rig::DirectKind;
use crate::rig::RigError;
use crate::rig::RunClock;
use crate::rig::calibration::Calibration;
use crate::rig::direct::Direct;
use crate::rig::drive::Drive;
use crate::rig::gate::Gate;
use crate::rig::gate::Start;
use crate::rig::policy::Files;
use crate::rig::providers::Host;
use crate::rig::providers::Ports;
use crate::rig::providers::at;
use crate::rig::providers::healthy;
use crate::rig::providers::judges;
use crate::rig::run::aftermath::Gone;
use crate::rig::run::conduct::Conductor;
use crate::rig::run::conduct::Seen;
use crate::rig::target::Credentials;
use crate::rig::target::Target;
use crate::rig::watch::Watch;
use crate::sample::Sample;
use crate::scenario::Scenario;
use crate::timeline::timeline;
use crate::web::Web;

/// What is driven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TargetKind {
    /// A gate that the rig starts.
    Gate,
    /// A gate that runs already.
    GateAt(String),
    /// A gateway that runs already.
    OpenAiChat(String),
    /// A client of the rig's own.
    Direct(DirectKind),
}

/// What is the same for every scenario of a run.
pub(crate) struct World {
    pub(crate) target: TargetKind,
    pub(crate) binary: Option<PathBuf>,
    pub(crate) rate_per_s: f64,
    pub(crate) deadline_ms: u64,
    pub(crate) is_short: bool,
    /// The cores of each process, by its name.
    pub(crate) pinned: BTreeMap<String, String>,
    pub(crate) web: Web,
    /// Where what was seen goes, a line for each request and each call.
    pub(crate) out: PathBuf,
    /// The images, the same for all seeds of a run.
    pub(crate) gallery: Gallery,
    /// Where the providers listen in every scenario; none: on any free ports.
    pub(crate) ports: Option<Ports>,
    /// Where pass begins for each judge.
    pub(crate) calibration: Calibration,
    /// The place of each of the gallery's images by the digest of its file.
    pub(crate) pictures: Arc<HashMap<String, usize>>,
    /// What a gateway is told.
    pub(crate) who: Credentials,
}

/// Healthy latencies of the scenarios so far: what multiples are taken of.
#[derive(Debug, Default)]
pub(crate) struct Baseline {
    streamed_ms: Vec<f64>,
    plain_ms: Vec<f64>,
}

impl Baseline {
    /// Whether the healthy latencies without streaming are known.
    pub(crate) fn knows_plain(&self) -> bool {
        !self.plain_ms.is_empty()
    }

    fn learn(&mut self, evidence: &Evidence) {
        let healthy = evidence.due_in(evidence.healthy()).filter(|one| one.is_answered());
        let known =
            if evidence.scenario.streamed { &mut self.streamed_ms } else { &mut self.plain_ms };
        known.extend(healthy.map(Sample::latency_ms));
    }
}

/// What was seen of a scenario, and what a reader must know besides.
type Measured = (Evidence, Vec<String>);

/// The target of one scenario, running.
struct Driven {
    kind: TargetKind,
    target: Target,
    gate: Option<(Gate, Start)>,
    direct: Option<Arc<Direct>>,
    /// Holds the gate's files until the end.
    _folder: Option<TempDir>,
}

impl World {
    /// Runs a scenario; what goes wrong with the rig itself is told in its place.
    pub(crate) async fn run(
        &self,
        scenario: Scenario,
        seed: u64,
        baseline: &mut Baseline,
    ) -> ScenarioRun {
        let scenario = self.as_read(scenario);
        let named = self.named(&scenario, seed);
        let measured = Box::pin(self.measure(scenario, seed, baseline)).await;
        self.concluded(named, measured)
    }

    /// The scenario as its target reads answers: how anybody but a gate of the rig's own reads them is
    /// not the rig's to say, and they are held to their own healthy times.
    fn as_read(&self, scenario: Scenario) -> Scenario {
        let is_own_gate = matches!(self.kind_of(&scenario), Ok(TargetKind::Gate));
        Scenario { streamed: scenario.streamed && is_own_gate, ..scenario }
    }

    fn named(&self, scenario: &Scenario, seed: u64) -> ScenarioRun {
        ScenarioRun {
            id: scenario.id.clone(),
            title: scenario.title.clone(),
            target: Some(scenario.target.clone().unwrap_or_else(|| self.target.to_string())),
            seed,
            short: self.is_short,
            rate_per_s: self.rate_of(scenario),
            deadline_ms: scenario.deadline_ms.unwrap_or(self.deadline_ms),
            streamed: scenario.streamed,
            expected_to_fail: scenario.expected_to_fail.clone(),
            may_fail: scenario.may_fail.clone(),
            ..ScenarioRun::default()
        }
    }

    /// What a measurement comes to. Where the providers were never asked nothing was tested, whatever
    /// the answers looked like.
    fn concluded(&self, named: ScenarioRun, measured: Result<Measured, RigError>) -> ScenarioRun {
        match measured {
            Ok((evidence, mut notes)) => {
                if let Err(problem) = self.keep(&named, &evidence) {
                    notes.push(problem.to_string());
                }
                let broken = evidence.calls.is_empty().then(|| self.never_asked());
                ScenarioRun { broken, ..outcome(named, &evidence, notes) }
            }
            Err(problem) => ScenarioRun { broken: Some(problem.to_string()), ..named },
        }
    }

    fn never_asked(&self) -> String {
        let told = "the providers logged not a single call: the target does not ask them";
        let Some(ports) = self.ports else { return told.to_owned() };
        let urls: Vec<String> = at(ports).into_iter().map(|one| one.base_url).collect();
        format!("{told} (they were at {})", urls.join(", "))
    }

    pub(crate) fn kind_of(&self, scenario: &Scenario) -> Result<TargetKind, RigError> {
        scenario.target.as_deref().map_or_else(|| Ok(self.target.clone()), str::parse)
    }

    /// Leaves every request and every call of the scenario in the folder, for who wants to look
    /// behind a figure.
    fn keep(&self, run: &ScenarioRun, evidence: &Evidence) -> Result<(), RigError> {
        let beside = run.target.as_deref().filter(|target| *target != self.target.to_string());
        let beside = beside.map_or_else(String::new, |target| format!("-{}", file_name(target)));
        let name = format!("{}{beside}-{}", run.id, run.seed);
        self.keep_lines(&format!("{name}-answers.ndjson"), &evidence.samples)?;
        self.keep_lines(&format!("{name}-calls.ndjson"), &evidence.calls)
    }

    fn keep_lines<T: Serialize>(&self, name: &str, lines: &[T]) -> Result<(), RigError> {
        let path = self.out.join(name);
        let io = |why| RigError::io(path.display().to_string())(why);
        fs::create_dir_all(&self.out).map_err(io)?;
        let mut file = BufWriter::new(File::create(&path).map_err(io)?);
        for line in lines {
            serde_json::to_writer(&mut file, line).map_err(|why| io(why.into()))?;
            file.write_all(b"\n").map_err(io)?;
        }
        file.flush().map_err(io)
    }

    fn rate_of(&self, scenario: &Scenario) -> f64 {
        scenario.rate.unwrap_or(self.rate_per_s)
    }

    async fn measure(
        &self,
        scenario: Scenario,
        seed: u64,
        baseline: &mut Baseline,
    ) -> Result<Measured, RigError> {
        let cores = self.pinned.get("providers").map(String::as_str);
        let rate_per_s = self.rate_of(&scenario);
        let host = Host::start(&scenario, rate_per_s, seed, cores, self.ports).await?;
        let measured = Box::pin(self.measure_with(&host, scenario, seed, baseline)).await;
        // also when it failed: the next scenario's providers may need the same ports
        let stopped = host.stop().await;
        measured.and_then(|measured| stopped.map(|()| measured))
    }

    async fn measure_with(
        &self,
        host: &Host,
        scenario: Scenario,
        seed: u64,
        baseline: &mut Baseline,
    ) -> Result<Measured, RigError> {
        let rate_per_s = self.rate_of(&scenario);
        let deadline_ms = scenario.deadline_ms.unwrap_or(self.deadline_ms);
        let mut driven = self.start(&scenario, host, deadline_ms).await?;
        let subject = driven.kind.subject();
        // one that runs already has the lines that were announced, whatever the scenario says
        let is_calibrated = scenario.calibrated || subject == Subject::GateElsewhere;
        let lines = self.calibration.lines(is_calibrated);
        let is_own = matches!(driven.kind, TargetKind::Gate | TargetKind::Direct(_));
        let clock = RunClock::starting();
        let (halt, halted) = watch::channel(false);
        let drive = Drive {
            scenario: &scenario,
            clock,
            due: arrivals(&scenario, rate_per_s, seed),
            gallery: &self.gallery,
            target: driven.target.clone(),
            seed,
            halted,
        };
        let conductor = Conductor::new(&scenario, host, clock, rate_per_s, halt);
        let watch = Watch::new(clock, self.web.clone());
        let (samples, seen) = conductor.conduct(drive, &mut driven, watch, &self.web).await?;
        let Seen { ticks, ledger, switches, stop, blow, usage, other_cores } = seen;
        let samples = aftermath::blame(samples, Gone::of(blow, stop));
        let leaked = aftermath::leaked(host).await?;
        let mut notes = aftermath::reservations(subject, &scenario);
        let lookups = aftermath::lookups(&driven, &scenario, &samples, &self.web, &mut notes).await;
        let ended_well = aftermath::stop_gate(&mut driven, &mut notes).await?;
        let calls = ledger.close(host).await?;
        let mut evidence = Evidence {
            subject,
            rate_per_s,
            deadline_ms,
            is_short: self.is_short,
            samples,
            pictures: Arc::clone(&self.pictures),
            calls,
            ticks,
            switches,
            leaked: Some(leaked),
            judges: judges(),
            lines: if subject.is_gate() { lines } else { BTreeMap::new() },
            stop,
            ended_well,
            up_again_s: blow.map(|(_, up_at_s)| up_at_s),
            lookups,
            processes: usage,
            // what the rig did not start it cannot tell from other work
            other_cores: other_cores.filter(|_| is_own),
            alone_p99_ms: is_own.then(|| alone_p99_ms(&scenario, rate_per_s)).flatten(),
            healthy_streamed_ms: Vec::new(),
            healthy_plain_ms: Vec::new(),
            scenario,
        };
        if subject.is_gate() {
            baseline.learn(&evidence);
            evidence.healthy_streamed_ms.clone_from(&baseline.streamed_ms);
            evidence.healthy_plain_ms.clone_from(&baseline.plain_ms);
        } else {
            let mut own = Baseline::default();
            own.learn(&evidence);
            (evidence.healthy_streamed_ms, evidence.healthy_plain_ms) =
                (own.streamed_ms, own.plain_ms);
        }
        Ok((evidence, notes))
    }

    /// Starts what is driven.
    async fn start(
        &self,
        scenario: &Scenario,
        host: &Host,
        deadline_ms: u64,
    ) -> Result<Driven, RigError> {
        let kind = self.kind_of(scenario)?;
        let web = self.web.clone();
        let mut driven = match kind.clone() {
            TargetKind::GateAt(url) => Driven::of(kind, Target::Gate { web, url }),
            TargetKind::OpenAiChat(url) => {
                let who = self.who.clone();
                Driven::of(kind, Target::OpenAiChat { web, url, who })
            }
            TargetKind::Direct(direct) => {
                let deadline = Duration::from_millis(deadline_ms);
                let client = Arc::new(Direct::new(direct, host.providers(), deadline));
                let driven = Driven::of(kind, Target::Direct(Arc::clone(&client)));
                Driven { direct: Some(client), ..driven }
            }
            TargetKind::Gate => return self.start_gate(scenario, host, deadline_ms).await,
        };
        driven.gate = None;
        Ok(driven)
    }

    async fn start_gate(
        &self,
        scenario: &Scenario,
        host: &Host,
        deadline_ms: u64,
    ) -> Result<Driven, RigError> {
        let Some(binary) = self.binary.clone() else {
            return Err(RigError::Usage("there is no gate to start".to_owned()));
        };
        let temporary = TempDir::with_prefix("vlmgate-loadtest-");
        let folder = temporary.map_err(RigError::io("a folder for the gate's files"))?;
        let providers = host.providers();
        let path = folder.path().to_path_buf();
        let files = Files {
            scenario,
            providers: &providers,
            deadline_ms,
            lines: &self.calibration.lines(scenario.calibrated),
            folder: path.display().to_string(),
        };
        files.write()?;
        let mut start = Start {
            binary,
            folder: path,
            cores: self.pinned.get("gate").cloned(),
            listen: "127.0.0.1:0".to_owned(),
        };
        let gate = Gate::start(&start, &self.web).await?;
        // started again it listens where it did
        start.listen = gate.url.trim_start_matches("http://").to_owned();
        let target = Target::Gate { web: Web::new(), url: gate.url.clone() };
        let driven = Driven::of(TargetKind::Gate, target);
        Ok(Driven { gate: Some((gate, start)), _folder: Some(folder), ..driven })
    }
}

impl Driven {
    fn of(kind: TargetKind, target: Target) -> Self {
        Self { kind, target, gate: None, direct: None, _folder: None }
    }

    /// Where the gate's metrics are.
    fn url(&self) -> Option<String> {
        match &self.kind {
            TargetKind::Gate => self.gate.as_ref().map(|(gate, _)| gate.url.clone()),
            TargetKind::GateAt(url) => Some(url.clone()),
            TargetKind::OpenAiChat(_) | TargetKind::Direct(_) => None,
        }
    }
}

impl TargetKind {
    /// Whether it runs already, and must have been pointed at the providers by whoever started it.
    pub(crate) const fn runs_already(&self) -> bool {
        matches!(self.subject(), Subject::GateElsewhere | Subject::Gateway)
    }

    const fn subject(&self) -> Subject {
        match self {
            Self::Gate => Subject::OwnGate,
            Self::GateAt(_) => Subject::GateElsewhere,
            Self::OpenAiChat(_) => Subject::Gateway,
            Self::Direct(_) => Subject::Client,
        }
    }
}

impl fmt::Display for TargetKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gate => f.write_str(OWN_GATE),
            Self::GateAt(url) => write!(f, "vlmgate={url}"),
            Self::OpenAiChat(url) => write!(f, "openai-chat={url}"),
            Self::Direct(kind) => f.write_str(kind.label()),
        }
    }
}

impl std::str::FromStr for TargetKind {
    type Err = RigError;

    fn from_str(text: &str) -> Result<Self, RigError> {
        let url = |url: &str| {
            let url = url.trim_end_matches('/');
            let is_plain = url.starts_with("http://");
            let told = "the rig speaks plain HTTP: http://HOST:PORT, for TLS by way of a proxy";
            is_plain
                .then(|| url.to_owned())
                .ok_or_else(|| RigError::Usage(format!("{text:?}: {told}")))
        };
        match text.split_once('=') {
            Some(("vlmgate", at)) => Ok(Self::GateAt(url(at)?)),
            Some(("openai-chat", at)) => Ok(Self::OpenAiChat(url(at)?)),
            None if text == OWN_GATE => Ok(Self::Gate),
            None | Some(_) => {
                let direct = DirectKind::ALL.into_iter().find(|kind| kind.label() == text);
                direct.map(Self::Direct).ok_or_else(|| {
                    let known = DirectKind::ALL.map(DirectKind::label).join(", ");
                    RigError::Usage(format!(
                        "{text:?} is no target: vlmgate, vlmgate=URL, openai-chat=URL, {known}"
                    ))
                })
            }
        }
    }
}

/// A target as a part of a file's name.
fn file_name(target: &str) -> String {
    target.chars().map(|one| if one.is_ascii_alphanumeric() { one } else { '-' }).collect()
}

/// What 99 of 100 calls to the primary alone take at most, where nothing is wrong all the while.
fn alone_p99_ms(scenario: &Scenario, rate_per_s: f64) -> Option<f64> {
    let primary = scenario.judges.first().filter(|_| scenario.faults.is_empty())?;
    let latency = healthy(primary, scenario, rate_per_s).latency;
    Some(latency.p99(scenario.streamed).as_secs_f64() * 1_000.0)
}

/// What was measured, as it is reported.
fn outcome(named: ScenarioRun, evidence: &Evidence, notes: Vec<String>) -> ScenarioRun {
    let phase =
        |(name, start_s, end_s): (&str, f64, f64)| Phase { name: name.to_owned(), start_s, end_s };
    ScenarioRun {
        phases: evidence.scenario.seconds.parts().into_iter().map(phase).collect(),
        switches: evidence.switches.clone(),
        figures: figures(evidence),
        timeline: timeline(evidence),
        attribution: attribution(evidence),
        processes: evidence.processes.clone(),
        other_cores: evidence.other_cores,
        punctuality: punctuality(evidence),
        notes,
        ..named
    }
}

/// How late the rig itself was; a closed loop is late by its nature.
fn punctuality(evidence: &Evidence) -> Punctuality {
    let late_ms = |one: &Sample| (one.sent_s - one.due_s) * 1_000.0;
    let late: Vec<f64> = evidence.samples.iter().map(late_ms).collect();
    let of = |share: f64| quantile(&late, share).unwrap_or_default();
    let is_open = evidence.scenario.closed_loop.is_none();
    Punctuality {
        late_p50_ms: of(0.5),
        late_p99_ms: of(0.99),
        late_max_ms: of(1.0),
        rig_was_bottleneck: is_open && RIG_LATE_AT_MOST_MS < of(0.99),
    }
}

#[cfg(test)]
mod tests;
