//! A fingerprint is 64 bits that stay nearly the same when a picture is scaled, re-encoded or
//! made brighter: the signs of its 64 slowest cosine waves (a "pHash").

use std::borrow::Cow;
use std::f64::consts::PI;
use std::str::FromStr;
use std::sync::LazyLock;

use fast_image_resize::{FilterType, PixelType};
use thiserror::Error;

use crate::domain::policy::Fingerprint;
use crate::imaging::resize::{Area, Source, WrongSize};
use crate::imaging::sample::{Sample, on_white};

/// Side of the thumbnail that is transformed.
const THUMB_PX: u32 = 32;

/// Why a text is not a fingerprint.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0:?} is not a fingerprint: expected 16 hex digits")]
pub struct NotAFingerprint(String);

impl FromStr for Fingerprint {
    type Err = NotAFingerprint;

    fn from_str(text: &str) -> Result<Self, NotAFingerprint> {
        let hex = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let bits = hex.then(|| u64::from_str_radix(text, 16).ok()).flatten();
        bits.map(Self).ok_or_else(|| NotAFingerprint(text.to_owned()))
    }
}

/// The fingerprint of a picture by its sample, laid on white.
pub(crate) fn fingerprint(sample: &Sample) -> Result<Fingerprint, WrongSize> {
    let levels = if sample.is_opaque {
        Cow::Borrowed(sample.luma.cells())
    } else {
        let pixels = sample.rgba.cells().iter().zip(sample.luma.cells());
        Cow::Owned(pixels.map(|(pixel, luma)| on_white(*pixel, *luma)).collect())
    };
    let (width, height) = sample.rgba.size();
    let size = (width.cast_unsigned(), height.cast_unsigned());
    let source = Source { bytes: &levels, size, kind: PixelType::U8 };
    let whole = Area { left: 0.0, top: 0.0, width: width.into(), height: height.into() };
    let thumb = source.resized(whole, (THUMB_PX, THUMB_PX), FilterType::Hamming)?;
    let luma: Vec<f64> = thumb.into_iter().map(f64::from).collect();
    Ok(Fingerprint(signs(&waves(&luma))))
}

/// Bits in which two fingerprints differ, 0..=64.
pub(crate) fn distance(one: Fingerprint, other: Fingerprint) -> u32 {
    (one.0 ^ other.0).count_ones()
}

/// The waves 1..=8 along a side of the thumbnail.
static SHAPES: LazyLock<Vec<Vec<f64>>> = LazyLock::new(|| {
    let side = f64::from(THUMB_PX);
    let wave = |number: u32| -> Vec<f64> {
        (0..THUMB_PX)
            .map(|place| (PI * (f64::from(place) + 0.5) * f64::from(number) / side).cos())
            .collect()
    };
    (1..=8).map(wave).collect()
});

/// The waves 1..=8 in both directions: without the constant, which says how bright the picture is.
fn waves(luma: &[f64]) -> Vec<f64> {
    let dot =
        |one: &[f64], other: &[f64]| -> f64 { one.iter().zip(other).map(|(a, b)| a * b).sum() };
    // first along the rows, then down the columns
    let rows: Vec<Vec<f64>> = SHAPES
        .iter()
        .map(|shape| luma.chunks_exact(THUMB_PX as usize).map(|row| dot(row, shape)).collect())
        .collect();
    SHAPES.iter().flat_map(|shape| rows.iter().map(|row| dot(row, shape))).collect()
}

/// A bit for every wave that is above the median of all.
fn signs(waves: &[f64]) -> u64 {
    let mut sorted = waves.to_vec();
    sorted.sort_by(f64::total_cmp);
    let median = sorted.get(sorted.len() / 2).copied().unwrap_or_default();
    waves.iter().fold(0, |bits, wave| bits << 1 | u64::from(median < *wave))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_sixteen_hex_digits() {
        assert_eq!("00000000000000fF".parse(), Ok(Fingerprint(255)));
        for wrong in ["", "ff", "+0000000000000ff", "00000000000000f ", "00000000000000fff"] {
            assert_eq!(wrong.parse::<Fingerprint>(), Err(NotAFingerprint(wrong.to_owned())));
        }
    }

    #[test]
    fn distance_counts_the_bits_that_differ() {
        assert_eq!(distance(Fingerprint(0), Fingerprint(0)), 0);
        assert_eq!(distance(Fingerprint(0b1011), Fingerprint(0b0001)), 2);
        assert_eq!(distance(Fingerprint(0), Fingerprint(u64::MAX)), 64);
    }
}
