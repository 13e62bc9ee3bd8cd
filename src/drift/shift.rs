//! A shift is how far one judge's verdicts moved for comparable images: the Mantel-Haenszel log
//! odds ratio over risk bins, with the variance of Robins, Breslow and Greenland (1986).
//!
//! [`attribute`] asks which story the shifts tell: nothing moved, all moved alike (the images), one
//! judge moved, or each its own way. It decides by BIC, and prefers to say "ambiguous".

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::drift::interval::{Tally, real};

/// Verdicts a judge needs in both windows.
const MIN_VERDICTS: u64 = 30;

/// Difference in BIC below which two stories are told as ambiguous.
const CLEAR_GAP: f64 = 2.0;

/// Verdicts by bin and judge.
pub type Seen = BTreeMap<(u8, String), Tally>;

/// How far one judge moved.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shift {
    /// Common log odds ratio over the bins.
    pub log_odds_ratio: f64,
    /// Its variance.
    pub variance: f64,
    /// The judge in the baseline.
    pub before: Tally,
    /// The judge now.
    pub after: Tally,
}

/// Which story the shifts tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Story {
    /// No judge has enough verdicts.
    Insufficient,
    /// Nothing moved.
    None,
    /// All judges moved alike.
    Common,
    /// One judge moved.
    One(String),
    /// Each moved its own way.
    Separate,
    /// Something moved, and there is only one judge to look at.
    Unattributed,
    /// Two stories are as good as each other.
    Ambiguous,
}

/// The story, and how clear it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attribution {
    /// The best story.
    pub story: Story,
    /// BIC of every story told, by `none`, `common`, `one:JUDGE`, `separate`, `unattributed`.
    pub bic: BTreeMap<String, f64>,
    /// By how much the best story beats the next.
    pub gap: f64,
}

/// The shift of every judge that has enough verdicts in both windows.
#[must_use]
pub fn judge_shifts(before: &Seen, after: &Seen) -> BTreeMap<String, Shift> {
    let judges: BTreeSet<&String> = before.keys().chain(after.keys()).map(|(_, j)| j).collect();
    let shift =
        |judge: &String| judge_shift(judge, before, after).map(|shift| (judge.clone(), shift));
    judges.into_iter().filter_map(shift).collect()
}

fn judge_shift(judge: &String, before: &Seen, after: &Seen) -> Option<Shift> {
    let bins: BTreeSet<u8> = before
        .keys()
        .chain(after.keys())
        .filter(|(_, j)| j == judge)
        .map(|(bin, _)| *bin)
        .collect();
    let mut whole = [Tally::default(); 2];
    let (mut up, mut down) = (0.0, 0.0);
    let (mut up_up, mut crossed, mut down_down) = (0.0, 0.0, 0.0);
    for bin in bins {
        let key = (bin, judge.clone());
        let [t0, t1] = [before, after].map(|seen| seen.get(&key).copied().unwrap_or_default());
        whole[0] += t0;
        whole[1] += t1;
        if t0.n == 0 || t1.n == 0 {
            continue;
        }
        let n = real(t0.n + t1.n);
        let (a, b) = (real(t1.rejects), real(t1.n - t1.rejects));
        let (c, d) = (real(t0.rejects), real(t0.n - t0.rejects));
        let (r, s) = (a * d / n, b * c / n);
        let (p, q) = ((a + d) / n, (b + c) / n);
        up += r;
        down += s;
        up_up += p * r;
        crossed += p * s + q * r;
        down_down += q * s;
    }
    let enough = whole.iter().all(|tally| MIN_VERDICTS <= tally.n);
    if !enough || up <= 0.0 || down <= 0.0 {
        return None;
    }
    let variance =
        up_up / (2.0 * up * up) + crossed / (2.0 * up * down) + down_down / (2.0 * down * down);
    let [before, after] = whole;
    Some(Shift { log_odds_ratio: (up / down).ln(), variance, before, after })
}

/// Compares the stories that the shifts may tell.
#[must_use]
pub fn attribute(shifts: &BTreeMap<String, Shift>) -> Attribution {
    let count = real(shifts.len() as u64);
    let mut stories: Vec<(f64, String, Story)> = Vec::new();
    let mut tell = |name: &str, bic: f64, story| stories.push((bic, name.to_owned(), story));
    if shifts.is_empty() {
        return Attribution { story: Story::Insufficient, bic: BTreeMap::new(), gap: 0.0 };
    }
    let verdicts: u64 = shifts.values().map(|shift| shift.after.n).sum();
    let penalty = real(verdicts.max(3)).ln();
    let alone = |shift: &Shift| shift.log_odds_ratio * shift.log_odds_ratio / shift.variance;
    tell("none", shifts.values().map(alone).sum(), Story::None);
    if shifts.len() == 1 {
        tell("unattributed", penalty, Story::Unattributed);
    } else {
        let weight: f64 = shifts.values().map(|shift| 1.0 / shift.variance).sum();
        let sum: f64 = shifts.values().map(|shift| shift.log_odds_ratio / shift.variance).sum();
        let mean = sum / weight;
        let apart = |shift: &Shift| (shift.log_odds_ratio - mean).powi(2) / shift.variance;
        tell("common", shifts.values().map(apart).sum::<f64>() + penalty, Story::Common);
        for judge in shifts.keys() {
            let others = shifts.iter().filter(|(other, _)| *other != judge);
            let rest: f64 = others.map(|(_, shift)| alone(shift)).sum();
            let bic = rest + penalty + 2.0 * count.ln();
            tell(&format!("one:{judge}"), bic, Story::One(judge.clone()));
        }
        tell("separate", count * penalty, Story::Separate);
    }
    stories.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(&b.1)));
    let bic = stories.iter().map(|(bic, name, _)| (name.clone(), *bic)).collect();
    let mut ranked = stories.into_iter();
    let (best, second) = (ranked.next(), ranked.next());
    let gap = match (&best, &second) {
        (Some((best, ..)), Some((second, ..))) => second - best,
        _ => 0.0,
    };
    let rivals_none = second.is_some_and(|(.., story)| story == Story::None);
    let story = match best.map(|(.., story)| story) {
        Some(Story::None) => Story::None,
        Some(_) if gap < CLEAR_GAP && !rivals_none => Story::Ambiguous,
        Some(story) => story,
        None => Story::Insufficient,
    };
    Attribution { story, bic, gap }
}
