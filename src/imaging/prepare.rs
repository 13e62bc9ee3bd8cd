//! Preparing is the CPU work on one image: decode, measure, make views, in that order, each begun
//! only while somebody waits for it.

use crate::domain::Candidate;
use crate::imaging::allowance::Allowance;
use crate::imaging::decode::decode;
use crate::imaging::decoded::Limits;
use crate::imaging::measure;
use crate::imaging::view::views;
use crate::imaging::{Plan, PrepareError, Prepared, Settings};

/// Does the work of `plan` on `candidate`. `is_wanted` is asked between the steps.
pub(crate) fn prepare(
    candidate: &Candidate,
    plan: &Plan,
    settings: &Settings,
    allowance: &Allowance,
    is_wanted: &dyn Fn() -> bool,
) -> Result<Prepared, PrepareError> {
    let limits = Limits { max_pixels: plan.max_pixels, max_bytes: settings.max_decoded_bytes };
    let picture = decode(candidate, &limits, allowance)?;
    let decoded_at_ms = allowance.elapsed_ms();
    if !is_wanted() {
        return Err(PrepareError::Late);
    }
    let measured = measure::measure(&picture, &plan.checks).map_err(|_| PrepareError::Broken)?;
    let measured_at_ms = allowance.elapsed_ms();
    if !is_wanted() {
        return Err(PrepareError::Late);
    }
    let views = views(&picture, &plan.views, plan.encode).map_err(|_| PrepareError::Broken)?;
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
