//! The pool is a fixed number of threads and a bounded queue, shortest image first.
//!
//! Pixel work never runs on an async thread: it would stall every other check for tens of
//! milliseconds. Shortest first keeps small images from waiting behind a poster; a large one may
//! be overtaken until its deadline, which is when it is dropped unstarted. So is work whose caller
//! has gone. A panic in one image is that image's error and the thread lives on.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use tokio::sync::oneshot;

use crate::clock::Deadline;
use crate::domain::Candidate;
use crate::imaging::allowance::Allowance;
use crate::imaging::{Plan, PrepareError, Prepared, Settings};

/// What a thread does with one image. `Fn() -> bool` tells whether anybody still waits for it.
pub(crate) type Work = fn(
    &Candidate,
    &Plan,
    &Settings,
    &Allowance,
    &dyn Fn() -> bool,
) -> Result<Prepared, PrepareError>;

/// The owning end of the pool: dropping it ends the threads once they have finished what they
/// hold. It does not wait for them, because it may be dropped on an async thread.
#[derive(Debug)]
pub(crate) struct Pool {
    shared: Arc<Shared>,
}

/// Work that waits for a worker.
struct Job {
    task: Task,
    size_bytes: usize,
    deadline: Deadline,
    /// The order of arrival, which decides among jobs of one size.
    number: u64,
}

enum Task {
    /// An image to be prepared.
    Image {
        candidate: Candidate,
        plan: Arc<Plan>,
        reply: oneshot::Sender<Result<Prepared, PrepareError>>,
    },
    /// Other work on bytes: it answers by itself.
    Errand(Errand),
}

/// Work on bytes that takes too long for an async thread: a digest, base64.
pub(crate) type Errand = Box<dyn FnOnce() + Send>;

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("size_bytes", &self.size_bytes).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Shared {
    settings: Settings,
    work: Work,
    queue: Mutex<Queue>,
    came: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: BinaryHeap<Reverse<Job>>,
    arrived: u64,
    closed: bool,
}

impl Pool {
    /// Starts `settings.threads` threads, at least one, that do `work`.
    pub(crate) fn start(settings: Settings, work: Work) -> io::Result<Self> {
        let queue = Mutex::new(Queue::default());
        let shared = Shared { settings, work, queue, came: Condvar::new() };
        let pool = Self { shared: Arc::new(shared) };
        for number in 0..settings.threads.max(1) {
            let shared = Arc::clone(&pool.shared);
            let worker = thread::Builder::new().name(format!("imaging-{number}"));
            // detached: it ends when the queue is closed
            drop(worker.spawn(move || shared.serve())?);
        }
        Ok(pool)
    }

    /// Images that wait for a worker.
    pub(crate) fn queued(&self) -> usize {
        self.shared.lock().waiting.len()
    }

    /// Queues an image; the answer comes through the receiver.
    pub(crate) fn submit(
        &self,
        candidate: Candidate,
        plan: Arc<Plan>,
        deadline: Deadline,
    ) -> Result<oneshot::Receiver<Result<Prepared, PrepareError>>, PrepareError> {
        let (reply, answer) = oneshot::channel();
        let size_bytes = candidate.bytes().len();
        self.push(Task::Image { candidate, plan, reply }, size_bytes, deadline)?;
        Ok(answer)
    }

    /// Queues an errand, ahead of every image: it takes a few milliseconds and an image waits for
    /// it. Past its deadline it is dropped unstarted.
    pub(crate) fn send(&self, errand: Errand, deadline: Deadline) -> Result<(), PrepareError> {
        self.push(Task::Errand(errand), 0, deadline)
    }

    fn push(&self, task: Task, size_bytes: usize, deadline: Deadline) -> Result<(), PrepareError> {
        let limit = self.shared.settings.max_queued;
        let mut queue = self.shared.lock();
        if limit <= queue.waiting.len() {
            queue.waiting.retain(|Reverse(job)| job.is_wanted());
        }
        let queued = queue.waiting.len();
        if limit <= queued {
            return Err(PrepareError::Busy { queued, limit });
        }
        let number = queue.arrived;
        queue.arrived += 1;
        queue.waiting.push(Reverse(Job { task, size_bytes, deadline, number }));
        drop(queue);
        self.shared.came.notify_one();
        Ok(())
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let mut queue = self.shared.lock();
        queue.closed = true;
        queue.waiting.clear();
        drop(queue);
        self.shared.came.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // nothing under this lock can leave the queue half changed
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self) {
        while let Some(job) = self.next() {
            job.run(&self.settings, self.work);
        }
    }

    /// Waits for the next image; `None` once the pool is gone.
    fn next(&self) -> Option<Job> {
        let mut queue = self.lock();
        loop {
            if queue.closed {
                return None;
            }
            if let Some(Reverse(job)) = queue.waiting.pop() {
                return Some(job);
            }
            queue = self.came.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Job {
    fn is_wanted(&self) -> bool {
        let is_awaited = match &self.task {
            Task::Image { reply, .. } => !reply.is_closed(),
            Task::Errand(_) => true,
        };
        is_awaited && !self.deadline.is_past()
    }

    fn run(self, settings: &Settings, work: Work) {
        let is_wanted = self.is_wanted();
        let deadline = self.deadline;
        match self.task {
            // a caller that has gone needs no answer
            Task::Image { reply, .. } if !is_wanted => drop(reply.send(Err(PrepareError::Late))),
            Task::Image { candidate, plan, reply } => {
                let allowance = Allowance::start(deadline, settings.max_decode_time);
                let is_wanted = || !reply.is_closed() && !deadline.is_past();
                let work = || work(&candidate, &plan, settings, &allowance, &is_wanted);
                // what a panic leaves behind is dropped with this job
                let outcome = catch_unwind(AssertUnwindSafe(work));
                drop(reply.send(outcome.unwrap_or(Err(PrepareError::Broken))));
            }
            Task::Errand(_) if !is_wanted => {}
            // a broken errand drops its reply, which tells the one who waits
            Task::Errand(errand) => drop(catch_unwind(AssertUnwindSafe(errand))),
        }
    }

    fn rank(&self) -> (usize, u64) {
        (self.size_bytes, self.number)
    }
}

impl Ord for Job {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank())
    }
}

impl PartialOrd for Job {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Job {
    fn eq(&self, other: &Self) -> bool {
        self.rank() == other.rank()
    }
}

impl Eq for Job {}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::domain::policy::Encoding;
    use crate::domain::{Format, Inadmissible};

    /// An image of `length` bytes, which tells its work what to do by its last byte.
    fn candidate(length: usize, last: u8) -> Candidate {
        let mut bytes = vec![0xFF; length];
        bytes[1] = 0xD8;
        bytes[length - 1] = last;
        Candidate::admit(Bytes::from(bytes), &Format::ALL, 1 << 20).unwrap()
    }

    fn plan() -> Arc<Plan> {
        let encode = Encoding { quality: 85, flatten_alpha: [255; 3] };
        Arc::new(Plan {
            max_pixels: 1,
            checks: Vec::new(),
            views: Vec::new(),
            encode,
            measures: true,
        })
    }

    fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(60))
    }

    const ECHO: u8 = 1;
    const PANIC: u8 = 2;
    const UNTIL_UNWANTED: u8 = 3;

    /// Answers with an error that names the image's size; panics or waits on demand.
    fn work(
        candidate: &Candidate,
        _: &Plan,
        _: &Settings,
        _: &Allowance,
        is_wanted: &dyn Fn() -> bool,
    ) -> Result<Prepared, PrepareError> {
        let bytes = candidate.bytes();
        match bytes.last() {
            Some(&PANIC) => panic!("as the test asked"),
            Some(&UNTIL_UNWANTED) => {
                while is_wanted() {
                    thread::yield_now();
                }
                Err(PrepareError::Late)
            }
            _ => {
                let size_bytes = bytes.len() as u64;
                Err(Inadmissible::TooLarge { size_bytes, limit_bytes: 0 }.into())
            }
        }
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
    async fn the_shortest_image_is_next_and_equals_come_in_order() {
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
        let ranks: Vec<usize> = {
            let queue = pool.shared.lock();
            let mut jobs: Vec<&Reverse<Job>> = queue.waiting.iter().collect();
            jobs.sort_by(|one, other| other.cmp(one));
            jobs.iter().map(|Reverse(job)| usize::try_from(job.number).unwrap()).collect()
        };
        assert_eq!(ranks, [2, 4, 3, 1], "short, short too, middle, long; 0 is held");
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
}
