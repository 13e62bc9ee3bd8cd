//! A cutout is a subject whose ground was taken away: its alpha says how well. Bits of the old
//! ground stay behind as specks, holes go through the subject, and the edge may be cut in steps.
//!
//! Specks and holes are looked for on the sample, the edge in native pixels: shrinking makes every
//! edge soft.

use crate::imaging::grid::share;
use crate::imaging::levels::Levels;
use crate::imaging::marks::Marks;
use crate::imaging::mask::Mask;
use crate::imaging::native::Native;
use crate::imaging::parts::{Part, Parts};
use crate::imaging::sample::Sample;
use crate::imaging::subject::{Ground, SOLID_ALPHA, Subject};

/// Alpha from which a pixel can be seen at all.
const SEEN_ALPHA: u8 = 8;

/// Alpha from which a speck can be seen; less is the tail of a soft shadow.
const SPECK_ALPHA: u8 = 64;

/// Share of the frame under which what can be seen is nothing.
const LEAST_SEEN: f64 = 0.000_2;

/// A part smaller than this share of the largest is a speck, not a second product.
pub(crate) const SPECK_SHARE: f64 = 0.005;

/// A hole larger than this share of the frame is a handle's or a strap's.
const HOLE_SHARE: f64 = 0.002;

/// Alpha of the subject's most opaque tenth, 0..1: 0 where nothing can be seen, below 1 where the
/// subject is a ghost. `None` where the picture is opaque.
pub(crate) fn opacity(sample: &Sample, marks: &mut Marks) -> Option<f64> {
    if !sample.has_alpha {
        return None;
    }
    let (seen, solid) = seen(sample);
    let (count, frame) = (seen.total() + solid, sample.rgba.size());
    if share(count, sample.rgba.cells().len()) < LEAST_SEEN {
        marks.block(frame, (0, 0), frame);
        return Some(0.0);
    }
    if marks.is_wanted() {
        // in boxes, so that what shines through can still be seen
        let ghostly = Mask::of(&sample.rgba, |[.., alpha]| (SEEN_ALPHA..240).contains(&alpha));
        boxes(&Parts::of(&ghostly), marks);
    }
    let most = count.saturating_sub(1 + count / 10);
    // what is solid comes last
    Some(seen.nth(most).map_or(1.0, |alpha| f64::from(alpha) / 255.0))
}

/// The alpha of all that can be seen, without some that are solid, and how many these are.
fn seen(sample: &Sample) -> (Levels, usize) {
    let mut solid = 0;
    let cells = sample.rgba.cells().chunks(STRETCH_PX);
    let seen = Levels::of(cells.flat_map(|pixels| {
        // of most stretches all is solid, or nothing
        let words = pixels.iter().map(|pixel| u32::from_le_bytes(*pixel));
        let (all, any) = words.fold((u32::MAX, 0), |(all, any), word| (all & word, any | word));
        let (is_solid, is_nothing) = (all >> 24 == 255, any >> 24 == 0);
        solid += if is_solid { pixels.len() } else { 0 };
        let rest = if is_solid || is_nothing { &[] } else { pixels };
        rest.iter().map(|[.., alpha]| *alpha).filter(|alpha| SEEN_ALPHA <= *alpha)
    }));
    (seen, solid)
}

/// Small parts that belong neither to the ground nor to a product, counted. `None` without alpha.
pub(crate) fn specks(sample: &Sample, marks: &mut Marks) -> Option<f64> {
    if !sample.has_alpha {
        return None;
    }
    let parts = Parts::of(&Mask::seen(&sample.rgba, SPECK_ALPHA));
    Some(small(&parts, marks))
}

/// Small holes through the subject, counted. `None` without alpha.
pub(crate) fn holes(subject: &Subject, marks: &mut Marks) -> Option<f64> {
    if subject.ground != Ground::Transparent {
        return None;
    }
    let holes = Parts::of(&subject.mask.inverted());
    let frame = subject.mask.places_in_all();
    let is_hole = |part: &&Part| !part.is_at_border && share(part.area, frame) < HOLE_SHARE;
    let mut count = 0.0;
    for part in holes.list().filter(is_hole) {
        count += 1.0;
        marks.block(subject.mask.size(), (part.left, part.top), part.size());
    }
    Some(count)
}

/// Marks the boxes around the parts that are no specks.
pub(crate) fn boxes(parts: &Parts, marks: &mut Marks) {
    let largest = parts.largest();
    for part in parts.list().filter(|part| SPECK_SHARE <= share(part.area, largest)) {
        marks.block(parts.frame(), (part.left, part.top), part.size());
    }
}

fn small(parts: &Parts, marks: &mut Marks) -> f64 {
    let largest = parts.largest();
    let mut count = 0.0;
    for part in parts.list().filter(|part| share(part.area, largest) < SPECK_SHARE) {
        count += 1.0;
        marks.block(parts.frame(), (part.left, part.top), part.size());
    }
    count
}

/// Bands of rows that the edge is followed through, and the rows of each.
const BANDS: usize = 12;
const BAND_ROWS: usize = 48;

/// Fewest places of the edge that say anything.
const LEAST_PLACES: usize = 40;

/// Lengths of a stair: how far the edge runs straight down, and how far it then jumps.
const STAIR_PX: std::ops::RangeInclusive<usize> = 3..=24;

/// Alpha of the neighbours between which there is no soft pixel.
const CLEAR: u8 = 8;
const FULL: u8 = 247;

/// Pixels of a row looked at together: where all of them lie on one side of the edge it does not pass.
const STRETCH_PX: usize = 16;

/// The edge as it was last crossed: where, and for how many rows just there.
#[derive(Clone, Copy, Debug)]
struct Thread {
    x: usize,
    run: usize,
}

/// What alpha's edge looks like in native pixels.
#[derive(Debug, Default)]
pub(crate) struct AlphaEdge {
    size: (usize, usize),
    places: usize,
    hard: usize,
    stairs: usize,
}

impl AlphaEdge {
    /// Follows the edge through bands of rows; the first marks learn where it is hard, the others where
    /// it runs in stairs.
    pub(crate) fn of(native: Native<'_>, hard: &mut Marks, stairs: &mut Marks) -> Self {
        let mut edge = Self { size: native.alpha_size(), ..Self::default() };
        let (_, height) = edge.size;
        let stride = (height / BANDS).max(BAND_ROWS);
        for first in (0..height).step_by(stride) {
            let mut threads = Vec::new();
            for (y, row) in native.alpha_rows(first, BAND_ROWS) {
                let crossed = edge.crossings(y, &row, hard);
                threads = edge.follow(&threads, crossed, (y, &mut *stairs));
            }
        }
        edge
    }

    /// Share of the places where alpha's edge is crossed without a soft pixel between, 0..1. `None`
    /// without alpha.
    pub(crate) fn hard(&self) -> Option<f64> {
        (LEAST_PLACES <= self.places).then(|| share(self.hard, self.places))
    }

    /// Share of the places of alpha's edge that belong to stairs, 0..1: the edge runs straight down for
    /// some pixels and then jumps by some, as it does when a mask is enlarged without smoothing. `None`
    /// without alpha.
    pub(crate) fn stairs(&self) -> Option<f64> {
        (LEAST_PLACES <= self.places).then(|| share(self.stairs, self.places))
    }

    /// The columns after which a row crosses the edge.
    fn crossings(&mut self, y: usize, row: &[[u8; 4]], hard: &mut Marks) -> Vec<Thread> {
        let mut crossed = Vec::new();
        let mut before = row.first().map_or(0, |[.., alpha]| *alpha);
        for (first, stretch) in (0_usize..).step_by(STRETCH_PX).zip(row.chunks(STRETCH_PX)) {
            // whole words: bytes that lie four apart would be looked at one by one
            let alphas = stretch.iter().map(|pixel| u32::from_le_bytes(*pixel) >> 24);
            let solid: u32 = alphas.map(|alpha| u32::from(u32::from(SOLID_ALPHA) <= alpha)).sum();
            let all = if SOLID_ALPHA <= before { stretch.len() } else { 0 };
            if solid as usize == all {
                before = stretch.last().map_or(before, |[.., alpha]| *alpha);
                continue;
            }
            for (x, [.., alpha]) in (first..).zip(stretch) {
                if (before < SOLID_ALPHA) != (*alpha < SOLID_ALPHA) {
                    let left = x.saturating_sub(1);
                    crossed.push(Thread { x: left, run: 1 });
                    if before.min(*alpha) <= CLEAR && FULL <= before.max(*alpha) {
                        self.hard += 1;
                        hard.pixels(self.size, (left, y), (2, 1));
                    }
                }
                before = *alpha;
            }
        }
        self.places += crossed.len();
        crossed
    }

    /// Counts the stairs between a row and the one above it; what is returned goes on.
    fn follow(
        &mut self,
        threads: &[Thread],
        mut crossed: Vec<Thread>,
        (y, stairs): (usize, &mut Marks),
    ) -> Vec<Thread> {
        // as many crossings as in the row before: the same edges, one row on
        if crossed.len() != threads.len() {
            return crossed;
        }
        for (now, before) in crossed.iter_mut().zip(threads) {
            if now.x == before.x {
                now.run = before.run + 1;
            } else if STAIR_PX.contains(&before.run) && STAIR_PX.contains(&now.x.abs_diff(before.x))
            {
                self.stairs += before.run;
                let top = y - before.run.min(y);
                stairs.pixels(self.size, (before.x, top), (2, before.run));
            }
        }
        crossed
    }
}
