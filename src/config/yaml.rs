//! A node is a value of a YAML file that remembers where it stood.
//!
//! The tree is built from the parser's events, so that the limits are ours (size, depth, aliases)
//! and every duplicate key is told, not the first alone. Scalars follow the YAML 1.2 core schema:
//! `off` and `no` are words.

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span};
use serde_json::Value as Json;

use crate::config::problem::{Mark, Report, Spot};

/// Largest file.
pub(crate) const MAX_BYTES: usize = 1 << 20;
/// Deepest nesting.
const MAX_DEPTH: usize = 24;
/// Most nodes, aliases counted as what they stand for; each 64 bytes of text count as one more.
const MAX_WEIGHT: usize = 60_000;

/// A value and its place.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) mark: Mark,
    pub(crate) value: Value,
    weight: usize,
}

/// What stands there.
#[derive(Clone)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Whole(i64),
    Number(f64),
    Text(Text),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A text, and how it may be shown: a resolved secret is shown as it was written.
#[derive(Clone)]
pub(crate) struct Text {
    pub(crate) text: String,
    /// The text as written, where it was resolved from elsewhere.
    pub(crate) written: Option<String>,
    /// A literal block (`|`): its lines are the file's lines, from the node's mark on.
    pub(crate) is_block: bool,
}

/// One key of a mapping.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) mark: Mark,
    pub(crate) node: Node,
}

/// Reads the one document of `bytes`; `None` after at least one problem that leaves no tree.
pub(crate) fn read(bytes: &[u8], report: &mut Report) -> Option<Node> {
    if MAX_BYTES < bytes.len() {
        let size = bytes.len();
        report.add_whole(format!("the file has {size} bytes, the limit is {MAX_BYTES}"));
        return None;
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text),
        Err(broken) => {
            let at = broken.valid_up_to();
            report.add_whole(format!("the file is not UTF-8: byte {at} begins no character"));
            return None;
        }
    };
    let mut builder =
        Builder { report, open: Vec::new(), anchors: Vec::new(), root: None, weight: 0 };
    for event in Parser::new_from_str(text) {
        let outcome = event
            .map_err(|why| Stop::of(&why))
            .and_then(|(event, span)| builder.take(event, mark_of(&span)));
        if let Err(stop) = outcome {
            builder.report.add_at(Some(stop.mark), String::new(), stop.message);
            return None;
        }
    }
    let root = builder.root;
    if root.is_none() {
        report.add_whole("the file holds nothing");
    }
    root
}

/// A problem after which the rest of the file cannot be trusted.
struct Stop {
    mark: Mark,
    message: String,
}

impl Stop {
    fn of(why: &ScanError) -> Self {
        let mark = Mark { line: why.marker().line(), column: why.marker().col() + 1 };
        Self { mark, message: format!("not YAML: {}", why.info()) }
    }

    fn at(mark: Mark, message: impl Into<String>) -> Self {
        Self { mark, message: message.into() }
    }
}

fn mark_of(span: &Span) -> Mark {
    Mark { line: span.start.line(), column: span.start.col() + 1 }
}

/// A list or a mapping that has not ended.
struct Open {
    node: Node,
    anchor: usize,
    /// In a mapping, the key that waits for its value.
    key: Option<(String, Mark)>,
}

struct Builder<'r> {
    report: &'r mut Report,
    open: Vec<Open>,
    anchors: Vec<(usize, Node)>,
    root: Option<Node>,
    weight: usize,
}

impl Builder<'_> {
    fn take(&mut self, event: Event<'_>, mark: Mark) -> Result<(), Stop> {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) if self.root.is_some() => {
                Err(Stop::at(mark, "a second document begins; a file holds one"))
            }
            Event::DocumentStart(_) => Ok(()),
            Event::Scalar(_, _, _, Some(_))
            | Event::SequenceStart(_, Some(_))
            | Event::MappingStart(_, Some(_)) => {
                Err(Stop::at(mark, "tags (`!…`) are not used here; write the value alone"))
            }
            Event::Scalar(text, style, anchor, None) => {
                let is_empty = text.is_empty() && style == ScalarStyle::Plain;
                let value = if is_empty { Value::Null } else { scalar(&text, style) };
                self.close(Node { mark, value, weight: 1 + text.len() / 64 }, anchor)
            }
            Event::SequenceStart(anchor, None) => self.begin(Value::List(Vec::new()), anchor, mark),
            Event::MappingStart(anchor, None) => self.begin(Value::Map(Vec::new()), anchor, mark),
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(open) => self.close(open.node, open.anchor),
                None => Ok(()),
            },
            Event::Alias(anchor) => {
                let target = self.anchors.iter().rev().find(|(id, _)| *id == anchor);
                let Some((_, target)) = target else {
                    return Err(Stop::at(mark, "an alias stands inside what it names"));
                };
                let copy = Node { mark, ..target.clone() };
                self.weigh(copy.weight, mark)?;
                self.place(copy)
            }
        }
    }

    fn begin(&mut self, value: Value, anchor: usize, mark: Mark) -> Result<(), Stop> {
        if MAX_DEPTH <= self.open.len() {
            return Err(Stop::at(mark, format!("nested deeper than {MAX_DEPTH} levels")));
        }
        self.open.push(Open { node: Node { mark, value, weight: 1 }, anchor, key: None });
        Ok(())
    }

    /// A node has ended: weighs it, names it if it has an anchor, and puts it where it belongs.
    fn close(&mut self, node: Node, anchor: usize) -> Result<(), Stop> {
        let own = if node.is_collection() { 1 } else { node.weight };
        self.weigh(own, node.mark)?;
        if anchor != 0 {
            // the copy kept for aliases counts too
            self.weigh(node.weight, node.mark)?;
            self.anchors.push((anchor, node.clone()));
        }
        self.place(node)
    }

    fn weigh(&mut self, weight: usize, mark: Mark) -> Result<(), Stop> {
        self.weight = self.weight.saturating_add(weight);
        if self.weight <= MAX_WEIGHT {
            return Ok(());
        }
        Err(Stop::at(mark, format!("more than {MAX_WEIGHT} values, aliases written out")))
    }

    fn place(&mut self, node: Node) -> Result<(), Stop> {
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        open.node.weight = open.node.weight.saturating_add(node.weight);
        match &mut open.node.value {
            Value::List(items) => items.push(node),
            Value::Map(entries) => match open.key.take() {
                None => open.key = Some((key_of(&node)?, node.mark)),
                Some((key, mark)) => {
                    if let Some(first) = entries.iter().find(|one| one.key == key) {
                        let line = first.mark.line;
                        let message = format!("stands twice; first on line {line}");
                        self.report.add(&Spot { mark, key }, message);
                    } else {
                        entries.push(Entry { key, mark, node });
                    }
                }
            },
            Value::Null | Value::Bool(_) | Value::Whole(_) | Value::Number(_) | Value::Text(_) => {}
        }
        Ok(())
    }
}

fn key_of(node: &Node) -> Result<String, Stop> {
    match &node.value {
        Value::Text(text) => Ok(text.text.clone()),
        Value::Bool(flag) => Ok(flag.to_string()),
        Value::Whole(number) => Ok(number.to_string()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Null => Err(Stop::at(node.mark, "a key is missing before the `:`")),
        Value::List(_) | Value::Map(_) => Err(Stop::at(node.mark, "a key must be a word")),
    }
}

/// The core schema: what a scalar without quotes means.
fn scalar(text: &str, style: ScalarStyle) -> Value {
    let plain = matches!(style, ScalarStyle::Plain);
    let is_block = matches!(style, ScalarStyle::Literal);
    if plain && let Some(value) = plain_scalar(text) {
        return value;
    }
    Value::Text(Text { text: text.to_owned(), written: None, is_block })
}

fn plain_scalar(text: &str) -> Option<Value> {
    match text {
        "~" | "null" | "Null" | "NULL" => return Some(Value::Null),
        "true" | "True" | "TRUE" => return Some(Value::Bool(true)),
        "false" | "False" | "FALSE" => return Some(Value::Bool(false)),
        _ => {}
    }
    let is_number = text.starts_with(|first: char| first.is_ascii_digit() || "+-.".contains(first))
        && text.chars().all(|one| one.is_ascii_digit() || "+-.eE".contains(one))
        && text.contains(|one: char| one.is_ascii_digit());
    if !is_number {
        return None;
    }
    let whole = text.parse::<i64>().ok().map(Value::Whole);
    whole.or_else(|| text.parse::<f64>().ok().map(Value::Number))
}

impl Node {
    /// The text that stands here, if it is one.
    pub(crate) fn text(&self) -> Option<&str> {
        if let Value::Text(text) = &self.value { Some(&text.text) } else { None }
    }

    /// The whole number that stands here, if it is one and not below zero.
    pub(crate) fn whole(&self) -> Option<u64> {
        if let Value::Whole(number) = &self.value { u64::try_from(*number).ok() } else { None }
    }

    fn is_collection(&self) -> bool {
        matches!(self.value, Value::List(_) | Value::Map(_))
    }

    /// The value as JSON.
    pub(crate) fn to_json(&self) -> Json {
        match &self.value {
            Value::Null => Json::Null,
            Value::Bool(flag) => Json::from(*flag),
            Value::Whole(number) => Json::from(*number),
            Value::Number(number) => Json::from(*number),
            Value::Text(text) => Json::from(text.text.as_str()),
            Value::List(items) => items.iter().map(Self::to_json).collect(),
            Value::Map(entries) => {
                entries.iter().map(|one| (one.key.clone(), one.node.to_json())).collect()
            }
        }
    }

    /// The value as a message may show it: short, and never a resolved secret.
    pub(crate) fn shown(&self) -> String {
        match &self.value {
            Value::Null => "nothing".to_owned(),
            Value::Bool(flag) => flag.to_string(),
            Value::Whole(number) => number.to_string(),
            Value::Number(number) => number.to_string(),
            Value::Text(text) => text.shown(),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a mapping".to_owned(),
        }
    }
}

impl Entry {
    /// The key as a value of its own.
    pub(crate) fn as_name(&self) -> Node {
        let text = Text { text: self.key.clone(), written: None, is_block: false };
        Node { mark: self.mark, value: Value::Text(text), weight: 1 }
    }
}

/// Longest text that a message repeats, in characters.
const SHOWN_CHARS: usize = 60;

impl Text {
    pub(crate) fn shown(&self) -> String {
        let text = self.written.as_ref().unwrap_or(&self.text);
        if text.chars().nth(SHOWN_CHARS).is_none() {
            return format!("{text:?}");
        }
        let start: String = text.chars().take(SHOWN_CHARS).collect();
        format!("{start:?}…")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        let mut report = Report::of("f.yaml");
        drop(read(text.as_bytes(), &mut report));
        report.into_found().iter().map(ToString::to_string).collect()
    }

    fn root(text: &str) -> Node {
        let mut report = Report::of("f.yaml");
        let node = read(text.as_bytes(), &mut report).unwrap();
        assert!(report.is_empty());
        node
    }

    #[test]
    fn every_duplicate_key_is_told_with_the_line_of_the_first() {
        let found = problems("a: 1\nb: 2\na: 3\nb: 4\n");
        assert_eq!(
            found,
            [
                "f.yaml:3:1: a: stands twice; first on line 1",
                "f.yaml:4:1: b: stands twice; first on line 2"
            ]
        );
    }

    #[test]
    fn aliases_that_multiply_are_stopped_before_they_fill_the_memory() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..20 {
            let below = format!("*a{}", level - 1);
            text.push_str(&format!("a{level}: &a{level} [{}]\n", vec![below; 8].join(", ")));
        }
        assert!(problems(&text)[0].ends_with("more than 60000 values, aliases written out"));
        let long = "y".repeat(100_000);
        let wide = format!("a: &a {long}\nb: [{}]\n", vec!["*a"; 1000].join(", "));
        assert!(problems(&wide)[0].ends_with("more than 60000 values, aliases written out"));
    }

    #[test]
    fn deep_nesting_is_stopped() {
        let deep = format!("a: {}{}", "[".repeat(60), "]".repeat(60));
        assert_eq!(problems(&deep), ["f.yaml:1:27: nested deeper than 24 levels"]);
    }

    #[test]
    fn a_file_is_one_document_of_bounded_size_in_utf8() {
        assert_eq!(problems(""), ["f.yaml: the file holds nothing"]);
        assert_eq!(
            problems("a: 1\n---\nb: 2\n"),
            ["f.yaml:2:1: a second document begins; a file holds one"]
        );
        assert_eq!(
            problems(&"#".repeat(MAX_BYTES + 1)),
            ["f.yaml: the file has 1048577 bytes, the limit is 1048576"]
        );
        let mut report = Report::of("f.yaml");
        assert!(read(b"a: \xff", &mut report).is_none());
        assert_eq!(
            report.into_found()[0].to_string(),
            "f.yaml: the file is not UTF-8: byte 3 begins no character"
        );
    }

    #[test]
    fn words_of_yaml_1_1_are_words() {
        let Value::Map(entries) = root("a: off\nb: 012\nc: '5'\nd: 1e3\ne: .95\nf: 0x10\n").value
        else {
            panic!("not a mapping")
        };
        let shown: Vec<_> = entries.iter().map(|one| one.node.shown()).collect();
        assert_eq!(shown, ["\"off\"", "12", "\"5\"", "1000", "0.95", "\"0x10\""]);
    }

    #[test]
    fn a_block_text_stands_where_its_first_line_stands() {
        let Value::Map(entries) = root("a:\n  b: |\n    one\n    two\n").value else { panic!() };
        let Value::Map(inner) = &entries[0].node.value else { panic!() };
        assert_eq!(inner[0].node.mark, Mark { line: 3, column: 5 });
        let Value::Text(text) = &inner[0].node.value else { panic!() };
        assert!(text.is_block);
        assert_eq!(text.text, "one\ntwo\n");
    }
}
