//! The book is what the pool's threads share under one lock: who waits, who is worked on, what
//! memory they hold, and which work did not come back. Pure: it is told the time.
//!
//! # Memory
//! What an image will hold is known from its header, so it is a permit: taken whole before the
//! decode, given back when the last view is made. There is no waiting for it with a worker, or with
//! another permit, in hand: an image that finds no room goes back into the queue with its need
//! written down, and is passed over until that is free. So the sum never exceeds
//! [`Settings::max_decoding_bytes`], and nobody can wait for each other.
//!
//! # Time
//! What waits is expected to take so long ([`Forecast`]), so whoever comes can be told at once that
//! its turn would come too late, instead of being kept until it is. An image whose work could not be
//! begun in time to be done by its deadline (which leaves its judges what they need) is refused then
//! and there. It is served in order: first come first served would make everybody late under overload,
//! but the door in front keeps the queue to half of what judges leave
//! ([`crate::gate::admission`]), and this rule cuts off what came in at once before that showed. Where
//! a worker is idle nobody is refused, however little time is left.
//!
//! # Work that does not come back
//! A decoder is asked to stop by its reader, but one in C that hangs cannot be interrupted. Work
//! that is out for twice [`Settings::max_decode_time`] is left behind: its caller is answered, and a
//! new thread takes the place of its thread, which ends if it comes back. Two may be left behind at a
//! time; where a third hangs the pool refuses all work until one has come back, because threads and
//! the memory that they hold would otherwise be without bound.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::Deadline;
use crate::imaging::pool::forecast::{Forecast, Load, Pixels};
use crate::imaging::pool::job::{Job, Rank, Reply, Task};
use crate::imaging::{PrepareError, Settings};

/// Threads that may be left behind at a time.
pub(super) const MAX_LEFT_BEHIND: usize = 2;

/// The pool's book.
#[derive(Debug)]
pub(super) struct Book {
    settings: Settings,
    waiting: BTreeMap<Rank, Job>,
    /// By the number of their rank.
    running: BTreeMap<u64, Running>,
    held_bytes: u64,
    arrived: u64,
    forecast: Forecast,
    is_closed: bool,
}

/// Work that a thread has taken up.
#[derive(Debug)]
struct Running {
    since: Instant,
    load: Load,
    reply: Option<Reply>,
    deadline: Deadline,
    held_bytes: u64,
    /// What it wanted to hold and could not.
    lacked_bytes: Option<u64>,
    fate: Fate,
}

/// What is thought of running work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It will come back.
    Expected,
    /// It should have, and nobody took its thread's place.
    Overdue,
    /// The same, and another thread has its place.
    LeftBehind,
}

/// Work that is overdue.
#[derive(Debug)]
pub(super) struct Hung {
    /// Its number.
    pub(super) number: u64,
    /// Who waits for it.
    pub(super) reply: Option<Reply>,
    /// Until when.
    pub(super) deadline: Deadline,
    /// Whether a thread is to take the place of its thread.
    pub(super) is_replaced: bool,
}

/// How work ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    /// It found no room for so many bytes and is to be queued again.
    pub(super) lacked_bytes: Option<u64>,
    /// Another thread has its thread's place.
    pub(super) is_replaced: bool,
}

impl Book {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            waiting: BTreeMap::new(),
            running: BTreeMap::new(),
            held_bytes: 0,
            arrived: 0,
            forecast: Forecast::default(),
            is_closed: false,
        }
    }

    /// What preparing `pixels` will take.
    pub(super) fn load(&self, pixels: Option<Pixels>) -> Load {
        self.forecast.load(pixels)
    }

    /// Queues `task`.
    ///
    /// # Errors
    /// The queue is full, or too much work hangs.
    pub(super) fn push(
        &mut self,
        task: Task,
        (size_bytes, load): (usize, Load),
        (now, deadline): (Instant, Deadline),
    ) -> Result<(), PrepareError> {
        if self.is_stuck() {
            return Err(PrepareError::Stuck);
        }
        let limit = self.settings.max_queued;
        if limit <= self.waiting.len() {
            self.waiting.retain(|_, job| job.is_wanted_at(now));
        }
        let queued = self.waiting.len();
        if limit <= queued {
            return Err(PrepareError::Busy { queued, limit });
        }
        let rank = Rank { size_bytes, number: self.arrived };
        self.arrived += 1;
        let (begin_by, needs_bytes) = (deadline.less(load.takes).instant(), 0);
        self.waiting.insert(rank, Job { rank, task, deadline, begin_by, load, needs_bytes });
        Ok(())
    }

    /// Queues work once more that could not be done.
    pub(super) fn put_back(&mut self, job: Job) {
        self.waiting.insert(job.rank, job);
    }

    /// Takes those out of the queue whom nobody waits for any more, or whose turn would come too late,
    /// with what they are to be told. Each change of the queue may make some so: who comes, who is
    /// overtaken by shorter ones, and who waits for work that takes longer than was expected.
    pub(super) fn hopeless(&mut self, now: Instant) -> Vec<(Job, PrepareError)> {
        let mut ahead = self.being_done(now);
        let mut idle = self.idle();
        let mut hopeless = Vec::new();
        for (rank, job) in &self.waiting {
            if !job.is_wanted_at(now) {
                hopeless.push((*rank, PrepareError::Late));
                continue;
            }
            let wait = if 0 < idle { Duration::ZERO } else { self.shared_out(ahead) };
            let is_image = matches!(job.task, Task::Image(_));
            if is_image && !wait.is_zero() && job.begin_by < now + wait {
                let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                hopeless.push((*rank, PrepareError::Behind { wait_ms }));
                continue;
            }
            idle = idle.saturating_sub(1);
            ahead = ahead.saturating_add(job.load.takes);
        }
        let taken = hopeless.into_iter();
        taken.filter_map(|(rank, why)| Some((self.waiting.remove(&rank)?, why))).collect()
    }

    /// How long one who came now would wait for a worker.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        if self.waiting.len() < self.idle() {
            return Duration::ZERO;
        }
        let waiting = self.waiting.values().map(|job| job.load.takes);
        self.shared_out(waiting.fold(self.being_done(now), Duration::saturating_add))
    }

    /// What is left to do of what is being done.
    fn being_done(&self, now: Instant) -> Duration {
        let running = self.running.values().filter(|one| one.fate == Fate::Expected);
        let left = running
            .map(|one| one.load.takes.saturating_sub(now.saturating_duration_since(one.since)));
        left.fold(Duration::ZERO, Duration::saturating_add)
    }

    fn shared_out(&self, work: Duration) -> Duration {
        work / u32::try_from(self.threads()).unwrap_or(u32::MAX)
    }

    fn threads(&self) -> usize {
        self.settings.threads.max(1)
    }

    /// Threads that have nothing to do, or have been told to take something up.
    fn idle(&self) -> usize {
        let placed = self.running.values().filter(|one| one.fate != Fate::LeftBehind);
        self.threads().saturating_sub(placed.count())
    }

    /// The first in order whose memory is to be had; it is running from now on.
    pub(super) fn next(&mut self, now: Instant) -> Option<Job> {
        let free = self.settings.max_decoding_bytes.saturating_sub(self.held_bytes);
        let (rank, _) = self.waiting.iter().find(|(_, job)| job.needs_bytes <= free)?;
        let rank = *rank;
        let job = self.waiting.remove(&rank)?;
        self.held_bytes += job.needs_bytes;
        let running = Running {
            since: now,
            load: job.load,
            reply: job.reply().cloned(),
            deadline: job.deadline,
            held_bytes: job.needs_bytes,
            lacked_bytes: None,
            fate: Fate::Expected,
        };
        self.running.insert(rank.number, running);
        Some(job)
    }

    /// Whether the work of this number holds `bytes` from now on, all of them or none. What it holds
    /// already is given back first: nobody holds one permit while asking for another.
    pub(super) fn hold(&mut self, number: u64, bytes: u64) -> bool {
        let Some(running) = self.running.get_mut(&number) else { return false };
        if bytes <= running.held_bytes {
            return true;
        }
        self.held_bytes = self.held_bytes.saturating_sub(running.held_bytes);
        running.held_bytes = 0;
        let free = self.settings.max_decoding_bytes.saturating_sub(self.held_bytes);
        if free < bytes {
            running.lacked_bytes = Some(bytes);
            return false;
        }
        running.held_bytes = bytes;
        self.held_bytes += bytes;
        true
    }

    /// The work of this number came back, and gives everything back. `is_whole`: it was done from
    /// its beginning to its end, so it says how long such work takes.
    pub(super) fn end(&mut self, number: u64, is_whole: bool, now: Instant) -> Ended {
        let Some(running) = self.running.remove(&number) else {
            return Ended { lacked_bytes: None, is_replaced: false };
        };
        self.held_bytes = self.held_bytes.saturating_sub(running.held_bytes);
        if is_whole {
            self.forecast.learn(running.load, now.saturating_duration_since(running.since));
        }
        let is_replaced = running.fate == Fate::LeftBehind && !self.takes_a_place();
        Ended { lacked_bytes: running.lacked_bytes, is_replaced }
    }

    /// Whether a thread that came back is to work on, in the place of one that still hangs.
    fn takes_a_place(&mut self) -> bool {
        let hangs = self.running.values_mut().find(|one| one.fate == Fate::Overdue);
        hangs.map(|one| one.fate = Fate::LeftBehind).is_some()
    }

    /// What has become overdue by now.
    pub(super) fn hung(&mut self, now: Instant) -> Vec<Hung> {
        let patience = self.patience();
        let mut left_behind = self.left_behind();
        let expected = self.running.iter_mut().filter(|(_, one)| one.fate == Fate::Expected);
        let overdue = expected.filter(|(_, one)| one.since + patience <= now);
        let hung = overdue.map(|(number, one)| {
            let is_replaced = left_behind < MAX_LEFT_BEHIND;
            left_behind += usize::from(is_replaced);
            one.fate = if is_replaced { Fate::LeftBehind } else { Fate::Overdue };
            let (reply, deadline) = (one.reply.take(), one.deadline);
            Hung { number: *number, reply, deadline, is_replaced }
        });
        hung.collect()
    }

    /// No thread could be had to take the place of the one that does the work of this number.
    pub(super) fn keep(&mut self, number: u64) {
        if let Some(running) = self.running.get_mut(&number) {
            running.fate = Fate::Overdue;
        }
    }

    /// When to look for overdue work again: whatever is begun from now on is not overdue before.
    pub(super) fn look_at(&self, now: Instant) -> Instant {
        let patience = self.patience();
        let expected = self.running.values().filter(|one| one.fate == Fate::Expected);
        let first = expected.map(|one| one.since + patience).min();
        first.unwrap_or(now + patience).min(now + patience)
    }

    /// How long work may be out.
    fn patience(&self) -> Duration {
        self.settings.max_decode_time.saturating_mul(2)
    }

    fn left_behind(&self) -> usize {
        self.running.values().filter(|one| one.fate == Fate::LeftBehind).count()
    }

    /// Whether work hangs and no thread has taken the place of its thread.
    pub(super) fn is_stuck(&self) -> bool {
        self.running.values().any(|one| one.fate == Fate::Overdue)
    }

    /// Threads whose work hangs.
    pub(super) fn stuck(&self) -> usize {
        self.running.values().filter(|one| one.fate != Fate::Expected).count()
    }

    /// Takes every image out of the queue.
    pub(super) fn images(&mut self) -> Vec<Job> {
        let (images, errands) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|(_, job)| matches!(job.task, Task::Image(_)));
        self.waiting = errands;
        let images: BTreeMap<Rank, Job> = images;
        images.into_values().collect()
    }

    pub(super) fn queued(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn held_bytes(&self) -> u64 {
        self.held_bytes
    }

    pub(super) fn close(&mut self) {
        self.is_closed = true;
        self.waiting.clear();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed
    }
}

#[cfg(test)]
mod tests;
