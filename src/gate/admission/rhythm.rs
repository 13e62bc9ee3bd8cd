//! A rhythm is how fast something happens again and again: how they come, and how they leave.

use std::time::Duration;

use tokio::time::Instant;

/// More come than are served if the gap between them is less than this share of the other.
const CLEARLY: f64 = 0.9;

/// How fast something happens again and again.
#[derive(Debug)]
pub(super) struct Rhythm {
    weight: f64,
    longest: Duration,
    last: Option<Instant>,
    /// Seconds from one to the next, smoothed; `None`: not known yet.
    gap_s: Option<f64>,
}

impl Rhythm {
    /// Of which the latest gap counts by this weight, and none as more than `longest`.
    pub(super) fn new(weight: f64, longest: Duration) -> Self {
        Self { weight, longest, last: None, gap_s: None }
    }

    /// It happened.
    pub(super) fn one(&mut self, now: Instant) {
        if let Some(last) = self.last {
            let gap = now.saturating_duration_since(last).min(self.longest);
            let gap_s = gap.as_secs_f64();
            let known_s = self.gap_s.unwrap_or(gap_s);
            self.gap_s = Some(known_s + self.weight * (gap_s - known_s));
        }
        self.last = Some(now);
    }

    /// The gap until the next one does not count.
    pub(super) fn pause(&mut self) {
        self.last = None;
    }

    /// Whether that is known, and clearly so.
    pub(super) fn is_faster_than(&self, other: &Self) -> bool {
        self.gap_s.zip(other.gap_s).is_some_and(|(own_s, other_s)| own_s < CLEARLY * other_s)
    }

    /// How many of this happen for one of the other; `None`: not known.
    pub(super) fn per(&self, other: &Self) -> Option<f64> {
        let (own_s, other_s) = self.gap_s.zip(other.gap_s)?;
        (0.0 < own_s).then(|| other_s / own_s)
    }

    /// How long it takes to happen to so many `waiters`.
    pub(super) fn of(&self, waiters: usize) -> Duration {
        let waiters = u32::try_from(waiters).map_or(f64::from(u32::MAX), f64::from);
        let seconds = self.gap_s.unwrap_or_default() * waiters;
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }
}
