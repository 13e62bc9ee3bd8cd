//! The composition root: builds the parts, serves until told to stop, drains. [`listen`] accepts
//! connections, `policies` reloads, `history` keeps what is known of the judges.
//!
//! Everything that runs beside the requests (the watcher of the policies, retention, warming of
//! connections) is a task on one tracker, so that stopping can wait for all of it.

mod history;
pub mod listen;
mod marking;
mod policies;
mod socket;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::FutureExt;
use futures_util::future::join_all;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tokio_util::task::TaskTracker;

use crate::app::marking::mark_breakers;
use crate::app::policies::{Reloading, names, register};
use crate::clock::{Deadline, Stopwatch, Timestamp};
use crate::config::environment::Environment;
use crate::config::loader::Loaded;
use crate::config::problem::Problems;
use crate::config::watch::watch;
use crate::config::{Config, Reload as ReloadOn};
use crate::drill::Drills;
use crate::gate::Gate;
use crate::gate::admission::Door;
use crate::gate::policies::{PolicySet, Reload};
use crate::gate::shadow::{Shadows, working};
use crate::gate::traffic::Traffic;
use crate::http::idempotency::Running;
use crate::http::{Face, Metrics, router, streams};
use crate::imaging::Imaging;
use crate::ledger::follow::Follower;
use crate::ledger::retention::Keeping;
use crate::ledger::{Ledger, LedgerError};
use crate::panel::{Care, Judge, Panel};
use crate::provider::ProviderJudge;
use crate::provider::local::LocalJudge;
use crate::telemetry::door::Shed;
use crate::telemetry::{self, Exporter};

/// Between two steps of retention.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// Longest that opening connections to the judges may take at the start.
const WARM_WITHIN: Duration = Duration::from_secs(2);
/// Between two replacements of the connections to a judge: its name may lead elsewhere by then.
const RENEW_EVERY: Duration = Duration::from_secs(600);
/// Between two looks at how late the runtime is.
const TICK: Duration = Duration::from_millis(100);
/// Between two foldings of the histograms.
const FOLD_EVERY: Duration = Duration::from_secs(5);
/// Longest that closing the store may take.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);
/// Longest that counting what is left may take at the end.
const FOLLOW_WITHIN: Duration = Duration::from_secs(2);
/// Closing the store after a second stop signal.
const CLOSE_HURRIED_WITHIN: Duration = Duration::from_secs(1);
/// Longest that the program's end waits for threads that do not come back (a hung disk).
const END_WITHIN: Duration = Duration::from_secs(1);

/// Why a command failed.
#[derive(Debug, Error)]
pub enum AppError {
    /// Configuration or policy files are invalid.
    #[error("{0}")]
    Files(#[from] Problems),
    /// A judge cannot be built.
    #[error("{why}")]
    Judge {
        /// Which, and what it lacks.
        why: String,
    },
    /// The store cannot be opened.
    #[error("the store: {0}")]
    Store(#[from] LedgerError),
    /// There is nothing to read.
    #[error(
        "there is no store {}: a gate makes it when it first runs; --data DIR names another folder, \
         and so do VLMGATE_DATA and `store` in the configuration", .0.display()
    )]
    NoStore(PathBuf),
    /// The address cannot be bound.
    #[error("cannot listen on {0}: {1}")]
    Bind(SocketAddr, io::Error),
    /// Signals cannot be waited for.
    #[error("waiting for signals: {0}")]
    Signals(io::Error),
    /// The threads for pixel work cannot be started.
    #[error("the imaging pool: {0}")]
    Pool(io::Error),
    /// The metrics recorder cannot be installed.
    #[error("metrics: {0}")]
    Metrics(String),
    /// Arguments that name nothing.
    #[error("{0}")]
    Usage(String),
    /// No room.
    #[error("the gate is full ({})", .0.label())]
    Shed(Shed),
    /// stdout is closed.
    #[error("writing output: {0}")]
    Output(#[from] io::Error),
    /// The runtime cannot be started, or something cannot be written as JSON.
    #[error("{0}")]
    Internal(String),
}

impl AppError {
    /// A value that cannot be written as JSON.
    #[expect(clippy::needless_pass_by_value, reason = "the shape that `map_err` wants")]
    #[must_use]
    pub fn json(why: serde_json::Error) -> Self {
        Self::Internal(format!("writing JSON: {why}"))
    }
}

/// The built gate and what runs beside it.
#[derive(Debug)]
pub struct App {
    /// The corridor.
    pub gate: Arc<Gate>,
    config: Arc<Config>,
    reloading: Arc<Reloading>,
    judges: Vec<Arc<ProviderJudge>>,
    drills: Arc<Drills>,
    tracker: TaskTracker,
    stopping: CancellationToken,
    /// Cancelled: nothing in flight is waited for.
    hurry: CancellationToken,
    /// Waits for stop signals until the very end, and so is not on the tracker.
    signals: JoinSet<()>,
}

impl App {
    /// Builds every part of `config`.
    ///
    /// # Errors
    /// A policy is invalid, a judge cannot be built, or the store cannot be opened.
    pub async fn build(config: Config) -> Result<Self, AppError> {
        let loader = config.policy_loader();
        let Loaded { policies: loaded, fingerprint } = loader.load()?;
        let providers = provider_judges(&config)?;
        let local: Arc<dyn Judge> = Arc::new(LocalJudge::new());
        let mut judges = vec![(local, Care::default())];
        judges.extend(providers.iter().map(|one| {
            let care = config.judges.get(&one.id().name).map(|judge| judge.care);
            (Arc::clone(one) as Arc<dyn Judge>, care.unwrap_or_default())
        }));
        let ids: Vec<_> = judges.iter().map(|(one, _)| one.id().clone()).collect();
        let panel = Arc::new(Panel::seated(judges, rand::random::<f64>));
        telemetry::register_process();
        panel.register();
        register(&loaded, &ids);
        let ledger = Ledger::open(config.ledger_settings()).await?;
        let imaging = Imaging::new(config.imaging_settings()).map_err(AppError::Pool)?;
        let workers = imaging.clone();
        let gate = Arc::new(Gate {
            door: Door::new(config.limits(), Arc::clone(&panel), move || workers.wait()),
            reload: ArcSwap::from_pointee(Reload {
                at: Timestamp::now(),
                policies: names(&loaded),
                problems: Vec::new(),
            }),
            policies: ArcSwap::from_pointee(PolicySet::new(loaded)),
            panel,
            shadows: Shadows::new(config.shadow),
            traffic: Traffic::default(),
            imaging,
            ledger,
        });
        let (tracker, stopping) = (TaskTracker::new(), CancellationToken::new());
        let drills = Drills::new(
            Arc::clone(&gate),
            providers.clone(),
            config.drills.clone(),
            (tracker.clone(), stopping.clone()),
        );
        Ok(Self {
            reloading: Arc::new(Reloading::new(Arc::clone(&gate), loader, fingerprint)),
            gate,
            config: Arc::new(config),
            judges: providers,
            drills: Arc::new(drills),
            tracker,
            stopping,
            hurry: CancellationToken::new(),
            signals: JoinSet::new(),
        })
    }

    /// Builds every judge and lets it go: what `config check` needs no network for.
    ///
    /// # Errors
    /// A judge cannot be built.
    pub fn try_judges(config: &Config) -> Result<(), AppError> {
        provider_judges(config).map(drop)
    }

    /// Asks every provider whether it can be reached with its key, without spending anything.
    pub async fn probe_all(
        config: &Config,
        deadline: Deadline,
    ) -> Vec<(String, Result<String, String>)> {
        let settings = match config.judge_settings(&Environment::process()) {
            Ok(settings) => settings,
            Err(problems) => return vec![("settings".to_owned(), Err(problems.to_string()))],
        };
        let probes = settings.into_iter().map(|(provider, judge)| async move {
            let probed = match ProviderJudge::new(&provider, &judge) {
                Ok(built) => built.probe(deadline).await,
                Err(why) => Err(why.to_string()),
            };
            (judge.name, probed)
        });
        join_all(probes).await
    }

    /// Resolves on the first SIGTERM or interrupt: for [`App::serve`]. A second one ends the drain.
    ///
    /// # Errors
    /// The system lets nobody wait for signals.
    pub fn stop_signals(&mut self) -> Result<WaitForCancellationFutureOwned, AppError> {
        let terminate = signal(SignalKind::terminate()).map_err(AppError::Signals)?;
        let interrupt = signal(SignalKind::interrupt()).map_err(AppError::Signals)?;
        let mut signals = [terminate, interrupt];
        let (first, second) = (CancellationToken::new(), self.hurry.clone());
        let stop = first.clone().cancelled_owned();
        self.signals.spawn(async move {
            for told in [first, second] {
                either(&mut signals).await;
                told.cancel();
            }
        });
        Ok(stop)
    }

    /// Serves on `listener` until `stop` resolves, then drains: readiness fails at once, new
    /// connections are taken a little longer, what is in flight finishes, records are flushed.
    ///
    /// # Errors
    /// None today: whatever breaks is one connection's.
    pub async fn serve(
        self,
        listener: TcpListener,
        exporter: Option<Exporter>,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), AppError> {
        if let Err(why) = self.drills.restore().await {
            tracing::warn!(%why, "what earlier drills left cannot be read");
        }
        let history = self.config.store.history_file();
        history::take_up(&self.gate.panel, &history).await;
        self.start_chores(exporter.clone());
        let follower = self.follow();
        let known = follower.as_ref().map(Follower::looking).unwrap_or_default();
        self.chore(working::work(Arc::clone(&self.gate), known));
        let face = self.face(exporter, follower.as_ref());
        let accepting = CancellationToken::new();
        let settings = listen::Settings::default();
        let served = listen::serve(listener, router(face), settings, accepting.clone());
        let drained = self.hurry.run_until_cancelled(self.drain_after(stop, accepting, served));
        let close_within = match drained.await {
            Some(()) => CLOSE_WITHIN,
            None => {
                tracing::warn!(
                    in_flight = self.gate.door.in_flight(),
                    "told twice: stopped at once"
                );
                self.stopping.cancel();
                CLOSE_HURRIED_WITHIN
            }
        };
        history::keep(&self.gate.panel, &history).await;
        if let Some(follower) = follower
            && follower.finish(Deadline::after(FOLLOW_WITHIN)).await.is_err()
        {
            tracing::warn!("the figures are not up to date; the next start counts the rest");
        }
        self.close_within(close_within).await;
        Ok(())
    }

    /// Counts records and watches drift beside the requests. Where that cannot be, the gate still
    /// answers.
    fn follow(&self) -> Option<Follower> {
        let following = self.gate.ledger.follow(self.config.follow_settings());
        following
            .inspect_err(
                |why| tracing::error!(%why, "records are not counted, drift is not watched"),
            )
            .ok()
    }

    /// Lets `served` run until `stop`, then brings everything to its end.
    async fn drain_after(
        &self,
        stop: impl Future<Output = ()>,
        accepting: CancellationToken,
        served: impl Future<Output = ()>,
    ) {
        let (drain, door) = (self.config.server.drain, &self.gate.door);
        let mut served = pin!(served);
        tokio::select! {
            () = served.as_mut() => return,
            () = stop => {}
        }
        tracing::info!("stopping: not ready any more");
        door.drain();
        let at_most = Deadline::after(drain.at_most);
        at_most.capped(drain.accept_for).bound(served.as_mut()).await.ok();
        door.close();
        accepting.cancel();
        let drained = at_most.bound(served).await;
        self.stopping.cancel();
        self.tracker.close();
        let finished = at_most.bound(self.tracker.wait()).await;
        if drained.is_err() || finished.is_err() {
            tracing::warn!(in_flight = door.in_flight(), "stopped with work in flight");
        }
    }

    /// Flushes and closes the store.
    pub async fn close(&self) {
        self.close_within(CLOSE_WITHIN).await;
    }

    async fn close_within(&self, longest: Duration) {
        if let Err(unwritten) = self.gate.ledger.close(Deadline::after(longest)).await {
            let pending = unwritten.pending;
            tracing::warn!(pending, "the store did not close in time; it opens clean all the same");
        }
    }

    fn face(&self, exporter: Option<Exporter>, follower: Option<&Follower>) -> Arc<Face> {
        let reloading = Arc::clone(&self.reloading);
        Arc::new(Face {
            gate: Arc::clone(&self.gate),
            tracker: self.tracker.clone(),
            settings: self.config.http_settings(),
            running: Running::new(self.config.server.max_in_flight),
            reload: Box::new(move || {
                let reloading = Arc::clone(&reloading);
                async move { reloading.reload().await }.boxed()
            }),
            drills: Arc::clone(&self.drills),
            known: follower.map(Follower::looking).unwrap_or_default(),
            acknowledging: follower.map(Follower::acknowledging),
            streams: streams(),
            metrics: exporter.map(|exporter| Box::new(move || exporter.render()) as Metrics),
        })
    }

    /// Runs `work` beside the requests, until it ends or the process stops.
    fn chore(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.tracker.spawn(self.stopping.clone().run_until_cancelled_owned(work));
    }

    fn start_chores(&self, exporter: Option<Exporter>) {
        let warm = self.judges.clone();
        self.chore(async move {
            let deadline = Deadline::after(WARM_WITHIN);
            join_all(warm.iter().map(|judge| judge.warm(deadline))).await;
        });
        for judge in self.judges.clone() {
            let pool = self.gate.imaging.clone();
            self.chore(async move { judge.renew_often(&pool, RENEW_EVERY).await });
        }
        self.chore(watch_lag());
        self.chore(sweep(Arc::clone(&self.gate)));
        self.chore(list_older(Arc::clone(&self.gate)));
        self.chore(mark_breakers(Arc::clone(&self.gate)));
        let (gate, file) = (Arc::clone(&self.gate), self.config.store.history_file());
        self.chore(async move { history::keep_often(&gate.panel, &file).await });
        if let Some(exporter) = exporter {
            self.chore(fold(exporter));
        }
        self.chore(Arc::clone(&self.drills).mind_schedule());
        let reload_on = self.config.policies.reload;
        let reloading = Arc::clone(&self.reloading);
        self.chore(async move { reloading.mind_hang_ups(reload_on != ReloadOn::Off).await });
        if reload_on == ReloadOn::Watch {
            let (reloading, config) = (Arc::clone(&self.reloading), Arc::clone(&self.config));
            self.chore(async move {
                watch(&config.policies.folder, || reloading.reload_changed()).await;
            });
        }
    }
}

/// Runs `work` on the program's one runtime.
///
/// # Errors
/// The runtime cannot be started.
pub fn block_on<F: Future>(work: F) -> Result<F::Output, AppError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|why| AppError::Internal(format!("the runtime: {why}")))?;
    let done = runtime.block_on(work);
    // dropping it would wait for every blocking call, and one on a hung disk never returns
    runtime.shutdown_timeout(END_WITHIN);
    Ok(done)
}

/// Waits for either signal.
async fn either([one, other]: &mut [Signal; 2]) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}

fn provider_judges(config: &Config) -> Result<Vec<Arc<ProviderJudge>>, AppError> {
    let settings = config.judge_settings(&Environment::process())?;
    let build = |(provider, judge): &(_, _)| {
        let built = ProviderJudge::new(provider, judge);
        built.map(Arc::new).map_err(|why| AppError::Judge { why: why.to_string() })
    };
    settings.iter().map(build).collect()
}

/// Deletes what is past its retention, a little at a time.
async fn sweep(gate: Arc<Gate>) {
    loop {
        time::sleep(SWEEP_EVERY).await;
        let keeps: Vec<_> = gate
            .policies
            .load()
            .iter()
            .map(|one| Keeping {
                policy: one.name.clone(),
                verdicts_for: one.keep.verdicts_for,
                images_for: one.keep.images_for,
            })
            .collect();
        if let Err(why) = gate.ledger.sweep(&keeps, Timestamp::now()).await {
            tracing::warn!(%why, "retention could not run");
        }
    }
}

/// Lists what an older program stored, a little at a time, until all is listed.
async fn list_older(gate: Arc<Gate>) {
    while let Err(why) = gate.ledger.list_older().await {
        tracing::warn!(%why, "older records cannot be listed now, trying again");
        time::sleep(SWEEP_EVERY).await;
    }
}

/// Records how late the runtime comes to a task that is due.
async fn watch_lag() {
    loop {
        let watch = Stopwatch::start();
        time::sleep(TICK).await;
        telemetry::record_lag(watch.elapsed().saturating_sub(TICK));
    }
}

/// Keeps the histograms small where nobody scrapes.
async fn fold(exporter: Exporter) {
    loop {
        time::sleep(FOLD_EVERY).await;
        exporter.fold();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a blocking call that hangs is the point")]
    fn a_blocking_call_that_hangs_does_not_keep_the_program_from_its_end() {
        let (hold, held) = mpsc::channel::<()>();
        let ended = block_on(async {
            drop(tokio::task::spawn_blocking(move || held.recv()));
            7
        });
        assert_eq!(ended.unwrap(), 7);
        drop(hold);
    }
}
