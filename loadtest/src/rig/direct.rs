//! The direct clients ask the providers themselves, as services without a gate do.
//!
//! They are the baselines: `naive` is the client of the published story, `sequential` a gateway that
//! tries one provider after another, and two hedging clients lack what makes hedging safe. Their
//! place is beside the gate in one report, under the same images, faults and clock.

pub(crate) mod wire;

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio::time::sleep;

use crate::gallery::Photograph;
use crate::quantile::quantile;
use crate::rig::direct::wire::Asked;

pub(crate) use crate::rig::direct::wire::CRITERIA;
use crate::rig::providers::Provider;
use crate::sample::AttemptBody;
use crate::sample::JudgeBody;
use crate::sample::VerdictBody;
use crate::web::Web;

/// Which client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirectKind {
    /// One provider, 12 s, one retry, 64 workers, no overall deadline.
    Naive,
    /// One provider after another, 2 s each, 64 workers; a provider that fails more than half of its
    /// calls in a minute is left out for 5 s.
    Sequential,
    /// A hedge at p95 within a budget of 5 %, failover on errors, a hard deadline; no breaker.
    HedgedWithoutBreaker,
    /// The same with a breaker of five failures in a row that does not count cancelled calls.
    BreakerBlind,
}

impl DirectKind {
    /// Every client.
    pub const ALL: [Self; 4] =
        [Self::Naive, Self::Sequential, Self::HedgedWithoutBreaker, Self::BreakerBlind];

    /// What it is called on the command line and in scenarios.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Naive => "naive",
            Self::Sequential => "sequential",
            Self::HedgedWithoutBreaker => "hedged-without-breaker",
            Self::BreakerBlind => "breaker-blind",
        }
    }

    const fn has_workers(self) -> bool {
        matches!(self, Self::Naive | Self::Sequential)
    }
}

/// Callers that are served at once.
const WORKERS: usize = 64;
/// How long the naive client waits for one answer.
const NAIVE_TRY: Duration = Duration::from_secs(12);
/// How long the sequential client waits for one answer.
const SEQUENTIAL_TRY: Duration = Duration::from_secs(2);
/// Latencies that the hedge delay is taken from.
const REMEMBERED: usize = 400;
/// Hedges for each primary call.
const HEDGE_BUDGET: f64 = 0.05;
/// Failures in a row after which the blind breaker opens.
const STRIKES: u32 = 5;
/// For how long it stays open.
const OPEN_FOR: Duration = Duration::from_secs(30);

/// A client with what it remembers.
#[derive(Debug)]
pub(crate) struct Direct {
    kind: DirectKind,
    web: Web,
    providers: Vec<Provider>,
    deadline: Duration,
    workers: Semaphore,
    waiting: AtomicU64,
    memory: Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    latencies_ms: VecDeque<f64>,
    hedges: f64,
    standing: BTreeMap<String, Standing>,
}

/// How a provider stands.
#[derive(Debug, Default)]
struct Standing {
    failures_in_a_row: u32,
    left_out_until: Option<Instant>,
    /// When each call of the last minute ended, and whether it failed.
    ended: VecDeque<(Instant, bool)>,
}

/// How one call ended.
struct Ended {
    attempt: AttemptBody,
    scores: Option<BTreeMap<String, f64>>,
}

impl Direct {
    pub(crate) fn new(kind: DirectKind, providers: Vec<Provider>, deadline: Duration) -> Self {
        Self {
            kind,
            web: Web::new(),
            providers,
            deadline,
            workers: Semaphore::new(WORKERS),
            waiting: AtomicU64::new(0),
            memory: Mutex::default(),
        }
    }

    /// How many callers wait for a worker.
    pub(crate) fn queued(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Judges one image.
    pub(crate) async fn check(&self, image: Photograph, id: String) -> VerdictBody {
        let began = Instant::now();
        let permit = if self.kind.has_workers() {
            self.waiting.fetch_add(1, Ordering::Relaxed);
            let permit = self.workers.acquire().await;
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            Some(permit)
        } else {
            None
        };
        let mut check = Check { direct: self, image, began, attempts: Vec::new() };
        let scores = match self.kind {
            DirectKind::Naive => check.naive().await,
            DirectKind::Sequential => check.sequential().await,
            DirectKind::HedgedWithoutBreaker | DirectKind::BreakerBlind => check.hedged().await,
        };
        drop(permit);
        verdict(id, &scores, check.attempts)
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The delay before a hedge: p95 of what was seen, within bounds.
    fn hedge_after(&self) -> Duration {
        let seen: Vec<f64> = self.memory().latencies_ms.iter().copied().collect();
        let p95_ms = quantile(&seen, 0.95).filter(|_| 20 <= seen.len()).unwrap_or(1_000.0);
        Duration::from_secs_f64(p95_ms.clamp(300.0, 2_000.0) / 1_000.0)
    }

    /// Takes a hedge from the budget, if there is one.
    fn may_hedge(&self) -> bool {
        let mut memory = self.memory();
        let has_one = 1.0 <= memory.hedges;
        if has_one {
            memory.hedges -= 1.0;
        }
        has_one
    }

    /// The providers that may be asked now, in order.
    fn open_to_calls(&self) -> Vec<Provider> {
        let now = Instant::now();
        let memory = self.memory();
        let is_out = |provider: &&Provider| {
            let standing = memory.standing.get(&provider.name);
            standing.and_then(|one| one.left_out_until).is_some_and(|until| now < until)
        };
        let open: Vec<Provider> =
            self.providers.iter().filter(|one| !is_out(one)).cloned().collect();
        if open.is_empty() { self.providers.clone() } else { open }
    }

    /// Remembers how a call to a provider ended.
    fn note(&self, ended: &Ended) {
        let now = Instant::now();
        let is_failure = ended.scores.is_none();
        let mut memory = self.memory();
        if !is_failure && ended.attempt.route == "primary" {
            memory.latencies_ms.push_back(ended.attempt.took_ms);
            if REMEMBERED < memory.latencies_ms.len() {
                memory.latencies_ms.pop_front();
            }
        }
        let standing = memory.standing.entry(ended.attempt.judge.clone()).or_default();
        standing.failures_in_a_row = if is_failure { standing.failures_in_a_row + 1 } else { 0 };
        standing.ended.push_back((now, is_failure));
        let is_old = |(at, _): &(Instant, bool)| Duration::from_secs(60) < now - *at;
        while standing.ended.front().is_some_and(is_old) {
            standing.ended.pop_front();
        }
        let failures = standing.ended.iter().filter(|(_, failed)| *failed).count();
        let is_mostly_failing = 10 <= standing.ended.len() && standing.ended.len() < 2 * failures;
        match self.kind {
            DirectKind::Sequential if is_mostly_failing => {
                standing.left_out_until = Some(now + Duration::from_secs(5));
            }
            DirectKind::BreakerBlind if STRIKES <= standing.failures_in_a_row => {
                standing.left_out_until = Some(now + OPEN_FOR);
            }
            DirectKind::Naive
            | DirectKind::Sequential
            | DirectKind::HedgedWithoutBreaker
            | DirectKind::BreakerBlind => {}
        }
    }
}

/// One image on its way.
struct Check<'a> {
    direct: &'a Direct,
    image: Photograph,
    began: Instant,
    attempts: Vec<AttemptBody>,
}

type Scores = Option<BTreeMap<String, f64>>;

impl Check<'_> {
    /// The first provider, twice.
    async fn naive(&mut self) -> Scores {
        let first = self.direct.providers.first().cloned()?;
        for route in ["primary", "failover"] {
            let until = Instant::now() + NAIVE_TRY;
            let ended = self.ask(&first, route, until).await;
            if let Some(scores) = self.keep(ended) {
                return Some(scores);
            }
        }
        None
    }

    /// One after another.
    async fn sequential(&mut self) -> Scores {
        for (turn, provider) in self.direct.open_to_calls().iter().enumerate() {
            let route = if turn == 0 { "primary" } else { "failover" };
            let until = Instant::now() + SEQUENTIAL_TRY;
            let ended = self.ask(provider, route, until).await;
            if let Some(scores) = self.keep(ended) {
                return Some(scores);
            }
        }
        None
    }

    /// The first, a second beside it when it is slow, the next after an error, until the deadline.
    async fn hedged(&mut self) -> Scores {
        let until = self.began + self.direct.deadline;
        {
            let mut memory = self.direct.memory();
            memory.hedges = (memory.hedges + HEDGE_BUDGET).min(10.0);
        }
        let order = self.direct.open_to_calls();
        let mut order = order.iter();
        while let Some(first) = order.next() {
            let image = self.image.clone();
            let (direct, began) = (self.direct, self.began);
            let route = if self.attempts.is_empty() { "primary" } else { "failover" };
            let call = |provider: Provider, route: &'static str| {
                let image = image.clone();
                async move { ask(direct, &provider, image, (route, began, until)).await }
            };
            let mut one = Box::pin(call(first.clone(), route));
            let early = tokio::select! {
                biased; // an answer that is there needs no hedge
                ended = &mut one => Some(ended),
                () = sleep(direct.hedge_after()) => None,
            };
            let ended = match (early, order.clone().next()) {
                (Some(ended), _) => ended,
                (None, Some(second)) if direct.may_hedge() => {
                    order.next();
                    let mut two = Box::pin(call(second.clone(), "hedge"));
                    let (ended, other, loser) = tokio::select! {
                        biased; // the primary's answer is preferred
                        ended = &mut one => (ended, two, (second, "hedge")),
                        ended = &mut two => (ended, one, (first, route)),
                    };
                    if ended.scores.is_some() {
                        self.attempts.push(cancelled(loser, began));
                        drop(other);
                        ended
                    } else {
                        let _kept = self.keep(ended);
                        other.await
                    }
                }
                (None, _) => one.await,
            };
            if let Some(scores) = self.keep(ended) {
                return Some(scores);
            }
            if until <= Instant::now() {
                return None;
            }
        }
        None
    }

    async fn ask(&self, provider: &Provider, route: &'static str, until: Instant) -> Ended {
        ask(self.direct, provider, self.image.clone(), (route, self.began, until)).await
    }

    /// Enters a call in the books; its scores, if it judged.
    fn keep(&mut self, ended: Ended) -> Scores {
        let is_ours = ended.attempt.outcome == "cancelled";
        if !is_ours {
            self.direct.note(&ended);
        }
        self.attempts.push(ended.attempt);
        ended.scores
    }
}

/// One call: when it began, since the image came, and how it ended.
async fn ask(
    direct: &Direct,
    provider: &Provider,
    image: Photograph,
    (route, began, until): (&'static str, Instant, Instant),
) -> Ended {
    let started = Instant::now();
    let file = image.file();
    let asked = Asked { provider, image: &file };
    let answer = match asked.request() {
        Ok(request) => direct.web.call(request, until).await,
        Err(problem) => Err(problem.into()),
    };
    let scores = answer.as_ref().ok().and_then(|reply| asked.scores(reply));
    let is_late = until <= Instant::now();
    let outcome = match (&answer, &scores) {
        (Ok(_), Some(_)) => "judged",
        (Ok(reply), None) if reply.status == 429 => "rate_limited",
        (Ok(reply), None) if reply.status == 200 => "unreadable",
        (Ok(_), None) => "server_error",
        // the deadline is ours: the blind ones do not hold it against the provider
        (Err(_), _) if is_late && !direct.kind.has_workers() => "cancelled",
        (Err(_), _) if is_late => "timeout",
        (Err(_), _) => "connect",
    };
    let attempt = AttemptBody {
        judge: provider.name.clone(),
        route: route.to_owned(),
        outcome: outcome.to_owned(),
        started_ms: (started - began).as_secs_f64() * 1_000.0,
        took_ms: started.elapsed().as_secs_f64() * 1_000.0,
        request_id: None,
    };
    Ended { attempt, scores }
}

fn cancelled((provider, route): (&Provider, &str), began: Instant) -> AttemptBody {
    AttemptBody {
        judge: provider.name.clone(),
        route: route.to_owned(),
        outcome: "cancelled".to_owned(),
        took_ms: began.elapsed().as_secs_f64() * 1_000.0,
        ..AttemptBody::default()
    }
}

/// What the client tells of an image: an answer in the form of the gate's.
fn verdict(id: String, scores: &Scores, attempts: Vec<AttemptBody>) -> VerdictBody {
    let judge = attempts.iter().find(|one| one.outcome == "judged").map(|one| one.judge.clone());
    let is_good = |scores: &BTreeMap<String, f64>| scores.values().all(|score| 0.7 <= *score);
    let verdict = match scores {
        Some(scores) if is_good(scores) => "pass",
        Some(_) => "fail",
        None => "review",
    };
    VerdictBody {
        id,
        verdict: verdict.to_owned(),
        basis: if scores.is_some() { "judge" } else { "deadline" }.to_owned(),
        judge: judge.map(|name| JudgeBody { name }),
        attempts,
        ..VerdictBody::default()
    }
}
