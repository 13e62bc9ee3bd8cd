//! A judgement is what one judge said: a score and a reason for every criterion it was asked.

/// What a judge said about one criterion.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// The criterion's id in the policy.
    pub criterion: String,
    /// 0 (certain defect) to 1 (flawless). `None` only from the `local` judge, for a criterion that
    /// its measurements cannot tell: a provider's answer without a score is not a judgement.
    pub score: Option<f64>,
    /// The judge's words, cut to the policy's `answer.reason_chars`.
    pub reason: Option<String>,
}

/// What one judge said about one image, in the order the criteria were asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judgement {
    /// One entry for every criterion asked; at least one has a score.
    pub scores: Vec<Score>,
}

impl Judgement {
    /// The entry for `criterion`.
    #[must_use]
    pub fn score(&self, criterion: &str) -> Option<&Score> {
        self.scores.iter().find(|one| one.criterion == criterion)
    }
}
