//! A judge never has more calls under way than it may have: images wait for room, or go on.

use super::*;

use futures_util::future::join_all;
use tokio::task::JoinSet;

use crate::domain::AttemptOutcome::Overloaded;
use crate::panel::race::scene::{NAMES, Scene, story};
use crate::panel::script::{Script, ScriptedJudge, answers, fails, hangs};

/// Judges of which each may have so many calls.
fn capped(judges: &[(&[Script], u32)]) -> Scene {
    let judge = |(name, &(scripts, cap)): (&&str, &(&[Script], u32))| {
        (ScriptedJudge::new(name, scripts).expecting(650, 900), Some(cap))
    };
    Scene::capped(NAMES.iter().zip(judges).map(judge).collect())
}

/// Runs `races` and says how many calls the first judge had at once.
async fn most_in_flight<T>(scene: &Scene, races: impl Future<Output = T>) -> (T, u32) {
    let mut most = 0;
    let watching = async {
        loop {
            most = most.max(scene.panel.statuses()[0].in_flight);
            time::sleep(Duration::from_millis(5)).await;
        }
    };
    let told = tokio::select! {
        told = races => told,
        () = watching => unreachable!("it looks for ever"),
    };
    (told, most)
}

#[tokio::test(start_paused = true)]
async fn a_burst_has_no_more_calls_under_way_than_were_configured() {
    let scene = capped(&[(&[answers(300)], 8)]);
    let burst = join_all((0..100).map(|_| scene.race()));
    let (raced, most) = most_in_flight(&scene, burst).await;
    assert_eq!(most, 8);
    // 13 rounds of 300 ms
    let judged = |(raced, _): &&(Raced, Duration)| matches!(raced.outcome, Outcome::Judged { .. });
    assert_eq!(raced.iter().filter(judged).count(), 100);
    assert_eq!(raced.iter().map(|(_, took)| took.as_millis()).max(), Some(3_900));
    scene.assert_idle();
}

#[tokio::test(start_paused = true)]
async fn a_full_judge_is_passed_over_where_another_has_room() {
    let scene = capped(&[(&[answers(300)], 1), (&[answers(400)], 1)]);
    let _busy = scene.panel.seat("a").unwrap().enter().unwrap();
    scene.check_but_probes("judged by b at 400 ms: b failover judged 0+400").await;
}

#[tokio::test(start_paused = true)]
async fn the_only_judge_is_not_asked_again_beyond_what_it_may_have() {
    let scene = capped(&[(&[fails(100, Overloaded), answers(300)], 1)]);
    let races = async { tokio::join!(scene.race(), scene.race()) };
    let (((first, took), (second, other)), most) = most_in_flight(&scene, races).await;
    // the one that failed waits for the one that had waited for it
    let expected = "judged by a at 700 ms: a primary overloaded 0+100, a failover judged 400+300";
    assert_eq!(story(&first, took), expected);
    assert_eq!(story(&second, other), "judged by a at 400 ms: a primary judged 100+300");
    assert_eq!(most, 1);
}

#[tokio::test(start_paused = true)]
async fn who_waited_too_long_for_room_leaves_it_to_others() {
    let scene = capped(&[(&[answers(300)], 1)]);
    let busy = scene.panel.seat("a").unwrap().enter().unwrap();
    let ending = async {
        time::sleep(Duration::from_millis(4_500)).await;
        drop(busy);
    };
    let ((raced, took), ()) = tokio::join!(scene.race(), ending);
    assert_eq!(story(&raced, took), "exhausted at 4500 ms: ");
}

#[tokio::test(start_paused = true)]
async fn the_last_chance_and_a_failover_wait_for_room_too() {
    let scene = capped(&[(&[hangs()], 1), (&[answers(300)], 1)]);
    let _busy = scene.panel.seat("b").unwrap().enter().unwrap();
    scene.check_but_probes("late at 5000 ms: a primary cancelled 0+5000").await;

    let scene = capped(&[(&[fails(100, Overloaded)], 1), (&[answers(300)], 1)]);
    let busy = scene.panel.seat("b").unwrap().enter().unwrap();
    let ending = async {
        time::sleep(Duration::from_millis(1_000)).await;
        drop(busy);
    };
    let ((raced, took), ()) = tokio::join!(scene.race(), ending);
    let expected = "judged by b at 1300 ms: a primary overloaded 0+100, b failover judged 1000+300";
    assert_eq!(story(&raced, took), expected);
}

#[tokio::test(start_paused = true)]
async fn a_slow_judge_that_is_back_too_late_does_not_keep_a_fast_one_from_being_asked() {
    let scene = Scene::of(vec![
        ScriptedJudge::new("a", &[answers(2_400)]).expecting(2_400, 3_000),
        ScriptedJudge::new("b", &[answers(300)]).expecting(300, 400),
    ]);
    let both = ["a", "b"].map(|name| scene.panel.seat(name).unwrap());
    both.iter().for_each(|seat| seat.block(Duration::from_secs(3), now()));
    scene.check_but_probes("judged by b at 3300 ms: b failover judged 3000+300").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_burst_on_several_threads_leaves_nobody_without_a_judge() {
    for _ in 0..20 {
        let scene = Arc::new(capped(&[(&[answers(2)], 4), (&[answers(3)], 3)]));
        let mut races = JoinSet::new();
        for _ in 0..100 {
            let scene = Arc::clone(&scene);
            races.spawn(async move { scene.race().await.0.outcome });
        }
        while let Some(outcome) = races.join_next().await {
            assert!(matches!(outcome.unwrap(), Outcome::Judged { .. }));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_room_for_a_caller_that_is_gone() {
    let mut scene = capped(&[(&[answers(300)], 1)]);
    scene.caller_leaves_ms = Some(200);
    let _busy = scene.panel.seat("a").unwrap().enter().unwrap();
    scene.check_but_probes("exhausted at 200 ms: ").await;
}
