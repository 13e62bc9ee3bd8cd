//! Mistral's chat completions: near enough to OpenAI's to be mistaken for them, and refusing every
//! field that is not theirs.

use std::borrow::Cow;

use serde::Serialize;

use crate::provider::SEED;
use crate::provider::dialect::Ended;
use crate::provider::model::Model;
use crate::provider::openai::{AnswerFormat, Message};
use crate::provider::wire::{Ask, DataUrl, WireRequest};

/// Writes the request.
///
/// # Errors
/// When the body cannot be written, which no question causes.
pub fn encode(model: &Model, ask: &Ask<'_>) -> Result<WireRequest, serde_json::Error> {
    let mut content = vec![Part::Text { text: Cow::Borrowed(ask.user) }];
    for view in ask.views {
        content.extend(ask.label(view).map(|text| Part::Text { text }));
        content.push(Part::ImageUrl { image_url: DataUrl(view) });
    }
    let body = ask.write(&Body {
        model: &model.name,
        messages: (
            Message { role: "system", content: ask.system },
            Message { role: "user", content },
        ),
        max_tokens: ask.max_output_tokens.saturating_add(model.traits.thinking_tokens),
        temperature: model.traits.temperature.then_some(0),
        random_seed: model.traits.seed.then_some(SEED),
        reasoning_effort: model.traits.effort.as_deref(),
        response_format: AnswerFormat::new(ask.shape),
        stream: model.streams,
    })?;
    Ok(WireRequest::post("/v1/chat/completions".to_owned(), body))
}

/// What a finish reason says about the text.
#[must_use]
pub fn ended(finish: &str) -> Ended {
    match finish {
        "length" | "model_length" => Ended::Cut,
        "error" => Ended::Broken,
        // an unknown word may be next year's `stop`: the answer decides
        _ => Ended::Whole,
    }
}

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    messages: (Message<&'a str>, Message<Vec<Part<'a>>>),
    max_tokens: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    random_seed: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_effort: Option<&'a str>,
    response_format: AnswerFormat<'a>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stream: bool,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Part<'a> {
    Text { text: Cow<'a, str> },
    ImageUrl { image_url: DataUrl<'a> },
}
