//! Anthropic messages.

use serde_json::Value;
use serde_json::json;

use crate::chance::Chance;
use crate::failure::Failure;
use crate::failure::Reason;
use crate::reply::ErrorBody;
use crate::reply::Finish;
use crate::reply::Headers;
use crate::reply::Said;
use crate::reply::stream::Events;
use crate::reply::stream::named;

pub(super) fn answer(said: &Said<'_>) -> Value {
    let is_silent = said.text.is_empty() || said.finish == Finish::Refused;
    let content = if is_silent { json!([]) } else { json!([{"type": "text", "text": said.text}]) };
    let mut body = json!({
        "id": format!("msg_{}", said.ids.hex("answer id")),
        "type": "message",
        "role": "assistant",
        "model": said.model,
        "content": content,
        "stop_reason": stop_reason(said),
        "stop_sequence": null,
        "usage": {
            "input_tokens": said.usage.input_tokens(),
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": said.usage.output_tokens,
            "service_tier": "standard",
            "inference_geo": "global",
        },
    });
    if let (Finish::Refused, Some(fields)) = (said.finish, body.as_object_mut()) {
        fields.insert("stop_details".to_owned(), refusal_details());
    }
    body
}

const fn stop_reason(said: &Said<'_>) -> &'static str {
    match said.finish {
        Finish::Complete => "end_turn",
        Finish::Truncated => "max_tokens",
        Finish::Refused => "refusal",
    }
}

fn refusal_details() -> Value {
    let explanation = "This request was declined.";
    json!({"type": "refusal", "category": "general_harms", "explanation": explanation})
}

/// The input tokens come first, the output tokens, cumulative, last.
pub(super) fn events(said: &Said<'_>, texts: &[&str]) -> Events {
    let usage = |output_tokens: u64| {
        json!({
            "input_tokens": said.usage.input_tokens(), "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0, "output_tokens": output_tokens,
        })
    };
    let message = json!({
        "id": format!("msg_{}", said.ids.hex("answer id")), "type": "message",
        "role": "assistant", "model": said.model, "content": [], "stop_reason": null,
        "stop_sequence": null, "usage": usage(1),
    });
    let mut opening = named("message_start", &json!({"type": "message_start", "message": message}));
    let block = json!({"type": "text", "text": ""});
    let start = json!({"type": "content_block_start", "index": 0, "content_block": block});
    opening.push_str(&named("content_block_start", &start));
    opening.push_str(&named("ping", &json!({"type": "ping"})));
    let piece = |text: &&str| {
        let delta = json!({"type": "text_delta", "text": text});
        let event = json!({"type": "content_block_delta", "index": 0, "delta": delta});
        named("content_block_delta", &event)
    };
    let mut delta = json!({"stop_reason": stop_reason(said), "stop_sequence": null});
    if let (Finish::Refused, Some(fields)) = (said.finish, delta.as_object_mut()) {
        fields.insert("stop_details".to_owned(), refusal_details());
    }
    let end = json!({"type": "content_block_stop", "index": 0});
    let last = json!({
        "type": "message_delta", "delta": delta, "usage": usage(said.usage.output_tokens),
    });
    Events {
        opening,
        pieces: texts.iter().map(piece).collect(),
        scored: 0,
        closing: named("content_block_stop", &end) + &named("message_delta", &last),
        marker: named("message_stop", &json!({"type": "message_stop"})),
    }
}

pub(super) fn error(failure: &Failure, ids: &Chance, headers: &mut Headers) -> ErrorBody {
    if let Some(delay_s) = failure.retry_after_s {
        headers.push(("retry-after", delay_s.to_string()));
    }
    if failure.status == 529 {
        headers.push(("x-should-retry", "true".to_owned()));
    }
    let (kind, words) = words(failure);
    let message = failure.message.as_deref().unwrap_or(words);
    ErrorBody::Json(json!({
        "type": "error",
        "error": {"type": kind, "message": message},
        "request_id": request_id(ids),
    }))
}

fn words(failure: &Failure) -> (&'static str, &'static str) {
    match (failure.status, failure.reason) {
        (401, _) => ("authentication_error", "invalid x-api-key"),
        (402, _) => ("billing_error", "There is an issue with your billing information."),
        (403, _) => ("permission_error", "Your API key does not have permission."),
        (404, _) => ("not_found_error", "model: not found"),
        (413, _) => ("request_too_large", "Request exceeds the maximum size"),
        (429, _) => (
            "rate_limit_error",
            "This request would exceed your organization's rate limit of input tokens per minute.",
        ),
        (503, _) => ("api_error", "Service unavailable"),
        (504, _) => ("timeout_error", "The request timed out while processing."),
        (529, _) => ("overloaded_error", "Overloaded"),
        (500.., _) => ("api_error", "Internal server error"),
        (_, Reason::BadImage) => ("invalid_request_error", "Could not process image"),
        (
            _,
            Reason::Plain
            | Reason::WrongKey
            | Reason::UnsupportedParameter
            | Reason::UnsupportedValue
            | Reason::BadSchema,
        ) => ("invalid_request_error", "Invalid request"),
    }
}

pub(super) fn headers(ids: &Chance) -> Headers {
    vec![
        ("request-id", request_id(ids)),
        ("anthropic-organization-id", "org-simulated".to_owned()),
        ("anthropic-ratelimit-requests-limit", "4000".to_owned()),
        ("anthropic-ratelimit-requests-remaining", "3999".to_owned()),
    ]
}

fn request_id(ids: &Chance) -> String {
    format!("req_{}", ids.hex("request id"))
}
