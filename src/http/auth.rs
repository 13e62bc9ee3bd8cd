//! Who calls, and whether they may: a key by its digest, a role by the route.
//!
//! | route | role |
//! |---|---|
//! | `GET`, `HEAD` under `/v1` | `read` |
//! | every other method under `/v1` | `check` |
//! | everything under `/admin` | `admin` |
//! | the rest: probes, `/metrics`, `/openapi.json`, the page's own files | none |
//!
//! A key has the roles it lists and no others: `admin` does not imply `read`. `/metrics` is open so
//! that a scraper needs no secret: it holds counts, and nothing of a caller or an image.
//!
//! Without keys everything is allowed, and the danger is a browser on the same machine: a page that
//! rebinds its name to 127.0.0.1 is refused by its `Host`, a page that posts across sites by its
//! `Origin`. With keys neither is asked: a browser does not hold the key.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::http::Settings;
use crate::http::problem::{Problem, ProblemKind};

/// The caller's name where no key is configured.
pub const ANONYMOUS: &str = "anonymous";

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Have images checked.
    Check,
    /// See records, policies and judges.
    Read,
    /// Reload, drain, drill.
    Admin,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 3] = [Self::Check, Self::Read, Self::Admin];

    /// The word used in files.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Read => "read",
            Self::Admin => "admin",
        }
    }

    /// The role that a request needs; `None`: the route is open.
    #[must_use]
    pub fn needed(method: &Method, path: &str) -> Option<Self> {
        let is_under = |root: &str| {
            let rest = path.strip_prefix(root);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        if is_under("/admin") {
            return Some(Self::Admin);
        }
        if !is_under("/v1") {
            return None;
        }
        let only_looks = method == Method::GET || method == Method::HEAD;
        // whoever may look at a verdict may say what is wrong with it
        let labels = path.starts_with("/v1/verdicts/") && path.ends_with("/label");
        Some(if only_looks || labels { Self::Read } else { Self::Check })
    }
}

/// The SHA-256 of a key: all that the gate keeps of it. Comparing takes the same time wherever two
/// differ; it never prints.
#[derive(Clone, Copy)]
pub struct KeyDigest([u8; 32]);

/// Why a text is not the digest of a key.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("expected the 64 hex digits of a SHA-256, found {chars} characters")]
pub struct NotAKeyDigest {
    /// How many there are; the text itself may be a key, and is not repeated.
    pub chars: usize,
}

impl From<[u8; 32]> for KeyDigest {
    fn from(digest: [u8; 32]) -> Self {
        Self(digest)
    }
}

impl KeyDigest {
    /// The digest of `key`.
    #[must_use]
    pub fn of(key: &str) -> Self {
        Self(Sha256::digest(key.as_bytes()).into())
    }
}

impl PartialEq for KeyDigest {
    fn eq(&self, other: &Self) -> bool {
        // `blake3::Hash` is compared in constant time; here it only carries the bytes
        blake3::Hash::from_bytes(self.0) == blake3::Hash::from_bytes(other.0)
    }
}

impl Eq for KeyDigest {}

impl FromStr for KeyDigest {
    type Err = NotAKeyDigest;

    fn from_str(text: &str) -> Result<Self, NotAKeyDigest> {
        let text = text.trim();
        let bytes = blake3::Hash::from_hex(text.to_ascii_lowercase())
            .map_err(|_| NotAKeyDigest { chars: text.chars().count() })?;
        Ok(Self(*bytes.as_bytes()))
    }
}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyDigest(..)")
    }
}

/// One key of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Who holds it: the caller's name in records and logs.
    pub name: String,
    /// The digest of the secret.
    pub sha256: KeyDigest,
    /// What it may do.
    pub roles: Vec<Role>,
}

/// Who calls. A request extension once [`authenticate`] let it through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The key's name, [`ANONYMOUS`] where none is configured: what idempotency keys are scoped to.
    pub name: Arc<str>,
}

/// The rule of the door.
#[derive(Clone, Debug)]
pub struct Auth {
    keys: Vec<(KeyDigest, Vec<Role>, Caller)>,
    loopback_only: bool,
}

impl Auth {
    /// The rule that `settings` make.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let caller = |name: &str| Caller { name: Arc::from(name) };
        let keys = settings.keys.iter();
        let keys = keys.map(|key| (key.sha256, key.roles.clone(), caller(&key.name)));
        Self { keys: keys.collect(), loopback_only: settings.loopback_only }
    }

    /// Who sends this request, when they may.
    ///
    /// # Errors
    /// `unauthenticated`, `forbidden`, `bad_host` or `foreign_origin`.
    pub fn admit(&self, parts: &Parts) -> Result<Caller, Problem> {
        let anonymous = || Caller { name: Arc::from(ANONYMOUS) };
        if self.keys.is_empty() {
            self.refuse_strangers(parts)?;
            return Ok(anonymous());
        }
        let Some(role) = Role::needed(&parts.method, parts.uri.path()) else {
            return Ok(anonymous());
        };
        let Some(key) = presented_key(&parts.headers) else {
            let detail = "send a key: Authorization: Bearer KEY";
            return Err(Problem::new(ProblemKind::Unauthenticated, detail));
        };
        let digest = KeyDigest::of(key);
        // every key is compared: the time does not tell which one matched
        let mut found = None;
        for (known, roles, caller) in &self.keys {
            if *known == digest {
                found = Some((roles, caller));
            }
        }
        let Some((roles, caller)) = found else {
            return Err(Problem::new(ProblemKind::Unauthenticated, "nobody has this key"));
        };
        if !roles.contains(&role) {
            let detail = format!("the key {:?} lacks the role {}", caller.name, role.label());
            return Err(Problem::new(ProblemKind::Forbidden, detail));
        }
        Ok(caller.clone())
    }

    /// What stands in for keys where there are none.
    fn refuse_strangers(&self, parts: &Parts) -> Result<(), Problem> {
        let host = host(&parts.uri, &parts.headers);
        if self.loopback_only && !host.is_some_and(is_loopback) {
            let detail = format!(
                "without keys only a loopback host is answered, not {:?}: configure keys",
                host.unwrap_or_default()
            );
            return Err(Problem::new(ProblemKind::BadHost, detail));
        }
        if is_foreign(parts, host) {
            let detail = "without keys a page of another site may not call: configure keys";
            return Err(Problem::new(ProblemKind::ForeignOrigin, detail));
        }
        Ok(())
    }
}

/// Middleware: lets through whom [`Auth::admit`] admits, with the [`Caller`] as an extension.
pub async fn authenticate(State(auth): State<Arc<Auth>>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    match auth.admit(&parts) {
        Ok(caller) => {
            parts.extensions.insert(caller);
            next.run(Request::from_parts(parts, body)).await
        }
        Err(problem) => problem.into_response(),
    }
}

/// The key the caller shows: as OpenAI's, Anthropic's or Google's clients send it.
fn presented_key(headers: &HeaderMap) -> Option<&str> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = text("authorization").and_then(|value| {
        let (scheme, key) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
    });
    bearer.or_else(|| text("x-api-key")).or_else(|| text("x-goog-api-key"))
}

/// Whom the caller addresses: HTTP/2's `:authority`, else the one `Host`.
fn host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    if let Some(authority) = uri.authority() {
        return Some(authority.as_str());
    }
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next()?.to_str().ok()?;
    hosts.next().is_none().then_some(host)
}

/// Whether `host` (with or without a port) names this machine's loopback.
fn is_loopback(host: &str) -> bool {
    let name = without_port(host);
    let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    let is_address = bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    is_address || name.eq_ignore_ascii_case("localhost")
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) | None => host,
    }
}

/// Whether a browser sends this from a page that is not ours. Programs send neither header.
fn is_foreign(parts: &Parts, host: Option<&str>) -> bool {
    let text = |name: &str| parts.headers.get(name).map(|value| value.to_str().unwrap_or_default());
    if let Some(origin) = text("origin") {
        let theirs = origin.split_once("://").map(|(_, authority)| authority);
        let is_ours = theirs.zip(host).is_some_and(|(theirs, host)| is_same_host(theirs, host));
        return !is_ours;
    }
    // a link to the page may be followed from anywhere: whoever links cannot read the answer
    let is_visit = parts.method == Method::GET && text("sec-fetch-mode") == Some("navigate");
    text("sec-fetch-site") == Some("cross-site") && !is_visit
}

/// Whether two authorities are the same; an origin leaves out its scheme's port.
fn is_same_host(one: &str, other: &str) -> bool {
    let plain = |host: &str| {
        let name = host.strip_suffix(":80").or_else(|| host.strip_suffix(":443")).unwrap_or(host);
        name.to_ascii_lowercase()
    };
    plain(one) == plain(other)
}

#[cfg(test)]
mod tests;
