//! A schema is the answer form that a caller asks for, kept in the order in which it was sent.
//!
//! Structured output follows the order of the properties, and a gate may read scores before reasons
//! arrive, so a map that sorts its keys would simulate another provider.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::Deserializer;
use serde::de::MapAccess;
use serde::de::Visitor;
use serde_json::Value;

/// The parts of JSON Schema that providers accept.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Schema {
    #[serde(rename = "type")]
    kinds: Kinds,
    properties: Properties,
    items: Option<Box<Schema>>,
    #[serde(rename = "enum")]
    choices: Vec<Value>,
    required: Vec<String>,
    additional_properties: Option<Value>,
    minimum: Option<f64>,
    maximum: Option<f64>,
    any_of: Vec<Schema>,
    #[serde(rename = "$ref")]
    reference: Option<String>,
    #[serde(rename = "$defs", alias = "definitions")]
    definitions: Properties,
}

/// A schema's type: one name or several. Older Gemini schemas write it in capitals.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(untagged)]
enum Kinds {
    #[default]
    Unstated,
    One(String),
    Several(Vec<String>),
}

impl Kinds {
    /// The first type that is not null, in small letters.
    fn first(&self) -> Option<String> {
        match self {
            Self::Unstated => None,
            Self::One(kind) => Some(kind.to_ascii_lowercase()),
            Self::Several(kinds) => {
                kinds.iter().map(|kind| kind.to_ascii_lowercase()).find(|kind| kind != "null")
            }
        }
    }
}

/// Named schemas in their written order.
#[derive(Clone, Debug, Default)]
struct Properties(Vec<(String, Schema)>);

impl<'de> Deserialize<'de> for Properties {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Properties;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a map of schemas")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Properties, A::Error> {
                let mut properties = Vec::new();
                while let Some(property) = map.next_entry()? {
                    properties.push(property);
                }
                Ok(Properties(properties))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// References and nested schemas are followed this deep.
const MAX_DEPTH: usize = 16;

impl Schema {
    /// The names of all numbers, which are what a judge scores.
    pub(crate) fn criteria(&self) -> Vec<String> {
        let mut criteria = Vec::new();
        self.visit(&mut |name, schema| {
            let is_number = schema.kinds.first().is_some_and(|kind| kind == "number");
            if is_number && !criteria.iter().any(|known| known == name) {
                criteria.push(name.to_owned());
            }
            None::<()>
        });
        criteria
    }

    /// An answer that fits, as JSON text: numbers from `scores`, every property filled, in order.
    pub(crate) fn answer(&self, scores: &BTreeMap<String, f64>) -> Answer {
        let mut text = String::new();
        let writer = Writer { definitions: &self.definitions, scores, scored_bytes: Cell::new(0) };
        writer.write(self, "answer", &mut text, 0);
        // A number is known to be whole by what follows it.
        let scored_bytes = match writer.scored_bytes.get() {
            0 => None,
            end => Some((end + 1).min(text.len())),
        };
        let lowest_score = scores.values().copied().min_by(f64::total_cmp);
        Answer { text, scored_bytes, lowest_score }
    }

    /// How many properties there are, for the token count.
    pub(crate) fn property_count(&self) -> usize {
        let mut count = 0;
        self.visit(&mut |_, _| {
            count += 1;
            None::<()>
        });
        count
    }

    /// The first object that leaves room for properties that nobody asked for.
    pub(crate) fn open_object(&self) -> Option<String> {
        self.visit(&mut |name, schema| {
            let is_open = schema.additional_properties != Some(Value::Bool(false));
            (schema.is_object() && is_open).then(|| name.to_owned())
        })
    }

    /// The first property that an answer could leave out.
    pub(crate) fn optional_property(&self) -> Option<String> {
        self.visit(&mut |_, schema| {
            let is_optional = |(name, _): &&(String, Self)| !schema.required.contains(name);
            schema.properties.0.iter().find(is_optional).map(|(name, _)| name.clone())
        })
    }

    /// The first number with a bound, which not every dialect takes.
    pub(crate) fn bounded_number(&self) -> Option<String> {
        self.visit(&mut |name, schema| {
            let is_bounded = schema.minimum.is_some() || schema.maximum.is_some();
            is_bounded.then(|| name.to_owned())
        })
    }

    fn is_object(&self) -> bool {
        !self.properties.0.is_empty() || self.kinds.first().is_some_and(|kind| kind == "object")
    }

    /// Shows each schema with its name until one is taken.
    fn visit<T>(&self, take: &mut impl FnMut(&str, &Self) -> Option<T>) -> Option<T> {
        self.visit_below("answer", take, 0)
    }

    fn visit_below<T>(
        &self,
        name: &str,
        take: &mut impl FnMut(&str, &Self) -> Option<T>,
        depth: usize,
    ) -> Option<T> {
        if depth == MAX_DEPTH {
            return None;
        }
        if let Some(taken) = take(name, self) {
            return Some(taken);
        }
        let named = self.properties.0.iter().chain(&self.definitions.0);
        let unnamed = self.items.as_deref().into_iter().chain(&self.any_of);
        let children = named.map(|(name, schema)| (name.as_str(), schema));
        for (name, child) in children.chain(unnamed.map(|schema| (name, schema))) {
            if let Some(taken) = child.visit_below(name, take, depth + 1) {
                return Some(taken);
            }
        }
        None
    }
}

/// What a schema looks like filled in.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Answer {
    pub(crate) text: String,
    /// How much of the text holds every score; `None` without scores.
    pub(crate) scored_bytes: Option<usize>,
    pub(crate) lowest_score: Option<f64>,
}

struct Writer<'a> {
    definitions: &'a Properties,
    scores: &'a BTreeMap<String, f64>,
    /// Where the last number ended.
    scored_bytes: Cell<usize>,
}

impl Writer<'_> {
    fn write(&self, schema: &Schema, name: &str, text: &mut String, depth: usize) {
        if depth == MAX_DEPTH {
            text.push_str("null");
            return;
        }
        if let Some(referred) = schema.reference.as_deref().and_then(|path| self.definition(path)) {
            return self.write(referred, name, text, depth + 1);
        }
        if let Some(choice) = schema.choices.first() {
            text.push_str(&choice.to_string());
            return;
        }
        if let Some(first) = schema.any_of.first() {
            return self.write(first, name, text, depth + 1);
        }
        match schema.kinds.first().as_deref() {
            Some("number") => {
                text.push_str(&self.score(name).to_string());
                self.scored_bytes.set(text.len());
            }
            Some("integer") => text.push('1'),
            Some("boolean") => text.push_str("true"),
            Some("string") => text.push_str(&Value::from(self.reason(name)).to_string()),
            Some("array") => self.write_array(schema, name, text, depth),
            Some("object") | None if schema.is_object() => self.write_object(schema, text, depth),
            Some(_) | None => text.push_str("null"),
        }
    }

    fn write_object(&self, schema: &Schema, text: &mut String, depth: usize) {
        text.push('{');
        for (index, (name, property)) in schema.properties.0.iter().enumerate() {
            if index != 0 {
                text.push(',');
            }
            text.push_str(&Value::from(name.as_str()).to_string());
            text.push(':');
            self.write(property, name, text, depth + 1);
        }
        text.push('}');
    }

    fn write_array(&self, schema: &Schema, name: &str, text: &mut String, depth: usize) {
        text.push('[');
        if let Some(item) = &schema.items {
            self.write(item, name, text, depth + 1);
        }
        text.push(']');
    }

    fn definition(&self, path: &str) -> Option<&Schema> {
        let wanted = path.rsplit('/').next()?;
        self.definitions.0.iter().find(|(name, _)| name == wanted).map(|(_, schema)| schema)
    }

    /// A whole score keeps its decimal point away: `1`, which is a JSON number all the same.
    fn score(&self, name: &str) -> f64 {
        self.scores.get(name).copied().unwrap_or_default()
    }

    fn reason(&self, name: &str) -> String {
        match self.scores.get(name) {
            Some(score) => format!("simulated: nobody looked, {name} scores {score}"),
            None => "simulated: nobody looked".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VLMGATE: &str = r#"{"type":"object","properties":{
        "scores":{"type":"object","properties":{"halo":{"type":"number"},"cutout":{"type":"number"}},
            "required":["halo","cutout"],"additionalProperties":false},
        "reasons":{"type":"object","properties":{"halo":{"type":"string"},"cutout":{"type":"string"}},
            "required":["halo","cutout"],"additionalProperties":false}},
        "required":["scores","reasons"],"additionalProperties":false}"#;

    fn schema(text: &str) -> Schema {
        serde_json::from_str(text).unwrap()
    }

    fn scores(of: &[(&str, f64)]) -> BTreeMap<String, f64> {
        of.iter().map(|&(name, score)| (name.to_owned(), score)).collect()
    }

    #[test]
    fn an_answer_keeps_the_order_in_which_the_schema_was_written() {
        let answer = schema(VLMGATE).answer(&scores(&[("cutout", 0.91), ("halo", 0.5)]));
        let expected = concat!(
            r#"{"scores":{"halo":0.5,"cutout":0.91},"reasons":{"#,
            r#""halo":"simulated: nobody looked, halo scores 0.5","#,
            r#""cutout":"simulated: nobody looked, cutout scores 0.91"}}"#
        );
        assert_eq!(answer.text, expected);
        let scored = answer.text.get(..answer.scored_bytes.unwrap()).unwrap();
        assert_eq!(scored, r#"{"scores":{"halo":0.5,"cutout":0.91}"#);
        assert_eq!(schema(VLMGATE).criteria(), ["halo", "cutout"]);
    }

    #[test]
    fn every_kind_of_property_is_filled() {
        let answer = schema(
            r##"{"type":"object","properties":{
                "verdict":{"type":"string","enum":["pass","fail"]},"confidence":{"type":"number"},
                "count":{"type":"integer"},"sure":{"type":"boolean"},"note":{"type":["string","null"]},
                "reasons":{"type":"array","items":{"$ref":"#/$defs/Reason"}},
                "other":{"anyOf":[{"type":"number"},{"type":"null"}]}},
                "$defs":{"Reason":{"type":"object","properties":{"code":{"type":"string"}}}}}"##,
        )
        .answer(&scores(&[("confidence", 1.0), ("other", 0.25)]));
        let answer: Value = serde_json::from_str(&answer.text).unwrap();
        let expected = serde_json::json!({
            "verdict": "pass", "confidence": 1, "count": 1, "sure": true,
            "note": "simulated: nobody looked", "other": 0.25,
            "reasons": [{"code": "simulated: nobody looked"}],
        });
        assert_eq!(answer, expected);
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        let text = r##"{"$ref":"#/$defs/A","$defs":{"A":{"$ref":"#/$defs/A"}}}"##;
        let answer = schema(text).answer(&BTreeMap::new());
        assert_eq!((answer.text.as_str(), answer.scored_bytes), ("null", None));
    }

    #[test]
    fn what_strict_dialects_refuse_is_found() {
        assert_eq!(schema(VLMGATE).open_object(), None);
        assert_eq!(schema(VLMGATE).optional_property(), None);
        assert_eq!(schema(VLMGATE).bounded_number(), None);
        let loose = schema(r#"{"type":"object","properties":{"a":{"type":"number","maximum":1}}}"#);
        assert_eq!(loose.open_object().as_deref(), Some("answer"));
        assert_eq!(loose.optional_property().as_deref(), Some("a"));
        assert_eq!(loose.bounded_number().as_deref(), Some("a"));
    }
}
