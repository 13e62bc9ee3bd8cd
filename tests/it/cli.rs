//! The command line as people and scripts meet it: output, exit codes, and what stays quiet.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::world::root;

/// Runs the binary in `folder` without any key in its environment.
fn vlmgate(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vlmgate"));
    command.current_dir(folder).args(arguments).env_clear();
    command.output().unwrap()
}

fn fixture(name: &str) -> String {
    root().join("tests/fixtures").join(name).display().to_string()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn without_a_key_a_real_image_is_judged_by_local() {
    let folder = tempfile::tempdir().unwrap();
    let variables = ["--var", "background=white", "--var", "category=home"];
    let image = fixture("mug.jpg");
    let arguments = [&["check", &image, "--json"][..], &variables].concat();
    let output = vlmgate(folder.path(), &arguments);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let verdict: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(verdict["verdict"], "pass", "{verdict}");
    assert_eq!(verdict["judge"]["name"], "local");
    assert_eq!(verdict["file"], image.as_str());
    assert_eq!(verdict["recorded"], false, "nothing is kept without --data");
    let said = text(&output.stderr);
    assert!(said.contains("OPENAI_API_KEY"), "the judges left out are named: {said}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left behind");
}

#[test]
fn a_haloed_cutout_fails_with_the_reason_and_exit_code_10() {
    let folder = tempfile::tempdir().unwrap();
    let image = fixture("mug-halo.png");
    let output = vlmgate(folder.path(), &["check", &image, "--var", "background=transparent"]);
    let table = text(&output.stdout);
    assert_eq!(output.status.code(), Some(10), "{table}");
    assert!(table.starts_with("FAIL"), "{table}");
    assert!(table.contains("cutout") && table.contains("halo"), "{table}");
}

#[test]
fn what_judges_are_shown_can_be_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let image = fixture("mug.jpg");
    let around = "{ format: 1, name: close, prompt: { system: Judge. }, route: { judges: [local] }, \
                  criteria: [{ id: cutout, ask: Is it clean?, pass_at: 0.5, measured_by: [edge_halo] }], \
                  input: { views: [{ id: whole, max_side: 256 }, { id: foot, max_side: 512, crop: { around: contact } }] } }";
    fs::create_dir(folder.path().join("close")).unwrap();
    fs::write(folder.path().join("close/close.yaml"), around).unwrap();
    let arguments = ["check", &image, "--policies", "close", "--views", "shown"];
    let output = vlmgate(folder.path(), &arguments);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let size = |view: &str| {
        let bytes = fs::read(folder.path().join(format!("shown/mug.jpg.{view}.jpg"))).unwrap();
        let picture = image::load_from_memory(&bytes).unwrap();
        (picture.width(), picture.height())
    };
    assert_eq!(size("whole"), (256, 256));
    let (width, height) = size("foot");
    assert!(height < width && width <= 512 && 100 < height, "{width} x {height}");
    assert!(text(&output.stderr).contains(&format!("{width} x {height}")));
    // a file where the folder should be: the verdict is told all the same
    fs::write(folder.path().join("taken"), b"").unwrap();
    let arguments = ["check", &image, "--policies", "close", "--views", "taken"];
    let output = vlmgate(folder.path(), &arguments);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("taken"), "{}", text(&output.stderr));
    assert!(text(&output.stdout).starts_with("PASS"), "{}", text(&output.stdout));
}

#[test]
fn views_of_two_files_of_one_name_are_not_written_over_each_other() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a", "b"] {
        fs::create_dir(folder.path().join(name)).unwrap();
        fs::copy(fixture("mug.jpg"), folder.path().join(name).join("mug.jpg")).unwrap();
    }
    let arguments = ["check", "a/mug.jpg", "b/mug.jpg", "--views", "shown"];
    let output = vlmgate(folder.path(), &arguments);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    let said = text(&output.stderr);
    assert!(said.contains("a/mug.jpg") && said.contains("b/mug.jpg"), "{said}");
    assert!(output.stdout.is_empty() && !folder.path().join("shown").exists());
}

#[test]
fn what_cannot_be_judged_is_refused_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken.jpg");
    fs::write(&broken, b"no picture").unwrap();
    let output = vlmgate(folder.path(), &["check", "broken.jpg"]);
    assert_eq!(output.status.code(), Some(10));
    assert!(text(&output.stdout).starts_with("REFUSED broken.jpg"), "{}", text(&output.stdout));
    let output = vlmgate(folder.path(), &["check", "nowhere.jpg"]);
    assert_eq!(output.status.code(), Some(1));
    let output = vlmgate(folder.path(), &["check"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn what_cannot_be_drawn_was_passed_over_in_silence() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("empty.png"), b"").unwrap();
    let explain = |image: &str, target: &str| {
        let output = vlmgate(folder.path(), &["check", image, "--explain", target]);
        (output.status.code(), text(&output.stderr), folder.path().join(target).exists())
    };
    let (code, said, is_drawn) = explain("empty.png", "why.png");
    assert_eq!(code, Some(10), "{said}");
    assert!(said.contains("why.png: a refused image is not drawn"), "{said}");
    assert!(!is_drawn);
    let (code, said, is_drawn) = explain(&fixture("mug.jpg"), "why.jpg");
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("--explain writes a PNG"), "{said}");
    assert!(!is_drawn, "a PNG under a JPEG's name");
}

#[test]
fn a_lost_secret_is_an_error_and_never_a_heuristic() {
    let folder = tempfile::tempdir().unwrap();
    let config = "providers:\n  openai: { kind: openai, key: \"${OPENAI_API_KEY}\" }\n\
                  judges:\n  openai-mini: { provider: openai, model: gpt-6-luna }\n";
    fs::write(folder.path().join("vlmgate.yaml"), config).unwrap();
    let image = fixture("mug.jpg");
    let output = vlmgate(folder.path(), &["check", &image, "--config", "vlmgate.yaml"]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stdout));
    let said = text(&output.stderr);
    assert!(said.contains("OPENAI_API_KEY") && said.contains("vlmgate.yaml:2:"), "{said}");
}

#[test]
fn lint_tells_every_problem_and_exits_with_3() {
    let folder = tempfile::tempdir().unwrap();
    let shipped = root().join("policies").display().to_string();
    let output = vlmgate(folder.path(), &["policy", "lint", &shipped]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    assert!(text(&output.stdout).contains("product-photo: valid"), "{}", text(&output.stdout));
    fs::write(folder.path().join("bad.yaml"), "format: 1\nname: bad\ncritera: []\nmod: off\n")
        .unwrap();
    let output = vlmgate(folder.path(), &["policy", "lint", "bad.yaml"]);
    assert_eq!(output.status.code(), Some(3));
    let said = text(&output.stdout);
    assert!(said.contains("bad.yaml:3:1") && said.contains("did you mean"), "{said}");
    assert!(said.contains("bad.yaml:4:1"), "all problems at once: {said}");
}

#[test]
fn show_prints_the_digests_and_the_resolved_policy() {
    let folder = tempfile::tempdir().unwrap();
    let policy = root().join("policies/product-photo.yaml").display().to_string();
    let output = vlmgate(folder.path(), &["policy", "show", &policy, "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(shown["name"], "product-photo");
    let output = vlmgate(folder.path(), &["policy", "show", "nowhere.yaml"]);
    assert_eq!(output.status.code(), Some(2), "as for lint and test");
    let output = vlmgate(folder.path(), &["policy", "show", &policy]);
    assert!(text(&output.stdout).contains("revision b3:"), "{}", text(&output.stdout));
}

#[test]
fn doctor_says_a_line_for_each_part() {
    let folder = tempfile::tempdir().unwrap();
    let output = vlmgate(folder.path(), &["doctor"]);
    let said = text(&output.stdout);
    for part in ["config", "policies", "clock", "store"] {
        assert!(said.lines().any(|line| line.starts_with(&format!("ok   {part}:"))), "{said}");
    }
    let output = vlmgate(folder.path(), &["doctor", "--probe", "http://127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_score_of_a_wrong_folder_counted_nothing_and_was_a_success() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = folder.path().join("manifest.csv");
    fs::write(&manifest, "file,label\nmug.jpg,good\n").unwrap();
    let manifest = manifest.display().to_string();
    let score = |dir: &str| {
        let output = vlmgate(folder.path(), &["checks", "score", dir, "--manifest", &manifest]);
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, counted, said) = score(".");
    assert_eq!((code, counted.as_str()), (Some(2), ""));
    assert!(said.contains("1 of its pictures") && said.contains("mug.jpg"), "{said}");
    let (code, counted, _) = score(&fixture(""));
    assert_eq!(code, Some(0));
    assert!(counted.contains("good pictures: 1, stopped 0, flagged 0"), "{counted}");
    let empty = vlmgate(folder.path(), &["checks", "score", "."]);
    assert_eq!(empty.status.code(), Some(2), "a folder without pictures");
}

/// Every command that people type, with the words before its flags.
const COMMANDS: [&[&str]; 14] = [
    &["serve"],
    &["check"],
    &["checks", "score"],
    &["policy", "lint"],
    &["policy", "show"],
    &["policy", "test"],
    &["config", "check"],
    &["calibrate"],
    &["doctor"],
    &["drill"],
    &["drift", "replay"],
    &["report"],
    &["import"],
    &[],
];

#[test]
fn every_command_s_help_has_examples_and_exit_codes_in_one_layout() {
    let folder = tempfile::tempdir().unwrap();
    for command in COMMANDS {
        let output = vlmgate(folder.path(), &[command, &["--help"][..]].concat());
        assert_eq!(output.status.code(), Some(0), "{command:?}");
        let help = text(&output.stdout);
        assert!(help.contains("\nExit codes: 0 "), "{command:?}: {help}");
        let widest = help.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(widest <= 100, "{command:?}: a line of {widest}");
        if !command.is_empty() {
            let example = format!("\n  vlmgate {}", command.join(" "));
            assert!(help.contains("\nExample") && help.contains(&example), "{command:?}: {help}");
            let unknown = vlmgate(folder.path(), &[command, &["--no-such-flag"][..]].concat());
            assert_eq!(unknown.status.code(), Some(2), "{command:?}");
            assert!(unknown.stdout.is_empty(), "stdout is data");
        }
    }
}

#[test]
fn commands_that_call_nobody_asked_for_keys() {
    let folder = tempfile::tempdir().unwrap();
    let config = "providers:\n  openai: { kind: openai, key: \"${OPENAI_API_KEY}\" }\n\
                  judges:\n  openai-mini: { provider: openai, model: gpt-6-luna }\n\
                  keys:\n  - { name: one, sha256: \"${KEY}\", roles: [read] }\n";
    fs::write(folder.path().join("secret.yaml"), config).unwrap();
    fs::write(folder.path().join("none.ndjson"), "").unwrap();
    let shipped = root().join("policies/product-photo.yaml").display().to_string();
    let commands: [(&[&str], i32, &str); 5] = [
        (&["import", "none.ndjson"], 0, ""),
        (&["import", "none.ndjson", "--config", "secret.yaml"], 0, ""),
        (&["calibrate", "--data", "nowhere"], 1, "vlmgate: there is no store nowhere/vlmgate.db: "),
        // a file without a record made no store
        (&["report", "--config", "secret.yaml"], 1, "vlmgate: there is no store data/vlmgate.db: "),
        (&["policy", "lint", &shipped, "--config", "secret.yaml"], 3, ""),
    ];
    for (arguments, code, says) in commands {
        let output = vlmgate(folder.path(), arguments);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(!said.contains("_KEY") && !said.contains("left out"), "{arguments:?}: {said}");
        assert!(said.starts_with(says) && says.is_empty() == said.is_empty(), "{said}");
    }
    // a store's address is no key
    let store = "store: { url: \"sqlite://${WHERE}/vlmgate.db\" }\n";
    fs::write(folder.path().join("secret.yaml"), format!("{config}{store}")).unwrap();
    let output = vlmgate(folder.path(), &["import", "none.ndjson", "--config", "secret.yaml"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("WHERE is not set"), "{}", text(&output.stderr));
}
