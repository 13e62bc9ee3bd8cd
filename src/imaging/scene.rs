//! A scene is one picture as the measures look at it: what several of them need is made once, and
//! what none of the policy's checks needs is never made.

use std::cell::OnceCell;

use crate::domain::Limit;
use crate::domain::policy::{CheckKind, Fingerprint};
use crate::imaging::blown::blown;
use crate::imaging::cutout::AlphaEdge;
use crate::imaging::fingerprint::{distance, fingerprint};
use crate::imaging::landmark::Landmarks;
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
    sample: OnceCell<Sample>,
    subject: OnceCell<Subject>,
    tiles: OnceCell<Vec<Tile>>,
    print: OnceCell<Fingerprint>,
    known: Known,
}

/// What both a check and the `local` judge go by, or two checks, measured once.
#[derive(Debug, Default)]
struct Known {
    sharpness: OnceCell<Option<f64>>,
    halo: OnceCell<Option<f64>>,
    border: OnceCell<Option<f64>>,
    gap: OnceCell<Option<f64>>,
    alpha_edge: OnceCell<AlphaEdge>,
}

/// A number that was measured before, unless somebody wants its places too.
fn once(
    known: &OnceCell<Option<f64>>,
    marks: &mut Marks,
    measure: impl FnOnce(&mut Marks) -> Option<f64>,
) -> Option<f64> {
    if marks.is_wanted() { measure(marks) } else { *known.get_or_init(|| measure(marks)) }
}

/// What a cell holds, made where it holds nothing yet.
fn made<T>(
    cell: &OnceCell<T>,
    make: impl FnOnce() -> Result<T, WrongSize>,
) -> Result<&T, WrongSize> {
    match cell.get() {
        Some(made) => Ok(made),
        None => make().map(|made| cell.get_or_init(|| made)),
    }
}

impl<'a> Scene<'a> {
    /// The scene of `picture`.
    pub(crate) fn of(picture: &'a Picture) -> Self {
        let (sample, subject, tiles) = (OnceCell::new(), OnceCell::new(), OnceCell::new());
        let (native, print, known) = (Native::of(picture), OnceCell::new(), Known::default());
        Self { picture, native, sample, subject, tiles, print, known }
    }

    fn sample(&self) -> Result<&Sample, WrongSize> {
        made(&self.sample, || Sample::of(self.picture))
    }

    /// The sample and the subject in it.
    pub(crate) fn subject(&self) -> Result<(&Sample, &Subject), WrongSize> {
        let sample = self.sample()?;
        Ok((sample, self.subject.get_or_init(|| Subject::of(sample))))
    }

    /// Where its subject lies.
    pub(crate) fn landmarks(&self) -> Result<Option<Landmarks>, WrongSize> {
        self.subject().map(|(sample, subject)| Landmarks::of(sample, subject))
    }

    fn tiles(&self) -> &[Tile] {
        self.tiles.get_or_init(|| self.native.tiles())
    }

    /// The picture's fingerprint.
    pub(crate) fn print(&self) -> Result<Fingerprint, WrongSize> {
        made(&self.print, || fingerprint(self.sample()?)).copied()
    }

    /// What the `local` judge scores by.
    pub(crate) fn measurements(&self) -> Result<Measurements, WrongSize> {
        let none = &mut Marks::default();
        let (sample, subject) = self.subject()?;
        Ok(Measurements {
            edge_halo: self.halo(none)?,
            residue: ground::residue(sample, subject, cutout::SPECK_SHARE, none),
            edge_noise: edge::noise(subject),
            sharpness: self.sharpness(none)?,
            border: self.border(none)?,
            contact_shadow: self.gap(none)?,
        })
    }

    fn sharpness(&self, marks: &mut Marks) -> Result<Option<f64>, WrongSize> {
        let (sample, subject) = self.subject()?;
        let measure = |marks: &mut Marks| detail::sharpness(sample, subject, marks);
        Ok(once(&self.known.sharpness, marks, measure))
    }

    fn halo(&self, marks: &mut Marks) -> Result<Option<f64>, WrongSize> {
        let (sample, subject) = self.subject()?;
        Ok(once(&self.known.halo, marks, |marks| edge::halo(sample, subject, marks)))
    }

    fn border(&self, marks: &mut Marks) -> Result<Option<f64>, WrongSize> {
        let (sample, subject) = self.subject()?;
        Ok(once(&self.known.border, marks, |marks| edge::border(sample, subject, marks)))
    }

    fn gap(&self, marks: &mut Marks) -> Result<Option<f64>, WrongSize> {
        let (sample, subject) = self.subject()?;
        Ok(once(&self.known.gap, marks, |marks| shadow::contact(sample, subject, marks)))
    }

    fn hard_edge(&self, marks: &mut Marks) -> Option<f64> {
        if marks.is_wanted() {
            return AlphaEdge::of(self.native, marks, &mut Marks::default()).hard();
        }
        self.alpha_edge().hard()
    }

    fn stairs(&self, marks: &mut Marks) -> Option<f64> {
        if marks.is_wanted() {
            return AlphaEdge::of(self.native, &mut Marks::default(), marks).stairs();
        }
        self.alpha_edge().stairs()
    }

    fn alpha_edge(&self) -> &AlphaEdge {
        let (hard, stairs) = (&mut Marks::default(), &mut Marks::default());
        self.known.alpha_edge.get_or_init(|| AlphaEdge::of(self.native, hard, stairs))
    }

    /// Measures for one check; `marks` learn where.
    pub(crate) fn lines(
        &self,
        kind: &CheckKind,
        marks: &mut Marks,
    ) -> Result<Vec<Line>, WrongSize> {
        let (native, px) = (self.native, self.native.size());
        let share = |value, line: &f64| Line::most("max_share", value, *line);
        let line = match kind {
            CheckKind::Size { min_width_px, min_height_px, aspect } => {
                let shown = (self.picture.width_px, self.picture.height_px);
                return Ok(size(shown, (*min_width_px, *min_height_px), *aspect));
            }
            CheckKind::Exposure { subject: mean, max_clipped, min_highlight, max_blown } => {
                let mut lines = self.light((*mean, *max_clipped, *min_highlight), marks)?;
                let blown = blown(self.sample()?, marks);
                lines.push(Line::most("max_blown", blown, *max_blown));
                return Ok(lines);
            }
            CheckKind::Phash { list, max_distance } => return self.near(list, *max_distance),
            CheckKind::Contrast { min_stddev: line } => {
                Line::least("min_stddev", Some(contrast(self.sample()?)), *line).of("levels")
            }
            CheckKind::Opacity { min_alpha: line } => {
                Line::least("min_alpha", cutout::opacity(self.sample()?, marks), *line)
            }
            CheckKind::Sharpness { min_laplacian_var: line } => {
                Line::least("min_laplacian_var", self.sharpness(marks)?, *line).of("variance")
            }
            CheckKind::Upscaled { max_fall_db: line } => {
                Line::most("max_fall_db", coding::fall(self.tiles(), marks, px), *line).of("dB")
            }
            CheckKind::Blockiness { max_share: line } => {
                share(coding::blockiness(self.tiles(), native.block_px(), marks, px), line)
            }
            CheckKind::Noise { max_levels: line } => {
                Line::most("max_levels", coding::noise(self.tiles(), marks, px), *line).of("levels")
            }
            CheckKind::Banding { max_share: line } => {
                share(coding::banding(self.tiles(), marks, px), line)
            }
            CheckKind::Checkerboard { max_share: line } => {
                share(baked::checkerboard(self.tiles(), marks, px), line)
            }
            CheckKind::Bars { max_share: line } => share(baked::bars(self.sample()?, marks), line),
            CheckKind::Background { border, min_white: line } => {
                let (sample, subject) = self.subject()?;
                let white = ground::white(sample, subject, *border, marks);
                Line::least("min_white", Some(white), *line)
            }
            CheckKind::Residue { max_share: line } => {
                let (sample, subject) = self.subject()?;
                share(ground::residue(sample, subject, ground::LITTER_SHARE, marks), line)
            }
            CheckKind::EdgeHalo { max_ratio: line } => {
                Line::most("max_ratio", self.halo(marks)?, *line)
            }
            CheckKind::Specks { max_count } => {
                count(cutout::specks(self.sample()?, marks), *max_count)
            }
            CheckKind::Holes { max_count } => {
                count(cutout::holes(self.subject()?.1, marks), *max_count)
            }
            CheckKind::HardEdge { max_share: line } => share(self.hard_edge(marks), line),
            CheckKind::Stairs { max_share: line } => share(self.stairs(marks), line),
            CheckKind::BorderTouch { max_share: line } => share(self.border(marks)?, line),
            CheckKind::SubjectArea { share } => {
                Line::within("share", placing::area(self.subject()?.1, marks), *share)
            }
            CheckKind::Centring { max_offset: line } => {
                Line::most("max_offset", placing::offset(self.subject()?.1, marks), *line)
            }
            CheckKind::Floating { max_gap: line } => Line::most("max_gap", self.gap(marks)?, *line),
        };
        Ok(vec![line])
    }

    /// The light on the subject, held to the range of its mean, the most that is clipped and the
    /// least highlight.
    fn light(
        &self,
        (mean, max_clipped, min_highlight): ((f64, f64), f64, f64),
        marks: &mut Marks,
    ) -> Result<Vec<Line>, WrongSize> {
        let (sample, subject) = self.subject()?;
        let light = Light::of(sample, subject, marks);
        let of = |part: fn(&Light) -> f64| light.as_ref().map(part);
        Ok(vec![
            Line::within("subject", of(|light| light.mean), mean),
            Line::most("max_clipped", of(|light| light.clipped), max_clipped),
            Line::least("min_highlight", of(|light| light.highlight), min_highlight),
        ])
    }

    /// Bits to the nearest of `list`: one more than `max_distance` are near enough to be another.
    fn near(&self, list: &[Fingerprint], max_distance: u32) -> Result<Vec<Line>, WrongSize> {
        let print = if list.is_empty() { None } else { Some(self.print()?) };
        let each = print.into_iter().flat_map(|own| list.iter().map(move |one| (own, *one)));
        let bits = each.map(|(own, one)| distance(own, one)).min().map(f64::from);
        let line = f64::from(max_distance.saturating_add(1));
        Ok(vec![Line::least("max_distance", bits, line).of("bits")])
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

fn count(value: Option<f64>, most: u32) -> Line {
    Line::most("max_count", value, f64::from(most)).of("count")
}
