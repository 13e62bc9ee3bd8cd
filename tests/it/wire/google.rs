//! Google's tokens: what is asked of the token endpoint, and how seldom.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use futures_util::future::join_all;
use ring::signature::{KeyPair, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey};
use serde_json::{Value, json};
use vlmgate::clock::Deadline;
use vlmgate::domain::AttemptOutcome;
use vlmgate::panel::{AttemptError, Judge};
use vlmgate::provider::ProviderJudge;
use vlmgate::provider::google_auth::{KeyError, ServiceAccount, Source};
use vlmgate::provider::settings::{Credential, Kind};

use crate::wire::calls::{gemini_body, question};
use crate::wire::stub::{Answer, Stub, http};
use crate::wire::{bytes, json as fixture, judge_with};

/// A lifetime that marks a token which the model refuses.
const STALE: u64 = 1_234;

const NOW: i64 = 1_763_760_000;

fn pem() -> String {
    String::from_utf8(bytes("test-only-rsa.pem")).expect("text")
}

fn account(token_uri: &str) -> ServiceAccount {
    let file = json!({
        "type": "service_account",
        "client_email": "gate@my-project.iam.gserviceaccount.com",
        "private_key_id": "kid-placeholder",
        "private_key": pem(),
        "token_uri": token_uri,
    });
    ServiceAccount::parse(&file.to_string()).expect("an account")
}

fn public_key() -> Vec<u8> {
    let text: String = pem().lines().filter(|line| !line.starts_with('-')).collect();
    let der = STANDARD.decode(text).expect("base64");
    RsaKeyPair::from_pkcs8(&der).expect("a key").public_key().as_ref().to_vec()
}

#[test]
fn a_service_account_asks_for_a_token_as_googles_own_client_does() {
    let golden = fixture("requests/vertex-oauth-token.json");
    let account = account("https://oauth2.googleapis.com/token");
    let request = account.token_request(NOW).expect("a request");
    assert_eq!(request.method.as_str(), golden["request"]["method"]);
    assert_eq!(
        request.headers.get("content-type").and_then(|kind| kind.to_str().ok()),
        golden["request"]["headers"]["content-type"].as_str()
    );
    let body = request.body.joined();
    let body = std::str::from_utf8(&body).expect("text");
    let form: reqwest::Url = format!("http://form/?{body}").parse().expect("a form");
    let form: serde_json::Map<String, Value> =
        form.query_pairs().map(|(k, v)| (k.into_owned(), Value::from(v))).collect();
    assert_eq!(form["grant_type"], golden["request"]["form"]["grant_type"]);

    let jwt = form["assertion"].as_str().expect("an assertion");
    let (signed, signature) = jwt.rsplit_once('.').expect("a signature");
    let signature = URL_SAFE_NO_PAD.decode(signature).expect("base64url");
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public_key())
        .verify(signed.as_bytes(), &signature)
        .expect("a good signature");
    let (header, claims) = signed.split_once('.').expect("claims");
    let part = |text| -> Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).expect("base64url")).expect("JSON")
    };
    let golden = &golden["assertion_decoded"];
    assert_eq!(part(header), golden["header"]);
    let claims = part(claims);
    assert_eq!(
        (&claims["iss"], &claims["scope"]),
        (&golden["claims"]["iss"], &golden["claims"]["scope"])
    );
    assert_eq!(claims["aud"], "https://oauth2.googleapis.com/token");
    assert_eq!((&claims["iat"], &claims["exp"]), (&json!(NOW), &json!(NOW + 3600)));
}

#[test]
fn a_useless_key_file_is_refused_without_being_quoted() {
    let file = |key: &str| {
        json!({"client_email": "a", "private_key_id": "b", "private_key": key}).to_string()
    };
    let refused = |text: &str| ServiceAccount::parse(text).expect_err("refused");
    assert!(matches!(refused("{\"private_key\": \"hush\""), KeyError::Malformed(_)));
    assert_eq!(refused(&file("hush")), KeyError::NotPem);
    let empty = "-----BEGIN PRIVATE KEY-----\naHVzaA==\n-----END PRIVATE KEY-----\n";
    let error = refused(&file(empty));
    assert!(matches!(error, KeyError::NotRsa(_)));
    assert!(!format!("{error:?} {error}").contains("aHVzaA"));
    assert!(!format!("{:?}", account("https://x/token")).contains("PRIVATE KEY"));
}

/// A Google that counts: tokens are `t1`, `t2`, …, and the first lives as long as it is told.
struct Google {
    stub: Stub,
    granted: Arc<AtomicUsize>,
    /// What the token endpoint answers instead of a token, if not 200.
    status: Arc<AtomicU64>,
}

impl Google {
    async fn start() -> Self {
        Self::with_first_token_for(3_599).await
    }

    async fn with_first_token_for(first_lifetime_s: u64) -> Self {
        let granted = Arc::new(AtomicUsize::new(0));
        let status = Arc::new(AtomicU64::new(200));
        let (count, state) = (Arc::clone(&granted), Arc::clone(&status));
        let stub = Stub::start(move |seen| {
            if !seen.head.starts_with("POST /token") && !seen.head.starts_with("GET /computeMeta") {
                let stale = seen.header("authorization") == Some("Bearer t1-stale");
                return Answer::Bytes(http(if stale { 401 } else { 200 }, "", &gemini_body()));
            }
            let status = u16::try_from(state.load(Ordering::SeqCst)).expect("a status");
            if status != 200 {
                return Answer::Bytes(http(status, "", br#"{"error":"invalid_grant"}"#));
            }
            let n = count.fetch_add(1, Ordering::SeqCst) + 1;
            let expires_in = if n == 1 { first_lifetime_s } else { 3_599 };
            let stale = if expires_in == STALE { "-stale" } else { "" };
            let token = json!({"access_token": format!("t{n}{stale}"), "expires_in": expires_in});
            Answer::Bytes(http(200, "", token.to_string().as_bytes()))
        })
        .await;
        Self { stub, granted, status }
    }

    fn judge(&self, source: Source) -> ProviderJudge {
        let vertex = Kind::Vertex {
            project: "p".to_owned(),
            location: "eu".to_owned(),
            version: "v1".to_owned(),
        };
        let base = Some(self.stub.base.clone());
        judge_with(vertex, base, "gemini-3.8-flash", Credential::Google(source))
    }

    fn account(&self) -> ProviderJudge {
        self.judge(Source::ServiceAccount(account(&format!("{}/token", self.stub.base))))
    }

    fn granted(&self) -> usize {
        self.granted.load(Ordering::SeqCst)
    }

    /// The tokens that came with calls to the model.
    fn bearers(&self) -> Vec<String> {
        let seen = self.stub.seen();
        seen.iter().filter_map(|one| one.header("authorization")).map(str::to_owned).collect()
    }
}

async fn ask(judge: &ProviderJudge) -> Result<(), AttemptError> {
    judge.judge(&question(), Deadline::after(Duration::from_secs(10))).await.map(|_| ())
}

#[tokio::test]
async fn twenty_calls_at_once_fetch_one_token() {
    let google = Google::start().await;
    let judge = google.account();
    let asked = join_all((0..20).map(|_| ask(&judge))).await;
    assert!(asked.iter().all(Result::is_ok), "{asked:?}");
    assert_eq!(google.granted(), 1);
    assert_eq!(google.bearers(), vec!["Bearer t1"; 20]);
}

#[tokio::test]
async fn a_warm_judge_has_its_token_before_the_first_image() {
    let google = Google::start().await;
    let judge = google.account();
    judge.warm(Deadline::after(Duration::from_secs(10))).await;
    assert_eq!(google.granted(), 1);
}

#[tokio::test]
async fn the_metadata_server_is_asked_with_its_header() {
    let google = Google::start().await;
    let base_url = Some(google.stub.base.clone());
    ask(&google.judge(Source::MetadataServer { base_url })).await.expect("judged");
    let seen = google.stub.seen();
    let asked = seen.iter().find(|one| one.head.contains("/computeMetadata/v1/")).expect("asked");
    assert_eq!(asked.header("metadata-flavor"), Some("Google"));
}

#[tokio::test]
async fn a_token_near_its_end_is_used_on_and_renewed_beside_the_call() {
    let google = Google::with_first_token_for(120).await;
    let judge = google.account();
    ask(&judge).await.expect("judged");
    // a renewal that is slower than its call is taken up beside the next one
    for _ in 0..20 {
        ask(&judge).await.expect("judged");
    }
    assert_eq!(google.granted(), 2, "renewed once, not at every call");
    let bearers = google.bearers();
    assert_eq!(bearers.first().map(String::as_str), Some("Bearer t1"));
    assert_eq!(bearers.last().map(String::as_str), Some("Bearer t2"));
}

#[tokio::test]
async fn while_the_endpoint_is_down_the_token_at_hand_is_used_on() {
    let google = Google::with_first_token_for(120).await;
    let judge = google.account();
    ask(&judge).await.expect("judged");
    google.status.store(503, Ordering::SeqCst);
    for _ in 0..5 {
        ask(&judge).await.expect("judged with the token at hand");
    }
}

#[tokio::test]
async fn without_a_token_everybody_is_told_at_once() {
    for (status, outcome) in [(400, AttemptOutcome::Auth), (503, AttemptOutcome::Connect)] {
        let google = Google::start().await;
        google.status.store(status, Ordering::SeqCst);
        let judge = google.account();
        let asked = join_all((0..10).map(|_| ask(&judge))).await;
        assert!(asked.iter().all(|one| one.as_ref().is_err_and(|e| e.outcome == outcome)));
        assert_eq!(google.stub.seen().len(), 1, "one asked, nine were told");
    }
}

#[tokio::test]
async fn a_token_that_is_refused_is_not_sent_again() {
    let google = Google::with_first_token_for(STALE).await;
    let judge = google.account();
    let refused = ask(&judge).await.expect_err("refused");
    assert_eq!(refused.outcome, AttemptOutcome::Auth);
    ask(&judge).await.expect("judged with a new token");
    assert_eq!(google.bearers(), ["Bearer t1-stale", "Bearer t2"]);
}

#[tokio::test]
async fn a_call_that_waited_for_its_token_in_vain_was_never_sent_and_is_no_timeout() {
    let stub = Stub::start(|_| Answer::Hang(Vec::new())).await;
    let vertex = Kind::Vertex {
        project: "p".to_owned(),
        location: "eu".to_owned(),
        version: "v1".to_owned(),
    };
    let source = Source::ServiceAccount(account(&format!("{}/token", stub.base)));
    let credential = Credential::Google(source);
    let judge = judge_with(vertex, Some(stub.base.clone()), "gemini-3.8-flash", credential);
    let deadline = Deadline::after(Duration::from_millis(200));
    let error = judge.judge(&question(), deadline).await.expect_err("no token");
    assert_eq!(error.outcome, AttemptOutcome::Connect, "{error}");
    assert!(stub.seen().iter().all(|one| one.head.starts_with("POST /token")));
}
