//! A sample is the small copy of a picture that everything is measured on.
//!
//! One fixed scale makes a number mean the same for a phone photograph and a thumbnail, and keeps
//! measuring at a few milliseconds. The filter has no negative lobes: ringing along an edge would
//! be measured as a halo.

use fast_image_resize::FilterType;

use crate::imaging::grid::Grid;
use crate::imaging::picture::{Picture, Pixels, WrongSize};
use crate::imaging::view::fitted;

/// Longer side of every sample; a smaller picture keeps its own size.
pub(crate) const SAMPLE_SIDE_PX: u32 = 512;

/// A share of pixels below which alpha is an accident of the file, not a cutout.
const REAL_ALPHA_SHARE: usize = 200;

/// The small copy.
#[derive(Debug)]
pub(crate) struct Sample {
    /// Straight colours and alpha.
    pub(crate) rgba: Grid<[u8; 4]>,
    /// Rec. 601 luma of the colours, alpha aside.
    pub(crate) luma: Grid<u8>,
    /// Whether a real part of the picture is see-through.
    pub(crate) has_alpha: bool,
}

impl Sample {
    /// Takes the sample of `picture`.
    pub(crate) fn of(picture: &Picture) -> Result<Self, WrongSize> {
        let size = fitted((picture.width_px, picture.height_px), SAMPLE_SIDE_PX);
        let small = picture.resized(picture.frame(), size, FilterType::Hamming)?;
        let pixels: Vec<[u8; 4]> = match small.pixels {
            Pixels::Rgb(bytes) => {
                let opaque = |[red, green, blue]: &[u8; 3]| [*red, *green, *blue, 255];
                bytes.as_chunks::<3>().0.iter().map(opaque).collect()
            }
            Pixels::Rgba(bytes) => bytes.as_chunks::<4>().0.iter().map(straight).collect(),
        };
        let through = pixels.iter().filter(|[.., alpha]| *alpha < 250).count();
        let has_alpha = pixels.len() <= through * REAL_ALPHA_SHARE;
        let rgba = Grid::new(size, pixels);
        let luma = rgba.map(luma);
        Ok(Self { rgba, luma, has_alpha })
    }

    /// Luma of the sample laid on a grey.
    pub(crate) fn luma_on(&self, grey: u8) -> Grid<u8> {
        if !self.has_alpha {
            return self.luma.clone();
        }
        self.rgba.map(|pixel| {
            let [.., alpha] = pixel;
            let (alpha, over, under) = (u16::from(alpha), u16::from(luma(pixel)), u16::from(grey));
            u8::try_from((over * alpha + under * (255 - alpha) + 127) / 255).unwrap_or(u8::MAX)
        })
    }
}

/// Rec. 601 luma of a pixel.
pub(crate) fn luma([red, green, blue, _]: [u8; 4]) -> u8 {
    let sum = 77 * u32::from(red) + 150 * u32::from(green) + 29 * u32::from(blue);
    u8::try_from((sum + 128) >> 8).unwrap_or(u8::MAX)
}

fn straight(pixel: &[u8; 4]) -> [u8; 4] {
    let [red, green, blue, alpha] = *pixel;
    if alpha == 0 {
        return [0; 4];
    }
    let divide = |level: u8| {
        let level = (u16::from(level) * 255 + u16::from(alpha) / 2) / u16::from(alpha);
        u8::try_from(level).unwrap_or(u8::MAX)
    };
    [divide(red), divide(green), divide(blue), alpha]
}
