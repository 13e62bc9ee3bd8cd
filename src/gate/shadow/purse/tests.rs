use super::*;

use proptest::prelude::*;

const NOON: Timestamp = Timestamp(20_000 * DAY_US + DAY_US / 2);

fn sample(entry: &str) -> Which {
    Which::of(Purpose::Sample, "p", entry)
}

/// Draws what is wanted, as the store does that always can.
fn draw(money: &Money, now: Timestamp) -> u64 {
    let wanted = money.wanted(now);
    wanted.iter().for_each(|(which, draw)| money.note(which, draw));
    wanted.iter().map(|(_, draw)| draw.of.cost.0).sum()
}

fn reserve(money: &Money, which: &Which, estimate: u64, now: Timestamp) -> Result<Kept, Short> {
    let amounts = (MicroUsd(estimate), MicroUsd(100));
    match money.reserve(which, amounts, now) {
        Err(Short::Undrawn) => {
            draw(money, now);
            money.reserve(which, amounts, now)
        }
        done => done,
    }
}

#[test]
fn a_day_has_its_own_money_and_a_restart_does_not_make_more() {
    let money = Money::default();
    money.restore(&[sample("a").spent(MicroUsd(60)), sample("b").spent(MicroUsd(100))], &[], NOON);
    let one = reserve(&money, &sample("a"), 30, NOON).unwrap();
    assert_eq!(reserve(&money, &sample("a"), 30, NOON).map(drop), Err(Short::Spent));
    assert_eq!(reserve(&money, &sample("b"), 30, NOON).map(drop), Err(Short::Spent));
    assert!(reserve(&money, &sample("c"), 30, NOON).is_ok());
    let tomorrow = Timestamp(NOON.0 + DAY_US / 2);
    assert!(reserve(&money, &sample("b"), 30, tomorrow).is_ok());
    let all = reserve(&money, &sample("a"), 71, tomorrow).map(drop);
    assert_eq!(all, Err(Short::Spent), "30 are still kept for a call of yesterday's");
    drop(one);
    assert!(reserve(&money, &sample("a"), 71, tomorrow).is_ok());
    assert_eq!(midnight(tomorrow), tomorrow);
    assert_eq!(midnight(NOON), Timestamp(NOON.0 - DAY_US / 2));
}

#[test]
fn what_was_under_way_when_a_process_was_killed_is_not_spent_again() {
    let (killed, which) = (Money::default(), sample("a"));
    let store = || {
        let wanted = killed.wanted(NOON);
        wanted.iter().for_each(|(which, draw)| killed.note(which, draw));
        wanted.into_iter().map(|(_, draw)| draw.of).collect::<Vec<_>>()
    };
    let amounts = (MicroUsd(30), MicroUsd(100));
    assert_eq!(killed.reserve(&which, amounts, NOON).map(drop), Err(Short::Undrawn));
    let drawn = store();
    let mut call = killed.reserve(&which, amounts, NOON).unwrap();
    call.begin();
    // killed: nothing was said, no row tells of it
    let next = Money::default();
    next.restore(&[], &drawn, NOON);
    let kept: Vec<_> = (0..2).map(|_| reserve(&next, &which, 30, NOON).unwrap()).collect();
    assert_eq!(reserve(&next, &which, 30, NOON).map(drop), Err(Short::Spent));
    drop((kept, call));
    let told = which.spent(MicroUsd(80));
    let later = Money::default();
    later.restore(&[told], &drawn, NOON);
    assert_eq!(reserve(&later, &which, 30, NOON).map(drop), Err(Short::Spent), "rows tell more");
}

#[test]
fn nothing_is_paid_for_before_it_is_drawn() {
    let (money, which) = (Money::default(), sample("a"));
    let amounts = (MicroUsd(30), MicroUsd(1_000));
    assert_eq!(money.reserve(&which, amounts, NOON).map(drop), Err(Short::Undrawn));
    assert_eq!(money.reserve(&which, amounts, NOON).map(drop), Err(Short::Undrawn));
    assert_eq!(draw(&money, NOON), 40, "and a hundredth of the day's ahead");
    assert_eq!(draw(&money, NOON), 0, "once");
    let kept = money.reserve(&which, amounts, NOON).unwrap();
    assert_eq!(money.reserve(&which, amounts, NOON).map(drop), Err(Short::Undrawn));
    kept.settle(MicroUsd(5));
    assert!(money.reserve(&which, amounts, NOON).is_ok(), "5 and 30 of 40");
    let per_day = MicroUsd(1_000);
    let mut ahead = money.set_aside(&which, (MicroUsd(300), per_day), NOON).unwrap();
    assert_eq!(ahead.may_begin(per_day, NOON), Err(Short::Undrawn));
    draw(&money, NOON);
    let tomorrow = Timestamp(NOON.0 + DAY_US);
    assert!(ahead.may_begin(per_day, tomorrow).is_err(), "a day draws its own");
    assert!(money.set_aside(&which, (MicroUsd(701), per_day), tomorrow).is_none());
    draw(&money, tomorrow);
    assert_eq!([(); 2].map(|()| ahead.may_begin(per_day, tomorrow)), [Ok(()); 2]);
    assert!(money.set_aside(&which, (MicroUsd(701), per_day), tomorrow).is_none(), "once");
    drop(ahead);
    assert!(money.set_aside(&which, (MicroUsd(1_000), per_day), tomorrow).is_some());
}

#[test]
fn a_restart_in_the_middle_of_a_backfill_had_spent_all_that_was_set_aside_for_it() {
    let (which, per_day) = (Which::of(Purpose::Backfill, "p", ""), MicroUsd(1_000));
    let (killed, mut drawn) = (Money::default(), Vec::new());
    let kept = (0..100).map(|_| killed.set_aside(&which, (MicroUsd(10), per_day), NOON));
    let mut kept: Vec<Kept> = kept.map(Option::unwrap).collect();
    assert!(killed.set_aside(&which, (MicroUsd(1), per_day), NOON).is_none(), "all is taken");
    for mut one in kept.drain(..7) {
        while one.may_begin(per_day, NOON).is_err() {
            drawn = killed.wanted(NOON);
            drawn.iter().for_each(|(which, draw)| killed.note(which, draw));
        }
        one.begin();
        one.settle(MicroUsd(9));
    }
    let drawn: Vec<Spent> = drawn.into_iter().map(|(_, draw)| draw.of).collect();
    let next = Money::default();
    next.restore(&[which.spent(MicroUsd(63))], &drawn, NOON);
    let left = |money: &Money, estimate| {
        money.set_aside(&which, (MicroUsd(estimate), per_day), NOON).is_some()
    };
    assert!(left(&next, 910), "seven calls, and two that may have been under way: {drawn:?}");
    assert!(!left(&next, 940), "what was drawn may be spent: {drawn:?}");
}

#[test]
fn a_policy_that_lowered_its_money_still_paid_for_all_that_was_set_aside_before() {
    let (money, which) = (Money::default(), Which::of(Purpose::Backfill, "p", ""));
    let (before, lowered) = (MicroUsd(1_000), MicroUsd(100));
    let kept = (0..8).map(|_| money.set_aside(&which, (MicroUsd(30), before), NOON).unwrap());
    let mut begun = Vec::new();
    for (n, mut one) in kept.collect::<Vec<_>>().into_iter().enumerate() {
        if one.may_begin(lowered, NOON) == Err(Short::Undrawn) {
            draw(&money, NOON);
        }
        let may = one.may_begin(lowered, NOON);
        assert_eq!(may, if n < 3 { Ok(()) } else { Err(Short::Spent) }, "{n}");
        if may.is_ok() {
            one.begin();
            begun.push(one);
        }
    }
    assert_eq!(draw(&money, NOON), 0, "nothing is drawn for what is given up");
    begun.into_iter().for_each(|one| one.settle(MicroUsd(30)));
    let left = |estimate| money.set_aside(&which, (MicroUsd(estimate), lowered), NOON);
    assert!(left(10).is_some() && left(11).is_none(), "what is given up is free again");
}

#[test]
fn what_is_spent_is_told_of_today_and_bursts_as_one() {
    let (money, burst) = (Money::default(), Which::of(Purpose::Burst, "p", ""));
    assert!(!money.is_restored(), "nobody knows it yet");
    money.restore(&[sample("a").spent(MicroUsd(20))], &[burst.spent(MicroUsd(7))], NOON);
    assert!(money.is_restored());
    reserve(&money, &sample("a"), 30, NOON).unwrap().settle(MicroUsd(25));
    let _under_way = reserve(&money, &sample("a"), 30, NOON).unwrap();
    let told = [sample("a").spent(MicroUsd(45)), burst.spent(MicroUsd(7))];
    assert_eq!(money.spent(NOON), told);
    assert!(told[1].policy.is_empty());
    assert_eq!(money.spent(Timestamp(NOON.0 + DAY_US)), []);
}

#[test]
fn a_call_that_has_begun_and_is_dropped_is_paid_for() {
    let (money, which) = (Money::default(), sample("a"));
    let mut begun = reserve(&money, &which, 60, NOON).unwrap();
    begun.begin();
    drop(begun);
    assert_eq!(reserve(&money, &which, 60, NOON).map(drop), Err(Short::Spent));
    drop(reserve(&money, &which, 40, NOON).unwrap());
    assert!(reserve(&money, &which, 40, NOON).is_ok(), "that one never began");
}

#[test]
fn bursts_of_all_policies_share_one_purse() {
    let money = Money::default();
    let which = |policy| Which::of(Purpose::Burst, policy, "");
    let kept = reserve(&money, &which("p"), 60, NOON).unwrap();
    assert_eq!(reserve(&money, &which("q"), 60, NOON).map(drop), Err(Short::Spent));
    drop(kept);
}

proptest! {
    #[test]
    fn no_more_is_spent_than_a_day_allows_if_calls_cost_no_more_than_thought(
        calls in prop::collection::vec((1_u64..40, 0_u64..40, any::<bool>()), 0..200),
    ) {
        let (money, mut open, mut spent) = (Money::default(), Vec::new(), 0);
        for (estimate, cost, is_settled) in calls {
            if let Ok(kept) = reserve(&money, &sample("a"), estimate, NOON) {
                open.push((kept, cost.min(estimate), estimate));
            }
            if is_settled && let Some((kept, cost, _)) = open.pop() {
                kept.settle(MicroUsd(cost));
                spent += cost;
            }
            let kept: u64 = open.iter().map(|(_, _, estimate)| estimate).sum();
            prop_assert!(spent + kept <= 100);
        }
    }
}
