//! A policy says what comes in, what is measured, what a judge is asked, who is asked, and what
//! the gate answers when nobody can be.
//!
//! These are the checked types: whatever holds a `Policy` need not check it again. The file form,
//! its defaults and its messages live in `config`.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::domain::candidate::{Digest, Format};
use crate::domain::money::MicroUsd;

mod check;
pub mod offset;
mod shadow;

pub use check::{CheckKind, CheckSpec, Fingerprint};
pub use offset::Offset;
pub use shadow::{BackfillSpec, LosersSpec, ShadowSpec};

/// Whether the policy's verdicts bind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The caller gets the verdict.
    Enforce,
    /// The caller gets `pass`; the verdict stands in `would_be`.
    Observe,
    /// The caller gets `pass` and no judge is asked.
    Off,
}

impl Mode {
    /// The word used in files and answers.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Observe => "observe",
            Self::Off => "off",
        }
    }
}

/// What a broken check does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFail {
    /// Answer `fail` now, ask no judge.
    Fail,
    /// Answer `review` now, ask no judge.
    Review,
    /// Go on; tell the judge and the record.
    Flag,
}

impl OnFail {
    /// The word used in files and answers.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Review => "review",
            Self::Flag => "flag",
        }
    }
}

/// What the gate answers when no judgement came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// Let the image through.
    Pass,
    /// Stop it.
    Fail,
    /// Ask a person.
    Review,
    /// What the local checks alone say: `pass` when something was measured and nothing is broken, else `review`. (A check that may
    /// fail an image has answered before any judge is asked, so only flags are left to weigh.)
    Local,
}

/// A variable a caller may send beside the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// The values it may take.
    pub one_of: Vec<String>,
    /// What it is when the caller says nothing; `None` makes it required.
    pub default: Option<String>,
}

/// A part of the image, as shares of its width and height.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Region {
    /// Left edge, 0..1.
    pub left: f64,
    /// Top edge, 0..1.
    pub top: f64,
    /// Width, 0..1.
    pub width: f64,
    /// Height, 0..1.
    pub height: f64,
}

impl Region {
    /// The whole image.
    pub const WHOLE: Self = Self { left: 0.0, top: 0.0, width: 1.0, height: 1.0 };
}

/// What is found in an image before it is judged, and a view can be cut around.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Landmark {
    /// What the image is about, with its edge and a little ground.
    Subject,
    /// Where the subject stands: its foot, and the ground below on which its shadow falls.
    Contact,
}

impl Landmark {
    /// The word for it in policies.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Subject => "subject",
            Self::Contact => "contact",
        }
    }
}

/// One picture that the judges are shown.
#[derive(Clone, Debug, PartialEq)]
pub struct ViewSpec {
    /// Its name in the prompt.
    pub id: String,
    /// What it is cut around; `None`: it always shows `region`.
    pub around: Option<Landmark>,
    /// The part of the image it shows; where it is cut around something, while that is not found.
    pub region: Region,
    /// Its longer side is at most this; an image is never enlarged.
    pub max_side_px: u32,
}

/// How views are encoded: always JPEG without metadata, alpha flattened on one colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoding {
    /// JPEG quality, 1..=100.
    pub quality: u8,
    /// What transparent pixels are laid on, sRGB.
    pub flatten_alpha: [u8; 3],
}

/// What comes in and what the judges are shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// Formats taken, by their bytes.
    pub accept: Vec<Format>,
    /// Most bytes of one image.
    pub max_bytes: u64,
    /// Most pixels of one image, read from the header.
    pub max_pixels: u64,
    /// Variables by name.
    pub vars: BTreeMap<String, Variable>,
    /// At least one.
    pub views: Vec<ViewSpec>,
    /// How views are encoded.
    pub encode: Encoding,
}

/// What a failed criterion makes of the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CriterionOnFail {
    /// The image fails.
    Fail,
    /// The image goes to a person.
    Review,
}

/// A measurement that the `local` judge can score a criterion by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Measure {
    /// Halo along the subject's edge.
    EdgeHalo,
    /// Residue in a background that should be plain.
    Residue,
    /// Specks, holes and steps along the alpha edge.
    EdgeNoise,
    /// Sharpness of the subject's edges.
    Sharpness,
    /// Contact of the subject with the frame.
    Border,
    /// Shadow under the subject, where it can be told.
    ContactShadow,
}

impl Measure {
    /// Every measure, in the order they are listed to people.
    pub const ALL: [Self; 6] = [
        Self::EdgeHalo,
        Self::Residue,
        Self::EdgeNoise,
        Self::Sharpness,
        Self::Border,
        Self::ContactShadow,
    ];

    /// The word used in files.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::EdgeHalo => "edge_halo",
            Self::Residue => "residue",
            Self::EdgeNoise => "edge_noise",
            Self::Sharpness => "sharpness",
            Self::Border => "border",
            Self::ContactShadow => "contact_shadow",
        }
    }
}

/// One asked property.
#[derive(Clone, Debug, PartialEq)]
pub struct Criterion {
    /// Its name in answers: `[a-z][a-z0-9_]*`.
    pub id: String,
    /// The question, as the judge reads it.
    pub ask: String,
    /// Where pass begins, 0..1.
    pub pass_at: f64,
    /// Where pass begins for one judge, by the judge's name.
    pub pass_at_by_judge: BTreeMap<String, f64>,
    /// A condition on `vars`; the criterion is not asked where it is false.
    pub when: Option<String>,
    /// What failing it makes of the verdict.
    pub on_fail: CriterionOnFail,
    /// What the `local` judge scores it by; empty: it cannot tell.
    pub measured_by: Vec<Measure>,
}

impl Criterion {
    /// Where pass begins for `judge`, no offset taken off.
    #[must_use]
    pub fn threshold(&self, judge: &str) -> f64 {
        self.pass_at_by_judge.get(judge).copied().unwrap_or(self.pass_at)
    }
}

/// When an attempt beside a slow one may start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HedgeSpec {
    /// Start it at this quantile of the running judge's own recent latency, 0.5..1.
    pub after_quantile: f64,
    /// Most extra attempts per admitted image, 0..1.
    pub budget_ratio: f64,
}

/// Who is asked, in what order, and how long it may take.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteSpec {
    /// Judges by name; at least one.
    pub judges: Vec<String>,
    /// What a judge's margins are moved by, by the judge's name.
    pub offset_by_judge: BTreeMap<String, Offset>,
    /// From the first byte to the answer.
    pub deadline: Duration,
    /// A caller asking for less is refused.
    pub floor: Duration,
    /// Held back for deciding, recording and the reply.
    pub keep_back: Duration,
    /// Attempts per image, hedges included.
    pub max_attempts: u32,
    /// Longest one attempt may run; `None`: until the deadline less a reserve for the next.
    pub attempt_cap: Option<Duration>,
    /// `None`: never hedge.
    pub hedge: Option<HedgeSpec>,
    /// Whether an answer may leave at its scores.
    pub stream: bool,
    /// The answer when the deadline came first.
    pub on_deadline: Fallback,
    /// The answer when every judge is down or refused the image.
    pub on_no_judge: Fallback,
}

/// What makes the gate ask a second judge.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SecondOpinionWhen {
    /// A deciding score lies in the borderline band.
    Borderline,
    /// The first verdict is `fail`.
    Fail,
    /// This share of images, 0..1.
    Sample(f64),
}

/// How two judgements become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Combine {
    /// Per criterion, the mean of `score - pass_at`.
    Mean,
    /// Per criterion, the lower margin.
    Strictest,
    /// Per criterion, the higher margin.
    Kindest,
}

/// When and how a second judge is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct SecondOpinion {
    /// Any of these.
    pub when: Vec<SecondOpinionWhen>,
    /// The first of these that did not give the first answer.
    pub ask: Vec<String>,
    /// How the two become one.
    pub combine: Combine,
    /// Skipped when less time is left.
    pub needs: Duration,
    /// The answer when the combined margin is still borderline.
    pub split: Fallback,
    /// Most second opinions per judged image, 0..1.
    pub max_share: f64,
}

/// Which images are kept beside their record.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum KeepImage {
    /// Verdict `pass`.
    Pass,
    /// Verdict `fail`.
    Fail,
    /// Verdict `review`.
    Review,
    /// A borderline verdict.
    Borderline,
    /// This share of the rest, 0..1.
    Sample(f64),
}

/// What is kept, and for how long.
#[derive(Clone, Debug, PartialEq)]
pub struct Keep {
    /// Images, as the judge saw them.
    pub images: Vec<KeepImage>,
    /// How long records are kept.
    pub verdicts_for: Duration,
    /// How long images are kept; not longer than records.
    pub images_for: Duration,
}

/// Who to call, shown beside the policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// The team.
    pub team: Option<String>,
    /// Where its on-call is reached.
    pub on_call: Option<String>,
    /// What to read at 3 a.m.
    pub runbook: Option<String>,
}

/// A checked policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Its name in requests and records.
    pub name: String,
    /// One line for people.
    pub description: String,
    /// Who to call.
    pub owner: Owner,
    /// Whether its verdicts bind.
    pub mode: Mode,
    /// What comes in and what the judges are shown.
    pub input: Input,
    /// Local checks, in order.
    pub checks: Vec<CheckSpec>,
    /// What a judge is asked; at least one.
    pub criteria: Vec<Criterion>,
    /// `|score - pass_at|` at or under this is "not sure", 0..1.
    pub borderline: f64,
    /// The system prompt's template.
    pub system_prompt: String,
    /// The user prompt's template.
    pub user_prompt: String,
    /// Longest reason kept, in characters.
    pub reason_chars: usize,
    /// Visible output allowance in tokens; a dialect adds its model's thinking.
    pub max_output_tokens: u32,
    /// Who is asked.
    pub route: RouteSpec,
    /// When a second judge is asked; `None`: never.
    pub second_opinion: Option<SecondOpinion>,
    /// Hedges and second opinions past this are skipped, the first attempt never.
    pub cost_per_image: Option<MicroUsd>,
    /// What is kept.
    pub keep: Keep,
    /// Who is shown some images behind their verdicts.
    pub shadows: Vec<ShadowSpec>,
    /// Whether the first judge is shown what it missed; `None`: no.
    pub backfill: Option<BackfillSpec>,
    /// Whether judges that lost a hedge are asked about the image; `None`: no.
    pub losers: Option<LosersSpec>,
    /// The digest of the resolved policy: what decided, prompts and lists included.
    pub revision: Digest,
    /// The digest of what decides the judging: prompt, criteria, thresholds, views; lists excluded.
    /// A record's `judged_by` joins it with the judge's model and parameters.
    pub judging: Digest,
    /// The digest of what judges are asked and shown, whatever line their scores are held to: scores
    /// of one digest can be compared.
    pub asked: Digest,
}

impl Policy {
    /// The criterion called `id`.
    #[must_use]
    pub fn criterion(&self, id: &str) -> Option<&Criterion> {
        self.criteria.iter().find(|one| one.id == id)
    }

    /// What a record says decided the judging: `judging`, a policy's part, joined with the judge's
    /// model and `parameters`.
    #[must_use]
    pub fn judged_by(judging: Digest, parameters: &str) -> Digest {
        let mut whole = judging.as_bytes().to_vec();
        whole.extend_from_slice(parameters.as_bytes());
        Digest::of(&whole)
    }
}
