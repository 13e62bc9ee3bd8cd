//! Light is how much of it there is: whether anything can be seen at all, and whether the subject has
//! lost its lights or its darks.
//!
//! Over-exposure is told here by what is clipped inside the subject. Where a product before a white
//! ground is washed out, what is lost looks like ground: that is told by how it ends, in
//! [`blown`](crate::imaging::blown).

use crate::imaging::cutout::boxes;
use crate::imaging::grid::share;
use crate::imaging::levels::Levels;
use crate::imaging::marks::Marks;
use crate::imaging::mask::Mask;
use crate::imaging::sample::{Sample, on_black, on_white};
use crate::imaging::subject::Subject;

/// Standard deviation of luma over the whole frame, 0..127.5.
///
/// A cutout is laid on white and on black and the larger deviation counts: a plain white product
/// shows on black, and what is (almost) transparent shows on neither.
pub(crate) fn contrast(sample: &Sample) -> f64 {
    if !sample.has_alpha {
        return deviation(sample, |_, luma| luma);
    }
    deviation(sample, on_white).max(deviation(sample, on_black))
}

/// Standard deviation of what `level` makes of every pixel and its luma.
fn deviation(sample: &Sample, level: impl Fn([u8; 4], u8) -> u8) -> f64 {
    let (mut sum, mut squares) = (0_usize, 0_usize);
    for (pixels, luma) in sample.rgba.rows().zip(sample.luma.rows()) {
        // a row is too short for its squares to leave 32 bits
        let (mut row, mut row_squares) = (0_u32, 0_u32);
        for (pixel, luma) in pixels.iter().zip(luma) {
            let level = u32::from(level(*pixel, *luma));
            row += level;
            row_squares += level * level;
        }
        sum += row as usize;
        squares += row_squares as usize;
    }
    let count = sample.luma.cells().len();
    let mean = share(sum, count);
    (share(squares, count) - mean * mean).max(0.0).sqrt()
}

/// The light on the subject, each 0..1.
///
/// A dark studio and a white sweep are ground and do not count. In a scene the middle of the frame
/// stands in for the subject.
pub(crate) struct Light {
    /// Mean luma.
    pub(crate) mean: f64,
    /// Share of the pixels that have lost a channel to its upper end.
    pub(crate) clipped: f64,
    /// Luma that a fiftieth of the pixels reaches.
    pub(crate) highlight: f64,
}

impl Light {
    /// `None` where there is no subject.
    pub(crate) fn of(sample: &Sample, subject: &Subject, marks: &mut Marks) -> Option<Self> {
        let inside = subject.mask.count();
        if inside == 0 {
            return None;
        }
        let levels = Levels::of_pieces(subject.mask.pieces(&sample.luma));
        let clipped = Mask::far(&sample.rgba, [0; 4], LESS_THAN_CLIPPED).and(&subject.mask);
        if marks.is_wanted() {
            clipped.places().for_each(|place| marks.place(clipped.size(), place));
            boxes(subject.parts(), marks);
        }
        // a fiftieth is brighter, and the next one is it
        let highlight = (inside - 1).checked_sub(inside / 50).and_then(|at| levels.nth(at));
        Some(Self {
            mean: share(levels.sum(), inside) / 255.0,
            clipped: share(clipped.count(), inside),
            highlight: f64::from(highlight.unwrap_or(0)) / 255.0,
        })
    }
}

/// Highest levels of colours that have something left to tell. A resampled or encoded 255 varies a
/// little.
const LESS_THAN_CLIPPED: [u8; 4] = [252, 252, 252, u8::MAX];
