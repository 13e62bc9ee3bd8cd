//! A record is everything kept of one check: the verdict, who judged it, every attempt, what it
//! cost, and what later statistics need. Exactly one is made of each admitted image.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::domain::candidate::{Digest, Format};
use crate::domain::finding::Finding;
use crate::domain::judgement::Score;
use crate::domain::money::{MicroUsd, Tokens};
use crate::domain::policy::Mode;
use crate::domain::verdict::{Decision, Verdict};

/// A judge by its policy name, and what stands behind it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JudgeId {
    /// The name policies use.
    pub name: String,
    /// The provider's name in the configuration.
    pub provider: String,
    /// The provider's model.
    pub model: String,
}

/// Why this judge was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Route {
    /// First in the policy's order.
    Primary,
    /// Beside a slow one.
    Hedge,
    /// After a failed one.
    Failover,
    /// To settle a doubtful verdict.
    SecondOpinion,
    /// Beside the judge that was asked, to see whether this one is well again.
    Probe,
    /// Behind the verdict, to learn how this judge judges: no verdict rests on it.
    Shadow,
}

impl Route {
    /// Every route.
    pub const ALL: [Self; 6] = [
        Self::Primary,
        Self::Hedge,
        Self::Failover,
        Self::SecondOpinion,
        Self::Probe,
        Self::Shadow,
    ];

    /// The word used in answers and metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Hedge => "hedge",
            Self::Failover => "failover",
            Self::SecondOpinion => "second_opinion",
            Self::Probe => "probe",
            Self::Shadow => "shadow",
        }
    }
}

/// How one attempt ended. Only `Judged` is a judgement; nothing else ever becomes a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AttemptOutcome {
    /// A valid judgement came.
    Judged,
    /// The provider would not look at this content.
    Refused,
    /// A well-formed answer that says nothing.
    Empty,
    /// The body or the model's output ended early.
    Truncated,
    /// An answer came that is not the asked judgement.
    Unreadable,
    /// The provider's own token count says that it never saw the image.
    Blind,
    /// Too many calls for now.
    RateLimited,
    /// The provider has no capacity.
    Overloaded,
    /// The provider broke.
    ServerError,
    /// The provider says that our request is wrong.
    BadRequest,
    /// Key, permission, billing or unknown model.
    Auth,
    /// No connection, or one reset before the first byte.
    Connect,
    /// The attempt's own cap passed.
    Timeout,
    /// Dropped by us: lost the race, or the deadline came.
    Cancelled,
    /// Not started, or stopped, for money.
    OverBudget,
}

impl AttemptOutcome {
    /// Every outcome.
    pub const ALL: [Self; 15] = [
        Self::Judged,
        Self::Refused,
        Self::Empty,
        Self::Truncated,
        Self::Unreadable,
        Self::Blind,
        Self::RateLimited,
        Self::Overloaded,
        Self::ServerError,
        Self::BadRequest,
        Self::Auth,
        Self::Connect,
        Self::Timeout,
        Self::Cancelled,
        Self::OverBudget,
    ];

    /// Whether the judge failed: it was asked, was not stopped by us, and gave no judgement.
    #[must_use]
    pub fn is_failure(self) -> bool {
        match self {
            Self::Judged | Self::Cancelled | Self::OverBudget => false,
            Self::Refused
            | Self::Empty
            | Self::Truncated
            | Self::Unreadable
            | Self::Blind
            | Self::RateLimited
            | Self::Overloaded
            | Self::ServerError
            | Self::BadRequest
            | Self::Auth
            | Self::Connect
            | Self::Timeout => true,
        }
    }

    /// The word used in answers and metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Judged => "judged",
            Self::Refused => "refused",
            Self::Empty => "empty",
            Self::Truncated => "truncated",
            Self::Unreadable => "unreadable",
            Self::Blind => "blind",
            Self::RateLimited => "rate_limited",
            Self::Overloaded => "overloaded",
            Self::ServerError => "server_error",
            Self::BadRequest => "bad_request",
            Self::Auth => "auth",
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
            Self::OverBudget => "over_budget",
        }
    }
}

/// One call to one judge.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    /// Who was called.
    pub judge: JudgeId,
    /// Why.
    pub route: Route,
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// What this judgement alone would have made the verdict; `None` unless judged.
    pub said: Option<Decision>,
    /// Its scores; empty unless judged.
    pub scores: Vec<Score>,
    /// From the check's start to the call, ms.
    pub started_ms: u64,
    /// From the call to its judgement, else to its end, ms; for a cancelled one a lower bound.
    pub took_ms: u64,
    /// From the call to its last byte, ms; `None` while a judgement that left early is still being
    /// read: then there is no count, and `cost` is the estimate.
    pub ended_ms: Option<u64>,
    /// The provider's count; `None` where it said nothing.
    pub tokens: Option<Tokens>,
    /// The bill: from `tokens`, else the estimate for a call that was sent.
    pub cost: MicroUsd,
    /// The provider's id of the call.
    pub request_id: Option<String>,
    /// What went wrong, for operators; never a label.
    pub detail: Option<String>,
}

/// The flag of a record whose judge turned out to be blind after its verdict had left: it counts in
/// no rate.
pub const BLIND_LATE: &str = "blind_late";
/// The flag of a record whose judge's whole answer was not the one that its beginning promised.
pub const MISMATCHED_LATE: &str = "mismatched_late";
/// The flag of a record whose judge's answer broke off behind the scores.
pub const TRUNCATED_LATE: &str = "truncated_late";
/// The flag of a record of which a judge that only plays one was asked: no model saw the image.
pub const SIMULATED: &str = "simulated";

/// What came of a check's attempts after its answer had left, once it is known. It joins the record
/// and changes neither verdict nor scores.
#[derive(Clone, Debug, PartialEq)]
pub struct Remainder {
    /// The record's id.
    pub id: Uuid,
    /// What each attempt came to that was still open.
    pub attempts: Vec<LateAttempt>,
    /// The first judge's words by criterion.
    pub reasons: Vec<(String, String)>,
    /// What must be known of the record: [`BLIND_LATE`], [`MISMATCHED_LATE`], [`TRUNCATED_LATE`].
    pub flags: Vec<String>,
    /// Whether reasons and usage are all here now.
    pub complete: bool,
}

/// What one attempt came to after its scores.
#[derive(Clone, Debug, PartialEq)]
pub struct LateAttempt {
    /// Its place among the record's attempts.
    pub at: usize,
    /// From the call to its last byte, ms; `None` where that never came.
    pub ended_ms: Option<u64>,
    /// The provider's count.
    pub tokens: Option<Tokens>,
    /// The bill: from `tokens`, else the estimate.
    pub cost: MicroUsd,
    /// The provider's id of the call.
    pub request_id: Option<String>,
    /// What went wrong, for operators.
    pub detail: Option<String>,
}

/// Where a check's time went, ms. `total` and `record` are known only after the record is written.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Timing {
    /// From the first byte to the answer (in a stored record: to the write).
    pub total: f64,
    /// Reading the body.
    pub read: f64,
    /// Decoding the image.
    pub decode: f64,
    /// Local checks.
    pub checks: f64,
    /// Making views and prompts.
    pub prepare: f64,
    /// Waiting for judges.
    pub judge: f64,
    /// Writing the record; `None` in a stored record.
    pub record: Option<f64>,
}

/// The image as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageFacts {
    /// Of the bytes as they came.
    pub digest: Digest,
    /// By the bytes.
    pub format: Format,
    /// After orientation.
    pub width_px: u32,
    /// After orientation.
    pub height_px: u32,
    /// As it came.
    pub size_bytes: u64,
}

/// The policy that decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyRef {
    /// Its name.
    pub name: String,
    /// The digest of the resolved policy.
    pub revision: Digest,
    /// Whether its verdict binds.
    pub mode: Mode,
}

/// Everything kept of one check.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Ours, version 7: sorts by time.
    pub id: Uuid,
    /// When the check began, microseconds since the Unix epoch.
    pub at_us: i64,
    /// The caller's or our request id.
    pub request_id: String,
    /// The policy that decided.
    pub policy: PolicyRef,
    /// What the gate said.
    pub verdict: Verdict,
    /// Who judged; with a second opinion the first one.
    pub judge: Option<JudgeId>,
    /// Why that judge was called.
    pub route: Option<Route>,
    /// Every call, cancelled ones too, in starting order.
    pub attempts: Vec<Attempt>,
    /// Every local check that applied.
    pub findings: Vec<Finding>,
    /// Where the time went.
    pub timing: Timing,
    /// The deadline that held, ms from the first byte.
    pub deadline_ms: u64,
    /// All attempts together.
    pub cost: MicroUsd,
    /// Whether reasons and usage are all here.
    pub complete: bool,
    /// Whether the write was in the log before the answer left.
    pub recorded: bool,
    /// Whether the caller hung up before the answer.
    pub client_gone: bool,
    /// The image as it came.
    pub image: ImageFacts,
    /// The variables that applied.
    pub vars: BTreeMap<String, String>,
    /// The team that paid.
    pub team: Option<String>,
    /// The caller's own name for the image.
    pub external_id: Option<String>,
    /// Local risk: the largest of all findings, 0..=1.
    pub pre: f64,
    /// Probability, fixed before the call, that this record would exist; 1 for a served image.
    pub propensity: f64,
    /// Digest of what decided the judging: the policy's `judging`, the judge's model and parameters.
    pub judged_by: Digest,
}
