//! A candidate is an image admitted for checking: holding one proves that its bytes are within the
//! policy's limit and that they begin like a format the policy accepts.
//!
//! The format is read from the bytes, never from a name or a header: a PNG may be called `.jpg`,
//! and a provider refuses a picture whose declared type and bytes disagree.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use thiserror::Error;

/// The image formats the gate reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// JPEG, baseline or progressive.
    Jpeg,
    /// PNG.
    Png,
    /// WebP, lossy or lossless.
    WebP,
}

impl Format {
    /// Every format, in the order they are listed to people.
    pub const ALL: [Self; 3] = [Self::Jpeg, Self::Png, Self::WebP];

    /// The format that the first bytes announce.
    #[must_use]
    pub fn sniff(bytes: &[u8]) -> Option<Self> {
        if bytes.starts_with(&[0xFF, 0xD8, 0xFF]) {
            return Some(Self::Jpeg);
        }
        if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
            return Some(Self::Png);
        }
        let riff = bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP");
        riff.then_some(Self::WebP)
    }

    /// The word used in policies, records and metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Jpeg => "jpeg",
            Self::Png => "png",
            Self::WebP => "webp",
        }
    }

    /// The media type on the wire.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::WebP => "image/webp",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// The BLAKE3 digest of some bytes; prints as `b3:` and 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Digests `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// The raw 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The image's lot, 0..1: drawn once for all, alike for every judge and policy, and independent
    /// of whatever else is drawn by the digest.
    #[must_use]
    pub fn lot(&self) -> f64 {
        let [a, b, c, d, e, f, g, ..] = *blake3::keyed_hash(&self.0, b"vlmgate lot").as_bytes();
        let bits = u64::from_be_bytes([0, a, b, c, d, e, f, g]);
        // 53 of the 56 bits: as many as a double holds
        #[expect(clippy::cast_precision_loss, reason = "both are powers of two or below 2^53")]
        let lot = (bits >> 3) as f64 / (1_u64 << 53) as f64;
        lot
    }

    /// 64 hex digits without the prefix: a file name.
    #[must_use]
    pub fn to_hex(&self) -> String {
        blake3::Hash::from_bytes(self.0).to_hex().to_string()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b3:{}", self.to_hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is not a digest.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0:?} is not a digest: expected b3: and 64 hex digits")]
pub struct NotADigest(String);

impl FromStr for Digest {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Self, NotADigest> {
        let hex = text.strip_prefix("b3:").ok_or_else(|| NotADigest(text.to_owned()))?;
        let hash = blake3::Hash::from_hex(hex).map_err(|_| NotADigest(text.to_owned()))?;
        Ok(Self(*hash.as_bytes()))
    }
}

/// Why an upload is not judged. The caller is told, it is counted, and no record is made.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Inadmissible {
    /// The body holds nothing.
    #[error("the image is empty")]
    Empty,
    /// More bytes than the policy takes.
    #[error("the image has {size_bytes} bytes, the limit is {limit_bytes}")]
    TooLarge {
        /// What came, or what was announced.
        size_bytes: u64,
        /// `input.max_bytes`.
        limit_bytes: u64,
    },
    /// The first bytes are those of no format the gate reads.
    #[error("the bytes are not a JPEG, PNG or WebP image")]
    UnknownFormat,
    /// A format the gate reads and this policy does not take.
    #[error("the image is {format}, this policy accepts {accepted}")]
    NotAccepted {
        /// What the bytes say.
        format: Format,
        /// `input.accept`, joined.
        accepted: String,
    },
    /// More pixels than the policy takes, read from the header before any pixel is decoded.
    #[error("the image is {width_px} x {height_px}, the limit is {limit_px} pixels")]
    TooManyPixels {
        /// From the header.
        width_px: u32,
        /// From the header.
        height_px: u32,
        /// `input.max_pixels`.
        limit_px: u64,
    },
    /// Decoding would take more memory than is allowed for one image.
    #[error("decoding the image needs {needed_bytes} bytes, the limit is {limit_bytes}")]
    TooMuchMemory {
        /// What the header asks for.
        needed_bytes: u64,
        /// The decoder's allowance.
        limit_bytes: u64,
    },
    /// The file cannot be read to its end: cut off, corrupt, or hostile.
    #[error("the image cannot be decoded: {what}")]
    Corrupt {
        /// What the decoder said.
        what: String,
    },
    /// Decoding took longer than one image may.
    #[error("decoding the image took longer than {limit_ms} ms")]
    TooSlow {
        /// The decoder's allowance.
        limit_ms: u64,
    },
}

impl Inadmissible {
    /// Every word for metrics, in the order of the variants.
    pub const LABELS: [&'static str; 8] = [
        "empty",
        "too_large",
        "unknown_format",
        "not_accepted",
        "too_many_pixels",
        "too_much_memory",
        "corrupt",
        "too_slow",
    ];

    /// The word for metrics.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::TooLarge { .. } => "too_large",
            Self::UnknownFormat => "unknown_format",
            Self::NotAccepted { .. } => "not_accepted",
            Self::TooManyPixels { .. } => "too_many_pixels",
            Self::TooMuchMemory { .. } => "too_much_memory",
            Self::Corrupt { .. } => "corrupt",
            Self::TooSlow { .. } => "too_slow",
        }
    }
}

/// An image admitted for checking. Cloning shares the bytes.
#[derive(Clone, Debug)]
pub struct Candidate {
    bytes: Bytes,
    format: Format,
    digest: Digest,
}

impl Candidate {
    /// Admits `bytes` and digests them.
    ///
    /// # Errors
    /// As [`Candidate::admit_digested`].
    pub fn admit(bytes: Bytes, accept: &[Format], limit_bytes: u64) -> Result<Self, Inadmissible> {
        let digest = Digest::of(&bytes);
        Self::admit_digested((bytes, digest), accept, limit_bytes)
    }

    /// Admits bytes with the digest that was made of them where they came in: digesting megabytes
    /// takes milliseconds, which is not for an async thread.
    ///
    /// # Errors
    /// Empty, over `limit_bytes`, of no known format, or of a format that is not in `accept`.
    pub fn admit_digested(
        (bytes, digest): (Bytes, Digest),
        accept: &[Format],
        limit_bytes: u64,
    ) -> Result<Self, Inadmissible> {
        if bytes.is_empty() {
            return Err(Inadmissible::Empty);
        }
        let size_bytes = bytes.len() as u64;
        if limit_bytes < size_bytes {
            return Err(Inadmissible::TooLarge { size_bytes, limit_bytes });
        }
        let format = Format::sniff(&bytes).ok_or(Inadmissible::UnknownFormat)?;
        if !accept.contains(&format) {
            let accepted = accept.iter().map(|one| one.label()).collect::<Vec<_>>().join(", ");
            return Err(Inadmissible::NotAccepted { format, accepted });
        }
        Ok(Self { bytes, format, digest })
    }

    /// The bytes as they came.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The format the bytes announce.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// The digest of the bytes as they came.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n rest";

    #[test]
    fn the_bytes_decide_the_format() {
        assert_eq!(Format::sniff(PNG), Some(Format::Png));
        assert_eq!(Format::sniff(&[0xFF, 0xD8, 0xFF, 0xE0]), Some(Format::Jpeg));
        assert_eq!(Format::sniff(b"RIFF\0\0\0\0WEBPVP8 "), Some(Format::WebP));
        assert_eq!(Format::sniff(b"RIFF\0\0\0\0WAVEfmt "), None);
        assert_eq!(Format::sniff(b"GIF89a"), None);
        assert_eq!(Format::sniff(b""), None);
    }

    #[test]
    fn one_byte_over_the_limit_is_refused_with_both_numbers() {
        let limit_bytes = PNG.len() as u64 - 1;
        let refused = Candidate::admit(Bytes::from_static(PNG), &Format::ALL, limit_bytes);
        let size_bytes = PNG.len() as u64;
        assert_eq!(refused.unwrap_err(), Inadmissible::TooLarge { size_bytes, limit_bytes });
    }

    #[test]
    fn a_format_the_policy_does_not_take_is_refused_by_name() {
        let refused = Candidate::admit(Bytes::from_static(PNG), &[Format::Jpeg], 1_000);
        assert_eq!(refused.unwrap_err().to_string(), "the image is png, this policy accepts jpeg");
    }

    /// An image refused for a reason without a registered series would be missing from its rate.
    #[test]
    fn every_reason_not_to_judge_has_its_label_in_the_table() {
        let (size_bytes, limit_bytes, needed_bytes) = (2, 1, 2);
        let reasons = [
            Inadmissible::Empty,
            Inadmissible::TooLarge { size_bytes, limit_bytes },
            Inadmissible::UnknownFormat,
            Inadmissible::NotAccepted { format: Format::Png, accepted: String::new() },
            Inadmissible::TooManyPixels { width_px: 2, height_px: 1, limit_px: 1 },
            Inadmissible::TooMuchMemory { needed_bytes, limit_bytes },
            Inadmissible::Corrupt { what: String::new() },
            Inadmissible::TooSlow { limit_ms: 1 },
        ];
        assert_eq!(reasons.map(|reason| reason.label()), Inadmissible::LABELS);
    }

    #[test]
    fn a_digest_prints_and_parses() {
        let digest = Digest::of(b"one");
        assert_eq!(digest.to_string().parse::<Digest>(), Ok(digest));
        assert!("b3:12".parse::<Digest>().is_err());
    }
}
