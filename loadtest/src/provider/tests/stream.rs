//! Streams as a caller meets them, read by a reader that knows nothing of the writer.

use super::*;
use crate::behaviour::Fault;

/// A question that asks for a stream.
fn streaming(dialect: Dialect, image: &[u8], last: bool) -> Vec<u8> {
    let (path, headers, mut body) = question(dialect, image);
    let path = path.replace(":generateContent", ":streamGenerateContent?alt=sse");
    if dialect != Dialect::Gemini {
        body["stream"] = json!(true);
    }
    if dialect == Dialect::OpenAi {
        body["stream_options"] = json!({"include_usage": true, "include_obfuscation": false});
    }
    let body = body.to_string().replace(&schema().to_string(), &scores_first());
    let (length, close) = (body.len(), if last { "connection: close\r\n" } else { "" });
    format!("POST {path} HTTP/1.1\r\nhost: simulated\r\n{headers}\r\ncontent-length: {length}\r\n{close}\r\n{body}")
        .into_bytes()
}

/// The schema with its properties in the order that a gate sends: a JSON map may sort them.
fn scores_first() -> String {
    let schema = schema();
    let (scores, reasons) = (&schema["properties"]["scores"], &schema["properties"]["reasons"]);
    format!(
        r#"{{"type":"object","required":["scores","reasons"],"additionalProperties":false,"properties":{{"scores":{scores},"reasons":{reasons}}}}}"#
    )
}

/// One event of a stream.
#[derive(Debug, PartialEq)]
struct Event {
    name: Option<String>,
    data: String,
}

/// A stream, put together.
#[derive(Debug, Default)]
struct Stream {
    events: Vec<Event>,
    text: String,
    refusal: String,
    finish: Option<String>,
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    /// What the dialect ends with was seen.
    is_marked: bool,
    /// The body ended with its last chunk.
    is_ended: bool,
    error: Option<Value>,
    garbage: usize,
}

/// Takes the chunks apart; says whether the last one came.
fn unchunked(body: &[u8]) -> (Vec<u8>, bool) {
    let (mut rest, mut whole) = (body, Vec::new());
    loop {
        let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") else {
            return (whole, false);
        };
        let digits = std::str::from_utf8(&rest[..end]).unwrap();
        let length = usize::from_str_radix(digits, 16).unwrap();
        if length == 0 {
            return (whole, true);
        }
        let Some(chunk) = rest.get(end + 2..end + 2 + length) else { return (whole, false) };
        whole.extend_from_slice(chunk);
        rest = rest.get(end + 4 + length..).unwrap_or_default();
    }
}

/// Reads events as the standard says: lines end in LF or CR LF, an empty one ends an event.
fn events_of(text: &str) -> Vec<Event> {
    let (mut events, mut name, mut data) = (Vec::new(), None, Vec::new());
    for line in text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)) {
        if line.is_empty() {
            if !data.is_empty() {
                events.push(Event { name: name.take(), data: data.join("\n") });
            }
            data.clear();
        } else if let Some(value) = line.strip_prefix("data:") {
            data.push(value.strip_prefix(' ').unwrap_or(value).to_owned());
        } else if let Some(value) = line.strip_prefix("event:") {
            name = Some(value.trim().to_owned());
        } else {
            assert!(line.starts_with(':'), "{line}");
        }
    }
    events
}

fn read_stream(dialect: Dialect, body: &[u8]) -> Stream {
    let (bytes, is_ended) = unchunked(body);
    let mut stream = Stream { is_ended, ..Stream::default() };
    for event in events_of(std::str::from_utf8(&bytes).unwrap()) {
        read_event(dialect, &event, &mut stream);
        stream.events.push(event);
    }
    stream
}

fn read_event(dialect: Dialect, event: &Event, stream: &mut Stream) {
    if event.data == "[DONE]" {
        stream.is_marked = true;
        return;
    }
    let Ok(value) = serde_json::from_str::<Value>(&event.data) else {
        stream.garbage += 1;
        return;
    };
    let at = |pointer: &str| value.pointer(pointer).filter(|value| !value.is_null());
    let text = |pointer: &str| at(pointer).and_then(Value::as_str).map(str::to_owned);
    let count = |pointer: &str| at(pointer).and_then(Value::as_u64);
    if at("/error").is_some() || at("/object") == Some(&json!("error")) {
        stream.error = Some(value.clone());
    }
    let (piece, finish, input, output) = match dialect {
        Dialect::OpenAi | Dialect::Mistral => (
            text("/choices/0/delta/content"),
            text("/choices/0/finish_reason"),
            count("/usage/prompt_tokens"),
            count("/usage/completion_tokens"),
        ),
        Dialect::Anthropic => (
            text("/delta/text"),
            text("/delta/stop_reason"),
            count("/message/usage/input_tokens"),
            count("/usage/output_tokens"),
        ),
        Dialect::Gemini => (
            text("/candidates/0/content/parts/0/text"),
            text("/candidates/0/finishReason").or_else(|| text("/promptFeedback/blockReason")),
            count("/usageMetadata/promptTokenCount"),
            count("/usageMetadata/candidatesTokenCount"),
        ),
    };
    stream.refusal.push_str(&text("/choices/0/delta/refusal").unwrap_or_default());
    stream.text.push_str(&piece.unwrap_or_default());
    stream.is_marked |= event.name.as_deref() == Some("message_stop");
    stream.is_marked |= dialect == Dialect::Gemini && finish.is_some();
    stream.finish = finish.or(stream.finish.take());
    stream.input_tokens = input.or(stream.input_tokens);
    stream.output_tokens = output.or(stream.output_tokens);
}

/// The stream about one image under this fault, of this dialect.
async fn streamed(dialect: Dialect, fault: Fault) -> (Answer, Stream, SimulatedProvider) {
    let provider = start(dialect, Behaviour::failing(fault));
    let answer = exchange(&provider, &streaming(dialect, &image(1), true)).await;
    let stream = read_stream(dialect, &answer.body);
    (answer, stream, provider)
}

/// The names and keys of an event: what a reader can hold on to.
fn shape(event: &Event) -> (Option<String>, Vec<String>) {
    fn keys(prefix: &str, value: &Value, into: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                for (name, field) in fields {
                    into.push(format!("{prefix}/{name}"));
                    keys(&format!("{prefix}/{name}"), field, into);
                }
            }
            Value::Array(items) => {
                for item in items {
                    keys(&format!("{prefix}/0"), item, into);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let mut found = Vec::new();
    keys("", &serde_json::from_str(&event.data).unwrap_or_default(), &mut found);
    found.sort();
    found.dedup();
    (event.name.clone(), found)
}

#[tokio::test]
async fn a_stream_says_what_the_whole_answer_says_and_what_it_costs() {
    for dialect in Dialect::ALL {
        let (answer, stream, provider) = streamed(dialect, Fault::None).await;
        assert!(answer.head.contains("content-type: text/event-stream"), "{}", answer.head);
        assert!(answer.head.contains("transfer-encoding: chunked"), "{}", answer.head);
        assert!(stream.is_marked && stream.is_ended, "{dialect:?}: {stream:?}");
        assert!(["stop", "end_turn", "STOP"].contains(&stream.finish.as_deref().unwrap()));
        let whole = ask(&provider, &image(1)).await;
        let parsed = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        assert_eq!(parsed(&stream.text), parsed(&whole.text(dialect)));
        let call = provider.calls().remove(0);
        assert_eq!(stream.input_tokens, Some(call.billed_input_tokens), "{dialect:?}");
        assert_eq!(stream.output_tokens, Some(call.billed_output_tokens), "{dialect:?}");
        assert_eq!(call.outcome, Outcome::Answered);
    }
}

#[tokio::test]
async fn each_event_has_the_keys_of_a_recorded_one() {
    let recorded = [
        (Dialect::OpenAi, include_str!("../../fixtures/openai-stream-success.sse")),
        (Dialect::Anthropic, include_str!("../../fixtures/anthropic-stream-success.sse")),
        (Dialect::Gemini, include_str!("../../fixtures/gemini-stream-success.sse")),
        (Dialect::Mistral, include_str!("../../fixtures/mistral-stream-success.sse")),
    ];
    for (dialect, fixture) in recorded {
        let known: Vec<_> = events_of(fixture).iter().map(shape).collect();
        let (_, stream, _provider) = streamed(dialect, Fault::None).await;
        for event in &stream.events {
            let (name, keys) = shape(event);
            let alike = known.iter().any(|(known_name, known_keys)| {
                *known_name == name && keys.iter().all(|key| known_keys.contains(key))
            });
            assert!(alike, "{dialect:?}: {event:?}");
        }
        let first = |events: &[Event]| shape(&events[0]).0;
        assert_eq!(first(&stream.events), first(&events_of(fixture)));
    }
}

#[tokio::test]
async fn token_counts_are_sent_when_openai_is_asked_for_them() {
    let provider = start(Dialect::OpenAi, Behaviour::default());
    let (path, headers, mut body) = question(Dialect::OpenAi, &image(1));
    body["stream"] = json!(true);
    let body = body.to_string();
    let request = format!(
        "POST {path} HTTP/1.1\r\n{headers}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = exchange(&provider, request.as_bytes()).await;
    let stream = read_stream(Dialect::OpenAi, &answer.body);
    assert!(stream.is_marked && stream.input_tokens.is_none());
    assert!(stream.events[0].data.contains("obfuscation"), "padded unless told not to");
}

#[tokio::test]
async fn the_scores_end_with_a_piece_and_leave_when_the_behaviour_says() {
    for dialect in Dialect::ALL {
        let behaviour = Behaviour {
            latency: Latency::ConstantMs(120_000),
            scored_share: Some(0.0),
            ..Behaviour::default()
        };
        let provider = start(dialect, behaviour);
        let mut stream = TcpStream::connect(provider.address()).await.unwrap();
        stream.write_all(&streaming(dialect, &image(1), false)).await.unwrap();
        // Everything up to the last score is due at once, everything after it in a minute or more.
        let mut bytes = Vec::new();
        let text = loop {
            assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0);
            let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
            let Some(end) = end else { continue };
            let text = read_stream(dialect, &bytes[end + 4..]).text;
            if text.ends_with('}') {
                break text;
            }
        };
        let scores: Value = serde_json::from_str(&format!("{text}}}")).unwrap();
        assert_eq!(scores["scores"].as_object().unwrap().len(), CRITERIA.len(), "{text}");
        assert_eq!(provider.calls()[0].outcome, Outcome::InFlight);
    }
}

#[tokio::test]
async fn a_refusal_and_a_cut_text_are_told_in_each_dialects_way() {
    for (dialect, reason) in [
        (Dialect::OpenAi, "length"),
        (Dialect::Anthropic, "max_tokens"),
        (Dialect::Gemini, "MAX_TOKENS"),
        (Dialect::Mistral, "length"),
    ] {
        let (_, cut, _provider) = streamed(dialect, Fault::TruncatedOutput).await;
        assert_eq!((cut.finish.as_deref(), cut.is_marked), (Some(reason), true));
        assert!(serde_json::from_str::<Value>(&cut.text).is_err());
        let (_, refused, _provider) = streamed(dialect, Fault::Refusal).await;
        assert!(refused.is_ended, "{dialect:?}");
        let reason = refused.finish.as_deref();
        match dialect {
            Dialect::OpenAi => assert!(refused.refusal.contains("can't assist")),
            Dialect::Anthropic => assert_eq!((reason, refused.text.len()), (Some("refusal"), 9)),
            Dialect::Gemini => assert_eq!(reason, Some("PROHIBITED_CONTENT")),
            Dialect::Mistral => assert!(refused.text.contains("can't assist")),
        }
    }
}

#[tokio::test]
async fn a_stream_that_ends_without_its_marker_ends_well_all_the_same() {
    for dialect in Dialect::ALL {
        let (_, unmarked, provider) = streamed(dialect, Fault::NoTerminalMarker).await;
        assert!(unmarked.is_ended && !unmarked.is_marked, "{dialect:?}: {unmarked:?}");
        assert!(serde_json::from_str::<Value>(&unmarked.text).is_ok());
        until(&provider, Outcome::CutShort).await;
        let (_, early, _provider) = streamed(dialect, Fault::CleanEofEarly).await;
        assert!(early.is_ended && !early.is_marked, "{dialect:?}");
        assert_eq!(early.finish, None);
    }
}

#[tokio::test]
async fn a_cut_stream_is_closed_or_reset_without_its_last_chunk() {
    for dialect in Dialect::ALL {
        let (answer, closed, provider) = streamed(dialect, Fault::HalfBody).await;
        assert!(!answer.reset && !closed.is_ended && !closed.is_marked, "{dialect:?}");
        until(&provider, Outcome::CutShort).await;
        let (answer, _, provider) = streamed(dialect, Fault::CutConnection).await;
        assert!(answer.reset, "{dialect:?}");
        until(&provider, Outcome::Reset).await;
    }
}

#[tokio::test]
async fn an_error_and_garbage_come_as_events_of_a_good_answer() {
    for dialect in Dialect::ALL {
        let (answer, failed, _provider) = streamed(dialect, Fault::ErrorEvent).await;
        assert_eq!((answer.status, failed.is_marked, failed.is_ended), (200, false, true));
        assert!(failed.error.is_some(), "{dialect:?}: {failed:?}");
        let (_, garbled, _provider) = streamed(dialect, Fault::GarbageEvent).await;
        assert_eq!((garbled.garbage, garbled.is_marked), (1, true), "{dialect:?}");
        assert!(serde_json::from_str::<Value>(&garbled.text).is_ok());
    }
}

#[tokio::test]
async fn a_slow_and_a_huge_stream_are_right_in_the_end() {
    for dialect in Dialect::ALL {
        let drip = Fault::SlowDrip { piece_bytes: 400, every_ms: 1 };
        let (_, dripped, _provider) = streamed(dialect, drip).await;
        assert!(dripped.is_marked && dripped.is_ended);
        let (answer, huge, _provider) =
            streamed(dialect, Fault::HugeBody { size_bytes: 1 << 20 }).await;
        assert!(1 << 20 < answer.body.len() && huge.is_marked && huge.is_ended);
        assert_eq!(huge.text, dripped.text);
    }
}

#[tokio::test]
async fn the_named_share_of_stalled_streams_stalls_after_the_scores() {
    for (after_scores, has_scores) in [(1.0, true), (0.0, false)] {
        for dialect in Dialect::ALL {
            let provider =
                start(dialect, Behaviour::failing(Fault::MidStreamStall { after_scores }));
            for number in 0..8 {
                let mut stream = TcpStream::connect(provider.address()).await.unwrap();
                stream.write_all(&streaming(dialect, &image(number), false)).await.unwrap();
                until(&provider, Outcome::Hung).await;
                stream.shutdown().await.unwrap();
                let mut bytes = Vec::new();
                stream.read_to_end(&mut bytes).await.unwrap();
                until(&provider, Outcome::CancelledByClient).await;
                let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
                let said = read_stream(dialect, &bytes[end + 4..]);
                assert!(!said.is_ended && !said.is_marked);
                // The text begins with the scores, and their object closes before anything else.
                assert_eq!(said.text.contains('}'), has_scores, "{dialect:?}: {}", said.text);
            }
        }
    }
}

#[tokio::test]
async fn silence_after_the_head_and_an_error_before_it_are_as_without_a_stream() {
    let dialect = Dialect::Anthropic;
    let provider = start(dialect, Behaviour::failing(Fault::HeaderThenSilence));
    let mut stream = TcpStream::connect(provider.address()).await.unwrap();
    stream.write_all(&streaming(dialect, &image(1), false)).await.unwrap();
    until(&provider, Outcome::Hung).await;
    stream.shutdown().await.unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.starts_with("HTTP/1.1 200") && text.ends_with("\r\n\r\n"), "{text}");
    let provider = start(dialect, Behaviour::failing(Fault::status(529)));
    let answer = exchange(&provider, &streaming(dialect, &image(1), true)).await;
    assert_eq!((answer.status, &answer.json()["type"]), (529, &json!("error")));
}

#[tokio::test]
async fn a_blackhole_freezes_a_stream_that_has_begun() {
    let behaviour = Behaviour {
        latency: Latency::ConstantMs(120_000),
        scored_share: Some(0.0),
        ..Behaviour::default()
    };
    let provider = start(Dialect::Mistral, behaviour);
    let mut stream = TcpStream::connect(provider.address()).await.unwrap();
    stream.write_all(&streaming(Dialect::Mistral, &image(1), false)).await.unwrap();
    provider.until(|calls| calls.last().is_some_and(|call| call.status == Some(200))).await;
    provider.set_behaviour(Behaviour::failing(Fault::Blackhole));
    until(&provider, Outcome::Hung).await;
}

#[tokio::test]
async fn the_log_knows_whether_the_scores_of_a_stalled_stream_were_sent() {
    for dialect in Dialect::ALL {
        let (_, whole, provider) = streamed(dialect, Fault::None).await;
        let call = provider.calls().remove(0);
        assert!(whole.is_marked && call.began <= call.scored.unwrap(), "{dialect:?}: {call:?}");
        assert!(call.scored.unwrap() <= call.ended.unwrap());
        for (after_scores, is_scored) in [(1.0, true), (0.0, false)] {
            let fault = Fault::MidStreamStall { after_scores };
            let provider = start(dialect, Behaviour { fault, ..Behaviour::default() });
            let mut stream = TcpStream::connect(provider.address()).await.unwrap();
            stream.write_all(&streaming(dialect, &image(1), false)).await.unwrap();
            until(&provider, Outcome::Hung).await;
            let call = provider.calls().remove(0);
            assert_eq!(call.scored.is_some(), is_scored, "{dialect:?}: {after_scores}");
        }
    }
}

#[tokio::test]
async fn a_streamed_call_is_not_measured_by_the_draw_of_a_whole_one() {
    let behaviour = Behaviour {
        latency: Latency::ConstantMs(10),
        scored_share: Some(0.6),
        ..Behaviour::default()
    };
    let provider = start(Dialect::OpenAi, behaviour);
    exchange(&provider, &streaming(Dialect::OpenAi, &image(1), true)).await;
    ask(&provider, &image(2)).await;
    let calls = provider.calls();
    assert!(calls[0].drawn_scores < calls[0].drawn && calls[1].drawn_scores == calls[1].drawn);
    assert!(calls[1].scored.is_some(), "a whole answer has its scores too");
}
