//! What bounds a race: time, money, a caller that left. And what is learnt of it.

use super::*;

use crate::domain::AttemptOutcome;
use crate::domain::AttemptOutcome::{Connect, Overloaded, Refused, Timeout};
use crate::panel::race::scene::{Scene, check};
use crate::panel::script::{BILL, ESTIMATE, Script, ScriptedJudge, answers, fails, hangs};

// Time kept for those behind.

#[tokio::test(start_paused = true)]
async fn a_hung_primary_cannot_make_the_fallback_unreachable() {
    let scene = Scene::scripted(&[hangs(), answers(900)]).without_hedges();
    let expected = "judged by b at 4650 ms: a primary timeout 0+3750, b failover judged 3750+900";
    scene.check(expected).await;
}

#[tokio::test(start_paused = true)]
async fn three_hung_judges_share_what_is_left() {
    // each is given three quarters of it
    let mut scene = Scene::scripted(&[hangs(), hangs(), hangs(), answers(70)]).without_hedges();
    scene.route.max_attempts = 4;
    scene
        .check(
            "judged by d at 4992 ms: a primary timeout 0+3750, b failover timeout 3750+938, \
             c failover timeout 4688+234, d failover judged 4922+70",
        )
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_judge_of_known_speed_is_kept_its_median() {
    let judge = |name: &str, script: Script| ScriptedJudge::new(name, &[script]);
    let scene = Scene::of(vec![
        judge("a", hangs()).expecting(650, 900),
        judge("b", answers(600)).expecting(650, 900),
    ])
    .without_hedges();
    let (raced, took) = scene.race().await;
    let (primary, fallback) = (&raced.attempts[0], &raced.attempts[1]);
    assert_eq!((primary.outcome, fallback.outcome), (Timeout, AttemptOutcome::Judged));
    assert!((4_310..=4_390).contains(&primary.took_ms), "{}", primary.took_ms);
    assert!(took < Duration::from_millis(5_000));
}

#[tokio::test(start_paused = true)]
async fn a_short_race_leaves_the_first_judge_the_time_it_takes() {
    let judge = |name: &str, script: Script| ScriptedJudge::new(name, &[script]);
    let mut scene = Scene::of(vec![
        judge("a", answers(740)).expecting(650, 900),
        judge("b", answers(1)).expecting(650, 900),
    ])
    .without_hedges();
    scene.deadline_ms = 1_000;
    // half of it, which b's median would ask for, is less than a needs
    scene.check("judged by a at 740 ms: a primary judged 0+740").await;
}

#[tokio::test(start_paused = true)]
async fn a_judge_that_never_answers_keeps_its_time_from_nobody() {
    let never_answers = |scene: &Scene, name: &str| {
        let seat = scene.panel.seat(name).unwrap();
        (0..30).for_each(|_| seat.censor(Duration::from_secs(5)));
    };
    // nobody knows what answers of a and b take: three quarters for the one, a quarter for the other
    let scene = Scene::scripted(&[hangs(), answers(100)]).without_hedges();
    never_answers(&scene, "a");
    never_answers(&scene, "b");
    let expected = "judged by b at 3850 ms: a primary timeout 0+3750, b failover judged 3750+100";
    scene.check(expected).await;
    // what b would take is past the deadline: that is no reason to keep more for it
    let scene = Scene::scripted(&[answers(2_400), answers(100)]).without_hedges();
    never_answers(&scene, "b");
    scene.check("judged by a at 2400 ms: a primary judged 0+2400").await;
}

#[tokio::test(start_paused = true)]
async fn a_judge_whose_slow_answers_were_cut_taught_itself_to_make_way_ever_sooner() {
    let mut scene = Scene::of(vec![
        ScriptedJudge::new("a", &[answers(550)]).expecting(300, 450),
        ScriptedJudge::new("b", &[answers(450)]).expecting(450, 600),
    ])
    .without_hedges();
    scene.deadline_ms = 800;
    let seat = scene.panel.seat("a").unwrap();
    (0..30).for_each(|_| seat.censor(Duration::from_millis(780)));
    scene.check("judged by a at 550 ms: a primary judged 0+550").await;
}

#[tokio::test(start_paused = true)]
async fn an_attempt_makes_way_only_where_somebody_may_follow() {
    let mut scene = Scene::scripted(&[answers(4_900), answers(1)]).without_hedges();
    scene.route.max_attempts = 1;
    scene.check("judged by a at 4900 ms: a primary judged 0+4900").await;
    // the only other one is already running
    let scene = Scene::scripted(&[answers(4_900), hangs()]);
    let expected = "judged by a at 4900 ms: a primary judged 0+4900, b hedge cancelled 1500+3400";
    scene.check(expected).await;
}

#[tokio::test(start_paused = true)]
async fn an_attempt_ends_at_its_own_cap() {
    let mut scene = Scene::scripted(&[hangs(), answers(300)]).without_hedges();
    scene.route.attempt_cap = Some(Duration::from_millis(1_000));
    let expected = "judged by b at 1300 ms: a primary timeout 0+1000, b failover judged 1000+300";
    scene.check(expected).await;
    let mut scene = Scene::scripted(&[hangs(), hangs()]).without_hedges();
    scene.route.attempt_cap = Some(Duration::from_millis(1_000));
    let expected = "exhausted at 2000 ms: a primary timeout 0+1000, b failover timeout 1000+1000";
    scene.check(expected).await;
}

// What a hedge may cost.

#[tokio::test(start_paused = true)]
async fn an_empty_hedge_budget_leaves_the_last_chance() {
    let scene = Scene::scripted(&[hangs(), answers(900)]);
    scene.spend_hedge_budget();
    let expected = "judged by b at 4350 ms: a primary cancelled 0+4350, b hedge judged 3450+900";
    scene.check(expected).await;
}

#[tokio::test(start_paused = true)]
async fn ten_images_pay_for_one_hedge() {
    let mut scripts = vec![answers(700); 9];
    scripts.push(hangs());
    let scene = Scene::of(vec![
        ScriptedJudge::new("a", &scripts),
        ScriptedJudge::new("b", &[answers(300)]),
    ]);
    scene.spend_hedge_budget();
    for _ in 0..9 {
        scene.check("judged by a at 700 ms: a primary judged 0+700").await;
    }
    let expected = "judged by b at 1800 ms: a primary cancelled 0+1800, b hedge judged 1500+300";
    scene.check(expected).await;
    // and for no second one
    let expected = "judged by b at 3750 ms: a primary cancelled 0+3750, b hedge judged 3450+300";
    scene.check(expected).await;
}

#[tokio::test(start_paused = true)]
async fn with_both_budgets_empty_nobody_runs_beside_the_primary() {
    let scene = Scene::scripted(&[answers(3_700), answers(1)]);
    scene.spend_hedge_budget();
    scene.spend_last_chances();
    scene.check("judged by a at 3700 ms: a primary judged 0+3700").await;
}

#[tokio::test(start_paused = true)]
async fn the_last_chance_may_be_one_attempt_more() {
    let mut scene = Scene::scripted(&[hangs(), hangs(), hangs(), answers(900)]);
    scene.route.max_attempts = 2;
    scene
        .check(
            "late at 5000 ms: a primary cancelled 0+5000, b hedge cancelled 1500+3500, \
             c hedge cancelled 3450+1550",
        )
        .await;
}

#[tokio::test(start_paused = true)]
async fn beside_a_young_attempt_there_is_no_last_chance() {
    // b was started at 2900 ms and is 550 ms old when the last chance comes
    check(
        &[fails(1_400, Connect), hangs(), answers(2_000), answers(100)],
        "judged by c at 4900 ms: a primary connect 0+1400, b failover cancelled 1400+3500, \
         c hedge judged 2900+2000",
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_never_hedges_has_no_last_chance() {
    let scene = Scene::scripted(&[answers(3_700), answers(1)]).without_hedges();
    scene.check("judged by a at 3700 ms: a primary judged 0+3700").await;
    let mut scene = Scene::scripted(&[answers(3_700), answers(1)]);
    scene.route.hedge = Some(HedgeSpec { after_quantile: 0.95, budget_ratio: 0.0 });
    scene.check("judged by a at 3700 ms: a primary judged 0+3700").await;
}

#[tokio::test(start_paused = true)]
async fn a_hedge_that_would_break_the_cost_cap_is_skipped() {
    let mut scene = Scene::scripted(&[answers(3_700), answers(1)]);
    scene.cost_cap = Some(MicroUsd(199));
    scene.check("judged by a at 3700 ms: a primary judged 0+3700").await;
    scene.cost_cap = Some(MicroUsd(200));
    let hedged = "judged by b at 1501 ms: a primary cancelled 0+1501, b hedge judged 1500+1";
    scene.check(hedged).await;
}

#[tokio::test(start_paused = true)]
async fn the_first_attempt_and_a_failover_start_whatever_they_cost() {
    let mut scene = Scene::scripted(&[fails(10, Overloaded), answers(300)]);
    scene.cost_cap = Some(MicroUsd(1));
    let expected = "judged by b at 310 ms: a primary overloaded 0+10, b failover judged 10+300";
    scene.check(expected).await;
}

// What is learnt.

#[tokio::test(start_paused = true)]
async fn the_hedge_delay_follows_the_judge() {
    let mut scripts = vec![answers(600); 40];
    scripts.push(hangs());
    let scene = Scene::of(vec![
        ScriptedJudge::new("a", &scripts),
        ScriptedJudge::new("b", &[answers(300)]),
    ]);
    for _ in 0..40 {
        scene.check("judged by a at 600 ms: a primary judged 0+600").await;
    }
    let (raced, _) = scene.race().await;
    let hedge = &raced.attempts[1];
    assert_eq!((hedge.route, hedge.outcome), (Route::Hedge, AttemptOutcome::Judged));
    assert!((600..=624).contains(&hedge.started_ms), "{}", hedge.started_ms);
}

#[tokio::test(start_paused = true)]
async fn a_loser_is_recorded_with_its_estimate_and_its_age() {
    let scene = Scene::scripted(&[hangs(), answers(300)]);
    let (raced, _) = scene.race().await;
    let loser = &raced.attempts[0];
    assert_eq!((loser.outcome, loser.cost), (AttemptOutcome::Cancelled, ESTIMATE));
    assert_eq!((loser.took_ms, loser.tokens, loser.said), (1_800, None, None));
    let winner = &raced.attempts[1];
    assert_eq!((winner.cost, winner.scores.len()), (BILL, 2));
    assert_eq!(winner.request_id.as_deref(), Some("req-1"));
    let statuses = scene.panel.statuses();
    assert_eq!((statuses[0].samples, statuses[1].samples), (1, 1));
    assert_eq!(statuses[0].p50_ms, None, "a loser is no answer");
    assert!((290..=310).contains(&statuses[1].p50_ms.unwrap()));
}

#[tokio::test(start_paused = true)]
async fn the_only_judge_s_losers_do_not_make_its_answers_take_minutes() {
    let scene = Scene::scripted(&[answers(600)]);
    let seat = scene.panel.seat("a").unwrap();
    for _ in 0..30 {
        scene.race().await;
        (0..2).for_each(|_| seat.censor(Duration::from_secs(2)));
    }
    let told = scene.panel.statuses()[0].p50_ms;
    assert!(told.is_some_and(|p50| (580..=620).contains(&p50)), "{told:?}");
    let p50 = scene.panel.fastest_p50(&["a".to_owned()]);
    assert!(p50.is_some_and(|p50| p50 < Duration::from_millis(620)), "{p50:?}");
    let is_fast = |took_ms: u64| seat.is_fast(Duration::from_millis(took_ms));
    assert!(is_fast(100) && !is_fast(400));
    // there is time to wait until it is back, and to be answered
    seat.block(Duration::from_millis(200), now());
    scene.check("judged by a at 800 ms: a primary judged 200+600").await;
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_judge_that_is_down_and_silent() {
    let scene = Scene::scripted(&[hangs()]);
    for _ in 0..30 {
        scene.race().await;
    }
    let p50 = scene.panel.fastest_p50(&["a".to_owned()]);
    assert!(p50.is_some_and(|p50| scene.route.deadline < p50), "{p50:?}");
}

#[tokio::test(start_paused = true)]
async fn failures_teach_nothing_about_speed() {
    let scene = Scene::scripted(&[fails(10, Overloaded), fails(10, Refused), fails(9, Connect)]);
    scene.race().await.0.attempts.iter().for_each(|one| assert!(one.took_ms <= 10));
    assert!(scene.panel.statuses().iter().all(|judge| judge.samples == 0));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_race_leaves_nobody_in_flight() {
    let scene = Scene::scripted(&[hangs(), hangs()]);
    let dropped = Deadline::after(Duration::from_millis(1_600)).bound(scene.race()).await;
    assert!(dropped.is_err());
    scene.assert_idle();
    assert_eq!(scene.panel.statuses()[0].samples, 1, "it was cancelled at 1600 ms");
}

// A caller that hung up.

#[tokio::test(start_paused = true)]
async fn for_a_caller_gone_before_the_race_nobody_is_asked() {
    let mut scene = Scene::scripted(&[answers(300), answers(1)]);
    scene.caller_is_gone = true;
    scene.check("exhausted at 0 ms: ").await;
}

#[tokio::test(start_paused = true)]
async fn when_the_caller_is_gone_attempts_run_on_and_none_starts() {
    let mut scene = Scene::scripted(&[answers(4_000), answers(1)]);
    scene.caller_leaves_ms = Some(1_000);
    scene.check("judged by a at 4000 ms: a primary judged 0+4000").await;
    assert_eq!(scene.panel.statuses()[0].samples, 0, "nothing is learnt of it");
}

#[tokio::test(start_paused = true)]
async fn when_the_caller_is_gone_a_failure_ends_the_race() {
    let mut scene = Scene::scripted(&[fails(400, Overloaded), answers(1)]);
    scene.caller_leaves_ms = Some(100);
    scene.check("exhausted at 400 ms: a primary overloaded 0+400").await;
}

#[tokio::test(start_paused = true)]
async fn when_the_caller_is_gone_a_hung_judge_runs_to_the_deadline() {
    let mut scene = Scene::scripted(&[hangs(), answers(1)]);
    scene.caller_leaves_ms = Some(100);
    scene.check("late at 5000 ms: a primary cancelled 0+5000").await;
    assert_eq!(scene.panel.statuses()[0].samples, 0);
}
