//! One run: a gate with shadows or without, images when they are due, and what became of each.

use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio::time::sleep;
use tokio::time::sleep_until;

use crate::behaviour::Behaviour;
use crate::chance::Chance;
use crate::config::vlmgate_config;
use crate::gallery::Gallery;
use crate::latency::Latency;
use crate::provider::Settings;
use crate::provider::SimulatedProvider;
use crate::rig::RigError;
use crate::rig::calibration::PASS_AT;
use crate::rig::direct::CRITERIA;
use crate::rig::gate::Gate;
use crate::rig::gate::Start;
use crate::story::POLICY;
use crate::story::law::CAST;
use crate::story::law::LAST_JUDGE;
use crate::story::law::PRIMARY;
use crate::story::law::SECONDARY;
use crate::story::traffic::post;
use crate::web::Web;

/// Sent before anything is measured, at the same rate.
const WARM_UP_S: f64 = 4.0;
/// Requests of one run at most.
const MOST_REQUESTS: usize = 200_000;
/// How long the gate may take to end.
const END_WITHIN: Duration = Duration::from_secs(20);
/// How long calls behind verdicts are waited for before they are counted.
const SETTLE: Duration = Duration::from_secs(1);
/// How many calls a judge takes at once where they are too few: 100 a second by the two of the
/// route.
const FEW_SLOTS: u32 = 10;
/// Images that the gate has in hand at most.
const MAX_IN_FLIGHT: u32 = 64;
/// The share of images that another judge is shown.
const SAMPLE: &str = "10%";

/// What is sent in one run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) rate_per_s: f64,
    pub(super) seconds: f64,
    /// Whether the judges take fewer calls than that.
    pub(super) is_short_of_judges: bool,
}

/// What became of one image.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Sent {
    /// From when it was due to the end of its answer.
    pub(super) took_ms: f64,
    /// Whether a judge's verdict came.
    pub(super) is_judged: bool,
}

/// What became of one run.
#[derive(Clone, Debug, Default)]
pub(super) struct Played {
    /// In the order in which they were due.
    pub(super) sent: Vec<Sent>,
    /// Calls behind verdicts that were made, and those that were drawn and not made.
    pub(super) asked: u64,
    pub(super) dropped: u64,
}

/// Providers, and where a gate is started beside them.
pub(super) struct Scene {
    providers: Vec<SimulatedProvider>,
    binary: PathBuf,
    folder: PathBuf,
    gallery: Gallery,
}

impl Scene {
    /// Starts the providers.
    pub(super) fn set(
        binary: PathBuf,
        folder: PathBuf,
        gallery: Gallery,
    ) -> Result<Self, RigError> {
        let mut providers = Vec::new();
        for cast in CAST {
            let settings = Settings {
                listen: (Ipv4Addr::LOCALHOST, 0).into(),
                max_calls_logged: 0,
                logs_prompts: false,
                ..Settings::new(cast.dialect)
            };
            let started = SimulatedProvider::start(settings);
            providers.push(started.map_err(RigError::io("a provider"))?);
        }
        Ok(Self { providers, binary, folder, gallery })
    }

    /// Plays one run on a gate of its own.
    pub(super) async fn play(
        &self,
        load: Load,
        seed: u64,
        has_shadows: bool,
    ) -> Result<Played, RigError> {
        for (provider, cast) in self.providers.iter().zip(CAST) {
            let remote = provider.remote();
            // no image was seen: each takes its judge as long as in the other runs
            remote.reset();
            remote.set_behaviour(Behaviour {
                latency: Latency::LogNormal { median_ms: cast.median_ms, sigma: 0.25 },
                slots: load.is_short_of_judges.then_some(FEW_SLOTS),
                ..Behaviour::default()
            });
        }
        self.write(has_shadows)?;
        let web = Web::new();
        let start = Start {
            binary: self.binary.clone(),
            folder: self.folder.clone(),
            cores: None,
            listen: "127.0.0.1:0".to_owned(),
        };
        let mut gate = Gate::start(&start, &web).await?;
        let sent = self.send(&web, &gate.url, (load, seed)).await?;
        sleep(SETTLE).await;
        let metrics = web.get(&format!("{}/metrics", gate.url), END_WITHIN).await?;
        let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
        gate.terminate().await?;
        gate.ended(END_WITHIN).await?;
        let asked = sum(&metrics, "vlmgate_attempts_total{", "route=\"shadow\"");
        let dropped = sum(&metrics, "vlmgate_shadow_dropped_total{", "");
        Ok(Played { sent, asked, dropped })
    }

    /// Sends every image when it is due, and waits for what becomes of it.
    async fn send(
        &self,
        web: &Web,
        url: &str,
        (load, seed): (Load, u64),
    ) -> Result<Vec<Sent>, RigError> {
        let due = due(load, seed);
        let began = Instant::now() + Duration::from_millis(200);
        let mut open = JoinSet::new();
        for (n, due_s) in due.iter().enumerate() {
            let due = began + Duration::from_secs_f64(*due_s);
            let file = self.gallery.image(n).numbered(n);
            sleep_until(due).await;
            let sending = post(web, url, (self.gallery.place(n), file));
            open.spawn(async move {
                let verdict = sending.await;
                let took_ms = due.elapsed().as_secs_f64() * 1_000.0;
                let basis = verdict.ok().and_then(|one| one.get("basis").cloned());
                let is_judged = basis.as_ref().and_then(Value::as_str) == Some("judge");
                (n, Sent { took_ms, is_judged })
            });
        }
        let mut sent = Vec::with_capacity(due.len());
        while let Some(ended) = open.join_next().await {
            let broke = |why| RigError::Story(format!("a request's task broke: {why}"));
            sent.push(ended.map_err(broke)?);
        }
        sent.sort_by_key(|(n, _)| *n);
        let measured = sent.into_iter().zip(due).filter(|(_, due_s)| WARM_UP_S <= *due_s);
        Ok(measured.map(|((_, sent), _)| sent).collect())
    }

    /// Writes the gate's files, and forgets what an earlier one stored.
    fn write(&self, has_shadows: bool) -> Result<(), RigError> {
        let (folder, policies) = (self.folder.display(), self.folder.join("policies"));
        let data = self.folder.join("data");
        match fs::remove_dir_all(&data) {
            Err(why) if why.kind() != std::io::ErrorKind::NotFound => {
                return Err(RigError::io(data.display().to_string())(why));
            }
            Ok(()) | Err(_) => {}
        }
        fs::create_dir_all(&policies).map_err(RigError::io(policies.display().to_string()))?;
        let judges =
            vlmgate_config(&self.providers).replace("base_url:", "connect_timeout: 2s, base_url:");
        let service = format!(
            "server: {{ max_in_flight: {MAX_IN_FLIGHT}, drain: {{ accept_for: 0s, at_most: 10s }} }}\n\
             store: {{ url: \"sqlite://{folder}/data/vlmgate.db\" }}\n\
             policies: {{ dir: \"{folder}/policies\", reload: off }}\n{judges}"
        );
        let policy = policy(has_shadows);
        for (file, text) in [("vlmgate.yaml", service), ("policies/product-photo.yaml", policy)] {
            let file = self.folder.join(file);
            fs::write(&file, text).map_err(RigError::io(file.display().to_string()))?;
        }
        Ok(())
    }
}

/// The policy: nothing is measured, two judges in the route, the third behind verdicts.
fn policy(has_shadows: bool) -> String {
    let ask = |id: &&str| {
        format!("  - {{ id: {id}, ask: \"Is there nothing to fault?\", pass_at: {PASS_AT:.2} }}\n")
    };
    let criteria: String = CRITERIA.iter().map(ask).collect();
    let shadow = if has_shadows {
        format!(
            "shadow: [{{ id: behind, judge: {LAST_JUDGE}, sample: {SAMPLE}, per_day: 1000 USD }}]\n"
        )
    } else {
        String::new()
    };
    format!(
        "format: 1\nname: {POLICY}\n\
         description: Simulated. What it costs an answer that others are shown its image.\n\
         mode: enforce\n\
         input:\n  accept: [jpeg]\n  views: [{{ id: whole, max_side: 1024 }}]\n\
         criteria:\n{criteria}\
         borderline: 0\n\
         prompt:\n  system: You are a product image quality gate.\n  user: |\n    \
         Answer each question with a score from 0 to 1.\n    \
         {{%- for c in criteria %}}\n    - {{{{ c.id }}}}: {{{{ c.ask }}}}\n    {{%- endfor %}}\n\
         route:\n  judges: [{PRIMARY}, {SECONDARY}]\n  deadline: 5s\n  hedge: off\n  stream: false\n\
         {shadow}record: {{ images: [] }}\n"
    )
}

/// When each image is due, in seconds: a function of the seed alone.
fn due(load: Load, seed: u64) -> Vec<f64> {
    let (mut due, mut at_s) = (Vec::new(), 0.0);
    for n in 0..MOST_REQUESTS {
        let number = u64::try_from(n).unwrap_or_default().to_le_bytes();
        let chance = Chance::of(&[b"arrival", &seed.to_le_bytes(), &number]);
        at_s += -(1.0 - chance.unit("gap")).ln() / load.rate_per_s;
        if WARM_UP_S + load.seconds <= at_s {
            break;
        }
        due.push(at_s);
    }
    due
}

/// The sum of the series of a name that have a label.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts of one run, written as numbers"
)]
fn sum(metrics: &str, name: &str, label: &str) -> u64 {
    let lines = metrics.lines().filter(|line| line.starts_with(name) && line.contains(label));
    let values = lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
    values.sum::<f64>().max(0.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_run_of_a_round_has_the_same_moments_and_another_round_has_others() {
        let load = Load { rate_per_s: 40.0, seconds: 10.0, is_short_of_judges: false };
        assert_eq!(due(load, 1), due(load, 1));
        assert_ne!(due(load, 1), due(load, 2));
        assert!((450..670).contains(&due(load, 1).len()), "{}", due(load, 1).len());
    }

    #[test]
    fn what_was_asked_behind_verdicts_is_read_from_the_metrics() {
        let metrics = "vlmgate_attempts_total{judge=\"a\",route=\"shadow\",outcome=\"judged\"} 7\n\
            vlmgate_attempts_total{judge=\"a\",route=\"primary\",outcome=\"judged\"} 900\n\
            vlmgate_attempts_total{judge=\"b\",route=\"shadow\",outcome=\"cancelled\"} 2\n\
            vlmgate_shadow_dropped_total{reason=\"crowded\"} 3\n";
        assert_eq!(sum(metrics, "vlmgate_attempts_total{", "route=\"shadow\""), 9);
        assert_eq!(sum(metrics, "vlmgate_shadow_dropped_total{", ""), 3);
        assert_eq!(sum("", "vlmgate_shadow_dropped_total{", ""), 0);
    }
}
