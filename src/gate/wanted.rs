//! What is wanted of an image's pixels, by its policy.

use std::collections::BTreeMap;

use crate::domain::Policy;
use crate::domain::policy::{CheckKind, Fallback, RouteSpec};
use crate::imaging::Plan;
use crate::prompt::LoadedPolicy;
use crate::provider::local::LOCAL_JUDGE;

/// What is to be made of an image under a policy with these variables.
#[must_use]
pub fn plan(loaded: &LoadedPolicy, vars: &BTreeMap<String, String>) -> Plan {
    let input = &loaded.policy.input;
    Plan {
        max_pixels: input.max_pixels,
        checks: loaded.checks(vars),
        views: input.views.clone(),
        encode: input.encode,
        measures: goes_by_measurements(&loaded.policy),
    }
}

/// Whether every image under `policy` is decoded, whatever its variables.
pub(super) fn looks_at_pixels(policy: &Policy) -> bool {
    let always = policy.checks.iter().filter(|check| check.when.is_none());
    let mut kinds = always.map(|check| &check.kind);
    goes_by_measurements(policy) || kinds.any(|kind| !matches!(kind, CheckKind::Size { .. }))
}

/// Whether an image may be judged by what is measured of it: the `local` judge may be asked, or the
/// answer without a judge rests on an image that was seen to be one.
fn goes_by_measurements(policy: &Policy) -> bool {
    let RouteSpec { judges, on_deadline, on_no_judge, .. } = &policy.route;
    let second = policy.second_opinion.as_ref();
    let mut asked = judges.iter().chain(second.iter().flat_map(|second| &second.ask));
    let mut fallbacks = [*on_deadline, *on_no_judge].into_iter().chain(second.map(|one| one.split));
    asked.any(|judge| judge == LOCAL_JUDGE) || fallbacks.any(|one| one == Fallback::Local)
}
