//! The contact shadow tells whether a product stands on the ground or floats above it.
//!
//! It can be told where the ground is plain and light and the subject ends in a clear edge: then a
//! shadow is what is darker than the ground, has the ground's hue and changes slowly, and the gap
//! is what lies between the subject's foot and where the shadow begins below it.

use crate::imaging::grid::Grid;
use crate::imaging::marks::Marks;
use crate::imaging::sample::{Sample, luma};
use crate::imaging::subject::{Ground, Subject};

/// Luma from which a ground is light enough to show a shadow.
const LIGHT_GROUND: u8 = 150;

/// Levels below the ground from which a pixel is in shadow.
const SHADE_LEVELS: i32 = 8;

/// Levels between two neighbouring rows from which an edge, not a shadow, lies between them.
const EDGE_LEVELS: i32 = 18;

/// Difference between a shadow's hue and the ground's, in levels of a channel against luma.
const HUE_LEVELS: i32 = 16;

/// Levels below the ground down to which a shadow is soft: what a lamp's fall-off takes away.
const SOFT_LEVELS: i32 = 64;

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
    let columns: Vec<Column> =
        (0..sample.rgba.width()).filter_map(|x| Column::read(&sample.rgba, x, colour)).collect();
    let lowest = columns.iter().map(|column| column.foot).max()?;
    let highest = columns.iter().map(|column| column.top).min()?;
    let height = lowest - highest;
    if height < 32 || sample.rgba.height() - 2 <= lowest {
        return None;
    }
    // only what stands lowest touches the ground
    let standing = columns.iter().filter(|column| lowest - height / 12 <= column.foot);
    let mut gaps: Vec<i32> = standing.filter_map(|column| column.gap).collect();
    if gaps.len() < LEAST_COLUMNS {
        return None;
    }
    if marks.is_wanted() {
        for column in columns.iter().filter(|column| lowest - height / 12 <= column.foot) {
            let gap = column.gap.unwrap_or(0).max(1);
            marks.block(&sample.rgba, (column.x, column.foot + 1), (1, gap));
        }
    }
    let middle = gaps.len() / 2;
    let gap = *gaps.select_nth_unstable(middle).1;
    Some((f64::from(gap) / f64::from(height)).min(1.0))
}

/// Whether a pixel is the ground under a soft shadow: its hue, and not much darker.
pub(crate) fn is_soft_shade(pixel: [u8; 4], ground: [u8; 3]) -> bool {
    let [red, green, blue] = ground;
    let darker = i32::from(luma([red, green, blue, 255])) - i32::from(luma(pixel));
    darker <= SOFT_LEVELS && tint(pixel, ground) != Tint::Other
}

/// One column of the sample, read from below.
struct Column {
    /// Which.
    x: i32,
    /// First row of the subject.
    top: i32,
    /// Last row of the subject.
    foot: i32,
    /// Rows between the foot and the shadow; `None` where no shadow falls.
    gap: Option<i32>,
}

impl Column {
    fn read(rgba: &Grid<[u8; 4]>, x: i32, ground: [u8; 3]) -> Option<Self> {
        let foot = foot(rgba, x, ground)?;
        let top = (0..foot).find(|y| tint(rgba.at(x, *y), ground) == Tint::Other)?;
        // two rows are left to the blur of the edge itself
        let below = (foot + 3..rgba.height()).find(|y| tint(rgba.at(x, *y), ground) == Tint::Shade);
        let gap = below.map(|begins| (begins - foot - 3).max(0));
        Some(Self { x, top, foot, gap })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Tint {
    Ground,
    Shade,
    Other,
}

/// What a pixel looks like against the ground: the same, darker in the same hue, or something else.
fn tint(pixel: [u8; 4], ground: [u8; 3]) -> Tint {
    let [red, green, blue] = ground;
    let darker = i32::from(luma([red, green, blue, 255])) - i32::from(luma(pixel));
    let apart = |level: u8, of: u8| (i32::from(of) - i32::from(level) - darker).abs();
    let hue = pixel.into_iter().zip(ground).map(|(level, of)| apart(level, of)).max();
    if HUE_LEVELS < hue.unwrap_or(0) || darker < -SHADE_LEVELS {
        return Tint::Other;
    }
    if darker < SHADE_LEVELS { Tint::Ground } else { Tint::Shade }
}

/// The lowest row of the subject: from below, the first that is of another hue or behind an edge.
fn foot(rgba: &Grid<[u8; 4]>, x: i32, ground: [u8; 3]) -> Option<i32> {
    let level = |y: i32| i32::from(luma(rgba.at(x, y)));
    (1..rgba.height()).rev().find(|y| {
        let edge = EDGE_LEVELS <= (level(*y) - level(*y - 1)).abs();
        edge || tint(rgba.at(x, *y), ground) == Tint::Other
    })
}
