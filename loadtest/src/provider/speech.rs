//! Speech is what the model says to a question: its text, why it stopped and what that costs.

use crate::behaviour::Behaviour;
use crate::judging::expected_scores_of;
use crate::provider::plan::Asked;
use crate::reply::Finish;
use crate::reply::Said;
use crate::request::Question;
use crate::schema::Answer;
use crate::schema::Schema;
use crate::tokens::Usage;
use crate::tokens::output_tokens;

/// What the model says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speech {
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

/// A speech in words.
#[derive(Clone, Debug)]
pub(super) struct Spoken {
    pub(super) answer: Answer,
    pub(super) finish: Finish,
    /// What the reply claims that it cost.
    pub(super) usage: Usage,
    /// What it costs.
    pub(super) billed: Usage,
}

impl Spoken {
    /// The same, ready for a dialect to write down.
    pub(super) fn said<'a>(&'a self, asked: Asked<'a>) -> Said<'a> {
        Said {
            model: asked.question.model.as_str(),
            host: asked.host,
            text: &self.answer.text,
            finish: self.finish,
            usage: self.usage,
            ids: asked.ids,
        }
    }
}

/// Puts a speech into words.
pub(super) fn speak(asked: Asked<'_>, behaviour: &Behaviour, speech: Speech) -> Spoken {
    let Asked { dialect, question, .. } = asked;
    let mut answer = answer(question, behaviour, speech);
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
    billed.output_tokens = output_tokens(&answer.text);
    let limit = question.max_output_tokens.unwrap_or(u64::MAX);
    if limit < billed.output_tokens {
        finish = Finish::Truncated;
        billed.output_tokens = limit;
    }
    if finish == Finish::Truncated {
        answer = first_half(&answer);
    }
    let mut usage = billed;
    if speech == Speech::Blind {
        usage.image_tokens = 0;
    }
    Spoken { answer, finish, usage, billed }
}

/// What a score of 0..1 is not.
const OUT_OF_RANGE: f64 = 7.5;

fn answer(question: &Question, behaviour: &Behaviour, speech: Speech) -> Answer {
    let words = |text: &str| Answer { text: text.to_owned(), ..Answer::default() };
    match speech {
        Speech::Scores | Speech::Blind | Speech::Refusal | Speech::Truncated => {
            scores(question, behaviour)
        }
        Speech::Fenced => {
            let (fence, inner) = ("```json\n", scores(question, behaviour));
            let scored_bytes = inner.scored_bytes.map(|bytes| fence.len() + bytes);
            Answer { text: format!("{fence}{}\n```", inner.text), scored_bytes, ..inner }
        }
        Speech::OutOfRange => fill(question, |_| OUT_OF_RANGE),
        Speech::Prose => words("The product looks good to me, the outline is clean."),
        Speech::WrongSchema => words(r#"{"answer":{"quality":"good"},"sure":true}"#),
        Speech::Nothing => words(""),
    }
}

fn scores(question: &Question, behaviour: &Behaviour) -> Answer {
    let Some(picture) = question.pictures.first() else { return fill(question, |_| 0.0) };
    let criteria = question.schema.as_ref().map(Schema::criteria).unwrap_or_default();
    let names: Vec<&str> = criteria.iter().map(String::as_str).collect();
    let scores = expected_scores_of(&picture.digest, &names, &behaviour.judging);
    fill(question, |criterion| scores.get(criterion).copied().unwrap_or_default())
}

/// The schema filled in; without one, a sentence.
fn fill(question: &Question, score_of: impl Fn(&str) -> f64) -> Answer {
    let Some(schema) = &question.schema else {
        let text = "simulated: nobody looked, and no answer schema was sent".to_owned();
        return Answer { text, ..Answer::default() };
    };
    let criteria = schema.criteria().into_iter();
    let scores = criteria.map(|name| (name.clone(), score_of(&name))).collect();
    schema.answer(&scores)
}

/// Where a limit might have fallen.
fn first_half(answer: &Answer) -> Answer {
    let half = answer.text.chars().count() / 2;
    let text: String = answer.text.chars().take(half).collect();
    let scored_bytes = answer.scored_bytes.filter(|bytes| *bytes <= text.len());
    Answer { text, scored_bytes, lowest_score: answer.lowest_score }
}
