//! Onlookers see what users see beside the answers of `/v1/`: the alerts of a real Prometheus, and the
//! page in a real browser. Where one of them is not there, the table says so.

use std::path::Path;
use std::path::PathBuf;

use tokio::process::Command;

use crate::rig::RigError;
use crate::story::drift::alarms::Alarms;
use crate::story::drift::alarms::alarm_row;
use crate::story::drift::alarms::asserted;
use crate::story::drift::page;
use crate::story::drift::steps::Expected;
use crate::story::table::End;
use crate::story::table::Row;
use crate::web::Web;

/// The rules that are shipped.
const RULES: &str = "ops/alerts.yaml";
/// Where `tests/ops/run` unpacks a Prometheus.
const UNPACKED: &str = "target/ops/prometheus/usr/bin/prometheus";
/// What reads the page, and what it drives the browser with.
const SCRIPT: &str = "tests/page/says.mjs";
const DRIVER: &str = "tests/page/node_modules/playwright-core";
/// The oldest node that drives a browser.
const LEAST_NODE: u32 = 20;

/// Who can look, and who cannot and why.
pub(super) struct Onlookers {
    prometheus: Result<PathBuf, String>,
    browser: Result<PathBuf, String>,
    /// How a row ends that nobody could look at.
    pub(super) absent: End,
}

/// What a step is watched with.
pub(super) enum Watching {
    Alarms(Box<Alarms>),
    /// Nobody watches, and why.
    Nobody(String),
}

impl Onlookers {
    /// Looks for the programs: a Prometheus that was named, is on the PATH or was unpacked for tests,
    /// and this browser with what drives it.
    pub(super) async fn find(
        prometheus: Option<&Path>,
        browser: &Path,
        requires_all: bool,
    ) -> Self {
        Self {
            prometheus: find_prometheus(prometheus).await,
            browser: find_browser(browser).await,
            absent: if requires_all { End::Missed } else { End::Skipped },
        }
    }

    /// What cannot be looked at, and why: to be said before anything is played.
    pub(super) fn missing(&self) -> Vec<String> {
        let alerts = self.prometheus.as_ref().err().map(|why| not_looked("alerts", why));
        let page = self.browser.as_ref().err().map(|why| not_looked("page", why));
        alerts.into_iter().chain(page).collect()
    }

    /// Whether anybody can look.
    pub(super) fn any(&self) -> bool {
        self.prometheus.is_ok() || self.browser.is_ok()
    }

    /// Has the alerts watched from here on.
    pub(super) async fn watch(&self, gate: &str, web: &Web) -> Result<Watching, RigError> {
        match &self.prometheus {
            Ok(program) => {
                let alarms =
                    Alarms::start((program.as_path(), Path::new(RULES)), gate, web).await?;
                Ok(Watching::Alarms(Box::new(alarms)))
            }
            Err(why) => Ok(Watching::Nobody(why.clone())),
        }
    }

    /// What the alerts said since they were watched.
    pub(super) async fn alarms(&self, step: (&'static str, &str), watching: &Watching) -> Row {
        let (step, label) = step;
        match watching {
            Watching::Nobody(why) => {
                self.unseen(step, (asserted(label), not_looked("alerts", why)))
            }
            Watching::Alarms(alarms) => match alarms.fired().await {
                Ok(fired) => alarm_row(step, label, &fired),
                Err(why) => broken(step, asserted(label), &why),
            },
        }
    }

    /// What the page says of the event, and of a stretch of time in which its cause was worth
    /// `truth`.
    pub(super) async fn page(
        &self,
        gate: &str,
        event: &Expected,
        (truth, window, is_short): (f64, (u64, u64), bool),
    ) -> Vec<Row> {
        let Expected { step, ref label, began_ms, .. } = *event;
        let asserted = [page::now_asserted(event), page::why_asserted(event)];
        let browser = match &self.browser {
            Ok(browser) => browser,
            Err(why) => {
                let told = not_looked("page", why);
                return asserted.map(|one| self.unseen(step, (one, told.clone()))).into();
            }
        };
        match page::read((browser.as_path(), Path::new(SCRIPT)), gate, window).await {
            Ok(shown) => {
                let label = label.clone();
                let stretch = Expected { step, label, truth, began_ms };
                let why = page::why_row(&stretch, &shown);
                // it was read, and is not held to what so few pictures do not show
                let end = if is_short && why.end == End::Missed { End::Skipped } else { why.end };
                vec![page::now_row(event, &shown), Row { end, ..why }]
            }
            Err(why) => asserted.map(|one| broken(step, one, &why)).into(),
        }
    }

    /// A row that nobody could look at.
    fn unseen(&self, step: &'static str, (asserted, told): (String, String)) -> Row {
        Row { step, asserted, told, effect: None, truth: None, seconds: None, end: self.absent }
    }
}

/// A row whose onlooker broke.
fn broken(step: &'static str, asserted: String, why: &RigError) -> Row {
    let told = why.to_string();
    let end = End::Missed;
    Row { step, asserted, told, effect: None, truth: None, seconds: None, end }
}

fn not_looked(at: &str, why: &str) -> String {
    format!("NOT LOOKED AT, THE {}: {why}", at.to_uppercase())
}

async fn find_prometheus(named: Option<&Path>) -> Result<PathBuf, String> {
    if !Path::new(RULES).exists() {
        return Err(format!("no {RULES} here: run it where the sources are"));
    }
    if let Some(named) = named {
        return match version(named).await {
            Some(_) => Ok(named.to_path_buf()),
            None => Err(format!("{} is no program that runs", named.display())),
        };
    }
    for program in [Path::new("prometheus"), Path::new(UNPACKED)] {
        if version(program).await.is_some() {
            return Ok(program.to_path_buf());
        }
    }
    Err("no prometheus on the PATH (--prometheus names one, tests/ops/run unpacks one)".to_owned())
}

async fn find_browser(browser: &Path) -> Result<PathBuf, String> {
    for needed in [SCRIPT, DRIVER] {
        if !Path::new(needed).exists() {
            return Err(format!("no {needed} here (tests/page/run installs it)"));
        }
    }
    let node = version(Path::new("node")).await.unwrap_or_default();
    let major = node.trim_start_matches('v').split('.').next().and_then(|n| n.parse::<u32>().ok());
    if major.is_none_or(|major| major < LEAST_NODE) {
        return Err(format!("no node from {LEAST_NODE} on on the PATH"));
    }
    match version(browser).await {
        Some(_) => Ok(browser.to_path_buf()),
        None => Err(format!("no {} (--chromium names one)", browser.display())),
    }
}

/// What a program says its version is; none where it does not run.
async fn version(program: &Path) -> Option<String> {
    let asked = Command::new(program).arg("--version").kill_on_drop(true).output().await;
    let said = asked.ok().filter(|said| said.status.success())?;
    Some(String::from_utf8_lossy(&said.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn without(requires_all: bool) -> Onlookers {
        Onlookers {
            prometheus: Err("no prometheus on the PATH".to_owned()),
            browser: Err("no /usr/bin/chromium".to_owned()),
            absent: if requires_all { End::Missed } else { End::Skipped },
        }
    }

    async fn rows(onlookers: &Onlookers) -> Vec<Row> {
        let watching = onlookers.watch("http://127.0.0.1:9", &Web::new()).await.unwrap();
        let mut rows = vec![onlookers.alarms(("routing", "routing"), &watching).await];
        let label = "routing".to_owned();
        let event = Expected { step: "routing", label, truth: 0.03, began_ms: 0 };
        rows.extend(onlookers.page("http://127.0.0.1:9", &event, (0.03, (0, 60_000), false)).await);
        rows
    }

    #[tokio::test]
    async fn what_nobody_looked_at_is_told_loudly_and_is_missed_where_all_is_required() {
        let rows_of = rows(&without(false)).await;
        assert_eq!(rows_of.len(), 3);
        assert!(rows_of.iter().all(|row| row.end == End::Skipped));
        assert_eq!(rows_of[0].told, "NOT LOOKED AT, THE ALERTS: no prometheus on the PATH");
        assert!(rows_of[1].told.starts_with("NOT LOOKED AT, THE PAGE: "), "{}", rows_of[1].told);
        assert!(rows(&without(true)).await.iter().all(|row| row.end == End::Missed));
        assert_eq!(without(true).missing().len(), 2);
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_has_no_version() {
        assert_eq!(version(Path::new("/nowhere/prometheus")).await, None);
        assert!(version(Path::new("cargo")).await.unwrap().starts_with("cargo "));
    }
}
