//! The JSON form of an upload: `{"image":{"base64":"…"},"policy":"…","vars":{},"external_id":"…"}`.
//!
//! Members are sliced out of the request's one buffer and looked at by name, so a fault has a
//! pointer and a 16 MB string is never copied on its way to the decoder.

use std::borrow::Cow;
use std::fmt;

use base64::DecodeError;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, Engine, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::domain::Inadmissible;
use crate::http::problem::{Problem, ProblemKind, pointer};
use crate::http::query::nearest;
use crate::http::upload::Draft;

/// Most members of one object.
const MAX_MEMBERS: usize = 64;

const PADDING_OR_NOT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, PADDING_OR_NOT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, PADDING_OR_NOT);

/// Fills `draft` from the JSON document `packed`; the image may have `limit_bytes`.
pub(crate) fn unpack(packed: &[u8], limit_bytes: u64, draft: &mut Draft) -> Result<(), Problem> {
    let members: Members<'_> = serde_json::from_slice(packed).map_err(|why| {
        Problem::new(ProblemKind::BadRequest, format!("the body is not a JSON object: {why}"))
    })?;
    for (name, value) in members.0 {
        match name.as_str() {
            "image" => draft.set_image(image(value, limit_bytes)?)?,
            "policy" => set_text(value, "/policy", |text| draft.set_policy(text))?,
            "external_id" => set_text(value, "/external_id", |text| draft.set_external_id(text))?,
            "vars" => set_vars(value.get(), draft)?,
            unknown => {
                let known = ["image", "policy", "vars", "external_id"];
                return Err(unknown_member(&pointer(&[unknown]), unknown, &known));
            }
        }
    }
    Ok(())
}

/// Fills the variables of `draft` from the JSON object `text`.
pub(crate) fn set_vars(text: &str, draft: &mut Draft) -> Result<(), Problem> {
    let members = object(text, "/vars")?;
    for (name, value) in members.0 {
        let value = text_of(value, &pointer(&["vars", &name]))?.ok_or_else(|| {
            Problem::bad_field(&pointer(&["vars", &name]), "is null, expected a text")
        })?;
        draft.set_var(&name, value.into_owned())?;
    }
    Ok(())
}

fn image(value: &RawValue, limit_bytes: u64) -> Result<Bytes, Problem> {
    let mut bytes = None;
    for (name, value) in object(value.get(), "/image")?.0 {
        match name.as_str() {
            "base64" => {
                let text = text_of(value, "/image/base64")?.unwrap_or_default();
                bytes = Some(decode(&text, limit_bytes)?);
            }
            "url" => {
                let detail = "an image URL is not fetched, send the bytes as base64";
                return Err(Problem::bad_field("/image/url", detail));
            }
            unknown => {
                let path = pointer(&["image", unknown]);
                return Err(unknown_member(&path, unknown, &["base64"]));
            }
        }
    }
    bytes.ok_or_else(|| Problem::bad_field("/image/base64", "is missing"))
}

/// The bytes of `text`: base64 in the standard or the URL-safe alphabet, padded or not, perhaps
/// behind `data:TYPE;base64,` (the type is not believed, the bytes decide).
fn decode(text: &str, limit_bytes: u64) -> Result<Bytes, Problem> {
    let refuse = |detail: &str| Err(Problem::bad_field("/image/base64", detail));
    if text.starts_with("http://") || text.starts_with("https://") {
        return refuse("an image URL is not fetched, send the bytes as base64");
    }
    let payload = match text.strip_prefix("data:").map(|rest| rest.split_once(',')) {
        None => text,
        Some(Some((head, payload))) if head.ends_with(";base64") => payload,
        Some(_) => return refuse("a data URI must be of the form data:TYPE;base64,BYTES"),
    };
    let size_bytes = payload.trim_end_matches('=').len() as u64 / 4 * 3;
    if limit_bytes < size_bytes {
        return Err(Problem::from(Inadmissible::TooLarge { size_bytes, limit_bytes }));
    }
    let decoded = match STANDARD.decode(payload) {
        Err(DecodeError::InvalidByte(_, b'-' | b'_')) => URL_SAFE.decode(payload),
        decoded => decoded,
    };
    match decoded {
        Ok(bytes) => Ok(Bytes::from(bytes)),
        Err(DecodeError::InvalidByte(offset, byte)) if byte.is_ascii_whitespace() => {
            refuse(&format!("has white space at offset {offset}, send it on one line"))
        }
        Err(why) => refuse(&format!("is not base64: {why}")),
    }
}

fn set_text(
    value: &RawValue,
    pointer: &str,
    set: impl FnOnce(String) -> Result<(), Problem>,
) -> Result<(), Problem> {
    match text_of(value, pointer)? {
        Some(text) => set(text.into_owned()),
        None => Ok(()), // null is how some clients leave a member out
    }
}

/// The text that `value` is; `None` for null.
fn text_of<'a>(value: &'a RawValue, pointer: &str) -> Result<Option<Cow<'a, str>>, Problem> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    let text: Result<Option<Text<'_>>, _> = serde_json::from_str(value.get());
    let text = text.map_err(|_| {
        let found = match value.get().as_bytes().first() {
            Some(b'{') => "an object",
            Some(b'[') => "an array",
            Some(b't' | b'f') => "a boolean",
            Some(b'"') => "a text with a broken escape",
            Some(_) | None => "a number",
        };
        Problem::bad_field(pointer, format!("is {found}, expected a text"))
    })?;
    Ok(text.map(|Text(text)| text))
}

fn object<'a>(text: &'a str, pointer: &str) -> Result<Members<'a>, Problem> {
    serde_json::from_str(text)
        .map_err(|why| Problem::bad_field(pointer, format!("is not a JSON object: {why}")))
}

fn unknown_member(pointer: &str, name: &str, known: &[&str]) -> Problem {
    let detail = match nearest(name, known) {
        Some(near) => format!("unknown member, did you mean {near:?}?"),
        None => format!("unknown member, known are {}", known.join(", ")),
    };
    Problem::bad_field(pointer, detail)
}

/// The members of a JSON object as slices of its text, each name at most once.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
        let mut members: Vec<(String, &'de RawValue)> = Vec::new();
        while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
            if members.iter().any(|(one, _)| *one == name) {
                return Err(A::Error::custom(format_args!("the member {name:?} is given twice")));
            }
            if members.len() == MAX_MEMBERS {
                return Err(A::Error::custom(format_args!("more than {MAX_MEMBERS} members")));
            }
            members.push((name, value));
        }
        Ok(Members(members))
    }
}
