//! The log says what a provider saw and did, call by call: the evidence that a caller's own counters
//! are not.
//!
//! A call stands in the log from the moment it was read, so that a test can wait for one in flight;
//! how it ends is filled in later. The log has a bound: past it the oldest calls are counted, not kept.

use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::monotonic;

/// One call, as the provider saw it.
#[derive(Clone, Debug, PartialEq)]
pub struct CallLog {
    /// Its place among all calls of this provider, from 0.
    pub number: u64,
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
    /// Whether a stream was asked for.
    pub is_streamed: bool,
    /// What the reply calls the call, as the dialect has it; no two calls share it.
    pub request_id: Option<String>,
    /// The label of the fault that hit it, or `no_slot`.
    pub fault: Option<&'static str>,
    /// The status it was answered with, once the head was sent.
    pub status: Option<u16>,
    /// The caller was told to stay away for so long.
    pub retry_after_s: Option<u32>,
    /// How long it was to take undisturbed: without its fault, on a provider with free slots.
    pub drawn: Duration,
    /// How long of that was to pass until its scores were said; all of it where nothing is streamed.
    pub drawn_scores: Duration,
    /// When the last of its scores was sent, since the provider started; `None` while it was not, and
    /// where a fault leaves no place at which that could be told.
    pub scored: Option<Duration>,
    /// The lowest of the scores that were said or would have been.
    pub lowest_score: Option<f64>,
    /// The length of the request body.
    pub received_bytes: usize,
    /// What was sent back, heads included.
    pub sent_bytes: u64,
    /// How it stands or ended.
    pub outcome: Outcome,
    /// The caller left, and the model worked on for nobody.
    pub answered_after_cancel: bool,
    /// The input tokens a real provider would charge; also for a call that was cancelled.
    pub billed_input_tokens: u64,
    /// The output tokens a real provider would charge.
    pub billed_output_tokens: u64,
}

impl CallLog {
    /// An entry of a call that nothing is known of.
    pub(crate) fn blank() -> Self {
        Self {
            number: 0,
            began: Duration::ZERO,
            ended: None,
            kind: CallKind::Question,
            method: String::new(),
            path: String::new(),
            credential: None,
            headers: Vec::new(),
            model: None,
            prompt: String::new(),
            image_count: 0,
            image_digests: Vec::new(),
            is_streamed: false,
            request_id: None,
            fault: None,
            status: None,
            retry_after_s: None,
            drawn: Duration::ZERO,
            drawn_scores: Duration::ZERO,
            scored: None,
            lowest_score: None,
            received_bytes: 0,
            sent_bytes: 0,
            outcome: Outcome::InFlight,
            answered_after_cancel: false,
            billed_input_tokens: 0,
            billed_output_tokens: 0,
        }
    }
}

/// What a call was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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

/// A part of the log, as the admin port gives it out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Page {
    /// Where the next page begins.
    pub next: u64,
    /// The oldest call that has not ended: what was read of it and of later ones may change.
    pub first_open: Option<u64>,
    /// How many calls the log had no room for.
    pub dropped: u64,
    /// The calls, by number.
    pub calls: Vec<CallRow>,
}

/// A call in a page: what a report needs, and times that another process can compare.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallRow {
    /// As [`CallLog::number`].
    pub number: u64,
    /// When it began, as the machine's monotonic clock has it.
    pub began_ns: u64,
    /// When it ended; none while it is open.
    pub ended_ns: Option<u64>,
    /// What it was for.
    pub kind: CallKind,
    /// The model asked.
    pub model: Option<String>,
    /// The digest of the first image.
    pub image: Option<String>,
    /// How many images came along.
    pub image_count: usize,
    /// As [`CallLog::is_streamed`].
    pub is_streamed: bool,
    /// As [`CallLog::request_id`].
    pub request_id: Option<String>,
    /// As [`CallLog::fault`].
    pub fault: Option<String>,
    /// The status it was answered with.
    pub status: Option<u16>,
    /// As [`CallLog::retry_after_s`].
    pub retry_after_s: Option<u32>,
    /// As [`CallLog::drawn`].
    pub drawn_ms: f64,
    /// As [`CallLog::drawn_scores`].
    pub drawn_scores_ms: f64,
    /// When the last of its scores was sent, as [`CallLog::scored`].
    pub scored_ns: Option<u64>,
    /// As [`CallLog::lowest_score`].
    pub lowest_score: Option<f64>,
    /// The length of the request body.
    pub received_bytes: usize,
    /// What was sent back, heads included.
    pub sent_bytes: u64,
    /// How it stands or ended.
    pub outcome: Outcome,
    /// As [`CallLog::answered_after_cancel`].
    pub answered_after_cancel: bool,
    /// As [`CallLog::billed_input_tokens`].
    pub billed_input_tokens: u64,
    /// As [`CallLog::billed_output_tokens`].
    pub billed_output_tokens: u64,
}

impl CallRow {
    fn of(call: &CallLog, started_ns: u64) -> Self {
        let at_ns = |since: Duration| {
            started_ns.saturating_add(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
        };
        Self {
            number: call.number,
            began_ns: at_ns(call.began),
            ended_ns: call.ended.map(at_ns),
            kind: call.kind,
            model: call.model.clone(),
            image: call.image_digests.first().cloned(),
            image_count: call.image_count,
            is_streamed: call.is_streamed,
            request_id: call.request_id.clone(),
            fault: call.fault.map(str::to_owned),
            status: call.status,
            retry_after_s: call.retry_after_s,
            drawn_ms: call.drawn.as_secs_f64() * 1_000.0,
            drawn_scores_ms: call.drawn_scores.as_secs_f64() * 1_000.0,
            scored_ns: call.scored.map(at_ns),
            lowest_score: call.lowest_score,
            received_bytes: call.received_bytes,
            sent_bytes: call.sent_bytes,
            outcome: call.outcome,
            answered_after_cancel: call.answered_after_cancel,
            billed_input_tokens: call.billed_input_tokens,
            billed_output_tokens: call.billed_output_tokens,
        }
    }
}

/// The calls of one provider.
#[derive(Debug)]
pub(crate) struct CallBook {
    started: Instant,
    /// The same on the machine's monotonic clock.
    started_ns: u64,
    capacity: usize,
    pages: Mutex<Pages>,
    /// Ticks with every change, for those who wait for one.
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Pages {
    calls: VecDeque<CallLog>,
    /// The number of the next call.
    next: u64,
    /// How many had to go for newer ones.
    dropped: u64,
    open: BTreeSet<u64>,
}

impl Pages {
    /// The place of a call, if it is kept.
    fn place(&self, number: u64) -> Option<usize> {
        let first = self.calls.front()?.number;
        usize::try_from(number.checked_sub(first)?).ok()
    }
}

impl CallBook {
    pub(crate) fn new(capacity: usize) -> Arc<Self> {
        let (started, started_ns) = (Instant::now(), monotonic::now_ns());
        let (pages, changed) = (Mutex::default(), watch::Sender::default());
        Arc::new(Self { started, started_ns, capacity: capacity.max(1), pages, changed })
    }

    /// Enters a call; the entry is completed through what is returned.
    pub(crate) fn open(self: &Arc<Self>, call: CallLog) -> OpenCall {
        let began = self.started.elapsed();
        let mut pages = self.lock();
        let number = pages.next;
        pages.next += 1;
        pages.open.insert(number);
        if self.capacity <= pages.calls.len() {
            pages.calls.pop_front();
            pages.dropped += 1;
        }
        pages.calls.push_back(CallLog { number, began, ..call });
        drop(pages);
        self.tick();
        OpenCall { book: Arc::clone(self), number }
    }

    pub(crate) fn calls(&self) -> Vec<CallLog> {
        self.lock().calls.iter().cloned().collect()
    }

    /// At most `limit` calls from number `since` on.
    pub(crate) fn page(&self, since: u64, limit: usize) -> Page {
        let pages = self.lock();
        let first = pages.calls.front().map_or(pages.next, |call| call.number);
        let skipped = usize::try_from(since.saturating_sub(first)).unwrap_or(usize::MAX);
        let kept = pages.calls.iter().skip(skipped).take(limit);
        let calls: Vec<CallRow> = kept.map(|call| CallRow::of(call, self.started_ns)).collect();
        let next = calls.last().map_or(pages.next.max(since), |call| call.number + 1);
        let first_open = pages.open.first().copied();
        Page { next, first_open, dropped: pages.dropped, calls }
    }

    /// How many calls have not ended, kept or not.
    pub(crate) fn open_calls(&self) -> u64 {
        u64::try_from(self.lock().open.len()).unwrap_or(u64::MAX)
    }

    /// Keeps nothing of what was; numbers go on.
    pub(crate) fn forget(&self) {
        let mut pages = self.lock();
        pages.calls.clear();
        pages.dropped = 0;
        drop(pages);
        self.tick();
    }

    /// Waits until the calls are so.
    pub(crate) async fn until(&self, mut is_so: impl FnMut(&[CallLog]) -> bool) {
        let mut changed = self.changed.subscribe();
        while !is_so(self.lock().calls.make_contiguous()) {
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
    number: u64,
}

impl OpenCall {
    /// Changes the entry, if the call is kept.
    pub(crate) fn note(&self, change: impl FnOnce(&mut CallLog)) {
        let mut pages = self.book.lock();
        let place = pages.place(self.number);
        if let Some(call) = place.and_then(|place| pages.calls.get_mut(place)) {
            change(call);
        }
        drop(pages);
        self.book.tick();
    }

    /// Sets how the call stands.
    pub(crate) fn stands(&self, outcome: Outcome) {
        self.note(|call| call.outcome = outcome);
    }

    /// From now on every score has been said.
    pub(crate) fn is_scored(&self) {
        let scored = self.book.started.elapsed();
        self.note(|call| call.scored = Some(scored));
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        let ended = self.book.started.elapsed();
        self.book.lock().open.remove(&self.number);
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
        CallLog::blank()
    }

    #[tokio::test]
    async fn a_full_log_keeps_the_newest_calls_and_counts_the_rest() {
        let book = CallBook::new(2);
        let mut open: Vec<OpenCall> = (0..5).map(|_| book.open(call())).collect();
        open[0].stands(Outcome::Answered);
        open[4].stands(Outcome::Answered);
        let kept: Vec<_> = book.calls().iter().map(|call| (call.number, call.outcome)).collect();
        assert_eq!(kept, [(3, Outcome::InFlight), (4, Outcome::Answered)]);
        assert_eq!((book.dropped(), book.open_calls()), (3, 5));
        open.clear();
        assert_eq!(book.open_calls(), 0);
    }

    #[tokio::test]
    async fn pages_join_without_a_gap_and_say_what_may_still_change() {
        let book = CallBook::new(100);
        let mut open: Vec<OpenCall> = (0..7).map(|_| book.open(call())).collect();
        drop(open.drain(..2));
        let (mut since, mut numbers) = (0, Vec::new());
        loop {
            let page = book.page(since, 3);
            if page.calls.is_empty() {
                assert_eq!((page.next, page.first_open), (7, Some(2)));
                break;
            }
            numbers.extend(page.calls.iter().map(|call| call.number));
            since = page.next;
        }
        assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 6]);
        let page = book.page(0, 1);
        let text = serde_json::to_string(&page).unwrap();
        assert_eq!(serde_json::from_str::<Page>(&text).unwrap(), page);
        let row = &page.calls[0];
        assert!(book.started_ns <= row.began_ns && row.began_ns <= row.ended_ns.unwrap());
        book.forget();
        assert_eq!(book.page(0, 10).calls, []);
        drop(book.open(call()));
        assert_eq!(book.page(7, 10).calls[0].number, 7, "numbers go on");
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
