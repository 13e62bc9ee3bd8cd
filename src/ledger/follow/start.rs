//! A start brings the monitors to where the sums in the store are: from the file that was kept, or
//! else from the last baselines, and what was counted behind them.

use crate::clock::{Deadline, Stopwatch};
use crate::drift::event::Event;
use crate::ledger::LedgerError;
use crate::ledger::follow::baselines::{Kept, KeptBaseline};
use crate::ledger::follow::checkpoint::Checkpoint;
use crate::ledger::follow::stretch::Counted;
use crate::ledger::follow::{End, Following};
use crate::ledger::rollup::Cells;
use crate::ledger::writing::Count;

impl Following {
    /// Brings the monitors to where sums and events are. Others have the machine for as long as
    /// each step takes.
    pub(super) async fn take_up(&mut self) -> Result<(), End> {
        let kept = loop {
            match self.begin().await {
                Ok(kept) => break kept,
                Err(LedgerError::Closed) => return Err(End::Closed),
                Err(why) => tracing::warn!(%why, "records cannot be followed yet, trying again"),
            }
            self.pause().await?;
        };
        let (mut n, mut missed) = (self.kept.n, Vec::new());
        while n < self.followed.n {
            let watch = Stopwatch::start();
            let stretch = self.read(n, self.followed.n).await?;
            let Some(to) = stretch.to else { break };
            n = to.n;
            let mut silent = Cells::default();
            for (n, one) in &stretch.all {
                // a kept baseline knows what came before it
                let known = kept.n(&one.record().policy.name);
                if known.is_none_or(|known| known < *n) {
                    missed.extend(self.fold_kept((*n, one), &mut silent).1);
                }
            }
            let pause = Deadline::after(watch.elapsed());
            pause.bound(self.means.stop.cancelled()).await.ok();
        }
        if !missed.is_empty() {
            let to = self.followed;
            self.store(Count { to, baselines: missed, ..Count::default() }).await?;
        }
        self.publish();
        Ok(())
    }

    /// Reads where to go on, and what is known there; the baselines that it knows more by than the
    /// records behind them, none where the file knows everything.
    async fn begin(&mut self) -> Result<Kept, LedgerError> {
        self.followed = self.means.reader.followed().await?;
        self.old_n = self.means.reader.old_n().await?;
        self.revisions = self.means.reader.revisions().await?;
        if let Some(file) = self.read_file() {
            if self.means.reader.holds_baselines(file.n, &file.baselines).await? {
                self.standings = file.standings;
                self.baselines = file.baselines;
                self.kept.n = file.n;
                return Ok(Kept::default());
            }
            tracing::warn!("what was known of drift rests on other baselines and is folded anew");
        }
        let kept = self.means.reader.kept_baselines(self.followed.n, &self.means.settings).await?;
        self.standings = kept.standings();
        self.baselines = kept.hashes();
        let policies = self.means.reader.counted_policies().await?;
        let known = policies.iter().map(|policy| kept.n(policy).unwrap_or(0));
        self.kept.n = known.min().unwrap_or(0);
        Ok(kept)
    }

    /// The state that was kept, if it is one of this store under these settings.
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
        let kept = self
            .standings
            .get(policy)
            .map(|standing| KeptBaseline::of((policy, n, form.at), &self.means.settings, standing));
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
