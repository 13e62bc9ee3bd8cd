//! The nouns of a check and the rules that decide it: no I/O, no clock, no async below this line.
//!
//! Time arrives as an argument, randomness and bytes likewise. What is stored or sent has its own
//! form in the module that stores or sends it; these types are what the program thinks with.

pub mod candidate;
pub mod drill;
pub mod finding;
pub mod judgement;
pub mod money;
pub mod policy;
pub mod record;
pub mod verdict;

pub use candidate::{Candidate, Digest, Format, Inadmissible};
pub use finding::{Finding, Limit};
pub use judgement::{Judgement, Score};
pub use money::{MicroUsd, Price, Tokens};
pub use policy::{CheckSpec, Criterion, Fallback, Mode, OnFail, Policy};
pub use record::{Attempt, AttemptOutcome, JudgeId, LateAttempt, Record, Remainder, Route};
pub use verdict::{Basis, Decision, Verdict};
