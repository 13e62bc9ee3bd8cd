//! The work behind verdicts: it takes what waits, asks while there is room and money, and stores
//! what was said.
//!
//! One task owns all of it; when that ends, calls under way are dropped. If it breaks over
//! something, that is lost, and it goes on with the rest.
//!
//! It stays in the background: a few questions are put at a time, and others have their turn
//! between. Nobody is paid for what cannot be kept: before a call its money is drawn in the store,
//! and while the store has no room, or failed, nothing begins.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::convert::Infallible;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::FutureExt;
use tokio::task::{self, JoinError, JoinSet};
use tokio::time;

use crate::clock::{Deadline, Timestamp};
use crate::domain::{Attempt, MicroUsd};
use crate::gate::Gate;
use crate::gate::policies::{ActivePolicy, PolicySet};
use crate::gate::posing::{self, pose};
use crate::gate::shadow::again::again;
use crate::gate::shadow::bursts::Bursts;
use crate::gate::shadow::calling::{Ended, call, keep};
use crate::gate::shadow::due::{Due, Missing};
use crate::gate::shadow::purse::{Kept, Money, Short, Which, day, midnight, nothing};
use crate::gate::shadow::{Job, Missed};
use crate::ledger::LedgerError;
use crate::ledger::follow::view::Known;
use crate::ledger::shadows::Purpose;
use crate::panel::Question;
use crate::panel::aside::{Aside, NotAsked};
use crate::telemetry;
use crate::telemetry::shadow::{Unasked, count_dropped};

/// Between two looks where nothing wakes: whether a judge is back, whether a day has begun.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A judge is back for good once nobody stood in for it for so long …
const QUIET_FOR: Duration = Duration::from_secs(3);
/// … or some did now and then, for so long.
const EPISODE: Duration = Duration::from_secs(60);
/// A judge that is away for longer is not shown what it missed.
const AWAY_FOR: Duration = Duration::from_hours(24);
/// Calls under way at once, to all judges together.
const MOST_CALLS: usize = 64;
/// How many times as many calls a burst makes at once: it lasts for some images, however many come
/// in a second.
const BURST_TIMES: u32 = 4;
/// Questions put in one go, before others have their turn.
const AT_ONCE: usize = 4;
/// What is given up of a judge's backfill in one go.
const GIVEN_UP_AT_ONCE: usize = 16;
/// Between two tries to read or write the store …
const PAUSE: Duration = Duration::from_secs(1);
/// … which grows, up to this.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// The work, with what it has taken on.
struct Working {
    gate: Arc<Gate>,
    known: Arc<ArcSwap<Known>>,
    money: Money,
    calls: JoinSet<Ended>,
    due: Due,
    bursts: Bursts,
    trouble: Option<Trouble>,
}

/// The store failed.
struct Trouble {
    pause: Duration,
    until: Deadline,
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

/// Asks behind verdicts for as long as it is polled. Never returns; drop it to stop: calls under
/// way are dropped with it.
pub async fn work(gate: Arc<Gate>, known: Arc<ArcSwap<Known>>) {
    let mut working = Working {
        money: gate.shadows.money.clone(),
        gate,
        known,
        calls: JoinSet::new(),
        due: Due::default(),
        bursts: Bursts::default(),
        trouble: None,
    };
    again(&mut working, |working| working.run().boxed()).await;
}

impl Working {
    async fn run(&mut self) -> Infallible {
        self.restore().await;
        loop {
            tokio::select! {
                () = self.gate.shadows.woken.notified() => {}
                Some(ended) = self.calls.join_next() => self.end(ended),
                () = time::sleep(LOOK_EVERY) => {}
            }
            while let Some(ended) = self.calls.try_join_next() {
                self.end(ended);
            }
            self.look_about().await;
            if self.may_keep().await {
                self.begin().await;
                self.draw().await;
            } else {
                self.gate.shadows.take().iter().for_each(|_| count_dropped(Unasked::NoRoom));
            }
        }
    }

    /// Takes up what was spent today: until that is known nothing more is.
    async fn restore(&mut self) {
        while !self.money.is_restored() {
            let (now, reader) = (Timestamp::now(), self.gate.ledger.reader());
            let read = async {
                let spent = reader.shadows_spent(midnight(now)).await?;
                Ok::<_, LedgerError>((spent, reader.drawn(day(now)).await?))
            };
            match read.await {
                Ok((spent, drawn)) => self.money.restore(&spent, &drawn, now),
                Err(why) => {
                    tracing::warn!(%why, "nobody is asked behind verdicts yet");
                    time::sleep(PAUSE).await;
                }
            }
        }
    }

    fn end(&mut self, ended: Result<Ended, JoinError>) {
        match ended {
            Ok(Ended::Kept) => {}
            Ok(Ended::Unkept(why)) => self.fail(&why),
            Ok(Ended::Again(missing)) => self.due.add(*missing),
            Err(why) => {
                tracing::error!(%why, "a call behind a verdict broke");
                telemetry::count_panic();
            }
        }
    }

    /// Whether what is said could be kept. After a failure that is tried with a row that says
    /// nothing.
    async fn may_keep(&mut self) -> bool {
        if !self.gate.ledger.has_room() {
            return false;
        }
        let Some(trouble) = &self.trouble else { return true };
        if !trouble.until.is_past() {
            return false;
        }
        match self.gate.ledger.draw(nothing(Timestamp::now())).await {
            Ok(()) => self.trouble = None,
            Err(why) => self.fail(&why),
        }
        self.trouble.is_none()
    }

    fn fail(&mut self, why: &LedgerError) {
        let pause = self.trouble.as_ref().map_or(PAUSE, |one| LONGEST_PAUSE.min(one.pause * 2));
        if self.trouble.is_none() {
            tracing::warn!(%why, "nobody is asked behind verdicts while the store fails");
        }
        self.trouble = Some(Trouble { pause, until: Deadline::after(pause) });
    }

    /// Draws what is wanted in the store: what waits for it begins at the next look, at once.
    async fn draw(&mut self) {
        for (which, draw) in self.money.wanted(Timestamp::now()) {
            match self.gate.ledger.draw(draw.clone()).await {
                Ok(()) => {
                    self.money.note(&which, &draw);
                    self.gate.shadows.woken.notify_one();
                }
                Err(why) => return self.fail(&why),
            }
        }
    }

    /// Takes over who looks into alarms, and what judges missed that are back.
    async fn look_about(&mut self) {
        self.mind_alarms();
        let policies = self.gate.policies.load_full();
        for (policy, missed) in self.back(&policies) {
            self.show_missed(&policies, &policy, missed).await;
        }
    }

    /// What judges missed that are back, by policy.
    fn back(&self, policies: &PolicySet) -> Vec<(String, Missed)> {
        let panel = &self.gate.panel;
        let is_back = |(policy, missed): (&String, &Missed)| {
            let first = policies.find(Some(policy)).ok()?.route.judges.first()?;
            let is_over = QUIET_FOR <= missed.last.elapsed() || EPISODE <= missed.first.elapsed();
            (is_over && panel.is_well(first)).then(|| policy.clone())
        };
        // what a policy that is gone left, and a judge that stays away, is not to be held for ever
        let is_held = |policy: &String, missed: &Missed| {
            policies.find(Some(policy)).is_ok() && missed.first.elapsed() < AWAY_FOR
        };
        let mut backlog = self.gate.shadows.backlog();
        let all = mem::take(&mut backlog.missed).into_iter();
        let (missed, gone): (BTreeMap<_, _>, BTreeMap<_, _>) =
            all.partition(|(policy, missed)| is_held(policy, missed));
        backlog.missed = missed;
        let back: Vec<String> = backlog.missed.iter().filter_map(is_back).collect();
        let back = back.into_iter().filter_map(|one| backlog.missed.remove_entry(&one)).collect();
        drop(backlog);
        for missed in gone.into_values() {
            (0..missed.sieve.len()).for_each(|_| count_dropped(Unasked::TooOld));
        }
        back
    }

    /// Takes over who looks into alarms, as long as each may be looked into.
    fn mind_alarms(&mut self) {
        let shadows = &self.gate.shadows;
        let Some(burst) = shadows.settings.burst else { return };
        let known = self.known.load();
        let looks =
            |name: &&String| self.gate.panel.judge(name).is_some_and(|judge| !judge.stands_in());
        let mut asking: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut alarmed = BTreeSet::new();
        for (policy, view) in &known.policies {
            let Some(alarm) = &view.looking_into else { continue };
            let judges: Vec<_> = view.burst_judges.iter().filter(looks).cloned().collect();
            let judges = self.bursts.asked(policy, alarm, judges, burst.images);
            alarmed.insert(policy);
            if !judges.is_empty() {
                asking.insert(policy.clone(), judges);
            }
        }
        self.bursts.retain(&alarmed);
        if **shadows.bursting.load() != asking {
            shadows.bursting.store(Arc::new(asking));
        }
    }

    /// Has a judge that is back shown what it missed, as far as the money goes: it is kept for all
    /// of it at once, so that the chance that each image had is known before the first is shown.
    async fn show_missed(&mut self, policies: &PolicySet, policy: &str, missed: Missed) {
        let Ok(policy) = policies.find(Some(policy)) else { return };
        let Some(backfill) = policy.backfill else { return };
        let (now, money) = (Timestamp::now(), self.money.clone());
        let which = Which::of(Purpose::Backfill, &policy.name, "");
        let panel = Arc::clone(&self.gate.panel);
        let mut kept = VecDeque::new();
        let taking = missed.sieve.take(|job| {
            // one that is asked otherwise by now is as good as paid: it is dropped when its turn
            // comes
            let question = put(policy, job);
            let judge = panel.judge(&job.wish.judge);
            let estimate = judge.zip(question).map(|(judge, question)| judge.estimate(&question));
            let amounts = (estimate.unwrap_or_default(), backfill.per_day);
            let paid = money.set_aside(&which, amounts, now);
            let is_paid = paid.is_some();
            kept.extend(paid);
            is_paid
        });
        let (taken, share, left) = taking.await;
        tracing::info!(
            policy = policy.name,
            images = taken.len(),
            share,
            too_dear = left.len(),
            "a judge is back and shown what it missed"
        );
        left.iter().for_each(|_| count_dropped(Unasked::Budget));
        for (mut job, kept) in taken.into_iter().zip(kept) {
            job.wish.propensity = share;
            self.due.add(Missing::new(job, kept));
        }
    }

    /// Begins what may begin: what was drawn lately first, then what was missed.
    async fn begin(&mut self) {
        let policies = self.gate.policies.load_full();
        let mut waiting = VecDeque::new();
        let mut busy = BTreeSet::new();
        let mut asked = 0;
        for job in self.gate.shadows.take() {
            let queue = (job.wish.judge.clone(), job.wish.purpose);
            if MOST_CALLS <= self.calls.len() || busy.contains(&queue) {
                waiting.push_back(job);
                continue;
            }
            match self.pay(&policies, &job) {
                Ok((ready, kept)) => {
                    self.ask(job, (ready, kept), &policies);
                    asked += 1;
                    if asked % AT_ONCE == 0 {
                        task::yield_now().await;
                    }
                }
                // only its own calls, or the store, are in the way, and not for long
                Err(Not::Yet(Unasked::QueueFull | Unasked::Budget)) => {
                    busy.insert(queue);
                    waiting.push_back(job);
                }
                Err(Not::Yet(why) | Not::Ever(why)) => count_dropped(why),
            }
        }
        if !waiting.is_empty() {
            self.gate.shadows.put_back(waiting);
        }
        for judge in self.due.judges() {
            self.begin_due(&judge, &policies).await;
        }
    }

    /// Begins what may begin of what one judge missed.
    async fn begin_due(&mut self, judge: &str, policies: &Arc<PolicySet>) {
        let (mut asked, mut given_up) = (0, 0);
        while self.calls.len() < MOST_CALLS
            && given_up < GIVEN_UP_AT_ONCE
            && let Some(mut missing) = self.due.next(judge)
        {
            let ready = if missing.is_too_old() {
                Err(Not::Ever(Unasked::TooOld))
            } else {
                self.ready(policies, &missing.job)
            };
            match ready.and_then(|ready| self.pay_missing(&mut missing, ready)) {
                Ok((ready, kept)) => {
                    self.ask_missing(missing, (ready, kept), policies);
                    asked += 1;
                    if asked % AT_ONCE == 0 {
                        task::yield_now().await;
                    }
                }
                // its chance is fixed: it waits
                Err(Not::Yet(_)) => return self.due.put_back(missing),
                Err(Not::Ever(why)) => {
                    self.give_up(missing, why, policies);
                    given_up += 1;
                }
            }
        }
    }

    /// Whether `job` may begin now, and the money for it.
    fn pay(&self, policies: &PolicySet, job: &Job) -> Result<(Ready, Kept), Not> {
        let burst = self.gate.shadows.settings.burst;
        let most = burst.map_or(0, |burst| burst.images);
        if job.wish.purpose == Purpose::Burst
            && !self.bursts.may(&job.shown.policy, &job.wish.judge, most)
        {
            return Err(Not::Ever(Unasked::BurstOver));
        }
        let ready = self.ready(policies, job)?;
        let amounts = (ready.estimate, ready.per_day);
        match self.money.reserve(&ready.which, amounts, Timestamp::now()) {
            Ok(kept) => Ok((ready, kept)),
            Err(Short::Spent) => Err(Not::Ever(Unasked::Budget)),
            Err(Short::Undrawn) => Err(Not::Yet(Unasked::Budget)),
        }
    }

    /// The money for an image that was missed: kept when the judge came back, or now for one more
    /// call. Where the day's has become less since, there may be none.
    fn pay_missing(&self, missing: &mut Missing, ready: Ready) -> Result<(Ready, Kept), Not> {
        let (now, amounts) = (Timestamp::now(), (ready.estimate, ready.per_day));
        let kept = missing.kept.take();
        let kept = kept.or_else(|| self.money.set_aside(&ready.which, amounts, now));
        let mut kept = kept.ok_or(Not::Ever(Unasked::Budget))?;
        match kept.may_begin(ready.per_day, now) {
            Ok(()) => Ok((ready, kept)),
            Err(Short::Spent) => Err(Not::Ever(Unasked::Budget)),
            Err(Short::Undrawn) => {
                missing.kept = Some(kept);
                Err(Not::Yet(Unasked::Budget))
            }
        }
    }

    /// Whether `job` may begin now, but for the money.
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
            Purpose::Hedge => policy.losers.map(|one| one.per_day),
        };
        let per_day = per_day.ok_or(Not::Ever(Unasked::PolicyChanged))?;
        let times = if wish.purpose == Purpose::Burst { BURST_TIMES } else { 1 };
        let most = gate.shadows.settings.max_in_flight * times;
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
    fn ask(&mut self, job: Job, (ready, kept): (Ready, Kept), policies: &Arc<PolicySet>) {
        if job.wish.purpose == Purpose::Burst {
            self.bursts.count(&job.shown.policy, &job.wish.judge);
        }
        let (gate, policies) = (Arc::clone(&self.gate), Arc::clone(policies));
        self.calls.spawn(async move {
            let at = Timestamp::now();
            let Ready { aside, question, .. } = ready;
            let attempt = call(&gate, (aside, kept), &question, &job).await;
            keep(&gate, &policies, (&job, at), attempt).await
        });
    }

    /// Begins a call about an image that was missed; one that fails comes back.
    fn ask_missing(
        &mut self,
        mut missing: Missing,
        (ready, kept): (Ready, Kept),
        policies: &Arc<PolicySet>,
    ) {
        let (gate, policies) = (Arc::clone(&self.gate), Arc::clone(policies));
        self.calls.spawn(async move {
            let at = Timestamp::now();
            let Ready { aside, question, .. } = ready;
            let attempt = call(&gate, (aside, kept), &question, &missing.job).await;
            match missing.ended(attempt) {
                Some(attempt) => keep(&gate, &policies, (&missing.job, at), attempt).await,
                None => Ended::Again(Box::new(missing)),
            }
        });
    }

    /// Stores that an image was to be shown and was not, so that whoever makes a rate of the others
    /// knows.
    fn give_up(&mut self, missing: Missing, why: Unasked, policies: &Arc<PolicySet>) {
        count_dropped(why);
        let (gate, policies) = (Arc::clone(&self.gate), Arc::clone(policies));
        let Missing { job, failed, cost, .. } = missing;
        let none = || self.gate.panel.not_asked(&job.wish.judge, why.label());
        let Some(attempt) = failed.or_else(none) else { return };
        self.calls.spawn(async move {
            let attempt = Attempt { cost, ..attempt };
            keep(&gate, &policies, (&job, Timestamp::now()), attempt).await
        });
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
