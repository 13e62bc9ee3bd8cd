//! The machine's monotonic clock in nanoseconds: the one clock that two processes can compare.

use rustix::time::ClockId;
use rustix::time::clock_gettime;

/// What `CLOCK_MONOTONIC` shows.
pub(crate) fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    seconds * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or_default()
}

/// The wall clock, in milliseconds since 1970: for what has a date.
pub(crate) fn wall_ms() -> u64 {
    let now = clock_gettime(ClockId::Realtime);
    let (seconds, ns) = (u64::try_from(now.tv_sec), u64::try_from(now.tv_nsec));
    seconds.unwrap_or_default() * 1_000 + ns.unwrap_or_default() / 1_000_000
}
