//! A profile is all that is known of a judge without calling it: who it is, what it speaks, what it
//! costs and how fast it is expected to be.
//!
//! It needs neither a key nor a connection, so a policy can be rehearsed with the judges of a
//! service on a machine that holds none of its secrets.

use crate::domain::{JudgeId, MicroUsd, Price, Tokens};
use crate::panel::{Expectation, Question};
use crate::provider::dialect::Dialect;
use crate::provider::model::Model;
use crate::provider::settings::{JudgeSettings, ProviderSettings};
use crate::provider::{BuildError, price, sight};

/// A judge, known and not called.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Who it is.
    pub id: JudgeId,
    /// The provider's wire form.
    pub dialect: &'static str,
    /// How fast it is expected to be.
    pub expect: Option<Expectation>,
    /// Model, dialect and parameters as one canonical text.
    pub parameters: String,
    model: Model,
    price: Price,
}

impl Profile {
    /// What is known of the judge of these settings.
    ///
    /// # Errors
    /// [`BuildError`]: what the configuration must say instead.
    pub fn new(provider: &ProviderSettings, judge: &JudgeSettings) -> Result<Self, BuildError> {
        let model = Model::find(provider, judge)?;
        let (name, provider) = (judge.name.clone(), provider.name.clone());
        Ok(Self {
            id: JudgeId { name, provider, model: judge.model.clone() },
            dialect: Dialect::of(&model.kind).label(),
            expect: judge.expect,
            parameters: model.parameters(),
            price: price(&model, judge)?,
            model,
        })
    }

    /// What one call is expected to cost.
    #[must_use]
    pub fn estimate(&self, question: &Question) -> MicroUsd {
        estimate(&self.model, &self.price, question)
    }
}

/// What asking `model` this question is expected to cost: all that is sent, and all that it may say.
pub(crate) fn estimate(model: &Model, price: &Price, question: &Question) -> MicroUsd {
    let asked = question.criteria.iter().map(|one| one.id.len()).sum::<usize>();
    let chars = question.system.chars().count() + question.user.chars().count() + asked;
    let chars = u64::try_from(chars).unwrap_or(u64::MAX);
    let input = sight::expected_input_tokens(&model.traits, &question.views, chars);
    let output = u64::from(question.max_output_tokens);
    price.cost(Tokens { input, cached: 0, output, image: None })
}
