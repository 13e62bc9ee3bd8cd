//! `loadtest run`: scenarios from the command line to an outcome in a folder.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use tokio::time::Instant;

use crate::figures::unknown_line;
use crate::gallery::GALLERY_DRAWINGS;
use crate::gallery::Gallery;
use crate::outcome::FORMAT;
use crate::outcome::OWN_GATE;
use crate::outcome::RigFacts;
use crate::outcome::Run;
use crate::outcome::ScenarioRun;
use crate::rig::RigError;
use crate::rig::calibration::Calibration;
use crate::rig::gate;
use crate::rig::policy::Files;
use crate::rig::providers::Ports;
use crate::rig::providers::Provider;
use crate::rig::providers::at;
use crate::rig::providers::judges;
use crate::rig::run::Baseline;
use crate::rig::run::TargetKind;
use crate::rig::run::World;
use crate::rig::target::Credentials;
use crate::scenario::PROVIDERS;
use crate::scenario::Scenario;
use crate::web::Web;

/// Arguments of `loadtest run`.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// Scenario files, or folders of them
    #[arg(value_name = "SCENARIO", default_value = "loadtest/scenarios")]
    scenarios: Vec<PathBuf>,
    /// The short form: fewer scenarios, shorter phases, under five minutes
    #[arg(long)]
    short: bool,
    /// Only these scenarios, by id
    #[arg(long, value_name = "S1,S2", value_delimiter = ',')]
    only: Vec<String>,
    /// How many seeds each scenario runs under
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=100))]
    seeds: u64,
    /// The first seed
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Arrivals per second
    #[arg(long, value_name = "R", default_value_t = 40.0)]
    rate: f64,
    /// The policy's deadline in seconds
    #[arg(long, value_name = "S", default_value_t = 5.0)]
    deadline: f64,
    /// vlmgate (built and started), vlmgate=URL, openai-chat=URL, naive, sequential,
    /// hedged-without-breaker or breaker-blind; several are driven through each scenario by turns
    #[arg(long, value_name = "TARGET", default_value = "vlmgate")]
    target: Vec<String>,
    /// A built vlmgate, instead of building one
    #[arg(long, value_name = "PATH")]
    gate: Option<PathBuf>,
    /// Hold the gate or the providers to cores: `gate=0`, `providers=1-2`
    #[arg(long, value_name = "NAME=CORES", value_parser = pin)]
    pin: Vec<(String, String)>,
    /// Where the providers a (openai), b (anthropic) and c (gemini) listen in every scenario; needed to
    /// drive a target that runs already, which must be pointed at them
    #[arg(long, value_name = "18081,18082,18083", value_parser = ports)]
    ports: Option<Ports>,
    /// The bearer that openai-chat=URL is sent; providers take any
    #[arg(
        long,
        value_name = "KEY",
        env = "LOADTEST_TARGET_KEY",
        hide_env_values = true,
        default_value = "simulated"
    )]
    target_key: String,
    /// The model that openai-chat=URL is asked for
    #[arg(long, value_name = "MODEL", default_value = "gpt-6-luna")]
    target_model: String,
    /// No scenario reads answers as they come; every p95 is then held to the healthy p95 itself
    #[arg(long)]
    plain: bool,
    /// Where the outcome goes
    #[arg(long, value_name = "DIR", default_value = "target/loadtest")]
    out: PathBuf,
}

fn pin(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name @ ("gate" | "providers"), cores)) => Ok((name.to_owned(), cores.to_owned())),
        Some(_) | None => Err("expected gate=CORES or providers=CORES".to_owned()),
    }
}

fn ports(text: &str) -> Result<Ports, String> {
    let form = || format!("{text:?} is not three different ports, as in 18081,18082,18083");
    let ports: Result<Vec<u16>, _> = text.split(',').map(str::parse).collect();
    let ports: Ports = ports.ok().and_then(|ports| ports.try_into().ok()).ok_or_else(form)?;
    let [a, b, c] = ports;
    let is_usable = !ports.contains(&0) && a != b && b != c && c != a;
    is_usable.then_some(ports).ok_or_else(form)
}

/// The slowest rate that figures still mean something at.
const MIN_RATE: f64 = 15.0;

impl RunArgs {
    /// Where the outcome goes.
    #[must_use]
    pub fn out(&self) -> &Path {
        &self.out
    }

    /// Runs everything, telling each scenario's end, and leaves `run.json` in the folder.
    ///
    /// # Errors
    /// The rig itself failed; what a scenario missed stands in the run.
    pub async fn run(&self, mut tell: impl FnMut(&str)) -> Result<Run, RigError> {
        if !(MIN_RATE..=10_000.0).contains(&self.rate) {
            let rate = self.rate;
            return Err(RigError::Usage(format!("--rate {rate}: from {MIN_RATE} to 10000")));
        }
        let began = Instant::now();
        let scenarios = self.chosen()?;
        let world = self.world(&scenarios).await?;
        let facts = self.facts(&world).await?;
        self.announce(&world.calibration, &mut tell)?;
        let mut run = Run { format: FORMAT, rig: facts, scenarios: Vec::new() };
        for seed in self.seed..self.seed + self.seeds {
            let mut baseline = Baseline::default();
            for scenario in &scenarios {
                if !baseline.knows_plain() && world.kind_of(scenario)? == TargetKind::Gate {
                    tell("P: the healthy baseline without streaming");
                    let plain = world.run(self.plain_baseline()?, seed, &mut baseline).await;
                    keep(&mut run, plain);
                }
                tell(&format!("{}: {}", scenario.id, scenario.title));
                let ended = world.run(scenario.clone(), seed, &mut baseline).await;
                tell(&told(&ended));
                keep(&mut run, ended);
                run.rig.took_s = began.elapsed().as_secs_f64();
                // at every step: a run that is broken off leaves what it had
                self.write(&run)?;
            }
        }
        Ok(run)
    }

    /// What a run of this command line is to hold, by id and seed.
    fn planned(&self) -> Result<Vec<(String, u64)>, RigError> {
        let scenarios = self.chosen()?;
        let seeds = self.seed..self.seed + self.seeds;
        let planned =
            seeds.flat_map(|seed| scenarios.iter().map(move |one| (one.id.clone(), seed)));
        Ok(planned.collect())
    }

    fn chosen(&self) -> Result<Vec<Scenario>, RigError> {
        let mut all = Scenario::read_all(&self.scenarios)?;
        let is_chosen = |one: &Scenario| self.only.is_empty() || self.only.contains(&one.id);
        if let Some(unknown) = self.only.iter().find(|id| all.iter().all(|one| one.id != **id)) {
            return Err(RigError::Usage(format!("--only {unknown}: there is no such scenario")));
        }
        all.retain(is_chosen);
        for scenario in &all {
            if let Some(unknown) = unknown_line(scenario) {
                let id = &scenario.id;
                return Err(RigError::Usage(format!("{id}: there is no figure {unknown:?}")));
            }
        }
        if self.short {
            all = all.into_iter().filter_map(Scenario::shortened).collect();
        }
        for scenario in &mut all {
            scenario.streamed &= !self.plain;
        }
        let mut all: Vec<Scenario> = all.into_iter().flat_map(|one| self.by_target(one)).collect();
        if all.is_empty() {
            return Err(RigError::Usage("no scenario is left to run".to_owned()));
        }
        // S2 before S10
        all.sort_by_key(|one| {
            let digits: String = one.id.chars().filter(char::is_ascii_digit).collect();
            let is_control = !one.expected_to_fail.is_empty();
            (is_control, digits.parse::<u32>().unwrap_or(u32::MAX), one.id.clone())
        });
        Ok(all)
    }

    /// The scenario once for each target: where it names none of its own the first is the run's.
    fn by_target(&self, scenario: Scenario) -> Vec<Scenario> {
        if scenario.target.is_some() {
            return vec![scenario];
        }
        let beside = self.target.iter().skip(1).map(|target| Some(target.clone()));
        let targets = [None].into_iter().chain(beside);
        targets.map(|target| Scenario { target, ..scenario.clone() }).collect()
    }

    /// The first target: whatever names none is driven against it.
    fn usual_target(&self) -> Result<TargetKind, RigError> {
        self.target.first().map_or(Ok(TargetKind::Gate), |target| target.parse())
    }

    /// The part of S0 that targets of streamed scenarios are multiples of.
    fn plain_baseline(&self) -> Result<Scenario, RigError> {
        let seconds = if self.short {
            "{ warm_up: 6, healthy: 20, fault: 0, recovery: 0 }"
        } else {
            "{ warm_up: 15, healthy: 45, fault: 0, recovery: 0 }"
        };
        // of the gate that the rig starts, whoever is the first of several
        let text = format!(
            "id: P\ntarget: {OWN_GATE}\ntitle: healthy, without streaming\nstreamed: false\nseconds: {seconds}\n"
        );
        Scenario::parse(&text).map_err(RigError::Usage)
    }

    pub(crate) async fn world(&self, scenarios: &[Scenario]) -> Result<World, RigError> {
        let target = self.usual_target()?;
        let mut needs_gate = false;
        for scenario in scenarios {
            let named = scenario.target.as_deref().map_or(Ok(target.clone()), str::parse)?;
            needs_gate |= named == TargetKind::Gate;
            if named.runs_already() && self.ports.is_none() {
                return Err(RigError::Usage(format!(
                    "{named} runs already: it needs --ports, and must be pointed at the providers there"
                )));
            }
        }
        let binary =
            if needs_gate { Some(gate::binary(self.gate.as_deref()).await?) } else { None };
        let gallery = Gallery::draw(self.seed, GALLERY_DRAWINGS)?;
        let [primary, ..] = PROVIDERS;
        let calibration = Calibration::of(&gallery, &judges(), primary);
        Ok(World {
            out: self.out.clone(),
            target,
            binary,
            rate_per_s: self.rate,
            deadline_ms: deadline_ms(self.deadline)?,
            is_short: self.short,
            pinned: self.pin.iter().cloned().collect(),
            web: Web::new(),
            pictures: Arc::new(gallery.digests()),
            gallery,
            calibration,
            ports: self.ports,
            who: Credentials { key: self.target_key.clone(), model: self.target_model.clone() },
        })
    }

    /// Tells where the providers will listen, and how a target is pointed at them.
    fn announce(
        &self,
        calibration: &Calibration,
        mut tell: impl FnMut(&str),
    ) -> Result<(), RigError> {
        let Some(ports) = self.ports else { return Ok(()) };
        let providers = at(ports);
        tell("in every scenario the providers take any key, and listen at");
        for Provider { name, dialect, base_url, model } in &providers {
            tell(&format!("  {name}: {base_url} ({} dialect, model {model})", dialect.label()));
        }
        let kinds: Result<Vec<TargetKind>, _> = self.target.iter().map(|one| one.parse()).collect();
        if !kinds?.iter().any(|kind| matches!(kind, TargetKind::GateAt(_))) {
            return Ok(());
        }
        let folder = self.out.join("gate");
        fs::create_dir_all(&folder).map_err(RigError::io(folder.display().to_string()))?;
        let folder = fs::canonicalize(&folder).map_err(RigError::io("the gate's folder"))?;
        let folder = folder.display().to_string();
        let usual = Scenario::parse("id: usual\ntitle: usual\n").map_err(RigError::Usage)?;
        let (providers, deadline_ms) = (&providers, deadline_ms(self.deadline)?);
        let lines = &calibration.lines(usual.calibrated);
        let files =
            Files { scenario: &usual, providers, deadline_ms, lines, folder: folder.clone() };
        files.write()?;
        tell(&format!("  a gate on them: vlmgate serve --config {folder}/vlmgate.yaml"));
        Ok(())
    }

    pub(crate) async fn facts(&self, world: &World) -> Result<RigFacts, RigError> {
        let mut versions = BTreeMap::new();
        versions.insert("loadtest".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
        if let Some(binary) = &world.binary {
            let (version, print) = (gate::version(binary).await, gate::print(binary)?);
            versions.insert("vlmgate".to_owned(), format!("{version} ({print})"));
        }
        if let Ok(kernel) = fs::read_to_string("/proc/sys/kernel/osrelease") {
            versions.insert("kernel".to_owned(), kernel.trim().to_owned());
        }
        let cores = std::thread::available_parallelism().map_err(RigError::io("the cores"))?;
        #[expect(clippy::disallowed_types, reason = "the report says when it was made")]
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        Ok(RigFacts {
            started_unix_s: now.as_secs(),
            target: world.target.to_string(),
            cores: u32::try_from(cores.get()).unwrap_or(u32::MAX),
            pinned: world.pinned.clone(),
            seeds: (self.seed..self.seed + self.seeds).collect(),
            rate_per_s: self.rate,
            deadline_ms: world.deadline_ms,
            short: self.short,
            versions,
            images: format!("{}; {}", world.gallery.describe(), world.calibration.describe()),
            planned: self.planned()?,
            ..RigFacts::default()
        })
    }

    pub(crate) fn write(&self, run: &Run) -> Result<(), RigError> {
        let path = self.out.join("run.json");
        let what = || path.display().to_string();
        fs::create_dir_all(&self.out).map_err(RigError::io(what()))?;
        let text = serde_json::to_vec(run).map_err(|why| RigError::io(what())(why.into()))?;
        fs::write(&path, text).map_err(RigError::io(what()))
    }
}

/// Adds a scenario to its run.
fn keep(run: &mut Run, ended: ScenarioRun) {
    run.rig.other_cores = run.rig.other_cores.max(ended.other_cores.unwrap_or_default());
    run.scenarios.push(ended);
}

/// Whole milliseconds.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "held to what a deadline can be first"
)]
fn deadline_ms(deadline_s: f64) -> Result<u64, RigError> {
    if !(0.3..=60.0).contains(&deadline_s) {
        return Err(RigError::Usage(format!("--deadline {deadline_s}: from 0.3 to 60 seconds")));
    }
    Ok((deadline_s * 1_000.0).round() as u64)
}

/// The end of a scenario in one line.
fn told(ended: &ScenarioRun) -> String {
    if let Some(problem) = &ended.broken {
        return format!("  broken: {problem}");
    }
    let wrong: Vec<&str> = ended.wrong().into_iter().map(|one| one.id.as_str()).collect();
    let must = ended.expected_to_fail.join(", ");
    match (ended.passed(), wrong.is_empty()) {
        (true, _) if !ended.is_control() => "  met".to_owned(),
        (true, _) => format!("  missed {must}, as it must"),
        (false, true) => format!("  held, but had to miss {must}"),
        (false, false) => format!("  missed {}", wrong.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        run: RunArgs,
    }

    fn read(arguments: &[&str]) -> Result<RunArgs, clap::Error> {
        let words = ["loadtest"].iter().chain(arguments);
        Cli::try_parse_from(words).map(|cli| cli.run)
    }

    #[test]
    fn the_ports_of_the_providers_are_three_different_ones() {
        assert_eq!(read(&["--ports", "1,2,65535"]).unwrap().ports, Some([1, 2, 65_535]));
        assert_eq!(read(&[]).unwrap().ports, None);
        for wrong in ["1", "1,2", "1,2,3,4", "1,2,0", "1,2,1", "2,2,1", "1,2,65536", "a,b,c", ""] {
            let refused = read(&["--ports", wrong]).unwrap_err();
            assert_eq!(refused.exit_code(), 2, "{wrong}");
        }
    }

    #[test]
    fn only_what_can_be_held_to_cores_is_taken() {
        assert!(read(&["--pin", "gate=0", "--pin", "providers=1-2"]).is_ok());
        assert!(read(&["--pin", "rig=0"]).is_err());
    }

    /// Why the world of these scenarios cannot be.
    async fn refusal(arguments: &[&str], scenario: &str) -> String {
        let scenario = Scenario::parse(&format!("id: X\ntitle: x\n{scenario}")).unwrap();
        let refused = read(arguments).unwrap().world(&[scenario]).await;
        let refused = refused.err().unwrap_or_else(|| panic!("{arguments:?} can be"));
        assert!(refused.is_usage(), "{refused}");
        refused.to_string()
    }

    #[tokio::test]
    async fn a_target_that_runs_already_cannot_know_providers_on_free_ports() {
        for target in ["openai-chat=http://127.0.0.1:9/v1", "vlmgate=http://127.0.0.1:9"] {
            let refused = refusal(&["--target", target], "").await;
            assert!(refused.contains("--ports") && refused.contains(target), "{refused}");
            let refused = refusal(&["--target", "naive"], &format!("target: {target}\n")).await;
            assert!(refused.contains("--ports"), "{refused}");
        }
    }

    #[test]
    fn a_gateway_stands_beside_the_gate_in_one_run() {
        let gateway = "openai-chat=http://127.0.0.1:4000/v1";
        let run = read(&["--target", "vlmgate", "--target", gateway]).unwrap();
        let by_target = |scenario: &str| {
            let scenario = Scenario::parse(&format!("id: X\ntitle: x\n{scenario}")).unwrap();
            run.by_target(scenario).into_iter().map(|one| one.target).collect::<Vec<_>>()
        };
        assert_eq!(by_target(""), [None, Some(gateway.to_owned())]);
        assert_eq!(
            by_target("target: naive\n"),
            [Some("naive".to_owned())],
            "a control is its own"
        );
        assert_eq!(run.usual_target().unwrap(), TargetKind::Gate);
        assert_eq!(read(&[]).unwrap().target, ["vlmgate"]);
    }

    #[test]
    fn who_has_fixed_ports_is_told_how_to_point_a_target_at_them() {
        let out = tempfile::TempDir::new().unwrap();
        let folder = out.path().display().to_string();
        let arguments =
            ["--ports", "18081,18082,18083", "--target", "vlmgate=http://h", "--out", &folder];
        let arguments = read(&arguments).unwrap();
        let mut told = String::new();
        let calibration = Calibration::of(&Gallery::draw(1, 3).unwrap(), &judges(), "a");
        let announced = arguments.announce(&calibration, |line| {
            told.push_str(line);
            told.push('\n');
        });
        announced.unwrap();
        for place in [
            "a: http://127.0.0.1:18081/v1 (openai",
            "b: http://127.0.0.1:18082 (anthropic",
            "c: http://127.0.0.1:18083 (gemini",
            "gate/vlmgate.yaml",
        ] {
            assert!(told.contains(place), "{place} is not in {told}");
        }
        let written = fs::read_to_string(out.path().join("gate/vlmgate.yaml")).unwrap();
        assert!(written.contains("http://127.0.0.1:18082"), "{written}");
        assert!(out.path().join("gate/policies/rig.yaml").is_file());
    }
}
