//! What never happens to a breaker, whatever does.

use super::*;

use proptest::prelude::*;

/// Anything that can happen to a breaker.
#[derive(Clone, Copy, Debug)]
enum Event {
    Good(Turn),
    Heard,
    Bad(Fault, Turn),
    Limited,
    Probe(bool),
    ProbeEnded,
    Wait(u64),
}

fn any_event() -> impl Strategy<Value = Event> {
    let turn = || prop_oneof![Just(Turn::InTurn), Just(Turn::Probe)];
    let fault = prop_oneof![
        6 => any::<bool>().prop_map(|answers| Fault::Strike { answers }),
        3 => (0.0..3.0_f64).prop_map(|time_lost| Fault::Error { time_lost }),
        1 => Just(Fault::Auth),
        1 => Just(Fault::BadRequest),
    ];
    prop_oneof![
        4 => turn().prop_map(Event::Good),
        1 => Just(Event::Heard),
        6 => (fault, turn()).prop_map(|(fault, turn)| Event::Bad(fault, turn)),
        1 => Just(Event::Limited),
        3 => any::<bool>().prop_map(Event::Probe),
        2 => Just(Event::ProbeEnded),
        2 => (0_u64..8_000).prop_map(Event::Wait),
    ]
}

fn any_others() -> impl Strategy<Value = Others> {
    (0_u32..3, 0_u32..3).prop_map(|(closed, open)| Others { closed, open })
}

impl Scene {
    fn happens(&mut self, event: Event) {
        match event {
            Event::Good(turn) => self.breaker.good(turn, self.now),
            Event::Heard => self.breaker.heard(),
            Event::Bad(fault, turn) => {
                self.breaker.bad(fault, turn, self.others, (self.now, 0.5));
            }
            Event::Limited => self.breaker.limited(self.now),
            Event::Probe(paid) => drop(self.breaker.probe(self.now, || paid)),
            Event::ProbeEnded => self.breaker.probe_ended(),
            Event::Wait(millis) => self.now += Duration::from_millis(millis),
        }
    }
}

/// A breaker as it was before something happened to it.
struct Before {
    score: f64,
    is_closed: bool,
    probes: u32,
    place: Place,
}

/// Has all of it happen to one breaker, and asks `holds` after each.
fn live(
    events: Vec<(Event, Others)>,
    holds: impl Fn(&Before, Event, &Scene) -> Result<(), TestCaseError>,
) -> Result<(), TestCaseError> {
    let mut scene = Scene::new();
    for (event, others) in events {
        scene.others = others;
        let Scene { breaker, .. } = &scene;
        let (score, is_closed) = (breaker.score(), breaker.is_closed());
        let before = Before { score, is_closed, probes: breaker.probes(), place: breaker.place };
        scene.happens(event);
        holds(&before, event, &scene)?;
    }
    Ok(())
}

fn any_life() -> impl Strategy<Value = Vec<(Event, Others)>> {
    prop::collection::vec((any_event(), any_others()), 0..300)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn the_last_closed_judge_never_opens(events in prop::collection::vec(any_event(), 0..300)) {
        let alone = events.into_iter().map(|event| (event, ALONE)).collect();
        live(alone, |_, event, after| {
            prop_assert!(after.breaker.is_closed(), "after {event:?}");
            Ok(())
        })?;
    }

    #[test]
    fn the_score_stays_between_0_and_the_threshold(events in any_life()) {
        live(events, |_, event, after| {
            let score = after.breaker.score();
            // closed beside 2 open ones it takes up to three times the evidence
            let most = if after.breaker.is_closed() { 3.0 } else { 1.0 } * 9.2 + 1e-9;
            prop_assert!((0.0..=most).contains(&score), "{score} after {event:?}");
            Ok(())
        })?;
    }

    #[test]
    fn only_strikes_and_errors_raise_the_score(events in any_life()) {
        live(events, |before, event, after| {
            // closing leaves it with a share of the threshold
            let closed = !before.is_closed && after.breaker.is_closed();
            let rose = before.score < after.breaker.score() && !closed;
            prop_assert!(!rose || matches!(event, Event::Bad(..)), "{event:?}");
            Ok(())
        })?;
    }

    #[test]
    fn at_most_four_probes_are_under_way_and_none_of_a_closed_judge_starts(events in any_life()) {
        live(events, |before, event, after| {
            let probes = after.breaker.probes();
            prop_assert!(probes <= 4, "{event:?}");
            prop_assert!(!before.is_closed || probes <= before.probes, "{event:?}");
            Ok(())
        })?;
    }

    #[test]
    fn it_never_closes_before_its_time_and_only_by_a_good_probe(events in any_life()) {
        live(events, |before, event, after| {
            if let Place::Open { until, .. } = before.place
                && after.breaker.is_closed()
            {
                prop_assert!(matches!(event, Event::Good(Turn::Probe)), "{event:?}");
                prop_assert!(until <= after.now, "too early");
            }
            Ok(())
        })?;
    }

    #[test]
    fn it_opens_only_at_the_threshold_or_for_a_fault_of_configuration(events in any_life()) {
        live(events, |before, event, after| {
            if before.is_closed && !after.breaker.is_closed() {
                let by_fault =
                    matches!(event, Event::Bad(Fault::Auth | Fault::BadRequest, _));
                let threshold = 9.2 * (1.0 + f64::from(after.others.open));
                prop_assert!(by_fault || threshold <= before.score + 2.15 + 1e-9, "{event:?}");
                prop_assert!(0 < after.others.closed, "it was the last one");
            }
            Ok(())
        })?;
    }

    #[test]
    fn whoever_is_back_is_given_more_and_more_until_it_has_all(
        ramp_ms in 0_u64..20_000,
        looks in prop::collection::vec((0.0..1.0_f64, 0_u64..1_000), 1..60),
    ) {
        let mut scene = Scene::new();
        let rules = Rules { ramp: Duration::from_millis(ramp_ms), ..Rules::default() };
        scene.breaker = Breaker::new(rules);
        let mut scene = scene.opened();
        scene.later(60.0);
        scene.closes();
        let closed_at = scene.now;
        let mut let_in: f64 = 0.0;
        for (chance, wait_ms) in looks {
            let admits = scene.breaker.admits(chance, scene.now);
            prop_assert!(RAMP_FROM <= chance || admits, "{chance} at {:?}", scene.now - closed_at);
            prop_assert!(let_in < chance || admits, "{chance} was let in before");
            let_in = if admits { let_in.max(chance) } else { let_in };
            let is_over = Duration::from_millis(ramp_ms) <= scene.now - closed_at;
            prop_assert!(!is_over || admits, "{chance} after the ramp");
            scene.now += Duration::from_millis(wait_ms);
        }
    }
}
