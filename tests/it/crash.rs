//! `kill -9` under load: no verdict that a client received as recorded is missing afterwards.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinSet;

use crate::world::{Plan, client, mug, start_providers, write_files};

/// How often the gate is killed.
const KILLS: usize = 20;
/// Answers that come before each kill.
const ANSWERS_BEFORE_KILL: usize = 8;
/// Callers at a time.
const CALLERS: usize = 6;

/// The real binary, killed (never terminated) when dropped.
pub(crate) struct Gate {
    child: Child,
    pub(crate) url: String,
}

impl Gate {
    pub(crate) fn start(config: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_vlmgate"))
            .args(["serve", "--listen", "127.0.0.1:0", "--log", "warn", "--config"])
            .arg(config)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = String::new();
        let url = loop {
            let line = lines.next().unwrap_or_else(|| panic!("the gate ended: {said}")).unwrap();
            if let Some((_, url)) = line.split_once("listening on ") {
                break url.trim().to_owned();
            }
            said.push_str(&line);
        };
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, url }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.child.kill().unwrap(); // SIGKILL
        self.child.wait().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_verdict_answered_as_recorded_is_lost_by_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let providers = start_providers();
    let config = write_files(folder.path(), &providers, &Plan::default());
    let mut answered: Vec<String> = Vec::new();
    let mut unrecorded = 0;
    for round in 0..KILLS {
        let gate = Gate::start(&config);
        let (go_on, answers) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
        let mut callers = JoinSet::new();
        for _ in 0..CALLERS {
            let caller = Caller {
                url: gate.url.clone(),
                go_on: Arc::clone(&go_on),
                answers: Arc::clone(&answers),
            };
            callers.spawn(caller.call_until_killed());
        }
        // killed in full flow: after some answers, at a moment that differs from round to round
        while answers.load(Ordering::Relaxed) < ANSWERS_BEFORE_KILL {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_millis(7 * u64::try_from(round).unwrap())).await;
        drop(gate);
        go_on.store(false, Ordering::Relaxed);
        while let Some(received) = callers.join_next().await {
            for (id, recorded) in received.unwrap() {
                if recorded {
                    answered.push(id);
                } else {
                    unrecorded += 1;
                }
            }
        }
    }
    let gate = Gate::start(&config);
    let client = client();
    let mut missing = Vec::new();
    for id in &answered {
        let answer = client.get(format!("{}/v1/verdicts/{id}", gate.url)).send().await.unwrap();
        if answer.status() != 200 {
            missing.push(id.clone());
        }
    }
    assert!(
        KILLS * ANSWERS_BEFORE_KILL <= answered.len(),
        "the load was too light: {} answers",
        answered.len()
    );
    assert_eq!(missing, Vec::<String>::new(), "of {} recorded", answered.len());
    assert_eq!(unrecorded, 0, "none was answered as not recorded on a healthy disk");
    println!("{} verdicts answered as recorded over {KILLS} kills, none lost", answered.len());
}

struct Caller {
    url: String,
    go_on: Arc<AtomicBool>,
    answers: Arc<AtomicUsize>,
}

impl Caller {
    /// Posts images until the gate dies; what was answered, and whether as recorded.
    async fn call_until_killed(self) -> Vec<(String, bool)> {
        let client = client();
        let image = mug();
        let mut received = Vec::new();
        while self.go_on.load(Ordering::Relaxed) {
            let sent = client.post(format!("{}/v1/verdicts?vars.background=white", self.url));
            let sent = sent.header("content-type", "image/jpeg").body(image.clone());
            let Ok(answer) = sent.send().await else { break };
            let Ok(text) = answer.text().await else { break };
            let verdict: Value = serde_json::from_str(&text).unwrap();
            if let Some(id) = verdict["id"].as_str() {
                received.push((id.to_owned(), verdict["recorded"] == true));
                self.answers.fetch_add(1, Ordering::Relaxed);
            }
        }
        received
    }
}

#[test]
fn a_second_gate_on_the_same_data_is_refused_with_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _inside = runtime.enter();
    let providers = start_providers();
    let config = write_files(folder.path(), &providers, &Plan::default());
    let _first = Gate::start(&config);
    let second = Command::new(env!("CARGO_BIN_EXE_vlmgate"))
        .args(["serve", "--listen", "127.0.0.1:0", "--config"])
        .arg(&config)
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(said.contains("in use by another process"), "{said}");
}
