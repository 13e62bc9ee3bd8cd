use super::*;

use proptest::prelude::*;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A provider that admits `per_s` calls a second, as many saved up at most, and closes for a while
/// when it is asked for more.
struct Provider {
    per_s: f64,
    saved: f64,
    closed_for: Duration,
    closed_until: Instant,
    admitted: u32,
    refused: u32,
}

impl Provider {
    fn new(per_s: f64, closed_for: Duration, now: Instant) -> Self {
        Self { per_s, saved: per_s, closed_for, closed_until: now, admitted: 0, refused: 0 }
    }

    /// So many calls a second come for `seconds`, at even distances, and are sent where `rate` lets
    /// them; a share of what came was admitted.
    fn serve(&mut self, rate: &mut Rate, per_s: u64, (from, seconds): (Instant, u64)) -> f64 {
        let (admitted, every) = (self.admitted, ms(1_000 / per_s));
        for at in 1..=seconds * per_s {
            let now = from + every * u32::try_from(at).unwrap();
            self.saved = (self.saved + self.per_s * every.as_secs_f64()).min(self.per_s);
            if now < self.closed_until || !rate.has_room(now) {
                continue;
            }
            rate.entered(now);
            if 1.0 <= self.saved {
                self.saved -= 1.0;
                self.admitted += 1;
            } else {
                self.refused += 1;
                self.closed_until = now + self.closed_for;
                rate.refused(self.closed_until, now);
            }
        }
        f64::from(self.admitted - admitted) / f64::from(u32::try_from(seconds * per_s).unwrap())
    }
}

/// A judge that said 429 at the start of a second and at its end, and admitted `sent` in between.
fn paced(sent: u32) -> (Rate, Instant) {
    let (mut rate, now) = (Rate::default(), Instant::now());
    rate.refused(now + ms(1), now);
    (0..=sent).for_each(|_| rate.entered(now + ms(500)));
    rate.refused(now + ms(1_001), now + ms(1_000));
    (rate, now + ms(1_000))
}

#[test]
fn of_a_judge_that_admits_two_fifths_most_of_that_is_had() {
    let now = Instant::now();
    let mut provider = Provider::new(16.0, ms(2_000), now);
    let share = provider.serve(&mut Rate::default(), 40, (now, 120));
    // nobody who asks it for everything every 7 s has more than 0.35; unpaced it is a quarter
    assert!((0.32..0.36).contains(&share), "{share}");
    assert!(provider.refused <= 25, "{}", provider.refused);
}

#[test]
fn of_a_judge_that_admits_few_and_saves_up_two_most_is_had_too() {
    let now = Instant::now();
    let mut provider = Provider::new(2.0, ms(1_000), now);
    let share = provider.serve(&mut Rate::default(), 20, (now, 240));
    assert!((0.06..0.11).contains(&share), "{share}");
}

#[test]
fn a_judge_that_is_mended_is_sent_everything_after_one_hold() {
    let (now, mut rate) = (Instant::now(), Rate::default());
    let mut provider = Provider::new(16.0, ms(2_000), now);
    provider.serve(&mut rate, 40, (now, 60));
    let mended = now + ms(60_000);
    provider.per_s = 1_000.0;
    // closed and held
    provider.serve(&mut rate, 40, (mended, 6));
    let share = provider.serve(&mut rate, 40, (mended + ms(6_000), 20));
    assert!(0.999 < share, "{share}");
}

/// The share of 20 calls a second in four minutes that a judge gets which refuses one in `every` by
/// chance, whatever it is sent, and closes for `closed_for`; paced, and not.
fn shares_of_a_moody_judge(every: u64, closed_for: Duration) -> [f64; 2] {
    let start = Instant::now();
    [true, false].map(|is_paced| {
        let (mut rate, mut closed_until, mut draw, mut sent) =
            (Rate::default(), start, 7_u64, 0_u32);
        for at in 0..4_800 {
            let now = start + ms(50) * at;
            if now < closed_until || is_paced && !rate.has_room(now) {
                continue;
            }
            rate.entered(now);
            draw = draw
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            if (draw >> 33).is_multiple_of(every) {
                closed_until = now + closed_for;
                rate.refused(closed_until, now);
            } else {
                sent += 1;
            }
        }
        f64::from(sent) / 4_800.0
    })
}

#[test]
fn a_judge_that_says_429_by_chance_was_paced_until_it_got_a_third() {
    for (every, closed_ms) in
        [(50, 0), (20, 0), (200, 1_000), (100, 1_000), (50, 1_000), (100, 2_000)]
    {
        let [paced, unpaced] = shares_of_a_moody_judge(every, ms(closed_ms));
        assert!(0.75 * unpaced < paced, "1 in {every}, {closed_ms} ms: {paced} of {unpaced}");
    }
}

#[test]
fn the_first_429_says_nothing_of_a_rate() {
    let (mut rate, now) = (Rate::default(), Instant::now());
    rate.refused(now + ms(2_000), now);
    assert!(!rate.is_paced(now) && rate.has_room(now + ms(2_000)));
    // nor does one after a minute
    rate.refused(now + ms(63_000), now + ms(62_001));
    assert!(!rate.is_paced(now + ms(62_001)));
}

#[test]
fn a_pace_is_what_was_admitted_since_the_last_429() {
    let (mut rate, now) = paced(20);
    assert!(!rate.has_room(now + ms(49)) && rate.has_room(now + ms(50)));
    // what is saved up is a quarter of a second's worth
    (0..5).for_each(|_| rate.entered(now + ms(1_000)));
    assert!(!rate.has_room(now + ms(1_000)));
}

#[test]
fn the_429s_of_one_burst_count_once_and_the_last_says_how_long() {
    let (mut rate, now) = paced(20);
    rate.refused(now + ms(4_000), now + ms(250));
    assert!(rate.has_room(now + ms(4_000)), "the pace is as it was");
    rate.refused(now + ms(4_000), now + ms(3_999));
    let ends = now + ms(4_000) + ms(8_000);
    assert!(rate.is_paced(ends - ms(1)) && !rate.is_paced(ends));
}

#[test]
fn a_hold_without_a_429_makes_the_next_quicker_and_one_with_makes_it_slower() {
    let (rate, now) = paced(20);
    let mut held = rate;
    held.refused(now + ms(3_001), now + ms(3_000));
    assert!((held.pace.unwrap().per_s - 22.0).abs() < 0.02);
    let mut broken = rate;
    (0..18).for_each(|_| broken.entered(now + ms(500)));
    broken.refused(now + ms(1_001), now + ms(1_000));
    assert!((broken.pace.unwrap().per_s - 17.0).abs() < 0.02);
}

#[test]
fn four_holds_in_a_row_that_a_429_came_in_end_the_pacing_for_a_minute() {
    let (mut rate, mut now) = paced(20);
    for broken in 1..=4 {
        assert!(rate.is_paced(now), "after {broken}");
        now += ms(1_000);
        rate.entered(now);
        rate.refused(now + ms(1), now);
    }
    let ends = now + FORGOTTEN_AFTER;
    assert!(!rate.is_paced(now));
    while now + ms(1_000) < ends {
        now += ms(1_000);
        rate.refused(now + ms(1), now);
        assert!(!rate.is_paced(now), "{:?} before its end", ends - now);
    }
    rate.refused(ends + ms(1), ends);
    assert!(rate.is_paced(ends));
}

#[test]
fn a_429_that_does_not_ask_to_be_left_alone_says_nothing_of_a_rate() {
    let (mut rate, now) = (Rate::default(), Instant::now());
    for at in 0..100 {
        rate.refused(now, now + ms(400) * at);
        assert!(!rate.is_paced(now + ms(400) * at));
    }
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Entered,
    /// For so many milliseconds.
    Refused(u64),
}

fn events() -> impl Strategy<Value = Vec<(Event, u64)>> {
    let event = prop_oneof![
        3 => Just(Event::Entered),
        1 => (0_u64..31_000).prop_map(Event::Refused),
        1 => Just(Event::Refused(0)),
    ];
    prop::collection::vec((event, 0_u64..4_000), 0..200)
}

/// A rate after `events`, each some milliseconds after the one before, and when that is.
fn after(events: &[(Event, u64)]) -> (Rate, Instant) {
    let (mut rate, mut now) = (Rate::default(), Instant::now());
    for &(event, wait_ms) in events {
        now += ms(wait_ms);
        match event {
            Event::Entered => rate.entered(now),
            Event::Refused(closed_ms) => rate.refused(now + ms(closed_ms), now),
        }
    }
    (rate, now)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_window_of_a_hold_sees_more_than_the_pace_and_what_was_saved(
        events in events(),
        waits_ms in prop::collection::vec(0_u64..400, 1..120),
    ) {
        let (mut rate, mut now) = after(&events);
        let mut sent = Vec::new();
        for wait_ms in waits_ms {
            now += ms(wait_ms);
            if !rate.is_paced(now) {
                break;
            }
            if rate.has_room(now) {
                rate.entered(now);
                sent.push(now);
            }
        }
        let pace = rate.pace.map_or(0.0, |pace| pace.per_s);
        let saved = (pace * DEPTH_S).max(LEAST_DEPTH);
        for (at, from) in sent.iter().enumerate() {
            for (calls, to) in (1_u32..).zip(&sent[at..]) {
                let most = saved + pace * to.duration_since(*from).as_secs_f64();
                prop_assert!(f64::from(calls) <= most + 1e-6, "{calls} calls, at most {most}");
            }
        }
    }

    #[test]
    fn what_is_saved_up_is_never_negative_and_no_pace_stands_still(events in events()) {
        let (rate, now) = after(&events);
        if let Some(pace) = rate.pace {
            prop_assert!(0.0 <= pace.tokens && 0.0 <= pace.tokens_at(now), "{rate:?}");
            prop_assert!(LEAST_PER_S <= pace.per_s && pace.per_s.is_finite(), "{rate:?}");
        }
    }

    #[test]
    fn after_a_quiet_hold_the_judge_is_sent_everything(events in events()) {
        let (mut rate, now) = after(&events);
        let closed_until = rate.last.map_or(now, |last| last.closed_until.max(now));
        let quiet = closed_until + LONGEST_HOLD;
        prop_assert!(!rate.is_paced(quiet));
        for _ in 0..1_000 {
            prop_assert!(rate.has_room(quiet));
            rate.entered(quiet);
        }
    }

    #[test]
    fn who_never_says_429_is_never_paced(waits_ms in prop::collection::vec(0_u64..50, 0..300)) {
        let (mut rate, mut now) = (Rate::default(), Instant::now());
        for wait_ms in waits_ms {
            now += ms(wait_ms);
            prop_assert!(rate.has_room(now) && !rate.is_paced(now));
            rate.entered(now);
        }
    }
}
