//! A picture is a decoded image as the rest of imaging sees it: upright, sRGB, 8 bits a channel.
//!
//! What a decoder gave is held as it gave it: luma and colours in planes or together, lying as the
//! file lies, and of a JPEG no larger than somebody looks at. Whoever looks gets a small copy, and
//! only the copy is turned. So nothing is done to all pixels that could be done to few.
//!
//! With alpha the colours are premultiplied: resizing then mixes only what is visible, the colours
//! hidden under full transparency are gone, and laying the picture on a colour is one addition.

mod sampled;

use std::borrow::Cow;
use std::slice;

use fast_image_resize::images::Image;
use fast_image_resize::{FilterType, MulDiv, PixelType};
use image::metadata::Orientation;
use image::{DynamicImage, RgbImage, RgbaImage};

use crate::imaging::planes::Planes;
use crate::imaging::resize::{Area, Source};
use crate::imaging::words::read_luma_on_white;

pub(crate) use crate::imaging::resize::WrongSize;

/// A decoded image.
#[derive(Debug)]
pub(crate) struct Picture {
    /// Columns of the whole image, upright, in its own pixels.
    pub(crate) width_px: u32,
    /// Rows of the whole image, upright, in its own pixels.
    pub(crate) height_px: u32,
    orientation: Orientation,
    /// The file's pixels along a side of a held one.
    shrink: u32,
    held: Held,
}

/// The samples of a [`Picture`], as the file lies.
#[derive(Debug)]
pub(crate) enum Held {
    /// Opaque.
    Rgb(Buffer),
    /// With alpha; colours premultiplied by it.
    Rgba(Vec<u8>),
    /// Opaque, perhaps grey.
    Planes(Planes<'static>),
}

/// Samples where a decoder left them.
pub(crate) enum Buffer {
    /// In memory of ours.
    Own(Vec<u8>),
    /// In libwebp's.
    #[cfg(feature = "fast-codecs")]
    WebP(webp::WebPImage),
}

/// The samples of a small copy, or of a picture that is drawn.
#[derive(Debug)]
pub(crate) enum Pixels {
    /// Opaque.
    Rgb(Vec<u8>),
    /// With alpha.
    Rgba(Vec<u8>),
}

/// A copy of a part of a picture: upright, colours premultiplied where it has alpha.
#[derive(Debug)]
pub(crate) struct Small {
    /// Row after row from the top.
    pub(crate) pixels: Pixels,
}

/// A part of a picture as an encoder takes it: upright and opaque.
#[derive(Debug)]
pub(crate) enum Shown<'a> {
    /// Three channels.
    Rgb(Cow<'a, [u8]>),
    /// The colours with a sample for every 2 x 2 of the light.
    Planes(Planes<'a>),
}

/// A rectangle of whole pixels inside a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// First column.
    pub(crate) left_px: u32,
    /// First row.
    pub(crate) top_px: u32,
    /// Columns, at least one.
    pub(crate) width_px: u32,
    /// Rows, at least one.
    pub(crate) height_px: u32,
}

impl Frame {
    /// The whole of a picture.
    pub(crate) fn whole((width_px, height_px): (u32, u32)) -> Self {
        Self { left_px: 0, top_px: 0, width_px, height_px }
    }
}

impl Picture {
    /// A picture of which the file has `size` pixels as it lies. `held` has one for every `shrink`
    /// x `shrink` of them, a begun one counted.
    pub(crate) fn new(
        size: (u32, u32),
        held: Held,
        shrink: u32,
        orientation: Orientation,
    ) -> Result<Self, WrongSize> {
        let shrink = shrink.max(1);
        let (wide, high) = (size.0.div_ceil(shrink), size.1.div_ceil(shrink));
        let is_filled = match &held {
            Held::Rgb(bytes) => bytes.len() == wide as usize * high as usize * 3,
            Held::Rgba(bytes) => bytes.len() == wide as usize * high as usize * 4,
            Held::Planes(planes) => wide <= planes.luma.width_px && high <= planes.luma.height_px,
        };
        if !is_filled {
            return Err(WrongSize);
        }
        let (width_px, height_px) = turned_size(size, orientation);
        Ok(Self { width_px, height_px, orientation, shrink, held })
    }

    /// A picture of samples whose alpha is straight.
    pub(crate) fn upright(
        size: (u32, u32),
        pixels: Pixels,
        orientation: Orientation,
    ) -> Result<Self, WrongSize> {
        let held = match pixels {
            Pixels::Rgb(bytes) => Held::Rgb(Buffer::Own(bytes)),
            Pixels::Rgba(mut bytes) => {
                premultiply(&mut bytes, size)?;
                Held::Rgba(bytes)
            }
        };
        Self::new(size, held, 1, orientation)
    }

    /// The whole picture.
    pub(crate) fn frame(&self) -> Frame {
        Frame::whole((self.width_px, self.height_px))
    }

    /// `frame` at `size`, alpha still premultiplied.
    pub(crate) fn resized(
        &self,
        frame: Frame,
        size: (u32, u32),
        filter: FilterType,
    ) -> Result<Small, WrongSize> {
        let (area, lying) = (self.area(frame), turned_size(size, self.orientation));
        let pixels = match &self.held {
            Held::Rgb(bytes) => Pixels::Rgb(self.rgb(bytes).resized(area, lying, filter)?),
            Held::Rgba(bytes) => Pixels::Rgba(self.rgba(bytes).resized(area, lying, filter)?),
            Held::Planes(planes) => {
                let planes = planes.resized(area, lying, filter, (1, self.orientation))?;
                return Ok(Small { pixels: Pixels::Rgb(planes.to_rgb(size)) });
            }
        };
        Ok(Small { pixels: turned(lying, pixels, self.orientation)? })
    }

    /// `frame` at `size` laid on `colour`, by the filter that keeps most of what is fine. Lent
    /// where it is what is held.
    pub(crate) fn shown(
        &self,
        frame: Frame,
        size: (u32, u32),
        colour: [u8; 3],
    ) -> Result<Shown<'_>, WrongSize> {
        let (area, lying) = (self.area(frame), turned_size(size, self.orientation));
        let filter = FilterType::Lanczos3;
        let is_held = self.shrink == 1
            && frame == self.frame()
            && size == (frame.width_px, frame.height_px)
            && self.orientation == Orientation::NoTransforms;
        let rgb = match &self.held {
            Held::Planes(planes) => {
                let planes = planes.resized(area, lying, filter, (2, self.orientation))?;
                return Ok(Shown::Planes(planes));
            }
            Held::Rgb(bytes) if is_held => return Ok(Shown::Rgb(Cow::Borrowed(bytes))),
            Held::Rgb(bytes) => self.rgb(bytes).resized(area, lying, filter)?,
            Held::Rgba(bytes) if is_held => {
                let mut rgb = Vec::with_capacity(bytes.len() / 4 * 3);
                flatten(bytes, colour, &mut rgb);
                rgb
            }
            Held::Rgba(bytes) => {
                let mut rgb = Vec::with_capacity(size.0 as usize * size.1 as usize * 3);
                let lay = |rows: &[u8]| flatten(rows, colour, &mut rgb);
                self.rgba(bytes).resized_by_strips(area, lying, filter, lay)?;
                rgb
            }
        };
        let upright = match turned(lying, Pixels::Rgb(rgb), self.orientation)? {
            Pixels::Rgb(bytes) | Pixels::Rgba(bytes) => bytes,
        };
        Ok(Shown::Rgb(Cow::Owned(upright)))
    }

    /// Whether it has no alpha.
    pub(crate) fn is_opaque(&self) -> bool {
        !matches!(self.held, Held::Rgba(_))
    }

    /// Columns and rows of what is held, upright: the whole image's, or an even part of them where
    /// nobody looks closer.
    pub(crate) fn held_size(&self) -> (u32, u32) {
        turned_size(self.lying_held_size(), self.orientation)
    }

    /// The file's pixels along a side of a held one.
    pub(crate) fn shrink(&self) -> u32 {
        self.shrink
    }

    /// Luma (Rec. 601) of the held pixels of the upright row `y` from column `left` on, laid on
    /// white, as many as `levels` has room for; `None` where the row has not so many.
    pub(crate) fn read_luma(&self, left: u32, y: u32, levels: &mut [u8]) -> Option<()> {
        if self.orientation == Orientation::NoTransforms {
            return self.read_lying_luma((left, y), levels);
        }
        for (x, level) in (left..).zip(levels) {
            self.read_lying_luma(self.place(x, y)?, slice::from_mut(level))?;
        }
        Some(())
    }

    /// Luma of the held pixels from `(left, y)` on, as the file lies.
    fn read_lying_luma(&self, (left, y): (u32, u32), levels: &mut [u8]) -> Option<()> {
        let (wide, high) = self.lying_held_size();
        let (first, count) = (self.index((left, y)), levels.len());
        if high <= y || (wide as usize) < left as usize + count {
            return None;
        }
        match &self.held {
            Held::Planes(planes) => {
                let first = y as usize * planes.luma.width_px as usize + left as usize;
                levels.copy_from_slice(planes.luma.levels.get(first..first + count)?);
            }
            Held::Rgb(bytes) => {
                let row = bytes.as_chunks::<3>().0.get(first..first + count)?;
                levels.iter_mut().zip(row).for_each(|(level, pixel)| *level = weighed(*pixel));
            }
            Held::Rgba(bytes) => {
                let row = bytes.as_chunks::<4>().0.get(first..first + count)?;
                read_luma_on_white(row, levels);
            }
        }
        Some(())
    }

    /// The held pixels of the upright row `y`, colours multiplied by alpha; `None` below the last
    /// row and where the picture is opaque.
    pub(crate) fn alpha_row(&self, y: u32) -> Option<Cow<'_, [[u8; 4]]>> {
        let Held::Rgba(bytes) = &self.held else { return None };
        let (pixels, wide) = (bytes.as_chunks::<4>().0, self.held_size().0);
        if self.orientation == Orientation::NoTransforms {
            let first = y as usize * wide as usize;
            return pixels.get(first..first + wide as usize).map(Cow::Borrowed);
        }
        let pixel = |x: u32| pixels.get(self.index(self.place(x, y)?)).copied();
        (0..wide).map(pixel).collect::<Option<Vec<_>>>().map(Cow::Owned)
    }

    /// Where an upright held pixel lies in the file.
    fn place(&self, x: u32, y: u32) -> Option<(u32, u32)> {
        let (wide, high) = self.held_size();
        let frame = Frame { left_px: x, top_px: y, width_px: 1, height_px: 1 };
        let lying = lying(frame, self.lying_held_size(), self.orientation);
        (x < wide && y < high).then_some((lying.left_px, lying.top_px))
    }

    fn index(&self, (x, y): (u32, u32)) -> usize {
        y as usize * self.lying_held_size().0 as usize + x as usize
    }

    /// Columns and rows as the file lies.
    fn lying_size(&self) -> (u32, u32) {
        turned_size((self.width_px, self.height_px), self.orientation)
    }

    fn lying_held_size(&self) -> (u32, u32) {
        let (width, height) = self.lying_size();
        (width.div_ceil(self.shrink), height.div_ceil(self.shrink))
    }

    fn rgb<'a>(&self, bytes: &'a [u8]) -> Source<'a> {
        Source { bytes, size: self.lying_held_size(), kind: PixelType::U8x3 }
    }

    fn rgba<'a>(&self, bytes: &'a [u8]) -> Source<'a> {
        Source { bytes, size: self.lying_held_size(), kind: PixelType::U8x4 }
    }

    /// Where `frame` lies in what is held.
    fn area(&self, frame: Frame) -> Area {
        let lying = lying(frame, self.lying_size(), self.orientation);
        let area = Area {
            left: lying.left_px.into(),
            top: lying.top_px.into(),
            width: lying.width_px.into(),
            height: lying.height_px.into(),
        };
        area.scaled(self.shrink, self.shrink)
    }
}

impl Buffer {
    /// The samples in memory of ours.
    pub(crate) fn into_own(self) -> Vec<u8> {
        match self {
            Self::Own(bytes) => bytes,
            #[cfg(feature = "fast-codecs")]
            Self::WebP(image) => image.to_vec(),
        }
    }
}

impl std::ops::Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Own(bytes) => bytes,
            #[cfg(feature = "fast-codecs")]
            Self::WebP(image) => image,
        }
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(to, "{} bytes", self.len())
    }
}

impl Small {
    /// The copy laid on `colour`: RGB samples without alpha.
    pub(crate) fn flattened(self, colour: [u8; 3]) -> Vec<u8> {
        match self.pixels {
            Pixels::Rgb(bytes) => bytes,
            Pixels::Rgba(bytes) => {
                let mut rgb = Vec::with_capacity(bytes.len() / 4 * 3);
                flatten(&bytes, colour, &mut rgb);
                rgb
            }
        }
    }
}

/// Multiplies colours by their alpha.
pub(crate) fn premultiply(rgba: &mut [u8], (width, height): (u32, u32)) -> Result<(), WrongSize> {
    let image = Image::from_slice_u8(width, height, rgba, PixelType::U8x4);
    let mut image = image.map_err(|_| WrongSize)?;
    MulDiv::new().multiply_alpha_inplace(&mut image).map_err(|_| WrongSize)
}

/// Rec. 601 luma of a colour. The weights add up to 256, so that 16 bits are enough.
pub(crate) fn weighed([red, green, blue]: [u8; 3]) -> u8 {
    let sum = 77 * u16::from(red) + 150 * u16::from(green) + 29 * u16::from(blue) + 128;
    let [_, high] = sum.to_le_bytes();
    high
}

/// Lays premultiplied pixels on a colour.
fn flatten(rgba: &[u8], colour: [u8; 3], rgb: &mut Vec<u8>) {
    let [under_red, under_green, under_blue] = colour;
    rgb.extend(rgba.as_chunks::<4>().0.iter().flat_map(|pixel| {
        let [red, green, blue, alpha] = *pixel;
        let through = u16::from(255 - alpha);
        // x / 255 rounded, for x up to 255 x 255
        let lay = |over: u8, under: u8| {
            let shining = u16::from(under) * through + 128;
            let [_, shining] = (shining + (shining >> 8)).to_le_bytes();
            over.saturating_add(shining)
        };
        [lay(red, under_red), lay(green, under_green), lay(blue, under_blue)]
    }));
}

/// The size of a picture of `size` once it is turned, and the other way round.
pub(crate) fn turned_size((width, height): (u32, u32), orientation: Orientation) -> (u32, u32) {
    match orientation {
        Orientation::NoTransforms
        | Orientation::FlipHorizontal
        | Orientation::FlipVertical
        | Orientation::Rotate180 => (width, height),
        Orientation::Rotate90
        | Orientation::Rotate270
        | Orientation::Rotate90FlipH
        | Orientation::Rotate270FlipH => (height, width),
    }
}

/// Where an upright frame lies in a file of `width` x `height` that is turned as `orientation` says.
fn lying(frame: Frame, (width, height): (u32, u32), orientation: Orientation) -> Frame {
    let Frame { left_px: left, top_px: top, width_px: wide, height_px: high } = frame;
    // in the file the frame begins there, counted from its right side or its lower one
    let from_right = |from: u32, length: u32| width.saturating_sub(from + length);
    let from_below = |from: u32, length: u32| height.saturating_sub(from + length);
    let (left_px, top_px) = match orientation {
        Orientation::NoTransforms => (left, top),
        Orientation::FlipHorizontal => (from_right(left, wide), top),
        Orientation::FlipVertical => (left, from_below(top, high)),
        Orientation::Rotate180 => (from_right(left, wide), from_below(top, high)),
        Orientation::Rotate90FlipH => (top, left),
        Orientation::Rotate90 => (top, from_below(left, wide)),
        Orientation::Rotate270 => (from_right(top, high), left),
        Orientation::Rotate270FlipH => (from_right(top, high), from_below(left, wide)),
    };
    let (width_px, height_px) = turned_size((wide, high), orientation);
    Frame { left_px, top_px, width_px, height_px }
}

/// Small copies are turned, never the picture.
fn turned(
    (width, height): (u32, u32),
    pixels: Pixels,
    orientation: Orientation,
) -> Result<Pixels, WrongSize> {
    if orientation == Orientation::NoTransforms {
        return Ok(pixels);
    }
    Ok(match pixels {
        Pixels::Rgb(bytes) => {
            let image = RgbImage::from_raw(width, height, bytes).ok_or(WrongSize)?;
            let mut image = DynamicImage::ImageRgb8(image);
            image.apply_orientation(orientation);
            Pixels::Rgb(image.into_rgb8().into_raw())
        }
        Pixels::Rgba(bytes) => {
            let image = RgbaImage::from_raw(width, height, bytes).ok_or(WrongSize)?;
            let mut image = DynamicImage::ImageRgba8(image);
            image.apply_orientation(orientation);
            Pixels::Rgba(image.into_rgba8().into_raw())
        }
    })
}

#[cfg(test)]
mod tests;
