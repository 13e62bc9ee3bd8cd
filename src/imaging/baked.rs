//! Baked-in is what belongs around a picture and was painted into it: the checkerboard that editors
//! show for transparency, and bars that fill a frame of another shape.

use crate::imaging::grid::share;
use crate::imaging::marks::Marks;
use crate::imaging::native::{TILE_PX, Tile};
use crate::imaging::sample::Sample;
use crate::imaging::subject::difference;

/// Half the width of a level's peak.
const PEAK_LEVELS: usize = 6;

/// Share of a tile that its two greys fill, and that each of them does.
const TWO_GREYS: f64 = 0.80;
const ONE_GREY: f64 = 0.25;

/// Share of a tile's places where a step of one square, across and down, changes the grey.
const ALTERNATES: f64 = 0.80;

/// Share of the tiles along the frame's border that are a checkerboard, 0..1.
///
/// A tile is one where two greys fill it and where there is a length, the square's, such that one
/// step across and one step down both lead to the other grey nearly everywhere. Stripes, text and
/// textures do one or neither. Only at the border, because a product may be checked.
/// `None` where the picture is smaller than a tile.
pub(crate) fn checkerboard(tiles: &[Tile], marks: &mut Marks, size: (usize, usize)) -> Option<f64> {
    let (mut outer, mut checked) = (0, 0);
    for tile in tiles.iter().filter(|tile| tile.is_outer) {
        outer += 1;
        if is_checked(tile) {
            checked += 1;
            marks.pixels(size, (tile.left_px, tile.top_px), (TILE_PX, TILE_PX));
        }
    }
    (outer != 0).then(|| share(checked, outer))
}

fn is_checked(tile: &Tile) -> bool {
    let Some(between) = between_two_greys(tile) else { return false };
    let bits: Vec<u64> = tile
        .rows
        .iter()
        .map(|row| row.iter().fold(0, |bits, level| bits << 1 | u64::from(between < *level)))
        .collect();
    (3..TILE_PX / 2).any(|square| ALTERNATES <= alternation(&bits, square))
}

/// Share of places whose neighbours one square to the right and one square below have the other
/// grey.
fn alternation(bits: &[u64], square: usize) -> f64 {
    let inside = u64::MAX >> square;
    let below = bits.get(square..).unwrap_or_default();
    let changed = bits.iter().zip(below).map(|(row, below)| {
        let across = (row ^ (row >> square)) & inside;
        let down = row ^ below;
        (across & down).count_ones() as usize
    });
    share(changed.sum(), below.len() * (TILE_PX - square))
}

/// The level between the two greys that fill a tile.
fn between_two_greys(tile: &Tile) -> Option<u8> {
    let counts = tile.levels().counts();
    let around: Vec<usize> = (0..counts.len())
        .map(|level| {
            let window = level.saturating_sub(PEAK_LEVELS)..(level + PEAK_LEVELS + 1).min(256);
            counts.get(window).unwrap_or_default().iter().map(|count| *count as usize).sum()
        })
        .collect();
    let peak = |apart: &dyn Fn(usize) -> bool| {
        let levels = around.iter().copied().enumerate().filter(|(level, _)| apart(*level));
        levels.max_by_key(|(_, held)| *held)
    };
    let (first, held) = peak(&|_| true)?;
    // most tiles have no such grey, and a product has no second
    if share(held, TILE_PX * TILE_PX) < ONE_GREY {
        return None;
    }
    let (second, also_held) = peak(&|level| 2 * PEAK_LEVELS < level.abs_diff(first))?;
    let of = |held| share(held, TILE_PX * TILE_PX);
    let two = ONE_GREY <= of(also_held) && TWO_GREYS <= of(held) + of(also_held);
    two.then(|| u8::try_from(usize::midpoint(first, second)).unwrap_or(u8::MAX))
}

/// Levels within which a bar is one colour.
const BAR_LEVELS: u8 = 8;

/// Share of a line that a bar fills.
const BAR_FILLS: f64 = 0.99;

/// Levels by which the picture beside a bar differs from it, and the share of the line that does.
const PICTURE_LEVELS: u8 = 24;
const PICTURE_FILLS: f64 = 0.60;

/// Narrowest bar, as a share of the side.
const LEAST_BAR: f64 = 0.02;

/// Share of the frame that bars of one colour fill, above and below or left and right, 0..1.
///
/// A white margin is no bar: the product begins in it somewhere, while behind a bar the picture
/// begins along the whole line at once. Nor is a margin of one colour on all four sides: before a plain
/// ground a book or a rug, too, begins along a whole line, and a framed picture cannot be told from
/// it. `None` with alpha.
pub(crate) fn bars(sample: &Sample, marks: &mut Marks) -> Option<f64> {
    if sample.has_alpha {
        return None;
    }
    let grid = &sample.rgba;
    let (width, height) = grid.size();
    let row = |y: i32| (0..width).map(move |x| grid.at(x, y));
    let column = |x: i32| (0..height).map(move |y| grid.at(x, y));
    let [red, green, blue, _] = grid.at(0, 0);
    let is_corners = |pixel| difference(pixel, [red, green, blue]) <= BAR_LEVELS;
    let ends = [0, height - 1].into_iter().all(|y| fills(BAR_FILLS, row(y), is_corners));
    if ends && [0, width - 1].into_iter().all(|x| fills(BAR_FILLS, column(x), is_corners)) {
        return Some(0.0);
    }
    let (above, below) = pair(height, row);
    let (left, right) = pair(width, column);
    marks.block(grid.size(), (0, 0), (width, above));
    marks.block(grid.size(), (0, height - below), (width, below));
    marks.block(grid.size(), (0, 0), (left, height));
    marks.block(grid.size(), (width - right, 0), (right, height));
    let rows = f64::from(above + below) / f64::from(height);
    Some(rows.max(f64::from(left + right) / f64::from(width)))
}

/// Lines of the bars at both ends of a side, 0 and 0 where there are none.
fn pair<I: ExactSizeIterator<Item = [u8; 4]>>(side: i32, line: impl Fn(i32) -> I) -> (i32, i32) {
    let [red, green, blue, _] = line(0).next().unwrap_or_default();
    let colour = [red, green, blue];
    let is_bar =
        |at: &i32| fills(BAR_FILLS, line(*at), |pixel| difference(pixel, colour) <= BAR_LEVELS);
    let first = whole((0..side).take_while(is_bar).count());
    let narrow = |lines: i32| f64::from(lines) < LEAST_BAR * f64::from(side);
    // the line of the border itself is a mixture of both
    let begins = |at: i32| {
        fills(PICTURE_FILLS, line(at), |pixel| PICTURE_LEVELS < difference(pixel, colour))
    };
    if narrow(first) || first == side || !begins(first + 2) {
        return (0, 0);
    }
    let last = whole((0..side).rev().take_while(is_bar).count());
    if narrow(last) || side <= first + last || !begins(side - last - 3) {
        return (0, 0);
    }
    (first, last)
}

fn whole(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// Whether at least the share `least` of a line's pixels are what `is` says. Reads no further than to
/// the first that settles it.
fn fills(
    least: f64,
    line: impl ExactSizeIterator<Item = [u8; 4]>,
    is: impl Fn([u8; 4]) -> bool,
) -> bool {
    let all = line.len();
    let is_short = |missed: &usize| share(all - missed, all) < least;
    let most_missed = (0..all).find(is_short).unwrap_or(all);
    line.filter(|pixel| !is(*pixel)).take(most_missed).count() < most_missed
}
