//! What `vlmgate calibrate` says to paste into the policy, and what it does to the judges' lines.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::rig::calibration::Lines;
use crate::rig::calibration::PASS_AT;
use crate::rig::direct::CRITERIA;

/// What is to be pasted.
pub(super) struct Pasted {
    /// The lines below `route:`.
    pub(super) below_route: String,
    /// What is added to each judge's margins.
    pub(super) add: BTreeMap<String, f64>,
}

impl Pasted {
    pub(super) fn read(said: &str) -> Option<Self> {
        let said: Value = serde_json::from_str(said).ok()?;
        let paste = said.get("paste")?.as_str()?;
        let (_, below) = paste.split_once("route:\n")?;
        let added = |line: &str| {
            let (judge, rest) = line.trim().split_once(": { add: ")?;
            let add = rest.split([',', ' ', '}']).next()?.parse().ok()?;
            Some((judge.to_owned(), add))
        };
        let add: BTreeMap<String, f64> = below.lines().filter_map(added).collect();
        (!add.is_empty()).then(|| Self { below_route: below.to_owned(), add })
    }

    /// Where pass begins then: a margin that is larger is a line that is lower.
    pub(super) fn lines(&self) -> Lines {
        let own = |(judge, add): (&String, &f64)| {
            let lines = CRITERIA.iter().map(|one| ((*one).to_owned(), PASS_AT - add));
            (judge.clone(), lines.collect())
        };
        self.add.iter().map(own).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_calibrate_says_to_paste_is_read_and_lowers_the_line() {
        let paste = "route:\n  offset_by_judge:\n    claude-haiku: { add: 0.08, at_line: 0.37 } \
                     # of data b3:1\n    gemini-flash: { add: 0.05 }\n";
        let said = serde_json::json!({ "paste": paste }).to_string();
        let pasted = Pasted::read(&said).unwrap();
        assert!(pasted.below_route.starts_with("  offset_by_judge:\n    claude-haiku: {"));
        assert_eq!(pasted.add.len(), 2);
        let line = pasted.lines()["claude-haiku"]["cutout"];
        assert!((line - 0.62).abs() < 1e-9, "{line}");
        assert!(Pasted::read("{\"paste\":null}").is_none());
    }
}
