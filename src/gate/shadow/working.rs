//! The work behind verdicts: it takes what waits, asks while there is room and money, and stores
//! what was said. One task owns all of it; when that ends, calls under way are dropped.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::task::JoinSet;
use tokio::time;

use crate::clock::{Deadline, Timestamp};
use crate::domain::{Attempt, AttemptOutcome, Decision, JudgeId, MicroUsd};
use crate::gate::Gate;
use crate::gate::policies::{ActivePolicy, PolicySet};
use crate::gate::posing::{self, pose, said};
use crate::gate::shadow::purse::{Purses, Which, midnight};
use crate::gate::shadow::{Job, Missed};
use crate::ledger::LedgerError;
use crate::ledger::follow::view::Known;
use crate::ledger::shadows::{NewShadow, Purpose};
use crate::panel::Question;
use crate::panel::aside::{Aside, NotAsked};
use crate::telemetry::shadow::{Unasked, count_dropped, count_pair, count_shadow};

/// Longest that one call runs: a judge that takes longer says nothing of how it judges in time.
const CALL_WITHIN: Duration = Duration::from_secs(30);
/// Between two looks where nothing wakes: whether a judge is back, whether a day has begun.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A judge is back for good once nobody stood in for it for so long …
const QUIET_FOR: Duration = Duration::from_secs(3);
/// … or some did now and then, for so long.
const EPISODE: Duration = Duration::from_secs(60);
/// Calls under way at once, to all judges together.
const MOST_CALLS: usize = 64;
/// How many times as many calls a burst makes at once: it lasts for some images, however many come in
/// a second.
const BURST_TIMES: u32 = 4;
/// Between two tries to read what was spent today.
const PAUSE: Duration = Duration::from_secs(1);

/// The money, as calls and whoever begins them share it.
type Money = Arc<Mutex<Purses>>;

/// The work, with what it has taken on.
struct Working {
    gate: Arc<Gate>,
    known: Arc<ArcSwap<Known>>,
    money: Money,
    calls: JoinSet<()>,
    /// What judges missed and are shown now, by judge; money is kept for each.
    due: BTreeMap<String, VecDeque<(Job, MicroUsd)>>,
}

/// A call that may begin.
struct Ready {
    aside: Aside,
    question: Question,
    which: Which,
    per_day: MicroUsd,
    estimate: MicroUsd,
}

/// What keeps a job from beginning.
enum Not {
    /// It may later.
    Yet(Unasked),
    /// It will not.
    Ever(Unasked),
}

/// Asks behind verdicts for as long as it is polled. Never returns; drop it to stop: calls under way
/// are dropped with it.
pub async fn work(gate: Arc<Gate>, known: Arc<ArcSwap<Known>>) {
    let (money, calls) = (Money::default(), JoinSet::new());
    let mut working = Working { gate, known, money, calls, due: BTreeMap::new() };
    working.restore().await;
    loop {
        tokio::select! {
            () = working.gate.shadows.woken.notified() => {}
            Some(ended) = working.calls.join_next() => {
                if let Err(why) = ended {
                    tracing::error!(%why, "a call behind a verdict broke");
                }
            }
            () = time::sleep(LOOK_EVERY) => {}
        }
        working.look_about();
        working.begin();
    }
}

impl Working {
    /// Takes up what was spent today: until that is known nothing more is.
    async fn restore(&self) {
        loop {
            let now = Timestamp::now();
            match self.gate.ledger.reader().shadows_spent(midnight(now)).await {
                Ok(spent) => return lock(&self.money).restore(&spent, now),
                Err(why) => tracing::warn!(%why, "nobody is asked behind verdicts yet"),
            }
            time::sleep(PAUSE).await;
        }
    }

    /// Takes over who looks into alarms, and what judges missed that are back.
    fn look_about(&mut self) {
        let shadows = &self.gate.shadows;
        let known = self.known.load();
        let is_on = shadows.settings.burst.is_some();
        let looks =
            |name: &&String| self.gate.panel.judge(name).is_some_and(|judge| !judge.stands_in());
        let mut asking: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (policy, view) in known.policies.iter().filter(|_| is_on) {
            let judges: Vec<_> = view.burst_judges.iter().filter(looks).cloned().collect();
            if !judges.is_empty() {
                asking.insert(policy.clone(), judges);
            }
        }
        if **shadows.bursting.load() != asking {
            shadows.bursting.store(Arc::new(asking));
        }
        let policies = self.gate.policies.load_full();
        let back = |(policy, missed): (&String, &Missed)| {
            let first = policies.find(Some(policy)).ok()?.route.judges.first()?;
            let is_over = QUIET_FOR <= missed.last.elapsed() || EPISODE <= missed.first.elapsed();
            (is_over && self.gate.panel.is_well(first)).then(|| policy.clone())
        };
        let mut backlog = shadows.backlog();
        // what a policy that is gone left is not to be held for ever
        let is_loaded = |policy: &String| policies.find(Some(policy)).is_ok();
        let (missed, gone): (BTreeMap<_, _>, BTreeMap<_, _>) =
            mem::take(&mut backlog.missed).into_iter().partition(|(name, _)| is_loaded(name));
        backlog.missed = missed;
        let back: Vec<String> = backlog.missed.iter().filter_map(back).collect();
        let back: Vec<_> =
            back.into_iter().filter_map(|one| backlog.missed.remove_entry(&one)).collect();
        drop(backlog);
        drop(gone);
        for (policy, missed) in back {
            self.show_missed(&policies, &policy, missed);
        }
    }

    /// Has a judge that is back shown what it missed, as far as the money goes: it is kept for all
    /// of it at once, so that the chance that each image had is known before the first is shown.
    fn show_missed(&mut self, policies: &PolicySet, policy: &str, mut missed: Missed) {
        let Ok(policy) = policies.find(Some(policy)) else { return };
        let Some(backfill) = policy.backfill else { return };
        let (now, money) = (Timestamp::now(), Arc::clone(&self.money));
        let which = Which::of(Purpose::Backfill, &policy.name, "");
        let panel = Arc::clone(&self.gate.panel);
        let mut kept = VecDeque::new();
        let (taken, share, left) = missed.sieve.take(|job| {
            // one that is asked otherwise by now is as good as paid: it is dropped when its turn comes
            let question = put(policy, job);
            let judge = panel.judge(&job.wish.judge);
            let estimate = judge.zip(question).map(|(judge, question)| judge.estimate(&question));
            let estimate = estimate.unwrap_or_default();
            let is_paid = lock(&money).reserve(&which, (estimate, backfill.per_day), now);
            if is_paid {
                kept.push_back(estimate);
            }
            is_paid
        });
        tracing::info!(
            policy = policy.name,
            images = taken.len(),
            share,
            too_dear = left.len(),
            "a judge is back and shown what it missed"
        );
        left.iter().for_each(|_| count_dropped(Unasked::Budget));
        for (mut job, estimate) in taken.into_iter().zip(kept) {
            job.wish.propensity = share;
            self.due.entry(job.wish.judge.clone()).or_default().push_back((job, estimate));
        }
    }

    /// Begins what may begin: what was drawn lately first, then what was missed.
    fn begin(&mut self) {
        let policies = self.gate.policies.load_full();
        let mut waiting = VecDeque::new();
        let mut busy = BTreeSet::new();
        for job in self.gate.shadows.take() {
            if MOST_CALLS <= self.calls.len()
                || busy.contains(&(job.wish.judge.clone(), job.wish.purpose))
            {
                waiting.push_back(job);
                continue;
            }
            match self.ready(&policies, &job) {
                Ok(ready) => {
                    let (estimate, now) = ((ready.estimate, ready.per_day), Timestamp::now());
                    if lock(&self.money).reserve(&ready.which, estimate, now) {
                        self.ask(job, ready, &policies);
                    } else {
                        count_dropped(Unasked::Budget);
                    }
                }
                // only its own calls are in the way, and end soon
                Err(Not::Yet(Unasked::QueueFull)) => {
                    busy.insert((job.wish.judge.clone(), job.wish.purpose));
                    waiting.push_back(job);
                }
                Err(Not::Yet(why) | Not::Ever(why)) => count_dropped(why),
            }
        }
        if !waiting.is_empty() {
            self.gate.shadows.put_back(waiting);
        }
        let mut due = mem::take(&mut self.due);
        for jobs in due.values_mut() {
            self.begin_due(jobs, &policies);
        }
        due.retain(|_, jobs| !jobs.is_empty());
        self.due = due;
    }

    /// Begins what may begin of what one judge missed.
    fn begin_due(&mut self, jobs: &mut VecDeque<(Job, MicroUsd)>, policies: &Arc<PolicySet>) {
        while self.calls.len() < MOST_CALLS
            && let Some((job, estimate)) = jobs.pop_front()
        {
            match self.ready(policies, &job) {
                Ok(ready) => self.ask(job, Ready { estimate, ..ready }, policies),
                Err(Not::Yet(_)) => {
                    // its chance is fixed: it waits for as long as it takes
                    jobs.push_front((job, estimate));
                    return;
                }
                Err(Not::Ever(why)) => {
                    let which = Which::of(Purpose::Backfill, &job.shown.policy, "");
                    let unspent = (estimate, MicroUsd::default());
                    lock(&self.money).settle(&which, unspent, Timestamp::now());
                    count_dropped(why);
                }
            }
        }
    }

    /// Whether `job` may begin now.
    fn ready(&self, policies: &PolicySet, job: &Job) -> Result<Ready, Not> {
        let (gate, wish, shown) = (&self.gate, &job.wish, &job.shown);
        if gate.is_pressed() {
            return Err(Not::Yet(Unasked::Crowded));
        }
        let policy = policies.find(Some(&shown.policy)).ok();
        // asked otherwise, its answer would belong to no configuration that serves
        let policy = policy.filter(|policy| policy.judging == shown.judging);
        let policy = policy.ok_or(Not::Ever(Unasked::PolicyChanged))?;
        let entry = || policy.shadows.iter().find(|one| one.id == wish.entry);
        let per_day = match wish.purpose {
            Purpose::Sample => entry().map(|one| one.per_day),
            Purpose::Backfill => policy.backfill.map(|one| one.per_day),
            Purpose::Burst => gate.shadows.settings.burst.map(|one| one.per_day),
        };
        let per_day = per_day.ok_or(Not::Ever(Unasked::PolicyChanged))?;
        let most = match wish.purpose {
            Purpose::Sample | Purpose::Backfill => gate.shadows.settings.max_in_flight,
            Purpose::Burst => gate.shadows.settings.max_in_flight * BURST_TIMES,
        };
        let aside = gate.panel.aside(&wish.judge, most).map_err(|why| match why {
            NotAsked::Unknown => Not::Ever(Unasked::Unasked),
            NotAsked::Breaker => Not::Yet(Unasked::Breaker),
            NotAsked::Busy => Not::Yet(Unasked::Busy),
            NotAsked::Enough => Not::Yet(Unasked::QueueFull),
            NotAsked::Crowded => Not::Yet(Unasked::Crowded),
        })?;
        let question = put(policy, job).ok_or(Not::Ever(Unasked::Unasked))?;
        let estimate = aside.judge().estimate(&question);
        let which = Which::of(wish.purpose, &shown.policy, &wish.entry);
        Ok(Ready { aside, question, which, per_day, estimate })
    }

    /// Begins a call for which money is kept.
    fn ask(&mut self, job: Job, ready: Ready, policies: &Arc<PolicySet>) {
        let (gate, money) = (Arc::clone(&self.gate), Arc::clone(&self.money));
        let policies = Arc::clone(policies);
        self.calls.spawn(async move {
            let at = Timestamp::now();
            let Ready { aside, question, which, estimate, .. } = ready;
            let within = (job.shown.began, Deadline::after(CALL_WITHIN));
            let attempt = aside.ask(&gate.panel, &question, within).await;
            lock(&money).settle(&which, (estimate, attempt.cost), Timestamp::now());
            let Ok(policy) = policies.find(Some(&job.shown.policy)) else { return };
            keep(&gate, policy, (job, at), attempt).await;
        });
    }
}

/// Counts and stores one call.
async fn keep(
    gate: &Gate,
    policy: &ActivePolicy,
    (job, at): (Job, Timestamp),
    mut attempt: Attempt,
) {
    let asked = policy.loaded.asked(&job.shown.vars);
    attempt.said = said(policy, &asked, (&attempt, job.shown.lot))
        .filter(|_| attempt.outcome == AttemptOutcome::Judged);
    count_shadow(&attempt);
    let (judge, second): (JudgeId, Option<Decision>) = (attempt.judge.clone(), attempt.said);
    let new = NewShadow {
        verdict: job.shown.record,
        at,
        purpose: job.wish.purpose,
        entry: job.wish.entry.clone(),
        propensity: job.wish.propensity,
        judged_by: gate.judged_by(policy, Some(&judge)),
        attempt,
    };
    match gate.ledger.shadow(new).await {
        Ok(true) => {
            if let (Some((first, rejects)), Some(said)) = (&job.shown.first, second) {
                count_pair((first, *rejects), (&judge.name, said != Decision::Pass));
            }
        }
        Ok(false) => count_dropped(Unasked::Unwritten), // its record was lost, or is not there yet
        Err(LedgerError::Closed) => {}
        Err(why) => {
            count_dropped(Unasked::Unwritten);
            tracing::warn!(%why, id = %job.shown.record, "what was said behind a verdict is lost");
        }
    }
}

/// The question about the image of `job`; an answer to it is waited for to its end.
fn put(policy: &ActivePolicy, job: &Job) -> Option<Question> {
    let shown = &job.shown;
    let asked = policy.loaded.asked(&shown.vars);
    let shown = posing::Shown {
        vars: &shown.vars,
        views: &shown.views,
        flags: &shown.flags,
        measurements: shown.measurements,
        early: false,
    };
    let posed = pose(policy, &asked, &shown);
    let posed = posed.inspect_err(|why| {
        tracing::error!(policy = policy.name, %why, "the prompt cannot be rendered");
    });
    posed.ok()
}

fn lock(money: &Money) -> MutexGuard<'_, Purses> {
    // nothing in there can be left half done
    money.lock().unwrap_or_else(PoisonError::into_inner)
}
