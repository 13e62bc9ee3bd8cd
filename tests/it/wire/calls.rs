//! Whole calls over a socket: what arrives at the provider, and what every way to fail comes to.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use vlmgate::clock::Deadline;
use vlmgate::domain::{AttemptOutcome, MicroUsd};
use vlmgate::imaging::Measurements;
use vlmgate::panel::struck::Struck;
use vlmgate::panel::{Answered, Asked, AttemptError, Judge, Question};
use vlmgate::provider::ProviderJudge;
use vlmgate::provider::settings::{Credential, Kind};

use crate::wire::stub::{Answer, Stub, http};
use crate::wire::{bytes, judge, judge_with, view};

const JSON: &str = "content-type: application/json\r\n";

pub(crate) fn question() -> Question {
    let asked = |id: &str| Asked { id: id.to_owned(), ask: "?".to_owned(), measured_by: vec![] };
    Question {
        criteria: vec![asked("sharp"), asked("cutout")],
        system: "Judge the picture.".to_owned(),
        user: "A shoe.".to_owned(),
        views: vec![view("whole", "product.jpg")],
        measurements: Measurements::default(),
        reason_chars: 100,
        max_output_tokens: 300,
        struck: Struck::default(),
        early: true,
    }
}

fn said() -> String {
    let scores = json!({"sharp": 0.9, "cutout": 0.5});
    json!({"scores": scores, "reasons": {"sharp": "crisp", "cutout": "a halo"}}).to_string()
}

fn openai_body(text: &str) -> Vec<u8> {
    let choice = json!({"message": {"content": text}, "finish_reason": "stop"});
    let usage = json!({"prompt_tokens": 1000, "completion_tokens": 20});
    json!({"choices": [choice], "usage": usage}).to_string().into_bytes()
}

pub(crate) fn gemini_body() -> Vec<u8> {
    let candidate = json!({"content": {"parts": [{"text": said()}]}, "finishReason": "STOP"});
    let usage = json!({"promptTokenCount": 1200, "candidatesTokenCount": 20});
    json!({"candidates": [candidate], "usageMetadata": usage}).to_string().into_bytes()
}

fn openai(stub: &Stub) -> ProviderJudge {
    judge(Kind::OpenAi, Some(stub.base.clone()), "gpt-6-luna")
}

async fn ask(judge: &ProviderJudge) -> Result<Answered, AttemptError> {
    judge.judge(&question(), Deadline::after(Duration::from_secs(10))).await
}

/// What a call comes to when the provider answers with `bytes`.
async fn outcome(bytes: Vec<u8>) -> AttemptOutcome {
    let stub = Stub::always(bytes).await;
    ask(&openai(&stub)).await.expect_err("an error").outcome
}

#[tokio::test]
async fn a_judgement_comes_with_its_tokens_its_cost_and_its_id() {
    let headers = format!("{JSON}x-request-id: req_1\r\n");
    let stub = Stub::always(http(200, &headers, &openai_body(&said()))).await;
    let judge = openai(&stub);
    let answered = ask(&judge).await.expect("a judgement");
    let [sharp, cutout] = answered.judgement.scores.as_slice() else { panic!("two scores") };
    assert_eq!((sharp.score, cutout.score), (Some(0.9), Some(0.5)));
    assert_eq!(cutout.reason.as_deref(), Some("a halo"));
    assert_eq!(answered.tokens.map(|tokens| (tokens.input, tokens.output)), Some((1000, 20)));
    assert_eq!(answered.cost, MicroUsd(1_000));
    assert_eq!(answered.request_id.as_deref(), Some("req_1"));
    assert!(MicroUsd(0) < judge.estimate(&question()));
}

#[tokio::test]
async fn the_bytes_on_the_wire_are_the_bytes_of_the_view() {
    let gemini = || Kind::Gemini { version: "v1beta".to_owned() };
    let anthropic = Kind::Anthropic { version: "2026-10-21".to_owned() };
    let text = said();
    let content = json!({"content": [{"type": "text", "text": text}], "stop_reason": "end_turn"});
    let cases = [
        (Kind::OpenAi, "gpt-6-luna", openai_body(&text), "/messages/1/content/1/image_url/url"),
        (
            Kind::Mistral,
            "mistral-small-latest",
            openai_body(&text),
            "/messages/1/content/1/image_url",
        ),
        (gemini(), "gemini-3.8-flash", gemini_body(), "/contents/0/parts/0/inlineData/data"),
        (
            anthropic,
            "claude-haiku-5-5",
            content.to_string().into_bytes(),
            "/messages/0/content/0/source/data",
        ),
    ];
    for (kind, model, answer, pointer) in cases {
        let stub = Stub::always(http(200, JSON, &answer)).await;
        ask(&judge(kind, Some(stub.base.clone()), model)).await.expect(model);
        let seen = stub.seen();
        let [seen] = seen.as_slice() else { panic!("{model}: one request") };
        let body: Value = serde_json::from_slice(&seen.body).expect("JSON");
        let sent = body.pointer(pointer).and_then(Value::as_str).expect("a picture");
        let sent = sent.strip_prefix("data:image/jpeg;base64,").unwrap_or(sent);
        assert_eq!(STANDARD.decode(sent).expect("base64"), bytes("images/product.jpg"), "{model}");
    }
}

#[tokio::test]
async fn a_compressed_answer_is_read() {
    let headers = format!("{JSON}content-encoding: gzip\r\n");
    let stub = Stub::always(http(200, &headers, &bytes("answer.json.gz"))).await;
    ask(&openai(&stub)).await.expect("a judgement");
    let seen = stub.seen();
    assert_eq!(seen[0].header("accept-encoding"), Some("gzip"));
    assert_eq!(seen[0].header("traceparent"), None);
}

#[tokio::test]
async fn no_debug_text_and_no_error_holds_the_key() {
    let stub = Stub::always(http(401, JSON, br#"{"error":{"message":"no"}}"#)).await;
    let secret = || SecretString::from("sk-hush");
    let google = || Kind::Gemini { version: "v1".to_owned() };
    let credentials = [
        (Kind::OpenAi, Credential::Key(secret())),
        (Kind::Anthropic { version: "2026-10-21".to_owned() }, Credential::Key(secret())),
        (google(), Credential::Key(secret())),
        (google(), Credential::Bearer(secret())),
    ];
    for (kind, credential) in credentials {
        assert!(!format!("{credential:?}").contains("hush"));
        let judge = judge_with(kind, Some(stub.base.clone()), "gpt-6-luna", credential);
        assert!(!format!("{judge:?}").contains("hush"), "{judge:?}");
        let error = ask(&judge).await.expect_err("an error");
        assert_eq!(error.outcome, AttemptOutcome::Auth);
        assert!(!format!("{error:?} {error}").contains("hush"));
        let probed = judge.probe(Deadline::after(Duration::from_secs(10))).await;
        assert!(!probed.expect_err("refused").contains("hush"));
    }
    assert!(stub.seen().iter().all(|seen| seen.head.contains("sk-hush")), "the key was sent");
}

#[tokio::test]
async fn a_response_that_is_no_answer_comes_to_its_outcome() {
    use AttemptOutcome as O;
    let whole = http(200, JSON, &openai_body(&said()));
    let cut = whole[..whole.len() - 10].to_vec();
    let counted = String::from_utf8(openai_body(&said())).expect("text");
    let blind = http(200, JSON, counted.replace("1000", "2").as_bytes());
    let cases = [
        ("nothing at all", Vec::new(), O::Connect),
        ("not HTTP", b"hello\r\n\r\n".to_vec(), O::Connect),
        ("a body that ends early", cut, O::Truncated),
        ("a page", http(200, "content-type: text/html\r\n", b"<html>"), O::Unreadable),
        ("too much", http(200, JSON, &vec![b' '; 1024 * 1024 + 1]), O::Unreadable),
        ("no body", http(200, JSON, b""), O::Empty),
        ("too few tokens for a picture", blind, O::Blind),
        ("no room", http(529, JSON, b"{}"), O::Overloaded),
        ("a gateway's page", http(502, "content-type: text/html\r\n", b"<html>"), O::ServerError),
    ];
    for (name, bytes, expected) in cases {
        assert_eq!(outcome(bytes).await, expected, "{name}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let target = Stub::always(http(200, JSON, &openai_body(&said()))).await;
    let location = format!("location: {}/chat/completions\r\n", target.base);
    for status in [301, 307, 308] {
        assert_eq!(outcome(http(status, &location, b"")).await, AttemptOutcome::ServerError);
    }
    assert!(target.seen().is_empty(), "the key went to another host");
}

#[tokio::test]
async fn nothing_is_sent_twice() {
    for bytes in [Vec::new(), http(503, JSON, b"{}"), http(429, "retry-after: 0\r\n", b"{}")] {
        let stub = Stub::always(bytes).await;
        ask(&openai(&stub)).await.expect_err("an error");
        assert_eq!(stub.seen().len(), 1);
    }
}

#[tokio::test]
async fn the_deadline_covers_the_last_byte() {
    let whole = http(200, JSON, &openai_body(&said()));
    for sent in [0, 20, whole.len() - 1] {
        let part = whole[..sent].to_vec();
        let stub = Stub::start(move |_| Answer::Hang(part.clone())).await;
        let judge = openai(&stub);
        let deadline = Deadline::after(Duration::from_millis(200));
        let error = judge.judge(&question(), deadline).await.expect_err("late");
        assert_eq!(error.outcome, AttemptOutcome::Timeout, "{sent} bytes");
    }
}

#[tokio::test]
async fn a_handshake_that_breaks_off_is_a_connect_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let judge = judge(Kind::OpenAi, Some(format!("https://{address}")), "gpt-6-luna");
    let hang_up = async { drop(listener.accept().await) };
    let (asked, ()) = tokio::join!(ask(&judge), hang_up);
    assert_eq!(asked.expect_err("no handshake").outcome, AttemptOutcome::Connect);
}

#[tokio::test]
async fn a_probe_tells_a_taken_key_from_an_unchecked_one() {
    let deadline = || Deadline::after(Duration::from_secs(10));
    let stub = Stub::start(|seen| {
        let listed = seen.head.starts_with("GET /models ");
        Answer::Bytes(http(if listed { 200 } else { 404 }, JSON, b"{}"))
    })
    .await;
    let takes = openai(&stub).probe(deadline()).await.expect("reached");
    assert!(takes.contains("takes the key"), "{takes}");
    let kind = Kind::Anthropic { version: "2026-10-21".to_owned() };
    let unchecked = judge(kind, Some(stub.base.clone()), "claude-haiku-5-5");
    let unchecked = unchecked.probe(deadline()).await.expect("reached");
    assert!(unchecked.contains("first image"), "{unchecked}");
}

#[tokio::test]
async fn two_connections_are_opened_ahead() {
    let stub = Stub::always(http(404, "", b"")).await;
    openai(&stub).warm(Deadline::after(Duration::from_secs(10))).await;
    assert_eq!(stub.seen().len(), 2);
}
