//! Who is to be asked about an image behind its verdict: decided by lots that the record itself
//! draws, so that the same record always draws the same, and never by what was said of it.

use uuid::Uuid;

use crate::domain::{Policy, Record, Route};
use crate::drift::judged::{image_key, image_lot};
use crate::ledger::shadows::Purpose;

/// The lot of a record for the backfill of its policy is drawn under this name; no entry has it.
const BACKFILL: &str = "/backfill";

/// One judge to be asked about one image.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wish {
    pub(super) judge: String,
    pub(super) purpose: Purpose,
    /// The policy's entry; empty where none is meant.
    pub(super) entry: String,
    /// Probability that it is asked, as far as that is known.
    pub(super) propensity: f64,
}

/// Who is to be asked about the image of `record`, each judge at most once and nobody who has
/// judged it; `bursting` are those who look into an alarm.
pub(super) fn wishes(policy: &Policy, record: &Record, bursting: &[String]) -> Vec<Wish> {
    let Some(judge) = record.judge.as_ref().filter(|_| record.verdict.basis.is_judged()) else {
        return Vec::new();
    };
    let mut wishes: Vec<Wish> = Vec::new();
    let mut add = |wish: Wish| {
        let has_judged =
            record.attempts.iter().any(|one| one.judge.name == wish.judge && one.said.is_some());
        if !has_judged
            && wish.judge != judge.name
            && !wishes.iter().any(|one| one.judge == wish.judge)
        {
            wishes.push(wish);
        }
    };
    if policy.backfill.is_some()
        && record.route == Some(Route::Failover)
        && let Some(first) = policy.route.judges.first()
    {
        let (judge, entry) = (first.clone(), String::new());
        add(Wish { judge, purpose: Purpose::Backfill, entry, propensity: 1.0 });
    }
    for shadow in &policy.shadows {
        if image_lot(lot_key(record.id, &shadow.id)) < shadow.sample {
            let (judge, entry) = (shadow.judge.clone(), shadow.id.clone());
            add(Wish { judge, purpose: Purpose::Sample, entry, propensity: shadow.sample });
        }
    }
    for judge in bursting {
        let (judge, entry) = (judge.clone(), String::new());
        add(Wish { judge, purpose: Purpose::Burst, entry, propensity: 1.0 });
    }
    wishes
}

/// The lot of a record among those that wait for the first judge to come back.
pub(super) fn backfill_key(record: Uuid) -> u64 {
    lot_key(record, BACKFILL)
}

fn lot_key(record: Uuid, entry: &str) -> u64 {
    image_key(&format!("{record}/{entry}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::domain::policy::{BackfillSpec, ShadowSpec};
    use crate::domain::{Basis, Decision, JudgeId, MicroUsd};
    use crate::ledger::form::tests::sample;
    use crate::prompt;

    fn policy(sample: f64) -> Policy {
        let entry = |id: &str, judge: &str| ShadowSpec {
            id: id.to_owned(),
            judge: judge.to_owned(),
            sample,
            per_day: MicroUsd(1),
        };
        let mut base = prompt::tests::policy();
        base.route.judges = ["openai-mini", "claude-haiku"].map(str::to_owned).into();
        Policy {
            shadows: vec![entry("one", "claude-haiku"), entry("two", "gemini-flash")],
            backfill: Some(BackfillSpec { share: 0.1, per_day: MicroUsd(1) }),
            ..base
        }
    }

    fn judge(name: &str) -> JudgeId {
        JudgeId { name: name.to_owned(), provider: "p".to_owned(), model: "m".to_owned() }
    }

    fn record(judge_name: &str, route: Route) -> Record {
        let mut record = Record { judge: Some(judge(judge_name)), route: Some(route), ..sample() };
        record.verdict.basis = Basis::Judge;
        record.attempts.clear();
        record
    }

    fn told(wishes: &[Wish]) -> String {
        let told = |one: &Wish| {
            format!("{} {} {} {}", one.judge, one.purpose.label(), one.entry, one.propensity)
        };
        wishes.iter().map(told).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn a_record_draws_the_same_lots_every_time_and_entries_draw_their_own() {
        let policy = policy(0.3);
        let (mut one, mut two, mut both) = (0, 0, 0);
        for _ in 0..4_000 {
            let mut record = record("openai-mini", Route::Primary);
            record.id = Uuid::now_v7();
            let drawn = wishes(&policy, &record, &[]);
            let rejected = {
                record.verdict.decision = Decision::Fail;
                record.verdict.first_verdict = Some(Decision::Fail);
                wishes(&policy, &record, &[])
            };
            assert_eq!(drawn, rejected, "whatever was said of it");
            assert!(drawn.iter().all(|wish| (wish.propensity - 0.3).abs() < 1e-9));
            let has = |entry: &str| drawn.iter().any(|wish| wish.entry == entry);
            one += u32::from(has("one"));
            two += u32::from(has("two"));
            both += u32::from(has("one") && has("two"));
        }
        assert!(one.abs_diff(1_200) < 150 && two.abs_diff(1_200) < 150, "{one} {two}");
        assert!(both.abs_diff(360) < 90, "{both}");
    }

    #[test]
    fn nobody_is_asked_twice_and_nobody_who_gave_the_verdict() {
        let all = policy(1.0);
        let burst = ["openai-mini", "claude-haiku", "mistral-vision"].map(str::to_owned);
        let served = |judge, route| told(&wishes(&all, &record(judge, route), &burst));
        assert_eq!(
            served("openai-mini", Route::Primary),
            "claude-haiku sample one 1, gemini-flash sample two 1, mistral-vision burst  1"
        );
        assert_eq!(
            served("claude-haiku", Route::Failover),
            "openai-mini backfill  1, gemini-flash sample two 1, mistral-vision burst  1"
        );
        assert_eq!(
            served("claude-haiku", Route::Hedge),
            "gemini-flash sample two 1, openai-mini burst  1, mistral-vision burst  1",
            "who won a hedge was selected on its outcome: nothing to make up for"
        );
        let mut unjudged = record("openai-mini", Route::Primary);
        unjudged.verdict.basis = Basis::Deadline;
        assert_eq!(wishes(&all, &unjudged, &burst), []);
    }
}
