//! A story is a small world that is played once: a gate, simulated providers, a made-up history, and
//! something that goes wrong. What really happened is known, because the story made it happen.
//!
//! ```text
//! law ─▶ history ─▶ `vlmgate import` ─▶ gate ◀─ traffic ─▶ providers (same law)
//!  └────────────── truth ──────────────▶ drift: what the gate told, beside what was so
//! ```

pub mod demo;
pub mod drift;
mod files;
mod history;
mod law;
mod stage;
mod table;
mod traffic;
mod words;

/// The name of every story's policy.
const POLICY: &str = "product-photo";
