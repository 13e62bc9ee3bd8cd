//! The listener accepts connections and sees each to its end, however its other side behaves.
//!
//! Written out because `axum::serve` bounds neither how many connections are open nor how long one
//! may take over its first line: a few thousand sockets that send half a head would take the gate
//! from everybody else.

use std::error::Error;
use std::future::pending;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::app::socket::Socket;
use crate::clock::Deadline;
use crate::telemetry;

/// Most connections at once; whoever comes then waits in the kernel's queue.
pub const MAX_CONNECTIONS: usize = 4_096;

/// Between two tries to accept when it failed for want of something (file handles, memory).
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// How often a silent HTTP/2 connection is asked whether it lives.
const PING_EVERY: Duration = Duration::from_secs(20);
/// Longest that the answer may take.
const PING_WITHIN: Duration = Duration::from_secs(10);

/// What connections may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Most of them at once.
    pub max_connections: usize,
    /// Longest from accepting a connection to the end of its first request's head.
    pub first_head_within: Duration,
    /// Longest from one answer on an HTTP/1 connection to the end of the next request's head. It
    /// must outlast the 60 s for which load balancers keep connections: one that is closed just as
    /// they send a request on it is an error to their caller.
    pub next_head_within: Duration,
    /// The same from the stop on, for a first request's head: who has not asked by then holds up
    /// nobody's end.
    pub last_head_within: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_connections: MAX_CONNECTIONS,
            first_head_within: Duration::from_secs(10),
            next_head_within: Duration::from_secs(75),
            last_head_within: Duration::from_millis(500),
        }
    }
}

/// Serves `router` on `listener` until `stop` is cancelled, then takes no connection, finishes the
/// requests under way and returns when every connection is closed. Dropped before, it cuts them.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    settings: Settings,
    stop: CancellationToken,
) {
    let (open, cut) = (TaskTracker::new(), CancellationToken::new());
    let _cut_when_dropped = cut.clone().drop_guard();
    let room = Arc::new(Semaphore::new(settings.max_connections));
    let builder = Arc::new(builder(settings, open.clone()));
    while let Some(Some((stream, place))) = stop.run_until_cancelled(next(&listener, &room)).await {
        let connection = Connection {
            router: router.clone(),
            builder: Arc::clone(&builder),
            first_head: Deadline::after(settings.first_head_within),
            last_head_within: settings.last_head_within,
            stop: stop.clone(),
            _place: place,
        };
        open.spawn(cut.clone().run_until_cancelled_owned(connection.run(stream)));
    }
    drop(listener);
    open.close();
    open.wait().await;
}

/// Where the streams of an HTTP/2 connection run.
#[derive(Clone)]
struct OnTracker(TaskTracker);

impl<F> Executor<F> for OnTracker
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, work: F) {
        drop(self.0.spawn(work));
    }
}

fn builder(settings: Settings, open: TaskTracker) -> Builder<OnTracker> {
    let mut builder = Builder::new(OnTracker(open));
    let mut first = builder.http1();
    first.timer(TokioTimer::new()).header_read_timeout(settings.next_head_within);
    let mut second = builder.http2();
    second.timer(TokioTimer::new()).keep_alive_interval(PING_EVERY).keep_alive_timeout(PING_WITHIN);
    builder
}

/// One of the connections that may be open, counted while it is.
struct Place {
    _permit: OwnedSemaphorePermit,
}

impl Place {
    fn new(permit: OwnedSemaphorePermit) -> Self {
        telemetry::door::count_connection_opened();
        Self { _permit: permit }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        telemetry::door::count_connection_closed();
    }
}

/// The next connection, once there is room for it.
async fn next(listener: &TcpListener, room: &Arc<Semaphore>) -> Option<(TcpStream, Place)> {
    let permit = Arc::clone(room).acquire_owned().await.ok()?;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return Some((stream, Place::new(permit))),
            Err(why) if hung_up(&why) => {}
            Err(why) => {
                tracing::warn!(%why, "a connection could not be accepted");
                time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}

/// Whether the other side left while it waited in the kernel's queue: no trouble of ours.
fn hung_up(why: &io::Error) -> bool {
    let theirs = [io::ErrorKind::ConnectionAborted, io::ErrorKind::ConnectionReset];
    theirs.contains(&why.kind())
}

struct Connection {
    router: Router,
    builder: Arc<Builder<OnTracker>>,
    first_head: Deadline,
    last_head_within: Duration,
    stop: CancellationToken,
    _place: Place,
}

impl Connection {
    async fn run(self, stream: TcpStream) {
        // an answer is one small write: it must not wait for the other side's acknowledgement
        stream.set_nodelay(true).ok();
        let stream = Socket::new(stream);
        let presence = stream.presence();
        let asked = CancellationToken::new();
        let first = asked.clone();
        let service = self.router.map_request(move |mut request: Request<Incoming>| {
            first.cancel();
            request.extensions_mut().insert(presence.clone());
            request.map(Body::new)
        });
        let service = TowerToHyperService::new(service);
        let mut served = pin!(self.builder.serve_connection(TokioIo::new(stream), service));
        let lived = async {
            tokio::select! {
                ended = served.as_mut() => return ended,
                () = self.stop.cancelled() => {}
            }
            served.as_mut().graceful_shutdown();
            served.await
        };
        // half a head would be waited for as if there were no end
        let last = async {
            self.stop.cancelled().await;
            never_asked(&asked, Deadline::after(self.last_head_within)).await;
        };
        // hyper's own limit begins once it knows the version, which half a preface never tells
        tokio::select! {
            ended = lived => tell(ended),
            () = never_asked(&asked, self.first_head) => tracing::debug!("no request in time"),
            () = last => tracing::debug!("no request before the end"),
        }
    }
}

/// Returns at `deadline` if nothing was asked until then, else never.
async fn never_asked(asked: &CancellationToken, deadline: Deadline) {
    if deadline.bound(asked.cancelled()).await.is_ok() {
        pending::<()>().await;
    }
}

/// Whatever the other side does to a connection is ordinary: for those who debug.
fn tell(ended: Result<(), Box<dyn Error + Send + Sync>>) {
    if let Err(why) = ended {
        tracing::debug!(%why, "a connection broke");
    }
}

#[cfg(test)]
mod tests;
