//! A summed window is a stretch of time as the roll-ups keep it: first judgements by judge,
//! configuration, route and stretch of risk.
//!
//! [`compare`] makes of any two what the monitor makes of a baseline and what it remembers. Bins
//! are cut by the earlier window's risks, of as many images each as the stretches allow.

use std::collections::BTreeMap;

use crate::drift::baseline;
use crate::drift::decompose::{Cell, Counts};
use crate::drift::interval::{Estimate, Tally};
use crate::drift::judged::{Route, hedge_stratum};
use crate::drift::label::{Reading, Window, pooled, read, separable};
use crate::drift::mix::{MIN_VERDICTS, Rates, Shares, expected_routing};
use crate::drift::shift::Seen;

/// First judgements of one stratum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sum {
    /// The judge.
    pub judge: String,
    /// The configuration.
    pub config: String,
    /// Why it was asked.
    pub route: Route,
    /// Stretch of risk; only its order matters.
    pub risk: u8,
    /// Judgements, and those that would not pass.
    pub tally: Tally,
}

impl Sum {
    /// The judge, or the stratum of its won hedges.
    #[must_use]
    pub fn stratum(&self) -> String {
        match self.route {
            Route::Hedge => hedge_stratum(&self.judge),
            Route::Primary | Route::Failover | Route::SecondOpinion | Route::Shadow => {
                self.judge.clone()
            }
        }
    }
}

/// Two windows side by side.
#[derive(Clone, Debug, PartialEq)]
pub struct Compared {
    /// What moved.
    pub reading: Reading,
    /// Whether there were enough verdicts to tell other images from other judging by bin.
    pub input_separated: bool,
    /// What the mix of judges alone is worth.
    pub expected: Option<Estimate>,
}

/// All judgements served.
#[must_use]
pub fn served(window: &[Sum]) -> Tally {
    let mut whole = Tally::default();
    window.iter().filter(|sum| sum.route.served()).for_each(|sum| whole += sum.tally);
    whole
}

/// Judgements served, by judge, won hedges included.
#[must_use]
pub fn served_by_judge(window: &[Sum]) -> BTreeMap<String, Tally> {
    by_judge(window, Route::served)
}

/// What says how each judge judges, by judge.
#[must_use]
pub fn evidence_by_judge(window: &[Sum]) -> BTreeMap<String, Tally> {
    by_judge(window, Route::evidence)
}

fn by_judge(window: &[Sum], counts: fn(Route) -> bool) -> BTreeMap<String, Tally> {
    let mut judges: BTreeMap<String, Tally> = BTreeMap::new();
    for sum in window.iter().filter(|sum| counts(sum.route)) {
        *judges.entry(sum.judge.clone()).or_default() += sum.tally;
    }
    judges
}

/// What the mix of judges alone is worth in the later window; `None` of fewer than thirty verdicts.
#[must_use]
pub fn expected(before: &[Sum], after: &[Sum]) -> Option<Estimate> {
    let mut rates = Rates::new();
    for sum in before {
        *rates.entry(sum.stratum()).or_default() += sum.tally;
    }
    let shares = |window: &[Sum]| {
        let mut shares = Shares::new();
        for sum in window.iter().filter(|sum| sum.route.served()) {
            *shares.entry(sum.stratum()).or_default() += sum.tally.n;
        }
        shares
    };
    let (then, now) = (shares(before), shares(after));
    let enough = MIN_VERDICTS <= now.values().sum();
    if enough { expected_routing(&rates, &then, &now) } else { None }
}

/// What moved between two windows. None when nothing was served in one of them.
#[must_use]
pub fn compare(before: &[Sum], after: &[Sum], over_dispersion: f64) -> Option<Compared> {
    let edges = edges(before);
    let (served_before, evidence_before) = counts(before, &edges);
    let (served_after, evidence_after) = counts(after, &edges);
    let input_separated = separable(&served_before, &served_after);
    let (then, now) = if input_separated {
        (served_before, served_after)
    } else {
        (pooled(&served_before), pooled(&served_after))
    };
    let then = Window { served: &then, evidence: &evidence_before };
    let now = Window { served: &now, evidence: &evidence_after };
    let reading = read(then, now, over_dispersion)?;
    Some(Compared { reading, input_separated, expected: expected(before, after) })
}

fn edges(window: &[Sum]) -> Vec<u8> {
    let mut by_risk: BTreeMap<u8, u64> = BTreeMap::new();
    for sum in window.iter().filter(|sum| sum.route.served()) {
        *by_risk.entry(sum.risk).or_default() += sum.tally.n;
    }
    baseline::edges(&by_risk)
}

fn counts(window: &[Sum], edges: &[u8]) -> (Counts, Seen) {
    let (mut served, mut evidence) = (Counts::new(), Seen::new());
    for sum in window {
        let bin = edges.iter().filter(|edge| **edge < sum.risk).fold(0, |bin, _| bin + 1);
        if sum.route.evidence() {
            *evidence.entry((bin, sum.judge.clone())).or_default() += sum.tally;
        }
        if sum.route.served() {
            let cell = Cell { bin, judge: sum.stratum(), config: sum.config.clone() };
            *served.entry(cell).or_default() += sum.tally;
        }
    }
    (served, evidence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drift::event::Label;

    fn sum(judge: &str, route: Route, risk: u8, (n, rejects): (u64, u64)) -> Sum {
        let tally = Tally { n, rejects };
        Sum { judge: judge.to_owned(), config: "c".to_owned(), route, risk, tally }
    }

    #[test]
    fn a_failover_to_a_stricter_judge_is_routing_and_no_judge_moved() {
        let before = [
            sum("a", Route::Primary, 3, (60_000, 3_720)),
            sum("b", Route::Failover, 3, (1_000, 133)),
        ];
        let after =
            [sum("a", Route::Primary, 3, (2_486, 154)), sum("b", Route::Failover, 3, (1_786, 238))];
        let compared = compare(&before, &after, 1.0).unwrap();
        assert_eq!(compared.reading.label(), Label::Routing);
        let routing = compared.reading.decomposition.routing.whole.effect;
        let share = 1_786.0 / 4_272.0 - 1_000.0 / 61_000.0;
        assert!((routing - share * (0.133 - 0.062)).abs() < 0.001, "{routing}");
        let expected = compared.expected.unwrap();
        assert!((expected.effect - routing).abs() < 0.001);
    }

    #[test]
    fn bins_are_cut_by_the_earlier_window_and_riskier_images_are_input() {
        let window = |scale: [u64; 5]| -> Vec<Sum> {
            let risks = (0_u8..5).zip(scale);
            let cell = |(risk, n): (u8, u64)| {
                sum("a", Route::Primary, risk * 4, (n, n * (u64::from(risk) + 1) / 20))
            };
            risks.map(cell).collect()
        };
        let compared =
            compare(&window([4_000; 5]), &window([1_000, 1_000, 1_000, 1_000, 6_000]), 1.0);
        let compared = compared.unwrap();
        assert!(compared.input_separated);
        assert_eq!(compared.reading.label(), Label::InputDrift);
        let within = compared.reading.decomposition.within.whole.effect;
        assert!(within.abs() < 1e-12, "{within}");
    }

    #[test]
    fn too_few_verdicts_are_worth_no_guess() {
        let before = [sum("a", Route::Primary, 0, (1_000, 60))];
        assert_eq!(expected(&before, &[sum("a", Route::Primary, 0, (29, 2))]), None);
        assert!(compare(&before, &[], 1.0).is_none());
    }
}
