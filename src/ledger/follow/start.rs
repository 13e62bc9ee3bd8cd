//! A start brings the monitors to where the sums in the store are: from the file that was kept, or
//! else from the last baselines, and what was counted behind them.
//!
//! A monitor carries the settings that it goes by, so what was told under others is folded as it was;
//! only where everything that was counted is known, those of today begin.

use std::collections::BTreeMap;

use crate::clock::{Deadline, Stopwatch, Timestamp};
use crate::drift::event::Event;
use crate::ledger::LedgerError;
use crate::ledger::follow::baselines::KeptBaseline;
use crate::ledger::follow::checkpoint::Checkpoint;
use crate::ledger::follow::stretch::Counted;
use crate::ledger::follow::{End, Following};
use crate::ledger::rollup::Cells;
use crate::ledger::writing::Count;

/// The place of a file that is to be written.
const NEVER: i64 = -1;

/// By policy, the place up to which its records are known already.
type Known = BTreeMap<String, i64>;

impl Following {
    /// Brings the monitors to where sums and events are. Others have the machine for as long as
    /// each step takes.
    pub(super) async fn take_up(&mut self) -> Result<(), End> {
        let known = loop {
            match self.begin().await {
                Ok(known) => break known,
                Err(LedgerError::Closed) => return Err(End::Closed),
                Err(why) => tracing::warn!(%why, "records cannot be followed yet, trying again"),
            }
            self.pause().await?;
        };
        let mut n = known.values().min().copied().unwrap_or(0);
        let mut missed = Vec::new();
        while n < self.followed.n {
            let watch = Stopwatch::start();
            let stretch = self.read(n, self.followed.n).await?;
            let Some(to) = stretch.to else { break };
            n = to.n;
            let mut silent = Cells::default();
            for (n, one) in &stretch.all {
                // what is kept knows what came before it
                if known.get(&one.record().policy.name).is_none_or(|known| known < n) {
                    missed.extend(self.fold_kept((*n, one), &mut silent).1);
                }
            }
            let pause = Deadline::after(watch.elapsed());
            pause.bound(self.means.stop.cancelled()).await.ok();
        }
        let rebudgeted = self.go_on_under_settings();
        let is_rebudgeted = !rebudgeted.is_empty();
        missed.extend(rebudgeted);
        if !missed.is_empty() {
            let to = self.followed;
            self.store(Count { to, baselines: missed, ..Count::default() }).await?;
        }
        if is_rebudgeted {
            self.keep_now();
        }
        self.publish();
        Ok(())
    }

    /// Reads where to go on, and what is known there: of each policy what the file knows, where that
    /// rests on the policy's last kept baseline, or else what that baseline knows.
    async fn begin(&mut self) -> Result<Known, LedgerError> {
        self.followed = self.means.reader.followed().await?;
        self.old_n = self.means.reader.old_n().await?;
        self.revisions = self.means.reader.revisions().await?;
        let mut file = self.read_file();
        let settings = &self.means.settings;
        let mut kept = self.means.reader.kept_baselines(self.followed.n, settings).await?;
        let (mut known, mut is_other) = (Known::new(), false);
        (self.standings, self.baselines) = (BTreeMap::new(), BTreeMap::new());
        for policy in self.means.reader.counted_policies().await? {
            let kept = kept.remove(&policy);
            if let Some(file) = &mut file {
                let rests_on = kept.as_ref().map(|kept| &kept.hash);
                let is_later = kept.as_ref().is_none_or(|kept| kept.n <= file.n);
                if is_later && file.baselines.get(&policy) == rests_on {
                    known.insert(policy.clone(), file.n);
                    self.baselines.extend(rests_on.map(|hash| (policy.clone(), hash.clone())));
                    self.standings.extend(file.standings.remove_entry(&policy));
                    continue;
                }
                is_other = true;
            }
            known.insert(policy.clone(), kept.as_ref().map_or(0, |kept| kept.n));
            if let Some(kept) = kept {
                self.baselines.insert(policy.clone(), kept.hash);
                self.standings.insert(policy, kept.standing);
            }
        }
        self.kept.n = match &file {
            Some(file) if !is_other => file.n,
            // a file that is not there, or not of use, is to be written, be there nothing more to count
            Some(_) | None if !known.is_empty() => NEVER,
            Some(_) | None => 0,
        };
        if is_other {
            tracing::warn!("what was known of drift rests on other baselines and is folded anew");
        }
        Ok(known)
    }

    /// Lets every monitor go by the settings of today. One that watches is kept in the store as it
    /// begins, so that what is known stays a fold over the store: from here on, under these settings.
    fn go_on_under_settings(&mut self) -> Vec<KeptBaseline> {
        let (wanted, days) = (self.means.settings.monitor(), self.means.settings.baseline_days);
        let (n, at) = (self.followed.n, Timestamp(self.followed.at_us));
        let mut all = Vec::new();
        for (policy, standing) in &mut self.standings {
            let before = standing.monitor.settings();
            if before == wanted {
                continue;
            }
            standing.monitor.go_on_under(wanted);
            tracing::info!(
                policy,
                learnt_until_ms = standing.learnt_until_ms,
                false_alarms_before = before.false_alarms_per_30_days,
                false_alarms = wanted.false_alarms_per_30_days,
                burst_images_before = before.burst_images,
                burst_images = wanted.burst_images,
                "what was learnt is kept under other settings; under another number of false alarms \
                 the evidence begins at zero"
            );
            if standing.learnt_until_ms.is_none() {
                continue; // what is being learnt is the same under both
            }
            match KeptBaseline::of((policy, n, at), days, standing) {
                Ok(kept) => {
                    self.baselines.insert(kept.policy.clone(), kept.hash.clone());
                    all.push(kept);
                }
                Err(why) => tracing::error!(policy, %why, "a baseline cannot be kept"),
            }
        }
        all
    }

    /// The state that was kept, if it is one of this store that holds under these settings.
    fn read_file(&self) -> Option<Checkpoint> {
        let file = &self.means.settings.checkpoint;
        let read = Checkpoint::read(file, &self.means.settings).unwrap_or_else(|why| {
            tracing::warn!(file = %file.display(), %why, "what was known of drift is folded anew");
            None
        });
        read.filter(|kept| kept.n <= self.followed.n)
    }

    /// Folds what counts as the `n`th; what it tells, and the baseline that was frozen at it.
    pub(super) fn fold_kept(
        &mut self,
        (n, one): (i64, &Counted),
        cells: &mut Cells,
    ) -> (Vec<Event>, Option<KeptBaseline>) {
        let form = one.record();
        let policy = form.policy.name.as_str();
        let until = |following: &Self| following.standings.get(policy)?.learnt_until_ms;
        let before = until(self);
        let events = self.fold(one, cells);
        let after = until(self);
        if after.is_none() || after == before {
            return (events, None);
        }
        let days = self.means.settings.baseline_days;
        let standing = self.standings.get(policy);
        let kept = standing.map(|one| KeptBaseline::of((policy, n, form.at), days, one));
        let kept = kept.transpose().unwrap_or_else(|why| {
            tracing::error!(policy, %why, "a baseline cannot be kept");
            None
        });
        if let Some(kept) = &kept {
            self.baselines.insert(kept.policy.clone(), kept.hash.clone());
        }
        (events, kept)
    }
}
