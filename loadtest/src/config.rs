//! The configuration that points a gate at simulated providers.

use crate::dialect::Dialect;
use crate::provider::SimulatedProvider;

/// The key in the configuration; simulated providers take any.
const KEY: &str = "simulated";

/// A `vlmgate.yaml` whose providers are these. The judge of a provider that is called by its dialect is
/// named as in the shipped policy, any other one by its provider's name.
#[must_use]
pub fn vlmgate_config(providers: &[SimulatedProvider]) -> String {
    let mut yaml = String::from("providers:\n");
    for provider in providers {
        let (kind, base_url) = (provider.dialect().label(), provider.base_url());
        let line = format!(
            "{{ kind: {kind}, base_url: \"{base_url}\", key: \"{KEY}\", simulated: true }}"
        );
        yaml.push_str(&format!("  {}: {line}\n", provider.name()));
    }
    yaml.push_str("judges:\n");
    for provider in providers {
        let (name, dialect) = (provider.name(), provider.dialect());
        let (model, price) = model(dialect);
        let judge = if name == dialect.label() { shipped_name(dialect) } else { name };
        let line = format!("{{ provider: {name}, model: {model}, price: {price} }}");
        yaml.push_str(&format!("  {judge}: {line}\n"));
    }
    yaml
}

/// What the shipped policy calls the judge of a dialect.
const fn shipped_name(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::OpenAi => "openai-mini",
        Dialect::Anthropic => "claude-haiku",
        Dialect::Gemini => "gemini-flash",
        Dialect::Mistral => "mistral-vision",
    }
}

/// The model of each dialect and its list price in USD per million tokens.
const fn model(dialect: Dialect) -> (&'static str, &'static str) {
    match dialect {
        Dialect::OpenAi => ("gpt-6-luna", "{ input: 0.10, output: 0.50 }"),
        Dialect::Anthropic => ("claude-haiku-5-5", "{ input: 0.10, output: 0.50 }"),
        Dialect::Gemini => ("gemini-3.5-flash-lite", "{ input: 0.30, output: 2.50 }"),
        Dialect::Mistral => ("mistral-small-latest", "{ input: 0.15, output: 0.60 }"),
    }
}
