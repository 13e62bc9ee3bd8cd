//! What must hold of what callers send, whatever it is: shared by the fuzz targets, and by the tests
//! that replay their inputs. Each target uses one of the three.

#![allow(dead_code, reason = "a fuzz target uses one invariant of the three")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::CONTENT_TYPE;
use bytes::Bytes;
use futures_util::stream;
use tokio::runtime::Runtime;
use vlmgate::clock::Deadline;
use vlmgate::domain::policy::{CheckKind, Encoding, Fingerprint, Landmark, Region, ViewSpec};
use vlmgate::domain::{Candidate, CheckSpec, Format, Inadmissible, OnFail};
use vlmgate::http::body::{Received, receive};
use vlmgate::http::problem::ProblemKind;
use vlmgate::imaging::{Imaging, Plan, PrepareError, Prepared, Settings};

/// Small, so that many pictures are tried in a second.
const MAX_PIXELS: u64 = 1 << 16;
const MAX_DECODED_BYTES: u64 = 2 << 20;
const MAX_SIDE_PX: u32 = 64;

struct Stage {
    runtime: Runtime,
    imaging: Imaging,
}

thread_local! {
    /// One worker, which is given far more time than it needs: a hang is the fuzzer's to find. Tests
    /// that run beside each other have one each, so that what it holds is one image's.
    static STAGE: Stage = {
        let settings = Settings {
            threads: 1,
            max_decoded_bytes: MAX_DECODED_BYTES,
            max_decode_time: Duration::from_secs(60),
            ..Settings::default()
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        Stage { runtime: runtime.unwrap(), imaging: Imaging::new(settings).unwrap() }
    };
}

fn prepare(bytes: &[u8], plan: Plan) -> Result<Prepared, PrepareError> {
    let bytes = Bytes::copy_from_slice(bytes);
    let candidate = Candidate::admit(bytes, &Format::ALL, 1 << 20)?;
    let deadline = Deadline::after(Duration::from_secs(120));
    STAGE.with(|stage| {
        stage.runtime.block_on(stage.imaging.prepare(candidate, Arc::new(plan), deadline))
    })
}

fn plan(checks: Vec<CheckSpec>, max_side_px: u32, measures: bool) -> Plan {
    let view = |id: &str, region| ViewSpec { id: id.to_owned(), around: None, region, max_side_px };
    let views = vec![view("whole", Region::WHOLE)];
    let encode = Encoding { quality: 85, flatten_alpha: [255; 3] };
    Plan { max_pixels: MAX_PIXELS, checks, views, encode, measures }
}

fn every_check() -> Vec<CheckSpec> {
    let kinds = [
        CheckKind::Size { min_width_px: 16, min_height_px: 16, aspect: Some((0.33, 3.0)) },
        CheckKind::Contrast { min_stddev: 4.0 },
        CheckKind::Opacity { min_alpha: 0.9 },
        CheckKind::Exposure {
            subject: (0.06, 0.97),
            max_clipped: 0.6,
            min_highlight: 0.15,
            max_blown: 0.48,
        },
        CheckKind::Sharpness { min_laplacian_var: 35.0 },
        CheckKind::Upscaled { max_fall_db: 23.0 },
        CheckKind::Blockiness { max_share: 0.77 },
        CheckKind::Noise { max_levels: 9.2 },
        CheckKind::Banding { max_share: 0.35 },
        CheckKind::Checkerboard { max_share: 0.02 },
        CheckKind::Bars { max_share: 0.02 },
        CheckKind::Background { border: 0.02, min_white: 0.97 },
        CheckKind::Residue { max_share: 0.04 },
        CheckKind::EdgeHalo { max_ratio: 0.06 },
        CheckKind::Specks { max_count: 3 },
        CheckKind::Holes { max_count: 5 },
        CheckKind::HardEdge { max_share: 0.11 },
        CheckKind::Stairs { max_share: 0.07 },
        CheckKind::BorderTouch { max_share: 0.02 },
        CheckKind::SubjectArea { share: (0.007, 0.98) },
        CheckKind::Centring { max_offset: 0.31 },
        CheckKind::Floating { max_gap: 0.15 },
        CheckKind::Phash { list: vec![Fingerprint(0)], max_distance: 4 },
    ];
    let spec = |(number, kind): (usize, CheckKind)| CheckSpec {
        id: format!("check-{number}"),
        kind,
        when: None,
        on_fail: OnFail::Flag,
    };
    kinds.into_iter().enumerate().map(spec).collect()
}

/// An image is refused, or decoded, measured and shown within its bounds; nothing breaks or hangs.
pub(crate) fn pixels(input: &[u8]) {
    let checks = every_check();
    let (count, mut plan) = (checks.len(), plan(checks, MAX_SIDE_PX, true));
    for landmark in [Landmark::Subject, Landmark::Contact] {
        let (id, around) = (landmark.label().to_owned(), Some(landmark));
        let region = Region { left: 0.2, top: 0.6, width: 0.6, height: 0.3 };
        plan.views.push(ViewSpec { id, around, region, max_side_px: MAX_SIDE_PX });
    }
    match prepare(input, plan) {
        Ok(prepared) => holds(&prepared, count),
        Err(PrepareError::Inadmissible(_)) => {}
        Err(other) => panic!("{other}"),
    }
    assert_eq!(STAGE.with(|stage| stage.imaging.held_bytes()), 0, "all is given back");
}

fn holds(prepared: &Prepared, checks: usize) {
    let (width_px, height_px) = (u64::from(prepared.width_px), u64::from(prepared.height_px));
    assert!((1..=MAX_PIXELS).contains(&(width_px * height_px)), "{width_px} x {height_px}");
    assert_eq!(prepared.findings.len(), checks);
    for finding in &prepared.findings {
        assert!(finding.value.is_none_or(f64::is_finite), "{finding:?}");
    }
    let measured = &prepared.measurements;
    let shares = [
        measured.edge_halo,
        measured.residue,
        measured.edge_noise,
        measured.border,
        measured.contact_shadow,
    ];
    let is_share = |share: f64| (0.0..=1.0).contains(&share);
    assert!(shares.into_iter().flatten().all(is_share), "{measured:?}");
    assert!(measured.sharpness.is_none_or(|one| one.is_finite() && 0.0 <= one), "{measured:?}");
    assert_eq!(prepared.views.len(), 3);
    for view in &prepared.views {
        assert!((1..=MAX_SIDE_PX).contains(&view.width_px.max(view.height_px)));
        let jpeg = view.jpeg.decoded();
        assert!(jpeg.starts_with(&[0xFF, 0xD8]) && jpeg.ends_with(&[0xFF, 0xD9]));
    }
}

/// The first byte says what a policy accepts. An image is admitted by its first bytes alone, and a
/// JPEG that is shown as it came has nothing left to be taken out of it, and is the same picture.
pub(crate) fn header(input: &[u8]) {
    let Some((choice, bytes)) = input.split_first() else { return };
    let accept: Vec<Format> = (0..)
        .zip(Format::ALL)
        .filter_map(|(bit, format)| (choice >> bit & 1 == 1).then_some(format))
        .collect();
    let limit_bytes = if choice >> 3 & 1 == 1 { 1 << 16 } else { 64 };
    admitted(bytes, &accept, limit_bytes);
    let free = || plan(Vec::new(), u16::MAX.into(), false);
    let Ok(made) = prepare(bytes, free()) else { return };
    if made.decode_ms != 0.0 {
        return;
    }
    let view = made.views[0].jpeg.decoded();
    let again = prepare(&view, free()).expect("what is shown can be shown");
    assert_eq!(again.views[0].jpeg, made.views[0].jpeg, "nothing is left to be taken out");
    let size = (made.width_px, made.height_px);
    assert_eq!((again.width_px, again.height_px), size);
    let decoded = |bytes| prepare(bytes, plan(Vec::new(), MAX_SIDE_PX, true));
    if let Ok(original) = decoded(bytes) {
        let shown = decoded(&view).expect("what could be decoded still can");
        assert_eq!((original.width_px, original.height_px), size);
        assert_eq!(original.views, shown.views, "the same picture");
    }
}

fn admitted(bytes: &[u8], accept: &[Format], limit_bytes: u64) {
    let whole = Bytes::copy_from_slice(bytes);
    let outcome = Candidate::admit(whole, accept, limit_bytes);
    let is_large = limit_bytes < bytes.len() as u64;
    match (outcome, Format::sniff(bytes)) {
        (Err(Inadmissible::Empty), _) => assert!(bytes.is_empty()),
        (Err(Inadmissible::TooLarge { .. }), _) => assert!(is_large),
        (Err(Inadmissible::UnknownFormat), None) => assert!(!is_large),
        (Err(Inadmissible::NotAccepted { format, .. }), Some(sniffed)) => {
            assert!(format == sniffed && !accept.contains(&format));
        }
        (Ok(candidate), Some(sniffed)) => {
            assert!(candidate.format() == sniffed && accept.contains(&sniffed) && !is_large);
            assert_eq!(&candidate.bytes()[..], bytes);
        }
        (outcome, sniffed) => panic!("{outcome:?} of {sniffed:?}"),
    }
}

/// Bytes of one image, as far as these requests may go.
const IMAGE_BYTES: u64 = 1_024;

/// What a body says: image, policy, variables, the caller's name for it, whether `fail` is a problem.
type Said = (Bytes, Option<String>, BTreeMap<String, String>, Option<String>, bool);

/// The first byte says how the body is cut into pieces, the second of which form it is, the first
/// line is the query: a body is read the same in pieces of any size, within its limits.
pub(crate) fn body(input: &[u8]) {
    let Some(([size, form], rest)) = input.split_first_chunk::<2>() else { return };
    let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or_default();
    let (query, body) = rest.split_at(end);
    let Ok(query) = str::from_utf8(query) else { return };
    let body = body.get(1..).unwrap_or_default();
    let media_type = [None, Some("image/png"), Some("application/json"), Some(MULTIPART)];
    let media_type = media_type[usize::from(*form) % media_type.len()];
    let read = |size: usize| -> Option<Result<Said, ProblemKind>> {
        let pieces: Vec<_> = body.chunks(size).map(Bytes::copy_from_slice).collect();
        let pieces = stream::iter(pieces.into_iter().map(Ok::<_, std::io::Error>));
        let mut request = Request::builder().method("POST").uri(format!("/v1/verdicts?{query}"));
        if let Some(media_type) = media_type {
            request = request.header(CONTENT_TYPE, media_type);
        }
        let request = request.body(Body::from_stream(pieces)).ok()?;
        let deadline = Deadline::after(Duration::from_secs(60));
        let received =
            STAGE.with(|stage| stage.runtime.block_on(receive(request, IMAGE_BYTES, deadline)));
        let upload = received.and_then(Received::unpack);
        let upload = upload.map_err(|problem| problem.kind);
        Some(upload.map(|one| (one.bytes, one.policy, one.vars, one.external_id, one.strict)))
    };
    let whole = read(body.len().max(1));
    assert_eq!(read(usize::from(*size).max(1)), whole, "in pieces of {size}");
    if let Some(Ok((image, policy, vars, external_id, _))) = whole {
        assert!(image.len() as u64 <= IMAGE_BYTES && vars.len() <= 32);
        let mut words = vars.iter().flat_map(|(name, value)| [name, value]);
        let is_word = |word: &String| !word.is_empty() && !word.chars().any(char::is_control);
        assert!(words.all(is_word) && policy.iter().chain(&external_id).all(is_word));
    }
}

const MULTIPART: &str = "multipart/form-data; boundary=x";
