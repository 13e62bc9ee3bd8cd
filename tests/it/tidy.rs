//! The house rules that a machine can check: import order, where foreign types stop, file sizes,
//! and documents that must agree with the code.

use std::fs;
use std::path::{Path, PathBuf};

/// Our modules from the bottom up. A module may import only those on earlier lines.
const ORDER: &[&str] = &[
    "domain",
    "drift",
    "clock",
    "telemetry",
    "prompt",
    "imaging",
    "panel",
    "provider",
    "ledger",
    "gate",
    "rehearse",
    "drill",
    "http",
    "config",
    "app",
    "cli",
    "main",
];

/// Crates that only these modules may name.
const FENCES: &[(&str, &[&str])] = &[
    ("axum", &["http", "app"]),
    ("reqwest", &["provider"]),
    ("sqlx", &["ledger"]),
    ("image", &["imaging"]),
    ("png", &["imaging"]),
    ("zune_jpeg", &["imaging"]),
    ("turbojpeg", &["imaging"]),
    ("webp", &["imaging"]),
    ("fast_image_resize", &["imaging"]),
    ("moxcms", &["imaging"]),
    ("minijinja", &["prompt"]),
    ("saphyr", &["config"]),
    ("notify", &["config"]),
    ("clap", &["cli"]),
    ("metrics", &["telemetry"]),
];

/// What the domain and the statistics may not know.
const NOT_IN_DOMAIN: &[&str] =
    &["tokio", "axum", "reqwest", "sqlx", "tracing", "metrics", "image", "std::time::Instant"];

/// Longest file that needs no argument in its first paragraph.
const MAX_LINES: usize = 500;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(below: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![below.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The top-level module that a file of `src` belongs to.
fn module_of(path: &Path) -> String {
    let inside = path.strip_prefix(root().join("src")).unwrap();
    let first = inside.iter().next().unwrap().to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

fn sources() -> Vec<(String, PathBuf, String)> {
    let files = rust_files(&root().join("src"));
    let read = |path: PathBuf| (module_of(&path), path.clone(), fs::read_to_string(path).unwrap());
    files.into_iter().map(read).filter(|(module, ..)| module != "lib").collect()
}

/// The program text of a file: without comments, and without its tests, which may look anywhere.
fn code(source: &str) -> String {
    let before_tests = source.split("\n#[cfg(test)]\nmod tests").next().unwrap_or(source);
    let lines = before_tests.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

fn names(source: &str, path: &str) -> bool {
    let after = |at: usize| source.get(at + path.len()..).and_then(|rest| rest.chars().next());
    let before = |at: usize| source.get(..at).and_then(|rest| rest.chars().next_back());
    let is_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':');
    source.match_indices(path).any(|(at, _)| {
        !is_word(before(at)) && !after(at).is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}

#[test]
fn modules_import_only_downwards() {
    for (module, path, source) in sources() {
        let line = ORDER.iter().position(|one| *one == module);
        let line = line.unwrap_or_else(|| panic!("{module} has no place in the import order"));
        let shown = path.display();
        assert!(!source.contains("crate::{"), "{shown}: one `use crate::x` a line");
        for above in &ORDER[line + 1..] {
            let import = format!("crate::{above}");
            assert!(!names(&code(&source), &import), "{shown} must not import {above}");
        }
    }
}

#[test]
fn foreign_types_stop_at_their_module() {
    for (module, path, source) in sources() {
        for (foreign, homes) in FENCES {
            let at_home = homes.contains(&module.as_str());
            let used = names(&code(&source), &format!("{foreign}::"))
                || code(&source).contains(&format!("use {foreign}::"));
            assert!(at_home || !used, "{}: {foreign} stops at {homes:?}", path.display());
        }
    }
}

#[test]
fn the_domain_never_waits() {
    let pure = |module: &str| module == "domain" || module == "drift";
    for (_, path, source) in sources().into_iter().filter(|(module, ..)| pure(module)) {
        for foreign in NOT_IN_DOMAIN {
            let used = names(&code(&source), &format!("{foreign}::"));
            assert!(!used, "{}: the domain must not know {foreign}", path.display());
        }
        assert!(!code(&source).contains("async "), "{}: the domain is not async", path.display());
    }
}

#[test]
fn files_are_short_or_argue_for_their_length() {
    let mut folders = vec![root().join("src"), root().join("loadtest"), root().join("tests")];
    folders.retain(|folder| folder.exists());
    for path in folders.iter().flat_map(|folder| rust_files(folder)) {
        let source = fs::read_to_string(&path).unwrap();
        let lines = source.lines().count();
        let argued = source.split("\n\n").next().unwrap_or("").contains("long because");
        assert!(lines <= MAX_LINES || argued, "{}: {lines} lines", path.display());
        assert!(!path.ends_with("mod.rs"), "{}: `x.rs` and `x/`, never `mod.rs`", path.display());
    }
}

#[test]
fn every_module_says_first_what_it_is() {
    for (_, path, source) in
        sources().into_iter().filter(|(_, path, _)| !path.ends_with("tests.rs"))
    {
        let opens = source.starts_with("//! ");
        assert!(opens, "{}: the first line says what the noun is", path.display());
    }
}

#[test]
fn only_config_reads_the_environment() {
    for (module, path, source) in sources() {
        let reads = code(&source).contains("env::var");
        assert!(module == "config" || !reads, "{}: reads the environment", path.display());
    }
}

#[test]
fn the_readme_names_every_metric() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    for (name, _) in vlmgate::telemetry::METRICS {
        assert!(readme.contains(&format!("`{name}`")), "README.md does not name {name}");
    }
}

#[test]
fn the_text_speaks_of_the_product_alone() {
    let mut files = rust_files(&root().join("src"));
    files.extend(rust_files(&root().join("loadtest")));
    files.extend(rust_files(&root().join("tests")));
    files.push(root().join("README.md"));
    // wherever this copy of the project lies, its text must not say so
    let home = root().display().to_string();
    for path in files.into_iter().filter(|path| !path.ends_with("tidy.rs")) {
        let source = fs::read_to_string(&path).unwrap();
        for place in [home.as_str(), "/home/", "/Users/"] {
            assert!(!source.contains(place), "{}: names a machine's path", path.display());
        }
    }
}
