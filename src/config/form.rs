//! A form says once which keys a part of a file has: reading it and the JSON Schema for editors
//! both come from that one table, so they cannot disagree.
//!
//! A reader never stops at the first problem. A value that cannot be read is reported and leaves
//! its [`Field`] broken; the checks that follow skip what is broken and go on with the rest.

use serde_json::{Map, Value as Json, json};

use crate::config::problem::{Mark, Report, Spot, hint};
use crate::config::yaml::{Entry, Node, Value};

/// A value of a file, and the path of keys that led to it.
#[derive(Clone)]
pub(crate) struct At<'a> {
    pub(crate) node: &'a Node,
    pub(crate) key: String,
}

impl At<'_> {
    pub(crate) fn spot(&self) -> Spot {
        Spot { mark: self.node.mark, key: self.key.clone() }
    }

    fn child(&self, name: &str) -> String {
        if self.key.is_empty() { name.to_owned() } else { format!("{}.{name}", self.key) }
    }
}

/// What can stand in a file.
pub(crate) trait Form: Sized {
    /// Reads it; `None` after at least one problem was reported.
    fn read(at: &At<'_>, report: &mut Report) -> Option<Self>;

    /// The JSON Schema of what `read` takes.
    fn schema() -> Json;

    /// What it is when the key is not there; `None`: the key is required.
    fn absent() -> Option<Self> {
        None
    }
}

/// One key's value and its place; for a default, the place of the mapping that lacks the key.
#[derive(Clone, Debug)]
pub(crate) struct Field<T> {
    pub(crate) spot: Spot,
    value: Option<T>,
    is_broken: bool,
}

impl<T> Field<T> {
    /// A value that stands in no file.
    pub(crate) fn implied(value: T) -> Self {
        let spot = Spot { mark: Mark { line: 1, column: 1 }, key: String::new() };
        Self { spot, value: Some(value), is_broken: false }
    }

    /// The value, unless what stands in the file could not be read (which has been reported).
    pub(crate) fn get(&self) -> Option<&T> {
        self.value.as_ref().filter(|_| !self.is_broken)
    }

    /// The value, the default in the stead of a broken one; `None` where there is no default.
    pub(crate) fn filled(&self) -> Option<&T> {
        self.value.as_ref()
    }
}

impl<T: Form> Field<T> {
    fn read(at: &At<'_>, report: &mut Report) -> Self {
        let value = T::read(at, report);
        let is_broken = value.is_none();
        Self { spot: at.spot(), value, is_broken }
    }
}

impl<T: Clone> Field<T> {
    /// The value, `stand_in` in the stead of a broken one: the checks after it still run.
    pub(crate) fn or(&self, stand_in: T) -> T {
        self.value.clone().unwrap_or(stand_in)
    }
}

/// A mapping with fixed keys; made by [`form!`].
pub(crate) trait Body: Sized {
    /// What it is, for editors.
    const ABOUT: &'static str;
    /// Keys of parts that this version does not have, and the part's name.
    const LATER: &'static [(&'static str, &'static str)];

    fn read_fields(fields: &mut Fields<'_>, report: &mut Report) -> Self;

    fn describe_fields(object: &mut ObjectSchema);
}

/// Reads a mapping with fixed keys.
pub(crate) fn read_body<T: Body>(at: &At<'_>, report: &mut Report) -> Option<T> {
    let mut fields = Fields::of(at, report)?;
    let body = T::read_fields(&mut fields, report);
    fields.finish(T::LATER, report);
    Some(body)
}

/// The schema of a mapping with fixed keys.
pub(crate) fn body_schema<T: Body>() -> Json {
    let mut object = ObjectSchema::default();
    T::describe_fields(&mut object);
    object.finish(T::ABOUT)
}

/// A mapping being read key by key.
pub(crate) struct Fields<'a> {
    at: At<'a>,
    entries: &'a [Entry],
    known: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    pub(crate) fn of(at: &At<'a>, report: &mut Report) -> Option<Self> {
        let Value::Map(entries) = &at.node.value else {
            return refuse(at, report, "a mapping of keys to values");
        };
        Some(Self { at: at.clone(), entries, known: Vec::new() })
    }

    /// Takes the key `name`; where it is not there, `default`, else what the form says.
    pub(crate) fn take<T: Form>(
        &mut self,
        name: &'static str,
        default: Option<T>,
        report: &mut Report,
    ) -> Field<T> {
        self.known.push(name);
        let key = self.at.child(name);
        let Some(entry) = self.entries.iter().find(|one| one.key == name) else {
            let spot = Spot { mark: self.at.node.mark, key };
            let value = default.or_else(T::absent);
            let is_broken = value.is_none();
            if is_broken {
                report.add(&spot, "is missing");
            }
            return Field { spot, value, is_broken };
        };
        let at = At { node: &entry.node, key };
        let value = T::read(&at, report);
        let is_broken = value.is_none();
        Field { spot: at.spot(), value: value.or(default).or_else(T::absent), is_broken }
    }

    /// Reports every key that nobody took.
    pub(crate) fn finish(self, later: &[(&str, &str)], report: &mut Report) {
        for entry in self.entries {
            if self.known.contains(&entry.key.as_str()) {
                continue;
            }
            let spot = Spot { mark: entry.mark, key: self.at.child(&entry.key) };
            let part = later.iter().find(|(key, _)| *key == entry.key);
            let message = match part {
                Some((key, part)) => not_yet(key, part),
                None => {
                    let hint = hint(&entry.key, self.known.iter().copied());
                    format!("is not a key here{hint}")
                }
            };
            report.add(&spot, message);
        }
    }
}

/// The sentence for a key whose part is still to come.
pub(crate) fn not_yet(key: &str, part: &str) -> String {
    format!("`{key}` belongs to {part}, which this version does not have yet; remove it")
}

/// The schema of a mapping being put together.
#[derive(Default)]
pub(crate) struct ObjectSchema {
    properties: Map<String, Json>,
    required: Vec<Json>,
}

impl ObjectSchema {
    pub(crate) fn property<T: Form>(&mut self, name: &str, about: &str, has_default: bool) {
        let mut schema = T::schema();
        if let Some(object) = schema.as_object_mut() {
            object.insert("description".to_owned(), Json::from(prose(about)));
        }
        self.properties.insert(name.to_owned(), schema);
        if !has_default && T::absent().is_none() {
            self.required.push(Json::from(name));
        }
    }

    /// A key that can only hold `word`.
    pub(crate) fn constant(&mut self, name: &str, word: &str) {
        self.properties.insert(name.to_owned(), json!({ "const": word }));
        self.required.push(Json::from(name));
    }

    pub(crate) fn finish(self, about: &str) -> Json {
        json!({
            "type": "object",
            "description": prose(about),
            "properties": self.properties,
            "required": self.required,
            "additionalProperties": false,
        })
    }
}

/// A doc comment as an editor shows it.
fn prose(about: &str) -> String {
    about.trim().replace('`', "")
}

/// Declares a mapping with fixed keys: `key: Type` is required unless the type may be absent,
/// `key: Type = default` has a default, `later` lists keys of parts still to come.
macro_rules! form {
    (@default) => { None };
    (@default $default:expr) => { Some($default) };
    (
        $(#[doc = $about:literal])+
        $name:ident {
            $($(#[doc = $doc:literal])+ $field:ident: $type:ty $(= $default:expr)?,)+
        }
        $(later { $($key:literal => $part:literal,)+ })?
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug)]
        pub(crate) struct $name {
            $($(#[doc = $doc])+ pub(crate) $field: $crate::config::form::Field<$type>,)+
        }

        impl $crate::config::form::Body for $name {
            const ABOUT: &'static str = concat!($($about),+);
            const LATER: &'static [(&'static str, &'static str)] = &[$($(($key, $part)),+)?];

            fn read_fields(
                fields: &mut $crate::config::form::Fields<'_>,
                report: &mut $crate::config::problem::Report,
            ) -> Self {
                Self {
                    $($field: fields.take(
                        // a key may be a word of Rust: `r#for`
                        stringify!($field).trim_start_matches("r#"),
                        form!(@default $($default)?),
                        report,
                    ),)+
                }
            }

            fn describe_fields(object: &mut $crate::config::form::ObjectSchema) {
                $({
                    let default: Option<$type> = form!(@default $($default)?);
                    object.property::<$type>(
                        stringify!($field).trim_start_matches("r#"),
                        concat!($($doc),+),
                        default.is_some(),
                    );
                })+
            }
        }

        impl $crate::config::form::Form for $name {
            fn read(
                at: &$crate::config::form::At<'_>,
                report: &mut $crate::config::problem::Report,
            ) -> Option<Self> {
                $crate::config::form::read_body(at, report)
            }

            fn schema() -> serde_json::Value {
                $crate::config::form::body_schema::<Self>()
            }

            fn absent() -> Option<Self> {
                // a mapping whose every key may be left out may be left out itself
                Some(Self {
                    $($field: {
                        let default: Option<$type> = form!(@default $($default)?);
                        $crate::config::form::Field::implied(
                            default.or_else(<$type as $crate::config::form::Form>::absent)?,
                        )
                    },)+
                })
            }
        }
    };
}
pub(crate) use form;

/// A closed set of words.
pub(crate) trait Words: Sized + Clone + 'static {
    /// Each word and what it means.
    fn words() -> Vec<(&'static str, Self)>;
}

impl<T: Words> Form for T {
    fn read(at: &At<'_>, report: &mut Report) -> Option<Self> {
        let words = T::words();
        let list = || words.iter().map(|(word, _)| *word);
        let Value::Text(text) = &at.node.value else {
            let all: Vec<_> = list().collect();
            return refuse(at, report, &format!("one of {}", all.join(", ")));
        };
        if let Some((_, meaning)) = words.iter().find(|(word, _)| *word == text.text) {
            return Some(meaning.clone());
        }
        unknown_word(at, report, &text.text, list());
        None
    }

    fn schema() -> Json {
        let words: Vec<_> = T::words().into_iter().map(|(word, _)| word).collect();
        json!({ "enum": words })
    }
}

impl<T: Form> Form for Option<T> {
    fn read(at: &At<'_>, report: &mut Report) -> Option<Self> {
        T::read(at, report).map(Some)
    }

    fn schema() -> Json {
        T::schema()
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

impl Form for bool {
    fn read(at: &At<'_>, report: &mut Report) -> Option<Self> {
        let Value::Bool(flag) = &at.node.value else {
            return refuse(at, report, "true or false");
        };
        Some(*flag)
    }

    fn schema() -> Json {
        json!({ "type": "boolean" })
    }
}

/// A list of `LEAST` to `MOST` values; values that cannot be read are reported and left out.
#[derive(Clone, Debug)]
pub(crate) struct List<T, const LEAST: usize, const MOST: usize>(pub(crate) Vec<Field<T>>);

impl<T, const LEAST: usize, const MOST: usize> List<T, LEAST, MOST> {
    pub(crate) fn each(&self) -> impl Iterator<Item = (&Spot, &T)> {
        self.0.iter().filter_map(|one| one.get().map(|value| (&one.spot, value)))
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.0.iter().filter_map(Field::get)
    }

    /// A list that stands in no file.
    pub(crate) fn of(values: Vec<T>) -> Self {
        Self(values.into_iter().map(Field::implied).collect())
    }
}

impl<T: Form, const LEAST: usize, const MOST: usize> Form for List<T, LEAST, MOST> {
    fn read(at: &At<'_>, report: &mut Report) -> Option<Self> {
        let Value::List(items) = &at.node.value else {
            return refuse(at, report, "a list");
        };
        let count = items.len();
        if count < LEAST || MOST < count {
            let message = if count < LEAST {
                format!("lists {count}, at least {LEAST} must be given")
            } else {
                format!("lists {count}, at most {MOST} may be given")
            };
            report.add(&at.spot(), message);
            return None;
        }
        let read = |(index, node): (usize, &Node)| {
            let at = At { node, key: format!("{}[{index}]", at.key) };
            Field::read(&at, report)
        };
        Some(Self(items.iter().enumerate().map(read).collect()))
    }

    fn schema() -> Json {
        json!({ "type": "array", "items": T::schema(), "minItems": LEAST, "maxItems": MOST })
    }
}

/// A mapping from names of the form `K` to values, in file order.
#[derive(Clone, Debug)]
pub(crate) struct Table<K, V, const MOST: usize>(pub(crate) Vec<(Field<K>, Field<V>)>);

impl<K, V, const MOST: usize> Default for Table<K, V, MOST> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K, V, const MOST: usize> Table<K, V, MOST> {
    pub(crate) fn each(&self) -> impl Iterator<Item = (&Field<K>, &K, &V)> {
        self.0.iter().filter_map(|(key, value)| Some((key, key.get()?, value.get()?)))
    }
}

impl<K: Form, V: Form, const MOST: usize> Form for Table<K, V, MOST> {
    fn read(at: &At<'_>, report: &mut Report) -> Option<Self> {
        let Value::Map(entries) = &at.node.value else {
            return refuse(at, report, "a mapping of names to values");
        };
        if MOST < entries.len() {
            let count = entries.len();
            report.add(&at.spot(), format!("names {count}, at most {MOST} may be given"));
            return None;
        }
        let mut rows = Vec::with_capacity(entries.len());
        for entry in entries {
            let key = at.child(&entry.key);
            let name = entry.as_name();
            let name = At { node: &name, key: key.clone() };
            let value = At { node: &entry.node, key };
            rows.push((Field::read(&name, report), Field::read(&value, report)));
        }
        Some(Self(rows))
    }

    fn schema() -> Json {
        json!({
            "type": "object",
            "propertyNames": K::schema(),
            "additionalProperties": V::schema(),
            "maxProperties": MOST,
        })
    }
}

/// Reports that the value is not what was `expected`; always `None`.
pub(crate) fn refuse<T>(at: &At<'_>, report: &mut Report, expected: &str) -> Option<T> {
    let message = if matches!(at.node.value, Value::Null) {
        format!("has no value; expected {expected}")
    } else {
        format!("{} is not {expected}", at.node.shown())
    };
    report.add(&at.spot(), message);
    None
}

/// Reports a word that is not one of `known`.
pub(crate) fn unknown_word<'a>(
    at: &At<'_>,
    report: &mut Report,
    word: &str,
    known: impl IntoIterator<Item = &'a str>,
) {
    report.add(&at.spot(), format!("{} is not known here{}", at.node.shown(), hint(word, known)));
}

/// Reads a whole file as one form.
pub(crate) fn read_file<T: Form>(bytes: &[u8], report: &mut Report) -> Option<T> {
    let node = crate::config::yaml::read(bytes, report)?;
    T::read(&At { node: &node, key: String::new() }, report)
}

/// The JSON Schema of a whole file.
pub(crate) fn file_schema<T: Form>(title: &str) -> Json {
    let mut schema = T::schema();
    if let Some(object) = schema.as_object_mut() {
        let dialect = "https://json-schema.org/draft/2020-12/schema";
        object.insert("$schema".to_owned(), Json::from(dialect));
        object.insert("title".to_owned(), Json::from(title));
    }
    schema
}
