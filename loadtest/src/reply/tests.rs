use serde_json::Value;

use super::*;
use crate::failure::Reason;

fn read(response: &Response) -> Value {
    serde_json::from_slice(&response.body).unwrap()
}

fn said(host: Host, finish: Finish, ids: &Chance) -> Said<'_> {
    let usage = Usage { text_tokens: 168, image_tokens: 5, output_tokens: 51 };
    Said { model: "some-model", host, text: "{}", finish, usage, ids }
}

fn error(dialect: Dialect, host: Host, status: u16, retry_after_s: Option<u32>) -> Response {
    let failed = Failure::of_status(status, retry_after_s);
    failure(dialect, host, &failed, &Chance::of(&[b"ids"]))
}

#[track_caller]
fn check(body: &Value, expected: &[(&str, Value)]) {
    for (pointer, value) in expected {
        assert_eq!(body.pointer(pointer).unwrap_or(&Value::Null), value, "{pointer} of {body}");
    }
}

#[test]
fn an_answer_has_text_model_and_usage_where_each_dialect_has_them() {
    let ids = Chance::of(&[b"ids"]);
    let whole = said(Host::Direct, Finish::Complete, &ids);
    let openai = read(&answer(Dialect::OpenAi, &whole));
    check(
        &openai,
        &[
            ("/choices/0/message/content", "{}".into()),
            ("/choices/0/finish_reason", "stop".into()),
            ("/model", "some-model".into()),
            ("/usage/prompt_tokens", 173.into()),
            ("/usage/completion_tokens", 51.into()),
            ("/usage/prompt_tokens_details/image_tokens", 5.into()),
        ],
    );
    let anthropic = read(&answer(Dialect::Anthropic, &whole));
    check(
        &anthropic,
        &[
            ("/content/0/text", "{}".into()),
            ("/stop_reason", "end_turn".into()),
            ("/usage/input_tokens", 173.into()),
            ("/usage/output_tokens", 51.into()),
        ],
    );
    let gemini = read(&answer(Dialect::Gemini, &whole));
    check(
        &gemini,
        &[
            ("/candidates/0/content/parts/0/text", "{}".into()),
            ("/candidates/0/finishReason", "STOP".into()),
            ("/modelVersion", "some-model".into()),
            ("/usageMetadata/promptTokenCount", 173.into()),
            ("/usageMetadata/promptTokensDetails/1/modality", "IMAGE".into()),
            ("/usageMetadata/trafficType", Value::Null),
        ],
    );
    let vertex = read(&answer(Dialect::Gemini, &said(Host::Vertex, Finish::Complete, &ids)));
    check(&vertex, &[("/usageMetadata/trafficType", "ON_DEMAND".into())]);
    let mistral = read(&answer(Dialect::Mistral, &whole));
    check(
        &mistral,
        &[
            ("/choices/0/message/content", "{}".into()),
            ("/usage/total_tokens", 224.into()),
            ("/choices/0/message/refusal", Value::Null),
        ],
    );
}

#[test]
fn a_refusal_and_a_cut_are_told_in_each_dialects_way() {
    let ids = Chance::of(&[b"ids"]);
    let refused = said(Host::Direct, Finish::Refused, &ids);
    let cut = said(Host::Direct, Finish::Truncated, &ids);
    check(
        &read(&answer(Dialect::OpenAi, &refused)),
        &[
            ("/choices/0/message/content", Value::Null),
            ("/choices/0/message/refusal", REFUSAL.into()),
            ("/choices/0/finish_reason", "stop".into()),
        ],
    );
    check(
        &read(&answer(Dialect::Anthropic, &refused)),
        &[("/stop_reason", "refusal".into()), ("/stop_details/type", "refusal".into())],
    );
    check(
        &read(&answer(Dialect::Gemini, &refused)),
        &[
            ("/candidates", Value::Null),
            ("/promptFeedback/blockReason", "PROHIBITED_CONTENT".into()),
        ],
    );
    check(
        &read(&answer(Dialect::Mistral, &refused)),
        &[("/choices/0/message/content", REFUSAL.into())],
    );
    let finish = |dialect, pointer: &str| read(&answer(dialect, &cut)).pointer(pointer).cloned();
    assert_eq!(finish(Dialect::OpenAi, "/choices/0/finish_reason"), Some("length".into()));
    assert_eq!(finish(Dialect::Anthropic, "/stop_reason"), Some("max_tokens".into()));
    assert_eq!(finish(Dialect::Gemini, "/candidates/0/finishReason"), Some("MAX_TOKENS".into()));
    assert_eq!(finish(Dialect::Mistral, "/choices/0/finish_reason"), Some("length".into()));
}

#[test]
fn an_error_has_each_dialects_words_and_delay() {
    let header = |response: &Response, name: &str| {
        response.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone())
    };
    let limited = error(Dialect::OpenAi, Host::Direct, 429, Some(2));
    check(&read(&limited), &[("/error/code", "rate_limit_exceeded".into())]);
    assert_eq!(header(&limited, "retry-after").as_deref(), Some("2"));
    assert_eq!(header(&limited, "retry-after-ms").as_deref(), Some("2000"));
    let azure = error(Dialect::OpenAi, Host::Azure, 429, Some(26));
    check(&read(&azure), &[("/error/code", "429".into()), ("/error/type", Value::Null)]);

    let overloaded = error(Dialect::Anthropic, Host::Direct, 529, None);
    check(&read(&overloaded), &[("/error/type", "overloaded_error".into())]);
    assert_eq!(read(&overloaded)["request_id"], header(&overloaded, "request-id").unwrap());

    let quota = error(Dialect::Gemini, Host::Direct, 429, Some(21));
    check(
        &read(&quota),
        &[
            ("/error/status", "RESOURCE_EXHAUSTED".into()),
            ("/error/details/1/retryDelay", "21s".into()),
        ],
    );
    assert_eq!(header(&quota, "retry-after"), None);
    let vertex = error(Dialect::Anthropic, Host::Vertex, 429, Some(21));
    check(
        &read(&vertex),
        &[("/error/status", "RESOURCE_EXHAUSTED".into()), ("/error/details", Value::Null)],
    );

    check(
        &read(&error(Dialect::Mistral, Host::Direct, 401, None)),
        &[("/detail", "Unauthorized".into())],
    );
    let unknown_field = Failure::bad_request(Reason::Plain, "unknown field").with_status(422);
    let unprocessable =
        failure(Dialect::Mistral, Host::Direct, &unknown_field, &Chance::of(&[b"ids"]));
    check(&read(&unprocessable), &[("/message/detail/0/msg", "unknown field".into())]);
}

#[test]
fn every_error_keeps_its_status_in_every_dialect() {
    for dialect in Dialect::ALL {
        for status in [400, 401, 403, 404, 413, 422, 429, 500, 502, 503, 504, 529] {
            let response = error(dialect, Host::Direct, status, Some(1));
            assert_eq!(response.status, status);
            assert!(!response.body.is_empty());
        }
    }
}

#[test]
fn a_token_is_given_for_an_assertion_and_to_the_machine_itself() {
    let ask = |body: &str| {
        access_token(&crate::wire::Request { body: body.into(), ..Default::default() })
    };
    let grant = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer";
    let given = ask(&format!("{grant}&assertion=aaa.bbb.ccc"));
    check(
        &read(&given),
        &[("/access_token", SIMULATED_TOKEN.into()), ("/expires_in", 3599.into())],
    );
    let refused = ask(&format!("{grant}&assertion=aaa.bbb"));
    assert_eq!((refused.status, read(&refused)["error"].as_str()), (400, Some("invalid_grant")));

    let mut request = crate::wire::Request::default();
    assert_eq!(metadata(&request, true).status, 403);
    request.headers.push(("metadata-flavor".to_owned(), "Google".to_owned()));
    check(&read(&metadata(&request, true)), &[("/token_type", "Bearer".into())]);
    assert_eq!(metadata(&request, false).body, b"simulated-project");
}
