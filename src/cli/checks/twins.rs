//! Twins are pictures whose fingerprints lie near each other. A fingerprint is worth something where
//! the duplicates of one picture lie nearer together than any two different pictures do.

use crate::cli::checks::manifest::{Entry, Expected};
use crate::domain::policy::Fingerprint;

/// Two files and the bits in which their fingerprints differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    /// The bits.
    pub(crate) distance: u32,
    /// One file.
    pub(crate) one: String,
    /// The other.
    pub(crate) other: String,
}

/// How well fingerprints tell duplicates from other pictures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Separation {
    /// Pairs within groups of duplicates, the farthest first.
    pub(crate) same: Vec<Pair>,
    /// Pairs of pictures made from different ones, the nearest first.
    pub(crate) different: Vec<Pair>,
}

impl Separation {
    /// Of the good pictures and the groups of duplicates among `prints`.
    #[must_use]
    pub(crate) fn of(prints: &[(&Entry, Fingerprint)]) -> Self {
        let grouped = |entry: &Entry| match entry.expected {
            Expected::Duplicate => entry.group.clone(),
            Expected::Caught(_) | Expected::Refused | Expected::Open => None,
        };
        let counts = |(entry, _): &&(&Entry, Fingerprint)| {
            entry.is_good() || entry.expected == Expected::Duplicate
        };
        let prints: Vec<_> = prints.iter().filter(counts).collect();
        let mut separation = Self::default();
        for (number, (one, print)) in prints.iter().enumerate() {
            for (other, next) in prints.iter().skip(number + 1) {
                let pair = || Pair {
                    distance: (print.0 ^ next.0).count_ones(),
                    one: one.file.clone(),
                    other: other.file.clone(),
                };
                let group = grouped(one);
                if group.is_some() && group == grouped(other) {
                    separation.same.push(pair());
                } else if one.base != other.base {
                    separation.different.push(pair());
                }
            }
        }
        separation.same.sort_by_key(|pair| std::cmp::Reverse(pair.distance));
        separation.different.sort_by_key(|pair| pair.distance);
        separation
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicates_are_held_against_pictures_made_from_others() {
        let entry = |file: &str, base: &str, group: Option<&str>| Entry {
            file: file.to_owned(),
            label: if group.is_some() { "dup" } else { "good" }.to_owned(),
            level: String::new(),
            scene: String::new(),
            source: String::new(),
            base: base.to_owned(),
            group: group.map(str::to_owned),
            expected: if group.is_some() { Expected::Duplicate } else { Expected::Open },
        };
        let entries = [
            entry("a", "a", None),
            entry("a1", "a", Some("g")),
            entry("a2", "a", Some("g")),
            entry("b", "b", None),
        ];
        let bits = [0_u64, 0b1, 0b11, 0b1111];
        let prints: Vec<_> =
            entries.iter().zip(bits).map(|(entry, bits)| (entry, Fingerprint(bits))).collect();
        let separation = Separation::of(&prints);
        let same: Vec<_> = separation.same.iter().map(|pair| pair.distance).collect();
        let different: Vec<_> = separation.different.iter().map(|pair| pair.distance).collect();
        // the copies and their own good picture are neither
        assert_eq!((same, different), (vec![1], vec![2, 3, 4]));
    }
}
