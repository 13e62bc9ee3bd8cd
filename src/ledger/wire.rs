//! How single values are spelled in JSON: words for closed sets, `b3:` digests, RFC 3339 moments,
//! and objects whose keys keep the policy's order.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::domain::drill::{DrillResult, Fault};
use crate::domain::{AttemptOutcome, Basis, Decision, Format, Mode, OnFail, Route};
use crate::ledger::shadows::Purpose;

/// A JSON object that keeps its keys in the order they were given.
#[derive(Clone, Debug, PartialEq)]
pub struct Keyed<T>(pub Vec<(String, T)>);

impl<T> Keyed<T> {
    /// The value under `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&T> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }
}

impl<T: Serialize> Serialize for Keyed<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Keyed<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(KeyedVisitor(PhantomData))
    }
}

struct KeyedVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for KeyedVisitor<T> {
    type Value = Keyed<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Keyed<T>, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Keyed(entries))
    }
}

/// A closed set whose members have one word each.
pub(crate) trait Word: Copy + 'static {
    const ALL: &'static [Self];

    fn word(self) -> &'static str;
}

macro_rules! words {
    ($($set:ident: $all:expr;)*) => {
        $(impl Word for $set {
            const ALL: &'static [Self] = $all;

            fn word(self) -> &'static str {
                self.label()
            }
        })*
    };
}

words! {
    AttemptOutcome: &AttemptOutcome::ALL;
    Basis: &Basis::ALL;
    Decision: &Decision::ALL;
    DrillResult: &DrillResult::ALL;
    Fault: &Fault::ALL;
    Format: &Format::ALL;
    Mode: &[Mode::Enforce, Mode::Observe, Mode::Off];
    OnFail: &[OnFail::Fail, OnFail::Review, OnFail::Flag];
    Purpose: &Purpose::ALL;
    Route: &Route::ALL;
}

pub(crate) fn read_word<T: Word, E: Error>(text: &str) -> Result<T, E> {
    let found = T::ALL.iter().find(|one| one.word() == text);
    found.copied().ok_or_else(|| {
        let words: Vec<_> = T::ALL.iter().map(|one| one.word()).collect();
        E::custom(format!("is {text:?}, expected one of: {}", words.join(", ")))
    })
}

/// A [`Word`], for `#[serde(with = …)]`.
pub(crate) mod word {
    use std::borrow::Cow;

    use serde::{Deserialize, Deserializer, Serializer};

    use crate::ledger::wire::{Word, read_word};

    pub(crate) fn serialize<T: Word, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(value.word())
    }

    pub(crate) fn deserialize<'de, T: Word, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
        read_word(&Cow::<'de, str>::deserialize(from)?)
    }
}

/// A [`Word`] or null, for `#[serde(with = …)]`.
pub(crate) mod maybe_word {
    use std::borrow::Cow;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::ledger::wire::{Word, read_word};

    #[expect(clippy::ref_option, reason = "serde hands over a reference to the field")]
    pub(crate) fn serialize<T: Word, S: Serializer>(
        value: &Option<T>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        value.map(Word::word).serialize(to)
    }

    pub(crate) fn deserialize<'de, T: Word, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<T>, D::Error> {
        let text = Option::<Cow<'de, str>>::deserialize(from)?;
        text.map(|text| read_word(&text)).transpose()
    }
}

/// A [`crate::domain::Digest`] as `b3:…`, for `#[serde(with = …)]`.
pub(crate) mod digest {
    use std::borrow::Cow;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::domain::Digest;

    pub(crate) fn serialize<S: Serializer>(value: &Digest, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Digest, D::Error> {
        Cow::<'de, str>::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// A [`crate::clock::Timestamp`] as RFC 3339, for `#[serde(with = …)]`.
pub(crate) mod moment {
    use std::borrow::Cow;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::clock::Timestamp;

    pub(crate) fn serialize<S: Serializer>(value: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
        let text = Cow::<'de, str>::deserialize(from)?;
        Timestamp::parse(&text).map_err(|_| {
            D::Error::custom(format!(
                "is {text:?}, expected a moment such as 2026-11-21T14:02:00.000250Z"
            ))
        })
    }
}

/// A moment or null, for `#[serde(with = …)]`.
pub(crate) mod maybe_moment {
    use std::borrow::Cow;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::clock::Timestamp;

    #[expect(clippy::ref_option, reason = "the shape that serde calls")]
    pub(crate) fn serialize<S: Serializer>(
        value: &Option<Timestamp>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(at) => to.collect_str(at),
            None => to.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Timestamp>, D::Error> {
        let text = Option::<Cow<'de, str>>::deserialize(from)?;
        text.map(|text| Timestamp::parse(&text).map_err(D::Error::custom)).transpose()
    }
}
