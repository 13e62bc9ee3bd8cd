//! A judge's pace is how fast it answers: of late, while it is well, and to its last byte.
//!
//! Three things are asked of it. When somebody is to be asked *beside* the judge goes by all its
//! recent calls, those that were cancelled included: they are slower than they got. What an answer
//! *takes* goes by the answers alone, because who builds on it has decided to wait for one; a judge
//! that is hedged away from more often than not still answers as fast as before. And when a call is
//! *evidence* goes by what is normal: while nobody knows that, a call is late only at the end of its
//! budget, but for a judge that was waited for as long as that and has answered nobody.
//!
//! The end of an answer whose scores left early has a speed of its own, with nothing assumed of it.
//! Ends are taken in whatever the breaker says, because only they can show that a judge writes
//! its reasons slowly and is well.

use std::time::Duration;

use tokio::time::Instant;

use crate::domain::policy::HedgeSpec;
use crate::panel::Expectation;
use crate::panel::hedge;
use crate::panel::latency::{Kept, Latency};

/// How fast one judge is.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    recent: Latency,
    /// While it is well.
    normal: Latency,
    /// To the end of answers of which the scores leave, or usually do.
    whole: Latency,
    /// For how long since its last answer calls were waited for that were then dropped …
    silence: Duration,
    /// … and until when that was counted: calls beside each other waited once.
    silent_until: Option<Instant>,
}

/// How fast a judge was: what is kept of it over a restart.
#[derive(Debug)]
pub(crate) struct Speeds {
    /// Of late.
    pub(crate) recent: Kept,
    /// While it was well.
    pub(crate) normal: Kept,
    /// To the end of answers whose scores leave first.
    pub(crate) whole: Kept,
}

/// What an answer is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Upto {
    /// Its scores, or its end where it never leaves before.
    Scores,
    /// An end that is usually not waited for.
    End,
}

impl Pace {
    /// No history; `expectation` stands in for one.
    pub(crate) fn new(expectation: Option<Expectation>) -> Self {
        Self {
            recent: Latency::new(expectation),
            normal: Latency::normal(expectation),
            whole: Latency::normal(None),
            silence: Duration::ZERO,
            silent_until: None,
        }
    }

    /// A judgement came `took` after its call; whether the judge `is_well`.
    pub(crate) fn judged(&mut self, upto: Upto, took: Duration, is_well: bool) {
        self.recent.record(took);
        self.silence = Duration::ZERO;
        match upto {
            Upto::End => self.whole.record(took),
            // what nobody knows cannot be spoilt, and else it could never be learnt of who was
            // taken for ill because it is slow by nature; what was said of it is not known
            Upto::Scores if is_well || !hedge::is_learnt(&self.normal) => self.normal.record(took),
            Upto::Scores => {}
        }
    }

    /// An answer whose scores had left came to its end `took` after its call.
    pub(crate) fn ended(&mut self, took: Duration) {
        self.whole.record(took);
    }

    /// The end of such an answer was waited for no longer at `age`.
    pub(crate) fn end_cut(&mut self, age: Duration) {
        self.whole.censor(age);
    }

    /// A call was dropped at `age`, which is now.
    pub(crate) fn dropped(&mut self, age: Duration, now: Instant) {
        self.recent.censor(age);
        let counted = self.silent_until.map_or(age, |until| now.saturating_duration_since(until));
        self.silence += age.min(counted);
        self.silent_until = Some(now);
    }

    /// How long the judge may run alone in a race of `budget`: of all calls, those dropped included.
    pub(crate) fn hedge_delay(&self, spec: HedgeSpec, budget: Duration) -> Duration {
        hedge::delay(&self.recent, &self.normal, spec.after_quantile, budget)
    }

    /// How long before the end of `budget` it must start to answer in time; likewise.
    pub(crate) fn lead(&self, budget: Duration) -> Duration {
        hedge::lead(&self.recent, budget)
    }

    /// What `share` (0..1) of its answers take at most; `None`: no idea yet.
    pub(crate) fn of_answers(&self, share: f64) -> Option<Duration> {
        if self.recent.is_cold() { None } else { self.recent.quantile_of_answers(share) }
    }

    /// The same of all calls: where more than that were never answered it is longer than anybody waits.
    pub(crate) fn of_calls(&self, share: f64) -> Option<Duration> {
        if self.recent.is_cold() { None } else { self.recent.quantile(share) }
    }

    /// The age past which a call may have been overtaken by later ones.
    pub(crate) fn overtaken_age(&self, budget: Duration) -> Duration {
        let answers = self.recent.quantile_of_answers(0.95).unwrap_or_default();
        self.normal_p95(budget).max(answers)
    }

    /// Its p95 while it is well.
    pub(crate) fn normal_p95(&self, budget: Duration) -> Duration {
        hedge::normal_p95(&self.normal, budget)
    }

    /// The same `upto` an end that may be usually not waited for: what a failure's time is held to.
    pub(crate) fn usual_age(&self, upto: Upto, budget: Duration) -> Duration {
        let to_scores = self.normal_p95(budget);
        let usual = match upto {
            Upto::Scores => to_scores,
            Upto::End => hedge::normal_p95(&self.whole, budget).max(to_scores),
        };
        usual.min(hedge::latest_strike_age(budget))
    }

    /// The age at which a call that starts now strikes.
    pub(crate) fn strike_age(&self, upto: Upto, multiple: f64, budget: Duration) -> Duration {
        let silent_age = self.silent_age(upto, multiple, budget);
        silent_age.unwrap_or_else(|| self.probe_age(upto, multiple, budget))
    }

    /// The age at which a call is evidence against a judge of which nobody knows how fast it is, but
    /// that it was waited for a whole budget since it answered last; `None`: it is no such judge.
    /// That it was asked long ago says nothing: a hedge is dropped as soon as another answers.
    pub(crate) fn silent_age(
        &self,
        upto: Upto,
        multiple: f64,
        budget: Duration,
    ) -> Option<Duration> {
        let known = match upto {
            Upto::Scores => &self.normal,
            Upto::End => &self.whole,
        };
        let is_silent = hedge::latest_strike_age(budget) <= self.silence;
        let assumed = hedge::assumed_strike_age(multiple, budget);
        let to_scores = self.to_scores(multiple, budget).unwrap_or_default();
        (is_silent && !hedge::is_telling(known)).then(|| assumed.max(to_scores))
    }

    /// The same of a probe: what a judge that is silent is given to show that it can answer.
    pub(crate) fn probe_age(&self, upto: Upto, multiple: f64, budget: Duration) -> Duration {
        match upto {
            Upto::Scores => hedge::strike_age(&self.normal, multiple, budget),
            // the end never comes before the scores, whatever is not known of it yet
            Upto::End => {
                let to_scores = self.to_scores(multiple, budget).unwrap_or_default();
                hedge::strike_age(&self.whole, multiple, budget).max(to_scores)
            }
        }
    }

    /// `None`: nobody knows.
    fn to_scores(&self, multiple: f64, budget: Duration) -> Option<Duration> {
        let is_known = hedge::is_telling(&self.normal);
        is_known.then(|| hedge::strike_age(&self.normal, multiple, budget))
    }

    /// The age at which an answer whose scores have left strikes for its end; `None`: never, because
    /// nobody knows when ends come.
    pub(crate) fn end_strike_age(&self, multiple: f64, budget: Duration) -> Option<Duration> {
        let is_known = hedge::is_telling(&self.whole);
        // of ends that are mostly cut it is only known that they come later
        let comes_in_time = hedge::normal_p95(&self.whole, budget) < budget;
        (is_known && comes_in_time).then(|| hedge::strike_age(&self.whole, multiple, budget))
    }

    /// What operators see of it: median and p95 of its answers, and how many samples there are.
    pub(crate) fn told(&self) -> (Option<Duration>, Option<Duration>, u64) {
        let Self { recent, .. } = self;
        (recent.quantile_of_answers(0.50), recent.quantile_of_answers(0.95), recent.samples())
    }

    /// What to keep over a restart.
    pub(crate) fn keep(&self) -> Speeds {
        let Self { recent, normal, whole, .. } = self;
        Speeds { recent: recent.keep(), normal: normal.keep(), whole: whole.keep() }
    }

    /// Takes up what was kept.
    ///
    /// # Errors
    /// What is wrong with it; nothing is changed then.
    pub(crate) fn restore(&mut self, kept: &Speeds) -> Result<(), String> {
        let mut restored = self.clone();
        restored.recent.restore(&kept.recent)?;
        restored.normal.restore(&kept.normal)?;
        restored.whole.restore(&kept.whole)?;
        *self = restored;
        Ok(())
    }
}
