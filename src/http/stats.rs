//! `GET /v1/stats`: what a range of time adds up to, whole, by judge and by bucket.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use serde::Serialize;
use serde_json::Value;

use crate::clock::Timestamp;
use crate::domain::{AttemptOutcome, Basis, Route};
use crate::drift::interval::Tally;
use crate::http::Face;
use crate::http::filter::SERVED_ROUTES;
use crate::http::marks::{MarkForm, marks};
use crate::http::problem::Problem;
use crate::http::range::{AsOf, RangeQuery, ShareForm, SpreadForm, unreadable, written};
use crate::http::stats::series::{Series, series};
use crate::ledger::LedgerError;
use crate::ledger::figures::{
    AttemptBucket, AttemptSum, FlagSum, Scope, ScoreSum, VerdictBucket, VerdictSum,
};
use crate::ledger::follow::view::{Known, View};
use crate::ledger::reader::Reader;
use crate::ledger::spread::Spread;

mod series;

/// Most buckets of an answer.
const MAX_BUCKETS: i64 = 1_500;

#[derive(Serialize)]
struct Stats {
    policy: Option<String>,
    since: String,
    until: String,
    bucket_s: i64,
    as_of: AsOf,
    total: Total,
    judges: Vec<JudgeStats>,
    series: Series,
    flags: Vec<FlagForm>,
    criteria: Vec<CriterionForm>,
    marks: Vec<MarkForm>,
}

#[derive(Default, Serialize)]
struct Total {
    n: u64,
    pass: u64,
    fail: u64,
    review: u64,
    rated: u64,
    reject: ShareForm,
    first_reject: ShareForm,
    by_basis: BTreeMap<&'static str, u64>,
    by_route: BTreeMap<&'static str, u64>,
    borderline: u64,
    client_gone: u64,
    total_ms: SpreadForm,
    cost_micro_usd: u64,
    shadow_cost_micro_usd: u64,
}

#[derive(Serialize)]
struct JudgeStats {
    judge: String,
    served: ShareForm,
    usual_share: Option<f64>,
    reject: ShareForm,
    first_reject: ShareForm,
    usual_first_reject: Option<ShareForm>,
    pass: u64,
    fail: u64,
    review: u64,
    by_route: BTreeMap<&'static str, u64>,
    attempts: AttemptStats,
    answer_ms: SpreadForm,
    cost_micro_usd: u64,
    input_tokens: u64,
    output_tokens: u64,
}

#[derive(Serialize)]
struct AttemptStats {
    n: u64,
    failed: ShareForm,
    by_outcome: BTreeMap<String, u64>,
    by_route: BTreeMap<String, u64>,
}

#[derive(Serialize)]
struct FlagForm {
    flag: String,
    n: u64,
}

#[derive(Serialize)]
struct CriterionForm {
    judge: String,
    criterion: String,
    n: u64,
    failed: u64,
}

/// `GET /v1/stats`.
pub(super) async fn get(State(face): State<Arc<Face>>, uri: Uri) -> Result<Response, Problem> {
    let query = RangeQuery::of(&uri, Timestamp::now(), &["policy", "since", "until", "bucket"])?;
    let scope = query.scope()?;
    if MAX_BUCKETS < (scope.until_s - scope.since_s) / scope.bucket_s {
        let detail = format!("makes more than {MAX_BUCKETS} buckets of this range");
        return Err(Problem::bad_field("/bucket", detail));
    }
    let reader = face.gate.ledger.reader();
    let told = told(reader, &face.known.load(), &scope).await.map_err(unreadable)?;
    written(reader, told).await
}

/// What was read of a range.
struct Read {
    buckets: Vec<VerdictBucket>,
    sums: Vec<VerdictSum>,
    attempt_buckets: Vec<AttemptBucket>,
    attempt_sums: Vec<AttemptSum>,
    flags: Vec<FlagSum>,
    scores: Vec<ScoreSum>,
    marks: Vec<MarkForm>,
}

/// What `scope` adds up to, in the form in which it is answered.
pub(crate) async fn told(
    reader: &Reader,
    known: &Known,
    scope: &Scope,
) -> Result<Value, LedgerError> {
    let (buckets, sums, attempt_buckets, attempt_sums, flags, scores) = tokio::try_join!(
        reader.verdict_buckets(scope),
        reader.verdict_sums(scope),
        reader.attempt_buckets(scope),
        reader.attempt_sums(scope),
        reader.flag_sums(scope),
        reader.score_sums(scope),
    )?;
    // behind the sums: who sees a verdict in them sees what was marked with it
    let marks = marks(reader, scope).await?;
    let usual = match &scope.policy {
        Some(policy) => known.policies.get(policy),
        None if known.policies.len() == 1 => known.policies.values().next(),
        None => None,
    };
    let (usual, as_of, scope) = (usual.cloned(), AsOf::of(known.followed), scope.clone());
    let read = Read { buckets, sums, attempt_buckets, attempt_sums, flags, scores, marks };
    // of a week by the hour there are thousands of spreads to add up
    let stats =
        reader.apart(move || serde_json::to_value(stats(read, (&scope, as_of), usual.as_deref())));
    let unwritten = |why| LedgerError::Store(format!("figures cannot be written as JSON: {why}"));
    stats.await?.map_err(unwritten)
}

fn stats(read: Read, (scope, as_of): (&Scope, AsOf), usual: Option<&View>) -> Stats {
    let Read { buckets, sums, attempt_buckets, attempt_sums, flags, scores, marks } = read;
    let (series, times) = series(scope, &buckets, &attempt_buckets);
    let mut total = total(&sums);
    total.total_ms = SpreadForm::of(&times);
    total.cost_micro_usd = buckets.iter().map(|one| one.cost_micro_usd).sum();
    let behind = attempt_sums.iter().filter(|one| one.route == Route::Shadow.label());
    total.shadow_cost_micro_usd = behind.map(|one| one.cost_micro_usd).sum();
    let mut criteria: BTreeMap<(String, String), (u64, u64)> = BTreeMap::new();
    for score in scores {
        let sums = criteria.entry((score.judge, score.criterion)).or_default();
        *sums = (sums.0 + score.n, sums.1 + score.failed);
    }
    let criteria = criteria.into_iter();
    Stats {
        policy: scope.policy.clone(),
        since: Timestamp(scope.since_s * 1_000_000).to_string(),
        until: Timestamp(scope.until_s * 1_000_000).to_string(),
        bucket_s: scope.bucket_s,
        as_of,
        judges: judges(&sums, (&attempt_buckets, &attempt_sums), usual),
        total,
        series,
        flags: flags.into_iter().map(|FlagSum { flag, n }| FlagForm { flag, n }).collect(),
        criteria: criteria
            .map(|((judge, criterion), (n, failed))| CriterionForm { judge, criterion, n, failed })
            .collect(),
        marks,
    }
}

fn total(sums: &[VerdictSum]) -> Total {
    let mut total = Total {
        by_basis: Basis::ALL.map(|basis| (basis.label(), 0)).into(),
        by_route: SERVED_ROUTES.map(|route| (route.label(), 0)).into(),
        ..Total::default()
    };
    let (mut rejects, mut first) = (Tally::default(), Tally::default());
    for sum in sums {
        total.n += sum.n;
        total.pass += sum.pass;
        total.fail += sum.fail;
        total.review += sum.review;
        total.rated += sum.rated;
        total.borderline += sum.borderline;
        total.client_gone += sum.client_gone;
        rejects += Tally { n: sum.rated, rejects: sum.rejected };
        first += Tally { n: sum.rated, rejects: sum.first_rejected };
        if let Some(n) = total.by_basis.get_mut(sum.basis.as_str()) {
            *n += sum.n;
        }
        if let Some(n) = total.by_route.get_mut(sum.route.as_str()) {
            *n += sum.n;
        }
    }
    total.reject = ShareForm::of(rejects);
    total.first_reject = ShareForm::of(first);
    total
}

fn judges(
    sums: &[VerdictSum],
    (buckets, attempts): (&[AttemptBucket], &[AttemptSum]),
    usual: Option<&View>,
) -> Vec<JudgeStats> {
    let rated: u64 = sums.iter().map(|sum| sum.rated).sum();
    let named = sums.iter().map(|sum| &sum.judge).chain(attempts.iter().map(|one| &one.judge));
    let mut names: Vec<&String> = named.filter(|name| !name.is_empty()).collect();
    names.sort_unstable();
    names.dedup();
    let judge = |name: &String| {
        let own: Vec<_> = sums.iter().filter(|sum| sum.judge == *name).collect();
        let sum = |of: &dyn Fn(&VerdictSum) -> u64| own.iter().map(|one| of(one)).sum::<u64>();
        let served = sum(&|one| one.rated);
        let by_route = SERVED_ROUTES.map(|route| {
            let n = |one: &VerdictSum| if one.route == route.label() { one.rated } else { 0 };
            (route.label(), sum(&n))
        });
        let calls: Vec<_> = attempts.iter().filter(|one| one.judge == *name).collect();
        let mut answers = Spread::default();
        for bucket in buckets.iter().filter(|one| one.judge == *name) {
            answers.add(&bucket.spread);
        }
        let share = |n: u64, rejects: u64| ShareForm::of(Tally { n, rejects });
        JudgeStats {
            judge: name.clone(),
            served: share(rated, served),
            usual_share: usual_share(usual, name),
            reject: share(served, sum(&|one| one.rejected)),
            first_reject: share(served, sum(&|one| one.first_rejected)),
            usual_first_reject: usual
                .and_then(|view| view.baseline.as_ref()?.rates.get(name))
                .map(|tally| ShareForm::of(*tally)),
            pass: sum(&|one| one.pass),
            fail: sum(&|one| one.fail),
            review: sum(&|one| one.review),
            by_route: by_route.into(),
            attempts: attempt_stats(&calls),
            answer_ms: SpreadForm::of(&answers),
            cost_micro_usd: calls.iter().map(|one| one.cost_micro_usd).sum(),
            input_tokens: calls.iter().map(|one| one.input_tokens).sum(),
            output_tokens: calls.iter().map(|one| one.output_tokens).sum(),
        }
    };
    names.into_iter().map(judge).collect()
}

/// Its share in the baseline, won hedges included.
fn usual_share(usual: Option<&View>, judge: &str) -> Option<f64> {
    let shares = &usual?.baseline.as_ref()?.shares;
    let all: u64 = shares.values().sum();
    let hedged = crate::drift::judged::hedge_stratum(judge);
    let own = [judge, hedged.as_str()].iter().filter_map(|name| shares.get(*name)).sum();
    Some(Tally { n: all, rejects: own }.rate())
}

fn attempt_stats(calls: &[&AttemptSum]) -> AttemptStats {
    let mut stats = AttemptStats {
        n: 0,
        failed: ShareForm::default(),
        by_outcome: BTreeMap::new(),
        by_route: BTreeMap::new(),
    };
    let stopped = [AttemptOutcome::Cancelled.label(), AttemptOutcome::OverBudget.label()];
    let mut failed = Tally::default();
    for call in calls {
        stats.n += call.n;
        *stats.by_outcome.entry(call.outcome.clone()).or_default() += call.n;
        *stats.by_route.entry(call.route.clone()).or_default() += call.n;
        if !stopped.contains(&call.outcome.as_str()) {
            let judged = call.outcome == AttemptOutcome::Judged.label();
            failed += Tally { n: call.n, rejects: if judged { 0 } else { call.n } };
        }
    }
    stats.failed = ShareForm::of(failed);
    stats
}

/// The scope of a range that ends with a whole bucket.
pub(super) fn contiguous(scope: &Scope) -> Vec<i64> {
    let count = (scope.until_s - scope.since_s) / scope.bucket_s;
    (0..count).map(|at| (scope.since_s + at * scope.bucket_s) * 1_000).collect()
}
