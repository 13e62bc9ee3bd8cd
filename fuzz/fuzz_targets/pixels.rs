//! Decoding, measuring and showing images.

#![no_main]

#[path = "../uploads.rs"]
mod uploads;

libfuzzer_sys::fuzz_target!(|input: &[u8]| uploads::pixels(input));
