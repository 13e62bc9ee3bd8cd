//! The composition root: builds the parts, serves until told to stop, drains.
//!
//! Everything that runs beside the requests (the watcher of the policies, retention, warming of
//! connections) is a task on one tracker, so that stopping can wait for all of it.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::serve::ListenerExt;
use futures_util::FutureExt;
use futures_util::future::join_all;
use metrics_exporter_prometheus::PrometheusHandle;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::{Deadline, Timestamp};
use crate::config::environment::Environment;
use crate::config::loader::{Loaded, PolicyLoader};
use crate::config::problem::Problems;
use crate::config::watch::watch;
use crate::config::{Config, Reload as ReloadOn};
use crate::domain::{Digest, JudgeId};
use crate::gate::Gate;
use crate::gate::admission::Door;
use crate::gate::policies::{PolicySet, Reload};
use crate::http::idempotency::Running;
use crate::http::{Face, Metrics, Reloader, router};
use crate::imaging::{self, Imaging};
use crate::ledger::retention::Keeping;
use crate::ledger::{Ledger, LedgerError};
use crate::panel::{Judge, Panel};
use crate::prompt::LoadedPolicy;
use crate::provider::ProviderJudge;
use crate::provider::local::LocalJudge;
use crate::telemetry::{self, Shed};

/// Between two steps of retention.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// Longest that opening connections to the judges may take at the start.
const WARM_WITHIN: Duration = Duration::from_secs(2);
/// Longest that closing the store may take.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// Why a command failed.
#[derive(Debug, Error)]
pub enum AppError {
    /// Configuration or policy files are invalid.
    #[error("{0}")]
    Files(#[from] Problems),
    /// A judge cannot be built.
    #[error("judge {0}: {1}")]
    Judge(String, String),
    /// The store cannot be opened.
    #[error("the store: {0}")]
    Store(#[from] LedgerError),
    /// The address cannot be bound.
    #[error("cannot listen on {0}: {1}")]
    Bind(SocketAddr, io::Error),
    /// The server broke.
    #[error("serving: {0}")]
    Serve(io::Error),
    /// The threads for pixel work cannot be started.
    #[error("the imaging pool: {0}")]
    Pool(io::Error),
    /// The metrics recorder cannot be installed.
    #[error("metrics: {0}")]
    Metrics(String),
    /// A file cannot be read.
    #[error("{file}: {why}")]
    Unreadable {
        /// Which.
        file: String,
        /// What went wrong.
        why: io::Error,
    },
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
    loader: PolicyLoader,
    /// The digest of the policy files that were loaded.
    seen: Digest,
    judges: Vec<Arc<ProviderJudge>>,
    tracker: TaskTracker,
    stopping: CancellationToken,
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
        let mut judges: Vec<Arc<dyn Judge>> = vec![Arc::new(LocalJudge::new())];
        judges.extend(providers.iter().map(|one| Arc::clone(one) as Arc<dyn Judge>));
        let ids: Vec<_> = judges.iter().map(|one| one.id().clone()).collect();
        telemetry::register_process();
        register(&loaded, &ids);
        let ledger = Ledger::open(config.ledger_settings()).await?;
        let gate = Gate {
            door: Door::new(config.limits()),
            reload: ArcSwap::from_pointee(Reload {
                at: Timestamp::now(),
                policies: names(&loaded),
                problems: Vec::new(),
            }),
            policies: ArcSwap::from_pointee(PolicySet::new(loaded)),
            panel: Panel::new(judges),
            imaging: Imaging::new(imaging::Settings::default()).map_err(AppError::Pool)?,
            ledger,
        };
        Ok(Self {
            gate: Arc::new(gate),
            config: Arc::new(config),
            loader,
            seen: fingerprint,
            judges: providers,
            tracker: TaskTracker::new(),
            stopping: CancellationToken::new(),
        })
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

    /// Serves on `listener` until `stop` resolves, then drains: readiness fails at once, new
    /// connections are taken a little longer, what is in flight finishes, records are flushed.
    ///
    /// # Errors
    /// The server broke.
    pub async fn serve(
        self,
        listener: TcpListener,
        metrics: Option<PrometheusHandle>,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), AppError> {
        self.start_chores();
        let face = Arc::new(Face {
            gate: Arc::clone(&self.gate),
            tracker: self.tracker.clone(),
            settings: self.config.http_settings(),
            running: Running::new(self.config.server.max_in_flight),
            reload: self.reloader(),
            metrics: metrics.map(|handle| Box::new(move || handle.render()) as Metrics),
        });
        let drain = self.config.server.drain;
        let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
        let gate = Arc::clone(&self.gate);
        let (accepting, tracker) = (CancellationToken::new(), self.tracker.clone());
        let accepted = accepting.clone().cancelled_owned();
        let server = axum::serve(listener, router(face)).with_graceful_shutdown(accepted);
        let server = server.into_future();
        tokio::pin!(server);
        tokio::select! {
            ended = &mut server => return ended.map_err(AppError::Serve),
            () = stop => {}
        }
        tracing::info!("stopping: not ready any more");
        gate.door.drain();
        let at_most = Deadline::after(drain.at_most);
        drop(at_most.capped(drain.accept_for).bound(&mut server).await);
        gate.door.close();
        accepting.cancel();
        let drained = at_most.bound(&mut server).await;
        self.stopping.cancel();
        tracker.close();
        let finished = at_most.bound(tracker.wait()).await;
        if drained.is_err() || finished.is_err() {
            tracing::warn!(in_flight = gate.door.in_flight(), "stopped with work in flight");
        }
        self.close().await;
        Ok(())
    }

    /// Flushes and closes the store.
    pub async fn close(&self) {
        if self.gate.ledger.close(Deadline::after(CLOSE_WITHIN)).await.is_err() {
            tracing::warn!("the store did not close in time; it opens clean all the same");
        }
    }

    /// Reads the policies anew: all or nothing.
    #[must_use]
    pub fn reloader(&self) -> Reloader {
        let (gate, loader) = (Arc::clone(&self.gate), self.loader.clone());
        Box::new(move || {
            let reload = take_over(&gate, loader.load());
            std::future::ready(reload).boxed()
        })
    }

    fn start_chores(&self) {
        let warm = self.judges.clone();
        self.tracker.spawn(async move {
            let deadline = Deadline::after(WARM_WITHIN);
            join_all(warm.iter().map(|judge| judge.warm(deadline))).await;
        });
        let (gate, stopping) = (Arc::clone(&self.gate), self.stopping.clone());
        self.tracker.spawn(sweep_while(gate, stopping));
        let reload_on = self.config.policies.reload;
        if reload_on != ReloadOn::Off {
            let (gate, loader) = (Arc::clone(&self.gate), self.loader.clone());
            self.tracker.spawn(reload_on_hang_up(gate, loader, self.stopping.clone()));
        }
        if reload_on == ReloadOn::Watch {
            let (gate, loader) = (Arc::clone(&self.gate), self.loader.clone());
            let (seen, stopping) = (self.seen, self.stopping.clone());
            self.tracker.spawn(async move {
                let watching = watch(loader, seen, |loaded| drop(take_over(&gate, loaded)));
                stopping.run_until_cancelled(watching).await
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
    Ok(runtime.block_on(work))
}

/// Resolves on the first SIGTERM or interrupt; a second one ends the process as the system would.
pub async fn stop_signal() {
    let terminate = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signals) => drop(signals.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = terminate => {}
        interrupted = tokio::signal::ctrl_c() => drop(interrupted),
    }
}

fn provider_judges(config: &Config) -> Result<Vec<Arc<ProviderJudge>>, AppError> {
    let settings = config.judge_settings(&Environment::process())?;
    let build = |(provider, judge): &(_, _)| {
        let built = ProviderJudge::new(provider, judge);
        built.map(Arc::new).map_err(|why| AppError::Judge(judge.name.clone(), why.to_string()))
    };
    settings.iter().map(build).collect()
}

fn register(loaded: &[LoadedPolicy], judges: &[JudgeId]) {
    for policy in loaded.iter().map(|one| &one.policy) {
        let second = policy.second_opinion.iter().flat_map(|second| &second.ask);
        let named: Vec<_> = policy.route.judges.iter().chain(second).collect();
        let ids: Vec<_> = judges.iter().filter(|id| named.contains(&&id.name)).cloned().collect();
        telemetry::register_policy(policy, &ids);
    }
}

fn names(loaded: &[LoadedPolicy]) -> Vec<String> {
    loaded.iter().map(|one| one.policy.name.clone()).collect()
}

/// One reload: the new set is swapped in whole, or the old one stays and the problems are shown.
fn take_over(gate: &Gate, loaded: Result<Loaded, Problems>) -> Reload {
    let at = Timestamp::now();
    let reload = match loaded {
        Ok(Loaded { policies: loaded, .. }) => {
            let policies = names(&loaded);
            let judges: Vec<_> = gate.panel.statuses().into_iter().map(|one| one.id).collect();
            for retired in gate.policies.load().iter() {
                telemetry::retire_policy(retired);
            }
            register(&loaded, &judges);
            gate.policies.store(Arc::new(PolicySet::new(loaded)));
            tracing::info!(policies = policies.join(", "), "policies reloaded");
            Reload { at, policies, problems: Vec::new() }
        }
        Err(problems) => {
            let problems: Vec<_> = problems.list().iter().map(ToString::to_string).collect();
            tracing::error!(problems = problems.join("; "), "reload refused, the old policies run");
            let policies = gate.policies.load().iter().map(|one| one.name.clone()).collect();
            Reload { at, policies, problems }
        }
    };
    telemetry::count_reload(reload.problems.is_empty());
    gate.reload.store(Arc::new(reload.clone()));
    reload
}

/// Reloads on SIGHUP.
async fn reload_on_hang_up(gate: Arc<Gate>, loader: PolicyLoader, stopping: CancellationToken) {
    let Ok(mut hang_ups) = signal(SignalKind::hangup()) else { return };
    while let Some(Some(())) = stopping.run_until_cancelled(hang_ups.recv()).await {
        drop(take_over(&gate, loader.load()));
    }
}

/// Deletes what is past its retention, a little at a time.
async fn sweep_while(gate: Arc<Gate>, stopping: CancellationToken) {
    loop {
        tokio::select! {
            () = stopping.cancelled() => return,
            () = time::sleep(SWEEP_EVERY) => {}
        }
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
