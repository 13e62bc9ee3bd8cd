//! A model family is what is known of a model beyond its name: which parameters it takes, how it
//! counts a picture, what it costs. It is data with a date, because all of it ages within weeks.
//!
//! A model that is not listed gets the parameters that its dialect's oldest and newest models all
//! accept, and room to think.

use serde::Deserialize;
use thiserror::Error;

use crate::domain::Price;
use crate::provider::BuildError;
use crate::provider::dialect::Dialect;
use crate::provider::settings::{JudgeSettings, Kind, ProviderSettings};
use crate::provider::sight::Counting;

/// The shipped list.
const MODELS: &str = include_str!("models.json");

/// A model where it is served, with what is known of it.
#[derive(Clone, Debug)]
pub struct Model {
    /// As the provider names it.
    pub name: String,
    /// How it is addressed.
    pub kind: Kind,
    /// What it takes and costs.
    pub traits: Traits,
    /// Whether its answers are asked for as a stream.
    pub streams: bool,
}

/// What a model takes, how it sees and what it costs.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Traits {
    /// Whether `temperature: 0` may be sent.
    #[serde(default)]
    pub temperature: bool,
    /// Whether a seed may be sent.
    #[serde(default)]
    pub seed: bool,
    /// The least reasoning effort the model takes; not sent where absent.
    #[serde(default)]
    pub effort: Option<String>,
    /// The least thinking mode the model takes; not sent where absent.
    #[serde(default)]
    pub thinking: Option<String>,
    /// The least thinking budget, where the model takes one.
    #[serde(default)]
    pub thinking_budget: Option<u32>,
    /// Output tokens added to the visible allowance, because thinking counts toward it.
    #[serde(default)]
    pub thinking_tokens: u32,
    /// How a picture is counted in tokens.
    pub picture: Counting,
    /// Share of the expected picture tokens below which the model has not seen the picture.
    pub floor_percent: u64,
    /// The list price.
    #[serde(default)]
    pub price: Option<ListPrice>,
}

impl Model {
    /// What is known of a judge's model.
    ///
    /// # Errors
    /// [`BuildError::Name`] for a name that would change the address.
    pub fn find(provider: &ProviderSettings, judge: &JudgeSettings) -> Result<Self, BuildError> {
        let list = Catalogue::shipped()?;
        let mut kind = provider.kind.clone();
        let family = judge.family.as_deref().unwrap_or(&judge.model);
        let lineage = match &kind {
            Kind::OpenAi | Kind::OpenRouter | Kind::AzureDeployment { .. } | Kind::AzureV1 => {
                Lineage::OpenAi
            }
            Kind::Compatible => Lineage::Compatible,
            Kind::Anthropic { .. } => Lineage::Anthropic,
            Kind::Gemini { .. } | Kind::Vertex { .. } | Kind::VertexExpress { .. } => {
                Lineage::Gemini
            }
            Kind::Mistral => Lineage::Mistral,
        };
        let mut traits = list.known(lineage, family);
        let elsewhere = |url: &String| !url.starts_with("https://api.openai.com");
        if kind == Kind::OpenAi
            && traits.is_none()
            && provider.base_url.as_ref().is_some_and(elsewhere)
        {
            kind = Kind::Compatible;
            traits = list.unknown(Lineage::Compatible);
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || "._:@+/-".contains(c);
        let names = kind.names().into_iter().chain([judge.model.as_str()]);
        for text in names {
            if text.is_empty() || !text.chars().all(plain) || text.contains("..") {
                let (judge, text) = (judge.name.clone(), text.to_owned());
                return Err(BuildError::Name { judge, text });
            }
        }
        let unlisted = || list.unknown(lineage).cloned();
        let traits = traits.cloned().or_else(unlisted).unwrap_or_else(Traits::nothing);
        let streams = judge.stream.unwrap_or_else(|| kind.streams());
        Ok(Self { name: judge.model.clone(), kind, traits, streams })
    }

    /// Everything beyond the question that shapes the answer, as one canonical text.
    #[must_use]
    pub fn parameters(&self) -> String {
        let Traits {
            temperature, seed, effort, thinking, thinking_budget, thinking_tokens, ..
        } = &self.traits;
        let version = match &self.kind {
            Kind::Anthropic { version } => version.as_str(),
            Kind::OpenAi
            | Kind::Compatible
            | Kind::OpenRouter
            | Kind::AzureDeployment { .. }
            | Kind::AzureV1
            | Kind::Gemini { .. }
            | Kind::Vertex { .. }
            | Kind::VertexExpress { .. }
            | Kind::Mistral => "",
        };
        format!(
            "dialect={} version={version} model={} temperature={temperature} seed={seed} \
             effort={effort:?} thinking={thinking:?} thinking_budget={thinking_budget:?} \
             thinking_tokens={thinking_tokens} detail=high",
            Dialect::of(&self.kind).label(),
            self.name,
        )
    }
}

impl Traits {
    /// What is known of a model when the list says nothing at all.
    #[must_use]
    pub fn nothing() -> Self {
        Self {
            temperature: false,
            seed: false,
            effort: None,
            thinking: None,
            thinking_budget: None,
            thinking_tokens: 0,
            picture: Counting::Unknown,
            floor_percent: 0,
            price: None,
        }
    }
}

/// A list price in USD per million tokens.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListPrice {
    /// Input that was not cached.
    pub input: f64,
    /// Cached input.
    pub cached: f64,
    /// Output, thinking included.
    pub output: f64,
}

/// Whose list of families a model stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lineage {
    /// OpenAI's own models, wherever they are served.
    OpenAi,
    /// Whatever an OpenAI-compatible server serves.
    Compatible,
    /// Claude.
    Anthropic,
    /// Gemini.
    Gemini,
    /// Mistral.
    Mistral,
}

/// Every known family.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    /// The day the list was read, `YYYY-MM-DD`.
    pub as_of: String,
    families: Vec<Family>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Family {
    lineage: Lineage,
    /// Whole model names, or their beginnings up to a `-`, `@` or `:`; none: what is not listed.
    names: Vec<String>,
    traits: Traits,
}

/// The shipped list cannot be read.
#[derive(Debug, Error)]
#[error("the list of models cannot be read: {0}")]
pub struct CatalogueError(#[from] serde_json::Error);

impl Catalogue {
    /// The shipped list.
    ///
    /// # Errors
    /// When the list that was built in is malformed, which a test rules out.
    pub fn shipped() -> Result<Self, CatalogueError> {
        Ok(serde_json::from_str(MODELS)?)
    }

    /// The traits of a listed model: the longest name that fits wins.
    #[must_use]
    pub fn known(&self, lineage: Lineage, model: &str) -> Option<&Traits> {
        let of_lineage = self.families.iter().filter(|family| family.lineage == lineage);
        let named = of_lineage.flat_map(|family| family.names.iter().map(move |n| (n, family)));
        let fitting = named.filter(|(name, _)| belongs(model, name));
        fitting.max_by_key(|(name, _)| name.len()).map(|(_, family)| &family.traits)
    }

    /// The traits of a model of which only the lineage is known.
    #[must_use]
    pub fn unknown(&self, lineage: Lineage) -> Option<&Traits> {
        let mut of_lineage = self.families.iter().filter(|family| family.lineage == lineage);
        of_lineage.find(|family| family.names.is_empty()).map(|family| &family.traits)
    }
}

impl ListPrice {
    /// The price per token, with the day it was read.
    #[must_use]
    pub fn dated(self, as_of: &str) -> Price {
        Price {
            input_nano_usd: nano_usd(self.input),
            cached_nano_usd: nano_usd(self.cached),
            output_nano_usd: nano_usd(self.output),
            as_of: as_of.to_owned(),
        }
    }
}

/// Nano-dollars per token, from dollars per million tokens.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float cast saturates, and a price is rounded on purpose"
)]
pub fn nano_usd(usd_per_million: f64) -> u64 {
    (usd_per_million * 1e3).round() as u64
}

fn belongs(model: &str, name: &str) -> bool {
    let rest = model.strip_prefix(name);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '@', ':']))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINEAGES: [Lineage; 5] = [
        Lineage::OpenAi,
        Lineage::Compatible,
        Lineage::Anthropic,
        Lineage::Gemini,
        Lineage::Mistral,
    ];

    #[test]
    fn the_shipped_list_is_whole() {
        let list = Catalogue::shipped().unwrap();
        assert!(list.as_of.parse::<jiff::civil::Date>().is_ok());
        for lineage in LINEAGES {
            assert!(list.unknown(lineage).is_some(), "{lineage:?}");
        }
        let mut names: Vec<&String> = list.families.iter().flat_map(|f| &f.names).collect();
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all, "a name is listed twice");
        let floors = list.families.iter().map(|family| family.traits.floor_percent);
        assert!(floors.into_iter().all(|percent| percent <= 100));
    }

    #[test]
    fn the_longest_fitting_name_wins_and_a_neighbour_is_not_a_relative() {
        let list = Catalogue::shipped().unwrap();
        let mini = list.known(Lineage::OpenAi, "gpt-5.4-mini-2026-03-17").unwrap();
        assert_eq!(mini.price.map(|price| nano_usd(price.input)), Some(750));
        assert!(list.known(Lineage::OpenAi, "gpt-5.7").is_none());
        assert!(list.known(Lineage::OpenAi, "claude-haiku-5-5").is_none());
    }

    #[test]
    fn an_unknown_model_is_sent_nothing_a_new_model_refuses() {
        let list = Catalogue::shipped().unwrap();
        for lineage in [Lineage::OpenAi, Lineage::Anthropic, Lineage::Gemini] {
            let traits = list.unknown(lineage).unwrap();
            assert!(!traits.temperature && !traits.seed, "{lineage:?}");
            assert_eq!((&traits.effort, &traits.thinking), (&None, &None), "{lineage:?}");
            assert!(1_000 <= traits.thinking_tokens, "{lineage:?}");
        }
    }

    #[test]
    fn a_list_price_is_kept_to_the_nano_dollar() {
        let price = ListPrice { input: 0.10, cached: 0.015, output: 0.50 }.dated("2026-11-21");
        assert_eq!(
            (price.input_nano_usd, price.cached_nano_usd, price.output_nano_usd),
            (100, 15, 500)
        );
        assert_eq!((nano_usd(-1.0), nano_usd(f64::NAN)), (0, 0));
    }
}
