//! A local check as a policy file writes it: the keys of every check, and those of its type.

use serde_json::{Value as Json, json};

use crate::config::form::{At, Body, Fields, Form, ObjectSchema, Words, form};
use crate::config::problem::{Report, Spot};
use crate::config::units::{Name, Number, Prose, Range, Share, Tag, Whole};
use crate::domain::OnFail;
use crate::domain::policy::{CheckKind, Fingerprint};

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
    "opacity" => Opacity(OpacityForm),
    "exposure" => Exposure(ExposureForm),
    "sharpness" => Sharpness(SharpnessForm),
    "upscaled" => Upscaled(UpscaledForm),
    "blockiness" => Blockiness(BlockinessForm),
    "noise" => Noise(NoiseForm),
    "banding" => Banding(BandingForm),
    "checkerboard" => Checkerboard(CheckerboardForm),
    "bars" => Bars(BarsForm),
    "background" => Background(BackgroundForm),
    "residue" => Residue(ResidueForm),
    "edge_halo" => EdgeHalo(EdgeHaloForm),
    "specks" => Specks(SpecksForm),
    "holes" => Holes(HolesForm),
    "hard_edge" => HardEdge(HardEdgeForm),
    "stairs" => Stairs(StairsForm),
    "border_touch" => BorderTouch(BorderTouchForm),
    "subject_area" => SubjectArea(SubjectAreaForm),
    "centring" => Centring(CentringForm),
    "floating" => Floating(FloatingForm),
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
    /// Alpha of the subject's most opaque tenth: is anything there, and is it more than a ghost.
    OpacityForm {
        /// Least alpha, 0..1; default 0.9. An image without alpha has none to measure.
        min_alpha: Share = Share(0.9),
    }
}

form! {
    /// Luma of the subject.
    ExposureForm {
        /// Range of the mean, of 0..1; default [0.06, 0.97].
        subject: Range<1> = Range(0.06, 0.97),
        /// Most of the subject that may have a channel at its upper end; default 1: any.
        max_clipped: Share = Share(1.0),
        /// Least luma that the brightest fiftieth of the subject reaches, 0..1; default 0: any.
        min_highlight: Share = Share(0.0),
        /// Most of the shades that may run into white where most of the frame is white, as a share of
        /// half the frame's outline; default 1: any.
        max_blown: Share = Share(1.0),
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
    /// Fall of the spectrum at the picture's steepest places: was it enlarged, or is it blurred.
    UpscaledForm {
        /// Most decibels over two octaves; default 23.
        max_fall_db: Number<0, 100> = Number(23.0),
    }
}

form! {
    /// The borders of a JPEG's blocks.
    BlockinessForm {
        /// Most of the picture's tiles in which they may be seen; default 0.5.
        max_share: Share = Share(0.5),
    }
}

form! {
    /// Grain where the picture is quietest.
    NoiseForm {
        /// Most levels of standard deviation; default 9.
        max_levels: Number<0, 128> = Number(9.0),
    }
}

form! {
    /// Levels that stand still and jump where light should change smoothly.
    BandingForm {
        /// Most of the picture's tiles that may be banded; default 0.5.
        max_share: Share = Share(0.5),
    }
}

form! {
    /// The checkerboard of transparency, painted into the pixels.
    CheckerboardForm {
        /// Most of the tiles along the frame that may show it; default 0.1.
        max_share: Share = Share(0.1),
    }
}

form! {
    /// Bars of one colour above and below the picture, or left and right of it.
    BarsForm {
        /// Most of the frame that they may fill; default 0.02.
        max_share: Share = Share(0.02),
    }
}

form! {
    /// Near-white pixels in the frame's border band, and stains on a white ground.
    BackgroundForm {
        /// The band's width as a share of the shorter side; default 2%, at most 50%.
        border: Share = Share(0.02),
        /// Least share of near-white pixels; default 0.97.
        min_white: Share = Share(0.97),
    }
}

form! {
    /// Bits that belong neither to a plain ground nor to the subject.
    ResidueForm {
        /// Most of the ground that may be littered; default 0.02.
        max_share: Share = Share(0.02),
    }
}

form! {
    /// Bits of the old ground beside a cutout.
    SpecksForm {
        /// Most that there may be; default 4.
        max_count: Whole<0, 10000> = Whole(4),
    }
}

form! {
    /// Small holes through a cutout.
    HolesForm {
        /// Most that there may be; default 6.
        max_count: Whole<0, 10000> = Whole(6),
    }
}

form! {
    /// A cutout's edge without soft pixels.
    HardEdgeForm {
        /// Most of the edge that may be hard; default 0.25.
        max_share: Share = Share(0.25),
    }
}

form! {
    /// A cutout's edge that runs in stairs.
    StairsForm {
        /// Most of the edge that may; default 0.1.
        max_share: Share = Share(0.1),
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
    /// How much of the frame the subject covers.
    SubjectAreaForm {
        /// Range of 0..1; default [0.007, 0.98].
        share: Range<1> = Range(0.007, 0.98),
    }
}

form! {
    /// How far the subject's middle lies from the frame's.
    CentringForm {
        /// Most, as a share of the side; default 0.3.
        max_offset: Share = Share(0.3),
    }
}

form! {
    /// The gap between the subject's foot and its shadow: does it float.
    FloatingForm {
        /// Most, as a share of the subject's height; default 0.15.
        max_gap: Share = Share(0.15),
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

impl CheckBody {
    /// The check, where every key of it is right. `read_list` reads a list beside the policy.
    pub(crate) fn kind(
        &self,
        read_list: impl FnOnce(&str, &Spot) -> Vec<Fingerprint>,
    ) -> Option<CheckKind> {
        Some(match self {
            Self::Size(body) => CheckKind::Size {
                min_width_px: body.min_width.filled()?.0,
                min_height_px: body.min_height.filled()?.0,
                aspect: body.aspect.filled()?.map(|range| (range.0, range.1)),
            },
            Self::Contrast(body) => CheckKind::Contrast { min_stddev: body.min_stddev.filled()?.0 },
            Self::Opacity(body) => CheckKind::Opacity { min_alpha: body.min_alpha.filled()?.0 },
            Self::Exposure(body) => CheckKind::Exposure {
                subject: body.subject.filled().map(|range| (range.0, range.1))?,
                max_clipped: body.max_clipped.filled()?.0,
                min_highlight: body.min_highlight.filled()?.0,
                max_blown: body.max_blown.filled()?.0,
            },
            Self::Sharpness(body) => {
                CheckKind::Sharpness { min_laplacian_var: body.min_laplacian_var.filled()?.0 }
            }
            Self::Phash(body) => CheckKind::Phash {
                list: body
                    .list
                    .get()
                    .map(|path| read_list(&path.text, &body.list.spot))
                    .unwrap_or_default(),
                max_distance: body.max_distance.filled()?.0,
            },
            Self::Background(body) => CheckKind::Background {
                border: body.border.filled()?.0,
                min_white: body.min_white.filled()?.0,
            },
            Self::EdgeHalo(body) => CheckKind::EdgeHalo { max_ratio: body.max_ratio.filled()?.0 },
            Self::BorderTouch(body) => {
                CheckKind::BorderTouch { max_share: body.max_share.filled()?.0 }
            }
            Self::SubjectArea(body) => CheckKind::SubjectArea {
                share: body.share.filled().map(|range| (range.0, range.1))?,
            },
            Self::Centring(body) => CheckKind::Centring { max_offset: body.max_offset.filled()?.0 },
            Self::Floating(body) => CheckKind::Floating { max_gap: body.max_gap.filled()?.0 },
            Self::Upscaled(body) => {
                CheckKind::Upscaled { max_fall_db: body.max_fall_db.filled()?.0 }
            }
            Self::Blockiness(body) => {
                CheckKind::Blockiness { max_share: body.max_share.filled()?.0 }
            }
            Self::Noise(body) => CheckKind::Noise { max_levels: body.max_levels.filled()?.0 },
            Self::Banding(body) => CheckKind::Banding { max_share: body.max_share.filled()?.0 },
            Self::Checkerboard(body) => {
                CheckKind::Checkerboard { max_share: body.max_share.filled()?.0 }
            }
            Self::Bars(body) => CheckKind::Bars { max_share: body.max_share.filled()?.0 },
            Self::Residue(body) => CheckKind::Residue { max_share: body.max_share.filled()?.0 },
            Self::Specks(body) => CheckKind::Specks { max_count: body.max_count.filled()?.0 },
            Self::Holes(body) => CheckKind::Holes { max_count: body.max_count.filled()?.0 },
            Self::HardEdge(body) => CheckKind::HardEdge { max_share: body.max_share.filled()?.0 },
            Self::Stairs(body) => CheckKind::Stairs { max_share: body.max_share.filled()?.0 },
        })
    }
}
