//! Anthropic messages.

use serde::Deserialize;

use crate::dialect::Host;
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
struct Body {
    model: Option<String>,
    max_tokens: Option<u64>,
    system: Option<Content>,
    messages: Vec<Message>,
    output_config: Option<OutputConfig>,
    #[serde(default)]
    stream: Option<bool>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    top_k: Option<f64>,
    anthropic_version: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    content: Content,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Blocks(Vec<Block>),
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block {
    Text {
        text: String,
    },
    Image {
        source: Source,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Source {
    Base64 { media_type: String, data: String },
    Url { url: String },
    File { file_id: String },
}

#[derive(Deserialize)]
struct OutputConfig {
    format: Option<OutputFormat>,
}

#[derive(Deserialize)]
struct OutputFormat {
    schema: Schema,
}

/// The question.
///
/// # Errors
///
/// A 400 for what Anthropic does not take.
pub(super) fn read(target: &Target, request: &Request) -> Result<Question, Failure> {
    let body: Body = parse(&request.body)?;
    check_parameters(target, request, &body)?;
    let streams = target.stream || body.stream.unwrap_or_default();
    let stream = streams.then_some(StreamForm::PLAIN);
    let refused = |message: &str| Failure::bad_request(Reason::Plain, message);
    let model = target.model.clone().or(body.model);
    let model = model.ok_or_else(|| refused("model: Field required"))?;
    let max_output_tokens = body.max_tokens;
    if max_output_tokens.is_none() {
        return Err(refused("max_tokens: Field required"));
    }
    if body.messages.is_empty() {
        return Err(refused("messages: at least one message is required"));
    }
    let mut texts = Vec::new();
    let mut pictures = Vec::new();
    let contents = body.messages.into_iter().map(|message| message.content);
    for content in body.system.into_iter().chain(contents) {
        match content {
            Content::Text(text) => texts.push(text),
            Content::Blocks(blocks) => read_blocks(blocks, &mut texts, &mut pictures)?,
        }
    }
    let schema = body.output_config.and_then(|config| config.format).map(|format| format.schema);
    schema.as_ref().map_or(Ok(()), check_schema)?;
    let prompt = texts.join("\n");
    Ok(Question { model, prompt, pictures, schema, max_output_tokens, stream })
}

/// The first API version that removed sampling for every model.
const VERSION_WITHOUT_SAMPLING: &str = "2026-10-21";

fn check_parameters(target: &Target, request: &Request, body: &Body) -> Result<(), Failure> {
    let version = match target.host {
        Host::Direct => request.header("anthropic-version"),
        // On Vertex AI the version moves into the body.
        Host::Azure | Host::Vertex | Host::VertexExpress => body.anthropic_version.as_deref(),
    };
    let Some(version) = version else {
        let message = "anthropic-version: header is required";
        return Err(Failure::bad_request(Reason::Plain, message));
    };
    let sampling =
        [("temperature", body.temperature), ("top_p", body.top_p), ("top_k", body.top_k)];
    let sent = sampling.into_iter().find(|(_, value)| value.is_some());
    if let Some((name, _)) = sent.filter(|_| version == VERSION_WITHOUT_SAMPLING) {
        let message = format!("{name}: Extra inputs are not permitted");
        return Err(Failure::bad_request(Reason::UnsupportedParameter, message));
    }
    Ok(())
}

fn check_schema(schema: &Schema) -> Result<(), Failure> {
    let problem = if let Some(name) = schema.open_object() {
        format!(
            "For 'object' type, 'additionalProperties' must be explicitly set to false ({name})"
        )
    } else if let Some(name) = schema.bounded_number() {
        format!("For 'number' type, properties maximum, minimum are not supported ({name})")
    } else {
        return Ok(());
    };
    let message = format!("output_config.format.schema: {problem}");
    Err(Failure::bad_request(Reason::BadSchema, message))
}

/// The limit is on the base64 text, not on the file.
const MAX_BASE64_BYTES: usize = 10_485_760;

fn read_blocks(
    blocks: Vec<Block>,
    texts: &mut Vec<String>,
    pictures: &mut Vec<Picture>,
) -> Result<(), Failure> {
    for block in blocks {
        match block {
            Block::Text { text } => texts.push(text),
            Block::Image { source } => pictures.push(read_source(source)?),
            Block::Other => {}
        }
    }
    Ok(())
}

fn read_source(source: Source) -> Result<Picture, Failure> {
    let (media_type, base64_text) = match source {
        Source::Base64 { media_type, data } => (media_type, data),
        Source::Url { url } => return Ok(Picture::by_reference(&url, Detail::Auto)),
        Source::File { file_id } => return Ok(Picture::by_reference(&file_id, Detail::Auto)),
    };
    let refused = |problem: String| {
        let message = format!("messages.0.content.0.image.source.base64: {problem}");
        Err(Failure::bad_request(Reason::BadImage, message))
    };
    if MAX_BASE64_BYTES < base64_text.len() {
        let size_bytes = base64_text.len();
        return refused(format!(
            "image exceeds 10 MB maximum: {size_bytes} bytes > {MAX_BASE64_BYTES} bytes"
        ));
    }
    let (format, picture) = picture(&base64_text, Detail::Auto)?;
    if format.media_type() != media_type {
        let found = format.media_type();
        return refused(format!(
            "The image was specified using the {media_type} media type, but the image appears to be a {found} image"
        ));
    }
    Ok(picture)
}
