//! A gallery is the images that a run sends: product photographs drawn by seed, none like another.
//!
//! They are real JPEG files of the sizes that generators make, with noise enough to weigh what such
//! files weigh. Each is another picture and not another file of the same picture, so a judge's
//! answer, which hangs on the pixels that it is shown, differs from image to image. Drawing takes
//! time and keeping takes memory, so every drawing is sent in some prints: a print takes one
//! frequency of it a step coarser, and its pixels are others wherever that frequency occurs. Where no
//! image may come twice, two of the fine frequencies are a step coarser as well, another pair each time.

use std::collections::HashMap;
use std::f64::consts::TAU;

use bytes::Bytes;
use jpeg_encoder::ColorType;
use jpeg_encoder::Encoder;
use jpeg_encoder::EncodingError;

use crate::chance::Chance;

/// How many pictures a run draws.
pub const GALLERY_DRAWINGS: u32 = 192;

/// In how many prints each is sent: a minute of images at 40 a second before any comes again. A print
/// is known by the place of the frequency that it coarsens, and 0 is the drawing itself.
const PRINTS: usize = 12;

/// The frequencies of the brightness; those from `PRINTS` on are finer than any print's.
const FREQUENCIES: usize = 64;
/// How many pairs the fine ones make.
const PAIRS: usize = (FREQUENCIES - PRINTS) * (FREQUENCIES - PRINTS - 1) / 2;
/// How far apart the pairs of one print are taken, and those of neighbours: they have no divisor in
/// common with the pairs, and so every print has all of them, each stretch of numbers some of all.
const PAIR_STRIDES: [usize; 2] = [379, 613];

/// Their sides, by turns.
const SIDES_PX: [u16; 3] = [1_024, 768, 640];

/// What the pictures of a gallery have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    /// Their sides, by turns.
    pub(crate) sides_px: [u16; 3],
    /// How far every pixel is spread to each side; 0: not at all.
    pub(crate) blur_px: usize,
}

/// The images of one seed.
#[derive(Clone, Debug)]
pub struct Gallery {
    drawings: Vec<Drawing>,
}

/// A picture as it was drawn.
#[derive(Clone, Debug, Default)]
struct Drawing {
    file: Bytes,
    /// Where the steps of the brightness begin, the lowest frequency first.
    steps_at: usize,
}

/// One image of a gallery; its file is made when it is wanted.
#[derive(Clone, Debug)]
pub struct Photograph {
    drawing: Drawing,
    print: usize,
    /// The fine frequencies that are coarser in this one alone.
    own: Option<(usize, usize)>,
}

impl Gallery {
    /// Draws `count` pictures, at least one.
    ///
    /// # Errors
    /// The encoder refuses one.
    pub fn draw(seed: u64, count: u32) -> Result<Self, EncodingError> {
        Self::draw_as(seed, count, &Look { sides_px: SIDES_PX, blur_px: 0 })
    }

    /// The same pictures in other sizes, or blurred.
    ///
    /// # Errors
    /// The encoder refuses one.
    pub(crate) fn draw_as(seed: u64, count: u32, look: &Look) -> Result<Self, EncodingError> {
        let drawings = (0..count.max(1)).map(|n| draw(seed, n, look));
        Ok(Self { drawings: drawings.collect::<Result<_, _>>()? })
    }

    /// How many images there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.drawings.len() * PRINTS
    }

    /// The image of request `n`.
    #[must_use]
    pub fn image(&self, n: usize) -> Photograph {
        let (place, drawn) = (self.place(n), self.drawings.len().max(1));
        let drawing = self.drawings.get(place % drawn).cloned().unwrap_or_default();
        Photograph { drawing, print: place / drawn, own: None }
    }

    /// The image of request `n` where none may come twice: its place is that of [`Self::image`], its
    /// file nobody else's, up to 1326 times as many images as [`Self::count`] says.
    #[must_use]
    pub fn own(&self, n: usize) -> Photograph {
        let place = self.place(n);
        let turn = n / self.count().max(1) % PAIRS;
        let [of_turn, of_place] = PAIR_STRIDES;
        let own = fine_pair((turn * of_turn + place * of_place) % PAIRS);
        Photograph { own, ..self.image(place) }
    }

    /// The place of each image by the digest that the providers' logs know its file by.
    #[must_use]
    pub fn digests(&self) -> HashMap<String, usize> {
        let digest =
            |place: usize| format!("b3:{}", blake3::hash(&self.image(place).file()).to_hex());
        (0..self.count()).map(|place| (digest(place), place)).collect()
    }

    /// Which image request `n` carries.
    #[must_use]
    pub fn place(&self, n: usize) -> usize {
        n % self.count().max(1)
    }

    /// How many there are, and what they weigh: for the report.
    #[must_use]
    pub fn describe(&self) -> String {
        let kilobytes = |drawing: &Drawing| drawing.file.len() / 1_024;
        let lightest = self.drawings.iter().map(kilobytes).min().unwrap_or_default();
        let heaviest = self.drawings.iter().map(kilobytes).max().unwrap_or_default();
        let whole: usize = self.drawings.iter().map(kilobytes).sum();
        format!(
            "{} distinct JPEG pictures ({} drawings in {PRINTS} prints) of 1024, 768 and 640 px in \
             turn, {lightest}-{heaviest} KB (mean {}); each is sent again after all the others, and \
             nothing is cached",
            self.count(),
            self.drawings.len(),
            whole / self.drawings.len().max(1)
        )
    }
}

impl Photograph {
    /// The JPEG file.
    #[must_use]
    pub fn file(&self) -> Bytes {
        if self.print == 0 && self.own.is_none() {
            return self.drawing.file.clone();
        }
        let mut file = self.drawing.file.to_vec();
        let own = self.own.iter().flat_map(|(one, other)| [*one, *other]);
        for frequency in own.chain((self.print != 0).then_some(self.print)) {
            if let Some(step) = file.get_mut(self.drawing.steps_at + frequency) {
                *step = step.saturating_add(1);
            }
        }
        Bytes::from(file)
    }

    /// The JPEG file with a comment that no other request's has.
    #[must_use]
    pub fn numbered(&self, n: usize) -> Bytes {
        let file = self.file();
        let (mark, rest) = file.split_at(file.len().min(START_OF_IMAGE.len()));
        let comment = n.to_string();
        // the length counts its own two bytes; a number has twenty digits at most
        let length = u16::try_from(comment.len() + 2).unwrap_or(u16::MAX).to_be_bytes();
        Bytes::from([mark, &COMMENT, &length, comment.as_bytes(), rest].concat())
    }
}

/// The `n`th pair of fine frequencies, the lower one first.
fn fine_pair(n: usize) -> Option<(usize, usize)> {
    let pairs = |one| (one + 1..FREQUENCIES).map(move |other| (one, other));
    (PRINTS..FREQUENCIES).flat_map(pairs).nth(n)
}

/// What every JPEG file begins with.
const START_OF_IMAGE: [u8; 2] = [0xFF, 0xD8];

/// What a comment begins with.
const COMMENT: [u8; 2] = [0xFF, 0xFE];

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

fn draw(seed: u64, n: u32, look: &Look) -> Result<Drawing, EncodingError> {
    let turn = usize::try_from(n).unwrap_or_default() % look.sides_px.len();
    let side_px = look.sides_px.get(turn).copied().unwrap_or(1_024);
    let sharp = pixels(seed, n, (side_px, side_px));
    let pixels = if look.blur_px == 0 { sharp } else { blurred(&sharp, side_px, look.blur_px) };
    let mut file = Vec::new();
    let encoder = Encoder::new(&mut file, 92);
    encoder.encode(&pixels, side_px, side_px, ColorType::Rgb)?;
    drawing(file)
}

/// Picture `n` of `seed` in RGB, row by row.
pub(crate) fn pixels(seed: u64, n: u32, (width_px, height_px): (u16, u16)) -> Vec<u8> {
    let chance = Chance::of(&[b"picture", &seed.to_le_bytes(), &n.to_le_bytes()]);
    let between = |name: &str, low: f64, high: f64| low + (high - low) * chance.unit(name);
    let product = Product {
        side_px: width_px.max(height_px),
        half_width: between("width", 0.2, 0.36),
        half_height: between("height", 0.2, 0.36),
        roundness: between("roundness", 2.0, 6.0),
        colour: [between("r", 40.0, 200.0), between("g", 40.0, 200.0), between("b", 40.0, 200.0)],
        stripes: between("stripes", 6.0, 40.0),
        tilt: between("tilt", -1.0, 1.0),
        grain: between("grain", 16.0, 48.0),
    };
    let mut noise = u64::from(chance.word("noise")) | 1;
    let mut pixels = Vec::with_capacity(usize::from(width_px) * usize::from(height_px) * 3);
    for row in 0..height_px {
        for column in 0..width_px {
            let [red, green, blue] = product.pixel(row, column, next(&mut noise));
            pixels.extend([byte(red), byte(green), byte(blue)]);
        }
    }
    pixels
}

/// The pixels of a square picture, each spread evenly over its neighbours: along the rows, then down
/// the columns.
fn blurred(pixels: &[u8], side_px: u16, blur_px: usize) -> Vec<u8> {
    let side = usize::from(side_px).max(1);
    let row = 3 * side;
    let along = |pixels: &[u8], at: usize, place: usize, stride: usize| {
        let (from, to) = (place.saturating_sub(blur_px), (place + blur_px).min(side - 1));
        let first = at - place * stride + from * stride;
        let spread = pixels.iter().skip(first).step_by(stride).take(to - from + 1);
        let (sum, count) =
            spread.fold((0_u32, 0_u32), |(sum, n), one| (sum + u32::from(*one), n + 1));
        u8::try_from(sum / count.max(1)).unwrap_or(u8::MAX)
    };
    let all = || 0..pixels.len();
    let rows: Vec<u8> = all().map(|at| along(pixels, at, at % row / 3, 3)).collect();
    all().map(|at| along(&rows, at, at / row, row)).collect()
}

/// The place of the minor version in a file that begins with a JFIF header.
const MINOR_VERSION: usize = 12;

/// The beginning of the table of steps for the brightness.
const STEPS_OF_BRIGHTNESS: [u8; 5] = [0xFF, 0xDB, 0, 67, 0];

/// The file with the plainest header, JFIF 1.1: a target that passes pictures on without their
/// metadata then shows judges the very bytes that were sent, and their scores are known beforehand.
fn drawing(mut file: Vec<u8>) -> Result<Drawing, EncodingError> {
    let is_begun = |bytes: &[u8]| bytes == STEPS_OF_BRIGHTNESS;
    let table_at = file.windows(STEPS_OF_BRIGHTNESS.len()).position(is_begun);
    let (Some(table_at), Some(minor)) = (table_at, file.get_mut(MINOR_VERSION)) else {
        return Err(EncodingError::Write("a drawing has no table of steps".to_owned()));
    };
    *minor = 1;
    Ok(Drawing { file: Bytes::from(file), steps_at: table_at + STEPS_OF_BRIGHTNESS.len() })
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

    fn files(gallery: &Gallery) -> Vec<Bytes> {
        (0..gallery.count()).map(|n| gallery.image(n).file()).collect()
    }

    #[test]
    fn a_gallery_is_the_same_under_its_seed_and_holds_no_picture_twice() {
        let gallery = Gallery::draw(1, 3).unwrap();
        let first = files(&gallery);
        assert_eq!(first, files(&Gallery::draw(1, 3).unwrap()));
        assert_ne!(first[0], files(&Gallery::draw(2, 1).unwrap())[0]);
        let distinct: std::collections::HashSet<&Bytes> = first.iter().collect();
        assert_eq!((distinct.len(), first.len()), (3 * PRINTS, gallery.count()));
        assert_eq!(gallery.image(gallery.count() + 1).file(), first[1]);
    }

    #[test]
    fn a_print_is_another_picture_and_not_only_another_file() {
        let gallery = Gallery::draw(1, 1).unwrap();
        let tables = |file: &Bytes| {
            let at = gallery.drawings[0].steps_at;
            file[at..at + 64].to_vec()
        };
        let files = files(&gallery);
        for (print, file) in files.iter().enumerate().skip(1) {
            let differ: Vec<usize> =
                (0..file.len()).filter(|at| file[*at] != files[0][*at]).collect();
            assert_eq!(differ, [gallery.drawings[0].steps_at + print]);
            assert_eq!(tables(file)[print], tables(&files[0])[print] + 1, "a step, not metadata");
        }
    }

    #[test]
    fn where_no_image_may_come_twice_every_request_has_one_of_its_own() {
        let look = Look { sides_px: [96; 3], blur_px: 0 };
        let gallery = Gallery::draw_as(1, 2, &look).unwrap();
        let all = gallery.count() * PAIRS;
        let digest = |n: usize| blake3::hash(&gallery.own(n).file());
        let digests: std::collections::HashSet<_> = (0..all).map(digest).collect();
        assert_eq!((all, digests.len()), (31_824, 31_824));
        assert!((0..PAIRS).all(|n| fine_pair(n).is_some()) && fine_pair(PAIRS).is_none());
        let (plain, own) = (gallery.image(5).file(), gallery.own(gallery.count() + 5).file());
        let differ: Vec<usize> = (0..own.len()).filter(|at| own[*at] != plain[*at]).collect();
        let fine = gallery.drawings[1].steps_at + PRINTS..gallery.drawings[1].steps_at + 64;
        assert!(differ.len() == 2 && differ.iter().all(|at| fine.contains(at)), "{differ:?}");
    }

    #[test]
    fn a_blurred_picture_has_the_same_light_and_less_grain() {
        let sharp = pixels(1, 0, (96, 96));
        let soft = blurred(&sharp, 96, 2);
        let mean = |of: &[u8]| of.iter().map(|one| f64::from(*one)).sum::<f64>() / 27_648.0;
        let grain = |of: &[u8]| {
            let steps = of.iter().zip(of.iter().skip(3));
            steps.map(|(one, next)| f64::from(one.abs_diff(*next))).sum::<f64>()
        };
        assert_eq!(soft.len(), sharp.len());
        assert!((mean(&soft) - mean(&sharp)).abs() < 2.0, "{} {}", mean(&soft), mean(&sharp));
        assert!(grain(&soft) < grain(&sharp) / 2.0, "{} {}", grain(&soft), grain(&sharp));
    }

    #[test]
    fn a_gateway_that_remembers_whole_requests_would_have_been_asked_the_same_again() {
        let gallery = Gallery::draw(1, 1).unwrap();
        let (first, again) = (gallery.image(0), gallery.image(gallery.count()));
        assert_eq!(first.file(), again.file());
        let [first, again] = [first.numbered(0), again.numbered(gallery.count())];
        assert_ne!(first, again);
        assert_eq!(first[..9], *b"\xff\xd8\xff\xfe\0\x030\xff\xe0");
        assert_eq!(first[7..], gallery.image(0).file()[2..]);
    }

    #[test]
    fn its_files_are_plain_jpeg_of_a_photographs_weight() {
        let gallery = Gallery::draw(7, 3).unwrap();
        for file in files(&gallery) {
            assert!(file.starts_with(b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0"));
            assert!(file.ends_with(&[0xff, 0xd9]));
            assert!((80_000..500_000).contains(&file.len()), "{} bytes", file.len());
        }
        assert!(gallery.describe().starts_with("36 distinct JPEG pictures"));
    }
}
