//! Arrivals are when requests are due: a function of the seed alone, made before anything is sent.
//!
//! An open loop sends at these times whatever the answers do; latency counts from them, so a target
//! that makes its callers wait cannot hide it by slowing the arrivals down.

use crate::chance::Chance;
use crate::scenario::Scenario;
use crate::scenario::Spread;

/// When each request is due, in seconds since the run began, in order.
#[must_use]
pub fn arrivals(scenario: &Scenario, rate_per_s: f64, seed: u64) -> Vec<f64> {
    let seconds = &scenario.seconds;
    let surges = [Some((seconds.fault_at_s(), seconds.mended_at_s())), scenario.first_surge];
    let is_surging =
        |at_s: f64| surges.iter().flatten().any(|(from, to)| *from <= at_s && at_s < *to);
    let mut due = Vec::new();
    let (mut at_s, mut n) = (0.0_f64, 0_u32);
    while at_s < seconds.end_s() && n < MAX_ARRIVALS {
        let rate = if is_surging(at_s) { rate_per_s * scenario.surge } else { rate_per_s };
        let chance = Chance::of(&[b"arrival", &seed.to_le_bytes(), &n.to_le_bytes()]);
        let gap_s = match scenario.arrivals {
            Spread::Poisson => -(1.0 - chance.unit("gap")).ln() / rate,
            Spread::Constant => 1.0 / rate,
        };
        at_s += gap_s;
        n += 1;
        due.push(at_s);
    }
    due.retain(|&at_s| at_s < seconds.end_s());
    due
}

/// A bound for a rate that somebody mistyped.
const MAX_ARRIVALS: u32 = 5_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario(more: &str) -> Scenario {
        Scenario::parse(&format!("id: X\ntitle: x\n{more}")).unwrap()
    }

    #[test]
    fn the_same_seed_makes_the_same_arrivals_and_another_makes_others() {
        let scenario = scenario("");
        assert_eq!(arrivals(&scenario, 20.0, 1), arrivals(&scenario, 20.0, 1));
        assert_ne!(arrivals(&scenario, 20.0, 1), arrivals(&scenario, 20.0, 2));
    }

    #[test]
    fn poisson_arrivals_have_their_rate_and_surge_in_the_fault_alone() {
        let due = arrivals(&scenario("surge: 7\n"), 20.0, 3);
        let between =
            |low: f64, high: f64| due.iter().filter(|&&at_s| low <= at_s && at_s < high).count();
        assert!((520..680).contains(&between(0.0, 30.0)), "{}", between(0.0, 30.0));
        assert!((5_300..5_900).contains(&between(30.0, 70.0)), "{}", between(30.0, 70.0));
        assert!((520..680).contains(&between(70.0, 100.0)), "{}", between(70.0, 100.0));
        assert!(due.is_sorted());
    }

    #[test]
    fn a_first_surge_comes_in_the_warm_up() {
        let due = arrivals(&scenario("surge: 7\nfirst_surge: [4, 8]\n"), 20.0, 3);
        let between =
            |low: f64, high: f64| due.iter().filter(|&&at_s| low <= at_s && at_s < high).count();
        assert!((50..110).contains(&between(0.0, 4.0)), "{}", between(0.0, 4.0));
        assert!((480..640).contains(&between(4.0, 8.0)), "{}", between(4.0, 8.0));
        assert!((360..520).contains(&between(8.0, 30.0)), "{}", between(8.0, 30.0));
    }

    #[test]
    fn constant_arrivals_are_even() {
        let due = arrivals(&scenario("arrivals: constant\n"), 10.0, 1);
        assert!((998..=1_000).contains(&due.len()), "{}", due.len());
        assert!(due.windows(2).all(|two| (two[1] - two[0] - 0.1).abs() < 1e-6));
    }
}
