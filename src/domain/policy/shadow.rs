//! Who is shown images behind their verdicts: a share of them, for some money.

use crate::domain::money::MicroUsd;

/// A judge that is shown some images behind their verdicts, to learn how it judges.
#[derive(Clone, Debug, PartialEq)]
pub struct ShadowSpec {
    /// Its name in stored judgements.
    pub id: String,
    /// Who is asked.
    pub judge: String,
    /// The share of judged images, over 0 and at most 1.
    pub sample: f64,
    /// Most that it may cost in one day (UTC).
    pub per_day: MicroUsd,
}

/// Asking judges that lost a hedge about the image, behind the verdict that was won.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LosersSpec {
    /// The share of verdicts won by a hedge, over 0 and at most 1.
    pub share: f64,
    /// Most that it may cost in one day (UTC).
    pub per_day: MicroUsd,
}

/// Showing the first judge of the route what others judged while it was away.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BackfillSpec {
    /// The least share of those images, over 0 and at most 1; of few images more are shown.
    pub share: f64,
    /// Most that it may cost in one day (UTC).
    pub per_day: MicroUsd,
}
