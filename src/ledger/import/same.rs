//! Whether two records of one id are the same record: all that they say is, but for what each store
//! says of its own, and for what only one of them had to wait for.
//!
//! A record may have been exported while the rest of its early answer was awaited. What a rest brings
//! is then not held against the other.

use serde::Serialize;
use serde_json::Value;

use crate::domain::record::{BLIND_LATE, MISMATCHED_LATE, TRUNCATED_LATE};
use crate::ledger::LedgerError;
use crate::ledger::form::RecordForm;
use crate::ledger::shadows::Shadow;

/// Longest value that is shown.
const MOST_SHOWN_CHARS: usize = 80;

/// The first thing in which two records are not the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Where, as in `attempts[0].judge`.
    pub key: String,
    /// What the one says, as JSON.
    pub is: String,
    /// What the other says.
    pub other: String,
}

/// What `record` says otherwise than `other`; `None`: they are the same.
///
/// # Errors
/// One of them cannot be written as JSON.
pub fn difference(
    record: &RecordForm,
    other: &RecordForm,
) -> Result<Option<Difference>, LedgerError> {
    let lacks_rest = !record.complete || !other.complete;
    let told = |record: &RecordForm| {
        let record = RecordForm { recorded: true, seq: None, ..record.clone() };
        value(&if lacks_rest { without_rest(record) } else { record })
    };
    Ok(differs(String::new(), &told(record)?, &told(other)?))
}

/// The same of what was said behind a verdict.
pub(super) fn shadow_difference(
    shadow: &Shadow,
    other: &Shadow,
) -> Result<Option<Difference>, LedgerError> {
    let told =
        |shadow: &Shadow| value(&Shadow { counted: None, unwatched: false, ..shadow.clone() });
    let under = format!("shadows.{}", shadow.attempt.judge);
    Ok(differs(under, &told(shadow)?, &told(other)?))
}

/// The record without anything that the rest of an early answer brings.
fn without_rest(mut record: RecordForm) -> RecordForm {
    for attempt in &mut record.attempts {
        attempt.input_tokens = None;
        attempt.output_tokens = None;
        attempt.cost_micro_usd = None;
        attempt.request_id = None;
        attempt.detail = None;
        attempt.cached_tokens = None;
        attempt.image_tokens = None;
    }
    for (_, score) in &mut record.scores.0 {
        score.reason = None;
    }
    let late = [BLIND_LATE, MISMATCHED_LATE, TRUNCATED_LATE];
    record.flags.retain(|flag| !late.contains(&flag.as_str()));
    RecordForm { complete: false, cost_micro_usd: None, ..record }
}

fn value(form: &impl Serialize) -> Result<Value, LedgerError> {
    serde_json::to_value(form).map_err(|why| LedgerError::Store(why.to_string()))
}

fn differs(key: String, a: &Value, b: &Value) -> Option<Difference> {
    match (a, b) {
        (Value::Object(fields), Value::Object(others)) if fields.len() == others.len() => {
            let under = |name: &str| {
                if key.is_empty() { name.to_owned() } else { format!("{key}.{name}") }
            };
            fields.iter().find_map(|(name, field)| {
                differs(under(name), field, others.get(name).unwrap_or(&Value::Null))
            })
        }
        (Value::Array(items), Value::Array(others)) if items.len() == others.len() => {
            let mut pairs = items.iter().zip(others).enumerate();
            pairs.find_map(|(at, (item, other))| differs(format!("{key}[{at}]"), item, other))
        }
        _ if a == b => None,
        _ => Some(Difference { key, is: shown(a), other: shown(b) }),
    }
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(MOST_SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Decision;
    use crate::ledger::form::tests::sample;

    fn told(other: &RecordForm) -> Option<(String, String, String)> {
        let record = RecordForm::from(&sample());
        let told = difference(&record, other).unwrap();
        told.map(|one| (one.key, one.is, one.other))
    }

    #[test]
    fn a_record_is_the_same_wherever_it_is_stored_and_another_is_told_by_its_key() {
        let record = RecordForm::from(&sample());
        assert_eq!(told(&RecordForm { seq: Some(7), recorded: true, ..record.clone() }), None);
        let mut other = record.clone();
        other.attempts[0].judge = "somebody".to_owned();
        let (key, _, says) = told(&other).unwrap();
        assert_eq!((key.as_str(), says.as_str()), ("attempts[0].judge", "\"somebody\""));
        other = RecordForm { flags: vec!["simulated".to_owned()], ..record.clone() };
        assert_eq!(told(&other).map(|(key, ..)| key).as_deref(), Some("flags[0]"));
    }

    #[test]
    fn a_record_that_was_exported_before_the_rest_of_its_answer_came_is_the_same() {
        let record = RecordForm::from(&sample());
        assert!(record.complete, "the sample has its rest");
        let mut early = RecordForm { complete: false, cost_micro_usd: None, ..record.clone() };
        early.attempts[0].cost_micro_usd = None;
        early.scores.0[0].1.reason = None;
        assert_eq!(told(&early), None);
        early.verdict =
            if early.verdict == Decision::Fail { Decision::Pass } else { Decision::Fail };
        assert_eq!(told(&early).map(|(key, ..)| key).as_deref(), Some("verdict"));
    }
}
