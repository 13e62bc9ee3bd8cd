//! Calibration as an operator meets it: records of a store, the command's output, what is pasted, and
//! what the policy does then.

mod store;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use vlmgate::clock::Timestamp;
use vlmgate::clock::dates::{day_of, show_date};
use vlmgate::ledger::labels::Said;

use crate::calibrate::store::{POLICY, SERVICE, Store, mini_margin};

fn vlmgate(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vlmgate"));
    command.current_dir(folder).args(arguments).env_clear();
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A folder with the service's file and one policy.
fn folder(policy: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("policies")).unwrap();
    fs::write(folder.path().join("vlmgate.yaml"), SERVICE).unwrap();
    write_policy(folder.path(), policy);
    folder
}

fn write_policy(folder: &Path, policy: &str) {
    fs::write(folder.join("policies/shop.yaml"), policy).unwrap();
}

/// The policy with what calibration printed.
fn pasted(paste: &str) -> String {
    let offsets = paste.strip_prefix("route:\n").unwrap();
    POLICY.replace("route:\n", &format!("route:\n{offsets}"))
}

fn calibrate(folder: &Path, arguments: &[&str]) -> Value {
    let output = vlmgate(folder, &[&["calibrate", "--json"][..], arguments].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What people read, without what is another one every day.
fn shown(folder: &Path, arguments: &[&str]) -> String {
    let output = vlmgate(folder, &[&["calibrate"][..], arguments].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let now = Timestamp::now();
    let [today, then] = [0, 30].map(|days| {
        show_date(day_of(now.before(24 * 3_600 * std::time::Duration::from_secs(days))))
    });
    let shown = text(&output.stdout).replace(&today, "TODAY").replace(&then, "THEN");
    let mut parts = shown.split("b3:");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |all, part| format!("{all}b3:…{}", part.get(64..).unwrap()))
}

#[tokio::test(flavor = "multi_thread")]
async fn judges_are_calibrated_on_what_may_be_compared_beside_a_running_gate() {
    let folder = folder(POLICY);
    let store = Store::open(folder.path()).await;
    store.fill().await;
    // the ledger is still open: its writer has the file
    insta::assert_snapshot!(shown(folder.path(), &[]), @r#"
    shop: calibrated to mini, on images of THEN to TODAY

    haiku  2,440 pairs  usable
      judged      1,240 by probe, 1,200 by sample
      rejects     12.3 % (11.1 to 13.7); mini 5.4 % (4.6 to 6.4)
      difference  +6.9 points (+5.9 to +7.9)
      agreement   AC1 0.91 (0.90 to 0.93), kappa 0.56 (0.51 to 0.62), McNemar's p under 0.0001
      offset      add 0.05, at_line 0.04
      left over   0.0 points in these pairs, +-0.6 on other images
                  +0.2 points (-1.0 to +1.3) fitted on the earlier half, measured on the later
      left out    50 judged twice because the first was in doubt
                  25 judged twice because the first was slow
                  10 judged twice because of an alarm
                  30 judged under other questions, lines or models
                  4 of an image that came again
                  3 without a score
      data        b3:…

    Paste into the policy:

    route:
      offset_by_judge:
        # haiku: data b3:…
        haiku: { add: 0.05, at_line: 0.04, fitted: TODAY, pairs: 2440, against: mini,
          asked: "b3:…" }
    "#);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pasted_takes_the_shift_away_and_is_not_fitted_again() {
    let folder = folder(POLICY);
    let store = Store::open(folder.path()).await;
    store.fill().await;
    let before = calibrate(folder.path(), &["--judge", "haiku"]);
    let haiku = &before["judges"][0];
    assert_eq!((&haiku["verdict"], &haiku["usable"]), (&json!("usable"), &json!(true)), "{haiku}");
    assert!(0.03 < haiku["fit"]["present"]["low"].as_f64().unwrap(), "{haiku}");
    write_policy(folder.path(), &pasted(before["paste"].as_str().unwrap()));
    let lint = vlmgate(folder.path(), &["policy", "lint", "policies"]);
    assert_eq!(lint.status.code(), Some(0), "{}", text(&lint.stdout));
    assert!(!text(&lint.stdout).contains("haiku"), "{}", text(&lint.stdout));
    // the same images again, held to the new line: as many rejects as the primary's
    let after = calibrate(folder.path(), &["--judge", "haiku"]);
    let again = &after["judges"][0];
    assert_eq!(again["pairs"], haiku["pairs"], "images judged without offsets still count");
    assert_eq!(again["data"], haiku["data"]);
    let present = again["fit"]["present"]["effect"].as_f64().unwrap();
    assert!(present.abs() <= 0.005, "{present}");
    assert_eq!(again["verdict"], "no_difference");
    assert_eq!(again["paste"], haiku["paste"], "looked at again, it stays");
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_people_who_fitted_the_same_see_the_same_digest() {
    let (one, other) = (folder(POLICY), folder(POLICY));
    let stores = [Store::open(one.path()).await, Store::open(other.path()).await];
    stores[0].pairs(0..1_200).await;
    stores[1].pairs(700..1_200).await;
    stores[1].pairs(0..700).await;
    let data = |folder: &Path| calibrate(folder, &[])["judges"][0]["data"].clone();
    assert_eq!(data(one.path()), data(other.path()), "in whatever order they were stored");
    stores[1].pairs(1_200..1_201).await;
    assert_ne!(data(one.path()), data(other.path()));
    for store in stores {
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn too_few_pairs_say_how_many_are_missing_and_how_long_that_takes() {
    let folder = folder(POLICY);
    let store = Store::open(folder.path()).await;
    store.pairs(0..300).await;
    let told = calibrate(folder.path(), &["--judge", "haiku", "--min-pairs", "2000"]);
    let haiku = &told["judges"][0];
    assert_eq!((&haiku["verdict"], &haiku["missing"]), (&json!("too_few"), &json!(1_700)));
    assert_eq!((&haiku["paste"], &told["paste"]), (&Value::Null, &Value::Null));
    let said = shown(folder.path(), &["--judge", "haiku"]);
    // a pair a minute: 300 of them are of the last day
    assert!(
        said.contains("haiku  300 pairs  too few: 700 missing, 3 more days at 300 a day"),
        "{said}"
    );
    assert!(said.ends_with("Nothing to paste.\n"), "{said}");
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_judge_is_pinned_to_today_s_model_and_questions() {
    let folder = folder(POLICY);
    let store = Store::open(folder.path()).await;
    store.pairs(0..1_200).await;
    let pairs = |folder: &Path| {
        let told = calibrate(folder, &["--judge", "haiku"]);
        let one = &told["judges"][0];
        (one["pairs"].clone(), one["left_out"]["other_configuration"].clone())
    };
    assert_eq!(pairs(folder.path()), (json!(1_200), Value::Null));
    write_policy(folder.path(), &POLICY.replace("Is the outline clean?", "Is the edge clean?"));
    assert_eq!(pairs(folder.path()), (json!(0), json!(1_200)), "another question");
    write_policy(folder.path(), POLICY);
    let priced = "claude-sonnet-5, price: { input: 1, output: 5 }";
    let service = SERVICE.replace("claude-haiku-4-5", priced);
    assert_ne!(service, SERVICE);
    fs::write(folder.path().join("vlmgate.yaml"), service).unwrap();
    assert_eq!(pairs(folder.path()), (json!(0), json!(1_200)), "another model");
    store.close().await;
}

#[test]
fn what_does_not_exist_is_named_and_exits_as_the_contract_says() {
    let folder = folder(POLICY);
    let told = |arguments: &[&str]| {
        let output = vlmgate(folder.path(), &[&["calibrate"][..], arguments].concat());
        (output.status.code(), text(&output.stderr))
    };
    let (code, said) = told(&[]);
    assert_eq!(code, Some(1), "no store yet: {said}");
    assert!(said.contains("there is no store ") && said.contains("--data DIR"), "{said}");
    let (code, said) = told(&["--policy", "shpo"]);
    assert_eq!(
        (code, said.as_str()),
        (Some(2), "vlmgate: no policy is called \"shpo\": there is shop\n")
    );
    let (code, said) = told(&["--judge", "hiaku"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("no judge is called \"hiaku\": there is haiku, local, mini"), "{said}");
    let (code, said) = told(&["--judge", "mini"]);
    assert_eq!(
        (code, said.as_str()),
        (Some(2), "vlmgate: mini is whom others are calibrated to\n")
    );
    let (code, said) = told(&["--min-pairs", "10"]);
    assert_eq!(code, Some(2), "nobody lowers the least number");
    assert!(said.contains("rests on fewer than 1000 images does more harm than good"), "{said}");
    write_policy(folder.path(), &POLICY.replace("format: 1", "format: 9"));
    assert_eq!(told(&[]).0, Some(3));
}

#[test]
fn lint_warns_of_judges_whose_line_is_in_doubt_and_strict_refuses_them() {
    let folder = folder(POLICY);
    let lint = |arguments: &[&str]| {
        let output =
            vlmgate(folder.path(), &[&["policy", "lint", "policies"][..], arguments].concat());
        (output.status.code(), text(&output.stdout))
    };
    let warnings = |said: &str| {
        let lines = said.lines().filter_map(|line| line.split_once(": warning: "));
        let lines = lines.map(|(_, warning)| warning);
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let with = |offset: &str| {
        let line = format!("route:\n  offset_by_judge: {{ haiku: {{ add: 0.05, {offset} }} }}\n");
        write_policy(folder.path(), &POLICY.replace("route:\n", &line));
        let (code, said) = lint(&[]);
        assert_eq!(code, Some(0), "{said}");
        warnings(&said)
    };
    let (code, said) = lint(&[]);
    assert_eq!(code, Some(0));
    assert_eq!(
        warnings(&said),
        [
            "haiku stands in for mini and is not calibrated, in cutout, shadow: when it does, the reject \
          rate moves by what the two differ; see `vlmgate calibrate --help`"
        ]
    );
    assert!(said.contains("policies/shop.yaml:9:18: route.judges[1]: warning: "), "{said}");
    assert_eq!(lint(&["--strict"]).0, Some(3));
    let (code, said) = lint(&["--json"]);
    let json: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((code, json.len()), (Some(0), 2), "{said}");
    assert_eq!((&json[1]["judge"], &json[1]["doubt"]), (&json!("haiku"), &json!("uncalibrated")));
    assert_eq!((&json[1]["line"], &json[1]["criteria"]), (&json!(9), &json!(["cutout", "shadow"])));

    let day = |ago: u64| {
        let ago = std::time::Duration::from_secs(ago * 86_400);
        show_date(day_of(Timestamp::now().before(ago)))
    };
    assert_eq!(with("at_line: 0.3"), Vec::<String>::new(), "set by hand");
    assert_eq!(with(&format!("fitted: {}", day(89))), Vec::<String>::new());
    assert_eq!(
        with(&format!("fitted: {}", day(100))),
        ["haiku was calibrated 100 days ago: run `vlmgate calibrate` again"]
    );
    assert_eq!(
        with("against: local"),
        ["haiku was calibrated to local, and mini is asked first: run `vlmgate calibrate` again"]
    );
    let other = format!("asked: \"b3:{}\"", "0".repeat(64));
    assert_eq!(
        with(&other),
        ["haiku was calibrated when judges were asked or shown something else: run `vlmgate \
          calibrate` again"]
    );
    assert_eq!(lint(&["--strict"]).0, Some(3));
}

#[test]
fn a_line_in_one_criterion_passed_for_a_calibrated_judge_and_a_shadow_of_the_first_was_fine() {
    let policy =
        POLICY.replace("pass_at: 0.7 }", "pass_at: 0.7, pass_at_by_judge: { haiku: 0.6 } }");
    let shadow = "shadow: [{ id: twin, judge: mini, sample: 3%, per_day: 1 USD }]\n";
    let folder = folder(&format!("{policy}{shadow}"));
    let lint = |path: &str| {
        let output = vlmgate(folder.path(), &["policy", "lint", path]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let said = text(&output.stdout);
        said.lines().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    let said = lint("policies/shop.yaml");
    let [line, twin] = said.as_slice() else { panic!("{said:?}") };
    assert!(
        line.starts_with(
            "policies/shop.yaml:5:5: criteria[1].pass_at_by_judge: warning: haiku stands in for mini \
             and has a line of its own in other criteria, and none in shadow"
        ),
        "{line}"
    );
    assert!(
        twin.starts_with(
            "policies/shop.yaml:10:29: shadow[0].judge: warning: twin shows images to mini, which \
             judged them first"
        ),
        "{twin}"
    );
    assert_eq!(lint("policies"), said, "in a folder as alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_a_store_is_calibrated_as_the_store_itself() {
    let (one, other) = (folder(POLICY), folder(POLICY));
    let store = Store::open(one.path()).await;
    store.fill().await;
    let lines = store.exported().await;
    fs::write(other.path().join("records.ndjson"), lines).unwrap();
    let output = vlmgate(other.path(), &["import", "records.ndjson"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(
        text(&output.stdout).contains(" and 1215 shadows stored, "),
        "{}",
        text(&output.stdout)
    );
    let told = |folder: &Path| {
        let mut told = calibrate(folder, &[]);
        // a minute may have passed between the two
        for key in ["since", "until"] {
            told.as_object_mut().unwrap().remove(key);
        }
        told["judges"][0].as_object_mut().unwrap().remove("pairs_a_day");
        told
    };
    assert_eq!(told(other.path()), told(one.path()));
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn judges_that_never_differed_were_told_to_differ_by_exactly_nothing() {
    let folder = folder(POLICY);
    let store = Store::open(folder.path()).await;
    store.twins(0..12).await;
    let told = calibrate(folder.path(), &["--judge", "haiku"]);
    let present = &told["judges"][0]["fit"]["present"];
    assert_eq!(present["effect"], json!(0.0), "{told}");
    let (low, high) = (present["low"].as_f64().unwrap(), present["high"].as_f64().unwrap());
    assert!(low < -0.2 && 0.2 < high, "twelve images say little: {present}");
    let said = shown(folder.path(), &["--judge", "haiku"]);
    assert!(said.contains("difference  0.0 points (-24.2 to +24.2)"), "{said}");
    store.close().await;
}

#[test]
fn a_policy_test_shows_what_an_offset_does() {
    let offset = "route:\n  offset_by_judge: { haiku: { add: 0.1, at_line: 1 } }\n";
    let folder = folder(&POLICY.replace("route:\n", offset));
    let mug = crate::world::root().join("policies/fixtures/mug-clean.jpg");
    fs::copy(mug, folder.path().join("policies/mug.jpg")).unwrap();
    let down = "mini: { fault: overloaded }";
    let tests = format!(
        "policy: shop.yaml\ndefaults: {{ image: mug.jpg }}\ntests:\n  \
         - {{ name: above, judges: {{ {down}, haiku: {{ scores: {{ \"*\": .69 }} }} }}, expect: {{ verdict: pass, borderline: false }} }}\n  \
         - {{ name: on it, judges: {{ {down}, haiku: {{ scores: {{ cutout: .60, \"*\": .95 }} }} }}, expect: {{ verdict: fail, failed: [cutout] }} }}\n  \
         - {{ name: under it, judges: {{ {down}, haiku: {{ scores: {{ cutout: .5, \"*\": .95 }} }} }}, expect: {{ verdict: fail, borderline: false }} }}\n  \
         - {{ name: the first judge's own line, judges: {{ mini: {{ scores: {{ cutout: .69, \"*\": .95 }} }} }}, expect: {{ verdict: fail }} }}\n"
    );
    fs::write(folder.path().join("policies/shop.test.yaml"), tests).unwrap();
    let arguments = ["policy", "test", "policies", "--config", "vlmgate.yaml", "--json"];
    let output = vlmgate(folder.path(), &arguments);
    let played: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&played["passed"], &played["failed"]), (&json!(4), &json!(0)), "{played}");
    let untouched = &played["files"][0]["coverage"]["untouched"];
    let untouched = untouched.as_array().unwrap().iter().filter_map(Value::as_str);
    let haiku: Vec<_> = untouched.filter(|one| one.ends_with("of haiku")).collect();
    assert_eq!(haiku, ["shadow is never seen failing at 0.5 of haiku"], "its line is 0.6 - 0.1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_judge_is_calibrated_to_what_people_said_of_doubtful_images_and_of_few_others() {
    const IMAGES: u32 = 3_000;
    let folder = folder(POLICY);
    let store = Store::open(folder.path()).await;
    store.served(0..IMAGES).await;
    let is_rejected = |n: &u32| mini_margin(*n) < -1e-9;
    let looked_at: Vec<u32> = (0..IMAGES).filter(|n| is_rejected(n) || n % 5 == 0).collect();
    for n in &looked_at {
        store.look(*n).await;
    }
    // one who thought better of it, and one who took the word back
    let passed: Vec<u32> = (0..IMAGES).filter(|n| 0.3 < mini_margin(*n) && n % 5 == 1).collect();
    store.label(passed[0], Said::Ok, "ann").await;
    store.label(passed[0], Said::Defect, "bob").await;
    store.label(passed[0], Said::Ok, "bob").await;
    store.label(passed[1], Said::Defect, "ann").await;
    store.label(passed[1], Said::Withdrawn, "ann").await;
    let told = calibrate(folder.path(), &["--labels"]);
    assert_eq!((&told["against"], &told["policy"]), (&json!("labels"), &json!("shop")));
    let [haiku, mini] = told["judges"].as_array().unwrap().as_slice() else { panic!("{told}") };
    assert_eq!((&haiku["verdict"], &haiku["labels"]), (&json!("too_few"), &json!(0)), "{haiku}");
    assert_eq!(haiku["missing"], json!([{ "kind": null, "labels": 300 }]));
    assert_eq!(mini["labels"], looked_at.len() + 1, "{mini}");
    let kinds = mini["kinds"].as_array().unwrap();
    let of = |key: &str| kinds.iter().map(|one| one[key].as_u64().unwrap()).collect::<Vec<_>>();
    assert_eq!(of("images").iter().sum::<u64>(), u64::from(IMAGES));
    let (images, labels) = (of("images"), of("labels"));
    assert_eq!((images[0], images[4]), (labels[0], labels[4]), "all reviews and rejects: {mini}");
    let fit = &mini["fit"];
    assert_eq!(
        (&mini["verdict"], &fit["add"], &fit["at_line"]),
        (&json!("usable"), &json!(-0.05), &json!(1.0)),
        "{mini}"
    );
    let share = |of: &Value| of["effect"].as_f64().unwrap();
    let ratio = |n: usize, of: usize| {
        let [n, of] = [n, of].map(|one| f64::from(u32::try_from(one).unwrap()));
        n / of
    };
    let all = |counts: &dyn Fn(f64) -> bool| {
        let n = (0..IMAGES).filter(|n| counts(mini_margin(*n))).count();
        ratio(n, IMAGES as usize)
    };
    let (rejects, defects) = (all(&|margin| margin < -1e-9), all(&|margin| margin < 0.1 - 1e-9));
    assert!((share(&fit["judge_rejects"]) - rejects).abs() < 1e-9, "known of every image");
    let interval = ["low", "high"].map(|key| fit["defects"][key].as_f64().unwrap());
    assert!(interval[0] < defects && defects < interval[1], "{defects} {interval:?}");
    let naive = looked_at.iter().filter(|n| mini_margin(**n) < 0.1 - 1e-9).count();
    assert!(interval[1] < ratio(naive, looked_at.len()), "not the share of the labels");
    assert!(share(&fit["wrong_then"]["missed"]).abs() < 1e-9, "{fit}");
    assert!(0.1 < share(&fit["wrong_now"]["missed"]), "{fit}");
    write_policy(folder.path(), &pasted(told["paste"].as_str().unwrap()));
    let lint = vlmgate(folder.path(), &["policy", "lint", "policies"]);
    assert!(!text(&lint.stdout).contains("mini was calibrated"), "{}", text(&lint.stdout));
    let again = calibrate(folder.path(), &["--labels", "--judge", "mini"]);
    assert_eq!(again["judges"][0]["verdict"], "no_difference", "{again}");
    assert_eq!(again["paste"], Value::Null, "its offset keeps what it rests on");
    let shown = shown(folder.path(), &["--labels"]);
    assert!(
        shown.contains("mini  ") && shown.contains("rejects as many as people: keep"),
        "{shown}"
    );
    assert!(shown.contains("haiku  0 labels  too few: 300 missing"), "{shown}");
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_of_rejects_alone_draw_no_line() {
    let folder = folder(POLICY);
    let store = Store::open(folder.path()).await;
    store.served(0..400).await;
    for n in (0..400).filter(|n| mini_margin(*n) < -1e-9) {
        store.look(n).await;
    }
    let told = calibrate(folder.path(), &["--labels", "--judge", "mini"]);
    let mini = &told["judges"][0];
    assert_eq!((&mini["verdict"], &told["paste"]), (&json!("too_few"), &Value::Null), "{mini}");
    let missing = mini["missing"].as_array().unwrap();
    assert!(missing.contains(&json!({ "kind": "pass", "labels": 30 })), "{missing:?}");
    assert!(0.8 < mini["fit"]["unseen"].as_f64().unwrap(), "{mini}");
    for refused in [&["--min-labels", "299"][..], &["--against", "mini"], &["--min-pairs", "2000"]]
    {
        let output = vlmgate(folder.path(), &[&["calibrate", "--labels"], refused].concat());
        assert_eq!(output.status.code(), Some(2), "{refused:?}: {}", text(&output.stderr));
    }
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn images_that_came_again_or_that_no_judge_saw_weigh_nothing_among_labels() {
    let folder = folder(POLICY);
    let store = Store::open(folder.path()).await;
    store.served(0..40).await;
    store.blind(40..50).await;
    store.again(50..53).await;
    for n in 0..53 {
        store.look(n).await;
    }
    let told = calibrate(folder.path(), &["--labels", "--judge", "mini"]);
    let mini = &told["judges"][0];
    let of = |key: &str| {
        let kinds = mini["kinds"].as_array().unwrap().iter();
        kinds.map(|one| one[key].as_u64().unwrap()).sum::<u64>()
    };
    assert_eq!((of("images"), of("labels")), (43, 40), "{mini}");
    assert_eq!(mini["left_out"], json!({ "seen_again": 3 }));
    assert_eq!(told["older_unread"], json!(false));
    assert_eq!(store.looks(3).await, (vec![0, 1, 2], false), "older ones are there");
    assert!(store.looks(53).await.1 && !store.looks(52).await.1);
    store.close().await;
}
