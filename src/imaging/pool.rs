//! The pool is a fixed number of threads, a bounded queue, shortest image first, and one budget of
//! memory.
//!
//! Pixel work never runs on an async thread: it would stall every other check for tens of
//! milliseconds. Shortest first keeps small images from waiting behind a poster. What has to be
//! decided is in the `book`: whose turn it is, who would come too late, who may have memory, and
//! whose thread is not waited for any more. Work whose caller has gone is dropped unstarted. A panic
//! in one image is that image's error and the thread lives on.

mod book;
mod forecast;
mod job;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::clock::{Deadline, Stopwatch};
use crate::domain::{Candidate, Inadmissible};
use crate::imaging::allowance::Allowance;
use crate::imaging::memory::Memory;
use crate::imaging::pool::book::{Book, Hung};
use crate::imaging::pool::forecast::pixels;
use crate::imaging::pool::job::{Answer, Errand, Image, Job, Reply, Task};
use crate::imaging::{Plan, PrepareError, Prepared, Settings};

/// How far a thread that works on pixels stands back. While an async thread wants the same core it
/// gets a third as much of it (Linux weighs 335 to 1,024), and so it does beside other processes,
/// where no cgroup of its own divides the cores among them. An async thread that wakes up then runs
/// at once, where among equals it may wait until the one at work had its slice.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 5;

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

#[derive(Debug)]
struct Shared {
    settings: Settings,
    work: Work,
    book: Mutex<Book>,
    /// There may be something to do.
    came: Condvar,
    /// The pool is gone.
    closed: Condvar,
}

impl Pool {
    /// Starts `settings.threads` threads, at least one, that do `work`, and one that watches them.
    pub(crate) fn start(settings: Settings, work: Work) -> io::Result<Self> {
        // one image may take what all may take, and not more
        let max_decoded_bytes = settings.max_decoded_bytes.min(settings.max_decoding_bytes);
        let settings = Settings { max_decoded_bytes, ..settings };
        let (book, came, closed) =
            (Mutex::new(Book::new(settings)), Condvar::new(), Condvar::new());
        let pool = Self { shared: Arc::new(Shared { settings, work, book, came, closed }) };
        for number in 0..settings.threads.max(1) {
            pool.shared.start(&format!("imaging-{number}"))?;
        }
        let shared = Arc::clone(&pool.shared);
        let watch = thread::Builder::new().name("imaging-watch".to_owned());
        // detached: it ends when the pool is closed
        drop(watch.spawn(move || shared.watch())?);
        Ok(pool)
    }

    /// Images that wait for a worker.
    pub(crate) fn queued(&self) -> usize {
        self.shared.lock().queued()
    }

    /// How long one who came now would wait for a worker.
    pub(crate) fn wait(&self) -> Duration {
        self.shared.lock().wait(now())
    }

    /// Memory that is promised to the images being worked on.
    pub(crate) fn held_bytes(&self) -> u64 {
        self.shared.lock().held_bytes()
    }

    /// Threads whose work hangs.
    pub(crate) fn stuck(&self) -> usize {
        self.shared.lock().stuck()
    }

    /// Whether so much work hangs that no more is taken.
    pub(crate) fn is_stuck(&self) -> bool {
        self.shared.lock().is_stuck()
    }

    /// Queues an image; the answer comes through the receiver, at once where its turn would come too
    /// late.
    pub(crate) fn submit(
        &self,
        candidate: Candidate,
        plan: Arc<Plan>,
        deadline: Deadline,
    ) -> Result<oneshot::Receiver<Answer>, PrepareError> {
        let (reply, answer) = Reply::new();
        let size_bytes = candidate.bytes().len();
        let pixels = pixels(&candidate, &plan);
        let task = Task::Image(Image { candidate, plan, reply });
        self.push(task, (size_bytes, pixels), deadline)?;
        Ok(answer)
    }

    /// Queues an errand, ahead of every image: it takes a few milliseconds and an image waits for
    /// it. Past its deadline it is dropped unstarted.
    pub(crate) fn send(&self, errand: Errand, deadline: Deadline) -> Result<(), PrepareError> {
        self.push(Task::Errand(errand), (0, None), deadline)
    }

    fn push(
        &self,
        task: Task,
        (size_bytes, pixels): (usize, Option<forecast::Pixels>),
        deadline: Deadline,
    ) -> Result<(), PrepareError> {
        let (mut book, now) = (self.shared.lock(), now());
        let load = book.load(pixels);
        book.push(task, (size_bytes, load), (now, deadline))?;
        let hopeless = book.hopeless(now);
        drop(book);
        self.shared.came.notify_one();
        refuse(&hopeless);
        Ok(())
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.lock().close();
        self.shared.came.notify_all();
        self.shared.closed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Book> {
        // each change under this lock is one call that leaves the book whole
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a thread that works.
    fn start(self: &Arc<Self>, name: &str) -> io::Result<()> {
        let shared = Arc::clone(self);
        // detached: it ends when the pool is closed, or when another has its place
        thread::Builder::new().name(name.to_owned()).spawn(move || shared.serve()).map(drop)
    }

    fn serve(self: &Arc<Self>) {
        yield_to_the_loop();
        while let Some(job) = self.next() {
            if self.run(job) {
                break;
            }
        }
    }

    /// Waits for the next job; `None` once the pool is gone.
    fn next(&self) -> Option<Job> {
        let mut book = self.lock();
        loop {
            if book.is_closed() {
                return None;
            }
            let now = now();
            refuse(&book.hopeless(now));
            if let Some(job) = book.next(now) {
                return Some(job);
            }
            book = self.came.wait(book).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Does one job; whether another thread has this one's place since.
    fn run(self: &Arc<Self>, mut job: Job) -> bool {
        let (rank, deadline, is_wanted) = (job.rank, job.deadline, job.is_wanted_at(now()));
        let answer = match job.task {
            Task::Errand(errand) => {
                if is_wanted {
                    // a broken errand drops its reply, which tells the one who waits
                    drop(catch_unwind(AssertUnwindSafe(errand)));
                }
                return self.end(rank.number, false).is_replaced;
            }
            Task::Image(_) if !is_wanted => Err(PrepareError::Late),
            Task::Image(ref image) => self.prepare(image, deadline, rank.number),
        };
        let is_whole = answer.as_ref().is_ok_and(|prepared| 0.0 < prepared.decode_ms);
        let ended = self.end(rank.number, is_whole);
        match ended.lacked_bytes {
            Some(bytes) => {
                job.needs_bytes = bytes;
                self.lock().put_back(job);
                // what it lacked may have become free meanwhile
                self.came.notify_one();
            }
            None => {
                if let Some(reply) = job.reply() {
                    reply.send(answer);
                }
            }
        }
        ended.is_replaced
    }

    /// Prepares `image`; what a panic leaves behind is dropped with its job.
    fn prepare(self: &Arc<Self>, image: &Image, deadline: Deadline, number: u64) -> Answer {
        let Image { candidate, plan, reply } = image;
        let (settings, shared) = (&self.settings, Arc::clone(self));
        let memory = Memory::new(move |bytes| shared.lock().hold(number, bytes));
        let allowance = Allowance::start(deadline, settings.max_decode_time).within(memory);
        let is_wanted = || reply.is_awaited() && !deadline.is_past();
        let work = || (self.work)(candidate, plan, settings, &allowance, &is_wanted);
        catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(PrepareError::Broken))
    }

    /// Gives back what the work of this number held.
    fn end(&self, number: u64, is_whole: bool) -> book::Ended {
        let ended = self.lock().end(number, is_whole, now());
        // there may be memory for several now
        self.came.notify_all();
        ended
    }

    /// Looks for work that does not come back, until the pool is gone.
    fn watch(self: &Arc<Self>) {
        let mut book = self.lock();
        while !book.is_closed() {
            let now = now();
            let hung = book.hung(now);
            if hung.is_empty() {
                let rest = book.look_at(now).saturating_duration_since(now);
                let waited = self.closed.wait_timeout(book, rest);
                (book, _) = waited.unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            drop(book);
            for one in hung {
                self.leave_behind(&one);
            }
            book = self.lock();
            if book.is_stuck() {
                let waiting = book.images();
                waiting.into_iter().for_each(|job| job.refuse(&PrepareError::Stuck));
            }
        }
    }

    /// Answers for work that does not come back, and gives its thread's place to another.
    fn leave_behind(self: &Arc<Self>, hung: &Hung) {
        let limit_ms = self.settings.max_decode_time.as_millis();
        tracing::error!(limit_ms, hung.is_replaced, "an image holds its thread and is left behind");
        let why = if hung.deadline.is_past() {
            PrepareError::Late
        } else {
            let limit_ms = u64::try_from(limit_ms).unwrap_or(u64::MAX);
            Inadmissible::TooSlow { limit_ms }.into()
        };
        hung.reply.iter().for_each(|reply| reply.send(Err(why.clone())));
        if hung.is_replaced
            && let Err(why) = self.start("imaging-again")
        {
            tracing::error!(%why, "there is no thread to take its place");
            self.lock().keep(hung.number);
        }
    }
}

/// Tells those who are not to wait any longer.
fn refuse(hopeless: &[(Job, PrepareError)]) {
    hopeless.iter().for_each(|(job, why)| job.refuse(why));
}

fn now() -> Instant {
    Stopwatch::start().started()
}

/// Lets the async threads go first wherever both want a core. A process that may not say so is
/// merely slower to answer under load.
#[cfg(target_os = "linux")]
fn yield_to_the_loop() {
    // Linux keeps niceness for each thread, and this is on top of the process's own
    if let Err(why) = rustix::process::nice(NICENESS) {
        tracing::debug!(%why, "a worker runs at the priority of the event loop");
    }
}

#[cfg(not(target_os = "linux"))]
fn yield_to_the_loop() {}

#[cfg(test)]
mod tests;
