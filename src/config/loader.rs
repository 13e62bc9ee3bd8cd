//! The loader makes policies of files, now and whenever they change: all of them or none.
//!
//! Under the built-in configuration some judges may be left out for want of a key. A policy that
//! names them still loads: they are taken off its route and its second opinions, and the revision
//! says so. Where nobody is left on a route the built-in judge `local` stands there alone; it never
//! stands beside others, for a measurement must not answer because a model is slow.

use crate::config::files::PolicyFiles;
use crate::config::problem::Problems;
use crate::config::revision::seal;
use crate::config::{LOCAL_JUDGE, PolicyFolder};
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
}

/// Policies, and the digest of the files they were made of.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// At least one; names differ.
    pub policies: Vec<LoadedPolicy>,
    /// The same digest, the same policies.
    pub fingerprint: Digest,
}

impl PolicyLoader {
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
        let policies = policies.into_iter().map(narrow).collect::<Result<_, _>>()?;
        Ok(Loaded { policies, fingerprint: files.fingerprint() })
    }

    /// The policy without the judges that are left out.
    fn narrowed(&self, loaded: LoadedPolicy) -> Result<LoadedPolicy, Problems> {
        let Policy { route, second_opinion, .. } = &loaded.policy;
        let asked = second_opinion.iter().flat_map(|opinion| &opinion.ask);
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
        policy.second_opinion = policy.second_opinion.filter(|opinion| !opinion.ask.is_empty());
        seal(&mut policy);
        let name = policy.name.clone();
        LoadedPolicy::compile(policy).map_err(|problems| {
            let told: Vec<_> = problems.iter().map(ToString::to_string).collect();
            Problems::of_file(name, told.join("; "))
        })
    }
}
