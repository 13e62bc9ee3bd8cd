//! What a test can script and expect, on a policy of a few lines.

use std::fs;

use vlmgate::config::casting::Casting;
use vlmgate::config::rehearsal::read_suite;
use vlmgate::rehearse::{Performance, Stage};

use crate::world::root;

const POLICY: &str = "\
format: 1
name: small
mode: enforce
criteria:
  - { id: cutout, ask: Is it cut out well?, pass_at: 0.5, measured_by: [residue] }
prompt: { system: Judge. }
route: { judges: [one, two], hedge: off, max_attempts: 3 }
second_opinion: { when: [{ sample: 100% }], ask: [two] }
";

/// Plays `tests` (the list under `tests:`) against the small policy with one thing changed.
fn play(edit: (&str, &str), tests: &str) -> Performance {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(POLICY.matches(edit.0).count(), 1);
    fs::write(folder.path().join("small.yaml"), POLICY.replace(edit.0, edit.1)).unwrap();
    let image = root().join("policies/fixtures/mug-clean.jpg");
    fs::copy(image, folder.path().join("mug.jpg")).unwrap();
    let file = folder.path().join("small.test.yaml");
    let head = "policy: small.yaml\ndefaults: { image: mug.jpg }\ntests:\n";
    fs::write(&file, format!("{head}{tests}")).unwrap();
    let suite = read_suite(&file, &Casting::usual()).unwrap_or_else(|why| panic!("{why}"));
    Stage::new().unwrap().play(&suite, "").unwrap()
}

/// What failed: `key: expected … got …` of each mismatch.
fn mismatches(performance: &Performance) -> Vec<String> {
    let all = performance.played.iter().flat_map(|one| &one.mismatches);
    all.map(|one| format!("{}: expected {}, got {}", one.key, one.expected, one.got)).collect()
}

const UNCHANGED: (&str, &str) = ("name: small", "name: small");

#[test]
fn a_judge_that_no_script_names_must_not_be_called() {
    let played = play(
        UNCHANGED,
        "  - { name: a, judges: { one: { fault: overloaded, after: 5ms } }, expect: { attempts: 2 } }\n",
    );
    assert_eq!(
        mismatches(&played),
        ["judges: expected two is not called, got called at 5 ms (failover)"]
    );
}

#[test]
fn a_list_is_one_act_a_call_and_the_last_repeats() {
    let acts = "{ one: [{ fault: overloaded }, { fault: empty }, { scores: { cutout: 0.9 } }] }";
    let tests =
        format!("  - {{ name: a, judges: {acts}, expect: {{ judge: one, attempts: 3 }} }}\n");
    let alone = ("judges: [one, two], hedge: off", "judges: [one], hedge: off");
    let played = play(alone, &tests);
    assert_eq!(mismatches(&played), [""; 0]);
}

#[test]
fn a_sample_is_not_drawn() {
    let tests =
        "  - { name: a, judges: { one: { scores: { cutout: 0.9 } } }, expect: { basis: judge } }\n";
    assert_eq!(mismatches(&play(UNCHANGED, tests)), [""; 0]);
}

#[test]
fn local_measures_the_image_where_the_script_lets_it() {
    let tests = "  - { name: a, judges: { one: { fault: connect }, local: {} },\n      expect: { verdict: pass, judge: local, route: failover } }\n";
    let local = ("judges: [one, two], hedge: off", "judges: [one, local], hedge: off");
    assert_eq!(mismatches(&play(local, tests)), [""; 0]);
}

#[test]
fn every_key_of_an_expectation_is_held() {
    let tests = r#"  - name: wrong in everything
    judges: { one: { scores: { cutout: 0.2 }, after: 40ms } }
    expect:
      { verdict: pass, would_be: review, basis: deadline, judge: two, route: hedge, asked: [], attempts: 3,
        failed: [], flags: ["unmeasured:cutout"], borderline: true, hedged: true,
        within: 39ms, cost_under: 0.000001 USD }
  - { name: refused after all, deadline: 200ms, expect: { verdict: pass } }
  - { name: not refused, judges: { one: { scores: { cutout: 0.9 } } }, expect: { refused: corrupt } }
"#;
    let found = mismatches(&play(UNCHANGED, tests));
    let keys: Vec<&str> = found.iter().filter_map(|one| one.split(':').next()).collect();
    let expected = [
        "verdict",
        "would_be",
        "basis",
        "judge",
        "route",
        "asked",
        "attempts",
        "failed",
        "flags",
        "borderline",
        "hedged",
        "within",
        "cost_under",
        "refused",
        "refused",
    ];
    assert_eq!(keys, expected, "{found:#?}");
    assert_eq!(found[11], "within: expected 39 ms, got 40 ms");
    assert!(found[13].starts_with("refused: expected a verdict, got below_floor"), "{}", found[13]);
    assert_eq!(found[14], "refused: expected corrupt, got a pass");
}

#[test]
fn what_no_test_touches_is_told() {
    let tests = "  - { name: a, judges: { one: { scores: { cutout: 0.9 } } }, expect: { verdict: pass } }\n";
    let untouched = play(UNCHANGED, tests).coverage.untouched();
    let expected = [
        "cutout is never seen failing at 0.5",
        "nothing goes by failover",
        "nothing goes by second_opinion",
        "nothing goes by deadline",
        "nothing goes by no_judge",
        "two is never asked",
    ];
    assert_eq!(untouched, expected);
}

#[test]
fn an_observing_policy_is_rehearsed_with_what_would_be() {
    let tests = "  - { name: a, judges: { one: { scores: { cutout: 0.1 } } }, expect: { verdict: pass, would_be: fail } }\n";
    assert_eq!(mismatches(&play(("mode: enforce", "mode: observe"), tests)), [""; 0]);
}
