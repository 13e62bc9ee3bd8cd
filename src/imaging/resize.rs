//! Resizing makes a part of some samples smaller, in strips.
//!
//! A strip's intermediate rows stay in the cache, and together with what is made they are the only
//! memory that resizing takes.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

use crate::imaging::curve::tabled;

/// Most memory for the intermediate rows of one strip. Every strip asks its filter anew for the weights of
/// all columns, so a large picture has a handful of them.
const STRIP_BYTES: u64 = 2 << 20;

/// The samples do not fill the size they are said to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WrongSize;

/// Samples of 8 bits, row after row from the top.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'a> {
    /// The samples.
    pub(crate) bytes: &'a [u8],
    /// Columns and rows.
    pub(crate) size: (u32, u32),
    /// Channels: 1, 3 or 4.
    pub(crate) kind: PixelType,
}

/// A rectangle in a [`Source`]'s pixels; it may begin and end inside one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Area {
    /// Where it begins.
    pub(crate) left: f64,
    /// Where it begins.
    pub(crate) top: f64,
    /// Columns.
    pub(crate) width: f64,
    /// Rows.
    pub(crate) height: f64,
}

impl Area {
    /// The same rectangle where a pixel covers `across` x `down` of these.
    pub(crate) fn scaled(self, across: u32, down: u32) -> Self {
        let (across, down) = (f64::from(across), f64::from(down));
        Self {
            left: self.left / across,
            top: self.top / down,
            width: self.width / across,
            height: self.height / down,
        }
    }
}

impl Source<'_> {
    /// `area` at `size`. An area of that very size on whole pixels is copied.
    pub(crate) fn resized(
        &self,
        area: Area,
        size: (u32, u32),
        filter: FilterType,
    ) -> Result<Vec<u8>, WrongSize> {
        let mut made = vec![0; size.0 as usize * size.1 as usize * self.kind.size()];
        let mut rest = made.as_mut_slice();
        let mut resizer = Resizer::new();
        for strip in self.strips(area, size) {
            let bytes = strip.bytes(size.0, self.kind);
            let (rows, after) = rest.split_at_mut_checked(bytes).ok_or(WrongSize)?;
            self.strip(&mut resizer, strip, (size.0, filter), rows)?;
            rest = after;
        }
        Ok(made)
    }

    /// [`Self::resized`], some rows at a time: `take` is given them from the top.
    pub(crate) fn resized_by_strips(
        &self,
        area: Area,
        size: (u32, u32),
        filter: FilterType,
        mut take: impl FnMut(&[u8]),
    ) -> Result<(), WrongSize> {
        let (mut resizer, mut rows) = (Resizer::new(), Vec::new());
        for strip in self.strips(area, size) {
            rows.resize(strip.bytes(size.0, self.kind), 0);
            self.strip(&mut resizer, strip, (size.0, filter), &mut rows)?;
            take(&rows);
        }
        Ok(())
    }

    /// `area` cut into strips that each make a part of `size`.
    fn strips(&self, area: Area, (_, height): (u32, u32)) -> impl Iterator<Item = Strip> {
        let row_bytes = u64::from(self.size.0) * self.kind.size() as u64;
        let rows = u32::try_from(STRIP_BYTES / row_bytes.max(1)).unwrap_or(u32::MAX).max(16);
        let count = height.div_ceil(rows).max(1);
        let tall = height.div_ceil(count).max(1);
        let scale = area.height / f64::from(height);
        (0..height).step_by(tall as usize).map(move |first| {
            let rows = tall.min(height - first);
            let (top, height) = (f64::from(first) * scale, f64::from(rows) * scale);
            Strip { area: Area { top: area.top + top, height, ..area }, rows }
        })
    }

    fn strip(
        &self,
        resizer: &mut Resizer,
        strip: Strip,
        (width, filter): (u32, FilterType),
        into: &mut [u8],
    ) -> Result<(), WrongSize> {
        let source = ImageRef::new(self.size.0, self.size.1, self.bytes, self.kind);
        let source = source.map_err(|_| WrongSize)?;
        let target = Image::from_slice_u8(width, strip.rows, into, self.kind);
        let mut target = target.map_err(|_| WrongSize)?;
        let Area { left, top, width, height } = strip.area;
        // what was divided and multiplied may end a hair's breadth outside
        let width = width.min(f64::from(self.size.0) - left);
        let height = height.min(f64::from(self.size.1) - top);
        let options = ResizeOptions::new()
            .resize_alg(ResizeAlg::Convolution(tabled(filter)))
            .crop(left, top, width, height)
            .use_alpha(false);
        resizer.resize(&source, &mut target, &options).map_err(|_| WrongSize)
    }
}

/// Some rows of what is made, and the area they show.
#[derive(Clone, Copy, Debug)]
struct Strip {
    area: Area,
    rows: u32,
}

impl Strip {
    fn bytes(&self, width: u32, kind: PixelType) -> usize {
        width as usize * self.rows as usize * kind.size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strips_make_what_one_piece_would() {
        let size = (700, 1_900);
        let level = |n: u32| u8::try_from(n.wrapping_mul(2_654_435_761) >> 24).unwrap();
        let bytes: Vec<u8> = (0..size.0 * size.1 * 4).map(level).collect();
        let source = Source { bytes: &bytes, size, kind: PixelType::U8x4 };
        let area = Area { left: 10.25, top: 3.5, width: 650.0, height: 1_890.0 };
        let target = (311, 907);
        assert!(1 < source.strips(area, target).count());
        let made = source.resized(area, target, FilterType::Lanczos3).unwrap();
        let mut whole = Image::new(target.0, target.1, PixelType::U8x4);
        let options = ResizeOptions::new()
            .resize_alg(ResizeAlg::Convolution(FilterType::Lanczos3))
            .crop(area.left, area.top, area.width, area.height)
            .use_alpha(false);
        let image = ImageRef::new(size.0, size.1, &bytes, PixelType::U8x4).unwrap();
        Resizer::new().resize(&image, &mut whole, &options).unwrap();
        let furthest = made.iter().zip(whole.buffer()).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(furthest <= Some(1), "{furthest:?}");
        let mut strips = Vec::new();
        let take = |rows: &[u8]| strips.extend_from_slice(rows);
        source.resized_by_strips(area, target, FilterType::Lanczos3, take).unwrap();
        assert_eq!(strips, made);
    }

    #[test]
    fn a_size_that_the_samples_do_not_fill_is_refused() {
        let source = Source { bytes: &[0; 11], size: (4, 3), kind: PixelType::U8 };
        let area = Area { left: 0.0, top: 0.0, width: 4.0, height: 3.0 };
        assert_eq!(source.resized(area, (2, 2), FilterType::Hamming), Err(WrongSize));
    }
}
