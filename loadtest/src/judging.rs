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
    /// By a quality that the image has, as this judge sees it.
    ///
    /// Every image has one quality, the same for all judges, and a criterion that it is worst on. A
    /// judge sees it through noise of its own, and adds its bias to every score. Without a bias
    /// exactly `reject_share` of the images score under `line` on their worst criterion, whatever the
    /// noise; the noise says how often two judges take different ones. A bias of -0.09 rejects about
    /// three in a hundred more: scores are continuous around the line, so adding the bias to the line
    /// undoes it.
    Latent {
        /// Whose noise it is: two judges of one name agree.
        judge: String,
        /// The share of images under the line.
        #[serde(default = "default_reject_share")]
        reject_share: f64,
        /// The noise's standard deviation, in those of the quality.
        #[serde(default)]
        noise: f64,
        /// Added to every score, which then stays within 0..1.
        #[serde(default)]
        bias: f64,
        /// The score that the share is counted at.
        #[serde(default = "default_line")]
        line: f64,
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

impl Judging {
    /// A judge of this name that sees quality through the usual noise.
    #[must_use]
    pub fn latent(judge: &str, reject_share: f64, bias: f64) -> Self {
        let (judge, line) = (judge.to_owned(), default_line());
        Self::Latent { judge, reject_share, noise: USUAL_NOISE, bias, line }
    }
}

/// Two judges with this noise differ on about one image in twenty-five.
const USUAL_NOISE: f64 = 0.25;

const fn default_reject_share() -> f64 {
    0.08
}

const fn default_line() -> f64 {
    0.7
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
    expected_scores_of(&blake3::hash(image), criteria, judging)
}

/// As [`expected_scores`] for an image that is known by its digest, `b3:` and 64 hexadecimal digits as
/// in the log; none when that is no digest.
#[must_use]
pub fn expected_scores_by_digest(
    digest: &str,
    criteria: &[&str],
    judging: &Judging,
) -> Option<BTreeMap<String, f64>> {
    let digits = digest.strip_prefix("b3:").unwrap_or(digest);
    let image = blake3::Hash::from_hex(digits).ok()?;
    Some(expected_scores_of(&image, criteria, judging))
}

/// The same for an image that was hashed before.
pub(crate) fn expected_scores_of(
    image: &blake3::Hash,
    criteria: &[&str],
    judging: &Judging,
) -> BTreeMap<String, f64> {
    let chance = Chance::of_digests(&[&blake3::hash(b"judging"), image]);
    let blamed = blamed_criterion(&chance, criteria);
    let score_of = |criterion: &str| match judging {
        Judging::ByImage { reject_share, bias } => {
            let is_bad = chance.unit("reject") < *reject_share && blamed == Some(criterion);
            let (low, width) = if is_bad { (0.05, 0.40) } else { (0.85, 0.14) };
            let unbiased = low + width * chance.unit(&format!("score {criterion}"));
            rounded((unbiased + bias).clamp(0.0, 1.0))
        }
        Judging::Latent { judge, reject_share, noise, bias, line } => {
            let unbiased = if blamed == Some(criterion) {
                let seen = seen_quality(&chance, judge, *noise);
                score_of_rank(normal_share_below(seen), *reject_share, *line)
            } else {
                let room = BEST - (line + CLEARLY_OVER);
                line + CLEARLY_OVER + room * chance.unit(&format!("score {criterion}"))
            };
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

/// The quality of an image as a judge sees it: standard normal, whatever the noise.
fn seen_quality(image: &Chance, judge: &str, noise: f64) -> f64 {
    let own = image.normal(&format!("noise of {judge}"));
    (image.normal("quality") + noise * own) / (1.0 + noise * noise).sqrt()
}

/// The best score that is given.
const BEST: f64 = 0.99;

/// How far over the line a score is on a criterion that the image is not worst on: further than a bias
/// reaches.
const CLEARLY_OVER: f64 = 0.18;

/// How fast scores leave the line upwards: at 0.35 one image in thirty is within 0.09 of it.
const RISE: f64 = 0.35;

/// The score of an image that is better than this share of all. Under the line below `reject_share`,
/// over it above, without a jump.
fn score_of_rank(rank: f64, reject_share: f64, line: f64) -> f64 {
    if rank < reject_share {
        return WORST + (line - WORST) * (rank / reject_share);
    }
    let over = (rank - reject_share) / (1.0 - reject_share).max(f64::EPSILON);
    line + (BEST - line) * over.clamp(0.0, 1.0).powf(RISE)
}

/// The worst score that is given.
const WORST: f64 = 0.05;

/// The share of a standard normal distribution below `x` (Abramowitz and Stegun 26.2.17, good to
/// seven places).
fn normal_share_below(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * x.abs());
    let series = [0.319_381_530, -0.356_563_782, 1.781_477_937, -1.821_255_978, 1.330_274_429];
    let sum = series.iter().rev().fold(0.0, |sum, factor| (sum + factor) * t);
    let above = (-x * x / 2.0).exp() / std::f64::consts::TAU.sqrt() * sum;
    if x < 0.0 { above } else { 1.0 - above }
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

    fn latent(judge: &str, noise: f64, bias: f64) -> Judging {
        let (judge, reject_share, line) = (judge.to_owned(), 0.08, 0.7);
        Judging::Latent { judge, reject_share, noise, bias, line }
    }

    /// Which of these images a judge rejects at a line.
    fn verdicts(judging: &Judging, line: f64) -> Vec<bool> {
        let is_rejected = |n: u32| {
            let scores = expected_scores(&n.to_le_bytes(), &CRITERIA, judging);
            scores.values().any(|&score| score < line)
        };
        (0..10_000).map(is_rejected).collect()
    }

    fn count(verdicts: impl IntoIterator<Item = bool>) -> usize {
        verdicts.into_iter().filter(|is_so| *is_so).count()
    }

    #[test]
    fn a_bias_rejects_three_points_more_and_a_moved_line_undoes_it() {
        let fair = verdicts(&latent("a", 0.3, 0.0), 0.7);
        let strict = verdicts(&latent("b", 0.3, -0.09), 0.7);
        let mended = verdicts(&latent("b", 0.3, -0.09), 0.7 - 0.09);
        let rejects = count(fair.iter().copied());
        assert!((730..870).contains(&rejects), "{rejects} of 10000");
        let shift = count(strict.iter().copied()) - rejects;
        assert!((230..400).contains(&shift), "{shift} of 10000 more");
        assert!(count(mended.iter().copied()).abs_diff(rejects) < 50, "as before");
        let differ = |left: &[bool], right: &[bool]| {
            count(left.iter().zip(right).map(|(left, right)| left != right))
        };
        assert!((150..500).contains(&differ(&fair, &mended)), "the noise is their own");
    }

    #[test]
    fn judges_without_noise_agree_on_every_image() {
        let one = verdicts(&latent("a", 0.0, 0.0), 0.7);
        assert_eq!(one, verdicts(&latent("b", 0.0, 0.0), 0.7));
        assert_ne!(one, verdicts(&latent("b", 0.5, 0.0), 0.7));
        let shares = [(-1.96, 0.025), (0.0, 0.5), (1.0, 0.841_345)];
        for (x, expected) in shares {
            assert!((normal_share_below(x) - expected).abs() < 1e-4, "{x}");
        }
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
