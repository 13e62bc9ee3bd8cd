//! A policy file as it is written: every key, its range and its default.

use serde_json::{Value as Json, json};

use crate::config::check_file::CheckForm;
use crate::config::form::{At, Form, List, Table, Words, form, refuse, unknown_word};
use crate::config::policy_file::behind::{BackfillForm, LosersForm, ShadowForm};
use crate::config::problem::Report;
use crate::config::units::{
    Bytes, Colour, Date, Money, Name, Number, Pixels, Prose, Public, Quantile, Sealed, Share,
    Shift, Tag, Time, Unit, Whole, Word, seconds,
};
use crate::config::yaml::Value;
use crate::domain::policy::{Combine, CriterionOnFail, Landmark, Measure};
use crate::domain::{Fallback, Format, Mode, OnFail};

pub(crate) mod behind;

form! {
    /// A policy of vlmgate: what comes in, what is measured, what a judge is asked, who is asked, and what the gate answers when nobody can be.
    PolicyFile {
        /// The form of this file: 1.
        format: FileFormat,
        /// Its name in requests, records and metrics.
        name: Name<Public>,
        /// One line for people.
        description: Option<Prose<300>>,
        /// Who to call.
        owner: OwnerForm,
        /// enforce: the caller gets the verdict (the default); observe: judge and record, always answer pass; off: answer pass, ask nobody.
        mode: Mode = Mode::Enforce,
        /// What comes in, and what the judges are shown.
        input: InputForm,
        /// Local checks, in order; default: none.
        checks: List<CheckForm, 0, 64> = List::of(Vec::new()),
        /// What a judge is asked: each criterion is a field of its answer.
        criteria: List<CriterionForm, 1, 32>,
        /// A score this near to its line (or nearer) is borderline; default 0.08.
        borderline: Unit = Number(0.08),
        /// What a judge reads, as Jinja templates; undefined names are errors.
        prompt: PromptForm,
        /// How much a judge may say.
        answer: AnswerForm,
        /// Who is asked, in what order, and how long it may take.
        route: RouteForm,
        /// When and how a second judge is asked; default: never.
        second_opinion: Option<SecondOpinionForm>,
        /// What one image may cost.
        cost: CostForm,
        /// What is kept, and for how long.
        record: RecordForm,
        /// Judges that are shown some images behind their verdicts; no answer waits for them. Default: none.
        shadow: List<ShadowForm, 0, 16> = List::of(Vec::new()),
        /// Whether the route's first judge is afterwards shown what others judged in its place; default: no.
        backfill: Option<BackfillForm>,
        /// Whether a share of the judges that lost a hedge are afterwards asked about the image; default: no.
        losers: Option<LosersForm>,
    }
    later {
        "expect" => "the drift alert",
        "teams" => "team budgets",
    }
}

/// The one form of policy files so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FileFormat;

impl Form for FileFormat {
    fn read(at: &At<'_>, report: &mut Report) -> Option<Self> {
        if at.node.whole() == Some(1) {
            return Some(Self);
        }
        refuse(at, report, "a format that this version reads; it reads 1")
    }

    fn schema() -> Json {
        json!({ "const": 1 })
    }
}

form! {
    /// Who to call.
    OwnerForm {
        /// The team.
        team: Option<Prose<100>>,
        /// Where its on-call is reached.
        on_call: Option<Prose<100>>,
        /// What to read at 3 a.m.
        runbook: Option<Prose<500>>,
    }
}

form! {
    /// What comes in, and what the judges are shown.
    InputForm {
        /// Formats taken, by their bytes; default: all.
        accept: List<Format, 1, 3> = List::of(Format::ALL.to_vec()),
        /// Most bytes of one image; default 12MiB, at most 64MiB.
        max_bytes: Bytes = Bytes(12 << 20),
        /// Most pixels of one image, read from its header; default 40MP, at most 200MP.
        max_pixels: Pixels = Pixels(40_000_000),
        /// Variables a caller may send beside the image.
        vars: Table<Name<Word>, VariableForm, 16> = Table::default(),
        /// Pictures made of the image and sent to a judge; default: one, `whole`.
        views: Option<List<ViewForm, 1, 8>>,
        /// How views are encoded.
        encode: EncodeForm,
    }
}

form! {
    /// A variable a caller may send beside the image.
    VariableForm {
        /// The values it may take.
        one_of: List<Prose<64>, 1, 64>,
        /// What it is when the caller says nothing; without it the variable must be sent.
        default: Option<Prose<64>>,
    }
}

form! {
    /// One picture that the judges are shown.
    ViewForm {
        /// Its name in the prompt.
        id: Name<Tag>,
        /// Its longer side is at most this many pixels; default 1024; an image is never enlarged.
        max_side: Whole<64, 4096> = Whole(1024),
        /// The part of the image it shows; default: all of it.
        crop: Option<CropForm>,
    }
}

form! {
    /// The part of an image kept, counted from its edges: `{ bottom: 35% }` is the lowest 35 %; or cut around what is found in it: `{ around: contact, bottom: 35% }` keeps the shares where it is not found.
    CropForm {
        /// subject: what the image is about, with its edge and a little ground; contact: its foot, and the ground below. Such an image is decoded at its full size.
        around: Option<Landmark>,
        /// Keep this share of the height, from the top.
        top: Option<Share>,
        /// Keep this share of the height, from the bottom.
        bottom: Option<Share>,
        /// Keep this share of the width, from the left.
        left: Option<Share>,
        /// Keep this share of the width, from the right.
        right: Option<Share>,
    }
}

form! {
    /// How views are encoded.
    EncodeForm {
        /// Always jpeg: every provider takes it.
        format: ViewFormat = ViewFormat,
        /// JPEG quality, default 85.
        quality: Whole<1, 100> = Whole(85),
        /// What transparent pixels are laid on, default white.
        flatten_alpha: Colour = Colour([255; 3]),
        /// Always true: a view carries no metadata.
        strip_metadata: AlwaysTrue = AlwaysTrue,
    }
}

/// The one format of views.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ViewFormat;

impl Words for ViewFormat {
    fn words() -> Vec<(&'static str, Self)> {
        vec![("jpeg", Self)]
    }
}

/// A switch that may be stated and not turned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AlwaysTrue;

impl Form for AlwaysTrue {
    fn read(at: &At<'_>, report: &mut Report) -> Option<Self> {
        if matches!(at.node.value, Value::Bool(true)) {
            return Some(Self);
        }
        refuse(at, report, "true: views never carry metadata")
    }

    fn schema() -> Json {
        json!({ "const": true })
    }
}

form! {
    /// One asked property.
    CriterionForm {
        /// Its name in answers.
        id: Name<Word>,
        /// The question, as the judge reads it.
        ask: Prose<500>,
        /// Where pass begins: a score in 0..1, 1 = flawless.
        pass_at: Unit,
        /// Where pass begins for one judge, by the judge's name.
        pass_at_by_judge: Table<Name<Public>, Unit, 32> = Table::default(),
        /// A condition on vars; the criterion is not asked where it is false.
        when: Option<Prose<300>>,
        /// What failing it makes of the verdict; default fail.
        on_fail: CriterionOnFail = CriterionOnFail::Fail,
        /// What the built-in judge `local` scores it by; without it `local` cannot tell.
        measured_by: List<Measure, 0, 6> = List::of(Vec::new()),
    }
}

form! {
    /// What a judge reads.
    PromptForm {
        /// Who the judge is and how it answers: a template, or `file:` and a path beside the policy.
        system: Prose<65536>,
        /// This image's question: a template, or `file:` and a path; default: one that lists views, flags and criteria.
        user: Option<Prose<65536>>,
    }
}

form! {
    /// How much a judge may say.
    AnswerForm {
        /// Longest reason kept, in characters; default 160.
        reason_chars: Whole<0, 2000> = Whole(160),
        /// Visible output allowance in tokens; default 300; a dialect adds its model's thinking.
        max_output_tokens: Whole<16, 8192> = Whole(300),
    }
}

form! {
    /// Who is asked, in what order, and how long it may take.
    RouteForm {
        /// Judges in order of preference, as vlmgate.yaml names them; `local` is built in.
        judges: List<Name<Public>, 1, 8>,
        /// What is added to each margin of a judge, the score less its line, by the judge's name; `vlmgate calibrate` fits it.
        offset_by_judge: Table<Name<Public>, OffsetForm, 32> = Table::default(),
        /// The whole request, from the first byte to the answer; default 5s.
        deadline: Time = seconds(5.0),
        /// A caller asking for less is refused; default 300ms.
        floor: Time = seconds(0.3),
        /// Held back for deciding, recording and the reply; default 20ms.
        keep_back: Time = seconds(0.02),
        /// Attempts per image, hedges included; default 3. With hedges one last chance may come on top.
        max_attempts: Whole<1, 8> = Whole(3),
        /// Longest one attempt may run; default: until the deadline less a reserve for the next.
        attempt_cap: Option<Time>,
        /// A second judge beside a slow first: off, or when and how often; default p95 and 10%.
        hedge: HedgeForm,
        /// Whether an answer may leave at its scores, its reasons and its bill following within two seconds; default true. A judge that does not stream is waited for all the same.
        stream: bool = true,
        /// The answer when the deadline comes first; default review.
        on_deadline: Fallback = Fallback::Review,
        /// The answer when every judge is down or refused the image; default review.
        on_no_judge: Fallback = Fallback::Review,
    }
}

form! {
    /// What one judge's margins are moved by, so that it rejects as often as the first judge of the route.
    OffsetForm {
        /// Added to each margin, from -1 to 1.
        add: Shift,
        /// Share that does not pass of the images whose smallest margin is then exactly 0; default 0.
        at_line: Unit = Number(0.0),
        /// The day it was fitted, such as 2026-11-23; after 90 days `vlmgate policy lint` says so.
        fitted: Option<Date>,
        /// Images that both judges judged, or that people labelled.
        pairs: Option<Whole<1, 1_000_000_000>>,
        /// The judge it was fitted to, or labels: people's.
        against: Option<Name<Public>>,
        /// The digest of what judges were asked then: lint says when they are asked something else.
        asked: Option<Sealed>,
    }
}

/// `hedge: off`, or when and how often.
#[derive(Clone, Debug)]
pub(crate) enum HedgeForm {
    Off,
    On(HedgeOn),
}

form! {
    /// A second judge starts while a slow first still runs.
    HedgeOn {
        /// Once the first is slower than this quantile of its own recent answers; default p95.
        after: Quantile = Quantile(0.95),
        /// Most extra attempts per admitted image; default 10%.
        budget: Share = Share(0.10),
    }
}

impl Form for HedgeForm {
    fn read(at: &At<'_>, report: &mut Report) -> Option<Self> {
        if at.node.text() == Some("off") {
            return Some(Self::Off);
        }
        if matches!(at.node.value, Value::Map(_)) {
            return HedgeOn::read(at, report).map(Self::On);
        }
        refuse(at, report, "off or { after: p95, budget: 10% }")
    }

    fn schema() -> Json {
        json!({ "anyOf": [{ "const": "off" }, HedgeOn::schema()] })
    }

    fn absent() -> Option<Self> {
        HedgeOn::absent().map(Self::On)
    }
}

form! {
    /// When and how a second judge is asked.
    SecondOpinionForm {
        /// Any of these: borderline, fail, { sample: 1% }; default borderline.
        when: List<OpinionWhen, 1, 3> = List::of(vec![OpinionWhen::Borderline]),
        /// The first of these that did not give the first answer.
        ask: List<Name<Public>, 1, 8>,
        /// How the two become one: mean of the margins (the default), strictest or kindest.
        combine: Combine = Combine::Mean,
        /// Skipped when less time is left; default 900ms.
        needs: Time = seconds(0.9),
        /// The answer when both together are still borderline; default review.
        split: Fallback = Fallback::Review,
        /// Most second opinions per judged image; default 15%.
        max_share: Share = Share(0.15),
    }
}

/// What makes the gate ask a second judge.
#[derive(Clone, Copy, Debug)]
pub(crate) enum OpinionWhen {
    Borderline,
    Fail,
    Sample(f64),
}

impl Form for OpinionWhen {
    fn read(at: &At<'_>, report: &mut Report) -> Option<Self> {
        word_or_sample(
            at,
            report,
            &[("borderline", Self::Borderline), ("fail", Self::Fail)],
            Self::Sample,
        )
    }

    fn schema() -> Json {
        json!({ "anyOf": [{ "enum": ["borderline", "fail"] }, SampleForm::schema()] })
    }
}

form! {
    /// A share of images, drawn at random.
    SampleForm {
        /// The share.
        sample: Share,
    }
}

/// Reads one of `words`, or `{ sample: 1% }`.
fn word_or_sample<T: Copy>(
    at: &At<'_>,
    report: &mut Report,
    words: &[(&str, T)],
    sample: fn(f64) -> T,
) -> Option<T> {
    if matches!(at.node.value, Value::Map(_)) {
        let form = SampleForm::read(at, report)?;
        return form.sample.get().map(|share| sample(share.0));
    }
    let Some(text) = at.node.text() else {
        return refuse(at, report, "a word or { sample: 1% }");
    };
    let found = words.iter().find(|(word, _)| *word == text);
    if found.is_none() {
        let known = words.iter().map(|(word, _)| *word).chain(["{ sample: 1% }"]);
        unknown_word(at, report, text, known);
    }
    found.map(|(_, meaning)| *meaning)
}

form! {
    /// What one image may cost.
    CostForm {
        /// Hedges and second opinions past this are skipped, the first attempt never; such as 0.004 USD.
        per_image: Option<Money>,
    }
    later {
        "near_team_budget" => "team budgets",
        "over_team_budget" => "team budgets",
    }
}

form! {
    /// What is kept, and for how long.
    RecordForm {
        /// Images kept as the judge saw them: pass, fail, review, borderline, { sample: 0.5% }; default fail and review.
        images: List<KeptImage, 0, 5> = List::of(vec![KeptImage::Fail, KeptImage::Review]),
        /// For how long.
        keep: KeepForm,
    }
}

form! {
    /// For how long records and images are kept.
    KeepForm {
        /// Records; default 90d.
        verdicts: Time = seconds(90.0 * 86_400.0),
        /// Images; default 14d, not longer than records.
        images: Time = seconds(14.0 * 86_400.0),
    }
}

/// Which images are kept.
#[derive(Clone, Copy, Debug)]
pub(crate) enum KeptImage {
    Pass,
    Fail,
    Review,
    Borderline,
    Sample(f64),
}

impl Form for KeptImage {
    fn read(at: &At<'_>, report: &mut Report) -> Option<Self> {
        let words = [
            ("pass", Self::Pass),
            ("fail", Self::Fail),
            ("review", Self::Review),
            ("borderline", Self::Borderline),
        ];
        word_or_sample(at, report, &words, Self::Sample)
    }

    fn schema() -> Json {
        let words = json!({ "enum": ["pass", "fail", "review", "borderline"] });
        json!({ "anyOf": [words, SampleForm::schema()] })
    }
}

/// Gives a closed set its words from the labels of its values.
macro_rules! words {
    ($($type:ty: $($word:literal => $value:expr),+;)+) => {
        $(impl Words for $type {
            fn words() -> Vec<(&'static str, Self)> {
                vec![$(($word, $value)),+]
            }
        })+
    };
}

words! {
    Mode: "enforce" => Mode::Enforce, "observe" => Mode::Observe, "off" => Mode::Off;
    Format: "jpeg" => Format::Jpeg, "png" => Format::Png, "webp" => Format::WebP;
    OnFail: "fail" => OnFail::Fail, "review" => OnFail::Review, "flag" => OnFail::Flag;
    CriterionOnFail: "fail" => CriterionOnFail::Fail, "review" => CriterionOnFail::Review;
    Combine: "mean" => Combine::Mean, "strictest" => Combine::Strictest,
        "kindest" => Combine::Kindest;
    Fallback: "pass" => Fallback::Pass, "fail" => Fallback::Fail, "review" => Fallback::Review,
        "local" => Fallback::Local;
}

impl Words for Landmark {
    fn words() -> Vec<(&'static str, Self)> {
        [Self::Subject, Self::Contact].into_iter().map(|one| (one.label(), one)).collect()
    }
}

impl Words for Measure {
    fn words() -> Vec<(&'static str, Self)> {
        Self::ALL.into_iter().map(|one| (one.label(), one)).collect()
    }
}
