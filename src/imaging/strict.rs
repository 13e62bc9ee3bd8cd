//! The strict decoder of JPEGs is zune-jpeg: in Rust, stopped by a clock, and it refuses a file
//! that is cut or broken instead of filling it up.

use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use crate::domain::Inadmissible;
use crate::imaging::allowance::{Allowance, MeteredJpeg};
use crate::imaging::colour::{Samples, ycck_to_cmyk};
use crate::imaging::decoded::corrupt;
use crate::imaging::jpeg::MAX_SCANS;

/// What the file says of its components.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    /// How many.
    pub(crate) components: u64,
    /// Adobe wrote them: four of them are stored inverted.
    pub(crate) is_adobe: bool,
}

/// The samples of a JPEG that holds nothing beside them.
pub(crate) fn samples(
    lean: &[u8],
    layout: Layout,
    allowance: &Allowance,
) -> Result<Samples, Inadmissible> {
    let reader = MeteredJpeg::new(lean, allowance);
    let options = DecoderOptions::new_cmd()
        .set_strict_mode(true)
        .set_use_unsafe(true)
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX))
        .jpeg_set_max_scans(MAX_SCANS.into());
    let mut decoder = JpegDecoder::new_with_options(reader, options);
    let broken = |why: zune_jpeg::errors::DecodeErrors| corrupt(&format!("{why:?}"));
    decoder.decode_headers().map_err(broken)?;
    let stored = decoder.input_colorspace().unwrap_or(ColorSpace::Unknown);
    let wanted = match layout.components {
        1 => ColorSpace::Luma,
        3 => ColorSpace::RGB,
        4 => stored,
        _ => return Err(corrupt("a JPEG has one, three or four components")),
    };
    decoder.set_options(options.jpeg_set_out_colorspace(wanted));
    let mut samples = decoder.decode().map_err(broken)?;
    Ok(match layout.components {
        1 => Samples::Grey(samples),
        3 => Samples::Rgb(samples),
        _ => {
            if matches!(stored, ColorSpace::YCCK) {
                ycck_to_cmyk(&mut samples);
            }
            if layout.is_adobe {
                samples.iter_mut().for_each(|ink| *ink = 255 - *ink);
            }
            Samples::Cmyk(samples)
        }
    })
}
