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
use serde_json::{Value, json};
use vlmgate::clock::Timestamp;
use vlmgate::domain::Digest;
use vlmgate::drift::decompose::{Cell, Counts, decompose};
use vlmgate::drift::interval::Tally;
use vlmgate::drift::monitor::{Monitor, Settings};
use vlmgate::ledger::form::RecordForm;

use crate::drift::runs::play;
use crate::drift::worlds::{Chance, Scenario, World};
use crate::ledger::records::record;

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

/// A stream as a file of verdicts, and as the export of a gate that gave them. A shadow is about its
/// image, so it comes at the moment of that.
fn written_both_ways(world: &World, seed: u64) -> (String, String) {
    let (mut short, mut whole) = (String::new(), BTreeMap::<u64, (i64, Value)>::new());
    for (n, judged) in (0_u32..).zip(&world.draw(seed).verdicts) {
        let (provider, model) = judged.judge.split_once('/').unwrap();
        let said = if judged.reject { "fail" } else { "pass" };
        let judge = json!({ "name": judged.judge, "provider": provider, "model": model });
        let digest = Digest::of(&judged.image.to_le_bytes()).to_string();
        let judged_by = Digest::of(judged.judge.as_bytes()).to_string();
        let mut line = serde_json::to_value(RecordForm::from(&record(n))).unwrap();
        let mut call = line["attempts"][0].take();
        call["judge"] = judge["name"].clone();
        (call["route"], call["said"]) = (json!(judged.route), json!(said));
        let mut at_ms = judged.at_ms;
        if judged.route.served() {
            line["at"] = json!(Timestamp(at_ms * 1_000).to_string());
            (line["judge"], line["route"], line["pre"]) =
                (judge, json!(judged.route), json!(judged.risk));
            (line["verdict"], line["first_verdict"]) = (json!(said), json!(said));
            (line["attempts"], line["judged_by"]) = (json!([call]), json!(judged_by));
            line["image"]["digest"] = json!(digest);
            (line["counted"], line["shadows"]) = (json!(n + 1), json!([]));
            assert!(whole.insert(judged.image, (at_ms, line)).is_none(), "one is served");
        } else {
            let (served_ms, line) = whole.get_mut(&judged.image).unwrap();
            at_ms = *served_ms;
            let beside = json!({ "at": line["at"], "purpose": "sample", "entry": null,
                "propensity": 0.1, "judged_by": judged_by, "counted": n + 1, "unwatched": false });
            call.as_object_mut().unwrap().extend(beside.as_object().unwrap().clone());
            line["shadows"].as_array_mut().unwrap().push(call);
        }
        let verdict = json!({ "image": digest, "at": at_ms, "provider": provider, "model": model,
            "policy": "product-photo", "policy_version": 1, "route": judged.route,
            "verdict": said, "pre": judged.risk });
        writeln!(short, "{verdict}").unwrap();
    }
    let mut lines: Vec<_> = whole.into_values().collect();
    // an export is newest first
    lines.sort_by_key(|(_, line)| std::cmp::Reverse(line["counted"].as_u64()));
    (short, lines.iter().map(|(_, line)| format!("{line}\n")).collect())
}

#[test]
fn an_export_folds_to_the_events_of_the_verdicts_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let (short, export) = written_both_ways(&World::example(Scenario::Outage), 3);
    assert!(export.contains("\"purpose\":\"sample\""), "shadows are pairs too");
    let [of_short, of_export] = [("short", short), ("export", export)].map(|(name, text)| {
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        let ended = replay(&file, &["--baseline", "0.1d", "--json"]);
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        let told: Value = serde_json::from_slice(&ended.stdout).unwrap();
        let mut event = told["events"][0].clone();
        assert_eq!(told["events"].as_array().unwrap().len(), 1, "{told}");
        assert!(told["records"].as_u64().unwrap() > 2_000);
        let policy = event.as_object_mut().unwrap().remove("policy");
        (policy, event)
    });
    assert_eq!((of_short.0, of_export.0), (Some(Value::Null), Some(json!("product-photo"))));
    assert_eq!(of_short.1, of_export.1);
    let event = of_short.1;
    assert_eq!((&event["label"], &event["labels"]), (&json!("routing"), &json!(["routing"])));
    assert!(event["onset"].as_i64().unwrap() <= event["at"].as_i64().unwrap());
    assert!(event["effects"]["routing"]["effect"].is_f64() && event["severity"].is_string());
    assert!(event["llr"].is_null(), "a change of routing needs no pairs");
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
