//! The writer's inbox: records on their way, and chores for when none is.
//!
//! Records come first, for somebody waits for each; but chores must not starve under a load that
//! never pauses, so after some batches in a row one waiting chore has its turn.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use crate::ledger::KeptImage;
use crate::ledger::counters::{Counters, Ticket, What};
use crate::ledger::drills::DrillRow;
use crate::ledger::sqlite::{Aged, Content, Deleted, NO_RECORD, Row};
use crate::ledger::writing::Writing;

/// Records in one transaction at most: bounds both a commit's time and a lost commit's size.
pub(crate) const MAX_BATCH: usize = 256;

/// Batches in a row after which a waiting chore has its turn.
const MAX_IN_A_ROW: u32 = 16;

/// Who is told when a row is written. Dropped instead, it tells "not recorded".
#[derive(Debug)]
pub(crate) struct Waiter {
    ticket: Ticket, // first: the count must stand before anyone is told
    answer: oneshot::Sender<i64>,
}

impl Waiter {
    /// Tells that the row is written, as `seq`; what has no record to belong to is not.
    pub(crate) fn tell(self, seq: i64) {
        if seq != NO_RECORD {
            self.ticket.written();
        }
        told(self.answer.send(seq));
    }
}

/// A record handed over and not yet written.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) row: Row,
    pub(crate) keep: Vec<KeptImage>,
    pub(crate) waiter: Waiter,
}

impl Pending {
    /// A record on its way, and where its `seq` will be told.
    pub(crate) fn new(
        row: Row,
        keep: Vec<KeptImage>,
        counters: &Arc<Counters>,
    ) -> (Self, oneshot::Receiver<i64>) {
        let (answer, committed) = oneshot::channel();
        let ticket = match &row.content {
            Content::Record(_) | Content::Brought(_) => Ticket::new(counters, What::Record),
            Content::Late { .. } => Ticket::new(counters, What::Late),
            Content::Behind(_) | Content::Counts { .. } => Ticket::new(counters, What::Behind),
        };
        let waiter = Waiter { ticket, answer };
        (Self { row, keep, waiter }, committed)
    }
}

/// Work beside the records.
#[derive(Debug)]
pub(crate) enum Chore {
    /// Deletes one step of what is aged.
    Sweep(Aged, oneshot::Sender<Result<Deleted, String>>),
    /// Writes a drill's row.
    Drill(DrillRow, oneshot::Sender<Result<(), String>>),
    /// Writes what is not a record; tells its id.
    Write(Writing, oneshot::Sender<Result<i64, String>>),
    /// Takes no more slots, settles what is there, closes the file.
    Close(Closing),
}

/// The writer's side of a close. Whatever side goes away first, the other goes on.
#[derive(Debug)]
pub(crate) struct Closing {
    settled: oneshot::Sender<()>,
    readers_gone: oneshot::Receiver<()>,
    closed: oneshot::Sender<()>,
}

/// The other side of a [`Closing`].
#[derive(Debug)]
pub(crate) struct CloseSteps {
    /// Told when every record is settled.
    pub(crate) settled: oneshot::Receiver<()>,
    /// To be told when no reader keeps the log from being emptied.
    pub(crate) readers_gone: oneshot::Sender<()>,
    /// Told when the file is closed.
    pub(crate) closed: oneshot::Receiver<()>,
}

impl Closing {
    /// Both sides of one close.
    pub(crate) fn new() -> (Self, CloseSteps) {
        let (settled, settled_told) = oneshot::channel();
        let (readers_gone, readers_gone_told) = oneshot::channel();
        let (closed, closed_told) = oneshot::channel();
        let steps = CloseSteps { settled: settled_told, readers_gone, closed: closed_told };
        (Self { settled, readers_gone: readers_gone_told, closed }, steps)
    }

    /// Tells that every record is settled, and waits until the readers are gone.
    pub(crate) async fn settled(self) -> oneshot::Sender<()> {
        told(self.settled.send(()));
        self.readers_gone.await.ok(); // nobody there to say so: go on
        self.closed
    }
}

/// What the writer does next.
#[derive(Debug)]
pub(crate) enum Work {
    /// Everything that waited, at most [`MAX_BATCH`].
    Batch(Vec<Pending>),
    Chore(Chore),
}

/// Both queues into the writer.
#[derive(Debug)]
pub(crate) struct Inbox {
    journal: mpsc::Receiver<Pending>,
    chores: mpsc::Receiver<Chore>,
    /// Batches since the last chore.
    in_a_row: u32,
}

impl Inbox {
    pub(crate) fn new(journal: mpsc::Receiver<Pending>, chores: mpsc::Receiver<Chore>) -> Self {
        Self { journal, chores, in_a_row: 0 }
    }

    /// The next work; `None` when every record is settled and no other can come.
    pub(crate) async fn next(&mut self) -> Option<Work> {
        if MAX_IN_A_ROW <= self.in_a_row
            && let Ok(chore) = self.chores.try_recv()
        {
            self.in_a_row = 0;
            return Some(Work::Chore(chore));
        }
        let mut batch = Vec::new();
        tokio::select! {
            biased; // whoever waits for an answer comes before a chore, until its turn
            count = self.journal.recv_many(&mut batch, MAX_BATCH) => {
                self.in_a_row = self.in_a_row.saturating_add(1);
                (count != 0).then_some(Work::Batch(batch))
            }
            Some(chore) = self.chores.recv() => {
                self.in_a_row = 0;
                Some(Work::Chore(chore))
            }
        }
    }

    /// Gives no more slots; what was handed over, or still is by holders of slots, comes out.
    pub(crate) fn close(&mut self) {
        self.journal.close();
    }
}

/// An answer nobody waits for any more is no error: the caller counted itself as late.
pub(crate) fn told<T>(_sent: Result<(), T>) {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::ledger::form::RecordForm;
    use crate::ledger::form::tests::sample;

    fn pending() -> Pending {
        let form = RecordForm::from(&sample());
        let content = Content::Record(Box::new(form));
        let row = Row { content, json: String::new(), mark: None, pictures: Vec::new() };
        Pending::new(row, Vec::new(), &Arc::default()).0
    }

    #[tokio::test]
    async fn a_chore_has_its_turn_although_records_never_stop_coming() {
        let (journal, to_journal) = mpsc::channel(4);
        let (chores, to_chores) = mpsc::channel(4);
        let mut inbox = Inbox::new(to_journal, to_chores);
        for _ in 0..2 {
            let aged = Aged::Marks { before: Timestamp(0) };
            chores.try_send(Chore::Sweep(aged, oneshot::channel().0)).unwrap();
        }
        let mut turns = String::new();
        for _ in 0..2 * MAX_IN_A_ROW + 4 {
            journal.try_send(pending()).unwrap();
            match inbox.next().await.unwrap() {
                Work::Batch(_) => turns.push('b'),
                Work::Chore(_) => turns.push('C'),
            }
        }
        // the record sent beside a chore's turn comes with the next batch
        let row = "b".repeat(MAX_IN_A_ROW as usize);
        assert_eq!(turns, format!("{row}C{row}Cbb"));
    }

    #[tokio::test]
    async fn a_closed_inbox_gives_out_what_holders_of_slots_hand_over_and_ends() {
        let (journal, to_journal) = mpsc::channel(4);
        let (_chores, to_chores) = mpsc::channel(4);
        let mut inbox = Inbox::new(to_journal, to_chores);
        let slot = journal.clone().try_reserve_owned().unwrap();
        inbox.close();
        assert!(journal.try_send(pending()).is_err());
        drop(slot.send(pending()));
        assert!(matches!(inbox.next().await, Some(Work::Batch(batch)) if batch.len() == 1));
        assert!(inbox.next().await.is_none());
    }
}
