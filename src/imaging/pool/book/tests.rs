use std::sync::Mutex;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use tokio::sync::oneshot;

use super::*;
use crate::domain::Format;
use crate::imaging::pool::job::{Answer, Image};
use crate::imaging::pool::now;
use crate::imaging::pool::tests::{candidate, plan};

const MS: Duration = Duration::from_millis(1);

/// An image, for whom somebody waits for as long as the test's process lives.
fn image(size_bytes: usize) -> Task {
    static CALLERS: Mutex<Vec<oneshot::Receiver<Answer>>> = Mutex::new(Vec::new());
    let (reply, answer) = Reply::new();
    CALLERS.lock().unwrap().push(answer);
    Task::Image(Image { candidate: candidate(size_bytes.max(4), 0), plan: plan(), reply })
}

fn book(threads: usize) -> Book {
    Book::new(Settings { threads, max_decoding_bytes: 100, ..Settings::default() })
}

/// Queues an image of 10 megapixels, 100 ms of work by presumption, with 1,100 ms left.
fn push(book: &mut Book, size_bytes: usize, now: Instant) {
    let load = book.load(Some((Format::Jpeg, 10.0)));
    let deadline = Deadline::at(now, 1_100 * MS);
    book.push(image(size_bytes), (size_bytes, load), (now, deadline)).unwrap();
}

fn numbers(jobs: Vec<(Job, PrepareError)>) -> Vec<u64> {
    jobs.into_iter().map(|(job, _)| job.rank.number).collect()
}

#[test]
fn the_shortest_image_is_next_and_equals_come_in_order() {
    let (mut book, now) = (book(1), now());
    [900, 10, 90, 10].into_iter().for_each(|size_bytes| push(&mut book, size_bytes, now));
    let order: Vec<_> = std::iter::from_fn(|| book.next(now)).map(|job| job.rank.number).collect();
    assert_eq!(order, [1, 3, 2, 0]);
}

#[test]
fn an_image_whose_turn_comes_too_late_is_known_at_once() {
    let (mut book, now) = (book(2), now());
    for number in 0..21 {
        push(&mut book, 10, now);
        assert!(book.hopeless(now).is_empty(), "{number}: {:?}", book.wait(now));
    }
    // 21 images of 100 ms for two threads: the last of them may just wait for the 20 before it
    assert_eq!(book.wait(now), 1_050 * MS);
    push(&mut book, 10, now);
    assert_eq!(numbers(book.hopeless(now)), [21]);
    // shorter ones go before them all, and each makes the last of them come too late
    push(&mut book, 9, now);
    assert_eq!(numbers(book.hopeless(now)), [20]);
    push(&mut book, 9, now);
    assert_eq!(numbers(book.hopeless(now)), [19]);
}

#[test]
fn what_is_being_done_counts_for_what_is_left_of_it() {
    let (mut book, now) = (book(1), now());
    push(&mut book, 10, now);
    assert!(book.next(now).is_some());
    assert_eq!(book.wait(now), 100 * MS);
    assert_eq!(book.wait(now + 60 * MS), 40 * MS);
    assert_eq!(book.wait(now + 160 * MS), Duration::ZERO);
}

#[test]
fn nobody_is_refused_while_a_worker_is_idle() {
    let (mut book, now) = (book(2), now());
    let hurry = |book: &mut Book| {
        let load = book.load(Some((Format::Png, 40.0)));
        book.push(image(10), (10, load), (now, Deadline::at(now, MS))).unwrap();
    };
    hurry(&mut book);
    hurry(&mut book);
    assert!(book.hopeless(now).is_empty());
    hurry(&mut book);
    assert_eq!(numbers(book.hopeless(now)), [2]);
    // errands are not judged: they go first
    let load = book.load(None);
    book.push(Task::Errand(Box::new(|| ())), (0, load), (now, Deadline::at(now, MS))).unwrap();
    assert_eq!(numbers(book.hopeless(now)), [1], "one worker is the errand's");
}

#[test]
fn whom_nobody_waits_for_any_more_is_not_kept() {
    let (mut book, now) = (book(1), now());
    push(&mut book, 10, now);
    let (reply, answer) = Reply::new();
    let gone = Task::Image(Image { candidate: candidate(9, 0), plan: plan(), reply });
    let load = book.load(None);
    book.push(gone, (9, load), (now, Deadline::at(now, 9_000 * MS))).unwrap();
    drop(answer);
    assert_eq!(numbers(book.hopeless(now)), [1], "its caller has hung up");
    let late = book.hopeless(now + 1_100 * MS);
    assert!(late.iter().all(|(_, why)| *why == PrepareError::Late));
    assert_eq!((numbers(late), book.queued()), (vec![0], 0));
}

#[test]
fn an_image_that_finds_no_room_is_passed_over_until_there_is() {
    let (mut book, now) = (book(3), now());
    [10, 20, 30].into_iter().for_each(|size_bytes| push(&mut book, size_bytes, now));
    let first = book.next(now).unwrap().rank.number;
    assert!(book.hold(first, 80));
    let mut second = book.next(now).unwrap();
    assert!(!book.hold(second.rank.number, 30));
    let lacked_bytes = book.end(second.rank.number, false, now).lacked_bytes;
    assert_eq!((lacked_bytes, book.held_bytes()), (Some(30), 80));
    second.needs_bytes = 30;
    book.put_back(second);
    let third = book.next(now).unwrap().rank.number;
    assert_eq!(third, 2, "its need is not known yet");
    assert!(book.next(now).is_none());
    book.end(first, true, now);
    let again = book.next(now).unwrap().rank.number;
    assert_eq!((again, book.held_bytes()), (1, 30), "taken with its turn");
    assert!(book.hold(again, 30), "it is its own already");
    assert!(book.hold(again, 90) && book.held_bytes() == 90);
    assert!(!book.hold(again, 101) && book.held_bytes() == 0, "never one beside another");
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Comes { size_bytes: usize },
    Begins,
    Asks { at: usize, bytes: u64 },
    Ends { at: usize },
    Passes { ms: u32 },
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => (1_usize..50).prop_map(|size_bytes| Event::Comes { size_bytes }),
        3 => Just(Event::Begins),
        3 => (0_usize..6, 1_u64..=100).prop_map(|(at, bytes)| Event::Asks { at, bytes }),
        3 => (0_usize..6).prop_map(|at| Event::Ends { at }),
        1 => (0_u32..9_000).prop_map(|ms| Event::Passes { ms }),
    ]
}

#[test]
fn whatever_comes_asks_hangs_or_ends_the_budget_holds_and_few_are_left_behind() {
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) };
    let events = prop::collection::vec(any_event(), 0..80);
    let run = TestRunner::new(config).run(&events, |events| {
        let (mut book, mut now) = (book(2), now());
        let mut running: Vec<Job> = Vec::new();
        for event in events {
            match event {
                Event::Comes { size_bytes } if book.is_stuck() => {
                    let load = book.load(None);
                    let deadline = Deadline::at(now, MS);
                    let pushed = book.push(image(size_bytes), (size_bytes, load), (now, deadline));
                    prop_assert_eq!(pushed, Err(PrepareError::Stuck));
                }
                Event::Comes { size_bytes } => push(&mut book, size_bytes, now),
                // as many as there are threads
                Event::Begins if 0 < book.idle() => running.extend(book.next(now)),
                Event::Asks { at, bytes } if at < running.len() => {
                    book.hold(running[at].rank.number, bytes);
                }
                Event::Ends { at } if at < running.len() => {
                    let mut job = running.remove(at);
                    if let Some(lacked) = book.end(job.rank.number, false, now).lacked_bytes {
                        job.needs_bytes = lacked;
                        book.put_back(job);
                    }
                }
                Event::Passes { ms } => {
                    now += MS * ms;
                    book.hopeless(now);
                    book.hung(now);
                }
                Event::Begins | Event::Asks { .. } | Event::Ends { .. } => {}
            }
            let held: u64 = book.running.values().map(|one| one.held_bytes).sum();
            prop_assert!(held == book.held_bytes() && held <= 100, "{held}");
            prop_assert!(book.left_behind() <= MAX_LEFT_BEHIND);
            prop_assert!(book.running.len() <= 2 + MAX_LEFT_BEHIND);
            prop_assert!(!book.is_stuck() || book.left_behind() == MAX_LEFT_BEHIND);
        }
        Ok(())
    });
    run.unwrap();
}
