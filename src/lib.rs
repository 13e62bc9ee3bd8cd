//! vlmgate is a quality gate on the serving path of generated images. A caller posts an image before
//! it is served; the gate measures it locally, shows a downscaled view to a vision-language model (a
//! *judge*), and answers pass, fail or review before a hard deadline, whatever the model providers
//! do. Every answer says which judge gave it.
//!
//! ```text
//! bytes + headers
//!   │ http::verdicts        parse; runs on the TaskTracker, so a hang-up does not cancel it
//!   ▼
//! Submission                believed about nothing; holds in-flight permit, byte permit, journal slot
//!   │ Candidate::admit      → Inadmissible (413/415/422, counted, no record)
//!   ▼
//! Candidate                 bytes, digest, format
//!   │ Imaging::prepare      CPU pool, under the Deadline; one decode, shared bytes
//!   ▼
//! Prepared                  findings, views, measurements   ── a blocking finding skips the panel
//!   │ Panel::race           Question = the policy's criteria + views
//!   ▼
//! Outcome + [Attempt]       Judged | Exhausted | Late; every attempt, the cancelled ones too
//!   │ verdict::decide       pure
//!   ▼
//! Verdict                   pass | fail | review, basis, scores, reasons
//!   │ Ledger::append        cannot fail for lack of room: the slot was reserved
//!   ▼
//! Record ──▶ answer (JSON)   └─▶ gate::shadow   other judges, behind the answer; no verdict rests on it
//! ```
//!
//! # Reading order
//!
//! [`gate`] tells the story on one screen; then [`domain`] (the nouns and the decision), [`panel`]
//! (who is asked, and the race), [`provider`] (judges over HTTP, pure `encode` and `decode`),
//! [`imaging`], [`ledger`], [`prompt`], [`rehearse`] (policy tests), [`drill`] (a judge broken on
//! purpose), [`drift`] (who judged what, and what made the reject rate move), [`http`], [`config`],
//! [`app`] and [`cli`]. A module imports only earlier ones: `domain < drift < clock < telemetry <
//! prompt < imaging < panel < provider < ledger < gate < rehearse < drill < http < config < app <
//! cli`; a test holds them to it.
//!
//! # Invariants
//!
//! 1. The domain never waits.
//! 2. Every queue, cache, body, loop and pixel count has a bound, and every queue a metric.
//! 3. Every wait has a [`clock::Deadline`]; a deadline is an instant and only gets earlier.
//! 4. A check ends in exactly one record, also when the client hung up, the judge hung or the
//!    process was told to stop.
//! 5. A verdict answered as recorded survives kill -9; the deadline wins over the disk, and says so
//!    (`recorded: false`).
//! 6. The first *valid judgement* wins a race; an error, a refusal, an empty or unreadable answer
//!    never does, and never becomes a pass.
//! 7. No attempt without budget: hedge share and cost cap are asked before the call.
//! 8. The policy revision in a record is the digest of the resolved policy that decided it, prompts
//!    and lists included.
//! 9. A provider's text never reaches a metric label, a log field name or a template unescaped.
//! 10. An image that no judge saw does not count in the reject rate.
//! 11. A dead provider or store never makes a replica unready.

pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod domain;
pub mod drift;
pub mod drill;
pub mod gate;
pub mod http;
pub mod imaging;
pub mod ledger;
pub mod panel;
pub mod prompt;
pub mod provider;
pub mod rehearse;
pub mod telemetry;
