//! An upload is what a caller sent to be checked, believed about nothing but its bounds. A draft is
//! an upload being filled from the query and one of the three body forms, each part at most once.

use std::collections::BTreeMap;

use axum::http::Uri;
use bytes::Bytes;

use crate::http::problem::{Problem, pointer};
use crate::http::query::Parameters;

const POLICY_CHARS: usize = 128;
const EXTERNAL_ID_CHARS: usize = 200;
const MAX_VARS: usize = 32;
const VAR_NAME_CHARS: usize = 64;
const VAR_VALUE_CHARS: usize = 200;

/// What a caller sent to be checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Upload {
    /// The image as it came.
    pub bytes: Bytes,
    /// The policy it is to be held to; `None`: the gate's default.
    pub policy: Option<String>,
    /// Variables by name.
    pub vars: BTreeMap<String, String>,
    /// The caller's own name for the image.
    pub external_id: Option<String>,
    /// Whether a `fail` is to be answered as a problem (`on=strict`).
    pub strict: bool,
    /// Time spent reading and unpacking the body.
    pub read_ms: f64,
}

/// An upload being filled.
#[derive(Clone, Debug, Default)]
pub(crate) struct Draft {
    image: Option<Bytes>,
    policy: Option<String>,
    vars: BTreeMap<String, String>,
    external_id: Option<String>,
    strict: bool,
}

impl Draft {
    /// Begins with what the query says; it may go with every body form.
    pub(crate) fn of_query(uri: &Uri) -> Result<Self, Problem> {
        let mut draft = Self::default();
        let mut parameters = Parameters::of(uri)?;
        if let Some(policy) = parameters.take("policy") {
            draft.set_policy(policy)?;
        }
        if let Some(external_id) = parameters.take("external_id") {
            draft.set_external_id(external_id)?;
        }
        for (name, value) in parameters.take_prefixed("vars.") {
            draft.set_var(&name, value)?;
        }
        match parameters.take("on").as_deref() {
            None => {}
            Some("strict") => draft.strict = true,
            Some(other) => {
                return Err(Problem::bad_field("/on", format!("is {other:?}, expected strict")));
            }
        }
        parameters.finish(&["policy", "vars.NAME", "external_id", "on"])?;
        Ok(draft)
    }

    /// Bytes of the image so far.
    pub(crate) fn size_bytes(&self) -> usize {
        self.image.as_ref().map_or(0, Bytes::len)
    }

    pub(crate) fn set_image(&mut self, bytes: Bytes) -> Result<(), Problem> {
        once(&mut self.image, bytes, "/image")
    }

    pub(crate) fn set_policy(&mut self, name: String) -> Result<(), Problem> {
        once(&mut self.policy, bounded(name, POLICY_CHARS, "/policy")?, "/policy")
    }

    pub(crate) fn set_external_id(&mut self, id: String) -> Result<(), Problem> {
        let id = bounded(id, EXTERNAL_ID_CHARS, "/external_id")?;
        once(&mut self.external_id, id, "/external_id")
    }

    pub(crate) fn set_var(&mut self, name: &str, value: String) -> Result<(), Problem> {
        let name = bounded(name.to_owned(), VAR_NAME_CHARS, "/vars")?;
        let pointer = pointer(&["vars", &name]);
        let value = bounded(value, VAR_VALUE_CHARS, &pointer)?;
        if self.vars.insert(name, value).is_some() {
            return Err(Problem::bad_field(&pointer, "is given twice"));
        }
        if MAX_VARS < self.vars.len() {
            return Err(Problem::bad_field("/vars", format!("more than {MAX_VARS} variables")));
        }
        Ok(())
    }

    /// The upload, once everything was set.
    pub(crate) fn finish(self, read_ms: f64) -> Result<Upload, Problem> {
        let Some(bytes) = self.image else {
            return Err(Problem::bad_field("/image", "is missing"));
        };
        let Self { image: _, policy, vars, external_id, strict } = self;
        Ok(Upload { bytes, policy, vars, external_id, strict, read_ms })
    }
}

fn once<T>(slot: &mut Option<T>, value: T, pointer: &str) -> Result<(), Problem> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Problem::bad_field(pointer, "is given twice")),
    }
}

/// Text of 1 to `most_chars` characters that can stand on one line of a log or a table.
fn bounded(text: String, most_chars: usize, pointer: &str) -> Result<String, Problem> {
    let chars = text.chars().take(most_chars + 1).count();
    if chars == 0 {
        return Err(Problem::bad_field(pointer, "is empty"));
    }
    if most_chars < chars {
        let detail = format!("is longer than {most_chars} characters");
        return Err(Problem::bad_field(pointer, detail));
    }
    if text.chars().any(char::is_control) {
        return Err(Problem::bad_field(pointer, "has a control character"));
    }
    Ok(text)
}
