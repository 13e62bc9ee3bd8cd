//! Which image a call was for: what the providers' logs and the answers tell only together.
//!
//! A log has the digest of the picture that came with a call, and an answer names the call that
//! judged it: from these the digest of every picture is learnt. The pictures are sent over and over,
//! so a call is given to one sending of its picture: to the one whose answer tells of it, else to the
//! last before it that hung up and still had time, else to the last that still had time. A call that
//! no sending had time for has outlived its image, whoever it was for.
//!
//! What rests on it: a picture comes back after 192 others, 4.8 s at 40 a second, so that a call which
//! nobody tells of and which began later than that may be given to the next sending.

use std::collections::HashMap;

use crate::behaviour::Fault;
use crate::evidence::Call;
use crate::evidence::Evidence;
use crate::figures::Measured;
use crate::figures::gates::looked_up;
use crate::quantile::number;
use crate::quantile::share;
use crate::sample::Sample;
use crate::sample::SampleEnd;
use crate::sample::VerdictBody;

/// What a call may go on after the deadline: the network, and this rig's own clock.
const GRACE_S: f64 = 0.1;

/// How far past the deadline the rest of an answer may be read of which the scores left in time.
const REST_PAST_DEADLINE_S: f64 = 0.9;

/// What an answer's account of when a call began may differ from the log's: a picture's way to the
/// gate and on to the provider.
const TOLD_WITHIN_S: f64 = 0.4;

/// What passes between a caller's leaving and the gate's noticing.
const NOTICE_S: f64 = 0.15;

/// Whose call it was.
#[derive(Clone, Copy, Debug)]
enum Owner<'a> {
    Image(&'a Sample),
    /// Nobody had time left when it began.
    Nobody,
    /// The log does not say what picture it carried, or no answer says which that is.
    Unknown,
}

/// The sendings of every picture, by the digest that the providers know it by.
struct Sendings<'a> {
    evidence: &'a Evidence,
    of_picture: HashMap<&'a str, Vec<&'a Sample>>,
}

impl<'a> Sendings<'a> {
    fn of(evidence: &'a Evidence) -> Self {
        let logged = evidence.images_by_call();
        let digest = |one: &Sample| {
            let verdict = one.judged()?;
            let id = verdict.winner()?.request_id.as_deref()?;
            Some((one.image, *logged.get(&(verdict.judge_name(), id))?))
        };
        let digests: HashMap<usize, &str> = evidence.samples.iter().filter_map(digest).collect();
        let mut of_picture: HashMap<&str, Vec<&Sample>> = HashMap::new();
        for sample in &evidence.samples {
            if let Some(digest) = digests.get(&sample.image) {
                of_picture.entry(*digest).or_default().push(sample);
            }
        }
        of_picture.values_mut().for_each(|all| all.sort_by(|a, b| a.sent_s.total_cmp(&b.sent_s)));
        Self { evidence, of_picture }
    }

    fn owner(&self, call: &Call) -> Owner<'a> {
        let all = call.image.as_deref().and_then(|digest| self.of_picture.get(digest));
        let Some(all) = all else { return Owner::Unknown };
        let begun = all.partition_point(|one| one.sent_s <= call.began_s);
        let before = all.iter().take(begun).rev().copied();
        let has_time = |one: &&Sample| call.began_s <= self.judged_by_s(one);
        let with_time: Vec<&Sample> = before.take_while(has_time).collect();
        let teller = with_time.iter().find(|one| tells_of(one, call));
        let leaver = with_time.iter().find(|one| one.end == SampleEnd::HungUp);
        let owner = teller.or(leaver).or(with_time.first());
        owner.map_or(Owner::Nobody, |one| Owner::Image(one))
    }

    /// Until when an image may have calls.
    fn judged_by_s(&self, sample: &Sample) -> f64 {
        let (start_s, end_s) = self.evidence.fault();
        let is_in_fault = start_s <= sample.due_s && sample.due_s < end_s;
        let asked_ms = self.evidence.scenario.callers.deadline_ms.filter(|_| is_in_fault);
        let deadline_ms = asked_ms.unwrap_or(self.evidence.deadline_ms);
        sample.sent_s + number(usize::try_from(deadline_ms).unwrap_or(usize::MAX)) / 1_000.0
    }
}

/// Whether the answer to an image tells of this call.
fn tells_of(sample: &Sample, call: &Call) -> bool {
    let Some(verdict) = &sample.verdict else { return false };
    verdict.attempts.iter().filter(|one| one.judge == call.provider).any(|one| {
        match (&one.request_id, &call.request_id) {
            (Some(told), Some(logged)) if told == logged => true,
            _ => {
                let began_s = sample.sent_s + one.started_ms / 1_000.0;
                one.request_id.is_none() && (began_s - call.began_s).abs() < TOLD_WITHIN_S
            }
        }
    })
}

/// Calls that went on after the deadline of their image, or have no end, or began when it was over.
///
/// Those into a dark provider are left out: it learns that an unread caller has gone only when it reads.
pub(super) fn outlived_deadline(evidence: &Evidence) -> Measured {
    let sendings = Sendings::of(evidence);
    let whole_s = number(usize::try_from(evidence.deadline_ms).unwrap_or(usize::MAX)) / 1_000.0;
    let is_over = |call: &&Call| {
        let judged_by_s = match sendings.owner(call) {
            Owner::Image(sample) => sendings.judged_by_s(sample),
            Owner::Nobody => return true,
            // it may at least not last longer than any image
            Owner::Unknown => call.began_s + whole_s,
        };
        let has_left = call.scored_s.is_some_and(|scored_s| scored_s <= judged_by_s);
        let rest_s = if has_left { REST_PAST_DEADLINE_S } else { 0.0 };
        call.ended_s.is_none_or(|ended_s| judged_by_s + rest_s + GRACE_S < ended_s)
    };
    let is_read = |call: &&Call| call.fault.as_deref() != Some(Fault::Blackhole.label());
    let read: Vec<&Call> = evidence.calls.iter().filter(is_read).collect();
    (Some(number(read.iter().copied().filter(is_over).count())), read.len())
}

/// Calls of images whose caller hung up, with those images.
fn left(evidence: &Evidence) -> Vec<(&Sample, &Call)> {
    let sendings = Sendings::of(evidence);
    let owned = evidence.calls.iter().filter_map(|call| match sendings.owner(call) {
        Owner::Image(sample) if sample.end == SampleEnd::HungUp => Some((sample, call)),
        Owner::Image(_) | Owner::Nobody | Owner::Unknown => None,
    });
    owned.collect()
}

/// Calls begun after their caller had gone, by the logs or by the gate's own records if those say more.
pub(super) fn started_after_hang_up(evidence: &Evidence) -> Measured {
    let left = left(evidence);
    if left.is_empty() {
        return (None, 0);
    }
    let is_late = |(sample, call): &&(&Sample, &Call)| sample.ended_s + NOTICE_S < call.began_s;
    let logged = number(left.iter().filter(is_late).count());
    let (told, _) = looked_up(evidence, "started_after_hang_up");
    (Some(told.unwrap_or_default().max(logged)), left.len())
}

/// Images whose caller left a call under way and that had a call which said its scores all the same.
pub(super) fn ran_on(evidence: &Evidence) -> Measured {
    let mut images: HashMap<u64, bool> = HashMap::new();
    for (sample, call) in left(evidence) {
        let is_under_way = call.began_s <= sample.ended_s
            && call.ended_s.is_none_or(|ended_s| sample.ended_s < ended_s);
        if is_under_way {
            let is_complete = call.scored_s.is_some();
            *images.entry(sample.due_s.to_bits()).or_default() |= is_complete;
        }
    }
    (share(images.values().filter(|is_complete| **is_complete).count(), images.len()), images.len())
}

/// The label of the fault that stops an answer in its middle.
const STALLED: &str = Fault::MidStreamStall { after_scores: 0.0 }.label();

/// What scores may be under way from the provider to the gate, and the verdict on to its caller.
const UNDER_WAY_S: f64 = 0.05;

/// Of calls that stalled when every score was sent to an image that still waited: how many judged it.
///
/// A hedge, or a probe beside the call that it is measured by, may have lost before: its scores came
/// to nobody.
pub(super) fn kept_of_stalled(evidence: &Evidence) -> Measured {
    let sendings = Sendings::of(evidence);
    let stalled = evidence.called_in(evidence.fault());
    let stalled = stalled.filter(|call| call.fault.as_deref() == Some(STALLED));
    let awaited = stalled.filter_map(|call| {
        let Owner::Image(sample) = sendings.owner(call) else { return None };
        let is_awaited = call.scored_s? + UNDER_WAY_S < sample.ended_s;
        // an image that was answered by this very call waited for it, however quick the answer was
        let winner = sample.judged().and_then(VerdictBody::winner);
        let is_kept = winner.is_some_and(|winner| {
            let has_id = winner.request_id.is_some() && winner.request_id == call.request_id;
            has_id && winner.judge == call.provider
        });
        (is_awaited || is_kept).then_some(is_kept)
    });
    let awaited: Vec<bool> = awaited.collect();
    (share(awaited.iter().filter(|is_kept| **is_kept).count(), awaited.len()), awaited.len())
}
