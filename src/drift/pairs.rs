//! A pair is one image judged by two judges. Pairs tell a judge that moved from images that moved:
//! worse images move both, a regression moves one.
//!
//! [`attribute_pairs`] is Wald's sequential test between the two, on the log odds of who rejects
//! alone. Marginal rates cannot decide it: the judges beside the primary see too few images.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::drift::interval::real;

/// Log likelihood ratio at which the test decides: nominally one error in twenty.
pub const DECIDED: f64 = 2.944_438_979_166_440_3;

/// Pairs on which the judges must have disagreed before the test may decide.
pub const MIN_DISCORDANT: u64 = 40;

/// Share of the observed shift that is taken for real: at an alarm it is over-estimated, since the
/// alarm waits for it.
pub const SHRINK: f64 = 0.6;

/// Share of a judge's new rejects that fall on images which the other judge rejects already.
const ALREADY_REJECTED: f64 = 0.5;

/// Pairs of the judge in question with one other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pairs {
    /// Rejected by the judge in question alone.
    pub only_ours: u64,
    /// Rejected by the other alone.
    pub only_other: u64,
    /// All pairs.
    pub n: u64,
}

impl Pairs {
    /// Counts one image that both judged.
    pub fn count(&mut self, ours_rejects: bool, other_rejects: bool) {
        self.n += 1;
        self.only_ours += u64::from(ours_rejects && !other_rejects);
        self.only_other += u64::from(other_rejects && !ours_rejects);
    }
}

/// How one pair of judges moved apart.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Contrast {
    /// Change of the log odds that it is ours who rejects alone.
    pub moved: f64,
    /// Its standard error.
    pub se: f64,
    /// The change expected if ours alone moved.
    pub expected: f64,
}

/// The evidence of the pairs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PairedEvidence {
    /// Log likelihood ratio: positive says that the judge moved alone, negative that all moved.
    pub log_ratio: f64,
    /// Pairs on which the judges disagreed.
    pub discordant: u64,
    /// Evidence by other judge.
    pub contrasts: BTreeMap<String, Contrast>,
}

impl PairedEvidence {
    /// Whether the test may stop.
    #[must_use]
    pub fn decided(&self) -> bool {
        MIN_DISCORDANT <= self.discordant && DECIDED <= self.log_ratio.abs()
    }
}

/// Weighs "ours moved alone by `shift`" against "all moved alike", over the judges that both
/// windows have pairs with.
#[must_use]
pub fn attribute_pairs(
    before: &BTreeMap<String, Pairs>,
    after: &BTreeMap<String, Pairs>,
    shift: f64,
) -> PairedEvidence {
    let mut evidence = PairedEvidence::default();
    for (judge, now) in after {
        let Some(then) = before.get(judge).filter(|then| then.n > 0 && now.n > 0) else { continue };
        let contrast = contrast(*then, *now, shift);
        let Contrast { moved, se, expected } = contrast;
        evidence.discordant += now.only_ours + now.only_other;
        evidence.log_ratio += expected * (2.0 * moved - expected) / (2.0 * se * se);
        evidence.contrasts.insert(judge.clone(), contrast);
    }
    evidence
}

fn contrast(before: Pairs, after: Pairs, shift: f64) -> Contrast {
    let padded = |count: u64| real(count) + 0.5;
    let (b0, c0) = (padded(before.only_ours), padded(before.only_other));
    let (b1, c1) = (padded(after.only_ours), padded(after.only_other));
    let moved = (b1 / c1).ln() - (b0 / c0).ln();
    let se = (1.0 / b1 + 1.0 / c1 + 1.0 / b0 + 1.0 / c0).sqrt();
    let all = real(before.n) + 1.0;
    let (ours, other) = (b0 / all, c0 / all);
    let q = ALREADY_REJECTED;
    // a share must stay a share: at most four fifths of the lone rejects can go
    let (ours_then, other_then) = if shift >= 0.0 {
        (ours + (1.0 - q) * shift, (other - q * shift).max(0.2 * other))
    } else {
        ((ours + q * shift).max(0.2 * ours), other - (1.0 - q) * shift)
    };
    let expected = (ours_then / other_then).ln() - (ours / other).ln();
    Contrast { moved, se, expected }
}
