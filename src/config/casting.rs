//! A casting says who plays in a rehearsal: every judge with its name, provider, dialect, price and
//! expected speed, and without its key.
//!
//! A machine that runs policy tests holds no secrets and must need none, so of the service's file
//! only providers and judges are read, and what is not set there is made up.

use std::path::Path;
use std::time::Duration;

use crate::config::environment::Environment;
use crate::config::problem::{Problems, Report, settle};
use crate::config::yaml::{Node, Value};
use crate::config::{LOCAL_JUDGE, built_in, reading};
use crate::panel::Expectation;
use crate::provider::local::LocalJudge;
use crate::provider::profile::Profile;
use crate::provider::settings::{JudgeSettings, ProviderSettings};
use crate::rehearse::Role;

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
        let keep = |node: &mut Node, _: &mut Report| {
            keep_judges(node);
            reading::make_up(node, "", &Environment::process());
        };
        let shown = path.display().to_string();
        let mut report = Report::of(shown.as_str());
        let config = reading::build(path, &reading::bytes(path)?, &mut report, keep);
        let config = settle(&shown, report.into_found(), config)?;
        Ok(Self { known: config.keyless_judge_settings(), is_closed: true })
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

/// Leaves of a service's file what says who the judges are.
fn keep_judges(node: &mut Node) {
    if let Value::Map(entries) = &mut node.value {
        entries.retain(|entry| entry.key == "providers" || entry.key == "judges");
    }
}
