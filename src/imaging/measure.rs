//! A measure is one pure function from pixels to one number; a check holds it to its line.
//!
//! Everything but the size is measured on a [`Sample`], so a number means the same at every
//! resolution, and on the [`Subject`], so that the ground does not speak for the product.

use std::cell::OnceCell;

use crate::domain::policy::{CheckKind, CheckSpec, Fingerprint};
use crate::domain::{Finding, Limit};
use crate::imaging::fingerprint::{distance, fingerprint};
use crate::imaging::grid::{Grid, share, spread};
use crate::imaging::picture::{Picture, WrongSize};
use crate::imaging::sample::Sample;
use crate::imaging::subject::{Ground, Subject, border_band};
use crate::imaging::{Measurements, edge, shadow};

/// Level from which the darkest channel may count as white: a white sweep with a lamp's fall-off.
/// The grey squares of a painted checkerboard (204) lie below.
const WHITE_LEVEL: u8 = 208;

/// Levels below the band's median from which a pixel is a stain.
const STAIN_LEVELS: u8 = 24;

/// What was measured on one picture.
#[derive(Debug)]
pub(crate) struct Measured {
    /// One for every check, in order.
    pub(crate) findings: Vec<Finding>,
    /// What the `local` judge scores by.
    pub(crate) measurements: Measurements,
}

/// Measures `picture` for `checks` and for the `local` judge.
pub(crate) fn measure(picture: &Picture, checks: &[CheckSpec]) -> Result<Measured, WrongSize> {
    let sample = Sample::of(picture)?;
    let subject = Subject::of(&sample);
    let measurements = Measurements {
        edge_halo: edge::halo(&sample, &subject),
        residue: edge::residue(&sample, &subject),
        edge_noise: edge::noise(&subject),
        sharpness: sharpness(&sample, &subject),
        border: edge::border(&sample, &subject),
        contact_shadow: shadow::contact(&sample, &subject),
    };
    let print = OnceCell::new();
    let hash = || match print.get() {
        Some(made) => Ok(*made),
        None => fingerprint(picture).map(|made| *print.get_or_init(|| made)),
    };
    let mut findings = Vec::with_capacity(checks.len());
    for check in checks {
        let (value, limit, unit) = match &check.kind {
            CheckKind::Size { min_width_px, min_height_px, aspect } => {
                let shown = (picture.width_px, picture.height_px);
                size(shown, (*min_width_px, *min_height_px), *aspect)
            }
            CheckKind::Contrast { min_stddev } => {
                (Some(contrast(&sample)), Limit::AtLeast(*min_stddev), "levels")
            }
            CheckKind::Exposure { subject: (low, high) } => {
                (exposure(&sample, &subject), Limit::Between(*low, *high), "ratio")
            }
            CheckKind::Sharpness { min_laplacian_var } => {
                (measurements.sharpness, Limit::AtLeast(*min_laplacian_var), "variance")
            }
            CheckKind::Background { border, min_white } => {
                (Some(white_border(&sample, *border)), Limit::AtLeast(*min_white), "ratio")
            }
            CheckKind::EdgeHalo { max_ratio } => {
                (measurements.edge_halo, Limit::AtMost(*max_ratio), "ratio")
            }
            CheckKind::BorderTouch { max_share } => {
                (measurements.border, Limit::AtMost(*max_share), "ratio")
            }
            CheckKind::Phash { list, max_distance } => {
                // one bit more than the nearest known image may be near
                let limit = Limit::AtLeast(f64::from(max_distance.saturating_add(1)));
                (nearest(hash()?, list), limit, "bits")
            }
        };
        findings.push(Finding::new(&check.id, value, limit, unit, check.on_fail));
    }
    Ok(Measured { findings, measurements })
}

/// What the checks find in a picture of which only the size is known; `None` where one of them
/// looks at pixels.
pub(crate) fn by_size(shown: (u32, u32), checks: &[CheckSpec]) -> Option<Vec<Finding>> {
    let find = |check: &CheckSpec| match &check.kind {
        CheckKind::Size { min_width_px, min_height_px, aspect } => {
            let (value, limit, unit) = size(shown, (*min_width_px, *min_height_px), *aspect);
            Some(Finding::new(&check.id, value, limit, unit, check.on_fail))
        }
        CheckKind::Contrast { .. }
        | CheckKind::Exposure { .. }
        | CheckKind::Sharpness { .. }
        | CheckKind::Background { .. }
        | CheckKind::EdgeHalo { .. }
        | CheckKind::BorderTouch { .. }
        | CheckKind::Phash { .. } => None,
    };
    checks.iter().map(find).collect()
}

/// Width, height or width / height: of the lines a size is held to, the one that breaks, or else
/// the one that comes nearest to breaking. Of the whole image, upright, in its own pixels.
fn size(
    (width_px, height_px): (u32, u32),
    (min_width_px, min_height_px): (u32, u32),
    aspect: Option<(f64, f64)>,
) -> (Option<f64>, Limit, &'static str) {
    let (width, height) = (f64::from(width_px), f64::from(height_px));
    let lines = [
        Some((width, Limit::AtLeast(f64::from(min_width_px)), "px")),
        Some((height, Limit::AtLeast(f64::from(min_height_px)), "px")),
        aspect.map(|(low, high)| (width / height, Limit::Between(low, high), "ratio")),
    ];
    // on the line the risk is as high as past it, so what is broken counts more
    let urgency = |(value, limit, _): &(f64, Limit, &str)| {
        limit.risk(*value) + if limit.holds(*value) { 0.0 } else { 1.0 }
    };
    let worst = lines
        .into_iter()
        .flatten()
        .reduce(|worst, next| if urgency(&worst) < urgency(&next) { next } else { worst });
    let (value, limit, unit) = worst.unwrap_or((width, Limit::AtLeast(0.0), "px"));
    (Some(value), limit, unit)
}

/// Standard deviation of luma over the whole frame, 0..127.5.
///
/// A cutout is laid on white and on black and the larger deviation counts: a plain white product
/// shows on black, and what is (almost) transparent shows on neither.
fn contrast(sample: &Sample) -> f64 {
    let deviation = |grey: u8| {
        let luma = sample.luma_on(grey);
        let levels = luma.cells().iter().map(|level| f64::from(*level));
        spread(levels).map_or(0.0, |(_, variance)| variance.sqrt())
    };
    let on_white = deviation(255);
    if sample.has_alpha { on_white.max(deviation(0)) } else { on_white }
}

/// Mean luma of the subject, 0..1. `None` where there is no subject.
///
/// A dark studio and a white sweep are ground and do not count. In a scene the middle of the frame
/// stands in for the subject.
fn exposure(sample: &Sample, subject: &Subject) -> Option<f64> {
    let inside = sample.luma.cells().iter().zip(subject.mask.cells());
    let levels = inside.filter(|(_, inside)| **inside).map(|(level, _)| f64::from(*level));
    let (mean, _) = spread(levels)?;
    Some(mean / 255.0)
}

/// Fewest pixels that sharpness is measured on.
const LEAST_SHARP_PX: usize = 64;

/// Slope, in levels over two pixels, under which there is no edge, not even a blurred one.
const LEAST_SLOPE: i32 = 8;

/// Variance of the Laplacian of luma over the subject's strongest edges.
///
/// The Laplacian is the mean of the second differences along the two axes, at the sample's scale.
/// Strong edges alone, because a plain product has few and a blurred background must not count:
/// the steepest fiftieth of the subject's pixels. In a cutout only what lies inside the alpha edge,
/// which is sharp however blurred the product is. `None` where the subject has no edges.
fn sharpness(sample: &Sample, subject: &Subject) -> Option<f64> {
    let luma = &sample.luma;
    let level = |x: i32, y: i32| i32::from(luma.at(x, y));
    let slope = |x: i32, y: i32| {
        (level(x + 1, y) - level(x - 1, y)).abs() + (level(x, y + 1) - level(x, y - 1)).abs()
    };
    let counts = |x: i32, y: i32| match subject.ground {
        Ground::Transparent => is_deep(&subject.mask, x, y),
        Ground::Plain(_) => is_near(&subject.mask, x, y),
        Ground::Busy => true,
    };
    let mut slopes: Vec<(i32, (i32, i32))> =
        luma.places().filter(|(x, y)| counts(*x, *y)).map(|(x, y)| (slope(x, y), (x, y))).collect();
    let steep = (slopes.len() / 50).max(LEAST_SHARP_PX);
    if slopes.len() <= steep {
        return None;
    }
    slopes.select_nth_unstable_by(steep, |one, other| other.cmp(one));
    let steepest = slopes.iter().take(steep);
    if steepest.clone().all(|(slope, _)| *slope < LEAST_SLOPE) {
        return None;
    }
    let laplacians = steepest.map(|(_, (x, y))| {
        let (x, y) = (*x, *y);
        let beside = level(x - 1, y) + level(x + 1, y) + level(x, y - 1) + level(x, y + 1);
        f64::from(beside - 4 * level(x, y)) / 2.0
    });
    spread(laplacians).map(|(_, variance)| variance)
}

/// Whether a place lies three pixels or more inside a mask.
fn is_deep(mask: &Grid<bool>, x: i32, y: i32) -> bool {
    let around = [(0, 0), (-3, 0), (3, 0), (0, -3), (0, 3), (-2, -2), (2, -2), (-2, 2), (2, 2)];
    around.into_iter().all(|(dx, dy)| mask.at(x + dx, y + dy))
}

/// Whether a place lies in a mask or two pixels beside it.
fn is_near(mask: &Grid<bool>, x: i32, y: i32) -> bool {
    let around = [(0, 0), (-2, 0), (2, 0), (0, -2), (0, 2)];
    around.into_iter().any(|(dx, dy)| mask.at(x + dx, y + dy))
}

/// Share of near-white pixels in the band along the frame's border, laid on white.
///
/// Near-white is what a photographed white sweep is: light, and not much darker than the rest of
/// the band, so that the lamp's fall-off is white and a stain on a white page is not.
fn white_border(sample: &Sample, band: f64) -> f64 {
    let mut darkest: Vec<u8> = border_band(&sample.rgba, band)
        .map(|[red, green, blue, alpha]| {
            let lit = u16::from(red.min(green).min(blue)) * u16::from(alpha) / 255;
            u8::try_from(lit + u16::from(255 - alpha)).unwrap_or(u8::MAX)
        })
        .collect();
    if darkest.is_empty() {
        return 0.0;
    }
    let middle = darkest.len() / 2;
    let median = *darkest.select_nth_unstable(middle).1;
    let line = WHITE_LEVEL.max(median.saturating_sub(STAIN_LEVELS));
    share(darkest.iter().filter(|level| line <= **level).count(), darkest.len())
}

/// Bits between `print` and the nearest of `list`; `None` for an empty list.
fn nearest(print: Fingerprint, list: &[Fingerprint]) -> Option<f64> {
    list.iter().map(|known| distance(print, *known)).min().map(f64::from)
}

#[cfg(test)]
mod tests;
