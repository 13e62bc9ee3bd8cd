//! What is wanted of an image's pixels, by its policy.

use std::collections::BTreeMap;

use crate::domain::Policy;
use crate::domain::policy::{Fallback, RouteSpec};
use crate::imaging::{self, Plan};
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
    goes_by_measurements(policy) || imaging::looks_at_pixels(always, &policy.input.views)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::policy::Landmark;
    use crate::prompt;

    #[test]
    fn a_view_that_is_cut_around_something_needs_a_worker_for_every_image() {
        let mut policy = prompt::tests::policy();
        policy.route.judges = vec!["naive".to_owned()];
        // its only check looks at pixels, but not at those of every image
        assert!(!looks_at_pixels(&policy));
        policy.input.views[0].around = Some(Landmark::Contact);
        assert!(looks_at_pixels(&policy));
        let loaded = LoadedPolicy::compile(policy).unwrap();
        let vars = BTreeMap::from([("background".to_owned(), "transparent".to_owned())]);
        let plan = plan(&loaded, &vars);
        assert!(plan.checks.is_empty() && !plan.measures);
    }
}
