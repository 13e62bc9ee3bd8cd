//! `vlmgate report`: one file that tells a stretch of time, loads nothing and believes nobody's words.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use vlmgate::clock::Timestamp;
use vlmgate::ledger::follow::Settings as Follow;
use vlmgate::ledger::{Ledger, Settings};

use crate::figures::counting::{judged, soon};
use crate::ledger::settings;
use crate::world::{World, mug};

const SECOND_US: i64 = 1_000_000;
/// What no page may take for a tag.
const HOSTILE: &str = "</script><img src=x onerror=alert(1)>";
/// The largest file of an hour: the page's own charts and what they draw.
const MOST_BYTES: usize = 400_000;

fn report(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vlmgate"));
    command.current_dir(folder).arg("report").args(arguments).env_clear();
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A data folder with the records `0..n`, one a second, that ends a minute ago; the moment of record 0.
/// The second judge is stricter and takes over from record 2,600 on.
async fn folder_of(n: u32, policy: &str) -> (tempfile::TempDir, Timestamp) {
    let folder = tempfile::tempdir().unwrap();
    let store = Settings { path: folder.path().join("vlmgate.db"), ..settings(folder.path()) };
    let follow = Follow::usual(folder.path().join("drift.json"));
    let ledger = Ledger::open(store).await.unwrap();
    let follower = ledger.follow(Follow { baseline_days: 0, ..follow }).unwrap();
    let first = Timestamp(Timestamp::now().0 - (i64::from(n) + 60) * SECOND_US);
    for number in 0..n {
        let mut entry = judged(number);
        entry.record.at_us = first.0 + i64::from(number) * SECOND_US;
        entry.record.policy.name = policy.to_owned();
        entry.record.verdict.flags = vec![HOSTILE.to_owned()];
        let written = ledger.append(ledger.reserve().unwrap(), entry, soon());
        if number % 50 == 49 || number + 1 == n {
            assert!(written.await.recorded);
        }
    }
    follower.finish(soon()).await.unwrap();
    ledger.close(soon()).await.unwrap();
    (folder, first)
}

fn at(first: Timestamp, record: i64) -> String {
    Timestamp(first.0 + record * SECOND_US).to_string()
}

/// What stands between each `open` and the `close` behind it.
fn all_between<'a>(page: &'a str, open: &str, close: &str) -> Vec<&'a str> {
    page.split(open).skip(1).map(|rest| rest.split(close).next().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_is_told_as_routing_in_one_file_that_loads_nothing() {
    let (folder, first) = folder_of(3_300, HOSTILE).await;
    let (since, until) = (at(first, 2_590), at(first, 3_010));
    let window = ["--data", ".", "--since", &since, "--until", &until, "--out", "report.html"];
    let output = report(folder.path(), &window);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(output.stdout.is_empty());
    let page = fs::read_to_string(folder.path().join("report.html")).unwrap();
    assert!((30_000..MOST_BYTES).contains(&page.len()), "{} bytes", page.len());

    // read without the script and its figures: what stands in the file itself
    let body = page.split("<script type=").next().unwrap();
    let told = body.split("<p class=\"told\">").nth(1).unwrap().split("</p>").next().unwrap();
    assert!(told.contains("routing:</em>") && told.contains("went to claude-haiku"), "{told}");
    assert!(body.contains("the baseline, "), "what it is compared with");
    assert!(body.contains("<b>Routing</b>"), "the event of the detector");
    for head in ["Where the change comes from", "Judges", "What was flagged", "Evidence"] {
        assert!(body.contains(&format!("<h2>{head}</h2>")), "{head}");
    }
    let judges = body.split("<h2>Judges</h2>").nth(1).unwrap();
    let haiku = judges.split("claude-haiku</th>").nth(1).unwrap().split("</tr>").next().unwrap();
    assert!(haiku.contains("240 images") && haiku.contains("n 240"), "{haiku}");

    for loads in ["http://", "https://", "src=\"", "<link", "url(", "@import", "import(", "fetch("]
    {
        assert!(!page.contains(loads), "the report holds {loads}");
    }
    assert!(!body.contains("href="), "there is nowhere to go from a file");
    let policy = all_between(&page, "Content-Security-Policy\" content=\"", "\"")[0];
    assert!(policy.starts_with("default-src &#39;none&#39;; script-src &#39;sha256-"), "{policy}");
    let inline =
        [all_between(&page, "<script>", "</script>"), all_between(&page, "<style>", "</style>")];
    assert_eq!(inline.each_ref().map(Vec::len), [2, 1], "the theme, the charts, the style");
    for text in inline.concat() {
        let digest = STANDARD.encode(Sha256::digest(text.as_bytes()));
        assert!(policy.contains(&format!("sha256-{digest}")), "not allowed by {policy}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_anybody_named_is_words_in_a_report() {
    let (folder, _) = folder_of(60, HOSTILE).await;
    let output = report(folder.path(), &["--data", "."]);
    let page = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(page.contains("&lt;/script&gt;&lt;img src=x"), "it is told");
    assert!(!page.contains("<img"), "and no tag");
    assert_eq!(page.matches("</script").count(), 3);
    let figures = all_between(&page, "id=\"figures\">", "</script>")[0];
    let figures: Value = serde_json::from_str(figures).unwrap();
    assert_eq!(figures["stats"]["flags"][0]["flag"], HOSTILE);
    assert_eq!(figures["stats"]["total"]["n"], 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn few_images_are_greyed_and_no_cause_is_told_of_them() {
    let (folder, _) = folder_of(20, "product-photo").await;
    let page = text(&report(folder.path(), &["--data", ".", "--since", "1h"]).stdout);
    let told = page.split("<p class=\"told\">").nth(1).unwrap().split("</p>").next().unwrap();
    assert!(told.contains("Only 20 images") && told.contains("too few"), "{told}");
    assert!(page.contains("<div class=\"big thin\">"), "the share of 20 is greyed");
    assert!(page.contains("<td class=\"num thin\">"));
    assert!(!page.contains("<h2>Where the change comes from</h2>"));
    assert!(page.contains("No detector has spoken in this time."));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_is_made_beside_a_running_gate_and_says_what_it_says() {
    let world = World::new().await;
    for _ in 0..3 {
        world.post(mug()).await;
    }
    let stats = world.counted(3).await;
    let data = world.folder.path().join("data");
    let before = fs::read_dir(&data).unwrap().count();
    let output = report(world.folder.path(), &["--data", "data", "--since", "1h", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    for key in ["n", "pass", "reject", "total_ms", "cost_micro_usd", "by_basis"] {
        assert_eq!(told["stats"]["total"][key], stats["total"][key], "{key}");
    }
    assert_eq!(told["deadline_ms"], 5_000);
    let (_, drift) = world.get("/v1/drift?since=1h").await;
    assert_eq!(told["drift"]["judges"], drift["judges"]);
    assert_eq!(fs::read_dir(&data).unwrap().count(), before, "nothing is left in the data folder");
    let (status, _) = world.post(mug()).await;
    assert_eq!(status, 200, "and the gate goes on");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_range_or_no_policy_is_refused_in_one_line() {
    let (folder, _) = folder_of(20, "product-photo").await;
    let refused = |arguments: &[&str]| {
        let output = report(folder.path(), &[&["--data", "."][..], arguments].concat());
        assert!(output.stdout.is_empty());
        (output.status.code().unwrap(), text(&output.stderr))
    };
    let cases: [(&[&str], &str); 5] = [
        (&["--since", "yesterday"], "--since is \"yesterday\", expected RFC 3339"),
        (&["--since", "1h", "--until", "2h"], "--until: is "),
        (&["--since", "3000d"], "at most 732 days are told"),
        (&["--policy", "banner"], "no verdict of \"banner\"; there are product-photo"),
        (&["--until", "soon"], "--until is \"soon\""),
    ];
    for (arguments, expected) in cases {
        let (code, said) = refused(arguments);
        assert_eq!(code, 2, "{arguments:?}: {said}");
        assert!(said.contains(expected) && said.lines().count() == 1, "{arguments:?}: {said}");
    }
    let (code, said) = refused(&["--out", "nowhere/report.html"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("nowhere/report.html"), "{said}");
    let empty = tempfile::tempdir().unwrap();
    let output = report(empty.path(), &["--data", "."]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert_eq!(fs::read_dir(empty.path()).unwrap().count(), 0, "no store is made");
}
