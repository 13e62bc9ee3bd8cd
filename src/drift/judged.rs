//! A judged image is one verdict of one judge, as far as the statistics look at it.
//!
//! A judgement that is neither pass nor reject (an error, an unreadable answer) is never made one:
//! it does not come here at all.

use serde::{Deserialize, Serialize};

/// Steps in which the local pre-check's risk is kept: four decimals.
pub const RISK_TICKS: u16 = 10_000;

/// Why this judge was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Route {
    /// First in the policy's order.
    Primary,
    /// Beside a slow one, and faster. Selected on its outcome: rejects are slower to write.
    Hedge,
    /// After a failed one.
    Failover,
    /// To settle a doubtful verdict. Selected on its outcome too.
    SecondOpinion,
    /// Off the serving path: sampled, backfilled, or a diagnostic burst.
    Shadow,
}

impl Route {
    /// Whether its verdict was served: exactly one of every image's is.
    #[must_use]
    pub fn served(self) -> bool {
        match self {
            Self::Primary | Self::Hedge | Self::Failover => true,
            Self::SecondOpinion | Self::Shadow => false,
        }
    }

    /// Whether it says how its judge judges: it was not selected on its outcome.
    #[must_use]
    pub fn evidence(self) -> bool {
        match self {
            Self::Primary | Self::Failover | Self::Shadow => true,
            Self::Hedge | Self::SecondOpinion => false,
        }
    }
}

/// One verdict of one judge.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// The image; see [`image_key`].
    pub image: u64,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// Provider and model.
    pub judge: String,
    /// Policy and version: whatever else changes how a judge is asked is part of it.
    pub config: String,
    /// Why this judge was asked.
    pub route: Route,
    /// Whether the first judgement alone would not pass.
    pub reject: bool,
    /// Risk by the local pre-check, 0 to 1; only its order matters.
    pub risk: f64,
}

impl Judged {
    /// The risk in steps of [`RISK_TICKS`].
    #[must_use]
    pub fn risk_ticks(&self) -> u16 {
        let ticks = (self.risk.clamp(0.0, 1.0) * f64::from(RISK_TICKS)).round();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
        let ticks = ticks as u16;
        ticks
    }
}

/// A number that stands for an image: the head of its name's digest.
#[must_use]
pub fn image_key(name: &str) -> u64 {
    let mut head = [0; 8];
    for (to, from) in head.iter_mut().zip(blake3::hash(name.as_bytes()).as_bytes()) {
        *to = *from;
    }
    u64::from_le_bytes(head)
}

/// An image's own number in [0, 1), which settles ties the same way every time.
#[must_use]
pub fn image_lot(key: u64) -> f64 {
    // the 53 bits that a double holds
    #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
    let bits = (key >> 11) as f64;
    bits / 9_007_199_254_740_992.0
}

/// Names given numbers in the order in which they were first seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Names(Vec<String>);

impl Names {
    /// The number of a name. The 65,536th and later share one: no policy names as many.
    pub fn number(&mut self, name: &str) -> u16 {
        let at = self.0.iter().position(|one| one == name).unwrap_or_else(|| {
            self.0.push(name.to_owned());
            self.0.len() - 1
        });
        u16::try_from(at).unwrap_or(u16::MAX)
    }

    /// The name of a number; empty of one never given.
    #[must_use]
    pub fn name(&self, number: u16) -> &str {
        self.0.get(usize::from(number)).map_or("", String::as_str)
    }
}

/// What the stratum of won hedges has behind the judge's name.
const HEDGES: &str = "#hedge";

/// The stratum of a judge's won hedges, which are not comparable with its other verdicts.
#[must_use]
pub fn hedge_stratum(judge: &str) -> String {
    format!("{judge}{HEDGES}")
}

/// The judge whose stratum it is.
#[must_use]
pub fn stratum_judge(stratum: &str) -> &str {
    stratum.strip_suffix(HEDGES).unwrap_or(stratum)
}

/// Whether a stratum is one of won hedges.
#[must_use]
pub fn is_hedge_stratum(judge: &str) -> bool {
    judge.ends_with(HEDGES)
}
