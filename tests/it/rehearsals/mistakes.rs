//! What a mistake in a file of tests is answered with: all of them at once, each with its place.

use std::fs;

use vlmgate::config::casting::Casting;
use vlmgate::config::rehearsal::read_suite;

use super::{edited, policy, text};

fn problems(tests: &str) -> String {
    let folder = edited(&[]);
    let path = folder.path().join("product-photo.test.yaml");
    fs::write(&path, tests).unwrap();
    let told = read_suite(&path, &Casting::usual()).unwrap_err().to_string();
    told.replace(&format!("{}/", folder.path().display()), "")
}

const WRONG: &str = r#"policy: product-photo.yaml
defaults: { image: fixtures/mug-clean.jpg, vars: { background: white } }
tests:
  - name: names that the policy does not have
    vars: { background: pink, colour: red }
    judges:
      openai_mini: { scores: { cutuot: .9, "*": .9 } }
    expect: { verdict: pass, judge: claude, failed: [cutot], flags: [hallo], check: blank }
  - name: acts that are none
    judges:
      openai-mini: { scores: { cutout: .9 }, fault: overloaded }
      claude-haiku: { after: 80ms }
      gemini-flash: { scores: { cutout: .9 } }
      mistral-vision: { fault: hang, retry_after: 1s, reasons: { cutout: late } }
    expect: { verdict: passed }
  - name: nothing to hold it to
    judges: { openai-mini: { fault: overlaoded } }
  - name: nothing to hold it to
    image: fixtures/none.jpg
    expect: {}
  - name: a refusal with a verdict
    deadline: 20ms
    expct: {}
    expect: { refused: below_floor, verdict: fail, within: 20ms }
"#;

#[test]
fn all_mistakes_of_a_file_of_tests_are_told_at_once_in_file_order() {
    insta::assert_snapshot!(problems(WRONG), @r#"
    product-photo.test.yaml:5:13: tests[0].vars.background: "pink" is not one of white, scene, transparent, unknown
    product-photo.test.yaml:5:31: tests[0].vars.colour: is not a variable of this policy; it has: background, category
    product-photo.test.yaml:7:7: tests[0].judges.openai_mini: no judge of the policy is called "openai_mini"; did you mean `openai-mini`?
    product-photo.test.yaml:7:32: tests[0].judges.openai_mini.scores.cutuot: no criterion of the policy is called "cutuot"; did you mean `cutout`?
    product-photo.test.yaml:8:37: tests[0].expect.judge: no judge of the policy is called "claude"; did you mean `claude-haiku`?
    product-photo.test.yaml:8:54: tests[0].expect.failed[0]: no criterion or check of the policy is called "cutot"; did you mean `cutout`?
    product-photo.test.yaml:8:70: tests[0].expect.flags[0]: no flag of the policy is called "hallo"; did you mean `halo`?
    product-photo.test.yaml:8:85: tests[0].expect.check: no check of the policy is called "blank"; known: big-enough, not-blank, see-through, exposed, sharp, enlarged, noisy, blocky, banded, checkered, bars, white-back, littered, halo, specks, holes, hard-edge, jagged, cut-off, tiny, off-centre, floating, known-bad
    product-photo.test.yaml:11:53: tests[1].judges.openai-mini.fault: a judge that scores does not fail: say `scores` or `fault`
    product-photo.test.yaml:12:7: tests[1].judges.claude-haiku: does nothing: say `scores` or `fault`
    product-photo.test.yaml:13:31: tests[1].judges.gemini-flash.scores: say nothing of edge_artifacts, contact_shadow, asked here; "*" scores all that are not named
    product-photo.test.yaml:14:51: tests[1].judges.mistral-vision.retry_after: goes with overloaded, rate_limited or server_error alone
    product-photo.test.yaml:14:64: tests[1].judges.mistral-vision.reasons: are of no use without scores
    product-photo.test.yaml:15:24: tests[1].expect.verdict: "passed" is not known here; did you mean `pass`?
    product-photo.test.yaml:16:5: tests[2]: expects nothing: say what must come of it under `expect`
    product-photo.test.yaml:17:37: tests[2].judges.openai-mini.fault: "overlaoded" is not known here; did you mean `overloaded`?
    product-photo.test.yaml:18:11: tests[3].name: two tests are called "nothing to hold it to"
    product-photo.test.yaml:19:12: tests[3].image: the image "fixtures/none.jpg" cannot be read: No such file or directory (os error 2)
    product-photo.test.yaml:20:13: tests[3].expect: expects nothing: say what must come of it
    product-photo.test.yaml:23:5: tests[4].expct: is not a key here; did you mean `expect`?
    product-photo.test.yaml:24:24: tests[4].expect.refused: an image that is refused has no verdict: expect nothing beside it
    "#);
}

#[test]
fn a_policy_that_is_not_there_is_told_where_it_is_named() {
    let tests = "policy: photo.yaml\ntests:\n  - name: one\n    expect: { verdict: pass }\n";
    insta::assert_snapshot!(problems(tests), @r#"product-photo.test.yaml:1:9: policy: there is no file "photo.yaml" from here"#);
}

#[test]
fn what_is_wrong_with_the_policy_itself_is_told_in_its_own_file() {
    let folder = edited(&[("max_attempts: 3", "max_attemps: 3")]);
    let output = policy(folder.path(), &["test", "."]);
    assert_eq!(output.status.code(), Some(3));
    let said = text(&output.stderr);
    assert!(said.contains("product-photo.yaml:131:3: route.max_attemps: is not a key"), "{said}");
    assert_eq!(text(&output.stdout), "");
}
