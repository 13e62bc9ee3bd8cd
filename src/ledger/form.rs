//! The record as it is answered, stored and exported: one JSON object, every key always there.
//!
//! The answer to a check, the row in the store and a line of the export are the same form, with its
//! keys in the order of the contract. An answer and its record differ only in what the write itself
//! decides (`recorded` and `seq`, which an answer that could not wait does not know, and
//! `timing_ms.record` and `timing_ms.total`, which are taken before the write in the record and
//! after it in the answer), and in what an early answer could not wait for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::domain::record::{BLIND_LATE, ImageFacts, PolicyRef, Timing};
use crate::domain::verdict::Scored;
use crate::domain::{
    Attempt, AttemptOutcome, Basis, Decision, Digest, Finding, Format, JudgeId, LateAttempt,
    MicroUsd, Mode, OnFail, Record, Remainder, Route,
};
use crate::ledger::wire::{Keyed, digest, maybe_word, moment, word};

pub mod plausible;

/// Everything kept of one check, as JSON.
#[expect(clippy::struct_excessive_bools, reason = "four independent facts, each its own JSON key")]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordForm {
    /// Ours, version 7.
    pub id: Uuid,
    /// What the caller was told.
    #[serde(with = "word")]
    pub verdict: Decision,
    /// What it rests on.
    #[serde(with = "word")]
    pub basis: Basis,
    /// The policy that decided.
    pub policy: PolicyForm,
    /// Who judged; null unless a judge did.
    pub judge: Option<JudgeForm>,
    /// Why that judge was called; null unless a judge judged.
    #[serde(with = "maybe_word")]
    pub route: Option<Route>,
    /// Scores by criterion, in the policy's order.
    pub scores: Keyed<ScoreForm>,
    /// Criteria or blocking checks that were not passed.
    pub failed: Vec<String>,
    /// Broken flagging checks, criteria that could not be measured.
    pub flags: Vec<String>,
    /// Whether scores inside the borderline band decided.
    pub borderline: bool,
    /// What the policy decided where the caller was told otherwise.
    #[serde(with = "maybe_word")]
    pub would_be: Option<Decision>,
    /// Every call to a judge, in starting order.
    pub attempts: Vec<AttemptForm>,
    /// Every local check that applied.
    pub findings: Vec<FindingForm>,
    /// Where the time went.
    pub timing_ms: TimingForm,
    /// The deadline that held.
    pub deadline_ms: u64,
    /// All attempts together; null until it is complete.
    pub cost_micro_usd: Option<u64>,
    /// Whether reasons and usage are all here.
    pub complete: bool,
    /// In an answer: whether the record was in the log before the answer left. In the store: true.
    pub recorded: bool,
    /// Whether the caller hung up first.
    pub client_gone: bool,
    /// The image as it came.
    pub image: ImageForm,
    /// The team that paid.
    pub team: Option<String>,
    /// The caller's own name for the image.
    pub external_id: Option<String>,
    /// The order of commits; null while it is not known to be stored.
    pub seq: Option<i64>,
    /// When the check began.
    #[serde(with = "moment")]
    pub at: Timestamp,
    /// The caller's or our request id.
    pub request_id: String,
    /// The variables that applied.
    pub vars: BTreeMap<String, String>,
    /// What the first judgement alone said.
    #[serde(with = "maybe_word")]
    pub first_verdict: Option<Decision>,
    /// Local risk, 0..=1.
    pub pre: f64,
    /// Probability, fixed before the call, that this record would exist.
    pub propensity: f64,
    /// Digest of what decided the judging.
    #[serde(with = "digest")]
    pub judged_by: Digest,
}

/// The policy that decided, as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PolicyForm {
    /// Its name.
    pub name: String,
    /// The digest of the resolved policy.
    #[serde(with = "digest")]
    pub revision: Digest,
    /// Whether its verdict binds.
    #[serde(with = "word")]
    pub mode: Mode,
}

/// A judge, as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JudgeForm {
    /// The name policies use.
    pub name: String,
    /// The provider's name in the configuration.
    pub provider: String,
    /// The provider's model.
    pub model: String,
}

/// One criterion's score, as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScoreForm {
    /// 0..=1; null where the judge could not tell.
    pub score: Option<f64>,
    /// The line this judge is held to.
    pub pass_at: f64,
    /// Whether the criterion passed; null where the judge could not tell.
    pub passed: Option<bool>,
    /// The judge's words.
    pub reason: Option<String>,
}

/// One call to one judge, as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AttemptForm {
    /// The judge's name.
    pub judge: String,
    /// Its provider.
    pub provider: String,
    /// Its model.
    pub model: String,
    /// Why it was called.
    #[serde(with = "word")]
    pub route: Route,
    /// How the call ended.
    #[serde(with = "word")]
    pub outcome: AttemptOutcome,
    /// What this judgement alone would have made the verdict.
    #[serde(with = "maybe_word")]
    pub said: Option<Decision>,
    /// Scores by criterion; empty unless judged.
    pub scores: Keyed<Option<f64>>,
    /// From the check's start to the call.
    pub started_ms: u64,
    /// From the call to its end.
    pub took_ms: u64,
    /// All input tokens.
    pub input_tokens: Option<u64>,
    /// All output tokens.
    pub output_tokens: Option<u64>,
    /// The bill; null while the end of an early answer is awaited.
    pub cost_micro_usd: Option<u64>,
    /// The provider's id of the call.
    pub request_id: Option<String>,
    /// What went wrong.
    pub detail: Option<String>,
    /// The part of `input_tokens` that the provider had cached: without it a bill cannot be redone.
    pub cached_tokens: Option<u64>,
    /// The part of `input_tokens` that the image took, where the provider says so.
    pub image_tokens: Option<u64>,
}

/// One local check's result, as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FindingForm {
    /// The check's id.
    pub check: String,
    /// What was measured; null where there was nothing to measure.
    pub value: Option<f64>,
    /// The end of the line that the value is nearest to.
    pub limit: Option<f64>,
    /// Whether the line was kept.
    pub passed: bool,
    /// Of `value` and `limit`.
    pub unit: String,
    /// What the policy does when it was not.
    #[serde(with = "word")]
    pub on_fail: OnFail,
}

/// Where a check's time went in milliseconds, as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TimingForm {
    /// From the first byte to the answer; in a stored record to the write.
    pub total: f64,
    /// Reading the body.
    pub read: f64,
    /// Decoding the image.
    pub decode: f64,
    /// Local checks.
    pub checks: f64,
    /// Making views and prompts.
    pub prepare: f64,
    /// Waiting for judges.
    pub judge: f64,
    /// Writing the record; null in a stored record.
    pub record: Option<f64>,
}

/// The image as it came, as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImageForm {
    /// Of the bytes as they came.
    #[serde(with = "digest")]
    pub digest: Digest,
    /// By the bytes.
    #[serde(with = "word")]
    pub format: Format,
    /// After orientation.
    pub width_px: u32,
    /// After orientation.
    pub height_px: u32,
    /// As it came.
    pub size_bytes: u64,
}

/// What came after an early answer, as JSON: a row of its own in the store, joined on reading.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LateForm {
    /// What each open attempt came to.
    pub attempts: Vec<LateAttemptForm>,
    /// The first judge's words by criterion.
    pub reasons: Keyed<String>,
    /// Flags that the record gets.
    pub flags: Vec<String>,
    /// Whether reasons and usage are all here.
    pub complete: bool,
}

/// What one attempt came to after its scores, as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LateAttemptForm {
    /// Its place among the record's attempts.
    pub at: usize,
    /// From the call to its last byte; null where that never came.
    pub ended_ms: Option<u64>,
    /// All input tokens.
    pub input_tokens: Option<u64>,
    /// All output tokens.
    pub output_tokens: Option<u64>,
    /// The bill.
    pub cost_micro_usd: u64,
    /// The provider's id of the call.
    pub request_id: Option<String>,
    /// What went wrong.
    pub detail: Option<String>,
    /// The part of `input_tokens` that the provider had cached.
    pub cached_tokens: Option<u64>,
    /// The part of `input_tokens` that the image took.
    pub image_tokens: Option<u64>,
}

impl RecordForm {
    /// Whether the verdict counts in rates: an image that no judge saw does not, whenever that was
    /// found.
    #[must_use]
    pub fn is_rated(&self) -> bool {
        self.basis.is_judged() && !self.flags.iter().any(|flag| flag == BLIND_LATE)
    }

    /// This record with what came after its answer. Verdict and scores stay as they are.
    #[must_use]
    pub fn joined(mut self, late: LateForm) -> Self {
        for one in late.attempts {
            let Some(attempt) = self.attempts.get_mut(one.at) else { continue };
            attempt.input_tokens = one.input_tokens;
            attempt.output_tokens = one.output_tokens;
            attempt.cost_micro_usd = Some(one.cost_micro_usd);
            attempt.request_id = one.request_id.or(attempt.request_id.take());
            attempt.detail = one.detail;
            attempt.cached_tokens = one.cached_tokens;
            attempt.image_tokens = one.image_tokens;
        }
        for (criterion, reason) in late.reasons.0 {
            let scored = self.scores.0.iter_mut().find(|(id, _)| *id == criterion);
            if let Some((_, scored)) = scored {
                scored.reason = Some(reason);
            }
        }
        self.flags.extend(late.flags);
        self.complete = late.complete;
        let costs = self.attempts.iter().map(|one| one.cost_micro_usd.map(MicroUsd));
        self.cost_micro_usd = costs.sum::<Option<MicroUsd>>().map(|cost| cost.0);
        self
    }
}

impl From<&Remainder> for LateForm {
    fn from(late: &Remainder) -> Self {
        Self {
            attempts: late.attempts.iter().map(LateAttemptForm::from).collect(),
            reasons: Keyed(late.reasons.clone()),
            flags: late.flags.clone(),
            complete: late.complete,
        }
    }
}

impl From<&LateAttempt> for LateAttemptForm {
    fn from(late: &LateAttempt) -> Self {
        Self {
            at: late.at,
            ended_ms: late.ended_ms,
            input_tokens: late.tokens.map(|tokens| tokens.input),
            output_tokens: late.tokens.map(|tokens| tokens.output),
            cost_micro_usd: late.cost.0,
            request_id: late.request_id.clone(),
            detail: late.detail.clone(),
            cached_tokens: late.tokens.map(|tokens| tokens.cached),
            image_tokens: late.tokens.and_then(|tokens| tokens.image),
        }
    }
}

impl From<&TimingForm> for Timing {
    fn from(form: &TimingForm) -> Self {
        let TimingForm { total, read, decode, checks, prepare, judge, record } = *form;
        Self { total, read, decode, checks, prepare, judge, record }
    }
}

impl From<&Record> for RecordForm {
    fn from(record: &Record) -> Self {
        let verdict = &record.verdict;
        let judged = verdict.basis.is_judged();
        Self {
            id: record.id,
            verdict: verdict.decision,
            basis: verdict.basis,
            policy: PolicyForm::from(&record.policy),
            judge: record.judge.as_ref().filter(|_| judged).map(JudgeForm::from),
            route: record.route.filter(|_| judged),
            scores: Keyed(verdict.scores.iter().map(score_entry).collect()),
            failed: verdict.failed.clone(),
            flags: verdict.flags.clone(),
            borderline: verdict.borderline,
            would_be: verdict.would_be,
            attempts: record.attempts.iter().map(AttemptForm::from).collect(),
            findings: record.findings.iter().map(FindingForm::from).collect(),
            timing_ms: TimingForm::from(&record.timing),
            deadline_ms: record.deadline_ms,
            cost_micro_usd: Some(record.cost.0).filter(|_| record.complete),
            complete: record.complete,
            recorded: record.recorded,
            client_gone: record.client_gone,
            image: ImageForm::from(&record.image),
            team: record.team.clone(),
            external_id: record.external_id.clone(),
            seq: None,
            at: Timestamp(record.at_us),
            request_id: record.request_id.clone(),
            vars: record.vars.clone(),
            first_verdict: verdict.first_verdict,
            pre: record.pre,
            propensity: record.propensity,
            judged_by: record.judged_by,
        }
    }
}

impl From<&PolicyRef> for PolicyForm {
    fn from(policy: &PolicyRef) -> Self {
        Self { name: policy.name.clone(), revision: policy.revision, mode: policy.mode }
    }
}

impl From<&JudgeId> for JudgeForm {
    fn from(judge: &JudgeId) -> Self {
        Self {
            name: judge.name.clone(),
            provider: judge.provider.clone(),
            model: judge.model.clone(),
        }
    }
}

impl From<&Attempt> for AttemptForm {
    fn from(attempt: &Attempt) -> Self {
        let scores = attempt.scores.iter().map(|one| (one.criterion.clone(), one.score));
        Self {
            judge: attempt.judge.name.clone(),
            provider: attempt.judge.provider.clone(),
            model: attempt.judge.model.clone(),
            route: attempt.route,
            outcome: attempt.outcome,
            said: attempt.said,
            scores: Keyed(scores.collect()),
            started_ms: attempt.started_ms,
            took_ms: attempt.took_ms,
            input_tokens: attempt.tokens.map(|tokens| tokens.input),
            output_tokens: attempt.tokens.map(|tokens| tokens.output),
            cost_micro_usd: attempt.ended_ms.map(|_| attempt.cost.0),
            request_id: attempt.request_id.clone(),
            detail: attempt.detail.clone(),
            cached_tokens: attempt.tokens.map(|tokens| tokens.cached),
            image_tokens: attempt.tokens.and_then(|tokens| tokens.image),
        }
    }
}

impl From<&Finding> for FindingForm {
    fn from(finding: &Finding) -> Self {
        // JSON has no word for infinity: such a number is null
        let limit = finding.limit.nearest(finding.value.unwrap_or(0.0));
        Self {
            check: finding.check.clone(),
            value: finding.value.filter(|value| value.is_finite()),
            limit: Some(limit).filter(|limit| limit.is_finite()),
            passed: finding.passed,
            unit: finding.unit.to_owned(),
            on_fail: finding.on_fail,
        }
    }
}

impl From<&Timing> for TimingForm {
    fn from(timing: &Timing) -> Self {
        Self {
            total: timing.total,
            read: timing.read,
            decode: timing.decode,
            checks: timing.checks,
            prepare: timing.prepare,
            judge: timing.judge,
            record: timing.record,
        }
    }
}

impl From<&ImageFacts> for ImageForm {
    fn from(image: &ImageFacts) -> Self {
        Self {
            digest: image.digest,
            format: image.format,
            width_px: image.width_px,
            height_px: image.height_px,
            size_bytes: image.size_bytes,
        }
    }
}

fn score_entry(scored: &Scored) -> (String, ScoreForm) {
    let form = ScoreForm {
        score: scored.score,
        pass_at: scored.pass_at,
        passed: scored.passed,
        reason: scored.reason.clone(),
    };
    (scored.criterion.clone(), form)
}

#[cfg(test)]
pub(crate) mod tests;
