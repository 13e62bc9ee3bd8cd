//! The limits that every decoder holds its header to, and how it refuses.

use image::metadata::Orientation;

use crate::domain::Inadmissible;
use crate::imaging::memory::Memory;
use crate::imaging::picture::WrongSize;

/// What one image may cost.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// Most pixels.
    pub(crate) max_pixels: u64,
    /// Most memory while decoding.
    pub(crate) max_bytes: u64,
    /// Leave to take that memory.
    pub(crate) memory: Memory,
}

/// The number of pixels, if it is allowed.
pub(crate) fn check_pixels(
    (width_px, height_px): (u32, u32),
    limits: &Limits,
) -> Result<u64, Inadmissible> {
    let limit_px = limits.max_pixels;
    let pixels = u64::from(width_px) * u64::from(height_px);
    if pixels == 0 {
        return Err(corrupt("the picture has no pixels"));
    }
    if limit_px < pixels {
        return Err(Inadmissible::TooManyPixels { width_px, height_px, limit_px });
    }
    Ok(pixels)
}

/// Refuses what needs more than the allowed memory, and takes what it needs. Asked once, before
/// anything of it is allocated: what it needs is the most that will be held at any time, views
/// included. Where that is not free now the work ends with an error that its caller never sees: it
/// is begun again later.
pub(crate) fn check_bytes(needed_bytes: u64, limits: &Limits) -> Result<(), Inadmissible> {
    let limit_bytes = limits.max_bytes;
    if limit_bytes < needed_bytes {
        return Err(Inadmissible::TooMuchMemory { needed_bytes, limit_bytes });
    }
    if !limits.memory.take(needed_bytes) {
        return Err(corrupt("there is no memory for it now"));
    }
    Ok(())
}

/// A refusal of the file itself. What a decoder says is cut: it may quote the file.
pub(crate) fn corrupt(what: &str) -> Inadmissible {
    const MOST_CHARS: usize = 160;
    let printable = what.chars().filter(|char| !char.is_control());
    Inadmissible::Corrupt { what: printable.take(MOST_CHARS).collect() }
}

/// The orientation in an XMP packet, where one is written as an attribute or an element.
pub(crate) fn xmp_orientation(packet: &[u8]) -> Option<Orientation> {
    const NAME: &[u8] = b"tiff:Orientation";
    let at = packet.windows(NAME.len()).position(|window| window == NAME)?;
    let digit = packet.get(at + NAME.len()..)?.iter().take(4).find(|byte| byte.is_ascii_digit())?;
    Orientation::from_exif(digit - b'0')
}

/// The orientation in an EXIF block, with JPEG's mark before it or without.
pub(crate) fn exif_orientation(exif: &[u8]) -> Option<Orientation> {
    Orientation::from_exif_chunk(exif.strip_prefix(b"Exif\0\0").unwrap_or(exif))
}

impl From<WrongSize> for Inadmissible {
    fn from(WrongSize: WrongSize) -> Self {
        corrupt("the pixels do not fill the picture")
    }
}
