//! What a breaker does to races: who is passed over, evacuated, probed and taken back.
//!
//! All judges are expected to take 650 ms, 900 ms at p95: they strike at about 1125 ms.

use std::collections::BTreeSet;

use super::*;

use futures_util::future::join_all;

use crate::domain::AttemptOutcome;
use crate::domain::AttemptOutcome::{Auth, BadRequest, Connect, Overloaded, Refused, ServerError};
use crate::panel::BreakerState;
use crate::panel::board::Evidence;
use crate::panel::breaker::Turn;
use crate::panel::hedge::Purse;
use crate::panel::race::scene::{NAMES, Scene, story};
use crate::panel::script::{Act, Script, ScriptedJudge, answers, fails, hangs, limited};

mod unknown;

fn scene(scripts: &[&[Script]]) -> Scene {
    let judge = |(name, scripts): (&&str, &&[Script])| {
        ScriptedJudge::new(name, scripts).expecting(650, 900)
    };
    Scene::of(NAMES.iter().zip(scripts).map(judge).collect())
}

fn strikes(scene: &Scene, name: &str, times: u32) {
    let seat = scene.panel.seat(name).unwrap();
    let all: Vec<_> = scene.panel.seats.iter().map(|seat| seat.place()).collect();
    let evidence = Evidence { route: &all, turn: Turn::InTurn, jitter: 0.5 };
    (0..times).for_each(|_| seat.strike(evidence, (scene.route.deadline, now())));
}

fn breaker(scene: &Scene, name: &str) -> BreakerState {
    scene.panel.statuses().into_iter().find(|one| one.id.name == name).unwrap().breaker
}

fn score(scene: &Scene, name: &str) -> f64 {
    scene.panel.statuses().into_iter().find(|one| one.id.name == name).unwrap().score
}

async fn pass(millis: u64) {
    time::sleep(Duration::from_millis(millis)).await;
}

/// Runs races one after the other until the breaker of `name` is in `state`; counts them.
async fn races_until(scene: &Scene, name: &str, state: BreakerState) -> usize {
    for race in 1..200 {
        scene.race().await;
        if breaker(scene, name) == state {
            return race;
        }
    }
    panic!("{name} never became {}", state.label());
}

// Opening.

#[tokio::test(start_paused = true)]
async fn a_judge_that_hangs_opens_although_hedges_hide_it() {
    let scene = scene(&[&[hangs()], &[answers(400)]]);
    assert_eq!(races_until(&scene, "a", BreakerState::Open).await, 5);
    assert_eq!(scene.panel.statuses()[0].strikes, 5);
    scene.check("judged by b at 400 ms: b failover judged 0+400").await;
}

#[tokio::test(start_paused = true)]
async fn a_call_cancelled_before_its_strike_age_says_nothing() {
    let scene = scene(&[&[hangs()], &[answers(100)]]);
    let (raced, _) = scene.race().await;
    assert!(raced.attempts[0].took_ms < 1_100, "{}", raced.attempts[0].took_ms);
    assert!(score(&scene, "a") < 1e-9);
}

#[tokio::test(start_paused = true)]
async fn a_strike_stays_when_the_call_answers_after_all() {
    let scene = scene(&[&[answers(1_500)], &[hangs()]]);
    let (raced, _) = scene.race().await;
    assert_eq!(raced.attempts[0].outcome, AttemptOutcome::Judged);
    assert!((score(&scene, "a") - 2.15).abs() < 1e-9, "{}", score(&scene, "a"));
}

#[tokio::test(start_paused = true)]
async fn a_judge_that_fails_four_of_ten_at_once_keeps_its_turn() {
    let mut scripts = Vec::new();
    for call in 0..400 {
        scripts.push(if call % 5 < 2 { fails(100, Overloaded) } else { answers(650) });
    }
    let scene = scene(&[&scripts, &[answers(700)]]);
    for _ in 0..400 {
        scene.race().await;
        assert_eq!(breaker(&scene, "a"), BreakerState::Closed);
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_that_took_long_opens_sooner_than_one_that_came_at_once() {
    let slow = scene(&[&[fails(1_100, ServerError)], &[answers(400)]]);
    let fast = scene(&[&[fails(10, ServerError)], &[answers(400)]]);
    let (slow, fast) = (
        races_until(&slow, "a", BreakerState::Open).await,
        races_until(&fast, "a", BreakerState::Open).await,
    );
    assert_eq!((slow, fast), (5, 43));
}

#[tokio::test(start_paused = true)]
async fn refusals_and_429s_open_nothing() {
    let scene = scene(&[&[fails(40, Refused), limited(40, 1)], &[answers(400)]]);
    for _ in 0..60 {
        scene.race().await;
        pass(5).await;
    }
    assert!(score(&scene, "a") < 1e-9);
}

#[tokio::test(start_paused = true)]
async fn a_judge_whose_key_is_refused_is_left_alone_for_a_minute() {
    let scene = scene(&[&[fails(40, Auth), answers(600)], &[answers(400)]]);
    let expected = "judged by b at 440 ms: a primary auth 0+40, b failover judged 40+400";
    scene.check(expected).await;
    assert_eq!(breaker(&scene, "a"), BreakerState::Open);
    scene.check("judged by b at 400 ms: b failover judged 0+400").await;
    pass(59_000).await;
    scene.check("judged by b at 400 ms: b failover judged 0+400").await;
    pass(1_000).await;
    let (raced, took) = scene.race().await;
    assert!(story(&raced, took).contains("a probe"), "{}", story(&raced, took));
}

#[tokio::test(start_paused = true)]
async fn three_bad_requests_running_are_our_mistake_and_one_is_the_image_s() {
    let scene = scene(&[&[fails(40, BadRequest)], &[answers(400)]]);
    assert_eq!(races_until(&scene, "a", BreakerState::Open).await, 3);
}

#[tokio::test(start_paused = true)]
async fn when_all_hang_one_stays_in_its_turn() {
    let scene = scene(&[&[hangs()], &[hangs()], &[hangs()]]);
    for _ in 0..30 {
        scene.race().await;
        let closed =
            scene.panel.statuses().iter().filter(|one| one.breaker == BreakerState::Closed).count();
        assert!(0 < closed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_hung_up_is_no_evidence() {
    let mut gone = scene(&[&[hangs()], &[answers(1)]]);
    gone.caller_leaves_ms = Some(100);
    for _ in 0..10 {
        gone.race().await;
    }
    let status = &gone.panel.statuses()[0];
    assert_eq!((status.samples, status.strikes, status.breaker), (0, 0, BreakerState::Closed));
    assert!(status.score < 1e-9);
}

#[tokio::test(start_paused = true)]
async fn a_caller_in_a_hurry_opens_nothing() {
    let mut hurried = scene(&[&[answers(650)], &[answers(650)]]);
    hurried.deadline_ms = 500;
    for _ in 0..50 {
        hurried.race().await;
    }
    assert!(score(&hurried, "a") < 1e-9 && score(&hurried, "b") < 1e-9);
}

// Evacuation.

#[tokio::test(start_paused = true)]
async fn when_a_breaker_opens_those_who_wait_get_the_next_judge_at_once() {
    let scene = scene(&[&[hangs()], &[answers(400)]]);
    scene.spend_hedge_budget();
    let opening = async {
        pass(200).await;
        strikes(&scene, "a", 5);
    };
    let ((raced, took), ()) = tokio::join!(scene.race(), opening);
    let expected = "judged by b at 600 ms: a primary cancelled 0+600, b hedge judged 200+400";
    assert_eq!(story(&raced, took), expected);
}

#[tokio::test(start_paused = true)]
async fn who_has_a_backup_already_gets_no_second_one() {
    let scene = scene(&[&[hangs()], &[answers(600)], &[answers(1)]]);
    let opening = async {
        pass(1_000).await;
        strikes(&scene, "a", 5);
    };
    let ((raced, _), ()) = tokio::join!(scene.race(), opening);
    assert_eq!(raced.attempts.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn nobody_is_evacuated_past_the_policy_s_attempts() {
    let mut scene = scene(&[&[answers(800)], &[answers(1)]]);
    scene.route.max_attempts = 1;
    let opening = async {
        pass(200).await;
        strikes(&scene, "a", 5);
    };
    let ((raced, took), ()) = tokio::join!(scene.race(), opening);
    assert_eq!(story(&raced, took), "judged by a at 800 ms: a primary judged 0+800");
}

// Probes.

#[tokio::test(start_paused = true)]
async fn an_open_judge_is_shown_an_image_beside_the_one_that_is_asked() {
    let scene = scene(&[&[answers(300)], &[answers(700)]]);
    strikes(&scene, "a", 5);
    scene.check("judged by b at 700 ms: b failover judged 0+700").await;
    pass(400).await;
    scene.check("judged by a at 300 ms: b failover cancelled 0+300, a probe judged 0+300").await;
    assert_eq!(breaker(&scene, "a"), BreakerState::HalfOpen);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_loses_runs_on_as_evidence() {
    let scene = scene(&[&[answers(900)], &[answers(400)]]);
    strikes(&scene, "a", 5);
    pass(1_000).await;
    let (raced, took) = scene.race().await;
    let expected = "judged by b at 400 ms: b failover judged 0+400, a probe cancelled 0+400";
    assert_eq!(story(&raced, took), expected);
    let probe = &raced.attempts[1];
    assert_eq!(probe.detail.as_deref(), Some("it ran on as a probe"));
    assert_eq!(probe.cost, crate::panel::script::ESTIMATE);
    assert_eq!(scene.panel.statuses()[0].in_flight, 1);
    pass(501).await;
    assert_eq!(breaker(&scene, "a"), BreakerState::HalfOpen);
    scene.assert_idle();
}

#[tokio::test(start_paused = true)]
async fn a_hung_probe_is_evidence_although_its_task_began_late() {
    let scene = scene(&[&[hangs()], &[answers(400)]]);
    strikes(&scene, "a", 5);
    pass(1_000).await;
    let mut race = Box::pin(scene.race());
    assert!(futures_util::poll!(&mut race).is_pending());
    // the clock goes on before the probe's task has its first turn
    time::advance(Duration::from_millis(5)).await;
    race.await;
    pass(2_000).await;
    assert_eq!(scene.panel.statuses()[0].strikes, 6);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_stops_behind_its_scores_is_a_bad_one_although_nobody_waits_for_it() {
    let early = Script(300, Act::Early(0.9, 60_000));
    let scene = scene(&[&[early], &[answers(100)]]);
    let seat = scene.panel.seat("a").unwrap();
    (0..40).for_each(|_| seat.record_end(Duration::from_millis(1_200)));
    strikes(&scene, "a", 5);
    pass(1_000).await;
    scene
        .check_but_probes("judged by b at 100 ms: b failover judged 0+100, a probe cancelled 0+100")
        .await;
    pass(300).await;
    assert!(score(&scene, "a") < 8.5, "its scores came: {}", score(&scene, "a"));
    pass(2_000).await;
    assert!(9.0 < score(&scene, "a"), "its end did not: {}", score(&scene, "a"));
}

#[tokio::test(start_paused = true)]
async fn a_hung_probe_ends_at_its_strike_age() {
    let scene = scene(&[&[hangs()], &[answers(400)]]);
    strikes(&scene, "a", 5);
    pass(1_000).await;
    scene.race().await;
    pass(600).await;
    assert_eq!(scene.panel.statuses()[0].in_flight, 1);
    pass(200).await;
    scene.assert_idle();
    assert_eq!(breaker(&scene, "a"), BreakerState::Open);
    assert_eq!(scene.panel.statuses()[0].strikes, 6);
}

#[tokio::test(start_paused = true)]
async fn a_judge_that_is_well_again_gets_its_turn_back() {
    let scene = scene(&[&[answers(300)], &[answers(400)]]);
    strikes(&scene, "a", 5);
    pass(1_000).await;
    assert_eq!(races_until(&scene, "a", BreakerState::Closed).await, 10);
    pass(2_000).await;
    scene.check("judged by a at 300 ms: a primary judged 0+300").await;
}

#[tokio::test(start_paused = true)]
async fn a_probe_is_no_attempt_of_the_policy_s() {
    let mut scene = scene(&[&[hangs()], &[fails(50, Overloaded)], &[answers(300)]]);
    scene.route.max_attempts = 2;
    strikes(&scene, "a", 5);
    pass(1_000).await;
    scene
        .check_but_probes(
            "judged by c at 350 ms: b failover overloaded 0+50, a probe cancelled 0+350, \
             c failover judged 50+300",
        )
        .await;
}

#[tokio::test(start_paused = true)]
async fn when_all_else_failed_a_probe_is_waited_for() {
    let scene = scene(&[&[answers(800)], &[fails(50, Overloaded)]]);
    strikes(&scene, "a", 5);
    pass(1_000).await;
    scene.check("judged by a at 800 ms: b failover overloaded 0+50, a probe judged 0+800").await;
}

#[tokio::test(start_paused = true)]
async fn probes_that_fail_are_paid_for_by_images() {
    let scene = scene(&[&[hangs()], &[answers(1)]]);
    strikes(&scene, "a", 5);
    while scene.panel.budgets().take(Purse::Probe) {}
    pass(1_000).await;
    let mut probes = 0;
    for _ in 0..200 {
        let (raced, _) = scene.race().await;
        probes += raced.attempts.iter().filter(|one| one.route == Route::Probe).count();
        pass(4_000).await;
    }
    // one in twenty; the first twentieth is not enough for one
    assert_eq!(probes, 10);
}

#[tokio::test(start_paused = true)]
async fn a_cost_cap_of_one_call_does_not_keep_a_judge_open_for_ever() {
    let mut scene = scene(&[&[answers(300)], &[answers(400)]]);
    scene.cost_cap = Some(crate::panel::script::ESTIMATE);
    strikes(&scene, "a", 5);
    pass(1_000).await;
    // five from the purse, then one image in twenty
    let races = races_until(&scene, "a", BreakerState::Closed).await;
    assert!((80..=110).contains(&races), "{races}");
}

#[tokio::test(start_paused = true)]
async fn a_blocked_judge_is_not_probed() {
    let scene = scene(&[&[answers(300)], &[answers(400)]]);
    strikes(&scene, "a", 5);
    scene.panel.seat("a").unwrap().block(Duration::from_secs(9), now());
    pass(2_000).await;
    scene.check("judged by b at 400 ms: b failover judged 0+400").await;
}

#[tokio::test(start_paused = true)]
async fn a_dropped_panel_takes_its_probes_with_it() {
    let scene = scene(&[&[hangs()], &[answers(400)]]);
    strikes(&scene, "a", 5);
    pass(1_000).await;
    scene.race().await;
    let seat = Arc::clone(scene.panel.seat("a").unwrap());
    drop(scene);
    pass(1).await;
    assert_eq!(seat.status(now()).in_flight, 0);
}

// When there is nobody else.

#[tokio::test(start_paused = true)]
async fn a_judge_that_another_route_opened_comes_back_where_it_is_the_only_one() {
    let mut scene = scene(&[&[answers(300)], &[answers(400)]]);
    strikes(&scene, "a", 5);
    scene.route.judges.truncate(1);
    pass(1_000).await;
    let races = races_until(&scene, "a", BreakerState::Closed).await;
    assert!(races < 20, "{races}");
}

#[tokio::test(start_paused = true)]
async fn where_all_but_one_are_open_that_one_is_hedged_with_itself() {
    let scene = scene(&[&[hangs()], &[hangs(), answers(300)]]);
    strikes(&scene, "a", 5);
    let (raced, _) = scene.race().await;
    let who: Vec<_> = raced.attempts.iter().map(|one| (&*one.judge.name, one.route)).collect();
    assert_eq!(who, [("b", Route::Failover), ("b", Route::Hedge)]);
}

#[tokio::test(start_paused = true)]
async fn an_open_judge_is_better_than_none_after_a_failure() {
    let scene = scene(&[&[answers(300)], &[fails(50, Overloaded)]]);
    strikes(&scene, "a", 5);
    let expected = "judged by a at 350 ms: b failover overloaded 0+50, a failover judged 50+300";
    scene.check(expected).await;
}

#[tokio::test(start_paused = true)]
async fn when_all_are_down_an_image_costs_one_call_and_waits_twice_the_p95() {
    let scene = scene(&[&[hangs()], &[hangs()], &[fails(5, Connect)]]);
    for _ in 0..100 {
        scene.race().await;
    }
    while scene.panel.budgets().take(Purse::Probe) {}
    for _ in 0..10 {
        let (raced, took) = scene.race().await;
        assert_eq!(raced.attempts.len(), 1, "{}", story(&raced, took));
        assert!(took < Duration::from_millis(1_900), "{}", story(&raced, took));
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_is_hedged_into_a_crowd() {
    let scene = scene(&[&[answers(2_000)], &[answers(300)]]);
    scene.panel.mind_crowd(true);
    scene.spend_last_chances();
    scene.check("judged by a at 2000 ms: a primary judged 0+2000").await;
}

#[tokio::test(start_paused = true)]
async fn nobody_is_hedged_to_a_judge_whose_room_images_wait_for() {
    let scene = scene(&[&[answers(2_000)], &[answers(300)]]);
    scene.panel.mind_waited_for(&BTreeSet::from(["b"]));
    scene.spend_last_chances();
    scene.check("judged by a at 2000 ms: a primary judged 0+2000").await;
    scene.panel.mind_waited_for(&BTreeSet::new());
    let (raced, took) = scene.race().await;
    assert_eq!(raced.attempts.len(), 2, "{}", story(&raced, took));
}

#[tokio::test(start_paused = true)]
async fn a_panel_has_room_while_a_judge_that_looks_has() {
    let scene = scene(&[&[answers(1)], &[answers(1)]]);
    assert!(scene.panel.has_room());
    strikes(&scene, "a", 5);
    assert!(scene.panel.has_room());
    scene.panel.seat("b").unwrap().block(Duration::from_secs(2), now());
    assert!(!scene.panel.has_room());
    pass(2_000).await;
    assert!(scene.panel.has_room());
}
