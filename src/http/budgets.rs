//! `GET /v1/budgets`: what may be asked behind verdicts today, and how much of it is spent.
//!
//! Spent is what calls cost that have ended, and what a killed process may have had under way: that is
//! gone for the day. What is under way is not in it: less may be left than is told, never more. The gate
//! knows it without the store, which is asked only until it has told the gate what was spent before.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use serde_json::json;

use crate::clock::Timestamp;
use crate::clock::dates::{day_of, first_moment, show_date};
use crate::domain::{MicroUsd, Policy};
use crate::http::Face;
use crate::http::problem::Problem;
use crate::http::range::{unreadable, written};
use crate::ledger::shadows::{Purpose, Spent};

/// What may be spent for one reason in a day (UTC).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct BudgetForm {
    policy: Option<String>,
    purpose: &'static str,
    entry: Option<String>,
    per_day_micro_usd: u64,
    spent_micro_usd: u64,
    left_micro_usd: u64,
}

impl BudgetForm {
    fn of(
        (policy, purpose, entry): (Option<&str>, Purpose, Option<&str>),
        per_day: MicroUsd,
        spent: &[Spent],
    ) -> Self {
        let is_its = |one: &&Spent| {
            one.purpose == purpose
                && policy.is_none_or(|policy| one.policy == policy)
                && entry.is_none_or(|entry| one.entry == entry)
        };
        let spent: MicroUsd = spent.iter().filter(is_its).map(|one| one.cost).sum();
        Self {
            policy: policy.map(str::to_owned),
            purpose: purpose.label(),
            entry: entry.map(str::to_owned),
            per_day_micro_usd: per_day.0,
            spent_micro_usd: spent.0,
            left_micro_usd: per_day.0.saturating_sub(spent.0),
        }
    }
}

/// `GET /v1/budgets`.
pub(super) async fn get(State(face): State<Arc<Face>>) -> Result<Response, Problem> {
    let now = Timestamp::now();
    let today = day_of(now);
    let reader = face.gate.ledger.reader();
    let spent = match face.gate.shadows.spent(now) {
        Some(spent) => spent,
        None => reader.shadows_spent(first_moment(today)).await.map_err(unreadable)?,
    };
    let loaded = face.gate.policies.load_full();
    let mut budgets = Vec::new();
    for policy in loaded.iter() {
        budgets.extend(of_policy(&policy.loaded.policy, &spent));
    }
    // bursts of all policies share one
    let burst = face.gate.shadows.burst().map(|burst| burst.per_day);
    budgets
        .extend(burst.map(|per_day| BudgetForm::of((None, Purpose::Burst, None), per_day, &spent)));
    written(reader, json!({ "day": show_date(today), "behind_verdicts": budgets })).await
}

fn of_policy(policy: &Policy, spent: &[Spent]) -> Vec<BudgetForm> {
    let name = Some(policy.name.as_str());
    let of = |purpose, entry, per_day| BudgetForm::of((name, purpose, entry), per_day, spent);
    let entries = policy.shadows.iter();
    let entries = entries.map(|one| of(Purpose::Sample, Some(one.id.as_str()), one.per_day));
    let backfill = policy.backfill.map(|one| of(Purpose::Backfill, None, one.per_day));
    let losers = policy.losers.map(|one| of(Purpose::Hedge, None, one.per_day));
    entries.chain(backfill).chain(losers).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::domain::policy::{LosersSpec, ShadowSpec};
    use crate::prompt;

    #[test]
    fn each_reason_has_its_own_money_and_what_is_overspent_leaves_nothing() {
        let entry = ShadowSpec {
            id: "standby".to_owned(),
            judge: "claude-haiku".to_owned(),
            sample: 0.03,
            per_day: MicroUsd(100),
        };
        let losers = Some(LosersSpec { share: 0.05, per_day: MicroUsd(10) });
        let policy = Policy { shadows: vec![entry], losers, ..prompt::tests::policy() };
        let spent = |purpose, policy: &str, entry: &str, cost| Spent {
            policy: policy.to_owned(),
            purpose,
            entry: entry.to_owned(),
            cost: MicroUsd(cost),
        };
        let spent = [
            spent(Purpose::Sample, &policy.name, "standby", 40),
            spent(Purpose::Sample, &policy.name, "gone", 7),
            spent(Purpose::Sample, "other", "standby", 5),
            spent(Purpose::Hedge, &policy.name, "", 12),
        ];
        let told = of_policy(&policy, &spent);
        let told = told.iter().map(|one| (one.purpose, one.spent_micro_usd, one.left_micro_usd));
        assert_eq!(told.collect::<Vec<_>>(), [("sample", 40, 60), ("hedge", 12, 0)]);
        let burst = BudgetForm::of((None, Purpose::Sample, None), MicroUsd(60), &spent);
        assert_eq!((burst.spent_micro_usd, burst.left_micro_usd), (52, 8), "of all policies");
    }
}
