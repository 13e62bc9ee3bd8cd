//! Judges of which nobody said how fast they are, or of which somebody was wrong.

use super::*;

/// The same judges, of whom nobody said how fast they are.
fn unknown(scripts: &[Script]) -> Scene {
    Scene::scripted(scripts)
}

#[tokio::test(start_paused = true)]
async fn a_judge_that_is_slow_by_nature_is_not_opened_although_nobody_said_so() {
    let scene = unknown(&[answers(2_400), answers(700)]).without_hedges();
    for _ in 0..5 {
        join_all((0..30).map(|_| scene.race())).await;
        assert_eq!(breaker(&scene, "a"), BreakerState::Closed);
    }
    assert_eq!(scene.panel.statuses()[0].strikes, 0);
}

#[tokio::test(start_paused = true)]
async fn a_judge_that_never_answered_is_left_although_nobody_knows_how_fast_it_is() {
    let scene = unknown(&[hangs(), answers(700)]);
    // after the first seconds its calls strike at the age that is assumed
    assert_eq!(races_until(&scene, "a", BreakerState::Open).await, 7);
    let scene = unknown(&[hangs(), answers(700)]);
    let race_at = async |millis| {
        pass(millis).await;
        scene.race().await
    };
    let watching = async {
        pass(5_500).await;
        breaker(&scene, "a")
    };
    let coming = join_all((0..200).map(|image| race_at(25 * image)));
    assert_eq!(tokio::join!(coming, watching).1, BreakerState::Open);
}

#[tokio::test(start_paused = true)]
async fn a_judge_that_was_dropped_after_a_moment_long_ago_is_not_silent() {
    let scene = unknown(&[answers(2_400), answers(700)]).without_hedges();
    scene.panel.seat("a").unwrap().censor(Duration::from_millis(100));
    pass(3_600_000).await;
    join_all((0..40).map(|_| scene.race())).await;
    assert_eq!(breaker(&scene, "a"), BreakerState::Closed);
    assert_eq!(scene.panel.statuses()[0].strikes, 0);
}

#[tokio::test(start_paused = true)]
async fn a_slow_judge_that_was_taken_for_a_dead_one_comes_back() {
    // hedges are always faster than its first answer would be
    let scene = unknown(&[answers(2_400), answers(700)]);
    races_until(&scene, "a", BreakerState::Open).await;
    let mut races = 0;
    while breaker(&scene, "a") != BreakerState::Closed {
        scene.race().await;
        pass(2_500).await;
        races += 1;
        assert!(races < 30, "its probes answer");
    }
    scene.spend_hedge_budget();
    for _ in 0..60 {
        scene.race().await;
        pass(5_000).await;
        assert_eq!(breaker(&scene, "a"), BreakerState::Closed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_judge_that_is_slower_than_somebody_said_is_not_locked_out() {
    let misjudged = ScriptedJudge::new("a", &[answers(800)]).expecting(100, 150);
    let other = ScriptedJudge::new("b", &[answers(700)]).expecting(650, 900);
    let scene = Scene::of(vec![misjudged, other]);
    let mut running = 0;
    for _ in 0..400 {
        scene.race().await;
        pass(500).await;
        running = if breaker(&scene, "a") == BreakerState::Closed { running + 1 } else { 0 };
    }
    assert!(200 < running, "it was in its turn for the last {running} of 400 images");
}

#[tokio::test(start_paused = true)]
async fn a_judge_that_was_known_to_be_fast_is_not_learnt_anew_while_it_is_slow() {
    let mut scripts = vec![answers(600); 40];
    scripts.push(answers(2_400));
    let known = ScriptedJudge::new("a", &scripts).expecting(600, 800);
    let other = ScriptedJudge::new("b", &[answers(700)]).expecting(650, 900);
    let scene = Scene::of(vec![known, other]);
    for _ in 0..40 {
        scene.race().await;
    }
    races_until(&scene, "a", BreakerState::Open).await;
    for _ in 0..100 {
        scene.race().await;
        pass(2_500).await;
        assert_ne!(breaker(&scene, "a"), BreakerState::Closed);
    }
}
