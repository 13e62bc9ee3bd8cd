//! The environment is where secrets come from: `${NAME}` and `file:/path` in a file's texts are
//! resolved here, after the file was parsed, and what they resolve to is never shown.
//!
//! Resolving before parsing would let a key's `#` or `: ` change the document.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use crate::config::problem::{Report, Spot};
use crate::config::yaml::{Node, Value};

/// The process's environment, or a map that stands for it.
pub struct Environment(Box<Lookup>);

/// From a variable's name to its value.
type Lookup = dyn Fn(&str) -> Option<String> + Send + Sync;

impl Environment {
    /// The environment of this process.
    #[must_use]
    pub fn process() -> Self {
        #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
        Self(Box::new(|name| std::env::var(name).ok()))
    }

    /// These variables and no others.
    #[must_use]
    pub fn of<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let map: BTreeMap<String, String> = variables.into_iter().map(own).collect();
        Self(Box::new(move |name| map.get(name).cloned()))
    }

    /// The variable's value; an empty one counts as unset, for it is a secret that got lost.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<String> {
        (self.0)(name).filter(|value| !value.is_empty())
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Environment(..)")
    }
}

/// Most bytes of a file that holds a secret.
const MOST_SECRET_BYTES: u64 = 64 * 1024;

/// Replaces what stands for something else in every text of a file.
pub(crate) struct Secrets<'a> {
    pub(crate) environment: &'a Environment,
    /// Where relative `file:` paths begin.
    pub(crate) dir: PathBuf,
}

impl Secrets<'_> {
    /// Resolves every text under `node`.
    pub(crate) fn resolve(&self, node: &mut Node, key: &str, report: &mut Report) {
        let spot = Spot { mark: node.mark, key: key.to_owned() };
        match &mut node.value {
            Value::Text(text) => match self.resolved(&text.text) {
                Ok(None) => {}
                Ok(Some(value)) => {
                    text.written = Some(std::mem::replace(&mut text.text, value));
                }
                Err(message) => report.add(&spot, message),
            },
            Value::List(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.resolve(item, &format!("{key}[{index}]"), report);
                }
            }
            Value::Map(entries) => {
                for entry in entries {
                    let name = &entry.key;
                    let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                    self.resolve(&mut entry.node, &key, report);
                }
            }
            Value::Null | Value::Bool(_) | Value::Whole(_) | Value::Number(_) => {}
        }
    }

    /// What `text` stands for; `None`: itself.
    fn resolved(&self, text: &str) -> Result<Option<String>, String> {
        let filled = self.filled(text)?;
        let path = filled.as_deref().unwrap_or(text).strip_prefix("file:");
        match path {
            Some(path) => read_secret(&self.dir.join(path.trim())).map(Some),
            None => Ok(filled),
        }
    }

    /// `text` with every `${NAME}` and `${NAME:-default}` filled in; `$${` is a plain `${`.
    fn filled(&self, text: &str) -> Result<Option<String>, String> {
        if !text.contains("${") {
            return Ok(None);
        }
        let mut filled = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            if let Some(before) = before.strip_suffix('$') {
                filled.push_str(before);
                filled.push_str("${");
                rest = after;
                continue;
            }
            filled.push_str(before);
            let (inside, tail) = after
                .split_once('}')
                .ok_or_else(|| format!("`${{` without its `}}` in {text:?}"))?;
            filled.push_str(&self.variable(inside)?);
            rest = tail;
        }
        filled.push_str(rest);
        Ok(Some(filled))
    }

    fn variable(&self, inside: &str) -> Result<String, String> {
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        let is_name = |name: &str| {
            name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
                && name.chars().all(|one| one.is_ascii_alphanumeric() || one == '_')
        };
        if !is_name(name) {
            return Err(format!("{name:?} is not the name of an environment variable"));
        }
        let value = self.environment.get(name).or_else(|| default.map(str::to_owned));
        value.ok_or_else(|| format!("the environment variable {name} is not set"))
    }
}

fn read_secret(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let mut text = String::new();
    let opened = fs::File::open(path);
    let read = opened.and_then(|file| file.take(MOST_SECRET_BYTES + 1).read_to_string(&mut text));
    let size = read.map_err(|why| format!("the file {shown} cannot be read: {why}"))?;
    if usize::try_from(MOST_SECRET_BYTES).is_ok_and(|most| most < size) {
        return Err(format!("the file {shown} has more than {MOST_SECRET_BYTES} bytes"));
    }
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        return Err(format!("the file {shown} holds nothing"));
    }
    Ok(text.to_owned())
}

/// Lets every text of a schema be a reference too; names of keys stay what they are.
pub(crate) fn allow_references(schema: &mut Json) {
    match schema {
        Json::Object(object) => {
            if let Some(Json::String(pattern)) = object.get_mut("pattern") {
                *pattern = format!(r"{pattern}|\$\{{[A-Za-z_]|^file:");
            }
            for (key, value) in object.iter_mut() {
                if key != "propertyNames" {
                    allow_references(value);
                }
            }
        }
        Json::Array(items) => items.iter_mut().for_each(allow_references),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(text: &str) -> Result<Option<String>, String> {
        let environment = Environment::of([("KEY", "s3cret: #1"), ("EMPTY", "")]);
        Secrets { environment: &environment, dir: PathBuf::from(".") }.resolved(text)
    }

    #[test]
    fn names_are_filled_in_wherever_they_stand() {
        assert_eq!(resolved("plain $KEY"), Ok(None));
        assert_eq!(resolved("Bearer ${KEY}!"), Ok(Some("Bearer s3cret: #1!".to_owned())));
        assert_eq!(resolved("${NONE:-8080}"), Ok(Some("8080".to_owned())));
        assert_eq!(resolved("${EMPTY:-8080}"), Ok(Some("8080".to_owned())));
        assert_eq!(resolved("$${KEY}"), Ok(Some("${KEY}".to_owned())));
    }

    #[test]
    fn an_unset_or_empty_variable_is_an_error_that_names_it() {
        let unset = "the environment variable NONE is not set";
        assert_eq!(resolved("${NONE}").unwrap_err(), unset);
        assert!(resolved("${EMPTY}").unwrap_err().contains("EMPTY"));
        assert_eq!(resolved("${KEY").unwrap_err(), "`${` without its `}` in \"${KEY\"");
        assert!(resolved("${a b}").is_err());
    }

    #[test]
    fn a_file_is_read_without_its_last_line_end() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("key"), "from-file\n").unwrap();
        let environment = Environment::of([]);
        let secrets = Secrets { environment: &environment, dir: dir.path().to_owned() };
        assert_eq!(secrets.resolved("file:key"), Ok(Some("from-file".to_owned())));
        assert!(secrets.resolved("file:none").unwrap_err().contains("cannot be read"));
    }
}
