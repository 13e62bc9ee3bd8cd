//! A route of one judge: it is asked again where that helps, and twice at once where it is slow.

use super::*;

use crate::domain::AttemptOutcome;
use crate::domain::AttemptOutcome::{Auth, BadRequest, Connect, Overloaded, Refused, Unreadable};
use crate::panel::BreakerState;
use crate::panel::board::Evidence;
use crate::panel::breaker::Turn;
use crate::panel::hedge::Purse;
use crate::panel::race::scene::{Scene, check};
use crate::panel::script::{Script, ScriptedJudge, answers, fails, hangs, limited};

#[tokio::test(start_paused = true)]
async fn the_only_judge_is_asked_again_after_a_moment() {
    let scripts = [fails(100, Overloaded), fails(100, Connect), answers(500)];
    let scene = Scene::of(vec![ScriptedJudge::new("a", &scripts)]);
    // 40 ms, with this jitter
    scene
        .check(
            "judged by a at 780 ms: a primary overloaded 0+100, a failover connect 140+100, \
             a failover judged 280+500",
        )
        .await;
}

#[tokio::test(start_paused = true)]
async fn the_only_judge_is_asked_as_often_as_the_policy_allows() {
    let expected = "exhausted at 380 ms: a primary overloaded 0+100, \
                    a failover overloaded 140+100, a failover overloaded 280+100";
    Scene::scripted(&[fails(100, Overloaded)]).without_hedges().check(expected).await;
    // and with hedges it has a last chance
    let expected = "exhausted at 520 ms: a primary overloaded 0+100, \
                    a failover overloaded 140+100, a failover overloaded 280+100, \
                    a failover overloaded 420+100";
    check(&[fails(100, Overloaded)], expected).await;
}

#[tokio::test(start_paused = true)]
async fn the_only_judge_is_not_asked_again_what_it_settled() {
    for outcome in [Auth, BadRequest, Refused] {
        let expected = format!("exhausted at 100 ms: a primary {} 0+100", outcome.label());
        check(&[fails(100, outcome)], &expected).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_only_judge_is_given_the_time_it_asked_for_if_there_is_any() {
    let scene = Scene::of(vec![ScriptedJudge::new("a", &[limited(100, 2_000), answers(500)])]);
    let expected =
        "judged by a at 2600 ms: a primary rate_limited 0+100, a failover judged 2100+500";
    scene.check(expected).await;
    check(&[limited(100, 4_900)], "exhausted at 100 ms: a primary rate_limited 0+100").await;
}

#[tokio::test(start_paused = true)]
async fn the_only_judge_is_not_asked_again_for_a_caller_that_is_gone() {
    let mut scene = Scene::scripted(&[fails(100, Overloaded)]);
    scene.caller_leaves_ms = Some(120);
    scene.check("exhausted at 120 ms: a primary overloaded 0+100").await;
}

// Failures that cost nothing.

/// A judge of known speed: half of its answers come within 650 ms.
fn known(scripts: &[Script]) -> Scene {
    Scene::of(vec![ScriptedJudge::new("a", scripts).expecting(650, 900)])
}

#[tokio::test(start_paused = true)]
async fn failures_that_come_at_once_do_not_count_and_the_waits_double() {
    let mut scripts = vec![fails(20, Overloaded); 5];
    scripts.push(answers(600));
    known(&scripts)
        .check(
            "judged by a at 1620 ms: a primary overloaded 0+20, a failover overloaded 60+20, \
             a failover overloaded 160+20, a failover overloaded 340+20, \
             a failover overloaded 680+20, a failover judged 1020+600",
        )
        .await;
}

#[tokio::test(start_paused = true)]
async fn after_six_calls_the_only_judge_is_left_alone() {
    let (raced, _) = known(&[fails(20, Connect)]).race().await;
    assert_eq!((raced.outcome, raced.attempts.len()), (Outcome::Exhausted, 6));
}

#[tokio::test(start_paused = true)]
async fn what_was_billed_or_slow_counts() {
    for failure in [fails(20, Unreadable), fails(400, Overloaded), limited(20, 10)] {
        let (raced, _) = known(&[failure]).without_hedges().race().await;
        assert_eq!(raced.attempts.len(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn repetitions_are_paid_for_by_images() {
    let scene = known(&[fails(20, Overloaded)]);
    while scene.panel.budgets().take(Purse::Repeat) {}
    let (raced, _) = scene.race().await;
    // this image put one in
    assert_eq!(raced.attempts.len(), 2);
}

// Slowness.

#[tokio::test(start_paused = true)]
async fn the_only_judge_is_hedged_with_itself() {
    let scene = Scene::of(vec![ScriptedJudge::new("a", &[hangs(), answers(300)])]);
    let expected = "judged by a at 1800 ms: a primary cancelled 0+1800, a hedge judged 1500+300";
    scene.check(expected).await;
}

#[tokio::test(start_paused = true)]
async fn no_more_than_two_calls_of_an_image_are_under_way_at_the_only_judge() {
    check(&[hangs()], "late at 5000 ms: a primary cancelled 0+5000, a hedge cancelled 1500+3500")
        .await;
}

/// Strikes until the judge called a is suspect, and no further.
fn suspect(scene: &Scene) {
    let seat = scene.panel.seat("a").unwrap();
    let evidence = Evidence { route: &[0], turn: Turn::InTurn, jitter: 0.5 };
    (0..3).for_each(|_| seat.strike(evidence, (scene.route.deadline, now())));
}

/// An image is asked about at 0 ms and hangs; at 600 ms comes one whose call takes 500 ms.
async fn overtaken(scene: &Scene) -> Raced {
    let later = async {
        time::sleep(Duration::from_millis(600)).await;
        scene.race().await
    };
    let (first, _) = tokio::join!(scene.race(), later);
    first.0
}

#[tokio::test(start_paused = true)]
async fn a_call_that_later_calls_overtook_is_given_up_and_made_again() {
    let scene = known(&[hangs(), answers(500), answers(400)]).without_hedges();
    suspect(&scene);
    let first = overtaken(&scene).await;
    let [lost, again] = first.attempts.as_slice() else { panic!("{first:?}") };
    assert_eq!((lost.outcome, again.outcome), (AttemptOutcome::Timeout, AttemptOutcome::Judged));
    // at a quarter over the p95 of about 900 ms
    assert!((1_080..=1_180).contains(&lost.took_ms), "{}", lost.took_ms);
    assert_eq!(again.started_ms, lost.took_ms);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_overtaken_is_waited_for_where_it_may_not_be_made_again() {
    let mut scene = known(&[answers(3_000), answers(500)]).without_hedges();
    scene.route.max_attempts = 1;
    suspect(&scene);
    let first = overtaken(&scene).await;
    let [only] = first.attempts.as_slice() else { panic!("{first:?}") };
    assert_eq!((only.outcome, only.took_ms), (AttemptOutcome::Judged, 3_000));
}

#[tokio::test(start_paused = true)]
async fn a_slow_image_of_a_judge_that_is_well_is_waited_for() {
    let scene = known(&[answers(3_000), answers(500)]).without_hedges();
    let first = overtaken(&scene).await;
    assert_eq!(first.attempts.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn in_a_blackhole_no_call_is_given_up_for_another() {
    let scene = known(&[hangs()]).without_hedges();
    suspect(&scene);
    let first = overtaken(&scene).await;
    assert_eq!((first.attempts.len(), first.attempts[0].took_ms), (1, 5_000));
}

#[tokio::test(start_paused = true)]
async fn the_only_judge_is_left_alone_for_as_long_as_it_told_others() {
    let scene = Scene::of(vec![ScriptedJudge::new("a", &[fails(100, Overloaded), answers(500)])]);
    let seat = Arc::clone(scene.panel.seat("a").unwrap());
    let told = async {
        time::sleep(Duration::from_millis(50)).await;
        seat.block(Duration::from_secs(2), now());
    };
    let race = scene
        .check("judged by a at 2550 ms: a primary overloaded 0+100, a failover judged 2050+500");
    tokio::join!(race, told);
}

#[tokio::test(start_paused = true)]
async fn when_the_only_judge_is_down_images_wait_less_until_it_answers() {
    let mut scripts = vec![hangs(); 7];
    scripts.push(answers(600));
    let scene = known(&scripts).without_hedges();
    let mut waits = Vec::new();
    for _ in 0..9 {
        waits.push(scene.race().await.1.as_millis());
    }
    // five strikes bring the sum to the threshold; then twice the p95 is enough
    assert!(waits[..5].iter().all(|&wait| wait == 5_000), "{waits:?}");
    assert!(waits[5..7].iter().all(|wait| (1_700..=1_900).contains(wait)), "{waits:?}");
    assert!(waits[7..].iter().all(|&wait| wait == 600), "{waits:?}");
    assert_eq!(scene.panel.statuses()[0].breaker, BreakerState::Closed);
}
