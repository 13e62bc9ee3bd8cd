//! The only reader of any clock: [`Deadline`] is monotonic, [`Timestamp`] is wall time, [`RunTime`] is a
//! thread's own.
//!
//! A deadline is an instant, made once at the door, and only gets earlier. Relative timeouts add
//! up: three nested ones of 5 s wait 15 s, and a fallback behind a hung primary is never reached.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use thiserror::Error;
use tokio::time::{self, Instant};

pub mod dates;

/// The instant after which nobody waits for the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

/// The deadline passed first.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the deadline passed")]
pub struct Late;

impl Deadline {
    /// `budget` from now.
    #[must_use]
    pub fn after(budget: Duration) -> Self {
        Self::at(Instant::now(), budget)
    }

    /// `budget` from `start`.
    #[must_use]
    pub fn at(start: Instant, budget: Duration) -> Self {
        // an absurd budget means "no limit a process can live to see"
        let day = Duration::from_secs(86_400);
        Self(start + budget.min(day))
    }

    /// The earlier of this and `cap` from now.
    #[must_use]
    pub fn capped(self, cap: Duration) -> Self {
        self.min(Self::after(cap))
    }

    /// This deadline less `reserve`: what is held back for the work that follows.
    #[must_use]
    pub fn less(self, reserve: Duration) -> Self {
        Self(self.0.checked_sub(reserve).unwrap_or(self.0))
    }

    /// What is left, zero once passed.
    #[must_use]
    pub fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// Whether it has passed.
    #[must_use]
    pub fn is_past(self) -> bool {
        self.left().is_zero()
    }

    /// The instant itself, for timers.
    #[must_use]
    pub fn instant(self) -> Instant {
        self.0
    }

    /// Returns when it passes.
    pub async fn passed(self) {
        time::sleep_until(self.0).await;
    }

    /// Runs `work`, dropping it (and so cancelling it) when the deadline passes.
    ///
    /// # Errors
    /// [`Late`] when the deadline came first.
    pub async fn bound<F: Future>(self, work: F) -> Result<F::Output, Late> {
        time::timeout_at(self.0, work).await.map_err(|_| Late)
    }
}

/// A moment of wall time: microseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Now, by the system's clock.
    #[must_use]
    pub fn now() -> Self {
        Self(jiff::Timestamp::now().as_microsecond())
    }

    /// Reads RFC 3339 (`2026-11-21T14:02:00Z`).
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parsed: Result<jiff::Timestamp, _> = text.parse();
        parsed.map(|at| Self(at.as_microsecond())).map_err(|why| why.to_string())
    }

    /// Reads a date of HTTP's (`Sun, 06 Nov 1994 08:49:37 GMT`); `None` for anything else, the two
    /// forms that were obsolete in 1999 included.
    #[must_use]
    pub fn parse_http(text: &str) -> Option<Self> {
        let zoned = jiff::fmt::rfc2822::parse(text).ok()?;
        Some(Self(zoned.timestamp().as_microsecond()))
    }

    /// The time from `earlier` to this moment; `None` where that is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Option<Duration> {
        let micros = self.0.checked_sub(earlier.0)?;
        u64::try_from(micros).ok().map(Duration::from_micros)
    }

    /// This moment `ago` earlier.
    #[must_use]
    pub fn before(self, ago: Duration) -> Self {
        let micros = i64::try_from(ago.as_micros()).unwrap_or(i64::MAX);
        Self(self.0.saturating_sub(micros))
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC, microseconds kept.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(at) => write!(f, "{at:.6}"),
            Err(_) => write!(f, "{} us", self.0),
        }
    }
}

/// A stopwatch over the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts now.
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// When it was started.
    #[must_use]
    pub fn started(self) -> Instant {
        self.0
    }

    /// Time since the start.
    #[must_use]
    pub fn elapsed(self) -> Duration {
        Instant::now().saturating_duration_since(self.0)
    }

    /// Time since the start in milliseconds, whole microseconds kept.
    #[must_use]
    pub fn elapsed_ms(self) -> f64 {
        (self.elapsed().as_secs_f64() * 1e6).round() / 1e3
    }
}

/// Time that one thread ran: what its work cost, however long it had to wait for a core.
///
/// Where the system does not tell (it does on Unix), it is the time that passed.
#[derive(Clone, Copy, Debug)]
pub struct RunTime {
    #[cfg(unix)]
    ran: Duration,
    #[cfg(not(unix))]
    watch: Stopwatch,
}

impl RunTime {
    /// Starts now, for the calling thread.
    #[must_use]
    pub fn start() -> Self {
        Self {
            #[cfg(unix)]
            ran: thread_ran(),
            #[cfg(not(unix))]
            watch: Stopwatch::start(),
        }
    }

    /// How long the thread ran since. Asked on another thread it says nothing.
    #[must_use]
    pub fn elapsed(self) -> Duration {
        #[cfg(unix)]
        return thread_ran().saturating_sub(self.ran);
        #[cfg(not(unix))]
        return self.watch.elapsed();
    }
}

/// How long the calling thread ran since it began.
#[cfg(unix)]
fn thread_ran() -> Duration {
    let ran = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(ran).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_deadline_only_gets_earlier() {
        let deadline = Deadline::after(Duration::from_secs(5));
        assert_eq!(deadline.capped(Duration::from_secs(9)), deadline);
        assert_eq!(deadline.capped(Duration::from_secs(2)).left(), Duration::from_secs(2));
        assert_eq!(deadline.less(Duration::from_secs(1)).left(), Duration::from_secs(4));
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_hangs_is_dropped_at_the_deadline() {
        let watch = Stopwatch::start();
        let hung = Deadline::after(Duration::from_secs(5)).bound(std::future::pending::<()>());
        assert_eq!(hung.await, Err(Late));
        assert_eq!(watch.elapsed().as_secs(), 5);
    }

    #[cfg(unix)]
    #[test]
    fn a_thread_that_waits_does_not_run() {
        let (ran, passed) = (RunTime::start(), Stopwatch::start());
        let (_held, never) = std::sync::mpsc::channel::<()>();
        never.recv_timeout(Duration::from_millis(300)).unwrap_err();
        assert!(ran.elapsed() < Duration::from_millis(100), "{:?}", ran.elapsed());
        let before = ran.elapsed();
        while ran.elapsed() < before + Duration::from_millis(5) {
            assert!(passed.elapsed() < Duration::from_secs(60), "it never runs");
        }
    }

    #[test]
    fn a_timestamp_prints_and_parses() {
        let at = Timestamp::parse("2026-11-21T14:02:00.000250Z").unwrap();
        assert_eq!(at.to_string(), "2026-11-21T14:02:00.000250Z");
        assert!(Timestamp::parse("yesterday").is_err());
    }

    #[test]
    fn a_date_of_http_is_a_moment_in_gmt() {
        let at = Timestamp::parse_http("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        assert_eq!(at.to_string(), "1994-11-06T08:49:37.000000Z");
        assert_eq!(Timestamp::parse_http("in a minute"), None);
        let later = Timestamp(at.0 + 1_500_000);
        assert_eq!(later.since(at), Some(Duration::from_millis(1_500)));
        assert_eq!(at.since(later), None);
    }
}
