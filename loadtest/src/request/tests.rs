use serde_json::Value;
use serde_json::json;

use super::*;
use crate::dialect::Route;

const FIXTURES: [(Dialect, &str); 7] = [
    (Dialect::OpenAi, include_str!("../fixtures/openai-structured.json")),
    (Dialect::OpenAi, include_str!("../fixtures/openai-plain-reasoning-model.json")),
    (Dialect::OpenAi, include_str!("../fixtures/azure-deployments-plain.json")),
    (Dialect::Anthropic, include_str!("../fixtures/anthropic-structured.json")),
    (Dialect::Gemini, include_str!("../fixtures/gemini-structured-no-sampling.json")),
    (Dialect::Gemini, include_str!("../fixtures/vertex-structured-json-schema.json")),
    (Dialect::Mistral, include_str!("../fixtures/mistral-structured.json")),
];

/// The request of a fixture after `change` to its body.
fn request(fixture: &str, change: &dyn Fn(&mut Value)) -> Request {
    let mut fixture: Value = serde_json::from_str(fixture).unwrap();
    change(&mut fixture["body"]);
    let headers = fixture["headers"].as_object().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    Request {
        method: text(&fixture["method"]),
        path: text(&fixture["path"]),
        headers: headers.map(|(name, value)| (name.clone(), text(value))).collect(),
        body: fixture["body"].to_string().into_bytes(),
        ..Request::default()
    }
}

fn target(dialect: Dialect, request: &Request) -> Target {
    let route = dialect.route(&request.method, &request.path);
    let Route::Ask(target) = route else { panic!("{}: {route:?}", request.path) };
    target
}

/// What is refused, of the first fixture of a dialect after `change`.
#[track_caller]
fn check(dialect: Dialect, change: &dyn Fn(&mut Value), status: u16, message: &str) {
    let (_, fixture) = FIXTURES.into_iter().find(|(known, _)| *known == dialect).unwrap();
    let request = request(fixture, change);
    let failure = read(dialect, &target(dialect, &request), &request).unwrap_err();
    let said = failure.message.clone().unwrap_or_default();
    assert_eq!((failure.status, said.contains(message)), (status, true), "{failure:?}");
}

#[test]
fn what_the_official_clients_send_is_understood_alike() {
    let mut digests = Vec::new();
    for (dialect, fixture) in FIXTURES {
        let request = request(fixture, &|_| {});
        let target = target(dialect, &request);
        authenticate(dialect, target.host, &request, Some("simulated")).unwrap();
        let question = read(dialect, &target, &request).unwrap();
        let [picture] = question.pictures.as_slice() else { panic!("{question:?}") };
        assert_eq!((picture.size.width_px, picture.size.height_px), (64, 48));
        assert!(question.prompt.starts_with("You are a product image quality gate."));
        assert!(question.prompt.ends_with("not on a plain background."));
        assert!(!question.model.is_empty());
        if fixture.contains("confidence") {
            assert_eq!(question.schema.unwrap().criteria(), ["confidence"]);
        }
        digests.push(picture.digest);
    }
    digests.dedup();
    assert_eq!(digests.len(), 1, "one image, whatever the base64 alphabet");
}

#[test]
fn parameters_that_newer_models_dropped_are_refused() {
    check(
        Dialect::OpenAi,
        &|body| body["max_tokens"] = json!(300),
        400,
        "'max_tokens' is not supported with this model",
    );
    check(
        Dialect::OpenAi,
        &|body| {
            body["model"] = json!("gpt-6-luna");
            body["reasoning_effort"] = json!("low");
        },
        400,
        "'temperature' does not support",
    );
    check(
        Dialect::Anthropic,
        &|body| body["temperature"] = json!(1.0),
        400,
        "temperature: Extra inputs are not permitted",
    );
    check(Dialect::Mistral, &|body| body["seed"] = json!(7), 422, "unknown field `seed`");
    check(
        Dialect::Mistral,
        &|body| {
            body["messages"][1]["content"][1]["image_url"] =
                json!({"url": "https://example.org/a.png", "detail": "original"});
        },
        422,
        "'low', 'auto' or 'high'",
    );
}

#[test]
fn sampling_is_taken_where_reasoning_is_off_or_the_version_is_old() {
    let (_, fixture) = FIXTURES[0];
    let luna = request(fixture, &|body| body["model"] = json!("gpt-6-luna"));
    assert!(read(Dialect::OpenAi, &target(Dialect::OpenAi, &luna), &luna).is_ok());
    let (_, fixture) = FIXTURES[3];
    let mut old = request(fixture, &|body| body["temperature"] = json!(0.0));
    let version = old.headers.iter_mut().find(|(name, _)| name == "anthropic-version").unwrap();
    version.1 = "2023-06-01".to_owned();
    assert!(read(Dialect::Anthropic, &target(Dialect::Anthropic, &old), &old).is_ok());
}

#[test]
fn schemas_that_a_dialect_does_not_take_are_refused() {
    let properties = "/response_format/json_schema/schema/properties";
    check(
        Dialect::OpenAi,
        &|body| {
            let properties = body.pointer_mut(properties).unwrap().as_object_mut().unwrap();
            properties.insert("extra".to_owned(), json!({"type": "string"}));
        },
        400,
        "to include 'extra'",
    );
    check(
        Dialect::Anthropic,
        &|body| {
            let schema = &mut body["output_config"]["format"]["schema"];
            schema["properties"]["confidence"]["maximum"] = json!(1);
        },
        400,
        "maximum, minimum are not supported (confidence)",
    );
    check(
        Dialect::Anthropic,
        &|body| {
            let schema = body["output_config"]["format"]["schema"].as_object_mut().unwrap();
            schema.remove("additionalProperties");
        },
        400,
        "must be explicitly set to false (answer)",
    );
    check(
        Dialect::Gemini,
        &|body| body["generationConfig"]["responseSchema"] = json!({"type": "OBJECT"}),
        400,
        "cannot both be set",
    );
}

#[test]
fn bodies_that_are_not_the_dialect_are_refused() {
    check(Dialect::OpenAi, &|body| *body = json!([]), 400, "invalid body");
    check(Dialect::OpenAi, &|body| body["messages"] = json!([]), 400, "must not be empty");
    check(
        Dialect::OpenAi,
        &|body| {
            let url = body["messages"][1]["content"][1]["image_url"]["url"].clone();
            body["messages"][1]["content"][1]["image_url"] = url;
        },
        400,
        "expected an object, but got a string",
    );
    check(
        Dialect::OpenAi,
        &|body| body["stream_options"] = json!({"include_usage": true}),
        400,
        "only allowed when 'stream' is enabled",
    );
    check(
        Dialect::Mistral,
        &|body| body["stream_options"] = json!({"include_usage": true}),
        422,
        "unknown field `stream_options`",
    );
    check(
        Dialect::Anthropic,
        &|body| {
            body.as_object_mut().unwrap().remove("max_tokens");
        },
        400,
        "max_tokens: Field required",
    );
    check(
        Dialect::Anthropic,
        &|body| body["messages"][0]["content"][0]["source"]["media_type"] = json!("image/jpeg"),
        400,
        "appears to be a image/png image",
    );
    check(
        Dialect::Gemini,
        &|body| body["contents"][0]["parts"][0]["detail"] = json!("high"),
        400,
        "unknown field `detail`",
    );
    let no_image = |body: &mut Value| {
        body["contents"][0]["parts"][0]["inlineData"]["data"] = json!("aGVsbG8=");
    };
    check(Dialect::Gemini, &no_image, 400, "");
}

#[test]
fn a_missing_key_is_a_401_and_a_wrong_one_what_the_provider_makes_of_it() {
    for (dialect, fixture) in FIXTURES {
        let shown = request(fixture, &|_| {});
        let host = target(dialect, &shown).host;
        let wrong = authenticate(dialect, host, &shown, Some("other")).unwrap_err();
        let is_ai_studio = dialect == Dialect::Gemini && host == crate::dialect::Host::Direct;
        assert_eq!(wrong.status, if is_ai_studio { 400 } else { 401 });
        let without = Request { headers: Vec::new(), ..shown };
        let missing = authenticate(dialect, host, &without, None).unwrap_err();
        assert_eq!(missing.status, 401);
    }
}
