//! The admin port switches the behaviour of simulated providers and gives their logs out.
//!
//! Plain HTTP and JSON on loopback, so that whoever drives a load test may be another process. Every
//! instant in it is the machine's monotonic clock in nanoseconds.
//!
//! ```text
//! GET  /providers                      what there is: name, dialect, base_url, behaviour
//! GET  /providers/{name}/behaviour     how it acts now
//! PUT  /providers/{name}/behaviour     acts so from now on        → {"at_ns": …}
//! GET  /providers/{name}/calls?since=N&limit=N    a page of the log
//! GET  /providers/{name}/expected?image=b3:…&criteria=a,b    what it says of an image
//! GET  /open                           calls, connections and slots open now
//! GET  /clock                          → {"now_ns": …}
//! POST /reset                          as at the start            → {"at_ns": …}
//! ```

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::behaviour::Behaviour;
use crate::judging::expected_scores_by_digest;
use crate::monotonic;
use crate::provider::Remote;
use crate::provider::SimulatedProvider;
use crate::wire::Framing;
use crate::wire::Request;
use crate::wire::Response;
use crate::wire::Wire;

/// An admin port that is open until it is dropped.
#[derive(Debug)]
pub struct Admin {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

/// The longest body that is read: a behaviour, not an image.
const MAX_BODY_BYTES: usize = 1 << 20;

/// How many callers are served at once; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 64;

/// How many calls a page has when nothing is said.
const PAGE_CALLS: usize = 10_000;

/// How many it may have.
const MAX_PAGE_CALLS: usize = 50_000;

impl Admin {
    /// Opens the port for these providers, which stay their owner's; call it inside a Tokio runtime.
    ///
    /// # Errors
    ///
    /// When the address cannot be bound.
    pub async fn start(listen: SocketAddr, providers: &[SimulatedProvider]) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let remotes: Vec<Remote> = providers.iter().map(SimulatedProvider::remote).collect();
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, remotes.into()));
        Ok(Self { address, _tasks: tasks })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn serve(listener: TcpListener, remotes: Arc<[Remote]>) {
    let mut connections = JoinSet::new();
    loop {
        let has_room = connections.len() < MAX_CONNECTIONS;
        tokio::select! {
            biased; // reap first, so that the count of connections is right
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if has_room => {
                if let Ok((stream, _)) = accepted {
                    connections.spawn(converse(stream, Arc::clone(&remotes)));
                }
            }
        }
    }
}

async fn converse(stream: TcpStream, remotes: Arc<[Remote]>) {
    let mut wire = Wire::new(stream, MAX_BODY_BYTES);
    while let Ok(Some(request)) = wire.read_request().await {
        let closes = request.closes();
        let response = response(answer(&request, &remotes));
        let length = u64::try_from(response.body.len()).unwrap_or(u64::MAX);
        let is_sent = wire.send_head(&response, Framing::Length(length), closes).await.is_ok()
            && wire.send(&response.body).await.is_ok();
        if closes || !is_sent {
            return;
        }
    }
}

/// What is wrong with a request: its status and a word to the caller.
type Refusal = (u16, String);

fn response(answer: Result<Vec<u8>, Refusal>) -> Response {
    let (status, body) = match answer {
        Ok(body) => (200, body),
        Err((status, problem)) => (status, json!({ "problem": problem }).to_string().into_bytes()),
    };
    let headers = vec![("content-type", "application/json".to_owned())];
    Response { status, headers, body }
}

fn answer(request: &Request, remotes: &[Remote]) -> Result<Vec<u8>, Refusal> {
    let words: Vec<&str> = request.path.split('/').skip(1).collect();
    match (request.method.as_str(), words.as_slice()) {
        ("GET", ["clock"]) => body(&json!({ "now_ns": monotonic::now_ns() })),
        ("GET", ["open"]) => {
            let open = remotes.iter().map(|one| (one.settings().name.as_str(), one.open()));
            body(&open.collect::<BTreeMap<_, _>>())
        }
        ("POST", ["reset"]) => {
            let at_ns = remotes.iter().map(Remote::reset).max();
            body(&json!({ "at_ns": at_ns }))
        }
        ("GET", ["providers"]) => body(&remotes.iter().map(portrait).collect::<Vec<Value>>()),
        (method, ["providers", name, rest]) => {
            let known = remotes.iter().find(|one| one.settings().name == *name);
            let remote = known.ok_or_else(|| (404, format!("no provider is called {name:?}")))?;
            of_provider(method, rest, request, remote)
        }
        _ => Err((404, format!("nothing is at {} {}", request.method, request.path))),
    }
}

fn of_provider(
    method: &str,
    what: &str,
    request: &Request,
    remote: &Remote,
) -> Result<Vec<u8>, Refusal> {
    match (method, what) {
        ("GET", "behaviour") => body(&remote.behaviour()),
        ("PUT", "behaviour") => {
            let behaviour: Behaviour = serde_json::from_slice(&request.body)
                .map_err(|problem| (400, format!("not a behaviour: {problem}")))?;
            body(&json!({ "at_ns": remote.set_behaviour(behaviour) }))
        }
        ("GET", "calls") => {
            let since = number(request, "since")?.unwrap_or_default();
            let limit = number(request, "limit")?.and_then(|limit| usize::try_from(limit).ok());
            let limit = limit.unwrap_or(PAGE_CALLS).clamp(1, MAX_PAGE_CALLS);
            body(&remote.page(since, limit))
        }
        ("GET", "expected") => expected(request, remote),
        _ => Err((404, format!("a provider has no {method} {what:?}"))),
    }
}

fn expected(request: &Request, remote: &Remote) -> Result<Vec<u8>, Refusal> {
    let image = parameter(request, "image").unwrap_or_default();
    let criteria = parameter(request, "criteria").unwrap_or_default();
    let criteria: Vec<&str> = criteria.split(',').filter(|name| !name.is_empty()).collect();
    let scores = expected_scores_by_digest(image, &criteria, &remote.behaviour().judging);
    body(&scores.ok_or_else(|| (400, format!("image {image:?} is not b3: and 64 digits")))?)
}

fn portrait(remote: &Remote) -> Value {
    let settings = remote.settings();
    json!({
        "name": settings.name,
        "dialect": settings.dialect.label(),
        "base_url": format!("http://{}{}", remote.address(), settings.dialect.base_path()),
        "behaviour": remote.behaviour(),
    })
}

fn body(content: &impl Serialize) -> Result<Vec<u8>, Refusal> {
    serde_json::to_vec(content).map_err(|problem| (500, problem.to_string()))
}

fn parameter<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    let mut pairs = request.query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(known, _)| *known == name).map(|(_, value)| value)
}

fn number(request: &Request, name: &str) -> Result<Option<u64>, Refusal> {
    let Some(text) = parameter(request, name) else { return Ok(None) };
    text.parse().map(Some).map_err(|_| (400, format!("{name} {text:?} is not a number")))
}
