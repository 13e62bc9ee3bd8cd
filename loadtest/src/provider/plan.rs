//! A plan is what a provider will do with one question: decided at once, before anything is waited for.

use std::time::Duration;

use crate::behaviour::Behaviour;
use crate::behaviour::Fault;
use crate::chance::Chance;
use crate::dialect::Dialect;
use crate::dialect::Host;
use crate::failure::Failure;
use crate::judging::expected_scores;
use crate::reply;
use crate::reply::Finish;
use crate::reply::Said;
use crate::request::Question;
use crate::tokens::Usage;
use crate::tokens::output_tokens;
use crate::wire::Response;

/// What will be done, and when.
#[derive(Debug)]
pub(super) struct Plan {
    /// How long before anything is done.
    pub(super) wait: Duration,
    pub(super) act: Act,
    /// What a real provider would charge.
    pub(super) billed: Usage,
}

/// What is done on the socket.
#[derive(Debug)]
pub(super) enum Act {
    Send(Response, Delivery),
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
    /// The whole length declared, half of it sent, then closed.
    Half,
    /// Half of it, ended in good order.
    HalfInGoodOrder,
    Pieces {
        piece_bytes: usize,
        every: Duration,
    },
    /// The body, then blanks up to this length.
    Padded {
        size_bytes: u64,
    },
}

/// Who was asked what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub(super) dialect: Dialect,
    pub(super) host: Host,
    pub(super) question: &'a Question,
    pub(super) chance: &'a Chance,
}

/// Decides what to do with a question under this fault.
pub(super) fn plan(asked: Asked<'_>, behaviour: &Behaviour, fault: Fault) -> Plan {
    let latency = behaviour.latency.draw(asked.chance);
    let free = |wait, act| Plan { wait, act, billed: Usage::default() };
    let charged = |act, billed| Plan { wait: latency, act, billed };
    let said = |speech: Speech| speak(asked, behaviour, speech);
    let send = |speech: Speech, delivery| {
        let (response, billed) = said(speech);
        charged(Act::Send(response, delivery), billed)
    };
    let replace = |change: &dyn Fn(Response) -> Response| {
        let (response, billed) = said(Speech::Scores);
        charged(Act::Send(change(response), Delivery::Whole), billed)
    };
    match fault {
        // A refused call never gets here: the listener is closed.
        Fault::None | Fault::Refuse => send(Speech::Scores, Delivery::Whole),
        Fault::Blackhole => free(Duration::ZERO, Act::Hang),
        Fault::Reset => free(Duration::ZERO, Act::Reset),
        Fault::Status { code, after_ms, retry_after_s } => {
            let failure = Failure::of_status(code, retry_after_s);
            let response = reply::failure(asked.dialect, asked.host, &failure, asked.chance);
            free(Duration::from_millis(after_ms), Act::Send(response, Delivery::Whole))
        }
        Fault::HeaderThenSilence => send(Speech::Scores, Delivery::HeadOnly),
        Fault::HalfBody => send(Speech::Scores, Delivery::Half),
        Fault::CleanEofEarly => send(Speech::Scores, Delivery::HalfInGoodOrder),
        Fault::SlowDrip { piece_bytes, every_ms } => {
            let (piece_bytes, every) = (piece_bytes.max(1), Duration::from_millis(every_ms));
            send(Speech::Scores, Delivery::Pieces { piece_bytes, every })
        }
        Fault::HugeBody { size_bytes } => send(Speech::Scores, Delivery::Padded { size_bytes }),
        Fault::Garbage => replace(&|response| Response { body: GARBAGE.to_vec(), ..response }),
        Fault::Empty200 => replace(&|response| Response { body: Vec::new(), ..response }),
        Fault::WrongContentType => replace(&|mut response| {
            response.headers.retain(|(name, _)| *name != "content-type");
            response.headers.push(("content-type", "text/html; charset=utf-8".to_owned()));
            response
        }),
        Fault::Redirect => {
            let headers = vec![("location", "/redirected".to_owned())];
            let response = Response { status: 307, headers, body: Vec::new() };
            free(Duration::ZERO, Act::Send(response, Delivery::Whole))
        }
        Fault::Fenced => send(Speech::Fenced, Delivery::Whole),
        Fault::Prose => send(Speech::Prose, Delivery::Whole),
        Fault::WrongSchema => send(Speech::WrongSchema, Delivery::Whole),
        Fault::OutOfRange => send(Speech::OutOfRange, Delivery::Whole),
        Fault::EmptyText => send(Speech::Nothing, Delivery::Whole),
        Fault::Refusal => send(Speech::Refusal, Delivery::Whole),
        Fault::TruncatedOutput => send(Speech::Truncated, Delivery::Whole),
        Fault::Blind => send(Speech::Blind, Delivery::Whole),
    }
}

/// What a front end that is not the provider might send.
const GARBAGE: &[u8] =
    b"\x1f\x8b\x08\x00 upstream connect error or disconnect/reset before headers";

/// What a score of 0..1 is not.
const OUT_OF_RANGE: f64 = 7.5;

/// What the model says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speech {
    Scores,
    /// The scores, and a token count without the image.
    Blind,
    Fenced,
    Prose,
    WrongSchema,
    OutOfRange,
    Nothing,
    Refusal,
    Truncated,
}

/// The response that says it, and what it costs.
fn speak(asked: Asked<'_>, behaviour: &Behaviour, speech: Speech) -> (Response, Usage) {
    let Asked { dialect, host, question, chance } = asked;
    let mut text = text(question, behaviour, speech);
    let mut finish = match speech {
        Speech::Refusal => Finish::Refused,
        Speech::Truncated => Finish::Truncated,
        Speech::Scores
        | Speech::Blind
        | Speech::Fenced
        | Speech::Prose
        | Speech::WrongSchema
        | Speech::OutOfRange
        | Speech::Nothing => Finish::Complete,
    };
    let mut billed = Usage::of(dialect, question);
    billed.output_tokens = output_tokens(&text);
    let limit = question.max_output_tokens.unwrap_or(u64::MAX);
    if limit < billed.output_tokens {
        finish = Finish::Truncated;
        billed.output_tokens = limit;
    }
    if finish == Finish::Truncated {
        text = first_half(&text);
    }
    let mut usage = billed;
    if speech == Speech::Blind {
        usage.image_tokens = 0;
    }
    let model = question.model.as_str();
    let said = Said { model, host, text: &text, finish, usage, ids: chance };
    (reply::answer(dialect, &said), billed)
}

fn text(question: &Question, behaviour: &Behaviour, speech: Speech) -> String {
    match speech {
        Speech::Scores | Speech::Blind | Speech::Refusal | Speech::Truncated => {
            scores(question, behaviour)
        }
        Speech::Fenced => format!("```json\n{}\n```", scores(question, behaviour)),
        Speech::OutOfRange => fill(question, |_| OUT_OF_RANGE),
        Speech::Prose => "The product looks good to me, the outline is clean.".to_owned(),
        Speech::WrongSchema => r#"{"answer":{"quality":"good"},"sure":true}"#.to_owned(),
        Speech::Nothing => String::new(),
    }
}

fn scores(question: &Question, behaviour: &Behaviour) -> String {
    let image = question.pictures.first().map_or(&[][..], |picture| picture.bytes.as_slice());
    let criteria = question.schema.as_ref().map(crate::schema::Schema::criteria);
    let criteria = criteria.unwrap_or_default();
    let names: Vec<&str> = criteria.iter().map(String::as_str).collect();
    let scores = expected_scores(image, &names, &behaviour.judging);
    fill(question, |criterion| scores.get(criterion).copied().unwrap_or_default())
}

/// The schema filled in; without one, a sentence.
fn fill(question: &Question, score_of: impl Fn(&str) -> f64) -> String {
    let Some(schema) = &question.schema else {
        return "simulated: nobody looked, and no answer schema was sent".to_owned();
    };
    let criteria = schema.criteria().into_iter();
    let scores = criteria.map(|name| (name.clone(), score_of(&name))).collect();
    schema.answer(&scores)
}

/// Where a limit might have fallen.
fn first_half(text: &str) -> String {
    text.chars().take(text.chars().count() / 2).collect()
}
