//! A hearing is the middle of a check alone: the panel is asked about a prepared image and the
//! policy decides. Nothing is admitted, measured or kept.
//!
//! Rehearsals run it on a clock of their own; it is the corridor's own code, so what a policy does
//! in a hearing it does in service.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::Stopwatch;
use crate::domain::{Attempt, Digest, Finding, JudgeId, Route, Verdict};
use crate::gate::policies::ActivePolicy;
use crate::gate::{Case, Gate, Refusal, conclude, millis};
use crate::imaging::Prepared;
use crate::panel::Panel;

/// One image to be heard.
#[derive(Clone, Copy, Debug)]
pub struct Hearing<'a> {
    /// Who can be asked.
    pub panel: &'a Panel,
    /// What holds.
    pub policy: &'a ActivePolicy,
    /// As [`crate::prompt::LoadedPolicy::vars`] returned them.
    pub vars: &'a BTreeMap<String, String>,
    /// The digest of the image's bytes.
    pub image: Digest,
    /// What was made of the image by [`crate::gate::plan`].
    pub prepared: &'a Prepared,
    /// The caller's deadline: it can only shorten the policy's.
    pub asked_deadline: Option<Duration>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    /// What the gate says.
    pub verdict: Verdict,
    /// Who judged, and why that judge was called; with a second opinion the first one.
    pub judge: Option<(JudgeId, Route)>,
    /// Every call, cancelled ones too, in starting order.
    pub attempts: Vec<Attempt>,
    /// Every local check that applied.
    pub findings: Vec<Finding>,
    /// From the start to the verdict.
    pub took: Duration,
}

impl Hearing<'_> {
    /// Asks and decides.
    ///
    /// # Errors
    /// [`Refusal::BelowFloor`]: the caller's deadline is under the policy's floor.
    pub async fn hear(self) -> Result<Heard, Refusal> {
        let Self { panel, policy, vars, image, prepared, asked_deadline } = self;
        let route = &policy.route;
        let budget = asked_deadline.unwrap_or(route.deadline).min(route.deadline);
        if policy.read_time(asked_deadline).is_none() {
            let (left_ms, floor_ms) = (millis(budget), millis(route.floor));
            return Err(Refusal::BelowFloor { left_ms, floor_ms });
        }
        let arrived = Stopwatch::start();
        let came = (arrived, image);
        let case = Case::open(policy, vars.clone(), budget, came, CancellationToken::new());
        let asking = Gate::ask(panel, &case, Some(prepared)).await;
        let verdict = conclude(&case, Some(prepared), &asking);
        Ok(Heard {
            verdict,
            judge: asking.first.map(|(judge, route, _)| (judge, route)),
            attempts: asking.attempts,
            findings: prepared.findings.clone(),
            took: arrived.elapsed(),
        })
    }
}
