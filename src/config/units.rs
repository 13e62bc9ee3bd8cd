//! The values that stand in a file: names, shares, sizes, times, money, each with its unit and its
//! range, and one sentence for whoever wrote something else.

use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::clock::dates::read_date;
use crate::config::form::{At, Form, refuse};
use crate::config::problem::Report;
use crate::config::yaml::Value;
use crate::domain::policy::offset::Day;
use crate::domain::{Digest, MicroUsd};

/// The characters a name is made of, as its pattern and as its check.
pub(crate) trait NameShape {
    /// What may come first, as a character class.
    const FIRST: &'static str;
    /// What may follow.
    const REST: &'static str;
    /// Most characters.
    const MOST: usize;
    /// For messages.
    const EXPECTED: &'static str;
}

/// A name of one shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name<S> {
    pub(crate) text: String,
    shape: std::marker::PhantomData<S>,
}

impl<S: NameShape> Form for Name<S> {
    fn read(at: &At<'_>, report: &mut Report) -> Option<Self> {
        let Some(text) = at.node.text() else {
            return refuse(at, report, S::EXPECTED);
        };
        let mut letters = text.chars();
        let starts = letters.next().is_some_and(|first| in_class(S::FIRST, first));
        let goes_on = letters.all(|letter| in_class(S::REST, letter));
        if starts && goes_on && text.len() <= S::MOST {
            return Some(Self { text: text.to_owned(), shape: std::marker::PhantomData });
        }
        refuse(at, report, S::EXPECTED)
    }

    fn schema() -> Json {
        let (first, rest, more) = (S::FIRST, S::REST, S::MOST - 1);
        json!({ "type": "string", "pattern": format!("^[{first}][{rest}]{{0,{more}}}$") })
    }
}

/// Whether `letter` is in a class such as `a-z0-9_`.
fn in_class(class: &str, letter: char) -> bool {
    let mut rest = class;
    while let Some(low) = rest.chars().next() {
        let after = rest.get(low.len_utf8()..).unwrap_or_default();
        let range = after.strip_prefix('-').and_then(|tail| tail.chars().next());
        let high = range.unwrap_or(low);
        if low <= letter && letter <= high {
            return true;
        }
        let skip = range.map_or(0, |high| 1 + high.len_utf8());
        rest = after.get(skip..).unwrap_or_default();
    }
    false
}

/// Names that stand in addresses and metric labels: policies, judges, providers, keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Public {}

impl NameShape for Public {
    const FIRST: &'static str = "a-z0-9";
    const REST: &'static str = "a-z0-9._-";
    const MOST: usize = 64;
    const EXPECTED: &'static str = "a name of up to 64 small letters, digits, `.`, `_` and `-` that begins with a letter or digit";
}

/// Names of fields in a judge's answer, and of variables: a word in every language.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Word {}

impl NameShape for Word {
    const FIRST: &'static str = "a-z";
    const REST: &'static str = "a-z0-9_";
    const MOST: usize = 41;
    const EXPECTED: &'static str =
        "a name of up to 41 small letters, digits and `_` that begins with a letter";
}

/// Names of checks and views.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tag {}

impl NameShape for Tag {
    const FIRST: &'static str = "a-z";
    const REST: &'static str = "a-z0-9_-";
    const MOST: usize = 41;
    const EXPECTED: &'static str =
        "a name of up to 41 small letters, digits, `_` and `-` that begins with a letter";
}

/// Some text of at most `MOST` characters, not blank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Prose<const MOST: usize> {
    pub(crate) text: String,
    /// Its lines are the file's lines, from its place on.
    pub(crate) is_block: bool,
}

impl<const MOST: usize> Form for Prose<MOST> {
    fn read(at: &At<'_>, report: &mut Report) -> Option<Self> {
        let Value::Text(text) = &at.node.value else {
            let is_bare =
                matches!(at.node.value, Value::Bool(_) | Value::Whole(_) | Value::Number(_));
            return refuse(at, report, if is_bare { "text; put quotes around it" } else { "text" });
        };
        let count = text.text.chars().count();
        if MOST < count {
            report.add(&at.spot(), format!("has {count} characters, the limit is {MOST}"));
            return None;
        }
        if text.text.trim().is_empty() {
            return refuse(at, report, "text that says something");
        }
        Some(Self { text: text.text.clone(), is_block: text.is_block })
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "\\S", "maxLength": MOST })
    }
}

/// A whole number from `LOW` to `HIGH`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Whole<const LOW: u32, const HIGH: u32>(pub(crate) u32);

impl<const LOW: u32, const HIGH: u32> Form for Whole<LOW, HIGH> {
    fn read(at: &At<'_>, report: &mut Report) -> Option<Self> {
        let number = at.node.whole().and_then(|number| u32::try_from(number).ok());
        match number.filter(|number| (LOW..=HIGH).contains(number)) {
            Some(number) => Some(Self(number)),
            None => refuse(at, report, &format!("a whole number from {LOW} to {HIGH}")),
        }
    }

    fn schema() -> Json {
        json!({ "type": "integer", "minimum": LOW, "maximum": HIGH })
    }
}

/// A number from `LOW` to `HIGH`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Number<const LOW: u32, const HIGH: u32>(pub(crate) f64);

impl<const LOW: u32, const HIGH: u32> Form for Number<LOW, HIGH> {
    fn read(at: &At<'_>, report: &mut Report) -> Option<Self> {
        let number = number(&at.node.value);
        match number.filter(|number| (f64::from(LOW)..=f64::from(HIGH)).contains(number)) {
            Some(number) => Some(Self(number)),
            None if number.is_some() => refuse(at, report, &format!("between {LOW} and {HIGH}")),
            None => refuse(at, report, &format!("a number between {LOW} and {HIGH}")),
        }
    }

    fn schema() -> Json {
        json!({ "type": "number", "minimum": LOW, "maximum": HIGH })
    }
}

/// A score or a line through scores, 0..1.
pub(crate) type Unit = Number<0, 1>;

#[expect(clippy::cast_precision_loss, reason = "a number this large is out of every range anyway")]
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Whole(number) => Some(*number as f64),
        Value::Number(number) => Some(*number),
        Value::Null | Value::Bool(_) | Value::Text(_) | Value::List(_) | Value::Map(_) => None,
    }
}

/// What is added to a margin, -1..1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Shift(pub(crate) f64);

impl Form for Shift {
    fn read(at: &At<'_>, report: &mut Report) -> Option<Self> {
        match number(&at.node.value).filter(|number| (-1.0..=1.0).contains(number)) {
            Some(number) => Some(Self(number)),
            None => refuse(at, report, "a number between -1 and 1"),
        }
    }

    fn schema() -> Json {
        json!({ "type": "number", "minimum": -1, "maximum": 1 })
    }
}

/// A share: `35%`, or 0.35.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Share(pub(crate) f64);

impl Form for Share {
    fn read(at: &At<'_>, report: &mut Report) -> Option<Self> {
        let share = match at.node.text() {
            Some(text) => text.strip_suffix('%').and_then(percent),
            None => number(&at.node.value),
        };
        match share.filter(|share| (0.0..=1.0).contains(share)) {
            Some(share) => Some(Self(share)),
            None => refuse(at, report, "a share such as 35% or 0.35, from 0 to 1"),
        }
    }

    fn schema() -> Json {
        json!({ "anyOf": [
            { "type": "string", "pattern": "^(100(\\.0+)?|[0-9]{1,2}(\\.[0-9]+)?)%$" },
            { "type": "number", "minimum": 0, "maximum": 1 },
        ] })
    }
}

fn percent(text: &str) -> Option<f64> {
    let whole = text.split('.').next().unwrap_or_default();
    if 3 < whole.len() || scaled(text, 1_000_000).is_none() {
        return None;
    }
    text.parse::<f64>().ok().map(|percent| percent / 100.0)
}

/// An amount with a unit, as text.
fn with_unit(at: &At<'_>, units: &[(&str, u64)]) -> Option<u64> {
    let text = at.node.text()?;
    let end = text.find(|one: char| !one.is_ascii_digit() && one != '.')?;
    let (amount, unit) = text.split_at_checked(end)?;
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    scaled(amount, *factor)
}

/// `text` (digits, perhaps a point and digits) times `factor`, if that is a whole number.
fn scaled(text: &str, factor: u64) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.chars().all(|one| one.is_ascii_digit());
    if !digits(whole) || !digits(part) || 12 < part.len() {
        return None;
    }
    let whole = whole.parse::<u64>().ok()?.checked_mul(factor)?;
    let scale = 10_u128.checked_pow(u32::try_from(part.len()).ok()?)?;
    let part = u128::from(part.parse::<u64>().ok()?).checked_mul(u128::from(factor))?;
    (part % scale == 0).then_some(())?;
    whole.checked_add(u64::try_from(part / scale).ok()?)
}

/// The pattern of an amount and one of some units.
fn amount(units: &str) -> String {
    format!("^[0-9]+(\\.[0-9]+)?({units})$")
}

/// A number of bytes: `12MiB`, `500kB`, or a whole number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bytes(pub(crate) u64);

const BYTE_UNITS: &[(&str, u64)] = &[
    ("B", 1),
    ("kB", 1_000),
    ("KiB", 1 << 10),
    ("MB", 1_000_000),
    ("MiB", 1 << 20),
    ("GB", 1_000_000_000),
    ("GiB", 1 << 30),
];

impl Form for Bytes {
    fn read(at: &At<'_>, report: &mut Report) -> Option<Self> {
        let bytes = at.node.whole().or_else(|| with_unit(at, BYTE_UNITS));
        match bytes.filter(|bytes| 0 < *bytes) {
            Some(bytes) => Some(Self(bytes)),
            None => refuse(at, report, "a size in bytes such as 12MiB or 12000000"),
        }
    }

    fn schema() -> Json {
        json!({ "anyOf": [
            { "type": "string", "pattern": amount("B|kB|KiB|MB|MiB|GB|GiB") },
            { "type": "integer", "minimum": 1 },
        ] })
    }
}

/// A number of pixels: `40MP`, or a whole number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pixels(pub(crate) u64);

impl Form for Pixels {
    fn read(at: &At<'_>, report: &mut Report) -> Option<Self> {
        let pixels = at.node.whole().or_else(|| with_unit(at, &[("MP", 1_000_000)]));
        match pixels.filter(|pixels| 0 < *pixels) {
            Some(pixels) => Some(Self(pixels)),
            None => refuse(at, report, "a number of pixels such as 40MP or 40000000"),
        }
    }

    fn schema() -> Json {
        json!({ "anyOf": [
            { "type": "string", "pattern": amount("MP") },
            { "type": "integer", "minimum": 1 },
        ] })
    }
}

/// A day: `2026-11-23`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Date(pub(crate) Day);

impl Form for Date {
    fn read(at: &At<'_>, report: &mut Report) -> Option<Self> {
        match at.node.text().and_then(read_date) {
            Some(day) => Some(Self(day)),
            None => refuse(at, report, "a date such as 2026-11-23"),
        }
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$" })
    }
}

/// A digest: `b3:` and 64 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sealed(pub(crate) Digest);

impl Form for Sealed {
    fn read(at: &At<'_>, report: &mut Report) -> Option<Self> {
        let text = at.node.text();
        let digest = text.and_then(|text| text.parse::<Digest>().ok());
        match digest.filter(|one| text.is_some_and(|text| one.to_string() == text)) {
            Some(digest) => Some(Self(digest)),
            None => refuse(at, report, "a digest: b3: and 64 hex digits"),
        }
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^b3:[0-9a-f]{64}$" })
    }
}

/// A length of time: `300ms`, `5s`, `2m`, `12h`, `90d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Time(pub(crate) Duration);

/// A time that stands in no file.
pub(crate) fn seconds(seconds: f64) -> Time {
    Time(Duration::from_secs_f64(seconds))
}

const TIME_UNITS: &[(&str, u64)] = &[
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

impl Form for Time {
    fn read(at: &At<'_>, report: &mut Report) -> Option<Self> {
        match with_unit(at, TIME_UNITS) {
            Some(nanos) => Some(Self(Duration::from_nanos(nanos))),
            None => refuse(at, report, "a time with its unit such as 300ms, 5s or 90d"),
        }
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": amount("ms|s|m|h|d") })
    }
}

/// A length of time as files write it.
pub(crate) fn show_time(time: Duration) -> String {
    let nanos = time.as_nanos();
    let exact = TIME_UNITS.iter().rev().find(|(_, unit)| nanos.is_multiple_of(u128::from(*unit)));
    match exact {
        Some((name, unit)) => format!("{}{name}", nanos / u128::from(*unit)),
        None => format!("{time:?}"),
    }
}

/// An amount of money: `0.004 USD`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Money(pub(crate) MicroUsd);

impl Form for Money {
    fn read(at: &At<'_>, report: &mut Report) -> Option<Self> {
        match with_unit(at, &[(" USD", 1_000_000)]) {
            Some(micros) => Some(Self(MicroUsd(micros))),
            None => refuse(at, report, "an amount such as 0.004 USD, to the millionth"),
        }
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[0-9]+(\\.[0-9]{1,6})? USD$" })
    }
}

/// A price in USD per million tokens, kept as nano-dollars per token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PerMillion(pub(crate) u64);

impl Form for PerMillion {
    fn read(at: &At<'_>, report: &mut Report) -> Option<Self> {
        let usd = number(&at.node.value).filter(|usd| (0.0..=10_000.0).contains(usd));
        // 1 USD per million tokens is 1000 nano-dollars per token
        match usd.and_then(|usd| format!("{:.0}", usd * 1_000.0).parse().ok()) {
            Some(nanos) => Some(Self(nanos)),
            None => refuse(at, report, "a price in USD per million tokens, from 0 to 10000"),
        }
    }

    fn schema() -> Json {
        json!({ "type": "number", "minimum": 0, "maximum": 10_000 })
    }
}

/// A colour: `"#ffffff"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Colour(pub(crate) [u8; 3]);

impl Form for Colour {
    fn read(at: &At<'_>, report: &mut Report) -> Option<Self> {
        let hex = at.node.text().and_then(|text| text.strip_prefix('#'));
        let hex =
            hex.filter(|hex| hex.len() == 6 && hex.chars().all(|one| one.is_ascii_hexdigit()));
        match hex.and_then(|hex| u32::from_str_radix(hex, 16).ok()) {
            Some(number) => {
                let [_, red, green, blue] = number.to_be_bytes();
                Some(Self([red, green, blue]))
            }
            None => refuse(at, report, "a colour such as \"#ffffff\", in quotes"),
        }
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^#[0-9a-fA-F]{6}$" })
    }
}

/// A quantile of latency, `p50` to `p99`, kept as 0.5..0.99.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Quantile(pub(crate) f64);

impl Form for Quantile {
    fn read(at: &At<'_>, report: &mut Report) -> Option<Self> {
        let text = at.node.text().and_then(|text| text.strip_prefix('p'));
        let digits = text.filter(|rest| rest.chars().all(|one| one.is_ascii_digit()));
        let whole = digits.and_then(|digits| digits.parse::<u8>().ok());
        match whole.filter(|whole| (50..=99).contains(whole)) {
            Some(whole) => Some(Self(f64::from(whole) / 100.0)),
            None => refuse(at, report, "a quantile from p50 to p99"),
        }
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^p[5-9][0-9]$" })
    }
}

/// A closed range `[low, high]` of numbers from 0 to `HIGH`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Range<const HIGH: u32>(pub(crate) f64, pub(crate) f64);

impl<const HIGH: u32> Form for Range<HIGH> {
    fn read(at: &At<'_>, report: &mut Report) -> Option<Self> {
        let expected = "a range [low, high] of two numbers";
        let Value::List(items) = &at.node.value else {
            return refuse(at, report, expected);
        };
        let ends: Option<Vec<f64>> = items.iter().map(|item| number(&item.value)).collect();
        let Some(&[low, high]) = ends.as_deref() else {
            return refuse(at, report, expected);
        };
        if 0.0 <= low && low < high && high <= f64::from(HIGH) {
            return Some(Self(low, high));
        }
        let message = format!("[{low}, {high}] is not a range with 0 <= low < high <= {HIGH}");
        report.add(&at.spot(), message);
        None
    }

    fn schema() -> Json {
        let end = json!({ "type": "number", "minimum": 0, "maximum": HIGH });
        json!({ "type": "array", "items": end, "minItems": 2, "maxItems": 2 })
    }
}

#[cfg(test)]
mod tests;
