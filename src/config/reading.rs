//! A reading makes a configuration of the service's file, the environment and the flags, or tells all
//! that is wrong with them.
//!
//! Who calls nobody, because he works on stored records, needs no key: there what proves who we are
//! is made up, and who may ask is left out.

use std::fs;
use std::path::{Path, PathBuf};

use crate::config::environment::{Environment, Secrets};
use crate::config::form::{At, Form};
use crate::config::problem::{Problem, Problems, Report, gather, settle};
use crate::config::service_file::ServiceFile;
use crate::config::yaml::{self, Node, Value};
use crate::config::{Config, Overrides, PolicyFolder, StoreConfig, built_in, service};

/// The file that is read when none is named.
const DEFAULT_FILE: &str = "vlmgate.yaml";

/// What stands for a secret, or for a variable that is not set.
const MADE_UP: &str = "unset";
/// The same where an address is needed.
const MADE_UP_URL: &str = "https://unset.invalid";

impl Config {
    /// The configuration of the file at `path`; without one of `VLMGATE_CONFIG`, else of
    /// `vlmgate.yaml` where the program was started, else the built-in one.
    ///
    /// # Errors
    /// Every problem of the file, the flags and the environment.
    pub fn find(
        path: Option<&Path>,
        environment: &Environment,
        overrides: &Overrides,
    ) -> Result<Self, Problems> {
        match named(path, environment) {
            Some(path) => Self::read(&path, environment, overrides),
            None => Self::built_in(environment, overrides),
        }
    }

    /// As [`Config::find`], for who calls nobody: no key is needed, no judge is left out for the want
    /// of one, and what proves who we are is made up. An unset variable anywhere else, a store's
    /// address say, is still an error.
    ///
    /// # Errors
    /// Every problem of the file, the flags and the environment, keys aside.
    pub fn find_keyless(
        path: Option<&Path>,
        environment: &Environment,
        overrides: &Overrides,
    ) -> Result<Self, Problems> {
        // nobody listens: who may ask is not looked at
        let overrides = &Overrides { insecure_no_auth: true, ..overrides.clone() };
        let Some(path) = named(path, environment) else {
            return laid_over(built_in::everybody(), environment, overrides);
        };
        let shown = path.display().to_string();
        parse(&shown, &bytes(&path)?, (environment, overrides), drop_keys)
    }

    /// The configuration of the file at `path`. Relative paths in it begin where it is.
    ///
    /// # Errors
    /// Every problem of the file, the flags and the environment.
    pub fn read(
        path: &Path,
        environment: &Environment,
        overrides: &Overrides,
    ) -> Result<Self, Problems> {
        let shown = path.display().to_string();
        Self::parse(&shown, &bytes(path)?, environment, overrides)
    }

    /// The configuration of a file's `bytes`; `shown` is its path.
    ///
    /// # Errors
    /// Every problem of the file, the flags and the environment.
    pub fn parse(
        shown: &str,
        bytes: &[u8],
        environment: &Environment,
        overrides: &Overrides,
    ) -> Result<Self, Problems> {
        parse(shown, bytes, (environment, overrides), |_, _| {})
    }

    /// The configuration without any file: loopback, `./data`, the shipped policy, and the judges
    /// whose key is in the environment.
    ///
    /// # Errors
    /// Every problem of the flags and the environment.
    pub fn built_in(environment: &Environment, overrides: &Overrides) -> Result<Self, Problems> {
        laid_over(built_in::config(environment), environment, overrides)
    }

    /// Lays the flags, and the environment under them, over what the file says.
    fn apply(
        &mut self,
        shown: &str,
        environment: &Environment,
        overrides: &Overrides,
    ) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut listen_from = shown;
        let variable = |name: &str| environment.get(name);
        let (flag, named) = (overrides.listen.clone(), variable("VLMGATE_LISTEN"));
        let source = if flag.is_some() { "--listen" } else { "VLMGATE_LISTEN" };
        if let Some(text) = flag.or(named) {
            listen_from = source;
            match text.parse() {
                Ok(address) => self.server.listen = address,
                Err(_) => {
                    let message =
                        format!("{text:?} is not an address and port such as 127.0.0.1:8080");
                    problems.push(flag_problem(source, message));
                }
            }
        }
        let data = overrides.data.clone().or_else(|| variable("VLMGATE_DATA").map(PathBuf::from));
        if let Some(dir) = data {
            self.store.sqlite = StoreConfig::file_in(&dir);
        }
        let policies =
            overrides.policies.clone().or_else(|| variable("VLMGATE_POLICIES").map(PathBuf::from));
        if let Some(dir) = policies {
            self.policies.folder = PolicyFolder::At(dir);
        }
        self.insecure_no_auth = overrides.insecure_no_auth;
        if self.keys.is_empty() && !self.server.listen.ip().is_loopback() && !self.insecure_no_auth
        {
            let message = format!(
                "without keys only a loopback address may be listened on, not {}; \
                 add keys, or start with --insecure-no-auth",
                self.server.listen
            );
            problems.push(flag_problem(listen_from, message));
        }
        problems
    }
}

/// The file to read, if there is one.
fn named(path: Option<&Path>, environment: &Environment) -> Option<PathBuf> {
    let variable = || environment.get("VLMGATE_CONFIG").map(PathBuf::from);
    let default = || Some(PathBuf::from(DEFAULT_FILE)).filter(|file| file.exists());
    path.map(Path::to_path_buf).or_else(variable).or_else(default)
}

/// What is in the file at `path`.
///
/// # Errors
/// It cannot be read.
pub(in crate::config) fn bytes(path: &Path) -> Result<Vec<u8>, Problems> {
    let unread =
        |why| Problems::of_file(path.display().to_string(), format!("cannot be read: {why}"));
    fs::read(path).map_err(unread)
}

/// What a file's `bytes` say once `prepare` has changed the document; what is wrong goes to `report`.
pub(in crate::config) fn build(
    path: &Path,
    bytes: &[u8],
    report: &mut Report,
    prepare: impl FnOnce(&mut Node, &mut Report),
) -> Option<Config> {
    let mut node = yaml::read(bytes, report)?;
    prepare(&mut node, report);
    let raw = ServiceFile::read(&At { node: &node, key: String::new() }, report)?;
    service::build(&raw, &service::folder_of(path), report)
}

/// As [`Config::parse`], of a document that `change` has gone over.
fn parse(
    shown: &str,
    bytes: &[u8],
    (environment, overrides): (&Environment, &Overrides),
    change: fn(&mut Node, &Environment),
) -> Result<Config, Problems> {
    let path = Path::new(shown);
    let mut report = Report::of(shown);
    let mut config = build(path, bytes, &mut report, |node, report| {
        change(node, environment);
        let secrets = Secrets { environment, dir: service::folder_of(path) };
        secrets.resolve(node, "", report);
    });
    let mut problems = report.into_found();
    if let Some(config) = &mut config {
        problems.extend(config.apply(shown, environment, overrides));
    }
    settle(shown, problems, config)
}

/// A configuration of the program's own under the flags.
fn laid_over(
    mut config: Config,
    environment: &Environment,
    overrides: &Overrides,
) -> Result<Config, Problems> {
    let problems = config.apply("built-in", environment, overrides);
    gather(problems).map_or(Ok(config), Err)
}

/// Leaves out who may ask, and makes up what proves who we are.
fn drop_keys(node: &mut Node, environment: &Environment) {
    if let Value::Map(entries) = &mut node.value {
        entries.retain(|entry| entry.key != "keys");
        for entry in entries.iter_mut().filter(|entry| entry.key == "providers") {
            make_up(&mut entry.node, "", environment);
        }
    }
}

/// Resolves what stands for something else, and makes up what is secret or not set.
pub(in crate::config) fn make_up(node: &mut Node, key: &str, environment: &Environment) {
    match &mut node.value {
        Value::Text(text) => {
            let is_secret = key == "key" || text.text.starts_with("file:");
            let made_up = if key == "base_url" { MADE_UP_URL } else { MADE_UP };
            if is_secret {
                made_up.clone_into(&mut text.text);
            } else if text.text.contains("${") {
                let resolver = Secrets { environment, dir: PathBuf::new() };
                let mut unset = Report::of("");
                resolver.resolve(node, "", &mut unset);
                if let (Value::Text(text), false) = (&mut node.value, unset.is_empty()) {
                    made_up.clone_into(&mut text.text);
                }
            }
        }
        Value::List(items) => items.iter_mut().for_each(|item| make_up(item, key, environment)),
        Value::Map(entries) => {
            for entry in entries {
                make_up(&mut entry.node, &entry.key, environment);
            }
        }
        Value::Null | Value::Bool(_) | Value::Whole(_) | Value::Number(_) => {}
    }
}

fn flag_problem(source: &str, message: String) -> Problem {
    Problem { file: source.into(), mark: None, key: String::new(), message }
}
