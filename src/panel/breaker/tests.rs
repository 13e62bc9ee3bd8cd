//! What opens a breaker, what closes it, and what never happens.

use super::*;

const STRIKE_ALONE: Fault = Fault::Strike { answers: false };
const ALONE: Others = Others { closed: 0, open: 0 };
const BESIDE_ONE: Others = Others { closed: 1, open: 0 };

/// A breaker and a clock that stands.
struct Scene {
    breaker: Breaker,
    now: Instant,
    others: Others,
}

impl Scene {
    fn new() -> Self {
        let breaker = Breaker::new(Rules::default());
        Self { breaker, now: Instant::now(), others: BESIDE_ONE }
    }

    fn later(&mut self, secs: f64) {
        self.now += Duration::from_secs_f64(secs);
    }

    fn bad(&mut self, fault: Fault) {
        self.breaker.bad(fault, Turn::InTurn, self.others, (self.now, 0.5));
    }

    fn strikes(&mut self, times: u32) {
        (0..times).for_each(|_| self.bad(STRIKE_ALONE));
    }

    fn opened(mut self) -> Self {
        self.strikes(5);
        assert_eq!(self.breaker.state(), BreakerState::Open);
        self
    }

    fn probes(&mut self) -> bool {
        self.breaker.probe(self.now, || true)
    }

    fn probe_is(&mut self, good: bool) {
        assert!(self.probes(), "no probe is due");
        if good {
            self.breaker.good(Turn::Probe, self.now);
        } else {
            self.breaker.bad(STRIKE_ALONE, Turn::Probe, self.others, (self.now, 0.5));
        }
        self.breaker.probe_ended();
    }

    /// Ten clean probes.
    fn closes(&mut self) {
        (0..10).for_each(|_| self.probe_is(true));
        assert!(self.breaker.is_closed());
    }
}

#[test]
fn five_strikes_running_open_it_and_four_do_not() {
    let mut scene = Scene::new();
    scene.strikes(4);
    assert!(scene.breaker.is_closed());
    scene.strikes(1);
    assert_eq!(scene.breaker.state(), BreakerState::Open);
}

#[test]
fn a_healthy_judge_never_opens_whatever_its_tail() {
    // one call in twelve outlives the strike age
    let mut scene = Scene::new();
    for call in 0..10_000 {
        if call % 12 == 0 {
            scene.strikes(1);
        } else {
            scene.breaker.good(Turn::InTurn, scene.now);
        }
        assert!(scene.breaker.is_closed());
    }
}

#[test]
fn four_of_ten_hung_calls_open_it() {
    let mut scene = Scene::new();
    let opens = (0..60).find(|call| {
        if call % 5 < 2 {
            scene.strikes(1);
        } else {
            scene.breaker.good(Turn::InTurn, scene.now);
        }
        !scene.breaker.is_closed()
    });
    assert!(opens.is_some());
}

#[test]
fn four_of_ten_errors_that_come_at_once_do_not() {
    // a refusal after 0.2 s is a third of a call where answers leave at their scores
    for time_lost in [0.1, 0.4] {
        let mut scene = Scene::new();
        for call in 0..10_000 {
            if call % 5 < 2 {
                scene.bad(Fault::Error { time_lost });
            } else {
                scene.breaker.good(Turn::InTurn, scene.now);
            }
            assert!(scene.breaker.is_closed(), "{time_lost}");
        }
    }
}

#[test]
fn an_error_weighs_the_time_it_cost() {
    for (time_lost, expected) in
        [(0.0, 0.1), (0.325, 0.1), (0.4, 0.2), (0.625, 0.5), (1.0, 1.0), (7.0, 1.0)]
    {
        let told = weight(time_lost);
        assert!((told - expected).abs() < 1e-9, "{time_lost}: {told}");
    }
}

#[test]
fn the_fewer_are_left_the_more_evidence_it_takes() {
    let mut scene = Scene::new();
    scene.others = Others { closed: 1, open: 1 };
    scene.strikes(8);
    assert!(scene.breaker.is_closed());
    scene.strikes(1);
    assert!(!scene.breaker.is_closed());
}

#[test]
fn for_five_seconds_after_a_429_a_judge_that_answers_others_does_not_strike() {
    let mut scene = Scene::new();
    scene.breaker.limited(scene.now);
    scene.later(4.9);
    (0..50).for_each(|_| scene.bad(Fault::Strike { answers: true }));
    assert!(scene.breaker.score() < 1e-9);
    scene.later(0.2);
    (0..5).for_each(|_| scene.bad(Fault::Strike { answers: true }));
    assert!(!scene.breaker.is_closed());
}

#[test]
fn a_silent_judge_opens_whether_it_said_429_or_not() {
    let mut scene = Scene::new();
    scene.breaker.limited(scene.now);
    scene.strikes(5);
    assert!(!scene.breaker.is_closed());
}

#[test]
fn a_judge_without_a_valid_key_is_left_alone_for_a_minute() {
    let mut scene = Scene::new();
    scene.bad(Fault::Auth);
    assert_eq!(scene.breaker.state(), BreakerState::Open);
    scene.later(59.9);
    assert!(!scene.probes());
    scene.later(0.1);
    assert!(scene.probes());
}

#[test]
fn three_bad_requests_running_are_our_mistake() {
    let mut scene = Scene::new();
    scene.bad(Fault::BadRequest);
    scene.bad(Fault::BadRequest);
    scene.breaker.heard();
    scene.bad(Fault::BadRequest);
    scene.bad(Fault::BadRequest);
    assert!(scene.breaker.is_closed() && scene.breaker.score() == 0.0);
    scene.bad(Fault::BadRequest);
    assert!(!scene.breaker.is_closed());
    scene.later(59.0);
    assert!(!scene.probes());
}

#[test]
fn probes_that_fail_come_one_at_a_time_and_ever_further_apart() {
    let mut scene = Scene::new().opened();
    assert!(!scene.probes());
    scene.later(1.0);
    assert!(scene.probes());
    scene.later(9.0);
    assert!(!scene.probes(), "one is under way");
    scene.breaker.bad(STRIKE_ALONE, Turn::Probe, scene.others, (scene.now, 0.5));
    scene.breaker.probe_ended();
    for hold in [1.5, 2.25, 2.5, 2.5] {
        scene.later(hold - 0.01);
        assert!(!scene.probes(), "after {hold} s");
        scene.later(0.02);
        scene.probe_is(false);
    }
}

#[test]
fn a_probe_that_says_429_leaves_the_next_its_time() {
    let mut scene = Scene::new().opened();
    scene.later(1.0);
    assert!(scene.probes());
    scene.breaker.limited(scene.now);
    scene.breaker.probe_ended();
    assert!(!scene.probes());
    scene.later(1.0);
    assert!(scene.probes());
}

#[test]
fn holds_are_spread_by_a_fifth_to_either_side() {
    for (jitter, hold) in [(0.0, 1.2), (1.0, 1.8)] {
        let mut scene = Scene::new().opened();
        scene.later(1.0);
        assert!(scene.probes());
        scene.breaker.bad(STRIKE_ALONE, Turn::Probe, scene.others, (scene.now, jitter));
        scene.breaker.probe_ended();
        scene.later(hold - 0.01);
        assert!(!scene.probes());
        scene.later(0.02);
        assert!(scene.probes());
    }
}

#[test]
fn probes_that_fail_are_paid_for_and_those_that_succeed_are_not() {
    let mut scene = Scene::new().opened();
    scene.later(1.0);
    assert!(!scene.breaker.probe(scene.now, || false));
    scene.probe_is(true);
    assert_eq!(scene.breaker.state(), BreakerState::HalfOpen);
    assert!(scene.breaker.probe(scene.now, || panic!("it is free")));
}

#[test]
fn ten_clean_probes_close_it_and_a_quarter_of_the_images_come_back_at_first() {
    let mut scene = Scene::new().opened();
    scene.later(1.0);
    scene.closes();
    let share = |scene: &Scene| {
        let admits = |&draw: &i32| scene.breaker.admits(f64::from(draw) / 100.0, scene.now);
        (0..100).filter(admits).count()
    };
    assert_eq!(share(&scene), 25);
    scene.later(1.0);
    assert!((62..=63).contains(&share(&scene)));
    scene.later(1.0);
    assert_eq!(share(&scene), 100);
}

#[test]
fn the_more_probes_succeed_the_more_are_under_way_at_once() {
    let mut scene = Scene::new().opened();
    scene.later(1.0);
    let mut at_once = Vec::new();
    for _ in 0..9 {
        let mut probes = scene.breaker.clone();
        at_once.push((0..9).take_while(|_| probes.probe(scene.now, || true)).count());
        scene.probe_is(true);
    }
    assert_eq!(at_once, [1, 2, 3, 4, 4, 4, 4, 4, 4]);
}

#[test]
fn a_judge_that_is_ill_again_soon_after_closing_is_found_out_sooner() {
    // three calls of ten fail, and cost what a call costs
    let calls_until_open = |mut scene: Scene| {
        let opens = |scene: &Scene| !scene.breaker.is_closed();
        (0..1_000).find(|call| {
            match call % 10 {
                0 | 3 | 6 => scene.bad(Fault::Error { time_lost: 0.8 }),
                _ => scene.breaker.good(Turn::InTurn, scene.now),
            }
            opens(&scene)
        })
    };
    let mut closed = Scene::new().opened();
    closed.later(1.0);
    closed.closes();
    let mut healed = Scene { breaker: closed.breaker.clone(), ..closed };
    healed.later(31.0);
    let soon = calls_until_open(Scene { breaker: healed.breaker.clone(), ..closed });
    assert_eq!((soon, calls_until_open(healed)), (Some(13), Some(33)));
}

#[test]
fn one_bad_probe_takes_nearly_five_good_ones_back() {
    let mut scene = Scene::new().opened();
    scene.later(1.0);
    (0..8).for_each(|_| scene.probe_is(true));
    let before = scene.breaker.score();
    scene.probe_is(false);
    assert_eq!(scene.breaker.state(), BreakerState::HalfOpen);
    assert!((scene.breaker.score() - before - 4.3).abs() < 1e-9);
    assert!(scene.probes(), "the next need not wait");
    scene.breaker.probe_ended();
    // where fewer came before it all of them
    scene.probe_is(false);
    assert_eq!(scene.breaker.state(), BreakerState::Open);
    scene.later(1.4);
    assert!(!scene.probes());
    scene.later(0.2);
    scene.closes();
}

#[test]
fn a_judge_that_is_all_but_back_is_looked_at_again_soon_and_one_that_was_lucky_is_not() {
    for (good, hold) in [(1, 2.25), (3, 2.25), (4, 1.0), (5, 1.0)] {
        let mut scene = Scene::new().opened();
        scene.later(1.0);
        scene.probe_is(false);
        scene.later(2.0);
        (0..good).for_each(|_| scene.probe_is(true));
        scene.probe_is(false);
        scene.later(hold - 0.01);
        assert!(!scene.probes(), "{good} good ones");
        scene.later(0.02);
        assert!(scene.probes(), "{good} good ones");
    }
}

#[test]
fn calls_from_before_it_opened_say_nothing() {
    let mut scene = Scene::new().opened();
    let score = scene.breaker.score();
    scene.breaker.good(Turn::InTurn, scene.now);
    scene.strikes(3);
    assert!((scene.breaker.score() - score).abs() < 1e-9);
}

#[test]
fn a_judge_that_flaps_stays_away_and_proves_itself_longer_each_time() {
    let mut scene = Scene::new().opened();
    scene.later(1.0);
    scene.closes();
    for most in [13, 18, 26, 26] {
        scene.later(3.0);
        scene.strikes(5);
        assert!(!scene.breaker.is_closed());
        scene.later(7.9);
        assert!(!scene.probes(), "ten seconds less two");
        scene.later(0.2);
        (0..most).for_each(|_| scene.probe_is(true));
        assert_eq!(scene.breaker.state(), BreakerState::HalfOpen, "ten seconds are not over");
        scene.later(2.0);
        scene.probe_is(true);
        assert!(scene.breaker.is_closed());
    }
    // a minute of peace is forgiven
    scene.later(61.0);
    scene.strikes(5);
    scene.later(1.0);
    scene.closes();
}

#[test]
fn the_good_probes_that_close_a_breaker_grow_with_its_flaps() {
    let mut scene = Scene::new().opened();
    let mut asked = Vec::new();
    for _ in 0..5 {
        scene.later(12.0);
        let goes_on = |_: &usize| {
            scene.probe_is(true);
            !scene.breaker.is_closed()
        };
        asked.push(1 + (0..100).take_while(goes_on).count());
        scene.later(3.0);
        scene.strikes(5);
    }
    assert_eq!(asked, [10, 13, 18, 26, 26]);
}

mod properties;
