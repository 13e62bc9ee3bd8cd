//! Which records a caller asks to see: the query of `GET /v1/verdicts` and of its export, checked.

use std::time::Duration;

use axum::http::{HeaderValue, Uri};

use crate::clock::Timestamp;
use crate::domain::{Basis, Decision, Route};
use crate::http::problem::{Problem, pointer};
use crate::http::query::Parameters;

/// Records on a page when the caller does not say.
pub const DEFAULT_LIMIT: u32 = 50;
/// Most records on a page.
pub const MAX_LIMIT: u32 = 500;

const TEXT_CHARS: usize = 200;
const CURSOR_BYTES: usize = 512;

const LIST: [&str; 12] = [
    "policy", "verdict", "basis", "judge", "team", "since", "until", "flag", "route", "failed",
    "cursor", "limit",
];
const EXPORT: [&str; 11] = [
    "policy", "verdict", "basis", "judge", "team", "since", "until", "flag", "route", "failed",
    "format",
];

/// Why a judge was asked whose judgement an answer rests on.
pub(crate) const SERVED_ROUTES: [Route; 4] =
    [Route::Primary, Route::Hedge, Route::Failover, Route::Probe];

/// What a record must be to be shown; `None` means any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters {
    /// The policy's name.
    pub policy: Option<String>,
    /// What the gate said.
    pub verdict: Option<Decision>,
    /// What the verdict rests on.
    pub basis: Option<Basis>,
    /// The judge's name.
    pub judge: Option<String>,
    /// The team that paid.
    pub team: Option<String>,
    /// A flag the verdict carries.
    pub flag: Option<String>,
    /// Why the judge was asked.
    pub route: Option<Route>,
    /// A criterion it failed on.
    pub failed: Option<String>,
    /// Not before.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
}

/// One page of records, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListQuery {
    /// Which.
    pub filters: Filters,
    /// Where the last page ended, as the ledger wrote it; `None`: the newest.
    pub cursor: Option<String>,
    /// How many, 1 to [`MAX_LIMIT`].
    pub limit: u32,
}

/// The form of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportFormat {
    /// One JSON object a line.
    Ndjson,
    /// Comma-separated, with a header line.
    Csv,
}

impl ExportFormat {
    /// The media type on the wire.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv; charset=utf-8",
        }
    }
}

/// Every record that passes, streamed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportQuery {
    /// Which.
    pub filters: Filters,
    /// In which form; NDJSON when the caller does not say.
    pub format: ExportFormat,
}

impl Filters {
    /// Takes the filters out of `parameters`; `now` is what `24h` counts back from.
    ///
    /// # Errors
    /// `bad_request` that names the parameter whose value is none.
    pub fn take(parameters: &mut Parameters, now: Timestamp) -> Result<Self, Problem> {
        let decisions = Decision::ALL.map(|one| (one.label(), one));
        let bases = Basis::ALL.map(|one| (one.label(), one));
        let routes = SERVED_ROUTES.map(|one| (one.label(), one));
        let filters = Self {
            policy: text(parameters, "policy")?,
            verdict: one_of(parameters, "verdict", &decisions)?,
            basis: one_of(parameters, "basis", &bases)?,
            judge: text(parameters, "judge")?,
            team: text(parameters, "team")?,
            flag: text(parameters, "flag")?,
            route: one_of(parameters, "route", &routes)?,
            failed: text(parameters, "failed")?,
            since: moment(parameters, "since", now)?,
            until: moment(parameters, "until", now)?,
        };
        if let (Some(since), Some(until)) = (filters.since, filters.until)
            && until <= since
        {
            let detail = format!("is {until}, expected later than since ({since})");
            return Err(Problem::bad_field("/until", detail));
        }
        Ok(filters)
    }
}

impl ListQuery {
    /// Reads the query of `uri`; `now` is what `24h` counts back from.
    ///
    /// # Errors
    /// `bad_request` that names the parameter which is unknown or has no such value.
    pub fn of(uri: &Uri, now: Timestamp) -> Result<Self, Problem> {
        let mut parameters = Parameters::of(uri)?;
        let filters = Filters::take(&mut parameters, now)?;
        let cursor = parameters.take("cursor");
        let is_cursor = |cursor: &String| {
            let is_visible = cursor.bytes().all(|byte| byte.is_ascii_graphic());
            !cursor.is_empty() && cursor.len() <= CURSOR_BYTES && is_visible
        };
        if cursor.as_ref().is_some_and(|cursor| !is_cursor(cursor)) {
            return Err(Problem::bad_field("/cursor", "is not one that a page gave"));
        }
        let limit = match parameters.take("limit") {
            None => DEFAULT_LIMIT,
            Some(text) => {
                let limit = text.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
                let detail = || format!("is {text:?}, expected 1 to {MAX_LIMIT}");
                limit.ok_or_else(|| Problem::bad_field("/limit", detail()))?
            }
        };
        parameters.finish(&LIST)?;
        Ok(Self { filters, cursor, limit })
    }
}

impl ExportQuery {
    /// Reads the query of `uri`; `now` is what `24h` counts back from.
    ///
    /// # Errors
    /// `bad_request` that names the parameter which is unknown or has no such value.
    pub fn of(uri: &Uri, now: Timestamp) -> Result<Self, Problem> {
        let mut parameters = Parameters::of(uri)?;
        let filters = Filters::take(&mut parameters, now)?;
        let formats = [("ndjson", ExportFormat::Ndjson), ("csv", ExportFormat::Csv)];
        let format = one_of(&mut parameters, "format", &formats)?;
        parameters.finish(&EXPORT)?;
        Ok(Self { filters, format: format.unwrap_or(ExportFormat::Ndjson) })
    }
}

/// The `Link` to the page after this one: the same query, another cursor.
#[must_use]
pub fn next_link(uri: &Uri, cursor: &str) -> Option<HeaderValue> {
    let pairs = uri.query().unwrap_or_default().split('&');
    let kept = pairs.filter(|pair| !pair.is_empty() && !pair.starts_with("cursor="));
    let query: String = kept.map(|pair| format!("{pair}&")).collect();
    // a cursor is URL-safe by its own form; what is not visible would break the header
    HeaderValue::try_from(format!("<{}?{query}cursor={cursor}>; rel=\"next\"", uri.path())).ok()
}

pub(crate) fn text(parameters: &mut Parameters, name: &str) -> Result<Option<String>, Problem> {
    let Some(text) = parameters.take(name) else {
        return Ok(None);
    };
    let chars = text.chars().count();
    if chars == 0 || TEXT_CHARS < chars {
        let detail = format!("has {chars} characters, expected 1 to {TEXT_CHARS}");
        return Err(Problem::bad_field(&pointer(&[name]), detail));
    }
    Ok(Some(text))
}

fn one_of<T: Copy>(
    parameters: &mut Parameters,
    name: &str,
    known: &[(&str, T)],
) -> Result<Option<T>, Problem> {
    let Some(text) = parameters.take(name) else {
        return Ok(None);
    };
    let found = known.iter().find(|(word, _)| *word == text);
    let refuse = || {
        let words: Vec<_> = known.iter().map(|(word, _)| *word).collect();
        let detail = format!("is {text:?}, expected one of {}", words.join(", "));
        Problem::bad_field(&pointer(&[name]), detail)
    };
    found.map(|(_, one)| Some(*one)).ok_or_else(refuse)
}

pub(crate) fn moment(
    parameters: &mut Parameters,
    name: &str,
    now: Timestamp,
) -> Result<Option<Timestamp>, Problem> {
    let Some(text) = parameters.take(name) else {
        return Ok(None);
    };
    let refuse = |why: String| Problem::bad_field(&pointer(&[name]), why);
    read_moment(&text, now).map(Some).map_err(refuse)
}

/// A moment as people write it, counted back from `now` where it says how long ago.
pub(crate) fn read_moment(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    if let Some(ago) = read_ago(text) {
        return Ok(now.before(ago));
    }
    let expected = "RFC 3339 (2026-11-21T14:02:00Z, a plus sign sent as %2B) or 90s, 30m, 24h, 7d";
    Timestamp::parse(text).map_err(|_| format!("is {text:?}, expected {expected}"))
}

/// `90s`, `30m`, `24h`, `7d`, `2w`.
fn read_ago(text: &str) -> Option<Duration> {
    let unit = text.chars().next_back()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        'w' => 604_800,
        _ => return None,
    };
    let amount = text.strip_suffix(unit)?;
    let is_number = !amount.is_empty() && amount.bytes().all(|byte| byte.is_ascii_digit());
    let amount: u64 = is_number.then(|| amount.parse().ok()).flatten()?;
    Some(Duration::from_secs(amount.checked_mul(seconds)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        Timestamp::parse("2026-11-21T12:00:00Z").unwrap()
    }

    fn list(query: &str) -> Result<ListQuery, String> {
        let uri = format!("/v1/verdicts?{query}").parse().unwrap();
        ListQuery::of(&uri, now()).map_err(|problem| problem.detail)
    }

    #[test]
    fn an_empty_query_is_the_newest_fifty() {
        let expected = ListQuery { filters: Filters::default(), cursor: None, limit: 50 };
        assert_eq!(list(""), Ok(expected));
    }

    #[test]
    fn every_filter_is_read() {
        let query = "policy=product-photo&verdict=fail&basis=second_opinion&judge=openai-mini\
                     &team=studio&flag=halo&route=hedge&failed=cutout&since=24h&until=2026-11-21T11:00:00Z&cursor=abc&limit=500";
        let expected = ListQuery {
            filters: Filters {
                policy: Some("product-photo".to_owned()),
                verdict: Some(Decision::Fail),
                basis: Some(Basis::SecondOpinion),
                judge: Some("openai-mini".to_owned()),
                team: Some("studio".to_owned()),
                flag: Some("halo".to_owned()),
                route: Some(Route::Hedge),
                failed: Some("cutout".to_owned()),
                since: Some(Timestamp::parse("2026-11-20T12:00:00Z").unwrap()),
                until: Some(Timestamp::parse("2026-11-21T11:00:00Z").unwrap()),
            },
            cursor: Some("abc".to_owned()),
            limit: 500,
        };
        assert_eq!(list(query), Ok(expected));
    }

    #[test]
    fn the_known_names_are_the_filters_and_the_routes_own() {
        assert_eq!(LIST.split_at(10).0, EXPORT.split_at(10).0);
        assert_eq!(LIST.split_at(10).1, ["cursor", "limit"]);
        assert_eq!(EXPORT.split_at(10).1, ["format"]);
    }

    #[test]
    fn a_value_that_is_none_is_refused_with_what_is_expected() {
        let refused = |query: &str| list(query).unwrap_err();
        assert_eq!(
            refused("verdict=failed"),
            "/verdict: is \"failed\", expected one of pass, review, fail"
        );
        assert_eq!(
            refused("route=shadow"),
            "/route: is \"shadow\", expected one of primary, hedge, failover, probe"
        );
        assert_eq!(refused("limit=0"), "/limit: is \"0\", expected 1 to 500");
        assert_eq!(refused("limit=501"), "/limit: is \"501\", expected 1 to 500");
        assert_eq!(refused("policy="), "/policy: has 0 characters, expected 1 to 200");
        assert_eq!(refused("cursor=a%0Ab"), "/cursor: is not one that a page gave");
        assert!(refused("since=yesterday").starts_with("/since: is \"yesterday\", expected RFC"));
        assert!(refused("since=99999999999999999999d").starts_with("/since: is"));
        assert!(refused("sinse=24h").ends_with("did you mean \"since\"?"));
        assert!(refused("since=1h&until=2h").starts_with("/until: is 2026-11-21T10:00:00"));
    }

    #[test]
    fn every_unit_counts_back_from_now() {
        let since = |query: &str| list(query).unwrap().filters.since.unwrap().to_string();
        assert_eq!(since("since=90s"), "2026-11-21T11:58:30.000000Z");
        assert_eq!(since("since=30m"), "2026-11-21T11:30:00.000000Z");
        assert_eq!(since("since=7d"), "2026-11-14T12:00:00.000000Z");
        assert_eq!(since("since=2w"), "2026-11-07T12:00:00.000000Z");
    }

    #[test]
    fn an_export_knows_its_formats_and_takes_no_cursor() {
        let export = |query: &str| {
            let uri = format!("/v1/verdicts:export?{query}").parse().unwrap();
            ExportQuery::of(&uri, now()).map_err(|problem| problem.detail)
        };
        assert_eq!(export("").unwrap().format, ExportFormat::Ndjson);
        assert_eq!(export("format=csv&verdict=fail").unwrap().format, ExportFormat::Csv);
        assert!(export("format=xml").unwrap_err().contains("expected one of ndjson, csv"));
        assert!(export("cursor=a").unwrap_err().starts_with("unknown parameter \"cursor\""));
    }

    #[test]
    fn the_next_link_keeps_the_query_and_replaces_the_cursor() {
        let link = |uri: &str| next_link(&uri.parse().unwrap(), "NEW").unwrap();
        assert_eq!(link("/v1/verdicts"), "</v1/verdicts?cursor=NEW>; rel=\"next\"");
        assert_eq!(
            link("/v1/verdicts?verdict=fail&cursor=OLD&limit=5"),
            "</v1/verdicts?verdict=fail&limit=5&cursor=NEW>; rel=\"next\""
        );
    }
}
