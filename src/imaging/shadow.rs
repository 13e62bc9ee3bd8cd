//! The contact shadow tells whether a product stands on the ground or floats above it.
//!
//! It can be told where the ground is plain and light and the subject ends in a clear edge: then a
//! shadow is what is darker than the ground, has the ground's hue and changes slowly, and the gap
//! is what lies between the subject's foot and where the shadow begins below it.

use crate::imaging::grid::Grid;
use crate::imaging::marks::Marks;
use crate::imaging::mask::{Mask, columns};
use crate::imaging::parts::Part;
use crate::imaging::sample::{Sample, luma};
use crate::imaging::subject::{Ground, Subject};

/// Luma from which a ground is light enough to show a shadow.
const LIGHT_GROUND: u8 = 150;

/// Levels below the ground from which a pixel is in shadow.
const SHADE_LEVELS: i16 = 8;

/// Levels between two neighbouring rows from which an edge, not a shadow, lies between them.
const EDGE_LEVELS: u8 = 18;

/// Difference between a shadow's hue and the ground's, in levels of a channel against luma.
const HUE_LEVELS: i16 = 16;

/// Levels below the ground down to which a shadow is soft: what a lamp's fall-off takes away.
const SOFT_LEVELS: i16 = 64;

/// Fewest columns that say anything.
const LEAST_COLUMNS: usize = 8;

/// Gap between the subject's foot and its shadow as a share of the subject's height, 0..1.
///
/// `None` where it cannot be told: with alpha, in a scene, on a dark ground, where the subject
/// runs into the frame's lower border, where it has no clear edge, or where no shadow falls below.
pub(crate) fn contact(sample: &Sample, subject: &Subject, marks: &mut Marks) -> Option<f64> {
    let Ground::Plain(colour) = subject.ground else { return None };
    let [red, green, blue] = colour;
    if luma([red, green, blue, 255]) < LIGHT_GROUND {
        return None;
    }
    let tints = Tints::of(sample, colour);
    let columns = tints.columns(sample.rgba.height());
    let lowest = columns.iter().map(|column| column.foot).max()?;
    let highest = columns.iter().map(|column| column.top).min()?;
    let height = lowest - highest;
    if height < 32 || sample.rgba.height() - 2 <= lowest {
        return None;
    }
    // only what stands lowest touches the ground
    let standing = columns.iter().filter(|column| lowest - height / 12 <= column.foot);
    let mut gaps = Vec::new();
    for column in standing {
        let gap = tints.gap(column);
        gaps.extend(gap);
        let high = gap.unwrap_or(0).max(1);
        marks.block(sample.rgba.size(), (column.x, column.foot + 1), (1, high));
    }
    if gaps.len() < LEAST_COLUMNS {
        return None;
    }
    let middle = gaps.len() / 2;
    let gap = *gaps.select_nth_unstable(middle).1;
    Some((f64::from(gap) / f64::from(height)).min(1.0))
}

/// The lowest row of a subject on a light ground that is no shadow, of what `cover` takes in: litter
/// beside or below it has no foot. `None` where shadows cannot be told from the subject: with alpha,
/// in a scene, on a dark ground, or without an edge.
pub(crate) fn foot(sample: &Sample, subject: &Subject, cover: &Part) -> Option<i32> {
    let Ground::Plain(colour) = subject.ground else { return None };
    let [red, green, blue] = colour;
    if luma([red, green, blue, 255]) < LIGHT_GROUND {
        return None;
    }
    let columns = Tints::of(sample, colour).columns(cover.bottom + 1);
    let covered = columns.iter().filter(|column| (cover.left..=cover.right).contains(&column.x));
    covered.map(|column| column.foot).max()
}

/// Whether a pixel of this luma is the ground under a soft shadow: its hue, and not much darker.
pub(crate) fn is_soft_shade(pixel: [u8; 4], luma: u8, ground: [u8; 3]) -> bool {
    darker(luma, ground) <= SOFT_LEVELS && tint(pixel, luma, ground) != Tint::Other
}

/// Levels by which luma lies below the ground's.
fn darker(level: u8, [red, green, blue]: [u8; 3]) -> i16 {
    i16::from(luma([red, green, blue, 255])) - i16::from(level)
}

/// One column of the sample in which something stands.
struct Column {
    /// Which.
    x: i32,
    /// First row of the subject.
    top: i32,
    /// Last row of the subject.
    foot: i32,
}

/// A sample against its ground.
struct Tints<'a> {
    sample: &'a Sample,
    ground: [u8; 3],
    /// Something else than the ground.
    other: Mask,
    /// Something else, or an edge above it.
    solid: Mask,
}

impl<'a> Tints<'a> {
    fn of(sample: &'a Sample, ground: [u8; 3]) -> Self {
        let is_other = |pixel, luma| tint(pixel, luma, ground) == Tint::Other;
        let other = Mask::of_both(&sample.rgba, &sample.luma, is_other);
        let solid = Mask::of(&edges(&sample.luma), |step| EDGE_LEVELS <= step).or(&other);
        Self { sample, ground, other, solid }
    }

    /// The columns that have a foot in the first `height` rows, the lowest below the first that is
    /// solid, and above it a row that is something else.
    fn columns(&self, height: i32) -> Vec<Column> {
        let (width, _) = self.other.size();
        let wide = usize::try_from(width).unwrap_or(0);
        let (mut feet, mut tops) = (vec![None; wide], vec![None; wide]);
        find(&self.solid, (1..height).rev(), &mut feet);
        find(&self.other, 0..height, &mut tops);
        let each = (0..).zip(feet.into_iter().zip(tops));
        let column = |(x, (foot, top)): (i32, (Option<i32>, Option<i32>))| {
            let (foot, top) = (foot?, top?);
            (top < foot).then_some(Column { x, top, foot })
        };
        each.filter_map(column).collect()
    }

    /// Rows between a column's foot and its shadow; `None` where no shadow falls.
    fn gap(&self, column: &Column) -> Option<i32> {
        // two rows are left to the blur of the edge itself
        let first = column.foot + 3;
        let Sample { rgba, luma, .. } = self.sample;
        let at = |y: i32| tint(rgba.at(column.x, y), luma.at(column.x, y), self.ground);
        let below = (first..rgba.height()).find(|y| at(*y) == Tint::Shade);
        below.map(|begins| begins - first)
    }
}

/// For every column the first of `rows` in which it belongs to `mask`.
fn find(mask: &Mask, rows: impl Iterator<Item = i32>, found: &mut [Option<i32>]) {
    let mut open: Option<Vec<u64>> = None;
    for y in rows {
        let row = mask.row(usize::try_from(y).unwrap_or(usize::MAX));
        let open = open.get_or_insert_with(|| vec![u64::MAX; row.len()]);
        let fresh: Vec<u64> = row.iter().zip(open.iter()).map(|(row, open)| row & open).collect();
        for x in columns(&fresh) {
            if let Some(found) = usize::try_from(x).ok().and_then(|x| found.get_mut(x)) {
                *found = Some(y);
            }
        }
        open.iter_mut().zip(&fresh).for_each(|(open, fresh)| *open &= !fresh);
    }
}

/// Levels between every pixel and the one above it; 0 in the first row.
fn edges(luma: &Grid<u8>) -> Grid<u8> {
    let rows: Vec<&[u8]> = luma.rows().collect();
    let mut steps = vec![0; rows.first().map_or(0, |row| row.len())];
    for [above, row] in rows.array_windows() {
        steps.extend(above.iter().zip(row.iter()).map(|(above, level)| level.abs_diff(*above)));
    }
    luma.with_cells(steps)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Tint {
    Ground,
    Shade,
    Other,
}

/// What a pixel of this luma looks like against the ground: the same, darker in the same hue, or
/// something else.
fn tint(pixel: [u8; 4], luma: u8, ground: [u8; 3]) -> Tint {
    let darker = darker(luma, ground);
    let apart = |level: u8, of: u8| (i16::from(of) - i16::from(level) - darker).abs();
    let ([red, green, blue, _], [of_red, of_green, of_blue]) = (pixel, ground);
    let hue = apart(red, of_red).max(apart(green, of_green)).max(apart(blue, of_blue));
    // both are asked at once: whole rows of pixels are
    if (HUE_LEVELS < hue) | (darker < -SHADE_LEVELS) {
        Tint::Other
    } else if darker < SHADE_LEVELS {
        Tint::Ground
    } else {
        Tint::Shade
    }
}
