//! What follows an answer that left at its scores: read on off the caller's path, and appended to
//! the record.
//!
//! It never changes verdict or scores. Who runs it waits for it before the process ends; it takes
//! at most [`READ_FOR`], and little more than the check's own deadline, so that it cannot hold a
//! drain up. Room for it was taken before the answer left; where there was none, what follows is
//! let go, and so is the call.

use std::mem;
use std::time::Duration;

use futures_util::future::join_all;

use crate::clock::Deadline;
use crate::domain::record::{BLIND_LATE, MISMATCHED_LATE, TRUNCATED_LATE};
use crate::domain::{Attempt, Judgement, LateAttempt, Record, Remainder};
use crate::gate::shadow::Offer;
use crate::gate::traffic::Traffic;
use crate::gate::{Asking, Gate};
use crate::ledger::LateSlot;
use crate::panel::rest::{LateKind, LatePart, Rest};
use crate::telemetry::count_verdict;
use crate::telemetry::early::{EarlyResult, count_early, count_late};

/// Longest that the rest of an answer is read.
pub(crate) const READ_FOR: Duration = Duration::from_secs(2);

/// How far past the check's deadline …
const READ_PAST_END: Duration = Duration::from_millis(900);
/// … and of a gate that has been told to stop: what then comes is still to be kept.
const READ_PAST_END_DRAINING: Duration = Duration::from_millis(400);

/// An attempt whose judgement left before its end.
#[derive(Debug)]
pub(super) struct Open {
    /// Its place among the attempts.
    pub(super) at: usize,
    /// What still comes.
    pub(super) rest: Rest,
}

/// What is still to come of one check, and room to keep it.
#[derive(Debug)]
pub struct Late {
    open: Vec<Open>,
    slot: LateSlot,
    /// What is to be asked behind the verdict.
    offer: Option<Offer>,
    /// As it was answered.
    record: Box<Record>,
    until: Deadline,
}

impl Asking {
    /// Notes what still comes of the judgement among the attempts from `asked` on.
    pub(super) fn await_end_of(&mut self, asked: usize, rest: Option<Rest>) {
        let open = self.attempts.iter().skip(asked).position(|one| one.ended_ms.is_none());
        if let (Some(place), Some(rest)) = (open, rest) {
            self.open.push(Open { at: asked + place, rest });
        }
    }

    /// Takes in what has come to a sound end meanwhile: the answer then leaves complete. An end
    /// that is not sound is no news for this verdict, and is marked with the rest.
    pub(super) fn settle_ready(&mut self) {
        for mut open in mem::take(&mut self.open) {
            let attempt = self.attempts.get_mut(open.at);
            let (Some(attempt), Some(part)) = (attempt, open.rest.take_if_sound()) else {
                self.open.push(open);
                continue;
            };
            let firsts = self.first.as_mut().map(|(judge, _, judgement)| (&*judge, judgement));
            let seconds = self.second.as_mut().map(|(judge, judgement)| (&*judge, judgement));
            let judgement = [firsts, seconds].into_iter().flatten();
            let judgement = judgement.filter(|(judge, _)| **judge == attempt.judge);
            settle(attempt, judgement.map(|(_, judgement)| judgement).next(), part);
        }
    }
}

/// An attempt and its judgement with what came after the scores.
fn settle(attempt: &mut Attempt, judgement: Option<&mut Judgement>, part: LatePart) {
    attempt.tokens = part.tokens;
    attempt.cost = part.cost;
    attempt.request_id = part.request_id.or(attempt.request_id.take());
    attempt.ended_ms = Some(part.took.map_or(attempt.took_ms, whole_ms));
    let reasons = part.reasons.unwrap_or_default();
    let scores = judgement.map(|one| &mut one.scores).into_iter().flatten();
    for score in scores.chain(&mut attempt.scores) {
        let reason = reasons.iter().find(|(criterion, _)| *criterion == score.criterion);
        score.reason = reason.map(|(_, reason)| reason.clone());
    }
}

impl Gate {
    /// What still comes of `record`, if anything does and there is room to keep it. `offer` is handed
    /// over once it is known whether its judge saw the image.
    pub(super) fn follow(
        &self,
        record: &Record,
        (open, offer): (Vec<Open>, Option<Offer>),
        ends: Deadline,
    ) -> Option<Late> {
        if open.is_empty() {
            self.hand_over(offer);
            return None;
        }
        let Some(slot) = self.ledger.reserve_late() else {
            let cut = open.into_iter().map(|open| (open.at, open.rest.cut()));
            count(&self.traffic, record, &sum_up(record, cut.collect()));
            return None;
        };
        let is_draining = self.door.is_draining();
        let past_end = if is_draining { READ_PAST_END_DRAINING } else { READ_PAST_END };
        let until = Deadline::at(ends.instant(), past_end).capped(READ_FOR);
        Some(Late { open, slot, offer, record: Box::new(record.clone()), until })
    }

    /// Reads what still comes, appends it to the record and counts it.
    pub async fn finish(&self, late: Late) {
        let Late { open, slot, offer, record, until } = late;
        let reading = open.into_iter().map(|open| async move {
            let Open { at, rest } = open;
            (at, rest.read(until).await)
        });
        let summed = sum_up(&record, join_all(reading).await);
        self.ledger.append_late(slot, &summed.0);
        if !is_blind(&summed) {
            self.hand_over(offer);
        }
        count(&self.traffic, &record, &summed);
    }

    fn hand_over(&self, offer: Option<Offer>) {
        if let Some(offer) = offer {
            self.shadows.hand_over(offer, self.is_pressed());
        }
    }
}

/// What came after the scores, and what is to be counted of it by judge.
type Summed = (Remainder, Vec<(String, EarlyResult)>);

fn sum_up(record: &Record, parts: Vec<(usize, LatePart)>) -> Summed {
    let mut late = Remainder {
        id: record.id,
        attempts: Vec::new(),
        reasons: Vec::new(),
        flags: Vec::new(),
        complete: parts.iter().all(|(_, part)| part.reasons.is_ok()),
    };
    let mut results = Vec::new();
    for (at, part) in parts {
        let Some(attempt) = record.attempts.get(at) else { continue };
        let (faults, detail) = faults(&part);
        for fault in faults {
            late.flags.push(flag(fault).to_owned());
            results.push((attempt.judge.name.clone(), fault));
        }
        if let Some(why) = &detail {
            let judge = attempt.judge.name.as_str();
            tracing::warn!(id = %record.id, judge, why, "what followed an early answer is unsound");
        }
        if record.judge.as_ref() == Some(&attempt.judge) {
            late.reasons = part.reasons.unwrap_or_default();
        }
        late.attempts.push(LateAttempt {
            at,
            ended_ms: part.took.map(whole_ms),
            tokens: part.tokens,
            cost: part.cost,
            request_id: part.request_id,
            detail,
        });
    }
    late.flags.sort_unstable();
    late.flags.dedup();
    (late, results)
}

/// What is wrong with what followed, in words of ours and in words for operators.
fn faults(part: &LatePart) -> (Vec<EarlyResult>, Option<String>) {
    let mut faults = Vec::new();
    let mut detail = None;
    if let Err(fault) = &part.reasons {
        faults.push(match fault.kind {
            LateKind::Truncated => EarlyResult::Truncated,
            LateKind::Mismatched => EarlyResult::Mismatched,
        });
        detail = Some(format!("after the scores: {}", fault.detail));
    }
    if part.blind {
        faults.push(EarlyResult::BlindLate);
        let blind = "the provider's count says that the model never saw the image";
        detail.get_or_insert_with(|| format!("after the scores: {blind}"));
    }
    (faults, detail)
}

/// The flag of a record that ended so.
fn flag(fault: EarlyResult) -> &'static str {
    match fault {
        EarlyResult::BlindLate => BLIND_LATE,
        EarlyResult::Mismatched => MISMATCHED_LATE,
        EarlyResult::Truncated | EarlyResult::Early | EarlyResult::Waited => TRUNCATED_LATE,
    }
}

/// Counts what waited for the end. A verdict of a judge that was blind is in no rate.
fn count(traffic: &Traffic, record: &Record, summed: &Summed) {
    let (late, results) = summed;
    for (judge, result) in results {
        count_early(judge, *result);
    }
    for one in &late.attempts {
        if let Some(attempt) = record.attempts.get(one.at) {
            count_late(&attempt.judge.name, one);
        }
    }
    if !is_blind(summed) {
        count_verdict(record);
        traffic.observe(record);
    }
}

/// Whether a judge turned out to be blind.
fn is_blind((_, results): &Summed) -> bool {
    results.iter().any(|(_, result)| *result == EarlyResult::BlindLate)
}

fn whole_ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    use futures_util::FutureExt;
    use metrics_exporter_prometheus::PrometheusBuilder;

    use crate::domain::{AttemptOutcome, Basis, JudgeId, MicroUsd, Route, Score};
    use crate::ledger::form::tests::sample;
    use crate::telemetry;

    fn judge(name: &str) -> JudgeId {
        JudgeId { name: name.to_owned(), provider: "p".to_owned(), model: "m".to_owned() }
    }

    fn scores() -> Vec<Score> {
        vec![Score { criterion: "cutout".to_owned(), score: Some(0.9), reason: None }]
    }

    fn attempt(name: &str) -> Attempt {
        Attempt {
            judge: judge(name),
            route: Route::Primary,
            outcome: AttemptOutcome::Judged,
            said: None,
            scores: scores(),
            started_ms: 0,
            took_ms: 300,
            ended_ms: None,
            tokens: None,
            cost: MicroUsd(100),
            request_id: None,
            detail: None,
        }
    }

    fn rest(blind: bool, is_there: bool) -> Rest {
        let part = LatePart {
            reasons: Ok(vec![("cutout".to_owned(), "clean".to_owned())]),
            tokens: None,
            cost: MicroUsd(90),
            request_id: Some("req".to_owned()),
            blind,
            took: Some(Duration::from_millis(800)),
        };
        let reading = async move {
            if !is_there {
                std::future::pending::<()>().await;
            }
            part
        };
        Rest::new(MicroUsd(100), reading.boxed())
    }

    /// What two judges said early, the first with `rest`, the second not over yet.
    fn asking(first: Rest) -> Asking {
        let judgement = || Judgement { scores: scores() };
        let mut asking = Asking {
            attempts: vec![attempt("a")],
            first: Some((judge("a"), Route::Primary, judgement())),
            second: Some((judge("b"), judgement())),
            ..Asking::default()
        };
        asking.await_end_of(0, Some(first));
        asking.attempts.push(attempt("b"));
        asking.await_end_of(1, Some(rest(false, false)));
        asking.settle_ready();
        asking
    }

    #[test]
    fn what_is_there_before_the_answer_leaves_goes_with_it() {
        let asking = asking(rest(false, true));
        assert_eq!(asking.open.iter().map(|one| one.at).collect::<Vec<_>>(), [1]);
        let (_, _, judgement) = asking.first.unwrap();
        assert_eq!(judgement.scores[0].reason.as_deref(), Some("clean"));
        let (_, judgement) = asking.second.unwrap();
        assert_eq!(judgement.scores[0].reason, None, "the other judge's words are not its own");
        let [first, second] = asking.attempts.as_slice() else { panic!("two attempts") };
        assert_eq!((first.ended_ms, first.cost), (Some(800), MicroUsd(90)));
        assert_eq!((second.ended_ms, second.cost), (None, MicroUsd(100)));
    }

    /// What is counted of a check whose two judges agreed early, where the first turns out `blind`:
    /// second opinions, and images and verdicts in a drill.
    fn counted(blind: bool) -> (bool, u64, u64) {
        let mut record = Record { complete: false, ..sample() };
        record.verdict.basis = Basis::SecondOpinion;
        let traffic = Traffic::default();
        let watching = traffic.watch([record.policy.name.clone()].into());
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            telemetry::count_check(&record);
            let before = recorder.handle().render();
            assert!(!before.contains("vlmgate_second_opinions_total"), "not known yet: {before}");
            let part = LatePart {
                reasons: Ok(Vec::new()),
                tokens: None,
                cost: MicroUsd(90),
                request_id: None,
                blind,
                took: None,
            };
            count(&traffic, &record, &sum_up(&record, vec![(1, part)]));
        });
        let seen = watching.look();
        let is_counted = recorder.handle().render().contains("vlmgate_second_opinions_total{");
        (is_counted, seen.clear.images, seen.clear.judged())
    }

    #[test]
    fn a_verdict_found_blind_is_in_no_rate() {
        assert_eq!(counted(false), (true, 1, 1));
        assert_eq!(counted(true), (false, 0, 0));
    }

    #[test]
    fn what_is_unsound_is_kept_for_the_record() {
        let asking = asking(rest(true, true));
        assert_eq!(asking.open.len(), 2);
        let (_, _, judgement) = asking.first.unwrap();
        assert_eq!(judgement.scores[0].reason, None);
    }
}
