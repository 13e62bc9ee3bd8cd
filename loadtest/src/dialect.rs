//! A dialect is one provider's wire form: which paths it serves and what they mean.
//!
//! The hosted flavours of a dialect (Azure, Vertex AI) are served beside the direct one, because they
//! differ only in path, key and error body.

use std::str::FromStr;

use serde::Deserialize;
use serde::Serialize;

/// The wire forms that can be simulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    /// OpenAI chat completions; also Azure OpenAI and compatible servers.
    #[serde(rename = "openai")]
    OpenAi,
    /// Anthropic messages; also Claude on Vertex AI.
    Anthropic,
    /// Gemini `generateContent`, by AI Studio key and on Vertex AI.
    Gemini,
    /// Mistral chat completions; also Mistral on Vertex AI.
    Mistral,
}

/// A name that is not a dialect.
#[derive(Debug, thiserror::Error)]
#[error("\"{0}\" is not a dialect: openai, anthropic, gemini, mistral")]
pub struct UnknownDialect(String);

impl Dialect {
    /// Every dialect, in the order of their default ports.
    pub const ALL: [Self; 4] = [Self::OpenAi, Self::Anthropic, Self::Gemini, Self::Mistral];

    /// The fixed name: in files, on the command line, in seeds.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
            Self::Mistral => "mistral",
        }
    }

    /// What follows the address in the base URL that a gate is configured with.
    #[must_use]
    pub const fn base_path(self) -> &'static str {
        match self {
            Self::OpenAi | Self::Mistral => "/v1",
            Self::Anthropic | Self::Gemini => "",
        }
    }

    /// What a request to `path` (without its query) asks for.
    pub(crate) fn route(self, method: &str, path: &str) -> Route {
        let (route, expected_method) = match (self, path) {
            (Self::Gemini, "/token") => (Route::OAuthToken, "POST"),
            (Self::Gemini, METADATA_TOKEN_PATH) => (Route::MetadataToken, "GET"),
            (Self::Gemini, METADATA_PROJECT_PATH) => (Route::MetadataProject, "GET"),
            (Self::OpenAi | Self::Anthropic | Self::Gemini | Self::Mistral, _) => {
                match self.target(path) {
                    Some(target) => (Route::Ask(target), "POST"),
                    None => return Route::Unknown,
                }
            }
        };
        if method == expected_method { route } else { Route::WrongMethod }
    }

    fn target(self, path: &str) -> Option<Target> {
        match self {
            Self::OpenAi => chat_target(path),
            Self::Anthropic if path == "/v1/messages" => Some(Target::direct()),
            Self::Anthropic => published(path, "/publishers/anthropic/models/", "rawPredict"),
            Self::Gemini => published(path, "/publishers/google/models/", "generateContent")
                .or_else(|| ai_studio_target(path)),
            Self::Mistral if path == "/v1/chat/completions" => Some(Target::direct()),
            Self::Mistral => published(path, "/publishers/mistralai/models/", "rawPredict"),
        }
    }
}

impl FromStr for Dialect {
    type Err = UnknownDialect;

    fn from_str(name: &str) -> Result<Self, UnknownDialect> {
        let named = Self::ALL.into_iter().find(|dialect| dialect.label() == name);
        named.ok_or_else(|| UnknownDialect(name.to_owned()))
    }
}

/// Where a metadata server hands out access tokens.
const METADATA_TOKEN_PATH: &str = "/computeMetadata/v1/instance/service-accounts/default/token";
const METADATA_PROJECT_PATH: &str = "/computeMetadata/v1/project/project-id";

/// What one request is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// A question for a model.
    Ask(Target),
    /// The OAuth endpoint that turns a signed assertion into an access token.
    OAuthToken,
    /// The token of the machine's own service account.
    MetadataToken,
    /// The project that the machine belongs to.
    MetadataProject,
    /// A path of ours with a method that it does not take.
    WrongMethod,
    /// Nothing here.
    Unknown,
}

/// Which model is asked, and through which door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) host: Host,
    /// The model, where the path and not the body names it.
    pub(crate) model: Option<String>,
    /// The path asks for a streamed answer.
    pub(crate) stream: bool,
}

impl Target {
    fn direct() -> Self {
        Self { host: Host::Direct, model: None, stream: false }
    }
}

/// Who serves the dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    /// The provider itself.
    Direct,
    /// An Azure OpenAI deployment (the classic paths; the v1 paths are like the direct ones).
    Azure,
    /// Vertex AI with an access token.
    Vertex,
    /// Vertex AI with an API key ("express mode").
    VertexExpress,
}

fn chat_target(path: &str) -> Option<Target> {
    let prefix = path.strip_suffix("/chat/completions")?;
    if let Some(deployment) = prefix.strip_prefix("/openai/deployments/") {
        let model = Some(deployment.to_owned());
        return Some(Target { host: Host::Azure, model, stream: false });
    }
    // `/openai/v1` is Azure's newer path, `/api/v1` OpenRouter's.
    prefix.ends_with("/v1").then(Target::direct)
}

fn ai_studio_target(path: &str) -> Option<Target> {
    let rest = path.strip_prefix("/v1/").or_else(|| path.strip_prefix("/v1beta/"))?;
    let (model, verb) = rest.strip_prefix("models/")?.split_once(':')?;
    let stream = streams(verb, "generateContent")?;
    Some(Target { host: Host::Direct, model: Some(model.to_owned()), stream })
}

fn published(path: &str, marker: &str, verb: &str) -> Option<Target> {
    let (before, rest) = path.split_once(marker)?;
    let (model, asked) = rest.split_once(':')?;
    let host = if before.contains("/projects/") { Host::Vertex } else { Host::VertexExpress };
    Some(Target { host, model: Some(model.to_owned()), stream: streams(asked, verb)? })
}

/// Whether `asked` is the streaming form of `verb`; `None` when it is another verb.
fn streams(asked: &str, verb: &str) -> Option<bool> {
    if asked == verb {
        return Some(false);
    }
    let is_stream =
        asked.strip_prefix("stream").is_some_and(|rest| rest.eq_ignore_ascii_case(verb));
    is_stream.then_some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(dialect: Dialect, path: &str, expected: Option<(Host, Option<&str>, bool)>) {
        let route = dialect.route("POST", path);
        let found = if let Route::Ask(target) = &route { Some(target) } else { None };
        assert!(found.is_some() || route == Route::Unknown, "{route:?}");
        let found = found.map(|t| (t.host, t.model.as_deref(), t.stream));
        assert_eq!(found, expected, "{path}");
    }

    #[test]
    fn every_documented_path_leads_to_its_model() {
        let direct = Some((Host::Direct, None, false));
        check(Dialect::OpenAi, "/v1/chat/completions", direct);
        check(Dialect::OpenAi, "/openai/v1/chat/completions", direct);
        check(Dialect::OpenAi, "/api/v1/chat/completions", direct);
        let azure = Some((Host::Azure, Some("my-deployment"), false));
        check(Dialect::OpenAi, "/openai/deployments/my-deployment/chat/completions", azure);
        check(Dialect::Anthropic, "/v1/messages", direct);
        check(
            Dialect::Anthropic,
            "/v1/projects/p/locations/us-east5/publishers/anthropic/models/claude-haiku-5-5:streamRawPredict",
            Some((Host::Vertex, Some("claude-haiku-5-5"), true)),
        );
        let flash = Some("gemini-3.5-flash-lite");
        check(
            Dialect::Gemini,
            "/v1beta/models/gemini-3.5-flash-lite:generateContent",
            Some((Host::Direct, flash, false)),
        );
        check(
            Dialect::Gemini,
            "/v1/models/gemini-3.5-flash-lite:streamGenerateContent",
            Some((Host::Direct, flash, true)),
        );
        check(
            Dialect::Gemini,
            "/v1/projects/p/locations/europe-west4/publishers/google/models/gemini-3.5-flash-lite:generateContent",
            Some((Host::Vertex, flash, false)),
        );
        check(
            Dialect::Gemini,
            "/v1beta1/publishers/google/models/gemini-3.5-flash-lite:generateContent",
            Some((Host::VertexExpress, flash, false)),
        );
        check(Dialect::Mistral, "/v1/chat/completions", direct);
    }

    #[test]
    fn a_path_of_another_dialect_is_unknown() {
        check(Dialect::OpenAi, "/v1/messages", None);
        check(Dialect::Anthropic, "/v1/chat/completions", None);
        check(Dialect::Gemini, "/v1/models/gemini-3.5-flash-lite:countTokens", None);
        check(Dialect::Mistral, "/v1/v1/chat/completions", None);
        assert_eq!(Dialect::Anthropic.route("GET", "/v1/messages"), Route::WrongMethod);
    }

    #[test]
    fn a_dialect_is_read_back_from_its_label() {
        for dialect in Dialect::ALL {
            assert_eq!(dialect.label().parse::<Dialect>().unwrap(), dialect);
        }
        assert!("cohere".parse::<Dialect>().is_err());
    }
}
