//! An offset moves one judge's margins, so that it rejects as often as the judge it stands in for.
//!
//! Judges are not equally strict, and an image is rejected by its smallest margin: the least of score
//! less line over the criteria. Adding one number to every margin of a judge moves that smallest one
//! by as much, so one number sets how often the judge rejects, whatever the number of criteria.
//! Models answer in coarse steps, so many images lie exactly on the line that results; which of them
//! pass is drawn by the image's own lot, and the same image goes the same way every time.
//!
//! What this means for one criterion is decided here. A judge with an offset is held to
//! `pass_at - add` in every criterion: that line stands in answers, the borderline band lies around
//! it, and margins are combined with another judge's after it was added. So a criterion is passed or
//! failed as without an offset, `failed` and `on_fail` speak of criteria as ever, and the image fails
//! exactly when the smallest margin does. Only on the line itself does `passed` follow from the lot
//! and not from the two numbers beside it; one lot goes for all criteria of an image.

use crate::domain::candidate::Digest;
use crate::domain::policy::{Criterion, Policy};

/// Margins are decimal fractions: 0.78 - 0.70 must count as 0.08. They are kept to this step.
pub const STEP: f64 = 1e-9;

/// Steps from one whole number to the next.
const STEPS: f64 = 1e9;

/// What stands in [`Offset::against`] of one that was fitted to people's labels; no judge is called
/// so where one was.
pub const LABELS: &str = "labels";

/// For how many days a fit is taken for true: models and images change.
pub const FRESH_DAYS: i64 = 90;

/// Nearest number of whole [`STEP`]s.
#[must_use]
pub fn stepped(number: f64) -> f64 {
    // divided, so that 0.08 is the double that 0.08 is written as; added, so that no zero is negative
    (number * STEPS).round() / STEPS + 0.0
}

/// A day of the calendar in UTC, counted from 1970-01-01.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day(pub i64);

/// What one judge's margins are moved by, and what that rests on.
#[derive(Clone, Debug, PartialEq)]
pub struct Offset {
    /// Added to each of its margins, -1..=1.
    pub add: f64,
    /// Share of the images then exactly on the line that do not pass, 0..=1.
    pub at_line: f64,
    /// When it was fitted.
    pub fitted: Option<Day>,
    /// Images that both judges judged, or that people labelled.
    pub pairs: Option<u32>,
    /// The judge whose share of rejects it was fitted to, or [`LABELS`].
    pub against: Option<String>,
    /// What judges were asked then: [`Policy::asked`].
    pub asked: Option<Digest>,
}

impl Offset {
    /// `margin` once moved. An image on the line is put a hair's breadth on the side that its `lot`
    /// draws, so that nobody after this need know of lots.
    #[must_use]
    pub fn moved(&self, margin: f64, lot: f64) -> f64 {
        let moved = margin + self.add;
        if STEP / 2.0 <= moved.abs() {
            return moved;
        }
        if lot < self.at_line { -STEP } else { 0.0 }
    }
}

/// Why a judge that was fitted may reject another share than the primary by now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// It was fitted longer ago than a fit holds.
    Old {
        /// Days since.
        days: i64,
    },
    /// It was fitted to a judge that is not asked first any more.
    OtherPrimary {
        /// That judge.
        against: String,
    },
    /// Judges are asked something else now.
    AskedOtherwise,
}

impl Doubt {
    /// The word for programs.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Old { .. } => "old",
            Self::OtherPrimary { .. } => "other_primary",
            Self::AskedOtherwise => "asked_otherwise",
        }
    }
}

/// How a judge came by its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Calibration {
    /// Nothing of its own: it is held to the common lines.
    None,
    /// Somebody set it; nothing says on what it rests.
    ByHand,
    /// It was fitted, and nothing speaks against that.
    Fitted,
    /// It was fitted, and does not hold any more.
    Stale(Vec<Doubt>),
}

impl Calibration {
    /// The word used in answers.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::None => "uncalibrated",
            Self::ByHand => "by_hand",
            Self::Fitted => "calibrated",
            Self::Stale(_) => "stale",
        }
    }
}

impl Policy {
    /// Where pass begins in `criterion` for `judge`, its offset included.
    #[must_use]
    pub fn line(&self, criterion: &Criterion, judge: &str) -> f64 {
        let threshold = criterion.threshold(judge);
        self.route.offset_by_judge.get(judge).map_or(threshold, |one| stepped(threshold - one.add))
    }

    /// The smallest of score less `pass_at` over `scores`, no offset added; `None` where nothing
    /// could be told, or was asked that this policy does not ask.
    #[must_use]
    pub fn smallest_margin<'a>(
        &self,
        judge: &str,
        scores: impl IntoIterator<Item = (&'a str, Option<f64>)>,
    ) -> Option<f64> {
        let mut smallest: Option<f64> = None;
        for (id, score) in scores {
            let criterion = self.criterion(id)?;
            let Some(score) = score else { continue };
            let margin = stepped(score - criterion.threshold(judge));
            smallest = Some(smallest.map_or(margin, |one| one.min(margin)));
        }
        smallest
    }

    /// Whether an image with this smallest margin would not pass by `judge` alone.
    #[must_use]
    pub fn rejects(&self, judge: &str, margin: f64, lot: f64) -> bool {
        let offset = self.route.offset_by_judge.get(judge);
        offset.map_or(margin, |one| one.moved(margin, lot)) < -STEP / 2.0
    }

    /// How `judge` came by its line, as it stands `today`.
    #[must_use]
    pub fn calibration(&self, judge: &str, today: Day) -> Calibration {
        let Some(offset) = self.route.offset_by_judge.get(judge) else {
            let has_line = |one: &Criterion| one.pass_at_by_judge.contains_key(judge);
            let by_hand = self.criteria.iter().any(has_line);
            return if by_hand { Calibration::ByHand } else { Calibration::None };
        };
        let days = offset.fitted.map(|fitted| today.0.saturating_sub(fitted.0));
        let old = days.filter(|days| FRESH_DAYS < *days).map(|days| Doubt::Old { days });
        let primary = self.route.judges.first();
        // people are no judge that another could take the place of
        let against = offset.against.as_ref().filter(|against| *against != LABELS);
        let against = against.filter(|against| Some(*against) != primary);
        let against = against.map(|against| Doubt::OtherPrimary { against: against.clone() });
        let asked = offset.asked.filter(|asked| *asked != self.asked);
        let asked = asked.map(|_| Doubt::AskedOtherwise);
        let doubts: Vec<Doubt> = [old, against, asked].into_iter().flatten().collect();
        match (doubts.is_empty(), offset.fitted) {
            (false, _) => Calibration::Stale(doubts),
            (true, Some(_)) => Calibration::Fitted,
            (true, None) => Calibration::ByHand,
        }
    }

    /// The criteria in which `judge` is held to the common line, each with its place among all; none
    /// where it has an offset, which holds for all of them.
    #[must_use]
    pub fn common_lines(&self, judge: &str) -> Vec<(usize, &str)> {
        if self.route.offset_by_judge.contains_key(judge) {
            return Vec::new();
        }
        let all = self.criteria.iter().enumerate();
        let common = all.filter(|(_, one)| !one.pass_at_by_judge.contains_key(judge));
        common.map(|(place, one)| (place, one.id.as_str())).collect()
    }
}
