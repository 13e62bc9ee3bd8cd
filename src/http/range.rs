//! A range is the stretch of time that a caller asks figures of, cut to whole buckets; and the
//! forms that figures are answered in: every share with its n.

use axum::http::{HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::clock::Timestamp;
use crate::drift::interval::{Estimate, Interval, Tally, wilson};
use crate::http::filter::{moment, text};
use crate::http::problem::Problem;
use crate::http::query::Parameters;
use crate::ledger::LedgerError;
use crate::ledger::figures::Scope;
use crate::ledger::follow::view::Followed;
use crate::ledger::reader::Reader;
use crate::ledger::spread::Spread;

pub(super) const MINUTE_S: i64 = 60;
pub(super) const HOUR_S: i64 = 3_600;
const DAY_S: i64 = 86_400;

/// The range when the caller does not say.
const DEFAULT_S: i64 = HOUR_S;

/// How long sums by the minute are kept, to be sure of them all.
const MINUTES_FOR_S: i64 = 32 * DAY_S;

const BUCKETS: [(&str, i64); 6] =
    [("1m", 60), ("5m", 300), ("15m", 900), ("1h", HOUR_S), ("6h", 6 * HOUR_S), ("1d", DAY_S)];

/// A range as it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RangeQuery {
    pub(super) policy: Option<String>,
    pub(super) since: Timestamp,
    pub(super) until: Timestamp,
    /// The range that it is compared with.
    pub(super) against: Option<(Timestamp, Timestamp)>,
    bucket_s: Option<i64>,
    now: Timestamp,
}

impl RangeQuery {
    /// Reads the query of `uri`, which may have the parameters `known`.
    pub(super) fn of(uri: &Uri, now: Timestamp, known: &[&str]) -> Result<Self, Problem> {
        let mut parameters = Parameters::of(uri)?;
        let mut take = |name: &str| match known.contains(&name) {
            true => moment(&mut parameters, name, now),
            false => Ok(None),
        };
        let (since, until) = (take("since")?, take("until")?.unwrap_or(now));
        let (from, to) = (take("against_since")?, take("against_until")?);
        let since = since.unwrap_or(Timestamp(until.0.saturating_sub(DEFAULT_S * 1_000_000)));
        earlier(since, until, "/until")?;
        let against = match (from, to) {
            (None, None) => None,
            (Some(from), to) => Some((from, to.unwrap_or(since))),
            (None, Some(_)) => {
                let detail = "is missing: a range has a beginning";
                return Err(Problem::bad_field("/against_since", detail));
            }
        };
        if let Some((from, to)) = against {
            earlier(from, to, "/against_until")?;
        }
        let policy = text(&mut parameters, "policy")?;
        let bucket_s = match parameters.take("bucket").filter(|_| known.contains(&"bucket")) {
            None => None,
            Some(word) if word == "auto" => None,
            Some(word) => {
                let found = BUCKETS.iter().find(|(name, _)| *name == word).map(|(_, s)| *s);
                let refuse = || {
                    let words = BUCKETS.map(|(name, _)| name).join(", ");
                    let detail = format!("is {word:?}, expected auto or one of {words}");
                    Problem::bad_field("/bucket", detail)
                };
                Some(found.ok_or_else(refuse)?)
            }
        };
        parameters.finish(known)?;
        Ok(Self { policy, since, until, against, bucket_s, now })
    }

    /// The same stretch of time in as many buckets as a picture shows.
    pub(super) fn buckets(scope: &Scope) -> Scope {
        let bucket_s = auto(scope.until_s - scope.since_s).max(scope.bucket_s);
        let moment = |s: i64| Timestamp(s.saturating_mul(1_000_000));
        cut(scope.policy.clone(), (moment(scope.since_s), moment(scope.until_s)), bucket_s)
    }

    /// The whole buckets of the range.
    pub(super) fn scope(&self) -> Result<Scope, Problem> {
        let range = (self.since, self.until);
        match self.bucket_s {
            Some(bucket_s) if bucket_s < HOUR_S && is_old(self.since, self.now) => {
                let detail = "is less than an hour: of more than 32 days ago hours are the finest";
                Err(Problem::bad_field("/bucket", detail))
            }
            Some(bucket_s) => Ok(cut(self.policy.clone(), range, bucket_s)),
            None => Ok(shown(self.policy.clone(), range, self.now)),
        }
    }
}

/// Whether sums by the minute may be gone already.
fn is_old(since: Timestamp, now: Timestamp) -> bool {
    MINUTES_FOR_S < now.0.div_euclid(1_000_000) - since.0.div_euclid(1_000_000)
}

/// A range in as many buckets as a picture shows.
pub(crate) fn shown(
    policy: Option<String>,
    (since, until): (Timestamp, Timestamp),
    now: Timestamp,
) -> Scope {
    let bucket_s = auto((until.0 - since.0) / 1_000_000);
    let bucket_s = if is_old(since, now) { bucket_s.max(HOUR_S) } else { bucket_s };
    cut(policy, (since, until), bucket_s)
}

/// Buckets of about as many as a picture shows.
fn auto(range_s: i64) -> i64 {
    match range_s {
        ..21_601 => MINUTE_S,
        21_601..93_601 => 5 * MINUTE_S,
        93_601..1_296_001 => HOUR_S,
        1_296_001..5_184_001 => 6 * HOUR_S,
        5_184_001.. => DAY_S,
    }
}

/// A range moved out to whole buckets.
pub(crate) fn cut(
    policy: Option<String>,
    (since, until): (Timestamp, Timestamp),
    bucket_s: i64,
) -> Scope {
    let down = |s: i64| s - s.rem_euclid(bucket_s);
    let since_s = down(since.0.div_euclid(1_000_000));
    // the last microsecond that is still meant
    let last_s = until.0.saturating_sub(1).div_euclid(1_000_000);
    Scope { policy, since_s, until_s: down(last_s) + bucket_s, bucket_s }
}

/// A window and the one `before` it that it is compared with. Each is moved out to whole buckets, but two
/// that are asked for apart stay apart: what is to be explained would else be a part of what is usual.
pub(super) fn compared(
    policy: &str,
    (before, after): ((Timestamp, Timestamp), (Timestamp, Timestamp)),
    now: Timestamp,
) -> (Scope, Scope) {
    let (mut earlier, later) = (window(policy, before, now), window(policy, after, now));
    if before.1 <= after.0 {
        let last_s = later.since_s - later.since_s.rem_euclid(earlier.bucket_s);
        // a bucket is the least that there is
        let least_s = earlier.since_s + earlier.bucket_s;
        earlier.until_s = earlier.until_s.min(last_s).max(least_s);
    }
    (earlier, later)
}

/// The whole buckets of a window that is compared: minutes while it is short and young, else hours.
fn window(policy: &str, (since, until): (Timestamp, Timestamp), now: Timestamp) -> Scope {
    let (range, old) = (until.0 - since.0, now.0 - since.0);
    let is_fine = range <= 36 * HOUR_S * 1_000_000 && old <= MINUTES_FOR_S * 1_000_000;
    let step_s = if is_fine { MINUTE_S } else { HOUR_S };
    cut(Some(policy.to_owned()), (since, until), step_s)
}

fn earlier(since: Timestamp, until: Timestamp, pointer: &str) -> Result<(), Problem> {
    if since < until {
        return Ok(());
    }
    Err(Problem::bad_field(pointer, format!("is {until}, expected later than {since}")))
}

/// Up to where records were counted.
#[derive(Serialize)]
pub(super) struct AsOf {
    seq: i64,
    at: Option<String>,
}

impl AsOf {
    pub(super) fn of(followed: Followed) -> Self {
        let at = (followed.n != 0).then(|| Timestamp(followed.at_us).to_string());
        Self { seq: followed.seq, at }
    }
}

/// A share with its n and its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct ShareForm {
    n: u64,
    count: u64,
    share: Option<f64>,
    low: f64,
    high: f64,
}

impl ShareForm {
    pub(super) fn of(tally: Tally) -> Self {
        let Interval { low, high } = wilson(tally);
        let share = (tally.n != 0).then(|| tally.rate());
        Self { n: tally.n, count: tally.rejects, share, low, high }
    }
}

impl Default for ShareForm {
    fn default() -> Self {
        Self::of(Tally::default())
    }
}

/// An effect with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct EffectForm {
    effect: f64,
    se: f64,
    low: f64,
    high: f64,
}

impl EffectForm {
    /// With an interval of its own.
    pub(super) fn within(estimate: Estimate, Interval { low, high }: Interval) -> Self {
        Self { effect: estimate.effect, se: estimate.se, low, high }
    }
}

impl From<Estimate> for EffectForm {
    fn from(estimate: Estimate) -> Self {
        Self::within(estimate, estimate.interval())
    }
}

/// Percentiles of milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct SpreadForm {
    n: u64,
    p50: Option<u64>,
    p95: Option<u64>,
    p99: Option<u64>,
}

impl SpreadForm {
    pub(super) fn of(spread: &Spread) -> Self {
        let at = |share| whole_ms(spread, share);
        Self { n: spread.n(), p50: at(0.5), p95: at(0.95), p99: at(0.99) }
    }
}

/// A percentile in whole milliseconds.
pub(super) fn whole_ms(times: &Spread, share: f64) -> Option<u64> {
    let ms = times.percentile_ms(share)?.round();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates")]
    let ms = ms as u64;
    Some(ms)
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that `map_err` wants")]
pub(super) fn unreadable(why: LedgerError) -> Problem {
    tracing::error!(%why, "the ledger cannot be read or written");
    Problem::internal()
}

/// `body` as JSON, written apart: a page of records or a week's figures take milliseconds.
pub(super) async fn written(
    reader: &Reader,
    body: impl Serialize + Send + 'static,
) -> Result<Response, Problem> {
    let json = reader.apart(move || serde_json::to_vec(&body)).await.map_err(unreadable)?;
    let json = json.map_err(|why| {
        tracing::error!(%why, "an answer cannot be written as JSON");
        Problem::internal()
    })?;
    let media_type = HeaderValue::from_static("application/json");
    Ok(([(header::CONTENT_TYPE, media_type)], json).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        Timestamp::parse("2026-11-21T12:00:30Z").unwrap()
    }

    fn stats(query: &str) -> Result<Scope, String> {
        let uri = format!("/v1/stats?{query}").parse().unwrap();
        let known = ["policy", "since", "until", "bucket"];
        let read = RangeQuery::of(&uri, now(), &known).and_then(|query| query.scope());
        read.map_err(|problem| problem.detail)
    }

    #[test]
    fn the_last_hour_by_the_minute_is_what_is_meant_by_nothing() {
        let scope = stats("").unwrap();
        assert_eq!(scope.bucket_s, 60);
        let minutes = (scope.until_s - scope.since_s) / 60;
        assert_eq!(minutes, 61, "a range that begins and ends within minutes takes both");
        assert_eq!(Timestamp(scope.until_s * 1_000_000).to_string(), "2026-11-21T12:01:00.000000Z");
    }

    #[test]
    fn buckets_grow_with_the_range_and_with_its_age() {
        let bucket = |query: &str| stats(query).unwrap().bucket_s;
        assert_eq!(bucket("since=6h"), 60);
        assert_eq!(bucket("since=24h"), 300);
        assert_eq!(bucket("since=7d"), 3_600);
        assert_eq!(bucket("since=30d"), 21_600);
        assert_eq!(bucket("since=90d"), 86_400);
        assert_eq!(bucket("since=40d&until=39d"), 3_600, "minutes of then are gone");
        assert!(stats("since=40d&bucket=5m").unwrap_err().starts_with("/bucket: is less"));
    }

    #[test]
    fn a_range_that_is_none_is_refused() {
        assert!(stats("since=1h&until=2h").unwrap_err().starts_with("/until: is 2026-11-21T10"));
        assert!(stats("bucket=2m").unwrap_err().contains("expected auto or one of 1m, 5m"));
        assert!(stats("against_since=2d").unwrap_err().starts_with("unknown parameter"));
    }

    #[test]
    fn half_of_an_outage_was_a_part_of_what_it_was_compared_with() {
        let at = |text: &str| Timestamp::parse(&format!("2026-11-{text}Z")).unwrap();
        let told = |before: [&str; 2], after: [&str; 2]| {
            let [(since, until), later] = [before, after].map(|[a, b]| (at(a), at(b)));
            let (before, after) = compared("mug", ((since, until), later), now());
            let of = |scope: &Scope| {
                [scope.since_s, scope.until_s]
                    .map(|s| Timestamp(s * 1_000_000).to_string().split_off(8))
                    .map(|text| text.trim_end_matches(":00.000000Z").to_owned())
            };
            (of(&before), of(&after))
        };
        let both = |before: [&str; 2], after: [&str; 2]| {
            (before.map(str::to_owned), after.map(str::to_owned))
        };
        // a week by the hour, and six minutes after it
        assert_eq!(
            told(["14T11:14:00", "21T11:14:00"], ["21T11:14:00", "21T11:20:00"]),
            both(["14T11:00", "21T11:00"], ["21T11:14", "21T11:20"])
        );
        // two weeks by the hour, and two hours by the minute that begin within one
        assert_eq!(
            told(["07T11:14:00", "14T11:14:00"], ["14T11:14:00", "21T11:14:00"]),
            both(["07T11:00", "14T11:00"], ["14T11:00", "21T12:00"])
        );
        assert_eq!(
            told(["21T08:00:30", "21T10:00:30"], ["21T10:00:30", "21T12:00:30"]),
            both(["21T08:00", "21T10:00"], ["21T10:00", "21T12:01"])
        );
        // what is asked for twice is counted twice, and less than a bucket is none
        assert_eq!(
            told(["14T11:14:00", "21T11:14:00"], ["21T11:10:00", "21T11:20:00"]),
            both(["14T11:00", "21T12:00"], ["21T11:10", "21T11:20"])
        );
        assert_eq!(
            told(["21T10:00:10", "21T10:00:20"], ["21T10:00:30", "21T10:05:00"]),
            both(["21T10:00", "21T10:01"], ["21T10:00", "21T10:05"])
        );
    }
}
