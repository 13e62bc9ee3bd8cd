//! The golden requests that are set aside, each with its reason.

use std::collections::BTreeSet;

use crate::wire::requests::cases;

/// Golden requests that we never send the like of.
const UNUSED: &[(&str, &[&str])] = &[
    (
        "pictures go inline: no URL is handed on, and no file is uploaded",
        &[
            "anthropic-image-file-id",
            "anthropic-image-url",
            "gemini-image-url",
            "gemini-v1beta-image-url",
            "vertex-image-url",
            "mistral-image-url",
            "openai-image-url",
        ],
    ),
    (
        "log probabilities are not asked for",
        &["gemini-logprobs", "gemini-v1beta-logprobs", "vertex-logprobs", "openai-logprobs"],
    ),
    (
        "a weaker way to the same schema",
        &[
            "anthropic-structured-parse-helper",
            "anthropic-structured-tool",
            "gemini-structured-schema-pydantic",
            "gemini-v1beta-structured-schema-pydantic",
            "vertex-structured-schema-pydantic",
            "mistral-json-object",
            "mistral-structured-parse-helper",
            "openai-json-object",
            "openai-structured-parse-helper",
        ],
    ),
    (
        "another closeness of looking than the one that is always sent",
        &[
            "anthropic-image-oversized-error",
            "gemini-media-resolution-global",
            "gemini-media-resolution-part",
            "gemini-v1beta-media-resolution-part",
            "vertex-media-resolution-global",
            "vertex-media-resolution-part",
            "mistral-detail-low",
            "mistral-detail-original",
            "mistral-image-url-object",
            "openai-detail-auto",
            "openai-detail-low",
            "openai-detail-original",
        ],
    ),
    (
        "the same as a used one with less in it",
        &[
            "anthropic-plain",
            "gemini-plain",
            "gemini-plain-jpeg",
            "gemini-two-images",
            "gemini-v1beta-plain",
            "gemini-structured-json-schema",
            "gemini-v1beta-structured-json-schema",
            "vertex-structured-json-schema",
            "mistral-plain",
            "openai-plain",
            "vertex-plain",
        ],
    ),
    (
        "identifiers, caches and safety settings that no policy knows",
        &[
            "anthropic-cached-system",
            "gemini-thinking-and-safety",
            "gemini-v1beta-thinking-and-safety",
            "vertex-thinking-and-safety",
            "openai-safety-identifier-and-cache",
        ],
    ),
    (
        "other makers' models on Vertex are no kind of provider here",
        &["anthropic-vertex-plain", "anthropic-vertex-stream", "mistral-vertex-plain"],
    ),
    ("the client refuses to send it", &["anthropic-plain-temperature"]),
];

#[test]
fn every_golden_request_is_compared_or_set_aside_with_a_reason() {
    let used = cases().into_iter().map(|case| case.fixture).chain(["vertex-oauth-token"]);
    let aside = UNUSED.iter().flat_map(|(_, names)| names.iter().copied());
    let all: Vec<&str> = used.chain(aside).collect();
    let distinct: BTreeSet<&str> = all.iter().copied().collect();
    println!("{} golden requests, {} compared", all.len(), cases().len() + 1);
    assert_eq!((all.len(), distinct.len()), (94, 94));
}
