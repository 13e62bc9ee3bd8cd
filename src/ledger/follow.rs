//! The follower reads records in the order in which they count, adds them up, and folds them into
//! what is known of drift.
//!
//! It runs beside the writer on a thread of its own and hands back sums and events as a chore, in
//! steps, so it delays no record by more than one small transaction. What it wrote and how far it
//! had come are one transaction: killed at any moment, it goes on where the store says, and counts
//! nothing twice and nothing never. The state of the monitors is a pure fold over the same order;
//! it lies in a file of its own ([`checkpoint`]) only so that a start need not fold from the
//! last kept baseline ([`baselines`]), as it does without the file, or with another program's.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::FutureExt;
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::clock::{Deadline, Late, Stopwatch, Timestamp};
use crate::drift::event::Event;
use crate::drift::monitor;
use crate::drift::standing::Standing;
use crate::ledger::follow::acknowledge::{Acknowledging, Ask, MOST_WAITING};
use crate::ledger::follow::heard::Heard;
use crate::ledger::follow::keeping::Keeping;
use crate::ledger::follow::shown::{READ_EVERY, Shown};
use crate::ledger::follow::stretch::{Aside, Counted, Stretch};
use crate::ledger::follow::told::{event_mark, revision_mark};
use crate::ledger::follow::view::{Known, View};
use crate::ledger::form::RecordForm;
use crate::ledger::inbox::Chore;
use crate::ledger::reader::Reader;
use crate::ledger::rollup::Cells;
use crate::ledger::writing::{Count, Followed, Writing};
use crate::ledger::{Ledger, LedgerError};
use crate::telemetry;

pub mod acknowledge;
pub(crate) mod baselines;
mod checkpoint;
pub mod heard;
mod keeping;
mod shown;
mod start;
mod stretch;
mod told;
pub mod view;

/// Records in one step: bounds how long a record may wait for the chore.
const STEP_RECORDS: u32 = 200;

/// How long records gather before they are counted.
const GATHER: Duration = Duration::from_millis(300);

/// Between two tries while the store fails.
const PAUSE: Duration = Duration::from_secs(1);

/// Longest pause between two starts of a follower that breaks over something.
const LONGEST_PAUSE: Duration = Duration::from_mins(10);

/// How the records are followed.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Whole days that a baseline is learnt from.
    pub baseline_days: u32,
    /// False alarms allowed in thirty days, over all detectors of a policy together.
    pub false_alarms_per_30_days: f64,
    /// Images shown to the other judges after an alarm; 0 where that is not done.
    pub burst_images: u64,
    /// Where the state of the monitors is kept between two runs.
    pub checkpoint: PathBuf,
}

impl Settings {
    /// A week's baseline and one false alarm in sixty days, kept at `checkpoint`.
    #[must_use]
    pub fn usual(checkpoint: PathBuf) -> Self {
        Self { baseline_days: 7, false_alarms_per_30_days: 0.5, burst_images: 0, checkpoint }
    }

    fn monitor(&self) -> monitor::Settings {
        monitor::Settings {
            false_alarms_per_30_days: self.false_alarms_per_30_days,
            burst_images: self.burst_images,
        }
    }
}

/// A drift event as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredEvent {
    /// The record at which it was told.
    pub seq: i64,
    /// What was told.
    pub event: Event,
}

/// The handle on a running follower. Dropped, the follower stops where it is.
#[derive(Debug)]
pub struct Follower {
    known: Arc<ArcSwap<Known>>,
    acknowledging: Acknowledging,
    stop: CancellationToken,
    ended: oneshot::Receiver<()>,
}

impl Follower {
    /// What is known now.
    #[must_use]
    pub fn known(&self) -> Arc<Known> {
        self.known.load_full()
    }

    /// A look at what is known that outlives this handle.
    #[must_use]
    pub fn looking(&self) -> Arc<ArcSwap<Known>> {
        Arc::clone(&self.known)
    }

    /// How it is told what an operator has seen.
    #[must_use]
    pub fn acknowledging(&self) -> Acknowledging {
        self.acknowledging.clone()
    }

    /// Counts what is there, keeps the state, and ends.
    ///
    /// # Errors
    /// [`Late`] when the deadline came first: the next start counts the rest.
    pub async fn finish(mut self, deadline: Deadline) -> Result<(), Late> {
        self.stop.cancel();
        // an end without a word is an end
        deadline.bound(&mut self.ended).await.map(drop)
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Ledger {
    /// Follows the records from where the store says on. A store that cannot be read now is read
    /// once it can.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn follow(&self, settings: Settings) -> Result<Follower, LedgerError> {
        let reader = self.reader.alone();
        let followed = Followed::default();
        let broken = |why: std::io::Error| LedgerError::Store(format!("the follower: {why}"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(broken)?;
        let known = Arc::new(ArcSwap::from_pointee(Known::new(followed, &settings)));
        let stop = CancellationToken::new();
        let (ends, ended) = oneshot::channel();
        let (ask, asked) = mpsc::channel(MOST_WAITING);
        let means = Means {
            reader,
            chores: self.chores.clone(),
            grown: self.grown(),
            known: Arc::clone(&known),
            asked: Arc::new(Mutex::new(asked)),
            stop: stop.clone(),
            settings,
        };
        start(means, runtime, ends).map_err(broken)?;
        Ok(Follower { known, acknowledging: Acknowledging(ask), stop, ended })
    }
}

fn start(means: Means, runtime: Runtime, ends: oneshot::Sender<()>) -> Result<(), std::io::Error> {
    let named = thread::Builder::new().name("vlmgate-follower".to_owned());
    // not joined: it tells its end
    let spawned = named.spawn(move || {
        let stop = means.stop.clone();
        runtime.block_on(again(stop, || Following::new(means.clone()).run()));
        drop(ends);
    });
    spawned.map(drop)
}

/// Runs it until it ends of itself. One that breaks begins anew from what the store says, after a
/// pause that grows: a record that breaks it each time must not keep a core busy.
async fn again<F: Future<Output = ()>>(stop: CancellationToken, mut run: impl FnMut() -> F) {
    let mut pause = PAUSE;
    while AssertUnwindSafe(run()).catch_unwind().await.is_err() {
        tracing::error!(?pause, "the follower panicked: nothing is counted until it begins anew");
        telemetry::count_panic();
        if Deadline::after(pause).bound(stop.cancelled()).await.is_ok() {
            return;
        }
        pause = LONGEST_PAUSE.min(pause * 2);
    }
}

/// What a follower works with.
#[derive(Clone)]
struct Means {
    reader: Reader,
    chores: mpsc::Sender<Chore>,
    grown: watch::Receiver<i64>,
    known: Arc<ArcSwap<Known>>,
    /// Held by the one that runs: it takes the place of one that broke.
    asked: Arc<Mutex<mpsc::Receiver<Ask>>>,
    stop: CancellationToken,
    settings: Settings,
}

/// The follower at work.
struct Following {
    means: Means,
    /// Policies and revisions of which a verdict was seen.
    revisions: BTreeSet<(String, String)>,
    standings: BTreeMap<String, Standing>,
    shown: Shown,
    /// Up to where sums and events are in the store.
    followed: Followed,
    /// Up to where older programs stored.
    old_n: i64,
    /// The hashes of the kept baselines that the standings rest on, by policy.
    baselines: BTreeMap<String, String>,
    kept: Keeping,
}

/// Why following ends.
enum End {
    /// The ledger is closed.
    Closed,
    /// Told to.
    Stopped,
}

impl Following {
    fn new(means: Means) -> Self {
        Self {
            means,
            revisions: BTreeSet::new(),
            standings: BTreeMap::new(),
            shown: Shown::default(),
            followed: Followed::default(),
            old_n: 0,
            baselines: BTreeMap::new(),
            kept: Keeping::default(),
        }
    }

    async fn run(mut self) {
        if let Err(End::Closed | End::Stopped) = self.take_up().await {
            return;
        }
        let mut asked = Arc::clone(&self.means.asked).lock_owned().await;
        loop {
            if let Err(End::Closed) = self.advance(&mut asked).await {
                return;
            }
            self.show_rates().await;
            let stopped = self.means.stop.clone();
            let next_rates = Deadline::after(READ_EVERY);
            tokio::select! {
                () = stopped.cancelled() => break,
                Some(ask) = asked.recv() => match self.acknowledge(ask).await {
                    Ok(()) => continue,
                    Err(_) => return,
                },
                grown = next_rates.bound(self.means.grown.changed()) => match grown {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => break,
                    // nothing came: time passes all the same
                    Err(Late) => {
                        self.publish();
                        continue;
                    }
                },
            }
            // cut short by the end, which counts what is there
            Deadline::after(GATHER).bound(stopped.cancelled()).await.ok();
        }
        if self.advance(&mut asked).await.is_ok() {
            self.keep();
        }
    }

    /// Counts everything that is there, step by step; between two of them others have the machine
    /// for as long as the step took.
    async fn advance(&mut self, asked: &mut mpsc::Receiver<Ask>) -> Result<(), End> {
        loop {
            if let Ok(ask) = asked.try_recv() {
                self.acknowledge(ask).await?;
            }
            let watch = Stopwatch::start();
            let stretch = self.read(self.followed.n, i64::MAX).await?;
            let Some(to) = stretch.to else { return Ok(()) };
            // a stretch without a record ends where the one before it did
            let to = match to {
                Followed { n, seq: 0, .. } => Followed { n, ..self.followed },
                Followed { n, seq, at_us } => self.followed.on_to(n, seq, at_us),
            };
            let count = self.count(&stretch.all, to);
            self.store(count).await?;
            self.followed = to;
            self.publish();
            self.keep_at_times();
            if stretch.is_last {
                return Ok(());
            }
            let pause = Deadline::after(watch.elapsed());
            pause.bound(self.means.stop.cancelled()).await.ok();
        }
    }

    fn count(&mut self, all: &[(i64, Counted)], to: Followed) -> Count {
        let mut count = Count { to, ..Count::default() };
        for (n, one) in all {
            let form = one.record();
            let revision = (form.policy.name.clone(), form.policy.revision.to_string());
            if !self.revisions.contains(&revision) {
                count.marks.push(revision_mark(form));
                self.revisions.insert(revision);
            }
            let (events, frozen) = self.fold_kept((*n, one), &mut count.cells);
            count.baselines.extend(frozen);
            for event in events {
                let policy = &form.policy.name;
                telemetry::drift::count_event(policy, &event.label.to_string());
                let seq = form.seq.unwrap_or_default();
                count.marks.extend(event_mark(policy, &StoredEvent { seq, event }));
            }
        }
        count
    }

    /// Folds one into its policy's standing and adds it to `cells`.
    fn fold(&mut self, one: &Counted, cells: &mut Cells) -> Vec<Event> {
        let form = one.record();
        let heard = match one {
            Counted::Older(form) => {
                let judge = form.judge.as_ref().map(|judge| judge.name.as_str());
                cells.add(form, &self.known_config(form, judge, &form.judged_by.to_string()));
                return Vec::new();
            }
            Counted::Shadow(aside) if !aside.is_watched => {
                let Aside { attempt, judged_by, at, purpose, .. } = &**aside;
                let config = self.known_config(form, Some(&attempt.judge), judged_by);
                cells.add_shadow(form, (attempt, *at, *purpose), &config);
                return Vec::new();
            }
            Counted::Record(form) => Heard::record(form),
            Counted::Shadow(aside) => Heard::behind(form, &aside.attempt, &aside.judged_by),
        };
        let mut add = |config: &str| match one {
            Counted::Record(form) | Counted::Older(form) => cells.add(form, config),
            Counted::Shadow(aside) => {
                cells.add_shadow(form, (&aside.attempt, aside.at, aside.purpose), config);
            }
        };
        let Some(heard) = heard else {
            add("");
            return Vec::new();
        };
        let at_ms = heard.at_ms();
        let settings = &self.means.settings;
        let standing = self.standings.entry(form.policy.name.clone());
        let standing = standing
            .or_insert_with(|| Standing::new(settings.monitor(), at_ms, settings.baseline_days));
        let config = heard.config(standing);
        add(&config);
        let events = heard.fold(standing, &config);
        for detecting in standing.monitor.detecting() {
            cells.note(&form.policy.name, at_ms, &detecting.watched, detecting.ratio);
        }
        events
    }

    /// The configuration that a record of before others is added up under, to the sums of its own
    /// minute, which are additive. Monitors do not see it: to them it would be what is served now.
    fn known_config(&self, form: &RecordForm, judge: Option<&str>, judged_by: &str) -> String {
        let known = self.standings.get(&form.policy.name).and_then(|standing| {
            standing.configs.known(judge?, judged_by, form.at.0.div_euclid(1_000))
        });
        known.unwrap_or_default()
    }

    /// Up to [`STEP_RECORDS`] that count behind the `after`th, not past the `until`th. While the store
    /// fails it is tried again.
    async fn read(&self, after: i64, until: i64) -> Result<Stretch, End> {
        loop {
            match self.means.reader.counted((after, until), self.old_n, STEP_RECORDS).await {
                Ok(stretch) => return Ok(stretch),
                Err(LedgerError::Closed) => return Err(End::Closed),
                Err(why) => tracing::warn!(%why, "records cannot be followed, trying again"),
            }
            self.pause().await?;
        }
    }

    /// Hands the sums to the writer. They are one transaction: what failed is tried again whole.
    async fn store(&self, count: Count) -> Result<(), End> {
        let count = Arc::new(count);
        self.write(|| Writing::Count(Arc::clone(&count))).await
    }

    /// Hands something to the writer until the store has it.
    async fn write(&self, writing: impl Fn() -> Writing) -> Result<(), End> {
        loop {
            let (reply, told) = oneshot::channel();
            let chore = Chore::Write(writing(), reply);
            self.means.chores.send(chore).await.map_err(|_| End::Closed)?;
            match told.await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(why)) => tracing::warn!(why, "what counts cannot be written, trying again"),
                Err(_) if self.means.chores.is_closed() => return Err(End::Closed),
                Err(_) => tracing::warn!("the writer broke over what counts, trying again"),
            }
            self.pause().await?;
        }
    }

    async fn pause(&self) -> Result<(), End> {
        match Deadline::after(PAUSE).bound(self.means.stop.cancelled()).await {
            Ok(()) => Err(End::Stopped),
            Err(_late) => Ok(()),
        }
    }

    fn publish(&mut self) {
        let mut known = Known::new(self.followed, &self.means.settings);
        let views = self.standings.iter();
        let views = views.map(|(policy, standing)| (policy.clone(), Arc::new(View::of(standing))));
        known.policies = views.collect();
        self.shown.show(known.policies.iter().map(|(policy, view)| (policy, view.as_ref())));
        self.means.known.store(Arc::new(known));
    }

    /// Reads the last hour's reject rates, when it is time to.
    async fn show_rates(&mut self) {
        if !self.shown.is_old() {
            return;
        }
        let policies = self.standings.keys();
        let read = self.shown.read_rates(&self.means.reader, policies, Timestamp::now());
        if let Err(why) = read.await {
            tracing::warn!(%why, "the last hour's reject rates cannot be read");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_follower_that_breaks_begins_anew_and_one_that_is_told_to_stop_does_not() {
        let mut runs = 0;
        let broken = || {
            runs += 1;
            let breaks = runs < 3;
            async move { assert!(!breaks, "over a record") }
        };
        again(CancellationToken::new(), broken).await;
        assert_eq!(runs, 3);
        let stop = CancellationToken::new();
        stop.cancel();
        let mut runs = 0;
        let broken = || {
            runs += 1;
            async { panic!("over a record") }
        };
        again(stop, broken).await;
        assert_eq!(runs, 1);
    }
}
