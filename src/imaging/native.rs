//! The native plane is the picture's luma before the sample averages it: what cannot be seen in the
//! sample any more (blocks of a JPEG, grain, bands, the finest detail) is looked for here.
//!
//! Of a picture with 2,048 pixels or more along its longer side, a pixel of the plane is the mean of
//! 2 x 2, 4 x 4 or 8 x 8 of the file's, so that 1,024 to 2,047 are left. A JPEG may be held no finer
//! than that, and a number must not depend on the decoder, on the format or on what the judges are
//! shown; nor does anybody see more of a picture than this. Alpha is looked at as the file has it.
//!
//! Looking at every pixel would cost more than shrinking the picture, so a fixed number of [`Tile`]s,
//! spread evenly over the frame, stand for it.

use std::borrow::Cow;
use std::cell::OnceCell;

use crate::imaging::levels::Levels;
use crate::imaging::picture::Picture;
use crate::imaging::view::shrink;

/// Side of a tile. Eight blocks of a JPEG fit into it.
pub(crate) const TILE_PX: usize = 64;

/// Side of a coded block (of a JPEG, and of a WebP's transform) in the file's pixels.
const BLOCK_PX: usize = 8;

/// Most tiles along a side of the picture.
const TILES_A_SIDE: usize = 6;

/// Most held pixels along a side of one of the plane's.
const MOST_HELD_PX: usize = 8;

/// Luma and alpha of a picture before they are averaged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Native<'a> {
    picture: &'a Picture,
    /// The file's pixels along a side of one of the plane's.
    file_px: u32,
    /// Held pixels along a side of one of the plane's.
    held_px: u32,
}

/// A square of the plane, rows from the top. A cutout is laid on white.
#[derive(Clone, Debug)]
pub(crate) struct Tile {
    /// First column in the plane.
    pub(crate) left_px: usize,
    /// First row in the plane.
    pub(crate) top_px: usize,
    /// Whether the tile lies at the frame's border.
    pub(crate) is_outer: bool,
    /// The levels.
    pub(crate) rows: Vec<[u8; TILE_PX]>,
    counted: OnceCell<Levels>,
}

impl Tile {
    /// A tile that lies inside the frame.
    pub(crate) fn inside((left_px, top_px): (usize, usize), rows: Vec<[u8; TILE_PX]>) -> Self {
        Self { left_px, top_px, is_outer: false, rows, counted: OnceCell::new() }
    }

    /// How often each level occurs, counted once.
    pub(crate) fn levels(&self) -> &Levels {
        self.counted
            .get_or_init(|| Levels::of_pieces(self.rows.iter().map(<[u8; TILE_PX]>::as_slice)))
    }

    /// The columns from the left, each from the top.
    pub(crate) fn columns(&self) -> Vec<[u8; TILE_PX]> {
        let mut columns = vec![[0; TILE_PX]; TILE_PX];
        for (y, row) in self.rows.iter().enumerate() {
            for (column, level) in columns.iter_mut().zip(row) {
                if let Some(at) = column.get_mut(y) {
                    *at = *level;
                }
            }
        }
        columns
    }
}

impl<'a> Native<'a> {
    /// The plane of `picture`.
    pub(crate) fn of(picture: &'a Picture) -> Self {
        let file_px = shrink((picture.width_px, picture.height_px), &[]);
        Self { picture, file_px, held_px: (file_px / picture.shrink()).max(1) }
    }

    /// Columns and rows of the plane.
    pub(crate) fn size(self) -> (usize, usize) {
        let (width_px, height_px) = self.picture.held_size();
        ((width_px / self.held_px) as usize, (height_px / self.held_px) as usize)
    }

    /// Side of a coded block in pixels of the plane: 8, 4 or 2, and 1 where none can be told.
    pub(crate) fn block_px(self) -> usize {
        (BLOCK_PX / self.file_px as usize).max(1)
    }

    /// Tiles spread evenly over the frame, at most 36, the outermost at its border. None where the
    /// plane is smaller than a tile.
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
                let tile = |rows| Tile { is_outer, ..Tile::inside((*left_px, *top_px), rows) };
                tiles.extend(rows.map(tile));
            }
        }
        tiles
    }

    /// `TILE_PX` levels of row `y` from column `left` of the plane.
    fn levels(self, left: usize, y: usize) -> Option<[u8; TILE_PX]> {
        let (left, y) = (u32::try_from(left).ok()?, u32::try_from(y).ok()?);
        let mut levels = [0; TILE_PX];
        if self.held_px == 1 {
            self.picture.read_luma(left, y, &mut levels)?;
            return Some(levels);
        }
        let side = self.held_px as usize;
        let mut row = [0; TILE_PX * MOST_HELD_PX];
        let row = row.get_mut(..TILE_PX * side)?;
        let mut sums = [0_u16; TILE_PX];
        for below in 0..self.held_px {
            self.picture.read_luma(left * self.held_px, y * self.held_px + below, row)?;
            // sums of as many as are known beforehand, and shifts, are made for many pixels at once
            match side {
                2 => add::<2>(row, &mut sums),
                4 => add::<4>(row, &mut sums),
                _ => add::<MOST_HELD_PX>(row, &mut sums),
            }
        }
        let power = 2 * self.held_px.ilog2();
        for (level, sum) in levels.iter_mut().zip(sums) {
            let [mean, _] = ((sum + (1 << (power - 1))) >> power).to_le_bytes();
            *level = mean;
        }
        Some(levels)
    }

    /// Columns and rows of alpha: the held pixels'.
    pub(crate) fn alpha_size(self) -> (usize, usize) {
        let (width_px, height_px) = self.picture.held_size();
        (width_px as usize, height_px as usize)
    }

    /// At most `count` rows with alpha from row `first` on, with their numbers; none where the picture
    /// is opaque.
    pub(crate) fn alpha_rows(
        self,
        first: usize,
        count: usize,
    ) -> impl Iterator<Item = (usize, Cow<'a, [[u8; 4]]>)> {
        (first..first + count).map_while(move |y| {
            let row = self.picture.alpha_row(u32::try_from(y).ok()?)?;
            Some((y, row))
        })
    }
}

/// Adds to every sum the next `SIDE` levels of a row.
fn add<const SIDE: usize>(row: &[u8], sums: &mut [u16; TILE_PX]) {
    for (sum, held) in sums.iter_mut().zip(row.as_chunks::<SIDE>().0) {
        *sum += held.iter().map(|level| u16::from(*level)).sum::<u16>();
    }
}

/// Where tiles begin along a side: on the grid of a JPEG's blocks.
fn starts(side_px: usize) -> Vec<usize> {
    let Some(last) = side_px.checked_sub(TILE_PX) else { return Vec::new() };
    let count = (side_px / TILE_PX).min(TILES_A_SIDE);
    let gaps = count.saturating_sub(1).max(1);
    (0..count).map(|number| last * number / gaps / BLOCK_PX * BLOCK_PX).collect()
}

#[cfg(test)]
mod tests {
    use image::metadata::Orientation;

    use super::*;
    use crate::imaging::picture::Held;
    use crate::imaging::picture::Pixels;
    use crate::imaging::planes::Planes;

    fn rgb((width, height): (u32, u32), level: impl Fn(u32, u32) -> u8) -> Picture {
        let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        let bytes = pixels.flat_map(|(x, y)| [level(x, y); 3]).collect();
        Picture::upright((width, height), Pixels::Rgb(bytes), Orientation::NoTransforms).unwrap()
    }

    #[test]
    fn a_small_picture_is_looked_at_pixel_by_pixel_and_a_large_one_in_means() {
        let level = |x: u32, _: u32| u8::try_from(x % 200).unwrap();
        let small = rgb((640, 480), level);
        let native = Native::of(&small);
        assert_eq!((native.size(), native.block_px()), ((640, 480), 8));
        assert_eq!(native.tiles()[1].rows[0][..3], [112, 113, 114]);
        let large = rgb((4_100, 70), level);
        let native = Native::of(&large);
        assert_eq!((native.size(), native.block_px()), ((1_025, 17), 2));
        assert!(native.tiles().is_empty(), "too flat for a tile");
    }

    #[test]
    fn what_a_decoder_has_shrunk_is_not_shrunk_again() {
        let plane = vec![90; 1_200 * 600];
        let held = Held::Planes(Planes::grey(plane, (1_200, 600)));
        let shrunk = Picture::new((2_400, 1_200), held, 2, Orientation::NoTransforms).unwrap();
        let whole = rgb((2_400, 1_200), |x, _| if x % 2 == 0 { 80 } else { 100 });
        for picture in [shrunk, whole] {
            let native = Native::of(&picture);
            assert_eq!((native.size(), native.block_px()), ((1_200, 600), 4));
            let tiles = native.tiles();
            assert_eq!(tiles.len(), 36);
            assert!(tiles.iter().all(|tile| tile.rows.iter().flatten().all(|level| *level == 90)));
        }
    }

    #[test]
    fn columns_are_the_rows_of_the_turned_tile() {
        let mut rows = vec![[0; TILE_PX]; TILE_PX];
        rows[3][5] = 9;
        let columns = Tile::inside((0, 0), rows).columns();
        assert_eq!(columns[5][3], 9);
        assert_eq!(columns.iter().flatten().filter(|level| **level != 0).count(), 1);
    }
}
