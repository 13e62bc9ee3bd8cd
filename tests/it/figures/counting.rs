//! What is counted, is counted once: sums, marks and the state of the monitors are the same however
//! often the gate was killed, to the last bit.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, Connection};
use vlmgate::clock::{Deadline, Timestamp};
use vlmgate::config::environment::Environment;
use vlmgate::config::{Config, Overrides};
use vlmgate::domain::{AttemptOutcome, Decision, Digest};
use vlmgate::ledger::follow::Settings as Follow;
use vlmgate::ledger::follow::view::{Followed, Known, View};
use vlmgate::ledger::shadows::{NewShadow, Purpose};
use vlmgate::ledger::{Entry, Ledger, Settings};

use crate::crash::Gate;
use crate::ledger::records::{judge, record};
use crate::ledger::settings;
use crate::world::{Plan, client, mug, start_providers, write_files};

/// How often the gate is killed.
const KILLS: usize = 50;

/// Callers whose answers a kill may cut off.
const OTHERS: usize = 2;

/// Records of before the first kill.
const WATCHED: u32 = 2_400;

const TABLES: [(&str, &str); 7] = [
    ("verdict_rollup", "step_s, start_s, policy, revision, judge, route, basis"),
    ("attempt_rollup", "step_s, start_s, policy, judge, route, outcome"),
    ("judged_rollup", "step_s, start_s, policy, judge, config, route, risk"),
    ("flag_rollup", "step_s, start_s, policy, flag"),
    ("score_rollup", "step_s, start_s, policy, judge, criterion, pass_at"),
    ("pair_rollup", "step_s, start_s, policy, first, second, route"),
    ("evidence_rollup", "step_s, start_s, policy, detector"),
];

pub(super) async fn connect(file: &Path) -> SqliteConnection {
    SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(file)).await.unwrap()
}

/// Every sum and mark as text, and the order in which records count.
pub(super) async fn dump(file: &Path) -> Vec<String> {
    let mut conn = connect(file).await;
    let mut told = Vec::new();
    for (table, key) in TABLES {
        let columns: Vec<String> = sqlx::query_scalar(AssertSqlSafe(format!(
            "SELECT name FROM pragma_table_info('{table}')"
        )))
        .fetch_all(&mut conn)
        .await
        .unwrap();
        let columns = columns.join(", ");
        let sql = format!("SELECT json_array({columns}) FROM {table} ORDER BY {key}");
        let rows: Vec<String> =
            sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(&mut conn).await.unwrap();
        told.extend(rows.into_iter().map(|row| format!("{table} {row}")));
    }
    let marks = "SELECT json_array(kind, at_us, policy, form) FROM mark \
                 WHERE kind IN ('drift', 'revision', 'acknowledged') ORDER BY id";
    let marks: Vec<String> = sqlx::query_scalar(marks).fetch_all(&mut conn).await.unwrap();
    told.extend(marks.into_iter().map(|mark| format!("mark {mark}")));
    let baselines = "SELECT json_array(policy, n, at_us, hash) FROM baseline ORDER BY policy, n";
    let baselines: Vec<String> = sqlx::query_scalar(baselines).fetch_all(&mut conn).await.unwrap();
    told.extend(baselines.into_iter().map(|baseline| format!("baseline {baseline}")));
    let followed = "SELECT json_array(n, seq, at_us) FROM followed";
    told.push(sqlx::query_scalar(followed).fetch_one(&mut conn).await.unwrap());
    conn.close().await.unwrap();
    told
}

/// Records in the store.
pub(super) async fn records(file: &Path) -> i64 {
    let mut conn = connect(file).await;
    sqlx::query_scalar("SELECT count(*) FROM record").fetch_one(&mut conn).await.unwrap()
}

async fn ids(file: &Path) -> BTreeSet<String> {
    let mut conn = connect(file).await;
    let ids: Vec<String> =
        sqlx::query_scalar("SELECT id FROM record").fetch_all(&mut conn).await.unwrap();
    ids.into_iter().collect()
}

/// Verdicts that the sums hold, by step.
pub(super) async fn sums(file: &Path) -> Vec<(i64, i64)> {
    let sums = "SELECT step_s, sum(n) FROM verdict_rollup GROUP BY 1 ORDER BY 1";
    sqlx::query_as(sums).fetch_all(&mut connect(file).await).await.unwrap()
}

/// Forgets everything but the records.
pub(super) async fn forget(file: &Path, state: &Path) {
    let mut conn = connect(file).await;
    for (table, _) in TABLES {
        let delete = AssertSqlSafe(format!("DELETE FROM {table}"));
        sqlx::query(delete).execute(&mut conn).await.unwrap();
    }
    sqlx::query("DELETE FROM baseline").execute(&mut conn).await.unwrap();
    sqlx::query("DELETE FROM mark").execute(&mut conn).await.unwrap();
    sqlx::query("UPDATE followed SET n = 0, seq = 0, at_us = 0").execute(&mut conn).await.unwrap();
    conn.close().await.unwrap();
    fs::remove_file(state).unwrap();
}

pub(crate) fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(60))
}

/// Follows everything that is there, and ends.
pub(super) async fn follow(settings: Settings, follow: Follow) {
    let ledger = Ledger::open(settings).await.unwrap();
    let follower = ledger.follow(follow).unwrap();
    follower.finish(soon()).await.unwrap();
    ledger.close(soon()).await.unwrap();
}

/// A made-up stream in which the second judge is stricter and takes over for a while.
pub(crate) fn judged(n: u32) -> Entry {
    let mut one = record(n);
    let is_away = (2_600..3_000).contains(&n) && n % 5 < 3;
    let name = if is_away { "claude-haiku" } else { "openai-mini" };
    let rejects = n.wrapping_mul(2_654_435_761) % 100 < if is_away { 25 } else { 8 };
    let said = if rejects { Decision::Fail } else { Decision::Pass };
    one.judge = Some(judge(name));
    one.route = Some(if is_away {
        vlmgate::domain::Route::Failover
    } else {
        vlmgate::domain::Route::Primary
    });
    one.verdict.decision = said;
    one.verdict.first_verdict = Some(said);
    one.pre = f64::from(n % 17) / 17.0;
    one.judged_by = Digest::of(name.as_bytes());
    for attempt in &mut one.attempts {
        attempt.judge = judge(name);
        attempt.outcome = AttemptOutcome::Judged;
        attempt.said = Some(said);
    }
    Entry { record: one, keep: Vec::new(), mark: None }
}

/// Whether some images are judged behind their verdicts too.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shadows {
    None,
    Some,
}

/// Stores what comes next of the stream, and follows it to the end.
async fn grow(settings: &Settings, usual: &Follow, (from, to): (u32, u32), shadows: Shadows) {
    let ledger = Ledger::open(settings.clone()).await.unwrap();
    let follower = ledger.follow(usual.clone()).unwrap();
    for n in from..to {
        let slot = ledger.reserve().unwrap();
        let written = ledger.append(slot, judged(n), soon());
        if n % 50 != 49 && n + 1 != to {
            continue;
        }
        assert!(written.await.recorded);
        if shadows == Shadows::Some {
            for verdict in (n - 9..=n).step_by(3) {
                assert!(ledger.shadow(shadow(verdict)).await.unwrap());
            }
            assert!(!ledger.shadow(shadow(n)).await.unwrap(), "asked already");
        }
    }
    follower.finish(soon()).await.unwrap();
    ledger.close(soon()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_baseline_outlives_the_records_it_was_learnt_from_and_a_lost_file() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path());
    let state = folder.path().join("drift.json");
    let usual = Follow { baseline_days: 0, ..Follow::usual(state.clone()) };
    grow(&settings, &usual, (0, 2_500), Shadows::None).await;
    let kept = fs::read(&state).unwrap();
    let mut conn = connect(&settings.path).await;
    // retention came by, and the file is gone
    sqlx::query("DELETE FROM record WHERE seq < 1900").execute(&mut conn).await.unwrap();
    fs::remove_file(&state).unwrap();
    follow(settings.clone(), usual.clone()).await;
    assert!(fs::read(&state).unwrap() == kept, "the state is the same to the last bit");
    // other days make a baseline of their own, and leave this one alone
    let other = Follow { baseline_days: 1, ..usual.clone() };
    follow(settings.clone(), other).await;
    assert!(fs::read(&state).unwrap() != kept);
    follow(settings.clone(), usual.clone()).await;
    assert!(fs::read(&state).unwrap() == kept, "the state is the same to the last bit");
    // a file that rests on another baseline than the store's is not this store's
    sqlx::query("UPDATE baseline SET hash = 'b3:0'").execute(&mut conn).await.unwrap();
    follow(settings.clone(), usual).await;
    assert!(fs::read(&state).unwrap() != kept, "the damaged baseline is left out");
}

/// What stands in the file, of the one policy.
pub(super) fn view(state: &Path) -> Arc<View> {
    let known = Known::kept(state, Followed::default()).unwrap();
    Arc::clone(known.policies.values().next().unwrap())
}

fn highest(view: &View) -> f64 {
    view.detecting.iter().map(|one| one.ratio).fold(0.0, f64::max)
}

#[tokio::test(flavor = "multi_thread")]
async fn another_number_of_false_alarms_threw_the_baseline_away() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path());
    let state = folder.path().join("drift.json");
    let usual = Follow { baseline_days: 0, ..Follow::usual(state.clone()) };
    grow(&settings, &usual, (0, 2_500), Shadows::Some).await;
    let (before, old_file) = (view(&state), fs::read(&state).unwrap());
    assert!(0.0 < highest(&before), "there is evidence to lose");
    // what it was learnt from is gone: who learns anew is blind
    let mut conn = connect(&settings.path).await;
    sqlx::query("DELETE FROM record WHERE seq < 1900").execute(&mut conn).await.unwrap();
    let other = Follow { false_alarms_per_30_days: 2.0, ..usual.clone() };
    follow(settings.clone(), other.clone()).await;
    let (after, file) = (view(&state), fs::read(&state).unwrap());
    assert_eq!(after.baseline, before.baseline);
    assert_eq!(after.learnt_until_ms, before.learnt_until_ms);
    let budget = |view: &View| view.threshold_days.unwrap();
    assert!((budget(&after) * 4.0 - budget(&before)).abs() < 1e-9);
    assert!(after.detecting.iter().all(|one| one.n == 0), "{:?}", after.detecting);
    // killed before the file was written, or the file lost: the same to the last bit
    fs::write(&state, &old_file).unwrap();
    follow(settings.clone(), other.clone()).await;
    assert!(fs::read(&state).unwrap() == file);
    fs::remove_file(&state).unwrap();
    follow(settings.clone(), other.clone()).await;
    assert!(fs::read(&state).unwrap() == file);
    // and so later on, whatever file is there
    grow(&settings, &other, (2_500, 2_800), Shadows::Some).await;
    let (grown, marks) = (fs::read(&state).unwrap(), dump(&settings.path).await);
    assert!(0.0 < highest(&view(&state)), "it watches");
    fs::write(&state, &old_file).unwrap();
    follow(settings.clone(), other.clone()).await;
    assert!(fs::read(&state).unwrap() == grown);
    fs::remove_file(&state).unwrap();
    follow(settings.clone(), other).await;
    assert!(fs::read(&state).unwrap() == grown);
    assert_eq!(dump(&settings.path).await, marks, "nothing was told or counted again");
    // back again it is the same baseline, and the evidence of neither time
    follow(settings.clone(), usual).await;
    let back = view(&state);
    assert_eq!(back.baseline, before.baseline);
    assert!((budget(&back) - budget(&before)).abs() < 1e-9);
    assert!(back.detecting.iter().all(|one| one.n == 0 || one.alarm_at_ms.is_some()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_larger_burst_is_no_reason_to_forget_anything() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path());
    let state = folder.path().join("drift.json");
    let usual = Follow { baseline_days: 0, burst_images: 600, ..Follow::usual(state.clone()) };
    grow(&settings, &usual, (0, 2_500), Shadows::Some).await;
    let before = view(&state);
    let other = Follow { burst_images: 1_200, ..usual };
    follow(settings.clone(), other.clone()).await;
    assert_eq!(view(&state), before, "evidence and all");
    let file = fs::read(&state).unwrap();
    fs::remove_file(&state).unwrap();
    follow(settings.clone(), other).await;
    assert!(fs::read(&state).unwrap() == file);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_routing_event_is_stored_once_and_the_state_is_a_fold_over_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path());
    let state = folder.path().join("drift.json");
    // a baseline of no days: as soon as two thousand were served
    let usual = Follow { baseline_days: 0, burst_images: 1_200, ..Follow::usual(state.clone()) };
    // the follower ends and begins again in the middle of everything
    for (from, to) in [(0, 700), (700, 2_300), (2_300, 2_702), (2_702, 3_300)] {
        grow(&settings, &usual, (from, to), Shadows::Some).await;
    }
    let (stopped, kept) = (dump(&settings.path).await, fs::read(&state).unwrap());
    let events: Vec<_> =
        stopped.iter().filter(|line| line.starts_with("mark [\"drift\"")).collect();
    assert_eq!(events.len(), 1, "{events:?}");
    assert!(events[0].contains("\\\"label\\\":\\\"routing\\\""), "{events:?}");
    let pairs = stopped.iter().filter(|line| line.starts_with("pair_rollup"));
    assert!(pairs.clone().all(|line| line.contains("\"shadow\"")) && pairs.count() > 10);
    forget(&settings.path, &state).await;
    follow(settings.clone(), usual).await;
    assert_eq!(dump(&settings.path).await, stopped);
    assert!(fs::read(&state).unwrap() == kept, "the state is the same to the last bit");
}

/// What the other judge says of the `n`th behind its verdict, or a call that failed.
pub(super) fn shadow(n: u32) -> NewShadow {
    let served = judged(n).record;
    let other = if n.is_multiple_of(2) { "claude-haiku" } else { "gemini-flash" };
    let is_judged = !n.is_multiple_of(7);
    let mut attempt = served.attempts[0].clone();
    attempt.judge = judge(other);
    attempt.route = vlmgate::domain::Route::Shadow;
    attempt.outcome = if is_judged { AttemptOutcome::Judged } else { AttemptOutcome::ServerError };
    let said = if n.wrapping_mul(40_503) % 100 < 12 { Decision::Fail } else { Decision::Pass };
    attempt.said = is_judged.then_some(said);
    NewShadow {
        verdict: served.id,
        at: Timestamp(served.at_us + 90_000_000),
        purpose: Purpose::Sample,
        entry: "standby".to_owned(),
        propensity: 0.1,
        judged_by: Digest::of(other.as_bytes()),
        attempt,
    }
}

/// A store whose monitors watch: eight days of records up to now, counted.
async fn watched(config: &Config) {
    const EIGHT_DAYS_US: i64 = 8 * 24 * 3_600 * 1_000_000;
    let ledger = Ledger::open(config.ledger_settings()).await.unwrap();
    let follower = ledger.follow(config.follow_settings()).unwrap();
    let began_us = Timestamp::now().0 - EIGHT_DAYS_US;
    for n in 0..WATCHED {
        let mut one = judged(n);
        one.record.at_us = began_us + i64::from(n) * (EIGHT_DAYS_US / i64::from(WATCHED));
        let written = ledger.append(ledger.reserve().unwrap(), one, soon());
        if n % 50 == 49 {
            assert!(written.await.recorded);
        }
    }
    follower.finish(soon()).await.unwrap();
    ledger.close(soon()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_changes_no_sum_and_no_state() {
    let folder = tempfile::tempdir().unwrap();
    let providers = start_providers();
    let entry = "shadow: [{ id: standby, judge: claude-haiku, sample: 100%, per_day: 5 USD }]";
    let edits = vec![("record:".to_owned(), format!("{entry}\nrecord:"))];
    let config = write_files(folder.path(), &providers, &Plan { edits, ..Plan::default() });
    let read = Config::read(&config, &Environment::of([]), &Overrides::default());
    let read = read.unwrap_or_else(|problems| panic!("{problems}"));
    watched(&read).await;
    let client = client();
    let mut answered = BTreeSet::new();
    for round in 0..KILLS {
        let gate = Gate::start(&config);
        let url = format!("{}/v1/verdicts?vars.background=white", gate.url);
        let check = || client.post(&url).header("content-type", "image/jpeg").body(mug()).send();
        // killed at another record of each round, and at another moment behind its answer …
        for _ in 0..=round * 7 % 5 {
            let answer = check().await.unwrap();
            assert_eq!(answer.status(), 200);
            let verdict: serde_json::Value =
                serde_json::from_str(&answer.text().await.unwrap()).unwrap();
            assert_eq!(verdict["recorded"], true, "{verdict}");
            answered.insert(verdict["id"].as_str().unwrap().to_owned());
        }
        // … while others are under way
        let mut others = tokio::task::JoinSet::new();
        (0..OTHERS).for_each(|_| drop(others.spawn(check())));
        tokio::time::sleep(Duration::from_millis(round as u64 * 37 % 400)).await;
        drop(gate);
        others.join_all().await;
    }
    let records = check_fold(&read).await - i64::from(WATCHED);
    // one that was cut off may be stored, and stands for none that was answered
    let stored = ids(&read.ledger_settings().path).await;
    let lost: Vec<_> = answered.difference(&stored).collect();
    assert!(lost.is_empty(), "{lost:?}");
    let least = i64::try_from(answered.len()).unwrap();
    let most = least + i64::try_from(KILLS * OTHERS).unwrap();
    assert!((least..=most).contains(&records), "{least} <= {records} <= {most}");
    println!("{KILLS} kills, {records} records, nothing lost, counted twice or never");
}

/// The store as the kills left it, once the rest is counted, is what a run over its records makes.
/// How many records there are.
async fn check_fold(config: &Config) -> i64 {
    let (store, state) = (config.ledger_settings(), config.store.drift_file());
    let usual = config.follow_settings();
    follow(store.clone(), usual.clone()).await;
    let (killed, kept) = (dump(&store.path).await, fs::read(&state).unwrap());
    assert!(killed.iter().any(|line| line.starts_with("evidence_rollup")), "monitors watch");
    let is_shadow = |line: &&String| line.starts_with("judged_rollup") && line.contains("shadow");
    assert!(killed.iter().any(|line| is_shadow(&line)), "what is said behind a verdict counts");
    let records = records(&store.path).await;
    for step_s in [60, 3_600] {
        let counted = sums(&store.path).await.into_iter().find(|(step, _)| *step == step_s);
        assert_eq!(counted, Some((step_s, records)), "each counts once");
    }
    forget(&store.path, &state).await;
    follow(store.clone(), usual).await;
    assert_eq!(dump(&store.path).await, killed);
    assert!(fs::read(&state).unwrap() == kept, "the state is the same to the last bit");
    records
}
