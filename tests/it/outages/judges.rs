//! The judges of a world: they act as it says, take part in their provider's load, and keep a log
//! of every call as the provider saw it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::fmt;
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::{self, Instant};
use vlmgate::clock::Deadline;
use vlmgate::domain::{AttemptOutcome, JudgeId, Judgement, MicroUsd, Score};
use vlmgate::panel::{Answered, AttemptError, Expectation, Judge, Question};

use crate::outages::world::{CallOf, Fate, Fault, Law, Reply, World};

/// The judges' names, in the route's order.
pub(crate) const NAMES: [&str; 3] = ["a", "b", "c"];
const DIALECTS: [&str; 3] = ["openai", "anthropic", "gemini"];
/// Seconds until a provider says that it is full or that the limit is reached.
const LIMIT_SAID_S: f64 = 0.06;
/// Calls that a rate limit lets through at once.
const BURST: f64 = 16.0;

/// One call, as the provider saw it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    /// Which image.
    pub(crate) image: u64,
    /// When it came, in seconds.
    pub(crate) at: f64,
    /// Whether the provider was at fault then, and the call was one of those that got nothing.
    pub(crate) lost: bool,
    /// Whether it was told to stay away.
    pub(crate) limited: bool,
    /// When it ended, in seconds; `None`: it is still open.
    pub(crate) ended: Option<f64>,
}

/// One judge of a world.
pub(crate) struct SimulatedJudge {
    id: JudgeId,
    place: usize,
    world: Arc<World>,
    drift: Vec<f64>,
    began: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    seen: Vec<Seen>,
    /// Calls so far, by image.
    turns: BTreeMap<u64, u64>,
    /// When slots become free, in milliseconds.
    busy: BinaryHeap<Reverse<u64>>,
    /// Slots held by calls that hold them as long as the caller waits.
    held: u32,
    /// A moment, in milliseconds, and the slots in use just before it.
    counted: (u64, u32),
    /// What a rate limit still admits, and since when.
    admits: (f64, f64),
}

impl fmt::Debug for SimulatedJudge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedJudge").field("id", &self.id).finish_non_exhaustive()
    }
}

impl SimulatedJudge {
    /// The judge at `place` of `world`, which begins now.
    pub(crate) fn new(world: &Arc<World>, place: usize) -> Self {
        let name = NAMES[place];
        Self {
            id: JudgeId {
                name: name.to_owned(),
                provider: format!("{name}-provider"),
                model: format!("{name}-model"),
            },
            place,
            world: Arc::clone(world),
            drift: world.drift(place),
            began: Instant::now(),
            state: Mutex::default(),
        }
    }

    /// Every call so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state().seen.clone()
    }

    fn now(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Lets a call in, or says that there is no room.
    fn admit(&self, image: u64) -> (Open<'_>, Option<(f64, Reply)>) {
        let at = self.now();
        let mut state = self.state();
        let turn = *state.turns.entry(image).and_modify(|turn| *turn += 1).or_default();
        let fault = self.world.fault(self.place, at);
        let used = state.used(at);
        let full = Law::of(self.place).slots <= used;
        let over = matches!(fault, Some(Fault::Limited(rate)) if !state.is_admitted(rate, at));
        let fate = if full || over {
            let wait_s = if full { 1.0 } else { 2.0 };
            Fate { reply: Some((LIMIT_SAID_S, Reply::Limited(wait_s))), holds_s: Some(0.0) }
        } else {
            let load = f64::from(state.used_before(at)) / f64::from(Law::of(self.place).slots);
            let second = Duration::from_secs_f64(at).as_secs();
            let slower = self.drift.get(usize::try_from(second).unwrap()).copied().unwrap_or(1.0);
            let call = CallOf { image, judge: self.place, turn };
            self.world.fate(call, at, slower, load)
        };
        match fate.holds_s {
            Some(held_s) if 0.0 < held_s => state.busy.push(Reverse(millis(at + held_s))),
            Some(_) => {}
            None => state.held += 1,
        }
        let lost = fault.is_some() && fate.holds_s.is_none();
        let place = state.seen.len();
        state.seen.push(Seen { image, at, lost, limited: full || over, ended: None });
        (Open { judge: self, place, holds: fate.holds_s.is_none() }, fate.reply)
    }
}

impl State {
    /// Slots in use at `at`.
    fn used(&mut self, at: f64) -> u32 {
        while self.busy.peek().is_some_and(|Reverse(until)| *until <= millis(at)) {
            self.busy.pop();
        }
        u32::try_from(self.busy.len()).unwrap() + self.held
    }

    /// Slots in use just before `at`: of calls that come at one moment none slows another down,
    /// whichever comes first.
    fn used_before(&mut self, at: f64) -> u32 {
        if self.counted.0 != millis(at) {
            self.counted = (millis(at), self.used(at));
        }
        self.counted.1
    }

    /// Takes one of what a rate limit of `rate` a second admits.
    fn is_admitted(&mut self, rate: f64, at: f64) -> bool {
        let (left, since) = self.admits;
        let left = (left + (at - since) * rate).min(BURST);
        let admitted = 1.0 <= left;
        self.admits = (if admitted { left - 1.0 } else { left }, at);
        admitted
    }
}

/// A call that is open: dropping it is the end of it, whoever ended it.
struct Open<'a> {
    judge: &'a SimulatedJudge,
    place: usize,
    holds: bool,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let at = self.judge.now();
        let mut state = self.judge.state();
        if self.holds {
            state.held -= 1;
        }
        state.seen[self.place].ended = Some(at);
    }
}

impl Judge for SimulatedJudge {
    fn id(&self) -> &JudgeId {
        &self.id
    }

    fn judge<'a>(
        &'a self,
        question: &'a Question,
        _deadline: Deadline,
    ) -> BoxFuture<'a, Result<Answered, AttemptError>> {
        let asking = async {
            let image = question.user.parse().expect("the question names the image");
            let (open, reply) = self.admit(image);
            let Some((after_s, reply)) = reply else { return pending().await };
            let at = self.now();
            time::sleep(Duration::from_secs_f64(after_s)).await;
            let severed = self.world.severed_at(self.place);
            if severed.is_some_and(|severed| (at..at + after_s).contains(&severed)) {
                return pending().await;
            }
            drop(open);
            said(question, reply)
        };
        asking.boxed()
    }

    fn estimate(&self, _question: &Question) -> MicroUsd {
        MicroUsd(100)
    }

    fn parameters(&self) -> &'static str {
        "simulated"
    }

    fn dialect(&self) -> &'static str {
        DIALECTS[self.place]
    }

    fn expectation(&self) -> Option<Expectation> {
        let law = Law::of(self.place);
        let share = if self.world.streams { 0.62 } else { 1.0 };
        let stated = |seconds: f64| Duration::from_secs_f64(seconds * share);
        Some(Expectation { p50: stated(law.median_s), p95: stated(law.p95_s) })
    }
}

fn said(question: &Question, reply: Reply) -> Result<Answered, AttemptError> {
    let failed = |outcome| Err(AttemptError::new(outcome, "as the world has it"));
    match reply {
        Reply::Judgement => {
            let score = |criterion: &str| Score {
                criterion: criterion.to_owned(),
                score: Some(0.9),
                reason: None,
            };
            let scores = question.criteria.iter().map(|asked| score(&asked.id)).collect();
            Ok(Answered {
                judgement: Judgement { scores },
                tokens: None,
                cost: MicroUsd(100),
                request_id: None,
                rest: None,
            })
        }
        Reply::Refused => failed(AttemptOutcome::Connect),
        Reply::Overloaded => failed(AttemptOutcome::Overloaded),
        Reply::Garbage => failed(AttemptOutcome::Unreadable),
        Reply::Limited(wait_s) => Err(AttemptError {
            retry_after: Some(Duration::from_secs_f64(wait_s)),
            ..AttemptError::new(AttemptOutcome::RateLimited, "as the world has it")
        }),
    }
}

fn millis(seconds: f64) -> u64 {
    u64::try_from(Duration::from_secs_f64(seconds).as_millis()).unwrap()
}
