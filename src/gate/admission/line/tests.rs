use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits { max_in_flight: 3, max_in_flight_bytes: 100, max_queued: 4 };

/// A line with nobody in it, and the time that its waiters' seconds count from.
fn line() -> (Line, Instant) {
    (Line::new(LIMITS), Instant::now())
}

fn waiter(size_bytes: usize, useful_until: Instant) -> Waiter {
    Waiter { size_bytes, useful_until, place: Arc::default() }
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Who is served when, one after another, there is room for everybody in the line.
fn served(line: &mut Line) -> Vec<u64> {
    let mut order = Vec::new();
    while let Some(Ticket(number)) = line.turn().map(|(ticket, _)| ticket) {
        line.leave(Ticket(number));
        order.push(number);
    }
    order
}

#[test]
fn the_newest_is_served_first() {
    let (mut line, start) = line();
    for _ in 0..3 {
        line.join(waiter(10, start + seconds(5))).unwrap();
    }
    assert_eq!(served(&mut line), [2, 1, 0]);
}

fn route(judge: &str) -> Vec<String> {
    vec![judge.to_owned()]
}

/// The book of a gate that is asked `come` times a second and serves `served`, after two seconds in
/// which everybody who was served had just come.
fn after_two_seconds_of(come: u64, served: u64) -> (Line, Instant) {
    let (mut line, start) = line();
    line.join(waiter(1, start + seconds(5))).unwrap();
    for ms in 0..2_000 {
        let now = start + Duration::from_millis(ms);
        if (ms * come) % 1_000 < come {
            line.came(now);
        }
        if (ms * served) % 1_000 < served {
            line.take(1, now, &route("a"));
            line.give_back(1, now);
        }
    }
    (line, start)
}

#[test]
fn whoever_was_overtaken_has_no_hope_while_more_come_than_are_served() {
    let (line, start) = after_two_seconds_of(100, 50);
    assert!(line.has_no_hope(start, &route("a")));
    let last_in = start + Duration::from_millis(1_980);
    assert!(line.has_no_hope(last_in.checked_sub(OVERTAKEN_AFTER).unwrap(), &route("a")));
    assert!(!line.has_no_hope(last_in, &route("a")), "nobody who came much later is in");
}

#[test]
fn whoever_waits_for_another_judge_was_not_overtaken() {
    let (line, start) = after_two_seconds_of(100, 50);
    assert!(!line.has_no_hope(start, &route("b")));
}

#[test]
fn whoever_is_in_line_when_the_door_closes_is_answered() {
    let (mut line, start) = after_two_seconds_of(100, 50);
    line.close();
    assert!(!line.has_no_hope(start, &route("a")));
}

#[test]
fn a_pause_in_which_nobody_could_be_served_is_no_pace() {
    let (mut line, start) = after_two_seconds_of(50, 100);
    let later = start + seconds(4);
    for ms in [0, 10, 20, 30] {
        let now = later + Duration::from_millis(ms);
        line.take(1, now, &route("a"));
        line.give_back(1, now);
    }
    assert!(!line.has_no_hope(start, &route("a")), "two seconds of Retry-After");
}

#[test]
fn whoever_was_overtaken_in_a_burst_that_is_over_is_still_served() {
    let (line, start) = after_two_seconds_of(50, 100);
    assert!(!line.has_no_hope(start, &route("a")));
    let (nobody, start) = self::line();
    assert!(!nobody.has_no_hope(start, &[]), "nothing is known yet");
}

#[test]
fn a_large_body_is_passed_by_smaller_ones_and_not_forgotten() {
    let (mut line, start) = line();
    line.take(60, Instant::now(), &[]);
    line.join(waiter(10, start + seconds(5))).unwrap();
    line.join(waiter(50, start + seconds(5))).unwrap();
    assert_eq!(line.turn().map(|(ticket, _)| ticket), Some(Ticket(0)));
    line.give_back(60, start);
    assert_eq!(line.turn().map(|(ticket, _)| ticket), Some(Ticket(1)));
}

#[test]
fn a_full_line_sheds_its_oldest_for_a_newcomer_with_more_time() {
    let (mut line, start) = line();
    for _ in 0..4 {
        line.join(waiter(10, start + seconds(5))).unwrap();
    }
    let (_, ousted) = line.join(waiter(11, start + seconds(5))).unwrap();
    assert_eq!(ousted.map(|one| one.size_bytes), Some(10));
    assert_eq!(line.queued(), 4);
    assert_eq!(served(&mut line), [4, 3, 2, 1]);
}

#[test]
fn a_full_line_sheds_the_newcomer_that_has_less_time_than_the_oldest() {
    let (mut line, start) = line();
    for _ in 0..4 {
        line.join(waiter(10, start + seconds(5))).unwrap();
    }
    let refused = line.join(waiter(10, start + seconds(4)));
    assert_eq!(refused.map(drop), Err(Shed::QueueFull));
    assert_eq!(served(&mut line), [3, 2, 1, 0]);
}

#[test]
fn judges_that_are_short_are_approached_by_few_at_a_time() {
    let limits = Limits { max_in_flight: 100, max_in_flight_bytes: 1_000, max_queued: 4 };
    let mut line = Line::new(limits);
    assert!(!line.may_approach(0));
    line.join(waiter(1, Instant::now() + seconds(5))).unwrap();
    for _ in 0..FEW_APPROACHING {
        assert!(line.may_approach(1));
        line.take(1, Instant::now(), &[]);
    }
    assert!(!line.may_approach(1), "their room is only taken when a check gets there");
    assert!(line.may_approach(20), "there is room for all of them and one more");
    line.arrive();
    assert!(line.may_approach(1));
    line.take(1, Instant::now(), &[]);
    line.leave(Ticket(0));
    assert!(line.may_approach(1), "nobody waits: the shortage is over");
}

#[test]
fn it_is_crowded_above_four_fifths_or_with_anybody_in_line() {
    let limits = Limits { max_in_flight: 10, max_in_flight_bytes: 1_000, max_queued: 4 };
    let mut line = Line::new(limits);
    for _ in 0..8 {
        line.take(1, Instant::now(), &[]);
    }
    assert!(!line.is_crowded());
    line.take(1, Instant::now(), &[]);
    assert!(line.is_crowded());
    line.give_back(1, Instant::now());
    let (ticket, _) = line.join(waiter(1, Instant::now() + seconds(5))).unwrap();
    assert!(line.is_crowded());
    line.leave(ticket);
    assert!(!line.is_crowded());
    line.close();
    assert!(line.is_crowded(), "about to end: nothing that need not be done");
}

#[test]
fn the_line_drains_at_the_pace_of_those_who_leave() {
    let (mut line, start) = line();
    assert_eq!(line.drains_in(), Duration::ZERO);
    for _ in 0..3 {
        line.take(1, Instant::now(), &[]);
        line.join(waiter(1, start + seconds(60))).unwrap();
    }
    for second in 1..=3 {
        line.give_back(1, start + seconds(2 * second));
    }
    // one leaves every two seconds, and three stand before who comes next
    assert_eq!(line.drains_in(), seconds(8));
}

/// What can happen to a line.
#[derive(Clone, Debug)]
enum Event {
    Comes { size_bytes: usize, useful_s: u64 },
    HangsUp { at: usize },
    Looks,
    Ends { at: usize },
}

fn any_event() -> impl Strategy<Value = Event> {
    let comes = (1_usize..=120, 0_u64..10);
    prop_oneof![
        4 => comes.prop_map(|(size_bytes, useful_s)| Event::Comes { size_bytes, useful_s }),
        1 => (0_usize..4).prop_map(|at| Event::HangsUp { at }),
        3 => Just(Event::Looks),
        3 => (0_usize..3).prop_map(|at| Event::Ends { at }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever comes, goes or ends: nothing is exceeded, and nothing is lost.
    #[test]
    fn no_limit_is_ever_exceeded_and_the_book_is_right(
        events in prop::collection::vec(any_event(), 0..80),
    ) {
        let (mut line, start) = line();
        let mut inside: Vec<usize> = Vec::new();
        for event in events {
            match event {
                Event::Comes { size_bytes, useful_s } => {
                    // a full line takes nobody whom it could not serve longer than its oldest
                    let oldest = line.waiting.values().next().map(|one| one.useful_until);
                    let until = start + seconds(useful_s);
                    let was_full = line.queued() == LIMITS.max_queued;
                    let joined = line.join(waiter(size_bytes, until));
                    let is_worse = oldest.is_some_and(|oldest| until < oldest);
                    prop_assert_eq!(joined.is_err(), was_full && is_worse);
                }
                Event::HangsUp { at } => {
                    let ticket = line.waiting.keys().nth(at).copied();
                    ticket.into_iter().for_each(|ticket| line.leave(ticket));
                }
                Event::Looks => {
                    let turn = line.turn().map(|(ticket, one)| (ticket, one.size_bytes));
                    if let Some((ticket, size_bytes)) = turn {
                        // everybody newer needs more bytes than are free
                        let newer = line.waiting.range(ticket..).skip(1);
                        let mut passed = newer.map(|(_, one)| line.lacks(one.size_bytes));
                        prop_assert!(passed.all(|lacks| lacks == Some(Shed::Bytes)));
                        line.leave(ticket);
                        line.take(size_bytes, Instant::now(), &[]);
                        inside.push(size_bytes);
                    }
                }
                Event::Ends { at } if at < inside.len() => {
                    line.give_back(inside.swap_remove(at), start);
                }
                Event::Ends { .. } => {}
            }
            prop_assert!(line.queued() <= LIMITS.max_queued);
            prop_assert!(line.in_flight() <= LIMITS.max_in_flight);
            prop_assert!(line.held_bytes() <= LIMITS.max_in_flight_bytes);
            prop_assert_eq!(line.in_flight(), inside.len());
            prop_assert_eq!(line.held_bytes(), inside.iter().sum::<usize>());
        }
        inside.into_iter().for_each(|size_bytes| line.give_back(size_bytes, start));
        prop_assert_eq!((line.in_flight(), line.held_bytes()), (0, 0));
    }
}
