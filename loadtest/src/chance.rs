//! Chance is what looks random about a call and is not: every draw is a function of a seed.
//!
//! A load test that cannot be repeated proves nothing, so no generator is kept between calls: the
//! seed of a call is hashed from what the call is about, and each draw from the seed and a name.

use std::f64::consts::TAU;

/// A seed, and the draws that follow from it.
#[derive(Clone, Debug)]
pub(crate) struct Chance {
    seed: [u8; 32],
}

impl Chance {
    /// The seed made of these parts, in this order.
    pub(crate) fn of(parts: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            // The hash of each part has one length, so no two lists of parts look alike.
            hasher.update(blake3::hash(part).as_bytes());
        }
        Self { seed: *hasher.finalize().as_bytes() }
    }

    /// The same seed from parts that were hashed before: an image is hashed once.
    pub(crate) fn of_digests(parts: &[&blake3::Hash]) -> Self {
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            hasher.update(part.as_bytes());
        }
        Self { seed: *hasher.finalize().as_bytes() }
    }

    /// A draw from [0, 1), named so that two questions about one call do not share an answer.
    pub(crate) fn unit(&self, name: &str) -> f64 {
        f64::from(self.word(name)) / (f64::from(u32::MAX) + 1.0)
    }

    /// A whole number, for ranking.
    pub(crate) fn word(&self, name: &str) -> u32 {
        let hash = blake3::keyed_hash(&self.seed, name.as_bytes());
        let [a, b, c, d, ..] = *hash.as_bytes();
        u32::from_le_bytes([a, b, c, d])
    }

    /// A draw from the standard normal distribution (Box-Muller).
    pub(crate) fn normal(&self, name: &str) -> f64 {
        let radius = (1.0 - self.unit(&format!("{name} radius"))).ln();
        (-2.0 * radius).sqrt() * (TAU * self.unit(&format!("{name} angle"))).cos()
    }

    /// Thirty-two hexadecimal digits, for ids.
    pub(crate) fn hex(&self, name: &str) -> String {
        let mut hex = blake3::keyed_hash(&self.seed, name.as_bytes()).to_hex().to_string();
        hex.truncate(32);
        hex
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same_and_another_draws_otherwise() {
        let chance = Chance::of(&[b"a", b"bc"]);
        assert_eq!(chance.word("fault"), Chance::of(&[b"a", b"bc"]).word("fault"));
        assert_ne!(chance.word("fault"), Chance::of(&[b"ab", b"c"]).word("fault"));
        assert_ne!(chance.word("fault"), chance.word("latency"));
    }

    #[test]
    fn draws_have_the_mean_and_spread_that_they_claim() {
        let chances: Vec<Chance> =
            (0_u32..4_000).map(|n| Chance::of(&[&n.to_le_bytes()])).collect();
        let mean_unit = chances.iter().map(|c| c.unit("u")).sum::<f64>() / 4_000.0;
        assert!((0.47..0.53).contains(&mean_unit), "{mean_unit}");
        let mean_normal = chances.iter().map(|c| c.normal("n")).sum::<f64>() / 4_000.0;
        assert!(mean_normal.abs() < 0.08, "{mean_normal}");
        let variance = chances.iter().map(|c| c.normal("n").powi(2)).sum::<f64>() / 4_000.0;
        assert!((0.9..1.1).contains(&variance), "{variance}");
    }
}
