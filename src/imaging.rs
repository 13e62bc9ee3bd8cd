//! Imaging turns a candidate's bytes into findings and views on a bounded CPU pool.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;

use crate::domain::policy::{Encoding, ViewSpec};
use crate::domain::{CheckSpec, Finding, Inadmissible};

/// One picture as a judge is shown it: JPEG, sRGB, upright, without metadata or alpha.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Its name in the prompt.
    pub id: String,
    /// Width after crop and downscale.
    pub width_px: u32,
    /// Height after crop and downscale.
    pub height_px: u32,
    /// The encoded picture (`image/jpeg`).
    pub bytes: Bytes,
    /// The same in standard base64 with padding, made once for all attempts.
    pub base64: Arc<str>,
}

/// The media type of every [`View`].
pub const VIEW_MEDIA_TYPE: &str = "image/jpeg";

/// What was measured on the pixels beyond the policy's checks: what the `local` judge scores by.
/// Each is a raw number with its unit; `None` where this image gives nothing to measure.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measurements {
    /// Share of the subject's edge that carries a halo, 0..1.
    pub edge_halo: Option<f64>,
    /// Share of a plain background that is neither background nor subject, 0..1.
    pub residue: Option<f64>,
    /// Specks, holes and steps along the alpha edge as a share of the edge, 0..1.
    pub edge_noise: Option<f64>,
    /// Variance of the Laplacian of the subject's luma at a fixed scale.
    pub sharpness: Option<f64>,
    /// Share of the frame's border that the subject touches, 0..1.
    pub border: Option<f64>,
    /// Gap between the subject's foot and its shadow as a share of the subject's height, 0..1.
    pub contact_shadow: Option<f64>,
}

/// The pool's size and one image's allowances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Worker threads.
    pub threads: usize,
    /// Images that may wait for a worker.
    pub max_queued: usize,
    /// Most memory that decoding one image may take.
    pub max_decoded_bytes: u64,
    /// Longest that decoding one image may take.
    pub max_decode_time: Duration,
}

/// What is to be made of one candidate.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Most pixels, read from the header.
    pub max_pixels: u64,
    /// The checks that apply, in order.
    pub checks: Vec<CheckSpec>,
    /// The views to make, in order.
    pub views: Vec<ViewSpec>,
    /// How views are encoded.
    pub encode: Encoding,
}

/// What was made of one candidate.
#[derive(Clone, Debug, PartialEq)]
pub struct Prepared {
    /// Of the whole image, after orientation.
    pub width_px: u32,
    /// Of the whole image, after orientation.
    pub height_px: u32,
    /// One for every check of the plan, in order.
    pub findings: Vec<Finding>,
    /// What the `local` judge scores by.
    pub measurements: Measurements,
    /// One for every view of the plan, in order.
    pub views: Vec<View>,
    /// Time spent decoding.
    pub decode_ms: f64,
    /// Time spent measuring.
    pub checks_ms: f64,
    /// Time spent making views.
    pub views_ms: f64,
}

/// Why nothing was made.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PrepareError {
    /// The image itself is at fault.
    #[error(transparent)]
    Inadmissible(#[from] Inadmissible),
    /// The deadline passed first.
    #[error("the deadline passed while the image was prepared")]
    Late,
    /// The pool's queue is full.
    #[error("{queued} images wait for a worker, the limit is {limit}")]
    Busy {
        /// How many wait.
        queued: usize,
        /// `max_queued`.
        limit: usize,
    },
    /// A worker broke on this image; the pool goes on.
    #[error("a worker broke on this image")]
    Broken,
}
