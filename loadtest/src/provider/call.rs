//! A call is one request and what becomes of it: read, logged, waited for, delivered or not.

use std::io;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio::time::sleep;
use tokio::time::sleep_until;

use crate::behaviour::Fault;
use crate::chance::Chance;
use crate::dialect::Host;
use crate::failure::Failure;
use crate::log::CallLog;
use crate::log::OpenCall;
use crate::log::Outcome;
use crate::provider::Shared;
use crate::provider::plan::Act;
use crate::provider::plan::AfterHalf;
use crate::provider::plan::Delivery;
use crate::provider::plan::Plan;
use crate::provider::prepare::Prepared;
use crate::provider::prepare::fill;
use crate::provider::prepare::glance;
use crate::provider::prepare::prepare;
use crate::provider::script::End;
use crate::provider::script::Piece;
use crate::provider::script::Script;
use crate::provider::standing::Standing;
use crate::reply;
use crate::wire::Framing;
use crate::wire::ReadError;
use crate::wire::Request;
use crate::wire::Response;
use crate::wire::Wire;

/// Serves one request; says whether the connection stays open.
pub(super) async fn take(
    wire: &mut Wire,
    request: Request,
    shared: &Shared,
    told: &mut watch::Receiver<Standing>,
) -> bool {
    let standing = told.borrow().clone();
    let sent_before = wire.sent_bytes();
    let closes = request.closes();
    let mut entry = CallLog::blank();
    let prepared = prepare(&request, shared, &standing, &mut entry);
    drop(request); // megabytes of image, not to be held while the answer waits
    entry.billed_input_tokens = prepared.plan.billed.input_tokens();
    let Prepared { plan, place, place_held } = prepared;
    let open = shared.book.open(entry);
    let began = Instant::now();
    let mut call = Call { wire, open, told, place, closes, began };
    let ended = call.run(&plan).await;
    drop(place_held);
    let Call { wire, open, .. } = call;
    let sent_bytes = wire.sent_bytes() - sent_before;
    open.note(|call| {
        call.sent_bytes = sent_bytes;
        call.outcome = ended.as_ref().map_or(Outcome::CancelledByClient, |ended| *ended);
        // The model goes on for a caller that has left, and says it to nobody.
        call.answered_after_cancel = call.outcome == Outcome::CancelledByClient && plan.is_answer();
    });
    matches!(ended, Ok(Outcome::Answered)) && !closes
}

/// How long a dark provider leaves a request unread. No caller waits so long; after it the request is
/// read for the log alone, because a caller that left an unread body behind is seen no other way.
const UNREAD_FOR: Duration = Duration::from_secs(8);

/// How often it looks whether the caller of an unread request has left.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// Serves nothing and reads nothing while the provider is dark; says whether the connection stays.
///
/// A request that comes meanwhile is in the log from then on, what it was from its end on.
pub(super) async fn leave_unread(
    wire: &mut Wire,
    shared: &Shared,
    told: &mut watch::Receiver<Standing>,
) -> bool {
    let mut entry = CallLog::blank();
    entry.fault = Some(Fault::Blackhole.label());
    entry.outcome = Outcome::Hung;
    if !wire.is_inside_request() {
        let arrived = tokio::select! {
            biased; // a connection without a request outlives the darkness
            _ = told.wait_for(|standing| !standing.is_dark()) => return true,
            arrived = wire.peek_request() => arrived,
        };
        let Some((method, path)) = arrived else { return false };
        glance(&mut entry, method, path, shared);
    }
    let open = shared.book.open(entry);
    let until = Instant::now() + UNREAD_FOR;
    while Instant::now() < until && told.borrow().is_dark() && !wire.is_left().await {
        sleep(LOOK_EVERY).await;
    }
    if wire.is_inside_request() {
        wire.discard().await; // what came before the darkness is gone, so there is nothing to read
    } else if let Ok(Some(request)) = wire.read_request().await {
        open.note(|call| fill(call, &request, shared));
        wire.client_left().await;
    }
    open.stands(Outcome::CancelledByClient);
    false
}

/// Answers what was no request, or too long a one, and closes.
pub(super) async fn refuse_unreadable(
    wire: &mut Wire,
    unreadable: &ReadError,
    shared: &Shared,
) -> bool {
    let failure = match unreadable {
        ReadError::Broken(_) => return false,
        ReadError::Malformed(_) => Failure::of_status(400, None),
        ReadError::TooLarge { .. } => Failure::of_status(413, None),
    };
    let chance = Chance::of(&[b"unreadable"]);
    let response = reply::failure(shared.settings.dialect, Host::Direct, &failure, &chance);
    // Whether it arrives is the caller's business: the connection closes either way.
    let _sent = send_whole(wire, &response, true).await;
    false
}

/// A call that goes on.
struct Call<'a> {
    wire: &'a mut Wire,
    open: OpenCall,
    told: &'a mut watch::Receiver<Standing>,
    /// This call's place in 0..1, which says which fault hits it.
    place: f64,
    closes: bool,
    began: Instant,
}

/// What a pause ended with.
enum Pause {
    Over,
    ClientLeft,
    Frozen,
}

impl Call<'_> {
    /// Carries the plan out; an error means that the caller went first.
    async fn run(&mut self, plan: &Plan) -> io::Result<Outcome> {
        match self.pause_until(self.began + plan.wait).await {
            Pause::Over => {}
            Pause::ClientLeft => return Ok(Outcome::CancelledByClient),
            Pause::Frozen => return Ok(self.hang().await),
        }
        match &plan.act {
            Act::Send(response, delivery) => {
                // The model has said it all by now, whether or not it arrives.
                self.open.note(|call| call.billed_output_tokens = plan.billed.output_tokens);
                if plan.lowest_score.is_some() && *delivery == Delivery::Whole {
                    self.open.is_scored();
                }
                self.deliver(response, *delivery).await
            }
            Act::Stream(script) => {
                self.open.note(|call| call.billed_output_tokens = plan.billed.output_tokens);
                self.play(script).await
            }
            Act::Hang => Ok(self.hang().await),
            Act::Reset => {
                self.wire.reset_on_close()?;
                Ok(Outcome::Reset)
            }
        }
    }

    async fn deliver(&mut self, response: &Response, delivery: Delivery) -> io::Result<Outcome> {
        let body = response.body.as_slice();
        let whole = Framing::Length(length(body));
        let half = body.get(..body.len() / 2).unwrap_or_default();
        match delivery {
            Delivery::Whole => {
                self.note_status(response);
                // Before the last byte leaves: who has the answer finds it in the log.
                self.open.stands(Outcome::Answered);
                send_whole(self.wire, response, self.closes).await?;
                Ok(Outcome::Answered)
            }
            Delivery::HeadOnly => {
                self.send_head(response, whole).await?;
                Ok(self.hang().await)
            }
            Delivery::Half(AfterHalf::Properly) => {
                self.send_head(response, Framing::Chunked).await?;
                self.wire.send_chunk(half).await?;
                self.end(End::Properly, Outcome::CutShort).await
            }
            Delivery::Half(then) => {
                self.send_head(response, whole).await?;
                self.wire.send(half).await?;
                self.end(End::after_half(then), Outcome::CutShort).await
            }
            Delivery::Pieces { piece_bytes, every } => {
                self.send_head(response, whole).await?;
                self.drip(body, piece_bytes, every).await
            }
            Delivery::Padded { size_bytes } => {
                let size_bytes = size_bytes.max(length(body));
                self.send_head(response, Framing::Length(size_bytes)).await?;
                self.wire.send(body).await?;
                self.pad(size_bytes - length(body)).await?;
                Ok(Outcome::Answered)
            }
        }
    }

    /// Sends a stream step by step, in chunks.
    async fn play(&mut self, script: &Script) -> io::Result<Outcome> {
        self.send_head(&script.head, Framing::Chunked).await?;
        let mut steps = script.steps.iter().enumerate().peekable();
        while let Some((n, step)) = steps.next() {
            match self.pause_until(self.began + step.at).await {
                Pause::Over => {}
                Pause::ClientLeft => return Ok(Outcome::CancelledByClient),
                Pause::Frozen => return Ok(self.hang().await),
            }
            if steps.peek().is_none() && script.is_whole {
                self.open.stands(Outcome::Answered);
            }
            if script.scored == Some(n) {
                self.open.is_scored();
            }
            match &step.piece {
                Piece::Bytes(bytes) => self.wire.send_chunk(bytes).await?,
                Piece::Blanks { size_bytes } => self.pad_chunks(*size_bytes).await?,
            }
        }
        let outcome = if script.is_whole { Outcome::Answered } else { Outcome::CutShort };
        self.end(script.end, outcome).await
    }

    /// Ends an answer that was sent in part or in chunks.
    async fn end(&mut self, end: End, outcome: Outcome) -> io::Result<Outcome> {
        match end {
            End::Properly => self.wire.send_last_chunk().await?,
            End::Silence => return Ok(self.hang().await),
            End::Close => self.wire.finish().await?,
            End::Reset => {
                self.wire.reset_on_close()?;
                return Ok(Outcome::Reset);
            }
        }
        Ok(outcome)
    }

    async fn drip(
        &mut self,
        body: &[u8],
        piece_bytes: usize,
        every: Duration,
    ) -> io::Result<Outcome> {
        for piece in body.chunks(piece_bytes) {
            self.wire.send(piece).await?;
            match self.pause_until(Instant::now() + every).await {
                Pause::Over => {}
                Pause::ClientLeft => return Ok(Outcome::CancelledByClient),
                Pause::Frozen => return Ok(self.hang().await),
            }
        }
        Ok(Outcome::Answered)
    }

    async fn pad_chunks(&mut self, size_bytes: u64) -> io::Result<()> {
        let mut left_bytes = size_bytes;
        while left_bytes != 0 {
            let piece_bytes = left_bytes.min(length(&BLANKS));
            let piece = usize::try_from(piece_bytes).ok().and_then(|end| BLANKS.get(..end));
            self.wire.send_chunk(piece.unwrap_or_default()).await?;
            left_bytes -= piece_bytes;
        }
        Ok(())
    }

    async fn pad(&mut self, size_bytes: u64) -> io::Result<()> {
        let mut left_bytes = size_bytes;
        while left_bytes != 0 {
            let piece_bytes = left_bytes.min(length(&BLANKS));
            let piece = usize::try_from(piece_bytes).ok().and_then(|end| BLANKS.get(..end));
            self.wire.send(piece.unwrap_or_default()).await?;
            left_bytes -= piece_bytes;
        }
        Ok(())
    }

    /// Waits for the caller to go; if the provider ends first the call stays hung.
    async fn hang(&mut self) -> Outcome {
        self.open.stands(Outcome::Hung);
        self.wire.client_left().await;
        Outcome::CancelledByClient
    }

    async fn pause_until(&mut self, until: Instant) -> Pause {
        let place = self.place;
        let freezes = |standing: &Standing| standing.fault_at(place) == Fault::Blackhole;
        tokio::select! {
            biased; // a caller that left and a frozen call are never answered, even when it is time
            () = self.wire.client_left() => Pause::ClientLeft,
            _ = self.told.wait_for(freezes) => Pause::Frozen,
            () = sleep_until(until) => Pause::Over,
        }
    }

    async fn send_head(&mut self, response: &Response, framing: Framing) -> io::Result<()> {
        self.note_status(response);
        self.wire.send_head(response, framing, self.closes).await
    }

    fn note_status(&self, response: &Response) {
        self.open.note(|call| call.status = Some(response.status));
    }
}

static BLANKS: [u8; 64 << 10] = [b' '; 64 << 10];

async fn send_whole(wire: &mut Wire, response: &Response, closes: bool) -> io::Result<()> {
    wire.send_head(response, Framing::Length(length(&response.body)), closes).await?;
    wire.send(&response.body).await
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
