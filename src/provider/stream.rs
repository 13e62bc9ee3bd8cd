//! A stream is a reply that comes as server-sent events; it is put together here, and read like any
//! other reply once its terminal marker was seen.
//!
//! A stream may end early and cleanly, and no provider's own client notices. So the marker is
//! demanded: a cut stream is truncated, however well its text reads.

use std::collections::VecDeque;

use bytes::Bytes;
use http::HeaderMap;
use serde_json::Value;

use crate::domain::AttemptOutcome;
use crate::panel::AttemptError;
use crate::provider::classify;
use crate::provider::dialect::Dialect;
use crate::provider::sse::{Event, SseError, SseReader};
use crate::provider::wire::{self, Reply, WireResponse};

/// A reply on its way.
#[derive(Clone, Debug)]
pub struct Assembly {
    dialect: Dialect,
    reader: SseReader,
    /// Events that have come and are not in the reply yet.
    waiting: VecDeque<Event>,
    /// What is wrong with the stream behind them.
    broken: Option<SseError>,
    reply: Reply,
    /// Status and headers; the body goes into the reply.
    head: WireResponse,
}

impl Assembly {
    /// A reply of which only the head has come.
    #[must_use]
    pub fn new(dialect: Dialect, status: u16, headers: HeaderMap) -> Self {
        let head = WireResponse { status, headers, body: Bytes::new(), whole: true };
        let reply = Reply { request_id: wire::request_id(&head), ..Reply::default() };
        let (reader, waiting, broken) = (SseReader::default(), VecDeque::new(), None);
        Self { dialect, reader, waiting, broken, reply, head }
    }

    /// Takes what came of the body.
    pub fn feed(&mut self, bytes: &[u8]) {
        let mut events = Vec::new();
        self.broken = self.reader.push(bytes, &mut events).err();
        self.waiting.extend(events);
    }

    /// Adds the next event to the reply; `false`: none has come. One at a time, so that how much
    /// came at once makes no difference to what is known at which event.
    ///
    /// # Errors
    /// An error event, an event that is not JSON, or a stream that is no stream of events. What
    /// follows it says nothing any more.
    pub fn step(&mut self) -> Result<bool, AttemptError> {
        let Some(event) = self.waiting.pop_front() else {
            let fails =
                |why: SseError| self.reply.fails(AttemptOutcome::Unreadable, &why.to_string());
            return self.broken.map_or(Ok(false), |why| Err(fails(why)));
        };
        // OpenAI and Mistral end with a word that is not JSON
        if event.data == "[DONE]" {
            return Ok(true);
        }
        let Ok(value) = serde_json::from_str::<Value>(&event.data) else {
            let why = "an event of the stream is not JSON";
            return Err(self.reply.fails(AttemptOutcome::Unreadable, why));
        };
        if event.name.as_deref() == Some("error") || classify::is_complaint(&value) {
            let failure = classify::in_band(self.dialect, &self.head, &value);
            return Err(AttemptError { tokens: self.reply.tokens, ..failure });
        }
        self.dialect.add(&mut self.reply, &value);
        Ok(true)
    }

    /// The reply so far.
    #[must_use]
    pub fn reply(&self) -> &Reply {
        &self.reply
    }

    /// The whole reply; `whole`: whether the transport saw the body's end.
    ///
    /// # Errors
    /// As of [`Assembly::step`], or the stream ended before its terminal marker.
    pub fn finish(mut self, whole: bool) -> Result<Reply, AttemptError> {
        while self.step()? {}
        // a header names the call better than the body does
        self.reply.request_id = wire::request_id(&self.head).or(self.reply.request_id);
        if self.reply.refusal.is_some() || (self.reply.closed && whole) {
            return Ok(self.reply);
        }
        let why = if whole {
            "the stream ended without its terminal marker"
        } else {
            "the connection broke inside the stream"
        };
        Err(self.reply.fails(AttemptOutcome::Truncated, why))
    }
}

/// Puts the reply together whose bytes are all there.
///
/// # Errors
/// An error event, an event that is not JSON, or an end before the terminal marker.
pub fn assemble(dialect: Dialect, response: &WireResponse) -> Result<Reply, AttemptError> {
    let mut assembly = Assembly::new(dialect, response.status, response.headers.clone());
    assembly.feed(&response.body);
    assembly.finish(response.whole)
}
