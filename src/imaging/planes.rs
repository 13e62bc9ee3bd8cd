//! Planes are a picture's luma and colour differences apart, as a JPEG stores them (BT.601, full
//! range): the colours in fewer samples than the light, and a grey picture without any.

use std::borrow::Cow;
use std::iter::repeat_n;

use fast_image_resize::{FilterType, PixelType};
use image::metadata::Orientation;
use image::{DynamicImage, GrayImage};

use crate::imaging::resize::{Area, Source, WrongSize};

/// The level of a colour difference that is none.
pub(crate) const NO_COLOUR: u8 = 128;

/// Samples of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plane<'a> {
    /// Columns.
    pub(crate) width_px: u32,
    /// Rows.
    pub(crate) height_px: u32,
    /// Row after row from the top.
    pub(crate) levels: Cow<'a, [u8]>,
}

/// The colour differences of a picture.
#[derive(Clone, Debug)]
pub(crate) struct Chroma<'a> {
    /// Blue less luma.
    pub(crate) blue: Plane<'a>,
    /// Red less luma.
    pub(crate) red: Plane<'a>,
    /// Columns of luma that one of these covers.
    pub(crate) across: u32,
    /// Rows of luma that one of these covers.
    pub(crate) down: u32,
}

/// A picture's planes. They may be a few samples larger than the picture, to the right and below.
#[derive(Clone, Debug)]
pub(crate) struct Planes<'a> {
    /// Light.
    pub(crate) luma: Plane<'a>,
    /// Colour; `None`: it is grey.
    pub(crate) chroma: Option<Chroma<'a>>,
}

impl<'a> Plane<'a> {
    /// `area` at `size`; lent where it is this very plane.
    fn resized(
        &self,
        area: Area,
        size: (u32, u32),
        filter: FilterType,
    ) -> Result<Plane<'_>, WrongSize> {
        let own = (self.width_px, self.height_px);
        let (width, height) = (f64::from(own.0), f64::from(own.1));
        if size == own && area == (Area { left: 0.0, top: 0.0, width, height }) {
            let levels = Cow::Borrowed(self.levels.as_ref());
            return Ok(Plane { width_px: own.0, height_px: own.1, levels });
        }
        let source = Source { bytes: &self.levels, size: own, kind: PixelType::U8 };
        let levels = source.resized(area, size, filter)?.into();
        Ok(Plane { width_px: size.0, height_px: size.1, levels })
    }

    /// The plane as a viewer turns it.
    fn turned(self, orientation: Orientation) -> Result<Self, WrongSize> {
        if orientation == Orientation::NoTransforms {
            return Ok(self);
        }
        let image = GrayImage::from_raw(self.width_px, self.height_px, self.levels.into_owned());
        let mut image = DynamicImage::ImageLuma8(image.ok_or(WrongSize)?);
        image.apply_orientation(orientation);
        let (width_px, height_px) = (image.width(), image.height());
        Ok(Self { width_px, height_px, levels: image.into_luma8().into_raw().into() })
    }

    fn rows(&self) -> impl Iterator<Item = &[u8]> {
        self.levels.chunks_exact((self.width_px as usize).max(1))
    }
}

impl Planes<'_> {
    /// The planes of a grey picture.
    pub(crate) fn grey(levels: Vec<u8>, (width_px, height_px): (u32, u32)) -> Planes<'static> {
        Planes { luma: Plane { width_px, height_px, levels: levels.into() }, chroma: None }
    }

    /// `area` of the luma at `size`, the colours with a sample for every `per` x `per` of it, turned
    /// as `orientation` says: `size` is what it was before the turn.
    pub(crate) fn resized(
        &self,
        area: Area,
        size: (u32, u32),
        filter: FilterType,
        (per, orientation): (u32, Orientation),
    ) -> Result<Planes<'_>, WrongSize> {
        let luma = self.luma.resized(area, size, filter)?.turned(orientation)?;
        let small = (size.0.div_ceil(per), size.1.div_ceil(per));
        let chroma = self.chroma.as_ref().map(|chroma| {
            let own = (chroma.blue.width_px, chroma.blue.height_px);
            let within = if own == small && per == chroma.across && per == chroma.down {
                // sample for sample, the last column and row perhaps half outside
                Area { left: 0.0, top: 0.0, width: f64::from(own.0), height: f64::from(own.1) }
            } else {
                area.scaled(chroma.across, chroma.down)
            };
            let blue = chroma.blue.resized(within, small, filter)?.turned(orientation)?;
            let red = chroma.red.resized(within, small, filter)?.turned(orientation)?;
            Ok(Chroma { blue, red, across: per, down: per })
        });
        Ok(Planes { luma, chroma: chroma.transpose()? })
    }

    /// All pixels in RGB, and 255 for alpha, of planes whose colours are no coarser than the light.
    pub(crate) fn to_opaque(&self) -> Vec<[u8; 4]> {
        let Some(chroma) = &self.chroma else {
            return self.luma.levels.iter().map(|one| [*one, *one, *one, 255]).collect();
        };
        let colours = chroma.blue.levels.iter().zip(chroma.red.levels.iter());
        let pixels = self.luma.levels.iter().zip(colours);
        let opaque = |(luma, (blue, red)): (&u8, (&u8, &u8))| {
            let [red, green, blue] = rgb_of(*luma, *blue, *red);
            [red, green, blue, 255]
        };
        pixels.map(opaque).collect()
    }

    /// The first `width` x `height` pixels in RGB.
    pub(crate) fn to_rgb(&self, (width, height): (u32, u32)) -> Vec<u8> {
        let luma = self.luma.rows().take(height as usize);
        let wide = width as usize;
        let Some(chroma) = &self.chroma else {
            return luma.flat_map(|row| row.iter().take(wide)).flat_map(|one| [*one; 3]).collect();
        };
        let mut rgb = Vec::with_capacity(wide * height as usize * 3);
        let (across, down) = (chroma.across as usize, chroma.down as usize);
        let colours = chroma.blue.rows().zip(chroma.red.rows());
        let colours = colours.flat_map(|rows| repeat_n(rows, down));
        for (luma, (blue, red)) in luma.zip(colours) {
            if across == 1 {
                let pixels = luma.iter().zip(blue.iter().zip(red)).take(wide);
                rgb.extend(pixels.flat_map(|(luma, (blue, red))| rgb_of(*luma, *blue, *red)));
            } else {
                let colours = blue.iter().zip(red).flat_map(|pair| repeat_n(pair, across));
                let pixels = luma.iter().zip(colours).take(wide);
                rgb.extend(pixels.flat_map(|(luma, (blue, red))| rgb_of(*luma, *blue, *red)));
            }
        }
        rgb
    }
}

/// JFIF's conversion in 16 bits behind the point. <https://www.w3.org/Graphics/JPEG/jfif3.pdf>
///
/// Its factors 1.402, 0.71414 and 1.772 are taken apart into whole numbers and the rest, so that every
/// product is of two numbers of 16 bits: of those a register holds eight.
pub(crate) fn rgb_of(luma: u8, blue: u8, red: u8) -> [u8; 3] {
    const HALF: i32 = 1 << 15;
    let difference = |level: u8| i16::from(level) - i16::from(NO_COLOUR);
    let part = |of: i16, factor: i16| i32::from(of) * i32::from(factor);
    let (luma, blue, red) = (i32::from(luma), difference(blue), difference(red));
    let sums = [
        luma + i32::from(red) + ((part(red, 26_345) + HALF) >> 16),
        luma - i32::from(red) + ((part(blue, -22_554) + part(red, 18_734) + HALF) >> 16),
        luma + 2 * i32::from(blue) + ((part(blue, -14_942) + HALF) >> 16),
    ];
    sums.map(|sum| u8::try_from(sum.clamp(0, 255)).unwrap_or(u8::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_conversion_knows_the_primary_colours() {
        for (ycc, rgb) in [
            ([0, 128, 128], [0, 0, 0]),
            ([255, 128, 128], [255, 255, 255]),
            ([76, 85, 255], [254, 0, 0]),
            ([150, 44, 21], [0, 255, 1]),
            ([29, 255, 107], [0, 0, 254]),
        ] {
            assert_eq!(rgb_of(ycc[0], ycc[1], ycc[2]), rgb);
        }
    }

    #[test]
    fn the_conversion_is_that_of_the_whole_factors() {
        let whole = |luma: u8, blue: u8, red: u8| {
            let (blue, red) = (i64::from(blue) - 128, i64::from(red) - 128);
            let luma = (i64::from(luma) << 16) + (1 << 15);
            let sums =
                [luma + 91_881 * red, luma - 22_554 * blue - 46_802 * red, luma + 116_130 * blue];
            sums.map(|sum| u8::try_from((sum >> 16).clamp(0, 255)).unwrap())
        };
        for blue in 0..=255 {
            for red in 0..=255 {
                for luma in [0, 1, 77, 128, 200, 254, 255] {
                    assert_eq!(rgb_of(luma, blue, red), whole(luma, blue, red));
                }
            }
        }
    }

    #[test]
    fn opaque_pixels_are_the_rgb_ones_with_alpha() {
        let plane =
            |levels: &[u8]| Plane { width_px: 3, height_px: 2, levels: levels.to_vec().into() };
        let (blue, red) = (plane(&[128, 9, 250, 3, 77, 128]), plane(&[1, 128, 200, 255, 0, 90]));
        let luma = plane(&[0, 50, 100, 150, 200, 255]);
        let chroma = Some(Chroma { blue, red, across: 1, down: 1 });
        for planes in [Planes { luma: luma.clone(), chroma }, Planes { luma, chroma: None }] {
            let rgb = planes.to_rgb((3, 2));
            let with_alpha = rgb.as_chunks::<3>().0.iter().map(|[r, g, b]| [*r, *g, *b, 255]);
            assert_eq!(planes.to_opaque(), with_alpha.collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_colour_stands_for_as_many_pixels_as_it_covers() {
        let plane = |width_px, height_px, levels: &[u8]| Plane {
            width_px,
            height_px,
            levels: levels.to_vec().into(),
        };
        let chroma = Chroma {
            blue: plane(2, 1, &[128, 255]),
            red: plane(2, 1, &[128, 128]),
            across: 2,
            down: 2,
        };
        let luma = plane(4, 2, &[10, 20, 0, 0, 30, 40, 0, 0]);
        let rgb = Planes { luma, chroma: Some(chroma) }.to_rgb((3, 2));
        assert_eq!(rgb, [10, 10, 10, 20, 20, 20, 0, 0, 225, 30, 30, 30, 40, 40, 40, 0, 0, 225]);
    }
}
