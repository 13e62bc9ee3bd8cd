//! Evidence is the images on which a judge may be calibrated to the primary, and how many may not be
//! used, and why.
//!
//! An offset is to hold for all images, so the images it rests on must not be chosen by what a judge
//! said of them. A second opinion is asked for because the first score was near its line: among those
//! images judges differ most, and a line fitted there is no line for the rest. A hedge starts because
//! the primary is slow, and rejects, which give reasons, are slower; then the faster answer wins. Both
//! stay out; where a policy draws its second opinions by `sample` alone they may be let in. What was
//! asked because a detector had alarmed stays out too: one of the judges was perhaps not itself. A
//! probe and a failover come when a judge was ill, which no image is to blame for; what is made up for
//! after a failover counts like a sample, for those are the images that the offset is for.
//!
//! Scores compare only where the same was asked of the same model. A record names what decided its
//! judging by a digest, which lines are a part of; so images count that were judged under the lines
//! of today, with today's offsets or with none. An image that came twice counts once, the last time.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use crate::app::AppError;
use crate::clock::Timestamp;
use crate::config::Config;
use crate::config::revision::judging_without_offsets;
use crate::domain::{Digest, JudgeId, Policy, Route};
use crate::drift::fit::Pair;
use crate::ledger::pairs::{Judgements, Saying};
use crate::panel::Judge;
use crate::provider::local::LocalJudge;
use crate::provider::profile::Profile;

/// Most pairs of one judge, the newest: bounds memory, and a line rests on no more than it needs.
pub(super) const MOST_PAIRS: usize = 200_000;

/// What shadows are stored with that no judgement is the reason for.
const UNSELECTED: [&str; 2] = ["sample", "backfill"];
/// What a burst's shadows are stored with.
const BURST: &str = "burst";
/// What is stored of one that lost a hedge.
const LOST: &str = "hedge";

/// Why an image that both judges judged is no pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum LeftOut {
    SecondOpinion,
    Hedge,
    Burst,
    OtherReason,
    OtherConfiguration,
    SeenAgain,
    Unscored,
}

impl LeftOut {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::SecondOpinion => "second_opinion",
            Self::Hedge => "hedge",
            Self::Burst => "burst",
            Self::OtherReason => "other_reason",
            Self::OtherConfiguration => "other_configuration",
            Self::SeenAgain => "seen_again",
            Self::Unscored => "unscored",
        }
    }

    /// The reason, behind a number.
    pub(super) fn told(self) -> &'static str {
        match self {
            Self::SecondOpinion => "judged twice because the first was in doubt",
            Self::Hedge => "judged twice because the first was slow",
            Self::Burst => "judged twice because of an alarm",
            Self::OtherReason => "judged twice for a reason that is not known here",
            Self::OtherConfiguration => "judged under other questions, lines or models",
            Self::SeenAgain => "of an image that came again",
            Self::Unscored => "without a score",
        }
    }
}

/// One pair, and whose record it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counted {
    pub(super) id: Uuid,
    pub(super) at: Timestamp,
    pub(super) primary_margin: f64,
    pub(super) pair: Pair,
}

/// What there is of one judge.
#[derive(Debug, Default)]
pub(super) struct Collected {
    /// Newest first.
    pub(super) pairs: Vec<Counted>,
    /// Pairs by why the second judge was asked.
    pub(super) sources: BTreeMap<String, u64>,
    pub(super) left_out: BTreeMap<LeftOut, u64>,
    seen: BTreeSet<Digest>,
}

impl Collected {
    /// The same for the same pairs and scores, in whatever order they were read.
    pub(super) fn digest(&self) -> Digest {
        let line =
            |one: &Counted| format!("{} {} {}\n", one.id, one.primary_margin, one.pair.margin);
        let mut lines: Vec<_> = self.pairs.iter().map(line).collect();
        lines.sort_unstable();
        Digest::of(lines.concat().as_bytes())
    }

    /// The pairs, earliest first.
    pub(super) fn in_time(&self) -> Vec<Pair> {
        self.pairs.iter().rev().map(|one| one.pair).collect()
    }
}

/// A judge as it is configured now.
#[derive(Debug)]
struct Configured {
    id: JudgeId,
    /// What a record names that was judged as it would be now, or would have been without offsets.
    judged_by: [Digest; 2],
}

/// Every judge that could be asked, as it is configured now.
#[derive(Debug)]
pub(super) struct Judges(BTreeMap<String, Configured>);

impl Judges {
    /// Those of `config`, as `policy` asks them. Nobody is called, so no key is needed.
    ///
    /// # Errors
    /// A judge whose configuration does not say enough.
    pub(super) fn of(config: &Config, policy: &Policy) -> Result<Self, AppError> {
        let plain = judging_without_offsets(policy);
        let configured = |id: JudgeId, parameters: &str| {
            let judged_by =
                [policy.judging, plain].map(|judging| Policy::judged_by(judging, parameters));
            (id.name.clone(), Configured { id, judged_by })
        };
        let local = LocalJudge::new();
        let mut judges = BTreeMap::from([configured(local.id().clone(), local.parameters())]);
        for (provider, judge) in config.keyless_judge_settings() {
            let profile = Profile::new(&provider, &judge)
                .map_err(|why| AppError::Judge { why: format!("{}: {why}", judge.name) })?;
            judges.extend([configured(profile.id, &profile.parameters)]);
        }
        Ok(Self(judges))
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Whether `judged_by` is how this judge would be asked now.
    pub(super) fn are_asked_so(&self, judge: &str, judged_by: &Digest) -> bool {
        self.0.get(judge).is_some_and(|judge| judge.judged_by.contains(judged_by))
    }

    /// Whether `saying` is what this judge would be asked now. An attempt that names no digest of its
    /// own was asked what the record's first judge was.
    fn accept(&self, saying: &Saying, of: &Judgements) -> bool {
        let Some(judge) = self.0.get(&saying.judge) else { return false };
        let is_same = judge.id.provider == saying.provider && judge.id.model == saying.model;
        let asked_now = match saying.judged_by {
            Some(judged_by) => judge.judged_by.contains(&judged_by),
            None => {
                let first = self.0.get(&of.first);
                first.is_some_and(|first| first.judged_by.contains(&of.judged_by))
            }
        };
        is_same && asked_now
    }
}

/// What is gathered for some judges against one primary.
#[derive(Debug)]
pub(super) struct Evidence<'a> {
    policy: &'a Policy,
    primary: &'a str,
    judges: &'a Judges,
    /// Whether second opinions count: they were drawn by lot, says whoever asks for them.
    second_opinions: bool,
    pub(super) by_judge: BTreeMap<String, Collected>,
}

impl<'a> Evidence<'a> {
    pub(super) fn new(
        policy: &'a Policy,
        primary: &'a str,
        judges: &'a Judges,
        second_opinions: bool,
    ) -> Self {
        Self { policy, primary, judges, second_opinions, by_judge: BTreeMap::new() }
    }

    /// The policy under which images were judged.
    pub(super) fn policy(&self) -> &'a Policy {
        self.policy
    }

    /// Gathers for this judge as well.
    pub(super) fn want(&mut self, judge: &str) {
        self.by_judge.entry(judge.to_owned()).or_default();
    }

    /// Whether nobody needs any more.
    pub(super) fn is_full(&self) -> bool {
        self.by_judge.values().all(|one| MOST_PAIRS <= one.pairs.len())
    }

    /// Takes in one image.
    pub(super) fn take(&mut self, all: &Judgements) {
        let mut by_judge = std::mem::take(&mut self.by_judge);
        for (judge, collected) in &mut by_judge {
            if MOST_PAIRS <= collected.pairs.len() {
                continue;
            }
            match self.pair(judge, all) {
                None => {}
                Some(Err(why)) => *collected.left_out.entry(why).or_default() += 1,
                Some(Ok(_)) if !collected.seen.insert(all.image) => {
                    *collected.left_out.entry(LeftOut::SeenAgain).or_default() += 1;
                }
                Some(Ok((source, counted))) => {
                    *collected.sources.entry(source).or_default() += 1;
                    collected.pairs.push(counted);
                }
            }
        }
        self.by_judge = by_judge;
    }

    /// The pair of `judge` and the primary on one image, and why the second of them was asked; `None`
    /// where one of them did not judge it.
    fn pair(&self, judge: &str, all: &Judgements) -> Option<Result<(String, Counted), LeftOut>> {
        let (ours, theirs) = (self.said(judge, all)?, self.said(self.primary, all)?);
        let (ours, theirs) = match (ours, theirs) {
            (Ok(ours), Ok(theirs)) => (ours, theirs),
            (Err(why), _) | (_, Err(why)) => return Some(Err(why)),
        };
        let margin = self.margin(ours);
        let Some((margin, primary_margin)) = margin.zip(self.margin(theirs)) else {
            return Some(Err(LeftOut::Unscored));
        };
        let lot = all.image.lot();
        let pair = Pair {
            primary_rejects: self.policy.rejects(self.primary, primary_margin, lot),
            rejects: self.policy.rejects(judge, margin, lot),
            margin,
            lot,
        };
        let second = if ours.judge == all.first { theirs } else { ours };
        let source = second.purpose.clone().unwrap_or_else(|| second.route.label().to_owned());
        Some(Ok((source, Counted { id: all.id, at: all.at, primary_margin, pair })))
    }

    /// What `judge` said that may be compared, or why none of it may; `None` where it said nothing.
    pub(super) fn said<'s>(
        &self,
        judge: &str,
        all: &'s Judgements,
    ) -> Option<Result<&'s Saying, LeftOut>> {
        let mut why_not = None;
        for saying in all.said.iter().filter(|one| one.judge == judge) {
            match self.why_not(saying, all) {
                None => return Some(Ok(saying)),
                Some(why) => why_not = why_not.or(Some(why)),
            }
        }
        why_not.map(Err)
    }

    fn why_not(&self, saying: &Saying, all: &Judgements) -> Option<LeftOut> {
        match saying.route {
            Route::SecondOpinion if !self.second_opinions => return Some(LeftOut::SecondOpinion),
            Route::Hedge => return Some(LeftOut::Hedge),
            Route::SecondOpinion
            | Route::Shadow
            | Route::Primary
            | Route::Failover
            | Route::Probe => {}
        }
        match saying.purpose.as_deref() {
            Some(BURST) => return Some(LeftOut::Burst),
            Some(LOST) => return Some(LeftOut::Hedge),
            Some(purpose) if !UNSELECTED.contains(&purpose) => return Some(LeftOut::OtherReason),
            Some(_) | None => {}
        }
        (!self.judges.accept(saying, all)).then_some(LeftOut::OtherConfiguration)
    }

    pub(super) fn margin(&self, saying: &Saying) -> Option<f64> {
        let scores = saying.scores.iter().map(|(criterion, score)| (criterion.as_str(), *score));
        self.policy.smallest_margin(&saying.judge, scores)
    }
}
