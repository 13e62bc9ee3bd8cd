//! Pictures drawn in code for tests: a glazed mug on a white sweep, the same mug cut out, the same
//! cut out badly, and a picture of nothing.
//!
//! They are ours, so they can be committed, sent and looked at; a seed changes colour, place and
//! grain and nothing that a check of their shape and light measures. Of those checks a
//! [`product_jpeg`] breaks none, a [`cutout_png`] breaks none, a [`halo_png`] breaks `edge_halo` alone
//! and a [`blank_png`] breaks `contrast`. To the checks of coding and of alpha's edge a drawing is what
//! it is: flat colours and an edge of one pixel.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use vlmgate::clock::Deadline;
use vlmgate::config::files::PolicyFiles;
use vlmgate::domain::judgement::Score;
use vlmgate::domain::policy::{Encoding, Measure, Region, ViewSpec};
use vlmgate::domain::{Candidate, Finding, Format};
use vlmgate::imaging::{Imaging, Plan, Prepared, Settings};
use vlmgate::panel::struck::Struck;
use vlmgate::panel::{Asked, Judge, Question};
use vlmgate::provider::local::LocalJudge;

/// Side of the square pictures that the functions without a size give, in pixels.
pub(crate) const SIDE_PX: u16 = 512;

/// A good product photograph: the mug on white with a soft contact shadow (JPEG, opaque).
pub(crate) fn product_jpeg(seed: u64) -> Vec<u8> {
    photo_jpeg(SIDE_PX, seed)
}

/// A good cutout: the mug alone with a clean soft edge (PNG with alpha).
pub(crate) fn cutout_png(seed: u64) -> Vec<u8> {
    cut_png(SIDE_PX, seed, 0.0)
}

/// A bad cutout: a white ring of 3 px stands around the whole mug (PNG with alpha).
pub(crate) fn halo_png(seed: u64) -> Vec<u8> {
    cut_png(SIDE_PX, seed, 3.0)
}

/// A picture of nothing: one light grey (PNG, opaque).
pub(crate) fn blank_png() -> Vec<u8> {
    let side = usize::from(SIDE_PX);
    png(SIDE_PX, &vec![0xF2; side * side * 3], ExtendedColorType::Rgb8)
}

/// [`product_jpeg`] at any size.
pub(crate) fn photo_jpeg(side: u16, seed: u64) -> Vec<u8> {
    let mug = Mug::new(side, seed);
    let mut grain = Grain(seed);
    let pixels = mug.each_pixel(|x, y| {
        let ground = [mug.sweep(x, y); 3];
        let noise = grain.next();
        mix(ground, mug.colour(x, y), coverage(mug.distance(x, y))).map(|c| byte(c + noise))
    });
    let mut bytes = Vec::new();
    let mut encoder = jpeg_encoder::Encoder::new(&mut bytes, 88);
    encoder.set_sampling_factor(jpeg_encoder::SamplingFactor::F_2_2);
    let pixels = pixels.concat();
    encoder.encode(&pixels, side, side, jpeg_encoder::ColorType::Rgb).expect("a drawn JPEG");
    bytes
}

/// [`cutout_png`] at any size, with a white ring of `halo_px` around the mug.
pub(crate) fn cut_png(side: u16, seed: u64, halo_px: f64) -> Vec<u8> {
    let mug = Mug::new(side, seed);
    let mut grain = Grain(seed);
    let pixels = mug.each_pixel(|x, y| {
        let distance = mug.distance(x, y);
        let noise = grain.next();
        let ring = [0.99; 3];
        let [r, g, b] =
            mix(ring, mug.colour(x, y), if halo_px > 0.0 { coverage(distance) } else { 1.0 })
                .map(|c| byte(c + noise));
        [r, g, b, byte(coverage(distance - halo_px))]
    });
    png(side, &pixels.concat(), ExtendedColorType::Rgba8)
}

pub(crate) fn png(side: u16, pixels: &[u8], colour: ExtendedColorType) -> Vec<u8> {
    let mut bytes = Vec::new();
    let encoder = PngEncoder::new(&mut bytes);
    encoder.write_image(pixels, side.into(), side.into(), colour).expect("a drawn PNG");
    bytes
}

/// A mug in the unit square: a cylinder between two ellipses and a handle on its right.
pub(crate) struct Mug {
    side: u16,
    centre: f64,
    top: f64,
    bottom: f64,
    radius: f64,
    glaze: [f64; 3],
}

/// Height of the mug's ellipses as a share of their width.
const TILT: f64 = 0.24;

impl Mug {
    pub(crate) fn new(side: u16, seed: u64) -> Self {
        const GLAZES: [[f64; 3]; 6] = [
            [0.16, 0.36, 0.52],
            [0.60, 0.26, 0.18],
            [0.24, 0.44, 0.30],
            [0.48, 0.30, 0.46],
            [0.62, 0.46, 0.16],
            [0.30, 0.33, 0.38],
        ];
        let mut chance = Grain(seed.wrapping_mul(31).wrapping_add(7));
        let nudge = chance.unit() * 0.03 - 0.015;
        let glaze = GLAZES[usize::try_from(seed % 6).expect("below six")];
        Self { side, centre: 0.46 + nudge, top: 0.30, bottom: 0.74 + nudge, radius: 0.21, glaze }
    }

    pub(crate) fn each_pixel<T>(&self, mut pixel: impl FnMut(f64, f64) -> T) -> Vec<T> {
        let side = self.side;
        let at = |place: u16| (f64::from(place) + 0.5) / f64::from(side);
        (0..side)
            .flat_map(|row| (0..side).map(move |column| (column, row)))
            .map(|(column, row)| pixel(at(column), at(row)))
            .collect()
    }

    /// Signed distance to the mug's outline in pixels, negative inside.
    pub(crate) fn distance(&self, x: f64, y: f64) -> f64 {
        let beside = (x - self.centre).abs() - self.radius;
        let wall = beside.max(self.top - y).max(y - self.bottom);
        let ends = self.ellipse(x, y, self.top, 1.0).min(self.ellipse(x, y, self.bottom, 1.0));
        wall.min(ends).min(self.handle(x, y)) * f64::from(self.side)
    }

    fn ellipse(&self, x: f64, y: f64, middle: f64, scale: f64) -> f64 {
        let (wide, high) = (self.radius * scale, self.radius * scale * TILT);
        let (u, v) = ((x - self.centre) / wide, (y - middle) / high);
        let length = u.hypot(v).max(1e-9);
        // distance to first order: the level divided by its slope
        (length - 1.0) * length / (u / wide).hypot(v / high).max(1e-9)
    }

    fn handle(&self, x: f64, y: f64) -> f64 {
        (self.off_handle(x, y).abs() - 0.024).max(self.centre - x)
    }

    /// Distance to the line that the handle is bent along, negative on its inner side.
    fn off_handle(&self, x: f64, y: f64) -> f64 {
        let middle = f64::midpoint(self.top, self.bottom) - 0.01;
        (x - self.centre - self.radius * 1.02).hypot((y - middle) * 0.85) - 0.125
    }

    /// The mug's colour: a lit cylinder with a highlight, a hand-painted band and a dark inside.
    pub(crate) fn colour(&self, x: f64, y: f64) -> [f64; 3] {
        if self.ellipse(x, y, self.top, 0.91) < 0.0 {
            let depth = ((y - self.top) / self.radius / TILT + 1.0) / 2.0;
            return self.glaze.map(|c| c * (0.30 + 0.35 * depth));
        }
        if self.ellipse(x, y, self.top, 1.0) < 0.0 {
            return self.glaze.map(|c| c * 0.6 + 0.34);
        }
        if x - self.centre > self.radius {
            let round = (self.off_handle(x, y) / 0.024).clamp(-1.0, 1.0);
            let light = 0.30 + 0.55 * (1.0 - round * round).sqrt() - 0.12 * round;
            return self.glaze.map(|c| c * light);
        }
        let across = ((x - self.centre) / self.radius).clamp(-1.0, 1.0);
        let towards = (1.0 - across * across).sqrt();
        let light = (0.80 * towards - 0.55 * across).max(0.0);
        let highlight = (-(across + 0.52).powi(2) * 90.0).exp() * 0.30;
        // the wall's height follows the ellipses' curve, so that the band runs around the mug
        let height = (y - towards * self.radius * TILT - self.top) / (self.bottom - self.top);
        let turn = across.asin();
        let painted = (0.42..0.66).contains(&height)
            && ((turn * 14.0).sin() > 0.25) != ((height * 60.0).sin() > 0.3);
        let lines = (height - 0.38).abs() < 0.012 || (height - 0.70).abs() < 0.012;
        let base = if painted || lines { [0.90, 0.88, 0.80] } else { self.glaze };
        base.map(|c| c * (0.34 + 0.72 * light) + highlight)
    }

    /// The white sweep with the mug's shadow: dense where it stands, soft to the right.
    pub(crate) fn sweep(&self, x: f64, y: f64) -> f64 {
        let foot = self.bottom + self.radius * TILT * 0.55;
        let contact = ((x - self.centre) / (self.radius * 1.02), (y - foot) / 0.035);
        let cast = ((x - self.centre - 0.10) / (self.radius * 1.35), (y - foot + 0.005) / 0.055);
        let soft = |(u, v): (f64, f64)| (-(u * u + v * v).powi(2)).exp();
        0.985 - 0.42 * soft(contact) - 0.16 * soft(cast)
    }
}

pub(crate) fn coverage(distance_px: f64) -> f64 {
    (0.5 - distance_px).clamp(0.0, 1.0)
}

pub(crate) fn mix(from: [f64; 3], to: [f64; 3], share: f64) -> [f64; 3] {
    std::array::from_fn(|i| from[i] + (to[i] - from[i]) * share)
}

pub(crate) fn byte(level: f64) -> u8 {
    let level = (level.clamp(0.0, 1.0) * 255.0).round();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped above")]
    let byte = level as u8;
    byte
}

/// Film grain that is the same on every run (`SplitMix64`).
pub(crate) struct Grain(pub(crate) u64);

impl Grain {
    pub(crate) fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let high = u32::try_from((bits ^ (bits >> 31)) >> 32).expect("32 bits");
        f64::from(high) / f64::from(u32::MAX)
    }

    /// Two levels of 255 either way.
    fn next(&mut self) -> f64 {
        (self.unit() - 0.5) * 4.0 / 255.0
    }
}

#[test]
fn a_seed_draws_the_same_picture_every_time_and_another_seed_another() {
    assert_eq!(product_jpeg(3), product_jpeg(3));
    assert_ne!(product_jpeg(3), product_jpeg(4));
    assert_ne!(cutout_png(3), halo_png(3));
    assert!(blank_png().starts_with(b"\x89PNG"));
}

/// The drawn files in `tests/fixtures`. A missing one is drawn anew: delete, run, look, commit.
#[test]
fn the_fixtures_are_what_this_code_draws() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let fixtures = [
        ("mug.jpg", photo_jpeg(900, 0)),
        ("mug-halo.png", cut_png(600, 0, 3.0)),
        ("blank.png", blank_png()),
    ];
    for (name, drawn) in fixtures {
        let path = folder.join(name);
        let Ok(kept) = std::fs::read(&path) else {
            std::fs::write(&path, &drawn).expect("tests/fixtures can be written");
            panic!("{name} was missing and has been drawn anew: look at it and run again");
        };
        let open = |bytes: &[u8]| image::load_from_memory(bytes).expect("a picture").to_rgba8();
        let (kept, drawn) = (open(&kept), open(&drawn));
        assert_eq!(kept.dimensions(), drawn.dimensions(), "{name}");
        // another platform's sine may round differently: a level here and there, never a shape
        let off = kept.iter().zip(drawn.iter()).filter(|(a, b)| a.abs_diff(**b) > 8).count();
        assert!(off < kept.len() / 500, "{name}: {off} samples are off");
    }
}

/// The drawn pictures promise what other tests rely on: measured here with the product-photo
/// policy's thresholds, and judged by `local` at its `pass_at`.
#[tokio::test]
async fn the_drawn_pictures_measure_as_they_promise() {
    for seed in 0..6 {
        check((&product_jpeg(seed), "white"), &[], Some(true)).await;
        check((&cutout_png(seed), "transparent"), &[], Some(true)).await;
        check((&halo_png(seed), "transparent"), &["halo"], Some(false)).await;
    }
    check((&photo_jpeg(900, 0), "white"), &[], Some(true)).await;
    check((&cut_png(600, 0, 3.0), "transparent"), &["halo"], Some(false)).await;
    check((&blank_png(), "scene"), &["not-blank"], None).await;
}

#[tokio::test]
async fn the_fixtures_measure_as_they_promise() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let read = |name: &str| std::fs::read(folder.join(name)).expect("a fixture");
    check((&read("mug.jpg"), "white"), &[], Some(true)).await;
    check((&read("mug-halo.png"), "transparent"), &["halo"], Some(false)).await;
    check((&read("blank.png"), "scene"), &["not-blank"], None).await;
}

/// Checks that see a drawing as what it is.
const OF_DRAWINGS: [&str; 2] = ["banded", "hard-edge"];

/// Holds a picture to the checks it breaks and to whether `local` passes all that it can tell.
async fn check((bytes, background): (&[u8], &str), breaks: &[&str], passes: Option<bool>) {
    let prepared = prepared(bytes, background).await;
    let counts = |finding: &&Finding| !OF_DRAWINGS.contains(&finding.check.as_str());
    let broken: Vec<&str> = prepared
        .findings
        .iter()
        .filter(|finding| !finding.passed)
        .filter(counts)
        .map(|finding| finding.check.as_str())
        .collect();
    assert_eq!(broken, breaks, "{:?}", prepared.findings);
    let Some(passes) = passes else { return };
    let criteria: [(&str, f64, &[Measure]); 3] = [
        ("cutout", 0.70, &[Measure::EdgeHalo, Measure::Residue, Measure::EdgeNoise]),
        ("edge_artifacts", 0.75, &[Measure::EdgeNoise, Measure::Sharpness, Measure::Border]),
        ("contact_shadow", 0.60, &[Measure::ContactShadow]),
    ];
    let asked = criteria.map(|(id, _, measured_by)| Asked {
        id: id.to_owned(),
        ask: String::new(),
        measured_by: measured_by.to_vec(),
    });
    let question = Question {
        criteria: asked.to_vec(),
        system: String::new(),
        user: String::new(),
        views: prepared.views,
        measurements: prepared.measurements,
        reason_chars: 160,
        max_output_tokens: 300,
        struck: Struck::default(),
        early: true,
    };
    let deadline = Deadline::after(Duration::from_secs(1));
    let answered = LocalJudge::new().judge(&question, deadline).await.expect("a judgement");
    let below = |said: &&Score| {
        let pass_at = criteria.iter().find(|(id, ..)| *id == said.criterion).map(|one| one.1);
        said.score.is_some_and(|score| score < pass_at.expect("an asked criterion"))
    };
    let failed: Vec<&Score> = answered.judgement.scores.iter().filter(below).collect();
    assert_eq!(failed.is_empty(), passes, "{failed:?}");
}

/// A picture held to the shipped policy's checks for this background.
pub(crate) async fn prepared(bytes: &[u8], background: &str) -> Prepared {
    let policy = PolicyFiles::shipped().load_one("product-photo.yaml", None).expect("the policy");
    let sent = BTreeMap::from([("background".to_owned(), background.to_owned())]);
    let checks = policy.checks(&policy.vars(&sent).expect("a background"));
    let view =
        ViewSpec { id: "whole".to_owned(), around: None, region: Region::WHOLE, max_side_px: 64 };
    let encode = Encoding { quality: 85, flatten_alpha: [255; 3] };
    let plan = Plan { max_pixels: 40_000_000, checks, views: vec![view], encode, measures: true };
    let candidate = Candidate::admit(bytes.to_vec().into(), &Format::ALL, 12 << 20);
    let settings = Settings { max_decode_time: Duration::from_secs(20), ..Settings::default() };
    let imaging = Imaging::new(settings).expect("threads");
    let deadline = Deadline::after(Duration::from_secs(60));
    let prepared = imaging.prepare(candidate.expect("admitted"), Arc::new(plan), deadline).await;
    prepared.expect("a picture that can be read")
}
