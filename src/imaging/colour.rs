//! Colour turns what decoders give (grey, RGB, CMYK, with alpha or without, with a profile or
//! without) into sRGB.
//!
//! A profile is a program from a stranger: one that cannot be read, does not fit the pixels or
//! breaks the converter is ignored and the pixels are taken for sRGB, because a shop photograph
//! with a broken profile is still a shop photograph.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use moxcms::{ColorProfile, DataColorSpace, Layout, TransformExecutor, TransformOptions};

use crate::imaging::picture::Pixels;

/// Samples as a decoder gives them, 8 bits each, alpha straight.
#[derive(Debug)]
pub(crate) enum Samples {
    /// One channel.
    Grey(Vec<u8>),
    /// Two channels.
    GreyAlpha(Vec<u8>),
    /// Three channels.
    Rgb(Vec<u8>),
    /// Four channels.
    Rgba(Vec<u8>),
    /// Four inks, 255 is full ink.
    Cmyk(Vec<u8>),
}

impl Samples {
    /// The same picture in sRGB; `profile` is an ICC profile for these samples.
    pub(crate) fn into_srgb(self, row_px: usize, profile: Option<&[u8]>) -> Pixels {
        let profiled = profile.and_then(|profile| {
            // the converter is pure, so nothing is left half done behind a panic
            catch_unwind(AssertUnwindSafe(|| self.by_profile(row_px, profile))).ok().flatten()
        });
        profiled.unwrap_or_else(|| self.assumed_srgb())
    }

    fn by_profile(&self, row_px: usize, profile: &[u8]) -> Option<Pixels> {
        let profile = ColorProfile::new_from_slice(profile).ok()?;
        let (space, from, to) = match self {
            Self::Grey(_) => (DataColorSpace::Gray, Layout::Gray, Layout::Rgb),
            Self::GreyAlpha(_) => (DataColorSpace::Gray, Layout::GrayAlpha, Layout::Rgba),
            Self::Rgb(_) => (DataColorSpace::Rgb, Layout::Rgb, Layout::Rgb),
            Self::Rgba(_) => (DataColorSpace::Rgb, Layout::Rgba, Layout::Rgba),
            // four inks share the layout of four channels
            Self::Cmyk(_) => (DataColorSpace::Cmyk, Layout::Rgba, Layout::Rgb),
        };
        if profile.color_space != space {
            return None;
        }
        let options = TransformOptions::default();
        let converter =
            profile.create_transform_8bit(from, &ColorProfile::new_srgb(), to, options).ok()?;
        let wide = if matches!(to, Layout::Rgba) { 4 } else { 3 };
        let converted = convert(&converter, self.bytes(), row_px * self.channels(), row_px * wide)?;
        Some(if wide == 4 { Pixels::Rgba(converted) } else { Pixels::Rgb(converted) })
    }

    fn assumed_srgb(self) -> Pixels {
        match self {
            Self::Rgb(bytes) => Pixels::Rgb(bytes),
            Self::Rgba(bytes) => Pixels::Rgba(bytes),
            Self::Grey(bytes) => Pixels::Rgb(bytes.iter().flat_map(|grey| [*grey; 3]).collect()),
            Self::GreyAlpha(bytes) => {
                let (pairs, _) = bytes.as_chunks::<2>();
                let spread = |[grey, alpha]: &[u8; 2]| [*grey, *grey, *grey, *alpha];
                Pixels::Rgba(pairs.iter().flat_map(spread).collect())
            }
            Self::Cmyk(bytes) => {
                let (inks, _) = bytes.as_chunks::<4>();
                let lit = |[cyan, magenta, yellow, black]: &[u8; 4]| {
                    [cyan, magenta, yellow].map(|ink| product(255 - ink, 255 - black))
                };
                Pixels::Rgb(inks.iter().flat_map(lit).collect())
            }
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Grey(bytes)
            | Self::GreyAlpha(bytes)
            | Self::Rgb(bytes)
            | Self::Rgba(bytes)
            | Self::Cmyk(bytes) => bytes,
        }
    }

    fn channels(&self) -> usize {
        match self {
            Self::Grey(_) => 1,
            Self::GreyAlpha(_) => 2,
            Self::Rgb(_) => 3,
            Self::Rgba(_) | Self::Cmyk(_) => 4,
        }
    }
}

/// Four-channel YCCK samples to four inks: the first three are CMY in the YCbCr of JPEG.
/// <https://www.w3.org/Graphics/JPEG/jfif3.pdf>, and Adobe's technical note 5116 for the fourth.
pub(crate) fn ycck_to_cmyk(samples: &mut [u8]) {
    for pixel in samples.as_chunks_mut::<4>().0 {
        let [luma, blue, red, _] = pixel.map(f32::from);
        let (blue, red) = (blue - 128.0, red - 128.0);
        let rgb =
            [luma + 1.402 * red, luma - 0.344_136 * blue - 0.714_136 * red, luma + 1.772 * blue];
        for (ink, level) in pixel.iter_mut().zip(rgb) {
            *ink = 255 - level_byte(level);
        }
    }
}

fn convert(
    converter: &Arc<dyn TransformExecutor<u8> + Send + Sync>,
    bytes: &[u8],
    row_bytes: usize,
    target_row_bytes: usize,
) -> Option<Vec<u8>> {
    let rows = bytes.len().checked_div(row_bytes)?;
    let mut converted = vec![0; rows * target_row_bytes];
    let targets = converted.chunks_exact_mut(target_row_bytes);
    for (row, target) in bytes.chunks_exact(row_bytes).zip(targets) {
        converter.transform(row, target).ok()?;
    }
    Some(converted)
}

fn product(one: u8, other: u8) -> u8 {
    let product = (u16::from(one) * u16::from(other) + 127) / 255;
    u8::try_from(product).unwrap_or(u8::MAX)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=255")]
fn level_byte(level: f32) -> u8 {
    level.round().clamp(0.0, 255.0) as u8
}
