//! The pictures that the shipped policy's tests show: the drawn mug, small, without grain, and with
//! one thing wrong each. They lie in `policies/fixtures`, a few kilobytes each, because whoever
//! writes a policy copies tests and pictures together.

use std::fs;

use image::ExtendedColorType;
use vlmgate::config::environment::Environment;

use crate::drawn::{Mug, byte, coverage, mix, png};
use crate::world::root;

const SIDE_PX: u16 = 300;
/// Where the mug's colours are cut to, so that a PNG stays small.
const STEPS: f64 = 48.0;

/// Every picture by its name in `policies/fixtures`.
fn props() -> Vec<(&'static str, Vec<u8>)> {
    let white = |x: f64, y: f64| Mug::new(SIDE_PX, 0).sweep(x, y);
    vec![
        ("mug-clean.jpg", jpeg(SIDE_PX, |x, y| standing(x, y, white(x, y)))),
        ("mug-on-grey.jpg", jpeg(SIDE_PX, |x, y| standing(x, y, white(x, y) * 0.8))),
        ("mug-dark.jpg", jpeg(SIDE_PX, dark)),
        ("mug-cut-off.jpg", jpeg(SIDE_PX, |x, y| standing(x + 0.38, y, white(x + 0.38, y)))),
        ("mug-blurred.jpg", jpeg(SIDE_PX, blurred)),
        ("mug-small.jpg", jpeg(200, |x, y| standing(x, y, white(x, y)))),
        ("mug-cutout.png", cutout(0.0)),
        ("mug-halo.png", cutout(3.0)),
        ("blank.png", plain()),
        ("placeholder.png", placeholder()),
    ]
}

/// The mug on a ground of this light.
fn standing(x: f64, y: f64, ground: f64) -> [f64; 3] {
    let mug = Mug::new(SIDE_PX, 0);
    mix([ground; 3], mug.colour(x, y), coverage(mug.distance(x, y)))
}

/// The mug as if no light fell on it: a black shape.
fn dark(x: f64, y: f64) -> [f64; 3] {
    let mug = Mug::new(SIDE_PX, 0);
    mix([0.99; 3], mug.colour(x, y).map(|c| c * 0.03), coverage(mug.distance(x, y)))
}

/// The mug out of focus: the mean over a disc.
fn blurred(x: f64, y: f64) -> [f64; 3] {
    let mut sum = [0.0; 3];
    let mut count = 0.0;
    for step in 0..60_u8 {
        let turn = f64::from(step) * 2.399_963;
        let away = (f64::from(step) / 60.0).sqrt() * 0.035;
        let (x, y) = (x + away * turn.cos(), y + away * turn.sin());
        let seen = standing(x, y, Mug::new(SIDE_PX, 0).sweep(x, y));
        sum = std::array::from_fn(|i| sum[i] + seen[i]);
        count += 1.0;
    }
    sum.map(|c| c / count)
}

fn jpeg(side: u16, mut colour: impl FnMut(f64, f64) -> [f64; 3]) -> Vec<u8> {
    let pixels = Mug::new(side, 0).each_pixel(|x, y| colour(x, y).map(byte)).concat();
    let mut bytes = Vec::new();
    let mut encoder = jpeg_encoder::Encoder::new(&mut bytes, 78);
    encoder.set_sampling_factor(jpeg_encoder::SamplingFactor::F_2_2);
    encoder.encode(&pixels, side, side, jpeg_encoder::ColorType::Rgb).expect("a drawn JPEG");
    bytes
}

/// The mug alone, with a white ring of `halo_px` around it.
fn cutout(halo_px: f64) -> Vec<u8> {
    let mug = Mug::new(SIDE_PX, 0);
    let pixels = mug.each_pixel(|x, y| {
        let distance = mug.distance(x, y);
        if halo_px + 1.0 < distance {
            return [0; 4];
        }
        let own = if halo_px > 0.0 { coverage(distance) } else { 1.0 };
        let seen = mix([0.99; 3], mug.colour(x, y), own);
        let [r, g, b] = seen.map(|c| byte((c * STEPS).round() / STEPS));
        [r, g, b, byte(coverage(distance - halo_px))]
    });
    png(SIDE_PX, &pixels.concat(), ExtendedColorType::Rgba8)
}

/// One light grey.
fn plain() -> Vec<u8> {
    let side = usize::from(SIDE_PX);
    png(SIDE_PX, &vec![0xF2; side * side * 3], ExtendedColorType::Rgb8)
}

/// What a broken generator puts out in the stead of a picture: a frame with a cross in it. The
/// shipped list of known bad pictures names it.
fn placeholder() -> Vec<u8> {
    let pixels = Mug::new(SIDE_PX, 0).each_pixel(|x, y| {
        let inside = (0.2..0.8).contains(&x) && (0.3..0.7).contains(&y);
        let frame = inside && !((0.22..0.78).contains(&x) && (0.32..0.68).contains(&y));
        let (u, v) = ((x - 0.2) / 0.6, (y - 0.3) / 0.4);
        let cross = inside && ((u - v).abs() < 0.03 || (u + v - 1.0).abs() < 0.03);
        let sky = inside && y < 0.42 && x < 0.5;
        [if frame || cross {
            0x50
        } else if sky {
            0xB0
        } else {
            0xF8
        }; 3]
    });
    png(SIDE_PX, &pixels.concat(), ExtendedColorType::Rgb8)
}

/// `UPDATE_FIXTURES=1 cargo test props` draws them.
#[test]
fn the_pictures_of_the_shipped_tests_are_what_this_code_draws() {
    let folder = root().join("policies/fixtures");
    for (name, drawn) in props() {
        let path = folder.join(name);
        if Environment::process().get("UPDATE_FIXTURES").is_some() {
            fs::create_dir_all(&folder).expect("policies/fixtures can be made");
            fs::write(&path, &drawn).expect("policies/fixtures can be written");
        }
        let kept = fs::read(&path).unwrap_or_default();
        assert!(kept.len() < 24_000, "{name}: {} bytes are no small picture", kept.len());
        let open = |bytes: &[u8]| image::load_from_memory(bytes).map(|one| one.to_rgba8());
        let (kept, drawn) = (open(&kept), open(&drawn).expect("a drawn picture"));
        let kept = kept.unwrap_or_else(|why| panic!("{name}: {why}; draw with UPDATE_FIXTURES=1"));
        assert_eq!(kept.dimensions(), drawn.dimensions(), "{name}");
        // another platform's sine may round differently: a level here and there, never a shape
        let off = kept.iter().zip(drawn.iter()).filter(|(a, b)| a.abs_diff(**b) > 8).count();
        assert!(off < kept.len() / 500, "{name}: {off} samples are off");
    }
}
