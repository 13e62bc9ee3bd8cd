//! A casting says who plays in a rehearsal: every judge with its name, provider, dialect, price and
//! expected speed, and without its key.
//!
//! A machine that runs policy tests holds no secrets and must need none, so of the service's file
//! only providers and judges are read, and what is not set there is made up. The same goes for a
//! command that works on stored records and calls nobody ([`Config::find_keyless`]).

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::environment::{Environment, Secrets};
use crate::config::form::{At, Form};
use crate::config::problem::{Problems, Report, gather};
use crate::config::service_file::ServiceFile;
use crate::config::yaml::{self, Node, Value};
use crate::config::{Config, DEFAULT_FILE, LOCAL_JUDGE, Overrides, built_in, service};
use crate::panel::Expectation;
use crate::provider::local::LocalJudge;
use crate::provider::profile::Profile;
use crate::provider::settings::{JudgeSettings, ProviderSettings};
use crate::rehearse::Role;

/// What stands for a secret, or for a variable that is not set.
const MADE_UP: &str = "unset";
/// The same where an address is needed.
const MADE_UP_URL: &str = "https://unset.invalid";

/// How fast a judge is where no file says so: what a small vision model takes on a good day. With
/// it a rehearsal meets judges whose speed is known, as in a gate that has run for a while.
const PACE: Expectation =
    Expectation { p50: Duration::from_millis(650), p95: Duration::from_millis(900) };

/// Who can be cast.
#[derive(Debug)]
pub struct Casting {
    known: Vec<(ProviderSettings, JudgeSettings)>,
    /// Whether there are no other judges.
    is_closed: bool,
}

impl Casting {
    /// The judges of the service's file at `path`, and no others.
    ///
    /// # Errors
    /// Every problem of its providers and judges.
    pub fn read(path: &Path) -> Result<Self, Problems> {
        let shown = path.display().to_string();
        let bytes = fs::read(path)
            .map_err(|why| Problems::of_file(shown.as_str(), format!("cannot be read: {why}")))?;
        let mut report = Report::of(shown.as_str());
        let dir = service::folder_of(path);
        let mut config = None;
        if let Some(mut node) = yaml::read(&bytes, &mut report) {
            keep_judges(&mut node);
            make_up(&mut node, "", &Environment::process());
            let raw = ServiceFile::read(&At { node: &node, key: String::new() }, &mut report);
            config = raw.and_then(|raw| service::build(&raw, &dir, &mut report));
        }
        match (gather(report.into_found()), config) {
            (None, Some(config)) => {
                Ok(Self { known: config.keyless_judge_settings(), is_closed: true })
            }
            (Some(problems), _) => Err(problems),
            (None, None) => Err(Problems::of_file(shown, "the file cannot be read")),
        }
    }

    /// The judges that the program knows without a file, each at the same [`PACE`]; any other is taken
    /// for one like them.
    #[must_use]
    pub fn usual() -> Self {
        let known = built_in::everybody().keyless_judge_settings().into_iter();
        let paced = |(provider, judge): (_, JudgeSettings)| {
            (provider, JudgeSettings { expect: Some(PACE), ..judge })
        };
        Self { known: known.map(paced).collect(), is_closed: false }
    }

    /// The judges that a policy may name, `local` aside; `None`: any.
    #[must_use]
    pub fn judge_names(&self) -> Option<Vec<String>> {
        let names = self.known.iter().map(|(_, judge)| judge.name.clone());
        self.is_closed.then(|| names.collect())
    }

    /// Who plays the judge called `name`.
    ///
    /// # Errors
    /// What the configuration must say of it.
    pub fn role(&self, name: &str) -> Result<Role, String> {
        if name == LOCAL_JUDGE {
            return Ok(Role::Local(LocalJudge::new()));
        }
        let known = self.known.iter().find(|(_, judge)| judge.name == name).cloned();
        let stranger = || if self.is_closed { None } else { self.stranger(name) };
        let (provider, judge) =
            known.or_else(stranger).ok_or_else(|| format!("no judge is called \"{name}\""))?;
        let profile = Profile::new(&provider, &judge).map_err(|why| why.to_string())?;
        Ok(Role::Called(Box::new(profile)))
    }

    /// A judge of nobody's acquaintance: like the known one whose name begins alike, else like the
    /// first, and with a provider of its own.
    fn stranger(&self, name: &str) -> Option<(ProviderSettings, JudgeSettings)> {
        let family = |name: &str| name.split(['-', '.', '_']).next().unwrap_or_default().to_owned();
        let kin = self.known.iter().find(|(_, judge)| family(&judge.name) == family(name));
        let (provider, judge) = kin.or(self.known.first())?;
        let provider = ProviderSettings { name: format!("{name}-provider"), ..provider.clone() };
        Some((provider, JudgeSettings { name: name.to_owned(), ..judge.clone() }))
    }
}

impl Config {
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
        let named = environment.get("VLMGATE_CONFIG").map(PathBuf::from);
        let default = || Some(PathBuf::from(DEFAULT_FILE)).filter(|file| file.exists());
        match path.map(Path::to_path_buf).or(named).or_else(default) {
            Some(path) => Self::read_keyless(&path, environment, overrides),
            None => {
                let mut config = built_in::everybody();
                let problems = config.apply("built-in", environment, overrides);
                gather(problems).map_or(Ok(config), Err)
            }
        }
    }

    fn read_keyless(
        path: &Path,
        environment: &Environment,
        overrides: &Overrides,
    ) -> Result<Self, Problems> {
        let shown = path.display().to_string();
        let bytes = fs::read(path)
            .map_err(|why| Problems::of_file(shown.as_str(), format!("cannot be read: {why}")))?;
        let mut report = Report::of(shown.as_str());
        let dir = service::folder_of(path);
        let mut config = None;
        if let Some(mut node) = yaml::read(&bytes, &mut report) {
            drop_keys(&mut node, environment);
            Secrets { environment, dir: dir.clone() }.resolve(&mut node, "", &mut report);
            let raw = ServiceFile::read(&At { node: &node, key: String::new() }, &mut report);
            config = raw.and_then(|raw| service::build(&raw, &dir, &mut report));
        }
        let mut problems = report.into_found();
        if let Some(config) = &mut config {
            problems.extend(config.apply(&shown, environment, overrides));
        }
        match (gather(problems), config) {
            (None, Some(config)) => Ok(config),
            (Some(problems), _) => Err(problems),
            (None, None) => Err(Problems::of_file(shown, "the file cannot be read")),
        }
    }
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

/// Leaves of a service's file what says who the judges are.
fn keep_judges(node: &mut Node) {
    if let Value::Map(entries) = &mut node.value {
        entries.retain(|entry| entry.key == "providers" || entry.key == "judges");
    }
}

/// Resolves what stands for something else, and makes up what is secret or not set.
fn make_up(node: &mut Node, key: &str, environment: &Environment) {
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
