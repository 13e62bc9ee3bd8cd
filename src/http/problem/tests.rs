use std::fmt::Write as _;

use axum::body::to_bytes;
use serde_json::Value;
use serde_json::json;

use super::*;
use crate::domain::Format;

async fn answered(problem: Problem) -> (StatusCode, Value) {
    let response = problem.into_response();
    let status = response.status();
    assert_eq!(response.headers().get("content-type").unwrap(), MEDIA_TYPE);
    let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

#[test]
fn the_whole_table() {
    let mut table = String::new();
    for kind in ProblemKind::ALL {
        let (status, uri) = (kind.status().as_u16(), kind.type_uri());
        writeln!(table, "{status} {} | {} | {uri}", kind.code(), kind.title()).unwrap();
    }
    insta::assert_snapshot!(table, @r"
    400 bad_request | The request cannot be read | /problems/bad-request
    401 unauthenticated | A key is needed | /problems/unauthenticated
    403 forbidden | The key lacks the role | /problems/forbidden
    403 foreign_origin | The request comes from another site | /problems/foreign-origin
    403 bad_host | The host is not this gate | /problems/bad-host
    404 not_found | There is nothing here | /problems/not-found
    404 unknown_policy | There is no such policy | /problems/unknown-policy
    405 method_not_allowed | The route does not take this method | /problems/method-not-allowed
    408 body_late | The body came too late to be judged | /problems/body-late
    409 idempotency_running | The first request with this key is still running | /problems/idempotency-running
    422 idempotency_mismatch | This key was used for another request | /problems/idempotency-mismatch
    413 too_large | Too many bytes | /problems/too-large
    415 unsupported_media_type | The body's type is not read | /problems/unsupported-media-type
    415 unknown_format | The bytes are not an image | /problems/unknown-format
    415 not_accepted | The policy does not accept the format | /problems/not-accepted
    422 empty | The image is empty | /problems/empty
    422 too_many_pixels | Too many pixels | /problems/too-many-pixels
    422 too_much_memory | Decoding would take too much memory | /problems/too-much-memory
    422 corrupt | The image cannot be decoded | /problems/corrupt
    422 too_slow | Decoding took too long | /problems/too-slow
    422 bad_drill | No gate runs such a drill | /problems/bad-drill
    409 drill_refused | The gate runs no such drill now | /problems/drill-refused
    422 bad_variable | The policy does not take this variable | /problems/bad-variable
    422 deadline_below_floor | The deadline is below the policy's floor | /problems/deadline-below-floor
    422 verdict_failed | The verdict is fail | /problems/verdict-failed
    422 reload_failed | The new configuration is invalid | /problems/reload-failed
    500 internal | Something broke on our side | /problems/internal
    503 not_confirmed | It is not known whether this was done | /problems/not-confirmed
    503 overloaded | The gate has no room | /problems/overloaded
    503 draining | The gate is about to stop | /problems/draining
    ");
}

#[test]
fn every_code_is_its_own() {
    let mut codes = ProblemKind::ALL.map(ProblemKind::code).to_vec();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes.len(), ProblemKind::ALL.len());
}

#[tokio::test]
async fn a_problem_has_every_member_and_no_verdict() {
    let problem = Problem::bad_variable("cate/gory", "is \"hat\", expected one of bag, shoe");
    let (status, body) = answered(problem).await;
    assert_eq!(status, 422);
    let detail = "is \"hat\", expected one of bag, shoe";
    let expected = json!({
        "type": "/problems/bad-variable",
        "title": "The policy does not take this variable",
        "status": 422,
        "detail": format!("/vars/cate~1gory: {detail}"),
        "code": "bad_variable",
        "request_id": null,
        "errors": [{"pointer": "/vars/cate~1gory", "detail": detail}],
    });
    assert_eq!(body, expected);
}

#[tokio::test]
async fn a_failed_verdict_travels_inside_its_problem() {
    let verdict = RawValue::from_string(r#"{"verdict":"fail","id":"1"}"#.to_owned()).unwrap();
    let (status, body) = answered(Problem::verdict_failed("cutout failed", verdict)).await;
    assert_eq!(status, 422);
    assert_eq!(body["type"], "/problems/verdict-failed");
    assert_eq!(body["verdict"], json!({"verdict": "fail", "id": "1"}));
}

#[test]
fn every_inadmissible_image_is_answered_as_promised() {
    let promised = [
        (Inadmissible::Empty, 422),
        (Inadmissible::TooLarge { size_bytes: 2, limit_bytes: 1 }, 413),
        (Inadmissible::UnknownFormat, 415),
        (Inadmissible::NotAccepted { format: Format::WebP, accepted: "jpeg".to_owned() }, 415),
        (Inadmissible::TooManyPixels { width_px: 9, height_px: 9, limit_px: 80 }, 422),
        (Inadmissible::TooMuchMemory { needed_bytes: 2, limit_bytes: 1 }, 422),
        (Inadmissible::Corrupt { what: "cut off".to_owned() }, 422),
        (Inadmissible::TooSlow { limit_ms: 1 }, 422),
    ];
    for (why, status) in promised {
        let (label, detail) = (why.label(), why.to_string());
        let problem = Problem::from(why);
        assert_eq!(problem.kind.status().as_u16(), status, "{label}");
        assert_eq!(problem.kind.code(), label, "metrics and problems use one word");
        assert_eq!(problem.detail, detail);
        assert_eq!(problem.errors.first().unwrap().pointer, "/image");
    }
}

#[test]
fn headers_say_what_the_kind_demands() {
    let header = |problem: Problem, name: &str| {
        let response = problem.into_response();
        response.headers().get(name).map(|value| value.to_str().unwrap().to_owned())
    };
    let away = |wait_ms| Problem::overloaded("full", Duration::from_millis(wait_ms));
    assert_eq!(header(away(0), "retry-after").as_deref(), Some("1"));
    assert_eq!(header(away(1_001), "retry-after").as_deref(), Some("2"));
    assert_eq!(header(Problem::draining(Duration::MAX), "retry-after").as_deref(), Some("86400"));
    assert_eq!(header(Problem::method_not_allowed("GET"), "allow").as_deref(), Some("GET"));
    let nobody = Problem::new(ProblemKind::Unauthenticated, "no key");
    assert!(header(nobody, "www-authenticate").unwrap().starts_with("Bearer"));
    assert_eq!(header(Problem::from(Late), "connection").as_deref(), Some("close"));
    assert_eq!(header(Problem::internal(), "connection"), None);
}

#[test]
fn a_detail_is_cut_and_errors_are_counted() {
    let long = "ü".repeat(10_000);
    let mut problem = Problem::new(ProblemKind::BadRequest, long.clone());
    assert_eq!(problem.detail.chars().count(), DETAIL_CHARS + 1);
    for _ in 0..100 {
        problem = problem.at("/a", long.clone());
    }
    assert_eq!(problem.errors.len(), MAX_ERRORS);
    assert!(problem.to_json(None).len() < 64 << 10);
}
