//! The transport moves one request and its whole response, within one deadline.
//!
//! It never tries again and never follows a redirect: a call that the panel does not see is neither
//! timed nor counted, and a redirect would carry the key to another host. Two clients take turns,
//! because one HTTP/2 connection is a queue in which all calls share one fate.

use std::error::Error;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use reqwest::{Client, Url, redirect, retry};

use crate::clock::Deadline;
use crate::domain::AttemptOutcome;
use crate::panel::AttemptError;
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

/// Installs the TLS cryptography for the whole process. Calling it again changes nothing.
pub fn install_crypto() {
    // an error says that a provider is installed already, which is what is wanted
    let _installed = rustls::crypto::ring::default_provider().install_default();
}

/// Warm connections to one address.
pub struct Transport {
    base: String,
    clients: [Client; CLIENTS],
    turn: AtomicUsize,
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
        let client = || client(&url, connect_timeout).map_err(|why| chain(&why));
        let base = base_url.trim_end_matches('/').to_owned();
        Ok(Self { base, clients: [client()?, client()?], turn: AtomicUsize::new(0) })
    }

    /// The address.
    #[must_use]
    pub fn base_url(&self) -> &str {
        &self.base
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
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % CLIENTS;
        let Some(client) = self.clients.get(turn) else {
            return Err(AttemptError::new(AttemptOutcome::Connect, "no client"));
        };
        deadline.bound(exchange(client, self.url(&request.path), request)).await.map_err(
            |late| AttemptError::new(AttemptOutcome::Timeout, format!("no whole answer: {late}")),
        )?
    }

    /// Opens the connections, so that the first image does not wait for a handshake.
    pub async fn warm(&self, deadline: Deadline) {
        let mut opening = Vec::new();
        for client in &self.clients {
            opening.push(async {
                // any answer will do, and so will none: this is a courtesy
                let _answer = deadline.bound(client.head(&self.base).send()).await;
            });
        }
        futures_util::future::join_all(opening).await;
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").field("base", &self.base).finish_non_exhaustive()
    }
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

async fn exchange(
    client: &Client,
    url: String,
    request: WireRequest,
) -> Result<WireResponse, AttemptError> {
    let WireRequest { method, headers, body, path: _ } = request;
    let sent = client.request(method, url).headers(headers).body(body).send().await;
    let mut response =
        sent.map_err(|why| AttemptError::new(AttemptOutcome::Connect, wire::detail(&chain(&why))))?;
    let status = response.status().as_u16();
    let headers = response.headers().clone();
    let mut body = BytesMut::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len().saturating_add(chunk.len()) <= MAX_RESPONSE_BYTES => {
                body.extend_from_slice(&chunk);
            }
            Ok(Some(_)) => return Err(too_large(status, headers)),
            Ok(None) => {
                return Ok(WireResponse { status, headers, body: body.freeze(), whole: true });
            }
            Err(_broke_off) => {
                return Ok(WireResponse { status, headers, body: body.freeze(), whole: false });
            }
        }
    }
}

fn too_large(status: u16, headers: HeaderMap) -> AttemptError {
    let response = WireResponse { status, headers, body: Bytes::new(), whole: false };
    let why = format!("the response has more than {MAX_RESPONSE_BYTES} bytes");
    AttemptError {
        request_id: wire::request_id(&response),
        ..AttemptError::new(AttemptOutcome::Unreadable, why)
    }
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
    use super::*;

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
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let transport = Transport::new(&base, SECOND).unwrap();
        let request = WireRequest::get("/models?key=hush".to_owned());
        let error = transport.send(request, Deadline::after(SECOND * 5)).await.unwrap_err();
        assert_eq!(error.outcome, AttemptOutcome::Connect);
        assert!(!error.detail.contains("hush"), "{}", error.detail);
    }
}
