//! The two builds of the image path, with the codecs in C and without them, see the same picture.
//!
//! One binary has one build, so both are held to one file: findings of drawn pictures in every form
//! that takes a path of its own, kept in `tests/fixtures/findings.json`. After a change of a check
//! `VLMGATE_FINDINGS=write cargo test --test it codecs` writes it anew: look at the difference.
//! The corpus beside the project is compared by one build after the other:
//! `VLMGATE_CORPUS_FINDINGS=target/findings.json cargo test --test it codecs [--features …]`; the
//! first run writes the file, the second is held to it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use image::{ExtendedColorType, ImageEncoder, RgbImage, RgbaImage};
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
use serde::{Deserialize, Serialize};
use vlmgate::clock::Deadline;
use vlmgate::domain::policy::{Region, ViewSpec};
use vlmgate::domain::{Candidate, Format};
use vlmgate::imaging::{Imaging, Plan, PrepareError, Prepared, Settings};

use crate::{corpus, drawn};

/// What is compared of one picture.
#[derive(Debug, Deserialize, Serialize)]
struct Seen {
    /// Why it was refused.
    refused: Option<String>,
    /// Upright.
    size: (u32, u32),
    /// Of every check: value, unit, whether it passed.
    findings: BTreeMap<String, (Option<f64>, String, bool)>,
    /// In order.
    views: Vec<SeenView>,
}

/// A view's size, and the mean colour of each of its fields.
type SeenView = ((u32, u32), Vec<[u8; 3]>);

/// How far a finding may lie from another of the same picture: colours are computed with other
/// roundings, and a JPEG is made smaller inside its transform or after it.
fn tolerance(check: &str, value: f64, unit: &str) -> f64 {
    match unit {
        // a share of places, of which a picture may have a dozen: three of them
        "ratio" if ["banded", "blocky"].contains(&check) => 0.1 + value.abs() * 0.15,
        "px" => 0.0,
        "ratio" => 0.02 + value.abs() * 0.15,
        "levels" => 1.0,
        "bits" => 2.0,
        "count" => 0.0,
        // a mean of four pixels takes a decibel off the finest waves, a transform cut short does not
        "dB" => 1.5,
        // of slopes, that is, of what scaling changes first
        "variance" => 3.0 + value.abs() * 0.25,
        _ => 0.02 + value.abs() * 0.10,
    }
}

/// Levels between two fields' mean colours.
const FIELD_LEVELS: u8 = 4;

/// The least side of a field, in pixels: two blocks of colours held at half the resolution. In less
/// than that two encoders round to colours that lie far apart.
const FIELD_PX: u32 = 32;

/// Of all findings in the corpus, how many may pass in one build and fail in the other. A value on
/// its line falls to either side of it; what is held is that it lies on the line in both.
const MAX_DIVIDED: usize = 2;

/// Of all findings in the corpus, how many may lie far from the other build's: of a picture that is
/// noise from pixel to pixel, what is left of it hangs on how it is made smaller.
const MAX_FAR: usize = 1;

impl Seen {
    fn of(outcome: Result<&Prepared, &PrepareError>) -> Self {
        match outcome {
            Err(why) => {
                let PrepareError::Inadmissible(why) = why else { panic!("{why}") };
                let refused = Some(why.label().to_owned());
                Self { refused, size: (0, 0), findings: BTreeMap::new(), views: Vec::new() }
            }
            Ok(prepared) => {
                let finding = |one: &vlmgate::domain::Finding| {
                    (one.check.clone(), (one.value, one.unit.to_owned(), one.passed))
                };
                let view = |view: &vlmgate::imaging::View| {
                    ((view.width_px, view.height_px), fields(&view.jpeg.decoded()))
                };
                Self {
                    refused: None,
                    size: (prepared.width_px, prepared.height_px),
                    findings: prepared.findings.iter().map(finding).collect(),
                    views: prepared.views.iter().map(view).collect(),
                }
            }
        }
    }

    /// Which checks pass in one and fail in the other.
    fn divided<'a>(&'a self, other: &Self) -> Vec<&'a str> {
        let is_divided = |(check, (_, _, passed)): &(&String, &(Option<f64>, String, bool))| {
            other.findings.get(*check).is_some_and(|(_, _, known)| passed != known)
        };
        self.findings.iter().filter(is_divided).map(|(check, _)| check.as_str()).collect()
    }

    /// Every value of `self` that is not near that in `other`.
    fn differences(&self, other: &Self) -> Vec<String> {
        let mut found = Vec::new();
        if (&self.refused, self.size) != (&other.refused, other.size) {
            found.push(format!(
                "{:?}, not {:?}",
                (&self.refused, self.size),
                (&other.refused, other.size)
            ));
            return found;
        }
        for (check, (value, unit, _)) in &self.findings {
            let Some((known, _, _)) = other.findings.get(check) else {
                found.push(format!("{check} is new"));
                continue;
            };
            let is_near = match (value, known) {
                (Some(value), Some(known)) => {
                    (value - known).abs() <= tolerance(check, *known, unit)
                }
                (value, known) => value.is_none() && known.is_none(),
            };
            if !is_near {
                found.push(format!("{check}: {value:?} {unit}, not {known:?}"));
            }
        }
        for (at, (view, known)) in self.views.iter().zip(&other.views).enumerate() {
            let levels = view.1.iter().flatten().zip(known.1.iter().flatten());
            let far = levels.map(|(one, other)| one.abs_diff(*other)).max();
            if view.0 != known.0 || Some(FIELD_LEVELS) < far {
                found.push(format!("view {at}: {:?}, not {:?}; {far:?} levels", view.0, known.0));
            }
        }
        found
    }
}

/// The mean colours of the fields of a JPEG, row by row: 4 x 4, fewer where it is small, or none.
fn fields(jpeg: &[u8]) -> Vec<[u8; 3]> {
    let image = image::load_from_memory(jpeg).expect("a view").to_rgb8();
    let (width, height) = image.dimensions();
    let [columns, rows] = [width, height].map(|side_px| (side_px / FIELD_PX).min(4));
    let field = |at: u32| {
        let (column, row) = (at % columns, at / columns);
        let (left, top) = (column * width / columns, row * height / rows);
        let (right, below) = ((column + 1) * width / columns, (row + 1) * height / rows);
        let mut sums = [0_u64; 4];
        for (x, y) in (top..below).flat_map(|y| (left..right).map(move |x| (x, y))) {
            let pixel = image.get_pixel(x, y);
            sums.iter_mut().zip(pixel.0).for_each(|(sum, level)| *sum += u64::from(level));
            sums[3] += 1;
        }
        [0, 1, 2].map(|channel: usize| u8::try_from(sums[channel] / sums[3]).expect("a level"))
    };
    (0..columns * rows).map(field).collect()
}

/// The drawn mug in every form that is decoded in a way of its own.
fn forms() -> Vec<(&'static str, Vec<u8>)> {
    let photo = image::load_from_memory(&drawn::photo_jpeg(900, 0)).expect("the photo").to_rgb8();
    let cut = image::load_from_memory(&drawn::cut_png(600, 0, 3.0)).expect("a cutout").to_rgba8();
    let grey = image::DynamicImage::ImageRgb8(photo.clone()).to_luma8();
    let wide_gamut = moxcms::ColorProfile::new_display_p3().encode().expect("a profile");
    let usual = moxcms::ColorProfile::new_srgb().encode().expect("a profile");
    let fixture = |name: &str| std::fs::read(fixtures().join(name)).expect("a fixture");
    vec![
        ("jpeg 4:2:0", drawn::photo_jpeg(900, 0)),
        // large enough to be made smaller while it is decoded
        ("jpeg large", drawn::photo_jpeg(2_100, 0)),
        ("jpeg 4:4:4", jpeg(&photo, SamplingFactor::F_1_1, |_| {})),
        ("jpeg 4:2:2", jpeg(&photo, SamplingFactor::F_2_1, |_| {})),
        ("jpeg 4:4:0", jpeg(&photo, SamplingFactor::F_1_2, |_| {})),
        ("jpeg progressive", jpeg(&photo, SamplingFactor::F_2_2, |to| to.set_progressive(true))),
        (
            "jpeg turned",
            jpeg(&photo, SamplingFactor::F_2_2, |to| {
                to.add_exif_metadata(&drawn_exif(6)).expect("room");
            }),
        ),
        (
            "jpeg with a wide gamut",
            jpeg(&photo, SamplingFactor::F_2_2, |to| {
                to.add_icc_profile(&wide_gamut).expect("room");
            }),
        ),
        (
            "jpeg with the usual gamut",
            jpeg(&photo, SamplingFactor::F_2_2, |to| {
                to.add_icc_profile(&usual).expect("room");
            }),
        ),
        ("jpeg grey", {
            let mut bytes = Vec::new();
            Encoder::new(&mut bytes, 90).encode(&grey, 900, 900, ColorType::Luma).expect("grey");
            bytes
        }),
        ("jpeg cut off", drawn::photo_jpeg(900, 0)[..20_000].to_vec()),
        ("jpeg broken inside", {
            let mut bytes = drawn::photo_jpeg(900, 0);
            let at = bytes.len() / 2;
            bytes[at..at + 600].fill(0x5A);
            bytes
        }),
        ("png rgb", png(&photo, (900, 900), ExtendedColorType::Rgb8)),
        ("png grey", png(&grey, (900, 900), ExtendedColorType::L8)),
        ("png rgba", png(&cut, (600, 600), ExtendedColorType::Rgba8)),
        ("webp lossless", lossless(&cut)),
        ("webp lossy", fixture("mug.webp")),
        ("webp cut off", fixture("mug.webp")[..8_000].to_vec()),
    ]
}

fn jpeg(
    image: &RgbImage,
    factor: SamplingFactor,
    with: impl FnOnce(&mut Encoder<&mut Vec<u8>>),
) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, 90);
    encoder.set_sampling_factor(factor);
    with(&mut encoder);
    let side = |px: u32| u16::try_from(px).expect("a side");
    let (width, height) = (side(image.width()), side(image.height()));
    encoder.encode(image, width, height, ColorType::Rgb).expect("a JPEG");
    bytes
}

fn png(pixels: &[u8], (width, height): (u32, u32), colour: ExtendedColorType) -> Vec<u8> {
    let mut bytes = Vec::new();
    let encoder = image::codecs::png::PngEncoder::new(&mut bytes);
    encoder.write_image(pixels, width, height, colour).expect("a PNG");
    bytes
}

fn lossless(image: &RgbaImage) -> Vec<u8> {
    let mut bytes = Vec::new();
    let encoder = image::codecs::webp::WebPEncoder::new_lossless(&mut bytes);
    let (width, height) = image.dimensions();
    encoder.write_image(image, width, height, ExtendedColorType::Rgba8).expect("a WebP");
    bytes
}

/// An EXIF block that holds the orientation alone.
fn drawn_exif(orientation: u8) -> Vec<u8> {
    let mut block = b"MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    block.extend([orientation, 0, 0, 0, 0, 0, 0]);
    block
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// Views at a quarter, at a half and, of a part, in the file's own pixels.
fn views() -> Vec<ViewSpec> {
    let view = |id: &str, region, max_side_px| ViewSpec {
        id: id.to_owned(),
        around: None,
        region,
        max_side_px,
    };
    let foot = Region { left: 0.2, top: 0.6, width: 0.6, height: 0.3 };
    vec![view("whole", Region::WHOLE, 448), view("foot", foot, 200)]
}

async fn seen(imaging: &Imaging, bytes: Vec<u8>, plan: &Arc<Plan>) -> Seen {
    let outcome = match Candidate::admit(bytes.into(), &Format::ALL, 64 << 20) {
        Err(why) => Err(PrepareError::Inadmissible(why)),
        Ok(candidate) => {
            let deadline = Deadline::after(Duration::from_secs(60));
            imaging.prepare(candidate, Arc::clone(plan), deadline).await
        }
    };
    Seen::of(outcome.as_ref())
}

#[tokio::test]
async fn both_builds_find_the_same_in_drawn_pictures() {
    let plan = Arc::new(Plan { views: views(), ..Plan::clone(&corpus::plan([])) });
    let imaging = corpus::imaging();
    let mut all = BTreeMap::new();
    for (form, bytes) in forms() {
        all.insert(form.to_owned(), seen(&imaging, bytes, &plan).await);
    }
    let path = fixtures().join("findings.json");
    if std::env::var_os("VLMGATE_FINDINGS").is_some_and(|value| value == "write") {
        let text = serde_json::to_string_pretty(&all).expect("JSON");
        std::fs::write(&path, text + "\n").expect("tests/fixtures can be written");
    }
    let known = std::fs::read(&path).expect("tests/fixtures/findings.json");
    hold(&all, &serde_json::from_slice(&known).expect("findings"), (0, 0));
}

#[tokio::test]
async fn both_builds_find_the_same_in_the_corpus() {
    let Some(path) = std::env::var_os("VLMGATE_CORPUS_FINDINGS") else {
        println!("SKIPPED: VLMGATE_CORPUS_FINDINGS names no file");
        return;
    };
    let Some(entries) = corpus::corpus("") else { return };
    let plan = Arc::new(Plan { views: views(), ..Plan::clone(&corpus::plan([])) });
    let imaging = Imaging::new(Settings { threads: 2, ..corpus::settings() }).expect("two threads");
    let looked_at = |entry: corpus::Entry| {
        let (imaging, plan) = (&imaging, &plan);
        async move { (entry.get("file").to_owned(), seen(imaging, entry.bytes.to_vec(), plan).await) }
    };
    let all = stream::iter(entries).map(looked_at).buffer_unordered(2);
    let all: BTreeMap<String, Seen> = all.collect().await;
    match std::fs::read(&path) {
        Ok(known) => {
            hold(&all, &serde_json::from_slice(&known).expect("findings"), (MAX_FAR, MAX_DIVIDED));
        }
        Err(_) => {
            let text = serde_json::to_string(&all).expect("JSON");
            std::fs::write(&path, text).expect("the file can be written");
            println!("{} pictures written: run the other build now", all.len());
        }
    }
}

/// Holds values to the known ones and checks to the same side of their line, all but so many.
fn hold(
    all: &BTreeMap<String, Seen>,
    known: &BTreeMap<String, Seen>,
    (max_far, max_divided): (usize, usize),
) {
    let (mut found, mut divided) = (Vec::new(), Vec::new());
    for (form, seen) in all {
        let Some(known) = known.get(form) else {
            found.push(format!("{form}: nothing is known of it"));
            continue;
        };
        found.extend(seen.differences(known).iter().map(|what| format!("{form}: {what}")));
        divided.extend(seen.divided(known).iter().map(|check| format!("{form}: {check}")));
    }
    println!("{} pictures, far: {found:#?}, on their line: {divided:?}", all.len());
    assert!(found.len() <= max_far, "{} are far", found.len());
    assert!(divided.len() <= max_divided, "{} are divided", divided.len());
    assert_eq!(all.len(), known.len(), "what is known of more pictures is stale");
}
