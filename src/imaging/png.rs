//! A PNG is read row by row, and each row becomes what is held of it while it is still in the
//! cache: colours that are hidden under alpha are dropped on arrival, 16 bits become 8.

mod rows;
mod unfilter;

use ::png::{BitDepth, ColorType, Decoder, DecodingError, Info, Reader, Transformations};
use image::metadata::Orientation;
use moxcms::DataColorSpace;

use crate::domain::Inadmissible;
use crate::imaging::allowance::{Allowance, Metered};
use crate::imaging::colour::{Profile, Samples};
use crate::imaging::decoded::{
    Limits, check_bytes, check_pixels, corrupt, exif_orientation, xmp_orientation,
};
use crate::imaging::picture::{Buffer, Held, Picture, WrongSize, premultiply};
use crate::imaging::planes::Planes;
use crate::imaging::png::rows::{MOST_ROW_BYTES, Rows};

/// Memory the decoder may take for rows and metadata, beside the picture itself. A larger profile is
/// none: those in use take up to two megabytes. It is inflated before anybody knows what the picture
/// needs, so each worker may hold as much again while that is found out.
const SIDE_BYTES: u64 = 8 << 20;

/// Samples that are multiplied by their alpha at a time: few enough to stay in the cache.
const BATCH_BYTES: usize = 128 << 10;

/// The keyword of an XMP packet.
const XMP: &str = "XML:com.adobe.xmp";

/// Decodes a PNG.
pub(crate) fn decode(
    bytes: &[u8],
    limits: &Limits,
    allowance: &Allowance,
) -> Result<Picture, Inadmissible> {
    // the size stands at a fixed place, so it is held to the limit before anything is allocated
    let size = bytes.get(16..24).and_then(|at| at.split_first_chunk::<4>());
    let (width, height) = size.ok_or_else(|| corrupt("the file is cut off in its header"))?;
    let height = height.first_chunk::<4>().copied().unwrap_or_default();
    let size = (u32::from_be_bytes(*width), u32::from_be_bytes(height));
    let pixels = check_pixels(size, limits)?;
    let side = usize::try_from(SIDE_BYTES.min(limits.max_bytes)).unwrap_or(usize::MAX);
    let reader = Metered::new(bytes, allowance);
    let mut decoder = Decoder::new_with_limits(reader, ::png::Limits { bytes: side });
    decoder.set_transformations(Transformations::EXPAND);
    let mut reader = decoder.read_info().map_err(|why| broken(&why))?;
    let info = reader.info();
    if (info.width, info.height) != size {
        return Err(corrupt("the header stands in an odd place"));
    }
    let form = Form::of(reader.output_color_type())?;
    let icc = info.icc_profile.as_deref();
    let profile_bytes = icc.map_or(0, <[u8]>::len) as u64;
    let profile = icc.and_then(|icc| Profile::read(icc, form.space()));
    let orientation = orientation(&reader).unwrap_or(Orientation::NoTransforms);
    let given = pixels * form.channels() as u64;
    let twice = reader.info().interlaced || profile.is_some();
    let held = given * if twice { 2 + u64::from(form.is_deep) } else { 1 };
    check_bytes(held + profile_bytes, limits)?;
    let rows =
        form.is_stored(reader.info()).then(|| Rows::of(bytes, size, form.channels(), allowance));
    let samples = form.read((&mut reader, rows), size, profile.is_none())?;
    let held = match (samples, &profile) {
        (samples, Some(profile)) => {
            let pixels = samples.into_srgb(size.0 as usize, Some(profile));
            return Ok(Picture::upright(size, pixels, orientation)?);
        }
        (Samples::Grey(levels), None) => Held::Planes(Planes::grey(levels, size)),
        (Samples::Rgb(bytes), None) => Held::Rgb(Buffer::Own(bytes)),
        (Samples::Rgba(bytes), None) => Held::Rgba(bytes),
        (samples @ (Samples::GreyAlpha(_) | Samples::Cmyk(_)), None) => {
            let pixels = samples.into_srgb(size.0 as usize, None);
            return Ok(Picture::upright(size, pixels, orientation)?);
        }
    };
    Ok(Picture::new(size, held, 1, orientation)?)
}

/// In EXIF, or else in XMP. Text is only looked at for this, so broken text is no reason to refuse.
fn orientation(reader: &Reader<Metered<'_>>) -> Option<Orientation> {
    let info = reader.info();
    let by_exif = info.exif_metadata.as_deref().and_then(exif_orientation);
    by_exif.or_else(|| {
        let mut packet = info.utf8_text.iter().find(|text| text.keyword.contains(XMP))?.clone();
        packet.decompress_text().ok()?;
        xmp_orientation(packet.get_text().ok()?.as_bytes())
    })
}

/// What a row holds: channels of 8 or 16 bits.
#[derive(Clone, Copy, Debug)]
struct Form {
    colour: ColorType,
    is_deep: bool,
}

impl Form {
    fn of((colour, depth): (ColorType, BitDepth)) -> Result<Self, Inadmissible> {
        let is_deep = match depth {
            BitDepth::Eight => false,
            BitDepth::Sixteen => true,
            BitDepth::One | BitDepth::Two | BitDepth::Four => {
                return Err(corrupt("the pixels have a format that cannot be read"));
            }
        };
        Ok(Self { colour, is_deep })
    }

    fn channels(self) -> usize {
        self.colour.samples()
    }

    fn space(self) -> DataColorSpace {
        match self.colour {
            ColorType::Grayscale | ColorType::GrayscaleAlpha => DataColorSpace::Gray,
            ColorType::Rgb | ColorType::Indexed | ColorType::Rgba => DataColorSpace::Rgb,
        }
    }

    /// Whether the file stores this form as it is, one row after the other.
    fn is_stored(self, info: &Info<'_>) -> bool {
        let is_same = (info.color_type, info.bit_depth) == (self.colour, BitDepth::Eight);
        let is_still = info.animation_control.is_none() && info.frame_control.is_none();
        let row_bytes = (info.width as usize).saturating_mul(self.channels());
        is_same
            && is_still
            && !info.interlaced
            && info.trns.is_none()
            && row_bytes <= MOST_ROW_BYTES
    }

    /// All rows in 8 bits, from `rows` where there are any. With `by_alpha` RGBA comes multiplied by
    /// its alpha.
    fn read(
        self,
        (reader, mut rows): (&mut Reader<Metered<'_>>, Option<Rows<'_>>),
        size: (u32, u32),
        by_alpha: bool,
    ) -> Result<Samples, Inadmissible> {
        let row_bytes = size.0 as usize * self.channels();
        let all_bytes = row_bytes * size.1 as usize;
        let mut bytes = Vec::with_capacity(all_bytes);
        if reader.info().interlaced {
            bytes.resize(all_bytes, 0);
            self.read_interlaced(reader, &mut bytes)?;
            if by_alpha && self.colour == ColorType::Rgba {
                premultiply(&mut bytes, size)?;
            }
        } else {
            let batch_rows = (BATCH_BYTES / row_bytes.max(1)).max(1);
            let mut deep = vec![0; if self.is_deep { row_bytes * 2 } else { 0 }];
            while bytes.len() < all_bytes {
                // zeroed while they are near, and not all of them far ahead
                let begun = bytes.len();
                bytes.resize(all_bytes.min(begun + batch_rows * row_bytes), 0);
                let (_, batch) = bytes.split_at_mut(begun);
                match &mut rows {
                    Some(rows) => rows.read(batch)?,
                    None => self.read_rows(reader, &mut deep, batch).map_err(|why| broken(&why))?,
                }
                if by_alpha && self.colour == ColorType::Rgba {
                    let rows = u32::try_from(batch.len() / row_bytes).map_err(|_| WrongSize)?;
                    premultiply(batch, (size.0, rows))?;
                }
            }
            // behind the last row stands the checksum
            match &mut rows {
                Some(rows) => rows.finish()?,
                None => reader.read_row(&mut []).map(drop).map_err(|why| broken(&why))?,
            }
        }
        Ok(match self.colour {
            ColorType::Grayscale => Samples::Grey(bytes),
            ColorType::GrayscaleAlpha => Samples::GreyAlpha(bytes),
            ColorType::Rgb | ColorType::Indexed => Samples::Rgb(bytes),
            ColorType::Rgba => Samples::Rgba(bytes),
        })
    }

    fn read_rows(
        self,
        reader: &mut Reader<Metered<'_>>,
        deep: &mut [u8],
        rows: &mut [u8],
    ) -> Result<(), DecodingError> {
        let row_bytes = reader.info().width as usize * self.channels();
        for row in rows.chunks_exact_mut(row_bytes.max(1)) {
            if self.is_deep {
                reader.read_row(deep)?;
                round(deep, row);
            } else {
                reader.read_row(row)?;
            }
        }
        Ok(())
    }

    fn read_interlaced(
        self,
        reader: &mut Reader<Metered<'_>>,
        into: &mut [u8],
    ) -> Result<(), Inadmissible> {
        if !self.is_deep {
            return reader.next_frame(into).map(drop).map_err(|why| broken(&why));
        }
        let mut deep = vec![0; into.len() * 2];
        reader.next_frame(&mut deep).map_err(|why| broken(&why))?;
        round(&deep, into);
        Ok(())
    }
}

/// 16-bit samples, the high byte first, rounded to 8 bits.
fn round(deep: &[u8], into: &mut [u8]) {
    for (sample, level) in deep.as_chunks::<2>().0.iter().zip(into) {
        let rounded = (u32::from(u16::from_be_bytes(*sample)) * 255 + 32_767) / 65_535;
        *level = u8::try_from(rounded).unwrap_or(u8::MAX);
    }
}

fn broken(why: &DecodingError) -> Inadmissible {
    corrupt(&why.to_string())
}
