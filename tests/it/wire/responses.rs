//! Every classified golden response comes to the outcome that its class and its reason ask for.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use vlmgate::domain::{AttemptOutcome, Tokens};
use vlmgate::panel::AttemptError;
use vlmgate::provider::answer::Said;
use vlmgate::provider::dialect::{Dialect, decode};
use vlmgate::provider::google_auth;
use vlmgate::provider::stream::{Assembly, assemble};
use vlmgate::provider::wire::{Reply, WireResponse};

use crate::wire::{bytes, fixture_shape, json, path};

use AttemptOutcome as O;

/// What may come of each class. `retry` and `failover` are both a failover here; what tells the
/// failures apart is the reason.
const CLASSES: [(&str, &[AttemptOutcome]); 6] = [
    ("ok", &[O::Judged]),
    ("refusal", &[O::Refused]),
    ("permanent", &[O::BadRequest]),
    ("hedge_cancel", &[O::Cancelled]),
    ("failover", &[O::Auth, O::Overloaded, O::BadRequest]),
    ("retry", &[O::RateLimited, O::ServerError, O::Truncated, O::Unreadable, O::Empty]),
];

/// What comes of each reason, by its beginning.
const REASONS: [(&str, AttemptOutcome); 31] = [
    ("verdict parsed", O::Judged),
    ("token", O::Judged),
    ("safety classifier refusal", O::Refused),
    ("model refusal", O::Refused),
    ("output content filter", O::Refused),
    ("input blocked", O::Refused),
    ("prompt blocked", O::Refused),
    ("candidate blocked", O::Refused),
    ("bad request", O::BadRequest),
    ("adapter mismatch", O::BadRequest),
    ("we closed the request", O::Cancelled),
    ("billing or spend limit", O::Auth),
    ("our credentials", O::Auth),
    ("daily quota", O::Auth),
    ("account limited", O::Auth),
    ("service-account key refused", O::Auth),
    // a model without eyes is a wrong model in our configuration
    ("server cannot do images", O::Auth),
    ("provider capacity", O::Overloaded),
    ("shared capacity", O::Overloaded),
    ("overloaded", O::Overloaded),
    ("rate limit", O::RateLimited),
    ("timeout", O::ServerError),
    ("server error", O::ServerError),
    ("finish_reason error", O::ServerError),
    ("truncated", O::Truncated),
    ("stream cut", O::Truncated),
    ("empty answer", O::Empty),
    ("malformed", O::Unreadable),
    ("stopped: OTHER", O::Empty),
    ("stopped: LANGUAGE", O::Empty),
    ("stopped: MALFORMED_RESPONSE", O::Unreadable),
];

/// Where we differ from the reference, and why.
const DIFFERENCES: [(&str, AttemptOutcome, &str); 2] = [
    (
        "gemini-401",
        O::Auth,
        "an expired token is dropped and the image fails over; the next call fetches a new one",
    ),
    (
        "vertex-oauth-503",
        O::Connect,
        "no model was asked: the least weight with the breaker, and the token at hand is used on",
    ),
];

fn response(name: &str) -> WireResponse {
    let fixture = json(&format!("responses/{name}.json"));
    let http = &fixture["http"];
    let mut headers = HeaderMap::new();
    for (key, value) in http["headers"].as_object().expect("headers") {
        let key: HeaderName = key.parse().expect("a header name");
        headers.insert(key, value.as_str().expect("text").parse().expect("a header value"));
    }
    let body = if let Some(file) = http["sse_file"].as_str() {
        headers.insert("content-type", HeaderValue::from_static("text/event-stream"));
        bytes(&format!("responses/{file}"))
    } else if let Some(raw) = http["raw"].as_str() {
        raw.as_bytes().to_vec()
    } else {
        http["body"].to_string().into_bytes()
    };
    WireResponse {
        status: http["status"].as_u64().and_then(|s| u16::try_from(s).ok()).expect("a status"),
        headers,
        body: Bytes::from(body),
        whole: http["transport"] != "abort",
    }
}

fn dialect(name: &str) -> Dialect {
    match name.split('-').next() {
        Some("openai") => Dialect::OpenAi,
        Some("anthropic") => Dialect::Anthropic,
        Some("gemini" | "vertex") => Dialect::Gemini,
        Some("mistral") => Dialect::Mistral,
        _ => panic!("{name}: whose is it?"),
    }
}

fn read(name: &str) -> Result<Option<(Said, Reply)>, AttemptError> {
    let response = response(name);
    if name.starts_with("vertex-oauth") {
        return google_auth::decode(&response).map(|_| None);
    }
    decode(dialect(name), &response, &fixture_shape()).map(Some)
}

fn expected(name: &str, why: &str) -> AttemptOutcome {
    if let Some((_, outcome, _)) = DIFFERENCES.iter().find(|(fixture, ..)| *fixture == name) {
        return *outcome;
    }
    let inner = why.strip_prefix("error event inside the stream: ").unwrap_or(why);
    let reason = REASONS.iter().find(|(reason, _)| inner.starts_with(reason));
    reason.unwrap_or_else(|| panic!("{name}: no outcome for {why:?}")).1
}

#[test]
fn every_classified_response_comes_to_its_outcome() {
    let classified = json("classification.json");
    let classified = classified.as_object().expect("an object");
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (name, class) in classified {
        let read = read(name);
        let outcome = read.as_ref().map_or_else(|error| error.outcome, |_| O::Judged);
        *counts.entry(outcome.label()).or_default() += 1;

        let text = |key: &str| class[key].as_str().expect("text");
        let listed = DIFFERENCES.iter().any(|(fixture, ..)| fixture == name);
        let (_, allowed) = CLASSES.iter().find(|(c, _)| *c == text("class")).expect("a class");
        if outcome != expected(name, text("why")) || (!allowed.contains(&outcome) && !listed) {
            wrong.push(format!("{name}: {outcome:?}, want {}: {}", text("class"), text("why")));
        }
        let delay = read.as_ref().err().and_then(|error| error.retry_after);
        let delay = delay.map(|delay| delay.as_secs_f64());
        if class["retry_after_s"].as_f64().is_some_and(|want| delay != Some(want)) {
            wrong.push(format!("{name}: stays away {delay:?}, want {}", class["retry_after_s"]));
        }
        if let Ok(Some((said, _))) = &read {
            check_verdict(name, said);
        }
    }
    println!("{} responses, {} listed differences", classified.len(), DIFFERENCES.len());
    println!("{counts:?}");
    assert_eq!(classified.len(), 204);
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), classified.len(), wrong.join("\n"));
}

/// All golden answers say the same.
fn check_verdict(name: &str, said: &Said) {
    assert_eq!(said.field("verdict"), Some(&Said::Text("fail".to_owned())), "{name}");
    assert_eq!(said.field("confidence"), Some(&Said::Number(0.93)), "{name}");
    let Some(Said::List(reasons)) = said.field("reasons") else { panic!("{name}: no reasons") };
    let [reason] = reasons.as_slice() else { panic!("{name}: one reason") };
    let Some(Said::Text(note)) = reason.field("note") else { panic!("{name}: no note") };
    assert!(note.contains("front face \u{2014} lower left"), "{name}: {note}");
}

#[test]
fn usage_is_counted_the_same_way_for_every_provider() {
    let tokens = |name: &str| {
        let (_, reply) = read(name).expect("judged").expect("an answer");
        assert!(reply.request_id.is_some() || name.starts_with("vertex"), "{name}: no id");
        reply.tokens.expect("usage")
    };
    let t = |input, cached, output, image| Tokens { input, cached, output, image };
    let body = |name: &str| json(&format!("responses/{name}.json"))["http"]["body"].clone();
    let number = |value: &Value| value.as_u64().unwrap_or_default();

    // input includes what was cached
    let cached = body("openai-success-cached");
    let cached = number(&cached["usage"]["prompt_tokens_details"]["cached_tokens"]);
    assert!(0 < cached);
    assert_eq!(tokens("openai-success-cached").cached, cached);
    assert_eq!(tokens("openai-success"), t(173, 0, 51, Some(5)));
    assert_eq!(tokens("openai-stream-success"), t(173, 0, 51, Some(5)));
    assert_eq!(tokens("anthropic-success"), t(189, 0, 58, None));
    assert_eq!(tokens("anthropic-stream-success"), t(189, 0, 58, None));
    let usage = &body("anthropic-success-cached")["usage"];
    let parts = ["input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"];
    let all: u64 = parts.iter().map(|key| number(&usage[*key])).sum();
    assert_eq!(tokens("anthropic-success-cached").input, all);
    assert_eq!(tokens("gemini-success"), t(1136, 0, 52, Some(1090)));
    assert_eq!(tokens("gemini-stream-success").image, Some(1090));
    // thoughts are billed as output
    let usage = &body("gemini-success-thoughts")["usageMetadata"];
    let thoughts = number(&usage["thoughtsTokenCount"]);
    assert!(0 < thoughts);
    let output = number(&usage["candidatesTokenCount"]) + thoughts;
    assert_eq!(tokens("gemini-success-thoughts").output, output);
    assert_eq!(tokens("mistral-success"), t(71, 0, 49, None));
    assert_eq!(read("mistral-missing-usage").expect("judged").expect("an answer").1.tokens, None);
}

#[test]
fn a_truncated_or_refused_answer_still_tells_what_it_cost() {
    for name in
        ["openai-truncated", "anthropic-refusal", "gemini-finish-safety", "mistral-prose-verdict"]
    {
        let error = read(name).expect_err("an error");
        assert!(error.tokens.is_some_and(|tokens| 0 < tokens.input), "{name}");
    }
}

#[test]
fn a_stream_cut_anywhere_is_the_whole_verdict_or_none() {
    for name in [
        "openai-stream-success",
        "anthropic-stream-success",
        "gemini-stream-success",
        "mistral-stream-success",
    ] {
        let whole = response(name);
        let mut judged = 0;
        for len in 0..whole.body.len() {
            let cut = WireResponse { body: whole.body.slice(..len), ..whole.clone() };
            if let Ok((said, _)) = decode(dialect(name), &cut, &fixture_shape()) {
                check_verdict(name, &said);
                judged += 1;
            }
        }
        // only the bytes after the terminal marker may go missing
        assert!(judged < whole.body.len() / 3, "{name}: judged {judged} of {}", whole.body.len());
    }
}

#[test]
fn a_body_cut_anywhere_is_never_a_verdict() {
    for name in ["openai-success", "anthropic-success", "gemini-success", "mistral-success"] {
        let whole = response(name);
        for len in 0..whole.body.len() {
            for claims_whole in [true, false] {
                let body = whole.body.slice(..len);
                let cut = WireResponse { body, whole: claims_whole, ..whole.clone() };
                let error = decode(dialect(name), &cut, &fixture_shape()).expect_err(name);
                let outcome = if len == 0 && claims_whole { O::Empty } else { O::Truncated };
                assert_eq!(error.outcome, outcome, "{name} at {len}");
            }
        }
    }
}

/// Every way to cut a stream into pieces comes to the same reply, or to the same error.
#[test]
fn a_stream_reads_the_same_in_pieces_of_any_size() {
    let mut streams = 0;
    for file in fs::read_dir(path("responses")).expect("the fixtures") {
        let file = file.expect("a file").path();
        let is_stream = file.extension().is_some_and(|extension| extension == "sse");
        let name = file.file_stem().and_then(OsStr::to_str).expect("a name");
        if !is_stream || !path(&format!("responses/{name}.json")).exists() {
            continue;
        }
        streams += 1;
        let response = response(name);
        let whole = assemble(dialect(name), &response);
        for size in [1, 2, 3, 7, 37, response.body.len()] {
            let headers = response.headers.clone();
            let mut assembly = Assembly::new(dialect(name), response.status, headers);
            let mut texts = vec![String::new()];
            let pieces = response.body.chunks(size).try_for_each(|piece| {
                assembly.feed(piece);
                while assembly.step()? {
                    let text = &assembly.reply().text;
                    assert!(text.starts_with(texts.last().expect("a text")), "{name}: {size}");
                    texts.push(text.clone());
                }
                Ok(())
            });
            let reply = pieces.and_then(|()| assembly.finish(response.whole));
            assert_eq!(reply, whole, "{name} in pieces of {size}");
        }
    }
    println!("{streams} streams in pieces of six sizes");
    assert_eq!(streams, 36);
}
