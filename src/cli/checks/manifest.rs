//! A manifest says of every picture in a folder what it is: good, or which defect it has, and what
//! the local checks should say of it.
//!
//! It is a CSV file with a header. Needed are `file` (under the folder) and `label` (`good`, or the
//! defect's name); `level`, `scene`, `source`, `source_path`, `group` and `expected_precheck` are read
//! where they are there; rows with an `anchor_pillow` or about reading alone are files to break a
//! decoder with: they are left out, and counted. A row whose file is not there is an error, because
//! a score of what happens to be there would look like one of everything. The checks never see any
//! of it.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use crate::app::AppError;
use crate::domain::policy::CheckKind;

/// The label of a picture without a fault.
const GOOD: &str = "good";

/// What a manifest lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Listed {
    /// The pictures to score.
    pub(crate) entries: Vec<Entry>,
    /// Rows that were left out: files to break a decoder with.
    pub(crate) left_out: usize,
}

/// One picture of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its path under the folder.
    pub(crate) file: String,
    /// `good`, or the defect's name.
    pub(crate) label: String,
    /// How strong the defect is.
    pub(crate) level: String,
    /// What kind of picture it is.
    pub(crate) scene: String,
    /// Where it comes from: what is left out together.
    pub(crate) source: String,
    /// The picture that it was made from: its own file, unless it says otherwise.
    pub(crate) base: String,
    /// The pictures that are duplicates of each other.
    pub(crate) group: Option<String>,
    /// What the local checks should say.
    pub(crate) expected: Expected,
}

/// What the local checks should say of a picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// A check of this kind is broken.
    Caught(String),
    /// It is not read at all.
    Refused,
    /// It is a near duplicate, or the original, of its group.
    Duplicate,
    /// Nothing is stated.
    Open,
}

impl Entry {
    /// Whether it has no fault.
    #[must_use]
    pub(crate) fn is_good(&self) -> bool {
        self.label == GOOD
    }

    /// The defect with its level.
    #[must_use]
    pub(crate) fn defect(&self) -> String {
        format!("{} {}", self.label, self.level).trim_end().to_owned()
    }

    /// Whether a check of this kind is the one that should be broken.
    #[must_use]
    pub(crate) fn names(&self, kind: &CheckKind) -> bool {
        let Expected::Caught(word) = &self.expected else { return false };
        let kinds: &[&str] = match word.as_str() {
            "dimensions" | "aspect" => &["size"],
            "blank" => &["contrast", "opacity"],
            "blur" => &["sharpness", "upscaled"],
            "border" => &["border_touch"],
            "halo" => &["edge_halo"],
            other => &[other],
        };
        kinds.contains(&kind.label())
    }

    /// The policy's variables as far as the scene tells them.
    #[must_use]
    pub(crate) fn vars(&self) -> BTreeMap<String, String> {
        let background = match self.scene.as_str() {
            "cutout_alpha" => "transparent",
            "on_white" => "white",
            _ => return BTreeMap::new(),
        };
        BTreeMap::from([("background".to_owned(), background.to_owned())])
    }
}

/// Most missing files that an error names.
const MOST_NAMED: usize = 3;

/// Reads a manifest of pictures under `folder`.
///
/// # Errors
/// It cannot be read, has no `file` or `label`, or names pictures that are not under the folder.
pub(crate) fn read(manifest: &Path, folder: &Path) -> Result<Listed, AppError> {
    let wrong = |why: String| AppError::Usage(format!("{}: {why}", manifest.display()));
    let mut reader = csv::Reader::from_path(manifest).map_err(|why| wrong(why.to_string()))?;
    let (mut listed, mut missing) = (Listed::default(), Vec::new());
    for row in reader.deserialize::<HashMap<String, String>>() {
        let row = row.map_err(|why| wrong(why.to_string()))?;
        match entry(&row).map_err(|why| wrong(why.to_owned()))? {
            None => listed.left_out += 1,
            Some(entry) if folder.join(&entry.file).is_file() => listed.entries.push(entry),
            Some(entry) => missing.push(entry.file),
        }
    }
    if missing.is_empty() {
        return Ok(listed);
    }
    let named = missing.iter().take(MOST_NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = if missing.len() <= MOST_NAMED { "" } else { ", …" };
    let (count, folder) = (missing.len(), folder.display());
    Err(wrong(format!("{count} of its pictures are not under {folder}: {named}{more}")))
}

/// What a row says; `None` where it is about reading alone.
fn entry(row: &HashMap<String, String>) -> Result<Option<Entry>, &'static str> {
    let get = |column: &str| row.get(column).map_or("", String::as_str).trim().to_owned();
    let (file, label) = (get("file"), get("label"));
    if file.is_empty() || label.is_empty() {
        return Err("every row needs `file` and `label`");
    }
    let expected = expected(&get("expected_precheck"), &label);
    // a file with an anchor is there to break a decoder
    let Some(expected) = expected.filter(|_| get("anchor_pillow").is_empty()) else {
        return Ok(None);
    };
    let made_from = get("source_path");
    // a defect names the good picture it was made from; a good one is its own
    let base = if label == GOOD { file.clone() } else { made_from };
    Ok(Some(Entry {
        base,
        group: Some(get("group")).filter(|group| !group.is_empty()),
        level: get("level"),
        scene: get("scene"),
        source: get("source"),
        file,
        label,
        expected,
    }))
}

/// `None`: a row about reading alone, of a file that is no picture.
fn expected(word: &str, label: &str) -> Option<Expected> {
    Some(match word.split_once(':') {
        Some(("fail", "decode")) => Expected::Refused,
        Some(("fail", check)) => Expected::Caught(check.to_owned()),
        Some(("dup", _)) => Expected::Duplicate,
        Some(("reject", _)) => return None,
        _ if word == "accept" => return None,
        _ if label == "dup_original" => Expected::Duplicate,
        _ => Expected::Open,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_what_is_expected_and_what_the_scene_tells() {
        let dir = tempfile::tempdir().unwrap();
        for file in ["a.png", "b.png", "c.png", "d.png"] {
            std::fs::write(dir.path().join(file), b"x").unwrap();
        }
        let text = "file,label,level,scene,source,source_path,group,expected_precheck\n\
            a.png,good,,cutout_alpha,shop,x/y.png,,\"pass:blur,halo\"\n\
            b.png,halo_white,2px,cutout_alpha,shop,a.png,,fail:halo\n\
            c.png,dup_original,,on_white,shop,a.png,g0,any\n\
            d.png,broken,,,,,,reject:decode\n";
        let manifest = dir.path().join("manifest.csv");
        std::fs::write(&manifest, text).unwrap();
        let Listed { entries, left_out } = read(&manifest, dir.path()).unwrap();
        assert_eq!(left_out, 1);
        let files: Vec<_> = entries.iter().map(|entry| entry.file.as_str()).collect();
        assert_eq!(files, ["a.png", "b.png", "c.png"]);
        let [good, halo, original] = entries.as_slice() else { panic!("three rows") };
        assert!(good.is_good() && good.base == "a.png" && good.expected == Expected::Open);
        assert_eq!(good.vars()["background"], "transparent");
        assert_eq!((halo.defect().as_str(), halo.base.as_str()), ("halo_white 2px", "a.png"));
        assert!(halo.names(&CheckKind::EdgeHalo { max_ratio: 0.1 }));
        assert!(!halo.names(&CheckKind::Contrast { min_stddev: 4.0 }));
        assert_eq!(
            (&original.expected, original.group.as_deref()),
            (&Expected::Duplicate, Some("g0"))
        );
    }

    #[test]
    fn a_row_whose_file_is_missing_was_left_out_without_a_word() {
        let dir = tempfile::tempdir().unwrap();
        let manifest = dir.path().join("manifest.csv");
        std::fs::write(&manifest, "file,label\na,good\nb,good\nc,good\nd,halo\n").unwrap();
        let told = read(&manifest, dir.path()).unwrap_err().to_string();
        assert!(told.contains("4 of its pictures") && told.ends_with(": a, b, c, …"), "{told}");
        std::fs::write(dir.path().join("a"), b"x").unwrap();
        std::fs::write(&manifest, "file,label\na,good\nb,good\n").unwrap();
        let told = read(&manifest, dir.path()).unwrap_err().to_string();
        assert!(told.contains("1 of its pictures") && told.ends_with(": b"), "{told}");
    }

    #[test]
    fn a_manifest_without_files_is_told_so() {
        let dir = tempfile::tempdir().unwrap();
        let manifest = dir.path().join("manifest.csv");
        std::fs::write(&manifest, "name,label\na,good\n").unwrap();
        let told = read(&manifest, dir.path()).unwrap_err().to_string();
        assert!(told.ends_with("every row needs `file` and `label`"), "{told}");
        assert!(read(&dir.path().join("none.csv"), dir.path()).is_err());
    }
}
