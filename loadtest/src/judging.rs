//! Judging is what a simulated model says of an image: scores that follow from the image bytes alone.
//!
//! Because nothing else enters, every provider agrees on an unbiased score, a test can compute what a
//! judge must have said, and a report can compare judges on the images that only one of them saw.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;

use crate::chance::Chance;

/// How scores are made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Judging {
    /// By the hash of the image: mostly flawless, some images bad on one criterion.
    ///
    /// A flawless score is uniform on 0.85..0.99 and a bad one on 0.05..0.45, before the bias. A bias
    /// `b` therefore puts `(pass_at - b - 0.85) / 0.14` (clamped to 0..1) of the flawless scores under
    /// a `pass_at`, which is the share on which this judge disagrees with an unbiased one.
    ByImage {
        /// The share of images that score low on one criterion.
        #[serde(default = "default_reject_share")]
        reject_share: f64,
        /// Added to every score, which then stays within 0..1.
        #[serde(default)]
        bias: f64,
    },
    /// These scores, whatever the image; a criterion that is not named gets 0.95.
    Fixed {
        /// The score of each criterion.
        scores: BTreeMap<String, f64>,
    },
    /// This score for every criterion.
    Always(f64),
}

impl Default for Judging {
    fn default() -> Self {
        Self::ByImage { reject_share: default_reject_share(), bias: 0.0 }
    }
}

const fn default_reject_share() -> f64 {
    0.08
}

/// What [`Judging::Fixed`] says of a criterion that it does not name.
const FLAWLESS: f64 = 0.95;

/// What a provider that judges so says of this image: the score of each criterion.
///
/// `image` is the bytes of the first image of the request, as sent; `criteria` are the names of the
/// numbers in the answer schema, in any order.
#[must_use]
pub fn expected_scores(
    image: &[u8],
    criteria: &[&str],
    judging: &Judging,
) -> BTreeMap<String, f64> {
    let chance = Chance::of(&[b"judging", image]);
    let blamed = blamed_criterion(&chance, criteria);
    let score_of = |criterion: &str| match judging {
        Judging::ByImage { reject_share, bias } => {
            let is_bad = chance.unit("reject") < *reject_share && blamed == Some(criterion);
            let (low, width) = if is_bad { (0.05, 0.40) } else { (0.85, 0.14) };
            let unbiased = low + width * chance.unit(&format!("score {criterion}"));
            rounded((unbiased + bias).clamp(0.0, 1.0))
        }
        Judging::Fixed { scores } => scores.get(criterion).copied().unwrap_or(FLAWLESS),
        Judging::Always(score) => *score,
    };
    criteria.iter().map(|&criterion| (criterion.to_owned(), score_of(criterion))).collect()
}

/// The criterion that a bad image is bad on: the one with the highest draw, so order does not matter.
fn blamed_criterion<'a>(chance: &Chance, criteria: &[&'a str]) -> Option<&'a str> {
    criteria.iter().copied().max_by_key(|criterion| chance.word(&format!("blame {criterion}")))
}

/// Three decimals, as a model would write it.
fn rounded(score: f64) -> f64 {
    (score * 1_000.0).round() / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const CRITERIA: [&str; 3] = ["cutout", "edge_artifacts", "contact_shadow"];

    fn one(criterion: &str, score: f64) -> BTreeMap<String, f64> {
        BTreeMap::from([(criterion.to_owned(), score)])
    }

    fn rejected(judging: &Judging) -> usize {
        let is_rejected = |n: &u32| {
            let scores = expected_scores(&n.to_le_bytes(), &CRITERIA, judging);
            scores.values().any(|&score| score < 0.7)
        };
        (0..3_000).filter(is_rejected).count()
    }

    #[test]
    fn the_reject_share_of_images_is_bad_on_exactly_one_criterion() {
        let rejects = rejected(&Judging::default());
        assert!((195..285).contains(&rejects), "{rejects} of 3000");
        for n in 0_u32..500 {
            let scores = expected_scores(&n.to_le_bytes(), &CRITERIA, &Judging::default());
            let low = scores.values().filter(|&&score| score < 0.7).count();
            assert!(low <= 1, "{scores:?}");
            assert!(
                scores.values().all(|&s| (0.05..=0.45).contains(&s) || (0.85..=0.99).contains(&s))
            );
        }
    }

    #[test]
    fn the_order_of_the_criteria_changes_nothing() {
        let backwards: Vec<&str> = CRITERIA.iter().rev().copied().collect();
        for n in 0_u32..200 {
            let image = n.to_le_bytes();
            let judging = Judging::ByImage { reject_share: 0.5, bias: 0.0 };
            assert_eq!(
                expected_scores(&image, &CRITERIA, &judging),
                expected_scores(&image, &backwards, &judging)
            );
        }
    }

    #[test]
    fn a_bias_moves_the_documented_share_under_the_line() {
        let judging = Judging::ByImage { reject_share: 0.0, bias: -0.2 };
        let under = (0_u32..3_000)
            .filter(|n| expected_scores(&n.to_le_bytes(), &["cutout"], &judging)["cutout"] < 0.7)
            .count();
        // (0.7 + 0.2 - 0.85) / 0.14 = 36 %
        assert!((990..1_150).contains(&under), "{under} of 3000");
        let clamped = Judging::ByImage { reject_share: 0.0, bias: 5.0 };
        assert_eq!(expected_scores(b"image", &["cutout"], &clamped), one("cutout", 1.0));
    }

    #[test]
    fn fixed_and_constant_scores_ignore_the_image() {
        let fixed: Judging =
            serde_json::from_str(r#"{"fixed":{"scores":{"cutout":0.4}}}"#).unwrap();
        let scores = expected_scores(b"any", &["cutout", "halo"], &fixed);
        assert_eq!((scores["cutout"], scores["halo"]), (0.4, 0.95));
        let always: Judging = serde_json::from_str(r#"{"always":0.5}"#).unwrap();
        assert_eq!(expected_scores(b"any", &["cutout"], &always), one("cutout", 0.5));
    }
}
