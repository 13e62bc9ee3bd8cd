//! The door as it is counted: who is in, who waits in line, and who is refused early.

use std::time::Duration;

use metrics::{counter, gauge, histogram};

use crate::telemetry::whole;

/// Why a request was refused early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shed {
    /// `server.max_in_flight` checks are under way.
    InFlight,
    /// `server.max_in_flight_bytes` are held.
    Bytes,
    /// Too many records wait to be written.
    Journal,
    /// No judge that looks may be asked now.
    Judges,
    /// Too many wait in line: newer ones have the better chance.
    QueueFull,
    /// It waited until no judge could have answered in time.
    TooLate,
    /// Others came long after it and are in, and more come than are served.
    Overtaken,
    /// So many more come than are served that it would be overtaken.
    Overrun,
    /// Its turn with a worker would come too late, or the workers hang.
    Workers,
    /// The process is stopping.
    Draining,
}

impl Shed {
    /// Every reason.
    pub const ALL: [Self; 10] = [
        Self::InFlight,
        Self::Bytes,
        Self::Journal,
        Self::Judges,
        Self::QueueFull,
        Self::TooLate,
        Self::Overtaken,
        Self::Overrun,
        Self::Workers,
        Self::Draining,
    ];

    /// The word used in metrics and problems.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::InFlight => "in_flight",
            Self::Bytes => "bytes",
            Self::Journal => "journal",
            Self::Judges => "judges",
            Self::QueueFull => "queue_full",
            Self::TooLate => "too_late",
            Self::Overtaken => "overtaken",
            Self::Overrun => "overrun",
            Self::Workers => "workers",
            Self::Draining => "draining",
        }
    }
}

/// How a wait in the line before the gate ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineEnd {
    /// It was let in.
    Served,
    /// It was refused.
    Shed,
    /// Its caller hung up.
    Gone,
}

impl LineEnd {
    /// Every way.
    pub const ALL: [Self; 3] = [Self::Served, Self::Shed, Self::Gone];

    /// The word used in metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::Shed => "shed",
            Self::Gone => "gone",
        }
    }
}

/// Registers the door's series.
pub(super) fn register() {
    for reason in Shed::ALL {
        counter!("vlmgate_shed_total", "reason" => reason.label()).increment(0);
    }
    for end in LineEnd::ALL {
        drop(histogram_of_queue(end));
    }
    set_in_flight(0, 0);
    set_queued(0);
    set_workers_queued(0);
    set_imaging(Duration::ZERO, 0, 0);
}

/// Sets how many checks are in flight and how many bytes they hold.
pub fn set_in_flight(checks: usize, bytes: usize) {
    gauge!("vlmgate_in_flight").set(whole(checks));
    gauge!("vlmgate_in_flight_bytes").set(whole(bytes));
}

/// Counts a connection that a caller opened.
pub fn count_connection_opened() {
    gauge!("vlmgate_connections").increment(1.0);
}

/// Counts one that ended.
pub fn count_connection_closed() {
    gauge!("vlmgate_connections").decrement(1.0);
}

/// Sets how many requests wait in line before the gate.
pub fn set_queued(requests: usize) {
    gauge!("vlmgate_queued").set(whole(requests));
}

/// Records how long a request stood in that line.
pub fn record_queue(end: LineEnd, stood: Duration) {
    histogram_of_queue(end).record(stood.as_secs_f64());
}

/// Sets how many images wait for a worker.
pub fn set_workers_queued(images: usize) {
    gauge!("vlmgate_workers_queued").set(whole(images));
}

/// Sets how long an image that came now would wait for a worker, the memory promised to those being
/// worked on, and the threads whose image does not come back.
pub fn set_imaging(wait: Duration, held_bytes: u64, stuck_threads: usize) {
    gauge!("vlmgate_workers_wait_seconds").set(wait.as_secs_f64());
    let held_bytes = usize::try_from(held_bytes).unwrap_or(usize::MAX);
    gauge!("vlmgate_imaging_held_bytes").set(whole(held_bytes));
    gauge!("vlmgate_imaging_stuck_threads").set(whole(stuck_threads));
}

/// Counts a request refused early.
pub fn count_shed(reason: Shed) {
    counter!("vlmgate_shed_total", "reason" => reason.label()).increment(1);
}

fn histogram_of_queue(end: LineEnd) -> metrics::Histogram {
    histogram!("vlmgate_queue_seconds", "end" => end.label())
}
