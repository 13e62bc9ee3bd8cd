//! The drill as it is answered and stored: one JSON object, every key always there.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::domain::drill::{Assertion, DrillResult, Fault, Group, Plan, Tally};
use crate::ledger::drills::DrillRow;
use crate::ledger::wire::{Word, maybe_moment, maybe_word, moment, word};

/// Where a drill stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing is broken: the traffic is watched.
    Baseline,
    /// The judge's calls are broken.
    Fault,
    /// They are whole again, and the judge is waited for.
    Recovery,
    /// Over.
    Ended,
}

impl Phase {
    /// Every phase, in order.
    pub const ALL: [Self; 4] = [Self::Baseline, Self::Fault, Self::Recovery, Self::Ended];

    /// The word used in answers.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            Self::Fault => "fault",
            Self::Recovery => "recovery",
            Self::Ended => "ended",
        }
    }
}

impl Word for Phase {
    const ALL: &'static [Self] = &Self::ALL;

    fn word(self) -> &'static str {
        self.label()
    }
}

/// A drill, as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DrillForm {
    /// Ours, version 7.
    pub id: Uuid,
    /// Whose calls were broken.
    pub judge: String,
    /// How.
    #[serde(with = "word")]
    pub fault: Fault,
    /// Share of its calls, 0..=1.
    pub share: f64,
    /// For how long.
    pub for_ms: u64,
    /// How long traffic was watched before.
    pub baseline_ms: u64,
    /// What had to hold.
    pub bounds: BoundsForm,
    /// Who asked for it: the key's name, or `schedule`.
    pub by: String,
    /// Where it stands.
    #[serde(with = "word")]
    pub phase: Phase,
    /// How it ended; null while it runs.
    #[serde(with = "maybe_word")]
    pub result: Option<DrillResult>,
    /// Why it did not pass; null where it did.
    pub reason: Option<String>,
    /// When it began.
    #[serde(with = "moment")]
    pub began: Timestamp,
    /// When it ended; null while it runs.
    #[serde(with = "maybe_moment")]
    pub ended: Option<Timestamp>,
    /// What was counted.
    pub figures: FiguresForm,
    /// Each figure against its bound; empty while it runs.
    pub assertions: Vec<AssertionForm>,
}

/// What had to hold, as JSON.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BoundsForm {
    /// Share of images that must get a judge's verdict.
    pub judged_at_least: f64,
    /// How often the p95 of before the p95 during the fault may be.
    pub p95_ratio_at_most: f64,
    /// How long the judge may take to have its share of the traffic again.
    pub recovered_within_ms: u64,
}

/// What was counted, as JSON.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FiguresForm {
    /// All images before.
    pub baseline: GroupForm,
    /// All images during the fault.
    pub fault: GroupForm,
    /// Those of them that the drill struck.
    pub struck: GroupForm,
    /// How many others came while its breaker kept the broken judge out.
    #[serde(default)]
    pub spared: u64,
}

/// What became of some images, as JSON.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GroupForm {
    /// How many.
    pub images: u64,
    /// Answered after their deadline.
    pub late: u64,
    /// Share with a judge's verdict; null without images.
    pub judged_ratio: Option<f64>,
    /// 19 of 20 were answered within this; null without images.
    pub p95_ms: Option<u32>,
    /// Calls for each image; null without images.
    pub calls_per_image: Option<f64>,
    /// Who gave the verdict.
    pub judged_by: BTreeMap<String, u64>,
}

/// One figure against its bound, as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AssertionForm {
    /// Which figure.
    pub figure: String,
    /// What was measured; null: nothing.
    pub value: Option<f64>,
    /// Its bound.
    pub bound: f64,
    /// Whether it held; null: too little traffic to say.
    pub held: Option<bool>,
}

impl DrillForm {
    /// A drill of `plan` that begins at `now`.
    #[must_use]
    pub fn new(plan: &Plan, by: &str, now: Timestamp) -> Self {
        Self {
            id: Uuid::now_v7(),
            judge: plan.judge.clone(),
            fault: plan.fault,
            share: plan.share,
            for_ms: whole_ms(plan.lasts),
            baseline_ms: whole_ms(plan.baseline),
            bounds: BoundsForm {
                judged_at_least: plan.bounds.judged_at_least,
                p95_ratio_at_most: plan.bounds.p95_ratio_at_most,
                recovered_within_ms: whole_ms(plan.bounds.recovered_within),
            },
            by: by.to_owned(),
            phase: Phase::Baseline,
            result: None,
            reason: None,
            began: now,
            ended: None,
            figures: FiguresForm::default(),
            assertions: Vec::new(),
        }
    }

    /// The row it is stored as.
    ///
    /// # Errors
    /// Nothing that a form can cause; kept so that no caller need believe it.
    pub fn row(&self) -> Result<DrillRow, serde_json::Error> {
        Ok(DrillRow {
            id: self.id,
            judge: self.judge.clone(),
            began: self.began,
            result: self.result.map(|result| result.label().to_owned()),
            form: serde_json::to_string(self)?,
        })
    }
}

impl FiguresForm {
    /// The figures of the traffic `before` and `during` the fault.
    #[must_use]
    pub fn of(before: &Tally, during: &Tally) -> Self {
        Self {
            baseline: GroupForm::from(&before.all()),
            fault: GroupForm::from(&during.all()),
            struck: GroupForm::from(&during.struck),
            spared: during.spared,
        }
    }
}

impl From<&Group> for GroupForm {
    fn from(group: &Group) -> Self {
        Self {
            images: group.images,
            late: group.late,
            judged_ratio: group.judged_ratio().map(rounded),
            p95_ms: group.took.p95_ms(),
            calls_per_image: group.calls_per_image().map(rounded),
            judged_by: group.judged_by.clone(),
        }
    }
}

impl From<&Assertion> for AssertionForm {
    fn from(one: &Assertion) -> Self {
        Self {
            figure: one.figure.to_owned(),
            value: one.value.map(rounded),
            bound: one.bound,
            held: one.held,
        }
    }
}

/// To four places: nobody reads more.
fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

fn whole_ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
