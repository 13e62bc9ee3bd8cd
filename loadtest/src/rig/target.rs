//! A target is what images are sent to: a gate, any OpenAI-compatible gateway, or a direct client.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use serde::Deserialize;
use tokio::time::Instant;

use crate::gallery::Photograph;
use crate::rig::direct::Direct;
use crate::rig::direct::wire::chat;
use crate::rig::direct::wire::chat_scores;
use crate::rig::policy::POLICY;
use crate::sample::JudgeBody;
use crate::sample::SampleEnd;
use crate::sample::VerdictBody;
use crate::web::Reply;
use crate::web::Web;
use crate::web::WebError;

/// The longest that a request is waited for; longer is no answer.
const MOST: Duration = Duration::from_secs(130);

/// What images are sent to.
#[derive(Clone)]
pub(crate) enum Target {
    Gate { web: Web, url: String },
    OpenAiChat { web: Web, url: String, who: Credentials },
    Direct(Arc<Direct>),
}

/// What a gateway is told that the rig knows nothing of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Credentials {
    /// Sent as a bearer.
    pub(crate) key: String,
    /// The model that is asked for.
    pub(crate) model: String,
}

/// What became of one request.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Answer {
    pub(crate) end: SampleEnd,
    pub(crate) verdict: Option<VerdictBody>,
    /// The words of a refusal.
    pub(crate) refusal: Option<String>,
}

/// A refusal, of which only the words for people are read.
#[derive(Deserialize)]
struct Problem {
    detail: String,
}

/// One request.
pub(crate) struct Errand {
    pub(crate) n: usize,
    pub(crate) image: Photograph,
    pub(crate) deadline_ms: Option<u64>,
}

impl Target {
    /// Sends one image and waits for what comes of it.
    pub(crate) async fn check(&self, errand: Errand) -> Answer {
        let until = Instant::now() + MOST;
        match self {
            Self::Gate { web, url } => {
                let answer = match gate_request(url, &errand) {
                    Ok(request) => web.call(request, until).await,
                    Err(problem) => Err(problem.into()),
                };
                read(&answer, |reply| serde_json::from_slice(&reply.body).ok())
            }
            Self::OpenAiChat { web, url, who } => {
                let id = errand.n.to_string();
                // numbered: what has seen the very same request before would answer from memory
                let request = Request::post(format!("{url}/chat/completions"))
                    .header("content-type", "application/json")
                    .header("authorization", format!("Bearer {}", who.key))
                    .body(Full::new(chat(&who.model, &errand.image.numbered(errand.n))));
                let answer = match request {
                    Ok(request) => web.call(request, until).await,
                    Err(problem) => Err(problem.into()),
                };
                read(&answer, |reply| Some(chat_verdict(id, reply)))
            }
            Self::Direct(direct) => {
                let verdict = direct.check(errand.image, errand.n.to_string()).await;
                let end = SampleEnd::Answered { status: 200, retry_after: false };
                Answer { end, verdict: Some(verdict), refusal: None }
            }
        }
    }
}

fn gate_request(url: &str, errand: &Errand) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
    let mut request = Request::post(format!("{url}/v1/verdicts?policy={POLICY}"));
    request = request.header("content-type", "image/jpeg");
    if let Some(deadline_ms) = errand.deadline_ms {
        request = request.header("vlmgate-deadline-ms", deadline_ms);
    }
    request.body(Full::new(errand.image.file()))
}

fn read(
    answer: &Result<Reply, WebError>,
    verdict: impl FnOnce(&Reply) -> Option<VerdictBody>,
) -> Answer {
    match answer {
        Ok(reply) => {
            let end = SampleEnd::Answered {
                status: reply.status,
                retry_after: reply.retry_after.is_some(),
            };
            if reply.status == 200 {
                return Answer { end, verdict: verdict(reply), refusal: None };
            }
            let problem = serde_json::from_slice::<Problem>(&reply.body);
            Answer { end, verdict: None, refusal: problem.ok().map(|problem| problem.detail) }
        }
        Err(problem) if problem.is_refused() => {
            Answer { end: SampleEnd::TurnedAway, ..Answer::default() }
        }
        Err(_) => Answer::default(),
    }
}

/// What a gateway's completion amounts to; it does not say who judged.
fn chat_verdict(id: String, reply: &Reply) -> VerdictBody {
    let scores = chat_scores(&reply.body);
    let is_good = scores.as_ref().map(|scores| scores.values().all(|score| 0.7 <= *score));
    let (verdict, basis) = match is_good {
        Some(true) => ("pass", "judge"),
        Some(false) => ("fail", "judge"),
        None => ("review", "unreadable"),
    };
    VerdictBody {
        id,
        verdict: verdict.to_owned(),
        basis: basis.to_owned(),
        judge: scores.map(|_| JudgeBody { name: "gateway".to_owned() }),
        ..VerdictBody::default()
    }
}
