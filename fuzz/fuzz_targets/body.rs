//! The body of `POST /v1/verdicts` in its forms.

#![no_main]

#[path = "../uploads.rs"]
mod uploads;

libfuzzer_sys::fuzz_target!(|input: &[u8]| uploads::body(input));
