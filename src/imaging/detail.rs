//! Detail is what the subject's edges show of its focus, at the sample's scale.

use std::iter::repeat_n;

use crate::imaging::grid::{Grid, spread};
use crate::imaging::marks::Marks;
use crate::imaging::sample::Sample;
use crate::imaging::subject::{Ground, Subject};

/// Fewest pixels that sharpness is measured on.
const LEAST_SHARP_PX: usize = 64;

/// Slope, in levels over two pixels, under which there is no edge, not even a blurred one.
const LEAST_SLOPE: usize = 8;

/// Steepest slope there is: black to white both ways.
const MOST_SLOPE: usize = 510;

/// Variance of the Laplacian of luma over the subject's strongest edges.
///
/// The Laplacian is the mean of the second differences along the two axes, at the sample's scale.
/// Strong edges alone, because a plain product has few and a blurred background must not count:
/// the steepest fiftieth of the subject's pixels. In a cutout only what lies inside the alpha edge,
/// which is sharp however blurred the product is. `None` where the subject has no edges.
pub(crate) fn sharpness(sample: &Sample, subject: &Subject, marks: &mut Marks) -> Option<f64> {
    let counted = match subject.ground {
        Ground::Transparent => joined(&subject.mask, &DEEP, |one, other| one & other),
        Ground::Plain(_) => joined(&subject.mask, &NEAR, |one, other| one | other),
        Ground::Busy => vec![true; subject.mask.cells().len()],
    };
    let mut counts = [0_usize; MOST_SLOPE + 1];
    each_edge(&sample.luma, &counted, |_, slope, _| {
        if let Some(count) = counts.get_mut(slope) {
            *count += 1;
        }
    });
    let total: usize = counts.iter().sum();
    let steep = (total / 50).max(LEAST_SHARP_PX);
    if total <= steep {
        return None;
    }
    let mut above = 0;
    let line = counts.iter().rposition(|count| {
        above += count;
        steep <= above
    })?;
    // of those on the line itself only as many as are still wanted
    let mut spare = counts.get(line).copied()?.checked_sub(above - steep)?;
    let mut laplacians = Vec::with_capacity(steep);
    let mut steepest = 0;
    each_edge(&sample.luma, &counted, |number, slope, laplacian| {
        let takes = line < slope || (slope == line && 0 < spare);
        if takes {
            spare -= usize::from(slope == line);
            steepest = steepest.max(slope);
            laplacians.push(f64::from(laplacian) / 2.0);
            marks.cell(&sample.luma, number);
        }
    });
    if steepest < LEAST_SLOPE {
        return None;
    }
    spread(laplacians.into_iter()).map(|(_, variance)| variance)
}

/// Calls `each` with the number, the slope and twice the Laplacian of every counted place that is
/// not on the frame's border.
fn each_edge(luma: &Grid<u8>, counted: &[bool], mut each: impl FnMut(usize, usize, i32)) {
    let width = usize::try_from(luma.width()).unwrap_or(0);
    let rows: Vec<&[u8]> = luma.rows().collect();
    let counted = counted.chunks_exact(width.max(1)).skip(1);
    for (y, ([above, row, below], counted)) in rows.array_windows::<3>().zip(counted).enumerate() {
        let around = above.iter().zip(below.iter()).skip(1).zip(counted.iter().skip(1));
        for (x, (three, ((above, below), counts))) in
            row.array_windows::<3>().zip(around).enumerate()
        {
            if !counts {
                continue;
            }
            let [left, here, right] = three.map(i32::from);
            let (above, below) = (i32::from(*above), i32::from(*below));
            let slope = (right - left).unsigned_abs() + (below - above).unsigned_abs();
            let laplacian = left + right + above + below - 4 * here;
            each((y + 1) * width + x + 1, slope as usize, laplacian);
        }
    }
}

/// Places three pixels or more inside a mask: all of these belong to it.
const DEEP: [(isize, isize); 9] =
    [(0, 0), (-3, 0), (3, 0), (0, -3), (0, 3), (-2, -2), (2, -2), (-2, 2), (2, 2)];

/// Places in a mask or two pixels beside it: one of these belongs to it.
const NEAR: [(isize, isize); 5] = [(0, 0), (-2, 0), (2, 0), (0, -2), (0, 2)];

/// For every place, what the mask holds at `offsets` from it, joined; outside, the nearest inside.
fn joined(
    mask: &Grid<bool>,
    offsets: &[(isize, isize)],
    join: impl Fn(bool, bool) -> bool,
) -> Vec<bool> {
    let rows: Vec<&[bool]> = mask.rows().collect();
    let mut cells = Vec::with_capacity(mask.cells().len());
    for (y, row) in rows.iter().enumerate() {
        let mut joined = row.to_vec();
        for (dx, dy) in offsets.iter().skip(1) {
            let at = y.saturating_add_signed(*dy).min(rows.len() - 1);
            let Some(other) = rows.get(at) else { continue };
            let far = dx.unsigned_abs().min(other.len());
            let (first, last) = (other.first().copied(), other.last().copied());
            let (first, last) = (first.unwrap_or_default(), last.unwrap_or_default());
            if *dx < 0 {
                let shifted = repeat_n(&first, far).chain(other.iter());
                joined.iter_mut().zip(shifted).for_each(|(one, other)| *one = join(*one, *other));
            } else {
                let shifted = other.iter().skip(far).chain(repeat_n(&last, far));
                joined.iter_mut().zip(shifted).for_each(|(one, other)| *one = join(*one, *other));
            }
        }
        cells.extend(joined);
    }
    cells
}
