//! What is under way: requests with an idempotency key that have no answer yet. Answers that were
//! given stand in the ledger; between the two a repetition is told to wait.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use thiserror::Error;

use crate::domain::Digest;
use crate::http::auth::Caller;
use crate::http::headers::IdempotencyKey;
use crate::http::problem::{Problem, ProblemKind};

/// When a repetition of a running request is told to come again.
const RUNNING_RETRY_AFTER: Duration = Duration::from_secs(1);

/// A key within its caller's scope.
type Scoped = (Arc<str>, IdempotencyKey);

/// The keys under way, at most `limit` of them, and at most as many again whose answer has left.
/// Clones share the set.
#[derive(Clone, Debug)]
pub struct Running {
    keys: Arc<Mutex<Keys>>,
    limit: usize,
}

#[derive(Debug, Default)]
struct Keys {
    requests: HashMap<Scoped, Digest>,
    /// Those of them whose answer has left.
    lingering: usize,
}

/// Leave to work on one key; dropping it gives the key back, whatever became of the work.
#[derive(Debug)]
#[must_use = "dropping it gives the key back"]
pub struct Claim {
    running: Running,
    scoped: Scoped,
    lingers: bool,
}

/// Why a key cannot be worked on.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ClaimError {
    /// The same key and request are under way.
    #[error("the first request with this idempotency key has no answer yet")]
    Running,
    /// The same key came with another image, policy or variables.
    #[error("this idempotency key belongs to another request (another image, policy or variables)")]
    Mismatch {
        /// The request the key was first used for.
        first: Digest,
        /// This request.
        this: Digest,
    },
    /// No room for another key.
    #[error("{limit} requests with an idempotency key are under way, which is the limit")]
    Full {
        /// `max_keys_running`.
        limit: usize,
    },
}

impl Running {
    /// An empty set with room for `limit` keys.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { keys: Arc::default(), limit }
    }

    /// Claims `key` within `caller`'s scope, for the request with this digest.
    ///
    /// # Errors
    /// The key is under way, under way for another image, or there is no room.
    pub fn claim(
        &self,
        caller: &Caller,
        key: IdempotencyKey,
        request: Digest,
    ) -> Result<Claim, ClaimError> {
        let scoped = (Arc::clone(&caller.name), key);
        let mut keys = self.lock();
        if let Some(first) = keys.requests.get(&scoped) {
            same_request(*first, request)?;
            return Err(ClaimError::Running);
        }
        if self.limit <= keys.requests.len().saturating_sub(keys.lingering) {
            return Err(ClaimError::Full { limit: self.limit });
        }
        keys.requests.insert(scoped.clone(), request);
        drop(keys);
        Ok(Claim { running: self.clone(), scoped, lingers: false })
    }

    /// How many keys are under way.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().requests.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A holder that panicked left a map that is still whole: each change is one call.
    fn lock(&self) -> MutexGuard<'_, Keys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claim {
    /// Keeps the key although its answer has left; `false` where too many are kept so: a store that
    /// takes nothing must not use up the room of those who still wait for an answer.
    pub fn linger(&mut self) -> bool {
        let mut keys = self.running.lock();
        if !self.lingers && keys.lingering < self.running.limit {
            keys.lingering += 1;
            self.lingers = true;
        }
        self.lingers
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut keys = self.running.lock();
        keys.requests.remove(&self.scoped);
        keys.lingering -= usize::from(self.lingers);
    }
}

/// Makes sure that an answer given for `first` may be replayed for `this`.
///
/// # Errors
/// [`ClaimError::Mismatch`] when the requests differ.
pub fn same_request(first: Digest, this: Digest) -> Result<(), ClaimError> {
    if first == this { Ok(()) } else { Err(ClaimError::Mismatch { first, this }) }
}

impl From<ClaimError> for Problem {
    fn from(why: ClaimError) -> Self {
        let detail = why.to_string();
        match why {
            ClaimError::Running => Self {
                retry_after: Some(RUNNING_RETRY_AFTER),
                ..Self::new(ProblemKind::IdempotencyRunning, detail)
            },
            ClaimError::Mismatch { .. } => Self::new(ProblemKind::IdempotencyMismatch, detail),
            ClaimError::Full { .. } => Self::overloaded(detail, RUNNING_RETRY_AFTER),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderMap;

    fn key(text: &str) -> IdempotencyKey {
        let mut headers = HeaderMap::new();
        headers.insert("idempotency-key", text.parse().unwrap());
        IdempotencyKey::of(&headers).unwrap().unwrap()
    }

    fn caller(name: &str) -> Caller {
        Caller { name: Arc::from(name) }
    }

    #[test]
    fn a_key_is_free_again_once_its_claim_is_dropped() {
        let running = Running::new(8);
        let image = Digest::of(b"one");
        let claim = running.claim(&caller("studio"), key("k"), image).unwrap();
        let again = running.claim(&caller("studio"), key("k"), image);
        assert_eq!(again.unwrap_err(), ClaimError::Running);
        drop(claim);
        assert!(running.is_empty());
        assert!(running.claim(&caller("studio"), key("k"), image).is_ok());
    }

    #[test]
    fn a_claim_whose_holder_panicked_is_given_back() {
        let running = Running::new(8);
        let holder = running.clone();
        let crashed = std::thread::spawn(move || {
            let _claim = holder.claim(&caller("studio"), key("k"), Digest::of(b"one")).unwrap();
            panic!("the check broke");
        });
        assert!(crashed.join().is_err());
        assert!(running.is_empty());
    }

    #[test]
    fn two_callers_may_use_the_same_key() {
        let running = Running::new(8);
        let image = Digest::of(b"one");
        let _studio = running.claim(&caller("studio"), key("k"), image).unwrap();
        let _research = running.claim(&caller("research"), key("k"), image).unwrap();
        assert_eq!(running.len(), 2);
    }

    #[test]
    fn another_image_under_a_running_key_is_a_mismatch_not_a_wait() {
        let running = Running::new(8);
        let _claim = running.claim(&caller("studio"), key("k"), Digest::of(b"one")).unwrap();
        let other = running.claim(&caller("studio"), key("k"), Digest::of(b"two")).unwrap_err();
        assert_eq!(Problem::from(other).kind, ProblemKind::IdempotencyMismatch);
    }

    #[test]
    fn keys_whose_answer_has_left_take_no_room_from_requests_and_are_bounded_too() {
        let running = Running::new(1);
        let claim = |text| running.claim(&caller("studio"), key(text), Digest::of(b"one"));
        let mut answered = claim("a").unwrap();
        assert!(answered.linger() && answered.linger(), "a second time changes nothing");
        assert_eq!(claim("a").unwrap_err(), ClaimError::Running, "it is still held");
        let mut under_way = claim("b").unwrap();
        assert!(!under_way.linger(), "as many linger as there may be");
        assert_eq!(claim("c").unwrap_err(), ClaimError::Full { limit: 1 });
        drop(answered);
        assert!(under_way.linger());
        drop(under_way);
        assert!(running.is_empty());
        let _again = claim("a").unwrap();
        assert_eq!(claim("b").unwrap_err(), ClaimError::Full { limit: 1 });
    }

    #[test]
    fn the_set_is_bounded_and_says_so() {
        let running = Running::new(1);
        let _claim = running.claim(&caller("studio"), key("a"), Digest::of(b"one")).unwrap();
        let full = running.claim(&caller("studio"), key("b"), Digest::of(b"one")).unwrap_err();
        assert_eq!(full, ClaimError::Full { limit: 1 });
        let problem = Problem::from(full);
        assert_eq!(problem.kind, ProblemKind::Overloaded);
        assert!(problem.retry_after.is_some());
    }
}
