//! Marks are the places that made a measure's number: what `vlmgate check --explain` draws, so that
//! a person can believe the number or see that it is wrong.
//!
//! A measure names them as it counts. Where nobody draws, naming one costs a comparison.

use crate::imaging::grid::{Grid, share};

/// Most areas kept: more than the sample's longest possible outline.
const MOST_AREAS: usize = 1 << 16;

/// A rectangle as shares of the frame, from the left and from the top, 0..1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Area {
    /// Left side.
    pub left: f64,
    /// Upper side.
    pub top: f64,
    /// Right side.
    pub right: f64,
    /// Lower side.
    pub bottom: f64,
}

/// The places of one measure.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    wanted: bool,
    areas: Vec<Area>,
}

impl Marks {
    /// Marks that are kept.
    pub(crate) fn wanted() -> Self {
        Self { wanted: true, areas: Vec::new() }
    }

    /// Whether anybody looks at them.
    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// Names one place of a grid that covers the frame.
    pub(crate) fn place<T: Copy + Default>(&mut self, grid: &Grid<T>, (x, y): (i32, i32)) {
        self.block(grid, (x, y), (1, 1));
    }

    /// Names one place of a grid that covers the frame, by its number.
    pub(crate) fn cell<T: Copy + Default>(&mut self, grid: &Grid<T>, number: usize) {
        if self.wanted
            && let Ok(number) = i32::try_from(number)
        {
            let wide = grid.width().max(1);
            self.place(grid, (number % wide, number / wide));
        }
    }

    /// Names a block of places of a grid that covers the frame.
    pub(crate) fn block<T: Copy + Default>(
        &mut self,
        grid: &Grid<T>,
        (x, y): (i32, i32),
        (wide, high): (i32, i32),
    ) {
        if self.wanted {
            let of = |place: i32, side: i32| f64::from(place) / f64::from(side.max(1));
            self.add(Area {
                left: of(x, grid.width()),
                top: of(y, grid.height()),
                right: of(x + wide, grid.width()),
                bottom: of(y + high, grid.height()),
            });
        }
    }

    /// Names a rectangle of whole pixels in a picture of `size`.
    pub(crate) fn pixels(
        &mut self,
        (width_px, height_px): (usize, usize),
        (left_px, top_px): (usize, usize),
        (wide_px, high_px): (usize, usize),
    ) {
        if self.wanted {
            self.add(Area {
                left: share(left_px, width_px),
                top: share(top_px, height_px),
                right: share(left_px + wide_px, width_px),
                bottom: share(top_px + high_px, height_px),
            });
        }
    }

    /// The areas named so far, taken out.
    pub(crate) fn take(&mut self) -> Vec<Area> {
        std::mem::take(&mut self.areas)
    }

    fn add(&mut self, area: Area) {
        if self.areas.len() < MOST_AREAS {
            self.areas.push(area);
        }
    }
}
