//! Encoding writes what is shown as a JPEG without metadata, the colours at half the resolution:
//! by libjpeg-turbo where it is built in, else by jpeg-encoder.

use crate::imaging::picture::Shown;

/// The encoder refused a size or wrote nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotMade;

/// Encodes `shown`, which has `size`.
#[cfg(feature = "fast-codecs")]
pub(crate) fn encode(shown: &Shown<'_>, size: (u32, u32), quality: u8) -> Result<Vec<u8>, NotMade> {
    use crate::imaging::turbo;
    let size = sides(size)?;
    let made = match shown {
        Shown::Rgb(rgb) => turbo::encode_rgb(rgb, size, quality),
        Shown::Planes(planes) => turbo::encode_planes(planes, size, quality),
    };
    made.ok_or(NotMade)
}

/// Encodes `shown`, which has `size`.
#[cfg(not(feature = "fast-codecs"))]
pub(crate) fn encode(shown: &Shown<'_>, size: (u32, u32), quality: u8) -> Result<Vec<u8>, NotMade> {
    use jpeg_encoder::{ChromaSubsamplingMethod, ColorType, Encoder, SamplingFactor};
    let (width, height) = sides(size)?;
    let rgb = match shown {
        Shown::Rgb(rgb) => std::borrow::Cow::Borrowed(rgb.as_ref()),
        Shown::Planes(planes) => planes.to_rgb(size).into(),
    };
    let mut jpeg = Vec::new();
    let mut encoder = Encoder::new(&mut jpeg, quality);
    encoder.set_sampling_factor(SamplingFactor::F_2_2);
    // left to itself it takes one pixel's colour for four
    encoder.set_chroma_subsampling_method(ChromaSubsamplingMethod::Average);
    encoder.encode(&rgb, width, height, ColorType::Rgb).map_err(|_| NotMade)?;
    Ok(jpeg)
}

fn sides((width_px, height_px): (u32, u32)) -> Result<(u16, u16), NotMade> {
    let side = |px: u32| u16::try_from(px).map_err(|_| NotMade);
    Ok((side(width_px)?, side(height_px)?))
}
