//! Anthropic's Messages.
//!
//! The API has two versions, and only the older takes a temperature, from older models alone. The
//! answer may begin with thinking blocks, and a refusal comes as a 200 with text that must not be
//! read.

use std::borrow::Cow;

use http::HeaderName;
use serde::Serialize;
use serde_json::Value;

use crate::domain::Tokens;
use crate::imaging::VIEW_MEDIA_TYPE;
use crate::provider::answer::Shape;
use crate::provider::dialect::Ended;
use crate::provider::model::Model;
use crate::provider::settings::Kind;
use crate::provider::wire::{Ask, Reply, WireRequest};

/// The version that is asked for where the configuration names none.
pub const VERSION: &str = "2026-10-21";

/// The last version that takes a temperature.
const SAMPLING_VERSION: &str = "2023-06-01";

/// Writes the request.
///
/// # Errors
/// When the body cannot be written, which no question causes.
pub fn encode(model: &Model, ask: &Ask<'_>) -> Result<WireRequest, serde_json::Error> {
    let version = version(&model.kind);
    let mut content = Vec::new();
    for view in ask.views {
        content.extend(ask.label(view).map(|text| Part::Text { text }));
        content.push(Part::Image {
            source: Source {
                r#type: "base64",
                media_type: VIEW_MEDIA_TYPE,
                data: view.jpeg.as_str(),
            },
        });
    }
    content.push(Part::Text { text: Cow::Borrowed(ask.user) });
    let traits = &model.traits;
    let body = ask.write(&Body {
        model: &model.name,
        max_tokens: ask.max_output_tokens.saturating_add(traits.thinking_tokens),
        system: ask.system,
        messages: [Message { role: "user", content }],
        temperature: (traits.temperature && version == SAMPLING_VERSION).then_some(0),
        thinking: traits.thinking.as_deref().map(|r#type| Thinking { r#type }),
        output_config: OutputConfig {
            effort: traits.effort.as_deref(),
            format: Format { r#type: "json_schema", schema: ask.shape },
        },
        stream: model.streams,
    })?;
    Ok(dress(&model.kind, WireRequest::post("/v1/messages".to_owned(), body)))
}

/// `request` with the version header.
pub(crate) fn dress(kind: &Kind, request: WireRequest) -> WireRequest {
    let header = HeaderName::from_static("anthropic-version");
    match version(kind).parse() {
        Ok(version) => request.with(header, version),
        // a version that no header can carry is refused when the judge is built
        Err(_) => request,
    }
}

fn version(kind: &Kind) -> &str {
    match kind {
        Kind::Anthropic { version } => version,
        Kind::OpenAi
        | Kind::Compatible
        | Kind::OpenRouter
        | Kind::AzureDeployment { .. }
        | Kind::AzureV1
        | Kind::Gemini { .. }
        | Kind::Vertex { .. }
        | Kind::VertexExpress { .. }
        | Kind::Mistral => VERSION,
    }
}

/// Reads a whole reply.
#[must_use]
pub fn reply(body: &Value) -> Reply {
    let blocks = body.get("content").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let mut reply = Reply { closed: true, ..Reply::default() };
    for block in blocks {
        match block["type"].as_str() {
            Some("text") => reply.text.push_str(block["text"].as_str().unwrap_or_default()),
            // the answer of a model that was given a tool instead of a schema
            Some("tool_use") => reply.text.push_str(&block["input"].to_string()),
            _ => {}
        }
    }
    stop(&mut reply, body);
    reply.tokens = tokens(body.get("usage"), None);
    reply.request_id = body["request_id"].as_str().map(str::to_owned);
    reply
}

/// Adds one event of a stream. Unknown events may appear, and say nothing.
pub fn add(reply: &mut Reply, event: &Value) {
    match event["type"].as_str() {
        Some("message_start") => reply.tokens = tokens(event.pointer("/message/usage"), None),
        Some("content_block_delta") => {
            reply.text.push_str(event.pointer("/delta/text").and_then(Value::as_str).unwrap_or(""));
        }
        Some("message_delta") => {
            if let Some(delta) = event.get("delta") {
                stop(reply, delta);
            }
            // cumulative, and sometimes without the input that the start told
            reply.tokens = tokens(event.get("usage"), reply.tokens).or(reply.tokens);
        }
        Some("message_stop") => reply.closed = reply.finish.is_some(),
        _ => {}
    }
}

/// What a stop reason says about the text.
#[must_use]
pub fn ended(finish: &str) -> Ended {
    match finish {
        "max_tokens" | "model_context_window_exceeded" => Ended::Cut,
        "refusal" => Ended::Refused,
        // an unknown word may be next year's `end_turn`: the answer decides
        _ => Ended::Whole,
    }
}

fn stop(reply: &mut Reply, said: &Value) {
    reply.finish = said["stop_reason"].as_str().map(str::to_owned).or(reply.finish.take());
    if reply.finish.as_deref() == Some("refusal") {
        let details = ["/stop_details/category", "/stop_details/explanation"];
        let details = details.map(|pointer| said.pointer(pointer).and_then(Value::as_str));
        let words: Vec<&str> = details.into_iter().flatten().collect();
        reply.refusal = Some(format!("refusal {}", words.join(": ")));
    }
}

/// Input is told without its cached parts.
fn tokens(usage: Option<&Value>, before: Option<Tokens>) -> Option<Tokens> {
    let usage = usage.filter(|usage| usage.is_object())?;
    let count = |key: &str| usage.get(key).and_then(Value::as_u64);
    let cached = count("cache_read_input_tokens").unwrap_or_default();
    let written = count("cache_creation_input_tokens").unwrap_or_default();
    let told = count("input_tokens").map(|fresh| fresh.saturating_add(cached + written));
    Some(Tokens {
        input: told.or(before.map(|before| before.input))?,
        cached: if told.is_some() { cached } else { before.map_or(cached, |before| before.cached) },
        output: count("output_tokens").unwrap_or_default(),
        image: None,
    })
}

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    max_tokens: u32,
    system: &'a str,
    messages: [Message<'a>; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<Thinking<'a>>,
    output_config: OutputConfig<'a>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stream: bool,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: Vec<Part<'a>>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Part<'a> {
    Text { text: Cow<'a, str> },
    Image { source: Source<'a> },
}

#[derive(Serialize)]
struct Source<'a> {
    r#type: &'static str,
    media_type: &'static str,
    data: &'a str,
}

#[derive(Serialize)]
struct Thinking<'a> {
    r#type: &'a str,
}

#[derive(Serialize)]
struct OutputConfig<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    effort: Option<&'a str>,
    format: Format<'a>,
}

#[derive(Serialize)]
struct Format<'a> {
    r#type: &'static str,
    schema: &'a Shape,
}
