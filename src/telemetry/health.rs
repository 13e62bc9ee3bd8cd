//! The judges' health as it is counted: breakers, strikes, limits, and what pays for extra attempts.

use metrics::{counter, gauge};

/// Registers the series of one judge's health; `states` are all that its breaker can be in.
pub fn register_judge(judge: &str, states: &[&'static str]) {
    for state in states {
        breaker_transitions(judge, state).increment(0);
    }
    strikes(judge).increment(0);
}

/// Registers the series of what pays for extra attempts.
pub fn register_budgets(budgets: &[&'static str]) {
    for budget in budgets {
        counter!("vlmgate_budget_denied_total", "budget" => *budget).increment(0);
    }
}

/// Counts a change of a judge's breaker.
pub fn count_breaker_transition(judge: &str, to: &'static str) {
    breaker_transitions(judge, to).increment(1);
}

/// Counts a call that outlived its strike age.
pub fn count_strike(judge: &str) {
    strikes(judge).increment(1);
}

/// Counts an extra attempt that was not made because its budget was empty.
pub fn count_budget_denied(budget: &'static str) {
    counter!("vlmgate_budget_denied_total", "budget" => budget).increment(1);
}

/// Says whether a judge's breaker is in `state`.
pub fn set_breaker_state(judge: &str, state: &'static str, is_so: bool) {
    let value = if is_so { 1.0 } else { 0.0 };
    gauge!("vlmgate_breaker_state", "judge" => judge.to_owned(), "state" => state).set(value);
}

/// Sets the evidence against a judge, the calls it takes and those under way.
pub fn set_judge_health(judge: &str, score: f64, (limit, in_flight): (u32, u32)) {
    gauge!("vlmgate_breaker_score", "judge" => judge.to_owned()).set(score);
    gauge!("vlmgate_judge_limit", "judge" => judge.to_owned()).set(f64::from(limit));
    gauge!("vlmgate_judge_in_flight", "judge" => judge.to_owned()).set(f64::from(in_flight));
}

/// Sets how many extra attempts a budget could pay for.
pub fn set_budget_tokens(budget: &'static str, tokens: f64) {
    gauge!("vlmgate_budget_tokens", "budget" => budget).set(tokens);
}

fn breaker_transitions(judge: &str, to: &'static str) -> metrics::Counter {
    counter!("vlmgate_breaker_transitions_total", "judge" => judge.to_owned(), "to" => to)
}

fn strikes(judge: &str) -> metrics::Counter {
    counter!("vlmgate_strikes_total", "judge" => judge.to_owned())
}
