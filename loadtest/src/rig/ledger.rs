//! The ledger is the calls of a run, copied out of the providers' own logs while it goes on.
//!
//! A provider keeps only its newest calls. Read as it is written, a log of any length is whole; read
//! once at the end, one of a day would have lost its beginning. Only calls that have ended are taken,
//! since of the others the log does not know all.

use std::collections::BTreeMap;

use crate::evidence::Call;
use crate::log::CallKind;
use crate::log::CallRow;
use crate::log::Outcome;
use crate::log::Page;
use crate::rig::RigError;
use crate::rig::RunClock;
use crate::rig::providers::Host;

/// The calls so far, and where reading goes on.
#[derive(Debug)]
pub(crate) struct Ledger {
    clock: RunClock,
    calls: Vec<Call>,
    /// The number of the next call to be taken, by provider.
    next: BTreeMap<String, u64>,
}

/// Which calls are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Upto {
    /// Those before the oldest that may still change.
    FirstOpen,
    /// All, as they stand.
    End,
}

impl Ledger {
    pub(crate) fn new(clock: RunClock) -> Self {
        Self { clock, calls: Vec::new(), next: BTreeMap::new() }
    }

    /// Takes what has ended since the last time.
    ///
    /// # Errors
    /// The log cannot be read, or has lost calls that were not taken yet.
    pub(crate) async fn follow(&mut self, host: &Host) -> Result<(), RigError> {
        self.read(host, Upto::FirstOpen).await
    }

    /// Takes the rest; every question that was asked, by its beginning.
    ///
    /// # Errors
    /// As [`Ledger::follow`].
    pub(crate) async fn close(mut self, host: &Host) -> Result<Vec<Call>, RigError> {
        self.read(host, Upto::End).await?;
        self.calls.sort_by(|one, other| one.began_s.total_cmp(&other.began_s));
        Ok(self.calls)
    }

    async fn read(&mut self, host: &Host, upto: Upto) -> Result<(), RigError> {
        for provider in host.providers() {
            loop {
                let since = self.next.get(&provider.name).copied().unwrap_or_default();
                let page = host.page(&provider.name, since).await?;
                if self.take(&provider.name, page, upto)? == 0 {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Takes a page; says how many calls were in it to be taken.
    fn take(&mut self, provider: &str, page: Page, upto: Upto) -> Result<usize, RigError> {
        let next = self.next.entry(provider.to_owned()).or_default();
        let first = page.calls.first().map_or(*next, |row| row.number);
        if first != *next {
            let lost = first.saturating_sub(*next);
            let problem = format!("{lost} calls of {provider} are lost from call {next} on");
            return Err(RigError::Providers(problem));
        }
        let end = match upto {
            Upto::FirstOpen => page.first_open.unwrap_or(u64::MAX),
            Upto::End => u64::MAX,
        };
        let whole: Vec<CallRow> = page.calls.into_iter().filter(|row| row.number < end).collect();
        let taken = whole.len();
        *next = whole.last().map_or(*next, |row| row.number + 1);
        let questions = whole.into_iter().filter(|row| row.kind == CallKind::Question);
        self.calls.extend(questions.map(|row| call(provider, row, self.clock)));
        Ok(taken)
    }
}

fn call(provider: &str, row: CallRow, clock: RunClock) -> Call {
    let outcome = outcome(row.outcome).to_owned();
    Call {
        provider: provider.to_owned(),
        began_s: clock.at_ns(row.began_ns),
        ended_s: row.ended_ns.map(|ended_ns| clock.at_ns(ended_ns)),
        request_id: row.request_id,
        fault: row.fault,
        status: row.status,
        outcome,
        retry_after_s: row.retry_after_s.map(f64::from),
        drawn_ms: Some(row.drawn_ms),
        drawn_scores_ms: Some(row.drawn_scores_ms),
        scored_s: row.scored_ns.map(|scored_ns| clock.at_ns(scored_ns)),
        image: row.image,
        answered_after_cancel: row.answered_after_cancel,
        billed_tokens: row.billed_input_tokens + row.billed_output_tokens,
    }
}

const fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::InFlight => "in_flight",
        Outcome::Answered => "answered",
        Outcome::CutShort => "cut_short",
        Outcome::Reset => "reset",
        Outcome::Hung => "hung",
        Outcome::CancelledByClient => "cancelled_by_client",
        Outcome::Abandoned => "abandoned",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::CallBook;
    use crate::log::CallLog;

    /// Reads all pages of a book, three calls at a time.
    fn read(ledger: &mut Ledger, book: &CallBook, upto: Upto) -> Result<(), RigError> {
        loop {
            let since = ledger.next.get("a").copied().unwrap_or_default();
            if ledger.take("a", book.page(since, 3), upto)? == 0 {
                return Ok(());
            }
        }
    }

    #[tokio::test]
    async fn a_log_longer_than_its_provider_keeps_is_whole_when_it_is_followed() {
        let book = CallBook::new(4);
        let mut ledger = Ledger::new(RunClock::starting());
        for _ in 0..10 {
            (0..4).for_each(|_| drop(book.open(CallLog::blank())));
            read(&mut ledger, &book, Upto::FirstOpen).unwrap();
        }
        assert_eq!((ledger.calls.len(), book.dropped()), (40, 36));
        (0..5).for_each(|_| drop(book.open(CallLog::blank())));
        let lost = read(&mut ledger, &book, Upto::End).unwrap_err();
        assert!(lost.to_string().contains("1 calls of a are lost from call 40 on"), "{lost}");
    }

    #[tokio::test]
    async fn a_call_is_taken_when_it_has_ended_or_when_all_has() {
        let book = CallBook::new(100);
        let mut ledger = Ledger::new(RunClock::starting());
        let ended = book.open(CallLog::blank());
        let open = book.open(CallLog::blank());
        let later = book.open(CallLog::blank());
        drop((ended, later));
        read(&mut ledger, &book, Upto::FirstOpen).unwrap();
        assert_eq!(ledger.calls.len(), 1);
        read(&mut ledger, &book, Upto::End).unwrap();
        assert_eq!(ledger.calls.len(), 3);
        assert_eq!(ledger.calls[1].ended_s, None);
        drop(open);
    }
}
