//! A fit proposes each check's line from the good pictures alone: just past the worst of them, with
//! a margin. No defect is looked at, so a line cannot be tuned to the defects at hand; what it
//! catches is measured afterwards.
//!
//! The rule: of the good pictures that a check is made for, leave out as many of the worst as `spare`
//! says for it (a picture may be labelled wrongly); the line lies a quarter beyond the worst that is
//! left. For a lower line that is three quarters of the
//! value, for an upper one five quarters, for a share near 1 a quarter more of what it lacks; and
//! an upper line is at least one step (0.01 of a share, 1 of a count, 0.5 of a level) away.

use std::collections::{BTreeMap, BTreeSet};

use crate::cli::checks::score::{Good, Limits, Scored, is_fitted};
use crate::domain::Limit;
use crate::domain::policy::CheckSpec;

/// How far past the worst good picture a line lies, as a share of its value.
const MARGIN: f64 = 0.25;

/// Good pictures that may break the lines of a check, by the check's id; of others none may.
pub(crate) type Spare = BTreeMap<String, usize>;

/// A line proposed for one limit of one check.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Proposal {
    /// The check's place in the policy.
    pub(crate) check: usize,
    /// The line's place in the check.
    pub(crate) line: usize,
    /// The key of the policy that sets it.
    pub(crate) key: &'static str,
    /// The policy's line.
    pub(crate) now: Limit,
    /// The line proposed.
    pub(crate) fitted: Limit,
    /// Good pictures it was fitted to.
    pub(crate) count: usize,
}

/// Proposes a line for every limit of every check that something was measured for.
#[must_use]
pub(crate) fn fit(scored: &[&Scored], checks: &[CheckSpec], spare: &Spare) -> Vec<Proposal> {
    let mut values: BTreeMap<(usize, usize), Vec<f64>> = BTreeMap::new();
    let mut about: BTreeMap<(usize, usize), (&'static str, Limit, &'static str)> = BTreeMap::new();
    for one in scored.iter().filter(|one| one.entry.is_good()) {
        let Ok(readings) = &one.outcome else { continue };
        for reading in readings.iter().filter(|reading| reading.applies) {
            if !checks.get(reading.check).is_some_and(is_fitted) {
                continue;
            }
            for (number, line) in reading.lines.iter().enumerate() {
                let place = (reading.check, number);
                about.insert(place, (line.key, line.limit, line.unit));
                values.entry(place).or_default().extend(line.value);
            }
        }
    }
    let mut proposals = Vec::new();
    for ((check, line), mut values) in values {
        values.sort_by(f64::total_cmp);
        let Some((key, now, unit)) = about.get(&(check, line)).copied() else { continue };
        let spared = checks.get(check).and_then(|check| spare.get(&check.id)).copied();
        if let Some(fitted) = fitted(&values, now, unit, spared.unwrap_or(0)) {
            proposals.push(Proposal { check, line, key, now, fitted, count: values.len() });
        }
    }
    proposals
}

/// The line for sorted values; `None` where there are not more of them than may be left out.
fn fitted(values: &[f64], now: Limit, unit: &str, spare: usize) -> Option<Limit> {
    let step = match unit {
        "count" | "px" => 1.0,
        "levels" => 0.5,
        "variance" => 5.0,
        _ => 0.01,
    };
    let least = values.get(spare).copied();
    let most = values.len().checked_sub(spare + 1).and_then(|at| values.get(at)).copied();
    let low = least.map(|worst| worst * (1.0 - MARGIN));
    let high = |worst: f64| (worst * (1.0 + MARGIN)).max(worst + step);
    let within = |worst: f64| (worst + (1.0 - worst) * MARGIN).max(worst + step).min(1.0);
    Some(match now {
        // a share that should be near 1 is measured from there
        Limit::AtLeast(line) if unit == "ratio" && 0.9 <= line => {
            let worst = least?;
            Limit::AtLeast((worst - (1.0 - worst) * MARGIN).min(worst - step).max(0.0))
        }
        Limit::AtLeast(_) => Limit::AtLeast(low?),
        Limit::AtMost(_) => Limit::AtMost(high(most?)),
        Limit::Between(_, end) if end <= 1.0 => Limit::Between(low?, within(most?)),
        Limit::Between(..) => Limit::Between(low?, high(most?)),
    })
}

/// The lines of `proposals`, to be used instead of the policy's.
#[must_use]
pub(crate) fn limits(proposals: &[Proposal]) -> Limits {
    proposals.iter().map(|one| ((one.check, one.line), one.fitted)).collect()
}

/// What a fit without one source makes of the pictures of that source.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LeftOut {
    /// The source.
    pub(crate) source: String,
    /// Its good pictures.
    pub(crate) good: Good,
    /// Of all defects that something is stated of, whatever their source: caught, and stated.
    pub(crate) caught: (usize, usize),
}

/// For every source: lines fitted without it, held to its good pictures and to all defects.
#[must_use]
pub(crate) fn leave_one_out(
    scored: &[Scored],
    checks: &[CheckSpec],
    spare: &Spare,
) -> Vec<LeftOut> {
    let good = scored.iter().filter(|one| one.entry.is_good());
    let sources: BTreeSet<&str> = good.map(|one| one.entry.source.as_str()).collect();
    let each = |source: &&str| {
        let others: Vec<&Scored> =
            scored.iter().filter(|one| one.entry.source != **source).collect();
        let limits = limits(&fit(&others, checks, spare));
        let own: Vec<Scored> =
            scored.iter().filter(|one| one.entry.source == **source).cloned().collect();
        LeftOut {
            source: (*source).to_owned(),
            good: Good::of(&own, checks, &limits),
            caught: caught(scored, checks, &limits),
        }
    };
    sources.iter().map(each).collect()
}

/// Of all pictures that something is stated of, how many came true, and how many there are.
#[must_use]
pub(crate) fn caught(scored: &[Scored], checks: &[CheckSpec], limits: &Limits) -> (usize, usize) {
    let stated = scored.iter().filter_map(|one| one.is_caught(checks, limits));
    stated.fold((0, 0), |(hits, all), hit| (hits + usize::from(hit), all + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_lies_a_quarter_past_the_worst_good_picture() {
        let values = [1.0, 4.0, 8.0];
        let fit = |now, unit, spare| fitted(&values, now, unit, spare);
        assert_eq!(fit(Limit::AtLeast(9.0), "variance", 1), Some(Limit::AtLeast(3.0)));
        assert_eq!(fit(Limit::AtMost(9.0), "levels", 0), Some(Limit::AtMost(10.0)));
        assert_eq!(fit(Limit::AtMost(9.0), "levels", 1), Some(Limit::AtMost(5.0)));
        assert_eq!(fit(Limit::AtLeast(9.0), "levels", 0), Some(Limit::AtLeast(0.75)));
        assert_eq!(fit(Limit::AtMost(9.0), "levels", 3), None);
    }

    #[test]
    fn a_share_keeps_a_step_and_stays_a_share() {
        let fit = |values: &[f64], now| fitted(values, now, "ratio", 0).unwrap();
        assert_eq!(fit(&[0.0, 0.0], Limit::AtMost(0.5)), Limit::AtMost(0.01));
        assert_eq!(fit(&[0.96, 1.0], Limit::AtLeast(0.97)), Limit::AtLeast(0.95));
        assert_eq!(fit(&[0.5, 0.6], Limit::Between(0.0, 1.0)), Limit::Between(0.375, 0.7));
    }
}
