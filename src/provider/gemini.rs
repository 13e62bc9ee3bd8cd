//! Gemini's generateContent: AI Studio, Vertex AI and Vertex in express mode.
//!
//! One body for all three; they differ in host, path and who vouches for the caller. Sampling
//! parameters go to the generations that heed them and to no other.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::Value;

use crate::domain::Tokens;
use crate::imaging::VIEW_MEDIA_TYPE;
use crate::provider::SEED;
use crate::provider::answer::Shape;
use crate::provider::dialect::Ended;
use crate::provider::model::Model;
use crate::provider::settings::Kind;
use crate::provider::wire::{Ask, Reply, WireRequest};

/// AI Studio's version where the configuration names none.
pub const VERSION: &str = "v1beta";

/// Vertex AI's version where the configuration names none.
pub const VERTEX_VERSION: &str = "v1";

/// How closely the model looks.
const MEDIA_RESOLUTION: &str = "MEDIA_RESOLUTION_HIGH";

/// Reasons to stop that are a decision about the content.
const REFUSALS: [&str; 10] = [
    "SAFETY",
    "PROHIBITED_CONTENT",
    "BLOCKLIST",
    "SPII",
    "RECITATION",
    "IMAGE_SAFETY",
    "IMAGE_PROHIBITED_CONTENT",
    "IMAGE_RECITATION",
    "MODEL_ARMOR",
    "ESCALATION",
];

/// Writes the request.
///
/// # Errors
/// When the body cannot be written, which no question causes.
pub fn encode(model: &Model, ask: &Ask<'_>) -> Result<WireRequest, serde_json::Error> {
    let mut parts = Vec::new();
    for view in ask.views {
        parts.extend(ask.label(view).map(Part::Text));
        parts.push(Part::InlineData(Blob { mime_type: VIEW_MEDIA_TYPE, data: view.jpeg.as_str() }));
    }
    parts.push(Part::Text(Cow::Borrowed(ask.user)));
    let traits = &model.traits;
    let thinks = traits.thinking.is_some() || traits.thinking_budget.is_some();
    let body = ask.write(&Body {
        system_instruction: Content { role: None, parts: vec![Part::Text(ask.system.into())] },
        contents: [Content { role: Some("user"), parts }],
        generation_config: GenerationConfig {
            max_output_tokens: ask.max_output_tokens.saturating_add(traits.thinking_tokens),
            response_mime_type: "application/json",
            response_json_schema: ask.shape,
            media_resolution: MEDIA_RESOLUTION,
            temperature: traits.temperature.then_some(0),
            seed: traits.seed.then_some(SEED),
            thinking_config: thinks.then_some(ThinkingConfig {
                thinking_level: traits.thinking.as_deref(),
                thinking_budget: traits.thinking_budget,
            }),
        },
    })?;
    // without `alt` a stream comes as one JSON list
    let method = if model.streams { "streamGenerateContent?alt=sse" } else { "generateContent" };
    Ok(WireRequest::post(format!("{}:{method}", path(model)), body))
}

/// The model's address below the base URL.
pub(crate) fn path(model: &Model) -> String {
    let name = &model.name;
    match &model.kind {
        Kind::Vertex { project, location, version } => format!(
            "/{version}/projects/{project}/locations/{location}/publishers/google/models/{name}"
        ),
        Kind::VertexExpress { version } => format!("/{version}/publishers/google/models/{name}"),
        Kind::Gemini { version } => format!("/{version}/models/{name}"),
        Kind::OpenAi
        | Kind::Compatible
        | Kind::OpenRouter
        | Kind::AzureDeployment { .. }
        | Kind::AzureV1
        | Kind::Anthropic { .. }
        | Kind::Mistral => format!("/{VERSION}/models/{name}"),
    }
}

/// Vertex AI's host for a location.
#[must_use]
pub fn vertex_base_url(location: &str) -> String {
    match location {
        "global" => "https://aiplatform.googleapis.com".to_owned(),
        "us" | "eu" => format!("https://aiplatform.{location}.rep.googleapis.com"),
        _ => format!("https://{location}-aiplatform.googleapis.com"),
    }
}

/// Reads a whole reply.
#[must_use]
pub fn reply(body: &Value) -> Reply {
    let mut reply = Reply::default();
    add(&mut reply, body);
    reply.closed = true;
    reply
}

/// Adds one chunk of a stream; a whole reply is a single chunk.
pub fn add(reply: &mut Reply, chunk: &Value) {
    if let Some(reason) = chunk.pointer("/promptFeedback/blockReason").and_then(Value::as_str) {
        reply.refusal = Some(format!("the prompt was blocked: {reason}"));
    }
    let parts = chunk.pointer("/candidates/0/content/parts").and_then(Value::as_array);
    for part in parts.into_iter().flatten() {
        if part["thought"] != Value::Bool(true) {
            reply.text.push_str(part["text"].as_str().unwrap_or_default());
        }
    }
    if let Some(reason) = chunk.pointer("/candidates/0/finishReason").and_then(Value::as_str) {
        reply.finish = Some(reason.to_owned());
        reply.closed = true;
    }
    if let Some(usage) = chunk.get("usageMetadata") {
        reply.tokens = Some(tokens(usage));
    }
    let id = chunk.get("responseId").and_then(Value::as_str).map(str::to_owned);
    reply.request_id = id.or(reply.request_id.take());
}

/// What a finish reason says about the text.
#[must_use]
pub fn ended(finish: &str) -> Ended {
    match finish {
        "MAX_TOKENS" => Ended::Cut,
        "MALFORMED_RESPONSE" | "MALFORMED_FUNCTION_CALL" => Ended::Unreadable,
        // our account is limited
        "PUP_LIMITED_DISABLED" => Ended::Account,
        _ if REFUSALS.contains(&finish) => Ended::Refused,
        // an unknown word may be next year's `STOP`: the answer decides
        _ => Ended::Whole,
    }
}

/// A counter that is missing is zero, and thoughts are billed as output.
fn tokens(usage: &Value) -> Tokens {
    let count = |value: &Value| value.as_u64().unwrap_or_default();
    let modalities = usage["promptTokensDetails"].as_array();
    let image = modalities.into_iter().flatten().filter(|one| one["modality"] == "IMAGE");
    Tokens {
        input: count(&usage["promptTokenCount"]),
        cached: count(&usage["cachedContentTokenCount"]),
        output: count(&usage["candidatesTokenCount"])
            .saturating_add(count(&usage["thoughtsTokenCount"])),
        image: modalities.map(|_| image.map(|one| count(&one["tokenCount"])).sum()),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    system_instruction: Content<'a>,
    contents: [Content<'a>; 1],
    generation_config: GenerationConfig<'a>,
}

#[derive(Serialize)]
struct Content<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    parts: Vec<Part<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Part<'a> {
    Text(Cow<'a, str>),
    InlineData(Blob<'a>),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Blob<'a> {
    mime_type: &'static str,
    data: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GenerationConfig<'a> {
    max_output_tokens: u32,
    response_mime_type: &'static str,
    response_json_schema: &'a Shape,
    media_resolution: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking_config: Option<ThinkingConfig<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ThinkingConfig<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking_level: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking_budget: Option<u32>,
}
