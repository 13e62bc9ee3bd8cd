use proptest::prelude::{ProptestConfig, prop_assert, prop_assert_eq, proptest};

use super::*;

const MINI: Option<&str> = Some("mini");
const SECOND: Option<&str> = Some("second");

fn seen(struck: bool, judged_by: Option<&str>, took_ms: u32) -> Sight<'_> {
    Sight { struck, judged_by, late: false, calls: 1 + u64::from(struck), took_ms }
}

fn tally(images: &[(u64, Sight<'_>)]) -> Tally {
    let mut tally = Tally::default();
    for (times, sight) in images {
        for _ in 0..*times {
            tally.add(*sight);
        }
    }
    tally
}

fn healthy() -> Tally {
    tally(&[(97, seen(false, MINI, 100)), (3, seen(false, SECOND, 200))])
}

fn failed_over() -> Tally {
    tally(&[(80, seen(false, MINI, 100)), (20, seen(true, SECOND, 120))])
}

fn after_2s() -> Recovery {
    Recovery::After(Duration::from_secs(2))
}

fn assessed(during: &Tally, recovery: Recovery) -> Assessment {
    assess(&Bounds::default(), &healthy(), during, recovery)
}

/// The figures that did not hold.
fn broken(assessment: &Assessment) -> Vec<&'static str> {
    let all = assessment.assertions.iter();
    all.filter(|one| one.held == Some(false)).map(|one| one.figure).collect()
}

#[test]
fn a_drill_passes_when_every_figure_holds() {
    let assessment = assessed(&failed_over(), after_2s());
    assert_eq!(assessment.result, DrillResult::Passed, "{assessment:?}");
    assert_eq!(assessment.reason, None);
    assert!(assessment.assertions.iter().all(|one| one.held == Some(true)));
}

#[test]
fn one_late_answer_fails_it_however_few_images_there_were() {
    let late = Sight { late: true, ..seen(true, SECOND, 120) };
    let assessment = assessed(&tally(&[(2, seen(true, SECOND, 120)), (1, late)]), after_2s());
    assert_eq!(assessment.result, DrillResult::Failed);
    assert_eq!(broken(&assessment), ["answers_late"]);
}

#[test]
fn a_struck_image_without_a_verdict_is_not_hidden_among_many_that_were_not_struck() {
    let mut during = tally(&[(9_000, seen(false, MINI, 100)), (30, seen(true, SECOND, 120))]);
    during.add(seen(true, None, 120));
    let assessment = assessed(&during, after_2s());
    assert_eq!(broken(&assessment), ["judged_ratio"]);
    assert!(assessment.reason.unwrap().starts_with("judged_ratio is 0.968"));
}

#[test]
fn images_that_were_not_struck_count_too_when_nobody_judges_them() {
    let mut during = failed_over();
    for _ in 0..5 {
        during.add(seen(false, None, 100));
    }
    assert_eq!(broken(&assessed(&during, after_2s())), ["judged_ratio"]);
}

#[test]
fn slower_than_the_stated_multiple_fails() {
    let during = tally(&[(80, seen(false, MINI, 100)), (20, seen(true, SECOND, 140))]);
    assert_eq!(broken(&assessed(&during, after_2s())), ["p95_ratio"]);
}

#[test]
fn a_judge_that_does_not_come_back_fails() {
    assert_eq!(broken(&assessed(&failed_over(), Recovery::NotWithin)), ["recovery_ms"]);
}

#[test]
fn too_little_traffic_is_inconclusive_and_says_so() {
    let few = tally(&[(80, seen(false, MINI, 100)), (19, seen(true, SECOND, 900))]);
    let assessment = assessed(&few, after_2s());
    assert_eq!(assessment.result, DrillResult::Inconclusive, "a p95 of 19 images is no p95");
    assert!(assessment.reason.unwrap().contains("19 struck"));
    let none = assess(&Bounds::default(), &Tally::default(), &Tally::default(), Recovery::Unseen);
    assert_eq!(none.result, DrillResult::Inconclusive);
    let unseen = assessed(&failed_over(), Recovery::Unseen);
    assert_eq!(unseen.result, DrillResult::Inconclusive);
    assert!(unseen.reason.unwrap().contains("after the restoration"));
}

#[test]
fn images_that_the_breaker_spared_show_as_much_as_struck_ones() {
    let few = tally(&[(10, seen(true, SECOND, 120)), (90, seen(false, SECOND, 110))]);
    assert_eq!(assessed(&few, after_2s()).result, DrillResult::Inconclusive);
    let spared = Tally { spared: 90, ..few };
    assert_eq!(assessed(&spared, after_2s()).result, DrillResult::Passed);
    let unstruck = Tally { struck: Group::default(), ..spared };
    assert_eq!(
        assessed(&unstruck, after_2s()).result,
        DrillResult::Inconclusive,
        "no drill's doing"
    );
}

#[test]
fn a_running_drill_ends_for_one_late_answer_or_three_without_a_verdict() {
    let bounds = Bounds::default();
    assert_eq!(breach(&bounds, &failed_over()), None);
    let mut during = failed_over();
    during.add(Sight { late: true, ..seen(false, MINI, 9_000) });
    assert!(breach(&bounds, &during).unwrap().contains("after their deadline"));
    let mut during = failed_over();
    for left in (0..3_u8).rev() {
        assert_eq!(breach(&bounds, &during), None, "{left} to go");
        during.add(seen(true, None, 100));
    }
    assert!(breach(&bounds, &during).unwrap().starts_with("3 of 23 images got no verdict"));
}

#[test]
fn a_judge_has_recovered_at_85_percent_of_its_former_share() {
    let back =
        |mini, second| tally(&[(mini, seen(false, MINI, 100)), (second, seen(false, SECOND, 100))]);
    assert!(has_recovered("mini", &healthy(), &back(9, 1)));
    assert!(!has_recovered("mini", &healthy(), &back(8, 2)));
    assert!(!has_recovered("mini", &healthy(), &Tally::default()));
}

#[test]
fn stragglers_belong_to_the_drill_that_struck_them() {
    let mut during = failed_over();
    let after = tally(&[(2, seen(true, SECOND, 300)), (50, seen(false, MINI, 100))]);
    during.add_stragglers(&after);
    assert_eq!((during.struck.images, during.clear.images), (22, 80));
    assert_eq!(during.struck.judged(), 22);
}

#[test]
fn the_p95_is_the_19th_of_20() {
    let mut spread = Spread::default();
    assert_eq!(spread.p95_ms(), None);
    for ms in 1..=20 {
        spread.add(ms);
    }
    assert_eq!(spread.p95_ms(), Some(19));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_spread_stays_bounded_and_keeps_its_p95(count in 1..60_000_u32, step in 1..97_u32) {
        let mut spread = Spread::default();
        // every value below `count` once, in an order that has no pattern in powers of two
        let stride = (step * 2 + 1) | 1;
        for n in 0..count {
            spread.add(n.wrapping_mul(stride) % count.max(1));
        }
        prop_assert!(spread.taken_ms.len() <= MOST_SAMPLES);
        prop_assert_eq!(spread.seen, u64::from(count));
        prop_assert!(spread.p95_ms().is_some_and(|p95| p95 < count));
    }

    #[test]
    fn more_harm_never_turns_a_failure_into_a_pass(struck in 0..60_u64, lost in 0..20_u64) {
        let mut during = tally(&[(80, seen(false, MINI, 100)), (struck, seen(true, SECOND, 110))]);
        let before = assessed(&during, after_2s()).result;
        for _ in 0..lost {
            during.add(seen(true, None, 110));
        }
        let after = assessed(&during, after_2s()).result;
        if before == DrillResult::Failed || 0 < lost {
            prop_assert!(after != DrillResult::Passed, "{before:?} {after:?}");
        }
    }
}
