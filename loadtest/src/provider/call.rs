//! A call is one request and what becomes of it: read, logged, waited for, delivered or not.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use crate::behaviour::Behaviour;
use crate::behaviour::Fault;
use crate::chance::Chance;
use crate::dialect::Host;
use crate::dialect::Route;
use crate::dialect::Target;
use crate::failure::Failure;
use crate::log::CallKind;
use crate::log::CallLog;
use crate::log::Credential;
use crate::log::OpenCall;
use crate::log::Outcome;
use crate::provider::Shared;
use crate::provider::plan::Act;
use crate::provider::plan::Asked;
use crate::provider::plan::Delivery;
use crate::provider::plan::Plan;
use crate::provider::plan::plan;
use crate::reply;
use crate::request::Question;
use crate::request::authenticate;
use crate::request::read;
use crate::tokens::Usage;
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
    told: &mut watch::Receiver<Behaviour>,
) -> bool {
    let behaviour = told.borrow().clone();
    let sent_before = wire.sent_bytes();
    let closes = request.closes();
    let (mut entry, prepared) = prepare(&request, shared, &behaviour);
    drop(request); // megabytes of image, not to be held while the answer waits
    entry.billed_input_tokens = prepared.plan.billed.input_tokens();
    let open = shared.book.open(entry);
    let mut call = Call { wire, open, told, draw: prepared.draw, closes };
    let ended = call.run(&prepared.plan).await;
    let Call { wire, open, .. } = call;
    let sent_bytes = wire.sent_bytes() - sent_before;
    open.note(|call| {
        call.sent_bytes = sent_bytes;
        call.outcome = ended.as_ref().map_or(Outcome::CancelledByClient, |ended| *ended);
    });
    matches!(ended, Ok(Outcome::Answered)) && !closes
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
    told: &'a mut watch::Receiver<Behaviour>,
    /// This call's place in 0..1: a fault hits it when its share reaches so far.
    draw: f64,
    closes: bool,
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
        match self.pause(plan.wait).await {
            Pause::Over => {}
            Pause::ClientLeft => return Ok(Outcome::CancelledByClient),
            Pause::Frozen => return Ok(self.hang().await),
        }
        match &plan.act {
            Act::Send(response, delivery) => {
                // The model has said it all by now, whether or not it arrives.
                self.open.note(|call| call.billed_output_tokens = plan.billed.output_tokens);
                self.deliver(response, *delivery).await
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
            Delivery::Half => {
                self.send_head(response, whole).await?;
                self.wire.send(half).await?;
                self.wire.finish().await?;
                Ok(Outcome::CutShort)
            }
            Delivery::HalfInGoodOrder => {
                self.send_head(response, Framing::Chunked).await?;
                let chunk = format!("{:x}\r\n", half.len());
                let chunk = [chunk.as_bytes(), half, b"\r\n0\r\n\r\n"].concat();
                self.wire.send(&chunk).await?;
                self.wire.finish().await?;
                Ok(Outcome::CutShort)
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

    async fn drip(
        &mut self,
        body: &[u8],
        piece_bytes: usize,
        every: Duration,
    ) -> io::Result<Outcome> {
        for piece in body.chunks(piece_bytes) {
            self.wire.send(piece).await?;
            match self.pause(every).await {
                Pause::Over => {}
                Pause::ClientLeft => return Ok(Outcome::CancelledByClient),
                Pause::Frozen => return Ok(self.hang().await),
            }
        }
        Ok(Outcome::Answered)
    }

    async fn pad(&mut self, size_bytes: u64) -> io::Result<()> {
        static BLANKS: [u8; 64 << 10] = [b' '; 64 << 10];
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

    async fn pause(&mut self, length: Duration) -> Pause {
        let draw = self.draw;
        let freezes =
            |behaviour: &Behaviour| behaviour.fault == Fault::Blackhole && draw < behaviour.share;
        tokio::select! {
            biased; // a caller that left and a frozen call are never answered, even when it is time
            () = self.wire.client_left() => Pause::ClientLeft,
            _ = self.told.wait_for(freezes) => Pause::Frozen,
            () = sleep(length) => Pause::Over,
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

async fn send_whole(wire: &mut Wire, response: &Response, closes: bool) -> io::Result<()> {
    wire.send_head(response, Framing::Length(length(&response.body)), closes).await?;
    wire.send(&response.body).await
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// What was decided about a request.
struct Prepared {
    plan: Plan,
    draw: f64,
}

fn prepare(request: &Request, shared: &Shared, behaviour: &Behaviour) -> (CallLog, Prepared) {
    let dialect = shared.settings.dialect;
    let mut entry = entry(request);
    let free = |response| Plan {
        wait: Duration::ZERO,
        act: Act::Send(response, Delivery::Whole),
        billed: Usage::default(),
    };
    let target = match dialect.route(&request.method, &request.path) {
        Route::Ask(target) => target,
        Route::OAuthToken => {
            entry.kind = CallKind::Token;
            return (entry, Prepared { plan: free(reply::access_token(request)), draw: 1.0 });
        }
        Route::MetadataToken | Route::MetadataProject => {
            entry.kind = CallKind::Token;
            let is_token = request.path.ends_with("/token");
            return (entry, Prepared { plan: free(reply::metadata(request, is_token)), draw: 1.0 });
        }
        route @ (Route::WrongMethod | Route::Unknown) => {
            entry.kind = CallKind::Unknown;
            let status = if route == Route::Unknown { 404 } else { 405 };
            let chance = Chance::of(&[b"unknown", request.path.as_bytes()]);
            let failure = Failure::of_status(status, None);
            let response = reply::failure(dialect, Host::Direct, &failure, &chance);
            return (entry, Prepared { plan: free(response), draw: 1.0 });
        }
    };
    let read = read_question(&target, request, shared, &mut entry);
    let chance = chance_of(read.as_ref().ok(), request, shared);
    let draw = chance.unit("fault");
    let plan = match read {
        Ok(question) => {
            let fault = behaviour.fault_of(&chance);
            entry.fault = (fault != Fault::None).then(|| fault.label());
            let asked = Asked { dialect, host: target.host, question: &question, chance: &chance };
            plan(asked, behaviour, fault)
        }
        Err(failure) => free(reply::failure(dialect, target.host, &failure, &chance)),
    };
    (entry, Prepared { plan, draw })
}

fn read_question(
    target: &Target,
    request: &Request,
    shared: &Shared,
    entry: &mut CallLog,
) -> Result<Question, Failure> {
    let (dialect, key) = (shared.settings.dialect, shared.settings.key.as_deref());
    entry.model.clone_from(&target.model);
    let credential: Credential = authenticate(dialect, target.host, request, key)?;
    entry.credential = Some(credential);
    let question = read(dialect, target, request)?;
    entry.model = Some(question.model.clone());
    entry.prompt = question.prompt.chars().take(MAX_PROMPT_CHARS).collect();
    entry.image_count = question.pictures.len();
    let digest = |bytes: &[u8]| format!("b3:{}", blake3::hash(bytes).to_hex());
    entry.image_digests = question.pictures.iter().map(|p| digest(&p.bytes)).collect();
    Ok(question)
}

/// How much of a prompt the log keeps.
const MAX_PROMPT_CHARS: usize = 2_048;

/// The chances of a call hang on its first image and on how often that image was sent here before:
/// a second try draws anew, and a second run draws the same.
fn chance_of(question: Option<&Question>, request: &Request, shared: &Shared) -> Chance {
    let picture = question.and_then(|question| question.pictures.first());
    let subject = picture.map_or(request.body.as_slice(), |picture| picture.bytes.as_slice());
    let digest = *blake3::hash(subject).as_bytes();
    let times = shared.count(digest).to_le_bytes();
    let settings = &shared.settings;
    let seed = settings.seed.to_le_bytes();
    Chance::of(&[&seed, settings.dialect.label().as_bytes(), &digest, &times])
}

/// How often each subject was seen; forgets all when it is full.
#[derive(Debug, Default)]
pub(super) struct Counter {
    times: HashMap<[u8; 32], u32>,
}

const MAX_COUNTED: usize = 65_536;

impl Counter {
    pub(super) fn count(&mut self, seen: [u8; 32]) -> u32 {
        if MAX_COUNTED <= self.times.len() {
            self.times.clear();
        }
        let times = self.times.entry(seen).or_default();
        *times += 1;
        *times
    }
}

/// The headers that the log keeps: never a key.
const HEADERS_LOGGED: [&str; 7] = [
    "content-type",
    "user-agent",
    "anthropic-version",
    "openai-organization",
    "x-goog-user-project",
    "x-request-id",
    "traceparent",
];

fn entry(request: &Request) -> CallLog {
    let is_logged = |(name, _): &&(String, String)| HEADERS_LOGGED.contains(&name.as_str());
    CallLog {
        began: Duration::ZERO,
        ended: None,
        kind: CallKind::Question,
        method: request.method.clone(),
        path: request.path.clone(),
        credential: None,
        headers: request.headers.iter().filter(is_logged).cloned().collect(),
        model: None,
        prompt: String::new(),
        image_count: 0,
        image_digests: Vec::new(),
        fault: None,
        status: None,
        received_bytes: request.body.len(),
        sent_bytes: 0,
        outcome: Outcome::InFlight,
        billed_input_tokens: 0,
        billed_output_tokens: 0,
    }
}
