//! The subject is what a product picture is about: the pixels a check looks at instead of the
//! whole frame, so that a white sweep is not over-exposed and a dark studio not under-exposed.
//!
//! Where the picture has alpha it says what the subject is; on a plain ground it is what differs
//! from the ground's colour; in a scene nobody can tell cheaply, and the middle of the frame
//! stands in for it.

use crate::imaging::grid::{Grid, beside, share};
use crate::imaging::sample::Sample;

/// Alpha from which a pixel belongs to the subject.
pub(crate) const SOLID_ALPHA: u8 = 128;

/// Width of the band that tells the ground, as a share of the shorter side.
const BAND: f64 = 0.02;

/// Largest difference in a channel within a plain ground.
const PLAIN_LEVELS: u8 = 24;

/// Share of the band that a plain ground fills.
const PLAIN_SHARE: f64 = 0.70;

/// Difference in a channel from which a pixel is not ground.
const SUBJECT_LEVELS: u8 = 28;

/// Share of the frame under which nothing stands out from a plain ground: too dark to see, say.
const LEAST_SHARE: f64 = 0.003;

/// What the subject stands before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ground {
    /// Nothing: alpha cuts the subject out.
    Transparent,
    /// One colour.
    Plain([u8; 3]),
    /// A scene.
    Busy,
}

/// The subject of a sample.
#[derive(Debug)]
pub(crate) struct Subject {
    /// What it stands before.
    pub(crate) ground: Ground,
    /// Where it is.
    pub(crate) mask: Grid<bool>,
}

impl Subject {
    /// Finds the subject of `sample`.
    pub(crate) fn of(sample: &Sample) -> Self {
        let ground = if sample.has_alpha { Ground::Transparent } else { plain_ground(sample) };
        let mask = match ground {
            Ground::Transparent => sample.rgba.map(|[.., alpha]| SOLID_ALPHA <= alpha),
            Ground::Plain(colour) => {
                sample.rgba.map(|pixel| SUBJECT_LEVELS < difference(pixel, colour))
            }
            Ground::Busy => middle(sample),
        };
        let area = mask.cells().iter().filter(|inside| **inside).count();
        if matches!(ground, Ground::Plain(_)) && share(area, mask.cells().len()) < LEAST_SHARE {
            return Self { ground: Ground::Busy, mask: middle(sample) };
        }
        Self { ground, mask }
    }
}

/// The middle three fifths of the frame.
fn middle(sample: &Sample) -> Grid<bool> {
    let (width, height) = (sample.rgba.width(), sample.rgba.height());
    let middle = |place: i32, side: i32| side / 5 <= place && place < side - side / 5;
    sample.rgba.map_places(|x, y| middle(x, width) && middle(y, height))
}

/// Largest difference of `pixel` to `colour` in a channel.
pub(crate) fn difference(pixel: [u8; 4], colour: [u8; 3]) -> u8 {
    let [red, green, blue, _] = pixel;
    let apart = [red, green, blue].into_iter().zip(colour).map(|(one, other)| one.abs_diff(other));
    apart.max().unwrap_or(0)
}

/// The pixels of the band along the frame's border, `band` of the shorter side wide.
pub(crate) fn border_band(grid: &Grid<[u8; 4]>, band: f64) -> impl Iterator<Item = [u8; 4]> {
    let (width, height) = (grid.width(), grid.height());
    let wide = band_px(width.min(height), band);
    grid.entries()
        .filter(move |((x, y), _)| {
            *x < wide || width - wide <= *x || *y < wide || height - wide <= *y
        })
        .map(|(_, pixel)| pixel)
}

#[expect(clippy::cast_possible_truncation, reason = "a share of a sample's side")]
fn band_px(side_px: i32, band: f64) -> i32 {
    ((f64::from(side_px) * band.clamp(0.0, 0.5)).ceil() as i32).max(1)
}

fn plain_ground(sample: &Sample) -> Ground {
    let band: Vec<[u8; 4]> = border_band(&sample.rgba, BAND).collect();
    let median = |channel: fn(&[u8; 4]) -> u8| {
        let mut levels: Vec<u8> = band.iter().map(channel).collect();
        let middle = levels.len() / 2;
        if levels.is_empty() { 0 } else { *levels.select_nth_unstable(middle).1 }
    };
    let colour = [
        median(|[red, ..]| *red),
        median(|[_, green, ..]| *green),
        median(|[_, _, blue, _]| *blue),
    ];
    let plain = band.iter().filter(|pixel| difference(**pixel, colour) <= PLAIN_LEVELS).count();
    if PLAIN_SHARE <= share(plain, band.len()) { Ground::Plain(colour) } else { Ground::Busy }
}

/// The connected parts of a mask.
#[derive(Debug)]
pub(crate) struct Parts {
    /// The number of the part that a place belongs to, from 1; 0 belongs to none.
    pub(crate) number: Grid<usize>,
    /// Pixels of each part, the first being part 1.
    pub(crate) areas: Vec<usize>,
}

impl Parts {
    /// The parts of `mask`: places belong together that touch along a side.
    pub(crate) fn of(mask: &Grid<bool>) -> Self {
        let mut parts = Self { number: mask.map(|_| 0), areas: Vec::new() };
        let mut edge = Vec::new();
        for (start, inside) in mask.entries() {
            if !inside || parts.number.at(start.0, start.1) != 0 {
                continue;
            }
            let part = parts.areas.len() + 1;
            let mut area = 0;
            parts.number.set(start.0, start.1, part);
            edge.push(start);
            while let Some(place) = edge.pop() {
                area += 1;
                for (x, y) in beside(place) {
                    if mask.get(x, y) == Some(true) && parts.number.at(x, y) == 0 {
                        parts.number.set(x, y, part);
                        edge.push((x, y));
                    }
                }
            }
            parts.areas.push(area);
        }
        parts
    }

    /// Pixels of the largest part.
    pub(crate) fn largest(&self) -> usize {
        self.areas.iter().copied().max().unwrap_or(0)
    }

    /// Pixels of the part at a place, 0 where there is none.
    pub(crate) fn area_at(&self, x: i32, y: i32) -> usize {
        let part = self.number.at(x, y).checked_sub(1);
        part.and_then(|part| self.areas.get(part)).copied().unwrap_or(0)
    }
}
