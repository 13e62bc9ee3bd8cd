//! The routing-adjusted rate as it is answered: what it would be had the primary judged everything.
//!
//! Until the images served elsewhere are judged by the primary afterwards it is modelled, from
//! images that both judged for other reasons than what one of them said. A judge without enough of
//! those has no model, and then there is no adjusted rate.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::clock::Timestamp;
use crate::domain;
use crate::drift::adjusted::Model;
use crate::drift::interval::{Estimate, Tally, Z95, real};
use crate::drift::summed::{Sum, served, served_by_judge};
use crate::http::drift::judging::lookback;
use crate::http::drift::{primary, sum};
use crate::http::range::{RangeQuery, ShareForm};
use crate::ledger::LedgerError;
use crate::ledger::figures::{PairSum, Scope};
use crate::ledger::reader::Reader;

/// Pairs that a model of one judge needs.
const MIN_PAIRS: u64 = 30;

pub(super) async fn adjusted(
    reader: &Reader,
    (before, after): (&[Sum], &[Sum]),
    scope: &Scope,
) -> Result<Value, LedgerError> {
    let policy = scope.policy.clone().unwrap_or_default();
    let until = Timestamp(scope.until_s.saturating_mul(1_000_000));
    let pairs = reader.pair_sums(&lookback(&policy, until)).await?;
    let Some(primary) = primary(before, after) else { return Ok(Value::Null) };
    let models = models(&primary, &pairs);
    let judged = served_by_judge(after);
    let Some(rate) = rate(&primary, &judged, &models) else { return Ok(Value::Null) };
    let buckets = RangeQuery::buckets(scope);
    let mut by_bucket: BTreeMap<usize, Vec<Sum>> = BTreeMap::new();
    for row in reader.judged_sums(&buckets).await? {
        by_bucket.entry(row.bucket).or_default().extend(sum(&row));
    }
    let (mut start_ms, mut n, mut observed, mut modelled) = (vec![], vec![], vec![], vec![]);
    for (bucket, sums) in &by_bucket {
        let bucket = i64::try_from(*bucket).unwrap_or_default();
        let whole = served(sums);
        start_ms.push((buckets.since_s + bucket * buckets.bucket_s) * 1_000);
        n.push(whole.n);
        observed.push((whole.n != 0).then(|| whole.rate()));
        modelled.push(self::rate(&primary, &served_by_judge(sums), &models).map(|one| one.effect));
    }
    let is_served = judged.keys().all(|judge| *judge == primary);
    Ok(json!({
        "primary": primary,
        "basis": if is_served { "served" } else { "modelled" },
        "pairs": models.values().map(pairs_of).sum::<u64>(),
        "served": ShareForm::of(served(after)),
        "rate": rate.effect,
        "se": rate.se,
        "low": (rate.effect - Z95 * rate.se).max(0.0),
        "high": (rate.effect + Z95 * rate.se).min(1.0),
        "series": { "bucket_s": buckets.bucket_s, "start_ms": start_ms, "n": n,
            "served": observed, "rate": modelled },
    }))
}

/// What the primary says where another judge said something, by that judge.
fn models(primary: &str, pairs: &[PairSum]) -> BTreeMap<String, Model> {
    let mut models: BTreeMap<String, Model> = BTreeMap::new();
    let selected = domain::Route::SecondOpinion.label();
    for pair in pairs.iter().filter(|pair| pair.route != selected) {
        let (other, primary_only, other_only) = if pair.first == primary {
            (&pair.second, pair.first_only, pair.second_only)
        } else if pair.second == primary {
            (&pair.first, pair.second_only, pair.first_only)
        } else {
            continue;
        };
        let model = models.entry(other.clone()).or_default();
        model.other_rejects += Tally { n: pair.both + other_only, rejects: pair.both };
        model.other_passes += Tally { n: primary_only + pair.neither, rejects: primary_only };
    }
    models
}

fn pairs_of(model: &Model) -> u64 {
    model.other_rejects.n + model.other_passes.n
}

/// The mean over all images of the primary's verdict, or of what it is expected to be, and its
/// standard error. `None` where a judge that served has no model, and of fewer than two images.
fn rate(
    primary: &str,
    judged: &BTreeMap<String, Tally>,
    models: &BTreeMap<String, Model>,
) -> Option<Estimate> {
    // value of an image, and how many images have it
    let mut values: Vec<(f64, u64)> = Vec::new();
    // what the models themselves may be wrong by, which no number of images makes less
    let mut model_errors: Vec<(u64, f64)> = Vec::new();
    for (judge, tally) in judged {
        let (rejects, passes) = (tally.rejects, tally.n - tally.rejects);
        if judge == primary {
            values.extend([(1.0, rejects), (0.0, passes)]);
        } else {
            let model = models.get(judge).filter(|model| MIN_PAIRS <= pairs_of(model))?;
            values.extend([(model.expects(true), rejects), (model.expects(false), passes)]);
            model_errors.extend([
                (rejects, variance_of(model.expects(true), model.other_rejects)),
                (passes, variance_of(model.expects(false), model.other_passes)),
            ]);
        }
    }
    let count: u64 = values.iter().map(|(_, n)| n).sum();
    if count < 2 {
        return None;
    }
    let n = real(count);
    let mean = values.iter().map(|(value, n)| value * real(*n)).sum::<f64>() / n;
    let spread = |(value, n): &(f64, u64)| (value - mean).powi(2) * real(*n);
    let error = |(images, variance): &(u64, f64)| (real(*images) / n).powi(2) * variance;
    let variance = values.iter().map(spread).sum::<f64>() / (n - 1.0) / n
        + model_errors.iter().map(error).sum::<f64>();
    Some(Estimate { effect: mean, se: variance.sqrt() })
}

/// Of a share `q` that was learnt from a tally: `q (1 - q) / (n + 1)`.
fn variance_of(q: f64, learnt_from: Tally) -> f64 {
    q * (1.0 - q) / (real(learnt_from.n) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strict_stand_in_is_taken_back_to_the_primary() {
        let pair = PairSum {
            first: "b".to_owned(),
            second: "primary".to_owned(),
            route: "probe".to_owned(),
            both: 60,
            first_only: 70,
            second_only: 5,
            neither: 865,
        };
        let models = models("primary", std::slice::from_ref(&pair));
        let judged = |n, rejects| Tally { n, rejects };
        let served: BTreeMap<_, _> =
            [("b".to_owned(), judged(1_000, 130)), ("primary".to_owned(), judged(1_000, 65))]
                .into();
        let rate = rate("primary", &served, &models).unwrap();
        assert!((rate.effect - 0.065).abs() < 0.001, "{rate:?}");
        // images alone: a variance of 21.07e-6; models of 130 and 870 pairs: 8.02e-6 and 1.36e-6
        assert!((rate.se - 0.005_518).abs() < 0.000_005, "a model is no truth: {rate:?}");
        let selected = PairSum { route: "second_opinion".to_owned(), ..pair };
        let none = super::models("primary", &[selected]);
        assert_eq!(super::rate("primary", &served, &none), None, "doubtful images are no sample");
    }
}
