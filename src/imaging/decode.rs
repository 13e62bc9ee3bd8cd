//! Decoding turns a candidate's bytes into a [`Picture`] or refuses them: the limits are held
//! against the header, before the first pixel.
//!
//! Choices: an animated PNG or WebP is judged by its first picture (an APNG by its default image);
//! an orientation outside 1..=8 counts as upright; trailing bytes behind a whole picture are
//! ignored; a picture that is cut off or fails its checksums is refused, never filled up.

use image::codecs::png::PngDecoder;
use image::codecs::webp::WebPDecoder;
use image::metadata::Orientation;
use image::{ColorType, ImageDecoder};

use crate::domain::{Candidate, Format, Inadmissible};
use crate::imaging::PrepareError;
use crate::imaging::allowance::{Allowance, Metered};
use crate::imaging::colour::Samples;
use crate::imaging::decoded::{
    Decoded, Limits, check_bytes, check_pixels, corrupt, xmp_orientation,
};
use crate::imaging::jpeg;
use crate::imaging::picture::Picture;

/// Memory the PNG decoder may take for rows and metadata, beside the picture itself. An inflated
/// profile counts, so a profile bomb ends here.
const PNG_SIDE_BYTES: u64 = 24 << 20;

/// Decodes `candidate` within `limits` and `allowance`.
pub(crate) fn decode(
    candidate: &Candidate,
    limits: &Limits,
    allowance: &Allowance,
) -> Result<Picture, PrepareError> {
    let bytes = candidate.bytes();
    let decoded = match candidate.format() {
        Format::Jpeg => jpeg::decode(bytes, limits, allowance),
        Format::Png => decode_png(bytes, limits, allowance),
        Format::WebP => decode_webp(bytes, limits, allowance),
    };
    // a decoder that ran out of time says that the file is broken
    let decoded = decoded.map_err(|why| allowance.verdict().unwrap_or_else(|| why.into()))?;
    let (width_px, _) = decoded.size;
    let pixels = decoded.samples.into_srgb(width_px as usize, decoded.profile.as_deref());
    Picture::upright(decoded.size, pixels, decoded.orientation)
        .map_err(|_| corrupt("the pixels do not fill the picture").into())
}

fn decode_png(
    bytes: &[u8],
    limits: &Limits,
    allowance: &Allowance,
) -> Result<Decoded, Inadmissible> {
    // the size stands at a fixed place, so it is held to the limit before anything is allocated
    let size = bytes.get(16..24).and_then(|at| at.split_first_chunk::<4>());
    let (width, height) = size.ok_or_else(|| corrupt("the file is cut off in its header"))?;
    let height = height.first_chunk::<4>().copied().unwrap_or_default();
    check_pixels((u32::from_be_bytes(*width), u32::from_be_bytes(height)), limits)?;
    let mut own = image::Limits::no_limits();
    own.max_alloc = Some(PNG_SIDE_BYTES.min(limits.max_bytes));
    let reader = Metered::new(bytes, allowance);
    let mut decoder = PngDecoder::with_limits(reader, own).map_err(|why| broken(&why))?;
    let exif = decoder.exif_metadata().map_err(|why| broken(&why))?;
    // text is only looked at for the orientation, so broken text is no reason to refuse
    let xmp = decoder.xmp_metadata().ok().flatten();
    let orientation = exif_orientation(exif.as_deref());
    let orientation = orientation.or(xmp.as_deref().and_then(xmp_orientation));
    finish(decoder, limits, orientation, 0)
}

fn decode_webp(
    bytes: &[u8],
    limits: &Limits,
    allowance: &Allowance,
) -> Result<Decoded, Inadmissible> {
    let reader = Metered::new(bytes, allowance);
    let mut decoder = WebPDecoder::new(reader).map_err(|why| broken(&why))?;
    let pixels = check_pixels(decoder.dimensions(), limits)?;
    let exif = decoder.exif_metadata().ok().flatten();
    let xmp = decoder.xmp_metadata().ok().flatten();
    let orientation = exif_orientation(exif.as_deref());
    let orientation = orientation.or(xmp.as_deref().and_then(xmp_orientation));
    // lossless pictures and animations pass through four channels of their own
    let (vp8l, animated) = (bytes.get(12..16) == Some(b"VP8L"), decoder.has_animation());
    let beside = if vp8l || animated { pixels * 4 } else { pixels * 2 };
    finish(decoder, limits, orientation, beside)
}

fn exif_orientation(exif: Option<&[u8]>) -> Option<Orientation> {
    let exif = exif?;
    Orientation::from_exif_chunk(exif.strip_prefix(b"Exif\0\0").unwrap_or(exif))
}

fn finish(
    mut decoder: impl ImageDecoder,
    limits: &Limits,
    orientation: Option<Orientation>,
    beside_bytes: u64,
) -> Result<Decoded, Inadmissible> {
    let size = decoder.dimensions();
    let pixels = check_pixels(size, limits)?;
    let colour = decoder.color_type();
    let given = decoder.total_bytes();
    let profile = decoder.icc_profile().ok().flatten();
    let upright = pixels * if colour.has_alpha() { 4 } else { 3 };
    let twice = colour.bytes_per_pixel() > colour.channel_count() || orientation.is_some();
    let copied = twice || !colour.has_color() || profile.is_some();
    let after = if copied { upright } else { 0 };
    check_bytes(given + beside_bytes.max(after), limits)?;
    let length = usize::try_from(given).map_err(|_| corrupt("the picture is too large"))?;
    let mut bytes = vec![0; length];
    decoder.read_image(&mut bytes).map_err(|why| broken(&why))?;
    let samples = match colour {
        ColorType::L8 => Samples::Grey(bytes),
        ColorType::La8 => Samples::GreyAlpha(bytes),
        ColorType::Rgb8 => Samples::Rgb(bytes),
        ColorType::Rgba8 => Samples::Rgba(bytes),
        ColorType::L16 => Samples::Grey(high_bytes(&bytes)),
        ColorType::La16 => Samples::GreyAlpha(high_bytes(&bytes)),
        ColorType::Rgb16 => Samples::Rgb(high_bytes(&bytes)),
        ColorType::Rgba16 => Samples::Rgba(high_bytes(&bytes)),
        ColorType::Rgb32F | ColorType::Rgba32F | _ => {
            return Err(corrupt("the pixels have a format that cannot be read"));
        }
    };
    let orientation = orientation.unwrap_or(Orientation::NoTransforms);
    Ok(Decoded { size, samples, profile, orientation })
}

/// 16-bit samples rounded to 8 bits.
fn high_bytes(samples: &[u8]) -> Vec<u8> {
    let (samples, _) = samples.as_chunks::<2>();
    let round = |sample: &[u8; 2]| {
        let level = (u32::from(u16::from_ne_bytes(*sample)) * 255 + 32_767) / 65_535;
        u8::try_from(level).unwrap_or(u8::MAX)
    };
    samples.iter().map(round).collect()
}

fn broken(why: &image::ImageError) -> Inadmissible {
    corrupt(&why.to_string())
}
