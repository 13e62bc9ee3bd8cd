//! The web is the rig's HTTP client: many connections, nothing sent twice, every wait bounded.
//!
//! A client that quietly sends again would hide what the target did to the first request.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use http_body_util::Full;
use hyper::Method;
use hyper::Request;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioTimer;
use tokio::time::Instant;
use tokio::time::timeout_at;

/// Idle connections are given up before the target does it, so that none is lost to a race.
const IDLE: Duration = Duration::from_secs(8);

/// The longest answer that is read.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// A client with its connections.
#[derive(Clone, Debug)]
pub(crate) struct Web {
    client: Client<HttpConnector, Full<Bytes>>,
}

/// What came back.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<String>,
    pub(crate) body: Bytes,
}

/// Why nothing came back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WebError {
    #[error("the request cannot be written: {0}")]
    Request(#[from] hyper::http::Error),
    #[error("no answer: {}", chain(.0))]
    Call(#[from] hyper_util::client::legacy::Error),
    #[error("the answer broke off: {}", chain(.0))]
    Body(#[from] hyper::Error),
    #[error("the answer has more than {MAX_ANSWER_BYTES} bytes")]
    TooLong,
    #[error("no whole answer in time")]
    Late,
}

impl WebError {
    /// Nobody listened.
    pub(crate) fn is_refused(&self) -> bool {
        match self {
            Self::Call(problem) => problem.is_connect(),
            Self::Request(_) | Self::Body(_) | Self::TooLong | Self::Late => false,
        }
    }
}

/// An error and what caused it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

impl Web {
    pub(crate) fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(Duration::from_secs(5)));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .retry_canceled_requests(false)
            .build(connector);
        Self { client }
    }

    /// Sends and reads the whole answer, both before `until`.
    pub(crate) async fn call(
        &self,
        request: Request<Full<Bytes>>,
        until: Instant,
    ) -> Result<Reply, WebError> {
        timeout_at(until, self.exchange(request)).await.unwrap_or(Err(WebError::Late))
    }

    /// Gets `url` within `within`.
    pub(crate) async fn get(&self, url: &str, within: Duration) -> Result<Reply, WebError> {
        let request = Request::builder().uri(url).body(Full::default())?;
        self.call(request, Instant::now() + within).await
    }

    /// Sends JSON to `url` within `within`.
    pub(crate) async fn send_json(
        &self,
        method: Method,
        url: &str,
        json: Bytes,
        within: Duration,
    ) -> Result<Reply, WebError> {
        let request = Request::builder().method(method).uri(url);
        let request = request.header("content-type", "application/json").body(Full::new(json))?;
        self.call(request, Instant::now() + within).await
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Reply, WebError> {
        let mut response = self.client.request(request).await?;
        let status = response.status().as_u16();
        let retry_after = response.headers().get("retry-after");
        let retry_after = retry_after.and_then(|value| value.to_str().ok()).map(str::to_owned);
        let mut body = Vec::new();
        while let Some(frame) = response.body_mut().frame().await {
            if let Ok(piece) = frame?.into_data() {
                if MAX_ANSWER_BYTES < body.len() + piece.len() {
                    return Err(WebError::TooLong);
                }
                body.extend_from_slice(&piece);
            }
        }
        Ok(Reply { status, retry_after, body: body.into() })
    }
}
