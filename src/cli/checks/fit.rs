//! A fit proposes where each check's line lies between the good pictures and the defects that the
//! check is there for.
//!
//! The rule, the same for every line: beyond the worst good picture by at least a quarter of its
//! value, and further where the nearest defect leaves room, in the middle between the two. The middle is
//! one of ratios: a share of 0.3 lies between 0.1 and 0.9. What should be near 1 is measured by what it
//! lacks, decibels are ratios already, and a value below a step (0.01 of a share, 1 of a count) counts as
//! one step. What is proposed has two digits, so that a policy can have just that number.
//!
//! A defect counts for a line where its manifest expects the check to catch it or the recipe says so,
//! and where it lies beyond the good pictures: one that does not can be caught by no line. A good picture
//! always comes first: a false alarm costs more than a miss, since judges look at the picture as well.

use std::collections::{BTreeMap, BTreeSet};

use crate::cli::checks::recipe::Recipe;
use crate::cli::checks::score::{Good, Limits, Scored, is_fitted};
use crate::domain::Limit;
use crate::domain::policy::CheckSpec;

/// How far past the worst good picture a line lies at least, as a ratio.
const MARGIN: f64 = 1.25;

/// Keys of shares that should be near 1: their second digit is one of what they lack.
const NEAR_ONE: [&str; 2] = ["min_alpha", "min_white"];

/// Decibels that are a ratio of e.
const DECIBELS: f64 = 20.0 * std::f64::consts::LOG10_E;

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
    pub(crate) good: usize,
    /// Defects that lie beyond them.
    pub(crate) defects: usize,
}

impl Proposal {
    /// Whether the policy's line is the one proposed, or one step of its second digit away: codecs
    /// round differently.
    #[must_use]
    pub(crate) fn is_now(&self) -> bool {
        let is_near_one = NEAR_ONE.contains(&self.key);
        let near = |now: f64, fitted: f64| {
            let step = step_of(if is_near_one { 1.0 - fitted } else { fitted });
            (now - fitted).abs() <= step * 1.001
        };
        match (self.now, self.fitted) {
            (Limit::AtLeast(now), Limit::AtLeast(fitted))
            | (Limit::AtMost(now), Limit::AtMost(fitted)) => near(now, fitted),
            (Limit::Between(low, high), Limit::Between(fitted_low, fitted_high)) => {
                near(low, fitted_low) && near(high, fitted_high)
            }
            (Limit::AtLeast(_) | Limit::AtMost(_) | Limit::Between(..), _) => false,
        }
    }
}

/// The values of one line.
#[derive(Clone, Debug)]
struct Seen {
    key: &'static str,
    now: Limit,
    unit: &'static str,
    good: Vec<f64>,
    defects: Vec<f64>,
}

/// Proposes a line for every limit of every check that something was measured for.
#[must_use]
pub(crate) fn fit(scored: &[&Scored], checks: &[CheckSpec], recipe: &Recipe) -> Vec<Proposal> {
    let mut proposals = Vec::new();
    for ((check, line), seen) in seen(scored, checks, recipe) {
        let Some(id) = checks.get(check).map(|check| check.id.as_str()) else { continue };
        let spare = recipe.spare(id);
        let keeps = |end: &str| {
            recipe.keeps(id, seen.key) || recipe.keeps(id, &format!("{}.{end}", seen.key))
        };
        if let Some((fitted, defects)) = seen.fitted(spare, (keeps("low"), keeps("high"))) {
            let good = seen.good.len();
            let Seen { key, now, .. } = seen;
            proposals.push(Proposal { check, line, key, now, fitted, good, defects });
        }
    }
    proposals
}

/// What was measured for every line by the check's place and the line's.
fn seen(
    scored: &[&Scored],
    checks: &[CheckSpec],
    recipe: &Recipe,
) -> BTreeMap<(usize, usize), Seen> {
    let mut all: BTreeMap<(usize, usize), Seen> = BTreeMap::new();
    for one in scored {
        for reading in one.outcome.iter().flatten() {
            let Some(check) = checks.get(reading.check).filter(|check| is_fitted(check)) else {
                continue;
            };
            let is_good = one.entry.is_good();
            let is_shown = one.entry.names(&check.kind)
                || !is_good && recipe.shows(&check.id, &one.entry.label);
            if !(is_shown || is_good && reading.applies) {
                continue;
            }
            for (number, line) in reading.lines.iter().enumerate() {
                let seen = all.entry((reading.check, number)).or_insert(Seen {
                    key: line.key,
                    now: line.limit,
                    unit: line.unit,
                    good: Vec::new(),
                    defects: Vec::new(),
                });
                if is_good { &mut seen.good } else { &mut seen.defects }.extend(line.value);
            }
        }
    }
    all
}

impl Seen {
    /// The line, and how many defects lie beyond the good pictures; `None` where there are not more of
    /// these than may be left out. An end that is kept stays as it is.
    fn fitted(
        &self,
        spare: usize,
        (keeps_low, keeps_high): (bool, bool),
    ) -> Option<(Limit, usize)> {
        let end = |scale: Scale, kept: Option<f64>| match kept {
            Some(kept) => Some((kept, 0)),
            None => self.end(scale, spare),
        };
        let (low, high) =
            (Scale::of(self.key, self.unit, true), Scale::of(self.key, self.unit, false));
        Some(match self.now {
            Limit::AtLeast(now) => {
                let (line, defects) = end(low, keeps_low.then_some(now))?;
                (Limit::AtLeast(line), defects)
            }
            Limit::AtMost(now) => {
                let (line, defects) = end(high, keeps_high.then_some(now))?;
                (Limit::AtMost(line), defects)
            }
            Limit::Between(from, to) => {
                let (first, below) = end(low, keeps_low.then_some(from))?;
                let (last, above) = end(high, keeps_high.then_some(to))?;
                (Limit::Between(first, last), below + above)
            }
        })
    }

    fn end(&self, scale: Scale, spare: usize) -> Option<(f64, usize)> {
        let ranked = |values: &[f64]| {
            let mut all: Vec<f64> = values.iter().map(|value| scale.badness(*value)).collect();
            all.sort_by(f64::total_cmp);
            all
        };
        let good = ranked(&self.good);
        let worst = good.len().checked_sub(spare + 1).and_then(|at| good.get(at)).copied()?;
        let beyond: Vec<f64> =
            ranked(&self.defects).into_iter().filter(|defect| worst < *defect).collect();
        let middle = beyond.first().map(|nearest| f64::midpoint(worst, *nearest));
        let line = middle.unwrap_or(worst).max(worst + MARGIN.ln());
        Some((scale.line(line, worst), beyond.len()))
    }
}

/// How the values of a line become worse.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Scale {
    is_low: bool,
    means: Means,
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Means {
    /// A number of which a ratio can be taken, from this step on.
    Number(f64),
    /// Things counted.
    Count,
    /// A share that should be near 1.
    NearOne,
    /// Decibels.
    Decibels,
}

impl Scale {
    fn of(key: &str, unit: &str, is_low: bool) -> Self {
        let means = match unit {
            "count" | "px" => Means::Count,
            "dB" => Means::Decibels,
            "levels" => Means::Number(0.5),
            "variance" => Means::Number(5.0),
            _ if NEAR_ONE.contains(&key) => Means::NearOne,
            _ => Means::Number(0.01),
        };
        Self { is_low, means }
    }

    /// How bad a value is: the logarithm of a ratio, larger where it is worse.
    fn badness(self, value: f64) -> f64 {
        let up = match self.means {
            Means::Number(_) if self.is_low => value.max(1e-9).ln(),
            Means::Number(step) => value.max(step).ln(),
            Means::Count => value.max(1.0).ln(),
            Means::NearOne => return (1.0 - value).max(0.01).ln(),
            Means::Decibels => value / DECIBELS,
        };
        if self.is_low { -up } else { up }
    }

    /// The value that is as bad as `badness`, of two digits, and past the worst good one.
    fn line(self, badness: f64, worst: f64) -> f64 {
        let up = if self.is_low { -badness } else { badness };
        match self.means {
            Means::Number(_) => rounded(up.exp()),
            Means::Count => up.exp().round().max(worst.exp().round() + 1.0),
            Means::NearOne => 1.0 - rounded(badness.exp()),
            Means::Decibels => rounded(up * DECIBELS),
        }
    }
}

/// One of a value's second digit: 0.01 of 0.35, 1 of 47.
fn step_of(value: f64) -> f64 {
    let size = value.abs().max(f64::MIN_POSITIVE).log10().floor();
    10_f64.powf(size - 1.0)
}

/// A value of two digits.
fn rounded(value: f64) -> f64 {
    let step = step_of(value);
    if 1.0 <= step {
        return (value / step).round() * step;
    }
    // dividing by a whole number gives just the number that the decimal digits stand for
    let steps = (1.0 / step).round();
    (value * steps).round() / steps
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
    /// Of its defects that something is stated of: caught, and stated.
    pub(crate) caught: (usize, usize),
    /// The same with the lines fitted to all sources.
    pub(crate) caught_by_all: (usize, usize),
}

/// For every source: lines fitted without its pictures, good ones and defects, and held to them.
#[must_use]
pub(crate) fn leave_one_out(
    scored: &[Scored],
    checks: &[CheckSpec],
    recipe: &Recipe,
) -> Vec<LeftOut> {
    let all: Vec<&Scored> = scored.iter().collect();
    let whole = limits(&fit(&all, checks, recipe));
    let sources: BTreeSet<&str> = scored.iter().map(|one| one.entry.source.as_str()).collect();
    let each = |source: &&str| {
        let (own, others): (Vec<&Scored>, Vec<&Scored>) =
            scored.iter().partition(|one| one.entry.source == **source);
        let own: Vec<Scored> = own.into_iter().cloned().collect();
        let limits = limits(&fit(&others, checks, recipe));
        LeftOut {
            source: (*source).to_owned(),
            good: Good::of(&own, checks, &limits),
            caught: caught(&own, checks, &limits),
            caught_by_all: caught(&own, checks, &whole),
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

    fn fitted(now: Limit, unit: &'static str, good: &[f64], defects: &[f64]) -> (Limit, usize) {
        spared(now, unit, (good, defects), 0).unwrap()
    }

    fn spared(
        now: Limit,
        unit: &'static str,
        (good, defects): (&[f64], &[f64]),
        spare: usize,
    ) -> Option<(Limit, usize)> {
        let (good, defects) = (good.to_vec(), defects.to_vec());
        let key = if unit == "white" { "min_white" } else { "max" };
        Seen { key, now, unit, good, defects }.fitted(spare, (false, false))
    }

    #[test]
    fn a_line_lies_in_the_middle_between_the_worst_good_picture_and_the_nearest_defect() {
        let most = Limit::AtMost(0.0);
        assert_eq!(fitted(most, "ratio", &[0.02, 0.1], &[0.9, 1.0]), (Limit::AtMost(0.3), 2));
        let least = Limit::AtLeast(0.0);
        assert_eq!(fitted(least, "variance", &[90.0, 500.0], &[10.0]), (Limit::AtLeast(30.0), 1));
        // a defect among the good pictures can be caught by no line
        assert_eq!(fitted(most, "ratio", &[0.1], &[0.05, 0.9]), (Limit::AtMost(0.3), 1));
        let both = Limit::Between(0.0, 1.0);
        let (line, beyond) = fitted(both, "ratio", &[0.2, 0.4], &[0.05, 0.9]);
        assert_eq!((line, beyond), (Limit::Between(0.1, 0.6), 2));
    }

    #[test]
    fn a_line_is_never_nearer_than_a_quarter_to_a_good_picture() {
        let most = Limit::AtMost(0.0);
        assert_eq!(fitted(most, "levels", &[4.0, 8.0], &[]), (Limit::AtMost(10.0), 0));
        assert_eq!(fitted(most, "levels", &[8.0], &[8.2]), (Limit::AtMost(10.0), 1));
        assert_eq!(fitted(Limit::AtLeast(0.0), "levels", &[5.0], &[]), (Limit::AtLeast(4.0), 0));
        assert_eq!(spared(most, "levels", (&[4.0, 8.0], &[]), 1), Some((Limit::AtMost(5.0), 0)));
        assert_eq!(spared(most, "levels", (&[4.0, 8.0], &[]), 2), None);
    }

    #[test]
    fn what_a_ratio_says_nothing_about_has_a_scale_of_its_own() {
        let most = Limit::AtMost(0.0);
        // nothing at all is less than a step
        assert_eq!(fitted(most, "ratio", &[0.0], &[1.0]), (Limit::AtMost(0.1), 1));
        assert_eq!(fitted(most, "count", &[2.0], &[]), (Limit::AtMost(3.0), 0));
        assert_eq!(fitted(most, "count", &[4.0], &[9.0]), (Limit::AtMost(6.0), 1));
        assert_eq!(fitted(most, "dB", &[18.0], &[24.0]), (Limit::AtMost(21.0), 1));
        assert_eq!(fitted(most, "dB", &[18.0], &[19.0]), (Limit::AtMost(20.0), 1));
        let (Limit::AtLeast(line), 1) = fitted(Limit::AtLeast(0.9), "white", &[0.96], &[0.36])
        else {
            panic!("one line")
        };
        assert!((line - 0.84).abs() < 1e-9, "{line}");
    }

    #[test]
    fn a_policy_has_the_line_where_it_differs_by_a_step_of_the_second_digit() {
        let is_now = |now, fitted| {
            let (check, line, key, good, defects) = (0, 0, "max", 1, 1);
            Proposal { check, line, key, now, fitted, good, defects }.is_now()
        };
        assert!(is_now(Limit::AtMost(0.35), Limit::AtMost(0.35)));
        assert!(is_now(Limit::AtMost(0.35), Limit::AtMost(0.36)));
        assert!(!is_now(Limit::AtMost(0.35), Limit::AtMost(0.37)));
        assert!(!is_now(Limit::AtLeast(47.0), Limit::AtLeast(49.0)));
        assert!(!is_now(Limit::Between(0.06, 0.97), Limit::Between(0.06, 0.9)));
    }

    #[test]
    fn two_digits_are_kept() {
        for (value, kept) in [
            (0.128_3, 0.13),
            (47.93, 48.0),
            (0.003_48, 0.003_5),
            (9.231, 9.2),
            (1_234.0, 1_200.0),
            (20.9, 21.0),
        ] {
            assert!((rounded(value) - kept).abs() < 1e-12, "{value}: {}", rounded(value));
        }
    }
}
