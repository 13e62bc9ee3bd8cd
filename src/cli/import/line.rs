//! A line of an export, read and looked at: what is wrong with it is said by its key, in the words of
//! the contract and not in those of the program.

use serde::de::DeserializeOwned;
use serde_json::error::Category;

use crate::clock::Timestamp;
use crate::ledger::export::Beside;
use crate::ledger::form::RecordForm;
use crate::ledger::form::plausible::{check_record, check_shadow};

/// Longest value that is shown of a line.
const MOST_SHOWN_CHARS: usize = 80;

/// A record, and what an export says beside it.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::cli) struct Line {
    pub(in crate::cli) record: RecordForm,
    pub(in crate::cli) beside: Beside,
}

impl Line {
    /// Reads a line; `now` is the moment that none of its own may lie behind.
    ///
    /// # Errors
    /// The first thing that is wrong with it, `key: is …, expected …`.
    pub(in crate::cli) fn read(bytes: &[u8], now: Timestamp) -> Result<Self, String> {
        if !bytes.trim_ascii_start().starts_with(b"{") {
            return Err("is no JSON object".to_owned());
        }
        let record: RecordForm = parse(bytes)?;
        let beside: Beside = parse(bytes)?;
        check_record(&record, now)?;
        for (place, shadow) in beside.shadows.iter().enumerate() {
            check_shadow(shadow, now).map_err(|why| format!("shadows[{place}].{why}"))?;
        }
        Ok(Self { record, beside })
    }
}

/// Reads the one JSON value of a line.
///
/// # Errors
/// What is wrong with it, `key: is …, expected …`.
pub(in crate::cli) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let read = serde_path_to_error::deserialize(&mut json).map_err(|why| {
        let path = why.path().to_string();
        told(&path, why.inner())
    })?;
    json.end().map_err(|why| told(".", &why))?;
    Ok(read)
}

/// What the reader says, for people.
fn told(path: &str, why: &serde_json::Error) -> String {
    let text = why.to_string();
    let (text, column) = text.rsplit_once(" at line ").unwrap_or((&text, ""));
    if why.classify() != Category::Data {
        let column = column.rsplit(' ').next().unwrap_or_default();
        return format!("is no JSON: {text} at column {column}");
    }
    let under = |name: &str| if path == "." { name.to_owned() } else { format!("{path}.{name}") };
    let name = |text: &str| text.trim_matches('`').to_owned();
    if let Some(field) = text.strip_prefix("missing field ") {
        return format!("{}: is missing", under(&name(field)));
    }
    if let Some(field) = text.strip_prefix("duplicate field ") {
        return format!("{}: stands twice", under(&name(field)));
    }
    let of_kind = text.strip_prefix("invalid type: ").or(text.strip_prefix("invalid value: "));
    let says = match of_kind.and_then(|rest| rest.rsplit_once(", expected ")) {
        Some((is, expected)) => format!("is {}, expected {}", value(is), kind(expected)),
        None => match text.strip_prefix("UUID parsing failed: ") {
            Some(rest) => format!("is no UUID: {rest}"),
            None => text.to_owned(),
        },
    };
    if path == "." { says } else { format!("{path}: {says}") }
}

/// A value as the reader shows it: the kind that it names first says nothing that one cannot see.
fn value(is: &str) -> String {
    match is {
        "map" => return "an object".to_owned(),
        "sequence" => return "an array".to_owned(),
        _ => {}
    }
    let kinds = ["integer ", "floating point ", "boolean ", "string "];
    let shown = kinds.iter().find_map(|kind| is.strip_prefix(kind)).unwrap_or(is);
    let shown = shown.trim_matches('`');
    match shown.char_indices().nth(MOST_SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", shown.get(..end).unwrap_or_default()),
        None => shown.to_owned(),
    }
}

fn kind(expected: &str) -> &str {
    match expected {
        "u64" | "u32" | "usize" => "a whole number, 0 or more",
        "i64" => "a whole number",
        "f64" => "a number",
        "a boolean" => "true or false",
        "a sequence" => "an array",
        "a map" => "an object",
        "a string" | "a borrowed string" => "text",
        "a formatted UUID string" => "a UUID",
        other if other.starts_with("struct ") => "an object",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::ledger::form::tests::sample;

    /// What is said of a record in which the value at `pointer` is another.
    fn said(pointer: &str, other: Value) -> String {
        let mut line = serde_json::to_value(RecordForm::from(&sample())).unwrap();
        *line.pointer_mut(pointer).unwrap() = other;
        refused(line.to_string().as_bytes())
    }

    fn refused(line: &[u8]) -> String {
        Line::read(line, Timestamp(1_795_300_000_000_000)).unwrap_err()
    }

    #[test]
    fn a_bad_line_is_told_by_its_key_and_without_the_names_of_our_types() {
        assert_eq!(said("/id", json!(1)), "id: is 1, expected a UUID");
        assert_eq!(
            said("/verdict", json!("passed")),
            "verdict: is \"passed\", expected one of: pass, review, fail"
        );
        let route = said("/attempts/0/route", json!("detour"));
        assert!(route.starts_with("attempts[0].route: is \"detour\", expected one of: primary"));
        assert_eq!(
            said("/cost_micro_usd", json!(-7)),
            "cost_micro_usd: is -7, expected a whole number, 0 or more"
        );
        assert_eq!(said("/scores", json!(3)), "scores: is 3, expected an object");
        assert_eq!(said("/policy", json!("x")), "policy: is \"x\", expected an object");
        assert_eq!(said("/complete", json!(null)), "complete: is null, expected true or false");
        assert_eq!(said("/failed", json!({})), "failed: is an object, expected an array");
        let at = said("/at", json!("yesterday"));
        assert!(at.starts_with("at: is \"yesterday\", expected a moment such as"), "{at}");
        let digest = said("/image/digest", json!("sha1:00"));
        assert!(digest.starts_with("image.digest: "), "{digest}");
        assert_eq!(refused(b"{}"), "id: is missing");
        assert_eq!(refused(b"[]"), "is no JSON object");
        assert_eq!(refused(b"\xff"), "is no JSON object");
        let cut = refused(b"{\"id\":");
        assert_eq!(cut, "is no JSON: EOF while parsing a value at column 6");
    }

    #[test]
    fn what_was_said_behind_a_verdict_is_looked_at_too() {
        let mut line = serde_json::to_value(RecordForm::from(&sample())).unwrap();
        line["shadows"] = json!([{ "at": "2026-11-21T14:02:00Z", "purpose": "whim" }]);
        let why = refused(line.to_string().as_bytes());
        assert!(why.contains("expected one of: sample, backfill, burst, hedge"), "{why}");
    }
}
