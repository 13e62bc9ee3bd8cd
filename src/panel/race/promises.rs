//! What a race promises, whatever the judges do: each promise over many stories, not one example.

use super::*;

use std::ops::Range;
use std::time::Duration;

use futures_util::future::join_all;
use proptest::prelude::*;
use tokio::runtime::{Builder, Runtime};
use tokio::time;

use crate::domain::AttemptOutcome;
use crate::panel::race::scene::{NAMES, Scene, story};
use crate::panel::script::{Act, Script, ScriptedJudge, answers, hangs};
use crate::panel::{AttemptError, BreakerState};

/// How judges fail that may say when to come again …
const ASKING: [AttemptOutcome; 2] = [AttemptOutcome::RateLimited, AttemptOutcome::Overloaded];
/// … and how others do.
const SILENT: [AttemptOutcome; 2] = [AttemptOutcome::ServerError, AttemptOutcome::Connect];

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Answers, hangs or fails; what fails asks to be left alone for as long as it is told here.
fn any_act(retry_after: Option<Duration>) -> impl Strategy<Value = Script> {
    let outcome = prop::sample::select([ASKING, SILENT].concat());
    let failing = outcome.prop_map(move |outcome| {
        let retry_after = retry_after.filter(|_| ASKING.contains(&outcome));
        Act::Fail(AttemptError { retry_after, ..AttemptError::new(outcome, "any") })
    });
    let act = prop_oneof![3 => Just(Act::Answer(0.8)), 1 => Just(Act::Hang), 4 => failing];
    (0_u64..3_000, act).prop_map(|(after_ms, act)| Script(after_ms, act))
}

/// A judge's scripts, for how long those that fail ask to be left alone, and whether somebody said
/// how fast it is.
type Life = (Vec<Script>, Option<Duration>, bool);

fn any_lives(asking: bool) -> impl Strategy<Value = Vec<Life>> {
    let wait = prop::option::of((0_u64..28_000).prop_map(ms));
    let life = (wait, any::<bool>()).prop_flat_map(move |(wait, is_known)| {
        let wait = wait.filter(|_| asking);
        let scripts = prop::collection::vec(any_act(wait), 1..6);
        scripts.prop_map(move |scripts| (scripts, wait, is_known))
    });
    prop::collection::vec(life, 1..=NAMES.len())
}

fn judges(lives: &[Life]) -> Vec<ScriptedJudge> {
    let judge = |(name, (scripts, _, is_known)): (&&str, &Life)| {
        let judge = ScriptedJudge::new(name, scripts);
        if *is_known { judge.expecting(650, 900) } else { judge }
    };
    NAMES.iter().zip(lives).map(judge).collect()
}

fn place(one: &Attempt) -> usize {
    NAMES.iter().position(|name| *name == one.judge.name).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn judges_that_are_well_are_asked_in_the_policy_s_order(
        lives in any_lives(true),
        deadline_ms in 0_u64..8_000,
        max_attempts in 1_u32..6,
    ) {
        let mut scene = Scene { deadline_ms, ..Scene::of(judges(&lives)) };
        scene.route.max_attempts = max_attempts;
        let (raced, took) = runtime().block_on(scene.race());
        let told = story(&raced, took);
        let mut asked: Vec<usize> = raced.attempts.iter().map(place).collect();
        asked.dedup();
        prop_assert!(asked.is_sorted_by(|one, next| one < next), "{told}");
        prop_assert!(asked.is_empty() || asked[0] == 0, "{told}");
        let is_primary = |one: &Attempt| one.route == Route::Primary;
        prop_assert!(raced.attempts.iter().skip(1).all(|one| !is_primary(one)), "{told}");
        prop_assert!(raced.attempts.first().is_none_or(is_primary), "{told}");
    }

    #[test]
    fn who_asked_to_be_left_alone_is_left_alone(
        lives in any_lives(true),
        waits_ms in prop::collection::vec(0_u64..4_000, 1..30),
        hedged in any::<bool>(),
    ) {
        let mut scene = Scene::of(judges(&lives));
        scene.route.hedge = scene.route.hedge.filter(|_| hedged);
        runtime().block_on(async {
            let start = Instant::now();
            let mut alone: Vec<(usize, Range<Duration>)> = Vec::new();
            for wait_ms in waits_ms {
                let began = start.elapsed();
                let (raced, took) = scene.race().await;
                let told = story(&raced, took);
                let called = |one: &Attempt| began + ms(one.started_ms);
                for one in &raced.attempts {
                    if let (_, Some(wait), _) = lives[place(one)]
                        && ASKING.contains(&one.outcome)
                    {
                        // both ends are told in whole milliseconds
                        let said = called(one) + ms(one.took_ms + 1);
                        alone.push((place(one), said..said + wait.saturating_sub(ms(2))));
                    }
                }
                for one in &raced.attempts {
                    let is_alone = |(judge, span): &&(usize, Range<Duration>)| {
                        *judge == place(one) && span.contains(&called(one))
                    };
                    let asked_anyhow = alone.iter().find(is_alone);
                    prop_assert!(asked_anyhow.is_none(), "{asked_anyhow:?}: {told}");
                }
                time::sleep(ms(wait_ms)).await;
            }
            Ok(())
        })?;
    }

    #[test]
    fn however_ill_all_of_them_are_somebody_is_asked(
        lives in any_lives(false),
        waits_ms in prop::collection::vec(0_u64..1_000, 1..40),
    ) {
        let scene = Scene::of(judges(&lives));
        runtime().block_on(async {
            for wait_ms in waits_ms {
                let closed: Vec<String> = scene
                    .panel
                    .statuses()
                    .into_iter()
                    .filter(|one| one.breaker == BreakerState::Closed)
                    .map(|one| one.id.name)
                    .collect();
                let (raced, took) = scene.race().await;
                let told = story(&raced, took);
                let in_turn = |one: &&Attempt| one.route != Route::Probe;
                let first = raced.attempts.iter().find(in_turn);
                prop_assert!(first.is_some(), "nobody was asked: {told}");
                let is_closed = first.is_some_and(|one| closed.contains(&one.judge.name));
                prop_assert!(closed.is_empty() || is_closed, "{closed:?} were well: {told}");
                time::sleep(ms(wait_ms)).await;
            }
            Ok(())
        })?;
    }

    #[test]
    fn a_last_chance_leaves_the_next_judge_the_time_that_it_takes(
        p50_ms in 50_u64..1_500,
        spread_percent in 100_u64..200,
        deadline_ms in 4_000_u64..12_000,
        is_budget_spent in any::<bool>(),
    ) {
        let p95_ms = p50_ms * spread_percent / 100;
        prop_assume!(p95_ms * 10 < deadline_ms * 4);
        let expecting = |name, script| {
            ScriptedJudge::new(name, &[script]).expecting(p50_ms, p95_ms)
        };
        let judges = vec![expecting("a", hangs()), expecting("b", answers(p95_ms))];
        let mut scene = Scene { deadline_ms, ..Scene::of(judges) };
        scene.route.deadline = ms(deadline_ms);
        if is_budget_spent {
            scene.spend_hedge_budget();
        }
        let (raced, took) = runtime().block_on(scene.race());
        let is_judged = matches!(raced.outcome, Outcome::Judged { .. });
        prop_assert!(is_judged, "{}", story(&raced, took));
    }

    #[test]
    fn when_a_breaker_opens_nobody_waits_for_its_judge_alone(
        gap_ms in 10_u64..250,
        b_ms in 1_u64..1_500,
        hedged in any::<bool>(),
    ) {
        let judges = [("a", hangs()), ("b", answers(b_ms))];
        let expecting = |(name, script)| ScriptedJudge::new(name, &[script]).expecting(650, 900);
        let mut scene = Scene::of(judges.into_iter().map(expecting).collect());
        scene.route.hedge = scene.route.hedge.filter(|_| hedged);
        if hedged {
            scene.spend_hedge_budget();
        }
        runtime().block_on(async {
            let start = Instant::now();
            let racing = (0..60_u64).map(|nth| {
                let scene = &scene;
                async move {
                    time::sleep(ms(nth * gap_ms)).await;
                    let began = start.elapsed();
                    (began, scene.race().await)
                }
            });
            let watching = async {
                loop {
                    let statuses = scene.panel.statuses();
                    let a = statuses.iter().find(|one| one.id.name == "a").unwrap();
                    if a.breaker != BreakerState::Closed {
                        return start.elapsed();
                    }
                    time::sleep(ms(1)).await;
                }
            };
            let (races, opened) = tokio::join!(join_all(racing), watching);
            let mut evacuated = 0;
            for (began, (raced, took)) in races {
                let told = story(&raced, took);
                if opened <= began || began + took <= opened {
                    continue;
                }
                let second = raced.attempts.iter().find(|one| one.judge.name == "b");
                let second_at = second.map(|one| began + ms(one.started_ms));
                prop_assert!(second_at.is_some_and(|at| at <= opened + ms(2)), "{opened:?}: {told}");
                evacuated += 1;
            }
            prop_assert!(0 < evacuated, "it opened for nobody");
            Ok(())
        })?;
    }
}
