//! Records that were kept elsewhere come in through the one writer, as those of checks do: a
//! backup that is restored, another store that is joined, a history that is made up.
//!
//! Each keeps its id and its moment, and what is here already stays as it is, so the same file may
//! come twice, and one whose import was killed goes on where it was. Who brings records puts them in
//! the order in which they are to count.
//!
//! What is older than what the store has of its policy would be watched as if it were served now: a
//! past outage would be an alarm of today. It is refused, unless who brings it wants it counted: then
//! the sums of its own minutes hold it, and no monitor sees it. The same holds of what was said behind
//! a verdict. What the same file brought before is not held against its rest: everything at its
//! beginning that is here already.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use sqlx::sqlite::SqliteConnection;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::clock::{Deadline, Timestamp};
use crate::ledger::awaiting::{self, For};
use crate::ledger::form::RecordForm;
use crate::ledger::import::held::Held;
use crate::ledger::import::same::{Difference, difference, shadow_difference};
use crate::ledger::inbox::Pending;
use crate::ledger::shadows::{Behind, Shadow};
use crate::ledger::sqlite::{Content, NO_RECORD, Row};
use crate::ledger::{Ledger, LedgerError};

mod held;
pub mod same;

/// Records that are brought at a time: as many as the writer takes into one transaction.
pub const BATCH_RECORDS: usize = crate::ledger::inbox::MAX_BATCH;

/// A check that began so long before another may have been stored after it, in microseconds.
const BESIDE_US: i64 = 60_000_000;

const INSERT_UNWATCHED: &str = "INSERT INTO unwatched (seq) VALUES (?1)";

/// What is brought.
#[derive(Clone, Debug, PartialEq)]
pub enum Brought {
    /// A record.
    Record(Box<BroughtRecord>),
    /// What was said behind the verdict of a record that is here, or comes before it.
    Behind(Box<Behind>),
    /// The place has come of the record with this id, which was brought to count [later](Counts).
    Counts(Uuid),
}

/// A record that is brought.
#[derive(Clone, Debug, PartialEq)]
pub struct BroughtRecord {
    /// The record.
    pub form: RecordForm,
    /// Whether monitors may see it.
    pub is_watched: bool,
    /// When it counts.
    pub counts: Counts,
}

/// When a brought record counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counts {
    /// Where it stands.
    Here,
    /// Behind something that was said of it: its place is told.
    Later,
}

/// What becomes of records that are older than the newest that the store has of their policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Older {
    /// They are told as refused.
    Refused,
    /// They are in lists and sums, and no monitor sees them.
    Counted,
}

/// Why something is not to be brought.
#[derive(Clone, Debug, PartialEq)]
pub enum Refusal {
    /// It is older than the newest of its policy here.
    Older {
        /// Whose.
        policy: String,
        /// When its check, or the call behind it, began.
        at: Timestamp,
        /// When the check of the newest did.
        newest: Timestamp,
    },
    /// Something else is here under its id.
    Other(Difference),
}

/// What became of some records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Written now.
    pub stored: u64,
    /// Here already, under the same id.
    pub present: u64,
    /// What was said behind verdicts, written now; what was here already is not counted.
    pub shadows: u64,
    /// Of the records and of the rest of what was written, how much is counted and not watched.
    pub unwatched: u64,
}

/// An import under way.
#[derive(Debug)]
pub struct Import<'a> {
    ledger: &'a Ledger,
    older: Older,
    /// When the newest check of each policy began, of those that were here before this import: what it
    /// brings itself is not held against its rest. `None`: there was none.
    newest: BTreeMap<String, Option<Timestamp>>,
    /// The same without the records of [`Self::beginning`], where that was asked for.
    newest_beside: BTreeMap<String, Option<Timestamp>>,
    /// Records at the beginning of what is brought that are here already.
    beginning: HashSet<Uuid>,
    /// Whether everything that was looked at is here already.
    is_beginning: bool,
    done: Imported,
}

impl Ledger {
    /// Begins an import.
    #[must_use]
    pub fn import(&self, older: Older) -> Import<'_> {
        Import {
            ledger: self,
            older,
            newest: BTreeMap::new(),
            newest_beside: BTreeMap::new(),
            beginning: HashSet::new(),
            is_beginning: true,
            done: Imported::default(),
        }
    }
}

impl Import<'_> {
    /// Looks at what is to be brought, in its order and all of it before any is brought, and stores
    /// nothing. What must not be brought, each by its place in `all`.
    ///
    /// # Errors
    /// The store cannot be read, or not by the deadline.
    pub async fn look_at(
        &mut self,
        all: &[Brought],
        deadline: Deadline,
    ) -> Result<Vec<(usize, Refusal)>, LedgerError> {
        let mut refused = Vec::new();
        let ids: Vec<Uuid> = all.iter().map(Brought::id).collect();
        let held = self.ledger.reader().held(&ids, deadline).await?;
        let behind = self.behind(&held).await?;
        for (place, brought) in all.iter().enumerate() {
            let held = held.get(&brought.id());
            let refusal = match brought {
                Brought::Record(record) => self.look_at_record(record, held, deadline).await?,
                Brought::Behind(one) => {
                    let said = held.and_then(|held| behind.get(&held.seq));
                    self.look_at_behind(one, held.zip(said), deadline).await?
                }
                Brought::Counts(_) => None,
            };
            refused.extend(refusal.map(|why| (place, why)));
        }
        Ok(refused)
    }

    async fn look_at_record(
        &mut self,
        record: &BroughtRecord,
        held: Option<&Held>,
        deadline: Deadline,
    ) -> Result<Option<Refusal>, LedgerError> {
        let form = &record.form;
        if let Some(held) = held {
            if self.is_beginning {
                self.beginning.insert(form.id);
            }
            return Ok(difference(form, &held.form)?.map(Refusal::Other));
        }
        self.is_beginning = false;
        let is_seen = record.is_watched && self.older == Older::Refused;
        let policy = &form.policy.name;
        let newest = self.newer_than(policy, form.at, deadline).await?.filter(|_| is_seen);
        Ok(newest.map(|newest| Refusal::Older { policy: policy.clone(), at: form.at, newest }))
    }

    /// `held`: its record here, and what was said behind that.
    async fn look_at_behind(
        &mut self,
        behind: &Behind,
        held: Option<(&Held, &Vec<Shadow>)>,
        deadline: Deadline,
    ) -> Result<Option<Refusal>, LedgerError> {
        let Behind { policy, shadow, .. } = behind;
        let Some((held, said)) = held else { return Ok(None) };
        let is_it =
            |one: &&Shadow| one.attempt.judge == shadow.attempt.judge && one.entry == shadow.entry;
        if let Some(here) = said.iter().find(is_it) {
            return Ok(shadow_difference(shadow, here)?.map(Refusal::Other));
        }
        self.is_beginning = false;
        let at = behind.at.max(shadow.at);
        let is_seen = held.is_watched && !shadow.unwatched && self.older == Older::Refused;
        let newest = self.newer_than(policy, at, deadline).await?.filter(|_| is_seen);
        Ok(newest.map(|newest| Refusal::Older { policy: policy.clone(), at, newest }))
    }

    /// What was said behind the verdicts of those that are here.
    async fn behind(
        &self,
        held: &HashMap<Uuid, Held>,
    ) -> Result<HashMap<i64, Vec<Shadow>>, LedgerError> {
        let seqs: Vec<i64> = held.values().map(|held| held.seq).collect();
        let list = serde_json::to_string(&seqs);
        let list = list.map_err(|why| LedgerError::Store(why.to_string()))?;
        let mut behind = self.ledger.reader().behind(&list).await?;
        for seq in seqs {
            behind.entry(seq).or_default();
        }
        Ok(behind)
    }

    /// What became of all that was brought so far, also where some of it failed.
    #[must_use]
    pub fn done(&self) -> Imported {
        self.done
    }

    /// Brings in `all`, at most [`BATCH_RECORDS`], in their order. What is older than what was here is
    /// not watched, whatever became of it when it was looked at.
    ///
    /// # Errors
    /// The store cannot be written, or not by the deadline: what was written by then stays, and the
    /// same may be brought again. [`Import::done`] tells what is known to be written.
    pub async fn bring(
        &mut self,
        all: Vec<Brought>,
        deadline: Deadline,
    ) -> Result<(), LedgerError> {
        let ids: Vec<Uuid> = all.iter().map(Brought::id).collect();
        let mut known = self.ledger.reader().known(&ids, deadline).await?;
        let mut waiting = Vec::with_capacity(all.len());
        for mut brought in all {
            let is_watched = match &mut brought {
                Brought::Record(record) if !known.insert(record.form.id) => {
                    self.done.present += 1;
                    continue;
                }
                Brought::Record(record) => {
                    let (policy, at) = (&record.form.policy.name, record.form.at);
                    record.is_watched &= self.newer_than(policy, at, deadline).await?.is_none();
                    record.is_watched
                }
                Brought::Behind(behind) => {
                    let at = behind.at.max(behind.shadow.at);
                    let newer = self.newer_than(&behind.policy, at, deadline).await?;
                    behind.shadow.unwatched |= newer.is_some();
                    !behind.shadow.unwatched
                }
                Brought::Counts(_) => true,
            };
            let kind = Kind::of(&brought);
            let committed = self.ledger.bring(brought, deadline).await?;
            waiting.push((kind, is_watched, committed));
        }
        for (kind, is_watched, committed) in waiting {
            let Ok(seq) = deadline.bound(committed).await? else {
                let why = self.ledger.stats().last_error;
                let why = why.unwrap_or_else(|| "a record was not written".to_owned());
                return Err(LedgerError::Store(why));
            };
            if seq == NO_RECORD {
                continue; // it is here already
            }
            self.done.unwatched += u64::from(!is_watched);
            match kind {
                Kind::Record => self.done.stored += 1,
                Kind::Behind => self.done.shadows += 1,
                Kind::Counts => {}
            }
        }
        Ok(())
    }

    /// Ends it: whatever still waits for a place, because another import was killed and nobody went on
    /// with it, counts from now on.
    ///
    /// # Errors
    /// The store could not be written, or the ledger is closing.
    pub async fn end(self) -> Result<(), LedgerError> {
        self.ledger.give_up_awaited().await
    }

    /// When the newest check of `policy` began that was here before, if `at` is before that.
    async fn newer_than(
        &mut self,
        policy: &str,
        at: Timestamp,
        deadline: Deadline,
    ) -> Result<Option<Timestamp>, LedgerError> {
        let is_newer = |newest: &Timestamp| at.0 < newest.0.saturating_sub(BESIDE_US);
        let reader = self.ledger.reader();
        let newest = match self.newest.get(policy) {
            Some(newest) => *newest,
            None => {
                let newest = reader.newest(policy, deadline).await?;
                self.newest.insert(policy.to_owned(), newest);
                newest
            }
        };
        if self.beginning.is_empty() || newest.filter(is_newer).is_none() {
            return Ok(newest.filter(is_newer));
        }
        let newest = match self.newest_beside.get(policy) {
            Some(newest) => *newest,
            None => {
                let newest = reader.newest_beside(policy, &self.beginning, deadline).await?;
                self.newest_beside.insert(policy.to_owned(), newest);
                newest
            }
        };
        Ok(newest.filter(is_newer))
    }
}

/// What was handed over.
#[derive(Clone, Copy)]
enum Kind {
    Record,
    Behind,
    Counts,
}

impl Kind {
    fn of(brought: &Brought) -> Self {
        match brought {
            Brought::Record(_) => Self::Record,
            Brought::Behind(_) => Self::Behind,
            Brought::Counts(_) => Self::Counts,
        }
    }
}

impl Ledger {
    /// Hands one over, as soon as there is room for it.
    async fn bring(
        &self,
        brought: Brought,
        deadline: Deadline,
    ) -> Result<oneshot::Receiver<i64>, LedgerError> {
        let (content, json) = match brought {
            Brought::Record(record) => {
                // its place in the order of commits is this store's to give
                let form = RecordForm { recorded: true, seq: None, ..record.form };
                let json = serde_json::to_string(&form);
                let json = json.map_err(|why| LedgerError::Store(why.to_string()))?;
                (Content::Brought(Box::new(BroughtRecord { form, ..*record })), json)
            }
            Brought::Behind(behind) => (Content::Behind(behind), String::new()),
            Brought::Counts(id) => (Content::Counts { id }, String::new()),
        };
        let permit = deadline.bound(self.journal.clone().reserve_owned()).await?;
        let permit = permit.map_err(|_| LedgerError::Closed)?;
        let row = Row { content, json, mark: None, pictures: Vec::new() };
        let (pending, committed) = Pending::new(row, Vec::new(), &self.counters);
        drop(permit.send(pending));
        Ok(committed)
    }
}

impl BroughtRecord {
    /// Gives its row `seq` its place, in the caller's transaction. Nobody is left who could bring the
    /// rest of an early answer: it counts as it is.
    pub(crate) async fn place(
        &self,
        conn: &mut SqliteConnection,
        seq: i64,
    ) -> Result<(), sqlx::Error> {
        if !self.is_watched {
            sqlx::query(INSERT_UNWATCHED).bind(seq).execute(&mut *conn).await?;
        }
        match self.counts {
            Counts::Here => awaiting::count(conn, seq).await,
            Counts::Later => awaiting::wait(conn, (seq, self.form.at), For::Place).await,
        }
    }
}

impl From<RecordForm> for Brought {
    /// A record that is watched and counts where it stands.
    fn from(form: RecordForm) -> Self {
        Self::Record(Box::new(BroughtRecord { form, is_watched: true, counts: Counts::Here }))
    }
}

impl Brought {
    /// The id of the record that it is, or is about.
    fn id(&self) -> Uuid {
        match self {
            Self::Record(record) => record.form.id,
            Self::Behind(behind) => behind.verdict,
            Self::Counts(id) => *id,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Older { policy, at, newest } => write!(
                f,
                "at: is {at}, which is older than what is here of {policy} (up to {newest}): watched \
                 as it comes, an old outage would alarm as one of today"
            ),
            Self::Other(Difference { key, is, other }) => {
                write!(f, "{key}: is {is}, and the record of this id that is here says {other}")
            }
        }
    }
}
