//! The routing-adjusted rate as it is answered: what it would be had the primary judged everything.
//!
//! It is modelled, from images that both judged for other reasons than what one of them said; a
//! judge without enough of those has no model, and then there is no adjusted rate. Where the
//! primary was shown a share of what it missed, what it said there corrects the model: each such
//! image stands for as many as the chance of being shown says, and whatever the model is, the rate
//! is right. Those it was to be shown and gave no answer about are no chance sample of the others:
//! the model speaks for them, and the interval reaches as far as if they all passed, or none.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::drift::adjusted::Model;
use crate::drift::interval::{Estimate, Interval, Tally, real, wilson};
use crate::drift::summed::{Sum, served, served_by_judge};
use crate::http::drift::pairs::{Pairs, is_unselected};
use crate::http::drift::{primary, sum};
use crate::http::range::{RangeQuery, ShareForm};
use crate::ledger::LedgerError;
use crate::ledger::figures::{JudgedSum, PairSum, Scope};
use crate::ledger::reader::Reader;
use crate::ledger::shadows::Backfilled;

/// Pairs that a model of one judge needs.
const MIN_PAIRS: u64 = 30;

/// Share of the images served elsewhere for which the primary's own word must stand, for the rate
/// not to be called modelled.
const BACKFILLED_FROM: f64 = 0.8;

pub(super) async fn adjusted(
    (reader, pairs): (&Reader, &Pairs),
    (before, after): (&[Sum], &[Sum]),
    scope: &Scope,
) -> Result<Value, LedgerError> {
    let Some(primary) = primary(before, after) else { return Ok(Value::Null) };
    let buckets = RangeQuery::buckets(scope);
    let backfilled = reader.backfilled(&buckets, &primary).await?;
    let rows = reader.judged_sums(&buckets).await?;
    let whole = Whole { judged: served_by_judge(after), served: served(after) };
    // a rate for each bucket, from everything that was asked afterwards
    let sums = pairs.sums.clone();
    let rates = move || rates(&primary, &whole, (&sums, &backfilled), (&buckets, &rows));
    Ok(reader.apart(rates).await?.unwrap_or(Value::Null))
}

/// What was served in the whole window.
struct Whole {
    judged: BTreeMap<String, Tally>,
    served: Tally,
}

fn rates(
    primary: &str,
    whole: &Whole,
    (pairs, backfilled): (&[PairSum], &[Backfilled]),
    (buckets, sums): (&Scope, &[JudgedSum]),
) -> Option<Value> {
    let models = models(primary, pairs);
    let judged = &whole.judged;
    let rows: Vec<&Backfilled> = backfilled.iter().collect();
    let rated = rate(primary, (judged, &rows), &models)?;
    let mut by_bucket: BTreeMap<usize, Vec<Sum>> = BTreeMap::new();
    for row in sums {
        by_bucket.entry(row.bucket).or_default().extend(sum(row));
    }
    let (mut start_ms, mut n, mut observed, mut modelled) = (vec![], vec![], vec![], vec![]);
    for (bucket, sums) in &by_bucket {
        let rows: Vec<_> = backfilled.iter().filter(|one| one.bucket == *bucket).collect();
        let bucket = i64::try_from(*bucket).unwrap_or_default();
        let whole = served(sums);
        start_ms.push((buckets.since_s + bucket * buckets.bucket_s) * 1_000);
        n.push(whole.n);
        observed.push((whole.n != 0).then(|| whole.rate()));
        let judged = served_by_judge(sums);
        modelled.push(rate(primary, (&judged, &rows), &models).map(|one| one.rate.effect));
    }
    let elsewhere = judged.iter().filter(|(judge, _)| *judge != primary);
    let elsewhere = real(elsewhere.map(|(_, tally)| tally.n).sum());
    let (answered, unanswered): (Vec<&Backfilled>, Vec<&Backfilled>) =
        rows.iter().partition(|one| one.rejects.is_some());
    let images = |rows: &[&Backfilled]| rows.iter().map(|one| one.n).sum::<u64>();
    let basis = match answered.iter().map(|one| one.stands_for()).sum::<f64>() {
        _ if elsewhere <= 0.0 => "served",
        known if BACKFILLED_FROM * elsewhere <= known => "backfilled",
        _ => "modelled",
    };
    // a rate that was served is a share; and where all images say the same, the spread says nothing
    // a model of a judge that served nothing is no part of it
    let is_used = |judge: &String| judged.get(judge).is_some_and(|tally| tally.n != 0);
    let used = models.iter().filter(|(judge, _)| is_used(judge));
    let pairs: u64 = used.map(|(_, model)| pairs_of(model)).sum();
    let is_share = basis == "served" || rated.rate.se <= 0.0;
    let sampled = if is_share { wilson(whole.served) } else { rated.rate.interval() };
    let interval = rated.with_unanswered(sampled);
    Some(json!({
        "primary": primary,
        "basis": basis,
        "backfilled": images(&answered),
        "unanswered": images(&unanswered),
        "pairs": pairs,
        "served": ShareForm::of(whole.served),
        "rate": rated.rate.effect,
        "se": rated.rate.se,
        "low": interval.low,
        "high": interval.high,
        "series": { "bucket_s": buckets.bucket_s, "start_ms": start_ms, "n": n,
            "served": observed, "rate": modelled },
    }))
}

/// What the primary says where another judge said something, by that judge.
fn models(primary: &str, pairs: &[PairSum]) -> BTreeMap<String, Model> {
    let mut models: BTreeMap<String, Model> = BTreeMap::new();
    for pair in pairs.iter().filter(|pair| is_unselected(pair)) {
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

/// The rate under the primary, and how far it would move if all images without an answer passed, or
/// none did.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Rated {
    rate: Estimate,
    less: f64,
    more: f64,
}

impl Rated {
    /// An interval for the images that were answered, reaching as far as those that were not allow.
    fn with_unanswered(&self, sampled: Interval) -> Interval {
        let low = (sampled.low - self.less).max(0.0);
        let high = (sampled.high + self.more).min(1.0);
        Interval { low, high }
    }
}

/// The mean over all images of the primary's verdict, or of what it is expected to be and what is
/// known to be wrong with that, and its standard error. `None` where a judge that served has no
/// model, and of fewer than two images.
fn rate(
    primary: &str,
    (judged, backfilled): (&BTreeMap<String, Tally>, &[&Backfilled]),
    models: &BTreeMap<String, Model>,
) -> Option<Rated> {
    // value of an image, and how many images have it
    let mut values: Vec<(f64, u64)> = Vec::new();
    // what the models themselves may be wrong by, which no number of images makes less
    let mut model_errors: Vec<(f64, f64)> = Vec::new();
    let (mut less, mut more) = (0.0, 0.0);
    for (judge, tally) in judged {
        let (rejects, passes) = (tally.rejects, tally.n - tally.rejects);
        if judge == primary {
            values.extend([(1.0, rejects), (0.0, passes)]);
        } else {
            let model = models.get(judge).filter(|model| MIN_PAIRS <= pairs_of(model))?;
            let of = [(true, rejects, model.other_rejects), (false, passes, model.other_passes)];
            for (said, images, learnt_from) in of {
                let expected = model.expects(said);
                let (mut shown, mut stand_for) = (0, 0.0);
                let is_of =
                    |one: &&&Backfilled| one.served_by == *judge && one.served_rejects == said;
                for one in backfilled.iter().filter(is_of) {
                    let Some(rejects) = one.rejects else {
                        less += expected * one.stands_for();
                        more += (1.0 - expected) * one.stands_for();
                        continue;
                    };
                    let wrong_by = if rejects { 1.0 - expected } else { -expected };
                    values.push((expected + wrong_by / one.propensity, one.n));
                    shown += one.n;
                    stand_for += one.stands_for();
                }
                values.push((expected, images.saturating_sub(shown)));
                let unknown = (real(images) - stand_for).max(0.0);
                model_errors.push((unknown, variance_of(expected, learnt_from)));
            }
        }
    }
    let count: u64 = values.iter().map(|(_, n)| n).sum();
    if count < 2 {
        return None;
    }
    let n = real(count);
    let mean = values.iter().map(|(value, n)| value * real(*n)).sum::<f64>() / n;
    let spread = |(value, n): &(f64, u64)| (value - mean).powi(2) * real(*n);
    let error = |(images, variance): &(f64, f64)| (images / n).powi(2) * variance;
    let variance = values.iter().map(spread).sum::<f64>() / (n - 1.0) / n
        + model_errors.iter().map(error).sum::<f64>();
    let rate = Estimate { effect: mean, se: variance.sqrt() };
    Some(Rated { rate, less: less / n, more: more / n })
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
        let Rated { rate, .. } = rate("primary", (&served, &[]), &models).unwrap();
        assert!((rate.effect - 0.065).abs() < 0.001, "{rate:?}");
        // images alone: a variance of 21.07e-6; models of 130 and 870 pairs: 8.02e-6 and 1.36e-6
        assert!((rate.se - 0.005_518).abs() < 0.000_005, "a model is no truth: {rate:?}");
        let selected = PairSum { route: "second_opinion".to_owned(), ..pair };
        let none = super::models("primary", &[selected]);
        assert_eq!(
            super::rate("primary", (&served, &[]), &none),
            None,
            "doubtful images are no sample"
        );
    }

    #[test]
    fn pairs_of_a_judge_that_served_nothing_are_not_what_the_rate_is_from() {
        let pair = |first: &str, neither| PairSum {
            first: first.to_owned(),
            second: "primary".to_owned(),
            route: "shadow".to_owned(),
            both: 10,
            first_only: 10,
            second_only: 10,
            neither,
        };
        let pairs = [pair("b", 70), pair("c", 970)];
        let whole = |judges: &[(&str, u64)]| {
            let tally = |n| Tally { n, rejects: n / 10 };
            let judged = judges.iter().map(|(judge, n)| ((*judge).to_owned(), tally(*n))).collect();
            Whole { judged, served: tally(judges.iter().map(|(_, n)| n).sum()) }
        };
        let scope = Scope { policy: None, since_s: 0, until_s: 60, bucket_s: 60 };
        let told = |judges: &[(&str, u64)]| {
            rates("primary", &whole(judges), (&pairs, &[]), (&scope, &[])).unwrap()["pairs"].clone()
        };
        assert_eq!(told(&[("b", 100), ("primary", 900)]), json!(100));
        assert_eq!(told(&[("b", 100), ("c", 100), ("primary", 900)]), json!(1_100));
        assert_eq!(told(&[("primary", 900)]), json!(0));
    }

    #[test]
    fn what_the_primary_says_of_a_share_puts_a_wrong_model_right() {
        // in calm times the primary rejected half of what b rejects, and nothing else; of what was
        // served in its place it would have rejected a fifth and a tenth
        let calm = PairSum {
            first: "b".to_owned(),
            second: "primary".to_owned(),
            route: "shadow".to_owned(),
            both: 50,
            first_only: 50,
            second_only: 0,
            neither: 900,
        };
        let models = models("primary", &[calm]);
        let served: BTreeMap<_, _> = [("b".to_owned(), Tally { n: 2_000, rejects: 500 })].into();
        let shown = |served_rejects, rejects, n| Backfilled {
            bucket: 0,
            served_by: "b".to_owned(),
            served_rejects,
            rejects: Some(rejects),
            propensity: 0.2,
            n,
        };
        let rows = [
            shown(true, true, 20),
            shown(true, false, 80),
            shown(false, true, 30),
            shown(false, false, 270),
        ];
        let rate = |rows: &[&Backfilled]| rate("primary", (&served, rows), &models).unwrap().rate;
        let modelled = rate(&[]);
        assert!((modelled.effect - 0.125).abs() < 0.002, "{modelled:?}");
        let backfilled = rate(&rows.iter().collect::<Vec<_>>());
        // 500 / 5 and 1500 / 10 of 2000
        assert!((backfilled.effect - 0.125).abs() < 1e-3, "{backfilled:?}");
        let twice = [shown(true, true, 40), shown(true, false, 60), shown(false, false, 300)];
        let other = rate(&twice.iter().collect::<Vec<_>>());
        assert!((other.effect - 0.1).abs() < 1e-9, "{other:?}");
        assert!(modelled.se < backfilled.se, "a share of 400 images says less than 2,000 would");
    }

    #[test]
    fn images_whose_calls_failed_are_not_taken_for_like_the_others() {
        let calm = PairSum {
            first: "b".to_owned(),
            second: "primary".to_owned(),
            route: "shadow".to_owned(),
            both: 500,
            first_only: 500,
            second_only: 0,
            neither: 9_000,
        };
        let models = models("primary", &[calm]);
        let served: BTreeMap<_, _> = [("b".to_owned(), Tally { n: 1_000, rejects: 100 })].into();
        let shown = |served_rejects, rejects, n| Backfilled {
            bucket: 0,
            served_by: "b".to_owned(),
            served_rejects,
            rejects,
            propensity: 0.5,
            n,
        };
        let answered = [
            shown(true, Some(true), 20),
            shown(true, Some(false), 20),
            shown(false, Some(false), 450),
        ];
        let failed = shown(true, None, 10);
        let rate = |rows: &[&Backfilled]| rate("primary", (&served, rows), &models).unwrap();
        let without = rate(&answered.iter().collect::<Vec<_>>());
        assert!(without.less.abs() < 1e-12 && without.more.abs() < 1e-12, "{without:?}");
        let with = rate(&answered.iter().chain([&failed]).collect::<Vec<_>>());
        assert!((with.rate.effect - without.rate.effect).abs() < 1e-12, "{with:?}");
        // ten images of a chance of a half stand for 20 of 1,000: all of them pass, or none
        assert!((with.less - 0.01).abs() < 1e-4 && (with.more - 0.01).abs() < 1e-4, "{with:?}");
        let sampled = |rated: Rated| rated.with_unanswered(rated.rate.interval());
        let (with, without) = (sampled(with), sampled(without));
        assert!(with.low < without.low && without.high < with.high, "{with:?}, {without:?}");
    }
}
