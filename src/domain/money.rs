//! Money is a whole number of micro-dollars, and a price is dated data from a file.

use std::fmt;
use std::iter::Sum;
use std::ops::Add;

/// An amount in micro-dollars (1 USD = 1 000 000). Arithmetic saturates: a bill never wraps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MicroUsd(pub u64);

impl Add for MicroUsd {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sum for MicroUsd {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::default(), Add::add)
    }
}

impl fmt::Display for MicroUsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06} USD", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

/// What one call read and wrote, as the provider counted it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// All input tokens, cached ones included.
    pub input: u64,
    /// The part of `input` that was served from the provider's cache.
    pub cached: u64,
    /// All output tokens, thinking included.
    pub output: u64,
    /// The part of `input` that the image took, where the provider says so.
    pub image: Option<u64>,
}

/// A price list entry: nano-dollars per token (0.10 USD per million tokens = 100).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Price {
    /// Per input token that was not cached.
    pub input_nano_usd: u64,
    /// Per cached input token.
    pub cached_nano_usd: u64,
    /// Per output token.
    pub output_nano_usd: u64,
    /// The day the prices were read, `YYYY-MM-DD`.
    pub as_of: String,
}

impl Price {
    /// The bill for `tokens`, rounded up to a whole micro-dollar.
    #[must_use]
    pub fn cost(&self, tokens: Tokens) -> MicroUsd {
        let fresh = tokens.input.saturating_sub(tokens.cached);
        let nano = fresh
            .saturating_mul(self.input_nano_usd)
            .saturating_add(tokens.cached.saturating_mul(self.cached_nano_usd))
            .saturating_add(tokens.output.saturating_mul(self.output_nano_usd));
        MicroUsd(nano.div_ceil(1_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_billed_by_kind_of_token_and_rounded_up() {
        let price = Price {
            input_nano_usd: 100,
            cached_nano_usd: 10,
            output_nano_usd: 500,
            as_of: "2026-11-21".to_owned(),
        };
        let tokens = Tokens { input: 1_605, cached: 5, output: 58, image: None };
        // 1600 x 100 + 5 x 10 + 58 x 500 = 189 050 nano-dollars
        assert_eq!(price.cost(tokens), MicroUsd(190));
    }

    #[test]
    fn an_absurd_count_saturates_and_does_not_wrap() {
        let price = Price { input_nano_usd: u64::MAX, ..Price::default() };
        let tokens = Tokens { input: u64::MAX, ..Tokens::default() };
        assert_eq!(price.cost(tokens), MicroUsd(u64::MAX.div_ceil(1_000)));
    }

    #[test]
    fn an_amount_prints_as_dollars() {
        assert_eq!(MicroUsd(1_000_190).to_string(), "1.000190 USD");
    }
}
