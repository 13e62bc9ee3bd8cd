//! Files of an encoder, dressed up and broken by hand.

use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
use proptest::collection::vec;
use proptest::prelude::{
    Just, ProptestConfig, Strategy, any, prop_assert_eq, prop_oneof, proptest,
};

use super::*;

const WIDE: u16 = 83;
const HIGH: u16 = 50;

fn encoded(colour: ColorType, with: impl FnOnce(&mut Encoder<&mut Vec<u8>>)) -> Vec<u8> {
    // RGB unless it is one of the two others that are drawn here
    let channels = match colour {
        ColorType::Luma => 1,
        ColorType::Cmyk => 4,
        ColorType::Rgb
        | ColorType::Rgba
        | ColorType::Bgr
        | ColorType::Bgra
        | ColorType::Ycbcr
        | ColorType::CmykAsYcck
        | ColorType::Ycck => 3,
    };
    let mut bytes = Vec::new();
    let level = |n: usize| u8::try_from((n * n / 7 + n % 13 * 11) % 256).unwrap();
    let pixels: Vec<u8> =
        (0..usize::from(WIDE) * usize::from(HIGH) * channels).map(level).collect();
    let mut encoder = Encoder::new(&mut bytes, 90);
    encoder.set_sampling_factor(SamplingFactor::F_2_2);
    with(&mut encoder);
    encoder.encode(&pixels, WIDE, HIGH, colour).unwrap();
    bytes
}

fn plain() -> Vec<u8> {
    encoded(ColorType::Rgb, |_| {})
}

fn segment(marker: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len() + 2).unwrap().to_be_bytes();
    [&[0xFF, marker], &length[..], body].concat()
}

/// `bytes` with `segments` behind the start.
fn with(bytes: &[u8], segments: &[Vec<u8>]) -> Vec<u8> {
    [&bytes[..2], &segments.concat(), &bytes[2..]].concat()
}

/// The pixels as a decoder that is not ours to configure reads them.
fn pixels(bytes: &[u8]) -> image::DynamicImage {
    image::load_from_memory(bytes).unwrap()
}

/// Where the segment with `marker` begins.
fn place(bytes: &[u8], marker: u8) -> usize {
    bytes.windows(2).position(|pair| pair == [0xFF, marker]).unwrap()
}

fn without(bytes: &[u8], marker: u8) -> Vec<u8> {
    let at = place(bytes, marker);
    let length = usize::from(u16::from_be_bytes([bytes[at + 2], bytes[at + 3]]));
    [&bytes[..at], &bytes[at + 2 + length..]].concat()
}

/// An EXIF block that holds the orientation alone.
fn exif(orientation: u8) -> Vec<u8> {
    let mut block = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    block.extend([orientation, 0, 0, 0, 0, 0, 0]);
    block
}

/// The markers of a file in order, scans' data skipped.
fn markers(bytes: &[u8]) -> Vec<u8> {
    let (mut rest, mut found) = (&bytes[2..], Vec::new());
    while let Some((marker, after)) = next_marker(rest) {
        found.push(marker);
        if marker == EOI {
            break;
        }
        rest = &after[usize::from(u16::from_be_bytes([after[0], after[1]]))..];
        if marker == SOS {
            rest = &rest[coded_length(rest).0..];
        }
    }
    found
}

#[test]
fn what_is_seen_stays_and_what_was_written_beside_it_goes() {
    let secret = b"SECRET of the one who made it".as_slice();
    let beside = [
        segment(0xE0, &[b"JFXX\0\x13".as_slice(), secret].concat()),
        segment(0xE1, &[exif(1).as_slice(), secret].concat()),
        segment(0xE1, &[b"http://ns.adobe.com/xap/1.0/\0".as_slice(), secret].concat()),
        segment(0xE2, &[b"MPF\0".as_slice(), secret].concat()),
        segment(0xED, &[b"Photoshop 3.0\0".as_slice(), secret].concat()),
        segment(0xEE, &[b"Adobe\0\x64\0\0\0\0\x01".as_slice(), secret].concat()),
        segment(0xFE, secret),
    ];
    let forms = [
        encoded(ColorType::Rgb, |_| {}),
        encoded(ColorType::Rgb, |encoder| encoder.set_sampling_factor(SamplingFactor::F_1_1)),
        encoded(ColorType::Rgb, |encoder| encoder.set_sampling_factor(SamplingFactor::F_2_1)),
        encoded(ColorType::Rgb, |encoder| encoder.set_progressive(true)),
        encoded(ColorType::Rgb, |encoder| encoder.set_optimized_huffman_tables(true)),
        encoded(ColorType::Rgb, |encoder| encoder.set_restart_interval(3)),
        encoded(ColorType::Luma, |_| {}),
    ];
    for (number, bytes) in forms.iter().enumerate() {
        let second = plain();
        let dressed = [with(bytes, &beside), second, secret.to_vec()].concat();
        let lean = Lean::of(&dressed).unwrap_or_else(|| panic!("form {number}"));
        assert_eq!((lean.width_px, lean.height_px), (WIDE.into(), HIGH.into()));
        assert_eq!(pixels(&lean.bytes), pixels(&dressed), "form {number}");
        assert!(!lean.bytes.windows(6).any(|six| six == b"SECRET"), "form {number}");
        let applications: Vec<u8> =
            markers(&lean.bytes).into_iter().filter(|one| matches!(one, 0xE0..)).collect();
        assert_eq!(applications, [0xE0], "form {number}: our own JFIF alone");
        let again = Lean::of(&lean.bytes).unwrap();
        assert_eq!(again.bytes, lean.bytes, "form {number}: what is lean stays as it is");
    }
}

#[test]
fn what_readers_take_in_different_ways_is_decoded_instead() {
    let bytes = plain();
    let cmyk = ColorType::Cmyk;
    let profile = segment(0xE2, b"ICC_PROFILE\0\x01\x01whatever");
    let turned = b"http://ns.adobe.com/xap/1.0/\0<x tiff:Orientation=\"6\"/>";
    let named = |ids: [u8; 3]| {
        let (mut bytes, at) = (bytes.clone(), place(&bytes, 0xC0) + 10);
        for (number, id) in ids.into_iter().enumerate() {
            bytes[at + 3 * number] = id;
        }
        bytes
    };
    let changed = |marker: u8, offset: usize, value: u8| {
        let (mut bytes, at) = (bytes.clone(), place(&bytes, marker) + offset);
        bytes[at] = value;
        bytes
    };
    let odd = [
        ("turned", with(&bytes, &[segment(0xE1, &exif(6))])),
        ("turned by XMP", with(&bytes, &[segment(0xE1, turned)])),
        ("profiled", with(&bytes, &[profile])),
        ("four components", encoded(cmyk, |_| {})),
        ("RGB by Adobe", with(&bytes, &[segment(0xEE, b"Adobe\0\x64\0\0\0\0\0")])),
        ("RGB by name", named(*b"RGB")),
        ("one component twice", named([1, 2, 2])),
        ("of 12 bits", changed(0xC0, 4, 12)),
        ("arithmetic", changed(0xC0, 1, 0xC9)),
        ("lossless", changed(0xC0, 1, 0xC3)),
        (
            "without a height",
            [&bytes[..place(&bytes, 0xC0) + 5], &[0, 0], &bytes[place(&bytes, 0xC0) + 7..]]
                .concat(),
        ),
        ("colour finer than light", changed(0xC0, 14, 0x21)),
        ("without quantizers", without(&without(&bytes, 0xDB), 0xDB)),
        ("without codes", without(&bytes, 0xC4)),
        ("with a frame too many", with(&bytes, &[bytes[place(&bytes, 0xC0)..][..19].to_vec()])),
        ("with bytes between segments", with(&bytes, &[vec![1, 2, 3]])),
        ("with a second beginning", with(&bytes, &[vec![0xFF, SOI]])),
        ("a field of a film", with(&bytes, &[segment(0xE0, b"AVI1\0\0")])),
        ("half an Adobe", with(&bytes, &[segment(0xEE, b"Adobe")])),
        ("of too many codes", changed(0xC4, 5, 3)),
    ];
    for (what, odd) in odd {
        assert!(Lean::of(&odd).is_none(), "{what}");
    }
    assert!(Lean::of(&bytes).is_some());
}

#[test]
fn restarts_that_are_missing_tell_that_a_scan_is_cut() {
    let bytes = encoded(ColorType::Rgb, |encoder| encoder.set_restart_interval(2));
    assert!(Lean::of(&bytes).is_some());
    let restart = bytes.windows(2).rposition(|pair| matches!(pair, [0xFF, 0xD0..=0xD7])).unwrap();
    let cut = [&bytes[..restart], &[0xFF, EOI]].concat();
    assert!(Lean::of(&cut).is_none());
    assert!(Lean::of(&without(&bytes, 0xDD)).is_none(), "restarts that nothing announces");
}

#[test]
fn a_file_that_ends_anywhere_before_its_end_has_no_lean_form() {
    for bytes in [plain(), encoded(ColorType::Rgb, |encoder| encoder.set_progressive(true))] {
        for length in 0..bytes.len() {
            assert!(Lean::of(&bytes[..length]).is_none(), "{length} of {}", bytes.len());
        }
    }
}

/// A few bytes of a file replaced, taken out or put in.
fn mangled() -> impl Strategy<Value = Vec<u8>> {
    let form = prop_oneof![Just(false), Just(true)].prop_map(|progressive| {
        encoded(ColorType::Rgb, |encoder| {
            encoder.set_progressive(progressive);
            encoder.set_restart_interval(4);
        })
    });
    let edits = vec((any::<u16>(), 0..4_usize, vec(any::<u8>(), 0..4)), 1..6);
    (form, edits).prop_map(|(mut bytes, edits)| {
        for (at, gone, new) in edits {
            let at = usize::from(at) % bytes.len();
            let end = (at + gone).min(bytes.len());
            bytes.splice(at..end, new);
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_file_breaks_the_walk_and_what_is_lean_stays_so(
        bytes in prop_oneof![mangled(), vec(any::<u8>(), 0..200)]
    ) {
        if let Some(lean) = Lean::of(&bytes) {
            let again = Lean::of(&lean.bytes).unwrap();
            prop_assert_eq!(again.bytes, lean.bytes);
        }
    }
}
