//! The ground is what the subject stands before: is it as white as it was ordered, and is it clean.

use crate::imaging::grid::{Grid, share};
use crate::imaging::levels::Levels;
use crate::imaging::marks::Marks;
use crate::imaging::mask::Mask;
use crate::imaging::parts::{Part, Parts};
use crate::imaging::sample::Sample;
use crate::imaging::subject::{Ground, Subject, band_pieces, band_px};
use crate::imaging::words::put_extremes;

/// Level of the darkest channel from which most of the band must be, to be a white ground at all.
/// The grey squares of a painted checkerboard (204) lie below.
const WHITE_LEVEL: u8 = 208;

/// Level down to which a lamp's fall-off may take a part of a white ground.
const FALL_OFF_LEVEL: u8 = 150;

/// Levels below its part of the band from which a pixel is a stain.
const STAIN_LEVELS: u8 = 24;

/// Levels between the channels of a pixel that is still white.
const TINT_LEVELS: u8 = 40;

/// Parts of the band along each side: a lamp's fall-off is even within one.
const PARTS_A_SIDE: usize = 4;

/// A part smaller than this share of the largest is litter, not a second product.
pub(crate) const LITTER_SHARE: f64 = 0.02;

/// Share of near-white pixels in the band along the frame's border, laid on white, and in what lies
/// about on the ground elsewhere.
///
/// Near-white is what a photographed white sweep is: light in most of the band, and in each part of
/// it not much darker than the rest of that part, so that a lamp's fall-off is white and a stain on
/// a white page is not. A stain counts wherever it lies: its pixels are added to the band's.
pub(crate) fn white(sample: &Sample, subject: &Subject, band: f64, marks: &mut Marks) -> f64 {
    let grid = &sample.rgba;
    let mut parts: Vec<Band> = (0..PARTS).map(|_| Band::default()).collect();
    each_in_band(grid, band, |part, _, pixels| {
        if let Some(part) = parts.get_mut(part) {
            part.add(pixels, sample.is_opaque);
        }
    });
    // the lighter quarter tells what the part was before somebody spilled on it
    let mut lines: Vec<u8> = parts.iter().map(|part| quantile(&part.darkest, 3, 4)).collect();
    let is_light = WHITE_LEVEL <= quantile(&lines, 1, 2);
    for line in &mut lines {
        let lowest = if is_light { FALL_OFF_LEVEL } else { WHITE_LEVEL };
        *line = line.saturating_sub(STAIN_LEVELS).max(lowest);
    }
    let all: usize = parts.iter().map(|part| part.darkest.len()).sum();
    let white = parts.iter().zip(&lines).map(|(part, line)| part.white(*line)).sum();
    if marks.is_wanted() {
        each_in_band(grid, band, |part, (x, y), pixels| {
            let line = lines.get(part).copied().unwrap_or(WHITE_LEVEL);
            let stained = (x..)
                .zip(pixels)
                .filter(|(_, pixel)| !is_white(darkest(**pixel), tint(**pixel), line));
            stained.for_each(|(x, _)| marks.place(grid.size(), (x, y)));
        });
    }
    let stains = if is_light { stains(subject, marks) } else { 0 };
    share(white, all + stains)
}

/// The pixels of one part of the band.
#[derive(Debug, Default)]
struct Band {
    darkest: Vec<u8>,
    tints: Vec<u8>,
}

impl Band {
    fn add(&mut self, pixels: &[[u8; 4]], are_opaque: bool) {
        if are_opaque {
            put_extremes(pixels, &mut self.darkest, &mut self.tints);
            return;
        }
        self.darkest.extend(pixels.iter().copied().map(darkest));
        self.tints.extend(pixels.iter().copied().map(tint));
    }

    /// How many are white.
    fn white(&self, line: u8) -> usize {
        let pixels = self.darkest.iter().zip(&self.tints);
        pixels.filter(|(darkest, tint)| is_white(**darkest, **tint, line)).count()
    }
}

/// Whether a pixel is as light as its part's line asks, and without a tint.
fn is_white(darkest: u8, tint: u8, line: u8) -> bool {
    // both are asked at once: whole rows of pixels are
    (line <= darkest) & (tint <= TINT_LEVELS)
}

/// How far the channels of a pixel lie apart; 0 where it is rather seen through.
fn tint([red, green, blue, alpha]: [u8; 4]) -> u8 {
    if alpha < 128 {
        return 0;
    }
    red.max(green).max(blue) - red.min(green).min(blue)
}

/// The darkest channel of a pixel laid on white.
fn darkest([red, green, blue, alpha]: [u8; 4]) -> u8 {
    let lit = u16::from(red.min(green).min(blue)) * u16::from(alpha) / 255;
    u8::try_from(lit + u16::from(255 - alpha)).unwrap_or(u8::MAX)
}

/// All parts of the band.
const PARTS: usize = 4 * PARTS_A_SIDE;

/// Calls `each` with the pixels of the band along the frame's border, piece by piece: the number of the
/// part that the piece belongs to, the place of its first pixel, and all of them.
fn each_in_band(
    grid: &Grid<[u8; 4]>,
    band: f64,
    mut each: impl FnMut(usize, (i32, i32), &[[u8; 4]]),
) {
    let (width, height) = grid.size();
    let wide = band_px(width.min(height), band);
    for ((first, y), pixels) in band_pieces(grid, band) {
        if wide <= y && y < height - wide {
            let side = 2 + i32::from(wide <= first);
            each(part(side, y, height), (first, y), pixels);
            continue;
        }
        let side = i32::from(wide <= y);
        let mut rest = (first, pixels);
        while let (x, [_, ..]) = rest {
            let number = part(side, x, width);
            // as far as the part goes on
            let long = (x..width).take_while(|x| part(side, *x, width) == number).count();
            let (piece, after) = rest.1.split_at(long.min(rest.1.len()));
            each(number, (x, y), piece);
            rest = (x + i32::try_from(long).unwrap_or(i32::MAX), after);
        }
    }
}

/// The number of the part of a side, counted from the top, the bottom, the left and the right, in which a
/// place lies.
fn part(side: i32, place: i32, length: i32) -> usize {
    let [side, place, length] =
        [side, place, length].map(|length| usize::try_from(length).unwrap_or(0));
    side * PARTS_A_SIDE + (place * PARTS_A_SIDE / length.max(1)).min(PARTS_A_SIDE - 1)
}

/// The level that `part` of `whole` of these lie below; 0 where there are none.
fn quantile(levels: &[u8], part: usize, whole: usize) -> u8 {
    Levels::of_pieces([levels]).nth(levels.len() * part / whole).unwrap_or(0)
}

/// Share of a plain or transparent ground that is littered: small parts that belong neither to
/// the ground nor to the subject. `None` in a scene.
///
/// Small is what has less than the share `small` of the largest part: `SPECK_SHARE` is dust,
/// `LITTER_SHARE` everything that is no second product.
pub(crate) fn residue(
    sample: &Sample,
    subject: &Subject,
    small: f64,
    marks: &mut Marks,
) -> Option<f64> {
    let seen;
    let parts = match subject.ground {
        Ground::Busy => return None,
        Ground::Plain(_) => subject.parts(),
        Ground::Transparent => {
            seen = Parts::of(&Mask::seen(&sample.rgba, 24));
            &seen
        }
    };
    let littered = litter(parts, small, marks);
    let inside: usize = parts.list().map(|part| part.area).sum();
    let ground = subject.mask.places_in_all() - inside + littered;
    (parts.largest() != 0 && ground != 0).then(|| share(littered, ground))
}

/// Pixels of stains on a plain ground.
fn stains(subject: &Subject, marks: &mut Marks) -> usize {
    match subject.ground {
        Ground::Busy | Ground::Transparent => 0,
        Ground::Plain(_) => litter(subject.parts(), LITTER_SHARE, marks),
    }
}

/// Pixels of the parts that are too small to be a product.
fn litter(parts: &Parts, small: f64, marks: &mut Marks) -> usize {
    let largest = parts.largest();
    let is_small = |part: &&Part| share(part.area, largest) < small;
    let mut littered = 0;
    for part in parts.list().filter(is_small) {
        littered += part.area;
        marks.block(parts.frame(), (part.left, part.top), part.size());
    }
    littered
}
