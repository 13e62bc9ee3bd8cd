//! A file of policy tests as it is written: every key, its range and its default.

use serde_json::{Value as Json, json};

use crate::config::form::{At, Form, List, Table, Words, form, refuse};
use crate::config::problem::Report;
use crate::config::units::{Money, Name, Prose, Public, Tag, Time, Unit, Whole, Word, seconds};
use crate::config::yaml::Value;
use crate::domain::{AttemptOutcome, Basis, Decision, Inadmissible, Route};
use crate::rehearse::verify::BELOW_FLOOR;

form! {
    /// Tests of one policy: what the judges do, and what must come of it. `vlmgate policy test` plays them without a network on a virtual clock; a judge that a test does not name must not be called.
    TestFile {
        /// The policy's file, from this one.
        policy: Prose<200>,
        /// What holds for every test that does not say otherwise.
        defaults: DefaultsForm,
        /// The tests, by name.
        tests: List<TestForm, 1, 500>,
    }
}

form! {
    /// What holds for every test that does not say otherwise.
    DefaultsForm {
        /// The image that is checked: a path from this file.
        image: Option<Prose<500>>,
        /// Variables that the caller sends.
        vars: Vars = Table::default(),
        /// What the judges do.
        judges: Option<Judges>,
    }
}

form! {
    /// One test, or one for each of several cases.
    TestForm {
        /// What is true when it passes; no two of a file share it.
        name: Prose<200>,
        /// The image that is checked: a path from this file; default: that of `defaults`.
        image: Option<Prose<500>>,
        /// Variables that the caller sends, over those of `defaults`.
        vars: Vars = Table::default(),
        /// The caller's deadline: it can only shorten the policy's.
        deadline: Option<Time>,
        /// What each judge does when called, `*` for all that are not named; default: those of `defaults`.
        judges: Option<Judges>,
        /// What must come of it.
        expect: Option<ExpectForm>,
        /// The same test for each of these: what a case does not say holds as above.
        each: Option<List<CaseForm, 1, 100>>,
    }
}

form! {
    /// One case of a test: what it does not say holds as in the test.
    CaseForm {
        /// What tells it from the others; default: its number.
        name: Option<Prose<200>>,
        /// The image that is checked: a path from this file.
        image: Option<Prose<500>>,
        /// Variables that the caller sends, over those of the test.
        vars: Vars = Table::default(),
        /// The caller's deadline: it can only shorten the policy's.
        deadline: Option<Time>,
        /// What each judge does when called, `*` for all that are not named.
        judges: Option<Judges>,
        /// What must come of it.
        expect: Option<ExpectForm>,
    }
}

/// Variables as a caller sends them.
pub(crate) type Vars = Table<Name<Word>, Prose<64>, 16>;
/// What each judge does.
pub(crate) type Judges = Table<OrStar<Name<Public>>, Acts, 32>;

/// A name, or `*` for all that are not named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OrStar<T> {
    Star,
    Named(T),
}

impl<T: Form> Form for OrStar<T> {
    fn read(at: &At<'_>, report: &mut Report) -> Option<Self> {
        if at.node.text() == Some("*") {
            return Some(Self::Star);
        }
        T::read(at, report).map(Self::Named)
    }

    fn schema() -> Json {
        json!({ "anyOf": [{ "const": "*" }, T::schema()] })
    }
}

/// What a judge does at every call, or call by call; the last act repeats.
#[derive(Clone, Debug)]
pub(crate) enum Acts {
    Always(Box<ActForm>),
    InTurn(List<ActForm, 1, 10>),
}

impl Form for Acts {
    fn read(at: &At<'_>, report: &mut Report) -> Option<Self> {
        match &at.node.value {
            Value::Map(_) => ActForm::read(at, report).map(Box::new).map(Self::Always),
            Value::List(_) => List::read(at, report).map(Self::InTurn),
            Value::Null | Value::Bool(_) | Value::Whole(_) | Value::Number(_) | Value::Text(_) => {
                refuse(at, report, "what the judge does, such as { fault: overloaded }, or a list")
            }
        }
    }

    fn schema() -> Json {
        json!({ "anyOf": [ActForm::schema(), List::<ActForm, 1, 10>::schema()] })
    }
}

form! {
    /// What a judge does when called: it scores, or it fails. `local` may do neither: then it measures.
    ActForm {
        /// A score from 0 to 1 for each criterion, `*` for all that are not named.
        scores: Option<Table<OrStar<Name<Word>>, Unit, 33>>,
        /// The judge's words, by criterion.
        reasons: Table<Name<Word>, Prose<2000>, 32> = Table::default(),
        /// How long after the call; default: at once.
        after: Time = seconds(0.0),
        /// How it fails in the stead of scoring; `hang` never answers, `must_not_be_called` fails the test.
        fault: Option<Fault>,
        /// How long the provider asks to stay away: with `overloaded`, `rate_limited` and `server_error`.
        retry_after: Option<Time>,
    }
}

/// What a judge does in the stead of scoring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Outcome(AttemptOutcome),
    Hang,
    MustNotBeCalled,
}

impl Words for Fault {
    fn words() -> Vec<(&'static str, Self)> {
        // what we do ourselves no judge can do
        let is_theirs = |one: &AttemptOutcome| match one {
            AttemptOutcome::Judged | AttemptOutcome::Cancelled | AttemptOutcome::OverBudget => {
                false
            }
            AttemptOutcome::Refused
            | AttemptOutcome::Empty
            | AttemptOutcome::Truncated
            | AttemptOutcome::Unreadable
            | AttemptOutcome::Blind
            | AttemptOutcome::RateLimited
            | AttemptOutcome::Overloaded
            | AttemptOutcome::ServerError
            | AttemptOutcome::BadRequest
            | AttemptOutcome::Auth
            | AttemptOutcome::Connect
            | AttemptOutcome::Timeout => true,
        };
        let theirs = AttemptOutcome::ALL.into_iter().filter(is_theirs);
        let ours = [("hang", Self::Hang), ("must_not_be_called", Self::MustNotBeCalled)];
        theirs.map(|one| (one.label(), Self::Outcome(one))).chain(ours).collect()
    }
}

form! {
    /// What must come of a test; what is not said may be anything.
    ExpectForm {
        /// What the caller is told.
        verdict: Option<Decision>,
        /// What the policy decided, where it only observes.
        would_be: Option<Decision>,
        /// What the verdict rests on.
        basis: Option<Basis>,
        /// Whose judgement it is; with a second opinion the first one's.
        judge: Option<Name<Public>>,
        /// Why that judge was called.
        route: Option<Route>,
        /// Whom calls were made to, cancelled ones too, in the order in which they started.
        asked: Option<List<Name<Public>, 0, 20>>,
        /// How many calls were made, cancelled ones too.
        attempts: Option<Whole<0, 20>>,
        /// All criteria (or blocking checks) that were not passed.
        failed: Option<List<Name<Tag>, 0, 64>>,
        /// All flags: broken checks that flag, and unmeasured:CRITERION.
        flags: Option<List<Prose<100>, 0, 96>>,
        /// The check that settled the image before a judge was asked.
        check: Option<Name<Tag>>,
        /// Whether scores near their line decide the verdict.
        borderline: Option<bool>,
        /// Whether a judge was asked beside a slow one.
        hedged: Option<bool>,
        /// The verdict is there within this (virtual) time.
        within: Option<Time>,
        /// All calls together cost less than this.
        cost_under: Option<Money>,
        /// The gate does not look at the image at all: why.
        refused: Option<RefusedWord>,
    }
}

/// Why the gate does not look at an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RefusedWord(pub(crate) &'static str);

impl Words for RefusedWord {
    fn words() -> Vec<(&'static str, Self)> {
        let words = [BELOW_FLOOR].into_iter().chain(Inadmissible::LABELS);
        words.map(|word| (word, Self(word))).collect()
    }
}

impl Words for Decision {
    fn words() -> Vec<(&'static str, Self)> {
        Self::ALL.into_iter().map(|one| (one.label(), one)).collect()
    }
}

impl Words for Basis {
    fn words() -> Vec<(&'static str, Self)> {
        Self::ALL.into_iter().map(|one| (one.label(), one)).collect()
    }
}

impl Words for Route {
    fn words() -> Vec<(&'static str, Self)> {
        Self::ALL.into_iter().map(|one| (one.label(), one)).collect()
    }
}
