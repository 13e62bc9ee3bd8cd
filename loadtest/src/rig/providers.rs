//! The providers of a run, `a`, `b` and `c`: a process of their own, told what to be over its admin port.

use std::collections::BTreeMap;
use std::env;
use std::path::PathBuf;
use std::process;
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::io::AsyncBufReadExt as _;
use tokio::io::BufReader;
use tokio::process::Child;
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio::time::timeout_at;

use crate::behaviour::Behaviour;
use crate::dialect::Dialect;
use crate::judging::Judging;
use crate::latency::Latency;
use crate::latency::Law;
use crate::log::Page;
use crate::rig::RigError;
use crate::rig::calibration::PASS_AT;
use crate::rig::gate;
use crate::scenario::PROVIDERS;
use crate::scenario::Scenario;
use crate::web::Reply;
use crate::web::Web;

/// Where a provider is, for whoever asks it.
#[derive(Clone, Debug)]
pub(crate) struct Provider {
    /// `a`, `b` or `c`.
    pub(crate) name: String,
    pub(crate) dialect: Dialect,
    pub(crate) base_url: String,
    pub(crate) model: &'static str,
}

/// The ports of `a`, `b` and `c`, where they are fixed.
pub(crate) type Ports = [u16; 3];

/// The dialect of each, the model that it is asked for, and how long it takes.
const KINDS: [(Dialect, &str, Law); 3] = [
    (Dialect::OpenAi, "gpt-6-luna", Law::A),
    (Dialect::Anthropic, "claude-haiku-5-5", Law::B),
    (Dialect::Gemini, "gemini-3.5-flash-lite", Law::C),
];

/// What each adds to every score: judges are not equally strict. Held to one line, `b` rejects about
/// three images in a hundred more than `a`, which is the published shift, and `c` about one more.
const BIASES: [(&str, f64); 3] = [("a", 0.0), ("b", -0.09), ("c", -0.06)];

/// How differently they see, in standard deviations of the quality: held to lines at which each rejects
/// equally many, two of them still differ on about one image in forty.
const NOISE: f64 = 0.15;

/// The share of images that a judge without bias finds fault with.
const REJECT_SHARE: f64 = 0.08;

/// How long the process may take to come up, and to go.
const WITHIN: Duration = Duration::from_secs(10);

/// How long the admin port may take to answer, on a machine that is busy.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// The process; dropped, it is killed.
pub(crate) struct Host {
    child: Child,
    admin: String,
    web: Web,
    providers: Vec<Provider>,
    /// Takes what the process says on stdout, so that it never waits for a reader.
    _reader: JoinSet<()>,
}

/// Where the providers are on fixed ports.
pub(crate) fn at(ports: Ports) -> Vec<Provider> {
    let mut all = Vec::new();
    for ((name, (dialect, model, _)), port) in PROVIDERS.iter().zip(KINDS).zip(ports) {
        let base_url = format!("http://127.0.0.1:{port}{}", dialect.base_path());
        all.push(Provider { name: (*name).to_owned(), dialect, base_url, model });
    }
    all
}

/// How a provider acts while nothing is wrong.
pub(crate) fn healthy(name: &str, scenario: &Scenario, rate_per_s: f64) -> Behaviour {
    let kind = PROVIDERS.iter().zip(KINDS).find(|(known, _)| **known == name);
    let latency = kind.map_or_else(Latency::default, |(_, (_, _, law))| Latency::Law(law));
    Behaviour {
        latency,
        slots: scenario.slots.get(name).map(|times| slots(*times, rate_per_s)),
        judging: judges().remove(name).unwrap_or_default(),
        ..Behaviour::default()
    }
}

/// What each judge says of an image.
pub(crate) fn judges() -> BTreeMap<String, Judging> {
    let judging = |(judge, bias): (&str, f64)| {
        let (name, reject_share) = (judge.to_owned(), REJECT_SHARE);
        let (noise, line) = (NOISE, PASS_AT);
        (judge.to_owned(), Judging::Latent { judge: name, reject_share, noise, bias, line })
    };
    BIASES.into_iter().map(judging).collect()
}

/// A whole number of places to work at.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "held to a count's range first"
)]
pub(crate) fn slots(times: f64, rate_per_s: f64) -> u32 {
    (times * rate_per_s).round().clamp(1.0, f64::from(u32::MAX)) as u32
}

/// A provider as the admin port tells of it.
#[derive(Deserialize)]
struct Portrait {
    name: String,
    base_url: String,
}

/// What is open at one provider.
#[derive(Deserialize)]
struct OpenNow {
    calls: u64,
}

impl Host {
    /// Starts the process and makes every provider healthy.
    pub(crate) async fn start(
        scenario: &Scenario,
        rate_per_s: f64,
        seed: u64,
        cores: Option<&str>,
        ports: Option<Ports>,
    ) -> Result<Self, RigError> {
        let program = program_of(process::id())?;
        let mut command = gate::command(&program, cores);
        command.args(["providers", "--admin", "0", "--seed", &seed.to_string()]);
        let phases = scenario.seconds.parts();
        let phases: Vec<String> =
            phases.iter().map(|(_, start_s, end_s)| format!("{:.0}", end_s - start_s)).collect();
        command.args(["--drift-phases", &phases.join(",")]);
        // port 0 is any free one
        let ports = ports.unwrap_or_default();
        for ((name, (dialect, _, _)), port) in PROVIDERS.iter().zip(KINDS).zip(ports) {
            command.arg("--provider").arg(format!("{name}={}:{port}", dialect.label()));
        }
        let (child, admin, reader) = spawn(command).await?;
        let host = Self { child, admin, web: Web::new(), providers: Vec::new(), _reader: reader };
        host.healed(scenario, rate_per_s).await
    }

    /// The host with every provider known and healthy.
    async fn healed(mut self, scenario: &Scenario, rate_per_s: f64) -> Result<Self, RigError> {
        let portraits: Vec<Portrait> = self.get("/providers").await?;
        for (portrait, (dialect, model, _)) in portraits.into_iter().zip(KINDS) {
            let Portrait { name, base_url } = portrait;
            self.set(&name, &healthy(&name, scenario, rate_per_s)).await?;
            self.providers.push(Provider { name, dialect, base_url, model });
        }
        Ok(self)
    }

    /// Providers that serve inside this process; the process that is held is an idle one.
    #[cfg(test)]
    pub(crate) async fn inside(
        admin: &crate::Admin,
        scenario: &Scenario,
        rate_per_s: f64,
    ) -> Result<Self, RigError> {
        let mut idle = Command::new("sleep");
        let child = idle.arg("600").kill_on_drop(true).spawn().map_err(RigError::io("sleep"))?;
        let admin = format!("http://{}", admin.address());
        let (web, providers, _reader) = (Web::new(), Vec::new(), JoinSet::new());
        Self { child, admin, web, providers, _reader }.healed(scenario, rate_per_s).await
    }

    /// Where they are.
    pub(crate) fn providers(&self) -> Vec<Provider> {
        self.providers.clone()
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Makes a provider act so; returns when it does.
    pub(crate) async fn set(&self, name: &str, behaviour: &Behaviour) -> Result<(), RigError> {
        let text = serde_json::to_vec(behaviour);
        let text = text.map_err(|why| RigError::Providers(why.to_string()))?;
        let url = format!("{}/providers/{name}/behaviour", self.admin);
        let answer = self.web.send_json(Method::PUT, &url, Bytes::from(text), ANSWER_WITHIN);
        ok(&answer.await?).map(drop)
    }

    /// Calls that have not ended, by provider.
    pub(crate) async fn open_calls(&self) -> Result<BTreeMap<String, u64>, RigError> {
        let open: BTreeMap<String, OpenNow> = self.get("/open").await?;
        Ok(open.into_iter().map(|(name, open)| (name, open.calls)).collect())
    }

    /// A page of a provider's log, from call number `since` on.
    pub(crate) async fn page(&self, provider: &str, since: u64) -> Result<Page, RigError> {
        self.get(&format!("/providers/{provider}/calls?since={since}")).await
    }

    pub(crate) async fn stop(mut self) -> Result<(), RigError> {
        if let Some(pid) = self.pid() {
            gate::terminate(pid).await?;
        }
        match timeout_at(Instant::now() + WITHIN, self.child.wait()).await {
            Ok(_status) => Ok(()),
            Err(_late) => {
                self.child.kill().await.map_err(RigError::io("the providers cannot be killed"))
            }
        }
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, RigError> {
        let reply = self.web.get(&format!("{}{path}", self.admin), ANSWER_WITHIN).await?;
        let read = serde_json::from_slice(ok(&reply)?);
        read.map_err(|why| RigError::Providers(format!("{path}: {why}")))
    }
}

/// The body of a good answer.
fn ok(reply: &Reply) -> Result<&[u8], RigError> {
    if reply.status == 200 {
        return Ok(&reply.body);
    }
    let said = String::from_utf8_lossy(&reply.body);
    Err(RigError::Providers(format!("status {}: {said}", reply.status)))
}

/// The program that a process runs, also when a build has put another in its file's place:
/// the kernel keeps the one that runs under the process, where the path would lead nowhere.
fn program_of(process: u32) -> Result<PathBuf, RigError> {
    let kept = PathBuf::from(format!("/proc/{process}/exe"));
    if kept.exists() {
        return Ok(kept);
    }
    env::current_exe().map_err(RigError::io("this program's own path"))
}

/// Starts the process and reads where its admin port is.
async fn spawn(mut command: Command) -> Result<(Child, String, JoinSet<()>), RigError> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(RigError::io("the providers cannot be started"))?;
    let silent = || RigError::Providers("they did not come up; why stands on stderr".to_owned());
    let mut lines = BufReader::new(child.stdout.take().ok_or_else(silent)?).lines();
    let up_by = Instant::now() + WITHIN;
    while let Ok(Ok(Some(line))) = timeout_at(up_by, lines.next_line()).await {
        let mut words = line.split_whitespace().skip(1);
        if words.next() == Some("admin") {
            let admin = words.next().map(str::to_owned).ok_or_else(silent)?;
            let mut reader = JoinSet::new();
            reader.spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return Ok((child, admin, reader));
        }
    }
    Err(silent())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn the_rig_could_not_start_its_providers_once_a_build_had_replaced_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("program");
        let sleep =
            ["/usr/bin/sleep", "/bin/sleep"].into_iter().find(|path| fs::exists(path).unwrap());
        fs::copy(sleep.unwrap(), &file).unwrap();
        let mut running = Command::new(&file).arg("600").kill_on_drop(true).spawn().unwrap();
        fs::remove_file(&file).unwrap();

        let program = program_of(running.id().unwrap()).unwrap();
        let again = Command::new(program).arg("0").status().await.unwrap();

        assert!(again.success(), "{again}");
        running.kill().await.unwrap();
    }
}
