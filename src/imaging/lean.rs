//! A lean JPEG is a candidate's own picture and nothing else of its file: a view that costs neither
//! decoding nor encoding.
//!
//! Tables, frame and scans are copied as they are; whatever an application wrote is left out
//! (metadata, thumbnails, comments, a second picture, trailing bytes), and a JFIF header of ours
//! says how to read the components. Only what every reader takes in the same way is copied. The
//! walk never refuses: what is odd, turned, profiled or cut off has no lean form and goes to the
//! decoder, which says what is wrong with it. What only decoding tells, it cannot know: whether the
//! data inside a scan are broken.

use bytes::Bytes;
use image::metadata::Orientation;

use crate::imaging::decoded::xmp_orientation;
use crate::imaging::jpeg::{EOI, MAX_SCANS, SOI, SOS, coded_length};

/// JFIF 1.1, square pixels, no thumbnail: one component is grey, three are YCbCr.
const JFIF: [u8; 20] = *b"\xFF\xD8\xFF\xE0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0";

/// A picture that any reader takes.
#[derive(Debug)]
pub(crate) struct Lean {
    /// From the frame's header.
    pub(crate) width_px: u32,
    /// From the frame's header.
    pub(crate) height_px: u32,
    /// The file.
    pub(crate) bytes: Bytes,
}

impl Lean {
    /// The lean form of a JPEG; `None` where it has none. Linear in `bytes`.
    pub(crate) fn of(bytes: &[u8]) -> Option<Self> {
        let mut walk = Walk::default();
        walk.kept.reserve_exact(JFIF.len() + bytes.len());
        walk.kept.extend(JFIF);
        let mut rest = bytes.strip_prefix(&[0xFF, SOI])?;
        loop {
            let (marker, after) = next_marker(rest)?;
            if marker == EOI {
                return walk.finish();
            }
            rest = walk.segment(marker, after)?;
        }
    }
}

/// The marker that stands right here, perhaps behind fillers.
fn next_marker(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let named = bytes.iter().position(|byte| *byte != 0xFF).filter(|fillers| 0 < *fillers)?;
    bytes.get(named..)?.split_first().map(|(marker, after)| (*marker, after))
}

/// What was read so far. The sets hold numbers of tables or components, one a bit.
#[derive(Debug, Default)]
struct Walk {
    frame: Option<Frame>,
    quantizers: u8,
    dc_tables: u8,
    ac_tables: u8,
    /// MCUs between two restarts; 0: there are none.
    interval: u32,
    /// What Adobe says of the components.
    transform: Option<u8>,
    scans: u16,
    /// Components whose coarsest scan was there.
    begun: u8,
    kept: Vec<u8>,
}

#[derive(Debug)]
struct Frame {
    width_px: u16,
    height_px: u16,
    progressive: bool,
    /// One or three.
    components: Vec<Component>,
}

#[derive(Clone, Copy, Debug)]
struct Component {
    id: u8,
    across: u8,
    down: u8,
    quantizer: u8,
}

impl Walk {
    /// Reads one segment with a length and returns what follows it.
    fn segment<'a>(&mut self, marker: u8, at: &'a [u8]) -> Option<&'a [u8]> {
        let length = usize::from(u16::from_be_bytes(*at.first_chunk::<2>()?));
        let (whole, rest) = at.split_at_checked(length)?;
        let body = whole.get(2..)?;
        match marker {
            0xDB => self.quantizers(body)?,
            0xC4 => self.huffman(body)?,
            0xC0..=0xC2 => self.frame(marker, body)?,
            0xDD => self.interval = u16::from_be_bytes(body.try_into().ok()?).into(),
            SOS => return self.scan(whole, rest),
            0xE0..=0xEF | 0xFE => return self.application(marker, body).then_some(rest),
            // arithmetic coding, hierarchies, a height that comes later, a second picture
            _ => return None,
        }
        self.keep(marker, whole);
        Some(rest)
    }

    fn keep(&mut self, marker: u8, whole: &[u8]) {
        self.kept.extend([0xFF, marker]);
        self.kept.extend_from_slice(whole);
    }

    /// Whether what an application wrote can be left out without changing what is seen.
    fn application(&mut self, marker: u8, body: &[u8]) -> bool {
        let turned = |found: Option<Orientation>| {
            found.is_some_and(|orientation| orientation != Orientation::NoTransforms)
        };
        match marker {
            // fields of a film, with tables that are not in the file
            0xE0 => !body.starts_with(b"AVI1"),
            0xE1 => match body.strip_prefix(b"Exif\0\0") {
                Some(exif) => !turned(Orientation::from_exif_chunk(exif)),
                None => !turned(xmp_orientation(body)),
            },
            0xE2 => !body.starts_with(b"ICC_PROFILE\0"),
            0xEE if body.starts_with(b"Adobe") => {
                self.transform = body.get(11).copied();
                self.transform.is_some()
            }
            _ => true,
        }
    }

    /// Tables of 8 bits an entry, with nothing behind them.
    fn quantizers(&mut self, body: &[u8]) -> Option<()> {
        let mut rest = body;
        while let Some((which, after)) = rest.split_first() {
            // a higher number, or entries of 16 bits
            if 3 < *which {
                return None;
            }
            self.quantizers |= 1 << which;
            rest = after.get(64..)?;
        }
        Some(())
    }

    /// Huffman tables that are whole, with no more codes than there is room for.
    fn huffman(&mut self, body: &[u8]) -> Option<()> {
        let mut rest = body;
        while let Some((which, after)) = rest.split_first() {
            let (counts, after) = after.split_first_chunk::<16>()?;
            let symbols: usize = counts.iter().map(|count| usize::from(*count)).sum();
            let taken: u32 =
                (0..16).rev().zip(counts).map(|(bits, count)| u32::from(*count) << bits).sum();
            if !(1..=256).contains(&symbols) || 1 << 16 < taken {
                return None;
            }
            match which {
                0x00..=0x03 => self.dc_tables |= 1 << which,
                0x10..=0x13 => self.ac_tables |= 1 << (which & 3),
                _ => return None,
            }
            rest = after.get(symbols..)?;
        }
        Some(())
    }

    /// Grey, or YCbCr with its first component sampled as finely as the others or more.
    fn frame(&mut self, marker: u8, body: &[u8]) -> Option<()> {
        let (&[bits, high, low, wide, narrow, count], listed) = body.split_first_chunk::<6>()?;
        let (listed, behind) = listed.as_chunks::<3>();
        let components: Vec<_> = listed
            .iter()
            .map(|[id, factors, quantizer]| Component {
                id: *id,
                across: factors >> 4,
                down: factors & 15,
                quantizer: *quantizer,
            })
            .collect();
        let is_usual = match components.as_slice() {
            [grey] => (1..=4).contains(&grey.across) && (1..=4).contains(&grey.down),
            [y, cb, cr] => {
                let ids = [y.id, cb.id, cr.id];
                let whole = [cb, cr].iter().all(|one| (one.across, one.down) == (1, 1));
                // of four samples to one downwards some readers make green
                let finer = matches!((y.across, y.down), (1 | 2, 1 | 2) | (4, 1));
                (ids == [1, 2, 3] || ids == [0, 1, 2]) && whole && finer
            }
            _ => false,
        };
        let frame = Frame {
            width_px: u16::from_be_bytes([wide, narrow]),
            height_px: u16::from_be_bytes([high, low]),
            progressive: marker == 0xC2,
            components,
        };
        let is_whole = usize::from(count) == frame.components.len() && behind.is_empty();
        let is_first = self.frame.is_none();
        if bits != 8 || !is_usual || !is_whole || !is_first {
            return None;
        }
        if frame.width_px == 0 || frame.height_px == 0 {
            return None;
        }
        self.frame = Some(frame);
        Some(())
    }

    /// Copies a scan that has its tables and its restarts, and returns what follows it.
    fn scan<'a>(&mut self, header: &[u8], at: &'a [u8]) -> Option<&'a [u8]> {
        let frame = self.frame.as_ref()?;
        let (count, listed) = header.get(2..)?.split_first()?;
        let (listed, band) = listed.split_at_checked(2 * usize::from(*count))?;
        let band = Band::of(band, frame.progressive)?;
        let mut shown = 0_u8;
        for [id, tables] in listed.as_chunks::<2>().0 {
            let place = frame.components.iter().position(|one| one.id == *id)?;
            let quantizer = frame.components.get(place)?.quantizer;
            let is_ready = has(self.quantizers, quantizer)
                && (!band.dc || has(self.dc_tables, tables >> 4))
                && (!band.ac || has(self.ac_tables, tables & 15));
            let is_begun = self.begun & 1 << place != 0;
            // the coarsest scan of a component comes first and once
            if !is_ready || is_begun == band.begins || shown & 1 << place != 0 {
                return None;
            }
            shown |= 1 << place;
        }
        if shown == 0 || (frame.progressive && band.ac && shown.count_ones() != 1) {
            return None;
        }
        let (length, restarts) = coded_length(at);
        let expected = (frame.mcus(shown) - 1).checked_div(self.interval).unwrap_or(0);
        self.scans += 1;
        if length == 0 || restarts != expected || MAX_SCANS < self.scans {
            return None;
        }
        if band.begins {
            self.begun |= shown;
        }
        let (coded, rest) = at.split_at_checked(length)?;
        self.keep(SOS, header);
        self.kept.extend_from_slice(coded);
        Some(rest)
    }

    fn finish(mut self) -> Option<Lean> {
        let frame = self.frame?;
        let is_all = self.begun.count_ones() as usize == frame.components.len();
        let is_said = match self.transform {
            // grey has nothing to transform
            Some(0) => frame.components.len() == 1,
            Some(1) | None => true,
            Some(_) => false,
        };
        if !is_all || !is_said {
            return None;
        }
        self.kept.extend([0xFF, EOI]);
        Some(Lean {
            width_px: frame.width_px.into(),
            height_px: frame.height_px.into(),
            bytes: self.kept.into(),
        })
    }
}

impl Frame {
    /// Units between which restarts may stand, in a scan of the components in `shown`; at least 1.
    fn mcus(&self, shown: u8) -> u32 {
        let most = |each: fn(&Component) -> u8| self.components.iter().map(each).max().unwrap_or(1);
        let (most_across, most_down) = (most(|one| one.across), most(|one| one.down));
        let units = |side_px: u16, factor: u8, most: u8| {
            let samples = (u32::from(side_px) * u32::from(factor)).div_ceil(most.into());
            samples.div_ceil(8).max(1)
        };
        let place = shown.trailing_zeros() as usize;
        let (across, down) = match self.components.get(place) {
            // alone a component goes block by block, in as many as its own samples need
            Some(lone) if shown.count_ones() == 1 => (lone.across, lone.down),
            _ => (1, 1),
        };
        units(self.width_px, across, most_across) * units(self.height_px, down, most_down)
    }
}

/// Which coefficients a scan holds.
#[derive(Clone, Copy, Debug)]
struct Band {
    /// It reads codes of the DC table.
    dc: bool,
    /// It reads codes of the AC table.
    ac: bool,
    /// It is the coarsest of its components.
    begins: bool,
}

impl Band {
    /// From the last three bytes of a scan's header.
    fn of(bytes: &[u8], progressive: bool) -> Option<Self> {
        let [first, last, bits] = *bytes.first_chunk::<3>()?;
        let refines = bits >> 4 != 0;
        match (progressive, first, last) {
            _ if bytes.len() != 3 => None,
            (false, 0, 63) if bits == 0 => Some(Self { dc: true, ac: true, begins: true }),
            (true, 0, 0) => Some(Self { dc: !refines, ac: false, begins: !refines }),
            (true, 1..=63, 1..=63) if first <= last => {
                Some(Self { dc: false, ac: true, begins: false })
            }
            _ => None,
        }
    }
}

/// Whether `set` holds `number`.
fn has(set: u8, number: u8) -> bool {
    number <= 3 && set & 1 << number != 0
}

#[cfg(test)]
mod tests;
