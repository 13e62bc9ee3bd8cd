//! Policy tests as their users meet them: the shipped ones pass and touch all of the shipped policy,
//! every change to it makes a test of a telling name fail, and mistakes are told with their place.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;
use vlmgate::config::casting::Casting;
use vlmgate::config::rehearsal::read_suite;
use vlmgate::rehearse::Stage;

use crate::world::root;

mod mistakes;
mod mutations;
mod outcomes;

/// Runs `vlmgate policy …` in `folder` with nothing in its environment.
fn policy(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vlmgate"));
    command.current_dir(folder).arg("policy").args(arguments).env_clear();
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A copy of the shipped policies with `edits` made to the policy, each of which must fit once.
fn edited(edits: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for inner in ["fixtures", "prompts", "lists"] {
        fs::create_dir(folder.path().join(inner)).unwrap();
        for entry in fs::read_dir(root().join("policies").join(inner)).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), folder.path().join(inner).join(entry.file_name())).unwrap();
        }
    }
    let shipped = |name: &str| fs::read_to_string(root().join("policies").join(name)).unwrap();
    let mut policy = shipped("product-photo.yaml");
    for (from, to) in edits {
        assert_eq!(policy.matches(from).count(), 1, "{from:?}");
        policy = policy.replace(from, to);
    }
    fs::write(folder.path().join("product-photo.yaml"), policy).unwrap();
    let tests = shipped("product-photo.test.yaml");
    fs::write(folder.path().join("product-photo.test.yaml"), tests).unwrap();
    folder
}

#[test]
fn the_shipped_tests_pass_and_touch_everything_in_the_shipped_policy() {
    let output = policy(&root(), &["test", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    assert_eq!(text(&output.stderr), "");
    let played: Value = serde_json::from_slice(&output.stdout).unwrap();
    let file = &played["files"][0];
    assert_eq!(file["policy"], "product-photo");
    assert_eq!(file["coverage"]["untouched"], json!([]));
    assert_eq!(played["failed"], 0);
    assert_eq!(played["passed"].as_u64(), file["tests"].as_array().map(|all| all.len() as u64));
}

#[test]
fn a_broken_policy_is_told_test_by_test_and_exits_with_100() {
    let folder = edited(&[("on_deadline: review", "on_deadline: pass")]);
    let only = "everything hangs";
    let output = policy(folder.path(), &["test", ".", "--filter", only]);
    assert_eq!(output.status.code(), Some(100), "{}", text(&output.stdout));
    let said = text(&output.stdout);
    let lines: Vec<&str> = said.lines().map(str::trim_end).collect();
    assert!(lines[0].starts_with("./product-photo.test.yaml  (product-photo b3:"), "{said}");
    let fails = "  FAIL everything hangs, and the caller still has an answer on time";
    assert_eq!(lines[1..3], [fails, "         verdict: expected review, got pass"]);
    assert_eq!(
        lines[3].trim(),
        "0 ms  primary openai-mini cancelled after 4980 ms: the deadline came first"
    );
    assert!(said.contains("pass (deadline), "), "{said}");
    assert!(lines.last().is_some_and(|last| last.starts_with("0 passed, 1 failed, ")), "{said}");
}

#[test]
fn with_nothing_to_play_the_arguments_are_at_fault() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = policy(folder.path(), &["test"]);
    assert_eq!(nowhere.status.code(), Some(2));
    assert_eq!(text(&nowhere.stderr), "vlmgate: policies does not exist\n");
    let empty = policy(folder.path(), &["test", "."]);
    assert_eq!(empty.status.code(), Some(2));
    assert_eq!(text(&empty.stderr), "vlmgate: no tests (*.test.yaml) in .\n");
    let filtered = policy(&root(), &["test", "--filter", "no such sentence"]);
    assert_eq!(filtered.status.code(), Some(2));
    assert_eq!(text(&filtered.stderr), "vlmgate: no test's name holds \"no such sentence\"\n");
}

#[test]
fn lint_hints_at_a_policy_without_tests_and_passes_it() {
    let folder = edited(&[]);
    let tested = policy(folder.path(), &["lint", "."]);
    assert_eq!((tested.status.code(), text(&tested.stderr)), (Some(0), String::new()));
    fs::remove_file(folder.path().join("product-photo.test.yaml")).unwrap();
    let untested = policy(folder.path(), &["lint", "."]);
    assert_eq!(untested.status.code(), Some(0));
    let hint = "./product-photo.yaml has no tests: see `vlmgate policy test --help`\n";
    assert_eq!(text(&untested.stderr), hint);
    let alone = policy(folder.path(), &["lint", "product-photo.yaml"]);
    assert_eq!(alone.status.code(), Some(0));
    assert!(text(&alone.stderr).contains("product-photo.yaml has no tests"));
}

#[test]
fn the_judges_of_a_service_play_without_its_secrets() {
    let folder = edited(&[]);
    let service = "\
providers:
  openai: { kind: openai, key: \"${NO_SUCH_KEY}\" }
  anthropic: { kind: anthropic, key: \"file:/no/such/secret\" }
  vertex: { kind: vertex, project: \"${NO_SUCH_PROJECT}\", location: europe-west4, auth: adc }
keys: [{ name: studio, sha256: \"${NO_SUCH_DIGEST}\", roles: [check] }]
judges:
  openai-mini: { provider: openai, model: gpt-6-luna, price: { input: 100, output: 500 }, expect: { p50: 650ms, p95: 900ms } }
  claude-haiku: { provider: anthropic, model: claude-haiku-5-5, expect: { p50: 650ms, p95: 900ms } }
  gemini-flash: { provider: vertex, model: gemini-3.5-flash-lite }
";
    fs::write(folder.path().join("vlmgate.yaml"), service).unwrap();
    let arguments = ["test", ".", "--config", "vlmgate.yaml", "--filter", "clean picture"];
    let unknown = policy(folder.path(), &arguments);
    assert_eq!(unknown.status.code(), Some(3), "{}", text(&unknown.stdout));
    assert!(text(&unknown.stderr).contains("no judge is called \"mistral-vision\""));
    let mistral = "  mistral-vision: { provider: openai, model: gpt-6-luna }\n";
    fs::write(folder.path().join("vlmgate.yaml"), format!("{service}{mistral}")).unwrap();
    let dear = policy(folder.path(), &arguments);
    assert_eq!(dear.status.code(), Some(100), "{}", text(&dear.stderr));
    let said = text(&dear.stdout);
    assert!(said.contains("cost_under: expected 0.002000 USD, got 0."), "at its own price: {said}");
}

#[test]
fn help_shows_a_whole_test() {
    let help = text(&policy(&root(), &["test", "--help"]).stdout);
    for shown in ["--filter", "--json", "--config", "fault: overloaded", "100 a test failed"] {
        assert!(help.contains(shown), "{help}");
    }
}
