//! An answer is the JSON object a judge is asked to write; its [`Shape`] is both the schema that is
//! sent and the rule by which the text that comes back is read.
//!
//! Reading is strict, because a gate must not guess a score: the whole text is one JSON value (one
//! code fence around it is taken off), every asked field is there exactly once with its own type,
//! and numbers lie within their bounds. A score in words, in quotes or in percent is no score.
//! Bounds never travel in the schema: not every provider takes them, and none enforces them.

use std::fmt;

use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserializer, Serialize, Serializer};
use thiserror::Error;

use crate::domain::{Judgement, Score};
use crate::panel::Asked;

/// What an answer must look like.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// Exactly these fields are asked, in this order.
    Object(Vec<(String, Shape)>),
    /// A finite number within both bounds.
    Number {
        /// Least value.
        low: f64,
        /// Greatest value.
        high: f64,
    },
    /// Any string.
    Text,
    /// One of these strings.
    OneOf(Vec<String>),
    /// Any number of these.
    List(Box<Shape>),
}

/// What was said, in the asked order.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    /// The asked fields.
    Object(Vec<(String, Said)>),
    /// A number within its bounds.
    Number(f64),
    /// A string.
    Text(String),
    /// Items, as many as were said.
    List(Vec<Said>),
}

/// Why a text is not the asked answer.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Unread {
    /// Nothing but white space.
    #[error("the answer is empty")]
    Empty,
    /// Not JSON, or not the asked JSON.
    #[error("not the asked answer: {0}")]
    Malformed(String),
}

impl Shape {
    /// The shape of a judgement: every score, then every reason, so that the scores are complete
    /// before the prose begins.
    #[must_use]
    pub fn of_judgement(criteria: &[Asked]) -> Self {
        let each = |shape: Self| {
            Self::Object(criteria.iter().map(|one| (one.id.clone(), shape.clone())).collect())
        };
        Self::Object(vec![
            ("scores".to_owned(), each(Self::Number { low: 0.0, high: 1.0 })),
            ("reasons".to_owned(), each(Self::Text)),
        ])
    }

    /// Reads `text` by this shape.
    ///
    /// # Errors
    /// [`Unread`]: what the text is instead.
    pub fn read(&self, text: &str) -> Result<Said, Unread> {
        let json = unfenced(text);
        if json.is_empty() {
            return Err(Unread::Empty);
        }
        let mut reader = serde_json::Deserializer::from_str(json);
        let said = Expected(self).deserialize(&mut reader);
        said.and_then(|said| reader.end().map(|()| said))
            .map_err(|why| Unread::Malformed(why.to_string()))
    }
}

impl Said {
    /// The field `name` of an object.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(fields) => fields.iter().find(|(key, _)| key == name).map(|(_, v)| v),
            Self::Number(_) | Self::Text(_) | Self::List(_) => None,
        }
    }

    /// The judgement on `criteria` that was said, reasons cut to `reason_chars`; `None` where a
    /// score is missing, which [`Shape::of_judgement`] rules out.
    #[must_use]
    pub fn judgement(&self, criteria: &[Asked], reason_chars: usize) -> Option<Judgement> {
        let scores = self.field("scores")?;
        let reasons = self.field("reasons")?;
        let score_of = |one: &Asked| {
            let Some(Self::Number(score)) = scores.field(&one.id) else { return None };
            let reason = match reasons.field(&one.id) {
                Some(Self::Text(reason)) => Some(reason.chars().take(reason_chars).collect()),
                Some(Self::Object(_) | Self::Number(_) | Self::List(_)) | None => None,
            };
            Some(Score { criterion: one.id.clone(), score: Some(*score), reason })
        };
        let scores: Option<Vec<Score>> = criteria.iter().map(score_of).collect();
        scores.map(|scores| Judgement { scores })
    }
}

/// The text without the one code fence that may surround it.
fn unfenced(text: &str) -> &str {
    let text = text.trim();
    let fenced = text.strip_prefix("```").and_then(|rest| rest.strip_suffix("```"));
    fenced.map_or(text, |inner| inner.strip_prefix("json").unwrap_or(inner).trim())
}

/// Writes the shape as JSON Schema, fields in order: some providers answer in schema order.
impl Serialize for Shape {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self {
            Self::Object(fields) => {
                map.serialize_entry("type", "object")?;
                map.serialize_entry("properties", &Properties(fields))?;
                map.serialize_entry("required", &Names(fields))?;
                map.serialize_entry("additionalProperties", &false)?;
            }
            Self::Number { low, high } => {
                map.serialize_entry("type", "number")?;
                map.serialize_entry("description", &format!("{low} to {high}"))?;
            }
            Self::Text => map.serialize_entry("type", "string")?,
            Self::OneOf(words) => {
                map.serialize_entry("type", "string")?;
                map.serialize_entry("enum", words)?;
            }
            Self::List(item) => {
                map.serialize_entry("type", "array")?;
                map.serialize_entry("items", item)?;
            }
        }
        map.end()
    }
}

struct Properties<'a>(&'a [(String, Shape)]);

impl Serialize for Properties<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, shape)| (name, shape)))
    }
}

struct Names<'a>(&'a [(String, Shape)]);

impl Serialize for Names<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut names = serializer.serialize_seq(Some(self.0.len()))?;
        for (name, _) in self.0 {
            names.serialize_element(name)?;
        }
        names.end()
    }
}

/// Reads what a shape expects.
struct Expected<'a>(&'a Shape);

impl<'de> DeserializeSeed<'de> for Expected<'_> {
    type Value = Said;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Said, D::Error> {
        match self.0 {
            Shape::Object(_) => deserializer.deserialize_map(self),
            Shape::Number { .. } => deserializer.deserialize_f64(self),
            Shape::Text | Shape::OneOf(_) => deserializer.deserialize_str(self),
            Shape::List(_) => deserializer.deserialize_seq(self),
        }
    }
}

impl<'de> Visitor<'de> for Expected<'_> {
    type Value = Said;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Shape::Object(_) => f.write_str("an object"),
            Shape::Number { low, high } => write!(f, "a number from {low} to {high}"),
            Shape::Text => f.write_str("a string"),
            Shape::OneOf(words) => write!(f, "one of {}", words.join(", ")),
            Shape::List(_) => f.write_str("a list"),
        }
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Said, E> {
        match self.0 {
            // adding zero turns -0 into 0
            Shape::Number { low, high } if *low <= number && number <= *high => {
                Ok(Said::Number(number + 0.0))
            }
            Shape::Number { .. }
            | Shape::Object(_)
            | Shape::Text
            | Shape::OneOf(_)
            | Shape::List(_) => Err(E::invalid_value(serde::de::Unexpected::Float(number), &self)),
        }
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Said, E> {
        let small = u32::try_from(number)
            .map_err(|_| E::invalid_value(serde::de::Unexpected::Unsigned(number), &self))?;
        self.visit_f64(f64::from(small))
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Said, E> {
        let small = i32::try_from(number)
            .map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(number), &self))?;
        self.visit_f64(f64::from(small))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Said, E> {
        let known = match self.0 {
            Shape::Text => true,
            Shape::OneOf(words) => words.iter().any(|word| word == text),
            Shape::Object(_) | Shape::Number { .. } | Shape::List(_) => false,
        };
        if known {
            return Ok(Said::Text(text.to_owned()));
        }
        Err(E::custom(format_args!("a string where {} was asked", Asking(self.0))))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Said, A::Error> {
        let Shape::Object(fields) = self.0 else {
            return Err(A::Error::invalid_type(serde::de::Unexpected::Map, &self));
        };
        let mut said: Vec<Option<Said>> = vec![None; fields.len()];
        while let Some(key) = map.next_key::<String>()? {
            let place = fields.iter().zip(&mut said).find(|((name, _), _)| *name == key);
            let Some(((name, shape), place)) = place else {
                // more than was asked changes no score
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if place.is_some() {
                return Err(A::Error::custom(format_args!("{name} is said twice")));
            }
            *place = Some(map.next_value_seed(Expected(shape))?);
        }
        let whole = fields.iter().zip(said).map(|((name, _), said)| {
            let said = said.ok_or_else(|| A::Error::custom(format_args!("{name} is missing")))?;
            Ok((name.clone(), said))
        });
        whole.collect::<Result<Vec<_>, A::Error>>().map(Said::Object)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Said, A::Error> {
        let Shape::List(item) = self.0 else {
            return Err(A::Error::invalid_type(serde::de::Unexpected::Seq, &self));
        };
        let mut items = Vec::new();
        while let Some(one) = seq.next_element_seed(Expected(item))? {
            items.push(one);
        }
        Ok(Said::List(items))
    }
}

/// Prints what a shape asks for.
struct Asking<'a>(&'a Shape);

impl fmt::Display for Asking<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Expected(self.0).expecting(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn criteria() -> Vec<Asked> {
        let asked =
            |id: &str| Asked { id: id.to_owned(), ask: "?".to_owned(), measured_by: Vec::new() };
        vec![asked("sharp"), asked("cutout")]
    }

    fn read(text: &str) -> Result<Judgement, Unread> {
        let said = Shape::of_judgement(&criteria()).read(text)?;
        Ok(said.judgement(&criteria(), 5).expect("the shape holds every score"))
    }

    const GOOD: &str =
        r#"{"scores":{"sharp":0.9,"cutout":1},"reasons":{"sharp":"crisp edges","cutout":""}}"#;

    #[test]
    fn scores_come_in_the_asked_order_and_reasons_are_cut() {
        let judgement = read(GOOD).unwrap();
        let [sharp, cutout] = judgement.scores.as_slice() else { panic!("two scores") };
        assert_eq!((sharp.criterion.as_str(), sharp.score), ("sharp", Some(0.9)));
        assert_eq!(sharp.reason.as_deref(), Some("crisp"));
        assert_eq!((cutout.criterion.as_str(), cutout.score), ("cutout", Some(1.0)));
    }

    #[test]
    fn order_fences_space_and_extra_fields_do_not_matter() {
        let swapped =
            r#"{"reasons":{"cutout":"","sharp":""},"note":[1],"scores":{"cutout":0,"sharp":1e-1}}"#;
        for text in [swapped.to_owned(), format!("```json\n{GOOD}\n```"), format!(" ```{GOOD}``` ")]
        {
            assert!(read(&text).is_ok(), "{text}");
        }
    }

    #[test]
    fn nothing_but_the_asked_answer_is_read() {
        let with = |score: &str| GOOD.replace("0.9", score);
        let mut texts = vec![
            "Sure! It looks fine to me.".to_owned(),
            format!("Here it is: {GOOD}"),
            format!("{GOOD} Hope this helps."),
            format!("{GOOD}{GOOD}"),
            format!("```json\n```json\n{GOOD}\n```\n```"),
            format!("[{GOOD}]"),
            GOOD.replace("\"sharp\":0.9,", ""),
            GOOD.replace("\"sharp\":0.9", "\"sharp\":0.9,\"sharp\":0.1"),
            GOOD.replace("\"scores\"", "\"Scores\""),
            GOOD.trim_end_matches('}').to_owned(),
            "null".to_owned(),
            "[".repeat(100_000),
        ];
        let scores =
            ["\"0.9\"", "\"90%\"", "90", "1.01", "-0.01", "null", "true", "1e999", "NaN", "[0.9]"];
        texts.extend(scores.iter().map(|score| with(score)));
        for text in texts {
            let cut: String = text.chars().take(80).collect();
            assert!(matches!(read(&text), Err(Unread::Malformed(_))), "{cut}");
        }
    }

    #[test]
    fn an_empty_text_is_empty() {
        for text in ["", " \n", "``````", "```json\n```"] {
            assert_eq!(read(text), Err(Unread::Empty), "{text:?}");
        }
    }

    #[test]
    fn the_schema_keeps_order_requires_everything_and_has_no_bounds() {
        let schema = serde_json::to_string(&Shape::of_judgement(&criteria())).unwrap();
        let number = r#"{"type":"number","description":"0 to 1"}"#;
        let text = r#"{"type":"string"}"#;
        let tail = r#""required":["sharp","cutout"],"additionalProperties":false}"#;
        let each = |kind: &str| {
            let fields = format!(r#""properties":{{"sharp":{kind},"cutout":{kind}}}"#);
            format!(r#"{{"type":"object",{fields},{tail}"#)
        };
        let fields = format!(r#""scores":{},"reasons":{}"#, each(number), each(text));
        let tail = r#""required":["scores","reasons"],"additionalProperties":false}"#;
        let expected = format!(r#"{{"type":"object","properties":{{{fields}}},{tail}"#);
        assert_eq!(schema, expected);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn any_text_is_read_or_refused_without_a_panic(text in ".{0,200}") {
            let _read = read(&text);
        }

        #[test]
        fn a_damaged_answer_never_gains_a_score_out_of_bounds(
            at in 0..GOOD.len(),
            byte in any::<u8>(),
        ) {
            let mut bytes = GOOD.as_bytes().to_vec();
            bytes[at] = byte;
            if let Ok(judgement) = read(&String::from_utf8_lossy(&bytes)) {
                prop_assert_eq!(judgement.scores.len(), 2);
                let in_bounds = |one: &Score| (0.0..=1.0).contains(&one.score.unwrap());
                prop_assert!(judgement.scores.iter().all(in_bounds));
            }
        }

        #[test]
        fn what_was_said_is_what_is_read(
            sharp in 0.0..=1.0_f64,
            cutout in 0.0..=1.0_f64,
            reason in "\\PC{0,30}",
        ) {
            let text = serde_json::json!({
                "scores": {"sharp": sharp, "cutout": cutout},
                "reasons": {"sharp": reason, "cutout": reason},
            });
            let judgement = read(&text.to_string()).unwrap();
            let scores: Vec<f64> = judgement.scores.iter().filter_map(|one| one.score).collect();
            prop_assert_eq!(scores, vec![sharp, cutout]);
            let kept: String = reason.chars().take(5).collect();
            prop_assert_eq!(judgement.scores[0].reason.as_deref(), Some(kept.as_str()));
        }

        #[test]
        fn a_cut_answer_is_never_read(len in 0..GOOD.len()) {
            prop_assert!(GOOD.get(..len).is_some_and(|cut| read(cut).is_err()));
        }
    }
}
