//! The configuration that needs no file: what a first look at the program runs on.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

use crate::config::environment::Environment;
use crate::config::{
    Config, Drain, DriftConfig, JudgeConfig, LeftOut, PoliciesConfig, PolicyFolder, ProviderConfig,
    ProviderKind, Reload, ServerConfig, StoreConfig,
};
use crate::drill;
use crate::gate::shadow;
use crate::ledger::Sync;
use crate::panel::Care;

/// A judge that the built-in configuration knows.
struct Known {
    judge: &'static str,
    provider: &'static str,
    kind: ProviderKind,
    variable: &'static str,
    model: &'static str,
}

const KNOWN: [Known; 4] = [
    Known {
        judge: "openai-mini",
        provider: "openai",
        kind: ProviderKind::OpenAi,
        variable: "OPENAI_API_KEY",
        model: "gpt-6-luna",
    },
    Known {
        judge: "claude-haiku",
        provider: "anthropic",
        kind: ProviderKind::Anthropic,
        variable: "ANTHROPIC_API_KEY",
        model: "claude-haiku-5-5",
    },
    Known {
        judge: "gemini-flash",
        provider: "gemini",
        kind: ProviderKind::Gemini,
        variable: "GEMINI_API_KEY",
        model: "gemini-3.5-flash-lite",
    },
    Known {
        judge: "mistral-vision",
        provider: "mistral",
        kind: ProviderKind::Mistral,
        variable: "MISTRAL_API_KEY",
        model: "mistral-small-latest",
    },
];

/// Loopback, `./data`, the shipped policy, and the judges whose key is there.
pub(crate) fn config(environment: &Environment) -> Config {
    let mut providers = BTreeMap::new();
    let mut judges = BTreeMap::new();
    let mut left_out = Vec::new();
    for known in KNOWN {
        let Some(key) = environment.get(known.variable) else {
            left_out.push(LeftOut { judge: known.judge.to_owned(), variable: known.variable });
            continue;
        };
        providers.insert(known.provider.to_owned(), provider(known.kind, key));
        judges.insert(known.judge.to_owned(), judge(&known));
    }
    Config {
        server: ServerConfig {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            max_in_flight: 512,
            max_in_flight_bytes: 512 << 20,
            max_decoding_bytes: 512 << 20,
            max_queued: 512,
            drain: Drain { accept_for: Duration::from_secs(1), at_most: Duration::from_secs(20) },
        },
        keys: Vec::new(),
        store: StoreConfig { sqlite: PathBuf::from("data/vlmgate.db"), sync: Sync::Normal },
        providers,
        judges,
        policies: PoliciesConfig { folder: PolicyFolder::Shipped, reload: Reload::Watch },
        drills: drill::Settings::default(),
        drift: DriftConfig { baseline_days: 7, false_alarms_per_30_days: 0.5 },
        shadow: shadow::Settings::default(),
        left_out,
        insecure_no_auth: false,
    }
}

/// The same with every judge, as if each key were there.
pub(crate) fn everybody() -> Config {
    config(&Environment::of(KNOWN.iter().map(|known| (known.variable, "unset"))))
}

fn provider(kind: ProviderKind, key: String) -> ProviderConfig {
    ProviderConfig {
        kind,
        base_url: None,
        key: Some(SecretString::from(key)),
        connect_timeout: Duration::from_millis(300),
        api_version: None,
        deployment: None,
        project: None,
        location: None,
        auth: None,
        simulated: false,
    }
}

fn judge(known: &Known) -> JudgeConfig {
    JudgeConfig {
        provider: known.provider.to_owned(),
        model: known.model.to_owned(),
        price: None,
        expect: None,
        care: Care::default(),
        stream: None,
    }
}
