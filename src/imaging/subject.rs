//! The subject is what a product picture is about: the pixels a check looks at instead of the
//! whole frame, so that a white sweep is not over-exposed and a dark studio not under-exposed.
//!
//! Where the picture has alpha it says what the subject is; on a plain ground it is what differs
//! from the ground's colour; in a scene nobody can tell cheaply, and the middle of the frame
//! stands in for it.

use std::cell::OnceCell;

use crate::imaging::grid::{Grid, share};
use crate::imaging::sample::Sample;

/// Alpha from which a pixel belongs to the subject.
pub(crate) const SOLID_ALPHA: u8 = 128;

/// Width of the band that tells the ground, as a share of the shorter side.
const BAND: f64 = 0.02;

/// Largest difference in a channel within a plain ground.
const PLAIN_LEVELS: u8 = 24;

/// Share of the band that a plain ground fills.
const PLAIN_SHARE: f64 = 0.70;

/// Difference in a channel from which a pixel is not ground.
const SUBJECT_LEVELS: u8 = 28;

/// Share of the frame under which nothing stands out from a plain ground: too dark to see, say.
const LEAST_SHARE: f64 = 0.003;

/// What the subject stands before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ground {
    /// Nothing: alpha cuts the subject out.
    Transparent,
    /// One colour.
    Plain([u8; 3]),
    /// A scene.
    Busy,
}

/// The subject of a sample.
#[derive(Debug)]
pub(crate) struct Subject {
    /// What it stands before.
    pub(crate) ground: Ground,
    /// Where it is.
    pub(crate) mask: Grid<bool>,
    parts: OnceCell<Parts>,
}

impl Subject {
    /// Finds the subject of `sample`.
    pub(crate) fn of(sample: &Sample) -> Self {
        let ground = if sample.has_alpha { Ground::Transparent } else { plain_ground(sample) };
        let mask = match ground {
            Ground::Transparent => sample.rgba.map(|[.., alpha]| SOLID_ALPHA <= alpha),
            Ground::Plain(colour) => {
                sample.rgba.map(|pixel| SUBJECT_LEVELS < difference(pixel, colour))
            }
            Ground::Busy => middle(sample),
        };
        let area = mask.cells().iter().filter(|inside| **inside).count();
        if matches!(ground, Ground::Plain(_)) && share(area, mask.cells().len()) < LEAST_SHARE {
            return Self::new(Ground::Busy, middle(sample));
        }
        Self::new(ground, mask)
    }

    fn new(ground: Ground, mask: Grid<bool>) -> Self {
        Self { ground, mask, parts: OnceCell::new() }
    }

    /// The connected parts of the mask, made once.
    pub(crate) fn parts(&self) -> &Parts {
        self.parts.get_or_init(|| Parts::of(&self.mask))
    }
}

/// The middle three fifths of the frame.
fn middle(sample: &Sample) -> Grid<bool> {
    let (width, height) = (sample.rgba.width(), sample.rgba.height());
    let middle = |place: i32, side: i32| side / 5 <= place && place < side - side / 5;
    sample.rgba.map_places(|x, y| middle(x, width) && middle(y, height))
}

/// Largest difference of `pixel` to `colour` in a channel.
pub(crate) fn difference(pixel: [u8; 4], colour: [u8; 3]) -> u8 {
    let [red, green, blue, _] = pixel;
    let apart = [red, green, blue].into_iter().zip(colour).map(|(one, other)| one.abs_diff(other));
    apart.max().unwrap_or(0)
}

/// The pixels of the band along the frame's border, `band` of the shorter side wide.
fn border_band(grid: &Grid<[u8; 4]>, band: f64) -> impl Iterator<Item = [u8; 4]> {
    let (width, height) = (grid.width(), grid.height());
    let wide = band_px(width.min(height), band);
    grid.entries()
        .filter(move |((x, y), _)| {
            *x < wide || width - wide <= *x || *y < wide || height - wide <= *y
        })
        .map(|(_, pixel)| pixel)
}

#[expect(clippy::cast_possible_truncation, reason = "a share of a sample's side")]
pub(crate) fn band_px(side_px: i32, band: f64) -> i32 {
    ((f64::from(side_px) * band.clamp(0.0, 0.5)).ceil() as i32).max(1)
}

fn plain_ground(sample: &Sample) -> Ground {
    let band: Vec<[u8; 4]> = border_band(&sample.rgba, BAND).collect();
    let median = |channel: fn(&[u8; 4]) -> u8| {
        let mut levels: Vec<u8> = band.iter().map(channel).collect();
        let middle = levels.len() / 2;
        if levels.is_empty() { 0 } else { *levels.select_nth_unstable(middle).1 }
    };
    let colour = [
        median(|[red, ..]| *red),
        median(|[_, green, ..]| *green),
        median(|[_, _, blue, _]| *blue),
    ];
    let plain = band.iter().filter(|pixel| difference(**pixel, colour) <= PLAIN_LEVELS).count();
    if PLAIN_SHARE <= share(plain, band.len()) { Ground::Plain(colour) } else { Ground::Busy }
}

/// The connected parts of a mask.
#[derive(Debug)]
pub(crate) struct Parts {
    /// The number of the part that a place belongs to, from 1; 0 belongs to none.
    pub(crate) number: Grid<usize>,
    /// By number; the first belongs to none.
    parts: Vec<Part>,
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
    /// Two passes: the first names each place after its neighbour to the left or above and notes
    /// which names mean the same, the second gives every name its number.
    pub(crate) fn of(mask: &Grid<bool>) -> Self {
        let mut names = Names(vec![0]);
        let mut named = Vec::with_capacity(mask.cells().len());
        let mut above = vec![0; usize::try_from(mask.width()).unwrap_or(0)];
        for row in mask.rows() {
            let mut left = 0;
            for (above, inside) in above.iter_mut().zip(row) {
                let name = match (*inside, left, *above) {
                    (false, ..) => 0,
                    (true, 0, 0) => names.fresh(),
                    (true, 0, name) | (true, name, 0) => name,
                    (true, one, other) => names.same(one, other),
                };
                (left, *above) = (name, name);
                named.push(name);
            }
        }
        let (numbers, count) = names.numbers();
        let number = |name: &usize| numbers.get(*name).copied().unwrap_or(0);
        let cells: Vec<usize> = named.iter().map(number).collect();
        let number = mask.with_cells(cells);
        let mut parts = vec![Part::NOTHING; count + 1];
        let (right, bottom) = (mask.width() - 1, mask.height() - 1);
        for ((x, y), number) in number.entries().filter(|(_, number)| *number != 0) {
            let is_at_border = x == 0 || y == 0 || x == right || y == bottom;
            let place = Part { area: 1, left: x, top: y, right: x, bottom: y, is_at_border };
            if let Some(part) = parts.get_mut(number) {
                *part = part.with(place);
            }
        }
        Self { number, parts }
    }

    /// All parts.
    pub(crate) fn list(&self) -> impl Iterator<Item = &Part> {
        self.parts.iter().skip(1)
    }

    /// Pixels of the largest part.
    pub(crate) fn largest(&self) -> usize {
        self.list().map(|part| part.area).max().unwrap_or(0)
    }

    /// The part at a place.
    pub(crate) fn part_at(&self, x: i32, y: i32) -> Option<&Part> {
        let number = self.number.at(x, y);
        if number == 0 { None } else { self.parts.get(number) }
    }

    /// Pixels of the part at a place, 0 where there is none.
    pub(crate) fn area_at(&self, x: i32, y: i32) -> usize {
        self.part_at(x, y).map_or(0, |part| part.area)
    }
}

/// Names of parts, each pointing to an older name of the same part or to itself.
struct Names(Vec<usize>);

impl Names {
    fn fresh(&mut self) -> usize {
        let name = self.0.len();
        self.0.push(name);
        name
    }

    fn oldest(&self, mut name: usize) -> usize {
        while let Some(older) = self.0.get(name).copied().filter(|older| *older != name) {
            name = older;
        }
        name
    }

    fn same(&mut self, one: usize, other: usize) -> usize {
        if one == other {
            return one;
        }
        let (one, other) = (self.oldest(one), self.oldest(other));
        let oldest = one.min(other);
        if let Some(name) = self.0.get_mut(one.max(other)) {
            *name = oldest;
        }
        oldest
    }

    /// The number of every name, and how many numbers there are.
    fn numbers(&self) -> (Vec<usize>, usize) {
        let mut numbers: Vec<usize> = Vec::with_capacity(self.0.len());
        let mut count = 0;
        for name in 0..self.0.len() {
            let oldest = self.oldest(name);
            // an older name has its number already
            let number = match numbers.get(oldest) {
                Some(number) => *number,
                None if name == 0 => 0,
                None => {
                    count += 1;
                    count
                }
            };
            numbers.push(number);
        }
        (numbers, count)
    }
}
