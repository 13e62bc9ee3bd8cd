//! Alarms: a real Prometheus beside a story, with the rules as they are shipped, and what fired there.
//!
//! The rules wait, count and compare as they do for users; only the scrapes are closer together, as a
//! story is over in minutes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::json;
use tempfile::TempDir;
use tokio::process::Child;
use tokio::process::Command;
use tokio::time::Instant;
use tokio::time::sleep;

use crate::rig::RigError;
use crate::story::table::End;
use crate::story::table::Row;
use crate::web::Web;

/// Between two scrapes, and between two looks at the rules.
const EVERY: &str = "2s";
/// How long a Prometheus may take to come up, or to answer.
const UP_WITHIN: Duration = Duration::from_secs(30);
/// Longer than any step: what is asked for all of it.
const STEP: &str = "2h";

/// A Prometheus that runs; dropped, it is killed and its files go.
pub(super) struct Alarms {
    _child: Child,
    folder: TempDir,
    url: String,
    web: Web,
}

/// What fired while it ran.
#[derive(Clone, Debug, Default)]
pub(super) struct Fired {
    pub(super) alerts: Vec<Alert>,
    /// Scrapes that brought figures.
    pub(super) scrapes: f64,
    /// Rules that could not be evaluated, and why.
    pub(super) broken: Vec<String>,
}

/// An alert that fired.
#[derive(Clone, Debug, Default)]
pub(super) struct Alert {
    /// Without the `Vlmgate` that all begin with.
    pub(super) name: String,
    pub(super) labels: BTreeMap<String, String>,
}

/// What an alert says of the reject rate.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Says {
    /// What an event of this label says.
    Label(String),
    /// That it is the judges or the images, and no routing.
    Unexplained,
    /// Nothing.
    Nothing,
}

impl Alarms {
    /// Starts `program` on the rules of this file and has it scrape the gate.
    pub(super) async fn start(
        (program, rules): (&Path, &Path),
        gate: &str,
        web: &Web,
    ) -> Result<Self, RigError> {
        let folder = TempDir::with_prefix("vlmgate-alarms-");
        let folder = folder.map_err(RigError::io("a folder for Prometheus"))?;
        let rules = fs::canonicalize(rules).map_err(RigError::io(rules.display().to_string()))?;
        let file = folder.path().join("prometheus.yaml");
        // JSON is YAML
        let text = configuration(&rules, gate).to_string();
        fs::write(&file, text).map_err(RigError::io(file.display().to_string()))?;
        let listen = free()?;
        let mut command = Command::new(program);
        command.arg(format!("--config.file={}", file.display()));
        command.arg(format!("--storage.tsdb.path={}", folder.path().join("tsdb").display()));
        command.arg(format!("--web.listen-address={listen}")).arg("--log.level=warn");
        let said = said(folder.path());
        let log = fs::File::create(&said).map_err(RigError::io(said.display().to_string()))?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
        let child = command.spawn().map_err(RigError::io(program.display().to_string()))?;
        let url = format!("http://{listen}");
        let alarms = Self { _child: child, folder, url, web: web.clone() };
        alarms.ready().await?;
        Ok(alarms)
    }

    async fn ready(&self) -> Result<(), RigError> {
        let url = format!("{}/-/ready", self.url);
        let up_by = Instant::now() + UP_WITHIN;
        loop {
            let asked = self.web.get(&url, Duration::from_secs(1)).await;
            if asked.is_ok_and(|reply| reply.status == 200) {
                return Ok(());
            }
            if up_by <= Instant::now() {
                let said = said(self.folder.path());
                let said = fs::read_to_string(&said).unwrap_or_else(|why| why.to_string());
                return Err(RigError::Story(format!("Prometheus did not come up: {said}")));
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// What fired since it was started.
    pub(super) async fn fired(&self) -> Result<Fired, RigError> {
        let firing = format!("count_over_time(ALERTS{{alertstate=\"firing\"}}[{STEP}])");
        let alerts = self.query(&firing).await?.into_iter().map(|one| Alert::of(one.metric));
        let up = self.query(&format!("sum_over_time(up[{STEP}])")).await?;
        let scrapes = up.iter().filter_map(|one| one.value.1.parse::<f64>().ok()).sum();
        let rules: Rules = self.ask("rules").await?;
        let rules = rules.groups.into_iter().flat_map(|group| group.rules);
        let broken = rules.filter(|rule| rule.health != "ok");
        let broken = broken.map(|rule| format!("{} is {}: {}", rule.name, rule.health, rule.why));
        Ok(Fired { alerts: alerts.collect(), scrapes, broken: broken.collect() })
    }

    async fn query(&self, expression: &str) -> Result<Vec<Sample>, RigError> {
        let found: Samples = self.ask(&format!("query?query={}", escaped(expression))).await?;
        Ok(found.result)
    }

    async fn ask<T: DeserializeOwned>(&self, path: &str) -> Result<T, RigError> {
        let reply = self.web.get(&format!("{}/api/v1/{path}", self.url), UP_WITHIN).await?;
        let answer = serde_json::from_slice::<Answer<T>>(&reply.body);
        answer.map(|answer| answer.data).map_err(|why| {
            let said = String::from_utf8_lossy(&reply.body);
            RigError::Story(format!("Prometheus answered {path} with {said}: {why}"))
        })
    }
}

/// An answer of Prometheus.
#[derive(Deserialize)]
struct Answer<T> {
    data: T,
}

/// What it found.
#[derive(Deserialize)]
struct Samples {
    result: Vec<Sample>,
}

/// A series with its value, and the value's moment.
#[derive(Deserialize)]
struct Sample {
    metric: BTreeMap<String, String>,
    value: (Value, String),
}

/// Its rules.
#[derive(Deserialize)]
struct Rules {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    name: String,
    health: String,
    #[serde(default, rename = "lastError")]
    why: String,
}

impl Alert {
    fn of(mut labels: BTreeMap<String, String>) -> Self {
        let name = labels.remove("alertname").unwrap_or_default();
        let name = name.strip_prefix("Vlmgate").unwrap_or(&name).to_owned();
        // one policy is scraped, and what has fired was firing
        labels.retain(|label, _| !["__name__", "alertstate", "policy"].contains(&label.as_str()));
        Self { name, labels }
    }

    fn says(&self) -> Says {
        let label = |name: &str| self.labels.get(name).map(String::as_str).unwrap_or_default();
        match (self.name.as_str(), label("detector")) {
            ("RejectRateMovedByRouting", _) => Says::Label("routing".to_owned()),
            ("JudgeDrifted", _) => Says::Label(format!("provider_drift:{}", label("judge"))),
            ("ImagesDrifted", _) | ("DriftEvidence", "input") => {
                Says::Label("input_drift".to_owned())
            }
            ("DriftEvidence", detector) => {
                let judge = detector.strip_prefix("judge:").unwrap_or(detector);
                Says::Label(format!("provider_drift:{judge}"))
            }
            (name, _) if name.starts_with("RejectDrift") => Says::Unexplained,
            _ => Says::Nothing,
        }
    }

    /// Whether it says nothing else than this label does.
    fn agrees(&self, label: &str) -> bool {
        match self.says() {
            Says::Label(said) => said == label,
            Says::Unexplained => label != "routing",
            Says::Nothing => true,
        }
    }

    fn words(&self) -> String {
        let labels = self.labels.iter().map(|(name, value)| format!("{name} {value}"));
        format!("{} ({})", self.name, labels.collect::<Vec<_>>().join(", "))
    }
}

/// The alert of this label fired, and none that says anything else of the reject rate.
pub(super) fn alarm_row(step: &'static str, label: &str, fired: &Fired) -> Row {
    let is_told = fired.alerts.iter().any(|one| one.says() == Says::Label(label.to_owned()));
    let is_alone = fired.alerts.iter().all(|one| one.agrees(label));
    let words: Vec<String> = fired.alerts.iter().map(Alert::words).collect();
    let words = if words.is_empty() { "nothing".to_owned() } else { words.join("; ") };
    let broken = fired.broken.iter().map(|rule| format!("; {rule}")).collect::<String>();
    let told = format!("{words}; {:.0} scrapes{broken}", fired.scrapes);
    Row {
        step,
        asserted: asserted(label),
        told,
        effect: None,
        truth: None,
        seconds: None,
        end: End::of(is_told && is_alone && 1.0 <= fired.scrapes && fired.broken.is_empty()),
    }
}

/// What the shipped rules must say.
pub(super) fn asserted(label: &str) -> String {
    format!("the alerts say {label}, and no other cause")
}

fn said(folder: &Path) -> PathBuf {
    folder.join("said.log")
}

fn configuration(rules: &Path, gate: &str) -> Value {
    let target = gate.strip_prefix("http://").unwrap_or(gate);
    json!({
        "global": { "scrape_interval": EVERY, "scrape_timeout": EVERY, "evaluation_interval": EVERY },
        "rule_files": [rules],
        "scrape_configs": [{ "job_name": "vlmgate", "static_configs": [{ "targets": [target] }] }],
    })
}

/// An address on loopback that nobody has.
fn free() -> Result<String, RigError> {
    let io = || RigError::io("a port for Prometheus");
    let bound = TcpListener::bind(("127.0.0.1", 0)).map_err(io())?;
    Ok(bound.local_addr().map_err(io())?.to_string())
}

/// Text as a part of an address.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            escaped.push(char::from(byte));
        } else {
            // a String takes any text
            let _written = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(name: &str, labels: &[(&str, &str)]) -> Alert {
        let own = [("alertname", name), ("alertstate", "firing"), ("policy", "p")];
        let own = own.into_iter().chain(labels.iter().copied());
        Alert::of(own.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    fn end(label: &str, alerts: &[Alert]) -> End {
        let fired = Fired { alerts: alerts.to_vec(), scrapes: 90.0, broken: Vec::new() };
        alarm_row("step", label, &fired).end
    }

    #[test]
    fn an_outage_that_is_told_as_routing_and_as_a_judge_too_is_missed() {
        let routing = alert("VlmgateRejectRateMovedByRouting", &[("severity", "info")]);
        let breaker = alert("VlmgateJudgeBreakerOpen", &[("judge", "openai-mini")]);
        let judge = alert("VlmgateDriftEvidence", &[("detector", "judge:claude-haiku")]);
        let unexplained = alert("VlmgateRejectDriftFast", &[("severity", "page")]);
        assert_eq!(end("routing", &[routing.clone(), breaker.clone()]), End::Held);
        assert_eq!(end("routing", &[breaker]), End::Missed);
        assert_eq!(end("routing", &[routing.clone(), judge]), End::Missed);
        assert_eq!(end("routing", &[routing, unexplained]), End::Missed);
    }

    #[test]
    fn only_the_right_judge_is_to_blame() {
        let label = "provider_drift:openai-mini";
        let told = |judge| alert("VlmgateJudgeDrifted", &[("judge", judge)]);
        let evidence = |detector| alert("VlmgateDriftEvidence", &[("detector", detector)]);
        let unexplained = alert("VlmgateRejectDriftFast", &[]);
        assert_eq!(end(label, &[told("openai-mini"), unexplained]), End::Held);
        assert_eq!(end(label, &[evidence("judge:openai-mini")]), End::Held);
        assert_eq!(end(label, &[told("claude-haiku")]), End::Missed);
        assert_eq!(end(label, &[told("openai-mini"), evidence("input")]), End::Missed);
        assert_eq!(end("input_drift", &[evidence("input")]), End::Held);
        assert_eq!(end("input_drift", &[told("openai-mini")]), End::Missed);
        let images = alert("VlmgateImagesDrifted", &[]);
        assert_eq!(end("input_drift", &[images.clone(), evidence("judge:a")]), End::Missed);
        assert_eq!(end("input_drift", &[images]), End::Held);
    }

    #[test]
    fn silence_says_nothing_where_nobody_scraped_or_a_rule_was_broken() {
        let routing = vec![alert("VlmgateRejectRateMovedByRouting", &[])];
        let unscraped = Fired { alerts: routing.clone(), ..Fired::default() };
        assert_eq!(alarm_row("routing", "routing", &unscraped).end, End::Missed);
        let broken = vec!["VlmgateSheds is err: many-to-many".to_owned()];
        let broken = Fired { alerts: routing, scrapes: 90.0, broken };
        let row = alarm_row("routing", "routing", &broken);
        assert_eq!(row.end, End::Missed);
        assert!(row.told.contains("many-to-many"), "{}", row.told);
    }

    #[test]
    fn an_alert_is_told_with_what_it_names() {
        let told = alert("VlmgateJudgeDrifted", &[("judge", "openai-mini"), ("severity", "page")]);
        assert_eq!(told.words(), "JudgeDrifted (judge openai-mini, severity page)");
    }

    #[test]
    fn the_rules_are_taken_as_they_are_and_the_gate_alone_is_scraped() {
        let asked = configuration(Path::new("/a/alerts.yaml"), "http://127.0.0.1:8080");
        assert_eq!(asked["rule_files"], json!(["/a/alerts.yaml"]));
        let targets = &asked["scrape_configs"][0]["static_configs"][0]["targets"];
        assert_eq!(*targets, json!(["127.0.0.1:8080"]));
        assert_eq!(escaped("up[2h]{a=\"b\"}"), "up%5B2h%5D%7Ba%3D%22b%22%7D");
    }
}
