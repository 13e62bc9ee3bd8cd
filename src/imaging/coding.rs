//! Coding measures what compression, scaling and a small number of levels leave in a picture:
//! blocks, bands, grain, and detail that was never there. All of it lies in the finest pixels, so it
//! is measured on native [`Tile`]s.

use std::f64::consts::PI;
use std::sync::LazyLock;

use crate::imaging::grid::share;
use crate::imaging::marks::Marks;
use crate::imaging::native::{TILE_PX, Tile};

/// Side of the largest coded block.
const MOST_BLOCK_PX: usize = 8;

/// A step larger than this is an edge of the picture, whatever lies beneath it.
const MOST_STEP: u8 = 48;

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
    if tiles.is_empty() || block_px < 2 {
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
    Some(share(blocky, tiles.len()))
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
        let mut phases = Self::default();
        // 64 of the highest steps fit into 16 bits
        let mut across = [0_u16; TILE_PX - 1];
        for row in &tile.rows {
            let after = row.get(1..).unwrap_or_default();
            for (sum, (before, after)) in across.iter_mut().zip(row.iter().zip(after)) {
                *sum += u16::from(before.abs_diff(*after).min(MOST_STEP));
            }
        }
        let high = u32::try_from(tile.rows.len()).unwrap_or(0);
        for (place, sum) in across.into_iter().enumerate() {
            raise(&mut phases.rows, place % block_px, (sum.into(), high));
        }
        for (place, [above, row]) in tile.rows.array_windows().enumerate() {
            let steps = above.iter().zip(row).map(|(above, level)| above.abs_diff(*level));
            let sum: u16 = steps.map(|step| u16::from(step.min(MOST_STEP))).sum();
            raise(&mut phases.columns, place % block_px, (sum.into(), 64));
        }
        phases
    }

    fn add(&mut self, other: &Self) {
        let ours = self.rows.iter_mut().chain(&mut self.columns);
        for (mine, theirs) in ours.zip(other.rows.iter().chain(&other.columns)) {
            mine.0 += theirs.0;
            mine.1 += theirs.1;
        }
    }
}

fn raise(steps: &mut Steps, place: usize, (sum, count): (u32, u32)) {
    if let Some(step) = steps.get_mut(place) {
        step.0 += sum;
        step.1 += count;
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
    let (mut sum, mut count) = (0, 0);
    for [above, row, below] in tile.rows.array_windows() {
        // first down each column, then along the row
        let mut bends = [0_i16; TILE_PX];
        let three = above.iter().zip(row).zip(below);
        for (bend, ((above, level), below)) in bends.iter_mut().zip(three) {
            *bend = i16::from(*above) - 2 * i16::from(*level) + i16::from(*below);
        }
        let (next, last) = (bends.get(1..).unwrap_or_default(), bends.get(2..).unwrap_or_default());
        let mut strengths = [0_u16; TILE_PX];
        let three = bends.iter().zip(next).zip(last);
        for (strength, ((a, b), c)) in strengths.iter_mut().zip(three) {
            *strength = (a - 2 * b + c).unsigned_abs();
        }
        // each is 8 x 255 at most: 32 of them fit into 16 bits
        let halves = strengths.as_chunks::<32>().0.iter();
        sum += halves.map(|half| u32::from(half.iter().sum::<u16>())).sum::<u32>();
        count += 62;
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
        let counts = tile.levels().counts();
        if spread(counts) < LIVELY_LEVELS {
            continue;
        }
        lively += 1;
        if is_banded(*counts) {
            banded += 1;
            marks.pixels(size, (tile.left_px, tile.top_px), (TILE_PX, TILE_PX));
        }
    }
    (LEAST_LIVELY <= lively).then(|| share(banded, lively))
}

/// Levels between the darkest and the lightest thirtieth of a tile.
fn spread(counts: &[u32; 256]) -> usize {
    let few = TILE_PX * TILE_PX / 32;
    let reach = |levels: &mut dyn Iterator<Item = &u32>| {
        let mut sum = 0;
        levels
            .take_while(|count| {
                sum += **count as usize;
                sum < few
            })
            .count()
    };
    256 - (reach(&mut counts.iter()) + reach(&mut counts.iter().rev())).min(256)
}

fn is_banded(mut counts: [u32; 256]) -> bool {
    let (mut peaks, mut held) = (0, 0);
    while peaks < MOST_PEAKS {
        let Some((first, most)) = highest_peak(&counts) else { break };
        if share(most, TILE_PX * TILE_PX) < PEAK_SHARE {
            break;
        }
        peaks += 1;
        held += most;
        // no later peak is higher: most tiles are no further looked at
        if share(held + (MOST_PEAKS - peaks) * most, TILE_PX * TILE_PX) < PEAKS_SHARE {
            return false;
        }
        let middle = first + PEAK_LEVELS;
        let near = middle.saturating_sub(PEAK_APART)..(middle + PEAK_APART + 1).min(256);
        counts.get_mut(near).unwrap_or_default().fill(0);
    }
    LEAST_PEAKS <= peaks && PEAKS_SHARE <= share(held, TILE_PX * TILE_PX)
}

/// Where the highest peak begins, and what it holds.
fn highest_peak(counts: &[u32; 256]) -> Option<(usize, usize)> {
    const WIDE: usize = 2 * PEAK_LEVELS + 1;
    let peaks = counts.array_windows::<WIDE>().map(|window| window.iter().sum::<u32>() as usize);
    peaks.enumerate().max_by_key(|(_, held)| *held)
}

/// Tiles whose spectrum is looked at: the steepest.
const STEEPEST: usize = 8;

/// Least power that there is to fall, in squared levels.
const LEAST_POWER: f64 = 40.0;

/// Half waves along a tile: of waves of 16 to 32 pixels, and of 4 to 8.
const COARSE: std::ops::Range<u16> = 4..8;
const FINE: std::ops::Range<u16> = 16..32;

/// The waves themselves, the same for every picture.
static COARSE_WAVES: LazyLock<Vec<[f32; TILE_PX]>> = LazyLock::new(|| waves(COARSE));
static FINE_WAVES: LazyLock<Vec<[f32; TILE_PX]>> = LazyLock::new(|| waves(FINE));

/// How far the power of the picture's steepest places falls over two octaves, from waves of 16 to 32
/// pixels to waves of 4 to 8, in decibels.
///
/// The power of an edge goes with the square of the wave's length and so falls by 12; photographs in
/// focus fall by 4 to 18. What was enlarged, or is out of focus, has coarse waves and no fine ones.
/// `None` where nothing is steep enough to tell.
pub(crate) fn fall(tiles: &[Tile], marks: &mut Marks, size: (usize, usize)) -> Option<f64> {
    let mut steepness: Vec<(u32, &Tile)> = tiles.iter().map(|tile| (slope(tile), tile)).collect();
    steepness.sort_by_key(|(slope, _)| std::cmp::Reverse(*slope));
    let (mut low, mut high, mut rows) = (0.0, 0.0, 0);
    for (_, tile) in steepness.iter().take(STEEPEST) {
        marks.pixels(size, (tile.left_px, tile.top_px), (TILE_PX, TILE_PX));
        for row in tile.rows.iter().chain(&tile.columns()).step_by(8) {
            let levels = row.map(f32::from);
            low += power(&levels, &COARSE_WAVES);
            high += power(&levels, &FINE_WAVES);
            rows += 1;
        }
    }
    let is_steep = LEAST_POWER * f64::from(rows) < low;
    // a hundredth of a level is nothing, and keeps the logarithm finite
    is_steep.then(|| 10.0 * (low / high.max(1e-4)).log10())
}

/// Mean power of `waves` in a row.
fn power(levels: &[f32; TILE_PX], waves: &[[f32; TILE_PX]]) -> f64 {
    let one = |wave: &[f32; TILE_PX]| {
        // sums of their own can be added at once
        let mut sums = [0.0_f32; 8];
        for (levels, wave) in levels.as_chunks::<8>().0.iter().zip(wave.as_chunks::<8>().0) {
            for (sum, (level, wave)) in sums.iter_mut().zip(levels.iter().zip(wave)) {
                *sum += level * wave;
            }
        }
        let dot: f32 = sums.iter().sum();
        f64::from(dot * dot)
    };
    let sum: f64 = waves.iter().map(one).sum();
    sum / f64::from(u32::try_from(waves.len()).unwrap_or(1).max(1))
}

/// The squares of the steps along every fourth row.
fn slope(tile: &Tile) -> u32 {
    let squares = |row: &[u8; TILE_PX]| -> u32 {
        let steps = row.iter().zip(row.get(1..).unwrap_or_default());
        steps.map(|(one, next)| u32::from(one.abs_diff(*next)).pow(2)).sum()
    };
    tile.rows.iter().step_by(4).map(squares).sum()
}

/// The cosine waves of a row (DCT-II) of these numbers.
fn waves(numbers: std::ops::Range<u16>) -> Vec<[f32; TILE_PX]> {
    let wave = |number: u16| {
        let mut levels = [0.0; TILE_PX];
        for (place, level) in (0_u16..).zip(&mut levels) {
            let turn = PI * (f64::from(place) + 0.5) * f64::from(number) / 64.0;
            #[expect(clippy::cast_possible_truncation, reason = "a cosine")]
            let cosine = turn.cos() as f32;
            *level = cosine / 8.0;
        }
        levels
    };
    numbers.map(wave).collect()
}
