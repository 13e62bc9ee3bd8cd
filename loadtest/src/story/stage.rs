//! The stage is what a story plays on: providers in this process, a gate in its own, and what the gate
//! says of every picture, which the history is made of.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use futures_queue::each;
use serde_json::Value;
use tokio::process::Command;
use tokio::time::sleep;

use crate::behaviour::Behaviour;
use crate::behaviour::Fault;
use crate::gallery::Gallery;
use crate::latency::Latency;
use crate::provider::Settings;
use crate::provider::SimulatedProvider;
use crate::rig::RigError;
use crate::rig::gate::Gate;
use crate::rig::gate::Start;
use crate::story::files;
use crate::story::files::Policy;
use crate::story::law::CAST;
use crate::story::law::Law;
use crate::story::traffic::post;
use crate::web::Web;

/// How long the gate may take to end.
const END_WITHIN: Duration = Duration::from_secs(20);
/// Pictures that are sent at once while they are surveyed.
const SURVEY_AT_ONCE: usize = 4;
/// How often one is sent that nobody judged, or the wrong judge.
const TRIES: u32 = 6;
/// The wait before the second time; before each further one it is twice as long.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// A gate with its providers.
pub(crate) struct Stage {
    pub(crate) providers: Vec<SimulatedProvider>,
    pub(crate) folder: PathBuf,
    pub(crate) web: Web,
    binary: PathBuf,
    listen: String,
    gate: Option<Gate>,
}

/// What the gate says of each picture, and of the judges that nobody asked first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Survey {
    /// One record for every picture of the gallery, in its order.
    pub(crate) records: Vec<Value>,
    /// A record that each judge served.
    pub(crate) served: BTreeMap<String, Value>,
}

impl Stage {
    /// Starts the providers of `law`; the gate comes later.
    pub(crate) fn set(
        binary: PathBuf,
        folder: PathBuf,
        listen: &str,
        law: &Law,
    ) -> Result<Self, RigError> {
        let mut providers = Vec::new();
        for cast in CAST {
            let settings = Settings {
                listen: (Ipv4Addr::LOCALHOST, 0).into(),
                max_calls_logged: 1_000,
                logs_prompts: false,
                ..Settings::new(cast.dialect)
            };
            let started = SimulatedProvider::start(settings);
            providers.push(started.map_err(RigError::io("a provider"))?);
        }
        let (listen, web) = (listen.to_owned(), Web::new());
        let stage = Self { providers, folder, web, binary, listen, gate: None };
        stage.play(law, &BTreeMap::new());
        Ok(stage)
    }

    /// Makes the providers judge by `law`, with these faults.
    pub(crate) fn play(&self, law: &Law, faults: &BTreeMap<&str, Fault>) {
        self.act(law, faults, false);
    }

    fn act(&self, law: &Law, faults: &BTreeMap<&str, Fault>, is_hurried: bool) {
        for (provider, cast) in self.providers.iter().zip(CAST) {
            let latency = Latency::LogNormal { median_ms: cast.median_ms, sigma: 0.15 };
            provider.set_behaviour(Behaviour {
                latency: if is_hurried { Latency::ConstantMs(0) } else { latency },
                fault: faults.get(cast.judge).copied().unwrap_or_default(),
                judging: law.judging(cast.judge),
                ..Behaviour::default()
            });
        }
    }

    /// Starts the gate on these files.
    pub(crate) async fn open(&mut self, policy: &Policy, law: &Law) -> Result<String, RigError> {
        files::write(&self.folder, &self.providers, policy, law)?;
        let start = Start {
            binary: self.binary.clone(),
            folder: self.folder.clone(),
            cores: None,
            listen: self.listen.clone(),
        };
        let gate = Gate::start(&start, &self.web).await?;
        let url = gate.url.clone();
        self.gate = Some(gate);
        Ok(url)
    }

    /// Where the gate is; empty before it was opened.
    pub(crate) fn url(&self) -> String {
        self.gate.as_ref().map(|gate| gate.url.clone()).unwrap_or_default()
    }

    /// The gate's last words, if it has ended by itself.
    pub(crate) fn last_words(&mut self) -> Result<Option<String>, RigError> {
        let Some(gate) = &mut self.gate else { return Ok(None) };
        Ok(if gate.has_ended()? { Some(gate.last_words()) } else { None })
    }

    /// Stops the gate; its records stay.
    pub(crate) async fn close(&mut self) -> Result<(), RigError> {
        let Some(mut gate) = self.gate.take() else { return Ok(()) };
        gate.terminate().await?;
        gate.ended(END_WITHIN).await.map(drop)
    }

    /// Stops the gate and forgets its records.
    pub(crate) async fn clear(&mut self) -> Result<(), RigError> {
        self.close().await?;
        let data = self.folder.join("data");
        match std::fs::remove_dir_all(&data) {
            Err(why) if why.kind() != std::io::ErrorKind::NotFound => {
                Err(RigError::io(data.display().to_string())(why))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Runs the gate's own program with `arguments`, the gate not running, and returns what it said on
    /// stdout.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Result<String, RigError> {
        let mut command = Command::new(&self.binary);
        command.args(arguments).arg("--config").arg(self.folder.join("vlmgate.yaml"));
        command.current_dir(&self.folder).stdin(Stdio::null()).kill_on_drop(true);
        let what = format!("vlmgate {}", arguments.join(" "));
        let output = command.output().await.map_err(RigError::io(what.clone()))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(RigError::Story(format!("{what} ended with {}: {said}", output.status)))
    }

    /// Has the gate look at every picture once, at full speed, and at one picture by each judge; what
    /// it says is what a history can be made of. Its records are forgotten.
    pub(crate) async fn survey(
        &mut self,
        gallery: &Gallery,
        policy: &Policy,
        law: &Law,
    ) -> Result<Survey, RigError> {
        self.clear().await?;
        let alone = Policy { pairs: String::new(), ..policy.clone() };
        let url = self.open(&alone, law).await?;
        self.act(law, &BTreeMap::new(), true);
        let mut survey = Survey::default();
        for first in (0..gallery.count()).step_by(SURVEY_AT_ONCE) {
            let last = (first + SURVEY_AT_ONCE).min(gallery.count());
            let sent = (first..last).map(|n| {
                let (web, url, file) = (self.web.clone(), url.clone(), gallery.own(n).file());
                tried(FIRST_WAIT, move || post(&web, &url, (n, file.clone())), |_| true)
            });
            for record in each(sent).await {
                survey.records.push(record?);
            }
        }
        let mut down = BTreeMap::new();
        for cast in CAST {
            self.act(law, &down, true);
            let ask = || post(&self.web, &url, (0, gallery.own(0).file()));
            let record = tried(FIRST_WAIT, ask, |record| is_in_turn(record, cast.judge)).await;
            let record = record.map_err(|why| {
                let told = format!("{} was to judge the survey's last picture: {why}", cast.judge);
                RigError::Story(told)
            })?;
            survey.served.insert(cast.judge.to_owned(), record);
            down.insert(cast.judge, Fault::status(529));
        }
        self.play(law, &BTreeMap::new());
        self.clear().await?;
        Ok(survey)
    }

    /// Brings a history into the store, the gate not running.
    pub(crate) async fn import(&self, file: &Path) -> Result<String, RigError> {
        let file = file.display().to_string();
        self.run(&["import", &file, "--simulated", "--strict"]).await
    }
}

/// What is asked again, with a longer wait each time: a busy machine breaks calls off.
async fn tried<F>(
    first_wait: Duration,
    ask: impl Fn() -> F,
    is_good: impl Fn(&Value) -> bool,
) -> Result<Value, RigError>
where
    F: Future<Output = Result<Value, RigError>>,
{
    let mut wait = first_wait;
    for _ in 1..TRIES {
        match ask().await {
            Ok(record) if is_good(&record) => return Ok(record),
            Ok(_) | Err(_) => sleep(wait).await,
        }
        wait *= 2;
    }
    let record = ask().await?;
    if is_good(&record) {
        return Ok(record);
    }
    Err(RigError::Story(format!("in {TRIES} tries it was not as it had to be: {record}")))
}

/// Whether this judge gave the verdict after everyone before it was asked: a record to make a history
/// of. One of a judge that was not asked because its breaker was open lacks its call.
fn is_in_turn(record: &Value, judge: &str) -> bool {
    let asked = record.get("attempts").and_then(Value::as_array);
    let is_asked = |judge: &str| {
        let of_judge = |one: &Value| one.get("judge").and_then(Value::as_str) == Some(judge);
        asked.is_some_and(|asked| asked.iter().any(of_judge))
    };
    let mut before = CAST.iter().take_while(|cast| cast.judge != judge);
    record.pointer("/judge/name").and_then(Value::as_str) == Some(judge)
        && is_asked(judge)
        && before.all(|cast| is_asked(cast.judge))
}

/// Several things at once without a task for each.
mod futures_queue {
    use std::future::Future;

    use tokio::task::JoinSet;

    use crate::rig::RigError;

    /// What each of them came to, in their order.
    pub(super) async fn each<T: Send + 'static>(
        all: impl Iterator<Item = impl Future<Output = Result<T, RigError>> + Send + 'static>,
    ) -> Vec<Result<T, RigError>> {
        let mut running = JoinSet::new();
        for (n, one) in all.enumerate() {
            running.spawn(async move { (n, one.await) });
        }
        let mut ended = Vec::new();
        while let Some(one) = running.join_next().await {
            let broke = |why| RigError::Story(format!("a task broke: {why}"));
            ended.push(one.map_err(broke).unwrap_or_else(|why| (usize::MAX, Err(why))));
        }
        ended.sort_by_key(|(n, _)| *n);
        ended.into_iter().map(|(_, one)| one).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::ready;

    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn one_failover_of_a_busy_machine_does_not_end_the_survey() {
        let asked = Cell::new(0);
        let ask = || {
            asked.set(asked.get() + 1);
            ready(match asked.get() {
                1 => Err(RigError::Story("a picture: status 504".to_owned())),
                2 => Ok(json!({ "judge": { "name": "claude-haiku" } })),
                _ => Ok(json!({ "judge": { "name": "openai-mini" },
                    "attempts": [{ "judge": "openai-mini" }] })),
            })
        };
        let record =
            tried(Duration::ZERO, ask, |record| is_in_turn(record, "openai-mini")).await.unwrap();
        assert_eq!((asked.get(), &record["judge"]["name"]), (3, &json!("openai-mini")));
    }

    #[tokio::test]
    async fn a_judge_that_never_answers_ends_it_after_some_tries() {
        let asked = Cell::new(0);
        let ask = || {
            asked.set(asked.get() + 1);
            ready(Ok(json!({ "judge": { "name": "claude-haiku" } })))
        };
        let why = tried(Duration::ZERO, ask, |record| is_in_turn(record, "openai-mini"))
            .await
            .unwrap_err();
        assert_eq!(asked.get(), TRIES);
        assert!(why.to_string().contains("in 6 tries"), "{why}");
    }

    #[test]
    fn a_record_that_lacks_the_call_of_a_judge_before_is_not_in_turn() {
        let record = |asked: &[&str]| {
            let attempts: Vec<_> = asked.iter().map(|judge| json!({ "judge": judge })).collect();
            json!({ "judge": { "name": "claude-haiku" }, "attempts": attempts })
        };
        assert!(is_in_turn(&record(&["openai-mini", "claude-haiku"]), "claude-haiku"));
        assert!(!is_in_turn(&record(&["claude-haiku"]), "claude-haiku"));
        assert!(!is_in_turn(&record(&["openai-mini", "claude-haiku"]), "openai-mini"));
    }
}
