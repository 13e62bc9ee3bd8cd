//! Halving makes one pixel of every 2 x 2, some times over. What is far larger than its sample comes
//! near to it by means, which take a fraction of the time that a filter takes; the filter does the
//! rest.
//!
//! It is done by blocks of rows that make one row in the end: they stay in the cache, and nothing
//! larger than what is made is held. A last column or row without another is taken for both.

use std::ops::Range;

use crate::imaging::planes::{Chroma, Planes};
use crate::imaging::words::{put_means, put_together};

/// Pixels of four channels.
#[derive(Debug)]
pub(crate) struct Quads {
    /// Columns and rows.
    pub(crate) size: (u32, u32),
    /// Row after row from the top.
    pub(crate) pixels: Vec<[u8; 4]>,
}

impl Quads {
    /// `pixels` of three or four channels, row after row of a picture of `size`, halved `times` over,
    /// at least once. A fourth channel that they have not is 255.
    pub(crate) fn of<const PX: usize>(pixels: &[[u8; PX]], size: (u32, u32), times: u32) -> Self {
        let (wide, mut means) = (size.0 as usize, Vec::new());
        by_blocks(size, times, |rows, into| {
            let block = pixels.get(rows.start * wide..rows.end * wide).unwrap_or_default();
            halve(block, wide, &mut means, into);
        })
    }

    /// `planes` halved `times` over, at least once: light, blue and red less light, and 255. `None`
    /// where the colours have neither a sample for every pixel nor one for every 2 x 2.
    pub(crate) fn of_planes(planes: &Planes<'_>, times: u32) -> Option<Self> {
        let Planes { luma, chroma } = planes;
        let Chroma { blue, red, across, down } = chroma.as_ref()?;
        let size = (luma.width_px, luma.height_px);
        let wide = size.0 as usize;
        let is_of = |size: (u32, u32)| {
            (blue.width_px, blue.height_px) == size && (red.width_px, red.height_px) == size
        };
        let light = |rows: &Range<usize>| luma.levels.get(rows.start * wide..rows.end * wide);
        let colours = |first: usize, last: usize| {
            [&blue.levels, &red.levels].map(|of| of.get(first..last).unwrap_or_default())
        };
        let mut means = Vec::new();
        match (across, down) {
            (1, 1) if is_of(size) => {
                let mut whole = Vec::new();
                Some(by_blocks(size, times, |rows, into| {
                    let light = light(&rows).unwrap_or_default();
                    let [blue, red] = colours(rows.start * wide, rows.end * wide);
                    whole.clear();
                    put_together([light, blue, red], &mut whole);
                    halve(&whole, wide, &mut means, into);
                }))
            }
            (2, 2) if is_of(halved(size)) => {
                let (mut light_means, half) = (Vec::new(), wide.div_ceil(2));
                Some(by_blocks(size, times, |rows, into| {
                    light_means.clear();
                    let light = light(&rows).unwrap_or_default();
                    halve_levels(light, wide, &mut means, &mut light_means);
                    let [blue, red] = colours(rows.start / 2 * half, rows.end.div_ceil(2) * half);
                    put_together([&light_means, blue, red], into);
                }))
            }
            _ => None,
        }
    }
}

fn halved((width, height): (u32, u32)) -> (u32, u32) {
    (width.div_ceil(2), height.div_ceil(2))
}

/// A picture of `size` halved `times` over: `first` halves some rows of it once.
fn by_blocks(
    size: (u32, u32),
    times: u32,
    mut first: impl FnMut(Range<usize>, &mut Vec<[u8; 4]>),
) -> Quads {
    let small = (0..times).fold(size, |size, _| halved(size));
    let mut pixels = Vec::with_capacity(small.0 as usize * small.1 as usize);
    let (mut rows, mut fewer, mut means) = (Vec::new(), Vec::new(), Vec::new());
    let (high, block) = (size.1 as usize, 1 << times);
    for top in (0..high).step_by(block) {
        let block = top..(top + block).min(high);
        if times <= 1 {
            first(block, &mut pixels);
            continue;
        }
        rows.clear();
        first(block, &mut rows);
        let mut wide = size.0.div_ceil(2);
        for _ in 1..times {
            fewer.clear();
            halve(&rows, wide as usize, &mut means, &mut fewer);
            std::mem::swap(&mut rows, &mut fewer);
            wide = wide.div_ceil(2);
        }
        pixels.extend_from_slice(&rows);
    }
    Quads { size: small, pixels }
}

/// Adds to `into` a pixel for every 2 x 2 of these rows.
fn halve<const PX: usize>(
    rows: &[[u8; PX]],
    wide: usize,
    means: &mut Vec<u8>,
    into: &mut Vec<[u8; 4]>,
) {
    for pair in rows.chunks((2 * wide).max(1)) {
        let (above, below) = both(pair, wide);
        mean_row(above.as_flattened(), below.as_flattened(), means);
        let mut rest = means.as_slice();
        if PX == 4 {
            // two pixels that are one word are halved several at a time
            let (pairs, last) = means.as_chunks::<8>();
            into.extend(pairs.iter().map(|pair| lower(mean_of_pair(u64::from_le_bytes(*pair)))));
            rest = last;
        }
        let (pairs, last) = rest.as_chunks::<PX>().0.as_chunks::<2>();
        let pair = |[left, right]: &[[u8; PX]; 2]| word(left) | (word(right) << 32);
        into.extend(pairs.iter().map(|two| lower(mean_of_pair(pair(two)))));
        into.extend(last.iter().map(|last| lower(word(last))));
    }
}

/// The same of samples of one kind.
fn halve_levels(rows: &[u8], wide: usize, means: &mut Vec<u8>, into: &mut Vec<u8>) {
    for pair in rows.chunks((2 * wide).max(1)) {
        let (above, below) = both(pair, wide);
        mean_row(above, below, means);
        put_means(means, into);
    }
}

/// The two rows of a pair; of a last one the same twice.
fn both<T>(pair: &[T], wide: usize) -> (&[T], &[T]) {
    match pair.split_at_checked(wide) {
        Some((above, below)) if below.len() == wide => (above, below),
        _ => (pair, pair),
    }
}

/// The means of two rows, rounded up; those of two columns are rounded down, so that halving makes a
/// picture neither lighter nor darker.
fn mean_row(above: &[u8], below: &[u8], means: &mut Vec<u8>) {
    means.clear();
    means.extend(above.iter().zip(below).map(|(above, below)| {
        let [mean, _] = ((u16::from(*above) + u16::from(*below) + 1) >> 1).to_le_bytes();
        mean
    }));
}

/// The means of the bytes of a word's two halves, rounded down, in the lower one.
fn mean_of_pair(pair: u64) -> u64 {
    let right = pair >> 32;
    (pair & right) + (((pair ^ right) & 0xFEFE_FEFE) >> 1)
}

/// The pixel in the lower half of a word.
fn lower(pair: u64) -> [u8; 4] {
    let [one, two, three, four, ..] = pair.to_le_bytes();
    [one, two, three, four]
}

/// A pixel as half a word, 255 for what it has not.
fn word<const PX: usize>(pixel: &[u8; PX]) -> u64 {
    let word = match pixel.as_slice() {
        [one, two, three, four] => u32::from_le_bytes([*one, *two, *three, *four]),
        [one, two, three] => u32::from_le_bytes([*one, *two, *three, u8::MAX]),
        _ => 0,
    };
    u64::from(word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imaging::planes::Plane;

    /// What halving once makes, pixel by pixel.
    fn slowly(pixels: &[[u8; 4]], (wide, high): (u32, u32)) -> Vec<[u8; 4]> {
        let at = |x: u32, y: u32| pixels[(y.min(high - 1) * wide + x.min(wide - 1)) as usize];
        let places = (0..high.div_ceil(2)).flat_map(|y| (0..wide.div_ceil(2)).map(move |x| (x, y)));
        let mean = |(x, y): (u32, u32)| {
            let down = |x: u32| {
                let (above, below) = (at(x, 2 * y), at(x, 2 * y + 1));
                [0, 1, 2, 3].map(|of| (u16::from(above[of]) + u16::from(below[of])).div_ceil(2))
            };
            let (left, right) = (down(2 * x), down(2 * x + 1));
            [0, 1, 2, 3].map(|of| u8::try_from((left[of] + right[of]) / 2).unwrap())
        };
        places.map(mean).collect()
    }

    fn level(number: u32) -> u8 {
        u8::try_from(number.wrapping_mul(2_654_435_761) >> 24).unwrap()
    }

    const SIZES: [(u32, u32); 6] = [(1, 1), (2, 2), (5, 3), (8, 4), (33, 9), (64, 31)];

    #[test]
    fn a_pixel_is_the_mean_of_four_and_a_last_one_stands_for_two() {
        for size in SIZES {
            let level = |place: u32, of: u32| level(place * 4 + of);
            let places = 0..size.0 * size.1;
            let four: Vec<[u8; 4]> =
                places.clone().map(|place| [0, 1, 2, 3].map(|of| level(place, of))).collect();
            let three: Vec<[u8; 3]> =
                places.map(|place| [0, 1, 2].map(|of| level(place, of))).collect();
            let (mut known, mut known_size) = (four.clone(), size);
            for times in 1..4 {
                known = slowly(&known, known_size);
                known_size = halved(known_size);
                let made = Quads::of(&four, size, times);
                assert_eq!((made.size, &made.pixels), (known_size, &known), "{size:?} {times}");
                let opaque: Vec<_> = known.iter().map(|[r, g, b, _]| [*r, *g, *b, 255]).collect();
                assert_eq!(Quads::of(&three, size, times).pixels, opaque, "{size:?} {times}");
            }
        }
    }

    fn plane((width_px, height_px): (u32, u32), seed: u32) -> Plane<'static> {
        let levels: Vec<u8> = (0..width_px * height_px).map(|n| level(n + seed)).collect();
        Plane { width_px, height_px, levels: levels.into() }
    }

    fn quad((light, (blue, red)): (&u8, (&u8, &u8))) -> [u8; 4] {
        [*light, *blue, *red, 255]
    }

    #[test]
    fn planes_are_halved_together_once_the_light_is_as_coarse_as_the_colours() {
        for size in SIZES {
            let half = halved(size);
            let (luma, whole) = (plane(size, 0), |seed| plane(size, seed));
            let chroma = Chroma { blue: whole(77), red: whole(99), across: 1, down: 1 };
            let pixels: Vec<_> = luma
                .levels
                .iter()
                .zip(chroma.blue.levels.iter().zip(chroma.red.levels.iter()))
                .map(quad)
                .collect();
            let planes = Planes { luma: luma.clone(), chroma: Some(chroma) };
            for times in 1..4 {
                let (made, known) =
                    (Quads::of_planes(&planes, times), Quads::of(&pixels, size, times));
                assert_eq!(made.map(|made| made.pixels), Some(known.pixels), "{size:?} {times}");
            }
            let chroma = Chroma { blue: plane(half, 7), red: plane(half, 9), across: 2, down: 2 };
            let grey: Vec<_> = luma.levels.iter().map(|level| [*level; 4]).collect();
            let light = Quads::of(&grey, size, 1).pixels;
            let colours = chroma.blue.levels.iter().zip(chroma.red.levels.iter());
            let once: Vec<_> =
                light.iter().zip(colours).map(|([light, ..], of)| quad((light, of))).collect();
            let planes = Planes { luma, chroma: Some(chroma) };
            let made = Quads::of_planes(&planes, 1).map(|made| (made.size, made.pixels));
            assert_eq!(made, Some((half, once.clone())), "{size:?}");
            let (made, known) = (Quads::of_planes(&planes, 3), Quads::of(&once, half, 2));
            assert_eq!(made.map(|made| made.pixels), Some(known.pixels), "{size:?}");
        }
    }

    #[test]
    fn planes_of_other_kinds_are_left_to_the_filter() {
        assert!(Quads::of_planes(&Planes::grey(vec![0; 8], (4, 2)), 1).is_none());
        let of = |size, across, down| {
            let chroma = Chroma { blue: plane(size, 1), red: plane(size, 2), across, down };
            Quads::of_planes(&Planes { luma: plane((9, 6), 0), chroma: Some(chroma) }, 1)
        };
        assert!(of((5, 3), 2, 2).is_some() && of((9, 6), 1, 1).is_some());
        assert!(of((5, 6), 2, 1).is_none() && of((4, 3), 2, 2).is_none());
    }
}
