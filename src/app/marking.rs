//! The marking of breakers: a stretch during which one was not closed becomes a mark, so that the
//! figures of that time show why traffic went elsewhere.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time;

use crate::clock::Timestamp;
use crate::gate::Gate;
use crate::ledger::LedgerError;
use crate::ledger::marks::{BREAKER, Mark};
use crate::panel::BreakerState;
use crate::panel::JudgeStatus;

/// Between two looks: a stretch shorter than this may go unseen.
const EVERY: Duration = Duration::from_secs(1);

/// Marks stretches as they begin and end. Never returns; drop it to stop.
pub(crate) async fn mark_breakers(gate: Arc<Gate>) {
    // what an earlier process saw begin, it did not see end
    if let Err(why) = gate.ledger.end_marks(BREAKER, Timestamp::now()).await {
        tracing::warn!(%why, "marks of an earlier run stay open");
    }
    let mut open: BTreeMap<String, i64> = BTreeMap::new();
    loop {
        for status in gate.panel.statuses() {
            if let Err(why) = look(&gate, &status, &mut open).await {
                tracing::warn!(%why, judge = status.id.name, "a breaker cannot be marked");
            }
        }
        time::sleep(EVERY).await;
    }
}

/// Begins or ends the mark of one judge.
async fn look(
    gate: &Gate,
    status: &JudgeStatus,
    open: &mut BTreeMap<String, i64>,
) -> Result<(), LedgerError> {
    let (judge, now) = (&status.id.name, Timestamp::now());
    match (status.breaker == BreakerState::Closed, open.get(judge)) {
        (false, None) => {
            let mark = Mark {
                id: 0,
                kind: BREAKER.to_owned(),
                at: now,
                until: None,
                policy: None,
                judge: Some(judge.clone()),
                form: json!({ "from": BreakerState::Closed.label(), "to": status.breaker.label() })
                    .to_string(),
            };
            let id = gate.ledger.mark(mark).await?;
            open.insert(judge.clone(), id);
        }
        (true, Some(id)) => {
            gate.ledger.end_mark(*id, now).await?;
            open.remove(judge);
        }
        (false, Some(_)) | (true, None) => {}
    }
    Ok(())
}
