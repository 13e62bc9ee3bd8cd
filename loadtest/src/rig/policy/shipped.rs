//! What the shipped policy measures and shows, read from its own file so that a load test never
//! measures another.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::rig::RigError;
use crate::scenario::yaml;

const POLICY: &str = include_str!("../../../../policies/product-photo.yaml");
const KNOWN_BAD: &str = include_str!("../../../../policies/lists/known-bad.txt");
/// Where the policy says that the list lies, from its own folder.
const KNOWN_BAD_PLACE: &str = "lists/known-bad.txt";

/// Its views, as a list that YAML takes too.
pub(super) fn views() -> Result<String, RigError> {
    part("/input/views").map(|views| views.to_string())
}

/// Its checks, as a line of a policy. Each is made of every picture: the rig's pictures say nothing
/// of their background, and what is left out costs nothing.
pub(super) fn checks() -> Result<String, RigError> {
    let mut checks = part("/checks")?;
    for check in checks.as_array_mut().into_iter().flatten() {
        check.as_object_mut().and_then(|check| check.remove("when"));
    }
    Ok(format!("checks: {checks}\n"))
}

/// Lays down beside the policy what its checks look up.
pub(crate) fn write_lists(policies: &Path) -> Result<(), RigError> {
    let place = policies.join(KNOWN_BAD_PLACE);
    let io = || RigError::io(place.display().to_string());
    place.parent().map_or(Ok(()), fs::create_dir_all).map_err(io())?;
    fs::write(&place, KNOWN_BAD).map_err(io())
}

fn part(at: &str) -> Result<Value, RigError> {
    let problem = |why: String| RigError::Usage(format!("policies/product-photo.yaml: {why}"));
    let policy = yaml::read(POLICY).map_err(problem)?;
    policy.pointer(at).cloned().ok_or_else(|| problem(format!("there is no {at}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_policy_s_checks_are_all_taken_and_none_depends_on_a_variable() {
        let checks = checks().unwrap();
        let written = POLICY.matches("type: ").count();
        assert_eq!(checks.matches("\"type\":").count(), written, "{checks}");
        assert!(!checks.contains("vars."), "{checks}");
        assert!(checks.contains(KNOWN_BAD_PLACE), "{checks}");
        assert!(views().unwrap().contains("\"contact\""));
    }
}
