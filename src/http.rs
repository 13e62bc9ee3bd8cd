//! The door: routes, limits, request ids and probes. axum types stop here.
//!
//! The corridor behind it is [`crate::gate`]; this module turns requests into submissions and
//! records into answers, and what goes wrong leaves as one kind of problem document. The decision
//! route has no timeout layer: at the deadline the caller gets a verdict, not a 408 (only a body
//! that is not in by then is refused so).
//!
//! [`auth`] says who calls, [`headers`] what they said beside the body, [`body`] what they sent,
//! [`filter`] what they asked to see, [`idempotency`] what is under way, `linger` reads on where
//! they were refused, [`presence`] whether they are still there, [`problem`] how a refusal reads;
//! `verdicts`, `records`, `drills` and `admin` are the handlers, `page` what a browser is shown.

mod acknowledge;
mod admin;
pub mod auth;
pub mod body;
mod budgets;
pub(crate) mod drift;
mod drills;
pub mod events;
pub mod filter;
pub mod headers;
pub mod idempotency;
mod json;
mod labels;
mod linger;
mod marks;
mod multipart;
pub(crate) mod page;
pub mod presence;
pub mod problem;
pub mod query;
pub(crate) mod range;
mod records;
mod sent;
pub(crate) mod sentence;
pub(crate) mod stats;
pub mod upload;
mod verdicts;

use std::fmt;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Uri, Version, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use futures_util::future::BoxFuture;
use tokio_util::task::TaskTracker;
use tower_http::catch_panic::CatchPanicLayer;

use crate::clock::Stopwatch;
use crate::drill::Drills;
use crate::gate::Gate;
use crate::gate::policies::Reload;
use crate::http::auth::{Auth, Key, authenticate};
use crate::http::events::Streams;
use crate::http::headers::identify;
use crate::http::idempotency::Running;
use crate::http::linger::linger;
use crate::http::problem::{Problem, ProblemKind};
use crate::ledger::follow::acknowledge::Acknowledging;
use crate::ledger::follow::view::Known;
use crate::telemetry;

/// Every route described for machines: what `/openapi.json` serves.
pub const OPENAPI: &str = include_str!("http/openapi.json");

/// When a caller that was shed is told to come again.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What the HTTP face runs on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Who may call; empty: everybody who reaches the address.
    pub keys: Vec<Key>,
    /// Whether only requests to a loopback `Host` are answered: a page that rebinds its name to
    /// 127.0.0.1 must not reach a gate without keys. False with keys, or with `--insecure-no-auth`.
    pub loopback_only: bool,
    /// Most bytes of one image, whatever the policies take: the cap on the largest
    /// `input.max_bytes`.
    pub max_image_bytes: u64,
    /// Requests with an `Idempotency-Key` that may be under way at once.
    pub max_keys_running: usize,
}

impl Default for Settings {
    /// Without keys, on loopback.
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            loopback_only: true,
            max_image_bytes: 64 << 20,
            max_keys_running: 10_000,
        }
    }
}

/// Reads the policies anew and takes them over whole or not at all.
pub type Reloader = Box<dyn Fn() -> BoxFuture<'static, Reload> + Send + Sync>;

/// Renders the metrics.
pub type Metrics = Box<dyn Fn() -> String + Send + Sync>;

/// What the handlers share.
pub struct Face {
    /// The corridor.
    pub gate: Arc<Gate>,
    /// Where checks run on when their caller has gone.
    pub tracker: TaskTracker,
    /// Who may call, and how much.
    pub settings: Settings,
    /// Idempotency keys under way.
    pub running: Running,
    /// Reads the policies anew.
    pub reload: Reloader,
    /// Judges broken on purpose.
    pub drills: Arc<Drills>,
    /// What is known of drift.
    pub known: Arc<ArcSwap<Known>>,
    /// How it is said that what drift told was seen; `None` where nothing follows the records.
    pub acknowledging: Option<Acknowledging>,
    /// Leave to stream events.
    pub streams: Arc<Streams>,
    /// Renders the metrics; `None` where no recorder is installed.
    pub metrics: Option<Metrics>,
}

impl fmt::Debug for Face {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Face").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Leave for as many streams of events as there may be.
#[must_use]
pub fn streams() -> Arc<Streams> {
    Arc::new(Streams::new())
}

/// Every route, outermost layer first.
///
/// The arrival is stamped, a gate that is about to stop parts with whoever it answers, what is not read
/// is thrown away, the request gets its id, panics are caught and counted, the caller is known.
pub fn router(face: Arc<Face>) -> Router {
    let auth = Arc::new(Auth::new(&face.settings));
    let tracker = face.tracker.clone();
    let gate = Arc::clone(&face.gate);
    Router::new()
        .route("/v1/verdicts", allow(get(records::list).post(verdicts::post), "GET, POST"))
        .route("/v1/verdicts:export", allow(get(records::export), "GET"))
        .route("/v1/verdicts/{id}", allow(get(records::one), "GET"))
        .route("/v1/verdicts/{id}/image", allow(get(records::image), "GET"))
        .route("/v1/verdicts/{id}/views", allow(get(records::views), "GET"))
        .route("/v1/verdicts/{id}/label", allow(post(labels::post), "POST"))
        .route("/v1/verdicts/{id}/labels", allow(get(labels::list), "GET"))
        .route("/v1/policies", allow(get(with(|face, _| admin::policies(face))), "GET"))
        .route("/v1/budgets", allow(get(budgets::get), "GET"))
        .route("/v1/judges", allow(get(with(|face, _| admin::judges(face))), "GET"))
        .route("/v1/stats", allow(get(stats::get), "GET"))
        .route("/v1/drift", allow(get(drift::get), "GET"))
        .route("/v1/events", allow(get(events::get), "GET"))
        .route("/admin/reload", allow(post(admin::reload), "POST"))
        .route("/admin/drift:acknowledge", allow(post(acknowledge::post), "POST"))
        .route("/admin/drills", allow(get(drills::list).post(drills::start), "GET, POST"))
        .route("/admin/drills/{id}", allow(get(drills::one).delete(drills::stop), "GET, DELETE"))
        .route("/livez", allow(get(async || admin::livez()), "GET"))
        .route("/readyz", allow(get(with(admin::readyz)), "GET"))
        .route("/healthz", allow(get(with(admin::readyz)), "GET"))
        .route("/metrics", allow(get(with(|face, _| admin::metrics(face))), "GET"))
        .route("/ui", allow(get(page::root), "GET"))
        .route("/ui/", allow(get(page::file), "GET"))
        .route("/ui/{*path}", allow(get(page::file), "GET"))
        .route("/openapi.json", allow(get(async || admin::openapi()), "GET"))
        .fallback(async |uri: Uri| {
            Problem::new(ProblemKind::NotFound, format!("there is no route {}", uri.path()))
        })
        .with_state(face)
        .layer(from_fn_with_state(auth, authenticate))
        .layer(CatchPanicLayer::custom(|_| {
            tracing::error!("a handler broke");
            telemetry::count_panic();
            Problem::internal().into_response()
        }))
        .layer(from_fn(identify))
        .layer(from_fn_with_state(tracker, linger))
        .layer(from_fn_with_state(gate, part))
        .layer(from_fn(stamp))
}

/// A handler that only looks.
fn with<R: IntoResponse>(
    look: impl Fn(&Face, &Uri) -> R + Clone + Send + Sync + 'static,
) -> impl Fn(State<Arc<Face>>, Uri) -> Ready<R> + Clone + Send + Sync + 'static {
    move |State(face): State<Arc<Face>>, uri: Uri| ready(look(&face, &uri))
}

/// Other methods than `methods` are told so.
fn allow(route: MethodRouter<Arc<Face>>, methods: &'static str) -> MethodRouter<Arc<Face>> {
    route.fallback(async move || Problem::method_not_allowed(methods))
}

/// Middleware: when the request came in, before anything is read of its body.
async fn stamp(mut request: Request, next: Next) -> Response {
    request.extensions_mut().insert(Stopwatch::start());
    next.run(request).await
}

/// Middleware: while the gate drains, an answer ends its HTTP/1 connection and says so. A caller that
/// kept it would send its next request just when it is closed, and few repeat a POST.
async fn part(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    // HTTP/2 has a frame of its own for that, and forbids the header
    let is_told_by_header = request.version() <= Version::HTTP_11;
    let mut response = next.run(request).await;
    if is_told_by_header && gate.door.is_draining() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

#[cfg(test)]
mod tests;
