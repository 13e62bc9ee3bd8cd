//! Imaging turns a candidate's bytes into findings and views on a bounded CPU pool.
//!
//! One decode serves everything: the checks and the `local` judge measure a small copy of the
//! picture, the judges see views of it. No input may panic past here, allocate beyond
//! [`Settings::max_decoded_bytes`] or hold a worker for long past its deadline: sizes are refused from
//! the header, decoders read through a clock, what follows them is bounded by the pixels, and a panic
//! is caught and becomes this image's error. All images together hold no more than
//! [`Settings::max_decoding_bytes`], and one that would have to wait for a worker until its judges have
//! no time is refused at once.

mod allowance;
mod baked;
mod blown;
mod coding;
mod colour;
mod curve;
mod cutout;
mod decode;
mod decoded;
mod detail;
mod edge;
mod encode;
mod encoded;
mod fingerprint;
mod grid;
mod ground;
mod halve;
mod inspect;
mod jpeg;
mod landmark;
mod lean;
mod levels;
mod light;
mod marks;
mod mask;
mod measure;
mod memory;
mod native;
mod parts;
mod picture;
mod placing;
mod planes;
mod png;
mod pool;
mod prepare;
mod resize;
mod sample;
mod scene;
mod shadow;
mod strict;
mod subject;
#[cfg(feature = "fast-codecs")]
mod turbo;
mod view;
mod webp;
mod words;

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::oneshot;

use crate::clock::{Deadline, Late};
use crate::domain::policy::{CheckKind, Encoding, ViewSpec};
use crate::domain::{Candidate, CheckSpec, Finding, Inadmissible};
pub use crate::imaging::encoded::Base64;
pub use crate::imaging::inspect::{Explained, Inspection, explain, inspect, show};
pub use crate::imaging::marks::Area;
pub use crate::imaging::measure::Inspected;
use crate::imaging::pool::Pool;
use crate::imaging::prepare::{forward, prepare};
pub use crate::imaging::scene::Line;

/// The imaging pool. Cloning shares it; the last clone's end ends its threads.
#[derive(Clone, Debug)]
pub struct Imaging {
    pool: Arc<Pool>,
}

impl Imaging {
    /// Starts the pool's threads.
    ///
    /// # Errors
    /// The system gives no more threads.
    pub fn new(settings: Settings) -> io::Result<Self> {
        Ok(Self { pool: Arc::new(Pool::start(settings, prepare)?) })
    }

    /// Decodes, measures and makes views of one image on the pool, the shortest image first; what
    /// is forwarded and small is made right here, because waiting for a thread takes longer.
    /// Dropping the future gives the work up: unstarted it is never begun.
    ///
    /// # Errors
    /// The image cannot be read within its limits, the deadline passed, or there is no worker for it
    /// in time.
    pub async fn prepare(
        &self,
        candidate: Candidate,
        plan: Arc<Plan>,
        deadline: Deadline,
    ) -> Result<Prepared, PrepareError> {
        let is_glance = candidate.bytes().len() <= GLANCE_BYTES && !deadline.is_past();
        if is_glance && let Some(forwarded) = forward(&candidate, &plan) {
            return Ok(forwarded);
        }
        let answer = self.pool.submit(candidate, plan, deadline)?;
        let answered = deadline.bound(answer).await.map_err(|_| PrepareError::Late)?;
        answered.unwrap_or(Err(PrepareError::Broken))
    }

    /// Runs other work on the pool, ahead of the images: what would hold an async thread for some
    /// milliseconds (the digest of a large body, its base64).
    ///
    /// # Errors
    /// The deadline passed, the queue is full, or the work broke.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
        deadline: Deadline,
    ) -> Result<T, PrepareError> {
        let (reply, answer) = oneshot::channel();
        let errand = Box::new(move || drop(reply.send(work())));
        self.pool.send(errand, deadline)?;
        match deadline.bound(answer).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(_)) if deadline.is_past() => Err(PrepareError::Late),
            Ok(Err(_)) => Err(PrepareError::Broken),
            Err(Late) => Err(PrepareError::Late),
        }
    }

    /// Images that wait for a worker.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.pool.queued()
    }

    /// How long one who came now would wait for a worker, by how long images took so far.
    #[must_use]
    pub fn wait(&self) -> Duration {
        self.pool.wait()
    }

    /// Memory promised to the images being worked on; at most [`Settings::max_decoding_bytes`].
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        self.pool.held_bytes()
    }

    /// Threads whose work hangs: it is out for twice [`Settings::max_decode_time`].
    #[must_use]
    pub fn stuck(&self) -> usize {
        self.pool.stuck()
    }

    /// Whether so much work hangs that no more is taken, until some of it comes back.
    #[must_use]
    pub fn is_stuck(&self) -> bool {
        self.pool.is_stuck()
    }
}

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
    pub jpeg: Base64,
}

/// The media type of every [`View`].
pub const VIEW_MEDIA_TYPE: &str = "image/jpeg";

/// Largest image that is forwarded on the caller's own thread. The walk, the copy and the base64 of
/// so many bytes take 0.3 ms (0.2 ms for 200 KB); twice as many would take longer than a reactor may
/// be held, and a thread that is busy with a large image would let this one wait for tens of ms.
const GLANCE_BYTES: usize = 256 << 10;

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
    /// Most memory that all images being worked on may take together; less than
    /// `max_decoded_bytes` is the most for one, too.
    pub max_decoding_bytes: u64,
    /// Longest that a thread may run to decode one image. Out for twice as long by the clock, it is left
    /// behind.
    pub max_decode_time: Duration,
}

/// Workers on a large machine.
const MAX_THREADS: usize = 8;

impl Default for Settings {
    /// One core is left for the reactor. 512 images of 12 MiB at most wait beside their bytes'
    /// own limit; 256 MiB hold 40 megapixels in every usual form (a 40-megapixel RGB JPEG takes
    /// 120 MB, a progressive one 240 MB), and twice that eight usual images at once, of 12
    /// megapixels each; 2 s is 40 times what a large photograph takes.
    fn default() -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Self {
            threads: cores.saturating_sub(1).clamp(1, MAX_THREADS),
            max_queued: 512,
            max_decoded_bytes: 256 << 20,
            max_decoding_bytes: 512 << 20,
            max_decode_time: Duration::from_secs(2),
        }
    }
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
    /// Whether somebody goes by more than the checks say. Where nobody does, [`Measurements`] are all
    /// `None`, and where no check looks at pixels and no view is cut around what is found in them
    /// either, a JPEG that is small enough is not decoded: judges see its own data, without metadata.
    pub measures: bool,
}

impl Plan {
    /// Whether everything but the views comes from the header.
    fn wants_no_pixels(&self) -> bool {
        !self.measures && !looks_at_pixels(&self.checks, &self.views)
    }

    /// Whether a view is cut around what is found in the image.
    fn wants_landmarks(&self) -> bool {
        wants_landmarks(&self.views)
    }
}

/// Whether one of `checks` or `views` needs more of every image than its header.
pub(crate) fn looks_at_pixels<'a>(
    checks: impl IntoIterator<Item = &'a CheckSpec>,
    views: &[ViewSpec],
) -> bool {
    let is_size = |check: &CheckSpec| matches!(check.kind, CheckKind::Size { .. });
    wants_landmarks(views) || !checks.into_iter().all(is_size)
}

fn wants_landmarks(views: &[ViewSpec]) -> bool {
    views.iter().any(|view| view.around.is_some())
}

/// What was made of one candidate.
#[derive(Clone, Debug, Default, PartialEq)]
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
    /// It would wait for a worker for so long that its judges have no time.
    #[error("an image would wait {wait_ms} ms for a worker")]
    Behind {
        /// By how long images took so far.
        wait_ms: u64,
    },
    /// Work hangs, and too many threads have been left behind with such work.
    #[error("the workers hang")]
    Stuck,
    /// A worker broke on this image; the pool goes on.
    #[error("a worker broke on this image")]
    Broken,
}

#[cfg(test)]
mod tests;
