//! Inspecting is measuring for people: every number of every check, what it cost, and a picture of
//! where it comes from. It is no part of the serving path.

use std::time::Duration;

use fast_image_resize::FilterType;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};

use crate::clock::Deadline;
use crate::domain::policy::Fingerprint;
use crate::domain::{Candidate, CheckSpec};
use crate::imaging::allowance::Allowance;
use crate::imaging::decode::decode;
use crate::imaging::decoded::Limits;
use crate::imaging::marks::{Area, Marks};
use crate::imaging::measure::{Inspected, look};
use crate::imaging::picture::Picture;
use crate::imaging::prepare::prepare;
use crate::imaging::view::fitted;
use crate::imaging::{Plan, PrepareError, Settings, View};

/// Longest that decoding may take where nobody waits.
const DECODE_TIME: Duration = Duration::from_secs(60);

/// Longer side of an explaining picture.
const EXPLAINED_SIDE_PX: u32 = 1024;

/// One image, check by check.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// Of the whole image, upright.
    pub width_px: u32,
    /// Of the whole image, upright.
    pub height_px: u32,
    /// One for every check, in order.
    pub checks: Vec<Inspected>,
    /// Its perceptual hash.
    pub fingerprint: Fingerprint,
    /// Time spent decoding.
    pub decode_ms: f64,
    /// Time spent on what all checks share.
    pub shared_ms: f64,
}

/// Decodes `candidate` and measures it for `checks`, on the caller's own thread.
///
/// # Errors
/// The image cannot be read within the default limits.
pub fn inspect(
    candidate: &Candidate,
    max_pixels: u64,
    checks: &[CheckSpec],
) -> Result<Inspection, PrepareError> {
    let (picture, decode_ms) = read(candidate, max_pixels)?;
    let looked = look(&picture, checks, Marks::default).map_err(|_| PrepareError::Broken)?;
    Ok(Inspection {
        width_px: picture.width_px,
        height_px: picture.height_px,
        checks: looked.checks,
        fingerprint: looked.fingerprint,
        decode_ms,
        shared_ms: looked.shared_ms,
    })
}

/// An image with the findings of its broken checks drawn on it.
#[derive(Clone, Debug, PartialEq)]
pub struct Explained {
    /// The picture, PNG.
    pub png: Vec<u8>,
    /// The checks that were drawn, with the names of their colours.
    pub drawn: Vec<(Inspected, &'static str)>,
}

/// The colours of findings, by name.
const COLOURS: [(&str, [u8; 3]); 6] = [
    ("magenta", [255, 0, 200]),
    ("cyan", [0, 200, 255]),
    ("orange", [255, 140, 0]),
    ("green", [0, 210, 60]),
    ("blue", [60, 60, 255]),
    ("red", [255, 30, 30]),
];

/// What transparent pixels lie on here: neither a white nor a black fringe is lost on it.
const UNDERLAY: [u8; 3] = [150, 150, 150];

/// Draws the places of every broken check of `checks` on the image.
///
/// # Errors
/// The image cannot be read within the default limits.
pub fn explain(
    candidate: &Candidate,
    max_pixels: u64,
    checks: &[CheckSpec],
) -> Result<Explained, PrepareError> {
    let (picture, _) = read(candidate, max_pixels)?;
    let looked = look(&picture, checks, Marks::wanted).map_err(|_| PrepareError::Broken)?;
    let size = fitted((picture.width_px, picture.height_px), EXPLAINED_SIDE_PX);
    let small = picture.resized(picture.frame(), size, FilterType::Hamming);
    let mut canvas = small.map_err(|_| PrepareError::Broken)?.flattened(UNDERLAY);
    let broken = looked.checks.into_iter().filter(|one| !one.finding.passed);
    let mut drawn = Vec::new();
    for (one, (name, colour)) in broken.zip(COLOURS.iter().cycle()) {
        for area in &one.areas {
            draw(&mut canvas, size, area, *colour);
        }
        drawn.push((one, *name));
    }
    let mut png = Vec::new();
    PngEncoder::new(&mut png)
        .write_image(&canvas, size.0, size.1, ExtendedColorType::Rgb8)
        .map_err(|_| PrepareError::Broken)?;
    Ok(Explained { png, drawn })
}

/// The views that `plan` makes of `candidate`, as judges are shown them, on the caller's own thread.
///
/// # Errors
/// The image cannot be read within the default limits.
pub fn show(candidate: &Candidate, plan: &Plan) -> Result<Vec<View>, PrepareError> {
    let allowance = Allowance::start(Deadline::after(DECODE_TIME), DECODE_TIME);
    Ok(prepare(candidate, plan, &Settings::default(), &allowance, &|| true)?.views)
}

fn read(candidate: &Candidate, max_pixels: u64) -> Result<(Picture, f64), PrepareError> {
    let allowance = Allowance::start(Deadline::after(DECODE_TIME), DECODE_TIME);
    let max_bytes = Settings::default().max_decoded_bytes;
    let limits = Limits { max_pixels, max_bytes, memory: allowance.memory().clone() };
    let picture = decode(candidate, &limits, &[], &allowance)?;
    Ok((picture, allowance.elapsed_ms()))
}

/// Side under which an area is a point, in pixels of the canvas: filled, where a larger one is framed
/// and tinted so that what is in it can still be seen.
const POINT_PX: u32 = 6;

/// Draws one area.
fn draw(canvas: &mut [u8], (width, height): (u32, u32), area: &Area, colour: [u8; 3]) {
    let (left, right) = span(area.left, area.right, width);
    let (top, bottom) = span(area.top, area.bottom, height);
    let is_point = right - left < POINT_PX && bottom - top < POINT_PX;
    let pixels = canvas.as_chunks_mut::<3>().0;
    for (y, row) in (0_u32..).zip(pixels.chunks_exact_mut(width as usize)) {
        if y < top || bottom <= y {
            continue;
        }
        for (x, pixel) in (0_u32..).zip(row) {
            if x < left || right <= x {
                continue;
            }
            let is_frame = x < left + 2 || right <= x + 2 || y < top + 2 || bottom <= y + 2;
            let weight = if is_point || is_frame { 220 } else { 60 };
            for (level, over) in pixel.iter_mut().zip(colour) {
                let mixed = u32::from(*level) * (255 - weight) + u32::from(over) * weight;
                *level = u8::try_from(mixed / 255).unwrap_or(u8::MAX);
            }
        }
    }
}

/// The pixels from one share of a side to another: at least two, so that one of a large picture
/// can be seen.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0..=side")]
fn span(from: f64, to: f64, side: u32) -> (u32, u32) {
    let at = |share: f64| (share.clamp(0.0, 1.0) * f64::from(side)).floor() as u32;
    let first = at(from).min(side.saturating_sub(2));
    (first, at(to).max(first + 2).min(side))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_filled_and_an_area_is_framed_so_that_it_can_still_be_seen() {
        let mut canvas = vec![255; 40 * 40 * 3];
        let red = [255, 0, 0];
        draw(&mut canvas, (40, 40), &Area { left: 0.1, top: 0.1, right: 0.11, bottom: 0.11 }, red);
        draw(&mut canvas, (40, 40), &Area { left: 0.5, top: 0.5, right: 1.0, bottom: 1.0 }, red);
        let green = |x: usize, y: usize| canvas[(y * 40 + x) * 3 + 1];
        assert!(green(4, 4) < 50 && green(5, 5) < 50, "a point is two pixels wide");
        assert_eq!(green(7, 7), 255);
        assert!(green(20, 30) < 50 && (150..230).contains(&green(30, 30)), "{}", green(30, 30));
    }
}
