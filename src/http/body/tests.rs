use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::post;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE};
use futures_util::stream;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\xfb\xff\xfe";
const LIMIT: u64 = 1_000;

fn request(uri: &str, content_type: &str, body: impl Into<Body>) -> Request {
    let request = Request::builder().method("POST").uri(uri);
    request.header("content-type", content_type).body(body.into()).unwrap()
}

async fn upload(request: Request) -> Result<Upload, Problem> {
    check_head(&request, LIMIT)?;
    receive(request, LIMIT, Deadline::after(Duration::from_secs(5))).await?.unpack()
}

async fn refused(request: Request) -> (StatusCode, String) {
    let problem = upload(request).await.unwrap_err();
    (problem.kind.status(), problem.detail)
}

async fn json(body: impl Into<Body>) -> Result<Upload, Problem> {
    upload(request("/v1/verdicts", "application/json", body)).await
}

async fn refused_json(body: &str) -> String {
    json(body.to_owned()).await.unwrap_err().detail
}

/// `parts` as a browser sends them.
fn form(parts: &[(&str, &[u8])]) -> Request {
    let mut body = Vec::new();
    for (name, bytes) in parts {
        let head = format!("--XX\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n");
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(bytes);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--XX--\r\n");
    request("/v1/verdicts", "multipart/form-data; boundary=XX", body)
}

async fn refused_form(parts: &[(&str, &[u8])]) -> (u16, String) {
    let (status, detail) = refused(form(parts)).await;
    (status.as_u16(), detail)
}

fn vars(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// What all three forms must make of the same upload.
fn assert_is_the_upload(upload: &Upload) {
    assert_eq!(upload.bytes, PNG);
    assert_eq!(upload.policy.as_deref(), Some("product-photo"));
    assert_eq!(upload.vars, vars(&[("category", "footwear")]));
    assert_eq!(upload.external_id.as_deref(), Some("sku-1"));
    assert!(!upload.strict);
}

#[tokio::test]
async fn the_three_forms_say_the_same() {
    let query = "/v1/verdicts?policy=product-photo&vars.category=footwear&external_id=sku-1";
    for content_type in ["image/png", "image/x-anything", "application/octet-stream"] {
        assert_is_the_upload(&upload(request(query, content_type, PNG)).await.unwrap());
    }
    let parts: [(&str, &[u8]); 4] = [
        ("external_id", b"sku-1"),
        ("vars", br#"{"category":"footwear"}"#),
        ("image", PNG),
        ("policy", b"product-photo"),
    ];
    assert_is_the_upload(&upload(form(&parts)).await.unwrap());
    let body = format!(
        r#"{{"policy":"product-photo","vars":{{"category":"footwear"}},
            "image":{{"base64":"{}"}},"external_id":"sku-1"}}"#,
        STANDARD.encode(PNG)
    );
    assert_is_the_upload(&json(body).await.unwrap());
}

#[tokio::test]
async fn the_query_goes_with_every_form_and_is_not_said_twice() {
    let (uri, multipart) = ("/v1/verdicts?policy=a&on=strict", "multipart/form-data; boundary=XX");
    let mut parts = form(&[("image", PNG)]);
    *parts.uri_mut() = uri.parse().unwrap();
    let upload_of_parts = upload(parts).await.unwrap();
    assert_eq!(upload_of_parts.policy.as_deref(), Some("a"));
    assert!(upload_of_parts.strict);
    let body = r#"{"image":{"base64":"AAAA"},"policy":"b"}"#;
    let (status, detail) = refused(request(uri, "application/json", body)).await;
    assert_eq!((status.as_u16(), detail.as_str()), (400, "/policy: is given twice"));
    let mut twice = form(&[("image", PNG), ("policy", b"b")]);
    *twice.uri_mut() = uri.parse().unwrap();
    assert!(twice.headers().get("content-type").unwrap() == multipart);
    assert_eq!(refused(twice).await.1, "/policy: is given twice");
}

#[tokio::test]
async fn a_body_without_a_type_is_the_image() {
    let mut bare = request("/v1/verdicts", "image/png", PNG);
    bare.headers_mut().remove("content-type");
    let upload = upload(bare).await.unwrap();
    assert_eq!(upload.bytes, PNG);
    assert_eq!(upload.policy, None);
}

#[tokio::test]
async fn a_type_that_is_not_read_is_refused_with_those_that_are() {
    let (status, detail) =
        refused(request("/v1/verdicts", "application/x-www-form-urlencoded", PNG)).await;
    assert_eq!(status, 415);
    assert!(detail.contains("x-www-form-urlencoded") && detail.contains("image/*"), "{detail}");
    let mut packed = request("/v1/verdicts", "image/png", PNG);
    packed.headers_mut().insert("content-encoding", "gzip".parse().unwrap());
    assert_eq!(refused(packed).await.0, 415);
}

#[tokio::test]
async fn an_announced_size_over_the_limit_is_refused_before_a_byte_is_read() {
    let unreadable = || Body::from_stream(stream::once(async { Err::<Bytes, _>("was read") }));
    let announced = |content_type: &str, size: u64| {
        let mut request = request("/v1/verdicts", content_type, unreadable());
        request.headers_mut().insert("content-length", size.into());
        request
    };
    let (status, detail) = refused(announced("image/png", LIMIT + 1)).await;
    assert_eq!(
        (status.as_u16(), detail.as_str()),
        (413, "the image has 1001 bytes, the limit is 1000")
    );
    for content_type in ["multipart/form-data; boundary=XX", "application/json"] {
        assert_eq!(refused(announced(content_type, LIMIT)).await.0, 400, "within: it is read");
        assert_eq!(refused(announced(content_type, 10_000_000)).await.0, 413);
        assert_eq!(refused(announced(content_type, u64::MAX)).await.0, 413);
    }
}

#[tokio::test]
async fn a_size_that_was_not_announced_is_refused_where_it_passes_the_limit() {
    let endless = || {
        let chunk = Bytes::from_static(&[b'A'; 300]);
        Body::from_stream(stream::repeat_with(move || Ok::<_, Infallible>(chunk.clone())))
    };
    let (status, detail) = refused(request("/v1/verdicts", "image/png", endless())).await;
    assert_eq!(
        (status.as_u16(), detail.as_str()),
        (413, "the image has 1200 bytes, the limit is 1000")
    );
    assert_eq!(refused(request("/v1/verdicts", "application/json", endless())).await.0, 413);
    let flood = vec![b'A'; 20_000];
    let (status, detail) = refused_form(&[("policy", &flood)]).await;
    assert_eq!((status, detail.as_str()), (400, "/policy: is longer than 16384 bytes"));
}

#[tokio::test]
async fn parts_that_never_begin_are_cut_at_the_bodys_limit() {
    let chunk = Bytes::from_static(&[b'A'; 4_000]);
    let endless = stream::repeat_with(move || Ok::<_, Infallible>(chunk.clone()));
    let multipart = "multipart/form-data; boundary=XX";
    let (status, detail) =
        refused(request("/v1/verdicts", multipart, Body::from_stream(endless))).await;
    assert_eq!((status.as_u16(), detail.as_str()), (413, "the body has more than 66536 bytes"));
}

#[tokio::test]
async fn an_image_of_exactly_the_limit_comes_in_by_every_form() {
    let image = vec![7; usize::try_from(LIMIT).unwrap()];
    let raw = upload(request("/v1/verdicts", "image/png", image.clone())).await.unwrap();
    let parts = upload(form(&[("image", &image)])).await.unwrap();
    let text = format!(r#"{{"image":{{"base64":"{}"}}}}"#, STANDARD.encode(&image));
    let json_form = json(text).await.unwrap();
    for upload in [raw, parts, json_form] {
        assert_eq!(upload.bytes, image);
    }
    let larger = vec![7; image.len() + 3];
    assert_eq!(refused(form(&[("image", &larger)])).await.0, 413);
    let text = format!(r#"{{"image":{{"base64":"{}"}}}}"#, STANDARD.encode(&larger));
    assert_eq!(json(text).await.unwrap_err().kind, ProblemKind::TooLarge);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_trickles_is_late_at_the_deadline() {
    for content_type in ["image/png", "application/json", "multipart/form-data; boundary=XX"] {
        let trickle = stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(900)).await;
            Some((Ok::<_, Infallible>(Bytes::from_static(b"-")), ()))
        });
        let slow = request("/v1/verdicts", content_type, Body::from_stream(trickle));
        let watch = Stopwatch::start();
        let deadline = Deadline::after(Duration::from_secs(2));
        let late = receive(slow, LIMIT, deadline).await.unwrap_err();
        assert_eq!(late.kind, ProblemKind::BodyLate, "{content_type}");
        assert_eq!(watch.elapsed(), Duration::from_secs(2), "{content_type}");
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_a_bad_request() {
    for content_type in ["image/png", "application/json", "multipart/form-data; boundary=XX"] {
        let broken = stream::iter([Ok(Bytes::from_static(b"--XX\r\n")), Err("reset")]);
        let broken = request("/v1/verdicts", content_type, Body::from_stream(broken));
        assert_eq!(refused(broken).await.0, 400, "{content_type}");
    }
    let cut = "--XX\r\ncontent-disposition: form-data; name=\"image\"\r\n\r\nhalf an im";
    let cut = request("/v1/verdicts", "multipart/form-data; boundary=XX", cut);
    assert_eq!(refused(cut).await.0, 400);
    let nameless = request("/v1/verdicts", "multipart/form-data", PNG);
    assert!(refused(nameless).await.1.contains("boundary"));
}

#[tokio::test]
async fn a_query_is_held_to_its_words_and_bounds() {
    let ask = async |query: &str| {
        refused(request(&format!("/v1/verdicts?{query}"), "image/png", PNG)).await.1
    };
    assert!(ask("polcy=a").await.contains("did you mean \"policy\"?"));
    assert_eq!(ask("on=lenient").await, "/on: is \"lenient\", expected strict");
    assert_eq!(ask("policy=").await, "/policy: is empty");
    assert_eq!(ask("vars.=x").await, "/vars: is empty");
    assert_eq!(ask("external_id=a%00b").await, "/external_id: has a control character");
    let long = "x".repeat(201);
    let detail = ask(&format!("external_id={long}")).await;
    assert_eq!(detail, "/external_id: is longer than 200 characters");
    let many: Vec<_> = (0..33).map(|n| format!("vars.v{n}=1")).collect();
    assert_eq!(ask(&many.join("&")).await, "/vars: more than 32 variables");
}

#[tokio::test]
async fn parts_are_known_bounded_and_single() {
    let image: (&str, &[u8]) = ("image", PNG);
    let (status, detail) = refused_form(&[image, ("polcy", b"a")]).await;
    assert_eq!((status, detail.as_str()), (400, "/polcy: unknown part, did you mean \"policy\"?"));
    assert_eq!(refused_form(&[image, image]).await.1, "/image: is given twice");
    assert_eq!(refused_form(&[("policy", b"a")]).await.1, "/image: is missing");
    assert_eq!(refused_form(&[image, ("policy", b"\xff")]).await.1, "/policy: is not UTF-8");
    assert!(refused_form(&[image, ("vars", b"[1]")]).await.1.starts_with("/vars: is not a JSON"));
    let twice = refused_form(&[("vars.a", b"1"), ("vars", br#"{"a":"2"}"#)]).await.1;
    assert_eq!(twice, "/vars/a: is given twice");
    let crowd: Vec<(String, &[u8])> =
        (0..41).map(|n| (format!("vars.{}", n % 20), b"x".as_slice())).collect();
    let crowd: Vec<_> = crowd.iter().map(|(name, bytes)| (name.as_str(), *bytes)).collect();
    assert_eq!(refused_form(&crowd).await.0, 400);
    let single = upload(form(&[("vars.category", b"footwear"), image])).await.unwrap();
    assert_eq!(single.vars, vars(&[("category", "footwear")]));
}

#[tokio::test]
async fn base64_comes_in_both_alphabets_padded_or_not_and_as_a_data_uri() {
    let spellings = [
        STANDARD.encode(PNG),
        STANDARD_NO_PAD.encode(PNG),
        URL_SAFE.encode(PNG),
        format!("data:image/jpeg;base64,{}", STANDARD.encode(PNG)),
        format!("data:;base64,{}", STANDARD.encode(PNG)),
        STANDARD.encode(PNG).replace('/', "\\/"), // as PHP escapes it
    ];
    assert_ne!(spellings[0], spellings[2], "the bytes tell the alphabets apart");
    for text in spellings {
        let upload = json(format!(r#"{{"image":{{"base64":"{text}"}}}}"#)).await.unwrap();
        assert_eq!(upload.bytes, PNG, "{text}");
    }
}

#[tokio::test]
async fn a_fault_in_the_json_form_has_a_pointer() {
    let image = |text: &str| format!(r#"{{"image":{{"base64":"{text}"}}}}"#);
    let white = refused_json(&image("AA AA")).await;
    assert_eq!(white, "/image/base64: has white space at offset 2, send it on one line");
    assert!(refused_json(&image("AAAA\\n")).await.contains("has white space at offset 4"));
    assert!(refused_json(&image("A")).await.starts_with("/image/base64: is not base64"));
    assert!(refused_json(&image("AA!A")).await.starts_with("/image/base64: is not base64"));
    assert!(refused_json(&image("data:image/png,AAAA")).await.contains("data:TYPE;base64"));
    assert!(refused_json(&image("https://a.example/b.png")).await.contains("is not fetched"));
    let cases = [
        ("{}", "/image: is missing"),
        (r#"{"image":{}}"#, "/image/base64: is missing"),
        (
            r#"{"image":{"url":"https://a.example"}}"#,
            "/image/url: an image URL is not fetched, send the bytes as base64",
        ),
        (
            r#"{"image":{"base_64":"AAAA"}}"#,
            "/image/base_64: unknown member, did you mean \"base64\"?",
        ),
        (
            r#"{"policies":"a"}"#,
            "/policies: unknown member, known are image, policy, vars, external_id",
        ),
        (r#"{"policy":7}"#, "/policy: is a number, expected a text"),
        (r#"{"vars":{"a":true}}"#, "/vars/a: is a boolean, expected a text"),
        (r#"{"vars":{"a/b":null}}"#, "/vars/a~1b: is null, expected a text"),
        (r#"{"external_id":["x"]}"#, "/external_id: is an array, expected a text"),
    ];
    for (body, expected) in cases {
        assert_eq!(refused_json(body).await, expected);
    }
    let not_objects = [r#""text""#, "[]", "{", "", r#"{"vars":1}"#, r#"{"image":"AAAA"}"#, "\u{1}"];
    for body in not_objects {
        assert!(refused_json(body).await.contains("is not a JSON object"), "{body:?}");
    }
    let twice = refused_json(r#"{"policy":"a","policy":"b"}"#).await;
    assert!(twice.contains("the member \"policy\" is given twice"), "{twice}");
}

#[tokio::test]
async fn null_members_are_as_if_left_out() {
    let body = r#"{"image":{"base64":"AAAA"},"policy":null,"external_id":null}"#;
    let upload = json(body).await.unwrap();
    assert_eq!((upload.policy, upload.external_id), (None, None));
}

#[tokio::test]
async fn a_message_never_repeats_the_callers_megabytes() {
    let huge = format!(r#"{{"vars":"{}"}}"#, "A".repeat(60_000));
    let problem = json(huge).await.unwrap_err();
    assert!(problem.to_json(None).len() < 4_000);
}

#[tokio::test]
async fn only_a_large_json_body_is_heavy() {
    let large = format!(r#"{{"image":{{"base64":"{}"}}}}"#, "A".repeat(100_000));
    let deadline = Deadline::after(Duration::from_secs(5));
    let is_heavy = async |content_type: &str, body: String| {
        let request = request("/v1/verdicts", content_type, body);
        receive(request, 1 << 20, deadline).await.unwrap().is_heavy()
    };
    assert!(is_heavy("application/json", large.clone()).await);
    assert!(!is_heavy("application/json", "{}".to_owned()).await);
    assert!(!is_heavy("image/png", large).await);
}

/// What a server that reads uploads of up to [`LIMIT`] bytes answers to `sent`, byte for byte.
async fn over_a_socket(sent: &[u8]) -> String {
    let answer = async |request: Request| match upload(request).await {
        Ok(upload) => format!("{} bytes", upload.bytes.len()).into_response(),
        Err(problem) => problem.into_response(),
    };
    let app = Router::new().route("/v1/verdicts", post(answer));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let exchange = async {
        client.write_all(sent).await.unwrap();
        let mut received = String::new();
        client.read_to_string(&mut received).await.unwrap();
        received
    };
    tokio::select! {
        received = exchange => received,
        ended = axum::serve(listener, app) => panic!("the server ended: {ended:?}"),
    }
}

#[tokio::test]
async fn a_client_that_expects_100_continue_is_spared_an_upload_too_large() {
    let head = |size: u64| {
        format!(
            "POST /v1/verdicts HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             content-type: image/png\r\ncontent-length: {size}\r\nexpect: 100-continue\r\n\r\n"
        )
    };
    let refused = over_a_socket(head(LIMIT + 1).as_bytes()).await;
    assert!(refused.starts_with("HTTP/1.1 413 "), "no 100 before it: {refused}");
    assert!(refused.contains("application/problem+json"), "{refused}");
    let taken = over_a_socket(&[head(3).as_bytes(), b"abc"].concat()).await;
    assert!(taken.starts_with("HTTP/1.1 100 Continue"), "{taken}");
    assert!(taken.ends_with("3 bytes"), "{taken}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Any bytes at all, as any form: an answer, never a panic, and never more than the limit.
    #[test]
    fn no_body_panics(bytes in prop::collection::vec(any::<u8>(), 0..400), form in 0_usize..3) {
        let types = ["image/png", "application/json", "multipart/form-data; boundary=XX"];
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let upload = runtime.block_on(upload(request("/v1/verdicts", types[form], bytes)));
        prop_assert!(upload.is_err() || form == 0);
    }

    #[test]
    fn every_image_survives_the_json_form(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let text = format!(r#"{{"image":{{"base64":"{}"}}}}"#, URL_SAFE.encode(&bytes));
        let mut draft = Draft::default();
        json::unpack(text.as_bytes(), LIMIT, &mut draft).unwrap();
        prop_assert_eq!(draft.finish(0.0).unwrap().bytes, bytes);
    }
}
