//! The drive sends requests when they are due, whatever became of the earlier ones.
//!
//! Each request is a task of its own from its scheduled time on; nothing waits for an answer. What is
//! kept of a request is one sample, so memory is bounded by the number of arrivals.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio::time::sleep_until;
use tokio::time::timeout_at;

use crate::chance::Chance;
use crate::gallery::Gallery;
use crate::rig::RunClock;
use crate::rig::target::Answer;
use crate::rig::target::Errand;
use crate::rig::target::Target;
use crate::sample::Sample;
use crate::sample::SampleEnd;
use crate::scenario::Scenario;

/// Requests that the rig itself holds open at most; one more is counted as not answered.
const MAX_OPEN: usize = 20_000;

/// How long answers are waited for after the last arrival.
const LINGER: Duration = Duration::from_secs(30);

/// What is sent, when, and to whom.
pub(crate) struct Drive<'a> {
    pub(crate) scenario: &'a Scenario,
    pub(crate) clock: RunClock,
    pub(crate) due: Vec<f64>,
    pub(crate) gallery: &'a Gallery,
    pub(crate) target: Target,
    pub(crate) seed: u64,
    /// Set when no more is to be sent.
    pub(crate) halted: watch::Receiver<bool>,
}

impl Drive<'_> {
    /// Sends everything and waits for what comes of it; samples by their scheduled time.
    pub(crate) async fn run(mut self) -> Vec<Sample> {
        let mut open: JoinSet<Sample> = JoinSet::new();
        let mut samples = Vec::with_capacity(self.due.len());
        let callers = self.scenario.closed_loop.map(|callers| {
            Arc::new(Semaphore::new(usize::try_from(callers).unwrap_or(Semaphore::MAX_PERMITS)))
        });
        let due = std::mem::take(&mut self.due);
        let mut sent = 0;
        for (n, due_s) in due.into_iter().enumerate() {
            sleep_until(self.clock.instant(due_s)).await;
            if *self.halted.borrow_and_update() {
                break;
            }
            sent += 1;
            while let Some(ended) = open.try_join_next() {
                samples.extend(ended.ok());
            }
            if MAX_OPEN <= open.len() {
                samples.push(Sample { due_s, sent_s: due_s, ended_s: due_s, ..Sample::default() });
                continue;
            }
            open.spawn(self.request(n, due_s).run(callers.clone()));
        }
        let until = tokio::time::Instant::now() + LINGER;
        while let Ok(Some(ended)) = timeout_at(until, open.join_next()).await {
            samples.extend(ended.ok());
        }
        // also those whose task broke
        let lost = sent - samples.len();
        self.give_up(&mut samples, lost);
        samples.sort_by(|one, other| one.due_s.total_cmp(&other.due_s));
        samples
    }

    /// Counts what never came.
    fn give_up(&self, samples: &mut Vec<Sample>, lost: usize) {
        let now_s = self.clock.now_s();
        let last_due_s = samples.iter().map(|one| one.due_s).fold(0.0, f64::max);
        for _ in 0..lost {
            let missing = Sample { due_s: last_due_s, sent_s: last_due_s, ..Sample::default() };
            samples.push(Sample { ended_s: now_s, ..missing });
        }
    }

    fn request(&self, n: usize, due_s: f64) -> Request {
        let callers = &self.scenario.callers;
        let chance = Chance::of(&[b"caller", &self.seed.to_le_bytes(), &n.to_le_bytes()]);
        let hangs_up = chance.unit("hang up") < callers.cancel_share;
        let is_in_fault = self.scenario.seconds.fault_at_s() <= due_s
            && due_s < self.scenario.seconds.mended_at_s();
        Request {
            clock: self.clock,
            due_s,
            image: self.gallery.place(n),
            errand: Errand {
                n,
                image: self.gallery.image(n),
                deadline_ms: callers.deadline_ms.filter(|_| is_in_fault),
            },
            target: self.target.clone(),
            hangs_up_after: (hangs_up && is_in_fault)
                .then(|| Duration::from_millis(callers.cancel_after_ms)),
        }
    }
}

/// One request from its scheduled time on.
struct Request {
    clock: RunClock,
    due_s: f64,
    image: usize,
    errand: Errand,
    target: Target,
    hangs_up_after: Option<Duration>,
}

impl Request {
    async fn run(self, callers: Option<Arc<Semaphore>>) -> Sample {
        let _caller = match &callers {
            Some(callers) => callers.acquire().await.ok(),
            None => None,
        };
        let sent_s = self.clock.now_s();
        let leave = async {
            match self.hangs_up_after {
                Some(after) => sleep(after).await,
                None => std::future::pending().await,
            }
        };
        let answer = tokio::select! {
            biased; // an answer that is there is taken
            answered = self.target.check(self.errand) => answered,
            () = leave => Answer { end: SampleEnd::HungUp, ..Answer::default() },
        };
        let ended_s = self.clock.now_s();
        let Answer { end, verdict, refusal } = answer;
        Sample { image: self.image, due_s: self.due_s, sent_s, ended_s, end, verdict, refusal }
    }
}
