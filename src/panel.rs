//! The panel is the judges of a policy and the race between them: who is asked, when a second one
//! is asked beside a slow first, and whose judgement counts.
//!
//! The panel owns the seam: [`Judge`] is what it needs of whoever can look at an image. Providers
//! implement it over HTTP, the `local` judge over measurements, tests over scripts.

use std::fmt;
use std::time::Duration;

use futures_util::future::BoxFuture;
use thiserror::Error;

use crate::clock::Deadline;
use crate::domain::policy::Measure;
use crate::domain::{AttemptOutcome, JudgeId, Judgement, MicroUsd, Tokens};
use crate::imaging::{Measurements, View};

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
}

/// A valid judgement, and what the provider says it cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Answered {
    /// Scores for every criterion asked.
    pub judgement: Judgement,
    /// The provider's count, where it says one.
    pub tokens: Option<Tokens>,
    /// The bill.
    pub cost: MicroUsd,
    /// The provider's id of the call.
    pub request_id: Option<String>,
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
}
