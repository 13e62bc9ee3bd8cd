//! From the configuration to the settings of each part: parts own their settings and know nothing
//! of files, so this is the one place that knows both.

use std::time::Duration;

use secrecy::ExposeSecret;

use crate::config::environment::Environment;
use crate::config::problem::Problems;
use crate::config::{Config, GoogleAuth, JudgeConfig, ProviderConfig, ProviderKind, StoreConfig};
use crate::gate::admission::Limits;
use crate::http;
use crate::http::auth::{Key, KeyDigest};
use crate::imaging;
use crate::ledger;
use crate::ledger::follow;
use crate::provider::google_auth::{ServiceAccount, Source};
use crate::provider::settings::{Credential, JudgeSettings, Kind, ProviderSettings};
use crate::provider::{anthropic, gemini};

/// Longest wait for a record's commit, however far the deadline.
const APPEND_WAIT: Duration = Duration::from_secs(2);
/// Disk room held back for records when pictures have filled the rest.
const SPARE_BYTES: u64 = 16 << 20;
/// Connections for reading records.
const READERS: u32 = 4;
/// Where Google's own libraries look for a key file.
const GOOGLE_KEY_FILE: &str = "GOOGLE_APPLICATION_CREDENTIALS";

impl StoreConfig {
    /// How the store is opened by who only reads it.
    #[must_use]
    pub fn settings(&self) -> ledger::Settings {
        ledger::Settings {
            path: self.sqlite.clone(),
            images_dir: self.images_dir(),
            sync: self.sync,
            max_pending: 1,
            append_wait: APPEND_WAIT,
            readers: READERS,
            max_file_bytes: None,
            spare_bytes: SPARE_BYTES,
        }
    }
}

impl Config {
    /// What the ledger runs on. Slots outnumber the checks in flight: a record that waits for the
    /// disk must not keep the next check out.
    #[must_use]
    pub fn ledger_settings(&self) -> ledger::Settings {
        let max_pending = self.server.max_in_flight.saturating_mul(2);
        ledger::Settings { max_pending, ..self.store.settings() }
    }

    /// How records are counted and watched.
    #[must_use]
    pub fn follow_settings(&self) -> follow::Settings {
        follow::Settings {
            baseline_days: self.drift.baseline_days,
            false_alarms_per_30_days: self.drift.false_alarms_per_30_days,
            burst_images: self.shadow.burst.map_or(0, |burst| burst.images),
            checkpoint: self.store.drift_file(),
        }
    }

    /// What may be in flight at once, and how many may wait.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits {
            max_in_flight: self.server.max_in_flight,
            max_in_flight_bytes: usize::try_from(self.server.max_in_flight_bytes)
                .unwrap_or(usize::MAX),
            max_queued: self.server.max_queued,
        }
    }

    /// What pixels are worked on with.
    #[must_use]
    pub fn imaging_settings(&self) -> imaging::Settings {
        imaging::Settings {
            max_decoding_bytes: self.server.max_decoding_bytes,
            ..imaging::Settings::default()
        }
    }

    /// What the HTTP face runs on.
    #[must_use]
    pub fn http_settings(&self) -> http::Settings {
        let keys = self.keys.iter().map(|key| Key {
            name: key.name.clone(),
            sha256: KeyDigest::from(key.sha256),
            roles: key.roles.clone(),
        });
        http::Settings {
            keys: keys.collect(),
            loopback_only: self.keys.is_empty() && !self.insecure_no_auth,
            max_keys_running: self.server.max_in_flight,
            ..http::Settings::default()
        }
    }

    /// What every judge over HTTP is built from.
    ///
    /// # Errors
    /// A Google key file that is none.
    pub fn judge_settings(
        &self,
        environment: &Environment,
    ) -> Result<Vec<(ProviderSettings, JudgeSettings)>, Problems> {
        let mut settings = Vec::new();
        for (name, judge) in &self.judges {
            let Some(config) = self.providers.get(&judge.provider) else { continue };
            let credential = credential(&judge.provider, config, environment)?;
            let provider = provider_settings(&judge.provider, config, credential);
            settings.push((provider, judge_settings(name, judge, config)));
        }
        Ok(settings)
    }

    /// The same without what proves who we are: nobody can be called with it.
    #[must_use]
    pub fn keyless_judge_settings(&self) -> Vec<(ProviderSettings, JudgeSettings)> {
        let settings = self.judges.iter().filter_map(|(name, judge)| {
            let config = self.providers.get(&judge.provider)?;
            let provider = provider_settings(&judge.provider, config, Credential::None);
            Some((provider, judge_settings(name, judge, config)))
        });
        settings.collect()
    }

    /// The judges that policies may name, `local` aside.
    #[must_use]
    pub fn judge_names(&self) -> Vec<String> {
        self.judges.keys().cloned().collect()
    }

    /// One line for people.
    #[must_use]
    pub fn summary(&self) -> String {
        let judges = self.judge_names();
        let judges = if judges.is_empty() { "local only".to_owned() } else { judges.join(", ") };
        format!(
            "listen {}, store {}, judges {judges}",
            self.server.listen,
            self.store.sqlite.display()
        )
    }
}

/// An Azure deployment is called by its own name; the model behind it is told apart.
fn judge_settings(name: &str, judge: &JudgeConfig, provider: &ProviderConfig) -> JudgeSettings {
    let deployment = provider.deployment.clone();
    let family = deployment.is_some().then(|| judge.model.clone());
    JudgeSettings {
        name: name.to_owned(),
        model: deployment.unwrap_or_else(|| judge.model.clone()),
        family,
        price: judge.price.clone(),
        expect: judge.expect,
        stream: judge.stream,
    }
}

fn provider_settings(
    name: &str,
    config: &ProviderConfig,
    credential: Credential,
) -> ProviderSettings {
    ProviderSettings {
        name: name.to_owned(),
        kind: kind(config),
        base_url: config.base_url.clone(),
        credential,
        connect_timeout: config.connect_timeout,
        simulated: config.simulated,
    }
}

fn credential(
    name: &str,
    config: &ProviderConfig,
    environment: &Environment,
) -> Result<Credential, Problems> {
    Ok(match (&config.auth, config.key.clone()) {
        (Some(auth), _) => Credential::Google(google(name, auth, environment)?),
        (None, Some(key)) => Credential::Key(key),
        (None, None) => Credential::None,
    })
}

fn kind(config: &ProviderConfig) -> Kind {
    match config.kind {
        ProviderKind::OpenAi => Kind::OpenAi,
        ProviderKind::Compatible => Kind::Compatible,
        ProviderKind::OpenRouter => Kind::OpenRouter,
        ProviderKind::Azure => match &config.api_version {
            Some(api_version) => Kind::AzureDeployment { api_version: api_version.clone() },
            None => Kind::AzureV1,
        },
        ProviderKind::Anthropic => Kind::Anthropic {
            version: config.api_version.clone().unwrap_or_else(|| anthropic::VERSION.to_owned()),
        },
        ProviderKind::Gemini => Kind::Gemini {
            version: config.api_version.clone().unwrap_or_else(|| gemini::VERSION.to_owned()),
        },
        ProviderKind::Vertex => Kind::Vertex {
            project: config.project.clone().unwrap_or_default(),
            location: config.location.clone().unwrap_or_default(),
            version: gemini::VERTEX_VERSION.to_owned(),
        },
        ProviderKind::Mistral => Kind::Mistral,
    }
}

/// Application default credentials: the key file that the environment names, else the machine's.
fn google(name: &str, auth: &GoogleAuth, environment: &Environment) -> Result<Source, Problems> {
    let unusable = |file: &str, why: String| Problems::of_file(file, format!("{name}: {why}"));
    let (file, text) = match auth {
        GoogleAuth::ServiceAccountKey(text) => {
            ("providers".to_owned(), text.expose_secret().to_owned())
        }
        GoogleAuth::Default => match environment.get(GOOGLE_KEY_FILE) {
            None => return Ok(Source::MetadataServer { base_url: None }),
            Some(file) => {
                let text = std::fs::read_to_string(&file);
                let text = text.map_err(|why| unusable(&file, format!("cannot be read: {why}")))?;
                (file, text)
            }
        },
    };
    let account = ServiceAccount::parse(&text).map_err(|why| unusable(&file, why.to_string()))?;
    Ok(Source::ServiceAccount(account))
}
