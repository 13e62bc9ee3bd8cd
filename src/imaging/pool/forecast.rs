//! The forecast is how long an image will keep a worker, from how long others like it did.
//!
//! By format and megapixel: a flat PNG of 20 KB takes as long as a rich one of 2 MB. The size is
//! read from where the header has it, without proof; a file that lies about it is refused within
//! microseconds of its turn. What is learnt is smoothed, and one odd image moves it by a third at
//! most: a forecast that is too high refuses images, and where nobody is ahead none is refused, so it
//! is always put right again.

use std::time::Duration;

use crate::domain::{Candidate, Format};
use crate::imaging::Plan;

/// Seconds a megapixel before anything was prepared: about what large photographs take.
const PRESUMED_S: f64 = 0.010;

/// How much the latest image counts.
const WEIGHT: f64 = 0.1;

/// It counts as this many times what was expected, at most, and as no less than one part in it.
const ODD: f64 = 4.0;

/// What a small image costs beside its pixels makes it as dear as this many megapixels.
const LEAST_MEGAPIXELS: f64 = 0.25;

/// Segments of a JPEG that are looked at for its size; cameras write about ten before it.
const MOST_SEGMENTS: usize = 256;

/// What is to be decoded: its format and megapixels.
pub(super) type Pixels = (Format, f64);

/// What one job asks of a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Load {
    /// What is to be decoded; `None` where nothing is.
    pixels: Option<Pixels>,
    /// What it is expected to take.
    pub(super) takes: Duration,
}

/// What is known of how long images take.
#[derive(Clone, Debug)]
pub(super) struct Forecast {
    /// Seconds a megapixel, by the order of [`Format::ALL`].
    seconds: [f64; 3],
}

impl Default for Forecast {
    fn default() -> Self {
        Self { seconds: [PRESUMED_S; 3] }
    }
}

impl Forecast {
    /// What preparing `pixels`, as [`pixels`] gave them, will take.
    pub(super) fn load(&self, pixels: Option<Pixels>) -> Load {
        let seconds = pixels
            .and_then(|(format, megapixels)| Some(self.seconds.get(place(format))? * megapixels));
        let takes = Duration::try_from_secs_f64(seconds.unwrap_or_default());
        Load { pixels, takes: takes.unwrap_or(Duration::MAX) }
    }

    /// Learns that `load` took so long.
    pub(super) fn learn(&mut self, load: Load, took: Duration) {
        let Some((format, megapixels)) = load.pixels else { return };
        let Some(known) = self.seconds.get_mut(place(format)) else { return };
        let latest = (took.as_secs_f64() / megapixels).clamp(*known / ODD, *known * ODD);
        *known += WEIGHT * (latest - *known);
    }
}

fn place(format: Format) -> usize {
    match format {
        Format::Jpeg => 0,
        Format::Png => 1,
        Format::WebP => 2,
    }
}

/// What of `candidate` is to be decoded under `plan`; `None` where a glance settles it.
pub(super) fn pixels(candidate: &Candidate, plan: &Plan) -> Option<Pixels> {
    let (format, bytes) = (candidate.format(), candidate.bytes());
    if format == Format::Jpeg && plan.wants_no_pixels() {
        return None;
    }
    let size = match format {
        Format::Jpeg => jpeg_size(bytes),
        Format::Png => png_size(bytes),
        Format::WebP => webp_size(bytes),
    };
    let (width_px, height_px) = size?;
    if plan.max_pixels < u64::from(width_px) * u64::from(height_px) {
        return None;
    }
    let megapixels = f64::from(width_px) * f64::from(height_px) / 1e6;
    Some((format, megapixels.max(LEAST_MEGAPIXELS)))
}

fn png_size(bytes: &[u8]) -> Option<(u32, u32)> {
    let (width, rest) = bytes.get(16..)?.split_first_chunk::<4>()?;
    Some((u32::from_be_bytes(*width), u32::from_be_bytes(*rest.first_chunk()?)))
}

/// See RFC 9649, 2.5 to 2.7: the chunk that comes first has the size.
fn webp_size(bytes: &[u8]) -> Option<(u32, u32)> {
    match bytes.get(12..16)? {
        b"VP8 " => {
            let &[wide, wider, high, higher] = bytes.get(26..)?.first_chunk::<4>()?;
            let low_14 = |bits: [u8; 2]| u32::from(u16::from_le_bytes(bits) & 0x3FFF);
            Some((low_14([wide, wider]), low_14([high, higher])))
        }
        b"VP8L" => {
            let bits = u32::from_le_bytes(*bytes.get(21..)?.first_chunk::<4>()?);
            Some(((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1))
        }
        b"VP8X" => {
            let &[a, b, c, d, e, f] = bytes.get(24..)?.first_chunk::<6>()?;
            Some((u32::from_le_bytes([a, b, c, 0]) + 1, u32::from_le_bytes([d, e, f, 0]) + 1))
        }
        _ => None,
    }
}

fn jpeg_size(bytes: &[u8]) -> Option<(u32, u32)> {
    let mut rest = bytes.get(2..)?;
    for _ in 0..MOST_SEGMENTS {
        let named = rest.iter().position(|byte| *byte != 0xFF).filter(|fillers| 0 < *fillers)?;
        let (marker, after) = rest.get(named..)?.split_first()?;
        let length = u16::from_be_bytes(*after.first_chunk::<2>()?);
        if matches!(marker, 0xC0..=0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF) {
            let &[high, low, wide, narrow] = after.get(3..)?.first_chunk::<4>()?;
            let [height, width] = [[high, low], [wide, narrow]].map(u16::from_be_bytes);
            return Some((width.into(), height.into()));
        }
        rest = after.get(usize::from(length)..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_size_is_read_from_every_header() {
        let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
        png.extend([0, 0, 4, 0, 0, 0, 3, 0]);
        assert_eq!(png_size(&png), Some((1_024, 768)));
        // an application segment, then a frame of 1,200 rows and 1,600 columns
        let jpeg = b"\xFF\xD8\xFF\xE0\0\x04ab\xFF\xFF\xC2\0\x11\x08\x04\xB0\x06\x40\x03";
        assert_eq!(jpeg_size(jpeg), Some((1_600, 1_200)));
        let lossy = b"RIFF\0\0\0\0WEBPVP8 \0\0\0\0\0\0\0\x9D\x01\x2A\x40\x06\xB0\x44";
        assert_eq!(webp_size(lossy), Some((1_600, 1_200)), "the scale above 14 bits is no size");
        let lossless = b"RIFF\0\0\0\0WEBPVP8L\0\0\0\0\x2F\x3F\xC6\x2B\x11";
        assert_eq!(webp_size(lossless), Some((1_600, 1_200)));
        let extended = b"RIFF\0\0\0\0WEBPVP8X\0\0\0\0\0\0\0\0\x3F\x06\0\xAF\x04\0";
        assert_eq!(webp_size(extended), Some((1_600, 1_200)));
        for cut in 0..jpeg.len() {
            assert!(jpeg_size(&jpeg[..cut]).is_none() || jpeg.len() - 1 <= cut);
        }
        let endless = [b"\xFF\xD8".as_slice(), &b"\xFF\xE0\0\x02".repeat(1_000)].concat();
        assert_eq!(jpeg_size(&endless), None);
    }

    #[test]
    fn what_images_take_is_learnt_by_format_and_size() {
        let mut forecast = Forecast::default();
        let png = |megapixels| Some((Format::Png, megapixels));
        for _ in 0..200 {
            forecast.learn(forecast.load(png(2.0)), SECOND / 10);
        }
        let takes = |load: Load| load.takes.as_secs_f64();
        assert!((takes(forecast.load(png(4.0))) - 0.2).abs() < 0.001);
        let jpeg = forecast.load(Some((Format::Jpeg, 4.0)));
        assert!((takes(jpeg) - 4.0 * PRESUMED_S).abs() < 1e-9, "none has come yet");
        assert_eq!(forecast.load(None).takes, Duration::ZERO);
    }

    #[test]
    fn one_odd_image_does_not_make_the_others_hopeless() {
        let mut forecast = Forecast::default();
        let one = Some((Format::Jpeg, 1.0));
        let before = forecast.load(one).takes;
        forecast.learn(forecast.load(one), SECOND * 100);
        assert!(forecast.load(one).takes <= before.mul_f64(1.31));
        forecast.learn(forecast.load(one), Duration::ZERO);
        assert!(before.mul_f64(0.9) < forecast.load(one).takes);
    }
}
