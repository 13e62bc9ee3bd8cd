//! Simulated providers of vision models, on real sockets, with faults as data.
//!
//! A gate that must answer before a deadline can only be trusted against providers that hang, lie and
//! cut the line; real ones do so rarely and never on demand. A [`SimulatedProvider`] speaks one
//! [`Dialect`] over hand-written HTTP/1.1, so that a [`Fault`] acts on the socket itself, and answers
//! by the bytes of the image alone, so that a test can say what every judge must have said
//! ([`expected_scores`]). Nothing here depends on `vlmgate`: it is tested through what users get.
//!
//! ```text
//! socket ─▶ wire: one request ─▶ dialect: which route ─▶ request: Question or Failure
//!                                                              │ judging: scores by image bytes
//!        call log ◀─ call: wait, deliver ◀─ plan: fault? ◀─────┘ reply: the dialect's body,
//!                                            slot? rate? law?          whole or as a stream
//! ```
//!
//! ```no_run
//! use loadtest::{Behaviour, Dialect, Fault, Outcome, Settings, SimulatedProvider};
//!
//! # async fn example() -> std::io::Result<()> {
//! let provider = SimulatedProvider::start(Settings::new(Dialect::OpenAi))?;
//! let base_url = provider.base_url(); // goes into the gate's configuration
//! provider.set_behaviour(Behaviour { share: 0.4, ..Behaviour::failing(Fault::status(529)) });
//! provider.set_behaviour(Behaviour::failing(Fault::Blackhole));
//! provider.until(|calls| calls.iter().any(|call| call.outcome == Outcome::Hung)).await;
//! # Ok(()) }
//! ```

mod admin;
pub mod arrivals;
mod behaviour;
mod chance;
mod config;
mod dialect;
pub mod evidence;
mod failure;
pub mod figures;
pub mod gallery;
mod judging;
mod latency;
mod log;
mod monotonic;
pub mod outcome;
mod picture;
mod provider;
pub mod quantile;
mod reply;
pub mod report;
mod request;
pub mod rig;
pub mod sample;
pub mod scenario;
mod schema;
pub mod story;
pub mod timeline;
mod tokens;
mod web;
mod wire;

pub use crate::admin::Admin;
pub use crate::behaviour::{Behaviour, Fault, Flap, Hit, UnknownFault};
pub use crate::config::vlmgate_config;
pub use crate::dialect::{Dialect, UnknownDialect};
pub use crate::judging::{Judging, expected_scores, expected_scores_by_digest};
pub use crate::latency::{Latency, Law, Tailed, UnknownLaw};
pub use crate::log::{CallKind, CallLog, CallRow, Credential, Outcome, Page};
pub use crate::provider::{Open, Remote, Settings, SimulatedProvider};
pub use crate::reply::SIMULATED_TOKEN;
