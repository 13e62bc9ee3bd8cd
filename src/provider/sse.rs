//! Server-sent events are how a provider streams: bytes go in as they come, events come out as soon
//! as they are whole.
//!
//! Where the network cuts the bytes must not matter, so the reader works on whole lines: a code
//! point or a CR LF that is split between two pieces is one all the same. What it holds is bounded,
//! and a stream that breaks a rule stays broken.

use std::mem;

use thiserror::Error;

/// Largest event, its field names included. A provider's have some hundred bytes.
pub const MAX_EVENT_BYTES: usize = 256 * 1024;

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What it is called, where it is called anything.
    pub name: Option<String>,
    /// Its data, lines joined by LF.
    pub data: String,
}

/// Why a stream cannot be read on.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum SseError {
    /// A line that is no text.
    #[error("the stream is not UTF-8")]
    NotUtf8,
    /// An event past the bound.
    #[error("an event of the stream has more than {MAX_EVENT_BYTES} bytes")]
    TooLong,
}

/// What was read of a stream so far.
#[derive(Clone, Debug, Default)]
pub struct SseReader {
    /// The line that has not ended yet.
    line: Vec<u8>,
    /// Whether the last byte was a CR: an LF after it ends nothing.
    after_cr: bool,
    /// Whether a line has ended: only the first may begin with a byte order mark.
    began: bool,
    name: Option<String>,
    data: Option<String>,
    broken: Option<SseError>,
}

impl SseReader {
    /// Takes the next bytes and adds the events that they complete to `events`. Lines end in LF,
    /// CR LF or CR, an event in an empty line; half an event at the end of a stream is none.
    ///
    /// # Errors
    /// What the stream breaks; events before it were added.
    pub fn push(&mut self, bytes: &[u8], events: &mut Vec<Event>) -> Result<(), SseError> {
        if let Some(why) = self.broken {
            return Err(why);
        }
        let mut rest = bytes;
        while let Some(first) = rest.first() {
            if mem::take(&mut self.after_cr) && *first == b'\n' {
                rest = rest.get(1..).unwrap_or_default();
                continue;
            }
            let end = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
            let (part, after) = rest.split_at(end.unwrap_or(rest.len()));
            self.line.extend_from_slice(part);
            if MAX_EVENT_BYTES < self.line.len() + self.data.as_ref().map_or(0, String::len) {
                return Err(self.fail(SseError::TooLong));
            }
            let Some((ending, after)) = after.split_first() else { break };
            self.after_cr = *ending == b'\r';
            self.end_line(events)?;
            rest = after;
        }
        Ok(())
    }

    fn end_line(&mut self, events: &mut Vec<Event>) -> Result<(), SseError> {
        let bytes = mem::take(&mut self.line);
        let Ok(line) = str::from_utf8(&bytes) else {
            return Err(self.fail(SseError::NotUtf8));
        };
        let is_first = !mem::replace(&mut self.began, true);
        let line = if is_first { line.trim_start_matches('\u{feff}') } else { line };
        if line.is_empty() {
            let name = self.name.take();
            events.extend(self.data.take().map(|data| Event { name, data }));
            return Ok(());
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match (field, &mut self.data) {
            ("event", _) => self.name = Some(value.to_owned()),
            ("data", Some(data)) => {
                data.push('\n');
                data.push_str(value);
            }
            ("data", none) => *none = Some(value.to_owned()),
            // an empty field name is a comment; id and retry mean nothing here
            _ => {}
        }
        Ok(())
    }

    /// What was held is let go: nothing of it is read any more.
    fn fail(&mut self, why: SseError) -> SseError {
        *self = Self { broken: Some(why), ..Self::default() };
        why
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(pieces: &[&[u8]]) -> (Vec<Event>, Result<(), SseError>) {
        let mut reader = SseReader::default();
        let mut events = Vec::new();
        let mut result = Ok(());
        for piece in pieces {
            result = reader.push(piece, &mut events);
        }
        (events, result)
    }

    fn event(name: Option<&str>, data: &str) -> Event {
        Event { name: name.map(str::to_owned), data: data.to_owned() }
    }

    #[test]
    fn every_line_end_a_comment_and_a_split_field_are_read() {
        for end in ["\n", "\r\n", "\r"] {
            let text =
                [": comment", "event: x", "data: one", "data:two", "", "data: half"].join(end);
            let expected = vec![event(Some("x"), "one\ntwo")];
            assert_eq!(read(&[text.as_bytes()]), (expected, Ok(())), "{end:?}");
        }
    }

    #[test]
    fn an_event_without_its_empty_line_does_not_count() {
        assert_eq!(read(&[b"data: {}\n"]).0, vec![]);
        assert_eq!(read(&[b"data: {}\n\n"]).0, vec![event(None, "{}")]);
        assert_eq!(read(&[b"event: ping\n\n"]).0, vec![]);
        assert_eq!(read(&[b"event: ping\n\ndata: {}\n\n"]).0, vec![event(None, "{}")]);
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_first_field() {
        assert_eq!(read(&["\u{feff}data: 1\n\n".as_bytes()]).0, vec![event(None, "1")]);
    }

    #[test]
    fn a_stream_that_is_no_text_stays_broken() {
        let (events, result) = read(&[b"data: 1\n\ndata: \xff\n\n", b"data: 2\n\n"]);
        assert_eq!((events, result), (vec![event(None, "1")], Err(SseError::NotUtf8)));
    }

    #[test]
    fn an_endless_line_and_an_endless_event_are_given_up() {
        let line = vec![b'x'; MAX_EVENT_BYTES + 1];
        assert_eq!(read(&[&line]).1, Err(SseError::TooLong));
        let mut event = b"data: ".to_vec();
        event.extend(vec![b'x'; MAX_EVENT_BYTES / 2]);
        event.push(b'\n');
        assert_eq!(read(&[&event]).1, Ok(()));
        assert_eq!(read(&[&event, &event]).1, Err(SseError::TooLong));
    }

    /// Bytes that look like a stream, text outside ASCII and bytes that are no text included.
    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            Just(b"data: ".to_vec()),
            Just(b"event:".to_vec()),
            Just(b"\n".to_vec()),
            Just(b"\r".to_vec()),
            Just(b"\r\n".to_vec()),
            Just("\u{2014}\u{1f45f}".as_bytes().to_vec()),
            Just("\u{feff}".as_bytes().to_vec()),
            Just(b"\xe2\x80".to_vec()),
            "[a-z{}\": ]{0,6}".prop_map(String::into_bytes),
        ];
        prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn where_the_bytes_are_cut_changes_nothing(
            bytes in stream(),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.sort_unstable();
            let starts = std::iter::once(0).chain(cuts.iter().copied());
            let ends = cuts.iter().copied().chain([bytes.len()]);
            let pieces: Vec<&[u8]> = starts.zip(ends).map(|(from, to)| &bytes[from..to]).collect();
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            let whole = read(&[&bytes]);
            prop_assert_eq!(&read(&pieces), &whole);
            if !bytes.is_empty() {
                prop_assert_eq!(&read(&single), &whole);
            }
        }
    }
}
