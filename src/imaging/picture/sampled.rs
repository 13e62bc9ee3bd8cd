//! The sample of a picture is made from all of its pixels, so it is what most of measuring would cost.

use std::borrow::Cow;

use fast_image_resize::{FilterType, PixelType};
use image::metadata::Orientation;

use crate::imaging::halve::Quads;
use crate::imaging::picture::{Held, Picture, Pixels, turned, turned_size};
use crate::imaging::resize::{Source, WrongSize};
use crate::imaging::words::opaque;

impl Picture {
    /// The whole picture at `size`, colours premultiplied, and 255 for alpha where it is opaque.
    ///
    /// It is halved until it is less than twice as large, and a filter without negative lobes does the
    /// rest.
    pub(crate) fn sampled(&self, size: (u32, u32)) -> Result<Vec<[u8; 4]>, WrongSize> {
        let lying = turned_size(size, self.orientation);
        let held = self.lying_held_size();
        let times = (held.0.max(held.1) / lying.0.max(lying.1).max(1)).checked_ilog2().unwrap_or(0);
        let Some(quads) = self.halved(held, times) else { return self.filtered(size) };
        let made;
        let pixels: Cow<'_, [[u8; 4]]> = if quads.size == lying {
            // pixel for pixel, the last column and row perhaps half outside
            quads.pixels.into()
        } else {
            let bytes = quads.pixels.as_flattened();
            let source = Source { bytes, size: quads.size, kind: PixelType::U8x4 };
            let area = self.area(self.frame()).scaled(1 << times, 1 << times);
            made = source.resized(area, lying, FilterType::Hamming)?;
            made.as_chunks::<4>().0.into()
        };
        let upright;
        let pixels = if self.orientation == Orientation::NoTransforms {
            pixels
        } else {
            let bytes = Pixels::Rgba(pixels.as_flattened().to_vec());
            let (Pixels::Rgb(bytes) | Pixels::Rgba(bytes)) =
                turned(lying, bytes, self.orientation)?;
            upright = bytes;
            upright.as_chunks::<4>().0.into()
        };
        Ok(match self.held {
            Held::Rgb(_) | Held::Rgba(_) => pixels.into_owned(),
            Held::Planes(_) => opaque(&pixels),
        })
    }

    /// `None` where there is nothing to halve, or its planes do not go together.
    fn halved(&self, held: (u32, u32), times: u32) -> Option<Quads> {
        if times == 0 {
            return None;
        }
        match &self.held {
            Held::Rgb(bytes) => Some(Quads::of(bytes.as_chunks::<3>().0, held, times)),
            Held::Rgba(bytes) => Some(Quads::of(bytes.as_chunks::<4>().0, held, times)),
            Held::Planes(planes) => Quads::of_planes(planes, times),
        }
    }

    /// The same by the filter alone.
    fn filtered(&self, size: (u32, u32)) -> Result<Vec<[u8; 4]>, WrongSize> {
        if let Held::Planes(planes) = &self.held {
            let (area, lying) = (self.area(self.frame()), turned_size(size, self.orientation));
            let turn = (1, self.orientation);
            return Ok(planes.resized(area, lying, FilterType::Hamming, turn)?.to_opaque());
        }
        Ok(match self.resized(self.frame(), size, FilterType::Hamming)?.pixels {
            Pixels::Rgb(bytes) => {
                let opaque = |[red, green, blue]: &[u8; 3]| [*red, *green, *blue, 255];
                bytes.as_chunks::<3>().0.iter().map(opaque).collect()
            }
            Pixels::Rgba(bytes) => bytes.as_chunks::<4>().0.to_vec(),
        })
    }
}
