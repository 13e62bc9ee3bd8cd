//! The wire of a direct client: one image and three questions in a provider's own words.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use serde_json::Value;
use serde_json::json;

use crate::dialect::Dialect;
use crate::rig::providers::Provider;
use crate::web::Reply;

/// What is asked of every image.
pub(crate) const CRITERIA: [&str; 3] = ["cutout", "edge_artifacts", "contact_shadow"];

/// The key that simulated providers take.
const KEY: &str = "simulated";

/// The words of the question.
const PROMPT: &str = "Score the product picture on each criterion from 0 to 1.";

/// An image for a provider.
pub(crate) struct Asked<'a> {
    pub(crate) provider: &'a Provider,
    pub(crate) image: &'a [u8],
}

/// The answer form: a number for each criterion.
fn schema() -> Value {
    let properties: serde_json::Map<String, Value> =
        CRITERIA.iter().map(|name| ((*name).to_owned(), json!({ "type": "number" }))).collect();
    json!({
        "type": "object",
        "properties": properties,
        "required": CRITERIA,
        "additionalProperties": false,
    })
}

/// The body of a chat completion, as any OpenAI-compatible gateway takes it.
pub(crate) fn chat(model: &str, image: &[u8]) -> Bytes {
    let url = format!("data:image/jpeg;base64,{}", STANDARD.encode(image));
    let content = json!([
        { "type": "text", "text": PROMPT },
        { "type": "image_url", "image_url": { "url": url } },
    ]);
    let body = json!({
        "model": model,
        "messages": [{ "role": "user", "content": content }],
        "max_completion_tokens": 300,
        "response_format": {
            "type": "json_schema",
            "json_schema": { "name": "scores", "strict": true, "schema": schema() },
        },
    });
    Bytes::from(body.to_string())
}

/// The scores in a chat completion.
pub(crate) fn chat_scores(body: &[u8]) -> Option<BTreeMap<String, f64>> {
    let body: Value = serde_json::from_slice(body).ok()?;
    scores(body.pointer("/choices/0/message/content")?.as_str()?)
}

/// Three scores of 0..1, or nothing.
fn scores(text: &str) -> Option<BTreeMap<String, f64>> {
    let scores: BTreeMap<String, f64> = serde_json::from_str(text).ok()?;
    let is_legal = |name: &str| scores.get(name).is_some_and(|score| (0.0..=1.0).contains(score));
    CRITERIA.iter().all(|name| is_legal(name)).then_some(scores)
}

impl Asked<'_> {
    /// The request in the provider's dialect.
    pub(crate) fn request(&self) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
        let base = &self.provider.base_url;
        let model = self.provider.model;
        let (url, key, body) = match self.provider.dialect {
            Dialect::OpenAi | Dialect::Mistral => {
                let bearer = ("authorization", format!("Bearer {KEY}"));
                (format!("{base}/chat/completions"), bearer, chat(model, self.image))
            }
            Dialect::Anthropic => {
                let key = ("x-api-key", KEY.to_owned());
                (format!("{base}/v1/messages"), key, self.messages())
            }
            Dialect::Gemini => {
                let url = format!("{base}/v1beta/models/{model}:generateContent");
                (url, ("x-goog-api-key", KEY.to_owned()), self.contents())
            }
        };
        let request = Request::post(url).header(key.0, key.1);
        let request = request.header("anthropic-version", "2023-06-01");
        request.header("content-type", "application/json").body(Full::new(body))
    }

    fn messages(&self) -> Bytes {
        let data = STANDARD.encode(self.image);
        let image = json!({ "type": "base64", "media_type": "image/jpeg", "data": data });
        let content = json!([
            { "type": "image", "source": image },
            { "type": "text", "text": PROMPT },
        ]);
        let body = json!({
            "model": self.provider.model,
            "max_tokens": 300,
            "messages": [{ "role": "user", "content": content }],
            "output_config": { "format": { "type": "json_schema", "schema": schema() } },
        });
        Bytes::from(body.to_string())
    }

    fn contents(&self) -> Bytes {
        let data = STANDARD.encode(self.image);
        let parts = json!([
            { "inlineData": { "mimeType": "image/jpeg", "data": data } },
            { "text": PROMPT },
        ]);
        let body = json!({
            "contents": [{ "role": "user", "parts": parts }],
            "generationConfig": {
                "maxOutputTokens": 300,
                "responseMimeType": "application/json",
                "responseJsonSchema": schema(),
            },
        });
        Bytes::from(body.to_string())
    }

    /// The scores in the provider's answer.
    pub(crate) fn scores(&self, reply: &Reply) -> Option<BTreeMap<String, f64>> {
        if reply.status != 200 {
            return None;
        }
        let place = match self.provider.dialect {
            Dialect::OpenAi | Dialect::Mistral => return chat_scores(&reply.body),
            Dialect::Anthropic => "/content/0/text",
            Dialect::Gemini => "/candidates/0/content/parts/0/text",
        };
        let body: Value = serde_json::from_slice(&reply.body).ok()?;
        scores(body.pointer(place)?.as_str()?)
    }
}
