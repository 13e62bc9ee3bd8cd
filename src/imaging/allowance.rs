//! An allowance is the time and the memory one image may take, and the readers that decoders draw
//! their bytes through so that they stop once the time is spent.
//!
//! A decoder cannot be interrupted from outside, but it has to read: a reader that fails after the
//! allowed time ends a picture made to be slow. What reads nothing for long is bounded before it
//! starts, by pixels and by scans.
//!
//! What decoding may take is counted in the time that its thread ran. A thread that other work keeps from
//! its core is late, and says nothing about the image.

use std::cell::Cell;
use std::io::{self, BufRead, Cursor, Read, Seek, SeekFrom};
use std::time::Duration;

use zune_jpeg::zune_core::bytestream::{ZByteIoError, ZByteReaderTrait, ZCursor, ZSeekFrom};

use crate::clock::{Deadline, RunTime, Stopwatch};
use crate::domain::Inadmissible;
use crate::imaging::PrepareError;
use crate::imaging::memory::Memory;

/// Reads between two looks at the clock.
const READS_PER_LOOK: u32 = 4_096;

/// Bytes a buffered reader is given at a time.
const WINDOW_BYTES: usize = 16 * 1_024;

/// The time and the memory one image may take.
#[derive(Debug)]
pub(crate) struct Allowance {
    deadline: Deadline,
    watch: Stopwatch,
    ran: RunTime,
    decode_time: Duration,
    tripped: Cell<bool>,
    memory: Memory,
}

impl Allowance {
    /// Starts now, on the thread that will decode; that ends at `deadline`, or before that once the thread
    /// ran for longer than `decode_time`. Its memory is shared with nobody.
    pub(crate) fn start(deadline: Deadline, decode_time: Duration) -> Self {
        let (watch, ran, tripped) = (Stopwatch::start(), RunTime::start(), Cell::new(false));
        Self { deadline, watch, ran, decode_time, tripped, memory: Memory::unshared() }
    }

    /// The same within `memory`.
    pub(crate) fn within(self, memory: Memory) -> Self {
        Self { memory, ..self }
    }

    /// Leave to take memory.
    pub(crate) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Whether decoding has to stop; once true it stays true.
    pub(crate) fn is_spent(&self) -> bool {
        if !self.tripped.get() {
            let spent = self.decode_time < self.ran.elapsed() || self.deadline.is_past();
            self.tripped.set(spent);
        }
        self.tripped.get()
    }

    /// What stopped a decoder that was stopped; `None` when it was not stopped by time.
    pub(crate) fn verdict(&self) -> Option<PrepareError> {
        if !self.tripped.get() {
            return None;
        }
        if self.deadline.is_past() {
            return Some(PrepareError::Late);
        }
        let limit_ms = u64::try_from(self.decode_time.as_millis()).unwrap_or(u64::MAX);
        Some(Inadmissible::TooSlow { limit_ms }.into())
    }

    /// Time since the start in milliseconds.
    pub(crate) fn elapsed_ms(&self) -> f64 {
        self.watch.elapsed_ms()
    }
}

/// Bytes as the PNG and WebP decoders read them.
#[derive(Debug)]
pub(crate) struct Metered<'a> {
    bytes: Cursor<&'a [u8]>,
    allowance: &'a Allowance,
    reads: u32,
}

impl<'a> Metered<'a> {
    /// Reads `bytes` until `allowance` is spent.
    pub(crate) fn new(bytes: &'a [u8], allowance: &'a Allowance) -> Self {
        Self { bytes: Cursor::new(bytes), allowance, reads: 0 }
    }

    fn check(&mut self) -> io::Result<()> {
        self.reads = self.reads.wrapping_add(1);
        if self.reads.is_multiple_of(READS_PER_LOOK / 64) && self.allowance.is_spent() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the time to decode is spent"));
        }
        Ok(())
    }
}

impl Read for Metered<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.check()?;
        self.bytes.read(buffer)
    }
}

impl BufRead for Metered<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.check()?;
        let window = self.bytes.fill_buf()?;
        Ok(window.get(..WINDOW_BYTES).unwrap_or(window))
    }

    fn consume(&mut self, amount: usize) {
        self.bytes.consume(amount);
    }
}

impl Seek for Metered<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.bytes.seek(to)
    }
}

/// Bytes as the JPEG decoder reads them: past its allowance the file seems to end.
pub(crate) struct MeteredJpeg<'a> {
    bytes: ZCursor<&'a [u8]>,
    allowance: &'a Allowance,
    until_look: u32,
    spent: bool,
}

impl<'a> MeteredJpeg<'a> {
    /// Reads `bytes` until `allowance` is spent.
    pub(crate) fn new(bytes: &'a [u8], allowance: &'a Allowance) -> Self {
        Self { bytes: ZCursor::new(bytes), allowance, until_look: READS_PER_LOOK, spent: false }
    }

    #[inline]
    fn may_read(&mut self) -> Result<(), ZByteIoError> {
        self.until_look -= 1;
        if self.until_look == 0 {
            self.until_look = READS_PER_LOOK;
            self.spent = self.allowance.is_spent();
        }
        if self.spent {
            return Err(ZByteIoError::Generic("the time to decode is spent"));
        }
        Ok(())
    }
}

impl ZByteReaderTrait for MeteredJpeg<'_> {
    #[inline]
    fn read_byte_no_error(&mut self) -> u8 {
        if self.may_read().is_err() {
            return 0;
        }
        self.bytes.read_byte_no_error()
    }

    #[inline]
    fn read_exact_bytes(&mut self, buffer: &mut [u8]) -> Result<(), ZByteIoError> {
        self.may_read()?;
        self.bytes.read_exact_bytes(buffer)
    }

    fn read_bytes(&mut self, buffer: &mut [u8]) -> Result<usize, ZByteIoError> {
        self.may_read()?;
        self.bytes.read_bytes(buffer)
    }

    fn peek_bytes(&mut self, buffer: &mut [u8]) -> Result<usize, ZByteIoError> {
        self.bytes.peek_bytes(buffer)
    }

    fn peek_exact_bytes(&mut self, buffer: &mut [u8]) -> Result<(), ZByteIoError> {
        self.bytes.peek_exact_bytes(buffer)
    }

    fn z_seek(&mut self, from: ZSeekFrom) -> Result<u64, ZByteIoError> {
        self.bytes.z_seek(from)
    }

    #[inline]
    fn is_eof(&mut self) -> Result<bool, ZByteIoError> {
        Ok(self.spent || self.bytes.is_eof()?)
    }

    fn z_position(&mut self) -> Result<u64, ZByteIoError> {
        self.bytes.z_position()
    }

    fn read_remaining(&mut self, sink: &mut Vec<u8>) -> Result<usize, ZByteIoError> {
        self.may_read()?;
        self.bytes.read_remaining(sink)
    }
}
