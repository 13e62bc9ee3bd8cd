//! A seat is one judge with what the gate knows of its health.
//!
//! Its lock is held for a few hundred instructions and never across a wait.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::policy::HedgeSpec;
use crate::panel::hedge;
use crate::panel::latency::Latency;
use crate::panel::{BreakerState, Judge, JudgeStatus};

/// A provider may ask us to stay away for this long at most.
const LONGEST_BLOCK: Duration = Duration::from_secs(30);
/// The share of what is left that is kept for a judge of unknown speed.
const UNKNOWN_SHARE: f64 = 0.25;

/// One judge and its health.
#[derive(Debug)]
pub(crate) struct Seat {
    judge: Arc<dyn Judge>,
    health: Mutex<Health>,
    in_flight: AtomicU32,
}

#[derive(Debug)]
struct Health {
    latency: Latency,
    /// Until when the provider asked us to stay away.
    blocked_until: Option<Instant>,
}

impl Seat {
    /// A judge without history.
    pub(crate) fn new(judge: Arc<dyn Judge>) -> Self {
        let latency = Latency::new(judge.expectation());
        let health = Mutex::new(Health { latency, blocked_until: None });
        Self { judge, health, in_flight: AtomicU32::new(0) }
    }

    /// Who sits here.
    pub(crate) fn judge(&self) -> &dyn Judge {
        self.judge.as_ref()
    }

    /// The name policies use.
    pub(crate) fn name(&self) -> &str {
        &self.judge.id().name
    }

    /// Whether who sits here answers only when no judge that looks can.
    pub(crate) fn stands_in(&self) -> bool {
        self.judge.stands_in()
    }

    /// A call starts.
    pub(crate) fn enter(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// A call is over, however it ended.
    pub(crate) fn leave(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// A valid judgement came after `took`.
    pub(crate) fn record(&self, took: Duration) {
        self.health().latency.record(took);
    }

    /// A call was dropped at `age`.
    pub(crate) fn censor(&self, age: Duration) {
        self.health().latency.censor(age);
    }

    /// The provider asks us to stay away. The later of two such requests holds.
    pub(crate) fn block(&self, retry_after: Duration, now: Instant) {
        let until = now + retry_after.min(LONGEST_BLOCK);
        let mut health = self.health();
        health.blocked_until = health.blocked_until.max(Some(until));
    }

    /// How long the provider still wants us to stay away; `None`: it does not.
    pub(crate) fn blocked_for(&self, now: Instant) -> Option<Duration> {
        let until = self.health().blocked_until?;
        Some(until.saturating_duration_since(now)).filter(|left| !left.is_zero())
    }

    /// Whether it may be asked now.
    pub(crate) fn has_room(&self, now: Instant) -> bool {
        self.blocked_for(now).is_none()
    }

    /// How long this judge may run alone in a race of `budget`.
    pub(crate) fn hedge_delay(&self, spec: HedgeSpec, budget: Duration) -> Duration {
        hedge::delay(&self.health().latency, spec.after_quantile, budget)
    }

    /// How long before the end of `budget` this judge must start to answer in time.
    pub(crate) fn lead(&self, budget: Duration) -> Duration {
        hedge::lead(&self.health().latency, budget)
    }

    /// What to keep for this judge of the time that is `left`: what it usually takes, and never
    /// more than half, so that its own slowness starves nobody before it.
    pub(crate) fn reserve(&self, left: Duration) -> Duration {
        let median = self.quantile_if_known(0.50);
        median.unwrap_or(left.mul_f64(UNKNOWN_SHARE)).min(left / 2)
    }

    /// What this judge usually takes; `None`: no idea yet.
    pub(crate) fn p50(&self) -> Option<Duration> {
        self.quantile_if_known(0.50)
    }

    /// What this judge nearly always takes; `None`: no idea yet.
    pub(crate) fn p95(&self) -> Option<Duration> {
        self.quantile_if_known(0.95)
    }

    /// What an operator sees of it.
    pub(crate) fn status(&self, now: Instant) -> JudgeStatus {
        let blocked_for_ms = self.blocked_for(now).map(whole_ms);
        let health = self.health();
        JudgeStatus {
            id: self.judge.id().clone(),
            breaker: BreakerState::Closed,
            dialect: self.judge.dialect(),
            p50_ms: health.latency.quantile(0.50).map(whole_ms),
            p95_ms: health.latency.quantile(0.95).map(whole_ms),
            samples: health.latency.samples(),
            in_flight: self.in_flight.load(Ordering::Relaxed),
            blocked_for_ms,
            parameters: self.judge.parameters().to_owned(),
        }
    }

    fn quantile_if_known(&self, share: f64) -> Option<Duration> {
        let health = self.health();
        if health.latency.is_cold() { None } else { health.latency.quantile(share) }
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        // nothing in here can be left half done: a poisoned lock is as good as new
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `span` in whole milliseconds.
pub(crate) fn whole_ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
