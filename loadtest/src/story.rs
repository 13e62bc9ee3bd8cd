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
pub mod shadow;
mod stage;
mod table;
mod traffic;
mod words;

/// The name of every story's policy.
const POLICY: &str = "product-photo";

/// Pictures a second, as somebody types them.
fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse::<f64>().ok().filter(|rate| 0.1 <= *rate && *rate <= 1_000.0);
    rate.ok_or_else(|| "pictures a second, from 0.1 to 1000".to_owned())
}
