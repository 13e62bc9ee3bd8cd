//! One run of one scenario: everything is started, everything is stopped, and what was seen is kept.

mod aftermath;
mod conduct;

use std::collections::BTreeMap;
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
use crate::figures::RIG_LATE_AT_MOST_MS;
use crate::figures::attribution;
use crate::figures::figures;
use crate::gallery::Gallery;
use crate::outcome::Phase;
use crate::outcome::ProcessUse;
use crate::outcome::Punctuality;
use crate::outcome::ScenarioRun;
use crate::quantile::number;
use crate::quantile::quantile;
use crate::rig::DirectKind;
use crate::rig::RigError;
use crate::rig::RunClock;
use crate::rig::calibration::Calibration;
use crate::rig::direct::Direct;
use crate::rig::drive::Drive;
use crate::rig::gate::Gate;
use crate::rig::gate::Start;
use crate::rig::policy::ACCEPT_FOR_S;
use crate::rig::policy::Files;
use crate::rig::providers::Host;
use crate::rig::providers::judges;
use crate::rig::run::aftermath::Gone;
use crate::rig::run::conduct::Conductor;
use crate::rig::run::conduct::Seen;
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
    /// Where pass begins for each judge.
    pub(crate) calibration: Calibration,
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
        let named = ScenarioRun {
            id: scenario.id.clone(),
            title: scenario.title.clone(),
            target: scenario.target.clone(),
            seed,
            rate_per_s: self.rate_of(&scenario),
            deadline_ms: scenario.deadline_ms.unwrap_or(self.deadline_ms),
            streamed: scenario.streamed,
            expected_to_fail: scenario.expected_to_fail.clone(),
            may_fail: scenario.may_fail.clone(),
            ..ScenarioRun::default()
        };
        match Box::pin(self.measure(scenario, seed, baseline)).await {
            Ok((evidence, mut notes)) => {
                if let Err(problem) = self.keep(&named, &evidence) {
                    notes.push(problem.to_string());
                }
                outcome(named, &evidence, notes)
            }
            Err(problem) => ScenarioRun { broken: Some(problem.to_string()), ..named },
        }
    }

    /// Leaves every request and every call of the scenario in the folder, for who wants to look
    /// behind a figure.
    fn keep(&self, run: &ScenarioRun, evidence: &Evidence) -> Result<(), RigError> {
        let name = format!("{}-{}", run.id, run.seed);
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
    ) -> Result<(Evidence, Vec<String>), RigError> {
        let rate_per_s = self.rate_of(&scenario);
        let deadline_ms = scenario.deadline_ms.unwrap_or(self.deadline_ms);
        let host = {
            let cores = self.pinned.get("providers").map(String::as_str);
            Host::start(&scenario, rate_per_s, seed, cores).await?
        };
        let lines = self.calibration.lines(scenario.calibrated);
        let mut driven = self.start(&scenario, &host, deadline_ms).await?;
        let is_vlmgate = matches!(driven.kind, TargetKind::Gate | TargetKind::GateAt(_));
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
        let conductor = Conductor::new(&scenario, &host, clock, rate_per_s, halt);
        let watch = Watch::new(clock, self.web.clone());
        let (samples, seen) = conductor.conduct(drive, &mut driven, watch, &self.web).await?;
        let Seen { ticks, switches, stop, blow, usage } = seen;
        let gone = match (blow, stop) {
            (Some((killed_at_s, up_at_s)), _) => Gone::Between(killed_at_s, up_at_s),
            (None, Some(stop)) => Gone::From(stop.told_at_s + ACCEPT_FOR_S),
            (None, None) => Gone::Never,
        };
        let samples = aftermath::blame(samples, gone);
        let leaked = aftermath::leaked(&host).await?;
        let mut notes = Vec::new();
        let lookups = aftermath::lookups(&driven, &scenario, &samples, &self.web, &mut notes).await;
        aftermath::stop_gate(&mut driven, &mut notes).await?;
        let calls = host.calls(clock).await?;
        host.stop().await?;
        let mut evidence = Evidence {
            rate_per_s,
            deadline_ms,
            is_short: self.is_short,
            samples,
            calls,
            ticks,
            switches,
            leaked: Some(leaked),
            judges: judges(),
            lines: if is_vlmgate { lines } else { BTreeMap::new() },
            stop,
            lookups,
            processes: usage,
            healthy_streamed_ms: Vec::new(),
            healthy_plain_ms: Vec::new(),
            scenario,
        };
        if is_vlmgate {
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
        let kind = match &scenario.target {
            Some(named) => named.parse()?,
            None => self.target.clone(),
        };
        let web = self.web.clone();
        let mut driven = match kind.clone() {
            TargetKind::GateAt(url) => Driven::of(kind, Target::Gate { web, url }),
            TargetKind::OpenAiChat(url) => Driven::of(kind, Target::OpenAiChat { web, url }),
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
        let policies = path.join("policies");
        fs::create_dir_all(&policies).map_err(RigError::io(policies.display().to_string()))?;
        for (file, text) in [
            (path.join("vlmgate.yaml"), files.service()),
            (policies.join("rig.yaml"), files.policy()),
        ] {
            fs::write(&file, text).map_err(RigError::io(file.display().to_string()))?;
        }
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

impl std::str::FromStr for TargetKind {
    type Err = RigError;

    fn from_str(text: &str) -> Result<Self, RigError> {
        let url = |url: &str| url.trim_end_matches('/').to_owned();
        match text.split_once('=') {
            Some(("vlmgate", at)) => Ok(Self::GateAt(url(at))),
            Some(("openai-chat", at)) => Ok(Self::OpenAiChat(url(at))),
            None if text == "vlmgate" => Ok(Self::Gate),
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

/// What each process used, from what the watch saw first and last.
fn processes(watch: &Watch, took_s: f64, images: usize) -> BTreeMap<String, ProcessUse> {
    let mut processes = BTreeMap::new();
    for (name, last) in &watch.last {
        let first_s = watch.first.get(name).copied().unwrap_or_default();
        let cpu_s = (last.cpu_s - first_s).max(0.0);
        let rss_max_mb = watch.rss_max_mb.get(name).copied().unwrap_or_default();
        let cpu_ms_per_image = cpu_s * 1_000.0 / number(images.max(1));
        let cpu_cores = cpu_s / took_s.max(1.0);
        let used = ProcessUse { cpu_cores, cpu_ms_per_image, rss_max_mb };
        processes.insert((*name).to_owned(), used);
    }
    processes
}
