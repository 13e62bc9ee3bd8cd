//! The configuration that points a gate at simulated providers.

use crate::dialect::Dialect;
use crate::provider::SimulatedProvider;

/// The key in the configuration; simulated providers take any.
const KEY: &str = "simulated";

/// A `vlmgate.yaml` whose providers are these and whose judges are named as in the shipped policy.
#[must_use]
pub fn vlmgate_config(providers: &[SimulatedProvider]) -> String {
    let mut yaml = String::from("providers:\n");
    for provider in providers {
        let (kind, base_url) = (provider.dialect().label(), provider.base_url());
        let line = format!("{{ kind: {kind}, base_url: \"{base_url}\", key: \"{KEY}\" }}");
        yaml.push_str(&format!("  {kind}: {line}\n"));
    }
    yaml.push_str("judges:\n");
    for provider in providers {
        yaml.push_str(&format!("  {}\n", judge(provider.dialect())));
    }
    yaml
}

/// The judge of each provider: name, model and list price in USD per million tokens.
const fn judge(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::OpenAi => {
            "openai-mini: { provider: openai, model: gpt-6-luna, price: { input: 0.10, output: 0.50 } }"
        }
        Dialect::Anthropic => {
            "claude-haiku: { provider: anthropic, model: claude-haiku-5-5, price: { input: 0.10, output: 0.50 } }"
        }
        Dialect::Gemini => {
            "gemini-flash: { provider: gemini, model: gemini-3.5-flash-lite, price: { input: 0.30, output: 2.50 } }"
        }
        Dialect::Mistral => {
            "mistral-vision: { provider: mistral, model: mistral-small-latest, price: { input: 0.15, output: 0.60 } }"
        }
    }
}
