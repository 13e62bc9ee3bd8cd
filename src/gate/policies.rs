//! The loaded policies, as one set that is swapped whole: a check sees one set from its first line
//! to its last.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::{Deadline, Stopwatch, Timestamp};
use crate::domain::{Mode, Policy};
use crate::gate::Refusal;
use crate::gate::wanted::looks_at_pixels;
use crate::panel::second_opinion::SecondOpinionShare;
use crate::prompt::LoadedPolicy;

/// A loaded policy and what is counted for it.
#[derive(Debug)]
pub struct ActivePolicy {
    /// The checked policy with its compiled templates.
    pub loaded: LoadedPolicy,
    /// How many more of its images may get a second opinion.
    second_share: Mutex<SecondOpinionShare>,
}

impl ActivePolicy {
    /// A policy of which nothing has been counted yet.
    #[must_use]
    pub fn new(loaded: LoadedPolicy) -> Self {
        Self { loaded, second_share: Mutex::default() }
    }

    /// How long a body may take to come in: the deadline (the caller's, if that is shorter) less
    /// the floor, which is kept for judging; at least half of it, so that a caller who leaves little
    /// more than the floor can send a body at all. `None` where `asked` is under the floor.
    #[must_use]
    pub fn read_time(&self, asked: Option<Duration>) -> Option<Duration> {
        let route = &self.route;
        let budget = asked.unwrap_or(route.deadline).min(route.deadline);
        let beyond_floor = budget.checked_sub(route.floor)?;
        Some(beyond_floor.max(budget / 2))
    }

    /// Until when each step of a check can still be taken that `arrived` with `asked` for a
    /// deadline; `None` where that is under the floor.
    #[must_use]
    pub fn schedule(&self, arrived: Stopwatch, asked: Option<Duration>) -> Option<Schedule> {
        let route = &self.route;
        let ends =
            Deadline::at(arrived.started(), asked.unwrap_or(route.deadline).min(route.deadline));
        Some(Schedule {
            read_by: Deadline::at(arrived.started(), self.read_time(asked)?),
            judged_by: ends.less(route.keep_back),
        })
    }

    /// Who is asked: nobody where the policy is off.
    #[must_use]
    pub fn judges(&self) -> &[String] {
        if self.mode == Mode::Off { &[] } else { &self.route.judges }
    }

    /// Counts one judged image, and whether it may have the second opinion it wants.
    pub fn grant_second(&self, max_share: f64, wanted: bool) -> bool {
        let mut share = self.second_share.lock().unwrap_or_else(PoisonError::into_inner);
        share.judged(max_share);
        wanted && share.take()
    }
}

impl Deref for ActivePolicy {
    type Target = Policy;

    fn deref(&self) -> &Policy {
        &self.loaded.policy
    }
}

/// Until when the steps of one check can still be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// When its body must be in.
    pub read_by: Deadline,
    /// When its judgement must be there.
    pub judged_by: Deadline,
}

/// The loaded policies by name; at least one.
#[derive(Debug, Default)]
pub struct PolicySet {
    by_name: BTreeMap<String, ActivePolicy>,
}

impl PolicySet {
    /// Makes a set of `loaded`; of two with one name the later stands.
    #[must_use]
    pub fn new(loaded: Vec<LoadedPolicy>) -> Self {
        let active = loaded.into_iter().map(|loaded| {
            let name = loaded.policy.name.clone();
            (name, ActivePolicy::new(loaded))
        });
        Self { by_name: active.collect() }
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &ActivePolicy> {
        self.by_name.values()
    }

    /// The one called `name`; with no name the only one.
    ///
    /// # Errors
    /// No such policy, or no name where several are loaded.
    pub fn find(&self, name: Option<&str>) -> Result<&ActivePolicy, Refusal> {
        let unknown = |message| Refusal::UnknownPolicy { message };
        let names = || self.by_name.keys().cloned().collect::<Vec<_>>().join(", ");
        let Some(name) = name else {
            let mut all = self.by_name.values();
            return match (all.next(), all.next()) {
                (Some(only), None) => Ok(only),
                _ => Err(unknown(format!("name a policy: one of {}", names()))),
            };
        };
        let found = self.by_name.get(name);
        found.ok_or_else(|| unknown(format!("there is no policy {name:?}: one of {}", names())))
    }

    /// The most bytes that any policy takes: what the door reads before it knows the policy.
    #[must_use]
    pub fn max_bytes(&self) -> u64 {
        self.iter().map(|one| one.input.max_bytes).max().unwrap_or(0)
    }

    /// By what a request is treated until its body is in: the policy called `name`, or the only one;
    /// else the most patient of all, since a policy named in the body is known only afterwards.
    /// `None` where `asked` is under its floor.
    #[must_use]
    pub fn presumed(&self, name: Option<&str>, asked: Option<Duration>) -> Option<Presumed<'_>> {
        if let Ok(policy) = self.find(name) {
            return policy.read_time(asked).map(|_| Presumed { policy, is_certain: true });
        }
        let patient = self.iter().filter_map(|one| Some((one.read_time(asked)?, one)));
        let most_patient = patient.max_by_key(|(read_time, _)| *read_time);
        most_patient.map(|(_, policy)| Presumed { policy, is_certain: false })
    }
}

/// A policy that a request is believed to be for.
#[derive(Clone, Copy, Debug)]
pub struct Presumed<'a> {
    /// By which it is treated.
    pub policy: &'a ActivePolicy,
    is_certain: bool,
}

impl<'a> Presumed<'a> {
    /// Who is to be asked, as far as that is known. Where it is not nobody is waited for: the
    /// judges of one policy must not hold up the images of another.
    #[must_use]
    pub fn judges(self) -> &'a [String] {
        if self.is_certain { self.policy.judges() } else { &[] }
    }

    /// Whether its image's pixels are surely to be worked on: where its policy is not known, or has
    /// no interest in them, the image itself must be seen first.
    #[must_use]
    pub fn wants_worker(self) -> bool {
        self.is_certain && looks_at_pixels(self.policy)
    }
}

/// How a reload of the policies went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reload {
    /// When.
    pub at: Timestamp,
    /// The names of the policies that run since.
    pub policies: Vec<String>,
    /// What was wrong; empty where the new files were taken over.
    pub problems: Vec<String>,
}
