//! From a file of policy tests to tests that can be played: read, held against the policy they
//! speak of, images read, scripts and expectations resolved.
//!
//! Everything wrong is told at once: a name that the policy does not have would otherwise make a
//! test that passes for the wrong reason.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::config::casting::Casting;
use crate::config::files::PolicyFiles;
use crate::config::form::{Field, List, Table, read_file};
use crate::config::problem::{Problems, Report, Spot, hint, settle};
use crate::config::service::folder_of;
use crate::config::test_file::{
    Acts, CaseForm, DefaultsForm, ExpectForm, Judges, OrStar, TestFile, TestForm, Vars,
};
use crate::config::units::{Name, Prose, Time};
use crate::domain::Policy;
use crate::prompt::LoadedPolicy;
use crate::rehearse::coverage::judges;
use crate::rehearse::verify::Expected;
use crate::rehearse::{Role, Script, Suite, Test};

mod script;

/// How files of policy tests are called.
pub const ENDING: &str = ".test.yaml";

/// The files of policy tests at `path`: itself, or those of the folder, by name.
///
/// # Errors
/// The folder cannot be read, or `path` is called otherwise.
pub fn test_files(path: &Path) -> Result<Vec<PathBuf>, Problems> {
    let shown = path.display().to_string();
    let is_test = |path: &Path| path.to_str().is_some_and(|path| path.ends_with(ENDING));
    if !path.is_dir() {
        if is_test(path) {
            return Ok(vec![path.to_path_buf()]);
        }
        return Err(Problems::of_file(shown, format!("is not a file of tests (*{ENDING})")));
    }
    let unreadable = |why: std::io::Error| {
        Problems::of_file(path.display().to_string(), format!("cannot be read: {why}"))
    };
    let entries = fs::read_dir(path).map_err(unreadable)?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path()).map_err(unreadable));
    let mut files = paths.collect::<Result<Vec<_>, _>>()?;
    files.retain(|path| is_test(path));
    files.sort();
    Ok(files)
}

/// The policy files at `path` (itself, or those of the folder) of which no test beside them speaks.
#[must_use]
pub fn untested(path: &Path) -> Vec<PathBuf> {
    let folder = if path.is_dir() { path.to_path_buf() } else { folder_of(path) };
    let folder = if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder };
    // what cannot be read is told where it is needed: this is a hint
    let tests = test_files(&folder).unwrap_or_default();
    let tested: Vec<_> = tests.iter().filter_map(|file| tested_policy(file)).collect();
    let mut policies: Vec<PathBuf> = if path.is_dir() {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    } else {
        vec![path.to_path_buf()]
    };
    policies.retain(|path| {
        let shown = path.to_string_lossy();
        let is_policy = shown.ends_with(".yaml") && !shown.ends_with(ENDING);
        is_policy && !path.file_name().is_some_and(|name| tested.iter().any(|one| one == name))
    });
    policies.sort();
    policies
}

/// The name of the policy file that a file of tests speaks of; `None` where that cannot be read.
fn tested_policy(path: &Path) -> Option<OsString> {
    let raw: TestFile = read_file(&fs::read(path).ok()?, &mut Report::of(""))?;
    let policy = raw.policy.get()?;
    Path::new(policy.text.trim()).file_name().map(OsStr::to_os_string)
}

/// Reads the tests at `path` and the policy they speak of.
///
/// # Errors
/// Everything wrong with either.
pub fn read_suite(path: &Path, casting: &Casting) -> Result<Suite, Problems> {
    let shown = path.display().to_string();
    let unreadable =
        |why: std::io::Error| Problems::of_file(shown.as_str(), format!("cannot be read: {why}"));
    let bytes = fs::read(path).map_err(unreadable)?;
    let mut report = Report::of(shown.as_str());
    let raw: Option<TestFile> = read_file(&bytes, &mut report);
    let dir = folder_of(path);
    let suite = raw.and_then(|raw| {
        let policy = policy(&raw, &dir, casting, &mut report)?;
        let cast = cast(&policy.policy, casting, &raw.policy.spot, &mut report);
        let images = BTreeMap::new();
        let mut reader = Reader { policy: &policy, cast: &cast, dir, images, report: &mut report };
        let tests = reader.tests(&raw);
        Some(Suite { file: shown.clone(), policy, cast, tests })
    });
    settle(&shown, report.into_found(), suite)
}

/// The policy that the tests speak of; `None` after its problems were reported.
fn policy(
    raw: &TestFile,
    dir: &Path,
    casting: &Casting,
    report: &mut Report,
) -> Option<LoadedPolicy> {
    let name = raw.policy.get()?;
    let path = dir.join(name.text.trim());
    if !path.is_file() {
        let message = format!("there is no file {:?} from here", name.text);
        report.add(&raw.policy.spot, message);
        return None;
    }
    match PolicyFiles::read_policy(&path, casting.judge_names().as_deref()) {
        Ok(loaded) => Some(loaded),
        Err(problems) => {
            problems.list().iter().cloned().for_each(|problem| report.push(problem));
            None
        }
    }
}

fn cast(policy: &Policy, casting: &Casting, spot: &Spot, report: &mut Report) -> Vec<Role> {
    let mut cast = Vec::new();
    for name in judges(policy) {
        match casting.role(&name) {
            Ok(role) => cast.push(role),
            Err(why) => report.add(spot, format!("{name} cannot be cast: {why}")),
        }
    }
    cast
}

/// What one part of the file says of a test; the parts lie over each other, the innermost first.
#[derive(Clone, Copy)]
struct Layer<'a> {
    image: &'a Field<Option<Prose<500>>>,
    vars: &'a Field<Vars>,
    judges: &'a Field<Option<Judges>>,
    deadline: Option<&'a Field<Option<Time>>>,
    expect: Option<&'a Field<Option<ExpectForm>>>,
}

impl<'a> From<&'a DefaultsForm> for Layer<'a> {
    fn from(form: &'a DefaultsForm) -> Self {
        let DefaultsForm { image, vars, judges } = form;
        Self { image, vars, judges, deadline: None, expect: None }
    }
}

impl<'a> From<&'a TestForm> for Layer<'a> {
    fn from(form: &'a TestForm) -> Self {
        let TestForm { image, vars, judges, deadline, expect, name: _, each: _ } = form;
        Self { image, vars, judges, deadline: Some(deadline), expect: Some(expect) }
    }
}

impl<'a> From<&'a CaseForm> for Layer<'a> {
    fn from(form: &'a CaseForm) -> Self {
        let CaseForm { image, vars, judges, deadline, expect, name: _ } = form;
        Self { image, vars, judges, deadline: Some(deadline), expect: Some(expect) }
    }
}

/// The first of `fields` that says something.
fn said<'a, T>(
    mut fields: impl Iterator<Item = &'a Field<Option<T>>>,
) -> Option<(&'a Spot, &'a T)> {
    fields.find_map(|field| Some((&field.spot, field.get()?.as_ref()?)))
}

struct Reader<'a> {
    policy: &'a LoadedPolicy,
    cast: &'a [Role],
    dir: PathBuf,
    images: BTreeMap<String, Bytes>,
    report: &'a mut Report,
}

impl Reader<'_> {
    fn tests(&mut self, raw: &TestFile) -> Vec<Test> {
        let mut tests: Vec<Test> = Vec::new();
        let mut names: Vec<String> = Vec::new();
        let defaults = raw.defaults.filled().map(Layer::from);
        for (spot, form) in raw.tests.get().into_iter().flat_map(List::each) {
            let Some(name) = form.name.get() else { continue };
            let name = name.text.trim();
            let outer: Vec<_> = [Some(Layer::from(form)), defaults].into_iter().flatten().collect();
            let cases = form.each.get().and_then(Option::as_ref);
            let mut found: Vec<(String, Option<Test>)> = Vec::new();
            match cases {
                None => found.push((name.to_owned(), self.test(name, spot, &outer))),
                Some(cases) => {
                    for (number, (spot, case)) in cases.each().enumerate() {
                        let own = case.name.get().and_then(Option::as_ref);
                        let own =
                            own.map_or_else(|| (number + 1).to_string(), |own| own.text.clone());
                        let name = format!("{name}: {own}");
                        let mut layers = vec![Layer::from(case)];
                        layers.extend(&outer);
                        let test = self.test(&name, spot, &layers);
                        found.push((name, test));
                    }
                }
            }
            for (name, test) in found {
                if names.contains(&name) {
                    self.report.add(&form.name.spot, format!("two tests are called {name:?}"));
                }
                names.push(name);
                tests.extend(test);
            }
        }
        tests
    }

    fn test(&mut self, name: &str, spot: &Spot, layers: &[Layer<'_>]) -> Option<Test> {
        let image = self.image(spot, layers);
        let vars = self.vars(spot, layers);
        let mut scripts = BTreeMap::new();
        let mut others = None;
        if let Some((_, judges)) = said(layers.iter().map(|layer| layer.judges)) {
            for (key, judge, acts) in judges.each() {
                match judge {
                    OrStar::Star => others = self.script(&key.spot, None, acts, vars.as_ref()),
                    OrStar::Named(judge) => {
                        self.hold_judge(&key.spot, &judge.text);
                        let judge = judge.text.as_str();
                        let script = self.script(&key.spot, Some(judge), acts, vars.as_ref());
                        scripts.extend(script.map(|script| (judge.to_owned(), script)));
                    }
                }
            }
        }
        let deadline = said(layers.iter().filter_map(|layer| layer.deadline));
        let expect = said(layers.iter().filter_map(|layer| layer.expect));
        let expected = match expect {
            Some((spot, form)) => self.expected(spot, form),
            None => {
                self.report.add(spot, "expects nothing: say what must come of it under `expect`");
                None
            }
        };
        Some(Test {
            name: name.to_owned(),
            image: image?,
            vars: vars?,
            deadline: deadline.map(|(_, time)| time.0),
            scripts,
            others,
            expected: expected?,
        })
    }

    fn image(&mut self, spot: &Spot, layers: &[Layer<'_>]) -> Option<Bytes> {
        let Some((spot, path)) = said(layers.iter().map(|layer| layer.image)) else {
            self.report.add(spot, "shows no image: give `image` here or under `defaults`");
            return None;
        };
        let path = path.text.trim();
        if let Some(known) = self.images.get(path) {
            return Some(known.clone());
        }
        // one byte past the limit is enough for the gate to say that it is too large
        let most = self.policy.policy.input.max_bytes.saturating_add(1);
        let mut bytes = Vec::new();
        let read = File::open(self.dir.join(path))
            .and_then(|file| file.take(most).read_to_end(&mut bytes));
        if let Err(why) = read {
            self.report.add(spot, format!("the image {path:?} cannot be read: {why}"));
            return None;
        }
        let bytes = Bytes::from(bytes);
        self.images.insert(path.to_owned(), bytes.clone());
        Some(bytes)
    }

    /// What the caller sends, with the policy's defaults for the rest.
    fn vars(&mut self, spot: &Spot, layers: &[Layer<'_>]) -> Option<BTreeMap<String, String>> {
        let mut sent: BTreeMap<String, (Spot, String)> = BTreeMap::new();
        for layer in layers.iter().rev() {
            for (key, name, value) in layer.vars.filled().into_iter().flat_map(Table::each) {
                sent.insert(name.text.clone(), (key.spot.clone(), value.text.clone()));
            }
        }
        let plain = sent.iter().map(|(name, (_, value))| (name.clone(), value.clone())).collect();
        match self.policy.vars(&plain) {
            Ok(vars) => Some(vars),
            Err(problems) => {
                for problem in problems {
                    let spot = sent.get(&problem.name).map_or(spot, |(spot, _)| spot);
                    self.report.add(spot, problem.message);
                }
                None
            }
        }
    }

    fn script(
        &mut self,
        spot: &Spot,
        judge: Option<&str>,
        acts: &Acts,
        vars: Option<&BTreeMap<String, String>>,
    ) -> Option<Script> {
        let policy = &self.policy.policy;
        let asked = vars.map(|vars| self.policy.asked(vars)).unwrap_or_default();
        let asked: Vec<_> = asked.into_iter().map(|one| one.id.as_str()).collect();
        let mut author = script::Author { policy, judge, asked: &asked, report: self.report };
        let mut acts = match acts {
            Acts::Always(act) => vec![author.act(spot, act)],
            Acts::InTurn(list) => list.each().map(|(spot, act)| author.act(spot, act)).collect(),
        }
        .into_iter()
        .collect::<Option<Vec<_>>>()?
        .into_iter();
        Some(Script { first: acts.next()?, then: acts.collect() })
    }

    fn expected(&mut self, spot: &Spot, form: &ExpectForm) -> Option<Expected> {
        let names = |field: &Field<Option<List<Name<_>, 0, 64>>>| {
            let list = field.get()?.as_ref()?;
            Some(list.values().map(|name| name.text.clone()).collect::<Vec<_>>())
        };
        let flags = form.flags.get().and_then(Option::as_ref);
        let asked = form.asked.get().and_then(Option::as_ref);
        let expected = Expected {
            verdict: *form.verdict.get()?,
            would_be: *form.would_be.get()?,
            basis: *form.basis.get()?,
            judge: form.judge.get()?.as_ref().map(|name| name.text.clone()),
            route: *form.route.get()?,
            asked: asked.map(|list| list.values().map(|judge| judge.text.clone()).collect()),
            attempts: form.attempts.get()?.and_then(|count| usize::try_from(count.0).ok()),
            failed: names(&form.failed),
            flags: flags.map(|list| list.values().map(|flag| flag.text.clone()).collect()),
            check: form.check.get()?.as_ref().map(|name| name.text.clone()),
            borderline: *form.borderline.get()?,
            hedged: *form.hedged.get()?,
            within: form.within.get()?.map(|time| time.0),
            cost_under: form.cost_under.get()?.map(|money| money.0),
            refused: form.refused.get()?.map(|word| word.0),
        };
        if expected == Expected::default() {
            self.report.add(spot, "expects nothing: say what must come of it");
        }
        let alone = Expected { refused: expected.refused, ..Expected::default() };
        if expected.refused.is_some() && expected != alone {
            let message = "an image that is refused has no verdict: expect nothing beside it";
            self.report.add(&form.refused.spot, message);
        }
        self.hold_names(form);
        Some(expected)
    }

    /// Names that the policy does not have can never be seen.
    fn hold_names(&mut self, form: &ExpectForm) {
        let policy = &self.policy.policy;
        let checks: Vec<String> = policy.checks.iter().map(|one| one.id.clone()).collect();
        let criteria: Vec<String> = policy.criteria.iter().map(|one| one.id.clone()).collect();
        let unmeasured = criteria.iter().map(|id| format!("unmeasured:{id}"));
        let flags: Vec<String> = checks.iter().cloned().chain(unmeasured).collect();
        let failed: Vec<String> = criteria.iter().chain(&checks).cloned().collect();
        if let Some(Some(judge)) = form.judge.get() {
            self.hold_judge(&form.judge.spot, &judge.text);
        }
        let list = form.asked.get().and_then(Option::as_ref);
        for (spot, judge) in list.into_iter().flat_map(List::each) {
            self.hold_judge(spot, &judge.text);
        }
        if let Some(Some(check)) = form.check.get() {
            self.hold(&form.check.spot, &check.text, &checks, "no check of the policy");
        }
        let list = form.failed.get().and_then(Option::as_ref);
        for (spot, name) in list.into_iter().flat_map(List::each) {
            self.hold(spot, &name.text, &failed, "no criterion or check of the policy");
        }
        let list = form.flags.get().and_then(Option::as_ref);
        for (spot, flag) in list.into_iter().flat_map(List::each) {
            self.hold(spot, &flag.text, &flags, "no flag of the policy");
        }
    }

    fn hold_judge(&mut self, spot: &Spot, judge: &str) {
        let known: Vec<String> = self.cast.iter().map(|role| role.name().to_owned()).collect();
        self.hold(spot, judge, &known, "no judge of the policy");
    }

    fn hold(&mut self, spot: &Spot, name: &str, known: &[String], what: &str) {
        if !known.iter().any(|one| one == name) {
            let hint = hint(name, known.iter().map(String::as_str));
            self.report.add(spot, format!("{what} is called \"{name}\"{hint}"));
        }
    }
}
