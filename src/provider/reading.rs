//! A reading is one answer as it comes: whole, or streamed and left as soon as its scores are in.
//!
//! A streamed judgement leaves early only if the scores are closed and legal ([`ScoreScan`]) and
//! the judge has shown its sight ([`Sight`]). What follows is read by its [`Rest`], which owns the
//! response and all that is needed to judge its end: the answer is then read whole and strictly,
//! like any other, and must say what had been said early.

use std::sync::Arc;

use futures_util::FutureExt;

use crate::clock::{Deadline, Stopwatch};
use crate::domain::{AttemptOutcome, Judgement, MicroUsd, Price, Score};
use crate::panel::rest::{LateFault, LateKind, LatePart, Rest};
use crate::panel::{Answered, Asked, AttemptError};
use crate::provider::answer::Shape;
use crate::provider::dialect::{self, Dialect};
use crate::provider::scan::ScoreScan;
use crate::provider::sight::{Floor, Sight};
use crate::provider::stream::Assembly;
use crate::provider::transport::{Incoming, Piece, no_answer};
use crate::provider::wire::{self, Reply};
use crate::telemetry::early::{EarlyResult, count_early};

/// How one judge's answer to one question is read.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    /// Whose answer it is.
    pub(crate) judge: String,
    pub(crate) dialect: Dialect,
    /// What it must score, in order.
    pub(crate) criteria: Vec<Asked>,
    pub(crate) reason_chars: usize,
    /// Whether it may leave before its end.
    pub(crate) early: bool,
    pub(crate) shape: Shape,
    pub(crate) floor: Floor,
    pub(crate) sight: Arc<Sight>,
    pub(crate) price: Price,
    /// The bill of an answer whose count never comes.
    pub(crate) estimate: MicroUsd,
    /// Since when the call runs.
    pub(crate) watch: Stopwatch,
}

/// A streamed answer on its way.
#[derive(Debug)]
struct Streamed {
    reader: Reader,
    incoming: Incoming,
    assembly: Assembly,
    scan: ScoreScan,
    /// Bytes of the reply's text that the scan has had.
    scanned_bytes: usize,
}

/// How far a streamed answer was read.
#[derive(Debug, PartialEq)]
enum Reached {
    /// To its scores, which may leave.
    Scores(Vec<f64>),
    /// To its end; whether the transport saw it.
    End(bool),
}

impl Reader {
    /// Reads the answer in `incoming`.
    ///
    /// # Errors
    /// Everything that is not a valid judgement by the deadline.
    pub(crate) async fn read(
        self,
        incoming: Incoming,
        deadline: Deadline,
    ) -> Result<Answered, AttemptError> {
        let is_stream = wire::is_stream(incoming.headers());
        if !(200..300).contains(&incoming.status()) || !is_stream {
            let response = incoming.whole(deadline).await?;
            let (said, reply) = dialect::decode(self.dialect, &response, &self.shape)?;
            let judgement = said.judgement(&self.criteria, self.reason_chars);
            return self.judged(judgement, reply);
        }
        let mut streamed = Streamed::new(self, incoming);
        match deadline.bound(streamed.read_on()).await.map_err(no_answer)?? {
            Reached::Scores(scores) => Ok(streamed.leave(scores)),
            Reached::End(whole) => {
                let Streamed { reader, assembly, .. } = streamed;
                let reply = assembly.finish(whole)?;
                let judgement = reader.conclude(&reply)?;
                let judge = reader.judge.clone();
                let answered = reader.judged(judgement, reply)?;
                count_early(&judge, EarlyResult::Waited);
                Ok(answered)
            }
        }
    }

    /// The strict reading of a whole reply.
    fn conclude(&self, reply: &Reply) -> Result<Option<Judgement>, AttemptError> {
        let said = dialect::conclude(self.dialect, reply, &self.shape)?;
        Ok(said.judgement(&self.criteria, self.reason_chars))
    }

    /// A whole answer, if its judge saw the pictures.
    fn judged(self, judgement: Option<Judgement>, reply: Reply) -> Result<Answered, AttemptError> {
        let Some(judgement) = judgement else {
            return Err(reply.fails(AttemptOutcome::Unreadable, "a score is missing"));
        };
        if let Some(why) = self.floor.blindness(reply.tokens) {
            self.sight.was_blind(false);
            return Err(reply.fails(AttemptOutcome::Blind, &why));
        }
        self.sight.ended(&self.floor, reply.tokens);
        let cost = reply.tokens.map_or(self.estimate, |tokens| self.price.cost(tokens));
        let request_id = reply.request_id;
        Ok(Answered { judgement, tokens: reply.tokens, cost, request_id, rest: None })
    }
}

impl Streamed {
    fn new(reader: Reader, incoming: Incoming) -> Self {
        let (status, headers) = (incoming.status(), incoming.headers().clone());
        let assembly = Assembly::new(reader.dialect, status, headers);
        let scan = ScoreScan::new(reader.criteria.iter().map(|one| one.id.as_str()));
        Self { reader, incoming, assembly, scan, scanned_bytes: 0 }
    }

    /// Reads until the scores may leave, else to the end.
    async fn read_on(&mut self) -> Result<Reached, AttemptError> {
        loop {
            while self.assembly.step()? {
                if let Some(scores) = self.scores_that_may_leave() {
                    return Ok(Reached::Scores(scores));
                }
            }
            match self.incoming.next().await? {
                Piece::Bytes(bytes) => self.assembly.feed(&bytes),
                Piece::End => return Ok(Reached::End(true)),
                Piece::Broken => return Ok(Reached::End(false)),
            }
        }
    }

    fn scores_that_may_leave(&mut self) -> Option<Vec<f64>> {
        if !self.reader.early {
            return None;
        }
        let reply = self.assembly.reply();
        self.scan.push(reply.text.get(self.scanned_bytes..).unwrap_or_default());
        self.scanned_bytes = reply.text.len();
        let scores = self.scan.scores()?;
        let reader = &self.reader;
        // one that has said how it ends is all but there, and what it says counts
        let is_under_way = reply.finish.is_none() && reply.refusal.is_none();
        let is_seeing = reader.sight.may_leave_early(&reader.floor, reply.tokens);
        (is_under_way && is_seeing).then_some(scores)
    }

    /// The judgement that leaves now, with what will read the rest.
    fn leave(self, scores: Vec<f64>) -> Answered {
        count_early(&self.reader.judge, EarlyResult::Early);
        let criteria = self.reader.criteria.iter();
        let judgement = Judgement {
            scores: criteria
                .zip(&scores)
                .map(|(asked, score)| Score {
                    criterion: asked.id.clone(),
                    score: Some(*score),
                    reason: None,
                })
                .collect(),
        };
        let (cost, request_id) = (self.reader.estimate, self.assembly.reply().request_id.clone());
        // dropped before the end, even before the first look at it, it stays open whether the model saw
        let is_owed = self.assembly.reply().tokens.is_none();
        let proof = Proof(is_owed.then(|| Arc::clone(&self.reader.sight)));
        let rest = Rest::new(cost, self.read_rest(scores, proof).boxed());
        Answered { judgement, tokens: None, cost, request_id, rest: Some(rest) }
    }

    async fn read_rest(mut self, early: Vec<f64>, proof: Proof) -> LatePart {
        let ended = self.read_to_end().await;
        let Self { reader, assembly, .. } = self;
        let took = Some(reader.watch.elapsed()).filter(|_| matches!(ended, Ok(true)));
        let (known, request_id) = (assembly.reply().tokens, assembly.reply().request_id.clone());
        let reply = ended.and_then(|whole| assembly.finish(whole));
        let tokens = reply.as_ref().ok().and_then(|reply| reply.tokens);
        let request_id = reply.as_ref().map_or(request_id, |reply| reply.request_id.clone());
        let whole = reply.and_then(|reply| reader.conclude(&reply));
        let reasons = whole.map_err(|error| fault(&error)).and_then(|whole| agreed(whole, &early));
        let blind = reader.floor.blindness(tokens.or(known)).is_some();
        let is_counted = tokens.or(known).is_some();
        proof.settle(is_counted || reasons.is_ok());
        if blind {
            reader.sight.was_blind(true);
        } else if reasons.is_ok() {
            reader.sight.ended(&reader.floor, tokens.or(known));
        }
        let cost = tokens.map_or(reader.estimate, |tokens| reader.price.cost(tokens));
        LatePart { reasons, tokens, cost, request_id, blind, took }
    }

    /// Whether the transport saw the end.
    async fn read_to_end(&mut self) -> Result<bool, AttemptError> {
        loop {
            while self.assembly.step()? {}
            match self.incoming.next().await? {
                Piece::Bytes(bytes) => self.assembly.feed(&bytes),
                Piece::End => return Ok(true),
                Piece::Broken => return Ok(false),
            }
        }
    }
}

/// What is still owed of an answer that left early: the count that shows that its model saw.
struct Proof(Option<Arc<Sight>>);

impl Proof {
    fn settle(mut self, is_given: bool) {
        if is_given {
            self.0 = None;
        }
    }
}

impl Drop for Proof {
    fn drop(&mut self) {
        if let Some(sight) = &self.0 {
            sight.was_unproven();
        }
    }
}

/// The reasons of the whole answer, if it scores as the early one did.
fn agreed(whole: Option<Judgement>, early: &[f64]) -> Result<Vec<(String, String)>, LateFault> {
    let whole = whole.unwrap_or_default();
    let late = whole.scores.iter().map(|one| one.score.unwrap_or(f64::NAN).to_bits());
    if !late.eq(early.iter().map(|score| score.to_bits())) {
        let detail = "the whole answer scores otherwise than its beginning".to_owned();
        return Err(LateFault { kind: LateKind::Mismatched, detail });
    }
    let reason = |one: Score| Some((one.criterion, one.reason?));
    Ok(whole.scores.into_iter().filter_map(reason).collect())
}

/// What became of an answer whose scores had left: it broke off, or it was none after all.
fn fault(error: &AttemptError) -> LateFault {
    let kind = match error.outcome {
        AttemptOutcome::Refused
        | AttemptOutcome::Empty
        | AttemptOutcome::Unreadable
        | AttemptOutcome::Blind => LateKind::Mismatched,
        AttemptOutcome::Judged
        | AttemptOutcome::Truncated
        | AttemptOutcome::RateLimited
        | AttemptOutcome::Overloaded
        | AttemptOutcome::ServerError
        | AttemptOutcome::BadRequest
        | AttemptOutcome::Auth
        | AttemptOutcome::Connect
        | AttemptOutcome::Timeout
        | AttemptOutcome::Cancelled
        | AttemptOutcome::OverBudget => LateKind::Truncated,
    };
    LateFault { kind, detail: error.to_string() }
}
