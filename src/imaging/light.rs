//! Light is how much of it there is: whether anything can be seen at all, and whether the subject has
//! lost its lights or its darks.
//!
//! Over-exposure is told by what is clipped inside the subject. Where a product before a white ground
//! is washed out, what is lost looks like ground, and no number here tells it from a pale product on
//! a clean white page.

use crate::imaging::grid::{share, spread};
use crate::imaging::marks::Marks;
use crate::imaging::sample::{Sample, luma};
use crate::imaging::subject::Subject;

/// Standard deviation of luma over the whole frame, 0..127.5.
///
/// A cutout is laid on white and on black and the larger deviation counts: a plain white product
/// shows on black, and what is (almost) transparent shows on neither.
pub(crate) fn contrast(sample: &Sample) -> f64 {
    let deviation = |grey: u8| {
        let luma = sample.luma_on(grey);
        let levels = luma.cells().iter().map(|level| f64::from(*level));
        spread(levels).map_or(0.0, |(_, variance)| variance.sqrt())
    };
    let on_white = deviation(255);
    if sample.has_alpha { on_white.max(deviation(0)) } else { on_white }
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
        let mut counts = [0_usize; 256];
        let (mut inside, mut clipped) = (0, 0);
        for (number, (pixel, is_inside)) in
            sample.rgba.cells().iter().zip(subject.mask.cells()).enumerate()
        {
            if !is_inside {
                continue;
            }
            inside += 1;
            let [red, green, blue, _] = *pixel;
            if let Some(count) = counts.get_mut(usize::from(luma(*pixel))) {
                *count += 1;
            }
            if CLIPPED_LEVEL <= red.max(green).max(blue) {
                clipped += 1;
                marks.cell(&sample.rgba, number);
            }
        }
        if inside == 0 {
            return None;
        }
        let sum: usize = counts.iter().enumerate().map(|(level, count)| level * count).sum();
        let mut brighter = 0;
        let highlight = counts.iter().rposition(|count| {
            brighter += count;
            inside / 50 < brighter
        });
        Some(Self {
            mean: share(sum, inside) / 255.0,
            clipped: share(clipped, inside),
            highlight: share(highlight.unwrap_or(0), 255),
        })
    }
}

/// Level from which a channel has nothing left to tell. A resampled or encoded 255 varies a little.
const CLIPPED_LEVEL: u8 = 253;
