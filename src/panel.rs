//! The panel is the judges of a policy and the race between them: who is asked, when a second one
//! is asked beside a slow first, and whose judgement counts.
//!
//! The panel owns the seam: [`Judge`] is what it needs of whoever can look at an image. Providers
//! implement it over HTTP, the `local` judge over measurements, tests over scripts.

pub mod aside;
mod board;
pub mod breaker;
mod call;
mod choice;
pub mod hedge;
pub mod history;
pub mod latency;
pub mod limit;
mod pace;
pub mod race;
mod rate;
pub mod rest;
#[cfg(test)]
pub(crate) mod script;
mod seat;
pub mod second_opinion;
pub mod struck;

use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use thiserror::Error;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::clock::{Deadline, Stopwatch};
use crate::domain::policy::Measure;
use crate::domain::{AttemptOutcome, JudgeId, Judgement, MicroUsd, Tokens};
use crate::imaging::{Measurements, View};
use crate::panel::board::Board;
use crate::panel::breaker::Rules;
use crate::panel::hedge::{Budgets, Purse};
use crate::panel::rest::Rest;
use crate::panel::seat::Seat;
use crate::panel::struck::Struck;
use crate::telemetry;

/// One criterion as it is put to a judge.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// Its id: the field of the answer.
    pub id: String,
    /// The question.
    pub ask: String,
    /// What the `local` judge scores it by.
    pub measured_by: Vec<Measure>,
}

/// What a judge is asked about one image. Made once per check and shared by every attempt: the
/// views' bytes and base64 are counted references, never copies.
#[derive(Clone, Debug)]
pub struct Question {
    /// What the answer must score, in order; at least one.
    pub criteria: Vec<Asked>,
    /// The rendered system prompt.
    pub system: String,
    /// The rendered user prompt.
    pub user: String,
    /// The pictures, in order; at least one.
    pub views: Vec<View>,
    /// What was measured on the pixels.
    pub measurements: Measurements,
    /// Longest reason kept, in characters.
    pub reason_chars: usize,
    /// Visible output allowance in tokens.
    pub max_output_tokens: u32,
    /// Marked when a drill breaks a call about this image.
    pub struck: Struck,
    /// Whether a judgement may leave at its scores, before its reasons and its bill are known.
    pub early: bool,
}

impl Question {
    /// Whether `judgement` answers this question.
    ///
    /// # Errors
    /// What is wrong with it: a criterion is missing, a score is no number from 0 to 1, or there is
    /// no score at all.
    pub fn accepts(&self, judgement: &Judgement) -> Result<(), String> {
        let mut scored = false;
        for asked in &self.criteria {
            let Some(said) = judgement.score(&asked.id) else {
                return Err(format!("nothing was said about {}", asked.id));
            };
            match said.score {
                Some(score) if !(0.0..=1.0).contains(&score) => {
                    return Err(format!("{} is scored {score}, not 0 to 1", asked.id));
                }
                Some(_) => scored = true,
                None => {}
            }
        }
        if scored { Ok(()) } else { Err("nothing was scored".to_owned()) }
    }
}

/// A valid judgement, and what the provider says it cost.
#[derive(Debug)]
pub struct Answered {
    /// Scores for every criterion asked.
    pub judgement: Judgement,
    /// The provider's count, where it says one.
    pub tokens: Option<Tokens>,
    /// The bill.
    pub cost: MicroUsd,
    /// The provider's id of the call.
    pub request_id: Option<String>,
    /// What still comes: then there are no reasons, no count, and `cost` is the estimate.
    pub rest: Option<Rest>,
}

/// Why an attempt gave no judgement.
#[derive(Clone, Debug, Error, PartialEq)]
#[error("{}: {detail}", outcome.label())]
pub struct AttemptError {
    /// The kind: never `Judged`.
    pub outcome: AttemptOutcome,
    /// For operators; bounded, never a metric label.
    pub detail: String,
    /// How long the provider asked us to stay away.
    pub retry_after: Option<Duration>,
    /// The provider's count, where an answer came at all.
    pub tokens: Option<Tokens>,
    /// The bill so far: an unreadable answer is paid for too.
    pub cost: MicroUsd,
    /// The provider's id of the call.
    pub request_id: Option<String>,
}

impl AttemptError {
    /// An error of which only the kind and the words are known.
    #[must_use]
    pub fn new(outcome: AttemptOutcome, detail: impl Into<String>) -> Self {
        Self {
            outcome,
            detail: detail.into(),
            retry_after: None,
            tokens: None,
            cost: MicroUsd::default(),
            request_id: None,
        }
    }
}

/// How fast a judge is expected to be, before its own history says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// Half of the answers are faster.
    pub p50: Duration,
    /// 19 of 20 answers are faster.
    pub p95: Duration,
}

/// Whoever can look at an image and score it.
pub trait Judge: Send + Sync + fmt::Debug {
    /// Who this is.
    fn id(&self) -> &JudgeId;

    /// Asks once: no retry inside. Dropping the future cancels the call.
    fn judge<'a>(
        &'a self,
        question: &'a Question,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<Answered, AttemptError>>;

    /// What one call is expected to cost: reserved before it, booked for a cancelled one.
    fn estimate(&self, question: &Question) -> MicroUsd;

    /// Model, dialect and parameters as one canonical text: a part of `judged_by`.
    fn parameters(&self) -> &str;

    /// The provider's wire form (`openai`, `anthropic`, …): a refused request is tried once more,
    /// in another dialect.
    fn dialect(&self) -> &'static str;

    /// How fast it is expected to be; `None`: no idea yet.
    fn expectation(&self) -> Option<Expectation>;

    /// Whether it only plays a judge, for a test or a demonstration: its verdicts say so.
    fn is_simulated(&self) -> bool {
        false
    }

    /// Whether its answer to `question`, which else would leave at its scores, is waited for to the
    /// end for now: then it takes longer than this judge usually does, and is not ill for it.
    fn waits_for_end(&self, _question: &Question) -> bool {
        false
    }

    /// Whether it only stands in: it answers when no judge that looks at the image can. It is never
    /// asked beside one that still may, except when the deadline is all but there, and never for a
    /// second opinion.
    fn stands_in(&self) -> bool {
        false
    }
}

/// Whether a judge is asked in its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// It is.
    Closed,
    /// It failed too much and now answers probes; not in its turn yet.
    HalfOpen,
    /// It failed too much.
    Open,
}

impl BreakerState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Closed, Self::HalfOpen, Self::Open];

    /// The word used in answers and metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
        }
    }
}

/// One judge as an operator sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct JudgeStatus {
    /// Who this is.
    pub id: JudgeId,
    /// Whether it is asked in its turn.
    pub breaker: BreakerState,
    /// The sum of evidence against it: 0 is well, and its breaker opens at the threshold.
    pub score: f64,
    /// Calls that outlived their strike age, since the start.
    pub strikes: u64,
    /// Calls it takes at once, as far as we learnt.
    pub limit: u32,
    /// The provider's wire form.
    pub dialect: &'static str,
    /// Half of its recent answers were faster; `None`: no idea yet.
    pub p50_ms: Option<u64>,
    /// 19 of 20 recent answers were faster; `None`: likewise.
    pub p95_ms: Option<u64>,
    /// Answers and cancelled calls that its history holds.
    pub samples: u64,
    /// Calls under way.
    pub in_flight: u32,
    /// How long the provider still wants us to stay away; `None`: it does not.
    pub blocked_for_ms: Option<u64>,
    /// Model, dialect and parameters as one canonical text.
    pub parameters: String,
}

/// How a judge's health is looked after.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Care {
    /// What its breaker goes by.
    pub rules: Rules,
    /// Most calls at once, whatever they are made for; `None`: what it turns out to take.
    pub max_in_flight: Option<u32>,
}

/// The judges by name with their health, and what pays for asking two at once.
#[derive(Debug)]
pub struct Panel {
    seats: Vec<Arc<Seat>>,
    board: Arc<Board>,
    budgets: Mutex<Budgets>,
    /// Probes, which may outlive their races: each at most its strike age, and four a judge.
    probes: Mutex<JoinSet<()>>,
    /// Whether the gate is all but full.
    crowded: AtomicBool,
    /// The judges whose room images wait for, by name.
    waited_for: ArcSwap<BTreeSet<String>>,
    /// 0..1, for waits that must not fall into step.
    jitter: fn() -> f64,
}

impl Panel {
    /// A panel without history. Of two judges with one name the first is asked.
    #[must_use]
    pub fn new(judges: Vec<Arc<dyn Judge>>) -> Self {
        Self::with_jitter(judges, rand::random::<f64>)
    }

    /// The same with a `jitter` (0..1) of the caller's.
    #[must_use]
    pub fn with_jitter(judges: Vec<Arc<dyn Judge>>, jitter: fn() -> f64) -> Self {
        Self::seated(judges.into_iter().map(|judge| (judge, Care::default())).collect(), jitter)
    }

    /// The same with each judge's health looked after as said.
    #[must_use]
    pub fn seated(judges: Vec<(Arc<dyn Judge>, Care)>, jitter: fn() -> f64) -> Self {
        let rules = judges.iter().map(|(judge, care)| (judge.id().name.clone(), care.rules));
        let board = Arc::new(Board::new(rules));
        let seat = |(place, (judge, care)): (usize, (Arc<dyn Judge>, Care))| {
            let board = (Arc::clone(&board), place);
            Arc::new(Seat::new(judge, board, (care.rules, care.max_in_flight)))
        };
        let seats = judges.into_iter().enumerate().map(seat).collect();
        let crowded = AtomicBool::new(false);
        let waited_for = ArcSwap::default();
        let (budgets, probes) = (Mutex::default(), Mutex::default());
        Self { seats, board, budgets, probes, crowded, waited_for, jitter }
    }

    /// The judges' names, in the order they were given.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.seats.iter().map(|seat| seat.name())
    }

    /// The judge called `name`.
    #[must_use]
    pub fn judge(&self, name: &str) -> Option<&dyn Judge> {
        self.seat(name).map(|seat| seat.judge())
    }

    /// Every judge as it stands, in the order they were given.
    #[must_use]
    pub fn statuses(&self) -> Vec<JudgeStatus> {
        let now = now();
        self.seats.iter().map(|seat| seat.status(now)).collect()
    }

    /// Says whether the gate is all but full: then nobody is asked beside a slow judge, because
    /// hedging into a crowd makes it larger.
    pub fn mind_crowd(&self, crowded: bool) {
        self.crowded.store(crowded, Ordering::Relaxed);
    }

    /// Says whose room images wait for in front of the gate: those judges are asked beside nobody,
    /// because each such call takes the place of an image that has nobody yet.
    pub fn mind_waited_for(&self, names: &BTreeSet<&str>) {
        let known = self.waited_for.load();
        if !known.iter().map(String::as_str).eq(names.iter().copied()) {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            self.waited_for.store(Arc::new(names));
        }
    }

    /// Whether images wait for the room of that judge.
    fn is_waited_for(&self, name: &str) -> bool {
        self.waited_for.load().contains(name)
    }

    /// Whether a judge that looks may be asked now: closed, not told to stay away, and below what
    /// it takes at once. True where nobody looks at all.
    #[must_use]
    pub fn has_room(&self) -> bool {
        let now = now();
        let mut looking = self.seats.iter().filter(|seat| !seat.stands_in()).peekable();
        looking.peek().is_none() || looking.any(|seat| seat.has_room(now))
    }

    /// How many more calls those of `judges` that look take now; as many as there can be where
    /// nobody looks at all.
    #[must_use]
    pub fn room_among(&self, judges: &[String]) -> usize {
        let now = now();
        let seats = judges.iter().filter_map(|name| self.seat(name));
        let looking = seats.filter(|seat| !seat.stands_in());
        let room = looking.map(|seat| usize::try_from(seat.room(now)).unwrap_or(usize::MAX));
        room.reduce(usize::saturating_add).unwrap_or(usize::MAX)
    }

    /// Half of the answers of the fastest of `judges` that is asked in its turn are faster than
    /// this; `None`: no idea yet.
    #[must_use]
    pub fn fastest_p50(&self, judges: &[String]) -> Option<Duration> {
        let seats = judges.iter().filter_map(|name| self.seat(name));
        let in_turn = seats.filter(|seat| !seat.stands_in() && seat.is_closed());
        in_turn.filter_map(|seat| seat.p50()).min()
    }

    /// Writes the gauges that are read rather than counted.
    pub fn report(&self) {
        for status in self.statuses() {
            let name = status.id.name.as_str();
            for state in BreakerState::ALL {
                telemetry::health::set_breaker_state(name, state.label(), state == status.breaker);
            }
            telemetry::health::set_judge_health(
                name,
                status.score,
                (status.limit, status.in_flight),
            );
        }
        let budgets = self.budgets();
        for purse in Purse::ALL {
            telemetry::health::set_budget_tokens(purse.label(), budgets.left(purse));
        }
    }

    /// Registers the series that [`Panel::report`] and the races write.
    pub fn register(&self) {
        for name in self.names() {
            telemetry::health::register_judge(name, &BreakerState::ALL.map(BreakerState::label));
        }
        telemetry::health::register_budgets(&Purse::ALL.map(Purse::label));
        self.report();
    }

    fn seat(&self, name: &str) -> Option<&Arc<Seat>> {
        self.seats.iter().find(|seat| seat.name() == name)
    }

    /// Whether `purse` pays for one attempt.
    fn pays(&self, purse: Purse) -> bool {
        let pays = self.budgets().take(purse);
        if !pays {
            telemetry::health::count_budget_denied(purse.label());
        }
        pays
    }

    /// 0..1.
    fn draw(&self) -> f64 {
        (self.jitter)().clamp(0.0, 1.0)
    }

    fn is_crowded(&self) -> bool {
        self.crowded.load(Ordering::Relaxed)
    }

    fn run_probe(&self, probe: impl Future<Output = ()> + Send + 'static) {
        let mut probes = self.probes.lock().unwrap_or_else(PoisonError::into_inner);
        while probes.try_join_next().is_some() {}
        probes.spawn(probe);
    }

    fn budgets(&self) -> MutexGuard<'_, Budgets> {
        // nothing in there can be left half done
        self.budgets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn now() -> Instant {
    Stopwatch::start().started()
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::domain::Score;
    use crate::panel::script::{ScriptedJudge, answers, question};

    fn said(scores: &[(&str, Option<f64>)]) -> Judgement {
        let score = |&(id, score): &(&str, Option<f64>)| Score {
            criterion: id.to_owned(),
            score,
            reason: None,
        };
        Judgement { scores: scores.iter().map(score).collect() }
    }

    #[test]
    fn a_judgement_scores_every_criterion_from_0_to_1() {
        let asked = question(&["cutout", "shadow"]);
        let fault = |scores: &[(&str, Option<f64>)]| asked.accepts(&said(scores)).unwrap_err();
        assert_eq!(asked.accepts(&said(&[("shadow", Some(1.0)), ("cutout", None)])), Ok(()));
        assert_eq!(fault(&[("cutout", Some(0.5))]), "nothing was said about shadow");
        assert_eq!(fault(&[("cutout", None), ("shadow", None)]), "nothing was scored");
        assert_eq!(
            fault(&[("cutout", Some(0.5)), ("shadow", Some(87.0))]),
            "shadow is scored 87, not 0 to 1"
        );
        assert!(fault(&[("cutout", Some(f64::NAN)), ("shadow", None)]).contains("NaN"));
    }

    #[test]
    fn a_panel_knows_its_judges_by_name() {
        let panel = Panel::new(vec![
            Arc::new(ScriptedJudge::new("a", &[answers(1)])),
            Arc::new(ScriptedJudge::new("b", &[answers(1)])),
        ]);
        assert_eq!(panel.names().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(panel.judge("b").map(|judge| judge.id().name.as_str()), Some("b"));
        assert!(panel.judge("c").is_none());
    }
}
