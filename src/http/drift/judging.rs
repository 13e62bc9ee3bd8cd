//! How far judges agree, how they score, what people found, and who needs a line of its own.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::clock::Timestamp;
use crate::clock::dates::day_of;
use crate::domain::Policy;
use crate::domain::policy::offset::Calibration;
use crate::drift::agreement::{Agreement, Square, agreement as measure};
use crate::drift::interval::Tally;
use crate::drift::threshold::MIN_PAIRS;
use crate::http::drift::pairs::{Pairs, is_unselected, is_won, lookback};
use crate::http::range::{EffectForm, ShareForm};
use crate::http::sentence::hedge_sentence;
use crate::ledger::LedgerError;
use crate::ledger::figures::{PairSum, ScoreSum};
use crate::ledger::reader::Reader;
use crate::ledger::spread::Spread;

/// How far back labels look.
const LABELS_US: i64 = 30 * 86_400 * 1_000_000;
/// Pairs from which agreement is worth a number.
const ENOUGH_PAIRS: u64 = 200;

pub(super) fn agreement(pairs: &Pairs) -> Value {
    pairs.sums.iter().filter(|pair| !is_won(pair)).filter_map(pair_json).collect()
}

/// What others say of the images whose verdict a hedge won, beside what the one said that won it.
pub(super) fn hedges(pairs: &Pairs) -> Value {
    pairs.sums.iter().filter(|pair| is_won(pair)).filter_map(hedge_json).collect()
}

fn hedge_json(pair: &PairSum) -> Option<Value> {
    let PairSum { both, first_only, second_only, neither, .. } = *pair;
    // the other first: what is told is how much more it rejects
    let agreement =
        measure(Square { both, first_only: second_only, second_only: first_only, neither })?;
    let n = agreement.n;
    let difference = (agreement.difference, agreement.difference_interval());
    let [winner, other] = [first_only, second_only].map(|alone| Tally { n, rejects: both + alone });
    let (first, second) = ((pair.first.as_str(), winner), (pair.second.as_str(), other));
    Some(json!({
        "winner": pair.first,
        "other": pair.second,
        "n": n,
        "winner_reject": ShareForm::of(winner),
        "other_reject": ShareForm::of(other),
        "difference": EffectForm::within(difference.0, difference.1),
        "sentence": hedge_sentence(first, second, difference),
    }))
}

fn square(pair: &PairSum) -> Square {
    let PairSum { both, first_only, second_only, neither, .. } = *pair;
    Square { both, first_only, second_only, neither }
}

fn pair_json(pair: &PairSum) -> Option<Value> {
    let agreement = measure(square(pair))?;
    Some(json!({
        "a": pair.first,
        "b": pair.second,
        "route": pair.route,
        "n": agreement.n,
        "both": pair.both,
        "a_only": pair.first_only,
        "b_only": pair.second_only,
        "neither": pair.neither,
        "ac1": EffectForm::from(agreement.ac1),
        "kappa": agreement.kappa.map(EffectForm::from),
        "difference": difference(&agreement),
        "mcnemar_p": agreement.mcnemar_exact,
        "enough": ENOUGH_PAIRS <= agreement.n,
    }))
}

/// Of two judges' rates: of a few images on which they differ no interval is without width.
fn difference(agreement: &Agreement) -> EffectForm {
    EffectForm::within(agreement.difference, agreement.difference_interval())
}

pub(super) async fn scores(
    reader: &Reader,
    policy: &str,
    until: Timestamp,
) -> Result<Value, LedgerError> {
    let sums = reader.score_sums(&lookback(policy, until)).await?;
    // two weeks by the hour are hundreds of spreads for each criterion of each judge
    reader.apart(move || shown_scores(sums)).await
}

fn shown_scores(sums: Vec<ScoreSum>) -> Value {
    let mut scores: BTreeMap<(String, String), Vec<ScoreSum>> = BTreeMap::new();
    for one in sums {
        scores.entry((one.judge.clone(), one.criterion.clone())).or_default().push(one);
    }
    let shown = |((judge, criterion), lines): (&(String, String), &Vec<ScoreSum>)| {
        let mut spread = Spread::default();
        lines.iter().for_each(|line| spread.add(&line.spread));
        let newest = lines.iter().max_by_key(|line| line.last_s);
        json!({
            "judge": judge,
            "criterion": criterion,
            "pass_at": newest.and_then(|line| line.pass_at.parse::<f64>().ok()),
            "n": lines.iter().map(|line| line.n).sum::<u64>(),
            "failed": lines.iter().map(|line| line.failed).sum::<u64>(),
            "bins": spread.by_score(),
        })
    };
    scores.iter().map(shown).collect()
}

/// What people found of one judge's first judgements.
#[derive(Default)]
struct Looked {
    rejected: Tally,
    defects: Tally,
    n: u64,
}

pub(super) async fn people(
    reader: &Reader,
    policy: &str,
    until: Timestamp,
) -> Result<Value, LedgerError> {
    let since = Timestamp(until.0.saturating_sub(LABELS_US));
    let found = reader.found(Some(policy), (since, until)).await?;
    let mut judges: BTreeMap<&str, Looked> = BTreeMap::new();
    for one in &found {
        let looked = judges.entry(&one.judge).or_default();
        looked.n += one.n;
        let counted = |count: bool| if count { one.n } else { 0 };
        if one.rejects {
            looked.rejected += Tally { n: one.n, rejects: counted(one.is_defect) };
        }
        if one.is_defect {
            looked.defects += Tally { n: one.n, rejects: counted(one.rejects) };
        }
    }
    let shown = |(judge, looked): (&&str, &Looked)| {
        json!({
            "judge": judge,
            "n": looked.n,
            "defects": looked.defects.n,
            "precision": ShareForm::of(looked.rejected),
            "recall": ShareForm::of(looked.defects),
        })
    };
    Ok(json!({
        "since": since.to_string(),
        "verdicts": found.iter().map(|one| one.n).sum::<u64>(),
        "judges": judges.iter().map(shown).collect::<Vec<_>>(),
    }))
}

/// Who stands in for the primary, how many pairs its own line could rest on, and what `loaded` says
/// of it. No line is fitted here: nothing is applied that was not looked at.
pub(super) fn calibration(
    pairs: &Pairs,
    loaded: Option<&Policy>,
    (until, primary): (Timestamp, Option<String>),
) -> Value {
    let Some(primary) = primary else { return json!([]) };
    let mut squares: BTreeMap<String, Square> = BTreeMap::new();
    for pair in pairs.sums.iter().filter(|pair| is_unselected(pair)) {
        // the other judge first
        let (other, own) = if pair.first == primary {
            let PairSum { both, first_only, second_only, neither, .. } = *pair;
            let turned = Square { both, first_only: second_only, second_only: first_only, neither };
            (&pair.second, turned)
        } else if pair.second == primary {
            (&pair.first, square(pair))
        } else {
            continue;
        };
        let sum = squares.entry(other.clone()).or_default();
        sum.both += own.both;
        sum.first_only += own.first_only;
        sum.second_only += own.second_only;
        sum.neither += own.neither;
    }
    let shown = |(judge, square): (&String, &Square)| {
        let present = measure(*square);
        let offset = loaded.and_then(|policy| policy.route.offset_by_judge.get(judge));
        let state = loaded.map(|policy| policy.calibration(judge, day_of(until)));
        let state = state.unwrap_or(Calibration::None);
        json!({
            "judge": judge,
            "primary": primary,
            "pairs": present.as_ref().map_or(0, |one| one.n),
            "needs": MIN_PAIRS,
            "state": state.label(),
            "present": present.map(|one| difference(&one)),
            "add": offset.map(|one| one.add),
            "at_line": offset.map(|one| one.at_line),
        })
    };
    squares.iter().map(shown).collect()
}
