//! Unfiltering turns what a PNG stores of a row, the differences to a guess, back into samples.
//!
//! Most rows of a photograph are guessed by Paeth, sample by sample from the ones to the left, and no
//! processor can begin one before the last is done: it waits more than it computes. Two rows waited
//! for at once take hardly longer than one, so where two follow each other the lower is read one
//! pixel behind the upper. <https://www.w3.org/TR/png-3/#9Filter-types>

use wide::{i16x8, u8x16, u64x2};

/// How a row was guessed, as the file says it.
const BY_PAETH: u8 = 4;

/// A stored row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stored<'a> {
    /// How it was guessed.
    pub(super) filter: u8,
    /// What it adds to the guess.
    pub(super) added: &'a [u8],
}

impl Stored<'_> {
    /// Whether this row and the one `below` can be read together.
    pub(super) fn goes_with(self, below: Self) -> bool {
        self.filter == BY_PAETH && below.filter == BY_PAETH
    }
}

/// Reads a row of pixels of `PX` samples below the row `above`; `None` where nobody knows how it was
/// guessed.
pub(super) fn row<const PX: usize>(
    stored: Stored<'_>,
    above: &[u8],
    into: &mut [u8],
) -> Option<()> {
    let pixels = stored.added.as_chunks::<PX>().0.iter();
    let above_pixels = above.as_chunks::<PX>().0.iter();
    let samples = stored.added.iter().zip(into.iter_mut());
    let mut left = [0_u8; PX];
    match stored.filter {
        0 => samples.for_each(|(added, sample)| *sample = *added),
        1 => {
            for (added, pixel) in pixels.zip(into.as_chunks_mut::<PX>().0) {
                left.iter_mut()
                    .zip(added)
                    .for_each(|(left, added)| *left = left.wrapping_add(*added));
                *pixel = left;
            }
        }
        2 => samples
            .zip(above)
            .for_each(|((added, sample), above)| *sample = above.wrapping_add(*added)),
        3 => {
            for ((added, above), pixel) in
                pixels.zip(above_pixels).zip(into.as_chunks_mut::<PX>().0)
            {
                let each = left.iter_mut().zip(above).zip(added);
                each.for_each(|((left, above), added)| {
                    *left = left.midpoint(*above).wrapping_add(*added);
                });
                *pixel = left;
            }
        }
        BY_PAETH => {
            let (mut both, nothing) = (Both::BEFORE, [0; PX]);
            for ((added, above), pixel) in
                pixels.zip(above_pixels).zip(into.as_chunks_mut::<PX>().0)
            {
                [*pixel, _] = both.next([added, &nothing], above);
            }
        }
        _ => return None,
    }
    Some(())
}

/// Reads two rows guessed by Paeth, of pixels of `PX` samples, at most four, below the row `above`.
pub(super) fn two_rows<const PX: usize>(
    [upper, lower]: [&[u8]; 2],
    above: &[u8],
    [into_upper, into_lower]: [&mut [u8]; 2],
) {
    let nothing = [0; PX];
    let mut both = Both::BEFORE;
    let mut upper = upper.as_chunks::<PX>().0.iter().zip(above.as_chunks::<PX>().0);
    let mut into_upper = into_upper.as_chunks_mut::<PX>().0.iter_mut();
    let (lower, into_lower) = (lower.as_chunks::<PX>().0, into_lower.as_chunks_mut::<PX>().0);
    // before its first column the lower row is nothing, and so is what is read of it
    if let Some(((added, above), pixel)) = upper.next().zip(into_upper.next()) {
        [*pixel, _] = both.next([added, &nothing], above);
    }
    let mut beside = lower.iter().zip(into_lower);
    for (((added, above), pixel), (added_below, pixel_below)) in
        upper.zip(into_upper).zip(beside.by_ref())
    {
        [*pixel, *pixel_below] = both.next([added, added_below], above);
    }
    // the pair that ended the upper row took nothing of the lower one: its last column is left
    if let Some((added, pixel)) = beside.next() {
        [_, *pixel] = both.next([&nothing, added], &nothing);
    }
}

/// Two rows being read: in the lower four lanes the upper row's samples of a column, in the others the
/// lower row's of the column before it.
struct Both {
    left: i16x8,
    corner: i16x8,
}

impl Both {
    /// Before the first column.
    const BEFORE: Self = Self { left: i16x8::ZERO, corner: i16x8::ZERO };

    /// The next pixel of either row: what is added to its guess, and what lies above the upper one.
    #[inline(always)]
    fn next<const PX: usize>(&mut self, added: [&[u8; PX]; 2], above: &[u8; PX]) -> [[u8; PX]; 2] {
        let [upper, lower] = added.map(word);
        let added = lanes(upper | lower << 32);
        // above the lower row's pixel lies what was read of the upper row last
        let ([over_upper, _], [over_lower, _]) = (halves(lanes(word(above))), halves(self.left));
        let above: i16x8 = bytemuck::cast(u64x2::new([over_upper, over_lower]));
        let (left, corner) = (self.left, self.corner);
        // of left, above and corner Paeth takes the one nearest to left + above - corner; in this form,
        // which the `png` crate has from stb, nothing is branched on
        let line = corner + corner + corner - (left + above);
        let (low, high) = (left.min(above), left.max(above));
        let by_low = high.simd_gt(line).bitselect(corner, low);
        let guessed = line.simd_gt(low).bitselect(by_low, high);
        let samples = (added + guessed) & i16x8::splat(255);
        (self.left, self.corner) = (samples, above);
        let [both, _]: [u64; 2] = bytemuck::cast(u8x16::narrow_i16x8(samples, samples));
        [first(both), first(both >> 32)]
    }
}

/// At most four samples as a number, the first lowest.
#[inline(always)]
fn word<const PX: usize>(pixel: &[u8; PX]) -> u64 {
    pixel.iter().rev().fold(0, |word, sample| word << 8 | u64::from(*sample))
}

/// The lowest samples of a number.
#[inline(always)]
fn first<const PX: usize>(word: u64) -> [u8; PX] {
    let mut pixel = [0; PX];
    pixel.iter_mut().zip(word.to_le_bytes()).for_each(|(sample, byte)| *sample = byte);
    pixel
}

/// Eight samples with room to compute in.
#[inline(always)]
fn lanes(bytes: u64) -> i16x8 {
    i16x8::from_u8x16_low(bytemuck::cast(u64x2::new([bytes, 0])))
}

#[inline(always)]
fn halves(lanes: i16x8) -> [u64; 2] {
    bytemuck::cast(lanes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The guess as the specification words it.
    fn as_specified(left: u8, above: u8, corner: u8) -> u8 {
        let [a, b, c] = [left, above, corner].map(i32::from);
        let near = |sample: i32| (a + b - c - sample).abs();
        if near(a) <= near(b) && near(a) <= near(c) {
            left
        } else if near(b) <= near(c) {
            above
        } else {
            corner
        }
    }

    #[test]
    fn every_guess_is_the_one_that_the_specification_makes() {
        for left in 0..=255 {
            for (above, corner) in (0..=255).step_by(5).flat_map(|a| [(a, 0), (a, 255), (a, a ^ 9)])
            {
                let lanes = |sample: u8| i16x8::splat(i16::from(sample));
                let mut both = Both { left: lanes(left), corner: lanes(corner) };
                let [[upper], [lower]] = both.next([&[0], &[1]], &[above]);
                assert_eq!(upper, as_specified(left, above, corner), "{left} {above} {corner}");
                // above the lower row lies what was left of the upper one
                assert_eq!(lower, as_specified(left, left, corner).wrapping_add(1));
            }
        }
    }

    /// A row guessed by Paeth, sample by sample.
    fn by_paeth(added: &[u8], above: &[u8], samples: usize) -> Vec<u8> {
        let mut row: Vec<u8> = Vec::new();
        for (at, added) in added.iter().enumerate() {
            let before = at.checked_sub(samples);
            let [left, corner] = [&row[..], above].map(|row| before.map_or(0, |at| row[at]));
            row.push(as_specified(left, above[at], corner).wrapping_add(*added));
        }
        row
    }

    fn noise(seed: u32, count: usize) -> Vec<u8> {
        let mut state = seed;
        let next = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // little noise on little noise, so that guesses tie
            let wide = if state & 1 == 0 { 7 } else { 255 };
            u8::try_from(state >> 24).unwrap() & wide
        };
        (0..count).map(next).collect()
    }

    fn rows_by_paeth_are_as_specified<const PX: usize>() {
        for wide in 0..20 {
            for seed in 0..40 {
                let bytes = noise(seed, 3 * wide * PX);
                let (above, rest) = bytes.split_at(wide * PX);
                let (upper, lower) = rest.split_at(wide * PX);
                let first = by_paeth(upper, above, PX);
                let second = by_paeth(lower, &first, PX);
                let (mut one, mut other) = (vec![1; wide * PX], vec![2; wide * PX]);
                two_rows::<PX>([upper, lower], above, [&mut one, &mut other]);
                assert_eq!((&one, &other), (&first, &second), "{wide} pixels of {PX}, seed {seed}");
                other.fill(3);
                row::<PX>(Stored { filter: BY_PAETH, added: lower }, &first, &mut other).unwrap();
                assert_eq!(other, second);
            }
        }
    }

    #[test]
    fn rows_guessed_by_paeth_are_read_as_specified_alone_and_two_at_a_time() {
        rows_by_paeth_are_as_specified::<1>();
        rows_by_paeth_are_as_specified::<2>();
        rows_by_paeth_are_as_specified::<3>();
        rows_by_paeth_are_as_specified::<4>();
    }
}
