//! The body of `POST /v1/verdicts`, read within a byte limit and a deadline, in its three forms:
//! the image alone, multipart, and JSON with base64.
//!
//! Image-sized bodies are the default case. What announces too many bytes is refused by its head
//! ([`check_head`]) before a byte is read, so that `Expect: 100-continue` saves the upload. The
//! JSON form is kept as one buffer and unpacked in a second, synchronous step, so that the caller
//! can choose a thread for it.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;

use crate::clock::{Deadline, Stopwatch};
use crate::domain::Inadmissible;
use crate::http::problem::{Problem, ProblemKind};
use crate::http::upload::{Draft, Upload};
use crate::http::{json, multipart};

/// What a body may hold beside its image: names, variables, part headers.
const ENVELOPE_BYTES: u64 = 64 << 10;

/// From this size on unpacking a JSON body takes longer than a reactor may be held (about 1 GB/s).
const HEAVY_JSON_BYTES: usize = 64 << 10;

/// From this size on a digest does (BLAKE3: 1 GB/s and more).
const HEAVY_BYTES: usize = 512 << 10;

/// A body that is in.
#[derive(Debug)]
pub struct Received {
    draft: Draft,
    /// The JSON form, still packed.
    packed: Option<Bytes>,
    limit_bytes: u64,
    read_ms: f64,
}

impl Received {
    /// Whether unpacking and digesting belong on the CPU pool.
    #[must_use]
    pub fn is_heavy(&self) -> bool {
        let packed = self.packed.as_ref().is_some_and(|packed| HEAVY_JSON_BYTES < packed.len());
        packed || HEAVY_BYTES < self.draft.size_bytes()
    }

    /// The upload: parses the JSON form and decodes its base64; the other forms are ready.
    ///
    /// # Errors
    /// `bad_request` with a pointer, or `too_large`.
    pub fn unpack(mut self) -> Result<Upload, Problem> {
        let watch = Stopwatch::start();
        if let Some(packed) = &self.packed {
            json::unpack(packed, self.limit_bytes, &mut self.draft)?;
        }
        self.draft.finish(self.read_ms + watch.elapsed_ms())
    }
}

/// Reads the body of `request`, whose head was checked.
///
/// `limit_bytes` is the most that an image may have; the body may be as much larger as its form
/// needs. `deadline` is when it is too late to judge what comes in.
///
/// # Errors
/// `too_large`, `body_late`, `unsupported_media_type`, or `bad_request`.
pub async fn receive(
    mut request: Request,
    limit_bytes: u64,
    deadline: Deadline,
) -> Result<Received, Problem> {
    let watch = Stopwatch::start();
    let form = Form::of(request.headers())?;
    let mut draft = Draft::of_query(request.uri())?;
    let body_limit_bytes = form.body_limit_bytes(limit_bytes);
    let announced_bytes = announced_bytes(request.headers()).unwrap_or_default();
    let packed = match form {
        Form::Image | Form::Json => {
            let body = std::mem::take(request.body_mut());
            let whole = collect(body, announced_bytes, body_limit_bytes);
            let whole = deadline.bound(whole).await??;
            let whole = whole.map_err(|size_bytes| form.too_large(size_bytes, limit_bytes))?;
            match form {
                Form::Image => draft.set_image(whole).map(|()| None)?,
                Form::Json | Form::Multipart => Some(whole),
            }
        }
        Form::Multipart => {
            let limits = multipart::Limits {
                image_bytes: limit_bytes,
                body_bytes: body_limit_bytes,
                announced_bytes,
            };
            deadline.bound(multipart::read(request, limits, &mut draft)).await??;
            None
        }
    };
    Ok(Received { draft, packed, limit_bytes, read_ms: watch.elapsed_ms() })
}

/// Refuses what its head alone rules out, so that nobody waits in line for that.
///
/// # Errors
/// `unsupported_media_type`, `too_large`, or `bad_request` for the query.
pub fn check_head(request: &Request, limit_bytes: u64) -> Result<(), Problem> {
    let form = Form::of(request.headers())?;
    Draft::of_query(request.uri())?;
    let announced_bytes = announced_bytes(request.headers()).unwrap_or_default();
    if form.body_limit_bytes(limit_bytes) < announced_bytes {
        return Err(form.too_large(announced_bytes, limit_bytes));
    }
    Ok(())
}

/// Bytes that a request will hold at once: what it announces, else the most an image may have; the
/// JSON form is held packed and unpacked.
#[must_use]
pub fn held_bytes(headers: &HeaderMap, limit_bytes: u64) -> usize {
    let form = Form::of(headers).unwrap_or(Form::Image);
    let most_bytes = form.body_limit_bytes(limit_bytes);
    let body_bytes = announced_bytes(headers).unwrap_or(most_bytes).min(most_bytes);
    let held_bytes = match form {
        Form::Image | Form::Multipart => body_bytes,
        Form::Json => body_bytes.saturating_add(limit_bytes.min(body_bytes / 4 * 3)),
    };
    usize::try_from(held_bytes).unwrap_or(usize::MAX)
}

/// How the image is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Image,
    Multipart,
    Json,
}

impl Form {
    fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let refuse = |detail: String| Err(Problem::new(ProblemKind::UnsupportedMediaType, detail));
        if let Some(coding) = headers.get(header::CONTENT_ENCODING)
            && coding != "identity"
        {
            return refuse(format!("content-encoding {coding:?} is not read, send the body plain"));
        }
        let Some(declared) = headers.get(header::CONTENT_TYPE) else {
            // the bytes decide what it is, so an image needs no name
            return Ok(Self::Image);
        };
        let declared = declared.to_str().unwrap_or_default();
        let essence = declared.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match essence.as_str() {
            "application/octet-stream" => Ok(Self::Image),
            "multipart/form-data" => Ok(Self::Multipart),
            "application/json" => Ok(Self::Json),
            image if image.starts_with("image/") => Ok(Self::Image),
            json if json.starts_with("application/") && json.ends_with("+json") => Ok(Self::Json),
            _ => refuse(format!(
                "content-type {declared:?} is not read, send image/*, application/octet-stream, \
                 multipart/form-data or application/json"
            )),
        }
    }

    /// The longest body that can hold an image of `limit_bytes`.
    fn body_limit_bytes(self, limit_bytes: u64) -> u64 {
        match self {
            Self::Image => limit_bytes,
            Self::Multipart => limit_bytes.saturating_add(ENVELOPE_BYTES),
            // base64 writes 4 characters for 3 bytes
            Self::Json => limit_bytes.div_ceil(3).saturating_mul(4).saturating_add(ENVELOPE_BYTES),
        }
    }

    fn too_large(self, size_bytes: u64, limit_bytes: u64) -> Problem {
        match self {
            Self::Image => Problem::from(Inadmissible::TooLarge { size_bytes, limit_bytes }),
            Self::Multipart | Self::Json => {
                let detail = format!(
                    "the body has {size_bytes} bytes or more, which is more than an image of \
                     {limit_bytes} bytes needs"
                );
                Problem::new(ProblemKind::TooLarge, detail)
            }
        }
    }
}

fn announced_bytes(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The whole of `body`; the inner error is the size at which it passed `limit_bytes`.
async fn collect(
    body: Body,
    announced_bytes: u64,
    limit_bytes: u64,
) -> Result<Result<Bytes, u64>, Problem> {
    let mut chunks = body.into_data_stream();
    // at once, and within the limit: growing by doubling would hold twice the image
    let mut whole = BytesMut::with_capacity(usize::try_from(announced_bytes).unwrap_or_default());
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|why| cut_off(&why))?;
        let size_bytes = (whole.len() as u64).saturating_add(chunk.len() as u64);
        if limit_bytes < size_bytes {
            return Ok(Err(size_bytes));
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(Ok(whole.freeze()))
}

fn cut_off(why: &axum::Error) -> Problem {
    Problem::new(ProblemKind::BadRequest, format!("the body ended early: {why}"))
}

#[cfg(test)]
mod tests;
