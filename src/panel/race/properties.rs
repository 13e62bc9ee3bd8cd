//! What is true of any race.

use super::*;

use proptest::prelude::*;
use tokio::runtime::Builder;

use crate::domain::AttemptOutcome;
use crate::panel::race::scene::{NAMES, Scene, story};
use crate::panel::script::{Act, Script, ScriptedJudge};
use crate::panel::{AttemptError, BreakerState, JudgeStatus};

fn any_script() -> impl Strategy<Value = Script> {
    let failure = prop::sample::select(AttemptOutcome::ALL.to_vec());
    let act = prop_oneof![
        3 => Just(Act::Answer(0.8)),
        1 => Just(Act::Answer(f64::NAN)),
        2 => (0_u64..4_000).prop_map(|rest_ms| Act::Early(0.8, rest_ms)),
        1 => (0_u64..4_000).prop_map(|rest_ms| Act::BreaksOff(0.8, rest_ms)),
        1 => Just(Act::Garble),
        3 => Just(Act::Hang),
        4 => (failure, prop::option::of(0_u64..8_000)).prop_map(|(outcome, retry_after_ms)| {
            let retry_after = retry_after_ms.map(Duration::from_millis);
            Act::Fail(AttemptError { retry_after, ..AttemptError::new(outcome, "any") })
        }),
    ];
    (0_u64..4_000, act).prop_map(|(after_ms, act)| Script(after_ms, act))
}

prop_compose! {
    fn any_scene()(
        scripts in prop::collection::vec(any_script(), 0..=5),
        deadline_ms in 0_u64..6_000,
        max_attempts in 1_u32..5,
        attempt_cap_ms in prop::option::of(1_u64..3_000),
        hedged in any::<bool>(),
        known in any::<bool>(),
        mindful in any::<bool>(),
        cap in prop::option::of(1_u32..3),
        stand_in in prop::option::of(0_usize..5),
        caller_leaves_ms in prop::option::of(0_u64..3_000),
        cost_cap in prop::option::of((0_u64..400).prop_map(MicroUsd)),
    ) -> (Vec<Script>, Scene) {
        let stands_in = |name: &str| stand_in.is_some_and(|at| NAMES[at] == name);
        let judge = |(name, script): (&&str, &Script)| {
            let judge = ScriptedJudge::new(name, std::slice::from_ref(script));
            let judge = if known { judge.expecting(650, 900) } else { judge };
            let judge = if mindful { judge.minding_its_deadline() } else { judge };
            (if stands_in(name) { judge.standing_in() } else { judge }, cap)
        };
        let mut scene = Scene::capped(NAMES.iter().zip(&scripts).map(judge).collect());
        scene.route.max_attempts = max_attempts;
        scene.route.attempt_cap = attempt_cap_ms.map(Duration::from_millis);
        scene.route.hedge = scene.route.hedge.filter(|_| hedged);
        (scripts, Scene { deadline_ms, caller_leaves_ms, cost_cap, ..scene })
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_race_ends_once_in_time_and_leaves_nothing_behind((scripts, scene) in any_scene()) {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let (mut raced, took) = runtime.block_on(scene.race());
        let told = story(&raced, took);

        prop_assert!(took <= Duration::from_millis(scene.deadline_ms + 1), "{told}");
        let stands_in = |one: &Attempt| scene.panel.judge(&one.judge.name).unwrap().stands_in();
        let has_stand_in = scene.panel.names().any(|name| scene.panel.judge(name).unwrap().stands_in());
        let has_extra = scene.route.hedge.is_some() || has_stand_in;
        // the only judge's fast failures do not count, up to six calls in all
        let most = scene.route.max_attempts + u32::from(has_extra);
        let most = if scripts.len() == 1 { most.max(6) } else { most };
        prop_assert!(raced.attempts.len() <= most as usize, "{told}");

        let script_of = |judge: &JudgeId| {
            let at = NAMES.iter().position(|name| *name == judge.name).unwrap();
            scripts[at].clone()
        };
        let judged: Vec<&Attempt> =
            raced.attempts.iter().filter(|one| one.outcome == AttemptOutcome::Judged).collect();
        match &raced.outcome {
            Outcome::Judged { judge, route, judgement } => {
                let Script(after_ms, act) = script_of(judge);
                let left_early = matches!(act, Act::Early(..) | Act::BreaksOff(..));
                prop_assert!(left_early || act == Act::Answer(0.8), "{told}");
                prop_assert_eq!(raced.rest.is_some(), left_early);
                prop_assert_eq!(judged.len(), 1);
                prop_assert_eq!((&judged[0].judge, judged[0].route), (judge, *route));
                prop_assert_eq!(&judged[0].scores, &judgement.scores);
                prop_assert_eq!(judged[0].took_ms, after_ms);
            }
            Outcome::Exhausted | Outcome::Late => prop_assert!(judged.is_empty(), "{told}"),
        }
        if raced.outcome == Outcome::Late {
            prop_assert!(took >= Duration::from_millis(scene.deadline_ms), "{told}");
        }

        for one in raced.attempts.iter().filter(|one| stands_in(one)) {
            let looks_meanwhile = |other: &&Attempt| {
                !stands_in(other)
                    && other.started_ms < one.started_ms
                    && one.started_ms < other.started_ms + other.took_ms
            };
            let beside = raced.attempts.iter().find(looks_meanwhile);
            let at_the_end = scene.deadline_ms <= one.started_ms + 31;
            prop_assert!(one.route != Route::Hedge, "{told}");
            prop_assert!(beside.is_none() || at_the_end, "{told}");
        }

        let mut names: Vec<&str> = raced.attempts.iter().map(|one| &*one.judge.name).collect();
        names.sort_unstable();
        names.dedup();
        // nobody is asked twice, but a judge that is alone or was left alone by the others
        let statuses = scene.panel.statuses();
        let is_well = |one: &&JudgeStatus| {
            let judge = scene.panel.judge(&one.id.name).unwrap();
            one.breaker == BreakerState::Closed && !judge.stands_in()
        };
        let is_left_alone = statuses.iter().filter(is_well).count() == 1;
        prop_assert!(is_left_alone || names.len() == raced.attempts.len(), "{told}");
        prop_assert!(raced.attempts.iter().all(|one| one.said.is_none()));
        prop_assert!(raced.attempts.is_sorted_by_key(|one| one.started_ms), "{told}");
        let in_flight = || scene.panel.statuses().iter().map(|judge| judge.in_flight).sum::<u32>();
        prop_assert_eq!(in_flight(), u32::from(raced.rest.is_some()), "{}", told);
        if let Some(rest) = raced.rest.take() {
            let until = runtime.block_on(async { Deadline::after(Duration::from_secs(2)) });
            runtime.block_on(rest.read(until));
        }
        prop_assert_eq!(in_flight(), 0, "{}", told);
    }

    #[test]
    fn any_judges_leave_a_panel_in_bounds(
        (scripts, scene) in any_scene(),
        races in 1_usize..40,
        reads_on in any::<bool>(),
        wait_ms in 0_u64..3_000,
    ) {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            for _ in 0..races {
                let (mut raced, took) = scene.race().await;
                let told = story(&raced, took);
                if let Some(rest) = raced.rest.take().filter(|_| reads_on) {
                    rest.read(Deadline::after(Duration::from_secs(2))).await;
                }
                prop_assert!(took <= Duration::from_millis(scene.deadline_ms + 1), "{told}");
                let statuses = scene.panel.statuses();
                let looking = || {
                    let looks = |name: &str| !scene.panel.judge(name).unwrap().stands_in();
                    statuses.iter().filter(move |one| looks(&one.id.name))
                };
                let closed = looking().filter(|one| one.breaker == BreakerState::Closed);
                prop_assert!(looking().count() == 0 || 0 < closed.count(), "{told}");
                let most = 9.2 * 5.0;
                prop_assert!(statuses.iter().all(|one| (0.0..=most).contains(&one.score)));
                prop_assert!(statuses.iter().all(|one| one.in_flight <= 4), "only probes run on");
                let probes = raced.attempts.iter().filter(|one| one.route == Route::Probe);
                prop_assert!(probes.count() <= 1, "{told}");
                time::sleep(Duration::from_millis(wait_ms)).await;
            }
            time::sleep(Duration::from_secs(10)).await;
            prop_assert!(scene.panel.statuses().iter().all(|one| one.in_flight == 0));
            prop_assert!(!scripts.is_empty() || scene.panel.has_room());
            Ok(())
        })?;
    }
}
