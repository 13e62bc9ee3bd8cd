//! The subject is what a product picture is about: the pixels a check looks at instead of the
//! whole frame, so that a white sweep is not over-exposed and a dark studio not under-exposed.
//!
//! Where the picture has alpha it says what the subject is; on a plain ground it is what differs
//! from the ground's colour; in a scene nobody can tell cheaply, and the middle of the frame
//! stands in for it.

use std::cell::OnceCell;

use crate::imaging::grid::{Grid, share};
use crate::imaging::levels::Levels;
use crate::imaging::mask::Mask;
use crate::imaging::parts::Parts;
use crate::imaging::sample::Sample;
use crate::imaging::words::{FAR_AT_ONCE, far};

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
    pub(crate) mask: Mask,
    parts: OnceCell<Parts>,
}

impl Subject {
    /// Finds the subject of `sample`.
    pub(crate) fn of(sample: &Sample) -> Self {
        let ground = if sample.has_alpha { Ground::Transparent } else { plain_ground(sample) };
        let mask = match ground {
            Ground::Transparent => Mask::seen(&sample.rgba, SOLID_ALPHA),
            Ground::Plain(colour) => {
                let (base, by) = whatever_alpha(colour, SUBJECT_LEVELS);
                Mask::far(&sample.rgba, base, by)
            }
            Ground::Busy => middle(sample),
        };
        let is_plain = matches!(ground, Ground::Plain(_));
        if is_plain && share(mask.count(), mask.places_in_all()) < LEAST_SHARE {
            return Self::new(Ground::Busy, middle(sample));
        }
        Self::new(ground, mask)
    }

    fn new(ground: Ground, mask: Mask) -> Self {
        Self { ground, mask, parts: OnceCell::new() }
    }

    /// The connected parts of the mask, made once.
    pub(crate) fn parts(&self) -> &Parts {
        self.parts.get_or_init(|| Parts::of(&self.mask))
    }
}

/// The middle three fifths of the frame.
fn middle(sample: &Sample) -> Mask {
    let (width, height) = sample.rgba.size();
    let (left, top) = (width / 5, height / 5);
    Mask::rectangle((width, height), (left, top), (width - left, height - top))
}

/// What is [`far`] from `colour` where a colour differs by more than `levels`, whatever its alpha.
fn whatever_alpha([red, green, blue]: [u8; 3], levels: u8) -> ([u8; 4], [u8; 4]) {
    ([red, green, blue, 0], [levels, levels, levels, u8::MAX])
}

/// Largest difference of `pixel` to `colour` in a channel.
pub(crate) fn difference(pixel: [u8; 4], colour: [u8; 3]) -> u8 {
    let ([red, green, blue, _], [of_red, of_green, of_blue]) = (pixel, colour);
    red.abs_diff(of_red).max(green.abs_diff(of_green)).max(blue.abs_diff(of_blue))
}

/// The pieces of rows that are the band along the frame's border, `band` of the shorter side wide: the
/// place of the first pixel, and all of them.
pub(crate) fn band_pieces(
    grid: &Grid<[u8; 4]>,
    band: f64,
) -> impl Iterator<Item = ((i32, i32), &[[u8; 4]])> {
    let (width, height) = grid.size();
    let wide = band_px(width.min(height), band);
    (0..).zip(grid.rows()).flat_map(move |(y, row)| {
        let is_inner = wide <= y && y < height - wide;
        let (left, right) =
            if is_inner { (wide, (width - wide).max(wide)) } else { (width, width) };
        let at = |column: i32| usize::try_from(column).unwrap_or(0).min(row.len());
        let (first, last) = (row.get(..at(left)), row.get(at(right)..));
        [((0, y), first.unwrap_or_default()), ((right, y), last.unwrap_or_default())]
    })
}

#[expect(clippy::cast_possible_truncation, reason = "a share of a sample's side")]
pub(crate) fn band_px(side_px: i32, band: f64) -> i32 {
    ((f64::from(side_px) * band.clamp(0.0, 0.5)).ceil() as i32).max(1)
}

fn plain_ground(sample: &Sample) -> Ground {
    // piece by piece: pixel by pixel takes as long as all that is told from it
    let mut band: Vec<[u8; 4]> = Vec::new();
    band_pieces(&sample.rgba, BAND).for_each(|(_, pixels)| band.extend_from_slice(pixels));
    let median = |channel: fn(&[u8; 4]) -> u8| {
        Levels::of(band.iter().map(channel)).nth(band.len() / 2).unwrap_or(0)
    };
    let colour = [
        median(|[red, ..]| *red),
        median(|[_, green, ..]| *green),
        median(|[_, _, blue, _]| *blue),
    ];
    let (base, by) = whatever_alpha(colour, PLAIN_LEVELS);
    let others = band.chunks(FAR_AT_ONCE).map(|pixels| far(pixels, base, by).count_ones());
    let plain = band.len() - others.sum::<u32>() as usize;
    if PLAIN_SHARE <= share(plain, band.len()) { Ground::Plain(colour) } else { Ground::Busy }
}
