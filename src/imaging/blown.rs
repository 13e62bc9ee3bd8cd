//! Blown light is light that was too strong: it runs into the end of the range, and what lay beyond
//! is lost.
//!
//! A page of white lies at the end of the range as well, and so does the ground of a product that was
//! cut out onto it, but there the picture begins with a step, at the product's edge. Where the light
//! itself was too strong, shades run up to the end over several pixels, on the subject and around
//! it. So what is counted is the shades that run into white, and only where most of the frame is white: a
//! lamp, a window or the sky is nothing to complain of.

use crate::imaging::grid::{Grid, share};
use crate::imaging::marks::Marks;
use crate::imaging::mask::{Mask, columns};
use crate::imaging::sample::Sample;

/// Luma from which nothing is left to tell. A resampled or encoded 255 varies a little. Not the darkest
/// channel: a JPEG's colours are coarse, and stray from white far beyond an edge.
const WHITE_LEVEL: u8 = 252;

/// Share of the frame that is white at least.
const MOSTLY: f64 = 0.5;

/// Places that a shade is followed for.
const REACH: i32 = 6;

/// Levels by which a shade falls within its reach, at least.
const LEAST_FALL: u8 = 40;

/// Share of a shade's fall that lies within its first three places, in quarters: with more it is a step,
/// with less a step that comes later.
const EVEN_QUARTERS: std::ops::Range<u16> = 1..3;

/// Shades that run into white, counted along its outline, as a share of half the frame's outline, 0..1:
/// 0 where no more than half of the frame is white. `None` with alpha.
pub(crate) fn blown(sample: &Sample, marks: &mut Marks) -> Option<f64> {
    if sample.has_alpha {
        return None;
    }
    let white = Mask::of(&sample.luma, |level| WHITE_LEVEL <= level);
    if share(white.count(), white.places_in_all()) < MOSTLY {
        return Some(0.0);
    }
    let (width, height) = white.size();
    let mut count: usize = 0;
    let mut look = |place: (i32, i32), step: (i32, i32)| {
        if is_shade(&sample.luma, place, step) {
            count += 1;
            let (x, y) = (place.0 + step.0.min(0) * REACH, place.1 + step.1.min(0) * REACH);
            let long = |step: i32| if step == 0 { 1 } else { REACH };
            marks.block((width, height), (x, y), (long(step.0), long(step.1)));
        }
    };
    for y in 0..height {
        let row = usize::try_from(y).unwrap_or(0);
        white.each_run(row, |left, right| {
            look((left, y), (-1, 0));
            look((right, y), (1, 0));
        });
        let here = white.row(row);
        let beside = [(row.checked_sub(1), -1), (row.checked_add(1), 1)];
        for (other, down) in beside {
            let other = other.map(|other| white.row(other)).unwrap_or_default();
            let ends: Vec<u64> =
                here.iter().zip(other).map(|(here, other)| here & !other).collect();
            columns(&ends).for_each(|x| look((x, y), (0, down)));
        }
    }
    let half_outline = usize::try_from(width + height).unwrap_or(0);
    Some(share(count, half_outline).min(1.0))
}

/// Whether the luma falls slowly from a place in this direction, and not in a step.
fn is_shade(luma: &Grid<u8>, (x, y): (i32, i32), (right, down): (i32, i32)) -> bool {
    let mut falls = [0; REACH as usize];
    for (away, fall) in (1..).zip(&mut falls) {
        let Some(level) = luma.get(x + right * away, y + down * away) else { return false };
        *fall = u8::MAX - level;
    }
    let [first, _, third, ..] = falls;
    let most = falls.iter().copied().max().unwrap_or(0);
    let is_past_white = u8::MAX - WHITE_LEVEL < first;
    let quarters = u16::from(third) * 4 / u16::from(most.max(1));
    is_past_white && LEAST_FALL <= most && EVEN_QUARTERS.contains(&quarters)
}

#[cfg(test)]
mod tests {
    use image::metadata::Orientation;

    use super::*;
    use crate::imaging::picture::{Picture, Pixels};

    fn of(level: impl Fn(f64, f64) -> f64) -> Option<f64> {
        let place = |number: u32| (f64::from(number % 200), f64::from(number / 200));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
        let byte = |level: f64| level.clamp(0.0, 255.0) as u8;
        let pixel = |number| {
            let (x, y) = place(number);
            [byte(level(x, y)); 3]
        };
        let bytes = (0..40_000).flat_map(pixel).collect();
        let picture =
            Picture::upright((200, 200), Pixels::Rgb(bytes), Orientation::NoTransforms).unwrap();
        blown(&Sample::of(&picture).unwrap(), &mut Marks::default())
    }

    /// A ball under a light from above.
    fn ball(x: f64, y: f64) -> Option<f64> {
        let (u, v) = ((x - 100.0) / 60.0, (y - 100.0) / 60.0);
        let round = 1.0 - u * u - v * v;
        (0.0 < round).then(|| 30.0 + 170.0 * (0.7 * round.sqrt() - 0.7 * v).max(0.0))
    }

    #[test]
    fn light_that_is_too_strong_runs_into_white_and_a_product_on_a_white_page_ends_in_a_step() {
        let page = of(|x, y| ball(x, y).unwrap_or(255.0)).unwrap();
        assert!(page < 0.1, "{page}");
        let pale = of(|x, y| ball(x, y).map_or(255.0, |level| 200.0 + level / 6.0)).unwrap();
        assert!(pale < 0.1, "{pale}");
        let blown = of(|x, y| ball(x, y).map_or(255.0, |level| level * 2.6 + 40.0)).unwrap();
        assert!(0.3 < blown, "{blown}");
    }

    #[test]
    fn a_window_in_a_picture_is_not_too_much_light() {
        let window = |x: f64| if x < 60.0 { 255.0 } else { 255.0 - (x - 60.0) * 8.0 };
        assert_eq!(of(|x, _| window(x)), Some(0.0));
        // the same where it is most of what can be seen
        assert!(0.3 < of(|x, _| window(x - 80.0)).unwrap());
    }
}
