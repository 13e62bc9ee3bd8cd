//! The parts of a mask are what hangs together in it: a product, a speck beside it, a hole.
//!
//! They are found by runs, the unbroken places of a row, of which there are some hundreds where there
//! are a quarter of a million places.

use crate::imaging::mask::Mask;

/// The connected parts of a mask.
#[derive(Debug)]
pub(crate) struct Parts {
    frame: (i32, i32),
    /// Row after row from the top.
    runs: Vec<Run>,
    /// Where each row's runs begin, and at last where all end.
    rows: Vec<usize>,
    /// By number.
    parts: Vec<Part>,
}

/// Unbroken places of a row.
#[derive(Clone, Copy, Debug)]
struct Run {
    left: i32,
    right: i32,
    /// The name of its part, later its number.
    part: usize,
}

/// One connected part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// Pixels.
    pub(crate) area: usize,
    /// First column.
    pub(crate) left: i32,
    /// First row.
    pub(crate) top: i32,
    /// Last column.
    pub(crate) right: i32,
    /// Last row.
    pub(crate) bottom: i32,
    /// Whether it reaches the frame's border.
    pub(crate) is_at_border: bool,
}

impl Part {
    const NOTHING: Self =
        Self { area: 0, left: i32::MAX, top: i32::MAX, right: -1, bottom: -1, is_at_border: false };

    /// Columns and rows of the box around it.
    pub(crate) fn size(&self) -> (i32, i32) {
        (self.right - self.left + 1, self.bottom - self.top + 1)
    }

    /// The part and `other` as one.
    pub(crate) fn with(self, other: Self) -> Self {
        Self {
            area: self.area + other.area,
            left: self.left.min(other.left),
            top: self.top.min(other.top),
            right: self.right.max(other.right),
            bottom: self.bottom.max(other.bottom),
            is_at_border: self.is_at_border || other.is_at_border,
        }
    }
}

impl Parts {
    /// The parts of `mask`: places belong together that touch along a side.
    ///
    /// Two passes: the first names each run after the runs that it touches in the row above and notes
    /// which names mean the same, the second gives every name its number.
    pub(crate) fn of(mask: &Mask) -> Self {
        let (mut runs, mut rows, mut names) = (Vec::new(), vec![0], Names::default());
        let mut above = 0..0;
        for y in 0..usize::try_from(mask.size().1).unwrap_or(0) {
            let first = runs.len();
            mask.each_run(y, |left, right| {
                let part = name(&runs, &mut above, (left, right), &mut names);
                runs.push(Run { left, right, part });
            });
            rows.push(runs.len());
            above = first..runs.len();
        }
        let (numbers, count) = names.numbers();
        for run in &mut runs {
            run.part = numbers.get(run.part).copied().unwrap_or(0);
        }
        let mut found = Self { frame: mask.size(), runs, rows, parts: vec![Part::NOTHING; count] };
        found.measure();
        found
    }

    fn measure(&mut self) {
        let (last_column, last_row) = (self.frame.0 - 1, self.frame.1 - 1);
        for (y, [first, last]) in (0..).zip(self.rows.array_windows()) {
            for Run { left, right, part } in self.runs.get(*first..*last).unwrap_or_default() {
                let is_at_border = *left == 0 || *right == last_column || y == 0 || y == last_row;
                let area = usize::try_from(right - left + 1).unwrap_or(0);
                let (left, right) = (*left, *right);
                let run = Part { area, left, right, top: y, bottom: y, is_at_border };
                if let Some(part) = self.parts.get_mut(*part) {
                    *part = part.with(run);
                }
            }
        }
    }

    /// Columns and rows of the mask.
    pub(crate) fn frame(&self) -> (i32, i32) {
        self.frame
    }

    /// All parts.
    pub(crate) fn list(&self) -> impl Iterator<Item = &Part> {
        self.parts.iter()
    }

    /// Pixels of the largest part.
    pub(crate) fn largest(&self) -> usize {
        self.list().map(|part| part.area).max().unwrap_or(0)
    }

    /// The part at a place.
    pub(crate) fn part_at(&self, x: i32, y: i32) -> Option<&Part> {
        let y = usize::try_from(y).ok()?;
        let row = self.runs.get(*self.rows.get(y)?..*self.rows.get(y + 1)?)?;
        let run = row.get(row.partition_point(|run| run.right < x)).filter(|run| run.left <= x)?;
        self.parts.get(run.part)
    }

    /// Pixels of the part at a place, 0 where there is none.
    pub(crate) fn area_at(&self, x: i32, y: i32) -> usize {
        self.part_at(x, y).map_or(0, |part| part.area)
    }
}

/// The name of the run from `left` to `right`: that of those among the runs `above` that it touches.
/// Those that end before it are taken from `above`, for no later run touches them either.
fn name(
    runs: &[Run],
    above: &mut std::ops::Range<usize>,
    (left, right): (i32, i32),
    names: &mut Names,
) -> usize {
    let mut name = None;
    while let Some(over) = runs.get(above.start).filter(|_| above.start < above.end) {
        if right < over.left {
            break;
        }
        if left <= over.right {
            name = Some(name.map_or(over.part, |name| names.same(name, over.part)));
        }
        if right < over.right {
            break;
        }
        above.start += 1;
    }
    name.unwrap_or_else(|| names.fresh())
}

/// Names of parts, each pointing to an older name of the same part or to itself.
#[derive(Debug, Default)]
struct Names(Vec<usize>);

impl Names {
    fn fresh(&mut self) -> usize {
        let name = self.0.len();
        self.0.push(name);
        name
    }

    /// The oldest name that means the same. The way there is halved for those who come later.
    fn oldest(&mut self, mut name: usize) -> usize {
        while let Some(older) = self.0.get(name).copied().filter(|older| *older != name) {
            let still_older = self.0.get(older).copied().unwrap_or(older);
            if let Some(points_to) = self.0.get_mut(name) {
                *points_to = still_older;
            }
            name = older;
        }
        name
    }

    fn same(&mut self, one: usize, other: usize) -> usize {
        let (one, other) = (self.oldest(one), self.oldest(other));
        let oldest = one.min(other);
        if let Some(name) = self.0.get_mut(one.max(other)) {
            *name = oldest;
        }
        oldest
    }

    /// The number of every name, and how many numbers there are.
    fn numbers(mut self) -> (Vec<usize>, usize) {
        let mut numbers: Vec<usize> = Vec::with_capacity(self.0.len());
        let mut count = 0;
        for name in 0..self.0.len() {
            let oldest = self.oldest(name);
            // an older name has its number already
            let number = numbers.get(oldest).copied().unwrap_or_else(|| {
                count += 1;
                count - 1
            });
            numbers.push(number);
        }
        (numbers, count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imaging::grid::Grid;

    fn parts(drawing: &[&str]) -> Parts {
        let cells = drawing.iter().flat_map(|row| row.bytes().map(|one| one == b'#')).collect();
        let side = |length: usize| u32::try_from(length).unwrap();
        let grid = Grid::new((side(drawing[0].len()), side(drawing.len())), cells);
        Parts::of(&Mask::of(&grid, |inside| inside))
    }

    #[test]
    fn parts_are_what_touches_along_a_side() {
        let parts = parts(&["#.#.", "###.", "...#", "##.#"]);
        let mut found: Vec<_> = parts.list().map(|part| (part.area, part.size())).collect();
        found.sort_unstable();
        assert_eq!(found, [(2, (1, 2)), (2, (2, 1)), (5, (3, 2))]);
        assert_eq!((parts.largest(), parts.area_at(2, 0), parts.area_at(3, 0)), (5, 5, 0));
        assert_eq!(parts.part_at(4, 0), None);
    }

    #[test]
    fn teeth_that_meet_further_down_are_one_part() {
        let comb = parts(&["#.#.#.#", "#.#.###", "#.#.#..", "#####.#"]);
        let mut areas: Vec<_> = comb.list().map(|part| part.area).collect();
        areas.sort_unstable();
        assert_eq!(areas, [1, 17]);
        let spiral = parts(&["#####", "....#", "###.#", "#...#", "#####"]);
        assert_eq!(spiral.list().count(), 1);
        let rings = parts(&["#####", "#...#", "#.#.#", "#...#", "#####"]);
        let inner = rings.part_at(2, 2).unwrap();
        assert!(!inner.is_at_border && rings.part_at(0, 0).unwrap().is_at_border);
        assert_eq!((inner.area, rings.largest()), (1, 16));
    }
}
