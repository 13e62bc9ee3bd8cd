//! The script of a report: the page's own modules as one classic script, because a file that is
//! opened from a disk may fetch no module.
//!
//! Each module becomes a function that is run once, behind those it imports. The page's modules keep to
//! three forms, which is all that is read here: `import { … } from '…'`, `import * as … from '…'`
//! and `export` before a `const`, a `function` or a `class`, each at the beginning of a line.

use std::collections::BTreeMap;

use crate::http::page::text_of;

/// The module that draws the report, by the name that no other has.
const ENTRY: &str = "report.js";
const ENTRY_TEXT: &str = include_str!("page.js");

/// Modules deep at most: more is a ring.
const MOST_DEEP: usize = 32;

/// The script, or what is wrong with the modules: a fault of this program.
pub(super) fn script() -> Result<String, String> {
    let mut bundle = Bundle { placed: BTreeMap::new(), text: String::new() };
    bundle.place(ENTRY, 0)?;
    Ok(format!("'use strict';\nconst modules = {{}};\n{}", bundle.text))
}

struct Bundle {
    /// The number of each module that is placed already.
    placed: BTreeMap<String, usize>,
    text: String,
}

impl Bundle {
    /// Places `module` behind all that it imports, and says its number.
    fn place(&mut self, module: &str, depth: usize) -> Result<usize, String> {
        if let Some(number) = self.placed.get(module) {
            return Ok(*number);
        }
        if MOST_DEEP < depth {
            return Err(format!("{module} imports in a ring"));
        }
        let source = if module == ENTRY { Some(ENTRY_TEXT) } else { text_of(module) };
        let source = source.ok_or_else(|| format!("the page has no module {module}"))?;
        let (mut body, mut exports) = (String::new(), Vec::new());
        let mut lines = source.lines();
        while let Some(line) = lines.next() {
            if line.starts_with("//") {
                continue;
            }
            if line.starts_with("import ") {
                let mut whole = line.to_owned();
                while !whole.ends_with(';') {
                    let more = lines.next().ok_or_else(|| format!("{module}: half an import"))?;
                    whole.push_str(more);
                }
                let (taken, from) = import(&whole).ok_or_else(|| format!("{module}: {whole}"))?;
                let number = self.place(from, depth + 1)?;
                body.push_str(&format!("const {taken} = modules[{number}];\n"));
                continue;
            }
            let declared = line.strip_prefix("export ");
            if let Some(declared) = declared {
                exports.push(name(declared).ok_or_else(|| format!("{module}: {line}"))?.to_owned());
            }
            body.push_str(declared.unwrap_or(line));
            body.push('\n');
        }
        let number = self.placed.len();
        self.placed.insert(module.to_owned(), number);
        let exports = exports.join(", ");
        self.text.push_str(&format!(
            "modules[{number}] = (() => {{\n{body}return {{ {exports} }};\n}})();\n"
        ));
        Ok(number)
    }
}

/// What an import takes, and from which file of the page.
fn import(line: &str) -> Option<(&str, &str)> {
    let (taken, from) = line.strip_prefix("import ")?.rsplit_once(" from '/ui/")?;
    let from = from.strip_suffix("';")?;
    let taken = taken.strip_prefix("* as ").unwrap_or(taken);
    // a renamed import reads otherwise when it is taken out of an object
    (!taken.contains(" as ")).then_some((taken, from))
}

/// The name that a declaration gives.
fn name(declared: &str) -> Option<&str> {
    let kinds = ["const ", "function ", "async function ", "class "];
    let rest = kinds.iter().find_map(|kind| declared.strip_prefix(kind))?;
    rest.split(|one: char| !one.is_ascii_alphanumeric() && one != '_').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_modules_of_a_report_become_one_script_without_a_module_left_in_it() {
        let script = script().unwrap();
        for line in script.lines() {
            let is_left = line.starts_with("import ") || line.starts_with("export ");
            assert!(!is_left, "{line}");
        }
        assert!(!script.contains("</script"), "it would end its own element");
        assert!(!script.contains("fetch("), "a report asks nobody");
    }

    #[test]
    fn what_is_imported_and_exported_is_read() {
        assert_eq!(import("import * as s from '/ui/a.js';"), Some(("s", "a.js")));
        assert_eq!(import("import {  a,  b,} from '/ui/b/c.js';"), Some(("{  a,  b,}", "b/c.js")));
        assert_eq!(import("import { a as b } from '/ui/a.js';"), None);
        assert_eq!(import("import a from 'elsewhere';"), None);
        assert_eq!(name("const linear = (a) => a;"), Some("linear"));
        assert_eq!(name("async function send(path) {"), Some("send"));
        assert_eq!(name("default html"), None);
    }

    #[test]
    fn a_ring_of_modules_ends() {
        let mut bundle = Bundle { placed: BTreeMap::new(), text: String::new() };
        assert!(bundle.place(ENTRY, MOST_DEEP + 1).unwrap_err().contains("ring"));
        assert!(bundle.place("nothing.js", 0).unwrap_err().contains("no module"));
    }
}
