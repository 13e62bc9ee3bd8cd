//! What no record can say although its form would let it: a score of 7, a moment that has not come,
//! a judge that served what nobody judged.
//!
//! A gate writes none of this; a file that somebody made or mended may hold it, and one such line
//! would spoil sums and drift for as long as they are kept.

use std::fmt::Display;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::domain::{AttemptOutcome, Route};
use crate::ledger::form::{AttemptForm, RecordForm, ScoreForm, TimingForm};
use crate::ledger::shadows::Shadow;

/// No gate judged before 2020-01-01.
const EARLIEST: Timestamp = Timestamp(1_577_836_800_000_000);
/// How far the clock of the machine that a record comes from may be ahead of ours.
const AHEAD: Duration = Duration::from_hours(1);
/// No check, and no call, takes longer than a day.
const MOST_MS: u64 = 86_400_000;
/// A million dollars, or so many tokens: more than one image can cost, and sums of it still fit.
const MOST_COUNTED: u64 = 1_000_000_000_000;
/// Longest name of a policy, a judge, a criterion.
const MOST_NAME_BYTES: usize = 256;

/// Whether a gate could have written `record`, by its clock's `now`.
///
/// # Errors
/// The first thing that it could not, as `key: is …, expected …`.
pub fn check_record(record: &RecordForm, now: Timestamp) -> Result<(), String> {
    moment("at", record.at, now)?;
    name("policy.name", &record.policy.name)?;
    served_by(record)?;
    for (criterion, score) in &record.scores.0 {
        name("scores", criterion)?;
        check_score(&format!("scores.{criterion}"), score)?;
    }
    for (place, attempt) in record.attempts.iter().enumerate() {
        check_attempt(&format!("attempts[{place}]."), attempt)?;
    }
    check_timing(&record.timing_ms)?;
    within("deadline_ms", record.deadline_ms, (1, MOST_MS))?;
    maybe_within("cost_micro_usd", record.cost_micro_usd, (0, MOST_COUNTED))?;
    image(record)?;
    within("pre", record.pre, (0.0, 1.0))?;
    probability("propensity", record.propensity)
}

/// Whether a gate could have written `shadow`, by its clock's `now`.
///
/// # Errors
/// As [`check_record`].
pub fn check_shadow(shadow: &Shadow, now: Timestamp) -> Result<(), String> {
    moment("at", shadow.at, now)?;
    probability("propensity", shadow.propensity)?;
    check_attempt("", &shadow.attempt)
}

/// Who judged is told of a judged verdict, and of no other.
fn served_by(record: &RecordForm) -> Result<(), String> {
    let basis = record.basis.label();
    if let Some(judge) = &record.judge {
        name("judge.name", &judge.name)?;
    }
    let told = [("judge", record.judge.is_some()), ("route", record.route.is_some())];
    for (key, is_told) in told {
        match (record.basis.is_judged(), is_told) {
            (true, false) => return Err(format!("{key}: is null, and the basis is {basis}")),
            (false, true) => return Err(format!("{key}: is not null, and the basis is {basis}")),
            (true, true) | (false, false) => {}
        }
    }
    match record.route {
        Some(route @ (Route::SecondOpinion | Route::Shadow)) => Err(format!(
            "route: is \"{}\", expected one of: primary, hedge, failover, probe",
            route.label()
        )),
        // a probe whose answer comes first is the verdict
        Some(Route::Primary | Route::Hedge | Route::Failover | Route::Probe) | None => Ok(()),
    }
}

/// What was not decoded in time has no sides; no judge sees such an image.
fn image(record: &RecordForm) -> Result<(), String> {
    let image = &record.image;
    let is_decoded = record.basis.is_judged() || image.width_px != 0 || image.height_px != 0;
    let sides = (u32::from(is_decoded), u32::MAX);
    within("image.width_px", image.width_px, sides)?;
    within("image.height_px", image.height_px, sides)?;
    within("image.size_bytes", image.size_bytes, (1, MOST_COUNTED))
}

fn check_score(key: &str, score: &ScoreForm) -> Result<(), String> {
    maybe_within(&format!("{key}.score"), score.score, (0.0, 1.0))?;
    // an offset of up to 1 is taken off a line
    within(&format!("{key}.pass_at"), score.pass_at, (-1.0, 2.0))
}

fn check_attempt(under: &str, attempt: &AttemptForm) -> Result<(), String> {
    let key = |key: &str| format!("{under}{key}");
    name(&key("judge"), &attempt.judge)?;
    for (criterion, score) in &attempt.scores.0 {
        name(&key("scores"), criterion)?;
        maybe_within(&key(&format!("scores.{criterion}")), *score, (0.0, 1.0))?;
    }
    if attempt.said.is_some() && attempt.outcome != AttemptOutcome::Judged {
        let outcome = attempt.outcome.label();
        return Err(format!("{}: is not null, and the outcome is {outcome}", key("said")));
    }
    within(&key("started_ms"), attempt.started_ms, (0, MOST_MS))?;
    within(&key("took_ms"), attempt.took_ms, (0, MOST_MS))?;
    let counts = [
        ("input_tokens", attempt.input_tokens),
        ("output_tokens", attempt.output_tokens),
        ("cached_tokens", attempt.cached_tokens),
        ("image_tokens", attempt.image_tokens),
        ("cost_micro_usd", attempt.cost_micro_usd),
    ];
    counts
        .into_iter()
        .try_for_each(|(name, count)| maybe_within(&key(name), count, (0, MOST_COUNTED)))
}

#[expect(clippy::cast_precision_loss, reason = "a day in milliseconds is far below 2^53")]
fn check_timing(timing: &TimingForm) -> Result<(), String> {
    let TimingForm { total, read, decode, checks, prepare, judge, record } = *timing;
    let parts = [
        ("total", total),
        ("read", read),
        ("decode", decode),
        ("checks", checks),
        ("prepare", prepare),
        ("judge", judge),
        ("record", record.unwrap_or_default()),
    ];
    parts
        .into_iter()
        .try_for_each(|(name, ms)| within(&format!("timing_ms.{name}"), ms, (0.0, MOST_MS as f64)))
}

fn moment(key: &str, at: Timestamp, now: Timestamp) -> Result<(), String> {
    if at < EARLIEST {
        return Err(format!("{key}: is {at}, before any gate judged"));
    }
    if at.before(AHEAD) > now {
        return Err(format!("{key}: is {at}, and it is only {now}"));
    }
    Ok(())
}

fn name(key: &str, name: &str) -> Result<(), String> {
    if name.is_empty() || MOST_NAME_BYTES < name.len() {
        return Err(format!("{key}: a name has 1 to {MOST_NAME_BYTES} bytes, not {}", name.len()));
    }
    Ok(())
}

fn probability(key: &str, share: f64) -> Result<(), String> {
    if 0.0 < share && share <= 1.0 {
        return Ok(());
    }
    Err(format!("{key}: is {share}, expected over 0 and at most 1"))
}

fn maybe_within<T: Copy + PartialOrd + Display>(
    key: &str,
    value: Option<T>,
    ends: (T, T),
) -> Result<(), String> {
    value.map_or(Ok(()), |value| within(key, value, ends))
}

fn within<T: Copy + PartialOrd + Display>(
    key: &str,
    value: T,
    (low, high): (T, T),
) -> Result<(), String> {
    if low <= value && value <= high {
        return Ok(());
    }
    Err(format!("{key}: is {value}, expected {low} to {high}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Basis;
    use crate::ledger::form::tests::sample;

    /// What is said of a sound record that `spoil` made unsound.
    fn said(spoil: impl FnOnce(&mut RecordForm)) -> String {
        let mut record = RecordForm::from(&sample());
        let now = Timestamp(record.at.0 + 1_000_000);
        assert_eq!(check_record(&record, now), Ok(()), "it was sound");
        spoil(&mut record);
        check_record(&record, now).unwrap_err()
    }

    #[test]
    fn what_no_gate_could_have_written_is_told_by_its_key() {
        let score = said(|one| one.scores.0[0].1.score = Some(7.0));
        assert!(score.starts_with("scores.") && score.ends_with(".score: is 7, expected 0 to 1"));
        let at = said(|one| one.at = Timestamp::parse("2199-01-01T00:00:00Z").unwrap());
        assert!(at.starts_with("at: is 2199-01-01T00:00:00.000000Z, and it is only "), "{at}");
        let at = said(|one| one.at = Timestamp(0));
        assert!(at.ends_with("before any gate judged"), "{at}");
        let cost = said(|one| one.cost_micro_usd = Some(u64::MAX));
        assert!(cost.starts_with("cost_micro_usd: is 18446744073709551615, expected 0 to"));
        assert_eq!(
            said(|one| one.propensity = 0.0),
            "propensity: is 0, expected over 0 and at most 1"
        );
        assert_eq!(
            said(|one| one.route = Some(Route::Shadow)),
            "route: is \"shadow\", expected one of: primary, hedge, failover, probe"
        );
        assert_eq!(said(|one| one.basis = Basis::Deadline), {
            "judge: is not null, and the basis is deadline"
        });
        assert_eq!(said(|one| one.route = None), "route: is null, and the basis is judge");
        assert_eq!(said(|one| one.pre = 1.5), "pre: is 1.5, expected 0 to 1");
        let took = said(|one| one.attempts[0].took_ms = 1 << 40);
        assert!(took.starts_with("attempts[0].took_ms: is 1099511627776, expected 0 to"), "{took}");
        let unseen = said(|one| one.image.width_px = 0);
        assert_eq!(unseen, "image.width_px: is 0, expected 1 to 4294967295");
    }

    #[test]
    fn a_verdict_by_a_probe_and_one_before_its_image_was_decoded_were_taken_for_made_up() {
        let mut record = sample();
        let now = Timestamp(record.at_us + 1_000_000);
        let served = [Route::Primary, Route::Hedge, Route::Failover, Route::Probe];
        for (basis, route) in Basis::ALL.into_iter().flat_map(|one| served.map(|by| (one, by))) {
            (record.verdict.basis, record.route) = (basis, Some(route));
            assert_eq!(
                check_record(&RecordForm::from(&record), now),
                Ok(()),
                "{basis:?} {route:?}"
            );
            let mut unseen = record.clone();
            (unseen.image.width_px, unseen.image.height_px) = (0, 0);
            let told = check_record(&RecordForm::from(&unseen), now);
            assert_eq!(told.is_ok(), !basis.is_judged(), "{basis:?}: {told:?}");
            unseen.image.height_px = 3;
            let told = check_record(&RecordForm::from(&unseen), now);
            assert!(told.is_err(), "{basis:?}: half a size is none");
        }
    }

    #[test]
    fn a_clock_that_is_a_little_ahead_is_none_of_it() {
        let record = RecordForm::from(&sample());
        let ago = |seconds| record.at.before(Duration::from_secs(seconds));
        assert_eq!(check_record(&record, ago(3_000)), Ok(()));
        assert!(check_record(&record, ago(4_000)).is_err());
    }
}
