//! A picture is a decoded image as the rest of imaging sees it: upright, sRGB, 8 bits a channel,
//! three channels where it is opaque and four where it may not be.
//!
//! With alpha the colours are premultiplied: resizing then mixes only what is visible, the colours
//! hidden under full transparency are gone, and laying the picture on a colour is one addition.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, MulDiv, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::metadata::Orientation;
use image::{DynamicImage, RgbImage, RgbaImage};

/// A decoded image.
#[derive(Debug)]
pub(crate) struct Picture {
    /// Columns.
    pub(crate) width_px: u32,
    /// Rows.
    pub(crate) height_px: u32,
    /// Row after row from the top.
    pub(crate) pixels: Pixels,
}

/// The samples of a [`Picture`].
#[derive(Debug)]
pub(crate) enum Pixels {
    /// Opaque.
    Rgb(Vec<u8>),
    /// With alpha; colours premultiplied by it.
    Rgba(Vec<u8>),
}

impl Pixels {
    fn pixel_type(&self) -> PixelType {
        match self {
            Self::Rgb(_) => PixelType::U8x3,
            Self::Rgba(_) => PixelType::U8x4,
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Rgb(bytes) | Self::Rgba(bytes) => bytes,
        }
    }
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

/// The pixels do not fill the size they are said to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WrongSize;

impl Picture {
    /// An upright picture of decoded samples: turns them as `orientation` says and premultiplies.
    /// `pixels` still have straight alpha.
    pub(crate) fn upright(
        (width_px, height_px): (u32, u32),
        pixels: Pixels,
        orientation: Orientation,
    ) -> Result<Self, WrongSize> {
        let size = (width_px, height_px);
        let turned = match pixels {
            Pixels::Rgb(bytes) => turn_rgb(size, bytes, orientation)?,
            Pixels::Rgba(bytes) => turn_rgba(size, bytes, orientation)?,
        };
        let (width_px, height_px) = (turned.width(), turned.height());
        let pixels = if turned.color().has_alpha() {
            Pixels::Rgba(premultiplied((width_px, height_px), turned.into_rgba8().into_raw())?)
        } else {
            Pixels::Rgb(turned.into_rgb8().into_raw())
        };
        Ok(Self { width_px, height_px, pixels })
    }

    /// The whole picture.
    pub(crate) fn frame(&self) -> Frame {
        Frame { left_px: 0, top_px: 0, width_px: self.width_px, height_px: self.height_px }
    }

    /// `frame` at `size`, alpha still premultiplied. A frame of that very size is copied.
    pub(crate) fn resized(
        &self,
        frame: Frame,
        (width_px, height_px): (u32, u32),
        filter: FilterType,
    ) -> Result<Self, WrongSize> {
        let kind = self.pixels.pixel_type();
        let source = ImageRef::new(self.width_px, self.height_px, self.pixels.bytes(), kind)
            .map_err(|_| WrongSize)?;
        let mut target = Image::new(width_px, height_px, kind);
        let options = ResizeOptions::new()
            .resize_alg(ResizeAlg::Convolution(filter))
            .crop(
                frame.left_px.into(),
                frame.top_px.into(),
                frame.width_px.into(),
                frame.height_px.into(),
            )
            .use_alpha(false);
        Resizer::new().resize(&source, &mut target, &options).map_err(|_| WrongSize)?;
        let bytes = target.into_vec();
        let pixels = match self.pixels {
            Pixels::Rgb(_) => Pixels::Rgb(bytes),
            Pixels::Rgba(_) => Pixels::Rgba(bytes),
        };
        Ok(Self { width_px, height_px, pixels })
    }

    /// The picture laid on `colour`: RGB samples without alpha.
    pub(crate) fn flattened(self, colour: [u8; 3]) -> Vec<u8> {
        let rgba = match self.pixels {
            Pixels::Rgb(bytes) => return bytes,
            Pixels::Rgba(bytes) => bytes,
        };
        let mut rgb = Vec::with_capacity(rgba.len() / 4 * 3);
        for pixel in rgba.as_chunks::<4>().0 {
            let [red, green, blue, alpha] = *pixel;
            let through = u16::from(255 - alpha);
            let lay = |over: u8, under: u8| {
                let shining = (u16::from(under) * through + 127) / 255;
                over.saturating_add(u8::try_from(shining).unwrap_or(u8::MAX))
            };
            let [under_red, under_green, under_blue] = colour;
            rgb.extend([lay(red, under_red), lay(green, under_green), lay(blue, under_blue)]);
        }
        rgb
    }
}

fn turn_rgb(
    (width_px, height_px): (u32, u32),
    bytes: Vec<u8>,
    orientation: Orientation,
) -> Result<DynamicImage, WrongSize> {
    let image = RgbImage::from_raw(width_px, height_px, bytes).ok_or(WrongSize)?;
    let mut image = DynamicImage::ImageRgb8(image);
    image.apply_orientation(orientation);
    Ok(image)
}

fn turn_rgba(
    (width_px, height_px): (u32, u32),
    bytes: Vec<u8>,
    orientation: Orientation,
) -> Result<DynamicImage, WrongSize> {
    let image = RgbaImage::from_raw(width_px, height_px, bytes).ok_or(WrongSize)?;
    let mut image = DynamicImage::ImageRgba8(image);
    image.apply_orientation(orientation);
    Ok(image)
}

fn premultiplied((width, height): (u32, u32), bytes: Vec<u8>) -> Result<Vec<u8>, WrongSize> {
    let image = Image::from_vec_u8(width, height, bytes, PixelType::U8x4);
    let mut image = image.map_err(|_| WrongSize)?;
    MulDiv::new().multiply_alpha_inplace(&mut image).map_err(|_| WrongSize)?;
    Ok(image.into_vec())
}
