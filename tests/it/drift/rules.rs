//! The rules that follow from the statistics: where another judge draws its line, and when a second
//! judge is asked.

use vlmgate::drift::judged::{image_key, image_lot};
use vlmgate::drift::opinion::{BAND, Next, Opinion, next};
use vlmgate::drift::threshold::{CalibrationPair, Line, calibrate};

use crate::drift::worlds::{Chance, line};

/// A second judge that rejects three points more, scored in hundredths; and what both said.
fn pairs(n: usize, chance: &mut Chance) -> Vec<CalibrationPair> {
    let pair = |_| {
        let severity = chance.normal();
        let primary_rejects = severity + 0.35 * chance.normal() > line(0.08, 0.35);
        let beyond = severity + 0.35 * chance.normal() - line(0.11, 0.35);
        let score = (100.0 / (1.0 + (3.0 * beyond).exp())).round() / 100.0;
        CalibrationPair { primary_rejects, margin: score - 0.5 }
    };
    (0..n).map(pair).collect()
}

#[test]
fn a_calibrated_judge_rejects_the_primarys_share_of_new_images() {
    let mut chance = Chance::new(8);
    let fitted = calibrate(&pairs(8_000, &mut chance)).unwrap();
    assert!(fitted.usable, "{fitted:?}");
    assert!(fitted.residual.effect.abs() < 1e-12, "{fitted:?}");
    let mut gap = 0;
    let drawn = Line { at: fitted.offset.add, share_at: fitted.offset.at_line };
    for (i, pair) in pairs(40_000, &mut chance).iter().enumerate() {
        let rejects = drawn.rejects(-pair.margin, image_lot(image_key(&i.to_string())));
        gap += i32::from(rejects) - i32::from(pair.primary_rejects);
    }
    assert!((f64::from(gap) / 40_000.0).abs() <= 0.005, "{gap} of 40,000");
}

#[test]
fn a_calibration_on_few_pairs_is_not_put_to_use() {
    let fitted = calibrate(&pairs(400, &mut Chance::new(9))).unwrap();
    assert!(!fitted.usable, "{fitted:?}");
}

/// What is done after these probabilities of rejection, when one more judge could be asked.
fn after(probabilities: &[f64]) -> Next {
    let said = |share: &f64| Opinion { reject: *share > 0.5, probability: Some(*share), bias: 0.0 };
    let opinions: Vec<Opinion> = probabilities.iter().map(said).collect();
    next(&opinions, 3 - opinions.len(), BAND).unwrap()
}

#[test]
fn a_second_judge_is_asked_in_doubt_alone_and_a_third_when_two_differ() {
    let decide = |reject| Next::Decide { reject };
    assert_eq!(after(&[0.95]), decide(true));
    assert_eq!(after(&[0.29]), decide(false));
    assert_eq!(after(&[0.60]), Next::Ask);
    assert_eq!(after(&[0.60, 0.8]), decide(true));
    assert_eq!(after(&[0.60, 0.4]), Next::Ask);
    assert_eq!(after(&[0.60, 0.4, 0.9]), decide(true));
}

#[test]
fn a_sure_judge_is_not_outvoted_by_two_that_waver() {
    assert_eq!(after(&[0.55, 0.45, 0.05]), Next::Decide { reject: false });
    assert_eq!(after(&[0.55, 0.02, 0.55]), Next::Decide { reject: false });
}

#[test]
fn without_a_score_the_majority_decides() {
    let said = |reject, probability| Opinion { reject, probability, bias: 0.0 };
    let opinions = [said(true, Some(0.6)), said(false, Some(0.01)), said(true, None)];
    assert_eq!(next(&opinions, 0, BAND), Some(Next::Decide { reject: true }));
}
