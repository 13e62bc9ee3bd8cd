//! Rows are read from a PNG's compressed data without a stop in between: inflated into a window that
//! stays in the cache, and from there turned into samples where they are to lie.
//!
//! The decoder of the `png` crate reads the chunks, holds them to their checksums and inflates; its
//! own reader of rows waits for one sample after the other ([`unfilter`]) and copies each row once more.

use std::io::BufRead;

use ::png::{Decoded, StreamingDecoder, UnfilterRegion};

use crate::domain::Inadmissible;
use crate::imaging::allowance::{Allowance, Metered};
use crate::imaging::decoded::corrupt;
use crate::imaging::png::broken;
use crate::imaging::png::unfilter::{self, Stored};

/// Most bytes of a row: two of them, what inflating looks back at and what it makes at a time have
/// room in the window.
pub(super) const MOST_ROW_BYTES: usize = 64 << 10;

/// The window: inflating looks back at 32 KiB.
const WINDOW_BYTES: usize = 256 << 10;

/// What has to be free in the window to go on.
const FREE_BYTES: usize = 16 << 10;

/// The rows of a picture of 8 bits a sample that is neither interlaced nor to be expanded.
pub(super) struct Rows<'a> {
    decoder: StreamingDecoder,
    input: Metered<'a>,
    window: Vec<u8>,
    region: UnfilterRegion,
    /// Where in the window the first row lies that was not taken yet.
    begun: usize,
    /// Inflated bytes that are still to come.
    ahead: usize,
    is_flushed: bool,
    /// Samples of a pixel.
    channels: usize,
    /// The row above the next.
    above: Vec<u8>,
}

impl<'a> Rows<'a> {
    /// The rows of a file of `size` whose header was read and found sound.
    pub(super) fn of(
        bytes: &'a [u8],
        (width, height): (u32, u32),
        channels: usize,
        allowance: &'a Allowance,
    ) -> Self {
        let mut decoder = StreamingDecoder::new();
        // both were read with the header
        decoder.set_ignore_text_chunk(true);
        decoder.set_ignore_iccp_chunk(true);
        let row_bytes = width as usize * channels;
        Self {
            decoder,
            input: Metered::new(bytes, allowance),
            window: Vec::new(),
            region: UnfilterRegion::default(),
            begun: 0,
            ahead: (row_bytes + 1) * height as usize,
            is_flushed: false,
            channels,
            above: vec![0; row_bytes],
        }
    }

    /// Fills `into` with the next rows, whole ones.
    pub(super) fn read(&mut self, into: &mut [u8]) -> Result<(), Inadmissible> {
        match self.channels {
            1 => self.read_pixels::<1>(into),
            2 => self.read_pixels::<2>(into),
            3 => self.read_pixels::<3>(into),
            _ => self.read_pixels::<4>(into),
        }
    }

    fn read_pixels<const PX: usize>(&mut self, into: &mut [u8]) -> Result<(), Inadmissible> {
        let first_above = std::mem::take(&mut self.above);
        let row_bytes = first_above.len();
        let mut above = first_above.as_slice();
        let mut rows = into.chunks_exact_mut(row_bytes.max(1));
        while let Some(row) = rows.next() {
            let wanted = 1 + usize::from(rows.len() != 0);
            self.fill(wanted * (row_bytes + 1))?;
            let rest = self.window.get(self.begun..self.region.filled).unwrap_or_default();
            let (upper, rest) = stored(rest, row_bytes)?;
            let lower = if wanted == 2 { Some(stored(rest, row_bytes)?.0) } else { None };
            let together = lower.filter(|lower| upper.goes_with(*lower));
            if let Some((lower, below)) = together.and_then(|lower| Some((lower, rows.next()?))) {
                let added = [upper.added, lower.added];
                unfilter::two_rows::<PX>(added, above, [&mut *row, &mut *below]);
                above = below;
                self.begun += 2 * (row_bytes + 1);
            } else {
                let read = unfilter::row::<PX>(upper, above, row);
                read.ok_or_else(|| corrupt("a row has an unknown filter"))?;
                above = row;
                self.begun += row_bytes + 1;
            }
        }
        self.above = above.to_vec();
        Ok(())
    }

    /// Reads on to the end of the compressed data, behind which its checksum stands.
    pub(super) fn finish(&mut self) -> Result<(), Inadmissible> {
        while !self.is_flushed {
            self.step(false)?;
        }
        Ok(())
    }

    /// Inflates until `bytes` lie in the window.
    fn fill(&mut self, bytes: usize) -> Result<(), Inadmissible> {
        while self.region.filled - self.begun < bytes {
            if self.is_flushed {
                return Err(corrupt("there are fewer rows than the header says"));
            }
            self.make_room();
            let before = self.region.filled;
            self.step(true)?;
            self.ahead -= self.region.filled - before;
        }
        Ok(())
    }

    /// Moves what is still needed to the window's beginning where its end is near. The window never
    /// has room for more than the picture has: what follows that is not inflated.
    fn make_room(&mut self) {
        if self.window.len() < self.region.filled + FREE_BYTES.min(self.ahead) {
            let gone = self.begun.min(self.region.available);
            self.window.copy_within(gone..self.region.filled, 0);
            self.begun -= gone;
            self.region.available -= gone;
            self.region.filled -= gone;
        }
        let end = WINDOW_BYTES.min(self.region.filled.saturating_add(self.ahead));
        self.window.resize(end, 0);
    }

    /// Lets the decoder do what it does at a time, inflate or only read.
    fn step(&mut self, inflates: bool) -> Result<(), Inadmissible> {
        let bytes = self.input.fill_buf().map_err(|why| corrupt(&why.to_string()))?;
        if bytes.is_empty() {
            return Err(corrupt("the file is cut off"));
        }
        let mut window = inflates.then(|| self.region.as_buf(&mut self.window));
        let (read, decoded) =
            self.decoder.update(bytes, window.as_mut()).map_err(|why| broken(&why))?;
        self.input.consume(read);
        self.is_flushed = matches!(decoded, Decoded::ImageDataFlushed);
        Ok(())
    }
}

/// The first row of what was inflated, and the rest.
fn stored(inflated: &[u8], row_bytes: usize) -> Result<(Stored<'_>, &[u8]), Inadmissible> {
    let row = inflated.split_first().and_then(|(filter, rest)| {
        let (added, rest) = rest.split_at_checked(row_bytes)?;
        Some((Stored { filter: *filter, added }, rest))
    });
    row.ok_or_else(|| corrupt("there are fewer rows than the header says"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ::png::{BitDepth, ColorType, Encoder, Filter};

    use super::*;
    use crate::clock::Deadline;

    const FORMS: [ColorType; 4] =
        [ColorType::Grayscale, ColorType::GrayscaleAlpha, ColorType::Rgb, ColorType::Rgba];

    const FILTERS: [Filter; 6] =
        [Filter::NoFilter, Filter::Sub, Filter::Up, Filter::Avg, Filter::Paeth, Filter::Adaptive];

    /// Waves under noise, so that every filter has something to guess.
    fn samples((width, height): (u32, u32), channels: usize) -> Vec<u8> {
        let mut state = 7_u32;
        let mut sample = |at: usize| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let wave = at / channels % 97 + at / 911;
            u8::try_from((wave + (state >> 29) as usize) % 256).unwrap()
        };
        (0..width as usize * height as usize * channels).map(&mut sample).collect()
    }

    fn encoded(size: (u32, u32), colour: ColorType, filter: Filter, samples: &[u8]) -> Vec<u8> {
        let mut file = Vec::new();
        let mut encoder = Encoder::new(&mut file, size.0, size.1);
        encoder.set_color(colour);
        encoder.set_depth(BitDepth::Eight);
        encoder.set_filter(filter);
        encoder.write_header().unwrap().write_image_data(samples).unwrap();
        file
    }

    /// What is read of a file, some rows at a time.
    fn read(
        file: &[u8],
        size: (u32, u32),
        channels: usize,
        rows_at_a_time: usize,
    ) -> Result<Vec<u8>, Inadmissible> {
        let time = Duration::from_secs(60);
        let allowance = Allowance::start(Deadline::after(time), time);
        let mut rows = Rows::of(file, size, channels, &allowance);
        let row_bytes = size.0 as usize * channels;
        let mut made = vec![1; row_bytes * size.1 as usize];
        for some in made.chunks_mut(row_bytes * rows_at_a_time) {
            rows.read(some)?;
        }
        rows.finish()?;
        Ok(made)
    }

    #[test]
    fn a_file_is_read_as_it_was_written_in_every_form_and_by_every_filter() {
        // the last is many windows long
        for size in [(1, 1), (1, 9), (7, 2), (64, 5), (701, 423)] {
            for colour in FORMS {
                let channels = colour.samples();
                let samples = samples(size, channels);
                for filter in FILTERS {
                    let file = encoded(size, colour, filter, &samples);
                    for rows_at_a_time in [1, 2, 5, 1_000] {
                        let made = read(&file, size, channels, rows_at_a_time).unwrap();
                        assert!(made == samples, "{size:?} {colour:?} {filter:?} {rows_at_a_time}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_file_that_is_cut_off_or_holds_fewer_rows_or_an_unknown_filter_is_refused() {
        let (size, colour) = ((40, 30), ColorType::Rgb);
        let file = encoded(size, colour, Filter::Paeth, &samples(size, 3));
        for end in 0..file.len() - 16 {
            assert!(read(&file[..end], size, 3, 4).is_err(), "cut off after {end} bytes");
        }
        assert!(read(&file, (40, 31), 3, 4).is_err(), "a row more");
        assert!(read(&file, (40, 29), 3, 4).is_ok(), "what follows the rows is not looked at");
        // every second row of 19 pixels begins where a sample was
        let odd = encoded(size, colour, Filter::NoFilter, &[9; 40 * 30 * 3]);
        assert!(read(&odd, (19, 60), 3, 4).is_err());
    }

    #[test]
    fn a_flipped_bit_is_refused_by_the_checksum() {
        let size = (33, 21);
        let file = encoded(size, ColorType::Rgba, Filter::Adaptive, &samples(size, 4));
        let data = file.windows(4).position(|four| four == b"IDAT").unwrap() + 4;
        for at in data..file.len() - 16 {
            let mut flipped = file.clone();
            flipped[at] ^= 1 << (at % 8);
            assert!(read(&flipped, size, 4, 3).is_err(), "byte {at}");
        }
    }
}
