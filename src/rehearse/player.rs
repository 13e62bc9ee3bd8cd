//! A player stands on the panel in a judge's place: with its name, provider, dialect, price and
//! expected speed, and it does what a test's script says.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::BoxFuture;
use tokio::time;

use crate::clock::{Deadline, Late};
use crate::domain::{AttemptOutcome, JudgeId, Judgement, MicroUsd, Score};
use crate::panel::{Answered, Asked, AttemptError, Expectation, Judge, Question};
use crate::rehearse::{Act, Role, Says, Scores, Script, Test};

/// A judge that acts by a script. Cloning shares the count of its calls.
#[derive(Clone, Debug)]
pub(crate) struct Player {
    role: Role,
    script: Option<Script>,
    calls: Arc<AtomicUsize>,
}

impl Player {
    /// Who plays `role` in `test`.
    pub(crate) fn new(role: &Role, test: &Test) -> Self {
        let script = test.scripts.get(role.name()).or(test.others.as_ref());
        Self { role: role.clone(), script: script.cloned(), calls: Arc::default() }
    }

    /// Its name, if it was called and must not have been.
    pub(crate) fn uninvited(&self) -> Option<String> {
        let calls = self.calls.load(Ordering::Relaxed);
        let must_not = (0..calls).any(|call| match self.act(call) {
            None => true,
            Some(act) => act.says == Says::MustNotBeCalled,
        });
        must_not.then(|| self.role.name().to_owned())
    }

    /// What it does at this call, counted from 0; `None`: no script speaks of it.
    fn act(&self, call: usize) -> Option<&Act> {
        let Script { first, then } = self.script.as_ref()?;
        let Some(place) = call.checked_sub(1) else { return Some(first) };
        Some(then.get(place).or(then.last()).unwrap_or(first))
    }

    async fn perform(
        &self,
        act: &Act,
        question: &Question,
        deadline: Deadline,
    ) -> Result<Answered, AttemptError> {
        time::sleep(act.after).await;
        match &act.says {
            Says::Scores(scores) => Ok(Answered {
                judgement: judgement(scores, question),
                tokens: None,
                cost: self.estimate(question),
                request_id: None,
                rest: None,
            }),
            Says::Measurements => match &self.role {
                Role::Local(local) => local.judge(question, deadline).await,
                Role::Called(_) => Err(uninvited()),
            },
            Says::Fault { outcome, retry_after } => Err(AttemptError {
                retry_after: *retry_after,
                cost: self.bill(*outcome, question),
                ..AttemptError::new(*outcome, "as scripted")
            }),
            Says::Hangs => pending().await,
            Says::MustNotBeCalled => Err(uninvited()),
        }
    }

    /// An answer that is of no use is paid for too.
    fn bill(&self, outcome: AttemptOutcome, question: &Question) -> MicroUsd {
        match outcome {
            AttemptOutcome::Judged
            | AttemptOutcome::Refused
            | AttemptOutcome::Empty
            | AttemptOutcome::Truncated
            | AttemptOutcome::Unreadable
            | AttemptOutcome::Blind => self.estimate(question),
            AttemptOutcome::RateLimited
            | AttemptOutcome::Overloaded
            | AttemptOutcome::ServerError
            | AttemptOutcome::BadRequest
            | AttemptOutcome::Auth
            | AttemptOutcome::Connect
            | AttemptOutcome::Timeout
            | AttemptOutcome::Cancelled
            | AttemptOutcome::OverBudget => MicroUsd::default(),
        }
    }
}

fn uninvited() -> AttemptError {
    AttemptError::new(AttemptOutcome::ServerError, "this test has no call to it")
}

fn judgement(scores: &Scores, question: &Question) -> Judgement {
    let score = |asked: &Asked| Score {
        criterion: asked.id.clone(),
        score: scores.of(&asked.id),
        reason: scores.reasons.get(&asked.id).cloned(),
    };
    Judgement { scores: question.criteria.iter().map(score).collect() }
}

impl Judge for Player {
    fn id(&self) -> &JudgeId {
        match &self.role {
            Role::Called(profile) => &profile.id,
            Role::Local(local) => local.id(),
        }
    }

    fn judge<'a>(
        &'a self,
        question: &'a Question,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<Answered, AttemptError>> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            let act = self.act(call).ok_or_else(uninvited)?;
            // like a judge over HTTP it says itself when its time is up
            let too_late = || AttemptError::new(AttemptOutcome::Timeout, "no whole answer");
            let performed = deadline.bound(self.perform(act, question, deadline)).await;
            performed.unwrap_or_else(|Late| Err(too_late()))
        })
    }

    fn estimate(&self, question: &Question) -> MicroUsd {
        match &self.role {
            Role::Called(profile) => profile.estimate(question),
            Role::Local(local) => local.estimate(question),
        }
    }

    fn parameters(&self) -> &str {
        match &self.role {
            Role::Called(profile) => &profile.parameters,
            Role::Local(local) => local.parameters(),
        }
    }

    fn dialect(&self) -> &'static str {
        match &self.role {
            Role::Called(profile) => profile.dialect,
            Role::Local(local) => local.dialect(),
        }
    }

    fn expectation(&self) -> Option<Expectation> {
        match &self.role {
            Role::Called(profile) => profile.expect,
            Role::Local(local) => local.expectation(),
        }
    }

    fn stands_in(&self) -> bool {
        match &self.role {
            Role::Called(_) => false,
            Role::Local(local) => local.stands_in(),
        }
    }
}
