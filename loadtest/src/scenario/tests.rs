use std::path::Path;

use super::*;
use crate::behaviour::Fault;

const STORY: &str = "
id: S4
title: four in ten calls hang, then fail
seconds: { warm_up: 15, healthy: 15, fault: 40, recovery: 30 }
faults:
  - { on: [a], behaviour: { fault: { status: { code: 529, after_ms: 10000 } }, share: 0.4 } }
targets:
  - { figure: p95, at_most: 1.35, short: 1.6, sim: 1.28 }
  - { figure: verdict_share, at_least: 0.999 }
";

#[test]
fn a_first_surge_lies_in_the_warm_up() {
    for (between, is_right) in [("[4, 8]", true), ("[8, 4]", false), ("[10, 16]", false)] {
        let parsed = Scenario::parse(&format!("id: X\ntitle: x\nfirst_surge: {between}\n"));
        assert_eq!(parsed.is_ok(), is_right, "{between}");
    }
}

#[test]
fn a_story_is_read_with_its_faults_over_the_healthy_behaviour() {
    let story = Scenario::parse(STORY).unwrap();
    assert!((story.seconds.end_s() - 100.0).abs() < 1e-9);
    assert_eq!(story.judges, ["a", "b", "c"]);
    let healthy = Behaviour { judging: crate::Judging::Always(0.9), ..Behaviour::default() };
    let ill = story.faults[0].over(&healthy, 20.0).unwrap();
    assert_eq!(ill.fault, Fault::Status { code: 529, after_ms: 10_000, retry_after_s: None });
    assert_eq!(ill.judging, healthy.judging);
    assert!((ill.share - 0.4).abs() < 1e-9);
    assert_eq!(story.targets[0].limit(false), Some(Limit::at_most(1.35)));
    assert_eq!(story.targets[0].limit(true), Some(Limit::at_most(1.6)));
    assert_eq!(story.targets[1].limit(true), Some(Limit::at_least(0.999)));
}

#[test]
fn a_scenario_without_a_short_form_is_left_out_of_it() {
    assert_eq!(Scenario::parse(STORY).unwrap().shortened(), None);
    let both =
        format!("{STORY}short_seconds: {{ warm_up: 4, healthy: 5, fault: 8, recovery: 6 }}\n");
    let short = Scenario::parse(&both).unwrap().shortened().unwrap();
    assert!((short.seconds.end_s() - 23.0).abs() < 1e-9);
}

#[test]
fn a_shorter_phase_still_has_all_of_its_faults() {
    let text = "
id: S17
title: two faults
seconds: { warm_up: 60, healthy: 60, fault: 3000, recovery: 60 }
short_seconds: { warm_up: 6, healthy: 10, fault: 300, recovery: 10 }
faults:
  - { at_s: 120, for_s: 60, on: [a], behaviour: { fault: refuse } }
  - { at_s: 2520, for_s: 60, on: [a], behaviour: { fault: blackhole } }
";
    let short = Scenario::parse(text).unwrap().shortened().unwrap();
    let times: Vec<_> = short.faults.iter().map(|one| (one.at_s, one.for_s.unwrap())).collect();
    assert_eq!(times, [(12.0, 6.0), (252.0, 6.0)]);
}

#[test]
fn mistakes_are_refused_with_their_place() {
    for (text, problem) in [
        ("id: S1\n", "missing field `title`"),
        ("id: S1\ntitle: x\nrates: 3\n", "unknown field `rates`"),
        ("id: S1\ntitle: x\njudges: [d]\n", "\"d\" is not a provider"),
        (
            "id: S1\ntitle: x\nfaults: [{ on: [a], behaviour: { fault: explode } }]\n",
            "a fault on a",
        ),
        ("id: S1\ntitle: x\ntargets: [{ figure: p95 }]\n", "needs either at_most or at_least"),
        ("id: S1\ntitle: x\njudges: []\n", "at least one"),
        (
            "id: S1\ntitle: x\ntargets: [{ figure: p95, at_most: 1 }, { figure: p95, at_most: 2 }]\n",
            "stands there twice",
        ),
        (
            "id: S1\ntitle: x\nfaults:\n  - { on: [a, b], for_s: 10, behaviour: { fault: refuse } }\n  \
             - { on: [b], at_s: 9, behaviour: { fault: reset } }\n",
            "two faults on b at one time",
        ),
    ] {
        let refused = Scenario::parse(text).unwrap_err();
        assert!(refused.contains(problem), "{text:?}: {refused}");
    }
}

#[test]
fn every_scenario_that_ships_is_one_and_names_figures_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let all = Scenario::read_all(&[root.clone(), root.join("controls")]).unwrap();
    let mut ids: Vec<&str> = all.iter().map(|scenario| scenario.id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all.len(), "two scenarios share an id");
    for n in 0..=16 {
        assert!(ids.contains(&format!("S{n}").as_str()), "S{n} is missing");
    }
    let known = |id: &String| crate::figures::IDS.contains(&id.as_str());
    let soak = Scenario::read_all(&[root.join("soak")]).unwrap();
    for scenario in all.iter().chain(&soak) {
        let named = scenario.targets.iter().map(|line| &line.figure);
        let failing = scenario.expected_to_fail.iter().chain(&scenario.may_fail);
        let unknown: Vec<_> = named.chain(failing).filter(|id| !known(id)).collect();
        assert!(unknown.is_empty(), "{}: no figure is called {unknown:?}", scenario.id);
    }
    let uncalibrated: Vec<_> = all.iter().filter(|one| !one.calibrated).collect();
    assert!(!uncalibrated.is_empty(), "nothing shows that a shift would be seen");
    assert!(uncalibrated.iter().all(|one| one.short_seconds.is_none()));
    // the controls are a command of their own
    let short = Scenario::read_all(&[root]).unwrap().into_iter().filter_map(Scenario::shortened);
    // 10 s to start and stop each, and the part without streaming before all
    let short_s = 36.0 + short.map(|scenario| scenario.seconds.end_s() + 10.0).sum::<f64>();
    assert!(short_s < 300.0, "the short form takes {short_s} s");
}

#[test]
fn no_scenario_is_without_a_line_for_its_queue() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    for scenario in Scenario::read_all(&[root.clone(), root.join("soak")]).unwrap() {
        let queue = scenario.targets.iter().find(|line| line.figure == "F6");
        assert!(queue.is_some_and(|line| line.at_most.is_some()), "{}", scenario.id);
    }
}
