//! Gemini `generateContent`: proto3 JSON, which takes both spellings of a name and both base64 alphabets.

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::dialect::Target;
use crate::failure::Failure;
use crate::failure::Reason;
use crate::picture::Detail;
use crate::picture::Picture;
use crate::request::Question;
use crate::request::StreamForm;
use crate::request::parse;
use crate::request::picture;
use crate::schema::Schema;
use crate::wire::Request;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    contents: Vec<Content>,
    #[serde(alias = "system_instruction")]
    system_instruction: Option<Content>,
    #[serde(alias = "generation_config", default)]
    generation_config: GenerationConfig,
}

#[derive(Deserialize)]
struct Content {
    #[serde(default)]
    parts: Vec<Part>,
}

/// A part; a name that is not here is an error in proto3 JSON.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "names that are taken and not looked at")]
struct Part {
    text: Option<String>,
    #[serde(alias = "inline_data")]
    inline_data: Option<InlineData>,
    #[serde(alias = "file_data")]
    file_data: Option<FileData>,
    #[serde(alias = "media_resolution")]
    media_resolution: Option<MediaResolution>,
    thought: Option<IgnoredAny>,
    #[serde(alias = "thought_signature")]
    thought_signature: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct InlineData {
    data: String,
}

#[derive(Deserialize)]
struct FileData {
    #[serde(rename = "fileUri", alias = "file_uri")]
    file_uri: String,
}

#[derive(Deserialize)]
struct MediaResolution {
    level: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct GenerationConfig {
    #[serde(alias = "max_output_tokens")]
    max_output_tokens: Option<u64>,
    #[serde(alias = "response_schema")]
    response_schema: Option<Schema>,
    #[serde(alias = "response_json_schema")]
    response_json_schema: Option<Schema>,
    #[serde(alias = "response_mime_type")]
    response_mime_type: Option<String>,
    #[serde(alias = "media_resolution")]
    media_resolution: Option<String>,
}

/// The question; whether it streams is said by the path, and the form of a stream by the query.
///
/// # Errors
///
/// A 400 for what Gemini does not take.
pub(super) fn read(target: &Target, request: &Request) -> Result<Question, Failure> {
    let body: Body = parse(&request.body)?;
    let config = body.generation_config;
    let has_schema = config.response_schema.is_some() || config.response_json_schema.is_some();
    let problem = if config.response_schema.is_some() && config.response_json_schema.is_some() {
        Some("response_schema and response_json_schema cannot both be set.")
    } else if has_schema && config.response_mime_type.as_deref() != Some("application/json") {
        Some("a response schema needs response_mime_type \"application/json\".")
    } else if body.contents.is_empty() {
        Some("GenerateContentRequest.contents: contents is not specified")
    } else if target.stream && !request.query.split('&').any(|pair| pair == "alt=sse") {
        Some("simulated: a stream is served as server-sent events alone, ask with alt=sse")
    } else {
        None
    };
    if let Some(problem) = problem {
        return Err(Failure::bad_request(Reason::Plain, problem));
    }
    let detail = resolution(config.media_resolution.as_deref());
    let mut texts = Vec::new();
    let mut pictures = Vec::new();
    for part in body.system_instruction.into_iter().chain(body.contents).flat_map(|c| c.parts) {
        let level = part.media_resolution.and_then(|resolution| resolution.level);
        let detail = level.as_deref().map_or(detail, |level| resolution(Some(level)));
        texts.extend(part.text);
        if let Some(image) = part.inline_data {
            let standard = image.data.replace('-', "+").replace('_', "/");
            pictures.push(picture(&standard, detail)?.1);
        }
        if let Some(file) = part.file_data {
            pictures.push(Picture::by_reference(&file.file_uri, detail));
        }
    }
    let question = Question {
        model: target.model.clone().unwrap_or_default(),
        prompt: texts.join("\n"),
        pictures,
        schema: config.response_json_schema.or(config.response_schema),
        max_output_tokens: config.max_output_tokens,
        stream: target.stream.then_some(StreamForm::PLAIN),
    };
    Ok(question)
}

fn resolution(name: Option<&str>) -> Detail {
    match name {
        Some("MEDIA_RESOLUTION_LOW") => Detail::Low,
        Some("MEDIA_RESOLUTION_MEDIUM") => Detail::Medium,
        Some("MEDIA_RESOLUTION_HIGH") => Detail::High,
        Some("MEDIA_RESOLUTION_ULTRA_HIGH") => Detail::Original,
        Some(_) | None => Detail::Auto,
    }
}
