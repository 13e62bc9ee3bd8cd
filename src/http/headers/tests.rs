use axum::Router;
use axum::body::to_bytes;
use axum::extract::Extension;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use proptest::prelude::*;
use serde_json::Value;
use tower::ServiceExt;

use super::*;

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
}

fn waits(pairs: &[(&'static str, &str)]) -> Result<Option<Duration>, String> {
    deadline(&headers(pairs)).map_err(|problem| problem.detail)
}

#[test]
fn the_shortest_deadline_holds() {
    let ms = Duration::from_millis;
    assert_eq!(waits(&[]), Ok(None));
    assert_eq!(waits(&[(DEADLINE_MS, "1500")]), Ok(Some(ms(1_500))));
    let both = [(DEADLINE_MS, "1500"), (ENVOY_DEADLINE_MS, "900"), (GRPC_TIMEOUT, "2S")];
    assert_eq!(waits(&both), Ok(Some(ms(900))));
    assert_eq!(waits(&[(DEADLINE_MS, "0")]), Ok(Some(ms(0))));
    assert_eq!(waits(&[(DEADLINE_MS, " 70 ")]), Ok(Some(ms(70))));
}

#[test]
fn a_repeated_header_counts_by_its_shortest() {
    let mut twice = headers(&[(DEADLINE_MS, "1500")]);
    twice.append(DEADLINE_MS, "40".parse().unwrap());
    assert_eq!(deadline(&twice).unwrap(), Some(Duration::from_millis(40)));
}

#[test]
fn grpc_timeouts_have_six_units() {
    let one = |text: &str| waits(&[(GRPC_TIMEOUT, text)]).unwrap().unwrap();
    assert_eq!(one("1H"), Duration::from_secs(3_600));
    assert_eq!(one("2M"), Duration::from_secs(120));
    assert_eq!(one("3S"), Duration::from_secs(3));
    assert_eq!(one("400m"), Duration::from_millis(400));
    assert_eq!(one("5u"), Duration::from_micros(5));
    assert_eq!(one("99999999n"), Duration::from_nanos(99_999_999));
}

#[test]
fn a_deadline_that_cannot_be_read_is_refused_by_name() {
    let ms = ["", "soon", "-1", "+1", "1.5", "1500ms", "9999999999999"];
    for text in ms {
        let refused = waits(&[(DEADLINE_MS, text)]).unwrap_err();
        assert!(refused.contains(DEADLINE_MS) && refused.contains("milliseconds"), "{refused}");
    }
    for text in ["", "S", "5", "5s", "123456789m", "5 S", "1µ"] {
        let refused = waits(&[(GRPC_TIMEOUT, text)]).unwrap_err();
        assert!(refused.contains(GRPC_TIMEOUT), "{refused}");
    }
    let hidden = [(DEADLINE_MS, "1500"), (ENVOY_DEADLINE_MS, "x")];
    assert!(waits(&hidden).unwrap_err().contains(ENVOY_DEADLINE_MS));
}

#[test]
fn a_usable_request_id_is_kept_and_another_replaced() {
    let id = |text: &str| RequestId::of(&headers(&[(REQUEST_ID, text)])).to_string();
    assert_eq!(id("order-7/9"), "order-7/9");
    assert_eq!(id(&"x".repeat(128)), "x".repeat(128));
    for unusable in ["", "two words", &"x".repeat(129)] {
        assert_eq!(Uuid::parse_str(&id(unusable)).unwrap().get_version_num(), 7);
    }
    assert_ne!(RequestId::of(&HeaderMap::new()), RequestId::of(&HeaderMap::new()));
}

#[test]
fn a_trace_is_continued_under_our_own_span() {
    let theirs = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let ours = TraceContext::of(&headers(&[(TRACEPARENT, theirs)]));
    assert_eq!(ours.trace_id_hex(), "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(ours.parent_id, Some(0x00f0_67aa_0ba9_02b7));
    assert!(ours.sampled);
    assert_ne!(ours.span_id, 0x00f0_67aa_0ba9_02b7);
}

#[test]
fn a_trace_that_cannot_be_read_begins_anew() {
    let unreadable = [
        "",
        "00",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    ];
    for text in unreadable {
        let ours = TraceContext::of(&headers(&[(TRACEPARENT, text)]));
        assert_eq!(ours.parent_id, None, "{text:?}");
        assert!(ours.trace_id != 0 && ours.span_id != 0 && !ours.sampled);
    }
    let later = "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more";
    assert!(TraceContext::of(&headers(&[(TRACEPARENT, later)])).parent_id.is_some());
}

#[test]
fn an_idempotency_key_is_visible_ascii_once() {
    let key = |pairs: &[(&'static str, &str)]| IdempotencyKey::of(&headers(pairs));
    assert_eq!(key(&[]).unwrap(), None);
    assert_eq!(key(&[(IDEMPOTENCY_KEY, "k-1")]).unwrap().unwrap().as_str(), "k-1");
    let longest = "k".repeat(255);
    assert!(key(&[(IDEMPOTENCY_KEY, &longest)]).unwrap().is_some());
    for unusable in ["", "a b", &"k".repeat(256)] {
        assert!(key(&[(IDEMPOTENCY_KEY, unusable)]).is_err(), "{unusable:?}");
    }
    let mut twice = headers(&[(IDEMPOTENCY_KEY, "a")]);
    twice.append(IDEMPOTENCY_KEY, "b".parse().unwrap());
    assert!(IdempotencyKey::of(&twice).unwrap_err().detail.ends_with("is given twice"));
}

#[test]
fn server_timing_lists_the_stages_that_happened() {
    let timing = Timing {
        total: 655.0,
        read: 1.25,
        decode: 4.0,
        checks: 2.0,
        prepare: 0.0,
        judge: 640.123_456,
        record: None,
    };
    let expected = "read;dur=1.25, decode;dur=4, checks;dur=2, prepare;dur=0, judge;dur=640.123, \
                    total;dur=655";
    assert_eq!(server_timing(&timing), expected);
    let written = Timing { record: Some(3.0), ..timing };
    assert!(server_timing(&written).to_str().unwrap().contains("record;dur=3, total"));
}

fn identified() -> Router {
    let echo = |Extension(id): Extension<RequestId>| async move { id.to_string() };
    let broken = || async { Problem::new(ProblemKind::NotFound, "no such record") };
    let routes = Router::new().route("/echo", get(echo)).route("/broken", get(broken));
    routes.layer(axum::middleware::from_fn(identify))
}

async fn ask(method: Method, path: &str) -> Response {
    let request = Request::builder().method(method).uri(path).header(REQUEST_ID, "order-7");
    identified().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
}

#[tokio::test]
async fn the_request_id_reaches_the_handler_and_the_answer() {
    let response = ask(Method::GET, "/echo").await;
    assert_eq!(response.headers().get(REQUEST_ID).unwrap(), "order-7");
    assert_eq!(to_bytes(response.into_body(), 1_000).await.unwrap(), "order-7");
}

#[tokio::test]
async fn a_problem_names_the_request_it_answers() {
    let response = ask(Method::GET, "/broken").await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert_eq!(response.headers().get("content-type").unwrap(), "application/problem+json");
    let body = to_bytes(response.into_body(), 10_000).await.unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["request_id"], "order-7");
    assert_eq!(body["code"], "not_found");
}

#[tokio::test]
async fn a_problem_on_head_has_no_body() {
    let response = ask(Method::HEAD, "/broken").await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert!(to_bytes(response.into_body(), 10_000).await.unwrap().is_empty());
}

#[test]
fn a_problem_outside_the_middleware_has_no_id() {
    let response = Problem::internal().into_response();
    assert_eq!(response.headers().get(REQUEST_ID), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_header_text_panics(text in "[ -~]{0,64}") {
        let all = headers(&[(DEADLINE_MS, &text), (GRPC_TIMEOUT, &text), (TRACEPARENT, &text)]);
        let wait = deadline(&all);
        prop_assert!(wait.is_err() || text.trim().bytes().any(|byte| byte.is_ascii_digit()));
        let trace = TraceContext::of(&all);
        prop_assert!(trace.trace_id != 0);
    }

    #[test]
    fn every_grpc_timeout_that_prints_is_read(amount in 0_u64..100_000_000, unit in 0_usize..6) {
        let unit = ['H', 'M', 'S', 'm', 'u', 'n'][unit];
        let text = format!("{amount}{unit}");
        prop_assert!(read_grpc_timeout(&text).is_some());
    }
}
