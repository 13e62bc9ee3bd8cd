//! Detail is what the subject's edges show of its focus, at the sample's scale.

use wide::u8x16;

use crate::imaging::grid::{Grid, spread};
use crate::imaging::marks::Marks;
use crate::imaging::mask::{Mask, ones};
use crate::imaging::sample::Sample;
use crate::imaging::subject::{Ground, Subject};

/// Fewest pixels that sharpness is measured on.
const LEAST_SHARP_PX: usize = 64;

/// Slope, in levels over two pixels, under which there is no edge, not even a blurred one.
const LEAST_SLOPE: u8 = 8;

/// All slopes: what is steeper than the last is taken for it, and is sharp beyond doubt.
const SLOPES: usize = 256;

/// Rows after which it is looked again which slopes need not be counted any more.
const ROWS_BETWEEN_LOOKS: usize = 8;

/// Variance of the Laplacian of luma over the subject's strongest edges.
///
/// The Laplacian is the mean of the second differences along the two axes, at the sample's scale.
/// Strong edges alone, because a plain product has few and a blurred background must not count:
/// the steepest fiftieth of the subject's pixels. In a cutout only what lies inside the alpha edge,
/// which is sharp however blurred the product is. `None` where the subject has no edges.
pub(crate) fn sharpness(sample: &Sample, subject: &Subject, marks: &mut Marks) -> Option<f64> {
    let mask = &subject.mask;
    let size = mask.size();
    // a place at the frame's border has no slope
    let inner = Mask::rectangle(size, (1, 1), (size.0 - 1, size.1 - 1));
    let counted = match subject.ground {
        Ground::Transparent => mask.joined(&DEEP, |one, other| one & other).and(&inner),
        Ground::Plain(_) => mask.joined(&NEAR, |one, other| one | other).and(&inner),
        Ground::Busy => inner,
    };
    let total = counted.count();
    let steep = (total / 50).max(LEAST_SHARP_PX);
    if total <= steep {
        return None;
    }
    let slopes = slopes(&sample.luma);
    // of those on the line itself only as many as are still wanted
    let (line, mut spare) = line(&slopes, &counted, steep)?;
    let mut laplacians = Vec::with_capacity(steep);
    let mut steepest = 0;
    for (x, y) in Mask::of(&slopes, |slope| line <= slope).and(&counted).places() {
        let slope = slopes.at(x, y);
        if slope == line && spare == 0 {
            continue;
        }
        spare -= usize::from(slope == line);
        steepest = steepest.max(slope);
        laplacians.push(f64::from(laplacian(&sample.luma, (x, y))) / 2.0);
        marks.place(size, (x, y));
    }
    if steepest < LEAST_SLOPE {
        return None;
    }
    spread(laplacians.into_iter()).map(|(_, variance)| variance)
}

/// The slope that the `steep` steepest counted places reach, and how many of those on it are among
/// them.
fn line(slopes: &Grid<u8>, counted: &Mask, steep: usize) -> Option<(u8, usize)> {
    let mut counts = Counts::default();
    // what lies below what so many have reached already is not counted
    let mut lowest = 0;
    for (y, (row, words)) in slopes.rows().zip(counted.rows()).enumerate() {
        if y % ROWS_BETWEEN_LOOKS == 0 {
            lowest = counts.reached(steep).map_or(0, |(line, _)| line);
        }
        for (slopes, word) in row.chunks(64).zip(words).filter(|(_, word)| **word != 0) {
            let (whole, rest) = slopes.as_chunks::<16>();
            let mut last = [0; 16];
            last.iter_mut().zip(rest).for_each(|(slope, of)| *slope = *of);
            for (at, sixteen) in (0..64).step_by(16).zip(whole.iter().chain([&last])) {
                let inside = word >> at & 0xFFFF;
                let wanted = inside & reach(sixteen, lowest);
                // hardly any 16 places hold one
                if wanted == 0 {
                    continue;
                }
                if inside == 0xFFFF {
                    counts.add_all(sixteen);
                } else {
                    let wanted = ones(wanted).filter_map(|at| sixteen.get(at));
                    wanted.for_each(|slope| counts.add(*slope));
                }
            }
        }
    }
    counts.reached(steep)
}

/// Which of these are `lowest` or more, the first the lowest bit.
fn reach(slopes: &[u8; 16], lowest: u8) -> u64 {
    let slopes = u8x16::new(*slopes);
    slopes.max(u8x16::splat(lowest)).simd_eq(slopes).to_bitmask().into()
}

/// How often each slope occurs. Slopes that are alike are neighbours, and raising one counter twice is
/// slower than raising two.
struct Counts {
    even: [u32; SLOPES],
    odd: [u32; SLOPES],
}

impl Default for Counts {
    fn default() -> Self {
        Self { even: [0; SLOPES], odd: [0; SLOPES] }
    }
}

impl Counts {
    fn add(&mut self, slope: u8) {
        raise(&mut self.even, slope);
    }

    fn add_all(&mut self, slopes: &[u8; 16]) {
        for [one, other] in slopes.as_chunks::<2>().0 {
            raise(&mut self.even, *one);
            raise(&mut self.odd, *other);
        }
    }

    /// The slope that the `steep` steepest reach, and how many of those on it are among them; `None`
    /// where there are fewer.
    fn reached(&self, steep: usize) -> Option<(u8, usize)> {
        let mut above = 0;
        for (slope, (even, odd)) in self.even.iter().zip(&self.odd).enumerate().rev() {
            let here = (*even + *odd) as usize;
            if steep <= above + here {
                return Some((u8::try_from(slope).ok()?, steep - above));
            }
            above += here;
        }
        None
    }
}

fn raise(counts: &mut [u32; SLOPES], slope: u8) {
    if let Some(count) = counts.get_mut(usize::from(slope)) {
        *count += 1;
    }
}

/// The slope at every place, in levels over two pixels, both ways together; 0 at the frame's border.
/// In a byte, of which a register holds most.
fn slopes(luma: &Grid<u8>) -> Grid<u8> {
    let rows: Vec<&[u8]> = luma.rows().collect();
    let wide = rows.first().map_or(0, |row| row.len());
    // every value is written once: to clear so much memory first takes as long as to measure it
    let mut slopes = Vec::with_capacity(luma.cells().len());
    slopes.resize(wide, 0);
    for [above, row, below] in rows.array_windows() {
        let (left, right) = (row, from(row, 2));
        let (above, below) = (from(above, 1), from(below, 1));
        slopes.push(0);
        let beside = left.iter().zip(right).zip(above.iter().zip(below));
        slopes.extend(beside.map(|((left, right), (above, below))| {
            left.abs_diff(*right).saturating_add(above.abs_diff(*below))
        }));
        slopes.resize(slopes.len().next_multiple_of(wide.max(1)), 0);
    }
    luma.with_cells(slopes)
}

fn from(row: &[u8], first: usize) -> &[u8] {
    row.get(first..).unwrap_or_default()
}

/// Twice the Laplacian at a place.
fn laplacian(luma: &Grid<u8>, (x, y): (i32, i32)) -> i32 {
    let at = |x: i32, y: i32| i32::from(luma.at(x, y));
    at(x - 1, y) + at(x + 1, y) + at(x, y - 1) + at(x, y + 1) - 4 * at(x, y)
}

/// Places three pixels or more inside a mask: all of these belong to it.
const DEEP: [(i32, i32); 9] =
    [(0, 0), (-3, 0), (3, 0), (0, -3), (0, 3), (-2, -2), (2, -2), (-2, 2), (2, 2)];

/// Places in a mask or two pixels beside it: one of these belongs to it.
const NEAR: [(i32, i32); 5] = [(0, 0), (-2, 0), (2, 0), (0, -2), (0, 2)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_that_of_all_slopes_sorted() {
        let size = (150, 70);
        let noise = |n: u32| n.wrapping_mul(2_654_435_761).to_be_bytes()[0];
        // few steep ones first, last, and everywhere
        let fields: [fn(u32, u8) -> u8; 3] = [
            |_, noise| noise,
            |n, noise| noise >> (n / 1_500),
            |n, noise| noise >> (7 - n / 1_500),
        ];
        for field in fields {
            let slopes = Grid::new(size, (0..150 * 70).map(|n| field(n, noise(n))).collect());
            let spotted = Mask::of(&slopes, |slope| slope % 7 != 3);
            for counted in [Mask::rectangle((150, 70), (1, 1), (149, 69)), spotted] {
                let inside = counted.places().map(|(x, y)| slopes.at(x, y));
                let mut sorted: Vec<u8> = inside.collect();
                sorted.sort_unstable_by(|one, other| other.cmp(one));
                for steep in [1, 64, sorted.len() / 50, sorted.len()] {
                    let known = sorted[steep - 1];
                    let above = sorted.iter().filter(|slope| known < **slope).count();
                    assert_eq!(line(&slopes, &counted, steep), Some((known, steep - above)));
                }
                assert_eq!(line(&slopes, &counted, sorted.len() + 1), None);
            }
        }
    }
}
