//! Asking a judge beside the serving path: nobody waits for it, and nobody learns from it who is
//! to be asked.
//!
//! Such a call feeds neither breaker nor latency. It is made only when the judge is well and idle,
//! waits longer than any check would, and is dropped when a check wants the room, so what it shows
//! of the judge's speed and failures is not what a check would meet, and taking it in would change
//! when checks hedge and whom they ask. A 429 is another matter: the provider counts its calls
//! together with ours, so the limit and the time to stay away are taken in.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time;

use crate::clock::{Deadline, Stopwatch};
use crate::domain::{Attempt, AttemptOutcome, MicroUsd, Route};
use crate::panel::call::cut_short;
use crate::panel::seat::aside::Entered;
pub use crate::panel::seat::aside::NotAsked;
use crate::panel::{Answered, AttemptError, Judge, Panel, Question, now};

/// Between two looks at whether the gate has become crowded.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Why a call was dropped for a check.
const WANTED: &str = "a check wanted the room";

/// Leave to ask one judge beside the serving path.
#[derive(Debug)]
pub struct Aside(Entered);

/// Why a call was dropped.
#[derive(Clone, Copy, Debug)]
enum Dropped {
    /// A check wanted the room before anything was sent.
    Unsent,
    /// A check wants the room.
    MadeWay,
    /// Its own time was up.
    Late,
}

impl Panel {
    /// Leave to ask `judge` where nobody waits for it, if at most `most` such calls may be under way
    /// with it.
    ///
    /// # Errors
    /// Why it is not to be asked now.
    pub fn aside(&self, judge: &str, most: u32) -> Result<Aside, NotAsked> {
        if self.must_make_way(judge) {
            return Err(NotAsked::Crowded);
        }
        let seat = self.seat(judge).ok_or(NotAsked::Unknown)?;
        seat.enter_aside(most, now()).map(Aside)
    }

    /// A call to `judge` that was to be made and was not; `None`: there is no such judge.
    #[must_use]
    pub fn not_asked(&self, judge: &str, why: &str) -> Option<Attempt> {
        let (seat, watch) = (self.seat(judge)?, Stopwatch::start());
        let none = cut_short(seat, Route::Shadow, (watch, watch), AttemptOutcome::Cancelled);
        Some(Attempt { detail: Some(format!("not asked: {why}")), ..none })
    }

    /// Calls under way beside the serving path.
    #[must_use]
    pub fn in_flight_aside(&self) -> u32 {
        self.seats.iter().map(|seat| seat.in_flight_aside()).sum()
    }

    /// Whether `judge` looks at images and is asked in its turn.
    #[must_use]
    pub fn is_well(&self, judge: &str) -> bool {
        self.seat(judge).is_some_and(|seat| !seat.stands_in() && seat.is_closed())
    }

    fn must_make_way(&self, judge: &str) -> bool {
        self.is_crowded() || self.is_waited_for(judge)
    }
}

impl Aside {
    /// Who is asked.
    #[must_use]
    pub fn judge(&self) -> &dyn Judge {
        self.0.seat().judge()
    }

    /// Asks about an image whose check `began` then; `said` is for the caller to fill.
    pub async fn ask(
        self,
        panel: &Panel,
        question: &Question,
        (began, deadline): (Stopwatch, Deadline),
    ) -> Attempt {
        let watch = Stopwatch::start();
        let seat = self.0.seat();
        let estimate = seat.judge().estimate(question);
        let mut way = pin!(self.0.way().notified());
        way.as_mut().enable();
        let judging = seat.judge().judge(question, deadline);
        // a judge that breaks must not take who asks with it
        let mut reply = pin!(AssertUnwindSafe(judging).catch_unwind());
        // a check that began before we listened has told nobody
        let replied = if seat.is_overfull() {
            Err(Dropped::Unsent)
        } else {
            loop {
                tokio::select! {
                    biased; // an answer that is there is taken
                    reply = reply.as_mut() => break Ok(reply),
                    () = way.as_mut() => break Err(Dropped::MadeWay),
                    () = deadline.passed() => break Err(Dropped::Late),
                    () = time::sleep(LOOK_EVERY) => {
                        if panel.must_make_way(seat.name()) {
                            break Err(Dropped::MadeWay);
                        }
                    }
                }
            }
        };
        let attempt = |outcome| cut_short(seat, Route::Shadow, (began, watch), outcome);
        match replied {
            Ok(Ok(Ok(answered))) => judged(question, answered, attempt),
            Ok(Ok(Err(error))) => self.failed(error, estimate, attempt),
            Ok(Err(_panic)) => {
                let error = AttemptError::new(AttemptOutcome::ServerError, "the judge broke");
                self.failed(error, estimate, attempt)
            }
            Err(dropped) => {
                let (outcome, why, cost) = match dropped {
                    Dropped::Unsent => (AttemptOutcome::Cancelled, WANTED, MicroUsd::default()),
                    Dropped::MadeWay => (AttemptOutcome::Cancelled, WANTED, estimate),
                    Dropped::Late => (AttemptOutcome::Timeout, "its time was up", estimate),
                };
                Attempt { cost, detail: Some(why.to_owned()), ..attempt(outcome) }
            }
        }
    }

    fn failed(
        &self,
        error: AttemptError,
        estimate: MicroUsd,
        attempt: impl Fn(AttemptOutcome) -> Attempt,
    ) -> Attempt {
        let AttemptError { outcome, detail, retry_after, tokens, mut cost, request_id } = error;
        let seat = self.0.seat();
        let is_limited = outcome == AttemptOutcome::RateLimited;
        if (is_limited || outcome == AttemptOutcome::Overloaded)
            && let Some(retry_after) = retry_after
        {
            seat.block(retry_after, now());
            if !is_limited {
                seat.crowd(now());
            }
        }
        if is_limited {
            seat.limited(now());
        }
        if outcome == AttemptOutcome::Timeout && cost == MicroUsd::default() {
            cost = estimate; // it was sent and not answered
        }
        // an error is no judgement, and what we cancel never replies
        let is_none = matches!(outcome, AttemptOutcome::Judged | AttemptOutcome::Cancelled);
        let outcome = if is_none { AttemptOutcome::ServerError } else { outcome };
        Attempt { tokens, cost, request_id, detail: Some(detail), ..attempt(outcome) }
    }
}

fn judged(
    question: &Question,
    answered: Answered,
    attempt: impl Fn(AttemptOutcome) -> Attempt,
) -> Attempt {
    let Answered { judgement, tokens, cost, request_id, .. } = answered;
    let known = Attempt { tokens, cost, request_id, ..attempt(AttemptOutcome::Judged) };
    match question.accepts(&judgement) {
        Ok(()) => Attempt { scores: judgement.scores, ..known },
        Err(fault) => {
            let outcome = AttemptOutcome::Unreadable;
            Attempt { outcome, detail: Some(fault), ..known }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::sync::Arc;

    use crate::panel::script::Script;
    use crate::panel::script::{ScriptedJudge, answers, fails, hangs, limited, question};
    use crate::panel::{BreakerState, Care, JudgeStatus};

    fn panel(scripts: &[Script], max_in_flight: Option<u32>) -> Panel {
        let judge: Arc<dyn Judge> = Arc::new(ScriptedJudge::new("a", scripts));
        Panel::seated(vec![(judge, Care { max_in_flight, ..Care::default() })], || 0.5)
    }

    fn status(panel: &Panel) -> JudgeStatus {
        panel.statuses().remove(0)
    }

    async fn ask(panel: &Panel, within_ms: u64) -> Attempt {
        let within = Deadline::after(Duration::from_millis(within_ms));
        let aside = panel.aside("a", 4).unwrap();
        aside.ask(panel, &question(&["cutout"]), (Stopwatch::start(), within)).await
    }

    fn told(attempt: &Attempt) -> String {
        format!("{} {} {}", attempt.route.label(), attempt.outcome.label(), attempt.took_ms)
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_learnt_of_speed_or_health() {
        let scripts = [
            answers(9_000),
            fails(10, AttemptOutcome::ServerError),
            fails(10, AttemptOutcome::Auth),
            fails(10, AttemptOutcome::Unreadable),
            hangs(),
        ];
        let panel = panel(&scripts, None);
        let before = status(&panel);
        let mut all = Vec::new();
        for _ in 0..30 {
            all.push(told(&ask(&panel, 30_000).await));
        }
        assert_eq!(all[0], "shadow judged 9000");
        assert_eq!(all[1], "shadow server_error 10");
        assert_eq!(all[29], "shadow timeout 30000");
        assert_eq!(status(&panel), before, "neither breaker, pace nor limit");
        assert_eq!(before.breaker, BreakerState::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn a_429_holds_for_checks_too() {
        let panel = panel(&[limited(10, 5_000)], None);
        assert_eq!(told(&ask(&panel, 30_000).await), "shadow rate_limited 10");
        let after = status(&panel);
        assert_eq!(after.blocked_for_ms, Some(5_000));
        assert!(after.limit < 256, "{}", after.limit);
        assert_eq!(panel.aside("a", 4).map(drop), Err(NotAsked::Busy));
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_finds_the_judges_room_as_if_nobody_were_shown_anything() {
        let panel = panel(&[hangs()], Some(2));
        let seat = Arc::clone(panel.seat("a").unwrap());
        let asking = ask(&panel, 30_000);
        let mut asking = pin!(asking);
        assert!(asking.as_mut().now_or_never().is_none());
        assert_eq!(panel.in_flight_aside(), 1);
        assert_eq!(panel.aside("a", 4).map(drop), Err(NotAsked::Busy), "half of what it takes");
        let first = seat.enter().unwrap();
        assert!(asking.as_mut().now_or_never().is_none(), "there is room for both");
        let second = seat.enter().unwrap();
        assert!(seat.enter().is_none(), "checks alone may fill it");
        let dropped = asking.await;
        assert_eq!(told(&dropped), "shadow cancelled 0");
        assert!(dropped.cost > MicroUsd::default(), "what was sent is billed");
        assert_eq!(panel.in_flight_aside(), 0);
        drop((first, second));
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_that_came_between_leave_and_call_was_told_to_nobody() {
        let panel = panel(&[hangs()], Some(2));
        let seat = Arc::clone(panel.seat("a").unwrap());
        let leave = panel.aside("a", 4).unwrap();
        // both places go to checks while nobody listens yet
        let held = (seat.enter().unwrap(), seat.enter().unwrap());
        let within = Deadline::after(Duration::from_secs(30));
        let dropped = leave.ask(&panel, &question(&["cutout"]), (Stopwatch::start(), within)).await;
        assert_eq!(told(&dropped), "shadow cancelled 0");
        assert_eq!(dropped.cost, MicroUsd::default(), "nothing was sent");
        assert_eq!(panel.in_flight_aside(), 0);
        drop(held);
    }

    #[test]
    fn a_check_and_a_call_beside_it_that_begin_at_once_never_both_stay() {
        // as many as the judge takes are there already but one, which both are after
        for _ in 0..2_000 {
            let panel = panel(&[hangs()], Some(1));
            let seat = Arc::clone(panel.seat("a").unwrap());
            let start = std::sync::Barrier::new(2);
            let (check, leave) = std::thread::scope(|scope| {
                let check = scope.spawn(|| {
                    start.wait();
                    seat.enter()
                });
                start.wait();
                let leave = panel.aside("a", 4);
                (check.join().unwrap(), leave)
            });
            assert!(check.is_some(), "a check finds the room as if it were alone");
            let stays = leave.is_ok() && !seat.is_overfull();
            assert!(!stays, "the call would be sent beside the check");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_or_images_that_wait_for_the_judge_end_it() {
        let panel = panel(&[hangs()], None);
        let (waiting, nobody) = (["a"].into(), [].into());
        for crowd in [true, false] {
            let mut asking = pin!(ask(&panel, 30_000));
            assert!(asking.as_mut().now_or_never().is_none());
            panel.mind_crowd(crowd);
            panel.mind_waited_for(if crowd { &nobody } else { &waiting });
            assert_eq!(asking.await.outcome, AttemptOutcome::Cancelled);
            assert_eq!(panel.aside("a", 4).map(drop), Err(NotAsked::Crowded));
            panel.mind_crowd(false);
            panel.mind_waited_for(&nobody);
        }
    }

    #[test]
    fn only_so_many_are_asked_and_nobody_who_only_stands_in() {
        let panel = panel(&[hangs()], None);
        let held: Vec<_> = (0..4).map(|_| panel.aside("a", 4).unwrap()).collect();
        assert_eq!(panel.aside("a", 4).map(drop), Err(NotAsked::Enough));
        assert_eq!(panel.aside("b", 4).map(drop), Err(NotAsked::Unknown));
        drop(held);
        let stand_in: Arc<dyn Judge> = Arc::new(ScriptedJudge::new("l", &[hangs()]).standing_in());
        assert_eq!(Panel::new(vec![stand_in]).aside("l", 4).map(drop), Err(NotAsked::Unknown));
    }
}
