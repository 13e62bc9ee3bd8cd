//! SIGTERM: what is in flight is answered and recorded; a second one does not wait for it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use loadtest::{Behaviour, Fault, Latency, SimulatedProvider};
use reqwest::Response;
use serde_json::Value;
use tokio::task::JoinSet;
use vlmgate::clock::Deadline;

use crate::drawn::photo_jpeg;
use crate::world::{Plan, client, healthy, mug, start_providers, write_files};

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(20);
/// Between two looks at something that tells nobody when it changes.
const LOOK: Duration = Duration::from_millis(10);

/// The real binary; killed when dropped.
struct Gate {
    child: Child,
    url: String,
}

impl Gate {
    fn start(config: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_vlmgate"))
            .args(["serve", "--listen", "127.0.0.1:0", "--log", "warn", "--config"])
            .arg(config)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let said = lines.find_map(|line| Some(line.split_once("listening on ")?.1.to_owned()));
        let url = said.unwrap_or_else(|| panic!("the gate ended"));
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, url }
    }

    fn terminate(&self) {
        let kill = format!("kill -TERM {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    async fn readiness(&self) -> u16 {
        client().get(format!("{}/readyz", self.url)).send().await.unwrap().status().as_u16()
    }

    /// Waits until it says that it is not ready.
    async fn drains(&self) {
        let draining = async {
            while self.readiness().await != 503 {
                tokio::time::sleep(LOOK).await;
            }
        };
        Deadline::after(LONG).bound(draining).await.expect("it stays ready");
    }

    /// Waits until so many requests are in flight or in line.
    async fn holds(&self, requests: usize) {
        let held = async {
            loop {
                let parts = client().get(format!("{}/readyz?verbose", self.url)).send().await;
                let parts = parts.unwrap().text().await.unwrap();
                let parts: Value = serde_json::from_str(&parts).unwrap();
                let count = |key: &str| parts[key].as_u64().unwrap();
                if count("in_flight") + count("queued") == requests as u64 {
                    return;
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        Deadline::after(LONG).bound(held).await.expect("they do not come in");
    }

    async fn ends(&mut self, within: Duration) -> ExitStatus {
        let ended = async {
            loop {
                if let Some(status) = self.child.try_wait().unwrap() {
                    return status;
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        Deadline::after(within).bound(ended).await.expect("it goes on")
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        // it may have ended already
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn plan() -> Plan {
    Plan {
        route: vec!["openai-mini"],
        deadline_ms: 15_000,
        config: "server: { drain: { accept_for: 1s, at_most: 20s } }\n".to_owned(),
        ..Plan::default()
    }
}

/// Sends an image, and returns when the judge has been asked about it.
async fn ask(gate: &Gate, judge: &SimulatedProvider) -> JoinSet<reqwest::Result<Response>> {
    let sent = client().post(format!("{}/v1/verdicts?vars.background=white", gate.url));
    let sent = sent.header("content-type", "image/jpeg").body(mug()).send();
    let mut asked = JoinSet::new();
    asked.spawn(sent);
    let is_question = |call: &loadtest::CallLog| call.kind == loadtest::CallKind::Question;
    let until = judge.until(|calls| calls.iter().any(is_question));
    Deadline::after(LONG).bound(until).await.expect("nobody is asked");
    asked
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_in_flight_when_told_to_stop_is_answered_and_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let providers = start_providers();
    let config = write_files(folder.path(), &providers, &plan());
    providers[0].set_behaviour(Behaviour { latency: Latency::ConstantMs(1_500), ..healthy() });
    let mut gate = Gate::start(&config);
    let ready = client().get(format!("{}/readyz", gate.url)).send().await.unwrap();
    assert_eq!(ready.status(), 200);
    assert!(!ready.headers().contains_key("connection"), "a gate that stays keeps its callers");
    let mut asked = ask(&gate, &providers[0]).await;
    gate.terminate();
    gate.drains().await;
    assert!(asked.try_join_next().is_none(), "the check is in flight while the gate drains");
    let answer = asked.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["connection"], "close", "its next request would find nobody");
    let verdict: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    assert_eq!((&verdict["verdict"], &verdict["recorded"]), (&"pass".into(), &true.into()));
    assert_eq!(gate.ends(LONG).await.code(), Some(0));

    let gate = Gate::start(&config);
    let url = format!("{}/v1/verdicts/{}", gate.url, verdict["id"].as_str().unwrap());
    assert_eq!(client().get(url).send().await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_does_not_wait_for_what_is_in_flight() {
    let folder = tempfile::tempdir().unwrap();
    let providers = start_providers();
    let config = write_files(folder.path(), &providers, &plan());
    providers[0].set_behaviour(Behaviour::failing(Fault::Blackhole));
    let mut gate = Gate::start(&config);
    let mut asked = ask(&gate, &providers[0]).await;
    gate.terminate();
    gate.drains().await;
    gate.terminate();
    // well before the check's deadline and the drain's end
    assert_eq!(gate.ends(Duration::from_secs(6)).await.code(), Some(0));
    assert!(asked.join_next().await.unwrap().unwrap().is_err(), "the caller is cut off");
}

#[tokio::test(flavor = "multi_thread")]
async fn told_to_stop_under_a_blackhole_at_load_it_answers_everybody_and_ends_in_time() {
    const CALLERS: usize = 40;
    let (deadline, accept_for) = (Duration::from_secs(2), Duration::from_secs(1));
    let server = "max_in_flight: 24, max_queued: 64, drain: { accept_for: 1s, at_most: 20s }";
    let folder = tempfile::tempdir().unwrap();
    let providers = start_providers();
    let plan =
        Plan { deadline_ms: 2_000, config: format!("server: {{ {server} }}\n"), ..Plan::default() };
    let config = write_files(folder.path(), &providers, &plan);
    for provider in &providers {
        provider.set_behaviour(Behaviour::failing(Fault::Blackhole));
    }
    let mut gate = Gate::start(&config);
    let (client, mut asked) = (client(), JoinSet::new());
    // next to no work for a worker: a burst that overruns it would be refused, and that is not asked here
    let image = photo_jpeg(256, 1);
    for _ in 0..CALLERS {
        let sent = client.post(format!("{}/v1/verdicts?vars.background=white", gate.url));
        asked.spawn(sent.header("content-type", "image/jpeg").body(image.clone()).send());
    }
    gate.holds(CALLERS).await;
    gate.terminate();
    gate.ends(accept_for + deadline + Duration::from_secs(1)).await;
    let mut ids = Vec::new();
    while let Some(answered) = asked.join_next().await {
        let answer = answered.unwrap().expect("an answer is lost");
        let (status, headers) = (answer.status(), answer.headers().clone());
        let said: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        match status.as_u16() {
            200 => {
                // on a busy disk the answer may leave first: the record must be there all the same
                assert_eq!(said["basis"], "deadline", "{said}");
                ids.push(said["id"].as_str().unwrap().to_owned());
            }
            503 => assert!(headers.contains_key("retry-after"), "{said}"),
            other => panic!("{other}: {said}"),
        }
    }
    assert!(24 <= ids.len(), "those inside are answered: {}", ids.len());
    let gate = Gate::start(&config);
    for id in ids {
        let found = client.get(format!("{}/v1/verdicts/{id}", gate.url)).send().await.unwrap();
        assert_eq!(found.status(), 200, "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_finds_nothing_wrong_beside_a_running_gate() {
    let folder = tempfile::tempdir().unwrap();
    let providers = start_providers();
    let config = write_files(folder.path(), &providers, &plan());
    let _gate = Gate::start(&config);
    let doctor = Command::new(env!("CARGO_BIN_EXE_vlmgate"))
        .args(["doctor", "--config"])
        .arg(&config)
        .output()
        .unwrap();
    let said = String::from_utf8(doctor.stdout).unwrap();
    assert!(said.contains("ok   store: 0 records"), "{said}");
}

#[test]
fn a_mistyped_log_filter_is_an_error_of_usage() {
    let folder = tempfile::tempdir().unwrap();
    let serve = Command::new(env!("CARGO_BIN_EXE_vlmgate"))
        .args(["serve", "--log", "vlmgate=debgu"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert_eq!(serve.status.code(), Some(2));
    let said = String::from_utf8(serve.stderr).unwrap();
    assert!(said.contains("not a directive"), "{said}");
}

#[test]
fn doctor_does_not_make_the_store_it_asks_about() {
    let folder = tempfile::tempdir().unwrap();
    let doctor = Command::new(env!("CARGO_BIN_EXE_vlmgate"))
        .args(["doctor", "--data", "data"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8(doctor.stdout).unwrap();
    assert!(said.contains("no records yet"), "{said}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
