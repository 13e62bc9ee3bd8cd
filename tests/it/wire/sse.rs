//! Streams as the four providers write them, a judgement of two criteria in each.

use serde_json::{Value, json};
use vlmgate::provider::dialect::Dialect;

/// The head of a streamed answer; its body ends with the connection.
pub(crate) const HEAD: &str = "HTTP/1.1 200 X\r\nconnection: close\r\ncontent-type: text/event-stream\r\nx-request-id: req_9\r\n\r\n";

/// An answer in two parts, the first ending where its scores are closed.
pub(crate) fn said(ids: &[&str]) -> (String, String) {
    let scores = ids.iter().map(|id| format!("\"{id}\":0.9")).collect::<Vec<_>>().join(",");
    let reasons = ids
        .iter()
        .map(|id| format!("\"{id}\":\"clean — all of it\""))
        .collect::<Vec<_>>()
        .join(",");
    (format!("{{\"scores\":{{{scores}}}"), format!(",\"reasons\":{{{reasons}}}}}"))
}

/// What `dialect` writes of an answer: everything up to and including the events with `first`, and
/// the events with `second` to the end; `input` tokens are told where the dialect tells them.
pub(crate) fn stream(dialect: Dialect, (first, second): (&str, &str), input: u64) -> [Vec<u8>; 2] {
    let [opening, closing] = match dialect {
        Dialect::OpenAi => {
            let usage = json!({"prompt_tokens": input, "completion_tokens": 30});
            [
                vec![delta(&json!({"role": "assistant", "content": ""}), None)],
                vec![
                    delta(&json!({}), Some("stop")),
                    data(&json!({"choices": [], "usage": usage})),
                    "data: [DONE]\n\n".to_owned(),
                ],
            ]
        }
        Dialect::Mistral => {
            let usage = json!({"prompt_tokens": input, "completion_tokens": 30});
            let end = json!({"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": usage});
            [Vec::new(), vec![data(&end), "data: [DONE]\n\n".to_owned()]]
        }
        Dialect::Anthropic => {
            let usage = json!({"input_tokens": input, "output_tokens": 1});
            let start = json!({"type": "message_start", "message": {"usage": usage}});
            let delta = json!({"stop_reason": "end_turn"});
            let usage = json!({"output_tokens": 30});
            let stop = json!({"type": "message_delta", "delta": delta, "usage": usage});
            let end = named(&json!({"type": "message_stop"}));
            [vec![named(&start)], vec![named(&stop), end]]
        }
        Dialect::Gemini => {
            let end = json!({"candidates": [{"finishReason": "STOP"}],
                "usageMetadata": usage_of_gemini(input, 30)});
            [Vec::new(), vec![data(&end)]]
        }
    };
    let text = |text: &str| match dialect {
        Dialect::OpenAi | Dialect::Mistral => delta(&json!({ "content": text }), None),
        Dialect::Anthropic => {
            let delta = json!({"type": "text_delta", "text": text});
            named(&json!({"type": "content_block_delta", "index": 0, "delta": delta}))
        }
        Dialect::Gemini => data(&json!({
            "candidates": [{"content": {"parts": [{"text": text}]}}],
            "usageMetadata": usage_of_gemini(input, 3),
        })),
    };
    // a piece of text per event, scores cut in the middle
    let (one, two) = first.split_at(first.len() / 2);
    let first = [opening, vec![text(one), text(two)]].concat().concat();
    let second = [vec![text(second)], closing].concat().concat();
    [first.into_bytes(), second.into_bytes()]
}

fn usage_of_gemini(input: u64, output: u64) -> Value {
    json!({"promptTokenCount": input, "candidatesTokenCount": output})
}

fn delta(delta: &Value, finish: Option<&str>) -> String {
    data(&json!({"choices": [{"delta": delta, "finish_reason": finish}], "usage": null}))
}

fn data(event: &Value) -> String {
    format!("data: {event}\n\n")
}

fn named(event: &Value) -> String {
    format!("event: {}\ndata: {event}\n\n", event["type"].as_str().expect("a type"))
}
