//! A line of a file of verdicts: a record as it is exported, or one verdict of one judge.

use serde::Deserialize;
use serde_json::Value;

use crate::cli::import::line::{Line as Exported, parse};
use crate::clock::Timestamp;
use crate::drift::judged::{Route, image_key};
use crate::drift::standing::Told;

/// A line.
#[derive(Debug)]
pub(super) enum Line {
    /// A record as it is exported, with what was said behind its verdict.
    Exported(Box<Exported>),
    /// One verdict of one judge; `None` where the verdict is neither pass nor reject.
    Short(Option<Short>),
}

impl Line {
    /// Reads a line; `now` is the moment that none of a record may lie behind.
    ///
    /// # Errors
    /// The first thing that is wrong with it, `key: is …, expected …`.
    pub(super) fn read(bytes: &[u8], now: Timestamp) -> Result<Self, String> {
        let why = match parse::<ShortForm>(bytes) {
            Ok(short) => return Ok(Self::Short(short.short())),
            Err(why) => why,
        };
        // only a record says of its policy more than the name
        if !parse::<Kind>(bytes)?.policy.is_object() {
            return Err(why);
        }
        Exported::read(bytes, now).map(Box::new).map(Self::Exported)
    }
}

/// What tells the one from the other.
#[derive(Debug, Deserialize)]
struct Kind {
    #[serde(default)]
    policy: Value,
}

/// A version, as a number or as text.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Version {
    Number(u64),
    Text(String),
}

#[derive(Debug, Deserialize)]
struct ShortForm {
    image: String,
    at: i64,
    provider: String,
    model: String,
    policy: String,
    policy_version: Version,
    route: Route,
    verdict: String,
    pre: f64,
}

impl ShortForm {
    fn short(self) -> Option<Short> {
        let reject = match self.verdict.as_str() {
            "pass" => false,
            "fail" | "review" | "reject" => true,
            _ => return None,
        };
        let version = match self.policy_version {
            Version::Number(number) => number.to_string(),
            Version::Text(text) => text,
        };
        Some(Short {
            image: image_key(&self.image),
            at_ms: self.at,
            judge: format!("{}/{}", self.provider, self.model),
            config: format!("{}@{version}", self.policy),
            route: self.route,
            reject,
            risk: self.pre,
        })
    }
}

/// One verdict of one judge.
#[derive(Debug)]
pub(super) struct Short {
    image: u64,
    pub(super) at_ms: i64,
    judge: String,
    config: String,
    route: Route,
    reject: bool,
    risk: f64,
}

impl Short {
    /// As monitors take it.
    pub(super) fn told(&self) -> Told<'_> {
        Told {
            image: self.image,
            at_ms: self.at_ms,
            judge: &self.judge,
            config: &self.config,
            route: self.route,
            reject: self.reject,
            risk: self.risk,
        }
    }
}
