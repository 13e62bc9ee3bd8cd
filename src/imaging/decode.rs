//! Decoding turns a candidate's bytes into a [`Picture`] or refuses them: the limits are held
//! against the header, before the first pixel.
//!
//! Choices: an animated PNG or WebP is judged by its first picture (an APNG by its default image);
//! an orientation outside 1..=8 counts as upright; trailing bytes behind a whole picture are
//! ignored; a picture that is cut off or fails its checksums is refused, never filled up.

use crate::domain::policy::ViewSpec;
use crate::domain::{Candidate, Format};
use crate::imaging::PrepareError;
use crate::imaging::allowance::Allowance;
use crate::imaging::decoded::Limits;
use crate::imaging::picture::Picture;
use crate::imaging::{jpeg, png, webp};

/// Decodes `candidate` within `limits` and `allowance`, as finely as `views` and the checks need.
pub(crate) fn decode(
    candidate: &Candidate,
    limits: &Limits,
    views: &[ViewSpec],
    allowance: &Allowance,
) -> Result<Picture, PrepareError> {
    let bytes = candidate.bytes();
    let decoded = match candidate.format() {
        Format::Jpeg => jpeg::decode(bytes, limits, views, allowance),
        Format::Png => png::decode(bytes, limits, allowance),
        Format::WebP => webp::decode(bytes, limits, allowance),
    };
    // a decoder that ran out of time says that the file is broken
    decoded.map_err(|why| allowance.verdict().unwrap_or_else(|| why.into()))
}
