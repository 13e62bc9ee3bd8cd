//! Policy files are read from their directory once, and policies are made of what was read: the
//! fingerprint, the prompts and the lists all belong to the same moment.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::Path;

use crate::config::policy::read_policy;
use crate::config::problem::{Mark, Problem, Problems, Report, gather};
use crate::config::rehearsal::ENDING as TESTS;
use crate::config::yaml::{self, Node, Value};
use crate::domain::Digest;
use crate::prompt::LoadedPolicy;

/// The files of a policy directory as they were at one moment: policies, prompts, lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyFiles {
    dir: String,
    /// By path under the directory, with `/`.
    files: BTreeMap<String, Vec<u8>>,
}

/// What is read: policies, prompts and lists by the ends of their names.
const ENDINGS: [&str; 6] = ["yaml", "yml", "j2", "jinja", "txt", "md"];
/// Folders that hold no part of a policy.
const OTHER_FOLDERS: [&str; 2] = ["schemas", "fixtures"];
/// Folders in folders.
const MOST_DEPTH: usize = 2;
const MOST_FILES: usize = 500;
const MOST_FILE_BYTES: u64 = 4 << 20;

const SHIPPED_POLICY: &str = include_str!("../../policies/product-photo.yaml");
const SHIPPED_PROMPT: &str = include_str!("../../policies/prompts/product-photo.system.j2");
const SHIPPED_LIST: &str = include_str!("../../policies/lists/known-bad.txt");

impl PolicyFiles {
    /// Reads the files of `dir` and its folders. Names that begin with a dot are passed over.
    ///
    /// # Errors
    /// What cannot be read, a file over 4 MiB, more than 500 files.
    pub fn read(dir: &Path) -> Result<Self, Problems> {
        let mut this = Self { dir: dir.display().to_string(), files: BTreeMap::new() };
        this.read_folder(dir, "", 0).map_err(|why| Problems::of_file(why.0, why.1))?;
        Ok(this)
    }

    /// The policy that comes with the program, with its prompt and list.
    #[must_use]
    pub fn shipped() -> Self {
        let files = [
            ("product-photo.yaml", SHIPPED_POLICY),
            ("prompts/product-photo.system.j2", SHIPPED_PROMPT),
            ("lists/known-bad.txt", SHIPPED_LIST),
        ];
        Self::of("policies", files)
    }

    /// Files that stand in no directory.
    #[must_use]
    pub fn of<'a>(dir: &str, files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let file = |(path, text): (&str, &str)| (path.to_owned(), text.as_bytes().to_vec());
        Self { dir: dir.to_owned(), files: files.into_iter().map(file).collect() }
    }

    /// The digest of every path and its bytes: the same digest, the same policies.
    #[must_use]
    pub fn fingerprint(&self) -> Digest {
        let mut text = Vec::new();
        for (path, bytes) in &self.files {
            text.extend_from_slice(Digest::of(path.as_bytes()).as_bytes());
            text.extend_from_slice(Digest::of(bytes).as_bytes());
        }
        Digest::of(&text)
    }

    /// Loads every policy (`*.yaml` of the directory itself, tests aside), or none. With `judges`,
    /// every judge a policy names must be one of them or `local`.
    ///
    /// # Errors
    /// Everything wrong with any of them, two policies of one name, or no policy at all.
    pub fn load(&self, judges: Option<&[String]>) -> Result<Vec<LoadedPolicy>, Problems> {
        let loaded = self.load_by_path(judges)?;
        Ok(loaded.into_iter().map(|(_, policy)| policy).collect())
    }

    /// The same, each with the path of its file under the directory.
    ///
    /// # Errors
    /// As [`PolicyFiles::load`].
    pub fn load_by_path(
        &self,
        judges: Option<&[String]>,
    ) -> Result<Vec<(String, LoadedPolicy)>, Problems> {
        let mut loaded: Vec<(&str, LoadedPolicy)> = Vec::new();
        let mut problems: Vec<Problem> = Vec::new();
        let whole = |path: &str, message: String| Problem {
            file: self.shown(path).into(),
            mark: None,
            key: String::new(),
            message,
        };
        for path in self.files.keys().filter(|path| !path.contains('/')) {
            if path.ends_with(".yml") {
                problems.push(whole(path, "policies are called *.yaml; rename it".to_owned()));
            }
            if !path.ends_with(".yaml") || path.ends_with(TESTS) {
                continue;
            }
            match read_policy(path, self, judges) {
                Err(found) => problems.extend(found),
                Ok(policy) => {
                    let name = &policy.policy.name;
                    let twin = loaded.iter().find(|(_, other)| other.policy.name == *name);
                    if let Some((other, _)) = twin {
                        let message = format!("the policy {name:?} is in {other} already");
                        problems.push(whole(path, message));
                    }
                    loaded.push((path, policy));
                }
            }
        }
        if loaded.is_empty() && problems.is_empty() {
            return Err(Problems::of_file(self.dir.as_str(), "there is no policy (*.yaml) here"));
        }
        match gather(problems) {
            Some(problems) => Err(problems),
            None => {
                Ok(loaded.into_iter().map(|(path, policy)| (path.to_owned(), policy)).collect())
            }
        }
    }

    /// Reads the policy in the file at `path` alone, with what lies beside it.
    ///
    /// # Errors
    /// Everything wrong with it.
    pub fn read_policy(path: &Path, judges: Option<&[String]>) -> Result<LoadedPolicy, Problems> {
        let (files, name) = Self::around(path)?;
        files.load_one(&name, judges)
    }

    /// The files around the policy file at `path`, and its own path among them.
    ///
    /// # Errors
    /// It is no policy file, or they cannot be read.
    pub fn around(path: &Path) -> Result<(Self, String), Problems> {
        let name = path.file_name().and_then(|name| name.to_str());
        let Some(name) = name.filter(|name| name.ends_with(".yaml") && !name.ends_with(TESTS))
        else {
            let shown = path.display().to_string();
            return Err(Problems::of_file(shown, "is not a policy file (*.yaml)"));
        };
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
        Ok((Self::read(dir.unwrap_or(Path::new(".")))?, name.to_owned()))
    }

    /// A problem with what the file `path` says at `key`, or nearest to it where that does not stand
    /// in the file.
    #[must_use]
    pub fn problem_at(&self, path: &str, key: &[Step<'_>], message: String) -> Problem {
        let text = key.iter().fold(String::new(), |text, step| match step {
            Step::Key(name) if text.is_empty() => (*name).to_owned(),
            Step::Key(name) => format!("{text}.{name}"),
            Step::Item(index) => format!("{text}[{index}]"),
        });
        let bytes = self.get(path).unwrap_or_default();
        let node = yaml::read(bytes, &mut Report::of(path));
        let mark = node.map(|node| mark_at(&node, key));
        Problem { file: self.shown(path).into(), mark, key: text, message }
    }

    /// Loads the policy in the file `path` (under the directory) alone.
    ///
    /// # Errors
    /// Everything wrong with it.
    pub fn load_one(
        &self,
        path: &str,
        judges: Option<&[String]>,
    ) -> Result<LoadedPolicy, Problems> {
        read_policy(path, self, judges).map_err(|found| {
            gather(found)
                .unwrap_or_else(|| Problems::of_file(self.shown(path), "the policy cannot be read"))
        })
    }

    /// Whether a file of this name can be a part of a policy.
    pub(crate) fn is_part(name: &str) -> bool {
        let ending = Path::new(name).extension().and_then(|ending| ending.to_str());
        // tests speak of a policy and are none: a new test is no reason to load it again
        ending.is_some_and(|ending| ENDINGS.contains(&ending)) && !name.ends_with(TESTS)
    }

    pub(crate) fn get(&self, path: &str) -> Option<&[u8]> {
        self.files.get(path).map(Vec::as_slice)
    }

    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    pub(crate) fn dir(&self) -> &str {
        &self.dir
    }

    /// A path as messages show it.
    pub(crate) fn shown(&self, path: &str) -> String {
        match self.dir.trim_end_matches('/') {
            "." => path.to_owned(),
            dir => format!("{dir}/{path}"),
        }
    }

    fn read_folder(&mut self, dir: &Path, under: &str, depth: usize) -> Result<(), Unreadable> {
        let cannot = |path: &Path, why: &io::Error| {
            Unreadable(path.display().to_string(), format!("cannot be read: {why}"))
        };
        for entry in fs::read_dir(dir).map_err(|why| cannot(dir, &why))? {
            let entry = entry.map_err(|why| cannot(dir, &why))?;
            let name = entry.file_name();
            let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) else {
                continue;
            };
            let path = entry.path();
            // a mounted config map holds links: what they lead to counts
            let Ok(metadata) = fs::metadata(&path) else {
                continue;
            };
            let inner = if under.is_empty() { name.to_owned() } else { format!("{under}/{name}") };
            if metadata.is_dir() {
                if depth < MOST_DEPTH && !OTHER_FOLDERS.contains(&name) {
                    self.read_folder(&path, &inner, depth + 1)?;
                }
                continue;
            }
            if !metadata.is_file() || !Self::is_part(name) {
                continue;
            }
            if self.files.len() == MOST_FILES {
                let message = format!("holds more than {MOST_FILES} files");
                return Err(Unreadable(self.dir.clone(), message));
            }
            let bytes = read_bounded(&path).map_err(|why| cannot(&path, &why))?;
            self.files.insert(inner, bytes);
        }
        Ok(())
    }
}

/// One step towards a value of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// The value under this key.
    Key(&'a str),
    /// The value at this place of a list, from 0.
    Item(usize),
}

fn mark_at(node: &Node, key: &[Step<'_>]) -> Mark {
    let Some((step, rest)) = key.split_first() else { return node.mark };
    match (step, &node.value) {
        (Step::Key(name), Value::Map(entries)) => entries
            .iter()
            .find(|entry| entry.key == *name)
            .map_or(node.mark, |entry| mark_at(&entry.node, rest)),
        (Step::Item(index), Value::List(items)) => {
            items.get(*index).map_or(node.mark, |item| mark_at(item, rest))
        }
        (Step::Key(_) | Step::Item(_), _) => node.mark,
    }
}

/// A path and why it cannot be read.
struct Unreadable(String, String);

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(MOST_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if usize::try_from(MOST_FILE_BYTES).is_ok_and(|most| most < bytes.len()) {
        return Err(io::Error::other(format!("it has more than {MOST_FILE_BYTES} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_policy_loads() {
        let judges: Vec<String> = ["openai-mini", "claude-haiku", "gemini-flash", "mistral-vision"]
            .map(str::to_owned)
            .to_vec();
        let loaded = PolicyFiles::shipped().load(Some(&judges)).map_err(|all| all.to_string());
        assert_eq!(loaded.map(|all| all.len()), Ok(1));
    }
}
