//! A scene is one picture as the measures look at it: what several of them need is made once, and
//! what none of the policy's checks needs is never made.

use std::cell::OnceCell;

use crate::domain::Limit;
use crate::domain::policy::{CheckKind, Fingerprint};
use crate::imaging::fingerprint::{distance, fingerprint};
use crate::imaging::light::{Light, contrast};
use crate::imaging::marks::Marks;
use crate::imaging::native::{Native, Tile};
use crate::imaging::picture::{Picture, WrongSize};
use crate::imaging::sample::Sample;
use crate::imaging::subject::Subject;
use crate::imaging::{Measurements, baked, coding, cutout, detail, edge, ground, placing, shadow};

/// One number that a check holds to one line.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// The key of the policy that sets the line.
    pub key: &'static str,
    /// What was measured; `None` where this picture gives nothing to measure.
    pub value: Option<f64>,
    /// The line.
    pub limit: Limit,
    /// Of the value.
    pub unit: &'static str,
}

impl Line {
    fn least(key: &'static str, value: Option<f64>, line: f64) -> Self {
        Self { key, value, limit: Limit::AtLeast(line), unit: "ratio" }
    }

    fn most(key: &'static str, value: Option<f64>, line: f64) -> Self {
        Self { key, value, limit: Limit::AtMost(line), unit: "ratio" }
    }

    fn within(key: &'static str, value: Option<f64>, (low, high): (f64, f64)) -> Self {
        Self { key, value, limit: Limit::Between(low, high), unit: "ratio" }
    }

    fn of(self, unit: &'static str) -> Self {
        Self { unit, ..self }
    }

    /// How near the value came to the line. On it the risk is as high as past it, so what is broken
    /// counts more.
    fn urgency(&self) -> f64 {
        let of = |value| self.limit.risk(value) + if self.limit.holds(value) { 0.0 } else { 1.0 };
        self.value.map_or(-1.0, of)
    }

    /// Of several lines the one that breaks, or else the one that comes nearest to breaking.
    pub(crate) fn worst(lines: Vec<Self>) -> Option<Self> {
        let worse = |worst: Self, next: Self| {
            if worst.urgency() < next.urgency() { next } else { worst }
        };
        lines.into_iter().reduce(worse)
    }
}

/// One picture and what was made of it so far.
pub(crate) struct Scene<'a> {
    picture: &'a Picture,
    native: Native<'a>,
    pub(crate) sample: Sample,
    pub(crate) subject: Subject,
    tiles: OnceCell<Vec<Tile>>,
    print: OnceCell<Fingerprint>,
    known: Known,
}

/// What both a check and the `local` judge go by, measured once.
#[derive(Debug, Default)]
struct Known {
    sharpness: OnceCell<Option<f64>>,
    halo: OnceCell<Option<f64>>,
    border: OnceCell<Option<f64>>,
    gap: OnceCell<Option<f64>>,
}

/// A number that was measured before, unless somebody wants its places too.
fn once(
    known: &OnceCell<Option<f64>>,
    marks: &mut Marks,
    measure: impl FnOnce(&mut Marks) -> Option<f64>,
) -> Option<f64> {
    if marks.is_wanted() { measure(marks) } else { *known.get_or_init(|| measure(marks)) }
}

impl<'a> Scene<'a> {
    /// The scene of `picture`.
    pub(crate) fn of(picture: &'a Picture) -> Result<Self, WrongSize> {
        let sample = Sample::of(picture)?;
        let subject = Subject::of(&sample);
        let native = Native::of(picture);
        let (tiles, print, known) = (OnceCell::new(), OnceCell::new(), Known::default());
        Ok(Self { picture, native, sample, subject, tiles, print, known })
    }

    /// What the `local` judge scores by.
    pub(crate) fn measurements(&self) -> Measurements {
        let none = &mut Marks::default();
        let (sample, subject) = (&self.sample, &self.subject);
        Measurements {
            edge_halo: self.halo(none),
            residue: ground::residue(sample, subject, cutout::SPECK_SHARE, none),
            edge_noise: edge::noise(subject),
            sharpness: self.sharpness(none),
            border: self.border(none),
            contact_shadow: self.gap(none),
        }
    }

    fn sharpness(&self, marks: &mut Marks) -> Option<f64> {
        let measure = |marks: &mut Marks| detail::sharpness(&self.sample, &self.subject, marks);
        once(&self.known.sharpness, marks, measure)
    }

    fn halo(&self, marks: &mut Marks) -> Option<f64> {
        once(&self.known.halo, marks, |marks| edge::halo(&self.sample, &self.subject, marks))
    }

    fn border(&self, marks: &mut Marks) -> Option<f64> {
        once(&self.known.border, marks, |marks| edge::border(&self.sample, &self.subject, marks))
    }

    fn gap(&self, marks: &mut Marks) -> Option<f64> {
        once(&self.known.gap, marks, |marks| shadow::contact(&self.sample, &self.subject, marks))
    }

    /// Measures for one check; `marks` learn where.
    pub(crate) fn lines(
        &self,
        kind: &CheckKind,
        marks: &mut Marks,
    ) -> Result<Vec<Line>, WrongSize> {
        let (sample, subject, native) = (&self.sample, &self.subject, self.native);
        let size_px = native.size();
        let key = "max_share";
        Ok(match kind {
            CheckKind::Size { min_width_px, min_height_px, aspect } => {
                let shown = (self.picture.width_px, self.picture.height_px);
                size(shown, (*min_width_px, *min_height_px), *aspect)
            }
            CheckKind::Contrast { min_stddev: line } => {
                in_unit("levels", least("min_stddev", Some(contrast(sample)), line))
            }
            CheckKind::Opacity { min_alpha: line } => {
                least("min_alpha", cutout::opacity(sample, marks), line)
            }
            CheckKind::Exposure { subject: mean, max_clipped, min_highlight } => {
                self.light((*mean, *max_clipped, *min_highlight), marks)
            }
            CheckKind::Sharpness { min_laplacian_var: line } => {
                let value = self.sharpness(marks);
                in_unit("variance", least("min_laplacian_var", value, line))
            }
            CheckKind::Upscaled { max_fall_db: line } => {
                let value = coding::fall(self.tiles(), marks, size_px);
                in_unit("dB", most("max_fall_db", value, line))
            }
            CheckKind::Blockiness { max_share: line } => {
                let block_px = native.block_px();
                most(key, coding::blockiness(self.tiles(), block_px, marks, size_px), line)
            }
            CheckKind::Noise { max_levels: line } => {
                let value = coding::noise(self.tiles(), marks, size_px);
                in_unit("levels", most("max_levels", value, line))
            }
            CheckKind::Banding { max_share: line } => {
                most(key, coding::banding(self.tiles(), marks, size_px), line)
            }
            CheckKind::Checkerboard { max_share: line } => {
                most(key, baked::checkerboard(self.tiles(), marks, size_px), line)
            }
            CheckKind::Bars { max_share: line } => most(key, baked::bars(sample, marks), line),
            CheckKind::Background { border, min_white: line } => {
                let value = ground::white(sample, subject, *border, marks);
                least("min_white", Some(value), line)
            }
            CheckKind::Residue { max_share: line } => {
                let value = ground::residue(sample, subject, ground::LITTER_SHARE, marks);
                most(key, value, line)
            }
            CheckKind::EdgeHalo { max_ratio: line } => most("max_ratio", self.halo(marks), line),
            CheckKind::Specks { max_count: line } => count(cutout::specks(sample, marks), *line),
            CheckKind::Holes { max_count: line } => count(cutout::holes(subject, marks), *line),
            CheckKind::HardEdge { max_share: line } => most(key, cutout::hard(native, marks), line),
            CheckKind::Stairs { max_share: line } => most(key, cutout::stairs(native, marks), line),
            CheckKind::BorderTouch { max_share: line } => most(key, self.border(marks), line),
            CheckKind::SubjectArea { share: line } => {
                within("share", placing::area(subject, marks), line)
            }
            CheckKind::Centring { max_offset: line } => {
                most("max_offset", placing::offset(subject, marks), line)
            }
            CheckKind::Floating { max_gap: line } => most("max_gap", self.gap(marks), line),
            CheckKind::Phash { list, max_distance } => self.near(list, *max_distance)?,
        })
    }

    /// The light on the subject, held to the range of its mean, the most that is clipped and the
    /// least highlight.
    fn light(
        &self,
        (mean, max_clipped, min_highlight): ((f64, f64), f64, f64),
        marks: &mut Marks,
    ) -> Vec<Line> {
        let light = Light::of(&self.sample, &self.subject, marks);
        let of = |part: fn(&Light) -> f64| light.as_ref().map(part);
        vec![
            Line::within("subject", of(|light| light.mean), mean),
            Line::most("max_clipped", of(|light| light.clipped), max_clipped),
            Line::least("min_highlight", of(|light| light.highlight), min_highlight),
        ]
    }

    /// Bits to the nearest of `list`: one more than `max_distance` are near enough to be another.
    fn near(&self, list: &[Fingerprint], max_distance: u32) -> Result<Vec<Line>, WrongSize> {
        let print = self.print()?;
        let bits = list.iter().map(|known| distance(print, *known)).min().map(f64::from);
        let line = f64::from(max_distance.saturating_add(1));
        Ok(vec![Line::least("max_distance", bits, line).of("bits")])
    }

    fn tiles(&self) -> &[Tile] {
        self.tiles.get_or_init(|| self.native.tiles())
    }

    /// The picture's fingerprint.
    pub(crate) fn print(&self) -> Result<Fingerprint, WrongSize> {
        match self.print.get() {
            Some(made) => Ok(*made),
            None => fingerprint(self.picture).map(|made| *self.print.get_or_init(|| made)),
        }
    }
}

/// Width, height and width / height of the whole image, upright, in its own pixels.
pub(crate) fn size(
    (width_px, height_px): (u32, u32),
    (min_width_px, min_height_px): (u32, u32),
    aspect: Option<(f64, f64)>,
) -> Vec<Line> {
    let (width, height) = (f64::from(width_px), f64::from(height_px));
    let least = |key, side, line| Line::least(key, Some(side), f64::from(line)).of("px");
    let mut lines =
        vec![least("min_width", width, min_width_px), least("min_height", height, min_height_px)];
    lines.extend(aspect.map(|range| Line::within("aspect", Some(width / height), range)));
    lines
}

fn count(value: Option<f64>, most: u32) -> Vec<Line> {
    vec![Line::most("max_count", value, f64::from(most)).of("count")]
}

fn most(key: &'static str, value: Option<f64>, line: &f64) -> Vec<Line> {
    vec![Line::most(key, value, *line)]
}

fn least(key: &'static str, value: Option<f64>, line: &f64) -> Vec<Line> {
    vec![Line::least(key, value, *line)]
}

fn within(key: &'static str, value: Option<f64>, line: &(f64, f64)) -> Vec<Line> {
    vec![Line::within(key, value, *line)]
}

fn in_unit(unit: &'static str, lines: Vec<Line>) -> Vec<Line> {
    lines.into_iter().map(|line| line.of(unit)).collect()
}
