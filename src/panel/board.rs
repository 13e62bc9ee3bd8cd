//! The board holds every judge's breaker under one lock, because whether one may open depends on
//! the others: two judges must not each count on the other being closed.
//!
//! Whoever waits for a judge whose breaker opens is woken through [`Board::openings`].

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio::time::Instant;

use crate::panel::BreakerState;
use crate::panel::breaker::{Breaker, Fault, Others, Rules, Turn};
use crate::telemetry;

/// A judge's place on the board.
pub(crate) type Place = usize;

/// A call's bearing on its judge's breaker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Evidence<'a> {
    /// The places of the route's judges that look at images.
    pub(crate) route: &'a [Place],
    /// Whether the judge was asked in its turn.
    pub(crate) turn: Turn,
    /// 0..1, to spread what follows.
    pub(crate) jitter: f64,
}

/// Every judge's breaker.
#[derive(Debug)]
pub(crate) struct Board {
    names: Vec<String>,
    breakers: Mutex<Vec<Breaker>>,
    /// How many breakers opened so far.
    opened: watch::Sender<u64>,
    /// How often a judge that had all the calls it may have came to have fewer.
    freed: watch::Sender<u64>,
}

impl Board {
    /// All closed; one breaker for each name.
    pub(crate) fn new(judges: impl IntoIterator<Item = (String, Rules)>) -> Self {
        let (names, breakers) =
            judges.into_iter().map(|(name, rules)| (name, Breaker::new(rules))).unzip();
        let (opened, freed) = (watch::Sender::new(0), watch::Sender::new(0));
        Self { names, breakers: Mutex::new(breakers), opened, freed }
    }

    /// Changes when a breaker opens.
    pub(crate) fn openings(&self) -> watch::Receiver<u64> {
        self.opened.subscribe()
    }

    /// Changes when a judge that was full has room. Who subscribes before it looks misses nothing.
    pub(crate) fn rooms(&self) -> watch::Receiver<u64> {
        self.freed.subscribe()
    }

    /// A judge that was full has room.
    pub(crate) fn freed(&self) {
        self.freed.send_modify(|freed| *freed = freed.wrapping_add(1));
    }

    /// What `tell` says of the breaker at `place`; `None`: there is none.
    pub(crate) fn read<T>(&self, place: Place, tell: impl FnOnce(&Breaker) -> T) -> Option<T> {
        self.breakers().get(place).map(tell)
    }

    /// A judgement came before its strike age.
    pub(crate) fn good(&self, place: Place, turn: Turn, now: Instant) {
        self.change(place, "judged", &[], |breaker, _| breaker.good(turn, now));
    }

    /// The judge read the request, and said what weighs nothing.
    pub(crate) fn heard(&self, place: Place) {
        self.change(place, "heard", &[], |breaker, _| breaker.heard());
    }

    /// The judge did not judge.
    pub(crate) fn bad(&self, place: Place, fault: Fault, evidence: Evidence<'_>, now: Instant) {
        let Evidence { route, turn, jitter } = evidence;
        self.change(place, fault.label(), route, |breaker, others| {
            breaker.bad(fault, turn, others, (now, jitter));
        });
    }

    /// The judge said 429.
    pub(crate) fn limited(&self, place: Place, now: Instant) {
        self.change(place, "limited", &[], |breaker, _| breaker.limited(now));
    }

    /// Whether an image may be shown to the judge beside the one that is asked; see
    /// [`Breaker::probe`].
    pub(crate) fn probe(&self, place: Place, now: Instant, pay: impl FnOnce() -> bool) -> bool {
        self.breakers().get_mut(place).is_some_and(|breaker| breaker.probe(now, pay))
    }

    /// A probe is over, however it ended.
    pub(crate) fn probe_ended(&self, place: Place) {
        if let Some(breaker) = self.breakers().get_mut(place) {
            breaker.probe_ended();
        }
    }

    /// Changes one breaker, and tells of it when that moved it.
    fn change(
        &self,
        place: Place,
        why: &'static str,
        route: &[Place],
        change: impl FnOnce(&mut Breaker, Others),
    ) {
        let moved = {
            let mut breakers = self.breakers();
            let others = others(&breakers, place, route);
            let Some(breaker) = breakers.get_mut(place) else { return };
            let before = breaker.state();
            change(breaker, others);
            let after = breaker.state();
            (before != after).then_some((before, after, breaker.score()))
        };
        let (Some((before, after, score)), Some(name)) = (moved, self.names.get(place)) else {
            return;
        };
        telemetry::health::count_breaker_transition(name, after.label());
        match (before, after) {
            (BreakerState::Closed, BreakerState::Open | BreakerState::HalfOpen) => {
                tracing::warn!(
                    judge = name,
                    why,
                    score,
                    "the breaker opened: it is not asked for now"
                );
                self.opened.send_modify(|opened| *opened = opened.wrapping_add(1));
            }
            (_, BreakerState::Closed) => {
                tracing::info!(judge = name, "the breaker closed: it is asked again");
            }
            (_, BreakerState::Open | BreakerState::HalfOpen) => {
                tracing::debug!(judge = name, score, state = after.label(), "probed");
            }
        }
    }

    fn breakers(&self) -> MutexGuard<'_, Vec<Breaker>> {
        // nothing in there can be left half done: a poisoned lock is as good as new
        self.breakers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Those of `route` beside the judge at `place`.
fn others(breakers: &[Breaker], place: Place, route: &[Place]) -> Others {
    let mut others = Others::default();
    for other in route.iter().filter(|&&other| other != place) {
        match breakers.get(*other).map(Breaker::is_closed) {
            Some(true) => others.closed += 1,
            Some(false) => others.open += 1,
            None => {}
        }
    }
    others
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    const STRIKE: Fault = Fault::Strike { answers: false };

    fn board(judges: usize) -> Board {
        Board::new((0..judges).map(|at| (format!("j{at}"), Rules::default())))
    }

    fn strikes(board: &Board, place: Place, route: &[Place], times: u32) {
        let evidence = Evidence { route, turn: Turn::InTurn, jitter: 0.5 };
        (0..times).for_each(|_| board.bad(place, STRIKE, evidence, Instant::now()));
    }

    fn closed(board: &Board, place: Place) -> bool {
        board.read(place, Breaker::is_closed).unwrap()
    }

    #[test]
    fn of_two_judges_that_are_both_down_one_stays_closed() {
        let board = board(2);
        (0..50).for_each(|_| (0..2).for_each(|place| strikes(&board, place, &[0, 1], 1)));
        assert_ne!(closed(&board, 0), closed(&board, 1));
    }

    #[test]
    fn judges_of_other_routes_count_neither_way() {
        let board = board(3);
        strikes(&board, 0, &[0], 50);
        assert!(closed(&board, 0), "it is the only one of its route");
        strikes(&board, 2, &[1, 2], 5);
        assert!(!closed(&board, 2));
        strikes(&board, 0, &[0, 1], 5);
        assert!(!closed(&board, 0), "j2 is open, and no judge of this route");
    }

    #[test]
    fn an_opening_is_told_once() {
        let board = board(2);
        let mut openings = board.openings();
        strikes(&board, 0, &[0, 1], 4);
        assert!(!openings.has_changed().unwrap());
        strikes(&board, 0, &[0, 1], 4);
        assert_eq!(*openings.borrow_and_update(), 1);
        strikes(&board, 0, &[0, 1], 4);
        assert!(!openings.has_changed().unwrap());
    }

    #[test]
    fn nobody_sits_past_the_last_place() {
        let board = board(1);
        strikes(&board, 7, &[7, 8], 9);
        board.good(7, Turn::Probe, Instant::now());
        assert!(!board.probe(7, Instant::now(), || true));
        assert_eq!(board.read(7, Breaker::score), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn a_route_always_has_a_closed_judge(
            events in prop::collection::vec((0_usize..4, 0_u32..8), 0..200),
        ) {
            let board = board(4);
            for (place, times) in events {
                strikes(&board, place, &[0, 1, 2, 3], times);
                prop_assert!((0..4).any(|place| closed(&board, place)));
            }
        }
    }
}
