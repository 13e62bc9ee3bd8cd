//! A WebP is read by image-webp, and where it is lossy, opaque and still, as most are, by libwebp
//! if that is built in: more than twice as fast.
//!
//! Losslessly coded pixels (alpha is such) stay with the decoder in Rust: libwebp's gravest fault
//! lay there (CVE-2023-4863), and it is no faster by much.

use image::codecs::webp::WebPDecoder;
use image::metadata::Orientation;
use image::{ColorType, ImageDecoder};
use moxcms::DataColorSpace;

use crate::domain::Inadmissible;
use crate::imaging::allowance::{Allowance, Metered};
use crate::imaging::colour::{Profile, Samples};
use crate::imaging::decoded::{
    Limits, check_bytes, check_pixels, corrupt, exif_orientation, xmp_orientation,
};
use crate::imaging::picture::{Buffer, Held, Picture};

/// Decodes a WebP.
pub(crate) fn decode(
    bytes: &[u8],
    limits: &Limits,
    allowance: &Allowance,
) -> Result<Picture, Inadmissible> {
    let reader = Metered::new(bytes, allowance);
    let mut decoder = WebPDecoder::new(reader).map_err(|why| broken(&why))?;
    let (size, colour) = (decoder.dimensions(), decoder.color_type());
    let pixels = check_pixels(size, limits)?;
    let exif = decoder.exif_metadata().ok().flatten();
    let xmp = decoder.xmp_metadata().ok().flatten();
    let orientation = exif.as_deref().and_then(exif_orientation);
    let orientation = orientation.or(xmp.as_deref().and_then(xmp_orientation));
    let orientation = orientation.unwrap_or(Orientation::NoTransforms);
    let icc = decoder.icc_profile().ok().flatten();
    let profile = icc.and_then(|icc| Profile::read(&icc, DataColorSpace::Rgb));
    // lossless pictures and animations pass through four channels of their own
    let (vp8l, animated) = (bytes.get(12..16) == Some(b"VP8L"), decoder.has_animation());
    let beside = if vp8l || animated { pixels * 4 } else { pixels * 2 };
    let converted = if profile.is_some() { pixels * 4 } else { 0 };
    check_bytes(decoder.total_bytes() + beside.max(converted), limits)?;
    let is_plain = colour == ColorType::Rgb8 && !vp8l && !animated;
    let buffer = if let Some(buffer) = is_plain.then(|| fast(bytes, size)).flatten() {
        buffer
    } else {
        let length = usize::try_from(decoder.total_bytes());
        let mut own = vec![0; length.map_err(|_| corrupt("the picture is too large"))?];
        decoder.read_image(&mut own).map_err(|why| broken(&why))?;
        Buffer::Own(own)
    };
    let samples = match colour {
        ColorType::Rgb8 if profile.is_none() => {
            return Ok(Picture::new(size, Held::Rgb(buffer), 1, orientation)?);
        }
        ColorType::Rgb8 => Samples::Rgb(buffer.into_own()),
        ColorType::Rgba8 => Samples::Rgba(buffer.into_own()),
        ColorType::L8
        | ColorType::La8
        | ColorType::L16
        | ColorType::La16
        | ColorType::Rgb16
        | ColorType::Rgba16
        | ColorType::Rgb32F
        | ColorType::Rgba32F
        | _ => return Err(corrupt("the pixels have a format that cannot be read")),
    };
    let pixels = samples.into_srgb(size.0 as usize, profile.as_ref());
    Ok(Picture::upright(size, pixels, orientation)?)
}

/// The pixels by libwebp. `None` where it is not for it, or refuses: the other decoder says why.
#[cfg(feature = "fast-codecs")]
fn fast(bytes: &[u8], size: (u32, u32)) -> Option<Buffer> {
    let image = is_lossy(bytes).then(|| ::webp::Decoder::new(bytes))?.decode()?;
    let is_this = (image.width(), image.height()) == size && !image.is_alpha();
    is_this.then_some(Buffer::WebP(image))
}

#[cfg(not(feature = "fast-codecs"))]
fn fast(_: &[u8], _: (u32, u32)) -> Option<Buffer> {
    None
}

/// Whether the first picture in the file is lossy, with nothing lossless before it.
#[cfg(feature = "fast-codecs")]
fn is_lossy(bytes: &[u8]) -> bool {
    let mut rest = bytes.get(12..).unwrap_or_default();
    while let Some(([v, p, eight, kind, length @ ..], after)) = rest.split_first_chunk::<8>() {
        match &[*v, *p, *eight, *kind] {
            b"VP8 " => return true,
            b"VP8L" | b"ALPH" | b"ANIM" | b"ANMF" => return false,
            _ => {}
        }
        let length = u32::from_le_bytes(*length) as usize;
        rest = after.get(length.next_multiple_of(2)..).unwrap_or_default();
    }
    false
}

fn broken(why: &image::ImageError) -> Inadmissible {
    corrupt(&why.to_string())
}
