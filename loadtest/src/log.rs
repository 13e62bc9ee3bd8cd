//! The log says what a provider saw and did, call by call: the evidence that a caller's own counters
//! are not.
//!
//! A call stands in the log from the moment it was read, so that a test can wait for one in flight;
//! how it ends is filled in later. The log has a bound: past it calls are counted, not kept.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// One call, as the provider saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallLog {
    /// When it had been read, since the provider started.
    pub began: Duration,
    /// When it ended, since the provider started; `None` while it is open.
    pub ended: Option<Duration>,
    /// What it was for.
    pub kind: CallKind,
    /// The HTTP method.
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// How the caller showed its key; the key itself is not kept.
    pub credential: Option<Credential>,
    /// The headers that tests ask about, names in small letters.
    pub headers: Vec<(String, String)>,
    /// The model asked.
    pub model: Option<String>,
    /// System and user text, its first 2 KiB.
    pub prompt: String,
    /// How many images came along.
    pub image_count: usize,
    /// The BLAKE3 digest of each image, as `b3:` and 64 hexadecimal digits.
    pub image_digests: Vec<String>,
    /// The label of the fault that hit it.
    pub fault: Option<&'static str>,
    /// The status it was answered with, once the head was sent.
    pub status: Option<u16>,
    /// The length of the request body.
    pub received_bytes: usize,
    /// What was sent back, heads included.
    pub sent_bytes: u64,
    /// How it stands or ended.
    pub outcome: Outcome,
    /// The input tokens a real provider would charge; also for a call that was cancelled.
    pub billed_input_tokens: u64,
    /// The output tokens a real provider would charge.
    pub billed_output_tokens: u64,
}

/// What a call was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallKind {
    /// A question for a model.
    Question,
    /// An access token.
    Token,
    /// A path that the dialect does not have.
    Unknown,
}

/// How a key was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential {
    /// `Authorization: Bearer`.
    Bearer,
    /// `api-key` (Azure).
    ApiKey,
    /// `x-api-key` (Anthropic).
    XApiKey,
    /// `x-goog-api-key` (Google).
    XGoogApiKey,
    /// `?key=` (Google; it leaks into logs).
    QueryKey,
}

/// How a call stands or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Read, and not yet answered.
    InFlight,
    /// The whole answer was sent.
    Answered,
    /// The answer was cut or left short on purpose.
    CutShort,
    /// The connection was reset on purpose.
    Reset,
    /// Left without an answer by a fault; while the caller waits, and after if the provider ended first.
    Hung,
    /// The caller went before its answer was complete.
    CancelledByClient,
    /// The provider was shut down first.
    Abandoned,
}

/// The calls of one provider.
#[derive(Debug)]
pub(crate) struct CallBook {
    started: Instant,
    capacity: usize,
    pages: Mutex<Pages>,
    /// Ticks with every change, for those who wait for one.
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Pages {
    calls: Vec<CallLog>,
    dropped: u64,
}

impl CallBook {
    pub(crate) fn new(capacity: usize) -> Arc<Self> {
        let (started, changed) = (Instant::now(), watch::Sender::default());
        Arc::new(Self { started, capacity, pages: Mutex::default(), changed })
    }

    /// Enters a call; the entry is completed through what is returned.
    pub(crate) fn open(self: &Arc<Self>, call: CallLog) -> OpenCall {
        let call = CallLog { began: self.started.elapsed(), ..call };
        let mut pages = self.lock();
        let index = (pages.calls.len() < self.capacity).then_some(pages.calls.len());
        match index {
            Some(_) => pages.calls.push(call),
            None => pages.dropped += 1,
        }
        drop(pages);
        self.tick();
        OpenCall { book: Arc::clone(self), index }
    }

    pub(crate) fn calls(&self) -> Vec<CallLog> {
        self.lock().calls.clone()
    }

    /// Waits until the calls are so.
    pub(crate) async fn until(&self, mut is_so: impl FnMut(&[CallLog]) -> bool) {
        let mut changed = self.changed.subscribe();
        while !is_so(&self.lock().calls) {
            if changed.changed().await.is_err() {
                return; // cannot be: the sender is ours
            }
        }
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    fn tick(&self) {
        self.changed.send_modify(|tick| *tick = tick.wrapping_add(1));
    }

    fn lock(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The entry of a call that goes on; dropped, the call has ended.
#[derive(Debug)]
pub(crate) struct OpenCall {
    book: Arc<CallBook>,
    index: Option<usize>,
}

impl OpenCall {
    /// Changes the entry, if the call is kept.
    pub(crate) fn note(&self, change: impl FnOnce(&mut CallLog)) {
        let mut pages = self.book.lock();
        if let Some(call) = self.index.and_then(|index| pages.calls.get_mut(index)) {
            change(call);
        }
        drop(pages);
        self.book.tick();
    }

    /// Sets how the call stands.
    pub(crate) fn stands(&self, outcome: Outcome) {
        self.note(|call| call.outcome = outcome);
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        let ended = self.book.started.elapsed();
        self.note(|call| {
            call.ended = Some(ended);
            if call.outcome == Outcome::InFlight {
                call.outcome = Outcome::Abandoned;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call() -> CallLog {
        CallLog {
            began: Duration::ZERO,
            ended: None,
            kind: CallKind::Question,
            method: "POST".to_owned(),
            path: "/".to_owned(),
            credential: None,
            headers: Vec::new(),
            model: None,
            prompt: String::new(),
            image_count: 0,
            image_digests: Vec::new(),
            fault: None,
            status: None,
            received_bytes: 0,
            sent_bytes: 0,
            outcome: Outcome::InFlight,
            billed_input_tokens: 0,
            billed_output_tokens: 0,
        }
    }

    #[tokio::test]
    async fn a_full_log_counts_what_it_does_not_keep() {
        let book = CallBook::new(2);
        let open: Vec<OpenCall> = (0..5).map(|_| book.open(call())).collect();
        open[4].stands(Outcome::Answered);
        assert_eq!((book.calls().len(), book.dropped()), (2, 3));
        assert!(book.calls().iter().all(|call| call.outcome == Outcome::InFlight));
    }

    #[tokio::test]
    async fn a_call_dropped_in_flight_was_abandoned_and_one_that_ended_keeps_its_end() {
        let book = CallBook::new(2);
        let (first, second) = (book.open(call()), book.open(call()));
        second.stands(Outcome::Answered);
        assert_eq!(book.calls()[0].ended, None);
        drop((first, second));
        let outcomes: Vec<Outcome> = book.calls().iter().map(|call| call.outcome).collect();
        assert_eq!(outcomes, [Outcome::Abandoned, Outcome::Answered]);
        assert!(book.calls().iter().all(|call| call.ended.is_some()));
    }
}
