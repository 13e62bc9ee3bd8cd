//! The transport moves one request and its response, whole or as it comes, within one deadline.
//!
//! It never tries again and never follows a redirect: a call that the panel does not see is neither
//! timed nor counted, and a redirect would carry the key to another host. Two clients take turns,
//! because one HTTP/2 connection is a queue in which all calls share one fate. A connection that is
//! never idle never looks its name up again, so both are replaced from time to time.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use reqwest::{Client, Response, Url, redirect, retry};
use tokio::time;

use crate::clock::{Deadline, Late};
use crate::domain::AttemptOutcome;
use crate::imaging::Imaging;
use crate::panel::AttemptError;
use crate::provider::sabotage::Sabotage;
use crate::provider::wire::{self, WireRequest, WireResponse};

/// Largest response body that is read. An answer has about a kilobyte.
pub const MAX_RESPONSE_BYTES: usize = 1024 * 1024;

/// Connections that are kept warm and used in turn.
const CLIENTS: usize = 2;

/// How often an open connection is asked for a sign of life, and how long sent bytes may go without
/// an acknowledgement. This finds a dead path, not a server that accepts and never answers.
const PING_EVERY: Duration = Duration::from_secs(2);

/// How long the answer to a ping may take.
const PING_WITHIN: Duration = Duration::from_secs(1);

/// Longest that building and opening new connections may take.
const RENEW_WITHIN: Duration = Duration::from_secs(2);

/// Installs the TLS cryptography for the whole process. Calling it again changes nothing.
pub fn install_crypto() {
    // an error says that a provider is installed already, which is what is wanted
    let _installed = rustls::crypto::ring::default_provider().install_default();
}

/// Warm connections to one address.
pub struct Transport {
    base: String,
    url: Url,
    connect_timeout: Duration,
    clients: ArcSwap<[Client; CLIENTS]>,
    turn: AtomicUsize,
    sabotage: Arc<Sabotage>,
}

impl Transport {
    /// Connections to `base_url`, none opened yet.
    ///
    /// # Errors
    /// What is wrong with the address, or why no client can be built.
    pub fn new(base_url: &str, connect_timeout: Duration) -> Result<Self, String> {
        install_crypto();
        let url: Url = base_url.parse().map_err(|why| format!("{base_url:?}: {why}"))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(format!("{base_url:?} is not an http or https address"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("an address must not hold a password".to_owned());
        }
        let base = base_url.trim_end_matches('/').to_owned();
        Ok(Self {
            base,
            clients: ArcSwap::from_pointee(clients(&url, connect_timeout)?),
            url,
            connect_timeout,
            turn: AtomicUsize::new(0),
            sabotage: Arc::default(),
        })
    }

    /// The address.
    #[must_use]
    pub fn base_url(&self) -> &str {
        &self.base
    }

    /// What breaks its calls in a drill.
    #[must_use]
    pub fn sabotage(&self) -> &Arc<Sabotage> {
        &self.sabotage
    }

    /// The address of a path. `/v1` is written once, whether or not the base URL ends in it.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        let base = match self.base.strip_suffix("/v1") {
            Some(above) if path.starts_with("/v1/") => above,
            Some(_) | None => &self.base,
        };
        format!("{base}{path}")
    }

    /// Sends `request` and reads the head of the response.
    ///
    /// # Errors
    /// `Connect` when nothing came back, `Timeout` at the deadline.
    pub async fn open(
        &self,
        request: WireRequest,
        deadline: Deadline,
    ) -> Result<Incoming, AttemptError> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % CLIENTS;
        // the call's own: it ends on this client, whatever becomes of the others
        let Some(client) = self.clients.load().get(turn).cloned() else {
            return Err(AttemptError::new(AttemptOutcome::Connect, "no client"));
        };
        let WireRequest { method, path, headers, body, struck } = request;
        if let Some(fault) = self.sabotage.draw() {
            struck.mark();
            let suffered =
                deadline.bound(self.sabotage.suffer(fault)).await.map_err(no_answer)??;
            return Ok(Incoming { response: Response::from(suffered), taken_bytes: 0 });
        }
        let sending =
            client.request(method, self.url(&path)).headers(headers).body(body.into_sent()).send();
        let sent = deadline.bound(sending).await.map_err(no_answer)?;
        let response = sent.map_err(|why| {
            AttemptError::new(AttemptOutcome::Connect, wire::detail(&chain(&why)))
        })?;
        Ok(Incoming { response, taken_bytes: 0 })
    }

    /// Sends `request` and reads the response to its last byte.
    ///
    /// # Errors
    /// `Connect` when nothing came back, `Timeout` at the deadline, `Unreadable` for a body past
    /// [`MAX_RESPONSE_BYTES`]. A body that broke off is no error here: what came is returned.
    pub async fn send(
        &self,
        request: WireRequest,
        deadline: Deadline,
    ) -> Result<WireResponse, AttemptError> {
        self.open(request, deadline).await?.whole(deadline).await
    }

    /// Opens the connections, so that the first image does not wait for a handshake.
    pub async fn warm(&self, deadline: Deadline) {
        self.connect(&self.clients.load_full(), deadline).await;
    }

    /// Replaces the connections again and again, so that a name is looked up anew. Later calls take
    /// the new ones, which are open by then; calls under way end on the old ones, which close
    /// behind the last. Never returns; drop it to stop.
    pub async fn renew_often(&self, pool: &Imaging, every: Duration) {
        loop {
            time::sleep(every).await;
            if let Err(why) = self.renew(pool, Deadline::after(RENEW_WITHIN)).await {
                tracing::warn!(base = self.base, why, "connections to a judge are not renewed");
            }
        }
    }

    async fn renew(&self, pool: &Imaging, deadline: Deadline) -> Result<(), String> {
        let (url, connect_timeout) = (self.url.clone(), self.connect_timeout);
        // building reads the system's certificates
        let built = pool.run(move || clients(&url, connect_timeout), deadline).await;
        let fresh = Arc::new(built.map_err(|why| why.to_string())??);
        self.connect(&fresh, deadline).await;
        self.clients.store(fresh);
        Ok(())
    }

    async fn connect(&self, clients: &[Client; CLIENTS], deadline: Deadline) {
        let opening = clients.iter().map(|client| async {
            // any answer will do, and so will none: this is a courtesy
            let _answer = deadline.bound(client.head(&self.base).send()).await;
        });
        futures_util::future::join_all(opening).await;
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").field("base", &self.base).finish_non_exhaustive()
    }
}

fn clients(url: &Url, connect_timeout: Duration) -> Result<[Client; CLIENTS], String> {
    let client = || client(url, connect_timeout).map_err(|why| chain(&why));
    Ok([client()?, client()?])
}

fn client(url: &Url, connect_timeout: Duration) -> reqwest::Result<Client> {
    let mut builder = Client::builder()
        .user_agent(concat!("vlmgate/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .connect_timeout(connect_timeout)
        .tcp_nodelay(true)
        .tcp_keepalive(Duration::from_secs(15))
        .http2_keep_alive_interval(PING_EVERY)
        .http2_keep_alive_timeout(PING_WITHIN)
        .http2_keep_alive_while_idle(false)
        .gzip(true);
    #[cfg(target_os = "linux")]
    {
        builder = builder.tcp_user_timeout(PING_EVERY);
    }
    if is_loopback(url) {
        // a judge on this machine is never behind a proxy
        builder = builder.no_proxy();
    }
    builder.build()
}

fn is_loopback(url: &Url) -> bool {
    url.host_str().is_some_and(|host| {
        let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    })
}

/// A response whose head has come; dropping it cancels the rest.
#[derive(Debug)]
pub struct Incoming {
    response: Response,
    taken_bytes: usize,
}

/// The next of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Some bytes of it.
    Bytes(Bytes),
    /// Its end, as the transport sees it.
    End,
    /// The connection broke.
    Broken,
}

impl Incoming {
    /// The status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// The headers.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// What comes next of the body. Dropping the future loses nothing.
    ///
    /// # Errors
    /// `Unreadable` for a body past [`MAX_RESPONSE_BYTES`].
    pub async fn next(&mut self) -> Result<Piece, AttemptError> {
        match self.response.chunk().await {
            Ok(Some(bytes)) => {
                self.taken_bytes = self.taken_bytes.saturating_add(bytes.len());
                if MAX_RESPONSE_BYTES < self.taken_bytes {
                    return Err(self.too_large());
                }
                Ok(Piece::Bytes(bytes))
            }
            Ok(None) => Ok(Piece::End),
            Err(_broke_off) => Ok(Piece::Broken),
        }
    }

    /// Reads the response to its last byte.
    ///
    /// # Errors
    /// `Timeout` at the deadline, `Unreadable` for a body past [`MAX_RESPONSE_BYTES`].
    pub async fn whole(mut self, deadline: Deadline) -> Result<WireResponse, AttemptError> {
        deadline.bound(self.read()).await.map_err(no_answer)?
    }

    async fn read(&mut self) -> Result<WireResponse, AttemptError> {
        let mut body = BytesMut::new();
        let whole = loop {
            match self.next().await? {
                Piece::Bytes(bytes) => body.extend_from_slice(&bytes),
                Piece::End => break true,
                Piece::Broken => break false,
            }
        };
        let (status, headers) = (self.status(), self.headers().clone());
        Ok(WireResponse { status, headers, body: body.freeze(), whole })
    }

    fn too_large(&self) -> AttemptError {
        let (status, headers) = (self.status(), self.headers().clone());
        let head = WireResponse { status, headers, body: Bytes::new(), whole: false };
        let why = format!("the response has more than {MAX_RESPONSE_BYTES} bytes");
        AttemptError {
            request_id: wire::request_id(&head),
            ..AttemptError::new(AttemptOutcome::Unreadable, why)
        }
    }
}

/// The deadline came before the last byte.
pub(crate) fn no_answer(late: Late) -> AttemptError {
    AttemptError::new(AttemptOutcome::Timeout, format!("no whole answer: {late}"))
}

/// An error with its causes, without the address: a key may stand in a query.
fn chain(error: &reqwest::Error) -> String {
    let mut words = String::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        if !words.is_empty() {
            words.push_str(": ");
        }
        words.push_str(&error.to_string());
        cause = error.source();
    }
    if words.is_empty() { "the request could not be sent".to_owned() } else { words }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    use tokio::net::TcpListener;
    use tokio::sync::{Notify, mpsc};
    use tokio::task::JoinSet;

    use super::*;
    use crate::imaging::Settings;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn an_address_is_checked_before_anything_is_sent() {
        for wrong in ["", "api.openai.com", "ftp://x/", "http://user:secret@host/"] {
            let error = Transport::new(wrong, SECOND).unwrap_err();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn the_version_stands_once_in_an_address() {
        let url = |base, path| Transport::new(base, SECOND).unwrap().url(path);
        assert_eq!(url("http://h", "/v1/messages"), "http://h/v1/messages");
        assert_eq!(url("http://h/v1/", "/v1/messages"), "http://h/v1/messages");
        assert_eq!(url("http://h/v1", "/chat/completions"), "http://h/v1/chat/completions");
        assert_eq!(url("http://h/v1", "/v1beta/models"), "http://h/v1/v1beta/models");
    }

    #[tokio::test]
    async fn a_refused_connection_is_a_connect_error_without_the_address() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let transport = Transport::new(&base, SECOND).unwrap();
        let request = WireRequest::get("/models?key=hush".to_owned());
        let error = transport.send(request, Deadline::after(SECOND * 5)).await.unwrap_err();
        assert_eq!(error.outcome, AttemptOutcome::Connect);
        assert!(!error.detail.contains("hush"), "{}", error.detail);
    }

    /// Answers every request at once, but `/slow` only when `release` says so; tells of each the
    /// connection it came on and its first line.
    async fn serve(
        listener: TcpListener,
        told: mpsc::Sender<(usize, String)>,
        release: Arc<Notify>,
    ) {
        let mut connections = JoinSet::new();
        for number in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (told, release) = (told.clone(), Arc::clone(&release));
            connections.spawn(async move {
                let mut lines = BufReader::new(&mut stream).lines();
                while let Ok(Some(first)) = lines.next_line().await {
                    while lines
                        .next_line()
                        .await
                        .is_ok_and(|line| line.is_some_and(|l| !l.is_empty()))
                    {}
                    told.send((number, first.clone())).await.unwrap();
                    if first.contains("/slow") {
                        release.notified().await;
                    }
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                    lines.get_mut().write_all(answer).await.unwrap();
                }
            });
        }
    }

    #[tokio::test]
    async fn new_connections_take_over_and_a_call_under_way_ends_on_its_old_one() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let (told, mut seen) = mpsc::channel(64);
        let release = Arc::new(Notify::new());
        let mut server = JoinSet::new();
        server.spawn(serve(listener, told, Arc::clone(&release)));
        let transport = Transport::new(&base, SECOND).unwrap();
        let pool = Imaging::new(Settings { threads: 1, ..Settings::default() }).unwrap();
        let get = |path: &str| {
            transport.send(WireRequest::get(path.to_owned()), Deadline::after(SECOND * 20))
        };
        let story = async {
            let slow = async { get("/slow").await.unwrap().status };
            let meanwhile = async {
                assert_eq!(seen.recv().await.unwrap(), (0, "GET /slow HTTP/1.1".to_owned()));
                // the clients of the second renewal open when those of the first are in use
                for _ in 0..2 * CLIENTS {
                    let (number, first) = seen.recv().await.unwrap();
                    assert!(0 < number && first.starts_with("HEAD /"), "{number}: {first}");
                }
                release.notify_one();
            };
            let (status, ()) = tokio::join!(slow, meanwhile);
            assert_eq!(status, 200);
            let quick = async { get("/quick").await.unwrap().status };
            let (status, number) = tokio::join!(quick, async {
                loop {
                    let (number, first) = seen.recv().await.unwrap();
                    if first.starts_with("GET /quick") {
                        return number;
                    }
                }
            });
            assert_eq!(status, 200);
            assert!(CLIENTS < number, "{number}: neither the slow call's nor of the first renewal");
        };
        tokio::select! {
            () = transport.renew_often(&pool, Duration::from_millis(20)) => {}
            () = story => {}
        }
    }
}
