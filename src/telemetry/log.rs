//! Logs: on stderr, readable on a terminal and JSON lines elsewhere, written by a thread of their
//! own. A reader of stderr that is stuck costs lines, which are counted, and never a verdict.

use std::io;
use std::str::FromStr;

use thiserror::Error;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// Lines that wait to be written at most; one more is dropped.
const MAX_LINES: usize = 8_192;

/// What to log: a `tracing` directive such as `info` or `vlmgate=debug`, known to be one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter(String);

/// A text that is no directive.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("not a directive such as info or warn,vlmgate=debug: {0}")]
pub struct NotADirective(String);

impl FromStr for LogFilter {
    type Err = NotADirective;

    fn from_str(text: &str) -> Result<Self, NotADirective> {
        let directive = EnvFilter::try_new(text);
        directive.map(|_| Self(text.to_owned())).map_err(|why| NotADirective(why.to_string()))
    }
}

impl LogFilter {
    /// Warnings and errors.
    #[must_use]
    pub fn warnings() -> Self {
        Self("warn".to_owned())
    }
}

/// The thread that writes logs. Dropped, it writes what waits, for a second at most: hold it to
/// the end of the program.
#[derive(Debug)]
#[must_use]
pub struct Logs {
    dropped: ErrorCounter,
    _writes_while_held: WorkerGuard,
}

impl Logs {
    /// Counts the lines that were not written.
    #[must_use]
    pub fn dropped(&self) -> ErrorCounter {
        self.dropped.clone()
    }
}

/// Sets up logs on stderr: readable on a terminal, JSON lines elsewhere.
pub fn install_logs(filter: &LogFilter, is_terminal: bool) -> Logs {
    let lossy = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(MAX_LINES);
    let (lines, writer) = lossy.finish(io::stderr());
    let dropped = lines.error_counter();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(&filter.0))
        .with_writer(lines)
        .with_target(false);
    // a second set-up in one process (tests) keeps the first
    let installed = if is_terminal {
        builder.try_init()
    } else {
        builder.json().flatten_event(true).try_init()
    };
    if installed.is_err() {
        tracing::debug!("logs are already set up");
    }
    Logs { dropped, _writes_while_held: writer }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_log_filter_is_not_taken_for_info() {
        assert!("vlmgate=debgu".parse::<LogFilter>().is_err());
        assert!("info,vlmgate=debug".parse::<LogFilter>().is_ok());
        assert_eq!("warn".parse(), Ok(LogFilter::warnings()));
    }
}
