//! Judges asked behind verdicts: what they say is kept beside the record, and neither they nor what
//! becomes of them is to be noticed in front.

use std::fs;
use std::time::Duration;

use loadtest::{Behaviour, Fault, Judging};
use serde_json::{Value, json};
use vlmgate::clock::{Deadline, Timestamp};
use vlmgate::config::environment::Environment;
use vlmgate::config::{Config, Overrides};
use vlmgate::domain::{AttemptOutcome, Decision, Digest, MicroUsd, Route};
use vlmgate::ledger::figures::Scope;
use vlmgate::ledger::shadows::{Backfilled, NewShadow, Purpose};
use vlmgate::ledger::{Entry, Ledger};

use crate::crash::Gate;
use crate::drawn::photo_jpeg;
use crate::ledger::records::{judge, record};
use crate::ledger::settings;
use crate::spec::check;
use crate::world::{Plan, World, client, healthy, start_providers, write_files};

/// Longer than anything here takes, and shorter than a call behind a verdict may.
const LONG: Duration = Duration::from_secs(50);
/// Between two looks at something that tells nobody when it changes.
const LOOK: Duration = Duration::from_millis(25);

/// The shipped policy with these lines, and this route.
fn plan(route: &[&'static str], lines: &str, config: &str) -> Plan {
    Plan {
        route: route.to_vec(),
        edits: vec![("record:".to_owned(), format!("{lines}\nrecord:"))],
        config: config.to_owned(),
        ..Plan::default()
    }
}

fn text(of: &Value) -> &str {
    of.as_str().unwrap()
}

/// What was said behind a verdict, as soon as there is so much of it.
async fn shadows(world: &World, verdict: &Value, n: usize) -> Vec<Value> {
    let path = format!("/v1/verdicts/{}", text(&verdict["id"]));
    let stored = async {
        loop {
            let (status, record) = world.get(&path).await;
            assert_eq!(status, 200, "{record}");
            let shadows = record["shadows"].as_array().unwrap().clone();
            if n <= shadows.len() {
                return shadows;
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    let stored = Deadline::after(LONG).bound(stored).await;
    stored.unwrap_or_else(|_| panic!("{path}: nothing was said behind it"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_judge_says_behind_a_verdict_is_kept_beside_it_and_changes_nothing() {
    let entry = "shadow: [{ id: standby, judge: claude-haiku, sample: 100%, per_day: 5 USD }]";
    let world = World::of(plan(&["openai-mini"], entry, "")).await;
    world
        .provider("claude-haiku")
        .set_behaviour(Behaviour { judging: Judging::Always(0.05), ..healthy() });
    let (status, verdict) = world.post(photo_jpeg(300, 1)).await;
    assert_eq!((status, text(&verdict["verdict"])), (200, "pass"));
    assert_eq!(verdict["attempts"].as_array().unwrap().len(), 1, "{verdict}");
    let said = shadows(&world, &verdict, 1).await;
    let [one] = said.as_slice() else { panic!("asked once: {said:?}") };
    let words =
        ["judge", "route", "purpose", "entry", "outcome", "said"].map(|key| text(&one[key]));
    assert_eq!(words, ["claude-haiku", "shadow", "sample", "standby", "judged", "fail"]);
    assert_eq!(one["propensity"], 1.0);
    assert_ne!(one["judged_by"], verdict["judged_by"], "the model is another");
    assert!(one["cost_micro_usd"].as_u64().unwrap() > 0, "{one}");
    let (_, kept) = world.get(&format!("/v1/verdicts/{}", text(&verdict["id"]))).await;
    assert_eq!(kept["verdict"], "pass");
    assert_eq!(kept["attempts"].as_array().unwrap().len(), 1, "no attempt of the check's");
    // and it counts: the call, its bill, and the pair
    let counted = async {
        loop {
            let (_, drift) = world.get("/v1/drift").await;
            let (_, stats) = world.get("/v1/stats").await;
            let pairs = drift["agreement"].as_array().unwrap();
            if let Some(pair) = pairs.iter().find(|pair| pair["route"] == "shadow") {
                return (stats, pair.clone());
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    let (stats, pair) = Deadline::after(LONG).bound(counted).await.expect("it is counted");
    assert_eq!(stats["total"]["n"], 1, "{stats}");
    assert_eq!(stats["total"]["shadow_cost_micro_usd"], one["cost_micro_usd"]);
    assert!(pair.to_string().contains("claude-haiku"), "{pair}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_judge_that_hangs_behind_verdicts_holds_up_neither_answers_nor_the_end() {
    let entry = "shadow: [{ id: standby, judge: claude-haiku, sample: 100%, per_day: 5 USD }]";
    let world = World::of(plan(&["openai-mini"], entry, "")).await;
    world.provider("claude-haiku").set_behaviour(Behaviour::failing(Fault::Blackhole));
    for n in 0..12 {
        let (status, verdict) = world.post(photo_jpeg(300, n)).await;
        assert_eq!((status, text(&verdict["verdict"])), (200, "pass"), "{verdict}");
        assert_eq!(text(&verdict["judge"]["name"]), "openai-mini");
    }
    world.asked("claude-haiku").await;
    let stopped = Deadline::after(LONG).bound(world.stop()).await;
    assert!(stopped.is_ok(), "the end waits for nobody behind a verdict");
}

/// The value of a series, as soon as it is so high.
async fn reaches(gate: &Gate, series: &str, least: f64) -> f64 {
    let reached = async {
        loop {
            let metrics = client().get(format!("{}/metrics", gate.url)).send().await.unwrap();
            let metrics = metrics.text().await.unwrap();
            let line = metrics.lines().find_map(|line| line.strip_prefix(series));
            let value: f64 = line.map_or(0.0, |value| value.trim().parse().unwrap());
            if least <= value {
                return value;
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    let reached = Deadline::after(LONG).bound(reached).await;
    reached.unwrap_or_else(|_| panic!("{series} never reaches {least}"))
}

async fn post(gate: &Gate, image: Vec<u8>) -> Value {
    let path = "/v1/verdicts?policy=product-photo&vars.category=home&vars.background=white";
    let request = client().post(format!("{}{path}", gate.url)).body(image);
    let answer = request.header("content-type", "image/jpeg").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    serde_json::from_str(&answer.text().await.unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_dropped_and_counted_and_every_answer_comes() {
    let entry = "shadow: [{ id: standby, judge: claude-haiku, sample: 100%, per_day: 5 USD }]";
    let providers = start_providers();
    providers[1].set_behaviour(Behaviour::failing(Fault::Blackhole));
    let folder = tempfile::tempdir().unwrap();
    let small = "shadow: { max_queued: 2, max_in_flight: 1 }\n";
    let config = write_files(folder.path(), &providers, &plan(&["openai-mini"], entry, small));
    let gate = Gate::start(&config);
    for n in 0..10 {
        let verdict = post(&gate, photo_jpeg(300, n)).await;
        assert_eq!(text(&verdict["verdict"]), "pass");
    }
    // one is asked and two wait
    let full = "vlmgate_shadow_dropped_total{reason=\"queue_full\"}";
    assert!(reaches(&gate, full, 7.0).await < 8.0);
    assert!(reaches(&gate, "vlmgate_shadow_in_flight", 1.0).await < 2.0);
    assert!(reaches(&gate, "vlmgate_shadow_queued", 2.0).await < 3.0);
    assert!(reaches(&gate, "vlmgate_shadow_bytes", 1.0).await < 1e6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_days_money_is_all_that_is_spent_also_by_the_next_process() {
    let providers = start_providers();
    let calls = || {
        let calls = providers[1].calls();
        calls.iter().filter(|call| call.kind == loadtest::CallKind::Question).count()
    };
    let folder = tempfile::tempdir().unwrap();
    let entry = "shadow: [{ id: standby, judge: claude-haiku, sample: 100%, per_day: 0.001 USD }]";
    let config = write_files(folder.path(), &providers, &plan(&["openai-mini"], entry, ""));
    let broke = "vlmgate_shadow_dropped_total{reason=\"budget\"}";
    let spent =
        "vlmgate_attempts_total{judge=\"claude-haiku\",route=\"shadow\",outcome=\"judged\"}";
    let gate = Gate::start(&config);
    let mut posted: u32 = 0;
    // until the money is gone, whatever a call is thought to cost
    loop {
        drop(post(&gate, photo_jpeg(300, u64::from(posted))).await);
        posted += 1;
        let settled = async {
            loop {
                let (broke, spent) =
                    tokio::join!(reaches(&gate, broke, 0.0), reaches(&gate, spent, 0.0));
                if f64::from(posted) <= broke + spent {
                    return broke;
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        if 0.0 < Deadline::after(LONG).bound(settled).await.expect("asked or dropped") {
            break;
        }
        assert!(posted < 60, "the money is never gone");
    }
    let asked = calls();
    assert!(0 < asked, "there was money for some");
    drop(gate);
    let gate = Gate::start(&config);
    drop(post(&gate, photo_jpeg(300, 99)).await);
    reaches(&gate, broke, 1.0).await;
    assert_eq!(calls(), asked, "a restart makes no money");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_process_had_under_way_is_of_the_days_money_too() {
    let providers = start_providers();
    let asked = || {
        let calls = providers[1].calls();
        calls.iter().filter(|call| call.kind == loadtest::CallKind::Question).count()
    };
    let folder = tempfile::tempdir().unwrap();
    let entry = "shadow: [{ id: standby, judge: claude-haiku, sample: 100%, per_day: 0.001 USD }]";
    let many = "shadow: { max_in_flight: 64 }\n";
    let config = write_files(folder.path(), &providers, &plan(&["openai-mini"], entry, many));
    providers[1].set_behaviour(Behaviour::failing(Fault::Blackhole));
    let broke = "vlmgate_shadow_dropped_total{reason=\"budget\"}";
    let gate = Gate::start(&config);
    // nothing is said and nothing stored: all of the money is in calls under way
    for n in 0.. {
        drop(post(&gate, photo_jpeg(300, n)).await);
        tokio::time::sleep(LOOK).await;
        if 0.0 < reaches(&gate, broke, 0.0).await {
            break;
        }
        assert!(n < 60, "the money is never gone");
    }
    assert!(0.0 < reaches(&gate, "vlmgate_shadow_in_flight", 1.0).await);
    drop(gate);
    providers[1].set_behaviour(healthy());
    let before = asked();
    let gate = Gate::start(&config);
    drop(post(&gate, photo_jpeg(300, 99)).await);
    reaches(&gate, broke, 1.0).await;
    assert_eq!(asked(), before, "what was sent is billed");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_paid_for_what_a_full_store_cannot_keep() {
    let providers = start_providers();
    let folder = tempfile::tempdir().unwrap();
    let entry = "shadow: [{ id: standby, judge: claude-haiku, sample: 100%, per_day: 5 USD }]";
    let config = write_files(folder.path(), &providers, &plan(&["openai-mini"], entry, ""));
    let read = Config::read(&config, &Environment::of([]), &Overrides::default());
    let read = read.unwrap_or_else(|problems| panic!("{problems}"));
    // a folder where the spare should be: it can never be held, as on a full disk
    let spare = read.ledger_settings().path.with_extension("db.spare");
    fs::create_dir_all(&spare).unwrap();
    let gate = Gate::start(&config);
    for n in 0..6 {
        let verdict = post(&gate, photo_jpeg(300, n)).await;
        assert_eq!((text(&verdict["verdict"]), &verdict["recorded"]), ("pass", &true.into()));
    }
    reaches(&gate, "vlmgate_shadow_dropped_total{reason=\"no_room\"}", 6.0).await;
    let calls = providers[1].calls();
    assert!(calls.iter().all(|call| call.kind != loadtest::CallKind::Question), "{calls:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_judge_that_is_back_is_shown_what_it_missed_with_a_known_chance() {
    let route = ["openai-mini", "claude-haiku"];
    let world = World::of(plan(&route, "backfill: { share: 10%, per_day: 5 USD }", "")).await;
    let fails = Fault::Status { code: 500, after_ms: 400, retry_after_s: None };
    world.provider("openai-mini").set_behaviour(Behaviour::failing(fails));
    let (mut missed, mut is_left_out) = (Vec::new(), false);
    for n in 0..150 {
        let (status, verdict) = world.post(photo_jpeg(300, n)).await;
        assert_eq!(status, 200, "{verdict}");
        assert_eq!(text(&verdict["judge"]["name"]), "claude-haiku", "{verdict}");
        let attempts = verdict["attempts"].as_array().unwrap();
        is_left_out = attempts.iter().all(|one| one["route"] != "primary");
        if verdict["route"] == "failover" {
            missed.push(verdict);
        }
        if is_left_out && 8 <= missed.len() {
            break;
        }
    }
    assert!(is_left_out, "its breaker opens");
    world
        .provider("openai-mini")
        .set_behaviour(Behaviour { judging: Judging::Always(0.05), ..healthy() });
    // it is found well again by the images that come, and by several of them
    let traffic = async {
        for n in 200.. {
            world.post(photo_jpeg(300, n)).await;
            tokio::time::sleep(8 * LOOK).await;
        }
    };
    let made_up_for = async {
        for verdict in &missed {
            let said = shadows(&world, verdict, 1).await;
            let words = ["judge", "purpose", "outcome", "said"].map(|key| text(&said[0][key]));
            assert_eq!(words, ["openai-mini", "backfill", "judged", "fail"]);
            assert_eq!(said[0]["propensity"], 1.0, "of few all are shown");
            assert_eq!(said[0]["entry"], Value::Null);
        }
    };
    tokio::select! {
        () = traffic => {}
        () = made_up_for => {}
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_judge_that_lost_a_hedge_is_asked_behind_the_verdict_and_makes_no_pair() {
    let route = ["openai-mini", "claude-haiku"];
    let world = World::of(plan(&route, "losers: { share: 100%, per_day: 5 USD }", "")).await;
    let answers = |ms| loadtest::Latency::ConstantMs(ms);
    let strict = Behaviour { judging: Judging::Always(0.05), ..healthy() };
    drop(world.post(photo_jpeg(300, 0)).await);
    world.provider("openai-mini").set_behaviour(Behaviour { latency: answers(3_500), ..strict });
    let (status, verdict) = world.post(photo_jpeg(300, 1)).await;
    assert_eq!((status, text(&verdict["route"])), (200, "hedge"), "{verdict}");
    assert_eq!(text(&verdict["judge"]["name"]), "claude-haiku");
    assert_eq!(text(&verdict["attempts"][0]["outcome"]), "cancelled", "the race is as it was");
    let said = shadows(&world, &verdict, 1).await;
    let [one] = said.as_slice() else { panic!("asked once: {said:?}") };
    let words = ["judge", "purpose", "outcome", "said"].map(|key| text(&one[key]));
    assert_eq!(words, ["openai-mini", "hedge", "judged", "fail"]);
    assert_eq!((&one["propensity"], &one["entry"]), (&1.0.into(), &Value::Null));
    let told = async {
        loop {
            let (_, drift) = world.get("/v1/drift").await;
            if drift["hedges"][0]["n"] == 1 {
                return drift;
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    let drift = Deadline::after(LONG).bound(told).await.expect("it is counted");
    let hedge = &drift["hedges"][0];
    assert_eq!(["winner", "other"].map(|key| text(&hedge[key])), ["claude-haiku", "openai-mini"]);
    assert_eq!(
        (&hedge["winner_reject"]["count"], &hedge["other_reject"]["count"]),
        (&0.into(), &1.into())
    );
    assert_eq!((&drift["agreement"], &drift["calibration"]), (&json!([]), &json!([])), "{drift}");
    let (_, stats) = world.get("/v1/stats").await;
    assert_eq!(stats["total"]["shadow_cost_micro_usd"], one["cost_micro_usd"]);
    let (_, budgets) = world.get("/v1/budgets").await;
    let [budget] = budgets["behind_verdicts"].as_array().unwrap().as_slice() else {
        panic!("{budgets}")
    };
    let (_, spec) = world.get("/openapi.json").await;
    check(&spec, "Drift", &drift);
    check(&spec, "Budgets", &budgets);
    assert_eq!(["policy", "purpose"].map(|key| text(&budget[key])), ["product-photo", "hedge"]);
    assert_eq!(budget["spent_micro_usd"], one["cost_micro_usd"]);
    let money = ["spent", "left", "per_day"].map(|key| budget[format!("{key}_micro_usd")].as_u64());
    assert_eq!(money[0].unwrap() + money[1].unwrap(), money[2].unwrap(), "{budget}");
    let metrics = world.client.get(world.url("/metrics")).send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    let pairs = metrics.lines().filter(|line| line.starts_with("vlmgate_shadow_pairs_total"));
    assert!(pairs.clone().all(|line| line.ends_with(" 0")), "{:?}", pairs.collect::<Vec<_>>());
    world.stop().await;
}

/// A store whose monitor is looking into an alarm: eight days of judgements, then rejects.
async fn alarmed(config: &Config) {
    const CALM: u32 = 2_400;
    const EIGHT_DAYS_US: i64 = 8 * 24 * 3_600 * 1_000_000;
    let ledger = Ledger::open(config.ledger_settings()).await.unwrap();
    let follower = ledger.follow(config.follow_settings()).unwrap();
    let began_us = Timestamp::now().0 - EIGHT_DAYS_US;
    for n in 0..CALM + 150 {
        let mut one = record(n);
        let is_away = n % 8 == 0 && n < CALM;
        let name = if is_away { "claude-haiku" } else { "openai-mini" };
        let rejects = if n < CALM { n % 20 == 3 } else { n % 2 == 0 };
        let said = if rejects { Decision::Fail } else { Decision::Pass };
        one.at_us = began_us + i64::from(n) * (EIGHT_DAYS_US / i64::from(CALM + 200));
        one.judge = Some(judge(name));
        one.route = Some(if is_away { Route::Failover } else { Route::Primary });
        one.verdict.decision = said;
        one.verdict.first_verdict = Some(said);
        one.attempts[0].judge = judge(name);
        one.attempts[0].said = Some(said);
        let entry = Entry { record: one, keep: Vec::new(), mark: None };
        let written = ledger.append(ledger.reserve().unwrap(), entry, Deadline::after(LONG));
        if n % 50 == 49 {
            assert!(written.await.recorded);
        }
    }
    follower.finish(Deadline::after(LONG)).await.unwrap();
    ledger.close(Deadline::after(LONG)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn while_an_alarm_is_looked_into_the_other_judges_are_shown_what_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let providers = start_providers();
    let route = ["openai-mini", "claude-haiku"];
    let burst = "shadow: { burst: { images: 1200, per_day: 5 USD } }\n";
    let mut plan = plan(&route, "", burst);
    plan.edits.clear();
    let config = write_files(folder.path(), &providers, &plan);
    let read = Config::read(&config, &Environment::of([]), &Overrides::default());
    alarmed(&read.unwrap_or_else(|problems| panic!("{problems}"))).await;
    let world = World::serve(folder, providers, &config, Vec::new()).await;
    // the first may come before the work behind has looked
    let said = async {
        for n in 0.. {
            let (status, verdict) = world.post(photo_jpeg(300, n)).await;
            assert_eq!((status, text(&verdict["judge"]["name"])), (200, "openai-mini"));
            tokio::time::sleep(LOOK).await;
            let path = format!("/v1/verdicts/{}", text(&verdict["id"]));
            let (_, record) = world.get(&path).await;
            if let Some(one) = record["shadows"].as_array().unwrap().first() {
                return one.clone();
            }
        }
        panic!("numbers do not end")
    };
    let one = Deadline::after(LONG).bound(said).await.expect("a burst");
    let words = ["judge", "purpose", "outcome"].map(|key| text(&one[key]));
    assert_eq!(words, ["claude-haiku", "burst", "judged"]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_missed_is_summed_by_who_served_it_and_what_both_said() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(settings(folder.path())).await.unwrap();
    let mut attempt = record(0).attempts[0].clone();
    attempt.route = Route::Shadow;
    for n in 0..12 {
        let mut one = record(n);
        let served = if n % 3 == 0 { Decision::Fail } else { Decision::Pass };
        one.judge = Some(judge("claude-haiku"));
        one.route = Some(Route::Failover);
        one.verdict.first_verdict = Some(served);
        let (id, at_us) = (one.id, one.at_us);
        let entry = Entry { record: one, keep: Vec::new(), mark: None };
        let written = ledger.append(ledger.reserve().unwrap(), entry, Deadline::after(LONG));
        assert!(written.await.recorded);
        let failed = n == 11;
        attempt.outcome = if failed { AttemptOutcome::ServerError } else { AttemptOutcome::Judged };
        attempt.said = (!failed).then_some(if n == 3 { Decision::Fail } else { Decision::Pass });
        attempt.cost = MicroUsd(7);
        let shadow = NewShadow {
            verdict: id,
            at: Timestamp(at_us + 600_000_000),
            purpose: Purpose::Backfill,
            entry: String::new(),
            propensity: 0.25,
            judged_by: Digest::of(b"openai-mini"),
            attempt: attempt.clone(),
        };
        assert!(ledger.shadow(shadow).await.unwrap());
    }
    let began_s = record(0).at_us / 1_000_000;
    let since_s = began_s - began_s % 60;
    let scope = Scope {
        policy: Some("product-photo".to_owned()),
        since_s,
        until_s: since_s + 600,
        bucket_s: 60,
    };
    let reader = ledger.reader();
    let rows = reader.backfilled(&scope, "openai-mini").await.unwrap();
    let sum = |served: bool, rejects: bool| {
        let said = (served, Some(rejects));
        let of = rows.iter().filter(|one| (one.served_rejects, one.rejects) == said);
        of.map(|one| one.n).sum::<u64>()
    };
    let failed: u64 = rows.iter().filter(|one| one.rejects.is_none()).map(|one| one.n).sum();
    assert_eq!(failed, 1, "who did not answer is told apart");
    assert!(rows.iter().all(|one| one.served_by == "claude-haiku" && one.bucket < 2), "{rows:?}");
    assert_eq!(
        [sum(true, true), sum(true, false), sum(false, true), sum(false, false)],
        [1, 3, 0, 7]
    );
    let stand_for: f64 = rows.iter().map(Backfilled::stands_for).sum();
    assert!((stand_for - 48.0).abs() < 1e-9, "{stand_for}");
    assert_eq!(reader.backfilled(&scope, "gemini-flash").await.unwrap(), []);
    let spent = reader.shadows_spent(Timestamp(0)).await.unwrap();
    let [spent] = spent.as_slice() else { panic!("{spent:?}") };
    assert_eq!((spent.purpose, spent.cost), (Purpose::Backfill, MicroUsd(84)), "failed calls too");
    ledger.close(Deadline::after(LONG)).await.unwrap();
}
