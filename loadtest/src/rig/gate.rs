//! The gate under test: the real program in a process of its own, started on generated files.

use std::collections::VecDeque;
use std::fs;
use std::fs::File;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::AsyncBufReadExt as _;
use tokio::io::BufReader;
use tokio::process::Child;
use tokio::process::ChildStderr;
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio::time::sleep;
use tokio::time::timeout_at;

use crate::rig::RigError;
use crate::web::Web;

/// How long a gate may take to come up.
const UP_WITHIN: Duration = Duration::from_secs(20);
/// How many of its last lines are kept.
const LAST_LINES: usize = 40;

/// What it said last, while it is being read.
type LastWords = Arc<Mutex<VecDeque<String>>>;

/// A gate that runs; dropped, it is killed.
pub(crate) struct Gate {
    child: Child,
    pub(crate) url: String,
    binary: PathBuf,
    said: LastWords,
    _reader: JoinSet<()>,
}

/// How to start one.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    pub(crate) binary: PathBuf,
    /// Holds `vlmgate.yaml`, `policies/` and `data/`.
    pub(crate) folder: PathBuf,
    /// The cores that it is held to, as `taskset` writes them.
    pub(crate) cores: Option<String>,
    /// Where it listens.
    pub(crate) listen: String,
}

/// Finds the program, building it where that is possible.
pub(crate) async fn binary(given: Option<&Path>) -> Result<PathBuf, RigError> {
    if let Some(path) = given {
        let path = fs::canonicalize(path).map_err(RigError::io(path.display().to_string()))?;
        return Ok(path);
    }
    let built = build().output().await.map_err(RigError::io(
        "cargo is not there to build the gate (name a built one with --gate)",
    ))?;
    let failed = |said| RigError::Gate { path: PathBuf::from("vlmgate"), said };
    if !built.status.success() {
        return Err(failed(format!("cargo build ended with {}", built.status)));
    }
    let path = executable(&String::from_utf8_lossy(&built.stdout));
    let path = path.ok_or_else(|| failed("cargo named no program".to_owned()))?;
    let what = path.display().to_string();
    fs::canonicalize(&path).map_err(RigError::io(what))
}

/// What cargo tells of one thing that it built.
#[derive(Deserialize)]
struct Artifact {
    executable: Option<PathBuf>,
}

/// The program among cargo's messages, wherever the target directory is.
fn executable(messages: &str) -> Option<PathBuf> {
    let artifacts = messages.lines().filter_map(|line| serde_json::from_str::<Artifact>(line).ok());
    let mut programs = artifacts.filter_map(|artifact| artifact.executable);
    programs.find(|path| path.file_stem().is_some_and(|name| name == "vlmgate"))
}

/// What builds the gate; it goes with whoever waits for it.
fn build() -> Command {
    let mut cargo = Command::new("cargo");
    // the whole workspace: of one package alone cargo builds some crates again, with other features;
    // of it the gate alone: the rig that runs must not be replaced under itself
    cargo.args(["build", "--release", "--workspace", "--bin", "vlmgate"]);
    cargo.arg("--message-format=json-render-diagnostics");
    cargo.stdin(Stdio::null()).stderr(Stdio::inherit()).kill_on_drop(true);
    cargo
}

/// The beginning of the digest of the program's file: two that differ are two gates.
pub(crate) fn print(binary: &Path) -> Result<String, RigError> {
    let io = |why| RigError::io(binary.display().to_string())(why);
    let mut file = File::open(binary).map_err(io)?;
    let mut digest = blake3::Hasher::new();
    digest.update_reader(&mut file).map_err(io)?;
    Ok(digest.finalize().to_hex().chars().take(12).collect())
}

/// `vlmgate 0.1.0`, or why it could not be asked.
pub(crate) async fn version(binary: &Path) -> String {
    let asked = Command::new(binary).arg("--version").kill_on_drop(true).output().await;
    asked.map_or_else(
        |problem| format!("unknown: {problem}"),
        |output| {
            let told = String::from_utf8_lossy(&output.stdout);
            told.trim().trim_start_matches("vlmgate ").to_owned()
        },
    )
}

/// A command, held to some cores where that is wished.
pub(crate) fn command(program: &Path, cores: Option<&str>) -> Command {
    match cores {
        None => Command::new(program),
        Some(cores) => {
            let mut command = Command::new("taskset");
            command.arg("-c").arg(cores).arg(program);
            command
        }
    }
}

impl Gate {
    /// Starts it and waits until it is ready.
    pub(crate) async fn start(start: &Start, web: &Web) -> Result<Self, RigError> {
        let mut command = command(&start.binary, start.cores.as_deref());
        command.args(["serve", "--log", "warn", "--listen", &start.listen, "--config"]);
        command.arg(start.folder.join("vlmgate.yaml")).current_dir(&start.folder);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command.kill_on_drop(true);
        let what = format!("{} cannot be started", start.binary.display());
        let mut child = command.spawn().map_err(RigError::io(what))?;
        let binary = start.binary.clone();
        let silent = || RigError::Gate { path: binary.clone(), said: "nothing".to_owned() };
        let stderr = child.stderr.take().ok_or_else(silent)?;
        let up_by = Instant::now() + UP_WITHIN;
        let (url, said, reader) = listening(stderr, up_by)
            .await
            .map_err(|said| RigError::Gate { path: binary.clone(), said })?;
        let gate = Self { child, url, binary, said, _reader: reader };
        gate.ready(web, up_by).await?;
        Ok(gate)
    }

    async fn ready(&self, web: &Web, up_by: Instant) -> Result<(), RigError> {
        let url = format!("{}/readyz", self.url);
        loop {
            let asked = web.get(&url, Duration::from_secs(1)).await;
            if asked.is_ok_and(|reply| reply.status == 200) {
                return Ok(());
            }
            if up_by <= Instant::now() {
                return Err(RigError::Gate { path: self.binary.clone(), said: self.last_words() });
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// The last lines that it wrote for people.
    pub(crate) fn last_words(&self) -> String {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.iter().cloned().collect::<Vec<_>>().join("\n")
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Asks it to stop.
    pub(crate) async fn terminate(&self) -> Result<(), RigError> {
        let Some(pid) = self.pid() else { return Ok(()) };
        terminate(pid).await
    }

    /// Kills it, as the system would.
    pub(crate) async fn kill(&mut self) -> Result<(), RigError> {
        self.child.kill().await.map_err(RigError::io("the gate cannot be killed"))
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> Result<bool, RigError> {
        let ended = self.child.try_wait();
        ended.map(|status| status.is_some()).map_err(RigError::io("the gate cannot be asked"))
    }

    /// Waits for its end, and kills it when that does not come.
    pub(crate) async fn ended(&mut self, within: Duration) -> Result<Option<ExitStatus>, RigError> {
        match timeout_at(Instant::now() + within, self.child.wait()).await {
            Ok(status) => {
                status.map(Some).map_err(RigError::io("the gate's end cannot be waited for"))
            }
            Err(_late) => {
                self.kill().await?;
                Ok(None)
            }
        }
    }
}

/// Sends SIGTERM.
pub(crate) async fn terminate(pid: u32) -> Result<(), RigError> {
    let told = Command::new("kill").arg("-TERM").arg(pid.to_string()).status().await;
    told.map(drop).map_err(RigError::io("kill cannot be run"))
}

/// Reads until the gate says where it listens, and goes on reading after that.
async fn listening(
    stderr: ChildStderr,
    up_by: Instant,
) -> Result<(String, LastWords, JoinSet<()>), String> {
    let mut lines = BufReader::new(stderr).lines();
    let mut said = VecDeque::new();
    let url = loop {
        match timeout_at(up_by, lines.next_line()).await {
            Ok(Ok(Some(line))) => {
                if let Some((_, url)) = line.split_once("listening on ") {
                    break url.trim().to_owned();
                }
                said.push_back(line);
            }
            Ok(Ok(None)) => return Err(said.into_iter().collect::<Vec<_>>().join("\n")),
            Ok(Err(problem)) => return Err(problem.to_string()),
            Err(_late) => return Err("nothing about where it listens".to_owned()),
        }
    };
    let said = Arc::new(Mutex::new(said));
    let mut reader = JoinSet::new();
    let kept = Arc::clone(&said);
    reader.spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.push_back(line);
            if LAST_LINES < kept.len() {
                kept.pop_front();
            }
        }
    });
    Ok((url, said, reader))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_does_not_outlive_the_rig_that_waits_for_it() {
        assert!(build().get_kill_on_drop());
    }

    #[test]
    fn the_gate_is_the_one_that_cargo_built_wherever_it_builds() {
        let messages = "{\"reason\":\"compiler-artifact\",\"executable\":null}\n\
            {\"reason\":\"compiler-artifact\",\"executable\":\"/a/build-script-build\"}\nno JSON\n\
            {\"reason\":\"compiler-artifact\",\"executable\":\"/elsewhere/release/vlmgate\"}\n\
            {\"reason\":\"build-finished\",\"success\":true}\n";
        assert_eq!(executable(messages), Some(PathBuf::from("/elsewhere/release/vlmgate")));
        assert_eq!(executable("{\"reason\":\"build-finished\"}"), None);
    }

    #[test]
    fn two_programs_are_told_apart_although_they_say_the_same_version() {
        let folder = tempfile::tempdir().unwrap();
        let program = |name: &str, content: &str| {
            let path = folder.path().join(name);
            fs::write(&path, content).unwrap();
            print(&path).unwrap()
        };
        assert_ne!(program("one", "a"), program("other", "b"));
        assert_eq!(program("one", "a"), program("same", "a"));
    }
}
