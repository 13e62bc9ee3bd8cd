//! Our requests against those that the providers' own clients sent for the same question.
//!
//! Three spellings are made equal before comparing, because each is the same message: the golden
//! pictures are PNGs named as the JPEGs that views always are, Gemini's client writes URL-safe
//! base64, and mixes snake case into its camel case. Every other difference is listed with its
//! reason, and a listed difference that is not there fails the test as well.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::SecretString;
use serde_json::Value;
use vlmgate::domain::Price;
use vlmgate::provider::ProviderJudge;
use vlmgate::provider::settings::{
    CONNECT_TIMEOUT, Credential, JudgeSettings, Kind, ProviderSettings,
};
use vlmgate::provider::wire::Ask;

use crate::wire::{SYSTEM, fixture_shape, json, view};

const RULE: &str = "Fail the image if the product is blurred, cropped, scratched, or not on a \
                    plain background.";
const PAIR: &str = "Image 1 is the approved reference, image 2 is the candidate. Judge image 2 \
                    against image 1.";

/// One golden request, and how we come to send it.
pub(crate) struct Case {
    pub(crate) fixture: &'static str,
    kind: Kind,
    /// Where the kind has no address of its own, or the golden one differs.
    base_url: Option<&'static str>,
    model: &'static str,
    family: Option<&'static str>,
    bearer: bool,
    /// JSON pointer and reason.
    differences: &'static [(&'static str, &'static str)],
}

const DETAIL: &str = "detail is always said: left out, newer models bill full size";
const BOUNDS: &str = "bounds are not portable; we check them when reading";
const ALWAYS: &str = "a judge is always bound to the answer's schema";
const LABEL: &str = "with more than one picture each is named before it";
const SEEDED: &str = "a seed is sent where the model takes one";
const FAMILY: &str = "parameters follow the model's family, not the golden case";
const SURPLUS: &str = "nothing the gate needs";

const URL: &str = "/messages/1/content/1/image_url";
const SEED: (&str, &str) = ("/seed", SEEDED);
const DETAILED: (&str, &str) = ("/messages/1/content/1/image_url/detail", DETAIL);
const FORMAT: (&str, &str) = ("/response_format", ALWAYS);
const MINIMUM: (&str, &str) =
    ("/response_format/json_schema/schema/properties/confidence/minimum", BOUNDS);
const MAXIMUM: (&str, &str) =
    ("/response_format/json_schema/schema/properties/confidence/maximum", BOUNDS);
const OUTPUT: (&str, &str) = ("/output_config", ALWAYS);
const STREAM: (&str, &str) = ("/stream", "false is the default");
const EFFORT: (&str, &str) = ("/reasoning_effort", FAMILY);
const RANDOM_SEED: (&str, &str) = ("/random_seed", SEEDED);
const ROLE: (&str, &str) = ("/systemInstruction/role", "a system instruction has no role");
const RESOLUTION: (&str, &str) =
    ("/generationConfig/mediaResolution", "the resolution is always said");
const TEMPERATURE: (&str, &str) =
    ("/generationConfig/temperature", "ignored by this model, and to become an error");
const THINKING: (&str, &str) = ("/generationConfig/thinkingConfig", FAMILY);
const ALLOWANCE: (&str, &str) = ("/generationConfig/maxOutputTokens", "thinking needs room");
const GEMINI_SCHEMA: (&str, &str) = ("/generationConfig/responseJsonSchema", ALWAYS);
const GEMINI_JSON: (&str, &str) = ("/generationConfig/responseMimeType", ALWAYS);
/// What sets our Gemini requests apart from the plain golden ones.
const GEMINI_PLAIN: &[(&str, &str)] =
    &[ROLE, RESOLUTION, TEMPERATURE, THINKING, ALLOWANCE, GEMINI_SCHEMA, GEMINI_JSON];
/// The same where the golden one is bound to a schema too.
const GEMINI_SAMPLED: &[(&str, &str)] = &[ROLE, RESOLUTION, TEMPERATURE, THINKING, ALLOWANCE];
const HAIKU: &[(&str, &str)] = &[OUTPUT, ("/thinking", FAMILY)];

impl Case {
    fn new(
        fixture: &'static str,
        kind: Kind,
        model: &'static str,
        differences: &'static [(&'static str, &'static str)],
    ) -> Self {
        let (base_url, family, bearer) = (None, None, false);
        Self { fixture, kind, base_url, model, family, bearer, differences }
    }

    fn at(self, base_url: &'static str) -> Self {
        Self { base_url: Some(base_url), ..self }
    }

    fn family(self, family: &'static str) -> Self {
        Self { family: Some(family), ..self }
    }

    fn bearer(self) -> Self {
        Self { bearer: true, ..self }
    }

    fn judge(&self) -> ProviderJudge {
        let secret = SecretString::from("${CREDENTIAL}");
        let provider = ProviderSettings {
            name: "golden".to_owned(),
            kind: self.kind.clone(),
            base_url: self.base_url.map(str::to_owned),
            credential: if self.bearer {
                Credential::Bearer(secret)
            } else {
                Credential::Key(secret)
            },
            connect_timeout: CONNECT_TIMEOUT,
            simulated: false,
        };
        let judge = JudgeSettings {
            name: "golden".to_owned(),
            model: self.model.to_owned(),
            family: self.family.map(str::to_owned),
            price: Some(Price::default()),
            expect: None,
            stream: Some(self.fixture.contains("stream")),
        };
        ProviderJudge::new(&provider, &judge).expect("a judge")
    }
}

pub(crate) fn cases() -> Vec<Case> {
    [openai(), azure(), anthropic(), gemini(), vertex(), mistral()].into_iter().flatten().collect()
}

fn openai() -> Vec<Case> {
    let mini = "gpt-5.4-mini";
    let qwen = "Qwen/Qwen2.5-VL-7B-Instruct";
    let kind = || Kind::OpenAi;
    vec![
        Case::new("openai-structured", kind(), mini, &[SEED, DETAILED, MINIMUM, MAXIMUM]),
        Case::new("openai-structured-stream", kind(), mini, &[SEED, DETAILED, MINIMUM, MAXIMUM]),
        Case::new("openai-stream", kind(), mini, &[SEED, DETAILED, FORMAT]),
        Case::new("openai-plain-jpeg", kind(), mini, &[SEED, DETAILED, FORMAT]),
        Case::new("openai-detail-high", kind(), mini, &[SEED, FORMAT]),
        Case::new(
            "openai-two-images",
            kind(),
            mini,
            &[
                SEED,
                FORMAT,
                (URL, LABEL),
                ("/messages/1/content/1/text", LABEL),
                ("/messages/1/content/1/type", LABEL),
                ("/messages/1/content/2/image_url/detail", DETAIL),
                ("/messages/1/content/2/image_url/url", LABEL),
                ("/messages/1/content/3", LABEL),
                ("/messages/1/content/4", LABEL),
            ],
        ),
        Case::new(
            "openai-plain-reasoning-model",
            kind(),
            "gpt-6-luna",
            &[
                DETAILED,
                FORMAT,
                EFFORT,
                ("/temperature", FAMILY),
                ("/max_completion_tokens", "no thinking, so no room for it"),
                ("/messages/0/role", "every model takes system"),
            ],
        ),
        Case::new(
            "openai-compat-structured-vllm-extra",
            Kind::Compatible,
            qwen,
            &[SEED, DETAILED, MINIMUM, MAXIMUM, ("/mm_processor_kwargs", SURPLUS)],
        )
        .at("http://127.0.0.1:8000/v1"),
        Case::new("openai-compat-plain-max-tokens", kind(), qwen, &[DETAILED, FORMAT])
            .at("http://127.0.0.1:8000/v1"),
        Case::new(
            "openrouter-structured",
            Kind::OpenRouter,
            "google/gemini-3.5-flash",
            &[
                DETAILED,
                MINIMUM,
                MAXIMUM,
                ("/temperature", "what stands behind is unknown; require_parameters would drop it"),
                ("/max_tokens", "what stands behind may think"),
                ("/usage", "usage comes unasked"),
                ("/provider/allow_fallbacks", "which upstream serves is OpenRouter's trade"),
            ],
        ),
    ]
}

fn azure() -> Vec<Case> {
    let classic = || Kind::AzureDeployment { api_version: "2024-10-21".to_owned() };
    let differences = &[SEED, DETAILED, FORMAT];
    let cases = vec![
        Case::new("azure-deployments-plain", classic(), "my-deployment", differences),
        Case::new("azure-deployments-entra-token", classic(), "my-deployment", differences)
            .bearer(),
        Case::new("azure-v1-plain", Kind::AzureV1, "my-deployment", differences).bearer(),
    ];
    let placed = |case: Case| case.at("https://house.openai.azure.com").family("gpt-5.4-mini");
    cases.into_iter().map(placed).collect()
}

fn anthropic() -> Vec<Case> {
    let kind = |version: &str| Kind::Anthropic { version: version.to_owned() };
    let new = "2026-10-21";
    let haiku = "claude-haiku-5-5";
    let cases = vec![
        Case::new(
            "anthropic-structured",
            kind(new),
            haiku,
            &[("/output_config/effort", FAMILY), ("/thinking", FAMILY)],
        ),
        Case::new("anthropic-thinking-disabled-effort-low", kind(new), haiku, &[]),
        Case::new("anthropic-stream", kind(new), haiku, HAIKU),
        Case::new(
            "anthropic-structured-stream-helper",
            kind(new),
            haiku,
            &[("/output_config/effort", FAMILY), ("/thinking", FAMILY)],
        ),
        Case::new("anthropic-plain-jpeg", kind(new), haiku, HAIKU),
        Case::new("anthropic-two-images", kind(new), haiku, HAIKU),
        Case::new(
            "anthropic-temperature-legacy-version",
            kind("2023-06-01"),
            "claude-haiku-4-5",
            &[OUTPUT],
        ),
    ];
    // the golden client sends its key as a bearer; ours goes as x-api-key unless told otherwise
    cases.into_iter().map(Case::bearer).collect()
}

fn gemini() -> Vec<Case> {
    let kind = |version: &str| Kind::Gemini { version: version.to_owned() };
    let flash = "gemini-3.8-flash";
    let schema: &[(&str, &str)] = &[ROLE, RESOLUTION];
    vec![
        Case::new("gemini-structured-no-sampling", kind("v1"), flash, schema),
        Case::new("gemini-v1beta-structured-no-sampling", kind("v1beta"), flash, schema),
        Case::new("gemini-v1beta-plain-jpeg", kind("v1beta"), flash, GEMINI_PLAIN),
        Case::new("gemini-v1beta-two-images", kind("v1beta"), flash, GEMINI_PLAIN),
        Case::new("gemini-v1beta-media-resolution-global", kind("v1beta"), flash, GEMINI_PLAIN),
        Case::new("gemini-stream", kind("v1"), flash, GEMINI_PLAIN),
        Case::new("gemini-v1beta-stream", kind("v1beta"), flash, GEMINI_PLAIN),
        Case::new("gemini-structured-stream", kind("v1"), flash, GEMINI_SAMPLED),
        Case::new("gemini-v1beta-structured-stream", kind("v1beta"), flash, GEMINI_SAMPLED),
    ]
}

fn vertex() -> Vec<Case> {
    let version = "v1beta1".to_owned();
    let express = Kind::VertexExpress { version: version.clone() };
    let (project, location) = ("my-project".to_owned(), "us-central1".to_owned());
    let vertex = Kind::Vertex { project, location, version };
    let flash = "gemini-3.8-flash";
    let case = |name, differences| Case::new(name, vertex.clone(), flash, differences).bearer();
    vec![
        case("vertex-structured-no-sampling", &[ROLE, RESOLUTION]),
        case("vertex-plain-jpeg", GEMINI_PLAIN),
        case("vertex-two-images", GEMINI_PLAIN),
        case("vertex-stream", GEMINI_PLAIN),
        case("vertex-structured-stream", GEMINI_SAMPLED),
        Case::new("vertex-express-plain", express, flash, GEMINI_PLAIN),
    ]
}

fn mistral() -> Vec<Case> {
    let case =
        |name, differences| Case::new(name, Kind::Mistral, "mistral-medium-3-5", differences);
    vec![
        case("mistral-structured", &[STREAM, RANDOM_SEED, EFFORT]),
        case("mistral-stream", &[RANDOM_SEED, EFFORT, FORMAT]),
        case("mistral-structured-stream", &[RANDOM_SEED, EFFORT]),
        case("mistral-plain-jpeg", &[STREAM, RANDOM_SEED, EFFORT, FORMAT]),
        case(
            "mistral-two-images",
            &[
                STREAM,
                RANDOM_SEED,
                EFFORT,
                FORMAT,
                (URL, LABEL),
                ("/messages/1/content/1/text", LABEL),
                ("/messages/1/content/1/type", LABEL),
                ("/messages/1/content/2/image_url", LABEL),
                ("/messages/1/content/3", LABEL),
                ("/messages/1/content/4", LABEL),
            ],
        ),
        case(
            "mistral-logprobs-seed-cache",
            &[
                STREAM,
                EFFORT,
                FORMAT,
                ("/logprobs", SURPLUS),
                ("/top_logprobs", SURPLUS),
                ("/prompt_cache_key", SURPLUS),
                ("/safe_prompt", "false is the default"),
            ],
        ),
    ]
}

#[test]
fn our_requests_are_the_golden_ones_but_for_the_listed_differences() {
    let mut differing = Vec::new();
    let mut listed = 0;
    for case in cases() {
        let golden = json(&format!("requests/{}.json", case.fixture));
        let shape = fixture_shape();
        let two = case.fixture.contains("two-images");
        let images = if two { vec!["product.png", "defect.png"] } else { vec!["product.png"] };
        let jpeg = case.fixture.contains("jpeg").then(|| vec!["product.jpg"]);
        let images = jpeg.unwrap_or(images).into_iter().enumerate();
        let views: Vec<_> = images.map(|(i, f)| view(&format!("Image {}", i + 1), f)).collect();
        let user = if two { PAIR } else { RULE };
        let ask =
            Ask { system: SYSTEM, user, views: &views, max_output_tokens: 512, shape: &shape };

        let judge = case.judge();
        let request = judge.encode(&ask).expect("a request");
        let address: reqwest::Url = judge.address(&request).parse().expect("an address");
        let wire = &golden["request"];
        assert_eq!(request.method.as_str(), wire["method"], "{}", case.fixture);
        assert_eq!(address.path(), wire["path"], "{}", case.fixture);
        let query: serde_json::Map<String, Value> =
            address.query_pairs().map(|(k, v)| (k.into_owned(), Value::from(v))).collect();
        assert_eq!(Value::from(query), wire["query"], "{}", case.fixture);
        for name in
            ["authorization", "api-key", "x-goog-api-key", "anthropic-version", "content-type"]
        {
            let ours = request.headers.get(name).map(|value| value.to_str().expect("text"));
            assert_eq!(ours, wire["headers"][name].as_str(), "{}: {name}", case.fixture);
        }

        let body: Value = serde_json::from_slice(&request.body.joined()).expect("JSON");
        let mut found = BTreeSet::new();
        compare("", &spelled_alike(&wire["json"]), &body, &mut found);
        let expected: BTreeSet<String> =
            case.differences.iter().map(|(pointer, _)| (*pointer).to_owned()).collect();
        listed += expected.len();
        if found != expected {
            let surprise: Vec<_> = found.difference(&expected).collect();
            let missing: Vec<_> = expected.difference(&found).collect();
            differing.push(format!("{}: unlisted {surprise:?}, absent {missing:?}", case.fixture));
        }
    }
    println!("{} requests compared, {listed} listed differences", cases().len());
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

#[test]
fn a_body_keeps_its_fields_in_order_and_holds_the_one_copy_of_each_picture() {
    let views = [view("front", "product.jpg"), view("detail", "product.jpg")];
    let shape = fixture_shape();
    for case in cases() {
        let ask = Ask {
            system: SYSTEM,
            user: RULE,
            views: &views,
            max_output_tokens: 512,
            shape: &shape,
        };
        let body = case.judge().encode(&ask).expect("a request").body;
        for view in &views {
            assert!(body.shares(view.jpeg.as_ref()), "{}: a copy of {}", case.fixture, view.id);
        }
        let body = body.joined();
        let text = std::str::from_utf8(&body).expect("text");
        assert_eq!(text.matches(views[0].jpeg.as_str()).count(), 2, "{}", case.fixture);
        let places: Vec<_> = ["\"verdict\":{", "\"confidence\":{", "\"reasons\":{"]
            .iter()
            .map(|field| text.find(field).expect("the field"))
            .collect();
        assert!(places.is_sorted(), "{}", case.fixture);
    }
}

/// The golden body with its three spellings made ours.
fn spelled_alike(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.iter().map(|(key, value)| {
                let key = match key.as_str() {
                    "mime_type" => "mimeType",
                    "thinking_level" => "thinkingLevel",
                    other => other,
                };
                (key.to_owned(), spelled_alike(value))
            });
            Value::Object(fields.collect())
        }
        Value::Array(items) => items.iter().map(spelled_alike).collect(),
        Value::String(text) => {
            let jpeg = text.replace("image/png", "image/jpeg");
            let standard = text.replace('-', "+").replace('_', "/");
            let is_picture = 200 < text.len() && STANDARD.decode(&standard).is_ok();
            Value::String(if is_picture { standard } else { jpeg })
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

/// Collects the pointers at which two JSON texts differ; `0` and `0.0` are the same number.
fn compare(at: &str, golden: &Value, ours: &Value, found: &mut BTreeSet<String>) {
    match (golden, ours) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for key in keys {
                step(&format!("{at}/{key}"), a.get(key), b.get(key), found);
            }
        }
        (Value::Array(a), Value::Array(b)) => {
            for i in 0..a.len().max(b.len()) {
                step(&format!("{at}/{i}"), a.get(i), b.get(i), found);
            }
        }
        _ => {
            let same = golden == ours || (golden.is_number() && golden.as_f64() == ours.as_f64());
            if !same {
                found.insert(at.to_owned());
            }
        }
    }
}

fn step(at: &str, golden: Option<&Value>, ours: Option<&Value>, found: &mut BTreeSet<String>) {
    match (golden, ours) {
        (Some(golden), Some(ours)) => compare(at, golden, ours, found),
        _ => {
            found.insert(at.to_owned());
        }
    }
}
