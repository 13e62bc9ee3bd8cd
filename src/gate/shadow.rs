//! Shadows: judges asked about an image behind its verdict, to learn how they judge. No verdict
//! rests on one, and no answer waits for one.
//!
//! When a verdict is decided its image may be handed over: a few references, under a lock that is
//! held for as long as it takes to put them in a queue. Everything else happens behind, in
//! [`working`]: prompts, money, calls, the store. What does not fit is dropped and counted. While
//! the gate has a line in front of it, or is nearly full, nothing is taken and nothing is begun.
//!
//! There are four reasons to ask. An entry of the policy draws a *sample*. After a failover the
//! first judge is shown a share of what it missed, once it is back (*backfill*): a fair share of an
//! outage is known only at its end, so until then a [`sieve`] keeps it. After a drift alarm the
//! other judges are shown what is served next (*burst*): a judge that moved moves alone, images
//! that moved move all. And of verdicts that a *hedge* won, some are shown to the judge that lost:
//! those images were chosen by who was faster, so only what both say of them compares.
//!
//! All are off until a file says what they may cost: nobody should find out from a bill that
//! something drifted in the night. And each has an end that hangs on nobody else: the day's money,
//! which is drawn in the store before it is spent ([`purse`]), so many images and hours for an
//! alarm ([`bursts`]), and an hour for what a judge missed ([`due`]).

mod again;
mod bursts;
mod calling;
mod due;
mod purse;
mod sieve;
mod wish;
pub mod working;

use std::collections::{BTreeMap, VecDeque};
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::clock::{Stopwatch, Timestamp};
use crate::domain::{Decision, Digest, MicroUsd, Policy, Record, Route};
use crate::gate::posing::flags;
use crate::gate::shadow::purse::Money;
use crate::gate::shadow::sieve::Sieve;
use crate::gate::shadow::wish::{Wish, backfill_key, wishes};
use crate::imaging::{Measurements, View};
use crate::ledger::shadows::{Purpose, Spent};
use crate::telemetry::shadow::{Unasked, count_dropped, set_waiting};

/// How much is asked behind verdicts at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Images that wait to be shown, by sample or burst.
    pub max_queued: usize,
    /// Memory of the pictures that wait: half of it for those, half for what waits for a judge to
    /// come back.
    pub max_bytes: u64,
    /// Calls to one judge at once.
    pub max_in_flight: u32,
    /// What follows an alarm; `None`: nothing.
    pub burst: Option<Burst>,
}

/// What follows a drift alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Burst {
    /// Images shown to the other judges.
    pub images: u64,
    /// Most that it may cost in one day (UTC), all policies together.
    pub per_day: MicroUsd,
}

impl Default for Settings {
    fn default() -> Self {
        Self { max_queued: 256, max_bytes: 128 << 20, max_in_flight: 4, burst: None }
    }
}

/// What is to be asked behind verdicts.
#[derive(Debug)]
pub struct Shadows {
    settings: Settings,
    backlog: Mutex<Backlog>,
    /// Memory of what waits to be shown, and of what waits for a judge to come back.
    queued: Arc<AtomicU64>,
    missed: Arc<AtomicU64>,
    woken: Notify,
    money: Money,
    /// Who looks into an alarm, by policy.
    bursting: ArcSwap<BTreeMap<String, Vec<String>>>,
}

/// What waits.
#[derive(Debug, Default)]
struct Backlog {
    jobs: VecDeque<Job>,
    /// What the first judge missed, by policy.
    missed: BTreeMap<String, Missed>,
}

/// What a judge missed while it was away.
#[derive(Debug)]
struct Missed {
    sieve: Sieve<Job>,
    first: Stopwatch,
    last: Stopwatch,
}

/// One judge to be asked about one image.
#[derive(Debug)]
struct Job {
    shown: Arc<Shown>,
    wish: Wish,
    /// Counted for as long as it waits.
    _held: Held,
}

/// What is kept of an image that is to be shown again: references to its views, no copies.
#[derive(Debug)]
struct Shown {
    record: Uuid,
    /// The image's own number, 0..1.
    lot: f64,
    policy: String,
    /// The policy's part of what decides the judging.
    judging: Digest,
    vars: BTreeMap<String, String>,
    flags: Vec<String>,
    views: Vec<View>,
    measurements: Measurements,
    /// Who gave the first judgement, and whether that alone would not pass; `None` where it makes
    /// no pair.
    first: Option<(String, bool)>,
    began: Stopwatch,
}

/// Memory that is counted.
#[derive(Debug)]
struct Held {
    of: Arc<AtomicU64>,
    bytes: u64,
}

impl Held {
    fn new(of: &Arc<AtomicU64>, bytes: u64) -> Self {
        of.fetch_add(bytes, Ordering::Relaxed);
        Self { of: Arc::clone(of), bytes }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.of.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// An image to be handed over: who is to be asked, and what they are to be shown.
#[derive(Debug)]
pub(super) struct Offer {
    wishes: Vec<Wish>,
    shown: Shown,
    least_share: f64,
}

/// What an image was judged by.
pub(super) struct Seen<'a> {
    pub(super) vars: &'a BTreeMap<String, String>,
    pub(super) views: &'a [View],
    pub(super) measurements: Measurements,
    pub(super) began: Stopwatch,
}

impl Shadows {
    /// Nothing waits yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            backlog: Mutex::default(),
            queued: Arc::default(),
            missed: Arc::default(),
            woken: Notify::new(),
            money: Money::default(),
            bursting: ArcSwap::default(),
        }
    }

    /// What follows a drift alarm; `None`: nothing.
    #[must_use]
    pub fn burst(&self) -> Option<Burst> {
        self.settings.burst
    }

    /// What is spent behind verdicts on the day (UTC) of `now`, with what may have been spent by a
    /// process that was killed; bursts of all policies are one of no policy. `None`: the store has
    /// not told yet what earlier processes spent.
    #[must_use]
    pub fn spent(&self, now: Timestamp) -> Option<Vec<Spent>> {
        self.money.is_restored().then(|| self.money.spent(now))
    }

    /// What is to be asked about the image of `record`, which is decided; `None`: nothing.
    pub(super) fn offer(&self, policy: &Policy, record: &Record, seen: &Seen<'_>) -> Option<Offer> {
        let bursting = self.bursting.load();
        let bursting = bursting.get(&policy.name).map_or(&[][..], Vec::as_slice);
        if policy.shadows.is_empty()
            && policy.backfill.is_none()
            && policy.losers.is_none()
            && bursting.is_empty()
        {
            return None;
        }
        let wishes = wishes(policy, record, bursting);
        if wishes.is_empty() {
            return None;
        }
        let judge = record.judge.as_ref();
        // an image that a hedge won makes no pair of judges: who was faster chose it
        let is_pair = record.route != Some(Route::Hedge);
        let first = judge.zip(record.verdict.first_verdict).filter(|_| is_pair);
        let shown = Shown {
            record: record.id,
            lot: record.image.digest.lot(),
            policy: policy.name.clone(),
            judging: policy.judging,
            vars: seen.vars.clone(),
            flags: flags(&record.findings),
            views: seen.views.to_vec(),
            measurements: seen.measurements,
            first: first.map(|(judge, said)| (judge.name.clone(), said != Decision::Pass)),
            began: seen.began,
        };
        let least_share = policy.backfill.map_or(1.0, |backfill| backfill.share);
        Some(Offer { wishes, shown, least_share })
    }

    /// Takes `offer`, as far as there is room; while the gate `is_pressed` only what waits for a
    /// judge to come back.
    pub(super) fn hand_over(&self, offer: Offer, is_pressed: bool) {
        let Offer { wishes, shown, least_share } = offer;
        let shown = Arc::new(shown);
        let bytes = shown.views.iter().map(|view| view.jpeg.as_ref().len() as u64).sum();
        let mut gone = Vec::new();
        let mut backlog = self.backlog();
        for wish in wishes {
            let shown = Arc::clone(&shown);
            if wish.purpose == Purpose::Backfill {
                let job = Job { shown, wish, _held: Held::new(&self.missed, bytes) };
                gone.extend(self.keep(&mut backlog, job, least_share));
            } else if is_pressed {
                count_dropped(Unasked::Crowded);
            } else if self.settings.max_queued <= backlog.jobs.len() {
                count_dropped(Unasked::QueueFull);
            } else if self.settings.max_bytes / 2 < self.queued.load(Ordering::Relaxed) + bytes {
                count_dropped(Unasked::Bytes);
            } else {
                let _held = Held::new(&self.queued, bytes);
                backlog.jobs.push_back(Job { shown, wish, _held });
            }
        }
        drop(backlog);
        // pictures are freed outside the lock
        drop(gone);
        self.woken.notify_one();
    }

    /// Keeps what the first judge missed, in place of whatever else there is no room for.
    fn keep(&self, backlog: &mut Backlog, job: Job, least_share: f64) -> Vec<Job> {
        let (now, key) = (Stopwatch::start(), backfill_key(job.shown.record));
        let new = || Missed { sieve: Sieve::new(least_share), first: now, last: now };
        let missed = backlog.missed.entry(job.shown.policy.clone()).or_insert_with(new);
        missed.last = now;
        let mut gone = missed.sieve.offer(key, job);
        let mut held: u64 = gone.iter().map(|job| job._held.bytes).sum();
        while self.settings.max_bytes / 2 + held < self.missed.load(Ordering::Relaxed) {
            let Some(job) = missed.sieve.squeeze() else { break };
            held += job._held.bytes;
            gone.push(job);
        }
        gone
    }

    /// Everything that waits to be shown, in order; whoever takes it gives back what must wait on.
    fn take(&self) -> VecDeque<Job> {
        mem::take(&mut self.backlog().jobs)
    }

    /// Puts back what must wait on, ahead of what came meanwhile; past the bound the oldest goes.
    fn put_back(&self, mut jobs: VecDeque<Job>) {
        let mut backlog = self.backlog();
        jobs.append(&mut backlog.jobs);
        let past = jobs.len().saturating_sub(self.settings.max_queued);
        let gone: Vec<Job> = jobs.drain(..past).collect();
        backlog.jobs = jobs;
        drop(backlog);
        gone.iter().for_each(|_| count_dropped(Unasked::QueueFull));
    }

    /// Writes the gauges.
    pub(super) fn report(&self, in_flight: u32) {
        let bytes = [&self.queued, &self.missed].map(|held| held.load(Ordering::Relaxed));
        let queued = self.backlog().jobs.len();
        set_waiting(queued, bytes.iter().sum(), in_flight);
    }

    fn backlog(&self) -> MutexGuard<'_, Backlog> {
        // nothing in there can be left half done
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
