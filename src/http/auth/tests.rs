use axum::Router;
use axum::body::Body;
use axum::extract::Extension;
use axum::routing::any;
use tower::ServiceExt;

use super::*;

const STUDIO: &str = "sk-studio-5f2c";
const READER: &str = "sk-reader-81aa";
const ROOT: &str = "sk-root-07d3";

fn key(name: &str, secret: &str, roles: &[Role]) -> Key {
    Key { name: name.to_owned(), sha256: KeyDigest::of(secret), roles: roles.to_vec() }
}

fn guarded() -> Settings {
    let keys = vec![
        key("studio", STUDIO, &[Role::Check]),
        key("reader", READER, &[Role::Read]),
        key("root", ROOT, &[Role::Admin]),
    ];
    Settings { keys, loopback_only: false, ..Settings::default() }
}

fn parts(method: Method, uri: &str, headers: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::empty()).unwrap().into_parts().0
}

/// The caller's name, or the code of the refusal.
fn asked(settings: &Settings, method: Method, uri: &str, headers: &[(&str, &str)]) -> String {
    match Auth::new(settings).admit(&parts(method, uri, headers)) {
        Ok(caller) => caller.name.to_string(),
        Err(problem) => problem.kind.code().to_owned(),
    }
}

#[test]
fn a_key_is_taken_as_any_of_the_three_clients_send_it() {
    let post = |headers: &[(&str, &str)]| asked(&guarded(), Method::POST, "/v1/verdicts", headers);
    let bearer = format!("Bearer {STUDIO}");
    assert_eq!(post(&[("authorization", &bearer)]), "studio");
    assert_eq!(post(&[("authorization", &bearer.replace("Bearer", "bearer"))]), "studio");
    assert_eq!(post(&[("x-api-key", STUDIO)]), "studio");
    assert_eq!(post(&[("x-goog-api-key", STUDIO)]), "studio");
    assert_eq!(post(&[("authorization", "Basic dTpw"), ("x-api-key", STUDIO)]), "studio");
}

#[test]
fn no_key_and_a_wrong_key_are_unauthenticated() {
    let post = |headers: &[(&str, &str)]| asked(&guarded(), Method::POST, "/v1/verdicts", headers);
    assert_eq!(post(&[]), "unauthenticated");
    assert_eq!(post(&[("x-api-key", "")]), "unauthenticated");
    assert_eq!(post(&[("x-api-key", "sk-studio-5f2d")]), "unauthenticated");
    assert_eq!(post(&[("authorization", STUDIO)]), "unauthenticated");
    let digest = "the digest itself is no key";
    assert_eq!(post(&[("x-api-key", digest)]), "unauthenticated");
}

#[test]
fn a_role_opens_its_own_routes_and_no_others() {
    let routes = [
        (Method::POST, "/v1/verdicts", "studio"),
        (Method::POST, "/v1/chat/completions", "studio"),
        (Method::GET, "/v1/verdicts", "reader"),
        (Method::HEAD, "/v1/verdicts/0192f3c1", "reader"),
        (Method::GET, "/v1/verdicts:export", "reader"),
        (Method::GET, "/v1/policies", "reader"),
        (Method::GET, "/v1/drift", "reader"),
        (Method::POST, "/v1/verdicts/0192f3c1/label", "reader"),
        (Method::POST, "/admin/reload", "root"),
        (Method::GET, "/admin/drills", "root"),
    ];
    for (method, uri, may) in routes {
        for (name, secret) in [("studio", STUDIO), ("reader", READER), ("root", ROOT)] {
            let expected = if name == may { name } else { "forbidden" };
            let found = asked(&guarded(), method.clone(), uri, &[("x-api-key", secret)]);
            assert_eq!(found, expected, "{name} {method} {uri}");
        }
    }
}

#[test]
fn probes_metrics_and_the_description_need_no_key() {
    let open = ["/livez", "/readyz?verbose", "/healthz", "/metrics", "/openapi.json", "/ui/", "/"];
    for uri in open {
        assert_eq!(asked(&guarded(), Method::GET, uri, &[]), ANONYMOUS, "{uri}");
    }
    // a neighbour of a guarded root is not under it, the root itself is
    assert_eq!(Role::needed(&Method::GET, "/v1beta"), None);
    assert_eq!(Role::needed(&Method::GET, "/v1"), Some(Role::Read));
    assert_eq!(Role::needed(&Method::GET, "/admin"), Some(Role::Admin));
}

#[test]
fn without_keys_only_a_loopback_host_is_answered() {
    let settings = Settings::default();
    let get = |host: &str| asked(&settings, Method::GET, "/v1/verdicts", &[("host", host)]);
    let ours = [
        "localhost",
        "LocalHost:8080",
        "127.0.0.1",
        "127.0.0.1:8080",
        "127.8.9.1",
        "[::1]",
        "[::1]:8080",
    ];
    for host in ours {
        assert_eq!(get(host), ANONYMOUS, "{host}");
    }
    let others = [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "10.0.0.1:8080",
        "",
        "0.0.0.0:8080",
        "[::2]",
        "127.0.0.1:8080@evil.example",
        "[::1",
        "evil.example:127",
    ];
    for host in others {
        assert_eq!(get(host), "bad_host", "{host}");
    }
}

#[test]
fn a_request_without_a_host_or_with_two_is_refused() {
    let settings = Settings::default();
    assert_eq!(asked(&settings, Method::GET, "/v1/verdicts", &[]), "bad_host");
    let two = [("host", "localhost"), ("host", "evil.example")];
    assert_eq!(asked(&settings, Method::GET, "/v1/verdicts", &two), "bad_host");
}

#[test]
fn http2_names_its_host_in_the_request_line() {
    let settings = Settings::default();
    let get = |uri: &str| asked(&settings, Method::GET, uri, &[]);
    assert_eq!(get("http://127.0.0.1:8080/v1/verdicts"), ANONYMOUS);
    assert_eq!(get("http://evil.example/v1/verdicts"), "bad_host");
}

#[test]
fn without_keys_a_page_of_another_site_may_not_call() {
    let settings = Settings::default();
    let post = |more: &[(&str, &str)]| {
        let mut headers = vec![("host", "127.0.0.1:8080")];
        headers.extend_from_slice(more);
        asked(&settings, Method::POST, "/v1/verdicts", &headers)
    };
    assert_eq!(post(&[]), ANONYMOUS);
    assert_eq!(post(&[("origin", "http://127.0.0.1:8080")]), ANONYMOUS);
    let foreign = ["https://evil.example", "null", "", "http://127.0.0.1:3000", "127.0.0.1:8080"];
    for origin in foreign {
        assert_eq!(post(&[("origin", origin)]), "foreign_origin", "{origin:?}");
    }
    assert_eq!(post(&[("sec-fetch-site", "cross-site")]), "foreign_origin");
    assert_eq!(post(&[("sec-fetch-site", "same-origin")]), ANONYMOUS);
    let pretended = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")];
    assert_eq!(post(&pretended), "foreign_origin", "a form that posts is not a visit");
}

#[test]
fn a_link_to_the_page_may_be_followed_from_anywhere() {
    let headers = [
        ("host", "localhost:8080"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-mode", "navigate"),
    ];
    assert_eq!(asked(&Settings::default(), Method::GET, "/ui/", &headers), ANONYMOUS);
}

#[test]
fn with_insecure_no_auth_any_host_is_answered_and_other_sites_still_are_not() {
    let settings = Settings { loopback_only: false, ..Settings::default() };
    let post = |more: &[(&str, &str)]| asked(&settings, Method::POST, "/v1/verdicts", more);
    assert_eq!(post(&[("host", "gate.example")]), ANONYMOUS);
    let ours = [("host", "gate.example"), ("origin", "https://gate.example")];
    assert_eq!(post(&ours), ANONYMOUS);
    let theirs = [("host", "gate.example"), ("origin", "https://evil.example")];
    assert_eq!(post(&theirs), "foreign_origin");
}

#[test]
fn a_default_port_may_be_left_out_of_an_origin() {
    assert!(is_same_host("gate.example", "Gate.Example:443"));
    assert!(is_same_host("gate.example", "gate.example:80"));
    assert!(!is_same_host("gate.example:8080", "gate.example:80"));
}

#[test]
fn a_digest_is_read_from_hex_and_never_printed() {
    // printf 'abc' | sha256sum
    let hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(hex.parse::<KeyDigest>(), Ok(KeyDigest::of("abc")));
    assert_eq!(hex.to_uppercase().parse::<KeyDigest>(), Ok(KeyDigest::of("abc")));
    assert_ne!(KeyDigest::of("abc"), KeyDigest::of("abd"));
    assert_eq!("sk-secret".parse::<KeyDigest>(), Err(NotAKeyDigest { chars: 9 }));
    assert!(hex.replace('b', "z").parse::<KeyDigest>().is_err());
    assert_eq!(format!("{:?}", KeyDigest::of("abc")), "KeyDigest(..)");
}

#[test]
fn a_refusal_never_repeats_the_key() {
    let auth = Auth::new(&guarded());
    let headers = [("x-api-key", "sk-guess")];
    let refused = auth.admit(&parts(Method::POST, "/v1/verdicts", &headers)).unwrap_err();
    assert!(!String::from_utf8(refused.to_json(None)).unwrap().contains("sk-guess"));
}

#[tokio::test]
async fn the_middleware_hands_the_caller_on_or_answers_itself() {
    let name = |Extension(caller): Extension<Caller>| async move { caller.name.to_string() };
    let auth = Arc::new(Auth::new(&guarded()));
    let layer = axum::middleware::from_fn_with_state(auth, authenticate);
    let app = Router::new().route("/v1/verdicts", any(name)).layer(layer);
    let ask = async |key: &str| {
        let request = Request::builder().method(Method::POST).uri("/v1/verdicts");
        let request = request.header("x-api-key", key).body(Body::empty()).unwrap();
        app.clone().oneshot(request).await.unwrap()
    };
    let admitted = ask(STUDIO).await;
    assert_eq!(admitted.status(), 200);
    let body = axum::body::to_bytes(admitted.into_body(), 1_000).await.unwrap();
    assert_eq!(body, "studio");
    let refused = ask("nobody").await;
    assert_eq!(refused.status(), 401);
    assert!(refused.headers().contains_key("www-authenticate"));
    assert_eq!(ask(READER).await.status(), 403);
}
