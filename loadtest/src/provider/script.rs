//! A script says what is sent of a streamed answer, when, and how it ends.
//!
//! The times are those of a model that thinks, then writes: the first event comes when half of the
//! time to the scores has passed, the scores end where the timing says, the reasons take the rest.

use std::time::Duration;

use crate::chance::Chance;
use crate::latency::Timing;
use crate::provider::plan::AfterHalf;
use crate::provider::plan::Asked;
use crate::provider::plan::GARBAGE;
use crate::provider::plan::Manner;
use crate::provider::plan::mislabelled;
use crate::provider::speech::Spoken;
use crate::reply::stream;
use crate::reply::stream::Events;
use crate::request::StreamForm;
use crate::wire::Response;

/// What is sent of a stream.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Script {
    pub(super) head: Response,
    /// When the head is sent, since the call began.
    pub(super) first: Duration,
    pub(super) steps: Vec<Step>,
    /// Which of the steps says the last score; none where they never all are, or not in one piece.
    pub(super) scored: Option<usize>,
    pub(super) end: End,
    /// Whether the caller gets a whole answer, right or wrong.
    pub(super) is_whole: bool,
}

/// What is sent at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// When, since the call began.
    pub(super) at: Duration,
    pub(super) piece: Piece,
}

/// A part of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Bytes(Vec<u8>),
    /// A comment without an end, so long.
    Blanks {
        size_bytes: u64,
    },
}

/// What follows the last step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The last chunk: the body was whole, whatever it held.
    Properly,
    /// Nothing, until the caller goes.
    Silence,
    Close,
    Reset,
}

/// The share of the time to the scores that passes before anything is sent.
const SILENT_SHARE: f64 = 0.5;

/// The share of broken streams that break only after every score was said.
const BROKEN_AFTER_SCORES: f64 = 0.7;

/// Writes the script of an answer that is sent in this manner, with this timing.
pub(super) fn script(
    asked: Asked<'_>,
    spoken: &Spoken,
    form: StreamForm,
    (manner, timing): (Manner, Timing),
) -> Script {
    let said = spoken.said(asked);
    let events = stream::events(asked.dialect, &said, form, spoken.answer.scored_bytes);
    let head = stream::head(asked.dialect, &said);
    let pace = Pace::of(timing);
    let all = pace.steps(&events, true);
    let with_scores: Vec<Step> = all.iter().take(1 + events.scored).cloned().collect();
    let broken = |after_scores: f64| {
        let said = said_before_break(&events, after_scores, asked.chance);
        all.iter().take(1 + said).cloned().collect::<Vec<Step>>()
    };
    let (steps, end) = match manner {
        Manner::Whole | Manner::Mislabelled => (all, End::Properly),
        Manner::HeadOnly => (Vec::new(), End::Silence),
        Manner::Stalls { after_scores } => (broken(after_scores), End::Silence),
        Manner::Halved(then) => (broken(BROKEN_AFTER_SCORES), End::after_half(then)),
        Manner::Unmarked => (pace.steps(&events, false), End::Properly),
        Manner::ErrorInside => {
            let error = stream::error_event(asked.dialect, &said);
            (interrupted(&all, broken(BROKEN_AFTER_SCORES), error).0, End::Properly)
        }
        Manner::GarbageInside => {
            let garbage = "data: {\"simulated\": \n\n".to_owned();
            let (mut steps, rest) = interrupted(&all, broken(BROKEN_AFTER_SCORES), garbage);
            steps.extend(rest);
            (steps, End::Properly)
        }
        Manner::Drips { piece_bytes, every } => (dripped(&all, piece_bytes, every), End::Properly),
        Manner::Padded { size_bytes } => (padded(all, size_bytes), End::Properly),
        Manner::Garbage => (vec![Step::bytes(timing.whole, GARBAGE.to_vec())], End::Properly),
        Manner::Empty => (Vec::new(), End::Properly),
    };
    let head = if manner == Manner::Mislabelled { mislabelled(head) } else { head };
    // the opening comes before the pieces; of a refusal no piece has scores
    let is_scored = events.scored != 0 && steps.starts_with(&with_scores);
    let scored = is_scored.then_some(events.scored);
    Script { head, first: pace.first, steps, scored, end, is_whole: is_whole(manner) }
}

const fn is_whole(manner: Manner) -> bool {
    match manner {
        Manner::Whole
        | Manner::GarbageInside
        | Manner::Drips { .. }
        | Manner::Padded { .. }
        | Manner::Garbage
        | Manner::Empty
        | Manner::Mislabelled => true,
        Manner::HeadOnly
        | Manner::Stalls { .. }
        | Manner::Halved(_)
        | Manner::Unmarked
        | Manner::ErrorInside => false,
    }
}

impl End {
    pub(super) const fn after_half(then: AfterHalf) -> Self {
        match then {
            AfterHalf::Properly => Self::Properly,
            AfterHalf::Close => Self::Close,
            AfterHalf::Reset => Self::Reset,
            AfterHalf::Silence => Self::Silence,
        }
    }
}

impl Step {
    fn bytes(at: Duration, bytes: Vec<u8>) -> Self {
        Self { at, piece: Piece::Bytes(bytes) }
    }
}

/// When the parts of a stream are sent.
#[derive(Clone, Copy, Debug)]
struct Pace {
    first: Duration,
    scored: Duration,
    whole: Duration,
}

impl Pace {
    fn of(timing: Timing) -> Self {
        let scored = timing.whole.mul_f64(timing.scored_share.clamp(0.0, 1.0));
        Self { first: scored.mul_f64(SILENT_SHARE), scored, whole: timing.whole }
    }

    /// The opening, each piece, and the closing: `2 + pieces` steps.
    fn steps(self, events: &Events, is_marked: bool) -> Vec<Step> {
        let mut steps = vec![Step::bytes(self.first, events.opening.clone().into_bytes())];
        let (scores, rest) = events.pieces.split_at_checked(events.scored).unwrap_or_default();
        steps.extend(spread(scores, self.first, self.scored, scores.len()));
        // The closing takes the last place of the rest.
        steps.extend(spread(rest, self.scored, self.whole, rest.len() + 1));
        let marker = if is_marked { events.marker.as_str() } else { "" };
        let closing = [events.closing.as_str(), marker].concat();
        steps.push(Step::bytes(self.whole, closing.into_bytes()));
        steps
    }
}

/// Pieces at even distances, of which the last of `places` is at the end.
fn spread(
    pieces: &[String],
    begin: Duration,
    end: Duration,
    places: usize,
) -> impl Iterator<Item = Step> {
    let places = u32::try_from(places.max(1)).unwrap_or(u32::MAX);
    let distance = end.saturating_sub(begin) / places;
    pieces.iter().zip(1_u32..).map(move |(piece, place)| {
        let at = if place == places { end } else { begin + distance * place };
        Step::bytes(at, piece.clone().into_bytes())
    })
}

/// How many pieces are sent before a stream breaks.
fn said_before_break(events: &Events, after_scores: f64, chance: &Chance) -> usize {
    let (scored, all) = (events.scored, events.pieces.len());
    let word = usize::try_from(chance.word("break")).unwrap_or_default();
    if chance.unit("breaks after scores") < after_scores {
        scored + word % (all - scored.min(all) + 1)
    } else {
        word % scored.max(1)
    }
}

/// The steps so far and an event in the place of the next one; and what would have followed.
fn interrupted(all: &[Step], mut so_far: Vec<Step>, event: String) -> (Vec<Step>, Vec<Step>) {
    let rest: Vec<Step> = all.iter().skip(so_far.len()).cloned().collect();
    let at = rest.first().or(so_far.last()).map_or(Duration::ZERO, |step| step.at);
    so_far.push(Step::bytes(at, event.into_bytes()));
    (so_far, rest)
}

/// All of it, a few bytes at a time.
fn dripped(all: &[Step], piece_bytes: usize, every: Duration) -> Vec<Step> {
    let begin = all.first().map_or(Duration::ZERO, |step| step.at);
    let bytes: Vec<u8> = all.iter().flat_map(|step| step.piece.as_bytes()).copied().collect();
    let pieces = bytes.chunks(piece_bytes).zip(0_u32..);
    pieces.map(|(piece, place)| Step::bytes(begin + every * place, piece.to_vec())).collect()
}

/// All of it, with a comment of this length before the closing.
fn padded(mut all: Vec<Step>, size_bytes: u64) -> Vec<Step> {
    if let Some(closing) = all.pop() {
        let at = closing.at;
        all.push(Step::bytes(at, b":".to_vec()));
        all.push(Step { at, piece: Piece::Blanks { size_bytes } });
        all.push(Step::bytes(at, b"\n\n".to_vec()));
        all.push(closing);
    }
    all
}

impl Piece {
    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Blanks { .. } => &[],
        }
    }
}
