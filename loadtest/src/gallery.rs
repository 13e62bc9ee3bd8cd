//! A gallery is the images that a run sends: product photographs drawn by seed, none like another.
//!
//! They are real JPEG files of the sizes that generators make, with noise enough to weigh what such
//! files weigh. Each is another picture and not another file of the same picture, so a judge's
//! answer, which hangs on the pixels that it is shown, differs from image to image.

use std::f64::consts::TAU;

use bytes::Bytes;
use jpeg_encoder::ColorType;
use jpeg_encoder::Encoder;

use crate::chance::Chance;

/// How many images a run sends in turn.
pub const GALLERY_IMAGES: u32 = 192;

/// Their sides, by turns.
const SIDES_PX: [u16; 3] = [1_024, 768, 640];

/// The images of one seed.
#[derive(Clone, Debug)]
pub struct Gallery {
    images: Vec<Bytes>,
}

impl Gallery {
    /// Draws `count` images, at least one.
    ///
    /// # Errors
    /// The encoder refuses one.
    pub fn draw(seed: u64, count: u32) -> Result<Self, jpeg_encoder::EncodingError> {
        let images = (0..count.max(1)).map(|n| draw(seed, n).map(Bytes::from));
        Ok(Self { images: images.collect::<Result<_, _>>()? })
    }

    /// The image of request `n`; its bytes are shared.
    #[must_use]
    pub fn image(&self, n: usize) -> Bytes {
        self.images.get(self.place(n)).cloned().unwrap_or_default()
    }

    /// Which image request `n` carries.
    #[must_use]
    pub fn place(&self, n: usize) -> usize {
        n % self.images.len().max(1)
    }

    /// How many there are, and what they weigh: for the report.
    #[must_use]
    pub fn describe(&self) -> String {
        let kilobytes = |image: &Bytes| image.len() / 1_024;
        let lightest = self.images.iter().map(kilobytes).min().unwrap_or_default();
        let heaviest = self.images.iter().map(kilobytes).max().unwrap_or_default();
        let whole: usize = self.images.iter().map(kilobytes).sum();
        format!(
            "{} distinct JPEG pictures of 1024, 768 and 640 px in turn, {lightest}-{heaviest} KB \
             (mean {}); each is sent again after all the others, and nothing is cached",
            self.images.len(),
            whole / self.images.len().max(1)
        )
    }
}

/// The numbers that one picture is drawn by.
struct Product {
    side_px: u16,
    half_width: f64,
    half_height: f64,
    roundness: f64,
    colour: [f64; 3],
    stripes: f64,
    tilt: f64,
    grain: f64,
}

fn draw(seed: u64, n: u32) -> Result<Vec<u8>, jpeg_encoder::EncodingError> {
    let chance = Chance::of(&[b"picture", &seed.to_le_bytes(), &n.to_le_bytes()]);
    let between = |name: &str, low: f64, high: f64| low + (high - low) * chance.unit(name);
    let turn = usize::try_from(n).unwrap_or_default() % SIDES_PX.len();
    let product = Product {
        side_px: SIDES_PX.get(turn).copied().unwrap_or(1_024),
        half_width: between("width", 0.2, 0.36),
        half_height: between("height", 0.2, 0.36),
        roundness: between("roundness", 2.0, 6.0),
        colour: [between("r", 40.0, 200.0), between("g", 40.0, 200.0), between("b", 40.0, 200.0)],
        stripes: between("stripes", 6.0, 40.0),
        tilt: between("tilt", -1.0, 1.0),
        grain: between("grain", 16.0, 48.0),
    };
    let mut noise = u64::from(chance.word("noise")) | 1;
    let side = usize::from(product.side_px);
    let mut pixels = Vec::with_capacity(side * side * 3);
    for row in 0..product.side_px {
        for column in 0..product.side_px {
            let [red, green, blue] = product.pixel(row, column, next(&mut noise));
            pixels.extend([byte(red), byte(green), byte(blue)]);
        }
    }
    let mut file = Vec::new();
    let encoder = Encoder::new(&mut file, 92);
    encoder.encode(&pixels, product.side_px, product.side_px, ColorType::Rgb)?;
    Ok(file)
}

impl Product {
    /// A lit, striped body with grain, on a ground that is nearly white, with a shadow at its foot.
    fn pixel(&self, row: u16, column: u16, noise: f64) -> [f64; 3] {
        let side = f64::from(self.side_px);
        let (x, y) = (f64::from(column) / side - 0.5, f64::from(row) / side - 0.5);
        let (across, down) = ((x / self.half_width).abs(), (y / self.half_height).abs());
        let is_near = across < 1.0 && down < 1.0;
        if is_near && across.powf(self.roundness) + down.powf(self.roundness) < 1.0 {
            let stripe = (TAU * self.stripes * (x + self.tilt * y)).sin() * 22.0;
            let light = 40.0 * (0.3 - x - y);
            return self.colour.map(|channel| channel + light + stripe + self.grain * noise);
        }
        let fall = (y - self.half_height).abs() * 14.0 + (x / self.half_width).abs();
        let shadow = if y < 0.0 { 0.0 } else { 60.0 * (1.2 - fall).clamp(0.0, 1.0) };
        [248.0 - shadow - 6.0 * y + 5.0 * noise; 3]
    }
}

/// The next of a sequence that looks random, -1..1 (xorshift).
fn next(state: &mut u64) -> f64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    let top = u32::try_from(*state >> 32).unwrap_or_default();
    f64::from(top) / f64::from(u32::MAX) * 2.0 - 1.0
}

/// The nearest byte.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to a byte's range first"
)]
fn byte(value: f64) -> u8 {
    value.clamp(0.0, 255.0) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gallery_is_the_same_under_its_seed_and_holds_no_picture_twice() {
        let first = Gallery::draw(1, 3).unwrap();
        assert_eq!(first.images, Gallery::draw(1, 3).unwrap().images);
        assert_ne!(first.images[0], Gallery::draw(2, 1).unwrap().images[0]);
        assert_ne!(first.images[0], first.images[1]);
        assert_eq!(first.image(4), first.images[1]);
    }

    #[test]
    fn its_files_are_jpeg_of_a_photographs_weight() {
        let gallery = Gallery::draw(7, 3).unwrap();
        for image in &gallery.images {
            assert!(image.starts_with(&[0xff, 0xd8]) && image.ends_with(&[0xff, 0xd9]));
            assert!((80_000..500_000).contains(&image.len()), "{} bytes", image.len());
        }
        assert!(gallery.describe().starts_with("3 distinct JPEG pictures"));
    }
}
