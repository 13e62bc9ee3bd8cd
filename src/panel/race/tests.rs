//! Who wins, who is asked next, and when it is over. The figures are those of `scene`.

use super::*;

use crate::domain::AttemptOutcome;
use crate::domain::AttemptOutcome::{
    Auth, BadRequest, Blind, Connect, Empty, Overloaded, Refused, ServerError, Timeout, Truncated,
    Unreadable,
};
use crate::panel::race::scene::{Scene, check, story};
use crate::panel::script::{
    Act, BILL, Script, ScriptedJudge, answers, fails, hangs, keeps_away, limited,
};

// The first valid judgement wins.

#[tokio::test(start_paused = true)]
async fn a_healthy_primary_is_the_only_one_asked() {
    check(&[answers(700), answers(500)], "judged by a at 700 ms: a primary judged 0+700").await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_primary_is_hedged() {
    check(
        &[answers(4_000), answers(300)],
        "judged by b at 1800 ms: a primary cancelled 0+1800, b hedge judged 1500+300",
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_hedged_primary_may_still_win() {
    check(
        &[answers(1_700), answers(300)],
        "judged by a at 1700 ms: a primary judged 0+1700, b hedge cancelled 1500+200",
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_hedge_does_not_beat_a_slow_primary() {
    check(
        &[answers(2_000), fails(50, ServerError)],
        "judged by a at 2000 ms: a primary judged 0+2000, b hedge server_error 1500+50",
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_hedge_is_followed_by_the_next_judge() {
    check(
        &[hangs(), fails(50, ServerError), answers(400)],
        "judged by c at 1950 ms: a primary cancelled 0+1950, b hedge server_error 1500+50, \
         c failover judged 1550+400",
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn two_slow_judges_are_hedged_twice() {
    check(
        &[hangs(), hangs(), answers(300)],
        "judged by c at 3300 ms: a primary cancelled 0+3300, b hedge cancelled 1500+1800, \
         c hedge judged 3000+300",
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn two_answers_at_once_are_decided_by_the_order() {
    check(
        &[answers(1_800), answers(300)],
        "judged by a at 1800 ms: a primary judged 0+1800, b hedge cancelled 1500+300",
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn silence_ends_at_the_deadline() {
    check(
        &[hangs(), hangs()],
        "late at 5000 ms: a primary cancelled 0+5000, b hedge cancelled 1500+3500",
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_at_the_deadline_is_in_time() {
    let answering = |ms: u64| Scene::scripted(&[answers(ms)]).without_hedges();
    answering(5_000).check("judged by a at 5000 ms: a primary judged 0+5000").await;
    answering(5_001).check("late at 5000 ms: a primary cancelled 0+5000").await;
}

#[tokio::test(start_paused = true)]
async fn after_the_deadline_nobody_is_called() {
    let mut scene = Scene::scripted(&[answers(1)]);
    scene.deadline_ms = 0;
    scene.check("late at 0 ms: ").await;
}

#[tokio::test(start_paused = true)]
async fn a_failure_at_the_deadline_is_late_and_not_exhausted() {
    let scene = Scene::scripted(&[fails(5_000, Overloaded)]).without_hedges();
    scene.check("late at 5000 ms: a primary overloaded 0+5000").await;
}

#[tokio::test(start_paused = true)]
async fn a_judge_that_minds_the_races_deadline_is_cancelled_by_it_and_did_not_time_out() {
    let mindful = |name: &str| ScriptedJudge::new(name, &[hangs()]).minding_its_deadline();
    let scene = Scene::of(vec![mindful("a"), mindful("b")]);
    let expected = "late at 5000 ms: a primary cancelled 0+5000, b hedge cancelled 1500+3500";
    scene.check(expected).await;
    // its own cap is its own time
    let mut scene = Scene::of(vec![mindful("a"), mindful("b")]).without_hedges();
    scene.route.attempt_cap = Some(Duration::from_millis(2_000));
    let expected = "exhausted at 4000 ms: a primary timeout 0+2000, b failover timeout 2000+2000";
    scene.check(expected).await;
}

#[tokio::test(start_paused = true)]
async fn a_race_may_move_between_workers() {
    fn assert_send<T: Send>(moving: T) -> T {
        moving
    }
    let scene = Scene::scripted(&[answers(700)]);
    let (raced, _) = assert_send(scene.race()).await;
    assert_eq!(raced.attempts.len(), 1);
}

// Failures start the next judge at once.

#[tokio::test(start_paused = true)]
async fn every_failure_of_the_provider_fails_over_at_once() {
    use AttemptOutcome::RateLimited;
    let outcomes = [
        Refused,
        Empty,
        Truncated,
        Unreadable,
        Blind,
        RateLimited,
        Overloaded,
        ServerError,
        BadRequest,
        Auth,
        Connect,
        Timeout,
    ];
    for outcome in outcomes {
        let label = outcome.label();
        let expected =
            format!("judged by b at 450 ms: a primary {label} 0+150, b failover judged 150+300");
        check(&[fails(150, outcome), answers(300)], &expected).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_we_stopped_ourselves_does_not_fail_over() {
    let stopped = fails(10, AttemptOutcome::OverBudget);
    check(&[stopped, answers(300)], "exhausted at 10 ms: a primary over_budget 0+10").await;
}

#[tokio::test(start_paused = true)]
async fn a_providers_own_cancel_is_its_failure_and_the_second_judge_answers() {
    // an HTTP 499, which the wire form reads as a cancel
    let scene = Scene::scripted(&[fails(10, AttemptOutcome::Cancelled), answers(300)]);
    let expected = "judged by b at 310 ms: a primary server_error 0+10, b failover judged 10+300";
    scene.check(expected).await;
    assert_eq!(scene.panel.statuses()[0].samples, 0, "it says nothing about speed");
}

#[tokio::test(start_paused = true)]
async fn a_failover_is_hedged_like_a_primary() {
    check(
        &[fails(100, Connect), hangs(), answers(200)],
        "judged by c at 1800 ms: a primary connect 0+100, b failover cancelled 100+1700, \
         c hedge judged 1600+200",
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn when_all_fail_the_race_ends_before_its_deadline() {
    check(
        &[fails(50, Overloaded), fails(60, Connect), fails(70, Unreadable)],
        "exhausted at 180 ms: a primary overloaded 0+50, b failover connect 50+60, \
         c failover unreadable 110+70",
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn no_more_attempts_than_the_policy_allows() {
    let mut scene = Scene::scripted(&[fails(50, Overloaded), fails(60, Connect), answers(1)]);
    scene.route.max_attempts = 2;
    scene.check("exhausted at 110 ms: a primary overloaded 0+50, b failover connect 50+60").await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_scores_is_unreadable_and_paid_for() {
    let scene = Scene::scripted(&[Script(100, Act::Garble), answers(300)]);
    let (raced, took) = scene.race().await;
    assert_eq!(
        story(&raced, took),
        "judged by b at 400 ms: a primary unreadable 0+100, b failover judged 100+300"
    );
    let garbled = &raced.attempts[0];
    assert_eq!((garbled.cost, garbled.scores.len()), (BILL, 0));
    assert_eq!(garbled.detail.as_deref(), Some("nothing was scored"));
}

#[tokio::test(start_paused = true)]
async fn an_impossible_score_never_wins() {
    for score in [f64::NAN, f64::INFINITY, -0.1, 1.1] {
        check(
            &[Script(100, Act::Answer(score)), answers(300)],
            "judged by b at 400 ms: a primary unreadable 0+100, b failover judged 100+300",
        )
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_that_calls_itself_judged_is_an_error() {
    check(
        &[fails(100, AttemptOutcome::Judged), answers(300)],
        "judged by b at 400 ms: a primary server_error 0+100, b failover judged 100+300",
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_judge_that_panics_does_not_take_the_race_with_it() {
    let scene = Scene::scripted(&[Script(100, Act::Panic), answers(300)]);
    let (raced, took) = scene.race().await;
    assert_eq!(
        story(&raced, took),
        "judged by b at 400 ms: a primary server_error 0+100, b failover judged 100+300"
    );
    assert_eq!(raced.attempts[0].detail.as_deref(), Some("the judge broke"));
    scene.assert_idle();
}

// Refused requests and refused content.

#[tokio::test(start_paused = true)]
async fn a_request_refused_by_one_dialect_goes_to_another() {
    let judge = |name: &str, script: Script| ScriptedJudge::new(name, &[script]);
    let scene = Scene::of(vec![
        judge("a", fails(40, BadRequest)).speaking("openai"),
        judge("b", answers(1)).speaking("openai"),
        judge("c", answers(300)).speaking("gemini"),
    ]);
    let expected = "judged by c at 340 ms: a primary bad_request 0+40, c failover judged 40+300";
    scene.check(expected).await;
}

#[tokio::test(start_paused = true)]
async fn a_request_refused_by_the_only_dialect_is_not_repeated() {
    let judge = |name: &str, script: Script| ScriptedJudge::new(name, &[script]);
    let scene = Scene::of(vec![
        judge("a", fails(40, BadRequest)).speaking("openai"),
        judge("b", answers(1)).speaking("openai"),
    ]);
    scene.check("exhausted at 40 ms: a primary bad_request 0+40").await;
}

#[tokio::test(start_paused = true)]
async fn two_dialects_refusing_the_same_image_settle_it() {
    check(
        &[fails(40, BadRequest), fails(50, BadRequest), answers(1)],
        "exhausted at 90 ms: a primary bad_request 0+40, b failover bad_request 40+50",
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_goes_to_a_different_provider() {
    let judge = |name: &str, script: Script| ScriptedJudge::new(name, &[script]);
    let scene = Scene::of(vec![
        judge("a", fails(40, Refused)).served_by("acme"),
        judge("b", answers(1)).served_by("acme"),
        judge("c", answers(300)),
    ]);
    scene.check("judged by c at 340 ms: a primary refused 0+40, c failover judged 40+300").await;
}

#[tokio::test(start_paused = true)]
async fn two_refusals_from_different_providers_settle_it() {
    check(
        &[fails(40, Refused), fails(50, Refused), answers(1)],
        "exhausted at 90 ms: a primary refused 0+40, b failover refused 40+50",
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_settled_image_still_hears_the_judge_that_is_looking() {
    check(
        &[answers(2_000), fails(50, Refused), fails(60, Refused)],
        "judged by a at 2000 ms: a primary judged 0+2000, b hedge refused 1500+50, \
         c failover refused 1550+60",
    )
    .await;
}

// Judges that asked us to stay away.

#[tokio::test(start_paused = true)]
async fn a_judge_that_asked_us_to_stay_away_is_skipped() {
    let scene = Scene::scripted(&[limited(20, 2_000), answers(300)]);
    let first = "judged by b at 320 ms: a primary rate_limited 0+20, b failover judged 20+300";
    scene.check(first).await;
    assert_eq!(scene.panel.statuses()[0].blocked_for_ms, Some(1_700));
    scene.check("judged by b at 300 ms: b failover judged 0+300").await;
    time::sleep(Duration::from_millis(1_400)).await;
    assert_eq!(scene.panel.statuses()[0].blocked_for_ms, None);
    scene.check(first).await;
}

#[tokio::test(start_paused = true)]
async fn an_overloaded_judge_that_says_for_how_long_is_not_asked_meanwhile() {
    let scene = Scene::scripted(&[keeps_away(20, Overloaded, 2_000), answers(300)]);
    let first = "judged by b at 320 ms: a primary overloaded 0+20, b failover judged 20+300";
    scene.check(first).await;
    scene.check("judged by b at 300 ms: b failover judged 0+300").await;
    // a broken server's wish is not heard: it may be well at once
    let scene = Scene::scripted(&[keeps_away(20, ServerError, 2_000), answers(300)]);
    scene.race().await;
    assert_eq!(scene.panel.statuses()[0].blocked_for_ms, None);
}

#[tokio::test(start_paused = true)]
async fn nobody_is_blocked_for_more_than_30_s() {
    for outcome in [AttemptOutcome::RateLimited, Overloaded] {
        let scene = Scene::scripted(&[keeps_away(0, outcome, 3_600_000), answers(0)]);
        let (raced, _) = scene.race().await;
        assert_eq!(raced.attempts.len(), 2);
        assert_eq!(scene.panel.statuses()[0].blocked_for_ms, Some(30_000));
    }
}

#[tokio::test(start_paused = true)]
async fn a_shorter_block_does_not_lift_a_longer_one() {
    let scene = Scene::scripted(&[limited(0, 9_000)]);
    scene.race().await.0.attempts.iter().for_each(|one| assert_eq!(one.took_ms, 0));
    let seat = scene.panel.seat("a").unwrap();
    seat.block(Duration::from_secs(1), now());
    assert_eq!(seat.standing(0.5, now()).blocked_for, Some(Duration::from_secs(9)));
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_without_a_delay_blocks_nobody() {
    let scene = Scene::scripted(&[fails(20, AttemptOutcome::RateLimited), answers(300)]);
    let expected = "judged by b at 320 ms: a primary rate_limited 0+20, b failover judged 20+300";
    scene.check(expected).await;
    scene.check(expected).await;
}

#[tokio::test(start_paused = true)]
async fn a_judge_that_said_429_twice_is_paced_and_the_next_gets_the_rest() {
    let twice = [limited(20, 1_000), limited(20, 1_000), answers(300)];
    let b = ScriptedJudge::new("b", &[answers(400)]);
    let scene = Scene::of(vec![ScriptedJudge::new("a", &twice), b]);
    let refused = "judged by b at 420 ms: a primary rate_limited 0+20, b failover judged 20+400";
    let over_its_pace = "judged by b at 400 ms: b failover judged 0+400";
    let in_turn = "judged by a at 300 ms: a primary judged 0+300";
    for _ in 0..2 {
        scene.check(refused).await;
        time::sleep(Duration::from_millis(700)).await;
    }
    // it admitted nothing: a call every two seconds
    assert_eq!(scene.panel.statuses()[0].blocked_for_ms, None);
    scene.check(over_its_pace).await;
    time::sleep(Duration::from_millis(600)).await;
    scene.check(in_turn).await;
    scene.check(over_its_pace).await;
    // the pace is over
    time::sleep(Duration::from_millis(300)).await;
    scene.check(in_turn).await;
    scene.check(in_turn).await;
}

#[tokio::test(start_paused = true)]
async fn a_judge_is_asked_over_its_pace_where_nobody_else_may_be() {
    let twice = [limited(20, 1_000), limited(20, 1_000), answers(300)];
    let b = ScriptedJudge::new("b", &[answers(400)]);
    let scene = Scene::of(vec![ScriptedJudge::new("a", &twice), b]);
    for _ in 0..2 {
        scene.race().await;
        time::sleep(Duration::from_millis(700)).await;
    }
    scene.panel.seat("b").unwrap().block(Duration::from_secs(9), now());
    scene.check("judged by a at 300 ms: a primary judged 0+300").await;
    scene.check("judged by a at 300 ms: a primary judged 0+300").await;
}

#[tokio::test(start_paused = true)]
async fn when_all_ask_us_to_stay_away_the_soonest_free_is_waited_for() {
    let scene = Scene::scripted(&[answers(300), answers(400)]);
    scene.panel.seat("a").unwrap().block(Duration::from_secs(9), now());
    scene.panel.seat("b").unwrap().block(Duration::from_secs(3), now());
    scene.check("judged by b at 3400 ms: b failover judged 3000+400").await;
    // also after one that was refused just now
    let scene = Scene::scripted(&[limited(20, 2_000), answers(400)]);
    scene.panel.seat("b").unwrap().block(Duration::from_secs(1), now());
    let told = "judged by b at 1400 ms: a primary rate_limited 0+20, b failover judged 1000+400";
    scene.check(told).await;
}

#[tokio::test(start_paused = true)]
async fn nobody_is_waited_for_once_the_caller_has_gone() {
    let mut scene = Scene::scripted(&[answers(300)]);
    scene.panel.seat("a").unwrap().block(Duration::from_secs(3), now());
    scene.caller_leaves_ms = Some(200);
    scene.check("exhausted at 200 ms: ").await;
}

#[tokio::test(start_paused = true)]
async fn a_judge_that_is_back_too_late_to_answer_is_not_waited_for() {
    let scene = Scene::of(vec![ScriptedJudge::new("a", &[answers(900)]).expecting(900, 1_200)]);
    scene.panel.seat("a").unwrap().block(Duration::from_millis(4_800), now());
    scene.check("exhausted at 0 ms: ").await;
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_a_judge_without_room_looks_again_and_asks_in_the_end() {
    let scene = Scene::scripted(&[answers(300)]);
    let seat = Arc::clone(scene.panel.seat("a").unwrap());
    seat.block(Duration::from_secs(1), now());
    let crowd: Vec<_> = (0..256).map(|_| seat.enter()).collect();
    let leaving = async {
        time::sleep(Duration::from_millis(1_500)).await;
        drop(crowd);
    };
    let race = async {
        let (raced, _) = scene.race().await;
        let started_ms = raced.attempts[0].started_ms;
        assert!((1_500..1_650).contains(&started_ms), "{started_ms}");
    };
    tokio::join!(race, leaving);
}

#[tokio::test(start_paused = true)]
async fn when_all_stay_away_past_the_deadline_the_race_ends_at_once_and_costs_nothing() {
    let scene = Scene::scripted(&[answers(300), answers(400)]);
    scene.panel.seat("a").unwrap().block(Duration::from_secs(9), now());
    scene.panel.seat("b").unwrap().block(Duration::from_secs(6), now());
    scene.check("exhausted at 0 ms: ").await;
    // and after a failure nobody is asked who cannot be back in time
    let scene = Scene::scripted(&[fails(20, Overloaded), answers(400)]);
    scene.panel.seat("b").unwrap().block(Duration::from_secs(6), now());
    scene.check("exhausted at 20 ms: a primary overloaded 0+20").await;
}

#[tokio::test(start_paused = true)]
async fn nobody_runs_beside_or_makes_way_for_a_judge_that_asked_us_to_stay_away() {
    let scene = Scene::scripted(&[answers(4_000), answers(100)]);
    scene.panel.seat("b").unwrap().block(Duration::from_secs(9), now());
    scene.check("judged by a at 4000 ms: a primary judged 0+4000").await;
}

#[tokio::test(start_paused = true)]
async fn an_unknown_judge_is_skipped() {
    let mut scene = Scene::scripted(&[answers(300)]);
    scene.route.judges = vec!["gone".to_owned(), "a".to_owned(), "a".to_owned()];
    scene.check("judged by a at 300 ms: a failover judged 0+300").await;
    scene.route.judges = vec!["gone".to_owned()];
    scene.check("exhausted at 0 ms: ").await;
}
