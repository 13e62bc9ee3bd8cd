//! A drill breaks one judge of the running gate for a while, on purpose, and tells whether anybody
//! was worse off for it.
//!
//! A failover that never ran is a hope. The break is made where the network makes it, in the
//! judge's transport ([`crate::provider::sabotage`]), so that what is exercised is what an outage
//! exercises. It touches a bounded share of the judge's calls for a bounded time, on a gate that has
//! somebody else to ask; it ends by itself when images suffer; and it lives in memory only, so that
//! a process that dies has restored everything by dying. [`run`] is the drill, [`schedule`] when
//! they run by themselves, [`form`] how they are told.

pub mod form;
mod run;
pub mod schedule;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use thiserror::Error;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::clock::{Deadline, Timestamp};
use crate::domain::Mode;
use crate::domain::drill::{DrillResult, Plan};
use crate::drill::form::{DrillForm, Phase};
use crate::drill::schedule::Scheduled;
use crate::gate::Gate;
use crate::gate::policies::ActivePolicy;
use crate::ledger::LedgerError;
use crate::ledger::drills::{DrillRow, MAX_KEPT};
use crate::panel::{BreakerState, Judge};
use crate::provider::ProviderJudge;
use crate::telemetry;

/// Shortest and longest that traffic is watched before, or that a judge is broken.
pub const SPAN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(600));

/// Longest that a judge is waited for afterwards.
pub const LONGEST_RECOVERY: Duration = Duration::from_secs(300);

/// Drills that a list shows.
const LISTED: u32 = 100;

/// Longest that a drill's row may take to be written.
const KEEP_WITHIN: Duration = Duration::from_secs(5);

/// What drills may do, and when they run by themselves.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Largest share of a judge's calls that a drill may break, 0..=1.
    pub max_share: f64,
    /// Drills that run by themselves.
    pub scheduled: Vec<Scheduled>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { max_share: 0.50, scheduled: Vec::new() }
    }
}

/// Why there is no drill.
#[derive(Debug, Error)]
pub enum Refusal {
    /// A plan that no gate would run: which key, and what is wrong with it.
    #[error("{why}")]
    Plan {
        /// The key of the plan.
        key: &'static str,
        /// What is wrong, and what would be right.
        why: String,
    },
    /// A plan that this gate cannot run now.
    #[error("{0}")]
    NotNow(String),
    /// The drill could not be written down, and so does not run.
    #[error("the drill cannot be recorded: {0}")]
    Store(#[from] LedgerError),
}

impl Refusal {
    fn plan(key: &'static str, why: String) -> Self {
        Self::Plan { key, why }
    }
}

/// The drills of one gate, one at a time.
#[derive(Debug)]
pub struct Drills {
    gate: Arc<Gate>,
    judges: Vec<Arc<ProviderJudge>>,
    settings: Settings,
    tracker: TaskTracker,
    stopping: CancellationToken,
    running: Mutex<Option<Arc<Live>>>,
}

/// A drill that runs.
#[derive(Debug)]
struct Live {
    id: Uuid,
    form: Mutex<DrillForm>,
    /// Cancelled by whoever wants it to end.
    stop: CancellationToken,
    /// Cancelled when it has.
    ended: CancellationToken,
}

impl Live {
    fn form(&self) -> MutexGuard<'_, DrillForm> {
        // nothing in there can be left half done
        self.form.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Holds the one place for a running drill.
#[derive(Debug)]
struct Slot {
    drills: Arc<Drills>,
    live: Arc<Live>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        *self.drills.running() = None;
        telemetry::drills::set_drill_running(&self.live.form().judge, false);
        self.live.ended.cancel();
    }
}

impl Drills {
    /// No drill has run. Drills are tasks on `tracker` and end, unrecorded, at `stopping`.
    #[must_use]
    pub fn new(
        gate: Arc<Gate>,
        judges: Vec<Arc<ProviderJudge>>,
        settings: Settings,
        (tracker, stopping): (TaskTracker, CancellationToken),
    ) -> Self {
        telemetry::drills::register_drills(judges.iter().map(|judge| judge.id().name.as_str()));
        Self { gate, judges, settings, tracker, stopping, running: Mutex::default() }
    }

    /// Takes up what an earlier process left: a drill that ran when it died was interrupted, and
    /// the last success of each judge is a metric again.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub async fn restore(&self) -> Result<(), LedgerError> {
        for mut form in self.stored(MAX_KEPT).await?.into_iter().rev() {
            if form.result.is_none() {
                form.phase = Phase::Ended;
                form.result = Some(DrillResult::Interrupted);
                form.reason =
                    Some("the process ended during it, and restored the judge".to_owned());
                tracing::warn!(drill = %form.id, judge = form.judge, "a drill was interrupted");
                self.keep(&form).await?;
            }
            if let (Some(DrillResult::Passed), Some(ended)) = (form.result, form.ended)
                && self.judge(&form.judge).is_some()
            {
                telemetry::drills::set_drill_passed(&form.judge, ended);
            }
        }
        Ok(())
    }

    /// Begins a drill that `by` asked for. It goes on by itself.
    ///
    /// # Errors
    /// A [`Refusal`]: nothing was broken.
    pub async fn start(self: &Arc<Self>, plan: Plan, by: &str) -> Result<DrillForm, Refusal> {
        let judge = plan.judge.clone();
        // on a task of its own: a caller that hangs up leaves no drill half begun
        let begun = self.tracker.spawn(Arc::clone(self).begin(plan, by.to_owned())).await;
        let begun = begun.unwrap_or_else(|why| Err(Refusal::NotNow(format!("it broke: {why}"))));
        if let Err(refusal) = &begun
            && self.judge(&judge).is_some()
        {
            telemetry::drills::count_drill_refused(&judge);
            tracing::warn!(judge, by, %refusal, "a drill was refused");
        }
        begun
    }

    async fn begin(self: Arc<Self>, plan: Plan, by: String) -> Result<DrillForm, Refusal> {
        let (judge, policies) = self.examine(&plan)?;
        let form = DrillForm::new(&plan, &by, Timestamp::now());
        let slot = self.take_slot(form.clone())?;
        self.keep(&form).await?;
        tracing::warn!(drill = %form.id, judge = form.judge, by, "a drill begins");
        let conducted = run::conduct(slot, (plan, policies), judge);
        self.tracker.spawn(self.stopping.clone().run_until_cancelled_owned(conducted));
        Ok(form)
    }

    /// The drills there were and the one that runs, newest first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn list(&self) -> Result<Vec<DrillForm>, LedgerError> {
        // taken first: a drill that ends in between is stored as it ended
        let live = self.live();
        let mut forms = self.stored(LISTED).await?;
        if let Some(live) = live
            && let Some(form) = forms.iter_mut().find(|form| form.id == live.id)
            && form.result.is_none()
        {
            *form = live.form().clone();
        }
        Ok(forms)
    }

    /// The drill of this id.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn get(&self, id: Uuid) -> Result<Option<DrillForm>, LedgerError> {
        if let Some(live) = self.live().filter(|live| live.id == id) {
            return Ok(Some(live.form().clone()));
        }
        let row = self.gate.ledger.reader().drill(id).await?;
        row.as_ref().map(read).transpose()
    }

    /// Ends the drill of this id, if it still runs, and tells how it ended.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn stop(&self, id: Uuid) -> Result<Option<DrillForm>, LedgerError> {
        if let Some(live) = self.live().filter(|live| live.id == id) {
            live.stop.cancel();
            live.ended.cancelled().await;
            return Ok(Some(live.form().clone()));
        }
        self.get(id).await
    }

    /// Whether the gate can run `plan` now: whose calls are broken, and which policies ask that
    /// judge.
    fn examine(&self, plan: &Plan) -> Result<(Arc<ProviderJudge>, BTreeSet<String>), Refusal> {
        self.check_plan(plan)?;
        let name = plan.judge.as_str();
        let Some(judge) = self.judge(name) else {
            let known: Vec<_> = self.judges.iter().map(|one| one.id().name.as_str()).collect();
            let why = format!("there is no judge {name:?} over a network: {}", known.join(", "));
            return Err(Refusal::plan("judge", why));
        };
        let policies = self.asking(name).map_err(Refusal::NotNow)?;
        if let Some(why) = self.unwell(|_| true) {
            return Err(Refusal::NotNow(why));
        }
        if self.gate.door.is_draining() {
            return Err(Refusal::NotNow("the gate is about to stop".to_owned()));
        }
        Ok((Arc::clone(judge), policies))
    }

    /// The policies that ask the judge called `name`, first or again; why it must not be broken
    /// under one of them. Policies are reloaded while a drill runs, so this is asked then too.
    fn asking(&self, name: &str) -> Result<BTreeSet<String>, String> {
        let loaded = self.gate.policies.load();
        let asking: Vec<_> = loaded.iter().filter(|one| asks(one, name)).collect();
        if asking.is_empty() {
            return Err(format!("no policy asks {name}: breaking it would show nothing"));
        }
        if let Some(policy) = asking.iter().find(|one| !self.has_second(one, name)) {
            let lacks = match policy.route.max_attempts {
                0 | 1 => "makes one attempt alone (max_attempts 1)".to_owned(),
                _ => format!("has no second judge that looks beside {name}"),
            };
            let name = &policy.name;
            return Err(format!("the policy {name} {lacks}: its images would get no verdict"));
        }
        Ok(asking.iter().map(|one| one.name.clone()).collect())
    }

    /// The longest that an image which the judge called `name` is asked about may take.
    fn longest_deadline(&self, name: &str) -> Duration {
        let loaded = self.gate.policies.load();
        let asking = loaded.iter().filter(|one| asks(one, name));
        asking.map(|one| one.route.deadline).max().unwrap_or_default()
    }

    fn check_plan(&self, plan: &Plan) -> Result<(), Refusal> {
        let most = self.settings.max_share;
        if !(0.0 < plan.share && plan.share <= most) {
            let (share, most) = (plan.share * 100.0, most * 100.0);
            let why = format!("{share:.1} % is not over 0 and at most {most:.1} %");
            return Err(Refusal::plan("share", why));
        }
        let bounds = &plan.bounds;
        for (key, span, (least, most)) in [
            ("for_ms", plan.lasts, SPAN),
            ("baseline_ms", plan.baseline, SPAN),
            ("bounds/recovered_within_ms", bounds.recovered_within, (SPAN.0, LONGEST_RECOVERY)),
        ] {
            if span < least || most < span {
                let (span, least, most) = (span.as_millis(), least.as_millis(), most.as_millis());
                let why = format!("{span} ms is not from {least} to {most} ms");
                return Err(Refusal::plan(key, why));
            }
        }
        if !(0.0..=1.0).contains(&bounds.judged_at_least) {
            let why = format!("{} is no share from 0 to 1", bounds.judged_at_least);
            return Err(Refusal::plan("bounds/judged_at_least", why));
        }
        if !(1.0..=1e3).contains(&bounds.p95_ratio_at_most) {
            let why = format!("{} is not from 1 to 1000", bounds.p95_ratio_at_most);
            return Err(Refusal::plan("bounds/p95_ratio_at_most", why));
        }
        Ok(())
    }

    /// Whether `policy` asks another judge that looks where the one called `not` fails. The last
    /// chance stands beside a call that hangs: after one that was refused it asks nobody.
    fn has_second(&self, policy: &ActivePolicy, not: &str) -> bool {
        let route = &policy.route;
        // who only gives second opinions leaves the first attempt whole
        let may_follow = 2 <= route.max_attempts || route.judges.iter().all(|judge| judge != not);
        let others = route.judges.iter().filter(|judge| *judge != not);
        let mut others = others.filter_map(|judge| self.gate.panel.judge(judge));
        may_follow && others.any(|judge| !judge.stands_in())
    }

    /// Why one of the judges that `meant` names is not to be asked in its turn.
    fn unwell(&self, meant: impl Fn(&str) -> bool) -> Option<String> {
        let statuses = self.gate.panel.statuses();
        statuses.into_iter().filter(|one| meant(&one.id.name)).find_map(|one| {
            let name = one.id.name;
            match (one.breaker, one.blocked_for_ms) {
                (BreakerState::Closed, None) => None,
                (BreakerState::Closed, Some(ms)) => {
                    Some(format!("{name} wants to be left alone for {ms} ms more"))
                }
                (BreakerState::HalfOpen | BreakerState::Open, _) => {
                    Some(format!("the breaker of {name} is {}", one.breaker.label()))
                }
            }
        })
    }

    /// Whether its breaker keeps the judge called `name` out.
    fn is_out(&self, name: &str) -> bool {
        let mut statuses = self.gate.panel.statuses().into_iter();
        statuses.any(|one| one.id.name == name && one.breaker != BreakerState::Closed)
    }

    fn take_slot(self: &Arc<Self>, form: DrillForm) -> Result<Slot, Refusal> {
        let mut running = self.running();
        if let Some(other) = running.as_ref() {
            let why = format!("another drill runs: {}", other.id);
            return Err(Refusal::NotNow(why));
        }
        telemetry::drills::set_drill_running(&form.judge, true);
        let live = Arc::new(Live {
            id: form.id,
            form: Mutex::new(form),
            stop: CancellationToken::new(),
            ended: CancellationToken::new(),
        });
        *running = Some(Arc::clone(&live));
        Ok(Slot { drills: Arc::clone(self), live })
    }

    async fn keep(&self, form: &DrillForm) -> Result<(), LedgerError> {
        let row = form.row().map_err(|why| LedgerError::Store(why.to_string()))?;
        self.gate.ledger.keep_drill(row, Deadline::after(KEEP_WITHIN)).await
    }

    async fn stored(&self, most: u32) -> Result<Vec<DrillForm>, LedgerError> {
        let rows = self.gate.ledger.reader().drills(most).await?;
        // one that cannot be read must not hide the others
        let read = |row| read(row).inspect_err(|why| tracing::error!(%why, "a drill is left out"));
        Ok(rows.iter().filter_map(|row| read(row).ok()).collect())
    }

    fn judge(&self, name: &str) -> Option<&Arc<ProviderJudge>> {
        self.judges.iter().find(|judge| judge.id().name == name)
    }

    fn live(&self) -> Option<Arc<Live>> {
        self.running().clone()
    }

    fn running(&self) -> MutexGuard<'_, Option<Arc<Live>>> {
        // nothing in there can be left half done
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether `policy` asks the judge called `name`, first or again.
fn asks(policy: &ActivePolicy, name: &str) -> bool {
    let again = policy.second_opinion.iter().flat_map(|second| &second.ask);
    let mut judges = policy.route.judges.iter().chain(again);
    policy.mode != Mode::Off && judges.any(|judge| judge == name)
}

fn read(row: &DrillRow) -> Result<DrillForm, LedgerError> {
    let form = serde_json::from_str(&row.form);
    form.map_err(|why| LedgerError::Store(format!("drill {} cannot be read: {why}", row.id)))
}
