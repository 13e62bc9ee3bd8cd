//! What the follower marks: a revision that was not seen before, and what drift tells.

use crate::clock::Timestamp;
use crate::ledger::follow::StoredEvent;
use crate::ledger::form::RecordForm;
use crate::ledger::marks::{DRIFT, Mark, REVISION};

pub(super) fn revision_mark(form: &RecordForm) -> Mark {
    Mark {
        id: 0,
        kind: REVISION.to_owned(),
        at: form.at,
        until: None,
        policy: Some(form.policy.name.clone()),
        judge: None,
        form: serde_json::json!({ "revision": form.policy.revision.to_string() }).to_string(),
    }
}

/// An event that cannot be written as JSON holds a number that is none: a defect, and logged.
pub(super) fn event_mark(policy: &str, stored: &StoredEvent) -> Option<Mark> {
    let form = serde_json::to_string(stored);
    let form = form.inspect_err(|why| tracing::error!(%why, "a drift event cannot be kept"));
    Some(Mark {
        id: 0,
        kind: DRIFT.to_owned(),
        at: Timestamp(stored.event.at_ms.saturating_mul(1_000)),
        until: None,
        policy: Some(policy.to_owned()),
        judge: None,
        form: form.ok()?,
    })
}
