//! Google's access tokens: fetched for a service account or from the metadata server, kept, and
//! renewed ahead of their end beside a call rather than in front of it.
//!
//! One fetch runs at a time, shared by all who need it. While the token endpoint is down a token is
//! used until its last moment, and where there is none, everybody is told at once instead of asking
//! in turn.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, Method};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::time::Instant;

use crate::clock::{Deadline, Timestamp};
use crate::domain::AttemptOutcome;
use crate::panel::AttemptError;
use crate::panel::struck::Struck;
use crate::provider::pieces::Pieces;
use crate::provider::transport::Transport;
use crate::provider::wire::{self, WireRequest, WireResponse};

/// What a token is asked for.
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";

/// Where tokens for service accounts come from, unless the key file says otherwise.
const TOKEN_URI: &str = "https://oauth2.googleapis.com/token";

/// The metadata server of every Google machine.
const METADATA_URL: &str = "http://metadata.google.internal";
const METADATA_PATH: &str = "/computeMetadata/v1/instance/service-accounts/default/token";

/// Lifetime that a service account may ask for.
const ASSERTION_SECONDS: i64 = 3_600;

/// A token this close to its end is renewed beside the next call.
const RENEW_AHEAD: Duration = Duration::from_secs(300);

/// A token this close to its end is not sent: it could end on the way.
const LAST_MOMENT: Duration = Duration::from_secs(10);

/// How long one fetch may take, however long its callers would wait.
const FETCH_WITHIN: Duration = Duration::from_secs(5);

/// How long a failure stands for everybody who asks.
const FAILURE_STANDS: Duration = Duration::from_secs(1);

/// Who vouches for us.
#[derive(Clone, Debug)]
pub enum Source {
    /// A service account's key.
    ServiceAccount(ServiceAccount),
    /// The machine we run on; the address is the metadata server's unless a test says otherwise.
    MetadataServer {
        /// Another address.
        base_url: Option<String>,
    },
}

/// A service account's key file.
#[derive(Clone)]
pub struct ServiceAccount {
    client_email: String,
    private_key_id: String,
    private_key: SecretString,
    token_uri: String,
}

/// Why a key file is of no use.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum KeyError {
    /// Not the JSON of a service account's key.
    #[error("not a service account's key file: {0}")]
    Malformed(String),
    /// `private_key` is not a PEM block.
    #[error("private_key is not a PEM block of a PRIVATE KEY")]
    NotPem,
    /// `private_key` is not an RSA key.
    #[error("private_key is not a usable RSA key: {0}")]
    NotRsa(String),
    /// `token_uri` cannot be called.
    #[error("token_uri: {0}")]
    TokenUri(String),
}

impl ServiceAccount {
    /// Reads a key file's text.
    ///
    /// # Errors
    /// [`KeyError`]; no message quotes the file.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let file: KeyFile = serde_json::from_str(text).map_err(|why| {
            KeyError::Malformed(format!("line {}, column {}", why.line(), why.column()))
        })?;
        let account = Self {
            client_email: file.client_email,
            private_key_id: file.private_key_id,
            private_key: SecretString::from(file.private_key),
            token_uri: file.token_uri.unwrap_or_else(|| TOKEN_URI.to_owned()),
        };
        account.key()?;
        Ok(account)
    }

    /// The signed claim to be this account at `now`, in seconds since the Unix epoch.
    ///
    /// # Errors
    /// [`KeyError`] when the key cannot sign.
    pub fn assertion(&self, now: i64) -> Result<String, KeyError> {
        let malformed = |why: serde_json::Error| KeyError::Malformed(why.to_string());
        let header = Header { alg: "RS256", typ: "JWT", kid: &self.private_key_id };
        let claims = Claims {
            iss: &self.client_email,
            scope: SCOPE,
            aud: &self.token_uri,
            iat: now,
            exp: now.saturating_add(ASSERTION_SECONDS),
        };
        let header = serde_json::to_vec(&header).map_err(malformed)?;
        let claims = serde_json::to_vec(&claims).map_err(malformed)?;
        let signed =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let key = self.key()?;
        let mut signature = vec![0; key.public().modulus_len()];
        // about a millisecond, once an hour
        key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .map_err(|_| KeyError::NotRsa("it does not sign".to_owned()))?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// The request for a token at `now`, in seconds since the Unix epoch. Its path is empty:
    /// `token_uri` is the whole address.
    ///
    /// # Errors
    /// [`KeyError`] when the key cannot sign.
    pub fn token_request(&self, now: i64) -> Result<WireRequest, KeyError> {
        const GRANT: &str = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer";
        // base64url and dots need no escapes in a form
        let form = format!("{GRANT}&assertion={}", self.assertion(now)?);
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
        Ok(WireRequest {
            method: Method::POST,
            path: String::new(),
            headers: [(CONTENT_TYPE, kind)].into_iter().collect(),
            body: Pieces::from(Bytes::from(form)),
            struck: Struck::default(),
        })
    }

    fn key(&self) -> Result<RsaKeyPair, KeyError> {
        let pem = self.private_key.expose_secret();
        let body = pem.trim().strip_prefix("-----BEGIN PRIVATE KEY-----");
        let body = body.and_then(|rest| rest.strip_suffix("-----END PRIVATE KEY-----"));
        let text: String = body.ok_or(KeyError::NotPem)?.split_whitespace().collect();
        let der = STANDARD.decode(text).map_err(|_| KeyError::NotPem)?;
        RsaKeyPair::from_pkcs8(&der).map_err(|why| KeyError::NotRsa(why.to_string()))
    }
}

impl fmt::Debug for ServiceAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceAccount")
            .field("client_email", &self.client_email)
            .field("private_key_id", &self.private_key_id)
            .finish_non_exhaustive()
    }
}

/// Tokens of one source.
pub struct AccessTokens {
    endpoint: Arc<Endpoint>,
    state: Mutex<State>,
}

/// Whom to ask for a token.
struct Endpoint {
    source: Source,
    transport: Transport,
}

/// A fetch that goes on while anybody waits for it, and is no one's alone: a call that is cancelled
/// leaves it to the next.
type Fetch = Shared<BoxFuture<'static, Result<Token, AttemptError>>>;

#[derive(Default)]
struct State {
    token: Option<Token>,
    failure: Option<(Instant, AttemptError)>,
    fetch: Option<Fetch>,
}

#[derive(Clone)]
struct Token {
    text: SecretString,
    ends: Instant,
}

impl AccessTokens {
    /// No token yet.
    ///
    /// # Errors
    /// [`KeyError`] when the source's address cannot be called.
    pub fn new(source: Source, connect_timeout: Duration) -> Result<Self, KeyError> {
        let base = match &source {
            Source::ServiceAccount(account) => account.token_uri.clone(),
            Source::MetadataServer { base_url } => {
                base_url.clone().unwrap_or_else(|| METADATA_URL.to_owned())
            }
        };
        let transport = Transport::new(&base, connect_timeout).map_err(KeyError::TokenUri)?;
        Ok(Self { endpoint: Arc::new(Endpoint { source, transport }), state: Mutex::default() })
    }

    /// A token that is valid now. Waits for the network only where there is none.
    ///
    /// # Errors
    /// `Auth` when we are refused, `Connect` when nobody answers, also by the deadline: no model was
    /// asked yet, so that nothing is billed and nothing learnt of its speed.
    pub async fn valid(&self, deadline: Deadline) -> Result<SecretString, AttemptError> {
        if let Some(token) = self.usable() {
            return Ok(token.text);
        }
        if let Some(failure) = self.standing_failure() {
            return Err(failure);
        }
        let Ok(renewed) = deadline.bound(self.renewed()).await else {
            let why = "no access token before the deadline";
            return Err(AttemptError::new(AttemptOutcome::Connect, why));
        };
        renewed.map(|token| token.text)
    }

    /// Renews a token that nears its end. To be run beside a call, and dropped with it: what it
    /// began is taken up beside the next.
    pub async fn refresh_ahead(&self) {
        let near = self.usable().is_some_and(|token| token.ends < Instant::now() + RENEW_AHEAD);
        if near && self.standing_failure().is_none() {
            // a failure is kept in the state, and the token at hand still works
            let _renewed = self.renewed().await;
        }
    }

    /// Drops `refused`, which the provider no longer takes.
    pub fn forget(&self, refused: &SecretString) {
        let mut state = self.state();
        let same = |token: &Token| token.text.expose_secret() == refused.expose_secret();
        if state.token.as_ref().is_some_and(same) {
            state.token = None;
        }
    }

    /// The token of the one fetch that runs, started if none does.
    async fn renewed(&self) -> Result<Token, AttemptError> {
        let fetch = self.fetch();
        let renewed = fetch.clone().await;
        let mut state = self.state();
        // whoever is first keeps the result for all
        if state.fetch.as_ref().is_some_and(|running| running.ptr_eq(&fetch)) {
            state.fetch = None;
            match &renewed {
                Ok(token) => (state.token, state.failure) = (Some(token.clone()), None),
                Err(failure) => state.failure = Some((Instant::now(), failure.clone())),
            }
        }
        renewed
    }

    fn fetch(&self) -> Fetch {
        let mut state = self.state();
        let start = || {
            let endpoint = Arc::clone(&self.endpoint);
            async move { endpoint.fetch(Deadline::after(FETCH_WITHIN)).await }.boxed().shared()
        };
        state.fetch.get_or_insert_with(start).clone()
    }

    fn usable(&self) -> Option<Token> {
        let soon = Instant::now() + LAST_MOMENT;
        self.state().token.clone().filter(|token| soon < token.ends)
    }

    fn standing_failure(&self) -> Option<AttemptError> {
        let state = self.state();
        let (at, failure) = state.failure.as_ref()?;
        (Instant::now() < *at + FAILURE_STANDS).then(|| failure.clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // nothing that could panic runs under the lock, so nothing is left half done
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Endpoint {
    async fn fetch(&self, deadline: Deadline) -> Result<Token, AttemptError> {
        let request = match &self.source {
            Source::ServiceAccount(account) => account
                .token_request(Timestamp::now().0.div_euclid(1_000_000))
                .map_err(|why| AttemptError::new(AttemptOutcome::Auth, why.to_string()))?,
            Source::MetadataServer { .. } => WireRequest::get(METADATA_PATH.to_owned()).with(
                HeaderName::from_static("metadata-flavor"),
                HeaderValue::from_static("Google"),
            ),
        };
        let asked = Instant::now();
        let sent = self.transport.send(request, deadline).await;
        // whatever became of it, it was not the model that failed
        let response =
            sent.map_err(|error| AttemptError { outcome: AttemptOutcome::Connect, ..error })?;
        let grant = decode(&response)?;
        let ends = asked.checked_add(grant.lifetime).unwrap_or(asked);
        Ok(Token { text: grant.access_token, ends })
    }
}

impl fmt::Debug for AccessTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessTokens")
            .field("source", &self.endpoint.source)
            .finish_non_exhaustive()
    }
}

/// What a token endpoint grants.
#[derive(Clone, Debug)]
pub struct Grant {
    /// The token.
    pub access_token: SecretString,
    /// How long it is valid.
    pub lifetime: Duration,
}

/// Reads a token endpoint's response.
///
/// # Errors
/// `Auth` when we are refused, `Connect` when the endpoint is not in a state to answer: nothing was
/// asked of a model yet.
pub fn decode(response: &WireResponse) -> Result<Grant, AttemptError> {
    let status = response.status;
    let failed = |outcome, why: &str| {
        let why = format!("the token endpoint answered {status}: {why}");
        AttemptError::new(outcome, wire::detail(&why))
    };
    if (200..300).contains(&status) {
        // the body is a secret if it is anything, so it is not quoted
        let granted: Granted = serde_json::from_slice(&response.body)
            .map_err(|_| failed(AttemptOutcome::Connect, "not a token"))?;
        return Ok(Grant {
            access_token: SecretString::from(granted.access_token),
            lifetime: Duration::from_secs(granted.expires_in),
        });
    }
    let said: Refusal = serde_json::from_slice(&response.body).unwrap_or_default();
    let outcome = match status {
        429 => AttemptOutcome::RateLimited,
        400..500 => AttemptOutcome::Auth,
        _ => AttemptOutcome::Connect,
    };
    Err(failed(outcome, &format!("{} {}", said.error, said.error_description)))
}

#[derive(Deserialize)]
struct KeyFile {
    client_email: String,
    private_key_id: String,
    private_key: String,
    token_uri: Option<String>,
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: u64,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Refusal {
    error: String,
    error_description: String,
}

#[derive(Serialize)]
struct Header<'a> {
    alg: &'static str,
    typ: &'static str,
    kid: &'a str,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    scope: &'static str,
    aud: &'a str,
    iat: i64,
    exp: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_token_endpoint_that_hangs_is_no_timeout_of_the_model() {
        // it accepts, by the backlog, and never answers
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = Some(format!("http://{}", listener.local_addr().unwrap()));
        let second = Duration::from_secs(1);
        let tokens = AccessTokens::new(Source::MetadataServer { base_url }, second).unwrap();
        let within = Deadline::after(Duration::from_millis(100));
        let fetched = tokens.endpoint.fetch(within).await;
        assert_eq!(fetched.map(|_| ()).unwrap_err().outcome, AttemptOutcome::Connect);
    }
}
