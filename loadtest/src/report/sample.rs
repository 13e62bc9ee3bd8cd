//! A made-up run for the tests of its report: a blackhole of 40 s that a gate survives.

use std::collections::BTreeMap;

use crate::outcome::Attribution;
use crate::outcome::FORMAT;
use crate::outcome::Figure;
use crate::outcome::FigureVerdict;
use crate::outcome::Limit;
use crate::outcome::Phase;
use crate::outcome::RigFacts;
use crate::outcome::Run;
use crate::outcome::ScenarioRun;
use crate::outcome::Second;
use crate::outcome::Switch;
use crate::outcome::Unit;

/// A figure with its line, judged by it.
pub(super) fn figure(id: &str, value: f64, unit: Unit, limit: Limit) -> Figure {
    Figure {
        id: id.to_owned(),
        says: format!("the {id}"),
        value: Some(value),
        unit,
        limit: Some(limit),
        verdict: limit.judge(Some(value)),
        oracle: Some(1.07),
        sim: Some(1.32),
        published: Some("0.9 -> 2.3 s".to_owned()),
        n: 1_600,
    }
}

/// One scenario with its p95, as multiples of the healthy one, and its share of verdicts.
pub(super) fn scenario(id: &str, seed: u64, p95: f64, verdict_share: f64) -> ScenarioRun {
    let phase = |name: &str, start_s, end_s| Phase { name: name.to_owned(), start_s, end_s };
    let switch = |at_s, says: &str| Switch { at_s, on: "a".to_owned(), says: says.to_owned() };
    ScenarioRun {
        id: id.to_owned(),
        title: "A stops answering".to_owned(),
        seed,
        rate_per_s: 40.0,
        deadline_ms: 5_000,
        streamed: true,
        phases: vec![
            phase("warm_up", 0.0, 15.0),
            phase("healthy", 15.0, 30.0),
            phase("fault", 30.0, 70.0),
            phase("recovery", 70.0, 100.0),
        ],
        switches: vec![switch(30.0, "blackhole"), switch(70.0, "healthy")],
        figures: vec![
            figure("p95", p95, Unit::TimesHealthy, Limit::at_most(1.35)),
            figure("verdict_share", verdict_share, Unit::Share, Limit::at_least(0.999)),
        ],
        timeline: (0..100_u32).map(second).collect(),
        attribution: vec![Attribution {
            phase: "fault".to_owned(),
            judge: "b".to_owned(),
            verdicts: 1_520,
            rejected: 152,
            would_reject: BTreeMap::from([("a".to_owned(), 106), ("b".to_owned(), 152)]),
        }],
        ..ScenarioRun::default()
    }
}

fn second(at: u32) -> Second {
    let in_fault = (30..70).contains(&at);
    let is_onset = (30..32).contains(&at);
    let p95_ms = if is_onset {
        1_800.0
    } else if in_fault {
        1_200.0
    } else {
        930.0
    };
    let (a, b) = if in_fault { (0, 39) } else { (39, 1) };
    let state = if in_fault && !is_onset { "open" } else { "closed" };
    let mut breakers = BTreeMap::from([("b".to_owned(), "closed".to_owned())]);
    breakers.insert("a".to_owned(), if at == 69 { "half_open" } else { state }.to_owned());
    Second {
        at_s: f64::from(at),
        sent: 40,
        answered: 40,
        verdicts: a + b,
        p50_ms: Some(p95_ms * 0.7),
        p95_ms: Some(p95_ms),
        p99_ms: (at != 50).then_some(p95_ms * 1.8),
        by_judge: BTreeMap::from([("a".to_owned(), a), ("b".to_owned(), b)]),
        by_basis: BTreeMap::from([("judge".to_owned(), a + b)]),
        in_flight: if is_onset { 70 } else { 28 },
        queued: Some(u64::from(is_onset) * 3),
        extra_calls: if is_onset { 30 } else { 2 },
        breakers,
        ..Second::default()
    }
}

/// A control that failed as it must, or did not.
pub(super) fn control(fails: bool) -> ScenarioRun {
    let mut control = scenario("C1", 1, 1.0, if fails { 0.53 } else { 1.0 });
    control.expected_to_fail = vec!["verdict_share".to_owned()];
    control.target = Some("hedged".to_owned());
    control
}

/// A run of these scenarios.
pub(super) fn run(scenarios: Vec<ScenarioRun>) -> Run {
    let rig = RigFacts {
        target: "vlmgate".to_owned(),
        cores: 2,
        seeds: vec![1],
        rate_per_s: 40.0,
        deadline_ms: 5_000,
        took_s: 1_720.0,
        ..RigFacts::default()
    };
    Run { format: FORMAT, rig, scenarios }
}

/// What a figure that could not be measured looks like.
pub(super) fn unmeasured(id: &str) -> Figure {
    Figure {
        value: None,
        verdict: FigureVerdict::Missed,
        ..figure(id, 0.0, Unit::S, Limit::at_most(8.0))
    }
}
