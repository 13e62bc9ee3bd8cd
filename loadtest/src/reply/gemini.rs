//! Gemini `generateContent`, and the errors of Google APIs.

use serde_json::Value;
use serde_json::json;

use crate::dialect::Host;
use crate::failure::Failure;
use crate::failure::Reason;
use crate::reply::ErrorBody;
use crate::reply::Finish;
use crate::reply::Headers;
use crate::reply::Said;
use crate::reply::stream::Events;
use crate::reply::stream::windows;
use crate::tokens::output_tokens;

pub(super) fn answer(said: &Said<'_>) -> Value {
    let id = said.ids.hex("answer id");
    let usage = usage(said, said.usage.output_tokens);
    if said.finish == Finish::Refused {
        // A blocked prompt has no candidate at all.
        return json!({
            "promptFeedback": {"blockReason": "PROHIBITED_CONTENT"},
            "usageMetadata": usage, "modelVersion": said.model, "responseId": id,
        });
    }
    let finish_reason = if said.finish == Finish::Truncated { "MAX_TOKENS" } else { "STOP" };
    json!({
        "candidates": [{
            "content": {"parts": [{"text": said.text}], "role": "model"},
            "finishReason": finish_reason,
            "index": 0,
        }],
        "usageMetadata": usage, "modelVersion": said.model, "responseId": id,
    })
}

/// Every chunk is a response with the counts so far; the last one has the finish reason.
pub(super) fn events(said: &Said<'_>, texts: &[&str]) -> Events {
    let id = said.ids.hex("answer id");
    if said.finish == Finish::Refused {
        return Events { marker: windows(&answer(said)), ..Events::default() };
    }
    let chunk = |text: &str, finish_reason: Option<&str>, tokens: u64| {
        let content = json!({"parts": [{"text": text}], "role": "model"});
        let mut candidate = json!({"content": content, "index": 0});
        if let (Some(reason), Some(fields)) = (finish_reason, candidate.as_object_mut()) {
            fields.insert("finishReason".to_owned(), reason.into());
        }
        windows(&json!({
            "candidates": [candidate], "usageMetadata": usage(said, tokens),
            "modelVersion": said.model, "responseId": id,
        }))
    };
    let mut tokens = 0;
    let mut pieces = Vec::with_capacity(texts.len());
    for text in texts {
        pieces.push(chunk(text, None, tokens));
        tokens += output_tokens(text);
    }
    let finish_reason = if said.finish == Finish::Truncated { "MAX_TOKENS" } else { "STOP" };
    let marker = chunk("", Some(finish_reason), said.usage.output_tokens);
    Events { pieces, marker, ..Events::default() }
}

/// Counters of zero are left out, as proto3 does.
fn usage(said: &Said<'_>, output_tokens: u64) -> Value {
    let usage = said.usage;
    let output_tokens = if said.finish == Finish::Refused { 0 } else { output_tokens };
    let counts = [
        ("promptTokenCount", usage.input_tokens()),
        ("candidatesTokenCount", output_tokens),
        ("totalTokenCount", usage.input_tokens() + output_tokens),
    ];
    let modalities = [("TEXT", usage.text_tokens), ("IMAGE", usage.image_tokens)];
    let details: Vec<Value> = modalities
        .into_iter()
        .filter(|(_, tokens)| *tokens != 0)
        .map(|(modality, tokens)| json!({"modality": modality, "tokenCount": tokens}))
        .collect();
    let mut fields: serde_json::Map<String, Value> = counts
        .into_iter()
        .filter(|(_, tokens)| *tokens != 0)
        .map(|(name, tokens)| (name.to_owned(), json!(tokens)))
        .collect();
    fields.insert("promptTokensDetails".to_owned(), Value::Array(details));
    if said.host == Host::Vertex {
        fields.insert("trafficType".to_owned(), json!("ON_DEMAND"));
    }
    Value::Object(fields)
}

pub(super) fn error(host: Host, failure: &Failure) -> ErrorBody {
    if failure.status == 413 {
        return ErrorBody::Text {
            content_type: "text/html; charset=UTF-8",
            text: "<!DOCTYPE html><html lang=en><title>Error 413 (Request Entity Too Large)!!1</title>",
        };
    }
    let (status, words) = words(failure);
    let message = failure.message.as_deref().unwrap_or(words);
    let mut error = json!({"code": failure.status, "message": message, "status": status});
    let details = details(host, failure);
    if let (false, Some(fields)) = (details.is_empty(), error.as_object_mut()) {
        fields.insert("details".to_owned(), Value::Array(details));
    }
    ErrorBody::Json(json!({ "error": error }))
}

fn words(failure: &Failure) -> (&'static str, &'static str) {
    match (failure.status, failure.reason) {
        (401, _) => (
            "UNAUTHENTICATED",
            "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication credential.",
        ),
        (402, _) => ("RESOURCE_EXHAUSTED", "Your prepayment credits are depleted."),
        (403, _) => ("PERMISSION_DENIED", "Permission denied on resource (or it may not exist)."),
        (404, _) => ("NOT_FOUND", "models/simulated is not found for API version v1."),
        (429, _) => ("RESOURCE_EXHAUSTED", "Resource exhausted, please try again later."),
        (503, _) => ("UNAVAILABLE", "The model is overloaded. Please try again later."),
        (504, _) => ("DEADLINE_EXCEEDED", "Deadline expired before operation could complete."),
        (529, _) => ("UNAVAILABLE", "overloaded"),
        (500.., _) => ("INTERNAL", "An internal error has occurred. Please retry."),
        (_, Reason::WrongKey) => {
            ("INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.")
        }
        (_, Reason::BadImage) => ("INVALID_ARGUMENT", "Unable to process input image."),
        (
            _,
            Reason::Plain
            | Reason::UnsupportedParameter
            | Reason::UnsupportedValue
            | Reason::BadSchema,
        ) => ("INVALID_ARGUMENT", "Request contains an invalid argument."),
    }
}

/// The typed details that tell causes apart; Vertex AI sends none with a 429.
fn details(host: Host, failure: &Failure) -> Vec<Value> {
    let error_info = |reason: &str, domain: &str| json!({"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": domain});
    match (failure.status, failure.reason, host) {
        (400, Reason::WrongKey, _) => vec![error_info("API_KEY_INVALID", "googleapis.com")],
        (401, _, Host::Vertex) => vec![error_info("ACCESS_TOKEN_EXPIRED", "googleapis.com")],
        (429, _, Host::Direct) => {
            let quota = json!({
                "@type": "type.googleapis.com/google.rpc.QuotaFailure",
                "violations": [{"quotaId": "GenerateRequestsPerMinutePerProjectPerModel"}],
            });
            let retry = failure.retry_after_s.map(|delay_s| {
                json!({
                    "@type": "type.googleapis.com/google.rpc.RetryInfo",
                    "retryDelay": format!("{delay_s}s"),
                })
            });
            [quota].into_iter().chain(retry).collect()
        }
        (_, _, Host::Direct | Host::Azure | Host::Vertex | Host::VertexExpress) => Vec::new(),
    }
}

pub(super) fn headers() -> Headers {
    vec![
        ("server", "scaffolding on HTTPServer2".to_owned()),
        ("vary", "Origin, X-Origin, Referer".to_owned()),
    ]
}
