//! Preparing is the CPU work on one image: decode, measure, make views, in that order, each begun
//! only while somebody waits for it. An image of which nobody wants to know more than its size, and
//! whose own bytes are its view, is [`forward`]ed: nothing of it is decoded.

use crate::clock::Stopwatch;
use crate::domain::{Candidate, Format};
use crate::imaging::allowance::Allowance;
use crate::imaging::decode::decode;
use crate::imaging::decoded::Limits;
use crate::imaging::landmark::placed;
use crate::imaging::lean::Lean;
use crate::imaging::measure::{self, Measured};
use crate::imaging::picture::{Picture, WrongSize};
use crate::imaging::view::{unchanged, views};
use crate::imaging::{Measurements, Plan, PrepareError, Prepared, Settings};

/// Most bytes of a picture that is sent as it came. Encoded by us one of 1024 px has 100 to 300 KB;
/// what is far heavier would take longer to send to every judge than to encode again.
const MAX_UNCHANGED_BYTES: usize = 1 << 20;

/// What `plan` makes of a candidate that need not be decoded; `None`: decode it. Nothing is
/// measured on pixels that nobody looked at.
pub(crate) fn forward(candidate: &Candidate, plan: &Plan) -> Option<Prepared> {
    if !plan.wants_no_pixels() {
        return None;
    }
    let watch = Stopwatch::start();
    let lean = lean(candidate)?;
    let (width_px, height_px) = (lean.width_px, lean.height_px);
    if plan.max_pixels < u64::from(width_px) * u64::from(height_px) {
        return None;
    }
    let findings = measure::by_size((width_px, height_px), &plan.checks)?;
    let views = unchanged(&lean, &plan.views)?;
    Some(Prepared {
        width_px,
        height_px,
        findings,
        measurements: Measurements::default(),
        views,
        decode_ms: 0.0,
        checks_ms: 0.0,
        views_ms: watch.elapsed_ms(),
    })
}

/// Does the work of `plan` on `candidate`. `is_wanted` is asked between the steps.
pub(crate) fn prepare(
    candidate: &Candidate,
    plan: &Plan,
    settings: &Settings,
    allowance: &Allowance,
    is_wanted: &dyn Fn() -> bool,
) -> Result<Prepared, PrepareError> {
    if let Some(forwarded) = forward(candidate, plan) {
        return Ok(forwarded);
    }
    let (max_pixels, max_bytes) = (plan.max_pixels, settings.max_decoded_bytes);
    let limits = Limits { max_pixels, max_bytes, memory: allowance.memory().clone() };
    let picture = decode(candidate, &limits, &plan.views, allowance)?;
    let decoded_at_ms = allowance.elapsed_ms();
    if !is_wanted() {
        return Err(PrepareError::Late);
    }
    let measured = measured(&picture, plan).map_err(|_| PrepareError::Broken)?;
    let measured_at_ms = allowance.elapsed_ms();
    if !is_wanted() {
        return Err(PrepareError::Late);
    }
    let lean = lean(candidate);
    let specs = placed(&plan.views, measured.landmarks.as_ref());
    let made = views(&picture, lean.as_ref(), &specs, plan.encode);
    let views = made.map_err(|_| PrepareError::Broken)?;
    Ok(Prepared {
        width_px: picture.width_px,
        height_px: picture.height_px,
        findings: measured.findings,
        measurements: measured.measurements,
        views,
        decode_ms: decoded_at_ms,
        checks_ms: measured_at_ms - decoded_at_ms,
        views_ms: allowance.elapsed_ms() - measured_at_ms,
    })
}

/// What could be sent of `candidate` without encoding it again.
fn lean(candidate: &Candidate) -> Option<Lean> {
    let bytes = candidate.bytes();
    let is_light = bytes.len() <= MAX_UNCHANGED_BYTES;
    (is_light && candidate.format() == Format::Jpeg).then(|| Lean::of(bytes)).flatten()
}

/// What `plan` wants to know of the picture; where it wants no pixels none are looked at.
fn measured(picture: &Picture, plan: &Plan) -> Result<Measured, WrongSize> {
    let size = (picture.width_px, picture.height_px);
    let by_size = plan.wants_no_pixels().then(|| measure::by_size(size, &plan.checks)).flatten();
    match by_size {
        Some(findings) => {
            Ok(Measured { findings, measurements: Measurements::default(), landmarks: None })
        }
        None => measure::measure(picture, plan),
    }
}
