//! A job is work that waits for a worker: an image to be prepared, or an errand on bytes.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::clock::Deadline;
use crate::domain::Candidate;
use crate::imaging::pool::forecast::Load;
use crate::imaging::{Plan, PrepareError, Prepared};

/// What comes of an image.
pub(super) type Answer = Result<Prepared, PrepareError>;

/// Work on bytes that takes too long for an async thread: a digest, base64.
pub(crate) type Errand = Box<dyn FnOnce() + Send>;

/// Work that waits for a worker.
pub(super) struct Job {
    /// Its place in the order.
    pub(super) rank: Rank,
    /// What is to be done.
    pub(super) task: Task,
    /// After this nobody waits for it.
    pub(super) deadline: Deadline,
    /// The latest moment at which it may be begun and not be late.
    pub(super) begin_by: Instant,
    /// What it is expected to take.
    pub(super) load: Load,
    /// What its header asks for, where that was not to be had; 0: nobody has looked yet.
    pub(super) needs_bytes: u64,
}

/// The order of jobs: the shortest first, and of equals the one that came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    /// Of its file; 0 for errands, which an image waits for.
    pub(super) size_bytes: usize,
    /// The order of arrival.
    pub(super) number: u64,
}

/// What is to be done.
pub(super) enum Task {
    /// An image to be prepared.
    Image(Image),
    /// Other work on bytes: it answers by itself.
    Errand(Errand),
}

/// An image to be prepared.
pub(super) struct Image {
    /// It.
    pub(super) candidate: Candidate,
    /// What is to be made of it.
    pub(super) plan: Arc<Plan>,
    /// Who waits for it.
    pub(super) reply: Reply,
}

impl Job {
    /// Whether anybody still waits for it.
    pub(super) fn is_wanted_at(&self, now: Instant) -> bool {
        self.reply().is_none_or(Reply::is_awaited) && now < self.deadline.instant()
    }

    /// Who waits for an image.
    pub(super) fn reply(&self) -> Option<&Reply> {
        match &self.task {
            Task::Image(image) => Some(&image.reply),
            Task::Errand(_) => None,
        }
    }

    /// Tells whoever waits for an image that nothing comes of it.
    pub(super) fn refuse(&self, why: &PrepareError) {
        self.reply().into_iter().for_each(|reply| reply.send(Err(why.clone())));
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("rank", &self.rank).finish_non_exhaustive()
    }
}

/// Where an image's caller waits: the worker answers, or, where that does not come back, whoever
/// leaves it behind. The first answer stands.
#[derive(Clone, Debug)]
pub(super) struct Reply(Arc<Mutex<Option<oneshot::Sender<Answer>>>>);

impl Reply {
    /// A reply and where it arrives.
    pub(super) fn new() -> (Self, oneshot::Receiver<Answer>) {
        let (sender, receiver) = oneshot::channel();
        (Self(Arc::new(Mutex::new(Some(sender)))), receiver)
    }

    /// Answers, unless somebody has.
    pub(super) fn send(&self, answer: Answer) {
        if let Some(sender) = self.lock().take() {
            // a caller that has gone needs no answer
            drop(sender.send(answer));
        }
    }

    /// Whether somebody waits, and has no answer.
    pub(super) fn is_awaited(&self) -> bool {
        self.lock().as_ref().is_some_and(|sender| !sender.is_closed())
    }

    fn lock(&self) -> MutexGuard<'_, Option<oneshot::Sender<Answer>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
