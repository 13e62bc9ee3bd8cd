use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits { max_in_flight: 3, max_in_flight_bytes: 100, max_queued: 4 };

/// A line with nobody in it, and the time that its waiters' seconds count from.
fn line() -> (Line, Instant) {
    (Line::new(LIMITS), Instant::now())
}

/// Who is to be judged by nobody.
fn waiter(size_bytes: usize, useful_until: Instant) -> Waiter {
    Waiter { size_bytes, judges: Arc::default(), useful_until, place: Arc::default() }
}

/// Who is to be judged by `judge`.
fn waiter_for(judge: &str, useful_until: Instant) -> Waiter {
    Waiter { judges: Arc::from(route(judge)), ..waiter(1, useful_until) }
}

/// Judges that take so many calls more, and are not told to stay away.
fn room(room: usize) -> Outlook {
    Outlook { room, back_at: None }
}

/// Judges that take none before `back_at`.
fn away_until(back_at: Instant) -> Outlook {
    Outlook { room: 0, back_at: Some(back_at) }
}

/// Whose turn it is where every judge has room.
fn turn(line: &mut Line) -> Option<Ticket> {
    let turn = line.turn(|_| room(usize::MAX))?;
    assert_eq!(turn.1, Terms::Asking);
    Some(turn.0)
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Who is served when, one after another, there is room for everybody in the line.
fn served(line: &mut Line) -> Vec<u64> {
    let mut order = Vec::new();
    while let Some(Ticket(number)) = turn(line) {
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
    line.join(waiter_for("a", start + seconds(5))).unwrap();
    for ms in 0..2_000 {
        let now = start + Duration::from_millis(ms);
        if (ms * come) % 1_000 < come {
            line.came(now, &route("a"));
        }
        if (ms * served) % 1_000 < served {
            line.take(1, now, &route("a"));
            line.give_back(1, now, &route("a"));
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

/// Of those who come 300 times a second for two seconds, while 200 are served: how many may join.
fn joining(line: &mut Line, from: Instant) -> usize {
    let mut joining = 0;
    for third_ms in 0..6_000_u32 {
        let now = from + Duration::from_micros(333) * third_ms;
        if third_ms % 10 == 0 {
            line.came(now, &route("a"));
            joining += usize::from(line.may_join(now, &route("a")));
        }
        if third_ms % 15 == 0 {
            line.take(1, now, &route("a"));
            line.give_back(1, now, &route("a"));
        }
        if third_ms % 300 == 0 {
            line.was_overtaken(now, &route("a"));
        }
    }
    joining
}

#[test]
fn of_those_who_come_to_an_overrun_lane_hardly_more_join_than_leave() {
    let (mut line, start) = after_two_seconds_of(300, 200);
    let later = start + seconds(2);
    assert!(line.may_join(later, &route("a")), "nobody was overtaken yet");
    // 600 come and 400 leave
    let joining = joining(&mut line, later);
    assert!((400..440).contains(&joining), "{joining} of 600");
    assert!(line.may_join(later + seconds(4), &route("a")), "nobody was overtaken for long");
    line.close();
    assert!(line.may_join(later + seconds(2), &route("a")), "nobody joins a closed gate anyway");
}

#[test]
fn who_goes_straight_in_takes_the_place_of_one_who_would_wait() {
    let (mut line, start) = after_two_seconds_of(300, 200);
    let later = start + seconds(2);
    line.was_overtaken(later, &route("a"));
    assert!(line.may_join(later, &route("a")));
    for _ in 0..4 {
        line.came(later, &route("a"));
        line.went_in(&route("a"));
    }
    line.came(later, &route("a"));
    assert!(!line.may_join(later, &route("a")));
}

#[test]
fn the_judges_that_somebody_waits_for_are_told() {
    let (mut line, start) = line();
    assert!(line.waited_for().is_empty());
    let (ticket, _) = line.join(waiter_for("a", start + seconds(5))).unwrap();
    assert!(line.waited_for().is_empty(), "it lacks something else");
    assert_eq!(line.turn(|_| away_until(start + seconds(1))), None);
    assert_eq!(line.waited_for().into_iter().collect::<Vec<_>>(), ["a"]);
    line.leave(ticket);
    assert!(line.waited_for().is_empty());
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
        line.give_back(1, now, &route("a"));
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
    assert_eq!(turn(&mut line), Some(Ticket(0)));
    line.give_back(60, start, &[]);
    assert_eq!(turn(&mut line), Some(Ticket(1)));
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
    let (mut line, a, now) = (Line::new(limits), &route("a"), Instant::now());
    let (waiting, _) = line.join(waiter_for("a", now + seconds(5))).unwrap();
    assert!(!line.may_approach(a, 0) && line.is_short_of(a));
    for _ in 0..FEW_APPROACHING {
        assert!(line.may_approach(a, 1));
        line.take(1, now, a);
    }
    assert!(!line.may_approach(a, 1), "their room is only taken when a check gets there");
    assert!(line.may_approach(a, 20), "there is room for all of them and one more");
    assert!(line.may_approach(&route("b"), 1), "nobody is on the way to that one");
    assert!(line.may_approach(&["b".to_owned(), "a".to_owned()], 1), "and nobody waits for these");
    line.arrive(a);
    assert!(line.may_approach(a, 1));
    line.take(1, now, a);
    line.leave(waiting);
    assert!(line.may_approach(a, 1), "nobody waits: the shortage is over");
}

#[test]
fn who_is_on_the_way_to_a_judge_counts_for_every_policy_that_asks_it() {
    let limits = Limits { max_in_flight: 100, max_in_flight_bytes: 1_000, max_queued: 4 };
    let (mut line, now) = (Line::new(limits), Instant::now());
    line.join(waiter_for("b", now + seconds(5))).unwrap();
    assert!(!line.may_approach(&route("b"), 0));
    for _ in 0..FEW_APPROACHING {
        line.take(1, now, &["a".to_owned(), "b".to_owned()]);
    }
    assert!(!line.may_approach(&route("b"), 1));
}

#[test]
fn who_waits_for_judges_that_are_away_does_not_keep_others_out() {
    let (mut line, start) = line();
    let later = start + seconds(3);
    for judge in ["b", "a", "a"] {
        line.join(waiter_for(judge, start + seconds(5))).unwrap();
    }
    let away = |judges: &[String]| match judges {
        [judge] if judge == "a" => away_until(later),
        _ => room(9),
    };
    assert_eq!(line.turn(away), Some((Ticket(0), Terms::Asking)));
    line.leave(Ticket(0));
    assert_eq!(line.turn(away), None, "they wait for theirs");
    assert_eq!(line.heads().map(|(ticket, _)| ticket).collect::<Vec<_>>(), [Ticket(2)]);
    assert_eq!(served(&mut line), [2, 1]);
}

#[test]
fn nobody_waits_for_judges_that_come_back_too_late() {
    let (mut line, start) = line();
    for until in [1, 2, 5] {
        line.join(waiter_for("a", start + seconds(until))).unwrap();
    }
    let back_at = start + seconds(3);
    let mut gone = Vec::new();
    while let Some((ticket, terms)) = line.turn(|_| away_until(back_at)) {
        assert_eq!(terms, Terms::Unasking);
        line.leave(ticket);
        gone.push(ticket);
    }
    assert_eq!(gone, [Ticket(1), Ticket(0)], "the third waits for its judge");
    let unknown = Outlook { room: 0, back_at: None };
    assert_eq!(line.turn(|_| unknown), Some((Ticket(2), Terms::Unasking)), "nobody comes back");
}

#[test]
fn the_oldest_of_many_is_not_forgotten_behind_those_that_can_still_wait() {
    let limits = Limits { max_in_flight: 1, max_in_flight_bytes: 1_000, max_queued: 100 };
    let (mut line, start) = (Line::new(limits), Instant::now());
    let until = |second| if second == 0 { start + seconds(2) } else { start + seconds(9) };
    for second in 0..50 {
        line.join(waiter_for("a", until(second))).unwrap();
    }
    let turn = line.turn(|_| away_until(start + seconds(3)));
    assert_eq!(turn, Some((Ticket(0), Terms::Unasking)));
}

#[test]
fn it_is_crowded_above_four_fifths_or_with_anybody_who_waits_for_what_others_hold() {
    let limits = Limits { max_in_flight: 10, max_in_flight_bytes: 1_000, max_queued: 4 };
    let (mut line, now) = (Line::new(limits), Instant::now());
    for _ in 0..8 {
        line.take(1, now, &[]);
    }
    assert!(!line.is_crowded());
    line.take(1, now, &[]);
    assert!(line.is_crowded());
    line.give_back(1, now, &[]);
    let (_, large) = (line.join(waiter_for("a", now + seconds(5))), waiter(999, now + seconds(5)));
    assert!(!line.is_crowded(), "a judge is what it lacks");
    let (ticket, _) = line.join(large).unwrap();
    assert!(line.is_crowded(), "bytes are what it lacks");
    line.leave(ticket);
    assert!(!line.is_crowded());
    line.close();
    assert!(line.is_crowded(), "about to end: nothing that need not be done");
}

#[test]
fn lanes_that_nobody_is_in_are_forgotten_where_there_are_many() {
    let (mut line, now) = line();
    for number in 0..2 * MANY_LANES {
        let judges = route(&number.to_string());
        line.came(now, &judges);
        line.take(1, now, &judges);
        line.arrive(&judges);
        line.give_back(1, now, &judges);
    }
    assert!(line.lanes.len() <= MANY_LANES, "{}", line.lanes.len());
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
        line.give_back(1, start + seconds(2 * second), &[]);
    }
    // one leaves every two seconds, and three stand before who comes next
    assert_eq!(line.drains_in(), seconds(8));
}

/// What can happen to a line.
#[derive(Clone, Debug)]
enum Event {
    Comes {
        judges: usize,
        size_bytes: usize,
        useful_s: u64,
    },
    HangsUp {
        at: usize,
    },
    Looks,
    Ends {
        at: usize,
    },
    /// The judges of one route take so many calls from now on, or are away until then.
    JudgesTurn {
        judges: usize,
        room: usize,
        back_s: Option<u64>,
    },
}

fn any_event() -> impl Strategy<Value = Event> {
    let comes = (0_usize..3, 1_usize..=120, 0_u64..10);
    let judges = (0_usize..2, prop_oneof![Just(0_usize), 1_usize..3], prop::option::of(0_u64..12));
    prop_oneof![
        4 => comes.prop_map(|(judges, size_bytes, useful_s)| {
            Event::Comes { judges, size_bytes, useful_s }
        }),
        1 => (0_usize..4).prop_map(|at| Event::HangsUp { at }),
        3 => Just(Event::Looks),
        3 => (0_usize..3).prop_map(|at| Event::Ends { at }),
        2 => judges.prop_map(|(judges, room, back_s)| Event::JudgesTurn { judges, room, back_s }),
    ]
}

/// Two routes that share a judge, and that of a policy which asks nobody.
fn routes() -> [Vec<String>; 3] {
    [route("a"), vec!["a".to_owned(), "b".to_owned()], Vec::new()]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever comes, goes or ends, and whoever has room: nothing is exceeded, nothing is lost, and
    /// nobody who could go is passed by an older one.
    #[test]
    fn no_limit_is_ever_exceeded_and_the_book_is_right(
        events in prop::collection::vec(any_event(), 0..80),
    ) {
        let (mut line, start) = line();
        let mut outlooks = [room(1), room(1), room(usize::MAX)];
        let mut inside: Vec<(usize, Arc<[String]>)> = Vec::new();
        for event in events {
            match event {
                Event::Comes { judges, size_bytes, useful_s } => {
                    // a full line takes nobody whom it could not serve longer than its oldest
                    let oldest = line.waiting.values().next().map(|one| one.useful_until);
                    let until = start + seconds(useful_s);
                    let was_full = line.queued() == LIMITS.max_queued;
                    let judges = Arc::from(routes()[judges].as_slice());
                    let joined = line.join(Waiter { judges, ..waiter(size_bytes, until) });
                    let is_worse = oldest.is_some_and(|oldest| until < oldest);
                    prop_assert_eq!(joined.is_err(), was_full && is_worse);
                }
                Event::HangsUp { at } => {
                    let ticket = line.waiting.keys().nth(at).copied();
                    ticket.into_iter().for_each(|ticket| drop(line.leave(ticket)));
                }
                Event::Looks => {
                    let routes = routes();
                    let of = |judges: &[String]| {
                        let at = routes.iter().position(|one| one == judges).unwrap();
                        outlooks[at]
                    };
                    let turn = line.turn(of);
                    let newer = turn.map_or(Ticket(0), |(Ticket(number), _)| Ticket(number + 1));
                    let newer: Vec<_> = line.waiting.range(newer..).map(|(ticket, _)| *ticket).collect();
                    for ticket in newer {
                        // it needs more bytes than are free, or its judges have no room and it has hope
                        let (size_bytes, judges, until) = {
                            let one = &line.waiting[&ticket];
                            (one.size_bytes, Arc::clone(&one.judges), one.useful_until)
                        };
                        let fits = line.lacks(size_bytes).is_none();
                        let terms = line.terms((&*judges, until), of(&judges));
                        prop_assert!(!fits || terms.is_none(), "{ticket:?} was passed: {terms:?}");
                    }
                    if let Some((ticket, terms)) = turn {
                        let one = line.leave(ticket).unwrap();
                        prop_assert!(line.lacks(one.size_bytes).is_none());
                        let outlook = of(&one.judges);
                        let hope = outlook.back_at.is_some_and(|back_at| back_at < one.useful_until);
                        match terms {
                            Terms::Asking => prop_assert!(0 < outlook.room),
                            Terms::Unasking => prop_assert!(outlook.room == 0 && !hope),
                        }
                        let lane = line.take(one.size_bytes, Instant::now(), &one.judges);
                        inside.push((one.size_bytes, lane));
                    }
                }
                Event::Ends { at } if at < inside.len() => {
                    let (size_bytes, lane) = inside.swap_remove(at);
                    line.arrive(&lane);
                    line.give_back(size_bytes, start, &lane);
                }
                Event::Ends { .. } => {}
                Event::JudgesTurn { judges, room, back_s } => {
                    let back_at = back_s.map(|back_s| start + seconds(back_s));
                    outlooks[judges] = Outlook { room, back_at };
                }
            }
            prop_assert!(line.queued() <= LIMITS.max_queued);
            prop_assert!(line.in_flight() <= LIMITS.max_in_flight);
            prop_assert!(line.held_bytes() <= LIMITS.max_in_flight_bytes);
            prop_assert_eq!(line.in_flight(), inside.len());
            let held_bytes: usize = inside.iter().map(|(size_bytes, _)| size_bytes).sum();
            prop_assert_eq!(line.held_bytes(), held_bytes);
            let in_lanes = line.lanes.values().map(|lane| (lane.waiting.len(), lane.approaching));
            let in_lanes = in_lanes.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
            prop_assert_eq!(in_lanes, (line.queued(), inside.len()));
            prop_assert_eq!(line.by_size.len(), line.queued());
        }
        for (size_bytes, lane) in inside {
            line.arrive(&lane);
            line.give_back(size_bytes, start, &lane);
        }
        prop_assert_eq!((line.in_flight(), line.held_bytes()), (0, 0));
    }
}
