//! A gate's admin routes, and traffic for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinSet;
use vlmgate::clock::{Deadline, Stopwatch};
use vlmgate::domain::drill::MIN_IMAGES;

use crate::drawn::photo_jpeg;
use crate::world::client;

/// Longer than anything here takes.
pub(crate) const LONG: Duration = Duration::from_secs(180);
/// Between two looks at something that tells nobody when it changes.
pub(crate) const LOOK: Duration = Duration::from_millis(50);
/// Callers at a time.
pub(crate) const CALLERS: usize = 4;

/// A gate's admin routes, and its traffic.
#[derive(Clone)]
pub(crate) struct Admin {
    pub(crate) url: String,
    pub(crate) client: reqwest::Client,
    pub(crate) key: &'static str,
    /// Small: pixels are not what is drilled.
    pub(crate) image: Vec<u8>,
}

impl Admin {
    pub(crate) fn of(url: &str) -> Self {
        Self {
            url: url.trim_end_matches('/').to_owned(),
            client: client(),
            key: "none",
            image: photo_jpeg(256, 7),
        }
    }

    pub(crate) async fn send(&self, request: reqwest::RequestBuilder) -> (u16, Value) {
        let answer = request.header("x-api-key", self.key).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, serde_json::from_str(&answer.text().await.unwrap()).unwrap())
    }

    pub(crate) async fn start(&self, plan: &Value) -> (u16, Value) {
        let request = self.client.post(format!("{}/admin/drills", self.url));
        self.send(request.body(plan.to_string())).await
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        self.send(self.client.get(format!("{}{path}", self.url))).await
    }

    pub(crate) async fn stop(&self, id: &str) -> (u16, Value) {
        self.send(self.client.delete(format!("{}/admin/drills/{id}", self.url))).await
    }

    /// Waits until `holds` holds of the drill.
    pub(crate) async fn until(&self, id: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let looked = async {
            loop {
                let (status, drill) = self.get(&format!("/admin/drills/{id}")).await;
                assert_eq!(status, 200, "{drill}");
                if holds(&drill) {
                    return drill;
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        Deadline::after(LONG).bound(looked).await.expect("it never does")
    }

    /// Waits until the drill has ended.
    pub(crate) async fn ended(&self, id: &str) -> Value {
        self.until(id, |drill| drill["result"].is_string()).await
    }

    pub(crate) async fn metric(&self, series: &str) -> Option<f64> {
        let text = self.client.get(format!("{}/metrics", self.url)).send().await.unwrap();
        let text = text.text().await.unwrap();
        let line = text.lines().find(|line| line.starts_with(series))?;
        line.rsplit_once(' ').unwrap().1.parse().ok()
    }

    /// Judges one image.
    pub(crate) async fn post(&self) -> Value {
        let path = "/v1/verdicts?policy=product-photo&vars.category=home&vars.background=white";
        let request = self.client.post(format!("{}{path}", self.url)).body(self.image.clone());
        let (status, verdict) = self.send(request.header("content-type", "image/jpeg")).await;
        assert_eq!(status, 200, "{verdict}");
        verdict
    }

    /// Callers that post one image after the other.
    pub(crate) fn load(&self) -> Load {
        let go_on = Arc::new(AtomicBool::new(true));
        let answered = Arc::new(AtomicU64::new(0));
        let mut callers = JoinSet::new();
        for _ in 0..CALLERS {
            let (admin, go_on) = (self.clone(), Arc::clone(&go_on));
            let answered = Arc::clone(&answered);
            callers.spawn(async move {
                let mut verdicts = Vec::new();
                while go_on.load(Ordering::Relaxed) {
                    verdicts.push(admin.post().await);
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                verdicts
            });
        }
        Load { go_on, answered, callers }
    }
}

pub(crate) struct Load {
    pub(crate) go_on: Arc<AtomicBool>,
    pub(crate) answered: Arc<AtomicU64>,
    pub(crate) callers: JoinSet<Vec<Value>>,
}

impl Load {
    /// How long this machine takes at the moment for as many images as a drill needs.
    pub(crate) async fn pace_ms(&self) -> u64 {
        let first = self.answered.load(Ordering::Relaxed);
        let began = Stopwatch::start();
        while self.answered.load(Ordering::Relaxed) < first + MIN_IMAGES {
            tokio::time::sleep(LOOK).await;
        }
        u64::try_from(began.elapsed().as_millis()).unwrap()
    }

    /// Lets the callers finish, and gives what they were answered.
    pub(crate) async fn finish(mut self) -> Vec<Value> {
        self.go_on.store(false, Ordering::Relaxed);
        let mut all = Vec::new();
        while let Some(verdicts) = self.callers.join_next().await {
            all.extend(verdicts.unwrap());
        }
        all
    }
}
