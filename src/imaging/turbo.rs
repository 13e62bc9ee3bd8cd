//! libjpeg-turbo decodes and encodes JPEGs where it is built in (`fast-codecs`).
//!
//! It is given only what the outline has proven whole and usual. A warning of it counts as a
//! refusal: `None` sends the file to the strict decoder. What it allocates is bounded by the size
//! that is checked here against the outline's, before the first pixel.

use std::borrow::Cow;

use turbojpeg::{
    Colorspace, Compressor, Decompressor, Image, PixelFormat, ScalingFactor, Subsamp, YuvImage,
    YuvPlanesImage, yuv_pixels_len,
};

use crate::imaging::planes::{Chroma, NO_COLOUR, Plane, Planes};

/// The planes of a JPEG of `size` with every `shrink` x `shrink` pixels as one, scaled in the
/// cosine transform: almost nothing is computed for a pixel that is not made.
pub(crate) fn planes(bytes: &[u8], size: (u32, u32), shrink: u32) -> Option<Planes<'static>> {
    let (mut decompressor, subsamp, colours) = open(bytes, size, shrink)?;
    let (across, down) = match (colours, subsamp) {
        (Colorspace::Gray, Subsamp::Gray) => (1, 1),
        (Colorspace::YCbCr, Subsamp::None) => (1, 1),
        (Colorspace::YCbCr, Subsamp::Sub2x1) => (2, 1),
        (Colorspace::YCbCr, Subsamp::Sub1x2) => (1, 2),
        (Colorspace::YCbCr, Subsamp::Sub2x2) => (2, 2),
        (Colorspace::YCbCr, Subsamp::Sub4x1) => (4, 1),
        _ => return None,
    };
    let (width, height) = (held(size.0, shrink)?, held(size.1, shrink)?);
    let mut pixels = vec![0; yuv_pixels_len(width, 1, height, subsamp).ok()?];
    let mut image = YuvImage { pixels: &mut pixels[..], width, align: 1, height, subsamp };
    let (luma_size, chroma_size) = (image.y_size(), image.uv_size());
    decompressor.decompress_to_yuv(bytes, image.as_deref_mut()).ok()?;
    if subsamp == Subsamp::Gray {
        return Some(Planes { luma: plane(pixels, luma_size)?, chroma: None });
    }
    // from the end: what is left in front gives back the room of what was cut off, so that for a
    // moment one colour is there twice and never more
    let mut cut = || {
        let levels = pixels.split_off(pixels.len().checked_sub(chroma_size.0 * chroma_size.1)?);
        pixels.shrink_to_fit();
        plane(levels, chroma_size)
    };
    let (red, blue) = (cut()?, cut()?);
    let luma = plane(pixels, luma_size)?;
    Some(Planes { luma, chroma: Some(Chroma { blue, red, across, down }) })
}

/// A plane of exactly these levels.
fn plane(levels: Vec<u8>, (width, height): (usize, usize)) -> Option<Plane<'static>> {
    let (width_px, height_px) = (u32::try_from(width).ok()?, u32::try_from(height).ok()?);
    let levels: Cow<'static, [u8]> = levels.into();
    (levels.len() == width * height).then_some(Plane { width_px, height_px, levels })
}

/// The same as RGB, for what a profile converts.
pub(crate) fn rgb(bytes: &[u8], size: (u32, u32), shrink: u32) -> Option<Vec<u8>> {
    let (mut decompressor, _, colours) = open(bytes, size, shrink)?;
    if !matches!(colours, Colorspace::YCbCr | Colorspace::RGB) {
        return None;
    }
    let (width, height) = (held(size.0, shrink)?, held(size.1, shrink)?);
    let mut pixels = vec![0; width * height * 3];
    let (format, pitch) = (PixelFormat::RGB, width * 3);
    let image = Image { pixels: &mut pixels[..], width, pitch, height, format };
    decompressor.decompress(bytes, image).ok()?;
    Some(pixels)
}

/// Encodes RGB samples, the colours at half the resolution.
pub(crate) fn encode_rgb(rgb: &[u8], size: (u16, u16), quality: u8) -> Option<Vec<u8>> {
    let (width, height) = (usize::from(size.0), usize::from(size.1));
    if rgb.len() != width * height * 3 {
        return None;
    }
    let (format, pitch) = (PixelFormat::RGB, width * 3);
    let mut compressor = compressor(quality)?;
    compressor.set_subsamp(Subsamp::Sub2x2).ok()?;
    compressor.compress_to_vec(Image { pixels: rgb, width, pitch, height, format }).ok()
}

/// Encodes planes of which the colours have half the resolution.
pub(crate) fn encode_planes(planes: &Planes<'_>, size: (u16, u16), quality: u8) -> Option<Vec<u8>> {
    let (width, height) = (usize::from(size.0), usize::from(size.1));
    let (wide, high) = (width.next_multiple_of(2), height.next_multiple_of(2));
    let luma = padded(&planes.luma, (width, height), (wide, high))?;
    let half = (wide / 2, high / 2);
    let none;
    let (blue, red) = match &planes.chroma {
        Some(chroma) => (padded(&chroma.blue, half, half)?, padded(&chroma.red, half, half)?),
        None => {
            none = vec![NO_COLOUR; half.0 * half.1];
            (Cow::Borrowed(none.as_slice()), Cow::Borrowed(none.as_slice()))
        }
    };
    let image = YuvPlanesImage {
        y_plane: &luma[..],
        u_plane: &blue[..],
        v_plane: &red[..],
        width,
        height,
        y_stride: wide,
        u_stride: half.0,
        v_stride: half.0,
        subsamp: Subsamp::Sub2x2,
    };
    compressor(quality)?.compress_yuv_planes_to_vec(&image).ok()
}

/// A decompressor for `bytes`, set to `shrink`, if they are what the outline says.
fn open(
    bytes: &[u8],
    size: (u32, u32),
    shrink: u32,
) -> Option<(Decompressor, Subsamp, Colorspace)> {
    let mut decompressor = Decompressor::new().ok()?;
    let header = decompressor.read_header(bytes).ok()?;
    let is_said = header.width == size.0 as usize && header.height == size.1 as usize;
    if !is_said || header.is_lossless || header.is_arithmetic {
        return None;
    }
    decompressor.set_scaling_factor(ScalingFactor::new(1, shrink as usize)).ok()?;
    Some((decompressor, header.subsamp, header.colorspace))
}

fn held(side_px: u32, shrink: u32) -> Option<usize> {
    usize::try_from(side_px.div_ceil(shrink)).ok()
}

fn compressor(quality: u8) -> Option<Compressor> {
    let mut compressor = Compressor::new().ok()?;
    compressor.set_quality(quality.into()).ok()?;
    Some(compressor)
}

/// A plane with its last column and row repeated until both sides are even.
fn padded<'a>(
    plane: &'a Plane<'_>,
    (width, height): (usize, usize),
    (wide, high): (usize, usize),
) -> Option<Cow<'a, [u8]>> {
    let own = (plane.width_px as usize, plane.height_px as usize);
    if own == (wide, high) && plane.levels.len() == wide * high {
        return Some(Cow::Borrowed(&plane.levels));
    }
    if own.0 < width || own.1 < height {
        return None;
    }
    let mut levels = Vec::with_capacity(wide * high);
    for row in plane.levels.chunks_exact(own.0.max(1)).take(height) {
        let row = row.get(..width)?;
        levels.extend_from_slice(row);
        levels.extend(row.last().filter(|_| width < wide));
    }
    if height < high {
        levels.extend_from_within(levels.len().checked_sub(wide)?..);
    }
    (levels.len() == wide * high).then_some(Cow::Owned(levels))
}

#[cfg(test)]
mod tests {
    use jpeg_encoder::{ColorType, Encoder, SamplingFactor};

    use super::*;

    #[test]
    fn planes_hold_no_more_than_their_levels() {
        let pixels: Vec<u8> = (0..64 * 48).flat_map(|_| [200, 20, 60]).collect();
        for factor in [SamplingFactor::F_1_1, SamplingFactor::F_2_1, SamplingFactor::F_2_2] {
            let mut bytes = Vec::new();
            let mut encoder = Encoder::new(&mut bytes, 95);
            encoder.set_sampling_factor(factor);
            encoder.encode(&pixels, 64, 48, ColorType::Rgb).unwrap();
            let Planes { luma, chroma } = planes(&bytes, (64, 48), 1).unwrap();
            let Chroma { blue, red, .. } = chroma.unwrap();
            for plane in [&luma, &blue, &red] {
                let Cow::Owned(levels) = &plane.levels else { panic!("its own") };
                assert_eq!(levels.capacity(), levels.len(), "{factor:?}");
            }
            // light, less blue than grey has, and far more red
            let level = |plane: &Plane<'_>| plane.levels[plane.levels.len() / 2];
            assert!(level(&blue) < NO_COLOUR && NO_COLOUR + 40 < level(&red), "{factor:?}");
        }
    }
}
