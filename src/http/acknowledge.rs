//! `POST /admin/drift:acknowledge`: an operator has seen what drift told, and says how to go on. Role
//! `admin`: what is learnt anew is watched by nothing meanwhile.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, State};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::clock::{Deadline, Timestamp};
use crate::drift::event::Watched;
use crate::drift::standing::Then;
use crate::http::auth::Caller;
use crate::http::drift::watching::{learning_json, watched_json};
use crate::http::problem::{Problem, ProblemKind};
use crate::http::sent::{sent, text};
use crate::http::{Face, RETRY_AFTER};
use crate::ledger::follow::acknowledge::{Done, NotDone, StoredAcknowledgement, Wish};

/// Longest that the store is waited for.
const WITHIN: Duration = Duration::from_secs(10);
/// Longest note, in characters.
const MAX_NOTE: usize = 1_000;

/// An acknowledgement as it is sent.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sent {
    policy: String,
    then: Option<String>,
    note: Option<String>,
}

/// `POST /admin/drift:acknowledge`.
pub(super) async fn post(
    State(face): State<Arc<Face>>,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Result<Json<Value>, Problem> {
    let sent: Sent = sent(body, "acknowledgement").await?;
    let wish = Wish {
        policy: sent.policy,
        then: then(sent.then.as_deref())?,
        by: caller.name.to_string(),
        note: text(sent.note, "/note", MAX_NOTE)?,
    };
    let Some(acknowledging) = &face.acknowledging else {
        tracing::error!("nothing follows the records, so no drift can be acknowledged");
        return Err(Problem::internal());
    };
    let done = acknowledging.acknowledge(wish.clone(), Deadline::after(WITHIN)).await;
    let Done { at, told, stands, learning } = done.map_err(|why| refused(&wish, &why))?;
    let all = |some: &[Watched]| some.iter().map(watched_json).collect::<Vec<_>>();
    Ok(Json(json!({
        "policy": wish.policy,
        "then": wish.then.label(),
        "told": all(&told),
        "stands": all(&stands),
        "learning": learning.map(learning_json),
        "note": wish.note,
        "by": wish.by,
        "at": at.to_string(),
    })))
}

fn then(word: Option<&str>) -> Result<Then, Problem> {
    let Some(word) = word else { return Ok(Then::default()) };
    Then::ALL.into_iter().find(|one| one.label() == word).ok_or_else(|| {
        let known = Then::ALL.map(Then::label).join(", ");
        Problem::bad_field("/then", format!("is {word:?}, expected one of {known}"))
    })
}

fn refused(wish: &Wish, why: &NotDone) -> Problem {
    match why {
        NotDone::Unknown => {
            let detail = format!("there is no verdict under a policy {:?}", wish.policy);
            Problem::new(ProblemKind::UnknownPolicy, detail)
        }
        NotDone::Busy => Problem::overloaded(why.to_string(), RETRY_AFTER),
        NotDone::Closed => Problem::draining(RETRY_AFTER),
        NotDone::Unsure => {
            tracing::warn!(policy = wish.policy, by = wish.by, %why, "acknowledging");
            let detail = "the store did not answer in time: look at `watch.told` of /v1/drift, then \
                          ask again";
            let retry_after = Some(RETRY_AFTER);
            Problem { retry_after, ..Problem::new(ProblemKind::NotConfirmed, detail) }
        }
        NotDone::Broken(_) => {
            tracing::error!(policy = wish.policy, by = wish.by, %why, "acknowledging");
            Problem::internal()
        }
    }
}

/// An acknowledgement in a sentence, and what stands behind it.
pub(super) fn acknowledged(stored: &StoredAcknowledgement) -> (String, Value) {
    let StoredAcknowledgement { then, by, note, told, until_ms } = stored;
    let whom: Vec<_> = told
        .iter()
        .map(|who| match who {
            Watched::Input => "the images".to_owned(),
            Watched::Judge(judge) => judge.clone(),
            Watched::Share => "the routing".to_owned(),
            Watched::Config => "the policy".to_owned(),
        })
        .collect();
    let until = until_ms.map(|ms| Timestamp(ms.saturating_mul(1_000)).to_string());
    let sentence = match then {
        Then::Watch => format!("seen by {by}, watched again: {}", whom.join(", ")),
        Then::Learn => format!("the new normal by {by}, learnt anew"),
    };
    let detail = json!({ "then": then.label(), "by": by, "note": note, "until": until,
        "told": told.iter().map(watched_json).collect::<Vec<_>>() });
    (sentence, detail)
}
