//! A local check as a policy file writes it: the keys of every check, and those of its type.

use serde_json::{Value as Json, json};

use crate::config::form::{At, Body, Fields, Form, ObjectSchema, Words, form};
use crate::config::problem::Report;
use crate::config::units::{Name, Number, Prose, Range, Share, Tag, Whole};
use crate::domain::OnFail;

/// One local check: the keys every check has, and those of its type.
#[derive(Clone, Debug)]
pub(crate) struct CheckForm {
    pub(crate) head: CheckHead,
    pub(crate) body: CheckBody,
}

form! {
    /// The keys of every check.
    CheckHead {
        /// Its name in findings and flags.
        id: Name<Tag>,
        /// A condition on vars; the check is left out where it is false.
        when: Option<Prose<300>>,
        /// fail and review answer at once and ask no judge; flag tells the judge and the record; default flag.
        on_fail: OnFail = OnFail::Flag,
    }
}

/// Declares the check types: the word, the variant and its keys.
macro_rules! check_types {
    ($($word:literal => $variant:ident($form:ident),)+) => {
        /// The keys of one type of check.
        #[derive(Clone, Debug)]
        pub(crate) enum CheckBody {
            $($variant($form),)+
        }

        impl CheckBody {
            const TYPES: &'static [&'static str] = &[$($word),+];

            fn read(kind: &str, fields: &mut Fields<'_>, report: &mut Report) -> Option<Self> {
                match kind {
                    $($word => Some(Self::$variant($form::read_fields(fields, report))),)+
                    _ => None,
                }
            }

            fn schemas() -> Vec<Json> {
                vec![$(check_schema::<$form>($word)),+]
            }
        }
    };
}

check_types! {
    "size" => Size(SizeForm),
    "contrast" => Contrast(ContrastForm),
    "exposure" => Exposure(ExposureForm),
    "sharpness" => Sharpness(SharpnessForm),
    "background" => Background(BackgroundForm),
    "edge_halo" => EdgeHalo(EdgeHaloForm),
    "border_touch" => BorderTouch(BorderTouchForm),
    "phash" => Phash(PhashForm),
}

fn check_schema<T: Body>(kind: &str) -> Json {
    let mut object = ObjectSchema::default();
    object.constant("type", kind);
    CheckHead::describe_fields(&mut object);
    T::describe_fields(&mut object);
    object.finish(T::ABOUT)
}

/// The word of a check's type.
#[derive(Clone, Debug)]
struct CheckType(&'static str);

impl Words for CheckType {
    fn words() -> Vec<(&'static str, Self)> {
        CheckBody::TYPES.iter().map(|word| (*word, Self(word))).collect()
    }
}

impl Form for CheckForm {
    fn read(at: &At<'_>, report: &mut Report) -> Option<Self> {
        let mut fields = Fields::of(at, report)?;
        let kind = fields.take::<CheckType>("type", None, report);
        let head = CheckHead::read_fields(&mut fields, report);
        // without its type nobody can say which other keys are right
        let kind = kind.get().cloned()?;
        let body = CheckBody::read(kind.0, &mut fields, report)?;
        fields.finish(&[], report);
        Some(Self { head, body })
    }

    fn schema() -> Json {
        json!({ "oneOf": CheckBody::schemas() })
    }
}

form! {
    /// Width and height, and width / height.
    SizeForm {
        /// Least width in pixels; default 1.
        min_width: Whole<1, 20000> = Whole(1),
        /// Least height in pixels; default 1.
        min_height: Whole<1, 20000> = Whole(1),
        /// Range of width / height; default: any.
        aspect: Option<Range<100>>,
    }
}

form! {
    /// Standard deviation of luma: is there anything to see.
    ContrastForm {
        /// Least deviation; default 4.
        min_stddev: Number<0, 128> = Number(4.0),
    }
}

form! {
    /// Mean luma of the subject.
    ExposureForm {
        /// Range of 0..1; default [0.06, 0.97].
        subject: Range<1> = Range(0.06, 0.97),
    }
}

form! {
    /// Variance of the Laplacian of the subject, at a fixed scale.
    SharpnessForm {
        /// Least variance; default 35.
        min_laplacian_var: Number<0, 100_000> = Number(35.0),
    }
}

form! {
    /// Near-white pixels in the frame's border band.
    BackgroundForm {
        /// The band's width as a share of the shorter side; default 2%, at most 50%.
        border: Share = Share(0.02),
        /// Least share of near-white pixels; default 0.97.
        min_white: Share = Share(0.97),
    }
}

form! {
    /// Halo along the subject's edge.
    EdgeHaloForm {
        /// Most of the edge that may carry one; default 0.06.
        max_ratio: Share = Share(0.06),
    }
}

form! {
    /// The subject at the frame's border: is it cut off.
    BorderTouchForm {
        /// Most of the border that it may touch; default 0.02.
        max_share: Share = Share(0.02),
    }
}

form! {
    /// Distance of the perceptual hash to the nearest in a list.
    PhashForm {
        /// The list beside the policy: one hash of 16 hex digits a line, `#` begins a comment.
        list: Prose<200>,
        /// An image at this distance in bits, or nearer, is a known one; default 6.
        max_distance: Whole<0, 32> = Whole(6),
    }
}
