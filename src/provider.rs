//! A provider is who serves a judge's model over HTTP; a [`ProviderJudge`] is one model there.
//!
//! It is asked by encode → send → decode. Encoding and decoding are pure functions of a
//! [`dialect`], tested against golden messages; only [`transport`] waits, under the attempt's
//! deadline, up to the last byte, or up to the scores where the answer streams. A key is held as a
//! secret and appears in no error, log or debug text.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::{HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;

use crate::clock::{Deadline, Stopwatch};
use crate::domain::{AttemptOutcome, JudgeId, MicroUsd, Price};
use crate::imaging::Imaging;
use crate::panel::{Answered, AttemptError, Expectation, Judge, Question};
use crate::provider::answer::Shape;
use crate::provider::dialect::Dialect;
use crate::provider::google_auth::{AccessTokens, KeyError};
use crate::provider::model::{Catalogue, CatalogueError, Model};
use crate::provider::reading::Reader;
use crate::provider::sabotage::Sabotage;
use crate::provider::settings::{BEARER, Credential, JudgeSettings, Kind, ProviderSettings};
use crate::provider::sight::{Floor, Sight};
use crate::provider::transport::{Incoming, Transport};
use crate::provider::wire::{Ask, WireRequest, WireResponse};

pub mod answer;
pub mod anthropic;
pub mod classify;
pub mod dialect;
pub mod gemini;
pub mod google_auth;
pub mod local;
pub mod mistral;
pub mod model;
pub mod openai;
pub mod pieces;
pub mod profile;
mod reading;
pub mod sabotage;
pub mod scan;
pub mod settings;
pub mod sight;
pub mod sse;
pub mod stream;
pub mod transport;
pub mod wire;

/// The seed that is sent where a model takes one: any number, but always the same.
pub const SEED: u32 = 7;

/// Why a judge cannot be built.
#[derive(Debug, Error)]
pub enum BuildError {
    /// A kind that has no address of its own.
    #[error("provider {provider}: a base_url is needed")]
    NoBaseUrl {
        /// The provider.
        provider: String,
    },
    /// An address that cannot be called.
    #[error("provider {provider}: base_url {why}")]
    BaseUrl {
        /// The provider.
        provider: String,
        /// What is wrong with it.
        why: String,
    },
    /// A key that no header can carry.
    #[error("provider {provider}: the key holds characters that no header can carry")]
    Key {
        /// The provider.
        provider: String,
    },
    /// Google's key file is of no use.
    #[error("provider {provider}: {why}")]
    Google {
        /// The provider.
        provider: String,
        /// What is wrong with it.
        why: KeyError,
    },
    /// A name that would change the address.
    #[error(
        "judge {judge}: {text:?} holds characters other than letters, digits and . _ : @ + / -"
    )]
    Name {
        /// The judge.
        judge: String,
        /// The model, project, location or version.
        text: String,
    },
    /// A paid model that is not on the price list.
    #[error("judge {judge}: the price of {model} is not known, state it as price")]
    NoPrice {
        /// The judge.
        judge: String,
        /// The model.
        model: String,
    },
    /// The shipped list of models.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
}

/// One model at one provider, as a judge.
#[derive(Debug)]
pub struct ProviderJudge {
    id: JudgeId,
    model: Model,
    dialect: Dialect,
    price: Price,
    expect: Option<Expectation>,
    parameters: String,
    transport: Transport,
    /// Marked sensitive: its debug text is not its value.
    header: Option<(HeaderName, HeaderValue)>,
    tokens: Option<AccessTokens>,
    /// Whether it has seen its pictures lately.
    sight: Arc<Sight>,
    /// Whether its provider only plays one.
    simulated: bool,
}

impl ProviderJudge {
    /// A judge that has not called anybody yet.
    ///
    /// # Errors
    /// [`BuildError`]: what the configuration must say instead.
    pub fn new(provider: &ProviderSettings, judge: &JudgeSettings) -> Result<Self, BuildError> {
        let model = Model::find(provider, judge)?;
        let name = || provider.name.clone();
        let base = provider.base_url.clone().or_else(|| model.kind.base_url());
        let base = base.ok_or_else(|| BuildError::NoBaseUrl { provider: name() })?;
        let transport = Transport::new(&base, provider.connect_timeout)
            .map_err(|why| BuildError::BaseUrl { provider: name(), why })?;
        let tokens = match &provider.credential {
            Credential::Google(source) => Some(
                AccessTokens::new(source.clone(), provider.connect_timeout)
                    .map_err(|why| BuildError::Google { provider: name(), why })?,
            ),
            Credential::None | Credential::Key(_) | Credential::Bearer(_) => None,
        };
        Ok(Self {
            id: JudgeId { name: judge.name.clone(), provider: name(), model: judge.model.clone() },
            dialect: Dialect::of(&model.kind),
            price: price(&model, judge)?,
            expect: judge.expect,
            parameters: model.parameters(),
            header: header(&model.kind, &provider.credential)
                .map_err(|_| BuildError::Key { provider: name() })?,
            model,
            transport,
            tokens,
            sight: Arc::default(),
            simulated: provider.simulated,
        })
    }

    /// Opens connections and fetches a token ahead of the first image; failures show there.
    pub async fn warm(&self, deadline: Deadline) {
        let token = async {
            if let Some(tokens) = &self.tokens {
                // a failure is kept, and told to the first call
                let _token = tokens.valid(deadline).await;
            }
        };
        futures_util::future::join(self.transport.warm(deadline), token).await;
    }

    /// Replaces the connections again and again, see [`Transport::renew_often`].
    pub async fn renew_often(&self, pool: &Imaging, every: Duration) {
        self.transport.renew_often(pool, every).await;
    }

    /// Calls the provider without asking a model: whether it is there and takes our key.
    ///
    /// # Errors
    /// What is in the way, for a person.
    pub async fn probe(&self, deadline: Deadline) -> Result<String, String> {
        let base = self.transport.base_url();
        let path = self.model.kind.probe_path(&self.model.name);
        let mut request = dialect::dress(&self.model.kind, WireRequest::get(path));
        request.headers.extend(self.header.clone());
        let said = self.call(request, deadline).await;
        let response = said.map_err(|error| format!("{base}: {error}"))?;
        if (200..300).contains(&response.status) {
            return Ok(format!("{base} answers and takes the key"));
        }
        if response.status == 404 {
            let unchecked = "whether it takes the key shows at the first image";
            return Ok(format!("{base} answers; {unchecked}"));
        }
        let error = classify::http_error(self.dialect, &response);
        Err(format!("{base}: {error}"))
    }

    /// The request for `ask`, our key included; a token that is renewed is added on sending.
    ///
    /// # Errors
    /// When the body cannot be written, which no question causes.
    pub fn encode(&self, ask: &Ask<'_>) -> Result<WireRequest, AttemptError> {
        let mut request = dialect::encode(&self.model, ask)
            .map_err(|why| AttemptError::new(AttemptOutcome::BadRequest, why.to_string()))?;
        request.headers.extend(self.header.clone());
        Ok(request)
    }

    /// The whole address that `request` goes to.
    #[must_use]
    pub fn address(&self, request: &WireRequest) -> String {
        self.transport.url(&request.path)
    }

    /// What breaks this judge's calls in a drill.
    #[must_use]
    pub fn sabotage(&self) -> &Arc<Sabotage> {
        self.transport.sabotage()
    }

    async fn ask(&self, question: &Question, deadline: Deadline) -> Result<Answered, AttemptError> {
        let watch = Stopwatch::start();
        let shape = Shape::of_judgement(&question.criteria);
        let ask = Ask::new(question, &shape);
        let mut request = self.encode(&ask)?;
        request.struck = question.struck.clone();
        let floor = Floor::of(&self.model.traits, &ask);
        let incoming = self.open(request, deadline).await?;
        let reader = Reader {
            judge: self.id.name.clone(),
            dialect: self.dialect,
            criteria: question.criteria.clone(),
            reason_chars: question.reason_chars,
            early: question.early && self.model.streams,
            shape,
            floor,
            sight: Arc::clone(&self.sight),
            price: self.price.clone(),
            estimate: self.estimate(question),
            watch,
        };
        reader.read(incoming, deadline).await
    }

    /// Sends, and reads the whole response.
    async fn call(
        &self,
        request: WireRequest,
        deadline: Deadline,
    ) -> Result<WireResponse, AttemptError> {
        self.open(request, deadline).await?.whole(deadline).await
    }

    /// Sends, with a token where we need one; the token is renewed beside the call.
    async fn open(
        &self,
        mut request: WireRequest,
        deadline: Deadline,
    ) -> Result<Incoming, AttemptError> {
        let Some(tokens) = &self.tokens else {
            return self.transport.open(request, deadline).await;
        };
        let token = tokens.valid(deadline).await?;
        let bearer = secret_header(BEARER, &token)
            .map_err(|_| AttemptError::new(AttemptOutcome::Auth, "the token fits no header"))?;
        request.headers.extend([bearer]);
        let opening = self.transport.open(request, deadline);
        tokio::pin!(opening);
        let incoming = tokio::select! {
            biased; // the response is what is waited for
            incoming = &mut opening => incoming,
            () = tokens.refresh_ahead() => opening.await,
        }?;
        if incoming.status() == 401 {
            tokens.forget(&token);
        }
        Ok(incoming)
    }
}

impl Judge for ProviderJudge {
    fn id(&self) -> &JudgeId {
        &self.id
    }

    fn judge<'a>(
        &'a self,
        question: &'a Question,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<Answered, AttemptError>> {
        Box::pin(async move {
            self.ask(question, deadline).await.map_err(|error| {
                let cost = error.tokens.map(|tokens| self.price.cost(tokens)).unwrap_or_default();
                AttemptError { cost, ..error }
            })
        })
    }

    fn estimate(&self, question: &Question) -> MicroUsd {
        profile::estimate(&self.model, &self.price, question)
    }

    fn parameters(&self) -> &str {
        &self.parameters
    }

    fn dialect(&self) -> &'static str {
        self.dialect.label()
    }

    fn waits_for_end(&self, question: &Question) -> bool {
        let may_leave = question.early && self.model.streams;
        may_leave && !self.sight.is_believed(self.dialect.counts_first())
    }

    fn expectation(&self) -> Option<Expectation> {
        self.expect
    }

    fn is_simulated(&self) -> bool {
        self.simulated
    }
}

/// The stated price, else the list price; a server of our own costs nothing.
fn price(model: &Model, judge: &JudgeSettings) -> Result<Price, BuildError> {
    if let Some(price) = &judge.price {
        return Ok(price.clone());
    }
    let as_of = Catalogue::shipped()?.as_of;
    match model.traits.price {
        Some(listed) => Ok(listed.dated(&as_of)),
        None if model.kind == Kind::Compatible => Ok(Price { as_of, ..Price::default() }),
        None => {
            let (judge, model) = (judge.name.clone(), model.name.clone());
            Err(BuildError::NoPrice { judge, model })
        }
    }
}

/// The header that proves who we are, where it is always the same.
fn header(
    kind: &Kind,
    credential: &Credential,
) -> Result<Option<(HeaderName, HeaderValue)>, http::header::InvalidHeaderValue> {
    match credential {
        Credential::None | Credential::Google(_) => Ok(None),
        Credential::Key(key) => secret_header(kind.key_header(), key).map(Some),
        Credential::Bearer(token) => secret_header(BEARER, token).map(Some),
    }
}

fn secret_header(
    (name, before): (&'static str, &'static str),
    secret: &SecretString,
) -> Result<(HeaderName, HeaderValue), http::header::InvalidHeaderValue> {
    let mut value = HeaderValue::try_from(format!("{before}{}", secret.expose_secret()))?;
    value.set_sensitive(true);
    Ok((HeaderName::from_static(name), value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::settings::CONNECT_TIMEOUT;

    fn build(kind: Kind, base_url: Option<&str>, model: &str) -> Result<ProviderJudge, BuildError> {
        let provider = ProviderSettings {
            name: "house".to_owned(),
            kind,
            base_url: base_url.map(str::to_owned),
            credential: Credential::None,
            connect_timeout: CONNECT_TIMEOUT,
            simulated: false,
        };
        let judge = JudgeSettings {
            name: "mini".to_owned(),
            model: model.to_owned(),
            family: None,
            price: None,
            expect: None,
            stream: None,
        };
        ProviderJudge::new(&provider, &judge)
    }

    fn gemini(model: &str) -> Result<ProviderJudge, BuildError> {
        build(Kind::Gemini { version: "v1".to_owned() }, None, model)
    }

    #[test]
    fn a_strange_model_elsewhere_is_a_compatible_server_and_costs_nothing() {
        let elsewhere = Some("http://127.0.0.1:8000/v1");
        let strange = build(Kind::OpenAi, elsewhere, "qwen2.5-vl").unwrap();
        assert_eq!(strange.model.kind, Kind::Compatible);
        assert_eq!(strange.price.input_nano_usd, 0);
        let known = build(Kind::OpenAi, elsewhere, "gpt-6-luna").unwrap();
        assert_eq!((known.model.kind, known.price.input_nano_usd), (Kind::OpenAi, 100));
    }

    #[test]
    fn a_paid_model_without_a_price_is_refused() {
        let error = gemini("gemini-9-flash").unwrap_err();
        assert!(matches!(error, BuildError::NoPrice { .. }), "{error}");
        assert!(gemini("gemini-3.8-flash").is_ok());
    }

    #[test]
    fn a_name_cannot_change_the_address() {
        for model in ["", "a b", "gemini-3.8-flash?key=x", "../../v1/other", "x#y", "x%2e"] {
            let error = gemini(model).unwrap_err();
            assert!(matches!(error, BuildError::Name { .. }), "{error}");
        }
    }

    #[test]
    fn a_kind_without_an_address_needs_one() {
        let error = build(Kind::AzureV1, None, "deployment").unwrap_err();
        assert!(matches!(error, BuildError::NoBaseUrl { .. }), "{error}");
    }

    #[test]
    fn a_key_with_a_line_end_is_refused_without_being_quoted() {
        let key = Credential::Key(SecretString::from("hush\n"));
        assert!(!format!("{:?}", header(&Kind::OpenAi, &key).unwrap_err()).contains("hush"));
    }

    #[test]
    fn parameters_tell_models_apart_and_addresses_not() {
        let at = |base, model| build(Kind::OpenAi, base, model).unwrap().parameters;
        assert_ne!(at(None, "gpt-6-luna"), at(None, "gpt-6-sol"));
        assert_eq!(at(None, "gpt-6-luna"), at(Some("http://127.0.0.1:1"), "gpt-6-luna"));
    }
}
