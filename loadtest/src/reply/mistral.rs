//! Mistral chat completions.

use serde_json::Value;
use serde_json::json;

use crate::chance::Chance;
use crate::failure::Failure;
use crate::failure::Reason;
use crate::reply::CREATED_S;
use crate::reply::ErrorBody;
use crate::reply::Finish;
use crate::reply::Headers;
use crate::reply::REFUSAL;
use crate::reply::Said;
use crate::reply::UPSTREAM_TIMEOUT;
use crate::reply::stream::DONE;
use crate::reply::stream::Events;
use crate::reply::stream::unnamed;

pub(super) fn answer(said: &Said<'_>) -> Value {
    // There is no refusal field: a refusal is prose.
    let (content, finish_reason) = match said.finish {
        Finish::Complete => (said.text, "stop"),
        Finish::Truncated => (said.text, "length"),
        Finish::Refused => (REFUSAL, "stop"),
    };
    json!({
        "id": format!("cmpl-{}", said.ids.hex("answer id")),
        "object": "chat.completion",
        "created": CREATED_S,
        "model": said.model,
        "choices": [{
            "index": 0,
            "message": {
                "role": "assistant", "content": content, "tool_calls": null, "prefix": false,
            },
            "finish_reason": finish_reason,
        }],
        "usage": usage(said),
    })
}

fn usage(said: &Said<'_>) -> Value {
    let usage = said.usage;
    json!({
        "prompt_tokens": usage.input_tokens(),
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens() + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": 0},
        "num_cached_tokens": 0,
    })
}

/// The chunk with the finish reason has the token counts too.
pub(super) fn events(said: &Said<'_>, texts: &[&str]) -> Events {
    let id = format!("cmpl-{}", said.ids.hex("answer id"));
    let chunk = |delta: Value, finish_reason: Option<&str>| {
        json!({
            "id": id, "object": "chat.completion.chunk", "created": CREATED_S,
            "model": said.model,
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}],
        })
    };
    let finish_reason = if said.finish == Finish::Truncated { "length" } else { "stop" };
    let mut last = chunk(json!({"content": ""}), Some(finish_reason));
    if let Some(fields) = last.as_object_mut() {
        fields.insert("usage".to_owned(), usage(said));
    }
    let piece = |text: &&str| unnamed(&chunk(json!({ "content": text }), None));
    Events {
        opening: unnamed(&chunk(json!({"role": "assistant", "content": ""}), None)),
        pieces: texts.iter().map(piece).collect(),
        scored: 0,
        closing: unnamed(&last),
        marker: DONE.to_owned(),
    }
}

pub(super) fn error(failure: &Failure, headers: &mut Headers) -> ErrorBody {
    if let Some(delay_s) = failure.retry_after_s {
        headers.push(("retry-after", delay_s.to_string()));
    }
    let (kind, code, words) = match (failure.status, failure.reason) {
        // The gateway in front answers these, in its own shape.
        (401, _) => return ErrorBody::Json(json!({"detail": "Unauthorized"})),
        (404 | 405, _) => return ErrorBody::Json(json!({"detail": "Not Found"})),
        (413, _) => {
            let text = "Request Entity Too Large";
            return ErrorBody::Text { content_type: "text/plain", text };
        }
        (504, _) => return UPSTREAM_TIMEOUT,
        (422, _) => return unprocessable(failure),
        (403, _) => ("permission_error", None, "You do not have access to this model."),
        (429, _) => ("rate_limited", Some("1300"), "Rate limit exceeded"),
        (503, _) => ("unreachable_backend", Some("1100"), "Service unavailable."),
        (500, _) => ("internal_server_error", Some("1000"), "Internal server error"),
        (500.., _) => ("server_error", None, "overloaded"),
        (_, Reason::BadImage) => {
            ("invalid_request_file", Some("3310"), "Image could not be loaded from base64")
        }
        (
            _,
            Reason::Plain
            | Reason::WrongKey
            | Reason::UnsupportedParameter
            | Reason::UnsupportedValue
            | Reason::BadSchema,
        ) => ("invalid_request_error", None, "Invalid request"),
    };
    let message = failure.message.as_deref().unwrap_or(words);
    ErrorBody::Json(json!({
        "object": "error", "message": message, "type": kind, "param": null, "code": code,
    }))
}

/// With 422 the message is an object.
fn unprocessable(failure: &Failure) -> ErrorBody {
    let problem = failure.message.as_deref().unwrap_or("Extra inputs are not permitted");
    ErrorBody::Json(json!({
        "object": "error",
        "message": {"detail": [{"type": "value_error", "loc": ["body"], "msg": problem}]},
        "type": "invalid_request_error", "param": null, "code": null,
    }))
}

pub(super) fn headers(ids: &Chance) -> Headers {
    vec![
        ("mistral-correlation-id", ids.hex("request id")),
        ("x-kong-request-id", ids.hex("gateway request id")),
        ("x-ratelimit-limit-req-minute", "360".to_owned()),
        ("x-ratelimit-remaining-req-minute", "359".to_owned()),
    ]
}
