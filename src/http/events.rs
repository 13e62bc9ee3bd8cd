//! `GET /v1/events`: what happens, as it happens, as server-sent events.
//!
//! A stream looks once a second at what is new and says it in one message, so a gate under load
//! sends no more than an idle one. Those at the same place share one look ([`looks`]). It reads the
//! store and holds nothing of its own but its place,
//! which is the message's id: a client that comes again with it misses nothing, or is told how much
//! at most (`passed_over`: records of any policy that were not looked at).

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use serde::Serialize;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time;

use crate::http::events::looks::{Looks, Told};
use crate::http::filter::text;
use crate::http::marks::MarkForm;
use crate::http::problem::{Problem, pointer};
use crate::http::query::Parameters;
use crate::http::range::unreadable;
use crate::http::{Face, RETRY_AFTER};
use crate::ledger::LedgerError;
use crate::ledger::form::RecordForm;
use crate::ledger::marks::MarkFilter;
use crate::ledger::news::News;
use crate::ledger::reader::Reader;

mod looks;

/// Most streams at a time.
pub(super) const MAX_STREAMS: usize = 64;
/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// Looks after which something is said although nothing happened.
const QUIET_LOOKS: u32 = 15;
/// Verdicts listed in one message at most.
const MAX_LISTED: u32 = 50;

/// Leave to stream, and what the streams share.
#[derive(Debug)]
pub struct Streams {
    permits: Arc<Semaphore>,
    looks: Looks,
}

impl Streams {
    pub(super) fn new() -> Self {
        Self { permits: Arc::new(Semaphore::new(MAX_STREAMS)), looks: Looks::new(EVERY) }
    }
}

/// A judge's state as it is told.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct JudgeState {
    judge: String,
    breaker: &'static str,
    score: f64,
    in_flight: u32,
    limit: u32,
    p50_ms: Option<u64>,
    p95_ms: Option<u64>,
    blocked_for_ms: Option<u64>,
}

/// `GET /v1/events`.
pub(super) async fn get(
    State(face): State<Arc<Face>>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    let mut parameters = Parameters::of(&uri)?;
    let policy = text(&mut parameters, "policy")?;
    let asked = parameters.take("last_event_id");
    parameters.finish(&["policy", "last_event_id"])?;
    let header = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    let place = match asked.as_deref().or(header) {
        Some(id) => Some(place(id)?),
        None => None,
    };
    let permit = Arc::clone(&face.streams.permits).try_acquire_owned().map_err(|_| {
        let detail = format!("{MAX_STREAMS} streams are open already");
        Problem::overloaded(detail, RETRY_AFTER)
    })?;
    let reader = face.gate.ledger.reader();
    let newest = (
        reader.last_seq().await.map_err(unreadable)?,
        reader.last_mark().await.map_err(unreadable)?,
    );
    // an id from behind the newest is one of another store
    let is_foreign = place.is_some_and(|(seq, mark)| newest.0 < seq || newest.1 < mark);
    let (last_seq, last_mark) = place.filter(|_| !is_foreign).unwrap_or(newest);
    let tail = Tail {
        face,
        policy,
        last_seq,
        last_mark,
        judges: Vec::new(),
        quiet_looks: 0,
        is_first: true,
        is_foreign,
        _permit: permit,
    };
    let body = Body::from_stream(stream::try_unfold(tail, Tail::next));
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // a proxy that gathers answers would hold the messages back
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// Reads `SEQ-MARK`.
fn place(id: &str) -> Result<(i64, i64), Problem> {
    let read = id.split_once('-').and_then(|(seq, mark)| {
        let read = |text: &str| text.parse::<i64>().ok().filter(|number| 0 <= *number);
        Some((read(seq)?, read(mark)?))
    });
    read.ok_or_else(|| {
        Problem::bad_field(&pointer(&["last_event_id"]), "is not one that a message had")
    })
}

/// One stream's place.
struct Tail {
    face: Arc<Face>,
    policy: Option<String>,
    last_seq: i64,
    last_mark: i64,
    judges: Vec<JudgeState>,
    quiet_looks: u32,
    is_first: bool,
    is_foreign: bool,
    _permit: OwnedSemaphorePermit,
}

impl Tail {
    /// What is to be sent next; `None` ends the stream, which is when the gate stops.
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, LedgerError> {
        let mut text = String::new();
        if self.is_first {
            text.push_str("retry: 1000\n\n");
        }
        if self.is_first && self.is_foreign {
            text.push_str(": this store gave no such id: told from now on\n\n");
        }
        loop {
            if !self.is_first {
                time::sleep(self.face.streams.looks.wait()).await;
            }
            if self.face.gate.door.is_draining() {
                return Ok(None);
            }
            // a store that fails now may not the next time: the stream goes on
            if let Err(why) = self.look(&mut text).await {
                tracing::warn!(%why, "a stream of events cannot look");
            }
            self.is_first = false;
            self.quiet_looks += 1;
            if text.is_empty() && QUIET_LOOKS <= self.quiet_looks {
                text.push_str(": nothing new\n\n");
            }
            if !text.is_empty() {
                self.quiet_looks = 0;
                return Ok(Some((Bytes::from(text), self)));
            }
        }
    }

    async fn look(&mut self, text: &mut String) -> Result<(), LedgerError> {
        self.look_at_verdicts(text).await?;
        let filter = MarkFilter {
            policy: self.policy.clone(),
            after: self.last_mark,
            ..MarkFilter::default()
        };
        let mut marks = self.face.gate.ledger.reader().marks(&filter).await?;
        marks.sort_by_key(|mark| mark.id);
        for mark in &marks {
            self.last_mark = self.last_mark.max(mark.id);
            self.say(text, "mark", &MarkForm::of(mark));
        }
        self.look_at_judges(text);
        Ok(())
    }

    async fn look_at_verdicts(&mut self, text: &mut String) -> Result<(), LedgerError> {
        // 0 until this process wrote something
        let grown = *self.face.gate.ledger.grown().borrow();
        if !self.is_first && grown <= self.last_seq {
            return Ok(());
        }
        let reader = self.face.gate.ledger.reader();
        let (after, policy) = (self.last_seq, self.policy.as_deref());
        let looks = &self.face.streams.looks;
        let told =
            looks.told((after, policy), async || written(reader, after, policy).await).await?;
        self.last_seq = self.last_seq.max(told.last_seq);
        if let Some(data) = &told.data {
            self.say_text(text, "verdicts", data);
        }
        Ok(())
    }

    fn look_at_judges(&mut self, text: &mut String) {
        let state = |one: crate::panel::JudgeStatus| JudgeState {
            judge: one.id.name,
            breaker: one.breaker.label(),
            score: (one.score * 10.0).round() / 10.0,
            in_flight: one.in_flight,
            limit: one.limit,
            p50_ms: one.p50_ms,
            p95_ms: one.p95_ms,
            blocked_for_ms: one.blocked_for_ms,
        };
        let judges: Vec<_> = self.face.gate.panel.statuses().into_iter().map(state).collect();
        // who is asked right now changes all the time, and how long a block lasts with the clock
        let settled = |one: &JudgeState| JudgeState {
            in_flight: 0,
            blocked_for_ms: one.blocked_for_ms.map(|_| 0),
            ..one.clone()
        };
        let is_due = self.is_first || QUIET_LOOKS <= self.quiet_looks;
        if is_due || !judges.iter().map(settled).eq(self.judges.iter().map(settled)) {
            self.say(text, "judges", &json!({ "judges": judges }));
            self.judges = judges;
        }
    }

    fn say(&self, text: &mut String, event: &str, data: &impl Serialize) {
        match serde_json::to_string(data) {
            Ok(data) => self.say_text(text, event, &data),
            Err(why) => tracing::error!(%why, event, "an event cannot be written as JSON"),
        }
    }

    fn say_text(&self, text: &mut String, event: &str, data: &str) {
        let id = format!("{}-{}", self.last_seq, self.last_mark);
        text.push_str(&format!("id: {id}\nevent: {event}\ndata: {data}\n\n"));
    }
}

/// What was written behind `after`, of `policy` or of all.
async fn written(reader: &Reader, after: i64, policy: Option<&str>) -> Result<Told, LedgerError> {
    let last_seq = reader.last_seq().await?;
    let news = reader.news((after, last_seq), policy, MAX_LISTED).await;
    // the same look at more records would fail again: it is told that there were some
    let news = news.unwrap_or_else(|why| {
        tracing::warn!(%why, "streams of events pass records over");
        News::unread(after, last_seq)
    });
    let last_seq = after.max(news.last_seq);
    if news.n == 0 && news.passed_over == 0 {
        return Ok(Told { last_seq, data: None });
    }
    reader.apart(move || Told { last_seq, data: Some(said(&news, last_seq)) }).await
}

fn said(news: &News, last_seq: i64) -> String {
    let listed: Vec<_> = news.records.iter().map(|(form, image)| summary(form, *image)).collect();
    let left_out = news.n.saturating_sub(listed.len() as u64);
    let said = json!({ "n": news.n, "left_out": left_out, "passed_over": news.passed_over,
        "last_seq": last_seq, "verdicts": listed });
    said.to_string()
}

/// A verdict as a list shows it.
fn summary(form: &RecordForm, image: bool) -> serde_json::Value {
    let scores: serde_json::Map<_, _> = form
        .scores
        .0
        .iter()
        .map(|(criterion, one)| {
            (criterion.clone(), json!({ "score": one.score, "pass_at": one.pass_at }))
        })
        .collect();
    json!({
        "seq": form.seq,
        "id": form.id,
        "at": form.at.to_string(),
        "policy": form.policy.name,
        "verdict": form.verdict.label(),
        "basis": form.basis.label(),
        "judge": form.judge.as_ref().map(|judge| &judge.name),
        "route": form.route.map(crate::domain::Route::label),
        "first_verdict": form.first_verdict.map(crate::domain::Decision::label),
        "borderline": form.borderline,
        "failed": form.failed,
        "flags": form.flags,
        "scores": scores,
        "total_ms": form.timing_ms.total,
        "cost_micro_usd": form.cost_micro_usd,
        "external_id": form.external_id,
        "image": image,
        "complete": form.complete,
    })
}
