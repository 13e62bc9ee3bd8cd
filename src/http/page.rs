//! The page is the dashboard under `/ui/`: files held in the binary, that ask `/v1` for the rest.
//!
//! The files hold nothing of a caller or an image, so they need no key; what they ask does, as for
//! any other caller. Names carry no digest, so a browser asks each time and is answered 304 by its
//! `ETag`. The content policy lets the page load and ask nothing but this gate.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::domain::Digest;
use crate::http::problem::{Problem, ProblemKind};

/// What a browser lets the page do: load and ask this gate, show pictures it made itself, stand in
/// no frame of another page.
const POLICY: &str = "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The addresses that are a view of the page and not a file: the page reads them itself.
const VIEWS: [&str; 5] = ["", "why", "verdicts", "review", "judges"];

/// A file of the page.
struct Asset {
    media_type: &'static str,
    bytes: &'static [u8],
    tag: HeaderValue,
}

/// Files by their path under `ui/`.
macro_rules! files {
    ($($path:literal),+ $(,)?) => {
        [$(($path, include_bytes!(concat!("../../ui/", $path)).as_slice())),+]
    };
}

const FILES: [(&str, &[u8]); 44] = files![
    "api.js",
    "base.css",
    "chart/adjusted.js",
    "chart/attempts.js",
    "chart/bullet.js",
    "chart/choose.js",
    "chart/day.js",
    "chart/effects.js",
    "chart/evidence.js",
    "chart/fall.js",
    "chart/histograms.js",
    "chart/intervals.js",
    "chart/routing.js",
    "chart/scale.js",
    "chart/spark.js",
    "chart/svg.js",
    "down-dark.svg",
    "down.svg",
    "icons.js",
    "index.html",
    "key.js",
    "keys.js",
    "live.js",
    "main.js",
    "mark.svg",
    "markup.js",
    "palette.js",
    "pictures.js",
    "place.js",
    "queue.js",
    "reading.js",
    "record.js",
    "shell.js",
    "story.js",
    "theme.js",
    "view/drawer.js",
    "view/judges.js",
    "view/now.js",
    "view/review.js",
    "view/stands.js",
    "view/verdicts.js",
    "view/why.js",
    "views.css",
    "words.js",
];

static ASSETS: LazyLock<BTreeMap<&'static str, Asset>> = LazyLock::new(|| {
    let assets = FILES.iter().filter_map(|(path, bytes)| {
        let (_, ending) = path.rsplit_once('.')?;
        let media_type = media_type(ending)?;
        let hex = Digest::of(bytes).to_hex();
        let tag = HeaderValue::try_from(format!("\"{hex}\"")).ok()?;
        Some((*path, Asset { media_type, bytes, tag }))
    });
    assets.collect()
});

fn media_type(ending: &str) -> Option<&'static str> {
    Some(match ending {
        "css" => "text/css; charset=utf-8",
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "svg" => "image/svg+xml",
        _ => return None,
    })
}

/// The text of the page's file at `path` under `ui/`.
pub(crate) fn text_of(path: &str) -> Option<&'static str> {
    let (_, bytes) = FILES.iter().find(|(name, _)| *name == path)?;
    str::from_utf8(bytes).ok()
}

/// `GET /ui`: the page has its files under `/ui/`.
pub(super) async fn root() -> Response {
    (StatusCode::PERMANENT_REDIRECT, [(header::LOCATION, "/ui/")]).into_response()
}

/// `GET /ui/` and everything under it.
pub(super) async fn file(request: Request) -> Result<Response, Problem> {
    let path = request.uri().path().trim_start_matches("/ui/");
    let name = if VIEWS.contains(&path.trim_end_matches('/')) { "index.html" } else { path };
    let Some(asset) = ASSETS.get(name) else {
        return Err(Problem::new(ProblemKind::NotFound, format!("the page has no file {path:?}")));
    };
    let known = request.headers().get_all(header::IF_NONE_MATCH);
    let is_known = known.iter().any(|tags| names(tags, &asset.tag));
    let mut response = match is_known {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => Response::new(Body::from(asset.bytes)),
    };
    let headers = response.headers_mut();
    if !is_known {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(asset.media_type));
    }
    headers.insert(header::ETAG, asset.tag.clone());
    let fixed: [(HeaderName, &'static str); 4] = [
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}

/// Whether an `If-None-Match` names `tag`, also weakly, as a proxy that compresses makes it.
fn names(tags: &HeaderValue, tag: &HeaderValue) -> bool {
    let (Ok(tags), Ok(tag)) = (tags.to_str(), tag.to_str()) else { return false };
    tags.split(',').map(str::trim).any(|one| one == "*" || one.trim_start_matches("W/") == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_has_a_type_and_a_tag_of_its_own_bytes() {
        assert_eq!(ASSETS.len(), FILES.len());
        let tags: std::collections::BTreeSet<_> =
            ASSETS.values().map(|asset| asset.tag.clone()).collect();
        assert_eq!(tags.len(), FILES.len());
    }

    #[test]
    fn a_tag_is_named_alone_among_others_and_weakly() {
        let tag = HeaderValue::from_static("\"abc\"");
        for tags in ["\"abc\"", "\"x\", \"abc\"", "W/\"abc\"", "*"] {
            assert!(names(&HeaderValue::from_static(tags), &tag), "{tags}");
        }
        for tags in ["", "\"ab\"", "abc", "\"abcd\""] {
            assert!(!names(&HeaderValue::from_static(tags), &tag), "{tags}");
        }
    }
}
