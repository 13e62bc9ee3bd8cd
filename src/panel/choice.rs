//! Who may still be asked about this image, after what the judges so far said to it.
//!
//! Most failures say nothing about the next judge. Two do: a request refused by one dialect is
//! first of all our mistake in that dialect, and a provider that will not look at the image will
//! not look through another of its models. When two independent ones say the same, it is the image.
//!
//! The policy's order is sticky: latency never changes it (an unused judge's estimate is never
//! refreshed, so a ranking by it can freeze on the wrong one, and verdicts would wander between
//! judges). A breaker, a block, a full limit or a pace that is used up takes a judge out of it; load
//! may reorder those behind the first.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::{AttemptOutcome, JudgeId};
use crate::panel::seat::{Seat, Standing};

/// What each place further back costs, beside …
const COST_OF_RANK: f64 = 0.25;
/// … what a judge's load above this share of its limit does.
const FREE_LOAD: f64 = 0.7;
const COST_OF_LOAD: f64 = 3.0;
/// This many independent parties saying the same settles it.
const SETTLED: usize = 2;

/// A judge and its place in the policy's order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InLine<'a> {
    /// 0 is asked first.
    pub(crate) rank: u32,
    /// Who.
    pub(crate) seat: &'a Arc<Seat>,
}

impl<'a> InLine<'a> {
    /// `seats` in their order.
    pub(crate) fn up(seats: impl IntoIterator<Item = &'a Arc<Seat>>) -> Vec<Self> {
        (0..).zip(seats).map(|(rank, seat)| Self { rank, seat }).collect()
    }
}

/// How far to go to find somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// To judges in their turn: closed, not blocked, within their pace and below their limit.
    InTurn,
    /// Where there is none, to those that are over their pace, then to those whose breaker is open
    /// and those that have as many calls as they are thought to take: that was learnt, and one call
    /// more finds out whether it still holds. Not to those that have as many as they may have.
    OutOfTurn,
    /// At last to these too, and to those that asked us to stay away, the soonest free first; not to
    /// those who want that for longer than there is time. They are waited for, not asked.
    Anybody,
}

/// An image's luck, now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draw {
    /// 0..1: whether it is let through to a judge that just came back.
    pub(crate) chance: f64,
    /// Now.
    pub(crate) now: Instant,
    /// When the judgement must be there.
    pub(crate) until: Instant,
}

/// What the failures so far leave to be asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Choice {
    /// Dialects in which the request was refused.
    bad_dialects: Vec<&'static str>,
    /// Providers that would not look at the content.
    refusing: Vec<String>,
    /// Whether the failure was ours: nobody else is asked.
    stopped: bool,
}

impl Choice {
    /// Takes in how an attempt failed.
    pub(crate) fn note(&mut self, outcome: AttemptOutcome, id: &JudgeId, dialect: &'static str) {
        match outcome {
            AttemptOutcome::BadRequest => {
                if !self.bad_dialects.contains(&dialect) {
                    self.bad_dialects.push(dialect);
                }
            }
            AttemptOutcome::Refused => {
                if !self.refusing.contains(&id.provider) {
                    self.refusing.push(id.provider.clone());
                }
            }
            // our own cancel: a provider's counts as its error before it comes here
            AttemptOutcome::Cancelled | AttemptOutcome::OverBudget => self.stopped = true,
            AttemptOutcome::Judged
            | AttemptOutcome::Empty
            | AttemptOutcome::Truncated
            | AttemptOutcome::Unreadable
            | AttemptOutcome::Blind
            | AttemptOutcome::RateLimited
            | AttemptOutcome::Overloaded
            | AttemptOutcome::ServerError
            | AttemptOutcome::Auth
            | AttemptOutcome::Connect
            | AttemptOutcome::Timeout => {}
        }
    }

    /// Whether nobody else may be asked.
    pub(crate) fn is_settled(&self) -> bool {
        self.stopped || SETTLED <= self.bad_dialects.len() || SETTLED <= self.refusing.len()
    }

    /// Who of `line` is asked now, if anybody may be.
    pub(crate) fn pick<'a>(
        &self,
        line: impl IntoIterator<Item = InLine<'a>>,
        reach: Reach,
        draw: Draw,
    ) -> Option<&'a Arc<Seat>> {
        if self.is_settled() {
            return None;
        }
        let allowed = line.into_iter().filter(|one| self.allows(one.seat));
        let standing = |one: InLine<'a>| (one, one.seat.standing(draw.chance, draw.now));
        let all: Vec<(InLine<'a>, Standing)> = allowed.map(standing).collect();
        let cheapest = |of: fn(&Standing) -> bool| {
            let such = all.iter().filter(|(_, standing)| of(standing));
            such.min_by(|one, other| cost(one).total_cmp(&cost(other)))
        };
        let next = cheapest(|at| at.in_turn);
        let over_pace = || cheapest(|at| at.over_pace);
        let out_of_turn = || {
            let is_free = |at: &Standing| at.blocked_for.is_none() && !at.is_full;
            let free = all.iter().filter(|(_, standing)| is_free(standing));
            // nobody is well: as if nobody were ill, those that suffer least first
            free.min_by(|(one, at), (other, stands)| {
                let full = (!at.has_room).cmp(&!stands.has_room);
                let ill = at.score.total_cmp(&stands.score);
                let busy = at.load.total_cmp(&stands.load);
                full.then(ill).then(busy).then(one.rank.cmp(&other.rank))
            })
        };
        let left = draw.until.saturating_duration_since(draw.now);
        let waited_for = || {
            let back_in_time = |at: &Standing| at.blocked_for.is_none_or(|wait| wait < left);
            let in_time = all.iter().filter(|(_, standing)| back_in_time(standing));
            in_time.min_by_key(|(_, standing)| standing.blocked_for)
        };
        let next = match reach {
            Reach::InTurn => next,
            Reach::OutOfTurn => next.or_else(over_pace).or_else(out_of_turn),
            Reach::Anybody => next.or_else(over_pace).or_else(out_of_turn).or_else(waited_for),
        };
        next.map(|(one, _)| one.seat)
    }

    /// How long until the first of `line` that asked us to stay away may be asked again; `None`: none
    /// will be back in time.
    pub(crate) fn back_in<'a>(
        &self,
        line: impl IntoIterator<Item = InLine<'a>>,
        draw: Draw,
    ) -> Option<Duration> {
        if self.is_settled() {
            return None;
        }
        let allowed = line.into_iter().filter(|one| self.allows(one.seat));
        let left = draw.until.saturating_duration_since(draw.now);
        let wait = |one: InLine<'_>| {
            let wait = one.seat.standing(draw.chance, draw.now).blocked_for?;
            // back is not enough: it must still be able to answer
            (wait + one.seat.p50().unwrap_or_default() < left).then_some(wait)
        };
        allowed.filter_map(wait).min()
    }

    /// Whether one of `line` would be asked if it might have one call more.
    pub(crate) fn is_waiting_for_room<'a>(
        &self,
        line: impl IntoIterator<Item = InLine<'a>>,
        draw: Draw,
    ) -> bool {
        let is_full = |one: InLine<'_>| one.seat.standing(draw.chance, draw.now).is_full;
        !self.is_settled() && line.into_iter().any(|one| self.allows(one.seat) && is_full(one))
    }

    fn allows(&self, seat: &Seat) -> bool {
        let judge = seat.judge();
        !self.bad_dialects.contains(&judge.dialect())
            && !self.refusing.contains(&judge.id().provider)
    }
}

/// The policy's first judge keeps its place while it has room; those behind it may change theirs.
fn cost((one, standing): &(InLine<'_>, Standing)) -> f64 {
    if one.rank == 0 {
        return 0.0;
    }
    let rank = 1.0 + COST_OF_RANK * f64::from(one.rank);
    rank * (1.0 + COST_OF_LOAD * (standing.load - FREE_LOAD).max(0.0))
}

/// Whether asking the same judge again could help: for a route of one.
pub(crate) fn is_worth_repeating(outcome: AttemptOutcome) -> bool {
    match outcome {
        AttemptOutcome::Empty
        | AttemptOutcome::Truncated
        | AttemptOutcome::Unreadable
        | AttemptOutcome::Blind
        | AttemptOutcome::RateLimited
        | AttemptOutcome::Overloaded
        | AttemptOutcome::ServerError
        | AttemptOutcome::Connect
        | AttemptOutcome::Timeout => true,
        AttemptOutcome::Judged
        | AttemptOutcome::Refused
        | AttemptOutcome::BadRequest
        | AttemptOutcome::Auth
        | AttemptOutcome::Cancelled
        | AttemptOutcome::OverBudget => false,
    }
}

/// Whether such a failure, where it came at once, cost nothing: no bill and no wait that was asked
/// for.
pub(crate) fn is_free_when_fast(outcome: AttemptOutcome) -> bool {
    match outcome {
        AttemptOutcome::Overloaded | AttemptOutcome::ServerError | AttemptOutcome::Connect => true,
        AttemptOutcome::Judged
        | AttemptOutcome::Refused
        | AttemptOutcome::Empty
        | AttemptOutcome::Truncated
        | AttemptOutcome::Unreadable
        | AttemptOutcome::Blind
        | AttemptOutcome::RateLimited
        | AttemptOutcome::BadRequest
        | AttemptOutcome::Auth
        | AttemptOutcome::Timeout
        | AttemptOutcome::Cancelled
        | AttemptOutcome::OverBudget => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::time::Duration;

    use crate::panel::board::{Board, Evidence};
    use crate::panel::breaker::{Rules, Turn};
    use crate::panel::script::{ScriptedJudge, answers};
    use crate::panel::seat::InFlight;
    use crate::panel::{Judge, now};

    /// a and b share a dialect, b and c a provider.
    fn seats() -> Vec<Arc<Seat>> {
        let judge = |name: &str| ScriptedJudge::new(name, &[answers(1)]);
        let judges = [
            judge("a").speaking("openai").served_by("acme"),
            judge("b").speaking("openai").served_by("zenith"),
            judge("c").speaking("gemini").served_by("zenith"),
        ];
        let rules = Rules::default();
        let board = Board::new(judges.iter().map(|one| (one.id().name.clone(), rules)));
        let board = Arc::new(board);
        let seat = |(place, judge)| {
            let judge: Arc<dyn Judge> = Arc::new(judge);
            Arc::new(Seat::new(judge, (Arc::clone(&board), place), (rules, Some(10))))
        };
        judges.into_iter().enumerate().map(seat).collect()
    }

    fn pick<'a>(choice: &Choice, seats: &'a [Arc<Seat>], reach: Reach) -> Option<&'a str> {
        let now = now();
        let draw = Draw { chance: 0.5, now, until: now + Duration::from_secs(5) };
        choice.pick(InLine::up(seats), reach, draw).map(|seat| seat.name())
    }

    fn trip(seats: &[Arc<Seat>], at: usize) {
        let evidence = Evidence { route: &[0, 1, 2], turn: Turn::InTurn, jitter: 0.5 };
        (0..40).for_each(|_| seats[at].strike(evidence, (Duration::from_secs(5), now())));
    }

    fn enter(seats: &[Arc<Seat>], at: usize, calls: usize) -> Vec<InFlight> {
        (0..calls).map(|_| seats[at].enter().unwrap()).collect()
    }

    /// Who is asked next after `failures`, each by the judge at that place.
    #[track_caller]
    fn check(failures: &[(usize, AttemptOutcome)], expected: Option<&str>) {
        let seats = seats();
        let mut choice = Choice::default();
        for &(at, outcome) in failures {
            choice.note(outcome, seats[at].judge().id(), seats[at].judge().dialect());
        }
        assert_eq!(pick(&choice, &seats, Reach::InTurn), expected, "after {failures:?}");
    }

    #[test]
    fn the_policy_s_order_holds() {
        check(&[], Some("a"));
        check(&[(1, AttemptOutcome::ServerError), (2, AttemptOutcome::Auth)], Some("a"));
    }

    #[test]
    fn a_bad_request_rules_out_its_dialect() {
        check(&[(0, AttemptOutcome::BadRequest)], Some("c"));
        check(&[(2, AttemptOutcome::BadRequest)], Some("a"));
        // the same dialect saying so twice settles nothing
        check(&[(0, AttemptOutcome::BadRequest), (1, AttemptOutcome::BadRequest)], Some("c"));
        check(&[(0, AttemptOutcome::BadRequest), (2, AttemptOutcome::BadRequest)], None);
    }

    #[test]
    fn a_refusal_rules_out_its_provider() {
        check(&[(0, AttemptOutcome::Refused)], Some("b"));
        check(&[(1, AttemptOutcome::Refused)], Some("a"));
        check(&[(1, AttemptOutcome::Refused), (2, AttemptOutcome::Refused)], Some("a"));
        check(&[(0, AttemptOutcome::Refused), (2, AttemptOutcome::Refused)], None);
    }

    #[test]
    fn both_rules_hold_together() {
        check(&[(0, AttemptOutcome::BadRequest), (1, AttemptOutcome::Refused)], None);
    }

    #[test]
    fn what_we_stopped_stops_all() {
        check(&[(0, AttemptOutcome::OverBudget)], None);
        check(&[(0, AttemptOutcome::Cancelled)], None);
    }

    #[test]
    fn a_blocked_judge_is_better_than_none_only_where_one_is_needed() {
        let (seats, choice, now) = (seats(), Choice::default(), now());
        let name = |reach| pick(&choice, &seats, reach);
        seats[0].block(Duration::from_secs(5), now);
        assert_eq!((name(Reach::InTurn), name(Reach::Anybody)), (Some("b"), Some("b")));
        seats[1].block(Duration::from_secs(3), now);
        seats[2].block(Duration::from_secs(4), now);
        assert_eq!((name(Reach::OutOfTurn), name(Reach::Anybody)), (None, Some("b")));
    }

    #[test]
    fn who_wants_to_be_left_alone_for_longer_than_there_is_time_is() {
        let (seats, choice, now) = (seats(), Choice::default(), now());
        seats.iter().for_each(|seat| seat.block(Duration::from_secs(6), now));
        assert_eq!(pick(&choice, &seats, Reach::Anybody), None);
    }

    #[test]
    fn an_open_breaker_takes_a_judge_out_of_the_order() {
        let (seats, choice) = (seats(), Choice::default());
        trip(&seats, 0);
        assert_eq!(pick(&choice, &seats, Reach::Anybody), Some("b"));
        trip(&seats, 1);
        assert_eq!(pick(&choice, &seats, Reach::Anybody), Some("c"));
    }

    #[test]
    fn a_judge_over_its_pace_is_better_than_an_ill_one() {
        let (seats, choice, now) = (seats(), Choice::default(), now());
        // in its turn it has to be sent next to nothing for two seconds from now
        for ago in [1_600, 600] {
            let then = now - Duration::from_millis(ago);
            seats[1].block(Duration::from_millis(500), then);
            seats[1].limited(then);
        }
        assert_eq!(pick(&choice, &seats, Reach::OutOfTurn), Some("a"));
        seats[0].block(Duration::from_secs(4), now);
        assert_eq!(pick(&choice, &seats, Reach::OutOfTurn), Some("c"));
        trip(&seats, 2);
        assert_eq!(pick(&choice, &seats, Reach::InTurn), None);
        assert_eq!(pick(&choice, &seats, Reach::OutOfTurn), Some("b"));
    }

    #[test]
    fn where_nobody_is_well_the_least_ill_is_asked() {
        let (seats, choice) = (seats(), Choice::default());
        trip(&seats, 0);
        trip(&seats, 1);
        seats[2].block(Duration::from_secs(4), now());
        assert_eq!(pick(&choice, &seats, Reach::InTurn), None);
        assert_eq!(pick(&choice, &seats, Reach::OutOfTurn), Some("a"));
    }

    #[test]
    fn load_reorders_those_behind_the_first() {
        let (seats, choice) = (seats(), Choice::default());
        let name = || pick(&choice, &seats, Reach::InTurn);
        let _nine = enter(&seats, 0, 9);
        assert_eq!(name(), Some("a"), "it keeps its place while it has room");
        let _ten = enter(&seats, 0, 1);
        assert_eq!(name(), Some("b"));
        let _others = enter(&seats, 1, 9);
        assert_eq!(name(), Some("c"));
    }

    #[test]
    fn a_judge_is_asked_for_more_than_it_is_thought_to_take_before_a_blocked_one() {
        let (seats, choice) = (seats(), Choice::default());
        seats[0].block(Duration::from_secs(1), now());
        seats.iter().for_each(|seat| seat.crowd(now()));
        let _busy = [enter(&seats, 1, 7), enter(&seats, 2, 7)];
        assert_eq!(pick(&choice, &seats, Reach::InTurn), None);
        assert_eq!(pick(&choice, &seats, Reach::OutOfTurn), Some("b"));
    }

    #[test]
    fn nobody_is_asked_for_more_than_it_may_have() {
        let (seats, choice) = (seats(), Choice::default());
        let full: Vec<_> = (0..3).map(|at| enter(&seats, at, 10)).collect();
        assert!(seats[0].enter().is_none());
        assert_eq!(pick(&choice, &seats, Reach::OutOfTurn), None);
        assert_eq!(pick(&choice, &seats, Reach::Anybody), Some("a"), "it is waited for");
        drop(full);
        assert_eq!(pick(&choice, &seats, Reach::OutOfTurn), Some("a"));
    }
}
