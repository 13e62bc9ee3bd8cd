//! A series is a column of figures for each bucket of a range, oldest first.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::http::range::whole_ms;
use crate::http::stats::contiguous;
use crate::ledger::figures::{AttemptBucket, Scope, VerdictBucket};
use crate::ledger::spread::Spread;

/// Every bucket's figures, a column each.
#[derive(Default, Serialize)]
pub(super) struct Series {
    start_ms: Vec<i64>,
    n: Vec<u64>,
    pass: Vec<u64>,
    fail: Vec<u64>,
    review: Vec<u64>,
    rated: Vec<u64>,
    rejected: Vec<u64>,
    first_rejected: Vec<u64>,
    on_check: Vec<u64>,
    on_deadline: Vec<u64>,
    on_no_judge: Vec<u64>,
    p50_ms: Vec<Option<u64>>,
    p95_ms: Vec<Option<u64>>,
    cost_micro_usd: Vec<u64>,
    judges: BTreeMap<String, JudgeSeries>,
}

/// One judge's columns.
#[derive(Default, Serialize)]
struct JudgeSeries {
    served: Vec<u64>,
    rejected: Vec<u64>,
    first_rejected: Vec<u64>,
    primary: Vec<u64>,
    hedge: Vec<u64>,
    failover: Vec<u64>,
    probe: Vec<u64>,
    attempts: Vec<u64>,
    failed: Vec<u64>,
    p50_ms: Vec<Option<u64>>,
    p95_ms: Vec<Option<u64>>,
    cost_micro_usd: Vec<u64>,
}

impl JudgeSeries {
    fn of(buckets: usize) -> Self {
        let (zeros, nulls) = (vec![0; buckets], vec![None; buckets]);
        Self {
            served: zeros.clone(),
            rejected: zeros.clone(),
            first_rejected: zeros.clone(),
            primary: zeros.clone(),
            hedge: zeros.clone(),
            failover: zeros.clone(),
            probe: zeros.clone(),
            attempts: zeros.clone(),
            failed: zeros.clone(),
            p50_ms: nulls.clone(),
            p95_ms: nulls,
            cost_micro_usd: zeros,
        }
    }
}

/// The columns of a range, and the times of all its checks together.
pub(super) fn series(
    scope: &Scope,
    verdicts: &[VerdictBucket],
    attempts: &[AttemptBucket],
) -> (Series, Spread) {
    let start_ms = contiguous(scope);
    let buckets = start_ms.len();
    let zeros = || vec![0; buckets];
    let mut series = Series {
        start_ms,
        n: zeros(),
        pass: zeros(),
        fail: zeros(),
        review: zeros(),
        rated: zeros(),
        rejected: zeros(),
        first_rejected: zeros(),
        on_check: zeros(),
        on_deadline: zeros(),
        on_no_judge: zeros(),
        p50_ms: vec![None; buckets],
        p95_ms: vec![None; buckets],
        cost_micro_usd: zeros(),
        judges: BTreeMap::new(),
    };
    let mut whole = Spread::default();
    for same in verdicts.chunk_by(|one, other| one.bucket == other.bucket) {
        let mut times = Spread::default();
        for one in same {
            add_verdicts(&mut series, one);
            times.add(&one.spread);
            whole.add(&one.spread);
        }
        let Some(at) = same.first().map(|one| one.bucket) else { continue };
        set(&mut series.p50_ms, at, whole_ms(&times, 0.5));
        set(&mut series.p95_ms, at, whole_ms(&times, 0.95));
    }
    for one in attempts {
        let judge = series.judges.entry(one.judge.clone());
        let judge = judge.or_insert_with(|| JudgeSeries::of(buckets));
        let mut times = Spread::default();
        times.add(&one.spread);
        set(&mut judge.attempts, one.bucket, one.n);
        set(&mut judge.failed, one.bucket, one.failed);
        set(&mut judge.cost_micro_usd, one.bucket, one.cost_micro_usd);
        set(&mut judge.p50_ms, one.bucket, whole_ms(&times, 0.5));
        set(&mut judge.p95_ms, one.bucket, whole_ms(&times, 0.95));
    }
    (series, whole)
}

fn add_verdicts(series: &mut Series, one: &VerdictBucket) {
    let (at, buckets) = (one.bucket, series.start_ms.len());
    let [on_check, on_deadline, on_no_judge] = one.by_basis;
    add(&mut series.n, at, one.n);
    add(&mut series.pass, at, one.pass);
    add(&mut series.fail, at, one.fail);
    add(&mut series.review, at, one.review);
    add(&mut series.rated, at, one.rated);
    add(&mut series.rejected, at, one.rejected);
    add(&mut series.first_rejected, at, one.first_rejected);
    add(&mut series.on_check, at, on_check);
    add(&mut series.on_deadline, at, on_deadline);
    add(&mut series.on_no_judge, at, on_no_judge);
    add(&mut series.cost_micro_usd, at, one.cost_micro_usd);
    if one.judge.is_empty() {
        return;
    }
    let judge = series.judges.entry(one.judge.clone());
    let judge = judge.or_insert_with(|| JudgeSeries::of(buckets));
    let [primary, hedge, failover, probe] = one.by_route;
    add(&mut judge.served, at, one.rated);
    add(&mut judge.rejected, at, one.rejected);
    add(&mut judge.first_rejected, at, one.first_rejected);
    add(&mut judge.primary, at, primary);
    add(&mut judge.hedge, at, hedge);
    add(&mut judge.failover, at, failover);
    add(&mut judge.probe, at, probe);
}

fn add(column: &mut [u64], at: usize, by: u64) {
    if let Some(value) = column.get_mut(at) {
        *value += by;
    }
}

fn set<T>(column: &mut [T], at: usize, to: T) {
    if let Some(value) = column.get_mut(at) {
        *value = to;
    }
}
