//! Who is to be asked about an image behind its verdict: decided by lots that the record itself
//! draws, so that the same record always draws the same, and never by what was said of it.

use uuid::Uuid;

use crate::domain::{Attempt, AttemptOutcome, Policy, Record, Route};
use crate::drift::judged::{image_key, image_lot};
use crate::ledger::shadows::Purpose;

/// The lot of a record for the backfill of its policy is drawn under this name; no entry has it.
const BACKFILL: &str = "/backfill";

/// The lot of a record for the one that lost its hedge; no entry has it either.
const LOSERS: &str = "/losers";

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
    // behind the samples: one that an entry drew is drawn like any other image, and stays that
    if let Some(losers) = policy.losers
        && let Some(judge) = loser(record)
        && image_lot(lot_key(record.id, LOSERS)) < losers.share
    {
        let (judge, entry) = (judge.to_owned(), String::new());
        add(Wish { judge, purpose: Purpose::Hedge, entry, propensity: losers.share });
    }
    for judge in bursting {
        let (judge, entry) = (judge.clone(), String::new());
        add(Wish { judge, purpose: Purpose::Burst, entry, propensity: 1.0 });
    }
    wishes
}

/// Who lost the hedge that gave the verdict of `record`: the first that was still waited for when
/// the answer beside it came. One that failed by then lost nothing, and nobody lost where the hedge
/// did not win. No verdict waits for a probe, or for a second opinion before the first: neither is in
/// the race.
fn loser(record: &Record) -> Option<&str> {
    let is_won = record.route == Some(Route::Hedge);
    let was_waited_for = |one: &&Attempt| {
        let is_in_race = matches!(one.route, Route::Primary | Route::Hedge | Route::Failover);
        is_in_race && one.outcome == AttemptOutcome::Cancelled
    };
    let lost = record.attempts.iter().filter(|_| is_won).find(was_waited_for)?;
    Some(&lost.judge.name)
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

    use crate::domain::policy::{BackfillSpec, LosersSpec, ShadowSpec};
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
            "nobody lost that hedge who was still waited for"
        );
        let mut unjudged = record("openai-mini", Route::Primary);
        unjudged.verdict.basis = Basis::Deadline;
        assert_eq!(wishes(&all, &unjudged, &burst), []);
    }

    /// A verdict that `claude-haiku` gave beside a slow `openai-mini`, which ended so.
    fn hedged(ended: AttemptOutcome) -> Record {
        let mut record = record("claude-haiku", Route::Hedge);
        record.attempts = sample().attempts;
        let [slow, won] = record.attempts.as_mut_slice() else { panic!("two attempts") };
        (slow.judge, slow.route, slow.outcome) = (judge("openai-mini"), Route::Primary, ended);
        (won.judge, won.route) = (judge("claude-haiku"), Route::Hedge);
        record
    }

    #[test]
    fn of_verdicts_that_a_hedge_won_a_share_is_shown_to_the_judge_that_lost() {
        let losers = Some(LosersSpec { share: 0.05, per_day: MicroUsd(1) });
        let some = Policy { shadows: Vec::new(), losers, ..policy(0.0) };
        let mut lost = hedged(AttemptOutcome::Cancelled);
        let mut drawn = 0;
        for _ in 0..8_000 {
            lost.id = Uuid::now_v7();
            let asked = wishes(&some, &lost, &[]);
            assert!(asked.is_empty() || told(&asked) == "openai-mini hedge  0.05", "{asked:?}");
            lost.verdict.first_verdict = Some(Decision::Fail);
            assert_eq!(asked, wishes(&some, &lost, &[]), "whatever was said of it");
            drawn += asked.len();
        }
        assert!(drawn.abs_diff(400) < 100, "{drawn}");
    }

    #[test]
    fn only_who_was_still_waited_for_lost_and_only_to_a_hedge_that_won() {
        let losers = Some(LosersSpec { share: 1.0, per_day: MicroUsd(1) });
        let all = Policy { shadows: Vec::new(), losers, ..policy(0.0) };
        let asked = |record: &Record| told(&wishes(&all, record, &[]));
        let lost = hedged(AttemptOutcome::Cancelled);
        assert_eq!(asked(&lost), "openai-mini hedge  1");
        assert_eq!(asked(&hedged(AttemptOutcome::ServerError)), "", "it failed: no race was lost");
        for route in [Route::Probe, Route::SecondOpinion] {
            let mut beside = hedged(AttemptOutcome::Cancelled);
            beside.attempts[0].route = route;
            assert_eq!(asked(&beside), "", "{route:?}: no verdict waited for it");
            let probed = Attempt { judge: judge("mistral-vision"), ..beside.attempts[0].clone() };
            beside.attempts = vec![probed, lost.attempts[0].clone(), lost.attempts[1].clone()];
            assert_eq!(asked(&beside), "openai-mini hedge  1", "{route:?}: who was in the race");
        }
        let mut in_vain = hedged(AttemptOutcome::Cancelled);
        in_vain.route = Some(Route::Primary);
        in_vain.judge = Some(judge("openai-mini"));
        assert_eq!(asked(&in_vain), "", "the verdict is the first judge's");
        let entry = ShadowSpec {
            id: "one".to_owned(),
            judge: "openai-mini".to_owned(),
            sample: 1.0,
            per_day: MicroUsd(1),
        };
        let sampled = Policy { shadows: vec![entry], ..all };
        let drawn = told(&wishes(&sampled, &lost, &[]));
        assert_eq!(drawn, "openai-mini sample one 1", "drawn like any image, and stays that");
    }
}
