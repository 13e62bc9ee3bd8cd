//! A JPEG is read in two steps: its outline by us, its pixels by a decoder.
//!
//! The outline walks the markers once. It counts what decoding will cost before any pixel is
//! decoded, finds the metadata that matters, proves that the file has its end, and copies out the
//! segments a decoder needs and nothing else. So junk between segments, a second picture behind
//! the first (MPO) and megabytes of comments never reach the decoder, which can then be strict: a
//! file that is cut or broken is refused instead of ending in grey.
//!
//! Whether a file is whole, [`strict`] says. Where libjpeg-turbo is built in, the usual forms are
//! decoded by it, no finer than somebody looks at; what it so much as warns about, what is unusual
//! and what would keep it busy for long are decoded by the other, which can be stopped by a clock.
//! So both builds accept the same files, but for colours sampled four to one downwards, which the
//! strict decoder gets wrong and therefore refuses.

use image::metadata::Orientation;
use memchr::memchr;
use moxcms::DataColorSpace;

use crate::domain::Inadmissible;
use crate::domain::policy::ViewSpec;
use crate::imaging::allowance::Allowance;
use crate::imaging::colour::{Profile, Samples};
use crate::imaging::decoded::{
    Limits, check_bytes, check_pixels, corrupt, exif_orientation, xmp_orientation,
};
#[cfg(feature = "fast-codecs")]
use crate::imaging::picture::turned_size;
use crate::imaging::picture::{Buffer, Held, Picture, Pixels};
use crate::imaging::planes::Planes;
use crate::imaging::strict;
#[cfg(feature = "fast-codecs")]
use crate::imaging::turbo;
#[cfg(feature = "fast-codecs")]
use crate::imaging::view;

/// Most scans in one file. Cameras and encoders write up to about 12; more is work for nothing.
pub(crate) const MAX_SCANS: u16 = 64;

/// Most pixels visited by all scans together: 25 scans of 40 megapixels.
const MAX_SCANNED_PX: u64 = 1_000_000_000;

/// Most of them for the decoder that no clock can stop: about a second's work.
#[cfg(feature = "fast-codecs")]
const MAX_FAST_SCANNED_PX: u64 = 400_000_000;

/// The marker of a progressive frame.
const PROGRESSIVE: u8 = 0xC2;

pub(crate) const SOI: u8 = 0xD8;
pub(crate) const EOI: u8 = 0xD9;
pub(crate) const SOS: u8 = 0xDA;

/// What the markers say.
#[derive(Debug, Default)]
struct Outline {
    width_px: u16,
    height_px: u16,
    components: u64,
    /// The marker of the frame: how it is coded.
    coding: u8,
    /// The colours are sampled as the strict decoder cannot read them: it would show them green.
    odd: bool,
    /// Samples of all components, padded to whole blocks.
    samples: u64,
    scans: u64,
    orientation: Option<Orientation>,
    xmp_orientation: Option<Orientation>,
    /// Parts of the profile by their number.
    profile: Vec<(u8, Vec<u8>)>,
    /// An Adobe segment was there: four-component samples are stored inverted.
    adobe: bool,
    /// The file without what decoding does not need.
    lean: Vec<u8>,
}

/// Decodes a JPEG for `views` and for the sample.
pub(crate) fn decode(
    bytes: &[u8],
    limits: &Limits,
    views: &[ViewSpec],
    allowance: &Allowance,
) -> Result<Picture, Inadmissible> {
    let mut outline = Outline::read(bytes)?;
    outline.check(limits)?;
    let space = match outline.components {
        1 => DataColorSpace::Gray,
        3 => DataColorSpace::Rgb,
        _ => DataColorSpace::Cmyk,
    };
    let profile = outline.joined_profile().and_then(|icc| Profile::read(&icc, space));
    let size = (outline.width_px.into(), outline.height_px.into());
    let orientation = outline.orientation.or(outline.xmp_orientation);
    let orientation = orientation.unwrap_or(Orientation::NoTransforms);
    if let Some((held, shrink)) = fast(&outline, orientation, views, profile.as_ref()) {
        return Ok(Picture::new(size, held, shrink, orientation)?);
    }
    if outline.odd {
        return Err(corrupt("the colours are sampled in a way that cannot be read"));
    }
    let layout = strict::Layout { components: outline.components, is_adobe: outline.adobe };
    let samples = strict::samples(&outline.lean, layout, allowance)?;
    let held = held(samples, size, profile.as_ref());
    Ok(Picture::new(size, held, 1, orientation)?)
}

/// Opaque samples as they are held: what is grey stays grey.
fn held(samples: Samples, size: (u32, u32), profile: Option<&Profile>) -> Held {
    match (samples, profile) {
        (Samples::Grey(levels), None) => Held::Planes(Planes::grey(levels, size)),
        (Samples::Rgb(bytes), None) => Held::Rgb(Buffer::Own(bytes)),
        (samples, profile) => match samples.into_srgb(size.0 as usize, profile) {
            Pixels::Rgb(bytes) | Pixels::Rgba(bytes) => Held::Rgb(Buffer::Own(bytes)),
        },
    }
}

impl Outline {
    fn read(bytes: &[u8]) -> Result<Self, Inadmissible> {
        let mut outline = Self::default();
        outline.lean.reserve(bytes.len());
        outline.lean.extend([0xFF, SOI]);
        let mut rest = bytes.get(2..).unwrap_or_default();
        loop {
            let (marker, after) = next_marker(rest).ok_or_else(|| corrupt(CUT_OFF))?;
            rest = match marker {
                EOI => break,
                // stray restarts and fillers stand alone
                0x01 | 0xD0..=0xD7 => after,
                SOI => return Err(corrupt("a second picture begins inside the first")),
                _ => outline.segment(marker, after)?,
            };
        }
        if outline.scans == 0 || outline.width_px == 0 || outline.height_px == 0 {
            return Err(corrupt("the file holds no picture"));
        }
        outline.lean.extend([0xFF, EOI]);
        Ok(outline)
    }

    /// Reads one segment with a length and returns what follows it.
    fn segment<'a>(&mut self, marker: u8, at: &'a [u8]) -> Result<&'a [u8], Inadmissible> {
        let length = at.first_chunk::<2>().map(|length| u16::from_be_bytes(*length));
        let length = usize::from(length.ok_or_else(|| corrupt(CUT_OFF))?);
        let (whole, rest) = at.split_at_checked(length).ok_or_else(|| corrupt(CUT_OFF))?;
        let body = whole.get(2..).ok_or_else(|| corrupt("a segment is shorter than its length"))?;
        match marker {
            0xC0..=0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF => self.frame(marker, body)?,
            SOS => return self.scan(whole, rest),
            0xE1 => self.exif_or_xmp(body),
            0xE2 => self.profile_part(body),
            0xEE if body.starts_with(b"Adobe") && body.len() >= 12 => self.adobe = true,
            _ => {}
        }
        let needed = match marker {
            // tables, frame, restart interval
            0xC0..=0xCF | 0xDB | 0xDD => true,
            // JFIF and AVI1 say how to read the components
            0xE0 => true,
            0xEE => self.adobe,
            _ => false,
        };
        if needed {
            self.keep(marker, whole);
        }
        Ok(rest)
    }

    fn keep(&mut self, marker: u8, whole: &[u8]) {
        self.lean.extend([0xFF, marker]);
        self.lean.extend(whole);
    }

    fn frame(&mut self, marker: u8, body: &[u8]) -> Result<(), Inadmissible> {
        if self.components != 0 {
            return Err(corrupt("the file has two frames"));
        }
        let Some((&[8, high, low, wide, narrow, count], listed)) = body.split_first_chunk::<6>()
        else {
            return Err(corrupt("only JPEGs of 8 bits a sample can be read"));
        };
        self.height_px = u16::from_be_bytes([high, low]);
        self.width_px = u16::from_be_bytes([wide, narrow]);
        self.components = count.into();
        self.coding = marker;
        let factors = || {
            let listed = listed.as_chunks::<3>().0.iter().take(count.into());
            listed.map(|[_, factors, _]| (u64::from(factors >> 4), u64::from(factors & 15)))
        };
        if factors().len() != usize::from(count) || factors().any(|(h, v)| h * v == 0) {
            return Err(corrupt("the frame does not list its components"));
        }
        // the decoder takes the first for the finest, and breaks where it is not
        let finest = factors().next().unwrap_or((1, 1));
        if factors().any(|(h, v)| finest.0 < h || finest.1 < v) {
            return Err(corrupt("a component is sampled more finely than the first"));
        }
        let most = |each: fn((u64, u64)) -> u64| factors().map(each).max().unwrap_or(1);
        let (wide, high) = (most(|(h, _)| h), most(|(_, v)| v));
        let is_read = |(h, v): (u64, u64)| {
            let is_even = wide.is_multiple_of(h) && high.is_multiple_of(v);
            is_even && matches!((wide / h, high / v), (1 | 2, 1 | 2) | (4, 1))
        };
        self.odd = count > 1 && !factors().all(is_read);
        let columns = u64::from(self.width_px).div_ceil(8 * wide);
        let rows = u64::from(self.height_px).div_ceil(8 * high);
        self.samples = factors().map(|(h, v)| columns * h * 8 * rows * v * 8).sum();
        Ok(())
    }

    /// Copies a scan with its entropy-coded data and returns what follows.
    fn scan<'a>(&mut self, header: &[u8], at: &'a [u8]) -> Result<&'a [u8], Inadmissible> {
        self.scans += 1;
        if u64::from(MAX_SCANS) < self.scans {
            return Err(corrupt(&format!("the file has more than {MAX_SCANS} scans")));
        }
        let (coded, rest) = at.split_at(coded_length(at).0);
        self.keep(SOS, header);
        self.lean.extend(coded);
        Ok(rest)
    }

    fn exif_or_xmp(&mut self, body: &[u8]) {
        if body.starts_with(b"Exif\0\0") {
            self.orientation = self.orientation.or_else(|| exif_orientation(body));
        } else if body.starts_with(b"http://ns.adobe.com/xap/1.0/\0") {
            self.xmp_orientation = self.xmp_orientation.or(xmp_orientation(body));
        }
    }

    fn profile_part(&mut self, body: &[u8]) {
        let Some(rest) = body.strip_prefix(b"ICC_PROFILE\0") else { return };
        // number and count come first
        if let Some((&[number, _], part)) = rest.split_first_chunk::<2>() {
            self.profile.push((number, part.to_vec()));
        }
    }

    fn joined_profile(&mut self) -> Option<Vec<u8>> {
        self.profile.sort_by_key(|(number, _)| *number);
        let parts = std::mem::take(&mut self.profile);
        let joined: Vec<u8> = parts.into_iter().flat_map(|(_, part)| part).collect();
        (!joined.is_empty()).then_some(joined)
    }

    fn check(&self, limits: &Limits) -> Result<(), Inadmissible> {
        let pixels = check_pixels((self.width_px.into(), self.height_px.into()), limits)?;
        if MAX_SCANNED_PX < self.scans * pixels {
            let scans = self.scans;
            return Err(corrupt(&format!("{scans} scans of {pixels} pixels are too much work")));
        }
        let held = if self.coding == PROGRESSIVE || self.scans > 1 { 2 * self.samples } else { 0 };
        // planes come in one piece, and while they are cut apart one colour is there twice
        let cut = if cfg!(feature = "fast-codecs") && self.components == 3 {
            self.samples + self.samples / 3
        } else {
            0
        };
        let given = (pixels * self.components.max(3)).max(cut);
        let converted = self.components == 4 || !self.profile.is_empty();
        let copied = if converted { pixels * 3 } else { 0 };
        let lean = self.lean.len() as u64;
        check_bytes(lean + given + held.max(copied), limits)
    }
}

/// What libjpeg-turbo makes of the file, and the file's pixels along a side of one of it; `None`
/// where the file is not for it.
#[cfg(feature = "fast-codecs")]
fn fast(
    outline: &Outline,
    orientation: Orientation,
    views: &[ViewSpec],
    profile: Option<&Profile>,
) -> Option<(Held, u32)> {
    let size = (u32::from(outline.width_px), u32::from(outline.height_px));
    let scanned = outline.scans * u64::from(size.0) * u64::from(size.1);
    // baseline, extended or progressive, by Huffman's codes
    if !matches!(outline.coding, 0xC0..=PROGRESSIVE) || MAX_FAST_SCANNED_PX < scanned {
        return None;
    }
    let shrink = view::shrink(turned_size(size, orientation), views);
    let decoded = match (outline.components, profile) {
        (1 | 3, None) if !outline.odd => Held::Planes(turbo::planes(&outline.lean, size, shrink)?),
        (3, profile) => {
            let samples = Samples::Rgb(turbo::rgb(&outline.lean, size, shrink)?);
            held(samples, (size.0.div_ceil(shrink), size.1.div_ceil(shrink)), profile)
        }
        _ => return None,
    };
    Some((decoded, shrink))
}

#[cfg(not(feature = "fast-codecs"))]
fn fast(_: &Outline, _: Orientation, _: &[ViewSpec], _: Option<&Profile>) -> Option<(Held, u32)> {
    None
}

const CUT_OFF: &str = "the file is cut off: it ends without its end marker";

/// The next marker and what follows it; bytes that belong to no segment are skipped.
fn next_marker(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let mut rest = bytes;
    loop {
        let begins = rest.iter().position(|byte| *byte == 0xFF)?;
        rest = rest.get(begins..)?;
        let named = rest.iter().position(|byte| *byte != 0xFF)?;
        let (marker, after) = rest.get(named..)?.split_first()?;
        if *marker != 0 {
            return Some((*marker, after));
        }
        rest = after;
    }
}

/// Length of the entropy-coded data at the start of `bytes`, up to the next marker that is no
/// restart or to the end, and the restarts in it.
pub(crate) fn coded_length(bytes: &[u8]) -> (usize, u32) {
    let (mut from, mut restarts) = (0, 0);
    while let Some(next) = bytes.get(from..).and_then(|rest| memchr(0xFF, rest)) {
        let at = from + next;
        match bytes.get(at + 1) {
            Some(0x00) => from = at + 2,
            Some(0xD0..=0xD7) => {
                restarts += 1;
                from = at + 2;
            }
            Some(0xFF) => from = at + 1,
            Some(_) => return (at, restarts),
            None => break,
        }
    }
    (bytes.len(), restarts)
}
