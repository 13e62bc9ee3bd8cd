//! Chat completions: OpenAI's request and Mistral's, which looks alike and refuses more.

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::dialect::Target;
use crate::failure::Failure;
use crate::failure::Reason;
use crate::picture::Detail;
use crate::picture::Picture;
use crate::request::Question;
use crate::request::StreamForm;
use crate::request::data_uri_payload;
use crate::request::parse;
use crate::request::picture;
use crate::schema::Schema;

#[derive(Deserialize)]
struct Body {
    model: Option<String>,
    messages: Vec<Message>,
    response_format: Option<ResponseFormat>,
    #[serde(default)]
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    temperature: Option<f64>,
    reasoning_effort: Option<String>,
    max_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
}

#[derive(Clone, Copy, Default, Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
    include_obfuscation: Option<bool>,
}

#[derive(Deserialize)]
struct Message {
    content: Option<Content>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Part {
    Text {
        text: String,
    },
    ImageUrl {
        image_url: ImageUrl,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum ImageUrl {
    Bare(String),
    Object { url: String, detail: Option<String> },
}

#[derive(Deserialize)]
struct ResponseFormat {
    json_schema: Option<JsonSchema>,
}

#[derive(Deserialize)]
struct JsonSchema {
    #[serde(default)]
    strict: Option<bool>,
    schema: Schema,
}

/// OpenAI's form.
///
/// # Errors
///
/// A 400 for what OpenAI does not take.
pub(super) fn read_openai(target: &Target, body: &[u8]) -> Result<Question, Failure> {
    let body: Body = parse(body)?;
    let stream = openai_stream(&body)?;
    // A classic Azure deployment is named by the path; the model in the body is ignored.
    let model = target.model.clone().or_else(|| body.model.clone()).ok_or_else(no_model)?;
    check_openai_parameters(&model, &body)?;
    let format = body.response_format.and_then(|format| format.json_schema);
    if let Some(format) = format.as_ref().filter(|format| format.strict == Some(true)) {
        check_strict(&format.schema)?;
    }
    let (prompt, pictures) = read_messages(body.messages, |image| match image {
        ImageUrl::Bare(_) => Err(Failure::bad_request(
            Reason::Plain,
            "Invalid type for 'messages[].content[].image_url': expected an object, but got a string instead.",
        )),
        ImageUrl::Object { url, detail } => read_image(&url, openai_detail(detail.as_deref())?),
    })?;
    let max_output_tokens = body.max_completion_tokens.or(body.max_tokens);
    let schema = format.map(|format| format.schema);
    Ok(Question { model, prompt, pictures, schema, max_output_tokens, stream })
}

/// Mistral's form.
///
/// # Errors
///
/// A 422 for a field that Mistral does not know, a 400 for the rest.
pub(super) fn read_mistral(target: &Target, body: &[u8]) -> Result<Question, Failure> {
    parse::<MistralFields>(body).map_err(|failure| failure.with_status(422))?;
    let body: Body = parse(body).map_err(|failure| failure.with_status(422))?;
    let stream = body.stream.unwrap_or_default().then_some(StreamForm::PLAIN);
    let model = body.model.or_else(|| target.model.clone()).ok_or_else(no_model)?;
    let (prompt, pictures) = read_messages(body.messages, |image| match image {
        ImageUrl::Bare(url) => read_image(&url, Detail::Auto),
        ImageUrl::Object { url, detail } => read_image(&url, mistral_detail(detail.as_deref())?),
    })?;
    if MISTRAL_MAX_IMAGES < pictures.len() {
        let message = format!("{} images are over the limit of 8", pictures.len());
        return Err(Failure::bad_request(Reason::BadImage, message));
    }
    let schema = body.response_format.and_then(|format| format.json_schema).map(|f| f.schema);
    let max_output_tokens = body.max_tokens;
    Ok(Question { model, prompt, pictures, schema, max_output_tokens, stream })
}

const MISTRAL_MAX_IMAGES: usize = 8;

/// Everything that Mistral's request may hold: unlike OpenAI, it refuses the rest.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the names are the point: an unknown one is an error")]
struct MistralFields {
    model: Option<IgnoredAny>,
    messages: IgnoredAny,
    temperature: Option<IgnoredAny>,
    top_p: Option<IgnoredAny>,
    max_tokens: Option<IgnoredAny>,
    stream: Option<IgnoredAny>,
    stop: Option<IgnoredAny>,
    random_seed: Option<IgnoredAny>,
    metadata: Option<IgnoredAny>,
    response_format: Option<IgnoredAny>,
    tools: Option<IgnoredAny>,
    tool_choice: Option<IgnoredAny>,
    presence_penalty: Option<IgnoredAny>,
    frequency_penalty: Option<IgnoredAny>,
    n: Option<IgnoredAny>,
    prediction: Option<IgnoredAny>,
    parallel_tool_calls: Option<IgnoredAny>,
    prompt_mode: Option<IgnoredAny>,
    reasoning_effort: Option<IgnoredAny>,
    guardrails: Option<IgnoredAny>,
    prompt_cache_key: Option<IgnoredAny>,
    safe_prompt: Option<IgnoredAny>,
    logprobs: Option<IgnoredAny>,
    top_logprobs: Option<IgnoredAny>,
}

fn openai_stream(body: &Body) -> Result<Option<StreamForm>, Failure> {
    let streams = body.stream.unwrap_or_default();
    if !streams && body.stream_options.is_some() {
        let message = "The 'stream_options' parameter is only allowed when 'stream' is enabled.";
        return Err(Failure::bad_request(Reason::Plain, message));
    }
    let options = body.stream_options.unwrap_or_default();
    let is_padded = options.include_obfuscation.unwrap_or(true);
    Ok(streams.then_some(StreamForm { has_usage: options.include_usage, is_padded }))
}

fn no_model() -> Failure {
    Failure::bad_request(Reason::Plain, "you must provide a model parameter")
}

/// What newer models took away: `max_tokens`, and sampling unless reasoning is switched off.
fn check_openai_parameters(model: &str, body: &Body) -> Result<(), Failure> {
    let is = |families: &[&str]| families.iter().any(|family| model.starts_with(family));
    if body.max_tokens.is_some() && is(&["gpt-5", "gpt-6", "o1", "o3", "o4"]) {
        return Err(Failure::bad_request(
            Reason::UnsupportedParameter,
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
        ));
    }
    let reasons = is(&["gpt-5.5", "gpt-5.6", "gpt-6"])
        && (body.reasoning_effort.as_deref() != Some("none") || is(&["gpt-6-astra"]));
    let samples = body.temperature.is_some_and(|temperature| (temperature - 1.0).abs() > 1e-9);
    if reasons && samples {
        return Err(Failure::bad_request(
            Reason::UnsupportedValue,
            "Unsupported value: 'temperature' does not support this value with this model. Only the default (1) value is supported.",
        ));
    }
    Ok(())
}

/// Strict mode wants every property required and every object closed.
fn check_strict(schema: &Schema) -> Result<(), Failure> {
    let problem = if let Some(name) = schema.open_object() {
        format!("'additionalProperties' is required to be supplied and to be false in '{name}'")
    } else if let Some(name) = schema.optional_property() {
        format!("'required' is required to be supplied and to include '{name}'")
    } else {
        return Ok(());
    };
    let message = format!("Invalid schema for response_format: {problem}.");
    Err(Failure::bad_request(Reason::BadSchema, message))
}

fn openai_detail(detail: Option<&str>) -> Result<Detail, Failure> {
    match detail {
        None | Some("auto") => Ok(Detail::Auto),
        Some("low") => Ok(Detail::Low),
        Some("high") => Ok(Detail::High),
        Some("original") => Ok(Detail::Original),
        Some(other) => {
            let message =
                format!("Invalid value: '{other}'. Supported: low, high, auto, original.");
            Err(Failure::bad_request(Reason::UnsupportedValue, message))
        }
    }
}

fn mistral_detail(detail: Option<&str>) -> Result<Detail, Failure> {
    openai_detail(detail).and_then(|known| match known {
        Detail::Original => {
            let message = "Input should be 'low', 'auto' or 'high'";
            Err(Failure::bad_request(Reason::UnsupportedValue, message).with_status(422))
        }
        Detail::Auto | Detail::Low | Detail::Medium | Detail::High => Ok(known),
    })
}

fn read_image(url: &str, detail: Detail) -> Result<Picture, Failure> {
    match data_uri_payload(url) {
        Some(payload) => picture(payload, detail).map(|(_, picture)| picture),
        None if url.starts_with("https://") => Ok(Picture::by_reference(url, detail)),
        None => Err(Failure::bad_request(
            Reason::BadImage,
            "expected a base64 data: URL or an https URL of an image",
        )),
    }
}

fn read_messages(
    messages: Vec<Message>,
    read_image: impl Fn(ImageUrl) -> Result<Picture, Failure>,
) -> Result<(String, Vec<Picture>), Failure> {
    if messages.is_empty() {
        return Err(Failure::bad_request(Reason::Plain, "'messages' must not be empty"));
    }
    let mut texts = Vec::new();
    let mut pictures = Vec::new();
    for message in messages {
        match message.content {
            None => {}
            Some(Content::Text(text)) => texts.push(text),
            Some(Content::Parts(parts)) => {
                for part in parts {
                    match part {
                        Part::Text { text } => texts.push(text),
                        Part::ImageUrl { image_url } => pictures.push(read_image(image_url)?),
                        Part::Other => {}
                    }
                }
            }
        }
    }
    Ok((texts.join("\n"), pictures))
}
