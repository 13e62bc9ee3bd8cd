//! What counts as served, which pairs say how judges judge, and what a baseline was frozen from: as
//! `vlmgate report` tells them.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;
use vlmgate::clock::Timestamp;
use vlmgate::domain::{AttemptOutcome, Decision, Digest, Route};
use vlmgate::ledger::follow::Settings as Follow;
use vlmgate::ledger::shadows::{NewShadow, Purpose};
use vlmgate::ledger::{Entry, Ledger, Settings};

use crate::figures::counting::{judged, soon};
use crate::ledger::records::judge;
use crate::ledger::settings;

const SECOND_US: i64 = 1_000_000;
const MINUTE_US: i64 = 60 * SECOND_US;

/// A data folder with a record every two seconds, the last one a minute ago, each with what was said
/// behind it; and the moment of the first.
async fn folder_of(n: u32, of: impl Fn(u32) -> (Entry, Option<NewShadow>)) -> (TempDir, Timestamp) {
    let folder = tempfile::tempdir().unwrap();
    let store = Settings { path: folder.path().join("vlmgate.db"), ..settings(folder.path()) };
    let follow = Follow::usual(folder.path().join("drift.json"));
    let ledger = Ledger::open(store).await.unwrap();
    let follower = ledger.follow(Follow { baseline_days: 0, ..follow }).unwrap();
    let first = Timestamp(Timestamp::now().0 - i64::from(n) * 2 * SECOND_US - MINUTE_US);
    let mut waiting = Vec::new();
    for number in 0..n {
        let (mut entry, shadow) = of(number);
        entry.record.at_us = first.0 + i64::from(number) * 2 * SECOND_US;
        waiting.extend(shadow.map(|one| NewShadow { at: Timestamp(entry.record.at_us), ..one }));
        let written = ledger.append(ledger.reserve().unwrap(), entry, soon());
        if number % 50 == 49 || number + 1 == n {
            assert!(written.await.recorded);
            for one in waiting.drain(..) {
                assert!(ledger.shadow(one).await.unwrap());
            }
        }
    }
    follower.finish(soon()).await.unwrap();
    ledger.close(soon()).await.unwrap();
    (folder, first)
}

/// Everything that a report of the records from the `from`th on says.
fn told(folder: &Path, first: Timestamp, from: i64) -> Value {
    let since = Timestamp(first.0 + from * 2 * SECOND_US).to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_vlmgate"));
    command.args(["report", "--data", ".", "--json", "--since", &since]);
    let output = command.current_dir(folder).env_clear().output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The same as a page.
fn shown(folder: &Path, since: Timestamp) -> String {
    let mut page = Command::new(env!("CARGO_BIN_EXE_vlmgate"));
    page.args(["report", "--data", ".", "--since", &since.to_string()]).current_dir(folder);
    String::from_utf8(page.env_clear().output().unwrap().stdout).unwrap()
}

/// The `n`th verdict: who gave it, why that judge was asked, what it said, under which lines.
fn verdict(n: u32, (name, route): (&str, Route), said: Decision, lines: &str) -> Entry {
    let mut entry = judged(n);
    let one = &mut entry.record;
    one.judge = Some(judge(name));
    one.route = Some(route);
    one.verdict.decision = said;
    one.verdict.first_verdict = Some(said);
    one.judged_by = Digest::of(format!("{lines} {name}").as_bytes());
    for attempt in &mut one.attempts {
        attempt.judge = judge(name);
        attempt.route = route;
        attempt.said = Some(said);
    }
    entry
}

/// Each 20th verdict is a probe's, which rejects half of what it sees; beside each other 20th one a
/// probe came second.
fn probed(n: u32) -> (Entry, Option<NewShadow>) {
    let rejects = n.is_multiple_of(40);
    let said = if rejects { Decision::Fail } else { Decision::Pass };
    if n.is_multiple_of(20) {
        return (verdict(n, ("claude-haiku", Route::Probe), said, "own"), None);
    }
    let mut entry = verdict(n, ("openai-mini", Route::Primary), Decision::Pass, "own");
    if n % 20 == 10 {
        let mut second = entry.record.attempts[0].clone();
        second.judge = judge("claude-haiku");
        second.route = Route::Probe;
        second.outcome = AttemptOutcome::Judged;
        entry.record.attempts.push(second);
    }
    (entry, None)
}

#[tokio::test(flavor = "multi_thread")]
async fn verdicts_that_a_probe_gave_were_left_out_of_the_rate_of_what_was_served() {
    let (folder, first) = folder_of(1_200, probed).await;
    let told = told(folder.path(), first, 0);
    let (total, after) = (&told["stats"]["total"], &told["drift"]["after"]);
    assert_eq!((&total["rated"], &after["reject"]["n"]), (&json!(1_200), &json!(1_200)));
    assert_eq!(after["first_reject"]["n"], 1_200, "{after}");
    assert_eq!(after["first_reject"]["count"], 30, "every other probe that was a verdict");
    let by_route = json!({ "primary": 1_140, "hedge": 0, "failover": 0, "probe": 60 });
    assert_eq!(total["by_route"], by_route);
    let judges = told["drift"]["judges"].as_array().unwrap();
    let haiku = judges.iter().find(|one| one["judge"] == "claude-haiku").unwrap();
    assert_eq!(haiku["share_after"]["count"], 60, "its own, and not those that came second");
    assert_eq!(haiku["after"]["n"], 120, "which say how it judges: {haiku}");
    let learning = &told["drift"]["watch"]["learning"];
    assert_eq!(learning["n"], 1_200, "{learning}");
}

/// Where other lines begin to hold.
const CHANGE: u32 = 2_000;
/// Where the second judge takes over.
const AWAY: u32 = 3_900;

/// A primary that passes everything; behind every tenth verdict the other judge, which passes
/// everything too until its line is moved, and nothing afterwards; at the end it serves.
fn relined(n: u32) -> (Entry, Option<NewShadow>) {
    let lines = if n < CHANGE { "old" } else { "new" };
    if AWAY <= n {
        return (verdict(n, ("claude-haiku", Route::Failover), Decision::Fail, lines), None);
    }
    let entry = verdict(n, ("openai-mini", Route::Primary), Decision::Pass, lines);
    let mut attempt = entry.record.attempts[0].clone();
    attempt.judge = judge("claude-haiku");
    attempt.route = Route::Shadow;
    attempt.said = Some(if n < CHANGE { Decision::Pass } else { Decision::Fail });
    let shadow = NewShadow {
        verdict: entry.record.id,
        at: Timestamp(0),
        purpose: Purpose::Sample,
        entry: "standby".to_owned(),
        propensity: 0.1,
        judged_by: Digest::of(format!("{lines} claude-haiku").as_bytes()),
        attempt,
    };
    (entry, n.is_multiple_of(10).then_some(shadow))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_line_was_modelled_by_pairs_that_were_judged_under_the_old_one() {
    let (folder, first) = folder_of(4_000, relined).await;
    let told = told(folder.path(), first, 3_600);
    let drift = &told["drift"];
    let at_us = |n: u32| first.0 + i64::from(n) * 2 * SECOND_US;
    let minute_us = (at_us(CHANGE).div_euclid(MINUTE_US) + 1) * MINUTE_US;
    let counts = |n: &u32| n.is_multiple_of(10) && minute_us <= at_us(*n);
    let pairs = (CHANGE..AWAY).filter(counts).count();
    assert!(180 < pairs, "{pairs}");
    assert_eq!(drift["pairs"]["since"], Timestamp(minute_us).to_string());
    let changed_us = at_us(CHANGE).div_euclid(1_000) * 1_000;
    assert_eq!(drift["pairs"]["changed"], Timestamp(changed_us).to_string());
    assert_eq!(drift["adjusted"]["pairs"], pairs, "{}", drift["adjusted"]);
    let rate = drift["adjusted"]["rate"].as_f64().unwrap();
    assert!(rate < 0.01, "the primary passes what the other rejects under its new line: {rate}");
    let own = &drift["calibration"][0];
    assert_eq!((&own["judge"], &own["pairs"]), (&json!("claude-haiku"), &json!(pairs)));
    assert_eq!(own["present"]["effect"], 1.0, "it rejects everything now: {own}");
    assert_eq!(drift["agreement"][0]["n"], pairs);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_baseline_has_the_number_of_verdicts_that_were_frozen_and_not_that_of_its_hours() {
    let (folder, first) = folder_of(2_600, |n| (judged(n), None)).await;
    let before = &told(folder.path(), first, 2_200)["drift"]["before"];
    assert_eq!((&before["baseline"], &before["frozen"]), (&json!(true), &json!(2_000)), "{before}");
    let page = shown(folder.path(), Timestamp(first.0 + 2_200 * 2 * SECOND_US));
    assert!(page.contains("<span class=\"q\">n 2,000</span>"), "as frozen");
}

/// A quiet day on which every eighth verdict is won by a hedge, and the one that lost rejects every
/// fifth of those and the winner every tenth; a sample is drawn of the others.
fn hedged(n: u32, losers: bool) -> (Entry, Option<NewShadow>) {
    let is_won = n.is_multiple_of(8);
    let (name, route) =
        if is_won { ("claude-haiku", Route::Hedge) } else { ("openai-mini", Route::Primary) };
    let said = |rejects| if rejects { Decision::Fail } else { Decision::Pass };
    let own = said(if is_won { n.is_multiple_of(80) } else { n.is_multiple_of(25) });
    let entry = verdict(n, (name, route), own, "own");
    let other = if is_won { "openai-mini" } else { "claude-haiku" };
    let mut attempt = entry.record.attempts[0].clone();
    (attempt.judge, attempt.route) = (judge(other), Route::Shadow);
    (attempt.outcome, attempt.said) = (AttemptOutcome::Judged, Some(said(n.is_multiple_of(40))));
    let shadow = NewShadow {
        verdict: entry.record.id,
        at: Timestamp(0),
        purpose: if is_won { Purpose::Hedge } else { Purpose::Sample },
        entry: if is_won { String::new() } else { "standby".to_owned() },
        propensity: if is_won { 1.0 } else { 0.1 },
        judged_by: Digest::of(format!("own {other}").as_bytes()),
        attempt,
    };
    let is_asked = if is_won { losers } else { n % 10 == 3 };
    (entry, is_asked.then_some(shadow))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_losers_of_hedges_say_is_told_apart_and_moves_nothing_else() {
    let (with, first) = folder_of(4_000, |n| hedged(n, true)).await;
    let (without, then) = folder_of(4_000, |n| hedged(n, false)).await;
    let page = shown(with.path(), first);
    let (with, without) = (told(with.path(), first, 0), told(without.path(), then, 0));
    let hedges = with["drift"]["hedges"].as_array().unwrap();
    let [hedge] = hedges.as_slice() else { panic!("one pair of judges: {hedges:?}") };
    assert_eq!((&hedge["winner"], &hedge["n"]), (&json!("claude-haiku"), &json!(500)), "{hedge}");
    let counts = ["winner_reject", "other_reject"].map(|key| hedge[key]["count"].as_u64().unwrap());
    assert_eq!(counts, [50, 100]);
    let difference =
        ["effect", "low", "high"].map(|key| hedge["difference"][key].as_f64().unwrap());
    assert!((difference[0] - 0.1).abs() < 1e-12, "{difference:?}");
    assert!(0.07 < difference[1] && difference[2] < 0.13, "{difference:?}");
    assert_eq!(
        hedge["sentence"],
        "Verdicts won by a hedge: claude-haiku rejected 10.0 %, openai-mini rejects 20.0 % of the \
         same 500 images, +10.0 points (+7.4 to +12.6)."
    );
    assert!(page.contains(hedge["sentence"].as_str().unwrap()), "the report says so");
    assert_eq!(without["drift"]["hedges"], json!([]));
    // pairs, calibration, the adjusted rate, judges and every detector are as if nobody had asked
    for key in ["agreement", "calibration", "scores"] {
        assert_eq!(with["drift"][key], without["drift"][key], "{key}");
    }
    let alike = |of: &Value| {
        let rates = ["rate", "low", "high", "pairs", "basis"].map(|key| &of["adjusted"][key]);
        let judges = of["judges"].as_array().unwrap().iter();
        let judges = judges.map(|one| [&one["judge"], &one["after"]].map(ToString::to_string));
        let watched = of["watch"]["detectors"].as_array().unwrap().iter();
        let watched = watched.map(|one| ["detector", "judge", "n"].map(|key| one[key].to_string()));
        format!("{rates:?} {:?} {:?}", judges.collect::<Vec<_>>(), watched.collect::<Vec<_>>())
    };
    assert_eq!(alike(&with["drift"]), alike(&without["drift"]));
    assert!(0 < with["drift"]["agreement"][0]["n"].as_u64().unwrap(), "there are pairs");
}
