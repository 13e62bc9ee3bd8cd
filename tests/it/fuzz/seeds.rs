//! Where fuzzing of uploads begins: small files of every kind, drawn here.

use image::codecs::png::PngEncoder;
use image::codecs::webp::WebPEncoder;
use image::{ExtendedColorType, ImageEncoder};
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};

/// An input and its name.
pub(crate) type Seed = (&'static str, Vec<u8>);

const WIDE: u16 = 40;
const HIGH: u16 = 24;

/// `channels` of a disc on a plain ground, each somewhat darker than the one before; the last of two
/// or four is the disc's own transparency.
fn disc(channels: usize) -> Vec<u8> {
    let (mid_x, mid_y) = (i32::from(WIDE) / 2, i32::from(HIGH) / 2);
    let places = (0..i32::from(HIGH)).flat_map(|y| (0..i32::from(WIDE)).map(move |x| (x, y)));
    let pixel =
        |(x, y): (i32, i32)| {
            let is_inside = (x - mid_x).pow(2) + (y - mid_y).pow(2) < 64;
            (0..channels).map(move |channel| match (is_inside, channel) {
                (_, 1 | 3) if channels.is_multiple_of(2) && channel + 1 == channels => {
                    if is_inside { 255 } else { 0 }
                }
                (true, _) => u8::try_from(90 + 20 * channel + usize::from(x % 7 == 0)).unwrap_or(0),
                (false, _) => 250,
            })
        };
    places.flat_map(pixel).collect()
}

fn jpeg(
    colour: ColorType,
    channels: usize,
    with: impl FnOnce(&mut Encoder<&mut Vec<u8>>),
) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, 80);
    with(&mut encoder);
    encoder.encode(&disc(channels), WIDE, HIGH, colour).unwrap();
    bytes
}

fn png(colour: ExtendedColorType, channels: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let encoder = PngEncoder::new(&mut bytes);
    encoder.write_image(&disc(channels), WIDE.into(), HIGH.into(), colour).unwrap();
    bytes
}

fn webp(colour: ExtendedColorType, channels: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let encoder = WebPEncoder::new_lossless(&mut bytes);
    encoder.write_image(&disc(channels), WIDE.into(), HIGH.into(), colour).unwrap();
    bytes
}

/// Says that the picture lies on its side.
fn turned(jpeg: &[u8]) -> Vec<u8> {
    let exif =
        b"\xFF\xE1\0\x22Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    [&jpeg[..2], exif, &jpeg[2..]].concat()
}

/// Whole images.
pub(crate) fn pixels() -> Vec<Seed> {
    let plain = |_: &mut Encoder<&mut Vec<u8>>| {};
    let rgb = jpeg(ColorType::Rgb, 3, plain);
    let progressive = jpeg(ColorType::Rgb, 3, |one| one.set_progressive(true));
    let halved = jpeg(ColorType::Rgb, 3, |one| one.set_sampling_factor(SamplingFactor::F_2_2));
    let restarts = jpeg(ColorType::Rgb, 3, |one| one.set_restart_interval(2));
    let optimised = jpeg(ColorType::Rgb, 3, |one| one.set_optimized_huffman_tables(true));
    vec![
        ("jpeg-turned", turned(&rgb)),
        ("jpeg-twice", [rgb.as_slice(), &rgb].concat()),
        ("jpeg-cut", rgb[..rgb.len() / 2].to_vec()),
        ("jpeg", rgb),
        ("jpeg-progressive", progressive),
        ("jpeg-halved", halved),
        ("jpeg-restarts", restarts),
        ("jpeg-optimised", optimised),
        ("jpeg-grey", jpeg(ColorType::Luma, 1, plain)),
        ("jpeg-cmyk", jpeg(ColorType::Cmyk, 4, plain)),
        ("jpeg-ycck", jpeg(ColorType::CmykAsYcck, 4, plain)),
        ("png-grey", png(ExtendedColorType::L8, 1)),
        ("png-grey-alpha", png(ExtendedColorType::La8, 2)),
        ("png", png(ExtendedColorType::Rgb8, 3)),
        ("png-alpha", png(ExtendedColorType::Rgba8, 4)),
        ("webp", webp(ExtendedColorType::Rgb8, 3)),
        ("webp-alpha", webp(ExtendedColorType::Rgba8, 4)),
    ]
}

/// The same behind what a policy accepts: everything.
pub(crate) fn header() -> Vec<Seed> {
    let accepted = |(name, bytes): Seed| (name, [&[0x0F], bytes.as_slice()].concat());
    pixels().into_iter().map(accepted).collect()
}

/// Bodies of every form.
pub(crate) fn body() -> Vec<Seed> {
    let of = |size: u8, form: u8, text: &str| [&[size, form], text.as_bytes()].concat();
    let part = |name: &str, text: &str| {
        format!("--x\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{text}\r\n")
    };
    let all = [
        part("image", "\u{7f}PNG"),
        part("policy", "product-photo"),
        part("vars", "{\"background\":\"white\"}"),
        part("vars.category", "footwear"),
        part("external_id", "sku-1"),
        "--x--\r\n".to_owned(),
    ];
    let json = "{\"image\":{\"base64\":\"iVBORw==\"},\"policy\":\"p\",\"vars\":{\"a\":\"b\"},\
                \"external_id\":\"sku-1\"}";
    let escaped = "{\"image\":{\"base64\":\"iVBO\\u0052w==\"},\"vars\":{\"\\u00e4\":\"b\"}}";
    vec![
        ("image", of(3, 1, "policy=p&vars.a=b&external_id=c&on=strict\n\u{7f}PNG")),
        ("no-type", of(1, 0, "\n\u{7f}PNG")),
        ("json", of(7, 2, &format!("\n{json}"))),
        ("json-escaped", of(7, 2, &format!("on=strict\n{escaped}"))),
        ("json-cut", of(7, 2, &format!("\n{}", json.split_at(40).0))),
        ("multipart", of(5, 3, &format!("\n{}", all.concat()))),
        ("multipart-no-end", of(5, 3, &format!("\n{}", all[..2].concat()))),
        ("multipart-twice", of(1, 3, &format!("\n{}{}", all[0], all.concat()))),
        ("multipart-unknown", of(9, 3, &format!("\n{}{}", part("imag", "x"), all.concat()))),
        ("percent", of(2, 1, "policy=%70%2B%20&vars.%61=%C3%A4\nGIF8")),
    ]
}
