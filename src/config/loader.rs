//! The loader makes policies of files, now and whenever they change: all of them or none.
//!
//! Under the built-in configuration some judges may be left out for want of a key. A policy that
//! names them still loads: they are taken off its route, its second opinions and its shadows, and
//! the revision says so. Where nobody is left on a route the built-in judge `local` stands there
//! alone; it never stands beside others, for a measurement must not answer because a model is slow.

use tokio::sync::OwnedMutexGuard;
use tracing::warn;

use crate::config::files::PolicyFiles;
use crate::config::problem::Problems;
use crate::config::revision::seal;
use crate::config::{Drain, LOCAL_JUDGE, PolicyFolder};
use crate::domain::{Digest, Policy};
use crate::prompt::LoadedPolicy;

/// What is needed to load the policies again.
#[derive(Clone, Debug)]
pub struct PolicyLoader {
    /// Where they are.
    pub folder: PolicyFolder,
    /// The judges they may name, `local` aside.
    pub judges: Vec<String>,
    /// Judges they may name and that are taken off.
    pub left_out: Vec<String>,
    /// What the server leaves them.
    pub room: Room,
}

/// What the server leaves a policy: its own limits must fit into these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Bytes of request bodies held at once.
    pub max_in_flight_bytes: u64,
    /// What happens between SIGTERM and the end.
    pub drain: Drain,
}

impl Room {
    /// What does not fit.
    fn problems(self, policy: &Policy) -> Vec<String> {
        let mut problems = Vec::new();
        // an image in JSON is held twice: packed and unpacked
        let held_bytes = policy.input.max_bytes.saturating_mul(3);
        if self.max_in_flight_bytes < held_bytes {
            problems.push(format!(
                "{}: input.max_bytes is {}, of which server.max_in_flight_bytes ({}) must hold three",
                policy.name, policy.input.max_bytes, self.max_in_flight_bytes
            ));
        }
        let longest = self.drain.accept_for.saturating_add(policy.route.deadline);
        if self.drain.at_most < longest {
            problems.push(format!(
                "{}: server.drain.at_most ({} ms) is under accept_for and route.deadline together \
                 ({} ms): a check under way at the end would be cut off without a record",
                policy.name,
                self.drain.at_most.as_millis(),
                longest.as_millis()
            ));
        }
        problems
    }
}

/// Policies, and the digest of the files they were made of.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// At least one; names differ.
    pub policies: Vec<LoadedPolicy>,
    /// The same digest, the same policies.
    pub fingerprint: Digest,
}

/// Which contents were loaded last: their digest, or why there was none. `None`: nothing is known,
/// so that any contents are new.
pub type Seen = Option<Result<Digest, Problems>>;

/// What [`PolicyLoader::load_aside`] read, to be taken over while `last` is held.
#[derive(Debug)]
pub struct Reading {
    /// What was seen before; becomes `seen` when this is taken over.
    pub last: OwnedMutexGuard<Seen>,
    /// What is seen now.
    pub seen: Seen,
    /// What was made of it.
    pub loaded: Result<Loaded, Problems>,
}

impl PolicyLoader {
    /// Loads the policies off the threads that serve; `None`: the contents are as in `last`.
    ///
    /// `last` stays locked until the files are read, also when nobody waits for them any more: a
    /// reading that hangs keeps others from hanging beside it, and none is overtaken by a later one.
    #[expect(
        clippy::disallowed_methods,
        reason = "a directory on a network mount can hang, and the \
        threads that serve must not; one reading at a time, so the number is bounded"
    )]
    pub async fn load_aside(&self, last: OwnedMutexGuard<Seen>) -> Option<Reading> {
        let loader = self.clone();
        let read = tokio::task::spawn_blocking(move || {
            let files = loader.files();
            let seen = Some(files.as_ref().map(PolicyFiles::fingerprint).map_err(Clone::clone));
            if *last == seen {
                return None;
            }
            let loaded = files.and_then(|files| loader.load_from(&files));
            Some(Reading { last, seen, loaded })
        });
        read.await.unwrap_or_else(|why| {
            warn!(%why, "reading the policies broke off");
            None
        })
    }

    /// Reads the files.
    ///
    /// # Errors
    /// What cannot be read.
    pub fn files(&self) -> Result<PolicyFiles, Problems> {
        match &self.folder {
            PolicyFolder::At(dir) => PolicyFiles::read(dir),
            PolicyFolder::Shipped => Ok(PolicyFiles::shipped()),
        }
    }

    /// Reads the files and loads every policy, or none.
    ///
    /// # Errors
    /// Everything wrong with any of them.
    pub fn load(&self) -> Result<Loaded, Problems> {
        self.load_from(&self.files()?)
    }

    /// Loads every policy of `files`, or none.
    ///
    /// # Errors
    /// Everything wrong with any of them.
    pub fn load_from(&self, files: &PolicyFiles) -> Result<Loaded, Problems> {
        let known: Vec<String> = self.judges.iter().chain(&self.left_out).cloned().collect();
        let policies = files.load(Some(&known))?;
        let narrow = |loaded: LoadedPolicy| self.narrowed(loaded);
        let policies = policies.into_iter().map(narrow).collect::<Result<Vec<_>, _>>()?;
        let cramped: Vec<_> =
            policies.iter().flat_map(|one| self.room.problems(&one.policy)).collect();
        if !cramped.is_empty() {
            return Err(Problems::of_file(files.dir(), cramped.join("; ")));
        }
        Ok(Loaded { policies, fingerprint: files.fingerprint() })
    }

    /// The policy without the judges that are left out.
    fn narrowed(&self, loaded: LoadedPolicy) -> Result<LoadedPolicy, Problems> {
        let Policy { route, second_opinion, shadows, .. } = &loaded.policy;
        let asked = second_opinion.iter().flat_map(|opinion| &opinion.ask);
        let asked = asked.chain(shadows.iter().map(|one| &one.judge));
        if !route.judges.iter().chain(asked).any(|judge| self.left_out.contains(judge)) {
            return Ok(loaded);
        }
        let mut policy = loaded.policy;
        policy.route.judges.retain(|judge| !self.left_out.contains(judge));
        if policy.route.judges.is_empty() {
            policy.route.judges.push(LOCAL_JUDGE.to_owned());
        }
        if let Some(opinion) = &mut policy.second_opinion {
            opinion.ask.retain(|judge| !self.left_out.contains(judge));
        }
        policy.shadows.retain(|one| !self.left_out.contains(&one.judge));
        policy.second_opinion = policy.second_opinion.filter(|opinion| !opinion.ask.is_empty());
        seal(&mut policy);
        let name = policy.name.clone();
        LoadedPolicy::compile(policy).map_err(|problems| {
            let told: Vec<_> = problems.iter().map(ToString::to_string).collect();
            Problems::of_file(name, told.join("; "))
        })
    }
}
