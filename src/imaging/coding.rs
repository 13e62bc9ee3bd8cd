//! Coding measures what compression, scaling and a small number of levels leave in a picture:
//! blocks, bands, grain, and detail that was never there. All of it lies in the finest pixels, so it
//! is measured on native [`Tile`]s.

use std::f64::consts::PI;

use crate::imaging::grid::share;
use crate::imaging::marks::Marks;
use crate::imaging::native::{TILE_PX, Tile};

/// Side of the largest coded block.
const MOST_BLOCK_PX: usize = 8;

/// A step larger than this is an edge of the picture, whatever lies beneath it.
const MOST_STEP: u32 = 48;

/// Levels by which steps at the blocks' borders are higher than elsewhere, where they can be seen.
const SEEN_LEVELS: f64 = 2.0;

/// How many times higher they are at least: in a texture steps are high everywhere.
const SEEN_TIMES: f64 = 1.3;

/// Share of the picture's tiles in which the borders of coded blocks can be seen, 0..1. `None` where
/// the picture is smaller than a tile, or so large that a block is a pixel of what is looked at.
///
/// The steps between neighbours are summed by their place in a block, over all tiles; the place with
/// the largest sum is taken for the borders' (not the file's grid: a crop or a turn moves it). A tile
/// shows blocks where steps at that place are higher than at the others, in rows and in columns.
pub(crate) fn blockiness(
    tiles: &[Tile],
    block_px: usize,
    marks: &mut Marks,
    size: (usize, usize),
) -> Option<f64> {
    if block_px < 2 {
        return None;
    }
    let each: Vec<(&Tile, Phases)> =
        tiles.iter().map(|tile| (tile, Phases::of(tile, block_px))).collect();
    let mut all = Phases::default();
    for (_, phases) in &each {
        all.add(phases);
    }
    let (across, down) = (highest(&all.rows)?, highest(&all.columns)?);
    let mut blocky = 0;
    for (tile, phases) in each {
        if is_seen(&phases.rows, across) && is_seen(&phases.columns, down) {
            blocky += 1;
            marks.pixels(size, (tile.left_px, tile.top_px), (TILE_PX, TILE_PX));
        }
    }
    (!tiles.is_empty()).then(|| share(blocky, tiles.len()))
}

/// Steps between neighbours by where in a block they lie: their sum and number.
type Steps = [(u32, u32); MOST_BLOCK_PX];

#[derive(Clone, Copy, Debug, Default)]
struct Phases {
    rows: Steps,
    columns: Steps,
}

impl Phases {
    fn of(tile: &Tile, block_px: usize) -> Self {
        Self { rows: steps(tile, block_px), columns: steps(&tile.turned(), block_px) }
    }

    fn add(&mut self, other: &Self) {
        let ours = self.rows.iter_mut().chain(&mut self.columns);
        for (mine, theirs) in ours.zip(other.rows.iter().chain(&other.columns)) {
            mine.0 += theirs.0;
            mine.1 += theirs.1;
        }
    }
}

fn mean((sum, count): (u32, u32)) -> f64 {
    f64::from(sum) / f64::from(count.max(1))
}

/// The place in a block where steps are highest.
fn highest(steps: &Steps) -> Option<usize> {
    let means = steps.iter().map(|step| mean(*step)).enumerate();
    means.max_by(|one, other| one.1.total_cmp(&other.1)).map(|(place, _)| place)
}

/// Whether steps at `place` stand out from those at the other places.
fn is_seen(steps: &Steps, place: usize) -> bool {
    let at = steps.get(place).map_or(0.0, |step| mean(*step));
    let others = steps.iter().enumerate().filter(|(other, _)| *other != place);
    let other = mean(others.fold((0, 0), |sum, (_, step)| (sum.0 + step.0, sum.1 + step.1)));
    SEEN_LEVELS <= at - other && SEEN_TIMES * other <= at
}

fn steps(tile: &Tile, block_px: usize) -> Steps {
    let mut phases = [(0, 0); MOST_BLOCK_PX];
    for row in &tile.rows {
        for (place, [before, after]) in row.array_windows().enumerate() {
            let step = u32::from(after.abs_diff(*before)).min(MOST_STEP);
            if let Some((sum, count)) = phases.get_mut(place % block_px) {
                *sum += step;
                *count += 1;
            }
        }
    }
    phases
}

/// Standard deviation of the grain in the quietest quarter of the tiles, in levels.
///
/// By the mask of Immerkær, "Fast noise variance estimation" (1996), which is blind to what is flat
/// or a ramp. Where the picture is quietest nothing but grain is left; a product before a clean
/// ground has none there. `None` where the picture is smaller than a tile.
pub(crate) fn noise(tiles: &[Tile], marks: &mut Marks, size: (usize, usize)) -> Option<f64> {
    let mut deviations: Vec<(f64, (usize, usize))> =
        tiles.iter().map(|tile| (grain(tile), (tile.left_px, tile.top_px))).collect();
    deviations.sort_by(|one, other| one.0.total_cmp(&other.0));
    let quiet = deviations.get(..=deviations.len() / 4)?;
    for (_, place) in quiet {
        marks.pixels(size, *place, (TILE_PX, TILE_PX));
    }
    quiet.last().map(|(deviation, _)| *deviation)
}

fn grain(tile: &Tile) -> f64 {
    let mut sum = 0;
    let mut count = 0;
    for [above, row, below] in tile.rows.array_windows() {
        let three = above.array_windows::<3>().zip(row.array_windows::<3>());
        for ((above, row), below) in three.zip(below.array_windows::<3>()) {
            let second = |[a, b, c]: &[u8; 3]| i32::from(*a) - 2 * i32::from(*b) + i32::from(*c);
            sum += (second(above) - 2 * second(row) + second(below)).abs();
            count += 1;
        }
    }
    (PI / 2.0).sqrt() / 6.0 * f64::from(sum) / f64::from(count.max(1))
}

/// Levels between a tile's darkest and lightest thirtieth from which it has something to be banded.
const LIVELY_LEVELS: usize = 40;

/// Fewest such tiles that say anything.
const LEAST_LIVELY: usize = 9;

/// Half the width of a level's peak, and how near to it no other is looked for.
const PEAK_LEVELS: usize = 3;
const PEAK_APART: usize = 10;

/// Share of a tile that a peak fills, and that all of them do where it is banded; and how many there
/// are at least: lettering has two.
const PEAK_SHARE: f64 = 0.03;
const PEAKS_SHARE: f64 = 0.75;
const LEAST_PEAKS: usize = 3;
const MOST_PEAKS: usize = 8;

/// Share of the tiles with content whose levels are a few that stand apart, 0..1.
///
/// Light changes through all levels between two; where a picture was left too few of them, it stands
/// still on some and jumps over the rest. `None` where too little of the picture has content.
pub(crate) fn banding(tiles: &[Tile], marks: &mut Marks, size: (usize, usize)) -> Option<f64> {
    let (mut lively, mut banded) = (0, 0);
    for tile in tiles {
        let mut counts = [0_usize; 256];
        for level in tile.rows.iter().flatten() {
            if let Some(count) = counts.get_mut(usize::from(*level)) {
                *count += 1;
            }
        }
        if spread(&counts) < LIVELY_LEVELS {
            continue;
        }
        lively += 1;
        if is_banded(counts) {
            banded += 1;
            marks.pixels(size, (tile.left_px, tile.top_px), (TILE_PX, TILE_PX));
        }
    }
    (LEAST_LIVELY <= lively).then(|| share(banded, lively))
}

/// Levels between the darkest and the lightest thirtieth of a tile.
fn spread(counts: &[usize; 256]) -> usize {
    let few = TILE_PX * TILE_PX / 32;
    let reach = |levels: &mut dyn Iterator<Item = &usize>| {
        let mut sum = 0;
        levels
            .take_while(|count| {
                sum += **count;
                sum < few
            })
            .count()
    };
    256 - (reach(&mut counts.iter()) + reach(&mut counts.iter().rev())).min(256)
}

fn is_banded(mut counts: [usize; 256]) -> bool {
    let (mut peaks, mut held) = (0, 0);
    while peaks < MOST_PEAKS {
        let windows =
            counts.windows(2 * PEAK_LEVELS + 1).map(|window| window.iter().sum::<usize>());
        let Some((first, most)) = windows.enumerate().max_by_key(|(_, sum)| *sum) else { break };
        if share(most, TILE_PX * TILE_PX) < PEAK_SHARE {
            break;
        }
        peaks += 1;
        held += most;
        let middle = first + PEAK_LEVELS;
        let near = middle.saturating_sub(PEAK_APART)..(middle + PEAK_APART + 1).min(256);
        counts.get_mut(near).unwrap_or_default().fill(0);
    }
    LEAST_PEAKS <= peaks && PEAKS_SHARE <= share(held, TILE_PX * TILE_PX)
}

/// Tiles whose spectrum is looked at: the steepest.
const STEEPEST: usize = 8;

/// Least power that there is to fall, in squared levels.
const LEAST_POWER: f64 = 40.0;

/// How far the power of the picture's steepest places falls over two octaves, from waves of 16 to 32
/// pixels to waves of 4 to 8, in decibels.
///
/// The power of an edge goes with the square of the wave's length and so falls by 12; photographs in
/// focus fall by 4 to 18. What was enlarged, or is out of focus, has coarse waves and no fine ones.
/// `None` where nothing is steep enough to tell.
pub(crate) fn fall(tiles: &[Tile], marks: &mut Marks, size: (usize, usize)) -> Option<f64> {
    let mut steepness: Vec<(usize, &Tile)> = tiles.iter().map(|tile| (slope(tile), tile)).collect();
    steepness.sort_by_key(|(slope, _)| std::cmp::Reverse(*slope));
    let (coarse, fine) = (waves(4..8), waves(16..32));
    let (mut low, mut high, mut rows) = (0.0, 0.0, 0);
    for (_, tile) in steepness.iter().take(STEEPEST) {
        marks.pixels(size, (tile.left_px, tile.top_px), (TILE_PX, TILE_PX));
        for row in tile.rows.iter().chain(&tile.turned().rows).step_by(8) {
            low += power(row, &coarse);
            high += power(row, &fine);
            rows += 1;
        }
    }
    let is_steep = LEAST_POWER * f64::from(rows) < low;
    // a hundredth of a level is nothing, and keeps the logarithm finite
    is_steep.then(|| 10.0 * (low / high.max(1e-4)).log10())
}

/// Mean power of `waves` in a row.
fn power(row: &[u8; TILE_PX], waves: &[[f32; TILE_PX]]) -> f64 {
    let one = |wave: &[f32; TILE_PX]| {
        let dot: f32 = row.iter().zip(wave).map(|(level, wave)| f32::from(*level) * wave).sum();
        f64::from(dot * dot)
    };
    let sum: f64 = waves.iter().map(one).sum();
    sum / f64::from(u32::try_from(waves.len()).unwrap_or(1).max(1))
}

fn slope(tile: &Tile) -> usize {
    let steps = tile.rows.iter().step_by(4).flat_map(|row| row.array_windows());
    steps.map(|[one, next]| usize::from(one.abs_diff(*next)).pow(2)).sum()
}

/// The cosine waves of a row (DCT-II) of these numbers.
fn waves(numbers: std::ops::Range<usize>) -> Vec<[f32; TILE_PX]> {
    let wave = |number: usize| {
        let number = f64::from(u32::try_from(number).unwrap_or(0));
        let mut levels = [0.0; TILE_PX];
        for (place, level) in (0_u16..).zip(&mut levels) {
            let turn = PI * (f64::from(place) + 0.5) * number / 64.0;
            #[expect(clippy::cast_possible_truncation, reason = "a cosine")]
            let cosine = turn.cos() as f32;
            *level = cosine / 8.0;
        }
        levels
    };
    numbers.map(wave).collect()
}
