//! A rehearsal plays the tests of a policy: scripted judges on a virtual clock, no network, no key.
//!
//! What is played is the gate's own code ([`crate::gate::hearing`]) with a fresh panel for every
//! test: the same race, second opinion and decision as in service. Two things are taken from it. The
//! dice: an image that a policy would draw by a `sample` is not drawn, so that a test ends the same
//! way every time. And time.
//!
//! # The clock
//!
//! Each test runs on a runtime of its own whose clock stands still and jumps to the next timer when
//! nothing else is to be done, so a deadline of 5 s passes in microseconds and every duration is
//! exact. It is tokio's own paused clock, which needs tokio's `test-util` feature in the shipped
//! binary. The other way, a clock of ours as an argument of panel, deadline and race, would make two
//! kinds of time out of one on the serving path, and what is rehearsed would no longer be what runs.
//! The feature costs the serving path little: a clock that never was paused in this process is read
//! behind one load of a flag, and the timer's driver takes one uncontended lock each time it sleeps.
//! A runtime of several threads, which is what serves, cannot be paused at all.
//!
//! Pixels are worked on by real threads, of which a clock that jumps knows nothing: an image would
//! always be late. So the images are prepared first, in real time, once for every different plan, and
//! take no virtual time.

pub mod coverage;
mod player;
pub mod verify;

use std::collections::BTreeMap;
use std::io;
use std::num::NonZero;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use thiserror::Error;

use crate::clock::Deadline;
use crate::domain::policy::SecondOpinionWhen;
use crate::domain::{AttemptOutcome, Candidate, Digest, Policy};
use crate::gate::hearing::{Heard, Hearing};
use crate::gate::policies::ActivePolicy;
use crate::gate::{Refusal, plan};
use crate::imaging::{self, Imaging, Plan, PrepareError, Prepared};
use crate::panel::{Judge, Panel};
use crate::prompt::LoadedPolicy;
use crate::provider::local::LocalJudge;
use crate::provider::profile::Profile;
use crate::rehearse::coverage::Coverage;
use crate::rehearse::player::Player;
use crate::rehearse::verify::{Expected, Mismatch, mismatches};

/// Longest that preparing all images of one file may take, in real time.
const PREPARE_WITHIN: Duration = Duration::from_secs(120);
/// Longest that decoding one image may take: nobody waits for it, so a slow machine is no reason.
const DECODE_WITHIN: Duration = Duration::from_secs(60);
/// Workers at most: each may hold an image's decoded pixels.
const MOST_THREADS: usize = 4;
/// Between no and full jitter: waits are the same every time.
const JITTER: f64 = 0.5;

/// A policy and the tests of one file.
#[derive(Debug)]
pub struct Suite {
    /// The file, as messages show it.
    pub file: String,
    /// What is rehearsed.
    pub policy: LoadedPolicy,
    /// Everybody whom the policy may ask.
    pub cast: Vec<Role>,
    /// In file order.
    pub tests: Vec<Test>,
}

/// A judge that is played.
#[derive(Clone, Debug)]
pub enum Role {
    /// One that would be called over the network.
    Called(Box<Profile>),
    /// The built-in one, which measures.
    Local(LocalJudge),
}

impl Role {
    /// The name that policies and scripts use.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Called(profile) => &profile.id.name,
            Self::Local(local) => &local.id().name,
        }
    }
}

/// One image, what the judges do, and what must come of it.
#[derive(Clone, Debug)]
pub struct Test {
    /// Differs from every other of its file.
    pub name: String,
    /// The image's bytes.
    pub image: Bytes,
    /// As [`LoadedPolicy::vars`] returned them.
    pub vars: BTreeMap<String, String>,
    /// The caller's deadline: it can only shorten the policy's.
    pub deadline: Option<Duration>,
    /// What each judge does, by its name.
    pub scripts: BTreeMap<String, Script>,
    /// What every other judge does; `None`: it must not be called.
    pub others: Option<Script>,
    /// What must come of it.
    pub expected: Expected,
}

/// What a judge does call by call; the last act repeats.
#[derive(Clone, Debug, PartialEq)]
pub struct Script {
    /// What it does at its first call.
    pub first: Act,
    /// And at those that follow.
    pub then: Vec<Act>,
}

/// What a judge does when called.
#[derive(Clone, Debug, PartialEq)]
pub struct Act {
    /// How long after the call.
    pub after: Duration,
    /// What.
    pub says: Says,
}

/// A judge's answer, or what comes in its stead.
#[derive(Clone, Debug, PartialEq)]
pub enum Says {
    /// Scores.
    Scores(Scores),
    /// What the built-in judge measures on the image.
    Measurements,
    /// It fails like this.
    Fault {
        /// The kind: never `Judged`.
        outcome: AttemptOutcome,
        /// How long the provider asks us to stay away.
        retry_after: Option<Duration>,
    },
    /// Nothing, ever.
    Hangs,
    /// Nothing: calling it fails the test.
    MustNotBeCalled,
}

/// Scores by criterion.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scores {
    /// Those that are named.
    pub named: BTreeMap<String, f64>,
    /// What every other criterion is scored.
    pub others: Option<f64>,
    /// The judge's words, by criterion.
    pub reasons: BTreeMap<String, String>,
}

impl Scores {
    /// The score of `criterion`.
    #[must_use]
    pub fn of(&self, criterion: &str) -> Option<f64> {
        self.named.get(criterion).copied().or(self.others)
    }
}

/// How one test went.
#[derive(Clone, Debug)]
pub struct Played {
    /// The test.
    pub name: String,
    /// What came of it: a verdict, or why the gate would not even look.
    pub outcome: Result<Heard, Refusal>,
    /// What is not as expected; empty: the test passed.
    pub mismatches: Vec<Mismatch>,
}

impl Played {
    /// Whether all was as expected.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.mismatches.is_empty()
    }
}

/// How the tests of one file went.
#[derive(Clone, Debug)]
pub struct Performance {
    /// The file, as messages show it.
    pub file: String,
    /// The policy's name.
    pub policy: String,
    /// The digest of the resolved policy that was rehearsed.
    pub revision: Digest,
    /// Every test that was played, in file order.
    pub played: Vec<Played>,
    /// What they touched of the policy.
    pub coverage: Coverage,
}

/// Why no rehearsal took place.
#[derive(Debug, Error)]
pub enum StageError {
    /// No threads, or no runtime.
    #[error("the rehearsal cannot begin: {0}")]
    System(#[from] io::Error),
    /// An image could not be prepared, which is no fault of its own.
    #[error("{test}: {why}")]
    Image {
        /// The first test that shows it.
        test: String,
        /// What was in the way.
        why: PrepareError,
    },
}

/// Where rehearsals take place: threads for pixels, and the images prepared so far.
#[derive(Debug)]
pub struct Stage {
    imaging: Imaging,
    settings: imaging::Settings,
    ready: Vec<Ready>,
}

/// An image prepared by a plan.
#[derive(Clone, Debug)]
struct Ready {
    image: Digest,
    plan: Arc<Plan>,
    prepared: Result<Arc<Prepared>, Refusal>,
}

impl Stage {
    /// Starts the threads.
    ///
    /// # Errors
    /// The system gives no threads.
    pub fn new() -> Result<Self, StageError> {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let settings = imaging::Settings {
            threads: cores.min(MOST_THREADS),
            max_decode_time: DECODE_WITHIN,
            ..imaging::Settings::default()
        };
        Ok(Self { imaging: Imaging::new(settings)?, settings, ready: Vec::new() })
    }

    /// Plays the tests of `suite` whose names hold `filter`.
    ///
    /// # Errors
    /// [`StageError`]: a failed test is none.
    pub fn play(&mut self, suite: &Suite, filter: &str) -> Result<Performance, StageError> {
        let tests: Vec<_> = suite.tests.iter().filter(|one| one.name.contains(filter)).collect();
        self.prepare(suite, &tests)?;
        let loaded = undrawn(&suite.policy);
        let mut coverage = Coverage::of(&loaded.policy);
        let mut played = Vec::with_capacity(tests.len());
        for test in tests {
            let one = self.play_one(suite, &loaded, test)?;
            if let Ok(heard) = &one.outcome {
                coverage.add(&loaded.policy, heard);
            }
            played.push(one);
        }
        let Policy { name, revision, .. } = &suite.policy.policy;
        let (file, policy) = (suite.file.clone(), name.clone());
        Ok(Performance { file, policy, revision: *revision, played, coverage })
    }

    /// Prepares every image that was not yet, in real time.
    fn prepare(&mut self, suite: &Suite, tests: &[&Test]) -> Result<(), StageError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let mut wanted: Vec<(&Test, Digest, Arc<Plan>)> = Vec::new();
        for test in tests {
            let (image, plan) = (Digest::of(&test.image), plan(&suite.policy, &test.vars));
            let is_wanted = wanted.iter().any(|(_, digest, one)| *digest == image && **one == plan);
            if !is_wanted && self.ready(image, &plan).is_none() {
                wanted.push((test, image, Arc::new(plan)));
            }
        }
        // no more at once than the pool has threads: it refuses what would wait for long
        for some in wanted.chunks(self.settings.threads.max(1)) {
            let preparing = some.iter().map(|(test, _, plan)| self.prepared(suite, test, plan));
            let prepared = runtime.block_on(async { join_all(preparing).await });
            for ((_, image, plan), prepared) in some.iter().zip(prepared) {
                let plan = Arc::clone(plan);
                self.ready.push(Ready { image: *image, plan, prepared: prepared? });
            }
        }
        Ok(())
    }

    async fn prepared(
        &self,
        suite: &Suite,
        test: &Test,
        plan: &Arc<Plan>,
    ) -> Result<Result<Arc<Prepared>, Refusal>, StageError> {
        let input = &suite.policy.policy.input;
        let candidate = Candidate::admit(test.image.clone(), &input.accept, input.max_bytes);
        let candidate = match candidate {
            Ok(candidate) => candidate,
            Err(why) => return Ok(Err(Refusal::Inadmissible(why))),
        };
        let deadline = Deadline::after(PREPARE_WITHIN);
        match self.imaging.prepare(candidate, Arc::clone(plan), deadline).await {
            Ok(prepared) => Ok(Ok(Arc::new(prepared))),
            Err(PrepareError::Inadmissible(why)) => Ok(Err(Refusal::Inadmissible(why))),
            Err(
                why @ (PrepareError::Late
                | PrepareError::Busy { .. }
                | PrepareError::Behind { .. }
                | PrepareError::Stuck
                | PrepareError::Broken),
            ) => Err(StageError::Image { test: test.name.clone(), why }),
        }
    }

    fn ready(&self, image: Digest, plan: &Plan) -> Option<&Ready> {
        self.ready.iter().find(|one| one.image == image && *one.plan == *plan)
    }

    /// Plays one test on a clock of its own.
    fn play_one(
        &self,
        suite: &Suite,
        loaded: &LoadedPolicy,
        test: &Test,
    ) -> Result<Played, StageError> {
        let digest = Digest::of(&test.image);
        let image = self.ready(digest, &plan(loaded, &test.vars));
        let image = image.ok_or_else(|| io::Error::other("an image was not prepared"))?;
        let players: Vec<_> = suite.cast.iter().map(|role| Player::new(role, test)).collect();
        let judges = players.iter().cloned().map(|one| Arc::new(one) as Arc<dyn Judge>);
        let judges: Vec<_> = judges.collect();
        let mut clock = tokio::runtime::Builder::new_current_thread();
        let outcome = match &image.prepared {
            Err(why) => Err(why.clone()),
            Ok(prepared) => clock.enable_time().start_paused(true).build()?.block_on(async {
                // nothing is left of the test before: no latency, no budget spent
                let panel = Panel::with_jitter(judges, || JITTER);
                let policy = ActivePolicy::new(loaded.clone());
                let hearing = Hearing {
                    panel: &panel,
                    policy: &policy,
                    vars: &test.vars,
                    image: digest,
                    prepared,
                    asked_deadline: test.deadline,
                };
                hearing.hear().await
            }),
        };
        let uninvited: Vec<_> = players.iter().filter_map(Player::uninvited).collect();
        let mismatches = mismatches(&test.expected, &outcome, &uninvited);
        Ok(Played { name: test.name.clone(), outcome, mismatches })
    }
}

/// The policy without what is drawn at random.
fn undrawn(loaded: &LoadedPolicy) -> LoadedPolicy {
    let mut loaded = loaded.clone();
    if let Some(second) = &mut loaded.policy.second_opinion {
        second.when.retain(|when| !matches!(when, SecondOpinionWhen::Sample(_)));
    }
    loaded
}
