//! Judges that act by a script, for tests on the paused clock.

use std::collections::{BTreeMap, VecDeque};
use std::future::pending;
use std::sync::Mutex;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time;

use crate::clock::{Deadline, Late};
use crate::domain::policy::{Fallback, HedgeSpec, RouteSpec};
use crate::domain::{AttemptOutcome, JudgeId, Judgement, MicroUsd, Score, Tokens};
use crate::imaging::{Base64, Measurements, View};
use crate::panel::rest::{LateFault, LateKind, LatePart, Rest};
use crate::panel::struck::Struck;
use crate::panel::{Answered, Asked, AttemptError, Expectation, Judge, Question};

/// What every scripted call is expected to cost, and what an answer does cost.
pub(crate) const ESTIMATE: MicroUsd = MicroUsd(100);
/// What an answer costs.
pub(crate) const BILL: MicroUsd = MicroUsd(90);

/// What a judge does when called.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Act {
    /// Scores every criterion alike.
    Answer(f64),
    /// Scores every criterion alike, and has its reasons this many milliseconds later.
    Early(f64, u64),
    /// Scores every criterion alike, and breaks off this many milliseconds later.
    BreaksOff(f64, u64),
    /// Fails.
    Fail(AttemptError),
    /// Answers without a score.
    Garble,
    /// Panics.
    Panic,
    /// Never comes back.
    Hang,
}

/// One call: after this many milliseconds the judge acts.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Script(pub(crate) u64, pub(crate) Act);

/// Answers after `ms`.
pub(crate) fn answers(ms: u64) -> Script {
    Script(ms, Act::Answer(0.9))
}

/// Fails after `ms`.
pub(crate) fn fails(ms: u64, outcome: AttemptOutcome) -> Script {
    Script(ms, Act::Fail(AttemptError::new(outcome, "as scripted")))
}

/// Says 429 after `ms`, and for how many milliseconds to stay away.
pub(crate) fn limited(ms: u64, retry_after_ms: u64) -> Script {
    keeps_away(ms, AttemptOutcome::RateLimited, retry_after_ms)
}

/// Fails after `ms`, and says for how many milliseconds to stay away.
pub(crate) fn keeps_away(ms: u64, outcome: AttemptOutcome, retry_after_ms: u64) -> Script {
    let error = AttemptError::new(outcome, "as scripted");
    let retry_after = Some(Duration::from_millis(retry_after_ms));
    Script(ms, Act::Fail(AttemptError { retry_after, ..error }))
}

/// Never comes back.
pub(crate) fn hangs() -> Script {
    Script(0, Act::Hang)
}

/// A judge that acts by its scripts, one a call; the last one repeats.
#[derive(Debug)]
pub(crate) struct ScriptedJudge {
    id: JudgeId,
    dialect: &'static str,
    scripts: Mutex<VecDeque<Script>>,
    expectation: Option<Expectation>,
    stands_in: bool,
    minds_deadline: bool,
}

impl ScriptedJudge {
    /// A judge with a provider and a dialect of its own, of unknown speed.
    pub(crate) fn new(name: &str, scripts: &[Script]) -> Self {
        let id = JudgeId {
            name: name.to_owned(),
            provider: format!("{name}-provider"),
            model: format!("{name}-model"),
        };
        let dialect = match name {
            "a" => "openai",
            "b" => "anthropic",
            "c" => "gemini",
            _ => "mistral",
        };
        let scripts = Mutex::new(scripts.iter().cloned().collect());
        Self { id, dialect, scripts, expectation: None, stands_in: false, minds_deadline: false }
    }

    /// The same, speaking `dialect`.
    pub(crate) fn speaking(self, dialect: &'static str) -> Self {
        Self { dialect, ..self }
    }

    /// The same, served by `provider`.
    pub(crate) fn served_by(mut self, provider: &str) -> Self {
        provider.clone_into(&mut self.id.provider);
        self
    }

    /// The same, expected to take this long.
    pub(crate) fn expecting(self, p50_ms: u64, p95_ms: u64) -> Self {
        let (p50, p95) = (Duration::from_millis(p50_ms), Duration::from_millis(p95_ms));
        Self { expectation: Some(Expectation { p50, p95 }), ..self }
    }

    /// The same, answering only when no judge that looks can.
    pub(crate) fn standing_in(self) -> Self {
        Self { stands_in: true, ..self }
    }

    /// The same, saying that its time is up at the deadline it was given, as those over HTTP do.
    pub(crate) fn minding_its_deadline(self) -> Self {
        Self { minds_deadline: true, ..self }
    }

    fn next_script(&self) -> Script {
        let mut scripts = self.scripts.lock().unwrap();
        if scripts.len() == 1 { scripts[0].clone() } else { scripts.pop_front().unwrap() }
    }
}

impl Judge for ScriptedJudge {
    fn id(&self) -> &JudgeId {
        &self.id
    }

    fn judge<'a>(
        &'a self,
        question: &'a Question,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<Answered, AttemptError>> {
        let Script(after_ms, act) = self.next_script();
        let acting = async move {
            time::sleep(Duration::from_millis(after_ms)).await;
            match act {
                Act::Answer(score) => Ok(answered(question, Some(score))),
                Act::Early(score, rest_ms) => Ok(early(question, score, (after_ms, rest_ms, true))),
                Act::BreaksOff(score, rest_ms) => {
                    Ok(early(question, score, (after_ms, rest_ms, false)))
                }
                Act::Fail(error) => Err(error),
                Act::Garble => Ok(answered(question, None)),
                Act::Panic => panic!("as scripted"),
                Act::Hang => pending().await,
            }
        };
        if !self.minds_deadline {
            return acting.boxed();
        }
        let too_late = || AttemptError::new(AttemptOutcome::Timeout, "no whole answer");
        async move { deadline.bound(acting).await.unwrap_or_else(|Late| Err(too_late())) }.boxed()
    }

    fn estimate(&self, _question: &Question) -> MicroUsd {
        ESTIMATE
    }

    fn parameters(&self) -> &'static str {
        "scripted"
    }

    fn dialect(&self) -> &'static str {
        self.dialect
    }

    fn expectation(&self) -> Option<Expectation> {
        self.expectation
    }

    fn stands_in(&self) -> bool {
        self.stands_in
    }
}

fn answered(question: &Question, score: Option<f64>) -> Answered {
    let scored = |asked: &Asked| Score { criterion: asked.id.clone(), score, reason: None };
    Answered {
        judgement: Judgement { scores: question.criteria.iter().map(scored).collect() },
        tokens: Some(Tokens { input: 1_605, cached: 0, output: 58, image: None }),
        cost: BILL,
        request_id: Some("req-1".to_owned()),
        rest: None,
    }
}

fn early(question: &Question, score: f64, (after_ms, rest_ms, ends): (u64, u64, bool)) -> Answered {
    let whole = answered(question, Some(score));
    let fault = LateFault { kind: LateKind::Truncated, detail: "as scripted".to_owned() };
    let part = LatePart {
        reasons: if ends { Ok(Vec::new()) } else { Err(fault) },
        tokens: whole.tokens,
        cost: whole.cost,
        request_id: whole.request_id.clone(),
        blind: false,
        took: ends.then(|| Duration::from_millis(after_ms + rest_ms)),
    };
    let reading = async move {
        time::sleep(Duration::from_millis(rest_ms)).await;
        part
    };
    let rest = Some(Rest::new(ESTIMATE, reading.boxed()));
    Answered { tokens: None, cost: ESTIMATE, rest, ..whole }
}

/// A question about `criteria`.
pub(crate) fn question(criteria: &[&str]) -> Question {
    let asked = |id: &&str| Asked {
        id: (*id).to_owned(),
        ask: "Is it well done?".to_owned(),
        measured_by: Vec::new(),
    };
    Question {
        criteria: criteria.iter().map(asked).collect(),
        system: "You look at product photos.".to_owned(),
        user: "Score them.".to_owned(),
        views: vec![View {
            id: "whole".to_owned(),
            width_px: 1,
            height_px: 1,
            jpeg: Base64::of(b""),
        }],
        measurements: Measurements::default(),
        reason_chars: 200,
        max_output_tokens: 200,
        struck: Struck::default(),
        early: true,
    }
}

/// A route over `judges`: 5 s, three attempts, hedged at the p95 from a budget of 10 %.
pub(crate) fn route(judges: &[&str]) -> RouteSpec {
    RouteSpec {
        judges: judges.iter().map(|&name| name.to_owned()).collect(),
        offset_by_judge: BTreeMap::new(),
        deadline: Duration::from_secs(5),
        floor: Duration::from_millis(500),
        keep_back: Duration::ZERO,
        max_attempts: 3,
        attempt_cap: None,
        hedge: Some(HedgeSpec { after_quantile: 0.95, budget_ratio: 0.10 }),
        stream: true,
        on_deadline: Fallback::Review,
        on_no_judge: Fallback::Review,
    }
}
