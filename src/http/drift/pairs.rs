//! Pairs are images that two judges judged, as far as they say how the judges judge at a moment.
//!
//! Other lines or instructions make other judges of them: what was said under those of before is
//! left out, so that behind a change pairs are learnt anew.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::clock::Timestamp;
use crate::domain::Route;
use crate::http::range::{HOUR_S, MINUTE_S, cut};
use crate::ledger::LedgerError;
use crate::ledger::figures::{PairSum, Scope};
use crate::ledger::follow::view::View;
use crate::ledger::reader::Reader;

/// How far back pairs and scores look.
const LOOKBACK_US: i64 = 14 * 86_400 * 1_000_000;

/// Whether the images were not chosen by what one of the judges said of them, or how long it took.
pub(super) fn is_unselected(pair: &PairSum) -> bool {
    pair.route != Route::SecondOpinion.label() && !is_won(pair)
}

/// Whether a hedge won the images: the first judge's are the verdicts.
pub(super) fn is_won(pair: &PairSum) -> bool {
    pair.route == Route::Hedge.label()
}

/// The hours that pairs and scores look back on.
pub(super) fn lookback(policy: &str, until: Timestamp) -> Scope {
    let since = Timestamp(until.0.saturating_sub(LOOKBACK_US));
    cut(Some(policy.to_owned()), (since, until), HOUR_S)
}

/// The pairs of up to two weeks before a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pairs {
    /// Each two judges and reason once.
    pub(super) sums: Vec<PairSum>,
    /// From this second on.
    since_s: i64,
    /// When what holds at the moment began to hold, where that is within the two weeks.
    changed_ms: Option<i64>,
}

impl Pairs {
    pub(super) async fn read(
        reader: &Reader,
        view: Option<&View>,
        (policy, until): (&str, Timestamp),
    ) -> Result<Self, LedgerError> {
        let whole = lookback(policy, until);
        let changed_ms = view.and_then(|view| view.unchanged_since_ms(until.0.div_euclid(1_000)));
        let changed_ms = changed_ms.filter(|ms| whole.since_s * 1_000 < *ms);
        let mut sums: BTreeMap<(String, String, String), PairSum> = BTreeMap::new();
        let scopes = since_change(&whole, changed_ms);
        for scope in &scopes {
            for one in reader.pair_sums(scope).await? {
                let key = (one.first.clone(), one.second.clone(), one.route.clone());
                if let Some(sum) = sums.get_mut(&key) {
                    sum.both += one.both;
                    sum.first_only += one.first_only;
                    sum.second_only += one.second_only;
                    sum.neither += one.neither;
                } else {
                    sums.insert(key, one);
                }
            }
        }
        let since_s = scopes.first().map_or(whole.until_s, |scope| scope.since_s);
        Ok(Self { sums: sums.into_values().collect(), since_s, changed_ms })
    }

    /// Since when pairs count, and since when judges judge as they do.
    pub(super) fn json(&self) -> Value {
        let moment = |us: i64| Timestamp(us).to_string();
        json!({
            "since": moment(self.since_s.saturating_mul(1_000_000)),
            "changed": self.changed_ms.map(|ms| moment(ms.saturating_mul(1_000))),
        })
    }
}

/// What is left of the hours behind a change: the minutes of its own hour, and the hours after it.
/// The minute in which it came has pairs of both sides and counts on neither.
fn since_change(whole: &Scope, changed_ms: Option<i64>) -> Vec<Scope> {
    let Some(changed_ms) = changed_ms else { return vec![whole.clone()] };
    let minute_s = (changed_ms.div_euclid(1_000 * MINUTE_S) + 1) * MINUTE_S;
    let hour_s = minute_s + (-minute_s).rem_euclid(HOUR_S);
    let minutes = (minute_s, hour_s.min(whole.until_s), MINUTE_S);
    let hours = (hour_s, whole.until_s, HOUR_S);
    let scope =
        |(since_s, until_s, bucket_s)| Scope { since_s, until_s, bucket_s, ..whole.clone() };
    let scopes = [minutes, hours].map(scope).into_iter();
    scopes.filter(|scope| scope.since_s < scope.until_s).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behind_a_change_the_rest_of_its_hour_counts_by_minutes_and_then_hours() {
        let whole = Scope { policy: None, since_s: 0, until_s: 10 * HOUR_S, bucket_s: HOUR_S };
        assert_eq!(since_change(&whole, None), std::slice::from_ref(&whole));
        let parts = |changed_s: i64| {
            let scopes = since_change(&whole, Some(changed_s * 1_000 + 1));
            let part = |one: &Scope| (one.since_s, one.until_s, one.bucket_s);
            scopes.iter().map(part).collect::<Vec<_>>()
        };
        assert_eq!(parts(7_320), [(7_380, 10_800, 60), (10_800, 36_000, 3_600)]);
        assert_eq!(parts(7_199), [(7_200, 36_000, 3_600)], "at the end of an hour");
        assert_eq!(parts(35_900), [(35_940, 36_000, 60)], "in the last hour");
        assert_eq!(parts(35_999), [], "in the last minute");
    }
}
