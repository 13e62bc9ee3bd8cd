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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn the_last_closed_judge_never_opens(events in prop::collection::vec(any_event(), 0..300)) {
        let mut scene = Scene::new();
        scene.others = ALONE;
        for event in events {
            scene.happens(event);
            prop_assert!(scene.breaker.is_closed(), "after {event:?}");
        }
    }

    #[test]
    fn the_score_stays_between_0_and_the_threshold(
        events in prop::collection::vec((any_event(), any_others()), 0..300),
    ) {
        let mut scene = Scene::new();
        for (event, others) in events {
            scene.others = others;
            scene.happens(event);
            let score = scene.breaker.score();
            // closed beside 2 open ones it takes up to three times the evidence
            let most = if scene.breaker.is_closed() { 3.0 } else { 1.0 } * 9.2 + 1e-9;
            prop_assert!((0.0..=most).contains(&score), "{score} after {event:?}");
        }
    }

    #[test]
    fn only_strikes_and_errors_raise_the_score(
        events in prop::collection::vec((any_event(), any_others()), 0..300),
    ) {
        let mut scene = Scene::new();
        for (event, others) in events {
            scene.others = others;
            let (before, was_closed) = (scene.breaker.score(), scene.breaker.is_closed());
            scene.happens(event);
            // closing leaves it with a share of the threshold
            let closed = !was_closed && scene.breaker.is_closed();
            let rose = before < scene.breaker.score() && !closed;
            prop_assert!(!rose || matches!(event, Event::Bad(..)), "{event:?}");
        }
    }

    #[test]
    fn at_most_four_probes_are_under_way_and_none_of_a_closed_judge_starts(
        events in prop::collection::vec((any_event(), any_others()), 0..300),
    ) {
        let mut scene = Scene::new();
        for (event, others) in events {
            scene.others = others;
            let (before, was_closed) = (scene.breaker.probes(), scene.breaker.is_closed());
            scene.happens(event);
            prop_assert!(scene.breaker.probes() <= 4, "{event:?}");
            prop_assert!(!was_closed || scene.breaker.probes() <= before, "{event:?}");
        }
    }

    #[test]
    fn it_never_closes_before_its_time_and_only_by_a_good_probe(
        events in prop::collection::vec((any_event(), any_others()), 0..300),
    ) {
        let mut scene = Scene::new();
        for (event, others) in events {
            scene.others = others;
            let place = scene.breaker.place;
            scene.happens(event);
            let Place::Open { until, .. } = place else { continue };
            if scene.breaker.is_closed() {
                prop_assert!(matches!(event, Event::Good(Turn::Probe)), "{event:?}");
                prop_assert!(until <= scene.now, "too early");
            }
        }
    }

    #[test]
    fn it_opens_only_at_the_threshold_or_for_a_fault_of_configuration(
        events in prop::collection::vec((any_event(), any_others()), 0..300),
    ) {
        let mut scene = Scene::new();
        for (event, others) in events {
            scene.others = others;
            let (before, was_closed) = (scene.breaker.score(), scene.breaker.is_closed());
            scene.happens(event);
            if was_closed && !scene.breaker.is_closed() {
                let by_fault =
                    matches!(event, Event::Bad(Fault::Auth | Fault::BadRequest, _));
                let threshold = 9.2 * (1.0 + f64::from(others.open));
                prop_assert!(by_fault || threshold <= before + 2.15 + 1e-9, "{event:?}");
                prop_assert!(0 < others.closed, "it was the last one");
            }
        }
    }
}
