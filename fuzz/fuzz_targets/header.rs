//! What is told by the first bytes of an image, and a JPEG that is shown as it came.

#![no_main]

#[path = "../uploads.rs"]
mod uploads;

libfuzzer_sys::fuzz_target!(|input: &[u8]| uploads::header(input));
