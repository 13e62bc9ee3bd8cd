//! Marks as they are answered: what happened in a range, drills included.

use serde::Serialize;
use serde_json::{Value, json};

use crate::clock::Timestamp;
use crate::drill::form::DrillForm;
use crate::http::acknowledge::acknowledged;
use crate::http::sentence::event_sentence;
use crate::ledger::LedgerError;
use crate::ledger::drills::DrillRow;
use crate::ledger::figures::Scope;
use crate::ledger::follow::StoredEvent;
use crate::ledger::marks::{ACKNOWLEDGED, BREAKER, DRIFT, MAX_MARKS, Mark, MarkFilter};
use crate::ledger::reader::Reader;

/// Drills that are looked at for a range.
const DRILLS: u32 = 200;

/// One mark.
#[derive(Clone, Debug, Serialize)]
pub(super) struct MarkForm {
    id: Option<i64>,
    kind: String,
    at: String,
    until: Option<String>,
    policy: Option<String>,
    judge: Option<String>,
    text: String,
    detail: Value,
}

/// The newest marks of a range, newest first.
pub(super) async fn marks(reader: &Reader, scope: &Scope) -> Result<Vec<MarkForm>, LedgerError> {
    let moment = |s: i64| Timestamp(s.saturating_mul(1_000_000));
    let (since, until) = (moment(scope.since_s), moment(scope.until_s));
    let filter = MarkFilter {
        policy: scope.policy.clone(),
        since: Some(since),
        until: Some(until),
        ..MarkFilter::default()
    };
    let (marks, drills) = (reader.marks(&filter).await?, reader.drills(DRILLS).await?);
    reader.apart(move || put_together(&marks, drills, (since, until))).await
}

fn put_together(
    marks: &[Mark],
    drills: Vec<DrillRow>,
    (since, until): (Timestamp, Timestamp),
) -> Vec<MarkForm> {
    let mut all: Vec<(i64, MarkForm)> =
        marks.iter().map(|mark| (mark.at.0, MarkForm::of(mark))).collect();
    for row in drills {
        let Ok(drill) = serde_json::from_str::<DrillForm>(&row.form) else { continue };
        let ended = drill.ended;
        let is_over = ended.is_some_and(|at| at < since);
        if row.began < until && !is_over {
            let result = row.result.unwrap_or_else(|| "running".to_owned());
            all.push((
                row.began.0,
                MarkForm {
                    id: None,
                    kind: "drill".to_owned(),
                    at: row.began.to_string(),
                    until: ended.map(|at| at.to_string()),
                    policy: None,
                    judge: Some(row.judge),
                    text: format!("drill {result}"),
                    detail: json!({ "drill": row.id, "result": result }),
                },
            ));
        }
    }
    all.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    all.truncate(MAX_MARKS as usize);
    all.into_iter().map(|(_, mark)| mark).collect()
}

impl MarkForm {
    pub(super) fn of(mark: &Mark) -> Self {
        let (text, detail) = told(mark);
        Self {
            id: Some(mark.id),
            kind: mark.kind.clone(),
            at: mark.at.to_string(),
            until: mark.until.map(|at| at.to_string()),
            policy: mark.policy.clone(),
            judge: mark.judge.clone(),
            text,
            detail,
        }
    }
}

/// What is said of a mark, and what stands behind it. A form that cannot be read says nothing.
fn told(mark: &Mark) -> (String, Value) {
    let form: Value = serde_json::from_str(&mark.form).unwrap_or_default();
    match mark.kind.as_str() {
        DRIFT => match serde_json::from_str::<StoredEvent>(&mark.form) {
            Ok(StoredEvent { event, .. }) => {
                let label = event.label.to_string();
                let severity = event.severity.label();
                let detail = json!({ "event": mark.id, "label": label, "severity": severity });
                (event_sentence(&event), detail)
            }
            Err(_) => (mark.kind.clone(), form),
        },
        ACKNOWLEDGED => match serde_json::from_str(&mark.form) {
            Ok(stored) => acknowledged(&stored),
            Err(_) => (mark.kind.clone(), form),
        },
        BREAKER => {
            let to = form.get("to").and_then(Value::as_str).unwrap_or("not closed");
            (format!("breaker {to}"), form)
        }
        _ => {
            let revision = form.get("revision").and_then(Value::as_str).unwrap_or_default();
            let head: String = revision.chars().take(11).collect();
            (format!("revision {head}"), form)
        }
    }
}
