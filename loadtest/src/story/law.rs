//! The law of a story: what each judge says of each image, so that every effect has a true size.

use std::collections::BTreeMap;

use crate::dialect::Dialect;
use crate::judging::Judging;
use crate::judging::expected_scores_of;
use crate::rig::calibration::Lines;
use crate::rig::calibration::PASS_AT;
use crate::rig::direct::CRITERIA;

/// A judge of the story.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cast {
    /// What policies call it.
    pub(crate) judge: &'static str,
    pub(crate) dialect: Dialect,
    /// What it adds to every score.
    pub(crate) bias: f64,
    /// Half of its answers are faster.
    pub(crate) median_ms: u64,
}

/// Who judges, in the policy's order. Held to one line the second rejects about three images in a
/// hundred more than the first, and the third about one.
pub(crate) const CAST: [Cast; 3] = [
    Cast { judge: "openai-mini", dialect: Dialect::OpenAi, bias: 0.0, median_ms: 180 },
    Cast { judge: "claude-haiku", dialect: Dialect::Anthropic, bias: -0.09, median_ms: 220 },
    Cast { judge: "gemini-flash", dialect: Dialect::Gemini, bias: -0.06, median_ms: 200 },
];

/// The judge that is asked first.
pub(crate) const PRIMARY: &str = "openai-mini";
/// The one that stands in.
pub(crate) const SECONDARY: &str = "claude-haiku";

/// The one that is left when neither answers.
pub(crate) const LAST_JUDGE: &str = "gemini-flash";

/// The share of images that a judge without bias finds fault with.
const REJECT_SHARE: f64 = 0.08;
/// How differently they see.
const NOISE: f64 = 0.15;
/// A bias at which a judge rejects five images in a hundred more.
pub(crate) const FIVE_POINTS: f64 = -0.105;
/// What blur adds to the share of images that every judge finds fault with.
const BLUR_SHARE: f64 = 0.06;

/// Images without pixels on which shares are counted: a share is right to a tenth of a point, and what
/// one judge rejects more than another to less.
const COUNTED: u32 = 60_000;

/// What every judge says.
#[derive(Clone, Debug)]
pub(crate) struct Law {
    judging: BTreeMap<&'static str, Judging>,
    /// Where pass begins for each judge.
    lines: Lines,
}

/// What one judge says of one image.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Opinion {
    /// Criterion, score, and where pass begins, in the policy's order.
    pub(crate) scores: Vec<(String, f64, f64)>,
}

impl Law {
    /// As the story begins: all judges hold one line.
    pub(crate) fn usual() -> Self {
        let judging = CAST.into_iter().map(|cast| (cast.judge, judging(&cast, cast.bias, 0.0)));
        let line = || CRITERIA.iter().map(|one| ((*one).to_owned(), PASS_AT)).collect();
        let lines = CAST.into_iter().map(|cast| (cast.judge.to_owned(), line()));
        Self { judging: judging.collect(), lines: lines.collect() }
    }

    /// The same with one judge stricter than it was.
    pub(crate) fn stricter(&self, judge: &str, bias: f64) -> Self {
        let mut law = self.clone();
        for cast in CAST.into_iter().filter(|cast| cast.judge == judge) {
            law.judging.insert(cast.judge, judging(&cast, cast.bias + bias, 0.0));
        }
        law
    }

    /// The same for blurred images, in which every judge finds more to fault.
    pub(crate) fn of_blurred(&self) -> Self {
        let judging =
            CAST.into_iter().map(|cast| (cast.judge, judging(&cast, cast.bias, BLUR_SHARE)));
        Self { judging: judging.collect(), lines: self.lines.clone() }
    }

    /// The same with each judge held to its own lines.
    pub(crate) fn held_to(&self, lines: Lines) -> Self {
        let mut law = self.clone();
        for (judge, own) in lines {
            law.lines.entry(judge).or_default().extend(own);
        }
        law
    }

    /// Where pass begins for each judge.
    pub(crate) fn lines(&self) -> &Lines {
        &self.lines
    }

    /// How this judge makes its scores.
    pub(crate) fn judging(&self, judge: &str) -> Judging {
        self.judging.get(judge).cloned().unwrap_or_default()
    }

    /// What a judge says of the image whose file has this hash.
    pub(crate) fn opinion(&self, judge: &str, image: &blake3::Hash) -> Opinion {
        let said = expected_scores_of(image, &CRITERIA, &self.judging(judge));
        let lines = self.lines.get(judge);
        let score = |criterion: &&str| {
            let line = lines.and_then(|lines| lines.get(*criterion)).copied().unwrap_or(PASS_AT);
            let score = said.get(*criterion).copied().unwrap_or_default();
            ((*criterion).to_owned(), score, line)
        };
        Opinion { scores: CRITERIA.iter().map(score).collect() }
    }

    /// The share of images that each judge rejects: of many without pixels, for no image is like
    /// another and opinions hang on nothing else.
    pub(crate) fn reject_shares(&self) -> BTreeMap<String, f64> {
        let mut rejects: BTreeMap<String, u32> = BTreeMap::new();
        for n in 0..COUNTED {
            let image = blake3::hash(&n.to_le_bytes());
            for cast in CAST {
                let count = rejects.entry(cast.judge.to_owned()).or_default();
                *count += u32::from(self.opinion(cast.judge, &image).is_reject());
            }
        }
        let share = |count| f64::from(count) / f64::from(COUNTED);
        rejects.into_iter().map(|(judge, count)| (judge, share(count))).collect()
    }
}

impl Opinion {
    /// The criteria that are under their lines.
    pub(crate) fn failed(&self) -> Vec<&str> {
        let failed = self.scores.iter().filter(|(_, score, line)| score < line);
        failed.map(|(criterion, _, _)| criterion.as_str()).collect()
    }

    /// Whether the image would not pass.
    pub(crate) fn is_reject(&self) -> bool {
        !self.failed().is_empty()
    }
}

fn judging(cast: &Cast, bias: f64, more: f64) -> Judging {
    let (judge, reject_share) = (cast.judge.to_owned(), REJECT_SHARE + more);
    Judging::Latent { judge, reject_share, noise: NOISE, bias, line: PASS_AT }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The share of images that a judge rejects.
    fn share(law: &Law, judge: &str) -> f64 {
        let is_reject = |n: &u32| law.opinion(judge, &blake3::hash(&n.to_le_bytes())).is_reject();
        let count = u32::try_from((0..20_000).filter(is_reject).count()).unwrap();
        f64::from(count) / 20_000.0
    }

    fn points(one: f64, other: f64) -> f64 {
        (one - other) * 100.0
    }

    #[test]
    fn the_secondary_rejects_three_points_more_and_a_stricter_primary_five() {
        let usual = Law::usual();
        let primary = share(&usual, PRIMARY);
        assert!((7.3..8.7).contains(&points(primary, 0.0)), "{primary}");
        let shift = points(share(&usual, SECONDARY), primary);
        assert!((2.5..4.0).contains(&shift), "{shift}");
        let strict = usual.stricter(PRIMARY, FIVE_POINTS);
        let shift = points(share(&strict, PRIMARY), primary);
        assert!((4.3..5.7).contains(&shift), "{shift}");
        assert!((share(&strict, SECONDARY) - share(&usual, SECONDARY)).abs() < 1e-12);
    }

    #[test]
    fn blur_moves_every_judge_the_same_way() {
        let (usual, blurred) = (Law::usual(), Law::usual().of_blurred());
        for cast in CAST {
            let shift = points(share(&blurred, cast.judge), share(&usual, cast.judge));
            assert!((4.0..8.0).contains(&shift), "{}: {shift}", cast.judge);
        }
    }

    #[test]
    fn a_line_of_its_own_undoes_a_bias() {
        let own = CRITERIA.iter().map(|one| ((*one).to_owned(), PASS_AT - 0.09)).collect();
        let lines = Lines::from([(SECONDARY.to_owned(), own)]);
        let held = Law::usual().held_to(lines);
        let shift = points(share(&held, SECONDARY), share(&held, PRIMARY));
        assert!(shift.abs() < 0.7, "{shift}");
    }
}
