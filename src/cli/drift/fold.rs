//! Verdicts from a file, folded as a gate folds its own.
//!
//! What a line of one verdict says is folded at once, in the order of the file. An export is newest
//! first, so its records are put aside and come in the order in which they counted, as an import
//! takes them; each policy of theirs has a monitor of its own, as at a gate.

use std::collections::{BTreeMap, HashMap};
use std::env;

use uuid::Uuid;

use crate::app::AppError;
use crate::cli::drift::line::Short;
use crate::cli::import::line::Line as Exported;
use crate::cli::import::spool::{At, Spool};
use crate::drift::event::Event;
use crate::drift::monitor::Settings;
use crate::drift::standing::Standing;
use crate::ledger::follow::heard::Heard;
use crate::ledger::form::RecordForm;
use crate::ledger::import::{BATCH_RECORDS, Brought, BroughtRecord, Counts};
use crate::ledger::shadows::Behind;

/// What monitors go by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) settings: Settings,
    /// How long a baseline is learnt, in milliseconds from the midnight before the first verdict.
    pub(super) baseline_ms: i64,
}

/// An event, and of which policy; `None` where the lines are verdicts and not records.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Known {
    pub(super) policy: Option<String>,
    pub(super) event: Event,
}

/// The monitors, and what is put aside for them.
#[derive(Debug)]
pub(super) struct Folding {
    terms: Terms,
    standings: BTreeMap<Option<String>, Standing>,
    aside: Option<Spool>,
    /// Of every record that was put aside, how much of it is still to come.
    awaited: HashMap<Uuid, usize>,
    /// Records of which more is to come.
    open: HashMap<Uuid, RecordForm>,
    /// Verdicts and records that were read.
    pub(super) records: u64,
    /// Lines that say nothing, or what another one said.
    pub(super) left_out: u64,
}

impl Folding {
    pub(super) fn new(terms: Terms) -> Self {
        Self {
            terms,
            standings: BTreeMap::new(),
            aside: None,
            awaited: HashMap::new(),
            open: HashMap::new(),
            records: 0,
            left_out: 0,
        }
    }

    /// The monitors, by policy.
    pub(super) fn standings(&self) -> impl Iterator<Item = (Option<&str>, &Standing)> {
        self.standings.iter().map(|(policy, standing)| (policy.as_deref(), standing))
    }

    /// Folds one verdict.
    pub(super) fn short(&mut self, short: &Short) -> Vec<Known> {
        self.records += 1;
        let events = self.standing(None, short.at_ms).observe(&short.told());
        known(None, events)
    }

    /// Puts a record aside, of which `bytes` is the line with this number.
    pub(super) fn keep(
        &mut self,
        number: u64,
        exported: Exported,
        bytes: &[u8],
    ) -> Result<(), AppError> {
        let id = exported.record.id;
        if self.awaited.contains_key(&id) {
            self.left_out += 1;
            return Ok(());
        }
        self.records += 1;
        self.awaited.insert(id, exported.beside.shadows.len());
        let spool = match self.aside.take() {
            Some(spool) => spool,
            None => Spool::beside(&env::temp_dir())?,
        };
        self.aside.insert(spool).keep(At { file: 0, line: number }, exported, bytes)
    }

    /// Folds what was put aside.
    pub(super) fn settle(
        &mut self,
        mut tell: impl FnMut(Known) -> Result<(), AppError>,
    ) -> Result<(), AppError> {
        let Some(mut spool) = self.aside.take() else { return Ok(()) };
        // every id stands there once
        spool.settle()?;
        for batch in spool.batches(BATCH_RECORDS) {
            for brought in batch? {
                self.bring(brought).into_iter().try_for_each(&mut tell)?;
            }
        }
        Ok(())
    }

    fn bring(&mut self, brought: Brought) -> Vec<Known> {
        match brought {
            Brought::Record(record) => {
                let BroughtRecord { form, is_watched, counts } = *record;
                let is_here = is_watched && counts == Counts::Here;
                let known = if is_here { self.hear(Heard::record(&form), &form) } else { vec![] };
                let more = self.awaited.entry(form.id).or_default();
                *more += usize::from(is_watched && counts == Counts::Later);
                if *more != 0 {
                    self.open.insert(form.id, form);
                }
                known
            }
            Brought::Counts(id) => {
                let Some(form) = self.take_open(id) else { return Vec::new() };
                let known = self.hear(Heard::record(&form), &form);
                self.put_back(form);
                known
            }
            Brought::Behind(behind) => {
                let Behind { verdict, shadow, .. } = *behind;
                let Some(form) = self.take_open(verdict) else { return Vec::new() };
                let mut known = Vec::new();
                if shadow.purpose.is_evidence() && !shadow.unwatched {
                    let judged_by = shadow.judged_by.to_string();
                    let heard = Heard::behind(&form, &shadow.attempt, &judged_by);
                    known = self.hear(heard, &form);
                }
                self.put_back(form);
                known
            }
        }
    }

    /// A record that more has come of.
    fn take_open(&mut self, id: Uuid) -> Option<RecordForm> {
        let more = self.awaited.entry(id).or_default();
        *more = more.saturating_sub(1);
        self.open.remove(&id)
    }

    /// Keeps it as long as more of it is to come.
    fn put_back(&mut self, form: RecordForm) {
        if self.awaited.get(&form.id).is_some_and(|more| *more != 0) {
            self.open.insert(form.id, form);
        }
    }

    fn hear(&mut self, heard: Option<Heard<'_>>, form: &RecordForm) -> Vec<Known> {
        let Some(heard) = heard else { return Vec::new() };
        let policy = Some(form.policy.name.clone());
        let standing = self.standing(policy.clone(), heard.at_ms());
        let config = heard.config(standing);
        let events = heard.fold(standing, &config);
        known(policy.as_deref(), events)
    }

    fn standing(&mut self, policy: Option<String>, first_ms: i64) -> &mut Standing {
        let Terms { settings, baseline_ms } = self.terms;
        let standing = self.standings.entry(policy);
        standing.or_insert_with(|| Standing::lasting(settings, first_ms, baseline_ms))
    }
}

fn known(policy: Option<&str>, events: Vec<Event>) -> Vec<Known> {
    let policy = policy.map(str::to_owned);
    events.into_iter().map(|event| Known { policy: policy.clone(), event }).collect()
}
