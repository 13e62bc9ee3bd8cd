//! The decision, case by case and then for any scores at all.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

use crate::domain::candidate::{Digest, Format};
use crate::domain::finding::{Finding, Limit};
use crate::domain::judgement::{Judgement, Score};
use crate::domain::policy::{
    Combine, Criterion, CriterionOnFail, Encoding, Fallback, Input, Keep, Mode, Offset, OnFail,
    Owner, Policy, RouteSpec, SecondOpinion, SecondOpinionWhen,
};
use crate::domain::verdict::{Basis, Decision, Evidence, Opinion, Verdict, decide};

const BAND: f64 = 0.08;

fn criterion(id: &str, pass_at: f64, on_fail: CriterionOnFail) -> Criterion {
    Criterion {
        id: id.to_owned(),
        ask: format!("is {id} fine?"),
        pass_at,
        pass_at_by_judge: BTreeMap::from([("kind".to_owned(), pass_at - 0.1)]),
        when: None,
        on_fail,
        measured_by: Vec::new(),
    }
}

fn policy() -> Policy {
    Policy {
        name: "test".to_owned(),
        description: String::new(),
        owner: Owner::default(),
        mode: Mode::Enforce,
        input: Input {
            accept: Format::ALL.to_vec(),
            max_bytes: 1,
            max_pixels: 1,
            vars: BTreeMap::new(),
            views: Vec::new(),
            encode: Encoding { quality: 85, flatten_alpha: [255; 3] },
        },
        checks: Vec::new(),
        criteria: vec![
            criterion("cutout", 0.70, CriterionOnFail::Fail),
            criterion("shadow", 0.60, CriterionOnFail::Review),
        ],
        borderline: BAND,
        system_prompt: String::new(),
        user_prompt: String::new(),
        reason_chars: 160,
        max_output_tokens: 300,
        route: RouteSpec {
            judges: vec!["strict".to_owned(), "kind".to_owned()],
            offset_by_judge: BTreeMap::new(),
            deadline: Duration::from_secs(5),
            floor: Duration::from_millis(300),
            keep_back: Duration::from_millis(20),
            max_attempts: 3,
            attempt_cap: None,
            hedge: None,
            stream: true,
            on_deadline: Fallback::Review,
            on_no_judge: Fallback::Local,
        },
        second_opinion: Some(SecondOpinion {
            when: vec![SecondOpinionWhen::Borderline],
            ask: vec!["kind".to_owned()],
            combine: Combine::Mean,
            needs: Duration::from_millis(900),
            split: Fallback::Review,
            max_share: 0.15,
        }),
        cost_per_image: None,
        keep: Keep {
            images: Vec::new(),
            verdicts_for: Duration::from_secs(1),
            images_for: Duration::from_secs(1),
        },
        shadows: Vec::new(),
        backfill: None,
        losers: None,
        revision: Digest::of(b"revision"),
        judging: Digest::of(b"judging"),
        asked: Digest::of(b"asked"),
    }
}

fn judgement(scores: &[(&str, Option<f64>)]) -> Judgement {
    let score = |(id, score): &(&str, Option<f64>)| Score {
        criterion: (*id).to_owned(),
        score: *score,
        reason: Some(format!("because of {id}")),
    };
    Judgement { scores: scores.iter().map(score).collect() }
}

fn judged(
    policy: &Policy,
    first: (&str, &Judgement),
    second: Option<(&str, &Judgement)>,
) -> Verdict {
    drawn(policy, (first, second), 0.5)
}

type Said<'a> = (&'a str, &'a Judgement);

fn drawn(policy: &Policy, (first, second): (Said<'_>, Option<Said<'_>>), lot: f64) -> Verdict {
    let asked: Vec<_> = policy.criteria.iter().collect();
    let opinion = |(judge, judgement)| Opinion { judge, judgement, lot };
    let evidence = Evidence::Judged { first: opinion(first), second: second.map(opinion) };
    decide(policy, &asked, &[], evidence)
}

/// One judge named `strict`: cutout passes at 0.70, shadow at 0.60.
fn check(cutout: f64, shadow: f64, expected: &str) {
    let said = judgement(&[("cutout", Some(cutout)), ("shadow", Some(shadow))]);
    let verdict = judged(&policy(), ("strict", &said), None);
    let doubt = if verdict.borderline { ", borderline" } else { "" };
    let failed = verdict.failed.join("+");
    assert_eq!(format!("{} [{failed}]{doubt}", verdict.decision.label()), expected);
}

#[test]
fn a_score_on_the_line_passes_and_is_borderline() {
    check(0.70, 0.95, "pass [], borderline");
}

#[test]
fn a_clear_score_decides_alone() {
    check(0.95, 0.95, "pass []");
    check(0.21, 0.95, "fail [cutout]");
    check(0.95, 0.10, "review [shadow]");
    check(0.21, 0.10, "fail [cutout+shadow]");
}

#[test]
fn the_band_counts_in_decimal_fractions() {
    check(0.78, 0.95, "pass [], borderline");
    check(0.79, 0.95, "pass []");
    check(0.62, 0.95, "fail [cutout], borderline");
    check(0.61, 0.95, "fail [cutout]");
}

#[test]
fn doubt_beside_a_certain_defect_is_no_doubt() {
    check(0.10, 0.61, "fail [cutout]");
    check(0.71, 0.10, "review [shadow], borderline");
}

#[test]
fn each_judge_is_held_to_its_own_line() {
    let said = judgement(&[("cutout", Some(0.65)), ("shadow", Some(0.95))]);
    assert_eq!(judged(&policy(), ("strict", &said), None).decision, Decision::Fail);
    let kind = judged(&policy(), ("kind", &said), None);
    assert_eq!(kind.decision, Decision::Pass);
    assert_eq!(kind.scores.first().map(|one| one.pass_at), Some(0.70 - 0.1));
}

#[test]
fn two_judges_are_combined_by_margin_and_not_by_score() {
    let first = judgement(&[("cutout", Some(0.68)), ("shadow", Some(0.95))]);
    let second = judgement(&[("cutout", Some(0.90)), ("shadow", Some(0.95))]);
    // margins -0.02 and +0.30: the mean is +0.14, out of the band
    let verdict = judged(&policy(), ("strict", &first), Some(("kind", &second)));
    assert_eq!((verdict.decision, verdict.basis), (Decision::Pass, Basis::SecondOpinion));
    assert_eq!(verdict.first_verdict, Some(Decision::Fail));
    assert!(!verdict.borderline);
}

#[test]
fn judges_that_stay_in_the_band_go_to_the_split() {
    let near = judgement(&[("cutout", Some(0.66)), ("shadow", Some(0.95))]);
    let other = judgement(&[("cutout", Some(0.62)), ("shadow", Some(0.95))]);
    let verdict = judged(&policy(), ("strict", &near), Some(("kind", &other)));
    assert_eq!(verdict.decision, Decision::Review);
    assert!(verdict.borderline);
}

#[test]
fn the_strictest_and_the_kindest_take_one_side() {
    let low = judgement(&[("cutout", Some(0.50)), ("shadow", Some(0.95))]);
    let high = judgement(&[("cutout", Some(0.95)), ("shadow", Some(0.95))]);
    let by = |rule| {
        let mut policy = policy();
        policy.second_opinion.as_mut().unwrap().combine = rule;
        judged(&policy, ("strict", &low), Some(("strict", &high))).decision
    };
    assert_eq!(by(Combine::Strictest), Decision::Fail);
    assert_eq!(by(Combine::Kindest), Decision::Pass);
}

#[test]
fn what_local_cannot_tell_is_flagged_and_decides_nothing() {
    let said = judgement(&[("cutout", Some(0.95)), ("shadow", None)]);
    let verdict = judged(&policy(), ("local", &said), None);
    assert_eq!(verdict.decision, Decision::Pass);
    assert_eq!(verdict.flags, ["unmeasured:shadow"]);
    assert_eq!(verdict.scores.get(1).map(|one| (one.score, one.passed)), Some((None, None)));
}

fn finding(value: f64, on_fail: OnFail) -> Finding {
    Finding::new("sharp", Some(value), Limit::AtLeast(35.0), "variance", on_fail)
}

#[test]
fn a_blocking_check_answers_with_its_name() {
    let findings = [finding(1.0, OnFail::Review), finding(1.0, OnFail::Fail)];
    let verdict = decide(&policy(), &[], &findings, Evidence::Checked);
    assert_eq!((verdict.decision, verdict.basis), (Decision::Fail, Basis::Check));
    let verdict = decide(&policy(), &[], &findings[..1], Evidence::Checked);
    assert_eq!((verdict.decision, verdict.failed), (Decision::Review, vec!["sharp".to_owned()]));
}

#[test]
fn without_a_judgement_the_policy_answers() {
    let late = decide(&policy(), &[], &[], Evidence::Late);
    assert_eq!((late.decision, late.basis), (Decision::Review, Basis::Deadline));
    let clean = decide(&policy(), &[], &[finding(99.0, OnFail::Flag)], Evidence::NoJudge);
    assert_eq!((clean.decision, clean.basis), (Decision::Pass, Basis::NoJudge));
    let flagged = decide(&policy(), &[], &[finding(1.0, OnFail::Flag)], Evidence::NoJudge);
    assert_eq!(flagged.decision, Decision::Review);
    assert!(!late.basis.is_judged() && !clean.basis.is_judged());
}

#[test]
fn an_image_that_was_never_decoded_does_not_pass_on_local() {
    let policy =
        Policy { route: RouteSpec { on_deadline: Fallback::Local, ..policy().route }, ..policy() };
    let decided = |findings: &[Finding]| decide(&policy, &[], findings, Evidence::Late).decision;
    assert_eq!(decided(&[]), Decision::Review);
    let unmeasured = Finding::new("a", None, Limit::AtLeast(1.0), "px", OnFail::Flag);
    assert_eq!(decided(&[unmeasured]), Decision::Review);
    assert_eq!(decided(&[finding(99.0, OnFail::Flag)]), Decision::Pass);
}

#[test]
fn observe_tells_the_caller_pass_and_keeps_what_would_be() {
    let observing = Policy { mode: Mode::Observe, ..policy() };
    let said = judgement(&[("cutout", Some(0.1)), ("shadow", Some(0.9))]);
    let verdict = judged(&observing, ("strict", &said), None);
    assert_eq!((verdict.decision, verdict.would_be), (Decision::Pass, Some(Decision::Fail)));
    assert_eq!(verdict.decided(), Decision::Fail);
}

/// The policy with an offset of the judge `strict`.
fn moved(add: f64, at_line: f64) -> Policy {
    let offset = Offset { add, at_line, fitted: None, pairs: None, against: None, asked: None };
    let mut policy = policy();
    policy.route.offset_by_judge.insert("strict".to_owned(), offset);
    policy
}

/// What `strict` makes of these scores under an offset, for an image with this lot.
fn check_moved((add, at_line): (f64, f64), scores: (f64, f64), lot: f64, expected: &str) {
    let said = judgement(&[("cutout", Some(scores.0)), ("shadow", Some(scores.1))]);
    let verdict = drawn(&moved(add, at_line), (("strict", &said), None), lot);
    let doubt = if verdict.borderline { ", borderline" } else { "" };
    let failed = verdict.failed.join("+");
    assert_eq!(format!("{} [{failed}]{doubt}", verdict.decision.label()), expected, "lot {lot}");
}

#[test]
fn an_offset_moves_every_line_of_its_judge_and_of_no_other() {
    check_moved((0.10, 0.0), (0.69, 0.95), 0.5, "pass []");
    check_moved((0.10, 0.0), (0.51, 0.95), 0.5, "fail [cutout]");
    check_moved((-0.10, 0.0), (0.71, 0.95), 0.5, "fail [cutout]");
    let said = judgement(&[("cutout", Some(0.65)), ("shadow", Some(0.95))]);
    let ours = judged(&moved(0.10, 0.0), ("strict", &said), None);
    let line = |verdict: &Verdict| verdict.scores.iter().map(|one| one.pass_at).collect::<Vec<_>>();
    assert_eq!(line(&ours), [0.6, 0.5]);
    let other = judged(&moved(0.10, 0.0), ("kind", &said), None);
    assert_eq!(line(&other), line(&judged(&policy(), ("kind", &said), None)));
}

#[test]
fn the_band_lies_around_the_line_that_holds() {
    check_moved((0.10, 0.0), (0.68, 0.95), 0.5, "pass [], borderline");
    check_moved((0.10, 0.0), (0.52, 0.95), 0.5, "fail [cutout], borderline");
    check_moved((0.10, 0.0), (0.70, 0.95), 0.5, "pass []");
}

#[test]
fn a_criterion_that_sends_to_a_person_still_does_under_an_offset() {
    check_moved((-0.15, 0.0), (0.95, 0.60), 0.5, "review [shadow]");
    check_moved((-0.15, 0.0), (0.70, 0.60), 0.5, "fail [cutout+shadow]");
}

#[test]
fn the_image_s_lot_settles_what_lies_exactly_on_the_line() {
    // 0.62 + 0.08 is 0.70 in decimal fractions alone
    let on_the_line = (0.62, 0.95);
    check_moved((0.08, 0.37), on_the_line, 0.36, "fail [cutout], borderline");
    check_moved((0.08, 0.37), on_the_line, 0.37, "pass [], borderline");
    check_moved((0.08, 0.0), on_the_line, 0.0, "pass [], borderline");
    check_moved((0.08, 1.0), on_the_line, 0.999, "fail [cutout], borderline");
    // both on it: one lot, one way
    check_moved((0.08, 0.37), (0.62, 0.52), 0.1, "fail [cutout+shadow], borderline");
    check_moved((0.08, 0.37), (0.62, 0.52), 0.9, "pass [], borderline");
}

#[test]
fn margins_are_combined_after_they_were_moved() {
    // strict: 0.65 - 0.70 + 0.10 = 0.05; kind: 0.80 - 0.60 = 0.20; their mean is out of the band
    let first = judgement(&[("cutout", Some(0.65)), ("shadow", Some(0.95))]);
    let second = judgement(&[("cutout", Some(0.80)), ("shadow", Some(0.95))]);
    let of = |policy: &Policy| judged(policy, ("strict", &first), Some(("kind", &second)));
    let (plain, offset) = (of(&policy()), of(&moved(0.10, 0.0)));
    assert_eq!((plain.decision, plain.first_verdict), (Decision::Review, Some(Decision::Fail)));
    assert_eq!((offset.decision, offset.first_verdict), (Decision::Pass, Some(Decision::Pass)));
}

#[test]
fn an_image_draws_the_same_lot_every_time_and_lots_are_spread_evenly() {
    let lots: Vec<_> = (0..4_000_u32).map(|n| Digest::of(&n.to_be_bytes()).lot()).collect();
    assert!(lots.iter().all(|lot| (0.0..1.0).contains(lot)));
    assert_eq!(lots[7].to_bits(), Digest::of(&7_u32.to_be_bytes()).lot().to_bits());
    let low = lots.iter().filter(|lot| **lot < 0.37).count();
    // 1480 expected, standard deviation 30.5
    assert!((1_390..1_570).contains(&low), "{low}");
}

proptest! {
    #[test]
    fn a_verdict_never_passes_a_criterion_below_its_line(
        scores in vec(option::of(0.0f64..=1.0), 2),
        observing in any::<bool>(),
    ) {
        let mode = if observing { Mode::Observe } else { Mode::Enforce };
        let policy = Policy { mode, second_opinion: None, ..policy() };
        let said = judgement(&[("cutout", scores[0]), ("shadow", scores[1])]);
        let verdict = judged(&policy, ("strict", &said), None);
        let below = |score: Option<f64>, line: f64| score.is_some_and(|score| score < line - 1e-6);
        let any_below = below(scores[0], 0.70) || below(scores[1], 0.60);
        prop_assert!(!any_below || verdict.decided() != Decision::Pass);
        prop_assert_eq!(verdict.decided() == Decision::Pass, verdict.failed.is_empty());
        prop_assert_eq!(verdict.scores.len(), 2);
    }
    #[test]
    fn an_image_fails_exactly_when_its_smallest_margin_does(
        scores in vec(option::of(0..=20_u8), 2),
        add in -20..=20_i8,
        at_line in 0.0..=1.0_f64,
        lot in 0.0..1.0_f64,
    ) {
        let policy = Policy { second_opinion: None, ..moved(f64::from(add) / 20.0, at_line) };
        let scores: Vec<_> = scores.iter().map(|one| one.map(|one| f64::from(one) / 20.0)).collect();
        let named = [("cutout", scores[0]), ("shadow", scores[1])];
        let verdict = drawn(&policy, (("strict", &judgement(&named)), None), lot);
        let rejects = policy
            .smallest_margin("strict", named)
            .is_some_and(|margin| policy.rejects("strict", margin, lot));
        prop_assert_eq!(verdict.decision != Decision::Pass, rejects);
        prop_assert_eq!(verdict.first_verdict, Some(verdict.decision));
    }

    #[test]
    fn a_larger_offset_never_fails_an_image_that_passed(
        score in 0..=20_u8,
        adds in vec(-20..=20_i8, 2),
        at_line in 0.0..=1.0_f64,
        lot in 0.0..1.0_f64,
    ) {
        let said = judgement(&[("cutout", Some(f64::from(score) / 20.0)), ("shadow", Some(1.0))]);
        let (low, high) = (adds[0].min(adds[1]), adds[0].max(adds[1]));
        let passes = |add: i8| {
            let policy = moved(f64::from(add) / 20.0, at_line);
            let said = (("strict", &said), None);
            drawn(&policy, said, lot).decision == Decision::Pass
        };
        prop_assert!(!passes(low) || passes(high));
    }
}
