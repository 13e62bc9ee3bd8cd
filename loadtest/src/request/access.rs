//! Access is how a caller shows its key; each dialect looks in its own places.

use crate::dialect::Dialect;
use crate::dialect::Host;
use crate::failure::Failure;
use crate::failure::Reason;
use crate::log::Credential;
use crate::reply::SIMULATED_TOKEN;
use crate::wire::Request;

/// Checks that a key was shown and, where one is expected, that it is the right one.
///
/// # Errors
///
/// 401 without a key; with a wrong one 401 too, but AI Studio's 400.
pub(crate) fn authenticate(
    dialect: Dialect,
    host: Host,
    request: &Request,
    expected: Option<&str>,
) -> Result<Credential, Failure> {
    let shown = shown_key(dialect, host, request);
    let (credential, key) = shown.ok_or_else(|| Failure::of_status(401, None))?;
    let is_token = host == Host::Vertex && key == SIMULATED_TOKEN;
    if expected.is_some_and(|expected| expected != key) && !is_token {
        let is_ai_studio = dialect == Dialect::Gemini && host == Host::Direct;
        let status = if is_ai_studio { 400 } else { 401 };
        let reason = Reason::WrongKey;
        return Err(Failure { status, reason, message: None, retry_after_s: None });
    }
    Ok(credential)
}

fn shown_key(dialect: Dialect, host: Host, request: &Request) -> Option<(Credential, &str)> {
    let header = |name: &str| request.header(name).filter(|key| !key.is_empty());
    let bearer = || {
        let key = header("authorization")?.strip_prefix("Bearer ")?;
        Some((Credential::Bearer, key))
    };
    let named = |name: &str, credential| header(name).map(|key| (credential, key));
    match (dialect, host) {
        (Dialect::OpenAi, Host::Direct | Host::Azure) => {
            // Azure's v1 paths look like the direct ones and take both forms.
            bearer().or_else(|| named("api-key", Credential::ApiKey))
        }
        (Dialect::Anthropic, Host::Direct) => {
            named("x-api-key", Credential::XApiKey).or_else(bearer)
        }
        (Dialect::Gemini, Host::Direct | Host::VertexExpress) => {
            named("x-goog-api-key", Credential::XGoogApiKey).or_else(|| query_key(request))
        }
        (Dialect::Mistral, Host::Direct)
        | (
            Dialect::OpenAi | Dialect::Anthropic | Dialect::Gemini | Dialect::Mistral,
            Host::Azure | Host::Vertex | Host::VertexExpress,
        ) => bearer(),
    }
}

fn query_key(request: &Request) -> Option<(Credential, &str)> {
    let mut pairs = request.query.split('&');
    let key = pairs.find_map(|pair| pair.strip_prefix("key="))?;
    Some((Credential::QueryKey, key))
}
