//! The reloading of policies: on a change of their folder, on SIGHUP, on request. One at a time,
//! so that what was read last runs last.

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::clock::{Deadline, Timestamp};
use crate::config::loader::{Loaded, PolicyLoader, Reading, Seen};
use crate::config::problem::Problems;
use crate::domain::{Digest, JudgeId};
use crate::gate::Gate;
use crate::gate::policies::{PolicySet, Reload};
use crate::prompt::LoadedPolicy;
use crate::telemetry;

/// Longest that somebody who asked for a reload waits for the files.
const READ_WITHIN: Duration = Duration::from_secs(10);

/// Reads the policies anew and hands them to the gate.
#[derive(Debug)]
pub(crate) struct Reloading {
    gate: Arc<Gate>,
    loader: PolicyLoader,
    /// What was taken over or refused last; held from the reading to the taking over.
    last: Arc<Mutex<Seen>>,
}

impl Reloading {
    /// For `gate`, which runs on the files of this `fingerprint`.
    pub(crate) fn new(gate: Arc<Gate>, loader: PolicyLoader, fingerprint: Digest) -> Self {
        Self { gate, loader, last: Arc::new(Mutex::new(Some(Ok(fingerprint)))) }
    }

    /// Reads the files whatever they were, and takes them over whole or not at all.
    pub(crate) async fn reload(&self) -> Reload {
        let read = async {
            let mut last = self.last().await;
            *last = None;
            self.loader.load_aside(last).await
        };
        match Deadline::after(READ_WITHIN).bound(read).await {
            Ok(Some(reading)) => take_over(&self.gate, reading),
            Ok(None) => self.refuse("the policy files could not be read: the log says why"),
            Err(_) => self.refuse("the policy files could not be read within 10 s"),
        }
    }

    /// The same where the files are not as they were.
    pub(crate) async fn reload_changed(&self) {
        if let Some(reading) = self.loader.load_aside(self.last().await).await {
            drop(take_over(&self.gate, reading));
        }
    }

    /// Reloads on every SIGHUP. Never returns; drop it to stop.
    pub(crate) async fn mind_hang_ups(&self, reloads: bool) {
        // taken also where it does nothing: left alone, the signal would end the process
        let Ok(mut hang_ups) = signal(SignalKind::hangup()) else { return };
        while hang_ups.recv().await.is_some() {
            if reloads {
                drop(self.reload().await);
            }
        }
    }

    async fn last(&self) -> OwnedMutexGuard<Seen> {
        Arc::clone(&self.last).lock_owned().await
    }

    fn refuse(&self, why: &str) -> Reload {
        refused(&self.gate, vec![why.to_owned()])
    }
}

/// The new set is swapped in whole, or the old one stays and the problems are shown.
fn take_over(gate: &Gate, reading: Reading) -> Reload {
    let Reading { mut last, seen, loaded } = reading;
    *last = seen;
    let Loaded { policies: loaded, .. } = match loaded {
        Ok(loaded) => loaded,
        Err(problems) => return refused(gate, texts(&problems)),
    };
    let policies = names(&loaded);
    let judges: Vec<_> = gate.panel.statuses().into_iter().map(|one| one.id).collect();
    for retired in gate.policies.load().iter() {
        telemetry::retire_policy(retired);
    }
    register(&loaded, &judges);
    gate.policies.store(Arc::new(PolicySet::new(loaded)));
    tracing::info!(policies = policies.join(", "), "policies reloaded");
    told(gate, Reload { at: Timestamp::now(), policies, problems: Vec::new() })
}

fn refused(gate: &Gate, problems: Vec<String>) -> Reload {
    tracing::error!(problems = problems.join("; "), "reload refused, the old policies run");
    let policies = gate.policies.load().iter().map(|one| one.name.clone()).collect();
    told(gate, Reload { at: Timestamp::now(), policies, problems })
}

fn told(gate: &Gate, reload: Reload) -> Reload {
    telemetry::count_reload(reload.problems.is_empty());
    gate.reload.store(Arc::new(reload.clone()));
    reload
}

fn texts(problems: &Problems) -> Vec<String> {
    problems.list().iter().map(ToString::to_string).collect()
}

/// Registers the series of `loaded` for those of `judges` that they name.
pub(crate) fn register(loaded: &[LoadedPolicy], judges: &[JudgeId]) {
    for policy in loaded.iter().map(|one| &one.policy) {
        let second = policy.second_opinion.iter().flat_map(|second| &second.ask);
        let behind = policy.shadows.iter().map(|one| &one.judge);
        let named: Vec<_> = policy.route.judges.iter().chain(second).chain(behind).collect();
        let ids: Vec<_> = judges.iter().filter(|id| named.contains(&&id.name)).cloned().collect();
        telemetry::register_policy(policy, &ids);
        let first = policy.backfill.and(policy.route.judges.first());
        for judge in policy.shadows.iter().map(|one| &one.judge).chain(first) {
            let names = policy.route.judges.iter().map(String::as_str);
            telemetry::shadow::register_pairs(judge, names);
        }
    }
}

/// The names of `loaded`.
pub(crate) fn names(loaded: &[LoadedPolicy]) -> Vec<String> {
    loaded.iter().map(|one| one.policy.name.clone()).collect()
}
