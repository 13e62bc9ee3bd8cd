//! What a provider's error means for the attempt: the first rule that fits, in this order: content,
//! money and credentials, our own translation, the request, rate, capacity, a broken server.
//!
//! The order matters, because statuses lie: a content filter comes as 400 or 403, an empty account
//! as 400, 402, 403 or 429, a wrong key as 400, and an error of any kind inside a 200.

use std::time::Duration;

use http::HeaderMap;
use serde_json::Value;

use crate::clock::Timestamp;
use crate::domain::AttemptOutcome;
use crate::panel::AttemptError;
use crate::provider::dialect::Dialect;
use crate::provider::wire::{self, WireResponse};

/// Codes that name an account that cannot pay, or may not.
const MONEY: [&str; 11] = [
    "insufficient_quota",
    "credit_balance_exhausted",
    "organization_spend_limit_exceeded",
    "project_spend_limit_exceeded",
    "organization_usage_limit_exceeded",
    "billing_not_active",
    "access_terminated",
    "billing_error",
    "enforced_spend_limit_reached",
    "contract_spend_limit_reached",
    "linked_organization_spend_limit_reached",
];

/// Codes that name our key, region or model; 1500 is Mistral's for an unknown model.
const CREDENTIALS: [&str; 6] = [
    "API_KEY_INVALID",
    "FAILED_PRECONDITION",
    "unsupported_country_region_territory",
    "invalid_model",
    "model_not_found",
    "1500",
];

/// Codes of content decisions.
const CONTENT: [&str; 4] = [
    "content_filter",
    "content_policy_violation",
    "moderation_blocked",
    "ResponsibleAIPolicyViolation",
];

/// How Anthropic's two account problems that come as a bad request begin.
const MONEY_WORDS: [&str; 2] =
    ["You have reached your specified", "Your credit balance is too low"];

/// Whether a body, or an event of a stream, is an error whatever its status says.
#[must_use]
pub fn is_complaint(body: &Value) -> bool {
    let answers = ["choices", "candidates", "content"].iter().any(|key| body.get(key).is_some());
    let wrapped = body.get("error").is_some_and(Value::is_object) && !answers;
    wrapped || body.get("object").and_then(Value::as_str) == Some("error")
}

/// The error that an HTTP error status and its body stand for.
#[must_use]
pub fn http_error(dialect: Dialect, response: &WireResponse) -> AttemptError {
    let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    let complaint = Complaint::read(&body);
    let outcome = complaint.outcome(dialect, response.status);
    let mut error = complaint.error(outcome, response.status);
    error.retry_after = retry_after(&response.headers).or(complaint.retry_delay);
    error.request_id = wire::request_id(response).or(complaint.request_id);
    error
}

/// The error that stands in a body or an event of a response that began with a 200.
#[must_use]
pub fn in_band(dialect: Dialect, response: &WireResponse, body: &Value) -> AttemptError {
    let complaint = Complaint::read(body);
    let status = complaint.status();
    let mut error = complaint.error(complaint.outcome(dialect, status), status);
    error.retry_after = complaint.retry_delay;
    error.request_id = wire::request_id(response).or(complaint.request_id);
    error
}

/// How long the provider asks us to stay away: in milliseconds, in seconds, or until a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| Some(headers.get(name)?.to_str().ok()?.trim());
    let number = |name: &str| text(name)?.parse::<f64>().ok();
    let seconds = number("retry-after-ms").map(|ms| ms / 1e3).or_else(|| number("retry-after"));
    match seconds {
        Some(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        // as far as the date lies behind the response's own: our clock may be another
        None => Timestamp::parse_http(text("retry-after")?)?
            .since(Timestamp::parse_http(text("date")?)?),
    }
}

/// An error body of any provider, flattened to what tells one kind from another.
#[derive(Debug, Default)]
struct Complaint {
    message: String,
    /// Every word by which the provider names the kind of error.
    codes: Vec<String>,
    /// `code` where it is a number: a status in disguise.
    number: Option<u16>,
    /// Google's quota ids.
    quotas: Vec<String>,
    /// Whether Google gave details at all.
    detailed: bool,
    retry_delay: Option<Duration>,
    request_id: Option<String>,
}

impl Complaint {
    fn read(body: &Value) -> Self {
        let text = |value: &Value, key: &str| {
            value
                .get(key)
                .and_then(Value::as_str)
                .map(str::to_owned)
                .filter(|text| !text.is_empty())
        };
        let error = body.get("error").filter(|error| error.is_object()).unwrap_or(body);
        let said =
            [error.get("message"), body.get("message"), body.get("detail"), body.get("error")];
        let message = said.into_iter().flatten().find(|said| !said.is_null());
        let details = error.get("details");
        let google = details.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);

        let named = ["code", "type", "status"].iter().filter_map(|key| text(error, key));
        let inner = error.get("innererror").and_then(|inner| text(inner, "code"));
        let code = details.and_then(|details| text(details, "error_code"));
        let reasons = google.iter().filter_map(|one| text(one, "reason"));
        let violations =
            google.iter().filter_map(|one| one.get("violations")?.as_array()).flatten();
        let delay = google.iter().find_map(|one| text(one, "retryDelay"));
        Self {
            message: message.map_or_else(String::new, |said| {
                said.as_str().map_or_else(|| said.to_string(), str::to_owned)
            }),
            codes: named.chain(inner).chain(code).chain(reasons).collect(),
            number: error.get("code").and_then(Value::as_u64).and_then(|n| u16::try_from(n).ok()),
            quotas: violations.filter_map(|one| text(one, "quotaId")).collect(),
            detailed: !google.is_empty(),
            retry_delay: delay
                .and_then(|delay| delay.strip_suffix('s')?.parse::<f64>().ok())
                .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
            request_id: text(body, "request_id"),
        }
    }

    fn has(&self, known: &[&str]) -> bool {
        self.codes.iter().any(|code| known.contains(&code.as_str()))
    }

    fn says(&self, words: &[&str]) -> bool {
        let message = self.message.to_ascii_lowercase();
        words.iter().any(|word| message.contains(word))
    }

    fn error(&self, outcome: AttemptOutcome, status: u16) -> AttemptError {
        let codes = self.codes.join(", ");
        AttemptError::new(outcome, wire::detail(&format!("{status} {codes}: {}", self.message)))
    }

    /// The status that an error inside a 200 stands for.
    fn status(&self) -> u16 {
        let named =
            [("overloaded_error", 529), ("rate_limit_error", 429), ("authentication_error", 401)];
        let by_name = named.iter().find(|(name, _)| self.has(&[name])).map(|(_, status)| *status);
        by_name.or(self.number.filter(|number| 400 <= *number)).unwrap_or(500)
    }

    fn outcome(&self, dialect: Dialect, status: u16) -> AttemptOutcome {
        if self.is_about_content(status) {
            return AttemptOutcome::Refused;
        }
        if self.is_about_our_account(status) {
            return AttemptOutcome::Auth;
        }
        match status {
            // the provider gave up waiting, or two of our calls met: nothing is wrong with this one
            408 | 409 => AttemptOutcome::ServerError,
            // the provider's word for a call that was hung up on; the race, which knows that it did
            // not hang up on this one, takes it for the provider's error
            499 => AttemptOutcome::Cancelled,
            429 => self.when_limited(dialect),
            // a redirect would carry key and picture to another host; an address that redirects is
            // not an API, and that is no fault of this image
            300..400 => AttemptOutcome::ServerError,
            400..500 => AttemptOutcome::BadRequest,
            _ => self.when_broken(status),
        }
    }

    fn is_about_content(&self, status: u16) -> bool {
        let guarded = status == 403
            && (self.has(&["guardrail_violation"]) || self.says(&["guardrail", "moderation"]));
        self.has(&CONTENT) || guarded
    }

    fn is_about_our_account(&self, status: u16) -> bool {
        let begins = MONEY_WORDS.iter().any(|words| self.message.starts_with(words));
        let daily = status == 429 && self.quotas.iter().any(|quota| quota.contains("PerDay"));
        let by_status = matches!(status, 401 | 402 | 403 | 404 | 407);
        self.has(&MONEY) || self.has(&CREDENTIALS) || begins || daily || by_status
    }

    fn when_limited(&self, dialect: Dialect) -> AttemptOutcome {
        // Google's shared capacity comes as a 429 that names no quota
        let shared = dialect == Dialect::Gemini && !self.detailed;
        if shared || self.says(&["capacity"]) {
            return AttemptOutcome::Overloaded;
        }
        AttemptOutcome::RateLimited
    }

    fn when_broken(&self, status: u16) -> AttemptOutcome {
        // a model without eyes: a wrong model in our configuration, dressed as a server error
        if self.says(&["mmproj", "not supported"]) {
            return AttemptOutcome::Auth;
        }
        let full = self.has(&["overloaded_error", "service_unavailable_error"]);
        if matches!(status, 503 | 529) || full || self.says(&["overloaded"]) {
            return AttemptOutcome::Overloaded;
        }
        AttemptOutcome::ServerError
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    fn response(status: u16, body: &str) -> WireResponse {
        let body = Bytes::copy_from_slice(body.as_bytes());
        WireResponse { status, headers: HeaderMap::new(), body, whole: true }
    }

    #[test]
    fn a_redirect_is_not_followed_and_does_not_blame_the_image() {
        let error = http_error(Dialect::OpenAi, &response(302, ""));
        assert_eq!(error.outcome, AttemptOutcome::ServerError);
    }

    #[test]
    fn a_delay_is_read_from_headers_first_and_absurd_ones_are_dropped() {
        let mut answer = response(429, r#"{"error":{"details":[{"retryDelay":"21.5s"}]}}"#);
        let delay = |answer: &WireResponse| http_error(Dialect::Gemini, answer).retry_after;
        assert_eq!(delay(&answer), Some(Duration::from_millis(21_500)));
        answer.headers.insert("retry-after", "3".parse().unwrap());
        assert_eq!(delay(&answer), Some(Duration::from_secs(3)));
        answer.headers.insert("retry-after-ms", "15".parse().unwrap());
        assert_eq!(delay(&answer), Some(Duration::from_millis(15)));
        for absurd in ["-1", "NaN", "1e300", "soon"] {
            answer.headers.insert("retry-after-ms", absurd.parse().unwrap());
            answer.headers.remove("retry-after");
            let _no_panic = delay(&answer);
        }
    }

    #[test]
    fn a_date_to_come_again_counts_from_the_responses_own_date() {
        let mut answer = response(503, "");
        let delay = |answer: &WireResponse| http_error(Dialect::OpenAi, answer).retry_after;
        answer.headers.insert("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT".parse().unwrap());
        assert_eq!(delay(&answer), None, "from when is not known");
        answer.headers.insert("date", "Sun, 06 Nov 1994 08:49:30 GMT".parse().unwrap());
        assert_eq!(delay(&answer), Some(Duration::from_secs(7)));
        answer.headers.insert("date", "Sun, 06 Nov 1994 08:50:00 GMT".parse().unwrap());
        assert_eq!(delay(&answer), None, "it is past");
    }

    #[test]
    fn the_words_of_a_provider_are_bounded_and_on_one_line() {
        let long = format!(r#"{{"error":{{"message":"{}\n"}}}}"#, "x".repeat(5_000));
        let error = http_error(Dialect::OpenAi, &response(500, &long));
        assert!(error.detail.chars().count() <= 300 && !error.detail.contains('\n'));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn no_error_is_ever_a_judgement(
            status in 0_u16..1000,
            body in "(\\PC|[{}\\[\\]\":,]){0,60}",
        ) {
            for dialect in Dialect::ALL {
                let outcome = http_error(dialect, &response(status, &body)).outcome;
                prop_assert_ne!(outcome, AttemptOutcome::Judged);
            }
        }
    }
}
