//! A judgement that leaves at its scores wins there and is timed there; the rest goes with it.

use super::*;

use futures_util::future::join_all;

use crate::panel::BreakerState;
use crate::panel::pace::Upto;
use crate::panel::race::scene::{Scene, story};
use crate::panel::script::{Act, BILL, ESTIMATE, Script, ScriptedJudge, answers};

fn early(ms: u64, rest_ms: u64) -> Script {
    Script(ms, Act::Early(0.9, rest_ms))
}

/// Has a's answers end after this long, as often as that.
fn ends(scene: &Scene, after_ms: u64, times: usize) {
    let seat = scene.panel.seat("a").expect("a");
    (0..times).for_each(|_| seat.record_end(Duration::from_millis(after_ms)));
}

/// Shows a an image and reads what is left of its answer for as long as the gate does; a's breaker.
async fn race_to_the_end(scene: &Scene) -> BreakerState {
    if let Some(rest) = scene.race().await.0.rest {
        rest.read(Deadline::after(Duration::from_secs(2))).await;
    }
    scene.panel.statuses()[0].breaker
}

#[tokio::test(start_paused = true)]
async fn a_judge_that_writes_its_reasons_slowly_is_not_opened() {
    // its ends come within the time they are waited for, after it, or now and then after it
    for scripts in [vec![1_700], vec![4_000], vec![900, 900, 900, 4_000]] {
        let scripts: Vec<Script> =
            scripts.into_iter().map(|rest_ms| early(700, rest_ms)).cycle().take(201).collect();
        let scene = Scene::of(vec![
            ScriptedJudge::new("a", &scripts).expecting(700, 1_000),
            ScriptedJudge::new("b", &[answers(400)]),
        ]);
        for _ in 0..200 {
            assert_eq!(race_to_the_end(&scene).await, BreakerState::Closed);
        }
        assert_eq!(scene.panel.statuses()[0].strikes, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_judge_whose_ends_come_to_take_longer_is_opened_and_asked_again() {
    for rest_ms in [1_900, 60_000] {
        let scene = Scene::scripted(&[early(300, rest_ms), answers(400)]);
        ends(&scene, 900, 400);
        let mut opened_after = 0;
        while race_to_the_end(&scene).await == BreakerState::Closed {
            opened_after += 1;
            assert!(opened_after < 8, "a stall is noticed soon");
        }
        let since = Stopwatch::start();
        while race_to_the_end(&scene).await != BreakerState::Closed {
            assert!(since.elapsed() < Duration::from_secs(600), "what lasts is normal");
        }
        assert!(Duration::from_secs(30) < since.elapsed(), "{rest_ms}: {:?}", since.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_judgement_wins_at_its_scores_and_brings_its_rest() {
    let scene = Scene::scripted(&[early(300, 500), answers(400)]);
    let (mut raced, took) = scene.race().await;
    assert_eq!(story(&raced, took), "judged by a at 300 ms: a primary judged 0+300");
    let in_flight = || scene.panel.statuses().iter().map(|judge| judge.in_flight).sum::<u32>();
    assert_eq!(in_flight(), 1, "the judge still writes: its limit counts that too");
    let [attempt] = raced.attempts.as_slice() else { panic!("one attempt") };
    assert_eq!((attempt.ended_ms, attempt.tokens, attempt.cost), (None, None, ESTIMATE));

    let mut rest = raced.rest.take().expect("it left early");
    assert_eq!(rest.take_if_sound(), None);
    let part = rest.read(Deadline::after(Duration::from_secs(2))).await;
    assert_eq!((part.cost, part.tokens.is_some()), (BILL, true));
    assert_eq!(in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_history_of_a_judge_is_of_its_scores() {
    let scene = Scene::scripted(&[early(300, 1_500)]);
    for _ in 0..40 {
        drop(scene.race().await);
    }
    let p95_ms = scene.panel.statuses().first().and_then(|one| one.p95_ms);
    assert!(p95_ms.is_some_and(|p95| (280..=320).contains(&p95)), "{p95_ms:?}");
}

#[tokio::test(start_paused = true)]
async fn a_judge_that_stops_behind_its_scores_opens_and_one_that_goes_on_does_not() {
    for (rest_ms, opens) in [(60_000, true), (1_500, false)] {
        let scene = Scene::scripted(&[early(300, rest_ms), answers(400)]);
        ends(&scene, 1_200, 40);
        let raced = join_all((0..8).map(|_| scene.race())).await;
        let rests = raced.into_iter().map(|(raced, _)| raced.rest.expect("it left early"));
        let reading = rests.map(|rest| rest.read(Deadline::after(Duration::from_millis(1_900))));
        let took = Stopwatch::start();
        join_all(reading).await;
        assert!(took.elapsed() <= Duration::from_millis(1_900));
        let judge = scene.panel.statuses().into_iter().next().expect("a");
        assert_eq!(judge.breaker == BreakerState::Open, opens, "{rest_ms} ms: {judge:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_judge_whose_answers_break_off_behind_their_scores_opens() {
    for (act, opens) in [(Act::BreaksOff(0.9, 900), true), (Act::Early(0.9, 900), false)] {
        let scene = Scene::scripted(&[Script(300, act.clone()), answers(400)]);
        for _ in 0..30 {
            let Some(rest) = scene.race().await.0.rest else { break };
            rest.read(Deadline::after(Duration::from_secs(2))).await;
        }
        let breaker = scene.panel.statuses()[0].breaker;
        assert_eq!(breaker != BreakerState::Closed, opens, "{act:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_struck_before_its_scores_does_not_strike_again_for_its_end() {
    let judge = ScriptedJudge::new("a", &[early(2_500, 60_000)]).expecting(650, 900);
    let scene = Scene::of(vec![judge]).without_hedges();
    ends(&scene, 1_200, 40);
    let rest = scene.race().await.0.rest.expect("it left early");
    rest.read(Deadline::after(Duration::from_secs(2))).await;
    assert_eq!(scene.panel.statuses()[0].strikes, 1);
}

#[tokio::test(start_paused = true)]
async fn of_a_caller_that_has_gone_the_end_teaches_nothing() {
    let scene = Scene { caller_leaves_ms: Some(200), ..Scene::scripted(&[early(300, 60_000)]) };
    ends(&scene, 1_200, 40);
    let rest = scene.race().await.0.rest.expect("it left early");
    rest.read(Deadline::after(Duration::from_secs(2))).await;
    assert_eq!(scene.panel.statuses()[0].strikes, 0);
}

#[test]
fn an_end_is_waited_for_at_least_as_long_as_the_scores() {
    let judge = ScriptedJudge::new("a", &[answers(300)]).expecting(2_400, 3_400);
    let scene = Scene::of(vec![judge]);
    let (seat, budget) = (scene.panel.seat("a").expect("a"), Duration::from_secs(5));
    assert!(seat.strike_age(Upto::Scores, budget) <= seat.strike_age(Upto::End, budget));
    ends(&scene, 1_200, 100);
    assert!(Duration::from_secs(4) < seat.strike_age(Upto::End, budget));
}

#[tokio::test(start_paused = true)]
async fn a_whole_judgement_has_no_rest() {
    let (raced, _) = Scene::scripted(&[answers(300)]).race().await;
    assert!(raced.rest.is_none());
    assert_eq!(raced.attempts.first().and_then(|one| one.ended_ms), Some(300));
}
