use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use bytes::Bytes;

use super::*;
use crate::domain::Format;
use crate::domain::policy::Encoding;

/// An image of `length` bytes, which tells its work what to do by its last bytes.
pub(super) fn candidate(length: usize, last: u8) -> Candidate {
    with(length, [last, 0xFF])
}

fn with(length: usize, [last, before]: [u8; 2]) -> Candidate {
    let mut bytes = vec![0xFF; length];
    bytes[1] = 0xD8;
    bytes[length - 2] = before;
    bytes[length - 1] = last;
    Candidate::admit(Bytes::from(bytes), &Format::ALL, 1 << 20).unwrap()
}

/// One whose header promises 40 megapixels: by presumption 400 ms of work.
fn large(last: u8) -> Candidate {
    let frame = b"\xFF\xD8\xFF\xC0\0\x11\x08\x13\x88\x1F\x40\x03\0\0";
    let bytes = [frame.as_slice(), &[last]].concat();
    Candidate::admit(Bytes::from(bytes), &Format::ALL, 1 << 20).unwrap()
}

pub(super) fn plan() -> Arc<Plan> {
    let encode = Encoding { quality: 85, flatten_alpha: [255; 3] };
    let (checks, views) = (Vec::new(), Vec::new());
    Arc::new(Plan { max_pixels: 40_000_000, checks, views, encode, measures: true })
}

/// Tells the niceness of the thread it runs on.
#[cfg(target_os = "linux")]
fn niceness(
    _: &Candidate,
    _: &Plan,
    _: &Settings,
    _: &Allowance,
    _: &dyn Fn() -> bool,
) -> Result<Prepared, PrepareError> {
    let niceness = rustix::process::getpriority_process(None).unwrap();
    Ok(Prepared { width_px: u32::try_from(niceness + 20).unwrap(), ..Prepared::default() })
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_worker_lets_the_event_loop_go_first() {
    let pool = Pool::start(Settings { threads: 1, ..Settings::default() }, niceness).unwrap();
    let own = rustix::process::getpriority_process(None).unwrap();
    let answer = pool.submit(candidate(64, 0), plan(), soon()).unwrap().await.unwrap().unwrap();
    let workers = i32::try_from(answer.width_px).unwrap() - 20;
    assert_eq!(workers, (own + NICENESS).min(19));
    assert_eq!(rustix::process::getpriority_process(None).unwrap(), own, "the others keep theirs");
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(60))
}

const ECHO: u8 = 1;
const PANIC: u8 = 2;
const UNTIL_UNWANTED: u8 = 3;
/// Hangs until the byte before is among [`LET_GO`].
const HANG: u8 = 4;
/// Holds as many KiB as its length in bytes.
const HOLD: u8 = 5;

static LET_GO: (Mutex<BTreeSet<u8>>, Condvar) = (Mutex::new(BTreeSet::new()), Condvar::new());

fn let_go(name: u8) {
    LET_GO.0.lock().unwrap().insert(name);
    LET_GO.1.notify_all();
}

/// What the images hold that [`HOLD`], and the most they ever did.
static HELD: AtomicU64 = AtomicU64::new(0);
static MOST_HELD: AtomicU64 = AtomicU64::new(0);

/// Answers with an error that names the image's size; panics, holds or waits on demand.
fn work(
    candidate: &Candidate,
    _: &Plan,
    _: &Settings,
    allowance: &Allowance,
    is_wanted: &dyn Fn() -> bool,
) -> Result<Prepared, PrepareError> {
    let bytes = candidate.bytes();
    let size_bytes = bytes.len() as u64;
    match bytes.last() {
        Some(&PANIC) => panic!("as the test asked"),
        Some(&UNTIL_UNWANTED) => {
            while is_wanted() {
                thread::yield_now();
            }
            return Err(PrepareError::Late);
        }
        Some(&HANG) => {
            assert!(allowance.memory().take(1_024));
            let (names, changed) = &LET_GO;
            let name = bytes[bytes.len() - 2];
            let is_held = |names: &mut BTreeSet<u8>| !names.contains(&name);
            drop(changed.wait_while(names.lock().unwrap(), is_held).unwrap());
        }
        Some(&HOLD) => {
            let wanted = size_bytes << 10;
            if !allowance.memory().take(wanted) {
                return Err(PrepareError::Broken);
            }
            let held = HELD.fetch_add(wanted, Ordering::SeqCst) + wanted;
            MOST_HELD.fetch_max(held, Ordering::SeqCst);
            thread::yield_now();
            HELD.fetch_sub(wanted, Ordering::SeqCst);
        }
        _ => {}
    }
    echo(size_bytes)
}

fn pool(max_queued: usize) -> Pool {
    Pool::start(Settings { threads: 1, max_queued, ..Settings::default() }, work).unwrap()
}

fn echo(size_bytes: u64) -> Result<Prepared, PrepareError> {
    Err(Inadmissible::TooLarge { size_bytes, limit_bytes: 0 }.into())
}

/// Holds the pool's one worker until the receiver is dropped.
fn hold(pool: &Pool) -> oneshot::Receiver<Result<Prepared, PrepareError>> {
    let held = pool.submit(candidate(4, UNTIL_UNWANTED), plan(), soon()).unwrap();
    while pool.queued() != 0 {
        thread::yield_now();
    }
    held
}

#[tokio::test]
async fn a_panic_is_one_image_s_error_and_the_worker_lives_on() {
    let pool = pool(8);
    let broken = pool.submit(candidate(5, PANIC), plan(), soon()).unwrap();
    assert_eq!(broken.await.unwrap(), Err(PrepareError::Broken));
    let next = pool.submit(candidate(6, ECHO), plan(), soon()).unwrap();
    assert_eq!(next.await.unwrap(), echo(6));
}

#[tokio::test]
async fn every_image_that_waits_is_answered_when_its_turn_comes() {
    let pool = pool(8);
    let held = hold(&pool);
    let (told, order) = mpsc::channel();
    let mut waiting = Vec::new();
    for (name, length) in [("long", 900), ("short", 10), ("middle", 90), ("short too", 10)] {
        let answer = pool.submit(candidate(length, ECHO), plan(), soon()).unwrap();
        let told = told.clone();
        waiting.push(thread::spawn(move || {
            drop(answer.blocking_recv());
            told.send(name).unwrap();
        }));
    }
    assert_eq!(pool.queued(), 4);
    drop(held);
    waiting.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(order.try_iter().count(), 4);
}

#[tokio::test]
async fn a_full_queue_says_so_unless_somebody_has_left_it() {
    let pool = pool(1);
    let held = hold(&pool);
    let waiting = pool.submit(candidate(9, ECHO), plan(), soon()).unwrap();
    let full = pool.submit(candidate(9, ECHO), plan(), soon()).unwrap_err();
    assert_eq!(full, PrepareError::Busy { queued: 1, limit: 1 });
    drop(waiting);
    let next = pool.submit(candidate(9, ECHO), plan(), soon()).unwrap();
    drop(held);
    assert_eq!(next.await.unwrap(), echo(9));
}

#[tokio::test]
async fn work_whose_deadline_has_passed_is_not_begun() {
    let pool = pool(8);
    // it would wait for ever if it were begun
    let past = Deadline::after(Duration::ZERO);
    let late = pool.submit(candidate(9, PANIC), plan(), past).unwrap();
    assert_eq!(late.await.unwrap(), Err(PrepareError::Late));
}

#[tokio::test]
async fn a_dropped_pool_answers_nobody() {
    let pool = pool(8);
    let held = hold(&pool);
    let waiting = pool.submit(candidate(9, ECHO), plan(), soon()).unwrap();
    drop(pool);
    assert!(waiting.await.is_err());
    drop(held);
}

#[tokio::test]
async fn who_would_wait_for_a_worker_until_no_judge_has_time_is_told_at_once() {
    let pool = pool(64);
    let held = hold(&pool);
    // each takes 400 ms, and may wait for the 2 s that are left beside that
    let deadline = Deadline::after(Duration::from_millis(2_400));
    let mut waiting = Vec::new();
    let told = loop {
        let mut answer = pool.submit(large(ECHO), plan(), deadline).unwrap();
        // the worker is held: who is answered was refused
        match answer.try_recv() {
            Ok(told) => break told,
            Err(_) => waiting.push(answer),
        }
    };
    assert!(matches!(told, Err(PrepareError::Behind { .. })), "{told:?}");
    // fewer where the machine was slow: time passes
    assert!((1..=6).contains(&waiting.len()), "{}", waiting.len());
    assert_eq!(pool.queued(), waiting.len());
    assert!(Duration::from_millis(400) <= pool.wait());
    drop(held);
    for answer in waiting {
        answer.await.unwrap().unwrap_err();
    }
    assert_eq!(pool.wait(), Duration::ZERO);
}

#[tokio::test]
async fn whatever_images_hold_together_is_within_the_budget_and_all_are_served() {
    const BUDGET_KIB: usize = 1_000;
    let max_decoding_bytes = (BUDGET_KIB as u64) << 10;
    let settings = Settings { threads: 4, max_decoding_bytes, ..Settings::default() };
    let pool = Pool::start(settings, work).unwrap();
    let lengths = (0..400).map(|number| 8 + number * 379 % (BUDGET_KIB - 8));
    let answers: Vec<_> = lengths
        .map(|length| (length, pool.submit(candidate(length, HOLD), plan(), soon()).unwrap()))
        .collect();
    for (length, answer) in answers {
        assert_eq!(answer.await.unwrap(), echo(length as u64));
    }
    let most_held = MOST_HELD.load(Ordering::SeqCst);
    assert!(0 < most_held && most_held <= max_decoding_bytes, "{most_held}");
    assert_eq!((pool.held_bytes(), pool.queued()), (0, 0));
}

/// One worker, whose work is overdue after 600 ms.
fn impatient() -> Pool {
    let max_decode_time = Duration::from_millis(300);
    Pool::start(Settings { threads: 1, max_decode_time, ..Settings::default() }, work).unwrap()
}

fn too_slow() -> Result<Prepared, PrepareError> {
    Err(Inadmissible::TooSlow { limit_ms: 300 }.into())
}

#[tokio::test]
async fn work_that_does_not_come_back_is_left_behind_and_its_thread_replaced() {
    let pool = impatient();
    let hung = pool.submit(with(8, [HANG, 10]), plan(), soon()).unwrap();
    let behind_it = pool.submit(candidate(9, ECHO), plan(), soon()).unwrap();
    assert_eq!(hung.await.unwrap(), too_slow());
    assert_eq!(behind_it.await.unwrap(), echo(9), "another thread has its place");
    assert_eq!((pool.stuck(), pool.is_stuck()), (1, false));
    assert_eq!(pool.held_bytes(), 1_024, "it still holds what it holds");
    let_go(10);
    while pool.stuck() != 0 {
        thread::yield_now();
    }
    assert_eq!(pool.held_bytes(), 0);
    let next = pool.submit(candidate(9, ECHO), plan(), soon()).unwrap();
    assert_eq!(next.await.unwrap(), echo(9));
}

#[tokio::test]
async fn when_a_third_thread_hangs_the_pool_refuses_until_one_has_come_back() {
    let pool = impatient();
    for name in [20, 21] {
        let hung = pool.submit(with(8, [HANG, name]), plan(), soon()).unwrap();
        assert_eq!(hung.await.unwrap(), too_slow());
        assert!(!pool.is_stuck());
    }
    let hung = pool.submit(with(8, [HANG, 22]), plan(), soon()).unwrap();
    let behind_it = pool.submit(candidate(9, ECHO), plan(), soon()).unwrap();
    assert_eq!(hung.await.unwrap(), too_slow());
    assert_eq!(behind_it.await.unwrap(), Err(PrepareError::Stuck), "there is no worker for it");
    assert_eq!((pool.stuck(), pool.is_stuck()), (3, true));
    let refused = pool.submit(candidate(9, ECHO), plan(), soon()).map(drop);
    assert_eq!(refused, Err(PrepareError::Stuck));
    // who comes back takes the place of one that still hangs
    let_go(20);
    while pool.is_stuck() {
        thread::yield_now();
    }
    let next = pool.submit(candidate(9, ECHO), plan(), soon()).unwrap();
    assert_eq!(next.await.unwrap(), echo(9));
    assert_eq!(pool.stuck(), 2);
    [21, 22].into_iter().for_each(let_go);
    while pool.stuck() != 0 {
        thread::yield_now();
    }
    let next = pool.submit(candidate(9, ECHO), plan(), soon()).unwrap();
    assert_eq!(next.await.unwrap(), echo(9));
}
