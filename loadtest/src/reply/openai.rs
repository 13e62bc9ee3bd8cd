//! OpenAI chat completions, and Azure's errors.

use serde_json::Value;
use serde_json::json;

use crate::chance::Chance;
use crate::dialect::Host;
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
use crate::request::StreamForm;

pub(super) fn answer(said: &Said<'_>) -> Value {
    // A refusal is seen in `refusal` alone: the finish reason stays "stop".
    let (content, refusal, finish_reason) = match said.finish {
        Finish::Complete => (json!(said.text), Value::Null, "stop"),
        Finish::Truncated => (json!(said.text), Value::Null, "length"),
        Finish::Refused => (Value::Null, json!(REFUSAL), "stop"),
    };
    json!({
        "id": format!("chatcmpl-{}", said.ids.hex("answer id")),
        "object": "chat.completion",
        "created": CREATED_S,
        "model": said.model,
        "choices": [{
            "index": 0,
            "message": {
                "role": "assistant", "content": content, "refusal": refusal, "annotations": [],
            },
            "logprobs": null,
            "finish_reason": finish_reason,
        }],
        "usage": usage(said),
        "service_tier": "default",
        "system_fingerprint": "fp_simulated",
    })
}

fn usage(said: &Said<'_>) -> Value {
    let usage = said.usage;
    json!({
        "prompt_tokens": usage.input_tokens(),
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens() + usage.output_tokens,
        "prompt_tokens_details": {
            "cached_tokens": 0, "audio_tokens": 0,
            "image_tokens": usage.image_tokens, "text_tokens": usage.text_tokens,
        },
        "completion_tokens_details": {
            "reasoning_tokens": 0, "audio_tokens": 0,
            "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0,
        },
    })
}

pub(super) fn events(said: &Said<'_>, form: StreamForm, texts: &[&str]) -> Events {
    let id = format!("chatcmpl-{}", said.ids.hex("answer id"));
    let padding = said.ids.hex("obfuscation");
    // The chunk with the token counts has no choices, the others have no counts.
    let chunk = |choices: Value, usage: Option<Value>| {
        let mut chunk = json!({
            "id": id, "object": "chat.completion.chunk", "created": CREATED_S,
            "model": said.model, "service_tier": "default",
            "system_fingerprint": "fp_simulated", "choices": choices,
        });
        if let Some(fields) = chunk.as_object_mut() {
            if form.has_usage {
                fields.insert("usage".to_owned(), usage.unwrap_or_default());
            }
            if form.is_padded {
                fields.insert("obfuscation".to_owned(), padding.as_str().into());
            }
        }
        unnamed(&chunk)
    };
    let choice = |delta: Value, finish_reason: Option<&str>| json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason}]);
    let refuses = said.finish == Finish::Refused;
    let (content, field) = if refuses { (Value::Null, "refusal") } else { (json!(""), "content") };
    let opening = json!({"role": "assistant", "content": content, "refusal": null});
    let finish_reason = if said.finish == Finish::Truncated { "length" } else { "stop" };
    let mut closing = chunk(choice(json!({}), Some(finish_reason)), None);
    if form.has_usage {
        closing.push_str(&chunk(json!([]), Some(usage(said))));
    }
    let piece = |text: &&str| chunk(choice(json!({ field: text }), None), None);
    Events {
        opening: chunk(choice(opening, None), None),
        pieces: texts.iter().map(piece).collect(),
        scored: 0,
        closing,
        marker: DONE.to_owned(),
    }
}

pub(super) fn error(host: Host, failure: &Failure, headers: &mut Headers) -> ErrorBody {
    if failure.status == 504 {
        return UPSTREAM_TIMEOUT;
    }
    if let Some(delay_s) = failure.retry_after_s {
        headers.push(("retry-after", delay_s.to_string()));
        headers.push(("retry-after-ms", (u64::from(delay_s) * 1_000).to_string()));
    }
    let (kind, code, words) = words(failure);
    let message = failure.message.as_deref().unwrap_or(words);
    if host == Host::Azure {
        let code = failure.status.to_string();
        return ErrorBody::Json(json!({"error": {"code": code, "message": message}}));
    }
    let error = json!({"message": message, "type": kind, "param": null, "code": code});
    ErrorBody::Json(json!({ "error": error }))
}

/// Type, code and usual message.
fn words(failure: &Failure) -> (&'static str, Option<&'static str>, &'static str) {
    let invalid = "invalid_request_error";
    match (failure.status, failure.reason) {
        (401, _) => (invalid, Some("invalid_api_key"), "Incorrect API key provided: simulat**."),
        (403, _) => (invalid, None, "You do not have access to this resource."),
        (404, _) => (
            invalid,
            Some("model_not_found"),
            "The model does not exist or you do not have access to it.",
        ),
        (413, _) => ("server_error", None, "Maximum content size limit (52428800) exceeded"),
        (429, _) => ("requests", Some("rate_limit_exceeded"), "Rate limit reached for requests."),
        (503, _) => (
            "service_unavailable_error",
            Some("server_is_overloaded"),
            "The server is currently overloaded, please try again later.",
        ),
        (500.., _) => (
            "server_error",
            None,
            "The server had an error while processing your request. Sorry about that!",
        ),
        (_, Reason::BadImage) => (
            invalid,
            Some("invalid_image_format"),
            "You uploaded an unsupported image. Please make sure your image is valid.",
        ),
        (_, Reason::UnsupportedParameter) => {
            (invalid, Some("unsupported_parameter"), "Unsupported parameter.")
        }
        (_, Reason::UnsupportedValue) => (invalid, Some("unsupported_value"), "Unsupported value."),
        (_, Reason::Plain | Reason::WrongKey | Reason::BadSchema) => {
            (invalid, None, "Invalid request.")
        }
    }
}

pub(super) fn headers(host: Host, ids: &Chance) -> Headers {
    let id = ids.hex("request id");
    if host == Host::Azure {
        return vec![("apim-request-id", id.clone()), ("x-request-id", id)];
    }
    vec![
        ("x-request-id", format!("req_{id}")),
        ("openai-organization", "org-simulated".to_owned()),
        ("openai-version", "2020-10-01".to_owned()),
        ("x-ratelimit-limit-requests", "10000".to_owned()),
        ("x-ratelimit-remaining-requests", "9999".to_owned()),
        ("x-ratelimit-reset-requests", "6ms".to_owned()),
    ]
}
