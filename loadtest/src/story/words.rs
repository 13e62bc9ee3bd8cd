//! What the gate says of drift, read the way users do: over HTTP, from the page's own routes and the
//! metrics.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use http_body_util::Full;
use hyper::Request;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::rig::RigError;
use crate::story::POLICY;
use crate::web::Web;

/// Longest that one answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// A number with its 95 % interval, as a share.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Effect {
    pub(crate) effect: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Effect {
    pub(crate) fn covers(&self, truth: f64) -> bool {
        self.low <= truth && truth <= self.high
    }
}

/// One drift event.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Told {
    pub(crate) at: String,
    pub(crate) onset: String,
    pub(crate) label: String,
    pub(crate) severity: String,
    pub(crate) effect: Effect,
    pub(crate) sentence: String,
    pub(crate) low_confidence: bool,
}

impl Told {
    pub(crate) fn at_ms(&self) -> u64 {
        moment_ms(&self.at).unwrap_or_default()
    }
}

/// A share with what it is of.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(crate) struct Share {
    pub(crate) share: Option<f64>,
}

/// What is said of one judge.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct JudgeRow {
    pub(crate) judge: String,
    pub(crate) share_before: Share,
    pub(crate) share_after: Share,
}

/// A cause and its part of the change.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Part {
    pub(crate) cause: String,
    #[serde(flatten)]
    pub(crate) effect: Effect,
}

/// The change between the baseline and a window.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Change {
    #[serde(default)]
    pub(crate) parts: Vec<Part>,
}

/// `/v1/drift`, as far as a story looks at it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct DriftPage {
    pub(crate) label: String,
    pub(crate) change: Option<Change>,
    pub(crate) judges: Vec<JudgeRow>,
    pub(crate) events: Vec<Told>,
    pub(crate) watch: Value,
}

impl DriftPage {
    /// Whether a baseline is there.
    pub(crate) fn is_watching(&self) -> bool {
        self.watch.get("phase").and_then(Value::as_str) == Some("watching")
    }

    /// The effect of one cause.
    pub(crate) fn part(&self, cause: &str) -> Option<Effect> {
        let parts = &self.change.as_ref()?.parts;
        parts.iter().find(|part| part.cause == cause).map(|part| part.effect)
    }
}

/// `/v1/drift` of a window; without one, of the last minutes.
pub(crate) async fn drift(
    web: &Web,
    url: &str,
    window: Option<(u64, u64)>,
) -> Result<DriftPage, RigError> {
    let range = window.map(|(from, to)| format!("&since={}&until={}", moment(from), moment(to)));
    let range = range.unwrap_or_else(|| "&since=15m".to_owned());
    get(web, &format!("{url}/v1/drift?policy={POLICY}{range}")).await
}

/// Records from a moment to another, as the export gives them.
pub(crate) async fn export(
    web: &Web,
    url: &str,
    (from_ms, to_ms): (u64, u64),
) -> Result<Vec<Value>, RigError> {
    let range = format!("since={}&until={}", moment(from_ms), moment(to_ms));
    let url = format!("{url}/v1/verdicts:export?format=ndjson&policy={POLICY}&{range}");
    let reply = web.get(&url, ANSWER_WITHIN).await?;
    let lines = reply.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let read = |line| serde_json::from_slice(line).map_err(|why| unreadable(&url, &why));
    lines.map(read).collect()
}

/// Every counter of events that is above zero, by label.
pub(crate) async fn counted_events(web: &Web, url: &str) -> Result<Vec<(String, f64)>, RigError> {
    let url = format!("{url}/metrics");
    let reply = web.get(&url, ANSWER_WITHIN).await?;
    let text = String::from_utf8_lossy(&reply.body);
    let lines = text.lines().filter_map(|line| line.strip_prefix("vlmgate_drift_events_total{"));
    let counted = lines.filter_map(|line| {
        let (labels, value) = line.rsplit_once(' ')?;
        let label = labels.split("label=\"").nth(1)?.split('"').next()?;
        let value: f64 = value.parse().ok()?;
        (0.0 < value).then(|| (label.to_owned(), value))
    });
    Ok(counted.collect())
}

async fn get<T: DeserializeOwned>(web: &Web, url: &str) -> Result<T, RigError> {
    let reply = web.get(url, ANSWER_WITHIN).await?;
    if reply.status != 200 {
        let said = String::from_utf8_lossy(&reply.body);
        return Err(RigError::Story(format!("{url}: status {}: {said}", reply.status)));
    }
    serde_json::from_slice(&reply.body).map_err(|why| unreadable(url, &why))
}

fn unreadable(url: &str, why: &serde_json::Error) -> RigError {
    RigError::Story(format!("{url} cannot be read: {why}"))
}

/// Listens to `/v1/events` beside the story: the drift marks that came, in their order.
pub(crate) struct Stream {
    heard: watch::Receiver<Vec<String>>,
    _listening: JoinSet<()>,
}

impl Stream {
    /// Begins to listen. A stream that ends is not taken up again: then nothing more is heard.
    pub(crate) fn listen(url: &str) -> Self {
        let (tell, heard) = watch::channel(Vec::new());
        let mut listening = JoinSet::new();
        let request = Request::get(format!("{url}/v1/events?policy={POLICY}"));
        listening.spawn(async move {
            let Ok(request) = request.body(Full::<Bytes>::default()) else { return };
            let client = Client::builder(TokioExecutor::new()).build_http();
            let Ok(mut response) = client.request(request).await else { return };
            let mut rest = String::new();
            while let Some(Ok(frame)) = response.body_mut().frame().await {
                let Ok(piece) = frame.into_data() else { continue };
                rest.push_str(&String::from_utf8_lossy(&piece));
                while let Some((message, after)) = rest.split_once("\n\n") {
                    if let Some(label) = drift_label(message) {
                        tell.send_modify(|heard| heard.push(label));
                    }
                    rest = after.to_owned();
                }
            }
        });
        Self { heard, _listening: listening }
    }

    /// The labels of the drift events so far.
    pub(crate) fn heard(&self) -> Vec<String> {
        self.heard.borrow().clone()
    }
}

/// The label of a message that tells a drift event.
fn drift_label(message: &str) -> Option<String> {
    let said = message.lines().find_map(|line| line.strip_prefix("data: "))?;
    let mark: Value = serde_json::from_str(said).ok()?;
    if mark.get("kind").and_then(Value::as_str) != Some("drift") {
        return None;
    }
    mark.pointer("/detail/label").and_then(Value::as_str).map(str::to_owned)
}

/// A moment as the gate writes it.
pub(crate) fn moment(at_ms: u64) -> String {
    let (days, of_day) = (at_ms / 86_400_000, at_ms % 86_400_000);
    let (year, month, day) = date(days);
    let (hour, minute) = (of_day / 3_600_000, of_day / 60_000 % 60);
    let (second, ms) = (of_day / 1_000 % 60, of_day % 1_000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}000Z")
}

/// What the gate wrote, in milliseconds since 1970.
pub(crate) fn moment_ms(text: &str) -> Option<u64> {
    let (day, time) = text.trim_end_matches('Z').split_once('T')?;
    let day: Vec<u64> = day.split('-').filter_map(|part| part.parse().ok()).collect();
    let (clock, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let clock: Vec<u64> = clock.split(':').filter_map(|part| part.parse().ok()).collect();
    let ([year, month, day], [hour, minute, second]) = (day.as_slice(), clock.as_slice()) else {
        return None;
    };
    let ms: u64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    let seconds = days(*year, *month, *day) * 86_400 + hour * 3_600 + minute * 60 + second;
    Some(seconds * 1_000 + ms)
}

/// The day that is so many days after 1970 began (Howard Hinnant's `civil_from_days`).
fn date(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let turn = (5 * of_year + 2) / 153;
    let month = if turn < 10 { turn + 3 } else { turn - 9 };
    (year + era * 400 + u64::from(month <= 2), month, of_year - (153 * turn + 2) / 5 + 1)
}

/// The other way round.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year / 400, year % 400);
    let turn = if 2 < month { month - 3 } else { month + 9 };
    let of_year = (153 * turn + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_written_as_the_gate_writes_it_and_read_again() {
        assert_eq!(moment(1_795_269_720_123), "2026-11-21T14:02:00.123000Z");
        for at_ms in [0, 951_782_400_000, 1_709_164_799_999, 1_795_269_720_123, 4_102_444_800_000] {
            assert_eq!(moment_ms(&moment(at_ms)), Some(at_ms), "{}", moment(at_ms));
        }
        assert_eq!(moment(951_782_400_000), "2000-02-29T00:00:00.000000Z");
        assert_eq!(moment_ms("2026-11-21T14:02:00Z"), Some(1_795_269_720_000));
        assert_eq!(moment_ms("yesterday"), None);
    }

    #[test]
    fn only_a_drift_event_is_heard() {
        let message = |kind| {
            format!(
                "id: 1-2\nevent: mark\ndata: {{\"kind\":\"{kind}\",\"detail\":{{\"label\":\"routing\"}}}}"
            )
        };
        assert_eq!(drift_label(&message("drift")), Some("routing".to_owned()));
        assert_eq!(drift_label(&message("breaker")), None);
        assert_eq!(drift_label("retry: 1000"), None);
    }
}
