//! A stream is a reply that comes as server-sent events; it is put together here, and read like any
//! other reply once its terminal marker was seen.
//!
//! A stream may end early and cleanly, and no provider's own client notices. So the marker is
//! demanded: a cut stream is truncated, however well its text reads.

use serde_json::Value;

use crate::domain::AttemptOutcome;
use crate::panel::AttemptError;
use crate::provider::classify;
use crate::provider::dialect::Dialect;
use crate::provider::wire::{Reply, WireResponse};

/// Puts the reply together.
///
/// # Errors
/// An error event, an event that is not JSON, or an end before the terminal marker.
pub fn assemble(dialect: Dialect, response: &WireResponse) -> Result<Reply, AttemptError> {
    let mut reply = Reply::default();
    let Ok(text) = std::str::from_utf8(&response.body) else {
        return Err(broken(
            &reply,
            response,
            AttemptOutcome::Unreadable,
            "the stream is not UTF-8",
        ));
    };
    for event in events(text) {
        // OpenAI and Mistral end with a word that is not JSON
        if event.data == "[DONE]" {
            continue;
        }
        let Ok(value) = serde_json::from_str::<Value>(&event.data) else {
            let why = "an event of the stream is not JSON";
            return Err(broken(&reply, response, AttemptOutcome::Unreadable, why));
        };
        if event.name == Some("error") || classify::is_complaint(&value) {
            let failure = classify::in_band(dialect, response, &value);
            return Err(AttemptError { tokens: reply.tokens, ..failure });
        }
        dialect.add(&mut reply, &value);
    }
    if reply.refusal.is_some() || (reply.closed && response.whole) {
        return Ok(reply);
    }
    let why = if response.whole {
        "the stream ended without its terminal marker"
    } else {
        "the connection broke inside the stream"
    };
    Err(broken(&reply, response, AttemptOutcome::Truncated, why))
}

fn broken(
    reply: &Reply,
    response: &WireResponse,
    outcome: AttemptOutcome,
    why: &str,
) -> AttemptError {
    let id = crate::provider::wire::request_id(response);
    AttemptError { request_id: id, ..reply.fails(outcome, why) }
}

/// One event.
#[derive(Debug, PartialEq, Eq)]
struct Event<'a> {
    name: Option<&'a str>,
    data: String,
}

/// The complete events of `text`: lines end in LF, CR LF or CR, an event in an empty line. What
/// follows the last empty line is half an event and is left out.
fn events(text: &str) -> Vec<Event<'_>> {
    let mut events = Vec::new();
    let mut name = None;
    let mut data: Option<String> = None;
    for line in lines(text) {
        if line.is_empty() {
            if let Some(data) = data.take() {
                events.push(Event { name, data });
            }
            name = None;
            continue;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match (field, &mut data) {
            ("event", _) => name = Some(value),
            ("data", Some(data)) => {
                data.push('\n');
                data.push_str(value);
            }
            ("data", none) => *none = Some(value.to_owned()),
            // an empty field name is a comment; id and retry mean nothing here
            _ => {}
        }
    }
    events
}

/// The lines of `text` that came with their end.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (line, after) = rest.split_once(['\r', '\n'])?;
        let crlf = rest.get(line.len()..).is_some_and(|end| end.starts_with("\r\n"));
        rest = if crlf { after.strip_prefix('\n').unwrap_or(after) } else { after };
        Some(line)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_line_end_a_comment_and_a_split_field_are_read() {
        for end in ["\n", "\r\n", "\r"] {
            let text =
                [": comment", "event: x", "data: one", "data:two", "", "data: half"].join(end);
            let expected = Event { name: Some("x"), data: "one\ntwo".to_owned() };
            assert_eq!(events(&text), vec![expected], "{end:?}");
        }
    }

    #[test]
    fn an_event_without_its_empty_line_does_not_count() {
        assert_eq!(events("data: {}\n"), vec![]);
        assert_eq!(events("data: {}\n\n").len(), 1);
        assert_eq!(events("event: ping\n\n"), vec![]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn any_text_is_split_without_a_panic(text in "([dataevnt: \\r\\n]|\\PC){0,80}") {
            let _events = events(&text);
        }
    }
}
