//! Who may still be asked about this image, after what the judges so far said to it.
//!
//! Most failures say nothing about the next judge. Two do: a request refused by one dialect is
//! first of all our mistake in that dialect, and a provider that will not look at the image will
//! not look through another of its models. When two independent ones say the same, it is the image.

use tokio::time::Instant;

use crate::domain::{AttemptOutcome, JudgeId};
use crate::panel::seat::Seat;

/// This many independent parties saying the same settles it.
const SETTLED: usize = 2;

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

    /// The first of `seats` that may be asked now. Those that asked us to stay away are left out;
    /// with `even_blocked` the one whose block ends first is better than none.
    pub(crate) fn pick<'a>(
        &self,
        seats: impl IntoIterator<Item = &'a Seat>,
        now: Instant,
        even_blocked: bool,
    ) -> Option<&'a Seat> {
        if self.is_settled() {
            return None;
        }
        let allowed = seats.into_iter().filter(|seat| self.allows(seat));
        let soonest = allowed.min_by_key(|seat| seat.blocked_for(now))?; // not blocked: `None`, least
        (even_blocked || soonest.blocked_for(now).is_none()).then_some(soonest)
    }

    fn allows(&self, seat: &Seat) -> bool {
        let judge = seat.judge();
        !self.bad_dialects.contains(&judge.dialect())
            && !self.refusing.contains(&judge.id().provider)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    use std::sync::Arc;
    use std::time::Duration;

    use crate::panel::script::{ScriptedJudge, answers};

    /// a and b share a dialect, b and c a provider.
    fn seats() -> [Seat; 3] {
        let judge = |name: &str| ScriptedJudge::new(name, &[answers(1)]);
        [
            Seat::new(Arc::new(judge("a").speaking("openai").served_by("acme"))),
            Seat::new(Arc::new(judge("b").speaking("openai").served_by("zenith"))),
            Seat::new(Arc::new(judge("c").speaking("gemini").served_by("zenith"))),
        ]
    }

    /// Who is asked next after `failures`, each by the judge at that place.
    #[track_caller]
    fn check(failures: &[(usize, AttemptOutcome)], expected: Option<&str>) {
        let seats = seats();
        let mut choice = Choice::default();
        for &(at, outcome) in failures {
            choice.note(outcome, seats[at].judge().id(), seats[at].judge().dialect());
        }
        let next = choice.pick(&seats, Instant::now(), false);
        assert_eq!(next.map(Seat::name), expected, "after {failures:?}");
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
        let seats = seats();
        let now = Instant::now();
        let choice = Choice::default();
        let name = |even_blocked| choice.pick(&seats, now, even_blocked).map(Seat::name);
        seats[0].block(Duration::from_secs(5), now);
        assert_eq!((name(false), name(true)), (Some("b"), Some("b")));
        seats[1].block(Duration::from_secs(3), now);
        seats[2].block(Duration::from_secs(4), now);
        assert_eq!((name(false), name(true)), (None, Some("b")));
    }
}
