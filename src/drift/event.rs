//! An event is what an on-call engineer is told: what moved, since when, by how much, and on what
//! evidence.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::drift::decompose::Decomposition;
use crate::drift::interval::Estimate;
use crate::drift::pairs::PairedEvidence;

/// Smallest effect worth a word: half a point.
pub const MATERIAL: f64 = 0.005;

/// What moved.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Label {
    /// Other judges answered.
    Routing,
    /// The images are others.
    InputDrift,
    /// The policy is another.
    PolicyChange,
    /// This judge judges differently.
    ProviderDrift(String),
    /// Several judges moved, each its own way.
    MixedDrift,
    /// Something moved, and nothing says what: shadow judging would.
    Unattributed,
    /// A policy that was not seen before serves from here on. Not an alarm.
    PolicyAnnotation,
    /// Nothing worth a word moved.
    None,
}

impl fmt::Display for Label {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Routing => out.write_str("routing"),
            Self::InputDrift => out.write_str("input_drift"),
            Self::PolicyChange => out.write_str("policy_change"),
            Self::ProviderDrift(judge) => write!(out, "provider_drift:{judge}"),
            Self::MixedDrift => out.write_str("mixed_drift"),
            Self::Unattributed => out.write_str("unattributed"),
            Self::PolicyAnnotation => out.write_str("policy_annotation"),
            Self::None => out.write_str("none"),
        }
    }
}

/// Who is watched, and so who raised an event.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Watched {
    /// The bins of the pre-check.
    Input,
    /// A judge's verdicts.
    Judge(String),
    /// The share served elsewhere than by the primary.
    Share,
    /// The policy's version.
    Config,
}

impl fmt::Display for Watched {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input => out.write_str("input"),
            Self::Judge(judge) => out.write_str(judge),
            Self::Share => out.write_str("share"),
            Self::Config => out.write_str("config"),
        }
    }
}

/// How much an event matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Its interval lies below half a point.
    Info,
    /// Its interval reaches half a point.
    Notice,
    /// Its interval lies above half a point.
    Warn,
}

impl Severity {
    /// The severity of an effect.
    #[must_use]
    pub fn of(effect: Estimate) -> Self {
        let (size, half) = (effect.effect.abs(), 1.96 * effect.se);
        if MATERIAL <= size - half {
            Self::Warn
        } else if MATERIAL <= size + half {
            Self::Notice
        } else {
            Self::Info
        }
    }

    /// The word used in answers.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Notice => "notice",
            Self::Warn => "warn",
        }
    }
}

/// What the label rests on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Grounds {
    /// The change since the onset, by cause.
    pub decomposition: Decomposition,
    /// Whether there were enough verdicts to tell other images from other judging by bin.
    pub input_separated: bool,
    /// The paired test, when a judge's detector raised the event.
    pub pairs: Option<PairedEvidence>,
    /// The paired test had to stop before it was decided.
    pub low_confidence: bool,
    /// Images judged once more to decide it.
    pub burst_images: u64,
}

/// What an on-call engineer is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When it was told.
    pub at_ms: i64,
    /// When the detector alarmed.
    pub alarm_at_ms: i64,
    /// When the change began, as the detector estimates it.
    pub onset_ms: i64,
    /// Whose detector alarmed.
    pub watched: Watched,
    /// What moved.
    pub label: Label,
    /// Every material cause, the largest first.
    pub all: Vec<Label>,
    /// How much it matters.
    pub severity: Severity,
    /// By how much.
    pub effect: Estimate,
    /// What it rests on; none of a routing event, which needs only shares and long-run rates.
    pub grounds: Option<Grounds>,
}
