//! A YAML file as JSON: what scenario files need of YAML, and nothing that surprises.
//!
//! The tree is built from the parser's events, as a JSON value that serde then reads, so that a
//! scenario's mistakes are told by serde's own sentences. Anchors and tags are refused.

use saphyr_parser::Event;
use saphyr_parser::Parser;
use saphyr_parser::ScalarStyle;
use serde_json::Map;
use serde_json::Value;

/// Deepest nesting of a scenario file.
const MAX_DEPTH: usize = 24;

/// Reads the one document of `text`.
pub(crate) fn read(text: &str) -> Result<Value, String> {
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|problem| format!("not YAML: {problem}"))?;
        let told = builder.take(event);
        told.map_err(|problem| format!("line {}: {problem}", span.start.line()))?;
    }
    builder.root.ok_or_else(|| "the file holds nothing".to_owned())
}

/// A list or a mapping that has not ended.
enum Open {
    List(Vec<Value>),
    Map(Map<String, Value>, Option<String>),
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    root: Option<Value>,
}

impl Builder {
    fn take(&mut self, event: Event<'_>) -> Result<(), String> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                if anchor != 0 || tag.is_some() {
                    return Err("anchors and tags are not taken here".to_owned());
                }
                self.scalar(&text, style)
            }
            Event::SequenceStart(..) => self.begin(Open::List(Vec::new())),
            Event::MappingStart(..) => self.begin(Open::Map(Map::new(), None)),
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open::List(list)) => self.put(Value::Array(list)),
                Some(Open::Map(map, None)) => self.put(Value::Object(map)),
                Some(Open::Map(_, Some(key))) => Err(format!("{key:?} has no value")),
                None => Err("an end without a beginning".to_owned()),
            },
            Event::Alias(_) => Err("aliases are not taken here".to_owned()),
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
        }
    }

    fn begin(&mut self, open: Open) -> Result<(), String> {
        if MAX_DEPTH <= self.open.len() {
            return Err(format!("nested deeper than {MAX_DEPTH}"));
        }
        self.open.push(open);
        Ok(())
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle) -> Result<(), String> {
        if let Some(Open::Map(map, key @ None)) = self.open.last_mut() {
            if map.contains_key(text) {
                return Err(format!("{text:?} stands twice"));
            }
            *key = Some(text.to_owned());
            return Ok(());
        }
        let value = if style == ScalarStyle::Plain { plain(text) } else { text.into() };
        self.put(value)
    }

    fn put(&mut self, value: Value) -> Result<(), String> {
        match self.open.last_mut() {
            None if self.root.is_some() => return Err("a second document".to_owned()),
            None => self.root = Some(value),
            Some(Open::List(list)) => list.push(value),
            Some(Open::Map(map, key)) => {
                let key = key.take().ok_or("a key must be a plain text")?;
                map.insert(key, value);
            }
        }
        Ok(())
    }
}

/// A scalar without quotes, by the core schema.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" => Value::Null,
        "true" => true.into(),
        "false" => false.into(),
        _ => {
            let whole = text.parse::<i64>().map(Value::from);
            let is_number = text.starts_with(['-', '+', '.']) || text.starts_with(char::is_numeric);
            let number = text.parse::<f64>().ok().filter(|number| is_number && number.is_finite());
            whole.unwrap_or_else(|_| number.map_or_else(|| text.into(), Value::from))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_file_becomes_the_json_that_it_means() {
        let text = "# a comment\nid: S2\nrate: 20\nshare: 0.4\nquoted: \"20\"\non: [a, b]\n\
                    faults:\n  - { at_s: 0, fault: { status: { code: 529 } } }\nnone: ~\nyes: true\n";
        let expected = json!({
            "id": "S2", "rate": 20, "share": 0.4, "quoted": "20", "on": ["a", "b"],
            "faults": [{ "at_s": 0, "fault": { "status": { "code": 529 } } }],
            "none": null, "yes": true,
        });
        assert_eq!(read(text).unwrap(), expected);
    }

    #[test]
    fn what_is_not_taken_is_refused_by_line() {
        for (text, problem) in [
            ("a: 1\na: 2\n", "line 2: \"a\" stands twice"),
            ("a: &x 1\n", "line 1: anchors and tags"),
            ("a: 1\n---\nb: 2\n", "a second document"),
            ("", "the file holds nothing"),
            ("a: [1\n", "not YAML"),
            ("? [a]\n: 1\n", "a key must be a plain text"),
        ] {
            let refused = read(text).unwrap_err();
            assert!(refused.contains(problem), "{text:?}: {refused}");
        }
    }
}
