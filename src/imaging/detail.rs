//! Detail is what the subject's edges show of its focus, at the sample's scale.

use std::slice;

use crate::imaging::grid::{Grid, spread};
use crate::imaging::marks::Marks;
use crate::imaging::mask::{Mask, columns};
use crate::imaging::sample::Sample;
use crate::imaging::subject::{Ground, Subject};

/// Fewest pixels that sharpness is measured on.
const LEAST_SHARP_PX: usize = 64;

/// Slope, in levels over two pixels, under which there is no edge, not even a blurred one.
const LEAST_SLOPE: u8 = 8;

/// All slopes: what is steeper than the last is taken for it, and is sharp beyond doubt.
const SLOPES: usize = 256;

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
    for (x, y) in steep_places(&slopes, &counted, line) {
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
    // slopes that are alike are neighbours, and raising one counter twice is slower than raising two
    let mut lanes = [[0_u32; SLOPES]; 2];
    let [even, odd] = &mut lanes;
    let raise = |lane: &mut [u32; SLOPES], slope: u8| {
        if let Some(count) = lane.get_mut(usize::from(slope)) {
            *count += 1;
        }
    };
    for (row, words) in slopes.rows().zip(counted.rows()) {
        for (slopes, word) in row.chunks(64).zip(words) {
            // most words are full or empty
            if *word == u64::MAX {
                for pair in slopes.as_chunks::<2>().0 {
                    let [one, other] = *pair;
                    raise(even, one);
                    raise(odd, other);
                }
            } else if *word != 0 {
                let numbered = slopes.iter().enumerate();
                let inside = numbered.filter(|(at, _)| *word >> *at & 1 == 1);
                inside.for_each(|(_, slope)| raise(even, *slope));
            }
        }
    }
    let mut above = 0;
    for (slope, (even, odd)) in even.iter().zip(odd).enumerate().rev() {
        let here = (*even + *odd) as usize;
        if steep <= above + here {
            return Some((u8::try_from(slope).ok()?, steep - above));
        }
        above += here;
    }
    None
}

/// The counted places whose slope is at least `line`, row after row.
fn steep_places(slopes: &Grid<u8>, counted: &Mask, line: u8) -> Vec<(i32, i32)> {
    let mut places = Vec::new();
    for (y, (row, words)) in (0..).zip(slopes.rows().zip(counted.rows())) {
        for (left, (slopes, word)) in (0..).step_by(64).zip(row.chunks(64).zip(words)) {
            // hardly any 64 places hold one
            if *word == 0 || slopes.iter().fold(0, |most, slope| most.max(*slope)) < line {
                continue;
            }
            for at in columns(slice::from_ref(word)) {
                let slope = usize::try_from(at).ok().and_then(|at| slopes.get(at));
                places.extend(slope.filter(|slope| line <= **slope).map(|_| (left + at, y)));
            }
        }
    }
    places
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
