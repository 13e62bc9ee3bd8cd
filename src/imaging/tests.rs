//! Small files written in code, each with one thing about it that decoding has to get right.

use bytes::Bytes;
use image::codecs::png::PngEncoder;
use image::codecs::webp::WebPEncoder;
use image::metadata::Orientation;
use image::{ExtendedColorType, ImageEncoder};
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
use moxcms::ColorProfile;

use super::*;
use crate::domain::policy::Region;
use crate::domain::{Format, OnFail};

const WIDE: u16 = 48;
const HIGH: u16 = 32;

/// Four flat quarters: red and green above, blue and white below.
fn quarters() -> Vec<u8> {
    let pixel = |x: u16, y: u16| match (x < WIDE / 2, y < HIGH / 2) {
        (true, true) => [200, 20, 20],
        (false, true) => [20, 180, 20],
        (true, false) => [20, 20, 200],
        (false, false) => [250, 250, 250],
    };
    (0..HIGH).flat_map(|y| (0..WIDE).flat_map(move |x| pixel(x, y))).collect()
}

fn jpeg(
    pixels: &[u8],
    colour: ColorType,
    with: impl FnOnce(&mut Encoder<&mut Vec<u8>>),
) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, 95);
    encoder.set_sampling_factor(SamplingFactor::F_1_1);
    with(&mut encoder);
    encoder.encode(pixels, WIDE, HIGH, colour).unwrap();
    bytes
}

fn png(pixels: &[u8], colour: ExtendedColorType) -> Vec<u8> {
    let mut bytes = Vec::new();
    PngEncoder::new(&mut bytes).write_image(pixels, WIDE.into(), HIGH.into(), colour).unwrap();
    bytes
}

/// An EXIF block that holds the orientation alone.
fn exif(orientation: u8) -> Vec<u8> {
    let mut block = b"MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    block.extend([orientation, 0, 0, 0, 0, 0, 0]);
    block
}

/// A PNG from its chunks; the checksums are computed.
fn png_of(chunks: &[(&[u8; 4], Vec<u8>)]) -> Vec<u8> {
    let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
    for (kind, body) in chunks {
        bytes.extend(u32::try_from(body.len()).unwrap().to_be_bytes());
        bytes.extend(*kind);
        bytes.extend(body);
        let mut crc = u32::MAX;
        for byte in kind.iter().chain(body) {
            crc ^= u32::from(*byte);
            for _ in 0..8 {
                crc = if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 };
            }
        }
        bytes.extend((!crc).to_be_bytes());
    }
    bytes
}

fn header(width: u32, height: u32, depth: u8, colour: u8) -> Vec<u8> {
    let mut body = [width.to_be_bytes(), height.to_be_bytes()].concat();
    body.extend([depth, colour, 0, 0, 0]);
    body
}

/// A zlib stream that stores `raw` as it is.
fn stored(raw: &[u8]) -> Vec<u8> {
    let length = u16::try_from(raw.len()).unwrap();
    let (mut one, mut two) = (1_u32, 0_u32);
    for byte in raw {
        one = (one + u32::from(*byte)) % 65_521;
        two = (two + one) % 65_521;
    }
    let (length, inverse) = (length.to_le_bytes(), (!length).to_le_bytes());
    let sum = (two << 16 | one).to_be_bytes();
    [&[0x78, 0x01, 0x01], &length[..], &inverse[..], raw, &sum[..]].concat()
}

fn plan(views: Vec<ViewSpec>, flatten_alpha: [u8; 3]) -> Arc<Plan> {
    let encode = Encoding { quality: 95, flatten_alpha };
    Arc::new(Plan { max_pixels: 1_000_000, checks: Vec::new(), views, encode, measures: true })
}

fn whole(max_side_px: u32) -> ViewSpec {
    ViewSpec { id: "whole".to_owned(), around: None, region: Region::WHOLE, max_side_px }
}

fn settings() -> Settings {
    let max_decode_time = Duration::from_secs(20);
    Settings { threads: 1, max_decoded_bytes: 16 << 20, max_decode_time, ..Settings::default() }
}

async fn prepared(bytes: Vec<u8>, plan: Arc<Plan>) -> Result<Prepared, PrepareError> {
    let candidate = Candidate::admit(bytes.into(), &Format::ALL, 1 << 20).unwrap();
    let deadline = Deadline::after(Duration::from_secs(30));
    Imaging::new(settings()).unwrap().prepare(candidate, plan, deadline).await
}

/// The picture as a judge sees it, laid on `ground`: its size and a look at any place.
async fn seen(bytes: Vec<u8>, ground: [u8; 3]) -> image::RgbImage {
    let prepared = prepared(bytes, plan(vec![whole(4_096)], ground)).await.unwrap();
    shown(&prepared.views[0])
}

fn shown(view: &View) -> image::RgbImage {
    let image = image::load_from_memory(&view.jpeg.decoded()).unwrap().to_rgb8();
    assert_eq!((image.width(), image.height()), (view.width_px, view.height_px));
    image
}

#[track_caller]
fn assert_near(image: &image::RgbImage, place: (u32, u32), colour: [u8; 3]) {
    let pixel = image.get_pixel(place.0, place.1).0;
    assert!(is_near(image, place, colour), "{pixel:?} at {place:?}, expected {colour:?}");
}

fn is_near(image: &image::RgbImage, (x, y): (u32, u32), colour: [u8; 3]) -> bool {
    let pixel = image.get_pixel(x, y).0;
    pixel.iter().zip(colour).all(|(one, other)| one.abs_diff(other) <= 8)
}

const RED: [u8; 3] = [200, 20, 20];
const GREEN: [u8; 3] = [20, 180, 20];
const BLUE: [u8; 3] = [20, 20, 200];
const WHITE: [u8; 3] = [250, 250, 250];

/// The four corners from the upper left, row by row.
#[track_caller]
fn assert_corners(image: &image::RgbImage, corners: [[u8; 3]; 4]) {
    let (right, bottom) = (image.width() - 6, image.height() - 6);
    for (place, colour) in [(6, 6), (right, 6), (6, bottom), (right, bottom)].iter().zip(corners) {
        assert_near(image, *place, colour);
    }
}

/// What the corners become when a viewer turns the stored picture as EXIF says.
const TURNED: [[[u8; 3]; 4]; 8] = [
    [RED, GREEN, BLUE, WHITE],
    [GREEN, RED, WHITE, BLUE],
    [WHITE, BLUE, GREEN, RED],
    [BLUE, WHITE, RED, GREEN],
    [RED, BLUE, GREEN, WHITE],
    [BLUE, RED, WHITE, GREEN],
    [WHITE, GREEN, BLUE, RED],
    [GREEN, WHITE, RED, BLUE],
];

#[tokio::test]
async fn all_eight_orientations_are_turned_upright_in_all_three_formats() {
    for (number, corners) in (1_u8..).zip(TURNED) {
        let metadata = exif(number);
        let jpeg = jpeg(&quarters(), ColorType::Rgb, |encoder| {
            encoder.add_exif_metadata(&metadata).unwrap();
        });
        let rgb = ExtendedColorType::Rgb8;
        let mut png = Vec::new();
        let mut encoder = PngEncoder::new(&mut png);
        encoder.set_exif_metadata(metadata.clone()).unwrap();
        encoder.write_image(&quarters(), WIDE.into(), HIGH.into(), rgb).unwrap();
        let mut webp = Vec::new();
        let mut encoder = WebPEncoder::new_lossless(&mut webp);
        encoder.set_exif_metadata(metadata).unwrap();
        encoder.write_image(&quarters(), WIDE.into(), HIGH.into(), rgb).unwrap();
        let lies = 5 <= number;
        for bytes in [jpeg, png, webp] {
            let image = seen(bytes, [0; 3]).await;
            let (wide, high) = (u32::from(WIDE), u32::from(HIGH));
            let size = if lies { (high, wide) } else { (wide, high) };
            assert_eq!((image.width(), image.height()), size, "orientation {number}");
            assert_corners(&image, corners);
        }
    }
}

#[tokio::test]
async fn an_orientation_outside_one_to_eight_is_upright() {
    for number in [0, 9, 200] {
        let metadata = exif(number);
        let bytes = jpeg(&quarters(), ColorType::Rgb, |encoder| {
            encoder.add_exif_metadata(&metadata).unwrap();
        });
        assert_corners(&seen(bytes, [0; 3]).await, TURNED[0]);
    }
}

#[test]
fn an_orientation_is_found_in_xmp_as_attribute_and_as_element() {
    let found = |packet: &[u8]| decoded::xmp_orientation(packet);
    assert_eq!(found(b"<x tiff:Orientation=\"3\"/>"), Some(Orientation::Rotate180));
    assert_eq!(found(b"<tiff:Orientation>6</tiff:Orientation>"), Some(Orientation::Rotate90));
    assert_eq!(found(b"<x/>"), None);
}

#[tokio::test]
async fn cmyk_and_ycck_are_read_with_adobe_s_inversion_and_without_it() {
    // inks of the four quarters, 255 is full ink
    let inks: Vec<u8> = quarters()
        .chunks_exact(3)
        .flat_map(|pixel| [255 - pixel[0], 255 - pixel[1], 255 - pixel[2], 0])
        .collect();
    for colour in [ColorType::Cmyk, ColorType::CmykAsYcck] {
        let bytes = jpeg(&inks, colour, |_| {});
        assert_corners(&seen(bytes, [0; 3]).await, TURNED[0]);
    }
    // without Adobe's marker the same samples mean the opposite: no ink is full ink
    let plain = without_segment(&jpeg(&inks, ColorType::Cmyk, |_| {}), 0xEE);
    let image = seen(plain, [0; 3]).await;
    assert_near(&image, (6, 6), [0, 0, 0]);
}

fn without_segment(bytes: &[u8], marker: u8) -> Vec<u8> {
    let at = bytes.windows(2).position(|pair| pair == [0xFF, marker]).unwrap();
    let length = usize::from(u16::from_be_bytes([bytes[at + 2], bytes[at + 3]]));
    [&bytes[..at], &bytes[at + 2 + length..]].concat()
}

#[tokio::test]
async fn a_profile_is_applied_and_a_broken_or_unfit_one_is_ignored() {
    let with = |profile: Vec<u8>| {
        jpeg(&quarters(), ColorType::Rgb, |encoder| {
            encoder.add_icc_profile(&profile).unwrap();
        })
    };
    let wide = seen(with(ColorProfile::new_display_p3().encode().unwrap()), [0; 3]).await;
    let [red, green, _] = wide.get_pixel(6, 6).0;
    assert!(red > 210 && green < 15, "P3's red is redder than sRGB's: {red} {green}");
    let same = seen(with(ColorProfile::new_srgb().encode().unwrap()), [0; 3]).await;
    assert_corners(&same, TURNED[0]);
    let grey = ColorProfile::new_gray_with_gamma(2.2).encode().unwrap();
    for profile in [grey, vec![7; 200], b"acsp".to_vec()] {
        assert_corners(&seen(with(profile), [0; 3]).await, TURNED[0]);
    }
}

#[tokio::test]
async fn grey_sixteen_bits_and_alpha_are_read() {
    let grey: Vec<u8> = vec![120; usize::from(WIDE) * usize::from(HIGH)];
    assert_near(&seen(jpeg(&grey, ColorType::Luma, |_| {}), [0; 3]).await, (9, 9), [120; 3]);
    let deep: Vec<u8> =
        quarters().iter().flat_map(|level| (u16::from(*level) * 257).to_ne_bytes()).collect();
    assert_corners(&seen(png(&deep, ExtendedColorType::Rgb16), [0; 3]).await, TURNED[0]);
    let half: Vec<u8> = grey.iter().flat_map(|level| [*level, 128]).collect();
    let half = png(&half, ExtendedColorType::La8);
    assert_near(&seen(half.clone(), [0; 3]).await, (9, 9), [60; 3]);
    assert_near(&seen(half, [255, 255, 0]).await, (9, 9), [187, 187, 60]);
}

#[tokio::test]
async fn a_palette_with_transparent_entries_is_laid_on_the_ground() {
    // 2 x 1 pixels of two palette entries; the second is see-through
    let bytes = png_of(&[
        (b"IHDR", header(2, 1, 8, 3)),
        (b"PLTE", [RED, GREEN].concat()),
        (b"tRNS", vec![255, 0]),
        (b"IDAT", stored(&[0, 0, 1])),
        (b"IEND", Vec::new()),
    ]);
    let view = plan(vec![whole(2)], [90, 90, 90]);
    let seen = prepared(bytes, view).await.unwrap();
    assert_eq!((seen.width_px, seen.height_px), (2, 1));
    let image = shown(&seen.views[0]);
    // chroma is shared by both pixels, so their luma is what tells them apart
    let luma = |x: u32| image.get_pixel(x, 0).0.iter().map(|level| u32::from(*level)).sum::<u32>();
    assert!(luma(1).abs_diff(270) < 60 && luma(0).abs_diff(luma(1)) > 10, "{image:?}");
}

#[tokio::test]
async fn a_crop_shows_its_part_and_nothing_is_enlarged() {
    let part = |id: &str, left, top, max_side_px| ViewSpec {
        id: id.to_owned(),
        around: None,
        region: Region { left, top, width: 0.5, height: 0.5 },
        max_side_px,
    };
    let views = vec![
        part("right above", 0.5, 0.0, 1_000),
        part("left below", 0.0, 0.5, 12),
        whole(24),
        ViewSpec { id: "again".to_owned(), ..whole(24) },
    ];
    let bytes = jpeg(&quarters(), ColorType::Rgb, |_| {});
    let prepared = prepared(bytes, plan(views, [0; 3])).await.unwrap();
    let sizes: Vec<_> = prepared.views.iter().map(|one| (one.width_px, one.height_px)).collect();
    assert_eq!(sizes, [(24, 16), (12, 8), (24, 16), (24, 16)]);
    assert_near(&shown(&prepared.views[0]), (12, 8), GREEN);
    assert_near(&shown(&prepared.views[1]), (6, 4), BLUE);
    let [.., one, again] = &prepared.views[..] else { panic!("four views") };
    assert_eq!((again.id.as_str(), &one.jpeg), ("again", &again.jpeg));
    let [one, again] = [one, again].map(|view| view.jpeg.as_str().as_ptr());
    assert_eq!(one, again, "the same part is encoded once");
}

#[tokio::test]
async fn a_view_carries_no_metadata() {
    let bytes = jpeg(&quarters(), ColorType::Rgb, |encoder| {
        encoder.add_exif_metadata(&exif(6)).unwrap();
        encoder.add_icc_profile(&ColorProfile::new_srgb().encode().unwrap()).unwrap();
    });
    let prepared = prepared(bytes, plan(vec![whole(64)], [0; 3])).await.unwrap();
    let view = &prepared.views[0];
    let holds = |word: &[u8]| view.jpeg.decoded().windows(word.len()).any(|window| window == word);
    assert!(!holds(b"Exif") && !holds(b"ICC_PROFILE"));
}

/// A plan that wants no pixels: the size alone is checked.
fn pixel_free(views: Vec<ViewSpec>) -> Plan {
    let kind = CheckKind::Size { min_width_px: 40, min_height_px: 40, aspect: None };
    let size = CheckSpec { id: "size".to_owned(), kind, when: None, on_fail: OnFail::Flag };
    let plan = Plan::clone(&plan(views, [0; 3]));
    Plan { checks: vec![size], measures: false, ..plan }
}

#[tokio::test]
async fn a_jpeg_of_which_nobody_wants_the_pixels_is_shown_as_it_came() {
    let bytes = jpeg(&quarters(), ColorType::Rgb, |encoder| {
        encoder.add_exif_metadata(&exif(1)).unwrap();
    });
    let views = vec![whole(48), ViewSpec { id: "again".to_owned(), ..whole(64) }];
    let made = prepared(bytes.clone(), Arc::new(pixel_free(views))).await.unwrap();
    assert_eq!((made.width_px, made.height_px), (48, 32));
    let [one, again] = &made.views[..] else { panic!("two views") };
    assert_eq!(shown(one), image::load_from_memory(&bytes).unwrap().to_rgb8(), "pixel by pixel");
    assert!(!one.jpeg.decoded().windows(4).any(|four| four == b"Exif"));
    assert_eq!((again.id.as_str(), &again.jpeg), ("again", &one.jpeg));
    // the size is known, and nothing else was measured
    assert_eq!((made.findings[0].value, made.findings[0].passed), (Some(32.0), false));
    assert_eq!((made.measurements, made.decode_ms), (Measurements::default(), 0.0));
}

#[tokio::test]
async fn a_jpeg_is_decoded_for_whatever_its_header_does_not_tell() {
    let bytes = jpeg(&quarters(), ColorType::Rgb, |_| {});
    let free = || pixel_free(vec![whole(48)]);
    let lower = Region { left: 0.0, top: 0.5, width: 1.0, height: 0.5 };
    let contrast = CheckSpec {
        id: "contrast".to_owned(),
        kind: CheckKind::Contrast { min_stddev: 1.0 },
        when: None,
        on_fail: OnFail::Flag,
    };
    let plans = [
        ("somebody measures", Plan { measures: true, ..free() }),
        ("a check looks at pixels", Plan { checks: vec![contrast], ..free() }),
        ("a view is smaller", Plan { views: vec![whole(48), whole(47)], ..free() }),
        (
            "a view is a part",
            Plan { views: vec![ViewSpec { region: lower, ..whole(48) }], ..free() },
        ),
    ];
    let (lean, sent) = (lean::Lean::of(&bytes).unwrap().bytes, bytes);
    for (why, plan) in plans {
        let made = prepared(sent.clone(), Arc::new(plan.clone())).await.unwrap();
        assert!(made.decode_ms > 0.0, "{why}");
        for (view, spec) in made.views.iter().zip(&plan.views) {
            // what is decoded to be measured need not be encoded again to be shown
            let as_it_came = *spec == whole(48);
            assert_eq!(view.jpeg.decoded() == lean, as_it_came, "{why}: {}", view.width_px);
        }
    }
    let few = Plan { max_pixels: 48 * 32 - 1, ..free() };
    let refused = prepared(sent.clone(), Arc::new(few)).await.unwrap_err();
    let is_large = matches!(
        refused,
        PrepareError::Inadmissible(Inadmissible::TooManyPixels { width_px: 48, .. })
    );
    assert!(is_large, "{refused}");
    let cut = sent[..sent.len() - 2].to_vec();
    let refused = prepared(cut, Arc::new(free())).await.unwrap_err();
    assert!(refused.to_string().contains("cut off"), "{refused}");
}

#[tokio::test]
async fn what_is_too_large_is_refused_from_its_header() {
    let bomb = png_of(&[(b"IHDR", header(30_000, 30_000, 1, 0)), (b"IDAT", stored(&[0; 9]))]);
    let mut claims = jpeg(&quarters(), ColorType::Rgb, |_| {});
    let frame = claims.windows(2).position(|pair| pair == [0xFF, 0xC0]).unwrap();
    claims[frame + 5..frame + 9].copy_from_slice(&[0xFF, 0xDC, 0xFF, 0xDC]);
    for bytes in [bomb, claims] {
        let refused = prepared(bytes, plan(Vec::new(), [0; 3])).await.unwrap_err();
        let PrepareError::Inadmissible(Inadmissible::TooManyPixels { limit_px, .. }) = refused
        else {
            panic!("{refused}");
        };
        assert_eq!(limit_px, 1_000_000);
    }
    // 998 x 998 pixels with alpha are few enough, but not in 3 MiB; nor are those without, and a profile
    let no_pixels = || (b"IDAT", stored(&[0; 9]));
    let profile = [b"p\0\0".as_slice(), &stored(&[0; 60_000]), &[0; 9]].concat();
    let deep = png_of(&[(b"IHDR", header(998, 998, 16, 6)), no_pixels()]);
    let plain = png_of(&[(b"IHDR", header(1000, 1000, 8, 2)), no_pixels()]);
    let profiled = png_of(&[(b"IHDR", header(1000, 1000, 8, 2)), (b"iCCP", profile), no_pixels()]);
    for (bytes, max_decoded_bytes, is_too_much) in
        [(deep, 3 << 20, true), (plain, 3_050_000, false), (profiled, 3_050_000, true)]
    {
        let candidate = Candidate::admit(bytes.into(), &Format::ALL, 1 << 20).unwrap();
        let small = Imaging::new(Settings { max_decoded_bytes, ..settings() }).unwrap();
        let deadline = Deadline::after(Duration::from_secs(30));
        let prepared = small.prepare(candidate, plan(Vec::new(), [0; 3]), deadline).await;
        let refused = prepared.unwrap_err();
        let PrepareError::Inadmissible(why) = &refused else { panic!("{refused}") };
        let memory = matches!(why, Inadmissible::TooMuchMemory { limit_bytes, .. }
            if *limit_bytes == max_decoded_bytes);
        assert_eq!(memory, is_too_much, "{refused}");
    }
}

#[tokio::test]
async fn a_file_that_is_cut_anywhere_is_refused() {
    let jpeg = jpeg(&quarters(), ColorType::Rgb, |_| {});
    let progressive = self::jpeg(&quarters(), ColorType::Rgb, |encoder| {
        encoder.set_progressive(true);
    });
    let png = png(&quarters(), ExtendedColorType::Rgb8);
    for whole in [jpeg, progressive, png] {
        // the last chunk of a PNG holds nothing, so it alone may be missing
        let longest = whole.len() - 13;
        for length in (12..longest).step_by(whole.len() / 23) {
            let outcome = prepared(whole[..length].to_vec(), plan(Vec::new(), [0; 3])).await;
            let corrupt =
                matches!(outcome, Err(PrepareError::Inadmissible(Inadmissible::Corrupt { .. })));
            assert!(corrupt, "{length} of {}: {outcome:?}", whole.len());
        }
    }
}

#[tokio::test]
async fn what_stands_behind_the_end_and_between_the_segments_does_no_harm() {
    let one = jpeg(&quarters(), ColorType::Rgb, |_| {});
    let two = [&one[..], &one[..300], b"PK\x03\x04"].concat();
    assert_corners(&seen(two, [0; 3]).await, TURNED[0]);
    let first = 4 + usize::from(u16::from_be_bytes([one[4], one[5]]));
    let junk = [&one[..first], b"some junk here", &one[first..]].concat();
    assert_corners(&seen(junk, [0; 3]).await, TURNED[0]);
}

#[tokio::test]
async fn a_jpeg_of_very_many_scans_is_refused_before_they_are_decoded() {
    let bytes = jpeg(&quarters(), ColorType::Rgb, |encoder| encoder.set_progressive(true));
    let scan = bytes.windows(2).rposition(|pair| pair == [0xFF, 0xDA]).unwrap();
    let (head, last) = bytes[..bytes.len() - 2].split_at(scan);
    let bomb = [head, &last.repeat(70), &[0xFF, 0xD9]].concat();
    let refused = prepared(bomb, plan(Vec::new(), [0; 3])).await.unwrap_err();
    assert!(refused.to_string().contains("more than 64 scans"), "{refused}");
}

#[tokio::test]
async fn a_slow_decode_ends_at_its_allowance_and_a_late_one_at_its_deadline() {
    let bytes: Bytes = png(&quarters(), ExtendedColorType::Rgb8).into();
    let candidate = Candidate::admit(bytes, &Format::ALL, 1 << 20).unwrap();
    let memory = memory::Memory::unshared();
    let limits = decoded::Limits { max_pixels: 1_000_000, max_bytes: 16 << 20, memory };
    let verdict = |deadline: Duration, decode_time: Duration| {
        let allowance = allowance::Allowance::start(Deadline::after(deadline), decode_time);
        let spent = allowance.is_spent();
        (spent, decode::decode(&candidate, &limits, &[], &allowance).is_ok(), allowance.verdict())
    };
    let minute = Duration::from_secs(60);
    assert_eq!(verdict(minute, minute), (false, true, None));
    let (spent, _, why) = verdict(minute, Duration::ZERO);
    assert!(spent && why == Some(Inadmissible::TooSlow { limit_ms: 0 }.into()), "{why:?}");
    let (spent, _, why) = verdict(Duration::ZERO, minute);
    assert!(spent && why == Some(PrepareError::Late), "{why:?}");
}

#[tokio::test]
async fn a_jpeg_whose_last_component_is_the_finest_broke_a_worker() {
    let mut bytes = jpeg(&quarters(), ColorType::Rgb, |_| {});
    let frame = bytes.windows(2).position(|two| two == [0xFF, 0xC0]).unwrap();
    // the factors of the third component: twice as fine as those of the others
    bytes[frame + 10 + 7] = 0x22;
    let refused = prepared(bytes, plan(vec![whole(4_096)], [255; 3])).await;
    assert!(matches!(refused, Err(PrepareError::Inadmissible(Inadmissible::Corrupt { .. }))));
}

mod found;
mod samplings;
