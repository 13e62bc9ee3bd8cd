//! Traffic is pictures on their way to the gate at an even rate, whatever the answers do.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio::time::sleep_until;

use crate::gallery::Gallery;
use crate::rig::RigError;
use crate::story::POLICY;
use crate::web::Web;

/// Longest that an answer is waited for: the policy's deadline and something on top.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// Pictures under way at most; one more is not sent, and counted.
const MAX_OPEN: usize = 2_000;

/// What became of the pictures that were sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sent {
    pub(crate) answered: u64,
    /// Not answered with a verdict, and the first of their reasons.
    pub(crate) lost: u64,
    pub(crate) why: Option<String>,
}

/// Pictures in their turn.
pub(crate) struct Traffic {
    web: Web,
    url: String,
    gallery: Arc<Gallery>,
    /// The number of the next picture.
    n: usize,
    open: JoinSet<Result<(), String>>,
    sent: Sent,
}

impl Traffic {
    /// Traffic whose first picture has this number: no picture comes twice, nor one of those before.
    pub(crate) fn new(web: &Web, url: &str, (gallery, first): (&Arc<Gallery>, usize)) -> Self {
        let (web, url, gallery) = (web.clone(), url.to_owned(), Arc::clone(gallery));
        Self { web, url, gallery, n: first, open: JoinSet::new(), sent: Sent::default() }
    }

    /// The same traffic with other pictures from here on.
    pub(crate) fn show(&mut self, gallery: &Arc<Gallery>) {
        self.gallery = Arc::clone(gallery);
    }

    /// Sends at this rate until then.
    pub(crate) async fn flow(&mut self, rate_per_s: f64, until: Instant) {
        let gap = Duration::from_secs_f64(1.0 / rate_per_s.max(0.01));
        let mut due = Instant::now();
        while due < until {
            sleep_until(due).await;
            due += gap;
            while let Some(ended) = self.open.try_join_next() {
                self.count(ended.unwrap_or_else(|why| Err(why.to_string())));
            }
            if MAX_OPEN <= self.open.len() {
                self.count(Err(format!("{MAX_OPEN} pictures are under way already")));
                continue;
            }
            let sending = post(&self.web, &self.url, (self.n, self.gallery.own(self.n).file()));
            self.n += 1;
            self.open.spawn(async move { sending.await.map(drop).map_err(|why| why.to_string()) });
        }
    }

    /// Waits for what is under way.
    pub(crate) async fn end(mut self) -> Sent {
        while let Some(ended) = self.open.join_next().await {
            self.count(ended.unwrap_or_else(|why| Err(why.to_string())));
        }
        self.sent
    }

    fn count(&mut self, ended: Result<(), String>) {
        match ended {
            Ok(()) => self.sent.answered += 1,
            Err(why) => {
                self.sent.lost += 1;
                self.sent.why.get_or_insert(why);
            }
        }
    }
}

/// What a record of the picture with this number is called by its caller.
const REQUEST: &str = "picture-";

/// The number of the picture that a record is of.
pub(crate) fn number_of(record: &Value) -> Option<usize> {
    record.get("request_id")?.as_str()?.strip_prefix(REQUEST)?.parse().ok()
}

/// Sends the picture with this number; the verdict.
pub(crate) fn post(
    web: &Web,
    url: &str,
    (n, file): (usize, Bytes),
) -> impl Future<Output = Result<Value, RigError>> + Send + use<> {
    let web = web.clone();
    let request = Request::post(format!("{url}/v1/verdicts?policy={POLICY}"))
        .header("content-type", "image/jpeg")
        .header("x-request-id", format!("{REQUEST}{n}"))
        .body(Full::new(file));
    async move {
        let request = request.map_err(|why| RigError::Story(why.to_string()))?;
        let reply = web.call(request, Instant::now() + ANSWER_WITHIN).await?;
        let told = || String::from_utf8_lossy(&reply.body).into_owned();
        if reply.status != 200 {
            return Err(RigError::Story(format!("a picture: status {}: {}", reply.status, told())));
        }
        serde_json::from_slice(&reply.body)
            .map_err(|why| RigError::Story(format!("a verdict cannot be read: {why}: {}", told())))
    }
}
