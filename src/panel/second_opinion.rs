//! A second opinion is one more judge, asked because the first verdict is in doubt.
//!
//! It is a luxury: it is skipped when time or money is short, and an image whose second judge does
//! not answer keeps its first verdict. What it shows of its judge counts like any other call: it
//! strikes when its time is up, and one whose judge is left by all makes way for the next.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time;
use tokio_util::sync::CancellationToken;

use crate::clock::{Deadline, Stopwatch};
use crate::domain::{Attempt, AttemptOutcome, JudgeId, Judgement, MicroUsd, Route};
use crate::panel::board::Place;
use crate::panel::call::{Asking, Call, Ended, is_timeout};
use crate::panel::choice::{Choice, Draw, InLine, Reach};
use crate::panel::hedge::Bucket;
use crate::panel::rest::Rest;
use crate::panel::seat::Seat;
use crate::panel::{Panel, Question, now};

/// Judges asked for one second opinion at most.
const MOST_TRIES: usize = 2;
/// Second opinions that may be saved up, beyond the share of images.
const SHARE_CAPACITY: f64 = 20.0;

/// A doubtful image.
#[derive(Clone, Copy, Debug)]
pub struct Doubt<'a> {
    /// What the first judge was asked.
    pub question: &'a Question,
    /// Who may be asked, in order; a judge that only stands in never is.
    pub ask: &'a [String],
    /// Who gave the first judgement.
    pub not: &'a str,
    /// Nobody is asked when less time than this is left.
    pub needs: Duration,
    /// When the opinion must be there.
    pub deadline: Deadline,
    /// What may still be spent on the image; `None`: no limit.
    pub cost_left: Option<MicroUsd>,
    /// Since when the check runs.
    pub began: Stopwatch,
    /// Cancelled when the caller hung up: nobody else is asked then.
    pub caller_gone: &'a CancellationToken,
}

/// What the second judge said.
#[derive(Clone, Debug, PartialEq)]
pub struct SecondJudgement {
    /// Whose it is.
    pub judge: JudgeId,
    /// What it said.
    pub judgement: Judgement,
}

/// What came of asking a second judge.
#[derive(Debug, Default)]
pub struct Seconded {
    /// `None`: nobody was asked, or nobody answered in time.
    pub opinion: Option<SecondJudgement>,
    /// What still comes of that opinion, where it left early.
    pub rest: Option<Rest>,
    /// Every attempt in starting order; `said` is for the caller to fill.
    pub attempts: Vec<Attempt>,
}

/// How many of a policy's images may get a second opinion: one counter a policy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SecondOpinionShare(Bucket);

impl Default for SecondOpinionShare {
    fn default() -> Self {
        Self(Bucket::full(SHARE_CAPACITY))
    }
}

impl SecondOpinionShare {
    /// An image was judged under a policy that allows `max_share` second opinions per image.
    pub fn judged(&mut self, max_share: f64) {
        self.0.hold(if 0.0 < max_share { SHARE_CAPACITY } else { 0.0 });
        self.0.refill(max_share.clamp(0.0, 1.0));
    }

    /// Pays for one second opinion; `false`: the share is used up.
    #[must_use]
    pub fn take(&mut self) -> bool {
        self.0.take()
    }
}

impl Panel {
    /// Asks the first free judge of `doubt.ask` that did not give the first judgement, and after a
    /// failure one more.
    pub async fn second_opinion(&self, doubt: Doubt<'_>) -> Seconded {
        let draw = self.draw();
        let mut seats: Vec<&Arc<Seat>> = Vec::with_capacity(doubt.ask.len());
        for seat in doubt.ask.iter().filter_map(|name| self.seat(name)) {
            let is_other = seat.name() != doubt.not && !seat.stands_in();
            if is_other && !seats.iter().any(|one| one.name() == seat.name()) {
                seats.push(seat);
            }
        }
        let peers = self.peers_of(doubt);
        let mut choice = Choice::default();
        let mut seconded = Seconded::default();
        while seconded.attempts.len() < MOST_TRIES && doubt.has_time() {
            let luck = || Draw { chance: draw, now: now(), until: doubt.deadline.instant() };
            let line = InLine::up(seats.iter().copied());
            let Some(seat) = choice.pick(line, Reach::InTurn, luck()) else { break };
            if !doubt.affords(seat, &seconded.attempts) {
                break;
            }
            seats.retain(|one| one.name() != seat.name());
            let Some(in_flight) = seat.enter() else { continue }; // its last place has just gone
            let may_follow = seconded.attempts.is_empty() && !seats.is_empty();
            let others = InLine::up(seats.iter().copied());
            let is_relieved = || {
                let next = || choice.pick(others.iter().copied(), Reach::InTurn, luck());
                may_follow && doubt.has_time() && next().is_some()
            };
            let asking = Asking {
                question: doubt.question,
                began: doubt.began,
                caller_gone: doubt.caller_gone,
                peers: Arc::clone(&peers),
                budget: doubt.began.elapsed() + doubt.deadline.left(),
                jitter: self.draw(),
            };
            let until = doubt.until(may_follow);
            let call = Call::start((seat, in_flight), Route::SecondOpinion, asking, until);
            let openings = self.board.openings();
            match doubt.ask(call, until, openings, is_relieved).await {
                Ended::Judged(attempt, judgement, rest) => {
                    seconded.rest = rest;
                    let judge = attempt.judge.clone();
                    seconded.attempts.push(attempt);
                    seconded.opinion = Some(SecondJudgement { judge, judgement });
                    break;
                }
                Ended::Failed(attempt, _) => {
                    choice.note(attempt.outcome, seat.judge().id(), seat.judge().dialect());
                    seconded.attempts.push(attempt);
                }
            }
        }
        seconded
    }

    /// The places of all that look among those who judged first or may judge now.
    fn peers_of(&self, doubt: Doubt<'_>) -> Arc<[Place]> {
        let names = doubt.ask.iter().map(String::as_str).chain([doubt.not]);
        let looking = names.filter_map(|name| self.seat(name)).filter(|seat| !seat.stands_in());
        let mut places: Vec<Place> = looking.map(|seat| seat.place()).collect();
        places.sort_unstable();
        places.dedup();
        places.into()
    }
}

impl<'a> Doubt<'a> {
    fn has_time(&self) -> bool {
        let left = self.deadline.left();
        !self.caller_gone.is_cancelled() && !left.is_zero() && self.needs <= left
    }

    fn affords(&self, seat: &Seat, attempts: &[Attempt]) -> bool {
        let Some(cost_left) = self.cost_left else { return true };
        let spent: MicroUsd = attempts.iter().map(|attempt| attempt.cost).sum();
        spent + seat.judge().estimate(self.question) <= cost_left
    }

    /// Until when one judge is asked. Where another may follow, and there is time for two, the second's
    /// is kept for it: a judge that hangs must not take both.
    fn until(&self, may_follow: bool) -> Deadline {
        let leaves_room = may_follow && self.needs * 2 <= self.deadline.left();
        if leaves_room { self.deadline.less(self.needs) } else { self.deadline }
    }

    /// Waits for the answer of one judge; not on, once its breaker opens, where `is_relieved`.
    async fn ask(
        &self,
        mut call: Call<'a>,
        until: Deadline,
        mut openings: watch::Receiver<u64>,
        is_relieved: impl Fn() -> bool,
    ) -> Ended {
        let reply = loop {
            let strikes_at = call.strikes_at().unwrap_or(until.instant());
            tokio::select! {
                biased; // an answer that is ready beats a timer that is due
                reply = call.reply() => break Some(reply),
                () = until.passed() => break None,
                Ok(()) = openings.changed() => {
                    if !call.seat().is_closed() && is_relieved() {
                        let why = "its judge is not asked for now";
                        return Ended::Failed(call.give_up(AttemptOutcome::Timeout, why), None);
                    }
                }
                () = time::sleep_until(strikes_at) => call.strike(),
            }
        };
        match reply {
            Some(reply) if !(until.is_past() && is_timeout(&reply)) => call.end(reply),
            Some(_) | None if until < self.deadline => {
                let why = "it had to make way for the next judge";
                Ended::Failed(call.give_up(AttemptOutcome::Timeout, why), None)
            }
            Some(_) | None => {
                let why = "the deadline came first";
                Ended::Failed(call.give_up(AttemptOutcome::Cancelled, why), None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::sync::Arc;

    use crate::panel::Judge;
    use crate::panel::board::Evidence;
    use crate::panel::breaker::Turn;
    use crate::panel::script::{
        ESTIMATE, Script, ScriptedJudge, answers, fails, hangs, limited, question,
    };

    /// Judges a, b and c, and l that stands in; a judged first, and anybody may be asked.
    struct Scene {
        panel: Panel,
        needs_ms: u64,
        left_ms: u64,
        cost_left: Option<MicroUsd>,
        caller_gone: CancellationToken,
    }

    impl Scene {
        fn of(b: Script, c: Script) -> Self {
            Self::between(ScriptedJudge::new("b", &[b]), ScriptedJudge::new("c", &[c]))
        }

        fn between(b: ScriptedJudge, c: ScriptedJudge) -> Self {
            let judges: [Arc<dyn Judge>; 4] = [
                Arc::new(ScriptedJudge::new("a", &[answers(1)])),
                Arc::new(b),
                Arc::new(c),
                Arc::new(ScriptedJudge::new("l", &[answers(0)]).standing_in()),
            ];
            Self {
                panel: Panel::new(judges.to_vec()),
                needs_ms: 1_200,
                left_ms: 4_000,
                cost_left: None,
                caller_gone: CancellationToken::new(),
            }
        }

        async fn ask(&self) -> Seconded {
            let ask = ["l", "a", "gone", "b", "c", "b"].map(str::to_owned);
            let doubt = Doubt {
                question: &question(&["cutout"]),
                ask: &ask,
                not: "a",
                needs: Duration::from_millis(self.needs_ms),
                deadline: Deadline::after(Duration::from_millis(self.left_ms)),
                cost_left: self.cost_left,
                began: Stopwatch::start(),
                caller_gone: &self.caller_gone,
            };
            self.panel.second_opinion(doubt).await
        }

        /// Asks, and compares `b judged 0+300, …` with `expected`.
        async fn check(&self, expected: &str) {
            let seconded = self.ask().await;
            let told = |one: &Attempt| {
                assert_eq!(one.route, Route::SecondOpinion);
                let (name, outcome) = (&one.judge.name, one.outcome.label());
                format!("{name} {outcome} {}+{}", one.started_ms, one.took_ms)
            };
            let story: Vec<String> = seconded.attempts.iter().map(told).collect();
            assert_eq!(story.join(", "), expected);
            let judged = seconded.attempts.iter().find(|one| one.outcome == AttemptOutcome::Judged);
            assert_eq!(seconded.opinion.map(|one| one.judge), judged.map(|one| one.judge.clone()));
            assert!(self.panel.statuses().iter().all(|judge| judge.in_flight == 0));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_judge_is_not_asked_twice() {
        Scene::of(answers(300), answers(1)).check("b judged 0+300").await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_judge_that_asked_us_to_stay_away_is_not_asked() {
        let scene = Scene::of(limited(10, 9_000), answers(300));
        scene.check("b rate_limited 0+10, c judged 10+300").await;
        scene.check("c judged 0+300").await;
    }

    #[tokio::test(start_paused = true)]
    async fn two_failures_are_enough() {
        let overloaded = || fails(10, AttemptOutcome::Overloaded);
        let scene = Scene::of(overloaded(), overloaded());
        scene.check("b overloaded 0+10, c overloaded 10+10").await;
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_asked_when_time_is_short() {
        let mut scene = Scene::of(answers(300), answers(1));
        scene.left_ms = 1_199;
        scene.check("").await;
        scene.left_ms = 1_200;
        scene.check("b judged 0+300").await;
        (scene.needs_ms, scene.left_ms) = (0, 0);
        scene.check("").await;
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_is_asked_only_while_there_is_time() {
        let late = fails(2_900, AttemptOutcome::Unreadable);
        Scene::of(late, answers(1)).check("b timeout 0+2800, c judged 2800+1").await;
        let mut scene = Scene::of(fails(2_000, AttemptOutcome::Unreadable), answers(1));
        scene.left_ms = 2_300;
        scene.check("b unreadable 0+2000").await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_judge_that_hangs_leaves_the_next_its_time() {
        Scene::of(hangs(), answers(300)).check("b timeout 0+2800, c judged 2800+300").await;
        Scene::of(hangs(), hangs()).check("b timeout 0+2800, c cancelled 2800+1200").await;
        let mut scene = Scene::of(hangs(), answers(1));
        scene.left_ms = 2_000;
        scene.check("b cancelled 0+2000").await;
    }

    fn known(name: &str, script: Script) -> ScriptedJudge {
        ScriptedJudge::new(name, &[script]).expecting(650, 900)
    }

    #[tokio::test(start_paused = true)]
    async fn an_opinion_that_came_late_is_evidence_and_no_good_one() {
        let mut scene = Scene::between(known("b", answers(2_500)), known("c", answers(300)));
        scene.needs_ms = 900;
        scene.check("b judged 0+2500").await;
        let b = &scene.panel.statuses()[1];
        assert_eq!(b.strikes, 1);
        assert!((b.score - 2.15).abs() < 1e-9, "{}", b.score);
    }

    #[tokio::test(start_paused = true)]
    async fn a_hung_opinion_strikes_at_its_time_and_not_when_it_is_given_up() {
        let scene = Scene::between(known("b", hangs()), known("c", answers(300)));
        let watching = async {
            time::sleep(Duration::from_millis(1_300)).await;
            scene.panel.statuses()[1].strikes
        };
        assert_eq!(tokio::join!(scene.ask(), watching).1, 1);
        assert_eq!(scene.panel.statuses()[1].strikes, 1, "once");
    }

    #[tokio::test(start_paused = true)]
    async fn an_opinion_whose_judge_is_left_by_all_makes_way() {
        let scene = Scene::between(known("b", hangs()), known("c", answers(300)));
        let opening = async {
            time::sleep(Duration::from_millis(500)).await;
            let evidence = Evidence { route: &[0, 1, 2], turn: Turn::InTurn, jitter: 0.5 };
            let seat = scene.panel.seat("b").unwrap();
            (0..9).for_each(|_| seat.strike(evidence, (Duration::from_secs(5), now())));
        };
        tokio::join!(scene.check("b timeout 0+500, c judged 500+300"), opening);
        // where nobody else may be asked it is waited for all the same
        let scene = Scene::between(known("b", answers(900)), known("c", answers(300)));
        scene.panel.seat("c").unwrap().block(Duration::from_secs(9), now());
        let opening = async {
            time::sleep(Duration::from_millis(500)).await;
            let evidence = Evidence { route: &[0, 1, 2], turn: Turn::InTurn, jitter: 0.5 };
            let seat = scene.panel.seat("b").unwrap();
            (0..9).for_each(|_| seat.strike(evidence, (Duration::from_secs(5), now())));
        };
        tokio::join!(scene.check("b judged 0+900"), opening);
    }

    #[tokio::test(start_paused = true)]
    async fn a_judge_that_minds_its_deadline_is_cancelled_by_the_last_one() {
        let mindful = |name: &str| ScriptedJudge::new(name, &[hangs()]).minding_its_deadline();
        let scene = Scene::between(mindful("b"), mindful("c"));
        scene.check("b timeout 0+2800, c cancelled 2800+1200").await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_measurement_gives_no_second_opinion_even_when_nobody_else_does() {
        let broken = || fails(10, AttemptOutcome::Connect);
        Scene::of(broken(), broken()).check("b connect 0+10, c connect 10+10").await;
        let mut scene = Scene::of(answers(1), answers(1));
        scene.panel =
            Panel::new(vec![Arc::new(ScriptedJudge::new("l", &[answers(0)]).standing_in())]);
        scene.check("").await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_providers_own_cancel_leaves_the_other_to_be_asked() {
        let cancelled = fails(10, AttemptOutcome::Cancelled);
        Scene::of(cancelled, answers(300)).check("b server_error 0+10, c judged 10+300").await;
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_asked_who_cannot_be_paid() {
        let mut scene = Scene::of(fails(10, AttemptOutcome::Timeout), answers(1));
        scene.cost_left = Some(MicroUsd(ESTIMATE.0 - 1));
        scene.check("").await;
        // a call that was given up is billed too
        scene.cost_left = Some(MicroUsd(2 * ESTIMATE.0 - 1));
        scene.check("b timeout 0+10").await;
        scene.cost_left = Some(MicroUsd(2 * ESTIMATE.0));
        scene.check("b timeout 0+10, c judged 10+1").await;
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_asked_for_a_caller_that_is_gone() {
        let scene = Scene::of(answers(300), answers(1));
        scene.caller_gone.cancel();
        scene.check("").await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_stopped_for_money_stops_all() {
        let stopped = fails(10, AttemptOutcome::OverBudget);
        Scene::of(stopped, answers(1)).check("b over_budget 0+10").await;
    }

    #[test]
    fn the_share_holds_beyond_what_was_saved_up() {
        let mut share = SecondOpinionShare::default();
        let asked = (0..1_000).filter(|_| {
            share.judged(0.10);
            share.take()
        });
        assert_eq!(asked.count(), 120 - 1); // the first refill found the purse full
    }

    #[test]
    fn a_share_of_one_never_runs_out_and_one_of_zero_pays_for_none() {
        let mut all = SecondOpinionShare::default();
        (0..100).for_each(|_| {
            all.judged(1.0);
            assert!(all.take());
        });
        let mut none = SecondOpinionShare::default();
        none.judged(0.0);
        assert!(!none.take());
    }
}
