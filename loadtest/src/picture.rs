//! A picture is an image as a provider receives it: the hash of its bytes, and what its header says.
//!
//! Only the header is read, because a provider's price depends on the size alone and a simulated
//! judge does not look.

/// An image in a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Picture {
    /// The hash of the bytes; of an image by reference, of the reference itself.
    pub(crate) digest: blake3::Hash,
    /// What the header says; an image by reference is taken as 1024 x 1024.
    pub(crate) size: Size,
    /// The resolution that the caller asked to be looked at.
    pub(crate) detail: Detail,
}

impl Picture {
    /// An image that a provider would fetch; nothing is fetched here.
    pub(crate) fn by_reference(reference: &str, detail: Detail) -> Self {
        let size = Size { width_px: 1024, height_px: 1024 };
        Self { digest: blake3::hash(reference.as_bytes()), size, detail }
    }
}

/// The pixel size in an image header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) width_px: u32,
    pub(crate) height_px: u32,
}

/// The resolution at which a model looks; the union of the dialects' words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Detail {
    /// Not stated.
    #[default]
    Auto,
    Low,
    Medium,
    High,
    /// All pixels: OpenAI's `original`, Gemini's ultra-high.
    Original,
}

/// The formats that providers know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Png,
    Jpeg,
    Gif,
    WebP,
}

impl Format {
    pub(crate) const fn media_type(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::Gif => "image/gif",
            Self::WebP => "image/webp",
        }
    }
}

/// Reads format and size from an image's first bytes; `None` when they are no image's.
pub(crate) fn read_header(bytes: &[u8]) -> Option<(Format, Size)> {
    if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        let size = Size { width_px: be32(bytes, 16)?, height_px: be32(bytes, 20)? };
        return sane(Format::Png, size);
    }
    if bytes.starts_with(b"\xff\xd8") {
        return sane(Format::Jpeg, jpeg_size(bytes)?);
    }
    if bytes.starts_with(b"GIF8") {
        let size = Size { width_px: le16(bytes, 6)?, height_px: le16(bytes, 8)? };
        return sane(Format::Gif, size);
    }
    if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
        return sane(Format::WebP, webp_size(bytes)?);
    }
    None
}

/// No provider takes a longer edge, and token rules need not count further.
const MAX_EDGE_PX: u32 = 65_535;

fn sane(format: Format, size: Size) -> Option<(Format, Size)> {
    let is_sane = |edge_px: u32| (1..=MAX_EDGE_PX).contains(&edge_px);
    (is_sane(size.width_px) && is_sane(size.height_px)).then_some((format, size))
}

/// Walks the segments to the frame header (SOF0..SOF15 without DHT, JPG and DAC).
fn jpeg_size(bytes: &[u8]) -> Option<Size> {
    let mut at = 2;
    loop {
        let [0xff, marker] = *bytes.get(at..at + 2)? else { return None };
        match marker {
            0xff => at += 1, // fill byte
            0x01 | 0xd0..=0xd8 => at += 2,
            0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => {
                let size = Size { width_px: be16(bytes, at + 7)?, height_px: be16(bytes, at + 5)? };
                return Some(size);
            }
            _ => at += 2 + usize::try_from(be16(bytes, at + 2)?).ok()?,
        }
    }
}

/// The three kinds of WebP keep their size in three ways (RFC 9649).
fn webp_size(bytes: &[u8]) -> Option<Size> {
    match bytes.get(12..16)? {
        b"VP8X" => Some(Size { width_px: le24(bytes, 24)? + 1, height_px: le24(bytes, 27)? + 1 }),
        b"VP8L" => {
            let packed = le32(bytes, 21)?;
            let (width, height) = (packed & 0x3fff, (packed >> 14) & 0x3fff);
            Some(Size { width_px: width + 1, height_px: height + 1 })
        }
        b"VP8 " => {
            let (width, height) = (le16(bytes, 26)?, le16(bytes, 28)?);
            Some(Size { width_px: width & 0x3fff, height_px: height & 0x3fff })
        }
        _ => None,
    }
}

fn be16(bytes: &[u8], at: usize) -> Option<u32> {
    let pair: [u8; 2] = bytes.get(at..at + 2)?.try_into().ok()?;
    Some(u32::from(u16::from_be_bytes(pair)))
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes)
}

fn le16(bytes: &[u8], at: usize) -> Option<u32> {
    let pair: [u8; 2] = bytes.get(at..at + 2)?.try_into().ok()?;
    Some(u32::from(u16::from_le_bytes(pair)))
}

fn le24(bytes: &[u8], at: usize) -> Option<u32> {
    let [low, middle, high]: [u8; 3] = bytes.get(at..at + 3)?.try_into().ok()?;
    Some(u32::from_le_bytes([low, middle, high, 0]))
}

fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], expected: Option<(Format, u32, u32)>) {
        let found = read_header(bytes).map(|(format, s)| (format, s.width_px, s.height_px));
        assert_eq!(found, expected);
    }

    #[test]
    fn the_size_is_read_from_every_format() {
        let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x04\0\0\0\x03\0\x08\x02";
        check(png, Some((Format::Png, 1024, 768)));
        // APP0, a restart marker and fill bytes before the progressive frame header
        let jpeg = b"\xff\xd8\xff\xe0\0\x04ab\xff\xd0\xff\xff\xc2\0\x11\x08\x03\0\x04\0\x03";
        check(jpeg, Some((Format::Jpeg, 1024, 768)));
        check(b"GIF89a\x00\x04\x00\x03", Some((Format::Gif, 1024, 768)));
        let vp8x = b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\xff\x03\0\xff\x02\0";
        check(vp8x, Some((Format::WebP, 1024, 768)));
        let packed = (1023_u32 | (767 << 14)).to_le_bytes();
        let vp8l = [b"RIFF\0\0\0\0WEBPVP8L\0\0\0\0\x2f".as_slice(), &packed].concat();
        check(&vp8l, Some((Format::WebP, 1024, 768)));
        let vp8 = b"RIFF\0\0\0\0WEBPVP8 \0\0\0\0\0\0\0\x9d\x01\x2a\x00\x04\x00\x03";
        check(vp8, Some((Format::WebP, 1024, 768)));
    }

    #[test]
    fn a_cut_or_foreign_header_is_no_image() {
        let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x04\0\0\0\x03\0";
        for length in 0..24 {
            check(&png[..length], None);
        }
        check(b"%PDF-1.7", None);
        check(b"\xff\xd8\xff\xe0\xff\xff", None);
        check(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\0\0\0\x03\0", None);
    }
}
