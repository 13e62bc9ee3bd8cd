//! The multipart form of an upload: parts `image`, `policy`, `vars`, `vars.NAME`, `external_id`, in
//! any order, each at most once.

use axum::body::Body;
use axum::extract::multipart::{Field, MultipartError};
use axum::extract::{DefaultBodyLimit, FromRequest, Multipart, Request};
use axum::http::StatusCode;
use bytes::{Bytes, BytesMut};
use http_body_util::Limited;

use crate::domain::Inadmissible;
use crate::http::json;
use crate::http::problem::{Problem, ProblemKind, pointer};
use crate::http::query::nearest;
use crate::http::upload::Draft;

/// Most parts of one body: the named ones and every variable a policy may have.
const MAX_PARTS: usize = 40;

/// Longest text part; `vars` is the longest that is ever needed.
const TEXT_BYTES: u64 = 16 << 10;

/// How much may come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// In the part `image`.
    pub(crate) image_bytes: u64,
    /// Altogether.
    pub(crate) body_bytes: u64,
    /// What the caller says will come, within `body_bytes`; 0 where it says nothing.
    pub(crate) announced_bytes: u64,
}

/// Fills `draft` from the parts of `request`.
pub(crate) async fn read(
    request: Request,
    limits: Limits,
    draft: &mut Draft,
) -> Result<(), Problem> {
    let most_bytes = usize::try_from(limits.body_bytes).unwrap_or(usize::MAX);
    let mut request = request.map(|body| Body::new(Limited::new(body, most_bytes)));
    // our own limit stands: it knows the policies
    DefaultBodyLimit::disable().apply(&mut request);
    let mut multipart = Multipart::from_request(request, &()).await.map_err(|why| {
        Problem::new(ProblemKind::BadRequest, format!("the multipart body: {}", why.body_text()))
    })?;
    let mut parts = 0;
    while let Some(part) = multipart.next_field().await.map_err(|why| broken(&why, limits))? {
        parts += 1;
        if MAX_PARTS < parts {
            let detail = format!("the body has more than {MAX_PARTS} parts");
            return Err(Problem::new(ProblemKind::BadRequest, detail));
        }
        let name = part.name().unwrap_or_default().to_owned();
        match name.as_str() {
            "image" => draft.set_image(image(part, limits).await?)?,
            "policy" => draft.set_policy(text(part, limits).await?)?,
            "external_id" => draft.set_external_id(text(part, limits).await?)?,
            "vars" => json::set_vars(&text(part, limits).await?, draft)?,
            _ => match name.strip_prefix("vars.") {
                Some(variable) => draft.set_var(variable, text(part, limits).await?)?,
                None => return Err(unknown_part(&name)),
            },
        }
    }
    Ok(())
}

fn unknown_part(name: &str) -> Problem {
    let known = ["image", "policy", "vars", "vars.NAME", "external_id"];
    let detail = match nearest(name, &known) {
        Some(near) => format!("unknown part, did you mean {near:?}?"),
        None => format!("unknown part, known are {}", known.join(", ")),
    };
    Problem::bad_field(&pointer(&[name]), detail)
}

async fn image(part: Field<'_>, limits: Limits) -> Result<Bytes, Problem> {
    let limit_bytes = limits.image_bytes;
    let expected_bytes = limits.announced_bytes.min(limit_bytes);
    let space = BytesMut::with_capacity(usize::try_from(expected_bytes).unwrap_or_default());
    let whole = collect(part, space, limit_bytes).await.map_err(|why| broken(&why, limits))?;
    whole.map_err(|size_bytes| Problem::from(Inadmissible::TooLarge { size_bytes, limit_bytes }))
}

async fn text(part: Field<'_>, limits: Limits) -> Result<String, Problem> {
    let path = pointer(&[part.name().unwrap_or_default()]);
    let whole =
        collect(part, BytesMut::new(), TEXT_BYTES).await.map_err(|why| broken(&why, limits))?;
    let whole = whole
        .map_err(|_| Problem::bad_field(&path, format!("is longer than {TEXT_BYTES} bytes")))?;
    String::from_utf8(whole.into()).map_err(|_| Problem::bad_field(&path, "is not UTF-8"))
}

/// The whole of `part` in `whole`; the inner error is the size at which it passed `limit_bytes`.
async fn collect(
    mut part: Field<'_>,
    mut whole: BytesMut,
    limit_bytes: u64,
) -> Result<Result<Bytes, u64>, MultipartError> {
    while let Some(chunk) = part.chunk().await? {
        let size_bytes = (whole.len() as u64).saturating_add(chunk.len() as u64);
        if limit_bytes < size_bytes {
            return Ok(Err(size_bytes));
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(Ok(whole.freeze()))
}

fn broken(why: &MultipartError, limits: Limits) -> Problem {
    if why.status() == StatusCode::PAYLOAD_TOO_LARGE {
        let detail = format!("the body has more than {} bytes", limits.body_bytes);
        return Problem::new(ProblemKind::TooLarge, detail);
    }
    Problem::new(ProblemKind::BadRequest, format!("the multipart body: {}", why.body_text()))
}
