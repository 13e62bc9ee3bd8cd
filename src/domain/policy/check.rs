//! A check says what is measured on the pixels, the line it is held to, and what a broken line does.

use crate::domain::policy::OnFail;

/// A perceptual hash of 64 bits, see `imaging::fingerprint`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub u64);

/// What one check measures and the line it holds it to.
#[derive(Clone, Debug, PartialEq)]
pub enum CheckKind {
    /// Width and height in pixels, and width / height.
    Size {
        /// Least width.
        min_width_px: u32,
        /// Least height.
        min_height_px: u32,
        /// Closed range of width / height.
        aspect: Option<(f64, f64)>,
    },
    /// Standard deviation of luma, 0..127.5.
    Contrast {
        /// Least deviation.
        min_stddev: f64,
    },
    /// Alpha of the subject's most opaque tenth, 0..1.
    Opacity {
        /// Least alpha.
        min_alpha: f64,
    },
    /// Luma of the subject, 0..1.
    Exposure {
        /// Closed range of the mean.
        subject: (f64, f64),
        /// Most of the subject that may have a channel at its upper end, 0..1.
        max_clipped: f64,
        /// Least luma that a fiftieth of the subject reaches.
        min_highlight: f64,
        /// Most of the shades that run into white where most of the frame is white, 0..1.
        max_blown: f64,
    },
    /// Variance of the Laplacian of the subject at a fixed scale.
    Sharpness {
        /// Least variance.
        min_laplacian_var: f64,
    },
    /// How far the power of the steepest places falls from coarse waves to fine ones, in decibels.
    Upscaled {
        /// Most decibels.
        max_fall_db: f64,
    },
    /// Share of the picture in which the borders of a JPEG's blocks can be seen.
    Blockiness {
        /// Most, 0..1.
        max_share: f64,
    },
    /// Standard deviation of the grain where the picture is quietest, in levels.
    Noise {
        /// Most levels.
        max_levels: f64,
    },
    /// Share of the picture in which levels stand still and jump.
    Banding {
        /// Most, 0..1.
        max_share: f64,
    },
    /// Share of the frame's border that shows the checkerboard of transparency.
    Checkerboard {
        /// Most, 0..1.
        max_share: f64,
    },
    /// Share of the frame that bars of one colour fill.
    Bars {
        /// Most, 0..1.
        max_share: f64,
    },
    /// Share of near-white pixels in the frame's border band.
    Background {
        /// The band's width as a share of the shorter side.
        border: f64,
        /// Least share, 0..1.
        min_white: f64,
    },
    /// Share of the subject's edge that carries a halo.
    EdgeHalo {
        /// Most, 0..1.
        max_ratio: f64,
    },
    /// Share of a plain ground that is littered.
    Residue {
        /// Most, 0..1.
        max_share: f64,
    },
    /// Bits of the old ground beside a cutout, counted.
    Specks {
        /// Most specks.
        max_count: u32,
    },
    /// Small holes through a cutout, counted.
    Holes {
        /// Most holes.
        max_count: u32,
    },
    /// Share of a cutout's edge without a soft pixel.
    HardEdge {
        /// Most, 0..1.
        max_share: f64,
    },
    /// Share of a cutout's edge that runs in stairs.
    Stairs {
        /// Most, 0..1.
        max_share: f64,
    },
    /// Share of the frame that the subject covers.
    SubjectArea {
        /// Closed range, 0..1.
        share: (f64, f64),
    },
    /// Distance of the subject's middle from the frame's, as a share of the side.
    Centring {
        /// Most, 0..0.5.
        max_offset: f64,
    },
    /// Gap between the subject's foot and its shadow, as a share of the subject's height.
    Floating {
        /// Most, 0..1.
        max_gap: f64,
    },
    /// Share of the frame's border that the subject touches.
    BorderTouch {
        /// Most, 0..1.
        max_share: f64,
    },
    /// Distance of the perceptual hash to the nearest in a list.
    Phash {
        /// The list, read from its file.
        list: Vec<Fingerprint>,
        /// An image at this distance or nearer is a known one, bits.
        max_distance: u32,
    },
}

impl CheckKind {
    /// The word used in files.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Size { .. } => "size",
            Self::Contrast { .. } => "contrast",
            Self::Opacity { .. } => "opacity",
            Self::Exposure { .. } => "exposure",
            Self::Sharpness { .. } => "sharpness",
            Self::Upscaled { .. } => "upscaled",
            Self::Blockiness { .. } => "blockiness",
            Self::Noise { .. } => "noise",
            Self::Banding { .. } => "banding",
            Self::Checkerboard { .. } => "checkerboard",
            Self::Bars { .. } => "bars",
            Self::Background { .. } => "background",
            Self::Residue { .. } => "residue",
            Self::EdgeHalo { .. } => "edge_halo",
            Self::Specks { .. } => "specks",
            Self::Holes { .. } => "holes",
            Self::HardEdge { .. } => "hard_edge",
            Self::Stairs { .. } => "stairs",
            Self::BorderTouch { .. } => "border_touch",
            Self::SubjectArea { .. } => "subject_area",
            Self::Centring { .. } => "centring",
            Self::Floating { .. } => "floating",
            Self::Phash { .. } => "phash",
        }
    }
}

/// One local check.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckSpec {
    /// Its name in findings and flags.
    pub id: String,
    /// What it measures.
    pub kind: CheckKind,
    /// A condition on `vars`; the check is left out where it is false.
    pub when: Option<String>,
    /// What a broken line does.
    pub on_fail: OnFail,
}
