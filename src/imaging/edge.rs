//! The edge is the line between subject and ground, where a cutout shows how well it was made:
//! halos of the old ground, specks and holes, steps.

use crate::imaging::cutout::SPECK_SHARE;
use crate::imaging::grid::{beside, share};
use crate::imaging::marks::Marks;
use crate::imaging::mask::Mask;
use crate::imaging::parts::Parts;
use crate::imaging::sample::{Sample, luma};
use crate::imaging::shadow::is_soft_shade;
use crate::imaging::subject::{Ground, Subject};

/// Fewest edge pixels that say anything.
const LEAST_EDGE_PX: usize = 40;

/// Most places of the edge that are looked at: more than a product's outline has. Of an edge that is
/// all frills every second place is looked at, or every third.
const MOST_EDGE_PX: usize = 8_192;

/// How far inside the edge the subject's own colour is looked for, in pixels of the sample: just
/// behind the widest halo, so that the white sole of a shoe is its own colour and no halo.
const INSIDE_PX: [f64; 2] = [4.0, 6.5];

/// Levels of luma by which a ring stands out. A black one must by twice as many: outlines and the
/// shaded side of a product are dark.
const RING_LEVELS: i16 = 40;

/// Luma under which a plain ground is dark.
const DARK_GROUND: u8 = 80;

/// Levels by which a ring is greener than red and blue: the spill of a green screen.
const GREEN_LEVELS: i16 = 45;

/// Share of the subject's edge that carries a halo: a thin ring whose colour is not the subject's.
///
/// Along alpha the ring is white (or green, or black) where the subject a few pixels further in is
/// not. On a plain ground the ring is lighter or greener than both its sides; a white ring on a
/// white ground cannot be seen, one on a dark ground is rim light, and neither is counted. `None`
/// without an edge to look at: in a scene, or where the subject is too thin.
pub(crate) fn halo(sample: &Sample, subject: &Subject, marks: &mut Marks) -> Option<f64> {
    if subject.ground == Ground::Busy {
        return None;
    }
    let (mut edge, mut haloed) = (0, 0);
    for place in edge_places(&subject.mask) {
        let carries = match subject.ground {
            Ground::Busy => None,
            Ground::Transparent => alpha_halo(sample, subject, place),
            Ground::Plain(_) => matte_halo(sample, subject, place),
        };
        edge += usize::from(carries.is_some());
        if carries == Some(true) {
            haloed += 1;
            marks.place(subject.mask.size(), place);
        }
    }
    (LEAST_EDGE_PX <= edge).then(|| share(haloed, edge))
}

/// Specks beside the subject, holes in it and steps along its alpha edge, as a share of the edge.
/// `None` without alpha.
pub(crate) fn noise(subject: &Subject) -> Option<f64> {
    if subject.ground != Ground::Transparent {
        return None;
    }
    let mask = &subject.mask;
    let parts = subject.parts();
    let holes = Parts::of(&mask.inverted());
    let largest = parts.largest();
    let small = |area: usize| share(area, largest) < SPECK_SHARE;
    let (mut edge, mut noisy) = (0, 0);
    for (x, y) in edge_places(mask) {
        edge += 1;
        let hole = beside((x, y))
            .into_iter()
            .any(|(x, y)| mask.get(x, y) == Some(false) && small(holes.area_at(x, y)));
        if small(parts.area_at(x, y)) || hole || is_step(mask, (x, y)) {
            noisy += 1;
        }
    }
    (LEAST_EDGE_PX <= edge).then(|| share(noisy, edge))
}

/// Share of the frame's border that the subject touches. A shadow on a plain ground may touch it.
/// `None` in a scene, where the subject is not known.
pub(crate) fn border(sample: &Sample, subject: &Subject, marks: &mut Marks) -> Option<f64> {
    if subject.ground == Ground::Busy {
        return None;
    }
    let (width, height) = subject.mask.size();
    let (mut border, mut touched) = (0, 0);
    for place in border_places((width, height)) {
        border += 1;
        let shaded = match subject.ground {
            Ground::Plain(colour) => {
                let (x, y) = place;
                is_soft_shade(sample.rgba.at(x, y), sample.luma.at(x, y), colour)
            }
            Ground::Transparent | Ground::Busy => false,
        };
        if subject.mask.get(place.0, place.1) == Some(true) && !shaded {
            touched += 1;
            marks.place((width, height), place);
        }
    }
    Some(share(touched, border))
}

/// The places along a frame's border, each once.
fn border_places((width, height): (i32, i32)) -> impl Iterator<Item = (i32, i32)> {
    let row = move |y: i32| (0..width).map(move |x| (x, y));
    let column = move |x: i32| (1..height - 1).map(move |y| (x, y));
    let below = (1 < height).then_some(height - 1).into_iter().flat_map(row);
    let right = (1 < width).then_some(width - 1).into_iter().flat_map(column);
    row(0).chain(below).chain(column(0)).chain(right)
}

/// Subject pixels that touch the ground inside the frame.
fn edge_places(mask: &Mask) -> Vec<(i32, i32)> {
    let edge = mask.edge();
    let stride = edge.count().div_ceil(MOST_EDGE_PX).max(1);
    edge.places().step_by(stride).collect()
}

/// The direction from the edge into the subject, one pixel long, of sums of what is inside to the
/// right and below.
fn inward(right: i32, down: i32) -> Option<(f64, f64)> {
    let (right, down) = (f64::from(right), f64::from(down));
    let length = right.hypot(down);
    (0.5 < length).then(|| (right / length, down / length))
}

#[expect(clippy::cast_possible_truncation, reason = "a few pixels beside a place of the sample")]
fn step((x, y): (i32, i32), (right, down): (f64, f64), far: f64) -> (i32, i32) {
    (x + (right * far).round() as i32, y + (down * far).round() as i32)
}

fn alpha_halo(sample: &Sample, subject: &Subject, place: (i32, i32)) -> Option<bool> {
    let alpha = |x: i32, y: i32| sample.rgba.get(x, y).map_or(0, |[.., alpha]| i32::from(alpha));
    let (mut right, mut down) = (0, 0);
    for (dx, dy) in (-3..=3).flat_map(|dy| (-3..=3).map(move |dx| (dx, dy))) {
        let weight = alpha(place.0 + dx, place.1 + dy);
        right += weight * dx;
        down += weight * dy;
    }
    let inward = inward(right, down)?;
    let ring = sample.rgba.at(place.0, place.1);
    let mut seen = None;
    for far in INSIDE_PX {
        let (x, y) = step(place, inward, far);
        if subject.mask.get(x, y) != Some(true) {
            break;
        }
        let own = sample.rgba.at(x, y);
        let rings =
            is_white_ring(ring, own) || is_green_ring(ring, own) || is_black_ring(ring, own);
        seen = Some(rings && seen.unwrap_or(true));
    }
    seen
}

fn is_white_ring(ring: [u8; 4], own: [u8; 4]) -> bool {
    let [red, green, blue, _] = ring;
    let lighter = i16::from(luma(own)) + RING_LEVELS;
    200 <= red.min(green).min(blue) && lighter <= i16::from(luma(ring))
}

fn is_green_ring(ring: [u8; 4], own: [u8; 4]) -> bool {
    GREEN_LEVELS <= greenness(ring) && greenness(own) <= 15
}

fn is_black_ring(ring: [u8; 4], own: [u8; 4]) -> bool {
    let [red, green, blue, _] = ring;
    let darker = i16::from(luma(own)) - 2 * RING_LEVELS;
    red.max(green).max(blue) <= 16 && i16::from(luma(ring)) <= darker
}

/// Whether a pixel is some grey: a product's own highlight has its colour.
fn is_neutral([red, green, blue, _]: [u8; 4]) -> bool {
    red.max(green).max(blue) - red.min(green).min(blue) <= 60
}

fn greenness([red, green, blue, _]: [u8; 4]) -> i16 {
    i16::from(green) - i16::from(red.max(blue))
}

fn matte_halo(sample: &Sample, subject: &Subject, place: (i32, i32)) -> Option<bool> {
    let (mut right, mut down) = (0, 0);
    for dy in -3..=3 {
        let row = subject.mask.around((place.0, place.1 + dy), 3);
        let at = |bit: u32| i32::from(row >> bit & 1 == 1);
        right += at(4) - at(2) + 2 * (at(5) - at(1)) + 3 * (at(6) - at(0));
        down += dy * row.count_ones().cast_signed();
    }
    let inward = inward(right, down)?;
    let at = |far: f64| {
        let (x, y) = step(place, inward, far);
        Some((sample.rgba.get(x, y)?, subject.mask.get(x, y)?))
    };
    let (Some((own, true)), Some((ground, false))) = (at(6.0), at(-5.0)) else { return None };
    // the ring of a rope is its own highlight: behind a halo there is more of the product
    let is_thick = [2.0, 4.0, 8.0, 10.0].into_iter().all(|far| at(far).is_some_and(|one| one.1));
    if !is_thick {
        return None;
    }
    // on a dark ground a light ring is the rim light of a studio
    let dark = luma(ground) < DARK_GROUND;
    let lighter = i16::from(luma(own).max(luma(ground))) + RING_LEVELS;
    let greener = greenness(own).max(greenness(ground)) + GREEN_LEVELS;
    let ring = [-2.0, -1.0, 0.0, 1.0, 2.0].into_iter().filter_map(at);
    let mut ring = ring.map(|(pixel, _)| pixel);
    Some(ring.any(|ring| {
        let white = !dark && is_neutral(ring) && lighter <= i16::from(luma(ring));
        white || greener <= greenness(ring)
    }))
}

/// Whether the edge turns a corner here: on a smooth edge half of the surroundings is subject.
fn is_step(mask: &Mask, (x, y): (i32, i32)) -> bool {
    // beyond the frame's border lies what lies at it
    let (width, height) = mask.size();
    let at_border = x < 4 || y < 4 || width - 4 <= x || height - 4 <= y;
    let inside = if at_border {
        let around = (-4..=4).flat_map(|dy| (-4..=4).map(move |dx| (x + dx, y + dy)));
        let nearest = around.map(|(x, y)| (x.clamp(0, width - 1), y.clamp(0, height - 1)));
        nearest.filter(|(x, y)| mask.get(*x, *y) == Some(true)).count()
    } else {
        (y - 4..=y + 4).map(|y| mask.around((x, y), 4).count_ones() as usize).sum()
    };
    !(0.30..=0.78).contains(&share(inside, 81))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_border_is_walked_once() {
        for size in [(1, 1), (1, 4), (4, 1), (2, 2), (5, 3)] {
            let mut places: Vec<_> = border_places(size).collect();
            let walked = places.len();
            places.sort_unstable();
            places.dedup();
            let all = (0..size.0).flat_map(|x| (0..size.1).map(move |y| (x, y)));
            let is_border =
                |(x, y): &(i32, i32)| *x == 0 || *y == 0 || x + 1 == size.0 || y + 1 == size.1;
            assert_eq!(places, all.filter(is_border).collect::<Vec<_>>());
            assert_eq!(walked, places.len());
        }
    }
}
