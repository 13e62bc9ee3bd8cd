//! The configuration is what a person wrote, checked: `vlmgate.yaml`, the policies beside it, a few
//! flags and the environment become plain settings before anything is bound or called.
//!
//! Every problem of a file is told at once, with its place. With a file, a missing secret is an
//! error: a lost key must never turn into a cheaper way of judging. Without any file the program
//! runs on what it brings along, with the judges whose keys are in the environment, and says which
//! it left out. Only this module reads the environment; each part gets its settings as values.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;
use serde_json::Value as Json;

use crate::config::form::file_schema;
use crate::config::loader::{PolicyLoader, Room};
use crate::config::policy_file::PolicyFile;
use crate::config::problem::{Problems, Report, settle};
use crate::config::service_file::ServiceFile;
use crate::config::test_file::TestFile;
use crate::domain::Price;
use crate::drill;
use crate::gate::shadow;
use crate::http::auth::Role;
use crate::ledger::Sync;
use crate::panel::{Care, Expectation};
use crate::provider::local;

pub mod built_in;
pub mod casting;
mod check_file;
pub mod environment;
pub mod files;

mod form;
pub mod loader;
mod policy;
mod policy_file;
mod policy_rules;
pub mod problem;
mod reading;
pub mod rehearsal;
pub mod revision;
mod service;
mod service_file;
mod test_file;
mod units;
pub mod watch;
mod wiring;
mod yaml;

/// The judge that needs no provider and may stand on every route: measurements alone.
pub const LOCAL_JUDGE: &str = local::LOCAL_JUDGE;

/// Everything the program runs on.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it listens and how much it takes on.
    pub server: ServerConfig,
    /// Who may call; none: loopback only.
    pub keys: Vec<KeyConfig>,
    /// Where records go.
    pub store: StoreConfig,
    /// Who serves models, by name.
    pub providers: BTreeMap<String, ProviderConfig>,
    /// Judges by the name that policies use; `local` is not among them and always there.
    pub judges: BTreeMap<String, JudgeConfig>,
    /// Where policies are.
    pub policies: PoliciesConfig,
    /// Judges broken on purpose for a while.
    pub drills: drill::Settings,
    /// How records are watched for drift.
    pub drift: DriftConfig,
    /// How much is asked behind verdicts at once.
    pub shadow: shadow::Settings,
    /// Judges of the built-in configuration whose key is not in the environment: to be told.
    pub left_out: Vec<LeftOut>,
    /// Nobody needs a key although the address is not loopback: asked for in so many words.
    pub insecure_no_auth: bool,
}

/// Where the service listens and how much it takes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// Address and port.
    pub listen: SocketAddr,
    /// Checks worked on at once.
    pub max_in_flight: usize,
    /// Bytes of request bodies held at once.
    pub max_in_flight_bytes: u64,
    /// Memory of all images being decoded and measured at once.
    pub max_decoding_bytes: u64,
    /// Requests that wait in line before the gate.
    pub max_queued: usize,
    /// What happens between SIGTERM and the end.
    pub drain: Drain,
}

/// What happens between SIGTERM and the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    /// Go on accepting for this long, while readyz already fails.
    pub accept_for: Duration,
    /// Finish what is in flight; the whole drain takes at most this long.
    pub at_most: Duration,
}

/// Someone who may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyConfig {
    /// Whose key it is.
    pub name: String,
    /// The SHA-256 of the key; the key itself is nowhere.
    pub sha256: [u8; 32],
    /// What it may do.
    pub roles: Vec<Role>,
}

/// How records are watched for drift.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DriftConfig {
    /// Whole days that are taken as normal.
    pub baseline_days: u32,
    /// False alarms allowed in thirty days.
    pub false_alarms_per_30_days: f64,
}

/// Where records go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// The SQLite file.
    pub sqlite: PathBuf,
    /// How hard records are held on to.
    pub sync: Sync,
}

impl StoreConfig {
    /// The SQLite file of a data folder.
    #[must_use]
    pub fn file_in(dir: &Path) -> PathBuf {
        dir.join("vlmgate.db")
    }

    /// The store of a data folder, as a gate without a file has it.
    #[must_use]
    pub fn in_folder(dir: &Path) -> Self {
        Self { sqlite: Self::file_in(dir), sync: Sync::Normal }
    }

    /// Where kept images go: beside the records.
    #[must_use]
    pub fn images_dir(&self) -> PathBuf {
        service::folder_of(&self.sqlite).join("images")
    }

    /// Where the judges' speed is kept over a restart: beside the records.
    #[must_use]
    pub fn history_file(&self) -> PathBuf {
        service::folder_of(&self.sqlite).join("panel.json")
    }

    /// Where what is known of drift is kept between two runs.
    #[must_use]
    pub fn drift_file(&self) -> PathBuf {
        service::folder_of(&self.sqlite).join("drift.json")
    }
}

/// A provider's wire form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProviderKind {
    /// OpenAI, or anyone who speaks its form at `base_url`.
    OpenAi,
    /// Azure OpenAI.
    Azure,
    /// OpenRouter.
    OpenRouter,
    /// OpenAI's form as other servers understand it (vLLM, llama.cpp, Ollama).
    Compatible,
    /// Anthropic.
    Anthropic,
    /// Gemini with an API key.
    Gemini,
    /// Gemini on Vertex AI.
    Vertex,
    /// Mistral.
    Mistral,
}

impl ProviderKind {
    /// Every kind, in the order they are listed to people.
    pub const ALL: [Self; 8] = [
        Self::OpenAi,
        Self::Azure,
        Self::OpenRouter,
        Self::Compatible,
        Self::Anthropic,
        Self::Gemini,
        Self::Vertex,
        Self::Mistral,
    ];

    /// The word used in files.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Azure => "azure",
            Self::OpenRouter => "openrouter",
            Self::Compatible => "compatible",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
            Self::Vertex => "vertex",
            Self::Mistral => "mistral",
        }
    }
}

/// How Vertex is logged in to.
#[derive(Clone, Debug)]
pub enum GoogleAuth {
    /// Application default credentials.
    Default,
    /// A service account's key: the JSON itself.
    ServiceAccountKey(SecretString),
}

/// Someone who serves models.
#[derive(Clone, Debug)]
pub struct ProviderConfig {
    /// Their wire form.
    pub kind: ProviderKind,
    /// Where they are, without a slash at its end; `None`: their usual address.
    pub base_url: Option<String>,
    /// Their API key; `None`: they take none.
    pub key: Option<SecretString>,
    /// Longest time to connect.
    pub connect_timeout: Duration,
    /// Azure's API version; `None`: its newer address form, which has none.
    pub api_version: Option<String>,
    /// Azure's deployment; `None`: it is called as the model.
    pub deployment: Option<String>,
    /// Vertex's project.
    pub project: Option<String>,
    /// Vertex's region.
    pub location: Option<String>,
    /// How Vertex is logged in to.
    pub auth: Option<GoogleAuth>,
    /// Whether it only plays a provider.
    pub simulated: bool,
}

/// A provider's model under the name that policies use.
#[derive(Clone, Debug, PartialEq)]
pub struct JudgeConfig {
    /// One of the providers.
    pub provider: String,
    /// The model, as the provider calls it.
    pub model: String,
    /// What it costs; `None`: the list price.
    pub price: Option<Price>,
    /// How fast it is expected to be.
    pub expect: Option<Expectation>,
    /// How its health is looked after.
    pub care: Care,
    /// Whether its answers are streamed; `None`: as its provider's kind usually is.
    pub stream: Option<bool>,
}

/// When policies are read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// When their directory changes; on SIGHUP and `/admin/reload` too.
    Watch,
    /// On SIGHUP and `/admin/reload`.
    Sighup,
    /// On `/admin/reload` alone.
    Off,
}

/// Which policies are loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyFolder {
    /// Those of a directory.
    At(PathBuf),
    /// The one that comes with the program.
    Shipped,
}

/// Where policies are, and when they are read again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoliciesConfig {
    /// Which are loaded.
    pub folder: PolicyFolder,
    /// When they are read again.
    pub reload: Reload,
}

/// A judge of the built-in configuration that cannot be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Its name.
    pub judge: String,
    /// The environment variable that would hold its provider's key.
    pub variable: &'static str,
}

/// What the command line says over the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--listen`.
    pub listen: Option<String>,
    /// `--data`: the directory of records and images.
    pub data: Option<PathBuf>,
    /// `--policies`.
    pub policies: Option<PathBuf>,
    /// `--insecure-no-auth`.
    pub insecure_no_auth: bool,
}

impl Config {
    /// What loads this configuration's policies, now and whenever they change.
    #[must_use]
    pub fn policy_loader(&self) -> PolicyLoader {
        PolicyLoader {
            folder: self.policies.folder.clone(),
            judges: self.judges.keys().cloned().collect(),
            left_out: self.left_out.iter().map(|one| one.judge.clone()).collect(),
            room: Room {
                max_in_flight_bytes: self.server.max_in_flight_bytes,
                drain: self.server.drain,
            },
        }
    }
}

/// A YAML file as JSON, nothing resolved: what a schema is held against.
///
/// # Errors
/// Everything that keeps `bytes` from being one YAML document.
pub fn as_json(shown: &str, bytes: &[u8]) -> Result<Json, Problems> {
    let mut report = Report::of(shown);
    let json = yaml::read(bytes, &mut report).map(|node| node.to_json());
    settle(shown, report.into_found(), json)
}

/// The JSON Schema of a policy file, for editors.
#[must_use]
pub fn policy_schema() -> Json {
    file_schema::<PolicyFile>("A policy of vlmgate")
}

/// The JSON Schema of a file of policy tests, for editors.
#[must_use]
pub fn test_schema() -> Json {
    file_schema::<TestFile>("Tests of a policy of vlmgate")
}

/// The JSON Schema of the service's file, for editors.
#[must_use]
pub fn service_schema() -> Json {
    let mut schema = file_schema::<ServiceFile>("The configuration of vlmgate");
    environment::allow_references(&mut schema);
    schema
}
