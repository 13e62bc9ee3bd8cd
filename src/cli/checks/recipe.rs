//! A recipe says what a fit cannot know from the pictures: which defects a check is there for, which
//! pictures called good may break a line, and which lines are decisions.
//!
//! It is a CSV file with the header `rule,check,of`, and `#` begins a comment. `shows,noisy,grain`:
//! pictures with the label `grain` are what the check `noisy` is to tell from good ones, even where
//! their manifest states nothing. `spare,white-back,2`: two good pictures may break it, because they are
//! labelled wrongly. `keep,tiny,share.high`: that end stays where the policy has it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::app::AppError;
use crate::domain::CheckSpec;

/// What a fit goes by beside the pictures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Recipe {
    /// Labels of the defects that a check is there for, by the check's id.
    shows: BTreeMap<String, BTreeSet<String>>,
    /// Good pictures that may break the lines of a check, by its id; of others none may.
    spare: BTreeMap<String, usize>,
    /// Ends of lines that are decisions, by the check's id.
    keep: BTreeMap<String, BTreeSet<String>>,
}

impl Recipe {
    /// Reads a recipe for `checks`.
    ///
    /// # Errors
    /// It cannot be read, or a row says something else than the three rules of a check there is.
    pub(crate) fn read(path: &Path, checks: &[CheckSpec]) -> Result<Self, AppError> {
        let wrong = |why: String| AppError::Usage(format!("{}: {why}", path.display()));
        let mut builder = csv::ReaderBuilder::new();
        let mut reader =
            builder.comment(Some(b'#')).from_path(path).map_err(|why| wrong(why.to_string()))?;
        let mut recipe = Self::default();
        for row in reader.deserialize::<(String, String, String)>() {
            let (rule, check, of) = row.map_err(|why| wrong(why.to_string()))?;
            let refused = || wrong(format!("{rule},{check},{of}: no such rule"));
            if checks.iter().all(|one| one.id != check) {
                return Err(wrong(format!("{check}: the policy has no such check")));
            }
            match rule.as_str() {
                "shows" => {
                    recipe.shows.entry(check).or_default().insert(of);
                }
                "keep" => {
                    recipe.keep.entry(check).or_default().insert(of);
                }
                "spare" => {
                    let count = of.parse().map_err(|_| refused())?;
                    recipe.spare.insert(check, count);
                }
                _ => return Err(refused()),
            }
        }
        Ok(recipe)
    }

    /// Whether a check is there for defects of this label.
    #[must_use]
    pub(crate) fn shows(&self, check: &str, label: &str) -> bool {
        self.shows.get(check).is_some_and(|labels| labels.contains(label))
    }

    /// How many good pictures may break a check.
    #[must_use]
    pub(crate) fn spare(&self, check: &str) -> usize {
        self.spare.get(check).copied().unwrap_or(0)
    }

    /// Whether an end of a line is a decision.
    #[must_use]
    pub(crate) fn keeps(&self, check: &str, end: &str) -> bool {
        self.keep.get(check).is_some_and(|ends| ends.contains(end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::OnFail;
    use crate::domain::policy::CheckKind;

    fn checks() -> Vec<CheckSpec> {
        let kind = CheckKind::Noise { max_levels: 9.0 };
        vec![CheckSpec { id: "noisy".to_owned(), kind, when: None, on_fail: OnFail::Flag }]
    }

    fn read(text: &str) -> Result<Recipe, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("recipe.csv");
        std::fs::write(&path, text).unwrap();
        Recipe::read(&path, &checks()).map_err(|why| why.to_string())
    }

    #[test]
    fn the_three_rules_are_read_and_nothing_else_is() {
        let text =
            "rule,check,of\n# why\nshows,noisy,grain\nspare,noisy,2\nkeep,noisy,max_levels\n";
        let recipe = read(text).unwrap();
        assert!(recipe.shows("noisy", "grain") && !recipe.shows("noisy", "blur"));
        assert_eq!((recipe.spare("noisy"), recipe.spare("other")), (2, 0));
        assert!(recipe.keeps("noisy", "max_levels") && !recipe.keeps("noisy", "min"));
        for (row, why) in [
            ("shows,loud,grain", "the policy has no such check"),
            ("hides,noisy,grain", "no such rule"),
            ("spare,noisy,some", "no such rule"),
        ] {
            let told = read(&format!("rule,check,of\n{row}\n")).unwrap_err();
            assert!(told.contains(why), "{told}");
        }
    }
}
