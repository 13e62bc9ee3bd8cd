//! The edge is the line between subject and ground, where a cutout shows how well it was made:
//! halos of the old ground, specks and holes, steps.

use crate::imaging::cutout::SPECK_SHARE;
use crate::imaging::grid::{Grid, beside, share};
use crate::imaging::marks::Marks;
use crate::imaging::sample::{Sample, luma};
use crate::imaging::shadow::is_soft_shade;
use crate::imaging::subject::{Ground, Parts, SOLID_ALPHA, Subject};

/// Fewest edge pixels that say anything.
const LEAST_EDGE_PX: usize = 40;

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
    let (mut edge, mut haloed) = (0, 0);
    for place in edge_places(&subject.mask) {
        let carries = match subject.ground {
            Ground::Busy => return None,
            Ground::Transparent => alpha_halo(sample, subject, place),
            Ground::Plain(_) => matte_halo(sample, subject, place),
        };
        edge += usize::from(carries.is_some());
        if carries == Some(true) {
            haloed += 1;
            marks.place(&subject.mask, place);
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
    let holes = Parts::of(&mask.map(|inside| !inside));
    let small = |area: usize| share(area, parts.largest()) < SPECK_SHARE;
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
    let (width, height) = (subject.mask.width(), subject.mask.height());
    let on_border = |(x, y): (i32, i32)| x == 0 || y == 0 || x == width - 1 || y == height - 1;
    let (mut border, mut touched) = (0, 0);
    for (place, inside) in subject.mask.entries().filter(|(place, _)| on_border(*place)) {
        border += 1;
        let shaded = match subject.ground {
            Ground::Plain(colour) => is_soft_shade(sample.rgba.at(place.0, place.1), colour),
            Ground::Transparent | Ground::Busy => false,
        };
        if inside && !shaded {
            touched += 1;
            marks.place(&subject.mask, place);
        }
    }
    Some(share(touched, border))
}

/// Subject pixels that touch the ground inside the frame.
fn edge_places(mask: &Grid<bool>) -> impl Iterator<Item = (i32, i32)> {
    mask.entries().filter_map(|(place, inside)| {
        let open = |(x, y): (i32, i32)| mask.get(x, y) == Some(false);
        (inside && beside(place).into_iter().any(open)).then_some(place)
    })
}

/// The direction from the edge into the subject, one pixel long.
fn inward(weight: impl Fn(i32, i32) -> f64, (x, y): (i32, i32)) -> Option<(f64, f64)> {
    let (mut right, mut down) = (0.0, 0.0);
    for dy in -3..=3 {
        for dx in -3..=3 {
            let weight = weight(x + dx, y + dy);
            right += weight * f64::from(dx);
            down += weight * f64::from(dy);
        }
    }
    let length = right.hypot(down);
    (1e-6 < length).then(|| (right / length, down / length))
}

#[expect(clippy::cast_possible_truncation, reason = "a few pixels beside a place of the sample")]
fn step((x, y): (i32, i32), (right, down): (f64, f64), far: f64) -> (i32, i32) {
    (x + (right * far).round() as i32, y + (down * far).round() as i32)
}

fn alpha_halo(sample: &Sample, subject: &Subject, place: (i32, i32)) -> Option<bool> {
    let alpha = |x: i32, y: i32| sample.rgba.get(x, y).map_or(0.0, |[.., alpha]| f64::from(alpha));
    let inward = inward(alpha, place)?;
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
    let solid = |x: i32, y: i32| {
        if subject.mask.get(x, y) == Some(true) { f64::from(SOLID_ALPHA) } else { 0.0 }
    };
    let inward = inward(solid, place)?;
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
fn is_step(mask: &Grid<bool>, (x, y): (i32, i32)) -> bool {
    let around = (-4..=4).flat_map(|dy| (-4..=4).map(move |dx| (dx, dy)));
    let inside = around.filter(|(dx, dy)| mask.at(x + dx, y + dy)).count();
    let balance = share(inside, 81);
    !(0.30..=0.78).contains(&balance)
}
