//! A cutout is a subject whose ground was taken away: its alpha says how well. Bits of the old
//! ground stay behind as specks, holes go through the subject, and the edge may be cut in steps.
//!
//! Specks and holes are looked for on the sample, the edge in native pixels: shrinking makes every
//! edge soft.

use crate::imaging::grid::share;
use crate::imaging::marks::Marks;
use crate::imaging::native::Native;
use crate::imaging::sample::Sample;
use crate::imaging::subject::{Ground, Part, Parts, SOLID_ALPHA, Subject};

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
    let pixels = sample.rgba.cells();
    let mut seen: Vec<u8> =
        pixels.iter().map(|[.., alpha]| *alpha).filter(|alpha| SEEN_ALPHA <= *alpha).collect();
    if share(seen.len(), pixels.len()) < LEAST_SEEN {
        marks.block(&sample.rgba, (0, 0), (sample.rgba.width(), sample.rgba.height()));
        return Some(0.0);
    }
    for (place, [.., alpha]) in sample.rgba.entries() {
        if marks.is_wanted() && (SEEN_ALPHA..240).contains(&alpha) {
            marks.place(&sample.rgba, place);
        }
    }
    let most = seen.len() - 1 - seen.len() / 10;
    Some(f64::from(*seen.select_nth_unstable(most).1) / 255.0)
}

/// Small parts that belong neither to the ground nor to a product, counted. `None` without alpha.
pub(crate) fn specks(sample: &Sample, marks: &mut Marks) -> Option<f64> {
    if !sample.has_alpha {
        return None;
    }
    let parts = Parts::of(&sample.rgba.map(|[.., alpha]| SPECK_ALPHA <= alpha));
    Some(small(&parts, marks))
}

/// Small holes through the subject, counted. `None` without alpha.
pub(crate) fn holes(subject: &Subject, marks: &mut Marks) -> Option<f64> {
    if subject.ground != Ground::Transparent {
        return None;
    }
    let holes = Parts::of(&subject.mask.map(|inside| !inside));
    let frame = subject.mask.cells().len();
    let is_hole = |part: &&Part| !part.is_at_border && share(part.area, frame) < HOLE_SHARE;
    let mut count = 0.0;
    for part in holes.list().filter(is_hole) {
        count += 1.0;
        marks.block(&subject.mask, (part.left, part.top), part.size());
    }
    Some(count)
}

fn small(parts: &Parts, marks: &mut Marks) -> f64 {
    let largest = parts.largest();
    let mut count = 0.0;
    for part in parts.list().filter(|part| share(part.area, largest) < SPECK_SHARE) {
        count += 1.0;
        marks.block(&parts.number, (part.left, part.top), part.size());
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

/// Share of the places where alpha's edge is crossed without a soft pixel between, 0..1. `None`
/// without alpha.
pub(crate) fn hard(native: Native<'_>, marks: &mut Marks) -> Option<f64> {
    let count = Count::of(native, marks, &mut Marks::default());
    (LEAST_PLACES <= count.places).then(|| share(count.hard, count.places))
}

/// Share of the places of alpha's edge that belong to stairs, 0..1: the edge runs straight down for
/// some pixels and then jumps by some, as it does when a mask is enlarged without smoothing. `None`
/// without alpha.
pub(crate) fn stairs(native: Native<'_>, marks: &mut Marks) -> Option<f64> {
    let count = Count::of(native, &mut Marks::default(), marks);
    (LEAST_PLACES <= count.places).then(|| share(count.stairs, count.places))
}

/// The edge as it was last crossed: where, and for how many rows just there.
#[derive(Clone, Copy, Debug)]
struct Thread {
    x: usize,
    run: usize,
}

#[derive(Debug, Default)]
struct Count {
    size: (usize, usize),
    places: usize,
    hard: usize,
    stairs: usize,
}

impl Count {
    /// Follows the edge through bands of rows.
    fn of(native: Native<'_>, hard: &mut Marks, stairs: &mut Marks) -> Self {
        let mut count = Self { size: native.alpha_size(), ..Self::default() };
        let (_, height) = native.alpha_size();
        let stride = (height / BANDS).max(BAND_ROWS);
        let mut threads: Vec<Thread> = Vec::new();
        for first in (0..height).step_by(stride) {
            threads.clear();
            for (y, row) in native.alpha_rows(first, BAND_ROWS) {
                count.follow(&mut threads, y, &row, (hard, stairs));
            }
        }
        count
    }

    fn follow(
        &mut self,
        threads: &mut Vec<Thread>,
        y: usize,
        row: &[[u8; 4]],
        (hard, stairs): (&mut Marks, &mut Marks),
    ) {
        let mut crossed = Vec::with_capacity(threads.len());
        for (x, [[.., one], [.., next]]) in row.array_windows().enumerate() {
            if (*one < SOLID_ALPHA) == (*next < SOLID_ALPHA) {
                continue;
            }
            self.places += 1;
            if *one.min(next) <= CLEAR && FULL <= *one.max(next) {
                self.hard += 1;
                hard.pixels(self.size, (x, y), (2, 1));
            }
            crossed.push(Thread { x, run: 1 });
        }
        // as many crossings as in the row before: the same edges, one row on
        if crossed.len() == threads.len() {
            for (now, before) in crossed.iter_mut().zip(threads.iter()) {
                if now.x == before.x {
                    now.run = before.run + 1;
                } else if STAIR_PX.contains(&before.run)
                    && STAIR_PX.contains(&now.x.abs_diff(before.x))
                {
                    self.stairs += before.run;
                    let top = y - before.run.min(y);
                    stairs.pixels(self.size, (before.x, top), (2, before.run));
                }
            }
        }
        *threads = crossed;
    }
}
