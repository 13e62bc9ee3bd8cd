//! Marks are the places that made a measure's number: what `vlmgate check --explain` draws, so that
//! a person can believe the number or see that it is wrong.
//!
//! A measure names them as it counts. Where nobody draws, naming one costs a comparison.

use crate::imaging::grid::share;

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

    /// Names one place of a grid of the size `frame` that covers the frame.
    pub(crate) fn place(&mut self, frame: (i32, i32), (x, y): (i32, i32)) {
        self.block(frame, (x, y), (1, 1));
    }

    /// Names a block of places of a grid that covers the frame.
    pub(crate) fn block(
        &mut self,
        (width, height): (i32, i32),
        (x, y): (i32, i32),
        (wide, high): (i32, i32),
    ) {
        if self.wanted && 0 < wide && 0 < high {
            let of = |place: i32, side: i32| f64::from(place) / f64::from(side.max(1));
            self.add(Area {
                left: of(x, width),
                top: of(y, height),
                right: of(x + wide, width),
                bottom: of(y + high, height),
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
