//! A sample is what became of one request, as its caller saw it.
//!
//! Samples and the providers' own calls are all that figures are made of.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;

/// One request, from its scheduled time to its end.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Sample {
    /// Which image of the gallery it carried.
    pub image: usize,
    /// When it was due, since the run began.
    pub due_s: f64,
    /// When it was sent.
    pub sent_s: f64,
    /// When its whole answer had come, or when it ended otherwise.
    pub ended_s: f64,
    /// How it ended.
    pub end: SampleEnd,
    /// What the answer said; of an answer that was a verdict.
    pub verdict: Option<VerdictBody>,
    /// Why there was none, in the words of a refusal.
    pub refusal: Option<String>,
}

/// How a request ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SampleEnd {
    /// With an answer.
    Answered {
        /// Its HTTP status.
        status: u16,
        /// It said when to come again.
        retry_after: bool,
    },
    /// The caller hung up, as it was told to.
    HungUp,
    /// There was no answer.
    #[default]
    Missing,
    /// Nobody listened any more, after the target had been told to stop.
    TurnedAway,
}

/// The parts of a verdict that figures are made of; every other key is skipped.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct VerdictBody {
    /// The verdict's id.
    pub id: String,
    /// `pass`, `fail`, `review`.
    pub verdict: String,
    /// `judge`, `second_opinion`, `check`, `deadline`, `no_judge`, …
    pub basis: String,
    /// Who judged.
    pub judge: Option<JudgeBody>,
    /// The scores.
    pub scores: BTreeMap<String, ScoreBody>,
    /// Every call.
    pub attempts: Vec<AttemptBody>,
    /// Where the time went.
    pub timing_ms: TimingBody,
    /// Whether it is kept.
    pub recorded: bool,
    /// Whether the caller had gone.
    pub client_gone: bool,
}

/// Who judged.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct JudgeBody {
    /// The name that policies use.
    pub name: String,
}

/// One score.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ScoreBody {
    /// 0..1.
    pub score: f64,
    /// The line where pass begins.
    pub pass_at: f64,
}

/// One call, as the target tells it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AttemptBody {
    /// Who was asked.
    pub judge: String,
    /// `primary`, `hedge`, `failover`, `second_opinion`.
    pub route: String,
    /// `judged`, `cancelled`, `timeout`, …
    pub outcome: String,
    /// Since the request came in.
    pub started_ms: f64,
    /// How long.
    pub took_ms: f64,
    /// The provider's name for the call.
    pub request_id: Option<String>,
}

/// Where the time went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TimingBody {
    /// Taking the request in.
    pub read: f64,
    /// Unpacking the image.
    pub decode: f64,
    /// Measuring it.
    pub checks: f64,
    /// Making the views.
    pub prepare: f64,
    /// Writing the record; a stored record cannot know it.
    pub record: Option<f64>,
}

impl TimingBody {
    /// The gate's own time: everything but waiting for judges.
    #[must_use]
    pub fn overhead(&self) -> f64 {
        self.read + self.decode + self.checks + self.prepare + self.record.unwrap_or(0.0)
    }
}

/// What the gate adds to a refusal of one that had waited in line.
const AFTER_A_WAIT: &str = "after a wait";

impl Sample {
    /// From the scheduled time to the end.
    #[must_use]
    pub fn latency_ms(&self) -> f64 {
        (self.ended_s - self.due_s) * 1_000.0
    }

    /// From sending to the end.
    #[must_use]
    pub fn service_ms(&self) -> f64 {
        (self.ended_s - self.sent_s) * 1_000.0
    }

    /// Whether an answer came.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        matches!(self.end, SampleEnd::Answered { .. })
    }

    /// Whether it was refused at once, with a time to come again.
    #[must_use]
    pub fn is_shed(&self) -> bool {
        matches!(self.end, SampleEnd::Answered { status: 503 | 429, .. })
    }

    /// Whether it was refused without a wait in line, by the words of the refusal.
    #[must_use]
    pub fn is_refused_outright(&self) -> bool {
        let says_so = |words: &str| !words.contains(AFTER_A_WAIT);
        self.is_shed() && self.refusal.as_deref().is_some_and(says_so)
    }

    /// The verdict, if a judge gave it.
    #[must_use]
    pub fn judged(&self) -> Option<&VerdictBody> {
        self.verdict.as_ref().filter(|verdict| verdict.is_judged())
    }
}

impl VerdictBody {
    /// Whether a judge gave it.
    #[must_use]
    pub fn is_judged(&self) -> bool {
        matches!(self.basis.as_str(), "judge" | "second_opinion" | "cache")
    }

    /// Who judged; empty if nobody did.
    #[must_use]
    pub fn judge_name(&self) -> &str {
        self.judge.as_ref().map_or("", |judge| judge.name.as_str())
    }

    /// The call that gave the verdict.
    #[must_use]
    pub fn winner(&self) -> Option<&AttemptBody> {
        let is_winner =
            |one: &&AttemptBody| one.outcome == "judged" && one.judge == self.judge_name();
        self.attempts.iter().find(is_winner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_read_as_the_contract_writes_it() {
        let text = r#"{"id":"0192","verdict":"pass","basis":"judge","judge":{"name":"a","provider":"a"},
            "scores":{"cutout":{"score":0.91,"pass_at":0.7,"passed":true,"reason":null}},
            "attempts":[{"judge":"a","outcome":"cancelled","started_ms":9,"took_ms":640},
                        {"judge":"a","route":"hedge","outcome":"judged","request_id":"r"}],
            "timing_ms":{"total":655,"judge":640},"recorded":true,"client_gone":false}"#;
        let verdict: VerdictBody = serde_json::from_str(text).unwrap();
        assert!(verdict.is_judged() && verdict.recorded);
        assert_eq!(verdict.winner().and_then(|one| one.request_id.as_deref()), Some("r"));
        let nobody = r#"{"basis":"deadline","judge":null}"#;
        let nobody: VerdictBody = serde_json::from_str(nobody).unwrap();
        assert!(!nobody.is_judged() && nobody.judge_name().is_empty());
    }

    #[test]
    fn a_stored_record_does_not_know_how_long_its_own_writing_took() {
        let text = r#"{"timing_ms":{"read":0.5,"decode":0.0,"record":null},"client_gone":true}"#;
        let record: VerdictBody = serde_json::from_str(text).unwrap();
        assert!(record.client_gone && record.timing_ms.record.is_none());
        assert!((record.timing_ms.overhead() - 0.5).abs() < 1e-9);
    }

    #[test]
    fn latency_counts_from_the_scheduled_time_and_service_from_the_sending() {
        let sample = Sample { due_s: 1.0, sent_s: 1.5, ended_s: 2.0, ..Sample::default() };
        assert!((sample.latency_ms() - 1_000.0).abs() < 1e-9);
        assert!((sample.service_ms() - 500.0).abs() < 1e-9);
    }
}
