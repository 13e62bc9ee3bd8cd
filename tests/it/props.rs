//! The pictures that the shipped policy's tests show: the drawn mug, small, without grain, and with
//! one thing wrong each. They lie in `policies/fixtures`, a few kilobytes each, because whoever
//! writes a policy copies tests and pictures together.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use vlmgate::config::environment::Environment;

use crate::drawn::{Grain, Mug, byte, coverage, mix, png, prepared};
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
        ("mug-washed-out.jpg", jpeg(SIDE_PX, washed_out)),
        ("mug-cut-off.jpg", jpeg(SIDE_PX, |x, y| standing(x + 0.38, y, white(x + 0.38, y)))),
        ("mug-blurred.jpg", jpeg(SIDE_PX, blurred)),
        ("mug-small.jpg", jpeg(200, |x, y| standing(x, y, white(x, y)))),
        ("mug-blocky.jpg", encoded((SIDE_PX, 6), scene)),
        ("mug-noisy.jpg", noisy()),
        ("mug-banded.png", stepped(|x, y| scene(x, y).map(|c| (c * 8.0).round() / 8.0))),
        ("mug-checkered.png", stepped(|x, y| standing(x, y, checkered(x, y)))),
        ("mug-boxed.jpg", jpeg(SIDE_PX, boxed)),
        ("mug-littered.jpg", jpeg(SIDE_PX, littered)),
        ("mug-floating.jpg", jpeg(SIDE_PX, floating)),
        ("mug-tiny.jpg", jpeg(SIDE_PX, |x, y| far(x, y, (0.5, 0.5), 0.15))),
        ("mug-off-centre.jpg", jpeg(SIDE_PX, |x, y| far(x, y, (0.86, 0.5), 0.3))),
        ("mug-ghost.png", cut(|mug, x, y| 0.6 * soft(mug.distance(x, y)))),
        ("mug-specks.png", cut(|mug, x, y| soft(mug.distance(x, y)).max(spots(x, y, (0.06, 0.1))))),
        ("mug-holes.png", cut(|mug, x, y| soft(mug.distance(x, y)) - spots(x, y, (0.45, 0.4)))),
        ("mug-hard-edge.png", cut(|mug, x, y| coverage(mug.distance(x, y)).round())),
        ("mug-jagged.png", cut(jagged)),
        ("mug-cutout.png", cutout(0.0)),
        ("mug-halo.png", cutout(3.0)),
        ("blank.png", plain()),
        ("placeholder.png", grey((SIDE_PX, SIDE_PX), placeholder)),
        // one on each side of a line
        ("disc-256x256.png", disc(256, 256)),
        ("disc-255x256.png", disc(255, 256)),
        ("disc-256x255.png", disc(256, 255)),
        ("disc-768x256.png", disc(768, 256)),
        ("disc-771x256.png", disc(771, 256)),
        ("disc-264x800.png", disc(264, 800)),
        ("disc-264x803.png", disc(264, 803)),
        ("faint-21.png", grey((SIDE_PX, SIDE_PX), |x, _| if x < 0.79 { 0xF2 } else { 0xF8 })),
        ("faint-25.png", grey((SIDE_PX, SIDE_PX), |x, _| if x < 0.75 { 0xF2 } else { 0xF8 })),
        ("placeholder-6.png", stamped(0.06)),
        ("placeholder-8.png", stamped(0.08)),
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

/// The mug under a light that is far too strong, a little of which the lens spreads.
fn washed_out(x: f64, y: f64) -> [f64; 3] {
    spread(x, y, 0.01).map(|c| c * 2.2 + 0.1)
}

/// The mug out of focus.
fn blurred(x: f64, y: f64) -> [f64; 3] {
    spread(x, y, 0.035)
}

/// The mean of the mug and its ground over a disc of this radius.
fn spread(x: f64, y: f64, radius: f64) -> [f64; 3] {
    let mut sum = [0.0; 3];
    let mut count = 0.0;
    for step in 0..60_u8 {
        let turn = f64::from(step) * 2.399_963;
        let away = (f64::from(step) / 60.0).sqrt() * radius;
        let (x, y) = (x + away * turn.cos(), y + away * turn.sin());
        let seen = standing(x, y, Mug::new(SIDE_PX, 0).sweep(x, y));
        sum = std::array::from_fn(|i| sum[i] + seen[i]);
        count += 1.0;
    }
    sum.map(|c| c / count)
}

/// The mug before a wall of soft light and shade.
fn scene(x: f64, y: f64) -> [f64; 3] {
    standing(x, y, 0.55 + 0.3 * (x * 14.0).sin() * (y * 12.0).cos())
}

/// The mug on grey, every sixteenth pixel far too light or too dark.
fn noisy() -> Vec<u8> {
    let mut grain = Grain(5);
    encoded((SIDE_PX, 40), |x, y| {
        let (chance, light) = (grain.unit(), grain.unit());
        let noise = if chance < 1.0 / 16.0 { 0.45_f64.copysign(light - 0.5) } else { 0.0 };
        standing(x, y, 0.6).map(|c| c + noise)
    })
}

/// The grey and white squares that stand for transparency, painted.
fn checkered(x: f64, y: f64) -> f64 {
    let square = |place: f64| (place * f64::from(SIDE_PX) / 12.0).floor();
    if (square(x) + square(y)).rem_euclid(2.0) > 0.5 { 0.8 } else { 1.0 }
}

/// The mug between two black bars.
fn boxed(x: f64, y: f64) -> [f64; 3] {
    let inside = (0.12..0.88).contains(&y);
    if inside { standing(x, y, Mug::new(SIDE_PX, 0).sweep(x, y)) } else { [0.0; 3] }
}

/// The mug, and two rows of crumbs above it.
fn littered(x: f64, y: f64) -> [f64; 3] {
    let seen = standing(x, y, Mug::new(SIDE_PX, 0).sweep(x, y));
    let row = if y < 0.12 { 0.07 } else { 0.17 };
    let column = ((x - 0.1) / 0.13).round().clamp(0.0, 6.0) * 0.13 + 0.1;
    let away_px = (x - column).hypot(y - row) * f64::from(SIDE_PX);
    mix(seen, [0.5, 0.45, 0.4], coverage(away_px - 9.0))
}

/// The mug above its shadow.
fn floating(x: f64, y: f64) -> [f64; 3] {
    let away = ((x - 0.46) / 0.2).powi(2) + ((y - 0.95) / 0.04).powi(2);
    standing(x, y, 0.985 - 0.2 * (-away).exp())
}

/// The mug as it is seen from further away, its middle there.
fn far(x: f64, y: f64, (column, row): (f64, f64), scale: f64) -> [f64; 3] {
    let mug = Mug::new(SIDE_PX, 0);
    let (x, y) = ((x - column) / scale + 0.5, (y - row) / scale + 0.5);
    mix([mug.sweep(x, y); 3], mug.colour(x, y), coverage(mug.distance(x, y) * scale))
}

/// Ten spots of 4 px in a row below each other, from this place on.
fn spots(x: f64, y: f64, (column, top): (f64, f64)) -> f64 {
    let row = ((y - top) / 0.03).round().clamp(0.0, 9.0) * 0.03 + top;
    soft((x - column).hypot(y - row) * f64::from(SIDE_PX) - 2.5)
}

/// The mug cut out by a mask of an eighth of the size.
fn jagged(mug: &Mug, x: f64, y: f64) -> f64 {
    let coarse =
        |place: f64| ((place * f64::from(SIDE_PX) / 8.0).floor() + 0.5) * 8.0 / f64::from(SIDE_PX);
    coverage(mug.distance(coarse(x), coarse(y))).round()
}

/// A picture of few colours, so that a PNG stays small.
fn stepped(mut colour: impl FnMut(f64, f64) -> [f64; 3]) -> Vec<u8> {
    let step = |c: f64| byte((c * STEPS).round() / STEPS);
    let pixels = Mug::new(SIDE_PX, 0).each_pixel(|x, y| colour(x, y).map(step));
    png(SIDE_PX, &pixels.concat(), ExtendedColorType::Rgb8)
}

/// The mug with this alpha.
fn cut(alpha: impl Fn(&Mug, f64, f64) -> f64) -> Vec<u8> {
    let mug = Mug::new(SIDE_PX, 0);
    let pixels = mug.each_pixel(|x, y| {
        let alpha = byte(alpha(&mug, x, y));
        let [r, g, b] = mug.colour(x, y).map(|c| byte((c * STEPS).round() / STEPS));
        if alpha == 0 { [0; 4] } else { [r, g, b, alpha] }
    });
    png(SIDE_PX, &pixels.concat(), ExtendedColorType::Rgba8)
}

fn jpeg(side: u16, colour: impl FnMut(f64, f64) -> [f64; 3]) -> Vec<u8> {
    encoded((side, 78), colour)
}

fn encoded((side, quality): (u16, u8), mut colour: impl FnMut(f64, f64) -> [f64; 3]) -> Vec<u8> {
    let pixels = Mug::new(side, 0).each_pixel(|x, y| colour(x, y).map(byte)).concat();
    let mut bytes = Vec::new();
    let mut encoder = jpeg_encoder::Encoder::new(&mut bytes, quality);
    encoder.set_sampling_factor(jpeg_encoder::SamplingFactor::F_2_2);
    encoder.encode(&pixels, side, side, jpeg_encoder::ColorType::Rgb).expect("a drawn JPEG");
    bytes
}

/// An edge that is cut out well: soft over two pixels.
fn soft(distance_px: f64) -> f64 {
    coverage(distance_px / 2.0)
}

/// The mug alone, with a white ring of `halo_px` around it.
fn cutout(halo_px: f64) -> Vec<u8> {
    let mug = Mug::new(SIDE_PX, 0);
    let pixels = mug.each_pixel(|x, y| {
        let distance = mug.distance(x, y);
        if halo_px + 2.0 < distance {
            return [0; 4];
        }
        let own = if halo_px > 0.0 { coverage(distance) } else { 1.0 };
        let seen = mix([0.99; 3], mug.colour(x, y), own);
        let [r, g, b] = seen.map(|c| byte((c * STEPS).round() / STEPS));
        [r, g, b, byte(soft(distance - halo_px))]
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
fn placeholder(x: f64, y: f64) -> u8 {
    let inside = (0.2..0.8).contains(&x) && (0.3..0.7).contains(&y);
    let frame = inside && !((0.22..0.78).contains(&x) && (0.32..0.68).contains(&y));
    let (u, v) = ((x - 0.2) / 0.6, (y - 0.3) / 0.4);
    let cross = inside && ((u - v).abs() < 0.03 || (u + v - 1.0).abs() < 0.03);
    let sky = inside && y < 0.42 && x < 0.5;
    if frame || cross {
        0x50
    } else if sky {
        0xB0
    } else {
        0xF8
    }
}

/// The same with a stamp of this side below it: the larger, the further from what the list names.
fn stamped(side: f64) -> Vec<u8> {
    let is_in = |place: f64, from: f64| (from..from + side).contains(&place);
    let level = |x, y| if is_in(x, 0.8) && is_in(y, 0.85) { 0xB0 } else { placeholder(x, y) };
    grey((SIDE_PX, SIDE_PX), level)
}

/// A dark disc on white, in a picture of this size.
fn disc(width_px: u16, height_px: u16) -> Vec<u8> {
    let radius = f64::from(width_px.min(height_px)) * 0.3;
    grey((width_px, height_px), |x, y| {
        let away = ((x - 0.5) * f64::from(width_px)).hypot((y - 0.5) * f64::from(height_px));
        if away < radius { 0x60 } else { 0xF8 }
    })
}

/// A picture of this width and height in levels of grey.
fn grey((width_px, height_px): (u16, u16), level: impl Fn(f64, f64) -> u8) -> Vec<u8> {
    let place = |at: u16, of: u16| (f64::from(at) + 0.5) / f64::from(of);
    let row = |y: u16| (0..width_px).map(move |x| (place(x, width_px), place(y, height_px)));
    let pixels = (0..height_px).flat_map(row).flat_map(|(x, y)| [level(x, y); 3]);
    let pixels: Vec<u8> = pixels.collect();
    let mut bytes = Vec::new();
    let encoder = PngEncoder::new(&mut bytes);
    let (width, height) = (u32::from(width_px), u32::from(height_px));
    encoder.write_image(&pixels, width, height, ExtendedColorType::Rgb8).expect("a drawn PNG");
    bytes
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

/// What the manifest beside the pictures says of each, and all of it.
#[tokio::test]
async fn the_pictures_of_the_shipped_tests_break_just_what_their_manifest_says() {
    let folder = root().join("policies/fixtures");
    let mut rows = csv::Reader::from_path(folder.join("manifest.csv")).expect("a manifest");
    let mut told = BTreeSet::new();
    for row in rows.deserialize::<BTreeMap<String, String>>() {
        let row = row.expect("a row");
        let background = match row["scene"].as_str() {
            "on_white" => "white",
            "cutout_alpha" => "transparent",
            "scene" => "scene",
            other => panic!("{other}: which background is that?"),
        };
        let bytes = fs::read(folder.join(&row["file"])).expect("a picture");
        let prepared = prepared(&bytes, background).await;
        let broken = prepared.findings.iter().filter(|one| !one.passed);
        let broken: BTreeSet<&str> = broken.map(|one| one.check.as_str()).collect();
        let breaks: BTreeSet<&str> = row["breaks"].split_whitespace().collect();
        assert_eq!(broken, breaks, "{}: {:#?}", row["file"], prepared.findings);
        assert_eq!(row["label"] == "good", breaks.is_empty(), "{}", row["file"]);
        told.insert(row["file"].clone());
    }
    let drawn: BTreeSet<String> = props().into_iter().map(|(name, _)| name.to_owned()).collect();
    assert_eq!(told, drawn, "every picture has a row and every row a picture");
}
