//! What is shown is what stands on the gauges of drift: of each policy what is watched, what was
//! usual, and what its judges rejected in the last hour.
//!
//! The last hour is read from the sums by the minute, so it is what the page says, it goes on
//! through a restart, and it passes where no image comes any more.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::clock::{Stopwatch, Timestamp};
use crate::drift::interval::Tally;
use crate::ledger::LedgerError;
use crate::ledger::figures::Scope;
use crate::ledger::follow::view::View;
use crate::ledger::reader::Reader;
use crate::ledger::rollup::{HOUR_S, MINUTE_S};
use crate::telemetry::drift::{self as gauges, Usual};

/// How often the last hour is read.
pub(super) const READ_EVERY: Duration = Duration::from_secs(10);

/// Fewest verdicts that have a rate.
const MIN_VERDICTS: u64 = 30;

/// Policies and detectors, or policies and judges, that have a value on the gauges.
type Names = BTreeSet<(String, String)>;

/// What stands on the gauges.
#[derive(Debug, Default)]
pub(super) struct Shown {
    detectors: Names,
    judges: Names,
    rated: Names,
    read: Option<Stopwatch>,
}

impl Shown {
    /// Shows how the policies stand. What is not among it any more is watched by nothing and has no
    /// baseline: one is being learnt.
    pub(super) fn show<'a>(&mut self, views: impl Iterator<Item = (&'a String, &'a View)>) {
        let (mut detectors, mut judges) = (Names::new(), Names::new());
        for (policy, view) in views {
            let shown = view.gauges();
            gauges::set(policy, &shown);
            let named = |name: String| (policy.clone(), name);
            detectors.extend(shown.evidence.into_iter().map(|(detector, _)| named(detector)));
            judges.extend(shown.usual.into_keys().map(named));
        }
        for (policy, detector) in self.detectors.difference(&detectors) {
            gauges::set_unwatched(policy, detector);
        }
        for (policy, judge) in self.judges.difference(&judges) {
            gauges::set_usual(policy, judge, Usual::default());
        }
        (self.detectors, self.judges) = (detectors, judges);
    }

    /// Whether the last hour was not read for a while.
    pub(super) fn is_old(&self) -> bool {
        self.read.is_none_or(|read| READ_EVERY <= read.elapsed())
    }

    /// Reads what the judges of `policies` rejected in the last hour, and shows it.
    ///
    /// # Errors
    /// The store cannot be read; what stood there stays.
    pub(super) async fn read_rates(
        &mut self,
        reader: &Reader,
        policies: impl Iterator<Item = &String>,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        // also where it fails: a store in trouble is not asked at every record
        self.read = Some(Stopwatch::start());
        let mut rated = Names::new();
        for policy in policies {
            for (judge, tally) in rejected(reader, policy, now).await? {
                if MIN_VERDICTS <= tally.n {
                    gauges::set_reject(policy, &judge, Some(tally.rate()));
                    rated.insert((policy.clone(), judge));
                }
            }
        }
        for (policy, judge) in self.rated.difference(&rated) {
            gauges::set_reject(policy, judge, None);
        }
        self.rated = rated;
        Ok(())
    }
}

/// Rated verdicts of the last hour and fails among them, by judge: in whole minutes, this one and that
/// of an hour ago among them, as the page's range is.
async fn rejected(
    reader: &Reader,
    policy: &str,
    now: Timestamp,
) -> Result<BTreeMap<String, Tally>, LedgerError> {
    let minute = now.0.div_euclid(MINUTE_S * 1_000_000);
    let until_s = minute.saturating_add(1).saturating_mul(MINUTE_S);
    let scope = Scope {
        policy: Some(policy.to_owned()),
        since_s: until_s.saturating_sub(HOUR_S + MINUTE_S),
        until_s,
        bucket_s: MINUTE_S,
    };
    let mut judges: BTreeMap<String, Tally> = BTreeMap::new();
    for sum in reader.verdict_sums(&scope).await? {
        *judges.entry(sum.judge).or_default() += Tally { n: sum.rated, rejects: sum.rejected };
    }
    judges.retain(|judge, _| !judge.is_empty());
    Ok(judges)
}
