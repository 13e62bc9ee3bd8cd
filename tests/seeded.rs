//! A seeded store is thirty days of made-up records, the last of them from just now.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::time::Instant;
use uuid::Uuid;
use vlmgate::clock::{Deadline, Timestamp};
use vlmgate::config::environment::Environment;
use vlmgate::config::{Config, Overrides};
use vlmgate::domain::record::{ImageFacts, PolicyRef, Timing};
use vlmgate::domain::verdict::Scored;
use vlmgate::domain::{
    Attempt, AttemptOutcome, Basis, Decision, Digest, Format, JudgeId, MicroUsd, Mode, Record,
    Route, Score, Tokens, Verdict,
};
use vlmgate::ledger::{Entry, Ledger, Settings};

use crate::world::{Plan, World, start_providers, write_files};

const DAYS: u64 = 30;
const SEED: u64 = 7;
/// What the page may wait for any answer.
const AT_MOST: Duration = Duration::from_millis(100);
const ASKED: usize = 15;

const QUESTIONS: [&str; 11] = [
    "/v1/stats",
    "/v1/stats?since=6h",
    "/v1/stats?since=24h",
    "/v1/stats?since=7d",
    "/v1/stats?since=30d",
    "/v1/stats?since=24h&bucket=1m",
    "/v1/drift",
    "/v1/drift?since=24h&against_since=14d&against_until=7d",
    "/v1/verdicts?verdict=fail&since=24h",
    "/v1/verdicts?route=failover&since=24h",
    "/v1/verdicts?failed=cutout&route=failover&since=30d",
];

/// Seeds a store, asks every question of the page, prints how long each took; whether none took
/// longer than it may.
pub(crate) async fn measure(records: u64) -> bool {
    let folder = tempfile::tempdir().expect("a folder");
    let providers = start_providers();
    let config = write_files(folder.path(), &providers, &Plan::default());
    let read = Config::read(&config, &Environment::of([]), &Overrides::default());
    let read = read.unwrap_or_else(|problems| panic!("{problems}"));
    seed(&read, records).await;
    let world = World::serve(folder, providers, &config, Vec::new()).await;
    println!("{:<60} {:>9} {:>9} {:>9}", "question", "median", "slowest", "bytes");
    let mut is_kept = true;
    for question in QUESTIONS {
        let (mut took, mut bytes) = (Vec::new(), 0);
        for _ in 0..ASKED {
            let began = Instant::now();
            let answer = world.client.get(world.url(question)).send().await.expect("an answer");
            assert_eq!(answer.status(), 200, "{question}");
            bytes = answer.bytes().await.expect("a body").len();
            took.push(began.elapsed());
        }
        took.sort_unstable();
        let (median, slowest) = (took[ASKED / 2], took[ASKED - 1]);
        let missed = if AT_MOST < median { "  missed" } else { "" };
        is_kept &= missed.is_empty();
        let ms = |took: Duration| format!("{:.1} ms", took.as_secs_f64() * 1e3);
        println!("{question:<60} {:>9} {:>9} {bytes:>9}{missed}", ms(median), ms(slowest));
    }
    world.stop().await;
    println!(
        "{records} records of {DAYS} days, seed {SEED}; at most {} ms each",
        AT_MOST.as_millis()
    );
    is_kept
}

async fn seed(config: &Config, records: u64) {
    let soon = || Deadline::after(Duration::from_secs(86_000));
    let began = Instant::now();
    // nobody waits for an answer here
    let settings = Settings { append_wait: Duration::from_hours(1), ..config.ledger_settings() };
    let ledger = Ledger::open(settings).await.expect("a ledger");
    let follower = ledger.follow(config.follow_settings()).expect("a follower");
    let mut chance = SmallRng::seed_from_u64(SEED);
    let until_us = Timestamp::now().0;
    let step_us = (DAYS * 86_400_000_000 / records.max(1)).cast_signed();
    for n in 0..records {
        let at_us = until_us - (records - n).cast_signed() * step_us;
        let entry = Entry { record: record(n, at_us, &mut chance), keep: Vec::new(), mark: None };
        let written = ledger.append(ledger.reserve().expect("a slot"), entry, soon());
        if n % 256 == 255 || n + 1 == records {
            assert!(written.await.recorded, "record {n}");
        }
    }
    println!("{records} records written in {:.0} s", began.elapsed().as_secs_f64());
    follower.finish(soon()).await.expect("counted");
    println!("counted after {:.0} s", began.elapsed().as_secs_f64());
    ledger.close(soon()).await.expect("closed");
}

fn record(n: u64, at_us: i64, chance: &mut SmallRng) -> Record {
    let lot: f64 = chance.random();
    let (name, route, rate) = match lot {
        ..0.960 => ("openai-mini", Route::Primary, 0.062),
        0.960..0.970 => ("openai-mini", Route::Hedge, 0.17),
        0.970..0.995 => ("claude-haiku", Route::Failover, 0.133),
        _ => ("gemini-flash", Route::Failover, 0.086),
    };
    let rejects = chance.random::<f64>() < rate;
    let said = if rejects { Decision::Fail } else { Decision::Pass };
    let mut attempts = Vec::new();
    if route == Route::Failover {
        attempts.push(attempt("openai-mini", Route::Primary, AttemptOutcome::Overloaded, chance));
    }
    let mut first = attempt(name, route, AttemptOutcome::Judged, chance);
    first.said = Some(said);
    first.scores = CRITERIA.map(|one| score(one, rejects, chance)).into();
    let scores = first.scores.iter().map(scored).collect();
    let took_ms = first.took_ms;
    attempts.push(first);
    let mut basis = Basis::Judge;
    if chance.random::<f64>() < 0.012 {
        let mut second =
            attempt("claude-haiku", Route::SecondOpinion, AttemptOutcome::Judged, chance);
        second.said = Some(said);
        attempts.push(second);
        basis = Basis::SecondOpinion;
    }
    let flagged = chance.random::<f64>() < 0.01;
    let verdict = verdict((said, basis), scores, flagged);
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of one call")]
    let total = took_ms as f64 + 15.0;
    Record {
        id: Uuid::from_u128(u128::from(n) + (0x7 << 76)),
        at_us,
        request_id: format!("seeded-{n}"),
        policy: PolicyRef {
            name: "product-photo".to_owned(),
            revision: Digest::of(b"policy"),
            mode: Mode::Enforce,
        },
        verdict,
        judge: Some(judge(name)),
        route: Some(route),
        cost: attempts.iter().map(|one| one.cost).sum(),
        attempts,
        findings: Vec::new(),
        timing: Timing { total, judge: total - 15.0, ..Timing::default() },
        deadline_ms: 5_000,
        complete: true,
        recorded: true,
        client_gone: false,
        image: ImageFacts {
            digest: Digest::of(&n.to_be_bytes()),
            format: Format::Jpeg,
            width_px: 2_048,
            height_px: 2_048,
            size_bytes: 412_331,
        },
        vars: BTreeMap::new(),
        team: None,
        external_id: None,
        pre: chance.random(),
        propensity: 1.0,
        judged_by: Digest::of(name.as_bytes()),
    }
}

fn verdict((said, basis): (Decision, Basis), scores: Vec<Scored>, flagged: bool) -> Verdict {
    Verdict {
        decision: said,
        would_be: None,
        basis,
        scores,
        failed: (said == Decision::Fail).then(|| "cutout".to_owned()).into_iter().collect(),
        flags: flagged.then(|| "halo".to_owned()).into_iter().collect(),
        borderline: basis == Basis::SecondOpinion,
        first_verdict: Some(said),
    }
}

const CRITERIA: [&str; 3] = ["cutout", "edge_artifacts", "contact_shadow"];

fn score(criterion: &str, rejects: bool, chance: &mut SmallRng) -> Score {
    let (low, high) = if rejects { (0.1, 0.7) } else { (0.7, 1.0) };
    let score = (chance.random_range(low..high) * 100.0_f64).round() / 100.0;
    Score { criterion: criterion.to_owned(), score: Some(score), reason: None }
}

fn scored(one: &Score) -> Scored {
    Scored {
        criterion: one.criterion.clone(),
        score: one.score,
        pass_at: 0.7,
        passed: one.score.map(|score| 0.7 <= score),
        reason: one.reason.clone(),
    }
}

fn judge(name: &str) -> JudgeId {
    JudgeId { name: name.to_owned(), provider: "openai".to_owned(), model: "made-up".to_owned() }
}

fn attempt(name: &str, route: Route, outcome: AttemptOutcome, chance: &mut SmallRng) -> Attempt {
    // log-normal by the sum of a few lots: a median of 600 ms and a long tail
    let lots: f64 = (0..4).map(|_| chance.random::<f64>() - 0.5).sum();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few seconds")]
    let took_ms = (600.0 * (lots * 0.6).exp()) as u64;
    Attempt {
        judge: judge(name),
        route,
        outcome,
        said: None,
        scores: Vec::new(),
        started_ms: 9,
        took_ms,
        ended_ms: Some(took_ms),
        tokens: Some(Tokens { input: 1_605, cached: 0, output: 58, image: None }),
        cost: MicroUsd(190),
        request_id: None,
        detail: None,
    }
}
