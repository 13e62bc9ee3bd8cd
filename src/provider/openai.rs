//! OpenAI's chat completions, and every server that speaks them: OpenAI, Azure, OpenRouter, vLLM,
//! llama.cpp, a gateway.
//!
//! The flavours differ in where the model stands, in the name of the output limit and in which
//! parameters they refuse. `detail` is always sent: left out, newer models take the picture at full
//! size, at ten times the price.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::Value;

use crate::domain::Tokens;
use crate::provider::SEED;
use crate::provider::answer::Shape;
use crate::provider::dialect::Ended;
use crate::provider::model::Model;
use crate::provider::pieces::Pieces;
use crate::provider::settings::Kind;
use crate::provider::wire::{Ask, DataUrl, Reply, WireRequest};

/// How closely the model looks: tokens for detail, up to the family's cap.
const DETAIL: &str = "high";

/// Writes the request.
///
/// # Errors
/// When the body cannot be written, which no question causes.
pub fn encode(model: &Model, ask: &Ask<'_>) -> Result<WireRequest, serde_json::Error> {
    let body = body(model, ask)?;
    let path = match &model.kind {
        Kind::AzureDeployment { api_version } => {
            let deployment = &model.name;
            format!("/openai/deployments/{deployment}/chat/completions?api-version={api_version}")
        }
        Kind::AzureV1 => "/openai/v1/chat/completions".to_owned(),
        Kind::OpenAi
        | Kind::Compatible
        | Kind::OpenRouter
        | Kind::Anthropic { .. }
        | Kind::Gemini { .. }
        | Kind::Vertex { .. }
        | Kind::VertexExpress { .. }
        | Kind::Mistral => "/chat/completions".to_owned(),
    };
    Ok(WireRequest::post(path, body))
}

fn body(model: &Model, ask: &Ask<'_>) -> Result<Pieces, serde_json::Error> {
    let limit = ask.max_output_tokens.saturating_add(model.traits.thinking_tokens);
    let old_name = matches!(model.kind, Kind::Compatible | Kind::OpenRouter);
    let mut content = vec![Part::Text { text: Cow::Borrowed(ask.user) }];
    for view in ask.views {
        content.extend(ask.label(view).map(|text| Part::Text { text }));
        let picture = Picture { url: DataUrl(view), detail: DETAIL };
        content.push(Part::ImageUrl { image_url: picture });
    }
    ask.write(&Body {
        model: &model.name,
        messages: (
            Message { role: "system", content: ask.system },
            Message { role: "user", content },
        ),
        max_tokens: old_name.then_some(limit),
        max_completion_tokens: (!old_name).then_some(limit),
        temperature: model.traits.temperature.then_some(0),
        seed: model.traits.seed.then_some(SEED),
        reasoning_effort: model.traits.effort.as_deref(),
        response_format: AnswerFormat::new(ask.shape),
        stream: model.streams,
        // or the count never comes
        stream_options: model.streams.then_some(StreamOptions { include_usage: true }),
        // or OpenRouter drops the schema for an upstream that has none
        provider: (model.kind == Kind::OpenRouter).then_some(Routing { require_parameters: true }),
    })
}

/// Reads a whole reply; Mistral's has the same form.
#[must_use]
pub fn reply(body: &Value) -> Reply {
    let choice = body.pointer("/choices/0");
    let message = choice.and_then(|choice| choice.get("message"));
    Reply {
        text: message.and_then(|message| message.get("content")).map_or_else(String::new, visible),
        refusal: message.and_then(|message| spoken(message.get("refusal"))),
        finish: choice.and_then(|choice| spoken(choice.get("finish_reason"))),
        closed: true,
        tokens: tokens(body.get("usage")),
        request_id: None,
    }
}

/// Adds one chunk of a stream; Mistral's have the same form.
pub fn add(reply: &mut Reply, chunk: &Value) {
    reply.tokens = tokens(chunk.get("usage")).or(reply.tokens);
    let Some(choice) = chunk.pointer("/choices/0") else { return };
    if let Some(delta) = choice.get("delta") {
        reply.text.push_str(&delta.get("content").map_or_else(String::new, visible));
        if let Some(more) = spoken(delta.get("refusal")) {
            reply.refusal.get_or_insert_default().push_str(&more);
        }
    }
    if let Some(finish) = spoken(choice.get("finish_reason")) {
        reply.finish = Some(finish);
        reply.closed = true;
    }
}

/// What a finish reason says about the text.
#[must_use]
pub fn ended(finish: &str) -> Ended {
    match finish {
        "length" => Ended::Cut,
        "content_filter" => Ended::Refused,
        // an unknown word may be next year's `stop`: the answer decides
        _ => Ended::Whole,
    }
}

/// The visible text: a string, or Mistral's list of chunks without the thoughts.
fn visible(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(chunks) => {
            let texts = chunks.iter().filter(|chunk| chunk["type"] == "text");
            texts.filter_map(|chunk| chunk["text"].as_str()).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => String::new(),
    }
}

fn spoken(value: Option<&Value>) -> Option<String> {
    value.and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
}

fn tokens(usage: Option<&Value>) -> Option<Tokens> {
    let usage = usage.filter(|usage| usage.is_object())?;
    let count = |pointer: &str| usage.pointer(pointer).and_then(Value::as_u64);
    let cached = count("/prompt_tokens_details/cached_tokens");
    Some(Tokens {
        input: count("/prompt_tokens")?,
        cached: cached.or_else(|| count("/num_cached_tokens")).unwrap_or_default(),
        output: count("/completion_tokens").unwrap_or_default(),
        // some gateways fill in zero for what they do not count
        image: count("/prompt_tokens_details/image_tokens").filter(|image| 0 < *image),
    })
}

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    messages: (Message<&'a str>, Message<Vec<Part<'a>>>),
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_effort: Option<&'a str>,
    response_format: AnswerFormat<'a>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<StreamOptions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<Routing>,
}

/// One message; Mistral's has the same form.
#[derive(Serialize)]
pub(crate) struct Message<T> {
    pub(crate) role: &'static str,
    pub(crate) content: T,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Part<'a> {
    Text { text: Cow<'a, str> },
    ImageUrl { image_url: Picture<'a> },
}

#[derive(Serialize)]
struct Picture<'a> {
    url: DataUrl<'a>,
    detail: &'static str,
}

/// The answer's schema, to be kept strictly; Mistral's has the same form.
#[derive(Serialize)]
pub(crate) struct AnswerFormat<'a> {
    r#type: &'static str,
    json_schema: NamedSchema<'a>,
}

#[derive(Serialize)]
struct NamedSchema<'a> {
    name: &'static str,
    strict: bool,
    schema: &'a Shape,
}

impl<'a> AnswerFormat<'a> {
    pub(crate) fn new(schema: &'a Shape) -> Self {
        let json_schema = NamedSchema { name: "verdict", strict: true, schema };
        Self { r#type: "json_schema", json_schema }
    }
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

#[derive(Serialize)]
struct Routing {
    require_parameters: bool,
}
