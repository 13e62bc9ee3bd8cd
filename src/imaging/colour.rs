//! Colour turns what decoders give (grey, RGB, CMYK, with alpha or without, with a profile or
//! without) into sRGB. A profile that says what is assumed without one costs nothing.
//!
//! A profile is a program from a stranger: one that cannot be read, does not fit the pixels or
//! breaks the converter is ignored and the pixels are taken for sRGB, because a shop photograph
//! with a broken profile is still a shop photograph.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

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

/// An ICC profile under which samples mean something else than without it.
#[derive(Debug)]
pub(crate) struct Profile {
    profile: ColorProfile,
}

/// Profiles without a say, the newest last. Nearly every picture carries one of a few, and finding
/// out what one says takes half a millisecond. It holds what a pure function found and nothing else.
static SILENT: Mutex<VecDeque<blake3::Hash>> = Mutex::new(VecDeque::new());

/// How many of them are remembered.
const MAX_SILENT: usize = 32;

impl Profile {
    /// Reads a profile for samples of `space`; `None` where it cannot be read, is for other
    /// samples, breaks the converter, or says what is assumed without it: most pictures carry sRGB.
    pub(crate) fn read(icc: &[u8], space: DataColorSpace) -> Option<Self> {
        let samples = format!("{space:?}");
        let digest = blake3::Hasher::new().update(icc).update(samples.as_bytes()).finalize();
        let silent = || SILENT.lock().unwrap_or_else(PoisonError::into_inner);
        if silent().contains(&digest) {
            return None;
        }
        let profile = Self::told(icc, space);
        if profile.is_none() {
            let mut silent = silent();
            if silent.len() >= MAX_SILENT {
                silent.pop_front();
            }
            silent.push_back(digest);
        }
        profile
    }

    fn told(icc: &[u8], space: DataColorSpace) -> Option<Self> {
        let read = || {
            let profile = ColorProfile::new_from_slice(icc).ok()?;
            (profile.color_space == space).then_some(Self { profile })
        };
        let told = || {
            let profile = read()?;
            (!profile.is_assumed(space)?).then_some(profile)
        };
        // the converter is pure, so nothing is left half done behind a panic
        catch_unwind(AssertUnwindSafe(told)).ok().flatten()
    }

    fn converter(&self, from: Layout, to: Layout) -> Option<Converter> {
        let (srgb, options) = (ColorProfile::new_srgb(), TransformOptions::default());
        self.profile.create_transform_8bit(from, &srgb, to, options).ok()
    }

    /// Whether it leaves every colour where it is, give or take a level.
    fn is_assumed(&self, space: DataColorSpace) -> Option<bool> {
        let greys = 0..=u8::MAX;
        let spread = |levels: &[u8]| levels.iter().flat_map(|level| [*level; 3]).collect();
        let (from, given, assumed): (_, Vec<u8>, Vec<u8>) = if space == DataColorSpace::Gray {
            let given: Vec<u8> = greys.collect();
            let assumed = spread(&given);
            (Layout::Gray, given, assumed)
        } else if space == DataColorSpace::Rgb {
            let steps = || (0..=u8::MAX).step_by(51);
            let cube = steps()
                .flat_map(|r| steps().flat_map(move |g| steps().flat_map(move |b| [r, g, b])));
            let given: Vec<u8> = greys.flat_map(|level| [level; 3]).chain(cube).collect();
            (Layout::Rgb, given.clone(), given)
        } else {
            return Some(false);
        };
        let mut shown = vec![0; assumed.len()];
        self.converter(from, Layout::Rgb)?.transform(&given, &mut shown).ok()?;
        Some(shown.iter().zip(&assumed).all(|(one, other)| one.abs_diff(*other) <= 1))
    }
}

impl Samples {
    /// The same picture in sRGB, alpha straight; `profile` is for these samples.
    pub(crate) fn into_srgb(self, row_px: usize, profile: Option<&Profile>) -> Pixels {
        let profiled = profile.and_then(|profile| {
            catch_unwind(AssertUnwindSafe(|| self.by_profile(row_px, profile))).ok().flatten()
        });
        profiled.unwrap_or_else(|| self.assumed_srgb())
    }

    fn by_profile(&self, row_px: usize, profile: &Profile) -> Option<Pixels> {
        let (from, to) = match self {
            Self::Grey(_) => (Layout::Gray, Layout::Rgb),
            Self::GreyAlpha(_) => (Layout::GrayAlpha, Layout::Rgba),
            Self::Rgb(_) => (Layout::Rgb, Layout::Rgb),
            Self::Rgba(_) => (Layout::Rgba, Layout::Rgba),
            // four inks share the layout of four channels
            Self::Cmyk(_) => (Layout::Rgba, Layout::Rgb),
        };
        let converter = profile.converter(from, to)?;
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

type Converter = Arc<dyn TransformExecutor<u8> + Send + Sync>;

fn convert(
    converter: &Converter,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_that_says_what_is_assumed_is_none() {
        let read = |profile: ColorProfile, space| {
            Profile::read(&profile.encode().unwrap(), space).is_some()
        };
        assert!(!read(ColorProfile::new_srgb(), DataColorSpace::Rgb));
        assert!(read(ColorProfile::new_display_p3(), DataColorSpace::Rgb));
        assert!(read(ColorProfile::new_adobe_rgb(), DataColorSpace::Rgb));
        assert!(read(ColorProfile::new_gray_with_gamma(1.8), DataColorSpace::Gray));
        assert!(!read(ColorProfile::new_display_p3(), DataColorSpace::Gray), "for other samples");
        assert!(Profile::read(b"acsp", DataColorSpace::Rgb).is_none());
    }

    #[test]
    fn a_profile_seen_before_says_what_it_said_for_the_same_samples() {
        let grey = ColorProfile::new_gray_with_gamma(1.8).encode().unwrap();
        for _ in 0..3 {
            assert!(Profile::read(&grey, DataColorSpace::Rgb).is_none(), "for other samples");
            assert!(Profile::read(&grey, DataColorSpace::Gray).is_some());
        }
        for number in 0..2 * MAX_SILENT {
            assert!(Profile::read(&number.to_le_bytes(), DataColorSpace::Rgb).is_none());
        }
        assert!(SILENT.lock().unwrap().len() <= MAX_SILENT);
    }
}
