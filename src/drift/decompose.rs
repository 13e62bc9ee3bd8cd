//! A decomposition says what made the reject rate move between two windows: other images, other
//! routing, another policy, or other judging of the same.
//!
//! It is the nested symmetric form of Kitagawa (1955), in the order in which things happen: an
//! image arrives (bin), the router picks a judge given the image, the judge applies a
//! configuration, a verdict follows. It is exact: the four effects sum to the change. Since routing
//! is conditional on the bin, "failover got the hard images" is not blamed on the judge.
//!
//! Standard errors are by the delta method, in forward mode: every quantity carries its derivative
//! with respect to each count of each window.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::drift::interval::{Estimate, Tally, real};

/// Verdicts of a window, by stratum.
pub type Counts = BTreeMap<Cell, Tally>;

/// One stratum: images of one risk bin, seen by one judge under one configuration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cell {
    /// Bin of the local pre-check.
    pub bin: u8,
    /// The judge; the wins of its hedges are a stratum of their own.
    pub judge: String,
    /// Policy and version.
    pub config: String,
}

/// One effect, whole and by contributor.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// The effect.
    pub whole: Estimate,
    /// What each bin (input) or judge (the others) adds to it.
    pub by: BTreeMap<String, Estimate>,
}

/// What made the reject rate move.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decomposition {
    /// Reject rate of the baseline.
    pub rate_before: f64,
    /// Reject rate of the current window.
    pub rate_after: f64,
    /// The change.
    pub total: Estimate,
    /// Other images.
    pub input: Part,
    /// Other judges for the same images.
    pub routing: Part,
    /// Another policy for the same images and judges.
    pub policy: Part,
    /// Other verdicts in the same strata.
    pub within: Part,
    /// What the four effects leave of the change: rounding.
    pub residual: f64,
    /// Share of verdicts in strata that only one window has seen.
    pub borrowed_share: f64,
    /// Share of the current window's verdicts in strata that the baseline has not seen.
    #[serde(default)]
    pub unseen_share: f64,
}

/// The causes of a change, in causal order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Other images.
    Input,
    /// Other routing.
    Routing,
    /// Another policy.
    Policy,
    /// Other judging.
    Within,
}

impl Cause {
    /// Every cause, in causal order.
    pub const ALL: [Self; 4] = [Self::Input, Self::Routing, Self::Policy, Self::Within];

    /// The word used in answers.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Routing => "routing",
            Self::Policy => "policy",
            Self::Within => "within",
        }
    }
}

impl Decomposition {
    /// The effect of one cause.
    #[must_use]
    pub fn part(&self, cause: Cause) -> &Part {
        match cause {
            Cause::Input => &self.input,
            Cause::Routing => &self.routing,
            Cause::Policy => &self.policy,
            Cause::Within => &self.within,
        }
    }
}

/// Decomposes the change from `before` to `after`. `over_dispersion` scales every variance (1 when
/// verdicts are independent). None when a window is empty.
#[must_use]
pub fn decompose(before: &Counts, after: &Counts, over_dispersion: f64) -> Option<Decomposition> {
    let tree = Tree::plant(before, after)?;
    let mut sums = Sums::default();
    let root = tree.nodes.first()?;
    tree.walk(root, &Dual::constant(1.0, tree.types.len()), &mut sums);
    let shown = |dual: &Dual| tree.estimate(dual, over_dispersion);
    let part = |cause: Cause| {
        let by = sums.by.get(&cause).into_iter().flatten();
        let whole = sums.whole.get(&cause).map(&shown).unwrap_or_default();
        Part { whole, by: by.map(|(name, dual)| (name.clone(), shown(dual))).collect() }
    };
    let total = root.rate[1].less(&root.rate[0]);
    let explained: f64 =
        Cause::ALL.iter().filter_map(|cause| sums.whole.get(cause)).map(|dual| dual.value).sum();
    Some(Decomposition {
        rate_before: root.rate[0].value,
        rate_after: root.rate[1].value,
        total: shown(&total),
        input: part(Cause::Input),
        routing: part(Cause::Routing),
        policy: part(Cause::Policy),
        within: part(Cause::Within),
        residual: total.value - explained,
        borrowed_share: tree.borrowed_share,
        unseen_share: tree.unseen_share,
    })
}

/// A value and its derivative with respect to each kind of observation.
#[derive(Clone, Debug)]
struct Dual {
    value: f64,
    slope: Vec<f64>,
}

impl Dual {
    fn constant(value: f64, types: usize) -> Self {
        Self { value, slope: vec![0.0; types] }
    }

    fn with(&self, other: &Self, f: impl Fn(f64, f64) -> f64, value: f64) -> Self {
        let slope = self.slope.iter().zip(&other.slope).map(|(a, b)| f(*a, *b)).collect();
        Self { value, slope }
    }

    fn plus(&self, other: &Self) -> Self {
        self.with(other, |a, b| a + b, self.value + other.value)
    }

    fn less(&self, other: &Self) -> Self {
        self.with(other, |a, b| a - b, self.value - other.value)
    }

    fn times(&self, other: &Self) -> Self {
        let f = |a, b| a * other.value + b * self.value;
        self.with(other, f, self.value * other.value)
    }

    /// Mean of the two windows.
    fn mean(pair: &[Self; 2]) -> Self {
        let [a, b] = pair;
        a.with(b, |a, b| 0.5 * (a + b), 0.5 * (a.value + b.value))
    }
}

/// One kind of observation: a verdict of one stratum in one window, and how often it was seen.
#[derive(Clone, Copy, Debug)]
struct Kind {
    window: usize,
    path: usize,
    reject: bool,
    seen: f64,
}

/// A node of the tree of strata: the paths below it, and what both windows say of it.
#[derive(Debug)]
struct Node {
    key: Key,
    totals: [Tally; 2],
    rate: [Dual; 2],
    mean_rate: Dual,
}

/// A prefix of a stratum: nothing, a bin, a bin and a judge, or all three.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    bin: Option<u8>,
    judge: Option<String>,
    config: Option<String>,
}

impl Key {
    fn prefix(cell: &Cell, depth: usize) -> Self {
        Self {
            bin: (depth > 0).then_some(cell.bin),
            judge: (depth > 1).then(|| cell.judge.clone()),
            config: (depth > 2).then(|| cell.config.clone()),
        }
    }

    fn depth(&self) -> usize {
        let known = [self.bin.is_some(), self.judge.is_some(), self.config.is_some()];
        known.iter().filter(|known| **known).count()
    }

    fn holds(&self, cell: &Cell) -> bool {
        self.bin.is_none_or(|bin| bin == cell.bin)
            && self.judge.as_ref().is_none_or(|judge| *judge == cell.judge)
            && self.config.as_ref().is_none_or(|config| *config == cell.config)
    }

    fn is_child_of(&self, parent: &Self) -> bool {
        self.depth() == parent.depth() + 1
            && (parent.bin.is_none() || parent.bin == self.bin)
            && (parent.judge.is_none() || parent.judge == self.judge)
    }
}

/// Both windows as a tree: root, bins, judges, configurations.
#[derive(Debug)]
struct Tree {
    paths: Vec<Cell>,
    types: Vec<Kind>,
    nodes: Vec<Node>,
    borrowed_share: f64,
    unseen_share: f64,
}

/// The effects as they are summed.
#[derive(Debug, Default)]
struct Sums {
    whole: BTreeMap<Cause, Dual>,
    by: BTreeMap<Cause, BTreeMap<String, Dual>>,
}

impl Sums {
    fn add(&mut self, cause: Cause, name: String, effect: &Dual) {
        let by = self.by.entry(cause).or_default();
        by.entry(name).and_modify(|sum| *sum = sum.plus(effect)).or_insert_with(|| effect.clone());
        let whole = self.whole.entry(cause);
        whole.and_modify(|sum| *sum = sum.plus(effect)).or_insert_with(|| effect.clone());
    }
}

impl Tree {
    fn plant(before: &Counts, after: &Counts) -> Option<Self> {
        let windows = [before, after];
        let seen = |cell: &&Cell| windows.iter().any(|window| tally(window, cell).n > 0);
        let union: BTreeSet<&Cell> = before.keys().chain(after.keys()).filter(seen).collect();
        let paths: Vec<Cell> = union.into_iter().cloned().collect();
        let mut types = Vec::new();
        for (window, counts) in windows.iter().enumerate() {
            for (path, cell) in paths.iter().enumerate() {
                let Tally { n, rejects } = tally(counts, cell);
                for (reject, count) in [(true, rejects), (false, n.saturating_sub(rejects))] {
                    if count > 0 {
                        types.push(Kind { window, path, reject, seen: real(count) });
                    }
                }
            }
        }
        let (borrowed_share, unseen_share) = (0.0, 0.0);
        let mut tree = Self { paths, types, nodes: Vec::new(), borrowed_share, unseen_share };
        let keys: BTreeSet<(usize, Key)> = (0..=3)
            .flat_map(|depth| tree.paths.iter().map(move |cell| (depth, Key::prefix(cell, depth))))
            .collect();
        tree.nodes = keys.into_iter().map(|(_, key)| tree.node(key, windows)).collect();
        let [all_before, all_after] = tree.nodes.first()?.totals;
        if all_before.n == 0 || all_after.n == 0 {
            return None;
        }
        let alone = |node: &&Node| node.key.depth() == 3 && node.totals.iter().any(|t| t.n == 0);
        let [gone, unseen] = tree
            .nodes
            .iter()
            .filter(alone)
            .map(|node| node.totals)
            .fold([0, 0], |[gone, unseen], [before, after]| [gone + before.n, unseen + after.n]);
        tree.borrowed_share = real(gone + unseen) / real(all_before.n + all_after.n);
        tree.unseen_share = real(unseen) / real(all_after.n);
        Some(tree)
    }

    fn node(&self, key: Key, windows: [&Counts; 2]) -> Node {
        let mut totals = [Tally::default(); 2];
        for (total, counts) in totals.iter_mut().zip(windows) {
            for cell in self.paths.iter().filter(|cell| key.holds(cell)) {
                *total += tally(counts, cell);
            }
        }
        let [before, after] = [0, 1].map(|window| self.rate(&key, lender(totals, window)));
        let rate = [before, after];
        let mean_rate = Dual::mean(&rate);
        Node { key, totals, rate, mean_rate }
    }

    /// Reject rate below a node, in a window that has seen it.
    fn rate(&self, key: &Key, (window, total): (usize, Tally)) -> Dual {
        let (value, n) = (total.rate(), real(total.n));
        let slope = |kind: &Kind| {
            let outcome = if kind.reject { 1.0 } else { 0.0 };
            if self.below(kind, window, key) { (outcome - value) / n } else { 0.0 }
        };
        Dual { value, slope: self.types.iter().map(slope).collect() }
    }

    /// Share that `child` has of `parent`, in a window that has seen the parent.
    fn share(&self, parent: &Node, child: &Node, window: usize) -> Dual {
        let (window, total) = lender(parent.totals, window);
        let n = real(total.n);
        let of_child = child.totals.get(window).copied().unwrap_or_default();
        let value = real(of_child.n) / n;
        let slope = |kind: &Kind| {
            let of_parent = if self.below(kind, window, &parent.key) { -value / n } else { 0.0 };
            of_parent + if self.below(kind, window, &child.key) { 1.0 / n } else { 0.0 }
        };
        Dual { value, slope: self.types.iter().map(slope).collect() }
    }

    fn below(&self, kind: &Kind, window: usize, key: &Key) -> bool {
        kind.window == window && self.paths.get(kind.path).is_some_and(|cell| key.holds(cell))
    }

    /// Adds what lies below `node`, whose own mean share of everything is `weight`.
    fn walk(&self, node: &Node, weight: &Dual, sums: &mut Sums) {
        let cause = match node.key.depth() {
            0 => Cause::Input,
            1 => Cause::Routing,
            2 => Cause::Policy,
            _ => {
                let moved = node.rate[1].less(&node.rate[0]);
                let judge = node.key.judge.clone().unwrap_or_default();
                sums.add(Cause::Within, judge, &weight.times(&moved));
                return;
            }
        };
        for child in self.nodes.iter().filter(|child| child.key.is_child_of(&node.key)) {
            let shares = [0, 1].map(|window| self.share(node, child, window));
            // centred on the parent: the shifts of all shares sum to zero, so nothing is added
            let apart = child.mean_rate.less(&node.mean_rate);
            let effect = weight.times(&shares[1].less(&shares[0]).times(&apart));
            let bin = child.key.bin.unwrap_or_default().to_string();
            let name = child.key.judge.clone().unwrap_or(bin);
            sums.add(cause, name, &effect);
            self.walk(child, &weight.times(&Dual::mean(&shares)), sums);
        }
    }

    fn estimate(&self, dual: &Dual, over_dispersion: f64) -> Estimate {
        let terms =
            dual.slope.iter().zip(&self.types).map(|(slope, kind)| kind.seen * slope * slope);
        Estimate { effect: dual.value, se: (over_dispersion * terms.sum::<f64>()).sqrt() }
    }
}

fn tally(counts: &Counts, cell: &Cell) -> Tally {
    counts.get(cell).copied().unwrap_or_default()
}

/// The window that speaks for `window`: itself, or the other where it has seen nothing. Its weight
/// is then zero in the window that borrows, so that the sum stays exact.
fn lender(totals: [Tally; 2], window: usize) -> (usize, Tally) {
    let [before, after] = totals;
    match (window, before.n, after.n) {
        (0, 0, _) => (1, after),
        (0, ..) => (0, before),
        (_, _, 0) => (0, before),
        (..) => (1, after),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_judge_that_is_left_alone_was_told_as_one_that_the_baseline_has_not_seen() {
        let of = |judge: &str, n| {
            let cell = Cell { bin: 0, judge: judge.to_owned(), config: "a".to_owned() };
            (cell, Tally { n, rejects: n / 10 })
        };
        let shares = |before: Counts, after: Counts| {
            let told = decompose(&before, &after, 1.0).unwrap();
            (told.borrowed_share, told.unseen_share)
        };
        let both = || Counts::from([of("mini", 900), of("haiku", 100)]);
        assert_eq!(shares(both(), Counts::from([of("haiku", 1_000)])), (0.45, 0.0));
        assert_eq!(shares(Counts::from([of("haiku", 1_000)]), both()), (0.45, 0.9));
    }
}
