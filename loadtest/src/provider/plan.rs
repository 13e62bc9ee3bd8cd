//! A plan is what a provider will do with one question: decided at once, before anything is waited for.

use std::time::Duration;

use crate::behaviour::Behaviour;
use crate::behaviour::Fault;
use crate::chance::Chance;
use crate::dialect::Dialect;
use crate::dialect::Host;
use crate::failure::Failure;
use crate::latency::Timing;
use crate::provider::script::End;
use crate::provider::script::Script;
use crate::provider::script::script;
use crate::provider::speech::Speech;
use crate::provider::speech::Spoken;
use crate::provider::speech::speak;
use crate::reply;
use crate::request::Question;
use crate::tokens::Usage;
use crate::wire::Response;

/// What will be done, and when.
#[derive(Debug)]
pub(super) struct Plan {
    /// How long before anything is done.
    pub(super) wait: Duration,
    pub(super) act: Act,
    /// What a real provider would charge.
    pub(super) billed: Usage,
    /// The lowest score that is said.
    pub(super) lowest_score: Option<f64>,
}

impl Plan {
    /// A plan that costs nothing.
    pub(super) fn free(wait: Duration, act: Act) -> Self {
        Self { wait, act, billed: Usage::default(), lowest_score: None }
    }

    /// Whether a model was at work.
    pub(super) fn is_answer(&self) -> bool {
        0 < self.billed.input_tokens()
    }

    /// When the work ends by itself; `None` when it never does, or is none.
    pub(super) fn natural_end(&self, timing: Timing) -> Option<Duration> {
        let is_endless = match &self.act {
            Act::Stream(script) => script.end == End::Silence,
            Act::Send(_, Delivery::HeadOnly | Delivery::Half(AfterHalf::Silence)) | Act::Hang => {
                true
            }
            Act::Send(..) | Act::Reset => false,
        };
        (self.is_answer() && !is_endless).then_some(timing.whole)
    }
}

/// What is done on the socket.
#[derive(Debug)]
pub(super) enum Act {
    Send(Response, Delivery),
    Stream(Script),
    /// Nothing, until the caller goes.
    Hang,
    Reset,
}

/// How much of a response reaches the caller, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    Whole,
    /// The head, then nothing, until the caller goes.
    HeadOnly,
    /// The whole length declared, half of it sent; then this.
    Half(AfterHalf),
    Pieces {
        piece_bytes: usize,
        every: Duration,
    },
    /// The body, then blanks up to this length.
    Padded {
        size_bytes: u64,
    },
}

/// What follows half of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AfterHalf {
    /// An end in good order: half was all.
    Properly,
    Close,
    Reset,
    Silence,
}

/// Who was asked what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub(super) dialect: Dialect,
    pub(super) host: Host,
    pub(super) question: &'a Question,
    pub(super) chance: &'a Chance,
    /// What the ids of the reply are drawn from; no two calls share it.
    pub(super) ids: &'a Chance,
}

/// How an answer is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Manner {
    Whole,
    HeadOnly,
    Stalls { after_scores: f64 },
    Halved(AfterHalf),
    Unmarked,
    ErrorInside,
    GarbageInside,
    Drips { piece_bytes: usize, every: Duration },
    Padded { size_bytes: u64 },
    Garbage,
    Empty,
    Mislabelled,
}

/// What a fault makes of a call.
enum Course {
    Hangs,
    Resets,
    Fails { code: u16, after: Duration, retry_after_s: Option<u32> },
    Moves,
    Answers(Speech, Manner),
}

impl Course {
    fn of(fault: Fault) -> Self {
        let says = |speech| Self::Answers(speech, Manner::Whole);
        let does = |manner| Self::Answers(Speech::Scores, manner);
        match fault {
            // A refused call never gets here: the listener is closed. A slow one has had its timing
            // changed, and one over the limit has failed.
            Fault::None | Fault::Refuse | Fault::Slow { .. } | Fault::RateLimit { .. } => {
                does(Manner::Whole)
            }
            Fault::Blackhole => Self::Hangs,
            Fault::Reset => Self::Resets,
            Fault::Status { code, after_ms, retry_after_s } => {
                Self::Fails { code, after: Duration::from_millis(after_ms), retry_after_s }
            }
            Fault::Redirect => Self::Moves,
            Fault::HeaderThenSilence => does(Manner::HeadOnly),
            Fault::MidStreamStall { after_scores } => does(Manner::Stalls { after_scores }),
            Fault::HalfBody => does(Manner::Halved(AfterHalf::Close)),
            Fault::CutConnection => does(Manner::Halved(AfterHalf::Reset)),
            Fault::CleanEofEarly => does(Manner::Halved(AfterHalf::Properly)),
            Fault::NoTerminalMarker => does(Manner::Unmarked),
            Fault::ErrorEvent => does(Manner::ErrorInside),
            Fault::GarbageEvent => does(Manner::GarbageInside),
            Fault::SlowDrip { piece_bytes, every_ms } => does(Manner::Drips {
                piece_bytes: piece_bytes.max(1),
                every: Duration::from_millis(every_ms),
            }),
            Fault::HugeBody { size_bytes } => does(Manner::Padded { size_bytes }),
            Fault::Garbage => does(Manner::Garbage),
            Fault::Empty200 => does(Manner::Empty),
            Fault::WrongContentType => does(Manner::Mislabelled),
            Fault::Fenced => says(Speech::Fenced),
            Fault::Prose => says(Speech::Prose),
            Fault::WrongSchema => says(Speech::WrongSchema),
            Fault::OutOfRange => says(Speech::OutOfRange),
            Fault::EmptyText => says(Speech::Nothing),
            Fault::Refusal => says(Speech::Refusal),
            Fault::TruncatedOutput => says(Speech::Truncated),
            Fault::Blind => says(Speech::Blind),
        }
    }
}

/// Decides what to do with a question under this fault.
pub(super) fn plan(asked: Asked<'_>, behaviour: &Behaviour, fault: Fault, timing: Timing) -> Plan {
    match Course::of(fault) {
        Course::Hangs => Plan::free(Duration::ZERO, Act::Hang),
        Course::Resets => Plan::free(Duration::ZERO, Act::Reset),
        Course::Fails { code, after, retry_after_s } => fail(asked, code, after, retry_after_s),
        Course::Moves => {
            let headers = vec![("location", "/redirected".to_owned())];
            let response = Response { status: 307, headers, body: Vec::new() };
            Plan::free(Duration::ZERO, Act::Send(response, Delivery::Whole))
        }
        Course::Answers(speech, manner) => {
            let spoken = speak(asked, behaviour, speech);
            let (wait, act) = match asked.question.stream {
                Some(form) => {
                    let script = script(asked, &spoken, form, (manner, timing));
                    (script.first, Act::Stream(script))
                }
                None => {
                    let (response, delivery) = whole(asked, &spoken, manner);
                    (timing.whole, Act::Send(response, delivery))
                }
            };
            Plan { wait, act, billed: spoken.billed, lowest_score: spoken.answer.lowest_score }
        }
    }
}

/// An error in the dialect's own form.
pub(super) fn fail(
    asked: Asked<'_>,
    code: u16,
    after: Duration,
    retry_after_s: Option<u32>,
) -> Plan {
    let failure = Failure::of_status(code, retry_after_s);
    let response = reply::failure(asked.dialect, asked.host, &failure, asked.ids);
    Plan::free(after, Act::Send(response, Delivery::Whole))
}

/// What a front end that is not the provider might send.
pub(super) const GARBAGE: &[u8] =
    b"\x1f\x8b\x08\x00 upstream connect error or disconnect/reset before headers";

/// An answer in one piece.
fn whole(asked: Asked<'_>, spoken: &Spoken, manner: Manner) -> (Response, Delivery) {
    let response = reply::answer(asked.dialect, &spoken.said(asked));
    match manner {
        Manner::Whole | Manner::Unmarked => (response, Delivery::Whole),
        Manner::HeadOnly => (response, Delivery::HeadOnly),
        Manner::Stalls { .. } => (response, Delivery::Half(AfterHalf::Silence)),
        Manner::Halved(then) => (response, Delivery::Half(then)),
        Manner::Drips { piece_bytes, every } => (response, Delivery::Pieces { piece_bytes, every }),
        Manner::Padded { size_bytes } => (response, Delivery::Padded { size_bytes }),
        Manner::ErrorInside => {
            let failure = Failure::of_status(reply::OVERLOADED, None);
            let error = reply::failure(asked.dialect, asked.host, &failure, asked.ids);
            (Response { status: 200, ..error }, Delivery::Whole)
        }
        Manner::Garbage | Manner::GarbageInside => {
            (Response { body: GARBAGE.to_vec(), ..response }, Delivery::Whole)
        }
        Manner::Empty => (Response { body: Vec::new(), ..response }, Delivery::Whole),
        Manner::Mislabelled => (mislabelled(response), Delivery::Whole),
    }
}

/// The same, labelled as HTML.
pub(super) fn mislabelled(mut response: Response) -> Response {
    response.headers.retain(|(name, _)| *name != "content-type");
    response.headers.push(("content-type", "text/html; charset=utf-8".to_owned()));
    response
}
