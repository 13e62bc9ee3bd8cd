//! The settings of providers and judges, in the checked form that judges are built from.

use std::time::Duration;

use secrecy::SecretString;

use crate::domain::Price;
use crate::panel::Expectation;
use crate::provider::gemini;
use crate::provider::google_auth::Source;

/// How long opening a connection may take where the configuration does not say.
pub const CONNECT_TIMEOUT: Duration = Duration::from_millis(300);

/// `Authorization: Bearer …`.
pub(crate) const BEARER: (&str, &str) = ("authorization", "Bearer ");

/// What serves the model, and how it is addressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// OpenAI. With a base URL of its own and a model that is not OpenAI's: as `Compatible`.
    OpenAi,
    /// A server that speaks chat completions: vLLM, llama.cpp, Ollama, a gateway.
    Compatible,
    /// OpenRouter.
    OpenRouter,
    /// Azure, the model being a deployment in the path.
    AzureDeployment {
        /// `api-version`.
        api_version: String,
    },
    /// Azure's version 1, the model being a deployment in the body.
    AzureV1,
    /// Anthropic.
    Anthropic {
        /// `anthropic-version`; [`crate::provider::anthropic::VERSION`] unless pinned.
        version: String,
    },
    /// Gemini through AI Studio.
    Gemini {
        /// [`gemini::VERSION`] unless pinned.
        version: String,
    },
    /// Gemini through Vertex AI.
    Vertex {
        /// The Google Cloud project.
        project: String,
        /// A region, or `global`, `us`, `eu`.
        location: String,
        /// [`gemini::VERTEX_VERSION`] unless pinned.
        version: String,
    },
    /// Gemini through Vertex AI with an express key.
    VertexExpress {
        /// [`gemini::VERTEX_VERSION`] unless pinned.
        version: String,
    },
    /// Mistral.
    Mistral,
}

/// How we prove who we are.
#[derive(Clone, Debug)]
pub enum Credential {
    /// Not at all: a server of our own.
    None,
    /// By the key, in the header that this kind of provider expects.
    Key(SecretString),
    /// By a token, as `Authorization: Bearer`.
    Bearer(SecretString),
    /// By Google tokens that are renewed.
    Google(Source),
}

/// One provider of the configuration.
#[derive(Clone, Debug)]
pub struct ProviderSettings {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Its address, where it is not the kind's own.
    pub base_url: Option<String>,
    /// How we prove who we are.
    pub credential: Credential,
    /// How long opening a connection may take.
    pub connect_timeout: Duration,
    /// Whether it only plays a provider.
    pub simulated: bool,
}

/// One judge of the configuration.
#[derive(Clone, Debug)]
pub struct JudgeSettings {
    /// The name policies use.
    pub name: String,
    /// The provider's model, or the deployment's name.
    pub model: String,
    /// The model behind a name that does not tell it (an Azure deployment).
    pub family: Option<String>,
    /// The price; the list price where absent.
    pub price: Option<Price>,
    /// How fast it is expected to be.
    pub expect: Option<Expectation>,
    /// Whether its answers come as a stream; `None`: where its kind is known to write an answer in
    /// the order of its schema.
    pub stream: Option<bool>,
}

impl Kind {
    /// Where it is reached unless the configuration says otherwise.
    #[must_use]
    pub fn base_url(&self) -> Option<String> {
        let known = match self {
            Self::OpenAi => "https://api.openai.com/v1",
            Self::OpenRouter => "https://openrouter.ai/api/v1",
            Self::Anthropic { .. } => "https://api.anthropic.com",
            Self::Gemini { .. } => "https://generativelanguage.googleapis.com",
            Self::VertexExpress { .. } => "https://aiplatform.googleapis.com",
            Self::Mistral => "https://api.mistral.ai",
            Self::Vertex { location, .. } => return Some(gemini::vertex_base_url(location)),
            Self::Compatible | Self::AzureDeployment { .. } | Self::AzureV1 => return None,
        };
        Some(known.to_owned())
    }

    /// Whether answers are streamed where the configuration does not say: what stands behind a
    /// compatible server or a relay is unknown, and with it the order in which it answers.
    pub(crate) fn streams(&self) -> bool {
        match self {
            Self::OpenAi
            | Self::AzureDeployment { .. }
            | Self::AzureV1
            | Self::Anthropic { .. }
            | Self::Gemini { .. }
            | Self::Vertex { .. }
            | Self::VertexExpress { .. }
            | Self::Mistral => true,
            Self::Compatible | Self::OpenRouter => false,
        }
    }

    /// The header that carries a key, and what stands before the key in it.
    pub(crate) fn key_header(&self) -> (&'static str, &'static str) {
        match self {
            Self::OpenAi | Self::Compatible | Self::OpenRouter | Self::Mistral => BEARER,
            Self::AzureDeployment { .. } | Self::AzureV1 => ("api-key", ""),
            Self::Anthropic { .. } => ("x-api-key", ""),
            Self::Gemini { .. } | Self::Vertex { .. } | Self::VertexExpress { .. } => {
                ("x-goog-api-key", "")
            }
        }
    }

    /// A question that costs nothing and is answered only to a valid key.
    pub(crate) fn probe_path(&self, model: &str) -> String {
        match self {
            Self::OpenAi | Self::Compatible => "/models".to_owned(),
            Self::OpenRouter => "/key".to_owned(),
            Self::AzureDeployment { api_version } => {
                format!("/openai/models?api-version={api_version}")
            }
            Self::AzureV1 => "/openai/v1/models".to_owned(),
            Self::Anthropic { .. } | Self::Mistral => "/v1/models".to_owned(),
            Self::Gemini { version } => format!("/{version}/models"),
            Self::Vertex { version, .. } | Self::VertexExpress { version } => {
                format!("/{version}/publishers/google/models/{model}")
            }
        }
    }

    /// What the configuration puts into addresses and headers.
    pub(crate) fn names(&self) -> Vec<&str> {
        match self {
            Self::OpenAi | Self::Compatible | Self::OpenRouter | Self::AzureV1 | Self::Mistral => {
                Vec::new()
            }
            Self::AzureDeployment { api_version: version }
            | Self::Anthropic { version }
            | Self::Gemini { version }
            | Self::VertexExpress { version } => vec![version],
            Self::Vertex { project, location, version } => vec![project, location, version],
        }
    }
}
