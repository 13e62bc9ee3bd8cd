//! A problem is one thing wrong in one file, with the place to put the cursor; a reader collects
//! all of them before it gives up, so that a file is mended in one go.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// A line and a column of a file, both from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
}

/// One thing wrong: `policies/p.yaml:14:7: criteria[0].pass_at: 1.7 is not between 0 and 1`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file, or what stands for it (`--listen`, `environment`).
    pub file: Arc<str>,
    /// Where in the file; `None`: the file as a whole.
    pub mark: Option<Mark>,
    /// The key's path (`criteria[0].pass_at`), empty where there is none.
    pub key: String,
    /// What is wrong and what was expected.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(Mark { line, column }) = self.mark {
            write!(f, ":{line}:{column}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// Everything wrong, in file order; prints one problem a line. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// The one problem of `file` as a whole.
    #[must_use]
    pub fn of_file(file: impl Into<Arc<str>>, message: impl Into<String>) -> Self {
        let (file, message) = (file.into(), message.into());
        Self(vec![Problem { file, mark: None, key: String::new(), message }])
    }

    /// The problems, in file order.
    #[must_use]
    pub fn list(&self) -> &[Problem] {
        &self.0
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if 0 < index {
                f.write_str("\n")?;
            }
            fmt::Display::fmt(problem, f)?;
        }
        Ok(())
    }
}

impl Error for Problems {}

/// Where a value stands: what a problem with it will name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spot {
    pub(crate) mark: Mark,
    pub(crate) key: String,
}

/// The problems of one file as they are found.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) file: Arc<str>,
    found: Vec<Problem>,
    unlisted: usize,
}

/// Most problems that are listed; a file with more has one cause.
const MOST_LISTED: usize = 100;

impl Report {
    pub(crate) fn of(file: impl Into<Arc<str>>) -> Self {
        Self { file: file.into(), found: Vec::new(), unlisted: 0 }
    }

    /// Notes a problem at `spot`; the first one of a value is its cause, others are its echo.
    pub(crate) fn add(&mut self, spot: &Spot, message: impl Into<String>) {
        let is_echo = |one: &Problem| one.mark == Some(spot.mark) && one.key == spot.key;
        if self.found.iter().any(is_echo) {
            return;
        }
        self.add_at(Some(spot.mark), spot.key.clone(), message);
    }

    /// Notes a problem with the file as a whole.
    pub(crate) fn add_whole(&mut self, message: impl Into<String>) {
        self.add_at(None, String::new(), message);
    }

    /// Notes a problem at a place that has no key, or no place.
    pub(crate) fn add_at(&mut self, mark: Option<Mark>, key: String, message: impl Into<String>) {
        let file = Arc::clone(&self.file);
        self.push(Problem { file, mark, key, message: message.into() });
    }

    /// Takes over a problem of another file that this one names.
    pub(crate) fn push(&mut self, problem: Problem) {
        if self.found.len() < MOST_LISTED {
            self.found.push(problem);
        } else {
            self.unlisted += 1;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    pub(crate) fn into_found(mut self) -> Vec<Problem> {
        if 0 < self.unlisted {
            let message = format!("{} more problems are not listed", self.unlisted);
            self.found.push(Problem { file: self.file, mark: None, key: String::new(), message });
        }
        self.found
    }
}

/// Sorts by file and place; `None` when there is nothing.
pub(crate) fn gather(mut found: Vec<Problem>) -> Option<Problems> {
    found.sort();
    found.dedup();
    (!found.is_empty()).then_some(Problems(found))
}

/// What was made of the file `shown`, if nothing was found wrong with it.
pub(crate) fn settle<T>(shown: &str, found: Vec<Problem>, made: Option<T>) -> Result<T, Problems> {
    match (gather(found), made) {
        (None, Some(made)) => Ok(made),
        (Some(problems), _) => Err(problems),
        (None, None) => Err(Problems::of_file(shown, "the file cannot be read")),
    }
}

/// `; did you mean …` for the nearest of `known`, or what is known.
pub(crate) fn hint<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    if let Some(near) = nearest(wrong, &known) {
        return format!("; did you mean `{near}`?");
    }
    if known.is_empty() {
        return "; none is known".to_owned();
    }
    format!("; known: {}", known.join(", "))
}

/// The one of `known` that `wrong` is a likely slip of.
fn nearest<'a>(wrong: &str, known: &[&'a str]) -> Option<&'a str> {
    let wrong = wrong.to_ascii_lowercase();
    if let Some(longer) = known.iter().find(|one| 3 <= wrong.len() && one.starts_with(&wrong)) {
        return Some(longer);
    }
    let (distance, near) =
        known.iter().map(|one| (slips(&wrong, &one.to_ascii_lowercase()), *one)).min()?;
    // one slip in a short word, up to a third of a long one
    let allowed = (wrong.chars().count().max(near.chars().count()) / 3).max(1);
    (distance <= allowed).then_some(near)
}

/// How many letters must be put in, left out, changed or swapped with their neighbour.
fn slips(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().take(80).collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=to.len()).collect();
    let mut last: Option<char> = None;
    for (row, letter) in from.chars().take(80).enumerate() {
        let mut line = vec![row + 1];
        for (column, other) in to.iter().enumerate() {
            let at = |line: &[usize], index: usize| line.get(index).copied().unwrap_or(usize::MAX);
            let changed = at(&above, column).saturating_add(usize::from(letter != *other));
            let removed = at(&above, column + 1).saturating_add(1);
            let inserted = at(&line, column).saturating_add(1);
            let crossed = column.checked_sub(1).filter(|left| {
                to.get(*left) == Some(&letter) && last == Some(*other) && !before.is_empty()
            });
            let swapped = crossed.map_or(usize::MAX, |left| at(&before, left).saturating_add(1));
            line.push(changed.min(removed).min(inserted).min(swapped));
        }
        before = std::mem::replace(&mut above, line);
        last = Some(letter);
    }
    above.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_one_letter_more_less_other_or_swapped() {
        for (from, to, expected) in [
            ("pass_at", "pass_at", 0),
            ("pass_att", "pass_at", 1),
            ("pas_at", "pass_at", 1),
            ("pass_it", "pass_at", 1),
            ("judegs", "judges", 1),
            ("", "abc", 3),
        ] {
            assert_eq!(slips(from, to), expected, "{from} to {to}");
        }
    }

    #[test]
    fn a_hint_names_a_near_word_and_else_all_words() {
        let known = ["openai-mini", "claude-haiku"];
        assert_eq!(hint("openai_mini", known), "; did you mean `openai-mini`?");
        assert_eq!(hint("llama", known), "; known: openai-mini, claude-haiku");
    }

    #[test]
    fn a_value_is_told_once_and_a_flood_is_counted() {
        let mut report = Report::of("p.yaml");
        let spot = |line| Spot { mark: Mark { line, column: 1 }, key: "key".to_owned() };
        report.add(&spot(1), "is not set");
        report.add(&spot(1), "is not a digest");
        for line in 2..150 {
            report.add(&spot(line), "is wrong");
        }
        let problems = gather(report.into_found()).unwrap();
        assert_eq!(problems.list()[0].to_string(), "p.yaml: 49 more problems are not listed");
        assert_eq!(problems.list()[1].to_string(), "p.yaml:1:1: key: is not set");
        assert_eq!(problems.list().len(), 101);
    }
}
