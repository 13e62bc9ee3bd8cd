//! A mask says of every place of a grid whether it belongs to something.
//!
//! A place is a bit, 64 of them a word: counting, growing and finding an edge take one step for 64
//! places, and a row of a sample fits into one line of the cache.

use std::iter::successors;

use wide::u8x16;

use crate::imaging::grid::Grid;
use crate::imaging::words::far;

/// Places in a word.
const WORD: usize = 64;

/// The places of a grid that belong to something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mask {
    width: i32,
    height: i32,
    /// Words of a row.
    words: usize,
    /// Row after row from the top. The first place of a word is its lowest bit; bits past the end of a
    /// row are 0.
    bits: Vec<u64>,
}

impl Mask {
    /// Nothing of a grid of `size`.
    fn nothing((width, height): (i32, i32)) -> Self {
        let words = usize::try_from(width).unwrap_or(0).div_ceil(WORD).max(1);
        let bits = vec![0; words * usize::try_from(height).unwrap_or(0)];
        Self { width, height, words, bits }
    }

    /// The places of `grid` whose value `is` what is looked for.
    pub(crate) fn of<T: Copy + Default>(grid: &Grid<T>, is: impl Fn(T) -> bool) -> Self {
        let mut mask = Self::nothing(grid.size());
        for (words, row) in mask.bits.chunks_exact_mut(mask.words).zip(grid.rows()) {
            for (word, values) in words.iter_mut().zip(row.chunks(WORD)) {
                let mut flags = [0; WORD];
                for (flag, value) in flags.iter_mut().zip(values) {
                    *flag = u8::from(is(*value));
                }
                *word = packed(&flags);
            }
        }
        mask
    }

    /// The places of `grid` of which a channel differs from that of `base` by more than `by` says.
    pub(crate) fn far(grid: &Grid<[u8; 4]>, base: [u8; 4], by: [u8; 4]) -> Self {
        let mut mask = Self::nothing(grid.size());
        for (words, row) in mask.bits.chunks_exact_mut(mask.words).zip(grid.rows()) {
            for (word, pixels) in words.iter_mut().zip(row.chunks(WORD)) {
                *word = far(pixels, base, by);
            }
        }
        mask
    }

    /// The places of `grid` that have this alpha, at least 1, or more.
    pub(crate) fn seen(grid: &Grid<[u8; 4]>, alpha: u8) -> Self {
        Self::far(grid, [0; 4], [u8::MAX, u8::MAX, u8::MAX, alpha.saturating_sub(1)])
    }

    /// The places of two grids of a size whose values together `are` what is looked for.
    pub(crate) fn of_both<T: Copy + Default, U: Copy + Default>(
        one: &Grid<T>,
        other: &Grid<U>,
        are: impl Fn(T, U) -> bool,
    ) -> Self {
        let mut mask = Self::nothing(one.size());
        let rows = one.rows().zip(other.rows());
        for (words, (one, other)) in mask.bits.chunks_exact_mut(mask.words).zip(rows) {
            let values = one.chunks(WORD).zip(other.chunks(WORD));
            for (word, (one, other)) in words.iter_mut().zip(values) {
                let mut flags = [0; WORD];
                for (flag, (one, other)) in flags.iter_mut().zip(one.iter().zip(other)) {
                    *flag = u8::from(are(*one, *other));
                }
                *word = packed(&flags);
            }
        }
        mask
    }

    /// The places of a grid of `size` from `(left, top)` up to and without `(right, bottom)`.
    pub(crate) fn rectangle(
        size: (i32, i32),
        (left, top): (i32, i32),
        (right, bottom): (i32, i32),
    ) -> Self {
        let mut mask = Self::nothing(size);
        let row: Vec<u64> = (0..size.0)
            .step_by(WORD)
            .map(|first| up_to(right - first) & !up_to(left - first) & up_to(size.0 - first))
            .collect();
        for (y, words) in (0..).zip(mask.bits.chunks_exact_mut(mask.words)) {
            if top <= y && y < bottom {
                words.iter_mut().zip(&row).for_each(|(word, inside)| *word = *inside);
            }
        }
        mask
    }

    /// Columns and rows.
    pub(crate) fn size(&self) -> (i32, i32) {
        (self.width, self.height)
    }

    /// All places, whether they belong to it or not.
    pub(crate) fn places_in_all(&self) -> usize {
        let side = |length: i32| usize::try_from(length).unwrap_or(0);
        side(self.width) * side(self.height)
    }

    /// How many places belong to it.
    pub(crate) fn count(&self) -> usize {
        self.bits.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether a place belongs to it; `None` outside the grid.
    pub(crate) fn get(&self, x: i32, y: i32) -> Option<bool> {
        let (x, y) = (usize::try_from(x).ok()?, usize::try_from(y).ok()?);
        let is_inside = x < usize::try_from(self.width).ok()?;
        let word = self.row(y).get(x / WORD).filter(|_| is_inside)?;
        Some(word >> (x % WORD) & 1 == 1)
    }

    /// The words of a row; none outside the grid.
    pub(crate) fn row(&self, y: usize) -> &[u64] {
        let first = y.saturating_mul(self.words);
        self.bits.get(first..first.saturating_add(self.words)).unwrap_or_default()
    }

    /// The rows from the top.
    pub(crate) fn rows(&self) -> impl Iterator<Item = &[u64]> {
        self.bits.chunks_exact(self.words)
    }

    /// The places that belong to it, row after row.
    pub(crate) fn places(&self) -> impl Iterator<Item = (i32, i32)> {
        (0..).zip(self.rows()).flat_map(|(y, row)| columns(row).map(move |x| (x, y)))
    }

    /// What `grid` holds at the places that belong to it: a piece for every run, row after row.
    pub(crate) fn pieces<'a, T: Copy + Default>(&self, grid: &'a Grid<T>) -> Vec<&'a [T]> {
        let mut pieces = Vec::new();
        for (y, row) in grid.rows().enumerate() {
            self.each_run(y, |left, right| {
                let [first, last] = [left, right].map(|x| usize::try_from(x).unwrap_or(usize::MAX));
                pieces.extend(row.get(first..last.saturating_add(1)));
            });
        }
        pieces
    }

    /// The places that do not belong to it.
    pub(crate) fn inverted(&self) -> Self {
        self.each_word(|word, valid| !word & valid)
    }

    /// The places that belong to both.
    pub(crate) fn and(&self, other: &Self) -> Self {
        let bits = self.bits.iter().zip(&other.bits).map(|(one, other)| one & other).collect();
        Self { bits, ..*self }
    }

    /// The places that belong to either.
    pub(crate) fn or(&self, other: &Self) -> Self {
        let bits = self.bits.iter().zip(&other.bits).map(|(one, other)| one | other).collect();
        Self { bits, ..*self }
    }

    /// The places that belong to it and have one beside them that does not. Outside the grid there are
    /// none.
    pub(crate) fn edge(&self) -> Self {
        let open = self.inverted();
        let blank = vec![0; self.words];
        let mut bits = Vec::with_capacity(self.bits.len());
        for (y, row) in self.rows().enumerate() {
            let above = y.checked_sub(1).map_or(blank.as_slice(), |above| open.row(above));
            let below = open.row(y + 1);
            let (here, below) =
                (open.row(y), if below.is_empty() { blank.as_slice() } else { below });
            let upright = above.iter().zip(below).map(|(above, below)| above | below);
            let level = shifted(here, -1, (0, 0)).zip(shifted(here, 1, (0, 0)));
            let beside = upright.zip(level).map(|(upright, (left, right))| upright | left | right);
            bits.extend(row.iter().zip(beside).map(|(word, beside)| word & beside));
        }
        Self { bits, ..*self }
    }

    /// For every place what the mask holds at `offsets` from it, joined; outside the grid, what it
    /// holds at the nearest place inside.
    pub(crate) fn joined(&self, offsets: &[(i32, i32)], join: impl Fn(u64, u64) -> u64) -> Self {
        let valid = self.valid();
        let mut bits = Vec::with_capacity(self.bits.len());
        for y in 0..self.height {
            let mut joined: Option<Vec<u64>> = None;
            for (dx, dy) in offsets {
                let at = (y + dy).clamp(0, self.height - 1);
                let row = self.stretched(usize::try_from(at).unwrap_or(0));
                let ends = (
                    row.first().map_or(0, |word| word & 1),
                    row.last().map_or(0, |word| word >> 63),
                );
                let words = shifted(&row, *dx, ends);
                joined = Some(match joined {
                    None => words.collect(),
                    Some(others) => {
                        others.into_iter().zip(words).map(|(a, b)| join(a, b)).collect()
                    }
                });
            }
            bits.extend(joined.unwrap_or_default().into_iter().zip(&valid).map(|(a, b)| a & b));
        }
        Self { bits, ..*self }
    }

    /// The places within `far` columns of `(x, y)`, at most 31, in its row: a bit for each, the leftmost
    /// lowest; outside the grid there are none.
    pub(crate) fn around(&self, (x, y): (i32, i32), far: u32) -> u64 {
        let Ok(y) = usize::try_from(y) else { return 0 };
        let (row, first) = (self.row(y), x - far.cast_signed());
        let wanted = up_to(2 * far.cast_signed() + 1);
        let Ok(left) = usize::try_from(first) else {
            let before = row.first().copied().unwrap_or(0);
            return before.checked_shl(first.unsigned_abs()).unwrap_or(0) & wanted;
        };
        let word = |at: usize| row.get(at).copied().unwrap_or(0);
        let (at, by) = (left / WORD, left % WORD);
        // what is shifted by a whole word is gone
        let next = if by == 0 { 0 } else { word(at + 1) << (WORD - by) };
        (word(at) >> by | next) & wanted
    }

    /// Calls `each` with the first and the last column of every run of places in a row.
    pub(crate) fn each_run(&self, y: usize, mut each: impl FnMut(i32, i32)) {
        let mut begun: Option<i32> = None;
        for (left, word) in (0..).step_by(WORD).zip(self.row(y)) {
            let mut at = 0;
            loop {
                let ahead = word.checked_shr(at).unwrap_or(0);
                let same =
                    if begun.is_some() { ahead.trailing_ones() } else { ahead.trailing_zeros() };
                at += same;
                if WORD <= at as usize {
                    break;
                }
                let column = left + at.cast_signed();
                begun = match begun {
                    None => Some(column),
                    Some(first) => {
                        each(first, column - 1);
                        None
                    }
                };
            }
        }
        if let Some(first) = begun {
            each(first, self.width - 1);
        }
    }

    fn each_word(&self, make: impl Fn(u64, u64) -> u64) -> Self {
        let valid = self.valid();
        let made = |row: &[u64]| -> Vec<u64> {
            row.iter().zip(&valid).map(|(word, valid)| make(*word, *valid)).collect()
        };
        Self { bits: self.rows().flat_map(made).collect(), ..*self }
    }

    /// The bits of a row that stand for places.
    fn valid(&self) -> Vec<u64> {
        let lefts = (0..self.words).map(|word| i32::try_from(word * WORD).unwrap_or(i32::MAX));
        lefts.map(|left| up_to(self.width.saturating_sub(left))).collect()
    }

    /// A row whose bits past its end are as its last place.
    fn stretched(&self, y: usize) -> Vec<u64> {
        let mut row = self.row(y).to_vec();
        let last = self.width.wrapping_sub(1).rem_euclid(64);
        if let Some(word) = row.last_mut()
            && *word >> last & 1 == 1
        {
            *word |= !up_to(last + 1);
        }
        row
    }
}

/// The lowest `count` bits.
fn up_to(count: i32) -> u64 {
    match u32::try_from(count) {
        Err(_) => 0,
        Ok(count) => !u64::MAX.checked_shl(count).unwrap_or(0),
    }
}

/// For every place of a row what it holds `dx` further to the right, fewer than 64; before and after
/// the row there is what `ends` say, 0 or 1.
fn shifted(row: &[u64], dx: i32, (first, last): (u64, u64)) -> impl Iterator<Item = u64> {
    let (before, after) = (first.wrapping_neg(), last.wrapping_neg());
    let by = dx.unsigned_abs();
    let word = move |at: usize| {
        let here = row.get(at).copied().unwrap_or(after);
        if dx == 0 {
            return here;
        }
        // `by` is not 0, so neither shift is by a whole word
        let over = u64::BITS - by;
        if dx < 0 {
            let left = at.checked_sub(1).map_or(Some(before), |left| row.get(left).copied());
            here << by | left.unwrap_or(after) >> over
        } else {
            here >> by | row.get(at + 1).copied().unwrap_or(after) << over
        }
    };
    (0..row.len()).map(word)
}

/// The columns of a row's places.
pub(crate) fn columns(row: &[u64]) -> impl Iterator<Item = i32> {
    let words = (0..).step_by(WORD).zip(row);
    words.flat_map(|(left, word)| ones(*word).map(move |at| left + i32::try_from(at).unwrap_or(0)))
}

/// The numbers of the bits that are set, from the lowest.
pub(crate) fn ones(word: u64) -> impl Iterator<Item = usize> {
    let rest = successors(Some(word), |rest| Some(rest & rest.wrapping_sub(1)));
    rest.take_while(|rest| *rest != 0).map(|rest| rest.trailing_zeros() as usize)
}

/// Bytes of 0 or 1 as bits, the first lowest.
fn packed(flags: &[u8; WORD]) -> u64 {
    let sixteens = (0..u64::BITS).step_by(16).zip(flags.as_chunks::<16>().0);
    sixteens.fold(0, |word, (at, flags)| {
        // a bitmask is made of the highest bits
        let flags = u8x16::ZERO - u8x16::new(*flags);
        word | u64::from(flags.to_bitmask()) << at
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A mask in which every third place, and some more, belong.
    fn speckled(size: (u32, u32)) -> (Grid<bool>, Mask) {
        let cells =
            (0..size.0 * size.1).map(|n| n % 3 == 0 || n.wrapping_mul(2_654_435_761) >> 30 == 0);
        let grid = Grid::new(size, cells.collect());
        let mask = Mask::of(&grid, |inside| inside);
        (grid, mask)
    }

    const SIZES: [(u32, u32); 5] = [(1, 1), (5, 3), (64, 2), (65, 9), (200, 7)];

    fn sides((width, height): (i32, i32)) -> (u32, u32) {
        (width.cast_unsigned(), height.cast_unsigned())
    }

    #[test]
    fn a_mask_holds_what_its_grid_holds() {
        for size in SIZES {
            let (grid, mask) = speckled(size);
            let (wide, high) = grid.size();
            assert_eq!((mask.size(), mask.places_in_all()), (grid.size(), grid.cells().len()));
            let places: Vec<_> = mask.places().collect();
            let mut known = Vec::new();
            for (y, x) in (0..high).flat_map(|y| (0..wide).map(move |x| (y, x))) {
                assert_eq!(mask.get(x, y), grid.get(x, y));
                assert_eq!(mask.inverted().get(x, y), Some(!grid.at(x, y)));
                known.extend(grid.at(x, y).then_some((x, y)));
            }
            assert_eq!((places, mask.count()), (known.clone(), known.len()));
            assert_eq!(mask.count() + mask.inverted().count(), grid.cells().len());
            let numbered = Grid::new(sides(grid.size()), (0_usize..grid.cells().len()).collect());
            let numbers = (0..).zip(grid.cells()).filter(|(_, is)| **is).map(|(number, _)| number);
            assert_eq!(mask.pieces(&numbered).concat(), numbers.collect::<Vec<_>>());
            for (x, y) in [(-1, 0), (0, -1), (wide, 0), (0, high)] {
                assert_eq!(mask.get(x, y), None);
            }
        }
    }

    #[test]
    fn an_edge_touches_what_does_not_belong_inside_the_frame() {
        for size in SIZES {
            let (grid, mask) = speckled(size);
            let beside = |x: i32, y: i32| [(x - 1, y), (x + 1, y), (x, y - 1), (x, y + 1)];
            for (x, y) in mask.places() {
                let is_edge = beside(x, y).iter().any(|(x, y)| grid.get(*x, *y) == Some(false));
                assert_eq!(mask.edge().get(x, y), Some(is_edge), "{x} {y} of {size:?}");
            }
            assert_eq!(mask.edge().and(&mask.inverted()).count(), 0);
        }
    }

    #[test]
    fn places_at_an_offset_are_joined_and_the_nearest_stands_for_those_outside() {
        let offsets = [(0, 0), (-3, 0), (2, 0), (0, -3), (-2, 2)];
        for size in SIZES {
            let (grid, mask) = speckled(size);
            let (all, any) =
                (mask.joined(&offsets, |a, b| a & b), mask.joined(&offsets, |a, b| a | b));
            for (x, y) in (0..grid.height()).flat_map(|y| (0..grid.size().0).map(move |x| (x, y))) {
                let mut held = offsets.iter().map(|(dx, dy)| grid.at(x + dx, y + dy));
                assert_eq!(all.get(x, y), Some(held.clone().all(|inside| inside)), "{x} {y}");
                assert_eq!(any.get(x, y), Some(held.any(|inside| inside)), "{x} {y}");
            }
            assert_eq!(any.count() + any.inverted().count(), grid.cells().len());
        }
    }

    #[test]
    fn the_surroundings_of_a_place_are_read_across_words_and_the_frame() {
        for size in SIZES {
            let (grid, mask) = speckled(size);
            for (x, y) in (0..grid.height()).flat_map(|y| (0..grid.size().0).map(move |x| (x, y))) {
                let bits = mask.around((x, y), 4);
                for (bit, column) in (x - 4..=x + 4).enumerate() {
                    assert_eq!(bits >> bit & 1 == 1, grid.get(column, y) == Some(true));
                }
                assert_eq!(bits >> 9, 0);
            }
            assert_eq!(mask.around((0, -1), 3), 0);
        }
    }

    #[test]
    fn runs_are_the_unbroken_places_of_a_row() {
        let row: Vec<bool> = (0..200).map(|x| x < 3 || (60..130).contains(&x) || 198 < x).collect();
        let mask = Mask::of(&Grid::new((200, 1), row), |inside| inside);
        let mut runs = Vec::new();
        mask.each_run(0, |left, right| runs.push((left, right)));
        assert_eq!(runs, [(0, 2), (60, 129), (199, 199)]);
        let whole = Mask::rectangle((128, 1), (0, 0), (128, 1));
        let mut runs = Vec::new();
        whole.each_run(0, |left, right| runs.push((left, right)));
        assert_eq!(runs, [(0, 127)]);
    }

    #[test]
    fn a_rectangle_is_cut_off_at_the_frame() {
        let inner = Mask::rectangle((130, 5), (1, 1), (129, 4));
        assert_eq!(inner.count(), 128 * 3);
        assert_eq!(
            (inner.get(0, 2), inner.get(1, 1), inner.get(128, 3)),
            (Some(false), Some(true), Some(true))
        );
        assert_eq!(Mask::rectangle((10, 10), (-5, -5), (50, 50)).count(), 100);
        assert_eq!(Mask::rectangle((1, 1), (1, 1), (0, 0)).count(), 0);
    }
}
