//! The `local` judge scores by measurements: it needs no network, costs nothing and answers at
//! once, so it can stand in where every judge that looks is down or late.
//!
//! It is a ruler, not an eye, and never runs against one. It says the number it measured, and of a
//! criterion that no measurement speaks to it says that it cannot tell. Where that is all it has to
//! say, its answer is empty: no content was refused.

use std::future;

use futures_util::future::BoxFuture;

use crate::clock::Deadline;
use crate::domain::policy::Measure;
use crate::domain::{AttemptOutcome, JudgeId, Judgement, MicroUsd, Score};
use crate::imaging::Measurements;
use crate::panel::{Answered, Asked, AttemptError, Expectation, Judge, Question};

/// The judge that needs no provider and may stand on every route: measurements alone.
pub const LOCAL_JUDGE: &str = "local";

/// What stands in `Score::reason` where nothing was measured.
pub const CANNOT_TELL: &str = "local cannot tell";

/// The judge called `local`.
#[derive(Clone, Debug)]
pub struct LocalJudge {
    id: JudgeId,
}

impl Default for LocalJudge {
    fn default() -> Self {
        Self::new()
    }
}

impl LocalJudge {
    /// The judge.
    #[must_use]
    pub fn new() -> Self {
        let id = JudgeId {
            name: LOCAL_JUDGE.to_owned(),
            provider: "local".to_owned(),
            model: "measurements-1".to_owned(),
        };
        Self { id }
    }
}

impl Judge for LocalJudge {
    fn id(&self) -> &JudgeId {
        &self.id
    }

    fn judge<'a>(
        &'a self,
        question: &'a Question,
        _: Deadline,
    ) -> BoxFuture<'a, Result<Answered, AttemptError>> {
        Box::pin(future::ready(judge(question)))
    }

    fn estimate(&self, _: &Question) -> MicroUsd {
        MicroUsd::default()
    }

    fn parameters(&self) -> &'static str {
        "measurements-1/local"
    }

    fn dialect(&self) -> &'static str {
        "local"
    }

    fn expectation(&self) -> Option<Expectation> {
        None
    }

    fn stands_in(&self) -> bool {
        true
    }
}

fn judge(question: &Question) -> Result<Answered, AttemptError> {
    let scores: Vec<Score> = question
        .criteria
        .iter()
        .map(|asked| score(asked, &question.measurements, question.reason_chars))
        .collect();
    if scores.iter().all(|said| said.score.is_none()) {
        let why = "nothing here that measurements can tell";
        return Err(AttemptError::new(AttemptOutcome::Empty, why));
    }
    Ok(Answered {
        judgement: Judgement { scores },
        tokens: None,
        cost: MicroUsd::default(),
        request_id: None,
        rest: None,
    })
}

/// The lowest score that one of the criterion's measures gives.
fn score(asked: &Asked, measurements: &Measurements, reason_chars: usize) -> Score {
    let told = asked.measured_by.iter().filter_map(|measure| reading(*measure, measurements));
    let worst = told.reduce(|worst, next| if next.score < worst.score { next } else { worst });
    let (score, reason) = match worst {
        Some(reading) => (Some(reading.score), reading.words),
        None => (None, CANNOT_TELL.to_owned()),
    };
    let reason = Some(reason.chars().take(reason_chars).collect());
    Score { criterion: asked.id.clone(), score, reason }
}

struct Reading {
    score: f64,
    words: String,
}

/// Points of a piecewise-linear curve from a measured number to a score: rising numbers, scores
/// flat before the first and behind the last.
type Curve = [(f64, f64)];

/// Halo: a clean edge scores 1; the product-photo policy's line of 6 % lies at 0.68, just below
/// its usual `pass_at`; half an edge is a certain defect.
const EDGE_HALO: &Curve = &[(0.0, 1.0), (0.02, 0.92), (0.06, 0.68), (0.20, 0.30), (0.50, 0.0)];

/// Residue: a speck or two is dust; half a percent of the ground is dirt.
const RESIDUE: &Curve = &[(0.0, 1.0), (0.000_5, 0.90), (0.002, 0.65), (0.010, 0.25), (0.050, 0.0)];

/// Edge noise: hair, laces and corners make some on every product.
const EDGE_NOISE: &Curve = &[(0.0, 1.0), (0.10, 0.90), (0.25, 0.70), (0.50, 0.30), (0.80, 0.0)];

/// Sharpness: the policy's line of 35 lies at 0.60.
const SHARPNESS: &Curve = &[(5.0, 0.0), (20.0, 0.35), (35.0, 0.60), (100.0, 0.85), (400.0, 1.0)];

/// Border: a corner of a shadow may touch; a tenth of the border is a cropped product.
const BORDER: &Curve = &[(0.0, 1.0), (0.02, 0.80), (0.05, 0.60), (0.15, 0.25), (0.40, 0.0)];

/// Contact shadow: a gap of 2 % of the height is still contact at the scale of the measurement.
const CONTACT_SHADOW: &Curve = &[(0.0, 1.0), (0.02, 0.85), (0.05, 0.55), (0.12, 0.20), (0.30, 0.0)];

fn reading(measure: Measure, measured: &Measurements) -> Option<Reading> {
    let percent = |share: f64| format!("{:.1} %", share * 100.0);
    let (value, curve) = match measure {
        Measure::EdgeHalo => (measured.edge_halo?, EDGE_HALO),
        Measure::Residue => (measured.residue?, RESIDUE),
        Measure::EdgeNoise => (measured.edge_noise?, EDGE_NOISE),
        Measure::Sharpness => (measured.sharpness?, SHARPNESS),
        Measure::Border => (measured.border?, BORDER),
        Measure::ContactShadow => (measured.contact_shadow?, CONTACT_SHADOW),
    };
    let found = match measure {
        Measure::EdgeHalo => format!("halo on {} of the edge", percent(value)),
        Measure::Residue => format!("residue on {:.2} % of the ground", value * 100.0),
        Measure::EdgeNoise => format!("specks, holes or steps on {} of the edge", percent(value)),
        Measure::Sharpness => format!("edges have a Laplacian variance of {value:.0}"),
        Measure::Border => format!("the subject touches {} of the border", percent(value)),
        Measure::ContactShadow => {
            format!("a gap of {} of the height between foot and shadow", percent(value))
        }
    };
    Some(Reading { score: along(curve, value), words: format!("{found}, measured, not seen") })
}

/// The score at `value` on `curve`.
fn along(curve: &Curve, value: f64) -> f64 {
    let above = curve.iter().find(|(at, _)| value <= *at);
    let below = curve.iter().rev().find(|(at, _)| *at < value);
    match (below, above) {
        (Some((from, low)), Some((to, high))) => low + (high - low) * (value - from) / (to - from),
        (None, Some((_, score))) | (Some((_, score)), None) => *score,
        (None, None) => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::{ProptestConfig, any, prop_assert, proptest};

    use super::*;
    use crate::panel::struck::Struck;

    fn question(criteria: &[(&str, &[Measure])], measurements: Measurements) -> Question {
        let asked = |(id, measured_by): &(&str, &[Measure])| Asked {
            id: (*id).to_owned(),
            ask: "Is it?".to_owned(),
            measured_by: measured_by.to_vec(),
        };
        Question {
            criteria: criteria.iter().map(asked).collect(),
            system: String::new(),
            user: String::new(),
            views: Vec::new(),
            measurements,
            reason_chars: 160,
            max_output_tokens: 300,
            struck: Struck::default(),
            early: true,
        }
    }

    async fn ask(question: &Question) -> Result<Answered, AttemptError> {
        LocalJudge::new().judge(question, Deadline::after(Duration::from_secs(1))).await
    }

    #[tokio::test]
    async fn the_worst_measure_scores_the_criterion_and_its_number_is_the_reason() {
        let measured = Measurements {
            edge_halo: Some(0.031),
            residue: Some(0.0),
            edge_noise: Some(0.01),
            ..Measurements::default()
        };
        let by = [Measure::EdgeNoise, Measure::EdgeHalo, Measure::Residue];
        let question = question(&[("cutout", &by)], measured);
        let answered = ask(&question).await.unwrap();
        let said = answered.judgement.score("cutout").unwrap();
        assert!((0.70..0.92).contains(&said.score.unwrap()), "{said:?}");
        let reason = said.reason.as_deref().unwrap();
        assert_eq!(reason, "halo on 3.1 % of the edge, measured, not seen");
        assert_eq!((answered.cost, answered.tokens), (MicroUsd(0), None));
    }

    #[tokio::test]
    async fn what_was_not_measured_has_no_score_and_the_rest_has() {
        let measured = Measurements { sharpness: Some(900.0), ..Measurements::default() };
        let criteria: [(&str, &[Measure]); 3] = [
            ("contact_shadow", &[Measure::ContactShadow]),
            ("edge_artifacts", &[Measure::Sharpness, Measure::Border]),
            ("taste", &[]),
        ];
        let answered = ask(&question(&criteria, measured)).await.unwrap();
        let scores: Vec<_> = answered.judgement.scores.iter().map(|said| said.score).collect();
        assert_eq!(scores, [None, Some(1.0), None]);
        let shadow = &answered.judgement.scores[0];
        assert_eq!(shadow.reason.as_deref(), Some(CANNOT_TELL));
    }

    #[tokio::test]
    async fn a_judge_that_cannot_tell_refuses_no_content_and_passes_nothing() {
        let by = [Measure::EdgeHalo];
        let silent = ask(&question(&[("cutout", &by)], Measurements::default())).await;
        let silent = silent.unwrap_err();
        assert_eq!(silent.outcome, AttemptOutcome::Empty);
        assert_eq!(silent.detail, "nothing here that measurements can tell");
    }

    #[tokio::test]
    async fn a_reason_is_cut_to_the_policy_s_length() {
        let measured = Measurements { edge_halo: Some(0.5), ..Measurements::default() };
        let by = [Measure::EdgeHalo];
        let mut question = question(&[("cutout", &by)], measured);
        question.reason_chars = 7;
        let answered = ask(&question).await.unwrap();
        assert_eq!(answered.judgement.scores[0].reason.as_deref(), Some("halo on"));
    }

    #[test]
    fn a_policy_s_line_lies_just_below_a_pass() {
        // the product-photo policy: 6 % of halo, a variance of 35, 2 % of the border
        assert!((along(EDGE_HALO, 0.06) - 0.68).abs() < 1e-9);
        assert!((along(SHARPNESS, 35.0) - 0.60).abs() < 1e-9);
        assert!(along(EDGE_HALO, 0.0) > 0.99 && along(EDGE_HALO, 1.0) < 0.01);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn worse_numbers_never_score_better(one in 0.0..2000.0_f64, more in 0.0..2000.0_f64) {
            let falling = [EDGE_HALO, RESIDUE, EDGE_NOISE, BORDER, CONTACT_SHADOW];
            for curve in falling {
                prop_assert!(along(curve, one + more) <= along(curve, one));
            }
            prop_assert!(along(SHARPNESS, one) <= along(SHARPNESS, one + more));
        }

        #[test]
        fn every_score_lies_between_none_and_all(value in any::<f64>()) {
            let curves =
                [EDGE_HALO, RESIDUE, EDGE_NOISE, BORDER, CONTACT_SHADOW, SHARPNESS];
            for curve in curves {
                prop_assert!((0.0..=1.0).contains(&along(curve, value)));
            }
        }
    }
}
