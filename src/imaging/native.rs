//! The native plane is the picture's luma pixel by pixel: what the sample has averaged away (blocks
//! of a JPEG, grain, bands, the finest detail) is looked for here.
//!
//! Looking at every pixel of a large photograph would cost more than shrinking it, so a fixed number
//! of [`Tile`]s, spread evenly over the frame, stand for it: the cost is the same for every size.

use crate::imaging::picture::{Picture, Pixels};

/// Side of a tile. Eight blocks of a JPEG fit into it.
pub(crate) const TILE_PX: usize = 64;

/// Most tiles along a side of the picture.
const TILES_A_SIDE: usize = 6;

/// Tiles begin on the grid of a JPEG's blocks.
const BLOCK_PX: usize = 8;

/// Luma and alpha of a picture at its own resolution. All knowledge of how a picture keeps its
/// samples is here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Native<'a> {
    picture: &'a Picture,
}

/// A square of luma, rows from the top. A cutout is laid on white.
#[derive(Clone, Debug)]
pub(crate) struct Tile {
    /// First column in the picture.
    pub(crate) left_px: usize,
    /// First row in the picture.
    pub(crate) top_px: usize,
    /// Whether the tile lies at the frame's border.
    pub(crate) is_outer: bool,
    /// The levels.
    pub(crate) rows: Vec<[u8; TILE_PX]>,
}

impl Tile {
    /// The same tile, columns for rows.
    pub(crate) fn turned(&self) -> Self {
        let column = |at: usize| {
            let mut levels = [0; TILE_PX];
            for (level, row) in levels.iter_mut().zip(&self.rows) {
                *level = row.get(at).copied().unwrap_or_default();
            }
            levels
        };
        Self { rows: (0..TILE_PX).map(column).collect(), ..*self }
    }
}

impl<'a> Native<'a> {
    /// The plane of `picture`.
    pub(crate) fn of(picture: &'a Picture) -> Self {
        Self { picture }
    }

    /// Columns and rows.
    pub(crate) fn size(self) -> (usize, usize) {
        (self.picture.width_px as usize, self.picture.height_px as usize)
    }

    /// Tiles spread evenly over the frame, at most 36, the outermost at its border. None where the
    /// picture is smaller than a tile.
    pub(crate) fn tiles(self) -> Vec<Tile> {
        let (width, height) = self.size();
        let (across, down) = (starts(width), starts(height));
        let mut tiles = Vec::with_capacity(across.len() * down.len());
        for (row, top_px) in down.iter().enumerate() {
            for (column, left_px) in across.iter().enumerate() {
                let is_end = |at: usize, of: usize| at == 0 || at + 1 == of;
                let is_outer = is_end(row, down.len()) || is_end(column, across.len());
                let rows = (*top_px..top_px + TILE_PX).map(|y| self.levels(*left_px, y));
                let rows: Option<Vec<_>> = rows.collect();
                let (left_px, top_px) = (*left_px, *top_px);
                tiles.extend(rows.map(|rows| Tile { left_px, top_px, is_outer, rows }));
            }
        }
        tiles
    }

    /// `TILE_PX` levels of row `y` from column `left`.
    fn levels(self, left: usize, y: usize) -> Option<[u8; TILE_PX]> {
        let first = y * self.size().0 + left;
        let mut levels = [0; TILE_PX];
        match &self.picture.pixels {
            Pixels::Rgb(bytes) => {
                let row = bytes.as_chunks::<3>().0.get(first..first + TILE_PX)?;
                for (level, [red, green, blue]) in levels.iter_mut().zip(row) {
                    *level = mixed(*red, *green, *blue);
                }
            }
            Pixels::Rgba(bytes) => {
                let row = bytes.as_chunks::<4>().0.get(first..first + TILE_PX)?;
                for (level, [red, green, blue, alpha]) in levels.iter_mut().zip(row) {
                    // premultiplied, so white shines through by what alpha leaves
                    *level = mixed(*red, *green, *blue).saturating_add(255 - alpha);
                }
            }
        }
        Some(levels)
    }

    /// At most `count` rows with alpha from row `first` on, with their numbers; none where the picture
    /// is opaque.
    pub(crate) fn alpha_rows(
        self,
        first: usize,
        count: usize,
    ) -> impl Iterator<Item = (usize, &'a [[u8; 4]])> + use<'a> {
        let (width, height) = self.size();
        let pixels: &[[u8; 4]] = match &self.picture.pixels {
            Pixels::Rgb(_) => &[],
            Pixels::Rgba(bytes) => bytes.as_chunks::<4>().0,
        };
        let last = (first + count).min(height);
        let band = pixels.get(first * width..last * width).unwrap_or_default();
        (first..).zip(band.chunks_exact(width.max(1)))
    }
}

/// Rec. 601 luma.
fn mixed(red: u8, green: u8, blue: u8) -> u8 {
    let sum = 77 * u32::from(red) + 150 * u32::from(green) + 29 * u32::from(blue);
    u8::try_from((sum + 128) >> 8).unwrap_or(u8::MAX)
}

/// Where tiles begin along a side.
fn starts(side_px: usize) -> Vec<usize> {
    let Some(last) = side_px.checked_sub(TILE_PX) else { return Vec::new() };
    let count = (side_px / TILE_PX).min(TILES_A_SIDE);
    let gaps = count.saturating_sub(1).max(1);
    (0..count).map(|number| last * number / gaps / BLOCK_PX * BLOCK_PX).collect()
}
