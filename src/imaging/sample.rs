//! A sample is the small copy of a picture that everything is measured on.
//!
//! One fixed scale makes a number mean the same for a phone photograph and a thumbnail, and keeps
//! measuring at a few milliseconds. The filter has no negative lobes: ringing along an edge would
//! be measured as a halo.

use crate::imaging::grid::Grid;
use crate::imaging::picture::{Picture, WrongSize, weighed};
use crate::imaging::view::fitted;
use crate::imaging::words::{FAR_AT_ONCE, far, read_luma};

/// Longer side of every sample; a smaller picture keeps its own size.
pub(crate) const SAMPLE_SIDE_PX: u32 = 512;

/// A share of pixels below which alpha is an accident of the file, not a cutout.
const REAL_ALPHA_SHARE: usize = 200;

/// Most that alpha may lack of its highest level and hide everything all the same.
const MOST_LACK: u8 = 5;

/// The small copy.
#[derive(Debug)]
pub(crate) struct Sample {
    /// Straight colours and alpha.
    pub(crate) rgba: Grid<[u8; 4]>,
    /// Rec. 601 luma of the colours, alpha aside.
    pub(crate) luma: Grid<u8>,
    /// Whether a real part of the picture is see-through.
    pub(crate) has_alpha: bool,
    /// Whether no pixel is.
    pub(crate) is_opaque: bool,
}

impl Sample {
    /// Takes the sample of `picture`.
    pub(crate) fn of(picture: &Picture) -> Result<Self, WrongSize> {
        let size = fitted((picture.width_px, picture.height_px), SAMPLE_SIDE_PX);
        let mut pixels = picture.sampled(size)?;
        if picture.is_opaque() {
            return Ok(Self::new(size, pixels, (false, true)));
        }
        let mut through = 0;
        for pixels in pixels.chunks_mut(FAR_AT_ONCE) {
            let through_these = far(pixels, [u8::MAX; 4], [u8::MAX, u8::MAX, u8::MAX, MOST_LACK]);
            through += through_these.count_ones() as usize;
            let words = pixels.iter().map(|pixel| u32::from_le_bytes(*pixel));
            let (all, any) = words.fold((u32::MAX, 0), |(all, any), word| (all & word, any | word));
            // most pixels of a cutout are solid or nothing: of those there is nothing to divide
            if all >> 24 != 255 && any >> 24 != 0 {
                pixels.iter_mut().for_each(straighten);
            }
        }
        let has_alpha = pixels.len() <= through * REAL_ALPHA_SHARE;
        Ok(Self::new(size, pixels, (has_alpha, false)))
    }

    fn new(size: (u32, u32), pixels: Vec<[u8; 4]>, (has_alpha, is_opaque): (bool, bool)) -> Self {
        let rgba = Grid::new(size, pixels);
        let mut levels = vec![0; rgba.cells().len()];
        read_luma(rgba.cells(), &mut levels);
        let luma = rgba.with_cells(levels);
        Self { rgba, luma, has_alpha, is_opaque }
    }
}

/// Luma of a pixel laid on black, whose own is `luma`. On white it is lighter by what alpha lacks.
pub(crate) fn on_black([.., alpha]: [u8; 4], luma: u8) -> u8 {
    let lit = (u16::from(luma) * u16::from(alpha) + 127) / 255;
    u8::try_from(lit).unwrap_or(u8::MAX)
}

/// Luma of a pixel laid on white, whose own is `luma`.
pub(crate) fn on_white(pixel: [u8; 4], luma: u8) -> u8 {
    let [.., alpha] = pixel;
    on_black(pixel, luma).saturating_add(255 - alpha)
}

/// Rec. 601 luma of a pixel.
pub(crate) fn luma([red, green, blue, _]: [u8; 4]) -> u8 {
    weighed([red, green, blue])
}

/// Divides the colours of a pixel by its alpha.
fn straighten(pixel: &mut [u8; 4]) {
    let [red, green, blue, alpha] = *pixel;
    // where nothing can be seen the colours are 0 already
    if alpha == 0 || alpha == u8::MAX {
        return;
    }
    let divide = |level: u8| {
        let level = (u16::from(level) * 255 + u16::from(alpha) / 2) / u16::from(alpha);
        u8::try_from(level).unwrap_or(u8::MAX)
    };
    *pixel = [divide(red), divide(green), divide(blue), alpha];
}
