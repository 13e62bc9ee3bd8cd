//! Drift: known answers, properties of the decomposition, and streams whose truth is known.

mod rules;
mod runs;
mod vectors;
mod worlds;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::Write as _;
use std::process::Command;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use vlmgate::drift::decompose::{Cell, Counts, decompose};
use vlmgate::drift::interval::Tally;
use vlmgate::drift::monitor::{Monitor, Settings};

use crate::drift::runs::play;
use crate::drift::worlds::{Chance, Scenario, World};

/// Nobody asks the other judges after an alarm.
const OPEN_LOOP: Settings = Settings { false_alarms_per_30_days: 0.5, burst_images: 0 };

fn any_counts() -> impl Strategy<Value = Counts> {
    let cell = (0_u8..5, 0_usize..4, 0_usize..3, 0_u64..5000, 0_u64..=100);
    proptest::collection::vec(cell, 1..40).prop_map(|cells| {
        let mut counts: Counts = BTreeMap::new();
        for (bin, judge, config, n, share) in cells {
            let rejects = n * share / 100;
            let cell = Cell { bin, judge: format!("j{judge}"), config: format!("c{config}") };
            *counts.entry(cell).or_default() += Tally { n, rejects };
        }
        counts
    })
}

proptest! {
    #[test]
    fn the_four_effects_sum_to_the_change(before in any_counts(), after in any_counts()) {
        let empty = |counts: &Counts| counts.values().all(|tally| tally.n == 0);
        match decompose(&before, &after, 1.0) {
            None => prop_assert!(empty(&before) || empty(&after)),
            Some(got) => {
                prop_assert!(got.residual.abs() <= 1e-12, "{}", got.residual);
                prop_assert!(got.total.se.is_finite());
            }
        }
    }
}

#[test]
fn the_first_label_of_every_scenario_is_right() {
    for scenario in Scenario::ALL {
        let run = play(World::example(scenario), 77, Settings::default());
        assert_eq!(run.false_events(), 0, "{scenario:?}: {:?}", run.events);
        if scenario.label() == "none" || scenario.label() == "routing" {
            assert_eq!(run.burst_calls, 0, "{scenario:?}: who is asked is no judge's doing");
        }
        if scenario.label() != "none" {
            assert!(run.right(), "{scenario:?}: {:?}", run.first());
            let (alarm, label) = run.delays_min().unwrap();
            assert!(0.0 <= alarm && alarm <= label, "{scenario:?}");
        }
    }
}

#[test]
fn a_routing_event_blames_no_judge_and_no_images() {
    let blaming =
        |scenario| play(World::example(scenario), 77, Settings::default()).blaming_events();
    assert_eq!((blaming(Scenario::Routing), blaming(Scenario::Outage)), (0, 0));
    assert!(blaming(Scenario::Regression) != 0, "a judge that moved is blamed");
    assert!(blaming(Scenario::InputDrift) != 0, "images that changed are too");
}

#[test]
fn a_monitor_read_back_goes_on_bit_for_bit() {
    let world = World::example(Scenario::Regression);
    let drawn = world.draw(5);
    let mut whole = Monitor::new(OPEN_LOOP, world.baseline_until_ms());
    let mut killed = whole.clone();
    let (mut told, mut told_again) = (Vec::new(), Vec::new());
    let mut chance = Chance::new(5);
    for judged in &drawn.verdicts {
        told.extend(whole.observe(judged));
        told_again.extend(killed.observe(judged));
        if chance.below(500) == 0 {
            let written = serde_json::to_vec(&killed).unwrap();
            killed = serde_json::from_slice(&written).unwrap();
        }
    }
    assert!(!told.is_empty());
    assert_eq!(told, told_again);
    assert_eq!(serde_json::to_vec(&whole).unwrap(), serde_json::to_vec(&killed).unwrap());
}

/// A stream as a file of verdicts.
fn written(world: &World, seed: u64) -> String {
    let mut text = String::new();
    for judged in &world.draw(seed).verdicts {
        let (provider, model) = judged.judge.split_once('/').unwrap();
        let (policy, version) = judged.config.split_once('@').unwrap();
        let line = serde_json::json!({
            "image": judged.image.to_string(), "at": judged.at_ms, "provider": provider,
            "model": model, "policy": policy, "policy_version": version, "route": judged.route,
            "verdict": if judged.reject { "fail" } else { "pass" }, "pre": judged.risk,
        });
        writeln!(text, "{line}").unwrap();
    }
    text
}

fn replay(file: &std::path::Path, more: &[&str]) -> std::process::Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vlmgate"));
    command.args(["drift", "replay"]).arg(file).args(more).output().unwrap()
}

#[test]
fn a_replay_says_that_an_outage_was_routing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("verdicts.jsonl");
    std::fs::write(&file, written(&World::example(Scenario::Outage), 3)).unwrap();
    let ended = replay(&file, &["--baseline", "0.1d"]);
    let told = String::from_utf8(ended.stdout).unwrap();
    assert!(ended.status.success());
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(&std::fs::read(&file).unwrap()).unwrap();
    std::fs::write(&file, packed.finish().unwrap()).unwrap();
    assert_eq!(replay(&file, &["--baseline", "0.1"]).stdout, told.as_bytes(), "packed or not");
    assert_eq!(told.lines().count(), 1, "{told}");
    assert!(told.contains("  routing: +"), "{told}");
}

#[test]
fn a_replay_names_the_line_that_is_no_verdict() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("verdicts.jsonl");
    std::fs::write(&file, "\n{\"image\":\"im1\"}\n").unwrap();
    let ended = replay(&file, &[]);
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(2), "{said}");
    assert!(said.ends_with("verdicts.jsonl:2: at: is missing\n"), "{said}");
}

#[test]
fn a_replay_of_a_file_that_is_no_text_said_that_its_own_output_was_broken() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("verdicts.jsonl.gz");
    std::fs::write(&file, [0x1F, 0x8B, 0xFF, 0xFE]).unwrap();
    let ended = replay(&file, &[]);
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(2), "{said}");
    assert!(said.contains("verdicts.jsonl.gz:1: ") && !said.contains("output"), "{said}");
}
