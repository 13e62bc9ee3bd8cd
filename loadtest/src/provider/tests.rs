//! Each fault as a caller meets it, on real sockets.

mod admin;
mod crowds;
mod stream;

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;

use super::*;
use crate::behaviour::Fault;
use crate::judging::Judging;
use crate::judging::expected_scores;
use crate::latency::Latency;
use crate::log::CallKind;
use crate::log::Outcome;

const CRITERIA: [&str; 2] = ["cutout", "halo"];

/// A PNG header and a number: enough of an image for a judge that does not look.
fn image(number: u32) -> Vec<u8> {
    let header = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x04\0\0\0\x03\0\x08\x02";
    [header.as_slice(), &number.to_le_bytes()].concat()
}

fn schema() -> Value {
    let object = |kind: &str| {
        json!({
            "type": "object", "required": CRITERIA, "additionalProperties": false,
            "properties": {"cutout": {"type": kind}, "halo": {"type": kind}},
        })
    };
    json!({
        "type": "object", "required": ["scores", "reasons"], "additionalProperties": false,
        "properties": {"scores": object("number"), "reasons": object("string")},
    })
}

/// Path, headers and body of the usual question about an image.
fn question(dialect: Dialect, image: &[u8]) -> (&'static str, &'static str, Value) {
    let data = STANDARD.encode(image);
    let (url, text) = (format!("data:image/png;base64,{data}"), "Score it.");
    let chat = |model: &str| {
        let format = json!({"name": "verdict", "strict": true, "schema": schema()});
        json!({
            "model": model,
            "messages": [{"role": "user", "content": [
                {"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": url}},
            ]}],
            "response_format": {"type": "json_schema", "json_schema": format},
        })
    };
    let bearer = "authorization: Bearer simulated";
    match dialect {
        Dialect::OpenAi => ("/v1/chat/completions", bearer, chat("gpt-6-luna")),
        Dialect::Mistral => ("/v1/chat/completions", bearer, chat("mistral-small-latest")),
        Dialect::Anthropic => {
            let source = json!({"type": "base64", "media_type": "image/png", "data": data});
            let body = json!({
                "model": "claude-haiku-5-5", "max_tokens": 300,
                "messages": [{"role": "user", "content": [
                    {"type": "image", "source": source}, {"type": "text", "text": text},
                ]}],
                "output_config": {"format": {"type": "json_schema", "schema": schema()}},
            });
            ("/v1/messages", "x-api-key: simulated\r\nanthropic-version: 2026-10-21", body)
        }
        Dialect::Gemini => {
            let inline = json!({"mimeType": "image/png", "data": data});
            let config =
                json!({"responseMimeType": "application/json", "responseJsonSchema": schema()});
            let body = json!({
                "contents": [{"role": "user", "parts": [{"inlineData": inline}, {"text": text}]}],
                "generationConfig": config,
            });
            let path = "/v1beta/models/gemini-3.5-flash-lite:generateContent";
            (path, "x-goog-api-key: simulated", body)
        }
    }
}

fn request(dialect: Dialect, image: &[u8], last: bool) -> Vec<u8> {
    let (path, headers, body) = question(dialect, image);
    let body = body.to_string();
    let (length, close) = (body.len(), if last { "connection: close\r\n" } else { "" });
    format!("POST {path} HTTP/1.1\r\nhost: simulated\r\n{headers}\r\ncontent-length: {length}\r\n{close}\r\n{body}")
        .into_bytes()
}

/// What came back over a connection that carried one request.
struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
    /// The connection was reset instead of closed.
    reset: bool,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// What the model said, parsed.
    fn said(&self, dialect: Dialect) -> Value {
        serde_json::from_str(&self.text(dialect)).unwrap()
    }

    fn text(&self, dialect: Dialect) -> String {
        let pointer = match dialect {
            Dialect::OpenAi | Dialect::Mistral => "/choices/0/message/content",
            Dialect::Anthropic => "/content/0/text",
            Dialect::Gemini => "/candidates/0/content/parts/0/text",
        };
        self.json().pointer(pointer).unwrap().as_str().unwrap().to_owned()
    }

    fn declared_bytes(&self) -> Option<usize> {
        let line = self.head.lines().find_map(|line| line.strip_prefix("content-length: "));
        line.map(|length| length.parse().unwrap())
    }
}

/// Sends and reads until the other side closes or resets.
async fn exchange(provider: &SimulatedProvider, request: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(provider.address()).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut bytes = Vec::new();
    let reset = stream.read_to_end(&mut bytes).await.is_err();
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
    let (head, body) = end.map_or((&bytes[..], &[][..]), |end| bytes.split_at(end + 4));
    let head = String::from_utf8(head.to_vec()).unwrap();
    let status = head.split(' ').nth(1).map_or(0, |status| status.parse().unwrap());
    Answer { status, head, body: body.to_vec(), reset }
}

async fn ask(provider: &SimulatedProvider, image: &[u8]) -> Answer {
    exchange(provider, &request(provider.dialect(), image, true)).await
}

fn start(dialect: Dialect, behaviour: Behaviour) -> SimulatedProvider {
    SimulatedProvider::start(Settings { behaviour, ..Settings::new(dialect) }).unwrap()
}

/// One healthy OpenAI question under this fault.
async fn under(fault: Fault) -> (Answer, SimulatedProvider) {
    let provider = start(Dialect::OpenAi, Behaviour::failing(fault));
    (ask(&provider, &image(1)).await, provider)
}

/// Waits until the only call stands like this; the test's own limit is the runner's.
async fn until(provider: &SimulatedProvider, outcome: Outcome) {
    provider.until(|calls| calls.last().is_some_and(|call| call.outcome == outcome)).await;
}

#[tokio::test]
async fn an_image_gets_the_expected_scores_in_every_dialect() {
    for dialect in Dialect::ALL {
        let provider = start(dialect, Behaviour::default());
        for number in 0..20 {
            let answer = ask(&provider, &image(number)).await;
            assert_eq!(answer.status, 200, "{}", answer.head);
            let said = answer.said(dialect);
            let expected = expected_scores(&image(number), &CRITERIA, &Judging::default());
            let scores: BTreeMap<String, f64> =
                serde_json::from_value(said["scores"].clone()).unwrap();
            assert_eq!(scores, expected);
            assert!(said["reasons"]["cutout"].as_str().unwrap().starts_with("simulated"));
        }
        assert_eq!(provider.calls().len(), 20);
        assert!(provider.calls().iter().all(|call| call.outcome == Outcome::Answered));
    }
}

#[tokio::test]
async fn scores_come_before_reasons_when_the_schema_says_so() {
    // Written by hand: a JSON map in the test might sort its keys.
    let body = r#"{"model":"m","messages":[{"role":"user","content":"x"}],"response_format":{"type":"json_schema","json_schema":{"schema":{"type":"object","properties":{"scores":{"type":"object","properties":{"z":{"type":"number"},"a":{"type":"number"}}},"reasons":{"type":"object","properties":{"z":{"type":"string"}}}}}}}}"#;
    let provider = start(Dialect::OpenAi, Behaviour::default());
    let length = body.len();
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nauthorization: Bearer k\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    let text = exchange(&provider, request.as_bytes()).await.text(Dialect::OpenAi);
    let place = |name: &str| text.find(name).unwrap();
    assert!(place("scores") < place("\"z\"") && place("\"z\"") < place("\"a\""), "{text}");
    assert!(place("\"a\"") < place("reasons"), "{text}");
}

#[tokio::test]
async fn a_connection_carries_one_call_after_another() {
    let provider = start(Dialect::Mistral, Behaviour::default());
    let mut both = request(Dialect::Mistral, &image(1), false);
    both.extend(request(Dialect::Mistral, &image(2), true));
    let answer = exchange(&provider, &both).await;
    let text = String::from_utf8(answer.body).unwrap();
    assert!(text.contains("HTTP/1.1 200 OK"), "the second answer follows the first");
    let calls = provider.calls();
    assert_eq!(calls.len(), 2);
    assert_ne!(calls[0].image_digests, calls[1].image_digests);
}

#[tokio::test]
async fn the_log_says_what_was_seen_and_charged_and_not_the_key() {
    let provider = start(Dialect::Gemini, Behaviour::default());
    ask(&provider, &image(1)).await;
    let call = provider.calls().remove(0);
    assert_eq!(call.model.as_deref(), Some("gemini-3.5-flash-lite"));
    assert_eq!(call.image_digests, [format!("b3:{}", blake3::hash(&image(1)).to_hex())]);
    assert_eq!((call.image_count, call.prompt.as_str()), (1, "Score it."));
    assert_eq!((call.status, call.credential), (Some(200), Some(crate::Credential::XGoogApiKey)));
    assert!(1_090 < call.billed_input_tokens && 0 < call.billed_output_tokens, "{call:?}");
    assert!(!format!("{call:?}").contains("Bearer simulated"));
}

#[tokio::test]
async fn a_missing_key_a_wrong_path_and_a_bad_body_are_answered_in_the_dialects_form() {
    let provider = start(Dialect::Anthropic, Behaviour::default());
    let answer = exchange(
        &provider,
        b"POST /v1/messages HTTP/1.1\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}",
    )
    .await;
    assert_eq!(
        (answer.status, &answer.json()["error"]["type"]),
        (401, &json!("authentication_error"))
    );
    let answer = exchange(
        &provider,
        b"POST /v1/messages HTTP/1.1\r\nx-api-key: k\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}",
    )
    .await;
    assert_eq!(
        (answer.status, &answer.json()["error"]["type"]),
        (400, &json!("invalid_request_error"))
    );
    let answer = exchange(&provider, b"GET /nope HTTP/1.1\r\nconnection: close\r\n\r\n").await;
    assert_eq!((answer.status, &answer.json()["error"]["type"]), (404, &json!("not_found_error")));
    assert_eq!(provider.calls()[2].kind, CallKind::Unknown);
    assert_eq!(exchange(&provider, b"nonsense\r\n\r\n").await.status, 400);
}

#[tokio::test]
async fn refuse_closes_the_port_and_the_idle_connections_and_leaving_it_opens_the_same_port() {
    let provider = start(Dialect::OpenAi, Behaviour::default());
    let address = provider.address();
    let mut idle = TcpStream::connect(address).await.unwrap();
    idle.write_all(&request(Dialect::OpenAi, &image(1), false)).await.unwrap();
    until(&provider, Outcome::Answered).await;

    provider.set_behaviour(Behaviour::failing(Fault::Refuse));
    let refused = TcpStream::connect(address).await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap(); // ends: the connection was closed

    for _ in 0..3 {
        provider.set_behaviour(Behaviour::default());
        assert_eq!(ask(&provider, &image(2)).await.status, 200);
        provider.set_behaviour(Behaviour::failing(Fault::Refuse));
        assert!(TcpStream::connect(address).await.is_err());
    }
    assert_eq!(provider.address(), address);
}

#[tokio::test]
async fn a_port_that_was_just_left_under_a_fault_can_be_taken_again() {
    for fault in [Fault::None, Fault::Refuse, Fault::Blackhole] {
        let before = start(Dialect::OpenAi, Behaviour::default());
        let address = before.address();
        // a caller that keeps its connection leaves the port busy for a while
        let mut caller = TcpStream::connect(address).await.unwrap();
        caller.write_all(&request(Dialect::OpenAi, &image(1), false)).await.unwrap();
        until(&before, Outcome::Answered).await;
        before.set_behaviour(Behaviour::failing(fault));
        before.shutdown().await;
        let settings = Settings { listen: address, ..Settings::new(Dialect::OpenAi) };
        let again = SimulatedProvider::start(settings).unwrap();
        assert_eq!(ask(&again, &image(2)).await.status, 200, "after {fault:?}");
    }
}

#[tokio::test]
async fn blackhole_reads_and_never_answers_and_sees_the_caller_go() {
    let provider = start(Dialect::OpenAi, Behaviour::failing(Fault::Blackhole));
    let mut stream = TcpStream::connect(provider.address()).await.unwrap();
    stream.write_all(&request(Dialect::OpenAi, &image(1), false)).await.unwrap();
    until(&provider, Outcome::Hung).await;
    assert_eq!(provider.calls()[0].status, None);
    drop(stream);
    until(&provider, Outcome::CancelledByClient).await;
    assert_eq!(provider.calls()[0].fault, Some("blackhole"));
}

#[tokio::test]
async fn blackhole_freezes_the_calls_in_flight() {
    let slow = Behaviour { latency: Latency::ConstantMs(60_000), ..Behaviour::default() };
    let provider = start(Dialect::OpenAi, slow);
    let mut stream = TcpStream::connect(provider.address()).await.unwrap();
    stream.write_all(&request(Dialect::OpenAi, &image(1), false)).await.unwrap();
    until(&provider, Outcome::InFlight).await;
    provider.set_behaviour(Behaviour::failing(Fault::Blackhole));
    until(&provider, Outcome::Hung).await;
    // Healing does not thaw it, but the next call is answered.
    provider.set_behaviour(Behaviour::default());
    assert_eq!(ask(&provider, &image(2)).await.status, 200);
    assert_eq!(provider.calls()[0].outcome, Outcome::Hung);
}

#[tokio::test]
async fn a_caller_that_goes_before_the_answer_is_logged_and_still_charged() {
    let slow = Behaviour { latency: Latency::ConstantMs(60_000), ..Behaviour::default() };
    let provider = start(Dialect::Anthropic, slow);
    let mut stream = TcpStream::connect(provider.address()).await.unwrap();
    stream.write_all(&request(Dialect::Anthropic, &image(1), false)).await.unwrap();
    until(&provider, Outcome::InFlight).await;
    drop(stream);
    until(&provider, Outcome::CancelledByClient).await;
    let call = provider.calls().remove(0);
    assert!(0 < call.billed_input_tokens && call.billed_output_tokens == 0, "{call:?}");
}

#[tokio::test]
async fn reset_tears_the_connection_down_without_a_byte() {
    let (answer, provider) = under(Fault::Reset).await;
    assert!(answer.reset && answer.head.is_empty());
    assert_eq!(provider.calls()[0].outcome, Outcome::Reset);
}

#[tokio::test]
async fn status_answers_the_error_of_the_dialect_with_its_delay() {
    let fault = Fault::Status { code: 429, after_ms: 1, retry_after_s: Some(2) };
    let (answer, provider) = under(fault).await;
    assert_eq!(
        (answer.status, &answer.json()["error"]["code"]),
        (429, &json!("rate_limit_exceeded"))
    );
    assert!(answer.head.contains("retry-after: 2\r\n"));
    assert_eq!(provider.calls()[0].billed_input_tokens, 0);
}

#[tokio::test]
async fn header_then_silence_sends_the_head_and_no_body() {
    let provider = start(Dialect::OpenAi, Behaviour::failing(Fault::HeaderThenSilence));
    let mut stream = TcpStream::connect(provider.address()).await.unwrap();
    stream.write_all(&request(Dialect::OpenAi, &image(1), false)).await.unwrap();
    until(&provider, Outcome::Hung).await;
    // The sending half closes, so the provider ends the call and all it ever sent can be read.
    stream.shutdown().await.unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with("\r\n\r\n"), "{text}");
    assert_eq!(provider.calls()[0].status, Some(200));
}

#[tokio::test]
async fn half_body_declares_more_than_it_sends() {
    let (answer, provider) = under(Fault::HalfBody).await;
    let declared_bytes = answer.declared_bytes().unwrap();
    assert!(!answer.reset && !answer.body.is_empty());
    assert_eq!(answer.body.len(), declared_bytes / 2);
    until(&provider, Outcome::CutShort).await;
}

#[tokio::test]
async fn clean_eof_early_ends_in_good_order_with_half_of_the_content() {
    let (answer, _provider) = under(Fault::CleanEofEarly).await;
    assert!(answer.head.contains("transfer-encoding: chunked"));
    let body = String::from_utf8(answer.body).unwrap();
    let content = body.split("\r\n").nth(1).unwrap();
    assert!(body.ends_with("\r\n0\r\n\r\n") && content.starts_with('{'), "{body}");
    assert!(serde_json::from_str::<Value>(content).is_err());
}

#[tokio::test]
async fn slow_drip_and_huge_body_are_right_answers_in_the_end() {
    let (answer, _provider) = under(Fault::SlowDrip { piece_bytes: 100, every_ms: 1 }).await;
    assert_eq!(answer.declared_bytes(), Some(answer.body.len()));
    assert!(answer.said(Dialect::OpenAi)["scores"].is_object());
    let (answer, provider) = under(Fault::HugeBody { size_bytes: 1 << 20 }).await;
    assert_eq!(answer.body.len(), 1 << 20);
    assert!(answer.said(Dialect::OpenAi)["scores"].is_object());
    until(&provider, Outcome::Answered).await;
}

#[tokio::test]
async fn slow_drip_takes_its_time_between_pieces() {
    let every_ms = 60_000;
    let provider =
        start(Dialect::OpenAi, Behaviour::failing(Fault::SlowDrip { piece_bytes: 5, every_ms }));
    let mut stream = TcpStream::connect(provider.address()).await.unwrap();
    stream.write_all(&request(Dialect::OpenAi, &image(1), false)).await.unwrap();
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n{\"cho") {
        assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0);
    }
    drop(stream);
    until(&provider, Outcome::CancelledByClient).await;
}

#[tokio::test]
async fn what_the_body_holds_is_what_the_fault_is_called() {
    let (garbage, _provider) = under(Fault::Garbage).await;
    assert_eq!(garbage.status, 200);
    assert!(serde_json::from_slice::<Value>(&garbage.body).is_err());
    let (empty, _provider) = under(Fault::Empty200).await;
    assert_eq!((empty.status, empty.declared_bytes(), empty.body.len()), (200, Some(0), 0));
    let (html, _provider) = under(Fault::WrongContentType).await;
    assert!(html.head.contains("content-type: text/html") && !html.head.contains("json"));
    assert!(html.said(Dialect::OpenAi)["scores"].is_object());
    let (moved, _provider) = under(Fault::Redirect).await;
    assert_eq!(moved.status, 307);
    assert!(moved.head.contains("location: /redirected\r\n"));
}

#[tokio::test]
async fn what_the_model_says_is_what_the_fault_is_called() {
    let dialect = Dialect::OpenAi;
    let (fenced, _provider) = under(Fault::Fenced).await;
    let text = fenced.text(dialect);
    let inner = text.strip_prefix("```json\n").unwrap().strip_suffix("\n```").unwrap();
    assert!(serde_json::from_str::<Value>(inner).unwrap()["scores"].is_object());
    let (prose, _provider) = under(Fault::Prose).await;
    assert!(serde_json::from_str::<Value>(&prose.text(dialect)).is_err());
    let (other, _provider) = under(Fault::WrongSchema).await;
    assert!(other.said(dialect).get("scores").is_none());
    let (wild, _provider) = under(Fault::OutOfRange).await;
    assert_eq!(wild.said(dialect)["scores"]["cutout"], 7.5);
    let (silent, _provider) = under(Fault::EmptyText).await;
    assert_eq!(silent.text(dialect), "");
    let (refused, _provider) = under(Fault::Refusal).await;
    assert!(refused.json()["choices"][0]["message"]["refusal"].is_string());
    let (cut, _provider) = under(Fault::TruncatedOutput).await;
    assert_eq!(cut.json()["choices"][0]["finish_reason"], "length");
    assert!(serde_json::from_str::<Value>(&cut.text(dialect)).is_err());
    let (blind, _provider) = under(Fault::Blind).await;
    let (seeing, _provider) = under(Fault::None).await;
    let input_tokens = |answer: &Answer| answer.json()["usage"]["prompt_tokens"].as_u64().unwrap();
    assert_eq!(input_tokens(&seeing) - input_tokens(&blind), 922); // 32 x 24 patches x 1.2
    assert!(blind.said(dialect)["scores"].is_object());
}

#[tokio::test]
async fn the_same_share_of_the_same_images_is_hit_in_every_run() {
    let mut runs = Vec::new();
    for _ in 0..2 {
        let behaviour = Behaviour { share: 0.4, ..Behaviour::failing(Fault::status(529)) };
        let provider = start(Dialect::Anthropic, behaviour);
        for number in 0..60 {
            ask(&provider, &image(number % 30)).await;
        }
        let statuses: Vec<_> = provider.calls().iter().map(|call| call.status).collect();
        let hits = statuses.iter().filter(|status| **status == Some(529)).count();
        assert!((12..36).contains(&hits), "{hits} of 60");
        assert_ne!(statuses[..30], statuses[30..], "a second try of an image draws anew");
        runs.push(statuses);
    }
    assert_eq!(runs[0], runs[1]);
}

#[tokio::test]
async fn nothing_is_left_after_shutdown_or_drop() {
    let provider = start(Dialect::OpenAi, Behaviour::failing(Fault::Blackhole));
    let address = provider.address();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&request(Dialect::OpenAi, &image(1), false)).await.unwrap();
    until(&provider, Outcome::Hung).await;
    let book = Arc::clone(&provider.shared.book);
    provider.shutdown().await;
    assert!(TcpStream::connect(address).await.is_err());
    let ended = stream.read(&mut [0; 16]).await;
    assert!(ended.is_err() || ended.is_ok_and(|count| count == 0));
    let call = book.calls().remove(0);
    assert!(call.outcome == Outcome::Hung && Duration::ZERO < call.ended.unwrap(), "{call:?}");
}
